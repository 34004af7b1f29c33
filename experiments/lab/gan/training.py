"""Training a GAN: what is measured and drawn meanwhile, and what both experiments say of it."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.running.artifacts import Drawing, task_key
from experiments.running.session import Session
from experiments.running.train import train_in_session
from jaxgen.data import Dataset
from jaxgen.evaluation import sample_quality
from jaxgen.learner import Learner
from jaxgen.models import adversarial
from jaxgen.models.adversarial import Nets, State
from jaxgen.random import normal
from jaxgen.training.loop import Result

NUM_FIXED = 16
"""Codes whose images are drawn all along the training."""
NUM_MEASURED = 500
"""Samples, and test images, whose distances to the training images are measured."""
BLOCK = 100
"""Codes decoded at a time."""

images_of = jax.jit(adversarial.images_of, static_argnums=0)


@partial(jax.jit, static_argnums=1)
def resized(images: Float[Array, "num height width channels"], size: tuple[int, int]) -> Array:
    """Images resized to [H, W], bilinearly; where they shrink, the kernel widens accordingly.

    A run shrinks its samples and the test images beside them by this, so its distances compare with
    each other. `experiments.compare` shrinks by `examined.in_size`, cubically and with no wider
    kernel: its distances are others.
    """
    shape = (len(images), *size, images.shape[-1])
    return jax.image.resize(images, shape, "bilinear") if images.shape != shape else images


class Trained(NamedTuple):
    """A generator and a discriminator in some state, and where their figures go."""

    nets: Nets
    state: State
    drawing: Drawing
    latent_size: int

    def codes(self, name: str, num: int) -> Float[Array, "num latent"]:
        """The codes of a task, from N(0, I)."""
        return normal(task_key(name), (num, self.latent_size))

    def images(self, codes: Float[Array, "*grid latent"]) -> np.ndarray:
        """Generated images [*grid, H, W, C] in [0, 1], a block of codes at a time."""
        flat = codes.reshape(-1, codes.shape[-1])
        padded = jnp.pad(flat, ((0, -len(flat) % BLOCK), (0, 0))).reshape(-1, BLOCK, flat.shape[1])
        images = np.concatenate([images_of(self.nets, self.state, block) for block in padded])
        return images[: len(flat)].reshape(*codes.shape[:-1], *images.shape[1:])

    def fixed(self) -> np.ndarray:
        """Images of the codes that stay the same in every run of a latent size."""
        return self.images(self.codes("fixed noise", NUM_FIXED))

    def as_data(self, images: Any) -> np.ndarray:
        """Images in [0, 1] in the size of the data set."""
        height, width, _ = self.drawing.dataset.test.images.shape[1:]
        return np.asarray(resized(jnp.asarray(images), (height, width)))

    def as_generated(self, images: Any) -> np.ndarray:
        """Raw images of the data set as the discriminator sees them, then in the data's size."""
        return self.as_data(0.5 * self.nets.pixels(jnp.asarray(images)) + 0.5)


def measurer(trained: Trained) -> Callable[[State], dict[str, float]]:
    """What a GAN is judged by while it trains; all from the same codes, in evaluation mode.

    Returns:
        sample_distance: mean Euclidean distance of samples to the nearest training image, both in
            the data's size and in [0, 1].
        sample_spread: variance of a pixel over the samples, averaged over pixels, as a part of
            that of test images which were resized in the same way.
    """
    dataset = trained.drawing.dataset
    codes = trained.codes("measured noise", NUM_MEASURED)
    spread = sample_quality.pixel_variance(trained.as_generated(dataset.test.images[:NUM_MEASURED]))

    def measured(state: State) -> dict[str, float]:
        samples = trained._replace(state=state)
        images = samples.as_data(samples.images(codes))
        distances = sample_quality.nearest_distance(images, dataset.train.images)
        return {
            "sample_distance": float(distances.mean()),
            "sample_spread": sample_quality.pixel_variance(images) / spread,
        }

    return measured


def train(args: Any, session: Session, learner: Learner, nets: Nets) -> Result:
    """Trains a GAN in the folder of the session; draws the fixed codes' images all along."""
    shown = examined(args, session, nets, None)
    return train_in_session(
        args,
        learner,
        session,
        dataclasses.asdict(args.model),
        measurer(shown),
        pictures=lambda state: shown._replace(state=state).fixed(),
    )


def examined(args: Any, session: Session, nets: Nets, state: State) -> Trained:
    """A state of the nets with what draws it."""
    drawing = Drawing(session.dataset, session.folder)
    return Trained(nets, state, drawing, args.model.latent_size)


def described(config: adversarial.Training, what: str) -> str:
    """The game in a line, after what the nets are."""
    said = [
        what,
        f"codes of {config.latent_size}",
        f"{config.loss.replace('_', '-')} loss",
        f"Adam {config.learning_rate:g}, betas {config.beta1:g} and {config.beta2:g}",
    ]
    if (config.d_steps, config.g_steps) != (1, 1):
        said.append(f"{config.d_steps} updates of D and {config.g_steps} of G an iteration")
    if config.label_smoothing:
        said.append(f"target {1 - config.label_smoothing:g} for real images")
    if config.fresh_noise:
        said.append("new fakes for G's update")
    if config.ema_decay:
        said.append(f"samples from G's moving average, decay {config.ema_decay:g}")
    return ", ".join(said)


def sizes(dataset: Dataset) -> tuple[int, int, int]:
    """[H, W, C] of the data set's images."""
    height, width, num_channels = dataset.train.images.shape[1:]
    return height, width, num_channels
