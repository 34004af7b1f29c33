"""The README's commands and code work as they stand there."""

import re
import runpy
import shlex
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from support.helpers import ROOT

README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands():
    """Each `python -m` command of the README once."""
    found = re.findall(r"python -m experiments\.[^#`\n]*", README)
    return sorted({command.strip() for command in found})


def test_commands_are_found() -> None:
    assert "python -m experiments.rbm" in commands()
    assert len(commands()) >= 6


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning:runpy")
@pytest.mark.parametrize("command", commands())
def test_command_line_is_understood(
    command: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every flag exists: --help behind them prints the help instead of an error."""
    _, _, module, *flags = shlex.split(command)
    monkeypatch.setattr(sys, "argv", [module, *flags, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    assert ended.value.code == 0
    assert "usage" in capsys.readouterr().out


def test_python_code_runs(digits_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFDS_DATA_DIR", str(digits_root))
    code = "\n".join(blocks("python"))
    names: dict = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["images"].shape == (10, 28, 28, 1)


def test_install_commands_name_what_there_is() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    named = {name for names in re.findall(r"\.\[([\w,]+)\]", README) for name in names.split(",")}
    assert named <= set(extras)
    assert {"cuda12", "cuda13", "tpu"} <= set(extras)
    start = "pip install -c constraints.txt -e '.[experiments]' && python -m experiments.rbm"
    assert start in blocks("bash")[0]
    assert "pip install -c constraints.txt -e '.[test]' && pytest" in blocks("bash")[1]


def test_constraints_hold_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [line for line in lines if line and not line.startswith("#")]
    assert len(pinned) > 20
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[\w.+!]+( ; .*)?", line) for line in pinned)


def test_linked_files_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
