"""Inception's features, for an FID that compares with published ones: the extra `fid`.

Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium",
2017: the squared Frechet distance between samples and training images on the 2,048 pooled features
of Inception-v3 with the weights of December 2015. The net, its way of resizing, which the number
depends on, and the weights are those of torch-fidelity, which reproduces the first program.

The weights come from PyTorch's cache, or the network if they are not there yet, and are used if
their sha256 is the known one: they are a pickle.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from jaxgen.data import Dataset
from jaxgen.errors import DataError, DataMissingError, SettingError
from jaxgen.evaluation.subset import subset
from jaxgen.files import file_digest
from jaxgen.images import in_unit_range

logger = logging.getLogger("jaxgen")

DIGEST = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""The sha256 of the weights."""
NUM_REAL = 50_000
"""Training images that samples are compared with, at most."""
BLOCK = 50
"""Images computed at once."""

Features = Float[np.ndarray, "num 2048"]


@dataclass(frozen=True, eq=False)
class Inception:
    """The features of a data set's training images, and those of any images of its kind."""

    extract: Callable[[np.ndarray], Features]
    """Images [num, H, W, C], raw or in [0, 1], of one channel or three -> features."""
    training_images: UInt8[np.ndarray, "num height width channels"]
    """At most `NUM_REAL`."""

    @cached_property
    def real(self) -> Features:
        """The features of the training images; on a CPU some minutes per 10,000 of them."""
        logger.info("computing Inception's features of %d images", len(self.training_images))
        return self.extract(self.training_images)


def load(dataset: Dataset) -> Inception:
    """Inception for a data set; nothing is computed yet.

    Errors:
        SettingError: the extra is not installed, or the images are neither grey nor of three
            colours.
        DataMissingError: the weights are not there, and cannot be downloaded.
        DataError: they are other weights.
    """
    if dataset.image_shape[2] not in (1, 3):
        raise SettingError(
            expected="grey images or three colours for --fid",
            found=f"{dataset.image_shape[2]} channels",
            remedy="leave --fid out",
        )
    return Inception(extractor(), subset(dataset).train.images[:NUM_REAL])


def extractor() -> Callable[[np.ndarray], Features]:
    """The function from images to features; errors as `load`."""
    try:
        import torch
        from torch_fidelity import feature_extractor_inceptionv3 as fidelity
    except ImportError as error:
        raise SettingError(
            expected="PyTorch and torch-fidelity for --fid",
            found=str(error),
            remedy="type pip install -e '.[fid]', or leave --fid out",
        ) from error
    path = _weights(torch, fidelity.URL_INCEPTION_V3)
    net: Any = fidelity.FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
    )

    def extract(images: np.ndarray) -> Features:
        found = []
        for start in range(0, len(images), BLOCK):
            rows = torch.from_numpy(as_input(images[start : start + BLOCK]))
            with torch.no_grad():
                found.append(net(rows)[0].numpy())
        return np.concatenate(found)

    return extract


def as_input(images: np.ndarray) -> UInt8[np.ndarray, "num 3 height width"]:
    """Images, raw or in [0, 1], as Inception takes them: bytes, three channels, channels first."""
    raw = np.asarray(images)
    if raw.dtype != np.uint8:
        raw = np.rint(np.clip(in_unit_range(raw), 0.0, 1.0) * 255.0).astype(np.uint8)
    colour = np.broadcast_to(raw, (*raw.shape[:3], 3))
    return np.ascontiguousarray(colour.transpose(0, 3, 1, 2))


def _weights(torch: Any, url: str) -> Path:
    """The file of the weights in PyTorch's cache, downloaded if it is not there; see `load`."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        logger.info("downloading Inception's weights to %s", path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=DIGEST, progress=False)
        except (OSError, RuntimeError) as error:  # the second is another digest
            raise DataMissingError(
                expected=f"Inception's weights in {path}",
                found=f"none, and no download: {error}",
                remedy=f"put {url} there, or leave --fid out",
            ) from error
    if (digest := file_digest(path)) != DIGEST:
        raise DataError(
            expected=f"Inception's weights with sha256 {DIGEST[:16]} in {path}",
            found=digest[:16],
            remedy="remove the file, so that it is downloaded again",
        )
    return path
