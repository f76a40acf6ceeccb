"""The encoder: there and back for every kind of column and encoding, distributions, sizes, and what never comes out."""

import json

import hypothesis.strategies as st
import jax
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.stats
from hypothesis import HealthCheck, given, settings

from synthjax.data import memory, scalers
from synthjax.data.encoding import PRESETS, Encoder
from synthjax.data.schema import MISSING, RARE
from synthjax.data.schema_inference import infer
from synthjax.data.text_values import Chunk, typed, written
from synthjax.errors import InputError
from synthjax.model import DataSpec

N = 400
EXAMPLES = settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def table(columns, encoding="quantile", **options):
    """Encoder, typed frame and text of columns of cells."""
    text = pa.table({name: pa.array([str(cell) for cell in cells]) for name, cells in columns.items()})
    chunk = Chunk(text, np.arange(len(text)))
    schema = infer([chunk], **options)
    frame = typed(chunk, schema, MISSING, "file")
    return Encoder.fit(frame, schema, encoding), frame, text


def mixed(seed=0, n=N):
    """Columns of every kind that is encoded, some of them with missing cells."""
    rng = np.random.default_rng(seed)
    gone = rng.random(n) < 0.2
    return {
        "money": [f"{value:.2f}" for value in np.exp(rng.normal(size=n))],
        "count": np.where(rng.random(n) < 0.7, 0, rng.integers(0, 1000, n)),
        "gap": np.where(gone, "", rng.integers(0, 50, n).astype(str)),
        "day": [str(np.datetime64("2016-01-01") + np.timedelta64(int(d), "D")) for d in rng.integers(0, 900, n)],
        "time": np.where(gone, "NA", [f"2016-03-{d:02d} 07:{d:02d}:00" for d in rng.integers(1, 29, n)]),
        "word": rng.choice(["red", "green", "blue"], n, p=[0.6, 0.3, 0.1]),
        "some": np.where(rng.random(n) < 0.3, "", rng.choice(["x", "y"], n)),
        "flag": rng.choice(["true", "false"], n),
        "same": ["one"] * n,
        "key": [f"k{i:04d}" for i in rng.permutation(n)],
        "class": rng.choice(["a", "b"], n),
    }


ENCODED = ["money", "count", "gap", "day", "time", "word", "some", "flag", "class"]


@pytest.mark.parametrize("encoding", PRESETS)
def test_there_and_back_over_every_kind_of_column(encoding):
    encoder, frame, text = table(mixed(), encoding, target="class", min_count=1)
    x = encoder.encode(frame)
    assert x.shape == (N, encoder.width) and x.dtype == np.float32 and np.isfinite(x).all()
    back = encoder.decode(x)
    assert list(back.columns) == list(frame.columns)  # order, and identifiers and constants are there
    pd.testing.assert_frame_equal(back[[*ENCODED, "same"]], frame[[*ENCODED, "same"]], check_index_type=False)
    cells = written(back, encoder.schema)
    for name in [*ENCODED, "same"]:
        assert cells[name].to_pylist() == text[name].to_pylist(), name
    again = Encoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert again == encoder
    np.testing.assert_array_equal(again.encode(frame), x)


@pytest.mark.parametrize("encoding", PRESETS)
def test_the_columns_tile_the_vector_as_the_contract_says(encoding):
    encoder, frame, _ = table(mixed(), encoding, target="class", min_count=1)
    spec, x = encoder.spec(), encoder.encode(frame)
    assert spec.kind == "table" and spec.shape == (encoder.width,) and spec.classes == ("a", "b")
    assert DataSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    start = 0
    for column in spec.columns:
        part = x[:, column.start : column.start + column.size]
        assert column.start == start
        start += column.size
        if column.kind == "onehot":
            np.testing.assert_array_equal(np.sort(part, axis=1)[:, -2:], [[0, 1]] * N)
        if column.kind == "code":
            assert column.size == 1 and part.min() >= 0 and part.max() == column.codes - 1
        if column.missing is not None:
            name = column.name.removesuffix(":mode")
            np.testing.assert_array_equal(x[:, column.missing], frame[name].isna())
    assert start == encoder.width
    (target,) = [column for column in spec.columns if column.target]
    assert target.kind == "onehot"
    np.testing.assert_array_equal(
        x[:, target.start : target.start + 2].argmax(1), [("a", "b").index(c) for c in frame["class"]]
    )
    np.testing.assert_array_equal(encoder.labels(frame), x[:, target.start + 1])
    np.testing.assert_allclose(spec.frequencies, np.bincount(encoder.labels(frame)) / N)


numbers = st.one_of(
    st.integers(-(10**6), 10**6).map(str),
    st.decimals(-1000, 1000, places=2).map(lambda value: f"{value:.2f}"),
)
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=6)
dates = st.dates().map(str)
times = st.datetimes().map(lambda time: time.strftime("%Y-%m-%d %H:%M:%S").rjust(19, "0"))
flags = st.sampled_from(["true", "false"])
powers = st.decimals(-1000, 1000, places=2).map(lambda value: f"{value:.2e}")


@EXAMPLES
@given(
    st.one_of(
        *(st.lists(cells, min_size=2, max_size=30) for cells in (numbers, powers, words, dates, times, flags)),
    ),
    st.lists(st.booleans(), min_size=30, max_size=30),
    st.sampled_from(sorted(PRESETS)),
)
def test_any_column_comes_back(cells, gone, encoding):
    """Numbers to the f32 resolution of their range, all else exactly; missing cells stay missing."""
    cells = ["" if absent else cell for cell, absent in zip(cells, gone, strict=False)]
    other = [str(i % 2) for i in range(len(cells))]
    try:
        encoder, frame, _ = table({"x": cells, "other": other}, encoding, min_count=1)
    except InputError as error:  # a column that mixes kinds is refused by name, as documented
        assert "column 'x'" in str(error)
        return
    field, back = encoder.schema["x"], encoder.decode(encoder.encode(frame))
    if field.kind in ("id", "text"):
        return
    np.testing.assert_array_equal(back["x"].isna(), frame["x"].isna())
    present = frame["x"].notna()
    if field.kind in ("integer", "continuous"):
        tolerance = 3e-6 * (field.high - field.low) + 1e-9
        np.testing.assert_allclose(back["x"][present], frame["x"][present], atol=tolerance, rtol=0)
        assert field.kind == "continuous" or (back["x"][present] % 1 == 0).all()
    elif field.kind == "datetime":
        away = np.abs((back["x"] - frame["x"])[present].dt.total_seconds())
        assert (away <= 3e-6 * (field.high - field.low) + 1).all()
    else:
        assert back["x"][present].tolist() == frame["x"][present].tolist()


@EXAMPLES
@given(st.data())
def test_rare_values_and_outliers_never_come_out_whatever_the_model_says(data):
    """Any vector at all decodes to values that five rows or more share, or that lie between such."""
    seed = data.draw(st.integers(0, 3))
    encoding = data.draw(st.sampled_from(sorted(PRESETS)))
    columns = mixed(seed)
    columns["money"] = ["1234567.89", "-7654321.5", *columns["money"][2:]]
    columns["day"] = ["1815-12-10", "2500-01-01", *columns["day"][2:]]
    columns["word"] = ["secret", "secret", "hidden", *columns["word"][3:]]
    encoder, frame, _ = table(columns, encoding, target="class")
    scale = data.draw(st.sampled_from([0.1, 1.0, 100.0]))
    x = (scale * np.random.default_rng(seed).standard_cauchy((200, encoder.width))).astype(np.float32)
    back = encoder.decode(x)
    assert not {"secret", "hidden"} & set(back["word"]) and set(back["word"]) <= {"red", "green", "blue", RARE}
    for name in ("money", "day", "count"):
        ordered = np.sort(frame[name].to_numpy())
        assert back[name].min() >= ordered[4] and back[name].max() <= ordered[-5]
    saved = json.dumps(encoder.to_dict())
    assert not any(word in saved for word in ("secret", "hidden", "1234567.89", "7654321"))


def test_interval_encoding_is_the_studys():
    """Sorted by share; normal about the middle of the interval with a sixth of its length (tails on the ends)."""
    counts = np.array([20_000, 50_000, 30_000])
    codes = np.repeat(np.arange(3), counts).astype(np.float32)[:, None]
    cut = scalers.cut(0, 0, counts)
    empty = np.zeros((0, 2), np.int64)
    plan = scalers.Layout(
        1, 1, empty, empty, np.zeros((0, 2, 1)), np.zeros((0, 2, 1)), empty, np.zeros((0, 3, 1)), np.zeros(0),
        (), (cut,), np.zeros((0, 3), np.int64), empty,
    )  # fmt: skip
    x = scalers.forward(plan, codes, np.random.default_rng(0).standard_normal((100_000, 1), np.float32))
    for code, (low, high) in {1: (0, 0.5), 2: (0.5, 0.8), 0: (0.8, 1)}.items():
        values = x[codes[:, 0] == code, 0]
        assert low <= values.min() and values.max() <= high
        inside = scipy.stats.truncnorm(-3, 3, (low + high) / 2, (high - low) / 6)
        within = values[(values > low + 1e-6) & (values < high - 1e-6)]
        assert scipy.stats.kstest(within, inside.cdf).pvalue > 0.001
        assert abs(1 - len(within) / len(values) - 0.0027) < 0.001  # two-sided tail of three standard deviations
    np.testing.assert_array_equal(scalers.inverse(plan, x), codes)
    anywhere = np.array([[-5], [0.1], [0.6], [0.95], [7]], np.float32)
    assert scalers.inverse(plan, anywhere)[:, 0].tolist() == [1, 1, 2, 0, 0]


def test_quantile_encoding_makes_normals_and_brings_the_distribution_back():
    rng = np.random.default_rng(0)
    skewed = np.exp(rng.normal(size=5000))
    atoms = np.where(rng.random(5000) < 0.9, 0, rng.integers(1, 2000, 5000))
    encoder, frame, _ = table({"s": [f"{v:.6f}" for v in skewed], "a": atoms}, "quantile", min_count=1)
    x = encoder.encode(frame)
    assert scipy.stats.kstest(x[:, 0], "norm").pvalue > 0.9
    drawn = encoder.decode(rng.normal(size=(5000, 2)).astype(np.float32))
    assert scipy.stats.ks_2samp(drawn["s"], frame["s"]).pvalue > 0.01
    assert abs((drawn["a"] == 0).mean() - (atoms == 0).mean()) < 0.02  # the spike is an interval, not a point
    assert scipy.stats.ks_2samp(drawn["a"][drawn["a"] > 0], atoms[atoms > 0]).pvalue > 0.01


def test_mode_encoding_finds_the_modes():
    rng = np.random.default_rng(0)
    which = rng.integers(0, 3, 6000)
    values = np.array([0.0, 100.0, 500.0])[which] + rng.normal(size=6000) * np.array([1, 5, 2])[which]
    encoder, frame, _ = table({"v": [f"{v:.4f}" for v in values]}, "mode")
    x = encoder.encode(frame)
    assert np.abs(x[:, 0]).max() < 2
    mode = x[:, 1:].argmax(1)
    for m in np.unique(mode):  # no mode bridges two of the three
        assert len(np.unique(which[mode == m])) == 1
    outlier, _, _ = table({"v": [*([0] * 500), *([1] * 500), *([10**6] * 5)]}, "mode")
    assert np.abs(outlier.encode(pd.DataFrame({"v": [0, 1, 10**6, 500_000]}))[:, 0]).max() <= 2


@pytest.mark.parametrize("encoding", PRESETS)
def test_the_numeric_part_under_jit_agrees_with_numpy(encoding):
    encoder, frame, _ = table(mixed(), encoding, target="class")
    units, _ = encoder.units(frame)
    noise = np.random.default_rng(0).standard_normal((N, len(encoder.layout.interval))).astype(np.float32)
    x = encoder.forward(units, noise)
    compiled = jax.jit(encoder.forward)(units, noise)
    np.testing.assert_allclose(compiled, x, atol=2e-3 if encoding == "mode" else 2e-6)
    np.testing.assert_allclose(jax.jit(encoder.inverse)(compiled), encoder.inverse(x), atol=2e-6)


def test_missing_comes_back_at_its_rate_from_a_models_draws():
    encoder, frame, _ = table(mixed(), "quantile")
    (gap,) = [column for column in encoder.columns if column.name == "gap"]
    x = np.zeros((1000, encoder.width), np.float32)
    x[:, gap.missing] = np.random.default_rng(0).random(1000) < encoder.schema["gap"].rate
    assert abs(encoder.decode(x)["gap"].isna().mean() - frame["gap"].isna().mean()) < 0.05


def test_categories_that_training_never_saw():
    columns = {"rare": ["a"] * 50 + ["b"] * 2, "gone": ["a"] * 40 + [""] * 12, "full": ["a", "b"] * 26}
    encoder, _, _ = table(columns, "code")
    new = pd.DataFrame({name: ["new", "a"] for name in columns})
    assert encoder.unseen(encoder.units(new)[1]) == {"rare": 1, "gone": 1, "full": 1}
    back = encoder.decode(encoder.encode(new))
    assert back["rare"][0] == RARE and pd.isna(back["gone"][0]) and back["full"][0] == "a"


def test_identifiers_are_new_and_do_not_repeat_over_blocks():
    encoder, frame, _ = table({"key": [f"CU-{i:06d}" for i in range(5000, 5200)], "x": range(200, 0, -1)}, "minmax")
    x = encoder.encode(frame)
    blocks = [encoder.decode(x, seed=7, start=start)["key"] for start in (0, 200, 400)]
    keys = pd.concat(blocks)
    assert keys.is_unique and keys.str.fullmatch(r"CU-\d{6}").all()
    assert encoder.decode(x, seed=7, start=200)["key"].tolist() == blocks[1].tolist()
    assert encoder.decode(x, seed=8)["key"].tolist() != blocks[0].tolist()
    counted, frame, _ = table({"id": range(1000, 1200), "x": range(200, 0, -1)}, "minmax")
    assert counted.decode(counted.encode(frame), start=10)["id"].tolist() == list(range(10_011, 10_211))


def test_three_hundred_thousand_categories_are_codes():
    n, repeats = 300_000, 2
    cells = np.tile(np.arange(n), repeats).astype(str)
    text = pa.table({"c": pa.array(np.char.add("c", cells)), "x": pa.array((cells.astype(int) % 10).astype(str))})
    chunk = Chunk(text, np.arange(len(text)))
    schema = infer([chunk], min_count=2)
    assert schema["c"].kind == "categorical" and len(schema["c"].categories) == n
    frame = typed(chunk, schema, MISSING, "file")
    encoder = Encoder.fit(frame, schema)
    assert encoder.width == 2 and encoder.columns[0].codes == n
    back = encoder.decode(encoder.encode(frame))
    assert (back["c"] == frame["c"]).all()
    wide = Encoder.fit(frame, infer([chunk], min_count=2, overrides={"c": {"encoding": "onehot"}}))
    with pytest.raises(InputError, match=r"widest: c, onehot, 300,000.* and there are 16.0 GB: encode wide columns"):
        wide.preflight(len(frame), available=16 * 10**9)
    assert "2 columns are encoded as 2 positions" in encoder.preflight(len(frame))


@pytest.mark.parametrize("where", ["", "pod", "pod/own"])
def test_the_memory_is_that_of_the_container(where, tmp_path, monkeypatch):
    """A limit of the container as a whole, of the process's own group, or of one around that."""
    encoder, _, _ = table({"c": ["a", "b"] * 50, "other": ["0", "1"] * 50}, "quantile", min_count=1)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    monkeypatch.setattr(memory, "_OWN", tmp_path / "cgroup")
    (tmp_path / "cgroup").write_text("12:pids:/elsewhere\n0::/pod/own\n")
    limit = tmp_path / where / "memory.max"
    limit.parent.mkdir(parents=True, exist_ok=True)
    limit.write_text("max\n")
    encoder.preflight(100)
    limit.write_text("1000000\n")
    with pytest.raises(InputError, match=r"and there are 1 MB: "):
        encoder.preflight(100)


@pytest.mark.parametrize("n", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_many_columns(n):
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 100, (60, n))
    text = pa.table({f"x{i}": pa.array(column.astype(str)) for i, column in enumerate(cells.T)})
    chunk = Chunk(text, np.arange(60))
    schema = infer([chunk], min_count=1)
    frame = typed(chunk, schema, MISSING, "file")
    encoder = Encoder.fit(frame, schema)
    x = encoder.encode(frame)
    assert x.shape == (60, n)
    np.testing.assert_array_equal(encoder.decode(x).to_numpy(), cells)
    assert jax.jit(encoder.inverse)(x).shape == (60, n)


@pytest.mark.parametrize(
    "columns, options, message",
    [
        ({"x": ["a", "b"] * 20}, {"encoding": "pca"}, "encoding=pca: unknown; there are minmax, interval"),
        ({"x": ["a"] * 20}, {}, "the table has no column to learn"),
        ({"x": ["a", "b"] * 20}, {"overrides": {"x": {"encoding": "mode"}}}, "'x' is categorical: encoding 'mode'"),
    ],
)
def test_what_cannot_be_encoded_is_refused(columns, options, message):
    with pytest.raises(InputError, match=message):
        table(columns, **options)


def test_frames_that_do_not_fit_are_refused():
    encoder, frame, _ = table(mixed(), target="class")
    with pytest.raises(InputError, match="column 'word' is not a column; did you mean words"):
        encoder.encode(frame.rename(columns={"word": "words"}))
    with pytest.raises(InputError, match="row 3, column 'money': 'inf' is not a finite number"):
        encoder.encode(frame.assign(money=[0, 1, np.inf] + [0] * (N - 3)))
    with pytest.raises(InputError, match="row 2, column 'count': 'many' is not of kind integer"):
        encoder.encode(frame.assign(count=["1", "many"] + ["0"] * (N - 2)))
    with pytest.raises(InputError, match="row 1, target 'class': 'z' is none of the classes a, b"):
        encoder.labels(frame.assign(**{"class": ["z"] + ["a"] * (N - 1)}))


def test_what_a_broken_model_draws_is_refused_or_decoded():
    encoder, frame, _ = table(mixed(), target="class")
    x = encoder.encode(frame)
    x[4, 0] = np.nan
    with pytest.raises(InputError, match="row 15, column 'money': NaN"):
        encoder.decode(x, start=10)
    assert encoder.decode(np.full((3, encoder.width), np.inf)).shape == (3, len(frame.columns))


def test_frames_as_pandas_reads_them_are_taken():
    """Whole numbers, truth values and dates of any dtype encode as the file's text does."""
    encoder, frame, _ = table(mixed(), "minmax", target="class", min_count=1)
    other = frame.assign(
        flag=frame["flag"] == "true",
        gap=frame["gap"].astype("Int64"),
        day=frame["day"].dt.strftime("%Y-%m-%d"),
        word=frame["word"].astype("category"),
    )
    np.testing.assert_array_equal(encoder.encode(other), encoder.encode(frame))
