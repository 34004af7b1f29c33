"""The plan for an accelerator, its time, and its page; what takes minutes is played by others."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import tyro
from support.helpers import run_python

from experiments import benchmark
from experiments.benchmarking import accelerator, baseline, cases, largest, measure
from experiments.benchmarking.accelerator import SHARES, Found, Part
from experiments.benchmarking.cases import Patience
from jaxgen.files import write_atomically

SMALL = {"hidden_size": 4, "batch_size": 20, "images": 60, "repeats": 2, "retries": 0}


@pytest.fixture(scope="module")
def row() -> dict[str, Any]:
    """A row as it is measured."""
    settings: dict[str, Any] = {"only": ("rbm-lab",), "synthetic": True, **SMALL}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "PEAK_SIZE", 64)
        return benchmark.measure_here(benchmark.Args(**settings))


# ---- the plan


@pytest.mark.parametrize("quick", [True, False])
def test_the_plan_is_of_settings_that_the_benchmark_takes(quick: bool) -> None:
    parts = accelerator.plan((), quick, has_torch=True)
    assert [part.name for part in parts] == [*SHARES] == [*accelerator.SECTIONS]
    assert sum(SHARES.values()) == pytest.approx(1.0)
    for part in parts:
        for settings in part.settings:
            args = replace(benchmark.Args(), **settings)
            assert tyro.cli(benchmark.Args, args=benchmark.flags(args)) == args
            assert benchmark.single(args)
    measured = {name for settings in parts[0].settings for name in settings["only"]}
    learners = {case.experiment.name for case in cases.cases()}
    assert {name.partition("-")[0] for name in measured} == learners
    assert {s["precision"] for s in parts[0].settings} == {("bfloat16", "float32")}
    modes = [s.get("deterministic", False) for s in parts[2].settings if "dcgan-lab" in s["only"]]
    assert modes == [True, True, False]


def test_only_some_learners_without_pytorch() -> None:
    parts = accelerator.plan(("rbm-lab",), quick=False, has_torch=False)
    assert "DCGAN" not in [part.name for part in parts]
    assert {s["against"] for s in parts[0].settings} == {"none"}


def test_a_learner_without_the_setting_takes_the_precision_of_products() -> None:
    (case,) = cases.cases(["rbm-lab"])
    rounded = cases.with_values(case, precision="bfloat16")
    assert (case.precision, rounded.precision) == ("float32", "bfloat16")
    assert rounded.args == case.args
    with rounded.rounded():
        text = jax.jit(lambda a: a @ a).lower(np.ones((2, 2), np.float32)).as_text()
    assert "lhs_precision_type = bf16" in text


# ---- the time


class Clock:
    """A clock that goes on when a process is run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(accelerator.time, "monotonic", lambda: self.now)


def parts_of(*shares: float) -> list[Part]:
    """Parts of three processes each."""
    return [
        Part(name, share, ({"only": (name,)},) * 3)
        for name, share in zip(SHARES, shares, strict=False)
    ]


@pytest.mark.parametrize("part_of_limit", [0.0, 0.3, 1.0])
def test_the_time_is_kept_whatever_a_process_takes(
    monkeypatch: pytest.MonkeyPatch, part_of_limit: float
) -> None:
    """No part takes from those behind it: the first process of each has 2/3 of its share."""
    clock, written = Clock(monkeypatch), []
    limits: dict[str, list[float]] = {}

    def in_time(settings: Mapping[str, Any], seconds: float, limit: float) -> tuple[Any, str]:
        assert 0 < seconds < limit
        limits.setdefault(settings["only"][0], []).append(limit)
        clock.now += part_of_limit * limit
        return [], "it did not end within 5 s"

    parts = parts_of(0.5, 0.3, 0.2)
    found = accelerator.measure_parts(parts, in_time, 100.0, lambda f: written.append(f.seconds))
    assert found.seconds == pytest.approx(clock.now - 1000.0)
    assert found.seconds <= 100.0 + 1e-6
    for part in parts:
        assert limits[part.name][0] >= 2 / 3 * 100.0 * part.share - 1e-6
    assert len(written) == sum(map(len, limits.values())) + 1
    assert len(found.left_out) == 9
    text = accelerator.page(found)
    assert "nothing was measured." in text
    assert text.endswith("to measure something, type `--minutes 5`.\n")
    assert "nothing is measured yet" in accelerator.page(replace(found, over=False))
    assert text.count("\n- learners of learners: ") == 3


def test_a_process_is_killed_at_its_limit() -> None:
    began = time.monotonic()
    rows, failure = benchmark.measure_in_time(benchmark.Args(only=("rbm-lab",)), 0.2)
    assert (rows, failure) == ([], "it did not end within 0 s")
    assert time.monotonic() - began < 20


def test_the_row_is_kept_before_what_takes_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile is begun last; then all take their turns again, and its row has all of them."""
    events: list[str] = []

    def runner(case: Any, library: str, images: Any, options: Any) -> Callable[[int], None]:
        compiled = "compiled" if options.get("compiled") else "eager"
        return lambda _: events.append(compiled)

    monkeypatch.setattr(baseline, "runner", runner)
    monkeypatch.setattr(measure, "PEAK_SIZE", 64)
    (case,) = cases.cases(["rbm-lab"])
    case = cases.with_values(case, 20, 4)
    images = np.zeros((60, 4, 4, 1), np.uint8)
    kept: list[dict[str, Any]] = []
    how = ("torch",), 1, 1, False
    whole = measure.measure(case, images, Patience(2, 0, 1e18), *how, kept.append)
    (early,) = kept
    assert "ratio_to_torch" in early
    assert "ratio_to_torch_compiled" not in early
    assert {"ratio_to_torch", "ratio_to_torch_compiled"} <= {*whole}
    assert whole["digest"] == early["digest"]
    first = events.index("compiled")
    assert set(events[:first]) == {"eager"}
    assert (whole["turns"], whole["repeats"], whole["torch_compiled_repeats"]) == (4, 2, 2)
    assert early["compile_s"] is None


def test_what_disturbs_a_row_begins_its_turns_again(
    row: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure.machine, "disturbance", lambda *_: "others had 0.50 of the cores")
    monkeypatch.setattr(measure, "PEAK_SIZE", 64)
    (case,) = cases.cases(["rbm-lab"])
    images = np.zeros((60, 4, 4, 1), np.uint8)
    found = measure.measure(cases.with_values(case, 20, 4), images, Patience(2, 1))
    assert (found["turns"], found["repeats"]) == (4, 2)
    assert found["busy"] == "others had 0.50 of the cores"
    assert row["turns"] == 2


# ---- the largest batch


@pytest.mark.parametrize(("overhead", "expected"), [(0, 900), (1000, 700)])
def test_the_largest_batch_fills_the_memory(
    monkeypatch: pytest.MonkeyPatch, overhead: int, expected: int
) -> None:
    """A device of 10,000 bytes, where a batch takes 500 and 10 for each image, and some more later.

    By the line 0.95 x 10,000 bytes hold 900; if large batches take 1,000 more, 760 is the next one
    that is tried, in whole 100s, and fits.
    """

    def measured(case: Any, images: Any, patience: Patience) -> dict[str, Any]:
        num = case.args.batch_size
        needed = 500 + 10 * num + (overhead if num > 400 else 0)
        if needed > 10_000:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        assert len(images) == 2 * num
        return {"batch_size": num, "step_bytes": needed}

    monkeypatch.setattr(largest, "measure", measured)
    monkeypatch.setattr(largest, "limit", lambda: 10_000)
    (case,) = cases.cases(["rbm-lab"])
    images = np.zeros((7, 4, 4, 1), np.uint8)
    found = largest.largest_batch(case, images, Patience(1))
    assert found["batch_size"] == expected
    assert found["tried"][:2] == [(100, True), (400, True)]
    assert found["tried"][-1] == (expected, True)
    monkeypatch.setattr(largest, "limit", lambda: None)
    assert largest.largest_batch(case, images, Patience(1))["batch_size"] == 400


def test_another_error_of_a_large_batch_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise jax.errors.JaxRuntimeError("INTERNAL: a defect")

    monkeypatch.setattr(largest, "measure", broken)
    (case,) = cases.cases(["rbm-lab"])
    with pytest.raises(jax.errors.JaxRuntimeError, match="a defect"):
        largest.largest_batch(case, np.zeros((7, 4, 4, 1), np.uint8), Patience(1))


# ---- the page


def test_the_page_has_a_section_for_each_part(row: dict[str, Any]) -> None:
    strict = row | {"deterministic": True, "matmul_precision": "highest"}
    rows = [
        row | {"part": "learners"},
        row | {"part": "DCGAN", "turns": 6},
        row | {"part": "digests", "digest": "another"},
        *(strict | {"part": "digests"} for _ in range(2)),
        row | {"part": "seeds"},
        row | {"part": "seeds", "num_seeds": 4, "images_per_s": 2 * row["images_per_s"]},
        row | {"part": "largest batch", "tried": [(20, True), (80, False)], "limit_bytes": 10**9},
    ]
    text = accelerator.page(Found(rows, ["a `line`"], 12.0, 60.0))
    for name, _, _ in accelerator.SECTIONS.values():
        assert f"## {name}\n" in text
    assert "| different | the same |" in text
    assert "| 7 of 20 |" in text
    assert "| 4 |" in text
    assert "| 0.5 |" in text  # a seed's time
    assert "20, 80 (no)" in text
    assert "- a \\`line\\`" in text
    assert "share of the datasheet's" not in text  # of a CPU


def test_a_share_is_of_the_datasheet_in_the_rows_precision(row: dict[str, Any]) -> None:
    fast = row | {"environment": {"device": "NVIDIA H200"}, "gflops_per_s": 1000.0}
    assert accelerator.share_of_datasheet(fast) == "0.002"
    assert accelerator.share_of_datasheet(fast | {"precision": "bfloat16"}) == "0.001"
    assert accelerator.share_of_datasheet(fast | {"matmul_precision": "highest"}) == "0.015"
    assert accelerator.share_of_datasheet(fast | {"environment": {"device": "B100"}}) == ""
    assert accelerator.share_of_datasheet(fast | {"gflops_per_s": None}) == ""


def test_a_page_is_whole_after_every_process(row: dict[str, Any], tmp_path: Path) -> None:
    path, seen = tmp_path / "page.md", []

    def in_time(settings: Mapping[str, Any], seconds: float, limit: float) -> tuple[Any, str]:
        absent = {"PyTorch": "no CUDA"}
        return [row | {"absent": absent}, {"left_out": "vae-lab, float32: too late"}], ""

    def write(found: Found) -> None:
        write_atomically(path, accelerator.page(found).encode())
        seen.append(path.read_text().count("| rbm-lab |"))
        json.dumps(found.document())

    found = accelerator.measure_parts(parts_of(1.0), in_time, 100.0, write)
    assert seen == [1, 2, 3, 3]
    assert found.left_out[:2] == [
        "learners: vae-lab, float32: too late",
        "rbm-lab without PyTorch: no CUDA",
    ]


@pytest.mark.programs
def test_the_whole_of_it_in_a_quarter_of_a_minute(tmp_path: Path) -> None:
    """All but the rows that fit is left out with a line."""
    out = {name: tmp_path / f"a.{name}" for name in ("json", "md")}
    words = ["--accelerator", "--quick", "--synthetic", "--minutes", "0.25", "--only", "rbm-lab"]
    words += ["--json", str(out["json"]), "--markdown", str(out["md"])]
    done = run_python("-m", "experiments.benchmark", *words, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(out["json"].read_text())
    assert found["seconds"] < 17
    there = {row["part"] for row in found["rows"]}
    assert there | {line.partition(" of ")[0] for line in found["left_out"]} >= {*SHARES} - {
        "DCGAN"
    }
    assert out["md"].read_text().startswith("# One accelerator\n")
