"""The published figures as data: each once, with where it is from."""

import importlib

import numpy as np
import pytest

from experiments.comparison import page as compare_pages
from experiments.comparison import published
from experiments.comparison import tables as compare_tables

FIGURES = published.FIGURES["mnist"]


def test_each_figure_stands_once() -> None:
    assert len({(figure.model, figure.measure, figure.how) for figure in FIGURES}) == len(FIGURES)


def test_each_stands_beside_models_that_there_are() -> None:
    names = {name for figure in FIGURES for name in figure.beside} - {"mixture of Bernoullis"}
    for name in names:
        experiment, _, preset = name.partition("-")
        assert preset in importlib.import_module(f"experiments.{experiment}").PRESETS
    row = compare_tables.Row("rbm-cd25, epochs 3", [], np.zeros(()))
    assert compare_tables.beside(row, FIGURES) == "-86.34, AIS"
    assert compare_tables.beside(row._replace(name="rbm-cd2"), FIGURES) == ""


def test_figures_are_in_the_units_of_their_measure() -> None:
    """A log likelihood of binary units is negative; a window's density may be above 1."""
    for figure in FIGURES:
        assert {"log_likelihood": figure.value < 0, "parzen": figure.value > 0}[figure.measure]


def test_ais_and_reverse_ais_come_in_pairs_where_both_are_known() -> None:
    both = {figure.model for figure in FIGURES if figure.how == "reverse AIS"}
    assert both <= {figure.model for figure in FIGURES if figure.how == "AIS"}


def test_the_table_of_likelihoods_names_each_with_its_source() -> None:
    rows = compare_tables.likelihood_table([], FIGURES).rows
    assert len(rows) == sum(figure.measure == "log_likelihood" for figure in FIGURES)
    assert all(row[4] == "published" and row[5] for row in rows)
    assert compare_tables.likelihood_table([], ()).rows == []
    assert compare_pages.describe_parzen(()) == []


@pytest.mark.parametrize(
    ("kinds", "gaps", "binary", "said"),
    [
        ((), (0.0, 0.0), "sample", ""),
        (("ELBO", "bound"), (0.0, 0.0), "sample", "bound"),
        (("reverse AIS", "AIS"), (0.5, 0.9), "sample", "AIS"),
        (("reverse AIS", "AIS"), (0.5, 3.04), "sample", "AIS; reverse AIS 3.0 nats off"),
        (
            ("bound, AIS on top",),
            (2.0, 0.0),
            "sample",
            "bound, AIS on top; reverse AIS 2.0 nats off",
        ),
        (("AIS", "exact"), (0.0, 0.0), "threshold", "exact; pixels thresholded"),
    ],
)
def test_the_table_says_where_annealing_does_not_meet_in_a_seed(
    kinds: tuple[str, ...], gaps: tuple[float, float], binary: str, said: str
) -> None:
    def found(gap: float):
        return [{"kind": kind, "log_z_gap": gap, "binary": binary} for kind in kinds]

    assert compare_tables.estimator([{"likelihoods": found(gap)} for gap in gaps]) == said
