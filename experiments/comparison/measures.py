"""All measures of one trained model, kept in its run folder until the model changes."""

import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.comparison import examined, yardstick
from experiments.comparison.examined import Effort, Likelihood
from experiments.comparison.judge import Judge
from experiments.comparison.probes import probe_table
from experiments.running.artifacts import MEASURES, MEASURES_PAGE, link_measures
from experiments.running.finished import Finished, label
from jaxgen.data import Dataset
from jaxgen.evaluation import probe
from jaxgen.evaluation.resampling import Estimate
from jaxgen.files import write_json
from jaxgen.learner import named_key
from jaxgen.report import page as report
from jaxgen.report.page import Section, Table, number
from jaxgen.runs import folder as run_folder

logger = logging.getLogger("jaxgen")

VERSION = 3
"""Of what is measured; another one makes the numbers kept in run folders old."""

CLASSIFIED = (
    "Linear: multinomial logistic regression, its penalty chosen on a fifth of the labels. MLP: "
    f"one hidden layer of {probe.MLP_HIDDEN} units, its settings the same for all features."
)
"""What the probes are."""

Measures = dict[str, Any]
"""``of``: what it was measured on; the rest: see `as_json`."""


class Settings(NamedTuple):
    """How much is measured."""

    num_samples: int
    num_labels: tuple[int, ...]
    """Numbers of labels for probes."""
    effort: Effort


def identity(judged: Judge, dataset: Dataset, settings: Settings, digest: str) -> dict[str, Any]:
    """What the numbers depend on, as JSON gives it back."""
    return {
        "version": VERSION,
        "data": dataset.digest,
        "judge": judged.digest,
        "parameters": digest,
        "num_samples": settings.num_samples,
        "num_labels": [*settings.num_labels],
        **settings.effort._asdict(),
    }


def kept(path: Path, of: dict[str, Any]) -> Measures | None:
    """The measures in a file, if they are of the same things."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("of") == of else None


def as_json(
    of: dict[str, Any],
    likelihoods: list[Likelihood],
    samples: yardstick.Measured,
    probes: list[Any],
) -> Measures:
    """Measures as they are kept."""
    rows = [
        {
            "features": row.name,
            "classifier": row.classifier,
            "num_labels": row.num_labels,
            "spread": row.spread,
        }
        | row.accuracy._asdict()
        for row in probes
    ]
    return {
        "of": of,
        "likelihoods": [each._asdict() for each in likelihoods],
        "samples": {name: each._asdict() for name, each in samples.estimates.items()},
        "digits": samples.digits,
        "probes": rows,
    }


def compute(
    run: Finished, dataset: Dataset, judged: Judge, settings: Settings, of: dict[str, Any]
) -> Measures:
    """Likelihoods on test images, measures of samples, and probes of features."""
    model = run.module.examined(run, dataset)
    key = named_key(jax.random.key(run.summary["seed"]), "yardstick")
    height, width, _ = dataset.test.images.shape[1:]
    images = examined.samples(model, key, settings.num_samples, (height, width))
    likelihoods = model.likelihoods(settings.effort)
    probes = probe_table(examined.features(model, dataset), dataset, settings.num_labels)
    return as_json(of, likelihoods, yardstick.measure(judged, images, dataset), probes)


def measured(run: Finished, dataset: Dataset, judged: Judge, settings: Settings) -> Measures:
    """The measures of a run, from its folder or taken now; its `report.html` then links them.

    Errors:
        RunFolderError: the run is in use.
        WriteError: its folder may not be written.
    """
    of = identity(judged, dataset, settings, run.summary["digest"])
    with run_folder.opened(run.folder, resume=True, overwrite=False):
        found = kept(run.folder / MEASURES, of)
        if found is None:
            logger.info("measuring %s, seed %d, in %s", label(run), run.summary["seed"], run.folder)
            found = compute(run, dataset, judged, settings, of)
            write_json(run.folder / MEASURES, found)
        write_page(run, found)
    return found


def write_page(run: Finished, found: Measures) -> None:
    """The measures of one run for a reader, and the way to them on the run's own page."""
    facts = {
        "model": label(run),
        "data set": f"{run.summary['dataset']}, sha256 {found['of']['data']}",
        "parameters": f"sha256 {found['of']['parameters']}",
        "judge": f"sha256 {found['of']['judge']}",
        "command": run_folder.command(),
    }
    sections = [of_likelihoods(found), of_samples(found), of_digits(found), of_probes(found)]
    title = f"Measures of {label(run)}, seed {run.summary['seed']}"
    report.write_page(run.folder / MEASURES_PAGE, title, facts, [each for each in sections if each])
    link_measures(run.folder, run.summary["digest"])


def interval(found: dict[str, Any], digits: int = 4) -> str:
    """A number with its 95 % interval."""
    value, low, high = (number(found[name], digits) for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def of_likelihoods(found: Measures) -> Section | None:
    """Nats per test image, each with what it is."""
    if not found["likelihoods"]:
        return None
    rows = [
        [x["kind"], number(x["value"], 5), number(x["standard_error"], 2), x["note"]]
        for x in found["likelihoods"]
    ]
    columns = ["log likelihood of test images", "nats per image", "standard error", "rests on"]
    return Section("likelihood", "Likelihood", [], (), Table(columns, rows))


def of_samples(found: Measures) -> Section:
    """The measures of samples, each with its interval."""
    estimates = {name: Estimate(**each) for name, each in found["samples"].items()}
    rows = [
        [
            yardstick.TITLES[name],
            interval(each._asdict()),
            str(each.num_samples),
            yardstick.WHAT[name],
        ]
        for name, each in estimates.items()
    ]
    columns = ["measure", "value [95 % interval]", "samples", "what it is"]
    return Section("samples", "Samples", [], (), Table(columns, rows))


def of_digits(found: Measures) -> Section:
    """Which digits the judge reads in the samples."""
    head = ["digit", *map(str, range(len(found["digits"])))]
    row = ["share of samples", *map(percent, found["digits"])]
    return Section("digits", "Digits", [], (), Table(head, [row]))


def of_probes(found: Measures) -> Section:
    """Probes of the model's features."""
    rows = [
        [x["features"], x["classifier"], f"{x['num_labels']:,}", accuracy(x), percent(x["spread"])]
        for x in found["probes"]
    ]
    columns = ["features", "classifier", "labels", "test accuracy [95 % interval]"]
    columns.append("spread over draws of labels")
    return Section("probes", "Probes", [CLASSIFIED], (), Table(columns, rows))


def percent(share: float | None) -> str:
    """A share in percent; empty for none."""
    return "" if share is None else f"{share:.2%}"


def accuracy(found: dict[str, Any]) -> str:
    """A share with its interval in percent."""
    return f"{percent(found['value'])} [{percent(found['low'])}, {percent(found['high'])}]"
