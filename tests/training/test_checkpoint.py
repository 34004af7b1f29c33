"""Checkpoints: what comes back is exactly what was saved, or an older one, or an error."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgen.errors import CheckpointError, SettingError, WriteError
from jaxgen.training import checkpoint
from jaxgen.training.checkpoint import digest, leaf_digests, require_settings, restore, save

DTYPES = ["bfloat16", "float16", "float32", "float64", "uint8", "int8", "int32", "uint32"]
DTYPES += ["int64", "bool", "complex64", "float8_e4m3fn"]
ROOT = Path(__file__).parents[2]

CONFIG = {"rate": "config"}
OTHER = {"rate": "other"}


class Player(NamedTuple):
    """One of several players, as a GAN state has them."""

    params: dict[str, Any]
    opt_state: Any


class State(NamedTuple):
    """A model's state with every kind of container and several dtypes."""

    player: Player
    chains: Any
    nothing: None
    step: Any


def make_state(seed: int) -> State:
    keys = jax.random.split(jax.random.key(seed), 3)
    params = {
        "Dense_0": {"kernel": jax.random.normal(keys[0], (20, 7)), "bias": jnp.zeros(7)},
        "scale": jnp.float32(seed),
    }
    chains = (jax.random.bernoulli(keys[1], 0.5, (4, 5)), jnp.arange(6, dtype=jnp.bfloat16) + seed)
    opt_state = optax.chain(optax.identity(), optax.adam(1e-3)).init(params)
    return State(Player(params, opt_state), chains, None, jnp.uint32(seed))


def same(a: Any, b: Any) -> bool:
    """Bitwise, and with the same containers; written without the module under test."""
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        np.asarray(x).dtype == np.asarray(y).dtype
        and np.shape(x) == np.shape(y)
        and np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in pairs
    )


def step_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, State, State]:
    """A folder with steps 1 and 2."""
    old, new = make_state(1), make_state(2)
    save(tmp_path, 1, old, CONFIG)
    save(tmp_path, 2, new, CONFIG)
    return tmp_path, old, new


def run(code: str, *arguments: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# --- what is saved comes back


def test_a_state_comes_back_bitwise_in_its_own_structure(tmp_path: Path) -> None:
    state = make_state(3)
    path = save(tmp_path / "a" / "b", 7, state, CONFIG)
    found = restore(tmp_path / "a" / "b", jax.eval_shape(lambda: make_state(0)), CONFIG)
    assert path == tmp_path / "a" / "b" / "step_00000007"
    assert found is not None
    assert found.step == 7
    assert same(found.tree, state)
    assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(found.tree))


def test_every_dtype_and_odd_shape_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tree: dict[str, Any] = {}
    for name in DTYPES:
        dtype = np.dtype(getattr(ml_dtypes, name, None) or name)
        tree[name] = rng.normal(size=(3, 2)).astype(dtype)
        tree[name + " scalar"] = np.ones((), dtype)
        tree[name + " empty"] = np.zeros((0, 2), dtype)
    tree["zeros"] = np.zeros((9, 9), np.float32)
    tree["special"] = np.array([np.nan, -0.0, np.inf, 1e-45], np.float32)
    tree["transposed"] = np.arange(6.0).reshape(2, 3).T
    tree[""] = tree["a/b"] = tree[".."] = np.arange(2)
    save(tmp_path, 0, tree, CONFIG)
    found = restore(tmp_path, tree, CONFIG)
    assert found is not None
    assert same(found.tree, tree)


def test_big_endian_comes_back_in_native_order(tmp_path: Path) -> None:
    save(tmp_path, 0, {"a": np.arange(3).astype(">i4")}, CONFIG)
    found = restore(tmp_path, {"a": np.zeros(3, np.int32)}, CONFIG)
    assert found is not None
    assert found.tree["a"].tolist() == [0, 1, 2]


trees = st.recursive(
    st.builds(
        lambda dtype, shape, seed: np.random.default_rng(seed).integers(0, 2, shape).astype(dtype),
        st.sampled_from(["float32", "uint8", "int32", "bool", "bfloat16"]),
        st.lists(st.integers(0, 3), max_size=3),
        st.integers(0, 99),
    ),
    lambda children: (
        st.dictionaries(st.text("ab/'é_", max_size=3), children, max_size=3)
        | st.lists(children, max_size=3)
        | st.tuples(children, children)
    ),
    max_leaves=6,
).filter(lambda tree: any(leaf.size for leaf in jax.tree.leaves(tree)))


@settings(max_examples=25, deadline=None)
@given(tree=trees)
def test_any_tree_comes_back(tree: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("any")
    save(folder, 1, tree, CONFIG)
    found = restore(folder, tree, CONFIG)
    assert found is not None
    assert same(found.tree, tree)


@pytest.mark.parametrize(
    ("leaf", "words"),
    [
        (3, "a Python int; wrap it in jnp.asarray"),
        ("text", "a Python str"),
        (jax.random.key(0), "key_data"),
        (np.array(["a"]), "dtype <U1"),
        (np.array([None]), "dtype object"),
    ],
)
def test_what_is_no_array_is_refused(tmp_path: Path, leaf: Any, words: str) -> None:
    with pytest.raises(TypeError, match=r"at 'a\.0'") as error:
        save(tmp_path / "x", 0, {"a": [leaf]}, CONFIG)
    assert words in str(error.value)
    assert not (tmp_path / "x").exists()


def test_impossible_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="nothing to save"):
        save(tmp_path, 0, {"a": np.zeros((0, 2))}, CONFIG)
    with pytest.raises(SettingError, match="keep=0"):
        save(tmp_path, 0, {"a": np.zeros(2)}, CONFIG, keep=0)
    with pytest.raises(SettingError, match="step=-1"):
        save(tmp_path, -1, {"a": np.zeros(2)}, CONFIG)


def test_importing_the_module_does_not_import_orbax() -> None:
    code = "import sys, jaxgen.training.checkpoint; sys.exit('orbax' in sys.modules)"
    process = run(code)
    process.communicate()
    assert process.returncode == 0


def test_saving_and_restoring_are_silent(tmp_path: Path) -> None:
    code = """if True:
        import sys, numpy as np
        from pathlib import Path
        from jaxgen.training.checkpoint import require_settings, restore, save
        for step in range(3):
            save(Path(sys.argv[1]), step, {"a": np.ones(3)}, {"rate": "config"}, keep=1)
            restore(Path(sys.argv[1]), {"a": np.ones(3)}, {"rate": "config"})"""
    process = run(code, str(tmp_path))
    assert process.communicate() == ("", "")
    assert process.returncode == 0


# --- digests


def test_digests_see_name_dtype_shape_and_bytes() -> None:
    base = {"a": np.zeros(4, np.float32)}
    others: list[Any] = [
        {"b": np.zeros(4, np.float32)},
        {"a": np.zeros(4, np.int32)},
        {"a": np.zeros((2, 2), np.float32)},
        {"a": np.array([0, 0, 0, -0.0], np.float32)},
        {"a": np.zeros(4, np.float32), "b": np.zeros(0)},
    ]
    assert len({digest(tree) for tree in [base, *others]}) == 6
    assert digest(base) == digest({"a": jnp.zeros(4)})
    assert digest({"x": 1 * base["a"], "y": [base["a"]]}) == digest(
        {"y": (base["a"],), "x": base["a"]}
    )
    assert list(leaf_digests(make_state(0)))[:2] == [
        "player.params.Dense_0.bias",
        "player.params.Dense_0.kernel",
    ]


def test_digests_are_the_same_on_every_machine() -> None:
    tree = {"a": jnp.arange(3, dtype=jnp.bfloat16), "b": [np.uint8(7)]}
    assert digest(tree) == "d7acd97581e88a0b25185a9033cf6406d47b44be16348051f26390bab7e53d2e"


# --- which one is restored, and which are kept


def test_none_where_there_is_no_checkpoint(tmp_path: Path) -> None:
    assert restore(tmp_path / "missing", {"a": np.zeros(1)}, CONFIG) is None
    (tmp_path / "tmp_step_00000003").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    assert restore(tmp_path, {"a": np.zeros(1)}, CONFIG) is None


def test_the_newest_are_kept_and_strangers_stay(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "tmp_step_00000009" / "arrays").mkdir(parents=True)
    for step in [5, 10, 99_999_999, 100_000_000]:
        save(tmp_path, step, {"a": np.full(2, step)}, CONFIG, keep=2)
    assert step_names(tmp_path) == ["notes.txt", "step_100000000", "step_99999999"]
    found = restore(tmp_path, {"a": np.zeros(2, np.int64)}, CONFIG)
    assert found is not None
    assert found.step == 100_000_000


def test_saving_the_same_again_writes_nothing(two: tuple[Path, State, State]) -> None:
    folder, _, new = two
    before = {path: path.stat().st_mtime_ns for path in files_of(folder)}
    assert save(folder, 2, new, CONFIG) == folder / "step_00000002"
    assert {path: path.stat().st_mtime_ns for path in files_of(folder)} == before


def test_saving_a_step_again_replaces_other_and_damaged_bytes(
    two: tuple[Path, State, State],
) -> None:
    folder, old, _ = two
    assert save(folder, 2, old, CONFIG).name == "step_00000002.1"
    found = restore(folder, old, CONFIG)
    assert found is not None
    assert same(found.tree, old)
    victim = max(files_of(folder / "step_00000002.1"), key=lambda path: path.stat().st_size)
    victim.write_bytes(b"")
    assert save(folder, 2, old, CONFIG).name == "step_00000002.2"
    assert step_names(folder) == ["step_00000001", "step_00000002.2"]


def test_a_run_that_fell_back_overtakes_the_damaged_ones(two: tuple[Path, State, State]) -> None:
    folder, old, new = two
    (folder / "step_00000002" / "manifest.json").unlink()
    save(folder, 1, old, CONFIG, keep=1)
    assert step_names(folder) == ["step_00000001", "step_00000002"]
    save(folder, 2, new, CONFIG, keep=1)
    assert step_names(folder) == ["step_00000002.1"]


# --- another configuration, another structure


@pytest.mark.parametrize(
    ("saved", "asked", "said"),
    [
        (CONFIG | {"model.share": "0.5"}, CONFIG, "to be at its default, found it to be 0.5"),
        (CONFIG, CONFIG | {"model.share": "0.5"}, "to be 0.5, found it to be at its default"),
    ],
)
def test_a_setting_at_its_default_is_not_in_the_manifest(
    two: tuple[Path, State, State], saved: dict[str, str], asked: dict[str, str], said: str
) -> None:
    folder, old, new = two
    save(folder, 3, new, saved)
    with pytest.raises(CheckpointError, match=f"'model.share' of .* {said}; type the flags"):
        restore(folder, old, asked)


def test_another_configuration_is_refused_and_never_an_older_one(
    two: tuple[Path, State, State],
) -> None:
    folder, old, new = two
    save(folder, 3, new, OTHER)
    with pytest.raises(
        CheckpointError, match=r"setting 'rate' .* to be config, found it to be other"
    ) as error:
        restore(folder, old, CONFIG)
    assert all(
        word in str(error.value) for word in ["step_00000003", "--overwrite", "--out", "flags"]
    )
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("like", "words"),
    [
        ({"a": np.zeros(3), "b": np.zeros(2)}, "'b'"),
        ({}, "'a'"),
        ({"a": np.zeros((3, 1))}, r"float64\[3, 1\], found it to be float64\[3\]"),
        ({"a": np.zeros(3, np.float32)}, "'a'"),
        ({"c": np.zeros(3)}, "'c'"),
    ],
)
def test_another_structure_is_refused_by_its_first_leaf(
    tmp_path: Path, like: Any, words: str
) -> None:
    save(tmp_path, 1, {"a": np.zeros(3)}, CONFIG)
    with pytest.raises(CheckpointError, match=words):
        restore(tmp_path, like, CONFIG)


def test_another_format_is_refused(
    two: tuple[Path, State, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, old, _ = two
    monkeypatch.setattr(checkpoint, "_FORMAT", 2)
    with pytest.raises(CheckpointError, match=r"'format' of .* to be 2, found it to be 1"):
        restore(folder, old, CONFIG)


# --- damage


def spoil(path: Path, rng: random.Random) -> None:
    """Flips a bit, overwrites a byte, truncates or deletes."""
    data = path.read_bytes()
    place = rng.randrange(len(data)) if data else 0
    kind = rng.choice(["flip", "flip", "byte", "cut", "delete"])
    if kind == "delete":
        path.unlink()
    elif kind == "cut" or not data:
        path.write_bytes(data[:place])
    else:
        byte = data[place] ^ (1 << rng.randrange(8)) if kind == "flip" else rng.randrange(256)
        path.write_bytes(data[:place] + bytes([byte]) + data[place + 1 :])


def check_damage(folder: Path, states: dict[int, State], seed: int) -> None:
    """Spoils each file of the newest step once; the answer is right or it is an error."""
    rng = random.Random(seed)
    for path in files_of(folder / "step_00000002"):
        data = path.read_bytes()
        spoil(path, rng)
        found = restore(folder, states[1], CONFIG)
        assert found is not None
        assert same(found.tree, states[found.step])
        path.write_bytes(data)


@pytest.mark.parametrize("seed", range(5))
def test_damage_is_never_silently_wrong(two: tuple[Path, State, State], seed: int) -> None:
    folder, old, new = two
    check_damage(folder, {1: old, 2: new}, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 140))
def test_much_damage_is_never_silently_wrong(two: tuple[Path, State, State], seed: int) -> None:
    folder, old, new = two
    check_damage(folder, {1: old, 2: new}, seed)


def test_leaves_are_checked_even_when_the_files_are_as_listed(
    two: tuple[Path, State, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Orbax that gives back other numbers than it was given is caught, too."""
    folder, old, _ = two
    manifest_path = folder / "step_00000002" / "manifest.json"
    manifest = json.loads(manifest_path.read_text())
    manifest["leaves"]["step"]["sha256"] = "0" * 64
    manifest["sha256"] = checkpoint._body_digest(manifest)
    manifest_path.write_text(json.dumps(manifest))
    found = restore(folder, old, CONFIG)
    assert found is not None
    assert found.step == 1


def test_a_damaged_checkpoint_is_named_in_one_line(
    two: tuple[Path, State, State], caplog: pytest.LogCaptureFixture
) -> None:
    folder, old, _ = two
    victim = folder / "step_00000002" / "arrays" / "manifest.ocdbt"
    victim.write_bytes(b"x")
    found = restore(folder, old, CONFIG)
    assert found is not None
    assert (found.step, same(found.tree, old)) == (1, True)
    (record,) = caplog.records
    assert record.name == "jaxgen"  # by which a program quiets the library
    assert str(victim) in record.getMessage()
    assert "expected sha256" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_nothing_but_damage_is_an_error(two: tuple[Path, State, State]) -> None:
    folder, old, _ = two
    for path in files_of(folder):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="found 2 damaged, the newest of them step_00000002"):
        restore(folder, old, CONFIG)


def test_a_renamed_step_is_not_believed(two: tuple[Path, State, State]) -> None:
    folder, old, _ = two
    (folder / "step_00000001").rename(folder / "step_00000003")
    found = restore(folder, old, CONFIG)
    assert found is not None
    assert found.step == 2


@pytest.mark.parametrize("log", [None, b"", b"two\nlines\n"])
def test_the_log_comes_back_as_it_was(tmp_path: Path, log: bytes | None) -> None:
    tree = {"a": np.zeros(2)}
    for _ in range(2):  # the second is there already
        save(tmp_path, 1, tree, CONFIG, log=log)
    assert step_names(tmp_path) == ["step_00000001"]
    found = restore(tmp_path, tree, CONFIG)
    assert found is not None
    assert found.log == log
    assert save(tmp_path, 1, tree, CONFIG, log=b"another").name == "step_00000001.1"


@pytest.mark.parametrize("content", [b"", b"tw", b"two\nlines\ntwo\nlines\n", None])
def test_a_checkpoint_with_another_log_is_damaged(tmp_path: Path, content: bytes | None) -> None:
    tree = {"a": np.zeros(2)}
    path = save(tmp_path, 1, tree, CONFIG, log=b"two\nlines\n") / "log.jsonl"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="found 1 damaged"):
        restore(tmp_path, tree, CONFIG)


@pytest.mark.parametrize("name", ["step", "format", "settings", "leaves", "files", "sha256"])
@pytest.mark.parametrize("value", [None, [], {"a": 1}, "absent"])
def test_a_forged_manifest_is_damaged(
    two: tuple[Path, State, State], name: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """One whose own sha256 is right, but that has not what a manifest has."""
    folder, old, _ = two
    path = folder / "step_00000002" / "manifest.json"
    manifest = json.loads(path.read_text()) | {name: value}
    if value == "absent":
        del manifest[name]
    if name != "sha256":
        manifest["sha256"] = checkpoint._body_digest(manifest)
    path.write_text(json.dumps(manifest))
    if name == "format":
        with pytest.raises(CheckpointError, match="'format'"):
            restore(folder, old, CONFIG)
        return
    found = restore(folder, old, CONFIG)
    assert found is not None
    assert found.step == 1
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_a_manifest_of_another_format_may_have_nothing_else(two: tuple[Path, State, State]) -> None:
    folder, old, _ = two
    body = {"format": 2}
    manifest = body | {"sha256": checkpoint._body_digest(body)}
    (folder / "step_00000003").mkdir()
    (folder / "step_00000003" / "manifest.json").write_text(json.dumps(manifest | {"step": 3}))
    assert restore(folder, old, CONFIG).step == 2  # its sha256 is another one now
    body |= {"step": 3}
    manifest = body | {"sha256": checkpoint._body_digest(body)}
    (folder / "step_00000003" / "manifest.json").write_text(json.dumps(manifest))
    for act in (lambda: restore(folder, old, CONFIG), lambda: require_settings(folder, CONFIG)):
        with pytest.raises(CheckpointError, match=r"the 'format' of .* to be 1, found it to be 2"):
            act()


@pytest.mark.parametrize(
    "content", [b"[]", b"12", b"\xff", b'{"a":' * 20_000 + b"1" + b"}" * 20_000]
)
def test_a_manifest_that_is_none_is_damaged(two: tuple[Path, State, State], content: bytes) -> None:
    folder, old, _ = two
    (folder / "step_00000002" / "manifest.json").write_bytes(content)
    found = restore(folder, old, CONFIG)
    assert found is not None
    assert found.step == 1


@pytest.mark.parametrize("name", ["manifest.json", "arrays/manifest.ocdbt", "arrays/new"])
@pytest.mark.parametrize("kind", ["pipe", "sparse"])
def test_what_is_no_file_is_not_read(two: tuple[Path, State, State], name: str, kind: str) -> None:
    folder, old, _ = two
    path = folder / "step_00000002" / name
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.touch()
        os.truncate(path, 40 << 30)
    found = restore(folder, old, CONFIG)
    assert found is not None
    assert found.step == 1


@pytest.mark.parametrize("name", ["../step_00000001/manifest.json", "/etc/hostname"])
def test_files_of_other_folders_are_not_read(two: tuple[Path, State, State], name: str) -> None:
    folder, _, _ = two
    path = folder / "step_00000002" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = "0" * 64
    manifest["sha256"] = checkpoint._body_digest(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(checkpoint._DamagedError, match="found others"):
        checkpoint._read_manifest(checkpoint._entries(folder)[0])


@pytest.mark.parametrize("function", ["read_file", "file_digest"])
def test_what_may_not_be_read_is_not_called_damaged(
    two: tuple[Path, State, State], function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, old, _ = two

    def refuse(path: Path, *_: int) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(checkpoint, function, refuse)
    with pytest.raises(CheckpointError) as error:
        restore(folder, old, CONFIG)
    text = str(error.value)
    assert text.startswith(f"expected to read {folder / 'step_00000002'}/")
    assert text.endswith("found Permission denied; make it readable, and type the command again")


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(CheckpointError, match="Not a directory"):
        restore(path, {"a": np.zeros(1)}, CONFIG)
    with pytest.raises(WriteError, match="File exists"):
        save(path, 1, {"a": np.zeros(1)}, CONFIG)
    assert path.read_text() == "mine"


# --- kills and full disks

SAVE_LOOP = """if True:
    import sys, numpy as np
    from pathlib import Path
    from jaxgen.training.checkpoint import require_settings, save
    for step in range(100_000):
        tree = {"step": np.int32(step), "w": np.full((300, 300), step, np.float32)}
        save(Path(sys.argv[1]), step, tree, {"rate": "config"}, keep=2)
"""


def check_kills(folder: Path, count: int, seed: int) -> None:
    """Starts save loops two at a time and kills each at a random moment."""
    rng = random.Random(seed)
    like = {"step": np.int32(0), "w": np.zeros((300, 300), np.float32)}
    for pair in range(count // 2):
        folders = [folder / f"{pair}{side}" for side in "ab"]
        processes = [run(SAVE_LOOP, str(each)) for each in folders]
        for each, process in zip(folders, processes, strict=True):
            while not list(each.glob("step_*")):
                assert process.poll() is None, process.communicate()
                time.sleep(0.02)
            time.sleep(rng.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            found = restore(each, like, CONFIG)
            assert found is not None
            assert found.tree["step"] == found.step
            assert np.all(found.tree["w"] == found.step)
            save(each, found.step + 1, like, CONFIG, keep=2)
            assert not list(each.glob("tmp_*"))


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    check_kills(tmp_path, 4, seed=0)


@pytest.mark.slow
def test_many_kills(tmp_path: Path) -> None:
    check_kills(tmp_path, 40, seed=1)


@pytest.mark.parametrize("name", ["_write", "flush", "file_digest"])
def test_a_failed_save_leaves_the_others_and_no_litter(
    two: tuple[Path, State, State], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder, old, new = two

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, name, fail)
        with pytest.raises(WriteError, match="found No space left on device") as error:
            save(folder, 3, old, CONFIG, keep=1)
    assert "\n" not in str(error.value)
    assert step_names(folder) == ["step_00000001", "step_00000002"]
    found = restore(folder, new, CONFIG)
    assert found is not None
    assert same(found.tree, new)


def test_too_little_space_is_seen_before_orbax_writes(
    two: tuple[Path, State, State], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, old, _ = two

    def full(handle: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, f"No space left on device for {size} bytes from {start}")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    monkeypatch.setattr(checkpoint, "_write", None)
    with pytest.raises(WriteError, match="No space left on device"):
        save(folder, 3, old, CONFIG)
    assert step_names(folder) == ["step_00000001", "step_00000002"]


def test_a_disk_that_fills_inside_orbax_is_a_write_error(tmp_path: Path) -> None:
    """A file size limit stands for the full disk: the same path through TensorStore's errors."""
    pytest.importorskip("resource", reason="limits on file sizes need a Unix")
    code = """if True:
        import resource, signal, sys, numpy as np
        from pathlib import Path
        from jaxgen.training.checkpoint import require_settings, restore, save
        from jaxgen.errors import WriteError
        folder, tree = Path(sys.argv[1]), {f"a{i}": np.full(5000, 1.0) for i in range(8)}
        save(folder, 1, tree, {"rate": "config"})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        for limit in [0, 60, 300, 3_000, 30_000]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
            try:
                more = {name: array + 1 for name, array in tree.items()}
                save(folder, 2, more, {"rate": "config"})
            except WriteError as error:
                print(error)
            assert restore(folder, tree, {"rate": "config"}).step == 1"""
    process = run(code, str(tmp_path))
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.count("File too large") == len(out.splitlines()) == 5


def test_other_images_are_called_that(tmp_path: Path) -> None:
    tree = {"w": jnp.zeros(3)}
    save(tmp_path, 1, tree, {"data": "a" * 64, "seeds": "(0,)"})
    words = f"was trained on, sha256 {'a' * 16}, found others, {'b' * 16}; give --dataset"
    with pytest.raises(CheckpointError, match=words):
        restore(tmp_path, tree, {"data": "b" * 64, "seeds": "(0,)"})


@pytest.mark.parametrize(
    ("ours", "words"),
    [
        (
            "cat\ncow\nfox",
            "found the class 'cow' in the place of 'dog'; name them",
        ),
        ("cat\ndog", "found the class none in the place of 'fox'"),
        ("cat\ndog\nfox\nhen", "found the class 'hen' in the place of none"),
        ("", "found the class '' in the place of 'cat'"),
    ],
)
def test_other_names_of_classes_are_refused(tmp_path: Path, ours: str, words: str) -> None:
    """The digest of the images is not of the names."""
    tree = {"w": jnp.zeros(3)}
    save(tmp_path, 1, tree, {"data": "a" * 64, "classes": "cat\ndog\nfox"})
    with pytest.raises(CheckpointError, match=words) as error:
        restore(tmp_path, tree, {"data": "a" * 64, "classes": ours})
    assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match=r"found others, b+, with the class 'cow'"):
        restore(tmp_path, tree, {"data": "b" * 64, "classes": "cow\ndog\nfox"})


def test_a_checkpoint_that_names_no_classes_fits_any(tmp_path: Path) -> None:
    """An older version did not name them."""
    tree = {"w": jnp.zeros(3)}
    save(tmp_path, 1, tree, {"data": "a" * 64})
    assert restore(tmp_path, tree, {"data": "a" * 64, "classes": "cat\ndog"}) is not None
