"""Rare cells: codes are made anew in their form, words are merged, and a column that is mostly rare is no category."""

import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from synthjax import data
from synthjax.data import foreign
from synthjax.data.encoding import Encoder
from synthjax.data.schema import RARE
from synthjax.data.schema_inference import infer
from synthjax.data.text_values import Chunk

N = 1000


def codes(rng, share=0.4):
    """Three codes that many rows share, and others that few do, in two forms."""
    rare = [
        f"{a}-{i:05d}" if i % 4 else f"{a}{a}/{i:04d}.X"
        for a, i in zip(rng.choice(list("ABCDE"), N), rng.integers(0, 10_000, N), strict=True)
    ]
    return np.where(rng.random(N) < share, rare, rng.choice(["AB-1", "CD-22", "EF-333"], N))


def repeated(rng):
    """Two rows with each rare code."""
    rare = np.repeat([f"Q{i:06d}" for i in rng.permutation(10**6)[: N // 2]], 2)
    return np.where(np.arange(N) % 6 < 2, rare, "Q000000")


def words(rng):
    return np.where(rng.random(N) < 0.3, ["".join(rng.choice(list("bdfgaeio"), 7)) for _ in range(N)], "smith")


def loaded(tmp_path, **columns):
    frame = pd.DataFrame({**columns, "y": np.arange(N) % 3})
    frame.to_csv(tmp_path / "a.csv", index=False)
    return data.load(str(tmp_path / "a.csv"))


def drawn(loaded_data, n=4000):
    rows = np.random.default_rng(1).integers(len(loaded_data.train.x), size=n)
    return loaded_data.encoder.decode(loaded_data.train.x[rows], seed=3)


def test_rare_codes_are_made_anew_in_their_form(tmp_path):
    real = codes(np.random.default_rng(0))
    found = loaded(tmp_path, x=real)
    assert found.table.schema["x"].kind == "categorical" and not found.table.schema.advice()
    encoder = Encoder.from_dict(json.loads(json.dumps(found.encoder.to_dict())))
    made = encoder.decode(found.train.x[np.random.default_rng(1).integers(len(found.train.x), size=4000)], seed=3)["x"]
    kept = made.isin(["AB-1", "CD-22", "EF-333"])
    assert abs(kept.mean() - 0.6) < 0.05 and RARE not in set(made)
    assert made[~kept].is_unique and not set(made[~kept]) & set(real)  # of all splits
    first = made[~kept].str.fullmatch(r"[A-Z]-\d{5}")
    assert (first | made[~kept].str.fullmatch(r"[A-Z]{2}/\d{4}\.X")).all() and abs(first.mean() - 0.75) < 0.08
    stored = json.dumps(encoder.to_dict()) + found.table.schema.report()
    counts = pd.Series(real).value_counts()
    assert not any(cell in stored for cell in counts.index[counts < 5])


def test_as_many_rows_share_a_rare_code_as_in_the_real_rows(tmp_path):
    real = repeated(np.random.default_rng(0))
    made = drawn(loaded(tmp_path, x=real))["x"]
    rare = made[made != "Q000000"]
    training = 2 / (2 - 0.72)  # rows of a pair that are in training rows, where any is
    assert abs(len(rare) / rare.nunique() - training) < 0.05 and not set(rare) & set(real)


def test_blocks_of_rows_do_not_repeat_codes(tmp_path):
    found = loaded(tmp_path, x=codes(np.random.default_rng(0)))
    x = found.train.x
    parts = [found.encoder.decode(x, seed=3, start=start)["x"] for start in (0, len(x), 2 * len(x))]
    made = pd.concat(parts)
    assert made[~made.isin(["AB-1", "CD-22", "EF-333"])].is_unique


def test_made_codes_are_read_again_without_a_note(tmp_path):
    found = loaded(tmp_path, x=codes(np.random.default_rng(0)))
    drawn(found).to_csv(tmp_path / "s.csv", index=False)
    known = {field.name: set(field.categories) for field in found.table.schema.fields if field.categories}
    assert foreign.read(tmp_path / "s.csv", found.table.schema, known)[1] == []


def test_codes_without_room_and_words_are_merged_and_told(tmp_path):
    rng = np.random.default_rng(0)
    rooms = np.where(rng.random(N) < 0.3, [f"R{i:03d}" for i in rng.integers(0, 400, N)], "R001")
    found = loaded(tmp_path, room=rooms, name=words(rng))
    assert {RARE} < set(drawn(found)["room"]) and {RARE, "smith"} == set(drawn(found)["name"])
    assert any(re.match("room, name: more than 5% of the cells", line) for line in found.table.schema.advice())


@pytest.mark.parametrize("n", [12, N])
def test_a_column_of_rare_words_is_left_out_and_told(n):
    rng = np.random.default_rng(0)
    names = ["".join(rng.choice(list("bdfgaeio"), 4)) for _ in range(n // 2)]
    schema = infer([Chunk(pa.table({"name": [*names, *names]}), np.arange(n))])
    assert schema["name"].kind == "text"
    assert any("name: free text is left out" in line and "kind: id" in line for line in schema.advice())


def test_a_rule_between_columns_of_rare_codes_is_kept(tmp_path):
    x = codes(np.random.default_rng(0))
    frame = pd.DataFrame({"a": x, "b": x, "y": np.random.default_rng(1).integers(0, 50, N)})
    frame.to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "s.yaml").write_text("rules: [a -> b]\n")
    made = drawn(data.load(str(tmp_path / "a.csv"), schema=str(tmp_path / "s.yaml")))
    assert made.groupby("a")["b"].nunique().max() == 1 and RARE not in {*made["a"], *made["b"]}
