"""What no model should miss, and what none can pass: the rows without a run folder.

Real images in the place of samples, a mixture of Bernoullis, whose likelihood is exact, and uniform
noise. Each is measured once and kept in the folder of the comparison.
"""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.comparison import yardstick
from experiments.comparison.examined import Likelihood, binary_input, in_size, mean_of
from experiments.comparison.judge import Judge
from experiments.comparison.measures import Measures, Settings, as_json, identity, kept
from experiments.comparison.probes import pixels, probe_table
from experiments.running.artifacts import NUM_SAMPLES
from jaxgen.data import Dataset
from jaxgen.files import appearing_whole, write_json
from jaxgen.learner import named_key
from jaxgen.models import mixture

logger = logging.getLogger("jaxgen")


class Floor(NamedTuple):
    """A row of the table: what it was measured at, and the images to show."""

    measures: Measures
    images: np.ndarray


class _Given(NamedTuple):
    """What stands in the place of a model."""

    images: np.ndarray
    likelihoods: tuple[Likelihood, ...] = ()


def _mixture(dataset: Dataset, num: int) -> _Given:
    """The published baseline, with fewer components where the data set is small."""
    images = dataset.train.images
    config = mixture.Config(num_components=min(500, len(images) // 100))
    key = named_key(jax.random.key(0), "mixture")
    params = mixture.fit(config, images, named_key(key, "fit"))
    test = np.asarray(binary_input(dataset.test.images, "sample"))
    blocks = np.array_split(test, -(-len(test) // 1000))
    values = [mixture.log_likelihood(params, jnp.asarray(x)) for x in blocks]
    drawn = mixture.sample(params, named_key(key, "sample"), num)
    note = f"{config.num_components} components, {config.num_iterations} iterations of EM"
    likelihood = mean_of(jnp.concatenate(values), "exact", note=note)
    return _Given(np.asarray(drawn).reshape(-1, *images.shape[1:]), (likelihood,))


def _noise(dataset: Dataset, num: int) -> _Given:
    """Every pixel uniform; as a model of binary pixels that is a fair coin each."""
    shape = dataset.train.images.shape[1:]
    drawn = np.random.default_rng(0).random((num, *shape), dtype=np.float32)
    return _Given(drawn, (Likelihood("exact", -float(np.log(2)) * drawn[0].size, 0.0),))


def _training_images(dataset: Dataset, num: int) -> _Given:
    """Real images that a model could at best have drawn; they are copies, and are measured so."""
    return _Given(dataset.train.images[: -yardstick.num_held_out(dataset)][:num])


def _there_and_back(side: int, dataset: Dataset, num: int) -> _Given:
    """Training images enlarged and shrunk again, as a model's larger samples are shrunk."""
    images = _training_images(dataset, num).images / np.float32(255)
    height, width, num_channels = images.shape[1:]
    back = []
    for block in np.array_split(images, max(1, len(images) // 500)):
        shape = (len(block), side, side, num_channels)
        larger = jax.image.resize(jnp.asarray(block), shape, "bilinear", antialias=False)
        back.append(np.asarray(in_size(larger, (height, width))))
    return _Given(np.concatenate(back))


def _kept(name: str, folder: Path, compute: Callable[[], Floor], of: dict[str, object]) -> Floor:
    """A floor from the folder, or computed and left there."""
    measures, sheet = folder / f"{name}.json", folder / f"{name}.npz"
    if (found := kept(measures, of)) and sheet.is_file():
        return Floor(found, np.load(sheet)["images"])
    logger.info("measuring %s", name.replace("_", " "))
    computed = compute()
    with appearing_whole(sheet) as file:
        np.savez_compressed(file, images=computed.images)
    write_json(measures, computed.measures)
    return computed


def floors(
    dataset: Dataset, judged: Judge, settings: Settings, folder: Path, sides: set[int]
) -> dict[str, Floor]:
    """The rows by their names; `sides` are the sizes of samples that had to be shrunk."""
    of = identity(judged, dataset, settings, "")

    def real() -> Floor:
        features = {"pixels": (pixels(dataset.train.images), pixels(dataset.test.images))}
        probes = probe_table(features, dataset, settings.num_labels)
        measured = yardstick.measure_test(judged, dataset)
        images = dataset.test.images[:NUM_SAMPLES] / np.float32(255)
        return Floor(as_json(of, [], measured, probes), images)

    def as_samples(given: Callable[[Dataset, int], _Given]) -> Floor:
        found = given(dataset, settings.num_samples)
        measured = yardstick.measure(judged, found.images, dataset)
        scale = np.float32(255 if found.images.dtype == np.uint8 else 1)
        shown = found.images[:NUM_SAMPLES] / scale
        return Floor(as_json(of, list(found.likelihoods), measured, []), shown)

    computed: dict[str, Callable[[], Floor]] = {
        "real test images": real,
        "real training images": partial(as_samples, _training_images),
        **{
            f"training images at {side}x{side} and back": partial(
                as_samples, partial(_there_and_back, side)
            )
            for side in sorted(sides)
        },
        "mixture of Bernoullis": partial(as_samples, _mixture),
        "uniform noise": partial(as_samples, _noise),
    }
    return {
        name: _kept(name.replace(" ", "_"), folder, compute, of)
        for name, compute in computed.items()
    }
