"""The starts of a command: what is timed, which of them find compiled programs, and the page."""

import os
import stat
import sys
from pathlib import Path

import pytest

from experiments import benchmark
from experiments.benchmarking import cases, machine, start
from experiments.benchmarking.start import time_start

RUN = "import time; print('folder'); print('compiling'); time.sleep(0.2); print('epoch 0.1 of 2')"


def command(program: str) -> list[str]:
    return [sys.executable, "-u", "-c", program]


def test_a_start_is_timed_to_its_lines_and_ended(tmp_path: Path) -> None:
    """The program would sleep for a minute, and the marks are 0.2 s apart."""
    mark = tmp_path / "ended"
    whole = f"{RUN}; time.sleep(60); open({str(mark)!r}, 'w')"
    found = time_start(command(whole), os.environ, tmp_path / "log")
    assert 0.0 < found.compiling_s < found.metrics_s - 0.19
    assert found.metrics_s < 60.0
    assert not mark.exists()


def test_a_command_that_fails_has_its_line_and_its_code(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    failing = "import sys; print('compiling'); print('expected a, found b', file=sys.stderr); "
    with pytest.raises(SystemExit) as error:
        time_start(command(f"{failing} sys.exit(4)"), os.environ, tmp_path / "log")
    assert error.value.code == 4
    assert capfd.readouterr().err.strip() == "expected a, found b"
    with pytest.raises(SystemExit) as error:
        time_start(command("pass"), os.environ, tmp_path / "log")
    assert error.value.code == 1
    assert capfd.readouterr().err.strip() == "error: no line of metrics was written"


def test_the_first_start_finds_no_programs_and_the_others_what_it_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for Python keeps a file as JAX keeps a program, and a list of what it found."""
    seen, stand_in = tmp_path / "seen", tmp_path / "python"
    stand_in.write_text(
        '#!/bin/sh\nls "$JAX_COMPILATION_CACHE_DIR" 2>/dev/null | wc -l >> ' + str(seen) + "\n"
        f'echo "$@" >> {seen}\nmkdir -p "$JAX_COMPILATION_CACHE_DIR"\n'
        'touch "$JAX_COMPILATION_CACHE_DIR/program"\necho compiling\necho "epoch 1"\n'
    )
    stand_in.chmod(stand_in.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(stand_in))
    (case,) = cases.cases(("rbm-lab",))
    row = start.measure_starts(case, ["--dataset", "digits"], 2)
    counts, words = seen.read_text().splitlines()[::2], seen.read_text().splitlines()[1::2]
    assert [int(count) for count in counts] == [0, 1, 1]
    begin = "-m experiments.rbm --preset lab --dataset digits --out "
    assert all(each.startswith(begin) for each in words)
    assert len({*words}) == 3  # each in a folder of its own
    low, high = row["metrics_s_range"]
    assert low <= row["metrics_s"] <= high
    assert row["name"] == "rbm-lab"
    assert row["repeats"] == 2


def test_the_page_has_both_starts_and_marks_a_busy_machine() -> None:
    environment = {"processor": "P", "device": "cpu", "packages": {"jax": "1"}}
    row = {
        **{"name": "rbm-lab", "repeats": 3, "environment": environment, "busy": ""},
        **{"first_compiling_s": 1.5, "first_metrics_s": 9.25},
        **{"compiling_s": 1.25, "compiling_s_range": [1.0, 2.0]},
        **{"metrics_s": 4.5, "metrics_s_range": [4.0, 5.0]},
    }
    *_, line = start.page([row]).splitlines()
    assert line == "| rbm-lab | 1.5 | 9.25 | 1.25 (1 to 2) | 4.5 (4 to 5) |"
    *_, line = start.page([row | {"busy": "others had 0.40 of the cores"}]).splitlines()
    assert line.endswith("| others had 0.40 of the cores |")


def test_others_are_not_the_command_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seconds of an ended child are taken off what all cores worked."""
    worked = iter([0.0, 10.0])
    monkeypatch.setattr(start, "_children_s", lambda: next(worked))
    readings = iter([machine.Reading(0.0, 1.0, 100.0), machine.Reading(10.0, 2.0, 113.0)])
    monkeypatch.setattr(machine, "reading", lambda: next(readings))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    found = time_start(command(RUN), os.environ, tmp_path / "log")
    assert found.others == pytest.approx((113.0 - 100.0 - 1.0 - 10.0) / 20.0)


@pytest.mark.programs
def test_a_real_command_starts_twice(tmp_path: Path) -> None:
    args = benchmark.Args(
        start=True, only=("rbm-lab",), dataset="digits", repeats=1, json=tmp_path / "rows.json"
    )
    assert "| rbm-lab |" in benchmark.run(args)
