"""Types of Parquet files: read, kept in the schema and written again."""

import re
from datetime import time as clock
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from synthjax import data
from synthjax.data import column_units
from synthjax.data.arrow_types import as_text
from synthjax.data.readers import open_table, writing
from synthjax.data.schema import Field, Schema
from synthjax.data.schema_inference import infer
from synthjax.data.text_values import Chunk, typed
from synthjax.errors import InputError


def test_parquet_types_with_parameters_come_back(tmp_path):
    """Rows through schema, typed frame and writer, without a model between."""
    table = pa.table(
        {
            "z": pa.array([i * 10**9 for i in range(60)], pa.timestamp("us", "UTC")),
            "m": pa.array([Decimal(i) / 4 for i in range(60)], pa.decimal128(10, 2)),
            "t": pa.array([clock(7, 35), None, clock(9)] * 20, pa.time32("s")),
            "s": pa.array(["x", "y", None] * 20).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    reader = open_table(tmp_path / "t.parquet")
    schema = infer(reader.chunks(), storage=reader.storage, min_count=1)
    (chunk,) = reader.chunks()
    with writing(tmp_path / "out.parquet", schema) as put:
        put(typed(chunk, schema, reader.tokens, "t"))
    assert pq.read_table(tmp_path / "out.parquet").equals(table.cast(pq.read_table(tmp_path / "out.parquet").schema))
    assert pq.read_schema(tmp_path / "out.parquet").types == pq.read_schema(tmp_path / "t.parquet").types


@pytest.mark.parametrize("low", [10**17, 9 * 10**18])
def test_identifiers_of_nineteen_digits_stay_within_their_type(tmp_path, low):
    ids = (low + np.random.default_rng(0).permutation(1200) * 123_456_789_012_347).tolist()
    table = pa.table({"id": pa.array(ids, pa.int64()), "x": [f"w{i % 3}" for i in range(1200)]})
    chunk = Chunk(as_text(table), np.arange(1200))
    schema = infer([chunk], storage={"id": "int64"})
    made = column_units.decoded(schema, ("x",), np.zeros((3000, 1), np.float32), 0, 0)
    with writing(tmp_path / "out.parquet", schema) as put:
        put(made)
    out = pq.read_table(tmp_path / "out.parquet")["id"]
    assert out.type == pa.int64() and len(out.unique()) == 3000 and pc.min(out).as_py() > 0


N = 300
WHOLE = np.random.default_rng(0).integers(0, 100, N)
MOMENTS = (1_640_995_200 + np.random.default_rng(1).integers(0, 10**7, N)).tolist()
DAYS = [f"{2000 + i % 20}{1 + i % 12:02d}{1 + i % 28:02d}" for i in range(N)]


@pytest.mark.parametrize(
    "column",
    [
        pa.nulls(N),
        *(pa.array(WHOLE, kind) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint32(), pa.uint64())),
        *(pa.array(WHOLE / 4, kind) for kind in (pa.float16(), pa.float32(), pa.float64())),
        pa.array(WHOLE % 2 == 0),
        *(pa.array(list(map(Decimal, WHOLE.tolist())), pa.decimal128(precision, 0)) for precision in (2, 10, 38)),
        pa.array([Decimal(int(i)) / 4 for i in WHOLE], pa.decimal128(9, 2)),
        pa.array([Decimal(int(i)) / 4 for i in WHOLE], pa.decimal256(50, 2)),
        pa.array([f"w{i % 5}" for i in WHOLE], pa.large_string()),
        pa.array([str(10**17 + 7**9 * i) for i in range(N)]),
        pa.array([str(i) for i in range(N)]),
        pa.array([f"{i},5" for i in WHOLE], pa.large_string()),
        pa.array([f"{i % 28 + 1:02d}/03/20{i % 20:02d}" for i in WHOLE], pa.large_string()),
        pa.array([f"w{i % 5}" for i in WHOLE]).dictionary_encode(),
        pa.array(WHOLE.tolist()).dictionary_encode(),
        pa.array(list(map(int, DAYS))),
        pa.array([clock(i % 24, i % 60) for i in range(N)], pa.time32("s")),
        pa.array([clock(i % 24, i % 60, 5, 250_000) for i in range(N)], pa.time64("us")),
        pa.array([clock(i % 24, i % 60) for i in range(N)], pa.time64("ns")),
        pa.array(WHOLE.tolist(), pa.date32()),
        *(pa.array(MOMENTS, pa.timestamp("s", zone)) for zone in (None, "UTC", "+02:00")),
        pa.array(MOMENTS, pa.duration("s")),
    ],
    ids=lambda column: str(column.type),
)
def test_every_scalar_type_comes_back_as_it_was(tmp_path, column):
    """What is read is written again with its type, or is refused before anything is trained."""
    table = pa.table({"x": column, "y": WHOLE})
    pq.write_table(table, tmp_path / "a.parquet")
    found = data.load(str(tmp_path / "a.parquet"))
    with writing(tmp_path / "b.parquet", found.table.schema) as put:
        put(found.frame("train"))
        put(found.encoder.decode(found.encoder.encode(found.frame("test"))))
    back = pq.read_table(tmp_path / "b.parquet")
    column = pq.read_table(tmp_path / "a.parquet")[
        "x"
    ].combine_chunks()  # a file has no seconds, no dictionary of numbers
    assert back["x"].type == (pa.int64() if column.type == pa.dictionary(pa.int32(), pa.int64()) else column.type)
    wanted = column.take(pa.array(found.train.index))
    wanted = wanted.dictionary_decode() if pa.types.is_dictionary(column.type) else wanted
    if found.table.schema["x"].kind == "id":
        return
    assert back["x"][: len(found.train.y)].cast(wanted.type).to_pylist() == wanted.to_pylist()


@pytest.mark.parametrize(
    "column",
    [[b"a"] * 60, [["a", "b"]] * 60, [{"a": 1}] * 60, pa.array([b"abc"] * 60, pa.binary(3))],
    ids=["binary", "list", "struct", "fixed"],
)
def test_a_column_that_is_not_read_is_refused_with_the_line_that_leaves_it_out(tmp_path, column):
    pq.write_table(pa.table({"x": column, "y": [i % 7 for i in range(60)]}), tmp_path / "a.parquet")
    told = r"a.parquet: column x holds .*: numbers, text, .* put `(x: \{kind: text\})` into a schema file"
    with pytest.raises(InputError, match=told) as caught:
        data.load(str(tmp_path / "a.parquet"))
    (tmp_path / "s.yaml").write_text(f"columns:\n  {re.search(told, str(caught.value))[1]}\n")
    found = data.load(str(tmp_path / "a.parquet"), schema=str(tmp_path / "s.yaml"))
    assert list(found.encoder.decode(found.train.x)) == ["y"]


def test_identifiers_that_a_type_cannot_hold_are_told(tmp_path):
    schema = Schema((Field("key", "id", 100, storage="int16"),))
    made = column_units.decoded(schema, (), np.zeros((40_000, 0), np.float32), 0, 0)
    told = pytest.raises(InputError, match="out.parquet: column 'key' cannot be written as int16")
    with told, writing(tmp_path / "out.parquet", schema) as put:
        put(made)
