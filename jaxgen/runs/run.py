"""A finished run, read back: its settings, parameters and numbers, and what its model can do.

    run = jaxgen.load("runs/vae-mnist-seed0")
    images = run.sample(jax.random.key(0), 16)
    codes = run.encode(run.dataset().test.images)

`jaxgen.runs.loader` reads the folder.
"""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxgen import data, models
from jaxgen.data.dataset import find_renamed
from jaxgen.errors import MAX_SIZE, CheckpointError, SettingError, is_whole, require_whole
from jaxgen.evaluation import classifier as classifiers
from jaxgen.evaluation import suite
from jaxgen.evaluation.adapters import evaluated_model
from jaxgen.evaluation.classifier import Classifier
from jaxgen.evaluation.inception import Inception
from jaxgen.evaluation.model import (
    DEFAULT_BUDGET,
    EvaluatedModel,
    Likelihood,
    LikelihoodBudget,
    compute_in_blocks,
    compute_in_parts,
)
from jaxgen.evaluation.probes import LEAST_LABELS, NUM_LABELS
from jaxgen.evaluation.suite import Evaluation
from jaxgen.export import safetensors, stablehlo
from jaxgen.export.modules import to_modules
from jaxgen.files import make_folder
from jaxgen.images import ImageShape, check_images
from jaxgen.jitted import jitted
from jaxgen.learner import Images, Labels, Learner, PRNGKey, RawImages, State, named_key
from jaxgen.runs import metrics_log, samples, view
from jaxgen.runs.classes import as_array, labels_of
from jaxgen.runs.files import SAMPLES
from jaxgen.runs.metrics_log import Series
from jaxgen.runs.samples import NumpyArray
from jaxgen.runs.settings import image_options, shown
from jaxgen.runs.summary import read_logs, train_seconds
from jaxgen.training.epoch import num_bytes, require_memory

stages = logging.getLogger("jaxgen.stages")
"""Logs the stage of a computation, for whoever waits."""

LIKELIHOODS = "log_likelihood"


class Prediction(NamedTuple):
    """The classes that a model finds images to be of.

    Example:
        >>> found = jaxgen.load("runs/dbn-digits-seed0").classify(data.load("digits").test.images)
        >>> found.labels.shape, found.probs.shape
        ((297,), (297, 10))
    """

    labels: Int[np.ndarray, " num"]
    """The most probable class of each, counted from 0; of equal ones the first."""
    probs: Float[np.ndarray, "num classes"]
    """p(label | image); each row sums to 1."""


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run of one seed; or of several, which are runs themselves in `seeds`.

    Example:
        >>> run = jaxgen.load("runs/rbm-digits-seed0")
        >>> run.model, run.seed, run.image_shape
        ('rbm', 0, (28, 28, 1))
    """

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
        """The run in a short line, without its arrays; of a long path the folder's own name."""
        return view.line(self)

    def _repr_html_(self) -> str | None:
        """The run as a notebook shows it: what was trained, its numbers, and its first samples."""
        with contextlib.suppress(Exception):  # then the line of __repr__ is shown
            return view.card(self)
        return None

    def __getstate__(self) -> dict[str, Any]:
        """The run as a copy or another process has it: without its compiled functions."""
        return {name: vars(self)[name] for name in self.__dataclass_fields__}

    # ---- what the run is

    @property
    def dataset_name(self) -> str:
        """Name of the data set that it was trained on.

        Example:
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> run.dataset_name
            'digits'
        """
        return str(self.summary["dataset"])

    @property
    def dataset_digest(self) -> str:
        """The sha256 of that data set.

        Example:
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> run.dataset_digest[:8]
            '223d063e'
        """
        return str(self.summary["data_digest"])

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class of each label of that data set; empty where it has none, or is not known.

        Example:
            >>> jaxgen.load("runs/dbn-digits-seed0").class_names[:3]
            ('0', '1', '2')
        """
        return tuple(self.summary.get("class_names", ()))

    @property
    def seed(self) -> int:
        """Root of all randomness of the run.

        Errors:
            SettingError: the run has several seeds.

        Example:
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> run.seed
            0
        """
        return int(self._of_one_seed().summary["seed"])

    @property
    def digest(self) -> str:
        """The sha256 of the parameters.

        Errors:
            SettingError: the run has several seeds.

        Example:
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> run.digest[:8]
            '39a4b649'
        """
        return str(self._of_one_seed().summary["digest"])

    @property
    def params(self) -> Any:
        """The parameters as the learner's state has them: NumPy arrays, float32.

        Errors:
            SettingError: the run has several seeds.

        Example:
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> run.params["w"].shape
            (784, 3)
        """
        return self._of_one_seed().arrays

    @cached_property
    def metrics(self) -> dict[str, Series]:
        """The metrics log by name: steps [n] and values [n], or [n, num_seeds] of several seeds.

        The metrics of a DBN's layers begin with ``layer1/``, ``layer2/``, and so on.

        Errors:
            RunFolderError: the log is damaged.

        Example:
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> steps, values = run.metrics["free_energy_contrast"]
            >>> steps.tolist()
            [15, 30]
        """
        return {
            f"{part}/{name}" if part else name: series
            for part, lines in read_logs(self.folder).items()
            for name, series in metrics_log.series(lines).items()
        }

    @property
    def train_seconds(self) -> float:
        """Seconds of training; seeds that were trained together share the time equally.

        Example:
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> round(run.train_seconds, 4)
            0.1303
        """
        return train_seconds(self.folder)

    @cached_property
    def learner(self) -> Learner:
        """The learner that the run's state belongs to.

        Example:
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> run.learner.image_shape
            (28, 28, 1)
        """
        if self.seeds:  # each of which has parameters of its own
            learner: Learner = models.module(self.model).learner(self.config, self.image_shape)
            return learner
        return models.learner_of(self.model, self.config, self.image_shape, self.params)

    @cached_property
    def state(self) -> State:
        """The learner's state with the run's parameters; all else is as before the first step.

        Errors:
            SettingError: the run has several seeds.

        Example:
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> run.state.params["w"].shape
            (784, 3)
        """
        params = jax.tree.map(jnp.asarray, self.params)
        return models.state_of(self.model, self.config, self.image_shape, params)

    @cached_property
    def evaluated(self) -> EvaluatedModel:
        """The model as the measures of `jaxgen.evaluation` take it.

        Example:
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> run.evaluated.code_size
            3
        """
        return evaluated_model(self.config, self.image_shape, self.params)

    def dataset(
        self,
        data_dir: Path | None = None,
        manual_dir: Path | None = None,
        again: str | Path | None = None,
    ) -> data.Dataset:
        """The data set that the run was trained on.

        A folder or a file that the run's settings name is not opened, for they may be a stranger's:
        the images are looked for, by their digest, among those prepared in `data_dir`. If they are
        there no more, `again` names the folder or the file, and they are prepared as the run's
        were.

        Args:
            data_dir: as in `jaxgen.data.load`.
            manual_dir: as in `jaxgen.data.load`.
            again: the data set as `jaxgen.data.load` takes it; needed only in that case.

        Errors:
            SettingError: the data set has other images now, or has to be named again.
            JaxgenError: as `jaxgen.data.load`.

        Example:
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> run.dataset()
            <Dataset digits: 1,500 train and 297 test images of 28x28x1, 10 classes>
        """
        text = self.find_dataset(data_dir) if again is None else again
        options = image_options(self.settings)
        return self._checked(data.load(text, data_dir, manual_dir, options))

    def find_dataset(self, data_dir: Path | None = None) -> str:
        """The text by which `jaxgen.data.load` finds the run's images: a name, or prepared images.

        Errors:
            SettingError: it is no name, and no images of its digest are prepared.

        Example:
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> run.find_dataset()
            'digits'
        """
        named = self.settings.get("dataset", self.dataset_name)
        if named in data.NAMES and image_options(self.settings) == data.ImageOptions():
            return str(named)
        names = self.summary.get("class_names")
        if found := data.find_images(self.dataset_digest, data_dir, self.dataset_name, names):
            return found
        raise SettingError(
            expected=f"the images of {shown(self.dataset_name)} that {self.folder} was trained on, "
            f"sha256 {shown(self.dataset_digest[:16])}, prepared in {data.data_root(data_dir)}",
            found="none",
            remedy=f"name them again, by --dataset or dataset(again=...); they were {shown(named)}",
        )

    def _checked(self, dataset: data.Dataset) -> data.Dataset:
        """The data set, if it is the one that the run was trained on.

        Errors:
            SettingError: it is another one.
        """
        digest = getattr(dataset, "digest", None)
        if digest != self.dataset_digest:
            raise SettingError(
                expected=f"{self.dataset_name} with sha256 {shown(self.dataset_digest[:16])}, "
                f"which {self.folder} was trained on",
                found=str(digest)[:16] if digest else shown(dataset),
                remedy="name its data set as it was, by --dataset or dataset(again=...), or where "
                "it lies, by --data-dir or data_dir",
            )
        named = self.summary.get("class_names", dataset.class_names)  # not in an older version's
        if other := find_renamed(named, dataset.class_names):
            raise SettingError(
                expected=f"{self.dataset_name}, which {self.folder} was trained on, with the class "
                f"{other[0]}",
                found=f"{other[1]} in its place",
                remedy="name its classes as they were",
            )
        return dataset

    # ---- what its model does

    @cached_property
    def _sample(self) -> Any:
        stages.info("compiling the sampler of %s", self.model)
        return jitted(self.learner.sample, static_argnums=2)

    def sample(
        self,
        key: PRNGKey,
        num: int,
        labels: Labels | str | int | Sequence[str] | Sequence[int] | None = None,
    ) -> Images:
        """Draws `num` images of the model's own size, in [0, 1].

        The images in samples.npz are those of ``named_key(jax.random.key(run.seed), "sample")``,
        but for an RBM's with ``--sampler pt``: here its samples are the ends of plain Gibbs chains.

        Args:
            key: of all draws.
            num: of images.
            labels: the class of each, of a conditional model, or one class for all: names of
                `class_names`, or their numbers. Without them the model draws the classes too.

        Errors:
            SettingError: the key is no key, or the number is below 1, or its images alone take more
                than all of the memory; or labels that are not of the model's classes, or not as
                many.

        Example:
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> run.sample(jax.random.key(0), 4).shape
            (4, 28, 28, 1)
            >>> jaxgen.load("runs/dbn-digits-seed0").sample(jax.random.key(0), 4, labels="7").shape
            (4, 28, 28, 1)
        """
        if not is_whole(num, 1):
            raise SettingError(
                expected=f"a whole number of images, from 1 to {MAX_SIZE:,}",
                found=str(num),
                remedy="set num",
            )
        _check_key(key)
        drawn = jax.eval_shape(lambda state: self.learner.sample(state, key, 1), self.state)
        require_memory(int(num) * num_bytes(drawn), "a number of images", "draw fewer at a time")
        given = [] if labels is None else [jnp.asarray(self._labels(labels, int(num)))]
        images: Array = self._sample(self.state, key, int(num), *given)
        return images

    def _labels(self, labels: Any, num: int) -> NumpyArray:
        """Numbers of the classes that samples are asked for, int32 [num]; errors as `sample`."""
        num_classes, names = self.learner.num_classes, self.class_names
        if not num_classes:
            able = hasattr(self.config, "num_classes")
            raise SettingError(
                expected="labels for a conditional model alone",
                found=f"the run of a {self.model} that is not, in {self.folder}",
                remedy="leave labels out, or take the run of "
                f"a {self.model if able else 'model'} that was trained with --conditional",
            )
        return labels_of(labels, num, num_classes, names)

    def stored_samples(self) -> NumpyArray:
        """The images that the run drew itself, [num, height, width, channels].

        Errors:
            CheckpointError: there are none, or their file is damaged, or the model draws others.

        Example:
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> run.stored_samples().shape
            (100, 28, 28, 1)
        """
        self._of_one_seed()
        images = samples.read_samples(self.folder)
        key = jax.random.key(0)
        drawn = jax.eval_shape(lambda state: self.learner.sample(state, key, 1), self.state)
        if images.shape[1:] != drawn.shape[1:]:
            raise CheckpointError(
                expected=f"images of {drawn.shape[1:]} in {self.folder / SAMPLES}",
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

        Example:
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> run.encode(run.dataset().test.images).shape
            (297, 3)
        """
        features = self.evaluated.features
        if not features:
            self._cannot("encode")
        name = [*features][-1] if units is None else units
        if not isinstance(name, str) or name not in features:
            raise SettingError(
                expected=f"units of {self.model}: {', '.join(features)}",
                found=shown(units),
                remedy="name one of them, or none for the highest",
            )
        return compute_in_blocks(jax.jit(features[name]), self._raw(images))

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the units that `encode` gives, the highest last.

        Example:
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> run.features
            ('hidden units',)
        """
        return tuple(self.evaluated.features)

    def decode(self, codes: Float[Array | np.ndarray, "num units"]) -> Images:
        """The images of codes, or of a net's highest hidden units; nothing is drawn.

        A GAN decodes codes z ~ N(0, I), which its `encode` does not return: that gives D's
        features.

        Errors:
            SettingError: the model has no decoder, or codes of another size, or not finite.

        Example:
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> run.decode(np.eye(3)).shape
            (3, 28, 28, 1)
        """
        if self.evaluated.decode is None:
            self._cannot("decode")
        size = self.evaluated.code_size
        rows = as_array(codes)
        numbers = rows.dtype.kind in "biuf" and rows.ndim == 2 and rows.shape[1] == size
        with np.errstate(over="ignore"):  # beyond float32 is infinity
            finite = numbers and np.all(np.isfinite(rows.astype(np.float32)))
        if not finite:
            raise SettingError(
                expected=f"finite codes [num, {size}] for {self.model}",
                found=f"{rows.dtype} {rows.shape}{', NaN or infinity' * numbers}",
                remedy="give a row of that many numbers for each image",
            )
        images: Array = jax.jit(self.evaluated.decode)(jnp.asarray(rows, jnp.float32))
        return images

    def reconstruct(self, key: PRNGKey, images: RawImages) -> Images:
        """The model's reconstruction of raw images, in [0, 1]; of many, a part at a time.

        Errors:
            SettingError: the model does not reconstruct.

        Example:
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> run.reconstruct(jax.random.key(0), run.dataset().test.images[:2]).shape
            (2, 28, 28, 1)
        """
        if self.evaluated.reconstruct is None:
            self._cannot("reconstruct")
        _check_key(key)
        return compute_in_parts(jax.jit(self.evaluated.reconstruct), key, self._raw(images))

    def classify(self, images: RawImages) -> Prediction:
        """The classes that the model finds raw images to be of, with their probabilities.

        Errors:
            SettingError: the model does not classify.

        Example:
            >>> run = jaxgen.load("runs/dbn-digits-seed0")
            >>> run.classify(data.load("digits").test.images[:2]).probs.shape
            (2, 10)
        """
        if self.evaluated.classify is None:
            self._cannot("classify")
        found = compute_in_blocks(jax.jit(self.evaluated.classify), self._raw(images))
        return Prediction(np.argmax(found, axis=1), np.exp(found))

    def log_likelihood(
        self,
        key: PRNGKey,
        images: RawImages,
        budget: LikelihoodBudget = DEFAULT_BUDGET,
        training_images: RawImages | None = None,
    ) -> Likelihood:
        """The mean log likelihood of images in nats, or the best bound or estimate of it.

        The result's `kind` is exact, an estimate or a bound, and by what. Its `standard_error` is
        None where log Z rests on too few effective chains for one: then `num_chains`,
        `effective_chains` and `log_z_gap` are what is known of it. Where its `doubt` is not empty,
        AIS has missed a part of Z, and the value may lie far above the likelihood, even above 0.

        Args:
            key: of all draws.
            images: raw; they are made binary as the model's input is.
            budget: how much is computed; the comparison's where not given.
            training_images: where annealing starts; `images` where not given.

        Errors:
            SettingError: the model has no likelihood of the pixels that it was shown.

        Example:
            >>> from jaxgen.evaluation.model import LikelihoodBudget
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> little = LikelihoodBudget(num_chains=2, num_temperatures=5)
            >>> run.log_likelihood(jax.random.key(0), run.dataset().test.images[:9], little).kind
            'exact'
        """
        if self.evaluated.likelihoods is None:
            self._cannot(LIKELIHOODS)
        _check_key(key)
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
        inception: Inception | None = None,
        data_dir: Path | None = None,
    ) -> Evaluation:
        """The measures of the comparison; of the same budget, the same numbers.

        Args:
            dataset: the one that the run was trained on, loaded where not given.
            classifier: of that data set; where not given, the one in `data_dir`, which is trained
                and kept there first where there is none.
            num_samples: how many are drawn and measured.
            num_labels: numbers of labels that probes are given; more than there are mean all.
            budget: how much is computed for likelihoods.
            likelihoods: those that are known already, in the place of computed ones.
            inception: for the FID, see `jaxgen.evaluation.inception.load`; else there is none, and
                none of fewer than 4 samples.
            data_dir: where prepared data sets and their classifiers lie; TFDS's own default where
                not given.

        Errors:
            SettingError: the run has several seeds, the data set is another one, or the number of
                samples or of labels is none that can be measured.

        Example:
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> found = run.evaluate(num_samples=50, num_labels=(100,), likelihoods=[])
            >>> type(found).__name__
            'Evaluation'
        """
        if not is_whole(num_samples, 2, suite.NUM_FEATURES):
            raise SettingError(
                expected=f"from 2 to {suite.NUM_FEATURES:,} samples",
                found=str(num_samples),
                remedy="set num_samples",
            )
        for each in num_labels:
            require_whole("num_labels", each, LEAST_LABELS)
        key = named_key(jax.random.key(self.seed), "yardstick")  # another name draws others
        dataset = self.dataset(data_dir) if dataset is None else dataset
        return suite.evaluate(
            self.evaluated,
            self._checked(dataset),
            classifier or classifiers.load(dataset, data_dir),
            key,
            num_samples=num_samples,
            num_labels=num_labels,
            budget=budget,
            likelihoods=likelihoods,
            inception=inception,
        )

    def export(
        self, folder: Path | str, *, num: int = 16, platforms: Sequence[str] = ()
    ) -> tuple[Path, ...]:
        """Writes the model for other programs: parameters by PyTorch's names, and StableHLO.

        In the folder are then, for an RBM, ``rbm.safetensors``, see `jaxgen.export.modules`;
        ``sample.stablehlo``, a function of a key's two words that returns `num` images, of labels
        int32 [num] too if the model has classes; and ``encode.stablehlo``, a function of raw images
        that returns what `encode` does, if it does. `jaxgen.export.stablehlo.load` reads both.

        Args:
            folder: where they are written; it is made if it is missing.
            num: images that the program draws at a time.
            platforms: of the programs, such as ("cpu", "cuda"); that of the default device if none.

        Returns:
            The files.

        Errors:
            SettingError: the run has several seeds, the number is below 1, or the folder no path.
            WriteError: the disk is full or may not be written to.

        Example:
            >>> run = jaxgen.load("runs/rbm-digits-seed0")
            >>> [path.name for path in run.export("exported", num=4)]
            ['rbm.safetensors', 'sample.stablehlo', 'encode.stablehlo']
        """
        require_whole("num", num, 1)
        if not isinstance(folder, str | Path) or "\0" in str(folder):
            raise SettingError(
                expected="a folder to write to, a text or a Path",
                found=shown(folder),
                remedy='name one: run.export("exported")',
            )
        params, state, place = self.params, self.state, Path(folder)
        make_folder(place)
        written = []
        for name, arrays in to_modules(self.config, self.image_shape, params).items():
            written.append(place / f"{name}.safetensors")
            safetensors.save_params(written[-1], arrays, {"experiment": self.model})

        def drawn(words: Array, *labels: Labels) -> Images:
            return self.learner.sample(state, jax.random.wrap_key_data(words), num, *labels)

        asked = [jax.ShapeDtypeStruct((num,), jnp.int32)] if self.learner.num_classes else []
        words = jax.ShapeDtypeStruct((2,), jnp.uint32)
        written.append(place / "sample.stablehlo")
        stablehlo.save(written[-1], drawn, words, *asked, platforms=platforms)
        if self.features:
            function = self.evaluated.features[self.features[-1]]
            batch = jax.export.symbolic_shape("batch")
            images = jax.ShapeDtypeStruct((*batch, *self.image_shape), jnp.uint8)
            written.append(place / "encode.stablehlo")
            encoded = jax.vmap(lambda image: function(image[None])[0])  # one: of a known number
            stablehlo.save(written[-1], encoded, images, platforms=platforms)
        return tuple(written)

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
            SettingError: they are of another shape, dtype or range.
        """
        check_images(images, self.image_shape)
        return np.asarray(images)

    def _cannot(self, what: str) -> NoReturn:
        """Raises SettingError that names what the model can do."""
        model = self.evaluated
        there = {
            "sample": True,
            "encode": bool(model.features),
            "decode": model.decode is not None,
            "reconstruct": model.reconstruct is not None,
            LIKELIHOODS: model.likelihoods is not None,
            "classify": model.classify is not None,
        }
        name, no_codes = f"{self.model},", not (there["encode"] or there["decode"])
        if self.learner.num_classes and no_codes and what in ("encode", "decode"):
            name = f"conditional {self.model}, whose codes need a class, and"
        raise SettingError(
            expected=f"a model with {what}",
            found=f"a {name} which has {', '.join(each for each in there if there[each])}",
            remedy="take one of these, or the run of another model",
        )


def _check_key(key: Any) -> None:
    """Raises SettingError for what is no single key of JAX's default kind, threefry2x32."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", ())
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    words = jax.random.key_data(key) if typed else key
    if (typed and shape != ()) or getattr(words, "shape", ()) != (2,) or words.dtype != np.uint32:
        raise SettingError(
            expected="a key, first of the arguments",
            found=type(key).__name__ if dtype is None else f"an array {dtype}{list(shape)}",
            remedy='make one with jax.random.key(0, impl="threefry2x32")',
        )
