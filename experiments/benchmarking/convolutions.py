"""How fast the DCGAN's halving convolutions are by direction and algorithm, and which is taken.

    python -m experiments.benchmarking.convolutions --markdown docs/results/convolutions.md

A quarter of an hour on two cores, most of it for native kernel gradients. The operations are those
of the convolution as it is defined. The algorithm `dense`, for kernels as large as the image,
applies to none of these layers.
"""

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

from experiments.benchmarking import machine
from experiments.benchmarking.baseline import time_call
from experiments.benchmarking.flops import product
from experiments.benchmarking.measure import matmul_peak, peak_size
from experiments.running.cli import exit_code, parse_flags
from experiments.running.console import show
from experiments.running.places import require_two_files
from jaxgen.errors import MAX_SIZE, require, require_positive
from jaxgen.files import write_atomically, write_json
from jaxgen.nn import conv_winograd
from jaxgen.nn.conv import ALGORITHMS, choose_algorithm
from jaxgen.nn.conv_spec import ConvAlgorithm, ConvSpec
from jaxgen.report.page import Table, markdown, number
from jaxgen.runs import manifest as run_manifest
from jaxgen.training.loop import LEAST_CHUNK

LAYERS = ((64, 1, 64), (32, 64, 128), (16, 128, 256), (8, 256, 512))
"""Size of x, its channels, and those of y, of the lab's four halving layers."""
DIRECTIONS = ("forward", "input_gradient", "kernel_gradient")
MEASURED = ("native", "im2col", "winograd")
"""Algorithms that apply to these layers."""
REPEATED = LEAST_CHUNK
"""Convolutions in one program, as many as a call of a training has updates."""
SLOW_S = 3.0
"""Seconds of a call that is not repeated."""


@dataclass(frozen=True)
class Args:
    """Measure the algorithms of a convolution on the layers of the lab's DCGAN."""

    batch_size: int = 128
    """Images at a time."""
    width: tuple[float, ...] = (0.25, 0.5, 1.0)
    """Factors on all channels but the images' own."""
    precision: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")
    """Precisions of the images, and of the factors of the products."""
    repeats: int = 7
    """Calls timed; the median counts."""
    json: Path | None = None
    """File for the rows."""
    markdown: Path | None = None
    """File for the rows as tables, with the machine and the versions."""

    def __post_init__(self) -> None:
        require_positive(self, "batch_size", "repeats")
        for name in ("width", "precision"):
            require(self, name, len(getattr(self, name)) > 0, "of one or more")
        widest = max(LAYERS[-1][1:])
        holds = all(each > 0 and each * widest <= MAX_SIZE for each in self.width)
        wanted = f"above 0, and of at most {MAX_SIZE:,} channels in a layer"
        require(self, "width", holds, wanted)


def in_direction(
    direction: str, chosen: ConvAlgorithm, spec: ConvSpec, x: Array, kernel: Array, dy: Array
) -> Array:
    """One of the three maps."""
    if direction == "forward":
        return chosen.forward(x, kernel, spec)
    if direction == "input_gradient":
        return chosen.input_gradient(dy, kernel, spec, (x.shape[1], x.shape[2]))
    return chosen.kernel_gradient(x, dy, spec)


def repeated(function: Callable[..., Array]) -> Callable[..., Array]:
    """`function` of arrays, `REPEATED` times in turn.

    A program takes its memory from the system when it is called, and a training's call has several
    updates, so a call of one convolution would count what an update does not pay. The first value
    of each result becomes that of all arrays, in place, so that no result is known before its turn.
    """

    def run(*arrays: Array) -> Array:
        def again(_: Array, carry: tuple[tuple[Array, ...], Array]) -> tuple[Any, Array]:
            arrays, last = carry
            first = last.ravel()[0]
            arrays = tuple(x.at[(0,) * x.ndim].set(first.astype(x.dtype)) for x in arrays)
            return arrays, function(*arrays)

        result = jax.eval_shape(function, *arrays)
        begin = arrays, jnp.ones(result.shape, result.dtype)
        done: Array = lax.fori_loop(0, REPEATED, again, begin)[1]
        return done

    return run


def median_seconds(function: Callable[..., Array], arrays: Sequence[Array], repeats: int) -> float:
    """Median seconds of the function, compiled; of a slow one, of its first call alone."""
    run = jax.jit(repeated(function)).lower(*arrays).compile()
    first = time_call(lambda: run(*arrays).block_until_ready())
    if first > SLOW_S:
        return first / REPEATED
    times = [time_call(lambda: run(*arrays).block_until_ready()) for _ in range(repeats)]
    return statistics.median(times) / REPEATED


def measure_layer(
    args: Args, precision: str, size: int, inputs: int, outputs: int
) -> Iterator[dict[str, Any]]:
    """One row for each direction and algorithm that applies to the layer."""
    spec = ConvSpec((4, 4), stride=2, padding=1, dtype=precision)
    shapes = (
        (args.batch_size, size, size, inputs),
        (4, 4, inputs, outputs),
        (args.batch_size, size // 2, size // 2, outputs),
    )
    arrays = [
        jax.random.normal(jax.random.key(i), shape).astype(dtype)
        for i, (shape, dtype) in enumerate(
            zip(shapes, (precision, "float32", precision), strict=True)
        )
    ]
    operations = product(args.batch_size * (size // 2) ** 2, 16 * inputs, outputs)
    chosen = choose_algorithm(spec, (size, size), inputs)
    for direction in DIRECTIONS:
        times: dict[Callable[..., Array], float] = {}
        for name in MEASURED:
            if name == "winograd" and not conv_winograd.applies(spec, (size, size)):
                continue
            own = getattr(ALGORITHMS[name], direction)
            if own not in times:  # im2col's input gradient is native's
                function = partial(in_direction, direction, ALGORITHMS[name], spec)
                times[own] = median_seconds(function, arrays, args.repeats)
            seconds = times[own]
            yield {
                "precision": precision,
                "layer": f"{size}x{size}x{inputs} to {outputs}",
                "direction": direction,
                "algorithm": name,
                "chosen": name == chosen,
                "ms": 1e3 * seconds,
                "gflops_per_s": operations / seconds / 1e9,
            }


def measure_all(args: Args) -> Iterator[dict[str, Any]]:
    """The rows of every precision, width and layer."""
    for precision in args.precision:
        for width in args.width:
            for size, inputs, outputs in LAYERS:
                inputs = inputs if inputs == 1 else max(1, round(inputs * width))
                yield from measure_layer(
                    args, precision, size, inputs, max(1, round(outputs * width))
                )


def by_algorithm(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Milliseconds of each algorithm, summed over the rows' directions."""
    return {
        name: sum(row["ms"] for row in rows if row["algorithm"] == name)
        for name in dict.fromkeys(row["algorithm"] for row in rows)
    }


def cells_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Milliseconds of each algorithm, the fastest with a star, and of that taken over its."""
    times = by_algorithm(rows)
    fastest = min(times.values())
    (taken,) = {row["algorithm"] for row in rows if row["chosen"]}
    shown = [
        ("★ " if times.get(name) == fastest else "") + number(times[name], 3)
        if name in times
        else ""
        for name in MEASURED
    ]
    return [*shown, taken, number(times[taken] / fastest, 3)]


def tables(rows: list[dict[str, Any]]) -> str:
    """For each precision, the layers' sums over the directions and then each direction."""
    columns = ["layer", *(f"{name} ms" for name in MEASURED), "taken", "of the fastest"]
    text = ""
    for precision, found in groupby(rows, key=lambda row: row["precision"]):
        layers = [list(each) for _, each in groupby(found, key=lambda row: row["layer"])]
        sums = [[each[0]["layer"], *cells_of(each)] for each in layers]
        single = []
        for each in layers:
            for direction, some in groupby(each, key=lambda row: row["direction"]):
                same = list(some)
                speed = next(row["gflops_per_s"] for row in same if row["chosen"])
                names = [same[0]["layer"], direction.replace("_", " ")]
                single.append([*names, *cells_of(same), number(speed, 3)])
        text += f"## {precision}, the three directions together\n\n"
        text += markdown(Table(columns, sums)) + "\n"
        text += f"## {precision}, each direction\n\n"
        wider = [columns[0], "direction", *columns[1:], "GFLOP/s"]
        text += markdown(Table(wider, single)) + "\n"
    return text.rstrip() + "\n"


def page(args: Args, rows: list[dict[str, Any]]) -> str:
    """The rows as markdown, with where and how they were measured."""
    found = machine.environment()
    return (
        f"# Convolutions\n\nGenerated by `{run_manifest.command()}`.\n\n"
        f"{found['processor']}, {run_manifest.num_cores()} cores, {found['device']}; jax "
        f"{found['packages']['jax']}. Kernels of 4x4, stride 2, padding 1, batch "
        f"{args.batch_size}: the layers of the lab's DCGAN at the widths "
        f"{', '.join(map(str, args.width))}, each as image and channels to channels. Medians of "
        f"{args.repeats} calls of {REPEATED} convolutions each, per convolution; a call of more "
        f"than {SLOW_S:g} s is made once. A float32 product of size {peak_size()} reaches "
        f"{number(matmul_peak() / 1e9, 3)} GFLOP/s.\n\n"
        "★ marks the fastest. `taken` is the algorithm that a CPU takes, one for all directions, "
        "and the next column its time over that of the fastest; an accelerator always takes the "
        "native one. GFLOP/s is of the one taken and counts the convolution as it is defined. "
        "`im2col` has no input gradient of its own and takes the native one.\n\n" + tables(rows)
    )


def main(args: Args) -> None:
    """Measures, prints and keeps what was asked for."""
    require_two_files(args.json, args.markdown)
    rows = list(measure_all(args))
    text = page(args, rows)
    show(text.rstrip())
    if args.json:
        write_json(args.json, rows)
    if args.markdown:
        write_atomically(args.markdown, text.encode())


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(parse_flags(Args))))
