"""`experiments.dbm` as a user runs it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.runs import call

import jaxgen
from experiments import dbm

SMALL = ("--hidden-sizes", "16", "12", "--num-sampling-steps", "5", "--num-chains", "10")
EPOCHS = ("--epochs", "2", "--pretraining-epochs")
MACHINE = 2 * 15
"""Updates of the machine, of batches of 100 digits."""

Run = Callable[..., int]


@pytest.fixture(scope="module")
def run(digits_root: Path) -> Run:
    """A small run on digits: folder and further flags -> exit code."""
    where = ("--dataset", "digits", "--data-dir", str(digits_root))

    def start(folder: Path, *flags: str) -> int:
        return call(*where, *SMALL, "--out", str(folder), *flags, experiment=dbm)

    return start


@pytest.mark.programs
@pytest.mark.parametrize("before", [1, 0])
def test_pretraining_can_be_left_out(run: Run, tmp_path: Path, before: int) -> None:
    """Then no folders of layers are left, the page counts no updates of it, and the run loads."""
    assert run(tmp_path / "run", *EPOCHS, str(before)) == 0
    layers = {path.name for path in (tmp_path / "run").glob("layer*")}
    assert layers == ({"layer1", "layer2"} if before else set())
    page = (tmp_path / "run" / "report.html").read_text()
    assert f"{MACHINE} updates of the machine" in page
    assert (f"{MACHINE} updates of the machine after 30 of pretraining" in page) == bool(before)
    assert jaxgen.load(tmp_path / "run").config.hidden_sizes == (16, 12)
