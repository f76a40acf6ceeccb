"""The best state of a run: kept beside its newest ones, chosen by a score that the launcher brings.

    best = Best(Checkpoints(workdir / "best", keep=1), score, record)
    best(step, state)     scores the state, and keeps it if it is better than all before

The score so far is in the record of the checkpoint that is kept, so that a run that goes on does not forget it.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from synthjax.model import State
from synthjax.train.checkpoint import Checkpoints


class Best:
    """Called with (step, state) by all processes, keeps the state with the highest score; of equals the earliest."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        score: Callable[[int, State], float],
        record: dict[str, Any],
        say: Callable[[str], None] = print,
    ):
        """Takes up what an earlier run has kept.

        Args:
          checkpoints: a folder for this alone, of which one is kept.
          score: (step, state) -> a number, higher is better; asked in process 0 alone.
          record: plain values that go into the checkpoint; "step" and "score" are added.
          say: takes a line for the user.

        Raises:
          CheckpointError: what is kept is damaged.
        """
        self._checkpoints, self._score, self._record, self._say = checkpoints, score, record, say
        kept = checkpoints.newest()
        self.value: float = -math.inf if kept is None else checkpoints.record(kept)["score"]
        """The highest score so far."""

    def __call__(self, step: int, state: State) -> None:
        """Scores the state after `step` steps.

        Raises:
          CheckpointError: it cannot be written.
        """
        value = self._score(step, state) if jax.process_index() == 0 else -math.inf
        if jax.process_count() > 1:
            # As two halves of its bits: arrays of f64 would arrive as f32.
            bits = np.frombuffer(np.float64(value).tobytes(), np.uint32)
            value = float(np.frombuffer(np.asarray(multihost_utils.broadcast_one_to_all(bits)).tobytes())[0])
        if not value > self.value:
            return
        self._checkpoints.save(step, state, self._record | {"step": step, "score": value})
        self._say(f"step {step}: the best so far on the holdout, {value:.4f}" + self._before())
        self.value = value

    def close(self) -> None:
        """Ends the threads of the checkpoints."""
        self._checkpoints.close()

    def _before(self) -> str:
        return f" (before: {self.value:.4f})" if math.isfinite(self.value) else ""
