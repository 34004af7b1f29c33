"""The classifier of a data set: a LeNet whose hidden units are the features samples have.

    [B, H, W, C] -> conv 5x5, pool -> conv 5x5, pool -> dense -> dense (features) -> logits

as LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition",
1998, section II.B, with ReLU for tanh, maxima for means in the pools, and a softmax for the
distances at the end. It is trained with labels, so it is no `Learner`.

`load` trains it once for each data set. Its weights are kept beside the data, in a file named after
what they depend on: the data's digest and the net's settings. A file is used only if its own sha256
matches; else the net is trained again.
"""

import hashlib
import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.errors import ScopeParamShapeError
from jaxtyping import Array, Bool, Float, Int32, UInt8

from jaxgen import data
from jaxgen.data import Dataset
from jaxgen.errors import (
    CheckpointError,
    SettingError,
    WriteError,
    require_above_zero,
    require_layer_sizes,
    require_positive,
)
from jaxgen.export import safetensors
from jaxgen.images import check_images, in_unit_range
from jaxgen.learner import PRNGKey, named_key
from jaxgen.nn.conv_spec import ConvSpec
from jaxgen.nn.layers import Conv

logger = logging.getLogger("jaxgen")

SEED = 0
"""Of the training that `load` does."""
BLOCK = 500
"""Images that `classify` computes at once."""

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


def pooled(x: Float[Array, "batch height width channels"]) -> Float[Array, "batch h w channels"]:
    """Maxima of 2x2 blocks; an odd last row or column is left out."""
    batch, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return jnp.max(x.reshape(batch, height // 2, 2, width // 2, 2, channels), axis=(2, 4))


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
        for features in self.config.channels:
            x = Conv(features, ConvSpec((5, 5), 1, 0), init)(x)
            x = nn.relu(pooled(x))
        x = x.reshape(len(x), -1)
        for features in (self.config.num_hidden, self.config.num_features):
            x = nn.relu(nn.Dense(features, kernel_init=init)(x))
        return x, nn.Dense(self.config.num_classes)(x)


def init(config: Config, key: PRNGKey, image_shape: tuple[int, int, int]) -> Params:
    """Random parameters of the net for images [H, W, C].

    Errors:
        SettingError: nothing of such a small image is left after two convolutions and pools.
    """
    if min(image_shape[:2]) < 16:
        raise SettingError(
            expected="images of 16x16 pixels or more",
            found="x".join(map(str, image_shape[:2])),
            remedy="scale them",
        )
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
    pixels = as_inputs(np.asarray(images), len(images))
    widths = ((0, -len(pixels) % BLOCK), *[(0, 0)] * (pixels.ndim - 1))
    blocks = np.pad(pixels, widths).reshape(-1, BLOCK, *pixels.shape[1:])
    try:
        found = [np.asarray(each) for each in _classify(config, params, blocks)]
    except (ScopeParamShapeError, IndexError, ValueError) as error:
        raise SettingError(
            expected="images of the shape that the classifier was trained on",
            found=str([*pixels.shape]),
            remedy="scale them, or train one on images of theirs",
        ) from error
    features, probs = (each.reshape(-1, each.shape[-1])[: len(pixels)] for each in found)
    return Classification(features=features, probs=probs)


class Classifier(NamedTuple):
    """A trained net, and how well it classifies the data set's own test images."""

    config: Config
    params: Params
    digest: str
    """Of the weights: numbers measured with other weights do not compare."""
    test: Classification
    """Of the test images."""
    test_correct: Bool[np.ndarray, " tests"]
    """Whether it classifies each of them correctly; the mean is its accuracy."""

    def __call__(self, images: np.ndarray) -> Classification:
        """Features and class probabilities of images of the data's size."""
        return classify(self.config, self.params, images)

    @property
    def accuracy(self) -> float:
        """The part of test images that it classifies correctly."""
        return float(np.mean(self.test_correct))


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

    Args:
        dataset: its train split is learned; its test split gives the accuracy.
        data_dir: the folder of the data, as for `data.load`.
        config: of the net; None is the default.
    """
    config = Config() if config is None else config
    path = cache_path(dataset, config, data_dir)
    params = _read(path, _like(dataset, config))
    if params is None:
        params = _train_and_write(path, dataset, config)
    test = classify(config, params, dataset.test.images)
    correct = np.argmax(test.probs, axis=1) == dataset.test.labels
    return Classifier(config, params, safetensors.digest(params), test, correct)


def as_inputs(images: np.ndarray, num: int) -> Float[np.ndarray, "num height width channels"]:
    """The first `num` images, raw or in [0, 1], as numbers in [0, 1].

    Errors:
        SettingError: they are neither.
    """
    return in_unit_range(images[:num])
