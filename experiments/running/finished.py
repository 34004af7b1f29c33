"""Finished runs read back: their settings, their parameters, and what to call them."""

import dataclasses
import importlib
import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import unflatten_dict

from experiments.running.cli import parse
from experiments.running.experiment import find, names
from jaxgen.errors import CheckpointError
from jaxgen.export import safetensors
from jaxgen.runs import folder as run_folder


class Finished(NamedTuple):
    """One trained model."""

    folder: Path
    experiment: str
    args: Any
    """Every setting, as the experiment's own dataclass."""
    params: dict[str, Any]
    """The parameters, nested by the parts of their dotted names."""
    summary: dict[str, Any]
    """The content of its `summary.json`."""

    @property
    def module(self) -> ModuleType:
        """The experiment's module."""
        return importlib.import_module(f"experiments.{self.experiment}")


def summary(folder: Path) -> dict[str, Any]:
    """The summary of a finished run; empty where there is none."""
    try:
        found = json.loads((folder / "summary.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and "experiment" in found else {}


def members(folder: Path) -> list[Path]:
    """The run folder of each seed: the folder itself, or those in it where it has several seeds."""
    seeds = summary(folder).get("seeds")
    return [folder / f"seed{seed}" for seed in seeds] if seeds else [folder]


def read(folder: Path) -> Finished:
    """A finished run of one seed.

    Errors:
        CheckpointError: there is none, its parameters are damaged or not those that its summary
            names, or its settings are unknown here.
    """
    found, config = summary(folder), run_folder.read_config(folder)
    if not found or config.get("experiment") not in names():
        raise _unfinished(folder, config)
    arrays = safetensors.load_params(folder / "params.safetensors")
    if (digest := safetensors.digest(arrays)) != found.get("digest"):
        raise CheckpointError(
            expected=f"the parameters in {folder} to have the digest {found.get('digest')}",
            found=digest,
            remedy="finish the run again with --resume",
        )
    params = unflatten_dict(arrays, sep=".")
    return Finished(folder, found["experiment"], _args(folder, config), params, found)


def _unfinished(folder: Path, config: Mapping[str, Any]) -> CheckpointError:
    """What lies in a folder in the place of a finished run, and what to do."""
    found, remedy = "no such folder", "name the folder of a finished run"
    if folder.is_dir():
        found = "no run"
    if config:
        there = (folder / "summary.json").exists()
        found = f"a run of {config['experiment']} "
        found += "whose summary.json is damaged" if there else "that has not ended"
        remedy = "type its command again with --resume"
    return CheckpointError(expected=f"a finished run in {folder}", found=found, remedy=remedy)


def samples(folder: Path) -> np.ndarray:
    """The images that a run drew, [num, height, width, channels] in [0, 1].

    Errors:
        CheckpointError: there are none, or their file is damaged.
    """
    path = folder / "samples.npz"
    try:
        with path.open("rb") as file:
            return np.asarray(np.load(file)["images"])
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(
            expected=f"the samples of a run in {path}",
            found="no such file" if isinstance(error, FileNotFoundError) else "a damaged file",
            remedy="type the run's command again with --resume",
        ) from error


def _args(folder: Path, config: Mapping[str, Any]) -> Any:
    """The settings of a run; what an older version did not have takes today's default."""
    declared = find(config["experiment"])
    given = {name: value for name, value in config.items() if name != "experiment"}
    default = declared.presets.get(str(given.get("preset")), declared.default)
    if unknown := [x for x in misfits(default, given) if "unknown" in x]:
        raise CheckpointError(
            expected=f"the settings in {folder} to be those of experiments.{config['experiment']}",
            found="; ".join(unknown),
            remedy="use the version of jaxgen that made the run",
        )
    return parse(declared.presets, {}, flags(given))


def program(folder: Path) -> Path:
    """The folder of the program that trained a run: its own, or that of several seeds."""
    above = [*folder.absolute().parents][:2]
    return next((root for root in above if summary(root).get("seeds")), folder.absolute())


def train_seconds(folder: Path) -> float:
    """How long a run trained, all its sessions and layers together.

    Seeds that were trained in one program share its time equally.
    """
    logs = [*folder.glob("metrics.jsonl"), *folder.glob("layer*/metrics.jsonl")]
    total = sum(json.loads(log.read_text().splitlines()[-1])["train_s"] for log in logs)
    return float(total) / len(summary(program(folder)).get("seeds", [0]))


def in_order(parts: Mapping[str, Any]) -> tuple[Any, ...]:
    """What is stored under the names 0, 1, 2, ...: the parts of a tuple."""
    return tuple(parts[name] for name in sorted(parts, key=int))


def changes(value: Any, default: Any) -> dict[str, Any]:
    """The fields in which two settings of the same kind differ, with the first one's values."""
    names = [field.name for field in dataclasses.fields(value)]
    return {n: getattr(value, n) for n in names if getattr(value, n) != getattr(default, n)}


def label(run: Finished) -> str:
    """What a run's model is called: experiment and preset, and what is changed in them."""
    args, preset = run.args, find(run.experiment).presets[run.args.preset]
    changed = changes(args.model, preset.model)
    changed |= {n: v for n, v in changes(args, preset).items() if n not in args.immaterial}
    said = [f"{name.replace('_', ' ')} {_said(value)}" for name, value in changed.items()]
    return ", ".join([f"{run.experiment}-{args.preset}", *said])


def _said(value: Any) -> str:
    return "-".join(map(str, value)) if isinstance(value, tuple) else str(value)


def grouped(runs: list[Finished]) -> dict[str, list[Finished]]:
    """Runs that differ in their seeds alone, by their common name, in the order of the first."""
    groups: dict[str, list[Finished]] = {}
    for run in runs:
        groups.setdefault(label(run), []).append(run)
    return groups


def flags(config: Mapping[str, Any]) -> list[str]:
    """The command line that sets every value of a config, as `config.json` holds it."""
    preset = [f"--preset={config['preset']}"] if "preset" in config else []
    return preset + [
        word for name, value in config.items() if name != "preset" for word in _flag(name, value)
    ]


def _flag(name: str, value: Any) -> list[str]:
    """One setting; a part of several is a flag for each, without a prefix."""
    flag = name.replace("_", "-")
    if isinstance(value, Mapping):
        return flags(value)
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    if isinstance(value, list | tuple):
        return [f"--{flag}", *map(str, value)]
    return [f"--{flag}={value}"]


def misfits(default: Any, config: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Names that the settings of an experiment have and a config lacks, or the other way round."""
    fields = {field.name: getattr(default, field.name) for field in dataclasses.fields(default)}
    found = [f"no {prefix}{name}" for name in fields if name not in config]
    found += [f"{prefix}{name}, unknown here" for name in config if name not in fields]
    for name, value in fields.items():
        if dataclasses.is_dataclass(value) and isinstance(config.get(name), Mapping):
            found += misfits(value, config[name], f"{prefix}{name}.")
    return found
