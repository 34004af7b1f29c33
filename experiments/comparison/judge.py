"""The LeNet that judges samples of a data set: trained on its train split once, then cached.

The file lies beside the data, named after what it depends on: the data's digest and the net's
settings. It is trusted only if its own sha256 matches; else the net is trained anew.
"""

import hashlib
import logging
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxgen import data
from jaxgen.data import Dataset
from jaxgen.errors import CheckpointError, WriteError
from jaxgen.evaluation import lenet
from jaxgen.evaluation.lenet import Config, Judged
from jaxgen.export import safetensors

logger = logging.getLogger("jaxgen")

SEED = 0


class Judge(NamedTuple):
    """A trained net, and how well it reads the data set's own test images."""

    config: Config
    params: lenet.Params
    digest: str
    """Of the weights: numbers of two judges are not to be compared."""
    test: Judged
    """What it says of the test images."""
    test_correct: np.ndarray
    """Whether it reads each of them right; the mean is its accuracy."""

    def __call__(self, images: np.ndarray) -> Judged:
        """Features and class probabilities of images of the data's size."""
        return lenet.classify(self.config, self.params, images)

    @property
    def accuracy(self) -> float:
        """The part of test images that it reads right."""
        return float(np.mean(self.test_correct))


def cache_path(dataset: Dataset, config: Config, data_dir: Path | None) -> Path:
    """Where the weights for this data and these settings lie."""
    key = hashlib.sha256(f"{dataset.digest} {config!r} {SEED}".encode()).hexdigest()[:16]
    folder = data.data_root(data_dir) / "jaxgen" / "judges"
    return folder / f"{dataset.name}-{key}.safetensors"


def _like(dataset: Dataset, config: Config) -> lenet.Params:
    _, *shape = dataset.train.images.shape
    like: lenet.Params = jax.eval_shape(
        lambda: lenet.init(config, jax.random.key(0), (shape[0], shape[1], shape[2]))
    )
    return like


def _cached(path: Path, like: lenet.Params) -> lenet.Params | None:
    """The cached weights; None, after one line unless there are none, where they cannot be used."""
    if not path.is_file():
        return None
    try:
        arrays = safetensors.load_params(path)
    except CheckpointError as error:
        logger.warning("the judge is trained anew: %s", error)
        return None
    wanted = safetensors.flatten(like)
    shapes = {name: (leaf.shape, leaf.dtype) for name, leaf in wanted.items()}
    if {name: (array.shape, array.dtype) for name, array in arrays.items()} != shapes:
        logger.warning("the judge is trained anew: %s holds another net", path)
        return None
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in wanted])  # type: ignore[no-any-return]


def _trained(path: Path, dataset: Dataset, config: Config) -> lenet.Params:
    """Trains the net and caches it; a failure to write costs the next run the time, no more."""
    logger.info("training the judge of %s, %d epochs", dataset.name, config.num_epochs)
    params = jax.device_get(lenet.train(config, *dataset.train, jax.random.key(SEED)))
    metadata = {"dataset": dataset.digest, "config": repr(config), "seed": str(SEED)}
    try:
        safetensors.save_params(path, safetensors.flatten(params), metadata)
    except WriteError as error:
        logger.warning("the judge could not be cached (%s)", error)
    return params


def judge(dataset: Dataset, data_dir: Path | None = None, config: Config | None = None) -> Judge:
    """The judge of a data set, from the cache or trained now: minutes on a CPU for MNIST.

    Args:
        dataset: whose train split it learns; its test split says how well.
        data_dir: the folder the data lies in, as for `data.load`.
        config: of the net; None is the default.
    """
    config = Config() if config is None else config
    path = cache_path(dataset, config, data_dir)
    params = _cached(path, _like(dataset, config))
    if params is None:
        params = _trained(path, dataset, config)
    test = lenet.classify(config, params, dataset.test.images)
    correct = np.argmax(test.probs, axis=1) == dataset.test.labels
    return Judge(config, params, safetensors.digest(params), test, correct)


def as_inputs(images: np.ndarray, num: int) -> Float[np.ndarray, "num height width channels"]:
    """The first `num` images as numbers in [0, 1]."""
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    return np.asarray(images[:num], np.float32) / np.float32(scale)
