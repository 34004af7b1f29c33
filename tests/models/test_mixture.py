"""The mixture of Bernoullis against enumeration, and EM against NumPy and a planted truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, logit, logsumexp
from scipy.stats import bernoulli
from support import reference
from support.helpers import one_line, same

from jaxgen.errors import SettingError
from jaxgen.models import mixture
from jaxgen.models.mixture import Config, Counts, Params
from jaxgen.random import binarize

RNG = np.random.default_rng(0)
WEIGHTS = np.array([0.5, 0.2, 0.3])
PROBS = RNG.uniform(0.02, 0.98, (3, 5))
PARAMS = Params(jnp.float32(np.log(WEIGHTS)), jnp.float32(logit(PROBS)))
VISIBLE = reference.states(5)


def joint(weights: np.ndarray, probs: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Log p(v, k), unit by unit."""
    each = bernoulli.logpmf(visible[:, None].astype(int), probs[None]).sum(axis=2)
    return np.log(weights) + each


def images(num: int, seed: int = 0) -> np.ndarray:
    """Grey images [num, 2, 3, 1]."""
    return np.random.default_rng(seed).integers(0, 256, (num, 2, 3, 1), dtype=np.uint8)


def units(grey: np.ndarray) -> np.ndarray:
    """The thresholded images as rows."""
    return (grey.reshape(len(grey), -1) >= 128).astype(float)


def objective(config: Config, params: Params, visible: np.ndarray) -> float:
    """The log posterior of the parameters, up to a constant."""
    weights = np.exp(np.asarray(params.log_weights, np.float64))
    probs = expit(np.asarray(params.logits, np.float64))
    found = logsumexp(joint(weights, probs, visible), axis=1).sum()
    spread = np.log(probs) + np.log1p(-probs)
    return found + config.prior_count * (np.log(weights).sum() + spread.sum())


# ---- the model


def test_log_likelihood_of_every_state() -> None:
    expected = logsumexp(joint(WEIGHTS, PROBS, VISIBLE), axis=1)
    found = mixture.log_likelihood(PARAMS, jnp.float32(VISIBLE))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.exp(np.float64(found)).sum() == pytest.approx(1.0, abs=1e-5)
    square = mixture.log_likelihood(PARAMS, jnp.float32(VISIBLE).reshape(4, 8, 5))
    np.testing.assert_allclose(square.ravel(), expected, atol=1e-5)


def test_responsibilities_are_bayes() -> None:
    table = joint(WEIGHTS, PROBS, VISIBLE)
    expected = np.exp(table - logsumexp(table, axis=1, keepdims=True))
    found = mixture.responsibilities(PARAMS, jnp.float32(VISIBLE))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_far_images_have_finite_likelihoods() -> None:
    """784 units that are each nearly impossible: no exponential underflows on the way."""
    params = Params(jnp.log(jnp.array([0.5, 0.5])), jnp.full((2, 784), 9.0))
    found = mixture.log_likelihood(params, jnp.zeros((1, 784)))
    assert found[0] == pytest.approx(-784 * np.logaddexp(0.0, 9.0), rel=1e-6)


def test_samples_are_components_with_their_weights() -> None:
    num = 20_000
    found = np.asarray(mixture.sample(PARAMS, jax.random.key(0), num))
    assert found.shape == (num, 5)
    close = np.abs(found[:, None] - PROBS).max(axis=2) < 1e-5
    assert (close.sum(axis=1) == 1).all()
    error = np.sqrt(WEIGHTS * (1 - WEIGHTS) / num)
    assert (np.abs(close.mean(axis=0) - WEIGHTS) < 5 * error).all()


# ---- EM


def test_update_equals_numpy() -> None:
    config = Config(num_components=3, prior_count=0.7, binarize="threshold")
    grey = images(37)
    start = mixture.init(config, jnp.asarray(grey), jax.random.key(0))
    found, log_likelihood = mixture.update(config, start, grey, jax.random.key(1))
    visible = units(grey)
    weights, probs = (np.float64(x) for x in (np.exp(start.log_weights), expit(start.logits)))
    table = joint(weights, probs, visible)
    shares = np.exp(table - logsumexp(table, axis=1, keepdims=True))
    counts = shares.sum(axis=0)
    expected = (shares.T @ visible + 0.7) / (counts[:, None] + 1.4)
    np.testing.assert_allclose(expit(found.logits), expected, atol=1e-5)
    np.testing.assert_allclose(np.exp(found.log_weights), (counts + 0.7) / (37 + 2.1), atol=1e-5)
    assert log_likelihood == pytest.approx(logsumexp(table, axis=1).sum(), rel=1e-5)


def test_blocks_change_nothing_but_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """37 images in five blocks, the last one padded."""
    config = Config(num_components=4, binarize="threshold")
    grey, key = images(37), jax.random.key(0)
    start = mixture.init(config, jnp.asarray(grey), key)
    whole = mixture.update(config, start, grey, key)
    monkeypatch.setattr(mixture, "_BLOCK", 8)
    blocks = mixture._update.__wrapped__(config, start, jnp.asarray(grey), key)
    for one, other in zip(jax.tree.leaves(blocks), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("prior_count", [0.01, 2.0])
def test_no_iteration_lowers_the_posterior(prior_count: float) -> None:
    config = Config(num_components=4, prior_count=prior_count, binarize="threshold")
    grey = images(50)
    params = mixture.init(config, jnp.asarray(grey), jax.random.key(0))
    values = []
    for _ in range(40):
        values.append(objective(config, params, units(grey)))
        params, _ = mixture.update(config, params, grey, jax.random.key(1))
    steps = np.diff(values)
    assert values[-1] > values[0] + 1.0
    assert steps.min() > -1e-5 * abs(values[0])  # float32
    np.testing.assert_allclose(
        mixture.log_prior(prior_count, params),
        objective(config, params, np.zeros((0, 6))),
        rtol=1e-5,
    )


def test_a_planted_mixture_is_recovered() -> None:
    rng = np.random.default_rng(1)
    truth = np.stack([np.tile([0.9, 0.1], 6), np.tile([0.2, 0.7], 6)])
    drawn = rng.choice(2, 4000, p=[0.3, 0.7])
    grey = (255 * (rng.random((4000, 12)) < truth[drawn])).astype(np.uint8).reshape(-1, 3, 4, 1)
    config = Config(num_components=2, num_iterations=40)  # 0 and 255 leave nothing to draw
    params = mixture.fit(config, grey, jax.random.key(0))
    order = np.argsort(params.log_weights)
    np.testing.assert_allclose(np.exp(params.log_weights)[order], [0.3, 0.7], atol=0.05)
    np.testing.assert_allclose(expit(params.logits)[order], truth, atol=5 * 0.5 / np.sqrt(1200))


def test_fit_follows_its_keys() -> None:
    """Init and the iterations' draws have the keys that the docstrings name."""
    config = Config(num_components=3, num_iterations=2)
    grey, key = images(20), jax.random.key(5)
    params = mixture.init(config, jnp.asarray(grey), mixture.named_key(key, "init"))
    for iteration in range(2):
        drawn = jax.random.fold_in(mixture.named_key(key, "binarize"), iteration)
        params, _ = mixture.update(config, params, grey, drawn)
    assert same(mixture.fit(config, grey, key), params)
    assert not same(mixture.fit(config, grey, jax.random.key(6)), params)


def test_grey_pixels_are_drawn_from_the_key() -> None:
    config = Config(num_components=2, prior_count=0.5)
    grey, key = jnp.asarray(images(30)), jax.random.key(3)
    start = mixture.init(config, grey, key)
    found, _ = mixture.update(config, start, grey, key)
    drawn = binarize(jax.random.fold_in(key, 0), grey, "sample")
    as_images = np.asarray(255 * drawn, np.uint8).reshape(grey.shape)
    fixed = Config(num_components=2, prior_count=0.5, binarize="threshold")
    expected, _ = mixture.update(fixed, start, as_images, key)
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-5)
    other, _ = mixture.update(config, start, grey, jax.random.key(4))
    assert np.abs(found.logits - other.logits).max() > 0.01


# ---- data that leave components or pixels without counts


@pytest.mark.parametrize("kind", ["black", "white", "equal", "single"])
def test_more_components_than_images(kind: str) -> None:
    """Duplicates, pixels that never change, nine components for three images or one."""
    grey = {
        "black": np.zeros((3, 2, 3, 1), np.uint8),
        "white": np.full((3, 2, 3, 1), 255, np.uint8),
        "equal": np.repeat(images(1), 3, axis=0),
        "single": images(1),
    }[kind]
    config = Config(num_components=9, num_iterations=30, binarize="threshold")
    params = mixture.fit(config, grey, jax.random.key(0))
    assert all(np.isfinite(leaf).all() for leaf in params)
    assert np.exp(params.log_weights).sum() == pytest.approx(1.0, abs=1e-5)
    found = mixture.log_likelihood(params, jnp.float32(units(grey)))
    assert np.isfinite(found).all()
    best = np.log(1.1 / 1.2)  # a component with one image and the prior's counts, at each pixel
    assert found[0] > 6 * best + np.log(1 / 9)


def test_a_component_without_images_falls_back_to_the_prior() -> None:
    counts = Counts(jnp.array([[4.0, 0.0], [0.0, 0.0]]), jnp.array([4.0, 0.0]), jnp.zeros(()))
    params = mixture.estimate(0.5, counts)
    expected = [[4.5 / 5, 0.5 / 5], [0.5, 0.5]]
    np.testing.assert_allclose(expit(params.logits), expected, rtol=1e-5)
    np.testing.assert_allclose(np.exp(params.log_weights), [4.5 / 5, 0.5 / 5], rtol=1e-5)


def test_the_start_is_images_and_noise() -> None:
    config = Config(num_components=7)
    grey = RNG.integers(0, 256, (7, 10, 10, 1), dtype=np.uint8)
    params = mixture.init(config, jnp.asarray(grey), jax.random.key(0))
    probs = expit(np.asarray(params.logits, np.float64))
    noise = 4 * (probs[:, None] - 0.25 - grey.reshape(7, -1) / 255 / 4)
    inside = ((noise > -1e-5) & (noise < 1 + 1e-5)).all(axis=2)
    assert (inside.sum(axis=1) == 1).all()  # every component has its image, and no other
    assert sorted(inside.argmax(axis=1)) == list(range(7))
    twice = mixture.init(config, jnp.asarray(grey[:1]), jax.random.key(0))
    assert len(np.unique(twice.logits, axis=0)) == 7


# ---- what is refused


@pytest.mark.parametrize(
    ("bad", "flag"),
    [
        ({"num_components": 0}, "--num-components"),
        ({"num_iterations": 0}, "--num-iterations"),
        ({"prior_count": 0.0}, "--prior-count above 0"),
        ({"prior_count": float("nan")}, "--prior-count above 0"),
    ],
)
def test_impossible_settings(bad: dict, flag: str) -> None:
    with pytest.raises(SettingError, match=flag) as error:
        Config(**bad)
    one_line(error)


def test_no_images_are_refused() -> None:
    with pytest.raises(SettingError, match="raw images") as error:
        mixture.fit(Config(), images(0), jax.random.key(0))
    one_line(error)
