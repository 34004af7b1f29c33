"""The largest batch that a device holds."""

import logging
from typing import Any

import jax
import numpy as np

from experiments.benchmarking.cases import Case, Patience, with_values
from experiments.benchmarking.make_images import repeat
from experiments.benchmarking.measure import measure
from jaxgen.errors import OutOfMemoryError, is_out_of_memory

logger = logging.getLogger("jaxgen")

FULL = 0.95
"""Share of the device's memory that a first guess fills."""
LESS = 0.85
"""Factor of a batch that did not fit."""
UNLIMITED = 4
"""Times the preset's batch, the largest one tried on a device that does not say its memory."""


def limit() -> int | None:
    """Bytes that JAX may take of the device; None where it does not say."""
    found: int | None = (jax.devices()[0].memory_stats() or {}).get("bytes_limit")
    return found


def largest_batch(case: Case, images: np.ndarray, patience: Patience) -> dict[str, Any]:
    """The row of the largest batch that the device trains, in multiples of the preset's.

    Memory, which the compiler counts, is taken as a line in the batch, through the preset's and
    four times it; the batch that fills the device by that line is tried, and smaller ones until one
    fits. With `tried`, each batch and whether it fitted.
    """
    unit = case.args.batch_size
    tried: list[tuple[int, bool]] = []

    def attempt(batch_size: int) -> dict[str, Any] | None:
        changed_case = with_values(case, batch_size)
        num = changed_case.images_per_step(images.shape[1:])
        try:
            row = measure(changed_case, repeat(images, range(2 * num)), patience)
        except (jax.errors.JaxRuntimeError, MemoryError, OutOfMemoryError) as error:
            if not is_out_of_memory(error):
                raise
            row = None
        tried.append((batch_size, row is not None))
        logger.info("%s, batch %d: %s", case.name, batch_size, "fits" if row else "too large")
        return row

    most, rows = limit(), [attempt(unit), attempt(UNLIMITED * unit)]
    taken = [row["step_bytes"] for row in rows if row]
    if most is not None and len(taken) == 2 and all(taken):
        batch_size = filling(most, unit, *taken)
        while batch_size > UNLIMITED * unit and not patience.over:
            if row := attempt(batch_size):
                rows.append(row)
                break
            batch_size = int(LESS * batch_size) // unit * unit
    fitted = [row for row in rows if row]
    if not fitted:
        raise MemoryError(f"not even a batch of {unit}")
    return fitted[-1] | {"tried": tried, "limit_bytes": most}


def filling(most: int, unit: int, few: int, many: int) -> int:
    """The batch that fills so much memory, if `unit` takes `few` and four of it take `many`."""
    each = max(1, many - few) / (UNLIMITED - 1)
    return unit * max(1, int(1 + (FULL * most - few) / each))
