"""A classifier by backprop that starts as the trained DBN, and the same net from random weights."""

import dataclasses
import logging
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from experiments.lab.dbn.layers import DBNArgs
from experiments.lab.drawing import Drawing
from experiments.lab.rbm.training import pixels_of
from experiments.running.seeds_page import series
from experiments.running.session import Session
from experiments.running.train import train_in_session
from jaxgen.errors import SettingError
from jaxgen.evaluation import backprop
from jaxgen.evaluation.model import compute_in_blocks, feature_input
from jaxgen.learner import PRNGKey
from jaxgen.models import rbm
from jaxgen.models.dbn import Layers
from jaxgen.random import Binarize
from jaxgen.report import figures
from jaxgen.report.page import Section, Table, number
from jaxgen.runs import metrics_log
from jaxgen.training.seeds import start_from

logger = logging.getLogger("jaxgen")

STARTS = {"greedy": "the DBN", "random": "random weights"}
"""Folders of the two trainings, in `FOLDER`, and where each begins."""
FOLDER = "backprop"
SHOWN = {"test_error": "test error", "train_error": "training error", "loss": "loss"}
NUM_LAST = 5
"""Evaluations at the end, of about twenty, whose mean is the error of a training."""


class Found(NamedTuple):
    """The test error of one training over its epochs, as shares."""

    epochs: list[float]
    errors: list[float]

    @property
    def last(self) -> list[float]:
        """The errors whose mean counts."""
        return self.errors[-NUM_LAST:]


def require_labels(dataset_name: str, num_classes: int) -> None:
    """Raises SettingError for data that no classifier learns from."""
    if num_classes < 2:
        raise SettingError(
            expected="--backprop-epochs with images of two classes or more",
            found=f"{num_classes} in {dataset_name}",
            remedy="leave --backprop-epochs out, or put the images into one folder per class",
        )


def train(args: DBNArgs, num_epochs: int, session: Session, layers: Layers) -> None:
    """Trains a classifier from the layers and from random ones, each in a folder of its own."""
    args = dataclasses.replace(args, epochs=num_epochs)
    dataset, sizes = session.dataset, args.model.hidden_sizes
    config = backprop.Config(dataset.num_classes, args.num_updates(dataset))
    pixels = pixels_of(args.model, dataset)

    def measure(state: backprop.State) -> dict[str, float]:
        return {"test_error": test_error(state.params, session, args.model.binarize)}

    def from_dbn(key: PRNGKey, layers: Layers) -> backprop.State:
        del key  # nothing is drawn
        return backprop.init(config, layers)

    for start, words in STARTS.items():
        logger.info("a classifier by backprop, from %s", words)
        state = start_from(from_dbn, session.seeds, layers) if start == "greedy" else None
        train_in_session(
            args,
            backprop.learner(config, session.image_shape, sizes, pixels),
            session.within(f"{FOLDER}/{start}"),
            dataclasses.asdict(config) | {"start": start},
            measure,
            state,
            at_intervals=False,
            shown=SHOWN,
        )


@jax.jit
def _classes(params: backprop.Classifier, pixels: Array) -> Array:
    visible = rbm.standardise(params.layers[0], pixels)
    return backprop.logits_of(params, visible).argmax(axis=-1)


def test_error(params: backprop.Classifier, session: Session, binary: Binarize) -> float:
    """Share of the test images whose most probable class is not theirs."""
    test = session.dataset.test
    method: Binarize = "none" if rbm.is_gaussian(params.layers[0]) else binary
    found = compute_in_blocks(lambda x: _classes(params, feature_input(x, method)), test.images)
    return float(np.mean(found != test.labels))


def results(folder: Path) -> dict[str, Found]:
    """The errors of the trainings in a run folder, by where they begin; empty where there are none.

    Found without a measure is left out.
    """
    found = {}
    for start in STARTS:
        log = folder / FOLDER / start / metrics_log.NAME
        if log.is_file():
            epochs, errors = series(metrics_log.read_lines(log, None), "test_error")
            found[start] = Found(list(epochs), list(errors))
    return {start: each for start, each in found.items() if each.errors}


def measures(found: dict[str, Found]) -> dict[str, float]:
    """The mean of the last errors, for the summary."""
    return {f"backprop_{start}_error": float(np.mean(x.last)) for start, x in found.items()}


def sections(drawing: Drawing, found: dict[str, Found]) -> list[Section]:
    """What the greedy start is worth to a classifier; nothing without the trainings."""
    if len(found) < len(STARTS):
        return []
    means = {start: 100 * float(np.mean(each.last)) for start, each in found.items()}
    rows = [
        [
            STARTS[start],
            number(100 * each.errors[0], 3),
            number(means[start], 3),
            f"{100 * min(each.last):.2f} to {100 * max(each.last):.2f}",
        ]
        for start, each in found.items()
    ]
    epochs = found["greedy"].epochs
    head = [
        "start",
        f"test error after epoch {epochs[0]:.0f}, %",
        f"mean of the last {len(found['greedy'].last)} evaluations, %",
        "their range, %",
    ]
    curves = {
        f"from {STARTS[s]}": (x.epochs, [100 * e for e in x.errors]) for s, x in found.items()
    }
    figure = figures.curves(curves, x="epoch", y="test error, %")
    return [
        Section(
            "backprop",
            "Backprop from the greedy start",
            [
                verdict(means["greedy"], means["random"], len(drawing.dataset.test.labels)),
                "Both nets have the DBN's sizes and a softmax on top; all weights descend on the "
                "cross entropy of the labels by Adam, with dropout, at a rate that falls to 0. "
                "No epoch is chosen: the mean of the last evaluations counts.",
            ],
            [drawing.save("backprop", figure, "Test error of both nets over the epochs")],
            Table(head, rows),
            question="What is greedy training worth to a classifier that backprop trains?",
        )
    ]


def verdict(greedy: float, random: float, num_images: int) -> str:
    """Which start ends better, or that so many test images cannot show it.

    The standard error of the difference is that of two independent shares, which is too large for
    nets that are wrong for the same images, so it errs on the side of no finding.
    """
    shares = np.clip([greedy / 100, random / 100], 1 / num_images, 1 - 1 / num_images)
    error = 100 * float(np.sqrt(np.sum(shares * (1 - shares)) / num_images))
    ends = f"{number(greedy, 3)}% of {num_images:,} test images against {number(random, 3)}%"
    if abs(greedy - random) < 2 * error:
        return (
            f"The starts end too close to tell apart: the net from the DBN is wrong for {ends} of "
            f"that from random weights, where {number(2 * error, 2)} is two standard errors."
        )
    which = "helps" if greedy < random else "hurts"
    return f"The greedy start {which}: the net from it is wrong for {ends} from random weights."
