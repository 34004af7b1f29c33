"""Exponents and knees of curves that are known; the page and the figure of rows that are made."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import benchmark
from experiments.benchmarking import cases, growth
from experiments.benchmarking.growth import fit_exponent
from experiments.benchmarking.sweeps import SWEEPS
from jaxgen.errors import SettingError

VALUES = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
def test_a_power_has_its_exponent_and_no_knee(exponent: float) -> None:
    found = fit_exponent(VALUES, [3.0 * value**exponent for value in VALUES])
    assert found.exponent == pytest.approx(exponent, abs=1e-9)
    assert found.knee is None


def test_a_knee_is_where_the_slope_changes() -> None:
    """Flat up to 40, then in proportion: the upper half has the slope of what grows."""
    found = fit_exponent(VALUES, [max(1.0, value / 40.0) for value in VALUES])
    assert found == (pytest.approx(1.0), pytest.approx(40.0))


def test_noise_is_no_knee() -> None:
    noise = np.exp(np.random.default_rng(0).normal(0.0, 0.05, len(VALUES)))
    assert fit_exponent(VALUES, [*(np.array(VALUES) * noise)]).knee is None
    assert fit_exponent(VALUES[:4], [1.0, 1.0, 2.0, 4.0]).knee is None  # too few


def test_every_line_is_one_that_the_benchmark_has() -> None:
    for line in growth.LINES:
        settings: dict[str, Any] = {**line.settings, "only": (line.case,)}
        args = replace(benchmark.Args(), **settings, **{line.sweep: line.values[0]})
        (case,) = cases.cases(args.only)
        cases.with_values(case, args.batch_size, args.hidden_size, None, args.latent_size)
        batch = line.values[-1] if line.sweep == "batch_size" else case.args.batch_size
        assert line.sweep == "images" or (args.images or 0) >= (args.batch_size or batch)
    assert {line.sweep for line in growth.LINES} == {*SWEEPS}


def test_parts_are_chosen_by_learner_and_by_setting() -> None:
    found = growth.choose_lines(("rbm-lab",), ("images", "seeds"), quick=True)
    assert [(line.sweep, line.values) for line in found] == [
        ("images", (1_000, 10_000)),
        ("seeds", (1, 4)),
    ]
    assert all(line.settings["repeats"] == 1 for line in found)
    with pytest.raises(SettingError, match="dcgan-lab, rbm-lab, vae-lab, found gan-deep"):
        growth.choose_lines(("gan-deep",), ("channels",), quick=False)


def row(sweep: str, value: int, step_s: float, held: int) -> dict[str, Any]:
    """The entries of a row for the page."""
    environment = {"processor": "P", "device": "cpu", "packages": {"jax": "1"}}
    known = {"name": "rbm-lab", "precision": "float32", "data": "noise", "repeats": 3, "steps": 10}
    quiet = {"others": None, "load_before": 0.5, "clock_mhz": 2000.0, "busy": ""}
    peaks = {"peak_gflops_per_s": 1.0, "bfloat16_peak_gflops_per_s": 1.0, "peak_size": 64}
    memory = {
        **{"peak_rss_bytes": held + 7, "peak_rss_bytes_before": 7},
        **{"peak_device_bytes": None, "peak_device_bytes_before": None},
    }
    times = {"step_s": step_s, "step_s_range": [step_s, step_s], "images_per_s": value / step_s}
    precision = {"matmul_precision": "default", "environment": environment}
    return {
        **known, **quiet, **peaks, **memory, **times, **precision,
        **{"sweep": sweep, SWEEPS[sweep].key: value},
    }  # fmt: skip


def test_the_page_has_exponents_and_its_figure(tmp_path: Path) -> None:
    """A step's time in proportion to the units; an epoch's to the images, whose memory is flat."""
    rows = [row("hidden_size", n, 1e-3 * n, 100 * n**2) for n in (10, 20, 40)]
    rows += [row("images", n, 1e-3, 1000) | {"steps": n} for n in (100, 1000)]
    picture = growth.draw(rows, tmp_path / "growth.png")
    assert picture.read_bytes()[:4] == b"\x89PNG"
    text = growth.page(rows, picture, tmp_path / "docs" / "growth.md")
    assert "](../growth.png)" in text
    assert "| units per hidden layer | rbm-lab | 10 to 40 | 1.00 |  | 2.00 |  |" in text
    assert "| images of the set | rbm-lab | 100 to 1,000 | 1.00 |  | 0.00 |  |" in text
    assert growth.page(rows[:1], picture, None).count("| rbm-lab |") == 1
