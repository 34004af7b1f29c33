"""The benchmark's bookkeeping; its times are not tested."""

import importlib.util
import itertools
import logging
import math
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tyro
from support.helpers import one_line
from support.runs import only_line, read

from experiments import benchmark, dcgan
from experiments.benchmarking import baseline as benchmark_baseline
from experiments.benchmarking import baselines, convolutions, flops, machine, make_images
from experiments.benchmarking import cases as benchmark_cases
from experiments.benchmarking import measure as benchmark_measure
from experiments.benchmarking import page as benchmark_pages
from experiments.benchmarking import sweeps as benchmark_sweeps
from experiments.benchmarking.cases import Patience
from jaxgen.errors import DataMissingError, JaxgenError, SettingError, WriteError
from jaxgen.images import check_images
from jaxgen.models import dbm as dbm_model
from jaxgen.models import dcgan as dcgan_model
from jaxgen.models import gan as gan_model
from jaxgen.models.vae import Config

SMALL = (4, 3, 1)
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="needs the extra benchmark"
)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A machine that is idle and without a data set, small matrices, rows from this process."""

    def apart(settings):
        path = tmp_path / "apart.json"
        benchmark.run(replace(settings, json=path))
        (row,) = read(path)
        return row

    def nowhere(args):
        raise DataMissingError(expected="a data set", found="none", remedy="none")

    for module in (benchmark, benchmark_measure, benchmark_pages):
        monkeypatch.setattr(module, "NUM_IMAGES", 300)
    monkeypatch.setattr(benchmark_measure, "PEAK_SIZE", 64)
    monkeypatch.setattr(machine, "disturbance", lambda *_: "")
    held = itertools.count(500)  # a process of many tests may have held more than this one needs
    monkeypatch.setattr(benchmark_measure.run_manifest, "peak_memory", lambda: next(held))
    monkeypatch.setattr(benchmark, "load_dataset", nowhere)
    monkeypatch.setattr(benchmark, "measure_apart", apart)


def args(*only, **changes):
    return benchmark.Args(only=only, **{"images": 300, "repeats": 2, "retries": 0} | changes)


def call(monkeypatch, *flags):
    """The command line, in this process."""
    monkeypatch.setattr(sys, "argv", ["benchmark", *flags])
    return benchmark.main()


# ---- a row


def test_rows_have_what_they_promise(small: Any, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    text = benchmark.run(args("rbm-lab", json=path))
    (row,) = read(path)
    assert row["name"] == "rbm-lab"
    assert row["data"] == "noise"
    assert row["precision"] == "float32"
    assert (row["batch_size"], row["steps"], row["num_seeds"]) == (100, 3, 1)
    assert row["flops_per_step"] == 5 * 2 * 100 * 784 * 100
    assert row["step_s"] * 3 == pytest.approx(row["epoch_s"])
    assert row["step_s_range"][0] <= row["step_s"] <= row["step_s_range"][1]
    assert row["images_per_s"] * row["epoch_s"] == pytest.approx(300)
    expected = row["flops_per_step"] / row["step_s"] / 1e9
    assert row["gflops_per_s"] == pytest.approx(expected)
    assert row["share_of_peak"] == pytest.approx(row["gflops_per_s"] / row["peak_gflops_per_s"])
    for key in ("import_s", "trace_s", "compile_s", "first_step_s"):
        assert row[key] > 0
    assert row["compile_s"] < row["first_step_s"]
    assert row["peak_device_bytes"] is None  # the CPU does not say
    assert not [key for key in row if key.startswith(("ratio", "torch", "flax"))]
    assert "| rbm-lab | 100 |" in text
    said = text.split("\n\n", 3)[3]  # after title, command and machine
    for other in ("PyTorch", "Flax", "baseline", "Winograd", "GAN", "dbn", "  ", ". \n"):
        assert other not in said, other


@pytest.mark.parametrize(("after", "peak"), [(700, 700), (500, None)])
def test_a_peak_is_known_if_more_is_held_than_before(
    small: Any, monkeypatch: pytest.MonkeyPatch, after: int, peak: int | None
) -> None:
    held = iter((500, after))  # a process may have held as much before the case began
    monkeypatch.setattr(benchmark_measure.run_manifest, "peak_memory", lambda: next(held))
    assert benchmark.measure_here(args("rbm-lab"))["peak_rss_bytes"] == peak


def test_the_products_of_the_peak_come_after_the_memory_is_read(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not rounded as the model's are, and count in nobody's memory."""
    seen: list[Any] = []

    def product(*_: Any) -> float:
        seen.append(benchmark_baseline.matmul_precision())
        return 1e9

    monkeypatch.setattr(benchmark_measure.run_manifest, "peak_memory", lambda: seen.append("") or 9)
    monkeypatch.setattr(benchmark_measure, "_matmul_peak", product)
    monkeypatch.setattr(benchmark, "require_rounding", lambda _: None)
    row = benchmark.measure_here(args("rbm-lab", precision=("bfloat16",)))
    assert seen[:4] == ["", "", None, None]
    assert row["step_bytes"] > 300 * 784  # the images alone


@pytest.mark.programs
def test_peers_share_the_run_and_pay_for_every_seed(small: Any) -> None:
    changes = {"seeds": 3, "hidden_size": 20, "batch_size": 50, "repeats": 3}
    row = benchmark.measure_here(args("rbm-lab", against="flax", **changes))
    assert row["num_seeds"] == 3
    assert row["flops_per_step"] == 3 * 5 * 2 * 50 * 784 * 20
    assert row["images_per_s"] == pytest.approx(3 * 50 / row["step_s"])
    low, high = row["ratio_to_flax_range"]
    assert 0 < low <= high
    assert row["ratio_to_flax"] == pytest.approx(row["step_s"] / row["flax_step_s"])
    assert (row["flax_steps"], row["flax_repeats"]) == (6, 3)
    text = benchmark_pages.page([row])
    assert "time of jaxgen / Flax (range)" in text
    assert "Flax's programs are `experiments/benchmarking/baselines/flax_*.py`" in text
    assert "PyTorch" not in text
    peer = benchmark_baseline.Baseline("flax", lambda _: None, 3, [1.0, 2.0])
    found = benchmark_measure.ratio(peer, [4.0, 4.0, 4.0], num_seeds=2)
    assert found["flax_step_s"] == 3.0
    assert found["ratio_to_flax_range"] == [1.0, 2.0]


@pytest.mark.programs
@pytest.mark.parametrize("num_seeds", [1, 2])
def test_streaming_is_timed_in_turn_with_the_resident_training(
    small: Any, monkeypatch: pytest.MonkeyPatch, num_seeds: int
) -> None:
    """Which trains all seeds together, from the second epoch on."""
    trained: list[bool] = []
    run = benchmark_measure.fit

    def fit(learner: Any, split: Any, *rest: Any, stream: bool, **more: Any) -> Any:
        assert isinstance(split.images, np.memmap)
        trained.append(stream)
        return run(learner, split, *rest, stream=stream, **more)

    monkeypatch.setattr(benchmark_measure, "fit", fit)
    row = benchmark.measure_here(args("rbm-lab", stream=True, hidden_size=4, seeds=num_seeds))
    assert trained == [True]
    assert (row["stream"], row["resident_steps"], row["resident_repeats"]) == (True, 3, 2)
    assert row["ratio_to_resident"] == pytest.approx(row["step_s"] / row["resident_step_s"])
    assert benchmark_pages.name_of(row) == "rbm-lab, streamed"
    text = benchmark_pages.page([row])
    assert "time of jaxgen / resident (range)" in text
    assert "The resident program is ours with all images on the device." in text


@pytest.mark.programs
def test_a_conditional_learner_gets_labels(small: Any) -> None:
    changes = {"hidden_size": 5, "batch_size": 50}
    streamed = benchmark.measure_here(args("wake_sleep-labelled", stream=True, **changes))
    against = benchmark.measure_here(args("wake_sleep-labelled", against="flax", **changes))
    assert streamed["ratio_to_resident"] > 0
    assert against["ratio_to_flax"] > 0
    assert streamed["digest"] == against["digest"]


def test_made_up_images_are_raw_and_no_two_alike(tmp_path: Path) -> None:
    out = tmp_path / "images.npy"
    make_images.write_images(make_images.Args(out, num=300, size=9))
    images = np.load(out, mmap_mode="r")
    assert (images.shape, images.dtype) == ((300, 9, 9, 3), np.uint8)
    check_images(images, whole_set=True)
    assert len(np.unique(images.reshape(300, -1), axis=0)) == 300


def test_the_page_explains_what_is_in_its_rows() -> None:
    quiet = {"others": None, "load_before": None, "clock_mhz": None, "busy": ""}
    row = {"name": "rbm-lab", "precision": "float32", **quiet}
    peers = dict.fromkeys(("ratio_to_torch", "ratio_to_torch_compiled", "ratio_to_flax"), 1.0)
    said = benchmark_pages.how([row | peers])
    assert "torch_*.py`: eager, and with torch.compile; Flax's are `flax_*.py`, the" in said
    assert "autocast" not in said
    convolutional = row | {"name": "dcgan-lab", "precision": "bfloat16", "ratio_to_torch": 1.0}
    said = benchmark_pages.how([row, convolutional | {"ratio_to_torch_channels_last": 1.0}])
    assert "torch_*.py`: eager, and with channels_last where there are convolutions. " in said
    assert "Where our products are of bfloat16, PyTorch runs under autocast." in said
    assert "Winograd" in said
    assert "Flax" not in said


def test_a_slow_peer_has_fewer_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_baseline, "BASELINE_S", 0.0)
    taken = []
    peer = benchmark_baseline.Baseline("flax", taken.append, 2, [])
    for _ in range(7):
        benchmark_baseline.take_turn(peer)
    assert taken == [2] * benchmark_baseline.LEAST_REPEATS
    row = {"ratio_to_flax": 2.0, "ratio_to_flax_range": [1.0, 3.0], "steps": 4, "repeats": 7}
    row |= {"flax_steps": 2, "flax_repeats": 3}
    text = benchmark_pages.ratio_text(row, "flax")
    assert text == "2 (1 to 3); 2 of 4 steps, 3 of 7 times"


def test_a_slow_peer_takes_fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    (case,) = benchmark_cases.cases(["rbm-lab"])
    images = np.zeros((500, 2, 2, 1), np.uint8)
    taken = []
    monkeypatch.setattr(benchmark_baseline, "runner", lambda *_: taken.append)
    for budget, steps in ((1e9, 5), (0.0, 1)):
        monkeypatch.setattr(benchmark_baseline, "BASELINE_S", budget)
        (peer,) = benchmark_baseline.start_baselines(case, ("flax",), images, Patience(3), {})
        assert peer.num_steps == steps
    assert taken == [1, 1, 5, 1, 1]


def test_without_a_compiler_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def runner(case, library, images, options):
        def epoch(num_steps):
            if options.get("compiled"):
                raise RuntimeError("No working C++ compiler found\nand more")

        return epoch

    monkeypatch.setattr(benchmark_baseline, "runner", runner)
    (case,) = benchmark_cases.cases(["dcgan-lab"])
    images = np.zeros((256, 2, 2, 1), np.uint8)
    absent: dict[str, str] = {}
    with caplog.at_level(logging.WARNING, "jaxgen"):
        peers = benchmark_baseline.start_baselines(
            case, ("torch", "flax"), images, Patience(3), absent
        )
    assert [peer.name for peer in peers] == ["torch", "torch_channels_last", "flax"]
    said = "dcgan-lab goes on without PyTorch compiled: No working C++ compiler found"
    assert caplog.messages == [said]
    assert absent == {"PyTorch compiled": "No working C++ compiler found"}


def test_other_errors_of_a_peer_are_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(num_steps):
        raise RuntimeError("a defect")

    monkeypatch.setattr(benchmark_baseline, "runner", lambda *_: broken)
    (case,) = benchmark_cases.cases(["rbm-lab"])
    images = np.zeros((100, 2, 2, 1), np.uint8)
    with pytest.raises(RuntimeError, match="a defect"):
        benchmark_baseline.start_baselines(case, ("flax",), images, Patience(3), {})


@needs_torch
def test_a_dcgan_meets_both_layouts_in_its_own_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    model = dcgan_model.Config(width=1 / 64, precision="bfloat16")
    settings = replace(dcgan.PRESETS["lab"], batch_size=4, model=model)
    eager = {k: v for k, v in baselines.CONVOLUTIONAL.items() if "torch" in k}
    eager = {k: v for k, v in eager.items() if not v.get("compiled")}
    declared = replace(dcgan.EXPERIMENT.benchmark, baselines=eager)
    experiment = replace(dcgan.EXPERIMENT, benchmark=declared)
    case = benchmark_cases.Case(experiment, "lab", settings)
    images = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 1), np.uint8)
    program = importlib.import_module("experiments.benchmarking.baselines.torch_dcgan")
    asked = []
    make = program.epoch_runner
    monkeypatch.setattr(program, "epoch_runner", lambda *a, **k: asked.append(k) or make(*a, **k))
    found = benchmark_baseline.start_baselines(case, ("torch",), images, Patience(1), {})
    assert [(peer.name, peer.num_steps) for peer in found] == [(name, 2) for name in eager]
    common = {"device": "cpu", "dtype": "bfloat16"}
    assert asked == [common, common | {"memory_format": "channels_last"}]


def test_a_share_is_of_the_peak_in_the_rows_precision(small: Any) -> None:
    (case,) = benchmark_cases.cases(["dcgan-lab"])
    for precision in case.precisions:
        chosen = benchmark_cases.with_values(case, None, None, precision)
        row = benchmark_measure.rates(chosen, [1.0, 2.0, 3.0], 1, (28, 28, 1))
        key = {"float32": "", "bfloat16": "bfloat16_"}[precision] + "peak_gflops_per_s"
        assert row["share_of_peak"] == pytest.approx(row["gflops_per_s"] / row[key])
        assert (row["step_s"], row["epoch_s_range"]) == (2.0, [2.0, 6.0])  # 300 images: 2 steps
    shown = {"name": "dcgan-lab", "precision": "bfloat16"}
    assert benchmark_pages.name_of(shown) == "dcgan-lab, bfloat16"


@pytest.mark.programs
def test_a_step_counts_all_mini_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two updates of D a step has 20 real images: an epoch of 60,000 is 3,000 steps."""
    (case,) = benchmark_cases.cases(["gan-small"])
    case = benchmark_cases.with_values(case, 10, 4, None)
    model = replace(case.args.model, d_steps=2)
    case = case._replace(args=replace(case.args, model=model))
    monkeypatch.setattr(benchmark_measure, "PEAK_SIZE", 64)
    row = benchmark_measure.rates(case, [0.5], 3, SMALL)
    assert (row["images_per_s"], row["epoch_s"]) == (3 * 20 / 0.5, 3000 * 0.5)
    assert row["flops_per_step"] == 3 * flops.of_gan(model, 10, SMALL)
    images = np.random.default_rng(0).integers(0, 256, (70, *SMALL), dtype=np.uint8)
    row = benchmark_measure.measure(case, images, Patience(1), ("flax",))
    assert (row["steps"], row["flax_steps"]) == (3, 3)


@needs_torch
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["rbm-lab", "dbn-lab", "wake_sleep-lab", "wake_sleep-labelled", "vae-lab", "gan-small"]
)
def test_against_all(small: Any, name: str) -> None:
    row = benchmark.measure_here(args(name, batch_size=50, hidden_size=16, against="all"))
    for peer in benchmark_cases.cases([name])[0].experiment.benchmark.baselines:
        assert row[f"ratio_to_{peer}"] > 0


# ---- which rows


@pytest.mark.programs
def test_a_process_of_its_own_gives_the_same_row() -> None:
    setting = args("rbm-lab", synthetic=True, repeats=1, hidden_size=8, precision=("float32",))
    row = benchmark.measure_apart(setting)
    here = {"name", "import_s", "trace_s", "compile_s", "step_s", "peak_rss_bytes", "hidden_size"}
    assert here < set(row)
    assert row["data"] == "noise"
    assert row["hidden_size"] == 8
    assert row["peak_rss_bytes"] > 0


def test_flags_say_the_settings() -> None:
    settings = benchmark.Args(
        only=("rbm-lab", "vae-lab"),
        against="all",
        batch_size=3,
        precision=("float32", "bfloat16"),
        resident=False,
        synthetic=True,
        sweep=("seeds",),
        values=(1, 2),
        json=Path("a b.json"),
    )
    assert tyro.cli(benchmark.Args, args=benchmark.flags(settings)) == settings
    assert benchmark.flags(benchmark.Args()) == []


def test_a_dcgan_has_a_row_for_each_precision() -> None:
    found = benchmark.single(benchmark.Args(only=("dcgan-lab", "rbm-lab"), repeats=3))
    assert [(a.only, a.precision) for _, a in found] == [
        (("dcgan-lab",), ("float32",)),
        (("dcgan-lab",), ("bfloat16",)),
        (("rbm-lab",), ("float32",)),
    ]
    for sweep, setting in found:
        assert benchmark.single(setting) == [(sweep, setting)]
    (_, only), *others = benchmark.single(
        benchmark.Args(precision=("bfloat16",), only=("dcgan-lab",))
    )
    assert only.precision == ("bfloat16",)
    assert others == []
    (case,) = benchmark_cases.cases(["dcgan-lab"])
    changed = benchmark_cases.with_values(case, None, 8, "bfloat16")
    assert (changed.args.model.base_width, changed.args.batch_size) == (8, 128)
    assert changed.precision == "bfloat16"


@pytest.mark.programs
def test_sweeps_give_one_row_per_value_and_a_plot(small: Any, tmp_path: Path) -> None:
    page = tmp_path / "docs" / "sweeps.md"
    for sweep, key, values in (
        ("batch_size", "batch_size", (20, 60)),
        ("seeds", "num_seeds", (1, 2)),
    ):
        rows = tmp_path / f"{sweep}.json"
        settings = args(sweep=(sweep,), values=values, repeats=1, json=rows, markdown=page)
        text = benchmark.run(settings)
        assert [row[key] for row in read(rows)] == list(values)
        assert {row["name"] for row in read(rows)} == {"rbm-lab"}
        plot = page.parent / f"{sweep}-rbm-lab-float32.png"
        assert plot.read_bytes()[:4] == b"\x89PNG"
        assert f"]({plot.name})" in text
        assert all(f"| {value} |" in text for value in values)


def test_sweeps_are_drawn_against_what_is_ideal() -> None:
    first = {"images_per_s": 100.0, "share_of_peak": 0.5, "num_devices": 1}
    last = {"images_per_s": 150.0, "share_of_peak": 0.25, "num_devices": 4}
    sweeps = benchmark_sweeps.SWEEPS
    found = {name: sweep.ideal_rate(last, first) for name, sweep in sweeps.items()}
    at_peak = ("batch_size", "hidden_size", "latent_size", "image_size", "channels")
    assert found == dict.fromkeys(at_peak, 600.0) | {
        **{"images": 100.0, "seeds": 100.0, "devices": 400.0}
    }
    settings = {field.name for field in fields(benchmark.Args)}
    assert set(sweeps) < settings


def test_several_sweeps_take_their_own_values() -> None:
    found = benchmark.single(benchmark.Args(sweep=("seeds", "devices"), only=("rbm-lab",)))
    values = [(sweep, a.seeds, a.devices) for sweep, a in found]
    assert values == [("seeds", s, 1) for s in (1, 2, 4, 8, 16)] + [
        ("devices", 1, d) for d in (1, 2)
    ]


def test_a_batch_size_takes_the_place_of_the_presets() -> None:
    (case,) = benchmark_cases.cases(["vae-lab"])
    assert case.args.batch_size == 1024
    assert benchmark_cases.with_values(case, 100, None, None).args.batch_size == 100
    assert benchmark_cases.with_values(case, None, None, None) == case


def test_names_choose_cases_in_the_order_of_the_presets() -> None:
    names = [case.name for case in benchmark_cases.cases(["vae-lab", "gan-small", "gan-deep"])]
    assert names == ["gan-deep", "gan-small", "vae-lab"]
    known = {case.name for case in benchmark_cases.cases()}
    assert known >= {"rbm-lab", "dbn-lab", "wake_sleep-lab", "dcgan-lab", "dcgan-wide"}


# ---- what is refused


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("rbm-lba", "rbm-lab"),
        ("rbm", "rbm-lab"),
        ("dcgan", "dcgan-lab or dcgan-wide or dcgan-fast"),
        ("convolutions", "one of them"),
    ],
)
def test_an_unknown_name_is_answered_by_those_that_may_be_meant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, remedy: str
) -> None:
    assert call(monkeypatch, "--only", name) == 2
    text = only_line(capsys.readouterr().err)
    assert "to be among dbm-small, dbn-lab, dcgan-lab, " in text
    assert text.endswith(f"; set it to {remedy}\n")


def test_values_belong_to_one_sweep(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "--values", "1", "2") == 2
    assert "--sweep" in only_line(capsys.readouterr().err)


def test_a_precision_that_none_has(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "--only", "rbm-lab", "--precision", "bfloat16") == 2
    assert "--precision float32" in only_line(capsys.readouterr().err)


def test_more_devices_than_there_are(
    small: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "--only", "rbm-lab", "--devices", "1000") == 2
    assert "--devices" in only_line(capsys.readouterr().err)


@pytest.mark.parametrize("against", ["torch", "all"])
def test_without_torch_it_says_what_to_type(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], against: str
) -> None:
    monkeypatch.setattr(benchmark_baseline.importlib.util, "find_spec", lambda _: None)
    assert call(monkeypatch, "--only", "rbm-lab", "--against", against) == 2
    assert "'.[benchmark]'" in only_line(capsys.readouterr().err)


def test_what_to_run_against() -> None:
    libraries = {a: benchmark.Args(against=a).libraries for a in ("none", "torch", "flax", "all")}
    expected = {"none": (), "torch": ("torch",), "flax": ("flax",), "all": ("torch", "flax")}
    assert libraries == expected


# ---- flops


def test_flops_of_a_small_net() -> None:
    """Counted by hand: encoder 784-4-6, decoder 3-4-784, two images."""
    config = Config((4,), latent_size=3)
    forward = 784 * 4 + 4 * 6 + 3 * 4 + 4 * 784
    assert flops.of_vae(config, 2, (28, 28, 1)) == 2 * 2 * (3 * forward - 784 * 4)


def test_flops_of_small_convolutions() -> None:
    """Counted by hand: 6x10x3 in 8x12, to 4x6x5 and 2x3x7; back to a location and a scale each."""
    config = Config(latent_size=2, channels=(5, 7), architecture="conv")
    first, second = 4 * 6 * 16 * 3 * 5, 2 * 3 * 16 * 5 * 7
    encoder, decoder = first + second + 42 * 4, 2 * 42 + second + 2 * first
    assert flops.of_vae(config, 4, (6, 10, 3)) == 4 * 2 * (3 * (encoder + decoder) - first)


def test_flops_of_a_small_dbm() -> None:
    """Counted by hand: 5-4-3, two images and seven chains, one update of mean field, one step."""
    config = dbm_model.Config((4, 3), 1, num_gibbs_steps=1, num_chains=7)
    lower, upper = 5 * 4, 4 * 3
    mean_field = lower + upper + 2 * upper + upper + upper  # pass, turns, last mu1, residual
    of_image, of_chain = mean_field + 2 * (lower + upper), (2 + 2) * (lower + upper)
    assert flops.of_dbm(config, 2, (5, 1, 1)) == 2 * (2 * of_image + 7 * of_chain)


def test_flops_of_a_small_gan() -> None:
    """Counted by hand: G 3-4-784, D 784-5-1, two images; D(real), D(fake) and D again for G."""
    model = gan_model.Config(latent_size=3, generator_sizes=(4,), discriminator_sizes=(5,))
    of_g, of_d = 3 * 4 + 4 * 784, 784 * 5 + 5
    d_update = of_g + 2 * (of_d + of_d + 5)
    g_update = 2 * of_d + of_g + 4 * 784
    assert flops.of_gan(model, 2, (28, 28, 1)) == 2 * 2 * (d_update + g_update)
    twice = replace(model, d_steps=2, fresh_noise=True)
    counted = flops.of_gan(twice, 2, (28, 28, 1))
    assert counted == 2 * 2 * (2 * d_update + of_g + g_update)


def test_flops_of_the_labs_dcgan() -> None:
    """About 290 GFLOP at batch 128: D's three large layers have 8.6 each, 11 times in all."""
    counted = flops.of_dcgan(dcgan_model.Config(), 128, (28, 28, 1))
    large = 2 * 128 * 16 * 16 * 16 * 64 * 128
    assert 33 * large < counted < 34 * large


@pytest.mark.parametrize(("class_code", "num_inputs"), [("one_hot", 3 + 5), ("learned", 3 + 3)])
def test_flops_of_a_small_conditional_dcgan(class_code: Any, num_inputs: int) -> None:
    """Counted by hand, 16x16 in colour: D 3-1-2-1 on 8x8, 4x4, 1x1; G back from code and class."""
    model = dcgan_model.Config(base_width=1, latent_size=3, num_classes=5, class_code=class_code)
    first, second, last = 8 * 8 * 16 * 3, 4 * 4 * 16 * 1 * 2, 16 * 2
    stem = num_inputs * 16 * 2
    of_g, of_d = stem + second + first, first + second + last
    d_update = of_g + 2 * (3 * of_d - first)
    g_update = 2 * of_d + 2 * of_g - stem
    assert flops.of_dcgan(model, 2, (16, 16, 3)) == 2 * 2 * (d_update + g_update)


# ---- what is trained on


def test_images_come_from_the_data_set_that_is_named(digits_root: Path) -> None:
    name, images = benchmark.load_images(benchmark.Args(dataset="digits", data_dir=digits_root))
    assert name == "digits"
    assert images.shape[1:] == (28, 28, 1)


def test_values_below_one_are_refused_by_their_name() -> None:
    with pytest.raises(SettingError, match=r"--values of 1 or more, found 0"):
        benchmark.Args(sweep=("seeds",), values=(0,))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"accelerator": True, "minutes": math.inf}, "expected --minutes above 0 and finite"),
        ({"seconds": -1.0}, "expected --seconds above 0 and finite"),
        ({"seconds": math.nan}, "expected --seconds above 0 and finite"),
        ({"images": -1}, "expected --images of at least 1"),
        ({"channels": -2}, "expected --channels of at least 1"),
        ({"image_size": 0}, "expected --image-size of at least 1"),
        ({"accelerator": True, "sweep": ("seeds",)}, "expected --sweep without --accelerator"),
        ({"growth": True, "sweep": ("seeds",), "values": (1,)}, "expected --values without"),
        ({"quick": True}, "beside --accelerator or --growth, found True; leave out --quick"),
        ({"growth": True, "largest_batch": True}, "found --growth --largest-batch"),
        ({"start": True, "growth": True}, "found --growth --start"),
        ({"start": True, "image_size": 4}, "found --image-size; leave --image-size out"),
    ],
)
def test_settings_without_a_use_are_refused(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError) as error:
        benchmark.Args(**flags)
    assert words in one_line(error)


@pytest.mark.parametrize(
    ("json", "markdown", "words"),
    [
        ("a", "b/../a", "expected --json and --markdown to be two files"),
        ("run/summary.json", None, "expected --json outside a run"),
        (None, "run/report.html", "expected --markdown outside a run"),
    ],
)
@pytest.mark.parametrize("measure", [benchmark.run, convolutions.main])
def test_files_of_which_one_would_be_lost_are_refused_before_measuring(
    json: str | None,
    markdown: str | None,
    words: str,
    measure: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(benchmark, "run_accelerator", lambda _: pytest.fail("it measured"))
    monkeypatch.setattr(convolutions, "measure_all", lambda _: pytest.fail("it measured"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").write_text('{"experiment": "rbm"}')
    own = {"accelerator": True} if measure is benchmark.run else {}
    kind = benchmark.Args if own else convolutions.Args
    paths = {"json": json and tmp_path / json, "markdown": markdown and tmp_path / markdown}
    with pytest.raises(JaxgenError) as error:
        measure(kind(**own, **paths))
    assert words in one_line(error)


@pytest.mark.parametrize("flag", ["json", "markdown"])
def test_a_file_that_cannot_be_written_is_refused_before_measuring(
    flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "run_accelerator", lambda _: pytest.fail("it measured"))
    place: dict[str, Any] = {flag: tmp_path}
    with pytest.raises(WriteError) as error:
        benchmark.run(benchmark.Args(accelerator=True, **place))
    assert str(tmp_path) in one_line(error)
