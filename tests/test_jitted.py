"""Functions that JAX is to know again, and those that must be compared with nothing."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgen.jitted import jitted
from jaxgen.learner import Batch, Learner
from jaxgen.models import gan, rbm, vae
from jaxgen.training import Schedule, fit

TRACED: list[Any] = []


def scaled(factor: Any, x: Any) -> Any:
    TRACED.append(factor)
    return factor * x


def test_equal_partials_are_traced_once() -> None:
    TRACED.clear()
    functions = [jitted(functools.partial(scaled, 3)) for _ in range(3)]
    assert [float(each(jnp.float32(2))) for each in functions] == [6, 6, 6]
    assert TRACED == [3]
    assert functions[0] is functions[1]


@pytest.mark.parametrize("other", [3.0, True, 4, "3", (3,), None])
def test_other_arguments_are_other_functions(other: Any) -> None:
    one = jitted(functools.partial(scaled, 3))
    assert jitted(functools.partial(scaled, other)) is not one
    assert jitted(functools.partial(scaled, factor=other)) is not one


def test_options_count() -> None:
    donated = jitted(functools.partial(scaled, 3), donate_argnums=0)
    assert donated is not jitted(functools.partial(scaled, 3))
    assert donated is jitted(functools.partial(scaled, 3), donate_argnums=0)
    level = {"xla_backend_optimization_level": 1}
    low = jitted(functools.partial(scaled, 3), compiler_options=level)
    assert low is jitted(functools.partial(scaled, 3), compiler_options={**level})
    assert low is not donated


@pytest.mark.parametrize("array", [np.ones(2), jnp.ones(2), {"w": np.ones(2)}])
def test_arrays_are_compared_with_nothing(array: Any) -> None:
    """Their contents would have to be compared, and they would be kept in memory."""
    makes = [jitted(functools.partial(scaled, array)) for _ in range(2)]
    assert makes[0] is not makes[1]


def test_closures_are_compared_with_nothing_also_inside_jitted_ones() -> None:
    def closure(x: Any, y: Any = (1, 2)) -> Any:
        return x * factor

    factor = jnp.ones(2)
    assert jitted(closure) is not jitted(closure)
    inner = jax.jit(closure)
    assert jitted(functools.partial(scaled, inner)) is not jitted(functools.partial(scaled, inner))


def counted_step(state: Any, batch: Batch, key: Any) -> Any:
    TRACED.append("step")
    return state + 1, {"loss": jnp.mean(batch.images / 255) + jax.random.uniform(key)}


def zero(size: int, key: Any) -> Any:
    del key
    return jnp.zeros(size)


def test_a_second_training_with_equal_settings_is_not_traced() -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 2, 3, 1), dtype=np.uint8)

    def train(size: int) -> Any:
        learner = Learner(functools.partial(zero, size), counted_step, lambda *_: None)
        return fit(learner, images, Schedule(2, 3), seeds=(0,))

    TRACED.clear()
    first, second = train(5), train(5)
    assert TRACED == ["step"]
    np.testing.assert_array_equal(first.state, second.state)
    train(6)
    assert TRACED == ["step", "step"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: rbm.learner(rbm.Config(num_hidden=3), (2, 3, 1)),
        lambda: vae.learner(vae.Config(hidden_sizes=(3,), latent_size=2), (2, 3, 1)),
        lambda: gan.learner(gan.Config(generator_sizes=(3,), discriminator_sizes=(3,)), (2, 3, 1)),
    ],
)
def test_learners_of_equal_settings_have_one_program(make: Any) -> None:
    for name in ("init", "step", "sample"):
        assert jitted(getattr(make(), name)) is jitted(getattr(make(), name))
