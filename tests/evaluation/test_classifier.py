"""The LeNet learns digits, repeats its bits, and is kept and repaired; its layers are SciPy's."""

import dataclasses
import logging
import math
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from support.helpers import SMALL_CLASSIFIER as SMALL
from support.helpers import one_line, same

from jaxgen import data
from jaxgen.errors import SettingError
from jaxgen.evaluation import classifier as lenet
from jaxgen.export import safetensors


@pytest.fixture(scope="module")
def digits(digits_root: Path) -> data.Dataset:
    return data.load("digits", digits_root)


@pytest.fixture(scope="module")
def classifier(digits: data.Dataset, digits_root: Path) -> lenet.Classifier:
    return lenet.load(digits, digits_root, SMALL)


@pytest.fixture(scope="module")
def params(classifier: lenet.Classifier) -> lenet.Params:
    return classifier.params


def test_it_learns_digits(digits: data.Dataset, classifier: lenet.Classifier) -> None:
    found = classifier(digits.test.images)
    accuracy = np.mean(np.argmax(found.probs, axis=1) == digits.test.labels)
    assert classifier.accuracy == accuracy > 0.8
    assert found.features.shape == (len(digits.test.images), 16)
    assert found.features.min() >= 0
    np.testing.assert_allclose(found.probs.sum(axis=1), 1.0, rtol=1e-5)


def test_bits_follow_the_key(digits: data.Dataset, params: lenet.Params) -> None:
    assert same(lenet.train(SMALL, *digits.train, jax.random.key(0)), params)
    assert not same(lenet.train(SMALL, *digits.train, jax.random.key(1)), params)


def test_the_classification_of_an_image_depends_on_nothing_else(
    digits: data.Dataset, params: lenet.Params
) -> None:
    images = np.tile(digits.test.images, (2, 1, 1, 1))[:501]  # more than a block
    found = lenet.classify(SMALL, params, images)
    as_numbers = lenet.classify(SMALL, params, images[-3:] / np.float32(255.0))
    np.testing.assert_allclose(found.features[-3:], as_numbers.features, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.probs[-3:], as_numbers.probs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 32, 28, 1), (3, 28, 28, 3), (3, 28, 28), (3, 784)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...], params: lenet.Params) -> None:
    with pytest.raises(SettingError, match="of the shape that the classifier was trained on") as e:
        lenet.classify(SMALL, params, np.zeros(shape, np.float32))
    one_line(e)


def test_layers_against_scipy() -> None:
    from scipy.signal import correlate

    config = lenet.Config(channels=(2, 3), num_hidden=5, num_features=4, num_classes=3)
    params = jax.device_get(lenet.init(config, jax.random.key(2), (17, 16, 1)))
    x = np.random.default_rng(0).uniform(size=(17, 16, 1))
    for name in ("Conv_0", "Conv_1"):
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        outputs = range(kernel.shape[-1])
        y = np.concatenate([correlate(x, kernel[..., o], "valid") for o in outputs], 2) + bias
        rows, columns = range(y.shape[0] // 2), range(y.shape[1] // 2)
        blocks = [[y[2 * i : 2 * i + 2, 2 * j : 2 * j + 2] for j in columns] for i in rows]
        x = np.maximum(np.array([[b.max(axis=(0, 1)) for b in row] for row in blocks]), 0)
    units = x.reshape(-1)
    for name in ("Dense_0", "Dense_1"):
        units = np.maximum(units @ params[name]["kernel"] + params[name]["bias"], 0)
    logits = units @ params["Dense_2"]["kernel"] + params["Dense_2"]["bias"]
    image = np.random.default_rng(0).uniform(size=(1, 17, 16, 1)).astype(np.float32)
    found = lenet.classify(config, params, image)
    np.testing.assert_allclose(found.features[0], units, rtol=1e-4, atol=1e-5)
    expected = np.exp(logits) / sum(map(math.exp, logits))
    np.testing.assert_allclose(found.probs[0], expected, rtol=1e-4)


def test_impossible_settings(digits: data.Dataset) -> None:
    images, labels = (each[:20] for each in digits.train)
    with pytest.raises(SettingError, match="at least 25 training images, found 20"):
        lenet.train(SMALL, images, labels, jax.random.key(0))
    for wrong in ({"num_epochs": 0}, {"channels": (0, 3)}, {"learning_rate": 0.0}):
        with pytest.raises(SettingError):
            lenet.Config(**wrong)


@pytest.mark.parametrize(
    ("side", "channels"),
    [
        (1, []),
        (5, []),
        (6, [8]),
        (8, [8]),
        (16, [8, 32]),
        (28, [8, 32]),
        (51, [8, 32]),
        (64, [8, 32, 32]),
        (128, [8, 32, 32, 32]),
        (256, [8, 32, 32, 32, 32]),
    ],
)
def test_convolutions_follow_the_size(side: int, channels: list[int]) -> None:
    assert lenet.layer_channels(lenet.Config(), side) == channels


@pytest.mark.parametrize("shape", [(1, 1, 1), (8, 11, 3), (70, 6, 2)])
def test_images_of_any_size_in_any_chunks(
    shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, *shape), dtype=np.uint8)
    params = lenet.init(SMALL, jax.random.key(0), shape)
    monkeypatch.setattr(lenet, "BLOCK", 4)
    whole = lenet.classify(SMALL, params, images)
    assert whole.features.shape == (7, SMALL.num_features)
    monkeypatch.setattr(lenet, "BLOCK", 2)
    monkeypatch.setattr(lenet, "CHUNK_BYTES", 1)
    parts = lenet.classify(SMALL, params, images)
    np.testing.assert_allclose(parts.features, whole.features, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(parts.probs, whole.probs, rtol=1e-4, atol=1e-6)


def colours(num: int, num_test: int, num_classes: int, *, told: bool = True) -> data.Dataset:
    """Images of 6x9 pixels of a colour for each class; not told, the labels are of other images."""
    rng = np.random.default_rng(0)
    splits = []
    for size in (num, num_test):
        labels = rng.integers(0, max(num_classes, 1), size).astype(np.int32)
        images = rng.integers(100, 120, (size, 6, 9, 3), dtype=np.uint8)
        images[..., 1] += (40 * labels)[:, None, None].astype(np.uint8)
        splits.append(data.Split(images, labels if told else rng.permutation(labels)))
    names = tuple(f"<b>{n}</b>" for n in range(num_classes))
    return data.Dataset("colours", *splits, f"{num}{num_classes}{told}".ljust(64, "0"), names)


def test_epochs_batch_and_classes_follow_the_data(digits: data.Dataset) -> None:
    """The data sets of before keep their net, and with it their numbers."""
    assert lenet.config_for(digits) == lenet.Config()
    small = lenet.config_for(colours(250, 5, 3))
    assert (small.num_classes, small.batch_size, small.num_epochs) == (3, 100, 500)
    tiny = lenet.config_for(colours(20, 5, 3))
    assert (tiny.batch_size, tiny.num_epochs) == (20, 1000)
    assert lenet.config_for(colours(100_000, 5, 3)).num_epochs == lenet.Config().num_epochs


@pytest.mark.parametrize(
    ("told", "num_classes", "why"),
    [
        (True, 3, ""),
        (False, 3, "a trained LeNet classifies"),
        (True, 0, "there are no labels to train a LeNet with"),
        (True, 1, "there are no labels to train a LeNet with"),
    ],
)
def test_random_weights_stand_in_for_a_net_that_does_not_read(
    told: bool, num_classes: int, why: str, tmp_path: Path
) -> None:
    dataset = colours(200, 40, num_classes, told=told)
    config = dataclasses.replace(SMALL, num_classes=max(1, num_classes), num_epochs=25)
    found = lenet.load(dataset, tmp_path, config)
    assert found.random == bool(why)
    assert found.num_classes == (0 if why else 3)
    assert why in found.describe()
    assert (found.describe() == "LeNet, 100.00% of 40 test images correct") == (not why)
    assert len(found.test.features) == 40
    assert len(found.test_correct) == (40 if num_classes > 1 else 0)
    if why:
        untrained = lenet.load(dataset._replace(class_names=()), tmp_path, config)
        assert untrained.digest == found.digest  # whatever the labels are
        assert np.std(found.test.features, axis=0).max() > 0


def test_a_kept_classifier_is_not_trained_again(
    digits: data.Dataset,
    classifier: lenet.Classifier,
    digits_root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lenet, "train", None)
    again = lenet.load(digits, digits_root, SMALL)
    assert again.digest == classifier.digest
    assert same(again.params, classifier.params)
    with pytest.raises(TypeError):  # another setting, another net
        lenet.load(digits, digits_root, lenet.Config(num_epochs=1))
    with pytest.raises(TypeError):  # other data, another net
        lenet.load(digits._replace(digest="0" * 64), digits_root, SMALL)


def test_a_file_of_version_0_1_is_found(
    digits: data.Dataset,
    classifier: lenet.Classifier,
    digits_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its name has been the same since then: a digest of data, settings and seed."""
    path = lenet.cache_path(digits, SMALL, digits_root)
    assert path.name == "digits-b22d109c0f42b422.safetensors"
    earlier = tmp_path / "jaxgen" / "judges" / path.name
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(path.read_bytes())
    monkeypatch.setattr(lenet, "train", None)
    assert lenet.load(digits, tmp_path, SMALL).digest == classifier.digest


@pytest.mark.parametrize("damage", ["flip", "truncate", "another net"])
def test_a_damaged_classifier_is_trained_again_after_a_warning(
    damage: str,
    digits: data.Dataset,
    classifier: lenet.Classifier,
    digits_root: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = tmp_path / "own"  # other tests read the classifier of the shared folder meanwhile
    shutil.copytree(digits_root, root)
    path = lenet.cache_path(digits, SMALL, root)
    whole = path.read_bytes()
    spoilt = bytearray(whole)
    spoilt[-100] ^= 1
    if damage == "another net":
        wider = jax.tree.map(lambda leaf: np.append(leaf, leaf), classifier.params)
        safetensors.save_params(path, safetensors.flatten(wider), {})
        spoilt = bytearray(path.read_bytes())
    path.write_bytes(spoilt[:-8] if damage == "truncate" else spoilt)
    with caplog.at_level(logging.WARNING, "jaxgen"):
        again = lenet.load(digits, root, SMALL)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "jaxgen"]
    assert line.startswith("the classifier is trained again: ")
    assert again.digest == classifier.digest
    assert path.read_bytes() == whole


@pytest.mark.data
@pytest.mark.slow
def test_the_classifier_of_mnist_is_right_99_times_in_100(mnist_root: Path) -> None:
    assert lenet.load(data.load("mnist", mnist_root), mnist_root).accuracy > 0.99
