"""Environments in which a program cannot run as it is, or runs all the same: one line, or none."""

import dataclasses
import os
import pwd
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
import pytest
from support.helpers import DIGITS, one_line, run_python
from support.runs import EPOCHS, SMALL, call, only_line, read

from experiments import benchmark, compare, dbn, dcgan, gan, rbm, vae, wake_sleep
from experiments.running import cli
from experiments.running.args import in_small_batches
from experiments.running.session import session_for
from jaxgen import data, models
from jaxgen.data import Dataset, Split
from jaxgen.errors import SettingError
from jaxgen.files import write_json
from jaxgen.models import dbn as dbn_model
from jaxgen.runs import manifest as run_manifest
from jaxgen.runs.folder import read_config
from jaxgen.training import steps_in_epoch


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RuntimeError("Unable to initialize backend 'tpu': no libtpu. (set JAX_PLATFORMS='')"),
            "found Unable to initialize backend 'tpu': no libtpu.; type: unset JAX_PLATFORMS",
        ),
        (AssertionError(), "found none; type: unset JAX_PLATFORMS"),  # so with cuda
    ],
)
def test_devices_that_are_not_there(
    error: Exception,
    said: str,
    digits_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def devices() -> NoReturn:
        raise error

    monkeypatch.setattr(jax, "devices", devices)
    where = ("--dataset", "digits", "--data-dir", str(digits_root))
    assert call(*where, "--out", str(tmp_path / "run")) == 2
    assert said in only_line(capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_a_variable_that_jax_cannot_read() -> None:
    """JAX refuses to be imported with it."""
    done = run_python("-m", "experiments.prepare", JAX_ENABLE_X64="maybe")
    assert done.returncode == 2
    assert "found invalid truth value 'maybe' for environment 'JAX_ENABLE_X64'" in only_line(
        done.stderr
    )


@pytest.mark.programs
def test_a_run_does_not_depend_on_how_a_user_has_set_jax(
    finished: Path, digits_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    others = {
        "jax_debug_nans": True,
        "jax_default_prng_impl": "rbg",
        "jax_enable_x64": True,
        "jax_numpy_dtype_promotion": "strict",
        "jax_threefry_partitionable": False,
    }
    before = {name: jax.config.values[name] for name in others}
    try:
        for name, value in others.items():
            jax.config.update(name, value)
        where = ("--dataset", "digits", "--data-dir", str(digits_root))
        out = ("--log-every", "10", "--out", str(tmp_path / "run"))
        assert call(*where, *SMALL, *EPOCHS, *out) == 0
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
    here = run_manifest.fingerprint(run_manifest.environment())
    assert read(tmp_path / "run" / "manifest.json")["environment_hash"] == here
    found, expected = (read(folder / "summary.json") for folder in (tmp_path / "run", finished))
    assert found["digest"] == expected["digest"]


PATHS = ("--out", "--data-dir", "--manual-dir")


@pytest.mark.parametrize("flag", PATHS)
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("~nosuchuser/x", "expected a home folder for ~nosuchuser/x, found none; set HOME, or"),
        (os.fsdecode(b"a\xffb"), "expected a path in utf-8, found a?b; rename it"),
    ],
)
def test_paths_that_name_nothing(
    flag: str, path: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--dataset", "digits", flag, path) == 2
    assert said in only_line(capsys.readouterr().err)


def test_a_home_folder_in_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    args = cli.parse(rbm.PRESETS, {}, ["--data-dir=~/data", "--out=~"])
    assert (args.data_dir, args.out) == (tmp_path / "data", tmp_path)
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    assert data.data_root(None) == tmp_path / "tensorflow_datasets"
    assert data.data_root(Path("~/data")) == tmp_path / "data"


def test_a_user_without_a_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In containers a process may run as a user whom the system does not know."""

    def unknown(_: object) -> NoReturn:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "TFDS_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingError, match="--data-dir names the folder of data sets"):
        data.load("kmnist")
    assert data.load("digits").digest == DIGITS  # which are embedded
    assert call("--dataset", "kmnist", "--out", str(tmp_path / "run")) == 2
    assert "a home folder for ~/tensorflow_datasets, found none" in only_line(
        capsys.readouterr().err
    )


def test_a_gain_of_labels_without_labels_is_refused() -> None:
    digits = data.load("digits")
    for module in (dbn, wake_sleep):
        plain = module.Args()
        args = dataclasses.replace(plain, model=dataclasses.replace(plain.model, label_gain=2.0))
        with pytest.raises(
            SettingError, match="--label-gain beside --conditional, found 2 without"
        ):
            args.fit_to(digits)
        fitted = dataclasses.replace(args, conditional=True).fit_to(digits)
        assert (fitted.model.num_classes, fitted.model.label_gain) == (10, 2.0)
        assert plain.fit_to(digits) == plain


@pytest.mark.parametrize("module", [dbn, wake_sleep, vae, gan, dcgan])
def test_a_number_of_classes_is_set_by_the_flag(module: Any) -> None:
    """Else the model would be conditional, and its folder and page that of one that is not."""
    plain = module.Args()
    args = dataclasses.replace(plain, model=dataclasses.replace(plain.model, num_classes=10))
    with pytest.raises(SettingError, match="--num-classes beside --conditional") as error:
        args.fit_to(data.load("digits"))
    assert "found 10 without it; add --conditional" in one_line(error)


def test_a_conditional_run_has_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--resume` finds one of an older version, which had the folder of a run without classes."""
    monkeypatch.chdir(tmp_path)
    args = cli.parse(dcgan.PRESETS, {}, ["--conditional", "--resume"])
    plain, own = Path("runs/dcgan-leaves-seed0"), Path("runs/dcgan-leaves-conditional-seed0")
    several = dataclasses.replace(args, seeds=(1, 2))
    assert (
        cli.default_folder("dcgan", several, "leaves").name == "dcgan-leaves-conditional-seeds1-2"
    )
    assert cli.default_folder("dcgan", dcgan.Args(), "leaves") == plain
    plain.mkdir(parents=True)
    for conditional, expected in ((False, own), (True, plain)):
        write_json(plain / "config.json", {"experiment": "dcgan", "conditional": conditional})
        assert cli.default_folder("dcgan", args, "leaves") == expected
    new = dataclasses.replace(args, resume=False)
    assert cli.default_folder("dcgan", new, "leaves") == own
    own.mkdir()
    assert cli.default_folder("dcgan", args, "leaves") == own


def test_a_preset_that_is_typed_has_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--resume` finds one of an older version, which had the folder of the first preset."""
    monkeypatch.chdir(tmp_path)
    assert cli.typed_preset(["--preset=a", "--seed", "1"]) == "a"
    assert cli.typed_preset(["--preset", "a", "--preset", "b"]) == "b"
    assert cli.typed_preset([]) is cli.typed_preset(["--seed", "1"]) is None
    args = cli.parse(rbm.PRESETS, {}, ["--preset", "pcd16", "--resume"])
    plain, own = Path("runs/rbm-mnist-seed0"), Path("runs/rbm-pcd16-mnist-seed0")
    assert cli.default_folder("rbm", args, "mnist") == plain
    assert cli.default_folder("rbm", args, "mnist", "pcd16") == own
    plain.mkdir(parents=True)
    for preset, expected in (("lab", own), ("pcd16", plain)):
        write_json(plain / "config.json", {"experiment": "rbm", "preset": preset})
        assert cli.default_folder("rbm", args, "mnist", "pcd16") == expected
    new = dataclasses.replace(args, resume=False)
    assert cli.default_folder("rbm", new, "mnist", "pcd16") == own


@pytest.mark.parametrize("kind", [benchmark.Args, compare.Args])
def test_names_that_are_left_out_are_not_all(kind: Any) -> None:
    with pytest.raises(SettingError) as error:
        cli.parse_flags(kind, args=["--only", "--quick"])
    line = one_line(error)
    assert line == "expected one name or more after --only, found none; leave it out for all"


def test_the_last_of_quick_and_no_quick_holds() -> None:
    for flags, quick in (
        (["--quick"], True),
        (["--no-quick"], False),
        (["--quick", "--no-quick"], False),
        (["--no-quick", "--quick"], True),
    ):
        args = cli.parse(rbm.PRESETS, rbm.QUICK, flags)
        assert args.quick == quick
        assert (args.epochs == rbm.QUICK["epochs"]) == quick


def test_a_quick_run_has_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the whole run, which it names, finds a free one on the same data."""
    monkeypatch.chdir(tmp_path)
    args = cli.parse(rbm.PRESETS, rbm.QUICK, ["--quick", "--resume"])
    whole, own = Path("runs/rbm-digits-seed0"), Path("runs/rbm-quick-digits-seed0")
    assert cli.default_folder("rbm", args, "digits") == own
    both = cli.default_folder("rbm", args, "digits", "pcd16")
    assert both == Path("runs/rbm-pcd16-quick-digits-seed0")
    whole.mkdir(parents=True)
    for quick, expected in ((False, own), (True, whole)):  # older versions had one folder
        write_json(whole / "config.json", {"experiment": "rbm", "quick": quick})
        assert cli.default_folder("rbm", args, "digits") == expected
        assert cli.default_folder("rbm", rbm.Args(resume=True), "digits") == whole
    new = dataclasses.replace(args, resume=False)
    assert cli.default_folder("rbm", new, "digits") == own


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--resume", "--overwrite"), "found True; leave out --overwrite"),
        (("--devices", "100000"), "--devices of at most 1024, found 100000"),
        (("--out", ""), "a path, found an empty one"),
    ],
)
def test_flags_that_contradict_each_other_or_are_nothing(
    flags: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--dataset", "digits", *flags) == 2
    assert said in only_line(capsys.readouterr().err)


def test_whoever_names_original_files_gets_no_other_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--manual-dir", str(tmp_path / "nope"), "--data-dir", str(tmp_path / "empty"))
    assert call(*where, "--out", str(tmp_path / "run")) == 3
    assert "the four original files of mnist" in only_line(capsys.readouterr().err)


def test_a_session_has_the_test_images_that_are_measured(tmp_path: Path) -> None:
    """Of the user's own sets a tenth may be a hundred thousand."""
    split = Split(np.zeros((10_001, 1, 2, 1), np.uint8), np.arange(10_001, dtype=np.int32))
    session = session_for("rbm", rbm.Args(), Dataset("large", split, split, "0"), tmp_path)
    assert len(session.dataset.train.images) == 10_001
    drawn = session.dataset.test.labels
    assert len({*drawn.tolist()}) == len(drawn) == 10_000
    assert drawn[:100].mean() > 1000  # a folder's or an array's images may lie class by class
    digits = session_for("rbm", rbm.Args(), Dataset("digits", split, split, "0"), tmp_path)
    np.testing.assert_array_equal(digits.dataset.test.labels, split.labels[:10_000])
    wide = Split(np.broadcast_to(np.uint8(0), (6000, 64, 64, 3)), split.labels[:6000])
    session = session_for("rbm", rbm.Args(), Dataset("wide", wide, wide, "0"), tmp_path)
    assert len(session.dataset.test.images) == 2**28 // (4 * 64 * 64 * 3)


@pytest.mark.parametrize("name", ["own", "digits"])
def test_a_run_within_a_run_has_its_test_images_in_the_same_order(
    name: str, tmp_path: Path
) -> None:
    """Those of a seed of several, of a study's variant and of a DBN that is trained first."""
    split = Split(np.zeros((50, 1, 2, 1), np.uint8), np.arange(50, dtype=np.int32))
    session = session_for("rbm", rbm.Args(), Dataset(name, split, split, "0"), tmp_path)
    inner = session.within("dbn").for_run(rbm.Args(seeds=(3, 4)))
    np.testing.assert_array_equal(inner.dataset.test.labels, session.dataset.test.labels)
    assert (inner.folder, inner.seeds, session.seeds) == (tmp_path / "dbn", (3, 4), (0,))
    inner.record()
    assert read_config(inner.folder)["seeds"] == [3, 4]


def test_batches_follow_the_users_own_set(caplog: pytest.LogCaptureFixture) -> None:
    split = Split(np.zeros((160, 1, 2, 1), np.uint8), np.zeros(160, np.int32))
    own = Dataset("own", split, split, "0")
    with caplog.at_level("INFO", "jaxgen"):
        assert in_small_batches(rbm.Args(), own).batch_size == 10
    assert "batches of 10, because there are 160 images; --batch-size changes them" in caplog.text
    assert in_small_batches(rbm.Args(batch_size=7), own).batch_size == 7
    assert in_small_batches(rbm.Args(), own._replace(name="mnist")).batch_size == 100


@pytest.mark.parametrize(
    ("num", "d_steps", "batch_size"), [(1, 1, 1), (2, 1, 2), (5, 2, 2), (5, 4, 1), (160, 4, 10)]
)
def test_so_few_images_still_make_a_step(num: int, d_steps: int, batch_size: int) -> None:
    split = Split(np.zeros((num, 1, 2, 1), np.uint8), np.zeros(num, np.int32))
    args = gan.Args(model=models.gan.Config(d_steps=d_steps))
    found = in_small_batches(args, Dataset("own", split, split, "0"))
    assert found.batch_size == batch_size
    assert steps_in_epoch(num, found.batch_size, d_steps) >= 1


@pytest.mark.parametrize(("num", "d_steps", "least"), [(1, 1, 2), (5, 4, 8), (3, 2, 4)])
def test_a_game_needs_two_images_for_each_update_of_d(num: int, d_steps: int, least: int) -> None:
    split = Split(np.zeros((num, 1, 2, 1), np.uint8), np.zeros(num, np.int32))
    args = gan.Args(model=models.gan.Config(d_steps=d_steps))
    with pytest.raises(SettingError) as error:
        args.check(Dataset("own", split, split, "0"), Path())
    assert f"expected {least} training images or more" in str(error.value)
    assert f"found {num}; add pictures" in str(error.value)
    assert ("--d-steps" in str(error.value)) == (d_steps > 1)


def test_a_step_of_more_batches_than_images_is_refused() -> None:
    with pytest.raises(SettingError, match="3 training examples or more, as a step takes 3") as bad:
        steps_in_epoch(2, 1, 3)
    assert str(bad.value).endswith("take fewer batches a step (--d-steps)")
    with pytest.raises(SettingError, match="from 1 to 2, as a step takes 2 batches of the 5"):
        steps_in_epoch(5, 3, 2)


def test_the_number_of_classes_is_that_of_the_data() -> None:
    split = Split(np.zeros((9, 1, 2, 1), np.uint8), np.arange(9, dtype=np.int32) % 3)
    own = Dataset("own", split, split, "0", ("a", "b", "c"))
    args = dbn.Args(conditional=True, model=dbn_model.Config(num_classes=7))
    with pytest.raises(SettingError, match="expected --num-classes 3, those of own, found 7"):
        args.fit_to(own)
    assert dbn.Args(conditional=True).fit_to(own).model.num_classes == 3
    assert repr(own) == "<Dataset own: 9 train and 9 test images of 1x2x1, 3 classes>"
