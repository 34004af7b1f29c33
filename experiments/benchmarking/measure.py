"""How the benchmark times: our program as `fit` runs it, baselines in turn, the device's peak.

Peak memory is read when our first epoch is done, before any baseline is built and before the
products of the peak speed, so that it is ours alone as long as a process measures one case. Of a
later case it is known only where it is above all that was held before.

A turn is an epoch of ours and one of every baseline. If something else ran on the machine during
one (`experiments.benchmarking.machine`), the count of turns begins again, as long as there are
turns left: so the turns that count are neighbours in time, and none was chosen for its time.
"""

import logging
import statistics
import time
from collections.abc import Callable, Collection
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarking import machine
from experiments.benchmarking.baseline import (
    Baseline,
    in_classes,
    matmul_precision,
    release,
    resident,
    start_baselines,
    take_turn,
    time_call,
)
from experiments.benchmarking.cases import Case, Patience, Precision
from experiments.running.cluster import Cluster, chosen_devices
from jaxgen.export.safetensors import digest
from jaxgen.images import ImageShape
from jaxgen.runs import manifest as run_manifest
from jaxgen.training.loop import Progress, Schedule, fit

stages = logging.getLogger("jaxgen.stages")
"""Logs the stage of a timing, for whoever waits."""

NUM_IMAGES = 60_000
"""Images of the epoch that `epoch_s` is about, however many are timed."""
PEAK_SIZE = 2048


def peak_size() -> int:
    """Rows of the matrices whose product gives the peak; an accelerator needs larger ones."""
    return PEAK_SIZE if jax.default_backend() == "cpu" else 4 * PEAK_SIZE


def matmul_peak(dtype: Precision = "float32") -> float:
    """Operations per second of a square matrix product summed in float32, the best of ten.

    It is measured once in a process.
    """
    return _matmul_peak(dtype, peak_size())


def peaks() -> dict[Precision, float]:
    """The peak in every precision; they are measured with the first call in a process."""
    return {"float32": matmul_peak("float32"), "bfloat16": matmul_peak("bfloat16")}


@cache
def _matmul_peak(dtype: Precision, size: int) -> float:
    a = jax.random.normal(jax.random.key(0), (size, size)).astype(dtype)
    product = jax.jit(partial(jnp.matmul, preferred_element_type=jnp.float32))
    product(a, a).block_until_ready()
    best = min(time_call(lambda: product(a, a).block_until_ready()) for _ in range(10))
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
    patience: Patience,
    libraries: Collection[str] = (),
    num_seeds: int = 1,
    num_devices: int = 1,
    stream: bool = False,
    keep: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Times epochs of `fit` on the images, each followed by one of every baseline.

    The first epoch warms up. Baselines from `libraries` train one seed on one device; "resident" is
    our own training with all images on the device, in turn with one that streams them. `keep` gets
    the row without what torch.compile makes, before that is compiled, which takes longest and may
    be killed; then all take their turns again.
    """
    image_shape, batch_size = images.shape[1:], case.args.batch_size
    learner = case.learner(image_shape)
    seeds, devices = range(num_seeds), chosen_devices(Cluster(devices=num_devices))
    ours: list[float] = []
    shares: list[float | None] = []
    absent: dict[str, str] = {}
    before = memory()
    found: dict[str, Any] = {"load_before": machine.load(), "clock_mhz": machine.clock_mhz()}
    found |= {f"{name}_before": held for name, held in before.items()}
    found |= {"num_seeds": num_seeds, "num_devices": num_devices, "stream": stream}
    found |= {"steps": len(images) // case.images_per_step(image_shape), "images": len(images)}
    found |= {"note": case.experiment.benchmark.note, "absent": absent}
    found |= {"compile_s": None, "trace_s": None, "step_bytes": None}  # known at the end
    baselines: list[Baseline] = []
    late = keep is not None
    turns, since = 0, machine.reading()
    most = (1 + late) * patience.turns
    began = mark = time.perf_counter()

    def turn(name: str) -> None:
        stages.info("timing %s, epoch %d of at most %d", name, min(turns, most) + 1, most + 1)

    def begin(*compiled: bool) -> None:
        stages.info("compiling the other programs")
        held = np.array(images) if stream else images
        baselines.extend(start_baselines(case, libraries, held, patience, absent, compiled))
        if stream and "resident" in libraries and False in compiled:
            baselines.append(resident(learner, held, batch_size, most, seeds, devices))

    def begin_again() -> None:
        ours.clear()
        shares.clear()
        for baseline in baselines:
            baseline.step_s.clear()

    def row() -> dict[str, Any]:
        known = [share for share in shares if share is not None]
        timed_here = {"turns": turns, "repeats": len(ours), "others": max(known, default=None)}
        made = {"name": case.name, "precision": case.precision, "batch_size": batch_size}
        made |= found | timed_here | {"busy": machine.disturbance(ours, shares)}
        made |= rates(case, ours, num_seeds, image_shape)
        for baseline in baselines:
            made |= ratio(baseline, ours, num_seeds)
        return made

    def hook(progress: Progress) -> None:
        nonlocal late, mark, most, since, turns
        if "first_step_s" not in found:
            found["first_step_s"] = time.perf_counter() - began
            turn("jaxgen")
        if progress.step % progress.steps_per_epoch:
            return
        seconds = (time.perf_counter() - mark) / progress.steps_per_epoch
        found["metrics"] = {k: float(np.mean(v)) for k, v in (progress.metrics or {}).items()}
        if "digest" not in found:
            found.update({k: None if v == before[k] else v for k, v in memory().items()})
            found["digest"] = digest(progress.state.params)
            with jax.default_matmul_precision(precision):
                peaks()
            begin(False, *(True,) * (not late))
        else:
            turns += 1
            ours.append(seconds)
            for baseline in baselines:
                turn(baseline.name)
                take_turn(baseline)
            shares.append(machine.others(since, machine.reading()))
            left = most - turns - late * patience.repeats
            if machine.disturbance(ours, shares) and left >= patience.repeats and not patience.over:
                begin_again()
            elif late and keep and (len(ours) == patience.repeats or patience.over):
                late, most = False, turns + patience.turns
                if not patience.over:
                    keep(row())
                    begin(True)
                    if any(not baseline.step_s for baseline in baselines):
                        begin_again()
        turn("jaxgen")
        since, mark = machine.reading(), time.perf_counter()

    def enough() -> bool:
        return not late and (len(ours) == patience.repeats or (bool(ours) and patience.over))

    precision = matmul_precision()  # of the peak's products, which are not rounded as ours are
    stages.info("compiling")
    with case.rounded():
        result = fit(
            learner,
            in_classes(learner, images),
            Schedule(most + 1, batch_size),
            seeds,
            devices=devices,
            stream=stream,
            hook=hook,
            should_stop=enough,
        )
    found |= {"compile_s": result.compile_s, "trace_s": result.trace_s}
    found["step_bytes"] = result.step_bytes or None
    made = row()
    baselines.clear()
    release()
    return made


def rates(
    case: Case, step_s: list[float], num_seeds: int, image_shape: ImageShape
) -> dict[str, Any]:
    """Quantities that follow from the seconds that a step took; rates are of the median.

    A step with several seeds is one of each of them; an epoch is one of all `NUM_IMAGES`.
    """
    median, batch = statistics.median(step_s), case.images_per_step(image_shape)
    steps, flops = NUM_IMAGES // batch, case.flops(image_shape)
    flops = None if flops is None else num_seeds * flops
    return {
        "step_s": median,
        "step_s_range": [min(step_s), max(step_s)],
        "epoch_s": median * steps,
        "epoch_s_range": [min(step_s) * steps, max(step_s) * steps],
        "images_per_s": num_seeds * batch / median,
        "flops_per_step": flops,
        "gflops_per_s": None if flops is None else flops / median / 1e9,
        "peak_size": peak_size(),
        "peak_gflops_per_s": peaks()["float32"] / 1e9,
        "bfloat16_peak_gflops_per_s": peaks()["bfloat16"] / 1e9,
        "share_of_peak": None if flops is None else flops / median / peaks()[case.precision],
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
