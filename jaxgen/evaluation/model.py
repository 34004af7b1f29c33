"""A trained model as the evaluation sees it: functions for samples, features and likelihoods.

The measures know no model. `jaxgen.evaluation.adapters` makes an `EvaluatedModel` of the settings
and the parameters of any of them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, UInt8

from jaxgen.data import Dataset
from jaxgen.errors import check_fields, require_whole
from jaxgen.evaluation.ais import LEAST_EFFECTIVE, MAX_DRAWS, MEET, NUM_TEMPERATURES
from jaxgen.images import release
from jaxgen.learner import Images, PRNGKey, RawImages, named_key, task_key
from jaxgen.random import Binarize, binarize

BLOCK = 500
"""Images computed at a time."""
BLOCK_PIXELS = 1 << 21
"""Numbers of the images drawn at a time, at most: a generator has many times as many units."""
PART_NUMBERS = 1 << 23
"""Numbers of the images that draw with one key, at most: 10,000 of MNIST's go at once."""

binarized = jax.jit(binarize, static_argnums=2)


@dataclass(frozen=True)
class LikelihoodBudget:
    """How much is computed for likelihoods.

    Errors:
        SettingError: no whole numbers, or below 1 chain, 1 temperature or 2 draws, or above
            `jaxgen.evaluation.ais.MAX_DRAWS`.
    """

    num_chains: int = 100
    """Chains of annealed importance sampling, in each direction."""
    num_temperatures: int = NUM_TEMPERATURES
    """Steps from the RBM without weights to the model."""
    num_weights: int = 500
    """Draws per image in an importance-weighted bound."""

    def __post_init__(self) -> None:
        check_fields(self)
        for name, least in {"num_chains": 1, "num_temperatures": 1, "num_weights": 2}.items():
            require_whole(name, getattr(self, name), least, MAX_DRAWS)


DEFAULT_BUDGET = LikelihoodBudget()


class Likelihood(NamedTuple):
    """A mean log p(v) over images, or a bound of it, in nats per image."""

    kind: str
    """Exact, an estimate or a bound, and by what."""
    value: float
    standard_error: float | None
    """From the choice of images, with the draws for each of them, and from log Z's chains; None
    where it is not known, because there is one image or log Z has too few effective chains."""
    log_z_gap: float = 0.0
    """How far log Z by annealing from the other side lies off, in nats; 0 where none is used."""
    num_chains: int = 0
    """Chains that estimate log Z; 0 where none do."""
    effective_chains: float | None = None
    """How many of them carry the estimate. Below `jaxgen.evaluation.ais.LEAST_EFFECTIVE` the value
    is no number to rank or to average; None without chains."""
    binary: Binarize = "sample"
    """How grey pixels were made binary, or none of real-valued pixels, whose likelihood is the log
    of a density; likelihoods of other pixels are of other data."""
    note: str = ""
    """The estimate of log Z and its uncertainty, where there is one."""

    @property
    def doubt(self) -> str:
        """Why the value is no likelihood and no bound to rely on; empty where it is one."""
        why = doubt(self.log_z_gap, self.effective_chains)
        return why or (ABOVE_ZERO if is_impossible(self.value, self.binary) else "")


ABOVE_ZERO = "an estimate above 0, which no log probability is"
"""The doubt about a likelihood of discrete pixels that is above 0."""


def is_impossible(value: float, binary: Binarize) -> bool:
    """Whether a log likelihood of discrete pixels is above 0, as no log probability is."""
    return binary != "none" and value > 0.0


def doubt(log_z_gap: float, effective_chains: float | None) -> str:
    """Why log Z by AIS is not to be relied on: its sides do not meet, or few chains carry it."""
    if log_z_gap > MEET:
        return f"the two sides of AIS are {log_z_gap:.1f} nats apart"
    if effective_chains is not None and effective_chains < LEAST_EFFECTIVE:
        return "too few chains carry log Z"
    return ""


class Likelihoods(Protocol):
    """A function from images to their likelihoods."""

    def __call__(
        self,
        images: RawImages,
        budget: LikelihoodBudget = DEFAULT_BUDGET,
        training_images: RawImages | None = None,
        key: PRNGKey | None = None,
    ) -> list[Likelihood]:
        """Computes every kind of likelihood that the model has, the best one last.

        Args:
            images: whose mean log likelihood is computed; binarised as the model's input is.
            budget: how much is computed.
            training_images: where annealing starts; `images` where none are given.
            key: of all draws; without one they are those of the comparison.
        """


class EvaluatedModel(NamedTuple):
    """A trained model; a part is None, or empty, where the model cannot do it."""

    sample: Callable[..., Images]
    """Key, number and perhaps labels -> images in [0, 1], of the model's own size."""
    features: Mapping[str, Callable[[RawImages], Float[Array, "batch units"]]] = {}
    """Raw images -> units, by the name of the units; the highest ones last."""
    likelihoods: Likelihoods | None = None
    """None where the model gives no likelihood of the pixels that it is shown."""
    decode: Callable[[Float[Array, "num units"]], Images] | None = None
    """Codes, or the highest hidden units -> images; nothing is drawn."""
    binary: Binarize = "sample"
    """How grey pixels become its input."""
    code_size: int = 0
    """Numbers of a code that `decode` takes."""
    reconstruct: Callable[[PRNGKey, RawImages], Images] | None = None
    """Key and raw images -> what the model makes of them, in [0, 1]."""
    num_classes: int = 0
    """Classes that `sample` can be asked for; 0 where it ignores labels."""
    classify: Callable[[RawImages], Float[Array, "batch classes"]] | None = None
    """Raw images -> log p(label | image), each row of which sums to 1 when exponentiated."""


def key_of(name: str, key: PRNGKey | None) -> PRNGKey:
    """The key called `name`, derived from `key`; without one that of `jaxgen.learner.task_key`."""
    return task_key(name) if key is None else named_key(key, name)


def binary_input(
    images: RawImages, binary: Binarize, key: PRNGKey | None = None
) -> Float[Array, "examples visible"]:
    """Binarises images once: the same bits for every model and every measure."""
    found: Array = binarized(key_of("test input", key), jnp.asarray(images), binary)
    return found


def feature_input(images: RawImages, binary: Binarize) -> Float[Array, "batch visible"]:
    """Images as features are made of them: grey, or with the threshold of the model's input."""
    method: Binarize = "threshold" if binary == "threshold" else "none"
    return binarize(task_key("features"), jnp.asarray(images), method)


@partial(jax.jit, static_argnums=1)
def in_size(images: Float[Array, "num height width channels"], size: tuple[int, int]) -> Array:
    """Images in [0, 1] in the size [H, W] of the data set, larger ones by cubic interpolation.

    A model learned those from enlarged images, whose finer grid holds nothing that the data's grid
    lacks; so there is nothing to guard against aliasing, and a widened kernel would only blur.
    """
    shape = (len(images), *size, images.shape[-1])
    if images.shape == shape:
        return images
    return jnp.clip(jax.image.resize(images, shape, "cubic", antialias=False), 0.0, 1.0)


def draw_labels(
    key: PRNGKey, num: int, shares: Float[np.ndarray, " classes"]
) -> Int32[np.ndarray, " num"]:
    """Draws the classes of `num` samples, each as often as its share; fewer are the first ones."""
    starts = range(0, num, BLOCK)
    keys = (named_key(jax.random.fold_in(key, start), "labels") for start in starts)
    drawn = [jax.random.categorical(each, jnp.log(shares), shape=(BLOCK,)) for each in keys]
    return np.concatenate(drawn)[:num].astype(np.int32)


def draw_samples(
    model: EvaluatedModel,
    key: PRNGKey,
    num: int,
    size: tuple[int, int],
    labels: Int32[np.ndarray, " num"] | None = None,
) -> Float[np.ndarray, "num height width channels"]:
    """Draws `num` samples and resizes them to [H, W]; those of a smaller number come first.

    With labels, of these classes. Large images are drawn fewer at a time.
    """
    draw = jax.jit(model.sample, static_argnums=1)
    pixels = math.prod(jax.eval_shape(lambda: model.sample(key, 1)).shape)
    block = max(1, min(BLOCK, BLOCK_PIXELS // pixels))
    found = []
    for start in range(0, num, block):
        given = []
        if labels is not None:
            rows = labels[start : start + block]
            given = [jnp.asarray(np.pad(rows, (0, block - len(rows)), "edge"))]
        images = draw(jax.random.fold_in(key, start), block, *given)
        found.append(np.asarray(in_size(images, size)))
    return np.concatenate(found)[:num]


def compute_in_blocks(
    function: Callable[[Array], Array], images: UInt8[np.ndarray, "num height width channels"]
) -> np.ndarray:
    """Applies a function with a row for each image to blocks of `BLOCK` images.

    Of fewer images the block is the next power of two: a few shapes to compile for, and little to
    compute for a few.
    """
    found, size = [], min(BLOCK, 1 << max(0, len(images) - 1).bit_length())
    for start in range(0, len(images), size):
        block = images[start : start + size]
        padded = np.pad(block, ((0, size - len(block)), (0, 0), (0, 0), (0, 0)))
        found.append(np.asarray(function(jnp.asarray(padded)))[: len(block)])
        release(images)
    return np.concatenate(found)


def compute_in_parts(
    function: Callable[[PRNGKey, Array], Array], key: PRNGKey, rows: Array | np.ndarray
) -> Array:
    """``function(key, rows)``, a part of the rows at a time where they are many or large.

    A net's layers take several times the memory of its images. A part has at most `PART_NUMBERS`
    numbers; of several parts each has a key of its own.
    """
    size = max(1, PART_NUMBERS // max(1, math.prod(rows.shape[1:])))
    if len(rows) <= size:
        return function(key, jnp.asarray(rows))
    parts = (
        function(jax.random.fold_in(key, start), jnp.asarray(rows[start : start + size]))
        for start in range(0, len(rows), size)
    )
    return jnp.concatenate([*parts])


def compute_features(
    model: EvaluatedModel, dataset: Dataset
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Computes the features of training and of test images, by name."""
    found = {}
    for name, function in model.features.items():
        compiled = jax.jit(function)
        train = compute_in_blocks(compiled, dataset.train.images)
        found[name] = (train, compute_in_blocks(compiled, dataset.test.images))
    return found


def mean_likelihood(
    values: Float[Array, " examples"], kind: str, log_z_error: float = 0.0, **more: Any
) -> Likelihood:
    """The mean of a log likelihood over examples; an error of log Z is the same in all of them.

    Its error is not known where that of log Z is NaN, and of a single example.
    """
    host = np.asarray(values, np.float64)
    error = None
    if len(host) > 1 and not np.isnan(log_z_error):
        error = float(np.hypot(host.std(ddof=1) / np.sqrt(len(host)), log_z_error))
    return Likelihood(kind, float(host.mean()), error, **more)
