"""Training on several devices: the same numbers to rounding, and the same bits every time."""

import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from support.helpers import ROOT, run_python

from jaxgen.errors import SettingError
from jaxgen.training.sharding import Layout, layout

SCRIPT = str(ROOT / "tests" / "support" / "several_devices.py")


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[dict[str, Any]]]:
    """Gives requests (name, devices, seeds, perhaps streamed) to the script, in one process."""
    cache = str(tmp_path_factory.mktemp("compiled"))

    def answers(*requests: Any) -> list[dict[str, Any]]:
        lines = "".join(json.dumps(request) + "\n" for request in requests)
        done = run_python(SCRIPT, cache, stdin=lines, timeout=300)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return answers


def check_agree(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Metrics of every step, and parameters, are equal to rounding."""
    for these, those in zip(mine["log"], theirs["log"], strict=True):
        assert these.keys() == those.keys()
        for key in those:
            np.testing.assert_allclose(these[key], those[key], rtol=2e-5, atol=2e-6, err_msg=key)
    assert np.mean(np.abs(np.subtract(mine["params"], theirs["params"]))) < 2e-6


COUNTS = {"rbm": (1, 2, 4), "normalised": (1, 2, 4), "vae": (1, 2), "gan": (1, 2)}
"""Numbers of devices, by model."""


@pytest.fixture(scope="module")
def answers(ask) -> Callable[..., list[dict[str, Any]]]:
    """The answers of the script to all requests of the quick tests, from one process."""
    twice = [(name, num, [0]) for name, counts in COUNTS.items() for num in (*counts, *counts)]
    requests = [*twice, *(("normalised", num, [0, 1]) for num in (1, 2, 4))]
    requests += [("rbm", 2, [0], True), ("normalised", 4, [0, 1], True)]
    found = list(zip(requests, ask(*requests), strict=True))

    def those(name: str, num: int, seeds: Any = (0,), *stream: bool) -> list[dict[str, Any]]:
        return [x for asked, x in found if asked == (name, num, [*seeds], *stream)]

    return those


def check_agree_and_repeat(firsts: list[dict[str, Any]], seconds: list[dict[str, Any]]) -> None:
    """One answer for each number of devices, and the same again."""
    assert [x["digest"] for x in firsts] == [x["digest"] for x in seconds]
    for several in firsts[1:]:
        check_agree(several, firsts[0])


@pytest.mark.parametrize("name", COUNTS)
def test_devices_agree_to_rounding_and_repeat_bitwise(
    answers: Callable[..., list[dict[str, Any]]], name: str
) -> None:
    pairs = [answers(name, num) for num in COUNTS[name]]
    check_agree_and_repeat(*map(list, zip(*pairs, strict=True)))


@pytest.mark.slow
def test_devices_agree_on_a_dcgan(ask: Callable[..., list[dict[str, Any]]]) -> None:
    found = ask(*(("dcgan", num, [0]) for num in (1, 2, 4, 1, 2, 4)))
    check_agree_and_repeat(found[:3], found[3:])


def test_several_seeds_go_to_several_devices(answers: Callable[..., list[dict[str, Any]]]) -> None:
    """Two seeds on two devices, a seed each; on four, where two share the batches of a seed."""
    (one,), (two,), (four,) = (answers("normalised", num, (0, 1)) for num in (1, 2, 4))
    check_agree(two, one)
    check_agree(four, one)


@pytest.mark.parametrize(("name", "num", "seeds"), [("rbm", 2, (0,)), ("normalised", 4, (0, 1))])
def test_devices_have_the_same_bits_of_a_streamed_set(
    answers: Callable[..., list[dict[str, Any]]], name: str, num: int, seeds: tuple[int, ...]
) -> None:
    (streamed,) = answers(name, num, seeds, True)
    assert streamed == answers(name, num, seeds)[0]


def test_devices_that_cannot_share_a_batch_equally_are_refused() -> None:
    class Device:
        process_index = 0

    devices: Any = [Device() for _ in range(4)]
    with pytest.raises(
        SettingError,
        match="multiple of 4, for 4 devices and 3 seeds",
    ):
        layout(devices, num_seeds=3, batch_size=10)


def test_a_process_whose_settings_are_not_the_first_ones_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The data's digest is among them, which workers do not know when they meet."""
    placed, sent = layout(jax.devices()[:1], 1, 8), list[Any]()

    def broadcast(_: Layout, mine: Any) -> Any:
        sent.append(mine)
        return sent[0]

    monkeypatch.setattr(Layout, "broadcast_from_host0", broadcast)
    placed.require_same({"data": "a", "seeds": "(0,)"})
    placed.require_same({"seeds": "(0,)", "data": "a"})
    with pytest.raises(SettingError, match="the same settings and data in every process"):
        placed.require_same({"data": "b", "seeds": "(0,)"})
