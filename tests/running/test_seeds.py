"""Several seeds in one program, as a user trains them; the seeds 3 and 5 stand for all."""

import dataclasses
import html
import json
import os
import re
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from support.runs import (
    SMALL,
    call,
    contents,
    lines_of,
    only_line,
    read,
    said_twice,
    stopped_after,
    without_times,
)

from experiments import dbn, dcgan, gan, rbm, vae, wake_sleep
from experiments.running import cli, seeds_page
from experiments.running.seeds import report
from experiments.running.session import Session, session_for
from jaxgen import data
from jaxgen.models import dbn as dbn_model
from jaxgen.models.wake_sleep import Config
from jaxgen.training import checkpoint
from jaxgen.training.loop import Result, Schedule, fit

SEEDS = ("--seeds", "3", "5")
EPOCHS = ("--epochs", "4", "--log-every", "5")
LENGTH = 4 * 15
STACK = ("--hidden-sizes", "16", "12", "--num-sampling-steps", "5", "--generation-steps", "3")

Run = Callable[..., int]


@pytest.fixture(scope="module")
def run(digits_root: Path) -> Run:
    """A small run on digits: experiment, folder and further flags -> exit code."""
    where = ("--dataset", "digits", "--data-dir", str(digits_root))

    def start(experiment, folder: Path, *flags: str) -> int:
        return call(*where, *EPOCHS, "--out", str(folder), *flags, experiment=experiment)

    return start


@pytest.fixture(scope="module")
def two_rbms(digits_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two RBMs, where a run lies by itself; tests leave it as it is."""
    where = ("--dataset", "digits", "--data-dir", str(digits_root))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("pair"))
        assert call(*where, *EPOCHS, *SMALL, *SEEDS) == 0
        return Path("runs/rbm-digits-seeds3-5").absolute()


@pytest.fixture(scope="module")
def alone(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the RBM of seed 3 alone; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert run(rbm, folder, *SMALL, "--seeds", "3") == 0
    return folder


@pytest.fixture(scope="module")
def tuned(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two DBNs and their fine-tuning; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("tuned") / "run"
    assert run(wake_sleep, folder, *STACK, *SEEDS, "--dbn-epochs", "4") == 0
    return folder


def files_in(folder: Path) -> set[str]:
    """The files of a folder besides checkpoints and hidden ones."""
    names = {path.relative_to(folder).as_posix() for path in map(Path, contents(folder))}
    return {name for name in names if "checkpoints/" not in name}


def members(folder: Path) -> list[Path]:
    return [folder / "seed3", folder / "seed5"]


# ---- what each seed has


def test_a_seed_among_several_has_all_that_a_seed_alone_has(two_rbms: Path, alone: Path) -> None:
    for seed, member in zip((3, 5), members(two_rbms), strict=True):
        assert files_in(member) == files_in(alone)
        config = read(member / "config.json")
        assert (config["seed"], config["seeds"]) == (seed, [])
        assert Path(config["out"]).name == member.name
        assert read(member / "manifest.json")["seed"] == seed
        summary = read(member / "summary.json")
        assert summary["seed"] == seed
        assert summary.keys() == read(alone / "summary.json").keys()
        assert summary["digest"] == checkpoint.digest(load_file(member / "params.safetensors"))
        assert summary["digest"] in (member / "report.html").read_text()


def test_a_single_seed_is_a_run_of_that_seed(alone: Path) -> None:
    assert read(alone / "config.json")["seed"] == 3
    assert read(alone / "summary.json")["seed"] == 3
    assert not list(alone.glob("seed*"))


def test_the_log_of_a_seed_is_its_part_of_the_log(two_rbms: Path, alone: Path) -> None:
    lines = lines_of(two_rbms)
    assert [line["step"] for line in lines] == list(range(5, LENGTH + 1, 5))
    for index, member in enumerate(members(two_rbms)):
        for line, own in zip(lines, lines_of(member), strict=True):
            times = {name: line[name] for name in ("step", "epoch", "train_s")}
            measured = {name: x[index] for name, x in line.items() if name not in times}
            assert own == times | measured
    assert [line.keys() for line in lines_of(members(two_rbms)[0])] == [
        line.keys() for line in lines_of(alone)
    ]


def test_a_seed_has_the_bits_of_its_own_run(two_rbms: Path, alone: Path) -> None:
    """On one CPU device, where the seeds of a program take turns."""
    mine, other = members(two_rbms)
    assert read(mine / "summary.json")["digest"] == read(alone / "summary.json")["digest"]
    assert read(other / "summary.json")["digest"] != read(alone / "summary.json")["digest"]
    assert without_times(lines_of(mine)) == without_times(lines_of(alone))


# ---- what they say together


def assert_summed_up(folder: Path, parts: list[Path]) -> None:
    """The summary of several seeds says what those of the seeds say."""
    summary, found = read(folder / "summary.json"), [read(path / "summary.json") for path in parts]
    assert [said_twice(each) for each in (folder, *parts)] == [[]] * (1 + len(parts))
    assert summary["seeds"] == [each["seed"] for each in found]
    assert summary["digests"] == {str(each["seed"]): each["digest"] for each in found}
    assert len({*summary["digests"].values()}) == len(parts)
    assert summary["metrics"].keys() == found[0]["metrics"].keys()
    for name, measured in summary["metrics"].items():
        values = [each["metrics"][name] for each in found]
        assert measured["values"] == values
        assert measured["mean"] == pytest.approx(statistics.mean(values))
        assert measured["std"] == pytest.approx(statistics.stdev(values))
    page = (folder / "report.html").read_text()
    for path in parts:
        assert f'href="{os.path.relpath(path, folder)}/report.html"' in page
        assert read(path / "summary.json")["digest"] in page


def test_the_summary_has_mean_deviation_and_every_digest(two_rbms: Path) -> None:
    assert_summed_up(two_rbms, members(two_rbms))
    summary = read(two_rbms / "summary.json")
    expected = {"experiment": "rbm", "dataset": "digits", "preset": "lab", "epochs": 4}
    assert expected.items() <= summary.items()
    assert summary["steps"] == LENGTH
    assert summary["compile_s"] > 0
    assert summary["train_s"] > 0
    page = (two_rbms / "report.html").read_text()
    assert page.count("data:image/png") == len(contents(two_rbms / "figures")) == 5
    assert f"Model: rbm, preset lab, {' '.join(SMALL[:2])}" in html.unescape(page)
    assert "In all epochs and seeds: Never on is 0." in page
    assert f"{summary['metrics']['free_energy_gap']['mean']:.4g}" in page
    names = [x for x in rbm.EXPERIMENT.headlines if x in summary["metrics"]]
    top = [name.replace("_", " ") for name in names]
    assert len(top) == 3
    assert re.findall(r"<dt>(.*?)</dt>", page) == top  # those of the last lines of the run


def test_samples_of_the_first_seeds_are_side_by_side(
    two_rbms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = SimpleNamespace(folder=tmp_path, seed_folders=members(two_rbms), seeds=(3, 5))
    shown = seeds_page.samples(session)  # type: ignore[arg-type]
    assert "seed 3 (20); seed 5 (20)" in shown.figures[0].alt
    assert shown.figures[0].path.is_file()
    assert not shown.answer
    monkeypatch.setattr(seeds_page, "MAX_ROWS", 1)
    shown = seeds_page.samples(session)  # type: ignore[arg-type]
    assert "seed 5" not in shown.figures[0].alt
    assert shown.answer == ["1 more seed has its own on its page."]


def test_a_measure_that_never_changes_is_a_sentence(two_rbms: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(two_rbms, folder)
    for member in members(folder):
        lines = [line | {"never_on": 0.25} for line in lines_of(member)]
        (member / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    session = SimpleNamespace(folder=folder, seed_folders=members(folder), seeds=(3, 5))
    metrics = read(folder / "summary.json")["metrics"]
    shown = seeds_page.curves(session, metrics, LENGTH)  # type: ignore[arg-type]
    (answer,) = shown.answer
    assert answer.startswith("In all epochs and seeds: ")
    assert "Never on is 0.25" in answer
    titles = [figure.title for figure in shown.figures]
    assert "Never on" not in titles
    assert "Test reconstruction error" in titles


# ---- stopped and resumed


@pytest.mark.programs
def test_stopped_and_resumed_to_the_same_bits(run: Run, two_rbms: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    flags = (*SMALL, *SEEDS, "--resume", "--checkpoint-seconds", "1000")

    with stopped_after(LENGTH // 2):
        assert run(rbm, folder, *flags) == 143
    assert not (folder / "summary.json").exists()
    assert run(rbm, folder, *flags) == 0
    found, expected = read(folder / "summary.json"), read(two_rbms / "summary.json")
    assert 0 < found["first_step"] < LENGTH
    assert found["digests"] == expected["digests"]
    assert found["metrics"] == expected["metrics"]
    for part in (".", "seed3", "seed5"):
        lines = without_times(lines_of(folder / part))
        assert lines == without_times(lines_of(two_rbms / part))


def test_resume_leaves_the_pages_of_finished_seeds(
    run: Run, two_rbms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(two_rbms, folder)
    before = [contents(member) for member in members(folder)]
    capsys.readouterr()
    assert run(rbm, folder, *SMALL, *SEEDS, "--resume") == 0
    said = capsys.readouterr().out
    for member, files in zip(members(folder), before, strict=True):
        assert f"in {member}: finished, left as it is; remove its summary.json" in said
        others = {str(member / name) for name in ("config.json", "manifest.json")}
        after = contents(member)
        assert {name for name in files if files[name] != after[name]} <= others
    assert_summed_up(folder, members(folder))


class Params(NamedTuple):
    """A state as far as its parameters."""

    params: dict[str, np.ndarray]


def test_which_seeds_are_drawn_again(
    two_rbms: Path, digits_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, drawn = tmp_path / "run", []
    shutil.copytree(two_rbms, folder)
    where = ["--dataset", "digits", "--data-dir", str(digits_root)]
    args = cli.parse(rbm.PRESETS, {}, [*where, *EPOCHS, *SMALL, *SEEDS])
    session = session_for("rbm", args, data.load("digits", digits_root), folder)
    params = [load_file(member / "params.safetensors") for member in members(folder)]
    state = Params({name: np.stack([each[name] for each in params]) for name in params[0]})
    monkeypatch.setattr(seeds_page, "write", lambda *_: folder / "report.html")

    def report_one(alone: rbm.Args, member: Session, _: Result) -> Path:
        assert not (member.folder / "summary.json").exists()  # or half a report would count
        drawn.append(alone.seed)
        shutil.copy(two_rbms / f"seed{alone.seed}" / "summary.json", member.folder)
        return member.folder / "report.html"

    def again(state: Params = state, **changes: Any) -> list[int]:
        drawn.clear()
        result = Result(state, LENGTH, LENGTH, True, 0.0, 0.0)
        experiment = dataclasses.replace(rbm.EXPERIMENT, report=report_one)
        report(experiment, dataclasses.replace(args, **changes), session, result)
        return [*drawn]

    assert again(resume=True, checkpoint_seconds=1.0) == []
    (folder / "seed5" / "summary.json").unlink()
    assert again() == [5]
    assert again(generation_steps=6) == [3, 5]
    assert again(generation_steps=6) == []
    assert again(generation_steps=6, study=True) == again(study=True) == [3, 5]
    assert again() == [3, 5]
    manifest = read(folder / "seed3" / "manifest.json")
    (folder / "seed3" / "manifest.json").write_text(json.dumps(manifest | {"git_commit": "c0"}))
    assert again() == [3]
    state.params["b_hidden"][1, 0] += 1.0
    assert again() == [5]


def test_resume_with_other_seeds(
    run: Run, two_rbms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(two_rbms, folder)
    before = contents(folder)
    capsys.readouterr()
    assert run(rbm, folder, *SMALL, "--resume", "--seeds", "3", "4") == 4
    line = only_line(capsys.readouterr().err)
    assert line.startswith("error: expected --seeds 3 5, as in the run in")
    assert "found --seeds 3 4;" in line
    assert contents(folder) == before


# ---- models that start from what was trained


def test_each_seed_has_a_dbn_and_fine_tunes_it(tuned: Path) -> None:
    stacks = [member / "dbn" for member in members(tuned)]
    assert_summed_up(tuned, members(tuned))
    assert_summed_up(tuned / "dbn", stacks)
    before = [load_file(stack / "params.safetensors")["0.w"] for stack in stacks]
    for index, member in enumerate(members(tuned)):
        assert read(stacks[index] / "config.json")["experiment"] == "dbn"
        assert lines_of(stacks[index] / "layer2")[-1]["step"] == LENGTH
        after = load_file(member / "params.safetensors")["generative.0.w"]
        moved, apart = (np.abs(after - before[i]).max() for i in (index, 1 - index))
        assert 0 < moved < apart / 2


def test_a_layer_stands_on_the_layers_of_its_own_seed(tuned: Path, digits_root: Path) -> None:
    """Seed 5's second layer is the one that it gets alone on its first, not on seed 3's."""
    images = data.load("digits", digits_root).train.images
    config = dbn_model.Config(hidden_sizes=(16, 12))
    stacks = [load_file(member / "dbn" / "params.safetensors") for member in members(tuned)]
    distances = []
    for params in stacks:
        first = {name: params[f"0.{name}"] for name in ("w", "b_visible", "b_hidden")}
        learner = dbn_model.learner(config, images.shape[1:], (first,))
        layers = fit(learner, images, Schedule(4, 100), seeds=(5,)).state.params
        distances.append(np.abs(layers[1]["w"] - stacks[1]["1.w"]).max())
    assert distances[1] < distances[0] / 10


def test_several_seeds_fine_tune_a_dbn_that_is_given(
    tuned: Path, digits_root: Path, tmp_path: Path
) -> None:
    dbn = tuned / "seed5" / "dbn"
    config = Config(hidden_sizes=(16, 12))
    args = wake_sleep.Args(dbn=dbn, epochs=4, log_every=5, seeds=(3, 5), model=config)
    dataset = data.load("digits", digits_root)
    args.check(dataset, tmp_path)
    session = session_for("wake_sleep", args, dataset, tmp_path)
    result = wake_sleep.train(args, session)
    before = load_file(dbn / "params.safetensors")["0.w"]
    three, five = np.asarray(result.state.params.generative[0]["w"])
    assert 0 < np.abs(three - before).max() < 0.5
    assert 0 < np.abs(five - before).max() < 0.5
    assert not np.array_equal(three, five)


@pytest.mark.parametrize("visible", ["binary", "gaussian"])
def test_a_study_of_the_fine_tuning_is_none_of_its_dbn(
    visible: Any, digits_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ReachedError(Exception):
        """Ends the command where the DBN's training begins."""

    def train(args: dbn.Args, session: Session) -> Result:
        assert not args.study
        raise ReachedError

    monkeypatch.setattr(dbn, "train", train)
    args = wake_sleep.Args(study=True, model=Config(hidden_sizes=(16, 12), visible=visible))
    session = session_for("wake_sleep", args, data.load("digits", digits_root), tmp_path)
    with pytest.raises(ReachedError):
        wake_sleep.train(args, session)


def test_a_run_of_several_seeds_is_no_dbn_to_fine_tune(
    run: Run, tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(wake_sleep, tmp_path / "run", *STACK, "--dbn", str(tuned / "dbn")) == 4
    said = only_line(capsys.readouterr().err)
    assert "expected a finished run of experiments.dbn, of one seed" in said
    assert "of several seeds; set --dbn to its folder" in said


# ---- the other experiments

TINY = {
    vae: ("--hidden-sizes", "12", "--latent-size", "2", "--bound-samples", "20"),
    gan: ("--generator-sizes", "8", "--discriminator-sizes", "8", "--latent-size", "3"),
    dcgan: ("--preset", "lab", "--width", "0.0625", "--epochs", "1"),
}


@pytest.mark.programs
@pytest.mark.parametrize(
    "experiment", [vae, gan, pytest.param(dcgan, marks=pytest.mark.slow)], ids=lambda m: m.__name__
)
def test_two_seeds(run: Run, tmp_path: Path, experiment: Any) -> None:
    flags = (*TINY[experiment], *SEEDS, "--batch-size", "100", "--tensorboard")
    assert run(experiment, tmp_path / "run", *flags) == 0
    first, second = members(tmp_path / "run")
    assert_summed_up(tmp_path / "run", [first, second])
    assert files_in(first) == files_in(second)
    assert list(tmp_path.glob("run/tensorboard/events.*"))
    sheets = [[*(member / "progress").glob("*.png")] for member in (first, second)]
    assert len(sheets[0]) == (0 if experiment is vae else len(lines_of(first)) // 3 + 1)
    for sheet in sheets[0]:
        twin = second / "progress" / sheet.name
        assert not np.array_equal(np.asarray(Image.open(sheet)), np.asarray(Image.open(twin)))


@pytest.mark.slow
def test_the_study_is_run_for_each_seed(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run(dbn, folder, *STACK, *SEEDS, "--study") == 0
    assert_summed_up(folder, members(folder))
    rows = [{row["name"]: row for row in read(member / "study.json")} for member in members(folder)]
    for name in rows[0]:
        key = "test_reconstruction_error"
        assert rows[0][name][key] != rows[1][name][key]


# ---- what is refused


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--seeds", "3", "5", "3"), "--seeds with each seed once, found 3 5 3"),
        (("--seeds", "3", "4294967296"), "--seeds from 0 to 4294967295, found 4294967296"),
    ],
)
def test_impossible_seeds(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], words: str
) -> None:
    assert run(rbm, tmp_path / "run", *flags) == 2
    assert words in only_line(capsys.readouterr().err)
    assert not (tmp_path / "run").exists()
