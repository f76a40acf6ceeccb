"""Types of Parquet files: read, kept in the schema and written again."""

from datetime import time as clock
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from synthjax.data import column_units
from synthjax.data.readers import open_table, writing
from synthjax.data.schema import Field, Schema
from synthjax.data.schema_inference import infer
from synthjax.data.text_values import Chunk, as_text, typed
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


def test_identifiers_that_a_type_cannot_hold_are_told(tmp_path):
    schema = Schema((Field("key", "id", 100, storage="int16"),))
    made = column_units.decoded(schema, (), np.zeros((40_000, 0), np.float32), 0, 0)
    told = pytest.raises(InputError, match="out.parquet: column 'key' cannot be written as int16")
    with told, writing(tmp_path / "out.parquet", schema) as put:
        put(made)
