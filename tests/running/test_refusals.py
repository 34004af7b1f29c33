"""A command line that the parser refuses is an error of one line, whatever the terminal's width."""

import sys

import pytest
from support.runs import call, only_line

from experiments.running import refusals
from jaxgen.errors import SettingError

REFUSED = {
    "--epochs many": "--epochs with 'many', no whole number",
    "--learning-rate fast": "--learning-rate with 'fast', no number",
    "--num-hidden": "--num-hidden without a value",
    "--sampler metropolis": "--sampler with 'metropolis', none of 'gibbs', 'pt'",
    "--seeds a": "--seeds with 'a'",
    "--epoch 3": "unrecognized options: --epoch, 3 (perhaps you meant --epochs)",
    "runs/rbm": "unrecognized options: runs/rbm",
}


@pytest.mark.parametrize("columns", ["40", "200"])
@pytest.mark.parametrize("flags", REFUSED)
def test_it_is_a_line(
    flags: str, columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert call(*flags.split()) == 2
    line = only_line(capsys.readouterr().err)
    assert f"found {REFUSED[flags]}; type `" in line
    assert line.rstrip().endswith(" --help`")


BOX = "╭─ Title ──────╮\n│ text         │\n╰──────────────╯\n"


def end(code: int, text: str) -> None:
    """Prints a text and ends the program, as tyro does."""
    sys.stderr.write(text)
    raise SystemExit(code)


@pytest.mark.parametrize("text", ["", "a warning\n", "two\nlines, no box\n"])
def test_another_text_is_printed(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"), refusals.in_a_line("program"):
        end(2, text)
    assert capsys.readouterr().err == text


def test_only_a_refusal_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with refusals.in_a_line("program"):
        sys.stderr.write(BOX)
    assert capsys.readouterr().err == BOX
    with pytest.raises(SystemExit, match=r"^0$"), refusals.in_a_line("program"):
        end(0, BOX)
    assert capsys.readouterr().err == BOX
    with pytest.raises(SettingError, match="found text; "), refusals.in_a_line("program"):
        end(2, BOX)
    assert capsys.readouterr().err == ""
