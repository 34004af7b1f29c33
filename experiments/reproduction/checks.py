"""What must hold before a finished run is repeated; found out before anything is run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict

from experiments.reproduction.verdict import Record, read_json
from experiments.running import finished
from experiments.running.experiment import find
from jaxgen.errors import ReproduceError, SettingError
from jaxgen.runs.folder import CONFIG

CHECKPOINTS = "checkpoints/step_*/manifest.json"
SUMMED_UP = ("dataset", "preset", "epochs")
"""Settings that a summary repeats."""


def require_repeatable(run: Path, record: Record) -> str:
    """The experiment of a run that `--verify` can repeat.

    Errors:
        SettingError: no experiment's, or of several processes.
        ReproduceError: its settings are not those of today's experiment, or not those that it was
            trained with, or the run it started from is another one now.
        RunFolderError: a file of it, or of the run it started from, is missing or damaged.
    """
    experiment = _require_known(run, record)
    _require_unchanged(run, record)
    _require_inputs(run, record)
    return experiment


def _require_known(run: Path, record: Record) -> str:
    """The experiment of a run, whose settings must be those that the experiment has today."""
    declared = find(record.config.get("experiment"))
    num_processes = record.config.get("cluster", {}).get("num_processes", 1)
    if num_processes != 1:
        raise SettingError(
            expected=f"{run} to be a run of one process, which --verify can start",
            found=f"one of {num_processes}",
            remedy="start its processes again, with another --out, and compare the summary.json",
        )
    settings = {name: value for name, value in record.config.items() if name != "experiment"}
    if wrong := finished.misfits(declared.default, settings):
        raise ReproduceError(
            expected=f"{run} to have the settings of experiments.{declared.name}",
            found=f"class C (not comparable): {'; '.join(wrong)}",
            remedy=f"check out commit {record.manifest.get('git_commit')}, which wrote it",
        )
    return declared.name


def _require_unchanged(run: Path, record: Record) -> None:
    """The settings must be those that the run was trained with, as far as it holds them twice."""
    if wrong := [*changed(run, record)]:
        raise ReproduceError(
            expected=f"{run / CONFIG} to say what the run was trained with",
            found=f"class C (not comparable): {'; '.join(wrong)}",
            remedy="put the settings back, or run the experiment with the new ones",
        )


def changed(run: Path, record: Record) -> Iterator[str]:
    """Settings that the run's checkpoints or its summary have otherwise, one line each."""
    config, summary = record.config, read_json(run / "summary.json")
    model = flatten_dict(config["model"], sep=".")
    if config.get("schedule") == "burda":
        del model["first_stage_steps"]  # the schedule sets it
    settings = {name: config[name] for name in SUMMED_UP}
    settings |= {"seeds": config["seeds"] or [config["seed"]], "batch_size": config["batch_size"]}
    settings |= {f"model.{name}": value for name, value in model.items()}
    seeds = {"seeds": [summary["seed"]]} if "seed" in summary else {}
    trained = {name: _as_text(value) for name, value in (summary | seeds).items()}
    trained |= trained_with(run)
    for name, value in settings.items():
        if trained.get(name, _as_text(value)) != _as_text(value):
            yield f"{name}: {trained[name]}, now {_as_text(value)}"


def _as_text(value: Any) -> str:
    """A setting as a checkpoint's settings have it, where what JSON lists was a tuple."""
    return str(tuple(value) if isinstance(value, list) else value)


def trained_with(run: Path) -> dict[str, str]:
    """The settings in the newest checkpoint, of a DBN in its first layer's; empty where is none."""
    stored = sorted(run.glob(CHECKPOINTS)) or sorted(run.glob(f"layer1/{CHECKPOINTS}"))
    return read_json(stored[-1]).get("settings", {}) if stored else {}


def _require_inputs(run: Path, record: Record) -> None:
    """The runs that a run started from must be there, and what they were.

    Where their parameters shape the numbers of a single seed, the checkpoints' settings name them.
    """
    settings = {} if record.config.get("seeds") else trained_with(run)
    for name in [name for name in ("dbn", "vae") if record.config.get(name)]:
        source = Path(record.config[name])
        found = read_json(source / "summary.json").get("digest")
        if (wanted := settings.get(f"model.{name}", found)) != found:
            raise ReproduceError(
                expected=f"{source}, from which {run} started, to have the digest {wanted}",
                found=f"class C (not comparable): {found}",
                remedy=f"make the run in {source} again as it was",
            )
