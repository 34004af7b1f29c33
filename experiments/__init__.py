"""Command-line experiments: each composes a learner, its data, its figures and its report.

They import what the package's extra ``experiments`` installs; the library does without it. A
process that lacks it ends here, in one line, because every command imports this module first.
"""

from importlib.util import find_spec

from experiments.running.console import write_error
from jaxgen.errors import SettingError

EXTRA = ("tyro", "tqdm", "tensorboardX")
"""Packages that the extra adds to those of the library."""

if missing := [name for name in EXTRA if find_spec(name) is None]:
    error = SettingError(
        expected=f"{', '.join(EXTRA)} beside the library, as the extra 'experiments' installs them",
        found=f"no {' and no '.join(missing)}",
        remedy=f"type: pip install {' '.join(missing)}",
    )
    write_error(error)
    raise SystemExit(error.exit_code)
