"""Exact nearest neighbours of images beside scikit-learn's brute force, turns interleaved.

    PJRT_NPROC=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m benchmarks.neighbours --data_dir=DIR
    python -m benchmarks.neighbours --queries=60000 --rounds=1                 the whole 60,000 x 60,000 x 784

Each turn looks for the nearest of 60,000 MNIST training images of as many others as `--queries` says (the first test
images, then training images shifted by a pixel); both take time in proportion to that. scikit-learn gets the pixels as
float32 and as float64, ours as the bytes they are. Without --data_dir: random bytes. Wall-clock and CPU seconds; on a
machine that others use, the latter. Answers are compared: ours are equal to those of float64.
"""

import argparse
import time

import numpy as np

from synthjax.evals.neighbours import nearest

TARGETS, PIXELS = 60_000, 784


def examples(data_dir: str | None, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries (Q, PIXELS) and targets (TARGETS, PIXELS), bytes."""
    if data_dir is None:
        noise = np.random.default_rng(0).integers(0, 256, (queries + TARGETS, PIXELS), dtype=np.uint8)
        return noise[:queries], noise[queries:]
    from synthjax import data

    found = data.load("mnist", data_dir)
    targets = np.concatenate([found.train.x, found.holdout.x]).reshape(-1, PIXELS)
    others = np.concatenate([found.test.x.reshape(-1, PIXELS), np.roll(targets, 1, axis=1)])
    return others[:queries], targets


def main() -> None:
    """Takes turns and prints the medians."""
    from sklearn.neighbors import NearestNeighbors

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir")
    parser.add_argument("--queries", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    queries, targets = examples(given.data_dir, given.queries)

    def brute(kind: type) -> np.ndarray:
        search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(targets.astype(kind))
        return search.kneighbors(queries.astype(kind))[0][:, 0]

    turns = {
        "ours": lambda: nearest(queries, targets)[0][:, 0],
        "scikit-learn, float32": lambda: brute(np.float32),
        "scikit-learn, float64": lambda: brute(np.float64),
    }
    nearest(queries[:8], targets)  # compiles
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in turns}
    for _ in range(given.rounds):
        answers = {}
        for name, turn in turns.items():
            wall, cpu = time.monotonic(), time.process_time()
            answers[name] = turn()
            seconds[name].append((time.monotonic() - wall, time.process_time() - cpu))
        np.testing.assert_allclose(answers["ours"], answers["scikit-learn, float64"], rtol=1e-6, atol=1e-6)
    print(
        f"{len(queries):,} x {len(targets):,} x {targets.shape[1]}, {given.rounds} rounds: median (min to max) seconds"
    )
    for name, taken in seconds.items():
        each = [np.array(column) for column in zip(*taken, strict=True)]
        shown = ", ".join(
            f"{np.median(a):.2f} ({a.min():.2f} to {a.max():.2f}) {u}"
            for a, u in zip(each, ("wall", "CPU"), strict=True)
        )
        print(f"{name}: {shown}")


if __name__ == "__main__":
    main()
