"""Pages and tables for the reader of a run: `report.html` and markdown.

The page is one self-contained file: figures are embedded, nothing is loaded from elsewhere. It fits
a phone and a screen, light and dark, and needs its script only to enlarge figures.
"""

import base64
import html
import io
import math
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import jinja2
from markupsafe import Markup
from PIL import Image

from jaxgen.files import write_atomically
from jaxgen.report.formulas import mathml

_MARKUP = re.compile(
    r"[\\`*~|]"  # escapes, code, emphasis, strikethrough, cells
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis; inside a word it is a letter
    r"|(?<=\])[(\[:]"  # links
    r"|:(?=//)|(?<=www)\.",  # addresses, which GitHub links unasked
    re.IGNORECASE,
)
"""Characters that markdown, as GitHub has it, gives a meaning to; a backslash takes it away."""


_DIGITS = r"[-+\u2212]?[\d.,]+(e[-+]\d+)?"
_NUMBER = re.compile(rf"(★ )?{_DIGITS}( ?%)?( ?(±|\+-) ?{_DIGITS})?( \[{_DIGITS}, {_DIGITS}\])?$")
"""A number, perhaps the best of its column, with an error or an interval."""
_FORMULA = r"\$`([^`$]{1,400})`\$"
_MARKED = re.compile(rf"{_FORMULA}|`([^`\n]{{1,2000}})`")
"""A formula, or code, in a text of a page."""


MAX_PLACES = 6
"""Decimal places of a number with its error; smaller errors have an exponent."""


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

COLUMNS: Mapping[Width, int] = {"third": 2, "half": 3, "full": 6}
SMALL = 400
"""Pixels; pictures of fewer across are enlarged pixel by pixel."""

LARGE_BYTES, WEBP_QUALITY, WEBP_SIDE = 300_000, 90, 16_383
"""Bytes of a PNG that a page has as it is; larger ones, which are photographs, are a tenth then."""

Part = Literal["pictures", "tasks", "provenance"]
"""The parts of a page in their order: what the run made, the questions of the lab, the run's
origin and its digests."""


class Figure(NamedTuple):
    """A PNG file with its caption."""

    path: Path
    title: str
    """The caption; the picture itself has none."""
    alt: str
    """A description of the picture, for whoever cannot see it; plain text."""
    width: Width = "half"


class Widget(NamedTuple):
    """Trusted HTML with its own style and script, which becomes a part of the page as it is.

    What a stranger can name must be escaped in it already, and it may load nothing from elsewhere.
    """

    html: str


class Section(NamedTuple):
    """One question with its measured answer, its figures and, if there is one, its table.

    Texts are plain, but for a formula in LaTeX between $` and `$, which `formula` makes, and code
    between backticks.
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
    """The measured quantity, in a few words."""
    value: str
    note: str = ""
    """The standard of comparison: the value of test images, chance, the better direction."""


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


def code(text: str) -> str:
    """A command as a part of a text, which pages set as code; text where it has a backtick."""
    return text if "`" in text else f"`{text}`"


def number(value: float, digits: int = 4) -> str:
    """A number with `digits` significant digits, and without an exponent if it is large."""
    large = abs(value) >= 10**digits - 0.5  # what rounds up to one digit more
    return f"{value:,.0f}" if large else f"{value:.{digits}g}"


def with_error(value: float, error: float, sign: str = "±") -> str:
    """A number and its error, both to the second significant digit of the error: 404 ± 33."""
    digits = f"{error:.1e}"  # rounded, so that 9.96 is 10
    known = math.isfinite(value) and math.isfinite(error) and error > 0
    if not known or (places := 1 - int(digits.partition("e")[2])) > MAX_PLACES:
        return f"{number(value)} {sign} {number(error, 2)}"
    kept, rounded = max(places, 0), round(value, places) + 0.0  # no -0
    return f"{rounded:,.{kept}f} {sign} {round(error, places):,.{kept}f}"


def counted(count: int, noun: str) -> str:
    """How many there are of something, as in "1 epoch" and "1,000 epochs"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def list_in_words(words: Sequence[str]) -> str:
    """Words in a row, as a sentence has them."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def markdown(table: Table) -> str:
    """A table as GitHub-flavoured markdown, with a line feed at its end."""
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    escaped = ([escape(cell) for cell in line] for line in lines)
    return "".join("| " + " | ".join(line) + " |\n" for line in escaped)


def escape(text: str) -> str:
    """A text as markdown shows it, in one line: whoever wrote it, no markup and no link in it."""
    return _MARKUP.sub(r"\\\g<0>", html.escape(" ".join(text.splitlines()), quote=False))


def prose(text: str) -> Markup:
    """A text of a page as HTML, its formulas as MathML; anything else in it is text.

    A formula that LaTeX does not understand stays as it is.
    """
    found, end = Markup(), 0
    for match in _MARKED.finditer(text):
        latex, code = match.groups()
        shown = mathml(latex) if latex else _code(code)
        found += Markup.escape(text[end : match.start()])
        found += Markup.escape(match.group()) if shown is None else shown
        end = match.end()
    return found + Markup.escape(text[end:])


def embed(path: Path) -> str:
    """A PNG file as a data URL; of a large one, such as of colour images, a WebP of its pixels."""
    content, kind = path.read_bytes(), "png"
    if len(content) > LARGE_BYTES and max(struct.unpack(">2I", content[16:24])) <= WEBP_SIDE:
        with Image.open(io.BytesIO(content)) as image, io.BytesIO() as buffer:
            image.convert("RGB").save(buffer, "webp", quality=WEBP_QUALITY)
            content, kind = buffer.getvalue(), "webp"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _size(path: Path) -> Markup:
    """The attributes of a picture's size; of a small one, that its pixels are to be seen."""
    width, height = struct.unpack(">2I", path.read_bytes()[16:24])  # PNG's first chunk
    size = Markup(' width="{}" height="{}"').format(width, height)
    return size + Markup(' class="pixels"') if width < SMALL else size


def _numeric(table: Table) -> list[bool]:
    """Whether a column holds numbers alone, as far as it holds anything."""
    columns = ([row[i] for row in table.rows if row[i:]] for i in range(len(table.columns)))
    return [
        any(cells) and all(_NUMBER.match(cell) for cell in cells if cell not in ("", "-"))
        for cells in columns
    ]


def _code(text: str) -> Markup:
    """A command or a program; a line may end after a dot, a slash or an underscore.

    It does not end within a flag.
    """
    escaped = re.sub(r"([./_])", r"\1<wbr>", str(Markup.escape(text)))  # no entity has one of them
    flagged = re.sub(r"(?<!\S)--?[a-z][a-z0-9-]{0,40}", r'<span class="flag">\g<0></span>', escaped)
    return Markup("<code>{}</code>").format(Markup(flagged))


def _beside(section: Section) -> bool:
    """Whether the figures leave the right half of their last row to the answer."""
    place = 0
    for figure in section.figures:
        columns = COLUMNS[figure.width]
        place = columns if place + columns > COLUMNS["full"] else place + columns
    return place == COLUMNS["half"]


def _number_sections(section: Section) -> bool:
    """Whether a section has the number of a task, and not a word that its title says already."""
    return section.name[:1].isdigit()


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
    filters = {"embedded": embed, "size": _size, "prose": prose, "numeric": _numeric}
    filters |= {"beside": _beside, "numbered": _number_sections, "code": _code}
    environment.filters |= filters
    ordered = sorted(sections, key=lambda section: get_args(Part).index(section.part))
    page = environment.get_template("report.html").render(
        title=title, facts=facts, sections=ordered, lead=lead, headline=headline, absent=absent
    )
    write_atomically(path, page.encode())
    return path
