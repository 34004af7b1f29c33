"""Training in a run folder, with log, display, checkpoints and signals."""

import contextlib
import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from experiments.running import progress, progress_page
from experiments.running.args import RunArgs
from experiments.running.cluster import chosen_devices
from experiments.running.console import show, working
from experiments.running.seeds import draw_each, evaluate_each, split_log
from experiments.running.session import Session
from experiments.running.signals import Stopped, stop_signals
from jaxgen.errors import JaxgenError
from jaxgen.files import make_folder
from jaxgen.learner import Learner, State
from jaxgen.nn.augment import flip_batches
from jaxgen.runs import metrics_log
from jaxgen.runs.files import LOG
from jaxgen.runs.settings import as_before
from jaxgen.training import Progress, Result, Schedule, Start, fit

logger = logging.getLogger("jaxgen")


def sum_results(results: Sequence[Result]) -> Result:
    """The last of several trainings of one run, with the steps and the times of all."""
    added = ("step", "first_step", "compile_s", "train_s", "trace_s")
    sums = {name: sum(getattr(result, name) for result in results) for name in added}
    return results[-1]._replace(**sums)


def train_in_session(
    args: RunArgs,
    learner: Learner,
    session: Session,
    model: Mapping[str, Any],
    evaluate: progress.Evaluate = lambda _: {},
    state: State = None,
    seeds: Sequence[int] | None = None,
    notes: Mapping[str, str] = MappingProxyType({}),
    pictures: Callable[[State], np.ndarray] | None = None,
    at_intervals: bool = True,
    shown: Mapping[str, str] = MappingProxyType({}),
) -> Result:
    """Trains a learner in a run folder, with log, display, checkpoints and signals.

    Args:
        args: the shared flags.
        learner: the learner to train.
        session: folder, data and seeds.
        model: the learner's settings; with data, batch size and seeds they name the checkpoints.
        evaluate: measures of the state of one seed, taken about twenty times in a run.
        state: the start instead of `learner.init`; of several seeds, with a leading axis.
        seeds: the seeds of one program, if they are not those of the session.
        notes: text in every line of the log besides its numbers.
        pictures: images of the state of one seed, drawn after every log interval; see
            `progress.Watch`.
        at_intervals: whether they are, or at growing distances of time alone.
        shown: metrics that a reader looks at first, and what the progress line calls them.

    Errors:
        Stopped: SIGINT or SIGTERM came; the state is saved.
    """
    seeds = tuple(seeds or session.seeds)
    identity = {
        "experiment": session.experiment,
        "data": session.dataset.digest,
        "classes": "\n".join(session.dataset.class_names),
        "batch_size": args.batch_size,
        "seeds": seeds,
        "model": model,
    }
    if args.flip:
        learner, identity["flip"] = flip_batches(learner), True
    devices = chosen_devices(args.cluster)
    if len(devices) > 1:  # sums over several devices end in other last bits
        identity["devices"] = len(devices)
    named = flatten_dict(identity, sep=".")
    settings = {name: str(value) for name, value in named.items() if not as_before(name, value)}
    first = args.cluster.first
    log = metrics_log.Log(session.folder / LOG, notes, len(seeds))

    def on_start(start: Start) -> None:
        if first:
            log.begin(start)
            session.record()
            make_folder(session.folder)
            log.synced()

    reached: list[Progress] = []

    def draw_page(progress: Progress, phase: progress_page.Phase = "in progress") -> Path | None:
        with contextlib.suppress(JaxgenError, OSError):  # training goes on, or meets it itself
            return progress_page.write(args, session, progress, shown, phase)
        return None

    def draw_last(state: State, phase: progress_page.Phase) -> Path | None:
        for folder, images in watch.pictures(state).items() if watch.pictures else ():
            progress.write_pictures(folder, reached[0], images, look=True)
        return draw_page(reached[0], phase)

    def watched(progress: Progress) -> None:
        reached[:] = [progress._replace(state=None)]
        hook(progress)

    schedule = Schedule(args.epochs, args.batch_size, args.log_every, args.checkpoint_seconds)
    watch = progress.Watch(
        evaluate=evaluate_each(evaluate, len(seeds)),
        every_epochs=max(1, args.epochs // 20),
        pictures=draw_each(pictures, session) if pictures else None,
        at_intervals=at_intervals,
        page=draw_page,
        loggers=args.loggers,
        shorten=args.shorten,
        shown=shown,
    )
    with stop_signals() as stopped, progress.watching(session.folder, watch, log) as hook:
        result = fit(
            learner,
            session.dataset,
            schedule,
            seeds,
            state=state,
            folder=session.folder / "checkpoints",
            settings=settings,
            devices=devices,
            stream=args.stream,
            on_start=on_start,
            log=log.synced,
            hook=watched if first else lambda _: None,
            should_stop=lambda: stopped() is not None,
        )
        signum = stopped()
    if signum is not None or not result.finished:
        logger.warning("saved step %d in %s; add --resume to go on", result.step, session.folder)
        with working("drawing the page"):
            page = draw_last(result.state, "stopped") if reached else None
        if page:
            show(f"page so far: {page}")
        raise Stopped(signum or signal.SIGTERM)  # without a signal, another process had one
    if first:
        split_log(session, result.step)
        if reached and progress_page.is_there(session):  # or a run of seconds would wait for it
            with working("drawing the page"):
                draw_last(result.state, "trained")
    return result
