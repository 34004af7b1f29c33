"""The view of a run in training: what TensorBoard reads after a kill."""

from pathlib import Path

import numpy as np
from tensorboardX.proto.event_pb2 import Event, SessionLog

from experiments.running import progress
from jaxgen.runs import metrics_log
from jaxgen.training.loop import Progress

HEADER, FOOTER = 12, 4
"""Bytes around an event: its length with a checksum, and its own checksum."""


def events(folder: Path) -> list[Event]:
    """All events of a folder, in the order in which TensorBoard reads them."""
    found = []
    for path in sorted(folder.glob("events.*")):
        data = path.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            found.append(Event.FromString(data[HEADER : HEADER + size]))
            data = data[HEADER + size + FOOTER :]
    return found


def shown(folder: Path) -> list[int]:
    """The steps that TensorBoard shows: where a session starts it drops that step and later ones.

    So `EventAccumulator._CheckForRestartAndMaybePurge` of TensorBoard has it.
    """
    steps: list[int] = []
    for event in events(folder):
        if event.session_log.status == SessionLog.START:
            steps = [step for step in steps if step < event.step]
        elif event.HasField("summary"):
            steps.append(event.step)
    return steps


def train(folder: Path, first_step: int, last_step: int) -> None:
    """Shows the steps after `first_step`."""
    log = metrics_log.Log(folder / metrics_log.NAME, {})
    with progress.watching(folder, progress.Watch(loggers=("tensorboard",)), log) as hook:
        for step in range(first_step + 1, last_step + 1):
            metrics = {"error": np.float32(1 / step)}
            hook(Progress(None, step, first_step, 100, 1000, metrics, float(step)))


def test_a_resumed_run_has_each_step_once_in_tensorboard(tmp_path: Path) -> None:
    folder = tmp_path / "tensorboard"
    train(tmp_path, 0, 6)
    assert shown(folder) == [1, 2, 3, 4, 5, 6]
    (earlier,) = folder.iterdir()
    earlier.rename(folder / "events.out.tfevents.0.host")  # the names have the seconds
    train(tmp_path, 4, 8)
    assert shown(folder) == [1, 2, 3, 4, 5, 6, 7, 8]
