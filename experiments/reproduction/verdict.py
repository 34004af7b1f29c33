"""Whether runs are the same: what is compared, what is promised, what was found. Only reads files.

=====  =============================================================================
A      bitwise: equal settings, data, code and environment give equal digests
B      within a band: the numbers are near, their last bits differ
C      not comparable: other settings, data or code; or numbers outside the band
=====  =============================================================================
"""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict

from experiments.running.experiment import Band, find
from jaxgen.errors import CheckpointError, RunFolderError
from jaxgen.runs.files import CONFIG, LOG, MANIFEST, SAMPLES, SUMMARY
from jaxgen.runs.folder import read_config
from jaxgen.runs.manifest import PLACE, fingerprint
from jaxgen.runs.metrics_log import read_lines
from jaxgen.runs.samples import read_arrays
from jaxgen.runs.settings import printable, read_json, shown
from jaxgen.training.checkpoint import digest

TIMES = {"train_s", "s_per_iteration"}
"""Entries in which equal runs differ: seconds."""
MEANING = {"A": "bitwise", "B": "within the band", "C": "not comparable"}


class Record(NamedTuple):
    """The record of a run, written before its first step."""

    config: Mapping[str, Any]
    manifest: Mapping[str, Any]


class Run(NamedTuple):
    """A finished run as far as another can be compared with it."""

    record: Record
    digests: Mapping[str, str]
    """sha256 by name: parameters, samples and log, of the run and of the runs inside its folder."""
    metrics: Mapping[str, float]
    """By name; those of a run inside the folder begin with its path."""
    train_s: float


class Verdict(NamedTuple):
    """The class that could be promised, the class that was found, and why."""

    promised: str
    promised_why: list[str]
    found: str
    found_why: list[str]

    @property
    def kept(self) -> bool:
        """Whether the runs agree, and at least as well as was promised."""
        return self.found != "C" and self.found <= self.promised


def _is_json(content: Any) -> bool:
    """Whether this can be written again: JSON has no NaN, though Python reads it."""
    try:
        json.dumps(content, allow_nan=False)
    except ValueError:
        return False
    return True


def mapping(content: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    """A part of a JSON file that is a mapping; empty where it is missing.

    Errors:
        RunFolderError: it is something else.
    """
    found = content.get(name, {})
    if not isinstance(found, dict):
        raise RunFolderError(
            expected=f"a mapping for {name} in {path}",
            found=shown(found),
            remedy="name the folder of another run",
        )
    return found


def read_record(folder: Path) -> Record:
    """The settings and the manifest that a run wrote when it began.

    Errors:
        RunFolderError: one of them is missing or damaged.

    A run that is one of several seeds was made by their common program. Where that batches their
    products, XLA may round in another way than for one seed: it counts as part of the environment.
    """
    manifest, config = (read_json(folder / name) for name in (MANIFEST, CONFIG))
    environment = mapping(manifest, "environment", folder / MANIFEST)
    if not _is_json(manifest):
        raise RunFolderError(
            expected=f"finite numbers in {folder / 'manifest.json'}",
            found="others",
            remedy="name the folder of another run",
        )
    in_turn = environment.get("device") == "cpu" and environment.get("num_devices") == 1
    if (seeds := read_config(folder.parent).get("seeds")) and not in_turn:
        manifest = {**manifest, "environment": {**environment, "seeds_in_one_program": seeds}}
    return Record(config, manifest)


def read(folder: Path) -> Run:
    """A finished run.

    Errors:
        RunFolderError: one of its files is missing or damaged.
    """
    record, whole = read_record(folder), read_json(folder / SUMMARY)
    try:
        digests, metrics = dict(_file_digests(folder)), dict[str, float]()
    except CheckpointError as error:
        raise RunFolderError(
            expected=f"whole samples in {folder}",
            found="a damaged file",
            remedy="name the folder of another run",
        ) from error
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise RunFolderError(
            expected=f"whole logs and samples in {folder}",
            found=str(error).partition("\n")[0],
            remedy="name the folder of another run",
        ) from error
    for path in sorted(folder.rglob(SUMMARY)):
        summary, where = read_json(path), _where(path, folder)
        of_seeds = mapping(summary, "digests", path) or {"": summary.get("digest")}
        digests |= {f"{where}parameters {seed}".strip(): str(d) for seed, d in of_seeds.items()}
        found = mapping(summary, "metrics", path)
        values = {name: x for name, x in found.items() if name not in TIMES}
        metrics |= {where + name: x for name, x in values.items() if _is_finite(x)}
        digests[f"{where}metrics"] = fingerprint(values)
    seconds = whole.get("train_s")
    return Run(record, digests, metrics, seconds if isinstance(seconds, float) else 0.0)


def _is_finite(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def band_of(run: Run) -> Band:
    """The band that the run's experiment declares, with a metric of the run."""
    band = find(run.record.config["experiment"]).band
    return band if band.metric else replace(band, metric=next(iter(run.metrics), ""))


def main_metric(run: Run) -> float:
    """The metric that has a band: the run's, or the mean over its seeds; NaN if none."""
    pattern = rf"(seed\d+/)?{re.escape(str(band_of(run).metric))}"
    values = [x for found, x in run.metrics.items() if re.fullmatch(pattern, found)]
    return sum(values) / len(values) if values else float("nan")


def _where(path: Path, folder: Path) -> str:
    """The path of the run that a file belongs to, with a slash; empty for the run itself."""
    return path.parent.relative_to(folder).as_posix().removeprefix(".") + "/" * (
        path.parent != folder
    )


def _file_digests(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and sha256 of the samples and of the logs, the latter without their times."""
    for path in sorted(folder.rglob(SAMPLES)):
        yield f"{_where(path, folder)}samples", digest(read_arrays(path))
    for path in sorted(folder.rglob(LOG)):
        lines = read_lines(path)
        if len(lines) < len(path.read_bytes().splitlines()):
            raise ValueError(f"a last line in {path} that was cut")
        kept = [{name: x for name, x in line.items() if name not in TIMES} for line in lines]
        yield f"{_where(path, folder)}log", fingerprint(kept)


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The differences between two nested mappings, one line each: name, old value, new value."""
    flat, other = (flatten_dict({**content}, sep=".") for content in (then, now))
    return [
        printable(f"{name}: {flat.get(name, 'absent')}, now {other.get(name, 'absent')}")
        for name in [*flat, *(name for name in other if name not in flat)]
        if flat.get(name, "absent") != other.get(name, "absent")
    ]


def why_not_bitwise(environment: Mapping[str, Any]) -> list[str]:
    """Why nothing bitwise is promised in an environment; empty where it is."""
    if environment.get("device") == "cpu":
        return []
    flags = environment.get("flags", {}).get("XLA_FLAGS", "")
    strict = environment.get("matmul_precision") == "highest"
    if strict and "--xla_gpu_deterministic_ops=true" in flags:
        return []
    return ["an accelerator promises bits with --deterministic only"]


def promise(then: Record, now: Record) -> tuple[str, list[str]]:
    """The class that two runs can promise, from what they wrote down before their first step."""
    place = PLACE | {"dataset"}  # wherever its images lie, `data_digest` is of them
    settings = [
        {k: v for k, v in record.config.items() if k not in place} for record in (then, now)
    ]
    other = differences(*settings)
    for name in ("data_digest", "git_commit"):
        pair = [{name: record.manifest.get(name)} for record in (then, now)]
        other += differences(*pair)
    environments = [record.manifest.get("environment", {}) for record in (then, now)]
    unequal = differences(*environments)
    if other:
        return "C", other + unequal
    if reasons := unequal + why_not_bitwise(environments[1]):
        return "B", reasons
    reasons = ["equal settings, data, code and environment"]
    if str(now.manifest.get("git_commit")).endswith("-dirty"):
        reasons.append("the source tree has changes that no commit names; they are taken as equal")
    return "A", reasons


def _found(promised: str, first: Run, other: Run) -> tuple[str, list[str]]:
    """The class that two finished runs show."""
    names = [*first.digests, *(name for name in other.digests if name not in first.digests)]
    missing = [name for name in names if name not in first.digests or name not in other.digests]
    unequal = [name for name in names if first.digests.get(name) != other.digests.get(name)]
    if not unequal:
        return "A", [f"equal digests: {', '.join(names)}"]
    lines = [f"digests differ: {', '.join(unequal)}"]
    lines += [f"only one of the runs has: {', '.join(missing)}"] if missing else []
    if promised == "C" or missing:
        return "C", lines
    band = band_of(first)
    names = [name for name in first.metrics if name.rpartition("/")[2] == band.metric]
    within = bool(names)
    for name in names:
        pair = first.metrics[name], other.metrics.get(name, np.nan)
        apart = abs(pair[1] - pair[0]) / max(abs(pair[0]), 1e-30)
        within &= bool(apart <= band.width)
        values = f"{pair[0]:.6g} and {pair[1]:.6g}, {apart:.2%} apart"
        lines.append(f"{name}: {values}; the band is {band.width:.0%}")
    return ("B" if within else "C"), lines


def compare_runs(first: Run, others: Mapping[str, Run]) -> Verdict:
    """The least promise and the worst finding over all runs, each against the first."""
    promises = [promise(first.record, other.record) for other in others.values()]
    promised = max(promises, key=lambda pair: pair[0])
    found = [
        (kind, [f"{name}: {reason}" for reason in reasons])
        for name, other in others.items()
        for kind, reasons in [_found(promised[0], first, other)]
    ]
    why = [reason for _, reasons in found for reason in reasons]
    return Verdict(*promised, max(kind for kind, _ in found), why)
