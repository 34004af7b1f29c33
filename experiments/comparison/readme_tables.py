"""Cuts the tables of the README and of its guides from pages that were measured.

    python -m experiments.comparison.readme_tables

replaces the lines between the marks in README.md, docs/comparison.md and docs/benchmark.md by
columns of docs/results/speed-avx512.md and of the comparisons docs/results/compare.md,
docs/results/dcgan-fast.md and docs/results/presets.md; the README has some rows alone.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from experiments.comparison.ranking import ARROWS, BEST
from experiments.comparison.tables import ESTIMATOR, PUBLISHED
from experiments.running.cli import exit_code, parse_flags
from jaxgen.data.sources import one_line
from jaxgen.errors import DataError
from jaxgen.evaluation.suite import TITLES
from jaxgen.files import write_atomically
from jaxgen.report.page import Table, markdown

COMPARED = (
    *("model", "seeds", "log likelihood, nats", ESTIMATOR, "Frechet distance"),
    *("precision", "recall", "coverage", TITLES["class_kl"], TITLES["inception_score"]),
    *(TITLES["class_accuracy"], "1,000 labels, %"),
)
"""Columns that the guide has of the comparison of the lab's models."""
REACHED = (
    *("model", "seeds", "log likelihood, nats", ESTIMATOR, PUBLISHED),
    *("Frechet distance", "1,000 labels, %", "training, s"),
)
"""Columns that it has of the presets that reach for published likelihoods."""
HEADLINES = (
    *("model", "seeds", "log likelihood, nats", ESTIMATOR, "Frechet distance", "recall"),
    "1,000 labels, %",
)
"""Columns that the README has of the comparison."""


class Cut(NamedTuple):
    """One table that is cut from another page."""

    page: str
    """The page whose first table it is cut from, seen from the root."""
    into: str
    """The page that has it, between marks."""
    needed: Sequence[str]
    """Titles of columns that it has."""
    bracket: str
    """That of an interval, or of a range, which is cut off cells and titles with all behind it."""
    ratios: bool = False
    """Whether it has the columns of ratios as well."""
    rows: Sequence[str] = ()
    """First cells of the rows that it has; all of them if none is named."""
    newer: Mapping[str, str] = MappingProxyType({})
    """The pages of rows, by their first cells, that were measured again since that page was."""


_PRESET_ROWS = ("rbm-lab", "vae-lab", "dcgan-lab")
_MODEL_ROWS = (
    *("rbm-lab", "dbn-lab", "wake_sleep-lab", "dbm-small"),
    *("vae-lab", "gan-deep, epochs 100", "dcgan-fast"),
)
SPEED, COMPARE = "docs/results/speed-avx512.md", "docs/results/compare.md"
_NEWER = dict.fromkeys(("dcgan-fast", "dcgan-fast, conditional"), "docs/results/dcgan-fast.md")
TIMED = ("name", "images/s")
CUTS = {
    "results": Cut(COMPARE, "README.md", HEADLINES, "[", rows=_MODEL_ROWS, newer=_NEWER),
    "fast": Cut(SPEED, "README.md", TIMED, "(", True, _PRESET_ROWS),
    "speed": Cut(SPEED, "docs/benchmark.md", TIMED, "(", True),
    "compare": Cut(COMPARE, "docs/comparison.md", COMPARED, "[", newer=_NEWER),
    "presets": Cut("docs/results/presets.md", "docs/comparison.md", REACHED, "["),
}
"""The tables by their marks."""


@dataclass(frozen=True)
class Args:
    """Cut the tables of the README and of its guides from pages that were measured."""

    root: Path = Path()
    """The folder with README.md and docs."""


def _spoilt(expected: str, found: str) -> DataError:
    """The error for a page that is not as its command writes it."""
    return DataError(expected=expected, found=found, remedy="write the page again")


def _tables(page: str) -> list[Table]:
    """The tables of a markdown page; marks of the best value, and arrows, are left out."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", page + "\n", re.MULTILINE):
        cells = [
            [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in block.splitlines()
        ]
        titles = [title.rstrip(f" {''.join(ARROWS.values())}") for title in cells[0]]
        rows = [[cell.removeprefix(f"{BEST} ") for cell in row] for row in cells[2:]]
        if any(len(row) != len(titles) for row in rows):
            raise _spoilt("rows with a cell for each of these titles", ", ".join(titles))
        found.append(Table(titles, rows))
    return found


def table_of(page: str) -> Table:
    """The first table of a markdown page, with the columns of the next one, if it has its rows."""
    first, *others = _tables(page) or [Table([], [])]
    for other in others[:1]:
        if [row[:1] for row in other.rows] == [row[:1] for row in first.rows]:
            rows = [[*a, *b[1:]] for a, b in zip(first.rows, other.rows, strict=True)]
            first = Table([*first.columns, *other.columns[1:]], rows)
    return first


def _require_all(page: str, what: str, wanted: Sequence[str], there: Sequence[str]) -> None:
    """Raises DataError for the first wanted column or row that the page's table has not once."""
    if missing := [name for name in wanted if there.count(name) != 1]:
        raise _spoilt(
            f"a {what} {missing[0]!r} in the first table of {page}, with the columns of the next "
            "one if that has the same rows, once",
            ", ".join(there) or "no table",
        )


def _cells(cut: Cut, page: str, root: Path) -> dict[str, dict[str, str]]:
    """The cells of a page's rows, by first cells and titles, if it has all that is cut from it."""
    try:
        titles, rows = table_of((root / page).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise _spoilt(f"a page {root / page}", one_line(error)) from error
    _require_all(page, "column", cut.needed, titles)
    if not rows:
        raise _spoilt(f"rows in the first table of {page}", "none")
    names = [row[0] for row in rows]
    here = [x for x in cut.rows or cut.newer if page in (cut.page, cut.newer.get(x))]
    _require_all(page, "row", [*here, *names], names)
    return dict(zip(names, (dict(zip(titles, row, strict=True)) for row in rows), strict=True))


def table(cut: Cut, root: Path) -> str:
    """The part of the pages' tables that is cut, as markdown.

    Errors:
        DataError: a page's table lacks a column or a row.
    """
    found = {page: _cells(cut, page, root) for page in (cut.page, *cut.newer.values())}
    names = [name for name in found[cut.page] if not cut.rows or name in cut.rows]
    rows = [found[cut.newer.get(name, cut.page)][name] for name in names]
    titles = [
        title
        for title in rows[0]
        if title in cut.needed or (cut.ratios and title.startswith("time of jaxgen / "))
    ]
    lines = [titles, *([row[title] for title in titles] for row in rows)]
    cells = [[cell.partition(f" {cut.bracket}")[0] for cell in line] for line in lines]
    return markdown(Table(cells[0], cells[1:]))


def parts(text: str, mark: str) -> tuple[str, str, str]:
    """The text before, between and behind the marks; the marks belong to the outer two.

    Errors:
        DataError: the marks are not there.
    """
    marks = [f"<!-- {mark}:{side} -->\n" for side in ("begin", "end")]
    before, begin, rest = text.partition(marks[0])
    between, end, after = rest.partition(marks[1])
    if not (begin and end):
        raise DataError(
            expected=f"{marks[0].strip()} and {marks[1].strip()} around a table",
            found="not both",
            remedy="write them around the table",
        )
    return before + begin, between, end + after


def main(args: Args) -> None:
    """Rewrites the README and the guides, all of them or none."""
    texts = {cut.into: (args.root / cut.into).read_text() for cut in CUTS.values()}
    for mark, cut in CUTS.items():
        before, _, after = parts(texts[cut.into], mark)
        texts[cut.into] = before + table(cut, args.root) + after
    for into, text in texts.items():
        write_atomically(args.root / into, text.encode())


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(parse_flags(Args))))
