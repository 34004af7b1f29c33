"""The lab's comparisons 1.4 to 1.6 and 1.8: one change to the RBM at a time, measured alike.

Every variant starts from the seed of the main run. Variants that differ in their learning rate
alone are trained in one vmapped program. All of it lies in the run folder: `study.html`,
`study.md`, `study.json`, and a folder with checkpoints and log per program.
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.lab.rbm import tasks as rbm_tasks
from experiments.lab.rbm import training as rbm_training
from experiments.running import artifacts as results
from experiments.running.session import Session
from experiments.running.train import train_in_session
from jaxgen.data import Dataset
from jaxgen.learner import named_key
from jaxgen.models import rbm
from jaxgen.random import binarize
from jaxgen.report import figures
from jaxgen.report import page as report
from jaxgen.report.page import Section, Table, number
from jaxgen.runs import manifest as run_manifest
from jaxgen.training.loop import Result

logger = logging.getLogger("jaxgen")

GIBBS_STEPS = (2, 5, 10)
RATES = (0.01, 0.03, 0.3, 1.0)
NUM_HIDDEN = (25, 400)
DRIFT_STEPS = 1000
NUM_DRIFT = 1000


gibbs = jax.jit(rbm.gibbs, static_argnums=3)


class Variant(NamedTuple):
    """A trained RBM of the study, with what was measured of it."""

    name: str
    config: rbm.Config
    params: rbm.Params
    measured: Mapping[str, float]


def programs(config: rbm.Config) -> dict[str, dict[str, rbm.Config]]:
    """The programs of the study by name, each with its named members."""
    change = partial(dataclasses.replace, config)
    return {
        "grey": {"grey input": change(binarize="none")},
        **{f"k{k}": {f"k = {k}": change(num_gibbs_steps=k)} for k in GIBBS_STEPS},
        "rates": {f"rate {rate:g}": change(learning_rate=rate) for rate in RATES},
        **{f"hidden{n}": {f"{n} hidden": change(num_hidden=n)} for n in NUM_HIDDEN},
    }


def drift(config: rbm.Config, params: rbm.Params, test: jax.Array) -> jax.Array:
    """Mean F(v) of test images minus that after 1,000 Gibbs steps from them, in nats.

    A model that fits the data stays near 0. A large value says that the chain leaves the data for
    states that the model thinks far more probable, and that are no images.
    """
    key_data, key_chain = jax.random.split(named_key(jax.random.key(0), "drift"))
    visible = binarize(key_data, test[:NUM_DRIFT], config.binarize)
    after = gibbs(params, visible, key_chain, DRIFT_STEPS)
    return jnp.mean(rbm.free_energy(params, visible)) - jnp.mean(rbm.free_energy(params, after))


def measure(config: rbm.Config, params: rbm.Params, dataset: Dataset) -> dict[str, float]:
    """What the table shows: every variant on sampled input, whatever it was trained on."""
    sampled = rbm_tasks.measurer("sample", dataset)(params)
    grey = rbm_tasks.measurer("none", dataset)(params)
    measured = sampled | {
        "test_reconstruction_error_grey": grey["test_reconstruction_error"],
        "drift": jax.jit(partial(drift, config))(params, dataset.test.images),
        "mean_abs_weight": jnp.mean(jnp.abs(params["w"])),
    }
    return {name: float(value) for name, value in measured.items()}


def train(
    args: Any, session: Session, name: str, members: Mapping[str, rbm.Config]
) -> list[Variant]:
    """Trains one program; several members share it by a leading axis of their states."""
    configs = list(members.values())
    shape = session.dataset.train.images.shape[1:]
    learners = [rbm.learner(config, shape) for config in configs]
    key_init = named_key(jax.random.key(args.seed), "init")
    states = [
        jax.jit(rbm_training.initial(args, config.binarize, learner, session.dataset))(key_init)
        for config, learner in zip(configs, learners, strict=True)
    ]  # as `fit` does
    state = states[0] if len(states) == 1 else jax.tree.map(lambda *x: jnp.stack(x), *states)
    logger.info("study: %s", ", ".join(members))
    result = train_in_session(
        args,
        learners[0],
        session.within(f"study/{name}"),
        {member: dataclasses.asdict(config) for member, config in members.items()},
        state=state,
        seeds=(args.seed,) * len(configs),
    )
    params = result.state.params
    each = (
        [params]
        if len(configs) == 1
        else [jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(len(configs))]
    )
    return [
        Variant(member, config, values, measure(config, values, session.dataset))
        for (member, config), values in zip(members.items(), each, strict=True)
    ]


def of_main(args: Any, session: Session, result: Result) -> Variant:
    """The main run as a variant: the one that every comparison starts from."""
    config, params = args.model, result.state.params
    name = f"{args.preset} (k = {config.num_gibbs_steps}, rate {config.learning_rate:g}, "
    name += f"{config.num_hidden} hidden)"
    return Variant(name, config, params, measure(config, params, session.dataset))


def table(variants: Sequence[Variant]) -> Table:
    """One row per variant."""
    columns = {
        "test_reconstruction_error": "error, sampled input",
        "test_reconstruction_error_grey": "error, grey input",
        "free_energy_gap": "free-energy gap, nats",
        "drift": "drift, nats",
        "never_on": "never on",
        "always_on": "always on",
        "mean_abs_weight": "mean abs. weight",
    }
    rows = [[v.name, *(number(v.measured[key], 3) for key in columns)] for v in variants]
    return Table(["variant", *columns.values()], rows)


def pictures(session: Session, name: str, variants: Sequence[Variant]) -> list[Path]:
    """Reconstructions and samples of the variants, row by row from the same noise."""
    test = jnp.asarray(session.dataset.test.images[: results.NUM_SHOWN])
    keys = jax.random.split(named_key(jax.random.key(0), "study"), 3)
    shape = session.dataset.test.images.shape[1:]
    reconstructed: dict[str, Any] = {"test image": np.asarray(test) / 255.0}
    sampled: dict[str, Any] = {}
    for variant in variants:
        visible = rbm_tasks.binarized(keys[0], test, variant.config.binarize)
        _, probs = rbm_tasks.reconstruct(variant.params, keys[1], visible)
        reconstructed[variant.name] = np.asarray(probs).reshape(-1, *shape)
        after = gibbs(variant.params, visible, keys[2], DRIFT_STEPS)
        _, probs = rbm_tasks.reconstruct(variant.params, keys[1], after)
        sampled[variant.name] = np.asarray(probs).reshape(-1, *shape)
    folder = session.folder / "figures"
    folder.mkdir(exist_ok=True)
    title = f"After {DRIFT_STEPS} Gibbs steps from the first test images"
    return [
        figures.save(
            figures.rows_of(reconstructed, "Reconstructions p(v=1|h)"),
            folder / f"{name}_reconstructions.png",
        ),
        figures.save(figures.rows_of(sampled, title), folder / f"{name}_samples.png"),
    ]


def extremes(variants: Sequence[Variant], key: str, what: str) -> str:
    """One sentence: for which variant a measure is lowest and highest."""
    low, high = (choose(variants, key=lambda v: v.measured[key]) for choose in (min, max))
    return (
        f"{what} is lowest for {low.name} ({number(low.measured[key], 3)}) and highest for "
        f"{high.name} ({number(high.measured[key], 3)})."
    )


def nearest_to_zero(variants: Sequence[Variant], key: str, what: str) -> str:
    """One sentence: for which variant a measure is nearest to zero, where zero is best."""
    near, far = (choose(variants, key=lambda v: abs(v.measured[key])) for choose in (min, max))
    return (
        f"{what} is nearest to zero, the best value, for {near.name} "
        f"({number(near.measured[key], 3)}) and farthest for {far.name} "
        f"({number(far.measured[key], 3)})."
    )


def section(session: Session, name: str, title: str, variants: Sequence[Variant]) -> Section:
    """One question: the variants side by side, and what the measures say."""
    silent = [f"{v.name} {v.measured['never_on'] + v.measured['always_on']:.0%}" for v in variants]
    answer = [
        " ".join(
            [
                extremes(variants, "test_reconstruction_error", "Reconstruction error"),
                extremes(variants, "free_energy_gap", "The free-energy gap of test over train"),
                nearest_to_zero(variants, "drift", "Drift"),
                extremes(variants, "mean_abs_weight", "The mean absolute weight"),
            ]
        ),
        f"Share of units that say nothing, on in under 1% or over 99%: {', '.join(silent)}.",
    ]
    paths = pictures(session, name.replace(".", "_"), variants)
    return Section(name, title, answer, paths, table(variants))


def full_page(args: Any, session: Session, variant: Variant) -> Path:
    """Tasks 1.1 to 1.3 and 1.7 again for one variant (task 1.8)."""
    folder = session.folder / "study" / f"hidden{variant.config.num_hidden}"
    drawing = results.Drawing(session.dataset, folder)
    trained = rbm_tasks.Trained(
        variant.config, variant.params, drawing, args.generation_steps, args.gain
    )
    learner = rbm.learner(variant.config, session.dataset.train.images.shape[1:])
    state = learner.init(jax.random.key(0))._replace(params=variant.params)
    samples = jax.jit(learner.sample, static_argnums=2)(state, results.task_key("sample"), 100)
    sections = rbm_tasks.tasks(trained, variant.measured, np.asarray(samples))
    title = f"RBM with {variant.name} units on {session.dataset.name}"
    return report.write_page(folder / "report.html", title, {}, sections)


def run(args: Any, session: Session, result: Result) -> Path:
    """Trains the variants, writes the comparison, returns its page."""
    lab = of_main(args, session, result)
    found = {
        name: train(args, session, name, members) for name, members in programs(args.model).items()
    }
    by_rate = sorted([lab, *found["rates"]], key=lambda v: v.config.learning_rate)
    by_size = sorted(
        [lab, *(v for n in NUM_HIDDEN for v in found[f"hidden{n}"])],
        key=lambda v: v.config.num_hidden,
    )
    by_steps = [lab, *(v for k in GIBBS_STEPS for v in found[f"k{k}"])]
    sections = [
        section(session, "1.4", "Grey values instead of sampled ones", [lab, *found["grey"]]),
        section(session, "1.5", "CD-k with larger k", by_steps),
        section(session, "1.6", "Other learning rates", by_rate),
        section(session, "1.8", "Fewer and more hidden units", by_size),
    ]
    for variant in by_size:
        if variant is not lab:
            full_page(args, session, variant)
    return write(args, session, sections, [lab, *(v for vs in found.values() for v in vs)])


def write(
    args: Any, session: Session, sections: Sequence[Section], variants: Sequence[Variant]
) -> Path:
    """The comparison as a page, as markdown and as JSON."""
    title = f"RBM study on {session.dataset.name}"
    facts = {
        "command": run_manifest.command(),
        "training": f"{args.epochs} epochs, batch {args.batch_size}, seed {args.seed} each",
        "error": "mean over the pixels of all test images of (x - p(v=1|h))^2 after one step",
        "free-energy gap": "mean F(test) - mean F(as many training images)",
        "drift": f"mean F of test images (the first {NUM_DRIFT} at most) - mean F after "
        f"{DRIFT_STEPS} Gibbs steps from them; 0 is best",
        "never on, always on": "share of hidden units on in < 1 %, > 99 % of the test images",
        "spread": "one seed; the learning rates are trained in one vmapped program",
    }
    rows = [{"name": variant.name, **variant.measured} for variant in variants]
    return results.write_study(session.folder, title, facts, sections, table(variants), rows)
