"""Several seeds in one program: every leaf of a tree has a leading axis [num_seeds].

The tree of one seed has no such axis, as its checkpoints have none.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from jaxgen.learner import PRNGKey, State, named_key
from jaxgen.training.epoch import root_keys, run_init

Tree = TypeVar("Tree")


def stack_seeds(trees: Sequence[Tree]) -> Tree:
    """Joins the trees of several seeds along a new leading axis; the tree of one stays as it is."""
    if len(trees) == 1:
        return trees[0]
    stacked: Tree = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
    return stacked


def unstack_seeds(tree: Tree, num_seeds: int) -> list[Tree]:
    """Splits the tree of several seeds into NumPy trees, one a seed; one seed's tree stays."""
    if num_seeds == 1:
        return [tree]
    host = jax.device_get(tree)
    return [jax.tree.map(lambda leaf, i=index: leaf[i], host) for index in range(num_seeds)]


def start_from(init: Callable[[PRNGKey, Any], State], seeds: Sequence[int], given: Any) -> State:
    """Returns the state ``init(key, given)`` of every seed, for a start from trained arrays.

    Of several seeds each has its own part of `given`, along a leading axis [num_seeds]. The key is
    the one that `fit` hands to `Learner.init`.
    """

    def start_one(key: PRNGKey, given: Any) -> State:
        return init(named_key(key, "init"), given)

    return run_init(start_one, root_keys(seeds), given)
