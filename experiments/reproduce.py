"""Whether an experiment repeats bit for bit: run it, run it again, kill and resume it, compare.

    python -m experiments.reproduce rbm --quick
    python -m experiments.reproduce --verify runs/rbm-mnist-seed0

Flags after the name are the experiment's; every run is a process of its own. `--verify` repeats a
run from its own config.json, except for where the data sets lie, and lists beforehand what differs
in the environment. The classes A, B and C are explained in docs/reproducibility.md. Exit code 0
where the runs agree as promised, 8 where they do not, otherwise that of the run which failed.
"""

import contextlib
import dataclasses
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from experiments.reproduction import runs as reproduce_runs
from experiments.reproduction.checks import complete, require_repeatable, require_whole
from experiments.reproduction.runs import Timed, short
from experiments.reproduction.verdict import (
    MEANING,
    Record,
    Verdict,
    band_of,
    compare_runs,
    main_metric,
    promise,
    read,
    read_record,
)
from experiments.running.cli import exit_code, parse_flags
from experiments.running.console import show, write_line
from experiments.running.experiment import find
from experiments.running.signals import temporary_folder
from jaxgen import data
from jaxgen.errors import ReproduceError, RunFolderError, SettingError
from jaxgen.files import real_path, write_atomically, write_json
from jaxgen.report.page import Table, escape, markdown, number
from jaxgen.runs import folder as run_folder
from jaxgen.runs import manifest as run_manifest
from jaxgen.runs.files import CONFIG, MANIFEST
from jaxgen.runs.loader import load

EXAMPLES = {
    "python -m experiments.reproduce rbm --quick": "run, repeat, kill and resume: a minute or two",
    "python -m experiments.reproduce --verify RUN": "repeats a run: as long as it took",
}
"""Of `--help`."""


@dataclass(frozen=True)
class Args:
    """Run an experiment several times and say whether it is the same every time."""

    experiment: tyro.conf.Positional[str] = ""
    """Name of the experiment; flags that are not listed here go to it."""
    out: Path | None = None
    """Folder for the runs; runs/reproduce-<experiment>, or with --verify one that is removed."""
    overwrite: bool = False
    """Replace what an earlier call left there."""
    verify: Path | None = None
    """Folder of a run to repeat, instead of an experiment and its flags."""
    data_dir: Path | None = None
    """Where prepared data sets lie; TFDS's own default where not given. The run's own is not used
    by --verify."""
    manual_dir: Path | None = None
    """A folder with the original files, or with one such folder per data set."""
    dataset: str | None = None
    """The experiment's data set. With --verify the run's, named again: a folder or a file that its
    settings name is not opened, so this is needed if its images do not lie in --data-dir."""

    @property
    def data_flags(self) -> list[str]:
        """The flags of an experiment that say where its data lie."""
        given = {
            "--dataset": self.dataset,
            "--data-dir": self.data_dir,
            "--manual-dir": self.manual_dir,
        }
        return [f"{flag}={value}" for flag, value in given.items() if value]


@contextlib.contextmanager
def _open(folder: Path, content: Mapping[str, Any], overwrite: bool) -> Iterator[Path]:
    """A folder for the runs, with a config.json that makes it one `--overwrite` may replace."""
    if (folder / CONFIG).exists() and not overwrite:
        raise RunFolderError(
            expected=f"{folder} to be new or empty",
            found="the runs of an earlier call",
            remedy="add --overwrite to replace them, or --out for another folder",
        )
    with run_folder.open_folder(folder, "reproduce", resume=False, overwrite=overwrite):
        write_json(folder / CONFIG, {"experiment": "reproduce", **content})
        yield folder


def _clear(folder: Path) -> None:
    """Removes what a first run that never began left, so that the next call needs no flag."""
    shutil.rmtree(folder / "first", ignore_errors=True)
    for name in ("first.log", CONFIG):
        (folder / name).unlink(missing_ok=True)


def _table(runs: Mapping[str, Timed]) -> Table:
    """The runs side by side: digests by their first digits, and the metric that has a band."""
    (first, *_) = runs.values()
    metric = str(band_of(first.run).metric)
    rows = [
        [
            name,
            number(timed.seconds, 3) if timed.seconds else "",
            ", ".join(map(str, timed.kills)),
            *(short(timed.run, kind) for kind in ("parameters", "samples", "log")),
            number(main_metric(timed.run), 6),
        ]
        for name, timed in runs.items()
    ]
    return Table(["run", "s", "killed at step", "parameters", "samples", "log", metric], rows)


def _conclude(runs: Mapping[str, Timed], folder: Path, notes: Sequence[str] = ()) -> None:
    """Prints and writes the comparison; raises ReproduceError where the promise is broken."""
    (_, first), *others = runs.items()
    verdict = compare_runs(first.run, {name: timed.run for name, timed in others})
    experiment = str(first.run.record.config["experiment"])
    table, lines = markdown(_table(runs)), [*_lines(verdict), *notes, ""]
    show("\n".join(["", table, *lines]))
    facts = {
        "experiment": experiment,
        "command": run_manifest.command(),
        **{name: first.run.record.manifest.get(name) for name in ("environment", "git_commit")},
        **verdict._asdict(),
        "kept": verdict.kept,
        "notes": list(notes),
    }
    rows = {
        name: {"seconds": round(t.seconds, 2), "killed_at": list(t.kills)}
        | {"digests": t.run.digests, "metrics": t.run.metrics}
        for name, t in runs.items()
    }
    write_json(folder / "reproduce.json", facts | {"runs": rows})
    text = "\n".join([f"# Reproducing {experiment}\n", table, *map(escape, lines)])
    write_atomically(folder / "reproduce.md", text.encode())
    if not verdict.kept:
        wanted = "A or B" if verdict.promised == "C" else verdict.promised
        raise ReproduceError(
            expected=f"class {wanted}",
            found=f"class {verdict.found} ({MEANING[verdict.found]})",
            remedy="the lines above say where the runs part; --out keeps them",
        )


def _lines(verdict: Verdict) -> list[str]:
    """The verdict in words."""
    return [
        f"class {verdict.found}: {MEANING[verdict.found]}",
        *(f"- {reason}" for reason in verdict.found_why),
        f"promised: class {verdict.promised}, {MEANING[verdict.promised]}",
        *(f"- {reason}" for reason in verdict.promised_why),
    ]


def reproduce(experiment: str, flags: Sequence[str], args: Args) -> None:
    """Runs an experiment, runs it again, runs it with kills, and compares the three."""
    out = args.out or Path("runs") / f"reproduce-{experiment}"
    with _open(out, {"of": experiment, "flags": list(flags)}, args.overwrite) as folder:
        try:
            first = reproduce_runs.once("first", experiment, flags, folder)
        except reproduce_runs.Failed:
            if not (folder / "first" / CONFIG).exists():  # a flag or the data was wrong
                _clear(folder)
            raise
        again = reproduce_runs.once("again", experiment, flags, folder)
        killed = reproduce_runs.kill_and_resume(experiment, flags, folder, first)
        missed = [] if killed.kills else ["no kill and resume: the run is over too soon to be hit"]
        _conclude({"first": first, "again": again, "killed": killed}, folder, missed)


def verify(run: Path, args: Args) -> None:
    """Repeats a run from its own settings and compares the two."""
    out, stays = args.out and real_path(args.out), real_path(run)
    if out and (out == stays or out in stays.parents or stays in out.parents):
        raise SettingError(
            expected=f"--out elsewhere than {run}, which stays as it is",
            found=str(args.out),
            remedy="set --out to another folder",
        )
    require_whole(run)
    stored = read(run)
    experiment, settings = require_repeatable(run, stored.record)
    stored = stored._replace(record=complete(stored.record, settings))
    finished = load(run)
    if args.out:
        data.check_outside(args.dataset or settings.dataset, args.out, "--out")
    if args.dataset:
        dataset = data.place_of(args.dataset).text
        finished.dataset(args.data_dir, args.manual_dir, dataset)  # or it is another one now
    else:
        dataset = finished.find_dataset(args.data_dir)
    here = dataclasses.replace(
        settings,
        dataset=dataset,
        resume=False,
        overwrite=False,
        log=(),  # nothing is sent anywhere because a stranger's run was
        cluster=settings.cluster.alone(),
        data_dir=args.data_dir,
        manual_dir=args.manual_dir,
    )
    with contextlib.ExitStack() as stack:
        place = args.out or stack.enter_context(temporary_folder())
        folder = stack.enter_context(_open(place, {"of": str(run)}, args.overwrite))
        foreseen: list[str] = []

        def compare() -> bool:
            """As soon as the new run has written down where it runs: what can be promised."""
            if not foreseen and (folder / "now" / MANIFEST).exists():
                foreseen.extend(_foreseen(stored.record, read_record(folder / "now")))
                show("\n" + "\n".join(foreseen))
            return False

        now = reproduce_runs.repeat("now", experiment, here, folder, compare)
        _conclude({"then": Timed(stored, 0.0), "now": now}, folder)


def _foreseen(then: Record, now: Record) -> list[str]:
    """The class that can be promised before the outcome is known."""
    kind, why = promise(then, now)
    return [f"class {kind} ({MEANING[kind]}) can be promised:", *(f"- {reason}" for reason in why)]


def main(argv: Sequence[str]) -> int:
    """Parses, runs, turns errors into exit codes (see jaxgen.errors)."""

    def act() -> None:
        if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # each run compiles its programs itself
            os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
        args, rest = parse_flags(Args, EXAMPLES, args=list(argv), return_unknown_args=True)
        if args.verify and (rest or args.experiment):
            raise SettingError(
                expected="no experiment and none of its flags beside --verify",
                found=" ".join([args.experiment, *rest]).strip(),
                remedy="leave them out: the run's own settings are used",
            )
        if args.verify:
            verify(args.verify, args)
        else:
            reproduce(find(args.experiment).name, [*rest, *args.data_flags], args)

    try:
        return exit_code(act)
    except reproduce_runs.Failed as failed:
        write_line(f"\n{failed.stderr.rstrip()}")
        return failed.code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
