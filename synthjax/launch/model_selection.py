"""Model selection: inexpensive scores on the holdout split during training, which no training step sees.

    tables   `holdout_c2st`: classifier two-sample test. 1: gradient boosting cannot distinguish synthetic from held-out
             rows; 0: it always can. The target is one of the columns. Tables with a target also have `holdout_tstr`:
             boosting is trained on synthetic rows and predicts the target of held-out ones; ROC AUC, R2 for regression.
    images   `holdout_tstr`: accuracy on held-out images of a small CNN trained on synthetic ones.

The first score of each kind selects the state that is kept as the best (`synthjax.train.best`). Do not report them:
they come from one seed and few rows, and the maximum of many noisy values is biased upwards. `launch.eval` evaluates
the selected state on the test split, which is not used here.

A run whose `stop` is "holdout" also ends by its score. Where a table's model has a loss that held-out rows can be given
(all but GANs), that is the only score, since it takes no sampling and suffices for any number of rows:

    holdout_loss    mean `Model.score` of held-out rows, less is better: -log p in nats, or what its family says

metrics.jsonl has a row for each evaluation, with a list of values where the run has several members. Selection uses
their mean:

    {"step": 2000, "holdout_c2st": 0.61, "holdout_tstr": 0.903}

Process 0 computes the scores, on all its local devices, from a copy of the state and with separate random keys.
Training is bit for bit the same with and without it, and the scores are the same for any number of devices.
"""

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from synthjax import files, sampling
from synthjax.data import Dataset
from synthjax.errors import InputError
from synthjax.evals import classifiers, quick_scores
from synthjax.evals.subsample import sample as sample_rows
from synthjax.jit import jit
from synthjax.launch import runs, sample
from synthjax.launch.class_counts import class_counts
from synthjax.launch.config import Experiment
from synthjax.launch.trained import Run
from synthjax.model import Batch, Model, State
from synthjax.train import metrics
from synthjax.train.best import has_levelled

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
LOSS = "holdout_loss"
"""What selects it in its place, see above."""
GAIN = {"holdout_c2st": 0.01, "holdout_tstr": 0.005, LOSS: 0.002}
"""What the last third of a training has to gain, or it ends (`best.has_levelled`)."""
EVERY = {"holdout_c2st": 500, "holdout_tstr": 500, LOSS: 10}
"""First steps between two scores of a run that ends by them."""
LOSS_BLOCK = 256
"""Held-out rows whose loss is computed at once."""
KNOWN_ROWS = 200_000
"""Training and held-out rows that they are compared with, at most."""
LEAST_UNSEEN = 5
"""Fewest held-out rows by which copies are told."""
COPYING_ROWS = 5_000
"""Synthetic rows that are drawn to see whether a model copies, at most."""
COPYING_FACTOR = 5
"""Synthetic rows for each training or held-out one, at most: the error is that of the few held-out rows."""
KEY = 2**32 - 3
"""Folded into the run's key to derive the keys of this module; see `synthjax.launch.monitor.KEY`."""


def decides(chosen: Experiment, kind: str) -> str:
    """The score that selects the best state of an experiment on data of that kind."""
    adversarial = hasattr(chosen.model, "rules")  # whose score is the critic's
    return LOSS if chosen.stop == "holdout" and kind == "table" and not adversarial else DECIDES[kind]


def least(chosen: Experiment, kind: str) -> int:
    """Fewest held-out examples that an experiment on data of that kind can be scored on."""
    return 1 if decides(chosen, kind) == LOSS else LEAST


class HoldoutScore:
    """Callable (step, state) -> the selecting score of that state; writes all scores to metrics.jsonl.

    Scores of a step that are in metrics.jsonl already are read from it, not computed again.
    """

    known: dict[int, float]
    """Step -> the selecting score, of all so far; higher is better."""

    def __init__(
        self,
        chosen: Experiment,
        model: Model,
        data: Dataset,
        writer: metrics.MetricsWriter | None,
        workdir: str | os.PathLike[str],
    ):
        """Checks that the model can be scored (`check`).

        `writer`, of the run's metrics, is None in all processes but the first, which do not call the instance.
        """
        check(chosen, model, data)
        self._chosen, self._model, self._data, self._writer = chosen, model, data, writer
        self.decides = decides(chosen, data.spec.kind)
        self._sign = -1 if self.decides == LOSS else 1
        found = metrics.read(workdir, self.decides) if writer is not None else []
        self.known = {row["step"]: self._sign * float(np.mean(row[self.decides])) for row in found}
        key = jax.random.fold_in(jax.random.key(chosen.seed), np.uint32(KEY))
        self._key_draw, self._key_cnn = jax.random.split(key)
        shares = class_counts(data.spec, model.conditional, n=ROWS[data.spec.kind], per_class=None)
        self._labels = np.repeat(np.arange(len(shares), dtype=np.int32), shares)

    def __call__(self, step: int, state: State) -> float:
        """The selecting score after `step` steps; higher is better."""
        if step in self.known:
            return self.known[step]
        state = sampling.local_copy(state)
        seeds = self._chosen.seeds
        members = [jax.tree.map(lambda a, m=m: a[m], state) for m in range(seeds)] if seeds > 1 else [state]
        scores = [self._scores(member) for member in members]
        # Rounded as in metrics.jsonl, which a resumed run reads instead of computing them.
        row = {name: np.round([one[name] for one in scores], metrics.DECIMALS) for name in scores[0]}
        assert self._writer is not None
        self._writer.write(step, row if seeds > 1 else {name: values[0] for name, values in row.items()})
        self.known[step] = self._sign * float(row[self.decides].mean())
        return self.known[step]

    def levelled(self) -> bool:
        """Whether a training that ends by the holdout should end."""
        warmup = min(getattr(self._chosen.model, "warmup", 0), self._chosen.model.steps // 10)  # as `optim.schedule`
        return self._chosen.stop == "holdout" and has_levelled(self.known, GAIN[self.decides], warmup)

    def shown(self, score: float) -> str:
        """A selecting score, as metrics.jsonl has it."""
        rows = min(len(self._data.holdout.y), ROWS[self._data.spec.kind])
        return f"{self.decides} {self._sign * score:.4f} on {rows:,} held-out examples"

    def _scores(self, state: State) -> dict[str, float]:
        if self.decides == LOSS:
            return {LOSS: float(self._loss(self._key_draw, state))}
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
    def _loss(self) -> Callable[[jax.Array, State], jax.Array]:
        """(key, state) -> mean score of a fixed sample of held-out rows, each with the same noise in every call."""
        spec, split, score = self._data.spec, self._data.holdout, self._model.score
        assert score is not None
        rows = sample_rows(np.random.default_rng(self._chosen.seed), len(split.y), ROWS["table"])
        blocks = -(-len(rows) // LOSS_BLOCK)
        places = np.resize(rows, (blocks, min(LOSS_BLOCK, len(rows))))
        real = (np.arange(places.size) < len(rows)).astype(np.float32).reshape(places.shape)

        @jit
        def mean(key: jax.Array, state: State) -> jax.Array:
            def one(given: tuple[jax.Array, jax.Array, jax.Array, jax.Array]) -> jax.Array:
                number, x, y, weight = given
                batch = Batch(spec.encode(x), y, weight, jnp.zeros(len(y), jnp.int32))
                return weight @ score(jax.random.fold_in(key, number), state, batch)

            inputs = np.arange(blocks), split.x[places], split.y[places], real
            return jax.lax.map(one, jax.tree.map(jnp.asarray, inputs)).sum() / len(rows)

        return mean

    @functools.cached_property
    def _real(self) -> "pd.DataFrame":
        """A fixed sample of held-out rows, at most as many as are drawn."""
        frame = self._data.frame("holdout")
        n = ROWS["table"]
        return frame if len(frame) <= n else frame.sample(n, random_state=self._chosen.seed)


def check(chosen: Experiment, model: Model, data: Dataset) -> None:
    """Raises InputError if a run cannot be scored on its holdout: it is too small, or images without labels."""
    flag, spec, n = f"eval_every={chosen.eval_every}", data.spec, len(data.holdout.y)
    if n < (needed := least(chosen, spec.kind)):
        raise InputError(
            f"{flag}: needs at least {needed} held-out examples of {data.name}; holdout={chosen.holdout:g} keeps {n}"
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


def some(data: Dataset, split: str, n: int, seed: int) -> "pd.DataFrame":
    """At most `n` rows of a table's split, "train" or "holdout", typed."""
    assert data.table is not None
    index = getattr(data, split).index
    return data.table.frame(index[sample_rows(np.random.default_rng(seed), len(index), n)], test=False)


def say_copying(workdir: Path, data: Dataset) -> None:
    """As `copying`, of a run on a table whose model is trained by gradients: others cannot be trained for too long."""
    trained = hasattr(runs.read(workdir)[0].model, "learning_rate")
    if trained and jax.process_index() == 0 and data.table is not None and len(data.holdout.y):
        copying(workdir, data)


def copying(workdir: Path, data: Dataset) -> tuple["pd.DataFrame", quick_scores.Copied]:
    """Rows drawn from a run on a table, and how many of them copy training rows.

    That is said, and kept in `runs.COPYING` for `launch.sample` and for reports. Of fewer than `LEAST_UNSEEN` held-out
    rows it cannot be told, which is said instead.
    """
    assert data.table is not None
    run = Run(workdir)
    known = len(data.train.y) + len(data.holdout.y)
    rows: Any = run.sample(min(COPYING_ROWS, COPYING_FACTOR * known), seed=run.config.seed, unique=False)
    kinds, seed = data.table.schema.comparable_kinds(), run.config.seed
    share = min(KNOWN_ROWS / known, 1.0)
    seen, unseen = (
        some(data, split, max(round(share * len(getattr(data, split).y)), 1), seed) for split in ("train", "holdout")
    )
    if len(unseen) < LEAST_UNSEEN:
        found = quick_scores.Copied(0.0, 1.0)
        line = f"{len(unseen)} held-out rows are too few to tell whether the model copies training rows"
    else:
        found = quick_scores.copied(seen, unseen, rows, kinds, seed=seed)
        line = f"nearer to training rows than chance explains: {found.share:.0%} of {len(rows):,} synthetic rows"
        line += f" (standard error {found.error:.0%})"
    if found.too_many:
        ways = "Larger leaves" if run.config.name == "table_forest" else "Fewer --steps, a smaller model"
        line = f"WARNING: the model copies training rows; {line}. {ways} or more rows may help"
    kept = {"step": run.step, **found._asdict(), "warning": found.too_many, "said": line}
    files.write(workdir / runs.COPYING, json.dumps(kept, indent=1))
    print(line, flush=True)
    return rows, found
