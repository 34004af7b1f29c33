"""Raw images: what is taken, what is refused in which words, and the conversion that is named."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import one_line

import jaxgen.images
from jaxgen import data
from jaxgen.errors import SettingError
from jaxgen.evaluation import classifier, monitors, probes, sample_quality
from jaxgen.images import check_images, in_unit_range
from jaxgen.learner import unlabelled
from jaxgen.models import adversarial, mixture, rbm
from jaxgen.random import binarize, explain_colour

RNG = np.random.default_rng(0)
RAW = RNG.integers(0, 255, (6, 16, 16, 1), dtype=np.uint8)
RAW[0, 0, 0], RAW[0, 0, 1] = 0, 254
UNIT = (RAW / 255).astype(np.float32)
WITH_NAN = UNIT.copy()
WITH_NAN[[1, 4], 2, 3] = np.nan

REFUSED: dict[str, tuple[Any, str]] = {
    "[0, 1]": (UNIT, "float32 [6, 16, 16, 1] from 0 to 0.9961; convert them: {}low=0, high=1)"),
    "[-1, 1]": (2 * UNIT - 1, "from -1 to 0.9922; convert them: {}low=-1, high=1)"),
    "[0, 255]": (RAW.astype(np.float64), "from 0 to 254; convert them: {}low=0, high=255)"),
    "16 bits": (RAW.astype(np.uint16) * 257, "from 0 to 6.528e+04; convert them: {}low=0, high=65"),
    "standardised": (9 * UNIT - 4, "from -4 to 4.965; convert them: {}low=-4, high="),
    "bool": (RAW > 127, "bool [6, 16, 16, 1] from 0 to 1; convert them: {}low=0, high=1)"),
    "0 and 1": (np.uint8(RAW > 127), "uint8 [6, 16, 16, 1] from 0 to 1; convert them: {}low=0, hi"),
    "NaN": (WITH_NAN, "with NaN or infinity in 2 of 6 images; leave these images out"),
    "no channel": (
        RAW[..., 0],
        "uint8 [6, 16, 16] from 0 to 254; add the axis of channels",
    ),
    "channels first": (
        RNG.integers(0, 255, (6, 3, 16, 16), dtype=np.uint8),
        "put the channels last: images.transpose(0, 2, 3, 1)",
    ),
    "rows": (RAW.reshape(6, -1), "uint8 [6, 256] from 0 to 254; give an array of that kind"),
    "none": (RAW[:0], "found uint8 [0, 16, 16, 1]"),
    "sizes": ([RAW[0], RAW[0, :8]], "object [2]; make one array of images of one size: numpy.stac"),
    "text": (np.array(["a"]), "found <U1 [1]; give numbers"),
    "nothing": (None, "found object []"),
    "a key": (jax.random.key(0), "found object []"),
    "masked": (np.ma.array(RAW, mask=RAW > 253), "masked; fill them: images.filled(0)"),
}


@pytest.mark.parametrize(("images", "words"), REFUSED.values(), ids=REFUSED)
def test_what_are_no_raw_images(images: Any, words: str) -> None:
    with pytest.raises(SettingError) as error:
        check_images(images)
    text = one_line(error)
    assert words.format("jaxgen.data.to_uint8(images, ") in text
    assert "raw images, uint8 from 0 to 255, [num, height, width, channels]" in text or (
        "images without masked numbers" in text
    )


def test_a_training_set_is_darker_than_one_image_may_be() -> None:
    for largest in (2, 16, 31):
        dark = RAW % (largest + 1)
        dark[0, 0, 0] = largest
        check_images(dark)  # an image of its own may be so
        for use in (
            lambda x: check_images(x, whole_set=True),
            lambda x: mixture.fit(mixture.Config(2, 1), x, KEY),
        ):
            with pytest.raises(SettingError, match=rf"to_uint8.images, low=0, high={largest}."):
                use(dark)
    for allowed in (RAW, RAW % 33, RAW * 0):
        check_images(allowed, whole_set=True)


@pytest.mark.parametrize("bright", [0, 3, 5, None])
def test_a_set_is_read_in_blocks_to_the_first_bright_one(
    monkeypatch: pytest.MonkeyPatch, bright: int | None
) -> None:
    monkeypatch.setattr(jaxgen.images, "BLOCK_BYTES", RAW[0].nbytes)
    read: list[np.ndarray] = []
    monkeypatch.setattr(jaxgen.images, "release", read.append)
    dark = RAW % 3
    if bright is None:
        with pytest.raises(SettingError, match="high=2"):
            check_images(dark, whole_set=True)
    else:
        dark[bright, 0, 0, 0] = 32
        check_images(dark, whole_set=True)
    assert len(read) == (6 if bright is None else bright + 1)


def test_blocks_are_all_images_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    for num in (1, 4, 6, 100):
        monkeypatch.setattr(jaxgen.images, "BLOCK_BYTES", num * RAW[0].nbytes)
        found = [*jaxgen.images.blocks(RAW)]
        assert [len(block) for block in found[:-1]] == [num] * (len(found) - 1)
        np.testing.assert_array_equal(np.concatenate(found), RAW)
    assert [*jaxgen.images.blocks(RAW[:0])] == []


def held(path: Path) -> int:
    """Bytes of a mapped file that are in this process's memory."""
    found, mine = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            mine = line.endswith(str(path))
        elif mine and line.startswith("Rss:"):
            found += 1024 * int(line.split()[1])
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux")
def test_pages_of_a_memory_map_are_given_back(tmp_path: Path) -> None:
    path = tmp_path / "images.npy"
    np.save(path, np.ones((64, 128, 128, 1), np.uint8))  # 1 MiB
    mapped = np.load(path, mmap_mode="r")
    for part in (mapped, np.asarray(mapped), mapped[3:].reshape(61, -1)):
        assert part.sum() > 0
        assert held(path) > 2**19
        jaxgen.images.release(part)
        assert held(path) == 0
    changed = np.load(path, mmap_mode="c")
    changed[:] = 7
    jaxgen.images.release(changed)  # whose changes are nowhere else
    assert (changed == 7).all()


def test_what_are_raw_images() -> None:
    for images in (RAW, jnp.asarray(RAW), RAW.repeat(3, axis=3), np.zeros_like(RAW)):
        check_images(images)
    check_images(RAW, (16, 16, 1))
    constant = jnp.asarray(RAW)
    assert jax.jit(lambda x: x + check_images(constant)[0, 0, 1, 0])(0) == 254
    with pytest.raises(SettingError, match=r"images of .28, 28, 1., found uint8 .6, 16"):
        check_images(RAW, (28, 28, 1))


KEY = jax.random.key(0)
MIXTURE = mixture.init(mixture.Config(2, 1), jnp.asarray(RAW), KEY)
DOORS: dict[str, Callable[[Any], Any]] = {
    "binarize": lambda x: binarize(KEY, x, "sample"),
    "binarize in a program": lambda x: jax.jit(lambda x: binarize(KEY, x, "none"))(x),
    "rescaled": adversarial.rescale,
    "mean pixels": lambda x: rbm.mean_pixels(x, "none"),
    "start of a mixture": lambda x: mixture.init(mixture.Config(2, 1), x, KEY),
    "EM": lambda x: mixture.update(mixture.Config(2, 1), MIXTURE, x, KEY),
    "mixture": lambda x: mixture.fit(mixture.Config(2, 1), x, KEY),
    "nearest": lambda x: sample_quality.nearest_distance(UNIT, x),
    "classifier": lambda x: classifier.train(
        classifier.Config(batch_size=2), x, jnp.zeros(len(x), jnp.int32), KEY
    ),
    "reconstruction error": lambda x: monitors.reconstruction_error(x, jnp.zeros((6, 256))),
    "step": lambda x: rbm.step(
        rbm.Config(num_hidden=2), rbm.init(rbm.Config(num_hidden=2), 256, KEY), unlabelled(x), KEY
    ),
}


@pytest.mark.parametrize("name", DOORS)
@pytest.mark.parametrize("kind", ["[0, 1]", "[-1, 1]", "bool", "NaN", "no channel"])
def test_every_door_refuses_what_are_no_raw_images(name: str, kind: str) -> None:
    with pytest.raises(SettingError, match="raw images, uint8 from 0 to 255"):
        DOORS[name](REFUSED[kind][0])


@pytest.mark.parametrize("kind", ["[-1, 1]", "[0, 255]", "bool", "0 and 1", "NaN", "16 bits"])
def test_samples_are_in_the_unit_range_or_raw(kind: str) -> None:
    for use in (
        in_unit_range,
        probes.pixels,
        lambda x: classifier.as_inputs(x, 3),
        lambda x: sample_quality.nearest_distance(x, RAW),
    ):
        with pytest.raises(SettingError, match="images") as error:
            use(REFUSED[kind][0])
        one_line(error)
    np.testing.assert_array_equal(in_unit_range(RAW), in_unit_range(UNIT))
    resized = np.array([[-1e-6, 1 + 1e-6]], np.float32)  # as a matrix product rounds
    np.testing.assert_array_equal(in_unit_range(resized), resized)
    assert sample_quality.nearest_distance(RAW, RAW).max() < 0.01  # once all were far away


def test_the_conversion_rounds_to_the_nearest_level_and_is_named_by_its_range() -> None:
    for given, low, high in (
        (UNIT, 0, 1),
        (2 * UNIT - 1, -1, 1),
        (RAW.astype(np.float32), 0, 255),
        (RAW.astype(np.uint16) * 257, 0, 65535),
        (RAW, 0, 255),
        (np.asarray(RAW, np.int64) - 100, -100, 155),
    ):
        found = data.to_uint8(given, low=low, high=high)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, RAW)
    np.testing.assert_array_equal(data.to_uint8(np.array([True, False]), 0, 1), [255, 0])
    halves = np.array([0.499, 0.501, 254.49, 254.51]) / 255
    assert data.to_uint8(halves, 0.0, 1.0).tolist() == [0, 1, 254, 255]


@pytest.mark.parametrize(
    ("images", "low", "high", "words"),
    [
        (2 * UNIT - 1, 0, 1, "numbers from 0 to 1, found from -1 to 0.9922; name the values of bl"),
        (RAW, 0, 1, "numbers from 0 to 1, found from 0 to 254"),
        (WITH_NAN, 0, 1, "found with NaN or infinity in 2 of 6 images"),
        (
            UNIT,
            1,
            0,
            "low below high, by what a float can divide by, found float32, low=1 and high",
        ),
        (UNIT, 0, np.inf, "found float32, low=0 and high=inf"),
        (np.array(["a"]), 0, 1, "found <U1"),
        (np.array([-1e308, 0.0, 1e308]), -1e308, 1e308, "low=-1e+308 and high=1e+308"),
        (np.array([0.0, 1e-320]), 0, 1e-320, "low=0 and high=9.99989e-321"),
        (np.ma.array([0.0, 1.0], mask=[True, False]), 0, 1, "images without masked numbers, fou"),
        ([[0.0], [0.0, 1.0]], 0, 1, "found object"),
        *((UNIT, low, 1, "low=nan") for low in (None, "0", np.zeros(3), 0j)),
        (UNIT, 0, 10**400, "high=nan"),
    ],
)
def test_what_cannot_be_converted(images: Any, low: Any, high: Any, words: str) -> None:
    with pytest.raises(SettingError) as error:
        data.to_uint8(images, low, high)
    assert words in one_line(error)


def test_binary_units_of_colours_are_explained_once(caplog: pytest.LogCaptureFixture) -> None:
    colour = RAW.repeat(3, axis=3)
    explain_colour.cache_clear()  # another test of this process may have met colours
    with caplog.at_level(logging.WARNING, "jaxgen"):
        for method in ("sample", "threshold", "sample"):
            assert binarize(KEY, colour, method).shape == (6, 16 * 16 * 3)  # type: ignore[arg-type]
        binarize(KEY, RAW, "sample")
    assert caplog.text.count("each of the 3 channels of a colour pixel becomes a binary unit") == 1


@pytest.mark.parametrize(
    ("low", "high", "call"),
    [
        (0.0, 1.0, "low=0, high=1"),
        (0.1, 0.7, "low=0, high=1"),
        (-1.0, 1.0, "low=-1, high=1"),
        (0.0, 200.0, "low=0, high=255"),
        (0.0, 16.0, "low=0, high=16"),
        (0.0, 0.001, "low=0, high=0.001"),
        (-0.5, 0.5, "low=-0.5, high=0.5"),
        (-1.0, 0.0, "low=-1, high=0"),
        (0.0, 0.0, "(images, low, high)"),
    ],
)
def test_the_call_names_a_range_that_the_images_fill(low: float, high: float, call: str) -> None:
    with pytest.raises(SettingError) as error:
        check_images(np.linspace(low, high, 2 * 28 * 28).reshape(2, 28, 28, 1))
    assert call in one_line(error)


@pytest.mark.parametrize(
    ("images", "remedy"),
    [
        (np.full((28, 28, 1), 200, np.uint8), "images[None]"),
        (np.full((5, 28, 28), 200, np.uint8), "images[..., None]"),
        (
            data.Split(np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, np.int32)),
            "dataset.train.images",
        ),
    ],
)
def test_what_lacks_an_axis_or_has_images_in_it(images: Any, remedy: str) -> None:
    with pytest.raises(SettingError) as error:
        check_images(images)
    assert remedy in one_line(error)
