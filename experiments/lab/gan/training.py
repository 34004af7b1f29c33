"""A GAN in training: its settings, its measures and pictures meanwhile, the game in words."""

import dataclasses
import functools
import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.lab.drawing import Drawing
from experiments.running.args import RunArgs, condition_on_classes
from experiments.running.places import require_kept
from experiments.running.session import Session
from experiments.running.train import train_in_session
from jaxgen.data import Dataset
from jaxgen.errors import SettingError, require
from jaxgen.evaluation import sample_quality
from jaxgen.evaluation.subset import some
from jaxgen.learner import State, task_key
from jaxgen.models import adversarial
from jaxgen.models.adversarial import Game, Nets
from jaxgen.random import normal
from jaxgen.runs.samples import read_samples
from jaxgen.runs.summary import read_summary
from jaxgen.training.loop import Result

NUM_FIXED = 16
"""Codes whose images are drawn all along the training."""
NUM_MEASURED = 500
"""Samples, and test images, whose distances to the training images are measured."""
BLOCK = 100
"""Codes decoded at a time."""

images_of = jax.jit(adversarial.images_of, static_argnums=0)


@dataclass(frozen=True)
class GANArgs(RunArgs):
    """The flags that shape a GAN and its report."""

    vae: Path | None = None
    """A VAE's run folder, whose samples are shown beside these."""
    conditional: bool = False
    """Show the nets the classes of the images, so that samples can be asked for by class."""
    model: adversarial.Training = field(default_factory=adversarial.Training)

    immaterial: ClassVar[frozenset[str]] = RunArgs.immaterial | {"vae"}

    @property
    def batches_in_step(self) -> int:
        """One for each update of D."""
        return self.model.d_steps

    def fit_to(self, dataset: Dataset) -> Self:
        """The settings with the classes of the data set, if the game is to be conditional."""
        return condition_on_classes(self, self.conditional, dataset)

    def check(self, dataset: Dataset, folder: Path) -> None:
        """Also refuses a --vae that is no finished VAE run, or that --overwrite would remove.

        An iteration takes a mini-batch for each update of D.

        Errors:
            CheckpointError: its samples cannot be read.
        """
        num, least = len(dataset.train.images), 2 * self.batches_in_step
        if num < least:
            raise SettingError(
                expected=f"{least} training images or more, two for each update of D",
                found=str(num),
                remedy="add pictures" + ", or take fewer updates (--d-steps)" * (least > 2),
            )
        super().check(dataset, folder)
        expected = "of 2 or more, because fakes are compared"
        require(self, "batch_size", self.batch_size >= 2, expected)
        if not self.vae:
            return
        _check_vae(self.vae, dataset, self.dataset)
        if self.overwrite:
            require_kept("--vae", self.vae, folder)


def _check_vae(folder: Path, dataset: Dataset, typed: str) -> None:
    """Raises if a folder holds no finished VAE run on the images of the data set, with samples.

    Args:
        folder: of the VAE's run.
        dataset: that of this run.
        typed: what `--dataset` is for it.
    """
    summary, found, name = read_summary(folder), "no finished run", dataset.name
    if summary:
        seeds = ", of several seeds" if "digests" in summary else ""
        found = f"one of {summary['experiment']} on {summary.get('dataset')}{seeds}"
        images = summary.get("data_digest", dataset.digest)  # older runs have none
        if summary.get("dataset") == name and images != dataset.digest:
            found += " with other images"
    if found != f"one of vae on {name}":
        given = name if typed == "auto" else shlex.quote(typed)
        raise SettingError(
            expected=f"a finished run of vae on {name} in the folder of --vae, {folder}",
            found=found,
            remedy=f"type python -m experiments.vae --dataset {given} --out runs/vae-beside and "
            "set --vae runs/vae-beside",
        )
    read_samples(folder)


@partial(jax.jit, static_argnums=1)
def resize(images: Float[Array, "num height width channels"], size: tuple[int, int]) -> Array:
    """Images resized to [H, W], bilinearly; if they shrink, the kernel widens accordingly.

    A run shrinks its samples and the test images beside them by this, so its distances compare with
    each other. `experiments.compare` shrinks cubically and with no wider kernel: its distances are
    others.
    """
    shape = (len(images), *size, images.shape[-1])
    return jax.image.resize(images, shape, "bilinear") if images.shape != shape else images


class TrainedGAN(NamedTuple):
    """A generator and a discriminator in some state, and where their figures go."""

    nets: Nets
    state: State
    drawing: Drawing
    latent_size: int
    num_classes: int = 0

    def codes(self, name: str, num: int) -> Float[Array, "num latent"]:
        """The codes of a task, from N(0, I)."""
        return normal(task_key(name), (num, self.latent_size))

    def images(self, codes: Float[Array, "*grid latent"]) -> np.ndarray:
        """Generated images [*grid, H, W, C] in [0, 1], a block of codes at a time.

        Those of a conditional game take the classes in turn, along the first axis of the grid.
        """
        flat = np.asarray(codes).reshape(-1, codes.shape[-1])
        padded = np.pad(flat, ((0, -len(flat) % BLOCK), (0, 0))).reshape(-1, BLOCK, flat.shape[1])
        labels: list[np.ndarray | None] = [None] * len(padded)
        if self.num_classes:
            rows = np.arange(len(padded) * BLOCK) // math.prod(codes.shape[1:-1])
            labels = [*(rows % self.num_classes).reshape(-1, BLOCK)]
        blocks = zip(padded, labels, strict=True)
        images = np.concatenate([images_of(self.nets, self.state, *block) for block in blocks])
        return images[: len(flat)].reshape(*codes.shape[:-1], *images.shape[1:])

    def fixed(self) -> np.ndarray:
        """Images of the codes that stay the same in every run of a latent size."""
        return self.images(self.codes("fixed noise", NUM_FIXED))

    def as_data(self, images: Any) -> np.ndarray:
        """Images in [0, 1] in the size of the data set."""
        height, width, _ = self.drawing.dataset.test.images.shape[1:]
        return np.asarray(resize(jnp.asarray(images), (height, width)))

    def as_generated(self, images: Any) -> np.ndarray:
        """Raw images of the data set as the discriminator sees them, then in the data's size."""
        return self.as_data(0.5 * self.nets.pixels(jnp.asarray(images)) + 0.5)


def make_evaluator(trained: TrainedGAN) -> Callable[[State], dict[str, float]]:
    """Returns ``state -> measures``, all from the same codes, in evaluation mode.

    Measures:
        sample_distance: mean Euclidean distance of samples to the nearest training image, both in
            the data's size and in [0, 1].
        sample_spread: variance of a pixel over the samples, averaged over pixels, as a part of
            that of test images which were resized in the same way; of training images, where there
            is one test image.
    """
    dataset = trained.drawing.dataset

    @functools.cache  # computed when it is needed, not before the first update
    def real_variance() -> float:
        enough = len(dataset.test.images) > 1
        real = dataset.test if enough else some(dataset, "train", NUM_MEASURED)
        shown = trained.as_generated(real.images[:NUM_MEASURED])
        return max(sample_quality.pixel_variance(shown), 1e-12)

    def evaluate(state: State) -> dict[str, float]:
        samples = trained._replace(state=state)
        images = samples.as_data(samples.images(trained.codes("measured noise", NUM_MEASURED)))
        distances = sample_quality.nearest_distance(images, dataset.train.images)
        return {
            "sample_distance": float(distances.mean()),
            "sample_spread": sample_quality.pixel_variance(images) / real_variance(),
        }

    return evaluate


def train(args: GANArgs, session: Session, game: Game) -> Result:
    """Trains a GAN, measures it and draws the images of the fixed codes all along."""
    drawing = Drawing(session.dataset, session.folder)
    trained = TrainedGAN(game.nets, None, drawing, args.model.latent_size, args.model.num_classes)
    model = dataclasses.asdict(args.model)
    if not args.model.num_classes:
        model.pop("class_code", None)  # of a DCGAN; it is nothing without classes
    return train_in_session(
        args,
        game.learner,
        session,
        model,
        make_evaluator(trained),
        pictures=lambda state: trained._replace(state=state).fixed(),
        shown={"d_loss": "D loss", "g_loss": "G loss", "sample_distance": "distance"},
    )


def describe(config: adversarial.Training, nets: str) -> str:
    """The game in a line, after the nets."""
    words = [
        nets,
        f"codes of {config.latent_size}",
        *([f"conditional on {config.num_classes} classes"] if config.num_classes else []),
        f"{config.loss.replace('_', '-')} loss",
        f"Adam {config.learning_rate:g}, betas {config.beta1:g} and {config.beta2:g}",
    ]
    if (config.d_steps, config.g_steps) != (1, 1):
        words.append(f"{config.d_steps} updates of D and {config.g_steps} of G an iteration")
    if config.label_smoothing:
        words.append(f"target {1 - config.label_smoothing:g} for real images")
    if config.augment:
        words.append(f"{', '.join(config.augment)} before D")
    if config.instance_noise:
        words.append(f"noise of {config.instance_noise:g} on what D sees")
    if config.fresh_noise:
        words.append("new fakes for G's update")
    if config.ema_decay:
        corrected = ", corrected for its start" if config.ema_corrected else ""
        words.append(f"samples from G's moving average, decay {config.ema_decay:g}{corrected}")
    return ", ".join(words)
