"""Pages and tables for the reader of a run: `report.html` and markdown.

The page is one self-contained file: figures are embedded, nothing is loaded from elsewhere.
"""

import base64
import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

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


Width = Literal["third", "half", "full"]
"""Of a figure in the page's grid, of six columns: two, three or all of them. On a narrow screen
all are as wide as the page, and a full one that would be too small to read lies in a box that
scrolls."""

Part = Literal["pictures", "tasks", "provenance"]
"""The parts of a page in their order: what the run made, the questions of the lab, the run's
origin and its digests."""


class Figure(NamedTuple):
    """A PNG file with its caption."""

    path: Path
    title: str
    """The caption; the picture itself has none."""
    alt: str
    """What the picture shows, for who cannot see it; plain text."""
    width: Width = "half"


class Widget(NamedTuple):
    """Trusted HTML with its own style and script, which becomes a part of the page as it is.

    What a stranger can name must be escaped in it already, and it may load nothing from elsewhere.
    """

    html: str


class Section(NamedTuple):
    """One question with its measured answer, its figures and, if there is one, its table.

    Texts are plain. A part between $` and `$ is a formula in LaTeX; `formula` makes one.
    """

    name: str
    """The number of the task, such as 1.1, or a word."""
    title: str
    answer: Sequence[str]
    """Paragraphs."""
    figures: Sequence[Figure] = ()
    table: Table | None = None
    links: Sequence[Link] = ()
    question: str = ""
    """The question of the lab in a sentence."""
    widget: Widget | None = None
    part: Part = "tasks"


class Headline(NamedTuple):
    """One of the numbers at the top of a page."""

    label: str
    """What it measures, in a few words."""
    value: str
    note: str = ""
    """What it compares with: the value of test images, chance, the direction that is better."""


class Absent(NamedTuple):
    """A task that this page does not answer."""

    task: str
    """Its number, such as 1.4."""
    title: str
    command: str
    """Answers it."""


def formula(latex: str) -> str:
    """A formula in LaTeX as a part of a text: pages set it as MathML, GitHub's markdown too."""
    return f"$`{latex}`$"


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
    path: Path,
    title: str,
    *,
    facts: Mapping[str, str | Link],
    sections: Sequence[Section],
    lead: Sequence[str] = (),
    headline: Sequence[Headline] = (),
    absent: Sequence[Absent] = (),
) -> Path:
    """Writes a page, and returns its path.

    Args:
        path: of the file.
        title: of the page.
        facts: the table at its end: data, settings, times, digests.
        sections: part after part, and in each part in the order in which they come.
        lead: paragraphs below the title: what was trained.
        headline: the numbers below them, three at best.
        absent: tasks that another command answers; the table of contents names them.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxgen.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["embedded"] = _embedded
    page = environment.get_template("report.html").render(
        title=title, facts=facts, sections=sections, lead=lead, headline=headline, absent=absent
    )
    write_atomically(path, page.encode())
    return path
