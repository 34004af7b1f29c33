"""The lab's comparisons 1.4 to 1.6 and 1.8: one change to the RBM at a time, measured alike.

Every variant starts from the seed of the main run. Variants that differ in their learning rate
alone are trained in one vmapped program.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.lab import samples
from experiments.lab.drawing import NUM_SHOWN, Drawing
from experiments.lab.rbm import tasks
from experiments.lab.rbm.tasks import TrainedRBM
from experiments.lab.rbm.training import RBMArgs, learner_for, make_evaluator
from experiments.lab.samples import Looks, Verdict
from experiments.lab.study import (
    SAME_ERROR,
    STUDY_PAGE,
    Study,
    Variant,
    run,
    tabulate,
    variant,
)
from experiments.running.artifacts import NUM_SAMPLES
from experiments.running.session import Session
from experiments.running.train import train_in_session
from jaxgen.data import Dataset
from jaxgen.evaluation.monitors import rbm_monitors
from jaxgen.jitted import jitted
from jaxgen.learner import named_key, task_key
from jaxgen.models import rbm
from jaxgen.report import figures
from jaxgen.report import page as report
from jaxgen.report.page import Figure, Link, Section, Table, list_in_words, number
from jaxgen.runs.files import PAGE
from jaxgen.training.loop import Result
from jaxgen.training.seeds import stack_seeds, unstack_seeds

GREY = "grey input"
GIBBS_STEPS = {f"k = {k}": k for k in (2, 5, 10)}
RATES: dict[rbm.VisibleUnits, dict[str, float]] = {
    "binary": {f"rate {rate:g}": rate for rate in (0.01, 0.03, 0.3, 1.0)},
    "gaussian": {f"rate {rate:g}": rate for rate in (0.0005, 0.001, 0.002, 0.01)},
}
NUM_HIDDEN = {f"{num} hidden": num for num in (25, 400)}
DRIFT_STEPS = 1000
NUM_DRIFT = 1000
GREY_ERROR = "test_reconstruction_error_grey"
COLUMNS = {
    "test_reconstruction_error": "error, sampled input",
    GREY_ERROR: "error, grey input",
    "free_energy_gap": "free-energy gap, nats",
    "drift": "drift, nats",
    "chain_distance": "chains: distance to the data, 1 is test images'",
    "chain_group": "chains: share alike",
    "never_on": "never on",
    "always_on": "always on",
    "mean_abs_weight": "mean abs. weight",
}

TITLES = {
    "1.4": "Grey values instead of sampled ones",
    "1.5": "CD-k with larger k",
    "1.6": "Other learning rates",
    "1.8": "Fewer and more hidden units",
}
"""Of the tasks that the study answers."""

Rows = Mapping[str, TrainedRBM]
"""RBMs of the study by the names of their rows."""

Measures = Mapping[str, Mapping[str, float]]
"""Measures of the variants by their names; that of the run stands among them."""

gibbs = jax.jit(rbm.gibbs, static_argnums=3)


def variants(args: RBMArgs) -> list[Variant[RBMArgs]]:
    """One change at a time: grey input, k of CD-k, learning rate, number of hidden units.

    The input of Gaussian units is as it is.
    """
    change, visible = partial(variant, args), args.model.visible
    return [
        *([change(GREY, "grey", binarize="none")] if visible == "binary" else []),
        *(change(name, f"k{k}", num_gibbs_steps=k) for name, k in GIBBS_STEPS.items()),
        *(change(name, "rates", learning_rate=rate) for name, rate in RATES[visible].items()),
        *(change(name, f"hidden{num}", num_hidden=num) for name, num in NUM_HIDDEN.items()),
    ]


def drift(config: rbm.Config, params: rbm.Params, test: jax.Array) -> jax.Array:
    """Mean F(v) of test images minus that after 1,000 Gibbs steps from them, in nats.

    A model that fits the data stays near 0. A large value means that the chain leaves the data for
    states that are far more probable to the model, and that are no images.
    """
    key_data, key_chain = jax.random.split(task_key("drift"))
    visible = rbm.to_visible(params, key_data, test[:NUM_DRIFT], config.binarize)
    after = gibbs(params, visible, key_chain, DRIFT_STEPS)
    return jnp.mean(rbm.free_energy(params, visible)) - jnp.mean(rbm.free_energy(params, after))


def chain_ends(config: rbm.Config, params: rbm.Params, dataset: Dataset) -> Looks:
    """The images E[v|h] at which chains as long as those of `drift` end, beside test images."""
    key_data, key_chain = jax.random.split(task_key("drift"))
    test = jnp.asarray(dataset.test.images[: samples.NUM_COMPARED])
    visible = tasks.to_visible(params, key_data, test, config.binarize)
    after = gibbs(params, visible, key_chain, DRIFT_STEPS)
    _, probs = tasks.reconstruct(params, task_key("chain ends"), after)
    return samples.measure(np.asarray(probs).reshape(len(test), *dataset.image_shape), dataset)


def measure(config: rbm.Config, params: rbm.Params, dataset: Dataset) -> dict[str, float]:
    """Measures every variant on sampled input, whatever it was trained on."""
    sampled = make_evaluator(rbm_monitors, "sample", dataset)(params)
    grey = make_evaluator(rbm_monitors, "none", dataset)(params)
    measures = {
        **sampled,
        GREY_ERROR: grey["test_reconstruction_error"],
        "drift": jax.jit(partial(drift, config))(params, dataset.test.images),
        "mean_abs_weight": jnp.mean(jnp.abs(params["w"])),
        **chain_ends(config, params, dataset).measures("chain"),
    }
    return {name: float(value) for name, value in measures.items()}


def train_variant(args: RBMArgs, params: rbm.Params, session: Session) -> TrainedRBM:
    """An RBM in the folder of the session, measured for the study."""
    measures = measure(args.model, params, session.dataset)
    return TrainedRBM(args, params, measures, Drawing(session.dataset, session.folder))


def train_program(variants: Sequence[Variant[RBMArgs]], session: Session) -> dict[str, TrainedRBM]:
    """Trains one program; several variants share it by a leading axis of their states."""
    learners = [learner_for(each.args, session.dataset) for each in variants]
    args = variants[0].args
    key_init = named_key(jax.random.key(args.seed), "init")  # as `fit` does
    states = [jitted(learner.init)(key_init) for learner in learners]
    result = train_in_session(
        args,
        learners[0],
        session,
        {each.name: dataclasses.asdict(each.args.model) for each in variants},
        state=stack_seeds(states),
        seeds=(args.seed,) * len(variants),
    )
    params = unstack_seeds(result.state.params, len(variants))
    return {
        each.name: train_variant(each.args, own, session)
        for each, own in zip(variants, params, strict=True)
    }


def pictures(session: Session, name: str, rows: Rows) -> list[Figure]:
    """Reconstructions and samples of the variants, row by row from the same noise."""
    drawing = Drawing(session.dataset, session.folder)
    test = jnp.asarray(session.dataset.test.images[:NUM_SHOWN])
    keys = jax.random.split(task_key("study"), 3)
    reconstructed = {"test image": np.asarray(test) / 255.0}
    sampled = {}
    for label, each in rows.items():
        visible = tasks.to_visible(each.params, keys[0], test, each.args.model.binarize)
        _, probs = tasks.reconstruct(each.params, keys[1], visible)
        reconstructed[label] = drawing.images(probs)
        after = gibbs(each.params, visible, keys[2], DRIFT_STEPS)
        _, probs = tasks.reconstruct(each.params, keys[1], after)
        sampled[label] = drawing.images(probs)
    title = f"After {DRIFT_STEPS} Gibbs steps from the first test images"
    sheet = figures.rows_of(reconstructed)
    return [
        drawing.save(f"{name}_reconstructions", sheet, "Reconstructions E[v|h]"),
        drawing.save(f"{name}_samples", figures.rows_of(sampled), title),
    ]


def short(name: str) -> str:
    """The name of a row in a sentence, without its settings in brackets."""
    return name.partition(" (")[0]


def extremes(measures: Measures, key: str, title: str) -> str:
    """One sentence: the variants with the least and with the greatest value."""
    low, high = (choose(measures, key=lambda name: measures[name][key]) for choose in (min, max))
    return (
        f"{title} is lowest for {low} ({number(measures[low][key], 3)}) and highest for {high} "
        f"({number(measures[high][key], 3)})."
    )


def columns_of(config: rbm.Config) -> dict[str, str]:
    """The columns of the table; the input of Gaussian units is neither sampled nor grey."""
    if config.visible == "binary":
        return COLUMNS
    kept = {name: title for name, title in COLUMNS.items() if name != GREY_ERROR}
    return kept | {"test_reconstruction_error": "error"}


ENDS: Mapping[Verdict, str] = {
    "alike": "alike",
    "off the data": "off the data",
    "of little variety": "with little variety",
    "near the data": "near the data",
}
"""The words for chains that end so, after "they end"."""
ONE_SEED = (
    "One seed of each: how far drift and chains move from seed to seed is not known here, so small "
    "differences in them say nothing."
)


def errors_in_words(measures: Measures) -> str:
    """Which variants reconstruct alike, within the spread of seeds, and which do not."""
    errors = {name: each["test_reconstruction_error"] for name, each in measures.items()}
    best = min(errors, key=errors.__getitem__)
    worse = {
        name: error / errors[best] - 1
        for name, error in errors.items()
        if error > (1 + SAME_ERROR) * errors[best]
    }
    if not worse:
        return (
            "All reconstruct alike: their errors differ by less than seeds do, of which "
            f"{SAME_ERROR:.0%} is five standard deviations for the lab's RBM on MNIST."
        )
    alike = [name for name in errors if name not in worse and name != best]
    named = ", ".join(f"{name} by {gap:.0%}" for name, gap in worse.items())
    same = f", and {list_in_words(alike)} alike within the spread of seeds" if alike else ""
    verb = "are" if len(worse) > 1 else "is"
    return f"{best} reconstructs best ({number(errors[best], 3)}){same}; worse {verb} {named}."


def chains_in_words(measures: Measures) -> list[str]:
    """Where the chains of the variants end, and whether their drift says anything."""
    looks = {name: samples.looks_of(each, "chain") for name, each in measures.items()}
    drifts = {name: each["drift"] for name, each in measures.items()}
    groups: dict[Verdict, list[str]] = {}
    for name, each in looks.items():
        groups.setdefault(each.verdict, []).append(name)
    least = min(drifts, key=lambda name: abs(drifts[name]))
    near = groups.get("near the data", [])
    if len(near) == len(looks):
        found = f"After {DRIFT_STEPS} Gibbs steps from test images all chains are near the data."
    else:
        parts = [f"those of {list_in_words(names)} end {ENDS[x]}" for x, names in groups.items()]
        found = f"After {DRIFT_STEPS} Gibbs steps from test images the chains differ: "
        found += f"{'; '.join(parts)}."
        if len(groups) == 1:
            found = f"After {DRIFT_STEPS} Gibbs steps from test images all chains end "
            found += f"{ENDS[looks[least].verdict]}."
    drift = f"The drift of {least} is nearest to zero ({number(drifts[least], 3)} nats)"
    if looks[least].verdict == "near the data":
        drift += ", and its chains are near the data too."
    else:
        drift += f", but that is no mark of a good model: its chains end {looks[least].in_words()}."
    return [found, drift]


def weigh(measures: Measures) -> str:
    """Which variant is best once error, drift and chains are weighed together, if one is."""
    looks = {name: samples.looks_of(each, "chain") for name, each in measures.items()}
    near = [name for name, each in looks.items() if each.verdict == "near the data"]
    if not near:
        return "No chains end near the data, so none of these is the better model by its drift."
    least = min(near, key=lambda name: abs(measures[name]["drift"]))
    best = min(each["test_reconstruction_error"] for each in measures.values())
    if measures[least]["test_reconstruction_error"] > (1 + SAME_ERROR) * best:
        return (
            "No one is best in everything: of those whose chains end near the data the drift of "
            f"{least} is nearest to zero, but others reconstruct better."
        )
    return (
        f"Taken together {least} does best: its chains end near the data, of those its drift is "
        "nearest to zero, and none reconstructs better by more than seeds differ."
    )


def effect_of_grey(measures: Measures) -> str:
    """How much the training on grey values differs from the run, row 0."""
    (lab, run), *_ = measures.items()
    grey = measures[GREY]
    change, weights = (
        grey[key] / max(run[key], 1e-12) - 1
        for key in ("test_reconstruction_error", "mean_abs_weight")
    )
    words = "hardly differ" if abs(change) <= SAME_ERROR else "differ"
    within = ", less than seeds do" if abs(change) <= SAME_ERROR else ""
    return (
        f"The two {words} as reconstructions go: grey values change the error by {change:+.1%}"
        f"{within}, and the mean absolute weight by {weights:+.0%}, against {lab}."
    )


def section(
    session: Session,
    name: str,
    title: str,
    rows: Rows,
    question: str,
    first: Sequence[str] = (),
    shown: Sequence[Figure] = (),
    links: Sequence[Link] = (),
) -> Section:
    """One question: the variants side by side, and what their measures come to.

    Args:
        session: of the study.
        name: of the task.
        title: of the section.
        rows: the variants, with the run among them.
        question: of the lab.
        first: what answers it beside error, drift and chains.
        shown: figures besides reconstructions and chains.
        links: to the pages of the variants.
    """
    measures = {short(label): each.measures for label, each in rows.items()}
    idle = [f"{label} {x['never_on'] + x['always_on']:.0%}" for label, x in measures.items()]
    answer = [
        " ".join([*first, errors_in_words(measures), weigh(measures)]),
        " ".join([*chains_in_words(measures), ONE_SEED]),
        " ".join(
            [
                extremes(measures, "free_energy_gap", "The free-energy gap of test over train"),
                extremes(measures, "mean_abs_weight", "The mean absolute weight"),
                "Share of units that carry no information, on in under 1% or over 99%: "
                f"{', '.join(idle)}.",
            ]
        ),
    ]
    figures_of = [*pictures(session, name.replace(".", "_"), rows), *shown]
    columns = columns_of(next(iter(rows.values())).args.model)
    table = tabulate({label: each.measures for label, each in rows.items()}, columns, "variant")
    return Section(name, title, answer, figures_of, table, links, question)


def sizes(session: Session, rows: Rows) -> tuple[list[str], list[Figure], list[Link]]:
    """1.8: the filters of every size with their kinds, and the pages of the other sizes."""
    drawing, shown, words = Drawing(session.dataset, session.folder), [], []
    for label, each in rows.items():
        weights, found = tasks.filters_of(each)
        name = f"1_8_filters_{each.args.model.num_hidden}"
        sheet = figures.filter_sheet(weights)
        shown.append(drawing.save(name, sheet, f"Weights of {short(label)}"))
        words.append(f"{short(label)}: {tasks.counts_in_words(found)}")
    links = [
        Link(f"{name}: all tasks", f"study/hidden{num}/report.html")
        for name, num in NUM_HIDDEN.items()
    ]
    return [f"The filters are, of {'; of '.join(words)}."], shown, links


def write_page(session: Session, name: str, variant: TrainedRBM) -> Path:
    """Writes a page with tasks 1.1 to 1.3 and 1.7 for one variant (task 1.8)."""
    dataset = variant.drawing.dataset
    learner = learner_for(variant.args, dataset)
    state = learner.init(jax.random.key(0))._replace(params=variant.params)
    draw = jitted(learner.sample, static_argnums=2)
    images = np.asarray(draw(state, task_key("sample"), NUM_SAMPLES))
    looks = samples.measure(images, dataset)
    return report.write_page(
        variant.drawing.folder / PAGE,
        f"RBM with {name} units on {dataset.name}",
        facts={"study": Link("the comparison of all sizes", f"../../{STUDY_PAGE}")},
        sections=[*tasks.drawn_samples(variant, images, looks), *tasks.tasks(variant)],
        lead=[f"A part of the study of {session.dataset.name}."],
        headline=tasks.headline(variant, looks),
    )


def sections(session: Session, rows: Rows, _: Table) -> list[Section]:
    """The questions 1.4 to 1.6 and 1.8; each sets some of the variants beside the run, row 0."""
    lab = next(iter(rows))

    def beside(names: Sequence[str]) -> Rows:
        return {name: rows[name] for name in (lab, *names)}

    def by(field: str, chosen: Rows) -> Rows:
        return dict(sorted(chosen.items(), key=lambda row: getattr(row[1].args.model, field)))

    for name in NUM_HIDDEN:
        write_page(session, name, rows[name])
    by_rate = by("learning_rate", beside([*RATES[rows[lab].args.model.visible]]))
    by_size = by("num_hidden", beside([*NUM_HIDDEN]))
    found = [
        section(
            *(session, "1.5", TITLES["1.5"], beside([*GIBBS_STEPS])),
            "What changes if the negative phase takes more Gibbs steps?",
        ),
        section(
            *(session, "1.6", TITLES["1.6"], by_rate),
            "What changes at lower and at higher learning rates?",
        ),
        section(
            *(session, "1.8", TITLES["1.8"], by_size),
            "What do fewer and more hidden units learn, and what do they cost?",
            *sizes(session, by_size),
        ),
    ]
    if GREY not in rows:
        return found
    grey = beside([GREY])
    effect = effect_of_grey({short(name): each.measures for name, each in grey.items()})
    question = "How much does it change if the grey values themselves are the input?"
    return [section(session, "1.4", TITLES["1.4"], grey, question, [effect]), *found]


def tasks_of(config: rbm.Config) -> dict[str, str]:
    """The tasks that the study answers, by number; Gaussian units have no grey input."""
    return {k: x for k, x in TITLES.items() if k != "1.4" or config.visible == "binary"}


def compare(args: RBMArgs, session: Session, result: Result) -> Path:
    """Trains the variants, writes the comparison and returns its page."""
    config = args.model
    name = f"{args.preset} (k = {config.num_gibbs_steps}, rate {config.learning_rate:g}, "
    name += f"{config.num_hidden} hidden)"
    facts = {
        "programs": "the learning rates are trained in one vmapped program",
        "error": "mean over the pixels of all test images of (x - E[v|h])^2 after one step",
        "free-energy gap": "mean F(test) - mean F(as many training images)",
        "drift": f"mean F of test images (the first {NUM_DRIFT} at most) - mean F after "
        f"{DRIFT_STEPS} Gibbs steps from them; 0 is best",
        "chains": f"{samples.NUM_COMPARED} of them at most, after {DRIFT_STEPS} Gibbs steps from "
        f"test images. {samples.EXPLAINED}",
        "never on, always on": "share of hidden units on in < 1%, > 99% of the test images",
    }
    study = Study(
        title=f"RBM study on {session.dataset.name}",
        facts=facts,
        variants=variants(args),
        train=train_program,
        sections=partial(sections, session),
        columns=columns_of(config),
        digits=3,
    )
    return run(study, args, session, {name: train_variant(args, result.state.params, session)})
