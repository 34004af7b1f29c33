"""The DCGAN's shapes, sizes and start; two of its iterations against PyTorch."""

import dataclasses
import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from PIL import Image
from support.helpers import FIXTURES, OPTIMISED, one_line

from experiments.dcgan import PRESETS
from jaxgen.errors import SettingError
from jaxgen.learner import unlabelled
from jaxgen.models import adversarial, dcgan
from jaxgen.models.adversarial import Nets, Player, State

LAB, WIDE = (PRESETS[name].model for name in ("lab", "wide"))
COLLECTIONS = ["intermediates", "features"]
NO_NORM = dataclasses.replace(LAB, batch_norm=False)


def started(config, num_channels=1, num=2, size=64):
    """Shapes of the state and of images, of what each layer of both nets makes, by name."""
    learner = dcgan.learner(config, (size, size, num_channels))
    state = jax.eval_shape(learner.init, jax.random.key(0))
    nets = dcgan.nets(config, (size, size, num_channels))
    inputs = {
        "generator": jnp.zeros((num, config.latent_size)),
        "discriminator": jnp.zeros((num, size, size, num_channels)),
    }
    layers = {}
    for name, x in inputs.items():
        net = getattr(nets, name)
        run = partial(net.apply, train=False, capture_intermediates=True, mutable=COLLECTIONS)
        output, made = jax.eval_shape(run, state.params[name], x)
        for collection in made.values():
            for path, (value,) in flatten_dict(collection, sep=".").items():
                layers[f"{name}.{path}"] = value.shape[1:]
        del layers[f"{name}.__call__"]
        layers[name] = output.shape[1:]
    return state, layers


def counted(params):
    return sum(x.size for x in jax.tree.leaves(params))


# ---- the lab's nets, as specified


def conv_size(channels, bias=True):
    """Weights of 4x4 kernels between consecutive channels, and biases of their outputs."""
    return sum(16 * a * b + bias * b for a, b in itertools.pairwise(channels))


def expected_layers(width, channels, stem):
    """The sizes of the layers: generator from [4, 4] to [64, 64], discriminator back."""
    wide = [8 * width, 4 * width, 2 * width, width]
    sizes = [4, 8, 16, 32]
    expected = {"generator": (64, 64, channels), "discriminator": ()}
    for index, (size, num) in enumerate(zip(sizes, wide, strict=True)):
        if index > 0 or stem == "transposed":
            expected[f"generator.conv_{index}.__call__"] = (size, size, num)
            expected[f"generator.norm_{index}.__call__"] = (size, size, num)
        back = 3 - index
        expected[f"discriminator.conv_{back}.__call__"] = (size, size, num)
        expected[f"discriminator.layer_{back}"] = (size, size, num)
        if back > 0:
            expected[f"discriminator.norm_{back}.__call__"] = (size, size, num)
    expected["generator.conv_4.__call__"] = (64, 64, channels)
    if stem == "transposed":
        return expected | {"discriminator.conv_4.__call__": (1, 1, 1)}
    return expected | {
        "generator.stem.__call__": (16 * 8 * width,),
        "generator.stem.dense.__call__": (16 * 8 * width,),
        "discriminator.stem.__call__": (1,),
        "discriminator.stem.dense.__call__": (1,),
    }


@pytest.mark.parametrize("channels", [1, 3])
def test_the_lab(channels: int) -> None:
    """100-512-256-128-64-C and C-64-128-256-512-1, kernels 4x4, all with biases."""
    state, layers = started(LAB, channels)
    assert layers == expected_layers(64, channels, "transposed")
    norms = 2 * (512 + 256 + 128 + 64)
    sizes = {name: counted(variables["params"]) for name, variables in state.params.items()}
    assert sizes["generator"] == conv_size([100, 512, 256, 128, 64, channels]) + norms
    norms = 2 * (128 + 256 + 512)
    assert sizes["discriminator"] == conv_size([channels, 64, 128, 256, 512, 1]) + norms
    assert (LAB.learning_rate, LAB.beta1, LAB.beta2) == (2e-4, 0.5, 0.999)
    assert (LAB.generator_activation, LAB.fresh_noise) == ("leaky_relu", False)
    assert (PRESETS["lab"].batch_size, PRESETS["lab"].epochs) == (128, 20)


def test_wide() -> None:
    """Dense 100-1024*4*4, 1024-512-256-128-1 and 1-128-256-512-1024, dense -1; no conv biases."""
    state, layers = started(WIDE)
    assert layers == expected_layers(128, 1, "dense")
    sizes = {name: counted(variables["params"]) for name, variables in state.params.items()}
    dense = 101 * 1024 * 16
    norms = 2 * (512 + 256 + 128)
    assert sizes["generator"] == dense + conv_size([1024, 512, 256, 128, 1], bias=False) + norms
    norms = 2 * (256 + 512 + 1024)
    convs = conv_size([1, 128, 256, 512, 1024], bias=False)
    assert sizes["discriminator"] == convs + norms + 1024 * 16 + 1
    assert (WIDE.learning_rate, WIDE.beta1, WIDE.beta2) == (2e-4, 0.5, 0.999)
    assert (WIDE.generator_activation, WIDE.fresh_noise) == ("relu", True)
    preset = PRESETS["wide"]
    assert (preset.batch_size, preset.epochs, preset.log_every) == (100, 200, 100)


def test_no_batch_norm() -> None:
    state, _ = started(NO_NORM)
    for variables in (state.generator.variables, state.discriminator.variables):
        assert variables["batch_stats"] == {}
        assert [name for name in variables["params"] if "norm" in name] == []
    assert counted(state.generator.variables) == conv_size([100, 512, 256, 128, 64, 1])


@pytest.mark.parametrize(("width", "channels"), [(0.5, 32), (1 / 16, 4), (1.5, 96), (0.001, 1)])
def test_width(width: Any, channels: int) -> None:
    """A factor on the channels inside, rounded, at least 1."""
    state, layers = started(dataclasses.replace(LAB, width=width), 3)
    assert layers["discriminator.layer_0"] == (32, 32, channels)
    assert layers["generator"] == (64, 64, 3)
    widths = [max(1, round(64 * width * multiple)) for multiple in (8, 4, 2, 1)]
    size = conv_size([100, *widths, 3]) + 2 * sum(widths)
    assert counted(state.generator.variables["params"]) == size


@pytest.mark.parametrize("config", [LAB, WIDE], ids=["lab", "wide"])
def test_initial_weights(config: Any) -> None:
    """Convolutions N(0, 0.02^2), scales N(1, 0.02^2), biases 0; wide's dense layers uniform.

    Drawn by XLA's own generator, which compiles faster than JAX's.
    """
    init = jax.jit(dcgan.learner(dataclasses.replace(config, width=0.25)).init)
    state = init(jax.random.key(0, impl="rbg"))
    eighth = dcgan.channels(dataclasses.replace(config, width=0.25), 8)
    bounds = {"generator": 1 / np.sqrt(100), "discriminator": 1 / np.sqrt(16 * eighth)}
    for net, bound in bounds.items():
        for name, value in flatten_dict(state.params[net]["params"], sep=".").items():
            found, num = np.asarray(value, np.float64), value.size
            if "stem" in name:
                assert np.abs(found).max() <= bound
                assert num == 1 or np.abs(found).max() > 0.99 * bound
                assert abs(found.std() / bound * np.sqrt(3) - 1) < 5 / np.sqrt(num)
            elif name.endswith("bias"):
                assert not found.any()
            else:
                found -= float(name.endswith("scale"))
                assert abs(found.mean()) < 5 * 0.02 / np.sqrt(num), name
                assert abs(found.std() / 0.02 - 1) < 5 / np.sqrt(2 * num), name


# ---- what D is shown


def bilinear(image, size):
    """Half-pixel centres; beyond the outermost centre, the outermost pixel."""
    height, width = image.shape[:2]
    larger = np.zeros((size, size, image.shape[2]))
    for i, j in np.ndindex(size, size):
        r = min(max((i + 0.5) * height / size - 0.5, 0.0), height - 1.0)
        s = min(max((j + 0.5) * width / size - 0.5, 0.0), width - 1.0)
        top, left = int(r), int(s)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        upper = (1 - s + left) * image[top, left] + (s - left) * image[top, right]
        lower = (1 - s + left) * image[bottom, left] + (s - left) * image[bottom, right]
        larger[i, j] = (1 - r + top) * upper + (r - top) * lower
    return larger


def shrunk(image, size):
    """By Pillow, whose bilinear kernel is as much wider as the image shrinks."""
    planes = [Image.fromarray(plane) for plane in np.moveaxis(np.float32(image), 2, 0)]
    planes = [plane.resize((size, size), Image.Resampling.BILINEAR) for plane in planes]
    return np.stack([np.asarray(plane) for plane in planes], axis=2)


@pytest.mark.parametrize(
    ("shape", "size", "resized"),
    [
        ((28, 28, 1), 64, bilinear),
        ((7, 30, 3), 64, bilinear),
        ((16, 16, 3), 16, bilinear),
        ((96, 64, 1), 64, shrunk),
        ((200, 131, 3), 128, shrunk),
    ],
)
def test_resized(shape: tuple[int, int, int], size: int, resized: Any) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, *shape), dtype=np.uint8)
    found = jax.jit(dcgan.resize)(images)
    assert found.shape == (2, size, size, shape[2]) == (2, *dcgan.net_shape(shape))
    expected = [resized(image / 127.5 - 1, size) for image in images]
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize(
    ("sides", "size"),
    [
        *[((side, side), side) for side in (16, 32, 64, 128, 256)],
        *[((1, 1), 64), ((28, 28), 64), ((48, 64), 64), ((16, 32), 64), ((90, 127), 64)],
        *[((65, 65), 64), ((128, 20), 128), ((255, 255), 128), ((100, 300), 256)],
        ((4000, 4000), 256),
    ],
)
def test_image_size(sides: tuple[int, int], size: int) -> None:
    """Squares of a power of two are as they are; else the largest one that is not above."""
    assert dcgan.image_size((*sides, 3)) == size


@pytest.mark.parametrize(
    ("sides", "size"),
    [
        ((28, 28), 28),
        ((30, 30), 30),
        ((26, 26), 64),
        ((29, 29), 64),
        ((28, 30), 64),
        ((64, 64), 64),
    ],
)
def test_native_sizes(sides: tuple[int, int], size: int) -> None:
    assert dcgan.net_shape((*sides, 1), native=True) == (size, size, 1)


@pytest.mark.parametrize("stem", ["transposed", "dense"])
def test_nets_of_28_are_those_of_32_with_a_frame(stem: Any) -> None:
    """D sees two pixels of zeros on each side; G's images lack what lies there."""
    config = dcgan.Config(width=1 / 32, latent_size=3, stem=stem, native_size=True)
    small, large = (dcgan.nets(config, (side, side, 1)) for side in (28, 32))
    codes = jax.random.normal(jax.random.key(0), (4, 3))
    images = jax.random.uniform(jax.random.key(1), (4, 28, 28, 1))
    framed = jnp.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)])

    @jax.jit
    def outputs(key: Any) -> Any:
        g = large.generator.init(key, codes, train=False)
        d = large.discriminator.init(key, framed, train=False)
        return (
            (small.generator.apply(g, codes, train=True, mutable=["batch_stats"])[0]),
            (large.generator.apply(g, codes, train=True, mutable=["batch_stats"])[0]),
            (small.discriminator.apply(d, images, train=True, mutable=["batch_stats"])[0]),
            (large.discriminator.apply(d, framed, train=True, mutable=["batch_stats"])[0]),
        )

    made, larger, logits, expected = outputs(jax.random.key(2))
    assert made.shape == (4, 28, 28, 1)
    np.testing.assert_allclose(made, larger[:, 2:-2, 2:-2], atol=1e-6)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    raw = np.arange(784, dtype=np.uint8).reshape(1, 28, 28, 1)
    np.testing.assert_allclose(small.pixels(raw), raw / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("stem", ["transposed", "dense"])
@pytest.mark.parametrize(
    ("size", "multiples"),
    [
        (16, (1, 2)),
        (32, (1, 2, 4)),
        (64, (1, 2, 4, 8)),
        (128, (1, 2, 4, 8, 8)),
        (256, (1, 2, 4, 8, 8, 8)),
    ],
)
def test_layers_follow_the_size(size: int, multiples: tuple[int, ...], stem: Any) -> None:
    """From half the size to 4x4, the channels doubling up to 8 c; G is D reversed."""
    config = dataclasses.replace(LAB, stem=stem)
    _, layers = started(config, 3, size=size)
    assert layers["generator"] == (size, size, 3)
    assert layers["discriminator"] == ()
    depth = len(multiples)
    for index, multiple in enumerate(multiples):
        side = size // 2 ** (index + 1)
        assert layers[f"discriminator.layer_{index}"] == (side, side, 64 * multiple)
        back = depth - 1 - index
        if back > 0 or stem == "transposed":
            assert layers[f"generator.norm_{back}.__call__"] == (side, side, 64 * multiple)
    assert layers[f"generator.conv_{depth}.__call__"] == (size, size, 3)
    assert f"discriminator.layer_{depth}" not in layers
    assert side == 4


# ---- classes


def conditional(stem, class_code="one_hot"):
    """A net of 16x16 with classes, and its variables, every number of which is drawn."""
    config = dataclasses.replace(TINY, num_classes=3, stem=stem, class_code=class_code)
    rng = np.random.default_rng(0)
    state = jax.eval_shape(dcgan.learner(config, (16, 16, 1)).init, jax.random.key(0))
    params = jax.tree.map(lambda x: np.float32(rng.uniform(0.1, 0.6, x.shape)), state.params)
    return config, dcgan.nets(config, (16, 16, 1)), params


@pytest.mark.parametrize(
    ("stem", "class_code"),
    [("transposed", "one_hot"), ("dense", "one_hot"), ("transposed", "learned")],
)
def test_permuted_labels_permute_the_samples(stem: Any, class_code: Any) -> None:
    """Of one code; an image depends on its own label alone, in evaluation mode."""
    config, nets, params = conditional(stem, class_code)
    state = dcgan.from_params(config, (16, 16, 1), params)
    codes = jnp.tile(jax.random.normal(jax.random.key(1), (1, 6)), (5, 1))
    images_of = jax.jit(partial(adversarial.images_of, nets))
    labels, order = np.array([0, 1, 2, 1, 0]), np.array([3, 0, 4, 2, 1])
    images = np.asarray(images_of(state, codes, labels))
    np.testing.assert_allclose(images_of(state, codes, labels[order]), images[order], atol=1e-6)
    np.testing.assert_allclose(images[[0, 1]], images[[4, 3]], atol=1e-6)
    assert min(np.abs(images[a] - images[b]).max() for a, b in ((0, 1), (1, 2), (0, 2))) > 1e-3


@pytest.mark.parametrize(
    ("class_code", "more", "inputs"),
    [("one_hot", {}, 9), ("learned", {"params.embedding.embedding": (3, 6)}, 12)],
)
def test_where_the_classes_are(class_code: Any, more: dict[str, Any], inputs: int) -> None:
    """G: beside the code and in every normalisation. D: a table for its last hidden layer."""
    config, _, params = conditional("transposed", class_code)
    found = {name: flatten_dict(variables, sep=".") for name, variables in params.items()}
    plain, _ = started(dataclasses.replace(config, num_classes=0), size=16)
    before = {name: flatten_dict(variables, sep=".") for name, variables in plain.params.items()}
    assert {*found["generator"]} - {*before["generator"]} == {*more}
    assert {*found["discriminator"]} - {*before["discriminator"]} == {"params.projection.embedding"}
    changed = {
        f"{net}.{name}": x.shape
        for net, arrays in found.items()
        for name, x in arrays.items()
        if name not in before[net] or x.shape != before[net][name].shape
    }
    assert changed == {
        **{f"generator.{name}": shape for name, shape in more.items()},
        "generator.params.conv_0.kernel": (4, 4, 4, inputs),
        **{f"generator.params.norm_0.{name}": (3, 4) for name in ("scale", "bias")},
        **{f"generator.params.norm_1.{name}": (3, 2) for name in ("scale", "bias")},
        "discriminator.params.projection.embedding": (3, 4),
    }


def test_vectors_of_classes_start_small_beside_codes() -> None:
    """As large as the codes, of N(0, I), they make each class of a small set one picture."""
    config = dataclasses.replace(TINY, num_classes=50, class_code="learned")
    state = jax.jit(dcgan.learner(config, (16, 16, 1)).init)(jax.random.key(0))
    vectors = np.asarray(state.generator.variables["params"]["embedding"]["embedding"])
    assert vectors.std() == pytest.approx(0.02, rel=0.2)


# ---- two iterations of PyTorch

TINY = dcgan.Config(latent_size=6, base_width=2, learning_rate=1e-3)
ROUNDING = 8.0
"""How many times PyTorch's own rounding ours may be, its largest in a tensor."""
LEAST = 3e-7
"""Rounding that is granted to every tensor, in parts of its largest value: a few units of 2^-23."""
NOISE = {"after": 0.005, "exp_avg": 1e-5, "exp_avg_sq": 1e-11}
"""Bounds of what nothing but rounding determines: 0.005 by the fixture, moments of it near 0."""
LAYERS = {
    "generator": {"conv": [0, 3, 6, 9, 12], "norm": [1, 4, 7, 10]},
    "discriminator": {"conv": [0, 2, 5, 8, 11], "norm": [None, 3, 6, 9]},
}
"""Index in PyTorch's sequence of each of our layers."""


@pytest.fixture(scope="module")
def stored():
    """See fixtures/make_dcgan_iteration.py."""
    with np.load(FIXTURES / "dcgan_iteration.npz") as file:
        return dict(file)


def pytorch_names(net):
    """Our paths and PyTorch's names of all parameters and statistics of a net."""
    for kind, indices in LAYERS[net].items():
        leaves = [("params", "bias", "bias")]
        if kind == "conv":
            leaves.append(("params", "kernel", "weight"))
        else:
            leaves.append(("params", "scale", "weight"))
            leaves += [("batch_stats", name, f"running_{name}") for name in ("mean", "var")]
        for number, index in enumerate(indices):
            for collection, ours, theirs in leaves if index is not None else []:
                yield (collection, f"{kind}_{number}", ours), f"{index}.{theirs}"


def to_ours(array):
    """Kernels [O, I, kh, kw] become [kh, kw, I, O]."""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


def loaded(stored, net):
    """A player with PyTorch's weights at the start, of the shapes that ours should have."""
    flat = {
        path: jnp.asarray(to_ours(stored[f"{net}.before.{name}"]))
        for path, name in pytorch_names(net)
    }
    variables = unflatten_dict(flat)
    shapes = getattr(jax.eval_shape(dcgan.learner(TINY).init, jax.random.key(0)), net).variables
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, shapes)
    return Player(variables, adversarial.optimizer(TINY).init(variables["params"]))


@pytest.fixture(scope="module")
def iterations(stored):
    """States, metrics and fakes of two iterations on the fixture's images and codes."""
    plain = dcgan.nets(TINY, (64, 64, 1))
    nets = Nets(plain.generator, plain.discriminator, lambda images: images)
    learner = adversarial.adversarial(TINY, nets, (64, 64, 1))
    players = {net: loaded(stored, net) for net in LAYERS}
    state = State(**players, average=None, step=jnp.int32(0))
    original = adversarial.generate

    @partial(jax.jit, compiler_options=OPTIMISED)
    def one(state, images, codes):
        fakes = []

        def generate(*args, **labels):
            fakes.append(original(*args, **labels))
            return fakes[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(adversarial, "normal", lambda _, shape: codes.reshape(shape))
            patch.setattr(adversarial, "generate", generate)
            after, metrics = learner.step(state, unlabelled(images), jax.random.key(0))
        assert len(fakes) == 1
        return after, metrics, fakes[0].pixels

    results = []
    for images, codes in zip(stored["images"], stored["noise"], strict=True):
        results.append(one(state, images, codes))
        state = results[-1][0]
    return results


def found_by_name(iterations):
    """All that the fixture stores, by its names, in our layouts."""
    found = {}
    for number, (state, _, _) in enumerate(iterations, start=1):
        for net in LAYERS:
            player = getattr(state, net)
            adam = player.opt_state.inner_state[0]
            flat = flatten_dict(player.variables)
            mean, square = (flatten_dict({"params": tree}) for tree in (adam.mu, adam.nu))
            for path, name in pytorch_names(net):
                found[f"{net}.after_{number}.{name}"] = flat[path]
                if path[0] == "params":
                    found[f"{net}.exp_avg_{number}.{name}"] = mean[path]
                    found[f"{net}.exp_avg_sq_{number}.{name}"] = square[path]
    for name in ("d_loss", "g_loss", "d_real", "d_fake"):
        found[name] = np.stack([metrics[name] for _, metrics, _ in iterations])
    found["fakes"] = np.stack([pixels[:2] for _, _, pixels in iterations])
    return found


def test_two_iterations_equal_those_of_pytorch(stored: Any, iterations: Any) -> None:
    """Losses, fakes, weights, running statistics and Adam's moments, all at float32's rounding."""
    found = found_by_name(iterations)
    noisy = set(stored["noise_driven"])
    compared = set()
    for name, rounding in zip(stored["rounding_names"], stored["rounding"], strict=True):
        if name.endswith("num_batches_tracked"):
            continue
        expected = stored[name] if name == "fakes" else to_ours(stored[name])
        allowed = ROUNDING * rounding + LEAST * np.abs(expected).max()
        if name in noisy:
            allowed = NOISE[name.split(".")[1].rstrip("_12")]
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=allowed, err_msg=name)
        compared.add(name)
    assert len(compared) > 150
    assert set(found) - compared == {n for n in found if ".exp_avg_sq_1." in n}


def test_samples_do_not_depend_on_each_other(stored: Any, iterations: Any) -> None:
    """G in evaluation mode, normalised by its running statistics; training mode is another."""
    state, codes = iterations[-1][0], jnp.asarray(stored["noise"][1])
    nets = dcgan.nets(TINY, (64, 64, 1))
    images_of = jax.jit(partial(adversarial.images_of, nets))
    images = images_of(state, codes)
    others = images_of(state, codes.at[1:].set(2.0))
    np.testing.assert_allclose(images[0], others[0], atol=1e-6)
    assert np.abs(images[1] - others[1]).max() > 0.01
    assert images.shape == (5, 64, 64, 1)
    assert np.abs(images - (0.5 + 0.5 * iterations[-1][2])).max() > 0.01


def test_bfloat16_rounds_the_convolutions(stored: Any, iterations: Any) -> None:
    """To about 2^-8 of the values, and no further; parameters stay float32."""
    state, codes = iterations[-1][0], jnp.asarray(stored["noise"][1])
    exact, rounded = (
        jax.jit(partial(adversarial.images_of, dcgan.nets(config, (64, 64, 1))))(state, codes)
        for config in (TINY, dataclasses.replace(TINY, precision="bfloat16"))
    )
    assert rounded.dtype == jnp.float32
    assert 1e-4 < np.abs(exact - rounded).max() < 0.05


def test_an_update_in_bfloat16_has_the_losses_and_the_direction_of_one_in_float32(
    iterations: Any,
) -> None:
    state = iterations[-1][0]
    images = np.random.default_rng(0).integers(0, 256, (16, 28, 28, 1), np.uint8)
    batch = unlabelled(jnp.asarray(images))
    moves, losses = [], []
    for precision in ("float32", "bfloat16"):
        config = dataclasses.replace(TINY, precision=precision)
        after, metrics = jax.jit(dcgan.learner(config).step)(state, batch, jax.random.key(5))
        moved = []
        for net in LAYERS:
            player = getattr(after, net)
            assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(player.variables))
            mean = player.opt_state.inner_state[0].mu
            moved += [np.ravel(leaf) for leaf in jax.tree.leaves(mean)]
        moves.append(np.concatenate(moved))
        losses.append([metrics["d_loss"], metrics["g_loss"]])
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.02)
    assert not np.array_equal(*losses)
    cosine = np.dot(*moves) / np.prod([np.linalg.norm(move) for move in moves])
    assert cosine > 0.99


@pytest.mark.parametrize(
    ("flag", "settings"),
    [
        ("base-width", {"base_width": 0}),
        ("width", {"width": 0.0}),
        ("width", {"width": float("inf")}),
        ("latent-size", {"latent_size": 0}),
        ("beta1", {"beta1": 1.0}),
        ("stem one of transposed, dense, found Dense", {"stem": "Dense"}),
        ("generator-activation", {"generator_activation": "elu"}),
        ("precision one of float32, bfloat16, found float16", {"precision": "float16"}),
        ("loss", {"loss": "Minimax"}),
    ],
)
def test_impossible_settings(flag: str, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=f"--{flag}") as error:
        dcgan.Config(**settings)
    one_line(error)
