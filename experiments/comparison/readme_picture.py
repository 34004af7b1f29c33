"""Draws the README's picture: samples of a pretrained model of each kind.

    python -m experiments.comparison.readme_picture

draws ten samples of each of `MODELS` with the key of seed 0, shows all of them in the order drawn,
and writes docs/samples.png. A conditional model is asked for the classes in their order.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

import jaxgen
from experiments.running.cli import exit_code, parse_flags
from jaxgen.report import figures

MODELS = (
    "rbm-pcd500-epochs-400",
    "dbn-two500",
    "wake_sleep-labelled",
    "dbm-centred",
    "vae-burda",
    "gan-deep-epochs-100",
    "dcgan-fast-conditional",
)
"""Folders in `pretrained`, one for each kind of model."""
NUM_SHOWN = 10
"""Samples of each model."""


@dataclass(frozen=True)
class Args:
    """Draw the README's picture from the pretrained models."""

    root: Path = Path()
    """The folder with docs and pretrained."""


def samples_of(folder: Path) -> np.ndarray:
    """The first samples of a run [10, H, W, C] in [0, 1], of classes 0 to 9 where it is asked."""
    run = jaxgen.load(folder)
    num_classes = run.learner.num_classes
    labels = np.arange(NUM_SHOWN) % num_classes if num_classes else None
    return np.asarray(run.sample(jax.random.key(0), NUM_SHOWN, labels=labels))


def main(args: Args) -> None:
    """Writes the picture."""
    rows = {name: samples_of(args.root / "pretrained" / name) for name in MODELS}
    figures.save(figures.rows_of(rows), args.root / "docs" / "samples.png")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(parse_flags(Args))))
