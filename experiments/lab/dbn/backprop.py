"""A classifier by backprop that starts as the trained DBN, and the same net from random weights."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array

from experiments.lab.dbn import classification_error
from experiments.lab.dbn.classification_error import ErrorOverEpochs
from experiments.lab.dbn.layers import DBNArgs
from experiments.lab.drawing import Drawing
from experiments.lab.rbm.training import pixels_of
from experiments.running.session import Session
from experiments.running.train import train_in_session
from jaxgen.data import Dataset
from jaxgen.errors import MAX_SIZE, SettingError, is_whole
from jaxgen.evaluation import backprop
from jaxgen.evaluation.model import compute_in_blocks, feature_input
from jaxgen.learner import PRNGKey
from jaxgen.models import rbm
from jaxgen.models.dbn import Layers
from jaxgen.random import Binarize
from jaxgen.report import figures
from jaxgen.report.page import Section, Table, number
from jaxgen.runs import folder as run_folder
from jaxgen.training.seeds import start_from

logger = logging.getLogger("jaxgen")

STARTS = {"greedy": "the DBN", "random": "random weights"}
"""Folders of the two trainings, in `FOLDER`, and where each begins."""
FOLDER = "backprop"
SHOWN = {"test_error": "test error", "train_error": "training error", "loss": "loss"}


def check(args: DBNArgs, num_epochs: int, dataset: Dataset, folder: Path) -> None:
    """Raises SettingError for classifiers that cannot be trained in this run folder.

    A run that has some keeps their number of epochs when it goes on, because their rate falls over
    it, and its page and its command stay of one mind.
    """
    known = run_folder.read_config(folder).get("backprop_epochs", 0) if args.resume else 0
    if is_whole(known, 1) and num_epochs != known and (folder / FOLDER).exists():
        raise SettingError(
            expected=f"--backprop-epochs {known}, as in the run in {folder}",
            found=str(num_epochs or "none"),
            remedy=f"set --backprop-epochs {known}, or remove {folder / FOLDER}",
        )
    if not num_epochs:
        return
    if dataset.num_classes < 2:
        raise SettingError(
            expected="--backprop-epochs with images of two classes or more",
            found=f"{dataset.num_classes} of them in {dataset.name}",
            remedy="leave --backprop-epochs out, or put the images into one folder per class",
        )
    most = MAX_SIZE // dataclasses.replace(args, epochs=1).num_updates(dataset)
    if num_epochs > most:
        raise SettingError(
            expected=f"--backprop-epochs of at most {most:,}",
            found=str(num_epochs),
            remedy="set --backprop-epochs",
        )


def train(args: DBNArgs, num_epochs: int, session: Session, layers: Layers) -> None:
    """Trains a classifier from the layers and from random ones, each in a folder of its own."""
    args = dataclasses.replace(args, epochs=num_epochs)
    dataset, sizes = session.dataset, args.model.hidden_sizes
    binarize: Binarize = "threshold" if args.model.binarize == "threshold" else "none"
    config = backprop.Config(dataset.num_classes, args.num_updates(dataset), binarize=binarize)
    pixels = pixels_of(args.model, dataset)

    def measure(state: backprop.State) -> dict[str, float]:
        return {classification_error.METRIC: test_error(state.params, session, args.model.binarize)}

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
def _classes(params: backprop.Params, pixels: Array) -> Array:
    visible = rbm.standardise(params.layers[0], pixels)
    return backprop.logits_of(params, visible).argmax(axis=-1)


def test_error(params: backprop.Params, session: Session, binary: Binarize) -> float:
    """Share of the test images whose most probable class is not theirs."""
    test = session.dataset.test
    method: Binarize = "none" if rbm.is_gaussian(params.layers[0]) else binary
    found = compute_in_blocks(lambda x: _classes(params, feature_input(x, method)), test.images)
    return float(np.mean(found != test.labels))


def results(folder: Path, num_epochs: int) -> dict[str, ErrorOverEpochs]:
    """The errors of both trainings in a run folder, by where they begin.

    Empty unless both are whole: of so many epochs.
    """
    found = {start: classification_error.read(folder / FOLDER / start) for start in STARTS}
    whole = all(each.epochs[-1:] == [num_epochs] for each in found.values())
    return found if whole else {}


def measures(found: dict[str, ErrorOverEpochs]) -> dict[str, float]:
    """The mean of the last errors, for the summary."""
    return {f"backprop_{start}_error": each.mean for start, each in found.items()}


def sections(drawing: Drawing, found: dict[str, ErrorOverEpochs]) -> list[Section]:
    """The value of the greedy start to a classifier; nothing without the trainings."""
    if not found:
        return []
    labels = drawing.dataset.test.labels
    chance = 100 * (1 - max(np.bincount(labels)) / len(labels))
    means = {start: 100 * each.mean for start, each in found.items()}
    rows = [
        [
            STARTS[start],
            number(100 * each.errors[0], 3),
            number(means[start], 3),
            classification_error.span(each.last),
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
    curves = {f"from {STARTS[s]}": (x.epochs, x.percent) for s, x in found.items()}
    figure = figures.curves(curves, x="epoch", y="test error, %")
    return [
        Section(
            "backprop",
            "Backprop from the greedy start",
            [
                verdict(means, chance, len(labels)),
                "Both nets have the DBN's sizes and a softmax on top; all weights descend on the "
                "cross entropy of the labels by Adam, with dropout, at a rate that falls to 0. "
                "No epoch is chosen: the mean of the last evaluations counts.",
            ],
            [drawing.save("backprop", figure, "Test error of both nets over the epochs")],
            Table(head, rows),
            question="What is greedy training worth to a classifier that backprop trains?",
        )
    ]


def verdict(errors: Mapping[str, float], chance: float, num_images: int) -> str:
    """Which start ends better, or why that cannot be known.

    The standard error of the difference is that of two independent shares, which is too large for
    nets that are wrong for the same images, so it errs on the side of no finding.

    Args:
        errors: of each start, in percent.
        chance: the error of naming the most frequent class always, in percent.
        num_images: test images.
    """
    greedy, random = errors["greedy"], errors["random"]
    ends = f"from the DBN {number(greedy, 3)}% of {num_images:,} test images are read wrongly, "
    ends += f"from random weights {number(random, 3)}%"
    idle = [STARTS[start] for start, error in errors.items() if error >= chance]
    if idle:
        return (
            f"A classifier from {' and one from '.join(idle)} has learned nothing yet: {ends}, "
            f"where always the most frequent class would be wrong for {number(chance, 3)}%. More "
            "epochs come first, of the DBN (`--epochs`) and of the classifiers "
            "(`--backprop-epochs`)."
        )
    shares = np.clip([greedy / 100, random / 100], 1 / num_images, 1 - 1 / num_images)
    error = 100 * float(np.sqrt(np.sum(shares * (1 - shares)) / num_images))
    if abs(greedy - random) < 2 * error:
        return (
            f"The starts end too close to tell apart: {ends}, and two standard errors of the "
            f"difference are {number(2 * error, 2)}%."
        )
    return f"The greedy start {'helps' if greedy < random else 'hurts'}: {ends}."
