"""Judges linked tables: do keys hold, have parents as many children, and do children belong to their parents?

Of each key three sets of parents with their children are compared: those of the training set, real ones that no model
has seen, and synthetic ones. Whatever is said of synthetic rows is also said of training rows, which is the ceiling.

    cardinality    total variation distance of the numbers of children from those of unseen parents
    dependence     rank correlations of each parent column with each aggregate of the children: mean absolute difference
                   from those of unseen parents
    two-sample     AUC of gradient boosting that tells synthetic from unseen parents, with aggregates of their children
    rules          share of children that break a rule between their columns and their parent's
    copied         share of parents, with aggregates, that are nearer to training parents than chance explains

Aggregates of the children of a parent: their number; of a numeric column mean, standard deviation, least and largest;
of a categorical column the share of each of its most frequent values, and how many different ones there are.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from synthjax import rules
from synthjax.evals import quick_scores
from synthjax.evals.fidelity.tables import c2st
from synthjax.evals.report.linked import FEWEST, Beside, BrokenRule, Checked, OfKey
from synthjax.evals.table import DISCRETE, NUMERIC, from_frames
from synthjax.rules.columns import Columns

if TYPE_CHECKING:
    import pandas as pd

FREQUENT = 5
"""Values of a categorical column whose shares are aggregates, at most."""
LIMIT = 50_000
"""Children on which rules are looked for and checked, at most."""
COPIES_FROM = 20
"""Unseen parents from which copies are counted; the error of their share is said."""
LISTED = 10
"""Dependences and rules that are named."""


class Family(NamedTuple):
    """Parents and their children by one key."""

    parents: "pd.DataFrame"
    """(m, columns) typed."""
    children: "pd.DataFrame"
    """(n, columns) typed."""
    of: np.ndarray
    """(n,) i64 row of each child's parent; -1: it has none."""


def judge(
    key: str,
    families: Mapping[str, Family],
    kinds: tuple[Mapping[str, str], Mapping[str, str]],
    checked: Checked,
    *,
    copies: bool = False,
    seed: int = 0,
) -> OfKey:
    """Judges one key.

    Args:
        key: its text.
        families: "train", "unseen" and "synthetic".
        kinds: of the columns of parents and of children, see `Schema.comparable_kinds`. Columns that a synthetic table
            lacks are left out.
        checked: what was found of the cells of the key.
        copies: whether the parents are a list that all three share: then they are not compared.
        seed: of the samples, folds and trees.
    """
    above = compared(kinds[0], [one.parents for one in families.values()])
    below = compared(kinds[1], [one.children for one in families.values()])
    counts = {name: np.bincount(one.of[one.of >= 0], minlength=len(one.parents)) for name, one in families.items()}
    broken, each = _rules(families, above, below, seed)
    found: dict[str, Any] = {
        "key": key,
        "parents": {name: len(one.parents) for name, one in families.items()},
        "children": {name: len(one.children) for name, one in families.items()},
        "checked": checked,
        "children_per_parent": {name: float(one.mean()) if len(one) else 0.0 for name, one in counts.items()},
        "broken": broken,
        "rules": each,
    }
    nothing: dict[str, Any] = {"cardinality": None, "dependence": None, "largest": {}, "auc": None, "told_by": {}}
    if copies or min(map(len, counts.values())) < quick_scores.FOLDS:
        return OfKey(**found, **nothing, copied=None, copied_error=None)
    frames, types = aggregated(families, above, below)
    dependence, largest = _dependence(families, above, frames)
    tables = from_frames(frames, types)
    told: dict[str, Any] = {}
    if min(map(len, counts.values())) >= FEWEST:
        told = {name: c2st(tables["unseen"], tables[name], seed=seed, explain=True) for name in ("synthetic", "train")}
    copied = None
    if len(frames["unseen"]) >= COPIES_FROM:
        copied = quick_scores.copied(frames["train"], frames["unseen"], frames["synthetic"], types, seed=seed)
    return OfKey(
        **found,
        cardinality=Beside(
            synthetic=total_variation(counts["synthetic"], counts["unseen"]),
            real=total_variation(counts["train"], counts["unseen"]),
        ),
        dependence=dependence,
        largest=largest,
        auc=Beside(synthetic=told["synthetic"]["auc"], real=told["train"]["auc"]) if told else None,
        told_by=_most(told["synthetic"]["told_by"]) if told else {},
        copied=copied and copied.share,
        copied_error=copied and copied.error,
    )


def _most(falls: Mapping[str, float]) -> dict[str, float]:
    """The largest falls above 0."""
    return {name: fall for name, fall in list(falls.items())[:LISTED] if fall > 0}


def compared(kinds: Mapping[str, str], frames: Sequence["pd.DataFrame"]) -> dict[str, str]:
    """The columns, with their kinds, that are numbers or categories and in all frames."""
    return {n: k for n, k in kinds.items() if k in (*NUMERIC, *DISCRETE) and all(n in frame for frame in frames)}


def total_variation(first: np.ndarray, second: np.ndarray) -> float:
    """Total variation distance of the distributions of two samples of integers >= 0.

    >>> total_variation(np.array([0, 0, 1, 3]), np.array([0, 0, 1, 2]))
    0.25
    """
    most = int(max(first.max(initial=0), second.max(initial=0))) + 1
    shares = [np.bincount(one, minlength=most) / max(len(one), 1) for one in (first, second)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


# --- aggregates --------------------------------------------------------------------------------------------------


def aggregated(
    families: Mapping[str, Family], above: Mapping[str, str], below: Mapping[str, str]
) -> tuple[dict[str, "pd.DataFrame"], dict[str, str]]:
    """Parents with aggregates of their children.

    Args:
        families: sets of parents and children; "train" decides which values are frequent.
        above: column of the parents -> kind.
        below: column of the children -> kind.

    Returns:
        Set -> a frame with a row for each parent; column -> kind.

    >>> import pandas as pd
    >>> one = Family(pd.DataFrame({"age": [30, 40]}), pd.DataFrame({"cost": [1.0, 3.0]}), np.array([1, 1]))
    >>> frames, kinds = aggregated({"train": one}, {"age": "integer"}, {"cost": "continuous"})
    >>> frames["train"][["children", "mean of cost"]].fillna(-1).to_numpy().tolist()
    [[0.0, -1.0], [2.0, 2.0]]
    """
    frequent = {
        name: families["train"].children[name].value_counts().index[:FREQUENT].tolist()
        for name, kind in below.items()
        if kind in DISCRETE
    }
    frames = {name: _aggregates(one, above, below, frequent) for name, one in families.items()}
    added = {name: "continuous" for name in frames["train"].columns if name not in above}
    return frames, {**above, **added}


def _aggregates(
    family: Family, above: Mapping[str, str], below: Mapping[str, str], frequent: Mapping[str, Sequence[Any]]
) -> "pd.DataFrame":
    import pandas as pd

    rows = family.of >= 0
    of, m = family.of[rows], len(family.parents)
    columns: dict[str, Any] = {name: family.parents[name].to_numpy() for name in above}
    count = np.bincount(of, minlength=m)
    columns[_new("children", above)] = count.astype(np.float64)
    for name, kind in below.items():
        values = family.children[name][rows]
        if kind in NUMERIC:
            numbers = _numbers(values)
            grouped = pd.Series(numbers).groupby(of)
            for what, found in (("mean", grouped.mean()), ("spread", grouped.std(ddof=0)), ("least", grouped.min()),
                                ("largest", grouped.max())):  # fmt: skip
                columns[_new(f"{what} of {name}", above)] = found.reindex(np.arange(m)).to_numpy(np.float64)
            continue
        cells = values.astype(object).to_numpy()
        different = pd.Series(cells).groupby(of).nunique().reindex(np.arange(m))
        columns[_new(f"different {name}", above)] = different.to_numpy(np.float64)
        for value in frequent[name]:
            share = np.bincount(of, cells == value, minlength=m) / np.maximum(count, 1)
            columns[_new(f"share of {name} = {value}", above)] = np.where(count > 0, share, np.nan)
    return pd.DataFrame(columns)


def _new(name: str, above: Mapping[str, str]) -> str:
    return f"{name} (children)" if name in above else name


def _numbers(values: Any) -> np.ndarray:
    """Numbers, or seconds of dates, (n,) f64."""
    array = values.to_numpy()
    if array.dtype.kind == "M":
        return np.where(np.isnat(array), np.nan, array.astype("datetime64[us]").astype(np.int64) / 1e6)
    return array.astype(np.float64)


# --- dependence --------------------------------------------------------------------------------------------------


def _dependence(
    families: Mapping[str, Family], above: Mapping[str, str], frames: Mapping[str, "pd.DataFrame"]
) -> tuple[Beside | None, dict[str, list[float]]]:
    """How far rank correlations of parent columns with aggregates are from those of unseen parents."""
    frequent = {
        name: families["train"].parents[name].value_counts().index[:FREQUENT].tolist()
        for name, kind in above.items()
        if kind in DISCRETE
    }
    found = {name: _correlations(frame, above, frequent) for name, frame in frames.items()}
    pairs = [p for p in found["unseen"] if all(p in one and np.isfinite(one[p]) for one in found.values())]
    if not pairs:
        return None, {}
    differences = {
        name: [abs(found[name][pair] - found["unseen"][pair]) for pair in pairs] for name in ("synthetic", "train")
    }
    order = np.argsort(differences["synthetic"])[::-1][:LISTED]
    largest = {pairs[i]: [found["synthetic"][pairs[i]], found["unseen"][pairs[i]]] for i in order}
    return Beside(
        synthetic=float(np.mean(differences["synthetic"])), real=float(np.mean(differences["train"]))
    ), largest


def _correlations(
    frame: "pd.DataFrame", above: Mapping[str, str], frequent: Mapping[str, Sequence[Any]]
) -> dict[str, float]:
    """Rank correlations, by "PARENT COLUMN and AGGREGATE"."""
    own: dict[str, np.ndarray] = {}
    for name, kind in above.items():
        if kind in NUMERIC:
            own[name] = _numbers(frame[name])
        else:
            cells = frame[name].astype(object).to_numpy()
            own |= {f"{name} = {value}": (cells == value).astype(np.float64) for value in frequent[name]}
    others = {name: frame[name].to_numpy(np.float64) for name in frame.columns if name not in above}
    return {f"{a} and {b}": _rank_correlation(x, y) for a, x in own.items() for b, y in others.items()}


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's, over rows where both are there; NaN if one is constant."""
    import pandas as pd

    both = ~np.isnan(x) & ~np.isnan(y)
    if both.sum() < 3:
        return float("nan")
    first, second = (pd.Series(values[both]).rank().to_numpy() for values in (x, y))
    if first.std() == 0 or second.std() == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


# --- rules -------------------------------------------------------------------------------------------------------


def _rules(
    families: Mapping[str, Family], above: Mapping[str, str], below: Mapping[str, str], seed: int
) -> tuple[Beside | None, list[BrokenRule]]:
    """Rules between columns of children and of parents that training rows keep, and how many other rows break them."""
    if not above or not below:
        return None, []
    joined = {name: _joined(one, above, below, seed) for name, one in families.items()}
    if min(map(len, joined.values())) < quick_scores.FOLDS:
        return None, []
    half = len(joined["unseen"]) // 2  # one half confirms rules, the other says how often real rows break them
    confirm, real = joined["unseen"].iloc[:half], joined["unseen"].iloc[half:]
    upper = {f"parent's {name}" for name in above}
    found = [
        rule
        for rule in rules.find(joined["train"], confirm)
        if rule.exact and 0 < len(upper & set(rule.names)) < len(set(rule.names))
    ]
    if not found:
        return None, []
    sides = {"synthetic": Columns(joined["synthetic"]), "real": Columns(real)}
    broken = {side: np.array([~rule.holds(columns) for rule in found]) for side, columns in sides.items()}
    each = [
        BrokenRule(rule=rule.text, **{side: float(values[i].mean()) for side, values in broken.items()})
        for i, rule in enumerate(found)
    ]
    whole = Beside(**{side: float(values.any(axis=0).mean()) for side, values in broken.items()})
    return whole, sorted(each, key=lambda one: -one.synthetic)


def _joined(family: Family, above: Mapping[str, str], below: Mapping[str, str], seed: int) -> "pd.DataFrame":
    """Children with the columns of their parents, at most LIMIT."""
    import pandas as pd

    from synthjax.evals.streams import stream

    rows = np.flatnonzero(family.of >= 0)
    if len(rows) > LIMIT:
        rows = np.sort(stream(seed, "linked.children").choice(rows, LIMIT, replace=False))
    parents = family.parents[list(above)].iloc[family.of[rows]].reset_index(drop=True)
    parents.columns = [f"parent's {name}" for name in above]
    return pd.concat([parents, family.children[list(below)].iloc[rows].reset_index(drop=True)], axis=1)
