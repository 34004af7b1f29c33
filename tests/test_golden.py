"""The digests of tiny trainings, in the environments they belong to; near numbers in all others."""

import json
from typing import Any

import pytest
from support import golden
from support.helpers import AS_USERS, ROOT, run_python

from jaxgen import models
from jaxgen.models import rbm
from jaxgen.runs import manifest as run_manifest

LEARNERS = golden.learners()


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """The ends of the models' training when XLA compiles them as it does for users."""
    done = run_python(str(ROOT / "tests" / "support" / "golden.py"), timeout=300, **AS_USERS)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_every_model_has_one() -> None:
    names = {*models.names()}
    assert set(LEARNERS) == names
    assert set(golden.stored()["moments"]) <= names
    for entry in golden.stored()["environments"]:
        assert set(entry["digests"]) <= names
        assert entry["hash"] == run_manifest.fingerprint(entry["environment"])


@pytest.mark.programs
@pytest.mark.parametrize("name", LEARNERS)
def test_training_ends_in_the_golden_parameters(name: str, found: dict[str, Any]) -> None:
    if name not in found["strayed"]:
        pytest.skip(f"no digest of {name} yet: type python tests/fixtures/make_golden.py")
    assert found["strayed"][name] == []
    here, known = found["here"], {e["hash"]: e for e in golden.stored()["environments"]}
    if here["hash"] in known:
        assert here["digests"][name] == known[here["hash"]]["digests"][name]


@pytest.mark.programs
@pytest.mark.parametrize("name", golden.STREAMED)
def test_a_streamed_set_ends_in_the_same_parameters(name: str, found: dict[str, Any]) -> None:
    assert found["streamed"][name] == found["here"]["digests"][name]


@pytest.mark.parametrize(
    "change", [{"learning_rate": 0.105}, {"init_scale": 0.101}, {"num_gibbs_steps": 2}]
)
def test_a_small_change_strays(change: dict[str, Any]) -> None:
    """Changes that the comparison without digests notices."""
    learner = rbm.learner(rbm.Config(num_hidden=12, **change), golden.SHAPE)
    assert golden.strayed(golden.trained(learner), golden.stored()["moments"]["rbm"])
