"""The page of one trained GAN: the lab's 5.1.1 and the notebooks' questions 5.4."""

import itertools
import math
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from PIL import Image

from experiments.lab import explore
from experiments.lab.drawing import NUM_ROWS, Drawing, class_sheet, too_short, with_samples
from experiments.lab.gan.training import NUM_FIXED, NUM_MEASURED, GANArgs, TrainedGAN
from experiments.lab.samples import NUM_GROUPED, SMOOTH, VARIANCE, Looks
from experiments.lab.vae.tasks import DIFFERENCES
from experiments.lab.walks import STILL_PIXELS, evenness
from experiments.running import artifacts
from experiments.running.console import show
from experiments.running.progress import EARLY_EPOCHS
from experiments.running.session import Session
from jaxgen.evaluation import gan_diagnostics, latent, saliency, sample_quality
from jaxgen.evaluation.filters import core_sizes
from jaxgen.evaluation.gan_diagnostics import Finding
from jaxgen.evaluation.subset import some
from jaxgen.files import make_folder
from jaxgen.jitted import jitted
from jaxgen.models import adversarial
from jaxgen.models.adversarial import Game
from jaxgen.report import figures
from jaxgen.report.page import Absent, Figure, Headline, Section, Table, number
from jaxgen.runs import metrics_log
from jaxgen.runs.files import FIGURES, LOG
from jaxgen.runs.samples import read_samples
from jaxgen.training.loop import Result

LEAST_FOR_PERCENT = 100
"""Test images of which a percent can lie near; of fewer the nearest one is the measure."""
NUM_LABELLED = 2000
"""Generated images whose classes give the mean codes."""
NUM_WALKS = 10
NUM_STEPS = 10
NUM_LAYERS = 3
NUM_FILTERS = 12
RARE, ORDINAL = 4, "quarter"
"""A class is rare if it is drawn less than this part as often as in the data."""
MOST_NAMED = 5
"""Classes that a sentence names."""
SHOWN_EPOCHS = (1, 2, 5, 10, 20, 50, 100, 200)
"""Epochs after which the images of the fixed codes are shown, besides the last."""
CURVES = {
    "losses": ("Losses", "nats per image", {"D": "d_loss", "G": "g_loss"}),
    "outputs": (
        "D of real images, D(x), and of fakes, D(G(z))",
        "probability of real, mean",
        {"D(x)": "d_real", "D(G(z))": "d_fake"},
    ),
    "spread": ("Spread of training batches", "variance of fakes over real", {"spread": "spread"}),
}


def training(
    drawing: Drawing,
    lines: Sequence[Mapping[str, Any]],
    found: Sequence[Finding],
    config: adversarial.Training,
    quick: bool = False,
) -> Section:
    """5.4.1: losses and outputs over the epochs, and which of the known failures they show."""
    shown = [
        drawing.save_curves(f"training_{name}", lines, title, unit, measures)
        for name, (title, unit, measures) in CURVES.items()
    ]
    rows = [
        [
            each.name,
            gan_diagnostics.verdict_in_words(each),
            gan_diagnostics.numbers_in_words(each),
            gan_diagnostics.intervals_in_words(each),
            each.criterion,
        ]
        for each in found
    ]
    answer = [
        ("This is a quick run, so its failures may be those of a short training. " if quick else "")
        + f"Failures that this run shows at its end: {failures_in_words(found)}.",
        f"{at_chance(config.label_smoothing)}, which is what the end of a perfect game looks "
        "like, and also a D that cannot tell them apart. The criteria look at losses and pixels; "
        "which classes are drawn, and whether some are missing, is counted under 5.4.6.",
        "`d_real` is D(x) and `d_fake` D(G(z)), means over an interval of the log. The spread is "
        "the variance of a pixel over the fakes of a training batch, by G as it was then, over "
        "that of the batch's real images. The variance of samples at the top of the page is of G "
        "as it is sampled, and of test images.",
        *as_shown_to_d(config),
    ]
    columns = ["failure", "at the end", "in the last quarter", "in the whole run", "criterion"]
    table = Table(columns, rows)
    return Section(
        "5.4.1",
        "The game",
        answer,
        shown,
        table,
        question="How did the game between G and D go, and which of its known failures show?",
    )


def at_chance(smoothing: float) -> str:
    """The output of the best D for images that are alike, and its loss, in words.

    With labels smoothed by s it gives c = (1 - s) / 2, and its loss is twice the entropy of c.
    """
    chance = 0.5 * (1.0 - smoothing)
    loss = -2.0 * (chance * math.log(chance) + (1.0 - chance) * math.log(1.0 - chance))
    if not smoothing:
        return f"At chance D gives 0.5 to both and its loss is 2 log 2 = {loss:.3f}"
    return (
        f"The target for real images is {1.0 - smoothing:g}, so the best D gives them no more; at "
        f"chance it gives {chance:.3g} to both and its loss is {loss:.3f}"
    )


def as_shown_to_d(config: adversarial.Training) -> list[str]:
    """What D sees in training where that is not the images as they are, and what follows."""
    noise = f"noise of standard deviation {config.instance_noise:g}"
    changed = [*config.augment, *([noise] if config.instance_noise else [])]
    if not changed:
        return []
    return [
        f"D sees real images and fakes through {', '.join(changed)}, pixels in [-1, 1]. D(x), "
        "D(G(z)) and the losses are of what it sees, so near chance fakes may still be told from "
        "real images as they are."
    ]


def failures_in_words(found: Sequence[Finding]) -> str:
    """The failures that a run shows at its end, by name, and those that are open."""
    short = [each.name for each in found if each.share is None]
    if found and len(short) == len(found):
        return "these cannot be told, because the run has too few intervals"
    words = [", ".join(each.name for each in found if each.holds) or "none of those looked for"]
    if short:
        words.append(f"too few intervals to tell {', '.join(short)}")
    undecided = [each.name for each in found if each.holds is None and each.name not in short]
    if undecided:
        words.append(f"the numbers leave open, as the table has it: {', '.join(undecided)}")
    return "; ".join(words)


def pictures_by_epoch(folder: Path) -> dict[int, Path]:
    """The pictures of whole epochs in a folder, the first epoch first."""
    paths = folder.glob("epoch_*.png")
    return dict(sorted((int(path.stem.removeprefix("epoch_")), path) for path in paths))


def progress(trained: TrainedGAN) -> Section:
    """Real images once, and the images of the fixed codes from epoch to epoch."""
    images = some(trained.drawing.dataset, "train", NUM_FIXED).images
    real = 0.5 * np.asarray(trained.nets.pixels(jnp.asarray(images))) + 0.5
    figures_of = trained.drawing.folder / FIGURES
    make_folder(figures_of)
    path = figures.save_pixels(real, figures_of / "real.png")
    by_epoch = pictures_by_epoch(trained.drawing.folder / "progress")
    drawn = [*by_epoch.values()]
    chosen = {*SHOWN_EPOCHS, *[*by_epoch][-1:]}
    epochs = {epoch: path for epoch, path in by_epoch.items() if epoch in chosen}
    alt = f"{NUM_FIXED} generated images of the same codes"
    shown = [
        Figure(path, "Training images", f"{NUM_FIXED} training images", "third"),
        *(
            Figure(x, f"Epoch {num}", f"{alt} after epoch {num}", "third")
            for num, x in epochs.items()
        ),
    ]
    answer = [
        changes_in_words(drawn),
        f"The first {NUM_FIXED} training images as D sees them; then the images of the same "
        f"{NUM_FIXED} codes after epoch {', '.join(map(str, epochs))}. All epochs are in the "
        "folder `progress`.",
    ]
    return Section(
        "5.2, 5.3",
        "Fixed codes",
        answer,
        shown,
        question="How do the images of the same codes change from epoch to epoch?",
        part="pictures",
    )


def changes_in_words(sheets: Sequence[Path]) -> str:
    """How far the images of the fixed codes still move, from their sheets after every epoch."""
    if len(sheets) < 3:
        return "There are too few epochs to see the images settle."
    found = [np.asarray(Image.open(path).convert("RGB"), np.float64) for path in sheets]
    moves = [float(np.sqrt(np.mean(np.square(b - a)))) / 255 for a, b in itertools.pairwise(found)]
    num = math.ceil(len(moves) / 4)
    first, last = float(np.mean(moves[:num])), float(np.mean(moves[-num:]))
    words = "settle" if last < first / 2 else "still change about as much as at first"
    if max(moves) < STILL_PIXELS:
        words = "hardly change at all"
    of = f"the last {num} epochs" if num > 1 else "the last epoch"
    return (
        f"The images {words}: in {of} a pixel moves by {number(last, 2)} from sheet to sheet (root "
        f"mean square, of 1), in the first by {number(first, 2)}."
    )


def samples(
    drawing: Drawing, images: np.ndarray, vae: Path | None, looks: Looks, ema_decay: float
) -> Section:
    """5.1.1: the run's first samples, beside those of a VAE if there are some.

    Args:
        drawing: where the figures go.
        images: the samples.
        vae: the VAE's run folder.
        looks: of the samples beside test images.
        ema_decay: that of the generator's moving average, from which samples come; 0 without.
    """
    title = f"First {len(images)} samples: codes from N(0, I)"
    shown = [drawing.save("samples", figures.image_sheet(images), title)]
    answer = [f"The samples are {looks.in_words()}."]
    if looks.verdict == "alike":
        average = ", or its moving average of G still holds its start" if ema_decay else ""
        answer[0] += (
            f" The run is too short{average}, or G has collapsed to one image or a few of a kind."
        )
    if vae:
        others = read_samples(vae)
        title = f"First {len(others)} samples of the VAE in {vae.name}"
        shown.append(drawing.save("samples_vae", figures.image_sheet(others), title))
        answer.append(
            f"Beside them the samples of the VAE of {vae}. They are means of p(x|z), so they are "
            "smooth where the VAE is not sure."
        )
    else:
        answer.append("A VAE's samples are set beside these with `--vae RUN`.")
    answer.append(f"The samples are the first ones, in the order in which they came. {looks.rule}")
    return Section(
        "5.1.1",
        "Samples",
        answer,
        shown,
        question="What does the generator draw, and how does it compare with a VAE?",
        part="pictures",
    )


def asked_classes(trained: TrainedGAN, game: Game) -> list[Section]:
    """Samples of each class, of a conditional game."""
    if not game.learner.num_classes:
        return []
    sample = partial(jitted(game.learner.sample, static_argnums=2), trained.state)
    words = (
        "G is given the class beside the code, and D the class beside the image. The samples "
        "(5.1.1) are of classes drawn at random, each equally likely; fixed codes (5.2, 5.3) and "
        "the samples that are measured take all classes in turn; a walk (5.4.4) keeps its class."
    )
    return [class_sheet(trained.drawing, sample, words)]


def neighbours(
    trained: TrainedGAN, lines: Sequence[Mapping[str, Any]]
) -> tuple[Section, dict[str, float], Looks]:
    """5.4.2, 5.4.3: the nearest training images, and distances set against those of test images."""
    dataset, num = trained.drawing.dataset, 20
    images = trained.images(trained.codes("measured noise", NUM_MEASURED))
    distances, nearest = sample_quality.nearest(trained.as_data(images), dataset.train.images)
    tested = trained.as_generated(dataset.test.images[:NUM_MEASURED])
    of_test, _ = sample_quality.nearest(tested, dataset.train.images)
    strips = {"sample": images[:num], "nearest": dataset.train.images[nearest[:num]] / 255.0}
    title = f"The first {num} samples and their nearest training images"
    figure = trained.drawing.save("5_4_3", figures.rows_of(strips), title)
    rows = [
        [f"samples after epoch {line['epoch']:g}", number(line["sample_distance"]), "", ""]
        for line in lines
        if line["epoch"] in EARLY_EPOCHS and "sample_distance" in line
    ]
    few = len(of_test) < LEAST_FOR_PERCENT
    near = float(of_test.min() if few else np.quantile(of_test, 0.01))
    nearer = f"No test image lies nearer than {number(near)}"
    if not few:
        nearer = f"1% of test images lie nearer than {number(near)}"
    for name, values in (("samples", distances), ("test images", of_test)):
        share = float(np.mean(values < near))
        rows.append([name, number(values.mean()), number(values.min()), f"{share:.1%}"])
    columns = ["distance to the nearest training image", "mean", "least", f"below {number(near)}"]
    closer = float(np.mean(distances < near))
    looks = Looks(
        distance=float(distances.mean()) / max(float(of_test.mean()), 1e-12),
        variance=lines[-1]["sample_spread"],
        **measure_groups(trained.as_data(images), tested),
    )
    answer = [
        copies_in_words(closer, few, looks.alike),
        f"{'No quality can be read from' if looks.alike else 'Quality in'} one number: the mean "
        "distance of samples to the nearest training image is "
        f"{looks.distance:.2g} times that of test images. `python -m experiments.compare` adds the "
        "Frechet distance, precision and recall.",
        f"Euclidean distances in [0, 1]^{tested[0].size} over {NUM_MEASURED} samples and "
        f"{len(of_test):,} test images; where D sees larger images, test images are enlarged and "
        f"shrunk as the samples are. {nearer} to a training image, and {closer:.1%} of the samples "
        "do. Copies would lie near 0. In the first epoch every training image is seen once, so "
        "samples of that epoch are the least likely to be copies.",
    ]
    measured = {
        "sample_distance": float(distances.mean()),
        "test_distance": float(of_test.mean()),
        "sample_near_share": closer,
        "sample_spread": lines[-1]["sample_spread"],
    }
    found = Section(
        "5.4.2, 5.4.3",
        "Quality and memorisation",
        answer,
        [figure],
        Table(columns, rows),
        question="How good are the samples in numbers, and are they copies of training images?",
    )
    return found, measured, looks


def copies_in_words(closer: float, few: bool, alike: bool = False) -> str:
    """Whether samples look like copies, from the share nearer than 1% of test images, or than all.

    Twice the share of test images is more than chance. In samples that are `alike` there is nothing
    to look for.
    """
    if alike:
        return "Whether G copies images cannot be told, because its samples are alike."
    limit = 0.0 if few else 0.02
    if closer > limit:
        return (
            f"There may be copies: {closer:.1%} of the samples lie nearer to a training image than "
            f"{'any test image does' if few else 'all but 1% of the test images do'}."
        )
    return "Nothing speaks for copies: samples lie no nearer to training images than test images."


def walks(trained: TrainedGAN) -> Section:
    """5.4.4: images along arcs between codes, and how even the steps are."""
    ends = _lengthen(trained.codes("walks", NUM_WALKS))
    arcs = latent.spherical_path(ends, np.roll(ends, -1, axis=0), NUM_STEPS)
    images = trained.images(np.swapaxes(arcs, 0, 1))
    title = "Each row: from one code to the next along an arc, in equal angles"
    sheet = figures.image_sheet(images.reshape(-1, *images.shape[2:]), columns=NUM_STEPS)
    answer = [
        evenness(images),
        "Codes from N(0, I) are brought to the length sqrt(L), near which nearly all of them lie, "
        "so that the steps of the arcs between them are equal angles. If a walk is smooth and "
        "passes through images like those of the data, codes between two images are images too.",
    ]
    return Section(
        "5.4.4",
        "Walks",
        answer,
        [trained.drawing.save("5_4_4", sheet, title)],
        question="Does the image change smoothly on the way from one code to another?",
    )


def patterns(of_layer: saliency.FeaturesOf, images: Array) -> tuple[Array, Array]:
    """The images to which a layer's units respond most, and the guided gradients there."""
    found = saliency.strongest(of_layer, images, NUM_FILTERS)
    shown = images[found.images]
    return shown, saliency.guided_gradients(of_layer, shown, found.units)


def filters(trained: TrainedGAN) -> Section:
    """5.4.5: the patterns to which D's filters respond, by guided backpropagation."""
    images = trained.drawing.dataset.test.images[:NUM_MEASURED]
    pixels = trained.nets.pixels(jnp.asarray(images))
    variables = trained.state.discriminator.variables
    features = partial(adversarial.features, trained.nets, trained.state)
    layers = adversarial.layer_names(jax.eval_shape(features, jnp.asarray(images[:1])))
    layers, strips, flat, cores = layers[-NUM_LAYERS:], {}, 0, {}
    for layer in layers:
        of_layer = saliency.guided_features(trained.nets.discriminator, variables, layer)
        shown, gradients = map(np.asarray, jax.jit(partial(patterns, of_layer))(pixels))
        largest = np.abs(gradients).max(axis=(1, 2, 3), keepdims=True)
        flat += int((largest == 0.0).sum())
        name = f"layer {int(layer.removeprefix('layer_')) + 1}"
        strips[f"{name}, image"] = 0.5 * shown + 0.5
        energy = np.square(gradients.astype(np.float64)).sum(axis=3)
        sizes = core_sizes(energy.reshape(len(energy), -1)) / energy[0].size
        cores[name] = float(np.median(sizes))
        strips[f"{name}, guided"] = 0.5 + 0.5 * gradients / np.maximum(largest, 1e-30)
    title = "Units of D with the largest responses, and what they respond to"
    figure = trained.drawing.save("5_4_5", figures.rows_of(strips), title)
    silent = f"For {flat} of them the guided gradient is 0 everywhere. " if flat else ""
    answer = [
        extents_in_words(cores),
        f"The {NUM_FILTERS} units of each of D's last {len(layers)} hidden layers with the largest "
        f"response to any of the first {len(images)} test images: that image, and the guided "
        "gradient of the response, each on its own scale; grey is 0, lighter is positive. "
        f"{silent}`jaxgen.models.adversarial.features` has the layers' activations.",
    ]
    return Section(
        "5.4.5",
        "What D responds to",
        answer,
        [figure],
        question="Which patterns in an image do the units of D respond to?",
    )


def extents_in_words(cores: Mapping[str, float]) -> str:
    """How large the patterns are to which the layers respond, by the share of the pixels."""
    listed = ", ".join(f"{name} {share:.1%}" for name, share in cores.items())
    *_, last = cores.values()
    first = next(iter(cores.values()))
    if abs(last - first) <= 0.25 * max(first, last, 1e-12):
        found = "The units of the layers shown respond to patterns of about one size"
    elif last > first:
        found = "Later layers respond to larger patterns"
    else:
        found = "Later layers respond to smaller patterns"
    return f"{found}: half of the squared gradient lies on this part of the image: {listed}."


def arithmetic(trained: TrainedGAN) -> tuple[Section, list[Headline]]:
    """5.4.6: mean codes of the first classes, and sums with them, where there are classes.

    Returns:
        The section, and how many classes are drawn as a number of the page, where there are some.
    """
    dataset = trained.drawing.dataset
    names, title = dataset.class_names[:NUM_ROWS], "Classes drawn, and sums of codes"
    question = "Which classes does G draw, and do codes add up like words?"
    if len(names) < 2:
        none = "The images have no labels, so there are no mean codes of classes to add."
        return Section("5.4.6", title, [none], question=question), []
    codes = trained.codes("labelled noise", NUM_LABELLED)
    _, nearest = sample_quality.nearest(
        trained.as_data(trained.images(codes)), dataset.train.images
    )
    labels = np.asarray(dataset.train.labels)[nearest]
    counts = np.bincount(labels, minlength=dataset.num_classes)
    real = np.bincount(dataset.train.labels, minlength=dataset.num_classes)
    means = latent.class_means(codes, jnp.asarray(labels), len(names))
    means = jnp.where(jnp.isnan(means), 0.0, means)
    strips = {"mean": trained.images(_lengthen(means))}
    for a, b in differences(len(names)):
        sums = _lengthen(latent.analogies(means, plus=a, minus=b))
        strips[f"{names[a]} - {names[b]} + mean"] = trained.images(sums)
    caption = f"Generated from mean codes of {names[0]} to {names[-1]}, and sums with them"
    bars = figures.bars(counts[: len(names)], label="generated images", x="class", names=names)
    more = dataset.num_classes - len(names)
    shown = [
        trained.drawing.save(
            "5_4_6_classes", bars, f"Generated images by class, of {NUM_LABELLED:,}"
        ),
        trained.drawing.save("5_4_6", figures.rows_of(strips, heads=names), caption),
    ]
    answer = [
        classes_in_words(counts, real, dataset.class_names),
        f"{NUM_LABELLED:,} generated images take the label of their nearest training image; codes "
        "are averaged by label, added, and brought to the length sqrt(L) that codes have. "
        f"{f'{more} more classes are not shown. ' if more else ''}In each row of sums the cell of "
        "the class that is taken away is the other one by arithmetic; the others show whether the "
        "difference carries over. A class without images has the mean code 0, so cells and rows "
        "that use it carry no information.",
    ]
    drawn = Headline(
        "classes drawn",
        f"{int((counts > 0).sum())} of {dataset.num_classes}",
        f"among {NUM_LABELLED:,} samples, by their nearest training image",
    )
    return Section("5.4.6", title, answer, shown, question=question), [drawn]


def classes_in_words(counts: np.ndarray, real: np.ndarray, names: Sequence[str]) -> str:
    """Which classes are missing or rare among samples, against their share of training images."""
    expected = real / max(real.sum(), 1) * counts.sum()
    there = real > 0
    few = there & (counts > 0) & (counts < expected / RARE)
    missing = [names[i] for i in np.flatnonzero(there & (counts == 0)).tolist()]
    rare = [names[i] for i in np.flatnonzero(few).tolist()]

    def listed(found: Sequence[str]) -> str:
        more = len(found) - MOST_NAMED
        return ", ".join(found[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")

    if not missing and not rare:
        most, least = int(np.argmax(counts)), int(np.argmin(np.where(there, counts, counts.max())))
        return (
            f"All classes are drawn: {names[most]} most often ({counts[most]}) and {names[least]} "
            f"least ({counts[least]})."
        )
    words = [f"never drawn: {listed(missing)}"] if missing else []
    words += (
        [f"drawn less than a {ORDINAL} as often as in the data: {listed(rare)}"] if rare else []
    )
    return f"Classes are missing or rare: {'; '.join(words)}."


def differences(num_classes: int) -> Sequence[tuple[int, int]]:
    """Pairs of classes whose difference is added to all: those of the ten digits, or neighbours."""
    if num_classes == 10:
        return DIFFERENCES
    return [(label + 1, label) for label in range(min(num_classes - 1, len(DIFFERENCES)))]


def _lengthen(codes: Array) -> Array:
    """Codes [N, L] at the length sqrt(L), where nearly all codes from N(0, I) lie."""
    lengths = jnp.linalg.norm(codes, axis=-1, keepdims=True)
    return codes / jnp.maximum(lengths, 1e-6) * jnp.sqrt(codes.shape[-1])


def measure_groups(images: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """The shares of samples, and of test images, that are alike, as `Looks` has them."""
    num = min(NUM_GROUPED, len(images), len(real))
    if num < 2:
        return {"group": 0.0, "test_group": 0.0}
    found = (sample_quality.largest_group(each[:num], real[:num]) for each in (images, real))
    return dict(zip(("group", "test_group"), found, strict=True))


def shortness(looks: Looks, lines: Sequence[Mapping[str, Any]], num_steps: int) -> str:
    """Why the training is too short for a finding; empty if it is not.

    Samples that once varied and are alike now are a collapse of G, which more epochs do not mend.
    """
    collapsed = any(line.get("sample_spread", 0.0) >= SMOOTH for line in lines)
    return "" if collapsed else looks.too_short(num_steps)


class GANReport(NamedTuple):
    """A GAN whose page is written."""

    trained: TrainedGAN
    measures: dict[str, float]
    failures: list[Finding]
    page: Path


def write(
    args: GANArgs,
    session: Session,
    result: Result,
    game: Game,
    title: str,
    model: str,
    further: Sequence[Section] = (),
    absent: Sequence[Absent] = (),
) -> GANReport:
    """Measures a trained GAN and writes the files of its run."""
    state, drawing = jax.device_get(result.state), Drawing(session.dataset, session.folder)
    config = args.model
    trained = TrainedGAN(game.nets, state, drawing, config.latent_size, config.num_classes)
    images = artifacts.write_samples(args, session, game.learner, result)
    log = metrics_log.read_lines(session.folder / LOG, result.step)
    failures = gan_diagnostics.diagnose(log, config.label_smoothing)
    nearest, measures, looks = neighbours(trained, log)
    measures |= {name: log[-1][name] for name in ("d_real", "d_fake", "d_loss", "g_loss")}
    measures["s_per_iteration"] = log[-1]["train_s"] / log[-1]["step"]
    names = ("sample_distance", "test_distance", "sample_spread", "d_loss", "g_loss")
    listed = ", ".join(f"{name} {number(measures[name])}" for name in names)
    show(f"step {result.step}: {listed}; drawing the report")
    sums, drawn = arithmetic(trained)
    sections = [
        samples(drawing, images, args.vae, looks, config.ema_decay),
        *asked_classes(trained, game),
        progress(trained),
        *further,
        training(drawing, log, failures, config, args.quick),
        nearest,
        walks(trained),
        filters(trained),
        sums,
    ]
    short = shortness(looks, log, result.step)
    sections.insert(0, explore.of_gan(trained, sections))
    if short:
        sections.insert(0, too_short(short))
    numbers = [
        Headline("variance of samples' pixels", f"{looks.variance:.0%}", VARIANCE),
        *(drawn or [Headline("D(x)", number(measures["d_real"], 3), "chance is 0.5")]),
    ]
    head = with_samples(numbers, looks, 0)
    features = f"python -m experiments.compare {shlex.quote(str(session.folder))}"
    absent = [*absent, Absent("5.4.7", "Features for another task", features)]
    page = artifacts.write(
        *(args, session, result, measures, title, model, sections, head, absent),
        alike=bool(short),
    )
    return GANReport(trained, measures, failures, page)
