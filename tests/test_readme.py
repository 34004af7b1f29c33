"""Commands, code, links and install lines work as they stand in the README and in all guides."""

import importlib
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
import tyro
from support.helpers import ROOT

from experiments import rbm, reproduce
from experiments.__main__ import examples
from experiments.lab import samples
from experiments.running import artifacts, cli
from experiments.running.experiment import Experiment, find
from experiments.running.session import Session
from jaxgen import data, training
from jaxgen.training import Result, Schedule

README, CONTRIBUTING, CHANGELOG = (
    ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG")
)
PAGES = sorted([README, CONTRIBUTING, CHANGELOG, *(ROOT / "docs").rglob("*.md")])
"""The site's build leaves no Markdown in docs/_build."""
MODULE = "experiments."


def name_of(page: Path) -> str:
    """The page as a reader calls it."""
    return str(page.relative_to(ROOT))


class Block(NamedTuple):
    """A block of code on a page."""

    page: Path
    language: str
    mark: str
    """The rest of its first line: no-run, no-check or a title."""
    code: str

    @property
    def title(self) -> str:
        """The file that the block is, if it is one."""
        return self.mark.removeprefix('title="').removesuffix('"') if "title=" in self.mark else ""


def blocks(page: Path, language: str) -> list[Block]:
    """The blocks of a language on a page, in order."""
    found = re.findall(rf"^```{language}(?: ([^\n]*))?\n(.*?)^```$", page.read_text(), re.M | re.S)
    return [Block(page, language, mark, code) for mark, code in found]


ALL_PYTHON = [block for page in PAGES for block in blocks(page, "python")]

# ---- commands


def commands_of(page: Path) -> Iterator[str]:
    """Each `python -m experiments.` command of a page, in blocks of shell and in the text.

    Without the commands of blocks marked no-check, and without what is left out as a choice, {...}.
    """
    text = re.sub(r"^```bash no-check\n.*?^```$", "", page.read_text(), flags=re.M | re.S)
    text = re.sub(r"^```python.*?^```$", "", text, flags=re.M | re.S)  # files have their own
    for command in re.findall(rf"python -m ({re.escape(MODULE)}\w[^#`\n;|]*)", text):
        named = command.partition("&&")[0].strip().rstrip(".,:")
        yield re.sub(r"\$\w+", "0", named)  # variables of a loop


COMMANDS = sorted({command for page in PAGES if page != CHANGELOG for command in commands_of(page)})


def parse(module_name: str, flags: list[str]) -> None:
    """Parses flags as the command of a module does.

    Errors:
        SystemExit: a flag is unknown, or a value is of another type; the code is 0 after --help.
    """
    module = importlib.import_module(module_name)
    if isinstance(declared := getattr(module, "EXPERIMENT", None), Experiment):
        cli.parse(declared.presets, declared.quick, flags)
    elif module is reproduce:
        args, rest = tyro.cli(reproduce.Args, args=flags, return_unknown_args=True)
        if args.experiment:
            experiment: Experiment[Any] = find(args.experiment)
            cli.parse(experiment.presets, experiment.quick, rest)
        else:
            assert args.verify, "neither an experiment nor a run to verify"
            assert rest == []
    else:
        tyro.cli(module.Args if hasattr(module, "Args") else module.Config, args=flags)


def test_commands_are_found() -> None:
    assert "experiments.rbm" in COMMANDS
    experiments = {command.split()[0] for command in COMMANDS}
    assert len(experiments) >= 12
    assert len(COMMANDS) >= 60
    assert "experiments.bernoulli" not in experiments  # the page tells how to write it


@pytest.mark.parametrize("command", COMMANDS)
def test_command_line_is_understood(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every flag of it exists and takes its value."""
    module, *flags = shlex.split(command)
    monkeypatch.setattr(sys, "argv", [module, *flags])
    if flags and "--help" not in flags:
        parse(module, flags)
    else:  # a command that is named alone may need more, a run for example
        with pytest.raises(SystemExit, match=r"^0$"):
            parse(module, [*flags, "--help"])


@pytest.mark.parametrize(
    "command",
    [
        *("experiments.rbm --no-such-flag", "experiments.rbm --epochs many"),
        *("experiments.rbm --preset none", "experiments.reproduce rbm --no-such-flag"),
        *("experiments.compare runs/a --no-such-flag", "experiments.benchmark --repeats none"),
        "experiments.prepare --crop round",
    ],
)
def test_a_wrong_command_line_is_noticed(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    module, *flags = shlex.split(command)
    with pytest.raises((SystemExit, Exception)) as ended:
        parse(module, flags)
    assert not (isinstance(ended.value, SystemExit) and ended.value.code == 0)
    capsys.readouterr()


def test_times_are_those_of_the_list_of_commands() -> None:
    """`EXAMPLES` of a command is the one place that has them; a table of commands repeats it."""
    known = {
        command: words.rpartition(": ")[2]
        for path in (ROOT / "experiments").glob("*.py")
        for command, words in examples(path).items()
    }
    found = 0
    for page in PAGES:
        place = None
        for line in page.read_text().splitlines():
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if "time on two cores" in cells:
                place = cells.index("time on two cores")
            elif not cells:
                place = None
            elif place and (command := {cell.strip("`") for cell in cells} & {*known}):
                assert cells[place] == known[command.pop()], f"{page}: {line}"
                found += 1
    assert found > 10


# ---- Python


def without_figures(args: rbm.Args, session: Session, result: Result) -> Path:
    """Writes a run folder without the figures of its page, which take most of the time."""
    return artifacts.write(args, session, result, {}, "RBM", "an RBM", [])


@pytest.fixture(scope="module")
def place(digits_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run that the pages open, trained for one epoch."""
    folder = tmp_path_factory.mktemp("place")
    out = folder / "runs" / "rbm-quick-digits-seed0"
    flags = ["--quick", "--num-hidden", "16", "--epochs", "1", "--num-sampling-steps", "10"]
    flags += ["--data-dir", str(digits_root), "--out", str(out)]
    experiment = replace(rbm.EXPERIMENT, report=without_figures)
    cli.execute(experiment, cli.parse(rbm.PRESETS, rbm.QUICK, flags))
    return folder


def runnable(page: Path) -> list[Block]:
    """The blocks of a page that run as they stand."""
    return [block for block in blocks(page, "python") if not block.mark]


def run(page: Path) -> dict[str, Any]:
    """Runs the blocks of a page one after the other; returns their names."""
    names: dict[str, Any] = {}
    for block in runnable(page):
        exec(compile(block.code, name_of(page), "exec"), names)
    return names


@pytest.mark.programs
@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)], ids=name_of)
def test_python_code_runs(
    page: Path, digits_root: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(digits_root))
    monkeypatch.chdir(place)
    if page != README:  # which trains the same for as long as it does
        short = lambda num_epochs, batch_size: Schedule(min(num_epochs, 2), batch_size)  # noqa: E731
        monkeypatch.setattr(training, "Schedule", short)
    names = run(page)
    if page == README:
        images = np.asarray(names["trained_here"])
        assert samples.measure(images, data.load("digits")).verdict == "near the data"
        for images in (names["trained_here"], names["from_a_run"]):
            assert images.shape == (10, 28, 28, 1)
            assert isinstance(images, jax.Array)


@pytest.mark.parametrize(
    "block",
    ALL_PYTHON,
    ids=[f"{name_of(block.page)}-{number}" for number, block in enumerate(ALL_PYTHON)],
)
def test_python_code_compiles(block: Block) -> None:
    assert not block.mark or block.mark == "no-run" or block.title.endswith(".py"), block.mark
    compile(block.code, name_of(block.page), "exec")


def test_the_guide_for_contributors_has_a_whole_model() -> None:
    titles = [block.title for block in blocks(CONTRIBUTING, "python")]
    assert titles == ["jaxgen/models/bernoulli.py", "experiments/bernoulli.py"]


# ---- links, lines to install, size


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), target


FILES = re.compile(r"`((?:jaxgen|experiments|tests|docs)/[\w/.]+?\.(?:py|md|json|png|html))`")


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "results" not in page.parts], ids=name_of
)
def test_files_that_are_named_exist(page: Path) -> None:
    for name in FILES.findall(page.read_text()):
        assert "bernoulli" in name or (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_install_lines_name_extras_that_there_are(page: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    found = re.findall(r"'\.\[([\w,]+)\]'", page.read_text())
    assert {name for names in found for name in names.split(",")} <= {*extras}


def test_the_readme_installs_runs_and_tests() -> None:
    first, second, *_, last = (block.code.strip() for block in blocks(README, "bash"))
    assert first == "pip install -c constraints.txt -e '.[experiments]'"
    assert second == "python -m experiments.dcgan"
    assert last == "pip install -c constraints.txt -e '.[test]' && pytest"
    lines = [line for line in README.read_text().splitlines() if "'.[test]'" in line]
    assert lines[0] == last  # the continuous integration runs this line


def test_the_readme_is_a_page() -> None:
    assert len(README.read_text().splitlines()) <= 120


def test_constraints_hold_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    assert len(pinned) > 20
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[\w.+!]+( ; .*)?", line) for line in pinned)
