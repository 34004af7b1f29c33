"""The lab's fully connected GANs: `deep` and `small`, on MNIST at 28x28.

    python -m experiments.gan
    python -m experiments.gan --preset small

The first trains G 100-256-512-1024-784 against D 784-1024-512-256-1 (Adam 2e-4, batch 100, 200
epochs), the second G 64-256-256-784 against D 784-256-256-1; both draw new noise for G's update, as
both notebooks do. Every 100 batches it shows D's and G's
loss, D(x) and D(G(z)), and draws 16 fixed codes into `progress/`; the page answers the notebooks'
questions (5.4): failures, samples, neighbours, walks, sums of codes, D's filters.

An epoch of `deep` takes 22 s on two cores without AVX-512, of `small` 5 s (docs/results/speed.md),
so all 200 take 72 and 17 minutes of training. Expected on MNIST with seed 0 and `--epochs 100`:
mean distance of samples to the nearest training image 4.93 with `deep` and 4.14 with `small` (test
images 4.24; docs/results/gan.md); 200 epochs are not measured.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

from experiments.benchmarking import flops
from experiments.benchmarking.baselines import DENSE
from experiments.lab.gan import tasks, training
from experiments.lab.gan.training import GANArgs
from experiments.running import cli
from experiments.running.experiment import Band, Benchmark, Comparison, Experiment
from experiments.running.session import Session
from jaxgen.models import gan
from jaxgen.training.loop import Result


@dataclass(frozen=True)
class Args(GANArgs):
    """Train one of the lab's fully connected GANs and show what the notebooks ask for."""

    preset: str = "deep"
    """Named set of defaults: deep or small; other flags change single values of it. The notebook
    of deep starts its layers by --init-fan out, and the second argument of its dropout, 0.3, is the
    share of D's units that stays: --dropout 0.7."""
    epochs: int = 200
    """Passes over the training set."""
    model: gan.Config = field(default_factory=lambda: gan.Config(fresh_noise=True))


PRESETS = {
    "deep": Args(),
    "small": Args(
        preset="small",
        model=gan.Config(
            latent_size=64,
            generator_sizes=(256, 256),
            discriminator_sizes=(256, 256),
            generator_activation="relu",
            dropout=0.0,
            fresh_noise=True,
        ),
    ),
}
QUICK = {
    "epochs": 100,
    "batch_size": 50,
    "dataset": "digits",
    "model": {  # with the presets' own, so short a run collapses, or ends in speckles
        "generator_sizes": (256, 512),
        "discriminator_sizes": (512, 256),
        "dropout": 0.0,
        "learning_rate": 5e-4,
        "beta1": 0.5,
        "label_smoothing": 0.1,
        "ema_decay": 0.99,
        "ema_corrected": True,
    },
}
EXAMPLES = {
    "python -m experiments.gan": "a fully connected GAN on MNIST: 72 minutes",
    "python -m experiments.gan --epochs 100": "half as long: 36 minutes",
    "python -m experiments.gan --preset small": "a smaller one: 17 minutes",
    "python -m experiments.gan --quick": "the whole path on small scans: half a minute",
}


def describe(config: gan.Config, num_pixels: int) -> str:
    """The model in a line."""
    generator = (config.latent_size, *config.generator_sizes, num_pixels)
    discriminator = (num_pixels, *config.discriminator_sizes, 1)
    nets = f"G {'-'.join(map(str, generator))} ({config.generator_activation}), "
    nets += f"D {'-'.join(map(str, discriminator))} (dropout {config.dropout:g})"
    nets += ", start by outputs" if config.init_fan == "out" else ""
    return training.describe(config, nets)


def train(args: Args, session: Session) -> Result:
    """Trains the GAN and draws the images of the fixed codes all along."""
    return training.train(args, session, gan.game(args.model, session.image_shape))


def report(args: Args, session: Session, result: Result) -> Path:
    """Answers the notebooks' questions about one trained GAN, returns the page."""
    game = gan.game(args.model, session.image_shape)
    title = f"GAN ({args.preset}) on {session.dataset.name}"
    model = describe(args.model, math.prod(session.image_shape))
    return tasks.write(args, session, result, game, title, model).page


EXPERIMENT = Experiment(
    *("gan", PRESETS, QUICK, train, report),
    band=Band("sample_distance", 0.49),
    benchmark=Benchmark(flops=flops.of_gan, baselines=DENSE, num_images=12_000),
    comparison=Comparison(order=4, flags=("--epochs=100",)),
    headlines=("sample_distance", "test_distance", "sample_spread"),
    examples=EXAMPLES,
)

if __name__ == "__main__":
    cli.leave(cli.main(EXPERIMENT))
