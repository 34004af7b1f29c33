"""A finished run, read back: its settings, parameters and numbers, and what its model can do.

    run = load(Path("runs/vae-mnist-seed0"))
    images = run.sample(jax.random.key(0), 16)
    codes = run.encode(run.dataset().test.images)

Nothing in a folder is run, and nothing is written. Each file is compared with the others before its
content is used: the parameters have the digest that the summary has, and the names, shapes and
dtypes that follow from the settings. So a folder from a stranger gives a run that was made with
this library, or an error of one line.
"""

import dataclasses
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxgen import data, models
from jaxgen.errors import CheckpointError, JaxgenError, SettingError
from jaxgen.evaluation import classifier as classifiers
from jaxgen.evaluation import suite
from jaxgen.evaluation.adapters import evaluated_model
from jaxgen.evaluation.classifier import Classifier
from jaxgen.evaluation.model import (
    DEFAULT_BUDGET,
    EvaluatedModel,
    Likelihood,
    LikelihoodBudget,
    RawImages,
    compute_in_blocks,
)
from jaxgen.evaluation.probes import NUM_LABELS
from jaxgen.evaluation.suite import Evaluation
from jaxgen.export import safetensors
from jaxgen.learner import Images, Learner, PRNGKey, State, named_key
from jaxgen.models import ImageShape
from jaxgen.runs import metrics_log, samples, settings
from jaxgen.runs.folder import CONFIG, read_config
from jaxgen.runs.metrics_log import Series
from jaxgen.runs.samples import NumpyArray
from jaxgen.runs.settings import printable, shown
from jaxgen.runs.summary import (
    NAME,
    is_seed,
    read_summary,
    seed_folder,
    seeds_of,
    train_seconds,
)

PARAMS = "params.safetensors"
MNIST_SHAPE = (28, 28, 1)
"""[H, W, C] of the images of all data sets, where a summary does not have it."""
MAX_SIDE = 4096
"""Pixels of an image's side, at most."""
MAX_LAYERS = 64
HEADER_BYTES = 1 << 20
"""Of a file of parameters besides the arrays, at most."""
STATE_BYTES = 1 << 30
"""A state may take that much, besides eight times its parameters."""
EVERY_RUN = {"epochs": int, "batch_size": int, "preset": str}
"""Types of settings that every run has; all but the model's are the experiment's to check."""
MOST_SHOWN = 5
"""Settings named in an error."""
LIKELIHOODS = "log_likelihood"


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run of one seed; or of several, which are runs themselves in `seeds`."""

    folder: Path
    model: str
    """Name of the model in `jaxgen.models`, and of its experiment."""
    config: Any
    """The model's settings, as the class ``Config`` of its module."""
    settings: Mapping[str, Any]
    """Every setting of the run, as its config.json has it."""
    summary: Mapping[str, Any]
    """The content of its summary.json; `summary["metrics"]` are the run's final numbers."""
    image_shape: ImageShape
    """[H, W, C] of the images that it was trained on."""
    seeds: tuple["Run", ...] = ()
    """The run of each seed, where there are several; empty for one seed."""
    arrays: Any = field(default=None)
    """The parameters, or None where the run has several seeds; `params` is the way to them."""

    def __repr__(self) -> str:
        """The run in a line, without its arrays."""
        seeds = ", ".join(str(run.seed) for run in self.seeds)
        which = f"seeds {seeds}" if self.seeds else f"seed {self.seed}"
        return f"<Run of {self.model} on {self.dataset_name}, {which}, in {self.folder}>"

    # ---- what the run is

    @property
    def dataset_name(self) -> str:
        """Name of the data set that it was trained on."""
        return str(self.summary["dataset"])

    @property
    def dataset_digest(self) -> str:
        """The sha256 of that data set."""
        return str(self.summary["data_digest"])

    @property
    def seed(self) -> int:
        """Root of all randomness of the run.

        Errors:
            SettingError: the run has several seeds.
        """
        return int(self._of_one_seed().summary["seed"])

    @property
    def digest(self) -> str:
        """The sha256 of the parameters.

        Errors:
            SettingError: the run has several seeds.
        """
        return str(self._of_one_seed().summary["digest"])

    @property
    def params(self) -> Any:
        """The parameters as the learner's state has them: NumPy arrays, float32.

        Errors:
            SettingError: the run has several seeds.
        """
        return self._of_one_seed().arrays

    @cached_property
    def metrics(self) -> dict[str, Series]:
        """The metrics log by name: steps [n] and values [n], or [n, num_seeds] of several seeds.

        The metrics of a DBN's layers begin with ``layer1/``, ``layer2/``, and so on.

        Errors:
            RunFolderError: the log is damaged.
        """
        found = metrics_log.series(metrics_log.read_lines(self.folder / metrics_log.NAME))
        for path in sorted(self.folder.glob(f"layer*/{metrics_log.NAME}")):
            lines = metrics_log.series(metrics_log.read_lines(path))
            found |= {f"{path.parent.name}/{name}": series for name, series in lines.items()}
        return found

    @property
    def train_seconds(self) -> float:
        """Seconds of training; seeds that were trained together share the time equally."""
        return train_seconds(self.folder)

    @cached_property
    def learner(self) -> Learner:
        """The learner that the run's state belongs to."""
        learner: Learner = models.module(self.model).learner(self.config, self.image_shape)
        return learner

    @cached_property
    def state(self) -> State:
        """The learner's state with the run's parameters; all else is as before the first step.

        Errors:
            SettingError: the run has several seeds.
        """
        params = jax.tree.map(jnp.asarray, self.params)
        return models.state_of(self.model, self.config, self.image_shape, params)

    @cached_property
    def evaluated(self) -> EvaluatedModel:
        """The model as the measures of `jaxgen.evaluation` take it."""
        return evaluated_model(self.config, self.image_shape, self.params)

    def dataset(self, data_dir: Path | None = None, manual_dir: Path | None = None) -> data.Dataset:
        """The data set that the run was trained on; arguments and errors as `jaxgen.data.load`.

        Errors:
            SettingError: the data set of that name has other images now.
        """
        return self._checked(data.load(self.dataset_name, data_dir, manual_dir))

    def _checked(self, dataset: data.Dataset) -> data.Dataset:
        """The data set, if it is the one that the run was trained on.

        Errors:
            SettingError: it is another one.
        """
        if dataset.digest != self.dataset_digest:
            raise SettingError(
                expected=f"{self.dataset_name} with sha256 {shown(self.dataset_digest)}, on which "
                f"{self.folder} was trained",
                found=dataset.digest,
                remedy="set data_dir to the folder that the run was made with",
            )
        return dataset

    # ---- what its model does

    @cached_property
    def _sample(self) -> Any:
        return jax.jit(self.learner.sample, static_argnums=2)

    def sample(self, key: PRNGKey, num: int) -> Images:
        """Draws `num` images of the model's own size, in [0, 1].

        The images in samples.npz are those of ``named_key(jax.random.key(run.seed), "sample")``.
        """
        images: Array = self._sample(self.state, key, num)
        return images

    def stored_samples(self) -> NumpyArray:
        """The images that the run drew itself, [num, height, width, channels].

        Errors:
            CheckpointError: there are none, or their file is damaged, or the model draws others.
        """
        self._of_one_seed()
        images = samples.read_samples(self.folder)
        key = jax.random.key(0)
        drawn = jax.eval_shape(lambda state: self.learner.sample(state, key, 1), self.state)
        if images.shape[1:] != drawn.shape[1:]:
            raise CheckpointError(
                expected=f"images of {drawn.shape[1:]} in {self.folder / samples.NAME}",
                found=str(images.shape[1:]),
                remedy="type the run's command again with --resume",
            )
        return images

    def encode(self, images: RawImages, units: str | None = None) -> Float[np.ndarray, "num units"]:
        """The model's features of images: hidden units, mean codes, or D's last hidden layer.

        Args:
            images: raw, uint8, as `dataset` has them.
            units: one of the names in `features`; None is the last of them, the highest units.

        Errors:
            SettingError: the model has no features, or none of that name.
        """
        features = self.evaluated.features
        if not features:
            self._cannot("encode")
        name = [*features][-1] if units is None else units
        if name not in features:
            raise SettingError(
                expected=f"units of {self.model}: {', '.join(features)}",
                found=shown(units),
                remedy="name one of them, or none for the highest",
            )
        return compute_in_blocks(jax.jit(features[name]), self._raw(images))

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the units that `encode` gives, the highest last."""
        return tuple(self.evaluated.features)

    def decode(self, codes: Float[Array | np.ndarray, "num units"]) -> Images:
        """The images of codes, or of a net's highest hidden units; nothing is drawn.

        Errors:
            SettingError: the model has no decoder, or codes of another size.
        """
        if self.evaluated.decode is None:
            self._cannot("decode")
        codes = jnp.asarray(codes, jnp.float32)
        try:
            if codes.ndim != 2:
                raise TypeError("no rows of codes")
            jax.eval_shape(self.evaluated.decode, codes)
        except Exception as error:  # layers of other sizes lead to many kinds of errors
            raise SettingError(
                expected=f"codes [num, units] of the size that {self.model} has",
                found=f"an array {codes.shape}",
                remedy="take what encode returns, or draw as many numbers a row",
            ) from error
        images: Array = jax.jit(self.evaluated.decode)(codes)
        return images

    def reconstruct(self, key: PRNGKey, images: RawImages) -> Images:
        """The model's reconstruction of raw images, in [0, 1].

        Errors:
            SettingError: the model does not reconstruct.
        """
        if self.evaluated.reconstruct is None:
            self._cannot("reconstruct")
        found: Array = jax.jit(self.evaluated.reconstruct)(key, self._raw(images))
        return found

    def log_likelihood(
        self,
        key: PRNGKey,
        images: RawImages,
        budget: LikelihoodBudget = DEFAULT_BUDGET,
        training_images: RawImages | None = None,
    ) -> Likelihood:
        """The mean log likelihood of images in nats, or the best bound or estimate of it.

        The result's `kind` is exact, an estimate or a bound, and by what.

        Args:
            key: of all draws.
            images: raw; they are made binary as the model's input is.
            budget: how much is computed; the comparison's where not given.
            training_images: where annealing starts; `images` where not given.

        Errors:
            SettingError: the model has no likelihood of the pixels that it was shown.
        """
        if self.evaluated.likelihoods is None:
            self._cannot(LIKELIHOODS)
        training = None if training_images is None else self._raw(training_images)
        found = self.evaluated.likelihoods(self._raw(images), budget, training, key)
        return found[-1]

    def evaluate(
        self,
        dataset: data.Dataset | None = None,
        classifier: Classifier | None = None,
        *,
        num_samples: int = suite.NUM_FEATURES,
        num_labels: Sequence[int] = NUM_LABELS,
        budget: LikelihoodBudget = DEFAULT_BUDGET,
        likelihoods: list[Likelihood] | None = None,
    ) -> Evaluation:
        """The measures of the comparison; of the same budget, the same numbers.

        Args:
            dataset: the one that the run was trained on, loaded where not given.
            classifier: of that data set; trained or read beside it where not given.
            num_samples: how many are drawn and measured.
            num_labels: numbers of labels that probes are given; more than there are mean all.
            budget: how much is computed for likelihoods.
            likelihoods: those that are known already, in the place of computed ones.

        Errors:
            SettingError: the run has several seeds, or the data set is another one.
        """
        key = named_key(jax.random.key(self.seed), "yardstick")  # another name draws others
        dataset = dataset or self.dataset()
        return suite.evaluate(
            self.evaluated,
            self._checked(dataset),
            classifier or classifiers.load(dataset),
            key,
            num_samples=num_samples,
            num_labels=num_labels,
            budget=budget,
            likelihoods=likelihoods,
        )

    def _of_one_seed(self) -> "Run":
        """This run.

        Errors:
            SettingError: it has several seeds.
        """
        if self.seeds:
            raise SettingError(
                expected="the run of one seed",
                found=f"{self.folder} with {len(self.seeds)} of them in run.seeds",
                remedy="take run.seeds[0], for example",
            )
        return self

    def _raw(self, images: RawImages) -> NumpyArray:
        """Images as the model takes them.

        Errors:
            SettingError: they are of another shape or dtype.
        """
        array = np.asarray(images)
        if array.dtype != np.uint8 or array.shape[1:] != self.image_shape or not len(array):
            raise SettingError(
                expected=f"raw images, uint8 from 0 to 255, [num, {str(self.image_shape)[1:-1]}]",
                found=f"{array.dtype} {array.shape}",
                remedy="take them from run.dataset(), or convert yours",
            )
        return array

    def _cannot(self, what: str) -> NoReturn:
        """Raises SettingError that names what the model can do."""
        model = self.evaluated
        there = {
            "sample": True,
            "encode": bool(model.features),
            "decode": model.decode is not None,
            "reconstruct": model.reconstruct is not None,
            LIKELIHOODS: model.likelihoods is not None,
        }
        raise SettingError(
            expected=f"a model with {what}",
            found=f"a {self.model}, which has {', '.join(name for name in there if there[name])}",
            remedy="take one of these, or the run of another model",
        )


def load(folder: Path | str) -> Run:
    """Reads a finished run, of one seed or of several.

    A setting of the model that the run was made without takes its class's default.

    Errors:
        CheckpointError: there is no finished run, or its files are damaged, or do not fit together.
        SettingError: a setting of the model is of another type, or impossible.
        RunFolderError: its settings are no JSON.
    """
    folder = Path(folder)
    found = read_summary(folder)
    if not found:
        raise _unfinished(folder)
    stored = settings.read_json(folder / CONFIG)
    name = found["experiment"]
    if name not in models.names() or stored.get("experiment") != name:
        raise _misfit(folder, "the experiment of a model in config.json and summary.json", "none")
    _check_text(folder, found, "dataset", "data_digest")
    _check_settings(folder, stored)
    config = _model_config(folder, name, stored)
    shape = _image_shape(folder, found)
    if "seeds" in found:
        return _of_several(Run(folder, name, config, stored, found, shape))
    seed, others = found.get("seed"), stored.get("seeds", [])
    if not is_seed(seed) or stored.get("seed", seed) != seed or others not in ([], [seed]):
        raise _misfit(folder, "one seed in config.json and summary.json", "another")
    _check_text(folder, found, "digest")
    _check_metrics(folder, found)
    params = _read_params(folder, found, name, config, shape)
    return Run(folder, name, config, stored, found, shape, arrays=params)


def _of_several(root: Run) -> Run:
    """The run of several seeds, with the run of each."""
    seeds = seeds_of(dict(root.summary))
    if len({*seeds}) != len(root.summary["seeds"]) or root.settings.get("seeds") != seeds:
        raise _misfit(root.folder, "the same seeds in config.json and summary.json", "others")
    runs = tuple(load(seed_folder(root.folder, seed)) for seed in seeds)
    for seed, run in zip(seeds, runs, strict=True):
        alike = (run.model, run.config, run.image_shape, run.dataset_digest)
        same = alike == (root.model, root.config, root.image_shape, root.dataset_digest)
        if run.seeds or run.seed != seed or not same:
            raise _misfit(root.folder, f"the run of seed {seed} in {run.folder}", "another run")
    return dataclasses.replace(root, seeds=runs)


def _unfinished(folder: Path) -> CheckpointError:
    """What lies in a folder in the place of a finished run, and what to do."""
    found, remedy = "no such folder", "name the folder of a finished run"
    if folder.is_dir():
        found = "no run"
    if config := read_config(folder):
        there = (
            "whose summary.json is damaged" if (folder / NAME).exists() else "that has not ended"
        )
        found = f"a run of {printable(str(config['experiment']), 60)} {there}"
        remedy = "type its command again with --resume"
    return CheckpointError(expected=f"a finished run in {folder}", found=found, remedy=remedy)


def _misfit(folder: Path, expected: str, found: str) -> CheckpointError:
    return CheckpointError(
        expected=f"{expected} of the run in {folder}",
        found=found,
        remedy="make the run again, or use the version of jaxgen that made it",
    )


def _check_text(folder: Path, found: Mapping[str, Any], *names: str) -> None:
    """Raises CheckpointError where one of the names has no text in a summary."""
    for name in names:
        if not isinstance(found.get(name), str):
            raise _misfit(folder, f"a text for {name} in {NAME}", shown(found.get(name)))


def _check_settings(folder: Path, stored: Mapping[str, Any]) -> None:
    """Raises CheckpointError where a setting that every run has is of another type."""
    for name, kind in EVERY_RUN.items():
        if type(stored.get(name)) not in (kind, NoneType):
            raise _misfit(folder, f"{kind.__name__} for {name} in {CONFIG}", shown(stored[name]))


def _check_metrics(folder: Path, found: Mapping[str, Any]) -> None:
    """Raises CheckpointError unless the final metrics of one seed are finite numbers."""
    metrics = found.get("metrics")
    if not isinstance(metrics, Mapping) or not all(map(_is_number, metrics.values())):
        raise _misfit(folder, f"finite numbers for metrics in {NAME}", shown(metrics))


def _is_number(value: object) -> bool:
    """Whether this is a finite number that a float holds."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max  # type: ignore[arg-type]


def _model_config(folder: Path, name: str, stored: Mapping[str, Any]) -> Any:
    """The model's settings.

    Errors:
        SettingError: a value is of another type, or impossible.
        CheckpointError: there are none, or a field is unknown, or a whole number is beyond what
            any model takes.
    """
    given = stored.get("model")
    if not isinstance(given, Mapping):
        raise _misfit(folder, "a mapping for model in config.json", shown(given))
    kind = models.module(name).Config
    if unknown := [x for x in settings.unlike(kind, given, "model.") if "unknown" in x]:
        raise _misfit(folder, f"settings of {name} in {CONFIG}", "; ".join(unknown[:MOST_SHOWN]))
    config = settings.rebuild(kind, given, where="model.")
    for value in dataclasses.asdict(config).values():
        if isinstance(value, tuple) and len(value) > MAX_LAYERS:
            raise _misfit(folder, f"at most {MAX_LAYERS} layers", str(len(value)))
        for number in value if isinstance(value, tuple) else (value,):
            if type(number) is int and abs(number) > np.iinfo(np.int32).max:
                raise _misfit(folder, "whole numbers of 32 bits", "a huge number")
    return config


def _image_shape(folder: Path, found: Mapping[str, Any]) -> ImageShape:
    """[H, W, C] of the images; those that a summary does not name are of the data sets here."""
    shape = found.get("image_shape", [*MNIST_SHAPE])
    if (
        not isinstance(shape, list)
        or len(shape) != 3
        or not all(type(size) is int and 1 <= size <= MAX_SIDE for size in shape)
    ):
        raise _misfit(folder, f"an image's height, width and channels in {NAME}", shown(shape))
    height, width, num_channels = shape
    return height, width, num_channels


def _read_params(
    folder: Path, found: Mapping[str, Any], name: str, config: Any, image_shape: ImageShape
) -> Any:
    """The parameters, in the structure of the learner's; see `load` for the errors."""
    wanted = _params_shape(folder, name, config, image_shape)
    leaves = safetensors.flatten(wanted)
    path = folder / PARAMS
    size, most = path.stat().st_size if path.is_file() else 0, _num_bytes(wanted) + HEADER_BYTES
    if size > most:
        raise _misfit(folder, f"at most {most:,} bytes in {PARAMS}", f"{size:,}")
    arrays = safetensors.load_params(path)
    if (digest := safetensors.digest(arrays)) != found["digest"]:
        raise CheckpointError(
            expected=f"the parameters in {folder} to have the digest {shown(found['digest'])}",
            found=digest,
            remedy="finish the run again with --resume",
        )
    for each in [*leaves, *(each for each in arrays if each not in leaves)]:
        expected, there = (_described(x.get(each)) for x in (leaves, arrays))
        if expected != there:
            raise _misfit(folder, f"{expected} for {shown(each)} in {PARAMS}", there)
        if not np.all(np.isfinite(arrays[each])):
            raise _misfit(folder, f"finite numbers for {each} in {PARAMS}", "others")
    return jax.tree.unflatten(jax.tree.structure(wanted), [arrays[each] for each in leaves])


def _params_shape(folder: Path, name: str, config: Any, image_shape: ImageShape) -> Any:
    """Names, shapes and dtypes of the parameters that the settings make.

    Errors:
        CheckpointError: the settings make none, or a state that takes much more memory.
    """
    try:
        wanted = models.params_shape(name, config, image_shape)
        state = jax.eval_shape(partial(models.state_of, name, config, image_shape), wanted)
        needed = _num_bytes(state)
    except JaxgenError as error:
        raise _misfit(folder, "settings that make a model", str(error)) from error
    except Exception as error:  # sizes that no array has lead to many kinds of errors
        text = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise _misfit(folder, "settings that make a model", text) from error
    if needed > STATE_BYTES + 8 * _num_bytes(wanted):
        raise _misfit(folder, "settings that make a state of the parameters' size", f"{needed:,} B")
    return wanted


def _num_bytes(tree: Any) -> int:
    """Bytes of all arrays together."""
    leaves = safetensors.flatten(tree).values()
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def _described(array: Any) -> str:
    """An array's dtype and shape; of None, nothing."""
    return "nothing" if array is None else f"{array.dtype} {tuple(array.shape)}"
