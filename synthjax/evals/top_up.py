"""Are rare classes helped by synthetic examples? Real data alone against real data whose rare classes are filled up.

Of each class of the real training set that has fewer examples than the largest one, synthetic examples are added until
it has as many, or as many as there are. Beside it stands what costs nothing, as many real examples of these classes
repeated: equal classes alone raise the recall of the rare ones, whatever fills them up. Classifiers learn from each
set and answer for the same real test data:

    balanced accuracy   the mean over the classes of the share of each that is recognised
    recall              that share of the rarest class

What is gained stands with its interval by the bootstrap over test examples and seeds (`synthjax.evals.bootstrap`). Sets
whose smallest class has `BALANCED` of the largest one's examples have nothing to fill up. Images and tables share this:
it is a function of `answers(real rows, synthetic rows) -> classes`. Nothing is chosen on the data that judges.

    found = top_up.evaluate(answers, Labels(train.y, synthetic.y, test.y, spec.classes), limit=6_000)
    print(top_up.sentence(found, "a CNN", "example"))
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from synthjax.evals import bootstrap
from synthjax.evals.estimate import student
from synthjax.evals.figure import Count, Estimate, Interval, figure, part
from synthjax.evals.streams import stream

BALANCED = 2 / 3
"""Examples of the smallest class by those of the largest from which on a set counts as balanced."""
TRAININGS = 3
"""What `evaluate` trains on: real examples alone, filled up with synthetic ones, filled up with repeated real ones."""
SHOWN = 3
"""Classes that a sentence names at most."""

Answers = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(Rows of the real training set, rows of the synthetic set), the latter maybe none, to the classes (seeds, M) that
classifiers trained on both give to the M real test examples."""


@dataclass(frozen=True, kw_only=True)
class Gained:
    """A score of real data alone, with rare classes filled up by synthetic, and by repeated real examples."""

    real: Estimate
    filled: Estimate
    repeated: Estimate
    points: float = figure(
        "points gained by filling up rare classes",
        "Score with rare classes filled up by synthetic examples less that of real data alone, times 100.",
        "high",
        bounds=(None, None),
        floor=0.0,
        interval="ci",
    )
    ci: Interval


@dataclass(frozen=True, kw_only=True)
class TopUp:
    """Are rare classes helped by synthetic examples?"""

    reason: str | None
    """Why nothing was measured, with None for the rest; None: it was."""
    rarest: str | None
    """Name of a class."""
    n_real: Count | None
    n_synthetic: Count | None
    filled: dict[str, dict[Literal["real", "added", "lacking"], Count]] | None
    """Examples of each rare class."""
    n_test: Count | None
    """Of the rarest class."""
    balanced_accuracy: Gained | None = part("balanced accuracy")
    recall: Gained | None = part("recall of the rarest")
    said: str
    """In words."""


class Labels(NamedTuple):
    """Classes of all examples, as integers in 0 ... len(names) - 1."""

    real: np.ndarray
    """(N,) of the real training set."""
    made: np.ndarray
    """(S,) of the synthetic set."""
    test: np.ndarray
    """(M,) of the real test set."""
    names: Sequence[str]


def evaluate(answers: Answers, labels: Labels, *, limit: int, seed: int = 0) -> dict[str, Any]:
    """What filling up the rare classes is worth: plain values with the keys of `TopUp` but `said`.

    The filled set has at most `limit` examples; of a larger one, the real part is cut first, each class alike. `seed`
    is that of the draws and the bootstrap.
    """
    real, made, test, classes = labels
    rng = stream(seed, "top_up")
    rows = _cut(rng, real, limit)
    counts, available = (np.bincount(y, minlength=len(classes)) for y in (real[rows], made))
    lacking = np.where(counts > 0, counts.max() - counts, 0)
    added = np.minimum(lacking, available)
    rarest = int(np.argmin(np.where(counts > 0, counts, len(real) + 1)))
    n_test = int((test == rarest).sum())
    if reason := _reason(labels, lacking, added, rarest, limit):
        return skipped(reason)
    sides = [answers(*rows_of_both) for rows_of_both in _sets(rng, rows, real, made, added)]
    present = np.unique(test)
    return {
        "reason": None,
        "rarest": classes[rarest],
        "n_real": len(rows),
        "n_synthetic": int(added.sum()),
        "filled": {
            classes[label]: {"real": int(counts[label]), "added": int(added[label]), "lacking": int(lacking[label])}
            for label in np.flatnonzero(lacking).tolist()
        },
        "n_test": n_test,
        "balanced_accuracy": _beside(stream(seed, "top_up.balanced_accuracy"), sides, test, present),
        "recall": _beside(stream(seed, "top_up.recall"), sides, test, np.array([rarest])),
    }


def _reason(labels: Labels, lacking: np.ndarray, added: np.ndarray, rarest: int, limit: int) -> str | None:
    """Why nothing can be measured."""
    whole = np.bincount(labels.real, minlength=len(labels.names))
    if _balanced(whole):
        return _even(whole, labels.names)
    if not lacking.any():
        return f"with at most {limit:,} examples in all, no class has fewer than another"
    if not added.any():
        return "the synthetic set has no example of a rare class"
    if not (labels.test == rarest).any():
        return f"no real test example is of the rarest class, “{labels.names[rarest]}”"
    return None


def skipped(reason: str) -> dict[str, Any]:
    """What `evaluate` returns where nothing is measured, and why."""
    names = ("rarest", "n_real", "n_synthetic", "filled", "n_test", "balanced_accuracy", "recall")
    return {"reason": reason, **dict.fromkeys(names)}


def size(real: np.ndarray, limit: int) -> int:
    """Examples of the filled set, were nothing lacking, for labels (N,) of the real one; 0 where that is balanced."""
    counts = np.bincount(real)
    return 0 if _balanced(counts) else min(int(counts.max() * np.count_nonzero(counts)), limit)


def sentence(found: Mapping[str, Any], who: str, unit: str) -> str:
    """What `evaluate` found, in plain words; `who` is what was trained, `unit` what an example is called."""
    if found["reason"] is not None:
        return f"Filling up rare classes was not tried: {found['reason']}."
    balanced, recall = found["balanced_accuracy"], found["recall"]
    low, high = balanced["ci"]
    helps = "helps" if low > 0 else "harms" if high < 0 else "makes no difference that could be told from chance"
    filled = [name for name, of in found["filled"].items() if of["added"]]
    short = [name for name, of in found["filled"].items() if of["added"] < of["lacking"]]
    word = "class" if len(filled) == 1 else "classes"
    said = (
        f"Filling up the rare {word} ({_named(filled)}) of {found['n_real']:,} real {unit}s with "
        f"{found['n_synthetic']:,} synthetic ones {helps}: the balanced accuracy of {who} goes from "
        f"{_percent(balanced, 'real')} to {_percent(balanced, 'filled')} % ({_points(balanced)}), the share of "
        f"“{found['rarest']}”, the rarest class, that it recognises from {_percent(recall, 'real')} to "
        f"{_percent(recall, 'filled')} % ({_points(recall)}; {found['n_test']:,} test {unit}s). Real {unit}s repeated "
        f"in their place give {_percent(balanced, 'repeated')} and {_percent(recall, 'repeated')} %."
    )
    return f"{said} Of {_named(short)} there are too few synthetic {unit}s to go further." if short else said


def _balanced(counts: np.ndarray) -> bool:
    there = counts[counts > 0]
    return len(there) < 2 or there.min() >= BALANCED * there.max()


def _even(counts: np.ndarray, classes: Sequence[str]) -> str:
    """Why there is nothing to fill up, by the numbers of real examples of each class."""
    least, most = int(np.argmin(np.where(counts > 0, counts, counts.max()))), int(np.argmax(counts))
    if least == most:
        return "all classes of the real training set have equally many examples"
    return (
        "the classes of the real training set are balanced: the smallest, "
        f"“{classes[least]}”, has {counts[least]:,} examples, the largest {counts[most]:,}"
    )


def _sets(
    rng: np.random.Generator, rows: np.ndarray, real: np.ndarray, made: np.ndarray, added: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The `TRAININGS`, each by rows of the real and of the synthetic set; `added`: (K,) examples, of each class."""
    none = np.empty(0, np.int64)
    extra = [rng.permutation(np.flatnonzero(made == label))[:count] for label, count in enumerate(added)]
    again = [rng.choice(rows[real[rows] == label], count) for label, count in enumerate(added) if count]
    return [
        (rows, none),
        (rows, np.sort(np.concatenate(extra))),
        (np.sort(np.concatenate([rows, *again])), none),
    ]


def _cut(rng: np.random.Generator, real: np.ndarray, limit: int) -> np.ndarray:
    """Rows (n,) i64 of the real set, ascending, of each class its share, so that the filled set keeps the limit."""
    counts = np.bincount(real)
    whole = counts.max() * np.count_nonzero(counts)
    if whole <= limit:
        return np.arange(len(real))
    take = np.maximum(np.rint(counts * (limit / whole)).astype(int), counts > 0)
    rows = [rng.permutation(np.flatnonzero(real == label))[:count] for label, count in enumerate(take)]
    return np.sort(np.concatenate(rows))


def _beside(
    rng: np.random.Generator, sides: Sequence[np.ndarray], test: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
    """The mean recall of some classes, of each side's answers (seeds, M), and what the second gains over the first."""
    scores = [[_recall(answer, test, labels) for answer in side] for side in sides]
    whole = np.ones((1, len(test)))
    leaves = [student([float(score(whole)[0]) for score in side], low=0, high=1) for side in scores]
    gained = bootstrap.loss(rng, scores[0], scores[1], len(test))
    return {
        **dict(zip(("real", "filled", "repeated"), leaves, strict=True)),
        "points": gained["points"],
        "ci": gained["ci"],
    }


def _recall(answer: np.ndarray, test: np.ndarray, labels: np.ndarray) -> bootstrap.Score:
    """The mean over classes of the share recognised; NaN where a resample lacks one of them."""
    there = (test[:, None] == labels).astype(np.float64)
    right = there * (answer == test)[:, None]

    def score(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return ((weights @ right) / (weights @ there)).mean(1)

    return score


def _named(names: Iterable[str]) -> str:
    each = [f"“{name}”" for name in names]
    return ", ".join(each[:SHOWN]) + (f" and {len(each) - SHOWN} more" if len(each) > SHOWN else "")


def _percent(figure: Mapping[str, Any], side: str) -> str:
    return f"{100 * figure[side]['mean']:.1f}"


def _points(figure: Mapping[str, Any]) -> str:
    low, high = figure["ci"]
    return f"{figure['points']:+.1f} points, {low:.1f} to {high:.1f}"
