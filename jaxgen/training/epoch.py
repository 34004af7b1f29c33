"""One epoch as a compiled program: which examples, which keys, which steps. It knows no model.

The data set lies on the device, or a window of it (`jaxgen.training.windows`). One program runs
steps ``start`` to ``stop`` of an epoch; both are arguments, so every chunk length, log interval and
resume point runs the same machine code, and a resumed run equals the uninterrupted one bit for bit.
What happens at step s depends on (learner, seed, epoch, s, state) alone:

    initial state       init with    named_key(seed, "init")
    order of an epoch   permuted by  fold_in(named_key(seed, "order"), epoch)
    a step              run with     fold_in(fold_in(named_key(seed, "step"), epoch), s)
"""

import contextlib
import logging
import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, Key

from jaxgen.errors import OutOfMemoryError, SettingError, is_whole
from jaxgen.jitted import jitted
from jaxgen.learner import Batch, Learner, Metrics, PRNGKey, State, named_key
from jaxgen.mesh import SEED

RUN_ONCE = {"xla_backend_optimization_level": 1}
"""Compiler options of a program that runs once. The bits are the same, and a DCGAN's initial state
compiles in a quarter of the time."""
logger = logging.getLogger("jaxgen")

MEMINFO = Path("/proc/meminfo")
CONTROL_GROUP = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux has the most bytes that a container may take, by the version of its groups."""

Keys: TypeAlias = Key[Array, "..."]
"""One root key, or several [num_seeds] that are trained together in one program."""


class Carry(NamedTuple):
    """All that passes from step to step, and all that a checkpoint holds."""

    state: State
    """The learner's state; with a leading axis [num_seeds] where several are trained."""
    trace: Metrics
    """Each metric at each step of the current epoch, [steps_per_epoch] or [num_seeds, ...]."""


def check_seeds(seeds: Sequence[int]) -> None:
    """Raises SettingError for what is no sequence of one or more seeds from 0 to 2^32 - 1."""
    given = seeds.tolist() if isinstance(seeds, np.ndarray) else seeds
    listed = [*given] if isinstance(given, list | tuple | range) else []
    if not listed or not all(is_whole(seed, 0, 2**32 - 1) for seed in listed):
        raise SettingError(
            expected="a sequence of one or more seeds, whole numbers from 0 to 4294967295",
            found=repr(seeds)[:80],
            remedy="set seeds=(0,), for example",
        )


def root_keys(seeds: Sequence[int]) -> Keys:
    """One key for one seed; a batch of keys for several, which `fit` trains in one program.

    Errors:
        SettingError: there is no seed, or one is beyond 32 bits.
    """
    check_seeds(seeds)
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    return keys[0] if len(seeds) == 1 else keys


def run_init(init: Callable[..., State], keys: Keys, *given: Any) -> State:
    """The state ``init(key, *given)`` of every seed, if the machine has the memory for it.

    Errors:
        OutOfMemoryError: the state alone takes more than all of the memory.
    """
    start = over_seeds(init, keys)
    state = jax.eval_shape(start, keys, *given)
    require_memory(num_bytes(state), "a state", "choose smaller sizes of layers, or fewer seeds")
    begun: State = jitted(start, compiler_options=RUN_ONCE)(keys, *given)
    return begun


def num_bytes(tree: Any) -> int:
    """Bytes of all arrays of a tree together, or of what has their shapes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def require_memory(needed: int, what: str, remedy: str, device: jax.Device | None = None) -> None:
    """Raises OutOfMemoryError for arrays that take more than all of a device's memory.

    On a CPU what others leave of it is not for this program to refuse, so a line warns: where the
    system lacks memory it kills a program, which has no line of its own then.
    """
    if needed > (there := memory(device)):
        raise OutOfMemoryError(
            expected=f"{what} that fits into {there / 2**30:,.0f} GiB of memory",
            found=f"one of {needed / 2**30:,.0f} GiB",
            remedy=remedy,
        )
    if needed > (free := _available(device)):
        text = "%s takes %.0f GiB and %.0f are free, so the system may kill the program: %s"
        logger.warning(text, what, needed / 2**30, free / 2**30, remedy)


def _available(device: jax.Device | None) -> float:
    """Bytes of a CPU's memory that no program holds; infinite where not known."""
    if (device or jax.local_devices()[0]).platform == "cpu":
        with contextlib.suppress(OSError, ValueError):
            for line in MEMINFO.read_text().splitlines():
                name, _, words = line.partition(":")
                if name == "MemAvailable":
                    return int(words.split()[0]) * 1024
    return math.inf


def memory(device: jax.Device | None = None) -> float:
    """Bytes of a device's memory, of a CPU the machine's; infinite where not known.

    It is the default device where none is given. A container has what its control group allows,
    where that is less.
    """
    device = device or jax.local_devices()[0]
    limit = (device.memory_stats() or {}).get("bytes_limit")
    if limit is None:
        try:
            limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (OSError, ValueError):
            limit = math.inf
        limit = min(limit, *map(_number_in, CONTROL_GROUP))
    return limit


def _number_in(path: str) -> float:
    """The number in a file; infinite where there is none, or no such file."""
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):  # `max` is no limit
        return math.inf


def over_seeds(function: Callable[..., Any], keys: Keys) -> Callable[..., Any]:
    """`function` itself for one key, and vmapped over its arguments for several."""
    return partial(_vmapped, function) if keys.ndim else function


def _vmapped(function: Callable[..., Any], *args: Any) -> Any:
    return jax.vmap(function, spmd_axis_name=SEED)(*args)


def epoch_order(key: PRNGKey, epoch: int | Array, num_examples: int) -> Int32[Array, " examples"]:
    """The order in which an epoch visits the examples: each index once."""
    key_order = jax.random.fold_in(named_key(key, "order"), epoch)
    return jax.random.permutation(key_order, num_examples).astype(jnp.int32)


def examples(data: Batch, rows: Any) -> Batch:
    """The images of some rows, with their labels."""
    return Batch(data.images[rows], data.labels[rows])


def initial_state(learner: Learner, keys: Keys, state: State) -> State:
    """The state before the first step: a given one, or that of init where it is None.

    A given state is copied: a program that may reuse the carry's memory must not take the caller's.

    Errors:
        SettingError: a given state has other arrays than init gives, something else, or numbers
            that are not finite.
    """
    if state is None:
        return run_init(partial(_begin, learner.init), keys)
    _require_arrays(learner, keys, state)
    try:
        copy = jax.tree.map(jnp.array, state)
    except (TypeError, ValueError, OverflowError) as error:
        raise SettingError(
            expected="a state of arrays",
            found=str(error).partition("\n")[0],
            remedy="give the state of a run with the same settings",
        ) from error
    for path, leaf in jax.tree_util.tree_leaves_with_path(copy):
        # By NumPy, because JAX would compile a program for every shape.
        if jnp.issubdtype(leaf.dtype, jnp.inexact) and not np.isfinite(np.asarray(leaf)).all():
            raise SettingError(
                expected=f"a state of finite numbers for {jax.tree_util.keystr(path)}",
                found="NaN or infinity",
                remedy="give the state of a training that did not diverge",
            )
    return copy


def _require_arrays(learner: Learner, keys: Keys, state: State) -> None:
    """Raises SettingError for a state that has other arrays than the one of `learner.init`."""
    begin = over_seeds(partial(_begin, learner.init), keys)
    try:
        wanted, found = _described(jax.eval_shape(begin, keys)), _described(state)
    except Exception:  # statistics of the data are missing, say, which a trained state has already
        return
    for name in [*wanted, *found]:
        if wanted.get(name) != found.get(name):
            raise SettingError(
                expected=f"a state of this learner, with {wanted.get(name, 'nothing')} for {name}",
                found=found.get(name, "nothing"),
                remedy="give the state of a run with the same settings, and as many seeds",
            )


def _described(state: State) -> dict[str, str]:
    """The dtype and the shape of each array of a state, by its place in it."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): _array_in_words(leaf) for path, leaf in leaves}


def _array_in_words(leaf: Any) -> str:
    """As in "float32[100]", with the dtype that JAX gives it."""
    dtype = leaf.dtype if hasattr(leaf, "dtype") else np.asarray(leaf).dtype
    with contextlib.suppress(TypeError):  # no dtype of JAX
        dtype = jax.dtypes.canonicalize_dtype(dtype, allow_extended_dtype=True)
    return f"{dtype}{[*np.shape(leaf)]}"


def _begin(init: Callable[[PRNGKey], State], key: PRNGKey) -> State:
    """The state that a learner begins with, from a seed's root key."""
    return init(named_key(key, "init"))


def initial_carry(
    learner: Learner, keys: Keys, data: Batch, batch_size: int, length: int, state: State
) -> Carry:
    """The carry before the first step of an epoch of `length` steps.

    The step is traced for the names of its metrics; of `data` the shapes are enough. If it is
    jitted, and the arguments lie where they lie in the program, the program takes what was traced.
    """

    def metrics_of(data: Batch, state: State, keys: Keys) -> Metrics:
        def of_seed(state: State, key: PRNGKey) -> Metrics:
            return learner.step(state, examples(data, slice(batch_size)), key)[1]

        metrics: Metrics = over_seeds(of_seed, keys)(state, keys)
        return metrics

    metrics = jax.eval_shape(metrics_of, data, state, keys)
    shape = (*keys.shape, length)
    return Carry(state=state, trace={name: jnp.zeros(shape, jnp.float32) for name in metrics})


def run_steps(
    learner: Learner,
    batch_size: int,
    carry: Carry,
    data: Batch,
    order: Int32[Array, "*seeds examples"],
    keys: Keys,
    epoch: Int32[Array, ""],
    start: Int32[Array, ""],
    stop: Int32[Array, ""],
) -> tuple[Carry, Int32[Array, ""]]:
    """Runs steps start <= s < stop of one epoch; ends right after a step with a bad metric.

    Returns:
        The new carry, and the number of the step after the last one that ran.
    """

    def one_step(carry: Carry, order: Array, key: PRNGKey, index: Array) -> tuple[Carry, Array]:
        rows = jax.lax.dynamic_slice(order, (index * batch_size,), (batch_size,))
        key_step = jax.random.fold_in(jax.random.fold_in(named_key(key, "step"), epoch), index)
        state, metrics = learner.step(carry.state, examples(data, rows), key_step)
        trace = {name: carry.trace[name].at[index].set(metrics[name]) for name in metrics}
        finite = jnp.all(jnp.isfinite(jnp.stack(list(metrics.values()))))
        return Carry(state=state, trace=trace), finite

    def body(loop: tuple[Carry, Array, Array]) -> tuple[Carry, Array, Array]:
        carry, index, _ = loop
        step = partial(one_step, index=index)
        carry, finite = over_seeds(step, keys)(carry, order, keys)
        return carry, index + 1, jnp.all(finite)

    def going_on(loop: tuple[Carry, Array, Array]) -> Array:
        _, index, finite = loop
        return (index < stop) & finite

    carry, index, _ = jax.lax.while_loop(going_on, body, (carry, start, jnp.array(True)))
    return carry, index


def run_steps_in_turn(
    learner: Learner,
    batch_size: int,
    carry: Carry,
    data: Batch,
    order: Int32[Array, "seeds examples"],
    keys: Keys,
    *bounds: Int32[Array, ""],
) -> tuple[Carry, Int32[Array, ""]]:
    """`run_steps` of several seeds, one after the other, to the least step that one reaches.

    The CPU gains nothing from batched products, and this way a seed's bits are those it has alone.
    """

    def one_seed(own: tuple[Carry, Array, PRNGKey]) -> tuple[Carry, Array]:
        carry, order, key = own
        return run_steps(learner, batch_size, carry, data, order, key, *bounds)

    carry, reached = jax.lax.map(one_seed, (carry, order, keys))
    return carry, jnp.min(reached)
