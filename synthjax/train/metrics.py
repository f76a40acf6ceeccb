"""Metrics of a training run: written to `metrics.jsonl`, and to TensorBoard if tensorboardX is installed."""

import json
import os
import time
from collections.abc import Iterator

import numpy as np

from synthjax import files
from synthjax.errors import InputError

DECIMALS = 9
"""Decimal places of the values that are written."""
UPLOAD_EVERY = 30.0
"""Seconds between uploads to an object store, where files cannot be appended to."""


class MetricsWriter:
    """Writes one JSON object per line: {"step": int, NAME: float or list of floats (one per seed), ...}.

    Lines of steps after `resume` are removed first, so that an interrupted run has each step once. In an object store
    the whole file is uploaded at intervals, by `flush`, and at the end; there is no TensorBoard file then.
    """

    def __init__(self, workdir: str | os.PathLike[str], resume: int = 0):
        folder = files.path(workdir)
        self.path = folder / "metrics.jsonl"
        self._lines = [json.dumps(row) + "\n" for row in read(workdir) if row["step"] <= resume]
        self._board = self._file = None
        self._pending, self._uploaded = True, time.monotonic()
        self.flush()
        if not files.is_local(folder):
            return
        self._file = open(self.path, "a", encoding="utf-8")
        try:
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=resume)
        except ImportError:
            pass

    def write(self, step: int, metrics: dict[str, np.ndarray]) -> None:
        """Writes a line; each metric is a scalar or (seeds,)."""
        row = {name: np.round(np.asarray(value, np.float64), DECIMALS).tolist() for name, value in metrics.items()}
        line = json.dumps({"step": step, **row}) + "\n"
        if self._file is not None:
            with files.named_errors(self.path):
                self._file.write(line)
                self._file.flush()
        else:
            self._lines.append(line)
            self._pending = True
            if time.monotonic() - self._uploaded > UPLOAD_EVERY:
                self.flush()
        if self._board is not None:
            for name, value in metrics.items():
                self._board.add_scalar(name, float(np.mean(value)), step)

    def flush(self) -> None:
        """Uploads pending lines. To be called before a checkpoint is written, since a run may continue from it."""
        if self._file is None and self._pending:
            files.write(self.path, "".join(self._lines))
            self._pending, self._uploaded = False, time.monotonic()

    def close(self) -> None:
        """Flushes and closes the files."""
        self.flush()
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()


def read(workdir: str | os.PathLike[str], having: str | None = None) -> Iterator[dict]:
    """Reads the rows of a run's `metrics.jsonl`; an unfinished last line is ignored.

    A row need not have every metric. Metrics that are measured at other intervals have separate rows.

    Args:
      workdir: of the run.
      having: only rows with this metric are returned; "steps_per_second" is in all rows of averages over steps.

    Raises:
      InputError: the file cannot be read, or a line is not a row of metrics.
    """
    path = files.path(workdir) / "metrics.jsonl"
    lines = (files.read_text(path) or "").splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            rows.append({"step": int(row["step"]), **row})
        except (ValueError, TypeError, KeyError, RecursionError):
            if number < len(lines):
                raise InputError(f"{path}: line {number} is no row of metrics; remove it") from None
    return (row for row in rows if having is None or having in row)
