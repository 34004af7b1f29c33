"""One DCGAN from its training to its page, and the lab's comparisons 5.1.2 and 5.1.3."""

import dataclasses
import logging
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.lab.gan import page as adversarial_pages
from experiments.lab.gan import training as adversarial_training
from experiments.lab.gan.page import Shown
from experiments.lab.gan.tasks import failures_said
from experiments.running import artifacts as results
from experiments.running.session import Session, variant
from jaxgen.export import pytorch, safetensors
from jaxgen.models import adversarial, dcgan
from jaxgen.models.adversarial import State
from jaxgen.report import figures
from jaxgen.report.page import Section, Table, number
from jaxgen.runs import manifest as run_manifest
from jaxgen.training.loop import Result

logger = logging.getLogger("jaxgen")

VARIANTS: dict[str, dict[str, Any]] = {
    "5.1.2 two D updates": {"d_steps": 2, "g_steps": 1},
    "5.1.2 two G updates": {"d_steps": 1, "g_steps": 2},
    "5.1.3 no batch norm": {"batch_norm": False},
    "Adam at 1e-3": {"learning_rate": 1e-3},
}
"""What the lab compares its DCGAN with, and its own learning rate, by the settings that differ."""
COLUMNS = {
    "sample_distance": "distance to nearest",
    "sample_spread": "spread",
    "d_real": "D(x)",
    "d_fake": "D(G(z))",
    "d_loss": "D loss",
    "g_loss": "G loss",
    "s_per_iteration": "s per iteration",
}
NUM_COLUMNS = 10


def described(config: dcgan.Config) -> str:
    """The model in a line."""
    what = f"DCGAN, {dcgan.channels(config, 1)} to {dcgan.channels(config, 8)} channels"
    what += f" (width {config.width:g}), {config.stem} stem, "
    what += f"{config.generator_activation.replace('_', ' ')} in G, "
    what += f"{'batch' if config.batch_norm else 'no batch'} normalisation"
    what += "" if config.use_bias else ", convolutions without biases"
    what += "" if config.precision == "float32" else f", {config.precision} products"
    return adversarial_training.described(config, what)


def train(args: Any, session: Session) -> Result:
    """Trains one DCGAN, or those of several seeds."""
    shape = adversarial_training.sizes(session.dataset)
    learner, nets = dcgan.learner(args.model, shape), dcgan.nets(args.model, shape[-1])
    return adversarial_training.train(args, session, learner, nets)


def show(args: Any, session: Session, result: Result) -> Shown:
    """Measures one trained DCGAN and writes everything its run folder holds."""
    shape = adversarial_training.sizes(session.dataset)
    learner, nets = dcgan.learner(args.model, shape), dcgan.nets(args.model, shape[-1])
    trained = adversarial_training.examined(args, session, nets, result.state)
    title = f"DCGAN ({args.preset}) on {session.dataset.name}"
    sections = [exported(args.model, trained.state, session.folder), compared(args.study)]
    model = described(args.model)
    return adversarial_pages.show(args, session, result, learner, trained, title, model, sections)


def exported(config: dcgan.Config, state: State, folder: Path) -> Section:
    """5.1.4: both nets in PyTorch's names and layouts; the generator is the one that samples."""
    nets = jax.device_get({**state.params, "generator": adversarial.sampler(state)})
    passes = {
        "generator": config.d_steps + config.g_steps - 1 + int(config.fresh_noise),
        "discriminator": 2 * config.d_steps + config.g_steps,
    }
    for player, times in passes.items():
        num_batches = int(state.step) * times
        arrays = pytorch.to_pytorch(config, player, nets[player], num_batches=num_batches)
        safetensors.save_params(folder / f"{player}.safetensors", arrays, {"experiment": "dcgan"})
    answer = (
        "generator.safetensors and discriminator.safetensors hold the nets in PyTorch's names and "
        "layouts. A generator of the same channels, an nn.Module whose self.main is an "
        f"nn.Sequential of {_sequence(config)}, takes them by "
        "load_state_dict(safetensors.torch.load_file('generator.safetensors')). After eval() its "
        "images, in [-1, 1], are those shown here; `jaxgen/export/pytorch.py` has all names."
    )
    return Section("5.1.4", "For PyTorch", [answer])


def compared(study: bool) -> Section:
    """5.1.2, 5.1.3: where the comparison is, or how it is made."""
    title = "Update ratios, batch normalisation, Adam"
    if not study:
        answer = "--study trains the variants of the lab as well and compares them in study.html."
        return Section("5.1.2, 5.1.3", title, [answer])
    return Section("5.1.2, 5.1.3", title, [], links={"The comparison": "study.html"})


def _sequence(config: dcgan.Config) -> str:
    """PyTorch's layers of the generator, in words."""
    norm = ", BatchNorm2d" if config.batch_norm else ""
    layer = "ConvTranspose2d" if config.use_bias else "ConvTranspose2d(bias=False)"
    activation = "LeakyReLU(0.2)" if config.generator_activation == "leaky_relu" else "ReLU"
    layers = f"{layer}{norm}, {activation}, ..., {layer}, Tanh"
    if config.stem == "dense":
        return f"{layers}, behind self.stem, an nn.Linear whose output is viewed as [C, 4, 4]"
    return layers


def variants(config: dcgan.Config) -> dict[str, dcgan.Config]:
    """The variants by name, without those that are the main run's own settings."""
    models = {name: dataclasses.replace(config, **changes) for name, changes in VARIANTS.items()}
    return {name: model for name, model in models.items() if model != config}


def study(args: Any, session: Session, main: Shown) -> Path:
    """Trains the lab's variants of a DCGAN from the same seed, and compares all."""
    shown, models = {"as set": main}, variants(args.model)
    logger.info(
        "study: %d trainings follow, each takes about as long as the run: %s",
        len(models),
        ", ".join(models),
    )
    for name, model in models.items():
        changed = dataclasses.replace(args, model=model, study=False)
        own = variant(session, changed, re.sub(r"[^\w]+", "_", name))
        shown[name] = show(changed, own, train(changed, own))
    rows = [{"name": name, **each.measured} for name, each in shown.items()]
    cells = [[row["name"], *(number(row[key]) for key in COLUMNS)] for row in rows]
    table = Table(["variant", *COLUMNS.values()], cells)
    title = f"DCGAN study on {session.dataset.name}: update ratios, batch normalisation, Adam"
    facts = {
        "command": run_manifest.command(),
        "model": described(args.model),
        "training": f"{args.epochs} epochs, batch {args.batch_size}, seed {args.seed} each",
        "samples": f"{adversarial_training.NUM_MEASURED} of each, from the same codes",
        "spread": "one seed",
    }
    drawing = results.Drawing(session.dataset, session.folder)
    return results.write_study(
        session.folder, title, facts, [comparison(drawing, shown, table)], table, rows
    )


def comparison(drawing: results.Drawing, shown: dict[str, Shown], table: Table) -> Section:
    """Samples of all variants from the same codes, and what was measured of them."""
    codes = shown["as set"].trained.codes("study samples", 2 * NUM_COLUMNS)
    strips: dict[str, np.ndarray] = {}
    for name, each in shown.items():
        images = each.trained.images(codes)
        strips[name] = images[:NUM_COLUMNS]
        strips[f"{name} "] = images[NUM_COLUMNS:]
    path = drawing.save("study_samples", figures.rows_of(strips, "Samples from the same codes"))
    reference = next(iter(shown.values())).measured["test_distance"]
    answer = [
        "Each variant is trained for the same number of iterations from the same start. Distance: "
        "mean Euclidean distance of samples to the nearest training image, where test images have "
        f"{number(reference)}; far below it, samples are blurs or copies, far above it, no digits. "
        "Spread: pixel variance over the samples as a part of that of test images; near 0, samples "
        "are alike. D(x), D(G(z)) and the losses are means over the last log interval. Each "
        "variant is a whole run in the folder study, which python -m experiments.compare puts on "
        "the yardstick of all models. Failures at the end, by the criteria of 5.4.1:",
        *(f"{name}: {failures_said(each.failures)}." for name, each in shown.items()),
    ]
    title = "Update ratios, batch normalisation, Adam"
    return Section("5.1.2, 5.1.3", title, answer, [path], table)
