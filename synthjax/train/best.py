"""The state of a run with the highest score, saved in a separate checkpoint folder.

    best = Best(Checkpoints(workdir / "best", keep=1), score, record)
    best(step, state)     # scores the state, and saves it if no earlier one was as good

The record of the checkpoint contains its score, from which a continued run starts. `has_levelled` is when to end the
training: a function of the scores so far, so that a continued run ends where the uninterrupted one does.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from synthjax.model import State
from synthjax.train.checkpoint import Checkpoints

LEAST_SCORES = 10
"""Number of scores before which no training ends."""


def has_levelled(scores: Mapping[int, float], gain: float, start: int = 0) -> bool:
    """Whether the last third of the training has raised the highest score by less than `gain`.

    Args:
      scores: step -> score, higher is better; NaN where there is none.
      gain: above 0, in the units of the scores.
      start: step at which the training begins in earnest: the end of the warm-up of the learning rate. `LEAST_SCORES`
        scores and the thirds are counted from there.
    """
    known = {step: -math.inf if math.isnan(score) else score for step, score in scores.items()}
    if sum(step > start for step in known) < LEAST_SCORES:
        return False
    end = max(known)
    early = [score for step, score in known.items() if 3 * (step - start) <= 2 * (end - start)]
    return max(known.values()) < max(early, default=-math.inf) + gain


class Best:
    """Callable (step, state) for all processes, which saves the state with the highest score."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        score: Callable[[int, State], float],
        record: dict[str, Any],
        say: Callable[[str], None] = print,
        enough: Callable[[], bool] = lambda: False,
    ):
        """Reads the best score of an earlier run.

        Args:
          checkpoints: a separate folder, with keep=1.
          score: (step, state) -> score, higher is better; called only in process 0.
          record: plain values for the checkpoint's record; "step" and "score" are added.
          say: prints a line for the user.
          enough: () -> whether the training should end, after a score; called only in process 0.

        Raises:
          CheckpointError: the checkpoint is damaged.
        """
        self._checkpoints, self._score, self._record, self._say = checkpoints, score, record, say
        self._enough = enough
        self.step = checkpoints.newest()
        """Steps of the state with the highest score so far; None: there is none."""
        self.value: float = -math.inf if self.step is None else checkpoints.record(self.step)["score"]
        """That score."""

    def __call__(self, step: int, state: State) -> bool:
        """Scores the state after `step` steps; returns whether the training should end.

        Raises:
          CheckpointError: the checkpoint cannot be written.
        """
        first = jax.process_index() == 0
        value = self._score(step, state) if first else -math.inf
        enough = first and self._enough()
        if jax.process_count() > 1:
            # In uint32, the score as two halves, since f64 arrays would be rounded to f32.
            bits = np.frombuffer(np.array([value, enough], np.float64).tobytes(), np.uint32)
            shared = np.frombuffer(np.asarray(multihost_utils.broadcast_one_to_all(bits)).tobytes())
            value, enough = float(shared[0]), bool(shared[1])
        if value > self.value:
            self._checkpoints.save(step, state, self._record | {"step": step, "score": value})
            self._say(f"step {step}: the best so far on the holdout, {value:.4f}" + self._before())
            self.step, self.value = step, value
        return enough

    def close(self) -> None:
        """Closes the checkpoints."""
        self._checkpoints.close()

    def _before(self) -> str:
        return f" (before: {self.value:.4f})" if math.isfinite(self.value) else ""
