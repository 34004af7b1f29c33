"""Every learner's step and epoch are programs that an accelerator can run, lowered without one.

A custom call names a function outside the program, which must be there on the platform: LAPACK's
and oneDNN's are on the CPU alone.
"""

import dataclasses
import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import export

from jaxgen import models
from jaxgen.learner import Batch, Learner
from jaxgen.models import dcgan, rbm, vae
from jaxgen.training.epoch import Carry, root_keys, run_steps

ANYWHERE = {"cu_threefry2x32_ffi", "Sharding"}
"""Custom calls that are no function of the CPU's: CUDA's own Threefry, and a note for the compiler.
A new one fails here until it is known where it runs."""
NUM, BATCH, SHAPE = 8, 4, (28, 28, 1)


def small(config: Any) -> Any:
    """The settings with narrow layers."""
    names = {field.name for field in dataclasses.fields(config)}
    return dataclasses.replace(config, **{"width": 1 / 16} if "width" in names else {})


VARIANTS: Mapping[str, Learner] = {
    "dcgan in bfloat16": dcgan.learner(dcgan.Config(width=1 / 16, precision="bfloat16")),
    "dcgan of its own size": dcgan.learner(dcgan.Config(width=1 / 16, native_size=True)),
    "rbm by PCD": rbm.learner(rbm.Config(num_hidden=4, persistent=True)),
    "convolutional vae": vae.learner(vae.Config(architecture="conv", channels=(4, 4))),
}
"""Learners whose programs differ from their model's own by a setting."""
LEARNERS = {
    name: models.module(name).learner(small(models.module(name).Config()))
    for name in models.names()
} | VARIANTS

LONG = {*VARIANTS, "dcgan"}
"""Those that are traced for seconds."""


def called(program: export.Exported) -> set[str]:
    """The functions outside a program that it calls."""
    text = program.mlir_module()
    found = {*re.findall(r"custom_call\s+@?\"?([\w.$]+)", text)}
    assert text.count("custom_call") == 0 or found
    return found


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=[pytest.mark.programs] * (each in LONG)) for each in LEARNERS],
)
def test_an_epoch_calls_nothing_that_the_cpu_alone_has(name: str) -> None:
    """Of one seed, and of two that are vmapped: the program of `fit` on an accelerator."""
    learner = LEARNERS[name]
    learner = learner._replace(step=jax.jit(learner.step, inline=True))  # traced once, as in fit
    batch_size, num = (n * learner.num_batches for n in (BATCH, NUM))
    images = jax.ShapeDtypeStruct((num, *SHAPE), jnp.uint8)
    data = Batch(images, jax.ShapeDtypeStruct((num,), jnp.int32))
    number = jax.ShapeDtypeStruct((), jnp.int32)
    keys = jax.eval_shape(lambda: root_keys((0, 1)))

    def started(key: Any, data: Batch) -> Carry:
        state = learner.init(key)
        batch = Batch(data.images[:batch_size], data.labels[:batch_size])
        metrics = learner.step(state, batch, key)[1]
        return Carry(state, {each: jnp.zeros((2,), jnp.float32) for each in metrics})

    carry = jax.eval_shape(jax.vmap(started, in_axes=(0, None)), keys, data)
    order = jax.ShapeDtypeStruct((2, num), jnp.int32)
    epoch = jax.jit(partial(run_steps, learner, batch_size))
    program = export.export(epoch, platforms=("cuda", "tpu"))(
        carry, data, order, keys, number, number, number
    )
    assert called(program) <= ANYWHERE


def test_what_the_cpu_alone_has_is_found() -> None:
    square = jax.ShapeDtypeStruct((3, 3), jnp.float32)
    program = export.export(jax.jit(jnp.linalg.cholesky), platforms=("cpu",))(square)
    assert called(program) - ANYWHERE == {"lapack_spotrf_ffi"}
