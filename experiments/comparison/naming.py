"""Names of runs in the comparison: experiment and preset, and what is changed in them."""

from collections.abc import Sequence
from typing import Any

from experiments.running.args import RunArgs, changes, quicken
from experiments.running.experiment import Experiment
from experiments.running.stored import rebuild_args
from jaxgen.runs import Run


def label(experiment: Experiment[Any], args: RunArgs) -> str:
    """The name of a model that is trained with these settings, the same for every seed."""
    preset = experiment.presets[args.preset]
    preset = quicken(preset, experiment.quick) if args.quick else preset
    changed = changes(args.model, preset.model)  # type: ignore[attr-defined]
    changed |= {n: v for n, v in changes(args, preset).items() if n not in args.immaterial}
    changed.pop("num_classes", None)  # it follows from the data, and stands behind `conditional`
    words = [_words(name.replace("_", " "), value) for name, value in changed.items()]
    quick = ["quick"] if args.quick else []
    return ", ".join([f"{experiment.name}-{args.preset}", *quick, *words])


def label_of(run: Run) -> str:
    """The name of a run's model.

    Errors:
        SettingError, CheckpointError: its settings are none of its experiment's.
    """
    return label(*rebuild_args(run.settings, str(run.folder)))


def _words(name: str, value: Any) -> str:
    """A changed setting; what is on or off has no value."""
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return f"{name} {'-'.join(map(str, value)) if isinstance(value, tuple) else value}"


def group(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Runs that differ in their seeds alone, by their common name, in the order of the first."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(label_of(run), []).append(run)
    return groups
