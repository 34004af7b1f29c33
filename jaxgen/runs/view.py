"""A run as a prompt and a notebook show it. `run` is a `jaxgen.runs.run.Run`."""

import contextlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from jaxgen import notebook
from jaxgen.errors import CheckpointError
from jaxgen.runs import samples
from jaxgen.runs.settings import printable, shown

LONG_PATH = 40
"""Letters of a path of which a line shows the end alone."""
MOST_NUMBERS = 12
"""Metrics that a notebook shows."""


def line(run: Any) -> str:
    """The run in a short line, without its arrays; of a long path the folder's own name."""
    seeds = ", ".join(str(one.seed) for one in run.seeds)
    which = f"seeds {seeds}" if run.seeds else f"seed {run.seed}"
    if isinstance(epochs := run.settings.get("epochs"), int):
        which += f", {_passes(epochs)}"
    name, folder = printable(run.dataset_name, 40), str(run.folder)
    if len(folder) > LONG_PATH:
        folder = f".../{run.folder.name[-LONG_PATH:]}"
    return f"<Run of {run.model} on {name}, {which}, in {folder}>"


def card(run: Any) -> str:
    """The run in HTML: what was trained, its numbers, and its first samples."""
    first = run.seeds[0] if run.seeds else run
    epochs, batch = (run.settings.get(name) for name in ("epochs", "batch_size"))
    facts: dict[str, Any] = {
        "trained": f"{_passes(epochs)} in batches of {batch}, {run.train_seconds:,.0f} s",
        "seed": ", ".join(str(one.seed) for one in run.seeds or (run,)),
        "settings": _describe_changes(run.config) or "those of the lab",
        "folder": run.folder,
    }
    for name, value in [*run.summary["metrics"].items()][:MOST_NUMBERS]:
        facts[name.replace("_", " ")] = _number(value)
    title, images = f"{run.model} on {run.dataset_name}", []
    with contextlib.suppress(CheckpointError):  # a run without them is a run
        images = [*samples.read_samples(first.folder)[: notebook.NUM_THUMBNAILS]]
    return notebook.card(title, facts, images, f"the first samples of {title}")


def _describe_changes(config: Any) -> str:
    """The settings of a model that are not its class's defaults, in a line.

    Sizes of layers are always there, but not of a VAE, whose convolutions have none.
    """
    values = [(field.name, getattr(config, field.name), field.default) for field in fields(config)]
    sizes = () if hasattr(config, "architecture") else ("num_hidden", "hidden_sizes")
    return ", ".join(
        f"{name} {value}" for name, value, default in values if value != default or name in sizes
    )


def _passes(epochs: Any) -> str:
    """Passes over the training set, as a setting has them."""
    return f"{shown(epochs)} epoch{'s' * (epochs != 1)}"


def _number(value: Any) -> str:
    """A metric as text: a number, or of several seeds their mean and standard deviation."""
    if isinstance(value, Mapping):
        return f"{value['mean']:.4g} ± {value['std']:.2g}"
    return f"{value:.4g}"
