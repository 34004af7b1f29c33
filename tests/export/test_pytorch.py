"""PyTorch's names: its own weights draw its own images here, and ours draw ours there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import FIXTURES, one_line, same

from jaxgen.errors import CheckpointError, SettingError
from jaxgen.export.pytorch import from_pytorch, to_pytorch
from jaxgen.export.safetensors import load_params, save_params
from jaxgen.models import dcgan

FIXTURE = FIXTURES / "generator_images.npz"
STORED = dcgan.Config(base_width=2, latent_size=6)
CHANNELS = 3

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
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
both_players = pytest.mark.parametrize("player", ["generator", "discriminator"])


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    """PyTorch's state dict."""
    with np.load(FIXTURE) as file:
        return {name: file[name] for name in file if name.startswith("main.")}


def random_variables(config: dcgan.Config, player: str) -> dict[str, Any]:
    """Variables of a net in which every number differs from what it started with."""
    rng = np.random.default_rng(0)
    state = jax.eval_shape(dcgan.learner(config, (28, 28, CHANNELS)).init, jax.random.key(0))

    def draw(path: Any, leaf: Any) -> np.ndarray:
        low = 0.5 if path[-1].key in ("var", "scale") else -0.5
        return rng.uniform(low, 1.0, leaf.shape).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, state.params[player])


def inputs_of(config: dcgan.Config, player: str) -> np.ndarray:
    shape = (4, config.latent_size) if player == "generator" else (4, 64, 64, CHANNELS)
    return np.random.default_rng(1).uniform(-1.0, 1.0, shape).astype(np.float32)


# --- the stored generator of the lab


def test_a_stored_state_dict_draws_its_images_here(stored: dict[str, np.ndarray]) -> None:
    with np.load(FIXTURE) as file:
        noise, images = file["noise"], file["images"]
    variables = from_pytorch(STORED, "generator", stored)
    found = dcgan.Generator(STORED, 1).apply(variables, jnp.asarray(noise), train=False)
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


@pytest.mark.parametrize(("name", "player"), [("wide", "generator"), ("lab", "discriminator")])
def test_only_a_generator_of_the_labs_shape_has_its_names(name: str, player: Any) -> None:
    with pytest.raises(SettingError, match="transposed stem, for the names of the lab's") as error:
        to_pytorch(CONFIGS[name], player, {}, naming="lab")
    one_line(error)


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
def test_there_and_back_through_a_file(config: dcgan.Config, player: Any, tmp_path: Path) -> None:
    variables = random_variables(config, player)
    arrays = to_pytorch(config, player, variables)
    assert sum(a.size for name, a in arrays.items() if "num_batches" not in name) == sum(
        leaf.size for leaf in jax.tree.leaves(variables)
    )
    save_params(tmp_path / "net.safetensors", arrays, {})
    loaded = load_params(tmp_path / "net.safetensors")
    assert same(from_pytorch(config, player, loaded, CHANNELS), variables)


def torch_net(torch: Any, config: dcgan.Config, player: str) -> Any:
    """One net with the names that `jaxgen.export.pytorch` describes, in evaluation mode."""
    nn, base = torch.nn, int(config.base_width * config.width)
    dense, drawn = config.stem == "dense", player == "generator"
    slope = 0.0 if drawn and config.generator_activation == "relu" else 0.2

    def layer(kind: Any, sizes: Sequence[int], spec: Sequence[int], norm: bool) -> list[Any]:
        convolution = kind(*sizes, *spec, bias=config.use_bias)
        norms = [nn.BatchNorm2d(sizes[1])] if norm and config.batch_norm else []
        return [convolution, *norms, nn.LeakyReLU(slope)]

    kind = nn.ConvTranspose2d if drawn else nn.Conv2d
    sizes = [8 * base, 4 * base, 2 * base, base, CHANNELS]
    layers = []
    if drawn and not dense:
        layers += layer(kind, (config.latent_size, sizes[0]), (4, 1, 0), True)
    sizes = sizes if drawn else sizes[::-1]
    for index in range(4):
        norm = index < 3 if drawn else index > 0
        layers += layer(kind, sizes[index : index + 2], (4, 2, 1), norm)
    if drawn:
        layers[-1] = nn.Tanh()
    elif not dense:
        layers += [kind(sizes[-1], 1, 4, 1, 0, bias=config.use_bias)]

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.main = nn.Sequential(*layers)
            if dense:
                image = 8 * base * 16
                self.stem = nn.Linear(*((config.latent_size, image) if drawn else (image, 1)))

        def forward(self, x: Any) -> Any:
            if drawn:
                return self.main(
                    self.stem(x).view(len(x), -1, 4, 4) if dense else x[..., None, None]
                )
            x = self.main(x)
            return (self.stem(x.flatten(1)) if dense else x).flatten()

    return Net().eval()


@every_config
@both_players
def test_pytorch_loads_it_and_computes_the_same(config: dcgan.Config, player: Any) -> None:
    torch = pytest.importorskip("torch")
    variables, inputs = random_variables(config, player), inputs_of(config, player)
    expected = getattr(dcgan.nets(config, CHANNELS), player).apply(variables, inputs, train=False)
    net = torch_net(torch, config, player)
    arrays = to_pytorch(config, player, variables)
    own = net.state_dict()
    assert {name: a.shape for name, a in arrays.items()} == {n: tuple(own[n].shape) for n in own}
    net.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()}, strict=True)
    with torch.no_grad():
        seen = inputs if player == "generator" else inputs.transpose(0, 3, 1, 2).copy()
        found = net(torch.from_numpy(seen)).numpy()
    found = found.transpose(0, 2, 3, 1) if player == "generator" else found
    scale = np.max(np.abs(expected))
    np.testing.assert_allclose(found, expected, atol=2e-5 * scale)
    assert np.std(expected) > 0.01 * scale
