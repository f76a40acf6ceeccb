"""What `benchmarks.unseen` measures of a synthetic table, by scikit-learn alone: nothing of `synthjax.evals` is used.

broken     share of rows that break a rule of the list (`unseen_rules.yaml`): exact ones without keys, exact, all
c2st       AUC of boosting that tells synthetic from test rows, out of fold; .5 is best
tstr       of boosting taught by synthetic rows, tested on real ones, minus the same taught by real rows: ROC AUC
           (macro, one against the rest) or R2
nearer     share of synthetic rows nearer to a training row than to any of as many unseen rows; .5 is best

Identifiers, which a system may make anew, take part in the first one alone.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from benchmarks.unseen_tables import Table, kind_of
from synthjax.rules import Rule
from synthjax.rules.keys import Unique
from synthjax.rules.kinds import Determined, Seen

LEVELS = 200
"""Values of a text column that boosting can tell apart; the others are one."""
NEIGHBOURS = 2_000
"""Synthetic rows whose neighbours are looked for."""
SHUFFLES, BROKEN = 20, 30
"""Tries to break a rule by shuffling, and broken rows that suffice."""
CAUGHT = 0.95


def judge(table: Table, made: pd.DataFrame, left_out: int, seed: int) -> dict[str, Any]:
    """All measures of a synthetic table, by name; `each`: share of rows that break each rule, where any does."""
    train, holdout, test = learnt(table)
    shared = [name for name in train if made[name].notna().any() or not train[name].notna().any()]
    return {
        "broken_exact": broken(table.exact, made),
        "broken": broken(table.exact + table.near, made),
        "broken_row": broken(of_a_row(table), made),
        "c2st": c2st(test[shared], made[shared], pd.concat([train, holdout]), seed),
        "tstr": useful(made[list(train)], test, table.target, train, seed),
        "nearer": nearer(made[list(train)], train, holdout, seed),
        "left_out": left_out,
        "rows": len(made),
        "each": {rule.text: rate for rule in table.exact + table.near if (rate := broken((rule,), made))},
    }


def ceiling(table: Table, seed: int) -> dict[str, float]:
    """The same measures of real rows: the unseen rows against the test rows."""
    train, holdout, test = learnt(table)
    return {
        "broken_exact": broken(table.exact, table.parts["test"]),
        "broken": broken(table.exact + table.near, table.parts["test"]),
        "broken_row": broken(of_a_row(table), table.parts["test"]),
        "c2st": c2st(test, holdout, pd.concat([train, holdout]), seed),
        "tstr": useful(train, test, table.target, train, seed),
        "nearer": nearer(test, train, holdout, seed),
    }


def broken(rules: Sequence[Rule], frame: pd.DataFrame) -> float:
    """Share of rows that break at least one of the rules."""
    kept = np.ones(len(frame), bool)
    for rule in rules:
        kept &= rule.holds(frame)
    return float(np.mean(~kept))


def learnt(table: Table) -> list[pd.DataFrame]:
    """Train, holdout and test rows without identifiers: texts and whole numbers that differ in all rows."""
    real = table.real
    other = [name for name in real if real[name].dtype.kind not in "iO" or not real[name].is_unique]
    return [table.parts[part][other] for part in ("train", "holdout", "test")]


def of_a_row(table: Table) -> list[Rule]:
    """The exact rules that a row keeps or breaks by itself: all but keys."""
    return [rule for rule in table.exact if not isinstance(rule, Unique)]


def features(frame: pd.DataFrame, real: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) f64 for boosting, missing as NaN, and which columns are categories, by their most frequent values."""
    columns, categories = [], []
    for name in frame:
        kind = kind_of(real[name])
        categories.append(kind == "text")
        if kind == "number":
            columns.append(frame[name].to_numpy(np.float64))
        elif kind == "date":
            columns.append(_days(frame[name]))
        else:
            levels = pd.Index(real[name].value_counts().index[:LEVELS])
            codes = levels.get_indexer(frame[name]).astype(np.float64)
            codes[codes < 0] = LEVELS
            columns.append(np.where(frame[name].isna(), np.nan, codes))
    return np.column_stack(columns), np.array(categories)


def _days(column: pd.Series) -> np.ndarray:
    seconds = column.to_numpy("datetime64[s]")
    return np.where(np.isnat(seconds), np.nan, seconds.astype(np.int64) / 86_400)


def c2st(test: pd.DataFrame, made: pd.DataFrame, real: pd.DataFrame, seed: int) -> float:
    """AUC of five-fold boosting on as many rows of both; `real` gives kinds and levels of the columns."""
    n = min(len(test), len(made))
    both = pd.concat([test.sample(n, random_state=seed), made.sample(n, random_state=seed)], ignore_index=True)
    x, categories = features(both, real)
    y = np.repeat([0, 1], n)
    model = HistGradientBoostingClassifier(categorical_features=categories, random_state=seed, early_stopping=False)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    found = cross_val_predict(model, x, y, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(y, found))


def useful(made: pd.DataFrame, test: pd.DataFrame, target: str, real: pd.DataFrame, seed: int) -> float:
    """ROC AUC (macro, one against the rest) or R2 on the test rows of boosting that the rows taught."""
    made, test = made[made[target].notna()], test[test[target].notna()]
    x, categories = features(made.drop(columns=target), real)
    unseen, _ = features(test.drop(columns=target), real)
    settings = {"categorical_features": categories, "random_state": seed, "early_stopping": False}
    if kind_of(real[target]) == "number":
        if not len(made):
            return 0.0
        model = HistGradientBoostingRegressor(**settings).fit(x, made[target])
        return float(r2_score(test[target], model.predict(unseen)))
    if made[target].nunique() < 2:
        return 0.5
    model = HistGradientBoostingClassifier(**settings).fit(x, made[target].to_numpy(str))
    chances = pd.DataFrame(model.predict_proba(unseen), columns=model.classes_)
    scores = []
    for label in sorted(set(test[target])):
        chance = chances[label] if label in chances else np.zeros(len(test))
        scores.append(roc_auc_score(test[target] == label, chance))
    return float(np.mean(scores))


def nearer(made: pd.DataFrame, train: pd.DataFrame, holdout: pd.DataFrame, seed: int) -> float:
    """Share of rows whose nearest training row is nearer than the nearest of the holdout; a tie is half of one.

    Gower's distance: a number's difference over the span of its middle 99 %, at most 1; 1 for two texts that differ
    and for a missing value beside one that is not.
    """
    n = min(len(train), len(holdout))
    made = made.sample(min(len(made), NEIGHBOURS), random_state=seed)
    real = pd.concat([train, holdout])
    to_train, to_holdout = (distances(made, part.iloc[:n], real) for part in (train, holdout))
    margin = np.round(to_holdout - to_train, 5)
    return float(np.mean((margin > 0) + 0.5 * (margin == 0)))


def distances(made: pd.DataFrame, others: pd.DataFrame, real: pd.DataFrame, block: int = 250) -> np.ndarray:
    """(n,) f32: Gower's distance of each row to the nearest of the others."""
    columns = [_comparable(name, made, others, real) for name in made]
    least = []
    for start in range(0, len(made), block):
        rows = slice(start, start + block)
        total = np.zeros((len(made[rows]), len(others)), np.float32)
        for a, b in columns:
            apart = np.minimum(np.abs(a[rows, None] - b[None]), 1)
            if np.isnan(a).any() or np.isnan(b).any():
                apart = np.where(np.isnan(apart), np.isnan(a[rows, None]) != np.isnan(b[None]), apart)
            total += apart
        least.append(total.min(axis=1))
    return np.concatenate(least)


def _comparable(
    name: str, made: pd.DataFrame, others: pd.DataFrame, real: pd.DataFrame
) -> tuple[np.ndarray, np.ndarray]:
    """A column of both, so that the difference of two cells, cut at 1, is their distance."""
    kind = kind_of(real[name])
    if kind == "text":
        codes = pd.factorize(pd.concat([made[name], others[name]]))[0].astype(np.float32)
        codes[codes < 0] = np.nan
        return codes[: len(made)], codes[len(made) :]
    values = [_days(part[name]) if kind == "date" else part[name].to_numpy(np.float64) for part in (made, others, real)]
    low, high = np.nanpercentile(values[2], [0.5, 99.5]) if np.isfinite(values[2]).any() else (0.0, 1.0)
    span = high - low if high > low else 1.0
    return tuple(((part - low) / span).astype(np.float32) for part in values[:2])  # type: ignore[return-value]


def named(rule: Rule, found: Sequence[Rule], real: pd.DataFrame) -> tuple[bool, bool]:
    """Whether found rules say what a rule of the list says: of its own columns alone, and of any columns.

    They do where one is the same, or where `CAUGHT` of the rows that break it break one of them; rows that break it
    are real ones with the columns that it claims shuffled.
    """
    own = [other for other in found if set(other.names) <= set(rule.names)]
    same = any(_same(rule, other) for other in own)
    if same or isinstance(rule, Unique):
        return same, same
    rows = _breaking(rule, real)
    if not len(rows):
        return False, False
    own += [part for other in found for part in _pieces(other) if set(part.names) <= set(rule.names)]
    return tuple(broken(part, rows) >= CAUGHT for part in (own, found))  # type: ignore[return-value]


def _same(rule: Rule, other: Rule) -> bool:
    """Whether a rule of no more columns says the same, by its text, or as a key or a lookup of fewer columns."""
    if isinstance(rule, Determined) and isinstance(other, Determined):
        return rule.target in ({other.target, *other.keys} if other.both else {other.target})
    return other.text == rule.text or (isinstance(rule, Unique | Seen) and isinstance(other, type(rule)))


def _pieces(rule: Rule) -> list[Rule]:
    """Of a chain of orders each pair, neighbours or not."""
    terms, operators = getattr(rule, "terms", ()), getattr(rule, "operators", ())
    if len(terms) < 3:
        return []
    return [
        type(rule)((terms[i], terms[j]), ("<" if "<" in operators[i:j] else "<=",))
        for i in range(len(terms))
        for j in range(i + 1, len(terms))
    ]


def _breaking(rule: Rule, real: pd.DataFrame) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = real.iloc[:0]
    for _ in range(SHUFFLES):
        frame = real.copy()
        for name in rule.shuffled:
            frame[name] = rng.permutation(frame[name].to_numpy())
        rows = pd.concat([rows, frame[~rule.holds(frame)]]) if len(rows) else frame[~rule.holds(frame)]
        if len(rows) >= BROKEN:
            break
    return rows.reset_index(drop=True)
