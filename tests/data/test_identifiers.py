"""Identifiers of several lengths are made anew with the look of the real ones."""

import re

import numpy as np
import pyarrow as pa

from synthjax.data import column_units
from synthjax.data.schema_inference import infer
from synthjax.data.text_values import Chunk


def test_identifiers_of_several_lengths_keep_their_look():
    cells = [f"C-{i}" for i in np.random.default_rng(0).permutation(np.arange(200, 1800))] + ["odd_one"]
    schema = infer([Chunk(pa.table({"x": cells}), np.arange(len(cells)))])
    assert schema["x"].pattern == r"\C\-\1999|\C\-999" and "odd" not in schema.report()
    made = [column_units.decoded(schema, (), np.zeros((1000, 0), np.float32), 3, start)["x"] for start in (0, 1000)]
    text = [cell for part in made for cell in part]
    assert all(re.fullmatch(r"C-(1\d{3}|\d{3})", cell) for cell in text)
    assert abs(np.mean([len(cell) == 5 for cell in text]) - 0.5) < 0.02  # 800 of 1,600 have three digits
    assert len(set(text[:1000])) == 1000  # while there is room


def test_rows_beyond_the_room_of_a_form_go_to_the_widest():
    cells = [f"K{i}" for i in [*range(10), *range(100_000, 100_030)]]
    schema = infer([Chunk(pa.table({"x": cells}), np.arange(len(cells)))])
    assert schema["x"].pattern == r"\K\1\0\0\099|\K9"
    wide = infer(
        [Chunk(pa.table({"x": [f"K{i}" for i in [*range(10), *range(100_000, 990_000, 9_973)]]}), np.arange(100))]
    )
    text = column_units.decoded(wide, (), np.zeros((5000, 0), np.float32), 0, 0)["x"]
    assert text.is_unique and (text.str.len() == 2).sum() == 10
