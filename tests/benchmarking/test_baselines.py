"""The benchmark's plain Flax programs compute our iterations.

Draws differ between programs, so each comparison is made where no draw matters: saturated units,
codes without noise or without influence.
"""

import dataclasses
import importlib
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.benchmarking import baseline as benchmark_baseline
from experiments.benchmarking import cases as benchmark_cases
from experiments.benchmarking.baselines import (
    flax_adversarial,
    flax_dbm,
    flax_dcgan,
    flax_gan,
    flax_rbm,
    flax_vae,
    flax_wake_sleep,
)
from jaxgen.learner import unlabelled
from jaxgen.models import adversarial, dbm, dcgan, gan, rbm, vae, wake_sleep

KEY = jax.random.key(7)
SHAPE = (4, 3, 1)


def binary(num: int = 5) -> np.ndarray:
    """Images whose pixels are 0 or 255: binarised they are what they were."""
    shape = (num, *SHAPE)
    return 255 * np.random.default_rng(0).integers(0, 2, shape, dtype=np.uint8)


def rows(images: np.ndarray) -> jax.Array:
    """The same as units."""
    return jnp.asarray(images.reshape(len(images), -1) / np.float32(255))


def assert_close(found, expected, rtol=1e-4, atol=1e-6):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def test_rbm() -> None:
    """Weights so large that every probability is 0 or 1: CD-3 draws nothing by chance."""
    config = rbm.Config(num_hidden=6, num_gibbs_steps=3, init_scale=300.0)
    learner = rbm.learner(config, SHAPE)
    state = jax.jit(learner.init)(KEY)
    expected, _ = jax.jit(learner.step)(state, unlabelled(binary()), KEY)
    model = flax_rbm.RBM(12, 6, 300.0)
    variables = {"params": state.params}
    update = jax.jit(flax_rbm.learn, static_argnums=(0, 4, 5))
    found, _ = update(model, variables, rows(binary()), KEY, 3, config.learning_rate)
    assert_close(found["params"], expected.params)
    change = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), found["params"], state.params)
    assert change["w"] > 0.01


SHAPES_OF_NETS = [
    {"hidden_sizes": (6, 4)},
    {"hidden_sizes": (7, 6, 5), "num_classes": 3, "gibbs_phases": (3,), "num_updates": 9},
]
"""Of up-down fine-tuning: that of the lab, and another layer, labels and a k of a program."""


def with_labels(top: dict) -> dict:
    """The parameters of an RBM whose label units are its last visible units."""
    if "w_labels" not in top:
        return top
    return {
        "w": jnp.concatenate([top["w"], top["w_labels"]]),
        "b_visible": jnp.concatenate([top["b_visible"], top["b_labels"]]),
        "b_hidden": top["b_hidden"],
    }


def untied(state: wake_sleep.State) -> tuple[list, list, dict]:
    """The nets as RBMs; the biases that a direction does not have are those of the other one."""
    both = [*zip(state.recognition, state.generative, strict=True)]
    top = with_labels(state.top.params)
    return [down | up for up, down in both], [up | down for up, down in both], top


@pytest.mark.parametrize("sizes", SHAPES_OF_NETS)
def test_wake_sleep(sizes: dict) -> None:
    config = wake_sleep.Config(init_scale=1000.0, learning_rate=1.0, **sizes)
    learner = wake_sleep.learner(config, SHAPE)
    state = jax.jit(learner.init)(KEY)
    expected, _ = jax.jit(learner.step)(state, unlabelled(binary()), KEY)
    nets, nets_after = untied(state), untied(expected)
    layers = tuple(flax_rbm.RBM(*net["w"].shape, 1000.0) for net in nets[0])
    num_visible = layers[-1].num_hidden
    top = flax_rbm.RBM(num_visible, config.hidden_sizes[-1], 1000.0, config.num_classes)
    variables = (*([{"params": net} for net in nets[side]] for side in (0, 1)), {"params": nets[2]})
    update = jax.jit(flax_wake_sleep.update, static_argnums=(0, 1, 2))
    found = update(layers, top, config, variables, rows(binary()), KEY)
    for index, (up, down) in enumerate(zip(*found[:2], strict=True)):
        for name in ("w", "b_hidden"):
            assert_close(up["params"][name], nets_after[0][index][name])
        for name in ("w", "b_visible"):
            assert_close(down["params"][name], nets_after[1][index][name])
    assert_close(found[2]["params"], nets_after[2])
    assert jnp.abs(found[2]["params"]["w"] - nets[2]["w"]).max() > 0.01


@pytest.mark.parametrize("sizes", SHAPES_OF_NETS)
def test_wake_sleep_of_pytorch(sizes: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra benchmark")
    program = importlib.import_module("experiments.benchmarking.baselines.torch_wake_sleep")
    config = wake_sleep.Config(init_scale=1000.0, learning_rate=1.0, **sizes)
    learner = wake_sleep.learner(config, SHAPE)
    state = jax.jit(learner.init)(KEY)
    expected, _ = jax.jit(learner.step)(state, unlabelled(binary()), KEY)
    given, after = ([*up, *down, top] for up, down, top in map(untied, (state, expected)))
    made: list = []

    class Given(program.RBM):
        """The RBMs in the order that the program makes them, with our parameters."""

        def __init__(self, *args: object) -> None:
            super().__init__(*args)
            for name, value in given[len(made)].items():
                assert getattr(self, name).shape == value.shape
                setattr(self, name, torch.from_numpy(np.array(value)))
            made.append(self)

    monkeypatch.setattr(program, "RBM", Given)
    step = program.make_step(config, 12, lambda function: function)
    step(torch.from_numpy(np.array(rows(binary()))))
    num_below = len(config.hidden_sizes) - 1
    for index, net in enumerate(made):
        bias = "b_hidden" if index < num_below else "b_visible"
        for name in ("w", bias):
            assert_close(getattr(net, name).numpy(), np.array(after[index][name]), atol=1e-4)


def saturated_machine() -> tuple[dbm.Config, dbm.State, dbm.State]:
    """Settings of a machine that draws nothing by chance, and its state before and after a step."""
    config = dbm.Config((6, 4), num_gibbs_steps=3, num_chains=7, init_scale=1000.0)
    config = dataclasses.replace(config, learning_rate=1.0, num_mean_field_steps=2)
    learner = dbm.learner(config, SHAPE)
    state = jax.jit(learner.init)(KEY)
    expected, _ = jax.jit(learner.step)(state, unlabelled(binary()), KEY)
    for name in ("w1", "w2"):
        assert jnp.abs(expected.params[name] - state.params[name]).max() > 0.01
    return config, state, expected


def test_dbm() -> None:
    config, state, expected = saturated_machine()
    variables, chains = {"params": state.params}, jnp.split(state.chains, [12], axis=1)
    model = flax_dbm.DBM(12, config)
    found, *chains = flax_dbm.update(model, (variables, *chains), rows(binary()), KEY)
    assert_close(found["params"], expected.params, atol=1e-4)
    np.testing.assert_array_equal(jnp.concatenate(chains, axis=1), expected.chains)


def test_dbm_of_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="needs the extra benchmark")
    program = importlib.import_module("experiments.benchmarking.baselines.torch_dbm")
    config, state, expected = saturated_machine()
    machine = program.DBM(config, 12)
    visible, second = np.split(np.array(state.chains), [12], axis=1)
    for name, value in (state.params | {"visible": visible, "second": second}).items():
        assert getattr(machine, name).shape == value.shape
        setattr(machine, name, torch.from_numpy(np.array(value)))
    machine.learn(torch.from_numpy(np.array(rows(binary()))), config)
    for name, value in expected.params.items():
        assert_close(getattr(machine, name).numpy(), np.array(value), atol=1e-4)
    chains = torch.cat((machine.visible, machine.second), 1)
    np.testing.assert_array_equal(chains.numpy(), expected.chains)


def test_vae() -> None:
    """Codes whose log variance is -60 are their means."""
    config = vae.Config(hidden_sizes=(7, 6), latent_size=3, epsilon=1e-3)
    learner = vae.learner(config, SHAPE)
    state = jax.jit(learner.init)(KEY)
    last = state.params["encoder"]["dense_2"]
    last["kernel"] = last["kernel"].at[:, 3:].set(0.0)
    last["bias"] = last["bias"].at[3:].set(-60.0)
    expected, metrics = jax.jit(learner.step)(state, unlabelled(binary()), KEY)
    start = flax_vae.start(config, 12)
    assert_close(*(jax.tree.map(jnp.shape, p) for p in (start.params, state.params)))
    update = jax.jit(flax_vae.update)
    found, loss = update(start.replace(params=state.params), rows(binary()), KEY)
    np.testing.assert_allclose(loss, -metrics["objective"], rtol=1e-4)
    assert_close(found.params, expected.params, atol=1e-5)


def as_flax(params: dict) -> dict:
    """Our dense layers, in Flax's names."""
    return {f"Dense_{i}": params[f"Dense_{i}"]["dense"] for i in range(len(params))}


@pytest.mark.parametrize(("loss", "d_steps"), [("non_saturating", 1), ("minimax", 2)])
def test_gan(loss: str, d_steps: int) -> None:
    """A generator whose first weights are 0 makes one image of all codes.

    Ours takes every `d_steps`-th image for an update of D, Flax's the next five.
    """
    config = gan.Config(
        *(3, loss, d_steps),
        label_smoothing=0.1,
        generator_sizes=(5,),
        discriminator_sizes=(6, 4),
        dropout=0.0,
    )
    learner = gan.learner(config, SHAPE)
    state = jax.jit(learner.init)(KEY)
    first = state.generator.variables["params"]["Dense_0"]["dense"]
    first["kernel"] = jnp.zeros_like(first["kernel"])
    images = binary(5 * d_steps)
    expected, metrics = jax.jit(learner.step)(state, unlabelled(images), KEY)
    nets = (flax_gan.Generator(config, SHAPE), flax_gan.Discriminator(config))
    mini_batches = np.concatenate([images[turn::d_steps] for turn in range(d_steps)])
    pixels = flax_gan.prepare(jnp.asarray(mini_batches), config)
    players = flax_adversarial.start(config, nets, pixels[:1])
    ours = [player.variables["params"] for player in (state.generator, state.discriminator)]
    players = flax_adversarial.Players(
        *(
            net.replace(params=as_flax(params))
            for net, params in zip(players[:2], ours, strict=True)
        )
    )
    iteration = jax.jit(flax_adversarial.iteration, static_argnums=0)
    found, losses = iteration(config, players, pixels, KEY)
    for name, value in losses.items():
        np.testing.assert_allclose(value, metrics[name], rtol=1e-5)
    d_params = expected.discriminator.variables["params"]
    assert_close(found.discriminator.params, as_flax(d_params), atol=1e-5)
    g_params = as_flax(expected.generator.variables["params"])
    assert_close(found.generator.params["Dense_1"], g_params["Dense_1"], atol=1e-5)


def test_each_update_of_pytorchs_discriminator_takes_a_mini_batch_of_its_own() -> None:
    """Two iterations of two updates, on mini-batches of three, see each of twelve images once."""
    torch = pytest.importorskip("torch", reason="needs the extra benchmark")
    program = importlib.import_module("experiments.benchmarking.baselines.torch_adversarial")
    seen: list[np.ndarray] = []
    discriminator = torch.nn.Linear(2, 1)
    discriminator.register_forward_pre_hook(lambda _, x: seen.append(x[0].detach().numpy()))
    images = np.arange(24, dtype=np.uint8).reshape(12, 1, 2, 1)
    epoch = program.epoch_runner(
        *(lambda *_: torch.nn.Linear(2, 2), lambda *_: discriminator),
        *(lambda batch, _: batch.flatten(1).float(), images, 3, gan.Config(2, d_steps=2)),
    )
    epoch(2)
    real = [seen[index] for index in (0, 2, 5, 7)]  # before fakes of D, and those of G
    assert [len(each) for each in real] == [3] * 4
    np.testing.assert_array_equal(np.sort(np.concatenate(real)[:, 0]), images[:, 0, 0, 0])


def check_noise(seen: list, sigma: float) -> None:
    """D's three inputs, of an iteration whose images are all 0, are noise, different each time."""
    assert len(seen) == 3
    for each in seen:
        np.testing.assert_allclose(each.mean(), 0.0, atol=0.03 * sigma)
        np.testing.assert_allclose(each.std(), sigma, rtol=0.03)
    assert not sigma or not np.array_equal(seen[0], seen[1])


@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_all_that_d_sees_has_instance_noise(sigma: float) -> None:
    seen: list[np.ndarray] = []

    class Black(nn.Module):
        @nn.compact
        def __call__(self, codes: jax.Array) -> jax.Array:
            return 0.0 * nn.Dense(1000)(codes)

    class Watched(nn.Module):
        @nn.compact
        def __call__(self, images: jax.Array) -> jax.Array:
            jax.debug.callback(lambda each: seen.append(np.array(each)), images)
            return nn.Dense(1)(images)[:, 0]

    config, real = gan.Config(2, instance_noise=sigma, fresh_noise=False), jnp.zeros((20, 1000))
    players = flax_adversarial.start(config, (Black(), Watched()), real[:1])
    jax.effects_barrier()
    seen.clear()
    flax_adversarial.iteration(config, players, real, KEY)
    jax.effects_barrier()
    check_noise(seen, sigma)


@pytest.mark.parametrize("sigma", [0.0, 0.5])
def test_all_that_pytorchs_d_sees_has_instance_noise(sigma: float) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra benchmark")
    program = importlib.import_module("experiments.benchmarking.baselines.torch_adversarial")
    seen: list[np.ndarray] = []
    generator, discriminator = torch.nn.Linear(2, 1000), torch.nn.Linear(1000, 1)
    generator.register_forward_hook(lambda _, __, output: 0.0 * output)
    discriminator.register_forward_pre_hook(lambda _, x: seen.append(x[0].detach().numpy()))
    config = gan.Config(2, instance_noise=sigma, fresh_noise=False)
    torch.manual_seed(0)
    step = program.iteration(generator, discriminator, config, 20, "cpu", "float32")
    step(torch.zeros(20, 1000))
    check_noise(seen, sigma)


def as_flax_net(params: dict, transposed: bool) -> dict:
    """Our convolutions' and norms' parameters, in Flax's names and layouts."""
    kind, found = "ConvTranspose" if transposed else "Conv", {}
    for name, layer in params.items():
        index = int(name.partition("_")[2]) if "_" in name else 0
        if name.startswith("norm"):
            found[f"BatchNorm_{index - (0 if transposed else 1)}"] = layer
        elif transposed:
            kernel = jnp.flip(layer["kernel"], (0, 1)).swapaxes(2, 3)
            found[f"{kind}_{index}"] = layer | {"kernel": kernel}
        else:
            found[f"{kind}_{index}"] = layer
    return found


def drawn(shapes):
    """Arrays of these shapes: weights for a net that no one has to initialise."""
    rng = np.random.default_rng(2)
    return jax.tree.map(lambda leaf: rng.normal(0.1, 0.1, leaf.shape).astype(np.float32), shapes)


@pytest.mark.parametrize(("side", "native", "spread"), [(8, False, 0.05), (28, True, 0.02)])
def test_dcgan_nets(side: int, native: bool, spread: float) -> None:
    """Both nets map the same inputs to the same outputs, normalised by the batch they come in."""
    config, shape = dcgan.Config(width=1 / 32, native_size=native), (side, side, 1)
    images = np.random.default_rng(1).integers(0, 256, (6, *shape), dtype=np.uint8)
    real = flax_dcgan.prepare(jnp.asarray(images), config)
    codes = jax.random.normal(KEY, (6, config.latent_size))
    flax_nets = (flax_dcgan.Generator(config, shape), flax_dcgan.Discriminator(config))
    for index, inputs in enumerate((codes, real)):
        ours, flax_net = dcgan.nets(config, shape)[index], flax_nets[index]
        variables = drawn(jax.eval_shape(partial(ours.init, train=True), KEY, inputs))
        params = as_flax_net(variables["params"], transposed=index == 0)
        shapes = jax.eval_shape(flax_net.init, KEY, inputs)
        assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, shapes["params"])
        net = partial(ours.apply, train=True, mutable=["batch_stats"])
        expected, _ = jax.jit(net)(variables, inputs)
        flax_variables = {"params": params, "batch_stats": drawn(shapes["batch_stats"])}
        net = partial(flax_net.apply, mutable=["batch_stats"])
        found, _ = jax.jit(net)(flax_variables, inputs)
        assert np.std(expected) > spread
        np.testing.assert_allclose(jnp.ravel(found), jnp.ravel(expected), atol=2e-4)


def test_dcgan_nets_of_pytorch() -> None:
    """The images of the same codes, and the logits of the same images."""
    torch = pytest.importorskip("torch", reason="needs the extra benchmark")
    program = importlib.import_module("experiments.benchmarking.baselines.torch_dcgan")
    config, shape = dcgan.Config(width=1 / 32, native_size=True), (28, 28, 1)
    images = np.random.default_rng(1).integers(0, 256, (6, *shape), dtype=np.uint8)
    of_torch = program.prepare(torch.from_numpy(images).permute(0, 3, 1, 2), config)
    real = dcgan.resize(jnp.asarray(images), native=True)
    np.testing.assert_allclose(of_torch.permute(0, 2, 3, 1).numpy(), real, atol=1e-6)
    codes = jax.random.normal(KEY, (6, config.latent_size))
    makers = (program.make_generator, program.make_discriminator)
    for index, (make, inputs) in enumerate(zip(makers, (codes, real), strict=True)):
        ours, net = dcgan.nets(config, shape)[index], make(config, shape)
        variables = drawn(jax.eval_shape(partial(ours.init, train=True), KEY, inputs))
        layers = [each for each in net if [*each.parameters()]]
        names = [f"{kind}_{i}" for i in range(4) for kind in ("conv", "norm")]
        named = [name for name in names if name in variables["params"]]
        for layer, name in zip(layers, named, strict=True):
            with torch.no_grad():
                for weight, value in of_layer(variables["params"][name]).items():
                    getattr(layer, weight).copy_(torch.from_numpy(np.array(value)))
        step = partial(ours.apply, train=True, mutable=["batch_stats"])
        expected, _ = jax.jit(step)(variables, inputs)
        given = torch.from_numpy(np.array(inputs))
        found = net(given if index == 0 else given.permute(0, 3, 1, 2)).detach()
        found = found.permute(0, 2, 3, 1) if index == 0 else found
        assert np.std(expected) > 0.02
        np.testing.assert_allclose(found.numpy().ravel(), jnp.ravel(expected), atol=2e-4)


def of_layer(params: dict) -> dict:
    """Our parameters of a convolution, transposed or not, or of a norm, as PyTorch has them."""
    if "kernel" not in params:
        return {"weight": params["scale"], "bias": params["bias"]}
    return {"weight": jnp.transpose(params["kernel"], (3, 2, 0, 1)), "bias": params["bias"]}


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_the_average_of_the_generator(decay: float) -> None:
    """After one iteration, from the same beginning, whatever the generator has learned."""
    config = gan.Config(3, generator_sizes=(5,), discriminator_sizes=(6,), ema_decay=decay)
    nets = (flax_gan.Generator(config, SHAPE), flax_gan.Discriminator(config))
    pixels = flax_gan.prepare(jnp.asarray(binary()), config)
    players = flax_adversarial.start(config, nets, pixels[:1])
    found, _ = jax.jit(flax_adversarial.iteration, static_argnums=0)(config, players, pixels, KEY)
    if not decay:
        assert found.average is None
        return
    before, after = players.generator.params, found.generator.params
    mixed = jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, before, after)
    assert_close(found.average[0], mixed)


def test_the_average_of_pytorchs_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="needs the extra benchmark")
    program = importlib.import_module("experiments.benchmarking.baselines.torch_adversarial")
    asked: list = []

    def averaging(decay: float):
        return lambda averaged, now, _: asked.append((decay, len(averaged), len(now)))

    monkeypatch.setattr(program, "get_ema_multi_avg_fn", averaging)
    nets = (
        torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)),
        torch.nn.Linear(2, 1),
    )
    step = program.iteration(*nets, gan.Config(3, ema_decay=0.9), 4, "cpu", "float32")
    step(torch.ones(4, 2))
    assert asked == [(0.9, 6, 6)]


def test_adam_of_both_programs_is_the_same() -> None:
    """The optimisers' first updates, whatever the gradients are."""
    config = dcgan.Config(width=1 / 16)
    params = {"a": jnp.array([1.0, -2.0])}
    grads = {"a": jnp.array([0.3, -1e-4])}
    ours = adversarial.optimizer(config)
    plain = optax.adam(config.learning_rate, b1=config.beta1, b2=config.beta2)
    found = plain.update(grads, plain.init(params), params)[0]
    assert_close(found, ours.update(grads, ours.init(params), params)[0])


@pytest.mark.parametrize(
    "name",
    ["dbm-small", "dbn-lab", "wake_sleep-lab", "wake_sleep-labelled", "vae-lab", "gan-small"],
)
def test_epochs_run(name: str) -> None:
    """A Flax peer takes steps on bytes, as the benchmark asks it to."""
    (case,) = benchmark_cases.cases([name])
    case = benchmark_cases.with_values(case, 10, 8, None)
    images = np.random.default_rng(0).integers(0, 256, (25, 28, 28, 1), dtype=np.uint8)
    epoch = benchmark_baseline.runner(case, "flax", images, {})
    epoch(1)
    epoch(2)
