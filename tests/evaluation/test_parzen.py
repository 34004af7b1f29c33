"""The Parzen window against SciPy's densities, and its width against the truth."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from jaxgen.errors import SettingError
from jaxgen.evaluation import parzen

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("num", [3, 130])  # less than a block, and more
def test_log_densities_against_scipy(num: int) -> None:
    images = RNG.uniform(size=(num, 3, 4, 1)).astype(np.float32)
    samples = RNG.uniform(size=(17, 3, 4, 1)).astype(np.float32)
    found = parzen.log_densities(images, samples, [0.1, 0.7])
    assert found.shape == (2, num)
    for row, sigma in zip(found, (0.1, 0.7), strict=True):
        each = norm.logpdf(images[:, None], samples[None], sigma).sum(axis=(2, 3, 4))
        expected = logsumexp(each, axis=1) - np.log(len(samples))
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-3)


def test_raw_images_are_taken_in_the_unit_range_and_nan_is_refused() -> None:
    raw = RNG.integers(0, 256, (5, 3, 4, 1), dtype=np.uint8)
    found = parzen.log_densities(raw, raw, [0.2])
    np.testing.assert_array_equal(found, parzen.log_densities(raw / 255, raw / 255, [0.2]))
    with_nan = raw / 255
    with_nan[3, 0, 0] = np.nan
    with pytest.raises(SettingError, match="NaN or infinity in 1 of 5 images"):
        parzen.log_densities(raw, with_nan, [0.2])


def test_far_images_have_finite_densities() -> None:
    found = parzen.log_densities(np.ones((1, 784)), np.zeros((2, 784)), [0.01])
    assert found[0, 0] == pytest.approx(norm.logpdf(1.0, 0.0, 0.01) * 784, rel=1e-5)


def test_the_width_is_chosen_on_held_out_images() -> None:
    def drawn(num: int) -> np.ndarray:
        return RNG.normal(0.5, 0.1, size=(num, 2))

    samples, test, sigmas = drawn(400), drawn(30), (0.0001, 0.001, 0.03, 0.3)
    held_out = samples[:50] + 0.0001  # as copies, they ask for less
    found = parzen.parzen(test, held_out, samples, sigmas)
    assert found.sigma == 0.0001
    expected = parzen.log_densities(test, samples, [0.0001])[0]
    np.testing.assert_array_equal(found.log_densities, expected)
    honest = parzen.parzen(test, drawn(50), samples, sigmas)
    assert honest.sigma == 0.03
    truth = norm.logpdf(test, 0.5, 0.1).sum(axis=1).mean()
    assert honest.log_densities.mean() == pytest.approx(truth, abs=0.3)


def test_the_default_widths_are_those_of_the_paper() -> None:
    assert parzen.SIGMAS[0] == 0.1
    assert parzen.SIGMAS[-1] == 1.0
    assert len(parzen.SIGMAS) == 10


@pytest.mark.parametrize("width", [0.0, -1.0, np.nan, np.inf, 1e-30])
def test_widths_are_positive(width: float) -> None:
    with pytest.raises(SettingError, match="widths from 1e-06 to 1e\\+06, one or more"):
        parzen.log_densities(np.ones((1, 2)), np.ones((1, 2)), [0.1, width])


def test_what_are_no_pixels() -> None:
    for images in (np.full((1, 2), 2.0), np.full((1, 2), -0.5), np.ones((1, 2), np.bool_)):
        with pytest.raises(SettingError, match=r"images in .0, 1."):
            parzen.log_densities(images, np.ones((1, 2)), [0.1])
    with pytest.raises(SettingError, match=r"pixels .num, units., of the same units"):
        parzen.log_densities(np.ones((1, 3)), np.ones((1, 2)), [0.1])
