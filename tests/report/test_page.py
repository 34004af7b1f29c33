"""Pages, tables and files that are whole or not there."""

import errno
import html
import re
from pathlib import Path

import numpy as np
import pytest

from jaxgen.errors import WriteError
from jaxgen.files import appearing_whole, write_atomically, write_json
from jaxgen.report import figures
from jaxgen.report import page as report


def test_page_holds_everything_and_loads_nothing(tmp_path: Path) -> None:
    figure = figures.save(figures.image_sheet(np.eye(4)[None], "eye"), tmp_path / "eye.png")
    table = report.Table(["name", "value"], [["a<b", "1"]])
    section = report.Section(
        "1.1", "Title & more", ["x < y"], [report.Figure(figure, "eye", "")], table
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
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert report.number(value) == text


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
