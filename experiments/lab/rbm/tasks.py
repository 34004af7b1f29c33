"""The lab's tasks 1.1 to 1.3 and 1.7 for one trained RBM."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.lab.drawing import NUM_SHOWN, Drawing, are_alike, sample_sheet
from experiments.lab.rbm.training import RBMArgs
from jaxgen.evaluation.sample_quality import pixel_variance
from jaxgen.learner import task_key
from jaxgen.models import rbm
from jaxgen.random import bernoulli
from jaxgen.report import figures
from jaxgen.report.page import Section, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawn


to_visible = jax.jit(rbm.to_visible, static_argnums=3)
to_pixels = jax.jit(rbm.to_pixels)
reconstruct = jax.jit(rbm.reconstruct)
generate = jax.jit(rbm.generate, static_argnums=(3, 4))


ERROR = "mean over pixels of (x - E[v|h])^2 after one step from the input, x the image in [0, 1]"


class TrainedRBM(NamedTuple):
    """A trained RBM with its settings and its measures."""

    args: RBMArgs
    params: rbm.Params
    measures: Mapping[str, float]
    drawing: Drawing

    @property
    def mean(self) -> str:
        """The name of what is shown of visible units."""
        return "E[v|h]" if rbm.is_gaussian(self.params) else "p(v=1|h)"


def filters(trained: TrainedRBM) -> Section:
    """1.1: the weights as a sheet, and how local they are."""
    weights = np.asarray(trained.params["w"]).T
    half = _num_of_half(weights.astype(np.float64))
    draws = np.random.default_rng(0).normal(size=(200, weights.shape[1]))
    noise = round(float(_num_of_half(draws).mean()))
    figure = trained.drawing.save(
        "1_1",
        figures.filter_sheet(trained.drawing.images(weights)),
        "Weights W, one panel per hidden unit",
    )
    grey = trained.drawing.dataset.image_shape[-1] == 1
    answer = [
        f"Half of a filter's squared weight lies on {np.median(half):.0f} of "
        f"{weights.shape[1]} {'pixels' if grey else 'channels of pixels'} in the median filter "
        f"(from {half.min()} to {half.max()}). "
        f"Evenly spread noise would need {noise}, a single point 1: the smaller the number, the "
        f"more local what switches the unit: these filters {_locality(np.median(half), noise)}",
        "Red pixels switch a unit on, blue pixels switch it off."
        if grey
        else "Light in a channel that is bright switches a unit on; where it is dark, off.",
    ]
    return Section("1.1", "What the hidden units learned", answer, [figure])


def _locality(half: float, noise: int) -> str:
    """The locality of filters with half of their squared weight on so many pixels, in words."""
    if half < noise / 2:
        return "are strokes and blobs at one place."
    if half < noise:
        return "are hardly more local than the noise they started from."
    return "are no more local than the noise they started from."


def _num_of_half(rows: np.ndarray) -> np.ndarray:
    """The least number of entries that hold half of the squared norm, for each row."""
    energy = np.sort(rows**2, axis=1)[:, ::-1].cumsum(axis=1)
    num: np.ndarray = (energy < energy[:, -1:] / 2).sum(axis=1) + 1
    return num


def reconstructions(trained: TrainedRBM) -> Section:
    """1.2: the first test images, their hidden states, their reconstructions, one built up."""
    images = trained.drawing.dataset.test.images[:NUM_SHOWN]
    key_data, key_hidden = jax.random.split(task_key("reconstruction"))
    visible = to_visible(trained.params, key_data, jnp.asarray(images), trained.args.model.binarize)
    hidden, probs = reconstruct(trained.params, key_hidden, visible)
    strips = {
        "test image": images / 255.0,
        "input": trained.drawing.images(to_pixels(trained.params, visible)),
        "hidden": np.asarray(hidden),
        trained.mean: trained.drawing.images(probs),
    }
    title = f"The first {len(images)} test images and their reconstructions"
    answer = (
        "Mean squared error against the image over the whole test set: "
        f"{number(trained.measures['test_reconstruction_error'])} per pixel. Below, the first "
        "image is built up: the biases alone, then one active unit's filter after the other is "
        "added, in the order of the units."
    )
    active = np.flatnonzero(np.asarray(hidden)[0])
    built_title = f"First test image: biases, then {len(active)} active units one by one"
    shown = [
        trained.drawing.save("1_2_reconstructions", figures.rows_of(strips), title),
        trained.drawing.save("1_2_build_up", build_up(trained, active), built_title),
    ]
    return Section("1.2", "Reconstructions", [answer], shown)


def build_up(trained: TrainedRBM, active: np.ndarray) -> "Drawn":
    """E[v] from the biases alone, then with each active unit's filter added in turn."""
    weights = np.asarray(trained.params["w"])[:, active].T
    logits = np.vstack([np.zeros(weights.shape[1]), weights]).cumsum(axis=0)
    logits += np.asarray(trained.params["b_visible"])
    pixels = to_pixels(trained.params, rbm.mean_of(trained.params, jnp.asarray(logits)))
    return figures.image_sheet(trained.drawing.images(pixels))


def usage(trained: TrainedRBM) -> Section:
    """1.3: how often each unit is on over the test set, and the filters in that order."""
    key_data, key_hidden = jax.random.split(task_key("usage"))
    test = jnp.asarray(trained.drawing.dataset.test.images)
    visible = to_visible(trained.params, key_data, test, trained.args.model.binarize)
    hidden, _ = reconstruct(trained.params, key_hidden, visible)
    often = np.asarray(hidden.mean(axis=0))
    order = np.argsort(-often, kind="stable")
    weights = trained.drawing.images(np.asarray(trained.params["w"]).T[order])
    low, middle, high = np.quantile(often, [0.1, 0.5, 0.9])
    answer = (
        f"Over {len(test)} test images the median unit is on in {middle:.0%} of them; a tenth of "
        f"the units is on in less than {low:.0%}, a tenth in more than {high:.0%}. "
        f"{trained.measures['never_on']:.0%} of the units are on in less than 1% of the images "
        f"and {trained.measures['always_on']:.0%} in more than 99%; such units would carry no "
        "information about the image."
    )
    frequency = figures.heat_map(often, label="share of test images")
    sheet, title = figures.filter_sheet(weights), "Filters, the unit that is on most often first"
    shown = [
        trained.drawing.save("1_3_frequency", frequency, "Share of test images that switch it on"),
        trained.drawing.save("1_3_sorted_filters", sheet, title),
    ]
    return Section("1.3", "How often each hidden unit is on", [answer], shown)


def sampled(trained: TrainedRBM, samples: np.ndarray) -> Section:
    """The samples of long chains."""
    answer = [
        f"The samples come from long chains of {trained.args.model.num_sampling_steps} steps, from "
        "units that are on with probability 1/2. A small k of CD-k shapes the model near the data "
        "alone, so long chains may leave it for loose strokes; the study (1.5) measures that as "
        "drift.",
    ]
    real = pixel_variance(trained.drawing.dataset.test.images[: len(samples)])
    if are_alike(pixel_variance(samples), real):
        answer.append("The samples are all alike: the chains end in one state.")
    return sample_sheet(trained.drawing, samples, answer)


def generated(trained: TrainedRBM) -> Section:
    """1.7: images from set hidden states."""
    key_start, key_chain = jax.random.split(task_key("generation"))
    args, num_units = trained.args, trained.args.model.num_hidden
    single = np.eye(num_units)[np.linspace(0, num_units - 1, NUM_SHOWN // 2).astype(int)]
    tenth = bernoulli(key_start, jnp.full((NUM_SHOWN // 2, num_units), 0.1))
    start = jnp.concatenate([tenth, jnp.asarray(single, jnp.float32)])
    steps, gain = args.generation_steps, args.gain
    final, probs = generate(trained.params, key_chain, start, steps, gain)
    strips = {
        "set state": np.asarray(start),
        "final state": np.asarray(final),
        "image": trained.drawing.images(probs),
    }
    title = f"{steps} Gibbs steps from set states: 10 % of units on (left), one unit on (right)"
    answer = [
        f"A hidden state is set, {steps} Gibbs steps follow, and {trained.mean} of the last state "
        "is shown. "
        f"{np.asarray(tenth).mean():.0%} of the units were on in the left half and one in "
        f"the right half; after the steps {np.asarray(final).mean():.0%} are on. "
        + (
            "Most chains end with hardly a unit on, and show the biases alone."
            if np.median(np.asarray(final).sum(axis=1)) < 2
            else "The chain forgets how many units were set."
        ),
        f"The set state is multiplied by a gain of {gain:g}. "
        + (
            "With 1 it is a binary state; the lab's 10 to 20 (--gain) saturates the first step."
            if gain == 1.0
            else "That is no binary state: it acts as that many copies of each unit, once."
        ),
    ]
    figure = trained.drawing.save("1_7_generation", figures.rows_of(strips), title)
    return Section("1.7", "Generated images", answer, [figure])


def tasks(trained: TrainedRBM, samples: np.ndarray) -> list[Section]:
    """The samples, then the tasks that concern one model, in the lab's order."""
    return [
        sampled(trained, samples),
        filters(trained),
        reconstructions(trained),
        usage(trained),
        generated(trained),
    ]
