"""Learning curves, mixing and ranks with classifiers that are known in advance."""

import numpy as np
import pytest

from synthjax.evals import agreement, amounts


def test_sizes_end_where_the_set_does():
    assert amounts.sizes(50) == [50]
    assert amounts.sizes(3_000) == [100, 300, 900, 3_000]
    assert amounts.sizes(1_000) == [100, 300, 1_000]  # no step so small that it says nothing


def test_curves_and_mixing_train_on_what_they_say():
    asked, ticks = [], []

    def score(real, synthetic):
        asked.append((len(real), len(synthetic)))
        return [0.5 + len(real) / 1_000 + len(synthetic) / 2_000] * 2

    def tick():
        ticks.append(len(asked))

    curve = amounts.curve(score, np.arange, np.arange, 300, tick)
    assert asked == [(0, 100), (100, 0), (0, 300), (300, 0)]
    assert [point["n"] for point in curve] == [100, 300]
    assert curve[1]["synthetic"]["mean"] == pytest.approx(0.65) and curve[1]["real"]["mean"] == pytest.approx(0.8)
    asked.clear()
    mixed = amounts.mixing(score, np.arange, np.arange, 100, 250, tick)
    assert asked == [(100, 0), (100, 50), (100, 100), (100, 200)]  # 400 there are not
    assert [point["factor"] for point in mixed] == [0, 0.5, 1, 2]
    assert len(ticks) == 8 == amounts.trainings(300, 100, 250)


def test_a_counter_tells_the_share_that_is_done():
    told = []
    tick = amounts.counter(told.append, 4)
    for _ in range(4):
        tick()
    assert told == [0.25, 0.5, 0.75, 1.0]


def test_halves_have_no_row_in_common_and_depend_on_the_seed():
    one, other = agreement.halves([0, 1], lambda rng, n: rng.permutation(20)[:n], 7)
    assert len({*one, *other}) == 14 and len(one) == len(other) == 7
    again, _ = agreement.halves([0, 2], lambda rng, n: rng.permutation(20)[:n], 7)
    assert set(one) != set(again)


SKILL = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}


def ranked(on_synthetic, seeds=2):
    """Ranks of four classifiers of known skill on real data, that look as `on_synthetic` says on synthetic data."""

    def scores(name, fit, tests, seed):
        return [on_synthetic[name] if test == "synthetic" else SKILL[name] + seed / 100 for test in tests]

    halves = {kind: lambda number, kind=kind: (kind, kind) for kind in ("synthetic", "real")}
    return agreement.evaluate(list(SKILL), scores, halves["synthetic"], halves["real"], "real", seeds=seeds)


def test_ranks_that_agree_and_ranks_that_do_not():
    found = ranked(SKILL)
    assert found["deployed"]["spearman"]["mean"] == pytest.approx(1) and found["regret"]["mean"] == 0
    assert found["chosen"] == found["best"] == "a"
    upside_down = ranked({name: 1 - skill for name, skill in SKILL.items()})
    assert upside_down["deployed"]["kendall"]["mean"] == pytest.approx(-1)
    assert upside_down["ceiling"]["kendall"]["mean"] == pytest.approx(1)
    assert upside_down["regret"]["mean"] == pytest.approx(30) and upside_down["chosen"] == "d"


def test_one_swap_by_hand():
    found = ranked({**SKILL, "a": 0.8, "b": 0.9})
    assert found["real"]["kendall"]["mean"] == pytest.approx(1 - 2 / 6)  # one of six pairs is turned round
    assert found["real"]["spearman"]["mean"] == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert found["regret"]["mean"] == pytest.approx(10)
    assert found["classifiers"]["a"]["validation"] == 0.8 and found["classifiers"]["a"]["real"] == pytest.approx(0.905)


def test_classifiers_that_are_alike_have_no_order():
    found = ranked(dict.fromkeys(SKILL, 0.5))
    assert found["deployed"] == {"spearman": None, "kendall": None} and found["ceiling"]["spearman"] is not None
