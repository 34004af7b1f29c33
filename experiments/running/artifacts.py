"""What every run leaves behind: figures, samples, parameters, a page and, last, a summary."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from experiments.running.args import RunArgs
from experiments.running.session import Session
from jaxgen.data import Dataset
from jaxgen.export import safetensors
from jaxgen.files import appearing_whole, write_atomically, write_json
from jaxgen.learner import Learner, named_key
from jaxgen.learner import task_key as task_key
from jaxgen.report import figures
from jaxgen.report import page as report
from jaxgen.report.page import Section, Table, number
from jaxgen.runs import manifest as run_manifest
from jaxgen.training import checkpoint
from jaxgen.training.loop import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_SHOWN = 20
"""Test images shown in a figure: always the first ones."""
NUM_SAMPLES = 100
"""Images in `samples.npz`."""
MEASURES, MEASURES_PAGE = "measures.json", "measures.html"
"""What `experiments.compare` leaves in a run folder."""


class Drawing(NamedTuple):
    """Where the figures of a run go, and the data they show."""

    dataset: Dataset
    folder: Path
    """Figures go to its folder `figures`."""

    def save(self, name: str, figure: "Figure") -> Path:
        """Writes a figure."""
        folder = self.folder / "figures"
        folder.mkdir(exist_ok=True, parents=True)
        return figures.save(figure, folder / f"{name}.png")

    def images(self, visible: Any) -> np.ndarray:
        """Visible units [N, V] as images [N, H, W, C]."""
        return np.asarray(visible).reshape(-1, *self.dataset.test.images.shape[1:])


def training(
    drawing: Drawing,
    logs: Mapping[str, Sequence[Mapping[str, Any]]],
    measure: str,
    what: str,
    file: str = "training",
) -> Section:
    """How a measure went over the epochs, one curve per log.

    Args:
        drawing: where the figure goes.
        logs: the lines of each `metrics.jsonl`, by the name of its curve.
        measure: the name of the measure in the lines; not every line has it.
        what: what the measure is, in words.
        file: the name of the figure.
    """
    lines, said = {}, []
    for name, log in logs.items():
        evaluated = [line for line in log if measure in line]
        epochs = [line["epoch"] for line in evaluated]
        values = [line[measure] for line in evaluated]
        lines[name] = (epochs, values)
        said.append(
            f"{name}: {number(values[0])} after epoch {epochs[0]:.0f}, "
            f"{number(values[-1])} after epoch {epochs[-1]:.0f}."
        )
    title = measure.replace("_", " ").capitalize()
    figure = figures.curves(lines, title, "epoch", measure.replace("_", " "))
    path = drawing.save(file, figure)
    return Section("training", title, [f"{title}: {what}.", *said], [path])


def total(results: Sequence[Result]) -> Result:
    """Several trainings, one after the other, as one; its state is the last one's."""
    return Result(
        state=results[-1].state,
        step=sum(result.step for result in results),
        first_step=sum(result.first_step for result in results),
        finished=all(result.finished for result in results),
        compile_s=sum(result.compile_s for result in results),
        train_s=sum(result.train_s for result in results),
    )


def facts(args: RunArgs, session: Session, result: Result, model: str) -> dict[str, str]:
    """The table at the head of a page."""
    steps = result.step - result.first_step
    train_s = f"{result.train_s:.1f} s for {steps} steps in this process"
    return {
        "data set": f"{session.dataset.name}, sha256 {session.dataset.digest}",
        "model": model,
        "training": f"{args.epochs} epochs, batch {args.batch_size}, seed {args.seed}",
        "time": f"compilation {result.compile_s:.1f} s, training {train_s}",
        "memory": f"{run_manifest.peak_memory() / 1e6:,.0f} MB at most in this process",
        "parameters": f"sha256 {checkpoint.digest(result.state.params)}",
        "command": run_manifest.command(),
    }


def summary(args: RunArgs, session: Session, result: Result, metrics: Mapping[str, float]) -> dict:
    """The content of `summary.json`; times and rates are of this process alone."""
    steps = result.step - result.first_step
    return {
        "experiment": session.experiment,
        "dataset": session.dataset.name,
        "preset": args.preset,
        "seed": args.seed,
        "epochs": args.epochs,
        "steps": result.step,
        "digest": checkpoint.digest(result.state.params),
        "data_digest": session.dataset.digest,
        "image_shape": [*session.dataset.train.images.shape[1:]],
        "first_step": result.first_step,
        "compile_s": round(result.compile_s, 4),
        "train_s": round(result.train_s, 4),
        "steps_per_s": round(steps / result.train_s, 2) if steps else 0.0,
        "peak_rss_bytes": run_manifest.peak_memory(),
        "metrics": {name: float(value) for name, value in metrics.items()},
    }


def write_samples(args: RunArgs, session: Session, learner: Learner, result: Result) -> np.ndarray:
    """Draws the first samples of the run's seed, and keeps them in `samples.npz`."""
    key = named_key(jax.random.key(args.seed), "sample")
    images = jax.jit(learner.sample, static_argnums=2)(result.state, key, NUM_SAMPLES)
    with appearing_whole(session.folder / "samples.npz") as file:
        np.savez_compressed(file, images=images)
    return np.asarray(images)


def link_measures(folder: Path, digest: str) -> None:
    """Links the measures that `experiments.compare` took of these parameters, if it has."""
    try:
        measured = json.loads((folder / MEASURES).read_bytes())["of"]["parameters"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if measured == digest:
        report.add_link(folder / "report.html", "measures on the yardstick", MEASURES_PAGE)


def write(
    args: RunArgs,
    session: Session,
    result: Result,
    measured: Mapping[str, float],
    title: str,
    model: str,
    sections: Sequence[Section],
) -> Path:
    """Parameters, page and, last, the summary: where it is, the run is whole."""
    folder, params = session.folder, jax.device_get(result.state.params)
    metadata = {"experiment": session.experiment}
    safetensors.save_params(folder / "params.safetensors", safetensors.flatten(params), metadata)
    head = facts(args, session, result, model)
    page = report.write_page(folder / "report.html", title, head, sections)
    link_measures(folder, checkpoint.digest(params))
    write_json(folder / "summary.json", summary(args, session, result, measured))
    return page


def write_study(
    folder: Path,
    title: str,
    facts: Mapping[str, str],
    sections: Sequence[Section],
    table: Table,
    rows: Sequence[Mapping[str, Any]],
) -> Path:
    """A comparison as a page, as markdown and as JSON."""
    lines = [f"# {title}\n"] + [f"- {name}: {text}" for name, text in facts.items()] + [""]
    text = "\n".join(lines) + "\n" + report.markdown(table)
    write_atomically(folder / "study.md", text.encode())
    write_json(folder / "study.json", rows)
    return report.write_page(folder / "study.html", title, facts, sections)
