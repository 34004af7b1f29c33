"""Cuts the README's tables from the pages that the benchmark and the comparison wrote.

    python -m experiments.comparison.readme_tables

replaces what stands between the marks in README.md by columns of docs/results/speed.md and of the
comparisons docs/results/compare.md and docs/results/presets.md.
"""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import tyro

from experiments.comparison.tables import ESTIMATOR, PUBLISHED
from experiments.running.cli import exit_code
from jaxgen.errors import DataError
from jaxgen.evaluation.suite import TITLES
from jaxgen.files import write_atomically
from jaxgen.report.page import Table, markdown

COMPARED = (
    *("model", "seeds", "log likelihood, nats", ESTIMATOR, "Frechet distance"),
    *("precision", "recall", "coverage", TITLES["class_kl"], TITLES["inception_score"]),
    "1,000 labels, %",
)
"""Columns that the README has of the comparison of the lab's models."""
REACHED = (
    *("model", "seeds", "log likelihood, nats", ESTIMATOR, PUBLISHED),
    *("Frechet distance", "1,000 labels, %", "training, s"),
)
"""Columns that it has of the presets that reach for published likelihoods."""


class Cut(NamedTuple):
    """One table of the README."""

    page: str
    """The page whose first table it is cut from, seen from the README."""
    needed: Sequence[str]
    """Titles of columns that it has."""
    kept: Callable[[str], bool]
    """Whether it has another column, by its title."""
    cell: Callable[[str], str]
    """The part of a cell or of a title that it has."""


def without_intervals(cell: str) -> str:
    """The part of a cell before its interval."""
    return cell.partition(" [")[0]


CUTS = {
    "speed": Cut(
        "docs/results/speed.md",
        ("name", "images/s"),
        lambda title: title.startswith("ratio to "),
        lambda cell: cell.partition(" (")[0],  # medians alone
    ),
    "compare": Cut("docs/results/compare.md", COMPARED, lambda _: False, without_intervals),
    "presets": Cut("docs/results/presets.md", REACHED, lambda _: False, without_intervals),
}
"""The tables by their marks."""


@dataclass(frozen=True)
class Args:
    """Cut the README's tables from the pages that the benchmark and the comparison wrote."""

    root: Path = Path()
    """The folder with README.md and docs."""


def table_of(page: str) -> Table:
    """The first table of a markdown page."""
    found, _, _ = page[page.find("\n|") + 1 :].partition("\n\n")
    lines = [line for line in found.splitlines() if line.startswith("|")]
    cells = [
        [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
    ]
    return Table(cells[0], cells[2:]) if cells else Table([], [])


def table(cut: Cut, page: str) -> str:
    """The README's part of a page's table, as markdown.

    Errors:
        DataError: the page's table lacks a column.
    """
    titles, rows = table_of(page)
    if missing := [title for title in cut.needed if title not in titles]:
        raise DataError(
            expected=f"a column {missing[0]!r} in the first table of {cut.page}",
            found=", ".join(titles) or "no table",
            remedy="write the page again",
        )
    kept = [i for i, title in enumerate(titles) if title in cut.needed or cut.kept(title)]
    columns = [cut.cell(titles[index]) for index in kept]
    return markdown(Table(columns, [[cut.cell(row[index]) for index in kept] for row in rows]))


def parts(readme: str, mark: str) -> tuple[str, str, str]:
    """The text before, between and behind the marks; the marks belong to the outer two.

    Errors:
        DataError: the marks are not there.
    """
    marks = [f"<!-- {mark}:{side} -->\n" for side in ("begin", "end")]
    before, begin, rest = readme.partition(marks[0])
    between, end, after = rest.partition(marks[1])
    if not (begin and end):
        raise DataError(
            expected=f"{marks[0].strip()} and {marks[1].strip()} in the README",
            found="not both",
            remedy="write them around the table",
        )
    return before + begin, between, end + after


def main(args: Args) -> None:
    """Rewrites the README."""
    path = args.root / "README.md"
    text = path.read_text()
    for mark, cut in CUTS.items():
        before, _, after = parts(text, mark)
        text = before + table(cut, (args.root / cut.page).read_text()) + after
    write_atomically(path, text.encode())


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(tyro.cli(Args))))
