"""What the yardstick asks of a trained model, whatever it is: samples, features, likelihoods.

Each experiment answers with a function ``examined(run, dataset) -> Examined``; nothing here knows a
model.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from experiments.running.artifacts import task_key
from jaxgen.data import Dataset
from jaxgen.learner import Images, PRNGKey
from jaxgen.random import Binarize, binarize

BLOCK = 500
"""Images computed at a time."""

binarized = jax.jit(binarize, static_argnums=2)


class Effort(NamedTuple):
    """How much is computed for likelihoods."""

    num_chains: int
    """Chains of annealed importance sampling, in each direction."""
    num_temperatures: int
    """Steps from the RBM without weights to the model."""
    num_weights: int
    """Draws per test image in an importance-weighted bound."""


class Likelihood(NamedTuple):
    """A mean log p(v) over the test images, or a bound of it, in nats per image."""

    kind: str
    """Exact, an estimate or a bound, and by what."""
    value: float
    standard_error: float
    """From the choice of test images, with the draws for each of them, and from log Z's chains."""
    log_z_gap: float = 0.0
    """How far log Z by annealing from the other side lies off, in nats; 0 where none is used."""
    binary: Binarize = "sample"
    """How grey pixels were made binary; likelihoods of other pixels are of other data."""
    note: str = ""
    """What else it is uncertain by."""


class Examined(NamedTuple):
    """A trained model as the yardstick sees it."""

    sample: Callable[[PRNGKey, int], Images]
    """Key and number -> images in [0, 1], of the model's own size."""
    features: Mapping[str, Callable[[UInt8[Array, "batch height width channels"]], Array]]
    """Raw images -> [batch, units], by what the units are; the highest ones last."""
    likelihoods: Callable[[Effort], list[Likelihood]]
    """The best one last; none where the model gives none of the pixels a binary one has."""


def binary_input(images: np.ndarray, binary: Binarize) -> Float[Array, "examples visible"]:
    """Images binarised once: the same bits for every model and every measure."""
    return binarized(task_key("test input"), jnp.asarray(images), binary)


def grey(images: UInt8[Array, "batch *shape"], binary: Binarize) -> Float[Array, "batch visible"]:
    """Images as what features are made of: grey, or with the threshold that a model was shown."""
    return binarize(task_key("features"), images, "threshold" if binary == "threshold" else "none")


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


def samples(examined: Examined, key: PRNGKey, num: int, size: tuple[int, int]) -> np.ndarray:
    """The first `num` samples, resized to [H, W]; those of a smaller number are the first ones."""
    draw = jax.jit(examined.sample, static_argnums=1)
    keys = (jax.random.fold_in(key, start) for start in range(0, num, BLOCK))
    return np.concatenate([np.asarray(in_size(draw(key, BLOCK), size)) for key in keys])[:num]


def features(examined: Examined, dataset: Dataset) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What the model makes of training and of test images, by name."""

    def of_all(computed: Callable[[Array], Array], images: np.ndarray) -> np.ndarray:
        padded = np.pad(images, ((0, -len(images) % BLOCK), (0, 0), (0, 0), (0, 0)))
        blocks = [np.asarray(computed(x)) for x in padded.reshape(-1, BLOCK, *images.shape[1:])]
        return np.concatenate(blocks)[: len(images)]

    found = {}
    for name, function in examined.features.items():
        compiled = jax.jit(function)
        splits = (dataset.train.images, dataset.test.images)
        found[name] = (of_all(compiled, splits[0]), of_all(compiled, splits[1]))
    return found


def mean_of(values: Array, kind: str, log_z_error: float = 0.0, **more: Any) -> Likelihood:
    """The mean of a log likelihood over examples; an error of log Z is the same in all of them."""
    host = np.asarray(values, np.float64)
    error = float(np.hypot(host.std(ddof=1) / np.sqrt(len(host)), log_z_error))
    return Likelihood(kind, float(host.mean()), error, **more)
