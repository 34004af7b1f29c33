"""The axes of a program's mesh of devices, and functions that a device applies to its own images.

Seeds that are trained together lie along the axis ``seed``, the images of a batch along ``data``;
`jaxgen.training.sharding` builds the mesh. What is here is used inside the traced program.
"""

from collections.abc import Callable

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array

SEED, DATA = "seed", "data"
WHOLE, BY_SEED, BY_IMAGE = (PartitionSpec(*axes) for axes in ((), (SEED,), (DATA,)))


def _shares_batches() -> bool:
    """Whether the program that is being traced has batches spread over several devices."""
    mesh = jax.sharding.get_abstract_mesh()
    return DATA in mesh.axis_names and mesh.shape[DATA] > 1


def on_own_images(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """A function of images and weights, applied by every device to its own images.

    XLA would have every device go through all images where the function takes them in blocks.
    """
    if not _shares_batches():
        return function
    own: Callable[[Array, Array], Array] = jax.shard_map(
        function, in_specs=(BY_IMAGE, WHOLE), out_specs=BY_IMAGE, check_vma=False
    )
    return own


def sum_over_own_images(
    function: Callable[[Array, Array], Array],
) -> Callable[[Array, Array], Array]:
    """A sum over two arrays of images, each device summing its own."""
    if not _shares_batches():
        return function

    def summed(a: Array, b: Array) -> Array:
        total: Array = jax.lax.psum(function(a, b), DATA)
        return total

    own: Callable[[Array, Array], Array] = jax.shard_map(
        summed, in_specs=(BY_IMAGE, BY_IMAGE), out_specs=WHOLE, check_vma=False
    )
    return own
