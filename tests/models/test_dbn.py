"""The DBN against enumeration, and its greedy stages against NumPy statistics."""

import dataclasses
import functools
import itertools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import reference
from support import reference_dbn as truth
from support.helpers import one_line, same
from support.reference_dbn import SHAPES, SIZES, float32, images

from jaxgen.data import Split
from jaxgen.errors import SettingError
from jaxgen.learner import Batch, named_key, unlabelled
from jaxgen.models import dbn, rbm, wake_sleep
from jaxgen.random import bernoulli
from jaxgen.training.checkpoint import digest
from jaxgen.training.loop import Schedule, fit

LAYERS64 = {3: truth.layers(6, 4, 3), 4: truth.layers(5, 4, 3, 2)}
"""By the number of levels: one directed layer below the top pair, and two."""
UNTIED64 = {3: dbn.Net(*truth.untied(6, 4, 3)), 4: dbn.Net(*truth.untied(5, 4, 3, 2))}
LEVELS = pytest.mark.parametrize("levels", [3, 4])

init = jax.jit(dbn.init, static_argnums=(0, 1))
up, down, reconstruct = jax.jit(dbn.up), jax.jit(dbn.down), jax.jit(dbn.reconstruct)
generate = jax.jit(dbn.generate, static_argnums=(3, 4))


def repeated(num_units, num):
    """Every state `num` times, state after state."""
    return jnp.repeat(jnp.asarray(reference.states(num_units), jnp.float32), num, axis=0)


# ---- up, down, both, and the chain on top


def test_up_pass_has_the_enumerated_conditionals() -> None:
    """(h1, h2) from each of a few visible states: q(h1|v) q(h2|h1)."""
    first, second = (truth.upward(layer) for layer in LAYERS64[4][:2])
    for number in (3, 13, 30):
        start = jnp.tile(jnp.asarray(reference.states(5)[number], jnp.float32), (50_000, 1))
        _, *hidden = up(float32(LAYERS64[4][:2]), jax.random.key(number), start)
        numbers = truth.state_numbers(jnp.concatenate(hidden, axis=1))
        truth.assert_drawn_from(numbers, first[number][:, None] * second)


def test_down_pass_has_the_enumerated_conditionals() -> None:
    """Each h2 many times: h1 is drawn from p(h1|h2), and p(v=1|h1) is exact for that h1."""
    lowest, second = LAYERS64[4][:2]
    num, start = 30_000, repeated(3, 30_000)
    probs, hidden, _ = down(float32((lowest, second)), jax.random.key(0), start)
    expected = truth.sigmoid(np.asarray(hidden) @ lowest["w"].T + lowest["b_visible"])
    np.testing.assert_allclose(probs, expected, atol=1e-6)
    for rows, conditional in zip(hidden.reshape(8, num, 4), truth.downward(second), strict=True):
        truth.assert_drawn_from(truth.state_numbers(rows), conditional)


@LEVELS
def test_reconstruct_has_the_enumerated_kernel(levels: Any) -> None:
    """Each v many times, in a net whose directions differ: h_L and the mean of p(v=1|h_1)."""
    net = UNTIED64[levels]
    num_visible, num = len(net.recognition[0]["w"]), 5_000
    start = repeated(num_visible, num)
    hidden, probs = reconstruct(float32(net), jax.random.key(1), start)
    ups = [truth.upward(layer) for layer in (*net.recognition, net.top)]
    downs = [truth.downward(layer) for layer in (net.top, *reversed(net.generative))]
    to_top, and_back = (truth.product(num_visible, kernels) for kernels in (ups, ups + downs))
    for rows, expected in zip(hidden.reshape(2**num_visible, num, -1), to_top, strict=True):
        truth.assert_drawn_from(truth.state_numbers(rows), expected)
    drawn = np.asarray(probs).reshape(2**num_visible, num, num_visible)
    error = drawn.std(axis=1) / np.sqrt(num)
    difference = drawn.mean(axis=1) - and_back @ reference.states(num_visible)
    assert np.abs(difference / error).max() < 5.0


@LEVELS
def test_long_top_chain_generates_the_model_distribution(levels: Any) -> None:
    """Top states, the mean of p(v=1|h_1), and visible states drawn from it."""
    *lower, top = LAYERS64[levels]
    num, net = 50_000, dbn.tie(float32(LAYERS64[levels]))
    start = jnp.zeros((num, SIZES[levels][-1]))
    final, probs = generate(net, jax.random.key(2), start, 40)
    truth.assert_drawn_from(truth.state_numbers(final), reference.joint(top)[0].sum(axis=0))
    expected = truth.visible_distribution(tuple(lower), top)
    mean = expected @ reference.states(len(LAYERS64[levels][0]["w"]))
    error = probs.std(axis=0) / np.sqrt(num)
    assert np.abs((probs.mean(axis=0) - mean) / error).max() < 5.0
    visible = bernoulli(jax.random.key(3), probs)
    truth.assert_drawn_from(truth.state_numbers(visible), expected)


def test_one_layer_generates_as_the_rbm_also_with_a_gain() -> None:
    params = float32(LAYERS64[3][0])
    net, key = dbn.tie((params,)), jax.random.key(4)
    hidden, key_top = jnp.ones((5, 4)), jax.random.split(key)[0]
    expected = jax.jit(rbm.generate, static_argnums=(3, 4))(params, key_top, hidden, 3, 2.0)
    assert same(generate(net, key, hidden, 3, 2.0), expected)


# ---- one stage of the greedy training


def stage(levels, lower):
    """A step that is not compiled yet, and a first state; two Gibbs steps in the second layer."""
    gibbs_steps = (3, 2, 1)[: levels - 1]
    config = dbn.Config(SIZES[levels], num_gibbs_steps=gibbs_steps, learning_rate=0.3)
    state = init(config, np.prod(SHAPES[levels]), lower, jax.random.key(0))
    return jax.jit(functools.partial(dbn.step, config)), state


def test_first_layer_is_the_rbm_bit_for_bit() -> None:
    alone = rbm.Config(num_hidden=4, num_gibbs_steps=3, learning_rate=0.3)
    step, state = stage(3, ())
    rbm_step = jax.jit(functools.partial(rbm.step, alone))
    rbm_state = jax.jit(rbm.init, static_argnums=(0, 1))(alone, 6, jax.random.key(0))
    assert same(state.top, rbm_state)
    for index in range(4):
        batch, key = unlabelled(images(3, seed=index)), jax.random.key(index)
        state, metrics = step(state, batch, key)
        rbm_state, expected = rbm_step(rbm_state, batch, key)
        assert same((state.top, metrics), (rbm_state, expected))


@LEVELS
def test_a_stage_learns_from_the_aggregated_distribution(
    levels: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """q(h) = sum over images and binary v of p(v|image) q(h|v), for what `step` gives the RBM."""

    def learn(config, state, data, model):
        return state, {"data": data}

    monkeypatch.setattr(rbm, "learn", learn)
    lower = LAYERS64[levels][:-1]
    step, state = stage(levels, float32(lower))
    batch = unlabelled(np.repeat(images(levels, 3), 40_000, axis=0))
    data = step(state, batch, jax.random.key(5))[1]["data"]
    p_data = truth.table(images(levels, 3).reshape(3, -1) / 255).mean(axis=0)
    kernel = truth.product(np.prod(SHAPES[levels]), [truth.upward(layer) for layer in lower])
    truth.assert_drawn_from(truth.state_numbers(data), p_data @ kernel)


def stage_keys(key, levels, k):
    """The keys of a stage's draws by name and width; each layer has a stream of its own."""
    widths = (np.prod(SHAPES[levels]), *SIZES[levels])
    key_data, key_gibbs = jax.random.split(named_key(key, f"layer {levels - 2}"))
    keys, key_up = {("pixels", widths[0]): key_data}, named_key(key_data, "up")
    for layer in range(levels - 2):
        keys[f"up {layer}", widths[layer + 1]] = jax.random.fold_in(key_up, layer)
    for index in range(k):
        key_hidden, key_visible = jax.random.split(jax.random.fold_in(key_gibbs, index))
        keys[f"hidden {index}", widths[-1]] = key_hidden
        keys[f"visible {index}", widths[-2]] = key_visible
    return keys


@pytest.mark.parametrize(("levels", "k"), [(3, 2), (4, 1)])
def test_a_stage_is_an_rbm_update_of_the_states_below(levels: int, k: int) -> None:
    """With the same uniform numbers; the layers below stay bitwise as they were."""
    (*lower64, _), top64, num = LAYERS64[levels], UNTIED64[levels].top, 8
    lower = float32(tuple(lower64))
    step, state = stage(levels, lower)
    state = state._replace(top=state.top._replace(params=float32(top64)))
    new, _ = step(state, unlabelled(images(levels, num)), jax.random.key(7))
    assert same(new.lower, lower)
    assert int(new.top.step) == 1

    draw = truth.Draws(truth.uniforms(stage_keys(jax.random.key(7), levels, k), num))
    data = draw("pixels", images(levels, num).reshape(num, -1) / 255)
    for index, layer in enumerate(lower64):
        data = draw(f"up {index}", truth.sigmoid(data @ layer["w"] + layer["b_hidden"]))
    expected, _ = truth.contrastive_divergence(top64, data, k, 0.3, draw)
    assert not draw.left
    for name, value in expected.items():
        np.testing.assert_allclose(new.top.params[name], value, atol=1e-6)


def test_layers_start_with_streams_of_their_own() -> None:
    """Equal shapes, so that a key used twice would give equal numbers."""
    start = jax.jit(functools.partial(dbn.init, dbn.Config((4, 4, 4)), 4))
    layers = ()
    for _ in range(3):
        layers = start(layers, jax.random.key(0)).params
    for one, other in itertools.combinations(layers, 2):
        assert not np.isin(one["w"], other["w"]).any()


# ---- upside down


def test_two_layers_upside_down_are_the_lower_rbm() -> None:
    """p(v), enumerated for both, from the arrays that `transposed_start` begins with."""
    config, below = dbn.Config((4, 6), transposed_start=True), float32(LAYERS64[3][0])
    lower, above = init(config, 6, (below,), jax.random.key(0)).params
    assert same(dbn.upside_down(above), below)
    lower64, above64 = jax.tree.map(lambda x: np.asarray(x, np.float64), (lower, above))
    found = truth.visible_distribution((lower64,), above64)
    np.testing.assert_allclose(found, reference.joint(lower64)[0].sum(axis=1), atol=1e-12)


def test_upside_down_needs_equal_sizes() -> None:
    config, below = dbn.Config((4, 3), transposed_start=True), float32(LAYERS64[3][0])
    with pytest.raises(SettingError, match="6 units in layer 2, for --transposed-start") as error:
        dbn.init(config, 6, (below,), jax.random.key(0))
    assert "from 6-4, found 3; set --hidden-sizes" in one_line(error)
    dbn.require_turnable((6, 4, 6, 4))


# ---- label units


def test_only_the_highest_layer_has_label_units() -> None:
    config = dbn.Config((4, 3), num_classes=5)
    init_params = functools.partial(dbn.init_params, config, SHAPES[3])
    first, second = jax.eval_shape(init_params, jax.random.key(0))
    assert set(first) == {"w", "b_visible", "b_hidden"}
    assert {name: value.shape for name, value in second.items()} == {
        **{"w": (4, 3), "b_visible": (4,), "b_hidden": (3,)},
        **{"w_labels": (5, 3), "b_labels": (5,)},
    }
    assert dbn.learner(config, SHAPES[3]).num_classes == 5


def test_a_layer_upside_down_keeps_its_label_units() -> None:
    config, below = dbn.Config((4, 6), transposed_start=True, num_classes=3), LAYERS64[3][0]
    (_, above) = init(config, 6, (float32(below),), jax.random.key(0)).params
    assert same({name: above[name] for name in below}, dbn.upside_down(float32(below)))
    assert above["w_labels"].shape == (3, 6)


def test_a_stage_learns_from_the_labels_of_its_batch() -> None:
    """Without weights to the label units the rest is the update without labels.

    The chain ends in the label that is certain. The sum of U over the labels moves as b does.
    """
    step, plain = stage(3, (float32(LAYERS64[3][0]),))
    labels = {"w_labels": np.zeros((3, 3), np.float32), "b_labels": np.float32([0, 0, 99])}
    state = plain._replace(top=plain.top._replace(params=plain.top.params | labels))
    given = jnp.array([0, 0, 1, 2, 2, 2, 1, 0])
    batch = unlabelled(images(3))._replace(labels=given)
    (new, metrics), (expected, _) = (step(x, batch, jax.random.key(1)) for x in (state, plain))
    assert same(new.lower, plain.lower)
    for name, value in expected.top.params.items():
        np.testing.assert_allclose(new.top.params[name], value, atol=1e-6, err_msg=name)
    change = 0.3 * (np.eye(3)[given].mean(axis=0) - [0, 0, 1])
    np.testing.assert_allclose(new.top.params["b_labels"], labels["b_labels"] + change, rtol=1e-6)
    moved = new.top.params["b_hidden"] - plain.top.params["b_hidden"]
    np.testing.assert_allclose(new.top.params["w_labels"].sum(axis=0), moved, atol=1e-6)
    assert metrics["label_change"] == 5 / 8


def test_classification_passes_probabilities_up() -> None:
    """The sums over h of exp(-E) of every label, for h_1 = q(h_1|v)."""
    first, top = LAYERS64[3][0], reference.labelled_rbm(4, 3)
    visible = reference.states(6)[[3, 20, 41]]
    below = truth.sigmoid(visible @ first["w"] + first["b_hidden"])
    energies = [
        [
            [h @ weights + bias - reference.energy(top, v, h) for h in reference.states(3)]
            for weights, bias in zip(top["w_labels"], top["b_labels"], strict=True)
        ]
        for v in below
    ]
    probs = np.exp(energies).sum(axis=2)
    net = dbn.Net((float32(first),), (float32(LAYERS64[4][0]),), float32(top))
    found = jax.jit(dbn.classify)(net, jnp.asarray(visible, jnp.float32))
    np.testing.assert_allclose(np.exp(found), probs / probs.sum(axis=1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize("persistent", [False, True])
def test_a_trained_net_draws_and_recognises_the_class_that_is_asked_for(persistent: bool) -> None:
    """Three patterns, each of a class, with a pixel in ten turned over: the mean image of each."""
    rng = np.random.default_rng(0)
    patterns = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [1, 0, 1, 0, 1, 0]])
    labels = rng.integers(0, 3, 300).astype(np.int32)
    pixels = np.where(rng.uniform(size=(300, 6)) < 0.1, 1 - patterns[labels], patterns[labels])
    data = Split((255 * pixels).astype(np.uint8).reshape(-1, *SHAPES[3]), labels)
    config = dbn.Config((8,), (5,), persistent=persistent, num_classes=3, num_sampling_steps=20)
    learner = dbn.learner(config, SHAPES[3])
    state = fit(learner, data, Schedule(100, 20), (0,)).state
    found = jax.jit(dbn.classify)(dbn.tie(state.params), jnp.asarray(patterns, jnp.float32))
    assert found.argmax(axis=1).tolist() == [0, 1, 2]
    asked = jnp.repeat(jnp.arange(3), 200)
    drawn = jax.jit(learner.sample, static_argnums=2)(state, jax.random.key(0), 600, asked)
    means = np.asarray(drawn).reshape(3, 200, 6).mean(axis=1)
    expected = np.stack([pixels[labels == label].mean(axis=0) for label in range(3)])
    assert np.abs(means - expected).max() < 0.15


def test_a_gain_multiplies_the_weights_of_the_label_that_is_asked_for() -> None:
    config = dbn.Config((5,), num_classes=3, num_sampling_steps=4, init_scale=1.0)
    learner, key = dbn.learner(config, SHAPES[3]), jax.random.key(1)
    state = jax.jit(learner.init)(key)
    gained = dbn.learner(dataclasses.replace(config, label_gain=2.0), SHAPES[3])
    top = state.top.params
    twice = state._replace(top=state.top._replace(params=top | {"w_labels": 2.0 * top["w_labels"]}))
    asked = jnp.arange(30) % 3
    found = gained.sample(state, key, 30, asked)
    np.testing.assert_array_equal(found, learner.sample(twice, key, 30, asked))
    assert np.any(found != learner.sample(state, key, 30, asked))
    np.testing.assert_array_equal(gained.sample(state, key, 30), learner.sample(state, key, 30))


# ---- settings, and training through `fit`


def test_a_net_without_label_units_ignores_labels() -> None:
    learner = dbn.learner(dbn.Config(hidden_sizes=(4, 3), num_sampling_steps=2), (2, 2, 1))
    state, key = learner.init(jax.random.key(0)), jax.random.key(1)
    found = learner.sample(state, key, 3, np.array([0, 1, 9]))
    np.testing.assert_array_equal(found, learner.sample(state, key, 3))


def test_the_last_number_of_gibbs_steps_holds_for_all_layers_above() -> None:
    config = dbn.Config((9, 8, 7, 6), num_gibbs_steps=(1, 3), init_scale=0.2, decay_steps=4)
    found = [dbn.rbm_config(config, layer) for layer in range(4)]
    assert [c.num_gibbs_steps for c in found] == [1, 3, 3, 3]
    assert [c.num_hidden for c in found] == [9, 8, 7, 6]
    assert {(c.learning_rate, c.init_scale, c.decay_steps) for c in found} == {(0.1, 0.2, 4)}


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"hidden_sizes": ()}, "--hidden-sizes of 1 or more numbers from 1 .*found none"),
        ({"hidden_sizes": (4, 0)}, "--hidden-sizes of 1 or more numbers from 1 .*found 4 0"),
        ({"num_gibbs_steps": ()}, "--num-gibbs-steps of 1 or more numbers.*found none"),
        ({"num_gibbs_steps": (0,)}, "--num-gibbs-steps of 1 or more numbers.*found 0"),
        ({"num_sampling_steps": 0}, "--num-sampling-steps"),
        ({"num_classes": -1}, "--num-classes a whole number from 0 to"),
        (
            {"centred": True, "num_classes": 2},
            r"--centred off beside label units \(--conditional\), found True; leave out --centred",
        ),
        ({"momentum": 1.0}, r"--momentum in \[0, 1\), found 1.0"),
        ({"weight_decay": -1.0}, "--weight-decay at least 0 and finite, found -1.0"),
        ({"decay_steps": -1}, "--decay-steps a whole number from 0 to 2,147,483,647, found -1"),
        ({"binarize": "no"}, "--binarize one of sample, threshold, none, found no; set --binarize"),
    ],
)
def test_impossible_settings(bad: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words) as error:
        dbn.Config(**bad)
    one_line(error)


def test_layers_of_other_sizes_are_refused() -> None:
    config = dbn.Config((4, 3))
    first = dbn.learner(config, SHAPES[3]).init(jax.random.key(0)).params
    for module in (dbn, wake_sleep):
        with pytest.raises(SettingError, match="--hidden-sizes 4, those of the given layers"):
            module.init(module.Config((5, 3)), 6, first, jax.random.key(0))
        with pytest.raises(SettingError, match=r"images of 6 visible units, .* found 9"):
            module.init(module.Config((4, 3)), 9, first, jax.random.key(0))


def test_layers_with_other_label_units_are_refused() -> None:
    plain, labelled = (
        dbn.init_layers(dbn.Config((4, 3), num_classes=num), 6, jax.random.key(0)) for num in (0, 3)
    )
    for layers, num, words in ((plain, 3, "expected 0 .* found 3"), (labelled, 0, "expected 3 ")):
        with pytest.raises(SettingError, match=f"{words}.*--conditional") as error:
            wake_sleep.init(wake_sleep.Config((4, 3), num_classes=num), 6, layers, None)
        one_line(error)


def test_layer_after_layer_with_a_stop_in_the_second(tmp_path: Path) -> None:
    """A stop and a resume in the middle of the second layer leave every bit as it is."""
    config, schedule = dbn.Config((4, 3)), Schedule(2, 3, log_every=1)
    lower = fit(dbn.learner(config, SHAPES[3]), images(3, 12), schedule, (0,)).state.params
    learner = dbn.learner(config, SHAPES[3], lower)
    run = functools.partial(fit, learner, images(3, 12), schedule, (0,))
    whole = run()
    part = run(folder=tmp_path, should_stop=iter([False, False, True]).__next__)
    rest = run(folder=tmp_path)
    assert (part.step, part.finished, rest.first_step, rest.step) == (3, False, 3, 8)
    assert digest(rest.state) == digest(whole.state)
    assert same(rest.state.lower, lower)
    assert [p["w"].shape for p in rest.state.params] == [(6, 4), (4, 3)]
    assert not same(rest.state.top.params, part.state.top.params)


def test_every_layer_takes_the_settings_of_an_rbm() -> None:
    given = {"momentum": 0.5, "weight_decay": 0.01, "persistent": True, "centred": True}
    for layer in range(2):
        found = dataclasses.asdict(dbn.rbm_config(dbn.Config(**given), layer))
        assert {name: found[name] for name in given} == given


def test_a_layer_of_persistent_chains_is_that_rbm_of_the_states_below() -> None:
    """Its update is `rbm.step`'s on drawn hidden states: the chains go on, the means follow."""
    config = dbn.Config((6, 4), learning_rate=0.3, persistent=True, centred=True)
    images = np.random.default_rng(0).integers(0, 256, (20, *SHAPES[3])).astype(np.uint8)
    batch = Batch(jnp.asarray(images), jnp.zeros(20, jnp.int32))
    lower = dbn.learner(config, SHAPES[3]).init(jax.random.key(0)).params
    learner = dbn.learner(config, SHAPES[3], lower)
    first = learner.init(jax.random.key(1))
    second, metrics = learner.step(first, batch, jax.random.key(2))
    assert first.top.chains is not None
    assert second.top.chains.shape == (100, 6)
    assert not np.array_equal(second.top.chains, first.top.chains)
    assert "pixel_change" not in metrics  # of CD
    key_data, key_gibbs = jax.random.split(named_key(jax.random.key(2), "layer 1"))
    visible = rbm.to_visible(lower[0], key_data, batch.images, "sample")
    (_, below) = dbn.up(lower, named_key(key_data, "up"), visible)
    layer = dbn.rbm_config(config, 1)
    model = rbm.gibbs(first.top.params, first.top.chains, key_gibbs, 2)  # k of CD-k there
    expected, _ = rbm.learn(layer, first.top, below, model)
    for name, value in expected.params.items():
        np.testing.assert_allclose(second.top.params[name], value, atol=1e-6)
    for mine, theirs in zip(second.top.means, expected.means, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
