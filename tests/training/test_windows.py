"""Streamed training sets: the examples, the order and the bits of resident ones."""

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import SingleDeviceSharding
from support.helpers import same

from jaxgen.data import Split
from jaxgen.learner import Batch, Learner, unlabelled
from jaxgen.models import gan, rbm, vae
from jaxgen.training import checkpoint, epoch, windows
from jaxgen.training.loop import Progress, Schedule, fit
from jaxgen.training.program import begin
from jaxgen.training.windows import Stream, Window, parts, stream_of, stream_windows

SHAPE = (2, 3, 1)
HERE: Any = SingleDeviceSharding(jax.devices("cpu")[0])


def examples(num: int) -> Batch:
    """Images of noise, each with its own label."""
    images = np.random.default_rng(0).integers(0, 256, (num, *SHAPE), dtype=np.uint8)
    return Batch(images, np.arange(num, dtype=np.int32))


def mapped(images: np.ndarray, path: Path, mode: Any = "r") -> np.memmap:
    np.save(path, images)
    found: np.memmap = np.load(path, mmap_mode=mode)
    return found


def test_a_set_is_held_against_the_memory_of_the_device_that_holds_it() -> None:
    """An accelerator has its own; the CPU beside it has the machine's."""

    class Small:
        def memory_stats(self) -> dict[str, int]:
            return {"bytes_limit": 4000}

    small: Any = Small()
    data = unlabelled(np.zeros((300, 2, 2, 1), np.uint8))  # 2,400 bytes
    assert epoch.memory(small) == 4000
    assert not windows.fits(data, np.zeros(0), small)
    assert windows.fits(data, np.zeros(0))


def test_a_state_larger_than_what_is_free_has_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    there = tmp_path / "meminfo"
    monkeypatch.setattr(epoch, "MEMINFO", there)
    for text, warned in (("MemFree: 1 kB\nMemAvailable: 3 kB\n", True), ("", False), (None, False)):
        there.unlink(missing_ok=True)
        if text is not None:
            there.write_text(text)
        caplog.clear()
        epoch.require_memory(3 * 1024, "a state", "choose smaller sizes")
        assert not caplog.records
        epoch.require_memory(3 * 1024 + 1, "a state", "choose smaller sizes")
        assert (
            "a state takes 0 GiB and 0 are free, so the system may kill" in caplog.text
        ) == warned


def test_a_container_has_the_memory_of_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, group = epoch.memory(), tmp_path / "memory.max"
    monkeypatch.setattr(epoch, "CONTROL_GROUP", (str(group), str(tmp_path / "none")))
    for text, found in (("max\n", whole), ("1048576\n", 2**20)):
        group.write_text(text)
        assert epoch.memory() == found


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of two steps, so that an epoch has many."""
    monkeypatch.setattr(windows, "WINDOW_BYTES", 1)
    monkeypatch.setattr(windows, "LEAST_STEPS", 2)


# ---- which examples a window has


@pytest.mark.parametrize("num_steps", [1, 2, 3, 7, 9])
@pytest.mark.parametrize("span", [range(14), range(3, 14), range(6, 7), range(0)])
def test_parts_are_all_steps_in_turn_of_one_epoch_and_one_window(
    span: range, num_steps: int
) -> None:
    found = list(parts(span, 7, num_steps))
    assert [step for part in found for step in part] == list(span)
    for part in found:
        assert part.stop > part.start
        assert len({(step // 7, step % 7 // num_steps) for step in part}) == 1
    starts = [(part.start // 7, part.start % 7 // num_steps) for part in found]
    assert len(set(starts)) == len(starts)


@pytest.mark.parametrize("num_seeds", [1, 3])
@pytest.mark.parametrize("first", [0, 3])
def test_a_window_has_the_examples_of_its_steps(num_seeds: int, first: int) -> None:
    """Those that a resident set has in the rows of the order, of 23 examples in batches of 3."""
    data, length = examples(23), 7
    shape = (23,) if num_seeds == 1 else (num_seeds, 23)

    def order_of(epoch: int) -> Any:
        rng = np.random.default_rng(epoch)
        return rng.permuted(np.broadcast_to(np.arange(23), shape), axis=-1)

    stream = Stream(data, num_seeds, 3, num_steps=2)
    taken = []
    for window in stream_windows(stream, order_of, range(first, 14), length, HERE, HERE):
        assert jax.tree.map(jnp.shape, window.data) == Batch(
            (6 * num_seeds, *SHAPE), (6 * num_seeds,)
        )
        assert window.order.shape == shape
        for step in window.steps:
            taken.append(step)
            rows = slice(step % length * 3, step % length * 3 + 3)
            whole = np.atleast_2d(order_of(step // length))[:, rows]
            here = np.atleast_2d(window.order)[:, rows]
            np.testing.assert_array_equal(window.data.labels[here], data.labels[whole])
            np.testing.assert_array_equal(window.data.images[here], data.images[whole])
    assert taken == list(range(first, 14))


def test_a_window_is_of_some_steps_at_least_and_an_epoch_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = examples(300)  # a step of two seeds takes 2 x 10 x 6 bytes
    for window_bytes, num_steps in [(1, 4), (120 * 7 + 1, 7), (2**26, 30)]:
        monkeypatch.setattr(windows, "WINDOW_BYTES", window_bytes)
        assert stream_of(data, 2, 10, length=30).num_steps == num_steps


@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_are_gathered_from_any_array(tmp_path: Path, order: Any) -> None:
    images = np.asarray(examples(3000).images, order=order)
    rows = np.random.default_rng(1).integers(0, 3000, 2500)
    for source in (images, mapped(images, tmp_path / "images.npy")[10:]):
        found = windows.gather(source, rows % len(source))
        np.testing.assert_array_equal(found, np.array(source)[rows % len(source)])


# ---- the thread that reads ahead


def reading(order_of: Callable[[int], Any]) -> Iterator[Window]:
    return stream_windows(Stream(examples(6), 1, 1, 2), order_of, range(18), 6, HERE, HERE)


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("windows")]


def test_what_reading_raises_is_raised_where_the_window_is_taken() -> None:
    def order_of(epoch: int) -> Any:
        if epoch == 1:
            raise OSError("gone")
        return np.arange(6)

    found = reading(order_of)
    assert [window.steps.start for window in itertools.islice(found, 3)] == [0, 2, 4]
    with pytest.raises(OSError, match="gone"):
        next(found)
    assert threads() == []


def test_a_training_that_ends_early_leaves_no_thread() -> None:
    found = reading(lambda _: np.arange(6))
    next(found)
    assert threads() != []
    found.close()  # type: ignore[attr-defined]
    assert threads() == []


# ---- the same bits


PCD = rbm.Config(num_hidden=4, num_chains=5, persistent=True, momentum=0.5, centred=True)
LEARNERS: dict[str, Callable[[], Learner]] = {
    "rbm": lambda: rbm.learner(PCD, SHAPE),
    "vae": lambda: vae.learner(vae.Config(hidden_sizes=(8,), latent_size=3), SHAPE),
    "gan": lambda: gan.learner(
        gan.Config(latent_size=3, generator_sizes=(8,), discriminator_sizes=(8,)), SHAPE
    ),
}


@pytest.mark.parametrize(("name", "seeds"), [("rbm", (3, 0)), ("vae", (0,)), ("gan", (0,))])
def test_streamed_equals_resident_and_goes_on_in_the_middle_of_a_window(
    tmp_path: Path, short: None, name: str, seeds: tuple[int, ...]
) -> None:
    """From a memory map, with the same log and checkpoint."""
    data, learner = Split(*examples(23)), LEARNERS[name]()
    on_disk = data._replace(images=mapped(data.images, tmp_path / "images.npy"))
    logged: dict[str, list[Any]] = {"whole": [], "cut": []}

    def trained(folder: str, num_calls: int, data: Split, stream: bool) -> Any:
        calls = itertools.count(1)

        def hook(progress: Progress) -> None:
            if progress.metrics:
                logged[folder].append((progress.step, progress.metrics))

        return fit(
            learner,
            data,
            Schedule(2, 3, log_every=5),
            seeds,
            folder=tmp_path / folder,
            stream=stream,
            hook=hook,
            should_stop=lambda: next(calls) == num_calls,
        )

    whole = trained("whole", 0, data, stream=False)
    part = trained("cut", 4, on_disk, stream=True)
    assert part.step == 5  # after 1, 2 and 4; windows are of two steps, and a log interval of five
    rest = trained("cut", 0, on_disk, stream=True)
    assert (rest.first_step, rest.step, rest.finished) == (5, 14, True)
    assert same(rest.state, whole.state)
    assert [step for step, _ in logged["cut"]] == [5, 7, 12, 14]
    for ours, theirs in zip(logged["cut"], logged["whole"], strict=True):
        assert same(ours, theirs)
    like = begin(learner, Batch(*data), 3, seeds).carry
    ends = [checkpoint.restore(tmp_path / folder, like, {}) for folder in ("whole", "cut")]
    assert ends[0] is not None
    assert ends[0].step == 14
    assert same(*ends)


# ---- what is streamed


def test_a_set_that_takes_more_than_a_quarter_of_the_memory_is_streamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner, data = LEARNERS["rbm"](), examples(24)
    state = learner.init(jax.random.key(0))
    held = sum(leaf.nbytes for leaf in jax.tree.leaves((state, *4 * [data])))
    for bytes_there, streams in [(held, False), (held - 1, True)]:
        monkeypatch.setattr(windows, "memory", lambda _, there=bytes_there: there)
        arrays = begin(learner, data, 3, (0,), state)
        assert (arrays.stream is not None) == streams
        assert arrays.num_examples == 24
