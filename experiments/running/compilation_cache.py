"""Compiled programs that outlive a process: JAX's compilation cache, in the user's cache folder.

A second start of the same command takes its programs from there. JAX's own settings win:
``JAX_COMPILATION_CACHE_DIR`` names another folder, ``JAX_ENABLE_COMPILATION_CACHE=false`` turns it
off. Bits are those of a newly compiled program, because the folder is of one processor, its
instructions and the number of threads, and JAX tells apart what else a program depends on.
"""

import hashlib
import json
import logging
import os
import stat
import tempfile
from pathlib import Path

import filelock
import jax
import platformdirs

from jaxgen.runs import manifest

logger = logging.getLogger("jaxgen")

MAX_BYTES = 1 << 30
"""Of all programs in a folder; those that were not used for longest make room."""
MIN_SECONDS = 0.1
"""A program that compiles faster is not kept."""
LOCK = ".lockfile"
PROGRAM, USED = "-cache", "-atime"
"""Names, as JAX has them, of the lock, and endings of a program's file and of its last use."""
PATIENCE = 10.0
"""Seconds to wait for the lock, which JAX holds while it reads or writes a file."""


def folder() -> Path:
    """Where programs for this processor and this number of threads are kept."""
    machine = [manifest.processor(), manifest.instructions(), manifest.num_threads()]
    digest = hashlib.sha256(json.dumps(machine).encode()).hexdigest()
    return platformdirs.user_cache_path("jaxgen") / "programs" / digest[:16]


def keep_programs() -> None:
    """Keeps what this process compiles, and takes what earlier ones did.

    Without a cache where JAX's settings ask for another or none, and where there is no folder that
    is this user's alone, because what lies there is run. A line says so of a folder that cannot be
    used, in the place of JAX's own for each program.
    """
    if given := jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        try:
            Path(given).mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=given).close()
        except OSError as error:
            _warn(given, error, "JAX_COMPILATION_CACHE_DIR")
            jax.config.update("jax_compilation_cache_dir", None)
        return
    place = folder()
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not is_own(place):
            return
        mend(place)
    except filelock.Timeout as error:
        logger.debug("no compiled programs are kept in %s: %s", place, error)
        return
    except OSError as error:
        _warn(platformdirs.user_cache_path("jaxgen"), error, "XDG_CACHE_HOME")
        return
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_SECONDS)


def _warn(place: object, error: OSError, variable: str) -> None:
    logger.warning(
        "compiled programs are not kept for the next start, because %s cannot be written (%s); %s "
        "names another folder",
        *(place, error.strerror or error, variable),
    )


def is_own(place: Path) -> bool:
    """Whether nobody but this user writes in a folder."""
    found = place.stat()
    return found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def mend(place: Path) -> None:
    """Removes programs of which a killed process wrote a part.

    JAX writes the program, then the time of its use, both under its lock. A program without that
    time may be cut off, and JAX cannot make room beside it.

    Errors:
        filelock.Timeout: another process holds the lock for longer than `PATIENCE`.
    """
    with filelock.FileLock(place / LOCK, timeout=PATIENCE):
        names = {path.name for path in place.iterdir()}
        for name in names:
            for ending, other in ((PROGRAM, USED), (USED, PROGRAM)):
                if name.endswith(ending) and name.removesuffix(ending) + other not in names:
                    (place / name).unlink()
