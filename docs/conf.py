"""The site: `sphinx-build -W -j 2 -b html docs docs/_build` runs its notebooks and builds it."""

import ast
import importlib
import inspect
import os
import pkgutil
import re
import sys
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

typing.GENERATING_DOCUMENTATION = "jaxgen"  # jaxtyping then has short names
import jax  # noqa: E402

import jaxgen  # noqa: E402


def offered() -> dict[str, list[str]]:
    """The names that each package of the library offers and that are no modules."""
    walked = pkgutil.walk_packages(jaxgen.__path__, "jaxgen.")
    packages = ["jaxgen", *(each.name for each in walked if each.ispkg)]
    modules = {name: importlib.import_module(name) for name in packages}
    return {
        name: [each for each in getattr(module, "__all__", []) if is_described(module, each)]
        for name, module in modules.items()
    }


def unwrap_derivatives() -> None:
    """Puts functions in the place of those with a derivative of their own, which are objects."""
    for found in pkgutil.walk_packages(jaxgen.__path__, "jaxgen."):
        if found.name == "jaxgen.__main__":  # a command, of which nothing is imported
            continue
        module = importlib.import_module(found.name)
        for name, value in vars(module).items():
            if isinstance(value, jax.custom_jvp | jax.custom_vjp):
                setattr(module, name, value.__wrapped__)


def is_described(module: ModuleType, name: str) -> bool:
    """Whether a name is that of a class or a function."""
    return hasattr(getattr(module, name), "__qualname__")


unwrap_derivatives()

project = html_title = "jaxgen"
author = "The jaxgen authors"
version = release = jaxgen.__version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
smartquotes = False  # which would make one dash of the two of a flag

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_copyright = False
html_copy_source = False  # a copy of each page is none of the pages in docs
pygments_style = "friendly"
pygments_dark_style = "native"

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_execution_excludepatterns = os.environ.get("EXCLUDED_NOTEBOOKS", "").split()  # for CI
nb_output_stderr = "remove"  # XLA notes there that a compilation was slow
nb_code_prompt_show = "Show a solution"
nb_code_prompt_hide = "Hide the solution"
nb_merge_streams = True

autosummary_context = {"offered": offered()}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
add_module_names = False
maximum_signature_line_length = 70
napoleon_use_ivar = True
napoleon_custom_sections = [("Errors", "params_style"), ("Metrics", "params_style")]
default_role = "py:obj"
highlight_language = "none"  # of the formulas in docstrings

# ---- docstrings: Markdown with Google's sections becomes reStructuredText

CODE = re.compile(r"(`+[^`]+`+)")


def escaped(line: str) -> str:
    """A line in which *, | and a last _ stand for themselves, but for what is code."""
    parts = CODE.split(line)
    parts[::2] = [re.sub(r"[*|]|(?<=\w)_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


def indent_of(line: str) -> int:
    """Spaces that a line begins with."""
    return len(line) - len(line.lstrip())


def restructured(lines: list[str]) -> Iterator[str]:
    """A docstring whose indented paragraphs are blocks of code, as in Markdown."""
    text, code = "", False  # the last line of text; whether the block below it goes on
    for before, line in zip(["", *lines], lines, strict=False):
        deeper = bool(text) and indent_of(line) > indent_of(text)
        if line.strip() and not (code and deeper):
            code = deeper and not before.strip()
            if code:
                yield from (" " * indent_of(text) + "::", "")
            text = text if code else line
        yield line if code else escaped(line)


def rewrite_docstring(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """The docstring of an object as Sphinx reads it."""
    if what == "attribute" and lines[0].startswith("Alias for field number"):
        lines.clear()  # of a NamedTuple's field without a description
    if what in ("attribute", "data", "property"):
        lines.insert(0, "")  # in a first line napoleon takes what is before a colon for a type
    lines[:] = restructured(lines)


def rewrite_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returns: str
) -> tuple[str, str | None] | None:
    """A function's signature as its source has it, and a class's without the types of its fields.

    The names of types, such as `Visible`, are shorter than what they stand for.
    """
    if not signature:
        return None
    if what in ("class", "exception"):
        found = inspect.signature(obj)
        bare = [each.replace(annotation=each.empty) for each in found.parameters.values()]
        return str(found.replace(parameters=bare, return_annotation=found.empty)), None
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(obj)))
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    if what == "method" and not isinstance(inspect.getattr_static(obj, "__self__", None), type):
        function.args.args = function.args.args[1:]
    given_back = ast.unparse(function.returns) if function.returns else None
    return f"({ast.unparse(function.args)})", given_back


# ---- formulas as MathML, which browsers set without a program from the network


def spaced(node: nodes.Element) -> str:
    """A formula with a space between log and a letter, which TeX sets by itself."""
    return re.sub(r"\\log (?=\w)", r"\\log\\,", node.astext())


def visit_math(translator: HTML5Translator, node: nodes.math) -> None:
    """A formula within a line."""
    translator.body.append(tex2mathml(spaced(node)))
    raise nodes.SkipNode


def visit_math_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """A formula with lines of its own."""
    formula = tex2mathml(spaced(node), as_block=True)
    translator.body.append(f'<div class="math">{formula}</div>')
    raise nodes.SkipNode


# ---- links: to files of the library, and to names that a package offers from a module of its own

FILE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(jaxgen/[\w/]+?)(?:/__init__)?(?:\.py)?\)")


def rewrite_links(app: Sphinx, docname: str, source: list[str]) -> None:
    """Links to files of the library lead to the reference, others beside docs to a page here."""
    text = FILE.sub(lambda link: f"{{py:mod}}`{link[1]} <{link[2].replace('/', '.')}>`", source[0])
    for name in ("CONTRIBUTING", "CHANGELOG"):
        text = text.replace(f"](../{name}.md", f"]({name.lower()}.md")
    source[0] = text


def rewrite_included(app: Sphinx, path: Path, docname: str, content: list[str]) -> None:
    """Links of a file beside docs, included as a page of it, to others beside docs."""
    text = content[0].replace("](CONTRIBUTING.md", "](contributing.md")
    content[0] = text.replace("](CITATION.cff", "](../CITATION.cff")


def find_home(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, inner: nodes.Element
) -> nodes.Element | None:
    """Where a class or function is described that another module imports, such as `jaxgen.fit`."""
    package, _, name = node.get("reftarget", "").rpartition(".")
    try:
        found = getattr(sys.modules[package or node.get("py:module")], name)
        home = f"{found.__module__}.{found.__qualname__}"
    except (KeyError, AttributeError):
        return None
    python = env.get_domain("py")
    return python.resolve_xref(env, node["refdoc"], app.builder, "obj", home, node, inner)


def link_exactly(app: Sphinx, doctree: nodes.document) -> None:
    """A type's name in a signature links to that name in its module, and to no other of the name.

    Sphinx looks for any module's where the attribute is there, whatever its value.
    """
    for node in doctree.findall(pending_xref):
        if not node.get("refspecific", True):
            del node["refspecific"]


def check_reference(app: Sphinx, env: BuildEnvironment) -> None:
    """Warns of each public module, class and function that the reference lacks."""
    described = env.get_domain("py").objects
    for found in pkgutil.walk_packages(jaxgen.__path__, "jaxgen."):
        if found.name == "jaxgen.__main__":  # a command, of which nothing is imported
            continue
        module = importlib.import_module(found.name)
        own = [
            f"{found.name}.{name}"
            for name, value in vars(module).items()
            if not name.startswith("_")
            and (inspect.isclass(value) or inspect.isroutine(value))
            and value.__module__ == found.name
        ]
        for name in {found.name, *own} - {*described}:
            logging.getLogger(__name__).warning("%s is not in the reference", name)


def setup(app: Sphinx) -> None:
    """The entry point that Sphinx calls."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("autodoc-process-docstring", rewrite_docstring, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", rewrite_signature)
    app.connect("source-read", rewrite_links)
    app.connect("include-read", rewrite_included)
    app.connect("doctree-read", link_exactly)
    app.connect("missing-reference", find_home)
    app.connect("env-check-consistency", check_reference)
