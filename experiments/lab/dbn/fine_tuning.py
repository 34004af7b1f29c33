"""The weights after fine-tuning (task 3.1), and the two kinds of prediction compared."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, Self, TypeVar

import jax
import numpy as np

from experiments.lab.dbn import tasks
from experiments.lab.dbn.tasks import Nets, TrainedNet
from experiments.lab.drawing import Drawing, error_curve
from experiments.lab.rbm.training import GenerationArgs
from experiments.lab.samples import EXPLAINED
from experiments.lab.study import SAME_ERROR, Study, Variant, run, variant
from experiments.running.args import condition_on_classes
from experiments.running.session import Session
from jaxgen.data import Dataset
from jaxgen.models import wake_sleep
from jaxgen.models.dbn import Layers, Net
from jaxgen.report import figures
from jaxgen.report.page import Section, Table, number
from jaxgen.training.loop import Result

TITLE = "Probabilities or samples as predictions"
PREDICTIONS = (
    "The delta rules compare what they predict with what was drawn. The paper predicts with "
    "probabilities; the lab draws its predictions from them, and the dream's pixels too, which "
    "leaves the mean of an update as it is but for the dream, and adds noise."
)


@dataclass(frozen=True)
class TuningArgs(GenerationArgs):
    """The flags that shape a fine-tuning."""

    model: wake_sleep.Config = field(default_factory=wake_sleep.Config)
    conditional: bool = False
    """Label units in the top pair: it classifies, and draws a class that is asked for."""

    @property
    def fixed_lengths(self) -> tuple[str, ...]:
        """Those of what lasts a share of the training."""
        return ("epochs",) if self.model.in_parts else ()

    def fit_to(self, dataset: Dataset) -> Self:
        """The settings with the classes of the data set if the model is to know them."""
        return condition_on_classes(self, self.conditional, dataset)


A = TypeVar("A", bound=TuningArgs)


def in_updates(args: A, dataset: Dataset) -> A:
    """The flags with the number of updates where something lasts a share of the training."""
    config = args.model
    if config.num_updates or not config.in_parts:
        return args
    steps = args.num_updates(dataset)
    return dataclasses.replace(args, model=dataclasses.replace(config, num_updates=steps))


ALIKE = 0.1
"""Distances that differ by no more than this part of the larger one are about the same."""
FineTune = Callable[[TuningArgs, Session], Result]
"""Fine-tunes a DBN in the folder of the session."""


def relative_change(after: np.ndarray, before: np.ndarray) -> float:
    """|after - before| / |before| in the Frobenius norm."""
    return float(np.linalg.norm(after - before) / np.linalg.norm(before))


def untied_weights(drawing: Drawing, layers: Layers, net: Net) -> Section:
    """3.1: recognition weights, generative weights and their absolute difference as sheets."""
    before = np.asarray(layers[0]["w"])
    recognition, generative = (
        np.asarray(side[0]["w"]) for side in (net.recognition, net.generative)
    )
    difference = np.abs(recognition - generative)
    bound = max(figures.colour_bound(weights) for weights in (recognition, generative))
    none = "white" if drawing.dataset.image_shape[-1] == 1 else "grey"
    sheets = {
        "recognition": (recognition, "Recognition weights R1, one panel per unit of h1"),
        "generative": (generative, "Generative weights W1', one panel per unit of h1"),
        "difference": (
            difference,
            f"|R1 - W1'|, one panel per unit of h1; {none} is no difference",
        ),
    }
    shown = [
        drawing.save(f"3_1_{name}", figures.filter_sheet(drawing.images(weights.T), bound=b), title)
        for (name, (weights, title)), b in zip(sheets.items(), (bound, bound, 0.0), strict=True)
    ]
    per_unit = np.linalg.norm(recognition - generative, axis=0) / np.linalg.norm(before, axis=0)
    moved = {
        "up": relative_change(recognition, before),
        "down": relative_change(generative, before),
    }
    apart = relative_change(recognition, generative)
    answer = [
        f"Fine-tuning moves {further_in_words(moved['up'], moved['down'])}: R1 by "
        f"{moved['up']:.1%} and W1' by {moved['down']:.1%} of the norm of W1, at which both start. "
        f"They end {apart:.1%} of the norm of W1' apart.",
        f"By unit the distance is {number(per_unit.min(), 3)} to {number(per_unit.max(), 3)} of "
        f"the norm of its filter, {number(float(np.median(per_unit)), 3)} in the median. "
        f"The mean absolute weight is {number(float(np.abs(before).mean()), 3)} before, "
        f"{number(float(np.abs(recognition).mean()), 3)} upward and "
        f"{number(float(np.abs(generative).mean()), 3)} downward after. The top pair moves by "
        f"{number(relative_change(np.asarray(net.top['w']), np.asarray(layers[-1]['w'])), 3)} of "
        "its norm.",
        *(["The pairs between are not shown."] if len(layers) > 2 else []),
    ]
    return Section(
        "3.1",
        "Weights of the two directions",
        answer,
        shown,
        question="How far apart do the recognition and the generative weights end?",
    )


def further_in_words(up: float, down: float) -> str:
    """Which weights moved further, after "Fine-tuning moves"."""
    if abs(up - down) <= ALIKE * max(up, down):
        return "the weights of both directions about as far"
    return f"the {'recognition' if up > down else 'generative'} weights further"


def fine_tune_variant(
    fine_tune: FineTune, variants: Sequence[Variant[TuningArgs]], session: Session
) -> dict[str, TrainedNet]:
    """Fine-tunes the DBN with the other kind of prediction."""
    ((name, _, args),) = variants
    net = jax.device_get(fine_tune(args, session).state.params)
    drawing = Drawing(session.dataset, session.folder)
    return tasks.trained_nets(args, drawing, args.model.binarize, {name: net})


def describe_winner(nets: Nets) -> str:
    """Which of two fine-tunings of the DBN, row 0, is better, and whether one can tell."""
    (_, before), *tuned = nets.items()
    start = before.measures["test_reconstruction_error"]
    words = []
    for name, each in tuned:
        change = each.measures["test_reconstruction_error"] / max(start, 1e-12) - 1
        words.append(f"{name} changes the reconstruction error by {change:+.1%}")
    (one, a), (other, b) = tuned
    errors = [each.measures["test_reconstruction_error"] for each in (a, b)]
    if max(errors) <= (1 + SAME_ERROR) * min(errors):
        found = f"{one} and {other} cannot be told apart by their error: seeds differ as much."
    else:
        better = one if errors[0] < errors[1] else other
        found = f"{better} reconstructs better, by more than seeds differ."
    return (
        f"{found} Against the DBN, {'; '.join(words)}. Up-down tunes the bound of the likelihood "
        "and not this error; `python -m experiments.compare` measures that bound."
    )


def sections(
    args: TuningArgs, session: Session, folders: Mapping[str, Path], nets: Nets, table: Table
) -> list[Section]:
    """The numbers, curves, reconstructions and samples of the DBN and both fine-tunings."""
    drawing = Drawing(session.dataset, session.folder)
    return [
        Section(
            "prediction",
            TITLE,
            [describe_winner(nets), PREDICTIONS],
            (),
            table,
            question="Does it matter whether the delta rules predict by probabilities or samples?",
        ),
        error_curve(drawing, folders, tasks.ERROR, "prediction_curve"),
        tasks.reconstructions(drawing, "prediction pictures", nets, args.model.binarize),
        tasks.generated_images(args, drawing, "prediction samples", nets),
    ]


def compare(
    args: TuningArgs, session: Session, dbn: TrainedNet, tuned: TrainedNet, fine_tune: FineTune
) -> Path:
    """Fine-tunes with the other kind of prediction, compares the two and returns the page."""
    mine = args.model.prediction
    other: Literal["probs", "samples"] = "samples" if mine == "probs" else "probs"
    names = {kind: f"fine-tuned by {kind}" for kind in (mine, other)}
    folders = {names[mine]: session.folder, names[other]: session.folder / "study" / other}
    study = Study(
        title=f"Up-down study on {session.dataset.name}: what predicts, probabilities or samples",
        facts={
            "start": f"the same DBN, rate {args.model.learning_rate}",
            "error": tasks.ERROR,
            "samples": f"{tasks.NUM_MEASURED}, {args.generation_steps} Gibbs steps from 10% of "
            f"top units on. {EXPLAINED}",
        },
        variants=[variant(args, names[other], other, prediction=other)],
        train=partial(fine_tune_variant, fine_tune),
        sections=partial(sections, args, session, folders),
        columns=tasks.COLUMNS,
        heading="",
        digits=3,
    )
    return run(study, args, session, {"DBN": dbn, names[mine]: tuned})
