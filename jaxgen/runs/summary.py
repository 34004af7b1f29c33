"""The summary of a run, `summary.json`, which is written last: a run that has one is whole."""

from pathlib import Path
from typing import Any

from jaxgen.errors import RunFolderError
from jaxgen.runs import metrics_log
from jaxgen.runs.settings import read_json

NAME = "summary.json"


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary of a finished run; empty where there is none."""
    try:
        found = read_json(folder / NAME)
    except RunFolderError:
        return {}
    return found if isinstance(found.get("experiment"), str) else {}


def seeds_of(summary: dict[str, Any]) -> list[int]:
    """The seeds of a run of several; empty for one seed, and where they are no seeds."""
    seeds = summary.get("seeds")
    if not isinstance(seeds, list) or not all(is_seed(seed) for seed in seeds):
        return []
    return seeds


def is_seed(value: object) -> bool:
    """Whether this is a seed: a whole number from 0 to 2^32 - 1."""
    return type(value) is int and 0 <= value < 2**32


def seed_folders(folder: Path) -> list[Path]:
    """The run folder of each seed: the folder itself, or those in it where it has several seeds."""
    return [seed_folder(folder, seed) for seed in seeds_of(read_summary(folder))] or [folder]


def seed_folder(folder: Path, seed: int) -> Path:
    """The run folder of one of several seeds."""
    return folder / f"seed{seed}"


def program_folder(folder: Path) -> Path:
    """The folder of the program that trained a run: its own, or that of several seeds."""
    above = [*folder.absolute().parents][:2]
    return next((root for root in above if seeds_of(read_summary(root))), folder.absolute())


def train_seconds(folder: Path) -> float:
    """Seconds of training, of all sessions and layers together.

    Seeds that were trained in one program share its time equally.
    """
    logs = [*folder.glob(metrics_log.NAME), *folder.glob(f"layer*/{metrics_log.NAME}")]
    total = sum(lines[-1]["train_s"] for lines in map(metrics_log.read_lines, logs) if lines)
    return float(total) / (len(seeds_of(read_summary(program_folder(folder)))) or 1)
