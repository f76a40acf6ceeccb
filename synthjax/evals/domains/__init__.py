"""What the measures ask of a kind of data: a `Domain`, of which there are two, `images.Images` and `tables.Tables`.

A measure is written once, against this: it cuts, joins and labels `Rows` without knowing what an example is. Numbers
are comparable within a domain, never between two.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from synthjax.evals.bootstrap import Score

Rows = Any
"""Examples of one kind: anything with `x` and `y` for images, a `Table` for tables."""
SETS = ("tstr", "trtr", "floor", "trts")
"""What a classifier is trained and tested on (see `synthjax.evals.utility`)."""
CHOICES = (
    "no classifier, setting or number of epochs is chosen on real test data: those of the figures are fixed "
    "beforehand, whatever is judged; where the best of several is chosen, synthetic validation data chooses"
)
"""What decides about classifiers, for those who read the figures."""
Progress = Callable[[float], None]
"""Called with the share of the work that is done, in (0, 1]."""


class Trained(NamedTuple):
    """What the classifiers of a domain scored, of which one, the headline classifier, is looked at more closely."""

    parts: dict[str, Any]
    """Of the report's utility part: a key per classifier, or group of them."""
    answers: dict[str, list[np.ndarray]]
    """Of the headline classifier for the real test rows, per seed, by "tstr" and "trtr"."""
    sizes: dict[str, Any]
    """Examples trained and tested on."""


class Domain(Protocol):
    """A kind of data: how its examples are handled, and which classifiers learn from them."""

    unit: ClassVar[str]
    """What an example is called."""
    classifier: ClassVar[str]
    """The headline classifier, as it stands in a sentence."""
    ranked: ClassVar[tuple[str, ...]]
    """Classifiers that `rank` knows."""
    ranked_on: ClassVar[int | None]
    """Real test examples that those are tested on at most; None: twice as many as they are trained on."""
    changed: ClassVar[str]
    """What `perturb` does, as it stands in the report."""

    @property
    def classes(self) -> Sequence[str]:
        """Names of the target's classes; none where there is no target, or it is a number."""

    @property
    def unlearnable(self) -> str | None:
        """Why no classifier can learn from it; None where there is a target."""

    @property
    def lost(self) -> dict[str, str]:
        """`who`, the headline classifier as it begins a sentence, and `measure`, the headline measure in words."""

    @property
    def studied(self) -> dict[str, Any]:
        """What the studies say of how they were done, beside seeds."""

    def study(self, largest: int, filled: int = 0) -> dict[str, Any]:
        """Settings of `answers` in a study whose largest set has so many examples, or so many with filled classes."""

    def size(self, rows: Rows) -> int:
        """How many there are."""

    def take(self, rows: Rows, index: np.ndarray) -> Rows:
        """Those of these numbers."""

    def concat(self, one: Rows, other: Rows) -> Rows:
        """One after the other."""

    def labels(self, rows: Rows) -> np.ndarray:
        """The target (N,): classes as integers, or numbers."""

    def labelled(self, name: str, rows: Rows) -> Rows:
        """Those with a target; InputError, in one line that begins with `name`, where they cannot be scored."""

    def draw(self, rng: np.random.Generator, rows: Rows, n: int) -> np.ndarray:
        """Numbers of at most `n` of them, ascending; classes keep their shares."""

    def floor(self, rng: np.random.Generator, train: Rows, like: Rows) -> Rows:
        """As many as `like`, by a generator that anything must beat."""

    def perturb(self, rng: np.random.Generator, rows: Rows) -> Rows:
        """Each a little changed, so that its target stays."""

    def vectors(self, train: Rows) -> Callable[[Rows], np.ndarray]:
        """A function to vectors (N, ...) whose Euclidean distance means something, scaled by `train`."""

    def keys(self, rows: Rows) -> list[bytes]:
        """Bytes that are equal if and only if examples are."""

    def train(self, synthetic: Rows, train: Rows, test: Rows, seeds: int, seed: int, progress: Progress) -> Trained:
        """Trains and tests every classifier (see `synthjax.evals.utility`)."""

    def answers(self, fit: Rows, test: Rows, *, seeds: int, seed: int, **how: Any) -> list[np.ndarray]:
        """Answers of the headline classifier, trained on `fit`, for `test`: per seed (M, K) scores, or (M,) numbers."""

    def score(self, test: Rows, answer: np.ndarray) -> float:
        """The headline measure of one seed's answers."""

    def rank(self, name: str, fit: Rows, tests: Sequence[Rows], seed: int) -> list[float]:
        """Trains a classifier of `ranked`; a score per test set."""

    def chances(self, answer: np.ndarray) -> np.ndarray:
        """Probabilities (M, K) by one seed's answers, of classes."""

    def weighted_score(self, test: Rows, answer: np.ndarray) -> Score | None:
        """The headline measure by weights on the test examples; None where all of them are alike."""

    def described(self, seeds: int, seed: int) -> dict[str, Any]:
        """How the classifiers are trained, for those who read the figures."""

    def headline(self, utility: Mapping[str, Any]) -> Mapping[str, Any]:
        """The headline measure within the utility part of a report: by name of a set, what `estimate` returned."""

    def others(self, utility: Mapping[str, Any]) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """The same of other classifiers, beside what they are called."""

    def judgement(self, ours: float | None, real: float | None, floor: float | None) -> dict[str, Any]:
        """The figures that say how much a score is worth beside those of real data and of the floor."""

    def networks(self) -> list[tuple[str, dict[str, Any]]]:
        """Other networks that `answers` can train, beside what they are called."""


def tested(key: str, test: Rows, synthetic: Rows) -> dict[str, Rows]:
    """What the classifiers trained for `key` are tested on: real test rows, and those trained on real ones on both."""
    return {key: test, "trts": synthetic} if key == "trtr" else {key: test}
