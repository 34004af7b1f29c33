"""An RBM, a DBN or a fine-tuned DBN on the yardstick: all are a net with an RBM on top."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from experiments.comparison.examined import (
    Effort,
    Examined,
    Likelihood,
    binary_input,
    grey,
    mean_of,
)
from experiments.running.artifacts import task_key
from jaxgen.data import Dataset
from jaxgen.evaluation import ais
from jaxgen.evaluation.ais import LogZEstimate
from jaxgen.evaluation.dbn_bounds import log_weights, top_base_logits, variational_bound
from jaxgen.evaluation.likelihood import (
    MAX_ENUMERATED,
    importance_bound,
    rbm_log_likelihood,
    rbm_log_z,
)
from jaxgen.learner import named_key
from jaxgen.models import dbn, rbm
from jaxgen.random import Binarize, bernoulli

NUM_REVERSE_STEPS = 1000
"""Gibbs steps from random visible units to the start of a reverse chain."""
NUM_DRAWS = 20
"""Up passes per image in the variational bound."""


def examined(net: dbn.Net, config: Any, dataset: Dataset) -> Examined:
    """A net, and the settings of how it was trained: `binarize` and `num_sampling_steps`."""
    image_shape = dataset.train.images.shape[1:]
    net = jax.tree.map(jnp.asarray, net)
    num_layers = len(net.recognition) + 1
    names = [f"hidden units {n}" for n in range(1, num_layers)]
    names.append("top units" if num_layers > 1 else "hidden units")
    return Examined(
        sample=partial(dbn.sample_net, config.num_sampling_steps, image_shape, net),
        features={n: partial(_probs, net, config.binarize, i) for i, n in enumerate(names)},
        likelihoods=partial(_likelihoods, net, config.binarize, dataset),
    )


def _probs(
    net: dbn.Net, binary: Binarize, layer: int, images: UInt8[Array, "batch *shape"]
) -> Float[Array, "batch units"]:
    """p(h=1) of a layer, each layer below handing up its probabilities."""
    units = grey(images, binary)
    for params in (*net.recognition, net.top)[: layer + 1]:
        units = jax.nn.sigmoid(rbm.hidden_logits(params, units))
    return units


def _likelihoods(
    net: dbn.Net, binary: Binarize, dataset: Dataset, effort: Effort
) -> list[Likelihood]:
    """Exact or by annealing for an RBM; bounds for a deeper net. Grey input has none."""
    if binary == "none":
        return []
    test = binary_input(dataset.test.images, binary)
    train = binary_input(dataset.train.images, binary)
    found = (_of_deep if net.recognition else _of_rbm)(net, train, test, effort)
    return [each._replace(binary=binary) for each in found]


def _enumerable(params: rbm.Params) -> bool:
    return min(params["w"].shape) <= MAX_ENUMERATED


def _said(of: LogZEstimate, other: LogZEstimate) -> dict[str, Any]:
    """What a likelihood by an estimate of log Z is uncertain by; `other` is from the other side."""
    low, high = map(float, of.interval)
    note = (
        f"log Z {float(of.log_z):.2f} [{low:.2f}, {high:.2f}], "
        f"{float(of.effective_sample_size):.3g} of {len(of.log_z_of_chains)} chains effective; "
        f"from the other side {float(other.log_z):.2f}"
    )
    gap = abs(float(of.log_z - other.log_z))
    return {"log_z_error": float(of.standard_error), "log_z_gap": gap, "note": note}


def _annealed(net: dbn.Net, train: Array, effort: Effort) -> tuple[LogZEstimate, LogZEstimate]:
    """Log Z of the top by AIS, and by reverse AIS from the ends of long Gibbs chains."""
    params, base = net.top, top_base_logits(net, task_key("top input"), train)
    chains = {"num_temperatures": effort.num_temperatures}
    forward = ais.ais(params, task_key("ais"), base, num_chains=effort.num_chains, **chains)
    mixed = jax.jit(rbm.gibbs, static_argnums=3)
    noise = bernoulli(task_key("reverse start"), jnp.full((effort.num_chains, len(base)), 0.5))
    start = mixed(params, noise, task_key("mix"), NUM_REVERSE_STEPS)
    backward = ais.reverse_ais(params, task_key("reverse ais"), base, start, **chains)
    return forward, backward


def _of_rbm(net: dbn.Net, train: Array, test: Array, effort: Effort) -> list[Likelihood]:
    """By reverse annealing, by annealing, and exactly where the RBM is small enough."""
    forward, backward = _annealed(net, train, effort)
    of_test = partial(rbm_log_likelihood, net.top, visible=test)
    found = [
        mean_of(of_test(backward.log_z), "reverse AIS", **_said(backward, forward)),
        mean_of(of_test(forward.log_z), "AIS", **_said(forward, backward)),
    ]
    if _enumerable(net.top):
        found.append(mean_of(of_test(rbm_log_z(net.top)), "exact"))
    return found


@partial(jax.jit, static_argnums=4)
def _bounds(
    net: dbn.Net, log_z: Array, key: Array, test: Array, num_weights: int
) -> tuple[Array, Array]:
    """Both bounds for every example."""
    one = variational_bound(net, log_z, named_key(key, "one"), test, NUM_DRAWS).bound
    weights = log_weights(net, log_z)
    many = importance_bound(weights, named_key(key, "many"), test, num_weights)
    return one, many.log_mean_weight


def _of_deep(net: dbn.Net, train: Array, test: Array, effort: Effort) -> list[Likelihood]:
    """The variational bound and the importance-weighted one, with log Z of the top RBM."""
    if _enumerable(net.top):
        log_z, said, how = rbm_log_z(net.top), {}, "exact log Z on top"
    else:
        forward, backward = _annealed(net, train, effort)
        log_z, said, how = forward.log_z, _said(forward, backward), "AIS on top"
    one, many = _bounds(net, log_z, task_key("bound"), test, effort.num_weights)
    weighted = f"importance-weighted bound, {effort.num_weights:,} draws, {how}"
    return [mean_of(one, f"variational bound, {how}", **said), mean_of(many, weighted, **said)]
