"""Identifiers are made anew with the look of the real ones: none repeats, none is a real one."""

import json
import os
import re
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from synthjax import data
from synthjax.data import column_units
from synthjax.data.encoding import Encoder
from synthjax.data.readers import open_table
from synthjax.data.schema_inference import infer
from synthjax.data.text_values import Chunk

RNG = np.random.default_rng(0)


def schema_of(cells, **options):
    return infer([Chunk(pa.table({"x": list(map(str, cells))}), np.arange(len(cells)))], **options)


def drawn(schema, n, seed=3, start=0):
    """Identifiers as text."""
    return column_units.decoded(schema, (), np.zeros((n, 0), np.float32), seed, start)["x"].astype(str)


def test_identifiers_of_several_lengths_keep_their_look():
    cells = [f"C-{i}" for i in [*range(100, 400, 30), *range(100_000, 400_000, 30_000)]] + ["odd_one"]
    schema = schema_of(cells)
    assert schema["x"].pattern == r"\C\-999|\C\-99\0\099" and "odd" not in schema.report()
    text = [cell for start in (0, 1000) for cell in drawn(schema, 1000, start=start)]
    assert all(re.fullmatch(r"C-(\d{3}|\d{6})", cell) for cell in text)
    assert len(set(text)) == 2000 and sum(len(cell) == 5 for cell in text) == 1000  # while there is room, half


def test_rows_beyond_the_room_of_a_form_go_to_the_widest():
    schema = schema_of([f"K{i}" for i in [*range(10), *range(100_000, 990_000, 9_973)]])
    text = drawn(schema, 5000)
    assert text.is_unique and (text.str.len() == 2).sum() == 10


@pytest.mark.parametrize(
    ("cells", "pattern"),
    [
        ([f"R{i:03d}" for i in range(400)], "synthetic-"),  # 1,000 rooms for 400 rows
        ([f"C{i:05d}" for i in range(300)], r"\C99999"),  # dense: shared digits may vary too
        ([f"C-{i:08d}" for i in RNG.permutation(10**6)[:300]], r"\C\-\0\0999999"),
        ([f"user{i}@firm" for i in range(300)], "synthetic-"),
        ([str(uuid.UUID(int=int(i), version=4)) for i in RNG.integers(2**62, size=300)], None),
        ([f"{i:024x}" for i in RNG.integers(2**62, size=300)], None),
        (["".join(RNG.choice(list("abcXYZ019"), 11)) for _ in range(300)], "z" * 11),
    ],
)
def test_text_identifiers_never_repeat_and_are_never_real(tmp_path, cells, pattern):
    frame = pd.DataFrame({"x": cells, "y": np.arange(len(cells)) % 7})
    frame.to_csv(tmp_path / "a.csv", index=False)
    encoder = data.load(str(tmp_path / "a.csv")).encoder
    field = encoder.schema["x"]
    assert field.kind == "id" and (pattern is None or field.pattern == pattern)
    encoder = Encoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    units = np.zeros((3 * len(cells), 1), np.float32)
    text = pd.concat([encoder.rows(units, seed=1, start=start)["x"] for start in (0, len(units))])
    assert text.is_unique and not set(text) & set(cells)  # those of holdout and test rows too
    if field.pattern == "synthetic-":
        assert text.str.fullmatch(r"synthetic-\d+").all()
    else:
        assert {re.sub("[0-9A-Za-z]", "0", cell) for cell in cells} == set(
            text.str.replace("[0-9A-Za-z]", "0", regex=True)
        )


def test_hexadecimal_identifiers_stay_so():
    cells = [str(uuid.UUID(int=int(i), version=4)) for i in RNG.integers(2**62, size=300)]
    assert all(uuid.UUID(cell) for cell in drawn(schema_of(cells), 500))


@pytest.mark.parametrize("n", [50, 500, 5000])
def test_what_is_stored_of_the_real_ones_tells_none_of_them(tmp_path, n):
    """A class holds dozens of possible identifiers, whether it has a real one or not."""
    real = RNG.permutation(100 * n)[:n]
    pd.DataFrame({"x": [f"N{i:0{len(str(100 * n)) - 1}d}" for i in real], "y": np.arange(n) % 7}).to_csv(
        tmp_path / "a.csv", index=False
    )
    field = data.load(str(tmp_path / "a.csv")).table.schema["x"]
    classes = np.unpackbits(np.frombuffer(bytes.fromhex(field.taken), np.uint8)).astype(bool)
    assert set(real % len(classes)) == set(np.flatnonzero(classes))
    assert 100 * n / len(classes) >= 50 and 0.2 < classes.mean() < 0.8


@pytest.mark.parametrize(
    ("numbers", "low", "high"),
    [
        (np.arange(1, 401), 1001, 10**6),  # dense: above all real ones
        (RNG.permutation(np.arange(100, 500)) * 3, 10_001, 10**6),
        (RNG.permutation(np.arange(10**8, 10**9, 2 * 10**6)), 10**8, 10**9 - 1),
        (2**60 + RNG.integers(2**60, size=400), 10**18, 2**63 - 1),
        (2**63 + RNG.integers(2**62, size=400).astype(np.uint64), 10**18, 2**64 - 1),
    ],
)
def test_whole_numbers_stay_whole_numbers_of_their_type(tmp_path, numbers, low, high):
    pd.DataFrame({"user_id": numbers, "y": np.arange(len(numbers)) % 7}).to_csv(tmp_path / "a.csv", index=False)
    encoder = data.load(str(tmp_path / "a.csv")).encoder
    assert encoder.schema["user_id"].kind == "id"
    rows = encoder.rows(np.zeros((1000, 1), np.float32), seed=1)
    made = [int(cell) for cell in rows["user_id"]]
    assert len(set(made)) == 1000 and not set(made) & {int(number) for number in numbers}
    assert low <= min(made) and max(made) <= high


@pytest.mark.parametrize(
    ("name", "make"),
    [("order", "ORD-{:06d}".format), ("patient", "P{:05d}".format), ("patient_number", str), ("id_student", str)],
)
def test_identifiers_of_several_rows_keep_the_sizes_of_their_groups(name, make):
    sizes = RNG.choice([1, 2, 3], size=400, p=[0.5, 0.3, 0.2])
    numbers = RNG.permutation(np.arange(1000, 90_000, 7))[:400]
    cells = RNG.permutation(np.repeat([make(int(i)) for i in numbers], sizes)).tolist()
    schema = infer([Chunk(pa.table({name: cells}), np.arange(len(cells)))])
    assert schema[name].kind == "id"
    parts = [column_units.decoded(schema, (), np.zeros((1000, 0), np.float32), 3, i)[name] for i in (0, 1000)]
    text = pd.concat(parts).astype(str)
    found = text.value_counts().value_counts(normalize=True)
    assert max(abs(found.get(size, 0) - (sizes == size).mean()) for size in (1, 2, 3)) < 0.03
    assert schema.advice() == [
        f"{name}: several rows have one identifier: they are treated as independent of each other"
    ]


def test_dense_identifiers_of_several_rows_are_recognised_by_their_name():
    schema = infer([Chunk(pa.table({"id": [str(i // 3) for i in range(4500)]}), np.arange(4500))])
    assert schema["id"].kind == "id" and set(schema["id"].sizes) == {3}


def test_one_repeat_does_not_turn_identifiers_into_one_category():
    cells = [f"ORD-{i}" for i in RNG.permutation(np.arange(100_000, 900_000, 1000))[:300]]
    field = schema_of([*cells, cells[0]])["x"]
    assert field.kind == "id" and field.sizes == ()  # which two rows share one would single them out


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("price", RNG.choice([999, 1499, 1999, 2499], 400) + RNG.integers(0, 90, 400)),
        ("house_number", RNG.integers(1, 120, 400)),
        ("number", np.minimum(RNG.geometric(0.05, 400), 99)),  # on a player's back
        ("store_id", RNG.integers(1, 30, 900)),  # few, of many rows each: what they have in common is to be learnt
    ],
)
def test_quantities_are_no_identifiers(name, numbers):
    schema = infer([Chunk(pa.table({name: list(map(str, numbers))}), np.arange(len(numbers)))])
    assert schema[name].kind == "integer"


REAL = os.environ.get("SYNTHJAX_DATA_DIR", "")


@pytest.mark.skipif(not os.path.isdir(os.path.join(REAL, "oulad")), reason="needs the data sets")
@pytest.mark.parametrize(
    ("file", "name", "rows"),
    [("oulad/studentInfo.csv.gz", "id_student", 1.13), ("diabetes130/diabetic_data.csv.gz", "patient_nbr", 1.42)],
)
def test_repeated_rows_of_one_person_are_recognised(file, name, rows):
    reader = open_table(os.path.join(REAL, file))
    schema = infer(reader.chunks())
    assert schema[name].kind == "id" and abs(np.mean(schema[name].sizes) - rows) < 0.03
    assert [line for line in schema.advice() if "independent" in line and name in line]
