"""Settings read back: the config.json of a run as its experiment's own dataclass, and its flags."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.running.args import RunArgs, as_words, changes
from experiments.running.experiment import Experiment, find
from jaxgen.errors import CheckpointError, RunFolderError, SettingError
from jaxgen.runs import folder as run_folder
from jaxgen.runs.settings import before, printable, rebuild, shown, stored_in, to_json, unlike
from jaxgen.runs.summary import has_settings, read_summary


def rebuild_args(stored: Mapping[str, Any], of: str = "a run") -> tuple[Experiment[Any], RunArgs]:
    """The experiment that stored settings are of, and the settings as its dataclass.

    Values become fields, each checked against its type; none becomes a word of a command line.
    Where a setting is not stored, because an older version had none, it is that of
    `jaxgen.runs.settings.before`, or of the preset.

    Errors:
        SettingError: there is no such experiment, or a value is of another type, or impossible.
        CheckpointError: a setting or the preset is unknown here.
    """
    experiment = find(stored.get("experiment"))
    given = {name: value for name, value in stored.items() if name != "experiment"}
    preset = given.get("preset", experiment.default.preset)
    default = experiment.default
    if isinstance(preset, str):
        default = experiment.presets.get(preset, default)
    kind = type(default)
    unknown = [each for each in unlike(kind, given) if "unknown" in each]
    if isinstance(preset, str) and preset not in experiment.presets:
        unknown.append(f"preset {shown(preset)}, unknown here")
    if unknown:
        raise CheckpointError(
            expected=f"the settings of {of} to be those of experiments.{experiment.name}",
            found="; ".join(unknown[:5]),
            remedy="use the version of jaxgen that made the run",
        )
    with stored_in(of):
        return experiment, rebuild(kind, _merge(to_json(default), given))


def _merge(default: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings over others, part by part."""
    older = given.keys() - {"preset"}  # a preset alone is that of this version
    earlier = {name: value for name, value in before(given).items() if older and name in default}
    merged = {**default, **earlier, **given}
    for name, value in default.items():
        if isinstance(value, Mapping) and isinstance(given.get(name), Mapping):
            merged[name] = _merge(value, given[name])
    return merged


def trusted_config(folder: Path) -> dict[str, Any]:
    """The settings of the run in a folder; empty where there is none.

    And where they are not those of its summary, because somebody changed them: they are left to the
    checkpoints, which have them too.
    """
    stored = run_folder.read_config(folder)
    return stored if has_settings(stored, read_summary(folder)) else {}


def require_unchanged(experiment: str, args: RunArgs, folder: Path) -> None:
    """Refuses flags that shape the numbers and are not as in the run to go on with.

    Settings that cannot be read here, as of another version, are left to the checkpoints: they have
    them too.

    Raises:
        CheckpointError: a flag is not as it was.
    """
    there, here = _unlike(experiment, args, folder)
    if there:
        why = " (its updates depend on the number of epochs)" if "epochs" in there else ""
        raise CheckpointError(
            expected=f"{_in_line(there)}, as in the run in {folder}{why}",
            found=_in_line(here),
            remedy="type the flags as they were, or choose another --out, or start again with "
            "--overwrite",
        )


def require_no_other(experiment: str, args: RunArgs, folder: Path) -> None:
    """Refuses a run folder with a run of other flags, with which `--resume` could not go on.

    Raises:
        RunFolderError: there is one.
    """
    there, here = _unlike(experiment, args, folder)
    if there:
        raise RunFolderError(
            expected=f"{folder} to be new or empty",
            found=f"a run with {_in_line(there)} in it, not {_in_line(here)}",
            remedy="add --overwrite to replace it, or choose another --out",
        )


def _unlike(experiment: str, args: RunArgs, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings that shape the numbers and differ, of the run in a folder and of this one."""
    stored = trusted_config(folder)
    if stored.get("experiment") != experiment:
        return {}, {}
    try:
        _, earlier = rebuild_args(stored)
    except (SettingError, CheckpointError):
        return {}, {}
    free = {*args.immaterial, "epochs"} - {*args.fixed_lengths}
    names = [name for name in changes(args, earlier) if name not in free]
    there, here = (
        {name: getattr(one, name) for name in names} | changes(one.model, other.model)  # type: ignore[attr-defined]
        for one, other in ((earlier, args), (args, earlier))
    )
    if "conditional" in there:  # the flag that sets the number of classes
        for settings in (there, here):
            settings.pop("num_classes", None)
    if _seeds(earlier) != _seeds(args):
        there, here = there | _seeds(earlier), here | _seeds(args)
    return there, here


def _seeds(args: RunArgs) -> dict[str, Any]:
    """The seeds as settings: `seed` where `seeds` are none."""
    return {"seeds": args.seeds} if args.seeds else {"seed": args.seed}


def _in_line(settings: dict[str, Any]) -> str:
    """Settings as they are typed, in an error's line."""
    return printable(" ".join(as_words(settings)))
