"""The monitors against NumPy, on RBMs whose units are certain and so need no draws."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import reference
from support.helpers import one_line
from support.reference_dbn import float32, sigmoid

from jaxgen.errors import SettingError
from jaxgen.evaluation import monitors
from jaxgen.learner import PRNGKey, named_key
from jaxgen.models import dbn, vae

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)


def images(num: int, seed: int) -> np.ndarray:
    """Grey uint8 images of five pixels."""
    return np.random.default_rng(seed).integers(0, 256, (num, 5, 1, 1), dtype=np.uint8)


def certain(params: reference.Params) -> reference.Params:
    """An RBM whose hidden units are on or off with certainty, for visible units 0 or 1.

    Weights and hidden biases are whole and half numbers times 60, so no logit comes near 0.
    """
    w = 60.0 * np.round(2.0 * params["w"])
    bias = 60.0 * (np.floor(params["b_hidden"]) + 0.5)
    return {"w": w, "b_visible": params["b_visible"], "b_hidden": bias}


def free_energy(params: reference.Params, visible: np.ndarray) -> np.ndarray:
    logits = visible @ params["w"] + params["b_hidden"]
    return -visible @ params["b_visible"] - np.logaddexp(0.0, logits).sum(axis=1)


def test_reconstruction_error_is_a_mean_over_pixels_and_images() -> None:
    grey, probs = images(3, 1), RNG.random((3, 5))
    expected = np.mean([(grey[i].ravel() / 255.0 - probs[i]) ** 2 for i in range(3)])
    found = monitors.reconstruction_error(jnp.asarray(grey), jnp.asarray(probs, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_idle_units() -> None:
    """Of 1,000 images, units are on in 0, 9, 15, 500, 985, 991 and 1,000."""
    counts = np.array([0, 9, 15, 500, 985, 991, 1000])
    hidden = jnp.asarray(np.arange(1000)[:, None] < counts, jnp.float32)
    found = monitors.idle_units(hidden)
    np.testing.assert_allclose(found["never_on"], 2 / 7)
    np.testing.assert_allclose(found["always_on"], 2 / 7)


@pytest.mark.parametrize("measure", [monitors.rbm_monitors, monitors.net_monitors])
def test_an_rbm_whose_units_are_certain(measure: Any) -> None:
    """No draw matters: the threshold makes the input, and every hidden unit follows from it."""
    params, (train, test) = certain(reference.small_rbm()), (images(7, 2), images(11, 3))
    target = float32(params)
    target = dbn.tie((target,)) if measure is monitors.net_monitors else target
    found = measure(target, KEY, jnp.asarray(train), jnp.asarray(test), "threshold")
    on = {name: (x.reshape(-1, 5) >= 127.5) * 1.0 for name, x in (("train", train), ("test", test))}
    hidden = (on["test"] @ params["w"] + params["b_hidden"] > 0) * 1.0
    probs = sigmoid(np.clip(hidden @ params["w"].T + params["b_visible"], -500, 500))
    error = np.mean((test.reshape(-1, 5) / 255.0 - probs) ** 2)
    gap = free_energy(params, on["test"]).mean() - free_energy(params, on["train"]).mean()
    np.testing.assert_allclose(found["test_reconstruction_error"], error, rtol=1e-4)
    np.testing.assert_allclose(found["free_energy_gap"], gap, rtol=1e-4, atol=1e-3)
    assert found["never_on"] == pytest.approx(np.mean(hidden.mean(axis=0) < 0.01))
    assert found["always_on"] == pytest.approx(np.mean(hidden.mean(axis=0) > 0.99))


@pytest.mark.parametrize("measure", [monitors.rbm_monitors, monitors.net_monitors])
def test_images_of_another_size(measure: Any) -> None:
    params = float32(reference.small_rbm())
    target = dbn.tie((params,)) if measure is monitors.net_monitors else params
    colour = images(7, 2).repeat(3, axis=3)
    for pair in ((images(7, 2), colour), (colour, images(7, 2))):
        with pytest.raises(SettingError, match=r"visible units .*5., found .7, 15.") as error:
            measure(target, KEY, *map(jnp.asarray, pair), "threshold")
        one_line(error)
    as_lists = [[*images(7, 2)], [*images(11, 3)]]
    as_arrays = [images(7, 2), images(11, 3)]
    found, expected = (measure(target, KEY, *x, "threshold") for x in (as_lists, as_arrays))
    assert {k: float(v) for k, v in found.items()} == {k: float(v) for k, v in expected.items()}


def test_what_an_rbm_has_besides() -> None:
    """The exact likelihood of a small RBM by enumeration; a pseudo-likelihood of binary input."""
    params = reference.small_rbm()
    train, test = jnp.asarray(images(7, 2)), images(11, 3)
    found = monitors.rbm_monitors(float32(params), KEY, train, jnp.asarray(test), "threshold")
    table, _ = reference.joint(params)
    rows = [int("".join(map(str, row)), 2) for row in (test.reshape(-1, 5) >= 127.5).astype(int)]
    expected = np.log(table.sum(axis=1)[rows]).mean()
    np.testing.assert_allclose(found["test_log_likelihood"], expected, rtol=1e-5)
    assert found["test_pseudo_log_likelihood"] < 0.0
    grey = monitors.rbm_monitors(float32(params), KEY, train, jnp.asarray(test), "none")
    assert "test_pseudo_log_likelihood" not in grey


def flat(params: vae.Params) -> dict[str, np.ndarray]:
    """A VAE's parameters as the reference has them."""
    return {
        f"{net}.{name}.{kind}": np.asarray(value, np.float64)
        for net, layers in params.items()
        for name, layer in layers.items()
        for kind, value in layer.items()
    }


def test_the_parts_of_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a VAE whose noise is given, against NumPy; one latent variable is dead."""
    config = vae.Config(hidden_sizes=(4,), latent_size=3, binarize="threshold")
    key_params, _ = jax.random.split(KEY)
    params = vae.learner(config, (5, 1, 1)).init(key_params).params
    layer = params["encoder"]["dense_1"]
    layer = {name: jnp.asarray(value).at[..., 0].set(0.0) for name, value in layer.items()}
    params = params | {"encoder": params["encoder"] | {"dense_1": layer}}
    visible = (images(9, 4).reshape(-1, 5) >= 127.5) * 1.0
    noise = RNG.normal(size=(1, 9, 3))

    def given(key: PRNGKey, shape: tuple[int, ...]) -> jax.Array:
        assert shape == noise.shape
        return jnp.asarray(noise, jnp.float32)

    monkeypatch.setattr(vae, "normal", given)
    nets = vae.nets(config, (5, 1, 1))
    found = monitors.vae_monitors(params, nets, KEY, jnp.asarray(visible, jnp.float32))
    reconstruction, _, kl, mean = reference.vae_terms(flat(params), visible, noise)
    elbo = reconstruction[0] - kl
    np.testing.assert_allclose(found["test_reconstruction"], reconstruction.mean(), rtol=1e-5)
    np.testing.assert_allclose(found["test_kl"], kl.mean(), rtol=1e-5)
    np.testing.assert_allclose(found["test_elbo"], elbo.mean(), rtol=1e-5)
    np.testing.assert_allclose(found["test_elbo_error"], elbo.std(ddof=1) / 3.0, rtol=1e-4)
    assert found["test_active_units"] == np.sum(mean.var(axis=0) > vae.ACTIVE_VARIANCE) <= 2


def test_the_bound_of_an_iwae_is_the_log_of_its_mean_weight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of three codes whose noise is given, against NumPy's weights; a VAE has none."""
    config = vae.Config(
        (4,), 3, binarize="threshold", objective="iwae", num_samples=3, architecture="dense"
    )
    params = vae.learner(config, (5, 1, 1)).init(KEY).params
    visible = (images(9, 4).reshape(-1, 5) >= 127.5) * 1.0
    noise = RNG.normal(size=(3, 9, 3))
    root = named_key(KEY, "iwae")
    keys = [
        [jax.random.fold_in(jax.random.fold_in(root, image), code) for image in range(9)]
        for code in range(3)
    ]
    of_keys = jnp.stack([jnp.stack([jax.random.key_data(x) for x in row]) for row in keys])

    def given(key: PRNGKey, shape: tuple[int, ...]) -> jax.Array:
        """The noise of the image and code with this key, and 0 where another draws."""
        mine = jnp.all(jax.random.key_data(key) == of_keys, axis=2)
        found = jnp.einsum("kb,kbl->l", 1.0 * mine, jnp.asarray(noise, jnp.float32))
        return jnp.broadcast_to(found, shape)

    monkeypatch.setattr(vae, "normal", given)
    of = jnp.asarray(visible, jnp.float32)
    found = monitors.vae_monitors(params, vae.nets(config, (5, 1, 1)), KEY, of)
    _, log_weights, _, _ = reference.vae_terms(flat(params), visible, noise)
    bound = np.mean(np.log(np.mean(np.exp(log_weights), axis=0)))
    np.testing.assert_allclose(found["test_objective"], bound, rtol=1e-5)
    plain = vae.nets(dataclasses.replace(config, objective="elbo"), (5, 1, 1))
    assert "test_objective" not in monitors.vae_monitors(params, plain, KEY, of)


def test_one_image_has_no_standard_error() -> None:
    config = vae.Config(hidden_sizes=(4,), latent_size=2)
    params = vae.learner(config, (5, 1, 1)).init(KEY).params
    nets = vae.nets(config, (5, 1, 1))
    one, two = (monitors.vae_monitors(params, nets, KEY, jnp.ones((num, 5))) for num in (1, 2))
    assert one.keys() == two.keys() - {"test_elbo_error"}
    assert all(np.isfinite(value) for value in one.values())
