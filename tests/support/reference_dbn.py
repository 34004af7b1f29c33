"""Slow, independent truth in NumPy for nets with directed layers, in float64."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from support import reference

from jaxgen.random import bits16

Params = dict[str, np.ndarray]
SHAPES, SIZES = {3: (2, 3, 1), 4: (5, 1, 1)}, {3: (4, 3), 4: (4, 3, 2)}
"""Images and hidden layers by the number of levels: one directed layer below the top, and two."""


def images(levels: int, num: int = 8, seed: int = 0) -> np.ndarray:
    """Grey uint8 images."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (num, *SHAPES[levels]), dtype=np.uint8)


def float32(tree: Any) -> Any:
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-logits))


def layers(*sizes: int, seed: int = 1) -> tuple[Params, ...]:
    """A stack of asymmetric RBMs, the lowest first."""
    pairs = enumerate(itertools.pairwise(sizes))
    return tuple(reference.small_rbm(*pair, seed=seed + index) for index, pair in pairs)


def untied(*sizes: int) -> tuple[tuple[Params, ...], tuple[Params, ...], Params]:
    """Recognition layers, generative layers that differ from them, and the top pair."""
    up, down = layers(*sizes), layers(*sizes, seed=11)
    return up[:-1], down[:-1], down[-1]


# ---- distributions over all states, in the order of `reference.states`


def table(probs: np.ndarray) -> np.ndarray:
    """The probability of each binary state [..., 2^n], for units that are on with `probs`."""
    on = np.asarray(probs, np.float64)[..., None, :]
    bits = reference.states(on.shape[-1])
    return np.prod(bits * on + (1 - bits) * (1 - on), axis=-1)


def upward(layer: Params) -> np.ndarray:
    """q(above|below) [2^below, 2^above]."""
    return table(sigmoid(reference.states(len(layer["w"])) @ layer["w"] + layer["b_hidden"]))


def downward(layer: Params) -> np.ndarray:
    """p(below|above) [2^above, 2^below]."""
    above = reference.states(layer["w"].shape[1])
    return table(sigmoid(above @ layer["w"].T + layer["b_visible"]))


def product(size: int, kernels: list[np.ndarray]) -> np.ndarray:
    """One kernel after the other; the identity over the states of `size` units if none."""
    result = np.eye(2**size)
    for kernel in kernels:
        result = result @ kernel
    return result


def visible_distribution(generative: tuple[Params, ...], top: Params) -> np.ndarray:
    """p(v) [2^V]: the lower side of the top pair, through the directed layers downward."""
    below = reference.joint(top)[0].sum(axis=1)
    return below @ product(len(top["w"]), [downward(p) for p in reversed(generative)])


def log_joint_and_posterior(
    recognition: tuple[Params, ...], generative: tuple[Params, ...], top: Params
) -> tuple[np.ndarray, np.ndarray]:
    """Log p(v, h_1..h_{L-1}) and log q(h_1..h_{L-1}|v) as tables [2^V, 2^h_1, ...]."""
    num_visible = len((generative[0] if generative else top)["w"])
    log_p, log_q = np.zeros(2**num_visible), np.zeros(2**num_visible)
    for up, down in zip(recognition, generative, strict=True):
        log_q = log_q[..., None] + np.log(upward(up))
        log_p = log_p[..., None] + np.log(downward(down)).T
    return log_p + np.log(reference.joint(top)[0].sum(axis=1)), log_q


def state_numbers(units: np.ndarray) -> np.ndarray:
    """The row of each state in `reference.states`."""
    return (np.asarray(units) @ 2.0 ** np.arange(units.shape[-1])[::-1]).astype(int)


def assert_drawn_from(numbers: np.ndarray, expected: np.ndarray) -> None:
    """Frequencies within 5 standard errors, and one count for states that are very rare."""
    num = len(numbers)
    frequency = np.bincount(numbers, minlength=expected.size) / num
    error = np.sqrt(expected * (1 - expected) / num) + 1 / num
    assert abs(expected.sum() - 1) < 1e-9
    assert np.abs((frequency - expected.ravel()) / error.ravel()).max() < 5.0


# ---- updates, from given uniform numbers

many_bits16 = jax.jit(jax.vmap(bits16, (0, None)), static_argnums=1)


def uniforms(keys: dict[tuple[str, int], jax.Array], num: int) -> dict[str, np.ndarray]:
    """The numbers [num, width] that a draw compares with, by name, from keys by name and width."""
    found = {}
    for width in {width for _, width in keys}:  # together, as there is less to compile then
        chosen = {name: key for (name, other), key in keys.items() if other == width}
        drawn = many_bits16(jnp.stack([*chosen.values()]), (num, width))
        found |= dict(zip(chosen, np.asarray(drawn), strict=True))
    return found


class Draws:
    """Binary draws that compare probabilities with named 16-bit uniform numbers."""

    def __init__(self, uniforms: dict[str, np.ndarray]) -> None:
        self.left = {name: np.asarray(u, np.float64) + 0.5 for name, u in uniforms.items()}

    def __call__(self, name: str, probs: np.ndarray) -> np.ndarray:
        """1 where the uniform number of that name lies below the probability; it is used up."""
        distance = 65536.0 * probs - self.left.pop(name)
        assert np.abs(distance).min() > 0.02, "a draw lies on its threshold: take another seed"
        return (distance > 0).astype(np.float64)


def contrastive_divergence(
    params: Params, data: np.ndarray, k: int, rate: float, draw: Draws
) -> tuple[Params, np.ndarray]:
    """An RBM's parameters after a CD-k update, and the visible units that its chain ends in.

    The hidden statistics are probabilities on both sides.
    """
    w, a, b = params["w"], params["b_visible"], params["b_hidden"]
    model = data
    for index in range(k):
        hidden = draw(f"hidden {index}", sigmoid(model @ w + b))
        model = draw(f"visible {index}", sigmoid(hidden @ w.T + a))
    hidden_data, hidden_model = sigmoid(data @ w + b), sigmoid(model @ w + b)
    new = {
        "w": w + rate * (data.T @ hidden_data - model.T @ hidden_model) / len(data),
        "b_visible": a + rate * (data - model).mean(axis=0),
        "b_hidden": b + rate * (hidden_data - hidden_model).mean(axis=0),
    }
    return new, model


def up_down(p: Params, vis: np.ndarray, k: int, rate: float, draw: Draws, samples: bool) -> Params:
    """Appendix B of Hinton, Osindero and Teh (2006) in its names, without labels.

    The top statistics are those of `contrastive_divergence`; the appendix draws them. With
    `samples` the predictions and the dreamt pixels are draws. The errors are of the lowest level.
    """
    new, num = dict(p), len(vis)
    predict = draw if samples else (lambda _, probs: probs)
    # wake: recognition weights drive the states upward
    wakehid = draw("wakehid", sigmoid(vis @ p["vishid"] + p["hidrecbiases"]))
    wakepen = draw("wakepen", sigmoid(wakehid @ p["hidpen"] + p["penrecbiases"]))
    # the top pair
    pair = {"w": p["pentop"], "b_visible": p["pengenbiases"], "b_hidden": p["topbiases"]}
    pair, sleeppen = contrastive_divergence(pair, wakepen, k, rate, draw)
    new |= {"pentop": pair["w"], "pengenbiases": pair["b_visible"], "topbiases": pair["b_hidden"]}
    # sleep: generative weights drive the states downward
    sleephid = draw("sleephid", sigmoid(sleeppen @ p["penhid"] + p["hidgenbiases"]))
    sleepvis = predict("sleepvis", sigmoid(sleephid @ p["hidvis"] + p["visgenbiases"]))
    # predictions
    psleeppen = predict("psleeppen", sigmoid(sleephid @ p["hidpen"] + p["penrecbiases"]))
    psleephid = predict("psleephid", sigmoid(sleepvis @ p["vishid"] + p["hidrecbiases"]))
    pvis = predict("pvis", sigmoid(wakehid @ p["hidvis"] + p["visgenbiases"]))
    phid = predict("phid", sigmoid(wakepen @ p["penhid"] + p["hidgenbiases"]))
    # generative parameters, then recognition parameters
    new["hidvis"] = p["hidvis"] + rate * wakehid.T @ (vis - pvis) / num
    new["visgenbiases"] = p["visgenbiases"] + rate * (vis - pvis).mean(axis=0)
    new["penhid"] = p["penhid"] + rate * wakepen.T @ (wakehid - phid) / num
    new["hidgenbiases"] = p["hidgenbiases"] + rate * (wakehid - phid).mean(axis=0)
    new["hidpen"] = p["hidpen"] + rate * sleephid.T @ (sleeppen - psleeppen) / num
    new["penrecbiases"] = p["penrecbiases"] + rate * (sleeppen - psleeppen).mean(axis=0)
    new["vishid"] = p["vishid"] + rate * sleepvis.T @ (sleephid - psleephid) / num
    new["hidrecbiases"] = p["hidrecbiases"] + rate * (sleephid - psleephid).mean(axis=0)
    pvis = sigmoid(wakehid @ p["hidvis"] + p["visgenbiases"])
    psleephid = sigmoid(sleepvis @ p["vishid"] + p["hidrecbiases"])
    new["wake_error"] = np.mean((vis - pvis) ** 2)
    new["sleep_error"] = np.mean((sleephid - psleephid) ** 2)
    return new


def up_down_short(
    p: Params, vis: np.ndarray, k: int, rate: float, draw: Draws, samples: bool
) -> Params:
    """`up_down` of a net without the hid level: vis, pen, top."""
    new, num = dict(p), len(vis)
    predict = draw if samples else (lambda _, probs: probs)
    wakepen = draw("wakepen", sigmoid(vis @ p["vispen"] + p["penrecbiases"]))
    pair = {"w": p["pentop"], "b_visible": p["pengenbiases"], "b_hidden": p["topbiases"]}
    pair, sleeppen = contrastive_divergence(pair, wakepen, k, rate, draw)
    new |= {"pentop": pair["w"], "pengenbiases": pair["b_visible"], "topbiases": pair["b_hidden"]}
    sleepvis = predict("sleepvis", sigmoid(sleeppen @ p["penvis"] + p["visgenbiases"]))
    psleeppen = predict("psleeppen", sigmoid(sleepvis @ p["vispen"] + p["penrecbiases"]))
    pvis = predict("pvis", sigmoid(wakepen @ p["penvis"] + p["visgenbiases"]))
    new["penvis"] = p["penvis"] + rate * wakepen.T @ (vis - pvis) / num
    new["visgenbiases"] = p["visgenbiases"] + rate * (vis - pvis).mean(axis=0)
    new["vispen"] = p["vispen"] + rate * sleepvis.T @ (sleeppen - psleeppen) / num
    new["penrecbiases"] = p["penrecbiases"] + rate * (sleeppen - psleeppen).mean(axis=0)
    pvis = sigmoid(wakepen @ p["penvis"] + p["visgenbiases"])
    psleeppen = sigmoid(sleepvis @ p["vispen"] + p["penrecbiases"])
    new["wake_error"] = np.mean((vis - pvis) ** 2)
    new["sleep_error"] = np.mean((sleeppen - psleeppen) ** 2)
    return new
