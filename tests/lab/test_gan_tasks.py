"""The numbers on a GAN's page, from a hand-made linear generator and a linear discriminator."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file
from support.helpers import one_line
from support.runs import read, write_run

from experiments.dcgan import PRESETS, Args
from experiments.lab import study as runner
from experiments.lab.drawing import Drawing, class_sheet
from experiments.lab.gan import dcgan as dcgan_lab
from experiments.lab.gan import tasks
from experiments.lab.gan.tasks import GANReport
from experiments.lab.gan.training import TrainedGAN
from experiments.lab.samples import Looks
from experiments.lab.walks import evenness
from experiments.running.session import Session, session_for
from jaxgen.data import Dataset, Split
from jaxgen.errors import SettingError
from jaxgen.evaluation.gan_diagnostics import Finding
from jaxgen.export import pytorch
from jaxgen.learner import unlabelled
from jaxgen.models import adversarial, dcgan, vae
from jaxgen.models.adversarial import Nets, Player, State, rescale

SHAPE = (2, 2, 1)
NUM_PIXELS = 4
LINES = [{"epoch": 1.0, "sample_distance": 0.1, "sample_spread": 1.0}]


class Linear(nn.Module):
    """Codes to images: the products with a matrix, cut to [-1, 1]."""

    @nn.compact
    def __call__(self, codes: jax.Array, train: bool) -> jax.Array:
        """Images [B, 2, 2, 1]."""
        del train
        matrix = self.param("matrix", nn.initializers.ones, (codes.shape[1], NUM_PIXELS))
        return jnp.clip(codes @ matrix, -1.0, 1.0).reshape(-1, *SHAPE)


class Pixels(nn.Module):
    """A discriminator that nothing here asks."""

    @nn.compact
    def __call__(self, pixels: jax.Array, train: bool) -> jax.Array:
        """The sum of the pixels."""
        del train
        return jnp.sum(pixels, axis=(1, 2, 3))


def made(
    matrix: np.ndarray,
    folder: Path,
    train: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...] = tuple("0123456789"),
) -> TrainedGAN:
    """The generator with a matrix [L, 4], and data whose test images are darker training images."""
    labels = labels.astype(np.int32)
    dataset = Dataset("tiny", Split(train, labels), Split(train // 2, labels), "none", class_names)
    drawing = Drawing(dataset, folder)
    generator = Player({"params": {"matrix": jnp.asarray(matrix, jnp.float32)}}, ())
    state = State(generator, Player({"params": {}}, ()), None, jnp.int32(0))
    return TrainedGAN(Nets(Linear(), Pixels(), rescale), state, drawing, len(matrix))


def images_by_hand(codes: Any, matrix: np.ndarray) -> np.ndarray:
    """Images [..., 2, 2, 1] in [0, 1] in float64."""
    codes = np.asarray(codes, np.float64)
    return (0.5 * np.clip(codes @ matrix, -1, 1) + 0.5).reshape(*codes.shape[:-1], *SHAPE)


def random_data(num: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (num, *SHAPE), dtype=np.uint8), np.arange(num) % 10


MATRIX = np.random.default_rng(1).normal(0.0, 0.4, (3, NUM_PIXELS))


def test_images_in_blocks_are_those_of_one_call(tmp_path: Path) -> None:
    """250 codes are two whole blocks and a half; a grid of codes keeps its arrangement."""
    trained = made(MATRIX, tmp_path, *random_data())
    codes = trained.codes("blocks", 250)
    images = trained.images(codes)
    np.testing.assert_allclose(images, images_by_hand(codes, MATRIX), atol=1e-6)
    np.testing.assert_array_equal(trained.images(codes.reshape(25, 10, 3))[24, 9], images[249])


class Shades(nn.Module):
    """A generator of one shade for each class; codes count for nothing."""

    @nn.compact
    def __call__(self, codes: jax.Array, train: bool, labels: jax.Array) -> jax.Array:
        """Images [B, 2, 2, 1]."""
        del train
        return jnp.broadcast_to(labels[:, None, None, None] / 4 - 1.0, (len(codes), *SHAPE))


def test_images_of_a_conditional_game_take_the_classes_in_turn(tmp_path: Path) -> None:
    """Along the first axis of a grid: so fixed codes keep their classes, and so do walks."""
    trained = made(MATRIX, tmp_path, *random_data())
    trained = trained._replace(nets=trained.nets._replace(generator=Shades()), num_classes=3)
    shades = trained.images(trained.codes("grid", 350).reshape(70, 5, 3))
    assert shades.shape == (70, 5, *SHAPE)
    expected = np.broadcast_to(np.arange(70)[:, None] % 3 / 8, (70, 5))
    np.testing.assert_allclose(shades[:, :, 1, 1, 0], expected, atol=1e-6)
    np.testing.assert_allclose(trained.fixed()[:, 0, 0, 0], np.arange(16) % 3 / 8, atol=1e-6)


@pytest.mark.parametrize(
    ("pattern", "share", "distance"),
    [([255, 255, 0, 0], 1.0, 0.0), ([255, 0, 255, 0], 0.0, np.sqrt(2.0))],
    ids=["copies", "others"],
)
def test_near_samples(
    pattern: list[int], share: float, distance: float, tmp_path: Path, monkeypatch: Any
) -> None:
    """Samples are one pattern or its negative: training images, or two pixels away from any."""
    monkeypatch.setattr(tasks.figures, "rows_of", lambda *_, **__: None)
    monkeypatch.setattr(Drawing, "save", lambda *_, **__: tmp_path)
    matrix = 1e6 * np.array([[1.0, 1.0, -1.0, -1.0]])
    train = np.array([pattern, 255 - np.array(pattern)], np.uint8).reshape(2, *SHAPE)
    trained = made(matrix, tmp_path, train, np.zeros(2))
    section, measured, looks = tasks.neighbours(trained, LINES)
    num = len(trained.drawing.dataset.test.images)
    assert num < 100
    assert f"over 500 samples and {num} test images" in section.answer[2]
    near = f"{measured['test_distance']:.4g}"  # test images are all as far away
    assert f"No test image lies nearer than {near} to a training image" in section.answer[2]
    assert ("may be copies" in section.answer[0]) == (share > 0)
    assert looks.distance == pytest.approx(distance / (np.sqrt(2.0) * 128 / 255), abs=0.02)
    assert measured["sample_near_share"] == share
    np.testing.assert_allclose(measured["sample_distance"], distance, atol=0.01)
    np.testing.assert_allclose(measured["test_distance"], np.sqrt(2.0) * 128 / 255, atol=0.01)


def finding(name: str, held: bool | str | None) -> Finding:
    """One that holds or not, that is "undecided", or, by None, of too few intervals."""
    holds = None if held == "undecided" else held
    return Finding(name, holds, {}, "", None if held is None else 0.2, None)


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ((None, None), "these cannot be told, because the run has too few intervals"),
        ((False, False), "none of those looked for"),
        ((True, False), "a"),
        ((True, True), "a, b"),
        ((False, None), "none of those looked for; too few intervals to tell b"),
        ((None, True), "b; too few intervals to tell a"),
        (
            (False, "undecided"),
            "none of those looked for; the numbers leave open, as the table has it: b",
        ),
    ],
)
def test_failures_that_are_open_are_not_denied(
    held: tuple[bool | str | None, ...], words: str
) -> None:
    found = [finding(name, each) for name, each in zip("ab", held, strict=True)]
    assert tasks.failures_in_words(found) == words


@pytest.mark.parametrize(
    ("looks", "decay", "words"),
    [
        (Looks(1.0, 0.009, 1.0, 0.1), 0.999, "The run is too short, or its moving average"),
        (Looks(1.0, 0.3, 0.9, 0.1), 0.0, "The run is too short, or G has collapsed"),
        (Looks(1.0, 0.9, 0.1, 0.1), 0.999, ""),
    ],
)
def test_samples_that_hardly_differ(
    drawn: list[Any], looks: Looks, decay: float, words: str, tmp_path: Path
) -> None:
    trained = made(np.ones((1, NUM_PIXELS)), tmp_path, *random_data())
    images = np.zeros((3, *SHAPE))
    section = tasks.samples(trained.drawing, images, None, looks, decay)
    assert words in section.answer[0]
    assert ("are alike" in section.answer[0] or "all alike" in section.answer[0]) == bool(words)


# ---- walks


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """The images of a sheet or of rows, which is not drawn."""
    kept: list[Any] = []
    for name in ("image_sheet", "rows_of"):
        monkeypatch.setattr(tasks.figures, name, lambda images, *_, **__: kept.append(images))
    monkeypatch.setattr(Drawing, "save", lambda *_, **__: tmp_path)
    return kept


def test_walks_go_from_each_code_to_the_next(drawn: list[Any], tmp_path: Path) -> None:
    trained = made(MATRIX, tmp_path, *random_data())
    tasks.walks(trained)
    rows = drawn[0].reshape(10, 10, *SHAPE)
    codes = np.asarray(trained.codes("walks", 10), np.float64)
    ends = images_by_hand(codes * np.sqrt(3) / np.linalg.norm(codes, axis=1, keepdims=True), MATRIX)
    np.testing.assert_allclose(rows[:, 0], ends, atol=1e-5)
    np.testing.assert_allclose(rows[:, -1], np.roll(ends, -1, axis=0), atol=1e-5)


def test_walks_of_a_constant_generator(drawn: list[Any], tmp_path: Path) -> None:
    section = tasks.walks(made(0.0 * MATRIX, tmp_path, *random_data()))
    assert drawn[0].std() == 0.0
    assert "The images hardly change along the walks" in section.answer[0]


def test_evenness() -> None:
    """An even walk and a single jump; a walk that stands still is none."""
    walks = np.zeros((3, 10, *SHAPE))
    walks[0] += np.linspace(0.0, 1.0, 10).reshape(10, 1, 1, 1)
    walks[1, 4:] = 1.0
    for walk, jump in ((0, "1"), (1, "9")):
        said = evenness(walks[[walk]])
        assert f"The largest of the 9 steps in pixels is {jump} times the mean one" in said
    assert "a pixel moves by 0.01 of 1" in evenness(0.01 * walks[:1])
    assert "is 5 times the mean one (median of the 2 walks" in evenness(walks)


# ---- sums of codes


def test_sums_of_codes(drawn: list[Any], tmp_path: Path) -> None:
    """Labels, mean codes, sums and their images once more, in float64; no image is a 9."""
    train, _ = random_data()
    labels = np.arange(len(train)) % 9
    trained = made(MATRIX, tmp_path, train, labels)
    tasks.arithmetic(trained)
    codes = np.asarray(trained.codes("labelled noise", 2000), np.float64)
    images = images_by_hand(codes, MATRIX).reshape(-1, 1, NUM_PIXELS)
    nearest = np.linalg.norm(images - train.reshape(1, -1, NUM_PIXELS) / 255, axis=2).argmin(axis=1)
    known = np.bincount(labels[nearest], minlength=10) >= 20
    assert known.sum() >= 5
    means = np.stack([codes[labels[nearest] == label].sum(axis=0) for label in range(10)])
    means /= np.maximum(np.bincount(labels[nearest], minlength=10), 1)[:, None]

    def expected(sums: np.ndarray) -> np.ndarray:
        lengths = np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-6)
        return images_by_hand(sums / lengths * np.sqrt(3), MATRIX)

    found = drawn[0]
    np.testing.assert_allclose(found["mean"][known], expected(means)[known], atol=0.02)
    np.testing.assert_allclose(found["mean"][9], 0.5, atol=1e-6)
    for a, b in tasks.DIFFERENCES:
        sums = means[a] - means[b] + means
        np.testing.assert_allclose(found[f"{a} - {b} + mean"], expected(sums), atol=0.05)


def test_sums_of_three_classes_and_of_many(drawn: list[Any], tmp_path: Path) -> None:
    """Neighbours take the place of the digits; of many classes the first twenty are drawn."""
    train, labels = random_data()
    tasks.arithmetic(made(MATRIX, tmp_path, train, labels % 3, ("a b", "c", "d")))
    assert [*drawn[0]] == ["mean", "c - a b + mean", "d - c + mean"]
    assert drawn[0]["mean"].shape == (3, *SHAPE)
    names = tuple(f"n{label}" for label in range(30))
    section, (headline,) = tasks.arithmetic(made(MATRIX, tmp_path, train, np.arange(30), names))
    assert headline.value.endswith(" of 30")
    assert [*drawn[1]] == ["mean", "n1 - n0 + mean", "n2 - n1 + mean", "n3 - n2 + mean"]
    assert drawn[1]["mean"].shape == (20, *SHAPE)
    assert "10 more classes are not shown. " in section.answer[1]


def test_a_row_for_each_class_that_was_learned(drawn: list[Any], tmp_path: Path) -> None:
    """Of many classes the first twenty; of a class without training images none."""
    train, _ = random_data()
    names = tuple(f"n{label}" for label in range(32))
    trained = made(MATRIX, tmp_path, train, np.delete(np.arange(32), [1, 7]), names)

    def shades(key: Any, num: int, labels: jax.Array) -> jax.Array:
        del key
        return jnp.broadcast_to(labels[:, None, None, None] / 32, (num, *SHAPE))

    section = class_sheet(trained.drawing, shades, "Words.")
    learned = [label for label in range(22) if label not in (1, 7)]
    assert [*drawn[0]] == [f"n{label}" for label in learned]
    for label, images in zip(learned, drawn[0].values(), strict=True):
        np.testing.assert_array_equal(images, np.full((10, *SHAPE), label / 32))
    assert section.answer == [
        "Words.",
        "10 more classes are not shown.",
        "Classes without training images have no row: 2 of 32.",
    ]


def test_images_without_labels_have_no_sums(drawn: list[Any], tmp_path: Path) -> None:
    train, labels = random_data()
    section, headline = tasks.arithmetic(made(MATRIX, tmp_path, train, 0 * labels, ()))
    assert headline == []
    assert section.answer == [
        "The images have no labels, so there are no mean codes of classes to add."
    ]
    assert drawn == []


# ---- smoothed labels


@pytest.mark.parametrize(("smoothing", "chance"), [(0.0, "0.5"), (0.2, "0.4")])
def test_chance(smoothing: float, chance: str) -> None:
    """The constant c at which D's loss on images that are alike is least, found on a grid."""
    grid = np.linspace(0.0005, 0.9995, 1999)
    losses = -(1 - smoothing) * np.log(grid) - (1 + smoothing) * np.log(1 - grid)
    assert f"{grid[losses.argmin()]:.3g}" == chance
    said = tasks.at_chance(smoothing)
    assert f"gives {chance} to both" in said
    assert f"{losses.min():.3f}" in said


def test_what_d_sees_is_named_where_it_is_not_the_images() -> None:
    assert tasks.as_shown_to_d(dcgan.Config()) == []
    (words,) = tasks.as_shown_to_d(dcgan.Config(instance_noise=0.25))
    assert "noise of standard deviation 0.25" in words


# ---- the DCGAN's study

TINY = dcgan.Config(width=0.02, latent_size=3)


@pytest.mark.parametrize(
    "changes",
    [{}, {"d_steps": 2}, {"g_steps": 2}, {"d_steps": 2, "fresh_noise": True}],
    ids=["plain", "two D", "two G", "fresh"],
)
def test_batches_that_the_nets_have_seen(
    changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three iterations; the passes of one are counted while it is traced."""
    config, passes = dataclasses.replace(TINY, **changes), []
    original = adversarial.apply

    def counted(net: nn.Module, *args: Any) -> Any:
        passes.append(type(net).__name__.lower())
        return original(net, *args)

    monkeypatch.setattr(adversarial, "apply", counted)
    made = dcgan.learner(config)
    state = jax.eval_shape(made.init, jax.random.key(0))
    batch = jax.eval_shape(unlabelled, jax.ShapeDtypeStruct((4, 28, 28, 1), jnp.uint8))
    jax.eval_shape(made.step, state, batch, jax.random.key(0))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state)
    dcgan_lab.export(config, 64, zeros._replace(step=np.int32(3)), tmp_path)
    for player, norm in (("generator", "batchnorm1"), ("discriminator", "main.3")):
        arrays = load_file(tmp_path / f"{player}.safetensors")
        assert int(arrays[f"{norm}.num_batches_tracked"]) == 3 * passes.count(player)
    assert passes.count("discriminator") == 2 * config.d_steps + config.g_steps


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("use_bias", [True, False])
def test_the_page_names_convolutions_without_biases(name: str, use_bias: bool) -> None:
    """PyTorch's have biases unless told otherwise; a state dict without them would not load."""
    config = dataclasses.replace(PRESETS[name].model, width=0.02, use_bias=use_bias)
    state = jax.eval_shape(dcgan.learner(config).init, jax.random.key(0))
    zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state.generator.variables)
    arrays = pytorch.to_pytorch(config, "generator", zeros)
    kernels = [key for key in arrays if arrays[key].ndim == 4]
    biases = [key for key in kernels if key.replace("weight", "bias") in arrays]
    said = dcgan_lab._module(config, 64)
    assert said.count("ConvTranspose2d") == 2
    assert said.count("bias=False") == (0 if biases == kernels else 2)


def test_the_study_leaves_out_what_the_run_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run without batch normalisation at 1e-3 has two variants left, and the log says so."""
    model = dcgan.Config(batch_norm=False, learning_rate=1e-3)
    measures = dict.fromkeys([*dcgan_lab.COLUMNS, "test_distance"], 1.0)
    trained: list[tuple[str, dcgan.Config]] = []

    def train(args: Args, own: Session) -> Any:
        own.folder.mkdir(parents=True)
        own.record()
        assert read(own.folder / "config.json")["model"]["d_steps"] == args.model.d_steps
        trained.append((own.part, args.model))

    written: Any = GANReport(None, measures, [], tmp_path)  # type: ignore[arg-type]
    monkeypatch.setattr(dcgan_lab, "write", lambda *_: written)
    monkeypatch.setattr(dcgan_lab, "comparison", lambda *_: None)
    monkeypatch.setattr(runner.report, "write_page", lambda *_, **__: tmp_path)
    split = Split(np.zeros((2, 28, 28, 1), np.uint8), np.zeros(2, np.int32))
    dataset = Dataset("tiny", split, split, "0" * 64)
    args = dataclasses.replace(Args(), model=model)
    session = session_for("dcgan", args, dataset, tmp_path)
    with caplog.at_level(logging.INFO, "jaxgen"):
        dcgan_lab.compare(args, session, written, train)
    expected = [("study/5_1_2_two_D_updates", 2, 1), ("study/5_1_2_two_G_updates", 1, 2)]
    assert [(part, each.d_steps, each.g_steps) for part, each in trained] == expected
    rows = read(tmp_path / "study.json")
    assert [row["name"] for row in rows] == ["as set", *list(dcgan_lab.VARIANTS)[:2]]
    assert "2 trainings follow, each takes about as long as the run: 5.1.2 two" in caplog.text
    assert len(dcgan_lab.variants(Args())) == len(dcgan_lab.VARIANTS)


@pytest.mark.parametrize(
    ("digest", "dataset", "words"),
    [
        ("d1", "digits", "found one of vae on digits with other images"),
        ("d0", "mnist", "found one of vae on mnist;"),
    ],
)
def test_a_vae_of_other_images_is_not_shown_beside(
    digest: str, dataset: str, words: str, tmp_path: Path
) -> None:
    split = Split(np.zeros((200, 28, 28, 1), np.uint8), np.zeros(200, np.int32))
    shown = tmp_path / "vae"
    write_run(
        shown, "vae", vae.Config(hidden_sizes=(2,), latent_size=1), (28, 28, 1), dataset=dataset
    )
    args = Args(vae=shown, batch_size=20)
    with pytest.raises(SettingError) as error:
        args.check(Dataset("digits", split, split, digest), tmp_path / "run")
    assert words in one_line(error)
    Args(vae=shown, batch_size=20).check(Dataset(dataset, split, split, "d0"), tmp_path / "run")


def test_pictures_are_in_the_order_of_their_epochs(tmp_path: Path) -> None:
    for name in ("epoch_0002", "epoch_9999", "epoch_10000", "epoch_0100", "latest"):
        (tmp_path / f"{name}.png").touch()
    found = tasks.pictures_by_epoch(tmp_path)
    assert [*found] == [2, 100, 9999, 10000]
    assert found[10000] == tmp_path / "epoch_10000.png"
