"""Measures and figures that set RBM, DBN and fine-tuned DBN side by side.

All of it works on `dbn.Net`s: an RBM is one without directed layers, and a fine-tuned DBN one
whose two directions differ.
"""

from collections.abc import Mapping
from functools import partial, reduce
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from experiments.lab import samples as lab_samples
from experiments.lab.drawing import (
    NUM_SHOWN,
    Drawing,
    against_mean,
    file_name,
    mean_image_error,
    with_samples,
)
from experiments.lab.rbm.training import GenerationArgs, make_evaluator
from experiments.lab.samples import VARIANCE, Looks, looks_of
from experiments.lab.study import SAME_ERROR, tabulate
from jaxgen.data import Dataset
from jaxgen.evaluation import sample_quality
from jaxgen.evaluation.monitors import net_monitors
from jaxgen.learner import task_key
from jaxgen.models import dbn, rbm
from jaxgen.models.dbn import Net
from jaxgen.random import Binarize, bernoulli
from jaxgen.report import figures
from jaxgen.report.page import Headline, Section, number

NUM_MEASURED = 1000
"""Samples, and test images, that distances and variances are measured on."""
SAMPLE_COLUMNS = {
    "nearest_training_distance": "samples: distance to the nearest training image",
    "pixel_variance": "samples: variance of the pixels",
    "samples_group": "samples: share alike",
}
COLUMNS = {
    "test_reconstruction_error": "test reconstruction error",
    "free_energy_gap": "free-energy gap of the top pair, nats",
    "never_on": "never on",
    "always_on": "always on",
    **SAMPLE_COLUMNS,
}
"""Measures and their titles in a table."""
SAMPLES = "E[v|h1] after {} Gibbs steps of the top pair from random top units, and a down pass."
ERROR = "mean over pixels of (x - E[v|h])^2 after an up and a down pass, x the image in [0, 1]"


to_visible = jax.jit(rbm.to_visible, static_argnums=3)
reconstruct = jax.jit(dbn.reconstruct)
generate = jax.jit(dbn.generate, static_argnums=(3, 4))


class TrainedNet(NamedTuple):
    """A trained net, images that it generates from set top states, and the measures of both."""

    net: Net
    states: np.ndarray
    """Top states [NUM_SHOWN, units] from which the shown images come."""
    shown: np.ndarray
    samples: np.ndarray
    measures: dict[str, float]
    """Those of `COLUMNS`."""


Nets = Mapping[str, TrainedNet]
"""Nets by the names under which they are compared."""


def top_filters(drawing: Drawing, layers: dbn.Layers) -> Section:
    """2.1: the top weights as a sheet, and multiplied down to the pixels."""
    top, name = np.asarray(layers[-1]["w"]).T, f"W{len(layers)}"
    strongest = np.sort(np.abs(top), axis=1)[:, ::-1]
    half = (strongest.cumsum(axis=1) < strongest.sum(axis=1, keepdims=True) / 2).sum(axis=1) + 1
    below = top.shape[1]
    answer = [
        calls_in_words(float(np.median(half)), below),
        f"A panel of {name} holds one top unit's weights to the {below} units below. Half of the "
        f"absolute weight lies on {np.median(half):.0f} of them in the median unit (from "
        f"{half.min()} to {half.max()}); equal weights would need {(below + 1) // 2}.",
    ]
    panels = figures.as_square(top) if len(layers) > 1 else drawing.images(top)
    shown = [
        drawing.save("2_1", figures.filter_sheet(panels), f"Weights {name}, one panel per top unit")
    ]
    if len(layers) > 1:
        title = f"Weights W1 to {name} multiplied, one panel per top unit"
        product = reduce(np.matmul, [np.asarray(layer["w"]) for layer in layers])
        pixels = figures.filter_sheet(drawing.images(product.T))
        shown.append(drawing.save("2_1_pixels", pixels, title))
        answer.append(
            "The units below have no order in the plane, so the panels show no strokes. Multiplied "
            f"down to the pixels, W1 to {name}, a top unit is the sum of the filters it calls for. "
            "That ignores the sigmoids between, but shows what a unit is about."
        )
    return Section(
        "2.1",
        "What the top units learned",
        answer,
        shown,
        question="What do the top units' weights look like, and which units below do they call?",
    )


def calls_in_words(half: float, below: int) -> str:
    """The finding of 2.1, from the units below that hold half of the median unit's weight."""
    if half < below / 4:
        return "A top unit calls for few of the units below, and has little weight on the others."
    return "A top unit has its weight on many of the units below, rather than on a few."


def reconstructions(
    drawing: Drawing,
    name: str,
    nets: Nets,
    binary: Binarize,
    start: Mapping[str, Net] = MappingProxyType({}),
) -> Section:
    """The first test images through each net, in columns, and the last net's top state.

    The nets of `start` come first, as pictures alone.
    """
    images = drawing.dataset.test.images[:NUM_SHOWN]
    key_data, key_pass = jax.random.split(task_key("reconstruction"))
    shown = {**start, **{label: each.net for label, each in nets.items()}}
    bottom = next(iter(shown.values())).bottom  # all standardise alike
    visible = to_visible(bottom, key_data, jnp.asarray(images), binary)
    strips: dict[str, np.ndarray] = {"input": drawing.images(rbm.to_pixels(bottom, visible))}
    for label, net in shown.items():
        hidden, probs = reconstruct(net, key_pass, visible)
        strips[label] = drawing.images(probs)
    strips["top state"] = np.asarray(hidden)
    errors = {label: each.measures["test_reconstruction_error"] for label, each in nets.items()}
    *_, last = errors
    answer = [
        cost_in_words(errors),
        f"{last}: {against_mean(errors[last], drawing.dataset)}"
        f" Of all: {', '.join(f'{label} {number(error)}' for label, error in errors.items())}. "
        "Each image goes up to the top and down again, and the states of all layers are drawn.",
    ]
    title = f"The first {len(images)} test images"
    figure = drawing.save(file_name(name), figures.rows_of(strips), title)
    return Section(
        name,
        "Reconstructions",
        answer,
        [figure],
        question="What is left of a test image after a pass to the top and back?",
    )


def cost_in_words(errors: Mapping[str, float]) -> str:
    """The cost of each net's reconstruction against the first one's; one seed of each."""
    (first, least), *others = errors.items()
    gaps = {label: error / max(least, 1e-12) - 1 for label, error in others}
    if not gaps:
        return f"{first} is alone here, so there is nothing to compare it with."
    near = [label for label, gap in gaps.items() if abs(gap) <= SAME_ERROR]
    words = [
        f"the {label} loses {'more' if gap > 0 else 'less'} detail than the {first}: its error is "
        f"{abs(gap):.0%} {'higher' if gap > 0 else 'lower'}"
        for label, gap in gaps.items()
        if label not in near
    ]
    if near:
        words.append(
            f"the {', the '.join(near)} and the {first} reconstruct alike, within the spread of "
            "seeds"
        )
    found = "; ".join(words)
    return f"{found[:1].upper()}{found[1:]}."


@partial(jax.jit, static_argnums=0)
def set_states(num_units: int) -> tuple[Array, Array]:
    """Top states to start from: those whose images are shown, and those whose images are measured.

    Of the shown ones the first half has 10% of the units on, the second half a single unit; of
    the others 10% of the units are on.
    """
    half = NUM_SHOWN // 2
    tenth = bernoulli(task_key("top states"), jnp.full((half, num_units), 0.1))
    single = jnp.eye(num_units)[np.linspace(0, num_units - 1, half).astype(int)]
    key = task_key("judged states")  # another name draws others
    measured = bernoulli(key, jnp.full((NUM_MEASURED, num_units), 0.1))
    return jnp.concatenate([tenth, single]), measured


def measure_samples(images: np.ndarray, dataset: Dataset) -> dict[str, float]:
    """Mean distance of images to the training set, and the variance of their pixels."""
    distances = sample_quality.nearest_distance(images, dataset.train.images)
    return {
        "nearest_training_distance": float(distances.mean()),
        "pixel_variance": sample_quality.pixel_variance(images),
    }


def trained_nets(
    args: GenerationArgs, drawing: Drawing, binary: Binarize, nets: Mapping[str, Net]
) -> dict[str, TrainedNet]:
    """Nets with their measures and images, after some Gibbs steps of the top pair.

    Nets with as many top units start from the same states.
    """
    evaluate, found = make_evaluator(net_monitors, binary, drawing.dataset), {}
    for name, net in nets.items():
        states, measured = set_states(len(net.top["b_hidden"]))
        start = jnp.concatenate([states, measured])
        _, probs = generate(net, task_key("generation"), start, args.generation_steps, args.gain)
        shown, samples = np.split(drawing.images(probs), [NUM_SHOWN])
        measures = evaluate(net) | measure_samples(samples, drawing.dataset)
        measures |= lab_samples.measure(samples, drawing.dataset).measures("samples")
        found[name] = TrainedNet(net, np.asarray(states), shown, samples, measures)
    return found


def generated_images(args: GenerationArgs, drawing: Drawing, name: str, nets: Nets) -> Section:
    """Images of all nets from the same top states, after as many Gibbs steps of each top pair."""
    dataset, file, steps = drawing.dataset, file_name(name), args.generation_steps
    strips: dict[str, np.ndarray] = {}
    sheets = []
    widths = {each.states.shape[1] for each in nets.values()}
    for label, each in nets.items():
        state = "set state" if len(widths) == 1 else f"set state, {label}"
        strips |= {state: each.states, label: each.shown}
        title = f"{label}: first 100 samples, {steps} Gibbs steps from 10% of top units on"
        sheet = figures.image_sheet(each.samples[:100])
        sheets.append(drawing.save(file_name(f"{file}_{label}"), sheet, title, width="half"))
    title = f"{steps} Gibbs steps from set states: 10% of units on (left), one unit on (right)"
    shown = [*sheets, drawing.save(file, figures.rows_of(strips), title)]
    test = dataset.test.images[:NUM_MEASURED] / 255.0
    group = next(iter(nets.values())).measures["samples_test_group"]
    measures = {"test images": measure_samples(test, dataset) | {"samples_group": group}}
    measures |= {label: each.measures for label, each in nets.items()}
    return Section(
        name,
        "Generated images",
        generation_in_words({label: each.measures for label, each in nets.items()}, args.gain),
        shown,
        tabulate(measures, SAMPLE_COLUMNS),
        question="Which images do random top states lead to, and how do the models' compare?",
    )


def generation_in_words(measures: Mapping[str, Mapping[str, float]], gain: float) -> list[str]:
    """The answer of `generated_images`: what each net's samples are, and which are nearest."""
    looks = {label: looks_of(each, "samples") for label, each in measures.items()}
    near = [label for label, each in looks.items() if each.verdict == "near the data"]
    each_one = [f"those of the {label} are {each.in_words()}" for label, each in looks.items()]
    if not near:
        found = "No samples here are images of the data's kind."
    elif len(near) == len(looks):
        found = "All samples here lie as near to the data as its own images, or nearly so."
    else:
        found = f"Of these samples only those of the {' and the '.join(near)} are near the data."
    return [
        f"{found} The samples: {'; '.join(each_one)}.",
        "Top states are set, Gibbs steps of the top pair follow, then a down pass; E[v|h1] is "
        f"shown. The set state is multiplied by a gain of {gain:g}. A smooth blur is near to many "
        "images too, so distance and variance are to be read together. One seed of each: small "
        "differences may be the seed's.",
    ]


def headline(dataset: Dataset, measures: Mapping[str, float], looks: Looks) -> list[Headline]:
    """The three numbers at the top of the page of a net."""
    numbers = [
        Headline(
            "test reconstruction error",
            number(measures["test_reconstruction_error"], 3),
            f"the mean image has {number(mean_image_error(dataset), 3)}; lower is better",
        ),
    ]
    if "test_error" in measures:
        chance = 1 - max(np.bincount(dataset.test.labels)) / len(dataset.test.labels)
        wrong = Headline(
            "test images classified wrongly",
            f"{measures['test_error']:.1%}",
            f"always the most frequent class: {chance:.0%}",
        )
        return with_samples([*numbers, wrong], looks, 1)
    variance = Headline("variance of samples' pixels", f"{looks.variance:.0%}", VARIANCE)
    return with_samples([*numbers, variance], looks, 1)
