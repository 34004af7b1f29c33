"""Collects finished runs for others to load: their parameters, settings and numbers, no more.

    python -m experiments.pretrained runs/rbm-mnist-seed0 runs/vae-mnist-seed0

makes pretrained/rbm-lab and pretrained/vae-lab, which `jaxgen.load` takes as it takes a run, and
pretrained/README.md with a row for each. A run of the same model replaces the one that is there.
"""

import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

import jaxgen
from experiments.comparison.naming import label_of
from experiments.running.cli import exit_code, parse_flags
from experiments.running.console import show
from experiments.running.experiment import find
from jaxgen.errors import SettingError
from jaxgen.files import make_folder, write_atomically, write_json
from jaxgen.report.page import Table, markdown, number
from jaxgen.runs import Run
from jaxgen.runs.folder import CONFIG
from jaxgen.runs.manifest import MANIFEST
from jaxgen.runs.settings import read_json
from jaxgen.runs.summary import LOGS, NAME, PARAMS, files_of

EXAMPLES = {
    "python -m experiments.pretrained runs/rbm-mnist-seed0": "makes pretrained/rbm-lab: at once",
}
COLUMNS = ("name", "MB", "numbers on the test images", "command", "commit", "parameters")
PAGE = "README.md"
FOLDERS = frozenset({"out", "data_dir", "manual_dir", "dbn"})
"""Settings that are folders, or none."""
TITLE = """# Pretrained models

Each folder is a finished run without its checkpoints, samples and pages. `jaxgen.load` takes it:

```python no-run
import jax
import jaxgen

images = jaxgen.load("pretrained/{name}").sample(jax.random.key(0), 16)
```

The command of a row makes its parameters again, bit for bit on the processor that its
`manifest.json` names; the last column has the first digits of their sha256. They are under the
licence of the code.

"""


@dataclass(frozen=True)
class Args:
    """Collect finished runs for others to load."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Run folders of one seed each."""
    out: Path = Path("pretrained")
    """The folder that has a folder for each model."""


def folder_name(run: Run) -> str:
    """Experiment, preset and what is changed in it, as a name without spaces."""
    return re.sub(r"[^\w.]+", "-", label_of(run)).strip("-")


def without_places(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run without the folders of the machine it was made on."""
    return settings | dict.fromkeys(FOLDERS & settings.keys())


def collect(run: Run, out: Path) -> Path:
    """Copies what `load` needs of a run into a folder of its own, which appears whole.

    Errors:
        SettingError: the run has several seeds, or its command names places of its machine.
        WriteError: the disk is full, for example.
    """
    if run.seeds:
        seeds = ", ".join(str(run.folder / f"seed{each.seed}") for each in run.seeds)
        raise SettingError(
            expected="the run of one seed", found=f"{run.folder}", remedy=f"name one of {seeds}"
        )
    manifest = read_json(run.folder / MANIFEST)
    if re.search(r"(^|[\s=])[~/]", str(manifest.get("command"))):
        raise SettingError(
            expected="the run of a command without absolute paths",
            found=str(manifest["command"]),
            remedy="make the run with --out runs/NAME",
        )
    kept = [run.folder / PARAMS, *(path for each in LOGS for path in run.folder.glob(each))]
    target = out / folder_name(run)
    make_folder(out)
    with tempfile.TemporaryDirectory(dir=out, prefix=".") as name:
        half = Path(name) / "run"
        for path in kept:
            copy = half / path.relative_to(run.folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        write_json(half / CONFIG, without_places(read_json(run.folder / CONFIG)))
        write_json(half / MANIFEST, manifest)
        write_json(half / NAME, {**run.summary, "files": files_of(half)})
        jaxgen.load(half)
        if target.exists():
            target.rename(Path(name) / "old")
        half.rename(target)
    return target


def row(run: Run) -> list[str]:
    """The row of a collected run."""
    manifest = read_json(run.folder / MANIFEST)
    shown = find(run.model).headline(run.summary["metrics"])
    numbers = ", ".join(f"{name} {number(value)}" for name, value in shown.items())
    size = sum(path.stat().st_size for path in run.folder.rglob("*") if path.is_file())
    return [
        run.folder.name,
        f"{size / 1e6:.1f}",
        numbers,
        str(manifest["command"]),
        str(manifest["git_commit"])[:8],
        run.digest[:8],
    ]


def main(args: Args) -> int:
    """Collects the runs and writes the page of all that are there."""
    for folder in args.runs:
        show(f"{collect(jaxgen.load(folder), args.out)}")
    there = [jaxgen.load(path.parent) for path in sorted(args.out.glob(f"*/{NAME}"))]
    if not there:
        raise SettingError(
            expected="finished runs", found="none", remedy="name their folders, or set --out"
        )
    table = markdown(Table(COLUMNS, [row(run) for run in there]))
    text = TITLE.format(name=there[0].folder.name) + table
    write_atomically(args.out / PAGE, text.encode())
    show(f"page: {args.out / PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(parse_flags(Args, EXAMPLES)), "the same command starts again"))
