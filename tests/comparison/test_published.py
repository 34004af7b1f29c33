"""The published figures as data: each once, with where it is from."""

import importlib
import re

import numpy as np
import pytest

from experiments.comparison import measures as compare_measures
from experiments.comparison import naming, published
from experiments.comparison import page as compare_pages
from experiments.comparison import ranking as compare_ranking
from experiments.comparison import tables as compare_tables
from experiments.comparison.tables import Row
from experiments.running import cli
from jaxgen.evaluation.ais import LEAST_EFFECTIVE
from jaxgen.evaluation.model import Likelihood

FIGURES = published.FIGURES["mnist"]
WEIGHTED = "importance-weighted bound, 5,000 samples"


def test_each_figure_stands_once() -> None:
    assert len({(figure.model, figure.measure, figure.how) for figure in FIGURES}) == len(FIGURES)


def test_each_stands_beside_models_that_there_are() -> None:
    """A preset, with the settings that are changed in it as the comparison names them."""
    names = {name for figure in FIGURES for name in figure.beside} - {"mixture of Bernoullis"}
    for name in names:
        model, *changed = name.split(", ")
        experiment, _, preset = model.partition("-")
        module = importlib.import_module(f"experiments.{experiment}")
        flags = ["--preset", preset]
        for words in changed:
            *setting, value = words.split(" ")
            flags += [f"--{'-'.join(setting)}", value]
        args = cli.parse(module.PRESETS, {}, flags)
        assert naming.label(module.EXPERIMENT, args) == name


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("rbm-cd25, epochs 3", "-86.34, AIS"),
        ("rbm-cd2", ""),
        ("vae-burda, num samples 5, objective iwae", f"-85.54, {WEIGHTED}"),
        ("vae-burda, no base rates", f"-86.76, {WEIGHTED}"),
    ],
)
def test_a_whole_name_goes_before_its_preset(name: str, found: str) -> None:
    row = compare_tables.Row(name, [], np.zeros(()))
    assert compare_tables.beside(row, FIGURES) == found


def test_figures_are_in_the_units_of_their_measure() -> None:
    """A log likelihood of binary units is negative; a window's density may be above 1."""
    for figure in FIGURES:
        possible = {
            "log_likelihood": figure.value < 0,
            "parzen": figure.value > 0,
            "test_error": 0 < figure.value < 90,  # percent; always the same class is wrong for 90
        }
        assert possible[figure.measure]


def test_ais_and_reverse_ais_come_in_pairs_where_both_are_known() -> None:
    both = {figure.model for figure in FIGURES if figure.how == "reverse AIS"}
    assert both <= {figure.model for figure in FIGURES if figure.how == "AIS"}


def test_the_table_of_likelihoods_names_each_with_its_source() -> None:
    rows = compare_tables.likelihood_table([], FIGURES).rows
    assert len(rows) == sum(figure.measure == "log_likelihood" for figure in FIGURES)
    assert all(row[4] == "published" and row[5] for row in rows)
    assert compare_tables.likelihood_table([], ()).rows == []
    assert compare_pages.describe_published((), "parzen") == []


def test_figures_without_a_column_are_sentences() -> None:
    (errors,) = compare_pages.describe_published(FIGURES, "test_error")
    assert "up-down 1.25 (free energy of the labels; Hinton, Osindero and Teh" in errors
    (parzen,) = compare_pages.describe_published(FIGURES, "parzen")
    assert parzen.startswith("Published Parzen figures: DBN 138 (Parzen window on samples; Goo")
    assert "1.25" not in parzen


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
        return [
            {"kind": kind, "log_z_gap": gap, "binary": binary, "effective_chains": None}
            for kind in kinds
        ]

    assert compare_tables.estimator([{"likelihoods": found(gap)} for gap in gaps]) == said


def annealed(value: float, effective: float, gap: float) -> Likelihood:
    """A likelihood by AIS as the evaluation makes it."""
    error = 0.3 if effective >= LEAST_EFFECTIVE else None
    return Likelihood("AIS", value, error, gap, 100, effective, note=f"log Z of {value}")


@pytest.mark.parametrize(
    ("seeds", "cell", "how"),
    [
        ([(-108.67, 1.91, 20.2)], "-108.67", "AIS; 1.9 of 100 chains effective; reverse AIS 20.2"),
        ([(-87.04, 3.47, 0.39)], "-87.04", "AIS; 3.5 of 100 chains effective; reverse AIS 0.4"),
        ([(-84.74, 25.3, 0.2)], "-84.74 ± 0.30", "AIS"),
        ([(-84.74, 10.0, 0.2)], "-84.74 ± 0.30", "AIS"),
        (
            [(-119.5, 40.0, 0.1), (-121.0, 9.9, 0.3), (-118.25, 8.36, 7.6)],
            "-121.00 to -118.25",
            "AIS; 8.4 of 100 chains effective; reverse AIS 7.6",
        ),
        ([(-84.0, 50.0, 0.2), (-86.0, 60.0, 0.1)], "-85.0 ± 1.4", "AIS"),
    ],
)
def test_a_number_of_few_effective_chains_has_no_error_and_is_not_averaged(
    seeds: list[tuple[float, float, float]], cell: str, how: str
) -> None:
    """In the main table, in that of likelihoods, and on the page of one run."""
    samples = {"samples": {}, "probes": []}
    rows = [samples | {"likelihoods": [annealed(*seed)._asdict()]} for seed in seeds]
    line = compare_tables.main_table([Row("rbm-x", rows, np.zeros(1))]).rows[0]
    assert line[2].partition(";")[0] == cell
    assert (";" in line[2]) == (";" in how)  # then it is not ranked
    assert compare_tables.estimator(rows).removesuffix(" nats off") == how
    assert compare_tables.likelihood_table([Row("rbm-x", rows, np.zeros(1))], ()).rows[0][2] == cell
    for (_, effective, _), measures in zip(seeds, rows, strict=True):
        section = compare_measures.likelihoods_section(measures)
        assert section is not None
        assert section.table is not None
        wanted = "0.3" if effective >= LEAST_EFFECTIVE else "too few effective chains"
        assert section.table.rows[0][2] == wanted


@pytest.mark.parametrize(
    ("effective", "gap", "why"),
    [
        (25.3, 1.0, ""),
        (9.9, 1.0, "too few chains carry log Z"),
        (25.3, 470.0, "the two sides of AIS are 470.0 nats apart"),
    ],
)
def test_a_likelihood_knows_why_it_is_not_ranked(effective: float, gap: float, why: str) -> None:
    found = annealed(-86.98, effective, gap)
    assert found.doubt == why
    assert compare_ranking.why_unranked([{"likelihoods": [found._asdict()]}]) == why
    assert Likelihood("exact", -84.0, 0.3).doubt == ""
    assert (
        Likelihood("AIS", 166.98, 0.3).doubt == "an estimate above 0, which no log probability is"
    )
    assert Likelihood("a bound of densities", 166.98, 0.3, binary="none").doubt == ""


@pytest.mark.parametrize(
    ("effective", "gap", "said"),
    [
        (25.3, 0.24, "meet: they lie 0.24 nats apart, and 25.3 of 100 chains carry the estimate."),
        (25.3, 1.0, "meet: they lie 1 nats apart, and 25.3 of 100 chains carry the estimate."),
        (9.9, 0.4, "meet: .*9.9 of 100 chains carry the estimate, too few to know its error."),
        (25.3, 1.01, "do not meet: .*1 nats apart, .*, so the likelihood is not known to a nat."),
        (1.01, 5.7, "do not meet: .*5.7 nats .*1.01 of 100.*, so the likelihood is not known to a"),
    ],
)
def test_a_page_has_whether_the_two_sides_meet(effective: float, gap: float, said: str) -> None:
    exact = Likelihood("exact", -84.0, 0.3)
    found = {"likelihoods": [x._asdict() for x in (annealed(-84.0, effective, gap), exact)]}
    section = compare_measures.likelihoods_section(found)
    assert section is not None
    assert re.search(said, " ".join(section.answer))


def test_a_page_of_bounds_without_annealing_has_no_sides() -> None:
    bound = Likelihood("importance-weighted bound", -84.0, 0.3)
    section = compare_measures.likelihoods_section({"likelihoods": [bound._asdict()]})
    assert section is not None
    assert section.answer == []
