"""The place of a run: its root, the part that is trained now, and the folders of its seeds."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from experiments.running.args import RunArgs
from jaxgen.data import Dataset, place_of
from jaxgen.evaluation.subset import NUM_TEST, most_rows, some
from jaxgen.images import ImageShape
from jaxgen.runs import manifest as run_manifest
from jaxgen.runs.settings import to_json
from jaxgen.runs.summary import seed_folder

MOST_INITIALS = 5
"""Letters of an experiment's name that is an abbreviation, as dcgan is."""


class Session(NamedTuple):
    """The name of an experiment, its data, its seeds and its place, as `main` hands them over.

    One seed has all of its run in `root`. Several share a root, with the log and the checkpoints
    of the program that trains them, and each has a whole run folder in it, ``root/seed<seed>``.
    """

    experiment: str
    dataset: Dataset
    """Of its test images those that a report measures, see `session_for`."""
    root: Path
    seeds: tuple[int, ...]
    record: Callable[[], None]
    """Writes `config.json` and `manifest.json`; `train_in_session` calls it before the first step,
    if the settings and the checkpoints fit together."""
    part: str = ""
    """The part that is trained or reported now, a path in the root: "", "layer1", "dbn/layer1"."""

    @property
    def title(self) -> str:
        """Model and data as a heading has them: short names of models are abbreviations."""
        name = self.experiment
        words = name.upper() if len(name) <= MOST_INITIALS else name.capitalize().replace("_", "-")
        return f"{words} on {self.dataset.name}"

    @property
    def folder(self) -> Path:
        """The folder of the part: log and checkpoints in training, then its report."""
        return self.root / self.part

    @property
    def image_shape(self) -> ImageShape:
        """[H, W, C] of the data set's images."""
        return self.dataset.image_shape

    @property
    def seed_folders(self) -> list[Path]:
        """The folder of the part of each seed."""
        if len(self.seeds) == 1:
            return [self.folder]
        return [seed_folder(self.root, seed) / self.part for seed in self.seeds]

    def within(self, name: str) -> "Session":
        """The session of a part of this part."""
        return self._replace(part=str(Path(self.part, name)))

    def for_run(self, args: RunArgs) -> "Session":
        """The session of a run with these settings, on the same images and in the same folder.

        Its record is the `config.json` and the `manifest.json` of that folder.
        """
        auto, own = args.dataset == "auto", self.dataset
        name = own.name if auto else place_of(args.dataset).text  # a path means the same anywhere
        config = to_json(args) | {"dataset": name, "experiment": self.experiment}
        seeds = args.seeds or (args.seed,)
        record = partial(run_manifest.record, self.folder, config, own.digest, seeds)
        return self._replace(seeds=seeds, record=record)


def session_for(experiment: str, args: RunArgs, dataset: Dataset, root: Path) -> Session:
    """The session of a run on a data set, in the folder `root`.

    Of a large data set 10,000 test images are measured, or as many as fit into a quarter of
    `jaxgen.evaluation.subset.MAX_BYTES`, because a monitor holds them several times over. They are
    drawn, as there, so the first ones, which figures show, are of all classes.
    """
    num = min(NUM_TEST, max(1, most_rows(dataset.image_shape) // 4))
    dataset = dataset._replace(test=some(dataset, "test", num))
    return Session(experiment, dataset, root, (), lambda: None).for_run(args)
