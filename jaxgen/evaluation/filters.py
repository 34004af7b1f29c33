"""Kinds of filters: what the weights of a layer's units look like on the images.

A weight moves its unit by w sd, sd the standard deviation of its pixel over the images; so weights
on pixels that never change count nothing. A filter u = w sd [H, W, C] has the energy
e = sum_c u^2 at each pixel. Its core are the pixels of most energy that together hold half of it.

- **dead**: the norm of u is below `DEAD` of the layer's 90th percentile. Or it is noise: a core as
  of a global filter, and |sum of u u' over neighbouring pixels| within three standard errors of
  independent weights.
- **global**: the core has more than `GLOBAL` of the pixels that independent weights would need.
- **several**: the core is in pieces, and none holds `ONE` of its energy. Pixels of one piece hang
  together, at sides or corners, by pixels of at least `LINK` of the core's least energy, so that
  an even stroke is one piece though its core is every other pixel of it.
- **stroke**, **blob**: one piece, long or compact. Its elongation is pi l^2 / (4 n), with l the
  largest distance of two of its n pixels plus 1: 1 for a disc, about L / W for L by W pixels. A
  stroke has `LONG` or more; a bent one has too.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxgen.errors import SettingError

Kind = Literal["stroke", "blob", "several", "global", "dead"]
KINDS: tuple[Kind, ...] = get_args(Kind)

DEAD = 0.1
GLOBAL = 0.5
ONE = 0.5
LINK = 0.5
LONG = 2.0
_DRAWS = 200
"""Filters of independent weights that the core of one is measured on."""


class Filters(NamedTuple):
    """The kind of each filter and what it follows from."""

    kinds: list[Kind]
    core: Int[np.ndarray, " num"]
    """Pixels that hold half of the energy."""
    core_of_noise: int
    """The same of independent weights, mean."""
    excites: Bool[np.ndarray, " num"]
    """Whether the weights of the core sum to more than 0: light there switches the unit on, and
    otherwise off."""


def core_sizes(energy: Float[np.ndarray, "num pixels"]) -> Int[np.ndarray, " num"]:
    """The least number of pixels that hold half of each filter's energy; 1 where there is none."""
    held = np.sort(energy, axis=1)[:, ::-1].cumsum(axis=1)
    sizes: np.ndarray = (held < held[:, -1:] / 2).sum(axis=1) + 1
    return sizes


def elongation(piece: Bool[np.ndarray, "height width"]) -> float:
    """Length squared over area: pi l^2 / (4 n) of a piece of n pixels, see above."""
    from scipy.spatial.distance import pdist  # a command starts sooner without it

    places = np.argwhere(piece)
    longest = float(pdist(places).max(initial=0.0)) + 1.0
    return float(np.pi * longest**2 / (4 * len(places)))


def classify(
    filters: Float[np.ndarray, "num height width channels"],
    pixel_std: Float[np.ndarray, "height width channels"],
) -> Filters:
    """The kinds of a layer's filters; how large one is, is relative to the layer's largest ones.

    Errors:
        SettingError: they are no finite filters [num, H, W, C], or there are none.
    """
    filters = np.asarray(filters, np.float64)
    if filters.ndim != 4 or not filters.size or not np.isfinite(filters).all():
        raise SettingError(
            expected="one finite filter or more, [num, height, width, channels]",
            found=f"{filters.dtype} {[*filters.shape]}",
            remedy="look at the weights",
        )
    std = np.broadcast_to(np.asarray(pixel_std, np.float64), filters.shape[1:])
    used, num = filters * std, len(filters)
    energy = np.square(used).sum(axis=3).reshape(num, -1)
    draws = np.random.default_rng(0).normal(size=(_DRAWS, *std.shape)) * std
    noise = np.square(draws).sum(axis=3).reshape(_DRAWS, -1)
    core, core_of_noise = core_sizes(energy), round(float(core_sizes(noise).mean()))
    norms, everywhere = np.sqrt(energy.sum(axis=1)), core > GLOBAL * core_of_noise
    dead = (norms <= DEAD * np.quantile(norms, 0.9)) | (everywhere & _is_noise(used, std))
    kinds: list[Kind] = []
    excites = np.zeros(num, bool)
    for i in range(num):
        mask = np.zeros(energy.shape[1], bool)
        mask[np.argsort(-energy[i], kind="stable")[: core[i]]] = True
        excites[i] = used[i].sum(axis=2).ravel()[mask].sum() > 0
        if dead[i] or everywhere[i]:
            kinds.append("dead" if dead[i] else "global")
        else:
            shape = std.shape[:2]
            kinds.append(_kind_of_core(energy[i].reshape(shape), mask.reshape(shape)))
    return Filters(kinds, core, core_of_noise, excites)


def _is_noise(
    used: Float[np.ndarray, "num height width channels"],
    std: Float[np.ndarray, "height width channels"],
) -> Bool[np.ndarray, " num"]:
    """Whether neighbours have no more in common than independent weights, at 3 standard errors.

    With u = w sd and independent w of variance s^2 the sum of u u' over pairs of neighbours has the
    variance s^4 sum sd^2 sd'^2, and s^2 is estimated by sum u^2 / sum sd^2.
    """
    common, variance = np.zeros(len(used)), 0.0
    for axis in (1, 2):
        first = [slice(None)] * 4
        second = [slice(None)] * 4
        first[axis], second[axis] = slice(1, None), slice(None, -1)
        common += (used[tuple(first)] * used[tuple(second)]).sum(axis=(1, 2, 3))
        variance += np.square(std[tuple(first[1:])] * std[tuple(second[1:])]).sum()
    size = np.square(used).sum(axis=(1, 2, 3)) / max(np.square(std).sum(), 1e-300)
    found: np.ndarray = np.abs(common) <= 3.0 * size * np.sqrt(variance)
    return found


def _kind_of_core(energy: np.ndarray, core: np.ndarray) -> Kind:
    """The kind of a filter whose core is small."""
    from scipy.ndimage import label  # a command starts sooner without it

    pieces, num = label(energy >= LINK * energy[core].min(), np.ones((3, 3)))
    held = np.bincount(pieces[core], energy[core], num + 1)
    if held.max() < ONE * held.sum():
        return "several"
    return "stroke" if elongation(pieces == held.argmax()) >= LONG else "blob"
