"""Attacks beside brute force, scipy and closed forms; what leaks is a known amount; order and units do not matter."""

import numpy as np
import pytest
from customers import KINDS, customers
from scipy import stats

from synthjax.evals import encoders
from synthjax.evals.neighbours import CANDIDATES
from synthjax.evals.privacy import attacks, columns, roc
from synthjax.evals.privacy.attacks import ATTACKS, Context, Tables, from_file
from synthjax.evals.table import Schema, Table, concat, from_frames

N = 300


def guess(name, of):
    return next(row for row in ATTACKS if row.name == name).guess(of)


@pytest.fixture(scope="module")
def context():
    rng = np.random.default_rng(0)
    real, synthetic, reference = (rng.normal(size=(n, 3)) for n in (40, 60, 50))
    return Context(real, np.concatenate([synthetic, real[:4]]), reference)


def test_neighbourhoods_against_brute_force(context):
    assert attacks.NEIGHBOURS < CANDIDATES
    everything = np.concatenate([context.synthetic, context.reference])
    order = np.argsort(np.linalg.norm(context.real[:, None] - everything, axis=2), axis=1)
    synthetic = order < len(context.synthetic)
    shares = [synthetic[:, :k].mean(1) for k in range(1, attacks.NEIGHBOURS + 1)]
    expected = np.mean(shares, axis=0) / (len(context.synthetic) / len(everything))
    np.testing.assert_allclose(guess("dpi", context), expected)


def test_neighbours_that_are_equally_far_count_in_part():
    """Two synthetic and three reference records at one place, one further away: of k nearest k 2/5 are synthetic."""
    near, far = np.ones((1, 2)), np.full((1, 2), 9.0)
    of = Context(np.zeros((1, 2)), np.concatenate([near, near, far]), np.repeat(near, 3, axis=0))
    np.testing.assert_allclose(guess("dpi", of), 2 / 5 / (3 / 6))


def test_local_likelihood_ratios_against_scipy(context):
    """Densities of the reference with and without x, refitted with the same kernel, at the synthetic ones near x."""
    real, synthetic, reference = (part.astype(np.float64) for part in context.white)
    width = len(reference) ** (-1 / 7)

    def log_density(points, centres):
        return np.log(
            np.mean([stats.multivariate_normal(c, width**2 * np.eye(3)).pdf(points) for c in centres], axis=0)
        )

    expected = []
    for x, places in zip(real, context.to_synthetic[1], strict=True):
        near = synthetic[places]
        expected.append(np.sum(log_density(near, [*reference, x]) - log_density(near, reference)))
    constant = attacks.NEIGHBOURS * np.log(len(reference) / (len(reference) + 1))
    np.testing.assert_allclose(guess("gen_lra", context) + constant, expected, atol=2e-3)


def table(numbers=None, codes=None, sizes=()):
    """A table of numbers a, b, ... and of codes."""
    n = len(numbers) if numbers is not None else len(codes)
    numbers = np.zeros((n, 0)) if numbers is None else np.asarray(numbers, float)
    codes = np.zeros((n, 0), np.int32) if codes is None else np.asarray(codes, np.int32)
    known = tuple(tuple(f"v{i}" for i in range(size)) for size in sizes)
    names = [chr(97 + i) for i in range(numbers.shape[1] + codes.shape[1])]
    return Table(Schema(tuple(names[: numbers.shape[1]]), tuple(names[numbers.shape[1] :]), known), numbers, codes)


def test_a_tree_of_two_columns_is_the_ratio_of_their_joint_frequencies():
    rng = np.random.default_rng(1)

    def draw(p, n):
        a = rng.choice(2, n, p=p)
        return np.stack([a, np.where(rng.random(n) < 0.8, a, rng.integers(0, 3, n))], axis=1)

    synthetic, reference = draw([0.7, 0.3], 4_000), draw([0.4, 0.6], 3_000)
    real = np.array([[a, b] for a in range(2) for b in range(3)])
    rows = columns.Rows.of(*(table(codes=x, sizes=(2, 3)) for x in (real, synthetic, reference)))
    expected = [np.log((synthetic == cell).all(1).mean()) - np.log((reference == cell).all(1).mean()) for cell in real]
    np.testing.assert_allclose(columns.tree(rows), expected, atol=0.02)


def test_the_tree_has_the_pairs_that_depend_on_one_another():
    """A chain of columns, in an order that its names do not tell."""
    rng = np.random.default_rng(2)
    x = np.zeros((5_000, 4), np.int64)
    x[:, 2] = rng.integers(0, 4, 5_000)
    for column, parent in ((0, 2), (3, 0), (1, 3)):
        x[:, column] = np.where(rng.random(5_000) < 0.7, x[:, parent], rng.integers(0, 4, 5_000))
    edges = columns._edges(x, np.full(4, 4))
    assert {frozenset(edge) for edge in edges[1:]} == {frozenset(pair) for pair in ((0, 2), (0, 3), (1, 3))}
    assert edges[0] == (0, -1)


def test_errors_of_columns_that_only_the_synthetic_rows_explain():
    """There b is a, in the reference noise: a row in which they agree is predicted better, another one worse."""
    rng = np.random.default_rng(3)
    a, other = rng.random(500), rng.random(500)
    synthetic, reference = np.stack([a, a], axis=1), np.stack([other, rng.random(500)], axis=1)
    real = np.array([[0.1, 0.1], [0.9, 0.9], [0.1, 0.9], [np.nan, 0.5]])
    found = columns.error(columns.Rows.of(*map(table, (real, synthetic, reference))))
    assert found[:2].min() > 0.1 and found[2] < -0.1
    assert columns.error(columns.Rows.of(*(table(x[:, :1]) for x in (real, synthetic, reference)))).tolist() == [0] * 4


def test_copies_are_found_in_full_where_records_are_apart():
    """Half of the members are copied, all others are far: no false alarm, and half found, by what looks for it."""
    rng = np.random.default_rng(4)
    members, others, reference, fresh = (rng.normal(size=(N, 12)) for _ in range(4))
    made = np.concatenate([members[: N // 2], fresh[N // 2 :]])
    found, _ = from_file(np.concatenate([members, others]), made, reference)
    for name in ("distance", "calibrated", "copy"):
        fpr, tpr = roc.roc(found[name], np.arange(2 * N) < N)
        assert tpr[fpr == 0].max() == pytest.approx(1 / 2), name
        assert np.trapezoid(tpr, fpr) == pytest.approx(3 / 4, abs=0.05), name  # half sure, half guessed
    for name in ("dpi", "gen_lra", "ensemble"):
        assert roc.judge(found[name], np.arange(2 * N) < N)["auc_interval"][0] > 0.5, name


def sets(scale=1.0, order=None):
    """Real, synthetic and reference rows of a table, the numbers in other units, the rows in another order."""
    frames = {name: customers(seed, N) for seed, name in enumerate(("members", "others", "fresh", "reference"))}
    for frame in frames.values():
        for name in frame.columns[[frame[name].dtype.kind == "f" for name in frame]]:
            frame[name] = frame[name] * scale
    tables = from_frames(frames, KINDS, "churned")
    made = concat(tables["members"].take(np.arange(N // 3)), tables["fresh"])
    rows = [concat(tables["members"], tables["others"]), made, tables["reference"]]
    if order is not None:
        rows[1:] = [one.take(np.random.default_rng(order).permutation(len(one))) for one in rows[1:]]
    return Tables(*rows), encoders.metric(tables["members"])


@pytest.fixture(scope="module")
def aucs():
    """Of each attack on the rows as they are, in another order, and in other units."""
    found = []
    for how in ({}, {"order": 5}, {"scale": 0.3048}):
        rows, encode = sets(**how)
        guesses, _ = from_file(*map(encode, rows), tables=rows)
        found.append({name: roc.judge(one, np.arange(2 * N) < N)["auc"] for name, one in guesses.items()})
    return found


@pytest.mark.parametrize("attack", [row.name for row in ATTACKS])
def test_neither_the_order_of_rows_nor_units_matter(aucs, attack):
    plain, *changed = (auc[attack] for auc in aucs)
    assert plain > 0.53
    # What is learnt at random is learnt otherwise.
    exact = attack not in ("classifier", "column_error", "ensemble")
    np.testing.assert_allclose(changed, plain, atol=1e-3 if exact else 0.03)


def test_what_is_missing_everywhere_or_constant_harms_none():
    rng = np.random.default_rng(6)
    parts = []
    for n in (30, 40, 20):
        numbers = np.stack([rng.random(n), np.full(n, np.nan), np.ones(n)], axis=1)
        parts.append(table(numbers, rng.integers(-1, 2, (n, 2)), (2, 2)))
    encode = encoders.metric(parts[1])
    found, _ = from_file(*map(encode, parts), tables=Tables(*parts))
    assert list(found) == [row.name for row in ATTACKS]
    assert all(one.shape == (30,) and np.isfinite(one).all() for one in found.values())


def test_few_records_are_enough():
    x = np.random.default_rng(7).normal(size=(4, 2))
    found, control = from_file(x, x[:1], x[2:])
    assert all(np.isfinite(one).all() for one in found.values()) and len(control) == 4
