"""What a DBN is judged by, and figures that set RBM, DBN and fine-tuned DBN side by side.

All of it works on `dbn.Net`s: an RBM is one without directed layers, and a fine-tuned DBN one
whose two directions differ.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from experiments.lab.rbm.tasks import binarized
from experiments.running.artifacts import NUM_SHOWN, Drawing, task_key
from jaxgen.data import Dataset
from jaxgen.evaluation import sample_quality
from jaxgen.learner import named_key
from jaxgen.models import dbn, rbm
from jaxgen.models.dbn import Net
from jaxgen.random import Binarize, bernoulli, binarize
from jaxgen.report import figures
from jaxgen.report.page import Section, Table, number

NUM_JUDGED = 1000
"""Samples, and test images, that distances and variances are measured on."""
JUDGED = {
    "nearest_training_distance": "samples: distance to the nearest training image",
    "pixel_variance": "samples: variance of the pixels",
}
COLUMNS = {
    "test_reconstruction_error": "test reconstruction error",
    "free_energy_gap": "free-energy gap of the top pair, nats",
    "never_on": "never on",
    "always_on": "always on",
    **JUDGED,
}
"""Measures and their titles in a table."""
ERROR = "mean over pixels of (x - p(v=1|h))^2 after an up and a down pass, x the grey image"


@partial(jax.jit, static_argnums=0)
def measure(
    binary: Binarize, net: Net, train: UInt8[Array, "..."], test: UInt8[Array, "..."]
) -> dict[str, Array]:
    """What a net is judged by, on the first training images and on the whole test set.

    Returns:
        test_reconstruction_error: mean over pixels of (x - p(v=1|h_1))^2, x the grey image, after
            an up pass from the input to the top and a down pass back.
        free_energy_gap: mean F(test) - mean F(train) of the top RBM, at the states that the up pass
            draws; nats per image.
        never_on, always_on: share of top units on in less than 1 %, more than 99 % of the test
            images.
    """
    key_train, key_test, key_up, key_pass = jax.random.split(
        named_key(jax.random.key(0), "measure"), 4
    )
    visible = binarize(key_test, test, binary)
    hidden, probs = dbn.reconstruct(net, key_pass, visible)
    grey = test.reshape(visible.shape) / 255.0

    def top_energy(visible: Array) -> Array:
        return jnp.mean(rbm.free_energy(net.top, dbn.up(net.recognition, key_up, visible)[-1]))

    often = jnp.mean(hidden, axis=0)
    return {
        "test_reconstruction_error": jnp.mean(jnp.square(grey - probs)),
        "free_energy_gap": top_energy(visible) - top_energy(binarize(key_train, train, binary)),
        "never_on": jnp.mean(often < 0.01),
        "always_on": jnp.mean(often > 0.99),
    }


def measurer(binary: Binarize, dataset: Dataset) -> Callable[[Net], dict[str, Any]]:
    """`measure` for a data set, which it holds on the device: net -> dict of numbers."""
    test = jax.device_put(dataset.test.images)
    train = jax.device_put(dataset.train.images[: len(test)])
    return lambda net: jax.device_get(measure(binary, net, train, test))


def measure_all(
    binary: Binarize, dataset: Dataset, nets: Mapping[str, Net]
) -> dict[str, dict[str, float]]:
    """`measure` for several nets, by their names."""
    measured = measurer(binary, dataset)
    return {
        name: {key: float(value) for key, value in measured(net).items()}
        for name, net in nets.items()
    }


reconstruct = jax.jit(dbn.reconstruct)
generate = jax.jit(dbn.generate, static_argnums=(3, 4))


def file_name(title: str) -> str:
    """A title as the name of a file: 2.3 DBN is 2_3_DBN."""
    return re.sub(r"\W+", "_", title)


def composed(layers: dbn.Layers) -> np.ndarray:
    """W_1 W_2 ... W_L transposed: each top unit's weights multiplied down to the pixels."""
    product = np.asarray(layers[0]["w"])
    for layer in layers[1:]:
        product = product @ np.asarray(layer["w"])
    return product.T


def top_filters(drawing: Drawing, layers: dbn.Layers) -> Section:
    """2.1: the top weights as a sheet, and multiplied down to the pixels."""
    top, name = np.asarray(layers[-1]["w"]).T, f"W{len(layers)}"
    strongest = np.sort(np.abs(top), axis=1)[:, ::-1]
    half = (strongest.cumsum(axis=1) < strongest.sum(axis=1, keepdims=True) / 2).sum(axis=1) + 1
    answer = [
        f"A panel of {name} holds one top unit's weights to the {top.shape[1]} units below. In the "
        f"median unit half of the absolute weight lies on {np.median(half):.0f} of them (from "
        f"{half.min()} to {half.max()})."
    ]
    panels = figures.as_square(top) if len(layers) > 1 else drawing.images(top)
    sheet = figures.filter_sheet(panels, f"Weights {name}, one panel per top unit")
    paths = [drawing.save("2_1", sheet)]
    if len(layers) > 1:
        title = f"Weights W1 to {name} multiplied, one panel per top unit"
        pixels = figures.filter_sheet(drawing.images(composed(layers)), title)
        paths.append(drawing.save("2_1_pixels", pixels))
        answer.append(
            "The units below have no order in the plane, so the panels show no strokes. Multiplied "
            f"down to the pixels, W1 to {name}, a top unit is the sum of the filters it calls for. "
            "That ignores the sigmoids between, but shows what a unit is about."
        )
    return Section("2.1", "What the top units learned", answer, paths)


def reconstructions(
    drawing: Drawing,
    name: str,
    nets: Mapping[str, Net],
    binary: Binarize,
    measured: Mapping[str, Mapping[str, float]],
) -> Section:
    """The first test images through each net, in columns, and the last net's top state."""
    images = drawing.dataset.test.images[:NUM_SHOWN]
    key_data, key_pass = jax.random.split(task_key("reconstruction"))
    visible = binarized(key_data, jnp.asarray(images), binary)
    strips: dict[str, np.ndarray] = {"input": drawing.images(visible)}
    for label, net in nets.items():
        hidden, probs = reconstruct(net, key_pass, visible)
        strips[label] = drawing.images(probs)
    strips["top state"] = np.asarray(hidden)
    said = ", ".join(
        f"{label} {number(values['test_reconstruction_error'])}"
        for label, values in measured.items()
    )
    answer = (
        "Mean squared error per pixel against the grey image over the whole test set, after an up "
        f"pass to the top and a down pass back: {said}. The states of all layers are drawn."
    )
    figure = figures.columns_of(strips, f"The first {len(images)} test images")
    path = drawing.save(file_name(name), figure)
    return Section(name, "Reconstructions", [answer], [path])


@partial(jax.jit, static_argnums=0)
def set_states(num_units: int) -> tuple[Array, Array]:
    """Top states to start from: the shown ones, and those whose images are judged.

    Of the shown ones the first half has 10 % of the units on, the second half a single unit; of
    the judged ones 10 % of the units are on.
    """
    half = NUM_SHOWN // 2
    tenth = bernoulli(task_key("top states"), jnp.full((half, num_units), 0.1))
    single = jnp.eye(num_units)[np.linspace(0, num_units - 1, half).astype(int)]
    judged = bernoulli(task_key("judged states"), jnp.full((NUM_JUDGED, num_units), 0.1))
    return jnp.concatenate([tenth, single]), judged


def judge(images: np.ndarray, dataset: Dataset) -> dict[str, float]:
    """How near images are to the training set, and how much they differ from each other."""
    distances = sample_quality.nearest_distance(images, dataset.train.images)
    return {
        "nearest_training_distance": float(distances.mean()),
        "pixel_variance": sample_quality.pixel_variance(images),
    }


def generated(
    drawing: Drawing, name: str, nets: Mapping[str, Net], steps: int, gain: float
) -> tuple[Section, dict[str, dict[str, float]]]:
    """Images of all nets from the same top states, after as many Gibbs steps of each top pair.

    Nets with as many top units start from the same states; where the numbers differ, the states
    are drawn alike. Returns the section, and the measures by net.
    """
    dataset, file = drawing.dataset, file_name(name)
    judged = {"test images": judge(dataset.test.images[:NUM_JUDGED] / 255.0, dataset)}
    strips, sheets = {}, []
    widths = {label: len(net.top["b_hidden"]) for label, net in nets.items()}
    for label, net in nets.items():
        shown, many = set_states(widths[label])
        start = jnp.concatenate([shown, many])
        _, probs = generate(net, task_key("generation"), start, steps, gain)
        first, samples = np.split(drawing.images(probs), [NUM_SHOWN])
        state = "set state" if len({*widths.values()}) == 1 else f"set state, {label}"
        strips |= {state: np.asarray(shown), label: first}
        judged[label] = judge(samples, dataset)
        title = f"{label}: first 100 samples, {steps} Gibbs steps from 10 % of top units on"
        sheet = figures.image_sheet(samples[:100], title)
        sheets.append(drawing.save(file_name(f"{file}_{label}"), sheet))
    title = f"{steps} Gibbs steps from set states: 10 % of units on (left), one unit on (right)"
    paths = [drawing.save(file, figures.rows_of(strips, title)), *sheets]
    return Section(
        name, "Generated images", said_of(judged, gain), paths, table(judged, JUDGED)
    ), judged


def said_of(judged: Mapping[str, Mapping[str, float]], gain: float) -> Sequence[str]:
    """The answer of `generated` in words that the numbers bear out."""
    nets = [label for label in judged if label != "test images"]
    near = sorted(nets, key=lambda label: judged[label]["nearest_training_distance"])
    real = judged["test images"]
    order = ", ".join(f"{n} {number(judged[n]['nearest_training_distance'], 3)}" for n in near)
    return [
        f"Top states are set, Gibbs steps of the top pair follow, then a down pass; p(v=1|h) is "
        f"shown. The set state is multiplied by a gain of {gain:g}.",
        f"Mean distance of {NUM_JUDGED} samples to their nearest training image, nearest first: "
        f"{order}; of as many real test images {number(real['nearest_training_distance'], 3)}. A "
        "smooth blur is near to many images too, so the distance is to be read with the variance "
        "of the pixels over the samples, which is lower than the test images' where samples are "
        "alike or blurred.",
        *(
            f"The samples of {label} are all alike: its chains end in one state."
            for label in nets
            if judged[label]["pixel_variance"] < real["pixel_variance"] / 100
        ),
    ]


def table(measured: Mapping[str, Mapping[str, float]], columns: Mapping[str, str]) -> Table:
    """One row per net; `columns` maps measures to their titles."""
    rows = [
        [name, *(number(values[key], 3) for key in columns)] for name, values in measured.items()
    ]
    return Table(["", *columns.values()], rows)
