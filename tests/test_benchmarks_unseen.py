"""The benchmark of unseen tables, toy size: its judge beside cases counted by hand, and the whole from end to end."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks/ is no part of the installed package

from benchmarks import unseen, unseen_judge, unseen_peers, unseen_tables
from synthjax.rules import find, parse

RULES = {"exact": ["total = fare + tip", "city -> country"], "near": ["pay == 'cash' => tip == 0"]}


def trips(n: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    fare, city, pay = rng.integers(5, 60, n) / 2, rng.integers(0, 4, n), rng.integers(0, 2, n)
    tip = np.where(pay == 0, 0, rng.integers(0, 10, n) / 4)
    return pd.DataFrame(
        {
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 90, n), unit="D"),
            "fare": fare,
            "tip": tip,
            "total": fare + tip,
            "city": np.array(["Bern", "Genf", "Wien", "Linz"], object)[city],
            "country": np.array(["CH", "CH", "AT", "AT"], object)[city],
            "pay": np.array(["cash", "card"], object)[pay],
        }
    )


@pytest.fixture
def table():
    return unseen_tables.split("trips", trips(600), "pay", RULES)


def test_there_are_rules_of_every_table_and_the_library_never_reads_them():
    written = yaml.safe_load(unseen_tables.RULES.read_text(encoding="utf-8"))
    assert list(written) == list(unseen_tables.SOURCES) and len(written) == 12
    rules = [parse(text) for kinds in written.values() for texts in kinds.values() for text in texts]
    assert len(rules) >= 60
    package = Path(unseen.rules.__file__).parents[1]
    assert not [path for path in package.rglob("*.py") if "unseen_rules" in path.read_text(encoding="utf-8")]


def test_a_table_of_the_data_folder_is_read(tmp_path):
    folder = tmp_path / "palmer_penguins"
    folder.mkdir()
    frame = pd.DataFrame({"Species": ["a", None] * 50, "Sample Number": np.arange(100), "Date Egg": "2007-11-11"})
    for name in ("Comments", "Sex", "Island", "Clutch Completion", "studyName"):
        frame[name] = "x"
    for name in ("Culmen Length (mm)", "Culmen Depth (mm)", "Flipper Length (mm)", "Delta 15 N (o/oo)"):
        frame[name] = 1.5
    frame["Body Mass (g)"] = np.where(np.arange(100) == 7, 26, 25)
    frame.to_csv(folder / "penguins_raw.csv.gz", index=False)
    found = unseen_tables.load("penguins", tmp_path, most=50)
    assert {name: len(part) for name, part in found.parts.items()} == {"train": 20, "holdout": 20, "test": 10}
    assert found.kinds["Date Egg"] == "date" and found.kinds["Species"] == "text"
    assert found.real["Sample Number"].is_unique


def test_parts_are_the_same_every_time_and_share_no_row(table):
    again = unseen_tables.split("trips", trips(600), "pay", RULES)
    assert [len(part) for part in table.parts.values()] == [240, 240, 120]
    for part in table.parts:
        pd.testing.assert_frame_equal(table.parts[part], again.parts[part])
    key = ["day", "fare", "tip", "city", "pay"]
    pd.testing.assert_frame_equal(
        table.real.sort_values(key, ignore_index=True), trips(600).sort_values(key, ignore_index=True)
    )


def test_a_file_is_read_as_its_columns_should_be(table, tmp_path):
    (tmp_path / "made.csv").write_text(
        "fare,day,pay,city\n1.5,2024-02-03,,007\n(rare),no,cash,Bern\n", encoding="utf-8"
    )
    found = unseen_tables.read(tmp_path / "made.csv", table.kinds)
    assert list(found) == list(table.kinds)
    assert found.fare.tolist()[0] == 1.5 and np.isnan(found.fare[1])
    assert found.day[0] == pd.Timestamp("2024-02-03") and pd.isna(found.day[1])
    assert found.city.tolist() == ["007", "Bern"] and found.pay[0] is None
    assert found.country.isna().all()


def test_broken_rows_are_counted_once_each(table):
    made = trips(100, seed=1)
    assert unseen_judge.broken(table.exact, made) == 0
    made.loc[:9, "total"] += 1
    made.loc[5:24, "country"] = "DE"
    assert unseen_judge.broken(table.exact, made) == 0.25
    assert unseen_judge.broken(table.exact[:1], made) == 0.1
    made["country"] = None  # a rule says nothing of a cell that is missing
    assert unseen_judge.broken(table.exact, made) == 0.1


def test_keys_are_judged_beside_the_rules_of_a_row():
    table = unseen_tables.split("trips", trips(600), "pay", {"exact": [*RULES["exact"], "unique(fare)"]})
    assert [rule.text for rule in unseen_judge.of_a_row(table)] == RULES["exact"]


def test_identifiers_made_anew_tell_nothing():
    frame = trips(600).assign(number=np.arange(600), code=[f"a{i}" for i in range(600)], when=np.arange(600.0))
    table = unseen_tables.split("trips", frame, "pay", RULES)
    train, _, _ = unseen_judge.learnt(table)
    assert set(frame) - set(train) == {"number", "code"}
    made = table.parts["train"].assign(number=-1, code="b", when=table.parts["holdout"].when)
    judged = unseen_judge.judge(table, made, 0, 0)
    assert judged["c2st"] < 0.65 and judged["nearer"] > 0.7


def test_boosting_tells_other_rows_apart_and_not_the_same_ones():
    real, made = trips(800), trips(800, seed=1)
    assert 0.4 < unseen_judge.c2st(real, made, real, 0) < 0.6
    assert unseen_judge.c2st(real, made.assign(tip=made.tip + 0.1), real, 0) > 0.95
    assert unseen_judge.c2st(real, made.assign(city="Rom"), real, 0) == 1


def test_values_that_are_rare_or_new_are_one_category(monkeypatch):
    monkeypatch.setattr(unseen_judge, "LEVELS", 2)
    real = pd.DataFrame({"city": ["a"] * 3 + ["b"] * 2 + ["c"]}, dtype=object)
    made = pd.DataFrame({"city": ["b", "c", "new", None]}, dtype=object)
    x, categories = unseen_judge.features(made, real)
    assert categories.tolist() == [True]
    np.testing.assert_array_equal(x[:, 0], [1, 2, 2, np.nan])


def test_usefulness_of_a_class_and_of_a_number():
    train, test = trips(600), trips(300, seed=1)
    assert unseen_judge.useful(train, test, "country", train, 0) == 1
    noise = train.assign(country=np.random.default_rng(0).permutation(train.country))
    assert unseen_judge.useful(noise, test, "country", train, 0) < 0.7
    assert unseen_judge.useful(train, test, "total", train, 0) > 0.95
    assert unseen_judge.useful(train.assign(total=20.0), test, "total", train, 0) < 0.05
    assert unseen_judge.useful(train.assign(country="AT"), test, "country", train, 0) == 0.5


def test_distance_is_gowers():
    real = pd.DataFrame({"x": np.linspace(0, 100, 201), "c": ["a", "b", "a"] * 67})
    made = pd.DataFrame({"x": [10.0, np.nan], "c": np.array(["a", None], object)})
    others = pd.DataFrame({"x": [35.0, 10.0], "c": ["a", "b"]})
    span = np.subtract(*np.percentile(real.x, [99.5, 0.5]))
    np.testing.assert_allclose(unseen_judge.distances(made, others, real), [25 / span, 2], rtol=1e-5)


def test_copies_of_training_rows_are_nearer_to_them():
    train, holdout = trips(100), trips(100, seed=1)
    assert unseen_judge.nearer(train, train, holdout, 0) > 0.9
    assert unseen_judge.nearer(holdout, train, holdout, 0) < 0.1
    assert unseen_judge.nearer(trips(50, seed=2), train, train, 0) == 0.5  # all ties


def test_a_rule_is_named_by_what_says_the_same():
    frame = trips(600)
    found = find(frame)
    assert unseen_judge.named(parse("tip = total - fare").fit(frame), found, frame) == (True, True)
    assert unseen_judge.named(parse("city -> country").fit(frame), found, frame) == (True, True)
    assert unseen_judge.named(parse("fare <= 29.5").fit(frame), (), frame) == (False, False)
    other = parse("country -> city").fit(frame)
    assert unseen_judge.named(other, [parse("fare <= total")], frame) == (False, False)
    assert unseen_judge.named(parse("fare <= total"), [parse("tip <= fare <= total")], frame) == (True, True)
    assert unseen_judge.named(parse("unique(day, fare)"), [parse("unique(day)")], frame) == (True, True)
    assert unseen_judge.named(parse("unique(day)"), [parse("unique(day, fare)")], frame) == (False, False)


def test_a_peer_sees_dates_and_missing_text(monkeypatch, tmp_path):
    seen = {}

    def system(frame, rows, seed, seconds):
        seen.update(frame=frame, asked=(rows, seed, seconds))
        return frame.head(rows)

    monkeypatch.setitem(unseen_peers.SYSTEMS, "toy", system)
    frame = trips(20)
    frame.loc[3, "pay"] = None
    frame.to_csv(tmp_path / "train.csv", index=False)
    unseen_peers.main("toy", str(tmp_path / "train.csv"), str(tmp_path / "made.csv"), "day", 5, 1, 2.5)
    assert seen["asked"] == (5, 1, 2.5) and seen["frame"].day.dtype.kind == "M" and seen["frame"].pay[3] is None
    assert len(pd.read_csv(tmp_path / "made.csv")) == 5


def test_commands_are_timed_and_their_failure_is_told(tmp_path):
    spent = unseen.run([sys.executable, "-c", "sum(i * i for i in range(3_000_000))"], tmp_path / "log.txt")
    assert 0.05 < spent < 60
    with pytest.raises(RuntimeError, match="SystemExit|no luck"):
        unseen.run([sys.executable, "-c", "raise SystemExit('no luck')"], tmp_path / "log.txt")


def test_the_whole_benchmark(monkeypatch, tmp_path, capsys, table):
    """A system that copies, one that fails; stopped and resumed, nothing is made twice."""
    made = []

    def copy(system, table, train, out, seed):
        made.append((system, seed))
        out.write_bytes(train.read_bytes())
        return 1.5

    def fail(system, *_):
        made.append((system, None))
        raise RuntimeError("out of memory")

    monkeypatch.setattr(unseen_tables, "load", lambda *_: table)
    monkeypatch.setattr(unseen, "ours", copy)
    monkeypatch.setattr(unseen, "peer", fail)
    command = ["--work_dir", str(tmp_path), "--tables=trips", "--systems=mixture;sdv", "--seeds=1"]
    unseen.main(command)
    first = capsys.readouterr().out
    assert made == [("mixture", 0), ("sdv", None)]
    rows = [line for line in first.splitlines() if line.startswith("| trips")]
    assert rows[0] == "| trips | 0.0 | 0.0 | – |"
    real, copied = (float(cell) for cell in rows[5].split("|")[2:4])
    assert 40 < real < 60 and copied > 90
    assert rows[6] == "| trips | – | 2 | – |"
    assert rows[7].startswith("| trips | 3 | 3 | 3 |")
    assert "- trips, sdv: RuntimeError: out of memory" in first
    unseen.main(command)
    assert capsys.readouterr().out == first and len(made) == 2
    unseen.main([*command, "--again"])
    assert made[2:] == [("sdv", None)]
