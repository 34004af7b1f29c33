"""The summary of a run, `summary.json`, which is written last: a run that has one is whole."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxgen.errors import RunFolderError
from jaxgen.files import file_digest, require_file
from jaxgen.runs import metrics_log
from jaxgen.runs.files import CONFIG, LOG, PARAMS, SAMPLES, SUMMARY
from jaxgen.runs.manifest import settings_digest
from jaxgen.runs.settings import printable, read_json

LOGS = (LOG, f"layer*/{LOG}")
"""The logs of a run: its own, or those of a DBN's layers."""
FURTHER = (f"backprop/*/{LOG}",)
"""Logs of what was trained beside the model, whose time is not the model's."""
MAX_BYTES = 1 << 31
"""Of a file of a run; a larger one is none of ours."""
_KEPT = re.compile(rf"[\w-]+\.safetensors|{SAMPLES}|(layer\d+/|backprop/\w+/)?{LOG}")


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary of a finished run; empty where there is none."""
    try:
        found = read_json(folder / SUMMARY)
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


def has_settings(config: Mapping[str, Any], summary: Mapping[str, Any]) -> bool:
    """Whether these are the settings of the run; the summary of an older version has no digest."""
    return summary.get("settings_digest") in (None, settings_digest(config))


def contents_of(folder: Path) -> dict[str, Any]:
    """What the summary keeps of the other files of a run, so that none can change unseen.

    Of its parameters, samples and logs the bytes and the sha256; of its settings the digest of
    those that shape its numbers.
    """
    digest = settings_digest(read_json(folder / CONFIG))
    return {"settings_digest": digest, "files": _files_of(folder)}


def _files_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Bytes and sha256 of a run's parameters, samples and logs."""
    kept = ("*.safetensors", SAMPLES, *LOGS, *FURTHER)
    paths = [path for each in kept for path in folder.glob(each)]
    return {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": file_digest(path),
        }
        for path in sorted(paths)
    }


def damages(folder: Path, summary: Mapping[str, Any]) -> list[str]:
    """The files of a finished run that are missing, or are not as its summary has them.

    Every run has a log, and that of one seed its parameters. The summary of an older version names
    no files; then it has samples too.
    """
    kept = summary.get("files", {})
    if not isinstance(kept, Mapping):
        return ["no mapping of files"]
    found = [_damage(folder, name, there) for name, there in kept.items()]
    needed = [] if "seeds" in summary else [PARAMS]
    if needed and "files" not in summary:
        needed.append(SAMPLES)
    if not any(path.is_file() for each in LOGS for path in folder.glob(each)):
        needed.append(LOG)
    found += [f"no {x}" for x in needed if x not in kept and not (folder / x).is_file()]
    return [each for each in found if each]


def _damage(folder: Path, name: str, kept: Any) -> str:
    """How a file differs from what its summary has of it, or nothing."""
    shown = printable(name, 60)
    if not _KEPT.fullmatch(name) or not isinstance(kept, Mapping):
        return f"{shown}, no file of a run"
    size = kept.get("bytes")
    try:
        require_file(folder / name, min(size, MAX_BYTES) if type(size) is int else 0)
        same = file_digest(folder / name) == kept.get("sha256")
    except FileNotFoundError:
        return f"no {shown}"
    except OSError as error:
        return f"{shown}: {error.strerror}"
    return "" if same else f"another {shown}"


def read_logs(folder: Path) -> dict[str, list[metrics_log.Line]]:
    """The lines of every log of a run, by the path of its folder: "" or "layer1" and so on.

    Errors:
        RunFolderError: one of them is damaged.
    """
    paths = sorted(path for each in LOGS for path in folder.glob(each))
    return {
        path.parent.relative_to(folder).as_posix().removeprefix("."): metrics_log.read_lines(path)
        for path in paths
    }


def train_seconds(folder: Path) -> float:
    """Seconds of training, of all sessions and layers together.

    Seeds that were trained in one program share its time equally.
    """
    total = sum(lines[-1]["train_s"] for lines in read_logs(folder).values() if lines)
    return float(total) / num_seeds_of(folder)


def num_seeds_of(folder: Path) -> int:
    """How many seeds the program that trained a run had."""
    return len(seeds_of(read_summary(program_folder(folder)))) or 1
