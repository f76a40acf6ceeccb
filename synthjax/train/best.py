"""The state of a run with the highest score, saved in a separate checkpoint folder.

    best = Best(Checkpoints(workdir / "best", keep=1), score, record)
    best(step, state)     # scores the state, and saves it if no earlier one was as good

The record of the checkpoint contains its score, from which a continued run starts.
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
    """Callable (step, state) for all processes, which saves the state with the highest score."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        score: Callable[[int, State], float],
        record: dict[str, Any],
        say: Callable[[str], None] = print,
    ):
        """Reads the best score of an earlier run.

        Args:
          checkpoints: a separate folder, with keep=1.
          score: (step, state) -> score, higher is better; called only in process 0.
          record: plain values for the checkpoint's record; "step" and "score" are added.
          say: prints a line for the user.

        Raises:
          CheckpointError: the checkpoint is damaged.
        """
        self._checkpoints, self._score, self._record, self._say = checkpoints, score, record, say
        kept = checkpoints.newest()
        self.value: float = -math.inf if kept is None else checkpoints.record(kept)["score"]
        """The highest score so far."""

    def __call__(self, step: int, state: State) -> None:
        """Scores the state after `step` steps.

        Raises:
          CheckpointError: the checkpoint cannot be written.
        """
        value = self._score(step, state) if jax.process_index() == 0 else -math.inf
        if jax.process_count() > 1:
            # As two uint32 halves, since f64 arrays would be rounded to f32.
            bits = np.frombuffer(np.float64(value).tobytes(), np.uint32)
            value = float(np.frombuffer(np.asarray(multihost_utils.broadcast_one_to_all(bits)).tobytes())[0])
        if not value > self.value:
            return
        self._checkpoints.save(step, state, self._record | {"step": step, "score": value})
        self._say(f"step {step}: the best so far on the holdout, {value:.4f}" + self._before())
        self.value = value

    def close(self) -> None:
        """Closes the checkpoints."""
        self._checkpoints.close()

    def _before(self) -> str:
        return f" (before: {self.value:.4f})" if math.isfinite(self.value) else ""
