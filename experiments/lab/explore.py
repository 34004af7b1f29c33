"""The section in which a reader moves the model: in JavaScript, or along a tour of finished images.

Each function takes the other sections of its page, because their figures decide how much of the
page is left for the model's weights.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.lab.drawing import Drawing
from experiments.lab.gan.training import TrainedGAN
from experiments.lab.vae.training import TrainedVAE
from jaxgen.evaluation import latent
from jaxgen.models import adversarial, dbn, gan, vae
from jaxgen.random import Binarize
from jaxgen.report import explorer
from jaxgen.report.explorer import Decoder, Layer, Precision
from jaxgen.report.page import Section, Widget, number

NUM_DOTS = 500
"""Test images whose codes are dots in the plane."""
NUM_COMPARED = 100
"""Codes on which rounded weights are compared with the run's own."""
NUM_ENDS, NUM_STEPS, SECONDS = 8, 12, 12.0
"""Codes of a tour of finished images, steps from each to the next, and how long all take."""
HERE = "It runs in this page, in JavaScript, on the weights of this run"


def of_vae(trained: TrainedVAE, others: Sequence[Section]) -> Section:
    """The decoder at codes by hand; of convolutions, or a decoder too large, a tour."""
    room, config = _room(others), trained.config
    dataset, split = trained.drawing.dataset, trained.test.split
    if config.architecture == "dense":
        order = np.argsort(-np.asarray(trained.use.kl), kind="stable").tolist()
        known = explorer.Codes(
            trained.mean[:NUM_DOTS],
            split.labels[:NUM_DOTS],
            split.images[: min(explorer.NUM_THUMBNAILS, NUM_DOTS)],
        )
        names = (dataset.image_shape, dataset.class_names, order, room)
        net = decoder_of_vae(trained.params, trained.nets)
        if found := explorer.decoder(net, *names, known=known):
            widget, precision = found
            codes = trained.mean[:NUM_COMPARED]
            labels = split.labels[:NUM_COMPARED]
            rounded = trained._replace(params=rounded_to(precision, trained.params))
            off = trained.images(codes, labels) - rounded.images(codes, labels)
            dots = "the dots are the codes of test images"
            dots += ", coloured by class" if dataset.num_classes > 1 else ""
            question = "Drag in the plane, move a slider or take the code of a test image."
            answer = (
                f"The decoder draws E[x|z] at once. In the plane {dots}; the rings are at 1, 2 and "
                "3. Latent variables come in the order of their divergence. "
                f"{_precision(precision, off)}"
            )
            return _section(question, answer, widget)
    ends, labels = trained.mean[:NUM_ENDS], split.labels[:NUM_ENDS]
    lines = latent.linear_path(ends, jnp.roll(ends, -1, axis=0), NUM_STEPS + 1)[:-1]
    images = trained.images(jnp.swapaxes(lines, 0, 1), labels[:, None])
    words = f"the codes of the first {len(ends)} test images, in straight lines"
    return _tour(images, words, config.num_classes, room, config.architecture == "dense")


def of_gan(trained: TrainedGAN, others: Sequence[Section]) -> Section:
    """The generator at codes by hand; of convolutions, or a generator too large, a tour."""
    room, generator = _room(others), trained.nets.generator
    dataset, size = trained.drawing.dataset, trained.latent_size
    if isinstance(generator, gan.Generator):
        net = decoder_of_gan(generator, adversarial.sampler(trained.state))
        weights = np.asarray(net.layers[0].kernel)
        order = np.argsort(-np.linalg.norm(weights, axis=1), kind="stable").tolist()
        names = (dataset.image_shape, dataset.class_names, order, room)
        if found := explorer.decoder(net, *names, arc=True):
            widget, precision = found
            codes = trained.codes("explorer", NUM_COMPARED)
            state = trained.state._replace(
                average=rounded_to(precision, adversarial.sampler(trained.state))
            )
            off = trained.images(codes) - trained._replace(state=state).images(codes)
            question = "Draw a random code, drag in the plane, or walk from one code to another."
            answer = (
                "The generator draws the image at once. The plane passes through 0, the code and a "
                f"random direction; at its second ring codes have the usual length, "
                f"{math.sqrt(size):.3g}. One of the {size} latent variables alone changes little; "
                "they come in the order of the length of their weights into the first layer. "
                f"{_precision(precision, off)}"
            )
            return _section(question, answer, widget)
    ends = trained.codes("explorer", NUM_ENDS)
    arcs = latent.spherical_path(ends, jnp.roll(ends, -1, axis=0), NUM_STEPS + 1)[:-1]
    images = trained.images(jnp.swapaxes(arcs, 0, 1))
    dense = isinstance(generator, gan.Generator)
    return _tour(images, f"{NUM_ENDS} random codes, in arcs", trained.num_classes, room, dense)


def of_net(
    net: dbn.Net, drawing: Drawing, binarize: Binarize, others: Sequence[Section]
) -> Section:
    """The Gibbs chain of an RBM, a DBN or a fine-tuned one, with pixels and labels to hold."""
    dataset = drawing.dataset
    names = (dataset.image_shape, dataset.class_names, binarize, dataset.test.images)
    found = explorer.net(explorer.Net(*net), *names, _room(others))
    if not found:
        answer = (
            "The Gibbs chain runs in the pages of smaller nets: the weights of this one would make "
            f"the page larger than {explorer.PAGE_BYTES / 1e6:g} MB."
        )
        return _section("", answer, None)
    widget, precision = found
    chain = (
        "The chain draws h ~ p(h|v), then v ~ p(v|h). Held pixels, which are tinted, are put back "
        "after every step as the picture had them, so the others are drawn given these."
    )
    if net.generative:
        chain = (
            "The chain is that of the top pair, and a down pass through the generative weights "
            "shows its image. Held pixels, which are tinted, are put back into that image, and an "
            "up pass through the recognition weights takes it to the top pair again, so the others "
            "are drawn given these, as far as the up pass draws from the posterior."
        )
    words = [f"{chain} {_precision(precision)}"]
    if "b_labels" in net.top:
        words.append(
            "The label units are held at the class that is chosen, with the weights of the model, "
            "or drawn too. The bar in a "
            "class's button is its probability given the layer beside the label units, so a digit "
            "that you draw is classified as you draw it."
        )
    question = "Run the Gibbs chain, or draw a part of an image and let it fill in the rest."
    return _section(question, words, widget)


def decoder_of_vae(params: vae.Params, nets: vae.Nets) -> Decoder:
    """A dense decoder's E[x|z, y]; of a Gaussian one the means alone."""
    found, config = params["decoder"], nets.config
    num = len(config.hidden_sizes) + 1
    dense = [found[f"dense_{index}"] for index in range(num)]
    layers = [Layer(each["kernel"], each["bias"], config.activation) for each in dense[:-1]]
    kernel, bias = np.asarray(dense[-1]["kernel"]), np.asarray(dense[-1]["bias"])
    half = kernel.shape[1] // 2
    if config.likelihood == "gaussian":
        kernel, bias = kernel[:, :half], bias[:half]
    elif config.likelihood == "logistic":
        bias = bias + np.repeat([vae.FIRST_LOCATION, vae.FIRST_LOG_SCALE], half)
    outputs: dict[str, Any] = {"bernoulli": "sigmoid", "gaussian": "clip", "logistic": "logistic"}
    return Decoder(
        [*layers, Layer(kernel, bias)],
        outputs[config.likelihood],
        labels=found["label"]["embedding"] if config.num_classes else None,
        least=vae.LEAST_LOG_SCALE,
    )


def decoder_of_gan(generator: gan.Generator, variables: adversarial.Variables) -> Decoder:
    """A dense generator's images. A class's vector beside the code adds to the first layer."""
    params, config = variables["params"], generator.config
    dense = [params[f"Dense_{index}"]["dense"] for index in range(len(config.generator_sizes) + 1)]
    layers = [
        Layer(each["kernel"], each["bias"], config.generator_activation) for each in dense[:-1]
    ]
    labels = None
    if config.num_classes:
        of_code, of_class = np.split(np.asarray(layers[0].kernel), 2)
        layers[0] = layers[0]._replace(kernel=of_code)
        labels = np.asarray(params["embedding"]["embedding"]) @ of_class
    return Decoder([*layers, Layer(dense[-1]["kernel"], dense[-1]["bias"])], "tanh", labels)


def rounded_to(precision: Precision, params: Any) -> Any:
    """Parameters as float32 numbers that the precision has."""
    return jax.tree.map(lambda x: np.asarray(x).astype(precision).astype(np.float32), params)


def _room(others: Sequence[Section]) -> int:
    """Characters that the sections leave in a page of theirs."""
    return explorer.room(figure.path for section in others for figure in section.figures)


def _precision(precision: Precision, off: np.ndarray | None = None) -> str:
    """The weights of the page in words; `off` is what rounding them does to pixels."""
    if precision == "float32":
        return f"{HERE}, as they are (float32)."
    rounded = f"{HERE}, rounded to float16 so that the page stays small"
    if off is None:
        return f"{rounded}."
    most = number(float(np.abs(off).max()), 2)
    return f"{rounded}; over {len(off)} codes pixels change by {most} at most."


def _tour(images: np.ndarray, words: str, num_classes: int, room: int, dense: bool) -> Section:
    """Finished images along a closed tour, [ends, steps, H, W, C]; of a net too large if dense."""
    frames = images.reshape(-1, *images.shape[2:])
    net = "this net is too large to run" if dense else "a convolutional net does not run"
    answer = (
        f"A tour through {words}, back to the first: {len(frames)} images that were drawn when the "
        f"page was made, because {net} in it."
    )
    if num_classes:
        answer += " At each code of the tour the class changes."
    question = "Go through the codes, by hand or by itself."
    return _section(question, answer, explorer.walk(frames, SECONDS, room))


def _section(question: str, answer: str | Sequence[str], widget: Widget | None) -> Section:
    paragraphs = [answer] if isinstance(answer, str) else answer
    return Section(
        *("try it", "Try it", paragraphs), question=question, widget=widget, part="pictures"
    )
