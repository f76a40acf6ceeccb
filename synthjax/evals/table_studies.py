"""Beyond the headline of a table: learning curves, mixing with real rows, rare classes, ranks of judges, variations.

What of `synthjax.evals.amounts`, `top_up`, `agreement` and of the robustness of the verdict is particular to tables.
The curves and the mixing use gradient boosting of the classes as they are, scored by ROC AUC or R², and so does the
filling up of rare classes, scored by the classes it answers; the ranks are those of the six judges of
`synthjax.evals.judges`.

A verdict that another classifier, another seed or a change that keeps every answer would turn is no verdict, so the
usefulness is measured again with each. The change adds normal noise to each numeric feature, of `NOISE` of its standard
deviation.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from synthjax.evals import agreement, amounts, frames, tabular_report, top_up
from synthjax.evals.frames import Table
from synthjax.evals.judges import ALL_ROWS, JUDGES, train_judge
from synthjax.evals.subsample import sample, stratified
from synthjax.evals.tabular_utility import score
from synthjax.evals.threads import fixed_protocol

NOISE = 0.05
TESTED = 20_000
"""Test rows that are answered at most."""


def evaluate(
    synthetic: Table,
    train: Table,
    test: Table,
    *,
    positive: str | None,
    seeds: int,
    real: int,
    most: int,
    filled: int,
    ranked: int,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Learning curves, mixing, rare classes and ranks.

    Args:
        synthetic: the table that is judged, with a target.
        train: real rows that the generator may have seen.
        test: real rows that nothing has seen.
        positive: of two classes the one looked for, None: of more, or a number.
        seeds: of the boosting per training set, and draws of the ranks' halves.
        real: real rows that are topped up, at most.
        most: rows at the end of the curve, at most.
        filled: rows of the table whose rare classes are filled up, with those that fill it, at most.
        ranked: rows in each half of the ranks, at most.
        seed: of everything random here.
        progress: called with the share of the trainings that are done.

    Returns:
        `curve` and `mixing` (`synthjax.evals.amounts`), `top_up` (`synthjax.evals.top_up`, and what it `said` in
        words), `ranking` (`synthjax.evals.agreement`), `measure`.
    """
    synthetic, train, test = (answered(table) for table in (synthetic, train, test))
    real, most = min(real, len(train)), min(most, len(train), len(synthetic))
    trainings = amounts.trainings(most, real, len(synthetic)) + top_up.TRAININGS * bool(fills(train, filled))
    tick = amounts.counter(progress, trainings + 2 * seeds * len(JUDGES))
    rng = np.random.default_rng([seed, 12])
    test = fewer(rng, test, TESTED)
    place = None if positive is None else train.schema.classes.index(positive)
    draws = [functools.partial(_draw, rng, table) for table in (train, synthetic)]
    trained = functools.partial(_boosting, synthetic, train, test, place, seeds, seed)
    return {
        "curve": amounts.curve(trained, draws[0], draws[1], most, tick),
        "mixing": amounts.mixing(trained, draws[0], draws[1], real, len(synthetic), tick),
        "top_up": _top_up(synthetic, train, test, seeds, filled, seed, tick),
        "ranking": _ranking(synthetic, train, test, place, ranked, seeds, seed, tick),
        "measure": measure(train),
        "seeds": seeds,
    }


def measure(table: Table) -> str:
    """What the studies score by."""
    return "r2" if table.schema.regression else "roc_auc"


def answered(table: Table) -> Table:
    """The rows that have a target."""
    answers = table.answers()
    there = ~np.isnan(answers) if table.schema.regression else answers >= 0
    return table if there.all() else table.take(there)


def fewer(rng: np.random.Generator, table: Table, n: int) -> Table:
    """At most `n` rows that all have a target; the classes of a categorical one keep their shares."""
    return table.take(_draw(rng, table, n))


def _draw(rng: np.random.Generator, table: Table, n: int) -> np.ndarray:
    if table.schema.regression:
        return sample(rng, len(table), n)
    return stratified(rng, table.answers(), n)


def _boosting(
    synthetic: Table,
    train: Table,
    test: Table,
    positive: int | None,
    seeds: int,
    seed: int,
    real: np.ndarray,
    made: np.ndarray,
) -> list[float]:
    """Scores on real test rows, per seed, of what is trained on some rows of each table."""
    rows = _joined(train.take(real), synthetic.take(made))
    return [_scores(positive, ALL_ROWS, rows, [test], seed + 1000 * number)[0] for number in range(seeds)]


def _joined(*tables: Table) -> Table:
    parts = ("numbers", "codes")
    return Table(tables[0].schema, *(np.concatenate([getattr(table, part) for table in tables]) for part in parts))


def fills(train: Table, limit: int) -> int:
    """Rows of the training table with its rare classes filled up, at most `limit`; 0 where there is nothing to fill."""
    return 0 if train.schema.regression else top_up.size(train.answers(), limit)


def _top_up(
    synthetic: Table, train: Table, test: Table, seeds: int, limit: int, seed: int, tick: Callable[[], None]
) -> dict[str, Any]:
    """What filling up the rare classes is worth, to the boosting of the classes as they are."""
    if train.schema.regression:
        found = top_up.skipped("the target is a number")
    else:

        def answers(real: np.ndarray, made: np.ndarray) -> np.ndarray:
            rows = _joined(train.take(real), synthetic.take(made))
            with fixed_protocol():
                each = [train_judge(ALL_ROWS, rows, seed + 1000 * number)(test) for number in range(seeds)]
            return np.stack(each).argmax(-1)

        real, made, tested = (table.answers() for table in (train, synthetic, test))
        found = top_up.evaluate(answers, real, made, tested, train.schema.classes, limit=limit, seed=seed, tick=tick)
    return {**found, "said": top_up.sentence(found, "gradient boosting", "row")}


def _scores(positive: int | None, judge: str, fit: Table, tests: Sequence[Table], seed: int) -> list[float]:
    """A score per test table; 0.5, or 0 of R², where the rows are all alike."""
    with fixed_protocol():
        answer = train_judge(judge, fit, seed)
        found = [score(table, answer(table), positive)[measure(table)] for table in tests]
    nothing = 0.0 if fit.schema.regression else 0.5
    return [nothing if value is None else value for value in found]


def _ranking(
    synthetic: Table,
    train: Table,
    test: Table,
    positive: int | None,
    rows: int,
    seeds: int,
    seed: int,
    tick: Callable[[], None],
) -> dict[str, Any]:
    rows = min(rows, len(synthetic) // 2, len(train) // 2)

    def halves(table: Table, salt: int, number: int) -> agreement.Halves:
        one, other = agreement.halves([seed, salt, number], lambda rng, n: _draw(rng, table, n), rows)
        return table.take(one), table.take(other)

    return agreement.evaluate(
        JUDGES,
        functools.partial(_scores, positive),
        functools.partial(halves, synthetic, 14),
        functools.partial(halves, train, 15),
        fewer(np.random.default_rng([seed, 13]), test, 2 * rows),
        seeds=seeds,
        tick=tick,
    )


# --- variations ----------------------------------------------------------------------------------------------------


def robustness(
    found: Mapping[str, Any], synthetic: Table, train: Table, test: Table, *, seeds: int, seed: int = 0
) -> dict[str, Any]:
    """Does the verdict on usefulness survive another classifier, another seed, and a change that keeps the answers?

    Args:
        found: the utility part of the report, with `kept` (`tabular_report.with_shares`).
        synthetic: the table that is judged.
        train: real rows.
        test: real rows that nothing has seen.
        seeds: of the boosting that is trained on the changed rows.
        seed: of everything random here.

    Returns:
        `level`, the verdict's; `checks`, a list of {"name", "level", "kept"}: the share of what real rows teach.
    """
    main, mean = tabular_report.measures(found)
    boosting = found["boosting"]
    checks = [_check("other classifiers, the mean of six judges", tabular_report.kept(found["mean"], mean))]
    if "forest" in found["judges"]:
        checks.append(
            _check("another classifier, a random forest", tabular_report.kept(found["judges"]["forest"], mean))
        )
    values = boosting["tstr"][main] and boosting["tstr"][main]["values"]
    if values and len(values) > 1:
        for name, value in (("lowest", min(values)), ("highest", max(values))):
            checks.append(_check(f"the seed that scores {name}", _kept(boosting, main, value)))
    if values:
        rng = np.random.default_rng([seed, 16])
        synthetic, test = answered(synthetic), answered(test)
        place = None if found["positive"] is None else train.schema.classes.index(found["positive"])
        every = np.arange(len(synthetic))
        changed = perturbed(rng, synthetic)
        scores = _boosting(changed, train, test, place, seeds, seed, np.empty(0, np.int64), every)
        checks.append(_check("noise on the numeric features", _kept(boosting, main, float(np.mean(scores)))))
    return {"level": tabular_report.usefulness(boosting["kept"]), "checks": checks}


def _check(name: str, kept: float | None) -> dict[str, Any]:
    return {"name": name, "level": tabular_report.usefulness(kept), "kept": kept}


def _kept(part: Mapping[str, Any], main: str, value: float) -> float | None:
    """`tabular_report.kept` with another score in the place of the mean."""
    return tabular_report.kept({**part, "tstr": {main: {"mean": value}}}, main)


def perturbed(rng: np.random.Generator, table: Table) -> Table:
    """The rows with noise on each numeric feature; the target and missing values stay."""
    numbers = table.numbers.copy()
    for place, name in enumerate(table.schema.numeric):
        column = numbers[:, place]
        if name != table.schema.target and not np.isnan(column).all():
            numbers[:, place] = column + NOISE * np.nanstd(column) * rng.standard_normal(len(column))
    return frames.Table(table.schema, numbers, table.codes)
