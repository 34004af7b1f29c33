"""Collects runs for others to load: their parameters, settings, logs and numbers, no more.

    python -m experiments.pretrained runs/rbm-mnist-seed0 runs/vae-mnist-seed0

makes pretrained/rbm-lab and pretrained/vae-lab, which `jaxgen.load` takes as it takes a run, and
pretrained/README.md with a row for each. A folder is named by experiment, preset and what is
changed in it, and by its data where they are not MNIST. The same command with a newer run, of the
same seed and data, replaces its files. For models whose files are large `--half` stores the
parameters as float16, which `load` makes float32 again, and `--sampler` leaves out those that no
sample depends on: of a GAN the discriminator.
"""

import itertools
import math
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tyro

import jaxgen
from experiments.comparison.naming import label_of
from experiments.running.artifacts import MEASURES, MEASURES_PAGE
from experiments.running.cli import exit_code, parse_flags
from experiments.running.console import show
from experiments.running.experiment import find
from experiments.running.places import require_outside_images, require_outside_runs
from jaxgen import models
from jaxgen.errors import CheckpointError, RunFolderError, SettingError
from jaxgen.export import safetensors
from jaxgen.files import real_path, remove_leftovers, write_atomically, write_json, writing
from jaxgen.report.page import Table, markdown, number
from jaxgen.runs import Run, metrics_log
from jaxgen.runs.files import CONFIG, MANIFEST, PARAMS, SUMMARY
from jaxgen.runs.folder import LOCK
from jaxgen.runs.manifest import command_of
from jaxgen.runs.settings import read_json
from jaxgen.runs.summary import FURTHER, LOGS, contents_of, num_seeds_of, train_seconds

EXAMPLES = {
    "python -m experiments.pretrained RUN": "a small copy of it for others to load: at once",
}
COLUMNS = (
    *("name", "data", "seed", "MB", "stored as", "numbers", "command", "commit", "parameters"),
)
PAGE = "README.md"
MEASURED_HERE = (MEASURES, MEASURES_PAGE)
"""Files that a comparison leaves in a folder."""
ROUNDED, CUT = "rounded_from", "cut_from"
"""The digest of all parameters as they were trained, in the manifest of those stored as float16, or
of the sampler's alone."""
FOLDERS = frozenset({"out", "data_dir", "manual_dir", "dbn", "vae"})
"""Settings that are folders, or none."""
RECORDED = (
    *("environment", "environment_hash", "num_cores", "git_commit", "data_digest", "seed"),
    *(ROUNDED, CUT),
)
"""Entries of a manifest besides the command."""
MEASURED = (
    *("experiment", "dataset", "preset", "seed", "epochs", "steps", "digest", "data_digest"),
    *("image_shape", "class_names", "metrics"),
)
"""Entries of a summary that are not of one process alone."""
MAX_LINES = 600
"""Of a log that is copied whole."""
LICENSE = "LICENSE"
LICENSED = f"\nThe licence of all of them is [that of the repository](../{LICENSE}).\n"
"""Of models in a folder of a repository that has one."""
TITLE = "# Pretrained models\n"
TEXT = """
Each folder is a run without its checkpoints, samples and pages. `jaxgen.load` takes it:

```python no-run
import jax
import jaxgen

images = jaxgen.load("{folder}").sample(jax.random.key(0), 16)
```

The command of a row trained it; of several seeds the row has one. A DBN that a command names is
trained first, by `python -m experiments.dbn` with the same preset and `--out`. With the code of its
commit, on the processor and as many cores as its `manifest.json` names and from the same data, it
makes the same parameters again, bit for bit; the last column has the first digits of their sha256.
Those stored as float16 are rounded, each within 0.05 %, or 3e-8 below 6e-5, and `load` makes them
float32, which have another sha256; the numbers were measured before the rounding. A GAN that is
stored as its sampler has no discriminator, whose features and PyTorch module are then missing. Of a
log with more than {most:,} lines of training at most so many are kept, and all lines that have
measures of the test set.
`python -m experiments.pretrained` makes the folders and this page from runs.

Errors, likelihoods and bounds are of the test images, distances of samples to their nearest
training image (`test_distance`: of test images). `free_energy_gap` is the mean free energy of test
images less that of training images, in nats, of a DBM by its variational bound; it grows with
overfitting. `sample_spread` is the variance of a pixel over samples, as a part of that over test
images, `test_pseudo_log_likelihood` the stochastic pseudo-likelihood, in nats, and
`test_active_units` the number of latent variables in use.

"""


@dataclass(frozen=True)
class Args:
    """Collect runs for others to load."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Run folders of one seed each."""
    out: Path = Path("pretrained")
    """The folder that has a folder for each model."""
    half: bool = False
    """Store the parameters as float16: half the bytes, each number within 0.05 %."""
    sampler: bool = False
    """Leave out the parameters that no sample depends on: of a GAN the discriminator, its features
    and its PyTorch module."""


def folder_name(run: Run) -> str:
    """Experiment, preset or `quick`, what is changed in it, and data other than MNIST's."""
    name = f"{run.model}-quick" if run.settings.get("quick") else label_of(run)
    data = [] if run.dataset_name == "mnist" else [run.dataset_name]
    return re.sub(r"[^\w.]+", "-", "-".join([name, *data])).strip("-")


def has_places(words: Sequence[str]) -> bool:
    """Whether a command line names a file or folder by its place on a machine."""
    parts = [part for word in words for part in word.split("=", 1)]
    return any(part.startswith("~") or {"/", ".."} & {*Path(part).parts} for part in parts)


def manifest_of(run: Run) -> dict[str, Any]:
    """The record of a run's origin.

    Errors:
        CheckpointError: it has no command or commit.
        SettingError: the command names places of a machine.
    """
    found = read_json(run.folder / MANIFEST)
    words = command_of(found)
    if not words or not isinstance(found.get("git_commit"), str):
        raise CheckpointError(
            expected=f"the command and the commit of the run in {run.folder / MANIFEST}",
            found="none",
            remedy="make the run from a checkout of the repository",
        )
    if has_places(words):
        raise SettingError(
            expected="the run of a command whose paths begin in its own folder",
            found=shlex.join(words),
            remedy="make the run with --out runs/NAME, for example",
        )
    recorded = {name: found[name] for name in RECORDED if name in found}
    for name in (ROUNDED, CUT):
        if not isinstance(recorded.get(name), str):
            recorded.pop(name, None)
    return {"command": shlex.join(words), **recorded}


def is_collected(folder: Path) -> bool:
    """Whether a folder has nothing but what this command and a comparison put there."""
    own = {folder / name for name in (CONFIG, MANIFEST, SUMMARY, PARAMS, *MEASURED_HERE, LOCK)}
    logs = [log for each in (*LOGS, *FURTHER) for log in folder.glob(each)]
    own |= {path for log in logs for path in (log, *log.parents)}
    return folder.is_dir() and own >= {*folder.rglob("*")}


def require_own(target: Path, run: Run) -> None:
    """Raises RunFolderError for a folder that this command did not make of such a run."""
    if target.exists() and not is_collected(target):
        raise RunFolderError(
            expected=f"{target} to hold a model that was collected, or nothing",
            found="something else" if target.is_dir() else "a file",
            remedy="choose another --out",
        )
    if (target / SUMMARY).is_file():
        earlier = read_json(target / SUMMARY)
        names = ("dataset", "data_digest", "seed")
        if other := [x for x in names if earlier.get(x) != run.summary.get(x)]:
            raise RunFolderError(
                expected=f"{target} to hold a run with the same {other[0]}",
                found=f"{earlier.get(other[0])}, and {run.summary.get(other[0])} is to replace it",
                remedy="choose another --out",
            )


def require_own_page(page: Path) -> None:
    """Raises RunFolderError for a page that this command did not write."""
    if page.exists() and not (page.is_file() and page.read_bytes().startswith(TITLE.encode())):
        raise RunFolderError(
            expected=f"{page} to be the page of collected models, or none",
            found="another",
            remedy="choose another --out",
        )


def check(runs: Sequence[Run], out: Path) -> None:
    """Refuses whatever cannot be collected, before anything is written.

    Errors:
        SettingError: a run has several seeds, or two have one name, or --out is among images.
        RunFolderError: --out is in a run, or has something else in the place of a model.
    """
    for run in runs:
        if run.seeds:
            folders = ", ".join(str(each.folder) for each in run.seeds)
            raise SettingError(
                expected="runs of one seed", found=str(run.folder), remedy=f"name one of {folders}"
            )
    named = [folder_name(run) for run in runs]
    if twice := [name for name in named if named.count(name) > 1]:
        raise SettingError(
            expected="runs of different models",
            found=f"{named.count(twice[0])} of {twice[0]}",
            remedy="name one of them, and collect the others with another --out",
        )
    require_outside_runs(out / PAGE)
    require_outside_images([run.settings.get("dataset") for run in runs], {"--out": out})
    require_own_page(out / PAGE)
    for name, run in zip(named, runs, strict=True):
        require_own(out / name, run)
        manifest_of(run)


def sampler_of(run: Run) -> Run:
    """The run without the parameters that no sample depends on."""
    optional = models.optional_params(run.model)
    return replace(run, arrays=run.params | {part: {} for part in optional}) if optional else run


def file_of(run: Run, as_half: bool) -> tuple[bytes, str]:
    """A file of the run's parameters, and their digest once it is read.

    Errors:
        SettingError: a number is too large for float16.
    """
    arrays = safetensors.host_arrays(run.params)
    try:
        stored = safetensors.halve(arrays) if as_half else arrays
    except ValueError as error:
        raise SettingError(
            expected="parameters that float16 holds with --half",
            found=str(error),
            remedy="collect the run without --half",
        ) from error
    return safetensors.file_content(stored, {}), safetensors.digest(safetensors.widen(stored))


def thinned(lines: Sequence[metrics_log.Line]) -> list[metrics_log.Line]:
    """A log without most of its lines of training if there are more than `MAX_LINES` of these.

    Every n-th of them stays, all with measures of the test set, and the last line.
    """
    measured = [
        line is lines[-1] or any(name.startswith("test_") for name in line) for line in lines
    ]
    apart = math.ceil(measured.count(False) / MAX_LINES) or 1
    others = itertools.count(1)
    return [
        line
        for line, stays in zip(lines, measured, strict=True)
        if stays or not next(others) % apart
    ]


def shared(lines: Sequence[metrics_log.Line], num_seeds: int) -> list[metrics_log.Line]:
    """A log with the share of one seed in the time of a program that trained so many."""
    if num_seeds == 1:
        return [*lines]
    return [line | {"train_s": round(line["train_s"] / num_seeds, 4)} for line in lines]


def collect(run: Run, out: Path, as_half: bool = False, sampler: bool = False) -> Path:
    """Copies what `load` needs of a run into a folder of its own; its summary comes last.

    Errors:
        SettingError: a number is too large for float16.
        WriteError: the disk is full, for example.
    """
    target, name = out / folder_name(run), run.dataset_name
    manifest, config = manifest_of(run), read_json(run.folder / CONFIG)
    num_seeds = num_seeds_of(run.folder)
    logs = {
        path.relative_to(run.folder): thinned(shared(metrics_log.read_lines(path), num_seeds))
        for each in (*LOGS, *FURTHER)
        for path in run.folder.glob(each)
    }
    summary = {each: run.summary[each] for each in MEASURED if each in run.summary}
    params = (run.folder / PARAMS).read_bytes()
    kept = sampler_of(run) if sampler else run
    as_half = as_half or ROUNDED in manifest  # and stays so
    if as_half or kept is not run:
        params, summary["digest"] = file_of(kept, as_half)
    if kept is not run:
        manifest.setdefault(CUT, manifest.get(ROUNDED, run.digest))
    if as_half:
        manifest.setdefault(ROUNDED, manifest.get(CUT, run.digest))
    with writing(target):
        for stale in (SUMMARY, *MEASURED_HERE):
            (target / stale).unlink(missing_ok=True)
    for path, lines in logs.items():
        metrics_log.write_lines(target / path, lines)
    write_atomically(target / PARAMS, params)
    folders = dict.fromkeys(FOLDERS & config.keys())
    write_json(target / CONFIG, config | folders | {"dataset": name})
    write_json(target / MANIFEST, manifest)
    summary["train_s"] = train_seconds(target)
    write_json(target / SUMMARY, summary | contents_of(target))
    return target


def row(run: Run, manifest: Mapping[str, Any]) -> list[str]:
    """The row of a collected run."""
    shown = find(run.model).headline(run.summary["metrics"])
    numbers = ", ".join(f"{name} {number(value)}" for name, value in shown.items())
    files = [x for x in run.folder.rglob("*") if x.is_file() and x.name not in MEASURED_HERE]
    size = sum(path.stat().st_size for path in files)
    rounded, cut = manifest.get(ROUNDED), manifest.get(CUT)
    return [
        *(run.folder.name, run.dataset_name, str(run.summary["seed"]), f"{size / 1e6:.1f}"),
        f"{'float16' if rounded else 'float32'}{', sampler' if cut else ''}",
        numbers,
        *(manifest["command"], manifest["git_commit"][:8], (cut or rounded or run.digest)[:8]),
    ]


def main(args: Args) -> int:
    """Collects the runs and writes the page of all that are there."""
    if not args.runs:
        raise SettingError(
            expected="the folders of runs to collect", found="none", remedy="name one or more"
        )
    runs = [jaxgen.load(folder) for folder in args.runs]
    check(runs, args.out)
    for run in runs:
        whole = args.sampler and not models.optional_params(run.model)
        note = f": whole, because --sampler leaves out nothing of {run.model}" if whole else ""
        show(f"{collect(run, args.out, args.half, args.sampler)}{note}")
    remove_leftovers(args.out)
    there = sorted(path.parent for path in args.out.glob(f"*/{SUMMARY}"))
    collected = [jaxgen.load(folder) for folder in there if is_collected(folder)]
    rows = [row(model, manifest_of(model)) for model in collected]
    folder = f"{real_path(args.out).name}/{rows[0][0]}"
    text = TITLE + TEXT.format(folder=folder, most=MAX_LINES) + markdown(Table(COLUMNS, rows))
    text += LICENSED * (real_path(args.out).parent / LICENSE).is_file()
    write_atomically(args.out / PAGE, text.encode())
    show(f"page: {args.out / PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(parse_flags(Args, EXAMPLES)), "the same command starts again"))
