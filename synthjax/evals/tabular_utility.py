"""Utility of a synthetic table: how well is the target predicted by what has seen nothing but synthetic rows?

    tstr    train on synthetic, test on real: the figure
    trtr    train on real, test on real: its ceiling, with as many real rows as there are synthetic ones
    floor   train on columns that were drawn alone, test on real: what a generator must beat
    trts    train on real, test on synthetic: do the synthetic rows carry the target that they claim?

Two parts. `judges` are the study's set (logistic regression, RBF support vector machine, k nearest neighbours, random
forest, gradient boosting, multi-layer perceptron), each with balanced classes: by class weights, and where a judge
knows none (neighbours, perceptron) by drawing its rows so that all classes are equally frequent. They see at most
`LIMIT` rows, since the machine's time grows with their square. `boosting` is gradient boosting of histograms with the
classes as they are, on all rows: what published figures (AUC, macro-F1) are made with.

A numeric target is regressed by the same six (ridge regression in the place of the logistic one), scored by R2 and
RMSE in the target's unit. Rows without a target are left out. Features are encoded by `synthjax.evals.encoders`, fitted
on the rows that a judge trains on; an answer is the class of the largest score. Every seed has its own draws of rows,
its own floor and its own start. Nothing is chosen on the data that judges: judges and their settings, the perceptron's
epochs among them, are fixed beforehand. Where the best of several is chosen (`synthjax.evals.agreement`), synthetic
validation data chooses.

    found = tabular_utility.evaluate(tables["synthetic"], tables["train"], tables["test"])
    print(found["boosting"]["tstr"]["roc_auc"]["mean"], found["boosting"]["trtr"]["roc_auc"]["mean"])
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from synthjax.errors import InputError
from synthjax.evals import frames, paired
from synthjax.evals.estimate import student
from synthjax.evals.frames import Table
from synthjax.evals.judges import ALL_ROWS, BOOSTING_COLUMNS, JUDGES, NEIGHBOURS, PERCEPTRON, train_judge
from synthjax.evals.subsample import stratified
from synthjax.evals.threads import fixed_protocol, single_thread
from synthjax.evals.utility import CHOICES

CLASSIFICATION = ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "pr_auc")
REGRESSION = ("r2", "rmse")
LIMIT = 5_000
"""Rows that the six judges train on, and are tested on, at most."""
BOOSTING_LIMIT = 200_000
SEEDS = 5
SMALLEST = 10
"""Rows with a target that a table must have."""
Scores = dict[tuple[str, str], list[dict[str, float | None]]]
"""(Judge, name of the tested set) -> `score` per seed."""


def evaluate(
    synthetic: Table,
    train: Table,
    test: Table,
    *,
    seeds: int = SEEDS,
    limit: int = LIMIT,
    tested: int | None = None,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Scores a synthetic table, with ceiling and floor.

    Args:
        synthetic: the table that is judged.
        train: real rows that the generator may have seen; the ceiling and the floor come from them.
        test: real rows that nothing has seen.
        seeds: judges of each kind per training set.
        limit: rows that the six judges train on at most, and
        tested: those they are tested on; default: as many. Fewer than there are mean other rows for the figure than for
            its ceiling, and so more noise in the distance between the two.
        seed: of everything random here.
        progress: called with the share of the work that is done, in (0, 1].

    Returns:
        Plain values: `boosting` and, by name, `judges`, each with `tstr`, `trtr`, `floor`, `trts`, each with a leaf
        per measure (`CLASSIFICATION` or `REGRESSION`); `mean`, the same over the six judges; a leaf has `mean`, `std`
        (ddof 1), `values` per seed and `ci`, 95 % by Student's t over the seeds (None for one seed). A leaf is None
        where the measure does not exist (areas where all rows are of one class). `task`, "classification" or
        "regression"; `positive`, of two classes the rarer, which `roc_auc` and `pr_auc` look for; of more classes
        they are the mean of each against the rest, and `positive` is None; `loss`, what the boosting loses against
        real rows (`synthjax.evals.paired`), with `who` and `measure` in words; `calibration`, under `tstr` and `trtr`
        the boosting's expected calibration error, None in regression; `n`, rows with a target, and `missing_classes`,
        names of those that no synthetic row has; `protocol` in words. A
        table without target has but `reason`, and None for the rest.

    Raises:
        InputError: a table has fewer than 10 rows with a target, or the real ones a single class.
    """
    if train.schema.target is None:
        return {
            **dict.fromkeys(("boosting", "loss", "calibration", "judges", "mean", "task", "positive", "n")),
            "reason": "there is no target",
        }
    synthetic, train, test = (_answered(*one) for one in (("synthetic", synthetic), ("train", train), ("test", test)))
    positive = None if train.schema.regression else _positive(train)
    progress = progress or (lambda share: None)
    limits = limit, limit if tested is None else tested
    scores, answers = _all_scores(synthetic, train, test, positive, seeds, limits, seed, progress)
    leaves = _leaves(scores)
    return {
        "boosting": leaves.pop(ALL_ROWS),
        "loss": _loss(test, answers, positive, seed),
        "calibration": _calibration(test, answers),
        "judges": leaves,
        "mean": _over_judges(scores),
        "task": "regression" if train.schema.regression else "classification",
        "positive": None if positive is None else train.schema.classes[positive],
        "n": {
            **{"synthetic": len(synthetic), "ceiling": min(len(train), len(synthetic)), "test": len(test)},
            "missing_classes": _missing(synthetic, train),
        },
        "protocol": _protocol(seeds, limits, seed),
    }


def _leaves(scores: Scores) -> dict[str, dict[str, Any]]:
    leaves: dict[str, dict[str, Any]] = {}
    for (judge, name), of_seeds in scores.items():
        leaves.setdefault(judge, {})[name] = summary(of_seeds)
    return leaves


def _all_scores(
    synthetic, train, test, positive, seeds, limits, seed, progress
) -> tuple[Scores, dict[str, list[np.ndarray]]]:
    """Trains every judge on every set, seed by seed; and what the boosting answered for the test rows, per seed."""
    scores: Scores = {}
    answers: dict[str, list[np.ndarray]] = {}
    with _threads() as pool:
        for number in range(seeds):
            rng = np.random.default_rng([seed, 3, number])
            sets = {
                "tstr": synthetic,
                "trtr": _fewer(rng, train, len(synthetic)),
                "floor": frames.alone(rng, train, len(synthetic)),
            }
            for place, (key, table) in enumerate(sets.items(), start=number * len(sets) + 1):
                tests = {key: test, "trts": synthetic} if key == "trtr" else {key: test}
                judged, answered = _judged(rng, pool, table, tests, positive, limits)
                answers.setdefault(key, []).append(answered)
                for judge, found in judged.items():
                    for name, values in found.items():
                        scores.setdefault((judge, name), []).append(values)
                progress(place / (seeds * len(sets)))
    return scores, answers


@contextlib.contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """A thread per core, in each of which scikit-learn works alone: judges this small do not keep two cores busy."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with fixed_protocol():
        pool = ThreadPoolExecutor(cores)
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)  # leaving early must not wait for the rest


def _judged(
    rng: np.random.Generator,
    pool: ThreadPoolExecutor,
    table: Table,
    tests: dict[str, Table],
    positive: int | None,
    limits: tuple[int, int],
) -> tuple[dict[str, dict[str, Any]], np.ndarray]:
    """Scores of all that is trained on one table, and what `ALL_ROWS` answers for the first of the tested ones.

    The scores: judge, or `ALL_ROWS`, -> name of the tested table -> `score`.
    """
    all_rows = _fewer(rng, table, BOOSTING_LIMIT), tests
    fewer = _fewer(rng, table, limits[0]), {name: _fewer(rng, rows, limits[1]) for name, rows in tests.items()}
    seeds = rng.integers(2**31, size=1 + len(JUDGES))

    def work(judge: str, seed: np.integer) -> tuple[dict[str, Any], np.ndarray]:
        fit_on, tested = all_rows if judge == ALL_ROWS else fewer
        # OpenMP's limit is the thread's own, BLAS's that of the process.
        with single_thread("openmp"):
            answer = train_judge(judge, fit_on, int(seed))
            answers = {name: answer(rows) for name, rows in tested.items()}
        found = {name: score(rows, answers[name], positive) for name, rows in tested.items()}
        return found, next(iter(answers.values()))

    judges = (ALL_ROWS, *JUDGES)
    done = dict(zip(judges, pool.map(work, judges, seeds), strict=True))
    return {judge: found for judge, (found, _) in done.items()}, done[ALL_ROWS][1]


def _loss(test: Table, answers: dict[str, list[np.ndarray]], positive: int | None, seed: int) -> dict[str, Any] | None:
    """What the boosting on all rows loses (`synthjax.evals.paired`): of ROC AUC, or of R²; None where there is none."""
    y = test.answers()
    present = np.unique(y)
    if len(present) < 2:
        return None
    wanted = present if positive is None else [positive]

    def scored(answer: np.ndarray) -> paired.Score:
        if test.schema.regression:
            return paired.explained(y, answer)
        return paired.mean([paired.area(y == label, answer[:, label]) for label in wanted])

    ours, real = ([scored(answer) for answer in answers[name]] for name in ("tstr", "trtr"))
    lost = paired.loss(ours, real, len(test), seed=seed)
    return {**lost, "who": "Gradient boosting", "measure": "R²" if test.schema.regression else "ROC AUC"}


def _calibration(test: Table, answers: dict[str, list[np.ndarray]]) -> dict[str, float] | None:
    """The boosting's expected calibration error, mean over the seeds; None in regression."""
    if test.schema.regression:
        return None

    def error(answer: np.ndarray) -> float:
        chance = np.maximum(answer, 0)  # a class that was never seen has less than nothing
        return paired.calibration_error(chance / chance.sum(1, keepdims=True), test.answers())

    return {name: float(np.mean([error(answer) for answer in answers[name]])) for name in ("tstr", "trtr")}


def score(rows: Table, answers: np.ndarray, positive: int | None) -> dict[str, float | None]:
    """The measures of one judge's answers for `rows`: as `train_judge` gives them; `positive`: see `evaluate`."""
    from sklearn import metrics

    y = rows.answers()
    if rows.schema.regression:
        varies = len(y) > 1 and np.ptp(y) > 0
        return {
            "r2": float(metrics.r2_score(y, answers)) if varies else None,
            "rmse": float(metrics.root_mean_squared_error(y, answers)),
        }
    present, predicted = np.unique(y), answers.argmax(1)
    # Of two classes one is looked for; of more each, and a class that no row has cannot be.
    wanted = present if positive is None else [positive]
    areas = [(y == label, answers[:, label]) for label in wanted if 0 < (y == label).sum() < len(y)]
    return {
        "accuracy": float((predicted == y).mean()),
        "balanced_accuracy": float(metrics.recall_score(y, predicted, labels=present, average="macro")),
        "macro_f1": float(metrics.f1_score(y, predicted, average="macro", zero_division=0)),
        "roc_auc": float(np.mean([metrics.roc_auc_score(*area) for area in areas])) if areas else None,
        "pr_auc": float(np.mean([metrics.average_precision_score(*area) for area in areas])) if areas else None,
    }


def summary(values: list[dict[str, float | None]]) -> dict[str, Any]:
    """`estimate.student` of each measure, from a dict of measures per seed; None where a seed has none."""
    columns = {name: [of[name] for of in values] for name in values[0]}
    return {name: None if None in column else student(column) for name, column in columns.items()}  # type: ignore[arg-type]


def _over_judges(scores: Scores) -> dict[str, Any]:
    """Leaves of the means over the six judges, seed by seed."""
    found = {}
    for key in ("tstr", "trtr", "floor", "trts"):
        each = [scores[judge, key] for judge in JUDGES]
        means: list[dict[str, float | None]] = []
        for row in zip(*each, strict=True):
            columns = {name: [of[name] for of in row] for name in row[0]}
            means.append({name: None if None in column else np.mean(column) for name, column in columns.items()})
        found[key] = summary(means)
    return found


def _answered(name: str, table: Table) -> Table:
    """The rows that have a target, if there are enough."""
    if (n := len(found := table.answered())) < SMALLEST:
        raise InputError(f"{name}: {n} rows have a {table.schema.target!r}; at least {SMALLEST} are needed")
    return found


def _missing(synthetic: Table, train: Table) -> list[str]:
    """Names of the classes that training rows have and no synthetic row."""
    if train.schema.regression:
        return []
    return [train.schema.classes[code] for code in np.setdiff1d(train.answers(), synthetic.answers()).tolist()]


def _positive(train: Table) -> int | None:
    """Code of the rarer of two classes; None where there are more."""
    counts = np.bincount(train.answers(), minlength=len(train.schema.classes))
    present = np.flatnonzero(counts)
    if len(present) < 2:
        raise InputError(f"train: target {train.schema.target!r} is {train.schema.classes[present[0]]!r} in every row")
    return int(present[np.argmin(counts[present])]) if len(present) == 2 else None


def _fewer(rng: np.random.Generator, table: Table, n: int) -> Table:
    """At most `n` rows; the classes of a categorical target keep their shares."""
    if n >= len(table) or table.schema.regression:
        return frames.sample(rng, table, n)
    return table.take(stratified(rng, table.answers(), n))


def _protocol(seeds: int, limits: tuple[int, int], seed: int) -> dict[str, Any]:
    """What was done, for those who read the figures."""
    return {
        "seeds": seeds,
        "seed": seed,
        "limit": limits[0],
        "judges": f"logistic or ridge regression; RBF support vector machine; {NEIGHBOURS} nearest neighbours; random "
        f"forest of 100; gradient boosting of 100 trees; perceptron with {PERCEPTRON['hidden_layer_sizes'][0]} hidden "
        f"units, {PERCEPTRON['max_iter']} epochs; classes balanced; trained on at most {limits[0]} rows, "
        f"tested on at most {limits[1]}",
        "boosting": f"gradient boosting of 100 trees, {BOOSTING_COLUMNS} of the columns at each split, all rows (at "
        f"most {BOOSTING_LIMIT}), classes as they are",
        "ceiling": "as many real training rows as synthetic ones, all of them where there are fewer",
        "floor": "as many rows, each column drawn from the training table alone",
        "choices": CHOICES,
        "interval": "95 %, Student's t over the seeds",
    }
