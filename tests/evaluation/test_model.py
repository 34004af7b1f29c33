"""Samples and features are computed in blocks; a mean's error holds that of log Z."""

import tracemalloc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from support.helpers import one_line

from jaxgen.data import Dataset, Split
from jaxgen.errors import SettingError
from jaxgen.evaluation import model as model_module
from jaxgen.evaluation.model import (
    BLOCK,
    EvaluatedModel,
    LikelihoodBudget,
    compute_features,
    compute_in_blocks,
    compute_in_parts,
    draw_labels,
    draw_samples,
    in_size,
    mean_likelihood,
)


@pytest.mark.parametrize("number", [0, -1, 2.5, True, "4", None, 10**11, 2**70])
@pytest.mark.parametrize("name", ["num_chains", "num_temperatures", "num_weights"])
def test_a_budget_is_of_whole_numbers(name: str, number: Any) -> None:
    with pytest.raises(SettingError, match=f"to 1,000,000 for {name}, found") as error:
        LikelihoodBudget(**{name: number})
    one_line(error)


def test_the_error_of_a_mean_holds_that_of_log_z() -> None:
    values = np.random.default_rng(0).normal(size=50)
    alone = mean_likelihood(jnp.asarray(values), "exact")
    assert alone.standard_error == pytest.approx(scipy.stats.sem(values), rel=1e-5)
    both = mean_likelihood(jnp.asarray(values), "AIS", 0.3)
    assert both.standard_error == pytest.approx(np.hypot(alone.standard_error, 0.3))
    assert mean_likelihood(jnp.asarray(values), "AIS", float("nan")).standard_error is None
    assert mean_likelihood(jnp.asarray(values[:1]), "exact").standard_error is None


def test_fewer_samples_are_the_first_of_more_and_take_the_size_asked_for() -> None:
    def sample(key: Any, num: int) -> jax.Array:
        return jax.random.uniform(key, (num, 8, 8, 1))

    model = EvaluatedModel(sample)
    few, many = (draw_samples(model, jax.random.key(0), num, (8, 8)) for num in (30, 700))
    np.testing.assert_array_equal(few, many[:30])
    assert len(np.unique(many.reshape(700, -1), axis=0)) == 700
    assert draw_samples(model, jax.random.key(0), 3, (4, 4)).shape == (3, 4, 4, 1)


def test_classes_are_asked_for_as_often_as_the_data_have_them() -> None:
    shares = np.array([0.5, 0.0, 0.2, 0.3])
    few, many = (draw_labels(jax.random.key(3), num, shares) for num in (30, 20_000))
    assert few.dtype == np.int32
    np.testing.assert_array_equal(few, many[:30])
    counts = np.bincount(many, minlength=4)
    assert counts[1] == 0
    deviations = (counts - 20_000 * shares) / np.sqrt(20_000 * shares * (1 - shares) + 1e-9)
    assert np.abs(deviations).max() < 4


def test_samples_are_of_the_classes_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of three images, because they are large."""

    def sample(key: Any, num: int, labels: Any = None) -> jax.Array:
        assert labels is None or labels.shape == (num,)
        shade = jnp.zeros(num) if labels is None else labels / 10
        return jnp.broadcast_to(shade[:, None, None, None], (num, 2, 5, 3))

    monkeypatch.setattr(model_module, "BLOCK_PIXELS", 3 * 30)
    model = EvaluatedModel(sample, num_classes=10)
    labels = np.arange(8, dtype=np.int32) % 7
    found = draw_samples(model, jax.random.key(0), 8, (2, 5), labels)
    np.testing.assert_allclose(found[:, 0, 0, 0], labels / 10, rtol=1e-6)
    assert draw_samples(model, jax.random.key(0), 8, (2, 5)).max() == 0


def test_shrinking_keeps_what_was_enlarged() -> None:
    images = np.linspace(0, 1, 2 * 6 * 6, dtype=np.float32).reshape(2, 6, 6, 1)
    np.testing.assert_array_equal(in_size(jnp.asarray(images), (6, 6)), images)
    larger = jax.image.resize(images, (2, 13, 13, 1), "bilinear", antialias=False)
    back = np.asarray(in_size(larger, (6, 6)))
    np.testing.assert_allclose(back[:, 1:-1, 1:-1], images[:, 1:-1, 1:-1], atol=0.01)


def test_features_are_those_of_each_image_in_order() -> None:
    rng = np.random.default_rng(0)
    train, test = (
        Split(rng.integers(0, 256, (num, 2, 2, 1), dtype=np.uint8), np.zeros(num, np.int32))
        for num in (BLOCK + 3, 7)
    )
    dataset = Dataset("made up", train, test, "0" * 64)

    def features(images: Any) -> jax.Array:
        return images.reshape(len(images), -1).astype(jnp.float32)

    model = EvaluatedModel(lambda *_: jnp.zeros((1, 2, 2, 1)), {"pixels": features})
    found = compute_features(model, dataset)["pixels"]
    for rows, split in zip(found, (train, test), strict=True):
        np.testing.assert_array_equal(rows, split.images.reshape(len(split.images), -1))


def test_images_computed_in_blocks_are_not_copied_whole() -> None:
    images = np.zeros((6 * BLOCK + 1, 32, 32, 1), np.uint8)
    images[:, 0, 0, 0] = np.arange(len(images)) % 256
    sizes: list[int] = []

    def first(block: Any) -> Any:
        sizes.append(len(block))
        return block[:, 0, 0, 0]

    tracemalloc.start()
    found = compute_in_blocks(first, images)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(found, images[:, 0, 0, 0])
    assert sizes == 7 * [BLOCK]
    assert most < images.nbytes / 2


def test_parts_hold_few_numbers_and_have_keys_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """One part of few images draws with the key itself, as it did before there were parts."""
    rows, key, sizes = np.arange(20, dtype=np.float32).reshape(10, 2), jax.random.key(0), []

    def noisy(key: jax.Array, part: jax.Array) -> jax.Array:
        sizes.append(part.size)
        return part[:, 0] + jax.random.uniform(key, (len(part),))

    whole = compute_in_parts(noisy, key, rows)
    np.testing.assert_array_equal(whole, noisy(key, jnp.asarray(rows)))
    monkeypatch.setattr(model_module, "PART_NUMBERS", 7)
    found = np.asarray(compute_in_parts(noisy, key, rows))
    assert sizes[2:] == [6, 6, 6, 2]
    noise = found - rows[:, 0]
    assert ((noise >= 0) & (noise < 1)).all()
    assert len({*noise.round(6).tolist()}) == len(noise)
