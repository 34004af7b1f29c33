"""A new model is two files: those of CONTRIBUTING.md, in a copy of the packages.

Nothing else of the copy is changed, and the model is found, trained, loaded, benchmarked, compared
and reproduced.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.helpers import ROOT, run_python

pytestmark = pytest.mark.programs

PROGRAM = """if True:
    import contextlib, functools, io, json, sys
    from pathlib import Path

    import jax

    import jaxgen
    from experiments import bernoulli, benchmark, compare, reproduce
    from experiments.running import cli, experiment
    from jaxgen import models
    from jaxgen.evaluation import classifier, probes
    from jaxgen.evaluation.classifier import Config

    data = sys.argv[1]
    found = {"models": models.names(), "experiments": experiment.names()}
    with contextlib.redirect_stdout(io.StringIO()):
        sys.argv = ["bernoulli", "--quick", "--epochs", "2", "--data-dir", data, "--out", "run"]
        found["trained"] = cli.main(bernoulli.EXPERIMENT)
        run = jaxgen.load("run")
        found["metric"] = run.summary["metrics"]["test_log_likelihood"]
        found["samples"] = run.sample(jax.random.key(0), 3).shape
        words = {"only": ("bernoulli-lab",), "synthetic": True, "images": 200, "repeats": 1}
        row = benchmark.measure_here(benchmark.Args(**words))
        found["row"] = {name: row[name] for name in ("name", "images_per_s", "flops_per_step")}
        found["page"] = "| bernoulli-lab |" in benchmark.benchmark_pages.page([row])
        small = Config(channels=(4, 8), num_hidden=32, num_features=16, num_epochs=1, batch_size=25)
        compare.classifiers.load = functools.partial(classifier.load, config=small)
        probes.MLP_SEEN = 500
        sys.argv = ["compare", "run", "--data-dir", data, "--num-samples", "100"]
        sys.argv += ["--num-labels", "50", "--out", "compared"]
        found["compared"] = compare.entry()
        rows = json.loads(Path("compared/compare.json").read_text())
        found["rows"] = [row["name"] for row in rows]
        flags = ["--verify", "run", "--data-dir", data, "--out", "now"]
        found["reproduced"] = reproduce.main(flags)
        found["class"] = json.loads(Path("now/reproduce.json").read_text())["found"]
    print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(digits_root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The answers of the copy with the two files."""
    root = tmp_path_factory.mktemp("copy")
    for package in ("jaxgen", "experiments"):
        shutil.copytree(ROOT / package, root / package)
    text = (ROOT / "CONTRIBUTING.md").read_text()
    files = dict(re.findall(r'^```python title="(.*?)"\n(.*?)^```$', text, re.M | re.S))
    assert sorted(files) == ["experiments/bernoulli.py", "jaxgen/models/bernoulli.py"]
    for name, code in files.items():
        (root / name).write_text(code)
    done = run_python("-c", PROGRAM, str(digits_root), cwd=root, timeout=280, PYTHONPATH=str(root))
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout)
    return answers


def test_it_is_found(found: dict[str, Any]) -> None:
    assert "bernoulli" in found["models"]
    assert "bernoulli" in found["experiments"]


def test_it_trains_and_is_loaded(found: dict[str, Any]) -> None:
    assert found["trained"] == 0
    assert -784 * 0.6931 < found["metric"] < -100  # better than a fair coin for every pixel
    assert found["samples"] == [3, 28, 28, 1]


def test_it_is_benchmarked(found: dict[str, Any]) -> None:
    assert found["row"]["name"] == "bernoulli-lab"
    assert found["row"]["images_per_s"] > 0
    assert found["row"]["flops_per_step"] is None  # it does not count them
    assert found["page"]


def test_it_is_compared(found: dict[str, Any]) -> None:
    assert found["compared"] == 0
    assert found["rows"][0] == "bernoulli-lab, quick, epochs 2"
    assert "real test images" in found["rows"]


def test_it_is_reproduced(found: dict[str, Any]) -> None:
    assert found["reproduced"] == 0
    assert found["class"] == "A"
