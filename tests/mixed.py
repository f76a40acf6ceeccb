"""A table of every kind of column whose dependence is known, for the tests of models of tables."""

import numpy as np

from synthjax.model import Batch, Column, DataSpec

COLUMNS = (
    Column("amount", "continuous", 0, 2, missing=1),
    Column("steps", "continuous", 2, 1),
    Column("colour", "onehot", 3, 4, missing=6),
    Column("shop", "code", 7, 1),
    Column("kind", "onehot", 8, 2, target=True),
)
SPEC = DataSpec("table", (10,), 0, ("a", "b"), (0.7, 0.3), COLUMNS)
COLOURS = np.array([[0.6, 0.2, 0.1, 0.1], [0.05, 0.15, 0.7, 0.1]])
"""P(colour | kind); the last one is missing."""
AGREE = 0.9
"""P(steps is the colour's number)."""
ABSENT = 0.25
"""P(amount is missing | kind a); never for b, whose amounts are N(2, 0.5^2) beside a's N(-1, 0.5^2)."""


def mixed(count: int, seed: int = 0) -> Batch:
    """Rows of the table: kind ~ 0.7, 0.3; colour | kind; steps | colour; amount | kind; shop in 0 ... 19, 20 ... 39."""
    rng = np.random.default_rng(seed)
    y = (rng.uniform(size=count) < 0.3).astype(np.int32)
    colour = (rng.uniform(size=(count, 1)) > COLOURS[y].cumsum(axis=1)).sum(axis=1)
    steps = np.where(rng.uniform(size=count) < AGREE, colour, rng.integers(0, 4, count))
    absent = (rng.uniform(size=count) < ABSENT) & (y == 0)
    amount = np.where(absent, 0.0, np.where(y, 2.0, -1.0) + 0.5 * rng.normal(size=count))
    shop = 20 * y + rng.integers(0, 20, count)
    x = np.column_stack([amount, absent, steps / 2 - 1, np.eye(4)[colour], shop, np.eye(2)[y]]).astype(np.float32)
    return Batch(x, y, np.ones(count, np.float32), np.arange(count, dtype=np.int32))


def assert_depends(x: np.ndarray, y: np.ndarray, slack: float = 0.05) -> None:
    """Checks that rows x (N, 10) drawn for labels y (N,) depend on each other and on y as `mixed` says."""
    assert_valid(x)
    np.testing.assert_array_equal(x[:, 8:], np.eye(2)[y])
    for label, mean in ((0, -1.0), (1, 2.0)):
        rows = x[y == label]
        there = rows[:, 1] == 0
        assert abs(rows[there, 0].mean() - mean) < 2 * slack and abs(rows[there, 0].std() - 0.5) < 3 * slack
        assert abs((~there).mean() - ABSENT * (label == 0)) < slack
        np.testing.assert_allclose(rows[:, 3:7].mean(axis=0), COLOURS[label], atol=slack)
        assert ((rows[:, 7] >= 20) == label).mean() > 1 - slack
    agree = (x[:, 3:7].argmax(axis=1) == np.round(2 * x[:, 2] + 2)).mean()
    assert abs(agree - (AGREE + (1 - AGREE) / 4)) < slack


def assert_valid(x: np.ndarray) -> None:
    """Checks that rows x (N, 10) are rows of that table: one category each, whole codes, atoms, empty where missing."""
    np.testing.assert_array_equal(x[:, 3:7].sum(axis=1), 1)
    np.testing.assert_array_equal(x[:, 8:10].sum(axis=1), 1)
    assert set(np.unique(x[:, 3:7])) == {0.0, 1.0} and set(np.unique(x[:, 1])) <= {0.0, 1.0}
    assert set(np.unique(x[:, 2])) <= {-1.0, -0.5, 0.0, 0.5}
    assert (x[:, 7] == np.round(x[:, 7])).all() and x[:, 7].min() >= 0 and x[:, 7].max() <= 39
    assert (x[x[:, 1] == 1, 0] == 0).all()
