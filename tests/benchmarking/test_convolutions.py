"""The page of the convolutions: each algorithm's time in each direction, and the one taken."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from support.runs import only_line

from experiments.benchmarking import convolutions
from experiments.running.cli import exit_code, parse_flags

ROWS = [
    {"precision": "float32", "layer": layer, "direction": direction, "algorithm": name}
    | {"chosen": name == "winograd", "ms": ms, "gflops_per_s": 1e3 / ms}
    for layer in ("8x8x4 to 8", "4x4x8 to 16")
    for direction, times in (("forward", (3.0, 8.0, 4.0)), ("input_gradient", (6.0, 7.0, 2.0)))
    for name, ms in zip(convolutions.MEASURED, times, strict=True)
]


def test_the_fastest_has_a_star_and_the_taken_one_its_time_over_it() -> None:
    text = convolutions.tables(ROWS)
    assert "| 8x8x4 to 8 | 9 | 15 | ★ 6 | winograd | 1 |" in text
    assert "| 4x4x8 to 16 | forward | ★ 3 | 8 | 4 | winograd | 1.33 | 250 |" in text
    assert text.count("\n## ") + text.startswith("## ") == 2


def test_each_repetition_takes_a_value_of_the_last_one() -> None:
    result = jax.jit(convolutions.repeated(lambda x, y: x + y))(np.arange(3.0) + 1, np.ones(3))
    np.testing.assert_array_equal(result, [2.0**convolutions.REPEATED, 3.0, 4.0])


def test_the_command_writes_a_page_and_rows_of_every_algorithm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(convolutions, "LAYERS", ((8, 1, 4), (4, 4, 8)))
    monkeypatch.setattr(convolutions, "matmul_peak", lambda: 1e9)
    monkeypatch.setattr(convolutions, "REPEATED", 2)
    page, rows = tmp_path / "page.md", tmp_path / "rows.json"
    convolutions.main(
        convolutions.Args(
            batch_size=2,
            width=(0.5,),
            precision=("float32",),
            repeats=1,
            json=rows,
            markdown=page,
        )
    )
    found = json.loads(rows.read_text())
    assert {row["layer"] for row in found} == {"8x8x1 to 2", "4x4x2 to 4"}
    assert len(found) == 2 * 3 * 3
    assert {row["algorithm"] for row in found if row["chosen"]} == {"im2col"}
    assert all(row["ms"] > 0 for row in found)
    backward = {(r["layer"], r["algorithm"]): r["ms"] for r in found if r["direction"][0] == "i"}
    for layer in ("8x8x1 to 2", "4x4x2 to 4"):  # one function, timed once
        assert backward[layer, "im2col"] == backward[layer, "native"]
    assert page.read_text() == capsys.readouterr().out
    assert "## float32, each direction" in page.read_text()


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(convolutions, "measure_all", lambda _: pytest.fail("measured"))
    monkeypatch.setattr("sys.argv", ["convolutions", "--markdown", str(tmp_path)])
    assert exit_code(lambda: convolutions.main(parse_flags(convolutions.Args))) == 7
    assert "found Is a directory" in only_line(capsys.readouterr().err)


@pytest.mark.parametrize("width", ["0", "nan", "inf", "1e9"])
def test_an_impossible_width_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: str
) -> None:
    monkeypatch.setattr("sys.argv", ["convolutions", "--width", width])
    assert exit_code(lambda: convolutions.main(parse_flags(convolutions.Args))) == 2
    assert "above 0" in only_line(capsys.readouterr().err)
