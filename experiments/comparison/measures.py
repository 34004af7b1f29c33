"""The measures of one finished run, kept in its folder until what they depend on changes."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.comparison.naming import label_of
from experiments.running.artifacts import MEASURES, MEASURES_PAGE
from experiments.running.console import working
from experiments.running.stored import rebuild_args
from jaxgen.data import Dataset
from jaxgen.errors import MAX_SIZE, CheckpointError, RunFolderError, require
from jaxgen.evaluation import probes, suite
from jaxgen.evaluation.ais import LEAST_EFFECTIVE, MEET
from jaxgen.evaluation.classifier import Classifier
from jaxgen.evaluation.inception import Inception
from jaxgen.evaluation.model import Likelihood, LikelihoodBudget
from jaxgen.evaluation.resampling import Estimate
from jaxgen.evaluation.suite import Evaluation
from jaxgen.files import write_json
from jaxgen.report import page as report
from jaxgen.report.page import Link, Section, Table, number
from jaxgen.runs import Run
from jaxgen.runs import folder as run_folder
from jaxgen.runs import manifest as run_manifest
from jaxgen.runs.files import PAGE
from jaxgen.runs.settings import fits, read_json

logger = logging.getLogger("jaxgen")

VERSION = 6
"""Of the measures and their names; numbers of another one, kept in run folders, are old."""

PROBED = (
    "Linear: multinomial logistic regression, its penalty chosen on a fifth of the labels. MLP: "
    f"one hidden layer of {probes.MLP_HIDDEN} units, its settings the same for all features."
)
"""A description of the probes."""

NUM_SHOWN = 20
"""Classes in a table; files have all of them."""

Measures = dict[str, Any]
"""The numbers as JSON; ``of`` is what they depend on, for the rest see `as_json`."""


def require_label_counts(settings: Any) -> None:
    """Raises SettingError unless `num_labels` has numbers of labels that a probe can learn from."""
    holds = bool(settings.num_labels) and all(5 <= num <= MAX_SIZE for num in settings.num_labels)
    require(settings, "num_labels", holds, f"of one or more numbers from 5 to {MAX_SIZE:,}")


class Settings(NamedTuple):
    """How much is computed."""

    num_samples: int
    num_labels: tuple[int, ...]
    """Numbers of labels for probes."""
    budget: LikelihoodBudget
    inception: Inception | None = None
    """For the FID; None for no FID."""


def identity(
    classifier: Classifier, dataset: Dataset, settings: Settings, digest: str
) -> dict[str, Any]:
    """All that the numbers depend on, as JSON gives it back."""
    return {
        "version": VERSION,
        "data": dataset.digest,
        "classifier": classifier.digest,
        "num_classes": classifier.num_classes,
        "parameters": digest,
        "num_samples": settings.num_samples,
        "num_labels": [*settings.num_labels],
        **dataclasses.asdict(settings.budget),
    }


class ProbeNumbers(NamedTuple):
    """A row of probes as it is kept."""

    features: str
    probe: str
    num_labels: int
    std: float | None
    value: float
    low: float
    high: float
    num_samples: int
    num_resamples: int


class Shares(NamedTuple):
    """The shares of classes as they are kept."""

    class_frequencies: tuple[float, ...]


PIXELS = {"sample": "drawn", "threshold": "thresholded", "none": "as they are"}
"""The pixels that a likelihood is of, by how grey ones were made binary."""
RANGES = {
    **dict.fromkeys(
        ("precision", "recall", "coverage", "class_accuracy", "memorisation"), suite.SHARE
    ),
    **dict.fromkeys(("frechet_distance", "fid", "density", "class_kl"), suite.POSITIVE),
}
"""Between which values a measure of samples lies; the Inception score from 1 to the number of
classes, the others without bounds."""
ROUNDING = 1e-3
"""How far a computed value may lie outside, for single precision."""


def read(path: Path, of: dict[str, Any]) -> Measures | None:
    """Reads measures from a file; None where there are none that depend on the same things.

    Whoever wrote them: they have the parts of `as_json` and no other, each of its type and within
    its range.
    """
    try:
        found = read_json(path)
    except RunFolderError:
        return None
    same = found.get("of") == of
    return found if same and _is_whole(found, of["num_classes"]) else None


def _is_whole(found: Measures, num_classes: int) -> bool:
    """Whether the parts are there, each of its type and within its range."""
    parts = {"of", "likelihoods", "samples", "class_frequencies", "probes", "test_error"}
    ranges = {**RANGES, "inception_score": (1.0, float(num_classes))}
    lists = [found.get("likelihoods"), found.get("probes"), found.get("class_frequencies")]
    samples = found.get("samples")
    if {*found} != parts or not all(isinstance(each, list) for each in lists):
        return False
    if not isinstance(samples, dict) or not samples or not {*samples} <= {*suite.TITLES}:
        return False
    shares = {"class_frequencies": found["class_frequencies"]}
    return (
        all(fits(Likelihood, each) and _is_likelihood(each) for each in found["likelihoods"])
        and all(fits(ProbeNumbers, each) and _is_probe(each) for each in found["probes"])
        and all(
            fits(Estimate, each) and _is_estimate(each, ranges.get(name, (-np.inf, np.inf)))
            for name, each in samples.items()
        )
        and fits(Shares, shares)
        and _are_shares(found["class_frequencies"], num_classes)
        and (found["test_error"] is None or _is_error(found["test_error"]))
    )


def _is_likelihood(found: Mapping[str, Any]) -> bool:
    """Whether an error is one, and is there only with enough effective chains."""
    error, num, effective = (
        found[name] for name in ("standard_error", "num_chains", "effective_chains")
    )
    if found["binary"] not in PIXELS or found["log_z_gap"] < 0 or (error or 0) < 0:
        return False
    if effective is None or num < 1:
        return effective is None and num == 0
    few = effective < LEAST_EFFECTIVE
    return 1 - ROUNDING <= effective <= num * (1 + ROUNDING) and not (few and error is not None)


def _is_estimate(found: Mapping[str, Any], within: tuple[float, float]) -> bool:
    """Whether value and interval lie within these bounds.

    The value may lie outside its own interval, which of a bootstrap has the statistic's bias.
    """
    least, most = within
    inside = all(
        least - ROUNDING <= found[name] <= most + ROUNDING for name in ("value", "low", "high")
    )
    return (
        inside
        and found["low"] <= found["high"]
        and found["num_samples"] >= 1
        and found["num_resamples"] >= 1
    )


def _is_probe(found: Mapping[str, Any]) -> bool:
    """Whether an accuracy is a share of answers."""
    labels, spread = found["num_labels"] >= 1, 0 <= (found["std"] or 0) <= 1
    return labels and spread and _is_estimate(found, suite.SHARE)


def _is_error(found: Mapping[str, Any]) -> bool:
    """Whether a test error is a share of images."""
    return fits(Estimate, found) and _is_estimate(found, suite.SHARE)


def _are_shares(found: Sequence[float], num_classes: int) -> bool:
    """Whether these are the shares of all classes, which sum to 1."""
    inside = len(found) == num_classes and all(0 <= share <= 1 for share in found)
    return inside and (not num_classes or abs(sum(found) - 1) <= ROUNDING)


def has_parts_of(
    run: Run, found: Measures, classifier: Classifier, dataset: Dataset, settings: Settings
) -> bool:
    """Whether a run's measures are all there: of samples, and of what else its model has."""
    model = run.evaluated
    names = suite.applicable(
        classifier,
        dataset,
        settings.num_samples,
        asked=model.num_classes > 0,
        fid=settings.inception is not None,
    )
    probed = dataset.num_classes > 1 and len(dataset.train.labels) >= probes.LEAST_LABELS
    return (
        names <= {*found["samples"]} <= names | {"fid"}
        and bool(found["likelihoods"]) == (model.likelihoods is not None)
        and bool(found["probes"]) == (bool(model.features) and probed)
        and bool(found["test_error"]) == (bool(model.num_classes) and model.classify is not None)
    )


def as_json(of: dict[str, Any], found: Evaluation) -> Measures:
    """Measures as they are kept."""
    rows = [
        {"features": row.features, "probe": row.probe, "num_labels": row.num_labels}
        | {"std": row.std}
        | row.accuracy._asdict()
        for row in found.probes
    ]
    estimates = found.samples.estimates
    return {
        "of": of,
        "likelihoods": [each._asdict() for each in found.likelihoods],
        "samples": {name: each._asdict() for name, each in estimates.items()},
        "class_frequencies": found.samples.class_frequencies,
        "probes": rows,
        "test_error": found.test_error and found.test_error._asdict(),
    }


def summary_likelihoods(run: Run) -> list[Likelihood] | None:
    """Likelihoods that the run computed itself, if its experiment declares any; else None.

    Those of a conditional model are given the class, so they are none of the images alone.
    """
    model = run.evaluated
    if not model.likelihoods or model.num_classes:
        return None
    experiment, args = rebuild_args(run.settings, str(run.folder))
    kinds, metrics = experiment.comparison.summary_likelihoods, run.summary["metrics"]
    if missing := [name for name in kinds if name not in metrics]:
        raise CheckpointError(
            expected=f"{', '.join(missing)} in the summary of {run.folder}",
            found="others",
            remedy="type the run's command again with --resume",
        )
    found = [
        Likelihood(kind.format_map(vars(args)), metrics[name], metrics.get(f"{name}_error"))
        for name, kind in kinds.items()
    ]
    found = [each._replace(binary=model.binary) for each in found]
    return found or None


def compute(
    run: Run, dataset: Dataset, classifier: Classifier, settings: Settings, of: dict[str, Any]
) -> Measures:
    """Likelihoods of test images, measures of samples, and probes of features."""
    found = run.evaluate(
        dataset,
        classifier,
        num_samples=settings.num_samples,
        num_labels=settings.num_labels,
        budget=settings.budget,
        likelihoods=summary_likelihoods(run),
        inception=settings.inception,
    )
    return as_json(of, found)


def evaluate(
    run: Run, dataset: Dataset, classifier: Classifier, settings: Settings, which: str = "run"
) -> Measures:
    """The measures of a run, from its folder or computed now, and written with their page.

    A line about what is computed begins with `which`, such as "run 2 of 6".

    Errors:
        RunFolderError: the run is in use.
        WriteError: its folder may not be written.
    """
    of = identity(classifier, dataset, settings, run.digest)
    with run_folder.open_folder(run.folder, run.model, resume=True, overwrite=False):
        found = read(run.folder / MEASURES, of)
        if found is None or not has_parts_of(run, found, classifier, dataset, settings):
            name = f"{label_of(run)}, seed {run.seed}"
            logger.info("evaluating %s: %s, in %s", which, name, run.folder)
            with working(name):
                found = compute(run, dataset, classifier, settings, of)
            write_json(run.folder / MEASURES, found)
        write_page(run, found, classifier, dataset)
    return found


def describe_classifier(classifier: Classifier) -> str:
    """The classifier, or what stands in for it, with its weights."""
    return f"{classifier.describe()}, weights sha256 {classifier.digest[:16]}"


def write_page(run: Run, found: Measures, classifier: Classifier, dataset: Dataset) -> Path:
    """Writes the measures of one run for a reader; returns the page."""
    facts = {
        "model": label_of(run),
        "classifier": describe_classifier(classifier),
        "data set": f"{run.dataset_name}, sha256 {found['of']['data']}",
        "parameters": f"sha256 {found['of']['parameters']}",
        "command": run_manifest.command(),
    }
    if found["test_error"]:
        facts["test error of the model's own classes"] = accuracy(found["test_error"])
    sections = [likelihoods_section(found), samples_section(found)]
    sections += [classes_section(found, dataset.class_names), probes_section(found), RUN]
    title = f"Measures of {label_of(run)}, seed {run.seed}"
    shown = [each for each in sections if each]
    return report.write_page(run.folder / MEASURES_PAGE, title, facts=facts, sections=shown)


RUN = Section("run", "The run", [], links=[Link("The page of the run", PAGE)])
"""The way back."""


def interval(found: Mapping[str, Any], digits: int = 4) -> str:
    """A number with its 95% interval."""
    value, low, high = (number(found[name], digits) for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def likelihoods_section(found: Measures) -> Section | None:
    """Nats per test image, each with its kind; None where the model has no likelihood."""
    if not found["likelihoods"]:
        return None
    rows = [
        [x["kind"], number(x["value"], 5), standard_error(x), x["note"]]
        for x in found["likelihoods"]
    ]
    columns = ["log likelihood of test images", "nats per image", "standard error", "log Z"]
    return Section("likelihood", "Likelihood", sides(found), (), Table(columns, rows))


def sides(found: Measures) -> list[str]:
    """A sentence on log Z from its two sides, of a model whose log Z is estimated by annealing."""
    annealed = [each for each in found["likelihoods"] if each["num_chains"]]
    if not annealed:
        return []
    *_, last = annealed
    meet, enough = last["log_z_gap"] <= MEET, last["effective_chains"] >= LEAST_EFFECTIVE
    words = (
        f"The two sides of log Z, AIS and reverse AIS, {'meet' if meet else 'do not meet'}: they "
        f"lie {number(last['log_z_gap'], 2)} nats apart, and {number(last['effective_chains'], 3)} "
        f"of {last['num_chains']} chains carry the estimate"
    )
    if not meet:
        return [f"{words}, so the likelihood is not known to a nat."]
    return [f"{words}." if enough else f"{words}, too few to know its error."]


def standard_error(likelihood: Mapping[str, Any]) -> str:
    """The standard error of a likelihood, or why there is none."""
    if likelihood["standard_error"] is not None:
        return number(likelihood["standard_error"], 2)
    return "too few effective chains" if likelihood["num_chains"] else "of one image"


def samples_section(found: Measures) -> Section:
    """The measures of samples, each with its interval."""
    estimates = {name: Estimate(**each) for name, each in found["samples"].items()}
    rows = [
        [
            suite.TITLES[name],
            interval(each._asdict()),
            str(each.num_samples),
            suite.DESCRIPTIONS[name],
        ]
        for name, each in estimates.items()
    ]
    columns = ["measure", "value [95% interval]", "samples", "definition"]
    return Section("samples", "Samples", [], (), Table(columns, rows))


def classes_section(found: Measures, names: Sequence[str]) -> Section | None:
    """The classes of the samples, by the classifier; None where it has none."""
    if not (shares := found["class_frequencies"]):
        return None
    head = ["class", *names[:NUM_SHOWN]]
    row = ["share of samples", *map(percent, shares[:NUM_SHOWN])]
    text = others(len(shares))
    return Section("classes", "Classes of the samples", text, (), Table(head, [row]))


def others(num_classes: int) -> list[str]:
    """A sentence on the classes that a table does not show, if there are any."""
    more = num_classes - NUM_SHOWN
    return [f"{more} more classes are in measures.json."] if more > 0 else []


def probes_section(found: Measures) -> Section | None:
    """Probes of the model's features; None where there are none."""
    if not found["probes"]:
        return None
    rows = [
        [x["features"], x["probe"], f"{x['num_labels']:,}", accuracy(x), percent(x["std"])]
        for x in found["probes"]
    ]
    columns = ["features", "probe", "labels", "test accuracy [95% interval]"]
    columns.append("standard deviation over draws of labels")
    return Section("probes", "Probes", [PROBED], (), Table(columns, rows))


def percent(share: float | None) -> str:
    """A share in percent; empty for none."""
    return "" if share is None else f"{share:.2%}"


def accuracy(found: Mapping[str, Any]) -> str:
    """A share with its interval in percent."""
    return f"{percent(found['value'])} [{percent(found['low'])}, {percent(found['high'])}]"
