"""The training set as it reaches the devices: all of it once, or a window of steps at a time.

A set that does not fit beside the model stays on the host, perhaps in a memory map of a file. The
examples of the steps that come next, a window, are gathered in the order of their epoch and copied
to the devices while the window before trains (a double buffer). The steps are run by the program
that a resident set has: there row r of step s is row order[s B + r] of the set, and here it is row

    (s B + r) mod R + k R        of the window, for seed k and windows of R = B x steps examples,

so order, keys and bits are those of the resident set, and a run may stop and go on anywhere. Every
window has the same shape; the last one of an epoch is filled up with examples that no step takes.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import NamedSharding
from jaxtyping import Array, Int, Int32, UInt8

from jaxgen.images import release
from jaxgen.learner import Batch, RawImages
from jaxgen.training.epoch import memory, num_bytes
from jaxgen.training.sharding import place

SHARE = 0.25
"""Of the memory that the state leaves: the most that a resident set takes. The rest is for
gradients and activations, and of a CPU for the set on the host and for other programs."""
WINDOW_BYTES = 2**26
"""Of the images of a window; two windows are on the devices, and a third for a moment."""
LEAST_STEPS = 4
"""Of a window: a call of the program costs as much as a part of a step."""
ROWS = 256
"""Images read at a time; then the pages of a memory map are given back, which may be 2 MiB, a huge
page, for each of them."""


class Window(NamedTuple):
    """The input of the program for some steps of an epoch."""

    data: Batch
    """On the devices: the training set, or a window of it."""
    order: Int32[Array, "*seeds examples"]
    """The rows of `data` that the steps of the epoch take."""
    steps: range
    """Of the whole training."""


class Stream(NamedTuple):
    """A training set that stays on the host."""

    examples: Batch
    num_seeds: int
    batch_size: int
    """Examples of a step."""
    num_steps: int
    """Of a window."""

    @property
    def rows(self) -> int:
        """Examples of a window for each seed."""
        return self.num_steps * self.batch_size

    def like(self, whole: NamedSharding) -> Batch:
        """The shape of a window on the devices, for whoever compiles what takes one."""

        def shaped(array: np.ndarray) -> jax.ShapeDtypeStruct:
            shape = (self.num_seeds * self.rows, *array.shape[1:])
            return jax.ShapeDtypeStruct(shape, array.dtype, sharding=whole)

        window: Batch = jax.tree.map(shaped, self.examples)
        return window

    def in_turn(self) -> Int32[np.ndarray, "*seeds examples"]:
        """The rows of a window that the steps of an epoch take, in the place of an order."""
        rows = np.arange(len(self.examples.labels), dtype=np.int32) % self.rows
        own = self.rows * np.arange(self.num_seeds, dtype=np.int32)
        return rows if self.num_seeds == 1 else rows + own[:, None]

    def gathered(self, order: Int[np.ndarray, "*seeds examples"], first: int) -> Batch:
        """The window, on the host, whose first step is the step `first` of an epoch."""
        start = first * self.batch_size
        rows = np.atleast_2d(order)[:, start : start + self.rows]
        rows = np.pad(rows, ((0, 0), (0, self.rows - rows.shape[1]))).reshape(-1)
        return Batch(gather(self.examples.images, rows), self.examples.labels[rows])


def fits(examples: Batch, state: object, device: jax.Device | None = None) -> bool:
    """Whether a training set takes at most `SHARE` of the device's memory that the state leaves."""
    return num_bytes(examples) <= SHARE * (memory(device) - num_bytes(state))


def stream_of(examples: Batch, num_seeds: int, batch_size: int, length: int) -> Stream:
    """A training set in windows of about `WINDOW_BYTES`, for epochs of `length` steps."""
    step_bytes = num_seeds * batch_size * num_bytes(examples.images[:1])
    num_steps = min(max(WINDOW_BYTES // step_bytes, LEAST_STEPS), length)
    return Stream(examples, num_seeds, batch_size, num_steps)


def gather(
    images: RawImages, rows: Int[np.ndarray, " rows"]
) -> UInt8[np.ndarray, "rows height width channels"]:
    """Copies some images of an array; of a memory map, few of its pages are held at a time."""
    found = np.empty((len(rows), *images.shape[1:]), images.dtype)
    for start in range(0, len(rows), ROWS):
        found[start : start + ROWS] = images[rows[start : start + ROWS]]
        release(images)
    return found


def parts(span: range, length: int, num_steps: int) -> Iterator[range]:
    """Cuts the steps of a span where an epoch of `length` steps ends, or a window of one."""
    step = span.start
    while step < span.stop:
        first = step % length
        end = step - first + min(first - first % num_steps + num_steps, length)
        yield range(step, min(end, span.stop))
        step = end


def resident(
    data: Batch, order_of: Callable[[int], Array], span: range, length: int
) -> Iterator[Window]:
    """The whole set, on the devices, with the order of each epoch that a span of steps touches."""
    for steps in parts(span, length, length):
        yield Window(data, order_of(steps.start // length), steps)


def stream_windows(
    stream: Stream,
    order_of: Callable[[int], Array],
    span: range,
    length: int,
    whole: NamedSharding,
    by_seed: NamedSharding,
) -> Iterator[Window]:
    """The windows of a span of steps; a thread loads the next one while the caller has one.

    Errors of reading are raised where the window is asked for.
    """
    in_turn = place(stream.in_turn(), by_seed)

    @lru_cache(maxsize=1)
    def order_on_host(epoch: int) -> np.ndarray:
        return np.asarray(order_of(epoch))

    def load(steps: range) -> Window:
        epoch, first = divmod(steps.start, length)
        gathered = stream.gathered(order_on_host(epoch), first - first % stream.num_steps)
        return Window(place(gathered, whole), in_turn, steps)

    with ThreadPoolExecutor(1, "windows") as pool:
        coming = None
        for steps in parts(span, length, stream.num_steps):
            ready, coming = coming, pool.submit(load, steps)
            if ready:
                yield ready.result()
        if coming:
            yield coming.result()
