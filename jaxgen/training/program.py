"""A training program on its devices: what lies there before a step, and what runs the steps."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array

from jaxgen.errors import SettingError, is_whole
from jaxgen.jitted import jitted
from jaxgen.learner import Batch, Learner, State
from jaxgen.training.epoch import (
    Carry,
    Keys,
    epoch_order,
    initial_carry,
    initial_state,
    over_seeds,
    require_memory,
    root_keys,
    run_steps,
    run_steps_in_turn,
)
from jaxgen.training.sharding import Layout, layout, place, sharing_batches
from jaxgen.training.windows import Stream, Window, fits, resident, stream_of, stream_windows

WIDE_VECTORS: dict[str, str | bool] = {"xla_cpu_prefer_vector_width": "512"}
"""Compiler options of a CPU's program whose learner has `wide_vectors`. XLA's own width is 256
bits; a processor without 512 is compiled for as before."""


class Arrays(NamedTuple):
    """The arrays on the devices of a program, and how they lie there."""

    carry: Carry
    data: Batch
    """The training set; where it is streamed, the shapes of a window."""
    keys: Keys
    placed: Layout
    trace_s: float
    """Seconds for tracing the learner's step."""
    stream: Stream | None = None
    """The training set on the host; None where all of it is on the devices."""

    @property
    def by_seed(self) -> NamedSharding:
        """Where the carry lies: spread over its seeds where there are several."""
        return self.placed.by_seed if self.keys.ndim else self.placed.whole

    @property
    def num_examples(self) -> int:
        """Of the training set."""
        return len((self.stream.examples if self.stream else self.data).labels)

    def windows(
        self, order_of: Callable[[Keys, np.int32], Array], span: range, length: int
    ) -> Iterator[Window]:
        """The windows for a span of steps, in epochs of `length`; one set or many."""

        def order(epoch: int) -> Array:
            return order_of(self.keys, np.int32(epoch))

        if self.stream is None:
            return resident(self.data, order, span, length)
        return stream_windows(self.stream, order, span, length, self.placed.whole, self.by_seed)

    def begun_at(self, carry: Carry) -> "Arrays":
        """The same with another carry, the first process's where there are several."""
        return self._replace(carry=place(self.placed.broadcast_from_host0(carry), self.by_seed))


def steps_in_epoch(num_examples: int, batch_size: int, num_batches: int = 1) -> int:
    """Steps of an epoch, each of `num_batches` whole batches of its own.

    The examples left over differ from epoch to epoch.

    Errors:
        SettingError: the batch is empty, or the batches of a step are larger than the data set.

    Example:
        >>> jaxgen.training.steps_in_epoch(1500, batch_size=100)
        15
    """
    if not is_whole(batch_size, 1, num_examples // num_batches):
        if num_batches > num_examples:
            raise SettingError(
                expected=f"{num_batches} training examples or more, as a step takes {num_batches} "
                "batches",
                found=str(num_examples),
                remedy="take fewer batches a step (--d-steps)",
            )
        most = f"the {num_examples} training examples"
        if num_batches > 1:
            most = f"{num_examples // num_batches}, as a step takes {num_batches} batches of {most}"
        raise SettingError(
            expected=f"a batch size from 1 to {most}",
            found=str(batch_size),
            remedy="set a smaller batch size (--batch-size)",
        )
    return num_examples // (int(batch_size) * num_batches)


def begin(
    learner: Learner,
    data: Batch,
    batch_size: int,
    seeds: Sequence[int],
    state: State = None,
    devices: Sequence[jax.Device] = (),
    stream: bool = False,
) -> Arrays:
    """The arrays before the first step; the arguments are those of `jaxgen.training.fit`."""
    length = steps_in_epoch(len(data.images), batch_size, learner.num_batches)
    batch_size *= learner.num_batches
    placed = layout(devices or jax.devices()[:1], len(seeds), batch_size)
    keys = root_keys(seeds)
    by_seed = placed.by_seed if keys.ndim else placed.whole
    state = place(placed.broadcast_from_host0(initial_state(learner, keys, state)), by_seed)
    windows = None
    if placed.any_process(stream or not fits(data, state, placed.mesh.local_devices[0])):
        windows = stream_of(data, len(seeds), batch_size, length)
    data = windows.like(placed.whole) if windows else place(data, placed.whole)
    keys = place(keys, by_seed)
    began = time.perf_counter()
    with jax.set_mesh(placed.mesh):
        carry = initial_carry(learner, keys, data, batch_size, length, state)
    trace_s = time.perf_counter() - began
    carry = carry._replace(trace=place(carry.trace, by_seed))
    return Arrays(carry, data, keys, placed, trace_s, windows)


class Program(NamedTuple):
    """The compiled functions of a run, and what making them took."""

    order_of: Callable[[Keys, np.int32], Array]
    """``(keys, epoch) -> order``, see `jaxgen.training.epoch.epoch_order`."""
    run: Callable[..., tuple[Carry, Array]]
    """``(carry, data, order, keys, epoch, start, stop)``, see `jaxgen.training.epoch.run_steps`."""
    trace_s: float
    """Seconds for tracing the functions and lowering them to what the compiler reads."""
    compile_s: float
    """Seconds for compiling that."""
    step_bytes: int
    """The most that the steps hold on each device; 0 where not known."""


def _order(num_examples: int, keys: Keys, epoch: Array) -> Array:
    """The order of an epoch for every seed."""
    order: Array = over_seeds(lambda key: epoch_order(key, epoch, num_examples), keys)(keys)
    return order


def compile_program(learner: Learner, batch_size: int, arrays: Arrays) -> Program:
    """Compiles the order of an epoch and the steps of an epoch, ahead of their first call.

    Errors:
        OutOfMemoryError: the steps take more than all of the memory.
    """
    began = time.perf_counter() - arrays.trace_s
    carry, data, keys, placed, *_ = arrays
    zero = np.int32(0)

    order_of = jitted(partial(_order, arrays.num_examples), out_shardings=arrays.by_seed)
    lowered_order = order_of.lower(keys, zero)
    in_turn = keys.ndim and placed.a_cpu_has_all_seeds
    run = jitted(
        partial(
            run_steps_in_turn if in_turn else run_steps,
            sharing_batches(learner, placed),
            batch_size * learner.num_batches,
        ),
        donate_argnums=0,
        out_shardings=(arrays.by_seed, placed.whole),
    )
    with jax.set_mesh(placed.mesh):
        lowered_run = run.lower(carry, data, lowered_order.out_info, keys, zero, zero, zero)
    traced = time.perf_counter()
    wide = learner.wide_vectors and placed.mesh.devices.flat[0].platform == "cpu"
    functions = lowered_order.compile(), lowered_run.compile(WIDE_VECTORS if wide else None)
    compiled = time.perf_counter()
    step_bytes = _memory_of(functions[1])
    require_memory(
        step_bytes,
        "a step",
        "take smaller batches, images or layers, fewer samples, or fewer seeds",
        placed.mesh.local_devices[0],
    )
    return Program(*functions, traced - began, compiled - traced, step_bytes)


def _memory_of(program: jax.stages.Compiled) -> int:
    """Bytes that a compiled program holds at most on each device; 0 where not known."""
    found = program.memory_analysis()
    if found is None:
        return 0
    held = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    return int(held - found.alias_size_in_bytes)
