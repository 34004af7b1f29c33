"""The estimators: scikit-learn's own checks, scores by enumeration and quadrature, a search."""

import copy
import itertools
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logsumexp, xlog1py, xlogy
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import (
    check_estimators_pickle,
    parametrize_with_checks,
)
from sklearn.utils.validation import validate_data

from jaxgen.sklearn import RBM, VAE

ROWS = np.array([*itertools.product([0.0, 1.0], repeat=4)])
SMALL: dict[str, Any] = {"n_iter": 2, "batch_size": 8, "random_state": 0}


@pytest.fixture(scope="module")
def rbm() -> RBM:
    return RBM(2, n_sampling_steps=5, **SMALL).fit(ROWS)


@pytest.fixture(scope="module")
def vae() -> VAE:
    return VAE(1, hidden_layer_sizes=(3,), learning_rate=0.1, n_draws=5000, **SMALL).fit(ROWS)


def test_an_rbm_transforms_and_scores_as_its_probabilities_say(rbm: RBM) -> None:
    """Against p(v, h) of all states."""
    w, a, b = (np.asarray(rbm.params_[x], np.float64) for x in ("w", "b_visible", "b_hidden"))
    np.testing.assert_array_equal(rbm.components_, w.T.astype(np.float32))
    np.testing.assert_array_equal(rbm.intercept_visible_, a.astype(np.float32))
    hidden = np.array([*itertools.product([0.0, 1.0], repeat=2)])
    joint = np.exp((ROWS @ w) @ hidden.T + (ROWS @ a)[:, None] + hidden @ b)
    joint /= joint.sum()
    given = joint / joint.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rbm.transform(ROWS), given @ hidden, rtol=1e-5)
    np.testing.assert_allclose(rbm.inverse_transform(hidden), expit(hidden @ w.T + a), rtol=1e-5)
    probs = joint.sum(axis=1)
    index = {tuple(row): probs[n] for n, row in enumerate(ROWS)}
    expected = np.zeros(len(ROWS))
    for n, i in itertools.product(range(len(ROWS)), range(4)):
        flipped = ROWS[n].copy()
        flipped[i] = 1 - flipped[i]
        expected[n] += np.log(probs[n] / (probs[n] + index[tuple(flipped)]))
    np.testing.assert_allclose(rbm.score_samples(ROWS), expected, rtol=1e-4)
    assert rbm.score(ROWS) == pytest.approx(expected.mean(), rel=1e-4)


def test_a_vae_scores_nearly_the_likelihood(vae: VAE) -> None:
    """Log p(x) by quadrature over the one latent variable, which the bound stays below."""
    codes = np.linspace(-6, 6, 1201)[:, None]
    probs = vae.inverse_transform(codes).astype(np.float64)
    log_joint = [(xlogy(x, probs) + xlog1py(1 - x, -probs)).sum(axis=1) for x in ROWS]
    log_prior = norm.logpdf(codes[:, 0])
    expected = logsumexp(np.stack(log_joint) + log_prior, axis=1) + np.log(0.01)
    assert np.exp(expected).sum() == pytest.approx(1.0, abs=1e-4)
    found = vae.score_samples(ROWS)
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(found, expected, atol=0.03)
    assert vae.transform(ROWS).shape == (16, 1)


def test_the_same_seed_is_the_same_model(rbm: RBM) -> None:
    again = RBM(**rbm.get_params()).fit(ROWS)
    np.testing.assert_array_equal(again.components_, rbm.components_)
    drawn = rbm.sample(3, random_state=5)
    assert drawn.shape == (3, 4)
    assert ((drawn >= 0) & (drawn <= 1)).all()
    np.testing.assert_array_equal(rbm.sample(3, random_state=5), drawn)
    assert not np.array_equal(rbm.sample(3, random_state=6), drawn)
    assert [*rbm.get_feature_names_out()] == ["rbm0", "rbm1"]
    assert rbm.history_["step"].tolist() == [2, 4]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (ROWS - 0.5, r"Negative values in data: expected numbers that fill \[0, 1\], found -0.5 "),
        (2 * ROWS, r"^expected numbers that fill \[0, 1\], found 0 to 2; scale them, for ex"),
        (ROWS / 16, r"found 0 to 0.0625; scale them"),
        (np.where(ROWS == 1, np.nan, 0), "NaN"),
    ],
)
def test_other_numbers_are_refused(rows: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RBM(2).fit(rows)


def test_other_components_are_refused(rbm: RBM) -> None:
    with pytest.raises(ValueError, match="X has 3 features, but RBM has 2"):
        rbm.inverse_transform(np.zeros((2, 3)))


@pytest.mark.slow
def test_in_a_search_over_a_pipeline(rbm: RBM) -> None:
    """Rows of four numbers, of the class of their first one."""
    rows, labels = np.tile(ROWS, (2, 1)), np.tile(ROWS[:, 0], 2)
    pipeline = make_pipeline(RBM(**rbm.get_params()), LogisticRegression())
    search = GridSearchCV(pipeline, {"rbm__n_iter": [1, 2]}, cv=2, error_score="raise")
    search.fit(rows, labels)
    assert search.best_estimator_[0].n_iter in (1, 2)
    assert 0 <= search.score(rows, labels) <= 1


# ---- scikit-learn's own checks


class CheckedRBM(RBM):
    """It takes any number to (0, 1), because the checks' data are of all ranges."""

    def _rows(self, X: Any, reset: bool) -> Any:
        return expit(validate_data(self, X, dtype=np.float32, reset=reset))

    def __sklearn_tags__(self) -> Any:
        """Negative numbers too."""
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = False
        return tags


class CheckedVAE(VAE):
    """As `CheckedRBM`."""

    _rows = CheckedRBM._rows

    def __sklearn_tags__(self) -> Any:
        """Negative numbers too."""
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = False
        return tags


CHECKED = [
    CheckedRBM(2, n_iter=1, batch_size=10, random_state=0),
    CheckedVAE(2, hidden_layer_sizes=(3,), n_iter=1, n_draws=2, random_state=0),
]


@pytest.mark.slow
@parametrize_with_checks(CHECKED)
def test_every_check(estimator: Any, check: Any) -> None:
    """None is exempt."""
    check(estimator)


def test_one_check() -> None:
    """All others take minutes; this one pickles it, and compares what it does before and after."""
    check_estimators_pickle("CheckedRBM", CHECKED[0])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_components", 2.5),
        ("n_components", "x"),
        ("batch_size", 0),
        ("learning_rate", "x"),
        ("n_iter", -1),
        ("n_gibbs_steps", 0),
        ("n_sampling_steps", 0.5),
        ("persistent", "x"),
        ("binarize", "x"),
    ],
)
def test_an_impossible_parameter_is_named_as_it_was_typed(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"'{name}' parameter of RBM must be"):
        RBM(**{name: value}).fit(ROWS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_draws", 0),
        ("hidden_layer_sizes", "x"),
        ("hidden_layer_sizes", 0),
        ("hidden_layer_sizes", (3, 0)),
        ("hidden_layer_sizes", ()),
        ("hidden_layer_sizes", (2.5,)),
    ],
)
def test_an_impossible_parameter_of_a_vae_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"'{name}' parameter of VAE must be"):
        VAE(**{name: value}).fit(ROWS)


def test_parameters_that_are_set_later_are_those_of_the_next_fit(rbm: RBM) -> None:
    before, names = rbm.sample(2, random_state=0), rbm.get_feature_names_out()
    changed = copy.deepcopy(rbm).set_params(n_components=rbm.n_components + 1)
    np.testing.assert_array_equal(changed.sample(2, random_state=0), before)
    np.testing.assert_array_equal(changed.transform(ROWS), rbm.transform(ROWS))
    np.testing.assert_array_equal(changed.get_feature_names_out(), names)


@pytest.mark.parametrize("num", [0, -1, 2.5, 10**12])
def test_a_number_of_samples_that_cannot_be_drawn_is_refused(rbm: RBM, num: Any) -> None:
    with pytest.raises(ValueError, match="expected n_samples from 1 to "):
        rbm.sample(num)
