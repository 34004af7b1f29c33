"""A VAE on the yardstick; its bounds are those that its own run measured."""

from functools import partial

import jax
import jax.numpy as jnp

from experiments.comparison.examined import Effort, Examined, Likelihood, grey
from experiments.running.finished import Finished
from jaxgen.data import Dataset
from jaxgen.models import vae


def examined(run: Finished, dataset: Dataset) -> Examined:
    """A VAE of `experiments.vae`."""
    config = run.args.model
    height, width, num_channels = dataset.train.images.shape[1:]
    params = jax.tree.map(jnp.asarray, run.params)
    state = vae.State(params=params, opt_state=None, step=jnp.int32(0))

    def mean_codes(images: jax.Array) -> jax.Array:
        return vae.encode(params, config, grey(images, config.binarize))[0]

    return Examined(
        sample=partial(vae.sample, config, (height, width, num_channels), state),
        features={"mean codes": mean_codes},
        likelihoods=partial(_likelihoods, run),
    )


def _likelihoods(run: Finished, effort: Effort) -> list[Likelihood]:
    """The bounds in the run's summary: they take minutes, and nothing changes them."""
    del effort
    if run.args.model.likelihood == "gaussian" or run.args.model.binarize == "none":
        return []
    kinds = {
        "test_elbo": "ELBO",
        "test_bound": f"importance-weighted bound, {run.args.bound_samples:,} codes",
    }
    metrics = run.summary["metrics"]
    return [
        Likelihood(kind, metrics[name], metrics[f"{name}_error"]) for name, kind in kinds.items()
    ]
