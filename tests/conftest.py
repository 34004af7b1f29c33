"""Fixtures that several test files share."""

import fcntl
import gc
import math
import os
from collections.abc import Callable
from pathlib import Path

import jax
import pytest
from support.helpers import AS_USERS, DIGITS, UNOPTIMISED
from support.runs import EPOCHS, Command, call

from experiments.running import progress
from jaxgen import data
from jaxgen.data.sources import registered_files
from jaxgen.report import figures

# Before JAX looks at it. Bits as users get them: test_golden and test_reproduce.
os.environ["XLA_FLAGS"] = f"{AS_USERS['XLA_FLAGS'] or ''} {UNOPTIMISED}".strip()
# Most of the tests' time is tracing and lowering: places in the source, and garbage that is sought
# among millions of JAX's objects, take a seventh of it.
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"
jax.config.update("jax_traceback_in_locations_limit", 0)
gc.set_threshold(200_000, 20, 100)

LONGEST = (
    "lab/test_gan_page.py",
    "reproduction/test_reproduce.py",
    "running/test_seeds.py",
    "running/test_cluster.py",
    "evaluation/test_adapters.py",
    "lab/test_rbm_page.py",
    "test_golden.py",
    "training/test_loop.py",
    "lab/test_dbn_page.py",
    "test_own_images.py",
    "lab/test_vae_page.py",
    "comparison/test_compare.py",
    "test_new_model.py",
)
"""Files that take half the time: they start first, and short ones fill the end of either worker."""


COMMANDS = {
    *("reproduced", "compared", "answers", "cut", "undisturbed", "alone"),
    *("trained_gan", "convolutional", "trained_vae", "stack", "tuned", "classified", "two_rbms"),
}
"""Fixtures that are whole commands: tests that use one have the marker `programs`."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--programs-share",
        metavar="I/N",
        help="of the files with tests of whole commands, counted from 0, the number I modulo N",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the tests of whole commands, leaves a share of them, and puts the longest first."""
    for item in items:
        if isinstance(item, pytest.Function) and COMMANDS & {*item.fixturenames}:
            item.add_marker("programs")
    if share := config.getoption("--programs-share"):
        index, number = map(int, share.split("/"))
        programs = {item for item in items if item.get_closest_marker("programs")}
        chosen = sorted({item.path for item in programs})[index % number :: number]
        others = {item for item in programs if item.path not in chosen}
        config.hook.pytest_deselected(items=[*others])
        items[:] = [item for item in items if item not in others]
    rank = {Path(__file__).parent / name: number for number, name in enumerate(LONGEST)}
    assert all(path.is_file() for path in rank), rank
    items.sort(key=lambda item: rank.get(item.path, len(LONGEST)))


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compiles equal programs once a session; other processes take what is there and add nothing.

    They are killed, and half a file would be read by the next.
    """
    folder = str(tmp_path_factory.mktemp("compiled"))
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "1e9"
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


@pytest.fixture(scope="session", autouse=True)
def coarse_figures() -> None:
    """Draws figures of few pixels: sheets of images take a third of the time."""
    figures.DPI = 30


@pytest.fixture(scope="session", autouse=True)
def no_looks_in_between() -> None:
    """Draws no pictures of runs that take more than a minute, which only a busy machine's do."""
    progress.FIRST_LOOK_S = math.inf


def shared(factory: pytest.TempPathFactory, name: str, fill: Callable[[Path], None]) -> Path:
    """A folder that the first process of the session to ask fills; the others wait for it."""
    own = factory.getbasetemp()
    root = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder, full = root / name, root / f"{name}.full"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not full.exists():
            folder.mkdir()
            fill(folder)
            full.touch()
    return folder


@pytest.fixture(scope="session")
def digits_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the prepared digits, where classifiers of them are kept too."""

    def fill(root: Path) -> None:
        assert data.load("digits", root).digest == DIGITS

    return shared(tmp_path_factory, "shared_digits", fill)


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder with the four original MNIST files; skips when there is none."""
    default = Path(__file__).resolve().parents[2] / "shared" / "mnist"
    folder = Path(os.environ.get("JAXGEN_MANUAL_DIR", default))
    if not all((folder / file.name).is_file() for file in registered_files("mnist")):
        pytest.skip(f"no MNIST files in {folder}; set JAXGEN_MANUAL_DIR")
    return folder


@pytest.fixture(scope="session")
def mnist_root(mnist_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the prepared MNIST."""

    def fill(root: Path) -> None:
        data.load("mnist", root, mnist_dir)

    return shared(tmp_path_factory, "shared_mnist", fill)


@pytest.fixture
def command(digits_root: Path, tmp_path: Path) -> Command:
    return Command(digits_root, tmp_path)


@pytest.fixture(scope="session")
def finished(digits_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed; tests leave it as it is."""

    def fill(root: Path) -> None:
        flags = (*EPOCHS, "--log-every", "10", "--out", str(root / "run"))
        assert call(*Command(digits_root, root).args(*flags)[2:]) == 0

    return shared(tmp_path_factory, "shared_finished", fill) / "run"
