"""RBM and VAE as estimators of scikit-learn, for pipelines and grid searches.

    from jaxgen.sklearn import RBM
    make_pipeline(RBM(n_components=100, random_state=0), LogisticRegression()).fit(X, y)

Rows X [n, features] are numbers in [0, 1]; a row of grey levels is a row of probabilities of being
on, and training draws binary rows from them at every visit, of 256 levels. All else is an error:
`sklearn.preprocessing.MinMaxScaler(clip=True)` before them brings any numbers there.

`score_samples` is comparable between models of different sizes, so `score`, its mean, serves a grid
search; of both the larger is the better.
"""

import math
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, Self, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from jaxgen import models
from jaxgen.errors import MAX_SIZE, SettingError, is_whole
from jaxgen.evaluation.model import compute_in_blocks
from jaxgen.images import DARK
from jaxgen.jitted import jitted
from jaxgen.learner import Learner, State
from jaxgen.models import rbm, vae
from jaxgen.random import Binarize
from jaxgen.training import Schedule, fit
from jaxgen.training.seeds import start_from

Matrix = NDArray[Any]
"""[n, features], or [n, n_components]."""
AT_ONCE = 50
"""Rows whose scores are computed at a time, which takes memory."""
MAX_BYTES = 1 << 32
"""Of the rows that are drawn at a time."""

_COUNT = Interval(Integral, 1, MAX_SIZE, closed="both")
"""Of a parameter that is a whole number above 0."""


class _Estimator(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """The base of both; `_config` and three functions of parameters and rows are a model's own."""

    _name: ClassVar[str]
    n_components: int
    batch_size: int
    n_iter: int
    verbose: int
    random_state: Any
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_components": [_COUNT],
        "batch_size": [_COUNT],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "binarize": [StrOptions({*get_args(Binarize)})],
        "n_iter": [Interval(Integral, 0, None, closed="left")],
        "verbose": ["verbose"],
        "random_state": ["random_state"],
    }

    def _config(self) -> Any:
        """The settings of the model."""
        raise NotImplementedError

    def _start(self, learner: Learner, seeds: tuple[int], images: Matrix) -> State:
        """The state before the first update; None for the learner's own."""
        del learner, seeds, images

    def _up(self, rows: Array) -> Any:
        """Components of rows."""
        raise NotImplementedError

    def _down(self, components: Array) -> Any:
        """Rows of components."""
        raise NotImplementedError

    def _score(self, rows: Array) -> Any:
        """A score of each row, the larger the better."""
        raise NotImplementedError

    def fit(self, X: Matrix, y: Any = None) -> Self:
        """Trains the model for `n_iter` epochs; y is ignored.

        Errors:
            ValueError: X has numbers outside [0, 1], or none in the upper seven eighths; or a
                parameter is impossible.
        """
        del y
        self._validate_params()
        rows = self._rows(X, reset=True)
        if 0 < rows.max() < DARK / 255:
            raise _of_another_range(rows)
        self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        images = np.rint(255 * rows).astype(np.uint8)[:, None, :, None]
        self._fitted, self._num_components = self._config(), int(self.n_components)
        config, shape = self._fitted, images.shape[1:]
        learner = models.module(self._name).learner(config, shape)
        schedule = Schedule(self.n_iter, min(self.batch_size, len(rows)))
        seeds, bar = (self._seed,), bool(self.verbose)
        try:
            start = self._start(learner, seeds, images)
            result = fit(learner, images, schedule, seeds, state=start, progress=bar)
        except SettingError as error:  # of sizes that no memory holds
            raise ValueError(str(error)) from error
        self.params_ = jax.device_get(result.state.params)
        self.history_ = result.history
        return self

    def transform(self, X: Matrix) -> Matrix:
        """The components of rows, [n, n_components], float32; nothing is drawn."""
        return compute_in_blocks(self._up, self._images(X))

    def inverse_transform(self, X: Matrix) -> Matrix:
        """The rows that components [n, n_components] stand for, in [0, 1]; nothing is drawn."""
        check_is_fitted(self)
        components = check_array(X, dtype=np.float32)
        if components.shape[1] != self._num_components:
            found = f"X has {components.shape[1]} features"
            raise ValueError(f"{found}, but {type(self).__name__} has {self._num_components}")
        return compute_in_blocks(self._down, components[:, None, :, None])

    def score_samples(self, X: Matrix) -> Matrix:
        """The score of each row [n] in nats, as the class defines it; the larger the better."""
        return compute_in_blocks(self._score, self._images(X))

    def score(self, X: Matrix, y: Any = None) -> float:
        """The mean of `score_samples`; y is ignored."""
        del y
        return float(np.mean(self.score_samples(X)))

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Matrix:
        """Draws rows [n_samples, features]: for each the probability of every number to be on.

        Raises:
            ValueError: `n_samples` is no whole number from 1 to what `MAX_BYTES` hold.
        """
        check_is_fitted(self)
        most = max(1, MAX_BYTES // (4 * self.n_features_in_))
        if not is_whole(n_samples, 1, most):
            raise ValueError(
                f"expected n_samples from 1 to {most:,}, found {n_samples!r}; draw in blocks"
            )
        key = jax.random.key(int(check_random_state(random_state).randint(2**31 - 1)))
        config, shape = self._fitted, (1, self.n_features_in_, 1)
        module, params = models.module(self._name), jax.tree.map(jnp.asarray, self.params_)
        state = models.restore_state(module, config, shape, params)
        draw = jitted(module.learner(config, shape).sample, static_argnums=2)
        return np.asarray(draw(state, key, n_samples)).reshape(n_samples, -1)

    @property
    def _n_features_out(self) -> int:
        """Number of components, for `get_feature_names_out`."""
        return self._num_components

    def _images(self, X: Matrix) -> Matrix:
        """Rows of a fitted estimator in four dimensions, as images are."""
        check_is_fitted(self)
        return self._rows(X, reset=False)[:, None, :, None]

    def _rows(self, X: Matrix, reset: bool) -> Matrix:
        """X as float32 in [0, 1]; `reset` where it is what is learned.

        Errors:
            ValueError: there are other numbers in it.
        """
        rows: Matrix = validate_data(self, X, dtype=np.float32, reset=reset)
        if rows.min() < 0 or rows.max() > 1:
            raise _of_another_range(rows)
        return rows

    def __sklearn_tags__(self) -> Any:
        """Only numbers from 0 on, and float32 everywhere."""
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _of_another_range(rows: Matrix) -> ValueError:
    """The error for numbers that are not in [0, 1], or fill an eighth of it at most."""
    begin = "Negative values in data: " if rows.min() < 0 else ""
    return ValueError(
        f"{begin}expected numbers that fill [0, 1], found {rows.min():g} to {rows.max():g}; scale "
        "them, for example by sklearn.preprocessing.MinMaxScaler(clip=True)"
    )


class RBM(_Estimator):
    """Restricted Boltzmann machine with binary units; see `jaxgen.models.rbm`.

    The names of settings and attributes are those of `sklearn.neural_network.BernoulliRBM`, and so
    is the learning: stochastic maximum likelihood, that is persistent contrastive divergence.

    `transform` gives p(h_j=1|v) of the row v. `score_samples` is the log pseudo-likelihood

        sum_i v_i log p_i + (1 - v_i) log (1 - p_i),        p_i = p(v_i=1 | all other numbers of v),

    exact over all i, where `BernoulliRBM` draws one i at random.

    Args:
        n_components: hidden units.
        learning_rate: step size.
        batch_size: rows per update, and persistent chains.
        n_iter: passes over the rows, in an order of its own each; the rows that fill no batch at
            the end of a pass are left out of it.
        persistent: whether chains go on from update to update; otherwise CD.
        n_gibbs_steps: Gibbs steps per update.
        n_sampling_steps: Gibbs steps of `sample`, from random hidden units.
        binarize: how rows become units in training: sample, threshold or none.
        verbose: whether a bar of progress is shown.
        random_state: a seed, a `RandomState`, or None.

    Attributes:
        components_: weights [n_components, features].
        intercept_hidden_: biases [n_components].
        intercept_visible_: biases [features].
        params_: the same as `jaxgen.models.rbm` has them.
        history_: metrics of the training, as `jaxgen.training.Result.history`.

    Example:
        >>> from jaxgen.sklearn import RBM
        >>> X = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
        >>> RBM(n_components=2, random_state=0).fit_transform(X).shape
        (4, 2)
    """

    _name = "rbm"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_Estimator._parameter_constraints,
        "persistent": ["boolean"],
        "n_gibbs_steps": [_COUNT],
        "n_sampling_steps": [_COUNT],
    }

    def __init__(
        self,
        n_components: int = 256,
        *,
        learning_rate: float = 0.1,
        batch_size: int = 10,
        n_iter: int = 10,
        persistent: bool = True,
        n_gibbs_steps: int = 1,
        n_sampling_steps: int = 1000,
        binarize: Binarize = "sample",
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.persistent = persistent
        self.n_gibbs_steps = n_gibbs_steps
        self.n_sampling_steps = n_sampling_steps
        self.binarize = binarize
        self.verbose = verbose
        self.random_state = random_state

    def _config(self) -> rbm.Config:
        return rbm.Config(
            num_hidden=self.n_components,
            learning_rate=self.learning_rate,
            persistent=self.persistent,
            num_chains=self.batch_size,
            num_gibbs_steps=self.n_gibbs_steps,
            num_sampling_steps=self.n_sampling_steps,
            binarize=self.binarize,
        )

    def _start(self, learner: Learner, seeds: tuple[int], images: Matrix) -> State:
        """A start at the base rates of the features, without which chains may never recover."""
        mean = rbm.mean_pixels(images, self.binarize)
        return start_from(lambda key, mean: rbm.at_base_rates(learner.init(key), mean), seeds, mean)

    @property
    def components_(self) -> Matrix:
        """Weights [n_components, features]."""
        return np.asarray(self.params_["w"]).T

    @property
    def intercept_hidden_(self) -> Matrix:
        """Biases of the hidden units."""
        return np.asarray(self.params_["b_hidden"])

    @property
    def intercept_visible_(self) -> Matrix:
        """Biases of the visible units."""
        return np.asarray(self.params_["b_visible"])

    def _up(self, rows: Array) -> Any:
        return _hidden(self.params_, rows)

    def _down(self, components: Array) -> Any:
        return _visible(self.params_, components)

    def _score(self, rows: Array) -> Any:
        return pseudo_log_likelihood(self.params_, rows)


class VAE(_Estimator):
    """Variational autoencoder with Bernoulli pixels and dense nets; see `jaxgen.models.vae`.

    `transform` gives the mean of q(z|x), and `inverse_transform` E[x|z]. `score_samples` is the
    importance-weighted lower bound of log p(x), larger for more draws K,

        log (w_1 + ... + w_K) / K,        w_k = p(x|z_k) p(z_k) / q(z_k|x),   z_k drawn from q(z|x),

    with the same standard normal numbers for every row, so a row's score does not depend on others.
    Rows of 0 and 1 have a likelihood; of grey levels x log p + (1 - x) log (1 - p) stands for it.

    Args:
        n_components: latent variables.
        hidden_layer_sizes: units of the encoder's hidden layers, or of its only one; the decoder
            has them in reverse.
        learning_rate: Adam's step size.
        batch_size: rows per update.
        n_iter: passes over the rows, in an order of its own each; the rows that fill no batch at
            the end of a pass are left out of it.
        n_draws: K of `score_samples`.
        binarize: how rows become binary in training: sample, threshold or none.
        verbose: whether a bar of progress is shown.
        random_state: a seed, a `RandomState`, or None.

    Attributes:
        params_: the trees of both nets, as `jaxgen.models.vae` has them.
        history_: metrics of the training, as `jaxgen.training.Result.history`.

    Example:
        >>> from jaxgen.sklearn import VAE
        >>> X = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
        >>> VAE(n_components=2, hidden_layer_sizes=(4,), random_state=0).fit_transform(X).shape
        (4, 2)
    """

    _name = "vae"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **_Estimator._parameter_constraints,
        "hidden_layer_sizes": [_COUNT, "array-like"],
        "n_draws": [_COUNT],
    }

    def __init__(
        self,
        n_components: int = 20,
        *,
        hidden_layer_sizes: tuple[int, ...] = (200, 200),
        learning_rate: float = 1e-3,
        batch_size: int = 100,
        n_iter: int = 10,
        n_draws: int = 100,
        binarize: Binarize = "sample",
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.n_iter = n_iter
        self.n_draws = n_draws
        self.binarize = binarize
        self.verbose = verbose
        self.random_state = random_state

    def _config(self) -> vae.Config:
        sizes = tuple(np.atleast_1d(self.hidden_layer_sizes).tolist())
        if not sizes or not all(is_whole(size, 1) for size in sizes):
            raise ValueError(
                "The 'hidden_layer_sizes' parameter of VAE must be whole numbers above 0, got "
                f"{self.hidden_layer_sizes!r} instead."
            )
        return vae.Config(
            hidden_sizes=sizes,
            latent_size=self.n_components,
            architecture="dense",
            likelihood="bernoulli",
            learning_rate=self.learning_rate,
            binarize=self.binarize,
        )

    @property
    def _nets(self) -> vae.Nets:
        return vae.nets(self._fitted, (1, self.n_features_in_, 1))

    def _up(self, rows: Array) -> Any:
        return _codes(self._nets, self.params_, rows)

    def _down(self, components: Array) -> Any:
        return _decoded(self._nets, self.params_, components)

    def _score(self, rows: Array) -> Any:
        key = jax.random.key(self._seed)
        return weighted_bound(self._nets, self.params_, key, rows, self.n_draws)


@jax.jit
def _hidden(params: rbm.Params, rows: Array) -> Array:
    """p(h=1|v) of rows [n, 1, features, 1]."""
    return jax.nn.sigmoid(rbm.hidden_logits(params, rows[:, 0, :, 0]))


@jax.jit
def _visible(params: rbm.Params, components: Array) -> Array:
    """p(v=1|h) of components [n, 1, n_components, 1]."""
    return rbm.visible_mean(params, components[:, 0, :, 0])


@jax.jit
def pseudo_log_likelihood(
    params: rbm.Params, rows: Float[Array, "n 1 features 1"]
) -> Float[Array, " n"]:
    """Sum_i of v_i log p_i + (1 - v_i) log (1 - p_i), p_i = p(v_i=1 | all others), of each row.

    With l_j = b_j + v'W_j, and l_ij = l_j - v_i W_ij what is left of it without number i,

        log p_i / (1 - p_i) = a_i + sum_j softplus(l_ij + W_ij) - softplus(l_ij).
    """
    weights = params["w"]

    def of_row(row: Array) -> Array:
        without = rbm.hidden_logits(params, row) - row[:, None] * weights
        difference = jax.nn.softplus(without + weights) - jax.nn.softplus(without)
        logits = params["b_visible"] + jnp.sum(difference, axis=1)
        return jnp.sum(row * jax.nn.log_sigmoid(logits) + (1 - row) * jax.nn.log_sigmoid(-logits))

    found: Array = jax.lax.map(of_row, rows[:, 0, :, 0], batch_size=AT_ONCE)
    return found


@partial(jax.jit, static_argnums=0)
def _codes(nets: vae.Nets, params: vae.Params, rows: Array) -> Array:
    """Means of q(z|x) of rows [n, 1, features, 1]."""
    return vae.encode(params, nets, rows[:, 0, :, 0])[0]


@partial(jax.jit, static_argnums=0)
def _decoded(nets: vae.Nets, params: vae.Params, codes: Array) -> Array:
    """E[x|z] of codes [n, 1, n_components, 1]."""
    return vae.decoded_means(params, nets, codes[:, 0, :, 0])


@partial(jax.jit, static_argnums=(0, 4))
def weighted_bound(
    nets: vae.Nets,
    params: vae.Params,
    key: Array,
    rows: Float[Array, "n 1 features 1"],
    num_draws: int,
) -> Float[Array, " n"]:
    """The importance-weighted bound of log p(x) of each row, from the same numbers for all."""

    def of_row(row: Array) -> Array:
        weights = vae.log_weights(params, nets, key, row[None], num_draws)[:, 0]
        return jax.nn.logsumexp(weights) - math.log(num_draws)

    found: Array = jax.lax.map(of_row, rows[:, 0, :, 0], batch_size=AT_ONCE)
    return found
