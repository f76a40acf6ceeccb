"""Shadow models: each learns from its own half and from nothing else, and they calibrate the attack on a model."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from synthjax.data import Split
from synthjax.errors import InputError
from synthjax.evals import privacy
from synthjax.evals.privacy import shadow
from synthjax.launch import runs, shadows
from synthjax.launch.parts import Parts
from synthjax.launch.subjects import Run
from synthjax.model import DataSpec, Model

ROWS, DIMS = 120, 3
SPEC = DataSpec("table", (DIMS,), 0)
RNG = np.random.default_rng(0)
# Rows of very different size: how far a row is from its nearest neighbour says little about membership.
X = (RNG.normal(size=(ROWS, DIMS)) * np.exp(RNG.normal(size=(ROWS, 1)))).astype(np.float32)
Y = np.zeros(ROWS, np.int32)


def memory(n_batches):
    """Keeps how much weight each row had, and is surprised by its distance from the rows that had any, blurred."""

    def init(key):
        return jnp.zeros(ROWS)

    def step(key, i, seen, batch):
        return seen.at[batch.index.ravel()].add(batch.weight.ravel()), {"weight": batch.weight.sum()}

    def score(key, seen, batch):
        apart = jnp.linalg.norm(batch.x[:, None] - X, axis=2)
        near = jnp.where(seen > 0, apart, jnp.inf).min(axis=1)
        others = jnp.where(apart > 0, apart, jnp.inf).min(axis=1)
        return 5 * others + near

    feed = "dataset" if n_batches is None else "batch" if n_batches == 1 else "batches"
    sample = lambda key, seen, labels: jnp.zeros((len(labels), DIMS))  # noqa: E731
    return Model(init, step, sample, score, feed=feed, n_batches=n_batches or 1)


@pytest.mark.parametrize("n_batches, steps", [(None, 1), (1, 12), (2, 6)])
def test_each_model_sees_all_of_its_half_and_nothing_of_the_other(n_batches, steps):
    found = shadows.train(memory(n_batches), SPEC, X, Y, shadows.Group(8, steps, batch_size=8, seed=1))
    inside, seen = np.asarray(found.inside), np.asarray(found.state)
    assert inside.shape == seen.shape == (8, ROWS)
    np.testing.assert_array_equal(seen > 0, inside)
    # Halves of their own, drawn by chance.
    assert len({row.tobytes() for row in inside}) == 8
    assert stats.binomtest(int(inside.sum()), inside.size).pvalue > 1e-3
    # 192 examples an epoch and a half: equally often, but for the half epoch.
    assert set(np.unique(seen[inside])) <= ({1.0} if n_batches is None else {1.0, 2.0})


def test_scores_are_those_of_each_model_and_calibrate_the_attack():
    model = memory(None)
    found = shadows.train(model, SPEC, X, Y, shadows.Group(16, 1, batch_size=8, seed=2))
    rows = np.arange(5, ROWS)
    asked = Split(X[rows], Y[rows], np.arange(len(rows)))
    each = jax.vmap(model.score, (None, 0, None))
    scores = shadows.surprise(each, found.state, SPEC, asked, asked.index, jax.random.key(0))
    apart = np.linalg.norm(X[rows][:, None] - X, axis=2)
    others = np.where(apart > 0, apart, np.inf).min(1)
    inside = np.asarray(found.inside)
    expected = [5 * others + np.where(half, apart, np.inf).min(1) for half in inside]
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)

    # The last model is attacked with the help of the others.
    is_member = inside[-1][rows]
    guesses = shadow.from_scores(scores[-1], shadow.Shadows(scores[:-1], inside[:-1][:, rows]))
    auc = {name: (guess[is_member][:, None] > guess[~is_member]).mean() for name, guess in guesses.items()}
    assert auc["score"] < 0.7 and auc["difficulty"] > 0.9


def test_the_rows_of_a_run_are_those_that_are_attacked(monkeypatch, tmp_path):
    experiment = SimpleNamespace(stop="steps", model=SimpleNamespace(steps=1, batch_size=8))
    monkeypatch.setattr(runs, "read", lambda workdir: (experiment, {}))
    monkeypatch.setattr(runs, "build", lambda experiment, spec: memory(None))
    run = Run(tmp_path, memory(None), jnp.zeros(ROWS), SPEC, {})
    train, unseen = (Split(X[part], Y[part], np.arange(ROWS)[part]) for part in (slice(80), slice(80, None)))
    attacked = privacy.attacked_rows(80, 40, seed=3, limit=25)
    found = shadows.attack(run, train, unseen, attacked, models=4, seed=3)
    assert found.scores.shape == found.trained_on.shape == (4, 50)
    rows = np.concatenate([attacked.members, 80 + attacked.others])
    apart = np.linalg.norm(X[rows][:, None] - X, axis=2)
    own = 5 * np.where(apart > 0, apart, np.inf).min(1)
    # What a memory was trained on adds nothing to its surprise.
    np.testing.assert_array_equal(np.isclose(found.scores, own, rtol=1e-3, atol=1e-4), found.trained_on)
    silent = run._replace(model=run.model._replace(score=None))
    assert shadows.attack(silent, train, unseen, attacked, models=4, seed=3) is None


def test_an_interrupted_attack_goes_on_with_the_next_group(monkeypatch, tmp_path):
    experiment = SimpleNamespace(stop="steps", model=SimpleNamespace(steps=1, batch_size=8))
    monkeypatch.setattr(runs, "read", lambda workdir: (experiment, {}))
    monkeypatch.setattr(runs, "build", lambda experiment, spec: memory(None))
    monkeypatch.setattr(shadows, "AT_ONCE", 3)
    run = Run(tmp_path, memory(None), jnp.zeros(ROWS), SPEC, {})
    both = [Split(X[part], Y[part], np.arange(ROWS)[part]) for part in (slice(80), slice(80, None))]
    both.append(privacy.attacked_rows(80, 40, seed=3, limit=25))
    parts, trained = Parts(tmp_path, {"seed": 3}, []), []

    def attack(most):
        """With the trainings counted, and cut off before one more than `most`."""

        def train(*args):
            if len(trained) == most:
                raise KeyboardInterrupt
            trained.append(args[-1].number)
            return real_train(*args)

        real_train = shadows.train
        with monkeypatch.context() as patch:
            patch.setattr(shadows, "train", train)
            return shadows.attack(run, *both, models=5, seed=3, keep=parts.arrays)

    whole = shadows.attack(run, *both, models=5, seed=3)
    assert whole.scores.shape == (5, 50) and len({row.tobytes() for row in whole.trained_on}) == 5
    with pytest.raises(KeyboardInterrupt):
        attack(1)
    found = attack(2)
    assert trained == [0, 1]
    np.testing.assert_array_equal(found.scores, whole.scores)
    np.testing.assert_array_equal(found.trained_on, whole.trained_on)
    with pytest.raises(InputError, match="shadows=1: at least 2"):
        shadows.attack(run, *both, models=1, seed=3)
