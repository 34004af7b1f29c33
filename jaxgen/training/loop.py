"""`fit`: trains any learner, in chunks, with checkpoints and a finite check. It knows no model."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
from numpy.typing import NDArray

from jaxgen.data import Dataset, Split
from jaxgen.errors import (
    CheckpointError,
    NonFiniteError,
    SettingError,
    is_whole,
    make_numbers_plain,
)
from jaxgen.images import check_images
from jaxgen.jitted import jitted
from jaxgen.learner import Batch, Learner, RawImages, State
from jaxgen.training import checkpoint
from jaxgen.training.bar import progress_bar
from jaxgen.training.epoch import Carry, check_seeds
from jaxgen.training.program import Arrays, Program, begin, compile_program, steps_in_epoch
from jaxgen.training.sharding import layout, local

__all__ = ["Progress", "Result", "Schedule", "Start", "fit", "steps_in_epoch"]

LEAST_CHUNK = 4
"""Steps that a call runs at least, after the first: each call touches its temporary memory again,
700 MB for a DCGAN, which takes a tenth of a step of nearly two seconds."""


@dataclass(frozen=True)
class Schedule:
    """How long to train, in which portions, and how often to log and save.

    Errors:
        SettingError: a number below its least one, or NaN, or no number.

    Example:
        >>> jaxgen.Schedule(num_epochs=20, batch_size=100).log_every
        100
    """

    num_epochs: int
    """Passes over the training set; 0 returns the start."""
    batch_size: int
    """Images per update; `fit` checks it against their number."""
    log_every: int = 100
    """Steps over which metrics are averaged; the last interval of an epoch may be shorter."""
    checkpoint_seconds: float = 10.0
    """Least time between two checkpoints; the last state is saved in any case."""

    def __post_init__(self) -> None:
        make_numbers_plain(self)
        least = {"num_epochs": 0, "batch_size": 1, "log_every": 1, "checkpoint_seconds": 0}
        for name, number in least.items():
            value, whole = getattr(self, name), name != "checkpoint_seconds"
            numeric = isinstance(value, int | float) and not isinstance(value, bool)
            right = numeric and value >= number
            if not (is_whole(value, number) if whole else right):
                kind = "a whole number" if whole else "a number"
                expected = f"{kind} of at least {number} for {name} of the schedule"
                raise SettingError(expected=expected, found=str(value), remedy=f"set {name}")


class Start(NamedTuple):
    """Where training begins, as `on_start` has it.

    Example:
        >>> from jaxgen.training import Start
        >>> Start(step=30, steps_per_epoch=15, log=None).step
        30
    """

    step: int
    """0, or that of the checkpoint."""
    steps_per_epoch: int
    log: bytes | None
    """The log that the checkpoint holds; None without one, or if none was saved in it."""


class Progress(NamedTuple):
    """The argument of a hook after each chunk. The state is valid until the hook returns.

    Example:
        >>> def hook(progress):
        ...     if progress.metrics:
        ...         print(progress.epoch, [*progress.metrics])
        >>> images = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 1), dtype=np.uint8)
        >>> learner = jaxgen.models.rbm.learner(jaxgen.models.rbm.Config(num_hidden=3))
        >>> result = jaxgen.fit(learner, images, jaxgen.Schedule(1, 10), seeds=(0, 1), hook=hook)
        1 ['free_energy_contrast', 'hidden_mean', 'pixel_change']
    """

    state: State
    step: int
    first_step: int
    """The step this process started from."""
    steps_per_epoch: int
    num_steps: int
    metrics: dict[str, np.ndarray] | None
    """Means over the log interval that ends here; None inside an interval."""
    train_s: float
    """Seconds spent in training steps by this process."""
    saved_step: int = 0
    """The step of the newest checkpoint; 0 where there is none."""
    running: Mapping[str, np.ndarray] = MappingProxyType({})
    """Means over the part of the log interval that is done: `metrics` before its end."""

    @property
    def epoch(self) -> int:
        """Number of whole epochs done."""
        return self.step // self.steps_per_epoch


History: TypeAlias = dict[str, NDArray[Any]]
"""Steps [n], epochs [n], and every metric: [n], or [num_seeds, n] of several seeds."""


class Result(NamedTuple):
    """The outcome of `fit`.

    Example:
        >>> images = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 1), dtype=np.uint8)
        >>> learner = jaxgen.models.rbm.learner(jaxgen.models.rbm.Config(num_hidden=3))
        >>> result = jaxgen.fit(learner, images, jaxgen.Schedule(2, 10), seeds=(0, 1))
        >>> result.history["epoch"].tolist(), result.history["pixel_change"].shape
        ([1.0, 2.0], (2, 2))
    """

    state: State
    step: int
    first_step: int
    """The step this process started from: 0, or where the checkpoint was."""
    finished: bool
    """False where `should_stop` ended the run early; the state is saved then."""
    compile_s: float
    """Seconds before the first step: tracing and compiling."""
    train_s: float
    trace_s: float = 0.0
    """The part of `compile_s` that tracing and lowering took."""
    step_bytes: int = 0
    """The most that the steps hold on each device, with data and state; 0 where not known, and
    where there was none to take."""
    history: History = {}  # noqa: RUF012 # of a tuple, not of a class
    """Metrics by name, means over the log intervals of this process, beside "step" and "epoch",
    where the intervals end; of several seeds [num_seeds, n]."""

    def __repr__(self) -> str:
        """The result in a line, without its arrays."""
        found = {name: values for name, values in self.history.items() if values.size}
        words = [f"{name} {np.mean(found[name][..., -1]):.4g}" for name in found if name != "step"]
        return f"<Result of {', '.join([f'{self.step:,} steps', *words])}>"


def history_of(
    intervals: Sequence[tuple[int, Mapping[str, NDArray[Any]]]], steps_per_epoch: int
) -> History:
    """The metrics of log intervals, given the step at which each ends, as arrays."""
    steps = np.array([step for step, _ in intervals], np.int64)
    names = intervals[0][1] if intervals else ()
    return {
        "step": steps,
        "epoch": steps / steps_per_epoch,
        **{name: np.stack([each[name] for _, each in intervals], axis=-1) for name in names},
    }


def not_finite(found: str, saved_step: int) -> NonFiniteError:
    """The error for a metric that is not finite; `saved_step` as in `Progress`."""
    kept = f"; the checkpoint of step {saved_step} is kept" if saved_step else ""
    return NonFiniteError(
        expected="finite metrics", found=found, remedy=f"lower --learning-rate{kept}"
    )


class Chunk(NamedTuple):
    """The outcome of one call of the compiled program."""

    carry: Carry
    step: int
    metrics: dict[str, np.ndarray] | None
    running: dict[str, np.ndarray]
    """Those of the log interval so far."""
    seconds: float
    """With those of waiting for the window of the chunk, if it was not there."""
    bad: str
    """The first metric that is not finite, with its step; empty where all are."""


def _bad_metric(trace: Mapping[str, np.ndarray], epoch: int, first: int, last: int) -> str:
    """The first metric of the steps first <= s < last that is not finite, or nothing."""
    for name, values in trace.items():
        window = np.atleast_2d(values)[:, first:last]
        for seed_index, offset in np.argwhere(~np.isfinite(window)):
            where = f"at epoch {epoch}, step {first + offset} of the epoch"
            return f"{name} = {window[seed_index, offset]} {where}"
    return ""


def chunks(
    program: Program, arrays: Arrays, span: range, length: int, every: int
) -> Iterator[Chunk]:
    """Runs the steps of `span`, about a second at a time, never across a log interval's end.

    The length of a chunk follows the first process's clock; what is computed does not depend on it.
    """
    carry, size, began = arrays.carry, 1, time.perf_counter()
    for window in arrays.windows(program.order_of, span, length):
        step = window.steps.start
        while step < window.steps.stop:
            epoch, first = divmod(step, length)
            interval = first - first % every
            interval_end = min(interval + every, length)
            size = int(arrays.placed.broadcast_from_host0(size))
            stop = min(first + size, interval_end, first + window.steps.stop - step)
            bounds = [np.int32(x) for x in (epoch, first, stop)]
            carry, reached = program.run(carry, window.data, window.order, arrays.keys, *bounds)
            last = int(reached)
            seconds = time.perf_counter() - began
            trace = jax.device_get(carry.trace)
            bad = _bad_metric(trace, epoch, first, last)
            done = {} if bad else {name: x[..., interval:last] for name, x in trace.items()}
            running = {name: x.mean(axis=-1) for name, x in done.items()}
            metrics = running if last == interval_end and not bad else None
            step += last - first
            size = max(LEAST_CHUNK, int((last - first) / max(seconds, 1e-6)))
            yield Chunk(carry, step, metrics, running, seconds, bad)
            began = time.perf_counter()


def _resume(
    arrays: Arrays, folder: Path | None, settings: checkpoint.Settings, num_steps: int
) -> tuple[Arrays, int, bytes | None]:
    """The arrays as the newest good checkpoint has them, its step and its log.

    The arrays as they are where there is none. The first process reads, and broadcasts arrays and
    step to the others.
    """
    found = folder and checkpoint.restore(folder, arrays.carry, settings)
    if found and found.step > num_steps:
        raise CheckpointError(
            expected=f"a checkpoint of at most step {num_steps}, where this run ends",
            found=f"one of step {found.step} in {folder}",
            remedy="ask for more --epochs, or for another --out",
        )
    step = int(arrays.placed.broadcast_from_host0(found.step if found else 0))
    carry: Carry = found.tree if found else arrays.carry
    return (arrays.begun_at(carry) if step else arrays), step, found.log if found else None


def training_set(learner: Learner, data: Dataset | Split | RawImages) -> Batch:
    """The data given to `fit`, as raw images and labels on the host; without labels these are 0.

    Errors:
        SettingError: the images are not raw or not of the learner's shape, or there is not a label
            of one of the learner's classes for each of them.
    """
    split = data.train if isinstance(data, Dataset) else data
    given = split.images if isinstance(split, Split) else split
    images = np.asarray(check_images(given, learner.image_shape, whole_set=True))
    if not isinstance(split, Split):
        if learner.num_classes:
            raise SettingError(
                expected="labels for a conditional model",
                found="images alone",
                remedy="give a Dataset or a Split, or set num_classes to 0",
            )
        return Batch(images, np.zeros(len(images), np.int32))
    labels = np.asarray(split.labels)
    most = learner.num_classes - 1 if learner.num_classes else np.iinfo(np.int32).max
    if not (
        labels.shape == images.shape[:1]
        and labels.dtype.kind in "iu"
        and labels.min() >= 0
        and labels.max() <= most
    ):
        upper = f" to {most}" if learner.num_classes else ""
        raise SettingError(
            expected=f"{len(images)} labels, whole numbers from 0{upper}",
            found=f"{labels.dtype} {[*labels.shape]}{_range_of(labels)}",
            remedy="give a label for each image",
        )
    return Batch(images, labels.astype(np.int32))


def _range_of(labels: np.ndarray) -> str:
    """Between which numbers labels lie, if there are any and they are numbers."""
    numbers = labels.size and labels.dtype.kind in "biuf"
    return f" from {labels.min()} to {labels.max()}" if numbers else ""


def _alike(schedule: Schedule) -> dict[str, str]:
    """The parts of a schedule that all workers must have alike; the rest is the first one's."""
    names = ("num_epochs", "batch_size", "log_every")
    return {f"schedule.{name}": str(getattr(schedule, name)) for name in names}


def fit(
    learner: Learner,
    data: Dataset | Split | RawImages,
    schedule: Schedule,
    seeds: Sequence[int],
    *,
    state: State = None,
    folder: str | Path | None = None,
    settings: checkpoint.Settings = MappingProxyType({}),
    devices: Sequence[jax.Device] = (),
    stream: bool = False,
    on_start: Callable[[Start], None] = lambda _: None,
    log: Callable[[], bytes] | None = None,
    hook: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    progress: bool = False,
) -> Result:
    """Trains a learner for whole epochs, from its beginning or from its newest checkpoint.

    Args:
        learner: what to train.
        data: a data set, whose training split is learned; or a split; or raw images alone. Perhaps
            a memory map of a file. It is copied to the device once if it takes at most a quarter of
            the memory there; otherwise, in windows (`jaxgen.training.windows`), with the same bits.
        schedule: epochs, batch size, log interval, checkpoint interval.
        seeds: one seed, or several in one program: vmapped, or on the CPU one after the other. With
            several, every leaf of the state has a leading axis [num_seeds].
        state: where to start instead of `learner.init`, in the same arrays, with that leading axis
            for several seeds.
        folder: where checkpoints are kept and looked for; None keeps none. Of several processes
            the first alone reads and writes it, and broadcasts to the others.
        settings: what shapes the numbers, as text; a checkpoint with other settings is refused.
        devices: those that share seeds and batches, see `jaxgen.training.sharding`; of all
            processes where there are several; the default device alone where none is given.
        stream: whether the training set is streamed in windows even if it fits on the device.
        on_start: called once, when settings and checkpoint are found to fit and the steps are
            compiled, before any step.
        log: gives the log of the training so far, which every checkpoint keeps for `on_start` of
            the run that goes on from it; of several processes, the first one's.
        hook: called after every chunk, about a second of work, and before a checkpoint.
        should_stop: asked after every chunk; True, in any process, saves the state and ends the
            run.
        progress: whether a bar shows steps, rate, time left and metrics, in a terminal or in a
            notebook; of several processes the first one's.

    Errors:
        SettingError: images that are not raw (see `jaxgen.data.to_uint8`) or not of the learner's
            shape, labels beyond its classes, an impossible batch size or seed, a state with other
            arrays than its init gives, not finite, or larger than the memory, or processes that
            are set differently.
        CheckpointError: no usable checkpoint among those there, or one of another configuration.
        NonFiniteError: a metric that is not finite, with its exact step; that state is not saved.

    Example:
        >>> images = np.random.default_rng(0).integers(0, 256, (40, 28, 28, 1), dtype=np.uint8)
        >>> learner = jaxgen.models.rbm.learner(jaxgen.models.rbm.Config(num_hidden=3))
        >>> result = jaxgen.fit(learner, images, jaxgen.Schedule(2, 10), seeds=(0, 1))
        >>> result.step, result.state.params["w"].shape
        (8, (2, 784, 3))
    """
    examples = training_set(learner, data)
    check_seeds(seeds)
    own = Path(folder) if folder is not None and jax.process_index() == 0 else None
    length = steps_in_epoch(len(examples.images), schedule.batch_size, learner.num_batches)
    num_steps = schedule.num_epochs * length
    # Traced once, where its metrics are asked for; the epoch takes what was traced.
    learner = learner._replace(step=jitted(learner.step, inline=True))
    placed = layout(devices or jax.devices()[:1], len(seeds), schedule.batch_size)
    # Before any array is spread: workers that differ would wait for each other's in other programs.
    placed.require_same({**settings, **_alike(schedule)})
    if own:
        checkpoint.require_settings(own, settings)
    arrays = begin(learner, examples, schedule.batch_size, seeds, state, devices, stream)
    arrays, first_step, kept_log = _resume(arrays, own, settings, num_steps)
    start = Start(first_step, length, kept_log)
    carry, step, train_s = arrays.carry, first_step, 0.0
    if step == num_steps:
        on_start(start)
        history = history_of([], length)
        return Result(
            local(carry.state), step, step, True, compile_s=0.0, train_s=0.0, history=history
        )
    intervals = []
    with progress_bar(progress and jax.process_index() == 0, num_steps, first_step) as bar:
        program = compile_program(learner, schedule.batch_size, arrays)
        on_start(start)
        bar.start()
        saved_at, saved_step = time.monotonic(), first_step
        for chunk in chunks(program, arrays, range(step, num_steps), length, schedule.log_every):
            if chunk.bad:
                raise not_finite(chunk.bad, saved_step)
            carry, step = chunk.carry, chunk.step
            train_s += chunk.seconds
            shown, metrics = local(carry.state), chunk.metrics
            bar.update(step, metrics)
            if metrics:
                intervals.append((step, metrics))
            steps = step, first_step, length, num_steps
            hook(Progress(shown, *steps, metrics, train_s, saved_step, chunk.running))
            stopped = arrays.placed.any_process(should_stop())
            due = time.monotonic() - saved_at > schedule.checkpoint_seconds
            if own and (due or stopped or step == num_steps):
                kept_log = log() if log else None
                checkpoint.save(own, step, jax.device_get(local(carry)), settings, log=kept_log)
                saved_at, saved_step = time.monotonic(), step
            if stopped:
                break
    return Result(
        state=local(carry.state),
        step=step,
        first_step=first_step,
        finished=step == num_steps,
        compile_s=program.trace_s + program.compile_s,
        train_s=train_s,
        trace_s=program.trace_s,
        step_bytes=program.step_bytes,
        history=history_of(intervals, length),
    )
