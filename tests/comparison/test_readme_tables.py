"""The tables and the picture of the README are those of the pages that commands wrote."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.helpers import ROOT
from support.runs import only_line

from experiments.comparison import readme_picture, readme_tables
from experiments.comparison.readme_tables import CUTS
from experiments.running.cli import exit_code
from jaxgen.errors import DataError
from jaxgen.report import figures


@pytest.mark.parametrize("mark", CUTS)
def test_a_table_has_columns_of_the_page_that_was_measured(mark: str) -> None:
    cut = CUTS[mark]
    _, found, _ = readme_tables.parts((ROOT / cut.into).read_text(), mark)
    assert found == readme_tables.table(cut, (ROOT / cut.page).read_text())
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
    cuts = [cut for cut in CUTS.values() if cut.page == file]
    titles = [*dict.fromkeys([title for cut in cuts for title in cut.needed])]
    names = [*dict.fromkeys([name for cut in cuts for name in cut.rows]), "a\\|b"]
    titles = [*titles, "another", "time of jaxgen / Y (range)"]
    rows = [[name, *("2 [1, 3]" for _ in titles[1:-2]), "x", "2 (1 to 3)"] for name in names]
    return page(titles, rows) + "\n| another | table |\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with pages that have tables, and with pages that have marks alone."""
    (tmp_path / "docs" / "results").mkdir(parents=True)
    for cut in CUTS.values():
        (tmp_path / cut.page).write_text(measured_page(cut.page))
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


def pixels(path: Path) -> np.ndarray:
    """The pixels of a picture."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_the_picture_is_cut_from_that_of_the_comparison(tmp_path: Path) -> None:
    results = tmp_path / "docs" / "results"
    results.mkdir(parents=True)
    for name in ("compare.md", "compare.png"):
        (results / name).write_bytes((ROOT / "docs" / "results" / name).read_bytes())
    readme_picture.main(readme_picture.Args(root=tmp_path))
    found = pixels(tmp_path / "docs" / "samples.png")
    np.testing.assert_array_equal(found, pixels(ROOT / "docs" / "samples.png"))
    assert readme_picture.num_models((results / "compare.md").read_text()) == 8
    gap = readme_picture.MARGIN
    assert (found[:gap] == 255).all()
    assert (found[gap : gap + 2, -gap - 1] != 255).all()  # the end of the first line


def test_names_above_the_rows_are_cut_out_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "DPI", 100)
    strips = {f"a name that is too long to stand left, {i}": np.zeros((20, 8, 8)) for i in range(3)}
    with Image.open(io.BytesIO(figures.as_png(figures.rows_of(strips)))) as image:
        picture = np.asarray(image.convert("RGB"))
    gap = readme_picture.MARGIN
    heights = []
    for num in (1, 2):
        found = readme_picture.cut(picture, num)
        dark = (found[gap:-gap] < 64).any(axis=2).mean(axis=1)
        assert dark[: int(np.argmax(dark > 0.5))].sum() > 0  # letters, above the first panel
        heights.append(len(found) - 2 * gap)
    assert heights[1] == pytest.approx(2 * heights[0], abs=3)


def test_a_picture_without_enough_rows_is_an_error() -> None:
    with pytest.raises(DataError, match="found 0 rows of 0"):
        readme_picture.cut(np.full((20, 20, 3), 255, np.uint8), 1)
