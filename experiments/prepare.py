"""Prepares data sets, so that the experiments find them; downloads or reads the original files.

Examples::

    python -m experiments.prepare --dataset digits                          # needs no network
    python -m experiments.prepare --dataset mnist --manual-dir FOLDER       # the four files
    python -m experiments.prepare --dataset all                             # downloads

It takes about 10 seconds a data set on two CPU cores, and prints one line for each.
"""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from experiments.running.console import write_error
from jaxgen import data
from jaxgen.errors import JaxgenError
from jaxgen.runs import manifest as run_manifest


@dataclass(frozen=True)
class Config:
    """Prepares data sets for the experiments."""

    dataset: Literal[data.Name, "all"] = "mnist"
    """The data set to prepare; `all` prepares all four."""

    data_dir: Path | None = None
    """TFDS's folder; by default $TFDS_DATA_DIR or ~/tensorflow_datasets."""

    manual_dir: Path | None = None
    """A folder with the four original files, packed or not, or with a folder named after the data
    set, or as torchvision has them (MNIST/raw)."""


def main(config: Config) -> int:
    """Prepares what `config` names; returns the exit code of the last error, or 0."""
    exit_code = 0
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for name in data.NAMES if config.dataset == "all" else (config.dataset,):
        try:
            if name == "digits":  # which can be loaded where no folder can be written
                data.prepare(name, config.data_dir)
            dataset = data.load(name, config.data_dir, config.manual_dir)
        except JaxgenError as error:
            write_error(error)
            exit_code = error.exit_code
            continue
        print(
            f"{name}: {data.find_prepared(name, config.data_dir) or 'cached'}, "
            f"{len(dataset.train.images)} train and {len(dataset.test.images)} test images, "
            f"digest {dataset.digest}"
        )
    return exit_code


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Config, prog=run_manifest.program())))
