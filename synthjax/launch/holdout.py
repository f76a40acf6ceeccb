"""How good a model is while it trains: a cheap score on the holdout, which no step of training sees.

    tables   `holdout_c2st`: gradient boosting tells synthetic rows from held-out ones (1: it cannot, 0: always), the
             target among the columns. Where there is a target, `holdout_tstr` beside it: boosting trained on synthetic
             rows predicts that of held-out ones, by ROC AUC, or R2 of a quantity.
    images   `holdout_tstr`: accuracy on held-out images of a small CNN that was trained on synthetic ones.

The first of each kind decides which state is kept as the best (`synthjax.train.best`). They are for choosing, not for
reporting: one seed, few rows, and the highest of many noisy figures is flattered. `launch.eval` judges what was chosen
on the test split, which is never looked at here.

Over metrics.jsonl they are rows of their own, one value a member of a run of several; their mean decides:

    {"step": 2000, "holdout_c2st": 0.61, "holdout_tstr": 0.903}

Process 0 does all this by itself, from a copy of the state and with keys of its own. Training is bit for bit the same
with and without it.
"""

import functools
from typing import TYPE_CHECKING

import jax
import numpy as np

from synthjax import sampling
from synthjax.data import Dataset
from synthjax.errors import InputError
from synthjax.evals import classifiers, quick_scores
from synthjax.launch import counts, sample
from synthjax.launch.config import Experiment
from synthjax.model import Model, State
from synthjax.train import metrics

if TYPE_CHECKING:
    import pandas as pd

ROWS = {"table": 5_000, "image": 2_000}
"""Synthetic examples that are drawn; of tables, as many held-out ones are looked at."""
LEAST = 30
"""Examples that the holdout must have: of fewer, no score would tell one state from another."""
EPOCHS = 4
"""Passes of the CNN through its images."""
DECIDES = {"table": "holdout_c2st", "image": "holdout_tstr"}
KEY = 2**32 - 3
"""Folded into the run's key for all that is random here; see `synthjax.launch.watch.KEY`."""


class Judge:
    """Called with (step, state), writes the scores at that step and returns the one that decides.

    A step whose scores are in metrics.jsonl already is not judged again.
    """

    def __init__(
        self, chosen: Experiment, model: Model, data: Dataset, writer: metrics.MetricsWriter | None, workdir: object
    ):
        """Checks that the model can be scored.

        Args:
          chosen: the experiment.
          model: what is trained.
          data: what it is trained on, and its holdout.
          writer: of the run's metrics; None in all processes but the first, which never call.
          workdir: of the run.

        Raises:
          InputError: the holdout is too small, images have no labels, or the model draws none.
        """
        check(chosen, model, data)
        self._chosen, self._model, self._data, self._writer = chosen, model, data, writer
        self._workdir = str(workdir)
        key = jax.random.fold_in(jax.random.key(chosen.seed), np.uint32(KEY))
        self._key_draw, self._key_cnn = jax.random.split(key)
        shares = counts.class_counts(data.spec, model.conditional, n=ROWS[data.spec.kind], per_class=None)
        self._labels = np.repeat(np.arange(len(shares), dtype=np.int32), shares)

    def __call__(self, step: int, state: State) -> float:
        """The score after `step` steps, higher is better."""
        decides = DECIDES[self._data.spec.kind]
        for row in metrics.read(self._workdir, decides):
            if row["step"] == step:
                return float(np.mean(row[decides]))
        state = sampling.local_copy(state)
        seeds = self._chosen.seeds
        members = [jax.tree.map(lambda a, m=m: a[m], state) for m in range(seeds)] if seeds > 1 else [state]
        found = [self._scores(member) for member in members]
        # Rounded as in metrics.jsonl: a resumed run reads from it what it would have computed.
        row = {name: np.round([one[name] for one in found], metrics.DECIMALS) for name in found[0]}
        assert self._writer is not None
        self._writer.write(step, row if seeds > 1 else {name: values[0] for name, values in row.items()})
        return float(row[decides].mean())

    def _scores(self, state: State) -> dict[str, float]:
        block = min(len(self._labels), sample.block_size(self._data.spec))
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
        """Held-out rows, at most as many as are drawn: always the same."""
        frame = self._data.frame("holdout")
        n = ROWS["table"]
        return frame if len(frame) <= n else frame.sample(n, random_state=self._chosen.seed)


def check(chosen: Experiment, model: Model, data: Dataset) -> None:
    """Answers a run that cannot be scored on its holdout.

    Raises:
      InputError: see `Judge`.
    """
    asked, spec, n = f"eval_every={chosen.eval_every}", data.spec, len(data.holdout.y)
    if n < LEAST:
        raise InputError(
            f"{asked}: needs {LEAST} held-out examples of {data.name} at least; holdout={chosen.holdout:g} keeps {n}"
        )
    if spec.kind == "table":
        return
    if not spec.n_classes:
        raise InputError(
            f"{asked}: {data.name} has no labels, and images are scored by a classifier trained on samples"
        )
    if not model.conditional:
        raise InputError(f"{asked}: {chosen.name} draws no labels, so no classifier can be trained on its images")
    if min(spec.shape[:2]) < classifiers.MIN_SIDE:
        side = classifiers.MIN_SIDE
        raise InputError(f"{asked}: images of {data.name} are too small for the CNN, which needs {side} x {side}")
