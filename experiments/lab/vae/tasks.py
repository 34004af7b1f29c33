"""The page of one trained VAE: its training, its likelihood, the lab's tasks 4.1 to 4.4."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from experiments.lab import explore
from experiments.lab import samples as lab_samples
from experiments.lab.drawing import (
    LEAST_MEASURES,
    NUM_ROWS,
    NUM_SHOWN,
    Drawing,
    against_mean,
    class_sheet,
    sample_sheet,
    too_short,
    with_samples,
)
from experiments.lab.samples import Looks
from experiments.lab.study import elsewhere
from experiments.lab.vae.training import (
    TrainedVAE,
    VAEArgs,
    encode,
    likelihoods,
    measured_images,
    monitors,
    schedule_rate,
)
from experiments.lab.walks import evenness
from experiments.running import artifacts
from experiments.running.console import show, turn_to
from experiments.running.seeds_page import series
from experiments.running.session import Session
from jaxgen.data import Dataset
from jaxgen.evaluation import latent
from jaxgen.evaluation.subset import some
from jaxgen.learner import task_key
from jaxgen.losses import bits_per_dimension
from jaxgen.models import vae
from jaxgen.report import figures
from jaxgen.report.page import Figure, Headline, Section, Table, counted, number, with_error
from jaxgen.runs import metrics_log
from jaxgen.runs.files import LOG
from jaxgen.training.loop import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawn

PUBLISHED = (
    "Published for MNIST, sampled at every visit, after 3,280 epochs at batch 20, with 50 "
    "latent variables, 2x200 tanh units and 5,000 codes per test image: -86.76 trained by the "
    "ELBO, -85.54 and -84.78 by the IWAE bound with 5 and 50 codes (Burda et al. 2016, table 1)."
)
KINDS = {
    "bernoulli": "log probabilities",
    "gaussian": "log densities of grey levels",
    "logistic": "log probabilities of bytes",
}
"""The values of each likelihood."""
ENDED = 0.5
"""Nats; a bound that moves by less in the last quarter of a training has settled."""
NUM_EMBEDDED = 2000
"""Test images in the t-SNE map."""
LEAST_EMBEDDED = 30
"""Test images that a finding about classes needs; t-SNE needs more than its perplexity, also 30."""
DIFFERENCES = ((7, 1), (9, 4), (8, 3))
"""Pairs of ten classes, such as digits, whose mean codes' difference is added to every class's."""


def reconstructions(trained: TrainedVAE) -> Section:
    """4.1: the first test images, their codes, and what the means of the codes decode to."""
    pixels, mean = trained.test.split.images / np.float32(255), trained.mean[:NUM_SHOWN]
    strips = {"test image": pixels[:NUM_SHOWN]}
    if trained.config.binarize != "none":
        strips["input"] = trained.drawing.images(trained.test.visible[:NUM_SHOWN])
    strips["code"] = np.clip(np.asarray(mean) / 6.0 + 0.5, 0.0, 1.0)
    strips["decoded mean"] = trained.decoded_means(NUM_SHOWN)
    title = f"The first {len(mean)} test images; codes from -3 (black) over 0 (grey) to 3 (white)"
    error, measures = np.mean(np.square(trained.decoded_means() - pixels)), trained.measures
    answer = [
        against_mean(float(error), trained.drawing.dataset),
        "The posterior mean of each image is decoded, and the error is against the image, which is "
        f"from 0 to 1. Reconstruction {number(measures['test_reconstruction'])} and divergence "
        f"{number(measures['test_kl'])} nats per test image, {_pixels(trained.config)}.",
    ]
    figure = trained.drawing.save("4_1", figures.rows_of(strips), title)
    return Section(
        "4.1",
        "Reconstructions and codes",
        answer,
        [figure],
        question="What is left of a test image when its mean code is decoded?",
    )


def _pixels(config: vae.Config) -> str:
    """How pixels became input."""
    if config.binarize == "none":
        return "its pixels as they are"
    return f"input binarised by '{config.binarize}'"


def latent_boxes(trained: TrainedVAE) -> Section:
    """4.2: posterior means, variances and outgoing weights by latent variable; dead ones named."""
    use = trained.use
    active = np.asarray(use.active)
    dead = ", ".join(map(str, np.flatnonzero(~active))) or "none"
    weights = np.asarray(trained.params["decoder"]["dense_0"]["kernel"])
    panels = {
        "posterior mean": np.asarray(trained.mean),
        "posterior variance": np.exp(np.asarray(trained.log_var)),
        "weights into the decoder": weights.T,
    }
    kl = np.asarray(use.kl)
    answer = [
        use_in_words(active, kl),
        f"{active.sum()} of {len(active)} latent variables are active: the variance of their "
        f"posterior mean over the test set is above {vae.ACTIVE_VARIANCE}. Dead: {dead}. A dead "
        "variable carries no information about an image; if its posterior is the prior it costs "
        "nothing either, and its boxes show means near 0 and variances near 1.",
        f"Mean absolute weight into the decoder: {_mean_weights(weights, active)}.",
        f"The divergence is {number(float(kl.sum()))} nats per image, by variable from "
        f"{number(float(kl.min()), 3)} to {number(float(kl.max()), 3)}.",
    ]
    title = "Quartiles, and 1st to 99th percentile, over the test set (weights: over units)"
    if min(map(len, panels.values())) < figures.LEAST_FOR_PERCENTILES:
        title = "Quartiles and range over the test set (weights: over units)"
    chart = figures.bars(
        kl, (~active).tolist(), label="KL, nats per image", note="dead", others="active"
    )
    shown = [
        trained.drawing.save("4_2", figures.box_plots(panels), title),
        trained.drawing.save("4_2_kl", chart, "Divergence by latent variable"),
    ]
    return Section(
        "4.2",
        "The latent variables",
        answer,
        shown,
        question="Which latent variables carry information about an image, and which are dead?",
    )


def use_in_words(active: np.ndarray, kl: np.ndarray) -> str:
    """The finding of 4.2: how many variables are used, and whether a few carry most."""
    num, dead = len(active), int((~active).sum())
    if dead == num:
        return "All latent variables are dead: the decoder draws the same whatever the code."
    used = "All latent variables are used" if not dead else f"{dead} of {num} are dead"
    half = int((np.sort(kl)[::-1].cumsum() < kl.sum() / 2).sum()) + 1
    return f"{used}; half of the information lies in {half} of {'the others' if dead else 'them'}."


def _mean_weights(weights: np.ndarray, active: np.ndarray) -> str:
    """The mean absolute weight of active and of dead variables, as far as there are both."""
    size = np.abs(weights).mean(axis=1)
    words = [
        f"{number(float(size[which].mean()), 3)} of {name} variables"
        for name, which in (("active", active), ("dead", ~active))
        if which.any()
    ]
    return " and ".join(words)


def scatter(trained: TrainedVAE) -> Section:
    """4.3: test images as points in two latent variables, and for more than two a t-SNE map."""
    first, second = trained.shown
    points = np.asarray(trained.mean)[:, [first, second]]
    axes = (f"latent {first}", f"latent {second}")
    shown = [_map(trained, "4_3", points, f"Posterior means of {len(points):,} test images", axes)]
    kl = np.asarray(trained.use.kl)
    whole = np.asarray(trained.mean)
    answer = [
        classes_in_words(
            len(points),
            *(_share_of_label(trained, each) for each in (points, whole)),
            chance=chance_of_label(trained.test.split.labels[:NUM_EMBEDDED]),
            plane=trained.config.latent_size == 2,
        ),
        f"Latent variables {first} and {second} have the largest divergence, "
        f"{number(float(kl[first]), 3)} and {number(float(kl[second]), 3)} nats. "
        f"{_same_label(trained, points, 'these two variables')}",
    ]
    if trained.config.num_classes:
        answer.append("A conditional VAE's codes need no class, because the decoder is given it.")
    if (more := trained.drawing.dataset.num_classes - NUM_ROWS) > 0:
        answer.append(f"The images of {more} more classes are not shown.")
    num = min(NUM_EMBEDDED, len(points))
    if trained.config.latent_size > 2 and num > LEAST_EMBEDDED:
        from sklearn.manifold import TSNE

        mapped = TSNE(random_state=0, init="pca").fit_transform(np.asarray(trained.mean[:num]))
        which = f"the first {num:,}" if num < len(points) else f"{num:,}"
        title = f"t-SNE of the posterior means of {which} test images"
        shown.append(_map(trained, "4_3_tsne", mapped, title))
        answer.append(
            f"{_same_label(trained, np.asarray(trained.mean), 'all variables')} t-SNE maps "
            "neighbourhoods; distances between its clusters and their sizes mean nothing."
        )
    return Section(
        "4.3",
        "Test images in the latent space",
        answer,
        shown,
        question="Do test images of one class lie together in the latent space?",
    )


def classes_in_words(
    num: int, two: float | None, whole: float | None, *, chance: float, plane: bool
) -> str:
    """Whether classes keep to themselves, by the share of points whose neighbour is of theirs.

    Args:
        num: the number of points.
        two: the share in two latent variables; None without labels.
        whole: in all.
        chance: the share of two images drawn at random.
        plane: whether there are two variables alone.
    """
    if two is None or whole is None:
        return "The images have no labels, so the colours show nothing."
    if num < LEAST_EMBEDDED:
        return f"{counted(num, 'test image')} are too few to see whether the classes keep apart."
    middle = (1 + chance) / 2
    degree = "keep to themselves" if whole > middle else "overlap"
    if whole <= chance + 0.05:
        degree = "are not told apart"
    if plane:
        return f"In the plane the classes {degree}."
    less = "less so" if whole > two + 0.05 else "hardly less"
    return f"In all latent variables the classes {degree}, in the two that are drawn {less}."


def _map(
    trained: TrainedVAE,
    name: str,
    points: np.ndarray,
    title: str,
    axes: tuple[str, str] = ("", ""),
) -> Figure:
    """Test images as points in a plane, in colours of the first `NUM_ROWS` classes."""
    labels, names = trained.test.split.labels[: len(points)], trained.drawing.dataset.class_names
    shown = labels < NUM_ROWS
    figure = figures.scatter(points[shown], labels[shown].tolist(), "", *axes, names)
    return trained.drawing.save(name, figure, title)


def _same_label(trained: TrainedVAE, points: np.ndarray, which: str) -> str:
    """The share of points whose nearest other point has the same label, in words."""
    share = _share_of_label(trained, points)
    if share is None:
        return "The images have no labels to look for in them."
    num = min(NUM_EMBEDDED, len(points))
    return (
        f"In {which} the nearest of {num:,} test images has the same label in {share:.0%} (by "
        f"chance {chance_of_label(trained.test.split.labels[:NUM_EMBEDDED]):.0%})."
    )


def _share_of_label(trained: TrainedVAE, points: np.ndarray) -> float | None:
    """The share of points whose nearest other point has the same label; None without labels."""
    num, labels = min(NUM_EMBEDDED, len(points)), trained.test.split.labels
    if trained.drawing.dataset.num_classes < 2 or num < 2:
        return None
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=2).fit(points[:num])
    nearest = found.kneighbors(points[:num], return_distance=False)[:, 1]
    return float(np.mean(labels[nearest] == labels[:num]))


def chance_of_label(labels: np.ndarray) -> float:
    """The share of pairs of two images that are of one class; NaN where there is no pair."""
    counts, num = np.bincount(labels), len(labels)
    return float((counts * (counts - 1)).sum() / (num * (num - 1))) if num > 1 else np.nan


def grids(trained: TrainedVAE) -> Section:
    """4.4: images decoded from a plane of the latent space, the other variables at 0."""
    first, second = trained.shown
    shown, sheets = [], []
    for extent, num in ((1.5, 15), (3.0, 20)):
        codes = latent.plane(trained.config.latent_size, (first, second), extent, num)
        images = trained.images(codes.reshape(num * num, -1))  # of the first class
        sheets.append(images)
        title = f"Decoded from [-{extent:g}, {extent:g}]^2: latent {first} across, {second} up"
        sheet = figures.image_sheet(images, columns=num)
        shown.append(trained.drawing.save(f"4_4_grid_{num}", sheet, title))
    inside = np.all(np.abs(np.asarray(trained.mean)[:, [first, second]]) <= 1.5, axis=1).mean()
    rest = "" if trained.config.latent_size == 2 else " The other variables are at 0."
    if trained.config.num_classes:
        rest += f" The class is {trained.drawing.dataset.class_names[0]}."
    of_class = ", all of one class," if trained.config.num_classes else ""
    looks = lab_samples.measure(np.concatenate(sheets), trained.drawing.dataset)
    answer = [
        f"Over the planes{of_class} pixels vary {looks.variance:.0%} as much as over test images, "
        f"and the images lie {looks.far_in_words()}.",
        f"Each image is decoded from the code at its place.{rest} The smaller grid covers the "
        f"posterior means of {inside:.0%} of the test images in these two variables, the larger "
        "one 99.5% of the prior.",
    ]
    return Section(
        "4.4",
        "Decoded planes",
        answer,
        shown,
        question="What do the codes of a plane of the latent space decode to?",
    )


def walks(trained: TrainedVAE) -> Section:
    """Straight lines between the codes of test images, and what classes do to codes."""
    ends, labels = trained.mean[:10], trained.test.split.labels[:10]
    num = len(ends)
    lines = latent.linear_path(ends, jnp.roll(ends, -1, axis=0), 10)
    sheet = trained.images(jnp.swapaxes(lines, 0, 1).reshape(num * 10, -1), np.repeat(labels, 10))
    title = "Each row: from the code of one test image to that of the next, in equal steps"
    shown = [trained.drawing.save("walks", figures.image_sheet(sheet, columns=10), title)]
    answer = [
        evenness(np.asarray(sheet).reshape(num, 10, *sheet.shape[1:])),
        "The first sheet decodes the codes between those of two test images.",
    ]
    if trained.config.num_classes:
        answer[1] += " The class of a row is that of its first image."
        title = "Each row: the code of a test image, decoded with each class"
        shown.append(trained.drawing.save("every_class", _every_class(trained, ends), title))
        answer.append("In the second, the code of each test image is decoded with every class.")
    elif trained.drawing.dataset.num_classes > 1:
        title = "Decoded mean codes of the classes, and sums with them"
        sums = _arithmetic(trained)
        shown.append(trained.drawing.save("arithmetic", sums, title))
        answer.append(
            "In the second, the difference of two classes' mean codes is added to each class's; "
            "the means are those of the test set."
        )
    else:
        answer.append("The images have no labels, so there are no mean codes of classes to add.")
    return Section(
        "walks",
        "Walks and sums in the latent space",
        answer,
        shown,
        question="What lies between the codes of two images, and do codes add up like words?",
    )


def _every_class(trained: TrainedVAE, codes: Array) -> "Drawn":
    """A row for each code, with the first `NUM_ROWS` classes across."""
    names = trained.drawing.dataset.class_names[:NUM_ROWS]
    labels = np.arange(len(names))
    strips = {
        f"image {index + 1}": trained.images(jnp.repeat(code[None], len(names), axis=0), labels)
        for index, code in enumerate(codes)
    }
    return figures.rows_of(strips, heads=names)


def _arithmetic(trained: TrainedVAE) -> "Drawn":
    """Mean codes of the classes that have test images, and sums of differences with them."""
    dataset = trained.drawing.dataset
    labels = trained.test.split.labels
    means = latent.class_means(trained.mean, jnp.asarray(labels), dataset.num_classes)
    there = [label for label in range(min(dataset.num_classes, NUM_ROWS)) if label in labels]
    names, means = [dataset.class_names[label] for label in there], means[jnp.asarray(there)]
    pairs = DIFFERENCES if len(there) == 10 else [*zip(range(1, 4), range(3), strict=True)]
    strips = {"mean": trained.images(means)}
    for a, b in pairs:
        if a < len(there):
            sums = latent.analogies(means, plus=a, minus=b)
            strips[f"{names[a]} - {names[b]} + mean"] = trained.images(sums)
    return figures.rows_of(strips, heads=names)


def training(trained: TrainedVAE, lines: Sequence[Mapping[str, Any]]) -> Section:
    """The ELBO over the epochs, on training batches and on the test set, and its two parts.

    And before them the bound of an IWAE, which it maximises in the ELBO's place.
    """
    measured, config = trained.measures, trained.config
    given = ", y" if config.num_classes else ""
    maximised = {}
    if config.objective == "iwae":
        of = f"Importance-weighted bound, K = {config.num_samples}"
        maximised = {"training_objective": (of, {"train": "objective", "test": "test_objective"})}
    drawn = maximised | {
        "training": ("ELBO", {"train": "elbo", "test": "test_elbo"}),
        "training_reconstruction": (f"E log p(x|z{given}), test", {"test": "test_reconstruction"}),
        "training_kl": (f"KL(q(z|x{given}) || p(z)), test", {"test": "test_kl"}),
    }
    shown = [
        trained.drawing.save_curves(name, lines, title, "nats per image", measures)
        for name, (title, measures) in drawn.items()
    ]
    error = "one test image, so its standard error is not known"
    if "test_elbo_error" in measured:
        error = f"standard error over images and codes {number(measured['test_elbo_error'], 2)}"
    answer = [
        progress_in_words(*series(lines, watched(lines))),
        *objective_in_words(config, measured),
        f"After {counted(round(lines[-1]['epoch']), 'epoch')} the test ELBO is "
        f"{number(measured['test_elbo'])} nats per image ({error}): reconstruction "
        f"{number(measured['test_reconstruction'])} less divergence {number(measured['test_kl'])}. "
        f"{measured['test_active_units']:.0f} latent variables are active.",
        *above_in_words(trained, [line["elbo"] for line in lines if "elbo" in line]),
    ]
    return Section(
        "training",
        "The IWAE's bound, the ELBO and its parts" if maximised else "The ELBO and its parts",
        answer,
        shown,
        question="Has the training ended, or does the bound still rise?",
        part="pictures",
    )


def watched(lines: Sequence[Mapping[str, Any]]) -> str:
    """The measure of the test set that shows whether a training goes on: of what is maximised."""
    return "test_objective" if any("test_objective" in line for line in lines) else "test_elbo"


def objective_in_words(config: vae.Config, measured: Mapping[str, float]) -> list[str]:
    """What an IWAE maximises, and how that is to be read beside the ELBO; nothing of a VAE."""
    if config.objective != "iwae":
        return []
    of = counted(config.num_samples, "code")
    return [
        f"The importance-weighted bound of {of} per image is maximised: log 1/K sum of w over "
        f"K = {config.num_samples} draws, w = p(x, z) / q(z|x). On the test images it is "
        f"{number(measured['test_objective'])} nats. It is never below the ELBO in expectation, "
        "and rises with K towards log p(x). The ELBO is not maximised, so it may fall while the "
        "bound rises (Burda et al. 2016, theorem 1)."
    ]


def above_in_words(trained: TrainedVAE, elbos: Sequence[float]) -> list[str]:
    """Why the test ELBO stands above the last one in training; nothing where it does not.

    Training images are measured as the test images are, after the last update.
    """
    found = trained.measures["test_elbo"]
    if not elbos or found <= elbos[-1]:
        return []
    dataset, num = trained.drawing.dataset, len(trained.test.visible)
    trained_on = dataset._replace(test=some(dataset, "train", num))
    _, visible, labels = measured_images(trained.nets, trained_on)
    key = task_key("measure")
    alike = float(monitors(trained.params, trained.nets, key, visible, labels)["test_elbo"])
    of = f"{len(visible):,} training images, measured alike after the last update, have"
    if alike < found:
        why = f"these test images are the easier ones: {of} {number(alike)}"
    else:
        why = "the curve of training is a mean over the updates of a log interval, of the net as "
        why += f"it was before each: {of} {number(alike)}"
    return [f"The test ELBO stands above that of training because {why}."]


def overfits(bounds: Sequence[float]) -> bool:
    """Whether the test bound ends below its best, and had that before the last quarter."""
    if len(bounds) < LEAST_MEASURES:
        return False
    best = max(bounds)
    return best - bounds[-1] > ENDED and bounds.index(best) < len(bounds) * 3 // 4


def progress_in_words(epochs: Sequence[float], bounds: Sequence[float]) -> str:
    """Whether the test bound still rises in the last quarter of its values, or falls again."""
    if len(bounds) < LEAST_MEASURES:
        return "The bound was measured too seldom to see whether it still rises."
    best, last = max(bounds), bounds[-1]
    gain = last - bounds[len(bounds) * 3 // 4 - 1]
    if overfits(bounds):
        epoch = epochs[bounds.index(best)]
        return (
            f"The test bound has fallen {number(best - last, 2)} nats below its best, that after "
            f"epoch {epoch:.0f}: the model overfits. More images mend that, or fewer epochs "
            "(`--epochs`)."
        )
    if gain > max(ENDED, best - last):
        return (
            "The test bound still rises: in the last quarter of the training by "
            f"{number(gain, 2)} nats."
        )
    if best - last > ENDED:
        return (
            f"The test bound ends {number(best - last, 2)} nats below its best, which is in the "
            "last quarter: it moves too much to see whether it still rises."
        )
    return f"The test bound has settled: in the last quarter it changed by {number(gain, 2)} nats."


def likelihood(args: VAEArgs, trained: TrainedVAE) -> Section:
    """The bounds of the test log likelihood, with their standard errors."""
    config, values = trained.config, trained.measures
    rows = [
        ["ELBO, one code per image", "test_elbo", "test_elbo_error"],
        [f"importance-weighted, {args.bound_samples:,} codes", "test_bound", "test_bound_error"],
    ]
    cells = [
        [name, number(values[key], 5), number(values[error], 2) if error in values else "not known"]
        for name, key, error in rows
    ]
    titles = ["bound", "nats per image", "standard error"]
    if config.likelihood == "logistic":
        titles.append("bits per dimension")
        num_units = trained.test.visible.shape[-1]
        for cell, (_, key, _) in zip(cells, rows, strict=True):
            cell.append(number(bits_per_dimension(values[key], num_units), 4))
    no_likelihood = config.likelihood == "bernoulli" and config.binarize == "none"
    what = "log p(x|y), y the class of the image," if config.num_classes else "log p(x)"
    given = ", its class given," if config.num_classes else ""
    nats = f"{number(values['test_bound'], 5)} nats"
    answer = [
        f"The better of the two bounds is {nats} per test image. No likelihood, because grey "
        "images are no binary ones."
        if no_likelihood
        else f"A test image{given} has at least {nats} of log likelihood, in the mean.",
        "Cross entropies of grey images, which a Bernoulli decoder cannot produce: they bound no "
        "likelihood, and compare with other runs of --binarize none alone."
        if no_likelihood
        else f"Both are lower bounds of {KINDS[config.likelihood]}, means over the test set in "
        f"nats per image, {_pixels(config)}. The importance-weighted bound approaches "
        f"{what} from below as codes are added, so the encoder's Gaussian loses at least its gap "
        f"to the ELBO, {number(values['test_bound'] - values['test_elbo'], 3)} nats.",
        "The standard errors are those of choosing the test images, with the draws of the codes in "
        f"them; the draws alone make up {number(values['test_bound_draws'], 2)} nats of the second."
        if "test_bound_error" in values
        else "One test image has no standard error; that of the draws of its codes alone is "
        f"{number(values['test_bound_draws'], 2)} for the second bound.",
    ]
    if config.num_classes:
        answer.append(
            "Each image's class is given: log p(x|y), which is no log p(x) and compares with "
            "other conditional models of the same images alone."
        )
    if args.preset == "burda" and trained.drawing.dataset.name == "mnist":
        answer.append(PUBLISHED)
    title = "Bounds of the test set" if no_likelihood else "Log likelihood of the test set"
    return Section(
        "likelihood",
        title,
        answer,
        (),
        Table(titles, cells),
        question="How probable are test images to the model?",
    )


def describe(args: VAEArgs, dataset: Dataset) -> str:
    """The model in a line, with every setting that changes it."""
    config = vae.decide(schedule_rate(args, dataset), dataset.image_shape)
    codes = "one code" if config.num_samples == 1 else f"{config.num_samples} codes"
    dense = config.architecture == "dense"
    sizes = "-".join(map(str, config.hidden_sizes if dense else config.channels))
    words = [
        f"{config.latent_size} latent variables",
        f"{'hidden layers' if dense else 'convolutions of channels'} {sizes} ({config.activation})",
        f"{'discretised ' * (config.likelihood == 'logistic')}{config.likelihood} decoder",
        f"{config.objective.upper()} with {codes} per image, KL weight {config.kl_weight:g}",
        f"Adam {config.learning_rate:g}, beta2 {config.beta2:g}, epsilon {config.epsilon:g}",
        f"binarisation {config.binarize}",
    ]
    if config.num_classes:
        words.append(f"given one of {config.num_classes} classes")
    if config.likelihood == "gaussian":
        words.append(f"log variances of at least {config.min_log_var:g}")
    if args.base_rates:
        words.append("the decoder's last biases started at the base rates")
    if config.kl_warmup_steps:
        words.append(f"KL weight rising over {config.kl_warmup_steps} steps")
    if config.first_stage_steps:
        first = counted(config.first_stage_steps, "step")
        words.append(f"rate falling in stages, the first of {first}")
    return ", ".join(words)


def write(args: VAEArgs, session: Session, result: Result) -> TrainedVAE:
    """Measures a trained VAE and writes the files of its run."""
    nets, params = vae.nets(args.model, session.image_shape), result.state.params
    test = measured_images(nets, session.dataset)
    turn_to("bound of the likelihood")
    measures = likelihoods(nets, params, test, args.bound_samples)
    drawing = Drawing(session.dataset, session.folder)
    codes = encode(params, nets, test.visible, test.labels)
    trained = TrainedVAE(nets, jax.device_get(params), measures, drawing, test, *codes)
    numbers = ", ".join(f"{name} {number(measures[name])}" for name in ("test_elbo", "test_bound"))
    show(f"step {result.step}: {numbers}; drawing the report")
    learner = vae.learner(nets.config, session.image_shape)
    images = artifacts.write_samples(args, session, learner, result)
    lines = metrics_log.read_lines(session.folder / LOG, result.step)
    looks = lab_samples.measure(images, session.dataset)
    drawn = "E[x|z] for codes drawn from the prior N(0, I)."
    classes = []
    if nets.config.num_classes:
        drawn = "E[x|z, y] for codes drawn from the prior N(0, I) and classes drawn uniformly."
        asked = "Codes are drawn from the prior N(0, I), and the class is given to the decoder."
        classes = [class_sheet(drawing, partial(learner.sample, result.state), asked)]
    further, absent = elsewhere(args, {"4.4": "Few and many latent variables"})
    sections = [
        sample_sheet(drawing, images, looks, drawn),
        *classes,
        reconstructions(trained),
        latent_boxes(trained),
        scatter(trained),
        grids(trained),
        *further,
        likelihood(args, trained),
        walks(trained),
        training(trained, lines),
    ]
    _, bounds = series(lines, watched(lines))
    short = "" if overfits(bounds) else looks.too_short(result.step)
    sections.insert(0, explore.of_vae(trained, sections))
    if short:
        sections.insert(0, too_short(short))
    title, model = f"VAE on {session.dataset.name}", describe(args, session.dataset)
    head = headline(trained, looks)
    artifacts.write(
        *(args, session, result, measures, title, model, sections, head, absent),
        alike=bool(short),
    )
    return trained


def headline(trained: TrainedVAE, looks: Looks) -> list[Headline]:
    """The three numbers at the top of the page."""
    values, use = trained.measures, trained.use
    error = values.get("test_bound_error")
    plain = trained.config.likelihood == "bernoulli" and trained.config.binarize == "none"
    given = ", its class given" if trained.config.num_classes else ""
    numbers = [
        Headline(
            "cross entropy, nats per test image" if plain else "log likelihood, nats, at least",
            with_error(values["test_bound"], error) if error else number(values["test_bound"]),
            f"{'no likelihood' if plain else 'per test image'}{given}; higher is better",
        ),
        Headline(
            "latent variables in use",
            f"{int(np.asarray(use.active).sum())} of {trained.config.latent_size}",
            f"variance of the mean code above {vae.ACTIVE_VARIANCE}",
        ),
    ]
    return with_samples(numbers, looks, 2)
