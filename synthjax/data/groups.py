"""Groups of rows that belong to the same subject, such as a patient. Splits do not divide groups.

A schema file can name the column that identifies the subjects, or disable groups:

    group: patient_id
    group: false

Otherwise, the column is detected: its name is that of a person or an identifier, and its cells are integers or codes,
each of which occurs in a few rows. In either case, models treat rows as independent.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthjax.data.arrays import fault, shown
from synthjax.data.readers import Reader
from synthjax.data.schema import check_known
from synthjax.data.schema_file import Overrides
from synthjax.data.schema_inference import ID_NAME
from synthjax.data.schema_inference.inference import GROUP, MANY, SPARSE
from synthjax.data.text_values import missing_in

REPEATED = 0.05
"""Minimum fraction of rows whose subject has other rows, for a column to be detected."""
_SUBJECT = re.compile(
    r"(^|[_\s.-])(patient|subject|person|customer|client|user|member|student|participant|household|respondent"
    r"|employee)([_\s.-]?(id|no|nr|nbr|number|code|key))?$|^id$",
    re.I,
)
_WHOLE = r"^\d+(\.0+)?$"
_CODE = r"^\S*\d\S*$"


class Group(NamedTuple):
    """The groups of a table's rows."""

    name: str
    """Name of the column."""
    rows: np.ndarray
    """(N,) i64: the number of each row's subject; a row with a missing value is a subject of its own."""
    named: bool
    """Whether the schema file names the column; otherwise it was detected."""
    test: np.ndarray | None = None
    """(M,) i64 the same of the rows of the test file, if there is one; a subject of both has one number."""

    def note(self, min_count: int) -> str:
        """A line for the user about the column, and its effect on splits and on what is kept back."""
        name, several = shown(self.name), np.bincount(self.rows)
        rows, subjects = int(several[several > 1].sum()), int((several > 0).sum())
        return (
            f"{name}: {rows:,} of {len(self.rows):,} rows share theirs with others ({subjects:,} different ones): rows "
            "of one stay together in train, holdout or test"
            + (f", and values that fewer than {min_count} of them have are kept back" if min_count > 1 else "")
            + ("" if self.named else "; `group: false` at the top of a schema file splits by rows")
        )


def find(reader: Reader, target: str | None, said: Overrides, test: Reader | None = None) -> Group | None:
    """Finds the groups of a table's rows; None if there are none.

    Args:
        reader: of the table.
        test: of the test file, if there is one.
        target: the column to predict, which cannot identify subjects.
        said: the entries of the schema file.

    Raises:
        InputError: the schema file names the target, or a column that does not exist.
    """
    if said.group is False:
        return None
    if said.group is not None:
        check_known(said.group, reader.names, reader.where, "group")
        if said.group == target:
            raise fault(reader.where, f"group: {shown(target)!r} is the target; name the column of subjects")
        return _group(_read(reader, [said.group])[said.group], True, test)
    names = [name for name in by_name(reader.names) if name != target]
    names = [name for name in names if said.columns.get(name, {}).get("kind", "id") == "id"]
    found = [cells for cells in _read(reader, names).values() if cells.clear] if names else []
    if not found:
        return None
    best = min(found, key=lambda cells: (not _SUBJECT.search(cells.name), len(cells.distinct)))
    return _group(best, False, test)


def by_name(names: Iterable[str]) -> list[str]:
    """Columns that identify subjects by their names."""
    return [name for name in names if ID_NAME.search(name) or _SUBJECT.search(name)]


def subjects(reader: Reader, name: str) -> np.ndarray:
    """The number of each row's subject by the column `name`, (N,) i64, see `Group.rows`."""
    return _read(reader, [name])[name].rows


class _Cells(NamedTuple):
    """A column that may identify subjects."""

    name: str
    distinct: pa.Array
    """The distinct cells, without missing values."""
    rows: np.ndarray
    """See `Group.rows`. Numbers below `len(distinct)` are indices of `distinct`; others are of missing values."""

    @property
    def clear(self) -> bool:
        """Whether the column clearly identifies subjects."""
        counts = np.bincount(self.rows)[: len(self.distinct)]
        several, many = counts[counts > 1].sum(), len(self.distinct)
        if many < MANY or counts.sum() > GROUP * many or several < REPEATED * len(self.rows):
            return False
        if not pc.all(pc.match_substring_regex(self.distinct, _WHOLE)).as_py():
            codes = np.asarray(pc.match_substring_regex(self.distinct, _CODE))
            return bool(codes.mean() > 0.9)
        numbers = np.asarray(pc.cast(self.distinct, pa.float64()))
        sparse = numbers.max() - numbers.min() + 1 >= SPARSE * many
        return bool(sparse or _SUBJECT.search(self.name))


def _group(cells: _Cells, named: bool, test: Reader | None) -> Group:
    if test is None:
        return Group(cells.name, cells.rows, named)
    other = _read(test, [cells.name])[cells.name]
    known = np.asarray(pc.fill_null(pc.index_in(other.distinct, value_set=cells.distinct), -1)).astype(np.int64)
    fresh = int(cells.rows.max()) + 1 + np.arange(int(other.rows.max()) + 1)
    fresh[: len(known)] = np.where(known < 0, fresh[: len(known)], known)
    return Group(cells.name, cells.rows, named, fresh[other.rows])


def _read(reader: Reader, names: list[str]) -> dict[str, _Cells]:
    """Reads columns in chunks and encodes each chunk as a dictionary, to save memory."""
    parts: dict[str, list[pa.Array]] = {name: [] for name in names}
    for chunk in reader.chunks(names):
        for name in names:
            cells = chunk.cells.column(name).combine_chunks()
            absent = pa.array(missing_in(cells, reader.tokens))
            parts[name].append(pc.if_else(absent, None, cells).dictionary_encode())
    return {name: _cells(name, iter(parts.pop(name))) for name in names}


def _cells(name: str, parts: Iterator[pa.Array]) -> _Cells:
    """Joins the chunks of a column."""
    joined = pa.chunked_array(list(parts)).unify_dictionaries()
    codes = np.concatenate([np.asarray(pc.fill_null(part.indices, -1)) for part in joined.chunks]).astype(np.int64)
    distinct = joined.chunk(0).dictionary
    codes[codes < 0] = len(distinct) + np.arange((codes < 0).sum())
    return _Cells(name, distinct, codes)
