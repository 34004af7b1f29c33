"""Files of a run folder that are none: each ends in one line, and nothing waits or grows."""

import io
import json
import math
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.helpers import FIXTURES, one_line
from support.hostile import RAW, VALUES, changed, places
from support.runs import EPOCHS, SMALL, call, contents, forge, only_line, read

import jaxgen
from experiments import compare, dbn, reproduce
from experiments.comparison import measures, naming
from experiments.reproduction import checks, verdict
from experiments.reproduction import runs as reproduce_runs
from jaxgen.errors import CheckpointError, JaxgenError, RunFolderError, SettingError
from jaxgen.runs import folder as run_folder
from jaxgen.runs import metrics_log, samples


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A copy of a small finished run."""
    shutil.copytree(FIXTURES / "old_run" / "rbm", tmp_path / "run")
    return tmp_path / "run"


def as_fifo(path: Path) -> None:
    """A pipe in the place of a file: reading it would wait for ever."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def as_sparse(path: Path) -> None:
    """A file of 40 GB that takes no space."""
    with path.open("wb") as file:
        file.truncate(40 << 30)


@pytest.mark.parametrize("spoil", [as_fifo, as_sparse])
@pytest.mark.parametrize("name", ["config.json", "summary.json", "params.safetensors"])
def test_a_file_that_is_none(run: Path, name: str, spoil: Callable[[Path], None]) -> None:
    spoil(run / name)
    with pytest.raises((CheckpointError, RunFolderError)) as error:
        jaxgen.load(run)
    one_line(error)
    run_folder.read_config(run)  # neither waits nor grows
    assert measures.read(run / name, {}) is None


@pytest.mark.parametrize("seeds", [[], {}, 5, None, True, "0", [0, 0], [0, "1"], [2**40]])
def test_seeds_that_are_none(run: Path, seeds: Any) -> None:
    summary = read(run / "summary.json") | {"seeds": seeds}
    (run / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(CheckpointError) as error:
        jaxgen.load(run)
    assert "the same seeds" in one_line(error)


@pytest.mark.parametrize("name", ["dataset", "preset", "epochs"])
def test_settings_that_contradict_the_summary(run: Path, name: str) -> None:
    other = {"dataset": "kmnist", "preset": "cd25", "epochs": 7}[name]
    (run / "config.json").write_text(json.dumps(read(run / "config.json") | {name: other}))
    with pytest.raises(CheckpointError) as error:
        jaxgen.load(run)
    assert f"the same {name} in config.json and summary.json" in one_line(error)


@pytest.mark.parametrize(
    "change", [{"base_rates": True}, {"generation_steps": 7}, {"colour": 1}, {"seed": 1}]
)
def test_settings_changed_by_hand(new: Path, change: dict[str, Any]) -> None:
    config = read(new / "config.json")
    (new / "config.json").write_text(json.dumps(config | {"out": "elsewhere", "stream": True}))
    jaxgen.load(new)
    (new / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(CheckpointError) as error:
        jaxgen.load(new)
    assert "found other settings; put them back" in one_line(error)


def test_a_study_that_was_killed_leaves_the_run(new: Path) -> None:
    """It writes its settings down first, long before the new summary."""
    config = read(new / "config.json")
    assert config["study"] is False
    (new / "config.json").write_text(json.dumps(config | {"study": True}))
    jaxgen.load(new)


def test_an_impossible_setting_is_named_with_its_file(
    new: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no flag is advised, for none sets it where a run is read."""
    config, end = read(new / "config.json"), "; put the setting back, or use the version of jaxgen"
    forge(new, model=config["model"] | {"learning_rate": -1})
    with pytest.raises(SettingError) as error:
        jaxgen.load(new)
    named = f"expected --learning-rate above 0 and finite in {new / 'config.json'}, found -1.0"
    assert one_line(error).startswith(named + end)
    forge(new, model=config["model"], generation_steps="x")
    jaxgen.load(new)
    monkeypatch.setattr("sys.argv", ["compare", str(new)])
    assert compare.entry() == 2
    named = f"expected a whole number for generation_steps in {new}, found 'x'"
    assert named + end in only_line(capsys.readouterr().err)


def header(shape: str, descr: str = "'<f4'") -> bytes:
    """An array's file with a header of our own and eight bytes."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(8)


@pytest.mark.parametrize(
    "content",
    [
        header("(" + "-" * 90 + "1,)"),
        header("(True,)"),
        header("(-1, 2, 1, 1)"),
        header("(2,)", "'<U1'"),
        header("(1,)", "'<M8[s]'"),
        header("(1,)", "[('a', '<f4')]"),
    ],
)
def test_samples_that_are_none(run: Path, content: bytes) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("images.npy", content)
    (run / "samples.npz").write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError) as error:
        samples.read_samples(run)
    one_line(error)
    with pytest.raises(RunFolderError) as error:
        verdict.read(run)
    assert one_line(error).count("expected") == 1


@pytest.mark.parametrize(
    "change", [{"step": 10**30}, {"step": -1}, {"train_s": 10**400}, {"train_s": float("nan")}]
)
def test_lines_of_a_log_that_are_none(run: Path, change: dict[str, Any]) -> None:
    log = run / "metrics.jsonl"
    lines = [json.loads(text) for text in log.read_text().splitlines()]
    log.write_text("".join(json.dumps(x) + "\n" for x in [lines[0] | change, *lines[1:]]))
    with pytest.raises(RunFolderError) as error:
        metrics_log.read_lines(log)
    assert "line 1" in one_line(error)


def test_a_file_that_only_one_run_has_is_a_difference(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "other")
    for name in ("samples.npz", "metrics.jsonl"):
        (tmp_path / "other" / name).unlink()
    found = verdict.compare_runs(verdict.read(tmp_path / "other"), {"now": verdict.read(run)})
    assert found.found != "A"
    assert "now: only one of the runs has: samples, log" in found.found_why


SPOILT: dict[str, Callable[[Path], Any]] = {
    "no log": lambda f: (f / "metrics.jsonl").unlink(),
    "an empty log": lambda f: (f / "metrics.jsonl").write_bytes(b""),
    "a cut log": lambda f: os.truncate(f / "metrics.jsonl", 700),
    "a log without its end": lambda f: (f / "metrics.jsonl").write_text(
        (f / "metrics.jsonl").read_text().splitlines(keepends=True)[0]
    ),
    "a doubled log": lambda f: (f / "metrics.jsonl").write_bytes(
        (f / "metrics.jsonl").read_bytes() * 2
    ),
    "a log of zeros": lambda f: (f / "metrics.jsonl").write_bytes(bytes(64)),
    "a log that is none": lambda f: (f / "metrics.jsonl").write_bytes(b"null\n12\n"),
    "a log that is a pipe": lambda f: as_fifo(f / "metrics.jsonl"),
    "no params": lambda f: (f / "params.safetensors").unlink(),
    "damaged params": lambda f: flip(f / "params.safetensors"),
    "no samples": lambda f: (f / "samples.npz").unlink(),
    "samples that are a pipe": lambda f: as_fifo(f / "samples.npz"),
}
CHANGED: dict[str, Callable[[Path], Any]] = {
    "another log": lambda f: flip(f / "metrics.jsonl"),
    "damaged samples": lambda f: flip(f / "samples.npz"),
    "huge samples": lambda f: as_sparse(f / "samples.npz"),
    "huge samples, as the summary has them": lambda f: (
        as_sparse(f / "samples.npz"),
        with_files(f, {"samples.npz": {"bytes": 40 << 30}}),
    ),
    "a summary of no files": lambda f: (
        with_files(f, {}),
        (f / "params.safetensors").unlink(),
    ),
    "another folder's file": lambda f: with_files(f, {"../metrics.jsonl": {}}),
    "files that are a list": lambda f: with_files(f, ["metrics.jsonl"]),
    "sizes that are none": lambda f: with_files(f, {"metrics.jsonl": {"bytes": "9" * 99}}),
}
"""Only a run whose summary has its files has these."""


def flip(path: Path) -> None:
    """Changes a byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def with_files(folder: Path, files: Any) -> None:
    path = folder / "summary.json"
    path.write_text(json.dumps(read(path) | {"files": files}))


@pytest.fixture
def new(finished: Path, tmp_path: Path) -> Path:
    """A copy of a run of this version."""
    shutil.copytree(finished, tmp_path / "new")
    return tmp_path / "new"


@pytest.mark.parametrize("case", SPOILT | CHANGED)
def test_a_finished_run_with_a_spoilt_file_is_refused(
    case: str,
    run: Path,
    new: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By every program that reads it, before anything is run or measured."""
    for folder in (new,) if case in CHANGED else (new, run):
        (SPOILT | CHANGED)[case](folder)
        with pytest.raises((CheckpointError, RunFolderError)) as error:
            jaxgen.load(folder)
        assert str(folder) in one_line(error)
        with pytest.raises((CheckpointError, RunFolderError)):
            compare.read_all([folder], compare.Args(runs=(folder,)))
        monkeypatch.setattr(reproduce_runs, "run", lambda *_: pytest.fail("a process is started"))
        code = reproduce.main(["--verify", str(folder)])
        assert code in (4, 6, 8)
        text = only_line(capsys.readouterr().err)
        if folder == new:
            assert code == 8
            assert "class C (not comparable)" in text
    assert "jsonl" in text or "safetensors" in text or "npz" in text or "files" in text


def test_a_finished_run_has_its_log_again(
    new: Path, digits_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--resume makes it from the checkpoint, and the other files from the state."""
    names = ("metrics.jsonl", "params.safetensors", "samples.npz")
    before = [(new / name).read_bytes() for name in names]
    (new / "metrics.jsonl").write_bytes(b"12\n")
    flip(new / "params.safetensors")
    (new / "samples.npz").unlink()
    where = ("--dataset", "digits", "--data-dir", str(digits_root), "--out", str(new))
    assert call(*where, *SMALL, *EPOCHS, "--resume") == 0
    assert [(new / name).read_bytes() for name in names] == before
    jaxgen.load(new)


def test_another_experiment_takes_no_run(
    run: Path, digits_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither does one go on with another's run, nor does a comparison replace its settings."""
    before = contents(run)
    flags = ("--dataset", "digits", "--data-dir", str(digits_root), "--out", str(run), "--resume")
    assert call(*flags, experiment=dbn) == RunFolderError.exit_code
    assert "to be a run of dbn, found one of 'rbm'" in only_line(capsys.readouterr().err)
    with (
        pytest.raises(RunFolderError) as error,
        run_folder.open_folder(run, "compare", resume=True, overwrite=False),
    ):
        pass
    assert "to be a run of compare, found one of 'rbm'" in one_line(error)
    assert contents(run) == before


def test_a_name_that_no_folder_can_have() -> None:
    with pytest.raises(JaxgenError) as error:
        jaxgen.load("x" * 300)
    assert "no such folder" in one_line(error)
    assert "perhaps" not in one_line(error)


def test_a_file_is_no_run(run: Path) -> None:
    with pytest.raises(CheckpointError, match="found a file; name the folder of a finished run"):
        jaxgen.load(run / "summary.json")


# ---- any value at any place

NUM_TRIALS = 20


def use(folder: Path) -> None:
    """All that is read of a run before anything is run, measured or written."""
    run = jaxgen.load(folder)
    assert repr(run).isprintable()
    assert run.metrics
    assert run.train_seconds >= 0
    assert len(run.stored_samples()) == 100
    compare.read_all([folder], compare.Args(runs=(folder,)))
    naming.label_of(run)


def repeat(folder: Path) -> None:
    checks.require_whole(folder)
    run = verdict.read(folder)
    checks.require_repeatable(folder, run.record)
    json.dumps(verdict.compare_runs(run, {"now": run})._asdict(), allow_nan=False)
    assert not math.isinf(verdict.main_metric(run))


@pytest.mark.parametrize("seed", [0, *(pytest.param(x, marks=pytest.mark.slow) for x in range(50))])
def test_any_value_at_any_place_is_used_or_refused_in_one_line(new: Path, seed: int) -> None:
    rng = random.Random(seed)
    manifest = max(new.glob("checkpoints/*/manifest.json"))
    files = [new / "config.json", new / "summary.json", new / "manifest.json", manifest]
    for _ in range(NUM_TRIALS):
        path = rng.choice(files)
        whole = path.read_bytes()
        content = json.loads(whole)
        if rng.random() < 0.2:
            path.write_bytes(rng.choice([*RAW, whole[:-3]]))
        else:
            there = rng.choice([*places(content)])
            path.write_text(json.dumps(changed(content, there, rng.choice(VALUES))))
        for act in (use, repeat):
            try:
                act(new)
            except JaxgenError as error:
                assert str(error).isprintable()  # noqa: PT017
                assert len(str(error)) < 1500  # noqa: PT017
        path.write_bytes(whole)
