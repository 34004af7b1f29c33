"""`experiments.dbn` and `experiments.wake_sleep` as a user runs them."""

import dataclasses
import itertools
import json
import re
import shutil
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.runs import assert_reads_back, call, contents, lines_of, only_line, read, said_twice

from experiments import dbn, wake_sleep
from experiments.lab.dbn import backprop as dbn_backprop
from experiments.lab.dbn import study as dbn_study
from experiments.lab.dbn.classification_error import ErrorOverEpochs
from experiments.running import cli
from experiments.running.args import RunArgs
from jaxgen import data
from jaxgen.evaluation.adapters import evaluated_model
from jaxgen.runs import metrics_log
from jaxgen.runs.settings import NEW_TO_DBNS
from jaxgen.runs.summary import train_seconds
from jaxgen.training import checkpoint

SMALL = ("--hidden-sizes", "16", "12", "--num-sampling-steps", "5", "--generation-steps", "3")
EPOCHS = ("--epochs", "6", "--log-every", "5")
LENGTH = 6 * 15

Run = Callable[..., int]


@pytest.fixture(scope="module")
def run(digits_root: Path) -> Run:
    """A small run on digits: experiment, folder and further flags -> exit code."""
    where = ("--dataset", "digits", "--data-dir", str(digits_root))

    def start(experiment, folder: Path, *flags: str) -> int:
        return call(*where, *SMALL, *EPOCHS, "--out", str(folder), *flags, experiment=experiment)

    return start


@pytest.fixture(scope="module")
def stack(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished DBN; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("stack") / "run"
    assert run(dbn, folder) == 0
    return folder


@pytest.fixture(scope="module")
def tuned(run: Run, stack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that DBN's fine-tuning; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("tuned") / "run"
    assert run(wake_sleep, folder, "--dbn", str(stack)) == 0
    return folder


# ---- what a run leaves


def test_dbn_leaves_what_every_run_leaves_and_a_folder_per_layer(stack: Path) -> None:
    assert {path.name for path in stack.iterdir() if path.name[0] != "."} == {
        "config.json",
        "figures",
        "layer1",
        "layer2",
        "manifest.json",
        "params.safetensors",
        "report.html",
        "samples.npz",
        "summary.json",
    }
    for layer in ("layer1", "layer2"):
        assert [line["step"] for line in lines_of(stack / layer)] == list(range(5, LENGTH + 1, 5))
        assert list((stack / layer / "checkpoints").glob(f"step_{LENGTH:08d}"))
    summary, params = read(stack / "summary.json"), load_file(stack / "params.safetensors")
    assert summary["steps"] == 2 * LENGTH
    assert summary["digest"] == checkpoint.digest(params)
    assert {name: array.shape for name, array in params.items()} == {
        "0.w": (784, 16),
        "0.b_visible": (784,),
        "0.b_hidden": (16,),
        "1.w": (16, 12),
        "1.b_visible": (16,),
        "1.b_hidden": (12,),
    }


@pytest.mark.programs
@pytest.mark.parametrize(
    ("fixture", "questions", "num_figures"),
    [("stack", ("2.1", "2.2", "2.3"), 8), ("tuned", ("3.1", "3.2", "3.3"), 10)],
)
def test_report_answers_its_questions(
    fixture: str, questions: tuple[str, ...], num_figures: int, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(fixture)
    page = (folder / "report.html").read_text()
    for question in questions:
        assert re.search(rf"<h2[^>]*>(<span[^>]*>)?[^<]*{re.escape(question)}", page), question
    assert page.count("data:image/png") == len(contents(folder / "figures")) == num_figures
    assert read(folder / "summary.json")["digest"] in page
    assert said_twice(folder) == []
    with np.load(folder / "samples.npz") as file:
        assert file["images"].shape == (100, 28, 28, 1)


def test_fine_tuning_moves_both_directions_apart(stack: Path, tuned: Path) -> None:
    before = load_file(stack / "params.safetensors")
    after = load_file(tuned / "params.safetensors")
    assert read(tuned / "summary.json")["digest"] == checkpoint.digest(after)
    assert set(after) == {
        "recognition.0.w",
        "recognition.0.b_hidden",
        "generative.0.w",
        "generative.0.b_visible",
        "top.w",
        "top.b_visible",
        "top.b_hidden",
    }
    distances = [
        np.abs(after[a] - b).max()
        for a, b in (
            ("recognition.0.w", before["0.w"]),
            ("generative.0.w", before["0.w"]),
            ("recognition.0.w", after["generative.0.w"]),
            ("top.w", before["1.w"]),
        )
    ]
    assert min(distances) > 1e-3
    assert max(distances) < 0.5
    errors = [line["wake_error"] for line in lines_of(tuned)]
    assert errors[-1] < errors[0]


# ---- stopped, resumed, chained


def stop_in(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Sends SIGTERM to this process half-way through the training that logs to a folder."""
    write = metrics_log.Log.write

    def write_and_stop(self, progress, values) -> None:
        write(self, progress, values)
        if self._path.parent == folder and progress.step > LENGTH // 2:
            signal.raise_signal(signal.SIGTERM)

    patch.setattr(metrics_log.Log, "write", write_and_stop)


@pytest.mark.programs
def test_stopped_in_every_stage_and_resumed(
    run: Run, stack: Path, tuned: Path, tmp_path: Path
) -> None:
    """Without --dbn a DBN is trained first; a run stopped in each of the three equals the two."""
    folder, reached = tmp_path / "run", []
    flags = ("--dbn-epochs", "6", "--resume", "--checkpoint-seconds", "1000")
    for stage in ("dbn/layer1", "dbn/layer2", "."):
        with pytest.MonkeyPatch.context() as patch:
            stop_in(patch, folder / stage)
            assert run(wake_sleep, folder, *flags) == 143
        reached.append(lines_of(folder / stage)[-1]["step"])
        assert not (folder / "summary.json").exists()
    assert all(0 < step < LENGTH for step in reached), reached
    assert run(wake_sleep, folder, *flags) == 0
    for part, whole in ((folder / "dbn", stack), (folder, tuned)):
        found, expected = read(part / "summary.json"), read(whole / "summary.json")
        assert found["digest"] == expected["digest"]
        assert found["metrics"] == expected["metrics"]
    assert read(folder / "summary.json")["first_step"] == reached[-1]
    assert read(folder / "dbn" / "config.json")["experiment"] == "dbn"
    assert read(folder / "config.json")["experiment"] == "wake_sleep"


def test_finished_runs_are_found_finished(run: Run, stack: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(stack, folder)
    before = contents(folder / "layer1" / "checkpoints")
    assert run(dbn, folder, "--resume") == 0
    summary = read(folder / "summary.json")
    assert summary["first_step"] == summary["steps"] == 2 * LENGTH
    assert summary["digest"] == read(stack / "summary.json")["digest"]
    assert contents(folder / "layer1" / "checkpoints") == before


# ---- what is refused


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--num-gibbs-steps", "1", "3"), "found --num-gibbs-steps 1 3;"),
        (("--epochs", "7"), "expected --epochs 6, as in the run"),
        (("--hidden-sizes", "16", "13"), "expected --hidden-sizes 16 12, as in the run"),
    ],
)
def test_resume_with_settings_of_another_layer(
    run: Run,
    stack: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    words: str,
) -> None:
    """They are refused before the first layer, which they do not concern, is taken up."""
    folder = tmp_path / "copy"
    shutil.copytree(stack, folder)
    before = contents(folder)
    capsys.readouterr()
    assert run(dbn, folder, "--resume", *flags) == 4
    assert words in only_line(capsys.readouterr().err)
    assert contents(folder) == before


def of_other_data(folder: Path, dataset: str = "mnist") -> None:
    path = folder / "summary.json"
    summary = read(path) | {"dataset": dataset, "data_digest": "0123"}
    path.write_text(json.dumps(summary))


def of_other_classes(folder: Path) -> None:
    path = folder / "summary.json"
    path.write_text(json.dumps(read(path) | {"class_names": [*"012345678x"]}))


def damaged(folder: Path) -> None:
    path = folder / "params.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "flags", "code", "words"),
    [
        (shutil.rmtree, (), 4, "a finished run of experiments.dbn"),
        (lambda folder: (folder / "summary.json").write_text('{"experiment": "dbn"}'), (), 4, ""),
        (lambda folder: (folder / "summary.json").unlink(), (), 4, "a finished run"),
        (of_other_data, (), 2, "--dataset mnist"),
        (partial(of_other_data, dataset="digits"), (), 2, "on digits, sha256 0123, in"),
        (of_other_classes, (), 2, "with the class '9', found one with 'x' in its place"),
        (damaged, (), 4, "another params.safetensors"),
        (lambda _: None, ("--hidden-sizes", "12", "16"), 2, "--hidden-sizes 16 12"),
        (lambda _: None, ("--hidden-sizes", "16"), 2, "of 2 or more numbers"),
    ],
)
def test_dbn_that_cannot_be_fine_tuned(
    run: Run,
    stack: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Any,
    flags: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    folder = tmp_path / "dbn"
    shutil.copytree(stack, folder)
    change(folder)
    capsys.readouterr()
    assert run(wake_sleep, tmp_path / "run", "--dbn", str(folder), *flags) == code
    assert words in only_line(capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("given", ["dbn", "."])
def test_overwrite_does_not_remove_the_dbn_that_is_to_be_fine_tuned(
    given: str, run: Run, stack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(stack, folder)
    shutil.copytree(stack, folder / "dbn")
    before = contents(folder)
    capsys.readouterr()
    assert run(wake_sleep, folder, "--dbn", str(folder / given), "--overwrite") == 2
    assert "--out to another folder" in only_line(capsys.readouterr().err)
    assert contents(folder) == before


def test_resume_asks_for_the_same_dbn(
    run: Run, stack: Path, tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(tuned, folder)
    before = contents(folder)
    capsys.readouterr()
    assert run(wake_sleep, folder, "--resume") == 2
    assert f"set --dbn {stack}" in only_line(capsys.readouterr().err)
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("experiment", "flags", "words"),
    [
        (dbn, ("--batch-size", "1501"), "found 1501"),
        (dbn, ("--transposed-start",), "784 units in layer 2"),
        (dbn, ("--generation-steps", "0"), "--generation-steps"),
        (wake_sleep, ("--batch-size", "1501"), "found 1501"),
    ],
)
def test_what_cannot_work_leaves_no_folder(
    run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    experiment: Any,
    flags: tuple[str, ...],
    words: str,
) -> None:
    assert run(experiment, tmp_path / "run", *flags) == 2
    assert words in only_line(capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


# ---- the comparisons


@pytest.mark.slow
def test_studies(run: Run, stack: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dbn"
    shutil.copytree(stack, folder)
    assert run(dbn, folder, "--resume", "--study") == 0
    rows = {row["name"]: row for row in read(folder / "study.json")}
    start, trained = (rows[f"{dbn_study.TRANSPOSED}{end}"] for end in (", start", ""))
    assert start["distance_to_transposed"] == 0.0
    assert trained["distance_to_transposed"] > 0.0
    assert start["top_to_image"] < rows[f"{dbn_study.RANDOM}, start"]["top_to_image"] / 2
    assert run(wake_sleep, tmp_path / "ws", "--dbn", str(stack), "--study") == 0
    names = [row["name"] for row in read(tmp_path / "ws" / "study.json")]
    assert names == ["DBN", "fine-tuned by probs", "fine-tuned by samples"]
    assert RunArgs().epochs == 100
    for path in (folder, tmp_path / "ws"):
        assert (path / "study.html").read_text().count("data:image/png") >= 5
        assert (path / "study.md").read_text().count("\n| ") >= 4


@pytest.mark.programs
@pytest.mark.parametrize("fixture", ["stack", "tuned"])
def test_it_reads_back(fixture: str, request: pytest.FixtureRequest) -> None:
    run = assert_reads_back(request.getfixturevalue(fixture))
    assert run.encode(np.zeros((2, 28, 28, 1), np.uint8)).shape == (2, run.config.hidden_sizes[-1])


def test_what_lasts_a_share_of_the_training_reads_back(
    run: Run, stack: Path, tmp_path: Path
) -> None:
    """The number of updates follows from the run's length, and is not among its own settings."""
    flags = ("--falling", "--gibbs-phases", "1", "2", "--persistent-share", "0.125")
    flags += ("--averaged-share", "0.25")
    assert run(wake_sleep, tmp_path / "run", "--dbn", str(stack), *flags) == 0
    found = assert_reads_back(tmp_path / "run")
    assert (found.config.num_updates, found.config.gibbs_phases) == (0, (1, 2))
    page = (tmp_path / "run/report.html").read_text()
    assert "CD-1, then 2 on top, PCD after 79 updates" in page
    assert "falling to 0, parameters averaged after 68 updates" in page
    assert said_twice(tmp_path / "run") == []
    config = read(tmp_path / "run" / "config.json")
    config["model"]["num_updates"] = 7
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    assert said_twice(tmp_path / "run") == [f"model.num_updates: {LENGTH}, now 7"]


@pytest.mark.programs
def test_classes_are_asked_for(run: Run, digits_root: Path, tmp_path: Path) -> None:
    """A DBN with label units, and its fine-tuning."""
    folder, test = tmp_path / "run", data.load("digits", digits_root).test
    sizes = ("--hidden-sizes", "40", "40")
    assert run(wake_sleep, folder, "--conditional", *sizes, "--dbn-epochs", "40") == 0
    for part, questions in ((folder, ("3.3",)), (folder / "dbn", ("2.3",))):
        page = (part / "report.html").read_text()
        for question in (*questions, "Classification by free energy", "Classes asked for"):
            assert re.search(rf"<h2[^>]*>(<span[^>]*>)?[^<]*{re.escape(question)}", page), question
        assert (part / "figures" / "classes.png").is_file()
        found = assert_reads_back(part)
        assert (found.config.num_classes, found.settings["conditional"]) == (10, True)
        model = evaluated_model(found.config, found.image_shape, found.params)
        assert model.classify is not None
        wrong = np.asarray(model.classify(test.images)).argmax(axis=1) != test.labels
        assert found.summary["metrics"]["test_error"] == wrong.mean() < 0.5  # 0.9 by chance
        assert said_twice(part) == []
    logged = [line["test_error"] for line in lines_of(folder) if "test_error" in line]
    metrics = read(folder / "summary.json")["metrics"]
    assert logged[-1] == metrics["test_error"]
    last = logged[-min(5, len(logged) // 2) :]
    assert metrics["test_error_last_mean"] == pytest.approx(np.mean(last))
    assert "the mean of the evaluations after epochs" in (folder / "report.html").read_text()
    tuned = load_file(folder / "params.safetensors")["top.w_labels"]
    assert tuned.shape == (10, 40)
    start = load_file(folder / "dbn" / "params.safetensors")["1.w_labels"]
    assert np.abs(tuned - start).max() > 1e-3


def test_a_dbn_without_label_units_is_not_fine_tuned_with_them(
    stack: Path, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(wake_sleep, tmp_path / "run", "--dbn", str(stack), "--conditional") == 2
    assert "set --conditional as it was" in only_line(capsys.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_a_run_from_before_some_settings_goes_on(run: Run, stack: Path, tmp_path: Path) -> None:
    """Its settings and its checkpoints lack what is new to layers of a DBN."""
    folder = tmp_path / "run"
    shutil.copytree(stack, folder)
    for layer in ("layer1", "layer2"):
        (checkpoints,) = (folder / layer / "checkpoints").glob("step_*/manifest.json")
        assert not {f"model.{name}" for name in NEW_TO_DBNS} & read(checkpoints)["settings"].keys()
    config = read(folder / "config.json")
    for name in NEW_TO_DBNS:
        del config["model"][name]
    (folder / "config.json").write_text(json.dumps(config))
    assert run(dbn, folder, "--resume") == 0
    assert read(folder / "summary.json")["digest"] == read(stack / "summary.json")["digest"]


# ---- a classifier by backprop


BACKPROP = ("--resume", "--backprop-epochs", "40")


@pytest.fixture(scope="module")
def classified(run: Run, stack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that DBN with classifiers by backprop; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("classified") / "run"
    shutil.copytree(stack, folder)
    assert run(dbn, folder, *BACKPROP) == 0
    return folder


def test_backprop_is_added_to_a_finished_run(classified: Path, stack: Path) -> None:
    """From the DBN, which stays as it is, and from random weights."""
    before, summary = (read(folder / "summary.json") for folder in (stack, classified))
    assert summary["digest"] == before["digest"]
    greedy, random = (summary["metrics"][f"backprop_{name}_error"] for name in ("greedy", "random"))
    assert random < 0.7 < greedy  # six epochs of the DBN are no start for 12 units with dropout
    page = (classified / "report.html").read_text()
    assert "Backprop from the greedy start" in page
    assert f"from random weights {100 * random:.3g}%" in page
    for name, error in (("greedy", greedy), ("random", random)):
        lines = lines_of(classified / "backprop" / name)
        assert {"loss", "train_error"} <= lines[0].keys()
        errors = [line["test_error"] for line in lines if "test_error" in line]
        assert np.mean(errors[-5:]) == pytest.approx(error)
        assert f"backprop/{name}/metrics.jsonl" in summary["files"]
    assert train_seconds(classified) == pytest.approx(train_seconds(stack))  # that of the DBN


def test_classifiers_are_found_trained(run: Run, classified: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(classified, folder)
    assert run(dbn, folder, *BACKPROP) == 0
    logs = (f"backprop/{name}/metrics.jsonl" for name in ("greedy", "random"))
    assert all((folder / log).read_bytes() == (classified / log).read_bytes() for log in logs)
    metrics = [read(each / "summary.json")["metrics"] for each in (folder, classified)]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize("flags", [("--backprop-epochs", "50"), ()])
def test_a_run_keeps_the_epochs_of_its_classifiers(
    flags: tuple[str, ...],
    run: Run,
    classified: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(classified, folder)
    before = contents(folder)
    assert run(dbn, folder, "--resume", *flags) == 2
    line = only_line(capsys.readouterr().err)
    assert line.startswith("error: expected --backprop-epochs 40, as in the run in")
    assert contents(folder) == before
    shutil.rmtree(folder / "backprop")
    assert run(dbn, folder, "--resume") == 0
    assert "backprop_greedy_error" not in read(folder / "summary.json")["metrics"]


@pytest.mark.programs
@pytest.mark.parametrize(
    ("binarize", "expected"), [("sample", "none"), ("threshold", "threshold"), ("none", "none")]
)
def test_classifiers_are_trained_on_the_input_that_they_are_tested_on(
    binarize: str, expected: str, run: Run, tmp_path: Path
) -> None:
    """Pixels at the threshold of the DBN's input, or as they are, and not one here, one there."""
    assert run(dbn, tmp_path / "run", "--binarize", binarize, "--backprop-epochs", "1") == 0
    for start in ("greedy", "random"):
        (manifest,) = (tmp_path / "run/backprop" / start).glob("checkpoints/step_*/manifest.json")
        assert read(manifest)["settings"]["model.binarize"] == expected


def test_an_unfinished_classifier_is_no_result(classified: Path, tmp_path: Path) -> None:
    assert set(dbn_backprop.results(classified, 40)) == {"greedy", "random"}
    assert dbn_backprop.results(classified, 400) == {}
    folder = tmp_path / "run"
    shutil.copytree(classified, folder)
    log = folder / "backprop" / "random" / "metrics.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:50]))
    assert dbn_backprop.results(folder, 40) == {}
    log.unlink()
    assert dbn_backprop.results(folder, 40) == {}


def test_backprop_needs_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (300, 8, 8, 1)).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    flags = ("--dataset", str(tmp_path / "images.npy"), "--backprop-epochs", "2")
    assert call(*flags, *SMALL, "--out", str(tmp_path / "run"), experiment=dbn) == 2
    assert "expected --backprop-epochs with images of two classes" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_more_epochs_than_can_be_counted_are_refused_at_once(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(dbn, tmp_path / "run", "--backprop-epochs", str(2**31)) == 2
    line = only_line(capsys.readouterr().err)
    assert line.startswith(f"error: expected --backprop-epochs of at most {(2**31 - 1) // 15:,}")
    assert not (tmp_path / "run").exists()


def test_the_errors_at_the_end_are_of_the_second_half() -> None:
    found = ErrorOverEpochs([*range(1, 21)], [*range(20, 0, -1)])
    assert found.last == [5, 4, 3, 2, 1]
    assert found.mean == 3.0
    assert ErrorOverEpochs([1, 2, 3], [0.9, 0.5, 0.1]).last == [0.1]
    assert ErrorOverEpochs([1], [0.9]).last == [0.9]


def test_the_verdict_on_the_starts_needs_a_difference() -> None:
    def verdict(greedy: float, random: float) -> str:
        errors = {"greedy": greedy, "random": random}
        return dbn_backprop.verdict(errors, chance=90.0, num_images=10_000)

    assert "too close to tell apart" in verdict(1.10, 1.15)
    assert "greedy start helps" in verdict(1.10, 1.80)
    assert "greedy start hurts" in verdict(1.80, 1.10)
    assert "too close to tell apart" in verdict(0.0, 0.0)
    assert "A classifier from the DBN has learned nothing yet" in verdict(90.0, 1.0)
    assert "from the DBN and one from random weights has learned" in verdict(90.1, 90.0)


@pytest.mark.parametrize(
    "flags",
    [
        (),
        ("--conditional",),
        ("--visible", "gaussian"),
        ("--binarize", "threshold"),
        ("--conditional", "--label-gain", "20.0"),
        ("--preset", "labelled", "--no-conditional"),
    ],
)
def test_the_next_command_has_the_flags_of_the_net(flags: tuple[str, ...]) -> None:
    args = cli.parse(dbn.PRESETS, dbn.QUICK, [*SMALL, *flags])
    words = dbn.successor(args)
    assert ("--dbn", "{folder}") in itertools.pairwise(words)
    found = cli.parse(wake_sleep.PRESETS, wake_sleep.QUICK, words[1:])
    assert found.conditional == args.conditional
    for name in ("hidden_sizes", *dbn.KEPT):
        assert getattr(found.model, name) == getattr(args.model, name)
    lab = dbn.PRESETS["lab"]
    assert dbn.successor(lab) == ("experiments.wake_sleep", "--dbn", "{folder}")
    one = dataclasses.replace(lab.model, hidden_sizes=(5,))
    assert dbn.successor(dataclasses.replace(lab, model=one)) == ()


def test_the_preset_with_labels_goes_on_with_its_namesake() -> None:
    words = dbn.successor(dbn.PRESETS["labelled"])
    assert words == ("experiments.wake_sleep", "--preset", "labelled", "--dbn", "{folder}")
    small = cli.parse(dbn.PRESETS, dbn.QUICK, ["--preset", "labelled", "--hidden-sizes", "8", "9"])
    assert dbn.successor(small) == (*words, "--hidden-sizes", "8", "9")
