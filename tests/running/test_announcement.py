"""The first and the last lines of a run."""

import dataclasses
import json
import shlex
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from support.terminal import Terminal

from experiments import dbm, dbn, dcgan, rbm, vae
from experiments.running import announcement, artifacts, cli, experiment
from experiments.running.args import RunArgs, quicken
from experiments.running.session import Session, session_for
from jaxgen.data import Dataset, Split
from jaxgen.files import write_json
from jaxgen.models import rbm as rbm_model
from jaxgen.models import vae as vae_model
from jaxgen.report.page import counted
from jaxgen.runs import manifest as run_manifest


def session(folder: Path, seeds: tuple[int, ...] = (0,)) -> Session:
    """A run on 160 colour images."""
    split = Split(np.zeros((160, 4, 5, 3), np.uint8), np.zeros(160, np.int32))
    return session_for("rbm", rbm.Args(seeds=seeds), Dataset("own", split, split, "0"), folder)


def test_a_run_tells_what_it_will_do(tmp_path: Path) -> None:
    args = rbm.Args(epochs=7, batch_size=9, model=rbm_model.Config(num_hidden=25))
    kind = jax.devices()[0].device_kind
    device = f"cpu, {counted(run_manifest.num_cores(), 'core')}" if kind == "cpu" else kind
    assert announcement.plan(rbm.EXPERIMENT, args, session(tmp_path, (3, 4))).splitlines() == [
        "model     rbm, preset lab, --num-hidden 25",
        "data      own, 160 colour images of 4x5",
        "training  7 epochs, batch 9, seeds 3, 4",
        f"device    {device}",
        f"folder    {tmp_path}",
    ]
    quick = quicken(rbm.Args(quick=True), rbm.EXPERIMENT.quick)
    plan = announcement.plan(rbm.EXPERIMENT, quick, session(tmp_path))
    assert plan.startswith(
        "model     rbm, preset lab, quick: settings of its own, no verdict on the model\n"
    )
    quick = dataclasses.replace(quick, model=dataclasses.replace(quick.model, num_gibbs_steps=7))
    plan = announcement.plan(rbm.EXPERIMENT, quick, session(tmp_path))
    assert plan.startswith("model     rbm, preset lab, --num-gibbs-steps 7, quick: settings of")


def test_a_conditional_run_has_the_flag_that_was_typed(tmp_path: Path) -> None:
    """The number of classes is the data's."""
    here = session(tmp_path)
    typed = vae.Args(conditional=True, model=vae_model.Config(num_classes=3, latent_size=5))
    plan = announcement.plan(vae.EXPERIMENT, typed, here)
    assert plan.splitlines()[0] == "model     vae, preset lab, --conditional --latent-size 5"
    preset = dbn.EXPERIMENT.presets["labelled"]
    preset = dataclasses.replace(preset, model=dataclasses.replace(preset.model, num_classes=10))
    plan = announcement.plan(dbn.EXPERIMENT, preset, here)
    assert plan.splitlines()[0] == "model     dbn, preset labelled"
    without = dataclasses.replace(dbn.EXPERIMENT.presets["labelled"], conditional=False)
    plan = announcement.plan(dbn.EXPERIMENT, without, here)
    assert plan.splitlines()[0] == "model     dbn, preset labelled, --no-conditional"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (rbm.Args(epochs=1), "1 epoch"),
        (rbm.Args(epochs=2000), "2,000 epochs"),
        (dbn.Args(epochs=1), "1 epoch for each layer"),
        (dbm.Args(epochs=3, pretraining_epochs=1), "1 epoch for each of two RBMs"),
    ],
)
def test_epochs_are_counted_in_words(args: RunArgs, words: str) -> None:
    assert args.epochs_in_words.split(", then")[0] == words


def test_epochs_of_pretraining_are_apart(tmp_path: Path) -> None:
    """In the plan of a run and on its page."""
    args = dbm.Args(epochs=7, pretraining_epochs=5)
    words = "5 epochs for each of two RBMs, then 7 of the machine, batch 100, "
    assert f"training  {words}seed 0" in announcement.plan(dbm.EXPERIMENT, args, session(tmp_path))
    (told,) = artifacts.lead(args, session(tmp_path, (3, 4)), 34)
    assert told.endswith(f": {words}34 updates, seeds 3, 4 in one program.")


def test_a_long_folder_is_shortened_on_a_terminal_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("deep/" * 70) / "rbm-mnist-seed0"
    *_, piped = announcement.plan(rbm.EXPERIMENT, rbm.Args(), session(folder)).splitlines()
    assert piped == f"folder    {folder}"
    Terminal(monkeypatch)
    *_, line = announcement.plan(rbm.EXPERIMENT, rbm.Args(), session(folder)).splitlines()
    assert len(line) == 79
    begin, end = line.removeprefix("folder    ").split("...")
    assert str(folder).startswith(begin)
    assert str(folder).endswith(end)
    assert "rbm-mnist-seed0" in end


def test_a_run_ends_with_numbers_the_next_command_and_its_page(tmp_path: Path) -> None:
    folder = tmp_path / "a run"
    folder.mkdir()
    metrics = {"never_on": 0.0, "free_energy_gap": -2.5, "test_reconstruction_error": 0.01464}
    (folder / "summary.json").write_text(json.dumps({"experiment": "rbm", "metrics": metrics}))
    args, page = rbm.Args(dataset="kmnist"), folder / "report.html"
    times = {"training": 65.4, "drawing": 7.0}
    found = announcement.outcome(rbm.EXPERIMENT, args, session(folder), page, times)
    assert found.splitlines() == [
        "test_reconstruction_error  0.01464",
        "free_energy_gap            -2.5",
        "time: training 1:05, drawing 7 s",
        "next: python -m experiments.dbn --dataset kmnist",
        f"open: file://{tmp_path}/a%20run/report.html",
        f"report: {page}",
    ]


def test_a_run_whose_samples_are_alike_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several seeds, where those of one are."""
    program = run_manifest.program()
    flags = ["--dataset", "a b", "--epochs", "3", "--overwrite", "--epochs=3"]
    monkeypatch.setattr(sys, "argv", [sys.argv[0], *flags])
    found = {"experiment": "dcgan", "metrics": {}}
    write_json(tmp_path / "summary.json", found | {"alike": True})
    args, page = dcgan.Args(epochs=20), tmp_path / "report.html"
    lines = announcement.outcome(dcgan.EXPERIMENT, args, session(tmp_path), page, {}).splitlines()
    assert announcement.ALIKE in lines
    assert f"next: {program} --dataset 'a b' --epochs 200 --resume" in lines
    fewer = dcgan.Args(epochs=3)  # than the preset has
    assert announcement.longer(dcgan.EXPERIMENT, fewer) == f"{program} --dataset 'a b' --resume"
    quick = cli.parse(dcgan.PRESETS, dcgan.QUICK, ["--quick"])
    assert "--epochs 600" in announcement.longer(dcgan.EXPERIMENT, quick)
    divided = rbm.Args(epochs=300, schedule="falling")  # among the epochs, so it begins again
    found_again = announcement.longer(rbm.EXPERIMENT, divided)
    assert found_again == f"{program} --dataset 'a b' --epochs 3000 --overwrite"
    write_json(tmp_path / "summary.json", found | {"seeds": [0, 1]})
    for seed in (0, 1):
        (tmp_path / f"seed{seed}").mkdir()
    both = session(tmp_path, (0, 1))
    assert announcement.ALIKE not in announcement.outcome(dcgan.EXPERIMENT, args, both, page, {})
    write_json(tmp_path / "seed1" / "summary.json", found | {"alike": True})
    assert announcement.ALIKE in announcement.outcome(dcgan.EXPERIMENT, args, both, page, {})


def test_the_next_command(tmp_path: Path) -> None:
    one, two = session(tmp_path), session(tmp_path, (0, 1))

    def found(module: object, args: object, where: Session = one) -> str:
        return announcement.next_command(module.EXPERIMENT, args, where)  # type: ignore[attr-defined, arg-type]

    assert found(rbm, rbm.Args(manual_dir=Path("a b"))) == (
        "python -m experiments.dbn --manual-dir 'a b'"
    )
    assert found(rbm, rbm.Args(dataset="-x")) == "python -m experiments.dbn --dataset=-x"
    assert found(dbn, dbn.Args()) == f"python -m experiments.wake_sleep --dbn {tmp_path}"
    assert found(dbn, dbn.Args(), two) == f"python -m experiments.compare {tmp_path}"
    assert found(dcgan, dcgan.Args()) == f"python -m experiments.compare {tmp_path}"


@pytest.mark.parametrize(
    ("typed", "following"),
    [
        ("--quick", ""),
        ("--conditional --quick --seeds 0 1", "--conditional --seeds 0 1"),
        ("--quick --precision bfloat16", "--precision bfloat16"),
        ("--epochs 3 --out=runs/q --overwrite --quick --preset wide", "--preset wide"),
        ("--quick --dataset 'a b' --num-hidden=9", "--dataset 'a b' --num-hidden=9"),
        ("--quick --dataset=pets --out there", "--dataset=pets"),
    ],
)
def test_after_a_quick_run_the_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, following: str
) -> None:
    monkeypatch.setattr(run_manifest, "program", lambda: "python -m experiments.rbm")
    monkeypatch.setattr(sys, "argv", ["rbm", *shlex.split(typed)])
    args = rbm.Args(quick=True, out=Path("there") if "--out" in typed else None)
    found = announcement.next_command(rbm.EXPERIMENT, args, session(tmp_path))
    assert found == f"python -m experiments.rbm {following}".strip()


@pytest.mark.parametrize("name", experiment.names())
def test_headlines_and_examples_are_of_the_experiment(name: str) -> None:
    declared = experiment.find(name)
    some = {"test_error", "test_log_likelihood"}  # of classes, and of few hidden units
    always = {*declared.headlines} - some
    assert len(always) in (0, 3)
    first, *others = declared.examples
    assert first == f"python -m experiments.{name}"
    assert all(other.startswith(f"{first} --") for other in others)
    assert len(others) >= 1
