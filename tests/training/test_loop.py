"""Training: each example once an epoch, and the same numbers however a run is cut up."""

import functools
import itertools
import json
import math
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import one_line, same

from jaxgen.data import Dataset, Split
from jaxgen.errors import CheckpointError, NonFiniteError, OutOfMemoryError, SettingError
from jaxgen.learner import Learner, named_key, unlabelled
from jaxgen.models import rbm, vae
from jaxgen.training import checkpoint, loop
from jaxgen.training.epoch import (
    Carry,
    epoch_order,
    initial_carry,
    initial_state,
    root_keys,
    run_steps,
)
from jaxgen.training.loop import Progress, Result, Schedule, Start, fit
from jaxgen.training.seeds import start_from

MAX_STEPS = 40


class Spy(NamedTuple):
    """The batches of a learner, step by step, and a number that depends on every bit of them."""

    seen: jax.Array
    """The examples of each step [MAX_STEPS, batch]; -1 where no step was made."""
    keys: jax.Array
    """The key of each step [MAX_STEPS, 2]."""
    losses: jax.Array
    """The loss of each step [MAX_STEPS]."""
    init_key: jax.Array
    value: jax.Array
    step: jax.Array


def noise(key: Any) -> Any:
    """Numbers in [0, 1) that depend on the key; random enough here, and compiled in no time."""
    return (jax.random.key_data(key) % 9973) / jnp.float32(9973)


def never(state: Spy) -> bool:
    """A loss that is finite in every step."""
    del state
    return False


def spy_init(batch_size: int, key: Any) -> Spy:
    return Spy(
        seen=jnp.full((MAX_STEPS, batch_size), -1),
        keys=jnp.zeros((MAX_STEPS, 2), jnp.uint32),
        losses=jnp.zeros(MAX_STEPS),
        init_key=jax.random.key_data(key),
        value=noise(key),
        step=jnp.zeros((), jnp.int32),
    )


def spy_step(bad: Callable[[Any], Any], state: Spy, batch: Any, key: Any) -> tuple[Spy, Any]:
    value = 0.9 * state.value + noise(key) + jnp.mean(batch.images / 255)
    loss = jnp.where(bad(state), jnp.nan, jnp.sum(value**2))
    new_state = Spy(
        seen=state.seen.at[state.step].set(batch.images[:, 0, 0, 0].astype(int)),
        keys=state.keys.at[state.step].set(jax.random.key_data(key)),
        losses=state.losses.at[state.step].set(loss),
        init_key=state.init_key,
        value=value,
        step=state.step + 1,
    )
    return new_state, {"loss": loss, "first": value[0]}


def spy_sample(state: Spy, key: Any, num: int, labels: Any = None) -> Any:
    raise AssertionError("training draws no samples")


def spy(batch_size: int, bad: Callable[[Any], Any] = never) -> Learner:
    """A learner that writes down what it is given; its loss is NaN where ``bad(state)``."""
    init = functools.partial(spy_init, batch_size)
    return Learner(init, functools.partial(spy_step, bad), spy_sample)


def numbered(num: int) -> np.ndarray:
    """Images [num, 1, 2, 1]: a pixel that is the image's number, and a white one."""
    return np.stack([np.arange(num), np.full(num, 255)], 1).astype(np.uint8).reshape(num, 1, 2, 1)


def grey(num: int = 20) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, 2, 3, 1), dtype=np.uint8)


def tiny_rbm(**settings: Any) -> Learner:
    return rbm.learner(rbm.Config(num_hidden=4, num_chains=5, **settings), (2, 3, 1))


def saved(folder: Path, result: Result, learner: Learner, images: np.ndarray, seeds=(0,)) -> Any:
    """The newest checkpoint: the state and the metrics of the epoch."""
    data, length = unlabelled(images), len(images) // 3
    like = initial_carry(learner, root_keys(seeds), data, 3, length, result.state)
    found = checkpoint.restore(folder, like, {})
    assert found is not None
    assert found.step == result.step
    return found.tree


def stop_after(num_chunks: int) -> Callable[[], bool]:
    """False for some chunks, then True."""
    asked = itertools.count(1)
    return lambda: next(asked) > num_chunks


@pytest.fixture
def erratic_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which chunks take from a microsecond to 10 s, so that their lengths vary."""
    rng = random.Random(0)

    def ticks() -> Iterator[float]:
        now = 0.0
        while True:
            yield now
            now += 10 ** rng.uniform(-6, 1)

    clock = functools.partial(next, ticks())
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=clock, monotonic=clock))


# ---- which examples, in which order, with which keys


@pytest.mark.parametrize(("num", "batch_size"), [(12, 3), (13, 5), (7, 7), (5, 1)])
def test_each_example_once_an_epoch(num: int, batch_size: int) -> None:
    length = num // batch_size
    result = fit(spy(batch_size), numbered(num), Schedule(3, batch_size, log_every=2), (0,))
    assert result.step == 3 * length
    seen = np.asarray(result.state.seen)
    for epoch in range(3):
        visited = seen[epoch * length : (epoch + 1) * length].ravel()
        assert len(visited) == len(set(visited)) == length * batch_size
        assert set(visited) <= set(range(num))
    assert (seen[3 * length :] == -1).all()


def test_leftover_examples_differ_from_epoch_to_epoch() -> None:
    result = fit(spy(5), numbered(13), Schedule(15, 5), (0,))
    epochs = np.asarray(result.state.seen)[:30].reshape(15, 10)
    assert set(epochs.ravel()) == set(range(13))


def test_orders_differ_between_epochs_and_seeds() -> None:
    keys = root_keys([0, 1, 2])
    orders = [tuple(np.asarray(epoch_order(k, e, 50))) for k in keys for e in range(4)]
    assert len(set(orders)) == 12
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_an_epoch_follows_its_order() -> None:
    seen = np.asarray(fit(spy(5), numbered(13), Schedule(2, 5), (4,)).state.seen)
    for epoch in range(2):
        expected = np.asarray(epoch_order(jax.random.key(4), epoch, 13))[:10]
        np.testing.assert_array_equal(seen[2 * epoch : 2 * epoch + 2].ravel(), expected)


def test_every_key_is_used_once() -> None:
    state = fit(spy(2), numbered(8), Schedule(10, 2), (0, 1, 2)).state
    keys = [tuple(key) for key in np.asarray(state.keys).reshape(-1, 2)]
    keys += [tuple(key) for key in np.asarray(state.init_key)]
    for root in root_keys([0, 1, 2]):
        keys.append(tuple(np.asarray(jax.random.key_data(root))))
        for name in ("init", "order", "step", "sample"):
            stream = named_key(root, name)
            if name != "init":  # the spy has it
                keys.append(tuple(np.asarray(jax.random.key_data(stream))))
            if name == "order":
                for epoch in range(10):
                    key = jax.random.fold_in(stream, epoch)
                    keys.append(tuple(np.asarray(jax.random.key_data(key))))
    assert len(keys) == 3 * (40 + 1 + 1 + 3 + 10)
    assert len(set(keys)) == len(keys)


def test_keys_are_those_the_module_documents() -> None:
    state = fit(spy(2), numbered(8), Schedule(2, 2), (9,)).state
    root = jax.random.key(9)
    np.testing.assert_array_equal(state.init_key, jax.random.key_data(named_key(root, "init")))
    for epoch, index in itertools.product(range(2), range(4)):
        key = jax.random.fold_in(jax.random.fold_in(named_key(root, "step"), epoch), index)
        found = state.keys[4 * epoch + index]
        np.testing.assert_array_equal(found, jax.random.key_data(key))


# ---- one program for every chunk


@pytest.mark.parametrize("which", ["spy", "rbm", "pcd"])
def test_chunked_equals_unchunked(which: str) -> None:
    images = grey(24)
    learner = {
        "spy": spy(3),
        "rbm": tiny_rbm(),
        "pcd": tiny_rbm(
            persistent=True, centred=True, momentum=0.5, weight_decay=0.01, decay_steps=12
        ),
    }[which]
    key = root_keys([0])
    order = epoch_order(key, 1, len(images))
    data, zero = unlabelled(jnp.asarray(images)), jnp.int32(0)
    start = initial_carry(learner, key, data, 3, 8, initial_state(learner, key, None))
    run = jax.jit(functools.partial(run_steps, learner, 3))
    run = run.lower(start, data, order, key, zero, zero, zero).compile()

    def in_chunks(*lengths: int) -> Carry:
        carry, first = start, 0
        for length in lengths:
            bounds = map(jnp.int32, (1, first, first + length))
            carry, reached = run(carry, data, order, key, *bounds)
            first += length
            assert int(reached) == first
        return carry

    whole = in_chunks(8)
    assert not same(whole, start)
    for lengths in [(4, 4), (3, 5), (1,) * 8, (0, 8, 0)]:
        assert same(in_chunks(*lengths), whole)


def test_any_log_interval_gives_the_same_numbers(tmp_path: Path, erratic_clock: None) -> None:
    learner, images = spy(3), grey()
    carries = []
    for log_every in (100, 4, 1):
        folder, schedule = tmp_path / str(log_every), Schedule(4, 3, log_every)
        result = fit(learner, images, schedule, (0,), folder=folder)
        carries.append(saved(folder, result, learner, images))
    assert all(same(carry, carries[0]) for carry in carries)


@pytest.mark.parametrize("stream", [False, True])
def test_each_fit_traces_and_compiles_once(stream: bool, erratic_clock: None) -> None:
    learner, traced, chunks = spy(3), [], []

    def step(state, batch, key):
        traced.append(None)
        return learner.step(state, batch, key)

    counted = learner._replace(step=step)
    hook = chunks.append
    schedule = Schedule(4, 3, log_every=5)
    fit(counted, numbered(24), schedule, (0,), stream=stream, hook=hook)
    assert len({chunk.step - before.step for before, chunk in itertools.pairwise(chunks)}) > 2
    assert len(traced) == 1  # for the names of the metrics, and the program takes it


# ---- stop, resume


@pytest.mark.parametrize("wide", [False, True])
def test_steps_are_compiled_for_wide_vectors_where_a_learner_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, wide: bool
) -> None:
    given: list[Any] = []
    compile_ = jax.stages.Lowered.compile

    def noted(lowered: Any, options: Any = None) -> Any:
        given.append(options)
        return compile_(lowered, options)

    monkeypatch.setattr(jax.stages.Lowered, "compile", noted)
    fit(spy(3)._replace(wide_vectors=wide), numbered(6), Schedule(1, 3), (0,))
    assert given == [None, {"xla_cpu_prefer_vector_width": "512"} if wide else None]


@pytest.mark.parametrize("which", ["spy", "rbm"])
@pytest.mark.parametrize("seeds", [(0,), (0, 5)])
def test_stopped_and_resumed_equals_uninterrupted(
    tmp_path: Path, which: str, seeds: tuple[int, ...], erratic_clock: None
) -> None:
    pcd = tiny_rbm(persistent=True, momentum=0.5, centred=True, decay_steps=24)
    learner, images = {"spy": spy(3), "rbm": pcd}[which], grey()
    num_chunks = random.Random(which + str(seeds)).randint(1, 7)  # there are at least 8
    run = functools.partial(fit, learner, images, Schedule(4, 3, log_every=4), seeds)
    whole = run(folder=tmp_path / "whole")
    part = run(folder=tmp_path / "cut", should_stop=stop_after(num_chunks))
    assert not part.finished
    assert 0 < part.step < whole.step == 24
    rest = run(folder=tmp_path / "cut")
    assert rest.finished
    assert rest.first_step == part.step
    assert checkpoint.digest(rest.state) == checkpoint.digest(whole.state)
    ends = [saved(tmp_path / n, rest, learner, images, seeds) for n in ("whole", "cut")]
    assert same(*ends)
    assert same(ends[0].state, jax.device_get(whole.state))


def test_the_folder_may_be_text(tmp_path: Path) -> None:
    run = functools.partial(fit, spy(3), grey(6), Schedule(1, 3), (0,))
    run(folder=str(tmp_path / "text"))
    assert run(folder=tmp_path / "text").first_step == 2


def test_other_settings_are_refused_before_anything_is_compiled(tmp_path: Path) -> None:
    def never(_: Any) -> NoReturn:
        raise AssertionError("compiled")

    run = functools.partial(fit, data=grey(6), schedule=Schedule(1, 3), seeds=(0,), folder=tmp_path)
    run(spy(3), settings={"rate": "0.1"})
    with pytest.raises(CheckpointError, match=r"'rate' of .* to be 0\.2, found it to be 0\.1"):
        run(spy(3)._replace(init=never), settings={"rate": "0.2"})


def test_stopped_after_every_chunk(tmp_path: Path) -> None:
    run = functools.partial(fit, spy(3), grey(6), Schedule(2, 3, log_every=1), (0,))
    first_steps = []
    for _ in range(4):
        result = run(folder=tmp_path, should_stop=lambda: True)
        first_steps.append(result.first_step)
    assert first_steps == list(range(4))
    assert result.finished
    assert same(result.state, run().state)


def test_logged_metrics_of_a_resumed_run(tmp_path: Path) -> None:
    run = functools.partial(fit, spy(3), numbered(21), Schedule(3, 3, log_every=5), (0,))
    expected: list[Progress] = []
    run(hook=lambda p: expected.append(p) if p.metrics else None)
    found: dict[int, Any] = {}
    stops = 0
    while True:  # five chunks a process
        result = run(
            folder=tmp_path,
            hook=lambda p: found.update({p.step: p.metrics}) if p.metrics else None,
            should_stop=stop_after(4),
        )
        if result.finished:
            break
        stops += 1
    assert stops > 0
    assert found == {p.step: p.metrics for p in expected}
    assert list(found) == [5, 7, 12, 14, 19, 21]


def test_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    run = functools.partial(fit, spy(3), numbered(21), Schedule(2, 3), (0,), folder=tmp_path)
    first = run()
    before = sorted(tmp_path.rglob("*"))
    again = run(hook=lambda _: pytest.fail("there is nothing to train"))
    assert (again.first_step, again.step, again.finished) == (14, 14, True)
    assert same(again.state, first.state)
    assert sorted(tmp_path.rglob("*")) == before


def test_more_epochs_go_on_from_a_finished_run(tmp_path: Path) -> None:
    learner, images = spy(3), grey()
    fit(learner, images, Schedule(2, 3), (0,), folder=tmp_path)
    longer = fit(learner, images, Schedule(5, 3), (0,), folder=tmp_path)
    assert longer.first_step == 12
    assert same(longer.state, fit(learner, images, Schedule(5, 3), (0,)).state)


def test_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    run = functools.partial(fit, spy(3), numbered(21), seeds=(0,), folder=tmp_path)
    run(schedule=Schedule(3, 3), settings={"rate": "a"})
    started: list[Start] = []
    for schedule, rate, words in [
        (Schedule(3, 3), "b", "the setting 'rate' of .* to be b, found it to be a"),
        (Schedule(2, 3), "a", "expected a checkpoint of at most step 14.*found one of step 21"),
    ]:
        with pytest.raises(CheckpointError, match=words):
            run(schedule=schedule, settings={"rate": rate}, on_start=started.append)
    assert started == []


def test_on_start_comes_before_the_first_step_with_the_log_that_was_kept(tmp_path: Path) -> None:
    events: list[Any] = []
    run = functools.partial(
        fit,
        spy(3),
        numbered(9),
        seeds=(0,),
        folder=tmp_path / "new" / "folder",
        on_start=events.append,
        hook=lambda _: events.append("chunk"),
    )
    run(schedule=Schedule(1, 3), log=lambda: b"first")
    assert events[0] == Start(0, 3, None)
    assert set(events[1:]) == {"chunk"}
    for num_epochs, step, kept in [(1, 3, b"first"), (2, 3, b"first"), (3, 6, None)]:
        events.clear()
        run(schedule=Schedule(num_epochs, 3))  # which keeps none
        assert events[0] == Start(step, 3, kept)


def test_checkpoints_follow_the_clock(tmp_path: Path) -> None:
    steps: dict[float, list[str]] = {}
    for seconds in (0.0, 1000.0):
        folder = tmp_path / str(seconds)
        names: list[str] = []
        fit(
            spy(3),
            numbered(9),
            Schedule(2, 3, log_every=1, checkpoint_seconds=seconds),
            (0,),
            folder=folder,
            hook=lambda _, folder=folder, names=names: names.append(
                max((path.name for path in folder.glob("step_*")), default="")
            ),
        )
        steps[seconds] = names
        assert max(path.name for path in folder.iterdir()) == "step_00000006"
    # A hook runs before the checkpoint of its own chunk.
    assert steps[0.0] == ["", *(f"step_{n:08d}" for n in range(1, 6))]
    assert steps[1000.0] == [""] * 6


# ---- several seeds in one program


def test_each_member_follows_its_own_seed() -> None:
    seeds = (3, 0)
    together = fit(spy(3), numbered(21), Schedule(3, 3), seeds).state
    assert all(leaf.shape[0] == 2 for leaf in jax.tree.leaves(together))
    for member, seed in enumerate(seeds):
        alone = fit(spy(3), numbered(21), Schedule(3, 3), (seed,)).state
        for name in ("seen", "keys", "init_key", "step"):
            np.testing.assert_array_equal(getattr(together, name)[member], getattr(alone, name))
        np.testing.assert_allclose(together.losses[member], alone.losses, rtol=1e-5)


def test_each_member_has_the_bits_of_its_own_training() -> None:
    """Where the seeds take turns; batched products of a VAE round differently."""
    learner, images = vae.learner(vae.Config((16,), latent_size=4), (2, 3, 1)), grey()
    together = fit(learner, images, Schedule(6, 4), (3, 0)).state
    for member, seed in enumerate((3, 0)):
        alone = fit(learner, images, Schedule(6, 4), (seed,)).state
        assert same(jax.tree.map(lambda leaf, i=member: leaf[i], together), alone)


def test_a_given_state_replaces_init_and_is_left_whole() -> None:
    learner, images = spy(3), grey()
    given, copy = learner.init(jax.random.key(42)), learner.init(jax.random.key(42))
    trained = fit(learner, images, Schedule(1, 3), (0,), state=given).state
    assert same(given, copy)  # and its memory was not reused
    np.testing.assert_array_equal(trained.init_key, copy.init_key)
    other = fit(learner, images, Schedule(1, 3), (0,)).state
    np.testing.assert_array_equal(trained.seen, other.seen)
    assert not same(trained.value, other.value)
    assert same(fit(learner, images, Schedule(0, 3), (0,), state=given).state, copy)


def test_given_states_of_several_members_share_a_seed() -> None:
    learner, images = tiny_rbm(), grey()
    state = learner.init(jax.random.key(1))
    rates = state.opt_state.hyperparams["learning_rate"] * jnp.array([1.0, 0.0])
    stacked = jax.tree.map(lambda x: jnp.stack([x, x]), state)
    opt_state = stacked.opt_state._replace(hyperparams={"learning_rate": rates})
    given = stacked._replace(opt_state=opt_state)
    trained = fit(learner, images, Schedule(2, 3), (5, 5), state=given).state
    assert same(trained.params["w"][1], given.params["w"][1])
    alone = fit(learner, images, Schedule(2, 3), (5,), state=state).state
    np.testing.assert_allclose(trained.params["w"][0], alone.params["w"], atol=1e-6)


@pytest.mark.parametrize(
    ("other", "seeds", "words"),
    [
        (
            rbm.learner(rbm.Config(), (1, 3, 1)),
            (0,),
            "for .params['b_hidden'], found float32[100];",
        ),
        (spy(3), (0,), "found nothing;"),
        (tiny_rbm(), (0, 1), "expected a state of this learner, with float32[2, 4] for .params"),
        (tiny_rbm(persistent=True), (0,), "with nothing for .chains, found float32[5, 6];"),
    ],
)
def test_a_state_of_another_learner_is_refused(
    other: Learner, seeds: tuple[int, ...], words: str
) -> None:
    with pytest.raises(SettingError) as error:
        fit(tiny_rbm(), grey(), Schedule(1, 3), seeds, state=other.init(jax.random.key(1)))
    assert words in one_line(error)


@pytest.mark.parametrize("state", [object(), {"params": "a file"}])
def test_what_is_no_state_is_refused(state: Any) -> None:
    with pytest.raises(SettingError) as error:
        fit(tiny_rbm(), grey(), Schedule(1, 3), (0,), state=state)
    assert "with float32[4] for .params['b_hidden'], found nothing;" in one_line(error)


@pytest.mark.parametrize(
    ("bias", "found"),
    [
        (np.zeros(4, object), "object[4]"),
        (np.array(["x"] * 4), "<U1[4]"),
        (jnp.zeros(4, jnp.int32), "int32[4]"),
        (jnp.zeros(4, jnp.complex64), "complex64[4]"),
        (0.0, "float32[]"),  # by broadcasting a step would take it
    ],
)
def test_arrays_of_another_kind_are_refused(bias: Any, found: str) -> None:
    state = tiny_rbm().init(jax.random.key(1))
    given = state._replace(params=state.params | {"b_hidden": bias})
    with pytest.raises(SettingError) as error:
        fit(tiny_rbm(), grey(), Schedule(1, 3), (0,), state=given)
    assert f"float32[4] for .params['b_hidden'], found {found};" in one_line(error)


def test_a_state_that_diverged_is_refused() -> None:
    """By its own name; no learning rate is to be lowered."""
    state = tiny_rbm().init(jax.random.key(1))
    given = state._replace(params=state.params | {"w": state.params["w"].at[0, 0].set(jnp.inf)})
    with pytest.raises(SettingError) as error:
        fit(tiny_rbm(), grey(), Schedule(1, 3), (0,), state=given)
    assert "of finite numbers for .params['w'], found NaN or infinity;" in one_line(error)


def test_what_is_no_state_is_refused_though_init_needs_the_data() -> None:
    config = rbm.Config(num_hidden=4, visible="gaussian", learning_rate=0.01)
    with pytest.raises(SettingError) as error:
        fit(rbm.learner(config, (2, 3, 1)), grey(), Schedule(1, 3), (0,), state=object())
    assert "expected a state of arrays" in one_line(error)


def test_a_state_has_what_init_would_need_of_the_data() -> None:
    pixels = rbm.pixel_statistics(grey())
    config = rbm.Config(num_hidden=4, visible="gaussian", learning_rate=0.01)
    given = rbm.learner(config, (2, 3, 1), pixels=pixels).init(jax.random.key(1))
    assert fit(rbm.learner(config, (2, 3, 1)), grey(), Schedule(1, 3), (0,), state=given).step == 6


# ---- what a hook is told


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_hook_gets_the_means_of_the_steps(seeds: tuple[int, ...]) -> None:
    told: list[tuple[int, Any, Any]] = []

    def hook(progress: Progress) -> None:
        assert progress.num_steps == 14
        assert progress.steps_per_epoch == 7
        assert progress.epoch == progress.step // 7
        losses = np.asarray(progress.state.losses)
        last = progress.step - 1
        so_far = losses[..., last - last % 7 % 3 : progress.step].mean(axis=-1)
        np.testing.assert_array_equal(progress.running["loss"], so_far)
        if progress.metrics:
            told.append((progress.step, progress.metrics["loss"], losses))

    result = fit(spy(3), numbered(21), Schedule(2, 3, log_every=3), seeds, hook=hook)
    assert [step for step, _, _ in told] == [3, 6, 7, 10, 13, 14]
    history = result.history
    assert [*history] == ["step", "epoch", "first", "loss"]
    np.testing.assert_array_equal(history["step"], [3, 6, 7, 10, 13, 14])
    np.testing.assert_allclose(history["epoch"], np.array([3, 6, 7, 10, 13, 14]) / 7)
    assert history["loss"].shape == ((6,) if len(seeds) == 1 else (2, 6))
    for index, first in enumerate([0, 3, 6, 7, 10, 13]):
        step, found, losses = told[index]
        expected = losses[..., first:step].mean(axis=-1)
        assert expected.shape == found.shape == (() if len(seeds) == 1 else (2,))
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(history["loss"][..., index], expected)


def test_a_result_is_a_line_and_a_finished_run_has_no_history(tmp_path: Path) -> None:
    run = functools.partial(fit, spy(3), numbered(21), Schedule(2, 3), (0, 1), folder=tmp_path)
    result = run()
    loss = result.history["loss"][:, -1].mean()
    assert repr(result).startswith("<Result of 14 steps, epoch 2, first ")
    assert repr(result).endswith(f", loss {loss:.4g}>")
    again = run()
    assert {name: values.size for name, values in again.history.items()} == {"step": 0, "epoch": 0}
    assert repr(again) == "<Result of 14 steps>"


@pytest.mark.parametrize("seeds", [(0,), (0, 1)])
def test_a_bar_of_progress(seeds: tuple[int, ...], capsys: pytest.CaptureFixture[str]) -> None:
    run = functools.partial(fit, spy(3), numbered(21), Schedule(2, 3), seeds)
    run()
    assert capsys.readouterr() == ("", "")
    result = run(progress=True)
    out, shown = capsys.readouterr()
    assert out == ""
    first, *_, last = shown.strip().split("\r")
    assert first.startswith("compiling:   0%")
    assert last.startswith("training: 100%")
    assert "14/14" in last
    assert last.endswith(f", loss {result.history['loss'][..., -1].mean():.3g}]")


def test_steps_of_the_hook_go_on_to_the_end() -> None:
    steps: list[int] = []
    result = fit(spy(3), numbered(21), Schedule(3, 3), (0,), hook=lambda p: steps.append(p.step))
    assert steps == sorted(set(steps))
    assert steps[-1] == result.step == 21
    assert {7, 14, 21} <= set(steps)  # no chunk crosses the end of an epoch


# ---- what cannot go on


@pytest.mark.parametrize("bad_step", [0, 9])
def test_a_metric_that_is_not_finite_stops_at_its_step(tmp_path: Path, bad_step: int) -> None:
    learner = spy(3, bad=lambda state: state.step == bad_step)
    schedule = Schedule(3, 3, log_every=4, checkpoint_seconds=0.0)
    steps: list[int] = []
    with pytest.raises(NonFiniteError) as error:
        fit(
            learner,
            numbered(21),
            schedule,
            (0,),
            folder=tmp_path,
            hook=lambda p: steps.append(p.step),
        )
    epoch, index = divmod(bad_step, 7)
    text = f"found loss = nan at epoch {epoch}, step {index} of the epoch;"
    assert text in str(error.value)
    assert error.value.exit_code == 5
    assert all(step <= bad_step for step in steps)
    stored = [json.loads(p.read_text())["step"] for p in tmp_path.glob("step_*/manifest.json")]
    assert max(stored, default=0) <= bad_step
    assert max(stored, default=0) == max(steps, default=0)
    kept = f"; the checkpoint of step {max(stored)} is kept" if stored else ""
    assert str(error.value).endswith(f"lower --learning-rate{kept}")
    mended = fit(spy(3), numbered(21), schedule, (0,), folder=tmp_path)  # from what is there
    assert mended.first_step == max(steps, default=0)
    assert mended.finished
    assert np.isfinite(mended.state.losses).all()


def test_the_program_stops_right_after_a_bad_step() -> None:
    key, zero = root_keys([0]), jnp.int32(0)
    learner, data = spy(3, bad=lambda state: state.step == 2), unlabelled(jnp.asarray(numbered(21)))
    carry = initial_carry(learner, key, data, 3, 7, initial_state(learner, key, None))
    run = jax.jit(functools.partial(run_steps, learner, 3))
    carry, reached = run(carry, data, epoch_order(key, 0, 21), key, zero, zero, jnp.int32(7))
    assert int(reached) == int(carry.state.step) == 3


def test_the_member_that_is_not_finite_is_found() -> None:
    def bad(state):
        return (state.step == 8) & (state.init_key[0] == bad_key)

    bad_key = np.asarray(jax.random.key_data(named_key(jax.random.key(6), "init")))[0]
    for seeds in [(5, 6), (6, 5)]:
        with pytest.raises(NonFiniteError, match="loss = nan at epoch 1, step 1 of the epoch"):
            fit(spy(3, bad), numbered(21), Schedule(3, 3), seeds)


def test_impossible_batch_size() -> None:
    with pytest.raises(SettingError, match="1 to the 21 training examples, found 22;"):
        fit(spy(3), numbered(21), Schedule(1, 22), (0,))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"num_epochs": -1},
            "whole number of at least 0 for num_epochs of the schedule, found -1",
        ),
        ({"num_epochs": 1.5}, "a whole number of at least 0 for num_epochs.*found 1.5"),
        ({"log_every": 0}, "of at least 1 for log_every of the schedule, found 0; set log_every"),
        ({"log_every": -1}, "of at least 1 for log_every of the schedule, found -1"),
        (
            {"batch_size": 0},
            "of at least 1 for batch_size of the schedule, found 0; set batch_size",
        ),
        *(
            ({"batch_size": value}, "a whole number of at least 1 for batch_size")
            for value in ("a", None, 100.0, True)
        ),
        ({"checkpoint_seconds": "a"}, "a number of at least 0 for checkpoint_seconds.*found a"),
        ({"checkpoint_seconds": -1.0}, "of at least 0 for checkpoint_seconds.*found -1.0"),
        ({"checkpoint_seconds": math.nan}, "of at least 0 for checkpoint_seconds.*found nan"),
    ],
)
def test_impossible_schedule(change: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words) as error:
        Schedule(**{"num_epochs": 1, "batch_size": 3} | change)
    one_line(error)
    assert Schedule(1, 3, checkpoint_seconds=math.inf).checkpoint_seconds == math.inf


@pytest.mark.parametrize(
    "seeds",
    [(), (-1,), (2**32,), (0, 2**32), 0, None, (0.5,), "0", np.array(3), b"ab", (True,), [[0]]],
    ids=repr,
)
def test_impossible_seeds(seeds: Any) -> None:
    for use in (
        lambda: fit(spy(3), numbered(21), Schedule(1, 3), seeds),
        lambda: start_from(lambda key, _: key, seeds, ()),
    ):
        with pytest.raises(SettingError, match="one or more seeds, whole numbers from 0 to") as e:
            use()
        one_line(e)
    assert fit(spy(3), numbered(21), Schedule(1, 3), np.array([2**32 - 1])).step == 7


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (
            grey() / 255.0,
            "found float64 [20, 2, 3, 1] from 0 to 0.9725; convert them: jaxgen.data",
        ),
        (grey() % 16, "from 0 to 15; convert them: jaxgen.data.to_uint8(images, low=0, high=15)"),
        (grey() % 3 // 2 * 2, "from 0 to 2; convert them: jaxgen.data.to_uint8(images, low=0, h"),
        (np.ma.array(grey(), mask=grey() > 9), "found 1"),
        (grey() > 9, "found bool [20, 2, 3, 1] from 0 to 1; convert them"),
        (grey()[..., 0], "found uint8 [20, 2, 3] from 0 to 248; add the axis of channels"),
        (numbered(21), "images of [2, 3, 1], found uint8 [21, 1, 2, 1] from 0 to 255; take others"),
    ],
)
def test_what_are_no_images_of_the_learner(images: np.ndarray, words: str) -> None:
    """Before anything is computed; a learner without a shape takes raw images of any."""
    with pytest.raises(SettingError) as error:
        fit(tiny_rbm(), images, Schedule(1, 3), (0,))
    assert words in one_line(error)


def test_images_that_are_no_array_are_made_one() -> None:
    class Foreign:
        """Like a tensor of another library: a dtype of its own, and NumPy's protocol."""

        dtype = "uint8"
        shape = grey().shape

        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return grey()

    expected = fit(spy(3), grey(), Schedule(1, 3), (0,)).state
    for images in ([*grey()], memoryview(grey()), np.ma.array(grey()), Foreign()):
        assert same(fit(spy(3), images, Schedule(1, 3), (0,)).state, expected)  # type: ignore[arg-type]


def test_a_state_larger_than_the_memory() -> None:
    learner = rbm.learner(rbm.Config(num_hidden=2**31 - 1), (28, 28, 1))
    images = np.zeros((3, 28, 28, 1), np.uint8)
    with pytest.raises(SettingError, match="GiB of memory, found one of 6,") as error:
        fit(learner, images, Schedule(1, 3), (0,))
    one_line(error)


def test_a_step_larger_than_the_memory() -> None:
    """Found when it is compiled, before a run folder is begun."""
    learner = vae.learner(vae.Config((8,), 2, num_samples=10**6), (28, 28, 1))
    images = np.zeros((60, 28, 28, 1), np.uint8)
    started: list[Start] = []
    with pytest.raises(OutOfMemoryError, match="a step that fits into") as error:
        fit(learner, images, Schedule(1, 60), (0,), on_start=started.append)
    one_line(error)
    assert started == []


def test_time_spent_is_told() -> None:
    began = time.perf_counter()
    result = fit(spy(3), numbered(21), Schedule(2, 3), (0,))
    assert 0 < result.train_s < time.perf_counter() - began
    assert 0 < result.compile_s < time.perf_counter() - began


# ---- what is learned from


def noting(num_classes: int = 0) -> Learner:
    """A learner whose state has the label that came with each value of an image's first pixel."""

    def step(state, batch, key):
        return state.at[batch.images[:, 0, 0, 0]].set(batch.labels), {"zero": jnp.zeros(())}

    init = functools.partial(jnp.full, 256, -1)
    return spy(3)._replace(init=lambda _: init(), step=step, num_classes=num_classes)


@pytest.mark.parametrize("whole", [False, True])
def test_labels_come_with_their_images(whole: bool) -> None:
    images = np.arange(21, dtype=np.uint8)[:, None, None, None].repeat(2, axis=2) + 40
    split = Split(images, np.arange(21, dtype=np.int32)[::-1] % 4)
    dataset = Dataset("made", split, split, "")
    seen = fit(noting(4), dataset if whole else split, Schedule(1, 3), (0,)).state
    np.testing.assert_array_equal(seen[40:61], split.labels)


def test_a_step_may_take_several_mini_batches() -> None:
    learner = spy(6)._replace(num_batches=2)
    result = fit(learner, numbered(21), Schedule(2, 3), (0,))
    assert result.step == 2 * (21 // 6)
    with pytest.raises(SettingError) as error:
        fit(learner, numbered(5), Schedule(1, 3), (0,))
    expected = "a batch size from 1 to 2, as a step takes 2 batches of the 5 training examples"
    assert f"{expected}, found 3" in one_line(error)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "expected labels for a conditional model, found images alone"),
        (np.zeros(20, np.int32), "expected 21 labels, whole numbers from 0 to 2, found int32 [20]"),
        (np.full(21, 3), "found int64 [21] from 3 to 3"),
        (np.full(21, -1), "found int64 [21] from -1 to -1"),
        (np.zeros(21), "found float64 [21]"),
        (np.full(21, "cat"), "found <U3 [21]; give a label"),
    ],
)
def test_labels_that_cannot_be_learned(labels: Any, words: str) -> None:
    data = numbered(21) if labels is None else Split(numbered(21), labels)
    with pytest.raises(SettingError) as error:
        fit(noting(3), data, Schedule(1, 3), (0,))
    assert words in one_line(error)
