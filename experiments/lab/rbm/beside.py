"""Samples of other models beside an RBM's: what its settings cannot do is a finding."""

import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.lab.drawing import Drawing
from experiments.running.args import RunArgs
from experiments.running.session import Session
from jaxgen.errors import JaxgenError
from jaxgen.report import figures
from jaxgen.report.page import Figure, code
from jaxgen.runs import folder as run_folder
from jaxgen.runs.samples import read_samples
from jaxgen.runs.summary import read_summary

NUM_BESIDE = 10
"""Samples of each model in the picture: the first ones."""
OTHERS = {
    "DBN": ("dbn-{name}-seed{seed}", "dbn --dataset {data}"),
    "RBM, preset pcd500": (
        "rbm-pcd500-{name}-seed{seed}",
        "rbm --preset pcd500 --dataset {data} --out {root}/rbm-pcd500-{name}-seed{seed}",
    ),
}
"""Models whose samples stand beside: the folder of their run beside this one, and its command."""


REACH = (
    "A second layer (DBN), or chains that go on from update to update (centred PCD with 500 "
    "units), change what lies farther from the data"
)


class Beside(NamedTuple):
    """The words and figures of a page on other models."""

    words: Sequence[str] = ()
    figures: Sequence[Figure] = ()


NOTHING_BESIDE = Beside()


def stored_samples(folder: Path, session: Session) -> np.ndarray | None:
    """The samples of a finished run on the same data and of images of its size; None if none."""
    with suppress(JaxgenError, OSError):
        if read_summary(folder).get("data_digest") != session.dataset.digest:
            return None
        samples = read_samples(folder)
        if samples.shape[1:] == session.image_shape:
            return samples
    return None


def beside(
    args: RunArgs, session: Session, samples: np.ndarray, kept: Sequence[Figure] = ()
) -> Beside:
    """The DBN and centred PCD beside these samples: from their runs if they are there.

    Args:
        args: the settings of the run.
        session: its place; runs are looked for in the folder that its own lies in.
        samples: its own.
        kept: pictures of earlier runs on the same data, for models without a run here.
    """
    name, root = session.dataset.name, session.root.parent
    root = root.parent if run_folder.read_config(root) else root  # of several seeds
    data = name if args.dataset == "auto" else args.dataset
    words = {"name": name, "seed": args.seed}
    quoted = words | {"data": shlex.quote(data), "root": shlex.quote(str(root))}
    strips, missing = {"this run": samples[:NUM_BESIDE]}, []
    for model, (folder, command) in OTHERS.items():
        found = stored_samples(root / folder.format(**words), session)
        if found is None:
            missing.append(code(f"python -m experiments.{command.format(**quoted)}"))
        else:
            strips[model] = found[:NUM_BESIDE]
    shown, text = [], []
    if len(strips) > 1:
        drawing = Drawing(session.dataset, session.folder)
        caption = f"The first {NUM_BESIDE} samples of each, on the same data"
        shown.append(drawing.save("samples_beside", figures.rows_of(strips), caption))
    if missing:
        shown += kept
        text.append(
            f"{REACH}. To see their samples here: {'; '.join(missing)}; then this run's command "
            "again with `--resume`."
        )
    else:
        text.append(f"{REACH}: their samples stand beside.")
    return Beside(text, shown)
