"""Formulas of a page: LaTeX as MathML, which a browser sets by itself.

latex2mathml passes on the markup that it finds in a text, so its elements are made again here: of
what a formula names, nothing but the presentation of mathematics comes through.
"""

import functools
import html
from xml.etree.ElementTree import Element

from markupsafe import Markup

ELEMENTS = (
    *("math", "mrow", "mi", "mo", "mn", "mtext", "mspace", "mstyle", "mpadded", "msqrt", "mroot"),
    *("msub", "msup", "msubsup", "mfrac", "mover", "munder", "munderover", "mtable", "mtr", "mtd"),
)
ATTRIBUTES = (
    *("accent", "columnalign", "displaystyle", "fence", "form", "linethickness", "lspace"),
    *("mathvariant", "maxsize", "minsize", "movablelimits", "rspace", "scriptlevel", "separator"),
    *("stretchy", "symmetric", "width"),
)


@functools.cache
def mathml(latex: str) -> Markup | None:
    """A formula in the line as MathML; None where LaTeX is not understood."""
    from latex2mathml.converter import convert_to_element

    try:
        return _markup(convert_to_element(latex))
    except Exception:  # of its many kinds, whatever a text between the marks provokes
        return None


def _markup(element: Element) -> Markup:
    """An element with all below it, as far as they are presentation."""
    text = Markup.escape(html.unescape(element.text or ""))  # it writes signs as entities
    inner = text + Markup().join(
        _markup(child) + Markup.escape(html.unescape(child.tail or "")) for child in element
    )
    if element.tag not in ELEMENTS:
        return inner
    kept = [
        Markup(' {}="{}"').format(name, value)
        for name, value in element.attrib.items()
        if name in ATTRIBUTES
    ]
    return Markup("<{0}{1}>{2}</{0}>").format(element.tag, Markup().join(kept), inner)
