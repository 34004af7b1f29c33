"""A few steps of every model on fixed images, on the CPU: what they end in, and where they ran.

`fixtures/golden.json` holds the digests of the parameters for each environment that is known, and
the mean and the norm of every array, which every environment comes near.
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgen import models
from jaxgen.export import safetensors
from jaxgen.learner import Learner
from jaxgen.models import dbm, dbn, dcgan, gan, rbm, vae, wake_sleep
from jaxgen.runs import manifest as run_manifest
from jaxgen.training import checkpoint, windows
from jaxgen.training.loop import Schedule, fit

FILE = Path(__file__).parents[1] / "fixtures" / "golden.json"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
"""Packages on which the bits of a CPU depend; jaxgen itself is tested."""
PLACE = ("machine", "processor", "instructions", "several_cores", "threads", "jax_settings")
"""Further facts on which they depend; the last two only where they are not the usual ones."""
TOLERANCE = 1e-3
"""Largest distance from a stored norm or root mean square, as a part of it."""
STREAMED = ("rbm", "vae")
"""Models that are trained once more in windows."""
SHAPE = (28, 28, 1)
SIZES = (12, 10)


def images() -> np.ndarray:
    """24 images of independent pixels."""
    return np.random.default_rng(0).integers(0, 256, (24, *SHAPE), dtype=np.uint8)


def layers() -> dbn.Layers:
    """The layers of a DBN 784-12-10, from normal numbers."""
    rng = np.random.default_rng(1)
    return tuple(
        {
            "w": np.float32(0.1 * rng.normal(size=(visible, hidden))),
            "b_visible": np.float32(0.1 * rng.normal(size=visible)),
            "b_hidden": np.float32(0.1 * rng.normal(size=hidden)),
        }
        for visible, hidden in ((784, SIZES[0]), SIZES)
    )


def learners() -> dict[str, Learner]:
    """One tiny learner of each model; of one that is not named here, with its default settings."""
    small = gan.Config(latent_size=5, generator_sizes=(16,), discriminator_sizes=(16,))
    narrow = dcgan.Config(width=1 / 16, latent_size=5, use_bias=False, learning_rate=1e-3)
    others = {name: models.module(name) for name in models.names()}
    return {name: module.learner(module.Config(), SHAPE) for name, module in others.items()} | {
        "rbm": rbm.learner(rbm.Config(num_hidden=12), SHAPE),
        "dbn": dbn.learner(dbn.Config(hidden_sizes=SIZES), SHAPE, layers()[:1]),
        "dbm": dbm.learner(dbm.Config(hidden_sizes=SIZES, num_chains=8), SHAPE, layers()),
        "wake_sleep": wake_sleep.learner(wake_sleep.Config(hidden_sizes=SIZES), SHAPE, layers()),
        "vae": vae.learner(vae.Config(hidden_sizes=(16, 12), latent_size=3), SHAPE),
        "gan": gan.learner(small, SHAPE),
        "dcgan": dcgan.learner(narrow, SHAPE),
    }


def trained(learner: Learner, seed: int = 0, stream: bool = False) -> Any:
    """The parameters after two epochs of three batches."""
    schedule = Schedule(num_epochs=2, batch_size=8)
    with jax.default_device(jax.devices("cpu")[0]):
        result = fit(learner, images(), schedule, (seed,), stream=stream)
    return jax.device_get(result.state.params)


def environment() -> dict[str, Any]:
    """The part of a run's environment that the CPU's bits depend on."""
    found = run_manifest.environment()
    kept = {name: found[name] for name in PLACE if name in found}
    flags = {name: text for name, text in found["flags"].items() if name != "JAX_PLATFORMS"}
    packages = {name: found["packages"][name] for name in PACKAGES}
    return kept | {"packages": packages, "flags": flags}


def moments(params: Any) -> dict[str, list[float]]:
    """Mean and norm of every array, by its dotted name."""
    arrays = safetensors.host_arrays(params)
    return {
        name: [float(a.mean(dtype=np.float64)), float(np.linalg.norm(np.float64(a)))]
        for name, a in arrays.items()
    }


def strayed(params: Any, expected: dict[str, list[float]]) -> list[str]:
    """The arrays whose mean or norm is not what was stored, or that are not stored."""
    found, sizes = moments(params), {n: a.size for n, a in safetensors.host_arrays(params).items()}
    return sorted(set(found) ^ set(expected)) + [
        f"{name}: mean and norm {found[name]}, expected {expected[name]}"
        for name in sorted(set(found) & set(expected))
        for mean, norm in [expected[name]]
        if abs(found[name][1] - norm) > TOLERANCE * norm
        or abs(found[name][0] - mean) > TOLERANCE * norm / sizes[name] ** 0.5
    ]


def stored() -> dict[str, Any]:
    """The content of the file."""
    return json.loads(FILE.read_text())


def described(params: dict[str, Any]) -> dict[str, Any]:
    """An environment with its hash and its digests, as the file holds it."""
    here = environment()
    digests = {name: checkpoint.digest(tree) for name, tree in params.items()}
    return {"hash": run_manifest.fingerprint(here), "environment": here, "digests": digests}


def main() -> None:
    """Trains the models; prints where, their digests, what strayed, and digests if streamed."""
    params = {name: trained(learner) for name, learner in learners().items()}
    expected = stored()["moments"]
    off = {name: strayed(tree, expected[name]) for name, tree in params.items() if name in expected}
    windows.WINDOW_BYTES, windows.LEAST_STEPS = 1, 2
    again = {name: trained(learners()[name], stream=True) for name in STREAMED}
    streamed = {name: checkpoint.digest(tree) for name, tree in again.items()}
    print(json.dumps({"here": described(params), "strayed": off, "streamed": streamed}))


if __name__ == "__main__":
    main()
