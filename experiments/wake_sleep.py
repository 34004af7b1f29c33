"""The lab's up-down fine-tuning of a 784-100-100 DBN (Hinton, Osindero and Teh 2006), on MNIST.

    python -m experiments.wake_sleep --dbn runs/dbn-mnist-seed0

fine-tunes a finished DBN run with the preset `lab` (100 epochs, batch 100, learning rate 0.01, CD-2
on top, probabilities as predictions) and answers the lab's tasks 3.1 to 3.3 in
runs/wake_sleep-mnist-seed0/report.html. Without `--dbn` it trains the lab's DBN first, into the
folder `dbn` of its own run. `--study` compares probabilities with drawn predictions.

`--preset labelled` is the digit recogniser of the paper: 784-500-500-2000 with ten label units,
trained greedily, then fine-tuned with CD-3, CD-6 and CD-10, each for a third of the epochs; in the
last quarter the chains persist, and the net is the mean over the updates of the last tenth.
"""

import dataclasses
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import jax

from experiments import dbn
from experiments.benchmarking import flops
from experiments.benchmarking.baselines import DENSE
from experiments.lab import explore
from experiments.lab import samples as lab_samples
from experiments.lab.dbn import classification_error, fine_tuning, labels, layers, tasks
from experiments.lab.dbn.fine_tuning import TuningArgs, in_updates
from experiments.lab.drawing import Drawing, error_curve, sample_sheet
from experiments.lab.rbm.training import (
    GenerationArgs,
    input_in_words,
    make_evaluator,
    samples_so_far,
)
from experiments.lab.study import elsewhere
from experiments.running import artifacts, cli, seeds
from experiments.running.console import show
from experiments.running.experiment import Band, Benchmark, Comparison, Experiment
from experiments.running.places import require_kept
from experiments.running.session import Session
from experiments.running.train import train_in_session
from jaxgen.data import Dataset
from jaxgen.errors import SettingError, require_positive
from jaxgen.evaluation.monitors import net_monitors
from jaxgen.models import dbn as dbn_model
from jaxgen.models import wake_sleep
from jaxgen.models.dbn import Layers
from jaxgen.report.page import number
from jaxgen.runs import folder as run_folder
from jaxgen.training import checkpoint
from jaxgen.training.loop import Result
from jaxgen.training.seeds import stack_seeds, start_from


@dataclass(frozen=True)
class Args(TuningArgs):
    """Fine-tune a DBN by the up-down algorithm and answer the lab's tasks 3.1 to 3.3."""

    preset: str = "lab"
    """Named set of defaults; other flags change single values of it. lab; labelled: the paper's
    784-500-500-2000 with label units, CD-3, 6 and 10 in the top pair, at last PCD and parameters
    averaged."""
    dbn: Path | None = None
    """Run folder of the DBN to fine-tune; one is trained first if not given."""
    dbn_epochs: int = 100
    """Passes over the training set, for each layer of a DBN that is trained first."""
    study: bool = False
    """Fine-tune with the other kind of --prediction as well and compare the two."""

    immaterial: ClassVar[frozenset[str]] = TuningArgs.immaterial | {"dbn"}

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "dbn_epochs")

    @property
    def fixed_lengths(self) -> tuple[str, ...]:
        """Also those of a DBN that is trained first."""
        return (*super().fixed_lengths, *(() if self.dbn else ("dbn_epochs",)))

    def check(self, dataset: Dataset, folder: Path) -> None:
        """Also refuses a DBN that cannot be fine-tuned, or that --overwrite would remove."""
        super().check(dataset, folder)
        if self.dbn:
            if self.overwrite:
                require_kept("--dbn", self.dbn, folder)
            stack = layers.load(self.dbn, dataset)
            num_visible, sizes = math.prod(dataset.image_shape), self.model.hidden_sizes
            dbn_model.require_sizes(stack, num_visible, sizes, self.model.num_classes)
            dbn_model.require_visible(stack, self.model.visible)
        earlier = run_folder.read_config(folder).get("dbn") if self.resume else None
        if earlier and not self.dbn:
            raise SettingError(
                expected=f"--dbn as in the run in {folder}",
                found="none",
                remedy=f"set --dbn {earlier}",
            )


_LABELLED = wake_sleep.Config(
    hidden_sizes=(500, 500, 2000),
    gibbs_phases=(3, 6, 10),
    learning_rate=0.1,
    falling=True,
    persistent_share=0.25,
    averaged_share=0.1,
    init_scale=0.01,
)
PRESETS = {
    "lab": Args(),
    "labelled": Args(
        preset="labelled",
        epochs=200,
        dbn_epochs=50,
        conditional=True,
        model=_LABELLED,
    ),
}
QUICK = {
    "epochs": 60,
    "dbn_epochs": 60,
    "batch_size": 50,
    "dataset": "digits",
    "model": {"hidden_sizes": (200, 200), "num_gibbs_steps": 5, "init_scale": 0.01},
}
EXAMPLES = {
    "python -m experiments.wake_sleep": "a DBN on MNIST and its fine-tuning: 4 minutes",
    "python -m experiments.wake_sleep --quick": "the whole path on small scans: 25 seconds",
}


def train_dbn(args: Args, session: Session) -> Layers:
    """Trains a DBN of the same sizes into its own run folder inside this run's; returns it."""
    part = session.within("dbn")
    names = {field.name for field in dataclasses.fields(GenerationArgs)} - {"preset", "study"}
    shared = {name: getattr(args, name) for name in names}
    shared |= {"epochs": args.dbn_epochs, "out": part.folder, "conditional": args.conditional}
    preset = dbn.PRESETS.get(args.preset, dbn.PRESETS["lab"])
    model = dataclasses.replace(
        preset.model,
        hidden_sizes=args.model.hidden_sizes,
        visible=args.model.visible,
        binarize=args.model.binarize,
        init_scale=args.model.init_scale,
        num_sampling_steps=args.model.num_sampling_steps,
        num_classes=args.model.num_classes,
        label_gain=args.model.label_gain,
    )
    inner = dataclasses.replace(preset, model=model, **shared)
    alone = part._replace(experiment=dbn.EXPERIMENT.name).for_run(inner)

    def record() -> None:
        if not run_folder.read_config(session.folder):  # makes it a run that can be resumed
            session.record()
        alone.record()

    inner_session = alone._replace(record=record)
    result = dbn.train(inner, inner_session)
    if args.cluster.first:
        seeds.report(dbn.EXPERIMENT, inner, inner_session, result)
    trained: Layers = result.state.params
    return trained


SHOWN = {
    "test_reconstruction_error": "test error",
    "wake_error": "wake error",
    "sleep_error": "sleep error",
}
"""Metrics that a reader looks at first, and what the progress line calls them."""


def fine_tune(stack: Layers, args: TuningArgs, session: Session) -> Result:
    """Fine-tunes a DBN in the folder of the session; of several seeds each has its own."""
    config = in_updates(args, session.dataset).model
    evaluate = make_evaluator(net_monitors, config.binarize, session.dataset)
    learner_from = partial(wake_sleep.learner, config, session.image_shape)

    def measure(state: wake_sleep.State) -> dict[str, float]:
        errors = labels.test_error(state.params, session.dataset, config.binarize)
        return evaluate(state.params) | errors

    return train_in_session(
        args,
        learner_from(),
        session,
        dataclasses.asdict(config) | {"dbn": checkpoint.digest(stack)},
        measure,
        start_from(lambda key, given: learner_from(given).init(key), session.seeds, stack),
        pictures=samples_so_far(learner_from()),
        at_intervals=False,
        shown=SHOWN,
    )


def train(args: Args, session: Session) -> Result:
    """Fine-tunes the given DBN, the same for every seed, or a DBN of each seed's own."""
    if args.dbn:
        stack = stack_seeds([layers.load(args.dbn, session.dataset)] * len(session.seeds))
    else:
        stack = train_dbn(args, session)
    return fine_tune(stack, args, session)


def report(args: Args, session: Session, result: Result) -> Path:
    """Answers the lab's questions about one fine-tuned DBN, returns the page."""
    args = in_updates(args, session.dataset)
    config, drawing = args.model, Drawing(session.dataset, session.folder)
    folder = args.dbn or session.folder / "dbn"
    stack = layers.load(folder, session.dataset)
    fine_tuned = jax.device_get(result.state.params)
    stages = {
        "RBM": dbn_model.tie(stack[:1]),
        "DBN": dbn_model.tie(stack),
        "fine-tuned DBN": fine_tuned,
    }
    nets = tasks.trained_nets(args, drawing, config.binarize, stages)
    measures = nets["fine-tuned DBN"].measures
    measures |= labels.test_error(fine_tuned, session.dataset, config.binarize)
    errors = classification_error.read(session.folder)
    if errors.errors:
        measures["test_error_last_mean"] = errors.mean
    error = number(measures["test_reconstruction_error"])
    show(f"step {result.step}: test_reconstruction_error {error}; drawing the report")
    learner = wake_sleep.learner(config, session.image_shape)
    samples = artifacts.write_samples(args, session, learner, result)
    looks = lab_samples.measure(samples, session.dataset)
    further, absent = elsewhere(args, {"": fine_tuning.TITLE})
    words = tasks.SAMPLES.format(config.num_sampling_steps)
    sections = [
        sample_sheet(drawing, samples, looks, words),
        fine_tuning.untied_weights(drawing, stack, fine_tuned),
        tasks.reconstructions(drawing, "3.2", nets, config.binarize),
        tasks.generated_images(args, drawing, "3.3", nets),
        *labels.sections(drawing, stages, config, errors),
        *further,
        error_curve(drawing, {"fine-tuning": session.folder}, tasks.ERROR, last_step=result.step),
    ]
    sections.insert(0, explore.of_net(fine_tuned, drawing, config.binarize, sections))
    title = f"Up-down fine-tuning on {session.dataset.name}"
    model = f"{describe(config, args.dbn)}; {input_in_words(config, session.image_shape)}"
    numbers = tasks.headline(session.dataset, measures, looks)
    page = artifacts.write(args, session, result, measures, title, model, sections, numbers, absent)
    if not args.study:
        return page
    before, after = nets["DBN"], nets["fine-tuned DBN"]
    return fine_tuning.compare(args, session, before, after, partial(fine_tune, stack))


def describe(config: wake_sleep.Config, dbn_folder: Path | None) -> str:
    """The model in a line; without a folder that was named the DBN was trained before it."""
    parts = ", then ".join(map(str, config.gibbs_phases or (config.num_gibbs_steps,)))
    falling = " falling to 0" if config.falling else ""
    label_units = f" + {config.num_classes} label units" if config.num_classes else ""
    of = f"of {dbn_folder}" if dbn_folder else "trained first (its folder is `dbn`),"
    share = config.persistent_share
    rule, last, mean = "PCD" if share == 1.0 else "CD", "", ""
    if 0.0 < share < 1.0:
        last = f", PCD after {wake_sleep.first_of(config, share):,} updates"
    if config.averaged_share:
        first = wake_sleep.first_of(config, config.averaged_share)
        mean = f", parameters averaged after {first:,} updates"
    return (
        f"DBN {of} with hidden layers {'-'.join(map(str, config.hidden_sizes))}"
        f"{label_units}, {rule}-{parts} on top{last}, rate {config.learning_rate}{falling}{mean}, "
        f"predictions by {'probabilities' if config.prediction == 'probs' else 'samples'}"
    )


def settings_to_time(args: Args) -> Args:
    """The timed settings: MNIST's classes, CD, and of several k the one in the middle."""
    phases = args.model.gibbs_phases
    model = dataclasses.replace(
        args.model,
        num_classes=10 if args.conditional else 0,
        gibbs_phases=phases[len(phases) // 2 : len(phases) // 2 + 1],
        persistent_share=0.0,
        averaged_share=0.0,
        num_updates=args.epochs * 60_000 // args.batch_size,
    )
    return dataclasses.replace(args, model=model)


EXPERIMENT = Experiment(
    *("wake_sleep", PRESETS, QUICK, train, report),
    band=Band("test_reconstruction_error", 0.06),
    benchmark=Benchmark(
        flops=flops.of_wake_sleep,
        baselines=DENSE,
        settings=settings_to_time,
    ),
    comparison=Comparison(order=1, inner_runs=("dbn",)),
    headlines=(
        *("test_error", "test_reconstruction_error"),
        *("nearest_training_distance", "free_energy_gap"),
    ),
    examples=EXAMPLES,
)

if __name__ == "__main__":
    cli.leave(cli.main(EXPERIMENT))
