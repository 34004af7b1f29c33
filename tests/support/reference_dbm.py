"""Slow, independent truth in NumPy for a deep Boltzmann machine, in float64."""

import numpy as np
from scipy.special import logsumexp
from support import reference

Params = dict[str, np.ndarray]


def machine(num_visible: int = 5, first: int = 4, second: int = 3, seed: int = 1) -> Params:
    """An asymmetric machine small enough to enumerate."""
    rng = np.random.default_rng(seed)
    return {
        "w1": rng.normal(0.0, 0.9, (num_visible, first)),
        "w2": rng.normal(0.0, 0.9, (first, second)),
        "b_visible": rng.normal(0.0, 0.7, num_visible),
        "b_hidden1": rng.normal(-0.4, 0.7, first),
        "b_hidden2": rng.normal(0.3, 0.7, second),
    }


def decoupled(params: Params) -> Params:
    """The machine whose h2 is independent of all else: its posterior is that of mean field."""
    return params | {"w2": np.zeros_like(params["w2"])}


def exponents(params: Params) -> np.ndarray:
    """-E(v, h1, h2) of all states [2^V, 2^H1, 2^H2], term by term."""
    v, h1, h2 = (reference.states(len(params[f"b_{x}"])) for x in ("visible", "hidden1", "hidden2"))
    below = np.einsum("vi,ij,hj->vh", v, params["w1"], h1)
    above = np.einsum("hj,jk,gk->hg", h1, params["w2"], h2)
    lines = [v @ params["b_visible"], h1 @ params["b_hidden1"], h2 @ params["b_hidden2"]]
    first = below[:, :, None] + above + lines[0][:, None, None]
    total: np.ndarray = first + lines[1][:, None] + lines[2]
    return total


def log_z(params: Params) -> float:
    return float(logsumexp(exponents(params)))


def log_likelihoods(params: Params) -> np.ndarray:
    """Log p(v) of all visible states."""
    found: np.ndarray = logsumexp(exponents(params), axis=(1, 2)) - log_z(params)
    return found


def bounds(params: Params, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """E_q[-E] + H(q) - log Z of all visible states, for their mu1 [2^V, H1] and mu2 [2^V, H2]."""

    def probs(mean: np.ndarray) -> np.ndarray:
        bits, on = reference.states(mean.shape[1]), mean[:, None, :]
        product: np.ndarray = np.prod(bits * on + (1 - bits) * (1 - on), axis=-1)
        return product

    q = probs(first)[:, :, None] * probs(second)[:, None, :]
    found: np.ndarray = (q * (exponents(params) - np.log(q))).sum(axis=(1, 2)) - log_z(params)
    return found


def gradient(function, params: Params, step: float = 1e-5) -> Params:
    """Central differences of a function of the parameters."""
    found = {name: np.zeros_like(value) for name, value in params.items()}
    for name, value in params.items():
        for place in np.ndindex(value.shape):
            ends = []
            for sign in (1, -1):
                moved = value.copy()
                moved[place] += sign * step
                ends.append(function(params | {name: moved}))
            found[name][place] = (ends[0] - ends[1]) / (2 * step)
    return found


def in_proportion(states: np.ndarray, probs: np.ndarray, num: int = 1 << 16) -> np.ndarray:
    """About `num` rows, each state as often as it is probable."""
    return np.repeat(states, np.round(num * probs.ravel()).astype(int), axis=0)
