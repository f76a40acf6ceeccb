"""What `synthjax.evals.linked` finds of linked tables, typed, and as lines for a terminal."""

from dataclasses import dataclass, field

from synthjax.evals.report.words import attack, p_value

FEWEST = 50
"""Unseen parents below which their figures say little, and a classifier cannot learn what tells them apart."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Whether a key of the synthetic tables holds."""

    valid: float
    """Share of children with a key whose key is that of a parent."""
    duplicates: int
    """Parents whose key is that of an earlier one."""
    without: float
    """Share of children without a key."""
    without_real: float


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A figure of synthetic rows beside that of training rows in their place."""

    synthetic: float
    real: float

    @property
    def excess(self) -> float:
        """By how much it is above that of training rows."""
        return self.synthetic - self.real


@dataclass(frozen=True, kw_only=True)
class BrokenRule:
    """A rule between columns of a child and its parent."""

    rule: str
    synthetic: float
    """Share of synthetic children that break it."""
    real: float
    """The same of unseen children."""


@dataclass(frozen=True, kw_only=True)
class OfKey:
    """What was found of one key."""

    key: str
    parents: dict[str, int]
    """Number of parents: `train`, `unseen`, `synthetic`."""
    children: dict[str, int]
    checked: Checked
    children_per_parent: dict[str, float]
    cardinality: Beside | None
    """None: the parents are a list that is copied."""
    dependence: Beside | None
    """None: parents or children have no columns to compare."""
    largest: dict[str, list[float]]
    """Parent column and aggregate -> rank correlation of synthetic and of unseen parents, most different first."""
    auc: Beside | None
    """None: there are fewer than FEWEST unseen or synthetic parents."""
    told_by: dict[str, float]
    """By how much the AUC falls where a column is shuffled, the largest first."""
    rules: list[BrokenRule]
    """Those that most rows break first."""
    broken: Beside | None
    """Share of children that break at least one; None: no rule was found."""
    copied: float | None
    copied_error: float | None


@dataclass(frozen=True, kw_only=True)
class OfPersons:
    """What attacks on topmost parents, each with all rows below it, found."""

    table: str
    below: list[str]
    """Tables whose rows are aggregated."""
    members: int
    """Training parents that were attacked."""
    others: int
    """Unseen ones."""
    auc: float
    """Of the best attack: chance that a training parent is ranked above an unseen one."""
    auc_interval: tuple[float, float]
    """95 %, for all attacks at once."""
    by_chance: float
    """What the AUC stays below in nineteen of twenty times without a leak."""
    found: float
    """Share of training parents that the best attack finds at 1 % false alarms."""
    found_by_chance: float
    best: str
    """The attack of the AUC."""
    flagged: list[str]
    """ATTACK.FIGURE of the tests that are significant after Holm's correction."""
    p: float
    """The smallest p-value, corrected."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What linked tables are worth."""

    synthetic: str
    real: str
    seed: int
    keys: list[OfKey]
    persons: list[OfPersons] = field(default_factory=list)
    """Of each topmost table with enough rows."""


def sentences(report: Report) -> list[str]:
    """The report, as lines for a terminal.

    >>> sentences(Report(synthetic="a", real="b", seed=0, keys=[]))
    []
    """
    lines = []
    for one in report.keys:
        few = "" if one.parents["unseen"] >= FEWEST else f" (of {one.parents['unseen']} unseen parents, too few to say)"
        lines.append(f"{one.key}")
        lines.append(
            f"  keys: {one.checked.valid:.2%} of the synthetic keys are those of a parent; "
            f"{one.checked.duplicates:,} parents repeat a key; {one.checked.without:.1%} of the rows have none "
            f"(real rows: {one.checked.without_real:.1%})"
        )
        if one.cardinality is not None:
            lines.append(
                f"  children: {one.children_per_parent['synthetic']:.2f} a parent (unseen parents: "
                f"{one.children_per_parent['unseen']:.2f}); total variation distance {one.cardinality.synthetic:.3f} "
                f"(training parents: {one.cardinality.real:.3f}){few}"
            )
        if one.dependence is not None:
            lines.append(
                f"  dependence: rank correlations of parents and children are off by {one.dependence.synthetic:.3f} "
                f"(training rows: {one.dependence.real:.3f})"
            )
        if one.auc is not None:
            told = f"; by {next(iter(one.told_by))}" if one.told_by else ""
            lines.append(
                f"  told apart from unseen parents, with aggregates of children: AUC {one.auc.synthetic:.3f} "
                f"(training parents: {one.auc.real:.3f}; .5 best){told}{few}"
            )
        if one.broken is not None:
            lines.append(
                f"  rules between child and parent: {one.broken.synthetic:.2%} of the synthetic rows break one of "
                f"{len(one.rules)} (unseen rows: {one.broken.real:.2%})"
            )
        if one.copied is not None and one.copied_error is not None:
            lines.append(f"  copies: {one.copied:.0%} of the parents (standard error {one.copied_error:.0%})")
    return lines + [line for one in report.persons for line in (one.table, f"  {said(one)}")]


def said(found: OfPersons) -> str:
    """What attacks on topmost parents found, in words."""
    low, high = found.auc_interval
    names = sorted({name.rpartition(".")[0] for name in found.flagged})
    tests = "; ".join(f"“{attack(name, 'row')}”" for name in names)
    tests = f"significant: {tests}" if tests else f"no test is significant (smallest p {p_value(found.p)})"
    return (
        f"attacks: {found.members:,} training rows, each with all of {', '.join(found.below)} below it, are told from "
        f"{found.others:,} unseen ones with an AUC of {found.auc:.3f} at best (interval {low:.3f} to {high:.3f}; "
        f"guessing: 0.5; without a leak below {found.by_chance:.3f} nineteen times in twenty); {tests}"
    )
