"""Trains small models on 1, 2 and 4 CPU devices and prints what came out; see test_devices.py.

A process has as many CPU devices as it asks for before its first array, hence a script.
"""

import json
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_compilation_cache_dir", sys.argv[1])  # equal programs compile once
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from flax import linen as nn  # noqa: E402

from jaxgen.learner import Batch, Learner, Metrics, PRNGKey  # noqa: E402
from jaxgen.models import dcgan, gan, rbm, vae  # noqa: E402
from jaxgen.nn.layers import BatchNorm  # noqa: E402
from jaxgen.training import checkpoint, windows  # noqa: E402
from jaxgen.training.loop import Schedule, fit  # noqa: E402

SHAPE = (8, 8, 1)
BATCH = 8


class Normalised(NamedTuple):
    """State of `normalised`."""

    params: Any
    batch_stats: Any


def normalised() -> Learner:
    """One batch normalisation and a sum, by gradient descent: its statistics join all devices."""
    net = BatchNorm(nn.initializers.ones)

    def init(key: PRNGKey) -> Normalised:
        variables = net.init(key, jnp.zeros((2, 64)), True)
        return Normalised(variables["params"], variables["batch_stats"])

    def step(state: Normalised, batch: Batch, key: PRNGKey) -> tuple[Normalised, Metrics]:
        del key
        units = batch.images.reshape(len(batch.images), -1) / 255.0

        def loss(params: Any) -> tuple[Any, Any]:
            variables = {"params": params, "batch_stats": state.batch_stats}
            out, changed = net.apply(variables, units, True, mutable=["batch_stats"])
            return jnp.mean(jnp.sum(jnp.tanh(out) * units, axis=1)), changed["batch_stats"]

        (value, stats), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
        params = optax.apply_updates(state.params, jax.tree.map(lambda g: -0.1 * g, grads))
        return Normalised(params, stats), {"loss": value}

    def sample(state: Normalised, key: PRNGKey, num: int) -> Any:
        del state, key
        return jnp.zeros((num, *SHAPE))

    return Learner(init, step, sample)


LEARNERS: dict[str, Callable[[], Learner]] = {
    "rbm": lambda: rbm.learner(rbm.Config(num_hidden=16), SHAPE),
    "vae": lambda: vae.learner(vae.Config(hidden_sizes=(16,), latent_size=4), SHAPE),
    "gan": lambda: gan.learner(
        gan.Config(latent_size=4, generator_sizes=(16,), discriminator_sizes=(16,)), SHAPE
    ),
    "normalised": normalised,
    "dcgan": lambda: dcgan.learner(dcgan.Config(latent_size=8, width=1 / 64), SHAPE),
}


def trained(
    name: str, num_devices: int, seeds: tuple[int, ...], stream: bool = False
) -> dict[str, Any]:
    """Three steps: the metrics of each, the parameters as one vector, and their digest."""
    images = np.random.default_rng(0).integers(0, 256, (3 * BATCH, *SHAPE), np.uint8)
    log: list[dict[str, Any]] = []
    result = fit(
        LEARNERS[name](),
        images,
        Schedule(num_epochs=1, batch_size=BATCH, log_every=1),
        seeds,
        devices=jax.devices()[:num_devices],
        stream=stream,
        hook=lambda progress: log.append(progress.metrics or {}),
    )
    params = jax.device_get(result.state.params)
    return {
        "log": [{key: value.tolist() for key, value in line.items()} for line in log],
        "params": np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(params)]).tolist(),
        "digest": checkpoint.digest(params),
    }


if __name__ == "__main__":
    windows.WINDOW_BYTES, windows.LEAST_STEPS = 1, 2  # a streamed epoch has two
    for line in sys.stdin:  # one request a line: [name, number of devices, seeds, streamed?]
        name, num_devices, seeds, *stream = json.loads(line)
        print(json.dumps(trained(name, num_devices, tuple(seeds), *stream)), flush=True)
