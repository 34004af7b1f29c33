"""The words of the lab's answers, in cases that are made so that the words must change."""

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from experiments.lab import drawing, samples
from experiments.lab.dbn import fine_tuning
from experiments.lab.dbn import tasks as dbn_tasks
from experiments.lab.gan import tasks as gan_tasks
from experiments.lab.rbm import study
from experiments.lab.rbm import tasks as rbm_tasks
from experiments.lab.rbm.beside import Beside
from experiments.lab.rbm.training import RBMArgs
from experiments.lab.samples import Looks
from experiments.lab.vae import study as vae_study
from experiments.lab.vae import tasks as vae_tasks
from experiments.lab.vae.training import TrainedVAE, measured_images
from jaxgen.data import Dataset, Split
from jaxgen.evaluation import sample_quality
from jaxgen.evaluation.filters import KINDS, Filters, Kind
from jaxgen.models import vae
from jaxgen.report.page import Headline, Section

# ---- samples beside test images


@pytest.fixture(scope="module")
def blobs() -> Dataset:
    """Images in colour, not square: patterns of 0 and 1 in sixteen cells; all are different."""
    rng = np.random.default_rng(0)
    cells = rng.permutation(2**12)[:400, None] >> np.arange(12) & 1
    images = 255 * np.repeat(cells.reshape(400, 4, 3, 1).repeat(2, 1).repeat(3, 2), 3, 3)
    train, test = (images[part].astype(np.uint8) for part in (slice(300), slice(300, 400)))
    none = np.zeros(300, np.int32)
    return Dataset("blobs", Split(train, none), Split(test, none[:100]), "0" * 64)


def real(dataset: Dataset) -> np.ndarray:
    """Other images of the data's kind: test images, less a little."""
    return dataset.test.images / 255.0 * 0.9


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("real", "near the data"),
        ("one image", "alike"),
        ("one image with noise", "alike"),
        ("mostly one image", "alike"),
        ("noise", "off the data"),
        ("grey", "of little variety"),
    ],
)
def test_samples_are_what_they_were_made_to_be(kind: str, verdict: str, blobs: Dataset) -> None:
    """A single image with noise on it varies, and still is one image."""
    rng, images = np.random.default_rng(1), real(blobs)
    one = np.broadcast_to(images[3], images.shape)
    made = {
        "real": images,
        "one image": one,
        "one image with noise": np.clip(one + rng.normal(scale=0.2, size=images.shape), 0, 1),
        "mostly one image": np.where(np.arange(100).reshape(-1, 1, 1, 1) < 60, one, images),
        "noise": (rng.uniform(size=images.shape) < 0.5).astype(float),
        "grey": 0.5 + 0.75 * (images - 0.5),
    }[kind]
    looks = samples.measure(made, blobs)
    assert looks.verdict == verdict
    assert verdict.split()[-1] in looks.in_words()
    assert samples.looks_of(looks.measures("chain"), "chain") == looks


def test_the_largest_group_is_that_of_a_slow_count() -> None:
    rng = np.random.default_rng(0)
    real, found = (rng.uniform(size=(9, 2, 3, 1)) for _ in range(2))
    found[:5] = 0.1 * found[:5]
    pairs = [np.linalg.norm(real[i] - real[j]) for i in range(9) for j in range(i)]
    assert len(pairs) == 36
    half = (sorted(pairs)[17] + sorted(pairs)[18]) / 4
    near = [sum(float(np.linalg.norm(a - b)) <= half for b in found) for a in found]
    assert sample_quality.largest_group(found, real) == pytest.approx(max(near) / 9)
    assert max(near) == 5


@pytest.mark.parametrize(
    ("error", "words"), [(0.01, "keep 90%"), (0.1, "no better than"), (0.2, "no better than")]
)
def test_reconstructions_against_the_mean_image(
    error: float, words: str, monkeypatch: pytest.MonkeyPatch, blobs: Dataset
) -> None:
    monkeypatch.setattr(drawing, "mean_image_error", lambda _: 0.1)
    assert words in drawing.against_mean(error, blobs)


# ---- the RBM


def filters_of(**counts: int) -> Filters:
    """Filters of which so many are of each kind."""
    kinds: list[Kind] = [kind for kind in KINDS for _ in range(counts.get(kind, 0))]
    return Filters(kinds, np.ones(len(kinds), int), 9, np.arange(len(kinds)) % 2 == 0)


@pytest.mark.parametrize(
    ("counts", "meaning", "listed"),
    [
        ({"stroke": 5, "blob": 1, "global": 3}, "one place", "5 strokes, 1 blob and 3 global"),
        ({"stroke": 1, "global": 5}, "no one place", "1 stroke and 5 global"),
        ({"dead": 5, "blob": 2}, "learned nothing", "2 blobs and 5 dead"),
        ({"stroke": 2, "several": 2, "global": 2}, "no kind", "2 in several places"),
    ],
)
def test_filters_in_words(counts: Mapping[str, int], meaning: str, listed: str) -> None:
    found = filters_of(**counts)
    said = rbm_tasks.kinds_in_words(found)
    assert meaning in said
    assert listed in said
    rows = {row[0]: row for row in rbm_tasks.kind_table(found).rows}
    assert {"stroke", "blob", "in several places", "global", "dead"} == {*rows}
    assert int(rows["stroke"][1]) == counts.get("stroke", 0)


@pytest.mark.parametrize(
    ("never", "always", "words"),
    [
        (0.0, 0.0, "All 50 units are used"),
        (0.02, 0.0, "1 of 50 units is idle: 1 hardly ever on."),
        (0.5, 0.1, "30 of 50 units are idle: 25 hardly ever on and 5 nearly always on."),
        (0.0, 1.0, "All 50 units are idle"),
    ],
)
def test_idle_units_in_words(never: float, always: float, words: str) -> None:
    assert words in rbm_tasks.idle_in_words(never, always, 50)


@pytest.mark.parametrize(
    ("error", "epochs", "errors", "words"),
    [
        (0.3, [1, 2, 3, 4, 5], [0.3] * 5, "After 15 updates reconstructions are no better than"),
        (0.01, [1, 2, 3], [0.03, 0.02, 0.01], "measured 3 times"),
        (0.01, [1, 2, 3, 4, 5], [0.05, 0.03, 0.02, 0.012, 0.01], "fell by 17%"),
        (0.01, [1, 2, 3, 4, 5], [0.05, 0.011, 0.0101, 0.0101, 0.01], ""),
    ],
)
def test_a_training_too_short_for_a_finding(
    error: float, epochs: list[float], errors: list[float], words: str, blobs: Dataset
) -> None:
    """Its page has that in the place of a finding about CD-1, and of other models."""
    args = RBMArgs(epochs=5, batch_size=100)
    measures, place = {"test_reconstruction_error": error}, drawing.Drawing(blobs, Path())
    trained = rbm_tasks.TrainedRBM(args, {}, measures, place)
    short = rbm_tasks.too_short(trained, epochs, errors)
    assert words in short
    assert bool(short) == bool(words)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rbm_tasks, "sample_sheet", lambda *_: Section("samples", "", []))
        others = Beside(["run python"])
        found = rbm_tasks.drawn_samples(trained, np.zeros(1), FAR, others, short)
    said = " ".join(found[1].answer)
    assert ("finding about CD-1" in said) == ("run python" in said) == (not words)


@pytest.mark.parametrize(
    ("up", "down", "words"),
    [
        (0.5, 0.3, "the recognition weights further"),
        (0.3, 0.5, "the generative"),
        (0.1, 0.095, "both"),
    ],
)
def test_which_weights_fine_tuning_moves_further(up: float, down: float, words: str) -> None:
    assert words in fine_tuning.further_in_words(up, down)


def test_error_curves_are_sentences() -> None:
    """For one name and for several; the last quarter of five epochs begins after the fourth."""
    epochs = [1.0, 2.0, 3.0, 4.0, 5.0]
    falls, still = [0.3, 0.2, 0.15, 0.1, 0.05], [0.3, 0.2, 0.1, 0.1, 0.101]
    assert drawing.curves_in_words({"machine": (epochs, falls)}) == (
        "The error still falls in the last quarter of the epochs (-50.0%): it went from 0.3 after "
        "epoch 1 to 0.05 after epoch 5."
    )
    rises = [0.3, 0.1, 0.08, 0.1, 0.1]
    assert drawing.curves_in_words({"machine": (epochs, rises)}) == (
        "The error ends 25.0% above its least, 0.08 after epoch 3: it went from 0.3 after epoch 1 "
        "to 0.1 after epoch 5."
    )
    assert drawing.curves_in_words({"test": (epochs[:1], falls[:1])}) == (
        "The error has too few measures to show whether it still falls: it was 0.3 after epoch 1."
    )
    several = {"layer 1": (epochs, still), "layer 2": (epochs[:2], falls[:2]), "top": ([], [])}
    assert drawing.curves_in_words(several) == (
        "The error of layer 1 has settled in the last quarter of the epochs (+1.0%): it went from "
        "0.3 after epoch 1 to 0.101 after epoch 5. The error of layer 2 has too few measures to "
        "show whether it still falls: it went from 0.3 after epoch 1 to 0.2 after epoch 2. The "
        "error of top is not in the log."
    )


def test_chains_that_forget_and_chains_that_do_not() -> None:
    rng = np.random.default_rng(0)
    tenth, single = rng.normal(0.5, 0.02, (2, 10))
    assert "forget" in rbm_tasks.forgets(9, tenth, single)
    assert "still shows" in rbm_tasks.forgets(9, tenth + 0.2, single)


def test_parallel_tempering_that_mixed_and_that_did_not() -> None:
    assert rbm_tasks.came_through(2.5, 0.3, 1000).endswith("left the states that they began in.")
    words = rbm_tasks.came_through(0.2, 0.01, 50)
    assert "0.2 states came from beta = 0" in words
    assert "in 50 steps; neighbours changed places in at least 1% of the attempts." in words
    assert "--num-temperatures" in words
    assert "--num-sampling-steps" in rbm_tasks.came_through(0.2, 0.4, 50)


NEAR, ALIKE, FAR = (
    Looks(1.0, 0.9, 0.05, 0.05),
    Looks(1.0, 0.3, 0.8, 0.05),
    Looks(1.6, 0.9, 0.05, 0.05),
)


@pytest.mark.parametrize(
    ("looks", "first", "value"),
    [
        (NEAR, "error", "0.1"),
        (ALIKE, "samples that are alike", "80%"),
        (Looks(0.79, 0.0, 1.0, 0.05), "samples that are alike", "100%"),
        (Looks(0.79, 0.0, 0.0, 0.0), "samples that are alike", "-"),  # one sample
    ],
)
def test_samples_that_are_alike_come_first(looks: Looks, first: str, value: str) -> None:
    """Their distance to the data would read as success."""
    head = drawing.with_samples([Headline("error", "0.1"), Headline("use", "1")], looks, 1)
    assert (head[0].label, head[0].value) == (first, value)
    distances = [index for index, each in enumerate(head) if "distance" in each.label]
    assert distances == ([1] if looks == NEAR else [])
    assert len(head) == 3


def variant(error: float, drift: float, looks: Looks) -> dict[str, float]:
    """Measures of a variant of the study."""
    return {"test_reconstruction_error": error, "drift": drift, **looks.measures("chain")}


def test_the_smallest_drift_is_no_mark_where_chains_end_alike() -> None:
    """The least drift is that of k = 10: it counts only while its chains stay apart."""
    rows = {"lab": variant(0.0100, 16, NEAR), "k = 10": variant(0.0101, 3, NEAR)}
    assert "Taken together k = 10 does best" in study.weigh(rows)
    assert "all chains are near the data" in study.chains_in_words(rows)[0]
    rows["k = 10"] = variant(0.0101, 3, ALIKE)
    assert "Taken together lab does best" in study.weigh(rows)
    found, drift = study.chains_in_words(rows)
    assert "those of k = 10 end alike" in found
    assert "The drift of k = 10 is nearest to zero (3 nats), but that is no mark" in drift
    assert "80% of them lie near one image" in drift
    rows["lab"] = variant(0.0100, 16, FAR)
    assert study.weigh(rows).startswith("No chains end near the data")
    rows = {"lab": variant(0.0100, 16, FAR), "k = 10": variant(0.0130, 3, NEAR)}
    assert "No one is best in everything" in study.weigh(rows)


def test_errors_within_the_spread_of_seeds_are_called_that() -> None:
    rows = {name: variant(error, 0, NEAR) for name, error in (("a", 0.0100), ("b", 0.0105))}
    assert "All reconstruct alike: their errors differ by less than seeds do" in (
        study.errors_in_words(rows)
    )
    rows |= {"c": variant(0.0120, 0, NEAR)}
    said = study.errors_in_words(rows)
    assert "a reconstructs best (0.01), and b alike within the spread of seeds" in said
    assert "worse is c by 20%" in said


@pytest.mark.parametrize(("error", "words"), [(0.0102, "hardly differ"), (0.012, "The two differ")])
def test_the_effect_of_grey_input(error: float, words: str) -> None:
    rows = {name: {"mean_abs_weight": 0.3, "drift": 0.0} for name in ("lab", study.GREY)}
    rows["lab"]["test_reconstruction_error"] = 0.01
    rows[study.GREY]["test_reconstruction_error"] = error
    assert words in study.effect_of_grey(rows)


def test_an_exact_likelihood_is_at_the_top_of_the_page(blobs: Dataset) -> None:
    used = {"test_reconstruction_error": 0.01, "never_on": 0.125, "always_on": 0.125}
    place = drawing.Drawing(blobs, Path())

    def second(measures: dict[str, float]) -> tuple[str, str]:
        trained = rbm_tasks.TrainedRBM(RBMArgs(), {}, measures, place)
        title, value, _ = rbm_tasks.headline(trained, NEAR)[1]
        return title, value

    assert second(used) == ("hidden units in use", "75%")
    exact = used | {"test_log_likelihood": -140.43}
    assert second(exact) == ("log likelihood of test images", "-140.4 nats")


# ---- the DBN


def test_what_a_second_layer_costs() -> None:
    errors = {"RBM": 0.0100, "DBN": 0.0150, "fine-tuned DBN": 0.0101}
    said = dbn_tasks.cost_in_words(errors)
    assert "The DBN loses more detail than the RBM: its error is 50% higher" in said
    assert "the fine-tuned DBN and the RBM reconstruct alike, within the spread of seeds" in said
    assert "less detail" in dbn_tasks.cost_in_words({"RBM": 0.02, "DBN": 0.01})


@pytest.mark.parametrize(
    ("looks", "words"),
    [
        ((NEAR, NEAR), "All samples here"),
        ((FAR, NEAR), "only those of the DBN are near"),
        ((FAR, ALIKE), "No samples here"),
    ],
)
def test_generated_images_in_words(looks: tuple[Looks, Looks], words: str) -> None:
    measures = {
        name: each.measures("samples") for name, each in zip(("RBM", "DBN"), looks, strict=True)
    }
    assert words in dbn_tasks.generation_in_words(measures, 1.0)[0]


# ---- the VAE


@pytest.mark.parametrize(
    ("elbos", "words"),
    [
        ([-9.0, -5.0], "too seldom"),
        (
            [-200.0, -150.0, -120.0, -110.0],
            "still rises: in the last quarter of the training by 10 nats",
        ),
        ([-200.0, -120.0, -110.2, -110.0], "has settled"),
        ([-200.0, -100.0, -101.0, -104.0], "4 nats below its best, that after epoch 2: the model"),
        ([-200.0, -120.0, -110.0, -90.0, -109.0], "19 nats below its best, which is in the last"),
    ],
)
def test_whether_a_bound_still_rises(elbos: list[float], words: str) -> None:
    epochs = [*range(1, len(elbos) + 1)]
    assert words in vae_tasks.progress_in_words(epochs, elbos)
    assert vae_tasks.overfits(elbos) == ("the model" in words)


def test_why_a_test_bound_stands_above_that_of_training(blobs: Dataset) -> None:
    """Its images are easier, or the curve of training lags; only a measure alike tells which."""
    nets = vae.nets(vae.Config(hidden_sizes=(2,), latent_size=2), blobs.image_shape)
    params = jax.jit(vae.learner(nets.config, blobs.image_shape).init)(jax.random.key(0)).params
    test, none = measured_images(nets, blobs), np.zeros(0)

    def said(found: float, last: float) -> list[str]:
        measures, place = {"test_elbo": found}, drawing.Drawing(blobs, Path())
        trained = TrainedVAE(nets, params, measures, place, test, none, none)
        return vae_tasks.above_in_words(trained, [last])

    assert said(-2.0, -1.0) == []
    (easier,), (lags,) = said(-1.0, -2.0), said(-1e6, -2e6)
    assert "easier" in easier
    assert "mean over the updates" in lags
    assert re.findall(r"-[\d.,]+\d", easier) == re.findall(r"-[\d.,]+\d", lags)  # of 100 images


@pytest.mark.parametrize(
    ("active", "words"),
    [
        ([1, 1, 1], "All latent variables are used"),
        ([1, 0, 0], "2 of 3"),
        ([0, 0, 0], "All latent"),
    ],
)
def test_dead_variables_in_words(active: list[int], words: str) -> None:
    said = vae_tasks.use_in_words(np.array(active, bool), np.array([5.0, 1.0, 1.0]) * active)
    assert words in said
    assert ("draws the same" in said) == (not any(active))
    rest = "them" if all(active) else "the others"
    assert (f"half of the information lies in 1 of {rest}" in said) == any(active)


@pytest.mark.parametrize(
    ("two", "whole", "words"),
    [
        (None, None, "no labels"),
        (0.3, 0.95, "keep to themselves, in the two that are drawn less so"),
        (0.4, 0.42, "overlap, in the two that are drawn hardly less"),
        (0.1, 0.11, "are not told apart"),
    ],
)
def test_classes_in_the_latent_space(two: float | None, whole: float | None, words: str) -> None:
    assert words in vae_tasks.classes_in_words(100, two, whole, chance=0.1, plane=False)
    plane = vae_tasks.classes_in_words(100, whole, whole, chance=0.1, plane=True)
    assert ("In the plane" in plane) == (whole is not None)


def test_chance_of_one_class_is_of_pairs_of_two_images() -> None:
    labels = np.array([0, 2, 0, 5, 0])
    pairs = [a == b for a, b in itertools.combinations(labels, 2)]
    assert vae_tasks.chance_of_label(labels) == pytest.approx(np.mean(pairs))
    assert np.isnan(vae_tasks.chance_of_label(labels[:1]))


def test_a_few_images_show_nothing_about_classes() -> None:
    said = vae_tasks.classes_in_words(5, 0.2, 0.2, chance=0.5, plane=True)
    assert said == "5 test images are too few to see whether the classes keep apart."


def test_bounds_within_their_errors_are_not_told_apart() -> None:
    assert "cannot be told apart" in vae_study.sizes_in_words(0.5, (0.3, 0.4), 2, 20)
    assert "20 latent variables bound" in vae_study.sizes_in_words(5.0, (0.3, 0.4), 2, 20)
    assert "nats per image lower than 2" in vae_study.sizes_in_words(-5.0, (0.3, 0.4), 2, 20)


# ---- the GANs


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ([30, 40, 30], "All classes are drawn: b b most often (40) and a least (30)."),
        ([100, 0, 0], "never drawn: b b, c"),
        ([90, 5, 5], "drawn less than a quarter as often as in the data: b b, c"),
        ([99, 1, 0], "never drawn: c; drawn less than a quarter"),
    ],
)
def test_classes_that_are_missing_are_named(counts: list[int], words: str) -> None:
    real = np.array([50, 50, 50])
    assert words in gan_tasks.classes_in_words(np.array(counts), real, ("a", "b b", "c"))


def test_many_missing_classes_are_counted() -> None:
    names = [f"n{i}" for i in range(30)]
    said = gan_tasks.classes_in_words(np.eye(30, dtype=int)[0] * 99, np.ones(30), names)
    assert "n1, n2, n3, n4, n5 and 24 more" in said


@pytest.mark.parametrize(
    ("closer", "few", "words"),
    [(0.01, False, "Nothing speaks"), (0.3, False, "may be copies"), (0.01, True, "may be copies")],
)
def test_copies_in_words(closer: float, few: bool, words: str) -> None:
    assert words in gan_tasks.copies_in_words(closer, few)
    assert "cannot be told" in gan_tasks.copies_in_words(closer, few, alike=True)


@pytest.mark.parametrize(("spreads", "short"), [((7e-5, 7e-5), True), ((0.9, 7e-5), False)])
def test_a_game_of_few_updates_is_no_collapse(spreads: tuple[float, ...], short: bool) -> None:
    lines = [{"sample_spread": spread} for spread in spreads]
    found = gan_tasks.shortness(Looks(0.79, 7e-5, 1.0, 0.05), lines, 42)
    assert ("After 42 updates the samples are all alike" in found) == bool(found) == short
    assert not gan_tasks.shortness(NEAR, lines, 42)


@pytest.mark.parametrize(
    ("cores", "words"),
    [
        ({"layer 1": 0.02, "layer 2": 0.1}, "larger patterns"),
        ({"layer 1": 0.1, "layer 2": 0.02}, "smaller patterns"),
        ({"layer 1": 0.1, "layer 2": 0.11}, "about one size"),
        ({"layer 1": 0.1}, "about one size"),
    ],
)
def test_extents_in_words(cores: Mapping[str, float], words: str) -> None:
    assert words in gan_tasks.extents_in_words(cores)


def test_fixed_codes_that_settle(tmp_path: Path) -> None:
    shades = {"settles": (0, 200, 201), "moves": (0, 100, 200), "still": (0, 1, 2)}
    for name, values in shades.items():
        sheets = []
        for epoch, value in enumerate(values):
            sheets.append(tmp_path / f"{name}{epoch}.png")
            Image.fromarray(np.full((4, 4), value, np.uint8)).save(sheets[-1])
        said = gan_tasks.changes_in_words(sheets)
        assert ("images settle" in said) == (name == "settles")
        assert ("hardly change" in said) == (name == "still")
        assert "too few epochs" in gan_tasks.changes_in_words(sheets[:2])
