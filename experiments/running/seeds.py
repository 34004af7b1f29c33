"""Several seeds in one program: the state, the measures and the run folder of each.

Every leaf of the program's state has a leading axis [num_seeds], and every metric in its log is a
list. Each seed is measured alone, and an experiment's own `report` writes its run folder, so no
experiment knows whether its seed was alone. The root gets `summary.json` and `report.html` of all.
"""

import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import jax
import numpy as np

from experiments.running import progress as monitor
from experiments.running import seeds_page as members_page
from experiments.running.session import Session, member_root, session_for
from jaxgen.learner import PRNGKey, State, named_key
from jaxgen.runs import manifest as run_manifest
from jaxgen.runs import metrics_log
from jaxgen.training import checkpoint
from jaxgen.training.epoch import RUN_ONCE, over_seeds, root_keys
from jaxgen.training.loop import Result

logger = logging.getLogger("jaxgen")

Tree = TypeVar("Tree")
Report: TypeAlias = Callable[[Any, Session, Result], Path]
"""Writes everything a run folder holds about one trained seed; returns its page."""


def each(tree: Tree, num_seeds: int) -> list[Tree]:
    """The tree of each of several seeds, as NumPy arrays; that of one is the tree itself."""
    if num_seeds == 1:
        return [tree]
    host = jax.device_get(tree)
    return [jax.tree.map(lambda leaf, i=index: leaf[i], host) for index in range(num_seeds)]


def repeated(tree: Tree, num_seeds: int) -> Tree:
    """A tree that all seeds share, with a leading axis where they are several."""
    if num_seeds == 1:
        return tree
    return jax.tree.map(lambda leaf: np.stack([leaf] * num_seeds), tree)


def start(init: Callable[[PRNGKey, Any], State], seeds: Sequence[int], given: Any) -> State:
    """What `fit` starts from where a start depends on trained arrays: ``init(key, given)``.

    Of several seeds each has its own part of `given`, along a leading axis [num_seeds].
    """

    def start_one(key: PRNGKey, given: Any) -> State:
        return init(named_key(key, "init"), given)  # the key that `fit` hands to `Learner.init`

    keys = root_keys(seeds)
    return jax.jit(over_seeds(start_one, keys), compiler_options=RUN_ONCE)(keys, given)


# ---- while they train


def evaluated(evaluate: monitor.Evaluate, num_seeds: int) -> monitor.Evaluate:
    """The same measures of each seed: arrays [num_seeds] where they are several."""
    if num_seeds == 1:
        return evaluate

    def of_all(state: State) -> dict[str, np.ndarray]:
        measured = [evaluate(one) for one in each(state, num_seeds)]
        return {name: np.stack([values[name] for values in measured]) for name in measured[0]}

    return of_all


def pictured(
    pictures: Callable[[State], np.ndarray], session: Session
) -> Callable[[State], dict[Path, np.ndarray]]:
    """The images of each seed, by its folder."""
    folders = session.member_folders
    return lambda state: {
        folder: pictures(one)
        for folder, one in zip(folders, each(state, len(folders)), strict=True)
    }


def split_log(session: Session, last_step: int) -> None:
    """Gives each of several seeds its own numbers of the log; the times are those of all."""
    if len(session.seeds) == 1:
        return
    lines = metrics_log.read_lines(session.folder / "metrics.jsonl", last_step)
    for index, folder in enumerate(session.member_folders):
        own = [
            {name: value[index] if isinstance(value, list) else value for name, value in x.items()}
            for x in lines
        ]
        metrics_log.write_lines(folder / "metrics.jsonl", own)


# ---- when they are trained


def report(args: Any, session: Session, result: Result, report_one: Report) -> Path:
    """Writes the run folder of each seed and, of several, what they say together; the page."""
    if len(session.seeds) == 1:
        return report_one(args, session, result)
    if getattr(args, "study", False):
        logger.info("the study is run for one seed after the other, %d times", len(session.seeds))
    states = each(result.state, len(session.seeds))
    for seed, folder, state in zip(session.seeds, session.member_folders, states, strict=True):
        alone = dataclasses.replace(args, seed=seed, seeds=(), out=folder)
        root = member_root(session.root, seed)
        member = session_for(session.experiment, alone, session.dataset, root, session.part)
        if _already_reported(alone, member, state):
            note = "finished, left as it is; remove its summary.json to have it drawn again"
            print(f"seed {seed}, in {folder}: {note}", flush=True)
            continue
        print(f"seed {seed}, in {folder}:", flush=True)
        report_one(alone, member, result._replace(state=state))
    return members_page.write(args, session, result)


def _already_reported(args: Any, member: Session, state: State) -> bool:
    """Records the run of a seed; whether its folder holds the whole report of this very run.

    That is so where settings, data, code and environment are those that were written down before
    and the summary, which is written last, has the digest of the state. A study comes after the
    summary, and what `--vae` names may have changed, so with them nothing is taken as reported.
    """
    folder = member.folder
    before, digest = run_manifest.read_record(folder), _reported_digest(folder)
    member.record()
    further = getattr(args, "study", False) or getattr(args, "vae", None)
    same = not further and before == run_manifest.read_record(folder)
    if same and digest == checkpoint.digest(state.params):
        return True
    (folder / "summary.json").unlink(missing_ok=True)  # or half a report would count as whole
    return False


def _reported_digest(folder: Path) -> str | None:
    """The digest of the parameters that a finished report of one seed is about."""
    try:
        summary = json.loads((folder / "summary.json").read_bytes())
        return str(summary["digest"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
