"""All trained models side by side: one table, one picture of samples, one page.

    python -m experiments.compare runs/rbm-mnist-seed0 runs/vae-mnist-seeds0-1-2 --out runs/compare

evaluates runs, one or several seeds each, by likelihood, by samples and by probes of
features, beside real images, a mixture of Bernoullis, uniform noise and the published figures. The
measures stay in the run's folder (`measures.json`, `measures.html`), so adding a run costs that run
alone. The folders of `pretrained/` are runs too. `--train` makes the runs first, with `--seeds`, in
OUT/runs: those of the default presets, the fully connected GAN for 100 epochs and the DCGAN by
`fast`. The first call on a data set trains its classifier (`jaxgen.evaluation.classifier`), some
minutes on two cores.
"""

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import tyro

from experiments.comparison import page as compare_pages
from experiments.comparison import published, ranking, tables
from experiments.comparison.measures import (
    Settings,
    describe_classifier,
    evaluate,
    require_label_counts,
)
from experiments.comparison.naming import group, label, label_of
from experiments.comparison.reference import reference_rows
from experiments.comparison.tables import Row
from experiments.reproduction import runs as reproduce_runs
from experiments.reproduction.checks import find_changes
from experiments.running.args import load_dataset
from experiments.running.artifacts import NUM_SAMPLES
from experiments.running.cli import (
    exit_code,
    is_quick,
    is_typed,
    parse,
    parse_flags,
    suit_to_data,
)
from experiments.running.compilation_cache import keep_programs
from experiments.running.console import show, working, write_line
from experiments.running.experiment import Comparison, find, names
from experiments.running.places import require_outside_images, require_outside_runs
from experiments.running.stored import rebuild_args
from jaxgen import data, runs
from jaxgen.data import Dataset
from jaxgen.data.dataset import find_renamed
from jaxgen.errors import CheckpointError, SettingError, require
from jaxgen.evaluation import classifier as classifiers
from jaxgen.evaluation import inception as inceptions
from jaxgen.evaluation import sample_quality, suite
from jaxgen.evaluation.ais import MAX_DRAWS
from jaxgen.evaluation.classifier import Classifier
from jaxgen.evaluation.likelihood import MAX_ENUMERATED
from jaxgen.evaluation.model import LikelihoodBudget, in_size
from jaxgen.evaluation.subset import most_rows
from jaxgen.files import check_writable, normalise_path, real_path, write_json, writing
from jaxgen.learner import named_key
from jaxgen.report.page import number
from jaxgen.runs import Run
from jaxgen.runs import folder as run_folder
from jaxgen.runs.files import CONFIG, SAMPLES
from jaxgen.runs.settings import printable, to_json
from jaxgen.runs.summary import read_summary, seed_folders

EXAMPLES = {
    "python -m experiments.compare RUN RUN": "runs side by side: minutes a run",
    "python -m experiments.compare --train --quick": "trains all models, and compares: minutes",
}
"""Of `--help`."""
MARKDOWN = "compare.md"
"""In --out."""


def experiments_to_train() -> dict[str, Comparison]:
    """The experiments that `--train` runs, in the order of the comparison."""
    declared = {name: find(name).comparison for name in names()}
    ordered = {name: x for name, x in declared.items() if x.order is not None}
    return dict(sorted(ordered.items(), key=lambda item: (item[1].order, item[0])))


@dataclass(frozen=True)
class Args:
    """Evaluate runs and set them side by side."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Folders of runs, of one seed or of several."""
    out: Path = Path("runs/compare")
    """Folder for the comparison; an earlier one in it is replaced."""
    train: bool = False
    """Make the runs first, in OUT/runs; what is there already goes on or is taken as it is."""
    only: tuple[str, ...] = ()
    """With --train: which experiments; all that the comparison runs where none is given."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """With --train: seeds of each."""
    dataset: str | None = None
    """With --train: the data set, mnist where not given, or digits if quick. Otherwise that of the
    runs, if it is no name and its prepared images are not in --data-dir any more."""
    data_dir: Path | None = None
    """Where prepared data sets lie; TFDS's own default where not given."""
    manual_dir: Path | None = None
    """A folder with the original files, or with one such folder per data set."""
    markdown: Path | None = None
    """File for the tables, with its picture beside it; without the flag, compare.md in --out."""
    num_samples: int = 10_000
    """Samples of each model, at most 10,000."""
    num_labels: tuple[int, ...] = (100, 1000, 60_000)
    """Labels given to probes; more than there are mean all."""
    ais_chains: int = 100
    """Chains of annealed importance sampling."""
    ais_temperatures: int = 14_500
    """Steps of annealed importance sampling."""
    bound_weights: int = 500
    """Draws per test image in a DBN's importance-weighted bound."""
    fid: bool = False
    """Measure the FID too, with Inception's features: needs the extra `fid`, and some minutes per
    10,000 images on a CPU."""
    quick: bool = False
    """The whole path in minutes: fewer samples, chains and draws; with --train, --quick runs, of
    the digits. Flags beside it win."""

    def __post_init__(self) -> None:
        most = suite.NUM_FEATURES
        expected = f"from 100 to {most:,}"
        require(self, "num_samples", 100 <= self.num_samples <= most, expected)
        for name in ("ais_chains", "ais_temperatures", "bound_weights"):
            holds = 2 <= getattr(self, name) <= MAX_DRAWS
            require(self, name, holds, f"from 2 to {MAX_DRAWS:,}")
        require_label_counts(self)
        require(self, "seeds", bool(self.seeds), "of one seed or more")
        other = self.markdown is None or self.markdown.suffix != ".png"
        require(self, "markdown", other, "of another ending than .png, which its picture has")
        require(self, "only", len({*self.only}) == len(self.only), "with each name once")
        if unknown := [name for name in self.only if name not in experiments_to_train()]:
            expected = f"--only of {', '.join(experiments_to_train())}"
            raise SettingError(expected=expected, found=unknown[0], remedy="set --only")
        if bool(self.runs) == self.train:
            raise SettingError(
                expected="run folders or --train",
                found="both" if self.runs else "neither",
                remedy="type python -m experiments.compare runs/rbm-mnist-seed0, for example",
            )


@dataclass(frozen=True)
class QuickArgs(Args):
    """Evaluate runs and set them side by side: little of everything."""

    num_samples: int = 500
    num_labels: tuple[int, ...] = (100,)
    ais_chains: int = 20
    ais_temperatures: int = 200
    bound_weights: int = 20


def train(args: Args) -> list[Path]:
    """Makes the runs, one experiment after the other; returns their folders."""
    folders = []
    with writing(args.out):
        (args.out / "runs").mkdir(exist_ok=True)
    for name in args.only or experiments_to_train():
        declared = experiments_to_train()[name]
        folder = args.out / "runs" / name
        dataset = args.dataset or ("digits" if args.quick else "mnist")
        words = [f"--dataset={dataset}", f"--out={folder}"]
        words += ["--quick"] if args.quick else declared.flags
        if dataset in data.NAMES:  # not what suits the device
            words.append(f"--preset={declared.preset or find(name).default.preset}")
        words += ["--seeds", *map(str, args.seeds)]
        words += [f"--data-dir={args.data_dir}"] if args.data_dir else []
        words += [f"--manual-dir={args.manual_dir}"] if args.manual_dir else []
        log = args.out / "runs" / f"{name}.log"
        if read_summary(folder):
            _check_is_of(folder, words)
            show(f"{folder} is there, and is taken as it is")
        else:
            show(f"training {name}, lines in {log}: python -m experiments.{name} {' '.join(words)}")
            with reproduce_runs.working_on(f"training {name}", folder):
                reproduce_runs.run(name, [*words, "--resume"], log)
        for of_seed in seed_folders(folder):
            folders += [of_seed / inner for inner in declared.inner_runs]
        folders.append(folder)
    return folders


def _check_is_of(folder: Path, words: Sequence[str]) -> None:
    """Raises SettingError if a run that is there has other settings than those of `words`."""
    run = runs.load(folder)
    declared = find(run.model)
    if not is_typed("--preset", words):  # the images have decided
        words = [f"--preset={rebuild_args(run.settings, str(folder))[1].preset}", *words]
    wanted = parse(declared.presets, declared.quick, words)
    wanted = suit_to_data(wanted, load_dataset(wanted), words)
    there = [label_of(run), run.dataset_name, *(one.seed for one in run.seeds or (run,))]
    name = data.name_of(wanted.dataset, wanted.images)
    asked = [label(declared, wanted), name, *wanted.seeds]
    if there != asked:
        raise SettingError(
            expected=f"{folder} to be of {', '.join(map(str, asked))}",
            found=", ".join(map(str, there)),
            remedy=f"choose another --out, or remove {folder}",
        )


@working("reading the runs and their data")
def read_all(folders: Sequence[Path], args: Args) -> tuple[list[Run], Dataset]:
    """The runs of all seeds, and their data set, which must be the same.

    Errors:
        SettingError: two runs are of different data sets, or a run is named twice.
        CheckpointError: a run was trained with other settings than its config.json has.
    """
    read = [one for run in map(runs.load, folders) for one in run.seeds or (run,)]
    for run in read:
        _, settings = rebuild_args(run.settings, str(run.folder))
        if wrong := [*find_changes(run.folder, to_json(settings))]:
            raise CheckpointError(
                expected=f"{run.folder / CONFIG} to have the settings of the training",
                found="; ".join(wrong),
                remedy="put the settings back",
            )
    dataset = read[0].dataset(args.data_dir, args.manual_dir, (args.runs and args.dataset) or None)
    for run in read:
        if run.dataset_digest != dataset.digest:
            of = f"{printable(run.dataset_name)}, sha256 {printable(run.dataset_digest[:16])}"
            raise SettingError(
                expected=f"runs on {dataset.name}, sha256 {dataset.digest[:16]}",
                found=f"{run.folder} on {of}",
                remedy="compare the runs of one data set",
            )
        named = run.summary.get("class_names", dataset.class_names)
        if other := find_renamed(dataset.class_names, named):
            raise SettingError(
                expected=f"runs on {dataset.name} with the class {other[0]}",
                found=f"{run.folder} with {other[1]} in its place",
                remedy="compare the runs of one data set",
            )
    for name, same in group(read).items():
        seeds = [run.seed for run in same]
        if len({*seeds}) < len(seeds):
            raise SettingError(
                expected=f"each seed of {name} once", found=str(seeds), remedy="name each run once"
            )
    return read, dataset


def first_samples(run: Run) -> np.ndarray:
    """The images that the run drew, drawn again where its folder has none, as in `pretrained/`."""
    if (run.folder / SAMPLES).exists():
        return run.stored_samples()
    key = named_key(jax.random.key(run.seed), "sample")
    return np.asarray(run.sample(key, NUM_SAMPLES))


def compare(args: Args, read: Sequence[Run], dataset: Dataset) -> Path:
    """Evaluates the runs on a data set and writes the comparison, returns its page."""
    size = dataset.image_shape[:2]
    drawn = {run.folder: first_samples(run) for run in read}  # before what takes minutes
    sizes = {images.shape[1:3] for images in drawn.values()}
    inception = inceptions.load(dataset) if args.fid else None
    with working(f"the classifier of {dataset.name}"):
        classifier = classifiers.load(dataset, args.data_dir)
    show(f"classifier of {dataset.name}: {classifier.describe()}")
    budget = LikelihoodBudget(args.ais_chains, args.ais_temperatures, args.bound_weights)
    settings = Settings(args.num_samples, args.num_labels, budget, inception)
    rows, numbers = [], itertools.count(1)
    for name, same in group(read).items():
        measures = [
            evaluate(run, dataset, classifier, settings, f"run {next(numbers)} of {len(read)}")
            for run in same
        ]
        images = np.asarray(in_size(drawn[same[0].folder], size))
        labelled = bool(same[0].learner.num_classes)
        rows.append(Row(name, measures, images, same, labelled))
    folder = args.out / "references"
    references = reference_rows(dataset, classifier, settings, folder, sizes - {size})
    rows += [Row(name, [each.measures], each.images) for name, each in references.items()]
    markdown = args.markdown or args.out / MARKDOWN
    head = facts(classifier, dataset, args)
    known = published.FIGURES.get(dataset.name, ())
    accuracy = float("nan") if classifier.random else classifier.accuracy
    num = min(args.num_samples, most_rows(dataset.image_shape))
    verdict = ranking.warning(accuracy) + tables.verdict(rows)
    show("\n".join(verdict))
    num_images = len(classifier.test.features)
    notes = [ranking.of_few_samples(num, num_images, suite.NUM_FEATURES)]
    notes += suite.describe_left_out(classifier, dataset, args.num_samples)
    if classifier.num_classes:
        score = number(sample_quality.inception_score(classifier.test.probs))
        notes += [f"The {suite.TITLES['inception_score']} of all real test images is {score}."]
    else:
        notes += [f"The classifier: {classifier.describe()}."]
    with working("drawing the page"):
        return compare_pages.write(
            *(rows, args.out, markdown, head, [*verdict, *notes], known, dataset.class_names)
        )


def facts(classifier: Classifier, dataset: Dataset, args: Args) -> dict[str, str]:
    """The table at the head of the page."""
    num = min(args.num_samples, most_rows(dataset.image_shape))
    return {
        "classifier": describe_classifier(classifier),
        "data set": f"{dataset.name}, sha256 {dataset.digest}",
        "samples": f"{num:,} of each model, measured against "
        f"{len(classifier.test.features):,} real test images, nearest neighbours on up to "
        f"{suite.NUM_NEIGHBOURS:,} of each",
        "log Z": f"exact up to {MAX_ENUMERATED} units on one side, else {args.ais_chains} chains "
        f"of {args.ais_temperatures:,} temperatures",
    }


def main(args: Args) -> None:
    """Compares."""
    require_outside_runs(args.out)
    places = {"--out": args.out, "--markdown": args.markdown, "--data-dir": args.data_dir}
    named = [run.settings.get("dataset") for run in map(runs.load, args.runs)]
    require_outside_images([args.dataset, *named], places)
    if args.markdown:
        require_outside_runs(args.markdown, "--markdown")
        names = CONFIG, compare_pages.PAGE, compare_pages.ROWS
        own = {real_path(args.out / name) for name in names}
        holds = real_path(args.markdown) not in own
        require(args, "markdown", holds, "that is no other file of the comparison")
    keep_programs()
    read = None if args.train else read_all(args.runs, args)  # before a folder is made
    whole = jax.default_matmul_precision("highest")  # accelerators round products by default
    with run_folder.open_folder(args.out, "compare", resume=True, overwrite=False), whole:
        check_writable(args.markdown or args.out / MARKDOWN)  # before what takes minutes
        settings = {"experiment": "compare", "settings": str(args)}
        write_json(args.out / CONFIG, settings)
        page = compare(args, *(read or read_all(train(args), args)))
        show(f"open: {normalise_path(page).as_uri()}\npage: {page}")


def entry() -> int:
    """Parses the command line and compares; returns the exit code (see jaxgen.errors)."""
    kind = QuickArgs if is_quick(sys.argv[1:]) else Args
    try:
        return exit_code(lambda: main(parse_flags(kind, EXAMPLES)), "the same command goes on")
    except reproduce_runs.Failed as failed:
        lines = failed.stderr.strip().splitlines()
        write_line(lines[-1] if lines else "")
        return failed.code


if __name__ == "__main__":
    sys.exit(entry())
