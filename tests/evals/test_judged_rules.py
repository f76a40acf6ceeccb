"""Rows that make no sense: planted rules, of which a known share of synthetic rows breaks each."""

import json
from typing import NamedTuple

import msgspec
import pandas as pd
import pytest
import reports
from toy_trips import planted, trips

from synthjax import rules as language
from synthjax.errors import GateError, InputError
from synthjax.evals import report, rules, table
from synthjax.evals.report import compare, figures, gates, rows
from synthjax.evals.sets import Sets
from synthjax.evals.table import from_frames

KINDS = {
    "trip": "id",
    "begin": "datetime",
    "end": "datetime",
    "fare": "continuous",
    "tip": "continuous",
    "total": "continuous",
    "pay": "categorical",
    "seats": "integer",
}


class Domain(NamedTuple):
    """Nothing of it is asked for."""


def sets(synthetic, train=None, *, run=False, kinds=KINDS, n=600):
    frames = {"synthetic": synthetic, "train": trips(0, 800) if train is None else train}
    frames |= {"confirm": trips(1, n), "real": trips(2, n)}
    of = from_frames(frames, kinds)
    confirm, real = of["confirm"], of["real"]
    test, unseen, reference = (real, confirm, real) if run else (trips(3, 20), real, confirm)
    return Sets(Domain(), of["synthetic"], of["train"], test, unseen, reference)


def judged(*args, kinds=KINDS, given=(), limit=rules.LIMIT, **how) -> rules.Rules:
    found = rules.evaluate(sets(*args, kinds=kinds, **how), kinds, given=given, limit=limit)
    return report.part("table", "rules", json.loads(json.dumps(found)))


@pytest.fixture(scope="module")
def bad():
    return judged(planted())


def test_the_planted_shares_are_the_figures(bad):
    assert bad.broken.mean == 0.57 and bad.broken_real.mean == 0 and bad.difference == 0.57
    assert bad.broken.ci[0] < 0.57 < bad.broken.ci[1] and bad.difference_interval[0] > 0.5
    kept = {text: one.synthetic.mean for text, one in bad.each.items()}
    assert kept["begin < end"] == 0.53 and kept["total = fare + tip"] == 0.9
    cash = bad.each["pay == 'cash' => tip == 0"]
    assert (
        cash.synthetic.mean == 1 - 40 / cash.rows["synthetic"]
        and cash.rows["synthetic"] == (planted().pay == "cash").sum()
    )
    assert list(kept) == ["begin < end", "total = fare + tip", "pay == 'cash' => tip == 0"]  # by rows that break it
    assert all(one.exact and one.real.mean == 1 for one in bad.each.values())
    assert bad.n_exact == len(bad.each) and (bad.near, bad.n_near) == (None, 0)


def test_examples_are_synthetic_rows_that_break_the_rule_and_hold_its_columns_alone(bad):
    made = planted()
    for text, rule in bad.each.items():
        assert len(rule.examples) == min(3, round((1 - rule.synthetic.mean) * rule.rows["synthetic"]))
        for example in rule.examples:
            assert list(example.values) == rule.columns == list(language.parse(text).names)
            row = made.iloc[[example.row]]
            assert not language.parse(text).holds(row)[0]
            for name, value in example.values.items():
                assert value == str(row[name].iloc[0]) or float(value) == pytest.approx(row[name].iloc[0])


def test_no_rule_is_confirmed_on_the_rows_that_its_rate_is_of():
    broken = trips(2, 600)
    broken.loc[:299, "tip"] += 5.0
    for run in (False, True):
        of = sets(planted(), run=run)
        real = of.test if run else of.unseen
        real.numbers[:300, of.train.schema.numeric.index("tip")] += 5.0
        found = rules.evaluate(of, KINDS)
        assert found["each"]["total = fare + tip"]["real"]["mean"] == 0.5 and found["broken_real"]["mean"] == 0.5
        confirm = of.unseen if run else of.reference
        confirm.numbers[:300, of.train.schema.numeric.index("tip")] += 5.0
        assert "total = fare + tip" not in rules.evaluate(of, KINDS)["each"]


def test_real_rows_break_nothing_and_the_answer_is_yes():
    found = judged(trips(9, 900))
    assert found.broken.mean == 0 and not any(one.examples for one in found.each.values())
    verdict = report.verdicts.PARTS["rules"](found)
    assert (verdict.level, verdict.answer) == ("good", "Yes: no row breaks a rule that real rows keep.")


@pytest.mark.parametrize(
    ("broken", "level", "answer"), [(1, "fair", "Not all: 0.1 % "), (470, "poor", "No: 47.0 % of")]
)
def test_impossible_rows_are_never_a_plain_yes(broken, level, answer):
    made = trips(9, 1000)
    made.loc[: broken - 1, "end"] = made["begin"] - pd.Timedelta(minutes=1)
    verdict = report.verdicts.PARTS["rules"](judged(made))
    assert verdict.level == level and verdict.answer.startswith(answer) and "Yes" not in verdict.answer
    said = reports.texts(verdict)
    assert "“begin < end”" in said["worst"] and "trip (identifiers)" in said["not_judged"]
    found = reports.make("table", {"rules": msgspec.to_builtins(judged(made))})
    good = reports.verdict("good", found)
    assert f"Row by row: {answer[0].lower()}{answer[1:]}" in good.answer and good.level in (level, "poor")
    assert "break at least one of" in reports.texts(good)["broken"]


def test_near_rules_are_to_be_kept_at_the_real_rate():
    def nearly(seed, n, off):
        frame = trips(seed, n)
        frame.loc[: round(off * n) - 1, "total"] += 1.0
        return frame

    frames = {"train": nearly(0, 2000, 0.004), "confirm": nearly(1, 2000, 0.004), "real": nearly(2, 2000, 0.004)}
    for off, near in ((0.004, 1.0), (0.008, 1.0), (0.012, 0.0)):
        of = from_frames({**frames, "synthetic": nearly(3, 2000, off)}, KINDS)
        found = rules.evaluate(Sets(Domain(), of["synthetic"], of["train"], None, of["real"], of["confirm"]), KINDS)
        rule = found["each"]["total = fare + tip"]
        assert not rule["exact"] and rule["synthetic"]["mean"] == pytest.approx(1 - off)
        assert found["near"] == near and found["n_near"] == 1 and found["broken"]["mean"] == 0
        verdict = report.verdicts.PARTS["rules"](report.part("table", "rules", found))
        assert verdict.level == ("good" if near else "fair") and ("Yes" in verdict.answer) == bool(near)


def test_a_rule_that_is_handed_in_is_judged_too_and_is_exact():
    given = [language.parse("seats <= 3"), language.parse("total = fare + tip"), language.parse("unique(trip)")]
    found = judged(trips(9, 900), given=given)
    rule = found.each["seats <= 3"]
    assert rule.given and rule.exact and found.each["total = fare + tip"].given
    assert "unique(trip)" not in found.each  # no row can be compared by identifiers
    assert rule.synthetic.mean == pytest.approx((trips(9, 900).seats <= 3).mean())
    assert rule.real.mean == pytest.approx((trips(2, 600).seats <= 3).mean())
    assert found.broken.mean == pytest.approx(1 - rule.synthetic.mean)
    with pytest.raises(InputError, match="rule 'seat <= 3': 'seat' is not a column; did you mean 'seats'"):
        judged(trips(9, 900), given=[language.parse("seat <= 3")])


def test_missing_values_break_no_rule_and_stand_empty_in_examples():
    made = planted()
    made["fare"] = made["fare"].where(made.index < 500)
    found = judged(made)
    assert found.each["total = fare + tip"].rows["synthetic"] == 500


@pytest.mark.parametrize(
    ("frame", "reason"), [(trips(0, 39), "40 training rows or more; there are 39."), (None, "No rule")]
)
def test_where_nothing_is_found_there_is_a_sentence_and_no_figure(frame, reason):
    kinds = KINDS if frame is not None else {"seats": "integer", "fare": "continuous"}
    made = planted()[[*kinds]]
    of = (
        sets(made, frame)
        if frame is not None
        else Sets(
            Domain(),
            *(from_frames({name: trips(seed, 300)[[*kinds]] for seed, name in enumerate("abcde")}, kinds).values()),
        )
    )
    found = report.part("table", "rules", rules.evaluate(of, kinds))
    assert reason in found.reason and not found.each and (found.broken, found.near, found.difference) == (None,) * 3
    verdict = report.verdicts.PARTS["rules"](found)
    assert verdict.answer == "This cannot be told." and reports.texts(verdict)["not_measured"] == found.reason
    whole = reports.make("table", {"rules": msgspec.to_builtins(found)})
    assert "Row by row" not in reports.verdict("good", whole).answer
    assert reports.verdict("good", whole).level == reports.verdict("good", reports.make("table")).level


def test_rows_are_drawn_where_there_are_too_many():
    found = judged(planted(), limit=200)
    assert found.n == dict.fromkeys(("train", "confirm", "real", "synthetic"), 200)
    assert found.broken.mean == pytest.approx(0.57, abs=0.12)
    made = planted()
    for text, rule in found.each.items():
        for example in rule.examples:
            assert not language.parse(text).holds(made.iloc[[example.row]])[0]


def test_gates_tables_and_comparison_have_the_figures(bad):
    found = reports.make("table", {"rules": msgspec.to_builtins(bad)})
    for text in ("rules.broken.mean>0.05", "rules.each.begin < end.synthetic.mean<0.99", "rules.difference>0"):
        with pytest.raises(GateError, match="is 0.5"):
            gates.check([gates.Gate.parse(text, "table")], found)
    gates.check([gates.Gate.parse("rules.broken.mean>0.6", "table")], found)
    measured = {row.key: row for row in rows.measured(found)}
    assert measured["rules.broken.mean"].reference == 0 and measured["rules.broken.mean"].interval == bad.broken.ci
    assert "rows that break a rule" in figures.to_latex({"a": list(measured.values())})
    better = reports.make("table", {"rules": msgspec.to_builtins(judged(trips(9, 900)))})
    side = {row["key"]: row for row in compare.assemble({"a": found, "b": better})["figures"]}
    assert side["rules.broken.mean"]["values"] == {"a": 0.57, "b": 0.0} and side["rules.broken.mean"]["best"] == ["b"]


def test_a_frame_of_a_table_holds_the_values_of_the_frame_that_it_was_made_of():
    frame = planted()
    frame.loc[[3, 5], "begin"] = pd.NaT
    frame.loc[4, "pay"] = None
    frame["seats"] = frame["seats"].astype(float).where(frame.index != 6)
    back = rules.to_frame(table.from_frames({"a": frame}, KINDS)["a"], tuple(KINDS))
    assert list(back) == [name for name in KINDS if name != "trip"]
    for name in back:
        gone = frame[name].isna().to_numpy()
        assert (back[name].isna().to_numpy() == gone).all()
        assert (back[name].to_numpy()[~gone] == frame[name].to_numpy()[~gone]).all()
    assert back["begin"].dtype.kind == "M"
