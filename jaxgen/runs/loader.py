"""A finished run read from its folder, each file compared with the others before it is used.

Nothing in a folder is run, and nothing is written: the parameters have the digest that the summary
has, and the names, shapes and dtypes that follow from the settings. So a folder from a stranger
gives a run that was made with this library, or an error of one line.
"""

import dataclasses
import difflib
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any

import jax
import numpy as np

from jaxgen import models
from jaxgen.errors import MAX_FLOAT, MAX_SIZE, CheckpointError, JaxgenError, SettingError
from jaxgen.export import safetensors
from jaxgen.images import ImageShape
from jaxgen.runs import settings
from jaxgen.runs.files import CONFIG, PARAMS, SUMMARY
from jaxgen.runs.folder import read_config
from jaxgen.runs.run import Run
from jaxgen.runs.settings import printable, shown
from jaxgen.runs.summary import (
    damages,
    has_settings,
    is_seed,
    read_logs,
    read_summary,
    seed_folder,
    seeds_of,
)
from jaxgen.training.epoch import num_bytes

MNIST_SHAPE = (28, 28, 1)
"""[H, W, C] of the images of all data sets, where a summary does not have it."""
MAX_SIDE = 4096
"""Pixels of an image's side, at most."""
MAX_LAYERS = 64
LARGEST = {int: MAX_SIZE, float: MAX_FLOAT}
"""Of a model's settings: what arrays of 32 bits hold."""
HEADER_BYTES = 1 << 20
"""Of a file of parameters besides the arrays, at most."""
STATE_BYTES = 1 << 30
"""A state may take that much, besides eight times its parameters."""
EVERY_RUN = {"epochs": int, "batch_size": int, "preset": str}
"""Types of settings that every run has; all but the model's are the experiment's to check."""
REPEATED = ("dataset", "preset", "epochs")
"""Settings that a summary repeats."""
MOST_SHOWN = 5
"""Settings named in an error."""


def load(folder: Path | str) -> Run:
    """Reads a finished run, of one seed or of several.

    A setting of the model that the run was made without is that of `settings.before`, or else its
    class's default.

    Errors:
        CheckpointError: there is no finished run, or its files are damaged, or do not fit together.
        SettingError: a setting of the model is of another type, or impossible; or the folder is no
            path.
        RunFolderError: its settings are no JSON, or its log is damaged.

    Example:
        >>> jaxgen.load("runs/rbm-digits-seed0")
        <Run of rbm on digits, seed 0, 2 epochs, in runs/rbm-digits-seed0>
    """
    if not isinstance(folder, str | Path):
        raise SettingError(
            expected="the folder of a finished run, a text or a Path",
            found=shown(folder),
            remedy='name one: jaxgen.load("runs/rbm-mnist-seed0")',
        )
    folder = Path(folder)
    found = read_summary(folder)
    if not found:
        raise _unfinished(folder)
    stored = settings.read_json(folder / CONFIG)
    name = found["experiment"]
    if name not in models.names() or stored.get("experiment") != name:
        there = f"{shown(stored.get('experiment'))} and {shown(name)}"
        raise _misfit(folder, "the experiment of a model in config.json and summary.json", there)
    _check_text(folder, found, "dataset", "data_digest")
    _check_settings(folder, stored)
    with settings.stored_in(folder / CONFIG):
        for setting in REPEATED:
            mine = stored.get(setting)
            if mine is not None and setting == "dataset":
                mine = settings.dataset_name(stored)
            if mine is not None and found.get(setting, mine) != mine:
                raise _misfit(folder, f"the same {setting} in {CONFIG} and {SUMMARY}", "another")
        config = _model_config(folder, name, stored)
    shape = _image_shape(folder, found)
    _check_class_names(folder, found, config)
    _check_files(folder, found)
    if not has_settings(stored, found):
        raise CheckpointError(
            expected=f"{folder / CONFIG} as it was when the run ended",
            found="other settings",
            remedy="put them back, or type the run's command again with --resume",
        )
    if "seeds" in found:
        return _of_several(Run(folder, name, config, stored, found, shape))
    seed, others = found.get("seed"), stored.get("seeds", [])
    if not is_seed(seed) or stored.get("seed", seed) != seed or others not in ([], [seed]):
        raise _misfit(folder, "one seed in config.json and summary.json", "another")
    _check_text(folder, found, "digest")
    _check_metrics(folder, found)
    params = _read_params(folder, found, name, config, shape)
    return Run(folder, name, config, stored, found, shape, arrays=params)


def _of_several(root: Run) -> Run:
    """The run of several seeds, with the run of each."""
    seeds, named = seeds_of(dict(root.summary)), root.summary["seeds"]
    whole = seeds and seeds == named and len({*seeds}) == len(seeds)
    if not whole or root.settings.get("seeds") != seeds:
        raise _misfit(root.folder, "the same seeds in config.json and summary.json", "others")
    runs = tuple(load(seed_folder(root.folder, seed)) for seed in seeds)
    for seed, run in zip(seeds, runs, strict=True):
        alike = (run.model, run.config, run.image_shape, run.dataset_digest)
        same = alike == (root.model, root.config, root.image_shape, root.dataset_digest)
        if run.seeds or run.seed != seed or not same:
            raise _misfit(root.folder, f"the run of seed {seed} in {run.folder}", "another run")
    return dataclasses.replace(root, seeds=runs)


def _unfinished(folder: Path) -> CheckpointError:
    """The error for a folder without a whole run: its content, and a remedy."""
    found, remedy = "no such folder", f"name the folder of a finished run{_meant(folder)}"
    if os.path.isdir(folder):  # False for a name that no file can have
        found = "no run"
    elif os.path.isfile(folder):
        found = "a file"
        if read_summary(folder.parent):
            remedy = f"name the folder of a finished run, perhaps {printable(str(folder.parent))}"
    if config := read_config(folder):
        there = (
            "whose summary.json is damaged" if (folder / SUMMARY).exists() else "that has not ended"
        )
        found = f"a run of {printable(str(config['experiment']), 60)} {there}"
        remedy = "type its command again with --resume"
    return CheckpointError(expected=f"a finished run in {folder}", found=found, remedy=remedy)


def _meant(folder: Path) -> str:
    """A run beside a folder whose name is similar, after a comma; empty if there is none."""
    try:
        beside = sorted(os.listdir(folder.parent))
    except (OSError, ValueError):  # a name that no file can have
        return ""
    names = [each.casefold() for each in beside]
    near = difflib.get_close_matches(folder.name.casefold(), names, 10)
    alike = [each for name in near for each in beside if each.casefold() == name]
    found = next((each for each in alike if read_summary(folder.with_name(each))), None)
    return f", perhaps {printable(found)} beside it" if found else ""


def _misfit(folder: Path, expected: str, found: str) -> CheckpointError:
    return CheckpointError(
        expected=f"{expected} of the run in {folder}",
        found=found,
        remedy="make the run again, or use the version of jaxgen that made it",
    )


def _check_text(folder: Path, found: Mapping[str, Any], *names: str) -> None:
    """Raises CheckpointError where one of the names has no text in a summary."""
    for name in names:
        if not isinstance(found.get(name), str):
            raise _misfit(folder, f"a text for {name} in {SUMMARY}", shown(found.get(name)))


def _check_settings(folder: Path, stored: Mapping[str, Any]) -> None:
    """Raises CheckpointError where a setting that every run has is of another type."""
    for name, kind in EVERY_RUN.items():
        if type(stored.get(name)) not in (kind, NoneType):
            raise _misfit(folder, f"{kind.__name__} for {name} in {CONFIG}", shown(stored[name]))


def _check_class_names(folder: Path, found: Mapping[str, Any], config: Any) -> None:
    """Raises CheckpointError for names that are no texts, or not as many as the model's classes.

    The summary of an older version has none.
    """
    names = found.get("class_names", [])
    num = getattr(config, "num_classes", 0) or len(names if isinstance(names, list) else ())
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _misfit(folder, f"a list of texts for class_names in {SUMMARY}", shown(names))
    if names and len(names) != num:
        raise _misfit(folder, f"{num} names of classes in {SUMMARY}", str(len(names)))


def _check_metrics(folder: Path, found: Mapping[str, Any]) -> None:
    """Raises CheckpointError unless the final metrics of one seed are finite numbers."""
    metrics = found.get("metrics")
    if not isinstance(metrics, Mapping) or not all(map(_is_number, metrics.values())):
        raise _misfit(folder, f"finite numbers for metrics in {SUMMARY}", shown(metrics))


def _check_files(folder: Path, found: Mapping[str, Any]) -> None:
    """Raises CheckpointError unless every file is there and as the summary has it.

    The logs, one after the other, end where training did.
    """
    if not (wrong := damages(folder, found)):
        steps = found.get("steps")
        ends = [lines[-1]["step"] for lines in read_logs(folder).values() if lines]
        if not ends or steps not in (None, sum(ends)):
            wrong = [f"a log of {sum(ends)} of {shown(steps)} steps"]
    if wrong:
        raise CheckpointError(
            expected=f"the files of {folder} as they were when the run ended",
            found="; ".join(wrong[:MOST_SHOWN]),
            remedy="type the run's command again with --resume",
        )


def _is_number(value: object) -> bool:
    """Whether this is a finite number that a float holds."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


def _model_config(folder: Path, name: str, stored: Mapping[str, Any]) -> Any:
    """The model's settings.

    Errors:
        SettingError: a value is of another type, or impossible.
        CheckpointError: there are none, or a field is unknown, or a number is beyond what any model
            takes.
    """
    given = stored.get("model")
    if not isinstance(given, Mapping):
        raise _misfit(folder, "a mapping for model in config.json", shown(given))
    kind = models.module(name).Config
    if unknown := [x for x in settings.unlike(kind, given, "model.") if "unknown" in x]:
        raise _misfit(folder, f"settings of {name} in {CONFIG}", "; ".join(unknown[:MOST_SHOWN]))
    config = settings.rebuild(kind, given, where="model.")
    for value in dataclasses.asdict(config).values():
        if isinstance(value, tuple) and len(value) > MAX_LAYERS:
            raise _misfit(folder, f"at most {MAX_LAYERS} layers", str(len(value)))
        for number in value if isinstance(value, tuple) else (value,):
            if type(number) in LARGEST and abs(number) > LARGEST[type(number)]:
                raise _misfit(folder, "numbers of 32 bits", "a huge number")
    return config


def _image_shape(folder: Path, found: Mapping[str, Any]) -> ImageShape:
    """[H, W, C] of the images; those that a summary does not name are of the data sets here."""
    shape = found.get("image_shape", [*MNIST_SHAPE])
    if (
        not isinstance(shape, list)
        or len(shape) != 3
        or not all(type(size) is int and 1 <= size <= MAX_SIDE for size in shape)
    ):
        raise _misfit(folder, f"an image's height, width and channels in {SUMMARY}", shown(shape))
    height, width, num_channels = shape
    return height, width, num_channels


def _read_params(
    folder: Path, found: Mapping[str, Any], name: str, config: Any, image_shape: ImageShape
) -> Any:
    """The parameters, in the structure of the learner's; see `load` for the errors.

    A part that no sample depends on may be missing as a whole, and is then empty.
    """
    wanted = _params_shape(folder, name, config, image_shape)
    path = folder / PARAMS
    if not path.is_file():
        raise _misfit(folder, f"the parameters, {PARAMS},", "no such file")
    size, most = path.stat().st_size, num_bytes(wanted) + HEADER_BYTES
    if size > most:
        raise _misfit(folder, f"at most {most:,} bytes in {PARAMS}", f"{size:,}")
    arrays = safetensors.widen(safetensors.load_params(path))
    if (digest := safetensors.digest(arrays)) != found["digest"]:
        raise CheckpointError(
            expected=f"the parameters in {folder} to have the digest {shown(found['digest'])}",
            found=digest,
            remedy="finish the run again with --resume",
        )
    for part in models.optional_params(name):
        if not any(each.startswith(f"{part}.") for each in arrays):
            wanted |= {part: {}}
    leaves = safetensors.flatten(wanted)
    for each in [*leaves, *(each for each in arrays if each not in leaves)]:
        expected, there = (_describe(x.get(each)) for x in (leaves, arrays))
        if expected != there:
            raise _misfit(folder, f"{expected} for {shown(each)} in {PARAMS}", there)
        if not np.all(np.isfinite(arrays[each])):
            raise _misfit(folder, f"finite numbers for {each} in {PARAMS}", "others")
        if each.endswith(".var") and np.any(arrays[each] < 0):
            raise _misfit(folder, f"variances of at least 0 for {each} in {PARAMS}", "others")
    return jax.tree.unflatten(jax.tree.structure(wanted), [arrays[each] for each in leaves])


def _params_shape(folder: Path, name: str, config: Any, image_shape: ImageShape) -> Any:
    """Names, shapes and dtypes of the parameters that the settings make.

    Errors:
        CheckpointError: the settings make none, or a state that takes much more memory.
    """
    try:
        wanted = models.params_shape(name, config, image_shape)
        state = jax.eval_shape(partial(models.state_of, name, config, image_shape), wanted)
        needed = num_bytes(state)
    except JaxgenError as error:
        raise _misfit(folder, "settings that make a model", str(error)) from error
    except Exception as error:  # sizes that no array has lead to many kinds of errors
        text = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise _misfit(folder, "settings that make a model", text) from error
    if needed > STATE_BYTES + 8 * num_bytes(wanted):
        raise _misfit(folder, "settings that make a state of the parameters' size", f"{needed:,} B")
    return wanted


def _describe(array: Any) -> str:
    """An array's dtype and shape; of None, nothing."""
    return "nothing" if array is None else f"{array.dtype} {tuple(array.shape)}"
