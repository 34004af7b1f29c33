"""The flags of a run that goes on against those in its config.json."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from support.helpers import one_line

from experiments import dbn, rbm, wake_sleep
from experiments.running.stored import require_no_other, require_unchanged
from jaxgen.errors import CheckpointError, RunFolderError
from jaxgen.runs.settings import to_json
from jaxgen.runs.summary import settings_digest

LABELLED = wake_sleep.PRESETS["labelled"]


def record(args: Any, folder: Path, experiment: str, **changed: Any) -> None:
    config = to_json(args) | {"experiment": experiment} | changed
    (folder / "config.json").write_text(json.dumps(config))


def change(args: Any, **changed: Any) -> Any:
    """The settings with others of the model."""
    return dataclasses.replace(args, model=dataclasses.replace(args.model, **changed))


@pytest.mark.parametrize(
    ("experiment", "earlier", "now", "words"),
    [
        (
            "wake_sleep",
            LABELLED,
            change(LABELLED, averaged_share=0.3),
            "expected --averaged-share 0.1, as in the run in {folder}, found --averaged-share 0.3;",
        ),
        (
            "wake_sleep",
            LABELLED,
            dataclasses.replace(change(LABELLED, gibbs_phases=(1, 2)), epochs=100),
            "expected --epochs 200 --gibbs-phases 3 6 10, as in the run in {folder} (its updates "
            "depend on the number of epochs), found --epochs 100 --gibbs-phases 1 2;",
        ),
        (
            "dbn",
            dbn.Args(base_rates=True),
            change(dbn.Args(), momentum=0.5),
            "expected --base-rates --momentum 0.0, as in the run in {folder}, "
            "found --no-base-rates --momentum 0.5;",
        ),
        (
            "wake_sleep",
            wake_sleep.Args(),
            dataclasses.replace(change(wake_sleep.Args(), num_classes=10), conditional=True),
            "expected --no-conditional, as in the run in {folder}, found --conditional;",
        ),
    ],
)
def test_flags_that_are_not_as_they_were(
    experiment: str, earlier: Any, now: Any, words: str, tmp_path: Path
) -> None:
    record(earlier, tmp_path, experiment)
    with pytest.raises(CheckpointError) as raised:
        require_unchanged(experiment, now, tmp_path)
    assert words.format(folder=tmp_path) in str(raised.value)


def test_a_folder_with_a_run_of_other_flags(tmp_path: Path) -> None:
    """`--resume` would be refused, so it is not named; else the lock decides, and then names it."""
    record(rbm.PRESETS["pcd16"], tmp_path, "rbm")
    other = dataclasses.replace(rbm.PRESETS["pcd16"], epochs=1, batch_size=7)
    with pytest.raises(RunFolderError) as raised:
        require_no_other("rbm", other, tmp_path)
    line = one_line(raised)
    assert "found a run with --epochs 50 --batch-size 100 in it, not --epochs 1 --" in line
    assert "--overwrite" in line
    assert "--resume" not in line
    require_no_other("rbm", rbm.PRESETS["pcd16"], tmp_path)
    require_no_other("dbn", dbn.Args(), tmp_path)


@pytest.mark.parametrize(
    ("earlier", "now"),
    [
        (rbm.Args(), rbm.Args(epochs=200)),
        (rbm.Args(), rbm.Args(sampler="pt", log_every=7, study=True, out=Path("elsewhere"))),
        (rbm.Args(preset="pcd500"), rbm.Args()),
        (rbm.Args(seeds=(0, 1)), rbm.Args(seeds=(0, 1), seed=3)),
    ],
)
def test_flags_that_may_change(earlier: rbm.Args, now: rbm.Args, tmp_path: Path) -> None:
    """A longer training, the report, the place; and a name of settings that are the same."""
    record(earlier, tmp_path, "rbm")
    require_unchanged("rbm", now, tmp_path)


@pytest.mark.parametrize(
    ("experiment", "changed"),
    [("dbn", {}), ("rbm", {"batch_size": "many"}), ("rbm", {"temperature": 1.0})],
)
def test_settings_that_cannot_be_compared_are_left_to_the_checkpoints(
    experiment: str, changed: dict[str, Any], tmp_path: Path
) -> None:
    """Of another experiment, of another type, or unknown here."""
    record(rbm.Args(), tmp_path, experiment, **changed)
    require_unchanged("rbm", rbm.Args(batch_size=50), tmp_path)


def test_settings_that_were_changed_by_hand_are_left_to_the_checkpoints(tmp_path: Path) -> None:
    """The flags as they were are not refused for what somebody wrote into config.json."""
    args, changed = rbm.Args(), change(rbm.Args(), num_hidden=65)
    whole = settings_digest(to_json(args) | {"experiment": "rbm"})
    record(changed, tmp_path, "rbm")
    summary = {"experiment": "rbm", "settings_digest": whole}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    require_unchanged("rbm", args, tmp_path)
    record(args, tmp_path, "rbm")
    with pytest.raises(CheckpointError, match="expected --num-hidden 100, as"):
        require_unchanged("rbm", changed, tmp_path)


def test_a_setting_that_an_older_run_lacks_is_what_it_was_before(tmp_path: Path) -> None:
    config = to_json(LABELLED) | {"experiment": "wake_sleep"}
    del config["model"]["averaged_share"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    require_unchanged("wake_sleep", change(LABELLED, averaged_share=0.0), tmp_path)
    with pytest.raises(CheckpointError, match=r"--averaged-share 0\.0, as"):
        require_unchanged("wake_sleep", LABELLED, tmp_path)
