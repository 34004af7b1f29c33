"""The lab's variational autoencoder: 784-200-200, 20 latent variables, on MNIST.

    python -m experiments.vae

trains the preset `lab` (softplus, Adam 3.24e-4, batch 1024, 100 epochs, inputs sampled anew at
every visit), bounds the test log likelihood with 5,000 codes per image, and answers the lab's tasks
4.1 to 4.4 in runs/vae-mnist-seed0/report.html; with `--latent-size 2` the plane is all there is.
`--study` sets 2 and 20 latent variables side by side. `--preset burda` is the VAE of Burda, Grosse
and Salakhutdinov 2016, table 1 (their 3,280 epochs take hours; with fewer --epochs its schedule
shrinks in proportion, to stages of whole steps).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from experiments.benchmarking import flops
from experiments.benchmarking.baselines import DENSE
from experiments.lab.vae import page as vae_pages
from experiments.lab.vae import training as vae_training
from experiments.running import cli
from experiments.running.args import RunArgs
from experiments.running.experiment import Band, Benchmark, Comparison, Experiment
from experiments.running.session import Session
from jaxgen.errors import require
from jaxgen.models import vae
from jaxgen.training.loop import Result


@dataclass(frozen=True)
class Args(RunArgs):
    """Train the lab's VAE and answer its tasks 4.1 to 4.4; --study compares 2 and 20 latents."""

    batch_size: int = 1024
    """Images per update."""
    model: vae.Config = field(default_factory=vae.Config)
    schedule: Literal["constant", "burda"] = "constant"
    """Learning rate: constant, or falling in the stages of Burda et al. over all epochs."""
    bound_samples: int = 5000
    """Codes per test image in the importance-weighted bound."""
    study: bool = False
    """Train with 2 and with 20 latent variables as well and compare."""

    immaterial: ClassVar[frozenset[str]] = RunArgs.immaterial | {"bound_samples"}

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.model, "latent_size", self.model.latent_size >= 2, "of 2 or more")
        require(self, "bound_samples", self.bound_samples >= 2, "of 2 or more")
        if self.schedule == "burda":
            stages = self.model.first_stage_steps
            require(self.model, "first_stage_steps", not stages, "not beside --schedule burda")


PRESETS = {
    "lab": Args(),
    "burda": Args(
        preset="burda",
        epochs=vae_training.NUM_PASSES,
        batch_size=20,
        schedule="burda",
        model=vae.Config(latent_size=50, activation="tanh", learning_rate=1e-3, epsilon=1e-4),
    ),
}
QUICK = {"epochs": 150, "batch_size": 100, "bound_samples": 500, "dataset": "digits"}


def train(args: Args, session: Session) -> Result:
    """Trains the VAE."""
    return vae_training.train(args, args.model, session)


def report(args: Args, session: Session, result: Result) -> Path:
    """Answers the lab's questions about one trained VAE, returns the page."""
    shown = vae_pages.show(args, args.model, session, result)
    return vae_pages.study(args, session, shown) if args.study else shown.page


EXPERIMENT = Experiment(
    *("vae", PRESETS, QUICK, train, report),
    band=Band("test_elbo", 0.02),
    benchmark=Benchmark(flops=flops.of_vae, baselines=DENSE),
    comparison=Comparison(
        order=2,
        summary_likelihoods={
            "test_elbo": "ELBO",
            "test_bound": "importance-weighted bound, {bound_samples:,} codes",
        },
    ),
)

if __name__ == "__main__":
    cli.leave(cli.main(EXPERIMENT))
