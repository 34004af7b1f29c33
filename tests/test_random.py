"""Bernoulli sampling: JAX's own bits, a bias below what matters, and how units come from pixels."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from support.helpers import one_line

from jaxgen.errors import SettingError
from jaxgen.models.adversarial import rescale
from jaxgen.random import (
    RESOLUTION,
    as_labels,
    asked_or_drawn,
    bernoulli,
    binarize,
    bits16,
    normal,
    threefry2x32,
)

GOLDEN = {
    "fold_in": [2716826189, 292468403],
    "bits": [4070199207, 4202968722, 1427181096],
    "permutation": [0, 1, 5, 6, 4, 3, 2, 7],
    "normal": [1.622642159461975, 2.0252647399902344, -0.4335944354534149],
    "bits16": [345, 27424, 9103, 14175, 20222],
}


@pytest.mark.parametrize("seed", [0, 1, 2**31 + 5])
def test_blocks_are_those_of_jax(seed: Any) -> None:
    key = jax.random.key(seed)
    words = threefry2x32(jax.random.key_data(key), jnp.arange(1000, dtype=jnp.uint32))
    expected = jax.random.bits(key, (1000,), jnp.uint32)
    np.testing.assert_array_equal(words[0] ^ words[1], expected)


def test_known_answers_of_the_published_cipher() -> None:
    """The test vectors that come with Random123, for zero and for all-ones key and counter."""
    zero = threefry2x32(jnp.zeros(2, jnp.uint32), jnp.zeros(1, jnp.uint32))
    assert [int(word[0]) for word in zero] == [0x6B200159, 0x99BA4EFE]


def test_golden_values_of_jax_random() -> None:
    """A canary: these streams are equal in jax 0.6 to 0.12; a change would change every digest."""
    key = jax.random.key(0)
    assert jax.random.key_data(jax.random.fold_in(key, 7)).tolist() == GOLDEN["fold_in"]
    assert jax.random.bits(key, (3,), jnp.uint32).tolist() == GOLDEN["bits"]
    assert jax.random.permutation(key, 8).tolist() == GOLDEN["permutation"]
    np.testing.assert_allclose(jax.random.normal(key, (3,)), GOLDEN["normal"], rtol=1e-6)
    assert bits16(key, (5,)).tolist() == GOLDEN["bits16"]


@pytest.mark.parametrize("shape", [(), (1,), (3,), (4, 5), (2, 3, 7)])
def test_shapes_and_values(shape: tuple[int, ...]) -> None:
    draws = bernoulli(jax.random.key(3), jnp.full(shape, 0.5))
    assert draws.shape == shape
    assert draws.dtype == jnp.float32
    assert set(np.unique(draws)) <= {0.0, 1.0}


def test_probability_is_rounded_to_the_stated_resolution() -> None:
    """Exactly: count the 16-bit integers for which a probability gives 1."""
    rng = np.random.default_rng(0)
    probs = np.concatenate([np.arange(256) / 255.0, rng.uniform(size=200)]).astype(np.float32)
    integers = np.arange(2**16, dtype=np.float32)
    realised = np.array([(integers < p * np.float32(65536) - 0.5).mean() for p in probs])
    assert np.abs(realised - probs).max() <= RESOLUTION / 2 + 1e-9
    assert realised[0] == 0.0
    assert realised[255] == 1.0


@pytest.mark.parametrize("ulps", range(-2, 3))
def test_the_bias_has_its_stated_bound_at_every_point_between_two_probabilities(ulps: int) -> None:
    """The worst places: half-way between two multiples of 2^-16, and float32's neighbours there."""
    probs = ((np.arange(2**16) + 0.5) / 2**16).astype(np.float32)
    for _ in range(abs(ulps)):
        probs = np.nextafter(probs, np.float32(np.copysign(2.0, ulps)))
    threshold = np.asarray(jax.jit(lambda p: p * 65536.0 - 0.5)(probs), np.float64)
    realised = np.clip(np.ceil(threshold), 0, 2**16) / 2**16  # integers below the threshold
    worst = np.abs(realised - probs).max()
    assert 0.99 * 2**-17 < worst <= 2**-17
    exact = np.arange(1, 10**5) / 10**5  # numbers that float32 rounds
    threshold = np.asarray(jnp.float32(exact) * 65536.0 - 0.5, np.float64)
    assert np.abs(np.ceil(threshold) / 2**16 - exact).max() <= 2**-17 + 2**-25


@pytest.mark.parametrize(
    ("labels", "found"),
    [("ab", "<U2 []"), (["a", "b"], "<U1 [2]"), ([0.0, 1.0], "float64 [2]"), ([0, 3], "3")],
)
def test_labels_that_are_no_classes(labels: Any, found: str) -> None:
    with pytest.raises(SettingError) as error:
        as_labels(labels, 2, 3)
    assert f"found {found};" in one_line(error)


@pytest.mark.parametrize("prob", [1 / 255, 0.1, 0.5, 0.9])
def test_frequency_over_two_million_draws(prob: Any) -> None:
    num = 2_000_000
    mean = float(bernoulli(jax.random.key(5), jnp.full((num,), prob)).mean())
    assert abs(mean - prob) < 4.5 * np.sqrt(prob * (1 - prob) / num)


def test_neighbours_are_uncorrelated() -> None:
    """The four draws of one block, and equal places of different keys, are independent."""
    draws = np.asarray(bernoulli(jax.random.key(11), jnp.full((500_000, 4), 0.5)))
    other = np.asarray(bernoulli(jax.random.key(12), jnp.full((500_000, 4), 0.5)))
    correlation = np.corrcoef(np.hstack([draws, other]).T) - np.eye(8)
    assert np.abs(correlation).max() < 5.0 / np.sqrt(500_000)


def test_sure_events() -> None:
    assert float(bernoulli(jax.random.key(0), jnp.ones(100_000)).min()) == 1.0
    assert float(bernoulli(jax.random.key(0), jnp.zeros(100_000)).max()) == 0.0


def test_vmap_over_keys_equals_single_calls() -> None:
    keys = jax.random.split(jax.random.key(1), 3)
    probs = jnp.full((7, 5), 0.4)
    together = jax.vmap(bernoulli, in_axes=(0, None))(keys, probs)
    for key, draws in zip(keys, together, strict=True):
        np.testing.assert_array_equal(bernoulli(key, probs), draws)


def test_other_generators_are_refused() -> None:
    with pytest.raises(ValueError, match="threefry2x32"):
        bernoulli(jax.random.key(0, impl="rbg"), jnp.ones(3))


def test_binarize() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    key = jax.random.key(0)
    np.testing.assert_allclose(binarize(key, images, "none")[0], np.arange(256) / 255.0, rtol=1e-6)
    threshold = binarize(key, images, "threshold")[0]
    np.testing.assert_array_equal(threshold, (np.arange(256) >= 127.5).astype(np.float32))
    many = np.repeat(images, 4000, axis=0)
    mean = np.asarray(binarize(key, many, "sample")).mean(axis=0)
    prob = np.arange(256) / 255.0
    assert np.all(np.abs(mean - prob) <= 5.0 * np.sqrt(prob * (1 - prob) / 4000) + 1e-9)


@pytest.mark.parametrize("level", [0, 3])
def test_a_white_pixel_is_one_in_a_compiled_program(level: int) -> None:
    """Optimised and not; the difference of `rescale` may be joined with its product."""
    images = jnp.arange(256, dtype=jnp.uint8).reshape(1, 16, 16, 1)
    options = {"xla_backend_optimization_level": level, "xla_cpu_use_fusion_emitters": True}

    def compiled(function: Any, *args: Any) -> Any:
        return jax.jit(function).lower(*args).compile(compiler_options=options)(*args)

    units = compiled(lambda key, x: binarize(key, x, "none"), jax.random.key(0), images)
    assert float(units[0, 255]) == 1.0
    assert float(units[0, 0]) == 0.0
    np.testing.assert_allclose(units[0], np.arange(256) / 255.0, rtol=1.2e-7)
    pixels = compiled(rescale, images).reshape(-1)
    assert float(pixels[0]) == -1.0
    assert 1.0 <= float(pixels[255]) <= 1.0 + 2**-23


def test_normal_is_that_of_jax_and_normal() -> None:
    """The documented tail is that of the least uniform number, -1 + 2^-24."""
    draws = np.asarray(normal(jax.random.key(2), (1000, 200)))
    np.testing.assert_array_equal(draws, jax.random.normal(jax.random.key(2), (1000, 200)))
    assert draws.dtype == np.float32
    assert stats.kstest(draws.reshape(-1), "norm").pvalue > 1e-3
    moments = [(draws**power).mean() for power in (1, 2, 3, 4)]
    error = np.sqrt(np.array([1, 2, 15, 96]) / draws.size)
    assert np.all(np.abs(np.array(moments) - [0, 1, 0, 3]) < 4 * error)
    tail = np.sqrt(2) * jax.lax.erf_inv(jnp.float32(-1 + 2**-24))
    np.testing.assert_allclose(tail, -5.42, atol=1e-3)


def test_labels_are_asked_for_or_drawn() -> None:
    drawn = np.asarray(asked_or_drawn(jax.random.key(0), None, 3000, 3))
    counts = np.bincount(drawn, minlength=3)
    assert counts.sum() == 3000
    assert np.all(np.abs(counts - 1000) < 5 * np.sqrt(3000 * 2 / 9))
    np.testing.assert_array_equal(asked_or_drawn(jax.random.key(0), [2, 0, 1], 3, 3), [2, 0, 1])
    for labels in ([0, 1], [0.0, 1.0, 2.0], [[0], [1], [2]]):
        with pytest.raises(SettingError, match="expected 3 labels, whole numbers, found"):
            asked_or_drawn(jax.random.key(0), labels, 3, 3)
    for wrong in ([0, 1, 3], [0, -1, 2]):
        with pytest.raises(SettingError, match=r"expected labels from 0 to 2, found (3|-1)"):
            asked_or_drawn(jax.random.key(0), wrong, 3, 3)
