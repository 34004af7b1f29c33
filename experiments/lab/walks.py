"""How images change along walks between codes, in words: evenly, in jumps, or not at all."""

import numpy as np

from jaxgen.report.page import number

STILL_PIXELS = 0.02
"""Images of pixels in [0, 1] hardly change if they move by less than this, root mean square."""


def evenness(images: np.ndarray) -> str:
    """The evenness of the steps between images of walks [walks, steps, H, W, C], in words."""
    flat = np.asarray(images, np.float64).reshape(*images.shape[:2], -1)
    steps = np.diff(flat, axis=1)
    moved = float(np.sqrt(np.mean(np.square(np.ptp(flat, axis=1)))))
    lengths = np.linalg.norm(steps, axis=-1)
    lengths = lengths[lengths.max(axis=1) > 0.0]
    if moved < STILL_PIXELS:
        return (
            f"The images hardly change along the walks: a pixel moves by {number(moved, 2)} of 1, "
            "root mean square."
        )
    jump, num = float(np.median(lengths.max(axis=1) / lengths.mean(axis=1))), steps.shape[1]
    found = "The walks change step by step" if jump < num / 3 else "The walks jump"
    return (
        f"{found}. The largest of the {num} steps in pixels is {number(jump, 2)} times the mean "
        f"one (median of the {len(lengths)} walks along which images change; 1 would be perfectly "
        f"even, {num} a single jump)."
    )
