"""Fixtures that several test files share."""

import os
from pathlib import Path

import jax
import pytest
from support.helpers import AS_USERS, DIGITS, UNOPTIMISED
from support.runs import EPOCHS, Command, call

from jaxgen import data
from jaxgen.data.sources import registered_files

# Before JAX looks at it. Bits as users get them: test_golden and test_reproduce.
os.environ["XLA_FLAGS"] = f"{AS_USERS['XLA_FLAGS'] or ''} {UNOPTIMISED}".strip()


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


@pytest.fixture(scope="session")
def digits_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the prepared digits, where classifiers of them are kept too."""
    root = tmp_path_factory.mktemp("digits")
    assert data.load("digits", root).digest == DIGITS
    return root


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
    root = tmp_path_factory.mktemp("mnist")
    data.load("mnist", root, mnist_dir)
    return root


@pytest.fixture
def command(digits_root: Path, tmp_path: Path) -> Command:
    return Command(digits_root, tmp_path)


@pytest.fixture(scope="session")
def finished(digits_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    flags = (*EPOCHS, "--log-every", "10", "--out", str(folder))
    assert call(*Command(digits_root, folder).args(*flags)[2:]) == 0
    return folder
