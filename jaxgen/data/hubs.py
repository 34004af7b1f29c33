"""Data sets by the name that another library has for them: `tfds:NAME[:CONFIG]` and `hf:NAME`.

TFDS's are read where it has prepared them, by itself or here, without TensorFlow; those that it can
prepare without TensorFlow are prepared. The Hugging Face hub is read by its library `datasets`, the
extra `hf`. Of either the column of images is taken, and that of labels if there is one.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxgen.data.prepared import TEST, TRAIN, Item, Source, printable
from jaxgen.data.sources import is_reachable, one_line, quiet_tfds
from jaxgen.errors import DataError, DataMissingError, JaxgenError, SettingError

HUB = "https://huggingface.co"
CONVERTED = "or convert it: docs/images.md has a folder's and a file's form"
HIDDEN = "the labels of its test split are hidden, so a tenth of its other images is the test set"
"""Of sets for competitions, whose test labels are all -1."""


def tfds_source(text: str, name: str, root: Path) -> tuple[Source, list[Any]]:
    """The images of a data set of TFDS, and what decides them.

    Raises:
        SettingError: TFDS has none of this name, or it has no images.
        DataMissingError: it is not prepared, and cannot be without TensorFlow or the network.
        DataError: its files are damaged.
    """
    import tensorflow_datasets as tfds

    from jaxgen.data import records

    words, builder = f"the data set {text} of TFDS", _tfds_builder(text, root)
    features, splits = builder.info.features, builder.info.splits
    columns = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    image, label = columns.get("image"), columns.get("label")
    whole = isinstance(image, tfds.features.Image) and "uint" in str(image.np_dtype)
    if not whole or "train" not in splits:
        raise SettingError(
            expected=f"{words} with images of 8 or 16 bits, called image, and a split train",
            found=f"{', '.join(columns)} in {', '.join(splits)}",
            remedy=f"name another, {CONVERTED}",
        )
    named = label is not None and isinstance(label, tfds.features.ClassLabel)
    class_names = tuple(map(str, label.names)) if label is not None and named else ()

    def examples(split: str) -> Iterator[tuple[bytes, int]]:
        try:
            for feature in records.read_examples(builder, split):
                of = feature["label"].int64_list.value[0] if class_names else 0
                yield feature["image"].bytes_list.value[0], of
        except Exception as error:  # a damaged file makes TFDS and its libraries raise anything
            raise DataError(
                expected=f"{words} as it prepares it in {builder.data_path}",
                found=one_line(error),
                remedy=f"delete {builder.data_path} and run again",
            ) from error

    sizes = {split: splits[split].num_examples for split in splits}
    changed = os.stat(Path(builder.data_path) / "dataset_info.json").st_mtime_ns
    source = _source(name, words, examples, "train", sizes, class_names)
    return source, ["tfds", builder.info.full_name, str(builder.data_path), changed]


def _tfds_builder(text: str, root: Path) -> Any:
    """The builder with which TFDS reads a prepared data set; prepares one that is not."""
    import tensorflow_datasets as tfds

    _, name, config, *more = [*text.split(":"), ""]
    known = all(re.fullmatch(r"[A-Za-z0-9_][\w.+-]{,99}|", part) for part in (name, config))
    if not known or not name or any(more) or text.count(":") > 2:
        raise SettingError(
            expected="tfds:NAME or tfds:NAME:CONFIG",
            found=repr(text[:100]),
            remedy="take a name of www.tensorflow.org/datasets/catalog",
        )
    with quiet_tfds():
        for base in (root, root / "jaxgen"):
            if prepared := _newest(base / name / config):
                return tfds.builder_from_directory(str(prepared))
        try:
            builder = tfds.builder(
                "/".join(filter(None, (name, config))),
                data_dir=str(root),
                file_format="array_record",
                try_gcs=False,
            )
            urls = [*builder.url_infos]
            if urls and not is_reachable(urls[0]):
                raise DataMissingError(
                    expected=f"{text}, prepared in {root / name / config}, or a network",
                    found=f"neither ({urls[0].split('/')[2]} does not answer)",
                    remedy="prepare it where there is a network, or set --data-dir to its folder",
                )
            download = tfds.download.DownloadConfig(try_download_gcs=False)
            builder.download_and_prepare(download_config=download)
        except JaxgenError:
            raise
        except Exception as error:  # TFDS and its libraries raise anything
            unknown = type(error).__name__ == "DatasetNotFoundError"
            needs = "tensorflow" in str(error).lower() and isinstance(error, ImportError)
            raise DataMissingError(
                expected=f"{text} in {root / name / config}, or to prepare it without TensorFlow",
                found="no such data set of TFDS" if unknown else one_line(error)[:200],
                remedy="prepare it with stock TFDS and TensorFlow there"
                if needs
                else "name another, or set --data-dir to where it is prepared",
            ) from error
    return builder


def _source(
    name: str,
    words: str,
    examples: Callable[[str], Iterator[tuple[bytes | Path, int | None]]],
    first: str,
    sizes: Mapping[str, int],
    class_names: tuple[str, ...],
) -> Source:
    """The images of the `first` split, and of one called test if its labels are there.

    Args:
        name: of the data set.
        words: the same for an error.
        examples: the pictures of a split with their classes: 0 in a set without classes, and None
            or -1 for an image without one.
        first: the split with the training images.
        sizes: the number of images in each split.
        class_names: none in a set without classes.
    """

    def is_hidden(label: int | None) -> bool:
        return label is None or label < 0

    has_test = "test" in sizes and first != "test"
    hidden = has_test and is_hidden(next(examples("test"), (b"", 0))[1])
    sides = {first: TRAIN, "test": TEST} if has_test and not hidden else {first: None}

    def items() -> Iterator[Item]:
        for split, place in sides.items():
            for row, (content, label) in enumerate(examples(split)):
                if label is None or is_hidden(label):
                    raise DataError(
                        expected=f"a label for every image in {words}",
                        found=f"none for image {row} of {split}",
                        remedy=f"name another, {CONVERTED}",
                    )
                yield Item(f"image {row} of {split}", content, int(label), place)

    return Source(
        name=name,
        words=words,
        items=items,
        num=sum(sizes[split] for split in sides),
        class_names=class_names,
        notes=(HIDDEN,) if hidden else (),
    )


def _newest(folder: Path) -> Path | None:
    """The folder of the newest version that is prepared in the folder of a data set."""
    versions = [
        path.parent
        for path in folder.glob("*/dataset_info.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", path.parent.name)
    ]
    return max(versions, key=lambda path: [*map(int, path.name.split("."))], default=None)


def hub_source(text: str, name: str) -> tuple[Source, list[Any]]:
    """The images of a data set of the Hugging Face hub, and what decides them.

    Raises:
        SettingError: the extra `hf` is not installed, or the data set has no images.
        DataMissingError: the hub does not answer, or has none of this name.
    """
    if not is_reachable(HUB):  # what it has downloaded before is enough
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        import datasets
    except ImportError as error:
        raise SettingError(
            expected="the library datasets, which reads hf:NAME",
            found="none",
            remedy="type pip install -c constraints.txt -e '.[hf]'",
        ) from error
    _, path, config = [*text.split(":"), ""][:3]
    if not path or text.count(":") > 2:
        raise SettingError(
            expected="hf:NAME or hf:NAME:CONFIG",
            found=repr(text[:100]),
            remedy="name one of the hub",
        )
    words = f"the data set {printable(path, 100)} of the Hugging Face hub"
    try:
        splits = datasets.load_dataset(path, config or None)
    except Exception as error:  # the library raises anything
        raise DataMissingError(
            expected=words,
            found=one_line(error)[:200],
            remedy="look at the name, and at the network",
        ) from error
    first = "train" if "train" in splits else next(iter(splits))
    features = splits[first].features
    column = next((x for x in features if isinstance(features[x], datasets.Image)), None)
    if column is None:
        raise SettingError(
            expected=f"{words} with a column of images",
            found=", ".join(features),
            remedy=f"name another, {CONVERTED}",
        )
    label = next((x for x in features if isinstance(features[x], datasets.ClassLabel)), None)

    def examples(split: str) -> Iterator[tuple[bytes | Path, int | None]]:
        try:
            for example in splits[split].cast_column(column, datasets.Image(decode=False)):
                picture = example[column] or {"bytes": b"", "path": None}  # a row without one
                content = picture["bytes"] or (Path(picture["path"]) if picture["path"] else b"")
                yield content, example[label] if label else 0
        except Exception as error:  # a damaged file makes the library raise anything
            raise DataError(
                expected=f"{words} as its library keeps it",
                found=one_line(error)[:200],
                remedy="delete it from the library's cache and run again",
            ) from error

    sizes = {split: len(splits[split]) for split in splits}
    class_names = tuple(features[label].names) if label else ()
    prints = [
        splits[split]._fingerprint for split in dict.fromkeys((first, "test")) if split in splits
    ]
    return _source(name, words, examples, first, sizes, class_names), ["hf", path, config, *prints]
