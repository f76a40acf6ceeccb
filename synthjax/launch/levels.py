"""How much an evaluation does, by its level: look, quick or full."""

from dataclasses import dataclass
from typing import ClassVar

from synthjax.evals import classifiers
from synthjax.evals.domains import Domain, tables
from synthjax.evals.domains.images import Images
from synthjax.evals.domains.tables import Tables
from synthjax.evals.fidelity import tables as likeness
from synthjax.evals.studies import Sizes
from synthjax.launch.subjects import Subject

LEVELS = ("look", "quick", "full")
HELP = (
    "look: a first look, not to be quoted, with 2 seeds and fewer epochs and examples; full: classifiers of images "
    "learn from all of them, the studies from more examples, with more seeds and variations and 16 shadow models of a "
    "run's model, which takes long. Attacks look at 10,000 examples at most."
)
"""Of --level."""


@dataclass(frozen=True, kw_only=True)
class _Effort(Sizes):
    """How much is done; numbers of examples are upper bounds."""

    seeds: int
    """Classifiers of each kind per training set."""
    varied: int
    """Seeds of the studies and variations."""
    shadows: int = 0
    """Models trained like the run's own, where that has a score, to calibrate the attacks on it."""
    public: int = 0
    """Members, and as many others, of whom the attacker knows beforehand that they are."""


@dataclass(frozen=True, kw_only=True)
class ImageEffort(_Effort):
    """Of images."""

    epochs: int
    """Passes through the training set."""
    limit: int
    """Examples attacked, and shown to the feature net."""
    trained: int | None
    """Examples that a network is trained on; None: all."""
    steps: int
    """Steps of each network of the learning curve and the mixing."""
    network: bool
    """Whether another network is tried."""

    def domain(self, subject: Subject) -> Domain:
        """What the measures are told of the images."""
        return Images(subject.real.spec, self.epochs, self.trained, self.steps)

    @property
    def attacked(self) -> int:
        """Examples attacked."""
        return self.limit

    @property
    def compared(self) -> int:
        """Examples that the fidelity part learns its features from."""
        return self.limit


@dataclass(frozen=True, kw_only=True)
class TableEffort(_Effort):
    """Of tables."""

    c2st: int
    """Rows that the two-sample test looks at."""
    judges: int
    """Rows that the six classifiers are trained and tested on."""
    attacked: int
    """Rows that the attacks look at."""
    network: ClassVar[bool] = False

    def domain(self, subject: Subject) -> Domain:
        """What the measures are told of the table."""
        return Tables.of(subject.rows["train"], limit=self.judges)

    @property
    def compared(self) -> int:
        """Rows of the fidelity part's two-sample test."""
        return self.c2st


Effort = ImageEffort | TableEffort
IMAGES = {
    "look": ImageEffort(
        seeds=2, epochs=4, limit=1_000, trained=None, real=200, steps=50, most=300, filled=1_000, ranked=200, varied=1,
        network=False,
    ),
    "quick": ImageEffort(
        seeds=4, epochs=classifiers.EPOCHS, limit=10_000, trained=6_000, real=500, steps=150, most=1_000, filled=6_000,
        ranked=1_000, varied=2, network=False,
    ),
    "full": ImageEffort(
        seeds=5, epochs=classifiers.EPOCHS, limit=10_000, trained=None, real=5_000, steps=1_000, most=60_000,
        filled=60_000, ranked=5_000, varied=5, network=True, shadows=16,
    ),
}  # fmt: skip
TABLES = {
    "look": TableEffort(
        seeds=2, c2st=5_000, judges=1_000, attacked=1_000, real=200, most=500, filled=1_000, ranked=200, varied=1
    ),
    "quick": TableEffort(
        seeds=4, c2st=likeness.LIMIT, judges=tables.LIMIT, attacked=10_000, real=1_000, most=10_000, filled=20_000,
        ranked=1_000, varied=2,
    ),
    "full": TableEffort(
        seeds=5, c2st=likeness.LIMIT, judges=tables.LIMIT, attacked=10_000, real=5_000, most=100_000, filled=100_000,
        ranked=5_000, varied=5, shadows=16,
    ),
}  # fmt: skip
