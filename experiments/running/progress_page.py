"""The page of a run in training: what there is to see so far, in the place of the page to come."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from experiments.running.args import RunArgs
from experiments.running.artifacts import in_words
from experiments.running.console import clock
from experiments.running.session import Session
from experiments.running.signals import temporary_folder
from jaxgen.report import figures
from jaxgen.report import page as report
from jaxgen.report.page import Figure, Section, Table, number
from jaxgen.runs import manifest as run_manifest
from jaxgen.runs import metrics_log
from jaxgen.runs.files import LOG, PAGE, SUMMARY
from jaxgen.training.loop import Progress

NUM_CURVES = 4
"""Metrics that are drawn; a table has the last value of all."""

Phase = Literal["in progress", "stopped", "trained"]
FOLLOWS: Mapping[Phase, str] = {
    "in progress": "this page is drawn again at growing distances of time",
    "stopped": "the command with --resume goes on",
    "trained": "training has ended; the report is being drawn",
}
"""The words for what comes next, by the phase of a run."""


def is_there(session: Session) -> bool:
    """Whether a run in training has a page that is to be kept up to date."""
    root = session.root
    return (root / PAGE).exists() and not (root / SUMMARY).exists()


def write(
    args: RunArgs,
    session: Session,
    progress: Progress,
    shown: Mapping[str, str],
    phase: Phase = "in progress",
) -> Path | None:
    """Writes `report.html` in the root of a run in training; returns it.

    A page of a run that was finished before stays, and None is returned. It takes about a second:
    curves of the log and the newest pictures, and no measure.

    Args:
        args: the flags.
        session: the run; the page names the part of it that is in training.
        progress: where the training is.
        shown: metrics that are drawn before the others, and what they are called.
        phase: whether the training goes on, was stopped before its last step, or has ended.
    """
    page = session.root / PAGE
    if (session.root / SUMMARY).exists():
        return None
    epochs = progress.num_steps // progress.steps_per_epoch
    where = f"epoch {progress.step / progress.steps_per_epoch:.1f} of {epochs}"
    part = f", {session.part}" if session.part else ""
    follows = FOLLOWS[phase]
    if phase == "trained" and session.part:
        follows = "the training of this part has ended; the next part or the report follows"
    facts = {
        phase: f"{where}, after {clock(progress.train_s)} of training; {follows}, and the page of "
        "the whole run takes its place",
        "drawn at": time.strftime("%Y-%m-%d %H:%M:%S"),
        "data set": f"{session.dataset.name}, sha256 {session.dataset.digest}",
        "training": f"preset {args.preset}, batch {args.batch_size}, "
        f"seed {', '.join(map(str, session.seeds))}",
        "command": run_manifest.command(),
    }
    title = f"{session.title}{part}, {phase}: {where}"
    lines = metrics_log.read_lines(session.folder / LOG, progress.step)
    with temporary_folder() as folder:  # the page has the curves in it
        sections = [*_pictures(session), _curves(session, lines, progress, shown, folder)]
        return report.write_page(page, title, facts=facts, sections=sections)


def _pictures(session: Session) -> list[Section]:
    """The newest images of the model in training."""
    latest = [folder / "progress" / "latest.png" for folder in session.seed_folders]
    alt = "a sheet of sixteen images side by side, as the model draws them now"
    there = [
        Figure(path, f"The newest images, seed {seed}", alt)
        for seed, path in zip(session.seeds, latest, strict=True)
        if path.exists()
    ]
    answer = (
        "They are drawn from the same random numbers every time, so they change by learning alone."
    )
    return [Section("pictures", "Images", [answer], there, part="pictures")] if there else []


def _curves(
    session: Session,
    lines: Sequence[Mapping[str, Any]],
    progress: Progress,
    shown: Mapping[str, str],
    folder: Path,
) -> Section:
    """Curves of the first metrics, whose figures go to a folder, and the last values of all."""
    last: dict[str, Any] = {}
    for line in [*lines, {name: x.tolist() for name, x in progress.running.items()}]:
        last |= {name: x for name, x in line.items() if name not in ("step", "epoch", "train_s")}
    values = {name: x for name, x in last.items() if not isinstance(x, str)}
    names = [*(x for x in shown if x in values), *(x for x in values if x not in shown)]
    drawn = []
    curves = [name for name in names if sum(name in line for line in lines) > 1]
    for name in curves[:NUM_CURVES]:
        title = shown.get(name, in_words(name))
        figure = figures.curves(_series(session, lines, name), x="epoch", y=title)
        path = figures.save(figure, folder / f"{name}.png")
        alt = str(figure.get_label())
        drawn.append(Figure(path, f"{title[:1].upper()}{title[1:]}", alt))
    seeds = [f"seed {seed}" for seed in session.seeds]
    rows = [[in_words(name), *map(number, _listed(values[name]))] for name in names]
    return Section("training", "The training so far", [], drawn, Table(["", *seeds], rows))


def _listed(value: Any) -> list[float]:
    """The values of all seeds."""
    return value if isinstance(value, list) else [value]


def _series(
    session: Session, lines: Sequence[Mapping[str, Any]], name: str
) -> dict[str, tuple[list[float], list[float]]]:
    """A metric over the epochs, a curve a seed."""
    taken = [(line["epoch"], _listed(line[name])) for line in lines if name in line]
    epochs = [epoch for epoch, _ in taken]
    return {
        f"seed {seed}": (epochs, [values[index] for _, values in taken])
        for index, seed in enumerate(session.seeds)
    }
