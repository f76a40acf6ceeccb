"""Schema and encoder of a private table depend on its histograms alone; real rows are made to fit them."""

import numpy as np
import pandas as pd
import pytest
from customers import customers

from synthjax.data import private_table
from synthjax.data.private_histograms import Spend
from synthjax.data.readers import frame_reader
from synthjax.data.table_dataset import Found
from synthjax.data.table_options import TableOptions
from synthjax.errors import InputError

EXACT = Spend(lambda name, counts, share: np.array(counts), lambda share: 1e-3, lambda name, sigma, n: 2)


def coins(seed: int = 0):
    return lambda name, n: np.random.default_rng([seed, *name.encode()]).random(n)


def found_of(frame: pd.DataFrame, target: str | None = "churned") -> Found:
    return Found(frame_reader(frame, "table"), target=target)


def private_of(frame, schema=None, unit=None, target="churned"):
    return private_table.public_entries(found_of(frame, target), TableOptions(schema=schema), unit)


def test_the_schema_of_exact_histograms_is_that_of_the_rows():
    frame = customers(0, n=3000)
    private = private_of(frame)
    splits = private_table.cut(private, coins(), 0.1)
    rows, encoder, made = private_table.learn(private, splits, EXACT, "quantile")
    train = frame.iloc[splits["train"]]
    schema = encoder.schema
    kinds = {"id": "id", "age": "integer", "joined": "datetime", "city": "categorical", "member": "boolean"}
    assert {name: schema[name].kind for name in kinds} == kinds
    assert rows == len(train) == schema["age"].rows and schema.classes == ("no", "yes")
    assert (schema["age"].low, schema["age"].high) == (train["age"].min(), train["age"].max())
    assert schema["age"].missing == train["age"].isna().sum()
    assert abs(schema["income"].low - train["income"].min()) < 0.1 * np.ptp(train["income"].dropna())
    assert made.shape == (rows, encoder.width) and np.isfinite(made).all()
    shares = train["city"].value_counts().to_dict()
    assert dict(zip(schema["city"].categories, schema["city"].counts, strict=True)) == shares


def test_other_rows_with_the_same_histograms_give_the_same_encoder(tmp_path):
    """Taint: noise that hides everything, two data sets with nothing in common."""
    (tmp_path / "public.yaml").write_text("public: true\ncolumns:\n  churned: {categories: [no_, yes_]}\n")

    def hidden(name, counts, share):
        rng = np.random.default_rng([*name.encode(), len(counts)])
        return rng.integers(0, 50, len(counts)) + 1000 * (np.arange(len(counts)) % 7 == 3) + 2000 * (name == "rows")

    spend = Spend(hidden, lambda share: 5.0, lambda name, sigma, n: 10**9)
    learnt = []
    for seed, n in ((0, 400), (1, 900)):
        frame = customers(seed, n=n).assign(income=lambda f, s=seed: f["income"] * (1 + 50 * s))
        private = private_of(frame, tmp_path / "public.yaml")
        splits = private_table.cut(private, coins(seed), 0.1)
        rows, encoder, made = private_table.learn(private, splits, spend, "quantile")
        learnt.append((rows, encoder.to_dict(), made.tobytes(), encoder.spec().measured(made).statistics))
    (rows, encoder, made, statistics), other = learnt
    assert (rows, encoder, made) == other[:3]
    assert all(np.array_equal(a, b) for a, b in zip(statistics, other[3], strict=True))
    assert any(column["kind"] in ("integer", "continuous", "datetime") for column in encoder["schema"]["fields"])


def test_cells_that_fit_no_kind_are_missing_and_rows_without_a_class_are_left_out():
    frame = customers(0, n=1500)
    frame = frame.astype(object).where(frame.isna(), frame.astype(str)).where(frame.notna(), None)
    private = private_of(frame)
    splits = private_table.cut(private, coins(), 0.0)
    _, encoder, _ = private_table.learn(private, splits, EXACT, "quantile")
    bad = frame.copy()
    rows = splits["train"]
    bad.loc[rows[0], "age"], bad.loc[rows[1], "joined"], bad.loc[rows[2], "city"] = "old", "soon", "Rome"
    bad.loc[rows[3], "churned"], bad.loc[rows[4], "churned"], bad.loc[rows[5], "age"] = "perhaps", None, "1000000000"
    encoded, table = private_table.encode(private_of(bad), splits, encoder)
    kept = encoded["train"]
    assert set(rows) - set(kept.index.tolist()) == {rows[3], rows[4]}
    back = encoder.decode(kept.x[:6])
    assert np.isnan(back["age"].iloc[0]) and pd.isna(back["joined"].iloc[1])
    assert back["age"].iloc[list(kept.index).index(rows[5])] == encoder.schema["age"].high
    assert table.frame(kept.index)["age"].isna().iloc[0]


def test_a_unit_has_one_row_in_one_split():
    frame = customers(0, n=600)
    frame["person"] = [f"p{i // 4}" for i in range(600)]
    private = private_of(frame, unit="person")
    splits = private_table.cut(private, coins(), 0.2)
    people = np.concatenate([frame["person"].iloc[rows] for rows in splits.values()])
    assert sorted(people) == sorted(set(frame["person"]))
    other = private_table.cut(private, coins(1), 0.2)
    assert any(not np.array_equal(splits[name], other[name]) for name in splits)
    shares = [len(splits[name]) / 150 for name in ("test", "holdout")]
    assert 0.08 < shares[0] < 0.35 and 0.06 < shares[1] < 0.30
    rest = frame[frame["person"] != "p7"].reset_index(drop=True)  # the coins of others do not depend on p7
    without = private_table.cut(private_of(rest, unit="person"), coins(), 0.2)
    assert sum(map(len, without.values())) == 149


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("columns:\n  age: {min: 0, max: 99}\n", "age: under differential privacy its entries must be public"),
        ("public: true\ncolumns:\n  years: {min: 0}\n", "'years' is not a column"),
        ("public: true\nrules: ['age <= income']\n", "rules: are not kept under differential privacy"),
        ("group: id\n", "group: id: give --dp.unit=id, which uses one row of each"),
        ("public: perhaps\n", "public: 'perhaps' is neither true nor false"),
        ("columns:\n  age: {decimals: -1, public: true}\n", "decimals: -1 is no number of digits"),
        ("columns:\n  city: {categories: [Bath], public: true}\n", "categories: two different ones are needed"),
    ],
)
def test_what_a_schema_file_must_not_say(text, said, tmp_path):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        private_of(customers(0), tmp_path / "s.yaml")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_units_and_targets_that_are_no_columns_are_named():
    with pytest.raises(InputError, match="--dp.unit 'cust' is not a column"):
        private_of(customers(0), unit="cust")
    with pytest.raises(InputError, match="is the target; name the column of persons"):
        private_of(customers(0), unit="churned")
    with pytest.raises(InputError, match="no two classes have enough rows"):
        private = private_of(customers(0))
        nothing = EXACT._replace(threshold=lambda name, sigma, n: 10**9)
        private_table.learn(private, private_table.cut(private, coins(), 0.1), nothing, "quantile")
    with pytest.raises(InputError, match="about 5 training rows: too few"):
        private = private_of(customers(0))
        few = EXACT._replace(noise=lambda name, counts, share: counts if name != "rows" else np.array([5]))
        private_table.learn(private, private_table.cut(private, coins(), 0.1), few, "quantile")


def notes_of(private):
    splits = private_table.cut(private, coins(), 0.1)
    return private_table.notes(private, private_table.learn(private, splits, EXACT, "quantile")[1].schema)


def test_names_of_persons_are_pointed_out():
    frame = customers(0)
    assert notes_of(private_of(frame)) == [
        "each row is a unit; if rows of one person share id, --dp.unit=id protects the person"
    ]
    assert notes_of(private_of(frame, unit="id")) == notes_of(private_of(frame.drop(columns=["id", "member"]))) == []


def test_columns_that_drown_in_noise_are_left_out_and_named(tmp_path):
    """Of numbers with public bounds these remain."""
    (tmp_path / "s.yaml").write_text("public: true\ncolumns:\n  age: {kind: integer, min: 0, max: 120}\n")
    frame = customers(0)[["age", "income", "joined", "city"]]

    def noisy(name, counts, share):
        sure = name in ("rows",) or name.startswith("city") or name.endswith("look")
        return np.array(counts) if sure else np.zeros_like(counts)

    private = private_of(frame, tmp_path / "s.yaml", target=None)
    splits = private_table.cut(private, coins(), 0.1)
    spend = Spend(noisy, lambda share: 5.0, lambda name, sigma, n: 2)
    _, encoder, _ = private_table.learn(private, splits, spend, "quantile")
    kinds = {field.name: field.kind for field in encoder.schema.fields}
    assert kinds == {"age": "integer", "income": "text", "joined": "text", "city": "categorical"}
    assert (encoder.schema["age"].low, encoder.schema["age"].high) == (0, 120)
    assert private_table.notes(private, encoder.schema)[0].startswith(
        "income, joined: left out, as free text, or since"
    )


def test_public_entries_that_the_data_contradicts_are_kept(tmp_path):
    text = "public: true\ncolumns:\n  age: {kind: integer, min: 30, max: 40}\n  city: {categories: [Ayr, Deal]}\n"
    (tmp_path / "s.yaml").write_text(text)
    private = private_of(customers(0, n=2000), tmp_path / "s.yaml")
    splits = private_table.cut(private, coins(), 0.1)
    _, encoder, _ = private_table.learn(private, splits, EXACT, "quantile")
    assert (encoder.schema["age"].low, encoder.schema["age"].high) == (30, 40)
    assert set(encoder.schema["city"].categories) <= {"Ayr", "Deal", "(rare)"}
    encoded, _ = private_table.encode(private, splits, encoder)
    back = encoder.decode(encoded["train"].x)
    train = customers(0, n=2000).iloc[splits["train"]]
    found = private_table.misfits(private, splits["train"], encoder.schema)
    beyond = train["age"].notna() & ~train["age"].between(30, 40)
    assert found["age"] == beyond.sum() and found["city"] == (train["city"] == "Bath").sum()
    assert back["age"].min() == 30 and back["age"].max() == 40 and "Bath" not in set(back["city"])


def test_the_digest_changes_with_any_cell():
    frame = customers(0)
    one = private_table.digest(frame_reader(frame, "table"))
    assert one == private_table.digest(frame_reader(frame.copy(), "other name"))
    frame.loc[7, "city"] = "Deal" if frame.loc[7, "city"] != "Deal" else "Ayr"
    assert one != private_table.digest(frame_reader(frame, "table"))


def people(n: int = 600) -> pd.DataFrame:
    """Persons p0, p1, ... with 1, 2, ..., 7, 1, ... rows; the rows of the last one come last, and are equal."""
    counts = np.arange(n) % 7 + 1
    who = np.repeat(np.arange(n), counts)[:n]
    frame = customers(0, n=n).assign(person=[f"p{i}" for i in who])
    frame.loc[frame.index[-6:], frame.columns] = frame.iloc[[-6] * 6].assign(person="last").to_numpy()
    return frame


def test_a_unit_has_at_most_so_many_rows_all_in_one_split():
    frame, seen = people(), set()
    private = private_of(frame, unit="person")
    for seed in range(3):
        splits = private_table.cut(private, coins(seed), 0.2, 3)
        of_split = {name: frame["person"].iloc[rows].value_counts() for name, rows in splits.items()}
        counts = pd.concat(of_split.values())
        assert counts.index.is_unique  # no person in two splits
        expected = np.minimum(frame["person"].value_counts(), 3)
        assert counts.to_dict() == expected.to_dict()
        kept = np.concatenate(list(splits.values()))
        seen |= set(np.flatnonzero(frame["person"] == "last")) & set(kept)
    assert len(seen) > 3  # at random
    one = private_table.cut(private, coins(0), 0.2)
    three = private_table.cut(private, coins(0), 0.2, 3)
    assert all(set(one[name]) <= set(three[name]) for name in one)


@pytest.mark.parametrize("most", [1, 3])
def test_a_unit_less_changes_each_histogram_by_at_most_its_rows(most):
    """All rows of the last person are removed; coins, and so the rows of all others, are the same."""
    frame, changes = people(), []
    frame = frame[["person", "age", "income", "joined", "city", "member", "churned"]]
    for without in (frame, frame[:-6]):
        seen = {}

        def noisy(name, counts, share, seen=seen):
            seen[name] = np.array(counts)
            return np.array(counts)

        private = private_of(without, unit="person")
        splits = private_table.cut(private, coins(0), 0.0, most)
        in_train = (frame["person"].iloc[splits["train"]] == "last").sum()
        private_table.learn(private, splits, EXACT._replace(noise=noisy), "quantile")
        changes.append((seen, in_train))
    (with_, held), (less, none) = changes
    assert (held, none) == (most, 0)  # with these coins the person is in the training set
    for name in ("rows", "age: look", "income: look", "joined: look", "city: look", "city: values", "churned: values"):
        change = np.abs(with_[name] - less[name])
        assert change.sum() == most == change.max(), name  # equal rows, in one cell: the worst case
    for name in ("income: coarse", "joined: coarse"):
        assert np.abs(with_[name] - less[name]).sum() in (0, most), name
