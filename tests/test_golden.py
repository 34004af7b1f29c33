"""The digests of tiny trainings, in the environments they belong to; near numbers in all others."""

from typing import Any

import golden
import pytest
from test_contract import MODELS

from experiments import run_folder
from jaxgen import checkpoint, rbm

LEARNERS = golden.learners()


@pytest.fixture(scope="module")
def known() -> dict[str, str] | None:
    """The digests of this environment, if it is one of those in the file."""
    here = run_folder.fingerprint(golden.environment())
    return next((e["digests"] for e in golden.stored()["environments"] if e["hash"] == here), None)


def test_every_model_has_one():
    names = {name.removeprefix("jaxgen.") for name in MODELS}
    assert set(LEARNERS) == names
    assert set(golden.stored()["moments"]) == names
    for entry in golden.stored()["environments"]:
        assert set(entry["digests"]) == names
        assert entry["hash"] == run_folder.fingerprint(entry["environment"])


@pytest.mark.parametrize("name", LEARNERS)
def test_training_ends_in_the_golden_parameters(name: str, known: dict[str, str] | None):
    params = golden.trained(LEARNERS[name])
    assert golden.strayed(params, golden.stored()["moments"][name]) == []
    if known is not None:
        assert checkpoint.digest(params) == known[name]


@pytest.mark.parametrize(
    "change", [{"learning_rate": 0.105}, {"init_scale": 0.101}, {"num_gibbs_steps": 2}]
)
def test_a_small_change_strays(change: dict[str, Any]):
    """What the comparison without digests notices."""
    learner = rbm.learner(rbm.Config(num_hidden=12, **change), golden.SHAPE)
    assert golden.strayed(golden.trained(learner), golden.stored()["moments"]["rbm"])
