"""The tables of the comparison: a line for each model or reference row, a cell for all seeds."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.comparison import ranking
from experiments.comparison.measures import NUM_SHOWN, PIXELS, Measures, interval
from experiments.comparison.published import Published
from experiments.comparison.ranking import (
    ARROWS,
    BEST,
    BETTER,
    Better,
    Ranked,
    Value,
    few_chains,
    headline,
    leaders,
    likelihoods,
    of_probes,
    of_samples,
    ranked_pixels,
    value_of,
    why_unranked,
)
from jaxgen.errors import RunFolderError
from jaxgen.evaluation.ais import LEAST_EFFECTIVE, MEET
from jaxgen.evaluation.model import is_impossible
from jaxgen.evaluation.suite import TITLES
from jaxgen.report.page import Table, number, with_error
from jaxgen.runs import Run
from jaxgen.runs.files import MANIFEST
from jaxgen.runs.manifest import command_of
from jaxgen.runs.settings import printable, read_json
from jaxgen.runs.summary import program_folder

PUBLISHED = "published, nats"
ESTIMATOR = "estimator"
TEST_ERROR = "test error, %"
"""Titles of columns."""
LIKELIHOOD = "log likelihood, nats"
OTHERS = (
    [
        LIKELIHOOD,
        "mean log probability of a test image, exact, estimated or a lower bound, as the estimator "
        "says; ranked unless its cell says why not",
    ],
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
FIRST = ("frechet_distance", "frechet_extrapolated", "precision", "recall", "fid")
"""Measures of samples in the first table."""
MOST_LETTERS = 1000
"""Of a command line, which may be a stranger's."""
NUM_LABELS = 1000
"""Labels of the probe in the first table; where there is none of so many, the largest number."""


class Row(NamedTuple):
    """One line of the table: a model with all its seeds, or a reference row."""

    name: str
    measures: Sequence[Measures]
    """One for each seed."""
    images: np.ndarray
    """Samples of the first seed."""
    runs: Sequence[Run] = ()
    """None for a reference row."""
    labelled: bool = False
    """Whether the model was trained with the labels of all training images."""


def over_seeds(values: Sequence[float]) -> str:
    """Mean and standard deviation (n - 1)."""
    return with_error(float(np.mean(values)), float(np.std(values, ddof=1)))


def cell(found: Sequence[Mapping[str, Any] | None], written: Callable[[Any], str]) -> str:
    """A measure over the seeds; of one seed, the number as `written` has it."""
    taken = [each for each in found if each is not None]
    if not taken:
        return ""
    if len(taken) == 1:
        return written(taken[0])
    return over_seeds([each["value"] for each in taken])


def _likelihood(found: Mapping[str, Any]) -> str:
    value, error = found["value"], found["standard_error"]
    return with_error(value, error) if error else f"{value:.2f}"


def likelihood_cell(found: Sequence[Mapping[str, Any] | None]) -> str:
    """A likelihood over the seeds; if one rests on too few chains, the range and no mean.

    There is no number where an estimate is none of a log probability.
    """
    taken = [each for each in found if each is not None]
    if any(is_impossible(each["value"], each["binary"]) for each in taken):
        return "not known"
    if len(taken) > 1 and any(map(few_chains, taken)):
        return " to ".join(f"{of(each['value'] for each in taken):.2f}" for of in (min, max))
    return cell(taken, _likelihood)


def ranked_cell(measures: Sequence[Measures], pixels: Sequence[str]) -> str:
    """The best likelihood, and why it is left out of the ranking, if it is."""
    why = why_unranked(measures, pixels)
    return likelihood_cell([headline(each) for each in measures]) + (
        f"; not ranked: {why}" if why else ""
    )


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
    """The published figure that a model reaches for.

    It is that of the row's whole name if there is one, else that of its preset, whatever is changed
    in its settings.
    """
    names = (row.name, row.name.partition(", ")[0])
    reached = [[figure for figure in published if name in figure.beside] for name in names]
    found = next(filter(None, reached), [])
    return "; ".join(f"{number(figure.value, 5)}, {figure.how}" for figure in found)


def title(name: str) -> str:
    """The title of a measure of samples, with an arrow to where it is better."""
    return f"{TITLES[name]} {ARROWS[BETTER[name]]}" if name in BETTER else TITLES[name]


def labels_title(num: int) -> str:
    """The title of the probes with so many labels."""
    return f"{num:,} labels, % {ARROWS['higher']}"


def models(rows: Sequence[Row]) -> list[Ranked]:
    """The rows that are ranked."""
    return [Ranked(row.name, row.measures, row.labelled) for row in rows if row.runs]


def references(rows: Sequence[Row]) -> list[Ranked]:
    """The rows that stand beside."""
    return [Ranked(row.name, row.measures) for row in rows if not row.runs]


def verdict(rows: Sequence[Row]) -> list[str]:
    """What the tables come to, in three sentences."""
    return ranking.verdict(models(rows), references(rows), main_number(rows), probe_of)


def main_number(rows: Sequence[Row]) -> int | None:
    """The number of labels of the probe in the first table."""
    numbers = label_numbers(rows)
    return NUM_LABELS if NUM_LABELS in numbers else numbers[-1] if numbers else None


class Column(NamedTuple):
    """A column of a table: its title, a cell for each row, and the rows that are best."""

    title: str
    cells: list[str]
    best: Sequence[str] = ()


def _table(rows: Sequence[Row], columns: Sequence[Column]) -> Table:
    """A table with the best values of each column marked."""
    lines = [
        [row.name, *(f"{BEST} {x.cells[i]}" if row.name in x.best else x.cells[i] for x in columns)]
        for i, row in enumerate(rows)
    ]
    return Table(["model", *(column.title for column in columns)], lines)


def _best(values: Mapping[str, Value | None], better: Better) -> list[str]:
    """The names of the best value and of those alike, unless they are all that are ranked."""
    found = leaders(values, better)
    others = [name for name, value in values.items() if value is not None and name not in found]
    return found if others else []


def _samples_column(rows: Sequence[Row], name: str) -> Column:
    cells = [
        cell([x["samples"].get(name) for x in row.measures], lambda x: interval(x, 3))
        for row in rows
    ]
    best = _best(of_samples(models(rows), name), BETTER[name]) if name in BETTER else []
    return Column(title(name), cells, best)


def _labels_column(rows: Sequence[Row], num: int) -> Column:
    cells = [cell([probe_of(each, num) for each in row.measures], interval) for row in rows]
    cells = [
        f"{text}; not ranked: trained with labels" if text and row.labelled else text
        for row, text in zip(rows, cells, strict=True)
    ]
    return Column(labels_title(num), cells, _best(of_probes(models(rows), num, probe_of), "higher"))


def main_table(rows: Sequence[Row]) -> Table:
    """The main measures: likelihood, distance of the samples, precision and recall, features."""
    pixels = ranked_pixels([row.measures for row in models(rows)])
    likely = [ranked_cell(row.measures, pixels if row.runs else ()) for row in rows]
    columns = [Column("seeds", [str(len(row.runs) or "") for row in rows])]
    if any(likely):
        best = _best(likelihoods(models(rows)), "higher")
        columns.append(Column(f"{LIKELIHOOD} {ARROWS['higher']}", likely, best))
    there = measure_names(rows)
    columns += [_samples_column(rows, name) for name in FIRST if name in there]
    if num := main_number(rows):
        columns.append(_labels_column(rows, num))
    if has_test_errors(rows):
        columns.append(_error_column(rows))
    return _table(rows, columns)


def has_test_errors(rows: Sequence[Row]) -> bool:
    """Whether a model among the rows classifies."""
    return any(x.get("test_error") for row in rows for x in row.measures)


def _error_column(rows: Sequence[Row]) -> Column:
    found = {
        row.name: [x["test_error"] and in_percent(x["test_error"]) for x in row.measures]
        for row in rows
    }
    values = {each.name: value_of(found[each.name]) for each in models(rows)}
    cells = [cell(each, interval) for each in found.values()]
    return Column(f"{TEST_ERROR} {ARROWS['lower']}", cells, _best(values, "lower"))


def further_table(rows: Sequence[Row], published: Sequence[Published]) -> Table:
    """All other columns: how likelihoods were found, further measures, other numbers of labels."""
    estimators = [estimator(row.measures) for row in rows]
    reached = [beside(row, published) for row in rows]
    columns = [Column(ESTIMATOR, estimators)] if any(estimators) else []
    columns += [Column(PUBLISHED, reached)] if any(reached) else []
    columns += [_samples_column(rows, name) for name in measure_names(rows) if name not in FIRST]
    columns += [
        _labels_column(rows, num) for num in label_numbers(rows) if num != main_number(rows)
    ]
    columns.append(Column("training, s", [training_time(row.runs) for row in rows]))
    return _table(rows, columns)


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


def trained_by(run: Run) -> str:
    """The command line that a run was trained by, as its folder has it; "" where it has none."""
    try:
        return printable(shlex.join(command_of(read_json(run.folder / MANIFEST))), MOST_LETTERS)
    except RunFolderError:
        return ""


def run_table(rows: Sequence[Row]) -> Table:
    """The run of each number, and its command."""
    lines = [
        [row.name, str(run.seed), str(run.folder), run.digest[:16], trained_by(run)]
        for row in rows
        for run in row.runs
    ]
    return Table(["model", "seed", "run folder", "parameters, sha256", "trained by"], lines)
