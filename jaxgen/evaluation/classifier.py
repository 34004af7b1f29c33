"""The classifier of a data set: a LeNet whose hidden units are the features samples have.

    [B, H, W, C] -> conv 5x5, pool -> conv 5x5, pool -> dense -> dense (features) -> logits

as LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition",
1998, section II.B, with ReLU for tanh, maxima for means in the pools, and a softmax for the
distances at the end. Large images have more of the convolutions, small ones fewer. It is trained
with labels, so it is no `Learner`.

`load` trains it once for each data set. Its weights are kept beside the data, in a file named after
what they depend on: the data's digest and the net's settings. A file is used only if its own sha256
matches; else the net is trained again.

Where there are no labels, or the net reads too few test images, the same net with random weights
stands in: Naeem et al., "Reliable fidelity and diversity metrics for generative models", 2020, find
features of a random convolutional net more sensible than Inception's on images that are unlike
ImageNet's. They see edges, colours and their places, and no classes.
"""

import hashlib
import logging
import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.errors import FlaxError
from jaxtyping import Array, Bool, Float, Int32, UInt8

from jaxgen import data
from jaxgen.data import Dataset
from jaxgen.errors import (
    CheckpointError,
    SettingError,
    WriteError,
    check_fields,
    require_above_zero,
    require_layer_sizes,
    require_positive,
)
from jaxgen.evaluation.subset import subset
from jaxgen.export import safetensors
from jaxgen.images import ImageShape, check_images, in_unit_range
from jaxgen.learner import PRNGKey, named_key
from jaxgen.nn.conv_spec import ConvSpec
from jaxgen.nn.layers import Conv, max_pool

logger = logging.getLogger("jaxgen")

SEED = 0
"""Of the training that `load` does."""
BLOCK = 500
"""Images that `classify` computes at once; of large ones fewer."""
BLOCK_PIXELS, CHUNK_BYTES = 1 << 23, 1 << 28
"""Pixels of a block, and bytes as float32 of the blocks that are on the device, at most."""
LEAST_STEPS = 1000
"""Of a training; a small set is visited so much more often."""
LEAST_ACCURACY = 0.7
"""Part of the test images that the net must classify correctly for its features to be used."""

Params = dict[str, Any]


@dataclass(frozen=True)
class Config:
    """The net and its training; numbers measured with it depend on every field."""

    channels: tuple[int, int] = (8, 32)
    """Channels of the two convolutions."""
    num_hidden: int = 120
    """Units of the first dense layer."""
    num_features: int = 84
    """Units of the second dense layer: the features."""
    num_classes: int = 10
    """Labels are below it."""
    num_epochs: int = 6
    """Visits of each training image."""
    batch_size: int = 100
    """Images of a step."""
    learning_rate: float = 2e-3
    """Of Adam at the first step; it falls to 0 along a cosine."""

    def __post_init__(self) -> None:
        check_fields(self)
        names = ("num_hidden", "num_features", "num_classes", "num_epochs", "batch_size")
        require_positive(self, *names)
        require_layer_sizes(self, "channels")
        require_above_zero(self, "learning_rate")


class Classification(NamedTuple):
    """Features and class probabilities of images."""

    features: Float[np.ndarray, "num features"]
    """Units of the last hidden layer, after the ReLU."""
    probs: Float[np.ndarray, "num classes"]
    """p(label | image); each row sums to 1."""


def layer_channels(config: Config, side: int) -> list[int]:
    """Channels of the convolutions for images whose shorter side has so many pixels.

    A convolution and its pool make (side - 4) // 2 of a side. There are those of the settings, as
    far as a pixel is left, and the last one again while the side is 12 or more: 2 of them from 16
    to 51 pixels, 3 for 64, 5 for 256, none below 6.
    """
    found: list[int] = []
    while side >= (6 if len(found) < len(config.channels) else 12):
        found.append(config.channels[min(len(found), len(config.channels) - 1)])
        side = (side - 4) // 2
    return found


class LeNet(nn.Module):
    """Images in [0, 1] to features and logits."""

    config: Config

    @nn.compact
    def __call__(
        self, images: Float[Array, "batch height width channels"]
    ) -> tuple[Float[Array, "batch features"], Float[Array, "batch classes"]]:
        """Features after the ReLU, and logits."""
        x = images
        init = nn.initializers.he_normal()
        for features in layer_channels(self.config, min(images.shape[1:3])):
            x = Conv(features, ConvSpec((5, 5), 1, 0), init)(x)
            x = nn.relu(max_pool(x))
        x = x.reshape(len(x), -1)
        for features in (self.config.num_hidden, self.config.num_features):
            x = nn.relu(nn.Dense(features, kernel_init=init)(x))
        return x, nn.Dense(self.config.num_classes)(x)


def init(config: Config, key: PRNGKey, image_shape: ImageShape) -> Params:
    """Random parameters of the net for images [H, W, C]."""
    params: Params = LeNet(config).init(key, jnp.zeros((1, *image_shape)))["params"]
    return params


@partial(jax.jit, static_argnums=0)
def train(
    config: Config,
    images: UInt8[Array, "num height width channels"],
    labels: Int32[Array, " num"],
    key: PRNGKey,
) -> Params:
    """Minimises the cross entropy of the labels with Adam; all epochs are one program.

    Every epoch visits the images in an order of its own and leaves the last, partial batch out.
    The same key, images and machine give the same bits.
    """
    check_images(images)
    num_batches = len(images) // config.batch_size
    if num_batches == 0:
        raise SettingError(
            expected=f"at least {config.batch_size} training images",
            found=str(len(images)),
            remedy="set a smaller batch size",
        )
    num_steps = num_batches * config.num_epochs
    optimizer = optax.adam(optax.cosine_decay_schedule(config.learning_rate, num_steps))

    def loss(params: Params, rows: Array) -> Array:
        pixels = images[rows].astype(jnp.float32) / 255.0
        _, logits = LeNet(config).apply({"params": params}, pixels)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels[rows])
        return jnp.mean(losses)

    def step(carry: tuple[Params, Any], rows: Array) -> tuple[tuple[Params, Any], None]:
        params, opt_state = carry
        updates, opt_state = optimizer.update(jax.grad(loss)(params, rows), opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), None

    def run_epoch(epoch: Array, carry: tuple[Params, Any]) -> tuple[Params, Any]:
        key_order = jax.random.fold_in(named_key(key, "order"), epoch)
        order = jax.random.permutation(key_order, len(images))
        rows = order[: num_batches * config.batch_size].reshape(num_batches, -1)
        return jax.lax.scan(step, carry, rows)[0]

    _, height, width, channels = images.shape
    params = init(config, named_key(key, "init"), (height, width, channels))
    carry = (params, optimizer.init(params))
    trained: Params = jax.lax.fori_loop(0, config.num_epochs, run_epoch, carry)[0]
    return trained


@partial(jax.jit, static_argnums=0)
def _classify(config: Config, params: Params, blocks: Array) -> tuple[Array, Array]:
    def of_block(block: Array) -> tuple[Array, Array]:
        found: tuple[Array, Array] = LeNet(config).apply({"params": params}, block)  # type: ignore[assignment]
        return found[0], jax.nn.softmax(found[1])

    found: tuple[Array, Array] = jax.lax.map(of_block, blocks)
    return found


def classify(
    config: Config,
    params: Params,
    images: UInt8[np.ndarray, "num height width channels"]
    | Float[np.ndarray | Array, "num height width channels"],
) -> Classification:
    """Features and class probabilities of images: raw, or numbers in [0, 1].

    Errors:
        SettingError: they are neither, or not of the shape that the net was trained on.
    """
    images = np.asarray(images)
    height_width, image = (max(1, math.prod(images.shape[1:end])) for end in (3, None))
    block = max(1, min(BLOCK, BLOCK_PIXELS // height_width))
    chunk = max(1, CHUNK_BYTES // (4 * block * image)) * block
    parts = [
        _classify_chunk(config, params, as_inputs(images[i : i + chunk], chunk), block)
        for i in range(0, max(1, len(images)), chunk)
    ]
    return Classification(*map(np.concatenate, zip(*parts, strict=True)))


def _classify_chunk(
    config: Config, params: Params, pixels: np.ndarray, block: int
) -> Classification:
    """`classify` of as many images as are in memory as float32 at once."""
    widths = ((0, -len(pixels) % block), *[(0, 0)] * (pixels.ndim - 1))
    blocks = np.pad(pixels, widths).reshape(-1, block, *pixels.shape[1:])
    try:
        found = [np.asarray(each) for each in _classify(config, params, blocks)]
    except (FlaxError, IndexError, ValueError) as error:
        raise SettingError(
            expected="images of the shape that the classifier was trained on",
            found=str([*pixels.shape]),
            remedy="scale them, or train one on images of theirs",
        ) from error
    features, probs = (each.reshape(-1, each.shape[-1])[: len(pixels)] for each in found)
    return Classification(features=features, probs=probs)


class Classifier(NamedTuple):
    """A net, and how well it, or a trained one, classifies the data set's own test images."""

    config: Config
    params: Params
    digest: str
    """Of the weights: numbers measured with other weights do not compare."""
    test: Classification
    """Of the test images that are measured."""
    test_correct: Bool[np.ndarray, " tests"]
    """Whether the trained net classifies each of them correctly; the mean is its accuracy. Empty
    where there are no labels."""
    random: bool = False
    """Whether the weights are random ones that stand in, so that the classes mean nothing."""

    def __call__(self, images: np.ndarray) -> Classification:
        """Features and class probabilities of images of the data's size."""
        return classify(self.config, self.params, images)

    @property
    def accuracy(self) -> float:
        """The part of test images that the trained net classifies correctly; NaN without labels."""
        return float(np.mean(self.test_correct)) if self.test_correct.size else float("nan")

    @property
    def num_classes(self) -> int:
        """Number of classes that it tells apart; 0 where its weights are random."""
        return 0 if self.random else self.config.num_classes

    def describe(self) -> str:
        """The features in words: of which net, how well it reads, and what stands in for it."""
        num = f"{len(self.test_correct):,} test images"
        if not self.random:
            return f"LeNet, {self.accuracy:.2%} of {num} correct"
        reads = f"a trained LeNet classifies {self.accuracy:.2%} of {num} correctly, below "
        reads += f"{LEAST_ACCURACY:.0%}"
        why = reads if self.test_correct.size else "there are no labels to train a LeNet with"
        return (
            f"a LeNet with random weights stands in, because {why}: its features see edges, "
            "colours and their places, and no classes, so measures of classes are left out, and "
            "distances compare models of this data set alone"
        )


def config_for(dataset: Dataset) -> Config:
    """The settings of the net for a data set: its classes, and epochs enough for `LEAST_STEPS`.

    The data sets of `data.NAMES` keep the default, with which their published numbers are measured.
    """
    config = Config()
    if dataset.name in data.NAMES:
        return config
    size = min(config.batch_size, len(dataset.train.images))
    return replace(
        config,
        num_classes=max(1, dataset.num_classes),
        batch_size=size,
        num_epochs=max(config.num_epochs, -(-LEAST_STEPS // (len(dataset.train.images) // size))),
    )


def cache_path(dataset: Dataset, config: Config, data_dir: Path | None) -> Path:
    """The file of the weights for this data and these settings."""
    key = hashlib.sha256(f"{dataset.digest} {config!r} {SEED}".encode()).hexdigest()[:16]
    folder, name = data.data_root(data_dir) / "jaxgen", f"{dataset.name}-{key}.safetensors"
    earlier = folder / "judges" / name  # where version 0.1 left them
    return earlier if earlier.is_file() else folder / "classifiers" / name


def _like(dataset: Dataset, config: Config) -> Params:
    _, *shape = dataset.train.images.shape
    like: Params = jax.eval_shape(
        lambda: init(config, jax.random.key(0), (shape[0], shape[1], shape[2]))
    )
    return like


def _read(path: Path, like: Params) -> Params | None:
    """The weights in a file; None where there are none, or, after a warning, no usable ones."""
    if not path.is_file():
        return None
    try:
        arrays = safetensors.load_params(path)
    except CheckpointError as error:
        logger.warning("the classifier is trained again: %s", error)
        return None
    wanted = safetensors.flatten(like)
    shapes = {name: (leaf.shape, leaf.dtype) for name, leaf in wanted.items()}
    if {name: (array.shape, array.dtype) for name, array in arrays.items()} != shapes:
        logger.warning("the classifier is trained again: %s holds another net", path)
        return None
    leaves = [arrays[name] for name in wanted]
    params: Params = jax.tree.unflatten(jax.tree.structure(like), leaves)
    return params


def _train_and_write(path: Path, dataset: Dataset, config: Config) -> Params:
    """Trains the net and writes it; a failure to write costs the next run the time, no more."""
    logger.info("training the classifier of %s, %d epochs", dataset.name, config.num_epochs)
    params: Params = jax.device_get(train(config, *dataset.train, jax.random.key(SEED)))
    metadata = {"dataset": dataset.digest, "config": repr(config), "seed": str(SEED)}
    try:
        safetensors.save_params(path, safetensors.flatten(params), metadata)
    except WriteError as error:
        logger.warning("the classifier could not be kept (%s)", error)
    return params


def load(
    dataset: Dataset, data_dir: Path | None = None, config: Config | None = None
) -> Classifier:
    """The classifier of a data set, from its file or trained now: minutes on a CPU for MNIST.

    Random weights stand in for it where the data set has no two classes, or where it classifies
    less than `LEAST_ACCURACY` of the test images correctly.

    Args:
        dataset: its train split is learned; its test split gives the accuracy. Of a large one the
            part that `subset` gives.
        data_dir: the folder of the data, as for `data.load`.
        config: of the net; None is that of `config_for`.
    """
    dataset = subset(dataset)
    config = config_for(dataset) if config is None else config
    if dataset.num_classes < 2:
        return _with_random_weights(dataset, config, np.empty(0, np.bool_))
    path = cache_path(dataset, config, data_dir)
    params = _read(path, _like(dataset, config))
    if params is None:
        params = _train_and_write(path, dataset, config)
    test = classify(config, params, dataset.test.images)
    correct = np.argmax(test.probs, axis=1) == dataset.test.labels
    if np.mean(correct) < LEAST_ACCURACY:
        return _with_random_weights(dataset, config, correct)
    return Classifier(config, params, safetensors.digest(params), test, correct)


def _with_random_weights(
    dataset: Dataset, config: Config, correct: Bool[np.ndarray, " tests"]
) -> Classifier:
    """The net before its training, in the place of a trained one with these answers."""
    key = named_key(jax.random.key(SEED), "random features")
    params: Params = jax.device_get(init(config, key, dataset.image_shape))
    test = classify(config, params, dataset.test.images)
    found = Classifier(config, params, safetensors.digest(params), test, correct, random=True)
    logger.warning("%s", found.describe())
    return found


def as_inputs(images: np.ndarray, num: int) -> Float[np.ndarray, "num height width channels"]:
    """The first `num` images, raw or in [0, 1], as numbers in [0, 1].

    Errors:
        SettingError: they are neither.
    """
    return in_unit_range(images[:num])
