"""The judge is cached and mended; the measures put real images, noise and copies in their order."""

import logging
from pathlib import Path

import jax
import numpy as np
import pytest
from support.helpers import SMALL_CLASSIFIER, same

from experiments.comparison import judge, yardstick
from experiments.running.cli import exit_code
from jaxgen import data
from jaxgen.evaluation import lenet
from jaxgen.evaluation.resampling import Estimate
from jaxgen.export import safetensors


@pytest.fixture(scope="module")
def digits(digits_root: Path) -> data.Dataset:
    return data.load("digits", digits_root)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("judges")


@pytest.fixture(scope="module")
def judged(digits: data.Dataset, cache: Path) -> judge.Judge:
    return judge.judge(digits, cache, SMALL_CLASSIFIER)


def test_the_judge_states_its_accuracy(digits: data.Dataset, judged: judge.Judge) -> None:
    again = judged(digits.test.images).probs
    assert judged.accuracy == np.mean(np.argmax(again, axis=1) == digits.test.labels)
    assert judged.accuracy > 0.8


def test_a_cached_judge_is_not_trained_anew(
    digits: data.Dataset, judged: judge.Judge, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lenet, "train", None)
    again = judge.judge(digits, cache, SMALL_CLASSIFIER)
    assert again.digest == judged.digest
    assert same(again.params, judged.params)
    with pytest.raises(TypeError):  # another setting, another net
        judge.judge(digits, cache, lenet.Config(num_epochs=1))
    with pytest.raises(TypeError):  # other data, another net
        judge.judge(digits._replace(digest="0" * 64), cache, SMALL_CLASSIFIER)


@pytest.mark.parametrize("damage", ["flip", "truncate", "another net"])
def test_a_damaged_judge_is_trained_anew_and_says_so(
    damage: str,
    digits: data.Dataset,
    judged: judge.Judge,
    cache: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = judge.cache_path(digits, SMALL_CLASSIFIER, cache)
    whole = path.read_bytes()
    spoilt = bytearray(whole)
    spoilt[-100] ^= 1
    if damage == "another net":
        wider = jax.tree.map(lambda leaf: np.append(leaf, leaf), judged.params)
        safetensors.save_params(path, safetensors.flatten(wider), {})
        spoilt = bytearray(path.read_bytes())
    path.write_bytes(spoilt[:-8] if damage == "truncate" else spoilt)
    with caplog.at_level(logging.WARNING, "jaxgen"):
        again = judge.judge(digits, cache, SMALL_CLASSIFIER)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("the judge is trained anew: ")
    assert again.digest == judged.digest
    assert path.read_bytes() == whole


def test_measures_tell_real_images_from_noise_and_copies(
    digits: data.Dataset, judged: judge.Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    num = len(digits.test.images)
    noise = np.random.default_rng(0).uniform(size=digits.test.images.shape).astype(np.float32)
    one_kind = digits.train.images[digits.train.labels == 3][:100]
    copies = digits.train.images[:num]
    found = [yardstick.measure(judged, images, digits) for images in (copies, noise, one_kind)]
    real, noisy, same_digit = (each.estimates for each in found)
    read = np.argmax(judged(one_kind).probs, axis=1)
    assert found[2].digits == [np.mean(read == digit) for digit in range(10)]
    assert np.argmax(found[2].digits) == 3
    assert set(real) == set(yardstick.WHAT)
    for name in ("frechet_distance", "kernel_distance"):
        assert real[name].high < min(noisy[name].low, same_digit[name].low)
    for name in ("precision", "recall", "coverage"):
        assert real[name].value > 0.7
        assert noisy[name].value < 0.1
    assert same_digit["precision"].value > 0.7
    assert same_digit["recall"].value < 0.3
    assert real["class_score"].low > same_digit["class_score"].high
    assert real["digits_kl"].value < 0.05
    assert same_digit["digits_kl"].value > 1.5
    assert real["copying"].value == 1.0
    assert noisy["copying"].value == 0.0
    assert real["parzen"].value > noisy["parzen"].value
    assert real["frechet_distance"].num_samples == num
    line = yardstick.in_words("class_score", real["class_score"])
    assert f"{num} samples, 200 resamples" in line


def test_the_command_states_accuracy_and_floor(
    digits: data.Dataset,
    judged: judge.Judge,
    digits_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(yardstick, "judge", lambda *_: judged)
    floor = {"recall": Estimate(0.875, 0.75, 1.0, 30, 20)}
    monkeypatch.setattr(yardstick, "measure", lambda *_: yardstick.Measured(floor, []))
    yardstick.main(yardstick.Args("digits", digits_root))
    out = capsys.readouterr().out
    assert f"{judged.accuracy:.2%} of {len(digits.test.labels)} test images" in out
    assert "recall 0.875 [0.75, 1], 30 samples, 20 resamples: share of real images" in out
    unknown = yardstick.Args("nothing", digits_root)  # type: ignore[arg-type]
    assert exit_code(lambda: yardstick.main(unknown)) == 2
    assert capsys.readouterr().err.startswith("error: expected ")


@pytest.mark.data
@pytest.mark.slow
def test_the_judge_of_mnist_reads_99_in_100(mnist_root: Path) -> None:
    assert judge.judge(data.load("mnist", mnist_root), mnist_root).accuracy > 0.99
