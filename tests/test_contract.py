"""Rules for every model, every experiment and every file, which are found and not listed."""

import ast
import dataclasses
import importlib
import inspect
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.helpers import ROOT, same

from experiments.running import experiment
from experiments.running.args import RunArgs, quicken
from jaxgen import models
from jaxgen.errors import SettingError
from jaxgen.learner import Learner, unlabelled

FILES = sorted([*ROOT.glob("jaxgen/**/*.py"), *ROOT.glob("experiments/**/*.py")])


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


NAMES = {name_of(path): path for path in FILES}


def imported(path: Path) -> set[str]:
    """Modules of this project that a file imports anywhere, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in NAMES else str(node.module) for name in names}
    return {name for name in found if name.split(".")[0] in ("jaxgen", "experiments")}


def test_models_and_experiments_are_found() -> None:
    assert {*models.names()} >= {"rbm", "dbn", "dbm", "wake_sleep", "vae", "gan", "dcgan"}
    assert {*experiment.names()} >= {"rbm", "dbn", "dbm", "wake_sleep", "vae", "gan", "dcgan"}


# ---- the contract of a model

SHAPE = (28, 28, 1)


def batch(num: int = 6) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (num, *SHAPE), dtype=np.uint8)
    images.flags.writeable = False
    return images


def narrow(config: Any) -> Any:
    """The setting with few channels, where it has a factor on them: a quick net of every layer."""
    has_width = "width" in {field.name for field in dataclasses.fields(config)}
    return dataclasses.replace(config, width=1 / 16) if has_width else config


def sample_shape(module: ModuleType) -> tuple[int, int, int]:
    """Of the images that the model makes: some make images of a size of their own."""
    found: tuple[int, int, int] = getattr(module, "net_shape", lambda shape: shape)(SHAPE)
    return found


class Model:
    """A learner with its functions compiled, a state after one step, and what the step told."""

    def __init__(self, module: ModuleType) -> None:
        self.config = narrow(module.Config())
        self.sample_shape = sample_shape(module)
        self.learner = module.learner(self.config)
        self.init = jax.jit(self.learner.init)
        self.step = jax.jit(self.learner.step)
        self.sample = jax.jit(self.learner.sample, static_argnums=2)
        self.start = self.init(jax.random.key(0))
        self.state, self.metrics = self.step(self.start, unlabelled(batch()), jax.random.key(1))


@pytest.fixture(scope="module", params=models.names())
def model(request: pytest.FixtureRequest) -> Model:
    return Model(models.module(request.param))


def test_config_is_a_frozen_dataclass_whose_fields_are_described(model: Model) -> None:
    kind = type(model.config)
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert hash(model.config) == hash(narrow(kind()))
    tree = ast.parse(inspect.getsource(kind)).body[0]
    assert isinstance(tree, ast.ClassDef)
    for field, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(after, ast.Expr), f"{ast.unparse(field)} has no description"


def test_learner_is_three_functions(model: Model) -> None:
    assert type(model.learner) is Learner
    assert all(callable(function) for function in model.learner[:3])
    assert model.learner.image_shape == (28, 28, 1)


def assert_only_arrays(tree: Any, path: str) -> None:
    """NamedTuples, tuples and dicts of arrays; None where a part does not exist."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            assert_only_arrays(value, f"{path}.{name}")
    elif isinstance(tree, tuple):
        for index, value in enumerate(tree):
            assert_only_arrays(value, f"{path}.{index}")
    elif tree is not None:
        assert isinstance(tree, jax.Array), f"{path} is a {type(tree).__name__}"
        assert not jnp.issubdtype(tree.dtype, jax.dtypes.prng_key), f"{path} is a key"


def test_state_is_a_named_tuple_of_arrays(model: Model) -> None:
    for state in (model.start, model.state):
        assert isinstance(state, tuple)
        assert isinstance(state._fields, tuple)
        assert_only_arrays(state, "state")


def test_a_step_keeps_structure_shapes_and_dtypes(model: Model) -> None:
    before, after = (
        jax.tree.map(lambda x: (x.shape, x.dtype), state) for state in (model.start, model.state)
    )
    assert before == after
    assert not same(model.start, model.state)


def test_metrics_are_finite_scalars(model: Model) -> None:
    assert model.metrics
    for name, value in model.metrics.items():
        assert isinstance(name, str)
        assert value.shape == ()
        assert value.dtype == jnp.float32
        assert np.isfinite(value)


def test_init_is_pure_and_follows_its_key(model: Model) -> None:
    assert same(model.init(jax.random.key(0)), model.start)
    assert not same(model.init(jax.random.key(1)), model.start)


def test_step_is_pure_and_follows_its_key_and_batch(model: Model) -> None:
    images, key = batch(), jax.random.key(1)
    again = model.step(model.start, unlabelled(images), key)
    assert same(again, (model.state, model.metrics))
    assert same(model.start, model.init(jax.random.key(0)))  # not changed
    np.testing.assert_array_equal(images, batch())
    assert not same(model.step(model.start, unlabelled(images), jax.random.key(2))[0], model.state)
    assert not same(model.step(model.start, unlabelled(255 - images), key)[0], model.state)


def test_sample(model: Model) -> None:
    images = model.sample(model.state, jax.random.key(3), 5)
    assert same(model.sample(model.state, jax.random.key(3), 5, jnp.arange(5)), images)
    assert images.shape == (5, *model.sample_shape)
    assert images.dtype == jnp.float32
    assert images.min() >= 0
    assert images.max() <= 1
    assert same(model.sample(model.state, jax.random.key(3), 5), images)
    assert not same(model.sample(model.state, jax.random.key(4), 5), images)


@pytest.mark.parametrize("shape", [(0, 8, 1), (4, 4), (4, 4.5, 1), "28x28x1", None])
@pytest.mark.parametrize("name", models.names())
def test_no_model_of_impossible_images(name: str, shape: Any) -> None:
    module = models.module(name)
    with pytest.raises(SettingError, match="an image shape, "):
        module.learner(module.Config(), shape)


def test_vmap_over_keys(model: Model) -> None:
    keys = jax.random.split(jax.random.key(0), 2)
    states = jax.jit(jax.vmap(model.learner.init))(keys)
    for member, key in enumerate(keys):
        found = jax.tree.map(lambda leaf, member=member: leaf[member], states)
        expected = model.init(key)
        close = jax.tree.map(lambda a, b: np.allclose(a, b, atol=1e-6), found, expected)
        assert all(jax.tree.leaves(close))
    step = jax.vmap(model.learner.step, in_axes=(0, None, 0))
    after, metrics = jax.eval_shape(step, states, unlabelled(batch()), keys)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, states)
    assert {name: value.shape for name, value in metrics.items()} == dict.fromkeys(
        model.metrics, (2,)
    )


# ---- the contract of an experiment


@pytest.mark.parametrize("name", experiment.names())
def test_experiment(name: str) -> None:
    declared = experiment.find(name)
    module = importlib.import_module(f"experiments.{name}")
    assert declared.name == name
    assert name in models.names()
    assert (declared.presets, declared.quick) == (module.PRESETS, module.QUICK)
    assert (declared.train, declared.report) == (module.train, module.report)
    assert declared.default == module.Args()
    for preset, args in declared.presets.items():
        assert args.preset == preset
        assert type(args) is module.Args
        assert isinstance(args, RunArgs)
        assert args.__dataclass_params__.frozen  # type: ignore[attr-defined]
        assert quicken(args, declared.quick).dataset == "digits"
    assert f"python -m experiments.{name}" in (module.__doc__ or "")
    assert list(inspect.signature(declared.train).parameters) == ["args", "session"]
    assert list(inspect.signature(declared.report).parameters) == ["args", "session", "result"]


# ---- the direction of imports

BASE, ENTRY = "jaxgen", "experiments"
"""The modules directly in either package: what every room uses, and the entry points."""
ESTIMATORS = "jaxgen.sklearn"
"""The one module of the library that is on top of its rooms: scikit-learn's way in."""
READS = {
    BASE: set(),
    "jaxgen.nn": {BASE},
    "jaxgen.models": {BASE, "jaxgen.nn"},
    "jaxgen.data": {BASE},
    "jaxgen.export": {BASE, "jaxgen.models"},
    "jaxgen.training": {BASE, "jaxgen.data", "jaxgen.export"},
    "jaxgen.evaluation": {BASE, "jaxgen.nn", "jaxgen.models", "jaxgen.data", "jaxgen.export"},
    "jaxgen.report": {BASE},
    "jaxgen.runs": {
        BASE,
        *(f"jaxgen.{x}" for x in ["models", "data", "training", "evaluation", "export"]),
    },
}
"""Rooms of the library, and the rooms each may import besides itself."""
SEPARATE = {f"experiments.{name}" for name in ["lab", "comparison", "reproduction", "benchmarking"]}
"""Rooms of the experiments that know nothing of each other; `experiments.running` knows none."""


def room(name: str) -> str:
    """The room of a module: its package's folder, or the package for what lies directly in it."""
    package, *inner = name.split(".")
    is_room = bool(inner) and (ROOT / package / inner[0]).is_dir()
    return f"{package}.{inner[0]}" if is_room else package


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_room_imports_only_what_it_may(path: Path) -> None:
    here = room(name_of(path))
    if here == ENTRY or name_of(path) in (BASE, ESTIMATORS):
        return  # an entry point may import anything; the package names what it offers
    names = imported(path) - {"experiments"}  # the package itself, to look for modules in it
    rooms = {room(name): name for name in names if room(name) != here}
    if here.startswith("jaxgen"):
        assert {*rooms} <= READS[here], rooms
    else:
        assert ENTRY not in rooms, rooms
        assert not {*rooms} & SEPARATE, rooms


def test_every_room_has_a_rule() -> None:
    rooms = {room(name) for name in NAMES if name.startswith("jaxgen")}
    assert rooms == {*READS}


def test_imports_have_no_circle() -> None:
    graph = {name: imported(path) - {name} for name, path in NAMES.items()}
    while leaves := [name for name in graph if not graph[name] & set(graph)]:
        for name in leaves:
            del graph[name]
    assert graph == {}


# ---- how files are written


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_public_names_have_docstrings(path: Path) -> None:
    tree = parsed(path)
    assert ast.get_docstring(tree), "the module has none"
    missing = []
    nodes = [(node, "") for node in tree.body]
    while nodes:
        node, prefix = nodes.pop()
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            missing.append(prefix + node.name)
        if isinstance(node, ast.ClassDef):
            nodes += [(child, f"{node.name}.") for child in node.body]
    assert missing == []


def test_commands_write_through_the_console() -> None:
    """It knows what to do where nobody reads, or the device is full."""
    console = ROOT / "experiments" / "running" / "console.py"
    printing = [
        name_of(path)
        for path in ROOT.glob("experiments/**/*.py")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print" and path != console
    ]
    assert printing == []


TESTS = sorted(ROOT.glob("tests/**/*.py"))


def test_tests_mirror_the_rooms() -> None:
    """A folder of tests has the name of a room; what concerns several rooms stands beside them."""
    rooms = {room(name).partition(".")[2] for name in NAMES}
    folders = {
        path.relative_to(ROOT / "tests").parts[0] for path in TESTS if path.parents[1] != ROOT
    }
    assert folders - {"support", "fixtures"} <= rooms
    helpers = [path.name for path in TESTS if path.parent.name == "support"]
    assert not [name for name in helpers if name.startswith("test_")]


@pytest.mark.parametrize(
    "path", TESTS, ids=lambda path: path.relative_to(ROOT / "tests").as_posix()
)
def test_tests_are_annotated(path: Path) -> None:
    """Every argument of a test has a type, and a test returns None."""
    bare = []
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            if node.returns is None or any(each.annotation is None for each in arguments):
                bare.append(node.name)
    assert bare == []


def test_top_level_is_as_planned() -> None:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    folders = {line.split("/")[0] for line in done.stdout.splitlines() if "/" in line}
    assert {f for f in folders if not f.startswith(".")} <= {
        "jaxgen",
        "pretrained",
        "experiments",
        "tests",
        "docs",
    }
