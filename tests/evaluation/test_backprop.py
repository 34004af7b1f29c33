"""The classifier by backprop against a net in NumPy, its gradient against finite differences."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special
from support import reference
from support import reference_gaussian as gaussian
from support.helpers import same
from support.reference_dbn import float32

from jaxgen import data
from jaxgen.errors import SettingError
from jaxgen.evaluation import backprop
from jaxgen.learner import Batch
from jaxgen.models import dbn, rbm
from jaxgen.training import Schedule, fit

SHAPE = (5, 1, 1)
CONFIG = backprop.Config(num_classes=3, num_updates=10)
PLAIN = backprop.Config(num_classes=3, num_updates=10, dropout=0.0, input_dropout=0.0)


def a_stack() -> tuple[dict[str, np.ndarray], ...]:
    """A DBN of 5-4-4 with 3 label units, in float64."""
    return reference.small_rbm(), reference.labelled_rbm(num_visible=4)


def a_classifier() -> backprop.Params:
    """Its layers and a softmax, none of them special."""
    rng = np.random.default_rng(0)
    started = backprop.from_layers(CONFIG, tuple(map(float32, a_stack())))
    readout = {"w": rng.normal(size=started.readout["w"].shape), "b": rng.normal(size=3)}
    return backprop.Params(started.layers, float32(readout))


def reference_logits(params: Any, visible: np.ndarray) -> np.ndarray:
    units = visible
    for layer in params.layers:
        units = special.expit(units @ np.float64(layer["w"]) + np.float64(layer["b_hidden"]))
    return np.asarray(units @ np.float64(params.readout["w"]) + np.float64(params.readout["b"]))


def reference_loss(params: Any, visible: np.ndarray, labels: np.ndarray) -> float:
    log_probs = special.log_softmax(reference_logits(params, visible), axis=1)
    return float(-np.mean(log_probs[np.arange(len(labels)), labels]))


def a_batch(num: int = 20) -> Batch:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (num, *SHAPE)).astype(np.uint8)
    return Batch(jnp.asarray(images), jnp.asarray(rng.integers(0, 3, num), jnp.int32))


def logits_with(
    params: backprop.Params, visible: Any, config: backprop.Config, seed: int
) -> jax.Array:
    """Logits of units with dropout."""
    dropout = partial(backprop.drop_units, config, jax.random.key(seed))
    return backprop.logits_of(params, visible, dropout)


def test_logits_are_those_of_the_formula() -> None:
    params = a_classifier()
    visible = np.random.default_rng(2).random((7, 5))
    found = backprop.logits_of(params, jnp.asarray(visible, jnp.float32))
    np.testing.assert_allclose(found, reference_logits(params, visible), atol=3e-6)


def test_the_start_is_the_dbn() -> None:
    """Up to the top units its layers, and p(y|h) of the top pair as the softmax."""
    lower, top = a_stack()
    found = backprop.from_layers(CONFIG, (float32(lower), float32(top)))
    assert sorted(found.layers[0]) == ["b_hidden", "w"]
    np.testing.assert_array_equal(found.layers[0]["w"], float32(lower)["w"])
    np.testing.assert_array_equal(found.layers[1]["w"], float32(top)["w"])
    mean = top["b_hidden"] + top["w_labels"].mean(axis=0)
    np.testing.assert_allclose(found.layers[1]["b_hidden"], mean, atol=1e-6)
    np.testing.assert_array_equal(found.readout["w"], float32(top)["w_labels"].T)
    np.testing.assert_array_equal(found.readout["b"], float32(top)["b_labels"])


def test_a_start_without_label_units_has_equal_classes() -> None:
    found = backprop.from_layers(CONFIG, (float32(reference.small_rbm()),))
    assert not backprop.logits_of(found, jnp.ones((2, 5))).any()


def test_gaussian_units_are_standardised() -> None:
    params = float32(gaussian.small_rbm())
    found = backprop.from_layers(CONFIG, (params,))
    assert rbm.is_gaussian(found.layers[0])
    random = backprop.random_layers((4,), 5, jax.random.key(0), rbm.any_pixels(5))
    assert rbm.is_gaussian(random[0])


def test_the_update_descends_on_the_loss() -> None:
    """The gradient of every array against finite differences; grey pixels, no dropout."""
    state, batch = backprop.State(a_classifier(), ()), a_batch()
    visible, labels = np.asarray(batch.images).reshape(-1, 5) / 255, np.asarray(batch.labels)
    leaves, tree = jax.tree.flatten(jax.tree.map(np.float64, state.params))
    expected = []
    for index, leaf in enumerate(leaves):
        found = np.zeros_like(leaf)
        for place in np.ndindex(leaf.shape):
            ends = []
            for shift in (1e-5, -1e-5):
                moved = [each.copy() for each in leaves]
                moved[index][place] += shift
                ends.append(reference_loss(tree.unflatten(moved), visible, labels))
            found[place] = (ends[0] - ends[1]) / 2e-5
        expected.append(found)
    # The first update of Adam is the sign of the gradient, so its first moment shows the gradient.
    started = backprop.State(state.params, backprop.optimizer(PLAIN).init(state.params))
    after, metrics = jax.jit(backprop.step, static_argnums=0)(
        PLAIN, started, batch, jax.random.key(0)
    )
    np.testing.assert_allclose(metrics["loss"], reference_loss(state.params, visible, labels), 1e-5)
    wrong = reference_logits(state.params, visible).argmax(axis=1) != labels
    np.testing.assert_allclose(metrics["train_error"], wrong.mean(), atol=1e-7)
    moment = after.opt_state[0].mu
    for mu, gradient in zip(jax.tree.leaves(moment), expected, strict=True):
        np.testing.assert_allclose(np.asarray(mu) / (1 - 0.9), gradient, atol=2e-6)


def test_dropout_keeps_the_mean_and_drops_its_share() -> None:
    """Of a net whose hidden units do not depend on their input, so that it is linear in them."""
    layers = ({"w": np.zeros((5, 400)), "b_hidden": np.full(400, 0.7)},)
    readout = {"w": np.eye(400), "b": np.zeros(400)}
    params = backprop.Params((float32(layers[0]),), float32(readout))
    config = backprop.Config(num_classes=400, num_updates=1, dropout=0.25)
    logits = np.asarray(logits_with(params, jnp.ones((500, 5)), config, 3))
    unit, num = special.expit(0.7), logits.size
    assert abs((logits == 0).mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / num)
    np.testing.assert_allclose(logits[logits != 0], unit / 0.75, rtol=1e-5)
    assert abs(logits.mean() - unit) < 4 * logits.std() / np.sqrt(num)


def test_input_is_dropped_at_its_own_rate() -> None:
    params = backprop.Params(
        (float32({"w": 50.0 * np.eye(300), "b_hidden": np.full(300, -25.0)}),),
        float32({"w": np.eye(300), "b": np.zeros(300)}),
    )
    config = backprop.Config(num_classes=300, num_updates=1, dropout=0.0, input_dropout=0.1)
    on = logits_with(params, jnp.ones((400, 300)), config, 4) > 0.5
    assert abs(float(jnp.mean(on)) - 0.9) < 4 * np.sqrt(0.09 / on.size)


def test_a_net_that_classifies_drops_nothing() -> None:
    params, visible = a_classifier(), jnp.ones((3, 5))
    once, again = (backprop.logits_of(params, visible) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    dropped = [logits_with(params, visible, CONFIG, seed) for seed in (5, 5, 6)]
    np.testing.assert_array_equal(dropped[0], dropped[1])
    assert not np.allclose(dropped[0], dropped[2])


def test_random_layers_are_within_their_bound() -> None:
    layers = backprop.random_layers((30, 20), 50, jax.random.key(0))
    for layer, (below, above) in zip(layers, ((50, 30), (30, 20)), strict=True):
        bound = 4 * np.sqrt(6 / (below + above))
        assert layer["w"].shape == (below, above)
        assert 0.95 * bound < np.abs(layer["w"]).max() <= bound
        np.testing.assert_allclose(np.std(layer["w"]), bound / np.sqrt(3), rtol=0.1)
        assert not layer["b_hidden"].any()


def test_it_learns_the_digits(digits_root: Path) -> None:
    """From a DBN, and from random weights; seeds and keys decide the bits."""
    digits = data.load("digits", digits_root)
    epochs = 30
    config = backprop.Config(10, epochs * 15, learning_rate=5e-3, dropout=0.0, input_dropout=0.0)
    learner = backprop.learner(config, (28, 28, 1), (40, 30))
    stack = dbn.init_layers(dbn.Config(hidden_sizes=(40, 30)), 784, jax.random.key(1))
    schedule = Schedule(epochs, 100)
    visible = digits.test.images.reshape(-1, 784) / np.float32(255)
    for state in (None, backprop.init(config, stack)):
        once, again = (fit(learner, digits, schedule, [0], state=state).state for _ in range(2))
        assert same(once, again)
        found = backprop.logits_of(once.params, visible).argmax(axis=1)
        assert np.mean(found != digits.test.labels) < 0.15  # 0.9 by chance


def test_a_classifier_draws_nothing() -> None:
    learner = backprop.learner(CONFIG, SHAPE, (4,))
    with pytest.raises(TypeError, match="has no samples"):
        learner.sample(None, jax.random.key(0), 3)


@pytest.mark.parametrize(
    "bad",
    [
        {"num_classes": 0},
        {"num_updates": 0},
        {"learning_rate": 0.0},
        {"dropout": 1.0},
        {"input_dropout": -0.1},
        {"binarize": "sampled"},
    ],
)
def test_impossible_settings(bad: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=next(iter(bad)).replace("_", "-")):
        backprop.Config(**{"num_classes": 3, "num_updates": 1} | bad)


@pytest.mark.parametrize("sizes", [(0,), (2.5,), (3, -1)])
def test_impossible_sizes(sizes: Any) -> None:
    with pytest.raises(SettingError, match="for hidden_sizes"):
        backprop.learner(CONFIG, SHAPE, sizes)


def test_label_units_of_another_number_of_classes_are_refused() -> None:
    layers = tuple(map(float32, a_stack()))
    with pytest.raises(SettingError, match="num_classes 3, that of the label units, found 5"):
        backprop.init(backprop.Config(num_classes=5, num_updates=1), layers)
