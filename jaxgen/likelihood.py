"""Log likelihoods in nats per image; every function says whether it is exact or a bound.

Here so far: the exact partition function of an RBM by enumeration of its smaller side.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxgen.errors import SettingError
from jaxgen.rbm import Params, Visible, free_energy

MAX_ENUMERATED = 20
"""Largest number of units whose 2^n states are summed one by one."""


def binary_states(first: Array, num: int, num_units: int) -> Float[Array, "num units"]:
    """The binary digits of first, first + 1, ..., first + num - 1; unit 0 is the lowest digit."""
    numbers = first + jnp.arange(num, dtype=jnp.uint32)
    digits = jnp.arange(num_units, dtype=jnp.uint32)
    return ((numbers[:, None] >> digits) & 1).astype(jnp.float32)


@jax.jit
def rbm_log_z(params: Params) -> Float[Array, ""]:
    """Exact log Z = log sum_v exp(-F(v)) of an RBM, in nats, by enumeration of its smaller side.

    Summing over the hidden units first or over the visible ones first gives the same Z, so the
    side with fewer units is enumerated: the RBM with W transposed has the same partition function.

    Errors:
        SettingError: both sides have more than `MAX_ENUMERATED` units.
    """
    num_visible, num_hidden = params["w"].shape
    num_units = min(num_visible, num_hidden)
    if num_units > MAX_ENUMERATED:
        raise SettingError(
            expected=f"at most {MAX_ENUMERATED} units on one side for exact enumeration",
            found=f"{num_visible} visible and {num_hidden} hidden units",
            remedy="choose a smaller --num-hidden or an estimate instead of the exact value",
        )
    if num_hidden < num_visible:
        swapped = {"w": params["w"].T, "b_visible": params["b_hidden"]}
        params = {**swapped, "b_hidden": params["b_visible"]}
    block = 2 ** min(num_units, 12)
    starts = jnp.arange(0, 2**num_units, block, dtype=jnp.uint32)

    def block_log_sum(start: Array) -> Array:
        return jax.nn.logsumexp(-free_energy(params, binary_states(start, block, num_units)))

    return jax.nn.logsumexp(jax.lax.map(block_log_sum, starts))


def rbm_log_likelihood(params: Params, log_z: Array, visible: Visible) -> Float[Array, "*batch"]:
    """Log p(v) = -F(v) - log Z per example, in nats; exact where `log_z` is."""
    return -free_energy(params, visible) - log_z
