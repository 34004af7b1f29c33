"""Paths, planes and arithmetic of codes, and the measure of their use."""

import jax.numpy as jnp
import numpy as np

from jaxgen.evaluation import latent

RNG = np.random.default_rng(0)


def doubled_rows(codes):
    """A decoder of sorts: codes [num, L] to images [num, 2, L]."""
    assert codes.ndim == 2
    return jnp.stack([codes, 2 * codes], axis=1)


def test_decoded_keeps_the_arrangement() -> None:
    codes = jnp.asarray(RNG.normal(size=(3, 4, 5)), jnp.float32)
    images = latent.decode_grid(doubled_rows, codes)
    assert images.shape == (3, 4, 2, 5)
    np.testing.assert_array_equal(images[2, 1, 1], 2 * codes[2, 1])


def test_linear_path() -> None:
    start, end = jnp.asarray([0.0, 1.0]), jnp.asarray([4.0, -1.0])
    expected = [[0.0, 1.0], [1.0, 0.5], [2.0, 0.0], [3.0, -0.5], [4.0, -1.0]]
    np.testing.assert_allclose(latent.linear_path(start, end, 5), expected, atol=1e-6)


def test_spherical_path_keeps_the_length_and_takes_equal_angles() -> None:
    start, end = RNG.normal(size=(2, 20))
    end *= np.linalg.norm(start) / np.linalg.norm(end)
    path = np.asarray(latent.spherical_path(jnp.asarray(start), jnp.asarray(end), 7), np.float64)
    lengths = np.linalg.norm(path, axis=1)
    np.testing.assert_allclose(lengths, np.linalg.norm(start), rtol=1e-5)
    turns = np.sum(path[1:] * path[:-1], axis=1) / lengths[1:] / lengths[:-1]
    np.testing.assert_allclose(turns, turns[0], rtol=1e-4)
    np.testing.assert_allclose(path[[0, -1]], [start, end], atol=1e-5)


def test_spherical_path_between_unequal_lengths_is_an_ellipse() -> None:
    """Between (1, 0) and (0, 3) in the plane: neither lengths nor angles are those of a circle."""
    path = latent.spherical_path(jnp.asarray([1.0, 0.0]), jnp.asarray([0.0, 3.0]), 7)
    t = np.linspace(0.0, np.pi / 2, 7)
    np.testing.assert_allclose(path, np.stack([np.cos(t), 3 * np.sin(t)], axis=1), atol=1e-6)
    turns = np.diff(np.arctan2(path[:, 1], path[:, 0]))
    assert turns.max() > 5 * turns.min()


def test_spherical_path_without_an_angle_is_the_straight_line() -> None:
    start = jnp.asarray([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0], [1.0, 0.0]])
    end = jnp.asarray([[2.0, 4.0], [-1.0, -2.0], [3.0, 1.0], [0.0, 1.0]])
    path = latent.spherical_path(start, end, 5)
    straight = latent.linear_path(start, end, 5)
    np.testing.assert_allclose(path[:, :3], straight[:, :3], atol=1e-6)
    np.testing.assert_allclose(path[2, 3], np.full(2, np.sqrt(0.5)), rtol=1e-6)


def test_plane_lies_as_a_plot_does() -> None:
    codes = np.asarray(latent.plane(5, (3, 1), 1.5, 4))
    assert codes.shape == (4, 4, 5)
    np.testing.assert_allclose(codes[0, 0], [0, 1.5, 0, -1.5, 0])  # top left
    np.testing.assert_allclose(codes[-1, -1], [0, -1.5, 0, 1.5, 0])  # bottom right
    np.testing.assert_allclose(codes[1, :, 3], [-1.5, -0.5, 0.5, 1.5], rtol=1e-6)


def test_class_means_and_arithmetic() -> None:
    codes, labels = RNG.normal(size=(50, 3)), RNG.integers(0, 4, 50)
    means = np.asarray(latent.class_means(jnp.asarray(codes), jnp.asarray(labels), 5))
    for label in range(4):
        np.testing.assert_allclose(means[label], codes[labels == label].mean(axis=0), atol=1e-5)
    assert np.isnan(means[4]).all()
    found = latent.analogies(jnp.asarray(means), plus=3, minus=0)[2]
    np.testing.assert_allclose(found, means[2] - means[0] + means[3], atol=1e-6)


def test_use_of_latent_variables() -> None:
    """Four kinds: used; a mean that hardly moves; the prior itself; a fixed, narrow posterior."""
    mean = RNG.normal(size=(4000, 4)) * [0.9, 0.05, 0.0, 0.0]
    log_var = np.tile(np.log([0.2, 0.9, 1.0, 0.1]), (4000, 1))
    use = latent.latent_use(jnp.asarray(mean, jnp.float32), jnp.asarray(log_var, jnp.float32))
    np.testing.assert_allclose(use.mean_variance, mean.var(axis=0), rtol=1e-4)
    np.testing.assert_array_equal(use.active, [True, False, False, False])
    expected = 0.5 * (mean**2 + np.exp(log_var) - log_var - 1).mean(axis=0)
    np.testing.assert_allclose(use.kl, expected, rtol=1e-4, atol=1e-7)
