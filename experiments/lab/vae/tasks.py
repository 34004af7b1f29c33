"""One trained VAE: its training, its likelihood, and the lab's tasks 4.1 and 4.2."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from experiments.lab.drawing import NUM_SHOWN, Drawing
from jaxgen.evaluation import latent
from jaxgen.models import vae
from jaxgen.report import figures
from jaxgen.report.page import Section, Table, number

encode = jax.jit(vae.encode, static_argnums=1)
decode = jax.jit(vae.decoded_means, static_argnums=1)


class TrainedVAE(NamedTuple):
    """A trained VAE with its measures and its posteriors of the test images."""

    config: vae.Config
    params: vae.Params
    measures: dict[str, float]
    """Those of `likelihoods` in `experiments.lab.vae.training`."""
    drawing: Drawing
    visible: Array
    """The test set as input."""
    mean: Array
    log_var: Array

    @property
    def use(self) -> latent.LatentUse:
        """The divergence and the activity of each latent variable over the test set."""
        return latent.latent_use(self.mean, self.log_var)

    @property
    def shown(self) -> tuple[int, int]:
        """The two latent variables with the largest divergence, the lower index first."""
        first, second = sorted(np.argsort(-np.asarray(self.use.kl), kind="stable")[:2].tolist())
        return first, second

    def images(self, codes: Array) -> np.ndarray:
        """Decoded codes [..., L] as images [..., H, W, C]."""
        decoded = decode(self.params, self.config, codes.reshape(-1, codes.shape[-1]))
        images = self.drawing.images(decoded)
        return images.reshape(*codes.shape[:-1], *images.shape[1:])


def code_strip(mean: Array) -> np.ndarray:
    """Codes as grey values: -3 and less is black, 0 grey, 3 and more white."""
    return np.clip(np.asarray(mean) / 6.0 + 0.5, 0.0, 1.0)


def reconstructions(trained: TrainedVAE) -> Section:
    """4.1: the first test images, their codes, and what the means of the codes decode to."""
    grey, mean = trained.drawing.dataset.test.images / 255.0, trained.mean[:NUM_SHOWN]
    strips = {
        "test image": grey[:NUM_SHOWN],
        "input": trained.drawing.images(trained.visible[:NUM_SHOWN]),
        "code": code_strip(mean),
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


def likelihood(trained: TrainedVAE, num_samples: int) -> Section:
    """The bounds of the test log likelihood, with their standard errors."""
    config, measured = trained.config, trained.measures
    rows = [
        ["ELBO, one code per image", "test_elbo", "test_elbo_error"],
        [f"importance-weighted, {num_samples:,} codes", "test_bound", "test_bound_error"],
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
    table = Table(["bound", "nats per image", "standard error"], cells)
    title = "Bounds of the test set" if no_likelihood else "Log likelihood of the test set"
    return Section("likelihood", title, answer, (), table)
