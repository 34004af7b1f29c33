"""The programs that ours is compared with: PyTorch's and plain Flax's of the same update.

Of a streamed training, the resident one is such a program too.
"""

import importlib
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.benchmarking.cases import Case
from jaxgen.errors import SettingError
from jaxgen.learner import Learner, RawImages, unlabelled
from jaxgen.training.loop import Schedule, chunks, steps_in_epoch
from jaxgen.training.program import begin, compiled

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


def timed(function: Callable[[], Any]) -> float:
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


def take_turn(baseline: Baseline) -> None:
    """Times a baseline once more, unless it has had its time."""
    spent = sum(baseline.step_s) * baseline.num_steps
    if len(baseline.step_s) < LEAST_REPEATS or spent < BASELINE_S:
        baseline.step_s.append(
            timed(lambda: baseline.epoch(baseline.num_steps)) / baseline.num_steps
        )


def require_libraries(libraries: Collection[str]) -> None:
    """Raises SettingError where PyTorch is asked for and not there."""
    if "torch" in libraries and importlib.util.find_spec("torch") is None:
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


def started(
    case: Case, libraries: Collection[str], images: np.ndarray, repeats: int
) -> list[Baseline]:
    """The baselines of a case from these libraries, each built and warmed up.

    Where torch.compile finds no compiler, one line says so and the others go on without it.
    """
    baselines = []
    for name, options in case.experiment.benchmark.baselines.items():
        library = name.partition("_")[0]
        if library not in libraries:
            continue
        epoch = runner(case, library, images, options)
        try:
            epoch(1)  # compiles
        except RuntimeError as error:
            if not options.get("compiled"):
                raise
            reason = str(error).strip().splitlines()[0]
            logger.warning("%s goes on without %s: %s", case.name, TITLES[name], reason)
            continue
        affordable = int(BASELINE_S / repeats / timed(partial(epoch, 1)))
        num_steps = len(images) // case.images_per_step(images.shape[1:])
        num_steps = max(1, min(num_steps, affordable))
        if num_steps > 1:
            epoch(num_steps)
        baselines.append(Baseline(name, epoch, num_steps, []))
    return baselines


def resident(
    learner: Learner,
    images: RawImages,
    batch_size: int,
    repeats: int,
    seeds: Sequence[int],
    devices: Sequence[jax.Device],
) -> Baseline:
    """Our own program with all images on the devices, which has warmed up for an epoch."""
    length = steps_in_epoch(len(images), batch_size, learner.num_batches)
    arrays = begin(learner, unlabelled(images), batch_size, seeds, devices=devices)
    program = compiled(learner, batch_size, arrays)
    every = Schedule(1, batch_size).log_every
    trained = chunks(program, arrays, range((repeats + 1) * length), length, every)

    def epoch(num_steps: int) -> None:
        for chunk in trained:
            if chunk.step % num_steps == 0:
                break

    epoch(length)
    return Baseline("resident", epoch, length, [], len(seeds))
