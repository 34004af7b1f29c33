"""Lists the commands, one line each: what it does and the time it takes on two cores.

python -m experiments
"""

import ast
import sys
from collections.abc import Sequence
from pathlib import Path

import experiments
import jaxgen
from experiments.running.cli import exit_code
from experiments.running.console import show
from jaxgen.errors import SettingError


def examples(path: Path) -> dict[str, str]:
    """The constant ``EXAMPLES`` of a command's module, which is read and not imported."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "EXAMPLES":
            found: dict[str, str] = ast.literal_eval(node.value)
            return found
    return {}


def listing() -> str:
    """Every command with its first example."""
    rows = {}
    for path in sorted(Path(experiments.__path__[0]).glob("*.py")):
        if found := examples(path):
            rows[f"python -m experiments.{path.stem}"] = next(iter(found.values()))
    width = max(map(len, rows))
    lines = [f"{command:{width}}  {words}" for command, words in rows.items()]
    head = f"jaxgen {jaxgen.__version__}: {(jaxgen.__doc__ or '').partition('.')[0]}."
    foot = "Times are of two cores. --help after any of them lists its flags."
    return "\n".join([head, "", *lines, "", foot])


def main(words: Sequence[str]) -> None:
    """Shows the list; a word after the command is none of its flags."""
    if words and words[0] not in ("-h", "--help"):
        raise SettingError(
            expected="no words after python -m experiments, which lists the commands",
            found=" ".join(words),
            remedy="type a command of the list, such as python -m experiments.rbm",
        )
    show(listing())


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
