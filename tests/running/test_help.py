"""`--help` and the list of commands."""

import dataclasses
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support.helpers import ROOT, run_python
from support.runs import call

from experiments import __main__ as commands
from experiments import benchmark, compare, dcgan, prepare
from experiments.running import cli, experiment
from experiments.running import help as help_text
from jaxgen.errors import SettingError


@pytest.mark.parametrize("name", experiment.names())
def test_groups_have_the_flags_of_the_experiment(name: str) -> None:
    """Each once, with its default."""
    default = experiment.find(name).default

    def flat(settings: object) -> list[tuple[str, object]]:
        found: list[tuple[str, object]] = []
        for field in dataclasses.fields(settings):  # type: ignore[arg-type]
            value = getattr(settings, field.name)
            inner = dataclasses.is_dataclass(value)
            found += flat(value) if inner else [(field.name, value)]
        return found

    groups = help_text.group_settings(default)()
    assert sorted(map(repr, flat(groups))) == sorted(map(repr, flat(default)))
    texts = help_text.field_docstrings(type(default))
    assert {field.name for field in dataclasses.fields(default)} - {*texts} <= {
        *("images", "cluster", "model")
    }


def test_help_of_an_experiment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("jaxgen.runs.manifest.program", lambda: "python -m experiments.rbm")
    with pytest.raises(SystemExit, match=r"^0$"):
        call("--preset", "pcd500", "--help")
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == "usage: python -m experiments.rbm [-h] [OPTIONS]"
    assert max(map(len, lines)) <= 80
    groups = re.findall(r"(?m)^[╭─ ]*(\w+) options ", out)
    assert groups == ["run", "model", "training", "data", "output", "logs", "seeds", "processes"]
    examples = lines[lines.index("Examples, with their time on two cores:") + 1 :]
    assert examples[0] == (
        "  python -m experiments.rbm          the lab's RBM on MNIST: 1 to 2 minutes"
    )
    assert "(default: 500)" in out  # hidden units of the preset
    assert "Defaults are those of the preset pcd500." in lines


@pytest.mark.parametrize("kind", [benchmark.Args, compare.Args, prepare.Config, dcgan.Args])
def test_a_flag_without_a_default_has_none(
    kind: type, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["program", "--help"])
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.parse_flags(kind)
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "(default: none)" in out
    assert "(default: )" not in out


def test_defaults_are_those_of_the_plain_command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The preset depends on the device; `--quick` stands above it."""
    monkeypatch.setenv("COLUMNS", "80")
    lines, flags = {}, {"cpu": (), "gpu": (), "quick": ("--quick",)}
    for device, words in flags.items():
        monkeypatch.setattr("jax.default_backend", lambda device=device: device)
        with pytest.raises(SystemExit, match=r"^0$"):
            call("--help", *words, experiment=dcgan)
        lines[device] = " ".join(capsys.readouterr().out.split())
    assert "preset fast, because the device is a CPU; --preset lab" in lines["cpu"]
    assert "preset lab, because there is an accelerator; --preset fast" in lines["gpu"]
    assert "preset lab with --quick, because" in lines["quick"]
    epochs = [re.search(r"--epochs INT[^(]*\(default: (\d+)\)", x)[1] for x in lines.values()]
    presets = [dcgan.PRESETS["fast"].epochs, dcgan.PRESETS["lab"].epochs]
    assert [*map(int, epochs)] == [*presets, dcgan.QUICK["epochs"]]


def test_every_example_is_a_command_that_parses() -> None:
    for name in experiment.names():
        declared = experiment.find(name)
        for example in declared.examples:
            words = shlex.split(example)[3:]
            assert cli.parse(declared.presets, declared.quick, words)


def test_the_list_of_commands() -> None:
    *rows, _, foot = commands.listing().splitlines()[2:]
    found = [re.match(r"python -m experiments\.(\w+) +\S", row)[1] for row in rows]
    tools = {"compare", "benchmark", "reproduce", "prepare", "pretrained"}
    assert {*found} == {*experiment.names(), *tools}
    assert max(map(len, [*rows, foot])) <= 80


@pytest.mark.programs
@pytest.mark.parametrize("command", ["experiments", "jaxgen", "experiments.rbm --help"])
def test_a_list_that_nobody_reads_to_its_end(command: str) -> None:
    program = f"{shlex.quote(sys.executable)} -m {command} | head -1"
    done = subprocess.run(
        ["bash", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith(("jaxgen ", "usage: python -m experiments.rbm"))
    assert done.stderr == ""


@pytest.mark.programs
def test_the_library_runs_no_stranger_of_that_name(tmp_path: Path) -> None:
    folder = tmp_path / "experiments"
    folder.mkdir()
    for name in ("__init__", "__main__"):
        (folder / f"{name}.py").write_text("raise SystemExit('a stranger')")
    done = run_python("-m", "jaxgen", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_word_after_the_list_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingError, match=r"expected no words after .*, found rmb"):
        commands.main(["rmb"])
    commands.main(["--help"])
    assert "python -m experiments.rbm" in capsys.readouterr().out
