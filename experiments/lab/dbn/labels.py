"""The use of label units in the top pair: a class for an image, and images of an asked class."""

from collections import Counter
from collections.abc import Mapping
from functools import partial

import jax
import numpy as np

from experiments.lab.dbn import classification_error
from experiments.lab.dbn.classification_error import ErrorOverEpochs
from experiments.lab.drawing import Drawing, class_sheet
from jaxgen.data import Dataset
from jaxgen.evaluation.adapters.nets import classify
from jaxgen.evaluation.model import compute_in_blocks
from jaxgen.models import dbn, label_units, wake_sleep
from jaxgen.random import Binarize
from jaxgen.report import figures
from jaxgen.report.page import Section, Table, number

NUM_CONFUSIONS = 10
"""Pairs of classes in the table of the most frequent confusions."""


@partial(jax.jit, static_argnums=2)
def _most_probable(net: dbn.Net, images: jax.Array, binary: Binarize) -> jax.Array:
    return classify(net, binary, images).argmax(axis=-1)


def predict(net: dbn.Net, dataset: Dataset, binary: Binarize) -> np.ndarray:
    """The most probable label of each test image."""
    return compute_in_blocks(lambda block: _most_probable(net, block, binary), dataset.test.images)


def test_error(net: dbn.Net, dataset: Dataset, binary: Binarize) -> dict[str, float]:
    """Share of the test images whose most probable label is not theirs; nothing without labels."""
    if not label_units.num_classes(net.top):
        return {}
    wrong = predict(net, dataset, binary) != dataset.test.labels
    return {classification_error.METRIC: float(wrong.mean())}


def sections(
    drawing: Drawing,
    nets: Mapping[str, dbn.Net],
    config: dbn.Config | wake_sleep.Config,
    tuning: ErrorOverEpochs | None = None,
) -> list[Section]:
    """Classified test images and asked classes of the last of the nets; nothing without labels.

    Args:
        drawing: of the run.
        nets: by their names, in the order in which they were trained.
        config: of the last one: how grey pixels become input of binary units, and how it samples.
        tuning: the test errors of a fine-tuning, which began with the first net that has labels.
    """
    dataset = drawing.dataset
    labelled = {name: net for name, net in nets.items() if label_units.num_classes(net.top)}
    if not labelled:
        return []
    *_, net = labelled.values()
    num_steps, gain = config.num_sampling_steps, config.label_gain
    draw = partial(dbn.sample_net, num_steps, dataset.image_shape, net, label_gain=gain)
    words = (
        f"The label unit of the class is clamped, and E[v|h] is shown after {num_steps} Gibbs "
        "steps of the top pair from random top units and a down pass."
    )
    if gain != 1.0:
        words += (
            f" The weights of that unit are multiplied by {gain:g} (`--label-gain`), so these are "
            "not draws of the model: they are more typical of the class, and vary less."
        )
    sheet = class_sheet(drawing, jax.jit(draw, static_argnums=1), words)
    found = {name: predict(each, dataset, config.binarize) for name, each in labelled.items()}
    further = []
    if tuning and tuning.errors:
        before = float(np.mean(next(iter(found.values())) != dataset.test.labels))
        further = [_over_fine_tuning(drawing, before, tuning)]
    return [_classified(dataset, found), sheet, *further]


def _over_fine_tuning(drawing: Drawing, before: float, found: ErrorOverEpochs) -> Section:
    """The test error of a fine-tuned net over the epochs; `before` is what it began with."""
    epochs, last = found.epochs, found.last
    curve = figures.curves(
        {"fine-tuned DBN": ([0.0, *epochs], [100 * before, *found.percent])},
        x="epoch",
        y="test error, %",
    )
    mean, least = number(100 * found.mean, 3), min(found.percent)
    answer = [
        f"It goes from {number(100 * before, 3)}% to {mean}%, the mean of the evaluations after "
        f"epochs {', '.join(f'{epoch:g}' for epoch in epochs[-len(last) :])}, which range over "
        f"{classification_error.span(last)}%.",
        f"No epoch is chosen by test images: the least error on the way, {number(least, 3)}%, does "
        "not count.",
    ]
    title = "Test error by free energy over the fine-tuning"
    return Section(
        "label errors",
        "Classification over the fine-tuning",
        answer,
        [drawing.save("label_errors", curve, title)],
        question="What does the fine-tuning do to the test error?",
    )


def _classified(dataset: Dataset, found: Mapping[str, np.ndarray]) -> Section:
    """Errors of all nets, and what the last one takes for what, from the labels that they name."""
    labels, names = dataset.test.labels, dataset.class_names
    *_, last = found
    pairs = zip(labels.tolist(), found[last].tolist(), strict=True)
    confused = Counter((label, other) for label, other in pairs if label != other)
    rows = [
        [names[label], names[other], str(count)]
        for (label, other), count in confused.most_common(NUM_CONFUSIONS)
    ]
    wrong = {name: 100 * float(np.mean(each != labels)) for name, each in found.items()}
    errors = ", ".join(f"{name} {number(share, 3)}%" for name, share in wrong.items())
    most = max(Counter(labels.tolist()).values())
    chance = 100 * (1 - most / len(labels))
    verdict = "reads" if wrong[last] < chance else "does not read"
    answer = [
        f"The {last} {verdict} the classes: it is wrong for {number(wrong[last], 3)}% of "
        f"{len(labels):,} test images, where always the most frequent class would be for "
        f"{number(chance, 3)}%.",
        "The class of an image is the label of least free energy in the top pair, after an up pass "
        f"of probabilities. Test error: {errors}.",
        f"The table has the {len(rows)} most frequent confusions of {last}.",
    ]
    table = Table(["class", "taken for", "test images"], rows)
    return Section(
        "labels",
        "Classification by free energy",
        answer,
        (),
        table,
        question="How many test images does the model itself classify rightly?",
    )
