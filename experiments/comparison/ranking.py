"""Which numbers of the comparison can be ranked, which is best, and the verdict in three sentences.

Rows without runs are references: they stand beside, and are not ranked. Two models are told apart
if their values differ by more than two standard errors of the difference. The error of one of
several seeds is s / sqrt(n), s the standard deviation over its n seeds; of one seed it is a quarter
of the 95% interval, or the standard error of the likelihood, and has no spread of seeds in it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from experiments.comparison.measures import Measures
from jaxgen.evaluation.ais import LEAST_EFFECTIVE
from jaxgen.evaluation.model import ABOVE_ZERO, doubt, is_impossible
from jaxgen.report.page import list_in_words, number

WEAK = 0.97
"""A classifier that reads less of the test images is a weak ruler."""
BEST = "★"
"""Marks the best value of a column."""
ARROWS = {"higher": "↑", "lower": "↓"}
"""Mark the titles of columns in which higher, or lower, is better."""
MOST_NAMED = 3
"""Models that cannot be told apart are named if they are no more."""
REAL = "real test images"
"""The reference row that models are set beside."""
Probe = Callable[[Measures, int], Mapping[str, Any] | None]
"""Finds a probe's accuracy in measures, see `tables.probe_of`."""
Better = Literal["higher", "lower"]
BETTER: Mapping[str, Better] = {
    "frechet_distance": "lower",
    "frechet_extrapolated": "lower",
    "squared_mmd": "lower",
    "precision": "higher",
    "recall": "higher",
    "coverage": "higher",
    "class_kl": "lower",
    "inception_score": "higher",
    "class_accuracy": "higher",
    "fid": "lower",
}
"""The better direction of measures of samples; density, memorisation and Parzen have none."""


class Value(NamedTuple):
    """A value of a model, and how far it may be off."""

    mean: float
    error: float | None
    """Standard error; None where it is not known."""
    num_seeds: int


Found = Sequence[Mapping[str, Any] | None]
"""A measure of one row, once for each seed."""


def value_of(found: Found) -> Value | None:
    """The mean over seeds with its error; None where there is no value."""
    taken = [each for each in found if each is not None]
    if not taken:
        return None
    values = [float(each["value"]) for each in taken]
    if len(values) > 1:
        error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
        return Value(float(np.mean(values)), error, len(values))
    (one,) = taken
    error = (one["high"] - one["low"]) / 4 if "low" in one else one["standard_error"]
    return Value(values[0], error, 1)


def headline(measures: Measures) -> Mapping[str, Any] | None:
    """The best likelihood there is: exact before an estimate, the tighter bound before another."""
    found = measures["likelihoods"]
    return found[-1] if found else None


def few_chains(likelihood: Mapping[str, Any]) -> bool:
    """Whether a likelihood rests on too few effective chains to be ranked or averaged."""
    effective = likelihood["effective_chains"]
    return effective is not None and effective < LEAST_EFFECTIVE


def why_unranked(measures: Sequence[Measures], others: Sequence[str] = ()) -> str:
    """Why the likelihood of a row is left out of the ranking; empty if it is not.

    Args:
        measures: of the row, one for each seed.
        others: the kinds of pixels that the ranked likelihoods of the table are of.
    """
    best = [found for found in map(headline, measures) if found]
    if not best:
        return ""
    gap = max(found["log_z_gap"] for found in best)
    effective = [found["effective_chains"] for found in best]
    if why := doubt(gap, min((each for each in effective if each is not None), default=None)):
        return why
    if any(is_impossible(found["value"], found["binary"]) for found in best):
        return ABOVE_ZERO
    if best[0]["binary"] == "none":
        return "of pixels as they are, which may be densities"
    if others and best[0]["binary"] not in others:
        return "of other pixels"
    return ""


def ranked_pixels(rows: Sequence[Sequence[Measures]]) -> list[str]:
    """The kind of pixels that most likelihoods are of, drawn ones before others."""
    kinds = [headline(each[0])["binary"] for each in rows if headline(each[0])]  # type: ignore[index]
    counts = {kind: kinds.count(kind) for kind in ("sample", "threshold") if kind in kinds}
    return [max(counts, key=counts.__getitem__)] if counts else []


def best_of(values: Mapping[str, Value | None], better: Better) -> list[str]:
    """Names from the best value on, those without one left out."""
    there = {name: value.mean for name, value in values.items() if value is not None}
    return sorted(there, key=there.__getitem__, reverse=better == "higher")


def apart(one: Value, other: Value) -> bool | None:
    """Whether two values differ by more than two errors; None where an error is not known."""
    if one.error is None or other.error is None:
        return None
    return abs(one.mean - other.mean) > 2 * math.hypot(one.error, other.error)


def leaders(values: Mapping[str, Value | None], better: Better) -> list[str]:
    """The best value's name, then those of values that cannot be told from it."""
    ranked = best_of(values, better)
    return [
        name
        for name in ranked
        if name == ranked[0] or apart(values[ranked[0]], values[name]) is False  # type: ignore[arg-type]
    ]


def lead_in_words(values: Mapping[str, Value | None], better: Better) -> str:
    """How the best value stands to the next one, after the name of the best; there are two."""
    ranked = best_of(values, better)
    first, second = (values[name] for name in ranked[:2])
    assert first is not None
    assert second is not None
    found, next_one = apart(first, second), f"{ranked[1]} ({number(second.mean)})"
    if found is None:
        return f"before {next_one}; whether they differ is not known"
    one_seed = min(first.num_seeds, second.num_seeds) == 1
    if not found:
        of = "" if one_seed else " over seeds"
        return f"but {next_one} cannot be told from it: they are within two standard errors{of}"
    if one_seed:
        return f"before {next_one}; one seed cannot show whether another would turn that round"
    return f"before {next_one}, by more than seeds differ"


class Ranked(NamedTuple):
    """A row of the comparison as it is ranked."""

    name: str
    measures: Sequence[Measures]
    labelled: bool = False
    """Whether the model was trained with the labels of all training images."""


def likelihoods(rows: Sequence[Ranked]) -> dict[str, Value | None]:
    """The likelihoods that can be ranked, by row."""
    pixels = ranked_pixels([row.measures for row in rows])
    return {
        row.name: None
        if why_unranked(row.measures, pixels)
        else value_of([headline(each) for each in row.measures])
        for row in rows
    }


def of_samples(rows: Sequence[Ranked], name: str) -> dict[str, Value | None]:
    """A measure of samples by row."""
    return {row.name: value_of([x["samples"].get(name) for x in row.measures]) for row in rows}


def of_probes(rows: Sequence[Ranked], num_labels: int, probe: Probe) -> dict[str, Value | None]:
    """The accuracy in percent of the linear probe with so many labels, by row.

    Features of a model that was trained with all labels are left out.
    """
    return {
        row.name: None if row.labelled else value_of([probe(x, num_labels) for x in row.measures])
        for row in rows
    }


def verdict(
    models: Sequence[Ranked], references: Sequence[Ranked], num_labels: int | None, probe: Probe
) -> list[str]:
    """Three sentences: on likelihoods, on samples, on features; one model alone is not ranked.

    Args:
        models: the rows that are ranked.
        references: the rows that are not, such as real test images.
        num_labels: of the probes to rank by; None where there are none.
        probe: finds one.
    """
    models = [row._replace(name=in_a_sentence(row.name)) for row in models]
    return [
        _on_likelihoods(models),
        _on_samples(models, references),
        _on_features(models, references, num_labels, probe),
    ]


def in_a_sentence(name: str) -> str:
    """A row's name without a comma outside brackets: `vae-lab, a, b` is `vae-lab (a, b)`."""
    model, _, changed = name.partition(", ")
    return f"{model} ({changed})" if changed else model


def _on_likelihoods(models: Sequence[Ranked]) -> str:
    values = likelihoods(models)
    pixels = ranked_pixels([row.measures for row in models])
    left = [
        f"{row.name}, because {why}"
        for row in models
        if (why := why_unranked(row.measures, pixels))
    ]
    listed = "; ".join(left)
    ranked = best_of(values, "higher")
    if not ranked:
        why = f": {listed}" if left else ""
        return f"Likelihood: no model here has one that can be ranked{why}."
    out = f"; not ranked: {listed}" if left else ""
    best, row = ranked[0], next(row for row in models if row.name == ranked[0])
    (value, kind) = values[best], headline(row.measures[0])
    assert value is not None
    assert kind is not None
    nats = f"{value.mean:.2f} nats ({kind['kind']})"
    if len(models) == 1:
        return f"Likelihood: {best} has {nats}."
    if len(ranked) == 1:
        only = "that can be ranked" if left else "here"
        return f"Likelihood: {best} has {nats}, the only one {only}{out}."
    lead = lead_in_words(values, "higher")
    return f"Likelihood: {best} is best with {nats}, {lead}{out}."


def _on_samples(models: Sequence[Ranked], references: Sequence[Ranked]) -> str:
    values = of_samples(models, "frechet_distance")
    ranked = best_of(values, "lower")
    if not ranked:
        return "Samples: too few images for a distance between samples and data."
    first = values[ranked[0]]
    assert first is not None
    beside = _beside_real(references)
    if len(ranked) == 1:
        only = "" if len(models) == 1 else ", the only one here"
        return f"Samples: {ranked[0]} has a Frechet distance of {number(first.mean)}{only}{beside}."
    sentence = (
        f"Samples: {ranked[0]} has the lowest Frechet distance, {number(first.mean)}, "
        f"{lead_in_words(values, 'lower')}{beside}"
    )
    others: dict[tuple[str, ...], list[str]] = {}
    for name in ("precision", "recall"):
        if found := leaders(of_samples(models, name), "higher"):
            others.setdefault(tuple(found), []).append(name)
    words = [_lead_of(found, " and ".join(names)) for found, names in others.items()]
    return f"{'; '.join([sentence, *words])}."


def _beside_real(references: Sequence[Ranked]) -> str:
    """The distance of real images in brackets, with their number, on which it depends."""
    for row in references:
        if row.name == REAL and (real := row.measures[0]["samples"].get("frechet_distance")):
            return f" ({real['num_samples']:,} real images have {number(real['value'], 3)})"
    return ""


def _lead_of(found: Sequence[str], measures: str) -> str:
    """Who is best in measures."""
    if len(found) == 1:
        return f"{found[0]} has the highest {measures}"
    if len(found) > MOST_NAMED:
        return f"{len(found)} models cannot be told apart by their {measures}, the highest"
    named = list_in_words([f"that of {name}" for name in found])
    return f"the highest {measures} is {named}, which cannot be told apart"


def _on_features(
    models: Sequence[Ranked], references: Sequence[Ranked], num_labels: int | None, probe: Probe
) -> str:
    values = of_probes(models, num_labels, probe) if num_labels else {}
    ranked = best_of(values, "higher")
    left = [row.name for row in models if row.labelled]
    out = f"; not ranked, because trained with labels: {', '.join(left)}" if left else ""
    if not ranked or num_labels is None:
        return f"Features: no model here has features that can be ranked by labels{out}."
    first = values[ranked[0]]
    assert first is not None
    pixels = of_probes(references, num_labels, probe).get(REAL)
    beside = f" (pixels give {number(pixels.mean, 3)}%)" if pixels else ""
    share = f"{number(first.mean, 4)}%{beside}"
    words = f"Features: from {num_labels:,} labels those of {ranked[0]} are read"
    if len(ranked) == 1:
        return f"{words} with an accuracy of {share}{out}."
    return f"{words} best, {share}, {lead_in_words(values, 'higher')}{out}."


def warning(accuracy: float) -> list[str]:
    """What stands before the verdict if the classifier is a weak ruler; nothing if it is not.

    Args:
        accuracy: of the classifier, a part of the test images; NaN where random weights stand in.
    """
    if not accuracy < WEAK:
        return []
    return [
        f"Warning: the classifier reads only {accuracy:.2%} of the test images, less than "
        f"{WEAK:.0%}. Every measure of samples but memorisation and Parzen rests on its "
        "features, so small differences say little."
    ]


def of_few_samples(num_samples: int, num_images: int, all_samples: int) -> str:
    """How the numbers of samples and of test images bear on the Frechet distance.

    Args:
        num_samples: that Frechet distances rest on.
        num_images: test images that they rest on.
        all_samples: that published tables of this program rest on, as many of each.
    """
    return (
        f"The Frechet distance is of {num_samples:,} samples and {num_images:,} test images, and "
        "too large by an amount that is in proportion to 1 / their number"
    ) + (
        f": of so few it may be mostly that, and it does not compare with the distances of "
        f"{all_samples:,}. The extrapolated one beside it has no such part, and an interval that "
        "has how far it may be off."
        if min(num_samples, num_images) < all_samples
        else ". The extrapolated one has no such part."
    )
