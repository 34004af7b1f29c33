"""The lab's tasks 1.1 to 1.3 and 1.7 for one trained RBM."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.lab.drawing import (
    NUM_SHOWN,
    Drawing,
    against_mean,
    last_change,
    mean_image_error,
    sample_sheet,
    with_samples,
)
from experiments.lab.drawing import too_short as too_short_section
from experiments.lab.rbm.beside import NOTHING_BESIDE, Beside
from experiments.lab.rbm.training import RBMArgs, hottest
from experiments.lab.samples import Looks, measure
from jaxgen.evaluation import filters as filter_kinds
from jaxgen.evaluation.filters import Filters, Kind
from jaxgen.jitted import jitted
from jaxgen.learner import task_key
from jaxgen.models import rbm, tempering
from jaxgen.random import bernoulli
from jaxgen.report import figures
from jaxgen.report.page import Headline, Section, Table, list_in_words, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawn


to_visible = jax.jit(rbm.to_visible, static_argnums=3)
to_pixels = jax.jit(rbm.to_pixels)
reconstruct = jax.jit(rbm.reconstruct)
generate = jax.jit(rbm.generate, static_argnums=(3, 4))


NUM_EXAMPLES = 10
"""Filters of each kind that are shown: the first ones."""
NUM_TEMPERED = 10
"""Sets of chains by which it is measured how well parallel tempering mixed."""
FEW_CHANGES = 0.2
"""Neighbours in parallel tempering that change places in a smaller part of the attempts lie too far
apart."""
UNSETTLED = 0.05
"""A test error that falls by more than this part in the last quarter of the epochs is no end."""
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


def filters_of(trained: TrainedRBM) -> tuple[np.ndarray, Filters]:
    """The weights as filters [num, H, W, C], and their kinds."""
    weights = trained.drawing.images(np.asarray(trained.params["w"]).T)
    std = np.std(trained.drawing.dataset.test.images / np.float32(255), axis=0)
    if rbm.is_gaussian(trained.params):
        std = np.ones_like(std)  # its pixels are standardised already
    return weights, filter_kinds.classify(weights, std)


def filters(trained: TrainedRBM) -> Section:
    """1.1: the weights as a sheet, and their kinds, with counts and examples of each."""
    drawing, (weights, found) = trained.drawing, filters_of(trained)
    bound = figures.colour_bound(weights)
    grey = drawing.dataset.image_shape[-1] == 1
    colours = "red switches the unit on, blue off" if grey else "a bright channel switches it on"
    examples = {
        f"{kind}, {found.kinds.count(kind)}": 0.5 + 0.5 * np.clip(weights[chosen] / bound, -1, 1)
        for kind in filter_kinds.KINDS
        if len(chosen := np.flatnonzero(np.array(found.kinds) == kind)[:NUM_EXAMPLES])
    }
    answer = [
        kinds_in_words(found),
        "A weight counts by how much its pixel varies over the test images, because one on a pixel "
        "that never changes does nothing. "
        f"Half of a filter's squared weight then lies on {np.median(found.core):.0f} of "
        f"{weights[0, ..., 0].size} pixels in the median filter (from {found.core.min()} to "
        f"{found.core.max()}), where independent weights would need {found.core_of_noise}.",
    ]
    sheet, rows = figures.filter_sheet(weights), figures.rows_of(examples)
    caption = f"The first {NUM_EXAMPLES} filters of each kind; grey is 0, lighter is positive"
    shown = [
        drawing.save("1_1", sheet, f"Weights W, one panel per hidden unit; {colours}"),
        drawing.save("1_1_kinds", rows, caption),
    ]
    return Section(
        "1.1",
        "What the hidden units learned",
        answer,
        shown,
        kind_table(found),
        question="What do the weights of the hidden units look like, and what do they respond to?",
    )


KIND_NAMES: Mapping[Kind, tuple[str, str, str]] = {
    "stroke": (
        "stroke",
        "strokes",
        f"half of the squared weight on one long piece, {filter_kinds.LONG:g} times as long as "
        "wide or more",
    ),
    "blob": ("blob", "blobs", "the same on one compact piece"),
    "several": ("in several places", "in several places", "the same on pieces apart"),
    "global": (
        "global",
        "global",
        f"half of the squared weight on more than {filter_kinds.GLOBAL:.0%} of the pixels that "
        "independent weights would need",
    ),
    "dead": (
        "dead",
        "dead",
        f"smaller than {filter_kinds.DEAD:.0%} of the largest filters, or noise whose neighbouring "
        "pixels have nothing in common",
    ),
}
"""Kinds of filters: of one, of several, and by what they are told."""


def kinds_in_words(found: Filters) -> str:
    """The finding of 1.1: how many filters are of which kind, and what that means."""
    num, counts = len(found.kinds), Counter(found.kinds)
    local = counts["stroke"] + counts["blob"]
    if counts["dead"] > num / 2:
        meaning = "Most units have learned nothing that shows in their weights."
    elif local > num / 2:
        meaning = "Most units look at one place of the image, for a part of a shape."
    elif counts["global"] > num / 2:
        meaning = (
            "Most units look at no one place: their weights spread over almost as many pixels as "
            "independent weights would."
        )
    else:
        meaning = "There is no kind to which most units belong."
    return f"{meaning} The {num} filters: {counts_in_words(found)}."


def counts_in_words(found: Filters) -> str:
    """How many filters are of each kind that there is."""
    counts = [(kind, found.kinds.count(kind)) for kind in filter_kinds.KINDS]
    return list_in_words([f"{num} {KIND_NAMES[kind][num > 1]}" for kind, num in counts if num])


def kind_table(found: Filters) -> Table:
    """The kinds with their counts and their definitions."""
    kinds, rows = np.array(found.kinds), []
    for kind, (name, _, definition) in KIND_NAMES.items():
        on = found.excites[kinds == kind]
        rows.append([name, str(len(on)), str(int(on.sum())) if len(on) else "", definition])
    return Table(["kind", "filters", "switched on by light", "definition"], rows)


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
    error = trained.measures["test_reconstruction_error"]
    answer = [
        against_mean(error, trained.drawing.dataset),
        "A sheet builds up the first image: the biases alone, then one active unit's filter after "
        "the other is added, in the order of the units.",
    ]
    active = np.flatnonzero(np.asarray(hidden)[0])
    built_title = f"First test image: biases, then {len(active)} active units one by one"
    shown = [
        trained.drawing.save("1_2_reconstructions", figures.rows_of(strips), title),
        trained.drawing.save("1_2_build_up", build_up(trained, active), built_title),
    ]
    return Section(
        "1.2",
        "Reconstructions",
        answer,
        shown,
        question="What is left of a test image after one step to the hidden units and back?",
    )


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
    never, always = (trained.measures[name] for name in ("never_on", "always_on"))
    answer = [
        idle_in_words(never, always, len(often)),
        f"Over {len(test):,} test images the median unit is on in {middle:.0%} of them; a tenth of "
        f"the units is on in less than {low:.0%}, a tenth in more than {high:.0%}. Units count as "
        "idle if they are on in less than 1% or in more than 99% of the images, because they then "
        "carry hardly any information about an image.",
    ]
    frequency = figures.heat_map(often, label="share of test images")
    sheet, title = figures.filter_sheet(weights), "Filters, the unit that is on most often first"
    shown = [
        trained.drawing.save("1_3_frequency", frequency, "Share of test images that switch it on"),
        trained.drawing.save("1_3_sorted_filters", sheet, title),
    ]
    return Section(
        "1.3",
        "How often each hidden unit is on",
        answer,
        shown,
        question="How often is each hidden unit on over the test images, and which ones are idle?",
    )


def idle_in_words(never: float, always: float, num: int) -> str:
    """The finding of 1.3, from the shares of units that are hardly ever and nearly always on."""
    counts = [round(num * share) for share in (never, always)]
    if not sum(counts):
        return f"All {num} units are used: none is idle."
    kinds = zip(counts, ("hardly ever on", "nearly always on"), strict=True)
    words = " and ".join(f"{count} {kind}" for count, kind in kinds if count)
    if sum(counts) == num:
        return f"All {num} units are idle: {words}."
    return f"{sum(counts)} of {num} units {'are' if sum(counts) > 1 else 'is'} idle: {words}."


def generate_images(trained: TrainedRBM) -> Section:
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
    title = f"{steps} Gibbs steps from set states: 10% of units on (left), one unit on (right)"
    on = np.asarray(final).sum(axis=1)
    answer = [
        "Most chains end with hardly a unit on, and show the biases alone."
        if np.median(on) < 2
        else forgets(steps, *np.split(on / num_units, 2)),
        f"A hidden state is set, {steps} Gibbs steps follow, and {trained.mean} of the last state "
        f"is shown. {np.asarray(tenth).mean():.0%} of the units were on in the left half and one "
        f"in the right half; after the steps {np.asarray(final).mean():.0%} are on. "
        f"The set state is multiplied by a gain of {gain:g}. "
        + (
            "With 1 it is a binary state; the lab's 10 to 20 (`--gain`) saturates the first step."
            if gain == 1.0
            else "That is no binary state: it acts as that many copies of each unit, once."
        ),
    ]
    figure = trained.drawing.save("1_7_generation", figures.rows_of(strips), title)
    return Section(
        "1.7",
        "Generated images",
        answer,
        [figure],
        question="Which images come from a random hidden state, and from a single unit that is on?",
    )


def forgets(steps: int, tenth: np.ndarray, single: np.ndarray) -> str:
    """Whether chains forget how many units were set, from the shares of units on at their ends."""
    apart = abs(float(tenth.mean() - single.mean()))
    error = float(np.sqrt((tenth.var(ddof=1) + single.var(ddof=1)) / len(tenth)))
    if apart <= 3.0 * error or apart < 0.01:
        return (
            f"After {steps} Gibbs steps it no longer shows how many units were set: the chains "
            "forget their start."
        )
    return (
        f"After {steps} Gibbs steps it still shows how many units were set: of the chains that "
        f"began with 10% on, {tenth.mean():.0%} are on, of the others {single.mean():.0%}."
    )


def drawn_samples(
    trained: TrainedRBM,
    samples: np.ndarray,
    looks: Looks,
    beside: Beside = NOTHING_BESIDE,
    short: str = "",
) -> list[Section]:
    """The samples of long chains; where they are no images of the data, models that draw better.

    Args:
        trained: the RBM.
        samples: drawn from it.
        looks: of them beside test images.
        beside: other models.
        short: why the training is too short for a finding, see `too_short`; empty if it is not.
    """
    config = trained.args.model
    found = [sample_sheet(trained.drawing, samples, looks, how_drawn(trained.args))]
    if trained.args.sampler == "pt":
        found.append(plain_chains(trained, len(samples)))
    if looks.verdict == "near the data":
        return found
    if short:
        return [*found, too_short_section(short)]
    if not beside.words:
        return found
    rule = "PCD" if config.persistent else f"CD-{config.num_gibbs_steps}"
    others = Section(
        "beside",
        "What these settings cannot draw",
        [_reason(trained.args, rule), *beside.words],
        beside.figures,
        question="Why are the samples no better, and what would be?",
        part="pictures",
    )
    return [*found, others]


def how_drawn(args: RBMArgs) -> str:
    """The chains that the samples are the ends of."""
    steps = args.model.num_sampling_steps
    if args.sampler == "pt":
        return (
            f"Each sample is of parallel tempering: {args.num_temperatures} chains of {steps} "
            "Gibbs steps each, from the base rates of the data to the model, that change places; "
            "it is the end of the model's."
        )
    return (
        f"Each sample is the end of a chain of {steps} Gibbs steps, from units that are on with "
        "probability 1/2."
    )


def plain_chains(trained: TrainedRBM, num: int) -> Section:
    """The ends of plain Gibbs chains, beside samples of parallel tempering; and how well that went.

    Args:
        trained: an RBM whose samples are of parallel tempering.
        num: how many chains.
    """
    config, dataset = trained.args.model, trained.drawing.dataset
    steps, temperatures = config.num_sampling_steps, trained.args.num_temperatures
    key_plain, key_tempered = jax.random.split(task_key("tempering"))
    state = rbm.from_params(config, dataset.image_shape, trained.params)
    plain = rbm.learner(config, dataset.image_shape)
    images = np.asarray(jitted(plain.sample, static_argnums=2)(state, key_plain, num))
    tempered = jax.jit(tempering.parallel_tempering, static_argnums=(2, 3, 4))
    base = hottest(config, dataset)
    found = tempered(trained.params, key_tempered, NUM_TEMPERED, steps, temperatures, base)
    title = f"The ends of {num} plain Gibbs chains"
    return Section(
        "plain",
        "Plain Gibbs chains of the same model",
        [
            "Plain chains, of as many steps and from units that are on with probability 1/2, end "
            f"in images that are {measure(images, dataset).in_words()}.",
            came_through(float(found.arrivals), float(found.acceptance.min()), steps),
        ],
        [trained.drawing.save("samples_plain", figures.image_sheet(images), title)],
        question="What would plain Gibbs chains draw, and did parallel tempering mix?",
        part="pictures",
    )


def came_through(arrivals: float, acceptance: float, steps: int) -> str:
    """Whether parallel tempering mixed: states that came from beta = 0 to the model, per chain."""
    words = (
        f"In parallel tempering {arrivals:.1f} states came from beta = 0, where units are "
        f"independent at the base rates of the data, to each sample's chain in {steps} steps; "
        f"neighbours changed places in at least {acceptance:.0%} of the attempts."
    )
    if arrivals >= 1.0:
        return f"{words} So the chains have left the states that they began in."
    lacking = "steps (`--num-sampling-steps`)"
    if acceptance < FEW_CHANGES:
        lacking = "temperatures (`--num-temperatures`)"
    return (
        f"{words} So it is not shown that they mixed, and the samples may lie as far from the "
        f"model's as those of plain chains. More {lacking} may help, unless a barrier lies between "
        "modes at every temperature."
    )


def too_short(trained: TrainedRBM, epochs: Sequence[float], errors: Sequence[float]) -> str:
    """Why a training is too short for a finding about its rule; empty if it is not.

    Args:
        trained: the RBM.
        epochs: when its test reconstruction error was measured.
        errors: that error.
    """
    args, dataset = trained.args, trained.drawing.dataset
    steps = args.num_updates(dataset)
    error, chance = trained.measures["test_reconstruction_error"], mean_image_error(dataset)
    change = last_change(epochs, errors)
    if error >= chance:
        found = f"reconstructions are no better than the mean image ({number(error, 3)} against "
        found += f"{number(chance, 3)})"
    elif change is None:
        found = f"the test error was measured {len(errors)} times, too few to see it settle"
    elif change < -UNSETTLED:
        found = f"the test error fell by {-change:.0%} in the last quarter of the epochs"
    else:
        return ""
    return (
        f"After {steps:,} updates {found}. That is too few for a finding about the rule of "
        "learning: more epochs come first (`--epochs`)."
    )


def _reason(args: RBMArgs, rule: str) -> str:
    """Why samples of a rule may not be images of the data."""
    if args.model.persistent:
        chains = "the chains from random units"
        if args.sampler == "pt":
            chains = "parallel tempering has not mixed and its chains"
        return (
            "PCD lowers what its own chains visit; so these settings have too few units or "
            f"updates, or {chains} end elsewhere."
        )
    return (
        f"That is a finding about {rule} and no defect of the program: it raises the probability "
        "of the data and lowers that of what a few steps from it reach, and nothing farther away "
        "is ever lowered. Reconstructions (1.2), which stay near the data, do not show it."
    )


def headline(trained: TrainedRBM, looks: Looks) -> list[Headline]:
    """The three numbers at the top of the page; the exact likelihood is one of a small RBM."""
    error, dataset = trained.measures["test_reconstruction_error"], trained.drawing.dataset
    idle = trained.measures["never_on"] + trained.measures["always_on"]
    second = Headline(
        "hidden units in use", f"{1 - idle:.0%}", "on in 1% to 99% of the test images"
    )
    if "test_log_likelihood" in trained.measures:
        exact = number(trained.measures["test_log_likelihood"])
        second = Headline(
            "log likelihood of test images", f"{exact} nats", "exact; higher is better"
        )
    numbers = [
        Headline(
            "test reconstruction error",
            number(error, 3),
            f"the mean image has {number(mean_image_error(dataset), 3)}; lower is better",
        ),
        second,
    ]
    return with_samples(numbers, looks, 2)


def tasks(trained: TrainedRBM) -> list[Section]:
    """The tasks that concern one model, in the lab's order."""
    return [filters(trained), reconstructions(trained), usage(trained), generate_images(trained)]
