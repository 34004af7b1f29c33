"""The README's tables are those of the pages that commands wrote."""

from pathlib import Path

import pytest
from support.helpers import ROOT
from support.runs import only_line

from experiments.comparison import readme_tables
from experiments.comparison.readme_tables import COMPARED, CUTS, REACHED
from experiments.running.cli import exit_code
from jaxgen.errors import DataError


@pytest.mark.parametrize("mark", CUTS)
def test_the_readme_has_columns_of_the_page_that_was_measured(mark: str) -> None:
    _, found, _ = readme_tables.parts((ROOT / "README.md").read_text(), mark)
    assert found == readme_tables.table(CUTS[mark], (ROOT / CUTS[mark].page).read_text())
    assert found.count("\n") > 6


def page(titles: str, row: str) -> str:
    """A page with a table of one row."""
    rule = " | ".join("---" for _ in titles.split("|"))
    return f"# Title\n\ntext\n\n| {titles} |\n| {rule} |\n| {row} |\n"


def test_the_readme_keeps_what_is_around_the_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [title for title in COMPARED if title not in ("model", "precision")]
    titles, cells = " | ".join(others), " | ".join("0" for _ in others)
    reached, values = " | ".join(REACHED), " | ".join("1" for _ in REACHED)
    pages = {
        "presets": page(f"x | {reached}", f"0 | {values}"),
        "speed": page("name | x | images/s | ratio to Y", "a | 1 | 5 | 2 (1 to 3)"),
        "compare": page(f"model | x | precision | {titles}", f"a\\|b | 1 | 2 [1, 3] | {cells}")
        + "\n| another | table |\n",
    }
    (tmp_path / "docs" / "results").mkdir(parents=True)
    for mark, text in pages.items():
        (tmp_path / CUTS[mark].page).write_text(text)
    readme, args = tmp_path / "README.md", readme_tables.Args(root=tmp_path)
    readme.write_text("nothing\n")
    assert exit_code(lambda: readme_tables.main(args)) == DataError.exit_code
    assert "speed:begin" in only_line(capsys.readouterr().err)
    assert readme.read_text() == "nothing\n"
    around = "a\n"
    for mark in CUTS:
        around += f"<!-- {mark}:begin -->\n{{}}<!-- {mark}:end -->\nb\n"
    readme.write_text(around.format("old\n", "", "old"))
    readme_tables.main(args)
    speed = "| name | images/s | ratio to Y |\n| --- | --- | --- |\n| a | 5 | 2 |\n"
    rule = " | ".join("---" for _ in COMPARED)
    compare = f"| model | precision | {titles} |\n| {rule} |\n| a\\|b | 2 | {cells} |\n"
    presets = f"| {reached} |\n| {' | '.join('---' for _ in REACHED)} |\n| {values} |\n"
    expected = around.format(speed, compare, presets)
    assert readme.read_text() == expected
    (tmp_path / CUTS["speed"].page).write_text(page("name | ratio to Y", "a | 2 (1 to 3)"))
    assert exit_code(lambda: readme_tables.main(args)) == DataError.exit_code
    assert "a column 'images/s' in the first table" in only_line(capsys.readouterr().err)
    assert readme.read_text() == expected
