"""Every model as an `EvaluatedModel`, found by the class of its settings.

A model without an adapter here is evaluated by its samples alone.
"""

import importlib
from functools import partial, singledispatch
from typing import Any

from jaxgen.evaluation.adapters import adversarial, dbm, nets, vae
from jaxgen.evaluation.model import EvaluatedModel
from jaxgen.images import ImageShape
from jaxgen.models import dbm as dbm_model
from jaxgen.models import dbn, dcgan, gan, rbm, restore_state, wake_sleep
from jaxgen.models import vae as vae_model


@singledispatch
def evaluated_model(config: Any, image_shape: ImageShape, params: Any) -> EvaluatedModel:
    """A trained model as the evaluation sees it.

    A model is found by its settings. One that is not known here samples through its own learner,
    and has neither features nor a likelihood.

    Args:
        config: the settings of a model, of the class ``Config`` in its module.
        image_shape: [H, W, C] of the data set's images.
        params: those of the learner's state; or as a file has them, nested by the parts of their
            dotted names.
    """
    model = importlib.import_module(type(config).__module__)
    state = restore_state(model, config, image_shape, params)
    return EvaluatedModel(sample=partial(model.learner(config, image_shape).sample, state))


evaluated_model.register(rbm.Config, nets.rbm_model)
evaluated_model.register(dbn.Config, nets.dbn_model)
evaluated_model.register(wake_sleep.Config, nets.wake_sleep_model)
evaluated_model.register(dbm_model.Config, dbm.dbm_model)
evaluated_model.register(vae_model.Config, vae.vae_model)
evaluated_model.register(gan.Config, adversarial.gan_model)
evaluated_model.register(dcgan.Config, adversarial.dcgan_model)
