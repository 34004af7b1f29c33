"""`experiments.vae` as a user runs it."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file
from support.runs import assert_reads_back, call, contents, lines_of, only_line, read, said_twice

import jaxgen
from experiments import vae
from experiments.comparison import measures
from experiments.lab.vae import training as vae_training
from experiments.running import cli
from jaxgen import data
from jaxgen.data.dataset import digest_of
from jaxgen.errors import SettingError
from jaxgen.learner import task_key
from jaxgen.models import vae as vae_model
from jaxgen.models.vae import Config, nets
from jaxgen.runs.settings import as_before
from jaxgen.training import checkpoint

SMALL = ("--hidden-sizes", "12", "--latent-size", "3", "--bound-samples", "20")
EPOCHS = ("--epochs", "4", "--batch-size", "100", "--log-every", "5")


def run(digits_root: Path, folder: Path, *flags: str) -> int:
    where = ("--dataset", "digits", "--data-dir", str(digits_root), "--out", str(folder))
    return call(*where, *SMALL, *EPOCHS, *flags, experiment=vae)


@pytest.fixture(scope="module")
def trained_vae(digits_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("vae") / "run"
    assert run(digits_root, folder) == 0
    return folder


def test_every_log_line_splits_the_objective_and_names_the_binarisation(trained_vae: Path) -> None:
    lines = lines_of(trained_vae)
    assert [line["step"] for line in lines] == list(range(5, 61, 5))
    for line in lines:
        assert line["elbo"] == pytest.approx(line["reconstruction"] - line["kl"], rel=1e-5)
        assert line["binarize"] == "sample"
        assert 0 <= line["active_units"] <= 3
    assert [line["epoch"] for line in lines if "test_elbo" in line] == [1, 2, 3, 4]


def test_summary_states_both_bounds_with_their_errors(trained_vae: Path) -> None:
    summary = read(trained_vae / "summary.json")
    found = summary["metrics"]
    assert found["test_elbo"] == pytest.approx(
        found["test_reconstruction"] - found["test_kl"], rel=1e-5
    )
    slack = 4 * (found["test_elbo_error"] + found["test_bound_draws"])
    assert found["test_bound"] > found["test_elbo"] - slack
    assert 0 < found["test_bound_draws"] < found["test_bound_error"]
    params = load_file(trained_vae / "params.safetensors")
    assert summary["digest"] == checkpoint.digest(params)
    assert "decoder.dense_1.kernel" in params
    assert said_twice(trained_vae) == []


def test_report_answers_its_questions(trained_vae: Path) -> None:
    page = (trained_vae / "report.html").read_text()
    for question in ("4.1", "4.2", "4.3", "4.4", "likelihood"):
        assert re.search(rf"<h2[^>]*>(<span[^>]*>)?[^<]*{re.escape(question)}", page), question
    assert page.count("data:image/png") == len(contents(trained_vae / "figures")) == 13
    assert "binarised by &#39;sample&#39;" in page
    assert "are active" in page
    assert "Published" not in page
    assert "Dead: " in page
    with np.load(trained_vae / "samples.npz") as file:
        assert file["images"].shape == (100, 28, 28, 1)


def test_schedule_of_burda_covers_all_epochs(digits_root: Path) -> None:
    dataset = data.load("digits", digits_root)
    args = vae.Args(schedule="burda", epochs=3280, batch_size=100)
    config = vae_training.schedule_rate(args, dataset)
    assert config.first_stage_steps == 15
    short = vae.Args(schedule="burda", epochs=328, batch_size=10)
    assert vae_training.schedule_rate(short, dataset).first_stage_steps == 15
    assert vae_training.schedule_rate(vae.Args(), dataset) == args.model


def test_presets() -> None:
    lab, burda = (vae.PRESETS[name] for name in ("lab", "burda"))
    assert (lab.epochs, lab.batch_size, lab.model.latent_size) == (100, 1024, 20)
    assert (lab.model.activation, lab.model.learning_rate) == ("softplus", 3.24e-4)
    assert (burda.epochs, burda.batch_size, burda.model.latent_size) == (3280, 20, 50)
    assert (burda.model.activation, burda.model.epsilon) == ("tanh", 1e-4)
    assert (burda.base_rates, lab.base_rates) == (True, False)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--latent-size", "1"), "--latent-size of 2 or more, found 1"),
        (("--bound-samples", "1"), "--bound-samples of 2 or more, found 1"),
        (
            ("--likelihood", "gaussian", "--binarize", "threshold"),
            "--binarize none for a gaussian decoder",
        ),
        (("--preset", "burdas"), "one of lab, conv, burda"),
        (("--kl-weight", "inf"), "--kl-weight at least 0 and finite"),
        (("--learning-rate", "0"), "--learning-rate above 0 and finite"),
        (("--epsilon", "nan"), "--epsilon above 0"),
        (("--beta2", "1"), "--beta2 in [0, 1)"),
        (("--min-log-var=-inf",), "--min-log-var finite"),
        (("--schedule", "burda", "--first-stage-steps", "5"), "not beside --schedule burda"),
    ],
)
def test_impossible_settings(
    digits_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    words: str,
) -> None:
    assert run(digits_root, tmp_path / "run", *flags) == 2
    assert words in only_line(capsys.readouterr().err)


def noise(num: int, num_classes: int, shape: tuple[int, int, int] = (9, 14, 3)) -> data.Dataset:
    """Noise in colour, that is not square, with some classes or none."""
    rng = np.random.default_rng(0)

    def split(num: int) -> data.Split:
        images = rng.integers(0, 256, (num, *shape), dtype=np.uint8)
        return data.Split(images, np.int32(np.arange(num) % max(1, num_classes)))

    train, test = split(num), split(max(3, num // 8))
    names = tuple(f"kind {label}" for label in range(num_classes))
    return data.Dataset("noise", train, test, digest_of(train, test), names)


def test_what_the_images_decide_and_flags_win() -> None:
    """Colour takes `conv` where no preset is typed; a flag stays that has the value of `lab`."""
    colour, grey = noise(800, 3), noise(1600, 0, (28, 28, 1))

    def chosen(dataset: data.Dataset, *words: str) -> Any:
        return cli.choose_preset(vae.EXPERIMENT, cli.parse(vae.PRESETS, {}, words), dataset, words)

    conv = vae.PRESETS["conv"]
    assert chosen(colour) == chosen(colour, "--preset", "conv") == conv
    found = chosen(colour, "--epochs", "7", "--latent-size", "5", "--batch-size", "1024")
    model = dataclasses.replace(conv.model, latent_size=5)
    assert found == dataclasses.replace(conv, epochs=7, batch_size=1024, model=model)
    assert chosen(grey) == chosen(colour, "--preset", "lab") == vae.Args()
    conditional = vae.Args(conditional=True)
    assert conditional.fit_to(colour).model.num_classes == 3
    with pytest.raises(SettingError, match="--conditional with training images of two classes"):
        conditional.fit_to(grey)
    with pytest.raises(SettingError, match="--binarize none for a logistic decoder"):
        chosen(colour, "--binarize", "threshold")


def test_checkpoints_of_dense_nets_are_named_as_before() -> None:
    """So a run of an older version goes on; the names are those that it had."""
    names = {field.name for field in dataclasses.fields(Config)}
    before = names - {"architecture", "channels", "num_classes"}
    named = vae_training.identity(Config(), nets(Config(), (28, 28, 1)))
    assert {name for name, value in named.items() if not as_before(name, value)} == before
    assert (named["likelihood"], named["binarize"]) == ("bernoulli", "sample")
    colour = Config(num_classes=3)
    named = vae_training.identity(colour, nets(colour, (9, 14, 3)))
    assert named.keys() == names - {"hidden_sizes"}
    assert (named["architecture"], named["likelihood"]) == ("conv", "logistic")


@pytest.mark.programs
@pytest.mark.parametrize(("num_classes", "flags"), [(0, ()), (23, ("--conditional",))])
def test_a_page_of_colour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_classes: int, flags: tuple[str, ...]
) -> None:
    """Without labels what needs them is left out; with --conditional each class has its row."""
    dataset = noise(300, num_classes)._replace(name="digits")  # a name that settings may have
    monkeypatch.setattr(cli, "load_dataset", lambda _: dataset)
    small = ("--channels", "3", "4", "--latent-size", "3", "--bound-samples", "5")
    assert call(*small, *flags, "--epochs", "2", "--out", str(tmp_path), experiment=vae) == 0
    page = (tmp_path / "report.html").read_text()
    figures = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert page.count("data:image/png") == len(figures)
    assert "bits per dimension" in page
    assert "arithmetic" not in figures
    if num_classes:
        assert {"classes", "every_class"} <= figures
        assert "3 more classes are not shown" in page
        assert "log p(x|y)" in page
    else:
        assert "no labels" in page
    loaded = assert_reads_back(tmp_path)
    assert loaded.evaluated.num_classes == num_classes
    summed_up = measures.summary_likelihoods(loaded)
    assert [each.binary for each in summed_up or ()] == ([] if num_classes else ["none", "none"])
    assert said_twice(tmp_path) == []


@pytest.mark.programs
def test_one_test_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = noise(60, 0, (9, 14, 1))._replace(name="digits")  # a name that settings may have
    test = data.Split(*(each[:1] for each in dataset.test))
    dataset = dataset._replace(test=test, digest=digest_of(dataset.train, test))
    monkeypatch.setattr(cli, "load_dataset", lambda _: dataset)
    flags = (*SMALL, "--epochs", "2", "--batch-size", "20", "--out", str(tmp_path))
    assert call(*flags, experiment=vae) == 0
    metrics = read(tmp_path / "summary.json")["metrics"]
    assert not {"test_elbo_error", "test_bound_error"} & {*metrics}
    page = (tmp_path / "report.html").read_text()
    assert "One test image has no standard error" in page
    assert "nan" not in re.sub(r'"data:[^"]*"', "", page)
    found = measures.summary_likelihoods(jaxgen.load(tmp_path)) or []
    assert [each.standard_error for each in found] == [None, None]
    assert [each.value for each in found] == [metrics["test_elbo"], metrics["test_bound"]]


@pytest.mark.slow
def test_other_likelihoods_and_the_study(digits_root: Path, tmp_path: Path) -> None:
    for index, flags in enumerate(
        (
            ("--likelihood", "gaussian", "--binarize", "none"),
            ("--objective", "iwae", "--num-samples", "3", "--preset", "burda"),
            ("--binarize", "none", "--kl-warmup-steps", "20"),
        )
    ):
        assert run(digits_root, tmp_path / str(index), *flags) == 0
        assert said_twice(tmp_path / str(index)) == []
    found = read(tmp_path / "1" / "summary.json")
    page = (tmp_path / "1" / "report.html").read_text()
    assert "Importance-weighted bound, K = 3" in page
    assert "The importance-weighted bound of 3 codes per image is maximised" in page
    assert "test_objective" in found["metrics"]
    assert "test_objective" not in read(tmp_path / "0" / "summary.json")["metrics"]
    assert run(digits_root, tmp_path / "study", "--study") == 0
    rows = read(tmp_path / "study" / "study.json")
    assert [row["name"].split()[0] for row in rows] == ["2", "3", "20"]
    for size in (2, 20):
        page = tmp_path / "study" / "study" / f"latent{size}" / "report.html"
        assert "4.4" in page.read_text()


def test_it_reads_back(trained_vae: Path) -> None:
    assert assert_reads_back(trained_vae).features == ("mean codes",)


def test_images_of_the_same_codes_all_along() -> None:
    """Each of the next class, where the VAE has classes."""
    both = nets(Config(latent_size=2, hidden_sizes=(3,), num_classes=3), (2, 3, 1))
    state = vae_model.init(both, jax.random.key(0))
    images = vae_training.prior_means(both)(state)
    assert images.shape == (16, 2, 3, 1)
    codes = jax.random.normal(task_key("fixed noise"), (16, 2))
    for index in (0, 4, 11):
        label = jnp.array([index % 3])
        alone = vae_model.decoded_means(state.params, both, codes[index : index + 1], label)
        np.testing.assert_allclose(images[index].ravel(), alone[0], atol=1e-6)
