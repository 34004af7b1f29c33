"""Finished runs read back and set side by side, as a user compares them; tiny ones, on digits."""

import contextlib
import copy
import dataclasses
import functools
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.browser import shown
from support.helpers import SMALL_CLASSIFIER, one_line
from support.runs import EPOCHS, Command, call, contents, forge, only_line, read

from experiments import compare, dbn, pretrained, rbm
from experiments.comparison import measures as compare_measures
from experiments.comparison import naming, tables
from experiments.comparison import page as compare_page
from experiments.comparison.readme_tables import table_of
from experiments.running.experiment import Comparison
from jaxgen import data, runs
from jaxgen.errors import SettingError
from jaxgen.evaluation import classifier, probes
from jaxgen.evaluation.model import LikelihoodBudget
from jaxgen.export import safetensors
from jaxgen.report import page as report
from jaxgen.runs import folder as run_folder
from jaxgen.runs.settings import to_json
from jaxgen.runs.summary import train_seconds

LITTLE = ("--num-samples", "100", "--num-labels", "50", "--ais-chains", "4")
LITTLE = (*LITTLE, "--ais-temperatures", "10", "--bound-weights", "3")
REFERENCES = ["real test images", "real training images", "mixture of Bernoullis", "uniform noise"]


def change(path: Path, **values: Any) -> None:
    """Sets values in a JSON file."""
    path.write_text(json.dumps(read(path) | values))


@pytest.fixture(scope="module")
def pair(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs that differ in their seeds, as far as their files say; tests leave them so."""
    root = tmp_path_factory.mktemp("pair")
    for seed in (0, 1):
        shutil.copytree(finished, root / f"run{seed}")
        change(root / f"run{seed}" / "summary.json", seed=seed)
        forge(root / f"run{seed}", seed=seed)
        shutil.rmtree(root / f"run{seed}" / "checkpoints")  # which have the seed too
    return root / "run0", root / "run1"


@pytest.fixture(scope="module")
def called(digits_root: Path) -> Any:
    """Calls the command here, with a classifier that is soon trained; returns the exit code."""

    def call(*words: str | Path) -> int:
        with pytest.MonkeyPatch.context() as patch:
            load = functools.partial(classifier.load, config=SMALL_CLASSIFIER)
            patch.setattr(compare.classifiers, "load", load)
            patch.setattr(probes, "MLP_SEEN", 500)  # ten passes over the labels
            flags = ["--data-dir", str(digits_root)]
            patch.setattr(sys, "argv", ["compare", *map(str, words), *flags, *LITTLE])
            return compare.entry()

    return call


@pytest.fixture(scope="module")
def compared(
    pair: tuple[Path, Path], called: Any, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a comparison of the pair."""
    folder = tmp_path_factory.mktemp("compare") / "out"
    assert called(*pair, "--out", folder) == 0
    return folder


def test_a_model_is_a_row_with_its_seeds_and_reference_rows_follow(
    compared: Path, pair: tuple[Path, Path]
) -> None:
    model, *references = read(compared / "compare.json")
    assert [row["name"] for row in references] == REFERENCES
    assert [seed["seed"] for seed in model["seeds"]] == [0, 1]
    assert model["seeds"][0]["digest"] == read(pair[0] / "summary.json")["digest"]
    for measures, run in zip(model["measures"], pair, strict=True):
        assert measures == read(run / "measures.json")
    kinds = [each["kind"] for each in model["measures"][0]["likelihoods"]]
    assert kinds == ["reverse AIS", "AIS"]
    (noise,) = references[3]["measures"]
    assert noise["likelihoods"][0]["value"] == pytest.approx(-784 * np.log(2))
    (mixture,) = references[2]["measures"]
    assert mixture["likelihoods"][0]["value"] > noise["likelihoods"][0]["value"] + 100
    assert mixture["samples"]["parzen"]["value"] > noise["samples"]["parzen"]["value"]


COLOURS = np.random.default_rng(0).uniform(size=(20, 6, 9, 3)).astype(np.float32)
MARKUP = "<script>alert(1)</script> [x](javascript:alert(1)) | y\n# z"
NAMES = (MARKUP, *"abcdefghi")
STRANGE: list[Any] = [None, True, 2, 1e308, "x", MARKUP, [], [1.0], {}, {"a": 1}, "absent"]


def places(content: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a JSON document but those that it depends on."""
    for name, value in content.items() if isinstance(content, dict) else enumerate(content):
        if (*path, name) != ("of",):
            yield (*path, name)
            if isinstance(value, dict | list):
                yield from places(value, (*path, name))


def test_measures_of_a_stranger_are_shown_as_text_or_computed_anew(
    compared: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """The numbers of a file are taken as they stand within their ranges."""
    assert compared.is_dir()
    whole, path, taken = read(pair[0] / "measures.json"), tmp_path / "measures.json", 0
    run = runs.load(pair[0])
    for there in places(whole):
        for value in STRANGE:
            strange = copy.deepcopy(whole)
            part = functools.reduce(lambda part, name: part[name], there[:-1], strange)
            if value == "absent":
                part.pop(there[-1])
            else:
                part[there[-1]] = value
            path.write_text(json.dumps(strange))
            if (found := compare_measures.read(path, whole["of"])) is None:
                continue
            taken += 1
            row = tables.Row("rbm-lab", [whole, found], np.zeros((1, 28, 28, 1)), [run, run])
            shown = [tables.main_table([row]), tables.further_table([row], ())]
            shown.append(tables.likelihood_table([row], ()))
            shown += [tables.probe_table([row]), tables.class_table([row], NAMES)]
            sections = (
                compare_measures.likelihoods_section(found),
                compare_measures.samples_section(found),
                compare_measures.classes_section(found, NAMES),
                compare_measures.probes_section(found),
            )
            shown += [each.table for each in sections if each and each.table]
            text = "".join(map(report.markdown, shown))
            assert "<script" not in text
            assert "](javascript" not in text
            assert "\n#" not in text
    assert taken > 20


IMPOSSIBLE: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "pixels of no likelihood": (("likelihoods", -1), {"binary": "grey"}),
    "an error of few chains": (
        ("likelihoods", -1),
        {"standard_error": 0.1, "effective_chains": 2.0, "num_chains": 20},
    ),
    "a negative error": (("likelihoods", -1), {"standard_error": -3.0}),
    "chains that none count": (("likelihoods", -1), {"effective_chains": None, "num_chains": 20}),
    "more effective chains than chains": (("likelihoods", -1), {"effective_chains": 40.0}),
    "a negative gap": (("likelihoods", -1), {"log_z_gap": -1.0}),
    "a huge number": (("likelihoods", -1), {"value": 1e100}),
    "a negative recall": (("samples", "recall"), {"value": -5.0}),
    "a recall above 1": (("samples", "recall"), {"high": 9.0}),
    "a negative distance": (("samples", "frechet_distance"), {"value": -1.0, "low": -2.0}),
    "low above high": (("samples", "squared_mmd"), {"low": 1.0, "high": -1.0}),
    "no samples": (("samples", "recall"), {"num_samples": 0}),
    "negative shares": (("class_frequencies",), {"": [-0.1, 1.1, *[0.0] * 8]}),
    "shares of nothing": (("class_frequencies",), {"": [0.0] * 10}),
    "no measures of samples": (("samples",), {"": {}}),
    "no label": (("probes", 0), {"num_labels": 0}),
    "an accuracy above 1": (("probes", 0), {"value": 2.0}),
    "a negative deviation": (("probes", 0), {"std": -0.1}),
    "a score above the number of classes": (("samples", "inception_score"), {"high": 11.0}),
    "a share of an eleventh class": (("class_frequencies",), {"": [0.1] * 9 + [0.05, 0.05]}),
    "a test error in words": (("test_error",), {"": "low"}),
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_impossible_measures_are_computed_anew(
    kind: str, compared: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    assert compared.is_dir()
    whole, path = read(pair[0] / "measures.json"), tmp_path / "measures.json"
    forged, (there, values) = copy.deepcopy(whole), IMPOSSIBLE[kind]
    if "" in values:
        forged[there[0]] = values[""]
    else:
        functools.reduce(lambda part, name: part[name], there, forged).update(values)
    for content, taken in ((whole, True), (forged, False)):
        path.write_text(json.dumps(content))
        assert (compare_measures.read(path, whole["of"]) is not None) == taken


def test_measures_of_another_model_are_computed_anew(
    compared: Path, pair: tuple[Path, Path], digits_root: Path
) -> None:
    assert compared.is_dir()
    run, whole = runs.load(pair[0]), read(pair[0] / "measures.json")
    digits = data.load("digits", digits_root)
    of = (classifier.load(digits, digits_root, SMALL_CLASSIFIER), digits)
    settings = compare_measures.Settings(100, (50,), LikelihoodBudget())
    assert compare_measures.has_parts_of(run, whole, *of, settings)
    samples = whole["samples"]
    fid = {"samples": samples | {"fid": samples["density"]}}
    assert compare_measures.has_parts_of(run, whole | fid, *of, settings)  # more than asked for
    for part in (
        {"likelihoods": []},
        {"probes": []},
        {"samples": {"recall": samples["recall"]}},
        {"samples": samples | {"class_accuracy": samples["recall"]}},
        {"test_error": samples["recall"]},
    ):
        assert not compare_measures.has_parts_of(run, whole | part, *of, settings)
    with_fid = settings._replace(inception=object())
    assert not compare_measures.has_parts_of(run, whole, *of, with_fid)


def test_the_table_has_mean_and_spread_over_seeds(compared: Path) -> None:
    lines = (compared / "compare.md").read_text().splitlines()
    titles, (row, *_) = table_of("\n".join(lines))
    cells = dict(zip(titles, row, strict=True))
    assert cells["model"].startswith("rbm-lab, ")
    values = [
        measures["samples"]["frechet_distance"]["value"]
        for measures in read(compared / "compare.json")[0]["measures"]
    ]
    mean, spread = (report.number(float(f(values)), n) for f, n in ((np.mean, 4), (std, 2)))
    assert cells["Frechet distance"] == f"{mean} ± {spread}"
    assert cells["seeds"] == "2"
    found = read(compared / "compare.json")[0]["measures"]
    gaps = [
        abs(measures["likelihoods"][0]["value"] - measures["likelihoods"][1]["value"])
        for measures in found
    ]  # chains too few to meet
    few = f"1 of 4 chains effective; reverse AIS {max(gaps):.1f} nats off"
    assert cells["estimator"] == f"AIS; {few}"
    lowest, highest = sorted(measures["likelihoods"][1]["value"] for measures in found)
    likely, _, why = cells["log likelihood, nats"].partition("; not ranked: ")
    assert likely == f"{lowest:.2f} to {highest:.2f}"
    assert why == f"the two sides of AIS are {max(gaps):.1f} nats apart"
    shares = np.mean([measures["class_frequencies"] for measures in found], axis=0)
    assert sum(shares) == pytest.approx(1.0)
    below = lines[lines.index("## Classes of the samples") :]
    shown = next(line for line in below if line.startswith("| rbm-lab, "))
    assert shown.split(" | ")[1:4] == [f"{share:.1%}" for share in shares[:3]]


@pytest.mark.browser
def test_the_page_shows_in_a_browser(
    compared: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    found = shown(compared / "compare.html", tmp_path, 1280)
    assert found["title"] == "Measures of rbm-lab"
    assert min(found["images"]) > 200
    assert found["width"] <= found["window"]
    assert found["cells"] > 60
    measures = shown(pair[0] / "measures.html", tmp_path, 500)
    assert measures["width"] <= measures["window"]
    assert "report.html" in measures["links"]


def std(values: list[float]) -> float:
    """Sample standard deviation."""
    return float(np.std(values, ddof=1))


def test_pages_link_each_other_and_a_page_that_is_there_stays(
    compared: Path, pair: tuple[Path, Path], finished: Path
) -> None:
    assert (pair[0] / "report.html").read_bytes() == (finished / "report.html").read_bytes()
    page = (compared / "compare.html").read_text()
    for run in pair:
        measures = (run / "measures.html").read_text()
        assert 'href="report.html"' in measures
        assert read(run / "measures.json")["of"]["parameters"] in measures
        link = os.path.relpath(run / "measures.html", compared)
        assert page.count(f'href="{link}"') == 1


def test_the_page_of_a_run_links_its_measures_when_it_is_drawn_again(
    compared: Path, pair: tuple[Path, Path], tmp_path: Path, digits_root: Path
) -> None:
    """No page is changed after it was written; measures of other parameters are not linked."""
    folder = tmp_path / "run"
    shutil.copytree(pair[0], folder)

    def found() -> tuple[int, int]:
        """Links to the measures, and commands that make them, as a browser shows them."""
        page = (folder / "report.html").read_text()
        words = re.sub(r"</?(span|wbr)[^>]*>", "", page)
        return page.count('href="measures.html"'), words.count("python -m experiments.compare ")

    assert found() == (0, 1)
    assert (
        read(folder / "measures.json")["of"]["parameters"] in (folder / "measures.html").read_text()
    )
    flags = (*EPOCHS, "--log-every", "10", "--out", str(folder), "--resume")
    for digest, counts in (("", (1, 0)), ("another", (0, 1))):
        if digest:
            of = read(folder / "measures.json")["of"] | {"parameters": digest}
            change(folder / "measures.json", of=of)
        assert call(*Command(digits_root, folder).args(*flags)[2:]) == 0
        assert found() == counts


@pytest.mark.programs
def test_measures_are_computed_again_only_where_they_depend_on_something_new(
    pair: tuple[Path, Path], called: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, counted = tmp_path / "run", []
    shutil.copytree(pair[0], run)
    (run / "measures.json").unlink(missing_ok=True)
    compute = compare_measures.compute

    def counting(*args: Any) -> Any:
        counted.append(args)
        return compute(*args)

    monkeypatch.setattr(compare_measures, "compute", counting)
    monkeypatch.setattr(compare, "reference_rows", lambda *_: {})
    for expected in (1, 1):
        assert called(run, "--out", tmp_path / "out") == 0
        assert len(counted) == expected
    change(run / "measures.json", of={"version": 0})
    assert called(run, "--out", tmp_path / "out") == 0
    assert len(counted) == 2


def test_images_that_a_folder_has_no_more_are_drawn_again(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """As of a folder of `pretrained/`."""
    shutil.copytree(pair[0], tmp_path / "run")
    change(tmp_path / "run" / "manifest.json", command="python -m experiments.rbm", git_commit="0")
    run = runs.load(tmp_path / "run")
    collected = runs.load(pretrained.collect(run, tmp_path / "pretrained"))
    assert not (collected.folder / "samples.npz").exists()
    np.testing.assert_array_equal(compare.first_samples(collected), run.stored_samples())


@pytest.mark.parametrize(
    ("damage", "code", "found"),
    [
        ("unfinished", 4, "found a run of rbm that has not ended; type its command again"),
        ("summary", 4, "found a run of rbm whose summary.json is damaged"),
        ("samples", 4, "as they were when the run ended, found another samples.npz"),
        ("missing", 4, "found no such folder; name the folder"),
        ("no run", 4, "found no run; name the folder"),
        ("parameters", 4, "as they were when the run ended, found another params.safetensors"),
        ("setting", 4, "model.colour, unknown here"),
        ("data", 2, "expected digits with sha256"),
        ("twice", 2, "each seed of rbm-lab"),
        ("in use", 6, "another run that is using it"),
        ("out", 6, "to be a run folder"),
    ],
)
def test_what_cannot_be_compared_is_said_in_a_line(
    damage: str,
    code: int,
    found: str,
    pair: tuple[Path, Path],
    called: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, other, out = tmp_path / "run", pair[1], tmp_path / "out"
    shutil.copytree(pair[0], run)
    if damage == "unfinished":
        (run / "summary.json").unlink()
    elif damage in ("summary", "samples"):
        path = run / {"summary": "summary.json", "samples": "samples.npz"}[damage]
        path.write_bytes(path.read_bytes()[:200])
    elif damage == "missing":
        shutil.rmtree(run)
    elif damage == "no run":
        (run / "config.json").unlink()
        (run / "summary.json").unlink()
    elif damage == "parameters":
        arrays = safetensors.load_params(run / "params.safetensors")
        arrays["w"] = arrays["w"] + 1
        safetensors.save_params(run / "params.safetensors", arrays, {})
    elif damage == "setting":
        forge(run, model=read(run / "config.json")["model"] | {"colour": 1})
    elif damage == "data":
        change(run / "summary.json", data_digest="0" * 64)
    elif damage == "twice":
        other = run
    elif damage == "out":
        out = tmp_path / "full"
        out.mkdir()
        (out / "thesis.tex").write_text("mine")
    before = contents(run)
    in_use = run_folder.open_folder(run, "rbm", resume=True, overwrite=False)
    with in_use if damage == "in use" else contextlib.nullcontext():
        assert called(run, other, "--out", out) == code
    assert found in only_line(capsys.readouterr().err)
    assert contents(run) == before
    assert damage in ("samples", "out", "in use") or not out.exists()  # found before it is made


@pytest.mark.programs
def test_train_makes_the_runs_that_are_not_there(
    pair: tuple[Path, Path],
    called: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A run stands for one that takes minutes; the second call finds it."""
    started = []

    def run(name: str, words: list[str], log: Path) -> None:
        log.write_text("")
        started.append((name, words))
        shutil.copytree(pair[0], tmp_path / "out" / "runs" / name)

    model = read(pair[0] / "config.json")["model"]
    flags = [f"--{n.replace('_', '-')}={x}" for n, x in model.items() if type(x) is not bool]
    monkeypatch.setattr(
        compare, "experiments_to_train", lambda: {"rbm": Comparison(0, (*flags, "--epochs=60"))}
    )
    monkeypatch.setattr(compare.reproduce_runs, "run", run)
    monkeypatch.setattr(compare, "reference_rows", lambda *_: {})
    words = ("--train", "--only", "rbm", "--seeds", "0", "--dataset", "digits")
    folder = tmp_path / "out" / "runs"
    for line in (
        f"training rbm, lines in {folder / 'rbm.log'}: ",
        f"{folder / 'rbm'} is there, and",
    ):
        assert called(*words, "--out", tmp_path / "out") == 0
        assert line in capsys.readouterr().out.replace("\n", " ")
    ((name, flags),) = started
    assert name == "rbm"
    assert {"--dataset=digits", "--resume", f"--out={tmp_path / 'out' / 'runs' / 'rbm'}"} <= {
        *flags
    }
    assert flags[flags.index("--seeds") + 1] == "0"
    assert read(tmp_path / "out" / "compare.json")[0]["name"].startswith("rbm-lab")
    monkeypatch.setattr(
        compare, "experiments_to_train", lambda: {"rbm": Comparison(0, (*flags, "--epochs=61"))}
    )
    assert called(*words, "--out", tmp_path / "out") == 2
    assert "epochs 61" in only_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("dataset", "declared", "typed"),
    [
        ("digits", Comparison(), ["--preset=lab"]),
        ("digits", Comparison(preset="cd25"), ["--preset=cd25"]),
        ("pictures", Comparison(preset="cd25"), []),
    ],
)
def test_a_preset_is_typed_for_a_data_set_with_a_name(
    dataset: str,
    declared: Comparison,
    typed: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    called: Any,
) -> None:
    started = []

    def run(name: str, words: list[str], log: Path) -> None:
        started.append(words)
        raise SettingError(expected="a stand-in", found="it", remedy="none")

    monkeypatch.setattr(compare, "experiments_to_train", lambda: {"rbm": declared})
    monkeypatch.setattr(compare.reproduce_runs, "run", run)
    assert called("--train", "--dataset", dataset, "--out", tmp_path / "out") == 2
    assert [word for word in started[0] if word.startswith("--preset")] == typed


def test_runs_or_train_is_asked_for(called: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert called() == 2
    assert "found neither" in only_line(capsys.readouterr().err)
    assert called("runs/rbm", "--train") == 2
    assert "found both" in only_line(capsys.readouterr().err)
    with pytest.raises(SettingError, match="--num-samples from 100 to 10,000, found 10001"):
        compare.Args((Path("run"),), num_samples=10_001)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_labels", (-5,)),
        ("num_labels", ()),
        ("num_labels", (100, 2**70)),
        ("ais_chains", 10**11),
        ("ais_chains", 1),
        ("ais_temperatures", 2**70),
        ("bound_weights", 10**9),
        ("markdown", Path("a.png")),
        ("only", ("rbm", "rbm")),
    ],
)
def test_settings_that_measure_nothing_or_never_end_are_refused(name: str, value: Any) -> None:
    settings: dict[str, Any] = {name: value}
    with pytest.raises(SettingError, match=f"expected --{name.replace('_', '-')} ") as error:
        compare.Args((Path("run"),), **settings)
    one_line(error)


def test_flags_beside_quick_win(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[compare.Args] = []
    monkeypatch.setattr(compare, "main", found.append)
    words = ["runs/rbm", "--quick", "--ais-chains", "7"]
    monkeypatch.setattr(sys, "argv", ["compare", *words])
    assert compare.entry() == 0
    (args,) = found
    assert (args.ais_chains, args.ais_temperatures, args.num_labels) == (7, 200, (100,))


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (("--out", "RUN/compare"), 6, "expected --out outside a run"),
        (("--out", "OUT", "--markdown", "RUN/summary.json/compare.md"), 6, "outside a run"),
        (
            ("--out", "OUT", "--markdown", "RUN/summary.json"),
            6,
            "expected --markdown outside a run",
        ),
        (("--out", "OUT", "--markdown", "OUT/config.json"), 2, "no other file of the comparison"),
        (("--out", "OUT", "--markdown", "RUN"), 7, "found Is a directory"),
        (("--out", "OUT", "--dataset", "RUN", "--markdown", "RUN/x.md"), 2, "expected --markdown"),
    ],
)
def test_places_that_cannot_be_written_are_refused_before_anything_is_measured(
    words: tuple[str, ...],
    code: int,
    line: str,
    pair: tuple[Path, Path],
    called: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before, out = contents(pair[0]), tmp_path / "out"
    flags = [word.replace("RUN", str(pair[0])).replace("OUT", str(out)) for word in words]
    assert called(*pair, *flags) == code
    assert line in only_line(capsys.readouterr().err)
    assert contents(pair[0]) == before
    assert not out.exists()


def test_the_markdown_has_no_markup_of_a_command_line(
    compared: Path, pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (measures, *_) = read(compared / "compare.json")[0]["measures"]
    row = tables.Row("rbm-lab", [measures], np.zeros((1, 28, 28, 1)), [runs.load(pair[0])])
    monkeypatch.setattr(sys, "argv", ["compare", "<b>x</b> `y` **z** http://a.b"])
    path = tmp_path / "a b.md"
    fact, digits = {"fact": "www.a.b [x](y)"}, tuple("0123456789")
    compare_page.write([row], tmp_path, path, fact, ["<i>One</i>"], (), digits)
    text = path.read_text()
    assert "<b>" not in text
    assert "<i>" not in text
    assert r"- fact: www\.a.b [x]\(y)" in text
    assert r"\`y\`" in text
    assert r"http\://a.b" in text
    assert re.search(r"^!\[[^\]]+\]\(a%20b\.png\)$", text, re.MULTILINE)


def measures_of(num_classes: int, **more: Any) -> dict[str, Any]:
    """Measures of samples, some of which hold for any data."""
    number = {"value": 0.25, "low": 0.2, "high": 0.3, "num_samples": 9, "num_resamples": 5}
    shares = [1 / num_classes] * num_classes if num_classes else []
    names = ("frechet_distance", *(["inception_score", "class_accuracy"] if num_classes else []))
    of = {"num_classes": num_classes}
    found = {"of": of, "likelihoods": [], "samples": dict.fromkeys(names, number), "probes": []}
    return found | {"class_frequencies": shares, "test_error": None} | more


@pytest.mark.parametrize("num_classes", [0, 2, 1000])
def test_tables_of_any_number_of_classes_in_colour(num_classes: int, tmp_path: Path) -> None:
    """Names are text, whatever is in them; without classes nothing is shown of them."""
    names = [f"{MARKUP}{n}" for n in range(num_classes)]
    found = measures_of(num_classes)
    error = {"value": 0.125, "low": 0.1, "high": 0.2, "num_samples": 8, "num_resamples": 5}
    rows = [
        tables.Row("a", [found | ({"test_error": error} if num_classes else {})], COLOURS),
        tables.Row("b", [found], COLOURS),
    ]
    path = tmp_path / "compare.md"
    page = compare_page.write(rows, tmp_path, path, {}, [], (), names)
    text = path.read_text()
    for written in (text, page.read_text()):
        assert "<script>alert" not in written
        for title in ("Classes of the samples", "accuracy on asked classes", "test error, %"):
            assert (title in written) == (num_classes > 0)
        assert "recall" not in written.partition("The measures")[2]  # which no row has
        assert "Exact: log Z by enumeration" not in written
    assert ("980 more classes are in measures.json." in text) == (num_classes == 1000)
    if num_classes:
        main = tables.main_table(rows)
        cells = [dict(zip(main.columns, row, strict=True)) for row in main.rows]
        assert [row["test error, % ↓"] for row in cells] == ["12.5 [10, 20]", ""]
        assert len(tables.class_table(rows, names).columns) == 1 + min(num_classes, 20)
        section = compare_measures.classes_section(found, names)
        assert section is not None
        assert section.table is not None
        assert len(section.table.columns) == len(section.table.rows[0])
    else:
        assert compare_measures.classes_section(found, names) is None


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ({"command": "python -m experiments.vae --out runs/a --resume"}, "--out runs/a"),
        ({"command": "python 'an open quotation"}, ""),
        ({"command": ["python"]}, ""),
        ({"command": "python \x1b[31m"}, "python"),
        (None, ""),
    ],
)
def test_a_run_has_the_command_it_was_trained_by(
    manifest: dict[str, Any] | None, words: str, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    """Without what it needs once; a stranger's record has a text of one line, or none."""
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    run = dataclasses.replace(runs.load(pair[0]), folder=tmp_path)
    found = tables.trained_by(run)
    assert words in found
    assert bool(found) == bool(words)
    assert not {"--resume", "\x1b"} & {*found.split(), *found}
    row = tables.Row("rbm-lab", [], np.zeros((1, 28, 28, 1)), [run])
    assert tables.run_table([row]).rows[0][-1] == found


def test_a_label_says_what_was_changed_in_a_preset(pair: tuple[Path, Path]) -> None:
    run = runs.load(pair[0])
    assert naming.label_of(run).startswith("rbm-lab, num hidden 25, ")
    assert naming.label_of(run).endswith("epochs 60")
    lab = rbm.PRESETS["lab"]
    falling = dataclasses.replace(lab, schedule="falling", seed=1)
    names = ["rbm-lab", "rbm-lab, schedule falling"]
    assert [naming.label(rbm.EXPERIMENT, args) for args in (lab, falling)] == names
    model = dataclasses.replace(dbn.PRESETS["lab"].model, transposed_start=True, num_classes=3)
    asked = dataclasses.replace(dbn.PRESETS["lab"], conditional=True, model=model)
    assert naming.label(dbn.EXPERIMENT, asked) == "dbn-lab, transposed start, conditional"
    off = dataclasses.replace(dbn.PRESETS["two500"], base_rates=False)
    assert naming.label(dbn.EXPERIMENT, off) == "dbn-two500, no base rates"
    settings = [to_json(args) | {"experiment": "rbm"} for args in (lab, falling, lab)]
    made = [dataclasses.replace(run, settings=each) for each in settings]
    assert naming.group(made) == {names[0]: [made[0], made[2]], names[1]: [made[1]]}


def test_training_time_is_shared_by_the_seeds_of_a_program(tmp_path: Path) -> None:
    member = tmp_path / "seed3" / "dbn"
    for layer, seconds in ((1, 4.0), (2, 6.0)):
        folder = member / f"layer{layer}"
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text(
            '{"step": 1, "epoch": 1.0, "train_s": 1.0}\n'
            f'{{"step": 2, "epoch": 2.0, "train_s": {seconds}}}\n'
        )
    assert train_seconds(member) == 10.0
    (tmp_path / "summary.json").write_text('{"experiment": "wake_sleep", "seeds": [3, 5]}')
    assert train_seconds(member) == 5.0
