"""The trees of several seeds: joined, split, and started from trained arrays."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from support.helpers import same

from jaxgen.learner import named_key
from jaxgen.training.seeds import stack_seeds, start_from, unstack_seeds


class State(NamedTuple):
    """Arrays in a tuple and in a dict; a part that does not exist."""

    params: dict[str, np.ndarray]
    step: np.ndarray
    average: None = None


def state_of(seed: int) -> State:
    rng = np.random.default_rng(seed)
    params = {"w": rng.normal(size=(2, 3)).astype(np.float32)}
    return State(params, np.int32(seed))


def test_stacked_and_split_again() -> None:
    states = [state_of(seed) for seed in (3, 5, 7)]
    stacked = stack_seeds(states)
    assert stacked.params["w"].shape == (3, 2, 3)
    assert stacked.step.dtype == np.int32
    assert all(same(a, b) for a, b in zip(unstack_seeds(stacked, 3), states, strict=True))


def test_one_seed_has_no_axis() -> None:
    state = state_of(3)
    assert stack_seeds([state]) is state
    (found,) = unstack_seeds(state, 1)
    assert found is state


def test_a_start_from_given_arrays_has_the_key_of_fit_and_its_own_part() -> None:
    given = {"w": jnp.arange(6.0).reshape(3, 2)}

    def init(key: jax.Array, given: dict[str, jax.Array]) -> jax.Array:
        return given["w"] + jax.random.uniform(key)

    seeds = (3, 5, 7)
    keys = [named_key(jax.random.key(seed), "init") for seed in seeds]
    expected = [given["w"][i] + jax.random.uniform(key) for i, key in enumerate(keys)]
    np.testing.assert_allclose(start_from(init, seeds, given), np.stack(expected))
    one = start_from(init, (5,), {"w": given["w"][1]})
    np.testing.assert_allclose(one, expected[1])
