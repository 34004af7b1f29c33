"""A run read back: what every model does, what it cannot, and what a stranger's folder does not."""

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import FIXTURES, ROOT, one_line, same
from support.runs import assert_reads_back, read, trained_state, write_run

import jaxgen
from jaxgen import data, models
from jaxgen.errors import (
    CheckpointError,
    JaxgenError,
    OutOfMemoryError,
    RunFolderError,
    SettingError,
)
from jaxgen.evaluation.model import LikelihoodBudget
from jaxgen.export import safetensors, stablehlo
from jaxgen.export.modules import from_modules
from jaxgen.models import adversarial, dbm, dbn, dcgan, gan, rbm, vae, wake_sleep
from jaxgen.runs import samples
from jaxgen.runs.settings import to_json

SHAPE = (28, 28, 1)
LITTLE = LikelihoodBudget(num_chains=4, num_temperatures=10, num_weights=3)
CONFIGS: dict[str, Any] = {
    "rbm": rbm.Config(num_hidden=5, persistent=True, centred=True, num_sampling_steps=3),
    "dbn": dbn.Config(hidden_sizes=(6, 5), num_sampling_steps=3),
    "dbm": dbm.Config(hidden_sizes=(6, 5), num_chains=3, num_sampling_steps=3),
    "wake_sleep": wake_sleep.Config(hidden_sizes=(6, 5), num_sampling_steps=3),
    "vae": vae.Config(hidden_sizes=(6,), latent_size=3),
    "gan": gan.Config(latent_size=3, generator_sizes=(6,), discriminator_sizes=(7,), ema_decay=0.5),
    "dcgan": dcgan.Config(width=1 / 64, latent_size=3),
}
CAN = {
    "rbm": {"encode", "decode", "reconstruct", "log_likelihood"},
    "dbn": {"encode", "decode", "reconstruct", "log_likelihood"},
    "dbm": {"encode", "decode", "reconstruct", "log_likelihood"},
    "wake_sleep": {"encode", "decode", "reconstruct", "log_likelihood"},
    "vae": {"encode", "decode", "reconstruct", "log_likelihood"},
    "gan": {"encode", "decode"},
    "dcgan": {"encode", "decode"},
}
UNITS = {"rbm": 5, "dbn": 5, "dbm": 5, "wake_sleep": 5, "vae": 3, "gan": 7}


def trained(name: str) -> Any:
    """A state that is not the one every learner begins with."""
    return trained_state(name, CONFIGS[name], SHAPE)


def write(folder: Path, name: str, seed: int = 0, **summary: Any) -> Path:
    """The files of a finished run of one seed that say what was trained; returns its folder."""
    return write_run(folder, name, CONFIGS[name], SHAPE, seed, **summary)


@pytest.fixture(scope="module", params=models.names())
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """The name of a model, and the folder of a run of it; tests leave it as it is."""
    return request.param, write(tmp_path_factory.mktemp("made") / "run", request.param)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, *SHAPE), dtype=np.uint8)


def change(path: Path, **values: Any) -> None:
    """Sets values in a JSON file."""
    path.write_text(json.dumps(read(path) | values))


# ---- what a run gives


def test_every_model_has_an_example() -> None:
    assert set(CONFIGS) == set(CAN) == set(models.names())


def test_a_run_has_what_was_trained(made: tuple[str, Path]) -> None:
    name, folder = made
    run = assert_reads_back(folder)
    assert (run.model, run.config, run.image_shape) == (name, CONFIGS[name], SHAPE)
    assert (run.seed, run.seeds, run.dataset_name, run.dataset_digest) == (0, (), "digits", "d0")
    steps, values = run.metrics["test_error"]
    assert (steps.tolist(), values.tolist()) == ([3], [0.25])
    assert "binarisation" not in run.metrics
    assert run.train_seconds == 0.5
    assert f"<Run of {name} on digits, seed 0, in " in repr(run)
    assert repr(run).endswith(f"{folder.name}>")


def test_its_params_and_state_are_those_of_the_learner(made: tuple[str, Path]) -> None:
    name, folder = made
    run, state = jaxgen.load(str(folder)), trained(name)
    assert same(run.params, jax.device_get(state.params))
    assert same(jax.tree.map(np.asarray, run.state.params), jax.device_get(state.params))
    assert jax.tree.map(jnp.shape, run.state) == jax.tree.map(jnp.shape, state)


@pytest.mark.parametrize("prefix", ["discriminator.params.Dense_0.dense.bias", "generator."])
def test_a_gan_lacks_its_discriminator_or_nothing(prefix: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "run", "gan")
    params = safetensors.flatten(jaxgen.load(folder).params)
    kept = {name: array for name, array in params.items() if not name.startswith(prefix)}
    safetensors.save_params(folder / "params.safetensors", kept, {})
    change(folder / "summary.json", digest=safetensors.digest(kept))
    with pytest.raises(CheckpointError, match=f"for '{prefix}.* found nothing;") as error:
        jaxgen.load(folder)
    one_line(error)


def test_training_may_go_on_from_its_state(made: tuple[str, Path], images: np.ndarray) -> None:
    name, folder = made
    if name == "dcgan":
        pytest.skip("its state is made as a GAN's is, and takes half a minute to compile")
    run = jaxgen.load(folder)
    result = jaxgen.fit(run.learner, images, jaxgen.Schedule(1, 3), (0,), state=run.state)
    assert result.step == 2
    assert not same(jax.device_get(result.state.params), run.params)


def test_a_state_of_a_dbn_is_compared_with_its_own_layers(
    tmp_path: Path, images: np.ndarray
) -> None:
    """Those below are the state's, and not the learner's of a first layer."""
    run = jaxgen.load(write(tmp_path / "run", "dbn"))
    lower, *above = run.state.lower
    cut = {**lower, "b_visible": lower["b_visible"][1:]}
    top = {**run.state.top.params, "w": run.state.top.params["w"][:, 1:]}
    for state, there in (
        (run.state._replace(lower=(cut, *above)), ".lower[0]['b_visible']"),
        (run.state._replace(top=run.state.top._replace(params=top)), ".top.params['w']"),
    ):
        with pytest.raises(SettingError) as error:
            jaxgen.fit(run.learner, images, jaxgen.Schedule(1, 3), (0,), state=state)
        assert f" for {there}, found " in one_line(error)


def test_a_run_that_was_used_is_pickled_and_copied(made: tuple[str, Path]) -> None:
    run = jaxgen.load(made[1])
    drawn = run.sample(jax.random.key(1), 2)
    assert run.features
    assert run.metrics
    for other in (pickle.loads(pickle.dumps(run)), copy.deepcopy(run)):
        assert same(other.params, run.params)
        assert (other.config, other.digest, other.folder) == (run.config, run.digest, run.folder)
        assert "state" not in vars(other)
    np.testing.assert_array_equal(other.sample(jax.random.key(1), 2), drawn)


def test_encode_and_decode(made: tuple[str, Path], images: np.ndarray) -> None:
    name, folder = made
    run = jaxgen.load(folder)
    codes = run.encode(images)
    assert codes.shape == (len(images), UNITS.get(name, codes.shape[1]))
    np.testing.assert_array_equal(run.encode(images, run.features[-1]), codes)
    np.testing.assert_allclose(run.encode(images[:2]), codes[:2], rtol=1e-4, atol=1e-6)
    size = 3 if "latent_size" in to_json(run.config) else UNITS[name]
    drawn = np.random.default_rng(1).normal(size=(4, size))
    found = run.decode(drawn)
    assert found.shape == (4, *run.stored_samples().shape[1:])
    np.testing.assert_array_equal(run.decode(drawn), found)
    with pytest.raises(SettingError) as error:
        run.decode(np.zeros((4, 99)))
    assert "codes" in one_line(error)


def test_codes_of_a_gan_give_its_generators_images() -> None:
    config = CONFIGS["gan"]
    codes = jax.random.normal(jax.random.key(1), (4, 3))
    state = trained("gan")
    wanted = adversarial.images_of(gan.nets(config, SHAPE), state, codes)
    run = jaxgen.runs.Run(
        Path(), "gan", config, {}, {"seed": 0}, SHAPE, arrays=jax.device_get(state.params)
    )
    np.testing.assert_allclose(run.decode(codes), wanted, atol=1e-6)


def test_units_of_another_name(made: tuple[str, Path], images: np.ndarray) -> None:
    run = jaxgen.load(made[1])
    with pytest.raises(SettingError) as error:
        run.encode(images, "ears")
    assert run.features[-1] in one_line(error)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (np.zeros((2, *SHAPE), np.float32), "uint8 from 0 to 255, [num, height, width, channels]"),
        (np.zeros((2, 784), np.uint8), "found uint8 [2, 784]"),
        (np.zeros(SHAPE), "found float64 [28, 28, 1]"),
        (np.zeros((2, 32, 32, 1), np.uint8), "images of [28, 28, 1], found uint8 [2, 32, 32, 1]"),
        ([[1], [1, 2]], "found object [2]"),
    ],
)
def test_images_of_another_kind(wrong: Any, words: str, made: tuple[str, Path]) -> None:
    run = jaxgen.load(made[1])
    for method in (
        run.encode,
        partial(run.reconstruct, jax.random.key(0)),
        partial(run.log_likelihood, jax.random.key(0)),
    ):
        with pytest.raises(SettingError) as error:
            method(wrong)
        text = one_line(error)
        assert words in text or text.startswith("expected a model with")


def test_reconstruct_and_log_likelihood_or_why_not(
    made: tuple[str, Path], images: np.ndarray
) -> None:
    name, folder = made
    run, key = jaxgen.load(folder), jax.random.key(2)
    calls: dict[str, Callable[[], Any]] = {
        "reconstruct": lambda: run.reconstruct(key, images),
        "log_likelihood": lambda: run.log_likelihood(key, images, LITTLE, images),
    }
    for what, call in calls.items():
        if what in CAN[name]:
            call()
            continue
        with pytest.raises(SettingError) as error:
            call()
        assert f"a model with {what}" in one_line(error)
        assert f"a {name}, which has sample, encode, decode;" in one_line(error)
    if "reconstruct" in CAN[name]:
        found = np.asarray(run.reconstruct(key, images))
        assert found.shape == images.shape
        assert np.all((found >= 0) & (found <= 1))
        likelihood = run.log_likelihood(key, images, LITTLE)
        assert likelihood.value < 0
        assert likelihood.kind


@pytest.fixture
def asked(tmp_path: Path) -> jaxgen.Run:
    """A run whose model takes and gives three classes: an image's shade is its class."""
    run = jaxgen.load(write(tmp_path / "run", "rbm", class_names=["a", "b\n", "<c>"]))

    def sample(_: Any, key: Any, num: int, labels: Any = None) -> Any:
        drawn = jax.random.randint(key, (num,), 0, 3) if labels is None else labels
        return jnp.broadcast_to(drawn[:, None, None, None] / 2, (num, *SHAPE))

    def classify(images: Any) -> Any:
        return jax.nn.log_softmax(images[:, 0, 0, :] * jnp.array([1.0, 2.0, 3.0]) / 100)

    vars(run)["learner"] = run.learner._replace(sample=sample, num_classes=3)
    vars(run)["evaluated"] = run.evaluated._replace(num_classes=3, classify=classify)
    return run


def test_samples_of_the_classes_asked_for(asked: jaxgen.Run) -> None:
    assert asked.class_names == ("a", "b\n", "<c>")
    labels = [2, 0, 1, 1]
    found = asked.sample(jax.random.key(0), 4, np.array(labels))
    assert found[:, 0, 0, 0].tolist() == [1.0, 0.0, 0.5, 0.5]
    np.testing.assert_array_equal(asked.sample(jax.random.key(0), 4, labels), found)
    assert len({*asked.sample(jax.random.key(0), 30)[:, 0, 0, 0].tolist()}) == 3
    for names in (["<c>", "a", "b\n", "b\n"], np.array(["<c>", "a", "b\n", "b\n"], object)):
        np.testing.assert_array_equal(asked.sample(jax.random.key(0), 4, names), found)
    for one in (2, "<c>", np.int32(2), np.array(2)):
        of_all = asked.sample(jax.random.key(0), 4, one)
        assert of_all[:, 0, 0, 0].tolist() == [1.0] * 4


def test_a_number_of_images_of_numpy(asked: jaxgen.Run) -> None:
    """Its product with the bytes of an image would overflow, and pass for a small one."""
    key = jax.random.key(0)
    for num in (np.uint8(4), np.int8(4), np.int64(4)):
        np.testing.assert_array_equal(asked.sample(key, num), asked.sample(key, 4))
    with pytest.raises(OutOfMemoryError, match="a number of images that fits into"):
        asked.sample(key, np.int32(2**31 - 1))


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([0, 1, 2], "3 for 4 images"),
        (["a"] * 5, "5 for 4 images"),
        ([], "none"),
        ([0, 1, 2, 3], "3"),
        ([0, 1, 2, -1], "-1"),
        (-1, "-1"),
        ("d", "'d'"),
        (["a", "a", "d\n", "e"], "'d?'"),
        (["a", 1, None, 2], "None"),
        (np.array(["a", 1, "b\n", 3], object), "3"),
        ([0.0, 1.0, 2.0, 0.0], "float64 [4]"),
        ([True] * 4, "bool [4]"),
        (np.ma.masked_array([0, 1, 2, 0], [0, 0, 0, 1]), "None"),
        ([[0, 1], [2, 0]], "int64 [2, 2]"),
        ([[0, 1], [2]], "none"),
    ],
)
def test_labels_of_no_class(labels: Any, found: str, asked: jaxgen.Run) -> None:
    with pytest.raises(SettingError) as error:
        asked.sample(jax.random.key(0), 4, labels)
    assert one_line(error) == (
        "expected labels of 3 classes: a, b?, <c>, or their numbers from 0 to 2, "
        f"found {found}; give one for each of the 4 images, or one for all"
    )


def test_a_conditional_vae_says_why_it_does_not_encode(tmp_path: Path, images: np.ndarray) -> None:
    run = jaxgen.load(write(tmp_path / "run", "vae"))
    evaluated = run.evaluated._replace(features={}, decode=None, num_classes=3)
    vars(run).update(evaluated=evaluated, learner=run.learner._replace(num_classes=3))
    for call in (lambda: run.encode(images), lambda: run.decode(np.zeros((1, 2)))):
        with pytest.raises(SettingError) as error:
            call()
        said = (
            "found a conditional vae, whose codes need a class, and which has sample, reconstruct"
        )
        assert said in one_line(error)


def test_a_conditional_sampler_that_decodes_has_codes(tmp_path: Path, images: np.ndarray) -> None:
    """As a GAN that is stored without its discriminator."""
    run = jaxgen.load(write(tmp_path / "run", "vae"))
    evaluated = run.evaluated._replace(features={}, num_classes=3)
    vars(run).update(evaluated=evaluated, learner=run.learner._replace(num_classes=3))
    with pytest.raises(SettingError) as error:
        run.encode(images)
    assert "with encode, found a vae, which has sample, decode" in one_line(error)


def test_classes_of_images(asked: jaxgen.Run, images: np.ndarray) -> None:
    found = asked.classify(images)
    assert found.labels.tolist() == [2] * len(images)
    weights = np.exp(images[:, 0, 0, :] * np.array([1.0, 2.0, 3.0]) / 100)
    expected = weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.probs, expected, rtol=1e-5)
    with pytest.raises(SettingError, match=r"images of \[28, 28, 1\]"):
        asked.classify(np.zeros((2, 5, 5, 1), np.uint8))


def test_a_model_without_classes_says_so(made: tuple[str, Path], images: np.ndarray) -> None:
    name, folder = made
    run = jaxgen.load(folder)
    assert run.class_names == ()
    with pytest.raises(SettingError) as error:
        run.classify(images)
    assert f"with classify, found a {name}, which has sample, encode" in one_line(error)
    with pytest.raises(SettingError) as error:
        run.sample(jax.random.key(0), 2, [0, 1])
    assert f"found the run of a {name} that is not" in one_line(error)
    assert one_line(error).endswith("that was trained with --conditional")


def test_grey_input_has_no_likelihood(tmp_path: Path, images: np.ndarray) -> None:
    folder = write(tmp_path / "run", "rbm")
    model = read(folder / "config.json")["model"]
    change(folder / "config.json", model=model | {"binarize": "none"})
    with pytest.raises(SettingError) as error:
        jaxgen.load(folder).log_likelihood(jax.random.key(0), images)
    assert "which has sample, encode, decode, reconstruct;" in one_line(error)


def test_settings_that_the_run_was_made_without_have_their_defaults(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", "vae")
    model = read(folder / "config.json")["model"]
    del model["beta2"]
    change(folder / "config.json", model=model)
    assert jaxgen.load(folder).config == CONFIGS["vae"]


def test_the_data_set_is_the_one_it_was_trained_on(finished: Path, digits_root: Path) -> None:
    run = assert_reads_back(finished)
    assert run.dataset(digits_root).digest == run.dataset_digest
    other = jaxgen.Run(
        run.folder, "rbm", run.config, {}, dict(run.summary) | {"data_digest": "d1"}, SHAPE
    )
    with pytest.raises(SettingError) as error:
        other.dataset(digits_root)
    assert "sha256 'd1'" in one_line(error)


def test_the_numbers_of_an_experiment(finished: Path, digits_root: Path) -> None:
    """The log's last measures are those of the summary, and the exact likelihood follows."""
    run = jaxgen.load(finished)
    test = data.load("digits", digits_root).test.images
    for name, value in run.summary["metrics"].items():
        assert run.metrics[name][1][-1] == value
    kinds = {run.log_likelihood(jax.random.key(0), test, LITTLE).kind}
    assert kinds <= {"exact", "AIS"}
    assert run.image_shape == SHAPE


def test_several_seeds_are_runs_of_their_own(tmp_path: Path) -> None:
    root = tmp_path / "run"
    folders = [write(root / f"seed{seed}", "rbm", seed) for seed in (3, 5)]
    for name in ("config.json", "metrics.jsonl"):
        shutil.copy(folders[0] / name, root)
    change(root / "config.json", seeds=[3, 5], seed=0)
    summary = read(folders[0] / "summary.json") | {"seeds": [3, 5], "metrics": {}}
    del summary["seed"], summary["digest"]
    (root / "summary.json").write_text(json.dumps(summary))
    run = jaxgen.load(root)
    assert [one.seed for one in run.seeds] == [3, 5]
    assert [one.folder for one in run.seeds] == folders
    assert "seeds 3, 5" in repr(run)
    key = jax.random.key(0)
    for call in (
        lambda: run.params,
        lambda: run.state,
        lambda: run.seed,
        lambda: run.sample(key, 2),
        lambda: run.encode(np.zeros((1, *SHAPE), np.uint8)),
        lambda: run.stored_samples(),
        lambda: run.evaluate(),
    ):
        with pytest.raises(SettingError) as error:
            call()
        assert "take run.seeds[0]" in one_line(error)
    change(folders[1] / "summary.json", data_digest="d1")
    with pytest.raises(CheckpointError) as error2:
        jaxgen.load(root)
    assert "seed 5" in one_line(error2)


# ---- a stranger's folder


def replace_params(folder: Path, act: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Changes the parameters, and the digest that the summary has of them."""
    path = folder / "params.safetensors"
    arrays = act(safetensors.load_params(path))
    safetensors.save_params(path, arrays, {})
    change(folder / "summary.json", digest=safetensors.digest(arrays))


def with_nan(arrays: dict[str, Any]) -> dict[str, Any]:
    w = arrays["w"].copy()
    w[0, 0] = np.nan
    return arrays | {"w": w}


def test_variances_below_zero_are_none(tmp_path: Path) -> None:
    """Batch normalisation would take their roots, and draw images that are no numbers."""
    folder = tmp_path / "run"
    shutil.copytree(ROOT / "pretrained" / "dcgan-fast", folder)
    jaxgen.load(folder)
    replace_params(
        folder,
        lambda arrays: safetensors.widen(
            {name: -x if name.endswith(".var") else x for name, x in arrays.items()}
        ),
    )
    change(folder / "summary.json", files={})
    with pytest.raises(CheckpointError, match=r"variances of at least 0 for [\w.]+\.var in params"):
        jaxgen.load(folder)


def nested(folder: Path) -> None:
    (folder / "config.json").write_text('{"a": ' * 50_000 + "1" + "}" * 50_000)


def deeper(folder: Path) -> None:
    (folder / "config.json").write_text('{"a": ' * 20 + "1" + "}" * 20)


def in_model(folder: Path, **values: Any) -> None:
    model = read(folder / "config.json")["model"]
    change(folder / "config.json", model=model | values)


STRANGE: dict[str, Callable[[Path], Any]] = {
    "transposed": lambda f: replace_params(f, lambda a: a | {"w": a["w"].T}),
    "another dtype": lambda f: replace_params(f, lambda a: a | {"w": np.float64(a["w"])}),
    "a part missing": lambda f: replace_params(f, lambda a: {"w": a["w"]}),
    "a part besides": lambda f: replace_params(f, lambda a: a | {"x\n": np.zeros(2)}),
    "a name inside another": lambda f: replace_params(
        f, lambda a: a | {"w.x": np.zeros(2, np.float32)}
    ),
    "NaN": lambda f: replace_params(f, with_nan),
    "a rate that no float32 is": lambda f: in_model(f, learning_rate=1e300),
    "other parameters": lambda f: change(f / "summary.json", digest="d\n\x1b[2J"),
    "no digest": lambda f: change(f / "summary.json", digest=None),
    "no parameters": lambda f: (f / "params.safetensors").unlink(),
    "half the parameters": lambda f: os.truncate(f / "params.safetensors", 4000),
    "a huge file": lambda f: os.truncate(f / "params.safetensors", 1 << 34),
    "a file without an end": lambda f: (
        (f / "config.json").unlink(),
        (f / "config.json").symlink_to("/dev/zero"),
    ),
    "1,000,000,000 hidden units": lambda f: in_model(f, num_hidden=10**9),
    "1,000,000,000 chains": lambda f: in_model(f, num_chains=10**9),
    "a number beyond 32 bits": lambda f: in_model(f, num_sampling_steps=2**40),
    "a size below 1": lambda f: in_model(f, num_hidden=0),
    "a size that is a text": lambda f: in_model(f, num_hidden="5"),
    "an unknown setting": lambda f: in_model(f, colour="red"),
    "seed in words": lambda f: change(f / "summary.json", seed="0; rm"),
    "another seed in the settings": lambda f: change(f / "config.json", seed=1),
    "seeds in words": lambda f: change(f / "summary.json", seeds=["../../elsewhere"]),
    "seeds that are not there": lambda f: (
        change(f / "summary.json", seeds=[1, 2]),
        change(f / "config.json", seeds=[1, 2]),
    ),
    "a preset that is a list": lambda f: change(f / "config.json", preset=["lab"]),
    "epochs in a mapping": lambda f: change(f / "config.json", epochs={"help": True}),
    "another experiment": lambda f: change(f / "config.json", experiment="vae"),
    "an experiment that is a path": lambda f: change(f / "summary.json", experiment="../rbm"),
    "an experiment that is a list": lambda f: change(f / "summary.json", experiment=["rbm"]),
    "a model that is a list": lambda f: change(f / "config.json", model=[1, 2]),
    "a data set that is a list": lambda f: change(f / "summary.json", dataset=["digits"]),
    "metrics that are a list": lambda f: change(f / "summary.json", metrics=[1.0]),
    "a metric in words": lambda f: change(f / "summary.json", metrics={"error": "low"}),
    "names of classes that are no texts": lambda f: change(f / "summary.json", class_names=[1]),
    "names of classes in a text": lambda f: change(f / "summary.json", class_names="abc"),
    "an image of no size": lambda f: change(f / "summary.json", image_shape=[28, 28]),
    "a huge image": lambda f: change(f / "summary.json", image_shape=[10**6, 10**6, 1]),
    "an image of another size": lambda f: change(f / "summary.json", image_shape=[32, 32, 1]),
    "deep nesting": nested,
    "deeper than any settings": deeper,
    "a list": lambda f: (f / "summary.json").write_text("[]"),
    "no settings": lambda f: (f / "config.json").unlink(),
    "no folder": shutil.rmtree,
}


@pytest.mark.parametrize("case", STRANGE)
def test_a_strangers_folder_fails_in_one_line(case: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "run", "rbm")
    STRANGE[case](folder)
    with pytest.raises((CheckpointError, SettingError, RunFolderError)) as error:
        jaxgen.load(folder)
    assert one_line(error).isprintable()


def test_a_mistyped_folder_is_told_what_lies_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "rbm-mnist-seed0", "rbm")
    for name in ("rbm-mnst-seed00", "rbm-mnst-seed"):
        (tmp_path / name).mkdir()  # no run
        (tmp_path / name / "summary.json").write_text("{}" if name[-1] == "0" else "damaged")
    (tmp_path / "rbm-MNIST-seed0").mkdir()
    for name in ("rbm-mnst-seed0", "rbm-mnst-seed", "RBM-MNIST-seed0"):
        with pytest.raises(CheckpointError) as error:
            jaxgen.load(tmp_path / name)
        assert one_line(error).endswith(", perhaps rbm-mnist-seed0 beside it")
    with pytest.raises(CheckpointError) as error:
        jaxgen.load(tmp_path / "rbm-mnist-seed0" / "summary.json")
    named = f"name the folder of a finished run, perhaps {tmp_path / 'rbm-mnist-seed0'}"
    assert one_line(error).endswith(f"found a file; {named}")
    with pytest.raises(CheckpointError) as error:
        jaxgen.load(tmp_path / "other")
    assert "perhaps" not in one_line(error)


@pytest.mark.parametrize("sizes", [[5] * 65, [10**9, 10**9], [2**31 - 1] * 2, []])
def test_layers_of_a_stranger(sizes: list[int], tmp_path: Path) -> None:
    folder = write(tmp_path / "run", "dbn")
    in_model(folder, hidden_sizes=sizes)
    with pytest.raises(JaxgenError) as error:
        jaxgen.load(folder)
    assert one_line(error)


def test_a_width_that_no_array_has(tmp_path: Path) -> None:
    folder = write(tmp_path / "run", "dcgan")
    in_model(folder, width=1e30)
    with pytest.raises(SettingError) as error:
        jaxgen.load(folder)
    assert "of at most 2,147,483,647 channels in a layer" in one_line(error)


def bomb(folder: Path, num: int) -> None:
    """A small file that unpacks to `num` bytes, with the header of as many images."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (num // 4 // 784, *SHAPE)}
    path = folder / "samples.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("images.npy", "w", force_zip64=True) as file,
    ):
        np.lib.format.write_array_header_1_0(file, header)
        for _ in range(num // (1 << 20)):
            file.write(bytes(1 << 20))


def claim(folder: Path) -> None:
    """A file whose header has more images than the file."""
    header = {"descr": "<f4", "fortran_order": False, "shape": (10**9, *SHAPE)}
    with (
        zipfile.ZipFile(folder / "samples.npz", "w") as archive,
        archive.open("images.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(file, header)


def store(folder: Path, images: Any) -> None:
    np.savez(folder / "samples.npz", images=images)


SAMPLES: dict[str, Callable[[Path], Any]] = {
    "a bomb": lambda f: bomb(f, samples.MAX_BYTES + (1 << 20)),
    "a claim": claim,
    "objects": lambda f: store(f, np.array([{}], object)),
    "texts": lambda f: store(f, np.array(["x"])),
    "another size": lambda f: store(f, np.zeros((4, 64, 64, 1), np.float32)),
    "above 1": lambda f: store(f, np.full((4, *SHAPE), 2, np.float32)),
    "NaN": lambda f: store(f, np.full((4, *SHAPE), np.nan, np.float32)),
    "none": lambda f: store(f, np.zeros((0, *SHAPE), np.float32)),
    "no file": lambda f: (f / "samples.npz").unlink(),
    "half a file": lambda f: os.truncate(f / "samples.npz", 300),
}


@pytest.mark.parametrize("case", SAMPLES)
def test_samples_of_a_stranger(case: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "run", "rbm")
    SAMPLES[case](folder)
    with pytest.raises(CheckpointError) as error:
        jaxgen.load(folder).stored_samples()
    assert "samples.npz" in one_line(error)


# ---- the package


def test_importing_the_package_imports_no_jax() -> None:
    code = (
        "import sys, jaxgen; assert 'jax' not in sys.modules and 'numpy' not in sys.modules; "
        "assert {'load', 'fit', 'models', '__version__'} <= {*dir(jaxgen)}; jaxgen.__version__; "
        "import jaxgen.runs; assert 'jax' not in sys.modules; "
        "assert jaxgen.runs.load is jaxgen.load"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there() -> None:
    for name in jaxgen.__all__:
        assert getattr(jaxgen, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = jaxgen.nothing


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: run.sample(0, 3), "a key, first of the arguments, found int;"),
        (lambda run: run.sample(jax.random.key(0), -1), "from 1 to 2,147,483,647, found -1;"),
        (lambda run: run.sample(jax.random.key(0), 2.5), "from 1 to 2,147,483,647, found 2.5;"),
        (
            lambda run: run.reconstruct(np.zeros((2, 28, 28, 1), np.uint8), jax.random.key(0)),
            "a key, first of the arguments, found an array uint8[2, 28, 28, 1];",
        ),
        (lambda run: run.decode(np.zeros((2, 7))), "codes [num, 3] for rbm, found float64 (2, 7);"),
        (lambda run: run.decode([[0, 1, np.nan]]), "found float64 (1, 3), NaN or infinity;"),
        (lambda run: run.decode([[0, 1, 1e300]]), "found float64 (1, 3), NaN or infinity;"),
        (lambda run: run.sample(jax.random.key(0), 10**12), "2,147,483,647, found 1000000000000;"),
        (lambda run: run.sample(jax.random.key(0), 2**31 - 1), "GiB of memory, found one of 6,"),
        (lambda run: run.sample(jax.random.key(0, impl="rbg"), 1), "found an array key<rbg>[];"),
        (lambda run: run.encode(np.zeros((1, 28, 28, 1), np.uint8), ["h"]), "found a list;"),
        (lambda run: run.evaluate(dataset=5), "found 5;"),
        (lambda run: run.evaluate(np.zeros((2, *SHAPE))), "found float64 [2, 28, 28, 1];"),
        (
            lambda run: run.encode(np.zeros((2, *SHAPE), np.uint8), np.zeros((2, 3))),
            "found float64 [2, 3];",
        ),
        (lambda run: run.evaluate(num_samples=2.0), "from 2 to 10,000 samples, found 2.0;"),
        (lambda run: run.evaluate(num_labels=(100, 4)), "from 5 to 2,147,483,647 for num_labels"),
        (lambda _: jaxgen.load(None), "the folder of a finished run, a text or a Path, found N"),
        (lambda _: jaxgen.load(b"/tmp"), "the folder of a finished run, a text or a Path"),
    ],
)
def test_arguments_that_are_none_are_named(call: Any, message: str) -> None:
    with pytest.raises(SettingError) as error:
        call(jaxgen.load(FIXTURES / "old_run" / "rbm"))
    assert message in one_line(error)


@pytest.mark.parametrize("name", ["rbm", "dbm", "gan"])
def test_exported_programs_do_what_the_run_does(name: str, tmp_path: Path) -> None:
    run = jaxgen.load(write(tmp_path / "run", name))
    files = {path.name: path for path in run.export(tmp_path / "out", num=3)}
    modules = {"rbm": {"rbm"}, "dbm": {"dbm"}, "gan": {"generator", "discriminator"}}[name]
    programs = {"sample.stablehlo", "encode.stablehlo"}
    assert {*files} == {f"{module}.safetensors" for module in modules} | programs
    assert all(path.is_file() for path in files.values())
    key = jax.random.key(7)
    found = stablehlo.load(files["sample.stablehlo"])(jax.random.key_data(key))
    np.testing.assert_allclose(found, run.sample(key, 3), atol=1e-6)
    images = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8)
    found = stablehlo.load(files["encode.stablehlo"])(images)
    np.testing.assert_allclose(found, run.encode(images), atol=1e-5)
    arrays = {module: safetensors.load_params(files[f"{module}.safetensors"]) for module in modules}
    back = from_modules(run.config, SHAPE, arrays)
    state = models.state_of(name, run.config, SHAPE, back)
    again = jax.jit(run.learner.sample, static_argnums=2)(state, key, 3)
    np.testing.assert_allclose(again, run.sample(key, 3), atol=1e-6)


def test_an_impossible_export_writes_nothing(tmp_path: Path) -> None:
    run = jaxgen.load(write(tmp_path / "run", "rbm"))
    with pytest.raises(SettingError, match="a whole number from 1 to") as error:
        run.export(tmp_path / "out", num=0)
    one_line(error)
    assert not (tmp_path / "out").exists()
    for folder in ("a\0b", 3, None):
        with pytest.raises(SettingError, match="expected a folder to write to"):
            run.export(folder)  # type: ignore[arg-type]
