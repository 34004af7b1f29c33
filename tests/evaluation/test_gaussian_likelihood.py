"""Densities of Gaussian visible units: log Z, annealing and bounds against integration."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats
from support import reference
from support import reference_dbn as truth
from support import reference_gaussian as gaussian
from support.helpers import one_line
from support.reference_dbn import float32

from jaxgen.errors import SettingError
from jaxgen.evaluation import monitors
from jaxgen.evaluation.adapters import evaluated_model
from jaxgen.evaluation.adapters.nets import DENSITY
from jaxgen.evaluation.ais import ais, reverse_ais
from jaxgen.evaluation.dbn_bounds import variational_bound
from jaxgen.evaluation.likelihood import pseudo_log_likelihood, rbm_log_likelihood, rbm_log_z
from jaxgen.evaluation.model import LikelihoodBudget
from jaxgen.models import dbn, rbm

PARAMS64 = gaussian.small_rbm()
PARAMS = float32(PARAMS64)
LOG_Z = gaussian.joint(PARAMS64)[1]
BASE = jnp.array([0.3, -0.2])
KEY = jax.random.key(0)


def test_log_z_and_the_likelihood_are_those_of_the_integral() -> None:
    """The density of pixels is that of standardised ones over the product of the deviations."""
    assert rbm_log_z(PARAMS) == pytest.approx(LOG_Z, abs=1e-5)
    rows = np.array([[0.2, -1.0], [1.5, 0.4]])
    found = rbm_log_likelihood(PARAMS, rbm_log_z(PARAMS), rows)
    hidden = reference.states(3)
    sums = [special.logsumexp([-gaussian.energy(PARAMS64, v, h) for h in hidden]) for v in rows]
    expected = np.array(sums) - LOG_Z - np.log(PARAMS64["pixel_std"]).sum()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_many_hidden_units_are_not_enumerated_even_over_few_visible_ones() -> None:
    params = {"w": jnp.zeros((2, 21)), "b_visible": jnp.zeros(2), "b_hidden": jnp.zeros(21)}
    params |= {"pixel_mean": jnp.zeros(2), "pixel_std": jnp.ones(2)}
    with pytest.raises(SettingError, match="20 units on the hidden side") as error:
        rbm_log_z(params)
    one_line(error)
    with pytest.raises(SettingError, match="found Gaussian ones"):
        pseudo_log_likelihood(PARAMS, jnp.zeros((1, 2)))


def test_annealing_from_both_sides_meets_log_z() -> None:
    """Exact draws, from the enumerated mixture, start the reverse chains."""
    forward = ais(PARAMS, KEY, BASE, num_chains=200, num_temperatures=300)
    assert abs(forward.log_z - LOG_Z) < 4 * forward.standard_error < 0.2
    hidden = reference.states(3)
    table, _ = gaussian.joint(PARAMS64)
    rng = np.random.default_rng(0)
    chosen = hidden[rng.choice(8, 200, p=table.sum(axis=0) / table.sum())]
    means = PARAMS64["b_visible"] + chosen @ PARAMS64["w"].T
    start = jnp.asarray(means + rng.normal(size=means.shape), jnp.float32)
    backward = reverse_ais(PARAMS, KEY, BASE, start, num_temperatures=300)
    assert abs(backward.log_z - LOG_Z) < 4 * backward.standard_error < 0.2


def test_without_weights_every_chain_is_exact() -> None:
    """Z = (2 pi)^(V/2) prod_j (1 + exp b_j) where the base has the target's biases."""
    params = PARAMS | {"w": jnp.zeros((2, 3))}
    expected = np.log(2 * np.pi) + np.logaddexp(0.0, PARAMS64["b_hidden"]).sum()
    found = ais(params, KEY, PARAMS["b_visible"], num_chains=10, num_temperatures=200)
    np.testing.assert_allclose(found.log_z_of_chains, expected, rtol=1e-5)


def net64() -> dbn.Net:
    """Two Gaussian visible units, three and two hidden ones; the directions differ."""
    recognition, generative, top = truth.untied(2, 3, 2)
    shape = {name: PARAMS64[name] for name in ("pixel_mean", "pixel_std")}
    return dbn.Net(recognition, (generative[0] | shape,), top)


def test_bound_of_a_net_is_that_of_the_enumerated_states() -> None:
    """E_q log p(v, h1) / q(h1|v) over the eight states of h1, below log p(v)."""
    net, rows = net64(), np.array([[0.3, -0.8], [-2.0, 1.0], [1.1, 0.9]])
    hidden = reference.states(3)
    layer = net.generative[0]
    means = layer["b_visible"] + hidden @ layer["w"].T
    log_p = stats.norm.logpdf(rows[:, None], means).sum(axis=2)
    log_p += np.log(reference.joint(net.top)[0].sum(axis=1)) - np.log(layer["pixel_std"]).sum()
    up = net.recognition[0]
    q = truth.table(truth.sigmoid(rows @ up["w"] + up["b_hidden"]))
    expected = (q * (log_p - np.log(q))).sum(axis=1)
    log_z = rbm_log_z(float32(net.top))
    bound_of = jax.jit(variational_bound, static_argnums=4)
    found = bound_of(float32(net), log_z, KEY, float32(rows), 2000)
    assert (np.abs(found.bound - expected) < 5 * found.standard_error + 1e-5).all()
    assert (found.bound < special.logsumexp(log_p, axis=1)).all()


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (30, 1, 2, 1), dtype=np.uint8)


def test_an_evaluated_model_standardises_and_names_its_density() -> None:
    config = rbm.Config(num_hidden=3, visible="gaussian", num_sampling_steps=3)
    model = evaluated_model(config, (1, 2, 1), PARAMS)
    pixels = images().reshape(30, 2) / 255.0
    visible = (pixels - PARAMS64["pixel_mean"]) / PARAMS64["pixel_std"]
    (features,) = model.features.values()
    probs = truth.sigmoid(visible @ PARAMS64["w"] + PARAMS64["b_hidden"])
    np.testing.assert_allclose(features(images()), probs, atol=1e-5)
    hidden = np.eye(3)
    assert model.decode is not None
    mean = PARAMS64["pixel_mean"] + PARAMS64["pixel_std"] * (
        PARAMS64["b_visible"] + hidden @ PARAMS64["w"].T
    )
    decoded = model.decode(jnp.asarray(hidden, jnp.float32))
    np.testing.assert_allclose(decoded.reshape(3, 2), np.clip(mean, 0, 1), atol=1e-6)
    assert model.likelihoods is not None
    found = model.likelihoods(images(), LikelihoodBudget(20, 50, 2))
    assert [each.kind for each in found] == [
        f"{how}, {DENSITY}" for how in ("reverse AIS", "AIS", "exact")
    ]
    assert {each.binary for each in found} == {"none"}
    scale = np.log(PARAMS64["pixel_std"]).sum()
    sums = [
        special.logsumexp([-gaussian.energy(PARAMS64, v, h) for h in reference.states(3)])
        for v in visible
    ]
    assert found[-1].value == pytest.approx(np.mean(sums) - LOG_Z - scale, rel=1e-5)
    monitor = jax.jit(monitors.rbm_monitors, static_argnums=4)
    measured = monitor(PARAMS, KEY, images(), images(), "sample")
    assert measured["test_log_likelihood"] == pytest.approx(found[-1].value, rel=1e-5)
    assert "test_pseudo_log_likelihood" not in measured
    assert measured["free_energy_gap"] == pytest.approx(0.0, abs=1e-4)


def test_with_label_units_all_is_summed_over_the_labels() -> None:
    """The density, the class and the features of images, and log Z annealed from both sides."""
    params = gaussian.labelled_rbm()
    settings = {"hidden_sizes": (3,), "visible": "gaussian", "num_classes": 3}
    config = dbn.Config(**settings, binarize="threshold")  # type: ignore[arg-type]
    model = evaluated_model(config, (1, 2, 1), (float32(params),))
    rows = (images().reshape(30, 2) / 255.0 - params["pixel_mean"]) / params["pixel_std"]
    table = np.array(
        [
            [
                [h @ weights + bias - gaussian.energy(params, v, h) for h in reference.states(3)]
                for weights, bias in zip(params["w_labels"], params["b_labels"], strict=True)
            ]
            for v in rows
        ]
    )
    below, (_, log_z) = special.logsumexp(table, axis=(1, 2)), gaussian.labelled_joint(params)
    budget = LikelihoodBudget(num_chains=400, num_temperatures=100)
    assert model.likelihoods is not None
    reverse, forward, exact = model.likelihoods(images(), budget)
    density = below.mean() - log_z - np.log(params["pixel_std"]).sum()
    assert exact.value == pytest.approx(density, abs=1e-4)
    assert reverse.value == pytest.approx(density, abs=0.2)
    assert forward.value == pytest.approx(density, abs=0.2)
    posterior = np.exp(special.logsumexp(table, axis=2) - below[:, None])
    assert model.classify is not None
    np.testing.assert_allclose(np.exp(model.classify(images())), posterior, atol=1e-4)
    (features,) = model.features.values()
    up = np.exp(special.logsumexp(table, axis=1) - below[:, None])
    np.testing.assert_allclose(features(images()), up @ reference.states(3), atol=1e-4)
