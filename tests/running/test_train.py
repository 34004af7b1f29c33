"""The arguments of `fit` in the training of a run folder."""

from pathlib import Path
from typing import Any

import pytest
from support.runs import call

from experiments.running import train
from jaxgen.errors import SettingError


@pytest.mark.parametrize("flags", [(), ("--flip",)])
def test_flips_are_part_of_what_a_checkpoint_is_of(
    flags: tuple[str, ...], digits_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with flips does not go on without; older checkpoints, of none, have no word of them."""
    given: list[Any] = []

    def fit(learner: Any, *_: Any, settings: dict[str, str], **__: Any) -> None:
        given.append((learner, settings.get("flip")))
        raise SettingError(expected="no training", found="one", remedy="end it here")

    monkeypatch.setattr(train, "fit", fit)
    monkeypatch.setattr(train, "flip_batches", lambda _: "flipped")
    where = ("--dataset", "digits", "--data-dir", str(digits_root), "--out", str(tmp_path / "run"))
    assert call(*where, *flags) == 2
    ((learner, setting),) = given
    assert (learner == "flipped", setting) == (bool(flags), "True" if flags else None)
