"""Parallel tempering against enumeration: of its draws, and of how often places change."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from support import reference
from support import reference_dbn as truth
from support import reference_gaussian as gaussian
from support.reference_dbn import float32

from jaxgen.errors import SettingError
from jaxgen.models import rbm, tempering

draw = jax.jit(tempering.parallel_tempering, static_argnums=(2, 3, 4))
BASE = np.array([0.5, -1.0, 0.0, 1.5, -0.3])


def two_modes() -> dict[str, np.ndarray]:
    """All units off or all on; in between are energies that no chain of Gibbs steps climbs."""
    return {
        "w": np.full((6, 2), 6.0),
        "b_visible": np.full(6, -5.75),
        "b_hidden": np.full(2, -18.0),
    }


def share_on(visible: np.ndarray) -> float:
    return float(np.mean(np.asarray(visible).mean(axis=1) > 0.5))


def test_modes_have_their_shares_where_gibbs_chains_stay() -> None:
    params = two_modes()
    table, _ = reference.joint(params)
    exact = float(table.sum(axis=1)[reference.states(6).mean(axis=1) > 0.5].sum())
    assert 0.7 < exact < 0.9
    num = 2_000
    found = draw(float32(params), jax.random.key(0), num, 300, 12)
    error = np.sqrt(exact * (1 - exact) / num)
    assert abs(share_on(found.visible) - exact) < 4 * error
    assert found.arrivals > 5
    half = rbm.noise_visible(float32(params), jax.random.key(1), num)
    ends = jax.jit(rbm.gibbs, static_argnums=3)(float32(params), half, jax.random.key(2), 300)
    assert abs(share_on(ends) - exact) > 20 * error


@pytest.mark.parametrize("base", [None, BASE])
def test_draws_are_those_of_the_target(base: np.ndarray | None) -> None:
    params = reference.small_rbm()
    found = draw(float32(params), jax.random.key(3), 4_000, 50, 5, base)
    assert found.labels is None
    expected = reference.joint(params)[0].sum(axis=1)
    truth.assert_drawn_from(truth.state_numbers(found.visible), expected)


def test_draws_with_labels_are_those_of_the_target() -> None:
    params = reference.labelled_rbm()
    joint, _ = reference.labelled_joint(params)
    found = draw(float32(params), jax.random.key(4), 4_000, 50, 5)
    numbers = 3 * truth.state_numbers(found.visible) + np.asarray(found.labels)
    truth.assert_drawn_from(numbers, joint.sum(axis=2).reshape(-1))


def test_draws_of_gaussian_units_have_the_moments_of_the_integral() -> None:
    params = gaussian.small_rbm()
    mean, covariance = gaussian.moments(params)
    num = 20_000
    visible = np.asarray(draw(float32(params), jax.random.key(5), num, 50, 5).visible, np.float64)
    error = visible.std(axis=0) / np.sqrt(num)
    assert (np.abs(visible.mean(axis=0) - mean) < 4 * error).all()
    products = (visible - mean)[:, :, None] * (visible - mean)[:, None]
    errors = products.std(axis=0) / np.sqrt(num)
    assert (np.abs(products.mean(axis=0) - covariance) < 4 * errors).all()


def log_probs(params: dict[str, np.ndarray], base: np.ndarray, beta: float) -> np.ndarray:
    """Log p_beta(v) of all visible states, summed over all hidden states one by one."""
    visible, hidden = (reference.states(n) for n in params["w"].shape)
    table = visible @ (beta * params["w"]) @ hidden.T + beta * hidden @ params["b_hidden"]
    linear = visible @ ((1 - beta) * base + beta * params["b_visible"])
    found = special.logsumexp(table, axis=1) + linear
    return np.asarray(found - special.logsumexp(found))


def test_places_change_as_often_as_enumerated() -> None:
    """Mean over v and v' of min(1, p(v') p'(v) / (p(v) p'(v'))), for each pair of neighbours."""
    params = reference.small_rbm()
    num_steps, betas = 400, np.linspace(0.0, 1.0, 4)
    found = draw(float32(params), jax.random.key(6), 1_000, num_steps, 4, BASE)
    logs = [log_probs(params, BASE, beta) for beta in betas]
    expected = []
    for one, other in itertools.pairwise(logs):
        ratio = (other[:, None] + one[None]) - (one[:, None] + other[None])
        pairs = np.exp(one[:, None] + other[None])
        expected.append(float((pairs * np.exp(np.minimum(ratio, 0.0))).sum()))
    assert max(expected) < 0.995
    np.testing.assert_allclose(found.acceptance, expected, atol=0.004)


def test_without_weights_all_places_change() -> None:
    params = {"w": np.zeros((5, 3)), "b_visible": BASE, "b_hidden": np.ones(3)}
    found = draw(float32(params), jax.random.key(7), 10, 6, 3, BASE)
    np.testing.assert_array_equal(found.acceptance, 1.0)
    assert float(found.arrivals) == 3.0  # one in two steps, as soon as a state has gone both


def test_samples_are_images_of_the_draws() -> None:
    """E[v|h] of h drawn from them, whose mean is that of the target."""
    params = reference.small_rbm()
    config = rbm.Config(num_hidden=3, num_sampling_steps=50)
    state = rbm.from_params(config, (5, 1, 1), float32(params))
    sample = jax.jit(partial(tempering.sample, config, 4, BASE, (5, 1, 1)), static_argnums=2)
    images = np.asarray(sample(state, jax.random.key(10), 4_000))
    assert images.shape == (4_000, 5, 1, 1)
    expected = reference.joint(params)[0].sum(axis=1) @ reference.states(5)
    error = images.std(axis=0).reshape(-1) / np.sqrt(len(images))
    assert (np.abs(images.mean(axis=0).reshape(-1) - expected) < 4 * error).all()


def test_the_same_key_gives_the_same_draws() -> None:
    params = float32(reference.small_rbm())
    once, again = (draw(params, jax.random.key(8), 9, 3, 3) for _ in range(2))
    other = draw(params, jax.random.key(9), 9, 3, 3)
    np.testing.assert_array_equal(once.visible, again.visible)
    assert not np.array_equal(once.visible, other.visible)
    assert jnp.isin(once.visible, jnp.array([0.0, 1.0])).all()


def test_parameters_of_numpy_are_taken() -> None:
    """As a run that was loaded has them; a label picks one of their biases."""
    params = float32(reference.labelled_rbm())
    key = jax.random.key(11)
    plain = tempering.parallel_tempering({n: np.asarray(x) for n, x in params.items()}, key, 3, 2)
    np.testing.assert_array_equal(
        plain.labels, tempering.parallel_tempering(params, key, 3, 2).labels
    )


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("num", (0, 1, 2)),
        ("num_steps", (1, -1, 2)),
        ("num_temperatures", (1, 1, 1)),
        ("num_temperatures", (1, 1, tempering.MAX_TEMPERATURES + 1)),
    ],
)
def test_impossible_numbers(name: str, numbers: tuple[int, int, int]) -> None:
    with pytest.raises(SettingError, match=f"for {name}"):
        tempering.parallel_tempering(float32(reference.small_rbm()), jax.random.key(0), *numbers)
