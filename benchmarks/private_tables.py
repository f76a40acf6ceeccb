"""Private tables: what synthetic rows at (epsilon, delta) teach, and how near their pairs of columns are to real ones.

    python -m benchmarks.private_tables --data_dir=DIR --schema=benchmarks/private_adult.yaml
    python -m benchmarks.private_tables --data_dir=DIR --models=table_marginals,independent --epsilon=4 --seeds=1

Each model is trained by `launch.train --dp.epsilon=...` on the training rows of a table (of Adult the official ones),
and draws as many rows. Neighbouring tables differ in one row that is added or removed. Seeds are those of
`--dp.test_seed`, so that figures can be repeated, and nothing is published. For every model and seed:

    auc       ROC AUC on test rows of gradient boosting (scikit-learn) that synthetic rows taught
    tvd       half the L1 distance between joint frequencies of synthetic and training rows, mean of all pairs of
              columns; numbers are cut at 20 quantiles of the training rows, a missing value is one more state
    seconds   of the clock, training and drawing

"real" is what the training rows teach, and the distance of the test rows.
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.unseen_judge import useful
from synthjax import data

CUTS = 20
"""Groups of a number, by quantiles of the training rows."""


def codes(rows: pd.DataFrame, train: pd.DataFrame) -> np.ndarray:
    """(n, columns) states of rows: groups of numbers, and categories; 0 for a missing value."""
    columns = []
    for name, real in train.items():
        if real.dtype.kind in "iuf":
            edges = np.unique(real.quantile(np.linspace(0, 1, CUTS + 1)[1:-1]))
            state = np.searchsorted(edges, rows[name].to_numpy(float), side="right") + 1
            columns.append(np.where(rows[name].isna(), 0, state))
        else:
            known = {value: state for state, value in enumerate(sorted(real.dropna().astype(str).unique()), 1)}
            columns.append(rows[name].astype(str).map(known).fillna(0).to_numpy(int))
    return np.stack(columns, axis=1)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Mean total variation distance of all pairs of columns, of states (n, C) and (m, C)."""
    found = []
    for i, j in itertools.combinations(range(one.shape[1]), 2):
        size = max(one[:, j].max(), other[:, j].max()) + 1
        length = (max(one[:, i].max(), other[:, i].max()) + 1) * size
        a, b = (np.bincount(part[:, i] * size + part[:, j], minlength=length) / len(part) for part in (one, other))
        found.append(np.abs(a - b).sum() / 2)
    return float(np.mean(found))


def judge(made: pd.DataFrame, train: pd.DataFrame, test: pd.DataFrame, target: str) -> tuple[float, float]:
    """(auc, tvd) of rows."""
    made = made[list(train)]
    auc = useful(made, test, target, pd.concat([train, test]), seed=0)
    return auc, distance(codes(made, train), codes(train, train))


def fit(model: str, options: argparse.Namespace, seed: int, folder: Path, rows: int) -> tuple[pd.DataFrame, float]:
    """Rows of a private model, and seconds."""
    start, out = time.perf_counter(), folder / "rows.csv"
    data_dir = [f"--data_dir={options.data_dir}"] if options.data_dir else []
    asked = [f"--model={model}", f"--dataset={options.table}", "--config.holdout=0", *data_dir]
    asked += [f"--target={options.target}"] if options.target else []
    asked += [f"--config.schema={options.schema}"] if options.schema else []
    asked += [f"--dp.epsilon={options.epsilon}", f"--dp.delta={options.delta}", f"--dp.test_seed={seed}"]
    commands = (
        ["train", *asked, *options.flags.split(), f"--workdir={folder / 'run'}"],
        ["sample", f"--workdir={folder / 'run' / 'internal'}", f"--rows={rows}", f"--out={out}"],
    )
    for name, *words in commands:
        done = subprocess.run(
            [sys.executable, "-m", f"synthjax.launch.{name}", *words], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{name} {' '.join(words)}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return pd.read_csv(out), time.perf_counter() - start


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line for each model and seed, and the mean of each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="folder of the data sets")
    parser.add_argument("--table", default="adult", help="a data set that `launch.train` knows, or a file")
    parser.add_argument("--target", help="the column that is predicted; default: that of the data set")
    parser.add_argument("--schema", help="a schema file that says what is public")
    parser.add_argument("--models", default="table_marginals")
    parser.add_argument("--flags", default="", help="further flags of `launch.train`")
    parser.add_argument("--epsilon", type=float, default=1.0)
    parser.add_argument("--delta", type=float, default=1e-5)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args(arguments)
    dataset = data.load(options.table, options.data_dir, holdout=0, target=options.target, schema=options.schema)
    train, test = dataset.frame("train"), dataset.frame("test")
    target = next(column.name for column in dataset.spec.columns if column.target)
    print(f"{options.table}: {len(train)} training rows, {len(test)} test rows, {train.shape[1]} columns")
    between = distance(codes(test[list(train)], train), codes(train, train))
    print(f"real: auc {judge(train, train, test, target)[0]:.4f}, tvd of test rows {between:.4f}", flush=True)
    for model in options.models.split(","):
        found = []
        for seed in range(options.seeds):
            with tempfile.TemporaryDirectory() as folder:
                made, seconds = fit(model, options, seed, Path(folder), len(train))
            found.append((*judge(made, train, test, target), seconds))
            print(f"{model}, seed {seed}: auc {found[-1][0]:.4f}, tvd {found[-1][1]:.4f}, {seconds:.0f} s", flush=True)
        mean, spread = np.mean(found, axis=0), np.std(found, axis=0, ddof=min(1, len(found) - 1))
        print(
            f"{model}, epsilon {options.epsilon:g}, {len(found)} seeds: auc {mean[0]:.4f} ± {spread[0]:.4f}, "
            f"tvd {mean[1]:.4f} ± {spread[1]:.4f}, {mean[2]:.0f} s"
        )


if __name__ == "__main__":
    main()
