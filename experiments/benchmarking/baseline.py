"""The programs that ours is compared with: PyTorch's and plain Flax's of the same update.

Of a streamed training, the resident one is such a program too.
"""

import gc
import importlib
import logging
import math
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.benchmarking.cases import Case, Patience
from jaxgen.data.dataset import Split
from jaxgen.errors import SettingError
from jaxgen.learner import Learner
from jaxgen.training.loop import Schedule, chunks, steps_in_epoch, training_set
from jaxgen.training.program import begin, compile_program

logger = logging.getLogger("jaxgen")

LIBRARIES = ("torch", "flax")
TITLES = {
    "torch": "PyTorch",
    "torch_channels_last": "PyTorch channels_last",
    "torch_compiled": "PyTorch compiled",
    "flax": "Flax",
    "resident": "resident",
}
BASELINE_S = 120.0
"""Seconds that one baseline is timed for, about; of one that is slow, fewer steps and repeats."""
LEAST_REPEATS = 3


def time_call(function: Callable[[], Any]) -> float:
    """Seconds that one call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


class Baseline(NamedTuple):
    """A program that has warmed up."""

    name: str
    epoch: Callable[[int], None]
    """Takes so many steps and returns when they are done."""
    num_steps: int
    """Steps that are timed together."""
    step_s: list[float]
    """Seconds a step of each repeat so far."""
    num_seeds: int = 1
    """Seeds that it trains together."""


def in_classes(learner: Learner, images: np.ndarray) -> Split:
    """The images with labels: the classes of a conditional learner in turn."""
    return Split(images, np.arange(len(images), dtype=np.int32) % max(1, learner.num_classes))


def take_turn(baseline: Baseline) -> None:
    """Times a baseline once more, unless it has had its time."""
    spent = sum(baseline.step_s) * baseline.num_steps
    if len(baseline.step_s) < LEAST_REPEATS or spent < BASELINE_S:
        baseline.step_s.append(
            time_call(lambda: baseline.epoch(baseline.num_steps)) / baseline.num_steps
        )


def is_there(library: str) -> bool:
    """Whether a library is installed."""
    return importlib.util.find_spec(library) is not None


def require_libraries(libraries: Collection[str]) -> None:
    """Raises SettingError where PyTorch is asked for and not there."""
    if "torch" in libraries and not is_there("torch"):
        raise SettingError(
            expected="PyTorch, for --against torch",
            found="none",
            remedy="type pip install -c constraints.txt -e '.[benchmark]'",
        )


def _torch_device() -> str:
    """The device of PyTorch that is JAX's; both then round products of float32 alike.

    Errors:
        SettingError: JAX sees a GPU that PyTorch does not, or an accelerator that is none.
    """
    import torch

    if jax.default_backend() == "cpu":
        return "cpu"
    if jax.default_backend() != "gpu" or not torch.cuda.is_available():
        raise SettingError(
            expected=f"a PyTorch that computes on {jax.devices()[0].device_kind}",
            found=f"PyTorch {torch.__version__}",
            remedy="install that of the accelerator, or set --against flax",
        )
    precise = matmul_precision() in ("highest", "float32")
    torch.set_float32_matmul_precision("highest" if precise else "high")
    torch.backends.cudnn.allow_tf32 = not precise
    return "cuda"


def matmul_precision() -> str | None:
    """JAX's precision of products; None is the default of the device."""
    precision: str | None = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    return precision


def runner(
    case: Case, library: str, images: np.ndarray, options: Mapping[str, Any]
) -> Callable[[int], None]:
    """A baseline's program for a case, as a function that takes so many steps of an epoch."""
    program = importlib.import_module(
        f"experiments.benchmarking.baselines.{library}_{case.experiment.name}"
    )
    if library == "torch":
        dtype = {} if case.precision == "float32" else {"dtype": case.precision}
        options = {"device": _torch_device(), **options, **dtype}
    batch_size, model = case.args.batch_size, case.args.model
    epoch: Callable[[int], None] = program.epoch_runner(images, batch_size, model, **options)
    return epoch


def start_baselines(
    case: Case,
    libraries: Collection[str],
    images: np.ndarray,
    patience: Patience,
    absent: dict[str, str],
    compiled: Collection[bool] = (False, True),
) -> list[Baseline]:
    """The baselines of a case from these libraries, each built and warmed up.

    `compiled` chooses those without torch.compile, or with it, or both.

    Where torch.compile finds no compiler, one line says so and the others go on without it. So it
    is with any that fails, or comes too late, where there is a time to keep; `absent` gets the
    reason of each by its title.
    """
    baselines: list[Baseline] = []
    in_time = math.isfinite(patience.until)
    for name, options in case.experiment.benchmark.baselines.items():
        library = name.partition("_")[0]
        if library not in libraries or bool(options.get("compiled")) not in compiled:
            continue
        try:
            if patience.over:
                raise TimeoutError("no time was left")
            epoch = runner(case, library, images, options)
            epoch(1)  # compiles
        except Exception as error:
            compiles = isinstance(error, RuntimeError) and options.get("compiled")
            if not (compiles or in_time):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            absent[TITLES[name]] = reason
            logger.warning("%s goes on without %s: %s", case.name, TITLES[name], reason)
            continue
        affordable = int(BASELINE_S / patience.repeats / time_call(partial(epoch, 1)))
        num_steps = len(images) // case.images_per_step(images.shape[1:])
        num_steps = max(1, min(num_steps, affordable))
        if num_steps > 1:
            epoch(num_steps)
        baselines.append(Baseline(name, epoch, num_steps, []))
    return baselines


def release() -> None:
    """Gives back the memory of a device that baselines of before have held."""
    gc.collect()
    if "torch" in sys.modules:
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def resident(
    learner: Learner,
    images: np.ndarray,
    batch_size: int,
    turns: int,
    seeds: Sequence[int],
    devices: Sequence[jax.Device],
) -> Baseline:
    """Our own program with all images on the devices, which has warmed up for an epoch.

    It can take so many turns.
    """
    length = steps_in_epoch(len(images), batch_size, learner.num_batches)
    batch = training_set(learner, in_classes(learner, images))
    arrays = begin(learner, batch, batch_size, seeds, devices=devices)
    program = compile_program(learner, batch_size, arrays)
    every = Schedule(1, batch_size).log_every
    trained = chunks(program, arrays, range((turns + 1) * length), length, every)

    def epoch(num_steps: int) -> None:
        for chunk in trained:
            if chunk.step % num_steps == 0:
                break

    epoch(length)
    return Baseline("resident", epoch, length, [], len(seeds))
