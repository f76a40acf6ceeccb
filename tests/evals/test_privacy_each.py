"""Each attack by itself: a file or model that leaks is caught by it, one that cannot leak is not accused.

The intervals are those of the report: 95 %, simultaneous over all attacks of a family.
"""

import numpy as np
import pytest

from synthjax.evals.privacy import attacks, roc, shadow, summary
from synthjax.evals.privacy.shadow import Shadows
from synthjax.evals.report.words import ATTACKS, MODEL_ATTACKS
from synthjax.evals.table import Schema, Table

N, PUBLIC = 400, 40
WEAK = ("monte_carlo",)
"""Attacks that see where a file is dense rather than what it repeats: they need more than copies."""


def world(seed, n):
    """Records in six dimensions, with columns that depend on one another."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 6)) @ np.random.default_rng(99).normal(size=(6, 6))).astype(np.float32)


MEMBERS, OTHERS, REFERENCE, CLEAN = (world(seed, N) for seed in range(4))


def around(records, times):
    """A generator that draws near its training records only."""
    rng = np.random.default_rng(7)
    return np.repeat(records, times, axis=0) + 0.1 * rng.normal(size=(times * len(records), 6)).astype(np.float32)


def table(records):
    """The same as rows of a table of numbers."""
    return Table(Schema(tuple("abcdef"), (), ()), records.astype(float), np.zeros((len(records), 0), np.int32))


FILES = {
    "clean": CLEAN,
    "copies": np.concatenate([MEMBERS[: N // 2], CLEAN[N // 2 :]]),
    "dense": np.concatenate([around(MEMBERS[: N // 2], 5), CLEAN[:20]]),
}


@pytest.fixture(scope="module")
def on_files():
    """File -> attack -> what it says of members and others, of whom it does not know beforehand."""
    is_member = np.arange(2 * N) < N
    public = np.arange(2 * N) % N < PUBLIC
    found = {}
    for name, made in FILES.items():
        three = np.concatenate([MEMBERS, OTHERS]), made, REFERENCE
        guesses, _ = attacks.from_file(*three, tables=attacks.Tables(*map(table, three)))
        guesses["informed"] = attacks.informed(guesses, is_member, public)
        found[name] = {attack: guess[~public] for attack, guess in guesses.items()}
    return found, is_member[~public]


def interval(guesses, attack, is_member):
    return roc.judge(guesses[attack], is_member, 1 - 0.05 / len(guesses))["auc_interval"]


def test_every_attack_is_among_those_tested(on_files):
    assert all(set(guesses) == set(ATTACKS) for guesses in on_files[0].values())


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_on_a_file(on_files, attack):
    found, is_member = on_files
    leaks = ("dense",) if attack in WEAK else ("copies", "dense") if attack != "copy" else ("copies",)
    for leak in leaks:
        assert interval(found[leak], attack, is_member)[0] > 0.5, leak
    low, high = interval(found["clean"], attack, is_member)
    assert low < 0.5 < high


def scored(gap):
    """What each attack says of a model that lowers its score by `gap` on its own records, with 32 shadow models."""
    rng = np.random.default_rng(3)
    inside = rng.random((33, 1_000)) < 0.5
    scores = rng.normal(size=1_000) - gap * inside + rng.normal(size=inside.shape)
    return shadow.from_scores(scores[0], Shadows(scores[1:], inside[1:])), inside[0]


@pytest.mark.parametrize("attack", MODEL_ATTACKS)
def test_an_attack_on_a_model(attack):
    leaking, is_member = scored(1.0)
    assert set(leaking) == set(MODEL_ATTACKS)
    assert interval(leaking, attack, is_member)[0] > 0.5
    clean, is_member = scored(0.0)
    low, high = interval(clean, attack, is_member)
    assert low < 0.5 < high


def test_isolated_records_alone():
    """An attack that knows only those of the furthest tenth is perfect there; ties at the edge are all in."""
    rng = np.random.default_rng(5)
    is_member, apart = np.arange(200) < 100, np.tile(np.arange(100.0), 2)
    guess = np.where(apart >= 90, is_member + rng.random(200) / 2, rng.random(200))
    found = summary.isolated("it", guess, apart, is_member)
    assert (found["auc"], found["n_members"], found["n_others"]) == (1, 10, 10) and found["p"] < 1e-3
    found = summary.isolated("it", guess, np.zeros(200), is_member)
    assert (found["n_members"], found["n_others"]) == (100, 100)
    assert summary.isolated("it", guess, np.where(is_member, apart + 100, apart), is_member) is None
