"""A run whose settings are data: the process that `experiments.reproduce --verify` starts.

    python -m experiments.reproduction.worker FILE

The file has the experiment's name and all its settings, as config.json has them.
"""

import sys
from pathlib import Path

from experiments.running import cli
from experiments.running.stored import rebuild_args
from jaxgen.runs.settings import read_json


def main(file: Path) -> int:
    """Runs the experiment; returns its exit code (see jaxgen.errors)."""
    experiment, args = rebuild_args(read_json(file), str(file))
    return cli.main(experiment, args)


if __name__ == "__main__":
    cli.leave(main(Path(sys.argv[1])))
