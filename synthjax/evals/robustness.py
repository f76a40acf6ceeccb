"""Does the verdict on usefulness survive another classifier, another seed, and a change that keeps the labels?

A verdict that one of them would turn is no verdict, so the usefulness is measured again with each.

    found = robustness.evaluate(sets, utility_part, seeds=2)
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from synthjax.evals.domains import Rows
from synthjax.evals.sets import Sets
from synthjax.evals.streams import stream


def evaluate(
    sets: Sets, utility: Mapping[str, Any], *, seeds: int, networks: bool = False, seed: int = 0
) -> dict[str, Any]:
    """Measures the usefulness again, with every variation of the `sets` that gave the utility part.

    `seeds` classifiers are trained anew on each changed set; with `networks` other networks are tried too
    (`Domain.networks`), on synthetic and on real data. Returns `checks`, a list of {"name", and the figures that the
    report's verdicts follow from}.
    """
    sets, domain = sets.labelled, sets.domain
    headline = domain.headline(utility)
    checks = [_check(sets, name, _means(scores)) for name, scores in domain.others(utility)]
    means = _means(headline)
    values = (headline["tstr"] or {}).get("values") or []
    if len(values) > 1:
        for which, value in (("lowest", min(values)), ("highest", max(values))):
            checks.append(_check(sets, f"the seed that scores {which}", {**means, "ours": value}))
    n = utility["n"].get("trained_on", domain.size(sets.synthetic))
    made, real = (
        domain.take(rows, domain.draw(stream(seed, "robustness.rows", which), rows, n))
        for which, rows in enumerate((sets.synthetic, sets.train))
    )

    def score(rows: Rows, **how: Any) -> float:
        answers = domain.answers(rows, sets.test, seeds=seeds, seed=seed, **how)
        return float(np.mean([domain.score(sets.test, answer) for answer in answers]))

    if values:
        changed = domain.perturb(stream(seed, "robustness.change"), made)
        checks.append(_check(sets, domain.changed, {**means, "ours": score(changed)}))
    for name, how in domain.networks() if networks else ():
        checks.append(_check(sets, name, {**means, "ours": score(made, **how), "real": score(real, **how)}))
    return {"checks": checks}


def _means(scores: Mapping[str, Any]) -> dict[str, float | None]:
    names = {"ours": "tstr", "real": "trtr", "floor": "floor"}
    return {name: scores[key] and scores[key]["mean"] for name, key in names.items()}


def _check(sets: Sets, name: str, means: Mapping[str, float | None]) -> dict[str, Any]:
    return {"name": name, **sets.domain.judgement(**means)}
