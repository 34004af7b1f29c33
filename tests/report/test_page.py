"""Pages, tables and files that are whole or not there."""

import base64
import errno
import html
import io
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from jaxgen.errors import WriteError
from jaxgen.files import appearing_whole, write_atomically, write_json
from jaxgen.report import figures
from jaxgen.report import page as report


def test_page_holds_everything_and_loads_nothing(tmp_path: Path) -> None:
    figure = figures.save(figures.image_sheet(np.eye(4)[None], "eye"), tmp_path / "eye.png")
    table = report.Table(["name", "value"], [["a<b", "1"]])
    section = report.Section(
        "1.1", "Title & more", ["x < y"], [report.Figure(figure, "Eye < ear", 'an "eye"')], table
    )
    page = report.write_page(
        tmp_path / "page.html", "Run", facts={"seed": "0"}, sections=[section]
    ).read_text()
    assert "Title &amp; more" in page
    assert "x &lt; y" in page
    assert "a&lt;b" in page
    assert page.count("data:image/png;base64,") == 1
    assert "http:" not in page
    assert "https:" not in page
    assert not re.search(r"<(link|iframe|object|embed|base)\b|<script [^>]*src|@import|url\(", page)
    assert "Eye &lt; ear" in page
    assert 'alt="an &#34;eye&#34;"' in page


def test_a_large_picture_is_embedded_small_and_looks_the_same(tmp_path: Path) -> None:
    """As sheets of colour images are, of which a page has several."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 216, (20, 20, 3)).repeat(20, 0).repeat(20, 1)
    pixels = np.clip(coarse + rng.normal(0.0, 6.0, coarse.shape), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path := tmp_path / "large.png")
    kind, _, text = report.embed(path).partition(";base64,")
    assert kind == "data:image/webp"
    assert len(text) < path.stat().st_size / 4
    with Image.open(io.BytesIO(base64.b64decode(text))) as found:
        assert np.abs(np.asarray(found, np.float32) - pixels).mean() < 8


def test_facts_and_sections_may_lead_elsewhere(tmp_path: Path) -> None:
    """An address is relative to the page; text and address are escaped."""
    section = report.Section("1.1", "Title", [], links=[report.Link("all <of> it", "a/b.html")])
    facts = {"seed": "0 <", "measures": report.Link("numbers & more", "measures.html?a&b")}
    page = report.write_page(
        tmp_path / "page.html", "Run", facts=facts, sections=[section]
    ).read_text()
    assert "<td>0 &lt;</td>" in page
    assert '<td><a href="measures.html?a&amp;b">numbers &amp; more</a></td>' in page
    assert '<a href="a/b.html">all &lt;of&gt; it</a>' in page


def test_an_interval_stands_below_its_number(tmp_path: Path) -> None:
    """So that a table with intervals is half as wide; a long cell of text keeps some width."""
    rows = [["a", "0.5 [0.4, 0.6]", "none"], ["b", "2 \u00b1 1", "because its two sides differ"]]
    table = report.Table(["model", "number", "why [of a, b]"], rows)
    section = report.Section("1", "Title", [], table=table)
    page = report.write_page(tmp_path / "page.html", "Run", facts={}, sections=[section])
    cells = re.findall(r"<td.*?</td>", page.read_text())
    assert cells == [
        '<td class="numeric">0.5 <span class="interval">[0.4, 0.6]</span></td>',
        "<td>none</td>",
        '<td class="numeric">2 \u00b1 1</td>',
        '<td class="long">because its two sides differ</td>',
    ]


def test_what_a_stranger_names_is_text_everywhere(tmp_path: Path) -> None:
    picture = figures.save(figures.image_sheet(np.eye(4)[None]), tmp_path / "eye.png")
    name = '<b onload="x">\'&`<i>`$`\\text{<u>}\\href{javascript:alert(1)}{x}`$'
    section = report.Section(
        *("1.1", name, [name], [report.Figure(picture, name, name, "full")]),
        table=report.Table([name, name], [[name, name]]),
        links=[report.Link(name, name)],
        question=name,
    )
    page = report.write_page(
        tmp_path / "page.html",
        name,
        facts={name: name, "a": report.Link(name, name)},
        sections=[section],
        lead=[name],
        headline=[report.Headline(name, name, name)],
        absent=[report.Absent(name, name, name)],
    ).read_text()
    body = page.split("<body>")[1]
    for tag in ("<b ", "<i>", "<u>", 'href="javascript', 'onload="'):
        assert tag not in page
    assert body.count("&lt;u&gt;") >= 15
    assert body.count("<math>") >= 10


def test_formulas_become_mathml_and_code_becomes_code() -> None:
    formula = report.formula(r"\frac{1}{2} p(v_1 \mid h) < \alpha")
    assert formula == r"$`\frac{1}{2} p(v_1 \mid h) < \alpha`$"
    shown = str(report.prose(f"so {formula}, by `--study`; `a & $"))
    math = re.fullmatch(
        r"so <math>(.*)</math>, by <code><span class=\"flag\">--study</span></code>; `a &amp; \$",
        shown,
    )
    assert math
    tree = ElementTree.fromstring(f"<math>{math.group(1)}</math>")
    assert [x.text for x in tree.iter("mfrac") for x in x.iter("mn")] == ["1", "2"]
    assert [x.text for x in tree.iter("msub") for x in x] == ["v", "1"]
    assert "".join(tree.itertext()) == "12p(v1\u2223h)<\u03b1"


@pytest.mark.parametrize("latex", [r"\frac", r"\left(", "{", r"\begin{matrix}"])
def test_what_is_no_formula_stays_text(latex: str) -> None:
    assert report.prose(report.formula(latex)) == f"$`{latex}`$"


def test_parts_stand_in_their_order_and_contents_name_absent_tasks(tmp_path: Path) -> None:
    parts: tuple[report.Part, ...] = ("provenance", "tasks", "pictures", "tasks")
    sections = [
        report.Section(f"{index}", f"title {index}", [], part=part)
        for index, part in enumerate(parts)
    ]
    absent = [report.Absent("9.1", "first", "run --a"), report.Absent("9.2", "other", "run --a")]
    page = report.write_page(
        tmp_path / "page.html", "Run", facts={}, sections=sections, absent=absent
    ).read_text()
    titles = re.findall(r"<h2 .*?>(\d)</span> title", page)
    assert titles == ["2", "1", "3", "0"]
    flag = '<span class="flag">--a</span>'  # so that no line ends within it
    assert page.count(f"<code>run {flag}</code>") == 1
    assert all(text in page.split("</nav>")[0] for text in ("9.1", "first", "9.2", "other"))
    long = [report.Absent("9.1", "first", "python -m experiments.wake_sleep <&.>")]
    place = tmp_path / "page.html"
    page = report.write_page(place, "Run", facts={}, sections=[], absent=long).read_text()
    assert '<code>python <span class="flag">-m</span> experiments.<wbr>wake_<wbr>sleep' in page
    assert " &lt;&amp;.<wbr>&gt;</code>" in page


def test_a_widget_stands_in_its_section_as_it_is(tmp_path: Path) -> None:
    widget = report.Widget("<canvas id='c'></canvas><script>let a = 1 < 2</script>")
    section = report.Section("walk", "Walk", [], widget=widget)
    page = report.write_page(tmp_path / "page.html", "Run", facts={}, sections=[section])
    inside = page.read_text().split('<section id="s1"')[1].split("</section>")[0]
    assert widget.html in inside


def luminance(colour: str) -> float:
    """The relative luminance of #rgb or #rrggbb, by WCAG 2.2."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_letters_stand_out_in_light_and_dark() -> None:
    """Contrast of at least 4.5, WCAG 2.2 level AA, of every text on every ground."""
    template = Path(report.__file__).parent / "templates" / "report.html"
    schemes = [
        dict(re.findall(r"--(\w+): (#\w+);", rule))
        for rule in re.findall(r":root \{(.*?)\}", template.read_text(), re.DOTALL)
        if "--text" in rule
    ]
    assert len(schemes) == 3  # light, dark and on paper
    for scheme in schemes:
        for text in ("text", "muted", "accent"):
            for ground in ("ground", "raised"):
                low, high = sorted(luminance(scheme[name]) for name in (text, ground))
                assert (high + 0.05) / (low + 0.05) >= 4.5


def test_markdown_has_no_markup_of_others() -> None:
    text = "a | <b>x</b>\n# heading <img src=x onerror=alert(1)> "
    text += "[x](javascript:alert(1)) & 1 [0, 2]"
    row = report.markdown(report.Table(["a"], [[text]])).splitlines()[2]
    assert row == (
        r"| a \| &lt;b&gt;x&lt;/b&gt; # heading &lt;img src=x onerror=alert(1)&gt; "
        r"[x]\(javascript:alert(1)) &amp; 1 [0, 2] |"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("**bold** *i* 2*3", r"\*\*bold\*\* \*i\* 2\*3"),
        ("__bold__ _i_ num_hidden", r"\_\_bold\_\_ \_i\_ num_hidden"),
        ("`code` ~~gone~~", r"\`code\` \~\~gone\~\~"),
        (r"C:\x \| \[", r"C:\\x \\\| \\["),
        ("see http://a.b, HTTPS://a.b", r"see http\://a.b, HTTPS\://a.b"),
        ("www.a.b Www.a.b", r"www\.a.b Www\.a.b"),
        ("[a][b] [a](b) [a]: b [0, 2]", r"[a]\[b] [a]\(b) [a]\: b [0, 2]"),
        ("12:30, p. 3 - 4 # 5", "12:30, p. 3 - 4 # 5"),
    ],
)
def test_a_text_in_markdown_is_shown_as_it_is(text: str, shown: str) -> None:
    """Backslashes before punctuation are what markdown takes away again."""
    assert report.escape(text) == shown
    assert html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", shown)) == text


def test_markdown_table() -> None:
    table = report.Table(["a", "b"], [["1", "2"], ["3", "4"]])
    assert report.markdown(table) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.014631, "0.01463"),
        (-86.341, "-86.34"),
        (91500.4, "91,500"),
        (0.0, "0"),
        (12345, "12,345"),
        (9999.4, "9999"),
        (9999.7, "10,000"),
        (-9999.7, "-10,000"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert report.number(value) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (403.9, 33.2, "404 ± 33"),
        (0.57351, 0.028, "0.574 ± 0.028"),
        (-85.0, 1.41, "-85.0 ± 1.4"),
        (-76_659.0, 10_499.0, "-77,000 ± 10,000"),
        (5.0, 0.0996, "5.00 ± 0.10"),
        (-0.0001, 33.0, "0 ± 33"),
        (1.0, 0.0, "1 ± 0"),
        (0.035850, 7.4e-5, "0.035850 ± 0.000074"),
        (1.0, 1e-9, "1 ± 1e-09"),
        (1.0, float("nan"), "1 ± nan"),
    ],
)
def test_a_number_ends_where_its_error_does(value: float, error: float, text: str) -> None:
    assert report.with_error(value, error) == text
    assert report.with_error(value, error, "+-") == text.replace("±", "+-")


def test_columns_of_numbers_are_set_as_such(tmp_path: Path) -> None:
    rows = [
        ["a", "1", "★ 7.88 [5.77, 9.98]", "-84.0 ± 1.4", "3; not ranked"],
        ["b", "-2.5%", "9.6 [-7.4, 11.9]", "", "4"],
    ]
    table = report.Table(["name", "number", "interval", "error", "text"], rows)
    sections = [report.Section("1", "Title", ["answer"], [], table)]
    page = report.write_page(tmp_path / "page.html", "Run", facts={}, sections=sections).read_text()
    heads = re.findall(r'<th scope="col"([^>]*)>(\w+)', page)
    assert [name for kind, name in heads if "numeric" in kind] == ["number", "interval", "error"]


def test_nan_is_no_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def write_half(path, error):
    with appearing_whole(path) as file:
        file.write(b"half")
        raise error


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(WriteError, match="No space left"):
        write_half(path, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(KeyboardInterrupt):
        write_half(path, KeyboardInterrupt())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"")
    with pytest.raises(WriteError, match="expected to write"):
        write_atomically(tmp_path / "file" / "below", b"")
