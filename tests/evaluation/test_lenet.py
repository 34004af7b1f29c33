"""The LeNet learns digits, repeats its bits, and says the same of bytes and of numbers."""

import math
from pathlib import Path

import jax
import numpy as np
import pytest
from support.helpers import same

from jaxgen import data
from jaxgen.errors import SettingError
from jaxgen.evaluation import lenet

SMALL = lenet.Config(channels=(4, 8), num_hidden=32, num_features=16, num_epochs=3, batch_size=25)


@pytest.fixture(scope="module")
def digits(digits_root: Path) -> data.Dataset:
    return data.load("digits", digits_root)


@pytest.fixture(scope="module")
def params(digits: data.Dataset) -> lenet.Params:
    return lenet.train(SMALL, *digits.train, jax.random.key(0))


def test_it_learns_digits(digits: data.Dataset, params: lenet.Params) -> None:
    judged = lenet.classify(SMALL, params, digits.test.images)
    assert np.mean(np.argmax(judged.probs, axis=1) == digits.test.labels) > 0.8
    assert judged.features.shape == (len(digits.test.images), 16)
    assert judged.features.min() >= 0
    np.testing.assert_allclose(judged.probs.sum(axis=1), 1.0, rtol=1e-5)


def test_bits_follow_the_key(digits: data.Dataset, params: lenet.Params) -> None:
    assert same(lenet.train(SMALL, *digits.train, jax.random.key(0)), params)
    assert not same(lenet.train(SMALL, *digits.train, jax.random.key(1)), params)


def test_what_it_says_of_an_image_depends_on_nothing_else(
    digits: data.Dataset, params: lenet.Params
) -> None:
    images = np.tile(digits.test.images, (2, 1, 1, 1))[:501]  # more than a block
    judged = lenet.classify(SMALL, params, images)
    as_numbers = lenet.classify(SMALL, params, images[-3:] / np.float32(255.0))
    np.testing.assert_allclose(judged.features[-3:], as_numbers.features, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(judged.probs[-3:], as_numbers.probs, rtol=1e-4, atol=1e-6)


def test_layers_against_scipy() -> None:
    from scipy.signal import correlate

    config = lenet.Config(channels=(2, 3), num_hidden=5, num_features=4, num_classes=3)
    params = jax.device_get(lenet.init(config, jax.random.key(2), (17, 16, 1)))
    x = np.random.default_rng(0).uniform(size=(17, 16, 1))
    for name in ("Conv_0", "Conv_1"):
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        outputs = range(kernel.shape[-1])
        y = np.concatenate([correlate(x, kernel[..., o], "valid") for o in outputs], 2) + bias
        rows, columns = range(y.shape[0] // 2), range(y.shape[1] // 2)
        blocks = [[y[2 * i : 2 * i + 2, 2 * j : 2 * j + 2] for j in columns] for i in rows]
        x = np.maximum(np.array([[b.max(axis=(0, 1)) for b in row] for row in blocks]), 0)
    units = x.reshape(-1)
    for name in ("Dense_0", "Dense_1"):
        units = np.maximum(units @ params[name]["kernel"] + params[name]["bias"], 0)
    logits = units @ params["Dense_2"]["kernel"] + params["Dense_2"]["bias"]
    image = np.random.default_rng(0).uniform(size=(1, 17, 16, 1)).astype(np.float32)
    judged = lenet.classify(config, params, image)
    np.testing.assert_allclose(judged.features[0], units, rtol=1e-4, atol=1e-5)
    expected = np.exp(logits) / sum(map(math.exp, logits))
    np.testing.assert_allclose(judged.probs[0], expected, rtol=1e-4)


def test_impossible_settings(digits: data.Dataset) -> None:
    with pytest.raises(SettingError, match="16x16 pixels or more, found 12x28"):
        lenet.init(SMALL, jax.random.key(0), (12, 28, 1))
    images, labels = (each[:20] for each in digits.train)
    with pytest.raises(SettingError, match="at least 25 training images, found 20"):
        lenet.train(SMALL, images, labels, jax.random.key(0))
    for wrong in ({"num_epochs": 0}, {"channels": (0, 3)}, {"learning_rate": 0.0}):
        with pytest.raises(SettingError):
            lenet.Config(**wrong)
