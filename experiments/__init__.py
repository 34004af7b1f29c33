"""Command-line experiments: each composes a learner, its data, its figures and its report.

They import what the package's extra ``experiments`` installs; the library does without it. Every
command imports this module first, so what ends all of them alike ends here, in one line: a package
that is missing, and a variable of the environment with which JAX cannot be imported.
"""

import time

STARTED = time.perf_counter()  # before the imports, for a command waits for them

import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from importlib.util import find_spec  # noqa: E402

from experiments.running.console import begin, write_error  # noqa: E402
from jaxgen.errors import SettingError  # noqa: E402

EXTRA = ("tyro", "tqdm", "tensorboardX", "platformdirs", "filelock")
"""Packages that the extra adds to those of the library."""


def _obstacle() -> SettingError | None:
    """Why no command can run in this environment; None where one can."""
    if missing := [name for name in EXTRA if find_spec(name) is None]:
        extra = "beside the library, as the extra 'experiments' installs them"
        return SettingError(
            expected=f"{', '.join(EXTRA)} {extra}",
            found=f"no {' and no '.join(missing)}",
            remedy=f"type: pip install {' '.join(missing)}",
        )
    try:
        import jax  # noqa: F401
    except ValueError as error:
        names = sorted(name for name in os.environ if name.startswith("JAX_"))
        return SettingError(
            expected="variables of the environment that JAX can read",
            found=str(error),
            remedy=f"set the wrong one otherwise, or type: unset {' '.join(names)}",
        )
    return None


if sys.argv[0] == "-m":  # Python is looking for a command: no traceback for Ctrl-C in its imports
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    begin("starting, with the import of JAX")  # which takes a second or two
if error := _obstacle():
    write_error(error)
    raise SystemExit(error.exit_code)
