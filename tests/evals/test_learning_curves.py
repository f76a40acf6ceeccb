"""Learning curves, mixing and ranks with classifiers that are known in advance."""

import numpy as np
import pytest

from synthjax.evals import learning_curves, rank_agreement
from synthjax.evals.sets import Sets


def test_sizes_end_where_the_set_does():
    assert learning_curves.sizes(50) == [50]
    assert learning_curves.sizes(3_000) == [100, 300, 900, 3_000]
    assert learning_curves.sizes(1_000) == [100, 300, 1_000]  # no step so small that it says nothing


def test_curves_and_mixing_train_on_what_they_say():
    asked = []

    def score(real, synthetic):
        asked.append((len(real), len(synthetic)))
        return [0.5 + len(real) / 1_000 + len(synthetic) / 2_000] * 2

    curve = learning_curves.curve(score, np.arange, np.arange, 300)
    assert asked == [(0, 100), (100, 0), (0, 300), (300, 0)]
    assert [point["n"] for point in curve] == [100, 300]
    assert curve[1]["synthetic"]["mean"] == pytest.approx(0.65) and curve[1]["real"]["mean"] == pytest.approx(0.8)
    asked.clear()
    mixed = learning_curves.mixing(score, np.arange, np.arange, 100, 250)
    assert asked == [(100, 0), (100, 50), (100, 100), (100, 200)]  # 400 there are not
    assert [point["factor"] for point in mixed] == [0, 0.5, 1, 2]
    assert learning_curves.trainings(300, 100, 250) == 4 + 4


def test_a_counter_tells_the_share_that_is_done():
    told = []
    tick = learning_curves.counter(told.append, 4)
    for _ in range(4):
        tick()
    assert told == [0.25, 0.5, 0.75, 1.0]


SKILL = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}


class Ranked:
    """A domain of numbers, the synthetic ones above 100; four classifiers of known skill on real data."""

    ranked, ranked_on = tuple(SKILL), 7

    def __init__(self, on_synthetic):
        self.on_synthetic, self.seen = on_synthetic, []

    def size(self, rows):
        return len(rows)

    def take(self, rows, index):
        return rows[index]

    def draw(self, rng, rows, n):
        return rng.permutation(len(rows))[:n]

    def rank(self, name, fit, tests, seed):
        self.seen.append((fit, *tests))
        return [self.on_synthetic[name] if test[0] > 100 else SKILL[name] + seed / 100 for test in tests]


def ranked(on_synthetic, seeds=2):
    """Ranks of the four, which look as `on_synthetic` says on synthetic data."""
    sets = Sets(Ranked(on_synthetic), np.arange(101, 131), np.arange(20), np.arange(30, 60))
    return rank_agreement.evaluate(sets, 8, seeds=seeds)


def test_halves_have_no_row_in_common_and_are_drawn_anew_for_each_seed():
    domain = Ranked(SKILL)
    rank_agreement.evaluate(Sets(domain, np.arange(101, 131), np.arange(20), np.arange(30, 60)), 8, seeds=2)
    fits = {"synthetic": [], "real": []}
    for fit, *tests in domain.seen:
        validation = next(test for test in tests if (test[0] > 100) == (fit[0] > 100) and test[0] not in range(30, 60))
        assert len(fit) == len(validation) == 8 and not {*fit} & {*validation}
        assert sorted(map(len, tests)) == [7, 8]
        fits["synthetic" if fit[0] > 100 else "real"].append(tuple(fit))
    assert all(len(set(each)) == 2 and len(each) == 8 for each in fits.values())


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
