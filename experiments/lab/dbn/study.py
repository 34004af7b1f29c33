"""The lab's task 2.4: a second layer as wide as the image, started at W1 transposed or at random.

Both variants stand on the first layer of the main run.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.lab.dbn import layers, tasks
from experiments.lab.dbn.fine_tuning import relative_change
from experiments.lab.dbn.layers import DBNArgs
from experiments.lab.dbn.tasks import Nets, TrainedNet
from experiments.lab.drawing import NUM_SHOWN, Drawing, error_curve
from experiments.lab.samples import EXPLAINED
from experiments.lab.study import SAME_ERROR, Study, Variant, run, variant
from experiments.running.session import Session
from jaxgen.learner import named_key, task_key
from jaxgen.models import dbn, rbm
from jaxgen.random import Binarize
from jaxgen.report import figures
from jaxgen.report.page import Section, Table, number

COLUMNS = {
    **tasks.COLUMNS,
    "top_to_image": "(p(h2) - image)^2",
    "distance_to_transposed": "norm of W2 - W1', relative",
}
TRANSPOSED, RANDOM = "W2 from W1 transposed", "W2 from noise"
FOLDERS = {TRANSPOSED: "transposed", RANDOM: "noise"}

up = jax.jit(dbn.up)
top_probs = jax.jit(lambda top, below: jax.nn.sigmoid(rbm.hidden_logits(top, below)))


def tasks_of(config: dbn.Config) -> dict[str, str]:
    """The task that the study answers, which needs binary units: it turns layers upside down."""
    return {"2.4": "Top states as images"} if config.visible == "binary" else {}


def variants(args: DBNArgs, num_visible: int) -> list[Variant[DBNArgs]]:
    """Both variants, with a top as wide as the image."""
    sizes = (args.model.hidden_sizes[0], num_visible)
    return [
        variant(args, name, folder, hidden_sizes=sizes, transposed_start=name == TRANSPOSED)
        for name, folder in FOLDERS.items()
    ]


def top_images(drawing: Drawing, binary: Binarize, net: dbn.Net) -> np.ndarray:
    """p(h_2=1|h_1) of the first test images, each top unit at the place of its pixel."""
    key_data, key_up = jax.random.split(task_key("top images"))
    images = jnp.asarray(drawing.dataset.test.images[: tasks.NUM_MEASURED])
    visible = tasks.to_visible(net.bottom, key_data, images, binary)
    below = up(net.recognition, key_up, visible)[-1]
    return drawing.images(top_probs(net.top, below))


def measure(drawing: Drawing, binary: Binarize, net: dbn.Net) -> dict[str, float]:
    """Distance of a variant from the first layer turned upside down, in states and in weights."""
    tops = top_images(drawing, binary, net)
    images = drawing.dataset.test.images[: len(tops)] / 255.0
    turned = np.asarray(net.recognition[0]["w"]).T
    return {
        "top_to_image": float(np.mean(np.square(tops - images))),
        "distance_to_transposed": relative_change(np.asarray(net.top["w"]), turned),
    }


def top_states(drawing: Drawing, binary: Binarize, nets: Nets, table: Table) -> Section:
    """2.4: the top states laid out as images, and the distance of W2 from W1 transposed."""
    strips = {"test image": drawing.dataset.test.images[:NUM_SHOWN] / 255.0}
    for name, each in nets.items():
        strips[name] = top_images(drawing, binary, each.net)[:NUM_SHOWN]
    measured = {name: each.measures for name, each in nets.items()}
    before, after = measured[f"{TRANSPOSED}, start"], measured[TRANSPOSED]
    chance = measured[f"{RANDOM}, start"]["top_to_image"]
    key = "test_reconstruction_error"
    reads = after["top_to_image"] < chance / 2
    answer = [
        "From W1 transposed the top states still read as the images after training"
        if reads
        else "After training the top states no longer read as the images, also from W1 transposed",
        "With W2 = W1 transposed, and the biases exchanged likewise, the two layers together have "
        "the distribution of the first RBM alone, and the top state is drawn as that RBM "
        f"draws a reconstruction: (p(h2) - image)^2 is {number(before['top_to_image'], 3)} at the "
        f"start, {number(after['top_to_image'], 3)} after training, and {number(chance, 3)} from "
        "noise, untrained; below half of that counts as reading as the images.",
        f"Training moves W2 by {number(after['distance_to_transposed'], 3)} of the norm of W1. The "
        f"reconstruction error goes from {number(before[key], 3)} to {number(after[key], 3)}; from "
        f"noise it ends at {number(measured[RANDOM][key], 3)}.",
    ]
    apart = after[key] / max(measured[RANDOM][key], 1e-12) - 1
    answer[0] += (
        ", and both starts end with the same reconstruction error, within the spread of seeds."
        if abs(apart) <= SAME_ERROR
        else f", and the reconstruction error ends {abs(apart):.0%} "
        f"{'above' if apart > 0 else 'below'} that from noise."
    )
    net = nets[TRANSPOSED].net
    first, second = np.asarray(net.recognition[0]["w"]), np.asarray(net.top["w"])
    trained = figures.filter_sheet(drawing.images(second))
    change = figures.filter_sheet(drawing.images(second - first.T))
    sheet, title = figures.rows_of(strips), "p(h2=1|h1) laid out as pixels"
    shown = [
        drawing.save("2_4_top_states", sheet, title),
        drawing.save("2_4_w2", trained, f"{TRANSPOSED}, after training"),
        drawing.save("2_4_change", change, "W2 - W1 transposed"),
    ]
    return Section(
        "2.4",
        "Top states as images",
        answer,
        shown,
        table,
        question="What happens to a top layer as wide as the image that starts at W1 transposed?",
    )


def train_variant(
    first: rbm.Params, variants: Sequence[Variant[DBNArgs]], session: Session
) -> dict[str, TrainedNet]:
    """Trains one variant above the first layer; returns it at its start and trained."""
    (one,) = variants
    args, drawing = one.args, Drawing(session.dataset, session.folder)
    key_init = named_key(jax.random.key(args.seed), "init")  # as `fit` does
    start = jax.jit(dbn.learner(args.model, session.image_shape, (first,)).init)(key_init)
    result = layers.train_layers(args, session, (first,))
    stages = {f"{one.name}, start": start.params, one.name: result.state.params}
    nets = {name: dbn.tie(jax.device_get(params)) for name, params in stages.items()}
    binary = args.model.binarize
    return {
        name: each._replace(measures=each.measures | measure(drawing, binary, each.net))
        for name, each in tasks.trained_nets(args, drawing, binary, nets).items()
    }


def sections(
    args: DBNArgs, session: Session, first: rbm.Params, nets: Nets, table: Table
) -> list[Section]:
    """Curves, top states, reconstructions and samples of both variants."""
    drawing, binary = Drawing(session.dataset, session.folder), args.model.binarize
    study = session.folder / "study"
    logs = {name: study / folder / layers.name_of(1) for name, folder in FOLDERS.items()}
    trained = {name: nets[name] for name in (RANDOM, TRANSPOSED)}
    start = {"RBM": dbn.tie((first,))}
    return [
        error_curve(drawing, logs, tasks.ERROR, "2_4_curve"),
        top_states(drawing, binary, nets, table),
        tasks.reconstructions(drawing, "2.4 reconstructions", trained, binary, start),
        tasks.generated_images(args, drawing, "2.4 samples", nets),
    ]


def compare(args: DBNArgs, session: Session, first: rbm.Params) -> Path:
    """Trains both variants above the main run's first layer, compares them, returns the page."""
    both = variants(args, first["w"].shape[0])
    study = Study(
        title=f"DBN study on {session.dataset.name}: a top as wide as the image",
        facts={
            "model": layers.describe(both[1].args.model, session),
            "start": "the second layer of both stands on the first layer of the main run",
            "error": tasks.ERROR,
            "(p(h2) - image)^2": "mean over units and the first "
            f"{tasks.NUM_MEASURED} test images at most, the top units laid out as the pixels",
            "samples": f"{tasks.NUM_MEASURED}, {args.generation_steps} Gibbs steps from 10% of "
            f"top units on. {EXPLAINED}",
        },
        variants=both,
        train=partial(train_variant, first),
        sections=partial(sections, args, session, first),
        columns=COLUMNS,
        heading="",
        digits=3,
    )
    return run(study, args, session, {})
