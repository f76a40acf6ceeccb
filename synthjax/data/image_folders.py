"""Readers of folders of images: by class, with a list of labels, or as Parquet files with images.

    cats/a.png dogs/b.jpg ...                   a folder for each class
    train/cats/... val/cats/... test/cats/...   the same, by split; val/ and test/ may be missing
    a.png b.png labels.csv                      a list with a column `file` and a column `label`, and perhaps `split`
    a.png b.png ...                             without labels
    train-00000-of-00001.parquet ...            a column of images and a column `label`, as of Hugging Face datasets

Class names are the names of the folders, or the labels of the list, sorted, integers by value. Rows are in the order of
the class and the file name, or of the list. Images are decoded by `synthjax.data.image_decoding`.
"""

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from synthjax.data.arrays import Part, Source, check_size, fault, shown
from synthjax.data.files import reason
from synthjax.data.image_decoding import SUFFIXES, Picture, Size, decode

_SPLITS = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": "held", "valid": "held", "validation": "held", "dev": "held",
}  # fmt: skip
_OTHER = {
    ".dcm": "a DICOM file: convert it first, for example np.asarray(pydicom.dcmread(file).pixel_array) to .png",
    ".nii": "a NIfTI volume: save its slices as images first, for example by nibabel.load(file).get_fdata()",
    ".nii.gz": "a NIfTI volume: save its slices as images first, for example by nibabel.load(file).get_fdata()",
} | dict.fromkeys(
    (".heic", ".heif", ".avif", ".svg", ".jp2", ".mha", ".nrrd", ".npy", ".mat", ".ppm", ".pgm", ".psd", ".zip"),
    "is not read: convert it to .png, or move it away",
)
"""Suffixes of files that hold images and are not read."""
_FILE = ("file", "filename", "file_name", "image", "image_id", "image_path", "path", "filepath", "name", "id")
_LABEL = ("label", "labels", "class", "target", "category", "diagnosis", "y")
_SPLIT = ("split", "set", "subset", "partition")


def unread(name: str) -> str:
    """Why an image with this file name is not read; "" if it is no image of another format."""
    return next((what for suffix, what in _OTHER.items() if name.lower().endswith(suffix)), "")


class _Item(NamedTuple):
    """An image of a folder."""

    source: Path | Picture
    label: str | None
    split: str
    """One of "train", "held" and "test"."""


def read_image_folder(folder: Path, size: Size = None) -> Source:
    """Reads a folder of images.

    Args:
        folder: see the module's docstring.
        size: height and width to which images are resized; None: all must have the same size.

    Raises:
        InputError: a class folder has no images, a file cannot be read, or an image would be ignored. It is named.
    """
    if parquet := parquet_files(folder):
        return read_image_parquet(parquet, size)
    if listed := image_list(folder):
        return read_list(listed, size)
    top = _folders(folder)
    splits = {name: _SPLITS[name.lower()] for name in top if name.lower() in _SPLITS}
    if "train" not in splits.values():
        items, classes, ignored = _by_class(folder, "train")
        return _source(items, classes, size, str(folder), ignored)
    if extra := [name for name in top if name not in splits]:
        raise fault(folder / extra[0], "unexpected beside train/; only val/ and test/ may stand there")
    items, ignored = [], []
    classes = None
    for name in sorted(splits, key=lambda name: ("train", "held", "test").index(splits[name])):
        more, of_split, left = _by_class(folder / name, splits[name])
        if items and of_split != classes:
            odd = min(set(of_split or ()) ^ set(classes or ()), default="?")
            raise fault(folder, f"class folder {shown(odd)} is in only one of train/ and {name}/")
        items, ignored, classes = items + more, ignored + left, of_split
    return _source(items, classes, size, str(folder), ignored)


def _source(
    items: Sequence[_Item], classes: tuple[str, ...] | None, size: Size, where: str, ignored: Sequence[str] = ()
) -> Source:
    """Decodes images and arranges them by split, rows of `held` after those of `train`."""
    parts = {name: [item for item in items if item.split == name] for name in ("train", "held", "test")}
    if not parts["train"]:
        raise fault(where, "no image is in the training split")
    ordered = [item for part in parts.values() for item in part]
    labels = [item.label for item in ordered]
    if classes is None and labels[0] is not None:
        classes = tuple(_sorted({str(label) for label in labels}))
    x, notes = decode([item.source for item in ordered], size)
    y = None
    if classes is not None:
        codes = {name: code for code, name in enumerate(classes)}
        y = np.array([codes[str(label)] for label in labels], np.int32)
    first = len(parts["train"]) + len(parts["held"])
    train = Part(x[:first], None if y is None else y[:first], where)
    test = Part(x[first:], None if y is None else y[first:], where) if parts["test"] else None
    if ignored:
        what = "1 file is" if len(ignored) == 1 else f"{len(ignored):,} files are"
        notes.append(
            f"{what} left out, being no images or without a label: {shown(ignored[0])}" + " ..." * (len(ignored) > 1)
        )
    return Source(train, test, classes, held=len(parts["held"]), notes=tuple(notes))


def _sorted(names: set[str]) -> list[str]:
    """Names in alphabetical order, integers by value."""
    return sorted(names, key=int) if all(name.isascii() and name.isdecimal() for name in names) else sorted(names)


# --- folders by class --------------------------------------------------------------------------------------------


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What a folder contains, sorted, without hidden files and those that archivers add."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise fault(folder, reason(error)) from error
    return [entry for entry in entries if not entry.name.startswith((".", "__MACOSX"))]


def _folders(folder: Path) -> list[str]:
    """Names of the subfolders, sorted."""
    return _sorted({entry.name for entry in _entries(folder) if entry.is_dir()})


def _images(folder: Path) -> tuple[list[Path], list[str]]:
    """The images in a folder, sorted, and the other files; InputError for folders and for images that are not read."""
    found, ignored = [], []
    for entry in _entries(folder):
        name = entry.name.lower()
        if entry.is_dir():
            raise fault(folder / entry.name, "a folder within a class: only images may stand there")
        if what := unread(name):
            raise fault(folder / entry.name, what)
        if name.endswith(SUFFIXES):
            found.append(folder / entry.name)
        else:
            ignored.append(str(folder / entry.name))
    return found, ignored


def _by_class(folder: Path, split: str) -> tuple[list[_Item], tuple[str, ...] | None, list[str]]:
    """The images in the subfolders of a folder, the class names, and files that are no images.

    The class names are None if the images are in the folder itself.
    """
    classes = tuple(_folders(folder))
    if not classes:
        found, ignored = _images(folder)
        if not found:
            raise fault(folder, f"no images ({', '.join(SUFFIXES)}) and no folders of them, one per class")
        return [_Item(path, None, split) for path in found], None, ignored
    items, ignored = [], []
    for entry in _entries(folder):
        if not entry.is_dir():
            if entry.name.lower().endswith((*SUFFIXES, *_OTHER)):
                raise fault(
                    folder / entry.name, "an image beside the folders of classes: put it into one, or move it away"
                )
            ignored.append(str(folder / entry.name))
    for name in classes:
        found, others = _images(folder / name)
        if not found:
            raise fault(folder / name, f"an empty class: no image ({', '.join(SUFFIXES)}) in it")
        items += [_Item(path, name, split) for path in found]
        ignored += others
    return items, classes, ignored


# --- lists of labels ---------------------------------------------------------------------------------------------


def image_list(place: Path) -> Path | None:
    """The CSV file that lists the images of a folder and their labels; None if there is none.

    Args:
        place: a folder, or the CSV file itself. Its header has a column of files and one of labels, and the file in its
            first row exists beside it.
    """
    candidates = [place] if place.is_file() else sorted(place.glob("*.csv"))
    for path in candidates:
        with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
            rows = csv.reader(file)
            columns, first = _columns(next(rows, [])), next(rows, [])
        known = "file" in columns and "label" in columns and len(first) > columns["file"]
        if known and _file(path.parent, first[columns["file"]]) is not None:
            return path
    return None


def _columns(header: Sequence[str]) -> dict[str, int]:
    """Positions of the columns of files, labels and splits in a list's header."""
    names = [name.strip().lower() for name in header]
    found = {}
    for what, known in (("file", _FILE), ("label", _LABEL), ("split", _SPLIT)):
        for name in known:
            if name in names:
                found[what] = names.index(name)
                break
    return found


def _file(folder: Path, name: str) -> Path | None:
    """The file below `folder` that a cell of a list names, with or without its suffix; None if there is none."""
    name = name.strip()
    candidates = [name] if name.lower().endswith(SUFFIXES) else [name + suffix for suffix in SUFFIXES]
    paths = (folder / candidate for candidate in candidates if name and "\0" not in name)
    return next((path for path in paths if path.is_file() and folder.resolve() in path.resolve().parents), None)


def read_list(path: Path, size: Size = None) -> Source:
    """Reads the images that a CSV file lists, see `image_list`; InputError as `read_image_folder`."""
    items = list(_listed(path))
    named = {item.source for item in items}
    found = sorted(file for file in path.parent.iterdir() if file.name.lower().endswith(SUFFIXES))
    return _source(items, None, size, str(path), [str(file) for file in found if file not in named])


def _listed(path: Path) -> Iterator[_Item]:
    """The images of a list."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        columns = _columns(next(rows))
        try:
            for number, row in enumerate(rows, 1):
                if not row:
                    continue
                cells = {what: row[at].strip() if at < len(row) else "" for what, at in columns.items()}
                found = _file(path.parent, cells["file"])
                if found is None:
                    raise fault(path, f"row {number}: no image {shown(cells['file'])!r} beside the list")
                if not cells["label"]:
                    raise fault(path, f"row {number}, {shown(cells['file'])!r}: no label")
                split = _SPLITS.get(cells.get("split", "train").lower())
                if split is None:
                    raise fault(path, f"row {number}: split {shown(cells['split'])!r}; train, val and test are known")
                yield _Item(found, cells["label"], split)
        except (csv.Error, UnicodeDecodeError) as error:
            raise fault(path, f"not a readable CSV file: {reason(error)}") from error


# --- Parquet files -----------------------------------------------------------------------------------------------


def parquet_files(folder: Path) -> list[Path]:
    """The Parquet files with images in a folder, or in `data/` below it, sorted."""
    found = sorted((*folder.glob("*.parquet"), *folder.glob("data/*.parquet")))
    return [path for path in found if holds_images(path)]


def holds_images(path: Path) -> bool:
    """Whether a Parquet file has a column of images: a struct with the field `bytes`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError):
        return False
    return any(_is_image(field.type) for field in schema)


def _is_image(kind: Any) -> bool:
    import pyarrow.types as types

    return types.is_struct(kind) and kind.get_field_index("bytes") >= 0


def read_image_parquet(paths: Sequence[Path], size: Size = None) -> Source:
    """Reads images from Parquet files with a column of structs {bytes, path} and a column of labels.

    The split of a file is the beginning of its name, `train-`, `validation-` or `test-`; else it is training data.

    Raises:
        InputError: a file has no such column, or an image cannot be read.
    """
    import pyarrow.parquet as pq

    items: list[_Item] = []
    classes: tuple[str, ...] | None = None
    total = 0
    for path in paths:
        split = _SPLITS.get(path.stem.split("-")[0].lower(), "train")
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            images = [field.name for field in schema if _is_image(field.type)]
            labels = [name for name in _LABEL if name in schema.names]
            if len(images) != 1:
                raise fault(path, f"{len(images)} columns of images; one is needed, a struct with the field bytes")
            names = _class_names(schema.metadata or {}, labels[0]) if labels else None
            if items and names != classes:
                raise fault(path, f"other class names than {paths[0].name}")
            classes = names
            for batch in file.iter_batches(256, columns=[images[0], *labels[:1]]):
                rows = batch.to_pylist()
                total += sum(len(row[images[0]]["bytes"] or b"") for row in rows if row[images[0]])
                check_size((total,), 1, path)
                for row in rows:
                    where = f"{path}: row {len(items) + 1}"
                    content, label = (row[images[0]] or {}).get("bytes"), row[labels[0]] if labels else None
                    if not content:
                        raise fault(where, "no image")
                    if labels and label is None:
                        raise fault(where, "no label")
                    if isinstance(label, list):
                        raise fault(where, "several labels an image; one class an image is needed")
                    if names and isinstance(label, int):
                        label = names[label] if 0 <= label < len(names) else label
                    items.append(_Item(Picture(where, content), None if label is None else str(label), split))
    return _source(items, classes, size, str(paths[0]))


def _class_names(metadata: Mapping[bytes, bytes], column: str) -> tuple[str, ...] | None:
    """The class names that Hugging Face datasets stores in the metadata of a Parquet file."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        names = features.get(column, {}).get("names")
    except (ValueError, AttributeError):
        return None
    return tuple(map(str, names)) if names else None
