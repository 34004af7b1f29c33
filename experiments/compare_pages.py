"""The comparison for its readers: one table, its parts, the samples; as page, markdown and JSON."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments import run_folder, yardstick
from experiments.compare_measures import CLASSIFIED, Measures, interval
from experiments.finished import Finished, train_seconds
from experiments.published import Published
from jaxgen import figures, report
from jaxgen.files import write_atomically, write_json
from jaxgen.report import Section, Table, number

NUM_SHOWN = 20
"""Samples of each model in the picture: the first ones."""
MEET = 1.0
"""Nats; where AIS and reverse AIS lie farther apart, neither is to be trusted."""
COLUMNS = {
    "frechet_distance": "Frechet distance",
    "kernel_distance": "kernel distance",
    "precision": "precision",
    "recall": "recall",
    "density": "density",
    "coverage": "coverage",
    "digits_kl": "KL of digits",
    "class_score": "class score",
    "copying": "copying",
    "parzen": "Parzen (legacy)",
}


OTHERS = (
    ["by", "how the log likelihood was found, and whether AIS from its two sides meets"],
    ["N labels, %", "test images that a linear probe of the highest features reads right"],
    ["training, s", "a seed's share where seeds shared a program; wake_sleep without its DBN's"],
)
"""Columns that are no measure of samples, and what they are."""


class Row(NamedTuple):
    """One line of the table: a model with all its seeds, or a floor."""

    name: str
    measures: Sequence[Measures]
    """One for each seed."""
    images: np.ndarray
    """Samples of the first seed."""
    runs: Sequence[Finished] = ()
    """None for a floor."""


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


def _likelihood(found: Mapping[str, Any]) -> str:
    return f"{found['value']:.2f} ± {number(found['standard_error'], 2)}"


def by(measures: Sequence[Measures]) -> str:
    """What the headline is, and reverse AIS where it does not meet AIS."""
    best = headline(measures[0])
    if best is None or best["kind"] != "AIS":
        return best["kind"] if best else ""
    found = [{x["kind"]: x["value"] for x in each["likelihoods"]} for each in measures]
    ais, reverse = (float(np.mean([x[name] for x in found])) for name in ("AIS", "reverse AIS"))
    return "AIS" if abs(ais - reverse) <= MEET else f"AIS; not met by reverse AIS, {reverse:.2f}"


def probe_of(measures: Measures, num_labels: int) -> Mapping[str, Any] | None:
    """The linear probe of the highest features with so many labels, in percent."""
    of = ("linear", num_labels)
    found = [row for row in measures["probes"] if (row["classifier"], row["num_labels"]) == of]
    return {"value": 100 * found[-1]["value"]} if found else None


def label_numbers(rows: Sequence[Row]) -> list[int]:
    """The numbers of labels that probes were given."""
    return sorted({x["num_labels"] for row in rows for m in row.measures for x in m["probes"]})


def main_table(rows: Sequence[Row]) -> Table:
    """Models by measures."""
    numbers = label_numbers(rows)
    columns = ["model", "seeds", "log likelihood, nats", "by", *COLUMNS.values()]
    columns += [f"{num:,} labels, %" for num in numbers] + ["training, s"]
    lines = []
    for row in rows:
        best = [headline(each) for each in row.measures]
        line = [row.name, str(len(row.runs) or ""), cell(best, _likelihood)]
        line.append(by(row.measures))
        for name in COLUMNS:
            found = [measures["samples"].get(name) for measures in row.measures]
            line.append(cell(found, lambda x: interval(x, 3)))
        for num in numbers:
            found = [probe_of(each, num) for each in row.measures]
            line.append(cell(found, lambda x: number(x["value"])))
        seconds = dict.fromkeys(train_seconds(run.folder) for run in row.runs)
        times = [{"value": each} for each in seconds]  # one where the seeds shared a program
        lines.append([*line, cell(times, lambda x: number(x["value"], 3))])
    return Table(columns, lines)


def likelihood_table(rows: Sequence[Row], published: Sequence[Published]) -> Table:
    """Every kind of likelihood that was taken, then published figures."""
    lines = []
    for row in rows:
        for index, first in enumerate(row.measures[0]["likelihoods"]):
            found = [measures["likelihoods"][index] for measures in row.measures]
            said = cell(found, _likelihood)
            lines.append([row.name, first["kind"], said, first["note"] or "", ""])
    for figure in published:
        if figure.measure == "log_likelihood":
            value = number(figure.value, 5)
            lines.append([figure.model, figure.how, value, "published", figure.source])
    columns = ["model", "by", "nats per test image", "rests on (first seed)", "source"]
    return Table(columns, lines)


def probe_table(rows: Sequence[Row]) -> Table:
    """Test accuracy of every probe, for each kind of features."""
    numbers = label_numbers(rows)
    lines = []
    for row in rows:
        probed = row.measures[0]["probes"]
        for of in dict.fromkeys((x["features"], x["classifier"]) for x in probed):
            line = [row.name, *of]
            for num in numbers:
                found = [
                    {"value": 100 * x["value"]}
                    for measures in row.measures
                    for x in measures["probes"]
                    if (x["features"], x["classifier"], x["num_labels"]) == (*of, num)
                ]
                line.append(cell(found, lambda x: number(x["value"])))
            lines.append(line)
    columns = ["model", "features", "classifier", *(f"{num:,} labels, %" for num in numbers)]
    return Table(columns, lines)


def run_table(rows: Sequence[Row]) -> Table:
    """Which run each number is of."""
    lines = [
        [row.name, str(run.summary["seed"]), str(run.folder), run.summary["digest"][:16]]
        for row in rows
        for run in row.runs
    ]
    return Table(["model", "seed", "run folder", "parameters, sha256"], lines)


def parzen_said(published: Sequence[Published]) -> list[str]:
    """Published Parzen figures in a sentence, if there are any."""
    found = [x for x in published if x.measure == "parzen"]
    listed = "; ".join(f"{x.model} {number(x.value)} ({x.source})" for x in found)
    said = f"Published Parzen figures: {listed}. They are of other widths and samples."
    return [said] if found else []


def sections(
    rows: Sequence[Row], picture: Path, one_line: str, published: Sequence[Published]
) -> list[Section]:
    """The page in order; the samples of all models go to one picture."""
    sheet = figures.rows_of(
        {row.name.replace(", ", ",\n"): row.images[:NUM_SHOWN] for row in rows},
        f"The first {NUM_SHOWN} samples, in the order drawn",
    )
    said = [
        "Of several seeds a cell has the mean and ± the standard deviation over seeds (n - 1); of "
        "one seed, the value [95 % interval over samples]. A log likelihood of one seed has ± its "
        f"standard error over test images; that of log Z comes on top. {one_line}",
        *parzen_said(published),
    ]
    meaning = Table(
        ["measure", "what it is"],
        [*([COLUMNS[name], what] for name, what in yardstick.WHAT.items()), *OTHERS],
    )
    kinds = (
        "Exact: log Z by enumeration. AIS: log Z estimated from below, so the likelihood comes out "
        "too high, if anything; reverse AIS the other way round, as far as its chains start at "
        "draws of the model. Where they differ by more than a nat or change places, neither is to "
        "be trusted: the number of effective chains does not tell of a mode that no chain found. "
        "Bounds lie below the likelihood, but for the error of log Z on top."
    )
    return [
        Section("table", "Models and measures", said, (), main_table(rows)),
        Section("samples", "Samples", [], [figures.save(sheet, picture)]),
        Section("likelihood", "Log likelihood", [kinds], (), likelihood_table(rows, published)),
        Section("probes", "Probes", [CLASSIFIED], (), probe_table(rows)),
        Section("measures", "What the measures are", [], (), meaning),
        Section("runs", "Runs", [], (), run_table(rows)),
    ]


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every number, by row and by seed."""
    return [
        {
            "name": row.name,
            "seeds": [
                {"seed": run.summary["seed"], "digest": run.summary["digest"]} for run in row.runs
            ],
            "train_s": [round(train_seconds(run.folder), 2) for run in row.runs],
            "measures": list(row.measures),
        }
        for row in rows
    ]


def write(
    rows: Sequence[Row],
    folder: Path,
    markdown: Path,
    facts: Mapping[str, str],
    one_line: str,
    published: Sequence[Published],
) -> Path:
    """The markdown with its picture, `compare.html` and, last, `compare.json`; returns the page."""
    markdown.parent.mkdir(parents=True, exist_ok=True)
    picture, title = markdown.with_suffix(".png"), "All models on one yardstick"
    found = sections(rows, picture, one_line, published)
    facts = {**facts, "command": run_folder.command()}
    page = report.write_page(folder / "compare.html", title, facts, found)
    parts = [f"# {title}", *(f"- {name}: {text}" for name, text in facts.items())]
    for section in found:
        parts += [f"\n## {section.title}\n", *(f"{text}\n" for text in section.answer)]
        parts += [f"![{section.title}]({path.name})" for path in section.figures]
        parts += [report.markdown(section.table)] if section.table else []
    write_atomically(markdown, ("\n".join(parts) + "\n").encode())
    write_json(folder / "compare.json", as_json(rows))
    return page
