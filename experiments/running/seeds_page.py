"""The summary of several seeds: mean, standard deviation and curves, on a page and in JSON."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.running import artifacts
from experiments.running.announcement import model_in_words
from experiments.running.args import RunArgs
from experiments.running.artifacts import in_words
from experiments.running.console import show
from experiments.running.experiment import Experiment
from experiments.running.session import Session
from jaxgen.files import make_folder, write_json
from jaxgen.report import figures
from jaxgen.report import page as report
from jaxgen.report.page import (
    Figure,
    Headline,
    Link,
    Section,
    Table,
    counted,
    number,
    with_error,
)
from jaxgen.runs import manifest as run_manifest
from jaxgen.runs import metrics_log
from jaxgen.runs.files import FIGURES, LOG, PAGE, SUMMARY
from jaxgen.runs.samples import read_samples
from jaxgen.runs.summary import contents_of
from jaxgen.training.loop import Result

NUM_SHOWN = 20
"""Samples of a seed."""
MAX_ROWS = 10
"""Seeds whose samples are shown."""


def mean_and_std(summaries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean, sample standard deviation (n - 1 in the denominator) and values of each metric."""
    values = {
        name: [summary["metrics"][name] for summary in summaries]
        for name in summaries[0]["metrics"]
    }
    return {
        name: {"mean": float(np.mean(x)), "std": float(np.std(x, ddof=1)), "values": x}
        for name, x in values.items()
    }


def summary(args: RunArgs, session: Session, result: Result) -> dict[str, Any]:
    """The content of the root's `summary.json`; times are of this process, for all seeds."""
    found = [json.loads((f / SUMMARY).read_bytes()) for f in session.seed_folders]
    return {
        "experiment": session.experiment,
        "dataset": session.dataset.name,
        "preset": args.preset,
        "seeds": [*session.seeds],
        "epochs": args.epochs,
        "steps": result.step,
        "digests": {str(x["seed"]): x["digest"] for x in found},
        "data_digest": session.dataset.digest,
        "image_shape": [*session.image_shape],
        "class_names": [*session.dataset.class_names],
        "first_step": result.first_step,
        "compile_s": round(result.compile_s, 4),
        "train_s": round(result.train_s, 4),
        "peak_rss_bytes": run_manifest.peak_memory(),
        "metrics": mean_and_std(found),
    } | contents_of(session.folder)


def write(experiment: Experiment[Any], args: RunArgs, session: Session, result: Result) -> Path:
    """Writes the page of all seeds and, last, their summary, whose presence marks a whole run."""
    found = summary(args, session, result)
    metrics, seeds = found["metrics"], ", ".join(map(str, session.seeds))
    steps = result.step - result.first_step
    facts = {
        "data set": f"{session.dataset.name}, sha256 {session.dataset.digest}",
        "time": f"compilation {result.compile_s:.1f} s, training {result.train_s:.1f} s for "
        f"{steps} steps of all seeds in this process",
        "memory": f"{run_manifest.peak_memory() / 1e6:,.0f} MB at most in this process",
        "command": run_manifest.command(),
    }
    title, lead = f"{session.title}: seeds {seeds}", artifacts.lead(args, session, result.step)
    sections = [
        samples(session),
        measures(session, metrics),
        pages(session, found["digests"]),
        curves(session, metrics, result.step),
    ]
    note = f"mean and standard deviation over {len(session.seeds)} seeds"
    headline = [
        Headline(in_words(name), with_error(x["mean"], x["std"]), note)
        for name, x in experiment.headline(metrics).items()
    ]
    page = report.write_page(
        session.folder / PAGE,
        title,
        facts=facts,
        sections=sections,
        lead=[f"Model: {model_in_words(experiment, args)}.", *lead],
        headline=headline,
    )
    write_json(session.folder / SUMMARY, found)
    means = [f"{k} {with_error(x['mean'], x['std'], '+-')}" for k, x in metrics.items()]
    show(f"mean and standard deviation over seeds {seeds}: {', '.join(means)}")
    return page


def samples(session: Session) -> Section:
    """The first samples of each of the first seeds, a row a seed."""
    pairs = [*zip(session.seeds, session.seed_folders, strict=True)][:MAX_ROWS]
    strips = {f"seed {seed}": read_samples(folder)[:NUM_SHOWN] for seed, folder in pairs}
    make_folder(session.folder / FIGURES)
    figure = figures.rows_of(strips)
    path = figures.save(figure, session.folder / FIGURES / "seeds_samples.png")
    title = f"The first {NUM_SHOWN} samples of each seed, as they came"
    shown = Figure(path, title, str(figure.get_label()), "full")
    rest = len(session.seeds) - len(pairs)
    have = "has its own on its page" if rest == 1 else "have theirs on their own pages"
    answer = [f"{counted(rest, 'more seed')} {have}."] if rest else []
    return Section("samples", "Samples of each seed", answer, [shown], part="pictures")


def measures(session: Session, metrics: Mapping[str, Mapping[str, Any]]) -> Section:
    """A table: measures by seeds, with mean and standard deviation."""
    rows = [
        [name, number(x["mean"]), number(x["std"], 2), *(number(value) for value in x["values"])]
        for name, x in metrics.items()
    ]
    columns = ["measure", "mean", "standard deviation", *(f"seed {s}" for s in session.seeds)]
    answer = (
        "The standard deviation is that of one seed, with n - 1 in the denominator; that of the "
        f"mean is smaller by the root of n = {len(session.seeds)}. All seeds are measured on the "
        "same images with the same noise. Times are those of the program that trains all."
    )
    return Section("seeds", "Mean and standard deviation", [answer], (), Table(columns, rows))


def pages(session: Session, digests: Mapping[str, str]) -> Section:
    """The parameters of each seed by their digests, and a link to its page."""
    links = []
    for seed, folder in zip(session.seeds, session.seed_folders, strict=True):
        where = os.path.relpath(folder, session.folder)
        links.append(Link(f"report of seed {seed}", f"{where}/report.html"))
    rows = [[f"seed {seed}", digest] for seed, digest in digests.items()]
    answer = "Each seed has a whole run folder with a page of its own."
    table = Table(["", "sha256 of the parameters"], rows)
    return Section("pages", "The seeds", [answer], (), table, links, part="provenance")


def curves(session: Session, metrics: Mapping[str, Any], last_step: int) -> Section:
    """Each measure that is in a log as well over the epochs, one curve per seed.

    Measures that never change, in any seed, are a sentence in place of curves.
    """
    first, *_ = session.seed_folders
    logs = sorted(first.glob(LOG)) or sorted(first.glob("layer*/metrics.jsonl"))
    folder, shown, still = session.folder / FIGURES, [], []
    make_folder(folder)
    for log in (log.relative_to(first) for log in logs):
        lines = {
            f"seed {seed}": metrics_log.read_lines(one / log, last_step)
            for seed, one in zip(session.seeds, session.seed_folders, strict=True)
        }
        names = {name for line in lines[f"seed {session.seeds[0]}"] for name in line}
        for name in (name for name in metrics if name in names):
            words, part = in_words(name), "" if log.parent == Path() else f"{log.parent}_"
            title = f"{part} {words}".replace("_", " ").strip().capitalize()
            curve = {seed: series(found, name) for seed, found in lines.items()}
            values = {value for _, each in curve.values() for value in each}
            if len(values) == 1:
                still.append(f"{title} is {number(values.pop())}")
                continue
            figure = figures.curves(curve, x="epoch", y=words)
            path = figures.save(figure, folder / f"seeds_{part}{name}.png")
            shown.append(Figure(path, title, str(figure.get_label())))
    answer = [f"In all epochs and seeds: {'; '.join(still)}."] if still else []
    return Section("training", "One curve per seed", answer, shown, part="pictures")


def series(lines: Sequence[Mapping[str, Any]], name: str) -> tuple[list[float], list[float]]:
    """The epochs of a measure, and its values."""
    taken = [line for line in lines if name in line]
    return [line["epoch"] for line in taken], [line[name] for line in taken]
