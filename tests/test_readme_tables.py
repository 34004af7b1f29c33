"""The README's tables are those of the pages that commands wrote."""

from pathlib import Path

import pytest
from helpers import ROOT
from runs import only_line

from experiments import readme_tables
from experiments.command_line import exit_code
from experiments.readme_tables import CUTS
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
    pages = {
        "speed": page("name | x | ratio to Y", "a | 1 | 2 (1 to 3)"),
        "compare": page("model | x | precision", "a | 1 | 2 [1, 3]") + "\n| another | table |\n",
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
    readme.write_text(around.format("old\n", ""))
    readme_tables.main(args)
    speed = "| name | ratio to Y |\n| --- | --- |\n| a | 2 |\n"
    compare = "| model | precision |\n| --- | --- |\n| a | 2 |\n"
    assert readme.read_text() == around.format(speed, compare)
