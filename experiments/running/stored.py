"""Settings read back: the config.json of a run as its experiment's own dataclass."""

from collections.abc import Mapping
from typing import Any

from experiments.running.args import RunArgs
from experiments.running.experiment import Experiment, find
from jaxgen.errors import CheckpointError
from jaxgen.runs.settings import before, rebuild, shown, to_json, unlike


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
