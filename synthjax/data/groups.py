"""Rows of one subject: the column that names it, by which splits keep a subject's rows together.

A schema file names the column, or says that there is none:

    group: patient_id
    group: false

Where it says nothing, a column is taken whose name is that of a person or an identifier and whose cells are whole
numbers or codes, shared by a few rows each. Rows are learnt as independent of each other in any case.
"""

import re
from collections.abc import Iterator
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
"""Least share of rows whose subject has other rows, for a column to be taken that nobody named."""
_SUBJECT = re.compile(
    r"(^|[_\s.-])(patient|subject|person|customer|client|user|member|student|participant|household|respondent"
    r"|employee)([_\s.-]?(id|no|nr|nbr|number|code|key))?$|^id$",
    re.I,
)
_WHOLE = r"^\d+(\.0+)?$"
_CODE = r"^\S*\d\S*$"


class Group(NamedTuple):
    """Which rows are of one subject."""

    name: str
    """Of the column."""
    rows: np.ndarray
    """(N,) i64: the same number for rows of one subject; a row without one is a subject of its own."""
    named: bool
    """Whether the schema file names the column."""

    @property
    def note(self) -> str:
        """What is done with it, for people."""
        name, several = shown(self.name), np.bincount(self.rows)
        rows, subjects = int(several[several > 1].sum()), int((several > 0).sum())
        return (
            f"{name}: {rows:,} of {len(self.rows):,} rows share theirs with others ({subjects:,} different ones): rows "
            "of one stay together in train, holdout or test"
            + ("" if self.named else "; `group: false` at the top of a schema file splits by rows")
        )


def find(reader: Reader, target: str | None, said: Overrides) -> Group | None:
    """The group of each row; None: rows are not grouped.

    Args:
        reader: of the table.
        target: the column to predict, which is no group.
        said: what the schema file says.

    Raises:
        InputError: the schema file names no column, or the target.
    """
    if said.group is False:
        return None
    if said.group is not None:
        check_known(said.group, reader.names, reader.where, "group")
        if said.group == target:
            raise fault(reader.where, f"group: {shown(target)!r} is the target; name the column of subjects")
        return Group(said.group, _read(reader, [said.group])[said.group].rows, True)
    names = [name for name in reader.names if name != target and (ID_NAME.search(name) or _SUBJECT.search(name))]
    names = [name for name in names if said.columns.get(name, {}).get("kind", "id") == "id"]
    found = [cells for cells in _read(reader, names).values() if cells.clear] if names else []
    if not found:
        return None
    best = min(found, key=lambda cells: (not _SUBJECT.search(cells.name), len(cells.distinct)))
    return Group(best.name, best.rows, False)


class _Cells(NamedTuple):
    """A column that may name subjects."""

    name: str
    distinct: pa.Array
    """The different cells, missing ones excepted."""
    rows: np.ndarray
    """As `Group.rows`; below the number of different cells where there is one."""

    @property
    def clear(self) -> bool:
        """Whether it names subjects without doubt."""
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


def _read(reader: Reader, names: list[str]) -> dict[str, _Cells]:
    parts: dict[str, list[pa.Array]] = {name: [] for name in names}
    for chunk in reader.chunks(names):
        for name in names:
            cells = chunk.cells.column(name).combine_chunks()
            absent = pa.array(missing_in(cells, reader.tokens))
            parts[name].append(pc.if_else(absent, None, cells).dictionary_encode())
    return {name: _cells(name, iter(parts.pop(name))) for name in names}


def _cells(name: str, parts: Iterator[pa.Array]) -> _Cells:
    joined = pa.chunked_array(list(parts)).unify_dictionaries()
    codes = np.concatenate([np.asarray(pc.fill_null(part.indices, -1)) for part in joined.chunks]).astype(np.int64)
    distinct = joined.chunk(0).dictionary
    codes[codes < 0] = len(distinct) + np.arange((codes < 0).sum())
    return _Cells(name, distinct, codes)
