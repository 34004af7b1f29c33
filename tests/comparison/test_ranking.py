"""The ranking of the comparison and its verdict, on measures that are made up."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.comparison import page, ranking, tables
from experiments.comparison.ranking import Ranked
from jaxgen.runs import Run

NUMBER = {"num_samples": 9, "num_resamples": 5}


def likelihood(value: float, **more: Any) -> dict[str, Any]:
    """A likelihood as it is kept."""
    found = {"kind": "bound", "value": value, "standard_error": 0.3, "binary": "sample"}
    found |= {"note": "", "num_chains": 0, "effective_chains": None, "log_z_gap": 0.0}
    return found | more


def estimate(value: float, off: float) -> dict[str, Any]:
    """A number with an interval."""
    return {"value": value, "low": value - off, "high": value + off, **NUMBER}


def measures(nats: dict[str, Any] | None, distance: float, labels: float) -> dict[str, Any]:
    """Measures of one seed."""
    probe = {"features": "units", "probe": "linear", "num_labels": 100, "std": None}
    return {
        "likelihoods": [nats] if nats else [],
        "samples": {"frechet_distance": estimate(distance, 2.0), "recall": estimate(0.5, 0.1)},
        "class_frequencies": [],
        "probes": [probe | estimate(labels, 0.01)],
        "test_error": None,
    }


def seeds(name: str, *nats: float, distance: float = 50.0, **more: Any) -> Ranked:
    """A model with a seed for each likelihood."""
    return Ranked(name, [measures(likelihood(x, **more), distance, 0.9) for x in nats])


def run(name: str) -> Any:
    """A run of which a table needs its place and its time alone."""

    class Made:
        folder = Path(name)
        train_seconds = 3.0
        seed = 0
        digest = "0"

    return Made()


def test_a_lead_within_the_spread_of_seeds_is_called_that() -> None:
    near = [seeds("a", -95.0, -96.0, -97.0), seeds("b", -95.5, -96.5, -97.5)]
    apart = [seeds("a", -95.0, -95.1, -95.2), seeds("b", -96.5, -96.6, -96.7)]
    said, clear = (ranking.verdict(rows, [], 100, tables.probe_of)[0] for rows in (near, apart))
    assert "a is best with -96.00 nats (bound), but b (-96.5) cannot be told from it" in said
    assert "a is best" in clear
    assert "by more than seeds differ" in clear
    one = ranking.verdict([seeds("a", -90.0), seeds("b", -96.0)], [], 100, tables.probe_of)[0]
    assert "one seed cannot show" in one


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"log_z_gap": 7.6}, "two sides of AIS are 7.6 nats apart"),
        ({"log_z_gap": 0.9}, ""),
        ({"effective_chains": 2.0, "num_chains": 100}, "too few chains carry log Z"),
        ({"binary": "none"}, "may be densities"),
        ({"binary": "threshold"}, "of other pixels"),
    ],
)
def test_a_likelihood_that_does_not_hold_is_struck_out_and_says_so(
    more: dict[str, Any], why: str
) -> None:
    """The struck one is the highest, so it would be the best."""
    rows = [seeds("high", -50.0, **more), seeds("b", -96.0), seeds("c", -99.0)]
    pixels = ranking.ranked_pixels([row.measures for row in rows])
    assert pixels == ["sample"]
    assert why in tables.ranked_cell(rows[0].measures, pixels)
    assert ("not ranked" in tables.ranked_cell(rows[0].measures, pixels)) == bool(why)
    said = ranking.verdict(rows, [], 100, tables.probe_of)[0]
    assert f"{'b' if why else 'high'} is best" in said
    assert ("not ranked: high" in said) == bool(why)


def test_no_number_stands_where_an_estimate_is_no_log_probability() -> None:
    above, below = seeds("a", 24.4, log_z_gap=212.0), seeds("b", -96.0)
    cell = tables.ranked_cell(above.measures, ["sample"])
    assert cell == "not known; not ranked: the two sides of AIS are 212.0 nats apart"
    assert "above 0, which no log" in ranking.why_unranked(seeds("c", 1.0).measures)
    assert tables.likelihood_cell([likelihood(24.4, binary="none")]).startswith("24.4")
    assert tables.ranked_cell(below.measures, ["sample"]) == "-96.00 ± 0.30"


@pytest.mark.parametrize(
    ("recalls", "words", "marked"),
    [
        ((0.5, 0.9), "b has the highest recall", ["b"]),
        ((0.55, 0.5), "the highest recall is that of a and that of b, which cannot be", []),
        ((0.55, 0.5, 0.1), "recall is that of a and that of b, which cannot be", ["a", "b"]),
        ((0.5, 0.5, 0.5, 0.5), "4 models cannot be told apart by their recall, the highest", []),
    ],
)
def test_models_within_their_errors_share_the_first_place(
    recalls: tuple[float, ...], words: str, marked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each recall is known within 0.1."""
    monkeypatch.setattr(tables, "program_folder", lambda folder: folder)
    rows = []
    for name, value in zip("abcd", recalls, strict=False):
        found = measures(None, 20.0, 0.8)
        found["samples"]["recall"] = estimate(value, 0.1)
        rows.append(tables.Row(name, [found], np.zeros((1, 2, 2, 1)), [run(name)]))
    assert words in tables.verdict(rows)[1]
    main = tables.main_table(rows)
    column = main.columns.index("recall ↑")
    assert [row[0] for row in main.rows if row[column].startswith("★")] == marked


def test_features_that_have_seen_all_labels_are_not_ranked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tables, "program_folder", lambda folder: folder)
    images = np.zeros((1, 2, 2, 1))
    rows = [
        tables.Row("seen", [measures(None, 20.0, 0.95)], images, [run("seen")], labelled=True),
        tables.Row("a", [measures(None, 20.0, 0.8)], images, [run("a")]),
        tables.Row("b", [measures(None, 20.0, 0.7)], images, [run("b")]),
    ]
    said = tables.verdict(rows)[2]
    assert "those of a are read best, 80%, before b" in said
    assert said.endswith("; not ranked, because trained with labels: seen.")
    cells = [row[-1] for row in tables.main_table(rows).rows]
    assert cells[0].endswith("; not ranked: trained with labels")
    assert [cell.startswith("★") for cell in cells] == [False, True, False]
    alone = tables.verdict(rows[:1])[2]
    assert "can be ranked by labels; not ranked, because trained with labels: seen." in alone


@pytest.mark.parametrize(
    ("names", "title"),
    [
        (["rbm-lab, quick"], "Measures of rbm-lab"),
        (["rbm-lab", "vae-lab, quick"], "rbm-lab and vae-lab side by side"),
        (["rbm-lab", "rbm-lab, quick"], "2 trainings of rbm-lab side by side"),
        (["a", "b", "c", "d"], "4 models side by side"),
    ],
)
def test_the_title_names_a_few_models(names: list[str], title: str) -> None:
    rows = [tables.Row(name, [], np.zeros(0), [run(name)]) for name in names]
    assert page.title_of([*rows, tables.Row(ranking.REAL, [], np.zeros(0))]) == title


def test_the_only_likelihood_that_can_be_ranked_is_called_that() -> None:
    rows = [seeds("high", -50.0, log_z_gap=7.6), seeds("b", -96.0)]
    said = ranking.verdict(rows, [], 100, tables.probe_of)[0]
    assert said.startswith(
        "Likelihood: b has -96.00 nats (bound), the only one that can be ranked;"
    )
    assert said.endswith("; not ranked: high, because the two sides of AIS are 7.6 nats apart.")


def test_a_list_of_names_has_no_commas_of_the_names() -> None:
    rows = [seeds(f"{x}-lab, quick, epochs 3", -50.0, log_z_gap=7.6) for x in ("vae", "rbm")]
    said = ranking.verdict(rows, [], 100, tables.probe_of)[0]
    assert "ranked: vae-lab (quick, epochs 3), because the two sides" in said
    assert "; rbm-lab (quick, epochs 3), because the two sides" in said
    assert ranking.in_a_sentence("vae-lab") == "vae-lab"


def test_without_a_likelihood_features_or_distance_the_verdict_says_so() -> None:
    bare = {"likelihoods": [], "samples": {}, "class_frequencies": [], "probes": []}
    likely, samples, features = ranking.verdict([Ranked("a", [bare])], [], None, tables.probe_of)
    assert "no model here has one that can be ranked" in likely
    assert "too few images" in samples
    assert "no model here has features" in features


def test_the_verdict_names_the_best_samples_and_features_beside_real_images() -> None:
    rows = [
        Ranked("a", [measures(None, 20.0, 0.8)]),
        Ranked("b", [measures(None, 90.0, 0.95)]),
    ]
    real = [Ranked(ranking.REAL, [measures(None, 1.5, 0.7)])]
    _, samples, features = ranking.verdict(rows, real, 100, tables.probe_of)
    assert "a has the lowest Frechet distance, 20, before b (90)" in samples
    assert "(9 real images have 1.5)" in samples
    assert "those of b are read best, 95% (pixels give 70%)" in features


def test_a_value_that_one_model_alone_has_is_not_called_the_best() -> None:
    without = measures(None, 90.0, 0.5)
    del without["samples"]["frechet_distance"]
    rows = [seeds("a", -95.0), Ranked("b", [without])]
    likely, samples, _ = ranking.verdict(rows, [], 100, tables.probe_of)
    assert likely == "Likelihood: a has -95.00 nats (bound), the only one here."
    assert samples == "Samples: a has a Frechet distance of 50, the only one here."
    none = [seeds("a", 1.0, log_z_gap=9.0), Ranked("b", [without])]
    assert ranking.verdict(none, [], 100, tables.probe_of)[0] == (
        "Likelihood: no model here has one that can be ranked: a, because the two sides of AIS "
        "are 9.0 nats apart."
    )


def test_a_model_alone_is_not_ranked() -> None:
    """The numbers stand without a best and without what other models have."""
    real = [Ranked(ranking.REAL, [measures(None, 1.5, 0.7)])]
    one = [Ranked("a", [measures(likelihood(-95.0), 20.0, 0.8)])]
    assert ranking.verdict(one, real, 100, tables.probe_of) == [
        "Likelihood: a has -95.00 nats (bound).",
        "Samples: a has a Frechet distance of 20 (9 real images have 1.5).",
        "Features: from 100 labels those of a are read with an accuracy of 80% (pixels give 70%).",
    ]


def test_tables_mark_the_best_model_and_the_better_direction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """References are better than any model and get no mark; a single model gets none either."""
    monkeypatch.setattr(tables, "program_folder", lambda folder: folder)
    images = np.zeros((1, 2, 2, 1))
    found = {"a": (-95.0, 20.0, 0.8), "b": (-99.0, 90.0, 0.9)}
    runs: list[Run] = [run("x")]
    rows = [
        tables.Row(name, [measures(likelihood(x), y, z)], images, runs)
        for name, (x, y, z) in found.items()
    ]
    rows.append(tables.Row("real", [measures(likelihood(-9.0), 1.0, 0.99)], images))
    main = tables.main_table(rows)
    assert main.columns[2:] == [
        *("log likelihood, nats ↑", "Frechet distance ↓", "recall ↑", "100 labels, % ↑"),
    ]
    marked = [[cell.startswith("★") for cell in row[2:]] for row in main.rows]
    assert marked[0][:2] == [True, True]
    assert marked[1] == [False, False, False, True]
    assert not any(marked[2])
    alone = tables.main_table(rows[1:])
    assert not any(cell.startswith("★") for row in alone.rows for cell in row)


@pytest.mark.parametrize(
    ("accuracy", "num", "num_images", "words"),
    [
        (0.93, 10_000, 10_000, ["reads only 93.00%"]),
        (0.99, 500, 10_000, ["of 500 samples", "does not compare with the distances of 10,000"]),
        (0.99, 10_000, 10, ["and 10 test images", "how far it may be off"]),
        (float("nan"), 500, 10_000, ["of 500 samples"]),
    ],
)
def test_a_weak_ruler_and_few_samples_are_warned_of(
    accuracy: float, num: int, num_images: int, words: list[str]
) -> None:
    said = " ".join([*ranking.warning(accuracy), ranking.of_few_samples(num, num_images, 10_000)])
    assert all(each in said for each in words)
    assert ("Warning" in said) == (accuracy < 0.97)
    assert ("does not compare" in said) == (min(num, num_images) < 10_000)
