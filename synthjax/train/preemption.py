"""Requests to stop: SIGTERM from a cluster manager, Ctrl-C from a user."""

import signal
import threading
from typing import Any

import jax
from jax.experimental import multihost_utils

from synthjax.errors import Interrupted, Preempted


class StopSignal:
    """Whether SIGTERM or Ctrl-C was received: `with StopSignal() as should_stop: ... should_stop()`.

    A single process installs signal handlers; a second Ctrl-C interrupts it immediately. Several processes use JAX's
    preemption sync point, which handles only SIGTERM.
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
        """Whether to stop now; all processes must make the same calls, and get the same result."""
        if jax.process_count() > 1:
            # The sync point is at the next call in every process, so calls are counted, not steps.
            self._calls += 1
            return multihost_utils.reached_preemption_sync_point(self._calls)
        return bool(self.number)


def preempted(step: int, number: int) -> Preempted:
    """The exception for a run stopped after `step` steps by signal `number`."""
    where = f"at step {step}, which is saved" if step else "before the first step"
    kind = Interrupted if number == signal.SIGINT else Preempted
    return kind(f"asked to stop {where}; the same command continues")
