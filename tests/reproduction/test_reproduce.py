"""`experiments.reproduce`: verdicts from run folders, what is refused, and real runs."""

import dataclasses
import importlib
import json
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.helpers import AS_USERS, ROOT
from support.runs import SMALL, contents, forge, only_line, read, said_twice

from experiments import reproduce
from experiments.reproduction import runs as reproduce_runs
from experiments.reproduction import verdict as reproduce_verdict
from experiments.running import experiment
from jaxgen.runs.settings import to_json

# ---- verdicts

CPU = {"device": "cpu", "num_devices": 1, "several_cores": True} | {
    "packages": {"jax": "1.0"},
    "flags": {},
}
TWO_CPUS = CPU | {"num_devices": 2}
GPU = CPU | {"device": "Some GPU"}
STRICT = GPU | {
    "flags": {"XLA_FLAGS": "--xla_gpu_deterministic_ops=true"},
    "matmul_precision": "highest",
}


def made(folder: Path, **changes: Any) -> reproduce_verdict.Run:
    """A run as an RBM of 900 steps leaves it, with the given changes, read back."""
    parts = {
        "config": {"experiment": "rbm", "out": str(folder), "model": {"learning_rate": 0.1}},
        "manifest": {"environment": CPU, "git_commit": "c0", "data_digest": "d0"},
        "summary": {"digest": "p0", "metrics": {"test_reconstruction_error": 0.01}, "train_s": 1.0},
        "line": {"step": 900, "epoch": 60.0, "train_s": len(folder.name), "hidden_mean": 0.5},
    }
    for name, change in changes.items():
        parts[name] = parts.get(name, {}) | change
    folder.mkdir()
    for name in ("config", "manifest", "summary"):
        (folder / f"{name}.json").write_text(json.dumps(parts[name]))
    (folder / "metrics.jsonl").write_text(json.dumps(parts["line"]) + "\n")
    (folder / "params.safetensors").touch()
    np.savez_compressed(folder / "samples.npz", **{"images": np.zeros(3)} | parts.get("npz", {}))
    return reproduce_verdict.read(folder)


OTHER_BITS = {"digest": "p1", "metrics": {"test_reconstruction_error": 0.0101}}
FAR = {"digest": "p1", "metrics": {"test_reconstruction_error": 0.02}}
NEWER = {"environment": CPU | {"packages": {"jax": "1.1"}}}
CASES = {
    "equal but for times and names": ({}, {}, "AA", "equal digests"),
    "made in another way": ({}, {"config": {"resume": True, "checkpoint_seconds": 0}}, "AA", ""),
    "other last bits": ({}, {"summary": OTHER_BITS}, "AB", "1.00% apart"),
    "other samples": ({}, {"npz": {"images": np.ones(3)}}, "AB", "differ: samples"),
    "another line in the log": ({}, {"line": {"hidden_mean": 0.6}}, "AB", "differ: log"),
    "outside the band": ({}, {"summary": FAR}, "AC", "100.00% apart"),
    "another version": ({}, {"manifest": NEWER, "summary": OTHER_BITS}, "BB", "jax: 1.0, now 1.1"),
    "another version, outside": ({}, {"manifest": NEWER, "summary": FAR}, "BC", "100.00% apart"),
    "another version, same bits": ({}, {"manifest": NEWER}, "BA", "jax: 1.0, now 1.1"),
    "another setting": (
        {},
        {"config": {"model": {"learning_rate": 0.2}}, "summary": OTHER_BITS},
        "CC",
        "model.learning_rate: 0.1, now 0.2",
    ),
    "other data": ({}, {"manifest": {"data_digest": "d1"}, "summary": OTHER_BITS}, "CC", "d0, now"),
    "another commit": ({}, {"manifest": {"git_commit": "c1"}}, "CA", "git_commit: c0, now c1"),
    "changed sources": (
        {"manifest": {"git_commit": "c0-dirty"}},
        {"manifest": {"git_commit": "c0-dirty"}},
        "AA",
        "changes that no commit names",
    ),
    "accelerator": ({"manifest": {"environment": GPU}},) * 2 + ("BA", "--deterministic"),
    "deterministic accelerator": ({"manifest": {"environment": STRICT}},) * 2 + ("AA", ""),
    "one core": ({"manifest": {"environment": CPU | {"several_cores": False}}},) * 2 + ("AA", ""),
    "one core and several": (
        {"manifest": {"environment": CPU | {"several_cores": False}}},
        {"manifest": {"environment": CPU}, "summary": OTHER_BITS},
        "BB",
        "several_cores: False, now True",
    ),
    "one of several seeds": (
        {"summary": {"digests": {"0": "p0", "3": "p3"}}},
        {"summary": {"digests": {"0": "p0", "3": "p4"}}},
        "AB",
        "differ: parameters 3",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_classes(case: str, tmp_path: Path) -> None:
    first, second, classes, said = CASES[case]
    runs = made(tmp_path / "first", **first), made(tmp_path / "again", **second)
    verdict = reproduce_verdict.compare_runs(runs[0], {"again": runs[1]})
    assert verdict.promised + verdict.found == classes
    assert said in "\n".join(verdict.promised_why + verdict.found_why)
    assert verdict.kept == (classes in ("AA", "BB", "BA", "CA"))


def test_the_worst_of_several_runs_counts(tmp_path: Path) -> None:
    first, again = made(tmp_path / "first"), made(tmp_path / "again")
    killed = made(tmp_path / "killed", summary=OTHER_BITS)
    verdict = reproduce_verdict.compare_runs(first, {"again": again, "killed": killed})
    assert (verdict.promised, verdict.found) == ("A", "B")
    assert any(reason.startswith("killed: digests differ") for reason in verdict.found_why)
    assert any(reason.startswith("again: equal digests") for reason in verdict.found_why)


def test_runs_inside_a_run_are_compared_too(tmp_path: Path) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    for folder, digest in ((first, "q0"), (again, "q1")):
        made(folder)
        made(folder / "dbn", summary={"digest": digest})
    verdict = reproduce_verdict.compare_runs(
        reproduce_verdict.read(first), {"again": reproduce_verdict.read(again)}
    )
    assert verdict.found_why[0] == "again: digests differ: dbn/parameters"


@pytest.mark.parametrize(
    ("environment", "promised"), [("CPU", "A"), ("TWO_CPUS", "B"), ("STRICT", "B")]
)
def test_what_a_seed_of_several_promises_to_one_alone(
    environment: str, promised: str, tmp_path: Path
) -> None:
    """The bits where the seeds took turns, which they do on one CPU device."""
    manifest = {"environment": globals()[environment]}
    alone = made(tmp_path / "alone", manifest=manifest)
    made(tmp_path / "root", config={"seeds": [0, 3]})
    for seed, error in ((0, 0.01), (3, 0.02)):
        metrics = {"metrics": {"test_reconstruction_error": error}}
        folder = tmp_path / "root" / f"seed{seed}"
        member = made(folder, summary=metrics, manifest=manifest)
    verdict = reproduce_verdict.compare_runs(member, {"now": alone})
    assert verdict.promised == promised
    said = "seeds_in_one_program: [0, 3], now absent" in verdict.promised_why
    assert said == (promised == "B")
    (tmp_path / "root" / "summary.json").write_text('{"digests": {"0": "p0", "3": "p0"}}')
    root = reproduce_verdict.read(tmp_path / "root")
    assert reproduce_verdict.main_metric(root) == pytest.approx(0.015)
    assert root.digests["parameters 3"] == root.digests["seed3/parameters"] == "p0"


def test_every_experiment_has_the_band_that_is_published() -> None:
    page = (ROOT / "docs" / "reproducibility.md").read_text()
    rows = re.findall(r"^\| (\w+) \| `(\w+)` \|.*\| (\d+) % \|$", page, re.MULTILINE)
    published = {name: (metric, int(width) / 100) for name, metric, width in rows}
    bands = {name: experiment.find(name).band for name in experiment.names()}
    assert published == {name: (band.metric, band.width) for name, band in bands.items()}


# ---- what is refused


DAMAGES = [
    *("no folder", "a loop", "no summary", "no JSON", "a list", "no settings"),
    *("cut log", "cut samples"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_run_that_cannot_be_read(damage: str, tmp_path: Path, capsys: Any) -> None:
    run = tmp_path / "run"
    if damage == "a loop":
        run.symlink_to(run)
    elif damage != "no folder":
        made(run)
    if damage == "no summary":
        (run / "summary.json").unlink()
    if damage == "no settings":
        (run / "config.json").unlink()
    if damage in ("no JSON", "a list"):
        (run / "manifest.json").write_text("{" if damage == "no JSON" else "[]")
    if damage == "cut log":
        (run / "metrics.jsonl").write_text('{"step": 9')
    if damage == "cut samples":
        (run / "samples.npz").write_bytes((run / "samples.npz").read_bytes()[:40])
    assert reproduce.main(["--verify", str(run)]) == 6
    assert str(run) in only_line(capsys.readouterr().err)


def test_verify_leaves_the_run_where_it_is(tmp_path: Path, capsys: Any) -> None:
    made(tmp_path / "runs")
    for out in (tmp_path / "runs", tmp_path):
        argv = ["--verify", str(tmp_path / "runs"), "--out", str(out), "--overwrite"]
        assert reproduce.main(argv) == 2
        only_line(capsys.readouterr().err)


def test_a_run_with_settings_of_another_version(tmp_path: Path, capsys: Any) -> None:
    made(tmp_path / "run")
    assert reproduce.main(["--verify", str(tmp_path / "run")]) == 8
    text = only_line(capsys.readouterr().err)
    assert "class C" in text
    assert "no dataset; " in text
    assert "check out commit c0" in text


def test_a_run_that_started_from_another(tmp_path: Path, capsys: Any) -> None:
    run, source = tmp_path / "run", tmp_path / "dbn"
    module = importlib.import_module("experiments.wake_sleep")
    config = to_json(dataclasses.replace(module.Args(), dbn=source))
    made(run, config=config | {"experiment": "wake_sleep"})
    (run / "config.json").write_text(json.dumps(config | {"experiment": "wake_sleep"}))
    assert reproduce.main(["--verify", str(run)]) == 6
    assert f"{source}/summary.json" in only_line(capsys.readouterr().err)
    made(source)
    checkpoint = run / "checkpoints" / "step_00000900" / "manifest.json"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text(json.dumps({"settings": {"model.dbn": "p9"}}))
    assert reproduce.main(["--verify", str(run)]) == 8
    text = only_line(capsys.readouterr().err)
    assert "to have the digest p9, found class C (not comparable): p0" in text


@pytest.mark.parametrize(
    ("name", "preset", "shaped", "other"),
    [
        ("vae", "burda", "first_stage_steps", "epsilon"),
        ("rbm", "pcd16", "decay_steps", "learning_rate"),
        ("dbm", "small", "decay_steps", "learning_rate"),
    ],
)
def test_settings_that_a_schedule_shapes_contradict_nothing(
    name: str, preset: str, shaped: str, other: str, tmp_path: Path
) -> None:
    args = importlib.import_module(f"experiments.{name}").PRESETS[preset]
    made(tmp_path / "run", config=to_json(args) | {"experiment": name})
    checkpoint = tmp_path / "run" / "checkpoints" / "step_00000900" / "manifest.json"
    checkpoint.parent.mkdir(parents=True)
    value = getattr(args.model, other)
    settings = {f"model.{shaped}": "15", f"model.{other}": str(value)}
    checkpoint.write_text(json.dumps({"settings": settings}))
    assert said_twice(tmp_path / "run") == []
    checkpoint.write_text(json.dumps({"settings": settings | {f"model.{other}": "0.125"}}))
    assert said_twice(tmp_path / "run") == [f"model.{other}: 0.125, now {value}"]


def test_command_lines_that_make_no_sense(capsys: Any) -> None:
    for argv in ([], ["rbn"], ["--verify", "runs/x", "--epochs", "3"]):
        assert reproduce.main(argv) == 2
        only_line(capsys.readouterr().err)


def test_a_run_does_not_outlive_an_interruption(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), reproduce_runs.start("rbm", [], tmp_path / "log") as p:
        raise KeyboardInterrupt
    assert p.poll() == -signal.SIGTERM


# ---- real runs


@pytest.fixture(scope="module", autouse=True)
def as_users() -> Iterator[None]:
    """Runs start in processes of their own, where XLA compiles as it does for users."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("XLA_FLAGS")
        if own := AS_USERS["XLA_FLAGS"]:
            patch.setenv("XLA_FLAGS", own)
        yield


@pytest.fixture(scope="module")
def flags(digits_root: Path) -> Iterator[list[str]]:
    """The flags of a small RBM, for processes on the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_PLATFORMS", "cpu")
        patch.setenv("PYTHONPATH", str(ROOT))
        yield ["--dataset", "digits", "--data-dir", str(digits_root), *SMALL]


@pytest.fixture(scope="module")
def reproduced(flags: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an RBM that was run, run again, killed once and resumed.

    The first run and the second compile for themselves, so that their bits are those of two
    compilations; the third takes the programs of the second.
    """
    root = tmp_path_factory.mktemp("reproduced")
    folder, run = root / "runs", reproduce_runs.run

    def run_cached(experiment: str, words: list[str], log: Path, *until: Any) -> bool:
        with pytest.MonkeyPatch.context() as patch:
            if log.stem != "first":
                patch.setenv("JAX_COMPILATION_CACHE_DIR", str(root / "compiled"))
            if log.stem == "again":  # a killed process would write half a file
                patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
            return run(experiment, words, log, *until)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reproduce_runs, "run", run_cached)
        patch.setattr(reproduce_runs, "KILL_AT", (1 / 3,))
        assert reproduce.main(["rbm", *flags, "--epochs", "100", "--out", str(folder)]) == 0
    return folder


def test_an_rbm_repeats_bit_for_bit_through_a_kill(reproduced: Path) -> None:
    found = read(reproduced / "reproduce.json")
    assert (found["promised"], found["found"], found["kept"]) == ("A", "A", True)
    assert list(found["runs"]) == ["first", "again", "killed"]
    assert found["notes"] == []
    (step,) = found["runs"]["killed"]["killed_at"]
    assert 500 <= step < 1500
    assert read(reproduced / "killed" / "summary.json")["first_step"] == step
    digest = read(reproduced / "first" / "summary.json")["digest"]
    for run in found["runs"].values():
        assert run["digests"]["parameters"] == digest
    assert "class A: bitwise" in (reproduced / "reproduce.md").read_text()


def test_an_earlier_comparison_stays(reproduced: Path, capsys: Any) -> None:
    before = contents(reproduced)
    assert reproduce.main(["rbm", "--out", str(reproduced)]) == 6
    assert "--overwrite" in only_line(capsys.readouterr().err)
    assert contents(reproduced) == before


def test_verify_says_what_differs_and_finds_the_digest(
    reproduced: Path, flags: list[str], tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    run = tmp_path / "run"
    # The run's own bits are those of another compilation, of the first of the three.
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(reproduced.parent / "compiled"))
    shutil.copytree(reproduced / "first", run)
    manifest = read(run / "manifest.json")
    now = manifest["environment"]["packages"]["jax"]
    manifest["environment"]["packages"]["jax"] = "0.0.1"
    (run / "manifest.json").write_text(json.dumps(manifest))
    config = read(run / "config.json")  # whoever wrote it says nothing of folders here
    (run / "config.json").write_text(json.dumps(config | {"data_dir": str(tmp_path / "strange")}))
    before = contents(run)
    assert reproduce.main(["--verify", str(run), *flags[2:4]]) == 0
    assert not (tmp_path / "strange").exists()
    said = capsys.readouterr().out
    foreseen, _, found = said.partition("| run |")
    assert "class B (within the band) can be promised:" in foreseen
    assert f"- packages.jax: 0.0.1, now {now}" in foreseen
    assert "class A: bitwise" in found
    assert contents(run) == before


def test_settings_changed_by_hand_are_found_before_anything_is_run(
    reproduced: Path, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    run = tmp_path / "run"
    shutil.copytree(reproduced / "first", run)
    assert said_twice(run) == []
    monkeypatch.setattr(reproduce_runs, "run", lambda *_: pytest.fail("it is run all the same"))
    config = read(run / "config.json")
    for change, said in (
        (
            {"model": config["model"] | {"learning_rate": 0.05}},
            "model.learning_rate: 0.1, now 0.05",
        ),
        (
            {"generation_steps": 7},
            "not those that summary.json has the digest of",
        ),
        ({"batch_size": 50}, "batch_size: 100, now 50"),
        ({"epochs": 99}, "epochs: 100, now 99"),
        ({"seed": 1, "preset": "cd25"}, "preset: lab, now cd25; seeds: (0,), now (1,)"),
    ):
        (run / "config.json").write_text(json.dumps(config | change))
        assert reproduce.main(["--verify", str(run)]) == 8
        text = only_line(capsys.readouterr().err)
        assert f"found class C (not comparable): {said};" in text


@pytest.mark.programs
def test_a_broken_promise_has_its_exit_code(
    finished: Path, digits_root: Path, tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    """Without a second run: what the process would leave is made here."""

    def leave(program: str, words: list[str], log: Path, until: Any) -> None:
        assert program == "reproduction.worker"
        (file,) = words
        settings = read(Path(file))
        assert settings["experiment"] == "rbm"
        assert settings["data_dir"] == str(digits_root)
        shutil.copytree(finished, settings["out"])
        path = Path(settings["out"]) / "summary.json"
        summary = read(path)
        summary["metrics"]["test_reconstruction_error"] *= 1.01
        path.write_text(json.dumps(summary | {"digest": "p1"}))
        until()

    monkeypatch.setattr(reproduce_runs, "run", leave)
    argv = ["--verify", str(finished), "--data-dir", str(digits_root)]
    assert reproduce.main([*argv, "--out", str(tmp_path / "out")]) == 8
    out, err = capsys.readouterr()
    assert "class A (bitwise) can be promised" in out
    assert "expected class A, found class B (within the band)" in only_line(err)
    found = read(tmp_path / "out" / "reproduce.json")
    assert (found["promised"], found["found"], found["kept"]) == ("A", "B", False)
    assert "class B: within the band" in (tmp_path / "out" / "reproduce.md").read_text()


@pytest.mark.slow
def test_verify_finds_another_digest(
    reproduced: Path, flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(reproduced / "first", run)
    shutil.rmtree(run / "checkpoints")  # they would tell beforehand
    forge(run, model=read(run / "config.json")["model"] | {"learning_rate": 0.05})
    argv = ["--verify", str(run), *flags[2:4], "--out", str(tmp_path / "out")]
    assert reproduce.main(argv) == 8
    out, err = capsys.readouterr()
    assert "class A (bitwise) can be promised" in out
    assert "now: digests differ: " in out
    assert "expected class A, found class " in only_line(err)
    found = read(tmp_path / "out" / "reproduce.json")
    assert found["runs"]["then"]["digests"] != found["runs"]["now"]["digests"]


@pytest.mark.programs
def test_a_run_that_fails_passes_on_its_line_and_its_code(
    flags: list[str], tmp_path: Path, capsys: Any
) -> None:
    out = tmp_path / "out"
    argv = ["rbm", *flags, "--batch-size", "100000", "--out", str(out)]
    assert reproduce.main(argv) == 2
    assert "a batch size from 1 to the" in only_line(capsys.readouterr().err.lstrip("\n"))
    assert contents(out) == {}
    assert reproduce.main([*argv, "--no-such-flag"]) == 2  # again without --overwrite
    assert "no-such-flag" in capsys.readouterr().err
