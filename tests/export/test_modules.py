"""PyTorch's modules of docs/pytorch.md: their weights give their numbers here."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import FIXTURES, one_line, same

from jaxgen import models
from jaxgen.errors import CheckpointError
from jaxgen.export.modules import from_modules, to_modules
from jaxgen.models import adversarial, dbm, dbn, dcgan, gan, label_units, rbm, vae, wake_sleep

SHAPE, GREY = (5, 4, 3), (5, 4, 1)
SIZES = (7, 6, 5)
NET: dict[str, Any] = {"hidden_sizes": (7, 6), "latent_size": 3}
CONVOLUTIONS = {"architecture": "conv", "channels": (5, 6), "num_classes": 3}
GAN = gan.Config(latent_size=3, generator_sizes=(7, 6), discriminator_sizes=(7, 6))
CONFIGS: dict[str, tuple[Any, tuple[int, int, int]]] = {
    "rbm": (rbm.Config(num_hidden=6), SHAPE),
    "rbm_gaussian": (rbm.Config(num_hidden=6, visible="gaussian"), SHAPE),
    "dbn": (dbn.Config(hidden_sizes=SIZES, visible="gaussian", num_classes=3), SHAPE),
    "dbm": (dbm.Config((6, 5), num_mean_field_steps=2), SHAPE),
    "wake_sleep": (wake_sleep.Config(hidden_sizes=SIZES, visible="gaussian", num_classes=3), SHAPE),
    "vae": (vae.Config(**NET), GREY),
    "vae_conditional": (
        vae.Config(**NET, architecture="dense", activation="tanh", num_classes=3),
        SHAPE,
    ),
    "vae_conv": (vae.Config(latent_size=3, activation="relu", **CONVOLUTIONS), SHAPE),
    "gan": (GAN, SHAPE),
    "gan_conditional": (dataclasses.replace(GAN, num_classes=3), SHAPE),
}
every_case = pytest.mark.parametrize("case", CONFIGS)
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def stored() -> dict[str, dict[str, Arrays]]:
    """PyTorch's state dicts, inputs and outputs of every case, by module and name."""
    found: dict[str, dict[str, Arrays]] = {}
    with np.load(FIXTURES / "modules.npz") as file:
        for name in file:
            if name != "labels":
                case, module, key = name.split("/")
                found.setdefault(case, {}).setdefault(module, {})[key] = file[name]
        found["labels"] = {"": {"": file["labels"]}}
    return found


def test_every_model_has_modules() -> None:
    """Those of the DCGAN are in test_pytorch.py; `run.export` leaves out a model without any."""
    tested = {type(config).__module__.rpartition(".")[2] for config, _ in CONFIGS.values()}
    assert tested | {"dcgan"} == {*models.names()}


def channels_last(images: np.ndarray) -> np.ndarray:
    return np.moveaxis(images, -3, -1)


def computed(config: Any, shape: Any, params: Any, given: Arrays, labels: Any) -> Arrays:
    """The output of PyTorch's module, by our functions; images [B, H, W, C]."""
    images = channels_last(given["images"])
    flat = jnp.asarray(images.reshape(len(images), -1))
    if isinstance(config, rbm.Config):
        visible = rbm.standardise(params, flat)
        hidden = jax.nn.sigmoid(rbm.hidden_logits(params, visible))
        pixels = rbm.to_pixels(params, rbm.visible_mean(params, hidden))
        return {"hidden": hidden, "pixels": pixels}
    if isinstance(config, dbn.Config | wake_sleep.Config):
        net = dbn.tie(params) if isinstance(config, dbn.Config) else params
        below = dbn.mean_up(net.recognition, rbm.standardise(net.bottom, flat))
        hidden = jnp.asarray(given["top"])
        for layer in (net.top, *reversed(net.generative)):
            hidden = rbm.visible_mean(layer, hidden)
        probs = jnp.exp(label_units.log_posterior(net.top, below))
        return {"below": below, "probs": probs, "pixels": rbm.to_pixels(net.bottom, hidden)}
    if isinstance(config, dbm.Config):
        first, second = dbm.mean_field(params, flat, config.num_mean_field_steps)
        pixels = rbm.visible_mean(dbm.as_rbm(params), first)[:, : flat.shape[1]]
        return {"first": first, "second": second, "pixels": pixels}
    codes, asked = jnp.asarray(given["codes"]), labels if config.num_classes else None
    if isinstance(config, vae.Config):
        nets = vae.nets(config, shape)
        mean, log_var = vae.encode(params, nets, flat, asked)
        raw = vae.Decoder(nets).apply({"params": params["decoder"]}, codes, asked)
        decoded = jnp.reshape(raw, (len(codes), nets.num_outputs, *shape))  # type: ignore[arg-type]
        return {"mean": mean, "log_var": log_var, "decoded": decoded}
    nets, asks = gan.nets(config, shape), {} if asked is None else {"labels": asked}
    apply = {"train": False, **asks}
    pixels = nets.generator.apply(params["generator"], codes, **apply)
    logits = nets.discriminator.apply(params["discriminator"], jnp.asarray(images), **apply)
    return {"pixels": pixels, "logits": logits}


@every_case
def test_pytorchs_weights_give_pytorchs_numbers(case: str, stored: Any) -> None:
    (config, shape), found = CONFIGS[case], stored[case]
    modules = {name: arrays for name, arrays in found.items() if name not in ("in", "out")}
    params = from_modules(config, shape, modules)
    compute = jax.jit(computed, static_argnums=(0, 1))
    outputs = compute(config, shape, params, found["in"], stored["labels"][""][""])
    assert {*outputs} == {*found["out"]}
    for name, expected in found["out"].items():
        image = name in ("decoded", "pixels")
        if image and expected.ndim == 2:
            expected = expected.reshape(len(expected), shape[2], *shape[:2])
        expected = channels_last(expected) if image else expected
        assert np.std(expected) > 0.01
        value = np.asarray(outputs[name]).reshape(expected.shape)
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5, err_msg=name)


@every_case
def test_back_under_the_same_names(case: str, stored: Any) -> None:
    config, shape = CONFIGS[case]
    modules = {name: a for name, a in stored[case].items() if name not in ("in", "out")}
    back = to_modules(config, shape, from_modules(config, shape, modules))
    assert {name: {*arrays} for name, arrays in back.items()} == {
        name: {*arrays} for name, arrays in modules.items()
    }
    assert all(same(back[m][name], modules[m][name]) for m in modules for name in modules[m])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"W": None}, r"expected shape \[6, 60\] for 'W', found none"),
        ({"x": np.ones(2)}, r"expected no array of that name for 'x', found shape \[2\]"),
        ({"h_bias": np.ones(5)}, r"expected shape \[6\] for 'h_bias', found shape \[5\]"),
    ],
)
def test_another_state_dict_is_refused(change: Any, message: str, stored: Any) -> None:
    arrays = {name: a for name, a in (stored["rbm"]["rbm"] | change).items() if a is not None}
    with pytest.raises(CheckpointError, match=message) as error:
        from_modules(*CONFIGS["rbm"], {"rbm": arrays})
    one_line(error)
    with pytest.raises(CheckpointError, match=r"for 'W', found none"):
        from_modules(*CONFIGS["rbm"], {})


@pytest.mark.parametrize("config", [GAN, dcgan.Config(width=1 / 64, latent_size=3)])
def test_the_generator_is_the_one_that_samples(config: Any) -> None:
    """The moving average, under the names of a generator, for both kinds of nets."""
    config = dataclasses.replace(config, ema_decay=0.5)
    shape = (16, 16, 1)
    learner = (gan if isinstance(config, gan.Config) else dcgan).learner(config, shape)
    zeros = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype),
        jax.eval_shape(learner.init, jax.random.key(0)),
    )
    ones = jax.tree.map(np.ones_like, zeros.average)
    params = zeros._replace(average=ones).params
    modules = to_modules(config, shape, params)
    counted = {n for n in modules["generator"] if n.endswith("num_batches_tracked")}
    assert all((a == 1).all() for n, a in modules["generator"].items() if n not in counted)
    assert not any(array.any() for array in modules["discriminator"].values())
    back = from_modules(config, shape, modules)
    assert same(adversarial.sampler(zeros._replace(average=back["average"])), ones)
    assert jax.tree.structure(back) == jax.tree.structure(params)
