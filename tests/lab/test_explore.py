"""The models that run in a page give Python's numbers, and their controls do what they say."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.browser import shown

from experiments.lab import explore
from jaxgen.models import dbn, gan, label_units, rbm, vae
from jaxgen.models.adversarial import images_of
from jaxgen.report import explorer
from jaxgen.report.page import Section, Widget, write_page

pytestmark = [pytest.mark.browser, pytest.mark.programs]

HOSTILE = ("</script><img src=x onerror=alert(1)>", "b & <b>")
SHAPE, COLOUR = (6, 5, 1), (4, 3, 3)
ROOM = 1_000_000
VAES = {
    "bernoulli": (vae.Config(hidden_sizes=(7, 5), latent_size=3, num_classes=2), SHAPE),
    "gaussian": (
        vae.Config(
            hidden_sizes=(6,),
            latent_size=2,
            activation="tanh",
            likelihood="gaussian",
            architecture="dense",
        ),
        COLOUR,
    ),
    "logistic": (
        vae.Config(hidden_sizes=(6, 4), latent_size=4, activation="relu", architecture="dense"),
        COLOUR,
    ),
    "line": (vae.Config(hidden_sizes=(6,), latent_size=1), SHAPE),
}
GANS = {
    "leaky": gan.Config(latent_size=4, generator_sizes=(9, 7), num_classes=2),
    "relu": gan.Config(latent_size=3, generator_sizes=(8,), generator_activation="relu"),
    "float16": gan.Config(latent_size=5, generator_sizes=(9, 7)),
}
NETS = {
    "rbm": (rbm.Config(num_hidden=4), SHAPE),
    "gaussian": (rbm.Config(num_hidden=5, visible="gaussian"), COLOUR),
    "labelled": (dbn.Config(hidden_sizes=(7, 6, 5), num_classes=2), SHAPE),
}


def drawn(tree: Any, seed: int) -> Any:
    """Arrays of the same shapes with random numbers; standard deviations are positive."""
    rng = np.random.default_rng(seed)

    def draw(path: Any, leaf: Any) -> Any:
        values = rng.normal(size=leaf.shape)
        return jnp.asarray(0.2 + np.abs(values) if "std" in str(path) else values, jnp.float32)

    return jax.tree_util.tree_map_with_path(draw, tree)


def codes_of(size: int) -> np.ndarray:
    return np.random.default_rng(size).normal(size=(3, size)).astype(np.float32)


def nets() -> dict[str, dbn.Net]:
    """Nets of random weights: an RBM, a Gaussian one, and untied layers with label units on top."""
    found = {}
    for name, (config, shape) in NETS.items():
        key = jax.random.key(0)
        if isinstance(config, rbm.Config):
            net = dbn.tie((rbm.init_params(config, shape, key),))
        else:
            net = dbn.tie(dbn.init_params(config, shape, key))
        found[name] = drawn(net, 1)
    return found


def uniform(num: int) -> np.ndarray:
    return np.random.default_rng(7).random(num).astype(np.float32)


def random_images(shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (2, *shape), dtype=np.uint8)


class Shown:
    """The results of Chromium by model, and the inputs of Python for the same."""

    def __init__(self, folder: Path) -> None:
        widgets: list[Widget] = []
        self.vaes, self.gans, self.nets = {}, {}, nets()
        for name, (config, shape) in VAES.items():
            both = vae.nets(config, shape)
            params = drawn(vae.init(both, jax.random.key(0)).params, 0)
            self.vaes[name] = (both, params)
            self.add(widgets, explore.decoder_of_vae(params, both), shape, config.latent_size)
        for name, gan_config in GANS.items():
            game = gan.game(gan_config, SHAPE)
            state = game.learner.init(jax.random.key(0))
            player = state.generator
            state = state._replace(
                generator=player._replace(
                    variables={"params": drawn(player.variables["params"], 2), "batch_stats": {}}
                )
            )
            self.gans[name] = (game, state)
            assert isinstance(game.nets.generator, gan.Generator)
            decoder = explore.decoder_of_gan(game.nets.generator, state.generator.variables)
            room = 1500 if name == "float16" else ROOM
            self.add(widgets, decoder, SHAPE, gan_config.latent_size, room)
        for name, net in self.nets.items():
            shape = NETS[name][1]
            images = random_images(shape)
            names = (shape, HOSTILE, "sample", images, ROOM)
            made = explorer.net(explorer.Net(*net), *names)
            assert made is not None
            widgets.append(made[0])
        sections = [Section(str(i), "", [], widget=each) for i, each in enumerate(widgets)]
        page = write_page(folder / "page.html", "Models", facts={}, sections=sections)
        codes = [codes_of(config.latent_size) for config, _ in VAES.values()]
        codes += [codes_of(config.latent_size) for config in GANS.values()]
        given = json.dumps({"codes": [x.tolist() for x in codes], "uniform": uniform(400).tolist()})
        self.found = shown(page, folder, 390, ASKED.replace("GIVEN", given))
        self.asked = self.found["asked"]

    def add(
        self,
        widgets: list[Widget],
        decoder: explorer.Decoder,
        shape: tuple[int, int, int],
        size: int,
        room: int = ROOM,
    ) -> None:
        """Adds a decoder's part of the page, in half precision where it has little room."""
        known = None
        if size < 3:  # a plane with dots, and a line without one
            known = explorer.Codes(codes_of(size)[:2], [0, 1], random_images(shape))
        made = explorer.decoder(decoder, shape, HOSTILE, range(size), room, known=known)
        assert made is not None
        assert made[1] == ("float32" if room == ROOM else "float16")
        widgets.append(made[0])

    def decoded(self, name: str, of: dict[str, Any], first: int) -> np.ndarray:
        """The images that the page decoded, of a model among those from the `first` one on."""
        return np.array(self.asked["decoded"][first + [*of].index(name)])


ASKED = """(() => {
  const given = GIVEN, all = [...document.querySelectorAll(".explorer")].map(x => x.explorer);
  const row = values => Float32Array.from(values);
  const decoders = all.filter(x => x.decoder), nets = all.filter(x => x.net);
  const stream = () => { let i = 0; return () => given.uniform[i++]; };
  const chains = nets.map(({net}) => {
    const visible = row(given.uniform.slice(0, net.numVisible));
    const below = row(given.uniform.slice(0, net.a.length));
    const hidden = row(given.uniform.slice(0, net.b.length)).map(u => u < 0.5 ? 1 : 0);
    const state = {below, label: 1, hidden, mean: visible, visible};
    const held = new Float32Array(net.numVisible).fill(NaN);
    held[2] = 1; held[3] = 0;
    const free = net.step(state, null, null, stream());
    const holds = net.step(state, 0, held, stream());
    const list = ({below, label, hidden, mean, visible}) =>
      ({below: [...below], label, hidden: [...hidden], mean: [...mean], visible: [...visible]});
    return {
      hidden: [...net.hidden(below, 1)], below: [...net.below(hidden)],
      classes: net.numClasses ? [...net.classes(hidden)] : [],
      posterior: net.numClasses ? [...net.posterior(below)] : [],
      pixels: [...net.toPixels(visible)], free: list(free), holds: list(holds),
    };
  });
  const last = all[all.length - 1], root = [...document.querySelectorAll(".explorer")].pop();
  const buttons = [...root.querySelectorAll("button")];
  const press = text => buttons.find(x => x.textContent === text).click();
  const quiet = all.every(x => !x.player.frame) && nets.every(x => x.steps() === 0);
  const begins = nets.every(x => x.state().hidden.every(p => p > 0 && p < 1));
  press("Step");
  const canvas = root.querySelector("canvas.draw"), box = canvas.getBoundingClientRect();
  const num = () => last.held.reduce((sum, x) => sum + (x === x), 0);
  const at = (type, x, y) => canvas.dispatchEvent(new PointerEvent(type, {pointerId: 1,
    clientX: box.left + x * box.width, clientY: box.top + y * box.height}));
  canvas.setPointerCapture = () => {};
  at("pointerdown", 0.5, 0.5);
  const byPointer = num();
  const key = name => canvas.dispatchEvent(new KeyboardEvent("keydown", {key: name}));
  ["ArrowDown", "ArrowDown", "ArrowLeft", "ArrowLeft", " "].forEach(key);
  const byKeys = num(), values = [...last.held];
  press("Step");
  const kept = values.every((x, i) => x !== x || last.state().visible[i] === x);
  press("b & <b>");
  press("Step");
  const label = last.state().label;
  press("Release all");
  const seen = [...last.state().mean];
  press("Hold the top half");
  const asShown = num() > 0 && last.held.every((x, i) => x !== x || x === seen[i]);
  press("Release all");
  press("Run");
  const runs = last.player.frame > 0;
  const live = () => root.querySelector("output").getAttribute("aria-live");
  const hushed = live();
  press("Pause");
  return {
    decoded: decoders.map(({decoder}, i) => given.codes[i].map((code, label) =>
      [...decoder.decode(row(code), label % 2)])),
    chains, quiet, begins, asShown, byPointer, byKeys, kept, label, runs, hushed, live: live(),
    paused: last.player.frame === 0,
    free: num(), steps: last.steps(),
    names: buttons.map(x => x.textContent),
    unnamed: [...document.querySelectorAll("button, input, select, canvas[tabindex]")]
      .filter(x => !(x.textContent || x.getAttribute("aria-label") || x.labels?.length)).length,
  };
})()"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """One page with all models, once through Chromium."""
    return Shown(tmp_path_factory.mktemp("explored"))


@pytest.mark.parametrize("name", VAES)
def test_a_decoder_of_a_vae(name: str, seen: Shown) -> None:
    both, params = seen.vaes[name]
    codes = jnp.asarray(codes_of(both.config.latent_size))
    labels = jnp.arange(3) % 2 if both.config.num_classes else None
    expected = vae.decoded_means(params, both, codes, labels)
    found = seen.decoded(name, VAES, 0)
    assert np.std(found) > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name", GANS)
def test_a_generator(name: str, seen: Shown) -> None:
    """That of half precision is the model with the same rounded weights."""
    game, state = seen.gans[name]
    codes = jnp.asarray(codes_of(GANS[name].latent_size))
    labels = jnp.arange(3) % 2 if GANS[name].num_classes else None
    found = seen.decoded(name, GANS, len(VAES))
    exact = images_of(game.nets, state, codes, labels).reshape(3, -1)
    if name == "float16":
        assert np.abs(found - exact).max() > 1e-4
        variables = explore.rounded_to("float16", state.generator.variables)
        state = state._replace(generator=state.generator._replace(variables=variables))
        exact = images_of(game.nets, state, codes, labels).reshape(3, -1)
    np.testing.assert_allclose(found, exact, atol=1e-4)


def top_of(net: dbn.Net, label: int) -> rbm.Params:
    """The top RBM given a label, if it has label units."""
    if not label_units.num_classes(net.top):
        return net.top
    return label_units.condition(net.top, jnp.int32(label))


@pytest.mark.parametrize("name", NETS)
def test_conditionals_of_a_net(name: str, seen: Shown) -> None:
    net, found = seen.nets[name], seen.asked["chains"][[*NETS].index(name)]
    num_below, num_hidden = net.top["w"].shape
    below = jnp.asarray(uniform(num_below))
    hidden = jnp.asarray(uniform(num_hidden) < 0.5, jnp.float32)
    top = top_of(net, 1)
    expected = {
        "hidden": jax.nn.sigmoid(rbm.hidden_logits(top, below)),
        "below": rbm.visible_mean(top, hidden),
        "pixels": rbm.to_pixels(net.bottom, jnp.asarray(uniform(len(found["pixels"])))),
    }
    if name == "labelled":
        expected["classes"] = jax.nn.softmax(label_units.label_logits(net.top, hidden))
        expected["posterior"] = jnp.exp(label_units.log_posterior(net.top, below))
    for part, values in expected.items():
        np.testing.assert_allclose(found[part], values, atol=1e-4, err_msg=part)


class Stream:
    """Draws from uniform numbers in turn, as the page does."""

    def __init__(self) -> None:
        self.rest = uniform(400)

    def take(self, num: int) -> np.ndarray:
        """The next numbers."""
        taken, self.rest = self.rest[:num], self.rest[num:]
        return taken

    def bernoulli(self, probs: Any) -> np.ndarray:
        """Binary units."""
        return (self.take(len(probs)) < np.asarray(probs)).astype(np.float32)

    def visible(self, params: rbm.Params, mean: Any) -> np.ndarray:
        """Units that are binary, or Gaussian by Box and Muller."""
        if not rbm.is_gaussian(params):
            return self.bernoulli(mean)
        first, second = self.take(2 * len(mean)).astype(np.float64).reshape(-1, 2).T
        return np.asarray(mean) + np.sqrt(-2 * np.log1p(-first)) * np.cos(2 * np.pi * second)


@pytest.mark.parametrize("holds", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_a_step_with_given_uniform_numbers(name: str, holds: bool, seen: Shown) -> None:
    """The chain of `rbm.gibbs`, `label_units.gibbs` and `dbn.down`, with held units put in."""
    net, stream = seen.nets[name], Stream()
    found = seen.asked["chains"][[*NETS].index(name)]["holds" if holds else "free"]
    below = uniform(len(net.top["b_visible"]))
    label = 0 if holds else 1
    hidden = stream.bernoulli(jax.nn.sigmoid(rbm.hidden_logits(top_of(net, label), below)))
    mean = rbm.visible_mean(net.top, hidden)
    drawn_below = stream.visible(net.top, mean)
    if name == "labelled" and not holds:
        probs = jax.nn.softmax(label_units.label_logits(net.top, hidden))
        label = int(np.searchsorted(np.cumsum(probs), stream.take(1)[0], side="right"))
    for index, layer in enumerate(reversed(net.generative)):
        source = drawn_below if index == 0 else stream.bernoulli(mean)
        mean = rbm.visible_mean(layer, jnp.asarray(source))
    put = np.array(mean)
    if holds:
        put[2:4] = 1, 0
    np.testing.assert_array_equal(found["hidden"], hidden)
    np.testing.assert_allclose(found["mean"], put, atol=1e-4)
    assert found["label"] == (label if name == "labelled" else found["label"])
    visible = drawn_below if not net.generative else np.asarray(mean)
    if holds:
        visible = np.array(stream.visible(net.bottom, mean) if net.generative else visible)
        visible[2:4] = 1, 0
        drawn_below = visible
        for layer in net.recognition:
            probs = jax.nn.sigmoid(rbm.hidden_logits(layer, jnp.asarray(drawn_below)))
            drawn_below = stream.bernoulli(probs)
    np.testing.assert_allclose(found["visible"], visible, atol=1e-4)
    np.testing.assert_allclose(found["below"], drawn_below, atol=1e-4)


def test_nothing_moves_until_it_is_asked_to(seen: Shown) -> None:
    assert seen.asked["quiet"]
    assert seen.asked["runs"]
    assert (seen.asked["hushed"], seen.asked["live"]) == ("off", "polite")
    assert seen.asked["paused"]
    assert seen.asked["steps"] == 3


def test_pixels_are_held_by_pointer_and_by_keys_and_a_class_by_its_button(seen: Shown) -> None:
    asked = seen.asked
    assert 0 < asked["byPointer"] < asked["byKeys"] < 30
    assert asked["kept"]
    assert asked["label"] == 1
    assert asked["free"] == 0
    assert asked["asShown"]


def test_the_hidden_units_are_lit_before_the_first_step(seen: Shown) -> None:
    """By p(h=1|v), which is neither 0 nor 1."""
    assert seen.asked["begins"]


def test_every_control_has_a_name_and_names_of_others_are_text(seen: Shown) -> None:
    """Markup in a class's name would be an image, and its error on the console."""
    assert seen.asked["unnamed"] == 0
    assert {*HOSTILE} <= {*seen.asked["names"]}
    assert seen.found["images"] == []
    assert seen.found["width"] <= seen.found["window"]
