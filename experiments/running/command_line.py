"""From the command line to settings, flags over a preset; from what went wrong to an exit code."""

import dataclasses
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import tyro

from jaxgen.errors import JaxgenError, SettingError, WriteError

AnyArgs = TypeVar("AnyArgs")


def quickened(args: AnyArgs, quick: Mapping[str, Any]) -> AnyArgs:
    """The settings with the values of `quick`; a mapping replaces single fields of a part."""
    values = {
        name: dataclasses.replace(getattr(args, name), **value)
        if isinstance(value, Mapping)
        else value
        for name, value in quick.items()
    }
    return dataclasses.replace(args, **values)


def parse(presets: Mapping[str, AnyArgs], quick: Mapping[str, Any], argv: Sequence[str]) -> AnyArgs:
    """Parses flags over a preset, the first where none is chosen; `quick` values lie between."""
    name = next(iter(presets))
    for index, flag in enumerate(argv):
        if flag == "--preset":
            name = "".join(argv[index + 1 : index + 2])
        elif flag.startswith("--preset="):
            name = flag.partition("=")[2]
    if name not in presets:
        raise SettingError(
            expected=f"--preset to be one of {', '.join(presets)}",
            found=repr(name),
            remedy="set --preset to one of them",
        )
    default = quickened(presets[name], quick) if "--quick" in argv else presets[name]
    return tyro.cli(
        type(default), default=default, args=list(argv), config=(tyro.conf.OmitArgPrefixes,)
    )


def exit_code(act: Callable[[], int | None], after_interrupt: str = "type it again") -> int:
    """Runs `act`, returns its exit code, 0 for None; an error becomes one line (jaxgen.errors).

    What jaxgen logs goes to stderr. A defect keeps its traceback. `after_interrupt`: what to do
    after Ctrl-C.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for noisy in ("absl", "jax", "orbax"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    try:
        return act() or 0
    except JaxgenError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"interrupted; {after_interrupt}", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return WriteError.exit_code
