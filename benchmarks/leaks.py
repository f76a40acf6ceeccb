"""Does the privacy part catch a generator that copies, and does it leave an honest one alone? On real data.

    python -m benchmarks.leaks --dataset=digits --seeds=20
    python -m benchmarks.leaks --dataset=adult --data_dir=DIR --seeds=20
    python -m benchmarks.leaks --dataset=mnist --data_dir=DIR --rows=4000 --seeds=20

All rows of a data set are dealt anew for each seed into members, others, the attacker's reference, and rows that stand
for what an honest generator makes: real ones that are none of the members. A copying generator puts members in the
place of the first of them. One line a seed and kind, then what they amount to.
"""

import argparse
import json
import time

import numpy as np

from synthjax import data
from synthjax.evals import encoders, privacy
from synthjax.evals.privacy import Attacker, Keys
from synthjax.evals.table import from_frames

SETS = ("synthetic", "train", "unseen", "reference")


def deal(count: int, rows: int, seed: int) -> list[np.ndarray]:
    """Disjoint members (rows), others (3/4 rows), reference (3/4 rows) and honest synthetic rows (rows), of `count`."""
    order = np.random.default_rng([seed, 20]).permutation(count)
    ends = np.cumsum([rows, rows * 3 // 4, rows * 3 // 4, rows])
    if ends[-1] > count:
        raise SystemExit(f"--rows={rows}: needs {ends[-1]} rows, there are {count}")
    return np.split(order[: ends[-1]], ends[:-1])


def images(dataset, rows: int, share: float, seed: int) -> dict:
    """The privacy part on images."""
    x = np.concatenate([part.x for part in (dataset.train, dataset.holdout, dataset.test)])
    members, others, reference, synthetic = deal(len(x), rows, seed)
    synthetic = np.concatenate([members[: round(share * rows)], synthetic[round(share * rows) :]])
    four = [x[part] for part in (synthetic, members, others, reference)]
    return privacy.judge(
        dict(zip(SETS, four, strict=True)), Keys.of(*four[:3]), Attacker(seed=seed), record_limit=10_000
    )


def table(dataset, rows: int, share: float, seed: int) -> dict:
    """The privacy part on rows of a table, without attribute inference."""
    import pandas as pd

    schema = dataset.table.schema
    seen = np.concatenate([dataset.train.index, dataset.holdout.index])
    frame = pd.concat([dataset.table.frame(np.sort(seen)), dataset.table.frame(dataset.test.index, test=True)])
    kinds = {f.name: "categorical" if f.kind == "boolean" else f.kind for f in schema.fields}
    whole = from_frames({"all": frame}, kinds, schema.target)["all"]
    members, others, reference, synthetic = deal(len(whole), rows, seed)
    synthetic = np.concatenate([members[: round(share * rows)], synthetic[round(share * rows) :]])
    four = [whole.take(part) for part in (synthetic, members, others, reference)]
    encode = encoders.metric(four[1])
    exact = Keys.of(*(np.concatenate([part.numbers, part.codes], axis=1) for part in four[:3]))
    vectors, rows = dict(zip(SETS, map(encode, four), strict=True)), dict(zip(SETS, four, strict=True))
    return privacy.judge(vectors, exact, Attacker(seed=seed), record_limit=10_000, tables=rows)


def main() -> None:
    """Runs both kinds of generators on a data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data_dir")
    parser.add_argument("--rows", type=int, help="members; default: as many as there can be, at most 10,000")
    parser.add_argument("--share", type=float, default=0.05, help="of the members that are copied")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first seed: a long run can be cut into pieces")
    parser.add_argument("--copying_seeds", type=int, default=3)
    given = parser.parse_args()
    dataset = data.load(given.dataset, given.data_dir)
    measure = images if dataset.spec.kind == "image" else table
    count = sum(len(part.x) for part in (dataset.train, dataset.holdout, dataset.test))
    rows = given.rows or min(10_000, count * 2 // 7 // 4 * 4)
    flagged = []
    for seed in range(given.first, given.first + given.seeds):
        for share in (given.share, 0.0) if seed < given.first + given.copying_seeds else (0.0,):
            start = time.monotonic()
            found = measure(dataset, rows, share, seed)
            mia, copied = found["mia"], round(share * rows)
            worst = mia["worst_hit"]["records"][: 2 * copied]
            line = {"seed": seed, "copied": copied, "auc": mia["auc"], "auc_interval": mia["auc_interval"]}
            line |= {"surest": mia["surest"], "tpr_at_fpr_0p1pct": mia["tpr_at_fpr_0p1pct"], "best": mia["best"]}
            line |= {"named": sum(row < copied for row in worst) / copied} if copied else {}
            line |= {"holm": min(found["findings"]["holm"].values()), "flagged": found["findings"]["flagged"]}
            line |= {"exact": {k: found["duplicates"]["exact"][k] for k in ("members", "others", "p")}}
            print(json.dumps(line | {"seconds": round(time.monotonic() - start, 1)}), flush=True)
            flagged += [bool(line["flagged"])] if not copied else []
    sizes = f"{rows} members, {rows * 3 // 4} others, {rows * 3 // 4} reference, {rows} synthetic"
    print(f"{given.dataset}: {sizes}; honest generators flagged: {sum(flagged)} of {len(flagged)} seeds")


if __name__ == "__main__":
    main()
