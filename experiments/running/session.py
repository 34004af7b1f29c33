"""Where a run lies: its root, the part of it that is trained now, and the folders of its seeds."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from jaxgen.data import Dataset
from jaxgen.runs import manifest as run_manifest


class Session(NamedTuple):
    """What `main` hands to an experiment: its name, its data, its seeds and its place.

    One seed has all of its run in `root`. Several share a root, with the log and the checkpoints
    of the program that trains them, and each has a whole run folder in it, ``root/seed<seed>``.
    """

    experiment: str
    dataset: Dataset
    root: Path
    seeds: tuple[int, ...]
    record: Callable[[], None]
    """Writes down what is run and where; `train_in_session` calls it before the first step, once
    the settings and the checkpoints found are known to fit together."""
    part: str = ""
    """What is trained or reported now, as a path in the root: "", "layer1", "dbn/layer1"."""

    @property
    def folder(self) -> Path:
        """Where the part lies: log and checkpoints while it trains, everything in its report."""
        return self.root / self.part

    @property
    def member_folders(self) -> list[Path]:
        """Where the part of each seed lies."""
        if len(self.seeds) == 1:
            return [self.folder]
        return [member_root(self.root, seed) / self.part for seed in self.seeds]

    def within(self, name: str) -> "Session":
        """The session of a part of this part."""
        return self._replace(part=str(Path(self.part, name)))


def member_root(root: Path, seed: int) -> Path:
    """The run folder of one of several seeds."""
    return root / f"seed{seed}"


def session_for(
    experiment: str, args: Any, dataset: Dataset, root: Path, part: str = ""
) -> Session:
    """A session whose record is the `config.json` and the `manifest.json` of the part's folder."""
    config = dataclasses.asdict(args) | {"dataset": dataset.name, "experiment": experiment}
    seeds = args.seeds or (args.seed,)
    record = partial(run_manifest.record, root / part, config, dataset.digest, seeds)
    return Session(experiment, dataset, root, seeds, record, part)


def variant(session: Session, args: Any, name: str) -> Session:
    """A session for a study's variant of the run, in a run folder of its own within the run's."""
    part = session.within(f"study/{name}").part
    return session_for(session.experiment, args, session.dataset, session.root, part)
