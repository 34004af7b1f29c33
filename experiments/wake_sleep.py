"""The lab's up-down fine-tuning of a 784-100-100 DBN (Hinton, Osindero and Teh 2006), on MNIST.

    python -m experiments.wake_sleep --dbn runs/dbn-mnist-seed0

fine-tunes a finished DBN run with the preset `lab` (100 epochs, batch 100, learning rate 0.01, CD-2
on top, probabilities as predictions) and answers the lab's tasks 3.1 to 3.3 in
runs/wake_sleep-mnist-seed0/report.html. Without `--dbn` it trains the lab's DBN first, into the
folder `dbn` of its own run. `--study` compares probabilities with drawn predictions.
"""

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar

import jax

from experiments import dbn
from experiments.benchmarking import flops
from experiments.benchmarking.baselines import DENSE
from experiments.lab.dbn import fine_tuning as wake_sleep_tasks
from experiments.lab.dbn import layers as dbn_layers
from experiments.lab.dbn import tasks as dbn_tasks
from experiments.lab.rbm import tasks as rbm_tasks
from experiments.running import artifacts as results
from experiments.running import cli
from experiments.running import seeds as members
from experiments.running.experiment import Band, Benchmark, Comparison, Experiment
from experiments.running.session import Session, session_for
from experiments.running.train import train_in_session
from jaxgen.data import Dataset
from jaxgen.errors import SettingError, require_positive
from jaxgen.models import dbn as dbn_model
from jaxgen.models import wake_sleep
from jaxgen.models.dbn import Layers
from jaxgen.report.page import number
from jaxgen.runs import folder as run_folder
from jaxgen.runs import metrics_log
from jaxgen.training import checkpoint
from jaxgen.training.loop import Result


@dataclass(frozen=True)
class Args(rbm_tasks.GenerationArgs):
    """Fine-tune a DBN by the up-down algorithm and answer the lab's tasks 3.1 to 3.3."""

    dbn: Path | None = None
    """Run folder of the DBN to fine-tune; one is trained first where not given."""
    dbn_epochs: int = 100
    """Passes over the training set, for each layer of a DBN that is trained first."""
    model: wake_sleep.Config = field(default_factory=wake_sleep.Config)
    study: bool = False
    """Fine-tune with the other kind of --prediction as well and compare the two."""

    immaterial: ClassVar[frozenset[str]] = rbm_tasks.GenerationArgs.immaterial | {"dbn"}

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "dbn_epochs")

    def check(self, dataset: Dataset, folder: Path) -> None:
        """Also refuses a DBN that cannot be fine-tuned, or that --overwrite would remove."""
        super().check(dataset, folder)
        if self.dbn:
            if self.overwrite and folder.resolve() in self.dbn.resolve().parents:
                raise SettingError(
                    expected="--dbn outside the run folder that --overwrite empties",
                    found=f"{self.dbn} in {folder}",
                    remedy="set --out to another folder",
                )
            dbn_model.require_sizes(dbn_layers.load(self.dbn, dataset), self.model.hidden_sizes)
        earlier = run_folder.read_config(folder).get("dbn") if self.resume else None
        if earlier and not self.dbn:
            raise SettingError(
                expected="--dbn as in the run to go on with",
                found="none",
                remedy=f"set --dbn {earlier}",
            )


PRESETS = {"lab": Args()}
QUICK = {"epochs": 30, "dbn_epochs": 60, "dataset": "digits"}


def train_dbn(args: Args, session: Session) -> Layers:
    """Trains a DBN of the same sizes into its own run folder inside this run's; returns it."""
    part = session.within("dbn")
    names = [field.name for field in dataclasses.fields(rbm_tasks.GenerationArgs)]
    shared = {name: getattr(args, name) for name in names}
    shared |= {"epochs": args.dbn_epochs, "out": part.folder, "preset": "lab"}
    model = dbn_model.Config(
        hidden_sizes=args.model.hidden_sizes,
        binarize=args.model.binarize,
        init_scale=args.model.init_scale,
        num_sampling_steps=args.model.num_sampling_steps,
    )
    inner = dataclasses.replace(dbn.PRESETS["lab"], model=model, **shared)
    alone = session_for("dbn", inner, session.dataset, session.root, part.part)

    def record() -> None:
        if not run_folder.read_config(session.folder):  # makes it a run that can be resumed
            session.record()
        alone.record()

    inner_session = alone._replace(record=record)
    result = dbn.train(inner, inner_session)
    if args.cluster.first:
        members.report(inner, inner_session, result, dbn.report)
    layers: Layers = result.state.params
    return layers


def fine_tune(args: Args, config: wake_sleep.Config, session: Session, layers: Layers) -> Result:
    """Fine-tunes a DBN in the folder of the session; of several seeds each has its own."""
    measured = dbn_tasks.measurer(config.binarize, session.dataset)
    learner_from = partial(wake_sleep.learner, config, session.dataset.train.images.shape[1:])
    return train_in_session(
        args,
        learner_from(),
        session,
        dataclasses.asdict(config) | {"dbn": checkpoint.digest(layers)},
        lambda state: measured(state.params),
        members.start(lambda key, given: learner_from(given).init(key), session.seeds, layers),
    )


def study(args: Args, session: Session, layers: Layers, fine_tuned: dbn_model.Net) -> Path:
    """Fine-tunes with the other kind of prediction and compares the two."""
    mine = args.model.prediction
    other = "samples" if mine == "probs" else "probs"
    part = session.within(f"study/{other}")
    config = dataclasses.replace(args.model, prediction=other)
    result = fine_tune(args, config, part, layers)
    names = {kind: f"fine-tuned by {kind}" for kind in (mine, other)}
    nets = {
        "DBN": dbn_model.tied(layers),
        names[mine]: fine_tuned,
        names[other]: jax.device_get(result.state.params),
    }
    logs = {
        names[kind]: metrics_log.read_lines(where / "metrics.jsonl", result.step)
        for kind, where in ((mine, session.folder), (other, part.folder))
    }
    return wake_sleep_tasks.comparison(args, session, nets, logs)


def train(args: Args, session: Session) -> Result:
    """Fine-tunes the given DBN, the same for every seed, or a DBN of each seed's own."""
    if args.dbn:
        layers = dbn_layers.load(args.dbn, session.dataset)
        layers = members.repeated(layers, len(session.seeds))
    else:
        layers = train_dbn(args, session)
    return fine_tune(args, args.model, session, layers)


def report(args: Args, session: Session, result: Result) -> Path:
    """Answers the lab's questions about one fine-tuned DBN, returns the page."""
    config, drawing = args.model, results.Drawing(session.dataset, session.folder)
    folder = args.dbn or session.folder / "dbn"
    layers = dbn_layers.load(folder, session.dataset)
    fine_tuned = jax.device_get(result.state.params)
    nets = {
        "RBM": dbn_model.tied(layers[:1]),
        "DBN": dbn_model.tied(layers),
        "fine-tuned DBN": fine_tuned,
    }
    measured = dbn_tasks.measure_all(config.binarize, session.dataset, nets)
    error = number(measured["fine-tuned DBN"]["test_reconstruction_error"])
    print(f"step {result.step}: test_reconstruction_error {error}; drawing the report", flush=True)
    learner = wake_sleep.learner(config, session.dataset.train.images.shape[1:])
    results.write_samples(args, session, learner, result)
    log = {"fine-tuning": metrics_log.read_lines(session.folder / "metrics.jsonl", result.step)}
    steps, gain = args.generation_steps, args.gain
    generated, judged = dbn_tasks.generated(drawing, "3.3", nets, steps, gain)
    sections = [
        results.training(drawing, log, "test_reconstruction_error", dbn_tasks.ERROR),
        wake_sleep_tasks.untied_weights(drawing, layers, fine_tuned),
        dbn_tasks.reconstructions(drawing, "3.2", nets, config.binarize, measured),
        generated,
    ]
    values = measured["fine-tuned DBN"] | judged["fine-tuned DBN"]
    title, model = f"Up-down fine-tuning on {session.dataset.name}", described(config, folder)
    page = results.write(args, session, result, values, title, model, sections)
    return study(args, session, layers, fine_tuned) if args.study else page


def described(config: wake_sleep.Config, dbn_folder: Path) -> str:
    """The model in a line."""
    return (
        f"DBN of {dbn_folder} with hidden layers {'-'.join(map(str, config.hidden_sizes))}, "
        f"CD-{config.num_gibbs_steps} on top, rate {config.learning_rate}, predictions by "
        f"{'probabilities' if config.prediction == 'probs' else 'samples'}, binarisation "
        f"{config.binarize}"
    )


EXPERIMENT = Experiment(
    *("wake_sleep", PRESETS, QUICK, train, report),
    band=Band("test_reconstruction_error", 0.06),
    benchmark=Benchmark(flops=flops.of_wake_sleep, baselines=DENSE),
    comparison=Comparison(order=1, inner_runs=("dbn",)),
)

if __name__ == "__main__":
    cli.leave(cli.main(EXPERIMENT))
