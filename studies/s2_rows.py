"""S2's rows: its own split of a table, in files; runs on them; what a generator draws at any step of its training."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from synthjax import data, files, sampling
from synthjax.data.requests import proportional_counts
from synthjax.data.schema import NUMERIC
from synthjax.data.splits import stratified
from synthjax.errors import InputError
from synthjax.evals.table import Table, from_frames
from synthjax.launch import train
from synthjax.launch.config import Experiment
from synthjax.launch.sample import block_size
from synthjax.model import State
from synthjax.train.checkpoint import Checkpoints

from .workspace import Generator, Workspace

if TYPE_CHECKING:
    import pandas as pd


class Files(NamedTuple):
    """A table, cut into training and test rows."""

    name: str
    train: Path
    test: Path
    target: str
    columns: tuple[str, ...]
    rows: tuple[int, int]
    """Of training and of test."""


def cut(workspace: Workspace, dataset: str, *, numeric: bool, share: float, seed: int) -> Files:
    """The complete rows of a table in two CSV files in the study's folder, written once.

    They are those of the table's first file, in its order: of Adult the 30,162 of adult.data, not adult.test.

    Args:
        workspace: of the study.
        dataset: see `synthjax.data.load`; a table with a target of classes.
        numeric: leave out the columns that are categories, but for the target.
        share: of the rows that become test rows, the same of each class, in (0, 1).
        seed: of the split.

    Raises:
        InputError: the data set is no table, or has no classes.
    """
    name = f"{dataset}-{'numeric' if numeric else 'all'}-{seed}"
    paths = {split: workspace.folder / "data" / f"{name}-{split}.csv" for split in ("train", "test")}

    def write() -> dict[str, Any]:
        frame, target = complete(dataset, workspace.data_dir, numeric=numeric)
        test = stratified(np.unique(frame[target].astype(str), return_inverse=True)[1], share, seed)
        paths["train"].parent.mkdir(exist_ok=True)
        for split, chosen in (("train", ~test), ("test", test)):
            files.write(paths[split], frame[chosen].to_csv(index=False))
        return {"target": target, "columns": list(frame), "rows": [int((~test).sum()), int(test.sum())]}

    found = workspace.result(f"split, {name}", write)
    columns, rows = tuple(found["columns"]), tuple(found["rows"])
    return Files(name, paths["train"], paths["test"], found["target"], columns, rows)


def complete(dataset: str, data_dir: str | None, *, numeric: bool) -> tuple["pd.DataFrame", str]:
    """Those rows, and the target's name; arguments as of `cut`."""
    import pandas as pd

    whole = data.load(dataset, data_dir, holdout=0.0, encoding="code", min_count=1)
    if whole.table is None or not whole.spec.n_classes:
        raise InputError(f"dataset={dataset}: the study needs a table with a target of classes")
    schema = whole.table.schema
    frame = whole.frame("train")
    if whole.table.test is None:
        frame = pd.concat([frame, whole.frame("test")]).sort_index()
    columns = [f.name for f in schema.fields if not numeric or f.kind in NUMERIC or f.name == schema.target]
    return frame.dropna()[columns], str(schema.target)


def run(files: Files, name: str, model: Any, *, snapshot: int = 0, **fields: Any) -> Experiment:
    """The experiment of a model on those rows, all of which it trains on unless `holdout` says otherwise.

    Args:
        files: the rows; the test rows are the test split.
        name: of the model, and
        model: its Config.
        snapshot: steps between checkpoints, all of which are kept; 0: only the last.
        **fields: others of the `Experiment`, such as encoding, holdout, seed.
    """
    chosen = Experiment(
        name,
        model,
        str(files.train),
        test=str(files.test),
        target=files.target,
        holdout=0.0,
        checkpoint_every=snapshot or model.steps,
        keep=model.steps // snapshot + 1 if snapshot else 1,
    )
    return dataclasses.replace(chosen, **fields)


def state_at(workspace: Workspace, made: Generator, step: int) -> State:
    """The generator's state after so many steps; 0: as it began. Other steps must be checkpoints of its run."""
    if step == 0:
        return train.trainer(made.experiment, made.model, workspace.data(made.experiment)).init(
            jax.random.key(made.experiment.seed)
        )
    return Checkpoints(made.workdir / "checkpoints").restore(step, made.state)


def draw(workspace: Workspace, made: Generator, n: int, *, seed: int = 0, step: int | None = None) -> "pd.DataFrame":
    """So many synthetic rows, typed; of a conditional model classes as frequent as in training.

    Args:
        workspace: of the study.
        made: the generator.
        n: rows.
        seed: of the draw.
        step: of its training, see `state_at`; None: the last.
    """
    state = made.state if step is None else state_at(workspace, made, step)
    labels = np.zeros(n, np.int32)
    if made.model.conditional and made.spec.n_classes:
        counts = proportional_counts(n, made.spec.frequencies)
        labels = np.repeat(np.arange(made.spec.n_classes, dtype=np.int32), counts)
    block = min(block_size(made.spec), n)
    x = np.concatenate(list(sampling.draw(made.model, state, jax.random.key(seed), labels, block=block)))
    encoder = workspace.data(made.experiment).encoder
    assert encoder is not None
    return encoder.decode(x, seed=seed)


def tables(
    workspace: Workspace, made: Generator, *, split: str = "test", seed: int = 0, step: int | None = None, n: int = 0
) -> dict[str, Table]:
    """What scores read: "train", the rows of training; "real", those of `split`; "synthetic", as many as in training.

    Args:
        workspace: of the study.
        made: the generator.
        split: "test" or "holdout".
        seed: of the draw.
        step: of its training; None: the last.
        n: synthetic rows; 0: as many as in training.
    """
    dataset = workspace.data(made.experiment)
    assert dataset.table is not None
    found = {
        "train": dataset.frame("train"),
        "real": dataset.frame(split),
        "synthetic": draw(workspace, made, n or len(dataset.train.y), seed=seed, step=step),
    }
    schema = dataset.table.schema
    return from_frames(found, schema.comparable_kinds(), schema.target)
