"""Every model's parameters as the state dicts of plain PyTorch modules, and back.

The modules are written out in docs/pytorch.md. A layer is a `Linear`, `Conv2d`, `ConvTranspose2d`
or `Embedding`, and an image [C, H, W], flattened as PyTorch flattens it. Names of one model:

    RBM         W [H, V], h_bias [H], v_bias [V]; pixel_mean, pixel_std [V] of Gaussian units;
                U [H, C], y_bias [C] of label units
    DBN         layers.0, layers.1, ...: an RBM each, the lowest first
    DBM         W1 [H1, V], W2 [H2, H1], v_bias [V], h1_bias [H1], h2_bias [H2]
    wake-sleep  recognition.0, ... and generative.0, ...: Linear, the lowest first; top: an RBM;
                pixel_mean, pixel_std
    VAE         encoder, decoder: Sequential; encoder_label, decoder_label: Embedding
    GAN         of each player main: Sequential; embedding or projection: Embedding
    DCGAN       those of `jaxgen.export.pytorch`

Every second place in a Sequential is an activation, and of a GAN's discriminator every third a
Dropout behind it. The generator is the one that samples: the moving average where there is one.
A run that lacks its discriminator has the generator alone.
"""

from collections.abc import Callable, Mapping
from functools import singledispatch
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from numpy.typing import NDArray

from jaxgen import models
from jaxgen.errors import SettingError
from jaxgen.export.pytorch import KERNEL, check_arrays, from_pytorch, to_pytorch
from jaxgen.export.safetensors import flatten
from jaxgen.images import ImageShape
from jaxgen.models import dbm, dbn, dcgan, gan, rbm, vae, wake_sleep

NumpyArray: TypeAlias = NDArray[Any]
Modules: TypeAlias = dict[str, dict[str, NumpyArray]]
"""State dicts by the module's name: of a GAN generator and discriminator, else the model's own."""


class Layout(NamedTuple):
    """How an array lies in PyTorch: from our layout, and back."""

    to: Callable[[NumpyArray], NumpyArray]
    back: Callable[[NumpyArray], NumpyArray]


class Entry(NamedTuple):
    """One of our arrays: its dotted name, what PyTorch calls it, and its layout there."""

    ours: str
    theirs: str
    layout: Layout


SAME = Layout(lambda array: array, lambda array: array)
LINEAR = Layout(np.transpose, np.transpose)
"""A kernel [inputs, outputs] as weights [outputs, inputs]."""
CONVOLUTION = Layout(
    lambda array: array.transpose(KERNEL), lambda array: array.transpose(np.argsort(KERNEL))
)


def _then(first: Layout, second: Layout) -> Layout:
    """One layout after another."""
    return Layout(lambda a: second.to(first.to(a)), lambda a: first.back(second.back(a)))


def _channels_first(shape: tuple[int, ...], axis: int) -> Layout:
    """An axis that is [..., H, W, C] flattened, as [..., C, H, W] flattened."""
    moved = (*shape[:-3], shape[-1], *shape[-3:-1])

    def change(array: NumpyArray, given: tuple[int, ...], source: int, target: int) -> NumpyArray:
        rows = np.moveaxis(array, axis, 0)
        parts = np.moveaxis(rows.reshape(*given, *rows.shape[1:]), source, target)
        return np.moveaxis(parts.reshape(rows.shape), 0, axis)

    last, third = len(shape) - 1, len(shape) - 3
    return Layout(
        lambda array: change(array, shape, last, third),
        lambda array: change(array, moved, third, last),
    )


def _rbm(
    ours: str, theirs: str, params: Mapping[str, Any], image_shape: ImageShape | None
) -> list[Entry]:
    """An RBM's arrays; `image_shape` where its visible units are pixels."""
    pixels = _channels_first(image_shape, 0) if image_shape else SAME
    found = {
        "w": ("W", _then(pixels, LINEAR)),
        "b_visible": ("v_bias", pixels),
        "b_hidden": ("h_bias", SAME),
        "pixel_mean": ("pixel_mean", pixels),
        "pixel_std": ("pixel_std", pixels),
        "w_labels": ("U", LINEAR),
        "b_labels": ("y_bias", SAME),
    }
    return [
        Entry(ours + name, theirs + found[name][0], found[name][1])
        for name in found
        if name in params
    ]


def _linear(
    ours: str, theirs: str, inputs: Layout = SAME, outputs: tuple[int, ...] = ()
) -> list[Entry]:
    """A dense layer's arrays; its `outputs` where they are an image, [..., H, W, C]."""
    columns = _channels_first(outputs, 1) if outputs else SAME
    bias = _channels_first(outputs, 0) if outputs else SAME
    weight = _then(_then(inputs, columns), LINEAR)
    return [
        Entry(f"{ours}.kernel", f"{theirs}.weight", weight),
        Entry(f"{ours}.bias", f"{theirs}.bias", bias),
    ]


@singledispatch
def entries(config: Any, image_shape: ImageShape, shapes: Any) -> dict[str, list[Entry]]:
    """The arrays of each module of a model; no modules of one that is not known here.

    Args:
        config: the model's settings, by whose class it is found.
        image_shape: [H, W, C] of the data set's images.
        shapes: the parameters, or what has their structure.
    """
    del config, image_shape, shapes
    return {}


@entries.register
def _(config: rbm.Config, image_shape: ImageShape, shapes: Any) -> dict[str, list[Entry]]:
    del config
    return {"rbm": _rbm("", "", shapes, image_shape)}


@entries.register
def _(config: dbn.Config, image_shape: ImageShape, shapes: Any) -> dict[str, list[Entry]]:
    del config
    found: list[Entry] = []
    for index, layer in enumerate(shapes):
        pixels = None if index else image_shape
        found += _rbm(f"{index}.", f"layers.{index}.", layer, pixels)
    return {"dbn": found}


@entries.register
def _(config: dbm.Config, image_shape: ImageShape, shapes: Any) -> dict[str, list[Entry]]:
    del config, shapes
    pixels = _channels_first(image_shape, 0)
    return {
        "dbm": [
            Entry("w1", "W1", _then(pixels, LINEAR)),
            Entry("w2", "W2", LINEAR),
            Entry("b_visible", "v_bias", pixels),
            Entry("b_hidden1", "h1_bias", SAME),
            Entry("b_hidden2", "h2_bias", SAME),
        ]
    }


@entries.register
def _(config: wake_sleep.Config, image_shape: ImageShape, shapes: Any) -> dict[str, list[Entry]]:
    found: list[Entry] = []
    for index in range(len(config.hidden_sizes) - 1):
        pixels = SAME if index else _channels_first(image_shape, 0)
        weight = _then(pixels, LINEAR)  # of Linear(V, H)
        found += [
            Entry(f"recognition.{index}.w", f"recognition.{index}.weight", weight),
            Entry(f"recognition.{index}.b_hidden", f"recognition.{index}.bias", SAME),
            Entry(f"generative.{index}.w", f"generative.{index}.weight", pixels),
            Entry(f"generative.{index}.b_visible", f"generative.{index}.bias", pixels),
        ]
        for name in ("pixel_mean", "pixel_std"):
            if name in shapes.generative[index]:
                found.append(Entry(f"generative.{index}.{name}", name, pixels))
    return {"wake_sleep": found + _rbm("top.", "top.", shapes.top, None)}


@entries.register
def _(config: vae.Config, image_shape: ImageShape, shapes: Any) -> dict[str, list[Entry]]:
    del shapes
    nets = vae.nets(config, image_shape)
    outputs = (nets.num_outputs, *image_shape)
    found, labels = [], SAME
    if nets.config.architecture == "dense":
        last = len(config.hidden_sizes)
        for index in range(last + 1):
            pixels = SAME if index else _channels_first(image_shape, 0)
            place = f"{2 * index}"
            found += _linear(f"encoder.dense_{index}", f"encoder.{place}", pixels)
            image = outputs if index == last else ()
            found += _linear(f"decoder.dense_{index}", f"decoder.{place}", outputs=image)
    else:
        num = len(config.channels)
        height, width = (side >> num for side in nets.padded_size)
        small = (height, width, config.channels[-1])
        flattened, labels = _channels_first(small, 0), _channels_first(small, 1)
        for index in range(num):
            for net, behind in (("encoder", 2 * index), ("decoder", 3 + 2 * index)):
                ours, theirs = f"{net}.conv_{index}", f"{net}.{behind}"
                found.append(Entry(f"{ours}.kernel", f"{theirs}.weight", CONVOLUTION))
                found.append(Entry(f"{ours}.bias", f"{theirs}.bias", SAME))
        found += _linear("encoder.dense_0", f"encoder.{2 * num + 1}", flattened)
        found += _linear("decoder.dense_0", "decoder.0", outputs=small)
    if config.num_classes:
        found.append(Entry("encoder.label.embedding", "encoder_label.weight", SAME))
        found.append(Entry("decoder.label.embedding", "decoder_label.weight", labels))
    return {"vae": found}


@entries.register
def _(config: gan.Config, image_shape: ImageShape, shapes: Any) -> dict[str, list[Entry]]:
    generator = f"{'average' if 'average' in shapes else 'generator'}.params."
    discriminator = "discriminator.params."
    drawn: list[Entry] = []
    last = len(config.generator_sizes)
    for index in range(last + 1):
        image = image_shape if index == last else ()
        drawn += _linear(f"{generator}Dense_{index}.dense", f"main.{2 * index}", outputs=image)
    read: list[Entry] = []
    for index in range(len(config.discriminator_sizes) + 1):
        pixels = SAME if index else _channels_first(image_shape, 0)
        read += _linear(f"{discriminator}Dense_{index}.dense", f"main.{3 * index}", pixels)
    if config.num_classes:
        drawn.append(Entry(f"{generator}embedding.embedding", "embedding.weight", SAME))
        read.append(Entry(f"{discriminator}projection.embedding", "projection.weight", SAME))
    return {"generator": drawn} | ({"discriminator": read} if shapes["discriminator"] else {})


def to_modules(config: Any, image_shape: ImageShape, params: Any) -> Modules:
    """A model's parameters as state dicts that PyTorch loads with `strict=True`.

    Args:
        config: the model's settings.
        image_shape: [H, W, C] of the data set's images.
        params: those of the learner's state.
    """
    if isinstance(config, dcgan.Config):
        drawn = to_pytorch(config, "generator", params.get("average", params["generator"]))
        if not params["discriminator"]:
            return {"generator": drawn}
        read = to_pytorch(config, "discriminator", params["discriminator"])
        return {"generator": drawn, "discriminator": read}
    flat = flatten(params)
    return {
        module: {
            entry.theirs: np.array(entry.layout.to(np.asarray(flat[entry.ours])), order="C")
            for entry in found
        }
        for module, found in entries(config, image_shape, params).items()
    }


def from_modules(
    config: Any, image_shape: ImageShape, modules: Mapping[str, Mapping[str, NumpyArray]]
) -> Any:
    """The inverse of `to_modules`; a generator's moving average and the generator are then one.

    Errors:
        SettingError: the model has no modules here.
        CheckpointError: a name is missing or unknown, or an array has another shape than the
            settings ask for.
    """
    if isinstance(config, dcgan.Config):
        params: dict[str, Any] = {
            "generator": from_pytorch(config, "generator", modules["generator"], image_shape),
            "discriminator": from_pytorch(
                config, "discriminator", modules["discriminator"], image_shape
            ),
        }
        return params | ({"average": params["generator"]} if config.ema_decay else {})
    name = type(config).__module__.rpartition(".")[2]
    shapes = models.params_shape(name, config, image_shape)
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.bool_), shapes)
    expected, flat = to_modules(config, image_shape, zeros), {}
    for module, found in entries(config, image_shape, shapes).items():
        arrays = modules.get(module, {})
        check_arrays({each: a.shape for each, a in expected[module].items()}, arrays)
        for entry in found:
            array = np.array(entry.layout.back(np.asarray(arrays[entry.theirs])), order="C")
            flat[entry.ours] = flat[entry.ours.replace("average.", "generator.", 1)] = array
    if not expected:
        raise SettingError(
            expected="a model with modules of PyTorch",
            found=name,
            remedy="add its names to jaxgen/export/modules.py",
        )
    leaves = [flat[each] for each in flatten(shapes)]
    return jax.tree.unflatten(jax.tree.structure(shapes), leaves)
