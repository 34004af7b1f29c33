"""Exact likelihoods against enumeration of every state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from jaxgen.errors import SettingError
from jaxgen.likelihood import binary_states, rbm_log_likelihood, rbm_log_z


def float32(params):
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)


@pytest.mark.parametrize(("num_visible", "num_hidden"), [(5, 4), (3, 7), (6, 6), (1, 1)])
def test_log_z_from_either_side(num_visible, num_hidden):
    params = reference.small_rbm(num_visible, num_hidden)
    found = rbm_log_z(float32(params))
    np.testing.assert_allclose(found, reference.joint(params)[1], rtol=1e-6, atol=1e-5)


def test_log_z_in_several_blocks():
    """14 hidden units are summed in four blocks; independent units have a closed form."""
    rng = np.random.default_rng(0)
    params = {
        "w": np.zeros((30, 14)),
        "b_visible": rng.normal(size=30),
        "b_hidden": rng.normal(size=14),
    }
    expected = sum(np.log1p(np.exp(params[name])).sum() for name in ("b_visible", "b_hidden"))
    np.testing.assert_allclose(rbm_log_z(float32(params)), expected, rtol=1e-6)


def test_likelihoods_sum_to_one():
    params = float32(reference.small_rbm())
    values = rbm_log_likelihood(params, rbm_log_z(params), jnp.asarray(reference.states(5)))
    np.testing.assert_allclose(np.exp(values).sum(), 1.0, rtol=1e-5)


def test_binary_states_are_binary_digits():
    found = np.asarray(binary_states(jnp.uint32(4), 4, 3))
    np.testing.assert_array_equal(found @ [1, 2, 4], [4, 5, 6, 7])


def test_too_many_units_is_one_clear_line():
    params = {"w": jnp.zeros((30, 21)), "b_visible": jnp.zeros(30), "b_hidden": jnp.zeros(21)}
    with pytest.raises(SettingError, match="30 visible and 21 hidden"):
        rbm_log_z(params)
