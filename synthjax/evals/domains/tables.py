"""Tables: gradient boosting on all rows, six classifiers with balanced classes, and changes that keep every target.

`boosting`, the headline classifier, is gradient boosting of histograms with the classes as they are, on all rows: what
published figures (AUC, macro-F1) are made with. `judges` are six kinds (logistic regression, RBF support vector
machine, k nearest neighbours, random forest, gradient boosting, multi-layer perceptron) with balanced classes (see
`panel`). They see at most `LIMIT` rows, since the machine's time grows with their square. A numeric target is regressed
by the same six (ridge regression in the place of the logistic one), scored by R2 and RMSE in the target's unit. Rows
without a target are left out. Every seed has its own draws of rows, its own floor and its own start.

`perturb` adds normal noise to each numeric feature, of `NOISE` of its standard deviation.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from synthjax.errors import InputError
from synthjax.evals import bootstrap, encoders
from synthjax.evals.domains import CHOICES, Progress, Trained, tested
from synthjax.evals.domains.panel import ALL_ROWS, BOOSTING_COLUMNS, JUDGES, NEIGHBOURS, PERCEPTRON, train_judge
from synthjax.evals.estimate import student
from synthjax.evals.streams import stream
from synthjax.evals.subsample import sample, stratified
from synthjax.evals.table import Schema, Table, concat, independent_columns
from synthjax.evals.threads import fixed_protocol, single_thread

LIMIT = 5_000
"""Rows that the six classifiers train on, and are tested on, at most."""
BOOSTING_LIMIT = 200_000
SMALLEST = 5
"""Rows with a target that a table must have."""
LEARNABLE = 0.02
"""Least distance of ceiling and floor at which it can be said how much of it is kept."""
NOISE = 0.05
Scores = dict[tuple[str, str], list[dict[str, float | None]]]
"""(Classifier, name of the tested set) -> `measures` per seed."""


@dataclass(frozen=True)
class Tables:
    """The `Domain` of tables of one schema."""

    schema: Schema
    positive: int | None = None
    """Of two classes the code of the rarer, which `roc_auc` and `pr_auc` look for; of more they are the mean of each
    class against the rest."""
    limit: int = LIMIT
    """Rows that the six classifiers train on at most."""
    limit_tested: int | None = None
    """Rows that they are tested on at most; None: `limit`. Fewer than there are mean other rows for the figure than for
    its ceiling, and so more noise in the distance between the two."""
    unit: ClassVar[str] = "row"
    classifier: ClassVar[str] = "gradient boosting"
    ranked: ClassVar[tuple[str, ...]] = JUDGES
    ranked_on: ClassVar[int | None] = None
    changed: ClassVar[str] = "noise on the numeric features"

    @classmethod
    def of(cls, train: Table, **limits: Any) -> "Tables":
        """The domain of these training rows; InputError: the target has one class alone."""
        schema = train.schema
        if schema.target is None or schema.regression:
            return cls(schema, **limits)
        counts = np.bincount(train.with_target().target(), minlength=len(schema.classes))
        present = np.flatnonzero(counts)
        if len(present) == 1:
            raise InputError(f"train: target {schema.target!r} is {schema.classes[present[0]]!r} in every row")
        return cls(schema, int(present[np.argmin(counts[present])]) if len(present) == 2 else None, **limits)

    @property
    def classes(self) -> Sequence[str]:
        return self.schema.classes

    @property
    def unlearnable(self) -> str | None:
        return "there is no target" if self.schema.target is None else None

    @property
    def measure(self) -> str:
        """The headline measure."""
        return "r2" if self.schema.regression else "roc_auc"

    @property
    def guessing(self) -> float:
        """What a guess has of it."""
        return 0.0 if self.schema.regression else 0.5

    @property
    def measure_of_judges(self) -> str:
        """The measure that the six classifiers are summed up by."""
        return "r2" if self.schema.regression else "balanced_accuracy"

    @property
    def studied(self) -> dict[str, Any]:
        return {"measure": self.measure}

    @property
    def lost(self) -> dict[str, str]:
        return {"who": "Gradient boosting", "measure": "R²" if self.schema.regression else "ROC AUC"}

    # --- rows ------------------------------------------------------------------------------------------------------

    def size(self, rows: Table) -> int:
        return len(rows)

    def take(self, rows: Table, index: np.ndarray) -> Table:
        return rows.take(index)

    def concat(self, one: Table, other: Table) -> Table:
        return concat(one, other)

    def labels(self, rows: Table) -> np.ndarray:
        return rows.target()

    def labelled(self, name: str, rows: Table) -> Table:
        if (n := len(found := rows.with_target())) < SMALLEST:
            raise InputError(f"{name}: {n} rows have a {rows.schema.target!r}; at least {SMALLEST} are needed")
        return found

    def draw(self, rng: np.random.Generator, rows: Table, n: int) -> np.ndarray:
        if self.schema.regression:
            return sample(rng, len(rows), n)
        return stratified(rng, rows.target(), n)

    def floor(self, rng: np.random.Generator, train: Table, like: Table) -> Table:
        """Each column drawn from the training table independently of the others."""
        return independent_columns(rng, train, len(like))

    def perturb(self, rng: np.random.Generator, rows: Table) -> Table:
        """The target and missing values stay."""
        numbers = rows.numbers.copy()
        for place, name in enumerate(self.schema.numeric):
            column = numbers[:, place]
            if name != self.schema.target and not np.isnan(column).all():
                numbers[:, place] = column + NOISE * np.nanstd(column) * rng.standard_normal(len(column))
        return Table(rows.schema, numbers, rows.codes)

    def vectors(self, train: Table) -> Callable[[Table], np.ndarray]:
        """See `encoders.metric`."""
        return encoders.metric(train)

    def keys(self, rows: Table) -> list[bytes]:
        """From the values, since vectors merge rare categories."""
        # Adding 0 makes -0 a 0; every NaN here has the same bits, as it was written by `from_frames`.
        return [row.tobytes() for row in np.concatenate([rows.numbers + 0.0, rows.codes], axis=1)]

    # --- classifiers -----------------------------------------------------------------------------------------------

    def train(self, synthetic: Table, train: Table, test: Table, seeds: int, seed: int, progress: Progress) -> Trained:
        """`boosting` and, by name, `judges`, each with `tstr`, `trtr`, `floor`, `trts`; `mean`, that of the six.

        Each of those has `estimate.student` of each measure, or None where the measure does not exist (areas where all
        rows are of one class). `positive` is the name of the class looked for.
        """
        scores: Scores = {}
        answers: dict[str, list[np.ndarray]] = {}
        with _threads() as pool:
            for number in range(seeds):
                rng = stream(seed, "utility.tables", number)
                sets = {
                    "tstr": synthetic,
                    "trtr": self._fewer(rng, train, len(synthetic)),
                    "floor": self.floor(rng, train, synthetic),
                }
                for place, (key, table) in enumerate(sets.items(), start=number * len(sets) + 1):
                    found, answer = self._panel(rng, pool, table, tested(key, test, synthetic))
                    answers.setdefault(key, []).append(answer)
                    for classifier, name, values in found:
                        scores.setdefault((classifier, name), []).append(values)
                    progress(place / (seeds * len(sets)))
        parts: dict[str, Any] = {}
        for (classifier, name), of_seeds in scores.items():
            parts.setdefault(classifier, {})[name] = summary(of_seeds)
        sizes = {"synthetic": len(synthetic), "ceiling": min(len(train), len(synthetic)), "test": len(test)}
        boosting, mean = parts.pop(ALL_ROWS), _over_judges(scores)
        return Trained(
            {
                "boosting": {**boosting, "kept": kept(*_means(boosting, self.measure))},
                "judges": parts,
                "mean": {**mean, "kept": kept(*_means(mean, self.measure_of_judges))},
                "task": "regression" if self.schema.regression else "classification",
                "positive": None if self.positive is None else self.schema.classes[self.positive],
            },
            answers,
            sizes,
        )

    def _panel(
        self, rng: np.random.Generator, pool: ThreadPoolExecutor, table: Table, tests: Mapping[str, Table]
    ) -> tuple[list[tuple[str, str, dict[str, float | None]]], np.ndarray]:
        """Of every classifier trained on one table: its name, that of the tested set, the measures.

        And the answers of `ALL_ROWS` for the first of the tested sets.
        """
        most = self.limit if self.limit_tested is None else self.limit_tested
        every = self._fewer(rng, table, BOOSTING_LIMIT), tests
        fewer = self._fewer(rng, table, self.limit), {name: self._fewer(rng, t, most) for name, t in tests.items()}
        seeds = rng.integers(2**31, size=1 + len(JUDGES))

        def work(judge: str, seed: np.integer) -> tuple[list[tuple[str, str, dict[str, float | None]]], np.ndarray]:
            fit_on, rows = every if judge == ALL_ROWS else fewer
            # OpenMP's limit is the thread's own, BLAS's that of the process.
            with single_thread("openmp"):
                answer = train_judge(judge, fit_on, int(seed))
                answers = {name: answer(part) for name, part in rows.items()}
            found = [(judge, name, measures(part, answers[name], self.positive)) for name, part in rows.items()]
            return found, next(iter(answers.values()))

        done = list(pool.map(work, (ALL_ROWS, *JUDGES), seeds))
        return [one for found, _ in done for one in found], done[0][1]

    def _fewer(self, rng: np.random.Generator, table: Table, n: int) -> Table:
        return table if n >= len(table) else table.take(self.draw(rng, table, n))

    def study(self, largest: int, filled: int = 0) -> dict[str, Any]:
        """Nothing: boosting has no length of its own."""
        return {}

    def answers(self, fit: Table, test: Table, *, seeds: int, seed: int, **how: Any) -> list[np.ndarray]:
        with fixed_protocol():
            return [train_judge(ALL_ROWS, fit, seed + 1000 * number)(test) for number in range(seeds)]

    def score(self, test: Table, answer: np.ndarray) -> float:
        """That of guessing where the rows are all alike."""
        value = measures(test, answer, self.positive)[self.measure]
        return self.guessing if value is None else value

    def rank(self, name: str, fit: Table, tests: Sequence[Table], seed: int) -> list[float]:
        with fixed_protocol():
            answer = train_judge(name, fit, seed)
            return [self.score(rows, answer(rows)) for rows in tests]

    def chances(self, answer: np.ndarray) -> np.ndarray:
        chance = np.maximum(answer, 0)  # a class that was never seen has less than nothing
        return chance / chance.sum(1, keepdims=True)

    def weighted_score(self, test: Table, answer: np.ndarray) -> bootstrap.Score | None:
        y = test.target()
        present = np.unique(y)
        if len(present) < 2:
            return None
        if self.schema.regression:
            return bootstrap.explained(y, answer)
        wanted = present if self.positive is None else [self.positive]
        return bootstrap.mean([bootstrap.area(y == label, answer[:, label]) for label in wanted])

    def networks(self) -> list[tuple[str, dict[str, Any]]]:
        return []

    # --- what the figures say --------------------------------------------------------------------------------------

    def described(self, seeds: int, seed: int) -> dict[str, Any]:
        most = self.limit if self.limit_tested is None else self.limit_tested
        return {
            "seeds": seeds,
            "seed": seed,
            "limit": self.limit,
            "judges": f"logistic or ridge regression; RBF support vector machine; {NEIGHBOURS} nearest neighbours; "
            "random forest of 100; gradient boosting of 100 trees; perceptron with "
            f"{PERCEPTRON['hidden_layer_sizes'][0]} hidden units, {PERCEPTRON['max_iter']} epochs; classes balanced; "
            f"trained on at most {self.limit} rows, tested on at most {most}",
            "boosting": f"gradient boosting of 100 trees, {BOOSTING_COLUMNS} of the columns at each split, all rows "
            f"(at most {BOOSTING_LIMIT}), classes as they are",
            "ceiling": "as many real training rows as synthetic ones, all of them where there are fewer",
            "floor": "as many rows, each column drawn from the training table alone",
            "choices": CHOICES,
            "interval": "95 %, Student's t over the seeds",
        }

    def headline(self, utility: Mapping[str, Any]) -> dict[str, Any]:
        return _of(utility["boosting"], self.measure)

    def others(self, utility: Mapping[str, Any]) -> Sequence[tuple[str, Mapping[str, Any]]]:
        parts = {
            "other classifiers, the mean of six judges": utility["mean"],
            "another classifier, a random forest": utility["judges"]["forest"],
        }
        return [(name, _of(part, self.measure_of_judges)) for name, part in parts.items()]

    def judgement(self, ours: float | None, real: float | None, floor: float | None) -> dict[str, Any]:
        return {"kept": kept(ours, real, floor)}


def _of(part: Mapping[str, Any], measure: str) -> dict[str, Any]:
    return {name: part[name][measure] for name in ("tstr", "trtr", "floor")}


def _means(part: Mapping[str, Any], measure: str) -> list[float | None]:
    return [leaf and leaf["mean"] for leaf in _of(part, measure).values()]


def kept(ours: float | None, real: float | None, floor: float | None) -> float | None:
    """How much of what real rows teach the synthetic ones teach: 0 the floor, 1 as good as real rows.

    None where a score does not exist or real rows teach nothing: they are not above the floor by `LEARNABLE`.
    """
    if ours is None or real is None or floor is None or real - floor < LEARNABLE:
        return None
    return (ours - floor) / (real - floor)


@contextlib.contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """A thread per core, each of which scikit-learn uses alone: fits this small do not keep two cores busy."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with fixed_protocol():
        pool = ThreadPoolExecutor(cores)
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)  # leaving early must not wait for the rest


def measures(rows: Table, answers: np.ndarray, positive: int | None) -> dict[str, float | None]:
    """All measures of a classifier's answers for `rows`: as `train_judge` gives them; `positive`: see `Tables`."""
    from sklearn import metrics

    y = rows.target()
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
    """`summary` of the means over the six classifiers, seed by seed."""
    found = {}
    for key in ("tstr", "trtr", "floor", "trts"):
        means: list[dict[str, float | None]] = []
        for row in zip(*(scores[judge, key] for judge in JUDGES), strict=True):
            columns = {name: [of[name] for of in row] for name in row[0]}
            means.append({name: None if None in column else np.mean(column) for name, column in columns.items()})
        found[key] = summary(means)
    return found


def useful(made: Table, real: Table, seed: int) -> float:
    """One figure in seconds: what boosting that was trained on `made` scores on `real`, for those who compare many.

    It works in this thread alone. All rows have a target.
    """
    with single_thread("openmp"):
        return Tables(real.schema).score(real, train_judge(ALL_ROWS, made, seed)(real))
