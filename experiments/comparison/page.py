"""The comparison for its readers: one table, its parts, the samples; as page, markdown and JSON."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from experiments.comparison import ranking, tables
from experiments.comparison.measures import PROBED, others
from experiments.comparison.published import Published
from experiments.comparison.ranking import ARROWS
from experiments.comparison.tables import OTHERS, Row
from experiments.running.artifacts import MEASURES_PAGE
from jaxgen.evaluation import suite
from jaxgen.evaluation.ais import LEAST_EFFECTIVE
from jaxgen.files import write_atomically, write_json
from jaxgen.report import figures
from jaxgen.report import page as report
from jaxgen.report.page import Figure, Link, Section, Table, escape, list_in_words, number
from jaxgen.runs import manifest as run_manifest

PAGE = "compare.html"
ROWS = "compare.json"
NUM_SHOWN = 20
"""Samples of each model in the picture: the first ones."""
KINDS = (
    "Exact: log Z by enumeration. AIS: log Z estimated from below in expectation, so the "
    "likelihood comes out too high, if anything; reverse AIS the other way round where its "
    "chains start at independent draws of the model. They start at the ends of Gibbs chains, "
    "and where these missed modes, reverse AIS lies below log Z too. So if it is below AIS, "
    "AIS is the one to believe: it is right where log Z is known exactly, and overstates log "
    "Z by t nats with a probability of at most exp(-t). If it is above AIS by more than a "
    "nat, log Z most likely lies between. Log Z stands with the interval that the mean weight"
    f" gives at three standard errors below and above; with fewer than {LEAST_EFFECTIVE} "
    "effective chains an error would be far too small, so there is none, and of several seeds"
    " there is the range and no mean. Of several seeds log Z is the one whose two sides lie "
    "farthest apart. Bounds lie below the likelihood, but for the error of log Z on top. "
    "Thresholded pixels are other data than drawn ones."
)
"""The kinds of likelihoods and how far each can be relied on."""


PUBLISHED = {
    "parzen": "Published Parzen figures: {}. They are of other widths and samples.",
    "test_error": "Published test errors, in percent: {}.",
}
"""Sentences with the figures of a measure, which no column of the tables has."""


def describe_published(published: Sequence[Published], measure: str) -> list[str]:
    """The published figures of a measure in a sentence, if there are any."""
    found = [x for x in published if x.measure == measure]
    listed = "; ".join(f"{x.model} {number(x.value)} ({x.how}; {x.source})" for x in found)
    return [PUBLISHED[measure].format(listed)] if found else []


def links(rows: Sequence[Row], folder: Path) -> list[Link]:
    """Links to the pages of the runs' measures, as seen from a page in the folder."""
    return [
        Link(
            f"The measures of {row.name}, seed {run.seed}",
            quote(os.path.relpath(run.folder / MEASURES_PAGE, folder).replace(os.sep, "/")),
        )
        for row in rows
        for run in row.runs
    ]


def sections(
    rows: Sequence[Row],
    folder: Path,
    picture: Path,
    verdict: Sequence[str],
    published: Sequence[Published],
    class_names: Sequence[str],
) -> list[Section]:
    """The page in `folder` in order; the samples of all models go to one picture."""
    sheet = figures.rows_of({row.name: row.images[:NUM_SHOWN] for row in rows})
    caption = f"The first {NUM_SHOWN} samples of each model, in the order drawn"
    shown = Figure(figures.save(sheet, picture), caption, caption, "full")
    main, further = tables.main_table(rows), tables.further_table(rows, published)
    legend = (
        f"{ranking.BEST} marks the best model of a column and those that cannot be told from it, "
        f"unless that is all; {ARROWS['higher']} and {ARROWS['lower']} mark the columns in which "
        "higher or lower is better. Two models are told apart by more than two standard errors of "
        "the difference, over seeds where there are several. Rows without seeds are references "
        "and are not ranked. Each measure is explained below, under The measures."
    )
    cells = [
        "Of several seeds a cell has the mean and ± the standard deviation over seeds (n - 1); of "
        "one seed, the value [95% interval over samples; of Parzen and of labels, over test "
        "images]. A log likelihood of one seed has ± its standard error over test images and over "
        f"the chains that estimate log Z; with fewer than {LEAST_EFFECTIVE} effective chains it is "
        f"not known, so there is no ±, and of several seeds the range and no mean.",
        "A row is named by its experiment and preset, and by what is changed in them. Samples are "
        "as the models give them: of binary models, the probabilities of the last draw. They "
        "are measured against test images, real test images against training images; the labels "
        "of that row are read from pixels.",
        *describe_published(published, "parzen"),
        *(describe_published(published, "test_error") if tables.has_test_errors(rows) else []),
    ]
    titles = [column.rstrip(" ↑↓") for column in (*main.columns, *further.columns)]
    meanings = [
        [tables.title(name), text]
        for name, text in suite.DESCRIPTIONS.items()
        if suite.TITLES[name] in titles
    ]
    meanings += [each for each in OTHERS if each[0] in titles or each[0] == "N labels, %"]
    classes = Section(
        "classes",
        "Classes of the samples",
        others(len(class_names)),
        (),
        tables.class_table(rows, class_names),
        question="How often does each model draw each class, as the classifier reads them?",
    )
    likely = Section(
        "likelihood",
        "Log likelihood",
        [KINDS],
        (),
        tables.likelihood_table(rows, published),
        question="How probable are test images, by every estimate that there is?",
    )
    probed = Section(
        "probes",
        "Probes",
        [PROBED],
        (),
        tables.probe_table(rows),
        question="How many test images does a classifier on each model's features read right?",
    )
    read = any(measures["class_frequencies"] for row in rows for measures in row.measures)
    return [
        Section(
            "verdict",
            "Verdict",
            verdict,
            question="Which model is best, and in what?",
            part="pictures",
        ),
        Section(
            "table",
            "Models and measures",
            [legend],
            (),
            main,
            question="How do the models compare in the numbers that matter first?",
            part="pictures",
        ),
        Section(
            "samples",
            "Samples",
            ["None is chosen: the first samples of each model, in the order drawn."],
            [shown],
            question="What do the models draw?",
            part="pictures",
        ),
        Section(
            "further",
            "Further measures",
            cells,
            (),
            further,
            question="How were likelihoods found, and what do the other measures show?",
        ),
        *([classes] if read else []),
        *([likely] if likely.table and likely.table.rows else []),
        *([probed] if probed.table and probed.table.rows else []),
        Section(
            "measures",
            "The measures",
            [],
            (),
            Table(["measure", "definition"], meanings),
            question="What does each column say?",
        ),
        Section(
            *("runs", "Runs", [], (), tables.run_table(rows), links(rows, folder)),
            part="provenance",
        ),
    ]


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Every number, by row and by seed."""
    return [
        {
            "name": row.name,
            "seeds": [{"seed": run.seed, "digest": run.digest} for run in row.runs],
            "train_s": [round(run.train_seconds, 2) for run in row.runs],
            "measures": list(row.measures),
        }
        for row in rows
    ]


def title_of(rows: Sequence[Row]) -> str:
    """The title of the comparison: its models, if they are few."""
    names = [row.name for row in rows if row.runs]
    short = [*dict.fromkeys(name.partition(", ")[0] for name in names)]
    if len(names) == 1:
        return f"Measures of {short[0]}"
    if not 0 < len(short) <= ranking.MOST_NAMED:
        return f"{len(names)} models side by side"
    if len(short) == 1:
        return f"{len(names)} trainings of {short[0]} side by side"
    return f"{list_in_words(short)} side by side"


def write(
    rows: Sequence[Row],
    folder: Path,
    markdown: Path,
    facts: Mapping[str, str],
    verdict: Sequence[str],
    published: Sequence[Published],
    class_names: Sequence[str],
) -> Path:
    """The markdown with its picture, `compare.html` and, last, `compare.json`; returns the page."""
    markdown.parent.mkdir(parents=True, exist_ok=True)
    picture, title = markdown.with_suffix(".png"), title_of(rows)
    found = sections(rows, folder, picture, verdict, published, class_names)
    facts = {**facts, "command": run_manifest.command()}
    page = report.write_page(folder / PAGE, title, facts=facts, sections=found)
    parts = [f"# {title}", *(f"- {name}: {escape(text)}" for name, text in facts.items())]
    for section in found:
        parts += [f"\n## {section.title}\n", *(f"{escape(text)}\n" for text in section.answer)]
        for each in section.figures:
            parts.append(
                f"![{escape(each.alt)}]({quote(each.path.name)})\n\n{escape(each.title)}\n"
            )
        parts += [report.markdown(section.table)] if section.table else []
    write_atomically(markdown, ("\n".join(parts) + "\n").encode())
    write_json(folder / ROWS, as_json(rows))
    return page
