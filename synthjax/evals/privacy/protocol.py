"""One protocol for images and tables: records as vectors in, the privacy part of a report out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from synthjax.evals.privacy import records, roc
from synthjax.evals.privacy.attacks import from_file, informed
from synthjax.evals.privacy.distances import Keys, closest_record, copies, duplicates
from synthjax.evals.privacy.records import Audience, Examples, audience, choose
from synthjax.evals.privacy.shadow import Shadows, from_scores
from synthjax.evals.privacy.summary import findings, summarise
from synthjax.model import DataSpec


def evaluate(
    synthetic: Examples,
    train: Examples,
    holdout: Examples,
    test: Examples,
    spec: DataSpec,
    *,
    scores: Mapping[str, np.ndarray] | None = None,
    shadows: Shadows | None = None,
    public: int = 0,
    seed: int = 0,
    limit: int = 10_000,
    save: Path | None = None,
) -> dict[str, Any]:
    """The privacy part of a report on images.

    Args:
        synthetic: what the generator made; x as stored (images uint8).
        train: what the generator was trained on.
        holdout: real examples that it cannot have seen, at least 2.
        test: other real examples, the attacker's reference; may be empty, then no attack is calibrated.
        spec: the data's spec.
        scores: how surprised the model is (low = known) by rows of `audience`: "members" (n,), "others" (m,).
        shadows: what shadow models say of the same rows, members first.
        public: the attacker knows of so many members, and of as many others, that they are; see `membership`.
        seed: decides every subsample and relabelling.
        limit: at most so many synthetic examples, members and others are looked at (exact copies: all).
        save: file for what every attack said of every record, see `records.save`.

    Returns:
        Plain values for JSON; the keys are those of `synthjax.evals.report.attacks.Privacy`.

    Raises:
        ValueError: if train or holdout has fewer than 2 examples, or a shape is not the spec's.
    """
    for name, part in (("synthetic", synthetic), ("train", train), ("holdout", holdout), ("test", test)):
        if part.x.shape[1:] != tuple(spec.shape):
            raise ValueError(f"{name}.x holds examples of shape {part.x.shape[1:]}, the spec says {tuple(spec.shape)}")
        if len(part.x) < (2 if name in ("train", "holdout") else 1 if name == "synthetic" else 0):
            raise ValueError(f"{name} holds {len(part.x)} examples: too few")
    exact = Keys.of(synthetic.x, train.x, holdout.x)
    attacker = Attacker(scores, shadows, public, seed, limit)
    return judge(synthetic.x, train.x, holdout.x, test.x, exact, attacker, record_limit=limit, save=save)


class Attacker(NamedTuple):
    """What an attacker knows beside the file and the reference, and how much is tried; fields as in `evaluate`."""

    scores: Mapping[str, np.ndarray] | None = None
    shadows: Shadows | None = None
    public: int = 0
    seed: int = 0
    limit: int = 10_000


def judge(
    synthetic: np.ndarray,
    train: np.ndarray,
    holdout: np.ndarray,
    reference: np.ndarray,
    exact: Keys,
    attacker: Attacker,
    *,
    record_limit: int,
    save: Path | None = None,
    more: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """All that is measured alike on vectors of any kind whose Euclidean distance means something.

    Args:
        synthetic: (S, ...); like the following, as in `evaluate`.
        train: (N, ...).
        holdout: (H, ...).
        reference: (R, ...) may be empty.
        exact: keys of synthetic, train and holdout.
        attacker: what he knows.
        record_limit: synthetic examples whose closest record is looked for at most.
        save: as in `evaluate`.
        more: p-values of other tests of the same file, which `findings` corrects together with these.
    """
    seed, limit = attacker.seed, attacker.limit
    seen, recorded = (choose(np.random.default_rng([seed, 0]), len(synthetic), most) for most in (limit, record_limit))
    attacked = audience(len(train), len(holdout), seed=seed, limit=limit)
    members, others = train[attacked.members], holdout[attacked.others]
    mia, asked, guesses = membership(synthetic, members, others, reference, attacked, attacker)
    if save is not None:
        records.save(save, asked, guesses)
    to_synthetic = -guesses["distance"]
    doubles = duplicates(to_synthetic[: len(asked.members)], to_synthetic[len(asked.members) :], exact)
    tests = {f"mia.{name}": p for name, p in mia["p"].items()}
    tests |= {f"duplicates.{kind}": found["p"] for kind, found in doubles.items()}
    return {
        **copies(synthetic, train, others, seen, exact),
        "duplicates": doubles,
        "dcr": closest_record(synthetic[recorded], train, holdout, seed=seed),
        "mia": mia,
        "findings": findings({**tests, **(more or {})}),
    }


def membership(
    synthetic: np.ndarray,
    members: np.ndarray,
    others: np.ndarray,
    reference: np.ndarray,
    attacked: Audience,
    attacker: Attacker,
) -> tuple[dict[str, Any], Audience, dict[str, np.ndarray]]:
    """Membership attacks from the synthetic file alone, and on the model where there are scores.

    Args:
        synthetic: (S, ...).
        members: (n, ...) rows `attacked.members` of the training set.
        others: (m, ...) rows `attacked.others` of the holdout.
        reference: (R, ...) may be empty.
        attacked: which rows those are.
        attacker: what he knows. `public` members and others, at most half of each, teach the attack `informed` and
            are then left out of all figures: of them nothing is to be found out.

    Returns:
        The part `mia` of a report; whom it is about; and what each attack said of each of them, those on the model
        under "model.NAME".
    """
    real = np.concatenate([members, others])
    guesses, control = from_file(real, synthetic, reference, seed=attacker.seed)
    known = _public(attacked, attacker)
    if attacker.public:
        guesses["informed"] = informed(guesses, attacked.is_member, known)
    member = attacked.is_member[~known]
    asked = Audience(attacked.members[~known[: len(members)]], attacked.others[~known[len(members) :]])
    guesses = {name: guess[~known] for name, guess in guesses.items()}
    found = {
        **summarise(guesses, asked, seed=attacker.seed),
        "control_auc": None if control is None else roc.judge(control[~known], member)["auc"],
        "n_public": int(known.sum()),
        **{"model_auc": None, "model": None, "model_attacks": None},
    }
    if attacker.scores is not None:
        surprise = np.concatenate([np.asarray(attacker.scores[name], np.float64) for name in ("members", "others")])
        on_model = {name: guess[~known] for name, guess in from_scores(surprise, attacker.shadows).items()}
        judged = summarise(on_model, asked, seed=attacker.seed)
        best = judged["attacks"][judged["best"]["auc"]]
        found.update(model_auc=best["auc"], model=best, model_attacks={**judged, "findings": findings(judged["p"])})
        guesses |= {f"model.{name}": guess for name, guess in on_model.items()}
    return found, asked, guesses


def _public(attacked: Audience, attacker: Attacker) -> np.ndarray:
    """Of which records (n + m,) the attacker knows whether they are members."""
    rng = np.random.default_rng([attacker.seed, 9])
    parts = (len(rows) for rows in attacked)
    return np.concatenate([np.isin(np.arange(n), choose(rng, n, min(attacker.public, n // 2))) for n in parts])
