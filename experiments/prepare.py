"""Prepares data sets, so that the experiments find them; downloads or reads what they are made of.

Examples::

    python -m experiments.prepare --dataset digits                          # needs no network
    python -m experiments.prepare --dataset mnist --manual-dir FOLDER       # the four files
    python -m experiments.prepare --dataset all                             # downloads
    python -m experiments.prepare --dataset FOLDER --image-size 64          # your own pictures

It takes about 10 seconds a data set of the MNIST kind on two CPU cores, and prints one line for
each.
"""

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from experiments.running.cli import exit_code, parse_flags
from experiments.running.console import show, write_error
from experiments.running.signals import before_leaving
from jaxgen import data
from jaxgen.errors import JaxgenError

EXAMPLES = {
    "python -m experiments.prepare --dataset mnist": "downloads and prepares a data set: 10 s",
    "python -m experiments.prepare --dataset FOLDER --image-size 64": "your own pictures",
}
"""Of `--help`."""


@dataclass(frozen=True)
class Config:
    """Prepares data sets for the experiments."""

    dataset: str = "mnist"
    """Data set, as the experiments take it; `all` prepares the four that have a name."""

    data_dir: Path | None = None
    """TFDS's folder; by default $TFDS_DATA_DIR or ~/tensorflow_datasets."""

    manual_dir: Path | None = None
    """A folder with the four original files, packed or not, or with a folder named after the data
    set, or as torchvision has them (MNIST/raw)."""

    images: tyro.conf.OmitArgPrefixes[data.ImageOptions] = field(default_factory=data.ImageOptions)


def find_unfinished(data_dir: Path | None) -> set[Path]:
    """Folders that TFDS is filling; each gets its own name when it is whole."""
    return set(data.data_root(data_dir).glob("jaxgen/*/incomplete.*"))


def main(config: Config) -> int:
    """Prepares what `config` names; returns the exit code of the last error, or 0."""
    code, others = 0, find_unfinished(config.data_dir)

    def remove_half() -> None:
        data.remove_unfinished()
        for folder in find_unfinished(config.data_dir) - others:
            shutil.rmtree(folder, ignore_errors=True)

    for name in data.NAMES if config.dataset == "all" else (config.dataset,):
        try:
            with before_leaving(remove_half):
                if name == "digits":  # which can be loaded where no folder can be written
                    data.prepare(name, config.data_dir)
                dataset = data.load(name, config.data_dir, config.manual_dir, config.images)
        except JaxgenError as error:
            write_error(error)
            code = error.exit_code
            continue
        own = data.find_images(dataset.digest, config.data_dir, dataset.name, dataset.class_names)
        place = own or data.find_prepared(name, config.data_dir) or "cached"
        show(
            f"{dataset.name}: {place}, "
            f"{len(dataset.train.images)} train and {len(dataset.test.images)} test images, "
            f"digest {dataset.digest}"
        )
    return code


if __name__ == "__main__":
    sys.exit(
        exit_code(lambda: main(parse_flags(Config, EXAMPLES)), "the same command starts again")
    )
