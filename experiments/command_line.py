"""The command line of an experiment: flags over a preset, which is a frozen dataclass."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import tyro

from jaxgen.errors import SettingError

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
