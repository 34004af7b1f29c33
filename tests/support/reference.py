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


def labelled_rbm(
    num_visible: int = 4, num_hidden: int = 3, num_classes: int = 3, seed: int = 13
) -> Params:
    """`small_rbm` with label units, whose classes mix slowly and are not alike in probability."""
    return small_rbm(num_visible, num_hidden, seed=seed) | label_units(
        num_hidden, num_classes, seed=seed
    )


def label_units(num_hidden: int, num_classes: int, seed: int = 13) -> Params:
    """The parameters that label units add to an RBM."""
    rng = np.random.default_rng(seed + 100)
    weights = rng.normal(0.0, 1.2, (num_classes, num_hidden))
    return {"w_labels": weights, "b_labels": rng.normal(0.0, 0.8, num_classes)}


def labelled_joint(params: Params) -> tuple[np.ndarray, float]:
    """p(v, y, h) as a table [2^V, C, 2^H] over `states`, and log Z."""
    num_visible, num_hidden = params["w"].shape
    table = np.array(
        [
            [
                [h @ weights + bias - energy(params, v, h) for h in states(num_hidden)]
                for weights, bias in zip(params["w_labels"], params["b_labels"], strict=True)
            ]
            for v in states(num_visible)
        ]
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


def dense_layers(params: Params, net: str, x: np.ndarray) -> np.ndarray:
    """Dense layers with softplus between them; params by names like "encoder.dense_0.kernel"."""
    for index in range(sum(name.startswith(net) for name in params) // 2):
        x = x if index == 0 else np.logaddexp(0.0, x)
        x = x @ params[f"{net}.dense_{index}.kernel"] + params[f"{net}.dense_{index}.bias"]
    return x


def vae_terms(
    params: Params, visible: np.ndarray, noise: np.ndarray, min_log_var: float | None = None
) -> tuple[np.ndarray, ...]:
    """Log p(x|z) and log weight for each noise [num, B, L], the divergence [B], the means [B, L].

    A Gaussian decoder has a least log variance, a Bernoulli decoder has none.
    """
    mean, log_var = np.split(dense_layers(params, "encoder", visible), 2, axis=-1)
    codes = mean + np.exp(0.5 * log_var) * noise
    outputs = dense_layers(params, "decoder", codes)
    if min_log_var is None:
        reconstruction = (visible * outputs - np.logaddexp(0.0, outputs)).sum(axis=-1)
    else:
        centre, free = np.split(outputs, 2, axis=-1)
        spread = min_log_var + np.logaddexp(0.0, free - min_log_var)
        scaled = (visible - centre) ** 2 / np.exp(spread)
        reconstruction = -0.5 * (scaled + spread + np.log(2 * np.pi)).sum(axis=-1)
    log_prior_ratio = 0.5 * (noise**2 + log_var - codes**2).sum(axis=-1)
    kl = 0.5 * (mean**2 + np.exp(log_var) - log_var - 1.0).sum(axis=-1)
    return reconstruction, reconstruction + log_prior_ratio, kl, mean
