"""Inputs that hang, explode or lie: each is refused in one short line."""

import os
import socket

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from synthjax import data
from synthjax.data import files, image_folders
from synthjax.data.arrays import quoted, shown
from synthjax.data.readers import open_table
from synthjax.data.schema_file import read_overrides
from synthjax.errors import InputError


def refused(match, read, *args):
    with pytest.raises(InputError, match=match) as caught:
        read(*args)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 1500
    return line


def special(path, kind):
    """A path that is no regular file; nothing ever comes out of the first two."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            os.chdir(path.parent)  # a socket's path is short
            bound.bind(path.name)
    else:
        path.mkdir()


@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "folder"])
@pytest.mark.parametrize(
    "name, read",
    [
        ("x.npz", files.read_npz),
        ("x-idx3-ubyte", files.read_idx),
        ("x.csv", open_table),
        ("x.parquet", open_table),
        ("x.yaml", read_overrides),
    ],
)
def test_only_regular_files_are_opened(tmp_path, monkeypatch, kind, name, read):
    monkeypatch.chdir(tmp_path)
    special(tmp_path / name, kind)
    match = "is a folder" if kind == "folder" else "is a pipe, a device or a socket"
    refused(match, read, tmp_path / name)


def test_a_pipe_among_images_is_refused(tmp_path):
    (tmp_path / "cats").mkdir()
    os.mkfifo(tmp_path / "cats" / "a.png")
    refused("a.png: is a pipe", image_folders.read_image_folder, tmp_path)
    os.mkfifo(tmp_path / "x.npz")
    refused("is a pipe", data.load, str(tmp_path / "x.npz"))


def _png(path, **options):
    path.parent.mkdir(exist_ok=True)
    image = Image.new("L", (4, 4))
    image.save(path, format=options.pop("format", "PNG"), **options)


@pytest.mark.parametrize(
    "odd, options, match",
    [
        ("cats/b.heic", {}, "b.heic: is not read: convert it to .png"),
        ("cats/b.dcm", {}, "b.dcm: a DICOM file: convert it first, for example"),
        ("cats/more/b.png", {}, "more: a folder within a class"),
        ("b.png", {}, "b.png: an image beside the folders"),
        (
            "cats/b.png",
            {"save_all": True, "append_images": [Image.new("L", (4, 4), 9)]},
            "has 2 frames or pages; single images are read",
        ),
        ("cats/b.png", {"transparency": 0}, "transparent pixels"),
    ],
)
def test_images_that_would_be_left_out_are_named(tmp_path, odd, options, match):
    _png(tmp_path / "cats" / "a.png")
    _png(tmp_path / "dogs" / "a.png")
    assert image_folders.read_image_folder(tmp_path).classes == ("cats", "dogs")
    _png(tmp_path / odd, **options)
    refused(match, image_folders.read_image_folder, tmp_path)


LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9))


@pytest.mark.parametrize(
    "name, text, match",
    [
        ("s.yaml", LAUGHS + "missing: *a8\ncolumns: {x: {kind: id}}\n", r"line 2: an alias \(\*\)"),
        ("s.yaml", "columns: " + "[" * 5000, "line 1: more than 20 values within each other"),
        ("s.json", "[" * 100_000, "not valid: too many values within each other"),
        ("s.yaml", "fields: [1]", "fields: 1 is not a column with a name"),
        ("s.yaml", "fields: [{nme: 1}]", "fields: {'nme': 1} is not a column with a name"),
        ("s.yaml", "fields: [{name: x, tokens: 3}]", "is no list of cells"),
        ("s.yaml", "fields: [{name: x, kind: [1]}]", r"unknown kind \[1\]"),
        ("s.yaml", "columns: {? [a, b] : {kind: id}}", "columns: .* is not a column's name|not valid"),
        ("s.yaml", "columns: {x: {kind: " + "k" * 100_000 + "}}", "unknown kind 'kkk"),
        ("s.yaml", "columns: {x: {min: .nan}}", "min: nan is not a number"),
        ("s.json", '{"columns": {"x": {"max": 1' + "0" * 400 + "}}}", "max: 1000+.*000 is not a number"),
        ("s.yaml", "columns: {x: {format: 3}}", "format: 3 is not text"),
        ("s.yaml", "columns: {x: {format: '%Q'}}", "format: '%Q' cannot be used: 'Q' is a bad directive"),
        (
            "s.yaml",
            "columns: {x: {format: yyyy-mm-dd}}",
            "format: 'yyyy-mm-dd' is neither codes of strptime, .* nor 1234.5",
        ),
        ("s.yaml", "columns: {x: {encoding: [mode]}}", r"encoding: \['mode'\] is not text"),
        ("s.yaml", "columns: {x: {min: [" + "1, " * 50_000 + "1]}}", r"min: \[1, 1, 1, 1, \.\.\.\] is not a number"),
        ("s.json", '{"columns": {"' + "x" * 100_000 + '": 3}}', r"columns: xxx+\.\.\.x+: 3 is not a mapping"),
    ],
)
def test_schema_files_that_explode_or_hold_something_else(tmp_path, name, text, match):
    path = tmp_path / name
    path.write_text(text)
    refused(match, read_overrides, path)


def test_what_a_message_quotes_is_short():
    nested = ["x"]
    for _ in range(40):  # spelt whole it would be 2**40 letters
        nested = [nested, nested]
    assert len(quoted(nested)) < 200 and len(quoted("y" * 10**6)) < 200
    assert len(shown("z" * 10**6)) < 500 and shown("short") == "short"


@pytest.mark.parametrize(
    "content, match",
    [
        ("a,b\n1,2\n".encode("utf-16-le"), "UTF-16"),
        (b"PK\3\4" + bytes(100), "a zip archive: unpack it"),
        (b"0." + b"1" * 4000 + b",2\n1,2\n", "the header names a column"),
    ],
)
def test_text_that_is_no_csv_says_what_to_do(tmp_path, content, match):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    refused(match, open_table, path)


def test_two_byte_order_marks_are_passed_over(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbf\xef\xbb\xbfa,b\n1,2\n")
    assert open_table(path).names == ("a", "b")


def test_a_parquet_file_without_columns_or_with_a_flipped_byte(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({}), path)
    refused("has no columns", open_table, path)
    values = np.arange(20_000, dtype=np.float64)
    pq.write_table(pa.table({"x": values}), path, write_page_checksum=True, compression="none", use_dictionary=False)
    raw = bytearray(path.read_bytes())
    place = raw.index(np.float64(12_345.0).tobytes())
    raw[place + 6] ^= 1
    path.write_bytes(raw)
    refused("cannot be read", lambda: list(open_table(path).chunks()))


def test_a_table_without_a_column_to_learn_is_named(tmp_path):
    path = tmp_path / "empty.csv"
    pd.DataFrame({"a": ["same"] * 50, "b": ["too"] * 50}).to_csv(path, index=False)
    refused("empty.csv: the table has no column to learn", data.load, str(path))
