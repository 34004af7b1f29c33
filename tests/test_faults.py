"""Faults that a run folder meets: kills, full disks, damage and strangers, trial by trial.

    pytest -m slow -n 0 -s tests/test_faults.py

Every trial draws a fault of a kind. It passes if the run ends in the bits of a run that nothing
disturbed, or if it is refused in one line with an exit code of `jaxgen.errors` and nothing has
changed. The variable FAULTS is the number of trials per kind, FAULTS_SEED draws other ones.
"""

import io
import json
import math
import os
import random
import shutil
import sys
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.helpers import run_python
from support.hostile import VALUES, changed, places
from support.runs import Command, call, contents, lines_of, read, without_times

import jaxgen
from experiments import compare, reproduce
from experiments.reproduction import runs as reproduce_runs
from jaxgen.errors import JaxgenError
from jaxgen.evaluation import classifier
from jaxgen.export import safetensors

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

TRIALS = int(os.environ.get("FAULTS", "20"))
SEED = int(os.environ.get("FAULTS_SEED", "0"))
FLAGS = ("--epochs", "60", "--log-every", "10")
REFUSED = {2, 3, 4, 5, 6, 7, 8}
"""Exit codes of a refusal, as `jaxgen.errors` lists them."""

Spoil = Callable[[Path, random.Random], str]
"""Changes a run folder; returns what was done, in words."""


class Trials:
    """Counts the trials of a kind and keeps those that failed."""

    def __init__(self, kind: str) -> None:
        self.kind, self.ends, self.failed = kind, Counter[str](), list[str]()

    def end(self, fault: str, outcome: str, problem: str = "") -> None:
        """Takes down how a trial ended; a problem is a failure."""
        self.ends[f"failed ({outcome})" if problem else outcome] += 1
        if problem:
            self.failed.append(f"{fault}: {problem}")

    def counts(self) -> str:
        """How many trials ended in which way."""
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        return f"{self.kind}: {self.ends.total()} trials: {ends}"


@pytest.fixture
def trials(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[Trials]:
    """The trials of a test: their counts are printed, and one that failed fails the test."""
    found = Trials(request.node.name.removeprefix("test_"))
    yield found
    with capsys.disabled():
        print(f"\n{found.counts()}")
    assert not found.failed, "\n".join(found.failed)


@pytest.fixture(scope="module")
def whole(digits_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed."""
    return made(digits_root, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def half(digits_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the same run, killed in the middle with two checkpoints saved."""
    command = Command(digits_root, tmp_path_factory.mktemp("half"))
    folder = command.folder / "run"
    with command.start(*FLAGS, "--out", "run", "--checkpoint-seconds", "0") as process:
        while len(lines_of(folder)) < 45:
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        process.kill()
        process.communicate()
    return folder


def made(digits_root: Path, folder: Path) -> Path:
    """Trains a small RBM in `folder`/run."""
    where = Command(digits_root, folder).args(*FLAGS, "--out", str(folder / "run"))[2:]
    assert call(*where) == 0
    return folder / "run"


def resume(digits_root: Path, folder: Path) -> int:
    """Goes on with the run in this process; returns the exit code."""
    words = Command(digits_root, folder).args(*FLAGS, "--out", str(folder), "--resume")[2:]
    return call(*words)


def unlike(folder: Path, whole: Path) -> str:
    """Where a run's numbers are not those of the run that nothing disturbed."""
    here, there = read(folder / "summary.json"), read(whole / "summary.json")
    for name in ("digest", "steps", "metrics"):
        if here[name] != there[name]:
            return f"another {name}"
    if without_times(lines_of(folder)) != without_times(lines_of(whole)):
        return "another log"
    if (folder / "params.safetensors").read_bytes() != (whole / "params.safetensors").read_bytes():
        return "other parameters"
    with np.load(folder / "samples.npz") as mine, np.load(whole / "samples.npz") as theirs:
        return "" if np.array_equal(mine["images"], theirs["images"]) else "other samples"


def unruly(code: int, err: str) -> str:
    """The faults of a refusal: its code, a traceback, more or less than one line."""
    errors = [line for line in err.splitlines() if line.startswith("error: expected ")]
    if code not in REFUSED:
        return f"exit code {code}: {err[-300:]}"
    if "Traceback" in err or len(errors) != 1:
        return f"{len(errors)} lines of error: {err[-300:]}"
    return ""


class Reached(BaseException):
    """A command has read all it wants to and goes to work."""


def reach(*_: Any, **__: Any) -> Any:
    raise Reached


def outcome(enter: Callable[[], int]) -> tuple[int, str]:
    """The exit code of a command, and the last line of its traceback."""
    try:
        return enter(), ""
    except Reached:
        return 0, ""
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return 1, f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"[:300]


# ---- kills and disks


def test_kills(trials: Trials, whole: Path, digits_root: Path, tmp_path: Path) -> None:
    """SIGKILL at any moment, from the start of the program to the end of its report."""
    rng, command = random.Random(SEED), Command(digits_root, tmp_path)
    began = time.monotonic()
    assert command.run(*FLAGS, "--out", "timed").returncode == 0
    lasts = time.monotonic() - began
    for number in range(TRIALS):
        folder, moments = tmp_path / f"run{number}", [rng.uniform(0, lasts) for _ in range(2)]
        for moment in moments:
            seconds = str(rng.choice([0, 0.05, 1000]))
            words = (*FLAGS, "--out", str(folder), "--resume", "--checkpoint-seconds", seconds)
            with command.start(*words) as process:
                time.sleep(moment)
                process.kill()
                process.communicate(timeout=60)
        fault = f"killed after {', '.join(f'{moment:.2f} s' for moment in moments)}"
        done = command.run(*FLAGS, "--out", str(folder), "--resume")
        problem = unlike(folder, whole) if done.returncode == 0 else done.stderr[-300:]
        litter = [str(path) for path in folder.rglob("*") if path.suffix == ".tmp"]
        trials.end(fault, "same bits", problem or ", ".join(litter))
        shutil.rmtree(folder)


LIMITED = """if True:
    import resource, runpy, signal, sys
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
    sys.argv = ["rbm", *sys.argv[2:]]
    runpy.run_module("experiments.rbm", run_name="__main__")
"""


def test_disks(trials: Trials, whole: Path, digits_root: Path, tmp_path: Path) -> None:
    """Files that cannot grow beyond a size, wherever that falls: a full disk, later freed."""
    rng, command = random.Random(SEED), Command(digits_root, tmp_path)
    for number in range(TRIALS):
        folder, limit = tmp_path / f"run{number}", round(math.exp(rng.uniform(0, math.log(1e6))))
        words = command.args(*FLAGS, "--out", str(folder))[2:]
        done = run_python("-B", "-c", LIMITED, str(limit), *words, cwd=tmp_path)
        problem = unruly(done.returncode, done.stderr) if done.returncode else ""
        if done.returncode and not problem and done.returncode != 7:
            problem = f"exit code {done.returncode}"
        freed = command.run(*FLAGS, "--out", str(folder), "--resume")
        problem = problem or (unlike(folder, whole) if freed.returncode == 0 else freed.stderr)
        end = "refused, then the same bits" if done.returncode else "same bits"
        trials.end(f"at most {limit} bytes a file", end, problem)
        shutil.rmtree(folder, ignore_errors=True)


# ---- damage


def damaged(folder: Path, rng: random.Random) -> str:
    """Spoils one file at random."""
    path = rng.choice(sorted(each for each in folder.rglob("*") if each.is_file()))
    data = path.read_bytes()
    place = rng.randrange(len(data)) if data else 0
    kind = rng.choice(["flip", "cut", "empty", "zeros", "twice", "noise", "gone", "folder"])
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind != "gone":
        flipped = data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) if data else b""
        path.write_bytes(
            {
                "flip": flipped + data[place + 1 :],
                "cut": data[:place],
                "empty": b"",
                "zeros": data[:place] + bytes(len(data) - place),
                "twice": data + data,
                "noise": rng.randbytes(len(data)),
            }[kind]
        )
    return f"{kind} at {place} of {path.relative_to(folder)}"


def test_damage_before_the_end(
    trials: Trials, whole: Path, half: Path, digits_root: Path, tmp_path: Path, capsys: Any
) -> None:
    """One file of a run that was killed in its middle is spoilt, and the run goes on."""
    rng = random.Random(SEED)
    for number in range(5 * TRIALS):
        folder = tmp_path / f"run{number}"
        shutil.copytree(half, folder)
        fault, before = damaged(folder, rng), contents(folder)
        capsys.readouterr()
        code, crash = outcome(lambda folder=folder: resume(digits_root, folder))
        err = capsys.readouterr().err
        if code == 0:
            trials.end(fault, "same bits", unlike(folder, whole))
        else:
            changed = "" if contents(folder) == before else "refused, but files have changed"
            trials.end(fault, f"refused with {code}", crash or unruly(code, err) or changed)
        shutil.rmtree(folder)


# ---- strangers


def other_json(folder: Path, rng: random.Random) -> str:
    """Puts another value, or none, where a value stood in a JSON file."""
    path = rng.choice(sorted(folder.glob("*.json")) + sorted(folder.glob("checkpoints/*/*.json")))
    content = read(path)
    place, value = rng.choice([*places(content)]), rng.choice(VALUES)
    path.write_text(json.dumps(changed(content, place, value)))
    return f"{path.relative_to(folder)} {'.'.join(map(str, place))} = {value!r:.40}"


def other_log(folder: Path, rng: random.Random) -> str:
    """Changes a line of the log."""
    path = folder / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    place = rng.randrange(len(lines))
    kind = rng.choice([b"{}", b"12", b"null", b"\xff\xfe", b"gone", b"twice", b"value", b"zeros"])
    if kind == b"gone":
        del lines[place]
    elif kind == b"twice":
        lines.insert(place, lines[place])
    elif kind == b"value":
        line = json.loads(lines[place])
        line[rng.choice([*line])] = rng.choice(VALUES)
        lines[place] = json.dumps(line).encode() + b"\n"
    else:
        lines[place] = (bytes(80) if kind == b"zeros" else kind) + b"\n"
    path.write_bytes(b"".join(lines))
    return f"line {place + 1} of the log: {kind!r}"


def other_params(folder: Path, rng: random.Random) -> str:
    """Other parameters than those that were trained."""
    path = folder / "params.safetensors"
    arrays = load_file(path)
    name = rng.choice(sorted(arrays))
    kind = rng.choice(["transposed", "NaN", "lacking", "more", "dtype", "longer", "dotted", "zero"])
    array = arrays.pop(name)
    kinds: dict[str, dict[str, np.ndarray]] = {
        "transposed": {name: array.T.reshape(array.shape[::-1]).copy()},
        "NaN": {name: np.full_like(array, np.nan)},
        "lacking": {},
        "more": {name: array, "another": array},
        "dtype": {name: array.astype(np.float64)},
        "longer": {name: np.concatenate([array, array])},
        "dotted": {name: array, f"{name}.x": array},
        "zero": {name: np.zeros_like(array)},
    }
    save_file(arrays | kinds[kind], path)
    return f"params.safetensors: {name} {kind}"


def other_samples(folder: Path, rng: random.Random) -> str:
    """Other samples than those that the run left."""
    path = folder / "samples.npz"
    with np.load(path) as file:
        images = file["images"]
    kind = rng.choice(["shape", "NaN", "name", "object", "bomb", "range", "colour", "few"])
    kinds: dict[str, Callable[[], dict[str, np.ndarray]]] = {
        "shape": lambda: {"images": images.reshape(len(images), -1)},
        "NaN": lambda: {"images": np.full_like(images, np.nan)},
        "name": lambda: {"pictures": images},
        "object": lambda: {"images": np.array([None, {}])},
        "range": lambda: {"images": 255 * images},
        "colour": lambda: {"images": np.repeat(images, 3, axis=-1)},
        "few": lambda: {"images": images[:3]},
    }
    if kind == "bomb":
        header = io.BytesIO()
        shape = {"descr": "<f4", "fortran_order": False, "shape": (10**6, 28, 28, 1)}
        np.lib.format.write_array_header_1_0(header, shape)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("images.npy", header.getvalue() + bytes(10**8))
    else:
        np.savez_compressed(path, **kinds[kind]())  # type: ignore[arg-type]
    return f"samples.npz: {kind}"


def by_load(folder: Path, digest: str) -> int:
    """Loads a run and uses it; it has the parameters that were trained."""
    try:
        run = jaxgen.load(folder)
        run.sample(jax.random.key(0), 2)
        run.stored_samples()
    except JaxgenError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    assert run.digest == safetensors.digest(run.params) == digest
    return 0


DOORS = ("load", "verify", "compare", "resume")


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "spoil", [other_json, other_log, other_params, other_samples, damaged], ids=lambda f: f.__name__
)
def test_strangers(
    trials: Trials,
    spoil: Spoil,
    door: str,
    whole: Path,
    digits_root: Path,
    tmp_path: Path,
    capsys: Any,
) -> None:
    """A finished run that somebody changed is loaded, verified, compared and gone on with."""
    rng = random.Random(SEED)
    folder, out = tmp_path / "runs" / "run", tmp_path / "out"

    def enter() -> int:
        if door == "load":
            return by_load(folder, read(whole / "summary.json")["digest"])
        if door == "verify":
            return reproduce.main(["--verify", str(folder), "--data-dir", str(digits_root)])
        if door == "compare":
            words = ["compare", str(folder), "--data-dir", str(digits_root), "--out", str(out)]
            sys.argv = words
            return compare.entry()
        return resume(digits_root, folder)

    for _ in range(TRIALS):
        shutil.copytree(whole, folder)
        fault = spoil(folder, rng)
        before = contents(folder.parent)
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", sys.argv)
            patch.setattr(reproduce_runs, "run", reach)
            patch.setattr(classifier, "load", reach)
            code, crash = outcome(enter)
        err = capsys.readouterr().err
        changed = "" if contents(folder.parent) == before else "files have changed"
        if code:
            problem = crash or unruly(code, err) or changed
            trials.end(fault, f"refused with {code}", problem)
        elif door == "resume":
            trials.end(fault, "same bits", unlike(folder, whole))
        else:
            trials.end(fault, "taken", changed)
        shutil.rmtree(folder.parent)
        shutil.rmtree(out, ignore_errors=True)
