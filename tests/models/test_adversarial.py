"""The iteration of two tiny nets: what is updated, by which gradient, on which images."""

import dataclasses
import functools
import itertools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.helpers import one_line, same

from jaxgen.errors import SettingError
from jaxgen.learner import Batch, named_key, unlabelled
from jaxgen.models import adversarial
from jaxgen.models.adversarial import Nets, Training
from jaxgen.nn import augment
from jaxgen.nn.layers import BatchNorm

SHAPE = (2, 3, 1)
PLAIN = Training(latent_size=3, learning_rate=0.01, beta1=0.5, beta2=0.9)
MANY = dataclasses.replace(PLAIN, d_steps=2, g_steps=2, label_smoothing=0.1, loss="minimax")
FRESH = dataclasses.replace(PLAIN, fresh_noise=True, ema_decay=0.7)
AUGMENTED = dataclasses.replace(PLAIN, augment=("cutout",))
NOISY = dataclasses.replace(AUGMENTED, instance_noise=0.5)


class Generator(nn.Module):
    """A net with batch normalisation."""

    @nn.compact
    def __call__(self, codes, train):
        """Codes to images."""
        x = nn.leaky_relu(
            BatchNorm(nn.initializers.ones)(nn.Dense(5, use_bias=False)(codes), train)
        )
        return jnp.tanh(nn.Dense(6)(x)).reshape(-1, *SHAPE)


class Discriminator(nn.Module):
    """A net with batch normalisation and dropout."""

    @nn.compact
    def __call__(self, pixels, train):
        """Images to logits."""
        x = BatchNorm(nn.initializers.ones)(
            nn.Dense(5, use_bias=False)(pixels.reshape(-1, 6)), train
        )
        x = nn.Dropout(0.3, deterministic=not train)(nn.leaky_relu(x, 0.2))
        return nn.Dense(1)(x)[:, 0]


class Table(nn.Module):
    """A net with one weight for each of three pixels."""

    @nn.compact
    def __call__(self, pixels, train):
        """Images to logits; the same in training."""
        del train
        return nn.Dense(1)(pixels.reshape(-1, 3))[:, 0]


NETS = Nets(Generator(), Discriminator(), adversarial.rescale)


def batch(num=7):
    return np.random.default_rng(0).integers(0, 256, (num, *SHAPE), dtype=np.uint8)


def close(found, expected, rtol=1e-5, atol=1e-6):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), found, expected
    )


@functools.cache
def start(config=PLAIN):
    """The same players for every setting."""
    state = jax.jit(adversarial.adversarial(PLAIN, NETS, SHAPE).init)(jax.random.key(0))
    return state._replace(average=state.generator.variables) if config.ema_decay else state


@functools.cache
def recording(config):
    """The compiled step with what went into and came out of each part, and the parts' names.

    The parts are functions of `jaxgen.models.adversarial`, wrapped while the step is traced.
    """
    names = ("generate", "discriminator_update", "generator_update")
    originals = {name: getattr(adversarial, name) for name in names}
    order = []

    def traced(state, images, key):
        calls = []

        def wrapper(name):
            def call(config, nets, *args, **labels):
                out = originals[name](config, nets, *args, **labels)
                calls.append((args, out))
                order.append(name)
                return out

            return call

        with pytest.MonkeyPatch.context() as patch:
            for name in names:
                patch.setattr(adversarial, name, wrapper(name))
            result = adversarial.step(config, NETS, state, unlabelled(images), key)
        return result, calls

    return jax.jit(traced), order


def step(config, state, seed=1):
    """State and metrics after one iteration."""
    return recording(config)[0](state, batch(7 * config.d_steps), jax.random.key(seed))[0]


@functools.cache
def recorded(config):
    """The first iteration: its result, and the name, arguments and result of every part."""
    traced, order = recording(config)
    result, calls = traced(start(config), batch(7 * config.d_steps), jax.random.key(1))
    return result, list(zip(order, calls, strict=True))


def parts(config, name):
    """The arguments and results of every call of one part in `recorded`."""
    return [call for called, call in recorded(config)[1] if called == name]


# ---- the order of things

D_TURN, G_TURN = "discriminator_update", "generator_update"


@pytest.mark.parametrize(
    ("config", "order"),
    [
        (PLAIN, ["generate", D_TURN, G_TURN]),
        (FRESH, ["generate", D_TURN, "generate", G_TURN]),
        (MANY, ["generate", D_TURN, "generate", D_TURN, G_TURN, "generate", G_TURN]),
    ],
    ids=["plain", "fresh", "many"],
)
def test_an_iteration(config: Any, order: Any) -> None:
    """Every update starts from the one before it, on the images that it should see."""
    (state, metrics), calls = recorded(config)
    assert [name for name, _ in calls] == order
    generator, discriminator = start(config)[:2]
    keys, drawn, told = [], [], {}
    images, num_seen = batch(7 * config.d_steps), 0
    for name, (args, out) in calls:
        keys.append(jax.random.key_data(args[-1]).tobytes())
        if name == "generate":
            assert same(args[0], generator)
            assert args[1] == 7
            drawn.append(out.pixels)
            generator = generator._replace(variables=generator.variables | out.stats)
        elif name == D_TURN:
            before, real, fake = args[:3]
            assert same(before, discriminator)
            mini_batch = images[num_seen :: config.d_steps]
            np.testing.assert_allclose(real, mini_batch / 127.5 - 1, atol=1e-6)
            num_seen += 1
            assert same(fake, drawn[-1])
            discriminator = out[0]
            told |= out[1]
        else:
            before, fakes = args[:2]
            assert same((before.generator, before.discriminator), (generator, discriminator))
            assert same(fakes.pixels, drawn[-1])
            generator, discriminator = out[0][:2]
            told |= out[1]
    assert same((state.generator, state.discriminator), (generator, discriminator))
    assert state.step == 1
    assert metrics.keys() == told.keys() | {"spread"}
    assert all(same(metrics[name], value) for name, value in told.items())
    assert len(set(keys)) == len(keys)
    assert not any(np.allclose(a, b) for a, b in itertools.combinations(drawn, 2))


def test_fresh_noise_changes_the_generators_update_alone() -> None:
    (plain, told), (fresh, told_fresh) = (recorded(config)[0] for config in (PLAIN, FRESH))
    close(fresh.discriminator.opt_state, plain.discriminator.opt_state)
    close(fresh.discriminator.variables["params"], plain.discriminator.variables["params"])
    np.testing.assert_allclose(told_fresh["d_loss"], told["d_loss"], rtol=1e-5)
    assert abs(told_fresh["g_loss"] - told["g_loss"]) > 1e-3
    moved = [first_gradient(state.generator)["Dense_1"]["kernel"] for state in (plain, fresh)]
    assert not np.isclose(*moved).any()


def test_each_update_leaves_the_other_player() -> None:
    """D's update leaves G as it is after its pass; G's moves D's statistics, and no more of D."""
    (state, *_), (after, _) = parts(PLAIN, G_TURN)[0]
    assert same(state.generator.opt_state, start().generator.opt_state)
    params, statistics = (
        [player.variables[name] for player in (state.generator, start().generator)]
        for name in ("params", "batch_stats")
    )
    assert same(*params)
    assert not same(*statistics)
    assert not same(
        state.discriminator.variables["params"], start().discriminator.variables["params"]
    )
    before, behind = state.discriminator, after.discriminator
    assert same(before.opt_state, behind.opt_state)
    assert same(before.variables["params"], behind.variables["params"])
    moved = jax.tree.map(np.equal, before.variables, behind.variables)["batch_stats"]
    assert not any(x.any() for x in jax.tree.leaves(moved))
    assert not same(after.generator.variables["params"], start().generator.variables["params"])


# ---- gradients


def logits_of(config, variables, pixels, key):
    """D's logits in training, and its statistics after them, by the module itself."""
    for policy in config.augment:
        pixels = augment.TRANSFORMS[policy](named_key(key, policy), pixels)
    noise = jax.random.normal(named_key(key, "instance_noise"), pixels.shape)
    pixels = pixels + config.instance_noise * noise
    found, updated = Discriminator().apply(
        variables, pixels, train=True, rngs={"dropout": key}, mutable=["batch_stats"]
    )
    return found, variables | updated


def first_gradient(player):
    """The gradient of the first update, from Adam's first moment: (1 - beta1) g."""
    return jax.tree.map(lambda m: 2.0 * m, player.opt_state.inner_state[0].mu)


@pytest.mark.parametrize(
    ("config", "smoothing"), [(PLAIN, 0.0), (MANY, 0.1), (AUGMENTED, 0.0), (NOISY, 0.0)]
)
def test_gradient_of_the_discriminator(config: Any, smoothing: float) -> None:
    """Cross entropies written by optax; real images and fakes pass one after the other."""
    (before, real, fake, key), (after, metrics) = parts(config, D_TURN)[0]
    keys = jax.random.split(key)

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss(params):
        on_real, variables = logits_of(config, before.variables | {"params": params}, real, keys[0])
        on_fake, variables = logits_of(config, variables, fake, keys[1])
        entropy = optax.sigmoid_binary_cross_entropy
        total = entropy(on_real, 1.0 - smoothing).mean() + entropy(on_fake, 0.0).mean()
        return total, (on_real, on_fake, variables)

    (value, (on_real, on_fake, variables)), gradient = loss(before.variables["params"])
    close(first_gradient(after), gradient)
    close(after.variables["batch_stats"], variables["batch_stats"])
    expected = {"d_loss": value, "d_real": nn.sigmoid(on_real).mean()}
    close(metrics, expected | {"d_fake": nn.sigmoid(on_fake).mean()})


@pytest.mark.parametrize("config", [PLAIN, MANY, AUGMENTED, NOISY])
def test_gradient_of_the_generator(config: Any) -> None:
    """Differentiated through both nets at once, on codes and dropout of the same keys.

    With transforms of what D sees, through these too; instance noise is added behind them.
    """
    player, num, key_fakes = parts(config, "generate")[config.d_steps - 1][0]
    (state, fakes, key), (after, metrics) = parts(config, G_TURN)[0]
    codes = jax.random.normal(jax.random.split(key_fakes)[0], (num, 3))

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss(params):
        pixels, updated = Generator().apply(
            player.variables | {"params": params}, codes, train=True, mutable=["batch_stats"]
        )
        logits, variables = logits_of(config, state.discriminator.variables, pixels, key)
        probs = nn.sigmoid(logits)
        value = jnp.log(1 - probs).mean() if config is MANY else -jnp.log(probs).mean()
        return value, (pixels, updated, variables)

    (value, (pixels, updated, variables)), gradient = loss(player.variables["params"])
    close(fakes.pixels, pixels)
    close(first_gradient(after.generator), gradient)
    close(after.generator.variables["batch_stats"], updated["batch_stats"])
    close(after.discriminator.variables, variables)
    close(metrics, {"g_loss": value, "g_grad_norm": optax.tree.norm(gradient)})


def test_adam() -> None:
    """Two updates of D by the formulas of Kingma and Ba, 2015, algorithm 1."""
    state, calls = start(), []
    for seed in range(2):
        state, _ = step(PLAIN, state, seed)
        calls.append(state.discriminator)
    gradients = [first_gradient(calls[0])]
    second = [player.opt_state.inner_state[0].mu for player in calls]
    gradients.append(jax.tree.map(lambda new, old: 2.0 * (new - 0.5 * old), second[1], second[0]))
    assert calls[0].opt_state.hyperparams["learning_rate"] == np.float32(0.01)

    def moved(x, first, then):
        x, mean, square = (np.asarray(value, np.float64) for value in (x, 0 * x, 0 * x))
        for index, gradient in enumerate((first, then), start=1):
            gradient = np.asarray(gradient, np.float64)
            mean = 0.5 * mean + 0.5 * gradient
            square = 0.9 * square + 0.1 * gradient**2
            x = x - 0.01 * mean / (1 - 0.5**index) / (np.sqrt(square / (1 - 0.9**index)) + 1e-8)
        return x

    expected = jax.tree.map(moved, start().discriminator.variables["params"], *gradients)
    close(calls[1].variables["params"], expected)


def test_spread() -> None:
    """Variances over the images, averaged over pixels: of G's last fakes over the real images'."""
    for config in (PLAIN, FRESH):
        fakes = np.asarray(parts(config, "generate")[-1][1].pixels, np.float64)
        real = batch() / 127.5 - 1
        expected = fakes.var(axis=0).mean() / real.var(axis=0).mean()
        np.testing.assert_allclose(recorded(config)[0][1]["spread"], expected, rtol=1e-5)
    equal = np.repeat(batch(1), 7, axis=0)
    (_, metrics), _ = recording(PLAIN)[0](start(), equal, jax.random.key(1))
    assert np.isfinite(metrics["spread"])


# ---- the moving average, and samples


@pytest.mark.parametrize("corrected", [False, True])
def test_moving_average(corrected: bool) -> None:
    """After n iterations: decay^n of the start and (1 - decay) decay^(n - i) of state i.

    Corrected, it is the mean of the states by the weights decay^(n - i), without the start.
    """
    config = dataclasses.replace(FRESH, ema_corrected=corrected)
    state, seen = start(FRESH), []
    for seed in range(4):
        state, _ = step(config, state, seed)
        seen.append(state.generator.variables)
    weights = [0.3 * 0.7 ** (3 - index) for index in range(4)]

    def weighted(first, *others):
        if corrected:
            return np.average(others, axis=0, weights=[0.7**3, 0.7**2, 0.7, 1.0])
        return 0.7**4 * first + sum(w * x for w, x in zip(weights, others, strict=True))

    close(state.average, jax.tree.map(weighted, start().generator.variables, *seen))
    assert same(state.params["average"], state.average)
    assert step(PLAIN, start())[0].average is None
    assert start().params.keys() == {"generator", "discriminator"}


@pytest.mark.parametrize("decay", [0.995, 0.9999, 0.99999])
def test_a_corrected_average_begins_with_the_first_state(decay: float) -> None:
    """Its first weight is (1 - d) / (1 - d), also where 1 - d^1 has few digits in float32."""
    config = dataclasses.replace(FRESH, ema_decay=decay, ema_corrected=True)
    state, _ = step(config, start(FRESH))
    begin = start(FRESH).generator.variables
    for average, new, old in zip(
        *map(jax.tree.leaves, (state.average, state.generator.variables, begin)), strict=True
    ):
        off = np.abs(np.asarray(average, np.float64) - new)
        assert np.all(off <= 1e-6 * np.abs(np.asarray(new, np.float64) - old) + 3e-7)  # two ulp


def test_the_moving_average_takes_no_part_in_training() -> None:
    other = start(FRESH)._replace(
        average=jax.tree.map(lambda x: -3.0 * x, start().generator.variables)
    )
    state, metrics = step(FRESH, other)
    expected, expected_metrics = recorded(FRESH)[0]
    assert same(state[:2], expected[:2])
    assert same(metrics, expected_metrics)
    assert not same(state.average, expected.average)


def test_samples_show_the_average_in_evaluation_mode() -> None:
    state = recorded(PLAIN)[0][0]
    codes = jax.random.normal(jax.random.key(5), (4, 3))
    images_of = jax.jit(functools.partial(adversarial.images_of, NETS))
    pixels = jax.jit(functools.partial(Generator().apply, train=False))
    expected = 0.5 + 0.5 * pixels(state.generator.variables, codes)
    close(images_of(state, codes), expected)
    close(images_of(state, codes)[:2], images_of(state, codes.at[2:].set(3.0))[:2])
    averaged = state._replace(average=jax.tree.map(lambda x: 0.5 * x, state.generator.variables))
    expected = 0.5 + 0.5 * pixels(averaged.average, codes)
    close(images_of(averaged, codes), expected)
    drawn = adversarial.sample(PLAIN, NETS, state, jax.random.key(5), 4)
    close(drawn, images_of(state, codes))


def test_start() -> None:
    """Two nets that are the same module have other weights; Adam starts at zero."""
    nets = Nets(Table(), Table(), lambda images: images)
    learner = adversarial.adversarial(FRESH, nets, (3, 1, 1))
    state = jax.jit(learner.init)(jax.random.key(0))
    kernels = [player.variables["params"]["Dense_0"]["kernel"] for player in state[:2]]
    assert not np.isclose(*kernels).any()
    for player in state[:2]:
        moments = player.opt_state.inner_state[0]
        assert not any(x.any() for x in jax.tree.leaves((moments.mu, moments.nu)))
    assert same(state.average, state.generator.variables)
    assert state.step == 0


# ---- classes


class Asked(nn.Module):
    """A generator of one class's shade, a tenth of its number, and of the code's first number."""

    @nn.compact
    def __call__(self, codes, train, labels):
        """Codes to images of one row."""
        del train
        shade = self.param("shade", nn.initializers.ones, ()) * labels / 10
        return jnp.stack([shade, codes[:, 0] / 10, 0 * shade], axis=1).reshape(-1, 1, 3, 1)


class AskedDiscriminator(nn.Module):
    """A discriminator with a projection."""

    @nn.compact
    def __call__(self, pixels, train, labels=None):
        """Images to logits."""
        del train
        logits = nn.Dense(1)(pixels.reshape(-1, 3))[:, 0]
        start = nn.initializers.normal(1.0)
        more = 0.0 if labels is None else adversarial.projection(4, pixels, labels, start)
        return logits + more


CLASSES = dataclasses.replace(MANY, num_classes=4)
ASKED = adversarial.adversarial(
    CLASSES, Nets(Asked(), AskedDiscriminator(), adversarial.rescale), (1, 3, 1)
)


def test_every_update_is_shown_the_classes_of_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """D's turns have a mini-batch each; fakes have its classes, and G's turns those of the last."""
    original = adversarial.apply

    @jax.jit
    def run(state, batch, key):
        seen = []

        def noted(net, variables, inputs, key, labels=None):
            if isinstance(net, AskedDiscriminator):
                in_d_turn = len(seen) < 2 * CLASSES.d_steps
                seen.append((inputs if in_d_turn else None, labels))
            return original(net, variables, inputs, key, labels)

        monkeypatch.setattr(adversarial, "apply", noted)
        ASKED.step(state, batch, key)
        return seen

    labels = np.array([0, 3, 1, 2, 2, 1], np.int32)
    images = np.random.default_rng(0).integers(0, 256, (6, 1, 3, 1), dtype=np.uint8)
    state = jax.jit(ASKED.init)(jax.random.key(0))
    seen = run(state, Batch(images, labels), jax.random.key(1))
    first, second = labels[::2], labels[1::2]
    wanted = [first, first, second, second, second, second]  # real, fake, real, fake, G, G
    assert len(seen) == len(wanted)
    for (_, found), expected in zip(seen, wanted, strict=True):
        np.testing.assert_array_equal(found, expected)
    for turn, mini_batch in ((0, images[::2]), (2, images[1::2])):
        np.testing.assert_allclose(seen[turn][0], mini_batch / 127.5 - 1, atol=1e-6)
    for turn, classes in ((1, first), (3, second)):  # G has not moved
        np.testing.assert_allclose(seen[turn][0][:, 0, 0, 0], classes / 10, atol=1e-6)


def test_projection() -> None:
    """psi(phi) + <v_y, phi>: Miyato and Koyama, 2018, equation 4, in NumPy; psi alone without y."""
    pixels = np.random.default_rng(2).normal(size=(5, 1, 3, 1)).astype(np.float32)
    labels = np.array([3, 0, 0, 1, 3], np.int32)
    variables = jax.jit(ASKED.init)(jax.random.key(0)).discriminator.variables
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])
    phi, vectors = pixels.reshape(5, 3).astype(np.float64), params["projection"]["embedding"]
    assert vectors.shape == (4, 3)
    psi = phi @ params["Dense_0"]["kernel"][:, 0] + params["Dense_0"]["bias"]
    expected = psi + [vectors[label] @ row for label, row in zip(labels, phi, strict=True)]
    net = AskedDiscriminator()
    np.testing.assert_allclose(net.apply(variables, pixels, False, labels), expected, atol=1e-5)
    np.testing.assert_allclose(net.apply(variables, pixels, False), psi, atol=1e-5)


def test_samples_are_of_the_classes_asked_for_or_of_all_alike() -> None:
    """Classes are drawn beside the codes: these are the same whatever the classes are."""
    state, key, num = jax.jit(ASKED.init)(jax.random.key(0)), jax.random.key(5), 2000
    labels = jnp.arange(num) % 4
    asked = np.asarray(ASKED.sample(state, key, num, labels))
    np.testing.assert_allclose(asked[:, 0, 0, 0], 0.5 + labels / 20, atol=1e-6)
    drawn = np.asarray(ASKED.sample(state, key, num))
    np.testing.assert_array_equal(drawn[:, 0, 1], asked[:, 0, 1])
    counts = np.bincount(np.rint(20 * (drawn[:, 0, 0, 0] - 0.5)).astype(int), minlength=4)
    assert len(counts) == 4
    assert np.abs(counts - num / 4).max() < 5 * np.sqrt(num * 3 / 16)
    assert ASKED.num_classes == 4


# ---- theory


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_best_discriminator(smoothing: float) -> None:
    """(1 - s) p_data / (p_data + p_fake): Goodfellow et al., proposition 1; Salimans et al., 3.4.

    Three images, real ones in the shares 1/2, 1/3, 1/6 and fakes in the shares 1/3, 0, 2/3.
    """
    config = Training(latent_size=3, learning_rate=0.05, label_smoothing=smoothing)
    three = np.float32(np.eye(3)).reshape(3, 1, 3, 1)

    nets = Nets(Table(), Table(), lambda images: images)
    state = adversarial.init(config, nets, three.shape[1:], jax.random.key(0))
    real, fake = three[[0, 0, 0, 1, 1, 2]], three[[0, 0, 2, 2, 2, 2]]

    @jax.jit
    def trained(player):
        def update(_, player):
            key = jax.random.key(0)
            return adversarial.discriminator_update(config, nets, player, real, fake, key)[0]

        return jax.lax.fori_loop(0, 1500, update, player)

    player = trained(state.discriminator)
    found = nn.sigmoid(nets.discriminator.apply(player.variables, three, train=False))
    shares = [3 / 5, 1.0, 1 / 5]
    np.testing.assert_allclose(found, (1 - smoothing) * np.array(shares), atol=0.01)


# ---- settings


@pytest.mark.parametrize(
    ("flag", "settings"),
    [
        ("latent-size", {"latent_size": 0}),
        ("d-steps", {"d_steps": 0}),
        ("g-steps", {"g_steps": -1}),
        ("learning-rate", {"learning_rate": 0.0}),
        ("learning-rate", {"learning_rate": float("inf")}),
        ("learning-rate", {"learning_rate": float("nan")}),
        ("label-smoothing", {"label_smoothing": 1.0}),
        ("label-smoothing", {"label_smoothing": -0.1}),
        ("ema-decay", {"ema_decay": 1.0}),
        ("instance-noise", {"instance_noise": -0.1}),
        ("instance-noise", {"instance_noise": float("nan")}),
        ("beta1", {"beta1": 1.0}),
        ("beta2", {"beta2": -0.5}),
        ("num-classes", {"num_classes": -1}),
        ("loss one of non_saturating, minimax, found max", {"loss": "max"}),
        ("augment a tuple of names among colour, translation, cutout", {"augment": ("color",)}),
        ("augment a tuple of names among", {"augment": "colour"}),
        ("augment with each name once", {"augment": ("colour", "colour")}),
    ],
)
def test_impossible_settings(flag: str, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=f"--{flag}") as error:
        Training(**settings)
    one_line(error)
