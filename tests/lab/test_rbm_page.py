"""`python -m experiments.rbm` as a user runs it: what it leaves and what it refuses."""

import base64
import dataclasses
import fcntl
import hashlib
import json
import re
import shutil
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file
from scipy.special import expit
from support.helpers import same
from support.runs import (
    EPOCHS,
    SMALL,
    STEPS,
    Command,
    call,
    contents,
    lines_of,
    only_line,
    read,
    refused,
)

from experiments import dbn, rbm
from experiments.lab.rbm import training as rbm_training
from experiments.running import cli
from experiments.running.args import load_dataset
from jaxgen import data
from jaxgen.data import sources
from jaxgen.errors import RunFolderError
from jaxgen.models import rbm as rbm_model
from jaxgen.runs import folder as run_folder
from jaxgen.training import checkpoint

# ---- what a run leaves


def test_run_folder_has_what_it_should(finished: Path) -> None:
    assert {path.name for path in finished.iterdir() if path.name[0] != "."} == {
        "checkpoints",
        "config.json",
        "figures",
        "manifest.json",
        "metrics.jsonl",
        "params.safetensors",
        "report.html",
        "samples.npz",
        "summary.json",
    }
    assert not [path for path in finished.rglob("*") if path.name.endswith(".tmp")]


def test_config(finished: Path, digits_root: Path) -> None:
    config = read(finished / "config.json")
    assert config["experiment"] == "rbm"
    assert config["dataset"] == "digits"
    assert config["data_dir"] == str(digits_root)
    assert config["epochs"] == 60
    assert config["seed"] == 0
    assert config["model"]["num_hidden"] == 25
    assert config["model"]["learning_rate"] == 0.1


def test_manifest(finished: Path) -> None:
    manifest = read(finished / "manifest.json")
    environment = manifest["environment"]
    assert set(environment["flags"]) <= {
        "XLA_FLAGS",
        "JAX_ENABLE_X64",
        "JAX_DEFAULT_MATMUL_PRECISION",
        "JAX_PLATFORMS",
    }
    assert environment["packages"].keys() >= {"jax", "jaxlib", "flax", "optax", "numpy"}
    assert environment["device"]
    as_json = json.dumps(environment, sort_keys=True).encode()
    assert manifest["environment_hash"] == hashlib.sha256(as_json).hexdigest()
    assert manifest["data_digest"] == read(finished / "summary.json")["data_digest"]
    assert manifest["seed"] == 0
    assert "--dataset digits" in manifest["command"]
    assert "git_commit" in manifest


def test_summary(finished: Path) -> None:
    summary = read(finished / "summary.json")
    expected = {"experiment": "rbm", "dataset": "digits", "preset": "lab", "seed": 0}
    expected |= {"epochs": 60, "steps": STEPS}
    assert {name: summary[name] for name in expected} == expected
    assert summary["compile_s"] > 0
    assert summary["train_s"] > 0
    assert summary["steps_per_s"] == pytest.approx(STEPS / summary["train_s"], rel=0.01)
    last = lines_of(finished)[-1]
    assert summary["metrics"].keys() >= {"test_reconstruction_error", "free_energy_gap"}
    assert summary["metrics"].items() <= last.items()


def test_digest_is_that_of_the_parameters(finished: Path) -> None:
    digest = read(finished / "summary.json")["digest"]
    params = load_file(finished / "params.safetensors")
    assert {name: array.shape for name, array in params.items()} == {
        "w": (784, 25),
        "b_visible": (784,),
        "b_hidden": (25,),
    }
    assert checkpoint.digest(params) == digest
    leaves = read(max(finished.glob("checkpoints/step_*")) / "manifest.json")["leaves"]
    for name, sha256 in checkpoint.leaf_digests(
        {f"state.params.{name}": array for name, array in params.items()}
    ).items():
        assert leaves[name]["sha256"] == sha256
    changed = params | {"b_hidden": np.nextafter(params["b_hidden"], np.float32(1))}
    assert checkpoint.digest(changed) != digest


def test_samples(finished: Path) -> None:
    with np.load(finished / "samples.npz") as file:
        assert file.files == ["images"]
        images = file["images"]
    assert images.shape == (100, 28, 28, 1)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert len({image.tobytes() for image in images}) > 50


def test_metrics_have_one_line_per_log_interval(finished: Path) -> None:
    lines = lines_of(finished)
    assert [line["step"] for line in lines] == [
        step for epoch in range(60) for step in (15 * epoch + 10, 15 * epoch + 15)
    ]
    for line in lines:
        assert line["epoch"] == round(line["step"] / 15, 4)
        assert {"free_energy_contrast", "hidden_mean", "pixel_change"} <= line.keys()
    evaluated = [line["epoch"] for line in lines if "test_reconstruction_error" in line]
    assert evaluated == sorted({1, 5, *range(3, 61, 3), *range(56, 61)})
    assert [line["train_s"] for line in lines] == sorted(line["train_s"] for line in lines)
    errors = [line.get("test_reconstruction_error") for line in lines]
    assert errors[-1] < 0.02 < errors[5]


def test_report_is_one_page_that_needs_nothing_else(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert not re.search(r"""(src|href)\s*=\s*(?!["'](data:|#))""", page)
    assert "://" not in re.sub(r"data:image/[^\"']*", "", page)
    assert "url(" not in page
    images = re.findall(r"""<img[^>]*src="data:image/png;base64,([^"]*)\"""", page)
    assert len(images) == page.count("<img")
    shown = {hashlib.sha256(base64.b64decode(image)).hexdigest() for image in images}
    figures = contents(finished / "figures")
    assert shown == set(figures.values())
    assert len(images) == len(figures) >= 7
    for question in ("1.1", "1.2", "1.3", "1.7"):
        assert re.search(rf"<h2[^>]*>(<span[^>]*>)?[^<]*{re.escape(question)}", page), question
    assert read(finished / "summary.json")["digest"] in page


# ---- equal runs, other runs, resumed runs


def test_resume_of_a_finished_run_gives_its_digest(finished: Path, command: Command) -> None:
    """The interrupted run below shows the equal digest of a second run."""
    folder = command.folder / "copy"
    shutil.copytree(finished, folder)
    before = read(folder / "summary.json")
    flags = (*EPOCHS, "--log-every", "10", "--out", str(folder), "--resume")
    assert call(*command.args(*flags)[2:]) == 0
    summary = read(folder / "summary.json")
    same = ("digest", "steps", "metrics", "data_digest")
    assert {name: summary[name] for name in same} == {name: before[name] for name in same}
    assert summary["first_step"] == STEPS
    assert lines_of(folder) == lines_of(finished)
    params = "params.safetensors"
    assert (folder / params).read_bytes() == (finished / params).read_bytes()


@pytest.mark.programs
def test_bare_command_falls_back_to_digits(
    digits_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No argument at all, no MNIST, no network: one line says so, and digits are trained on."""
    root = tmp_path / "data"
    shutil.copytree(digits_root, root)
    monkeypatch.setenv("TFDS_DATA_DIR", str(root))
    monkeypatch.setattr(sources, "is_reachable", lambda _: False)
    monkeypatch.chdir(tmp_path)
    small = cli.parse(rbm.PRESETS, rbm.QUICK, SMALL)  # its own net is trained by --quick below
    declared = dataclasses.replace(rbm.EXPERIMENT, presets=rbm.PRESETS | {"lab": small})
    monkeypatch.setattr(rbm, "EXPERIMENT", declared)
    assert call() == 0
    assert capsys.readouterr().out.endswith("report: runs/rbm-digits-seed0/report.html\n")
    fallback = [text for text in caplog.messages if "MNIST cannot be had" in text]
    assert len(fallback) == 1
    assert "\n" not in fallback[0]
    assert read(tmp_path / "runs" / "rbm-digits-seed0" / "summary.json")["epochs"] == 100


def test_samples_of_parallel_tempering_stand_beside_plain_chains(
    digits_root: Path, tmp_path: Path
) -> None:
    flags = (*SMALL, "--sampler", "pt", "--num-temperatures", "3", "--epochs", "1")
    place = ("--dataset", "digits", "--data-dir", str(digits_root), "--out", str(tmp_path / "run"))
    assert call(*place, *flags) == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Each sample is of parallel tempering: 3 chains of 10 Gibbs steps" in page
    assert "Plain Gibbs chains of the same model" in page
    assert "states came from beta = 0" in page
    assert (tmp_path / "run" / "figures" / "samples_plain.png").is_file()


@pytest.mark.parametrize("num", ["1", "1001", "3000000000"])
def test_impossible_numbers_of_temperatures(
    num: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--num-temperatures", num, "--out", str(tmp_path / "run")) == 2
    line = only_line(capsys.readouterr().err)
    assert line.startswith(f"error: expected --num-temperatures from 2 to 1,000, found {num}")
    assert not (tmp_path / "run").exists()


def test_a_falling_rate_ends_with_the_last_epoch(digits_root: Path) -> None:
    dataset = data.load("digits", digits_root)
    args = dataclasses.replace(rbm.PRESETS["pcd16"], epochs=4, batch_size=100)
    found = rbm_training.with_decay(args, dataset)
    assert found.model == dataclasses.replace(args.model, decay_steps=60)  # 1,500 images
    assert rbm_training.with_decay(found, dataset) == found
    assert rbm_training.with_decay(rbm.Args(), dataset) == rbm.Args()


def test_a_start_at_the_base_rates(digits_root: Path) -> None:
    dataset, args = data.load("digits", digits_root), rbm.PRESETS["pcd16_centred"]
    learner, key = rbm_model.learner(args.model), jax.random.key(0)
    found = rbm_training.learner_for(args, dataset).init(key)
    on = (dataset.train.images >= 128).mean(axis=0).ravel()
    np.testing.assert_allclose(expit(found.params["b_visible"]), (on + 0.005) / 1.01, rtol=1e-4)
    np.testing.assert_allclose(found.means[0], on, rtol=1e-5)
    grey = rbm_model.mean_pixels(dataset.train.images, "sample")
    np.testing.assert_allclose(grey, dataset.train.images.mean(axis=0).ravel() / 255, rtol=1e-5)
    before = learner.init(key)
    params = before.params | {"b_visible": found.params["b_visible"]}
    assert same(found, before._replace(params=params, means=found.means))
    plain = rbm_training.learner_for(dataclasses.replace(args, base_rates=False), dataset)
    assert same(plain.init(key), before)


@pytest.mark.parametrize("module", [rbm, dbn])
def test_gaussian_units_take_their_preset_for_lab_and_flags_win(
    module: ModuleType, digits_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "jaxgen")
    dataset, presets = data.load("digits", digits_root), module.PRESETS

    def chosen(*words: str) -> Any:
        words = ("--visible", "gaussian", *words)
        return cli.choose_preset(module.EXPERIMENT, cli.parse(presets, {}, words), dataset, words)

    assert chosen("--epochs", "7") == dataclasses.replace(presets["gaussian"], epochs=7)
    assert [text for text in caplog.messages if "preset gaussian" in text]
    of_lab = presets["lab"].model.learning_rate
    model = dataclasses.replace(presets["gaussian"].model, learning_rate=of_lab)
    expected = dataclasses.replace(presets["gaussian"], model=model)
    assert chosen("--learning-rate", str(of_lab)) == expected
    assert chosen("--preset", "lab").preset == "lab"


def test_presets_are_what_they_are_called() -> None:
    models = {name: args.model for name, args in rbm.PRESETS.items()}
    found = {n: (m.num_hidden, m.num_gibbs_steps, m.persistent) for n, m in models.items()}
    assert found["cd25"] == (500, 25, False)
    assert found["pcd500"] == (500, found["pcd500"][1], True)
    assert found["pcd16"] == found["pcd16_centred"] == (16, 5, True)
    assert [name for name, model in models.items() if model.centred] == ["pcd500", "pcd16_centred"]


@pytest.mark.programs
def test_quick_takes_the_whole_path(
    digits_root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """But for its epochs; `.ci/wheel` runs them all, in a process of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert call("--quick", "--epochs", "5", "--data-dir", str(digits_root)) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert out.splitlines()[-1] == "report: runs/rbm-quick-digits-seed0/report.html"
    config = read(tmp_path / "runs" / "rbm-quick-digits-seed0" / "config.json")
    assert config["model"]["num_hidden"] == 64
    assert cli.parse(rbm.PRESETS, rbm.QUICK, ["--quick"]).epochs == rbm.QUICK["epochs"] == 60


# ---- what is refused

PRESETS = ", ".join(rbm.PRESETS)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--preset", "none"), f"--preset to be one of {PRESETS}, found 'none'"),
        (("--preset=none",), f"--preset to be one of {PRESETS}, found 'none'"),
        (("--batch-size", "0"), "--batch-size of at least 1, found 0"),
        (("--epochs", "0"), "--epochs of at least 1, found 0"),
        (("--seed", "-1"), "--seed from 0 to 4294967295, found -1"),
        (("--seed", "4294967296"), "found 4294967296"),
        (("--num-hidden", "0"), "--num-hidden of at least 1, found 0"),
        (("--momentum", "1"), "momentum in [0, 1), found 1.0"),
        (("--schedule", "falling", "--decay-steps", "5"), "0 beside --schedule falling, found 5"),
        (("--learning-rate", "nan"), "--learning-rate above 0 and finite, found nan"),
        (("--learning-rate", "inf"), "--learning-rate above 0 and finite, found inf"),
        (("--learning-rate", "-1"), "--learning-rate above 0 and finite, found -1.0"),
        (("--learning-rate", "1e40"), "--learning-rate of at most 3.40282e+38, found 1e+40"),
        (("--weight-decay", "1e40"), "--weight-decay of at most 3.40282e+38, found 1e+40"),
        (("--learning-rate", "0"), "--learning-rate above 0 and finite, found 0.0"),
        (("--weight-decay", "-0.1"), "--weight-decay at least 0 and finite, found -0.1"),
        (("--init-scale", "inf"), "--init-scale at least 0 and finite, found inf"),
        (("--gain", "nan"), "--gain above 0 and finite, found nan"),
        (("--checkpoint-seconds", "nan"), "--checkpoint-seconds of at least 0, found nan"),
        (("--num-hidden", "1000000000"), "memory, found one of 2,9"),
        (("--num-hidden", "9999999999"), "--num-hidden of at most 2,147,483,647"),
        (("--seeds",), "one seed or more after --seeds, found none"),
        (("--seeds", "--tensorboard"), "one seed or more after --seeds, found none"),
        (("--log",), "one service or more after --log, found none; type --log tensorboard"),
        (("--batch-size", "1501"), "from 1 to the 1500 training examples, found 1501"),
    ],
)
def test_impossible_settings(
    flags: tuple[str, ...],
    words: str,
    digits_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = ("--dataset", "digits", "--data-dir", str(digits_root), "--out", str(tmp_path / "run"))
    assert call(*where, *flags) == 2
    out, err = capsys.readouterr()
    assert "report: " not in out
    assert words in only_line(err)
    assert list(tmp_path.iterdir()) == []


def test_unknown_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--num-hiden", "3") == 2
    assert "(perhaps you meant --num-hidden)" in only_line(capsys.readouterr().err)


def test_settings_that_failed_leave_the_folder_free(digits_root: Path, tmp_path: Path) -> None:
    where = ("--dataset", "digits", "--data-dir", str(digits_root), "--out", str(tmp_path / "run"))
    for _ in range(2):
        assert call(*where, "--batch-size", "1501", "--tensorboard") == 2


def test_impossible_setting_as_a_user_sees_it(command: Command) -> None:
    done = command.run("--batch-size", "0")
    assert done.returncode == 2
    assert done.stdout == ""
    only_line(done.stderr)


def test_existing_run_is_not_overwritten(
    finished: Path, capsys: pytest.CaptureFixture[str], digits_root: Path
) -> None:
    code, text = refused(finished, capsys, digits_root)
    assert code == 6
    assert "found a run of 'rbm' in it" in text
    assert all(flag in text for flag in ("--resume", "--overwrite", "--out"))
    code, text = refused(finished, capsys, digits_root, "--num-hidden", "7")
    assert code == 6
    assert "in it, not --num-hidden 7; add --overwrite" in text


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--learning-rate", "0.2"), "--learning-rate 0.1, as in the run in"),
        (("--seed", "1"), "expected --seed 0, as in the run in"),
        (("--batch-size", "50"), "found --batch-size 50"),
        (("--persistent",), "expected --no-persistent,"),
        (("--epochs", "59"), "at most step 885, where this run ends, found one of step 900"),
    ],
)
def test_resume_with_other_settings(
    finished: Path,
    capsys: pytest.CaptureFixture[str],
    digits_root: Path,
    flags: tuple[str, ...],
    words: str,
) -> None:
    code, text = refused(finished, capsys, digits_root, "--resume", *flags)
    assert code == 4
    assert words in text


@pytest.mark.parametrize("flag", ["--overwrite", "--resume"])
@pytest.mark.parametrize("config", [None, "{}", "[]", "no json"])
def test_folder_of_something_else(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    digits_root: Path,
    flag: str,
    config: str | None,
) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    (folder / "chapter1.tex").write_text("years of work")
    if config is not None:
        (folder / "config.json").write_text(config)
    code, text = refused(folder, capsys, digits_root, flag)
    assert code == 6
    assert "run folder" in text
    assert {path.name for path in folder.iterdir()} <= {"chapter1.tex", "config.json"}


@pytest.mark.parametrize("there", [(), ("run",), ("run", "run/.lock")])
def test_a_run_that_never_began_leaves_its_folder_as_it_was(
    tmp_path: Path, there: tuple[str, ...]
) -> None:
    folder = tmp_path / "run"
    if there:
        folder.mkdir()
    for name in there[1:]:
        (tmp_path / name).touch()
    with run_folder.open_folder(folder, "rbm", resume=True, overwrite=False):
        assert (folder / ".lock").exists()
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")} == {*there}


def test_a_lock_whose_file_a_refused_run_removed_is_taken_anew(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """The file goes between opening and locking it; no other run would see that lock."""
    flock, removed = fcntl.flock, []

    def late(handle: int, how: int) -> None:
        if not removed:
            (tmp_path / ".lock").unlink()
            removed.append(handle)
        flock(handle, how)

    monkeypatch.setattr(run_folder.fcntl, "flock", late)
    with run_folder.open_folder(tmp_path, "rbm", resume=False, overwrite=False):
        assert removed
        second = run_folder.open_folder(tmp_path, "rbm", resume=False, overwrite=False)
        with pytest.raises(RunFolderError, match="another run that is using it"), second:
            pass


@pytest.mark.parametrize("name", ["file", "file/run"])
def test_folder_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], digits_root: Path, name: str
) -> None:
    (tmp_path / "file").touch()
    where = ("--dataset", "digits", "--data-dir", str(digits_root), "--out", str(tmp_path / name))
    assert call(*where) == 7
    assert "choose another --out" in only_line(capsys.readouterr().err)


def test_mnist_that_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The address is reserved for documentation (RFC 5737): nothing answers there.
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://192.0.2.1:9")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.chdir(tmp_path)
    began = time.perf_counter()
    code = call("--dataset", "mnist", "--data-dir", str(tmp_path / "empty"))
    assert time.perf_counter() - began < 2
    assert code == 3
    text = only_line(capsys.readouterr().err)
    assert "--manual-dir" in text
    assert "--dataset digits" in text
    assert list(tmp_path.iterdir()) == []


def test_auto_falls_back_to_digits(
    tmp_path: Path,
    digits_root: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://192.0.2.1:9")
    monkeypatch.setenv("no_proxy", "")
    args = rbm.Args(dataset="auto", data_dir=digits_root)
    assert load_dataset(args).name == "digits"
    (record,) = caplog.records
    assert "MNIST cannot be had" in record.message
    assert "\n" not in record.message
