"""Training a DBN layer by layer in its run folder, and reading a trained one back."""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np

from experiments.lab.dbn import labels, tasks
from experiments.lab.drawing import Drawing, error_curve
from experiments.lab.rbm.training import (
    SHOWN,
    LayerArgs,
    base_rates,
    input_in_words,
    make_evaluator,
    pixels_of,
    rate,
    samples_so_far,
)
from experiments.running.args import RunArgs, condition_on_classes
from experiments.running.session import Session
from experiments.running.train import sum_results, train_in_session
from jaxgen import runs
from jaxgen.data import Dataset
from jaxgen.data.dataset import find_renamed
from jaxgen.errors import CheckpointError, SettingError
from jaxgen.evaluation.monitors import net_monitors
from jaxgen.learner import Learner, PRNGKey
from jaxgen.models import dbn, rbm
from jaxgen.models.dbn import Layers
from jaxgen.report.page import Section, counted
from jaxgen.runs.settings import NEW_TO_DBNS, printable
from jaxgen.runs.summary import read_summary
from jaxgen.training import checkpoint
from jaxgen.training.loop import Result
from jaxgen.training.seeds import start_from

logger = logging.getLogger("jaxgen")


@dataclass(frozen=True)
class DBNArgs(LayerArgs):
    """The flags that shape a DBN."""

    epochs: int = 100
    """Passes over the training set, for each layer."""
    model: dbn.Config = field(default_factory=dbn.Config)
    conditional: bool = False
    """Label units in the top pair: it classifies, and draws a class that is asked for."""

    @property
    def fixed_lengths(self) -> tuple[str, ...]:
        """Those of a layer, because the layers above stand on its last state."""
        return ("epochs",)

    @property
    def epochs_in_words(self) -> str:
        """Those of a layer; the updates of a page are those of all layers."""
        return f"{counted(self.epochs, 'epoch')} for each layer"

    def fit_to(self, dataset: Dataset) -> Self:
        """The settings with the classes of the data set if the model is to know them."""
        return condition_on_classes(self, self.conditional, dataset)


def describe(config: dbn.Config, session: Session) -> str:
    """The model in a line, for example 784-100-100, CD-k with k = 1, 2, ..."""
    rule = f"{'centred ' if config.centred else ''}{'PCD' if config.persistent else 'CD'}"
    sizes = (session.dataset.train.images[0].size, *config.hidden_sizes)
    steps = (dbn.rbm_config(config, i).num_gibbs_steps for i in range(len(config.hidden_sizes)))
    label_units = f" + {config.num_classes} label units" if config.num_classes else ""
    gaussian = config.visible == "gaussian"
    first = f" above the first, {config.gaussian_learning_rate} there" if gaussian else ""
    return (
        f"{'-'.join(map(str, sizes))}{label_units}, {rule}-k with k = "
        f"{', '.join(map(str, steps))}, {rate(config)}{first}, one layer after the other; "
        f"{input_in_words(config, session.image_shape)}"
    )


def name_of(layer: int) -> str:
    """The folder of a layer's log and checkpoints; layers count from 1 in names, from 0 in code."""
    return f"layer{layer + 1}"


def train_above(
    args: RunArgs,
    session: Session,
    learner_above: Callable[..., Learner],
    lower: Layers,
    settings: Mapping[str, Any],
    mean_pixels: np.ndarray | None = None,
    **watch: Any,
) -> Result:
    """Trains the layer above `lower` in a folder of its own, or finds it trained.

    The number of epochs is one of its settings, because the layers above stand on its last state.
    Of several seeds each stands on its own layers, along a leading axis [num_seeds] of `lower`.

    Args:
        args: the flags of this training.
        session: the run, or the part of it, that the layer is part of.
        learner_above: ``lower -> learner`` of a `dbn.State`, in which its steps find the layers.
        lower: layers that are trained.
        settings: of the model; with epochs and `lower` they name the checkpoints.
        mean_pixels: those at whose log odds the visible biases start; None leaves them at 0.
        watch: more arguments of `train_in_session`.
    """

    def init(key: PRNGKey, below: Layers) -> dbn.State:
        state: dbn.State = learner_above(below).init(key)
        if mean_pixels is None:
            return state
        return state._replace(top=rbm.at_base_rates(state.top, mean_pixels))

    one = jax.tree.map(lambda layer: layer[0], lower) if len(session.seeds) > 1 else lower
    named = {**settings, "epochs": args.epochs, "lower": checkpoint.digest(lower)}
    if mean_pixels is not None:
        named["base_rates"] = True
    return train_in_session(
        args,
        learner_above(one),
        session.within(name_of(len(lower))),
        named,
        state=start_from(init, session.seeds, lower),
        **watch,
    )


def train_layer(args: DBNArgs, session: Session, lower: Layers) -> Result:
    """Trains the layer of a DBN above `lower`, or finds it trained; see `train_above`."""
    config = args.model
    logger.info("layer %d of %s", len(lower) + 1, describe(config, session))
    evaluate = make_evaluator(net_monitors, config.binarize, session.dataset)
    pixels = None if lower else pixels_of(config, session.dataset)
    learner_above = partial(dbn.learner, config, session.image_shape, pixels=pixels)
    named = dataclasses.asdict(config)
    settings = {name: x for name, x in named.items() if x or name not in NEW_TO_DBNS}

    def measure(state: dbn.State) -> dict[str, float]:
        net = dbn.tie(state.params)
        return evaluate(net) | labels.test_error(net, session.dataset, config.binarize)

    return train_above(
        args,
        session,
        learner_above,
        lower,
        settings,
        None if lower else base_rates(args, session.dataset),
        evaluate=measure,
        pictures=samples_so_far(learner_above()),
        at_intervals=False,
        shown=SHOWN,
    )


def train_layers(args: DBNArgs, session: Session, lower: Layers = ()) -> Result:
    """Trains all layers above `lower`, one after the other; steps and times are those of all."""
    results: list[Result] = []
    while len(lower) < len(args.model.hidden_sizes):
        results.append(train_layer(args, session, lower))
        lower = results[-1].state.params
    return sum_results(results)


def layer_curves(drawing: Drawing, num_layers: int, last_step: int) -> Section:
    """The test reconstruction error over the epochs, layer by layer."""
    folders = {f"layer {i + 1}": drawing.folder / name_of(i) for i in range(num_layers)}
    meaning = f"{tasks.ERROR}; of each layer in training, with those below it"
    return error_curve(drawing, folders, meaning, last_step=last_step)


def load(folder: Path, dataset: Dataset) -> Layers:
    """The layers of a finished DBN run, checked to belong to this data set.

    Errors:
        CheckpointError: the folder holds no finished DBN run, or its parameters are damaged.
        SettingError: the run is of another data set.
    """
    summary = read_summary(folder)
    seeds = ", of several seeds" if "digests" in summary else ""
    if seeds or summary.get("experiment") != "dbn" or "data_digest" not in summary:
        raise CheckpointError(
            expected=f"a finished run of experiments.dbn, of one seed, in {folder}",
            found=f"one of experiments.{summary['experiment']}{seeds}" if summary else "none",
            remedy="set --dbn to its folder, or leave it out to train one first",
        )
    if summary["data_digest"] != dataset.digest:
        name, there = summary.get("dataset"), printable(str(summary["data_digest"]), 16)
        raise SettingError(
            expected=f"a DBN trained on {dataset.name}, sha256 {dataset.digest[:16]}",
            found=f"one trained on {name}, sha256 {there}, in {folder}",
            remedy=f"{'' if name == dataset.name else f'set --dataset {name}, or '}"
            "set --dbn to another run",
        )
    run = runs.load(folder)
    named = run.summary.get("class_names", dataset.class_names)
    if other := find_renamed(dataset.class_names, named):
        raise SettingError(
            expected=f"a DBN trained on {dataset.name} with the class {other[0]}",
            found=f"one with {other[1]} in its place, in {folder}",
            remedy="name the classes as they were, or set --dbn to another run",
        )
    layers: Layers = run.params
    return layers
