"""From the command line of an experiment to its exit code.

`main` parses, joins other processes, opens the run folder, trains, reports, and turns errors into
exit codes (see jaxgen.errors).
"""

import contextlib
import dataclasses
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import jax

from experiments.running import seeds as members
from experiments.running.cluster import joined
from experiments.running.command_line import exit_code, parse
from experiments.running.common import Args, load_dataset
from experiments.running.seeds import Report
from experiments.running.session import Session, session_for
from experiments.running.signals import Stopped
from jaxgen.runs import folder as run_folder
from jaxgen.training.loop import Result

Train: TypeAlias = Callable[[Any, Session], Result]
"""Trains all that a model needs, for the seeds of the session."""


def make_deterministic() -> None:
    """Asks XLA for deterministic kernels; must run before the first use of a device."""
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    jax.config.update("jax_default_matmul_precision", "highest")


def _session(experiment: str, args: Args, train: Train, report: Report) -> None:
    """Loads the data, owns the folder, trains and reports."""
    if args.deterministic:
        make_deterministic()
    if len(args.seeds) == 1:
        args = dataclasses.replace(args, seed=args.seeds[0], seeds=())
    with contextlib.ExitStack() as owned:
        with joined(args.cluster):
            dataset = load_dataset(args)
            folder = args.out or Path("runs") / f"{experiment}-{dataset.name}-{_seeds_of(args)}"
            args.check(dataset, folder)
            if args.cluster.first:
                opened = run_folder.opened(folder, resume=args.resume, overwrite=args.overwrite)
                owned.enter_context(opened)
            session = session_for(experiment, args, dataset, folder)
            result = train(args, session)
        if args.cluster.first:
            args = dataclasses.replace(args, cluster=args.cluster.alone())
            print(f"report: {members.report(args, session, result, report)}")


def _seeds_of(args: Args) -> str:
    """The seeds as the name of a run folder has them."""
    return f"seeds{'-'.join(map(str, args.seeds))}" if args.seeds else f"seed{args.seed}"


def main(
    experiment: str,
    train: Train,
    report: Report,
    presets: Mapping[str, Args],
    quick: Mapping[str, Any],
) -> int:
    """Runs an experiment from the command line; returns its exit code (see jaxgen.errors)."""

    def stop(signum: int, _: Any) -> NoReturn:
        print("stopped; add --resume to go on", file=sys.stderr)
        raise Stopped(signum)

    def act() -> None:
        _session(experiment, parse(presets, quick, sys.argv[1:]), train, report)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        return exit_code(act, after_interrupt="add --resume to go on")
    except Stopped as stopped:
        return 128 + stopped.signum
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)


def leave(code: int) -> NoReturn:
    """Ends the process with an exit code.

    At once after Ctrl-C, for XLA may be compiling, and after an error beside other processes, for
    JAX would wait for them.
    """
    if code == 128 + signal.SIGINT or (code and jax.distributed.is_initialized()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
