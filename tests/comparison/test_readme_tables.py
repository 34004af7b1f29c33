"""The tables of the README are those of pages that commands wrote, its picture that of models."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from support.helpers import ROOT
from support.runs import only_line

import jaxgen
from experiments.comparison import readme_picture, readme_tables
from experiments.comparison.readme_tables import CUTS
from experiments.running.cli import exit_code
from jaxgen import models
from jaxgen.errors import DataError
from jaxgen.report import figures

DPI = figures.DPI
"""As users have it: other tests draw coarser figures."""


@pytest.mark.parametrize("mark", CUTS)
def test_a_table_has_columns_of_the_page_that_was_measured(mark: str) -> None:
    cut = CUTS[mark]
    _, found, _ = readme_tables.parts((ROOT / cut.into).read_text(), mark)
    assert found == readme_tables.table(cut, ROOT)
    assert found.count("\n") == len(cut.rows) + 2 if cut.rows else found.count("\n") > 6


def test_the_readme_has_about_eight_rows_of_results() -> None:
    rows = [row for cut in CUTS.values() if cut.into == "README.md" for row in cut.rows]
    assert 8 <= len(rows) <= 10


def page(titles: list[str], rows: list[list[str]]) -> str:
    """A page with a table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "# Title\n\ntext\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def measured_page(file: str) -> str:
    """A page with every column and row that any table is cut from, and one column more.

    The row's name is in each cell; the last row is in no selection.
    """
    cuts = [cut for cut in CUTS.values() if file in (cut.page, *cut.newer.values())]
    titles = [*dict.fromkeys([title for cut in cuts for title in cut.needed])]
    names = [*dict.fromkeys([name for cut in cuts for name in (*cut.rows, *cut.newer)]), "a\\|b"]
    titles = [*titles, "another", "time of jaxgen / Y (range)"]
    value = "2 [1, 3]" if any(file == cut.page for cut in cuts) else "5 [4, 6]"
    rows = [[name, *(value for _ in titles[1:-2]), "x", "2 (1 to 3)"] for name in names]
    return page(titles, rows) + "\n| another | table |\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with pages that have tables, and with pages that have marks alone."""
    (tmp_path / "docs" / "results").mkdir(parents=True)
    for file in {file for cut in CUTS.values() for file in (cut.page, *cut.newer.values())}:
        (tmp_path / file).write_text(measured_page(file))
    for into in {cut.into for cut in CUTS.values()}:
        marks = [mark for mark, cut in CUTS.items() if cut.into == into]
        around = "".join(f"<!-- {x}:begin -->\nold\n<!-- {x}:end -->\nb\n" for x in marks)
        (tmp_path / into).write_text(f"a\n{around}")
    return tmp_path


def test_pages_keep_the_text_around_the_tables(root: Path) -> None:
    args = readme_tables.Args(root=root)
    readme_tables.main(args)
    guide = (root / "docs" / "benchmark.md").read_text()
    lines = guide.splitlines()
    assert lines[:2] == ["a", "<!-- speed:begin -->"]
    assert lines[2] == "| name | images/s | time of jaxgen / Y |"
    assert lines[-3:] == ["| a\\|b | 2 [1, 3] | 2 |", "<!-- speed:end -->", "b"]
    readme = (root / "README.md").read_text()
    assert "a\\|b" not in readme  # a row that is not chosen
    assert "another" not in readme + guide
    assert "[1, 3]" not in readme.partition("<!-- results:end")[0]
    assert "old" not in readme + guide
    newer = [line for line in readme.splitlines() if "| 5 |" in line]
    assert [line.partition(" |")[0] for line in newer] == ["| dcgan-fast"]
    readme_tables.main(args)
    assert (root / "README.md").read_text() == readme


def test_marks_that_are_not_there_are_an_error(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guide = root / "docs" / "benchmark.md"
    guide.write_text("nothing\n")
    before = (root / "README.md").read_text()
    assert exit_code(lambda: readme_tables.main(readme_tables.Args(root=root))) == 3
    assert "speed:begin" in only_line(capsys.readouterr().err)
    assert guide.read_text() == "nothing\n"
    assert (root / "README.md").read_text() == before


@pytest.mark.parametrize(
    ("titles", "rows", "message"),
    [
        (
            ["name", "time of jaxgen / Y"],
            [["rbm-lab", "2"]],
            "a column 'images/s' in the first table",
        ),
        (["name", "images/s"], [["a", "2"]], "a row 'rbm-lab' in the first table"),
        ([], [], "no table"),
    ],
)
def test_columns_and_rows_that_are_not_there_are_an_error(
    titles: list[str],
    rows: list[list[str]],
    message: str,
    root: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = (root / "README.md").read_text()
    (root / CUTS["speed"].page).write_text(page(titles, rows) if titles else "# Title\n")
    code = exit_code(lambda: readme_tables.main(readme_tables.Args(root=root)))
    assert code == DataError.exit_code
    assert message in only_line(capsys.readouterr().err)
    assert (root / "README.md").read_text() == before


@pytest.mark.parametrize(
    ("page_of", "spoil"),
    [
        ("results", lambda text: text.replace("| dcgan-fast |", "| another |")),
        ("results", lambda text: re.sub(r"(\| rbm-lab .*\n)", r"\1\1", text)),
        ("results", lambda text: text.replace("# Title", "| a | b |\n| - | - |\n| c |")),
        ("results", lambda text: text.replace("# Title", "|\n")),
        ("speed", lambda text: "\n".join(text.splitlines()[:6]) + "\n"),
        ("presets", lambda text: text + "\xff"),
        ("presets", lambda _: None),
    ],
)
def test_a_spoilt_page_is_one_line_and_nothing_is_written(
    page_of: str,
    spoil: Callable[[str], str | None],
    root: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A row renamed, twice, or short; no cells, no rows; other letters; no page."""
    before = (root / "README.md").read_text()
    file = root / CUTS[page_of].page
    text = spoil(file.read_text())
    if text is None:
        file.unlink()
    else:
        assert text != file.read_text()
        file.write_bytes(text.encode("latin-1"))
    code = exit_code(lambda: readme_tables.main(readme_tables.Args(root=root)))
    assert code == DataError.exit_code
    assert "write the page again" in only_line(capsys.readouterr().err)
    assert (root / "README.md").read_text() == before


def test_the_picture_has_a_model_of_each_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those in the repository, as large as the picture there."""
    assert sorted(name.partition("-")[0] for name in readme_picture.MODELS) == sorted(
        models.names()
    )
    assert all((ROOT / "pretrained" / name).is_dir() for name in readme_picture.MODELS)
    asked = []

    def samples_of(folder: Path) -> np.ndarray:
        asked.append(folder)
        return np.full((10, 64, 64, 1) if "dcgan" in folder.name else (10, 28, 28, 1), 0.5)

    monkeypatch.setattr(readme_picture, "samples_of", samples_of)
    monkeypatch.setattr(figures, "DPI", DPI)
    (tmp_path / "docs").mkdir()
    readme_picture.main(readme_picture.Args(root=tmp_path))
    assert asked == [tmp_path / "pretrained" / name for name in readme_picture.MODELS]
    with (
        Image.open(tmp_path / "docs" / "samples.png") as found,
        Image.open(ROOT / "docs" / "samples.png") as there,
    ):
        assert found.size == pytest.approx(there.size, abs=2)  # labels are fitted to a pixel


@pytest.mark.parametrize(
    ("num_classes", "asked"), [(0, None), (10, [*range(10)]), (4, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1])]
)
def test_classes_are_asked_for_in_their_order(
    num_classes: int, asked: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sample(key: object, num: int, labels: np.ndarray | None = None) -> np.ndarray:
        assert num == readme_picture.NUM_SHOWN
        assert (labels if labels is None else labels.tolist()) == asked
        return np.zeros((num, 2, 2, 1))

    run = SimpleNamespace(learner=SimpleNamespace(num_classes=num_classes), sample=sample)
    monkeypatch.setattr(jaxgen, "load", lambda _: run)
    assert readme_picture.samples_of(Path("run")).shape == (10, 2, 2, 1)
