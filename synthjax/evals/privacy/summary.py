"""What a set of attacks amounts to: figures of each, of the best, and which records are hit worst.

*How the best attack is chosen.* Each headline figure is the largest over the attacks, on the very examples it is
reported for, which errs towards alarm. Choosing is paid for: the AUC's interval is simultaneous over the attacks
(DeLong's variance, Bonferroni), and `chance` says what the largest figure reaches when membership is shuffled, that is,
with no leak at all (mean and 95 % quantile of the same maximum over `SHUFFLES` relabellings); `p_value` is the share
of relabellings that reach the figure, the true one counted among them. `surest` is the attack whose simultaneous
interval reaches furthest above 1/2: an attack that is sure of few has a small AUC and a far smaller variance.

*Isolated records.* Those who stand out are recognised first (Meeus et al. 2023, arXiv:2306.10308), and an average does
not show it: `isolated` judges one attack on the records alone that are furthest from the attacker's other real data.

`p` holds the p-value of every figure of every attack. `findings` corrects those, and any others of the same file, by
Holm; what it flags is wrong in at most one of twenty files that leak nothing.

*Worst hit.* Members in the order of the attack with the smallest p-value (at equal ones, of that which finds most
members at 0.1 % false alarms), each with its false alarms: the share of others that the attack holds for members at
least as firmly. Twice as many are named as that attack finds at 0.1 %, at least `NAMED_AT_LEAST` and at most
`NAMED_AT_MOST`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from synthjax.evals.figure import Count, Interval, Share, figure, part
from synthjax.evals.privacy.records import AttackedRows
from synthjax.evals.privacy.roc import FPR, SHUFFLES, auc_p, bootstrap, by_chance, holm, judge, p_values

LEVEL = 0.05
"""Probability of a false accusation, over all tests together."""
ISOLATED = 0.1
"""Share of the records that count as isolated."""
NAMED_AT_LEAST = 20
NAMED_AT_MOST = 1000
_HEADLINES = ("auc", *FPR)
_SURE = "tpr_at_fpr_0p1pct"


Headline = Literal["auc", "tpr_at_fpr_1pct", "tpr_at_fpr_0p1pct"]
"""The figures of an attack."""
_GUESS = "guessing gives 0.5"


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One membership attack; the intervals hold for all attacks at once."""

    auc: Share = figure("AUC", f"Chance that a training record is ranked above an unseen one; {_GUESS}.", "low")
    tpr_at_fpr_1pct: Share = figure("found at 1 % false alarms", "Share of training records found.", "low")
    tpr_at_fpr_0p1pct: Share = figure("found at 0.1 % false alarms", "Share of training records found.", "low")
    auc_interval: Interval
    tpr_at_fpr_1pct_interval: Interval
    tpr_at_fpr_0p1pct_interval: Interval
    roc: dict[Literal["fpr", "tpr"], list[Share]]
    """Thinned."""
    bootstrap: dict[Headline, Interval]


@dataclass(frozen=True, kw_only=True)
class Surest:
    """The attack whose simultaneous interval reaches furthest above 1/2."""

    attack: str
    auc: Share
    auc_interval: Interval


@dataclass(frozen=True, kw_only=True)
class Isolated:
    """One attack on isolated records alone."""

    attack: str
    auc: Share = figure(
        "AUC among isolated records",
        f"Of the ensemble of attacks among the tenth of records furthest from other real ones; {_GUESS}.",
        "low",
        reference=0.5,
        interval="auc_interval",
    )
    auc_interval: Interval
    p: Share = figure("p among isolated records", "Training records are ranked higher; uncorrected.", detail=True)
    n_members: Count
    n_others: Count


@dataclass(frozen=True, kw_only=True)
class WorstHit:
    """Training rows, worst hit first, each with the share of others that it is confused with."""

    attack: str
    records: list[Count]
    false_alarms: list[Share]


@dataclass(frozen=True, kw_only=True)
class Attacks:
    """Several attacks on the same records; each headline figure is the largest over them."""

    auc: Share = figure(
        "membership AUC",
        f"Chance that the best attack ranks a training record above an unseen one; {_GUESS}.",
        "low",
        reference=0.5,
        interval="auc_interval",
    )
    tpr_at_fpr_1pct: Share = figure(
        "found at 1 % false alarms",
        "Share of training records that the best attack finds; without a leak about 1 %.",
        "low",
        reference="chance.tpr_at_fpr_1pct.mean",
    )
    tpr_at_fpr_0p1pct: Share = figure(
        "found at 0.1 % false alarms",
        "Share of training records that the best attack is sure of; without a leak about 0.1 %.",
        "low",
        reference="chance.tpr_at_fpr_0p1pct.mean",
    )
    auc_interval: Interval
    p_value: dict[Headline, Share]
    """Share of relabellings that reach the figure."""
    chance: dict[Headline, dict[Literal["mean", "q95"], Share]]
    """What the figure reaches when membership is shuffled."""
    best: dict[Headline, str]
    """Which attack each figure is from."""
    surest: Surest
    p: dict[str, Share] = figure("p of NAME", "p-value of one figure of one attack, uncorrected.", detail=True)
    worst_hit: WorstHit
    attacks: dict[str, Attack] = part("attack NAME")
    n_members: Count
    n_others: Count


@dataclass(frozen=True, kw_only=True)
class Findings:
    """The p-values of all tests of a file, corrected together by Holm, and those at or below `level`."""

    holm: dict[str, Share] = figure(
        "corrected p of NAME", "p-value of one test, corrected for all of them.", detail=True
    )
    flagged: list[str]
    level: Share


@dataclass(frozen=True, kw_only=True)
class ModelAttacks(Attacks):
    """Attacks on the model itself."""

    findings: Findings


def summarise(guesses: Mapping[str, np.ndarray], attacked: AttackedRows, *, seed: int = 0) -> dict[str, Any]:
    """The figures of some attacks on the same records.

    Args:
        guesses: attack -> (n + m,) f64, high = member; members first.
        attacked: the n members and m others.
        seed: of resamples and relabellings.

    Returns:
        Plain values with the keys of `Attacks`; see the module.
    """
    is_member = attacked.is_member
    # Bonferroni: the interval of whichever attack turns out best must hold for all of them at once.
    level = 1 - LEVEL / len(guesses)
    each = {
        name: {**judge(guess, is_member, level), "bootstrap": bootstrap(guess, is_member, seed=seed)}
        for name, guess in guesses.items()
    }
    best = {key: max(each, key=lambda name: each[name][key]) for key in _HEADLINES}
    surest = max(each, key=lambda name: each[name]["auc_interval"][0])
    shuffled = by_chance(np.stack(list(guesses.values())), is_member, seed)
    p = {f"{name}.{key}": value for name, guess in guesses.items() for key, value in p_values(guess, is_member).items()}
    return {
        **{key: each[best[key]][key] for key in _HEADLINES},
        "auc_interval": each[best["auc"]]["auc_interval"],
        "p_value": {k: float((1 + np.sum(v >= each[best[k]][k])) / (1 + SHUFFLES)) for k, v in shuffled.items()},
        "chance": {key: {"mean": float(v.mean()), "q95": float(np.quantile(v, 0.95))} for key, v in shuffled.items()},
        "best": best,
        "surest": {"attack": surest, **{key: each[surest][key] for key in ("auc", "auc_interval")}},
        "p": p,
        "worst_hit": _worst_hit(guesses, attacked, p, each),
        "attacks": each,
        "n_members": len(attacked.members),
        "n_others": len(attacked.others),
    }


def isolated(attack: str, guess: np.ndarray, apart: np.ndarray, is_member: np.ndarray) -> dict[str, Any] | None:
    """One attack on the records that are furthest from other real data.

    Args:
        attack: its name.
        guess: (n,) what it says, high = member.
        apart: (n,) how far they are; nothing that depends on who is a member.
        is_member: (n,) bool.

    Returns:
        Plain values with the keys of `Isolated`; None of fewer than 2 members or others.
    """
    # Ties are all in: to choose among them by their place would favour members, who come first.
    chosen = apart >= np.quantile(apart, 1 - ISOLATED)
    guess, is_member = guess[chosen], is_member[chosen]
    members, others = int(is_member.sum()), int((~is_member).sum())
    if min(members, others) < 2:
        return None
    found = judge(guess, is_member)
    return {
        "attack": attack,
        "auc": found["auc"],
        "auc_interval": found["auc_interval"],
        "p": auc_p(guess, is_member),
        "n_members": members,
        "n_others": others,
    }


def findings(p: Mapping[str, float]) -> dict[str, Any]:
    """Which of some tests count, all of them taken together: `holm`, adjusted p-values; `flagged`, names; `level`."""
    adjusted = holm(p)
    return {"holm": adjusted, "flagged": [name for name, value in adjusted.items() if value <= LEVEL], "level": LEVEL}


def _worst_hit(
    guesses: Mapping[str, np.ndarray], attacked: AttackedRows, p: Mapping[str, float], each: Mapping[str, Any]
) -> dict[str, Any]:
    """The members that the surest attack is surest of (see module)."""
    name = min(each, key=lambda attack: (p[f"{attack}.{_SURE}"], -each[attack][_SURE]))
    guess, members = guesses[name], len(attacked.members)
    found = round(each[name][_SURE] * members)
    order = np.argsort(-guess[:members], kind="stable")[: int(np.clip(2 * found, NAMED_AT_LEAST, NAMED_AT_MOST))]
    others = np.sort(guess[members:])
    at_least = len(others) - np.searchsorted(others, guess[order], side="left")
    return {
        "attack": name,
        "records": attacked.members[order].tolist(),
        "false_alarms": (at_least / len(others)).tolist(),
    }
