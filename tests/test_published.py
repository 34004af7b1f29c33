"""The published figures as data: each once, with where it is from."""

import pytest

from experiments import compare_pages, published

FIGURES = published.FIGURES["mnist"]


def test_each_figure_stands_once():
    assert len({(figure.model, figure.measure, figure.how) for figure in FIGURES}) == len(FIGURES)


def test_figures_are_in_the_units_of_their_measure():
    """A log likelihood of binary units is negative; a window's density may be above 1."""
    for figure in FIGURES:
        assert {"log_likelihood": figure.value < 0, "parzen": figure.value > 0}[figure.measure]


def test_ais_and_reverse_ais_come_in_pairs_where_both_are_known():
    both = {figure.model for figure in FIGURES if figure.how == "reverse AIS"}
    assert both <= {figure.model for figure in FIGURES if figure.how == "AIS"}


def test_the_table_of_likelihoods_names_each_with_its_source():
    rows = compare_pages.likelihood_table([], FIGURES).rows
    assert len(rows) == sum(figure.measure == "log_likelihood" for figure in FIGURES)
    assert all(row[3] == "published" and row[4] for row in rows)
    assert compare_pages.likelihood_table([], ()).rows == []
    assert compare_pages.parzen_said(()) == []


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ({}, ""),
        ({"ELBO": -3.0, "importance-weighted bound": -2.0}, "importance-weighted bound"),
        ({"reverse AIS": -2.5, "AIS": -2.0}, "AIS"),
        ({"reverse AIS": -4.0, "AIS": -2.0}, "AIS; not met by reverse AIS, -4.00"),
        ({"reverse AIS": -4.0, "AIS": -2.0, "exact": -2.1}, "exact"),
    ],
)
def test_the_table_says_where_ais_and_reverse_ais_do_not_meet(kinds: dict[str, float], said: str):
    found = [{"kind": kind, "value": value} for kind, value in kinds.items()]
    assert compare_pages.by([{"likelihoods": found}, {"likelihoods": found}]) == said
