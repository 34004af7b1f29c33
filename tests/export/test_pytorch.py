"""PyTorch's names: its own weights draw its own images here, and ours draw ours there."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import FIXTURES, OPTIMISED, one_line, same

from jaxgen.errors import CheckpointError, SettingError
from jaxgen.export.pytorch import from_pytorch, to_pytorch
from jaxgen.export.safetensors import load_params, save_params
from jaxgen.models import dcgan

FIXTURE = FIXTURES / "generator_images.npz"
STORED = dcgan.Config(base_width=2, latent_size=6)
CHANNELS = 3
SIZES = {
    **dict.fromkeys(("of 16x16", "conditional", "conditional and dense", "learned classes"), 16),
    "of 128x128": 128,
}
NUM_CLASSES = 3
LABELS = np.array([2, 0, 1, 2])

LAB = dcgan.Config(base_width=1, latent_size=5)
WIDE: dict[str, Any] = {"stem": "dense", "generator_activation": "relu", "use_bias": False}
CONFIGS = {
    "lab": LAB,
    "lab without batch normalisation": dcgan.Config(base_width=1, latent_size=5, batch_norm=False),
    "lab without biases": dcgan.Config(base_width=1, latent_size=5, use_bias=False),
    "wide": dcgan.Config(base_width=1, latent_size=5, **WIDE),
    "wide without batch normalisation": dcgan.Config(
        base_width=1, latent_size=5, **WIDE, batch_norm=False
    ),
    "wide with biases": dcgan.Config(
        base_width=1, latent_size=5, stem="dense", use_bias=True, width=2.0
    ),
    "of 16x16": LAB,
    "of 128x128": LAB,
    "conditional": dataclasses.replace(LAB, num_classes=NUM_CLASSES),
    "conditional and dense": dcgan.Config(
        base_width=1, latent_size=5, **WIDE, num_classes=NUM_CLASSES
    ),
    "learned classes": dataclasses.replace(LAB, num_classes=NUM_CLASSES, class_code="learned"),
}
every_config = pytest.mark.parametrize("name", CONFIGS)
both_players = pytest.mark.parametrize("player", ["generator", "discriminator"])


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    """PyTorch's state dict."""
    with np.load(FIXTURE) as file:
        return {name: file[name] for name in file if name.startswith("main.")}


def shape_of(name: str) -> tuple[int, int, int]:
    """[H, W, C] of the images of a net."""
    size = SIZES.get(name, 64)
    return size, size, CHANNELS


def random_variables(name: str, player: str) -> dict[str, Any]:
    """Variables of a net in which every number differs from what it started with."""
    rng = np.random.default_rng(0)
    learner = dcgan.learner(CONFIGS[name], shape_of(name))
    state = jax.eval_shape(learner.init, jax.random.key(0))

    def draw(path: Any, leaf: Any) -> np.ndarray:
        low = 0.5 if path[-1].key in ("var", "scale") else -0.5
        return rng.uniform(low, 1.0, leaf.shape).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, state.params[player])


def inputs_of(name: str, player: str) -> np.ndarray:
    code = (CONFIGS[name].latent_size,)
    shape = (4, *(code if player == "generator" else shape_of(name)))
    return np.random.default_rng(1).uniform(-1.0, 1.0, shape).astype(np.float32)


# --- the stored generator of the lab


def test_a_stored_state_dict_draws_its_images_here(stored: dict[str, np.ndarray]) -> None:
    with np.load(FIXTURE) as file:
        noise, images = file["noise"], file["images"]
    variables = from_pytorch(STORED, "generator", stored)
    found = dcgan.Generator(STORED, (64, 64, 1)).apply(variables, jnp.asarray(noise), train=False)
    np.testing.assert_allclose(found, images, atol=1e-5)
    back = to_pytorch(STORED, "generator", variables, num_batches=20)
    assert list(back) == list(stored)
    assert same(back, stored)


def test_another_prefix(stored: dict[str, np.ndarray]) -> None:
    main = {name.removeprefix("main."): a for name, a in stored.items()}
    variables = from_pytorch(STORED, "generator", main, prefix="")
    assert same(to_pytorch(STORED, "generator", variables, "", num_batches=20), main)


class LabGenerator:
    """A class of the lab's shape, in NumPy: its layers are attributes, and called one by one.

    layer1, batchnorm1, LeakyReLU, ..., layer5, tanh, from [N, latent, 1, 1] to [N, C, 64, 64].
    """

    def __init__(self) -> None:
        self.names = {f"layer{i}.{x}" for i in range(1, 6) for x in ("weight", "bias")}
        owned = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        self.names |= {f"batchnorm{i}.{x}" for i in range(1, 5) for x in owned}

    def load_state_dict(self, arrays: dict[str, np.ndarray]) -> None:
        """Takes the arrays if they are those of its layers, as with ``strict=True``."""
        assert {*arrays} == self.names
        self.arrays = {name: np.asarray(a, np.float64) for name, a in arrays.items()}

    def layer(self, index: int, x: np.ndarray) -> np.ndarray:
        """ConvTranspose2d, k4, s1 p0 for the first and s2 p1 for the others, by its definition."""
        stride, padding = (1, 0) if index == 1 else (2, 1)
        weight, bias = (self.arrays[f"layer{index}.{name}"] for name in ("weight", "bias"))
        num, _, height, width = x.shape
        sizes = [(side - 1) * stride + 4 for side in (height, width)]
        found = np.zeros((num, weight.shape[1], *sizes))
        for row, column in np.ndindex(4, 4):
            spread = np.einsum("nchw,co->nohw", x, weight[:, :, row, column])
            found[:, :, row::stride, column::stride][:, :, :height, :width] += spread
        found = found[:, :, padding : sizes[0] - padding, padding : sizes[1] - padding]
        return found + bias[:, None, None]

    def batchnorm(self, index: int, x: np.ndarray) -> np.ndarray:
        """BatchNorm2d in evaluation mode."""
        owned = ("weight", "bias", "running_mean", "running_var")
        scale, bias, mean, var = (
            self.arrays[f"batchnorm{index}.{name}"][:, None, None] for name in owned
        )
        return (x - mean) / np.sqrt(var + 1e-5) * scale + bias

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Images in [-1, 1]."""
        for index in range(1, 5):
            x = self.batchnorm(index, self.layer(index, x))
            x = np.where(x > 0, x, 0.2 * x)
        return np.tanh(self.layer(5, x))


def test_a_class_of_the_labs_shape_loads_its_names_and_draws_pytorchs_images(
    stored: dict[str, np.ndarray], tmp_path: Path
) -> None:
    variables = from_pytorch(STORED, "generator", stored)
    arrays = to_pytorch(STORED, "generator", variables, num_batches=20, naming="lab")
    save_params(tmp_path / "generator.safetensors", arrays, {})
    loaded = load_params(tmp_path / "generator.safetensors")
    net = LabGenerator()
    net.load_state_dict(loaded)
    with np.load(FIXTURE) as file:
        noise, images = file["noise"], file["images"]
    found = net.forward(noise[:, :, None, None]).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, images, atol=1e-5)
    assert same(from_pytorch(STORED, "generator", loaded, naming="lab"), variables)


@pytest.mark.parametrize(
    ("name", "player"),
    [
        ("wide", "generator"),
        ("lab", "discriminator"),
        ("of 16x16", "generator"),
        ("conditional", "generator"),
    ],
)
def test_only_a_generator_of_the_labs_shape_has_its_names(name: str, player: Any) -> None:
    with pytest.raises(SettingError, match="transposed stem, for the names of the lab's") as error:
        to_pytorch(CONFIGS[name], player, random_variables(name, player), naming="lab")
    one_line(error)


class ConditionalGenerator(LabGenerator):
    """A generator of 16x16 by the names of a sequence; rows of the tables scale and shift."""

    def __init__(self, arrays: dict[str, np.ndarray], labels: np.ndarray) -> None:
        self.arrays = {name: np.asarray(a, np.float64) for name, a in arrays.items()}
        self.labels = labels
        for index, place in enumerate((0, 3, 6), start=1):
            for name in ("weight", "bias"):
                self.arrays[f"layer{index}.{name}"] = self.arrays[f"main.{place}.{name}"]

    def batchnorm(self, index: int, x: np.ndarray) -> np.ndarray:
        """BatchNorm2d(affine=False) in evaluation mode, and what its class says."""
        names = ("weight", "bias", "running_mean", "running_var")
        scale, bias, mean, var = (self.arrays[f"main.{3 * index - 2}.{name}"] for name in names)
        unit = (x - mean[:, None, None]) / np.sqrt(var[:, None, None] + 1e-5)
        rows = (scale[self.labels][:, :, None, None], bias[self.labels][:, :, None, None])
        return unit * rows[0] + rows[1]

    def forward(self, codes: np.ndarray) -> np.ndarray:
        """Images in [-1, 1]."""
        table = self.arrays.get("embedding.weight", np.eye(NUM_CLASSES))
        x = np.concatenate([codes, table[self.labels]], axis=1)
        x = x[:, :, None, None]
        for index in (1, 2):
            x = self.batchnorm(index, self.layer(index, x))
            x = np.where(x > 0, x, 0.2 * x)
        return np.tanh(self.layer(3, x))


@pytest.mark.parametrize("name", ["conditional", "learned classes"])
def test_a_conditional_generator_is_what_the_names_say(name: str) -> None:
    """The code before the row of its class, of ones and zeros or learned; a scale and a shift."""
    variables, codes = (f(name, "generator") for f in (random_variables, inputs_of))
    arrays = to_pytorch(CONFIGS[name], "generator", variables)
    assert ("embedding.weight" in arrays) == (name == "learned classes")
    found = ConditionalGenerator(arrays, LABELS).forward(codes).transpose(0, 2, 3, 1)
    net = dcgan.nets(CONFIGS[name], shape_of(name)).generator
    expected = net.apply(variables, codes, train=False, labels=LABELS)
    assert np.std(expected) > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_projection_is_of_channels() -> None:
    """The term of the classes in the logits, from D's last hidden layer, summed over its places."""
    variables, pixels = (f("conditional", "discriminator") for f in (random_variables, inputs_of))
    table = to_pytorch(CONFIGS["conditional"], "discriminator", variables)["projection.weight"]
    net = dcgan.Discriminator(CONFIGS["conditional"])
    plain, sown = net.apply(variables, pixels, train=False, mutable=["features"])
    phi = np.asarray(sown["features"]["layer_1"][0], np.float64)  # type: ignore[index]
    phi = phi.sum(axis=(1, 2))
    expected = np.asarray(plain) + (table[LABELS] * phi).sum(axis=1)
    found = net.apply(variables, pixels, train=False, labels=LABELS)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"main.0.weight": None},
            r"expected shape \[6, 16, 4, 4\] for 'main.0.weight', found none",
        ),
        ({"main.14.bias": np.ones(3)}, "no array of that name for 'main.14.bias', found shape"),
        ({"main.0.weight": np.ones((6, 8, 4, 4))}, r"found shape \[6, 8, 4, 4\]; give the config"),
    ],
)
def test_a_state_dict_of_another_net_is_refused(
    stored: dict[str, np.ndarray], change: dict[str, Any], message: str
) -> None:
    arrays = {name: a for name, a in (stored | change).items() if a is not None}
    with pytest.raises(CheckpointError, match=message) as error:
        from_pytorch(STORED, "generator", arrays)
    one_line(error)


# --- every setting


@every_config
@both_players
def test_there_and_back_through_a_file(name: str, player: Any, tmp_path: Path) -> None:
    config, variables = CONFIGS[name], random_variables(name, player)
    arrays = to_pytorch(config, player, variables)
    assert sum(a.size for key, a in arrays.items() if "num_batches" not in key) == sum(
        leaf.size for leaf in jax.tree.leaves(variables)
    )
    save_params(tmp_path / "net.safetensors", arrays, {})
    loaded = load_params(tmp_path / "net.safetensors")
    assert same(from_pytorch(config, player, loaded, shape_of(name)), variables)


def torch_net(torch: Any, name: str, player: str) -> Any:
    """One net with the names that `jaxgen.export.pytorch` describes, in evaluation mode.

    It is asked for `LABELS`.
    """
    config = CONFIGS[name]
    num_classes, asked = config.num_classes, torch.from_numpy(LABELS)
    nn, base = torch.nn, int(config.base_width * config.width)
    dense, drawn = config.stem == "dense", player == "generator"
    slope = 0.0 if drawn and config.generator_activation == "relu" else 0.2

    class ConditionalNorm(nn.BatchNorm2d):
        def __init__(self, num: int) -> None:
            super().__init__(num, affine=False)
            self.weight = nn.Parameter(torch.zeros(num_classes, num))
            self.bias = nn.Parameter(torch.zeros(num_classes, num))

        def forward(self, x: Any) -> Any:
            rows = (table[asked][:, :, None, None] for table in (self.weight, self.bias))
            scale, shift = rows
            return nn.functional.batch_norm(x, self.running_mean, self.running_var) * scale + shift

    def layer(kind: Any, sizes: Sequence[int], spec: Sequence[int], norm: bool) -> list[Any]:
        convolution = kind(*sizes, *spec, bias=config.use_bias)
        kind = ConditionalNorm if drawn and num_classes else nn.BatchNorm2d
        norms = [kind(sizes[1])] if norm and config.batch_norm else []
        return [convolution, *norms, nn.LeakyReLU(slope)]

    kind = nn.ConvTranspose2d if drawn else nn.Conv2d
    depth = {16: 2, 64: 4, 128: 5}[shape_of(name)[0]]
    sizes = [base * multiple for multiple in (1, 2, 4, 8, 8)[:depth][::-1]] + [CHANNELS]
    learned = config.class_code == "learned"
    layers, code = [], config.latent_size + num_classes
    if num_classes and learned:
        code = 2 * config.latent_size
    if drawn and not dense:
        layers += layer(kind, (code, sizes[0]), (4, 1, 0), True)
    innermost = sizes[0]
    sizes = sizes if drawn else sizes[::-1]
    for index in range(depth):
        norm = index < depth - 1 if drawn else index > 0
        layers += layer(kind, sizes[index : index + 2], (4, 2, 1), norm)
    if drawn:
        layers[-1] = nn.Tanh()
    elif not dense:
        layers += [kind(sizes[-1], 1, 4, 1, 0, bias=config.use_bias)]

    image = 16 * innermost

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main = nn.Sequential(*layers)
            if dense:
                self.stem = nn.Linear(*((code, image) if drawn else (image, 1)))
            if num_classes and drawn and learned:
                self.embedding = nn.Embedding(num_classes, config.latent_size)
            elif num_classes and not drawn:
                self.projection = nn.Embedding(num_classes, innermost)

        def forward(self, x: Any) -> Any:
            if drawn:
                if num_classes:
                    beside = nn.functional.one_hot(asked, num_classes).float()
                    x = torch.cat([x, self.embedding(asked) if learned else beside], 1)
                return self.main(
                    self.stem(x).view(len(x), -1, 4, 4) if dense else x[..., None, None]
                )
            phi = self.main if dense else self.main[:-1]
            x = phi(x)
            logits = (self.stem(x.flatten(1)) if dense else self.main[-1](x)).flatten()
            pooled = x.sum((2, 3))
            return logits + (self.projection(asked) * pooled).sum(1) if num_classes else logits

    return Net().eval()


@every_config
@both_players
def test_pytorch_loads_it_and_computes_the_same(name: str, player: Any) -> None:
    torch = pytest.importorskip("torch")
    config, variables, inputs = (
        CONFIGS[name],
        random_variables(name, player),
        inputs_of(name, player),
    )
    ours = getattr(dcgan.nets(config, shape_of(name)), player)
    given = {"labels": LABELS} if config.num_classes else {}
    apply = jax.jit(partial(ours.apply, train=False, **given), compiler_options=OPTIMISED)
    expected = np.asarray(apply(variables, inputs))
    net = torch_net(torch, name, player)
    arrays = to_pytorch(config, player, variables)
    own = net.state_dict()
    assert {key: a.shape for key, a in arrays.items()} == {n: tuple(own[n].shape) for n in own}
    net.load_state_dict({key: torch.from_numpy(a) for key, a in arrays.items()}, strict=True)
    with torch.no_grad():
        seen = inputs if player == "generator" else inputs.transpose(0, 3, 1, 2).copy()
        found = net.double()(torch.from_numpy(seen).double()).numpy()  # its own rounding left out
    found = found.transpose(0, 2, 3, 1) if player == "generator" else found
    scale = np.max(np.abs(expected))
    layers = 1.0 if shape_of(name)[0] <= 64 else 2.0  # one more layer at 128, on wider images
    np.testing.assert_allclose(found, expected, atol=layers * 2e-5 * scale)
    assert np.std(expected) > 0.01 * scale
