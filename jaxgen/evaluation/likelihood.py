"""Log likelihoods in nats per image; every docstring has whether it is exact or a bound.

The exact partition function of an RBM, by enumeration of its smaller side; its pseudo-likelihood,
which needs none; and the importance-weighted bound of any model with latent variables and an
approximate posterior. Estimates of log Z are in `jaxgen.evaluation.ais`, the bounds of a DBN in
`jaxgen.evaluation.dbn_bounds`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SettingError, require_whole
from jaxgen.learner import PRNGKey
from jaxgen.losses import LOG_TWO_PI, softplus
from jaxgen.models import label_units
from jaxgen.models.rbm import (
    Params,
    Visible,
    free_energy,
    hidden_logits,
    is_gaussian,
    log_scale,
)

LogWeights: TypeAlias = Callable[[PRNGKey, Any, int], Float[Array, "num batch"]]
"""(key, examples [batch, ...], num) -> log p(x, z) - log q(z|x) of num draws of z from q(z|x)."""

MAX_ENUMERATED = 20
"""Largest number of units whose 2^n states are summed one by one."""


def binary_states(first: Array, num: int, num_units: int) -> Float[Array, "num units"]:
    """The binary digits of first, first + 1, ..., first + num - 1; unit 0 is the lowest digit."""
    numbers = first + jnp.arange(num, dtype=jnp.uint32)
    digits = jnp.arange(num_units, dtype=jnp.uint32)
    return ((numbers[:, None] >> digits) & 1).astype(jnp.float32)


def num_enumerated(params: Params) -> int:
    """Units whose states `rbm_log_z` sums one by one: of the smaller side, if both are binary."""
    num_visible, num_hidden = params["w"].shape
    return num_hidden if is_gaussian(params) else min(num_visible, num_hidden)


@jax.jit
def rbm_log_z(params: Params) -> Float[Array, ""]:
    """Exact log Z = log sum_v exp(-F(v)) of an RBM, in nats, by enumeration of its smaller side.

    Summing over the hidden units first or over the visible ones first gives the same Z, so the
    side with fewer units is enumerated: the RBM with W transposed has the same partition function.
    With label units, Z = sum_y exp(c_y) Z_y of the RBMs that are left given a label. Over Gaussian
    visible units the sum is an integral, known for each hidden state:

        log Z = V/2 log 2 pi + log sum_h exp(b'h + a'Wh + |Wh|^2 / 2).

    Errors:
        SettingError: both sides have more than `MAX_ENUMERATED` units, or Gaussian visible units as
            many hidden ones.
    """
    num_visible, num_hidden = params["w"].shape
    num_units = num_enumerated(params)
    if num_units > MAX_ENUMERATED:
        side = "the hidden side" if is_gaussian(params) else "one side"
        raise SettingError(
            expected=f"at most {MAX_ENUMERATED} units on {side} for exact enumeration",
            found=f"{num_visible} visible and {num_hidden} hidden units",
            remedy="choose a smaller --num-hidden or an estimate instead of the exact value",
        )
    if num_classes := label_units.num_classes(params):

        def log_z_given(label: Array) -> Any:
            return rbm_log_z(label_units.condition(params, label))

        log_z = jax.lax.map(log_z_given, jnp.arange(num_classes))
        return jax.nn.logsumexp(params["b_labels"] + log_z)
    if num_hidden < num_visible and not is_gaussian(params):
        swapped = {"w": params["w"].T, "b_visible": params["b_hidden"]}
        params = {**swapped, "b_hidden": params["b_visible"]}
    block = 2 ** min(num_units, 12)
    starts = jnp.arange(0, 2**num_units, block, dtype=jnp.uint32)

    def block_log_sum(start: Array) -> Array:
        states = binary_states(start, block, num_units)
        if is_gaussian(params):
            return jax.nn.logsumexp(_log_integral(params, states))
        return jax.nn.logsumexp(-free_energy(params, states))

    return jax.nn.logsumexp(jax.lax.map(block_log_sum, starts))


def _log_integral(params: Params, hidden: Float[Array, "states hidden"]) -> Float[Array, " states"]:
    """Log of the integral of exp(-E(v, h)) over Gaussian visible units v, for each h."""
    shift = hidden @ params["w"].T
    moved = jnp.sum(shift * (params["b_visible"] + 0.5 * shift), axis=-1)
    return hidden @ params["b_hidden"] + moved + 0.5 * LOG_TWO_PI * len(params["b_visible"])


def visible_units(params: Params, visible: Any, *, one_batch: bool = False) -> Array:
    """Visible units of an RBM as float32, from numbers or booleans.

    Args:
        params: the RBM's, or a layer's, whose w has a row for each unit.
        visible: [*batch, visible], or [batch, visible] alone for `one_batch`.
        one_batch: whether there is one axis of examples.

    Errors:
        SettingError: they are of another shape.
    """
    num_visible, found = params["w"].shape[0], jnp.asarray(visible)
    if found.shape[-1:] != (num_visible,) or (one_batch and found.ndim != 2):
        raise SettingError(
            expected=f"visible units [{'batch' if one_batch else '...'}, {num_visible}]",
            found=str([*found.shape]),
            remedy="give a row for each image of the size that the model was trained on",
        )
    return found.astype(jnp.float32)


def rbm_log_likelihood(params: Params, log_z: Array, visible: Visible) -> Float[Array, "*batch"]:
    """Log p(v) = -F(v) - log Z per example, in nats; exact where `log_z` is.

    With label units it is summed over the labels. Of Gaussian visible units it is a log density,
    that of pixels in [0, 1], while `visible` and log Z are of the standardised ones.

    Errors:
        SettingError: there are not as many units as the RBM has.
    """
    energy = label_units.free_energy(params, visible_units(params, visible))
    return -energy - log_z - log_scale(params)


def pseudo_log_likelihood(
    params: Params, visible: Float[Array, "batch visible"]
) -> Float[Array, " batch"]:
    """Sum_i log p(v_i | all other units) of an RBM per example, in nats; higher is better.

    With v^i as v but for unit i, which is flipped, Z cancels in each term:

        log p(v_i | v_{-i}) = log sigmoid(F(v^i) - F(v)) = -softplus(F(v) - F(v^i)).

    Exact as a pseudo-likelihood, and V times as dear as a free energy. It is neither log p(v) nor a
    bound of it: a monitor of training, not a measure across models.
    Marlin, Swersky, Chen and de Freitas, "Inductive principles for restricted Boltzmann machine
    learning", AISTATS 2010, section 3.3. The units are binary.

    Errors:
        SettingError: there are no rows of as many units as the RBM has, or they are Gaussian, or
            there are label units.
    """
    visible = visible_units(params, visible, one_batch=True)
    logits = hidden_logits(params, visible)

    def term_of(unit: Array) -> Float[Array, " batch"]:
        return _flip_term(params, visible, logits, jnp.full(len(visible), unit))

    return jnp.sum(jax.lax.map(term_of, jnp.arange(visible.shape[-1])), axis=0)


def stochastic_pseudo_log_likelihood(
    params: Params, key: PRNGKey, visible: Float[Array, "batch visible"]
) -> Float[Array, " batch"]:
    """An unbiased estimate of `pseudo_log_likelihood` at the price of two free energies, in nats.

    V log p(v_i | v_{-i}) for one unit i per example, drawn uniformly. One example is noise; the
    mean over thousands is the monitor.

    Errors:
        SettingError: there are no rows of as many units as the RBM has, or they are Gaussian, or
            there are label units.
    """
    visible = visible_units(params, visible, one_batch=True)
    num_examples, num_units = visible.shape
    unit = jax.random.randint(key, (num_examples,), 0, num_units)
    return num_units * _flip_term(params, visible, hidden_logits(params, visible), unit)


def _flip_term(params: Params, visible: Array, logits: Array, unit: Array) -> Array:
    """-softplus(F(v) - F(v^i)) for a unit i per example [batch], given b + v'W."""
    if is_gaussian(params):
        raise SettingError(
            expected="binary visible units for a pseudo-likelihood",
            found="Gaussian ones",
            remedy="take rbm_log_likelihood",
        )
    if label_units.num_classes(params):
        raise SettingError(
            expected="an RBM without label units for a pseudo-likelihood",
            found=f"{label_units.num_classes(params)} of them",
            remedy="take rbm_log_likelihood",
        )
    params = jax.tree.map(jnp.asarray, params)  # NumPy arrays take no traced index
    change = 1.0 - 2.0 * jnp.take_along_axis(visible, unit[:, None], axis=-1)
    flipped = logits + change * params["w"][unit]
    rise = jnp.sum(softplus(flipped) - softplus(logits), axis=-1)
    return -jax.nn.softplus(rise + change[:, 0] * params["b_visible"][unit])


class ImportanceBound(NamedTuple):
    """An estimate for each example, in nats."""

    log_mean_weight: Float[Array, " examples"]
    """log (w_1 + ... + w_S) / S; its expectation is a lower bound of log p(x)."""
    standard_error: Float[Array, " examples"]
    """Of the draws of z alone: how far another key would move the estimate."""


class MeanEstimate(NamedTuple):
    """A mean over examples, in nats, and what it is uncertain by."""

    mean: Float[Array, ""]
    monte_carlo_error: Float[Array, ""]
    """Standard error from the draws of z, the examples being given."""
    sampling_error: Float[Array, ""]
    """Standard error from the choice of examples, with the Monte-Carlo error in it; NaN of one."""


class _Sums(NamedTuple):
    """Sums over the weights seen so far, as multiples of exp(maximum)."""

    maximum: Array
    first: Array
    """Sum of w / exp(maximum)."""
    second: Array
    """Sum of its square."""


def _add(sums: _Sums, log_weights: Float[Array, " num"]) -> _Sums:
    """The sums with more weights; all of them are scaled again if the maximum grows."""
    maximum = jnp.maximum(sums.maximum, jnp.max(log_weights))
    shift = jnp.where(maximum == -jnp.inf, 0.0, maximum)
    before, weights = jnp.exp(sums.maximum - shift), jnp.exp(log_weights - shift)
    return _Sums(
        maximum=maximum,
        first=before * sums.first + jnp.sum(weights),
        second=jnp.square(before) * sums.second + jnp.sum(jnp.square(weights)),
    )


def importance_bound(
    log_weights: LogWeights,
    key: PRNGKey,
    examples: Any,
    num_samples: int = 5000,
    *,
    first_example: int | Array = 0,
    examples_at_once: int = 16,
    samples_at_once: int = 50,
) -> ImportanceBound:
    """The importance-weighted bound of log p(x), a stochastic lower bound, for each example.

    With z_s ~ q(z|x) and w_s = p(x, z_s) / q(z_s|x), the mean weight is an unbiased estimate of
    p(x). Its logarithm is below log p(x) in expectation, rises with S and approaches log p(x)
    (Burda, Grosse and Salakhutdinov, "Importance weighted autoencoders", 2016, theorem 1). With
    one sample the expectation is the ELBO. The standard error is that of the delta method,

        se = sd(w) / (mean(w) sqrt(S)),

    which is too small where a few weights carry the sum: what was not drawn is not seen.

    Each pair of example and sample has its own key, so the draws do not depend on how many are
    computed at once, and memory grows with that alone. Draws of x itself (a binarisation) are the
    caller's, made once. To compute it for many parameters, jit a function of them that calls this.

    Args:
        log_weights: called with one example and num = 1; vmapped here.
        key: used once.
        examples: whatever `log_weights` takes, an array or a tree of them, along the first axis.
        num_samples: S; with 1 there is no standard error, and it is NaN.
        first_example: the number of the first one, where several calls share out the examples.
        examples_at_once: examples computed side by side.
        samples_at_once: samples computed side by side, for each of them.

    Errors:
        SettingError: a number of samples that is no whole number of at least 1.
    """
    require_whole("num_samples", num_samples, 1)

    def bound_of(numbered: tuple[Array, Any]) -> ImportanceBound:
        index, example = numbered
        one = jax.tree.map(lambda each: each[None], example)
        key_example = jax.random.fold_in(key, index)

        def log_weight(sample: Array) -> Array:
            key_sample = jax.random.fold_in(key_example, sample)
            return log_weights(key_sample, one, 1)[0, 0]

        def add_block(sums: _Sums, start: Array) -> tuple[_Sums, None]:
            samples = start + jnp.arange(samples_at_once)
            found = jax.vmap(log_weight)(samples)
            return _add(sums, jnp.where(samples < num_samples, found, -jnp.inf)), None

        nothing = _Sums(jnp.full((), -jnp.inf), jnp.zeros(()), jnp.zeros(()))
        starts = jnp.arange(0, num_samples, samples_at_once)
        sums, _ = jax.lax.scan(add_block, nothing, starts)
        variance = num_samples * sums.second / jnp.square(sums.first) - 1.0
        return ImportanceBound(
            log_mean_weight=sums.maximum + jnp.log(sums.first / num_samples),
            standard_error=jnp.sqrt(jnp.maximum(variance, 0.0) / (num_samples - 1)),
        )

    num_examples = len(jax.tree.leaves(examples)[0])
    numbered = (first_example + jnp.arange(num_examples), examples)
    bound: ImportanceBound = jax.lax.map(bound_of, numbered, batch_size=examples_at_once)
    return bound


def mean_over_examples(bound: tuple[Array, Array]) -> MeanEstimate:
    """The mean bound and its two standard errors, the draws of all examples being independent.

    A bound is a pair of values and standard errors [examples], such as `ImportanceBound`.
    """
    values, errors = bound
    return MeanEstimate(
        mean=jnp.mean(values),
        monte_carlo_error=jnp.sqrt(jnp.sum(jnp.square(errors))) / len(errors),
        sampling_error=jnp.std(values, ddof=1) / jnp.sqrt(len(values)),
    )
