"""Other work of the machine: its arithmetic, on counters that are written here."""

from pathlib import Path

import pytest

from experiments.benchmarking import machine
from experiments.benchmarking.machine import Reading, disturbance, others


def test_others_have_what_all_cores_worked_less_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two cores in ten seconds all worked 9 s, this process 5 s: 4 of 20 s are others'."""
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    since = Reading(100.0, 7.0, 50.0)
    assert others(since, Reading(110.0, 12.0, 59.0)) == pytest.approx(0.2)
    assert others(since, Reading(110.0, 12.0, 54.9)) == 0.0  # of rounding
    assert others(since, Reading(100.4, 7.0, 50.4)) is None  # too short to count
    assert others(since._replace(all=None), Reading(110.0, 12.0, None)) is None


def test_worked_is_neither_idle_nor_waiting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "STAT", tmp_path / "stat")
    monkeypatch.setattr(machine.os, "sysconf", lambda name: {"SC_CLK_TCK": 100}[name])
    assert machine.reading().all is None
    (tmp_path / "stat").write_text("cpu  100 200 300 9999 9999 1 2 400 50 0\ncpu0 1 1\n")
    assert machine.reading().all == pytest.approx(10.03)


def test_the_clock_is_the_mean_of_the_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    assert machine.clock_mhz() is None
    (tmp_path / "cpuinfo").write_text("cpu MHz\t\t: 2000.0\nflags: x\ncpu MHz\t\t: 3000.5\n")
    assert machine.clock_mhz() == pytest.approx(2500.25)


def test_load_or_spread_is_a_disturbance() -> None:
    assert disturbance([1.0, 1.2], [0.01, None]) == ""
    assert disturbance([], []) == ""
    assert disturbance([1.0, 1.0], [None, 0.25]) == "others had 0.25 of the cores"
    assert disturbance([1.0, 2.0], [None, None]) == "the slowest turn took 2.00 times the fastest"


def test_processors_of_one_name_are_told_by_their_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    plain = machine.run_manifest.environment()
    assert machine.environment() == plain
    core = "cpu family\t: 26\nmodel\t\t: 2\nmodel name\t: AMD EPYC\n"
    (tmp_path / "cpuinfo").write_text(core * 2)
    named = plain["processor"] + " (family 26, model 2)"
    assert machine.environment() == plain | {"processor": named}
