"""Up-down fine-tuning against the paper's algorithm in NumPy, and against enumeration."""

import dataclasses
import functools
import itertools
from functools import partial
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

from jaxgen.errors import SettingError
from jaxgen.jitted import jitted
from jaxgen.learner import unlabelled
from jaxgen.models import dbn, rbm, wake_sleep
from jaxgen.models.wake_sleep import Config
from jaxgen.random import bernoulli
from jaxgen.training.checkpoint import digest
from jaxgen.training.loop import Schedule, fit

NETS64 = {3: dbn.Net(*truth.untied(6, 4, 3)), 4: dbn.Net(*truth.untied(5, 4, 3, 2))}
"""By the number of levels: one directed layer below the top pair, and two."""
NUM = 8

init = jax.jit(wake_sleep.init, static_argnums=(0, 1))


def untied_state(config, levels):
    """A state whose two directions differ."""
    net = float32(NETS64[levels])
    layers = tuple({**up, **down} for up, down in zip(*net[:2], strict=True))
    state = init(config, np.prod(SHAPES[levels]), (*layers, net.top), jax.random.key(0))
    recognition = tuple({"w": p["w"], "b_hidden": p["b_hidden"]} for p in net.recognition)
    generative = tuple({"w": p["w"], "b_visible": p["b_visible"]} for p in net.generative)
    return state._replace(recognition=recognition, generative=generative)


# ---- the start


def test_both_directions_start_as_the_dbn() -> None:
    layers = float32(truth.layers(6, 4, 3))
    state = init(Config(SIZES[3]), 6, layers, jax.random.key(0))
    for layer, up, down in zip(layers[:-1], state.recognition, state.generative, strict=True):
        assert same(up, {"w": layer["w"], "b_hidden": layer["b_hidden"]})
        assert same(down, {"w": layer["w"], "b_visible": layer["b_visible"]})
    assert same(state.top.params, layers[-1])
    assert int(state.top.step) == 0

    @jax.jit
    def use(net, key, visible, hidden):
        return dbn.reconstruct(net, key, visible), dbn.generate(net, key, hidden, 3)

    rows = float32((reference.states(6), reference.states(3)))
    tied = use(dbn.tie(layers), jax.random.key(1), *rows)
    assert same(use(state.params, jax.random.key(1), *rows), tied)


def test_without_a_dbn_the_start_is_an_untrained_one() -> None:
    @jax.jit
    def start(key):
        stack = dbn.Config((4, 3), init_scale=0.3)
        first = dbn.init(stack, 6, (), key).params
        config = Config((4, 3), init_scale=0.3)
        return wake_sleep.init(config, 6, None, key), dbn.init(stack, 6, first, key)

    state, (lower, upper) = start(jax.random.key(2))
    np.testing.assert_array_equal(state.recognition[0]["w"], lower[0]["w"])
    np.testing.assert_array_equal(state.generative[0]["w"], lower[0]["w"])
    assert same(state.top.params, upper.params)


# ---- one step


def step_keys(key, levels, k, samples):
    """The keys of a step's draws by name, as in the appendix, and width."""
    names = ("vis", "hid", "pen", "top") if levels == 4 else ("vis", "pen", "top")
    width = dict(zip(names, (np.prod(SHAPES[levels]), *SIZES[levels]), strict=True))
    data, up, top, down, drawn = jax.random.split(key, 5)
    pixels, wake, sleep = jax.random.split(drawn, 3)
    keys = {("vis", "vis"): data}
    if levels == 4:
        keys["sleephid", "hid"] = jax.random.fold_in(down, 1)
    if samples:
        keys["sleepvis", "vis"] = pixels
    for index, (lower, upper) in enumerate(itertools.pairwise(names[:-1])):
        keys[f"wake{upper}", upper] = jax.random.fold_in(up, index)
        if samples:
            keys[f"p{lower}", lower] = jax.random.fold_in(wake, index)
            keys[f"psleep{upper}", upper] = jax.random.fold_in(sleep, index)
    for index in range(k):
        both = jax.random.split(jax.random.fold_in(top, index))
        keys[f"hidden {index}", "top"], keys[f"visible {index}", "pen"] = both
    return {(name, width[units]): key for (name, units), key in keys.items()}


def in_the_names_of_the_appendix(state):
    lowest, highest = state.recognition[0], state.recognition[-1]
    named = {
        "penrecbiases": highest["b_hidden"],
        "visgenbiases": state.generative[0]["b_visible"],
        "pentop": state.top.params["w"],
        "pengenbiases": state.top.params["b_visible"],
        "topbiases": state.top.params["b_hidden"],
    }
    if len(state.recognition) == 1:
        return named | {"vispen": lowest["w"], "penvis": state.generative[0]["w"].T}
    return named | {
        "vishid": lowest["w"],
        "hidpen": highest["w"],
        "hidrecbiases": lowest["b_hidden"],
        "hidvis": state.generative[0]["w"].T,
        "penhid": state.generative[1]["w"].T,
        "hidgenbiases": state.generative[1]["b_visible"],
    }


@pytest.mark.parametrize(
    ("levels", "k", "prediction"),
    [(3, 1, "probs"), (3, 2, "samples"), (4, 2, "probs"), (4, 1, "samples")],
)
def test_a_step_is_appendix_b(levels: int, k: int, prediction: str) -> None:
    config = Config(SIZES[levels], num_gibbs_steps=k, learning_rate=0.3, prediction=prediction)
    state = untied_state(Config(SIZES[levels], learning_rate=0.3), levels)
    step = jitted(functools.partial(wake_sleep.step, config))
    new, metrics = step(state, unlabelled(images(levels)), jax.random.key(4))

    keys = step_keys(jax.random.key(4), levels, k, prediction == "samples")
    draw = truth.Draws(truth.uniforms(keys, NUM))
    visible = draw("vis", images(levels).reshape(NUM, -1) / 255)
    start = {n: np.asarray(x, np.float64) for n, x in in_the_names_of_the_appendix(state).items()}
    up_down = truth.up_down if levels == 4 else truth.up_down_short
    expected = up_down(start, visible, k, 0.3, draw, prediction == "samples")
    assert not draw.left
    errors = {name: metrics[name] for name in ("wake_error", "sleep_error")}
    found = in_the_names_of_the_appendix(new) | errors
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)
    assert int(new.top.step) == 1


@pytest.mark.parametrize(("done", "k"), [(0, 1), (4, 1), (5, 3), (9, 3), (10, 2), (99, 2)])
def test_chains_have_the_length_of_their_part_of_the_training(done: int, k: int) -> None:
    start = untied_state(Config(SIZES[3]), 3)
    start = start._replace(top=start.top._replace(step=jnp.asarray(done)))
    batch = unlabelled(images(3))

    def after(config):
        step = jitted(functools.partial(wake_sleep.step, config))
        return step(start, batch, jax.random.key(4))[0].params

    in_parts = after(Config(SIZES[3], gibbs_phases=(1, 3, 2), num_updates=15))
    fixed = after(Config(SIZES[3], num_gibbs_steps=k))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-6), in_parts, fixed)
    other = after(Config(SIZES[3], num_gibbs_steps=k + 1))
    assert not np.allclose(in_parts.top["w"], other.top["w"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("done", "share"), [(0, 1.0), (50, 1.0), (75, 0.5), (90, 0.2), (100, 0.0)])
def test_the_rate_of_all_layers_falls_to_zero(done: int, share: float) -> None:
    start = untied_state(Config(SIZES[3], learning_rate=0.5), 3)
    start = start._replace(top=start.top._replace(step=jnp.asarray(done)))
    batch = unlabelled(images(3))

    def moved(config):
        step = jitted(functools.partial(wake_sleep.step, config))
        params = step(start, batch, jax.random.key(4))[0].params
        return jax.tree.map(
            lambda new, old: np.asarray(new) - np.asarray(old), params, start.params
        )

    whole = moved(Config(SIZES[3], learning_rate=0.5))
    falling = moved(Config(SIZES[3], learning_rate=0.5, falling=True, num_updates=100))
    near = partial(np.testing.assert_allclose, rtol=0, atol=1e-6)
    jax.tree.map(lambda found, full: near(found, share * full), falling, whole)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(whole)) > 0.01


@pytest.mark.parametrize(
    "shares",
    [
        {"gibbs_phases": (1, 3)},
        {"falling": True},
        {"persistent_share": 0.5},
        {"averaged_share": 0.5},
    ],
)
def test_shares_of_the_training_need_its_length(shares: dict[str, Any]) -> None:
    config = Config(SIZES[3], **shares)
    start = untied_state(config, 3)
    with pytest.raises(SettingError, match="num-updates"):
        wake_sleep.step(config, start, unlabelled(images(3)), jax.random.key(4))


def test_labels_enter_the_top_pair_alone() -> None:
    """Without weights to the label units the rest is the step without labels.

    The given labels go up with the wake pass, and the chain ends in the label that is certain.
    """
    config = Config(SIZES[3], learning_rate=0.3)
    plain, given = untied_state(config, 3), jax.numpy.array([0, 0, 1, 2, 2, 2, 1, 0])
    labels = {"w_labels": np.zeros((3, 3), np.float32), "b_labels": np.float32([0, 0, 99])}
    state = plain._replace(top=plain.top._replace(params=plain.top.params | labels))
    batch = unlabelled(images(3))._replace(labels=given)
    one = jitted(functools.partial(wake_sleep.step, config))
    new, metrics = one(state, batch, jax.random.key(4))
    expected, _ = one(plain, batch, jax.random.key(4))
    found = in_the_names_of_the_appendix(new)
    for name, value in in_the_names_of_the_appendix(expected).items():
        np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)
    change = 0.3 * (np.eye(3)[given].mean(axis=0) - [0, 0, 1])
    np.testing.assert_allclose(new.top.params["b_labels"], labels["b_labels"] + change, rtol=1e-6)
    assert metrics["label_change"] == 5 / 8


@pytest.mark.parametrize(
    ("share", "done", "at_data"),
    [(0.25, 0, True), (0.25, 5, True), (0.25, 6, False), (1.0, 0, False)],
)
def test_persistent_chains_go_on_in_the_last_share_of_the_training(
    share: float, done: int, at_data: bool
) -> None:
    """Before it the step is that of CD, whatever the chains are; the wake pass has no chains."""
    config = Config(SIZES[3], num_gibbs_steps=1, learning_rate=0.3)
    plain, given = untied_state(config, 3), jnp.array([0, 0, 1, 2, 2, 2, 1, 0])
    labels = {"w_labels": np.float32([[3, 5, -3], [0, 3, 2], [-3, 0, 5]]), "b_labels": np.ones(3)}
    params = plain.top.params | float32(labels)
    params["w"] = 6.0 * params["w"]  # so that chains which begin elsewhere do not meet at once
    plain = plain._replace(top=plain.top._replace(params=params, step=jnp.asarray(done)))
    batch = unlabelled(images(3))._replace(labels=given)
    key = jax.random.key(4)
    key_data, key_up, *_ = jax.random.split(key, 5)
    visible = rbm.to_visible(plain.generative[0], key_data, batch.images, "sample")
    woken = dbn.up(plain.recognition, key_up, visible)[-1]
    expected, _ = jitted(functools.partial(wake_sleep.step, config))(plain, batch, key)
    config = dataclasses.replace(config, persistent_share=share, num_updates=8)
    step = jitted(functools.partial(wake_sleep.step, config))

    def from_chains(chains, chain_labels):
        top = plain.top._replace(chains=chains, chain_labels=chain_labels)
        return step(plain._replace(top=top), batch, key)

    near = partial(np.testing.assert_allclose, rtol=0, atol=1e-6)
    new, metrics = from_chains(woken, given)
    jax.tree.map(near, new.params, expected.params)
    assert "pixel_change" not in metrics
    elsewhere = bernoulli(jax.random.key(9), jnp.full(woken.shape, 0.5))
    for chains in ((elsewhere, given), (woken, given[::-1])):
        other, _ = from_chains(*chains)
        jax.tree.map(near, other.generative, new.generative)
        same_top = np.allclose(other.top.params["w"], new.top.params["w"], rtol=0, atol=1e-6)
        assert same_top == at_data


def test_more_chains_than_data_begin_at_each_more_than_once() -> None:
    config = Config(SIZES[3], persistent_share=0.5, num_updates=8)
    top = init(config, 6, float32(truth.layers(6, 4, 3)), jax.random.key(0)).top
    data, labels = jnp.arange(12.0).reshape(3, 4), jnp.array([5, 6, 7])
    top = top._replace(chain_labels=jnp.zeros(100, jnp.int32))
    new = wake_sleep.with_chains(config, top, data, labels)
    np.testing.assert_array_equal(new.chains, np.tile(data, (34, 1))[:100])
    np.testing.assert_array_equal(new.chain_labels, np.tile(labels, 34)[:100])


@pytest.mark.parametrize(("share", "first"), [(0.375, 5), (1.0, 0)])
def test_parameters_are_averaged_over_the_last_share(share: float, first: int) -> None:
    """The training itself goes on from the last ones, as without the mean."""
    plain = Config(SIZES[3], learning_rate=0.5)
    config = dataclasses.replace(plain, averaged_share=share, num_updates=8)
    steps = [jitted(functools.partial(wake_sleep.step, each)) for each in (plain, config)]
    start = float32(truth.layers(6, 4, 3))
    states = [init(each, 6, start, jax.random.key(0)) for each in (plain, config)]
    nets: list[dbn.Net] = []
    assert same(states[1].params, states[0].params)
    for update in range(8):
        key, batch = jax.random.key(update), unlabelled(images(3))
        states = [step(state, batch, key)[0] for step, state in zip(steps, states, strict=True)]
        nets.append(jax.device_get(states[0].params))
        assert same(states[1].last, nets[-1])
        wanted = jax.tree.map(lambda *each: np.mean(each, axis=0), *nets[min(first, update) :])
        near = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
        jax.tree.map(near, states[1].params, wanted)
    assert not np.allclose(nets[-1].top["w"], nets[first].top["w"], atol=1e-3)


def test_dreams_begin_at_the_persistent_chains() -> None:
    """The recognition weights learn from a down pass of their last states, as many as there are."""
    config = Config(SIZES[3], learning_rate=0.3, persistent_share=1.0)
    start = init(config, 6, float32(truth.layers(6, 4, 3)), jax.random.key(0))
    assert start.top.chains.shape == (100, 4)
    step = jitted(functools.partial(wake_sleep.step, config))
    new, metrics = step(start, unlabelled(images(3)), jax.random.key(4))
    key_down = jax.random.split(jax.random.key(4), 5)[3]
    visible, hidden = dbn.down(start.generative, key_down, new.top.chains)
    (layer,) = start.recognition
    error = np.asarray(hidden) - jax.nn.sigmoid(rbm.hidden_logits(layer, visible))
    moved = new.recognition[0]["w"] - layer["w"]
    np.testing.assert_allclose(moved, 0.3 * np.asarray(visible).T @ error / 100, atol=1e-6)
    assert metrics["sleep_error"] == pytest.approx(np.mean(np.square(error)), rel=1e-5)


def test_drawn_predictions_keep_the_mean_of_the_update() -> None:
    """Gradients of many keys against those of the probabilities, given the same states."""
    rng = np.random.default_rng(0)
    layers = [{"w": p["w"], "b_hidden": p["b_hidden"]} for p in NETS64[4].recognition]
    states = [rng.integers(0, 2, (NUM, size)).astype(np.float32) for size in (5, 4, 3)]

    def gradient(key):
        layers32 = float32(layers)
        return wake_sleep.delta_rule(rbm.hidden_logits, layers32, states[:-1], states[1:], key)

    num = 5_000
    drawn, errors = jax.jit(jax.vmap(gradient))(jax.random.split(jax.random.key(0), num))
    exact, error = jax.jit(lambda: gradient(None))()
    np.testing.assert_allclose(errors, error, rtol=1e-5)
    for many, one in zip(jax.tree.leaves(drawn), jax.tree.leaves(exact), strict=True):
        many = np.asarray(many, np.float64).reshape(num, -1)
        deviation = many.std(axis=0)
        difference = np.abs(many.mean(axis=0) - one.ravel())
        assert (difference <= 5 * deviation / np.sqrt(num) + 1e-6).all()
        assert deviation.min() > 0.01


@pytest.mark.parametrize("upward", [True, False])
def test_delta_rule_is_the_gradient_of_the_log_probability(upward: bool) -> None:
    """Of -mean log p(target|source), by central differences in float64."""
    rng = np.random.default_rng(1)
    (layer,) = NETS64[3].recognition if upward else NETS64[3].generative
    visible, hidden = rng.uniform(size=(NUM, 6)), rng.integers(0, 2, (NUM, 4)).astype(float)
    source, target = (visible, hidden) if upward else (hidden, visible.round())
    bias = "b_hidden" if upward else "b_visible"
    logits_of = rbm.hidden_logits if upward else rbm.visible_logits

    def loss(w, b):
        logits = source @ (w if upward else w.T) + b
        probs = truth.sigmoid(logits)
        return -np.log(np.where(target == 1, probs, 1 - probs)).sum(axis=1).mean()

    arguments = float32(((layer,), [source], [target]))
    ((found,), _) = wake_sleep.delta_rule(logits_of, *arguments, None)
    for name in ("w", bias):
        for index in np.ndindex(layer[name].shape):
            moved = [{n: layer[n].copy() for n in ("w", bias)} for _ in range(2)]
            moved[0][name][index] -= 1e-5
            moved[1][name][index] += 1e-5
            low, high = (loss(m["w"], m[bias]) for m in moved)
            np.testing.assert_allclose(found[name][index], (high - low) / 2e-5, atol=1e-6)


# ---- training through `fit`

PATTERNS = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [1, 0, 1, 0, 1, 0]])
DATA = np.repeat(255 * PATTERNS, (40, 80, 120), axis=0).astype(np.uint8).reshape(-1, *SHAPES[3])
CONFIG = Config((4, 3), num_gibbs_steps=2, learning_rate=0.1)


def mean_log_likelihood(net):
    """Exact mean log p(v) of DATA, by enumeration of h1 and h2."""
    net = jax.tree.map(lambda x: np.asarray(x, np.float64), net)
    probs = truth.visible_distribution(net.generative, net.top)
    return np.log(probs[truth.state_numbers(DATA.reshape(len(DATA), -1) / 255)]).mean()


def train(num_epochs, log_every=6, **options):
    state = untied_state(CONFIG, 3)
    learner = wake_sleep.learner(CONFIG, SHAPES[3])
    schedule = Schedule(num_epochs, 20, log_every)
    return fit(learner, DATA, schedule, (0,), state=state, **options), state


def test_training_raises_the_exact_log_likelihood() -> None:
    result, state = train(200, log_every=12)
    best = (np.log([1, 2, 3]) - np.log(6)) @ [1 / 6, 2 / 6, 3 / 6]  # minus the data's entropy
    before, after = mean_log_likelihood(state.params), mean_log_likelihood(result.state.params)
    assert before < -4.0
    assert best - 0.3 < after < best


def test_stopped_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole, _ = train(2)
    part, _ = train(2, folder=tmp_path, should_stop=iter([False, False, True]).__next__)
    assert 0 < part.step < 24
    rest, start = train(2, folder=tmp_path)
    assert (rest.first_step, rest.step, rest.finished) == (part.step, 24, True)
    assert digest(rest.state) == digest(whole.state)
    for before, after in zip(start.params, rest.state.params, strict=True):
        assert not same(before, after)


def test_a_gain_multiplies_the_weights_of_the_label_that_is_asked_for() -> None:
    config = Config(hidden_sizes=(6, 5), num_classes=3, num_sampling_steps=4, init_scale=1.0)
    net = jax.jit(wake_sleep.learner(config, (2, 3, 1)).init)(jax.random.key(0))
    top = net.top.params
    twice = net._replace(top=net.top._replace(params=top | {"w_labels": 2.0 * top["w_labels"]}))
    gained, key, asked = (
        dataclasses.replace(config, label_gain=2.0),
        jax.random.key(1),
        jnp.arange(30) % 3,
    )
    found = wake_sleep.sample(gained, (2, 3, 1), net, key, 30, asked)
    wanted = wake_sleep.sample(config, (2, 3, 1), twice, key, 30, asked)
    np.testing.assert_array_equal(found, wanted)
    assert np.any(found != wake_sleep.sample(config, (2, 3, 1), net, key, 30, asked))


# ---- settings


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"hidden_sizes": (4,)}, "--hidden-sizes of 2 or more numbers.*found 4;"),
        ({"hidden_sizes": (4, 0)}, "--hidden-sizes of .* from 1 .*found 4 0;"),
        ({"hidden_sizes": ()}, "--hidden-sizes of .*found none;"),
        ({"num_gibbs_steps": 0}, "--num-gibbs-steps"),
        ({"num_sampling_steps": -1}, "--num-sampling-steps"),
        ({"num_classes": -1}, "--num-classes a whole number from 0 to"),
        ({"label_gain": 0.0}, "--label-gain above 0"),
        ({"binarize": "sampled"}, "--binarize one of sample, threshold, none, found sampled"),
        ({"prediction": "sample"}, "--prediction one of probs, samples, found sample"),
    ],
)
def test_impossible_settings(bad: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words) as error:
        Config(**bad)
    one_line(error)
