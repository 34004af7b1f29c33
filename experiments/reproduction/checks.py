"""Conditions for repeating a run, checked before anything is run."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict

from experiments.reproduction.verdict import Record, mapping
from experiments.running.args import RunArgs
from experiments.running.experiment import find
from experiments.running.stored import rebuild_args
from jaxgen.errors import ReproduceError, SettingError
from jaxgen.runs.files import CONFIG, SUMMARY
from jaxgen.runs.loader import load
from jaxgen.runs.settings import dataset_name, printable, read_json, to_json, unlike
from jaxgen.runs.summary import damages, has_settings, seed_folders

CHECKPOINTS = "checkpoints/step_*/manifest.json"
MOST_DEVICES = 256
"""Of one process; each is made before anything is computed."""
MOST_SHOWN = 5
"""Settings named in an error."""
SUMMED_UP = ("dataset", "preset", "epochs")
"""Settings that a summary repeats."""
SCHEDULED = {"burda": "first_stage_steps", "falling": "decay_steps"}
"""Settings of the model that a schedule sets from the data, by its name."""

LEFT_OPEN = {"num_updates": 0}
"""Settings of the model with the values in whose place the data or the run's length decide."""


def require_whole(run: Path) -> None:
    """Raises ReproduceError if a file of a run, or of a run inside, is missing or another one."""
    wrong = [
        f"{each} in {path.parent}"
        for path in sorted(run.rglob(SUMMARY))
        for each in damages(path.parent, read_json(path))
    ]
    if wrong:
        raise ReproduceError(
            expected=f"the files of {run} as they were when the run ended",
            found=f"class C (not comparable): {'; '.join(wrong)}",
            remedy="type the run's command again with --resume",
        )


def require_repeatable(run: Path, record: Record) -> tuple[str, RunArgs]:
    """The experiment of a run that `--verify` can repeat, and the run's settings.

    Errors:
        SettingError: no experiment's, or of several processes, or impossible.
        ReproduceError: its settings are not those of today's experiment, or not those that it was
            trained with, or the run it started from is another one now.
        RunFolderError: a file of it, or of the run it started from, is missing or damaged.
        CheckpointError: its parameters are not those that its settings make.
    """
    experiment, args = _require_known(run, record)
    _require_unchanged(run, args)
    _require_inputs(run, record, args)
    load(run)
    return experiment, args


def _require_known(run: Path, record: Record) -> tuple[str, RunArgs]:
    """The settings of a run, which must be those that the experiment has today.

    One that came later may be lacking: it has its default, with which all is as before.
    """
    declared = find(record.config.get("experiment"))
    settings = {name: value for name, value in record.config.items() if name != "experiment"}
    if wrong := unlike(type(declared.default), settings):
        commit = printable(str(record.manifest.get("git_commit")), 60)
        raise ReproduceError(
            expected=f"{run} to have the settings of experiments.{declared.name}",
            found=f"class C (not comparable): {'; '.join(wrong[:MOST_SHOWN])}",
            remedy=f"check out commit {commit}, which wrote it",
        )
    _, args = rebuild_args(record.config, str(run))
    if args.cluster.num_processes != 1:
        raise SettingError(
            expected=f"{run} to be a run of one process, which --verify can start",
            found=f"one of {args.cluster.num_processes}",
            remedy="start its processes again, with another --out, and compare the summary.json",
        )
    if args.cluster.devices > MOST_DEVICES:
        raise SettingError(
            expected=f"{run} to be a run of at most {MOST_DEVICES} devices",
            found=str(args.cluster.devices),
            remedy="start it again, with another --out, and compare the summary.json",
        )
    return declared.name, args


def complete(record: Record, args: RunArgs) -> Record:
    """The record of a run, with the settings that came later: they have their defaults."""
    return record._replace(config=to_json(args) | {"experiment": record.config["experiment"]})


def _require_unchanged(run: Path, args: RunArgs) -> None:
    """The settings must be those that the run was trained with, as far as it holds them twice."""
    wrong = [*find_changes(run, to_json(args))]
    if not wrong and not has_settings(read_json(run / CONFIG), read_json(run / SUMMARY)):
        wrong = [f"not those that {SUMMARY} has the digest of"]
    if wrong:
        raise ReproduceError(
            expected=f"{run / CONFIG} to have the settings of the training",
            found=f"class C (not comparable): {'; '.join(wrong)}",
            remedy="put the settings back, or run the experiment with the new ones",
        )


def find_changes(run: Path, config: Mapping[str, Any]) -> Iterator[str]:
    """Settings that the run's checkpoints or its summary have otherwise, one line each.

    The checkpoints of one of several seeds are those of their program. They have what was decided
    where a setting is "auto", or as in `LEFT_OPEN`.
    """
    summary, above = read_json(run / SUMMARY), run.absolute().parent
    model = flatten_dict(config["model"], sep=".")
    model.pop(SCHEDULED.get(str(config.get("schedule")), ""), None)
    settings = {name: config[name] for name in SUMMED_UP} | {"dataset": dataset_name(config)}
    settings |= {"seeds": config["seeds"] or [config["seed"]], "batch_size": config["batch_size"]}
    settings |= {
        f"model.{name}": value
        for name, value in model.items()
        if value != LEFT_OPEN.get(name, "auto")
    }
    trained = trained_with(run)
    if run.absolute() in seed_folders(above):
        trained = trained_with(above)
        trained.pop("seeds", None)
    seeds = {"seeds": [summary["seed"]]} if "seed" in summary else {}
    trained = {name: _as_text(value) for name, value in (summary | seeds).items()} | trained
    for name, value in settings.items():
        if trained.get(name, _as_text(value)) != _as_text(value):
            yield f"{name}: {trained[name]}, now {_as_text(value)}"


def _as_text(value: Any) -> str:
    """A setting as a checkpoint's settings have it, where what JSON lists was a tuple."""
    return printable(str(tuple(value) if isinstance(value, list) else value))


def trained_with(run: Path) -> dict[str, str]:
    """The settings in the newest checkpoint, of a DBN in its first layer's; empty where is none."""
    stored = sorted(run.glob(CHECKPOINTS)) or sorted(run.glob(f"layer1/{CHECKPOINTS}"))
    if not stored:
        return {}
    found = mapping(read_json(stored[-1]), "settings", stored[-1])
    return {name: printable(str(value)) for name, value in found.items()}


def _require_inputs(run: Path, record: Record, args: RunArgs) -> None:
    """The runs that a run started from must be there, and what they were.

    Where their parameters shape the numbers of a single seed, the checkpoints' settings name them.
    """
    settings = {} if args.seeds else trained_with(run)
    for name in [name for name in ("dbn", "vae") if record.config.get(name)]:
        source = Path(record.config[name])
        found = printable(str(read_json(source / SUMMARY).get("digest")))
        if (wanted := settings.get(f"model.{name}", found)) != found:
            raise ReproduceError(
                expected=f"{source}, from which {run} started, to have the digest {wanted}",
                found=f"class C (not comparable): {found}",
                remedy=f"make the run in {source} again as it was",
            )
