"""The flags of an experiment as `--help` shows them: in groups, below examples and their times.

Settings are grouped by what computes with them (`RunArgs`, a model's `Config`), readers look for
them by purpose. So `--help` has dataclasses of its own, with the same flags; nothing is parsed into
them.
"""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Mapping
from typing import Annotated, Any, get_type_hints

import tyro

OWN = "run"
"""The group of an experiment's own flags, and of those that choose among its settings."""
GROUPS: Mapping[str, tuple[str, ...]] = {
    OWN: ("preset", "quick"),
    "model": ("model",),
    "training": ("epochs", "batch_size", "flip", "deterministic", "stream"),
    "data": ("dataset", "data_dir", "manual_dir", "images"),
    "output": ("out", "resume", "overwrite", "checkpoint_seconds"),
    "logs": ("log_every", "tensorboard", "log"),
    "seeds": ("seed", "seeds"),
    "processes": ("cluster",),
}
"""Groups in their order, with the fields of `RunArgs` in each; a dataclass stands for its own."""


def examples_in_words(examples: Mapping[str, str]) -> str:
    """Command lines with what they do, one a line, or two where the first would be too long."""
    width = max(map(len, examples), default=0)
    lines = [f"  {command:{width}}  {words}" for command, words in examples.items()]
    if max(map(len, lines), default=0) > 80:
        lines = [f"  {command}\n      {words}" for command, words in examples.items()]
    return "\n".join(["Examples, with their time on two cores:", *lines])


def describe(kind: type, examples: Mapping[str, str], note: str = "") -> str:
    """The first paragraph of a dataclass's docstring, examples, and a note on what follows."""
    text = inspect.getdoc(kind) or ""
    # Tyro joins lines that begin with a letter.
    words, note = (
        textwrap.fill(each, 78, subsequent_indent="  ")
        for each in (text.partition("\n\n")[0], note)
    )
    shown = examples_in_words(examples) if examples else ""
    return "\n\n".join(filter(None, [words, shown, note]))


def field_docstrings(kind: type) -> dict[str, str]:
    """The docstring below each field of a dataclass, those of its bases included."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, after in zip(body.body, body.body[1:], strict=False):
            text = after.value.value if _is_text(after) else None  # type: ignore[attr-defined]
            if isinstance(field, ast.AnnAssign) and text:
                found[ast.unparse(field.target)] = " ".join(text.split())
    return found


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _fields(settings: Any) -> dict[str, Any]:
    """The fields of a dataclass for `make_dataclass`, by name, those of inner dataclasses too."""
    kind = type(settings)
    hints, texts = get_type_hints(kind, include_extras=True), field_docstrings(kind)
    found: dict[str, Any] = {}
    annotated: Any = Annotated  # of types that are not known before
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            found[field.name] = _fields(value)
        else:
            shown = "(default: none)" if value == () else None  # where tyro would show nothing
            about = tyro.conf.arg(help=texts.get(field.name, ""), help_behavior_hint=shown)
            hint = annotated[hints[field.name], about]
            default = dataclasses.field(default=value)
            found[field.name] = {field.name: (field.name, hint, default)}
    return found


def _flat(entry: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """The leaves of `_fields`."""
    leaves: list[tuple[str, Any, Any]] = []
    for value in entry.values():
        leaves += _flat(value) if isinstance(value, Mapping) else [value]
    return leaves


def flat(kind: type) -> type:
    """The dataclass for its `--help` alone, or itself if a field has no default."""
    settings: Any = object.__new__(kind)  # unchecked: the defaults alone may be refused
    for field in dataclasses.fields(kind):
        value = field.default
        if field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        if value is dataclasses.MISSING:
            return kind
        object.__setattr__(settings, field.name, value)
    return dataclasses.make_dataclass(kind.__name__, _flat(_fields(settings)))


def group_settings(settings: Any) -> type:
    """A dataclass of dataclasses, one a group, whose flags and defaults are those of settings.

    Args:
        settings: of an experiment, a kind of `RunArgs`.
    """
    fields, groups = _fields(settings), []
    shared = {name for names in GROUPS.values() for name in names}
    for group, names in GROUPS.items():
        if group == OWN:
            names = (*names, *(name for name in fields if name not in shared))
        leaves = [leaf for name in names for leaf in _flat(fields.get(name, {}))]
        kind = dataclasses.make_dataclass(group, leaves, namespace={"__doc__": ""})
        groups.append((group, kind, dataclasses.field(default_factory=kind)))
    return dataclasses.make_dataclass(type(settings).__name__, groups)
