"""A DCGAN's variables under the names and in the layouts of PyTorch, and back.

The nets of `jaxgen.models.dcgan` as PyTorch modules: `main` is an `nn.Sequential` of every
convolution, each followed by its `BatchNorm2d`, if it has one, and by its activation.

    stem        generator                               discriminator
    transposed  main: ConvTranspose2d, ..., Tanh        main: Conv2d, ..., Conv2d
    dense       stem: Linear, [C, 4, 4], then main      main, flattened [C, 4, 4], then stem: Linear

So a generator of 64x64 with batch normalisation has main.0.weight, main.1.running_mean, ...,
main.12.bias, and one with a dense stem stem.weight, main.0.weight, ..., main.9.weight. An
activation takes a number and has no variables.

A conditional generator is given the code with its class behind it, `F.one_hot(y, classes)`, or, if
that is learned (`class_code`), a row of `embedding`, an Embedding [classes, L]. Its normalisation
is a BatchNorm2d(affine=False) with `weight` and `bias` [classes, C] of its own, rows of which scale
and shift each example. A conditional discriminator also has `projection`, an Embedding
[classes, C]: the product of its row with what the stem is given, summed over the 4x4 places, is
added to the logit.

The lab's own class is no sequence: its generator, which is of 64x64, has the transposed stem and
knows no classes, calls its convolutions layer1 to layer5, and the normalisation after the first
four batchnorm1 to batchnorm4. That is the naming `lab`. Layouts, ours and PyTorch's:

    Conv2d           kernel [kh, kw, C, O]    weight [O, C, kh, kw]
    ConvTranspose2d  kernel [kh, kw, O, C]    weight [C, O, kh, kw]      (of C inputs, O outputs)
    Linear           kernel [C, O]            weight [O, C]
    4x4 image        [4, 4, C]                [C, 4, 4]: permutes the rows or columns of the stem
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

import jax
import numpy as np
from jaxtyping import Num

from jaxgen.errors import CheckpointError, SettingError
from jaxgen.images import ImageShape
from jaxgen.models import dcgan
from jaxgen.models.adversarial import Variables

Arrays: TypeAlias = Mapping[str, Num[np.ndarray, "..."]]
"""Arrays by PyTorch's names: as `state_dict()` gives and `jaxgen.export.safetensors` writes."""
Player: TypeAlias = Literal["generator", "discriminator"]

Naming: TypeAlias = Literal["sequence", "lab"]
"""Names by places in `main`, or those of the lab's generator."""

KERNEL = (3, 2, 0, 1)
"""PyTorch's axes of a convolution's weights from ours, for both kinds of convolution."""


class _Entry(NamedTuple):
    """One of our arrays: where it is, what PyTorch calls it, and its layout there."""

    path: tuple[str, ...]
    name: str
    layout: Literal["same", "kernel", "stem_weight", "stem_bias"]


def _main(
    config: dcgan.Config, player: Player, depth: int, prefix: str, naming: Naming
) -> list[_Entry]:
    """The convolutions and their batch normalisation, by their numbers in `main` or in the lab.

    `depth` is how often a net halves or doubles the image.
    """
    first = int(player == "generator" and config.stem == "dense")
    last = depth - int(player == "discriminator" and config.stem == "dense")
    entries, place = [], 0
    for index in range(first, last + 1):
        layer = f"layer{index + 1}" if naming == "lab" else f"{prefix}{place}"
        names = {"kernel": "weight"} | ({"bias": "bias"} if config.use_bias else {})
        for ours, theirs in names.items():
            layout: Any = "kernel" if ours == "kernel" else "same"
            path = ("params", f"conv_{index}", ours)
            entries.append(_Entry(path, f"{layer}.{theirs}", layout))
        plain = index == depth or (index == 0 and player == "discriminator")
        if config.batch_norm and not plain:
            place += 1
            norm = f"batchnorm{index + 1}" if naming == "lab" else f"{prefix}{place}"
            entries += _norm(index, norm)
        place += 2
    return entries


def _norm(index: int, name: str) -> list[_Entry]:
    """The variables of a layer of batch normalisation."""
    owned = (
        ("params", "scale", "weight"),
        ("params", "bias", "bias"),
        ("batch_stats", "mean", "running_mean"),
        ("batch_stats", "var", "running_var"),
    )
    return [
        _Entry((collection, f"norm_{index}", ours), f"{name}.{theirs}", "same")
        for collection, ours, theirs in owned
    ]


def _entries(
    config: dcgan.Config, player: Player, depth: int, prefix: str, naming: Naming
) -> list[_Entry]:
    """Everything that one net owns, in PyTorch's order."""
    size = 4 * 2**depth
    if naming == "lab" and not is_labs(config, player, size):
        raise SettingError(
            expected="a generator of 64x64 with the transposed stem, for the names of the lab's",
            found=f"a {player} of {size}x{size} with the {config.stem} stem"
            + (f" and {config.num_classes} classes" if config.num_classes else ""),
            remedy="take the names of a sequence",
        )
    main = _main(config, player, depth, prefix, naming)
    stem: list[_Entry] = []
    classes: list[_Entry] = []
    if config.stem == "dense":
        stem = [
            _Entry(("params", "stem", "dense", "kernel"), "stem.weight", "stem_weight"),
            _Entry(("params", "stem", "dense", "bias"), "stem.bias", "stem_bias"),
        ]
    if config.num_classes and (player == "discriminator" or config.class_code == "learned"):
        name = "embedding" if player == "generator" else "projection"
        classes = [_Entry(("params", name, "embedding"), f"{name}.weight", "same")]
    return classes + stem + main if player == "generator" else main + stem + classes


def is_labs(config: dcgan.Config, player: Player, size: int) -> bool:
    """Whether the lab's class has such a net: a generator of 64x64 with the transposed stem.

    It may have any width, and knows no classes. One without batch normalisation fits a class
    without those layers.
    """
    alike = config.stem == "transposed" and not config.num_classes
    return player == "generator" and size == 64 and alike


def _channels_first(array: np.ndarray) -> np.ndarray:
    """The first axis from (row, column, channel) order to (channel, row, column)."""
    rest = array.shape[1:]
    return np.moveaxis(array.reshape(4, 4, -1, *rest), 2, 0).reshape(-1, *rest)


def _channels_last(array: np.ndarray) -> np.ndarray:
    """The inverse of `_channels_first`."""
    rest = array.shape[1:]
    return np.moveaxis(array.reshape(-1, 4, 4, *rest), 0, 2).reshape(-1, *rest)


def _to_layout(array: np.ndarray, entry: _Entry, player: Player) -> np.ndarray:
    """One of our arrays in PyTorch's layout."""
    if entry.layout == "kernel":
        return array.transpose(KERNEL)
    if entry.layout == "stem_weight":
        return _channels_first(array.T) if player == "generator" else _channels_first(array).T
    permuted = entry.layout == "stem_bias" and player == "generator"
    return _channels_first(array) if permuted else array


def _from_layout(array: np.ndarray, entry: _Entry, player: Player) -> np.ndarray:
    """One of PyTorch's arrays in our layout."""
    if entry.layout == "kernel":
        return array.transpose(np.argsort(KERNEL))
    if entry.layout == "stem_weight":
        return _channels_last(array).T if player == "generator" else _channels_last(array.T)
    permuted = entry.layout == "stem_bias" and player == "generator"
    return _channels_last(array) if permuted else array


def to_pytorch(
    config: dcgan.Config,
    player: Player,
    variables: Variables,
    prefix: str = "main.",
    num_batches: int = 0,
    naming: Naming = "sequence",
) -> dict[str, np.ndarray]:
    """One net's variables as a state dict that PyTorch loads with `strict=True`.

    Args:
        config: with which the net was made.
        player: which of the two nets.
        variables: of the net, "params" and "batch_stats", as in `State.params[player]`.
        prefix: of the names of the sequential module; "" where it is the whole module.
        num_batches: what `num_batches_tracked` says, int64; PyTorch only counts it, unless its
            `momentum` is None, and we do not store it.
        naming: whose names; those of the lab have no prefix.

    Returns:
        Arrays in PyTorch's order, row-major, in the dtypes of the variables.

    Errors:
        SettingError: the lab has no such net.
    """
    arrays: dict[str, np.ndarray] = {}
    convolutions = [name for name in variables["params"] if name.startswith("conv_")]
    depth = len(convolutions) - int(config.stem == "transposed")
    for entry in _entries(config, player, depth, prefix, naming):
        leaf: Any = variables
        for part in entry.path:
            leaf = leaf[part]
        arrays[entry.name] = np.array(_to_layout(np.asarray(leaf), entry, player), order="C")
        if entry.name.endswith(".running_var"):
            counter = entry.name.removesuffix("running_var") + "num_batches_tracked"
            arrays[counter] = np.array(num_batches, np.int64)
    return arrays


def from_pytorch(
    config: dcgan.Config,
    player: Player,
    arrays: Arrays,
    image_shape: ImageShape = (64, 64, 1),
    prefix: str = "main.",
    naming: Naming = "sequence",
) -> Variables:
    """The inverse of `to_pytorch`, for nets of raw images of `image_shape` [H, W, C].

    What PyTorch counted, `num_batches_tracked`, is left out.

    Raises:
        CheckpointError: A name is missing or unknown, or an array has another shape than the
            configuration asks for.
    """
    check_arrays(_expected_shapes(config, player, image_shape, prefix, naming), arrays)
    variables: Variables = {"params": {}, "batch_stats": {}}
    size = dcgan.image_size(image_shape, config.native_size)
    depth = len(dcgan.widths(config, size))
    for entry in _entries(config, player, depth, prefix, naming):
        node = variables
        for part in entry.path[:-1]:
            node = node.setdefault(part, {})
        found = _from_layout(np.asarray(arrays[entry.name]), entry, player)
        node[entry.path[-1]] = np.array(found, order="C")
    return variables


def _expected_shapes(
    config: dcgan.Config,
    player: Player,
    image_shape: ImageShape,
    prefix: str,
    naming: Naming,
) -> dict[str, tuple[int, ...]]:
    """The shapes of a net's arrays by PyTorch's names."""
    state = jax.eval_shape(dcgan.learner(config, image_shape).init, jax.random.key(0))
    made = state.params[player]
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.bool_), made)
    arrays = to_pytorch(config, player, zeros, prefix, naming=naming)
    return {name: a.shape for name, a in arrays.items()}


def check_arrays(expected: Mapping[str, tuple[int, ...]], arrays: Arrays) -> None:
    """Raises CheckpointError for the first array that is missing, unknown or of another shape."""
    for name in [*expected, *arrays]:
        wanted = f"shape {list(expected[name])}" if name in expected else "no array of that name"
        found = f"shape {list(arrays[name].shape)}" if name in arrays else "none"
        if wanted != found:
            raise CheckpointError(
                expected=f"{wanted} for '{name}'",
                found=found,
                remedy="give the configuration that the net was made with",
            )
