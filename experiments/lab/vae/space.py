"""The latent space of one trained VAE in pictures: the lab's tasks 4.3 and 4.4, and walks in it."""

import jax.numpy as jnp
import numpy as np

from experiments.lab.vae.tasks import TrainedVAE
from jaxgen.evaluation import latent
from jaxgen.report import figures
from jaxgen.report.page import Section, number

NUM_EMBEDDED = 2000
"""Test images in the t-SNE map."""
DIFFERENCES = ((7, 1), (9, 4), (8, 3))
"""Digits whose mean codes' difference is added to every digit's mean code."""


def scatter(trained: TrainedVAE) -> Section:
    """4.3: test images as points in two latent variables, and for more than two a t-SNE map."""
    labels = trained.drawing.dataset.test.labels
    first, second = trained.shown
    points = np.asarray(trained.mean)[:, [first, second]]
    title = f"Posterior means of {len(points)} test images"
    figure = figures.scatter(points, labels.tolist(), title, f"latent {first}", f"latent {second}")
    paths = [trained.drawing.save("4_3", figure)]
    kl = np.asarray(trained.use.kl)
    answer = [
        f"Latent variables {first} and {second} have the largest divergence, "
        f"{number(float(kl[first]), 3)} and {number(float(kl[second]), 3)} nats. "
        f"{_same_label(points, labels, 'these two variables')}"
    ]
    if trained.config.latent_size > 2:
        from sklearn.manifold import TSNE

        num = min(NUM_EMBEDDED, len(labels))
        mapped = TSNE(random_state=0, init="pca").fit_transform(np.asarray(trained.mean[:num]))
        title = f"t-SNE of the posterior means of the first {num} test images"
        figure = figures.scatter(mapped, labels[:num].tolist(), title, "", "")
        paths.append(trained.drawing.save("4_3_tsne", figure))
        answer.append(
            f"{_same_label(np.asarray(trained.mean), labels, 'all variables')} t-SNE maps "
            "neighbourhoods; distances between its clusters and their sizes mean nothing."
        )
    return Section("4.3", "Digits in the latent space", answer, paths)


def _same_label(points: np.ndarray, labels: np.ndarray, which: str) -> str:
    """The share of points whose nearest other point has the same label, in words."""
    from sklearn.neighbors import NearestNeighbors

    num = min(NUM_EMBEDDED, len(points))
    found = NearestNeighbors(n_neighbors=2).fit(points[:num])
    nearest = found.kneighbors(points[:num], return_distance=False)[:, 1]
    share = float(np.mean(labels[nearest] == labels[:num]))
    return f"In {which} the nearest of {num} test images has the same label in {share:.0%}."


def grids(trained: TrainedVAE) -> Section:
    """4.4: images decoded from a plane of the latent space, the other variables at 0."""
    first, second = trained.shown
    paths = []
    for extent, num in ((1.5, 15), (3.0, 20)):
        codes = latent.plane(trained.config.latent_size, (first, second), extent, num)
        images = trained.images(codes.reshape(num * num, -1))
        title = f"Decoded from [-{extent:g}, {extent:g}]^2: latent {first} across, {second} up"
        sheet = figures.image_sheet(images, title, columns=num)
        paths.append(trained.drawing.save(f"4_4_grid_{num}", sheet))
    inside = np.all(np.abs(np.asarray(trained.mean)[:, [first, second]]) <= 1.5, axis=1).mean()
    rest = "" if trained.config.latent_size == 2 else " The other variables are at 0."
    answer = (
        f"Each image is decoded from the code at its place.{rest} The smaller grid covers the "
        f"posterior means of {inside:.0%} of the test images in these two variables, the larger "
        "one 99.5% of the prior."
    )
    return Section("4.4", "Decoded planes", [answer], paths)


def walks(trained: TrainedVAE) -> Section:
    """Straight lines between the codes of test images, and arithmetic on the classes' means."""
    num, labels = 10, jnp.asarray(trained.drawing.dataset.test.labels)
    ends = trained.mean[:num]
    lines = latent.linear_path(ends, jnp.roll(ends, -1, axis=0), num)
    sheet = trained.images(jnp.swapaxes(lines, 0, 1).reshape(num * num, -1))
    title = "Each row: from the code of one test image to that of the next, in equal steps"
    path = figures.image_sheet(sheet, title, columns=num)
    means = latent.class_means(trained.mean, labels, 10)
    strips = {"mean": trained.images(means)}
    for a, b in DIFFERENCES:
        strips[f"{a} - {b} + mean"] = trained.images(means[a] - means[b] + means)
    arithmetic = figures.rows_of(strips, "Decoded mean codes of 0 to 9, and sums with them")
    paths = [trained.drawing.save("walks", path), trained.drawing.save("arithmetic", arithmetic)]
    answer = (
        "The first sheet decodes the codes between those of two test images. In the second, the "
        "difference of two digits' mean codes is added to each digit's; the means are those of the "
        "test set."
    )
    return Section("walks", "Walks and sums in the latent space", [answer], paths)
