"""Probes: how well a linear map, or a small MLP, predicts the labels from a model's features.

The linear one is

    P(y | x) = softmax(W^T u + b),  u = (x - mean) / sd of the training features
    minimised: mean cross entropy + l2 / 2 |W|^2

Pixels are the baseline. The penalty is chosen on a held-out part of the labels given, never on test
images; then the probe is fitted to all of them. The MLP, from scikit-learn, has fixed settings.
`evaluate_features` fits both with several numbers of labels.
"""

import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, UInt8

from jaxgen.data import Dataset
from jaxgen.errors import MAX_SIZE, SettingError, is_whole
from jaxgen.evaluation.resampling import Estimate, bootstrap
from jaxgen.evaluation.sample_quality import as_numbers, check_features, check_labels
from jaxgen.images import in_unit_range

logger = logging.getLogger("jaxgen")
stages = logging.getLogger("jaxgen.stages")
"""Logs the stage of a computation, for whoever waits."""

L2 = (1.0, 0.1, 0.01, 0.001)
"""Penalties tried by default, the strongest first: each fit starts where the one before ended."""
MAX_STEPS = 500
"""Of L-BFGS; a probe that takes so many has not converged."""
NUM_LABELS = (100, 1000, 60_000)
"""Numbers of labels that a probe is given."""
LEAST_LABELS = 5
"""Of which one chooses the penalty."""
MLP_HIDDEN = 128
"""Hidden units of the MLP, rectified."""
MLP_L2 = 1.0
"""Its penalty, scikit-learn's alpha: l2 / 2 |W|^2, over the examples of a batch."""
MLP_SEEN = 1_200_000
"""Examples that its training sees, in 200 passes at most: 20 passes over 60,000."""

Features = Float[np.ndarray, "num features"]
Labels = Int[np.ndarray, " num"]
Weights = dict[str, Array]


class Probe(NamedTuple):
    """A fitted classifier."""

    mean: Float[np.ndarray, " features"]
    scale: Float[np.ndarray, " features"]
    """Standard deviations; 1 for features that do not vary."""
    w: Float[np.ndarray, "features classes"]
    b: Float[np.ndarray, " classes"]
    num_steps: int
    """Of L-BFGS; at the limit it has not converged."""


class ProbeResult(NamedTuple):
    """The answers of a fitted probe on test images."""

    correct: Bool[np.ndarray, " tests"]
    """Whether each answer is the label; the mean is the accuracy."""
    l2: float
    """The penalty chosen."""
    num_labels: int
    num_steps: int
    """Of L-BFGS, or of Adam."""


class _Loop(NamedTuple):
    """The state of L-BFGS between two steps."""

    weights: Weights
    opt_state: Any
    num_steps: Array
    grad_norm: Array


@partial(jax.jit, static_argnames="max_steps")
def _minimise(
    start: Weights,
    rows: Array,
    targets: Array,
    kept: Array,
    l2: Array,
    tolerance: Array,
    max_steps: int,
) -> tuple[Weights, Array]:
    """L-BFGS from `start`, until the gradient's norm is at most `tolerance`."""

    def objective(weights: Weights) -> Array:
        logits = rows @ weights["w"] + weights["b"]
        losses = optax.softmax_cross_entropy(logits, targets)
        return jnp.mean(losses, where=kept) + 0.5 * l2 * jnp.sum(jnp.square(weights["w"]))

    optimizer = optax.lbfgs(memory_size=10)
    value_and_grad = optax.value_and_grad_from_state(objective)

    def step(loop: _Loop) -> _Loop:
        weights, opt_state = loop.weights, loop.opt_state
        value, grad = value_and_grad(weights, state=opt_state)
        updates, opt_state = optimizer.update(
            grad, opt_state, weights, value=value, grad=grad, value_fn=objective
        )
        return _Loop(
            weights=optax.apply_updates(weights, updates),
            opt_state=opt_state,
            num_steps=loop.num_steps + 1,
            grad_norm=optax.tree.norm(optax.tree.get(opt_state, "grad")),
        )

    def going_on(loop: _Loop) -> Array:
        return (loop.num_steps < max_steps) & (loop.grad_norm > tolerance)

    first = _Loop(start, optimizer.init(start), jnp.array(0), jnp.array(jnp.inf))
    last: _Loop = jax.lax.while_loop(going_on, step, first)
    return last.weights, last.num_steps


def _standards(features: Features) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of features; 1 for the deviation of those that do not vary."""
    mean, std = features.mean(axis=0), features.std(axis=0)
    return mean, np.where(std > 1e-6, std, 1.0).astype(np.float32)


def fit_probe(
    features: Features,
    labels: Labels,
    l2: float | Sequence[float],
    *,
    kept: Bool[np.ndarray, " num"] | None = None,
    num_classes: int,
    tolerance: float = 1e-4,
    max_steps: int = MAX_STEPS,
) -> list[Probe]:
    """Fits a probe for each penalty, in turn, each from where the one before ended.

    The objective is convex, strictly so in W, so the start costs time and nothing else. Labels that
    are not `kept` are left out of it; the means and deviations are those of all rows. So one
    program serves the choice of the penalty and the fit to all labels.

    Errors:
        SettingError: no penalty, or one that is not above 0; or features or labels as
            `linear_probe` refuses them.
    """
    penalties = np.atleast_1d(as_numbers(l2).astype(np.float32))
    if len(penalties) == 0 or not np.all((penalties > 0) & (penalties < np.inf)):
        raise SettingError(expected="penalties above 0", found=str(l2), remedy="set l2")
    features, labels = _check(features, labels, num_classes)
    mean, scale = _standards(features)
    rows = jnp.asarray((features - mean) / scale, jnp.float32)
    # Picking by index instead would be a scatter in the gradient, which XLA is slow to compile.
    targets = jax.nn.one_hot(labels, num_classes)
    mask = jnp.ones(len(labels), jnp.bool_) if kept is None else jnp.asarray(kept)
    weights: Weights = {
        "w": jnp.zeros((features.shape[1], num_classes)),
        "b": jnp.zeros(num_classes),
    }
    probes = []
    for penalty in penalties:
        weights, num_steps = _minimise(
            weights, rows, targets, mask, penalty, tolerance, max_steps=max_steps
        )
        found = jax.device_get(weights)
        probes.append(Probe(mean, scale, found["w"], found["b"], int(num_steps)))
    return probes


def correct(probe: Probe, features: Features, labels: Labels) -> Bool[np.ndarray, " num"]:
    """Whether the most probable class of each row is its label; of equal ones, the first."""
    check_features(probe.mean[None], features)
    features, labels = _check(features, labels, len(probe.b))
    logits = (features - probe.mean) / probe.scale @ probe.w + probe.b
    return np.asarray(np.argmax(logits, axis=1) == labels)


def _check(features: Features, labels: Labels, num_classes: int) -> tuple[Features, Labels]:
    """Raises SettingError unless features are finite, with a label in range for each row."""
    (found,) = check_features(features)
    return found, check_labels(labels, num_classes, len(found))


def _choose_examples(
    train: tuple[Features, Labels],
    test: tuple[Features, Labels],
    num_labels: int,
    rng: np.random.Generator,
    num_classes: int,
) -> tuple[Features, Labels]:
    """So many training examples, drawn without replacement; the test examples are checked too."""
    check_features(train[0], test[0])
    _check(*test, num_classes)
    features, labels = _check(*train, num_classes)
    if not is_whole(num_labels, LEAST_LABELS, len(labels)):
        raise SettingError(
            expected=f"{LEAST_LABELS} to {len(labels)} labels",
            found=str(num_labels),
            remedy="set num_labels",
        )
    chosen = rng.permutation(len(labels))[:num_labels]
    return features[chosen], labels[chosen]


def linear_probe(
    train: tuple[Features, Labels],
    test: tuple[Features, Labels],
    num_labels: int,
    rng: np.random.Generator,
    *,
    l2: Sequence[float] = L2,
    num_classes: int,
) -> ProbeResult:
    """Test accuracy of a probe that is given `num_labels` labels, drawn without replacement.

    A fifth of them, at most 5,000, chooses the penalty; of equally good ones the strongest. With
    100 labels that is 20 images, so there the choice is coarse and another draw gives another
    accuracy: report several.

    Errors:
        SettingError: fewer than 5 labels, or more than there are; one that is not from 0 to
            num_classes - 1; or features that are not finite, or not the same for both.
    """
    rows, targets = _choose_examples(train, test, num_labels, rng, num_classes)
    held = np.arange(num_labels) < min(num_labels // 5, 5000)
    penalties = sorted(l2, reverse=True)
    probes = fit_probe(rows, targets, penalties, kept=~held, num_classes=num_classes)
    scores = [np.mean(correct(probe, rows[held], targets[held])) for probe in probes]
    best = penalties[int(np.argmax(scores))]
    (probe,) = fit_probe(rows, targets, best, num_classes=num_classes)
    return ProbeResult(correct(probe, *test), best, num_labels, probe.num_steps)


def mlp_probe(
    train: tuple[Features, Labels],
    test: tuple[Features, Labels],
    num_labels: int,
    rng: np.random.Generator,
) -> ProbeResult:
    """Test accuracy of an MLP that is given `num_labels` labels, drawn without replacement.

    One hidden layer on features standardised as for the linear probe, so it also reads what is
    there but not linearly; Adam at 1e-3, batches of 200 (scikit-learn's defaults). An `rng` in the
    same state draws the labels that `linear_probe` draws.

    Errors:
        SettingError: fewer than 5 labels, or more than there are; one below 0; or features that
            are not finite, or not the same for both.
    """
    from sklearn.exceptions import ConvergenceWarning  # half a second, of commands without probes
    from sklearn.neural_network import MLPClassifier

    rows, targets = _choose_examples(train, test, num_labels, rng, MAX_SIZE)
    mean, scale = _standards(rows)
    mlp = MLPClassifier(
        (MLP_HIDDEN,),
        alpha=MLP_L2,
        max_iter=min(200, max(1, MLP_SEEN // num_labels)),
        random_state=int(rng.integers(2**31)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the passes are what was asked for
        mlp.fit((rows - mean) / scale, targets)
    features, labels = test
    found = np.asarray(mlp.predict((features - mean) / scale) == labels)
    return ProbeResult(
        found, MLP_L2, num_labels, mlp.n_iter_ * -(-num_labels // min(200, num_labels))
    )


PROBES: dict[str, Callable[..., ProbeResult]] = {"linear": linear_probe, "MLP": mlp_probe}
"""By the name of their kind."""
NUM_DRAWS = 5
"""Draws of the labels, each with its own probe, where not all are taken."""


class ProbeRow(NamedTuple):
    """Probes of one kind, of one kind of features, with one number of labels."""

    features: str
    probe: str
    """One of `PROBES`."""
    num_labels: int
    accuracy: Estimate
    """The mean over draws; the interval is of test images, the draws being given."""
    std: float | None
    """Standard deviation of the accuracy over draws of the labels; None with one draw."""
    penalties: list[float]
    """The one chosen in each draw."""


def pixels(images: UInt8[np.ndarray, "num height width channels"]) -> Features:
    """Raw images as rows in [0, 1]: the baseline.

    Errors:
        SettingError: the images are neither in [0, 1] nor raw ones.
    """
    found = in_unit_range(images)
    return found.reshape(len(found), math.prod(found.shape[1:]))


def _fit_row(
    name: str,
    probe: str,
    both: tuple[Features, Features],
    dataset: Dataset,
    num_labels: int,
    seed: int,
) -> ProbeRow:
    stages.info("%s probe of %s with %d labels", probe, name, num_labels)
    num_draws = 1 if num_labels == len(dataset.train.labels) else NUM_DRAWS
    rngs = [np.random.default_rng([seed, num_labels, draw]) for draw in range(num_draws)]
    pairs = (both[0], dataset.train.labels), (both[1], dataset.test.labels)
    fit = PROBES[probe]
    if probe == "linear":
        fit = partial(fit, num_classes=dataset.num_classes)
    found = [fit(*pairs, num_labels, rng) for rng in rngs]
    shares = np.mean([each.correct for each in found], axis=0)  # of the probes, by test image
    if probe == "linear" and max(each.num_steps for each in found) >= MAX_STEPS:
        logger.warning("a probe of %s with %d labels has not converged", name, num_labels)
    accuracy = bootstrap(lambda values: float(np.mean(values)), [shares], rngs[0])
    means = [float(np.mean(each.correct)) for each in found]
    std = float(np.std(means, ddof=1)) if num_draws > 1 else None
    return ProbeRow(name, probe, num_labels, accuracy, std, [each.l2 for each in found])


def evaluate_features(
    features: Mapping[str, tuple[Features, Features]],
    dataset: Dataset,
    num_labels: Sequence[int] = NUM_LABELS,
    seed: int = 0,
) -> list[ProbeRow]:
    """Probes each kind of features, given for train and test images, with each number of labels.

    Every probe reads each kind, given the same labels. More labels than there are mean all; without
    two classes, and with fewer than `LEAST_LABELS` training images, there are no probes.

    Errors:
        SettingError: a feature is not finite.
    """
    for both in features.values():
        check_features(*both)
    if dataset.num_classes < 2 or len(dataset.train.labels) < LEAST_LABELS:
        return []
    numbers = sorted({min(num, len(dataset.train.labels)) for num in num_labels})
    return [
        _fit_row(name, probe, both, dataset, num, seed)
        for name, both in features.items()
        for probe in PROBES
        for num in numbers
    ]
