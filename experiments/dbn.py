"""The lab's deep belief network: RBMs 784-100 and 100-100, trained greedily on MNIST.

    python -m experiments.dbn

trains the preset `lab` (CD-1, then CD-2; 100 epochs each, batch 100, learning rate 0.1) and answers
the lab's tasks 2.1 to 2.3 in runs/dbn-mnist-seed0/report.html; `--study` adds 2.4. Its first layer
is the RBM of `experiments.rbm`, bit for bit.

`--preset two500` reaches for the published estimate of two layers
(`experiments/comparison/published.py`): 784-500-784, centred PCD in each layer as `experiments.rbm
--preset pcd500`, the learning rate falling to 0. The published layers are of CD-25. Its second
layer starts as the first one turned upside down, so that the bound starts at the RBM's likelihood.
Half an hour to an hour beside other work.

`--preset labelled` is the net of Hinton, Osindero and Teh (2006), 784-500-500-2000 with ten label
units in its top pair: what `experiments.wake_sleep --preset labelled` fine-tunes.

`--preset gaussian` has Gaussian visible units for real-valued pixels, grey or colour; `--visible
gaussian` takes it in the place of `lab`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jax

from experiments.benchmarking import flops
from experiments.benchmarking.baselines import DENSE
from experiments.lab import explore
from experiments.lab import samples as lab_samples
from experiments.lab.dbn import backprop, labels, layers, study, tasks
from experiments.lab.dbn.layers import DBNArgs
from experiments.lab.drawing import Drawing, sample_sheet
from experiments.lab.rbm.training import gaussian_rates, with_decay
from experiments.lab.study import elsewhere
from experiments.running import artifacts, cli
from experiments.running.console import show
from experiments.running.experiment import Band, Benchmark, Comparison, Experiment
from experiments.running.session import Session
from jaxgen.data import Dataset
from jaxgen.errors import require, require_not_negative
from jaxgen.images import ImageShape
from jaxgen.learner import Learner
from jaxgen.models import dbn
from jaxgen.report.page import number
from jaxgen.training.loop import Result


@dataclass(frozen=True)
class Args(DBNArgs):
    """Train the lab's DBN layer by layer and answer its tasks 2.1 to 2.3; --study adds 2.4."""

    preset: str = "lab"
    """Named set of defaults; other flags change single values of it. lab; two500: 784-500-784,
    centred PCD in both layers, the second one started as the first turned upside down; labelled:
    784-500-500-2000 with label units; gaussian: Gaussian visible units, for grey or colour pixels
    as they are."""
    study: bool = False
    """Train the variants of task 2.4 as well and compare them."""
    backprop_epochs: int = 0
    """Train a classifier by backprop as well for so many epochs, which starts as the DBN, and the
    same net from random weights; 0 for none."""

    immaterial: ClassVar[frozenset[str]] = DBNArgs.immaterial | {"backprop_epochs"}

    def __post_init__(self) -> None:
        super().__post_init__()
        require_not_negative(self, "backprop_epochs")
        binary = not (self.study and self.model.visible == "gaussian")
        require(self, "study", binary, "off beside --visible gaussian: it turns layers upside down")

    def check(self, dataset: Dataset, folder: Path) -> None:
        """Also refuses sizes of layers that cannot start as the one below turned upside down."""
        super().check(dataset, folder)
        backprop.check(self, self.backprop_epochs, dataset, folder)
        if self.model.transposed_start:
            dbn.require_turnable((dataset.train.images[0].size, *self.model.hidden_sizes))


_TWO500 = dbn.Config(  # both layers as the preset pcd500 of the RBM
    hidden_sizes=(500, 784),
    num_gibbs_steps=(1,),
    learning_rate=0.05,
    persistent=True,
    centred=True,
    init_scale=0.01,
    transposed_start=True,
)
_LABELLED = dbn.Config(hidden_sizes=(500, 500, 2000), learning_rate=0.05, init_scale=0.01)
_GAUSSIAN = dbn.Config(hidden_sizes=(200, 200), visible="gaussian", init_scale=0.01)
KEPT = ("visible", "binarize", "num_sampling_steps", "label_gain")
"""Settings of the model that a fine-tuning shares with its DBN."""
PRESETS = {
    "lab": Args(),
    # About 16 minutes a layer on two cores beside other work.
    "two500": Args(preset="two500", base_rates=True, schedule="falling", epochs=200, model=_TWO500),
    "labelled": Args(
        preset="labelled",
        epochs=50,
        conditional=True,
        base_rates=True,
        schedule="falling",
        model=_LABELLED,
    ),
    "gaussian": Args(preset="gaussian", model=_GAUSSIAN),
}
QUICK = {
    "epochs": 60,
    "batch_size": 50,
    "dataset": "digits",
    "model": {"hidden_sizes": (200, 200), "init_scale": 0.01},
}
EXAMPLES = {
    "python -m experiments.dbn": "the lab's DBN on MNIST: 2 to 3 minutes",
    "python -m experiments.dbn --quick": "the whole path on small scans: 20 seconds",
}


def train(args: Args, session: Session) -> Result:
    """Trains the DBN, one layer after the other; the times are those of all layers."""
    args = with_decay(args, session.dataset)
    result = layers.train_layers(args, session)
    if args.backprop_epochs:
        backprop.train(args, args.backprop_epochs, session, result.state.params)
    return result


def report(args: Args, session: Session, result: Result) -> Path:
    """Answers the lab's questions about one trained DBN, returns the page."""
    args = with_decay(args, session.dataset)
    config, drawing = args.model, Drawing(session.dataset, session.folder)
    params = jax.device_get(result.state.params)
    stages = {"RBM": dbn.tie(params[:1]), "DBN": dbn.tie(params)}
    nets = tasks.trained_nets(args, drawing, config.binarize, stages)
    measures = nets["DBN"].measures
    measures |= labels.test_error(stages["DBN"], session.dataset, config.binarize)
    classifiers = backprop.results(session.folder, args.backprop_epochs)
    measures |= backprop.measures(classifiers)
    error = number(measures["test_reconstruction_error"])
    show(f"test_reconstruction_error {error}; drawing the report")
    learner = dbn.learner(config, session.image_shape)
    samples = artifacts.write_samples(args, session, learner, result)
    looks = lab_samples.measure(samples, session.dataset)
    further, absent = elsewhere(args, study.tasks_of(config))
    words = tasks.SAMPLES.format(config.num_sampling_steps)
    sections = [
        sample_sheet(drawing, samples, looks, words),
        tasks.top_filters(drawing, params),
        tasks.reconstructions(drawing, "2.2", nets, config.binarize),
        tasks.generated_images(args, drawing, "2.3", nets),
        *labels.sections(drawing, stages, config),
        *backprop.sections(drawing, classifiers),
        *further,
        layers.layer_curves(drawing, len(params), result.step),
    ]
    sections.insert(0, explore.of_net(stages["DBN"], drawing, config.binarize, sections))
    title, model = f"DBN on {session.dataset.name}", layers.describe(config, session)
    numbers = tasks.headline(session.dataset, measures, looks)
    page = artifacts.write(args, session, result, measures, title, model, sections, numbers, absent)
    return study.compare(args, session, params[0]) if args.study else page


def second_layer(args: Args, image_shape: ImageShape) -> Learner:
    """The second RBM of a DBN, above a first one at its start: what the benchmark times."""
    first = dbn.learner(args.model, image_shape).init(jax.random.key(0))
    return dbn.learner(args.model, image_shape, first.params)


def successor(args: Args) -> tuple[str, ...]:
    """The fine-tuning of this DBN, with its preset or the flags that name its net and pixels.

    None of a single layer, which has nothing below its top pair.
    """
    if len(args.model.hidden_sizes) < 2:
        return ()
    preset = "labelled" if args.preset == "labelled" else "lab"
    there = PRESETS[preset]
    own, usual = args.model, there.model
    changed = own.hidden_sizes != usual.hidden_sizes
    conditional = "--conditional" if args.conditional else "--no-conditional"
    kept = [name for name in KEPT if getattr(own, name) != getattr(usual, name)]
    return (
        "experiments.wake_sleep",
        *(("--preset", preset) if preset == "labelled" else ()),
        *("--dbn", "{folder}"),
        *(("--hidden-sizes", *map(str, own.hidden_sizes)) if changed else ()),
        *((conditional,) if args.conditional != there.conditional else ()),
        *(
            word
            for name in kept
            for word in (f"--{name.replace('_', '-')}", str(getattr(own, name)))
        ),
    )


EXPERIMENT = Experiment(
    *("dbn", PRESETS, QUICK, train, report),
    choose=gaussian_rates,
    band=Band("test_reconstruction_error", 0.09),
    benchmark=Benchmark(
        learner=second_layer,
        flops=flops.of_second_layer,
        baselines=DENSE,
        presets=("lab",),
        note="dbn-lab is the second layer, above a first one that stays as it is.",
    ),
    comparison=Comparison(order=None),  # wake_sleep trains it
    headlines=(
        *("test_error", "test_reconstruction_error"),
        *("nearest_training_distance", "free_energy_gap"),
    ),
    successor=successor,
    examples=EXAMPLES,
)

if __name__ == "__main__":
    cli.leave(cli.main(EXPERIMENT))
