"""The record of a run: its settings, and where and from what it is made."""

import contextlib
import hashlib
import json
import os
import platform
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from jaxgen.errors import RunFolderError
from jaxgen.files import write_json
from jaxgen.runs.files import CONFIG, MANIFEST
from jaxgen.runs.settings import read_json

PACKAGES = ("jaxgen", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
"""Packages that compute or store numbers; their versions are part of the environment."""
FLAGS = ("XLA_FLAGS", "JAX_DEFAULT_MATMUL_PRECISION", "JAX_PLATFORMS", "NVIDIA_TF32_OVERRIDE")
"""Environment variables that may change numbers; no other variable is recorded."""
JAX_SETTINGS: Mapping[str, Any] = {
    # of the bits
    "jax_default_prng_impl": "threefry2x32",
    "jax_enable_custom_prng": False,
    "jax_enable_x64": False,
    "jax_high_dynamic_range_gumbel": False,
    "jax_random_seed_offset": 0,
    "jax_softmax_custom_jvp": False,
    "jax_threefry_partitionable": True,
    "jax_disable_jit": False,
    "jax_disable_most_optimizations": False,
    "jax_exec_time_optimization_effort": 0.0,
    "jax_memory_fitting_effort": 0.0,
    # of what is an error
    "jax_check_tracer_leaks": False,
    "jax_debug_infs": False,
    "jax_debug_key_reuse": False,
    "jax_debug_nans": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_transfer_guard": None,
}
"""Settings of JAX that change the numbers or end a program here, and JAX's own values of them. The
programs compute with these; other code may not, and its environment is another one then."""
PLACE = frozenset(
    {
        *("out", "resume", "overwrite", "checkpoint_seconds", "tensorboard", "log"),
        *("stream", "data_dir", "manual_dir"),
    }
)
"""Settings of where and how a run is made; they shape no number."""


def fingerprint(content: Any) -> str:
    """sha256 of a JSON document with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def settings_digest(config: Mapping[str, Any]) -> str:
    """sha256 of the settings of a run that may shape its numbers, wherever its images lie.

    A study comes after the run and changes nothing of it, so the run has the digest of one without.
    """
    place = PLACE | {"dataset"}  # the images have a digest of their own
    settings = {name: value for name, value in config.items() if name not in place}
    if "study" in settings:
        settings["study"] = False
    return fingerprint(settings)


def read_record(folder: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The settings and the manifest that shape the run in a folder, as they were written down.

    Without where and how it was made; None where nothing whole was written down.
    """
    try:
        config, manifest = (read_json(folder / name) for name in (CONFIG, MANIFEST))
        settings = {name: value for name, value in config.items() if name not in PLACE}
        found = {name: value for name, value in manifest.items() if name != "command"}
    except RunFolderError:
        return None
    return settings, found


def processor() -> str:
    """The processor's name as the operating system gives it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def instructions() -> list[str]:
    """The processor's vector instructions, for which XLA compiles; its name does not give them."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, words = line.partition(":")
            if name.strip() in ("flags", "Features"):
                kinds = ("avx", "fma", "amx", "asimd", "sve")
                return sorted(word for word in words.split() if word.startswith(kinds))
    return []


def num_cores() -> int:
    """Cores that this process may use: fewer than the machine's in a batch system, for example."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def num_threads() -> int:
    """Threads among which XLA divides its work on the CPU; the last bits depend on their number.

    They are as many as the cores that the process may use, or as $PJRT_NPROC or $NPROC has it. XLA
    reads no quota of a control group.
    """
    for name in ("PJRT_NPROC", "NPROC"):
        if re.fullmatch(r"\s*[+-]?[0-9]+\s*", text := os.environ.get(name, "")):
            return max(int(text), 1)
    return num_cores()


def changed_jax_settings() -> dict[str, Any]:
    """Those of `JAX_SETTINGS` that have another value now."""
    import jax

    found = {name: jax.config.values.get(name, own) for name, own in JAX_SETTINGS.items()}
    return {name: value for name, value in found.items() if value != JAX_SETTINGS[name]}


def compute_as_jax_does() -> dict[str, Any]:
    """Gives `JAX_SETTINGS` JAX's own values in this process; returns those that they had."""
    import jax

    changed = changed_jax_settings()
    for name in changed:
        jax.config.update(name, JAX_SETTINGS[name])
    return changed


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


def _version(package: str) -> str:
    """The version that is installed, or `0+unknown` of a source tree that is not."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "0+unknown"


def environment() -> dict[str, Any]:
    """The facts on which bitwise equality depends besides the configuration and the code."""
    import jax

    devices, threads, settings = jax.devices(), num_threads(), changed_jax_settings()
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": platform.machine(),
        "processor": processor(),
        "instructions": instructions(),
        "several_cores": threads > 1,
        # Only where they are more, so that the hash of two is what it was before.
        **({"threads": threads} if threads > 2 and devices[0].platform == "cpu" else {}),
        "device": devices[0].device_kind,
        "num_devices": len(devices),
        "flags": {name: os.environ[name] for name in FLAGS if name in os.environ},
        "matmul_precision": jax.config.jax_default_matmul_precision,  # type: ignore[attr-defined]
        **({"jax_settings": settings} if settings else {}),
    }


def manifest(data_digest: str, seeds: Sequence[int]) -> dict[str, Any]:
    """Where and from what a run is made; `environment_hash` names the environment."""
    found = environment()
    return {
        "environment": found,
        "environment_hash": fingerprint(found),
        "num_cores": num_cores(),
        "git_commit": _git_commit(),
        "data_digest": data_digest,
        **({"seed": seeds[0]} if len(seeds) == 1 else {"seeds": [*seeds]}),
        "command": command(),
    }


def record(folder: Path, config: dict[str, Any], data_digest: str, seeds: Sequence[int]) -> None:
    """Writes `config.json`, every setting of the run, and `manifest.json`; both or none of them.

    Errors:
        RunFolderError: one of them is a folder.
        WriteError: the disk is full, for example.
    """
    for path in (folder / CONFIG, folder / MANIFEST):
        if path.is_dir():
            raise RunFolderError(
                expected=f"a file, or none, in the place of {path}",
                found="a folder",
                remedy="move it elsewhere",
            )
    shown = {k: str(v) if isinstance(v, Path) else v for k, v in config.items()}
    found, begun = manifest(data_digest, seeds), (folder / CONFIG).exists()
    write_json(folder / CONFIG, shown)
    try:
        write_json(folder / MANIFEST, found)
    except BaseException:
        if not begun:  # a folder that has it is a run
            (folder / CONFIG).unlink(missing_ok=True)
        raise


def peak_memory() -> int:
    """The most memory that this process has held so far, in bytes.

    On Linux it is VmHWM, because what `getrusage` returns begins with the peak of the process that
    started this one.
    """
    with contextlib.suppress(OSError):
        lines = Path("/proc/self/status").read_text().splitlines()
        if found := [line.split() for line in lines if line.startswith("VmHWM:")]:
            return int(found[0][1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def command() -> str:
    """The command line as it can be typed again."""
    return shlex.join([*program().split(), *sys.argv[1:]])


def command_of(manifest: Mapping[str, Any]) -> list[str]:
    """The words of the command of a run's record, without those that it needs only once.

    None of a record, perhaps a stranger's, that has no command line.
    """
    text = manifest.get("command")
    try:
        words = shlex.split(text) if isinstance(text, str) else []
    except ValueError:  # a quotation without an end
        words = []
    return [word for word in words if word not in ("--overwrite", "--resume")]


def program() -> str:
    """The part of the command line that starts this program, without its flags."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return f"python -m {spec.name}" if spec else f"python {shlex.quote(sys.argv[0])}"
