"""Words that verdicts, page and tables share: numbers as text, names of classifiers and attacks."""

from collections.abc import Sequence

from synthjax.evals.privacy import attacks, persons

JUDGES = {
    "linear": "linear model",
    "svm": "support vector machine",
    "neighbours": "nearest neighbours",
    "forest": "random forest",
    "boosting": "gradient boosting",
    "perceptron": "perceptron",
}
"""Classifiers of tables."""
ATTACKS = {
    **{row.name: row.words for row in attacks.ATTACKS},
    "informed": "all of these, by who knows a few members",
}
"""Membership attacks from the file."""
MODEL_ATTACKS = {
    "score": "asks the model itself",
    "difficulty": "asks the model, less what shadow models say",
    "lira": "asks the model, likelihood ratio over shadow models",
}
"""Membership attacks on the model itself."""
NAMED = 5
"""Missing classes that a sentence names at most."""


def percent(share: float) -> str:
    """A share as text: 96.8 %; one digit more where a tenth of a per cent is too coarse."""
    return f"{100 * share:.2f} %" if 0 < share < 0.001 else f"{100 * share:.1f} %"


def p_value(p: float) -> str:
    """A p-value as text: 0.012; a tiny one is not given to a digit that means nothing."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def attack(name: str, unit: str) -> str:
    """A membership attack in words; `unit` is what an example is called."""
    base = name.removesuffix(persons.LARGEST)
    more = "" if base == name else f", the {unit} that tells most"
    return {**ATTACKS, **MODEL_ATTACKS}.get(base, base).format(unit=unit) + more


def lower(text: str) -> str:
    """A sentence as it goes on within another."""
    return text[:1].lower() + text[1:]


def missing_classes(names: Sequence[str], unit: str) -> str:
    """What it means that a synthetic set lacks the classes of these names, a sentence."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    which = f"class{'es' * (len(names) > 1)} {', '.join(f'“{name}”' for name in names[:NAMED])}{more}"
    return f"No synthetic {unit} is of {which}: a classifier trained on this data alone never answers so."
