"""`experiments.gan` and `experiments.dcgan` as a user runs them, tiny."""

import json
import re
import shutil
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from support.runs import (
    assert_reads_back,
    call,
    contents,
    lines_of,
    only_line,
    read,
    said_twice,
    stopped_after,
    without_times,
)

from experiments import dcgan, gan
from experiments.comparison.naming import label_of
from experiments.running import cli
from jaxgen import runs
from jaxgen.data import Dataset, Split
from jaxgen.data.dataset import digest_of
from jaxgen.training import checkpoint

TINY = ("--generator-sizes", "16", "--discriminator-sizes", "16", "12", "8", "--latent-size", "5")
EPOCHS = ("--epochs", "6", "--batch-size", "50", "--log-every", "10")
QUESTIONS = ("5.4.1", "5.2, 5.3", "5.1.1", "5.4.2, 5.4.3", "5.4.4", "5.4.5", "5.4.6")


def where(digits_root: Path, folder: Path) -> tuple[str, ...]:
    return ("--dataset", "digits", "--data-dir", str(digits_root), "--out", str(folder))


@pytest.fixture(scope="module")
def trained_gan(digits_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished GAN run; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("gan") / "run"
    assert call(*where(digits_root, folder), *TINY, *EPOCHS, experiment=gan) == 0
    return folder


@pytest.fixture(scope="module")
def vae_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a VAE's run that others use."""
    folder = tmp_path_factory.mktemp("vae")
    (folder / "summary.json").write_text('{"experiment": "vae", "dataset": "digits"}')
    np.savez_compressed(folder / "samples.npz", images=np.full((100, 28, 28, 1), 0.5, np.float32))
    return folder


def test_every_log_line_tells_how_the_game_goes(trained_gan: Path) -> None:
    lines = lines_of(trained_gan)
    assert [line["step"] for line in lines] == list(range(10, 181, 10))
    for line in lines:
        assert 0 < line["d_real"] < 1
        assert 0 < line["d_fake"] < 1
        assert line["g_loss"] > 0
        assert line["spread"] >= 0
    measured = [line["epoch"] for line in lines if "sample_distance" in line]
    assert measured == [1, 2, 3, 4, 5, 6]


def test_fixed_codes_are_drawn_after_every_epoch(trained_gan: Path) -> None:
    names = [path.stem for path in sorted((trained_gan / "progress").iterdir())]
    assert names == [*(f"epoch_{epoch:04}" for epoch in range(1, 7)), "latest"]
    sheets = [np.asarray(Image.open(trained_gan / "progress" / f"{name}.png")) for name in names]
    assert sheets[0].shape == (4 * 29 + 1, 4 * 29 + 1)  # 16 images of 28 with lines between them
    assert not np.array_equal(sheets[0], sheets[-1])
    np.testing.assert_array_equal(sheets[-2], sheets[-1])


def test_both_nets_are_saved_and_the_summary_names_their_digest(trained_gan: Path) -> None:
    params = load_file(trained_gan / "params.safetensors")
    assert read(trained_gan / "summary.json")["digest"] == checkpoint.digest(params)
    assert said_twice(trained_gan) == []
    assert params["generator.params.Dense_0.dense.kernel"].shape == (5, 16)
    assert params["discriminator.params.Dense_3.dense.kernel"].shape == (8, 1)


def test_report_answers_its_questions(trained_gan: Path) -> None:
    page = (trained_gan / "report.html").read_text()
    for question in QUESTIONS:
        assert re.search(rf"<h2[^>]*>(<span[^>]*>)?[^<]*{re.escape(question)}", page), question
    metrics = read(trained_gan / "summary.json")["metrics"]
    assert metrics["test_distance"] > 0
    assert metrics["sample_distance"] == lines_of(trained_gan)[-1]["sample_distance"]
    assert "after epoch 1, 2, 5, 6" in page
    beside = 'beside these with <code><span class="flag">--vae</span> RUN</code>'
    assert f"A VAE&#39;s samples are set {beside}" in page


@pytest.mark.programs
def test_a_stopped_run_goes_on_to_the_same_bits(
    digits_root: Path, trained_gan: Path, tmp_path: Path
) -> None:
    flags = (*where(digits_root, tmp_path / "run"), *TINY, *EPOCHS, "--resume")
    for step in (50, 120):
        with stopped_after(step):
            assert call(*flags, experiment=gan) == 143
        assert not (tmp_path / "run" / "summary.json").exists()
    assert call(*flags, experiment=gan) == 0
    here, there = (read(folder / "summary.json") for folder in (tmp_path / "run", trained_gan))
    assert here["digest"] == there["digest"]
    assert here["metrics"] | {"s_per_iteration": 0} == there["metrics"] | {"s_per_iteration": 0}
    assert without_times(lines_of(tmp_path / "run")) == without_times(lines_of(trained_gan))


@pytest.mark.parametrize("make", ["missing", "other", "damaged"])
def test_a_vae_that_is_none_is_refused(
    make: str,
    digits_root: Path,
    trained_gan: Path,
    vae_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    vae = {"missing": tmp_path / "vae", "other": trained_gan}.get(make, tmp_path / "damaged")
    if make == "damaged":
        shutil.copytree(vae_run, vae)
        (vae / "samples.npz").write_bytes((vae_run / "samples.npz").read_bytes()[:200])
    flags = (*where(digits_root, tmp_path / "run"), *TINY, *EPOCHS, "--vae", str(vae))
    assert call(*flags, experiment=gan) == (4 if make == "damaged" else 2)
    message = only_line(capsys.readouterr().err)
    assert ("found a damaged file" if make == "damaged" else "python -m experiments.vae") in message
    assert not (tmp_path / "run").exists()


def test_a_vae_inside_the_folder_to_empty_is_refused(
    digits_root: Path, vae_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(vae_run)
    flags = (*where(digits_root, vae_run), *TINY, *EPOCHS, "--vae", str(vae_run), "--overwrite")
    assert call(*flags, experiment=gan) == 2
    assert "--out" in only_line(capsys.readouterr().err)
    assert contents(vae_run) == before


def test_a_batch_for_each_update_of_the_discriminator_must_be_there(
    digits_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = (*where(digits_root, tmp_path / "run"), "--batch-size", "600", "--d-steps", "3")
    assert call(*flags, experiment=gan) == 2
    expected = "from 1 to 500, as a step takes 3 batches of the 1500 training examples, found 600"
    assert expected in only_line(capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ((), ()),
        (("--augment",), ("colour", "translation", "cutout")),
        (("--augment", "--flip"), ("colour", "translation", "cutout")),
        (("--augment", "cutout", "colour"), ("cutout", "colour")),
        (("--augment", "none"), ()),
    ],
)
def test_transforms_by_flag(flags: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert cli.parse(gan.PRESETS, {}, flags).model.augment == found


@pytest.mark.parametrize("names", [("color",), ("none", "cutout"), ("",)])
def test_transforms_that_are_not_there(
    names: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--out", str(tmp_path / "run"), "--augment", *names)
    assert call(*flags, experiment=gan) == 2
    assert "colour, translation, cutout" in only_line(capsys.readouterr().err)


@pytest.mark.programs
@pytest.mark.parametrize("class_names", [("a $b", "c", "d"), ()])
def test_any_images_have_a_page(
    class_names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of colours, not square, with three classes or none, fewer than a figure shows."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (36, 9, 6, 3), dtype=np.uint8)
    labels = (np.arange(36) % 3 if class_names else np.zeros(36)).astype(np.int32)
    train, test = Split(images[:24], labels[:24]), Split(images[24:], labels[24:])
    dataset = Dataset("tiny", train, test, digest_of(train, test), class_names)
    monkeypatch.setattr(cli, "load_dataset", lambda _: dataset)
    flags = ("--epochs", "2", "--batch-size", "4", "--d-steps", "2", "--flip")
    augment = ("--augment", "colour", "translation", "cutout", "--instance-noise", "0.3")
    assert call(*flags, *TINY, *augment, "--out", str(tmp_path / "run"), experiment=gan) == 0
    run = runs.load(tmp_path / "run")
    assert run.stored_samples().shape == (100, 9, 6, 3)
    assert run.summary["steps"] == 2 * 3
    page = (tmp_path / "run" / "report.html").read_text()
    assert ("have no labels" in page) == (not class_names)
    assert "colour, translation, cutout before D, noise of 0.3 on what D sees" in page
    assert "through colour, translation, cutout, noise of standard deviation 0.3, pixels" in page


def test_the_small_preset_is_the_notebooks() -> None:
    model = gan.PRESETS["small"].model
    assert (model.latent_size, model.generator_sizes, model.dropout) == (64, (256, 256), 0.0)


# ---- DCGAN


@pytest.mark.parametrize(
    ("words", "device", "name", "preset"),
    [
        ([], "cpu", "mnist", "fast"),
        ([], "gpu", "mnist", "lab"),
        ([], "gpu", "pets", "few"),
        (["--width", "1"], "cpu", "pets", "few"),
        (["--preset", "lab"], "cpu", "mnist", "lab"),
        (["--preset=lab"], "cpu", "pets", "lab"),
        (["--quick", "--epochs", "3"], "cpu", "digits", "fast"),
    ],
)
def test_the_preset_that_is_taken_where_none_is_typed(
    words: list[str], device: str, name: str, preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A typed setting is kept, a value that `lab` has by itself too."""
    monkeypatch.setattr(jax, "default_backend", lambda: device)
    split = Split(np.zeros((50, 28, 28, 1), np.uint8), np.zeros(50, np.int32))
    given = cli.parse(dcgan.PRESETS, dcgan.QUICK, words)
    args = cli.choose_preset(dcgan.EXPERIMENT, given, Dataset(name, split, split, "0"), words)
    expected = cli.parse(dcgan.PRESETS, dcgan.QUICK, ["--preset", preset, *words])
    assert args == expected
    assert args.preset == preset
    if "--width" in words:
        assert args.model.width == 1 != dcgan.PRESETS["few"].model.width


def test_a_run_goes_on_with_the_preset_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where another would be taken now; a record may name no preset that there is."""
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    split = Split(np.zeros((50, 28, 28, 1), np.uint8), np.zeros(50, np.int32))
    given = cli.parse(dcgan.PRESETS, dcgan.QUICK, words := ["--resume", "--epochs", "2"])
    for stored, preset in (("wide", "wide"), (["lab"], "fast"), ("none", "fast")):
        config = {"experiment": "dcgan", "preset": stored}
        (tmp_path / "config.json").write_text(json.dumps(config))
        dataset = Dataset("mnist", split, split, "0")
        args = cli.choose_preset(dcgan.EXPERIMENT, given, dataset, words, tmp_path)
        assert (args.preset, args.epochs, args.resume) == (preset, 2, True)


WIDTH = ("--preset", "lab", "--width", "0.02", "--epochs", "1", "--batch-size", "100")
WIDTH = (*WIDTH, "--log-every", "5")


@pytest.fixture(scope="module")
def convolutional(digits_root: Path, vae_run: Path, tmp_path_factory) -> Path:
    """The folder of a finished DCGAN run; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("dcgan") / "run"
    flags = (*where(digits_root, folder), *WIDTH, "--vae", str(vae_run), "--tensorboard")
    assert call(*flags, experiment=dcgan) == 0
    return folder


def test_a_dcgan_leaves_what_its_tasks_ask_for(convolutional: Path) -> None:
    page = (convolutional / "report.html").read_text()
    for question in (*QUESTIONS, "5.1.4"):
        assert re.search(rf"<h2[^>]*>(<span[^>]*>)?[^<]*{re.escape(question)}", page), question
    assert (convolutional / "figures" / "samples_vae.png").exists()
    with np.load(convolutional / "samples.npz") as file:
        assert file["images"].shape == (100, 64, 64, 1)
    (events,) = (convolutional / "tensorboard").iterdir()
    content = events.read_bytes()
    for tag in (b"d_loss", b"g_loss", b"d_real", b"d_fake", b"samples"):
        assert tag in content, tag


def test_the_generator_is_there_for_pytorch(convolutional: Path) -> None:
    arrays = load_file(convolutional / "generator.safetensors")
    assert arrays["layer1.weight"].shape == (100, 10, 4, 4)
    assert arrays["layer5.weight"].shape == (1, 1, 4, 4)
    assert int(arrays["batchnorm1.num_batches_tracked"]) == 15
    theirs = load_file(convolutional / "discriminator.safetensors")
    assert int(theirs["main.3.num_batches_tracked"]) == 45
    params = load_file(convolutional / "params.safetensors")
    running = params["generator.batch_stats.norm_0.mean"]
    np.testing.assert_array_equal(arrays["batchnorm1.running_mean"], running)


@pytest.mark.programs
def test_a_run_that_takes_long_says_so(
    digits_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flags = (*where(digits_root, tmp_path / "run"), *TINY, *EPOCHS, "--epochs", "1000000")
    with stopped_after(0):
        assert call(*flags, experiment=gan) == 143
    said = "\n".join(caplog.messages)
    assert re.search(r"this run takes about \d+ h \d\d min; --epochs or --quick shorten it", said)


@pytest.mark.slow
def test_the_study_compares_what_the_lab_asks_for(
    digits_root: Path, convolutional: Path, tmp_path: Path
) -> None:
    shutil.copytree(convolutional, tmp_path / "run")
    flags = (*where(digits_root, tmp_path / "run"), *WIDTH, "--study", "--resume")
    assert call(*flags, experiment=dcgan) == 0
    rows = read(tmp_path / "run" / "study.json")
    assert [row["name"][:5] for row in rows] == ["as se", "5.1.2", "5.1.2", "5.1.3", "Adam "]
    assert all(np.isfinite(row["sample_distance"]) for row in rows)
    arrays = load_file(tmp_path / "run" / "study" / "5_1_3_no_batch_norm" / "generator.safetensors")
    assert not [name for name in arrays if "running" in name]
    twice = tmp_path / "run" / "study" / "5_1_2_two_D_updates"
    assert label_of(runs.load(twice)).startswith("dcgan-lab, d steps 2, ")
    half = 15 // 2  # an iteration takes two of the 15 mini-batches
    counted = (("generator", "batchnorm1", half * 2), ("discriminator", "main.3", half * 5))
    for player, norm, num in counted:
        arrays = load_file(twice / f"{player}.safetensors")
        assert int(arrays[f"{norm}.num_batches_tracked"]) == num


@pytest.mark.programs
@pytest.mark.parametrize("module", [gan, dcgan])
def test_a_conditional_run_draws_the_classes_it_is_asked_for(
    module: ModuleType, digits_root: Path, tmp_path: Path
) -> None:
    """A row a class on the page; the run samples them, and knows their number from its record."""
    size = TINY if module is gan else WIDTH
    flags = (*where(digits_root, tmp_path / "run"), *EPOCHS, *size, "--epochs", "1")
    assert call(*flags, "--conditional", experiment=module) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "conditional on 10 classes" in page
    assert "Classes asked for" in page
    assert (tmp_path / "run" / "figures" / "classes.png").exists()
    assert read(tmp_path / "run" / "config.json")["model"]["num_classes"] == 10
    model = runs.load(tmp_path / "run").evaluated
    assert model.num_classes == 10
    key, side = jax.random.key(0), 28 if module is gan else 64
    asked = [model.sample(key, 2, jnp.asarray(labels)) for labels in ([0, 1], [0, 9])]
    assert asked[0].shape == (2, side, side, 1)
    np.testing.assert_allclose(asked[0][0], asked[1][0], atol=1e-6)
    assert np.abs(asked[0][1] - asked[1][1]).max() > 5e-6  # of nets that have learned little


def test_a_gan_reads_back(trained_gan: Path) -> None:
    assert assert_reads_back(trained_gan).features


def test_a_dcgan_reads_back(convolutional: Path) -> None:
    assert assert_reads_back(convolutional).features
