"""Where a run's numbers and images also go while it trains: TensorBoard, W&B, MLflow.

Each is a `MetricsLogger` of a few lines, and its package is imported only if `--log` names it. A
run that is resumed goes on with the curves that it has: no step is there twice.
"""

import json
import logging
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from experiments.running.console import show
from jaxgen.errors import SettingError
from jaxgen.files import write_json
from jaxgen.runs.folder import read_config

logger = logging.getLogger("jaxgen")

Name: TypeAlias = Literal["tensorboard", "wandb", "mlflow"]

PACKAGES: dict[str, str] = {"tensorboard": "tensorboardX", "wandb": "wandb", "mlflow": "mlflow"}
"""The package of each, by its name for `pip install` and for Python's import."""
REMEDIES = {
    "wandb": "type: wandb login, or set WANDB_MODE=offline",
    "mlflow": "start its server, or set MLFLOW_TRACKING_URI",
}
"""Remedies if a service does not take a run; loggers that are no service have none."""
PROJECT = "jaxgen"
"""The project of W&B, and the experiment of MLflow, in which runs are."""
IDS = "loggers.json"
"""The file of a run folder with the names that W&B and MLflow have for the run."""


class MetricsLogger(Protocol):
    """Takes the numbers and images of one run; steps increase from call to call."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Takes metrics by name, after a step."""

    def images(self, step: int, name: str, images: NDArray[Any]) -> None:
        """Takes images [N, H, W, C] in [0, 1], after a step; C is 1 or 3."""

    def close(self) -> None:
        """Waits until all is written or sent."""


def require_installed(names: Sequence[str]) -> None:
    """Raises SettingError for the first logger whose package is not there."""
    for name in names:
        if find_spec(PACKAGES[name]) is None:
            raise SettingError(
                expected=f"the package {PACKAGES[name]} for --log {name}",
                found="none",
                remedy=f"type: pip install {PACKAGES[name]}",
            )


class TensorBoard:
    """Event files in the run folder, which hold an event back for a second at most.

    A file that begins after `first_step` has TensorBoard drop what a killed process wrote later.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        """Begins a file."""
        from tensorboardX import SummaryWriter

        place = str(folder / "tensorboard")
        self._writer = SummaryWriter(place, purge_step=first_step + 1, flush_secs=1)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes metrics."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def images(self, step: int, name: str, images: NDArray[Any]) -> None:
        """Writes images, side by side."""
        self._writer.add_images(name, images, step, dataformats="NHWC")

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()


class WandB:
    """A run of Weights & Biases; a resumed one is the same run, whose old steps W&B leaves.

    `wandb login` and the variables of W&B decide where it goes: WANDB_MODE=offline needs no
    network, and `wandb sync` sends the run later.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        """Begins a run, or goes on with it."""
        import wandb

        self._wandb = wandb
        name = _known_id(folder, "wandb") if first_step else None
        quiet = wandb.Settings(silent=True, console="off")
        self._run = wandb.init(
            project=PROJECT, name=str(folder), dir=folder, config=read_config(folder),
            id=name or secrets.token_hex(4), resume="allow", settings=quiet,
        )  # fmt: skip
        _keep_id(folder, "wandb", self._run.id)
        show(f"wandb: {self._run.url or f'offline, in {self._run.dir}'}")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Logs metrics."""
        self._run.log(dict(values), step=step)

    def images(self, step: int, name: str, images: NDArray[Any]) -> None:
        """Logs images, side by side."""
        self._run.log({name: self._wandb.Image(side_by_side(images))}, step=step)

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()


class MLflow:
    """A run of MLflow, where MLFLOW_TRACKING_URI is; a resumed one is the same, from its last step.

    A process that was killed may have logged steps that are trained again; MLflow would keep both.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        """Begins a run, or goes on with it."""
        from mlflow import MlflowClient

        self._client, self._last = MlflowClient(), 0
        known = _known_id(folder, "mlflow") if first_step else None
        if known:
            self._id, data = known, self._client.get_run(known).data
            histories = [self._client.get_metric_history(known, name) for name in data.metrics]
            self._last = max((each.step for history in histories for each in history), default=0)
            self._client.update_run(known, "RUNNING")
        else:
            found = self._client.get_experiment_by_name(PROJECT)
            experiment = found.experiment_id if found else self._client.create_experiment(PROJECT)
            self._id = self._client.create_run(experiment, run_name=str(folder)).info.run_id
            for name, value in _flat(read_config(folder)).items():
                self._client.log_param(self._id, name, value)
            _keep_id(folder, "mlflow", self._id)
        show(f"mlflow: run {self._id}")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Logs metrics of a step that is not there."""
        if step > self._last:
            for name, value in values.items():
                self._client.log_metric(self._id, name, value, step=step)

    def images(self, step: int, name: str, images: NDArray[Any]) -> None:
        """Logs images, side by side, of a step that is not there."""
        if step > self._last:
            self._client.log_image(self._id, side_by_side(images), key=name, step=step)

    def close(self) -> None:
        """Ends the run."""
        self._client.set_terminated(self._id)


KINDS: dict[str, Callable[[Path, int], MetricsLogger]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "mlflow": MLflow,
}


class Loggers:
    """Several loggers as one. A service that fails is left out, and training goes on."""

    def __init__(self, names: Sequence[str], folder: Path, first_step: int) -> None:
        """Opens them for the run in a folder that goes on from a step.

        Errors:
            SettingError: a service does not take the run.
        """
        self._open: dict[str, MetricsLogger] = {}
        for name in dict.fromkeys(names):
            try:
                self._open[name] = KINDS[name](folder, first_step)
            except Exception as error:  # of packages that have errors of many kinds
                self.close()
                if name not in REMEDIES:
                    raise
                raise SettingError(
                    expected=f"{name} to take the run for --log {name}",
                    found=f"{error}".partition("\n")[0][:200],
                    remedy=REMEDIES[name],
                ) from error

    def _each(self, call: Callable[[MetricsLogger], None]) -> None:
        for name, each in [*self._open.items()]:
            try:
                call(each)
            except Exception as error:
                if name not in REMEDIES:  # the folder of the run, where all else would fail too
                    raise
                text = f"{error}".partition("\n")[0][:200]
                logger.warning("no more goes to %s: %s", name, text)
                del self._open[name]

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Hands metrics to all."""
        self._each(lambda each: each.scalars(step, values))

    def images(self, step: int, name: str, images: NDArray[Any]) -> None:
        """Hands images to all."""
        self._each(lambda each: each.images(step, name, images))

    def close(self) -> None:
        """Closes all."""
        self._each(lambda each: each.close())


def side_by_side(images: NDArray[Any]) -> NDArray[np.uint8]:
    """Images [N, H, W, C] in [0, 1] as one, [H, N W, C], of bytes."""
    row: NDArray[np.uint8] = np.rint(255 * np.hstack([*images])).astype(np.uint8)
    return row


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Settings by dotted names, as text of a length that MLflow takes."""
    found: dict[str, str] = {}
    for name, value in config.items():
        inner = isinstance(value, Mapping)
        found |= _flat(value, f"{prefix}{name}.") if inner else {prefix + name: str(value)[:500]}
    return found


def _ids(folder: Path) -> dict[str, str]:
    """The names that services have for the run in a folder."""
    try:
        found = json.loads((folder / IDS).read_bytes()[: 1 << 16])
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _known_id(folder: Path, service: str) -> str | None:
    found = _ids(folder).get(service)
    return found if isinstance(found, str) and re.fullmatch(r"\w{1,64}", found) else None


def _keep_id(folder: Path, service: str, name: str) -> None:
    write_json(folder / IDS, _ids(folder) | {service: name})
