"""A GAN's failures are named from made-up logs of each."""

import json
import math
from typing import Any

import numpy as np
import pytest

from jaxgen.evaluation.gan_diagnostics import Finding, diagnose, in_words, turning_points

NAMES = [
    "oscillation",
    "mode collapse",
    "discriminator too strong",
    "vanishing gradient",
    "discriminator too weak",
]
HEALTHY = {
    "d_loss": 0.9,
    "g_loss": 1.4,
    "d_real": 0.7,
    "d_fake": 0.3,
    "g_grad_norm": 3.0,
    "spread": 0.95,
}
COLLAPSED = {"spread": 0.01}
SURE = {"d_real": 0.99, "d_fake": 0.01, "d_loss": 0.02, "g_loss": 5.0}
VANISHED = SURE | {"g_grad_norm": 0.001}
CHANCE = {"d_real": 0.51, "d_fake": 0.48, "d_loss": 1.38, "g_loss": 0.7}


def log_of(*stretches: tuple[int, dict[str, Any]], noise: float = 0.02) -> list[dict[str, float]]:
    """Lines of a run: so many intervals each like a healthy run but for the given metrics.

    A metric is a number, or a function of the interval.
    """
    rng, lines = np.random.default_rng(0), []
    for num, change in stretches:
        for _ in range(num):
            step = 100 * (len(lines) + 1)
            means = {k: v(len(lines)) if callable(v) else v for k, v in (HEALTHY | change).items()}
            noisy = {k: v * (1.0 + noise * rng.normal()) for k, v in means.items()}
            lines.append({"step": step, "epoch": step / 200} | noisy)
    return lines


def found(lines: list[dict[str, float]]) -> dict[str, Finding]:
    findings = diagnose(lines)
    assert [each.name for each in findings] == NAMES
    for each in findings:
        json.dumps(each, allow_nan=False)
        assert type(each.holds) in (bool, type(None))
        assert in_words(each).startswith(each.name)
    return {each.name: each for each in findings}


def failures(lines: list[dict[str, float]]) -> list[str]:
    return [name for name, each in found(lines).items() if each.holds]


def lead(gap: float) -> dict[str, float]:
    return {"d_real": 0.5 + gap / 2, "d_fake": 0.5 - gap / 2}


def swinging(period: float, amplitude: float) -> dict[str, Any]:
    def gap(index: int) -> float:
        return 0.45 + amplitude * math.sin(2 * math.pi * index / period)

    return {
        "d_real": lambda index: 0.5 + gap(index) / 2,
        "d_fake": lambda index: 0.5 - gap(index) / 2,
    }


# --- whole runs


def test_a_healthy_run() -> None:
    findings = found(log_of((40, {})))
    assert [each.holds for each in findings.values()] == [False] * 5
    assert [each.share for each in findings.values()] == [0.0] * 5
    assert [each.first_epoch for each in findings.values()] == [None] * 5
    text = in_words(findings["mode collapse"])
    assert text.startswith("mode collapse: no; spread 0.9")
    assert text.endswith("; in no interval.")


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (COLLAPSED, ["mode collapse"]),
        (VANISHED, NAMES[2:4]),
        (VANISHED | {"d_real": 0.89}, NAMES[2:4]),
        (SURE, NAMES[2:3]),  # a gradient still reaches the generator
        ({"g_grad_norm": 0.001}, []),
        (CHANCE | {"spread": 0.7}, [NAMES[4]]),
        (CHANCE | {"spread": 1.5}, [NAMES[4]]),
        (CHANCE | COLLAPSED, ["mode collapse", NAMES[4]]),
        (lead(-0.3), []),
    ],
)
def test_a_run_that_ends_failed(change: dict[str, Any], names: list[str]) -> None:
    lines = log_of((20, {}), (20, change))
    assert failures(lines) == names
    for name in names:
        finding = found(lines)[name]
        assert finding.share == 0.5
        assert finding.first_epoch == 10.5  # 21 intervals of 100 steps, 200 steps an epoch
        assert ": yes; " in in_words(finding)
        assert "in 50% of the intervals, first by epoch 10.5" in in_words(finding)


def test_a_run_that_failed_early_and_recovered() -> None:
    findings = found(log_of((8, COLLAPSED | VANISHED), (32, {})))
    for name in NAMES[1:4]:
        finding = findings[name]
        assert (finding.holds, finding.share, finding.first_epoch) == (False, 0.2, 0.5)
    assert findings["mode collapse"].measured["spread"] == pytest.approx(0.95, rel=0.05)


def test_chance_with_the_spread_of_real_images_is_left_open() -> None:
    finding = found(log_of((40, CHANCE)))["discriminator too weak"]
    assert finding.holds is None
    assert finding.measured["d_loss"] == pytest.approx(2 * math.log(2), rel=0.05)
    assert "cannot be told" in in_words(finding)


def test_a_gradient_of_zero_throughout() -> None:
    assert failures(log_of((10, SURE | {"g_grad_norm": 0.0}))) == NAMES[2:4]


def test_smoothed_labels_lower_what_a_sure_discriminator_gives() -> None:
    """The best D(x) is 1 - s: with s = 0.2 a D is sure near 0.8, and with s = 0 it is not."""
    lines = log_of((20, {}), (20, VANISHED | {"d_real": 0.79}))
    verdicts = {s: [each.name for each in diagnose(lines, s) if each.holds] for s in (0.0, 0.2)}
    assert verdicts == {0.0: [], 0.2: NAMES[2:4]}
    assert [each.criterion[:20] for each in diagnose(lines, 0.2)[2:4]] == [
        "d_real is above 0.68"
    ] * 2
    below = log_of((40, VANISHED | {"d_real": 0.6}))
    assert not any(each.holds for each in diagnose(below, 0.2))


# --- oscillation


@pytest.mark.parametrize("period", [3.0, 5.0, 12.0])
def test_oscillation(period: float) -> None:
    assert failures(log_of((50, swinging(period, 0.4)))) == ["oscillation"]
    finding = found(log_of((50, swinging(period, 0.4))))["oscillation"]
    assert finding.measured["swings"] == pytest.approx(2 * 13 / period, abs=2.0)


@pytest.mark.parametrize(
    "change",
    [
        swinging(6.0, 0.15),  # too small
        swinging(60.0, 0.4),  # one period alone
        {"d_real": lambda index: 0.5 + 0.4 * (index > 20), "d_fake": 0.1},  # one change
    ],
)
def test_no_oscillation(change: dict[str, Any]) -> None:
    assert found(log_of((60, change)))["oscillation"].share == 0.0


def test_oscillation_that_ended() -> None:
    finding = found(log_of((20, swinging(5.0, 0.4)), (40, {})))["oscillation"]
    assert not finding.holds
    assert finding.share == pytest.approx(1 / 3, abs=0.1)


def test_turning_points() -> None:
    values = np.array([5.0, 4.0, 6.0, 5.5, 1.0, 2.0, 1.5, 8.0, 7.0, 9.0, 4.0, 5.0])
    assert turning_points(values, 3.0) == [2, 4, 9, 10]
    assert turning_points(-values, 3.0) == [2, 4, 9, 10]
    assert turning_points(values, 9.0) == []
    assert turning_points(values[:1], 1.0) == []


# --- logs with little or nothing in them


@pytest.mark.parametrize("num", range(4))
def test_too_few_intervals(num: int) -> None:
    findings = found(log_of((num, COLLAPSED)))
    for finding in findings.values():
        assert finding[1:3] == (None, {})
        assert finding[4:] == (None, None)
        assert in_words(finding).endswith(": cannot be told; the run has too few intervals.")
    full = found(log_of((40, {})))
    assert [f.criterion for f in findings.values()] == [f.criterion for f in full.values()]


def test_few_intervals_tell_all_but_oscillation() -> None:
    findings = found(log_of((7, COLLAPSED)))
    assert [each.holds for each in findings.values()] == [None, True, False, False, False]


def test_other_lines_and_lines_that_are_not_finite_are_left_out() -> None:
    lines = log_of((40, COLLAPSED))
    others = [{"epoch": 1.0, "test": 3.0}, lines[0] | {"d_loss": math.nan}]
    others.append(lines[0] | {"g_grad_norm": math.inf})
    assert diagnose(others + lines) == diagnose(lines)
    assert diagnose(others) == diagnose([])
