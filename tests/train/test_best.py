"""The best state: which one is kept, and what a run that goes on knows of it."""

import jax.numpy as jnp
import numpy as np
import pytest

from synthjax.errors import CheckpointError
from synthjax.train.best import Best
from synthjax.train.checkpoint import Checkpoints

SCORES = {1: 0.2, 2: 0.5, 3: 0.5, 4: 0.1, 5: 0.9}


def state(step: int) -> dict:
    return {"w": jnp.full(3, step, jnp.float32)}


def best(folder, scores=SCORES, said=None):
    """One whose state after step i is all i."""
    say = (lambda line: None) if said is None else said.append
    return Best(Checkpoints(folder, 1, say), lambda step, _: scores[step], {"name": "toy"}, say)


def kept(folder) -> list[tuple[int, float]]:
    """(step, what its arrays hold) of all that lies there."""
    found = Checkpoints(folder)
    steps = sorted(int(path.name) for path in folder.iterdir())
    return [(step, float(found.restore(step, state(0))["w"][0])) for step in steps]


def test_the_highest_score_is_kept_and_of_equals_the_first(tmp_path):
    said, one = [], best(tmp_path / "best", said=(lines := []))
    for step, expected in ((1, 1), (2, 2), (3, 2), (4, 2)):
        one(step, state(step))
        assert kept(tmp_path / "best") == [(expected, expected)]
    one.close()
    said = [line for line in lines if line.startswith("step")]
    assert said == [
        "step 1: the best so far on the holdout, 0.2000",
        "step 2: the best so far on the holdout, 0.5000 (before: 0.2000)",
    ]
    record = Checkpoints(tmp_path / "best").record(2)
    assert record == {"name": "toy", "step": 2, "score": 0.5}


def test_a_run_that_goes_on_knows_the_score_to_the_last_bit(tmp_path):
    third = 1 / 3
    one = best(tmp_path / "best", {1: third})
    one(1, state(1))
    one.close()
    again = best(tmp_path / "best", {2: np.nextafter(third, 0), 3: third, 4: np.nextafter(third, 1)})
    assert again.value == third
    again(2, state(2))
    again(3, state(3))
    assert kept(tmp_path / "best") == [(1, 1)]
    again(4, state(4))
    assert kept(tmp_path / "best") == [(4, 4)]
    again.close()


def test_a_better_state_of_an_earlier_step_takes_the_place(tmp_path):
    """A run whose newest checkpoints were lost goes on from before the best one."""
    one = best(tmp_path / "best")
    one(2, state(2))
    one.close()
    again = best(tmp_path / "best", {1: 0.7})
    again(1, state(1))
    again.close()
    assert kept(tmp_path / "best") == [(1, 1)]


def test_a_score_that_is_no_number_is_never_the_best(tmp_path):
    one = best(tmp_path / "best", {1: float("nan"), 2: 0.1})
    one(1, state(1))
    assert not (tmp_path / "best").exists()
    one(2, state(2))
    one.close()
    assert kept(tmp_path / "best") == [(2, 2)]


def test_a_damaged_one_is_said(tmp_path):
    one = best(tmp_path / "best")
    one(1, state(1))
    one.close()
    file = max((tmp_path / "best" / "1").rglob("*"), key=lambda path: path.stat().st_size * path.is_file())
    file.write_bytes(b"x" + file.read_bytes()[1:] + b"y")
    with pytest.raises(CheckpointError, match="every checkpoint is damaged"):
        best(tmp_path / "best")
