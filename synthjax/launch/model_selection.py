"""Model selection: inexpensive scores on the holdout split during training, which no training step sees.

    tables   `holdout_c2st`: classifier two-sample test. 1: gradient boosting cannot distinguish synthetic from held-out
             rows; 0: it always can. The target is one of the columns. Tables with a target also have `holdout_tstr`:
             boosting is trained on synthetic rows and predicts the target of held-out ones; ROC AUC, R2 for regression.
    images   `holdout_tstr`: accuracy on held-out images of a small CNN trained on synthetic ones.

The first score of each kind selects the state that is kept as the best (`synthjax.train.best`). Do not report them:
they come from one seed and few rows, and the maximum of many noisy values is biased upwards. `launch.eval` evaluates
the selected state on the test split, which is not used here.

metrics.jsonl has a row for each evaluation, with a list of values where the run has several members. Selection uses
their mean:

    {"step": 2000, "holdout_c2st": 0.61, "holdout_tstr": 0.903}

Process 0 computes the scores, on all its local devices, from a copy of the state and with separate random keys.
Training is bit for bit the same with and without it, and the scores are the same for any number of devices.
"""

import functools
from typing import TYPE_CHECKING

import jax
import numpy as np

from synthjax import sampling
from synthjax.data import Dataset
from synthjax.errors import InputError
from synthjax.evals import classifiers, quick_scores
from synthjax.launch import sample
from synthjax.launch.class_counts import class_counts
from synthjax.launch.config import Experiment
from synthjax.model import Model, State
from synthjax.train import metrics

if TYPE_CHECKING:
    import pandas as pd

ROWS = {"table": 5_000, "image": 2_000}
"""Number of synthetic examples drawn; at most this many held-out rows are compared with them."""
BLOCKS = 8
"""Number of blocks they are drawn in: up to this many devices share the work. Fewer devices draw the same blocks."""
LEAST = 30
"""Smallest holdout; with fewer examples the scores could not distinguish states."""
EPOCHS = 4
"""Training epochs of the CNN."""
DECIDES = {"table": "holdout_c2st", "image": "holdout_tstr"}
"""The score that selects the best state."""
KEY = 2**32 - 3
"""Folded into the run's key to derive the keys of this module; see `synthjax.launch.monitor.KEY`."""


class HoldoutScore:
    """Callable (step, state) -> the selecting score of that state; writes all scores to metrics.jsonl.

    Scores of a step that are in metrics.jsonl already are read from it, not computed again.
    """

    def __init__(
        self, chosen: Experiment, model: Model, data: Dataset, writer: metrics.MetricsWriter | None, workdir: object
    ):
        """Checks that the model can be scored (`check`).

        `writer`, of the run's metrics, is None in all processes but the first, which do not call the instance.
        """
        check(chosen, model, data)
        self._chosen, self._model, self._data, self._writer = chosen, model, data, writer
        self._workdir = str(workdir)
        key = jax.random.fold_in(jax.random.key(chosen.seed), np.uint32(KEY))
        self._key_draw, self._key_cnn = jax.random.split(key)
        shares = class_counts(data.spec, model.conditional, n=ROWS[data.spec.kind], per_class=None)
        self._labels = np.repeat(np.arange(len(shares), dtype=np.int32), shares)

    def __call__(self, step: int, state: State) -> float:
        """The selecting score after `step` steps; higher is better."""
        decides = DECIDES[self._data.spec.kind]
        for row in metrics.read(self._workdir, decides):
            if row["step"] == step:
                return float(np.mean(row[decides]))
        state = sampling.local_copy(state)
        seeds = self._chosen.seeds
        members = [jax.tree.map(lambda a, m=m: a[m], state) for m in range(seeds)] if seeds > 1 else [state]
        scores = [self._scores(member) for member in members]
        # Rounded as in metrics.jsonl, which a resumed run reads instead of computing them.
        row = {name: np.round([one[name] for one in scores], metrics.DECIMALS) for name in scores[0]}
        assert self._writer is not None
        self._writer.write(step, row if seeds > 1 else {name: values[0] for name, values in row.items()})
        return float(row[decides].mean())

    def _scores(self, state: State) -> dict[str, float]:
        block = min(-(-len(self._labels) // BLOCKS), sample.block_size(self._data.spec))
        x = np.concatenate(list(sampling.draw(self._model, state, self._key_draw, self._labels, block=block)))
        return self._of_images(x) if self._data.spec.kind == "image" else self._of_rows(x)

    def _of_images(self, x: np.ndarray) -> dict[str, float]:
        spec, real = self._data.spec, self._data.holdout
        synthetic = np.asarray(spec.decode(x)), self._labels
        return {"holdout_tstr": quick_scores.of_images(self._key_cnn, synthetic, real[:2], spec, epochs=EPOCHS)}

    def _of_rows(self, x: np.ndarray) -> dict[str, float]:
        encoder, table = self._data.encoder, self._data.table
        assert encoder is not None and table is not None
        schema, seed = table.schema, self._chosen.seed
        synthetic, kinds = encoder.decode(x, seed=seed), schema.comparable_kinds()
        found = quick_scores.of_rows(self._real, synthetic, kinds, schema.target, seed=seed, limit=ROWS["table"])
        return {f"holdout_{name}": score for name, score in found.items()}

    @functools.cached_property
    def _real(self) -> "pd.DataFrame":
        """A fixed sample of held-out rows, at most as many as are drawn."""
        frame = self._data.frame("holdout")
        n = ROWS["table"]
        return frame if len(frame) <= n else frame.sample(n, random_state=self._chosen.seed)


def check(chosen: Experiment, model: Model, data: Dataset) -> None:
    """Raises InputError if a run cannot be scored on its holdout: it is too small, or images without labels."""
    flag, spec, n = f"eval_every={chosen.eval_every}", data.spec, len(data.holdout.y)
    if n < LEAST:
        raise InputError(
            f"{flag}: needs at least {LEAST} held-out examples of {data.name}; holdout={chosen.holdout:g} keeps {n}"
        )
    if spec.kind == "table":
        return
    if not spec.n_classes:
        raise InputError(f"{flag}: {data.name} has no labels, and images are scored by a classifier trained on samples")
    if not model.conditional:
        raise InputError(f"{flag}: {chosen.name} draws no labels, so no classifier can be trained on its images")
    if min(spec.shape[:2]) < classifiers.MIN_SIDE:
        side = classifiers.MIN_SIDE
        raise InputError(f"{flag}: images of {data.name} are too small for the CNN, which needs {side} x {side}")
