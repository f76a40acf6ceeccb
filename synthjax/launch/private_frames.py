"""`synthjax.synthesize(frame, epsilon=...)`: a data frame's synthetic rows, with differential privacy."""

import dataclasses
import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import narwhals.stable.v2 as nw
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from synthjax import files
from synthjax.data.arrow_types import as_text
from synthjax.data.encoding import Encoder
from synthjax.data.readers import open_table
from synthjax.data.text_values import typed
from synthjax.errors import InputError
from synthjax.launch import config, private, publish, runs
from synthjax.launch import synthesize as launcher
from synthjax.launch.auto import NAME as AUTO

if TYPE_CHECKING:
    from synthjax.launch.frames import Asked

TABLE = "table.csv"
"""The real rows, in DIR/internal."""
FIELDS = tuple(field.name for field in dataclasses.fields(config.Privacy))
"""Arguments that set fields of `config.Privacy`."""
_EXACT = 2**53
_HEIGHT = 500


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What synthetic rows let anybody know of a unit; safe to show. A notebook shows its page, `print` the promise."""

    values: dict[str, Any]
    """Every figure, as in `certificate.json`; see `synthjax.privacy.certificate`."""
    html: str
    """The page: one file that loads nothing."""

    def save(self, path: str | Path) -> None:
        """Writes the page into a file."""
        files.write(files.path(path), self.html)

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{html.escape(self.html)}" width="100%" height="{_HEIGHT}" title="Privacy"></iframe>'

    def __str__(self) -> str:
        return f"{self.values['statement']}\n{self.values['attacker']['in words']}"


def synthesize(
    real: nw.DataFrame[Any], folder: Path, asked: "Asked", fields: dict[str, Any]
) -> tuple[Any, Certificate]:
    """Synthetic rows of a frame, of its library, and their certificate.

    Args:
        real: the rows.
        folder: DIR, with DIR/publish and DIR/internal at the end.
        asked: what `synthjax.synthesize` was asked for.
        fields: of the experiment and of `config.Privacy`.

    Raises:
        InputError: a field is unknown or not possible here, see `private_checks.check`; or the minutes were over.
    """
    if fields.get("dataset") is None:
        raise InputError(
            "dataset: name the data set, as in dataset='customers': the ledger has an account of what it has paid, and "
            "a frame has no name"
        )
    if fields.get("test_seed") is not None:
        raise InputError("test_seed: a test publishes nothing; `launch.synthesize --dp.test_seed` is for tests")
    name = private.MODEL if asked.model == AUTO else asked.model
    given = [(f"dp.{one}" if one in FIELDS else one, str(value), one) for one, value in fields.items()]
    chosen = config.experiment(None, name, str(folder / private.INTERNAL / TABLE))
    chosen = config.overrides(chosen, given)
    write(real, Path(chosen.dataset), chosen.dp.unit)
    said = {path for path, *_ in given}
    made = launcher.make_private(chosen, folder, asked.minutes, said, asked.rows, asked.level)
    if made is None:
        raise InputError(f"minutes={asked.minutes:g}: not finished; the same call goes on, and pays nothing again")
    values = files.read_json(folder / private.PUBLISH / publish.CERTIFICATE)
    assert values is not None
    page = (folder / private.PUBLISH / publish.PAGE).read_text()
    encoder = runs.encoder(folder / private.PUBLISH / publish.MODEL)
    return like(real, made, encoder), Certificate(values, page)


def write(real: nw.DataFrame[Any], file: Path, unit: str | None) -> None:
    """Writes the rows into DIR/internal, as text; InputError if that has other rows."""
    out = pa.BufferOutputStream()
    pyarrow.csv.write_csv(plain_text(real.to_arrow(), unit), out)
    rows = out.getvalue().to_pybytes()
    if file.exists() and file.read_bytes() != rows:
        raise InputError(f"{file}: holds other rows than the frame; give another workdir, which is another fit")
    private.close_to_others(file.parent)
    files.write(file, rows)


def plain_text(table: pa.Table, unit: str | None = None) -> pa.Table:
    """The cells as text that depends on the value alone, and not on the type of the column.

    A library chooses the type of a column by all of its rows: one missing cell makes whole numbers floating-point ones.
    With text like "34" and "34.0" one row would then change all others.

    Args:
        table: of any types that can be read.
        unit: the column of the units, whose numbers keep all digits.

    Returns:
        Strings; missing cells are empty.

    >>> whole, floats = pa.table({"a": [34, 10**15]}), pa.table({"a": [34.0, 1e15]})
    >>> plain_text(whole).equals(plain_text(floats)), plain_text(whole)["a"].to_pylist()
    (True, ['34', '1000000000000000'])
    """
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        one = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        if pa.types.is_integer(one.type) and name != unit:
            one = one.cast(pa.float64(), safe=False)
        form = (
            _number_text if pa.types.is_floating(one.type) else _time_text if pa.types.is_timestamp(one.type) else None
        )
        columns[name] = form(one) if form else one
    return as_text(pa.table(columns), "frame")


def _number_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Numbers as text: whole ones with all of their digits, up to 2^53."""
    column = column.cast(pa.float64())
    whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), float(_EXACT)))
    digits = pc.if_else(whole, column, 0.0).cast(pa.int64(), safe=False).cast(pa.string())
    return pc.if_else(whole, digits, column.cast(pa.string()))


def _time_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dates as text: each without its time at midnight, and without the fraction of a whole second."""
    column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    text = pc.strftime(column, format="%Y-%m-%d %H:%M:%S")
    text = pc.replace_substring_regex(text, r"\.0+$", "")
    return pc.replace_substring_regex(text, " 00:00:00$", "")


def like(real: nw.DataFrame[Any], file: Path, encoder: Encoder) -> Any:
    """The rows of a published file as a frame of the library of the real one.

    Types of columns follow from the released schema, and not from the real frame, where they depend on all rows.
    """
    reader, schema = open_table(file), encoder.schema
    kept = dataclasses.replace(schema, fields=tuple(field for field in schema.fields if field.name in reader.names))
    frame = pd.concat([typed(chunk, kept, reader.tokens, file.name) for chunk in reader.chunks()])
    for field in kept.fields:
        if field.kind == "boolean" and {name.lower() for name in field.categories} == {"true", "false"}:
            lower = frame[field.name].str.lower()
            frame[field.name] = lower.map({"true": True, "false": False}).astype(
                "boolean" if lower.isna().any() else bool
            )
    made = nw.from_arrow(pa.Table.from_pandas(frame, preserve_index=False), backend=real.implementation)
    return made.to_native()
