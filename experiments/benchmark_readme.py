"""Cuts the README's speed table from the page that the benchmark wrote.

    python -m experiments.benchmark_readme

replaces what stands between the marks in README.md by columns of docs/results/speed.md.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from jaxgen.errors import DataError, JaxgenError
from jaxgen.files import write_atomically
from jaxgen.report import Table, markdown

BEGIN, END = "<!-- speed:begin -->\n", "<!-- speed:end -->\n"
COLUMNS = ("name", "images/s")
RATIO = "ratio to "
"""How the titles of all columns begin that compare."""


@dataclass(frozen=True)
class Args:
    """Cut the README's speed table from the page that the benchmark wrote."""

    page: Path = Path("docs/results/speed.md")
    """What the benchmark wrote."""
    readme: Path = Path("README.md")
    """What has the marks."""


def table_of(page: str) -> Table:
    """The first table of a markdown page."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return Table(cells[0], cells[2:]) if cells else Table([], [])


def cut(page: str) -> str:
    """The README's columns of the page's table, medians alone, as markdown."""
    titles, rows = table_of(page)
    kept = [i for i, title in enumerate(titles) if title in COLUMNS or title.startswith(RATIO)]

    def without_range(cell: str) -> str:
        return cell.partition(" (")[0]

    columns = [without_range(titles[i]) for i in kept]
    return markdown(Table(columns, [[without_range(row[i]) for i in kept] for row in rows]))


def parts(readme: str) -> tuple[str, str, str]:
    """What stands before, between and behind the marks; the marks belong to the outer two.

    Errors:
        DataError: the marks are not there.
    """
    before, begin, rest = readme.partition(BEGIN)
    between, end, after = rest.partition(END)
    if not (begin and end):
        raise DataError(
            expected=f"{BEGIN.strip()} and {END.strip()} in the README",
            found="not both",
            remedy="write them around the table",
        )
    return before + begin, between, end + after


def main(args: Args) -> int:
    """Rewrites the README; returns the exit code (see jaxgen.errors)."""
    try:
        before, _, after = parts(args.readme.read_text())
        write_atomically(args.readme, (before + cut(args.page.read_text()) + after).encode())
    except JaxgenError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Args)))
