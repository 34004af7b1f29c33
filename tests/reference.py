"""Slow, independent truth in NumPy: enumeration over all states, one example at a time."""

import itertools

import numpy as np

Params = dict[str, np.ndarray]


def small_rbm(
    num_visible: int = 5, num_hidden: int = 4, scale: float = 0.8, seed: int = 1
) -> Params:
    """An asymmetric RBM small enough to enumerate, in float64."""
    rng = np.random.default_rng(seed)
    return {
        "w": rng.normal(0.0, scale, (num_visible, num_hidden)),
        "b_visible": rng.normal(0.0, scale, num_visible),
        "b_hidden": rng.normal(-0.3, scale, num_hidden),
    }


def states(num_units: int) -> np.ndarray:
    """All binary states [2^n, n]."""
    return np.array(list(itertools.product([0.0, 1.0], repeat=num_units)))


def energy(params: Params, visible: np.ndarray, hidden: np.ndarray) -> float:
    """E(v, h) term by term."""
    total = 0.0
    for i, j in itertools.product(range(len(visible)), range(len(hidden))):
        total -= visible[i] * params["w"][i, j] * hidden[j]
    for i, bias in enumerate(params["b_visible"]):
        total -= bias * visible[i]
    for j, bias in enumerate(params["b_hidden"]):
        total -= bias * hidden[j]
    return total


def joint(params: Params) -> tuple[np.ndarray, float]:
    """p(v, h) as a table [2^V, 2^H] over `states`, and log Z."""
    num_visible, num_hidden = params["w"].shape
    table = np.array(
        [[-energy(params, v, h) for h in states(num_hidden)] for v in states(num_visible)]
    )
    log_z = float(np.log(np.exp(table).sum()))
    return np.exp(table - log_z), log_z


def log_likelihood_gradient(params: Params, data: np.ndarray) -> Params:
    """Exact gradient of mean log p(v) over the rows of `data`: <.>_data - <.>_model."""
    table, _ = joint(params)
    all_visible, all_hidden = states(params["w"].shape[0]), states(params["w"].shape[1])
    conditional = table / table.sum(axis=1, keepdims=True)
    rows = [int("".join(str(int(x)) for x in v), 2) for v in data]
    weights = np.zeros(len(all_visible))
    np.add.at(weights, rows, 1.0 / len(data))
    data_table = weights[:, None] * conditional
    difference = data_table - table
    return {
        "w": all_visible.T @ difference @ all_hidden,
        "b_visible": all_visible.T @ difference.sum(axis=1),
        "b_hidden": all_hidden.T @ difference.sum(axis=0),
    }


def gibbs_kernel(params: Params) -> np.ndarray:
    """Transition matrix [2^V, 2^V] of one step v -> h -> v'."""
    table, _ = joint(params)
    hidden_given_visible = table / table.sum(axis=1, keepdims=True)
    visible_given_hidden = table / table.sum(axis=0, keepdims=True)
    return hidden_given_visible @ visible_given_hidden.T
