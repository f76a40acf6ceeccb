"""Attribute inference: does a synthetic table help to guess a secret of those whom it was made from?

An attacker knows all columns of a person but one. What he can learn about people in general, from any good data of that
kind, is no leak; so the guesses about training rows are held against the same guesses about unseen rows, the control
(Giomi et al. 2023, PoPETs 2023(2), Anonymeter; Stadler et al. 2022, USENIX Security). Two attackers and a baseline:

    boosting     histogram boosting that learns the secret from the synthetic rows
    nearest      the secret of the synthetic row that is nearest in the known columns, claimed only where it is as near
                 as for the nearest 1 % of the control: what a copied row gives away. A hit is a claim that is right
    without      boosting that learns from the attacker's own real rows instead: what there is to learn without the file

A category is right if it is the very one, a number if it is off by at most 5 % of the range between the training rows'
1 % and 99 % quantiles. Rows that lack the secret are left out.

    found = evaluate(synthetic, train, holdout, reference, secrets=["income"])
    found["income"]["nearest"]["gain"], found["income"]["nearest"]["p"]
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthjax.errors import InputError
from synthjax.evals import encoders
from synthjax.evals.figure import part
from synthjax.evals.neighbours import nearest
from synthjax.evals.privacy.distances import OfMembers, compare
from synthjax.evals.streams import stream
from synthjax.evals.table import Table
from synthjax.evals.threads import single_thread

SECRETS = 3
"""Columns that are guessed where none are named."""
FIT_LIMIT = 5_000
"""Rows that boosting learns from at most."""
ITERATIONS = 50
NEAR_QUANTILE = 0.01
TOLERANCE = 0.05
ATTACKERS = ("boosting", "nearest")


@dataclass(frozen=True, kw_only=True)
class Guesses:
    """How often one secret column is guessed; `tolerance` of a number."""

    boosting: OfMembers = part("by boosting")
    nearest: OfMembers = part("by the nearest synthetic row")
    without: OfMembers = part("by boosting without the file")
    tolerance: float | None


def default_secrets(table: Table) -> list[str]:
    """The columns that are guessed if none are named: the target, then those of the most uncertain categories.

    At most `SECRETS`; numbers only where there are too few columns of categories.
    """
    schema = table.schema

    def entropy(name: str) -> float:
        codes = table.column(name)
        share = np.bincount(codes[codes >= 0]) / max((codes >= 0).sum(), 1)
        share = share[share > 0]
        return float(-(share * np.log(share)).sum())

    # A column that tells almost every row apart, such as a name, cannot be learnt.
    discrete = [
        name
        for name, known in zip(schema.discrete, schema.categories, strict=True)
        if 2 <= len(known) <= max(len(table) // 20, 2)
    ]
    ranked = [*sorted(discrete, key=entropy, reverse=True), *schema.numeric]
    first = [schema.target] if schema.target is not None else []
    return [*first, *(name for name in ranked if name != schema.target)][:SECRETS]


def evaluate(
    synthetic: Table,
    train: Table,
    holdout: Table,
    reference: Table,
    *,
    secrets: Sequence[str] | None = None,
    seed: int = 0,
    limit: int = 10_000,
) -> dict[str, Any]:
    """Guesses each secret column of training rows and of unseen ones.

    Args:
        synthetic: what the generator made.
        train: what it was trained on.
        holdout: rows that it cannot have seen: the control.
        reference: real rows of the attacker.
        secrets: columns; default: see `default_secrets`.
        seed: of subsamples and of boosting.
        limit: training rows and control rows that are guessed at most.

    Returns:
        By column the keys of `Guesses`, members being training rows and others the control. Columns that no row or one
        value has are left out, and all of them where there is but one column.

    Raises:
        InputError: a column is none of the table's.
    """
    names = (*train.schema.numeric, *train.schema.discrete)
    for name in secrets or ():
        if name not in names:
            raise InputError(f"secrets: {name!r} is not a column that is compared; those are {', '.join(names)}")
    if len(names) < 2:
        return {}
    rng = stream(seed, "privacy.attributes")
    members, control = (table.sample(rng, limit) for table in (train, holdout))
    found = {}
    for name in secrets if secrets is not None else default_secrets(train):
        if (of := _guess(name, synthetic, members, control, reference, rng)) is not None:
            found[name] = of
    return found


def p_values(found: Mapping[str, Any]) -> dict[str, float]:
    """Of what `evaluate` returned, by COLUMN.ATTACKER."""
    return {f"{name}.{attacker}": of[attacker]["p"] for name, of in found.items() for attacker in ATTACKERS}


def _guess(
    name: str, synthetic: Table, members: Table, control: Table, reference: Table, rng: np.random.Generator
) -> dict[str, Any] | None:
    """One secret; None where too little is known of it."""
    is_number = name in members.schema.numeric
    others = [other for other in (*members.schema.numeric, *members.schema.discrete) if other != name]
    parts = [table.known(name) for table in (synthetic, members, control, reference)]
    if min(map(len, parts)) < 2 or min(len(np.unique(table.column(name))) for table in parts[:2]) < 2:
        return None
    made, targets, controls, own = parts
    tolerance = None
    if is_number:
        low, high = np.quantile(targets.column(name), [0.01, 0.99])
        tolerance = float(TOLERANCE * (high - low))

    def right(guess: np.ndarray, table: Table) -> np.ndarray:
        truth = table.column(name)
        return guess == truth if tolerance is None else np.abs(guess - truth) <= tolerance

    def hits(guesses: Iterator[np.ndarray]) -> dict[str, Any]:
        return compare(*(right(guess, table) for guess, table in zip(guesses, (targets, controls), strict=True)))

    encode = encoders.metric(made.select(others))
    known = encode(made.select(others))
    (to_targets, at_targets), (to_controls, at_controls) = (
        nearest(encode(table.select(others)), known) for table in (targets, controls)
    )
    near = np.quantile(to_controls, NEAR_QUANTILE)
    claims = [
        right(made.column(name)[at[:, 0]], table) & (to[:, 0] <= near)
        for at, to, table in ((at_targets, to_targets, targets), (at_controls, to_controls, controls))
    ]
    return {
        "boosting": hits(_boosting(name, others, made, (targets, controls), rng)),
        "nearest": compare(*claims),
        "without": hits(_boosting(name, others, own, (targets, controls), rng)),
        "tolerance": tolerance,
    }


def _boosting(
    name: str, others: Sequence[str], learnt: Table, tables: Sequence[Table], rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """What histogram boosting, having learnt from some rows, says of the secret of others: (N,) for each table."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    rows = learnt.sample(rng, FIT_LIMIT)
    values = rows.column(name)
    if len(np.unique(values)) < 2:
        yield from (np.full(len(table), values[0]) for table in tables)
        return
    known = rows.select(others)
    encode, categorical = encoders.ordinal(known, without_target=False)
    make = HistGradientBoostingRegressor if name in learnt.schema.numeric else HistGradientBoostingClassifier
    model = make(max_iter=ITERATIONS, early_stopping=False, categorical_features=categorical, random_state=0)
    with single_thread("openmp"):
        model.fit(encode(known), values)
        found = [model.predict(encode(table.select(others))) for table in tables]
    yield from found
