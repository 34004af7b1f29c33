"""What fine-tuning does to the weights (task 3.1), and the two kinds of prediction compared."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lab.dbn import tasks as dbn_tasks
from experiments.running import artifacts as results
from experiments.running.artifacts import Drawing
from experiments.running.session import Session
from jaxgen.models.dbn import Layers, Net
from jaxgen.report import figures
from jaxgen.report.page import Section, number
from jaxgen.runs import manifest as run_manifest

WHAT = (
    "The delta rules compare what they predict with what was drawn. The paper predicts with "
    "probabilities; the lab draws its predictions from them, and the dream's pixels too, which "
    "leaves the mean of an update as it is but for the dream, and adds noise."
)


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
    sheets = {
        "recognition": (recognition, "Recognition weights R1, one panel per unit of h1"),
        "generative": (generative, "Generative weights W1', one panel per unit of h1"),
        "difference": (difference, "|R1 - W1'|, one panel per unit of h1; white is no difference"),
    }
    paths = [
        drawing.save(f"3_1_{name}", figures.filter_sheet(drawing.images(weights.T), title, bound=b))
        for (name, (weights, title)), b in zip(sheets.items(), (bound, bound, 0.0), strict=True)
    ]
    per_unit = np.linalg.norm(recognition - generative, axis=0) / np.linalg.norm(before, axis=0)
    answer = [
        "Both directions start at the DBN's W1. Fine-tuning moves R1 by "
        f"{number(relative_change(recognition, before), 3)} and W1' by "
        f"{number(relative_change(generative, before), 3)} of the norm of W1; they end "
        f"{number(relative_change(recognition, generative), 3)} of the norm of W1' apart. By unit "
        f"the distance is {number(per_unit.min(), 3)} to {number(per_unit.max(), 3)} of the "
        f"norm of its filter, {number(float(np.median(per_unit)), 3)} in the median.",
        f"The mean absolute weight is {number(float(np.abs(before).mean()), 3)} before, "
        f"{number(float(np.abs(recognition).mean()), 3)} upward and "
        f"{number(float(np.abs(generative).mean()), 3)} downward after. The top pair moves by "
        f"{number(relative_change(np.asarray(net.top['w']), np.asarray(layers[-1]['w'])), 3)} of "
        "its norm.",
        *(["The pairs between are not shown."] if len(layers) > 2 else []),
    ]
    return Section("3.1", "Weights of the two directions", answer, paths)


def comparison(
    args: Any, session: Session, nets: Mapping[str, Net], logs: Mapping[str, Any]
) -> Path:
    """A page about the DBN and its fine-tuning by probabilities and by drawn predictions."""
    drawing, binary = results.Drawing(session.dataset, session.folder), args.model.binarize
    measured = dbn_tasks.measure_all(binary, session.dataset, nets)
    steps, gain = args.generation_steps, args.gain
    generated, judged = dbn_tasks.generated(drawing, "prediction samples", nets, steps, gain)
    measured = {name: values | judged[name] for name, values in measured.items()}
    curve = results.training(
        drawing, logs, "test_reconstruction_error", dbn_tasks.ERROR, "prediction_curve"
    )
    table = dbn_tasks.table(measured, dbn_tasks.COLUMNS)
    sections = [
        Section("prediction", "The numbers side by side", [WHAT], (), table),
        curve,
        dbn_tasks.reconstructions(drawing, "prediction pictures", nets, binary, measured),
        generated,
    ]
    title = f"Up-down study on {session.dataset.name}: what predicts, probabilities or samples"
    facts = {
        "command": run_manifest.command(),
        "training": f"{args.epochs} epochs, batch {args.batch_size}, seed {args.seed}, rate "
        f"{args.model.learning_rate}, from the same DBN",
        "error": dbn_tasks.ERROR,
        "samples": f"{dbn_tasks.NUM_JUDGED}, {steps} Gibbs steps from 10 % of top units on",
        "spread": "one seed",
    }
    rows = [{"name": name, **values} for name, values in measured.items()]
    return results.write_study(session.folder, title, facts, sections, table, rows)
