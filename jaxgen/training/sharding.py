"""Where the arrays of a program lie: its seeds and the images of a batch, spread over devices.

The devices form a mesh with the axes ``seed`` and ``data``. Seeds that are trained together go to
different devices as far as their numbers allow; the devices that are left share every batch. The
program is the same for any mesh: XLA adds the sums over devices that it needs, so a batch's mean,
and its statistics in batch normalisation, are those of the whole batch. Random numbers do not
depend on the mesh either; what differs is the order of additions.

Devices may belong to several processes. All of them run the same program; the first one decides
what depends on clocks and files, and sends it to the others.
"""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jaxtyping import PyTree

from jaxgen.errors import SettingError
from jaxgen.learner import Batch, Learner, Metrics, PRNGKey, State
from jaxgen.mesh import BY_IMAGE, BY_SEED, DATA, SEED, WHOLE

Tree = TypeVar("Tree", bound=PyTree)


class Layout(NamedTuple):
    """How arrays lie on a mesh of devices, and what its processes agree on."""

    mesh: Mesh
    whole: NamedSharding
    """The same on every device: the data set, and the state of a single seed."""
    by_seed: NamedSharding
    """A leading axis of seeds, spread over the mesh's axis ``seed``."""
    by_image: NamedSharding
    """A leading axis of a batch's images, spread over the mesh's axis ``data``."""

    @property
    def shared(self) -> bool:
        """Whether the devices belong to several processes."""
        return not self.whole.is_fully_addressable

    @property
    def a_cpu_has_all_seeds(self) -> bool:
        """Whether the devices are CPUs that do not share out the seeds."""
        on_cpu: bool = self.mesh.devices.flat[0].platform == "cpu"
        return on_cpu and self.mesh.shape[SEED] == 1

    def broadcast_from_host0(self, tree: Tree) -> Tree:
        """The first process's tree of arrays, or of numbers, in every process, bit for bit."""
        if not self.shared:
            return tree
        leaves, structure = jax.tree.flatten(jax.device_get(tree))
        hosts = [np.ascontiguousarray(leaf) for leaf in leaves]
        # As bytes: the sum that carries them over would turn -0.0 into 0.0.
        sent = [host.reshape(-1).view(np.uint8) for host in hosts]
        found = [
            np.asarray(flat).view(host.dtype).reshape(np.shape(leaf))
            for flat, host, leaf in zip(
                multihost_utils.broadcast_one_to_all(sent), hosts, leaves, strict=True
            )
        ]
        same: Tree = jax.tree.unflatten(structure, found)
        return same

    def any_process(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if not self.shared:
            return flag
        return bool(np.any(multihost_utils.process_allgather(np.asarray(flag))))

    def require_same(self, settings: Mapping[str, str]) -> None:
        """Raises SettingError in a process whose settings are not the first one's."""
        text = "\n".join(f"{name} = {value}" for name, value in sorted(settings.items()))
        mine = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
        if np.any(mine != self.broadcast_from_host0(mine)):
            raise SettingError(
                expected="the same settings and data in every process of a run",
                found="others than the first process has",
                remedy="start all of them with the same flags but --process-id",
            )


def layout(devices: Sequence[jax.Device], num_seeds: int, batch_size: int) -> Layout:
    """The layout of a program on a mesh [g, n / g] of n devices.

    Within one process g is the greatest common divisor of n and the number of seeds. Over several
    processes g is 1, so that each of them holds the whole state.

    Errors:
        SettingError: n / g devices cannot share a batch equally.
    """
    several = len({device.process_index for device in devices}) > 1
    groups = 1 if several else math.gcd(len(devices), num_seeds)
    sharing = len(devices) // groups
    if batch_size % sharing:
        who = f"for {len(devices)} devices and {num_seeds} seeds leave so many to share a batch"
        raise SettingError(
            expected=f"a batch size that is a multiple of {sharing}, {who}",
            found=str(batch_size),
            remedy="set another batch size (--batch-size), or fewer devices (--devices)",
        )
    grid = np.asarray(devices).reshape(groups, sharing)
    mesh = Mesh(grid, (SEED, DATA), axis_types=(AxisType.Auto, AxisType.Auto))
    return Layout(mesh, *(NamedSharding(mesh, spec) for spec in (WHOLE, BY_SEED, BY_IMAGE)))


def sharing_batches(learner: Learner, placed: Layout) -> Learner:
    """The learner with every batch spread over the devices that share it."""
    return learner._replace(step=partial(_sharing_step, learner.step, placed.by_image))


def _sharing_step(
    step: Callable[[State, Batch, PRNGKey], tuple[State, Metrics]],
    by_image: NamedSharding,
    state: State,
    batch: Batch,
    key: PRNGKey,
) -> tuple[State, Metrics]:
    """A step whose batch is spread over devices."""
    return step(state, jax.lax.with_sharding_constraint(batch, by_image), key)


def place(tree: Any, sharding: NamedSharding) -> Any:
    """Puts arrays, equal in all processes, where they belong."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def put(leaf: jax.Array) -> jax.Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            keys: jax.Array = jax.random.wrap_key_data(put(jax.random.key_data(leaf)))
            return keys
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree)


def local(tree: Tree) -> Tree:
    """Arrays that every device holds whole, as one device's of this process; others as they are."""

    def own(leaf: jax.Array) -> jax.Array:
        return leaf.addressable_data(0) if leaf.is_fully_replicated else leaf

    owned: Tree = jax.tree.map(own, tree)
    return owned
