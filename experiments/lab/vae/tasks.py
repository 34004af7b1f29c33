"""The page of one trained VAE: its training, its likelihood, the lab's tasks 4.1 to 4.4."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.lab.drawing import NUM_SHOWN, Drawing
from experiments.lab.vae.training import TrainedVAE, VAEArgs, encode, likelihoods, scheduled
from experiments.running import artifacts
from experiments.running.console import show
from experiments.running.session import Session
from jaxgen.data import Dataset
from jaxgen.evaluation import latent
from jaxgen.evaluation.model import binary_input
from jaxgen.models import vae
from jaxgen.report import figures
from jaxgen.report.page import Section, Table, number
from jaxgen.runs import metrics_log
from jaxgen.training.loop import Result

PUBLISHED = (
    "Published for MNIST, sampled at every visit, after 3,280 epochs at batch 20, with 50 "
    "latent variables, 2x200 tanh units and 5,000 codes per test image: -86.76 trained by the "
    "ELBO, -84.78 by the IWAE bound with k=50 (Burda et al. 2016, table 1)."
)
NUM_EMBEDDED = 2000
"""Test images in the t-SNE map."""
DIFFERENCES = ((7, 1), (9, 4), (8, 3))
"""Digits whose mean codes' difference is added to every digit's mean code."""


def reconstructions(trained: TrainedVAE) -> Section:
    """4.1: the first test images, their codes, and what the means of the codes decode to."""
    grey, mean = trained.drawing.dataset.test.images / 255.0, trained.mean[:NUM_SHOWN]
    strips = {
        "test image": grey[:NUM_SHOWN],
        "input": trained.drawing.images(trained.visible[:NUM_SHOWN]),
        "code": np.clip(np.asarray(mean) / 6.0 + 0.5, 0.0, 1.0),
        "decoded mean": trained.images(mean),
    }
    title = f"The first {len(mean)} test images; codes from -3 (black) over 0 (grey) to 3 (white)"
    error, measures = np.mean(np.square(trained.images(trained.mean) - grey)), trained.measures
    answer = (
        "The posterior mean of each image is decoded. Mean squared error per pixel against the "
        f"grey image over the whole test set: {number(float(error))}. Reconstruction "
        f"{number(measures['test_reconstruction'])} and divergence {number(measures['test_kl'])} "
        f"nats per test image, input binarised by '{trained.config.binarize}'."
    )
    path = trained.drawing.save("4_1", figures.rows_of(strips, title))
    return Section("4.1", "Reconstructions and codes", [answer], [path])


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
        f"{active.sum()} of {len(active)} latent variables are active: the variance of their "
        f"posterior mean over the test set is above {vae.ACTIVE_VARIANCE}. Dead: {dead}. A dead "
        "variable carries no information about an image; if its posterior is the prior it costs "
        "nothing either, and its boxes show means near 0 and variances near 1.",
        f"Mean absolute weight into the decoder: {_mean_weights(weights, active)}.",
        f"The divergence is {number(float(kl.sum()))} nats per image, by variable from "
        f"{number(float(kl.min()), 3)} to {number(float(kl.max()), 3)}.",
    ]
    boxes = figures.box_plots(
        panels, "Quartiles, and 1st to 99th percentile, over the test set (weights: over units)"
    )
    chart = figures.bars(
        kl, (~active).tolist(), "Divergence by latent variable", "KL, nats per image", "dead"
    )
    paths = [trained.drawing.save("4_2", boxes), trained.drawing.save("4_2_kl", chart)]
    return Section("4.2", "The latent variables", answer, paths)


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
    labels = trained.drawing.dataset.test.labels
    first, second = trained.shown
    points = np.asarray(trained.mean)[:, [first, second]]
    title = f"Posterior means of {len(points)} test images"
    figure = figures.scatter(points, labels.tolist(), title, f"latent {first}", f"latent {second}")
    paths = [trained.drawing.save("4_3", figure)]
    kl = np.asarray(trained.use.kl)
    answer = [
        f"Latent variables {first} and {second} have the largest divergence, "
        f"{number(float(kl[first]), 3)} and {number(float(kl[second]), 3)} nats. "
        f"{_same_label(points, labels, 'these two variables')}"
    ]
    if trained.config.latent_size > 2:
        from sklearn.manifold import TSNE

        num = min(NUM_EMBEDDED, len(labels))
        mapped = TSNE(random_state=0, init="pca").fit_transform(np.asarray(trained.mean[:num]))
        title = f"t-SNE of the posterior means of the first {num} test images"
        figure = figures.scatter(mapped, labels[:num].tolist(), title, "", "")
        paths.append(trained.drawing.save("4_3_tsne", figure))
        answer.append(
            f"{_same_label(np.asarray(trained.mean), labels, 'all variables')} t-SNE maps "
            "neighbourhoods; distances between its clusters and their sizes mean nothing."
        )
    return Section("4.3", "Digits in the latent space", answer, paths)


def _same_label(points: np.ndarray, labels: np.ndarray, which: str) -> str:
    """The share of points whose nearest other point has the same label, in words."""
    from sklearn.neighbors import NearestNeighbors

    num = min(NUM_EMBEDDED, len(points))
    found = NearestNeighbors(n_neighbors=2).fit(points[:num])
    nearest = found.kneighbors(points[:num], return_distance=False)[:, 1]
    share = float(np.mean(labels[nearest] == labels[:num]))
    return f"In {which} the nearest of {num} test images has the same label in {share:.0%}."


def grids(trained: TrainedVAE) -> Section:
    """4.4: images decoded from a plane of the latent space, the other variables at 0."""
    first, second = trained.shown
    paths = []
    for extent, num in ((1.5, 15), (3.0, 20)):
        codes = latent.plane(trained.config.latent_size, (first, second), extent, num)
        images = trained.images(codes.reshape(num * num, -1))
        title = f"Decoded from [-{extent:g}, {extent:g}]^2: latent {first} across, {second} up"
        sheet = figures.image_sheet(images, title, columns=num)
        paths.append(trained.drawing.save(f"4_4_grid_{num}", sheet))
    inside = np.all(np.abs(np.asarray(trained.mean)[:, [first, second]]) <= 1.5, axis=1).mean()
    rest = "" if trained.config.latent_size == 2 else " The other variables are at 0."
    answer = (
        f"Each image is decoded from the code at its place.{rest} The smaller grid covers the "
        f"posterior means of {inside:.0%} of the test images in these two variables, the larger "
        "one 99.5% of the prior."
    )
    return Section("4.4", "Decoded planes", [answer], paths)


def walks(trained: TrainedVAE) -> Section:
    """Straight lines between the codes of test images, and arithmetic on the classes' means."""
    num, labels = 10, jnp.asarray(trained.drawing.dataset.test.labels)
    ends = trained.mean[:num]
    lines = latent.linear_path(ends, jnp.roll(ends, -1, axis=0), num)
    sheet = trained.images(jnp.swapaxes(lines, 0, 1).reshape(num * num, -1))
    title = "Each row: from the code of one test image to that of the next, in equal steps"
    path = figures.image_sheet(sheet, title, columns=num)
    means = latent.class_means(trained.mean, labels, 10)
    strips = {"mean": trained.images(means)}
    for a, b in DIFFERENCES:
        strips[f"{a} - {b} + mean"] = trained.images(means[a] - means[b] + means)
    arithmetic = figures.rows_of(strips, "Decoded mean codes of 0 to 9, and sums with them")
    paths = [trained.drawing.save("walks", path), trained.drawing.save("arithmetic", arithmetic)]
    answer = (
        "The first sheet decodes the codes between those of two test images. In the second, the "
        "difference of two digits' mean codes is added to each digit's; the means are those of the "
        "test set."
    )
    return Section("walks", "Walks and sums in the latent space", [answer], paths)


def training(trained: TrainedVAE, lines: Sequence[Mapping[str, Any]]) -> Section:
    """The ELBO over the epochs, on training batches and on the test set, and its two parts."""
    measured = trained.measures
    drawn = {
        "training": ("ELBO", {"train": "elbo", "test": "test_elbo"}),
        "training_reconstruction": ("E log p(x|z), test", {"test": "test_reconstruction"}),
        "training_kl": ("KL(q(z|x) || p(z)), test", {"test": "test_kl"}),
    }
    paths = [
        trained.drawing.save_curves(name, lines, title, "nats per image", measures)
        for name, (title, measures) in drawn.items()
    ]
    answer = (
        f"After {lines[-1]['epoch']:.0f} epochs the test ELBO is {number(measured['test_elbo'])} "
        f"+- {number(measured['test_elbo_error'], 2)} nats per image (standard error over images "
        f"and codes): reconstruction {number(measured['test_reconstruction'])} less divergence "
        f"{number(measured['test_kl'])}. {measured['test_active_units']:.0f} latent variables are "
        "active."
    )
    return Section("training", "The ELBO and its parts", [answer], paths)


def likelihood(args: VAEArgs, trained: TrainedVAE) -> Section:
    """The bounds of the test log likelihood, with their standard errors."""
    config, measured = trained.config, trained.measures
    rows = [
        ["ELBO, one code per image", "test_elbo", "test_elbo_error"],
        [f"importance-weighted, {args.bound_samples:,} codes", "test_bound", "test_bound_error"],
    ]
    cells = [
        [name, number(measured[key], 5), number(measured[error], 2)] for name, key, error in rows
    ]
    no_likelihood = config.likelihood == "bernoulli" and config.binarize == "none"
    kind = (
        "log densities of grey images" if config.likelihood == "gaussian" else "log probabilities"
    )
    answer = [
        "Cross entropies of grey images, which a Bernoulli decoder cannot produce: they bound no "
        "likelihood, and compare with other runs of --binarize none alone."
        if no_likelihood
        else f"Both are lower bounds of {kind}, means over the test set in nats per image, its "
        f"input binarised by '{config.binarize}'. The importance-weighted bound approaches "
        "log p(x) from below as codes are added, so the encoder's Gaussian loses at least its gap "
        f"to the ELBO, {number(measured['test_bound'] - measured['test_elbo'], 3)} nats.",
        "The standard errors are those of choosing the test images, with the draws of the codes in "
        f"them; the draws alone make up {number(measured['test_bound_draws'], 2)} of the second.",
    ]
    if args.preset == "burda" and trained.drawing.dataset.name == "mnist":
        answer.append(PUBLISHED)
    table = Table(["bound", "nats per image", "standard error"], cells)
    title = "Bounds of the test set" if no_likelihood else "Log likelihood of the test set"
    return Section("likelihood", title, answer, (), table)


def described(args: VAEArgs, dataset: Dataset) -> str:
    """The model in a line, with every setting that changes it."""
    config = scheduled(args, dataset)
    codes = "one code" if config.num_samples == 1 else f"{config.num_samples} codes"
    words = [
        f"{config.latent_size} latent variables",
        f"hidden layers {'-'.join(map(str, config.hidden_sizes))} ({config.activation})",
        f"{config.likelihood} decoder",
        f"{config.objective.upper()} with {codes} per image, KL weight {config.kl_weight:g}",
        f"Adam {config.learning_rate:g}, beta2 {config.beta2:g}, epsilon {config.epsilon:g}",
        f"binarisation {config.binarize}",
    ]
    if config.likelihood == "gaussian":
        words.append(f"log variances of at least {config.min_log_var:g}")
    if config.kl_warmup_steps:
        words.append(f"KL weight rising over {config.kl_warmup_steps} steps")
    if config.first_stage_steps:
        words.append(f"rate falling in stages, the first of {config.first_stage_steps} steps")
    return ", ".join(words)


def write(args: VAEArgs, session: Session, result: Result) -> TrainedVAE:
    """Measures a trained VAE and writes the files of its run."""
    config, params = args.model, result.state.params
    visible = binary_input(session.dataset.test.images, config.binarize)
    measures = likelihoods(config, params, visible, args.bound_samples)
    drawing, codes = Drawing(session.dataset, session.folder), encode(params, config, visible)
    trained = TrainedVAE(config, jax.device_get(params), measures, drawing, visible, *codes)
    numbers = ", ".join(f"{name} {number(measures[name])}" for name in ("test_elbo", "test_bound"))
    show(f"step {result.step}: {numbers}; drawing the report")
    learner = vae.learner(config, session.image_shape)
    samples = artifacts.write_samples(args, session, learner, result)
    lines = metrics_log.read_lines(session.folder / "metrics.jsonl", result.step)
    sheet = figures.image_sheet(samples, f"First {len(samples)} samples: codes from the prior")
    answer = "E[x|z] for codes drawn from the prior N(0, I)."
    sections = [
        training(trained, lines),
        likelihood(args, trained),
        reconstructions(trained),
        latent_boxes(trained),
        scatter(trained),
        grids(trained),
        Section("samples", "Samples", [answer], [drawing.save("samples", sheet)]),
        walks(trained),
    ]
    title, model = f"VAE on {session.dataset.name}", described(args, session.dataset)
    artifacts.write(args, session, result, measures, title, model, sections)
    return trained
