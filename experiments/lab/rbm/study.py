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

from experiments.lab.drawing import NUM_SHOWN, Drawing
from experiments.lab.rbm import tasks
from experiments.lab.rbm.tasks import TrainedRBM
from experiments.lab.rbm.training import RBMArgs, learner_for, make_evaluator
from experiments.lab.study import Study, Variant, run, tabulate, variant
from experiments.running.artifacts import NUM_SAMPLES
from experiments.running.session import Session
from experiments.running.train import train_in_session
from jaxgen.data import Dataset
from jaxgen.evaluation.monitors import rbm_monitors
from jaxgen.learner import named_key, task_key
from jaxgen.models import rbm
from jaxgen.report import figures
from jaxgen.report import page as report
from jaxgen.report.page import Figure, Section, Table, number
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
    "never_on": "never on",
    "always_on": "always on",
    "mean_abs_weight": "mean abs. weight",
}

Rows = Mapping[str, TrainedRBM]
"""RBMs of the study by the names of their rows."""

gibbs = jax.jit(rbm.gibbs, static_argnums=3)


def tasks_of(config: rbm.Config) -> dict[str, str]:
    """The tasks that the study answers, by number; Gaussian units have no grey input of its own."""
    titles = {
        "1.4": "Grey values instead of sampled ones",
        "1.5": "CD-k with larger k",
        "1.6": "Other learning rates",
        "1.8": "Fewer and more hidden units",
    }
    return {k: x for k, x in titles.items() if k != "1.4" or config.visible == "binary"}


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


def measure(config: rbm.Config, params: rbm.Params, dataset: Dataset) -> dict[str, float]:
    """Measures every variant on sampled input, whatever it was trained on."""
    sampled = make_evaluator(rbm_monitors, "sample", dataset)(params)
    grey = make_evaluator(rbm_monitors, "none", dataset)(params)
    measures = {
        **sampled,
        GREY_ERROR: grey["test_reconstruction_error"],
        "drift": jax.jit(partial(drift, config))(params, dataset.test.images),
        "mean_abs_weight": jnp.mean(jnp.abs(params["w"])),
    }
    return {name: float(value) for name, value in measures.items()}


def trained(args: RBMArgs, params: rbm.Params, session: Session) -> TrainedRBM:
    """An RBM in the folder of the session, measured for the study."""
    measures = measure(args.model, params, session.dataset)
    return TrainedRBM(args, params, measures, Drawing(session.dataset, session.folder))


def train_program(variants: Sequence[Variant[RBMArgs]], session: Session) -> dict[str, TrainedRBM]:
    """Trains one program; several variants share it by a leading axis of their states."""
    learners = [learner_for(each.args, session.dataset) for each in variants]
    args = variants[0].args
    key_init = named_key(jax.random.key(args.seed), "init")  # as `fit` does
    states = [jax.jit(learner.init)(key_init) for learner in learners]
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
        each.name: trained(each.args, own, session)
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


def extremes(rows: Rows, key: str, title: str, zero_is_best: bool = False) -> str:
    """One sentence: the variants with the least and with the greatest value, or distance to 0."""
    least, greatest = "lowest", "highest"
    if zero_is_best:
        least, greatest = "nearest to zero, the best value,", "farthest"
    size = abs if zero_is_best else float
    low, high = (
        choose(rows, key=lambda name: size(rows[name].measures[key])) for choose in (min, max)
    )
    return (
        f"{title} is {least} for {low} ({number(rows[low].measures[key], 3)}) and {greatest} for "
        f"{high} ({number(rows[high].measures[key], 3)})."
    )


def columns_of(config: rbm.Config) -> dict[str, str]:
    """The columns of the table; the input of Gaussian units is neither sampled nor grey."""
    if config.visible == "binary":
        return COLUMNS
    kept = {name: title for name, title in COLUMNS.items() if name != GREY_ERROR}
    return kept | {"test_reconstruction_error": "error"}


def section(session: Session, name: str, title: str, rows: Rows) -> Section:
    """One question: the variants side by side, and the differences between their measures."""
    measures = {label: each.measures for label, each in rows.items()}
    idle = [f"{label} {x['never_on'] + x['always_on']:.0%}" for label, x in measures.items()]
    answer = [
        " ".join(
            [
                extremes(rows, "test_reconstruction_error", "Reconstruction error"),
                extremes(rows, "free_energy_gap", "The free-energy gap of test over train"),
                extremes(rows, "drift", "Drift", zero_is_best=True),
                extremes(rows, "mean_abs_weight", "The mean absolute weight"),
            ]
        ),
        f"Share of units that carry no information, on in under 1% or over 99%: {', '.join(idle)}.",
    ]
    shown = pictures(session, name.replace(".", "_"), rows)
    columns = columns_of(next(iter(rows.values())).args.model)
    return Section(name, title, answer, shown, tabulate(measures, columns, "variant"))


def write_page(name: str, variant: TrainedRBM) -> Path:
    """Writes a page with tasks 1.1 to 1.3 and 1.7 for one variant (task 1.8)."""
    dataset = variant.drawing.dataset
    learner = learner_for(variant.args, dataset)
    state = learner.init(jax.random.key(0))._replace(params=variant.params)
    draw = jax.jit(learner.sample, static_argnums=2)
    samples = np.asarray(draw(state, task_key("sample"), NUM_SAMPLES))
    title = f"RBM with {name} units on {dataset.name}"
    path = variant.drawing.folder / "report.html"
    return report.write_page(path, title, facts={}, sections=tasks.tasks(variant, samples))


def sections(session: Session, rows: Rows, _: Table) -> list[Section]:
    """The questions 1.4 to 1.6 and 1.8; each sets some of the variants beside the run, row 0."""
    lab = next(iter(rows))

    def beside(names: Sequence[str]) -> Rows:
        return {name: rows[name] for name in (lab, *names)}

    def by(field: str, chosen: Rows) -> Rows:
        return dict(sorted(chosen.items(), key=lambda row: getattr(row[1].args.model, field)))

    for name in NUM_HIDDEN:
        write_page(name, rows[name])
    by_rate = by("learning_rate", beside([*RATES[rows[lab].args.model.visible]]))
    by_size = by("num_hidden", beside([*NUM_HIDDEN]))
    by_steps = beside([*GIBBS_STEPS])
    shown = {"1.4": beside([GREY]) if GREY in rows else {}, "1.5": by_steps, "1.6": by_rate}
    shown |= {"1.8": by_size}
    titles = tasks_of(rows[lab].args.model)
    return [section(session, name, title, shown[name]) for name, title in titles.items()]


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
        "never on, always on": "share of hidden units on in < 1 %, > 99 % of the test images",
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
    return run(study, args, session, {name: trained(args, result.state.params, session)})
