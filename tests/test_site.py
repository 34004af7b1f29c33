"""The site's pages are all reached, and its exercises check what is filled in."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.helpers import ROOT

DOCS = ROOT / "docs"
INDICES = [DOCS / "index.md", DOCS / "tutorials" / "index.md"]
NOTEBOOKS = sorted(
    path for path in DOCS.glob("tutorials/*.md") if "```{code-cell}" in path.read_text()
)


class Cell(NamedTuple):
    """A cell of code of a notebook."""

    tags: str
    code: str


def cells_of(notebook: Path) -> list[Cell]:
    """The cells of code of a notebook, in order."""
    pattern = r"^```\{code-cell\}\n(?::tags: \[([^\n]*)\]\n\n)?(.*?)^```$"
    return [Cell(*each) for each in re.findall(pattern, notebook.read_text(), re.M | re.S)]


def exercises_of(notebook: Path) -> list[int]:
    """The indices of the cells that are solutions."""
    return [index for index, cell in enumerate(cells_of(notebook)) if "solution" in cell.tags]


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = {*INDICES[:1]}
    for index in INDICES:
        for entries in re.findall(r"^```\{toctree\}\n(.*?)^```$", index.read_text(), re.M | re.S):
            lines = [line for line in entries.splitlines() if line and not line.startswith(":")]
            names = [line.rpartition("<")[2].rstrip(">") for line in lines]
            listed |= {index.parent / f"{name}.md" for name in names}
    pages = {path for path in DOCS.rglob("*.md") if "_build" not in path.parts}
    assert listed == pages


def test_notebooks_are_found() -> None:
    assert {path.stem for path in NOTEBOOKS} >= {"rbm", "dbn", "vae", "gan", "dcgan"}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_an_exercise_is_a_blank_a_solution_and_a_check(notebook: Path) -> None:
    cells, exercises = cells_of(notebook), exercises_of(notebook)
    assert exercises
    for index in exercises:
        blank, solution, check = cells[index - 1 : index + 2]
        assert "..." in blank.code
        assert "hide-input" in solution.tags
        assert re.match(r"if .*\.\.\.", solution.code), "it must leave a filled blank alone"
        assert "Not yet" in check.code
        assert "Right" in check.code


# ---- the first exercise of the RBM, as a reader runs it

RBM = DOCS / "tutorials" / "rbm.md"
ANSWERS = {
    "left open": "",
    "right": "return rbm.free_energy(params, visible)",
    "without the biases": "return -jax.nn.softplus(visible @ params['w']).sum(axis=-1)",
    "of another sign": "return -rbm.free_energy(params, visible)",
}


def answer_first_exercise(answer: str) -> None:
    """Runs the RBM's cells up to the check of the first exercise, with an answer in its blank."""
    cells = cells_of(RBM)
    (first, *_) = exercises_of(RBM)
    names: dict[str, Any] = {}
    for index, cell in enumerate(cells[: first + 2]):
        code = cell.code
        if answer and index == first - 1:
            code = code.replace("return ...", answer)
            assert code != cell.code
        exec(compile(code, f"rbm.md, cell {index}", "exec"), names)


@pytest.mark.parametrize("answer", ["left open", "right"])
def test_the_check_passes_right_answers(answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer_first_exercise(ANSWERS[answer])
    assert capsys.readouterr().out.startswith("Right: ")


@pytest.mark.parametrize("answer", ["without the biases", "of another sign"])
def test_the_check_objects_to_wrong_answers(answer: str) -> None:
    with pytest.raises(AssertionError, match=r"^Not yet: it is -a'v, less the softplus"):
        answer_first_exercise(ANSWERS[answer])
