"""Splits and encoded rows of tables by `load`, in bounded memory; tables known by name."""

import gzip
import subprocess
import sys
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from people import N, people, read, write

from synthjax import data
from synthjax.data import csv_layout, readers
from synthjax.data.readers import writing
from synthjax.errors import InputError


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    path = tmp_path_factory.mktemp("shop") / "customers.csv"
    people().to_csv(path, index=False)
    return path


# --- load


def test_a_csv_becomes_splits_of_encoded_rows(shop):
    loaded = data.load(str(shop), target="churned", min_count=1)
    raw = pd.read_csv(shop)
    assert loaded.name == "customers" and loaded.spec.classes == ("no", "yes")
    splits = {name: getattr(loaded, name) for name in ("train", "holdout", "test")}
    assert [len(part.y) for part in splits.values()] == [288, 32, 80]
    index = np.concatenate([part.index for part in splits.values()])
    np.testing.assert_array_equal(np.sort(index), np.arange(N))
    assert np.ptp([part.y.mean() for part in splits.values()]) < 0.03  # stratified
    for name, part in splits.items():
        assert part.x.dtype == np.float32 and part.y.dtype == part.index.dtype == np.int32
        frame = loaded.frame(name)
        np.testing.assert_array_equal(frame.index, part.index)
        np.testing.assert_array_equal(frame["churned"] == "yes", part.y)
        for column in ("customer_id", "age", "spent", "note"):
            assert frame[column].tolist() == raw[column].iloc[part.index].tolist()
        assert frame["town"].isna().tolist() == raw["town"].iloc[part.index].isna().tolist()
    np.testing.assert_array_equal(loaded.train.x, loaded.encoder.encode(loaded.frame("train")))
    again = data.load(shop.name, str(shop.parent), target="churned", min_count=1)
    assert again.fingerprint == loaded.fingerprint


def test_the_schema_is_of_the_training_rows_alone(tmp_path):
    frame = people()
    first = data.load(str(write(tmp_path, frame.to_csv(index=False))), target="churned")
    out = np.concatenate([first.test.index, first.holdout.index])
    frame.loc[out, "age"] = 10_000
    frame.loc[out, "town"] = "Elsewhere"
    second = data.load(str(write(tmp_path, frame.to_csv(index=False))), target="churned")
    assert second.encoder == first.encoder and (second.train.x == first.train.x).all()
    assert any(
        "test: rows whose category is not in the training rows" in note and "town 80" in note
        for note in second.table.notes
    )
    assert second.frame("test")["age"].max() == 10_000  # as it is, for evaluation
    assert second.encoder.decode(second.test.x)["age"].max() < 100


def test_a_numeric_target_means_regression_and_none_is_no_target(shop):
    regression = data.load(str(shop), target="spent")
    assert regression.spec.classes == () and not regression.train.y.any()
    assert [column.name for column in regression.spec.columns if column.target] == ["spent"]
    free = data.load(str(shop))
    assert free.spec.classes == () and not any(column.target for column in free.spec.columns)
    assert [len(part.y) for part in (free.train, free.holdout, free.test)] == [288, 32, 80]


def test_a_schema_file_and_an_encoding_are_heeded(shop, tmp_path):
    schema = tmp_path / "schema.yaml"
    schema.write_text("columns: {age: {kind: categorical}, spent: {encoding: mode, min: 0, max: 1000}}")
    loaded = data.load(str(shop), target="churned", encoding="interval", schema=str(schema))
    assert [coding.encoding for coding in loaded.encoder.codings] == [
        "interval",
        "mode",
        "interval",
        "minmax",
        "onehot",
    ]
    assert loaded.table.schema["spent"].high == 1000


@pytest.mark.parametrize(
    "options, message",
    [
        ({"target": "churn"}, "customers.csv: target 'churn' is not a column; did you mean churned"),
        ({"target": "town"}, "customers.csv: row .*, target 'town': no label"),
        ({"target": "note"}, r"customers.csv: note: class .* has 1 example, too few to split"),
        ({"encoding": "pca"}, "encoding=pca: unknown"),
        ({"min_count": 0}, "min_count=0: at least 1"),
        ({"schema": "gone.yaml"}, "gone.yaml: no such file"),
    ],
)
def test_what_load_cannot_do_is_refused(shop, options, message):
    with pytest.raises(InputError, match=message):
        data.load(str(shop), **options)


@pytest.mark.parametrize(
    "labels, message",
    [
        (["a"] * 100, "t.csv: target 'y' is always 'a': there is nothing to predict"),
        (["a"] * 99 + ["b"], r"t.csv: y: class 1 \(b\) has 1 example, too few to split"),
        (["a"] * 95 + ["b"] * 5, r"class 'b' has 3 training rows; classes of fewer than 5 \(min_count\)"),
    ],
)
def test_targets_without_enough_of_a_class(tmp_path, labels, message):
    text = "x,y\n" + "".join(f"{i * 7 % 50},{label}\n" for i, label in enumerate(labels))
    with pytest.raises(InputError, match=message):
        data.load(str(write(tmp_path, text)), target="y")


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_a_quote_that_is_left_open_takes_no_rows_in_silence(tmp_path, name):
    def text(number, cell):
        rows = "".join(f"{'YN'[i % 2]},{cell if i == number - 1 else i % 9}\n" for i in range(300))
        whole = ("y,x\n" + rows).encode()
        return gzip.compress(whole) if name.endswith("gz") else whole

    message = r"row 200, column 'x': a quote is left open, so that the rest of the file is in it"
    with pytest.raises(InputError, match=message):
        data.load(str(write(tmp_path, text(200, '"3'), name)), target="y")
    for number in (200, 300):  # a line break inside quotes is no fault
        cells, _ = read(write(tmp_path, text(number, '"3\n4"'), name))
        assert len(cells["x"]) == 300 and cells["x"][number - 1] == "3\n4"


def test_a_bad_cell_outside_the_training_rows_is_named_too(shop, tmp_path):
    frame = people().astype({"age": object})
    row = int(data.load(str(shop), target="churned").test.index[3])
    frame.loc[row, "age"] = "young"
    with pytest.raises(InputError, match=f"row {row + 1}, column 'age': 'young' is not a finite number"):
        data.load(str(write(tmp_path, frame.to_csv(index=False))), target="churned")


def test_images_take_no_target():
    with pytest.raises(InputError, match="target=x: is for tables; digits holds images"):
        data.load("digits", target="x")


def test_an_unknown_option_is_named():
    with pytest.raises(TypeError, match="'targte'"):
        data.load("digits", targte="x")


STREAM = """
import itertools, resource, sys
from synthjax.data import schema_inference, readers
from synthjax.data.text_values import typed
from synthjax.data.encoding import Encoder
reader = readers.open_table(sys.argv[1], block=1 << 18)
def run(most):
    chunks = lambda: itertools.islice(reader.chunks(), most)
    found = schema_inference.infer(chunks(), target="k")
    encoder = Encoder.fit(typed(next(reader.chunks()), found, reader.tokens, "file"), found)
    with readers.writing(sys.argv[2], found) as put:
        for chunk in chunks():
            put(encoder.decode(encoder.encode(typed(chunk, found, reader.tokens, "file"))))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
few = run(8)
print(run(None) - few)
"""


def test_a_file_larger_than_the_memory_bound_streams(tmp_path):
    """Read, measured, encoded, decoded and written, 10 MB of CSV take less than 8 MB beyond what 2 MB take."""
    rng = np.random.default_rng(0)
    rows = [
        f"{a:.4f},{b},c{b % 50},2016-03-{1 + b % 28:02d},{b % 3}\n"
        for a, b in zip(rng.normal(size=20_000), rng.integers(0, 10**6, 20_000), strict=True)
    ]
    block = "".join(rows)
    path = tmp_path / "big.csv"
    with path.open("w") as file:
        file.write("a,b,c,d,k\n")
        for _ in range(10_000_000 // len(block)):
            file.write(block)
    assert path.stat().st_size > 9_000_000
    command = [sys.executable, "-c", STREAM, str(path), str(tmp_path / "out.csv")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 8_000_000, done.stdout
    assert (tmp_path / "out.csv").stat().st_size > 0.9 * path.stat().st_size


# --- data sets known by name


def test_adult_from_end_to_end(data_dir):
    adult = data.load("adult", str(data_dir), min_count=1)
    assert [len(part.y) for part in (adult.train, adult.holdout, adult.test)] == [29_305, 3_256, 16_281]
    assert adult.spec.classes == ("<=50K", ">50K") and adult.test.y.sum() == 3846  # UCI's own counts
    assert adult.train.y.sum() + adult.holdout.y.sum() == 7841
    train, test = adult.frame("train"), adult.frame("test")
    gone = pd.concat([train, adult.frame("holdout")]).isna()
    assert gone.any(axis=1).sum() == 2399 and test.isna().any(axis=1).sum() == 1221
    assert set(gone.columns[gone.any()]) == {"workclass", "occupation", "native-country"}
    back = adult.encoder.decode(adult.train.x)
    away = (back["fnlwgt"].to_numpy() - train["fnlwgt"].to_numpy()) / train["fnlwgt"].to_numpy()
    assert np.abs(away).max() < 1e-3
    rest = [name for name in train.columns if name != "fnlwgt"]
    pd.testing.assert_frame_equal(back[rest].reset_index(drop=True), train[rest].reset_index(drop=True))


def test_adult_keeps_its_rare_country_to_itself(data_dir, tmp_path):
    adult = data.load("adult", str(data_dir))
    assert adult.table.schema["native-country"].suppressed == 1
    with writing(tmp_path / "a.csv", adult.table.schema) as put:
        put(adult.encoder.decode(adult.train.x))
    assert "Holand" not in (tmp_path / "a.csv").read_text()
    assert "Holand" not in str(adult.encoder.to_dict())


@pytest.mark.parametrize("name, rows, classes", [("creditcard", 14_214, ("0", "1")), ("nyc_taxi", 15_241, ())])
def test_other_tables_known_by_name(data_dir, name, rows, classes):
    loaded = data.load(name, str(data_dir), encoding="interval")
    assert loaded.spec.classes == classes
    parts = (loaded.train, loaded.holdout, loaded.test)
    assert sum(len(part.y) for part in parts) == rows and len(loaded.test.y) == round(rows / 5)
    if name == "creditcard":
        assert sum(int(part.y.sum()) for part in parts) == 492


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"adult: its file adult.data\[.gz\] is not there; looked in"):
        data.load("adult", str(tmp_path))
    (tmp_path / "adult.data").write_text("39, Private\n")
    with pytest.raises(InputError, match="adult.test .* is missing"):
        data.load("adult", str(tmp_path))


def test_loading_takes_the_memory_of_the_encoded_rows_once(tmp_path, monkeypatch):
    """Beside a chunk and the sample that encodings are fitted on, both made small here."""
    from synthjax.data import table_dataset

    monkeypatch.setattr(readers, "BLOCK", 1 << 17)
    monkeypatch.setattr(csv_layout, "BLOCK", 1 << 17)
    monkeypatch.setattr(table_dataset, "SAMPLE", 1000)
    monkeypatch.setattr(readers, "COLUMN_BLOCK", 1 << 11)
    n, columns = 40_000, 60
    cells = np.random.default_rng(0).integers(0, 50, (n, columns))
    pd.DataFrame(cells, columns=[f"x{i}" for i in range(columns)]).to_csv(tmp_path / "t.csv", index=False)
    data.load(str(tmp_path / "t.csv"))  # what is imported and compiled once
    tracemalloc.start()
    try:
        loaded = data.load(str(tmp_path / "t.csv"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    encoded = sum(array.nbytes for split in (loaded.train, loaded.holdout, loaded.test) for array in split)
    assert encoded > 4 * n * columns and peak < 1.75 * encoded, (peak, encoded)
    assert loaded.train.x.ctypes.data % 64 == 0  # which JAX uses on CPU without a copy
