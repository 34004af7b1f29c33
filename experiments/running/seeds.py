"""Several seeds in one program: the measures, the log and the run folder of each.

Every leaf of the program's state has a leading axis [num_seeds], and every metric in its log is a
list. Each seed is measured alone, and an experiment's own `report` writes its run folder, so no
experiment knows whether its seed was alone. The root gets `summary.json` and `report.html` of all.
"""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.running import progress, seeds_page
from experiments.running.args import RunArgs
from experiments.running.console import show
from experiments.running.experiment import Experiment
from experiments.running.session import Session
from jaxgen.learner import State
from jaxgen.runs import manifest as run_manifest
from jaxgen.runs import metrics_log
from jaxgen.runs.files import LOG, SUMMARY
from jaxgen.runs.summary import damages, read_summary, seed_folder
from jaxgen.training import checkpoint
from jaxgen.training.loop import Result
from jaxgen.training.seeds import unstack_seeds

logger = logging.getLogger("jaxgen")


# ---- while they train


def evaluate_each(evaluate: progress.Evaluate, num_seeds: int) -> progress.Evaluate:
    """Lifts measures of one seed to all seeds: to arrays [num_seeds] if they are several."""
    if num_seeds == 1:
        return evaluate

    def evaluate_all(state: State) -> dict[str, Any]:
        measures = [evaluate(one) for one in unstack_seeds(state, num_seeds)]
        return {name: np.stack([values[name] for values in measures]) for name in measures[0]}

    return evaluate_all


def draw_each(
    pictures: Callable[[State], np.ndarray], session: Session
) -> Callable[[State], dict[Path, np.ndarray]]:
    """Lifts images of one seed to all seeds, by their folders."""
    folders = session.seed_folders
    return lambda state: {
        folder: pictures(one)
        for folder, one in zip(folders, unstack_seeds(state, len(folders)), strict=True)
    }


def split_log(session: Session, last_step: int) -> None:
    """Writes the log of each of several seeds, with its own numbers and the times of all."""
    if len(session.seeds) == 1:
        return
    lines = metrics_log.read_lines(session.folder / LOG, last_step)
    for index, folder in enumerate(session.seed_folders):
        own = [
            {name: value[index] if isinstance(value, list) else value for name, value in x.items()}
            for x in lines
        ]
        metrics_log.write_lines(folder / LOG, own)


# ---- when they are trained


def report(experiment: Experiment[Any], args: RunArgs, session: Session, result: Result) -> Path:
    """Writes the run folder of each seed and, of several, the summary of all; returns the page."""
    if len(session.seeds) == 1:
        return experiment.report(args, session, result)
    if getattr(args, "study", False):
        logger.info("the study is run for one seed after the other, %d times", len(session.seeds))
    states = unstack_seeds(result.state, len(session.seeds))
    for seed, folder, state in zip(session.seeds, session.seed_folders, states, strict=True):
        alone = dataclasses.replace(args, seed=seed, seeds=(), out=folder)
        own = session._replace(root=seed_folder(session.root, seed)).for_run(alone)
        if _already_reported(alone, own, state):
            note = "finished, left as it is; remove its summary.json to have it drawn again"
            show(f"seed {seed}, in {folder}: {note}")
            continue
        show(f"seed {seed}, in {folder}:")
        experiment.report(alone, own, result._replace(state=state))
    return seeds_page.write(experiment, args, session, result)


def _already_reported(args: RunArgs, session: Session, state: State) -> bool:
    """Records the run of a seed; True if its folder holds the whole report of this very run.

    That is so if settings, data, code and environment are those that were written down before
    and the summary, which is written last, has the digest of the state. A study comes after the
    summary, and the run that `--vae` names may have changed, so with them nothing counts as
    reported.
    """
    folder = session.folder
    before, digest = run_manifest.read_record(folder), _reported_digest(folder)
    session.record()
    further = getattr(args, "study", False) or getattr(args, "vae", None)
    same = not further and before == run_manifest.read_record(folder)
    if same and digest == checkpoint.digest(state.params):
        return True
    (folder / SUMMARY).unlink(missing_ok=True)  # or half a report would count as whole
    return False


def _reported_digest(folder: Path) -> str | None:
    """The digest of the parameters in the summary of one seed; None without its files."""
    summary = read_summary(folder)
    return None if damages(folder, summary) else str(summary.get("digest"))
