"""An RBM, a DBN or a fine-tuned DBN as an `EvaluatedModel`: all are a net with an RBM on top."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.evaluation import ais
from jaxgen.evaluation.ais import LogZEstimate
from jaxgen.evaluation.dbn_bounds import log_weights, top_base_logits, variational_bound
from jaxgen.evaluation.likelihood import (
    MAX_ENUMERATED,
    importance_bound,
    num_enumerated,
    rbm_log_likelihood,
    rbm_log_z,
)
from jaxgen.evaluation.model import (
    DEFAULT_BUDGET,
    EvaluatedModel,
    Likelihood,
    LikelihoodBudget,
    binary_input,
    feature_input,
    key_of,
    mean_likelihood,
)
from jaxgen.images import ImageShape
from jaxgen.learner import Images, PRNGKey, RawImages, named_key
from jaxgen.models import dbn, label_units, rbm, wake_sleep
from jaxgen.random import Binarize

stages = logging.getLogger("jaxgen.stages")
"""Logs the stage of a computation, for whoever waits."""

NUM_REVERSE_STEPS = 1000
"""Gibbs steps from random visible units to the start of a reverse chain."""
NUM_DRAWS = 20
"""Up passes per image in the variational bound."""
DENSITY = "density of pixels in [0, 1]"
"""The kind of the likelihoods of Gaussian visible units. They are compared with no probability of
binary pixels: a density may be above 1, and grows as the pixels' range shrinks."""


def rbm_model(config: rbm.Config, image_shape: ImageShape, params: rbm.Params) -> EvaluatedModel:
    """An RBM: a net without directed layers."""
    net = dbn.tie((params,))
    return _model(net, image_shape, config.binarize, config.num_sampling_steps)


def dbn_model(
    config: dbn.Config, image_shape: ImageShape, params: dbn.Layers | Mapping[str, rbm.Params]
) -> EvaluatedModel:
    """A DBN, with the same weights in both directions."""
    net = dbn.tie(_layers(params))
    drawing = config.num_sampling_steps, config.label_gain
    return _model(net, image_shape, config.binarize, *drawing)


def wake_sleep_model(
    config: wake_sleep.Config, image_shape: ImageShape, params: dbn.Net | Mapping[str, Any]
) -> EvaluatedModel:
    """A fine-tuned DBN; its recognition net is the approximate posterior."""
    parts: Mapping[str, Any] = params._asdict() if isinstance(params, dbn.Net) else params
    net = dbn.Net(_layers(parts["recognition"]), _layers(parts["generative"]), parts["top"])
    drawing = config.num_sampling_steps, config.label_gain
    return _model(net, image_shape, config.binarize, *drawing)


def _layers(parts: dbn.Layers | Mapping[str, rbm.Params]) -> dbn.Layers:
    """Layers in order; in a file they lie under the names 0, 1, 2, ..."""
    if isinstance(parts, tuple):
        return parts
    return tuple(parts[name] for name in sorted(parts, key=int))


def _model(
    net: dbn.Net,
    image_shape: ImageShape,
    binary: Binarize,
    num_sampling_steps: int,
    label_gain: float = 1.0,
) -> EvaluatedModel:
    net = jax.tree.map(jnp.asarray, net)
    sample = partial(dbn.sample_net, num_sampling_steps, image_shape, net)
    gaussian = rbm.is_gaussian(net.bottom)
    if gaussian:
        binary = "none"
    num_layers = len(net.recognition) + 1
    num_classes = label_units.num_classes(net.top)
    names = [f"hidden units {n}" for n in range(1, num_layers)]
    names.append("top units" if num_layers > 1 else "hidden units")
    return EvaluatedModel(
        sample=partial(sample, label_gain=label_gain),
        features={name: partial(_probs, net, binary, i) for i, name in enumerate(names)},
        likelihoods=partial(_likelihoods, net, binary) if gaussian or binary != "none" else None,
        decode=partial(_decode, net, image_shape),
        binary=binary,
        code_size=len(net.top["b_hidden"]),
        reconstruct=partial(_reconstruct, net, image_shape, binary),
        num_classes=num_classes,
        classify=partial(classify, net, binary) if num_classes else None,
    )


def _input(net: dbn.Net, binary: Binarize, images: RawImages) -> Float[Array, "batch visible"]:
    """Visible units as features are made of them; see `feature_input`."""
    method: Binarize = "none" if rbm.is_gaussian(net.bottom) else binary
    return rbm.standardise(net.bottom, feature_input(images, method))


def _probs(
    net: dbn.Net, binary: Binarize, layer: int, images: RawImages
) -> Float[Array, "batch units"]:
    """p(h=1) of a layer, each layer below handing up its probabilities."""
    units = dbn.mean_up(net.recognition[: layer + 1], _input(net, binary, images))
    return units if layer < len(net.recognition) else label_units.hidden_probs(net.top, units)


def classify(net: dbn.Net, binary: Binarize, images: RawImages) -> Float[Array, "batch classes"]:
    """`dbn.classify` of raw images, the input being that of the features."""
    return dbn.classify(net, _input(net, binary, images))


def _decode(net: dbn.Net, image_shape: ImageShape, hidden: Float[Array, "num hidden"]) -> Images:
    """E[v] as pixels from the highest units, each layer above handing down its probabilities."""
    units = hidden
    for params in (net.top, *reversed(net.generative)):
        units = rbm.visible_mean(params, units)
    return rbm.to_pixels(net.bottom, units).reshape(-1, *image_shape)


def _reconstruct(
    net: dbn.Net, image_shape: ImageShape, binary: Binarize, key: PRNGKey, images: RawImages
) -> Images:
    """E[v|h_1] after an up pass to the top and a down pass back; all layers are drawn."""
    key_data, key_pass = jax.random.split(key)
    visible = rbm.to_visible(net.bottom, key_data, jnp.asarray(images), binary)
    _, pixels = dbn.reconstruct(net, key_pass, visible)
    return pixels.reshape(-1, *image_shape)


def _likelihoods(
    net: dbn.Net,
    binary: Binarize,
    images: RawImages,
    budget: LikelihoodBudget = DEFAULT_BUDGET,
    training_images: RawImages | None = None,
    key: PRNGKey | None = None,
) -> list[Likelihood]:
    """Exact or by annealing for an RBM; bounds for a deeper net; of Gaussian units, densities."""

    def units(images: RawImages) -> Array:
        return rbm.standardise(net.bottom, binary_input(images, binary, key))

    visible = units(images)
    train = visible if training_images is None else units(training_images)
    found = (_of_deep if net.recognition else _of_rbm)(net, train, visible, budget, key)
    if rbm.is_gaussian(net.bottom):
        found = [each._replace(kind=f"{each.kind}, {DENSITY}") for each in found]
    return [each._replace(binary=binary) for each in found]


def enumerable(params: rbm.Params) -> bool:
    """Whether log Z is computed exactly."""
    return num_enumerated(params) <= MAX_ENUMERATED


def uncertainty(of: LogZEstimate, other: LogZEstimate) -> dict[str, Any]:
    """The uncertainty of a likelihood by an estimate of log Z; `other` is from the other side."""
    effective, num = float(of.effective_sample_size), len(of.log_z_of_chains)
    interval = ""
    if effective >= ais.LEAST_EFFECTIVE:
        low, high = map(float, of.interval)
        interval = f" [{low:.2f}, {high:.2f}]"
    note = (
        f"log Z {float(of.log_z):.2f}{interval}, {effective:.3g} of {num} chains effective; "
        f"from the other side {float(other.log_z):.2f}"
    )
    return {
        "log_z_error": float(of.standard_error),
        "log_z_gap": abs(float(of.log_z - other.log_z)),
        "num_chains": num,
        "effective_chains": effective,
        "note": note,
    }


@partial(jax.jit, static_argnums=3)
def _mix(params: rbm.Params, key: PRNGKey, key_mix: PRNGKey, num: int) -> tuple[Array, ...]:
    """Visible units, and labels if there are any, at the ends of long chains from random ones."""
    noise = rbm.noise_visible(params, key, num)
    if not (num_classes := label_units.num_classes(params)):
        return (rbm.gibbs(params, noise, key_mix, NUM_REVERSE_STEPS),)
    labels = jax.random.randint(named_key(key, "labels"), (num,), 0, num_classes)
    return label_units.gibbs(params, noise, labels, key_mix, NUM_REVERSE_STEPS)


def anneal(
    net: dbn.Net, train: Array, budget: LikelihoodBudget, key: PRNGKey | None
) -> tuple[LogZEstimate, LogZEstimate]:
    """Log Z of the top by AIS, and by reverse AIS from the ends of long Gibbs chains."""
    words = "log Z by annealed importance sampling, %d chains of %d temperatures"
    stages.info(words, budget.num_chains, budget.num_temperatures)
    params, base = net.top, top_base_logits(net, key_of("top input", key), train)
    chains = {"num_temperatures": budget.num_temperatures}
    forward = ais.ais(params, key_of("ais", key), base, num_chains=budget.num_chains, **chains)
    start = _mix(params, key_of("reverse start", key), key_of("mix", key), budget.num_chains)
    backward = ais.reverse_ais(params, key_of("reverse ais", key), base, *start, **chains)
    return forward, backward


def _of_rbm(
    net: dbn.Net, train: Array, visible: Array, budget: LikelihoodBudget, key: PRNGKey | None
) -> list[Likelihood]:
    """By reverse annealing, by annealing, and exactly where the RBM is small enough."""
    forward, backward = anneal(net, train, budget, key)
    likelihood = partial(rbm_log_likelihood, net.top, visible=visible)
    found = [
        mean_likelihood(
            likelihood(backward.log_z), "reverse AIS", **uncertainty(backward, forward)
        ),
        mean_likelihood(likelihood(forward.log_z), "AIS", **uncertainty(forward, backward)),
    ]
    if enumerable(net.top):
        found.append(mean_likelihood(likelihood(rbm_log_z(net.top)), "exact"))
    return found


@partial(jax.jit, static_argnums=4)
def _bounds(
    net: dbn.Net, log_z: Array, key: PRNGKey, visible: Array, num_weights: int
) -> tuple[Array, Array]:
    """Both bounds for every example."""
    one = variational_bound(net, log_z, named_key(key, "one"), visible, NUM_DRAWS).bound
    weights = log_weights(net, log_z)
    many = importance_bound(weights, named_key(key, "many"), visible, num_weights)
    return one, many.log_mean_weight


def _of_deep(
    net: dbn.Net, train: Array, visible: Array, budget: LikelihoodBudget, key: PRNGKey | None
) -> list[Likelihood]:
    """The variational bound and the importance-weighted one, with log Z of the top RBM."""
    if enumerable(net.top):
        log_z, errors, how = rbm_log_z(net.top), {}, "exact log Z on top"
    else:
        forward, backward = anneal(net, train, budget, key)
        log_z, errors, how = forward.log_z, uncertainty(forward, backward), "AIS on top"
    one, many = _bounds(net, log_z, key_of("bound", key), visible, budget.num_weights)
    weighted = f"importance-weighted bound, {budget.num_weights:,} draws, {how}"
    return [
        mean_likelihood(one, f"variational bound, {how}", **errors),
        mean_likelihood(many, weighted, **errors),
    ]
