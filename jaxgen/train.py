"""`fit`: trains any learner, in chunks, with checkpoints and a finite check. It knows no model."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from jaxgen import checkpoint
from jaxgen.epoch import Carry, Keys, epoch_order, initial_carry, over_seeds, root_keys, run_steps
from jaxgen.errors import CheckpointError, NonFiniteError, SettingError
from jaxgen.learner import Learner, Metrics, State

LEAST_CHUNK = 4
"""Steps that a call runs at least, after the first: each call touches its temporary memory anew,
700 MB for a DCGAN, which takes a tenth of a step of nearly two seconds."""


class Schedule(NamedTuple):
    """How long to train, in which portions, and how often to say so."""

    num_epochs: int
    batch_size: int
    log_every: int = 100
    """Steps over which metrics are averaged; the last interval of an epoch may be shorter."""
    checkpoint_seconds: float = 10.0
    """Least time between two checkpoints; the last state is saved in any case."""


class Progress(NamedTuple):
    """What a hook is told after each chunk. The state is valid until the hook returns."""

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

    @property
    def epoch(self) -> int:
        """Number of whole epochs done."""
        return self.step // self.steps_per_epoch


class Result(NamedTuple):
    """What `fit` leaves behind."""

    state: State
    step: int
    first_step: int
    """The step this process started from: 0, or where the checkpoint was."""
    finished: bool
    """False where `should_stop` ended the run early; the state is saved then."""
    compile_s: float
    train_s: float


def steps_in_epoch(num_examples: int, batch_size: int) -> int:
    """Whole batches in an epoch; the examples left over differ from epoch to epoch.

    Errors:
        SettingError: the batch is empty or larger than the data set.
    """
    if not 1 <= batch_size <= num_examples:
        raise SettingError(
            expected=f"a batch size from 1 to the {num_examples} training examples",
            found=str(batch_size),
            remedy="set --batch-size",
        )
    return num_examples // batch_size


def _check_finite(trace: Metrics, epoch: int, first: int, last: int) -> None:
    """Raises NonFiniteError where a metric of the steps first <= s < last is not finite."""
    for name, values in jax.device_get(trace).items():
        window = np.atleast_2d(values)[:, first:last]
        for seed_index, offset in np.argwhere(~np.isfinite(window)):
            raise NonFiniteError(
                expected="finite metrics",
                found=f"{name} = {window[seed_index, offset]} at epoch {epoch}, "
                f"step {first + offset} of the epoch",
                remedy="lower --learning-rate; the last good checkpoint is kept",
            )


class _Program(NamedTuple):
    """The compiled functions of a run, and what compiling them took."""

    order_of: Callable[[Array], Array]
    run: Callable[..., tuple[Carry, Array]]
    compile_s: float


def _compile(learner: Learner, batch_size: int, carry: Carry, data: Array, keys: Keys) -> _Program:
    """Compiles the order of an epoch and the steps of an epoch, ahead of their first call."""
    began = time.perf_counter()
    zero = jnp.int32(0)

    def order_of(epoch: Array) -> Array:
        order: Array = over_seeds(lambda key: epoch_order(key, epoch, len(data)), keys)(keys)
        return order

    compiled_order = jax.jit(order_of).lower(zero).compile()
    order = jax.eval_shape(order_of, zero)
    run = jax.jit(partial(run_steps, learner, batch_size), donate_argnums=0)
    compiled_run = run.lower(carry, data, order, keys, zero, zero, zero).compile()
    return _Program(compiled_order, compiled_run, time.perf_counter() - began)


class _Chunk(NamedTuple):
    """What one call of the compiled program did."""

    carry: Carry
    step: int
    metrics: dict[str, np.ndarray] | None
    seconds: float


def _chunks(
    program: _Program, carry: Carry, data: Array, keys: Keys, span: range, length: int, every: int
) -> Iterator[_Chunk]:
    """Runs the steps of `span`, about a second at a time, never across a log interval's end.

    The length of a chunk follows the clock; what is computed does not depend on it.
    """
    step, size, order = span.start, 1, None
    while step < span.stop:
        epoch, first = divmod(step, length)
        if order is None or first == 0:
            order = program.order_of(jnp.int32(epoch))
        window = first - first % every
        window_end = min(window + every, length)
        bounds = [jnp.int32(x) for x in (epoch, first, min(first + size, window_end))]
        began = time.perf_counter()
        carry, reached = program.run(carry, data, order, keys, *bounds)
        last = int(reached)
        seconds = time.perf_counter() - began
        _check_finite(carry.trace, epoch, first, last)
        metrics = None
        if last == window_end:
            trace = jax.device_get(carry.trace)
            metrics = {name: x[..., window:last].mean(axis=-1) for name, x in trace.items()}
        step += last - first
        size = max(LEAST_CHUNK, int((last - first) / max(seconds, 1e-6)))
        yield _Chunk(carry, step, metrics, seconds)


def _restore(
    folder: Path | None, carry: Carry, settings: checkpoint.Settings, num_steps: int
) -> tuple[Carry, int]:
    """The newest good checkpoint of the folder and its step, or the given carry and 0."""
    found = folder and checkpoint.restore(folder, carry, settings)
    if not found:
        return carry, 0
    if found.step > num_steps:
        raise CheckpointError(
            expected=f"a checkpoint of at most step {num_steps}, where this run ends",
            found=f"one of step {found.step} in {folder}",
            remedy="ask for more --epochs, or for another --out",
        )
    return jax.tree.map(jnp.asarray, found.tree), found.step


def fit(
    learner: Learner,
    images: UInt8[np.ndarray, "examples height width channels"],
    schedule: Schedule,
    seeds: Sequence[int],
    *,
    state: State = None,
    folder: Path | None = None,
    settings: checkpoint.Settings = MappingProxyType({}),
    on_start: Callable[[], None] = lambda: None,
    hook: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Result:
    """Trains a learner for whole epochs, from its beginning or from its newest checkpoint.

    Args:
        learner: what to train.
        images: the training set; it is copied to the device once.
        schedule: epochs, batch size, log interval, checkpoint interval.
        seeds: one seed, or several that are vmapped into one program. With several, every leaf of
            the state has a leading axis [num_seeds].
        state: where to start instead of `learner.init`, with that leading axis for several seeds.
        folder: where checkpoints are kept and looked for; None keeps none.
        settings: what shapes the numbers, as text; a checkpoint with other settings is refused.
        on_start: called once, when settings and checkpoint are found to fit, before any step.
        hook: called after every chunk, about a second of work, and before a checkpoint.
        should_stop: asked after every chunk; True saves the state and ends the run.

    Errors:
        SettingError: an impossible batch size.
        CheckpointError: no usable checkpoint among those there, or one of another configuration.
        NonFiniteError: a metric that is not finite, with its exact step; that state is not saved.
    """
    length = steps_in_epoch(len(images), schedule.batch_size)
    num_steps = schedule.num_epochs * length
    keys = root_keys(seeds)
    data = jax.device_put(images)
    carry = initial_carry(learner, keys, data[: schedule.batch_size], length, state)
    carry, first_step = _restore(folder, carry, settings, num_steps)
    on_start()
    if first_step == num_steps:
        return Result(carry.state, first_step, first_step, True, compile_s=0.0, train_s=0.0)
    program = _compile(learner, schedule.batch_size, carry, data, keys)
    span = range(first_step, num_steps)
    step, train_s, stopped, saved_at = first_step, 0.0, False, time.monotonic()
    for chunk in _chunks(program, carry, data, keys, span, length, schedule.log_every):
        carry, step = chunk.carry, chunk.step
        train_s += chunk.seconds
        hook(Progress(carry.state, step, first_step, length, num_steps, chunk.metrics, train_s))
        stopped = should_stop()
        due = time.monotonic() - saved_at > schedule.checkpoint_seconds
        if folder and (due or stopped or step == num_steps):
            checkpoint.save(folder, step, jax.device_get(carry), settings)
            saved_at = time.monotonic()
        if stopped:
            break
    finished = step == num_steps
    return Result(carry.state, step, first_step, finished, program.compile_s, train_s)
