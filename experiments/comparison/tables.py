"""The tables of the comparison: a line for each model or reference row, a cell for all seeds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.comparison.measures import NUM_SHOWN, PIXELS, Measures, interval
from experiments.comparison.published import Published
from jaxgen.evaluation.ais import LEAST_EFFECTIVE
from jaxgen.evaluation.suite import TITLES
from jaxgen.report.page import Table, number
from jaxgen.runs import Run
from jaxgen.runs.summary import program_folder

MEET = 1.0
"""Nats; where log Z by AIS and by reverse AIS lie farther apart, the table shows it."""
PUBLISHED = "published, nats"
ESTIMATOR = "estimator"
TEST_ERROR = "test error, %"
"""Titles of columns."""
OTHERS = (
    [
        ESTIMATOR,
        f"how the likelihood was found; where AIS from its two sides is over {MEET:g} nat off; and "
        f"where fewer than {LEAST_EFFECTIVE} chains carry log Z, so that no error is known",
    ],
    [PUBLISHED, "the figure that a model reaches for; its source stands under Log likelihood"],
    ["N labels, %", "test images that a linear probe of the highest features reads right"],
    [TEST_ERROR, "test images that the model itself classifies wrongly, if it classifies"],
    ["training, s", "a seed's share where seeds shared a program; wake_sleep without its DBN's"],
)
"""Columns that are no measure of samples, and their definitions."""


class Row(NamedTuple):
    """One line of the table: a model with all its seeds, or a reference row."""

    name: str
    measures: Sequence[Measures]
    """One for each seed."""
    images: np.ndarray
    """Samples of the first seed."""
    runs: Sequence[Run] = ()
    """None for a reference row."""


def over_seeds(values: Sequence[float], digits: int = 4) -> str:
    """Mean and standard deviation (n - 1)."""
    return f"{number(float(np.mean(values)), digits)} ± {number(float(np.std(values, ddof=1)), 2)}"


def cell(found: Sequence[Mapping[str, Any] | None], written: Callable[[Any], str]) -> str:
    """A measure over the seeds; of one seed, the number as `written` has it."""
    taken = [each for each in found if each is not None]
    if not taken:
        return ""
    if len(taken) == 1:
        return written(taken[0])
    return over_seeds([each["value"] for each in taken])


def headline(measures: Measures) -> Mapping[str, Any] | None:
    """The best likelihood there is: exact before an estimate, the tighter bound before another."""
    found = measures["likelihoods"]
    return found[-1] if found else None


def few_chains(likelihood: Mapping[str, Any]) -> bool:
    """Whether a likelihood rests on too few effective chains to be ranked or averaged."""
    effective = likelihood["effective_chains"]
    return effective is not None and effective < LEAST_EFFECTIVE


def _likelihood(found: Mapping[str, Any]) -> str:
    value, error = f"{found['value']:.2f}", found["standard_error"]
    return value if error is None else f"{value} ± {number(error, 2)}"


def likelihood_cell(found: Sequence[Mapping[str, Any] | None]) -> str:
    """A likelihood over the seeds; if one rests on too few chains, the range and no mean."""
    taken = [each for each in found if each is not None]
    if len(taken) > 1 and any(map(few_chains, taken)):
        return " to ".join(f"{of(each['value'] for each in taken):.2f}" for of in (min, max))
    return cell(taken, _likelihood)


def estimator(measures: Sequence[Measures]) -> str:
    """The kind of the headline; few effective chains, and how far the sides are off, if far.

    Of several seeds the fewest chains and the largest distance.
    """
    best = [found for found in map(headline, measures) if found]
    if not best:
        return ""
    parts = [best[0]["kind"]]
    if best[0]["binary"] == "threshold":
        parts.append("pixels thresholded")
    few = min(filter(few_chains, best), key=lambda x: x["effective_chains"], default=None)
    if few:
        parts.append(f"{few['effective_chains']:.2g} of {few['num_chains']} chains effective")
    if (gap := max(found["log_z_gap"] for found in best)) > MEET or few:
        parts.append(f"reverse AIS {gap:.1f} nats off")
    return "; ".join(parts)


def in_percent(row: Mapping[str, Any]) -> dict[str, float]:
    """A probe's accuracy with its interval."""
    return {name: 100 * row[name] for name in ("value", "low", "high")}


def probe_of(measures: Measures, num_labels: int) -> Mapping[str, Any] | None:
    """The linear probe of the highest features with so many labels, in percent."""
    of = ("linear", num_labels)
    found = [row for row in measures["probes"] if (row["probe"], row["num_labels"]) == of]
    return in_percent(found[-1]) if found else None


def label_numbers(rows: Sequence[Row]) -> list[int]:
    """The numbers of labels that probes were given."""
    return sorted({x["num_labels"] for row in rows for m in row.measures for x in m["probes"]})


def measure_names(rows: Sequence[Row]) -> list[str]:
    """The measures of samples that a row has."""
    there = {name for row in rows for measures in row.measures for name in measures["samples"]}
    return [name for name in TITLES if name in there]


def beside(row: Row, published: Sequence[Published]) -> str:
    """The published figure that a model reaches for, whatever is changed in its settings."""
    model = row.name.partition(", ")[0]
    found = [figure for figure in published if model in figure.beside]
    return "; ".join(f"{number(figure.value, 5)}, {figure.how}" for figure in found)


def main_table(rows: Sequence[Row], published: Sequence[Published]) -> Table:
    """Models by measures."""
    numbers, names = label_numbers(rows), measure_names(rows)
    columns = ["model", "seeds", "log likelihood, nats", ESTIMATOR, PUBLISHED]
    columns += [TITLES[name] for name in names]
    columns += [f"{num:,} labels, %" for num in numbers]
    errors = any(measures.get("test_error") for row in rows for measures in row.measures)
    columns += [TEST_ERROR] * errors + ["training, s"]
    lines = []
    for row in rows:
        best = [headline(each) for each in row.measures]
        line = [row.name, str(len(row.runs) or ""), likelihood_cell(best)]
        line += [estimator(row.measures), beside(row, published)]
        for name in names:
            found = [measures["samples"].get(name) for measures in row.measures]
            line.append(cell(found, lambda x: interval(x, 3)))
        for num in numbers:
            found = [probe_of(each, num) for each in row.measures]
            line.append(cell(found, interval))
        if errors:
            wrong = [x["test_error"] and in_percent(x["test_error"]) for x in row.measures]
            line.append(cell(wrong, interval))
        lines.append([*line, training_time(row.runs)])
    return Table(columns, lines)


def training_time(runs: Sequence[Run]) -> str:
    """Seconds for a seed; the seeds of one program share its time, so they are one value."""
    times = {program_folder(run.folder): {"value": run.train_seconds} for run in runs}
    return cell([*times.values()], lambda x: number(x["value"], 3))


def likelihood_table(rows: Sequence[Row], published: Sequence[Published]) -> Table:
    """Every kind of likelihood that was computed, then published figures."""
    lines = []
    for row in rows:
        for index, first in enumerate(row.measures[0]["likelihoods"]):
            found = [x["likelihoods"][index] for x in row.measures if x["likelihoods"][index:]]
            worst = max(found, key=lambda each: each["log_z_gap"])
            binary = PIXELS[first["binary"]]
            lines.append(
                [row.name, first["kind"], likelihood_cell(found), binary, worst["note"], ""]
            )
    for figure in published:
        if figure.measure == "log_likelihood":
            value = number(figure.value, 5)
            lines.append([figure.model, figure.how, value, "", "published", figure.source])
    columns = ["model", ESTIMATOR, "nats per test image", "pixels", "log Z", "source"]
    return Table(columns, lines)


def probe_table(rows: Sequence[Row]) -> Table:
    """Test accuracy of every probe, for each kind of features."""
    numbers = label_numbers(rows)
    lines = []
    for row in rows:
        probed = row.measures[0]["probes"]
        for of in dict.fromkeys((x["features"], x["probe"]) for x in probed):
            line = [row.name, *of]
            for num in numbers:
                found = [
                    in_percent(x)
                    for measures in row.measures
                    for x in measures["probes"]
                    if (x["features"], x["probe"], x["num_labels"]) == (*of, num)
                ]
                line.append(cell(found, interval))
            lines.append(line)
    columns = ["model", "features", "probe", *(f"{num:,} labels, %" for num in numbers)]
    return Table(columns, lines)


def class_table(rows: Sequence[Row], names: Sequence[str]) -> Table:
    """Share of the first `NUM_SHOWN` classes among the samples, the mean over seeds."""
    found = [np.mean([each["class_frequencies"] for each in row.measures], axis=0) for row in rows]
    lines = [
        [row.name, *(f"{share:.1%}" for share in shares[:NUM_SHOWN])]
        for row, shares in zip(rows, found, strict=True)
    ]
    return Table(["model", *names[:NUM_SHOWN]], lines)


def run_table(rows: Sequence[Row]) -> Table:
    """The run of each number."""
    lines = [
        [row.name, str(run.seed), str(run.folder), run.digest[:16]]
        for row in rows
        for run in row.runs
    ]
    return Table(["model", "seed", "run folder", "parameters, sha256"], lines)
