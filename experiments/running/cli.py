"""From the command line of an experiment to its exit code.

`main` parses, joins other processes, opens the run folder, trains, reports, and turns errors into
exit codes (see jaxgen.errors).
"""

import contextlib
import dataclasses
import itertools
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import jax
import numpy as np
import tyro
from flax.traverse_util import flatten_dict

from experiments.running import announcement, refusals, seeds
from experiments.running import help as help_text
from experiments.running.args import (
    RunArgs,
    check_places,
    in_small_batches,
    load_dataset,
    quicken,
)
from experiments.running.cluster import join_workers
from experiments.running.compilation_cache import keep_programs
from experiments.running.console import (
    Handler,
    accept_any_text,
    show,
    without_reader,
    working,
    write_error,
)
from experiments.running.experiment import Choice, Experiment
from experiments.running.session import session_for
from experiments.running.signals import Stopped, leaving_at_once
from experiments.running.stored import require_no_other, require_unchanged, trusted_config
from jaxgen import data
from jaxgen.data import Dataset, Split
from jaxgen.errors import (
    JaxgenError,
    OutOfMemoryError,
    RunFolderError,
    SettingError,
    WriteError,
    is_out_of_memory,
)
from jaxgen.files import expand_user
from jaxgen.nn.augment import TRANSFORMS, Policy
from jaxgen.runs import folder as run_folder
from jaxgen.runs import manifest as run_manifest
from jaxgen.runs.summary import program_folder
from jaxgen.training.epoch import memory

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

logger = logging.getLogger("jaxgen")

AnyArgs = TypeVar("AnyArgs", bound="DataclassInstance")


REPORTING = "measuring and drawing the report"
LISTS = {
    "--seeds": ("one seed or more", "type --seeds 0 1 2, for example"),
    "--log": ("one service or more", "type --log tensorboard, for example"),
    "--only": ("one name or more", "leave it out for all"),
}
"""Flags that mean nothing without a word after them: what follows, and the remedy."""
WORDS = tyro.constructors.ConstructorRegistry()
"""How the words of a command line become paths and transforms."""


@WORDS.primitive_rule
def _path(kind: tyro.constructors.PrimitiveTypeInfo) -> Any:
    """Paths in the encoding of file names, with a leading ~ replaced by the home folder."""
    if kind.type is not Path:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda words: _readable(words[0]),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda path: [str(path)],
    )


@WORDS.primitive_rule
def _transforms(kind: tyro.constructors.PrimitiveTypeInfo) -> Any:
    """Transforms by name; all of them for the flag without names, and none for `none`."""
    if kind.type != tuple[Policy, ...]:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar=f"[{{none,{','.join(TRANSFORMS)}}} ...]",
        instance_from_str=lambda words: () if words == ["none"] else (*(words or TRANSFORMS),),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda names: list(names) or ["none"],
    )


def _readable(word: str) -> Path:
    """The path that a word names; it stands in JSON and on pages, so it must be text."""
    if not word:
        raise SettingError(
            expected="a path", found="an empty one", remedy="name a folder, for example ."
        )
    try:
        word.encode()
    except UnicodeEncodeError as error:
        raise SettingError(
            expected=f"a path in {sys.getfilesystemencoding()}",
            found=word,
            remedy="rename it, or choose another",
        ) from error
    return expand_user(Path(word))


def parse_flags(
    kind: type[AnyArgs], examples: Mapping[str, str] = MappingProxyType({}), **options: Any
) -> Any:
    """Parses a command line, by default this process's.

    Args:
        kind: the dataclass of the settings.
        examples: command lines that `--help` shows, to what they do.
        **options: those of `tyro.cli`.

    Errors:
        SettingError: a flag is unknown, lacks its value, or has one of another type.
    """
    words = {"description": help_text.describe(kind, examples), **options}
    typed = options.get("args", sys.argv[1:])
    for flag, following in itertools.pairwise([*typed, "--"]):
        if flag in LISTS and following.startswith("--"):
            wanted, remedy = LISTS[flag]
            raise SettingError(expected=f"{wanted} after {flag}", found="none", remedy=remedy)
    if "args" not in options and asks_for_help(typed):
        kind = help_text.flat(kind)
    program = run_manifest.program()
    with refusals.in_a_line(program):
        return tyro.cli(kind, prog=program, registry=WORDS, **words)


def parse(
    presets: Mapping[str, AnyArgs],
    quick: Mapping[str, Any],
    argv: Sequence[str],
    examples: Mapping[str, str] = MappingProxyType({}),
    choice: Choice | None = None,
) -> AnyArgs:
    """Parses flags over a preset, that of the choice or the first one; `quick` stands between.

    `--help` shows the flags in groups, with the values of the preset, and ends the program.
    """
    name = choice.preset if choice else next(iter(presets))
    if (typed := typed_preset(argv)) is not None:
        choice, name = None, typed
    if name not in presets:
        raise SettingError(
            expected=f"--preset to be one of {', '.join(presets)}",
            found=repr(name),
            remedy="set --preset to one of them",
        )
    short = is_quick(argv)
    default = quicken(presets[name], quick) if short else presets[name]
    omit = (tyro.conf.OmitArgPrefixes,)
    if asks_for_help(argv):
        of = f"the preset {name}{' with --quick' if short else ''}"
        note = f"Defaults are those of {of}{choice.in_words() if choice else ''}."
        words = help_text.describe(type(default), examples, note)
        parse_flags(
            help_text.group_settings(default), args=["--help"], config=omit, description=words
        )
    args: AnyArgs = parse_flags(type(default), default=default, args=list(argv), config=omit)
    return args


def asks_for_help(words: Sequence[str]) -> bool:
    """Whether a command line has the flag that shows the others."""
    return bool({"-h", "--help"} & {*words})


def is_quick(words: Sequence[str]) -> bool:
    """Whether a command line has `--quick`, and no `--no-quick` behind it."""
    return [word for word in words if word in ("--quick", "--no-quick")][-1:] == ["--quick"]


def is_typed(flag: str, words: Sequence[str]) -> bool:
    """Whether a command line has a flag; `_` is `-` there."""
    return any(word.partition("=")[0].replace("_", "-") == flag for word in words)


def typed_preset(words: Sequence[str]) -> str | None:
    """The preset that a command line names, the last one if there are several."""
    found = None
    for word, following in zip(words, [*words, ""][1:], strict=True):
        if is_typed("--preset", [word]):
            found = word.partition("=")[2] if "=" in word else following
    return found


def suit_to_data(args: RunArgs, dataset: Dataset, words: Sequence[str] | None) -> RunArgs:
    """The settings with what the data decide, where the command line leaves it open."""
    args = args.fit_to(dataset)
    if words is None or is_typed("--batch-size", words):
        return args
    return in_small_batches(args, dataset)


def choose_preset(
    experiment: Experiment[Any],
    args: RunArgs,
    dataset: Dataset,
    words: Sequence[str],
    folder: Path = Path(),
) -> RunArgs:
    """The settings with the preset that the experiment takes where none was typed.

    A run that goes on in `folder` has the one it began with. The words of the command line are
    parsed again, over that preset, so all that was typed stays.
    """
    if is_typed("--preset", words):
        return args
    choice = experiment.choose(args, dataset)
    earlier = trusted_config(folder).get("preset") if args.resume else None
    if isinstance(earlier, str) and earlier in experiment.presets:
        choice = Choice(earlier, "the run began with it")
    if not choice or (args.resume and choice.preset == args.preset):
        return args
    logger.info("preset %s%s", choice.preset, choice.in_words())
    given: RunArgs = parse(experiment.presets, experiment.quick, words, choice=choice)
    return given


def plain_choice(experiment: Experiment[Any]) -> Choice | None:
    """The preset of the command without a flag on this machine, whose data are MNIST's or so."""
    images = np.broadcast_to(np.uint8(0), (60_000, 28, 28, 1))
    split = Split(images, np.broadcast_to(np.int32(0), len(images)))
    with contextlib.suppress(RuntimeError, AssertionError):  # JAX finds no device
        return experiment.choose(experiment.default, Dataset("mnist", split, split, ""))
    return None


def exit_code(act: Callable[[], int | None], after_stop: str = "type it again") -> int:
    """Runs `act`, returns its exit code, 0 for None; an error becomes one line (jaxgen.errors).

    The log of jaxgen goes to stderr. A defect keeps its traceback. `after_stop` is the advice after
    SIGINT and SIGTERM, which end the process at once; training saves first.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[Handler()])
    for noisy in ("absl", "jax", "matplotlib", "orbax"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    logging.captureWarnings(True)
    accept_any_text()
    with leaving_at_once(after_stop), working():
        try:
            if changed := run_manifest.compute_as_jax_does():
                names = ", ".join(map(str.upper, changed))
                logger.warning("%s not used: runs compute as JAX does by default", names)
            return _flush(act) or 0
        except JaxgenError as error:
            write_error(error)
            return error.exit_code
        except Stopped as stopped:
            return 128 + stopped.signum
        except BrokenPipeError:
            without_reader()
            return 128 + signal.SIGPIPE
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            write_error(_out_of_memory(error))
            return OutOfMemoryError.exit_code
        except OSError as error:
            write_error(
                WriteError(
                    expected=f"to read or write {error.filename or 'a file'}",
                    found=error.strerror or str(error),
                    remedy="choose another place, or change its permissions",
                )
            )
            return WriteError.exit_code
        except (RuntimeError, AssertionError):
            if not (missing := _missing_device()):
                raise
            write_error(missing)
            return missing.exit_code


def _out_of_memory(error: Exception) -> OutOfMemoryError:
    """The error of one line for what NumPy or XLA have of a memory that is full."""
    first = str(error).partition("\n")[0]
    return OutOfMemoryError(
        expected=f"arrays that fit into {memory() / 2**30:,.0f} GiB of memory",
        found=first.removeprefix("RESOURCE_EXHAUSTED: ").rstrip(".") or "a full one",
        remedy="set smaller numbers, such as of units, samples, chains, images at a time or seeds",
    )


def _flush(act: Callable[[], int | None]) -> int | None:
    """Runs `act`, and writes what it has printed by itself, such as `--help`."""
    try:
        return act()
    finally:
        show(end="")


def _missing_device() -> SettingError | None:
    """The error where JAX finds no device, of which it tells by several kinds of errors."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        platforms = jax.config.jax_platforms  # type: ignore[attr-defined]
        return SettingError(
            expected=f"a device of JAX_PLATFORMS={platforms}",
            found=str(error).partition(" (set ")[0] or "none",
            remedy="type: unset JAX_PLATFORMS, or set it to cpu",
        )
    return None


def make_deterministic() -> None:
    """Asks XLA for deterministic kernels; must run before the first use of a device."""
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    jax.config.update("jax_default_matmul_precision", "highest")


def execute(experiment: Experiment[Any], args: RunArgs, words: Sequence[str] | None = None) -> None:
    """Loads the data, owns the folder, trains and reports.

    Args:
        experiment: what is run.
        args: its settings.
        words: the command line that they are from, where its data decide what it leaves open.
    """
    if args.deterministic:
        make_deterministic()
    keep_programs()
    with contextlib.ExitStack() as owned:
        with join_workers(args.cluster, _alike(experiment, args)):
            check_places(args)
            # The user's own pictures have a bar of their own.
            with working("loading the data" if args.dataset in ("auto", *data.NAMES) else ""):
                dataset = load_dataset(args)
            preset = typed_preset(words) if words is not None else None
            folder = args.out or default_folder(experiment.name, args, dataset.name, preset)
            if words is not None:
                args = choose_preset(experiment, args, dataset, words, folder)
            args = suit_to_data(args, dataset, words)
            if len(args.seeds) == 1:
                args = dataclasses.replace(args, seed=args.seeds[0], seeds=())
            _check_is_no_seed(folder)
            if args.resume:
                require_unchanged(experiment.name, args, folder)
            args.check(dataset, folder)
            if args.cluster.first:
                if args.resume and not run_folder.read_config(folder):
                    show(f"no run in {folder} to go on with, so one begins")
                elif not (args.resume or args.overwrite):
                    require_no_other(experiment.name, args, folder)
                opened = run_folder.open_folder(
                    folder, experiment.name, resume=args.resume, overwrite=args.overwrite
                )
                owned.enter_context(opened)
            session = session_for(experiment.name, args, dataset, folder)
            if args.cluster.first:
                show(announcement.plan(experiment, args, session))
            began = time.monotonic()
            with working("preparing"):
                result = experiment.train(args, session)
            trained = time.monotonic()
        if args.cluster.first:
            args = dataclasses.replace(args, cluster=args.cluster.alone())
            with working(REPORTING):
                page = seeds.report(experiment, args, session, result)
            before = trained - began
            if result.step > result.first_step:
                parts = {"training": result.train_s, "compilation": result.compile_s}
                times = parts | {"the rest before the report": before - sum(parts.values())}
            else:
                times = {"before the report (no step of the model was left)": before}
            times |= {REPORTING: time.monotonic() - trained}
            show(announcement.outcome(experiment, args, session, page, times))


def _alike(experiment: Experiment[Any], args: RunArgs) -> dict[str, str]:
    """Values that all processes of a run must have alike; where files lie is each host's own."""
    own = {*run_manifest.PLACE, "cluster.coordinator", "cluster.process_id", "cluster.peer_timeout"}
    flat = flatten_dict(dataclasses.asdict(args), sep=".")
    settings = {name: value for name, value in flat.items() if not isinstance(value, Path)}
    named = {"experiment": experiment.name, "jax": jax.__version__}
    return named | {name: str(value) for name, value in settings.items() if name not in own}


def _check_is_no_seed(folder: Path) -> None:
    """Raises RunFolderError for the folder of one seed in a run of several."""
    if (root := program_folder(folder)) != folder.absolute():
        raise RunFolderError(
            expected="--out outside the run of several seeds",
            found=f"{folder} in {root}",
            remedy="choose another --out, or go on with that run",
        )


def default_folder(experiment: str, args: RunArgs, dataset: str, preset: str | None = None) -> Path:
    """The run folder where `--out` names none.

    It has the name of a preset that was typed, and a quick run and a conditional one have folders
    of their own. Older versions had fewer of these in the name; `--resume` goes on with their runs
    where they are.
    """
    numbers = "-".join(map(str, args.seeds or (args.seed,)))
    seeds = f"seeds{numbers}" if len(args.seeds) > 1 else f"seed{numbers}"
    conditional = bool(getattr(args, "conditional", False))

    def named(*words: str | None) -> Path:
        return Path("runs") / "-".join([word for word in words if word])

    asked = "conditional" if conditional else None
    short = "quick" if args.quick else None
    own = named(experiment, preset, short, dataset, asked, seeds)
    if args.resume and not own.exists():
        for words in ((preset, dataset, asked), (dataset, asked), (dataset,)):
            earlier = named(experiment, *words, seeds)
            config = run_folder.read_config(earlier)
            if (
                config
                and preset in (None, config.get("preset"))
                and bool(config.get("quick")) == args.quick
                and bool(config.get("conditional")) == conditional
            ):
                return earlier
    return own


def main(experiment: Experiment[Any], args: RunArgs | None = None) -> int:
    """Runs an experiment from the command line; returns its exit code (see jaxgen.errors).

    Given settings take the place of the command line.
    """

    def act() -> None:
        flags = sys.argv[1:]
        choice = plain_choice(experiment) if asks_for_help(flags) else None
        given = args or parse(
            experiment.presets, experiment.quick, flags, experiment.examples, choice
        )
        execute(experiment, given, None if args else flags)

    try:
        return exit_code(act, after_stop="add --resume to go on")
    except Exception:
        traceback.print_exc()
        return 1


def leave(code: int) -> NoReturn:
    """Ends the process with an exit code.

    At once after Ctrl-C, because XLA may be compiling, and after an error beside other processes,
    because JAX would wait for them.
    """
    if code == 128 + signal.SIGINT or (code and jax.distributed.is_initialized()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
