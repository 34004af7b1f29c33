"""The DCGAN's own part of the page, and the lab's comparisons 5.1.2 and 5.1.3.

Each variant of the comparison is a whole run of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import jax
import numpy as np

from experiments.lab.drawing import Drawing, file_name
from experiments.lab.gan import tasks, training
from experiments.lab.gan.tasks import GANReport, failures_in_words
from experiments.lab.gan.training import GANArgs
from experiments.lab.samples import SMOOTH
from experiments.lab.study import (
    Study,
    StudyArgs,
    Variant,
    as_own_run,
    elsewhere,
    run,
    variant,
)
from experiments.running.session import Session
from jaxgen.export import pytorch, safetensors
from jaxgen.images import ImageShape
from jaxgen.models import adversarial, dcgan
from jaxgen.models.adversarial import State
from jaxgen.report import figures
from jaxgen.report.page import Section, Table, number
from jaxgen.training.loop import Result

VARIANTS: dict[str, dict[str, Any]] = {
    "5.1.2 two D updates": {"d_steps": 2, "g_steps": 1},
    "5.1.2 two G updates": {"d_steps": 1, "g_steps": 2},
    "5.1.3 no batch norm": {"batch_norm": False},
    "Adam at 1e-3": {"learning_rate": 1e-3},
}
"""Variants that the lab compares with its DCGAN, and its own learning rate, by what differs."""
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
TASKS = {"5.1.2": "Two updates of D, or of G", "5.1.3": "Without batch normalisation"}
"""Of the tasks that the study answers."""
QUESTION = "What changes with two updates of D or of G, and without batch normalisation?"
TITLE = "Update ratios, batch normalisation, Adam"


@dataclass(frozen=True)
class DCGANArgs(GANArgs, StudyArgs):
    """The flags that shape a DCGAN and its report."""

    model: dcgan.Config = field(default_factory=dcgan.Config)


A = TypeVar("A", bound=DCGANArgs)


def describe(config: dcgan.Config, image_shape: ImageShape) -> str:
    """The model of raw images of `image_shape` in a line."""
    size = dcgan.image_size(image_shape, config.native_size)
    widths = dcgan.widths(config, size)
    nets = f"DCGAN of {size}x{size}, {widths[0]} to {widths[-1]} channels"
    nets += f" (width {config.width:g}), {config.stem} stem, "
    nets += f"{config.generator_activation.replace('_', ' ')} in G, "
    nets += f"{'batch' if config.batch_norm else 'no batch'} normalisation"
    nets += "" if config.use_bias else ", convolutions without biases"
    nets += "" if config.precision == "float32" else f", {config.precision}"
    return training.describe(config, nets)


def write(args: DCGANArgs, session: Session, result: Result) -> GANReport:
    """Measures one trained DCGAN and writes the files of its run."""
    game = dcgan.game(args.model, session.image_shape)
    title = f"DCGAN ({args.preset}) on {session.dataset.name}"
    state = jax.device_get(result.state)
    size = dcgan.image_size(session.image_shape, args.model.native_size)
    further, absent = elsewhere(args, TASKS)
    further = [*further, export(args.model, size, state, session.folder)]
    model = describe(args.model, session.image_shape)
    return tasks.write(args, session, result, game, title, model, further, absent)


def export(config: dcgan.Config, size: int, state: State, folder: Path) -> Section:
    """5.1.4: both nets in PyTorch's names and layouts; the generator is the one that samples.

    A generator of the lab's shape has the names of the lab's own class. `size` is that of the
    images that it makes.
    """
    nets = jax.device_get({**state.params, "generator": adversarial.sampler(state)})
    passes: dict[Literal["generator", "discriminator"], int] = {
        "generator": config.d_steps + config.g_steps - 1 + int(config.fresh_noise),
        "discriminator": 2 * config.d_steps + config.g_steps,
    }
    for player, times in passes.items():
        num_batches = int(state.step) * times
        arrays = pytorch.to_pytorch(
            *(config, player, nets[player]),
            num_batches=num_batches,
            naming="lab" if pytorch.is_labs(config, player, size) else "sequence",
        )
        safetensors.save_params(folder / f"{player}.safetensors", arrays, {"experiment": "dcgan"})
    answer = (
        "generator.safetensors and discriminator.safetensors hold the nets in PyTorch's names and "
        f"layouts. A generator of the same channels, an nn.Module {_module(config, size)}, takes "
        "them by load_state_dict(safetensors.torch.load_file('generator.safetensors')). After "
        "eval() its images, in [-1, 1], are those shown here; `jaxgen/export/pytorch.py` has all "
        "names."
    )
    if config.precision != "float32":
        answer += f" These were rounded to {config.precision} between layers, which those are not."
    return Section(
        "5.1.4",
        "For PyTorch",
        ["The trained nets are in two files that PyTorch loads.", answer],
        question="How does another program load the trained generator?",
    )


def _module(config: dcgan.Config, size: int) -> str:
    """PyTorch's layers of the generator, in words: those of the lab's class, or a sequence."""
    kind = "conditional BatchNorm2d" if config.num_classes else "BatchNorm2d"
    norm = f", {kind}" if config.batch_norm else ""
    layer = "ConvTranspose2d" if config.use_bias else "ConvTranspose2d(bias=False)"
    activation = "LeakyReLU(0.2)" if config.generator_activation == "leaky_relu" else "ReLU"
    layers = f"{layer}{norm}, {activation}, ..., {layer}, Tanh"
    if pytorch.is_labs(config, "generator", size):
        norms = " and its BatchNorm2d self.batchnorm1 to self.batchnorm4" if norm else ""
        return f"with the names of the lab's, self.layer1 to self.layer5{norms} ({layers})"
    words = [f"whose self.main is an nn.Sequential of {layers}"]
    if config.stem == "dense":
        words.append("behind self.stem, an nn.Linear whose output is viewed as [C, 4, 4]")
    if config.num_classes and config.class_code == "learned":
        words.append("with self.embedding, whose rows stand behind the codes")
    elif config.num_classes:
        words.append("given the codes with one_hot(classes) behind them")
    return ", ".join(words)


def variants(args: A) -> list[Variant[A]]:
    """The variants without those that are the run's own settings."""
    found = [variant(args, name, file_name(name), **VARIANTS[name]) for name in VARIANTS]
    return [each for each in found if each.args.model != args.model]


def compare(
    args: A, session: Session, main: GANReport, train: Callable[[A, Session], Result]
) -> Path:
    """Trains the lab's variants by `train` from the same seed, compares all, returns the page."""
    drawing = Drawing(session.dataset, session.folder)
    study = Study(
        title=f"DCGAN study on {session.dataset.name}: update ratios, batch normalisation, Adam",
        facts={
            "model": describe(args.model, session.image_shape),
            "samples": f"{training.NUM_MEASURED} of each, from the same codes",
        },
        variants=variants(args),
        train=as_own_run(train, write),
        sections=lambda rows, table: [comparison(drawing, rows, table)],
        columns=COLUMNS,
    )
    return run(study, args, session, {"as set": main})


def comparison(drawing: Drawing, rows: Mapping[str, GANReport], table: Table) -> Section:
    """Samples of all variants from the same codes, and their measures."""
    codes = rows["as set"].trained.codes("study samples", 2 * NUM_COLUMNS)
    strips: dict[str, np.ndarray] = {}
    for name, each in rows.items():
        images = each.trained.images(codes)
        strips[name] = images[:NUM_COLUMNS]
        strips[f"{name} "] = images[NUM_COLUMNS:]
    sheet = figures.rows_of(strips)
    figure = drawing.save("study_samples", sheet, "Samples from the same codes")
    reference = rows["as set"].measures["test_distance"]
    answer = [
        compared_in_words(rows),
        "Failures at the end, by the criteria of 5.4.1: "
        + "; ".join(f"{name}: {failures_in_words(each.failures)}" for name, each in rows.items())
        + ".",
        "Each variant is trained for the same number of epochs from the same start. Each update of "
        "D takes a mini-batch of its own, so with two of them an epoch has half the iterations. "
        "Distance: mean Euclidean distance of samples to the nearest training image, where test "
        f"images have {number(reference)}; far below it, samples are blurs or copies, far above "
        "it, no images of the data's kind. "
        "Spread: pixel variance over the samples as a part of that of test images; near 0, samples "
        "are alike. D(x), D(G(z)) and the losses are means over the last log interval. Each "
        "variant is a whole run in the folder study, which `python -m experiments.compare` "
        "measures like any model.",
    ]
    return Section("5.1.2, 5.1.3", TITLE, answer, [figure], table, question=QUESTION)


def compared_in_words(rows: Mapping[str, GANReport]) -> str:
    """Which variant's samples lie nearest to where test images do; one seed of each."""
    off = {
        name: abs(each.measures["sample_distance"] / each.measures["test_distance"] - 1)
        for name, each in rows.items()
    }
    apart = {name: abs(each.measures["sample_spread"] - 1) for name, each in rows.items()}
    alike = [name for name, each in rows.items() if each.measures["sample_spread"] < SMOOTH]
    one, other = (min(found, key=found.__getitem__) for found in (off, apart))
    words = f"The samples of {one} are nearest to test images by their distance to the data"
    words += " and by their spread. " if one == other else f", those of {other} by their spread. "
    if alike:
        words += f"Those of {', '.join(alike)} vary less than {SMOOTH:.0%} as much as the data. "
    return f"{words}One seed of each, so small differences may be the seed's."
