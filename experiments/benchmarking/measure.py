"""How the benchmark times: our program as `fit` runs it, baselines in turn, the device's peak.

Peak memory is read when our first epoch is done, before any baseline is built and before the
products of the peak speed, so that it is ours alone as long as a process measures one case.
"""

import logging
import statistics
import time
from collections.abc import Collection
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarking.baseline import (
    Baseline,
    matmul_precision,
    resident,
    started,
    take_turn,
    timed,
)
from experiments.benchmarking.cases import Case, Precision
from experiments.running.cluster import Cluster, chosen_devices
from experiments.running.experiment import ImageShape
from jaxgen.runs import manifest as run_manifest
from jaxgen.training.loop import Progress, Schedule, fit

stages = logging.getLogger("jaxgen.stages")
"""What is timed now, for whoever waits."""

NUM_IMAGES = 60_000
"""Images of the epoch that `epoch_s` is about, however many are timed."""
PEAK_SIZE = 2048


def peak_size() -> int:
    """Rows of the matrices whose product gives the peak; an accelerator needs larger ones."""
    return PEAK_SIZE if jax.default_backend() == "cpu" else 4 * PEAK_SIZE


def matmul_peak(dtype: Precision = "float32") -> float:
    """Operations per second of a square matrix product summed in float32, the best of ten."""
    size = peak_size()
    a = jax.random.normal(jax.random.key(0), (size, size)).astype(dtype)
    product = jax.jit(partial(jnp.matmul, preferred_element_type=jnp.float32))
    product(a, a).block_until_ready()
    best = min(timed(lambda: product(a, a).block_until_ready()) for _ in range(10))
    return 2 * size**3 / best


def memory() -> dict[str, int | None]:
    """The most that this process has held so far, on the host and on its device.

    The device's is None where it does not say, as on the CPU, whose memory is the host's.
    """
    stats = jax.devices()[0].memory_stats() or {}
    return {
        "peak_rss_bytes": run_manifest.peak_memory(),
        "peak_device_bytes": stats.get("peak_bytes_in_use"),
    }


def measure(
    case: Case,
    images: np.ndarray,
    repeats: int,
    libraries: Collection[str] = (),
    num_seeds: int = 1,
    num_devices: int = 1,
    stream: bool = False,
) -> dict[str, Any]:
    """Times epochs of `fit` on the images, each followed by one of every baseline.

    The first epoch warms up. Baselines from `libraries` train one seed on one device. If the images
    are streamed, the training that has them on the device is a baseline.
    """
    image_shape, batch_size = images.shape[1:], case.args.batch_size
    learner = case.learner(image_shape)
    seeds, devices = range(num_seeds), chosen_devices(Cluster(devices=num_devices))
    ours: list[float] = []
    found: dict[str, Any] = {}
    baselines: list[Baseline] = []
    began = mark = time.perf_counter()

    def turn(name: str) -> None:
        epoch = min(len(ours), repeats) + 1
        stages.info("timing %s, epoch %d of %d", name, epoch, repeats + 1)

    def hook(progress: Progress) -> None:
        nonlocal mark
        if "first_step_s" not in found:
            found["first_step_s"] = time.perf_counter() - began
            turn("jaxgen")
        if progress.step % progress.steps_per_epoch:
            return
        ours.append((time.perf_counter() - mark) / progress.steps_per_epoch)
        if len(ours) == 1:
            found.update(memory())
            stages.info("compiling the other programs")
            held = np.array(images) if stream else images
            baselines.extend(started(case, libraries, held, repeats))
            if stream:
                how = (batch_size, repeats, seeds, devices)
                baselines.append(resident(learner, held, *how))
        else:
            for baseline in baselines:
                turn(baseline.name)
                take_turn(baseline)
        turn("jaxgen")
        mark = time.perf_counter()

    stages.info("compiling")
    schedule = Schedule(repeats + 1, batch_size)
    result = fit(learner, images, schedule, seeds, devices=devices, stream=stream, hook=hook)
    found |= {"compile_s": result.compile_s, "trace_s": result.trace_s}
    found |= {"num_seeds": num_seeds, "num_devices": num_devices, "stream": stream}
    found |= {"steps": len(images) // case.images_per_step(image_shape), "repeats": repeats}
    found |= {"images": len(images), "note": case.experiment.benchmark.note}
    row = {"name": case.name, "precision": case.precision, "batch_size": batch_size, **found}
    row |= rates(case, ours[1:], num_seeds, image_shape)
    for baseline in baselines:
        row |= ratio(baseline, ours[1:], num_seeds)
    return row


def rates(
    case: Case, step_s: list[float], num_seeds: int, image_shape: ImageShape
) -> dict[str, Any]:
    """What follows from the seconds that a step took; rates are of the median.

    A step with several seeds is one of each of them; an epoch is one of all `NUM_IMAGES`.
    """
    median, batch = statistics.median(step_s), case.images_per_step(image_shape)
    steps, flops = NUM_IMAGES // batch, case.flops(image_shape)
    flops = None if flops is None else num_seeds * flops
    peaks = {dtype: matmul_peak(dtype) for dtype in ("float32", "bfloat16")}
    return {
        "step_s": median,
        "step_s_range": [min(step_s), max(step_s)],
        "epoch_s": median * steps,
        "epoch_s_range": [min(step_s) * steps, max(step_s) * steps],
        "images_per_s": num_seeds * batch / median,
        "flops_per_step": flops,
        "gflops_per_s": None if flops is None else flops / median / 1e9,
        "peak_gflops_per_s": peaks["float32"] / 1e9,
        "bfloat16_peak_gflops_per_s": peaks["bfloat16"] / 1e9,
        "share_of_peak": None if flops is None else flops / median / peaks[case.precision],
        "matmul_precision": matmul_precision() or "default",
    }


def ratio(baseline: Baseline, ours: list[float], num_seeds: int) -> dict[str, Any]:
    """Our time over a baseline's: of the medians, and the range over the pairs of epochs.

    A baseline trains the seeds that it does not train together one after the other.
    """
    theirs = [num_seeds // baseline.num_seeds * seconds for seconds in baseline.step_s]
    ratios = [a / b for a, b in zip(ours, theirs, strict=False)]  # a slow baseline has fewer turns
    return {
        f"{baseline.name}_steps": baseline.num_steps,
        f"{baseline.name}_repeats": len(theirs),
        f"{baseline.name}_step_s": statistics.median(theirs),
        f"{baseline.name}_step_s_range": [min(theirs), max(theirs)],
        f"ratio_to_{baseline.name}": statistics.median(ours) / statistics.median(theirs),
        f"ratio_to_{baseline.name}_range": [min(ratios), max(ratios)],
    }
