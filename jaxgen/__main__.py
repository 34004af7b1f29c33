"""Lists the commands that come with the library.

    python -m jaxgen

They are those of the package `experiments`, which the library does not import; it runs the list.
"""

import importlib.util
import runpy
import signal
from pathlib import Path

if __name__ == "__main__":
    found = importlib.util.find_spec("experiments")
    ours = Path(__file__).parents[1] / "experiments" / "__init__.py"
    if found and found.origin and Path(found.origin) == ours:  # and not a folder of that name
        runpy.run_module("experiments", run_name="__main__")
    else:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # for | head
        print("The commands are in the package experiments, which is not beside jaxgen.")
