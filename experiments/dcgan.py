"""DCGANs, on MNIST: the lab's at 64x64, and one that draws digits in minutes on two cores.

    python -m experiments.dcgan

takes the preset `fast` on a CPU: images of 28x28 as they are, channels 32 to 128, batch 64, Adam at
5e-4 with beta1 0.5, 8 epochs, noise on all that D sees, samples from a corrected moving average of
G, in 8 minutes on two cores. Expected on MNIST: Frechet distance 5.8 and 6.0, over three seeds on
each of two processors (docs/results/dcgan.md and dcgan-fast.md), 1.9 with `--conditional`; of seed
0 samples at a mean distance of 4.82 to the nearest training image (test images 4.24), spread 0.99.
`--quick` has the same noise, average and smoothing on the digits, at a quarter of the channels,
with batches of 32 at 1e-3 for 60 epochs. On fewer than 10,000 images of the user's own the preset
is `few`.

On an accelerator, or typed, the preset is `lab` (channels 64 to 512, batch 128, 20 epochs; Adam
2e-4 with beta1 0.5, as in the DCGAN paper, because at the lab's 1e-3 D wins after some epochs:
docs/results/gan.md). An epoch takes 7 to 17 minutes on two cores (docs/results/speed-family26.md
and speed.md); with `--width 0.25` it is 2 minutes. Expected of seed 0 on MNIST: distance 4.62 after
6 epochs (test images 3.87), spread 0.88; of `--width 0.25` after 20 epochs and 41 minutes 4.59 and
0.94. With `--instance-noise 0.5 --learning-rate 5e-4 --label-smoothing 0.1 --ema-decay 0.995
--ema-corrected` 10 epochs have a Frechet distance of 11.1, where the preset has 31.6 to its end
with the average alone (docs/results/dcgan.md).

Every 100 batches it shows D's and G's loss, D(x) and D(G(z)), and draws 16 fixed codes into
`progress/`. The page answers the lab's tasks 5.1 and the notebooks' questions (5.4); `--vae RUN`
shows a VAE's samples beside these, `--conditional` asks the nets for classes, `--study` trains with
other D:G ratios, without batch normalisation, and at 1e-3, each about as long as the run.
`--preset wide` is the notebook's version: 128 to 1024 channels, batch 100, 200 epochs. Besides
the rate, one thing differs from the code of either. In `lab` real images are in [-1, 1], the range
of the generator's tanh, where the lab leaves them in [0, 1]. In `wide` the scales of batch
normalisation start at N(1, 0.02^2), where the notebook draws them like weights, from N(0, 0.02^2).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax

from experiments.benchmarking import flops
from experiments.benchmarking.baselines import CONVOLUTIONAL
from experiments.lab.gan import dcgan as lab
from experiments.lab.gan import training
from experiments.lab.gan.dcgan import DCGANArgs
from experiments.running import cli
from experiments.running.experiment import Band, Benchmark, Choice, Comparison, Experiment
from experiments.running.session import Session
from jaxgen import data
from jaxgen.data import Dataset
from jaxgen.models import dcgan
from jaxgen.report.page import counted
from jaxgen.training.loop import Result

FEW = 10_000
"""Training images of the user's own below which a run takes `few`, because the epochs of the other
presets would be too few updates."""


@dataclass(frozen=True)
class Args(DCGANArgs):
    """Train the lab's DCGAN and answer its tasks 5.1; --study compares the variants of the lab."""

    preset: str = "lab"
    """Named set of defaults: lab, wide, fast or few; other flags change single values of it. Where
    none is typed it is few for fewer than 10,000 images of the user's own, otherwise fast on a CPU
    and lab on an accelerator. In all, real images are in [-1, 1], where the lab has [0, 1], and the
    scales of batch normalisation start at N(1, 0.02^2), where the notebook of wide has
    N(0, 0.02^2)."""
    epochs: int = 20
    """Passes over the training set."""
    batch_size: int = 128
    """Images per update."""
    study: bool = False
    """Train with two D updates per G update, two G updates per D update, without batch
    normalisation and at the learning rate 1e-3 as well, and compare."""

    shorten: ClassVar[str] = "--width, --epochs or --quick"


_DRAWS: dict[str, Any] = {"label_smoothing": 0.1, "ema_decay": 0.995, "ema_corrected": True}
_NOISY: dict[str, Any] = {"instance_noise": 0.5, **_DRAWS}
"""For digits: on few pictures the noise pays less (docs/results/gan.md)."""
PRESETS = {
    "lab": Args(),
    "wide": Args(
        preset="wide",
        epochs=200,
        batch_size=100,
        model=dcgan.Config(
            base_width=128,
            stem="dense",
            generator_activation="relu",
            use_bias=False,
            fresh_noise=True,
        ),
    ),
    "fast": Args(
        preset="fast",
        epochs=8,
        batch_size=64,
        model=dcgan.Config(width=0.5, native_size=True, learning_rate=5e-4, **_NOISY),
    ),
    "few": Args(
        preset="few",
        epochs=100,
        batch_size=32,
        model=dcgan.Config(width=0.25, learning_rate=5e-4, **_DRAWS),
    ),
}
QUICK = {
    "epochs": 60,
    "batch_size": 32,
    "dataset": "digits",
    "model": {"width": 0.25, "native_size": True, "learning_rate": 1e-3, **_NOISY},
}
EXAMPLES = {
    "python -m experiments.dcgan": "digits of MNIST: 8 minutes",
    "python -m experiments.dcgan --preset lab": "the lab's DCGAN: 7 to 17 minutes an epoch",
    "python -m experiments.dcgan --quick": "the whole path on small scans: a minute",
}


def chosen_preset(args: Args, dataset: Dataset) -> Choice:
    """The preset few for fewer than `FEW` images of the user's own; else fast on a CPU, or lab."""
    del args
    num = len(dataset.train.images)
    if num < FEW and dataset.name not in data.NAMES:
        there = f"there {'is' if num == 1 else 'are'} {counted(num, 'training image')}"
        return Choice("few", there, "--preset lab is the lab's")
    if jax.default_backend() == "cpu":
        return Choice("fast", "the device is a CPU", "--preset lab is the lab's, hours on a CPU")
    return Choice("lab", "there is an accelerator", "--preset fast is the one for a CPU")


def train(args: Args, session: Session) -> Result:
    """Trains the DCGAN and draws the images of the fixed codes all along."""
    return training.train(args, session, dcgan.game(args.model, session.image_shape))


def report(args: Args, session: Session, result: Result) -> Path:
    """Answers the lab's questions about one trained DCGAN, returns the page."""
    written = lab.write(args, session, result)
    return lab.compare(args, session, written, train) if args.study else written.page


EXPERIMENT = Experiment(
    *("dcgan", PRESETS, QUICK, train, report),
    choose=chosen_preset,
    band=Band("sample_distance", 0.45),
    benchmark=Benchmark(
        flops=flops.of_dcgan,
        baselines=CONVOLUTIONAL,
        num_images=512,
        presets=("lab", "wide", "fast"),
    ),
    comparison=Comparison(order=5, preset="fast"),
    headlines=("sample_distance", "test_distance", "sample_spread"),
    examples=EXAMPLES,
)

if __name__ == "__main__":
    cli.leave(cli.main(EXPERIMENT))
