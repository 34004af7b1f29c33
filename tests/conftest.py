"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest

from jaxgen.data_sources import registered_files


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder with the four original MNIST files; skips when there is none."""
    default = Path(__file__).resolve().parents[2] / "shared" / "mnist"
    folder = Path(os.environ.get("JAXGEN_MANUAL_DIR", default))
    if not all((folder / file.name).is_file() for file in registered_files("mnist")):
        pytest.skip(f"no MNIST files in {folder}; set JAXGEN_MANUAL_DIR")
    return folder
