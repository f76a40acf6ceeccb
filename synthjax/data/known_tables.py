"""Tables with names. Their files are in `data_dir` or in a folder of that name in it.

adult          UCI Adult (Becker & Kohavi 1996): adult.data and adult.test, the test split. Target `income`. `?` means
               a missing value, in this table only. The dots after the labels of adult.test are removed
creditcard     credit card fraud (Dal Pozzolo et al. 2015): creditcard*.csv. Target `Class`
nyc_taxi       New York yellow taxi trips: yellow_tripdata*.csv. No default target
breast_cancer  Wisconsin diagnostic breast cancer (Street et al. 1993), from scikit-learn. Target `diagnosis`
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthjax.data.arrays import fault, shown
from synthjax.data.readers import frame_reader, open_table
from synthjax.data.table_dataset import Found
from synthjax.errors import InputError

_ADULT = (
    "age workclass fnlwgt education education-num marital-status occupation relationship race sex capital-gain "
    "capital-loss hours-per-week native-country income"
)
_FILES = {"adult": "adult.data", "creditcard": "creditcard*.csv", "nyc_taxi": "yellow_tripdata*.csv"}


def find(name: str, data_dir: str | None) -> Found:
    """Opens the files of a table by its name.

    Args:
        name: one of the names above.
        data_dir: folder to search; None if there is none.

    Raises:
        InputError: the files are not found.
    """
    if name == "breast_cancer":
        return _breast_cancer()
    folders = [Path(data_dir, name), Path(data_dir)] if data_dir else []
    for folder in filter(Path.is_dir, folders):
        found = _named(folder, _FILES[name])
        if len(found) > 1:
            raise fault(folder, f"{len(found)} files are named {_FILES[name]}; give the path of one as the data set")
        if found and name == "adult":
            return _adult(found[0], folder)
        if found:
            return Found(open_table(found[0]), target="Class" if name == "creditcard" else None)
    looked = " and ".join(map(shown, folders)) or "no folder: give one by --data_dir or SYNTHJAX_DATA_DIR"
    raise InputError(f"{name}: its file {_FILES[name]}[.gz] is not there; looked in {looked}")


def _named(folder: Path, pattern: str) -> list[Path]:
    """Files in a folder that match a pattern, or the pattern with .gz."""
    return sorted({*folder.glob(pattern), *folder.glob(f"{pattern}.gz")})


def _adult(data: Path, folder: Path) -> Found:
    tests = _named(folder, "adult.test")
    if not tests:
        raise fault(folder, "adult.test (or adult.test.gz) is missing; it belongs to adult.data")
    names = tuple(_ADULT.split())

    def clean(cells: pa.ChunkedArray) -> pa.ChunkedArray:
        return pc.replace_substring_regex(pc.utf8_trim_whitespace(cells), r"^([<>]=?50K)\.$", r"\1")

    train = open_table(data, names=names, tokens=("?",), clean=clean)
    return Found(train, open_table(tests[0], names=names, skip=1, tokens=("?",), clean=clean), "income")


def _breast_cancer() -> Found:
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer(as_frame=True)
    classes = tuple(str(name) for name in data.target_names)
    frame = data.data.assign(diagnosis=np.array(classes)[data.target])
    return Found(frame_reader(frame, "breast_cancer"), target="diagnosis", classes=classes)
