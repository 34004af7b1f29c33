"""Cheap measures of a model while it trains; they monitor, and rank no models.

Each function returns a dict of scalars that starts at the images, and can be compiled with
`jax.jit`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from jaxgen.evaluation import latent
from jaxgen.evaluation.dbm_bounds import posterior_logits, variational_bound
from jaxgen.evaluation.likelihood import (
    MAX_ENUMERATED,
    importance_bound,
    num_enumerated,
    rbm_log_likelihood,
    rbm_log_z,
    stochastic_pseudo_log_likelihood,
    visible_units,
)
from jaxgen.images import check_images
from jaxgen.learner import Labels, PRNGKey, RawImages, named_key
from jaxgen.models import dbm, dbn, label_units, rbm, vae
from jaxgen.random import Binarize, binarize

IMAGES_AT_ONCE, CODES_AT_ONCE = 256, 50
"""Of which an IWAE's bound is computed side by side."""
RARE = 0.01
"""A unit that is on in less than this share of the images counts as never on."""


def reconstruction_error(
    images: UInt8[Array, "examples *shape"], probs: Float[Array, "examples visible"]
) -> Float[Array, ""]:
    """Mean over images and pixels of (x - p)^2, x the grey image in [0, 1].

    Errors:
        SettingError: the images are no uint8 from 0 to 255.
    """
    images = check_images(images)
    return jnp.mean(jnp.square(images.reshape(probs.shape) / 255.0 - probs))


def idle_units(hidden: Float[Array, "examples units"]) -> dict[str, Float[Array, ""]]:
    """Shares of units that carry no information about the images, from their binary states.

    Metrics:
        never_on, always_on: share of units on in less than 1%, more than 99% of the images.
    """
    often = jnp.mean(hidden, axis=0)
    return {"never_on": jnp.mean(often < RARE), "always_on": jnp.mean(often > 1.0 - RARE)}


def _input(
    params: rbm.Params, key: PRNGKey, images: RawImages, binary: Binarize
) -> Float[Array, "examples visible"]:
    """Visible units of raw images; see `rbm.to_visible`.

    Errors:
        SettingError: the images are not raw, or not of the size of the parameters.
    """
    method: Binarize = "none" if rbm.is_gaussian(params) else binary
    return rbm.standardise(params, visible_units(params, binarize(key, images, method)))


def net_monitors(
    net: dbn.Net,
    key: PRNGKey,
    train: UInt8[Array, "..."],
    test: UInt8[Array, "..."],
    binary: Binarize,
) -> dict[str, Float[Array, ""]]:
    """Measures a net of directed layers with an RBM on top.

    Args:
        net: an RBM, a DBN or a fine-tuned DBN.
        key: of all draws; the up passes of test and training images have the same numbers, which
            makes the gap between them less noisy.
        train: training images, as many as test images or fewer.
        test: test images.
        binary: how grey pixels become input of binary units.

    Metrics:
        test_reconstruction_error: `reconstruction_error` of E[v|h_1] after an up pass from the
            input to the top and a down pass back.
        free_energy_gap: mean F(test) - mean F(train) of the top RBM, at the states that the up pass
            draws; nats per image. It grows with overfitting.
        never_on, always_on: `idle_units` of the top.

    Errors:
        SettingError: the images are not raw, or not of the net's size.
    """
    key_train, key_test, key_up, key_pass = jax.random.split(key, 4)
    visible = _input(net.bottom, key_test, test, binary)
    train_visible = _input(net.bottom, key_train, train, binary)
    hidden, probs = dbn.reconstruct(net, key_pass, visible)

    def top_energy(visible: Array) -> Array:
        below = dbn.up(net.recognition, key_up, visible)[-1]
        return jnp.mean(label_units.free_energy(net.top, below))

    return {
        "test_reconstruction_error": reconstruction_error(test, probs),
        "free_energy_gap": top_energy(visible) - top_energy(train_visible),
        **idle_units(hidden),
    }


def rbm_monitors(
    params: rbm.Params,
    key: PRNGKey,
    train: UInt8[Array, "..."],
    test: UInt8[Array, "..."],
    binary: Binarize,
) -> dict[str, Float[Array, ""]]:
    """Measures an RBM; arguments as in `net_monitors`.

    Metrics:
        test_reconstruction_error: `reconstruction_error` of E[v|h] after one step from the input.
        free_energy_gap: mean F(test) - mean F(train), nats per image; it grows with overfitting.
        never_on, always_on: `idle_units`.
        test_pseudo_log_likelihood: estimated by one pixel per image, nats per image; a monitor, no
            likelihood; only for binary input.
        test_log_likelihood: exact, nats per image; only for enumerable RBMs. Of Gaussian units it
            is the log of a density, that of pixels in [0, 1].

    Errors:
        SettingError: the images are not raw, or not of the RBM's size.
    """
    key_train, key_test, key_hidden = jax.random.split(key, 3)
    visible = _input(params, key_test, test, binary)
    hidden, probs = rbm.reconstruct(params, key_hidden, visible)
    train_visible = _input(params, key_train, train, binary)
    train_energy = jnp.mean(rbm.free_energy(params, train_visible))
    found = {
        "test_reconstruction_error": reconstruction_error(test, probs),
        "free_energy_gap": jnp.mean(rbm.free_energy(params, visible)) - train_energy,
        **idle_units(hidden),
    }
    if binary != "none" and not rbm.is_gaussian(params):
        pseudo = stochastic_pseudo_log_likelihood(params, named_key(key, "pixel"), visible)
        found["test_pseudo_log_likelihood"] = jnp.mean(pseudo)
    if num_enumerated(params) <= MAX_ENUMERATED:
        exact = rbm_log_likelihood(params, rbm_log_z(params), visible)
        found["test_log_likelihood"] = jnp.mean(exact)
    return found


def dbm_monitors(
    params: dbm.Params,
    key: PRNGKey,
    train: UInt8[Array, "..."],
    test: UInt8[Array, "..."],
    binary: Binarize,
    num_mean_field_steps: int = 10,
) -> dict[str, Float[Array, ""]]:
    """Measures a DBM; arguments as in `net_monitors`, and the updates of mean field.

    Metrics:
        test_reconstruction_error: `reconstruction_error` of p(v=1|h1), h1 drawn from mean field.
        free_energy_gap: the mean variational bound of train less that of test, without log Z, which
            both share; nats per image. It grows with overfitting.
        never_on, always_on: `idle_units` of mu2.

    Errors:
        SettingError: the images are not raw, or not of the machine's size.
    """
    key_train, key_test, key_pass = jax.random.split(key, 3)
    below = {"w": params["w1"]}
    visible = _input(below, key_test, test, binary)
    steps = num_mean_field_steps
    _, second, probs = dbm.reconstruct(params, key_pass, visible, steps)

    def bound(visible: Array) -> Array:
        logits = posterior_logits(params, visible, steps)
        return jnp.mean(variational_bound(params, jnp.zeros(()), visible, logits))

    return {
        "test_reconstruction_error": reconstruction_error(test, probs),
        "free_energy_gap": bound(_input(below, key_train, train, binary)) - bound(visible),
        **idle_units(second),
    }


def vae_monitors(
    params: vae.Params,
    nets: vae.Nets,
    key: PRNGKey,
    visible: Float[Array, "examples visible"],
    labels: Labels | None = None,
) -> dict[str, Float[Array, ""]]:
    """Measures a VAE with one code per test image, a conditional one given its label.

    Metrics:
        test_elbo, test_reconstruction, test_kl: the ELBO and its parts, E log p(x|z) and
            KL(q(z|x) || p(z)), means over the images, nats per image.
        test_elbo_error: standard error of the ELBO, from the choice of images and codes: the
            standard deviation (n - 1) over the root of n; left out for one image, which has none.
        test_active_units: latent variables whose posterior mean has a variance above 0.01.
        test_objective: of an IWAE, the bound that it maximises: log 1/K sum_k w_k of K codes per
            image, mean over the images, nats per image.
    """
    found = vae.terms(params, nets, key, visible, 1, labels)
    reconstruction = found.reconstruction[0]
    elbo = reconstruction - found.kl
    use = latent.latent_use(*vae.encode(params, nets, visible, labels))
    error = {}
    if len(elbo) > 1:
        error = {"test_elbo_error": jnp.std(elbo, ddof=1) / jnp.sqrt(len(elbo))}
    maximised = {}
    if nets.config.objective == "iwae":
        maximised = {"test_objective": _iwae_bound(params, nets, key, visible, labels)}
    return {
        "test_elbo": jnp.mean(elbo),
        **error,
        "test_reconstruction": jnp.mean(reconstruction),
        "test_kl": jnp.mean(found.kl),
        "test_active_units": jnp.sum(use.active).astype(jnp.float32),
        **maximised,
    }


def _iwae_bound(
    params: vae.Params,
    nets: vae.Nets,
    key: PRNGKey,
    visible: Float[Array, "examples visible"],
    labels: Labels | None,
) -> Float[Array, ""]:
    """Log 1/K sum_k w_k with the codes of training, the mean over the images."""

    def log_weights(key: PRNGKey, example: tuple[Array, Labels | None], num: int) -> Array:
        return vae.log_weights(params, nets, key, example[0], num, example[1])

    num = nets.config.num_samples
    found = importance_bound(
        *(log_weights, named_key(key, "iwae"), (visible, labels), num),
        examples_at_once=IMAGES_AT_ONCE,
        samples_at_once=min(num, CODES_AT_ONCE),
    )
    return jnp.mean(found.log_mean_weight)
