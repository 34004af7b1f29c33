"""The lab's task 2.4: a second layer as wide as the image, started at W1 transposed or at random.

Both variants stand on the first layer of the main run. All of it lies in the run folder:
`study.html`, `study.md`, `study.json`, and a folder with checkpoints and log per variant.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.lab.dbn import layers as dbn_layers
from experiments.lab.dbn import tasks as dbn_tasks
from experiments.lab.rbm.tasks import binarized
from experiments.running import artifacts as results
from experiments.running.session import Session
from jaxgen.learner import named_key
from jaxgen.models import dbn, rbm
from jaxgen.models.dbn import Layers
from jaxgen.random import Binarize
from jaxgen.report import figures
from jaxgen.report.page import Section, number
from jaxgen.runs import manifest as run_manifest
from jaxgen.runs import metrics_log

COLUMNS = {
    **dbn_tasks.COLUMNS,
    "top_to_image": "(p(h2) - image)^2",
    "distance_to_transposed": "norm of W2 - W1', relative",
}
TRANSPOSED, RANDOM = "W2 from W1 transposed", "W2 from noise"

up = jax.jit(dbn.up)
top_probs = jax.jit(lambda top, below: jax.nn.sigmoid(rbm.hidden_logits(top, below)))


def configs(config: dbn.Config, num_visible: int) -> dict[str, dbn.Config]:
    """The two variants: both have a top as wide as the image."""
    wide = dataclasses.replace(config, hidden_sizes=(config.hidden_sizes[0], num_visible))
    return {
        TRANSPOSED: dataclasses.replace(wide, transposed_start=True),
        RANDOM: dataclasses.replace(wide, transposed_start=False),
    }


def top_images(drawing: results.Drawing, binary: Binarize, layers: Layers) -> np.ndarray:
    """p(h_2=1|h_1) of the first test images, each top unit at the place of its pixel."""
    key_data, key_up = jax.random.split(results.task_key("top images"))
    images = jnp.asarray(drawing.dataset.test.images[: dbn_tasks.NUM_JUDGED])
    below = up(layers[:-1], key_up, binarized(key_data, images, binary))[-1]
    return drawing.images(top_probs(layers[-1], below))


def measure(drawing: results.Drawing, binary: Binarize, layers: Layers) -> dict[str, float]:
    """How far a variant is from the first layer turned upside down, in states and in weights."""
    tops = top_images(drawing, binary, layers)
    images = drawing.dataset.test.images[: len(tops)] / 255.0
    turned = np.asarray(layers[0]["w"]).T
    distance = np.linalg.norm(layers[1]["w"] - turned) / np.linalg.norm(turned)
    return {
        "top_to_image": float(np.mean(np.square(tops - images))),
        "distance_to_transposed": float(distance),
    }


def top_states(
    drawing: results.Drawing,
    binary: Binarize,
    variants: Mapping[str, Layers],
    measured: Mapping[str, Mapping[str, float]],
) -> Section:
    """2.4: the top states laid out as images, and how far W2 went from W1 transposed."""
    num = results.NUM_SHOWN
    strips = {"test image": drawing.dataset.test.images[:num] / 255.0}
    for name, layers in variants.items():
        strips[name] = top_images(drawing, binary, layers)[:num]
    before, after = measured[f"{TRANSPOSED}, start"], measured[TRANSPOSED]
    chance = measured[f"{RANDOM}, start"]["top_to_image"]
    key = "test_reconstruction_error"
    answer = [
        "With W2 = W1 transposed, and the biases exchanged likewise, the two layers together have "
        "the distribution of the first RBM alone, and the top state is drawn as that RBM "
        f"draws a reconstruction: (p(h2) - image)^2 is {number(before['top_to_image'], 3)} at the "
        f"start. After training it is {number(after['top_to_image'], 3)} "
        f"(from noise, untrained: {number(chance, 3)}): "
        + (
            "the top states still read as the images."
            if after["top_to_image"] < chance / 2
            else "the top states no longer read as the images."
        ),
        f"Training moves W2 by {number(after['distance_to_transposed'], 3)} of the norm of W1. The "
        f"reconstruction error goes from {number(before[key], 3)} to {number(after[key], 3)}; from "
        f"noise it ends at {number(measured[RANDOM][key], 3)}.",
    ]
    first, second = (np.asarray(layer["w"]) for layer in variants[TRANSPOSED])
    trained = figures.filter_sheet(drawing.images(second), f"{TRANSPOSED}, after training")
    change = figures.filter_sheet(drawing.images(second - first.T), "W2 - W1 transposed")
    paths = [
        drawing.save("2_4_top_states", figures.rows_of(strips, "p(h2=1|h1) laid out as pixels")),
        drawing.save("2_4_w2", trained),
        drawing.save("2_4_change", change),
    ]
    return Section("2.4", "Top states as images", answer, paths, dbn_tasks.table(measured, COLUMNS))


def train(
    args: Any, session: Session, first: rbm.Params
) -> tuple[dict[str, Layers], dict[str, Any]]:
    """Trains both variants; returns each at its start and trained, and their logs."""
    variants: dict[str, Layers] = {}
    logs: dict[str, Any] = {}
    shape = session.dataset.train.images.shape[1:]
    key_init = named_key(jax.random.key(args.seed), "init")  # as `fit` does
    for name, config in configs(args.model, first["w"].shape[0]).items():
        start = jax.jit(dbn.learner(config, shape, (first,)).init)(key_init)
        part = session.within(f"study/{'transposed' if config.transposed_start else 'noise'}")
        (result,) = dbn_layers.train(args, config, part, (first,))
        layers = jax.device_get((start.params, result.state.params))
        variants |= dict(zip((f"{name}, start", name), layers, strict=True))
        log = part.folder / dbn_layers.name_of(1) / "metrics.jsonl"
        logs[name] = metrics_log.read_lines(log, result.step)
    return variants, logs


def run(args: Any, session: Session, first: rbm.Params) -> Path:
    """Trains both variants above the main run's first layer and compares them."""
    drawing, binary = results.Drawing(session.dataset, session.folder), args.model.binarize
    variants, logs = train(args, session, first)
    nets = {name: dbn.tied(layers) for name, layers in variants.items()}
    steps, gain = args.generation_steps, args.gain
    generated, judged = dbn_tasks.generated(drawing, "2.4 samples", nets, steps, gain)
    measured = dbn_tasks.measure_all(binary, session.dataset, nets)
    measured = {
        name: measured[name] | judged[name] | measure(drawing, binary, layers)
        for name, layers in variants.items()
    }
    compared = {"RBM": dbn.tied((first,)), RANDOM: nets[RANDOM], TRANSPOSED: nets[TRANSPOSED]}
    errors = {name: measured[name] for name in (RANDOM, TRANSPOSED)}
    sections = [
        results.training(drawing, logs, "test_reconstruction_error", dbn_tasks.ERROR, "2_4_curve"),
        top_states(drawing, binary, variants, measured),
        dbn_tasks.reconstructions(drawing, "2.4 reconstructions", compared, binary, errors),
        generated,
    ]
    title = f"DBN study on {session.dataset.name}: a top as wide as the image"
    facts = {
        "command": run_manifest.command(),
        "model": dbn_layers.described(configs(args.model, first["w"].shape[0])[RANDOM], session),
        "training": f"{args.epochs} epochs, batch {args.batch_size}, seed {args.seed}; the second "
        "layer of both stands on the first layer of the main run",
        "error": dbn_tasks.ERROR,
        "(p(h2) - image)^2": "mean over units and the first "
        f"{dbn_tasks.NUM_JUDGED} test images at most, the top units laid out as the pixels",
        "samples": f"{dbn_tasks.NUM_JUDGED}, {steps} Gibbs steps from 10 % of top units on",
        "spread": "one seed",
    }
    rows = [{"name": name, **values} for name, values in measured.items()]
    return results.write_study(
        session.folder, title, facts, sections, dbn_tasks.table(measured, COLUMNS), rows
    )
