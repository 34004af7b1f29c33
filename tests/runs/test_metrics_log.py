"""The metrics log: whole lines are read, a cut end is dropped, other damage is named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.helpers import one_line

from jaxgen.errors import CheckpointError, RunFolderError
from jaxgen.runs import metrics_log
from jaxgen.runs.files import LOG
from jaxgen.training import Progress, Start

FIRST = {"step": 100, "epoch": 1.0, "free_energy_contrast": -1.5, "train_s": 0.5}
SECOND = FIRST | {"step": 200, "binarisation": "sample", "train_s": 1.0, "test_error": 0.25}


def text_of(*lines: object) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def log_with(content: bytes, folder: Path) -> Path:
    path = folder / LOG
    path.write_bytes(content)
    return path


def test_lines_up_to_a_step(tmp_path: Path) -> None:
    path = log_with(text_of(FIRST, SECOND), tmp_path)
    assert metrics_log.read_lines(path) == [FIRST, SECOND]
    assert metrics_log.read_lines(path, 199) == [FIRST]
    assert metrics_log.read_lines(tmp_path / "none") == []


@pytest.mark.parametrize(
    "end", [b"", b'{"step": 200, "f', b"\0" * 64, b'{"step": 200, "x\xff": 1}\n']
)
def test_an_end_that_was_cut_off_is_dropped(end: bytes, tmp_path: Path) -> None:
    assert metrics_log.read_lines(log_with(text_of(FIRST) + end, tmp_path)) == [FIRST]


DAMAGES = {
    "an empty object": text_of(FIRST, {}),
    "null": text_of(FIRST, None),
    "a number": text_of(FIRST, 12),
    "a line twice": text_of(FIRST, FIRST),
    "an earlier step": text_of(SECOND, FIRST),
    "a step in words": text_of(FIRST | {"step": "100"}),
    "no time": text_of({"step": 100, "epoch": 1.0}),
    "no epoch": text_of({"step": 100, "train_s": 0.5}),
    "NaN": text_of(FIRST | {"test_error": float("nan")}, SECOND),
    "a half line inside": text_of(FIRST) + b'{"step": 2\n' + text_of(SECOND),
    "deep nesting": b"[" * 100_000 + b"\n" + text_of(FIRST),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_other_damage_is_refused_in_one_line(damage: str, tmp_path: Path) -> None:
    path = log_with(DAMAGES[damage], tmp_path)
    with pytest.raises(RunFolderError) as error:
        metrics_log.read_lines(path)
    assert str(path) in one_line(error)


def test_series_have_steps_and_values_by_name() -> None:
    found = metrics_log.series([FIRST, SECOND])
    assert set(found) == {"epoch", "free_energy_contrast", "train_s", "test_error"}
    steps, values = found["test_error"]
    assert (steps.tolist(), values.tolist()) == ([200], [0.25])
    of_seeds = metrics_log.series([FIRST | {"test_error": [0.5, 0.25]}])
    assert of_seeds["test_error"][1].shape == (1, 2)


@pytest.mark.parametrize("value", ["nan", True, None, {}, [1, "x"], [[1.0]], float("nan"), 10**400])
def test_what_is_no_number_is_in_no_series(value: object) -> None:
    assert "odd" not in metrics_log.series([FIRST | {"odd": value}])


def test_numbers_of_changing_shape_are_in_no_series() -> None:
    lines = [FIRST | {"odd": [1.0, 2.0]}, SECOND | {"odd": 1.0}]
    assert "odd" not in metrics_log.series(lines)
    assert np.isfinite(metrics_log.series(lines)["train_s"][1]).all()


# ---- a log that training writes

EVERY_DAMAGE = DAMAGES | {
    "nothing": b"",
    "half a line": text_of(FIRST) + b'{"step": 200, "f',
    "zeros at its end": text_of(FIRST) + b"\0" * 64,
    "a byte above 127": text_of(FIRST) + b'{"step": 200, "x\xff": 1}\n',
    "another number": text_of(FIRST | {"train_s": 0.4}, SECOND),
    "everything twice": text_of(FIRST, SECOND) * 2,
}


def written(path: Path, start: Start) -> metrics_log.Log:
    """The log of a run that goes on from there."""
    log = metrics_log.Log(path, {"binarisation": "sample"})
    log.begin(start)
    log.synced()
    return log


def progress(step: int) -> Progress:
    return Progress(None, step, 0, 100, 300, None, step / 200)


@pytest.mark.parametrize("damage", [*EVERY_DAMAGE, "no file"])
def test_a_run_that_goes_on_has_its_log_from_its_checkpoint(damage: str, tmp_path: Path) -> None:
    path, whole = tmp_path / LOG, text_of(FIRST, SECOND)
    if damage != "no file":
        path.write_bytes(EVERY_DAMAGE[damage])
    log = written(path, Start(200, 100, whole))
    assert path.read_bytes() == whole
    log.write(progress(300), {"test_error": np.float32(0.5)})
    added = {"step": 300, "epoch": 3.0, "train_s": 2.5, "binarisation": "sample"}
    assert metrics_log.read_lines(path) == [FIRST, SECOND, added | {"test_error": 0.5}]


@pytest.mark.parametrize("damage", [*EVERY_DAMAGE, "no file"])
def test_a_log_that_is_damaged_during_training_is_whole_at_the_next_checkpoint(
    damage: str, tmp_path: Path
) -> None:
    path = tmp_path / LOG
    path.write_bytes(b"of a run that was killed before its first checkpoint")
    log = written(path, Start(0, 100, None))
    assert path.read_bytes() == b""
    log.write(progress(100), {"test_error": 0.5})
    path.unlink()
    if damage != "no file":
        path.write_bytes(EVERY_DAMAGE[damage])
    log.write(progress(200), {"test_error": 0.25})
    assert log.synced() == path.read_bytes()
    assert [line["test_error"] for line in metrics_log.read_lines(path)] == [0.5, 0.25]


@pytest.mark.parametrize("damage", [*EVERY_DAMAGE, "no file"])
def test_a_checkpoint_without_a_log_needs_the_whole_file(damage: str, tmp_path: Path) -> None:
    """An older version kept none: every end of an epoch must have its line."""
    path, start = tmp_path / LOG, Start(200, 100, None)
    path.write_bytes(text_of(FIRST, SECOND, SECOND | {"step": 300}))
    written(path, start)
    assert metrics_log.read_lines(path) == [FIRST, SECOND]
    path.unlink()
    if damage != "no file":
        path.write_bytes(EVERY_DAMAGE[damage])
    if damage == "another number":
        return  # nobody can tell
    with pytest.raises(RunFolderError) as error:
        written(path, start)
    assert str(path) in one_line(error)


def of_seeds(line: dict[str, Any], *values: Any) -> dict[str, Any]:
    return line | {"free_energy_contrast": [*values], "test_error": [*values]}


FORGED = {
    "nothing": b"",
    "no line of the last epoch": text_of(of_seeds(FIRST, 0.5, 0.5)),
    "steps beyond it alone": text_of(of_seeds(SECOND | {"step": 300}, 0.5, 0.5)),
    "too few seeds": text_of(of_seeds(FIRST, 0.5), of_seeds(SECOND, 0.5)),
    "one number": text_of(of_seeds(FIRST, 0.5, 0.5), SECOND),
    "a text": text_of(of_seeds(FIRST, 0.5, "<b>"), of_seeds(SECOND, 0.5, 0.5)),
    "times of seeds": text_of(of_seeds(FIRST | {"epoch": [1.0, 1.0]}, 0.5, 0.5)),
    "infinity": text_of(of_seeds(FIRST, 0.5, 0.5), of_seeds(SECOND, 0.5, 0.5)).replace(
        b"0.5]", b"1e999]", 1
    ),
    "NaN": text_of(of_seeds(FIRST, float("nan"), 0.5), of_seeds(SECOND, 0.5, 0.5)),
    "no epoch": text_of({"step": 100, "train_s": 0.5}, of_seeds(SECOND, 0.5, 0.5)),
    "another note": text_of(of_seeds(FIRST | {"x": "y"}, 0.5, 0.5), of_seeds(SECOND, 0.5, 0.5)),
}


@pytest.mark.parametrize("source", ["checkpoint", "file"])
@pytest.mark.parametrize("damage", FORGED)
def test_a_log_that_does_not_reach_its_step_for_each_seed_is_refused(
    damage: str, source: str, tmp_path: Path
) -> None:
    """Whoever wrote it: one check for the log of a checkpoint and for the file of an old run."""
    path, notes = tmp_path / LOG, {"binarisation": "sample"}
    whole = text_of(of_seeds(FIRST, 0.5, 0.25), of_seeds(SECOND, 0.5, 0.25))
    start = Start(200, 100, None)
    for content in (whole, FORGED[damage]):
        path.write_bytes(content)
        given = start._replace(log=content) if source == "checkpoint" else start
        log = metrics_log.Log(path, notes, num_seeds=2)
        if content == whole:
            log.begin(given)
            assert log.synced() == whole
            continue
        kind = CheckpointError if source == "checkpoint" else RunFolderError
        with pytest.raises(kind) as error:
            log.begin(given)
        assert str(path) in one_line(error)
        assert path.read_bytes() == content
