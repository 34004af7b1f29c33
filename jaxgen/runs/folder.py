"""The run folder: one owner at a time, never overwritten unasked, and a record of where it ran."""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from jaxgen.errors import RunFolderError
from jaxgen.files import write_json, writing

PACKAGES = ("jaxgen", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
"""What computes or stores numbers; their versions are part of the environment."""
FLAGS = ("XLA_FLAGS", "JAX_ENABLE_X64", "JAX_DEFAULT_MATMUL_PRECISION", "JAX_PLATFORMS")
"""Environment variables that may change numbers; no other variable is recorded."""
LOCK = ".lock"
"""Hidden, as unfinished files are: hidden files make no run."""
CONFIG = "config.json"
MANIFEST = "manifest.json"
PLACE = frozenset(
    {"out", "resume", "overwrite", "checkpoint_seconds", "tensorboard", "data_dir", "manual_dir"}
)
"""Settings of where and how a run is made; they shape no number."""


def fingerprint(content: Any) -> str:
    """sha256 of a JSON document with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Owns the folder, made where it is missing; it is left as it was where no run began in it.

    The operating system frees the lock when the process ends, however.
    """
    with writing(folder):
        new = [path for path in (folder / LOCK, folder) if not path.exists()]
    handle = _lock(folder)
    try:
        yield
    finally:
        if not earlier_config(folder):
            with contextlib.suppress(OSError):  # a folder that has something in it stays
                for path in new:
                    path.rmdir() if path.is_dir() else path.unlink()
        os.close(handle)


def _lock(folder: Path) -> int:
    """Takes the folder's lock."""
    while True:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise RunFolderError(
                expected=f"{folder} to be free",
                found="another run that is using it",
                remedy="wait for it to end or choose another --out",
            ) from error
        if _is_file(handle, folder / LOCK):
            return handle
        os.close(handle)  # a run that was refused removed the file in between


def _is_file(handle: int, path: Path) -> bool:
    """Whether the open file is the one that has the name now."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def earlier_config(folder: Path) -> dict[str, Any]:
    """The settings of the run in a folder; empty where there is none."""
    try:
        config = json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) and "experiment" in config else {}


def recorded(folder: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """What shapes the run in a folder, as it was written down: settings and manifest.

    Without where and how it was made; None where nothing whole was written down.
    """
    try:
        config, manifest = (json.loads((folder / name).read_bytes()) for name in (CONFIG, MANIFEST))
        settings = {name: value for name, value in config.items() if name not in PLACE}
        found = {name: value for name, value in manifest.items() if name != "command"}
    except (OSError, ValueError, AttributeError):
        return None
    return settings, found


def _check_is_run(folder: Path, contents: list[Path]) -> None:
    """Raises where the folder holds something else than a run; its `config.json` tells."""
    if not earlier_config(folder):
        raise RunFolderError(
            expected=f"{folder} to be a run folder, with the config.json of an experiment",
            found=f"a folder with {contents[0].name!r} in it",
            remedy="choose another --out",
        )


def _clear(contents: list[Path]) -> None:
    """Removes what a run left; `config.json` last, so that half an emptied folder is still one."""
    for path in sorted(contents, key=lambda path: path.name == CONFIG):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


@contextlib.contextmanager
def opened(folder: Path, *, resume: bool, overwrite: bool) -> Iterator[Path]:
    """Owns a run folder inside the `with` block; an existing run is never overwritten unasked.

    Errors:
        RunFolderError: a run is there and neither `resume` nor `overwrite` is set, or it is in
            use, or one of them is set and the folder holds something else than a run.
        WriteError: the folder cannot be created or written.
    """
    with _locked(folder):
        contents = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        if contents and not (resume or overwrite):
            raise RunFolderError(
                expected=f"{folder} to be new or empty",
                found=f"{contents[0].name!r} in it",
                remedy="add --resume to go on with that run, --overwrite to replace it, or --out",
            )
        if contents:
            _check_is_run(folder, contents)
        if overwrite:
            _clear(contents)
        yield folder


def processor() -> str:
    """The processor's name as the operating system gives it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def instructions() -> list[str]:
    """The processor's vector instructions, for which XLA compiles; names alone do not tell them."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, words = line.partition(":")
            if name.strip() in ("flags", "Features"):
                kinds = ("avx", "fma", "amx", "asimd", "sve")
                return sorted(word for word in words.split() if word.startswith(kinds))
    return []


def _git_commit() -> str | None:
    """Commit of the source tree, with a mark when it has changes; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(
            [*command, "--abbrev=40", "--exclude=*"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def environment() -> dict[str, Any]:
    """What bitwise equality depends on besides the configuration and the code."""
    import jax

    devices = jax.devices()
    return {
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "machine": platform.machine(),
        "processor": processor(),
        "instructions": instructions(),
        "several_cores": (os.cpu_count() or 1) > 1,
        "device": devices[0].device_kind,
        "num_devices": len(devices),
        "flags": {name: os.environ[name] for name in FLAGS if name in os.environ},
        "matmul_precision": jax.config.jax_default_matmul_precision,  # type: ignore[attr-defined]
    }


def manifest(data_digest: str, seeds: Sequence[int]) -> dict[str, Any]:
    """Where and from what a run is made; `environment_hash` names the environment."""
    found = environment()
    return {
        "environment": found,
        "environment_hash": fingerprint(found),
        "num_cores": os.cpu_count(),
        "git_commit": _git_commit(),
        "data_digest": data_digest,
        **({"seed": seeds[0]} if len(seeds) == 1 else {"seeds": [*seeds]}),
        "command": command(),
    }


def record(folder: Path, config: dict[str, Any], data_digest: str, seeds: Sequence[int]) -> None:
    """Writes `config.json`, every setting of the run, and `manifest.json`."""
    shown = {k: str(v) if isinstance(v, Path) else v for k, v in config.items()}
    write_json(folder / CONFIG, shown)
    write_json(folder / MANIFEST, manifest(data_digest, seeds))


def peak_memory() -> int:
    """The most memory that this process has held so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def command() -> str:
    """The command line as it can be typed again."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = ["python", "-m", spec.name] if spec else ["python", sys.argv[0]]
    return shlex.join([*program, *sys.argv[1:]])
