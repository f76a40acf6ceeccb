"""Tables in files: reading in chunks, what is refused, writing in parts."""

import gzip

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from people import people, read, write

from synthjax import data
from synthjax.data import readers
from synthjax.data.encoding import Encoder
from synthjax.data.readers import open_table, writing
from synthjax.errors import InputError


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    path = tmp_path_factory.mktemp("shop") / "customers.csv"
    people().to_csv(path, index=False)
    return path


# --- reading


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_quotes_line_breaks_and_byte_order_marks(tmp_path, delimiter):
    text = '\ufeffa,"b ""c"""\r\n1,"x\r\ny"\r\n\r\n"2,5",\r\n'.replace(",", delimiter)
    cells, _ = read(write(tmp_path, text))
    assert cells == {"a": ["1", f"2{delimiter}5"], 'b "c"': ["x\r\ny", ""]}


def test_gzip_chunks_and_single_columns(tmp_path):
    text = "a,b\n" + "".join(f"{i},{i % 7}\n" for i in range(2000))
    path = write(tmp_path, gzip.compress(text.encode()), "t.csv.gz")
    cells, chunks = read(path, block=1000)
    assert chunks > 5 and cells["a"] == [str(i) for i in range(2000)]
    assert read(write(tmp_path, "a\n1\n\n3\n"))[0] == {"a": ["1", "", "3"]}  # an empty line is a missing value here
    reader = open_table(path)
    assert [chunk.cells.column_names for chunk in reader.chunks(["b"])] == [["b"]]


@pytest.mark.parametrize("name", ["wide.csv", "wide.parquet"])
def test_wide_tables_come_in_few_chunks(tmp_path, monkeypatch, name):
    """What a chunk costs it costs per column, so that a block holds a fixed part of each."""
    frame = pd.DataFrame(np.arange(200 * 50).reshape(200, 50)).rename(columns=str)
    frame.to_csv(tmp_path / name, index=False) if name == "wide.csv" else frame.to_parquet(tmp_path / name)
    monkeypatch.setattr(readers, "BLOCK", 4_000)
    cells, many = read(tmp_path / name, block=4_000)
    again, few = read(tmp_path / name)
    assert cells == again
    assert many > 10 and few == 1


def test_parquet_keeps_its_types(tmp_path):
    table = pa.table(
        {
            "i": pa.array([1, 2, None] * 20, pa.int32()),
            "f": pa.array([0.5, 2.0, 1e-3] * 20, pa.float64()),
            "b": pa.array([True, False, None] * 20),
            "d": pa.array([0, 20_000, None] * 20, pa.date32()),
            "t": pa.array([0, 1_456_790_400_000_000, None] * 20, pa.timestamp("us")),
            "s": pa.array(["x", "y", "z"] * 20).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=7)
    loaded = data.load(str(tmp_path / "t.parquet"), holdout=0, min_count=1)
    kinds = [field.kind for field in loaded.table.schema.fields]
    assert kinds == ["integer", "continuous", "boolean", "datetime", "datetime", "categorical"]
    back = loaded.encoder.decode(loaded.train.x)
    with writing(tmp_path / "out.parquet", loaded.table.schema) as put:
        put(back)
    out = pq.read_table(tmp_path / "out.parquet")
    expected = table.take(pa.array(loaded.train.index)).cast(out.schema)
    assert out.schema.types[:5] == table.schema.types[:5] and out.equals(expected)


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "t.csv: an empty file"),
        ("a,b\n", "t.csv: has a header and no rows"),
        ("a,b\n1,2\n3\n", "t.csv: row 2 has 1 cells, the header 2: '3'"),
        ("a,b\n1,2\n3,4\n5,6,7\n", "t.csv: row 3 has 3 cells, the header 2: '5,6,7'"),
        ("a,b\n1;2\n", "t.csv: row 1 has 1 cells, the header 2"),  # another delimiter than the header's
        ("a,b,a\n1,2,3\n", "t.csv: duplicate column name 'a': columns 1 and 3"),
        ("a,,c\n1,2,3\n", "t.csv: column 2 of 3 has no name"),
        (b"a,b\n1,2\n3,\xff\n", "t.csv: row 2, column 'b': not UTF-8 text"),
        (b"a,\xe4\n1,2\n", "t.csv: byte 2 of the header is not UTF-8"),
        ("a,b\n1,2\n" + "1," + "x" * 3000 + "\n", "a row is longer than 1,000 bytes; is a quote left open"),
    ],
)
def test_files_that_are_no_tables_are_refused_in_one_line(tmp_path, content, message):
    with pytest.raises(InputError, match=message) as caught:
        read(write(tmp_path, content), block=1000)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="t.parquet: not a Parquet file that can be read"):
        open_table(write(tmp_path, b"PAR1 nothing", "t.parquet"))
    with pytest.raises(InputError, match="t.csv.gz: cannot be read"):
        open_table(write(tmp_path, b"not gzip at all", "t.csv.gz"))
    with pytest.raises(InputError, match="gone.csv: no such file"):
        open_table(tmp_path / "gone.csv")


# --- writing


def test_parts_written_while_sampling_are_the_whole(shop, tmp_path):
    loaded = data.load(str(shop), target="churned")
    encoder = Encoder.from_dict(loaded.encoder.to_dict())
    x = loaded.train.x
    for name, parts in (("one.csv", 1), ("four.csv", 4), ("one.parquet", 1), ("four.parquet", 4)):
        with writing(tmp_path / name, encoder.schema) as put:
            for part in np.array_split(np.arange(len(x)), parts):
                put(encoder.decode(x[part], seed=3, start=int(part[0])))
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "four.csv").read_bytes()
    assert pq.read_table(tmp_path / "one.parquet").equals(pq.read_table(tmp_path / "four.parquet"))
    back, raw = pd.read_csv(tmp_path / "one.csv"), pd.read_csv(shop).iloc[loaded.train.index].reset_index(drop=True)
    assert list(back.columns) == [name for name in raw.columns if name != "note"]  # free text is left out
    for name in ("town", "churned"):
        pd.testing.assert_series_equal(back[name], raw[name])
    assert back["since"].str.fullmatch(r"\d\d/\d\d/\d{4}").all() and back["age"].dtype == raw["age"].dtype
    assert (back["age"] != raw["age"]).mean() < 0.05 and back["customer_id"].is_unique
    assert back["customer_id"].str.fullmatch(r"C\d{5}").all()
    parquet = pd.read_parquet(tmp_path / "one.parquet")
    assert parquet["age"].dtype == np.int64 and parquet["since"].dtype.kind == "M"
    assert parquet["spent"].tolist() == back["spent"].tolist()


def test_a_file_that_was_not_finished_is_not_there(shop, tmp_path):
    loaded = data.load(str(shop))
    with pytest.raises(RuntimeError), writing(tmp_path / "half.csv", loaded.table.schema) as put:
        put(loaded.encoder.decode(loaded.train.x))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(InputError, match="t.xlsx: tables are written as .csv or .parquet"),
        writing(tmp_path / "t.xlsx", loaded.table.schema),
    ):
        pass


def test_cells_that_csv_must_quote(tmp_path):
    cells = ["a,b", 'say "hi"', "two\nlines", "", "=cmd()"]
    path = tmp_path / "t.csv"
    pd.DataFrame({"x": cells * 20}).to_csv(path, index=False)
    loaded = data.load(str(path), holdout=0)
    with writing(tmp_path / "out.csv", loaded.table.schema) as put:
        put(loaded.frame("train"))
    back = pd.read_csv(tmp_path / "out.csv", skip_blank_lines=False, keep_default_na=False)["x"]
    expected = [cells[i % 5] for i in loaded.train.index]
    assert back.tolist() == ["'=cmd()" if cell == "=cmd()" else cell for cell in expected]
