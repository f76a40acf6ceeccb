"""Reader of TensorFlow Datasets, as random-access data sources (array_record), without TensorFlow.

Only preparing a data set needs TensorFlow (`pip install synthjax[tfds]`). This is done once, into the folder of TFDS,
from the original files if `data_dir` contains them, otherwise from a download.
"""

import difflib
import importlib.util
import re
import textwrap
from typing import Any

import numpy as np
from absl import logging

from synthjax import files
from synthjax.data.arrays import Part, Source, as_images, as_labels, check_size, fault, shown

_NAME = re.compile(r"[a-z0-9_]+(/[\w.-]+)?(:\d+\.\d+\.\d+)?")  # no community namespaces: those may run remote code


def read(name: str, data_dir: str | None) -> Source:
    """Reads a data set of labelled images from TFDS.

    Args:
      name: TFDS name, such as `mnist`, `emnist/letters` or `mnist:3.0.1`.
      data_dir: a folder that may contain prepared data, or the original files to prepare from, directly or in a
        subfolder with the name of the data set. It is never written to. Prepared data is written to the folder of TFDS
        (the environment variable `TFDS_DATA_DIR`, by default `~/tensorflow_datasets`).

    Returns:
      The train split, and the test split, or the validation split if there is no test split. Classes without examples
      are left out.

    Raises:
      InputError: the name is unknown; the data is not labelled images of one size; or the data set cannot be prepared
        on this machine. The error says what would help.
    """
    if not _NAME.fullmatch(name):
        raise fault(f"tfds:{name}", "not a TFDS name, which are like tfds:mnist, tfds:emnist/letters, tfds:mnist:3.0.1")
    builder = _prepared(name, data_dir)
    image, label, names = _keys(name, builder.info)
    splits = builder.info.splits
    test = next((split for split in ("test", "validation") if split in splits and splits[split].num_examples), None)
    if "train" not in splits:
        raise fault(f"tfds:{name}", f"has no split named train, only {', '.join(splits)}")
    parts = [_read_split(name, builder, split, image, label) for split in ("train", test) if split]
    used = np.unique(np.concatenate([part.y for part in parts if part.y is not None]))
    if used[-1] < len(names):  # otherwise a label is out of range, which `class_names` refuses later
        new_label = np.searchsorted(used, np.arange(len(names))).astype(np.int32)
        parts = [part._replace(y=None if part.y is None else new_label[part.y]) for part in parts]
        names = tuple(names[i] for i in used)
    return Source(parts[0], parts[1] if test else None, names)


def _prepared(name: str, data_dir: str | None) -> Any:
    """A TFDS builder whose data is in `data_dir` or in the folder of TFDS; if it is in neither, it is prepared."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import constants

    roots = [str(root) for root in (data_dir, constants.DATA_DIR) if root]
    for root in roots:
        builder = _builder(tfds, name, root)
        # builder.is_prepared() would print a warning for a folder without data.
        if (files.path(builder.data_path) / "dataset_info.json").is_file():
            return builder
    if importlib.util.find_spec("tensorflow") is None:
        raise fault(
            f"tfds:{name}",
            f"not prepared under {' or '.join(roots)}, and preparing it needs TensorFlow: pip install synthjax[tfds]",
        )
    logging.info("tfds:%s: preparing it under %s, once", name, roots[-1])
    full_name = builder.info.full_name.replace("/", "_")
    try:
        builder.download_and_prepare(
            # A separate folder per data set, since TFDS caches unpacked files by name only. If two data sets have files
            # of the same names (mnist, fashion_mnist), the second would silently get the images of the first.
            download_dir=str(files.path(roots[-1]) / "downloads" / full_name),
            file_format="array_record",
            download_config=tfds.download.DownloadConfig(
                manual_dir=_originals(builder.name, data_dir), try_download_gcs=False
            ),
        )
    except Exception as error:  # for network, disk, checksum and licence problems TFDS raises many types of errors
        raise fault(f"tfds:{name}", f"cannot be prepared under {roots[-1]}: {_one_line(error)}") from error
    return builder


def _originals(name: str, data_dir: str | None) -> str | None:
    """The folder that may contain the original files of a data set."""
    if data_dir is None:
        return None
    subfolder = files.path(data_dir) / name
    return str(subfolder if subfolder.is_dir() else data_dir)


def _builder(tfds: Any, name: str, root: str) -> Any:
    """The TFDS builder of a data set; InputError with a suggestion if the name, config or version is unknown."""
    try:
        return tfds.builder(name, data_dir=root, file_format="array_record")
    except tfds.core.DatasetNotFoundError as error:
        matches = difflib.get_close_matches(name, tfds.list_builders(with_community_datasets=False))
        hint = f"; did you mean {' or '.join(f'tfds:{match}' for match in matches)}?" if matches else ""
        raise fault(f"tfds:{name}", f"TFDS knows no such data set{hint}") from error
    except Exception as error:  # an unknown config or version, for which TFDS has no common class of errors
        base, _, config = name.partition(":")[0].partition("/")
        configs = list(tfds.builder_cls(base).builder_configs)
        if config and config not in configs:
            near = ", ".join(difflib.get_close_matches(config, configs) or configs[:10]) or "none"
            raise fault(f"tfds:{name}", f"{base} has no config {config}; there is {near}") from error
        raise fault(f"tfds:{name}", _one_line(error)) from error


def _one_line(error: Exception) -> str:
    """The message of an error of TFDS in one line, without the arguments of the call."""
    text = re.sub(r'^Failed to construct dataset .*?}": ', "", str(error), flags=re.DOTALL)
    return shown(textwrap.shorten(text, 300, placeholder=" ...")) or type(error).__name__


def _keys(name: str, info: Any) -> tuple[str, str, tuple[str, ...]]:
    """Names of the image and label features, and the class names."""
    import tensorflow_datasets as tfds

    keys = info.supervised_keys or ("image", "label")
    features = info.features
    flat = len(keys) == 2 and all(isinstance(key, str) and key in features for key in keys)
    if (
        not flat
        or not isinstance(features[keys[0]], tfds.features.Image)
        or not isinstance(features[keys[1]], tfds.features.ClassLabel)
    ):
        raise fault(f"tfds:{name}", f"not a set of labelled images: it has {', '.join(features)}")
    return keys[0], keys[1], tuple(features[keys[1]].names)


def _read_split(name: str, builder: Any, split: str, image: str, label: str) -> Part:
    """Reads all examples of a split, in order."""
    where = f"tfds:{name}, split {split}"
    try:
        source = builder.as_data_source(split=split)
    except NotImplementedError as error:
        raise fault(
            builder.data_path,
            "prepared in a format that only TensorFlow reads; prepare it with file_format='array_record' elsewhere",
        ) from error
    x, y = np.empty(0), np.empty(len(source), np.int64)
    for row in range(len(source)):
        try:
            example = source[row]
        except Exception as error:  # the reader, the decoder and the parser raise different types of errors
            raise fault(where, f"row {row} cannot be read from {builder.data_path}: {_one_line(error)}") from error
        pixels = np.asarray(example[image])
        if row == 0:
            check_size((len(source), *pixels.shape), pixels.itemsize, where)
            x = np.empty((len(source), *pixels.shape), pixels.dtype)
        if pixels.shape != x.shape[1:]:
            raise fault(where, f"row {row} is an image of {pixels.shape}, row 0 of {x.shape[1:]}; one size is needed")
        x[row], y[row] = pixels, example[label]
    return Part(as_images(x, where), as_labels(y, len(x), where), where)
