"""Runs collected for others to load."""

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from support.helpers import FIXTURES
from support.runs import write_run

import jaxgen
from experiments import pretrained
from jaxgen.errors import CheckpointError, JaxgenError, RunFolderError, SettingError, WriteError
from jaxgen.export import safetensors
from jaxgen.models import dcgan, gan

MARKUP = "python -m a `b` | <script>"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FIXTURES / "old_run" / "rbm", tmp_path / "run"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "collected"


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def collect(*folders: Path, out: Path, **flags: bool) -> list[Path]:
    """The folders of models that are there then."""
    assert pretrained.main(pretrained.Args(folders, out, **flags)) == 0
    return sorted(path for path in out.iterdir() if path.is_dir())


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_collected_run_is_the_run(run: Path, out: Path) -> None:
    before = contents(run)
    (folder,) = collect(run, out=out)
    assert contents(run) == before
    found, given = jaxgen.load(folder), jaxgen.load(run)
    key = jax.random.key(3)
    np.testing.assert_array_equal(found.sample(key, 4), given.sample(key, 4))
    assert found.summary["metrics"] == given.summary["metrics"]
    assert found.summary["train_s"] == found.train_seconds == given.train_seconds
    names = ["config.json", "manifest.json", "metrics.jsonl", "params.safetensors", "summary.json"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert folder.name.endswith("-digits")  # data that are not those of MNIST
    page = (out / "README.md").read_text()
    assert f'jaxgen.load("collected/{folder.name}")' in page
    assert f"| {folder.name} | digits |" in page
    assert given.digest[:8] in page


GANS = {
    "gan": gan.Config(latent_size=3, generator_sizes=(6,), discriminator_sizes=(7,), ema_decay=0.5),
    "dcgan": dcgan.Config(width=1 / 64, latent_size=3),
}


@pytest.mark.parametrize("name", GANS)
def test_a_sampler_is_a_gan_without_its_discriminator(name: str, tmp_path: Path, out: Path) -> None:
    run = write_run(tmp_path / "run", name, GANS[name], (28, 28, 1))
    origin = {"command": f"python -m experiments.{name}", "git_commit": "c0ffee00"}
    (run / "manifest.json").write_text(json.dumps(origin))
    given = jaxgen.load(run)
    (folder,) = collect(run, out=out, sampler=True)
    found, key = jaxgen.load(folder), jax.random.key(3)
    np.testing.assert_array_equal(found.sample(key, 4), given.sample(key, 4))
    assert {*found.params} == {*given.params}
    assert found.params["discriminator"] == {}
    assert found.digest == safetensors.digest(safetensors.flatten(found.params)) != given.digest
    assert found.features == ()
    with pytest.raises(SettingError, match="expected a model with encode, found"):
        found.encode(np.zeros((2, 28, 28, 1), np.uint8))
    names = [path.name for path in found.export(tmp_path / "exported", num=2)]
    assert names == ["generator.safetensors", "sample.stablehlo"]
    assert f"| float32, sampler | test_error 0.25 | {origin['command']} | c0ffee00 | " in (
        page := (out / "README.md").read_text()
    )
    assert given.digest[:8] in page
    (again,) = collect(folder, out=out.with_name("again"), half=True)
    page = (again.parent / "README.md").read_text()
    assert "| float16, sampler | " in page
    assert given.digest[:8] in page
    (whole,) = collect(run, out=out.with_name("half"), half=True)
    before = (whole / "params.safetensors").stat().st_size
    (cut,) = collect(whole, out=out.with_name("half"), sampler=True)  # which stays float16
    assert (cut / "params.safetensors").stat().st_size < before


def test_a_model_whose_samples_need_all_of_it_stays_whole(
    run: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder,) = collect(run, out=out, sampler=True)
    assert (
        f"{folder}: whole, because --sampler leaves out nothing of rbm" in capsys.readouterr().out
    )
    assert jaxgen.load(folder).digest == jaxgen.load(run).digest
    assert "sampler |" not in (out / "README.md").read_text()


def test_a_seed_of_several_has_its_share_of_the_time(run: Path, tmp_path: Path, out: Path) -> None:
    """And still has it if what was collected is collected again."""
    program = tmp_path / "program"
    run.rename(tmp_path / "apart")
    shutil.copytree(tmp_path / "apart", program / "seed0")
    alone = jaxgen.load(program / "seed0").train_seconds
    (program / "summary.json").write_text('{"experiment": "rbm", "seeds": [0, 1, 2]}')
    (folder,) = collect(program / "seed0", out=out)
    found = jaxgen.load(folder)
    assert found.train_seconds == pytest.approx(alone / 3, abs=1e-4)
    before = contents(folder)
    assert collect(folder, out=out) == [folder]
    assert contents(folder) == before
    assert found.summary["train_s"] == found.train_seconds


def test_a_long_log_is_thinned(run: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end stays, and whatever was measured on test images."""
    log = run / "metrics.jsonl"
    first = json.loads(log.read_text().splitlines()[0])
    training = {name: first[name] for name in ("epoch", "train_s", "hidden_mean")}
    lines = [(first if step == 8 else training) | {"step": step} for step in range(1, 31)]
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    monkeypatch.setattr(pretrained, "MAX_LINES", 8)
    (folder,) = collect(run, out=out)
    kept = [json.loads(x) for x in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in kept]
    assert steps == [4, 8, *range(9, 30, 4), 30]
    assert pretrained.thinned(kept) == kept
    assert pretrained.thinned([]) == []
    assert kept == [lines[step - 1] for step in steps]
    monkeypatch.setattr(pretrained, "MAX_LINES", 30)
    (folder,) = collect(run, out=out)
    assert (folder / "metrics.jsonl").read_bytes() == log.read_bytes()


def test_half_the_bytes_hold_numbers_that_are_rounded(run: Path, out: Path) -> None:
    given = jaxgen.load(run)
    (folder,) = collect(run, out=out, half=True)
    found = jaxgen.load(folder)
    sizes = [(each.folder / "params.safetensors").stat().st_size for each in (found, given)]
    assert sizes[0] < 0.55 * sizes[1]
    for name, array in given.params.items():
        assert found.params[name].dtype == np.float32
        np.testing.assert_allclose(found.params[name], array, rtol=2**-11, atol=3e-8)
    assert found.digest == safetensors.digest(found.params) != given.digest
    page = (out / "README.md").read_text()
    assert "| float16 | " in page
    assert given.digest[:8] in page
    (again,) = collect(folder, out=out.with_name("again"), half=True)
    assert jaxgen.load(again).digest == found.digest
    assert (again / "manifest.json").read_text() == (folder / "manifest.json").read_text()
    collect(run, out=out)
    assert jaxgen.load(folder).digest == given.digest
    assert "float16 |" not in (out / "README.md").read_text()


def test_numbers_beyond_float16_are_refused(run: Path, out: Path) -> None:
    params = safetensors.load_params(run / "params.safetensors")
    params["w"][0, 0] = 7e4
    safetensors.save_params(run / "params.safetensors", params, {})
    change(run / "summary.json", digest=safetensors.digest(params), files={})
    with pytest.raises(SettingError, match="without --half"):
        collect(run, out=out, half=True)
    assert not out.exists()


def test_models_of_a_repository_have_its_licence(run: Path, out: Path) -> None:
    collect(run, out=out)
    assert "licence" not in (out / "README.md").read_text()
    out.with_name("LICENSE").write_text("MIT")
    collect(run, out=out)
    assert "[that of the repository](../LICENSE)" in (out / "README.md").read_text()


def test_nothing_of_the_machine_is_collected(run: Path, out: Path) -> None:
    change(run / "config.json", data_dir="/home/somebody", out="/home/somebody/run")
    change(run / "manifest.json", host="somebody's", command="python -m a --overwrite --seed 3")
    change(run / "summary.json", owner="/home/somebody")
    (folder,) = collect(run, out=out)
    text = "".join(path.read_text() for path in folder.glob("*.json"))
    assert "somebody" not in text
    assert '"command": "python -m a --seed 3"' in text


def test_a_run_of_the_same_model_takes_the_place_of_the_other(run: Path, out: Path) -> None:
    (folder,) = collect(run, out=out)
    (folder / "summary.json").unlink()  # as if it had been interrupted
    (again,) = collect(run, out=out)
    assert jaxgen.load(again).digest == jaxgen.load(run).digest
    assert len([*out.iterdir()]) == 2  # the model and the page


def test_what_a_comparison_leaves_is_no_obstacle(run: Path, out: Path) -> None:
    (folder,) = collect(run, out=out)
    page = (out / "README.md").read_text()
    for name in ("measures.json", "measures.html", ".lock"):
        (folder / name).write_text("{}")
    assert pretrained.is_collected(folder)  # so it stays a row of the page
    collect(run, out=out)
    assert not list(folder.glob("measures.*"))  # they may be of another model
    assert (out / "README.md").read_text() == page


def test_runs_beside_the_models_are_no_models(run: Path, tmp_path: Path) -> None:
    change(run / "manifest.json", git_commit=None)  # which a model cannot be without
    other = Path(shutil.copytree(FIXTURES / "old_run" / "rbm", tmp_path / "other"))
    collect(other, out=tmp_path)
    rows = [
        line for line in (tmp_path / "README.md").read_text().splitlines() if "digits |" in line
    ]
    assert len(rows) == 1


@pytest.mark.parametrize(
    "command",
    [
        *("python -m a --out /home/x", "python -m a --data-dir=~/data", "python -m a ../b"),
        *("python -m a '/home/x y'", 'python -m a --out="/home/x"'),
    ],
)
def test_commands_with_places_of_a_machine_are_refused(command: str, run: Path, out: Path) -> None:
    change(run / "manifest.json", command=command)
    with pytest.raises(SettingError, match="whose paths begin in its own folder"):
        collect(run, out=out)
    assert not out.exists()


@pytest.mark.parametrize("values", [{"command": None}, {"git_commit": ["a"]}, {"command": "a 'b"}])
def test_an_origin_that_is_not_known_is_refused(
    values: dict[str, Any], run: Path, out: Path
) -> None:
    change(run / "manifest.json", **values)
    with pytest.raises(CheckpointError, match="the command and the commit"):
        collect(run, out=out)
    assert not out.exists()


def test_markup_of_a_command_is_text(run: Path, out: Path) -> None:
    change(run / "manifest.json", command=f"python -m a '{MARKUP}'")
    collect(run, out=out)
    assert "<script>" not in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("damage", "kind", "words"),
    [
        ("a file", RunFolderError, "to hold a model that was collected"),
        ("something else", RunFolderError, "to hold a model that was collected"),
        ("the run itself", RunFolderError, "to hold a model that was collected"),
        ("other data", RunFolderError, "the same data_digest"),
        ("other seed", RunFolderError, "the same seed"),
        ("page", RunFolderError, "to be the page of collected models"),
        ("in a run", RunFolderError, "outside a run"),
        ("twice", SettingError, "runs of different models"),
        ("none", SettingError, "the folders of runs"),
        ("half", CheckpointError, "a safetensors file"),
        ("out", WriteError, "to write"),
    ],
)
def test_nothing_of_anybody_is_replaced(
    damage: str, kind: type[JaxgenError], words: str, run: Path, out: Path, tmp_path: Path
) -> None:
    name, folders = pretrained.folder_name(jaxgen.load(run)), [run]
    place = out / name
    if damage in ("a file", "something else", "page"):
        place.mkdir(parents=True)
        (place / "thesis.txt").write_text("mine")
    if damage == "a file":
        (place / "thesis.txt").unlink()
        place.rmdir()
        place.write_text("mine")
    elif damage == "page":
        shutil.rmtree(place)
        (out / "README.md").write_text("# Mine")
    elif damage == "the run itself":
        run = Path(shutil.copytree(run, place))
        folders = [run]
    elif damage.startswith("other"):
        collect(run, out=out)
        key = {"other data": "data_digest", "other seed": "seed"}[damage]
        change(place / "summary.json", **{key: 7 if key == "seed" else "0" * 64})
    elif damage == "in a run":
        out = run / "in"
    elif damage == "twice":
        folders = [run, run]
    elif damage == "none":
        folders = []
    elif damage == "half":
        (run / "params.safetensors").write_bytes(b"half")
    elif damage == "out":
        out.write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(kind, match=words):
        collect(*folders, out=out)
    assert contents(tmp_path) == before
