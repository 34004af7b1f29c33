"""The files of every run: samples, parameters, a page and, last, a summary."""

import contextlib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.running.args import RunArgs
from experiments.running.console import turn_to
from experiments.running.experiment import find
from experiments.running.session import Session
from jaxgen.errors import JaxgenError
from jaxgen.export import safetensors
from jaxgen.files import appearing_whole, write_json
from jaxgen.jitted import jitted
from jaxgen.learner import Learner, named_key
from jaxgen.report import page as report
from jaxgen.report.page import Absent, Headline, Link, Section, code, number
from jaxgen.runs import manifest as run_manifest
from jaxgen.runs.files import PAGE, PARAMS, SAMPLES, SUMMARY
from jaxgen.runs.samples import most_images
from jaxgen.runs.settings import read_json
from jaxgen.runs.summary import contents_of
from jaxgen.training import checkpoint
from jaxgen.training.loop import Result

NUM_SAMPLES = 100
"""Images in `samples.npz`, unless they are very large."""
MEASURES, MEASURES_PAGE = "measures.json", "measures.html"
"""The files that `experiments.compare` adds to a run folder."""


QUICK = (
    "This is a quick run (`--quick`): a short training to try the program. It does not show what "
    "the model can do."
)


def lead(args: RunArgs, session: Session, num_steps: int, model: str = "") -> list[str]:
    """The training, in the words at the top of a page."""
    num, seeds = len(session.dataset.train.images), ", ".join(map(str, session.seeds))
    trained = f"Trained on the {num:,} training images of {session.dataset.name}: "
    trained += f"{args.epochs_in_words}, batch {args.batch_size}, {num_steps:,} updates, "
    trained += f"seed {args.seed}." if model else f"seeds {seeds} in one program."
    words = [f"{model[:1].upper()}{model[1:]}."] if model else []
    return [*words, trained, *([QUICK] if args.quick else [])]


def in_words(name: str) -> str:
    """The name of a metric as prose has it."""
    return name.replace("_", " ")


def facts(session: Session, result: Result) -> dict[str, str | Link]:
    """The table at the end of a page."""
    digest = checkpoint.digest(result.state.params)
    steps = result.step - result.first_step
    train_s = f"{result.train_s:.1f} s for {steps} steps in this process"
    return {
        "data set": f"{session.dataset.name}, sha256 {session.dataset.digest}",
        "time": f"compilation {result.compile_s:.1f} s, training {train_s}",
        "memory": f"{run_manifest.peak_memory() / 1e6:,.0f} MB at most in this process",
        "parameters": f"sha256 {digest}",
        "command": run_manifest.command(),
        "measures": measures_fact(session.folder, digest),
    }


def summary(
    args: RunArgs, session: Session, result: Result, metrics: Mapping[str, float]
) -> dict[str, Any]:
    """The content of `summary.json`; times and rates are of this process alone."""
    steps = result.step - result.first_step
    return {
        "experiment": session.experiment,
        "dataset": session.dataset.name,
        "preset": args.preset,
        "seed": args.seed,
        "epochs": args.epochs,
        "steps": result.step,
        "digest": checkpoint.digest(result.state.params),
        "data_digest": session.dataset.digest,
        "image_shape": [*session.image_shape],
        "class_names": [*session.dataset.class_names],
        "first_step": result.first_step,
        "compile_s": round(result.compile_s, 4),
        "train_s": round(result.train_s, 4),
        "steps_per_s": round(steps / result.train_s, 2) if steps else 0.0,
        "peak_rss_bytes": run_manifest.peak_memory(),
        "metrics": {name: float(value) for name, value in metrics.items()},
    }


def write_samples(args: RunArgs, session: Session, learner: Learner, result: Result) -> np.ndarray:
    """Draws the first samples of the run's seed, and keeps them in `samples.npz`.

    Of large images, as many as are read again.
    """
    turn_to("samples")
    key = named_key(jax.random.key(args.seed), "sample")
    one = jax.eval_shape(lambda state: learner.sample(state, key, 1), result.state)
    num = min(NUM_SAMPLES, most_images(one.shape[1:]))
    images = jitted(learner.sample, static_argnums=2)(result.state, key, num)
    with appearing_whole(session.folder / SAMPLES) as file:
        np.savez_compressed(file, images=images)
    turn_to("figures")
    return np.asarray(images)


def measures_fact(folder: Path, digest: str) -> str | Link:
    """A link to the page of `experiments.compare`, if it is of these parameters, or its command."""
    measured = None
    with contextlib.suppress(JaxgenError, KeyError, TypeError):  # a folder of a stranger's
        measured = read_json(folder / MEASURES)["of"]["parameters"]
    if measured == digest and (folder / MEASURES_PAGE).exists():
        return Link("likelihood, samples and features in numbers", MEASURES_PAGE)
    command = f"python -m experiments.compare {shlex.quote(str(folder))}"
    return f"{code(command)} writes {MEASURES_PAGE} here"


def write(
    args: RunArgs,
    session: Session,
    result: Result,
    metrics: Mapping[str, float],
    title: str,
    model: str,
    sections: Sequence[Section],
    numbers: Sequence[Headline] = (),
    absent: Sequence[Absent] = (),
    alike: bool = False,
) -> Path:
    """Writes parameters, page and, last, the summary, whose presence marks a whole run.

    `numbers` stand at the top of the page; by default the headlines of the experiment. `alike`
    marks samples that are alike for lack of training, for the last lines of the run.
    """
    turn_to("page")
    folder, params = session.folder, jax.device_get(result.state.params)
    metadata = {"experiment": session.experiment}
    safetensors.save_params(folder / PARAMS, safetensors.flatten(params), metadata)
    head = facts(session, result)
    if not numbers:
        shown = find(session.experiment).headline(metrics)
        numbers = [Headline(in_words(name), number(value)) for name, value in shown.items()]
    page = report.write_page(
        folder / PAGE,
        title,
        facts=head,
        sections=sections,
        lead=lead(args, session, result.step, model),
        headline=numbers,
        absent=absent,
    )
    found = summary(args, session, result, metrics) | contents_of(folder)
    found |= {"alike": alike}
    write_json(folder / SUMMARY, found)
    return page
