"""How the benchmark times: our program as `fit` runs it, peers in turn with it, the device's peak.

Peak memory is read when our first epoch is done, before any peer is built and before the products
that tell the peak speed, so that it is ours alone as long as a process measures one case.
"""

import statistics
import time
from collections.abc import Collection
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarking.cases import Case, Precision
from experiments.benchmarking.peers import Peer, started, take_turn, timed
from experiments.running.cluster import Cluster, chosen_devices
from jaxgen.runs import folder as run_folder
from jaxgen.training.loop import Progress, Schedule, fit

NUM_IMAGES = 60_000
"""Images of the epoch that `epoch_s` is about, however many are timed."""
PEAK_SIZE = 2048


def peak_size() -> int:
    """Rows of the matrices that tell the peak; an accelerator needs larger ones."""
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
        "peak_rss_bytes": run_folder.peak_memory(),
        "peak_device_bytes": stats.get("peak_bytes_in_use"),
    }


def measure(
    case: Case,
    images: np.ndarray,
    repeats: int,
    libraries: Collection[str] = (),
    num_seeds: int = 1,
    num_devices: int = 1,
) -> dict[str, Any]:
    """Times epochs of `fit` on the images, each followed by one of every peer.

    The first epoch warms up. Peers from `libraries` train one seed on one device.
    """
    learner = case.subject.learner(case.args.model, images.shape[1:])
    batch_size = case.args.batch_size
    ours: list[float] = []
    found: dict[str, Any] = {}
    peers: list[Peer] = []
    began = mark = time.perf_counter()

    def hook(progress: Progress) -> None:
        nonlocal mark
        found.setdefault("first_step_s", time.perf_counter() - began)
        if progress.step % progress.steps_per_epoch:
            return
        ours.append((time.perf_counter() - mark) / progress.steps_per_epoch)
        if len(ours) == 1:
            found.update(memory())
            peers.extend(started(case, libraries, images, repeats))
        else:
            for peer in peers:
                take_turn(peer)
        mark = time.perf_counter()

    devices = chosen_devices(Cluster(devices=num_devices))
    schedule = Schedule(repeats + 1, batch_size)
    result = fit(learner, images, schedule, range(num_seeds), devices=devices, hook=hook)
    found |= {"compile_s": result.compile_s, "trace_s": result.trace_s}
    found |= {"num_seeds": num_seeds, "num_devices": num_devices}
    found |= {"steps": len(images) // batch_size, "repeats": repeats}
    row = {"name": case.name, "precision": case.precision, "batch_size": batch_size, **found}
    row |= rates(case, ours[1:], num_seeds)
    for peer in peers:
        row |= ratio(peer, ours[1:], num_seeds)
    return row


def rates(case: Case, step_s: list[float], num_seeds: int) -> dict[str, Any]:
    """What follows from the seconds that a step took; rates are of the median.

    A step with several seeds is one of each of them; an epoch is one of all `NUM_IMAGES`.
    """
    median = statistics.median(step_s)
    steps = NUM_IMAGES // case.args.batch_size
    operations = num_seeds * case.subject.operations(case.args)
    peaks = {dtype: matmul_peak(dtype) for dtype in ("float32", "bfloat16")}
    return {
        "step_s": median,
        "step_s_range": [min(step_s), max(step_s)],
        "epoch_s": median * steps,
        "epoch_s_range": [min(step_s) * steps, max(step_s) * steps],
        "images_per_s": num_seeds * case.args.batch_size / median,
        "operations_per_step": operations,
        "gflops_per_s": operations / median / 1e9,
        "peak_gflops_per_s": peaks["float32"] / 1e9,
        "bfloat16_peak_gflops_per_s": peaks["bfloat16"] / 1e9,
        "share_of_peak": operations / median / peaks[case.precision],
        "matmul_precision": jax.config.jax_default_matmul_precision or "default",
    }


def ratio(peer: Peer, ours: list[float], num_seeds: int) -> dict[str, Any]:
    """Our time over a peer's: of the medians, and the range over the pairs of epochs.

    A peer trains several seeds one after the other.
    """
    theirs = [num_seeds * seconds for seconds in peer.step_s]
    ratios = [a / b for a, b in zip(ours, theirs, strict=False)]  # a slow peer has fewer turns
    return {
        f"{peer.name}_steps": peer.num_steps,
        f"{peer.name}_repeats": len(theirs),
        f"{peer.name}_step_s": statistics.median(theirs),
        f"{peer.name}_step_s_range": [min(theirs), max(theirs)],
        f"ratio_to_{peer.name}": statistics.median(ours) / statistics.median(theirs),
        f"ratio_to_{peer.name}_range": [min(ratios), max(ratios)],
    }
