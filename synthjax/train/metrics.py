"""Where the figures of a training run go: `metrics.jsonl`, and TensorBoard where tensorboardX is installed."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from synthjax.train.checkpoint import write_atomically

DECIMALS = 9
"""Of every figure that is written."""


class MetricsWriter:
    """Appends one JSON object a line: {"step": int, NAME: float or list of floats (one a seed), ...}.

    Lines of steps after `resume` are dropped first, so that a run that was interrupted leaves each step once.
    """

    def __init__(self, workdir: str | Path, resume: int = 0):
        self.path = Path(workdir) / "metrics.jsonl"
        kept = [row for row in read(workdir) if row["step"] <= resume]
        write_atomically(self.path, "".join(json.dumps(row) + "\n" for row in kept).encode())
        self._file = open(self.path, "a")
        self._board = None
        try:
            from tensorboardX import SummaryWriter

            self._board = SummaryWriter(str(Path(workdir) / "tensorboard"), purge_step=resume)
        except ImportError:
            pass

    def write(self, step: int, metrics: dict[str, np.ndarray]) -> None:
        """One line; each metric is a scalar or (seeds,)."""
        row = {name: np.round(np.asarray(value, np.float64), DECIMALS).tolist() for name, value in metrics.items()}
        self._file.write(json.dumps({"step": step, **row}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in metrics.items():
                self._board.add_scalar(name, float(np.mean(value)), step)

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        if self._board is not None:
            self._board.close()


def read(workdir: str | Path, having: str | None = None) -> Iterator[dict]:
    """The rows of a run's `metrics.jsonl`; an unfinished last line is left out.

    Not every row has every metric: what is measured only now and then has rows of its own.

    Args:
      workdir: of the run.
      having: leaves out rows without this metric; "steps_per_second" is in all those that average over steps.
    """
    path = Path(workdir) / "metrics.jsonl"
    rows = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
    return (row for row in rows if having is None or having in row)
