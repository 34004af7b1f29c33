"""One runner for the studies: variants of a run, trained inside it and set side by side.

A study leaves `study.html`, `study.md` and `study.json` in the run's folder, and in `study/` a
folder for each program that it trains.
"""

import dataclasses
import logging
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from experiments.running.args import RunArgs
from experiments.running.artifacts import QUICK
from experiments.running.session import Session
from jaxgen.files import write_atomically, write_json
from jaxgen.report import page as report
from jaxgen.report.page import Absent, Link, Section, Table, escape, number
from jaxgen.runs import manifest as run_manifest
from jaxgen.runs.files import PAGE
from jaxgen.training.loop import Result

logger = logging.getLogger("jaxgen")


@dataclass(frozen=True)
class StudyArgs(RunArgs):
    """The flags of an experiment with a study."""

    study: bool = False
    """Train the variants that the lab compares as well and write study.html."""


STUDY_PAGE = "study.html"
SAME_ERROR = 0.06
"""Reconstruction errors nearer than this part are not told apart: five standard deviations over
seeds 0 to 4 of the lab's RBM on MNIST, the band of `experiments.rbm`."""


class HasMeasures(Protocol):
    """A trained model with its measures."""

    @property
    def measures(self) -> Mapping[str, float]:
        """Numbers by name."""


A = TypeVar("A", bound=StudyArgs)
M = TypeVar("M", bound=HasMeasures)


class Variant(NamedTuple, Generic[A]):
    """Settings that a study compares with those of the run."""

    name: str
    """Of its row."""
    folder: str
    """In the folder `study` of the run; the variants of one folder are one program."""
    args: A


def variant(args: A, name: str, folder: str, **changes: Any) -> Variant[A]:
    """The settings of a run without its study, some of its model's changed."""
    model = dataclasses.replace(args.model, **changes)  # type: ignore[attr-defined]
    settings: dict[str, Any] = {"model": model, "study": False}
    return Variant(name, folder, dataclasses.replace(args, **settings))


class Study(NamedTuple, Generic[A, M]):
    """Variants of a run, and how they are trained and shown."""

    title: str
    facts: Mapping[str, str]
    """The head of the page, besides command, training and the number of seeds."""
    variants: Sequence[Variant[A]]
    train: Callable[[Sequence[Variant[A]], Session], Mapping[str, M]]
    """Trains the variants of one program in the folder of the session; returns rows by name."""
    sections: Callable[[Mapping[str, M], Table], Sequence[Section]]
    """All rows, those of the run first, and their table -> the page."""
    columns: Mapping[str, str]
    """Measures and their titles in the table."""
    heading: str = "variant"
    """Title of the names' column."""
    digits: int = 4
    """Significant digits in the table."""
    order: Callable[[M], Any] = lambda _: 0
    """Sorts the rows; rows of equal keys stay in the order of their training."""


def run(study: Study[A, M], args: A, session: Session, main: Mapping[str, M]) -> Path:
    """Trains the variants, sets them beside the rows of the run and returns the page."""
    programs: dict[str, list[Variant[A]]] = {}
    for variant in study.variants:
        programs.setdefault(variant.folder, []).append(variant)
    if len(programs) > 1:
        logger.info(
            "study: %d trainings follow, each takes about as long as the run: %s",
            len(programs),
            ", ".join(variant.name for variant in study.variants),
        )
    rows = dict(main)
    for folder, variants in programs.items():
        logger.info("study: %s", ", ".join(variant.name for variant in variants))
        rows |= study.train(variants, session.within(f"study/{folder}"))
    rows = dict(sorted(rows.items(), key=lambda row: study.order(row[1])))
    measures = {name: row.measures for name, row in rows.items()}
    table = tabulate(measures, study.columns, study.heading, study.digits)
    facts = {
        "command": run_manifest.command(),
        "training": f"{args.epochs_in_words}, batch {args.batch_size}, seed {args.seed} each",
        **study.facts,
        "spread": "one seed",
    }
    listed = (f"- {name}: {escape(fact)}" for name, fact in facts.items())
    markdown = "\n".join([f"# {study.title}\n", *listed, "", report.markdown(table)])
    write_atomically(session.folder / "study.md", markdown.encode())
    lines = [{"name": name, **values} for name, values in measures.items()]
    write_json(session.folder / "study.json", lines)
    page = session.folder / STUDY_PAGE
    return report.write_page(
        page,
        study.title,
        facts={**facts, "run": Link("the page of the run", PAGE)},
        sections=study.sections(rows, table),
        lead=[
            "Each variant changes the run in one thing and is trained from the same seed.",
            *([QUICK] if args.quick else []),
        ],
    )


def elsewhere(args: StudyArgs, tasks: Mapping[str, str]) -> tuple[list[Section], list[Absent]]:
    """The part of a run's page on the tasks of its study, by number and title.

    With `--study` a section leads to the page of the study; without it the tasks are absent, and
    the command is that of the run with `--study`, which trains nothing of it again.
    """
    if args.study:
        title, links = "The study", [Link("Variants of this run side by side", STUDY_PAGE)]
        answer = [", ".join(f"{task} {title}".strip() for task, title in tasks.items()) + "."]
        return [Section(", ".join(filter(None, tasks)), title, answer, links=links)], []
    words = [word for word in shlex.split(run_manifest.command()) if word != "--overwrite"]
    added = [word for word in ("--resume", "--study") if word not in words]
    command = shlex.join([*words, *added])
    return [], [Absent(task, title, command) for task, title in tasks.items()]


def as_own_run(
    train: Callable[[A, Session], Result], write: Callable[[A, Session, Result], M]
) -> Callable[[Sequence[Variant[A]], Session], Mapping[str, M]]:
    """Returns the training of a variant as a whole run, with a record of its own settings."""

    def train_variant(variants: Sequence[Variant[A]], place: Session) -> dict[str, M]:
        (variant,) = variants
        own = place.for_run(variant.args)
        return {variant.name: write(variant.args, own, train(variant.args, own))}

    return train_variant


def tabulate(
    measures: Mapping[str, Mapping[str, float]],
    columns: Mapping[str, str],
    heading: str = "",
    digits: int = 3,
) -> Table:
    """A table with a row per model; `columns` maps measures to their titles."""
    cells = [
        [name, *(number(values[key], digits) if key in values else "-" for key in columns)]
        for name, values in measures.items()
    ]
    return Table([heading, *columns.values()], cells)
