"""Attacks on persons, by all of their records: closed forms, generators that leak a known amount, and honest ones."""

import numpy as np
import pytest
from scipy import stats

from synthjax.evals import privacy
from synthjax.evals.privacy import distances, persons, protocol, records
from synthjax.evals.privacy.records import Persons


def scores(seed, n, k, d):
    """Scores N(0, 1), of members N(d, 1), of k records of each of n members and n others; and whose they are."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(2 * n), k)
    return rng.normal(size=len(of)) + d * (of < n), of


@pytest.mark.parametrize("k", [1, 4, 25])
def test_many_records_that_leak_little_tell_the_person(k):
    d, n = 0.25, 2000
    guess, of = scores(0, n, k, d)
    found = persons.together({"a": guess}, of)["a"]
    auc = stats.mannwhitneyu(found[:n], found[n:]).statistic / n**2
    expected = stats.norm.cdf(d * np.sqrt(k / 2))
    assert abs(auc - expected) < 0.02
    assert np.argsort(found).tolist() == np.argsort(persons.together({"a": np.exp(guess)}, of)["a"]).tolist()


def test_one_record_that_leaks_surely_tells_the_person():
    """A third of the members have one record that is ranked above all: the AUC of the largest rank is 1/3 + 2/3 / 2."""
    n, k = 900, 30
    guess, of = scores(1, n, k, 0.0)
    guess[np.arange(0, n, 3) * k] = 100 + np.arange(n // 3)
    found = persons.together({"a": guess}, of)
    aucs = {name: stats.mannwhitneyu(one[:n], one[n:]).statistic / n**2 for name, one in found.items()}
    assert abs(aucs["a_largest"] - 2 / 3) < 0.03 and aucs["a"] < aucs["a_largest"] - 0.05


def test_the_largest_rank_does_not_favour_persons_of_many_records():
    rng = np.random.default_rng(2)
    of = np.repeat(np.arange(1000), np.where(np.arange(1000) < 500, 2, 40))
    found = persons.together({"a": rng.normal(size=len(of))}, of)
    for one in found.values():
        assert abs(stats.mannwhitneyu(one[:500], one[500:]).statistic / 500**2 - 0.5) < 0.05


def test_which_records_are_attacked():
    rng = np.random.default_rng(0)
    train, unseen = rng.integers(0, 300, 3000), 1000 + rng.integers(0, 50, 400)
    whose = Persons(train, unseen)
    attacked = privacy.attacked_rows(3000, 400, seed=1, persons=whose)
    for rows, of in zip(attacked, whose, strict=True):
        assert len(set(of[rows])) == len(rows) and (np.diff(rows) > 0).all()
    assert len(attacked.others) == 50 and len(attacked.members) == 200  # four for each other
    few = privacy.attacked_rows(3000, 400, seed=1, limit=100, persons=whose)
    assert 5 <= len(few.others) <= 20 and sum(np.isin(unseen, unseen[few.others])) <= 100
    found = persons.records(attacked, whose, seed=1)
    every = np.concatenate([train[found.rows.members], unseen[found.rows.others]])
    asked = np.concatenate([train[attacked.members], unseen[attacked.others]])
    np.testing.assert_array_equal(every, asked[found.of])
    assert len(every) == np.isin(train, asked).sum() + len(unseen)
    both = np.concatenate([found.rows.members, found.rows.others])
    np.testing.assert_array_equal(both[found.attacked], np.concatenate(attacked))
    # Without persons all is as it was.
    plain = privacy.attacked_rows(3000, 400, seed=1)
    assert len(plain.others) == 400 and len(plain.members) == 1600


def test_of_a_person_with_many_records_some_are_looked_at_and_the_attacked_one_is_among_them():
    whose = Persons(np.repeat([0, 1], [500, 3]), np.repeat([2, 3], [4, 200]))
    attacked = privacy.attacked_rows(503, 204, persons=whose)
    found = persons.records(attacked, whose, seed=0)
    assert np.bincount(found.of).tolist().count(records.EACH) == 2
    assert set(attacked.members) <= set(found.rows.members) and set(attacked.others) <= set(found.rows.others)


def world(seed, people, each, leak):
    """Records of persons (two means each and noise), and synthetic ones: `leak` of them near a record of a member."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(4, people, 6))
    sets = [np.repeat(one, each, axis=0) + 0.7 * rng.normal(size=(people * each, 6)) for one in centres]
    train, unseen, reference, synthetic = (one.astype(np.float32) for one in sets)
    copied = rng.random(len(synthetic)) < leak
    rows = rng.permutation(len(train))[: copied.sum()]
    synthetic[copied] = train[rows] + 0.5 * rng.normal(size=(copied.sum(), 6)).astype(np.float32)
    of = np.repeat(np.arange(people), each)
    vectors = {"train": train, "unseen": unseen, "reference": reference, "synthetic": synthetic}
    return vectors, Persons(of, people + of)


def judged(vectors, whose, seed=0):
    keys = distances.Keys(*([row.tobytes() for row in vectors[name]] for name in ("synthetic", "train", "unseen")))
    attacker = privacy.Attacker(seed=seed, persons=whose)
    return privacy.judge(vectors, keys, attacker, record_limit=2000)


def test_a_leak_that_no_row_shows_is_found_by_person():
    vectors, whose = world(0, 150, 20, 0.5)
    found = judged(vectors, whose)
    rows, people = found["mia"], found["mia"]["persons"]
    assert people["n_members"] == rows["n_members"] == 150
    assert people["auc"] > rows["auc"] + 0.05 and people["auc"] > 0.65
    flagged = found["findings"]["flagged"]
    assert [name for name in flagged if name.startswith("persons.")]
    assert not [name for name in flagged if name.startswith("mia.") and name.endswith(".auc")]


@pytest.mark.parametrize("seed", range(6))
def test_honest_sets_of_persons_whose_records_are_alike_are_not_accused(seed):
    """Rows of one person are alike, so that tests that took them for independent would accuse many."""
    vectors, whose = world(100 + seed, 60, 20, 0.0)
    found = judged(vectors, whose, seed)
    assert found["findings"]["flagged"] == []
    assert 0.3 < found["mia"]["persons"]["auc"] < 0.75


def test_without_several_records_of_anyone_there_are_no_persons_in_the_report():
    vectors, _ = world(3, 40, 1, 0.0)
    assert judged(vectors, Persons(np.arange(40), 40 + np.arange(40)))["mia"]["persons"] is None
    assert judged(vectors, None)["mia"]["persons"] is None


def test_people_whom_the_attacker_knows_are_left_out():
    vectors, whose = world(4, 50, 5, 0.0)
    attacker = privacy.Attacker(public=10, persons=whose)
    attacked = privacy.attacked_rows(250, 250, persons=whose)
    found, asked, guesses = protocol.membership(vectors, attacked, attacker)
    assert found["persons"]["n_members"] == len(asked.members) == 40 and found["n_public"] == 20
    assert all(len(guess) == 80 for guess in guesses.values())
    assert set(found["persons"]["attacks"]) == {f"{a}{end}" for a in guesses for end in ("", "_largest")} - {
        "informed",
        "informed_largest",
    }
