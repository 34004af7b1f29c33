"""The benchmark's bookkeeping; its times are not tested."""

import importlib.util
from dataclasses import replace

import pytest

from experiments import benchmark, benchmark_cases, dcgan, gan, vae
from jaxgen import data
from jaxgen import dcgan as dcgan_model
from jaxgen import gan as gan_model
from jaxgen.errors import SettingError
from jaxgen.vae import Config


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(benchmark, "NUM_IMAGES", 300)
    monkeypatch.setattr(benchmark, "PEAK_SIZE", 64)


@pytest.fixture
def digits(digits_root):
    return data.load("digits", digits_root)


def test_rows_have_what_they_promise(small, digits):
    (case,) = benchmark.cases(["rbm-lab"])
    row = benchmark.measure(case, digits, "none", repeats=2)
    assert row["name"] == "rbm-lab"
    assert row["batch_size"] == 100
    assert row["operations_per_step"] == 5 * 2 * 100 * 784 * 100
    assert row["step_s"] * 3 == pytest.approx(row["epoch_s"])
    assert row["images_per_s"] * row["epoch_s"] == pytest.approx(300)
    expected = row["operations_per_step"] / row["step_s"] / 1e9
    assert row["gflops_per_s"] == pytest.approx(expected)
    assert row["share_of_peak"] == pytest.approx(row["gflops_per_s"] / row["peak_gflops_per_s"])
    assert all(row[key] > 0 for key in ("compile_s", "first_step_s", "peak_rss_bytes"))
    assert "rbm-lab" in benchmark.page([row], "digits", 2)


def test_a_batch_size_takes_the_place_of_the_presets():
    (case,) = benchmark.cases(["vae-lab"])
    assert case.args.batch_size == 1024
    (case,) = benchmark.cases(["vae-lab"], 100)
    assert case.args.batch_size == 100


def test_operations_of_a_small_net():
    """Counted by hand: encoder 784-4-6, decoder 3-4-784, two images."""
    args = replace(vae.PRESETS["lab"], batch_size=2, model=Config((4,), latent_size=3))
    forward = 784 * 4 + 4 * 6 + 3 * 4 + 4 * 784
    assert benchmark_cases.vae_operations(args) == 2 * 2 * (3 * forward - 784 * 4)


def test_operations_of_a_small_gan():
    """Counted by hand: G 3-4-784, D 784-5-1, two images; D(real), D(fake) and D again for G."""
    model = gan_model.Config(latent_size=3, generator_sizes=(4,), discriminator_sizes=(5,))
    args = replace(gan.PRESETS["small"], batch_size=2, model=model)
    of_g, of_d = 3 * 4 + 4 * 784, 784 * 5 + 5
    d_update = of_g + 2 * (of_d + of_d + 5)
    g_update = 2 * of_d + of_g + 4 * 784
    assert benchmark_cases.gan_operations(args) == 2 * 2 * (d_update + g_update)
    twice = replace(args, model=replace(model, d_steps=2, fresh_noise=True))
    counted = benchmark_cases.gan_operations(twice)
    assert counted == 2 * 2 * (2 * d_update + of_g + g_update)


def test_operations_of_the_labs_dcgan():
    """About 290 GFLOP at batch 128: D's three large layers have 8.6 each, 11 times in all."""
    counted = benchmark_cases.dcgan_operations(dcgan.PRESETS["lab"])
    large = 2 * 128 * 16 * 16 * 16 * 64 * 128
    assert 33 * large < counted < 34 * large


def test_names_choose_cases_in_the_order_of_the_presets():
    names = [case.name for case in benchmark.cases(["vae-lab", "gan-small", "gan-deep"])]
    assert names == ["gan-deep", "gan-small", "vae-lab"]
    assert len(benchmark.cases()) > 8


def test_unknown_name_lists_the_known():
    with pytest.raises(SettingError, match="rbm-lab"):
        benchmark.cases(["rbm-lba"])


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs the extra benchmark")
def test_against_torch(small, digits):
    (case,) = benchmark.cases(["rbm-lab"])
    row = benchmark.measure(case, digits, "torch", repeats=3)
    low, high = row["ratio_to_torch_range"]
    assert 0 < low <= high
    assert "torch" in benchmark.page([row], "digits", 3).lower()


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs the extra benchmark")
def test_a_dcgan_meets_both_layouts_on_a_few_batches(small, digits, monkeypatch):
    args = replace(dcgan.PRESETS["lab"], batch_size=4, model=dcgan_model.Config(width=1 / 64))
    subject = benchmark_cases.SUBJECTS["dcgan"]._replace(num_images=8)
    monkeypatch.setitem(benchmark_cases.SUBJECTS, "dcgan", subject)
    row = benchmark.measure(benchmark_cases.Case("dcgan", "lab", args), digits, "torch", repeats=2)
    assert row["ratio_to_torch"] > 0
    assert row["ratio_to_torch_channels_last"] > 0
    assert row["epoch_s"] == pytest.approx(75 * row["step_s"])
    assert "channels_last (range)" in benchmark.page([row], "digits", 2)


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="PyTorch is there")
def test_without_torch_it_says_what_to_type(small, digits):
    (case,) = benchmark.cases(["rbm-lab"])
    with pytest.raises(SettingError, match=r"\[benchmark\]"):
        benchmark.measure(case, digits, "torch", repeats=1)
