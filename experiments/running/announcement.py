"""The first and the last lines of a run: what it will do, what came out, what to type next."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.running.args import RunArgs, as_words, changes, quicken
from experiments.running.cluster import chosen_devices
from experiments.running.console import clock, fitting
from experiments.running.experiment import Experiment
from experiments.running.session import Session
from jaxgen.files import normalise_path
from jaxgen.report.page import counted, number, with_error
from jaxgen.runs import manifest as run_manifest
from jaxgen.runs.summary import read_summary, seed_folders

LONGER = 10
"""Times as many epochs as a run had whose samples are alike."""
ALIKE = "the samples are alike: too few updates? --epochs trains longer"


def align(rows: Mapping[str, str]) -> str:
    """Names and texts in two columns, a row a line."""
    width = max(map(len, rows), default=0)
    return "\n".join(f"{name:{width}}  {text}" for name, text in rows.items())


def _preset(experiment: Experiment[Any], args: RunArgs) -> Any:
    """The settings that the flags of a run change."""
    preset = experiment.presets[args.preset]
    return quicken(preset, experiment.quick) if args.quick else preset


def model_in_words(experiment: Experiment[Any], args: RunArgs) -> str:
    """The model with its preset, and what is changed in it as flags."""
    preset = _preset(experiment, args)
    changed = changes(args.model, preset.model) if hasattr(args, "model") else {}
    asked, usual = (getattr(each, "conditional", False) for each in (args, preset))
    if asked:  # which has set them
        changed.pop("num_classes", None)
    if asked != usual:
        changed = {"conditional": asked, **changed}
    typed = [" ".join(as_words(changed))] if changed else []
    return ", ".join([experiment.name, f"preset {args.preset}", *typed])


def plan(experiment: Experiment[Any], args: RunArgs, session: Session) -> str:
    """The plan of a run: model, data, epochs, device and folder, a line each."""
    images, seeds = session.dataset.train.images, ", ".join(map(str, session.seeds))
    height, width, num_channels = session.image_shape
    colours = {1: "grey", 3: "colour"}.get(num_channels, f"{num_channels}-channel")
    devices = chosen_devices(args.cluster)
    kind = devices[0].device_kind
    quick = ", quick: settings of its own, no verdict on the model" if args.quick else ""
    own = f"cpu, {counted(run_manifest.num_cores(), 'core')}" if kind == "cpu" else kind
    return align(
        {
            "model": model_in_words(experiment, args) + quick,
            "data": f"{session.dataset.name}, {len(images):,} {colours} images of {height}x{width}",
            "training": f"{args.epochs_in_words}, batch {args.batch_size}, "
            f"seed{'s' if len(session.seeds) > 1 else ''} {seeds}",
            "device": f"{len(devices)} x {kind}" if len(devices) > 1 else own,
            "folder": fitting(str(session.root), behind=len("training  ")),
        }
    )


def outcome(
    experiment: Experiment[Any],
    args: RunArgs,
    session: Session,
    page: Path,
    times: Mapping[str, float],
) -> str:
    """The headline numbers of a run, its times, the next command, and where its page is.

    The last line is ``report: PATH``, which programs look for.

    Args:
        experiment: what was run.
        args: its settings.
        session: its place.
        page: the file.
        times: seconds of each part of the run.
    """
    metrics = experiment.headline(read_summary(session.root).get("metrics", {}))
    alike = any(read_summary(folder).get("alike") for folder in seed_folders(session.root))
    following = longer(experiment, args) if alike else next_command(experiment, args, session)
    rows = {name: _value(found) for name, found in metrics.items()}
    lines = [
        align(rows),
        ALIKE if alike else "",
        f"time: {', '.join(f'{name} {clock(seconds)}' for name, seconds in times.items())}",
        f"next: {following}",
        f"open: {normalise_path(page).as_uri()}",
        f"report: {page}",
    ]
    return "\n".join(filter(None, lines))


def _value(found: Any) -> str:
    """A number; of several seeds their mean and standard deviation."""
    if isinstance(found, Mapping):
        return with_error(found["mean"], found["std"], "+-")
    return number(found)


def typed_without(*flags: str) -> list[str]:
    """The words of this run's command but for these flags and their values."""
    kept: list[str] = []
    left_out = False
    for word in shlex.split(run_manifest.command()):
        if word.startswith("--"):
            left_out = word.partition("=")[0] in flags
        if not left_out:
            kept.append(word)
    return kept


def longer(experiment: Experiment[Any], args: RunArgs) -> str:
    """The command of this run, as it goes on for the epochs of its preset.

    If it had them, for `LONGER` times as many. It begins again where its schedule divides them.
    """
    kept = typed_without("--epochs", "--overwrite", "--resume")
    whole = args.epochs >= _preset(experiment, args).epochs
    length = ["--epochs", str(LONGER * args.epochs)] if whole else []
    again = "--overwrite" if "epochs" in args.fixed_lengths else "--resume"
    return shlex.join([*kept, *length, again])


def next_command(experiment: Experiment[Any], args: RunArgs, session: Session) -> str:
    """The command that is worth typing after a run, on the same data.

    After a quick run that is the whole one, and of several seeds their comparison.
    """
    if args.quick:
        typed = typed_without("--quick", "--epochs", "--dbn", "--out", "--overwrite", "--resume")
        return shlex.join(typed)
    if not (successor := experiment.successor(args)) or len(session.seeds) > 1:
        return shlex.join(["python", "-m", "experiments.compare", str(session.root)])
    given: dict[str, object] = {"--data-dir": args.data_dir, "--manual-dir": args.manual_dir}
    if args.dataset != "auto":
        given["--dataset"] = args.dataset
    words = [word.format(folder=session.root) for word in successor]
    flags = [
        word for flag, value in given.items() if value for word in _type_command(flag, str(value))
    ]
    return shlex.join(["python", "-m", *words, *flags])


def _type_command(flag: str, value: str) -> list[str]:
    """A flag and its value as people type them; a value that looks like a flag needs `=`."""
    return [f"{flag}={value}"] if value.startswith("-") else [flag, value]
