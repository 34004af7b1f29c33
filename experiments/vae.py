"""The lab's variational autoencoder: 784-200-200, 20 latent variables, on MNIST.

    python -m experiments.vae

trains the preset `lab` (softplus, Adam 3.24e-4, batch 1024, 100 epochs, inputs sampled at every
visit), bounds the test log likelihood with 5,000 codes per image, and answers the lab's tasks
4.1 to 4.4 in runs/vae-mnist-seed0/report.html; with `--latent-size 2` the plane is all there is.
Colour and images with a side above 32 take the preset `conv` in its place: convolutions, and bytes
of colour by a discretised logistic. `--conditional` gives both nets the class of each image.
`--study` sets 2 and 20 latent variables side by side. `--preset burda` is the VAE of Burda, Grosse
and Salakhutdinov 2016, table 1 (their 3,280 epochs take hours; with fewer --epochs its schedule
shrinks in proportion, to stages of whole steps), and with `--objective iwae --num-samples 5` their
importance-weighted autoencoder of 5 codes.
"""

from dataclasses import dataclass
from pathlib import Path

from experiments.benchmarking import flops
from experiments.benchmarking.baselines import DENSE
from experiments.lab.vae import study, tasks
from experiments.lab.vae.training import (
    NUM_PASSES,
    VAEArgs,
    identity,
    learner_for,
    make_evaluator,
    prior_means,
    schedule_rate,
)
from experiments.running import cli
from experiments.running.experiment import Band, Benchmark, Choice, Comparison, Experiment
from experiments.running.session import Session
from experiments.running.train import train_in_session
from jaxgen.data import Dataset
from jaxgen.models import vae
from jaxgen.runs.files import PAGE
from jaxgen.training.loop import Result


@dataclass(frozen=True)
class Args(VAEArgs):
    """Train the lab's VAE and answer its tasks 4.1 to 4.4; --study compares 2 and 20 latents."""

    batch_size: int = 1024
    """Images per update."""
    study: bool = False
    """Train with 2 and with 20 latent variables as well and compare."""


PRESETS = {
    "lab": Args(),
    "conv": Args(
        preset="conv",
        batch_size=64,
        bound_samples=100,
        model=vae.Config(architecture="conv", activation="relu", learning_rate=1e-3),
    ),
    "burda": Args(
        preset="burda",
        epochs=NUM_PASSES,
        batch_size=20,
        schedule="burda",
        base_rates=True,
        model=vae.Config(latent_size=50, activation="tanh", learning_rate=1e-3, epsilon=1e-4),
    ),
}
QUICK = {
    "epochs": 300,
    "batch_size": 100,
    "bound_samples": 500,
    "dataset": "digits",
    "model": {"learning_rate": 1e-3},
}
EXAMPLES = {
    "python -m experiments.vae": "the lab's VAE on MNIST: 5 minutes",
    "python -m experiments.vae --quick": "the whole path on small scans: half a minute",
}


def for_images(args: Args, dataset: Dataset) -> Choice | None:
    """The preset `conv` where the images are for convolutions."""
    conv = vae.decide(args.model, dataset.image_shape).architecture == "conv"
    return Choice("conv", "the images are large or in colour") if conv else None


def train(args: Args, session: Session) -> Result:
    """Trains the VAE."""
    config = schedule_rate(args, session.dataset)
    nets = vae.nets(config, session.image_shape)
    return train_in_session(
        args,
        learner_for(args, nets, session.dataset),
        session,
        identity(config, nets) | ({"base_rates": True} if args.base_rates else {}),
        make_evaluator(nets, session.dataset),
        notes={"binarize": nets.config.binarize},
        pictures=prior_means(nets),
        at_intervals=False,
        shown={"elbo": "ELBO", "test_elbo": "test ELBO", "kl": "KL"},
    )


def report(args: Args, session: Session, result: Result) -> Path:
    """Answers the lab's questions about one trained VAE, returns the page."""
    trained = tasks.write(args, session, result)
    if args.study:
        return study.compare(args, session, trained, train)
    return session.folder / PAGE


EXPERIMENT = Experiment(
    *("vae", PRESETS, QUICK, train, report),
    choose=for_images,
    band=Band("test_elbo", 0.02),
    benchmark=Benchmark(flops=flops.of_vae, baselines=DENSE, presets=("lab", "burda")),
    comparison=Comparison(
        order=3,
        summary_likelihoods={
            "test_elbo": "ELBO",
            "test_bound": "importance-weighted bound, {bound_samples:,} codes",
        },
    ),
    headlines=("test_bound", "test_elbo", "test_active_units"),
    examples=EXAMPLES,
)

if __name__ == "__main__":
    cli.leave(cli.main(EXPERIMENT))
