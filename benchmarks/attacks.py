"""How strong are the membership attacks of the report? On many target models whose members are known.

    python -m benchmarks.attacks --dataset=DIR/bank_marketing/bank-full.csv.gz --target=y --rows=1000 --seeds=5
    python -m benchmarks.attacks --dataset=adult --data_dir=DIR --rows=4000 --generators=mixture,smote --seeds=5

For each seed the rows of a table are dealt anew into members, as many others, and as many of the attacker's own, the
reference. Each generator is trained on the members and draws as many synthetic rows; every attack of
`synthjax.evals.privacy.attacks` is asked about members and others. One line of JSON a target, and at the end, by
generator, each attack's AUC, the share of members found at 10 % and at 1 % false alarms, and its AUC among isolated
records (`privacy.summary.isolated`): mean and 95 % interval over the targets (Student's t). Regret is the AUC of the
attack that is best on a generator, by the mean over its targets, less that of the ensemble, which is not told which one
that is; it errs upwards, since the best is chosen afterwards.

--file keeps the lines, so that a long run can be stopped and goes on; lines of other data sets or sizes do not count.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from benchmarks.train_step import Ours
from synthjax import data
from synthjax.data.feed import Feed
from synthjax.evals import encoders
from synthjax.evals.estimate import student
from synthjax.evals.privacy import roc
from synthjax.evals.privacy.attacks import ATTACKS, Tables, from_file
from synthjax.evals.privacy.summary import isolated
from synthjax.evals.table import concat, from_frames
from synthjax.launch.config import experiment, family
from synthjax.launch.sample import block_size
from synthjax.sampling import draw

GENERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "mixture": ("mixture", {}),
    "smote": ("smote", {}),
    "table_ar": ("table_ar", {}),
    "table_ar_long": ("table_ar", {"steps": 3_000}),
    "table_ddpm": ("table_ddpm", {"steps": 3_000, "batch_size": 256}),
}
"""Name -> model, and how its Config departs from the preset."""
RATES = {"tpr10": 0.1, "tpr1": 0.01}
"""False alarms at which members found are counted."""
FIGURES = ("auc", *RATES, "isolated")


def whole(dataset: data.Dataset) -> tuple[pd.DataFrame, dict[str, str]]:
    """All rows of a table, as typed columns, and the kinds of those."""
    assert dataset.table is not None
    parts = [dataset.frame(split) for split in ("train", "holdout", "test") if len(getattr(dataset, split).index)]
    return pd.concat(parts, ignore_index=True), {field.name: field.kind for field in dataset.table.schema.fields}


def made(members: pd.DataFrame, target: str | None, generator: str, seed: int) -> pd.DataFrame:
    """As many synthetic rows of a generator that is trained on these."""
    name, fields = GENERATORS[generator]
    config = experiment(None, name, None).model
    config = replace(config, **fields)
    config = replace(config, batch_size=min(config.batch_size, len(members)))
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "members.csv")
        members.to_csv(file, index=False)
        encoding = getattr(config, "encoding", "quantile")
        dataset = data.load(file, holdout=0, target=target, encoding=encoding, test=file)
        feed = Feed.of(
            family(name).build(config, dataset.spec), dataset.train.x, dataset.train.y, config.batch_size, seed
        )
        ours = Ours(name, config, dataset.spec, feed, seed)
        ours.run(0, config.steps)
        labels = np.resize(dataset.train.y, len(members))
        blocks = draw(ours.model, ours.state, jax.random.key(seed), labels, block=block_size(dataset.spec))
        assert dataset.encoder is not None
        return dataset.encoder.decode(np.concatenate(list(blocks)), seed=seed)


def attacked(parts: dict[str, pd.DataFrame], kinds: dict[str, str], target: str | None, seed: int) -> dict[str, Any]:
    """Each attack's figures; `parts`: members, others, reference, synthetic."""
    tables = from_frames(parts, kinds, target)
    encode = encoders.metric(tables["members"])
    rows = Tables(concat(tables["members"], tables["others"]), tables["synthetic"], tables["reference"])
    guesses, control = from_file(*map(encode, rows), seed=seed, tables=rows)
    is_member = np.arange(len(rows.real)) < len(tables["members"])
    assert control is not None
    found = {}
    for name, guess in guesses.items():
        fpr, tpr = roc.roc(guess, is_member)
        at = {key: float(tpr[fpr <= most].max()) for key, most in RATES.items()}
        alone = isolated(name, guess, -control, is_member)
        found[name] = {"auc": float(np.trapezoid(tpr, fpr)), **at, "isolated": alone["auc"] if alone else np.nan}
    return found


def summary(lines: Sequence[dict[str, Any]]) -> list[str]:
    """What the targets amount to: a table for each generator, and the ensemble's regret."""
    said, regrets = [], []
    for generator in dict.fromkeys(line["generator"] for line in lines):
        targets = [line["attacks"] for line in lines if line["generator"] == generator]
        mean = {}
        heads = ("AUC", "found at 10 %", "found at 1 %", "AUC, isolated records")
        said += [f"{generator}, {len(targets)} targets", " " * 18 + "".join(f"{head:>24}" for head in heads)]
        for row in ATTACKS:
            cells = [[target[row.name][key] for target in targets] for key in FIGURES]
            mean[row.name] = float(np.mean(cells[0]))
            said.append(f"  {row.name:<16}" + "".join(f"{_interval(cell):>24}" for cell in cells))
        best = max((name for name in mean if name != "ensemble"), key=lambda name: mean[name])
        regrets.append(mean[best] - mean["ensemble"])
        said.append(f"  best alone: {best}; regret of the ensemble {regrets[-1]:+.3f}")
    return [*said, f"median regret of the ensemble over {len(regrets)} generators: {np.median(regrets):+.3f}"]


def _interval(values: Sequence[float]) -> str:
    found = student(values)
    low, high = found["ci"] or (np.nan, np.nan)
    return f"{found['mean']:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Attacks the targets that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="adult", help="a table, by its name or its path")
    parser.add_argument("--data_dir")
    parser.add_argument("--target", help="the column to predict; default: that of a data set with a name")
    parser.add_argument("--rows", type=int, default=1_000, help="members, and others, and rows of the reference")
    parser.add_argument("--generators", default=",".join(GENERATORS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--file", type=Path, help="keeps a line a target")
    given = parser.parse_args()
    dataset = data.load(given.dataset, given.data_dir, target=given.target)
    frame, kinds = whole(dataset)
    target = dataset.table.schema.target
    if 3 * given.rows > len(frame):
        raise SystemExit(f"--rows={given.rows}: needs {3 * given.rows} rows, there are {len(frame)}")
    kept = given.file.read_text().splitlines() if given.file and given.file.exists() else []
    done = {(*(line[key] for key in ("dataset", "rows", "generator", "seed")),): line for line in map(json.loads, kept)}
    lines = []
    for seed in range(given.first, given.first + given.seeds):
        order = np.random.default_rng([seed, 21]).permutation(len(frame))[: 3 * given.rows]
        dealt = (frame.iloc[rows].reset_index(drop=True) for rows in np.split(order, 3))
        parts = dict(zip(("members", "others", "reference"), dealt, strict=True))
        for generator in given.generators.split(","):
            if (line := done.get((given.dataset, given.rows, generator, seed))) is None:
                begun = time.monotonic()
                synthetic = made(parts["members"], target, generator, seed)
                trained = time.monotonic()
                found = attacked({**parts, "synthetic": synthetic}, kinds, target, seed)
                line = {"dataset": given.dataset, "rows": given.rows, "generator": generator, "seed": seed}
                seconds = {"training": round(trained - begun, 1), "attacks": round(time.monotonic() - trained, 1)}
                line |= {"attacks": found, "seconds": seconds}
                if given.file:
                    with given.file.open("a") as file:
                        file.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
            lines.append(line)
    print("\n".join(summary(lines)))


if __name__ == "__main__":
    main()
