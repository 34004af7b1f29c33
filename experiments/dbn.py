"""The lab's deep belief network: RBMs 784-100 and 100-100, trained greedily on MNIST.

    python -m experiments.dbn

trains the preset `lab` (CD-1, then CD-2; 100 epochs each, batch 100, learning rate 0.1) and answers
the lab's tasks 2.1 to 2.3 in runs/dbn-mnist-seed0/report.html; `--study` adds 2.4. Its first layer
is the RBM of `experiments.rbm`, bit for bit.

`--preset two500` reaches for the published bound of two layers
(`experiments/comparison/published.py`): 784-500-784, CD-25, the learning rate falling to 0 in each
layer. Its second layer starts as the first one turned upside down, so that the bound starts at the
RBM's likelihood. About 70 minutes on two cores.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import jax

from experiments.benchmarking import flops
from experiments.benchmarking.baselines import DENSE
from experiments.lab.dbn import layers as dbn_layers
from experiments.lab.dbn import study as dbn_study
from experiments.lab.dbn import tasks as dbn_tasks
from experiments.lab.rbm import tasks as rbm_tasks
from experiments.lab.rbm import training as rbm_training
from experiments.running import artifacts as results
from experiments.running import cli
from experiments.running.experiment import Band, Benchmark, Comparison, Experiment, ImageShape
from experiments.running.session import Session
from jaxgen.data import Dataset
from jaxgen.learner import Learner
from jaxgen.models import dbn
from jaxgen.report.page import number
from jaxgen.training.loop import Result


@dataclass(frozen=True)
class Args(rbm_tasks.GenerationArgs):
    """Train the lab's DBN layer by layer and answer its tasks 2.1 to 2.3; --study adds 2.4."""

    preset: str = "lab"
    """Named set of defaults; other flags change single values of it. lab; two500: 784-500-784,
    CD-25 in both layers, the second one started as the first turned upside down."""
    epochs: int = 100
    """Passes over the training set, for each layer."""
    model: dbn.Config = field(default_factory=dbn.Config)
    schedule: Literal["constant", "falling"] = "constant"
    """Learning rate: constant, or falling to 0 over the second half of the epochs of each layer."""
    base_rates: bool = False
    """Start the lowest biases at the log odds of the mean training pixels instead of at 0."""
    study: bool = False
    """Train the variants of task 2.4 as well and compare them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        rbm_training.require_one_decay(self)

    def check(self, dataset: Dataset, folder: Path) -> None:
        """Also refuses sizes of layers that cannot start as the one below turned upside down."""
        super().check(dataset, folder)
        if self.model.transposed_start:
            dbn.require_turnable((dataset.train.images[0].size, *self.model.hidden_sizes))


_TWO500 = dbn.Config(
    hidden_sizes=(500, 784),
    num_gibbs_steps=(25,),
    learning_rate=0.05,
    init_scale=0.01,
    transposed_start=True,
)
PRESETS = {
    "lab": Args(),
    # About 35 minutes a layer on two idle cores.
    "two500": Args(preset="two500", base_rates=True, schedule="falling", model=_TWO500),
}
QUICK = {"epochs": 60, "dataset": "digits"}


def train(args: Args, session: Session) -> Result:
    """Trains the DBN, one layer after the other; the times are those of all layers."""
    args = rbm_training.with_decay(args, session.dataset)
    return results.total(dbn_layers.train(args, args.model, session))


def report(args: Args, session: Session, result: Result) -> Path:
    """Answers the lab's questions about one trained DBN, returns the page."""
    args = rbm_training.with_decay(args, session.dataset)
    config, drawing = args.model, results.Drawing(session.dataset, session.folder)
    layers = jax.device_get(result.state.params)
    nets = {"RBM": dbn.tied(layers[:1]), "DBN": dbn.tied(layers)}
    measured = dbn_tasks.measure_all(config.binarize, session.dataset, nets)
    error = number(measured["DBN"]["test_reconstruction_error"])
    print(f"test_reconstruction_error {error}; drawing the report", flush=True)
    learner = dbn.learner(config, session.dataset.train.images.shape[1:])
    results.write_samples(args, session, learner, result)
    steps, gain = args.generation_steps, args.gain
    generated, judged = dbn_tasks.generated(drawing, "2.3", nets, steps, gain)
    sections = [
        dbn_layers.training(drawing, len(layers), result.step),
        dbn_tasks.top_filters(drawing, layers),
        dbn_tasks.reconstructions(drawing, "2.2", nets, config.binarize, measured),
        generated,
    ]
    values = measured["DBN"] | judged["DBN"]
    title, model = f"DBN on {session.dataset.name}", dbn_layers.described(config, session)
    page = results.write(args, session, result, values, title, model, sections)
    return dbn_study.run(args, session, layers[0]) if args.study else page


def second_layer(args: Args, image_shape: ImageShape) -> Learner:
    """The second RBM of a DBN, above a first one at its start: what the benchmark times."""
    first = dbn.learner(args.model, image_shape).init(jax.random.key(0))
    return dbn.learner(args.model, image_shape, first.params)


EXPERIMENT = Experiment(
    *("dbn", PRESETS, QUICK, train, report),
    band=Band("test_reconstruction_error", 0.09),
    benchmark=Benchmark(
        learner=second_layer,
        flops=flops.of_second_layer,
        baselines=DENSE,
        presets=("lab",),
        note="dbn-lab is the second layer, above a first one that stays as it is.",
    ),
    comparison=Comparison(order=None),  # wake_sleep trains it
)

if __name__ == "__main__":
    cli.leave(cli.main(EXPERIMENT))
