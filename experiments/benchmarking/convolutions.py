"""How fast the DCGAN's halving convolutions are by direction and algorithm, and which is taken.

    python -m experiments.benchmarking.convolutions --markdown docs/results/convolutions.md

About a minute on two cores. The operations are those of the convolution as it is defined. The
algorithm `dense`, for kernels as large as the image, applies to none of these layers.
"""

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
from jaxtyping import Array

from experiments.benchmarking.baseline import time_call
from experiments.benchmarking.flops import product
from experiments.benchmarking.measure import matmul_peak, peak_size
from experiments.running.cli import exit_code, parse_flags
from experiments.running.console import show
from jaxgen.errors import require_above_zero, require_positive
from jaxgen.files import write_atomically, write_json
from jaxgen.nn import conv_winograd
from jaxgen.nn.conv import ALGORITHMS, choose_algorithm
from jaxgen.nn.conv_spec import ConvAlgorithm, ConvSpec
from jaxgen.report.page import Table, markdown, number
from jaxgen.runs import manifest as run_manifest

LAYERS = ((64, 1, 64), (32, 64, 128), (16, 128, 256), (8, 256, 512))
"""Size of x, its channels, and those of y, of the lab's four halving layers."""
DIRECTIONS = ("forward", "input_gradient", "kernel_gradient")


@dataclass(frozen=True)
class Args:
    """Measure the algorithms of a convolution on the layers of the lab's DCGAN."""

    batch_size: int = 128
    """Images at a time."""
    width: float = 1.0
    """Factor on all channels but the images' own."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the images, and of the factors of the products."""
    repeats: int = 7
    """Calls timed; the median counts."""
    json: Path | None = None
    """File for the rows."""
    markdown: Path | None = None
    """File for the rows as a table, with the machine and the versions."""

    def __post_init__(self) -> None:
        require_positive(self, "batch_size", "repeats")
        require_above_zero(self, "width")


def in_direction(
    direction: str, chosen: ConvAlgorithm, spec: ConvSpec, x: Array, kernel: Array, dy: Array
) -> Array:
    """One of the three maps."""
    if direction == "forward":
        return chosen.forward(x, kernel, spec)
    if direction == "input_gradient":
        return chosen.input_gradient(dy, kernel, spec, (x.shape[1], x.shape[2]))
    return chosen.kernel_gradient(x, dy, spec)


def median_seconds(function: Callable[..., Array], arrays: Sequence[Array], repeats: int) -> float:
    """Median seconds of a call of the compiled function, after one that warms up."""
    run = jax.jit(function)
    times = [time_call(lambda: run(*arrays).block_until_ready()) for _ in range(repeats + 2)]
    return statistics.median(times[2:])


def measure_all(args: Args) -> Iterator[dict[str, Any]]:
    """One row for each layer, direction and algorithm that applies."""
    spec = ConvSpec((4, 4), stride=2, padding=1, dtype=args.precision)
    for size, inputs, outputs in LAYERS:
        inputs = inputs if inputs == 1 else max(1, round(inputs * args.width))
        outputs = max(1, round(outputs * args.width))
        shapes = (
            (args.batch_size, size, size, inputs),
            (4, 4, inputs, outputs),
            (args.batch_size, size // 2, size // 2, outputs),
        )
        dtypes = (args.precision, "float32", args.precision)
        arrays = [
            jax.random.normal(jax.random.key(i), shape).astype(dtype)
            for i, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True))
        ]
        operations = product(args.batch_size * (size // 2) ** 2, 16 * inputs, outputs)
        for direction in DIRECTIONS:
            for name in ("native", "im2col", "winograd"):
                if name == "winograd" and not conv_winograd.applies(spec, (size, size)):
                    continue
                function = partial(in_direction, direction, ALGORITHMS[name], spec)
                seconds = median_seconds(function, arrays, args.repeats)
                yield {
                    "layer": f"{size}x{size}x{inputs} -> {outputs}",
                    "direction": direction,
                    "algorithm": name,
                    "chosen": name == choose_algorithm(spec, (size, size), inputs),
                    "ms": 1e3 * seconds,
                    "gflops_per_s": operations / seconds / 1e9,
                }


def page(args: Args, rows: list[dict[str, Any]]) -> str:
    """The rows as markdown, with where and how they were measured."""
    cells = [
        [
            row["layer"],
            row["direction"].replace("_", " "),
            row["algorithm"] + (" (CPU)" if row["chosen"] else ""),
            number(row["ms"], 3),
            number(row["gflops_per_s"], 3),
        ]
        for row in rows
    ]
    found = run_manifest.environment()
    return (
        f"# Convolutions\n\nGenerated by `{run_manifest.command()}`.\n\n"
        f"{found['processor']}, {run_manifest.num_cores()} cores, {found['device']}; jax "
        f"{found['packages']['jax']}. k4 s2 p1, batch {args.batch_size}, {args.precision}; medians "
        f"of {args.repeats} calls. GFLOP/s counts the convolution as it is defined; a float32 "
        f"product of size {peak_size()} reaches {number(matmul_peak() / 1e9, 3)}. The one that is "
        "taken on the CPU is marked; on accelerators it is always the native one. `im2col` has no "
        "input gradient of its own and takes the native one.\n\n"
        + markdown(Table(["layer", "direction", "algorithm", "ms", "GFLOP/s"], cells))
    )


def main(args: Args) -> None:
    """Measures, prints and keeps what was asked for."""
    rows = list(measure_all(args))
    text = page(args, rows)
    show(text)
    if args.json:
        write_json(args.json, rows)
    if args.markdown:
        write_atomically(args.markdown, text.encode())


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(parse_flags(Args))))
