"""Requests to stop: SIGTERM from whoever manages the machine, Ctrl-C from a person."""

import signal
import threading
from typing import Any

import jax
from jax.experimental import multihost_utils

from synthjax.errors import Interrupted, Preempted


class StopSignal:
    """Whether the run was asked to stop (SIGTERM, Ctrl-C); `with StopSignal() as asked: ... asked()`.

    One process has handlers of its own, and a second Ctrl-C ends it at once. Several processes agree through JAX's
    preemption sync point, which knows SIGTERM alone.
    """

    def __enter__(self) -> "StopSignal":
        self.number, self._calls = 0, 0
        self._old: dict[int, Any] = {}
        if jax.process_count() == 1 and threading.current_thread() is threading.main_thread():
            self._old = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self.number = number
        if number == signal.SIGINT:
            signal.signal(number, self._old[number])

    def __call__(self) -> bool:
        """Whether to stop now; every process makes the same calls and gets the same answers."""
        if jax.process_count() > 1:
            # JAX names the call after the latest one as the point to stop at, so calls are counted, not steps.
            self._calls += 1
            return multihost_utils.reached_preemption_sync_point(self._calls)
        return bool(self.number)


def preempted(step: int, number: int) -> Preempted:
    """What a run that was asked to stop after `step` steps, by signal `number`, ends with."""
    where = f"at step {step}, which is saved" if step else "before the first step"
    kind = Interrupted if number == signal.SIGINT else Preempted
    return kind(f"asked to stop {where}; the same command continues")
