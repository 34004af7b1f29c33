"""Independent truth in NumPy for Gaussian visible units: a grid over v, enumeration over h."""

import itertools

import numpy as np
from support import reference

Params = dict[str, np.ndarray]


def small_rbm(num_visible: int = 2, num_hidden: int = 3, seed: int = 1) -> Params:
    """An asymmetric RBM of Gaussian visible units, in float64."""
    rng = np.random.default_rng(seed + 100)
    return reference.small_rbm(num_visible, num_hidden, seed=seed) | {
        "pixel_mean": rng.uniform(0.3, 0.7, num_visible),
        "pixel_std": rng.uniform(0.1, 0.3, num_visible),
    }


def energy(params: Params, visible: np.ndarray, hidden: np.ndarray) -> float:
    """E(v, h) term by term."""
    total = 0.0
    for i, j in itertools.product(range(len(visible)), range(len(hidden))):
        total -= visible[i] * params["w"][i, j] * hidden[j]
    for i, centre in enumerate(params["b_visible"]):
        total += (visible[i] - centre) ** 2 / 2
    for j, bias in enumerate(params["b_hidden"]):
        total -= bias * hidden[j]
    return total


GRID = np.linspace(-14.0, 14.0, 141)
"""Of one visible unit; sums over it times its step are integrals to many digits."""


def points(num_visible: int = 2) -> np.ndarray:
    """All visible states of the grid [141^V, V]."""
    return np.stack(np.meshgrid(*[GRID] * num_visible, indexing="ij"), axis=-1).reshape(
        -1, num_visible
    )


def joint(params: Params) -> tuple[np.ndarray, float]:
    """p(v, h) at `points` times the volume of a cell [141^V, 2^H], and log Z by integration."""
    visible, hidden = points(len(params["w"])), reference.states(params["w"].shape[1])
    table = np.stack(
        [
            -((visible - params["b_visible"]) ** 2).sum(axis=1) / 2
            + visible @ params["w"] @ h
            + params["b_hidden"] @ h
            for h in hidden
        ],
        axis=1,
    )
    cell = (GRID[1] - GRID[0]) ** visible.shape[1]
    log_z = float(np.log(np.exp(table).sum() * cell))
    return np.exp(table - log_z) * cell, log_z


def labelled_rbm(num_classes: int = 3) -> Params:
    """`small_rbm` with label units."""
    return small_rbm() | reference.label_units(3, num_classes)


def labelled_joint(params: Params) -> tuple[np.ndarray, float]:
    """p(v, y, h) at `points` times the volume of a cell [141^V, C, 2^H], and log Z."""
    shifted = params["b_hidden"] + params["w_labels"]
    given = [joint(params | {"b_hidden": bias}) for bias in shifted]
    log_shares = params["b_labels"] + [log_z for _, log_z in given]
    log_z = float(np.logaddexp.reduce(log_shares))
    shares = np.exp(log_shares - log_z)
    tables = [share * table for share, (table, _) in zip(shares, given, strict=True)]
    return np.stack(tables, axis=1), log_z


def moments(params: Params) -> tuple[np.ndarray, np.ndarray]:
    """Mean [V] and covariance [V, V] of p(v), a mixture of 2^H Gaussians of unit variance.

    Component h has the mean a + Wh and the weight exp(b'h + (|a + Wh|^2 - |a|^2) / 2).
    """
    hidden = reference.states(params["w"].shape[1])
    means = params["b_visible"] + hidden @ params["w"].T
    log_weights = hidden @ params["b_hidden"] + (means**2).sum(axis=1) / 2
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    mean = weights @ means
    centred = means - mean
    return mean, np.eye(len(mean)) + (weights[:, None] * centred).T @ centred
