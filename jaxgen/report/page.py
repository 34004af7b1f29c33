"""Pages and tables for the reader of a run: `report.html` and markdown.

The page is one self-contained file: figures are embedded, nothing is loaded from elsewhere.
"""

import base64
import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2

from jaxgen.files import write_atomically

_MARKUP = re.compile(
    r"[\\`*~|]"  # escapes, code, emphasis, strikethrough, cells
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis; inside a word it is a letter
    r"|(?<=\])[(\[:]"  # links
    r"|:(?=//)|(?<=www)\.",  # addresses, which GitHub links unasked
    re.IGNORECASE,
)
"""Characters that markdown, as GitHub has it, gives a meaning to; a backslash takes it away."""


class Link(NamedTuple):
    """A text that leads to an address relative to the page."""

    text: str
    address: str


class Table(NamedTuple):
    """Named columns and rows of cells that are already text."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Section(NamedTuple):
    """One question with its measured answer, its figures and, if there is one, its table."""

    name: str
    title: str
    answer: Sequence[str]
    """Paragraphs."""
    figures: Sequence[Path] = ()
    table: Table | None = None
    links: Sequence[Link] = ()


def number(value: float, digits: int = 4) -> str:
    """A number with `digits` significant digits, and without an exponent if it is large."""
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def markdown(table: Table) -> str:
    """A table as GitHub-flavoured markdown, with a line feed at its end."""
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    escaped = ([escape(cell) for cell in line] for line in lines)
    return "".join("| " + " | ".join(line) + " |\n" for line in escaped)


def escape(text: str) -> str:
    """A text as markdown shows it, in one line: whoever wrote it, no markup and no link in it."""
    return _MARKUP.sub(r"\\\g<0>", html.escape(" ".join(text.splitlines()), quote=False))


def _embedded(path: Path) -> str:
    """A PNG file as a data URL."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def write_page(
    path: Path, title: str, facts: Mapping[str, str | Link], sections: Sequence[Section]
) -> Path:
    """Writes a page: a title, a table of facts and one section per question; returns its path."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxgen.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["embedded"] = _embedded
    page = environment.get_template("report.html").render(
        title=title, facts=facts, sections=sections
    )
    write_atomically(path, page.encode())
    return path
