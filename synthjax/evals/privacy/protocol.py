"""One protocol for images and tables: records as vectors in, the privacy part of a report out.

On vectors (images as they are stored, rows by `encoders.metric`) run the copies, the distance to closest record and the
membership attacks. Tables have guesses of secret columns and a published study's tests on top.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from synthjax.errors import InputError
from synthjax.evals.figure import Count, Share, figure, part, twin
from synthjax.evals.privacy import attributes, distance_tests, distances, persons, records, roc
from synthjax.evals.privacy.attacks import Tables, from_file, informed
from synthjax.evals.privacy.attributes import Guesses
from synthjax.evals.privacy.distance_tests import StudyTests
from synthjax.evals.privacy.distances import ClosePair, ClosestRecord, Duplicates, Keys, NearMatches
from synthjax.evals.privacy.records import AttackedRows, Persons, attacked_rows
from synthjax.evals.privacy.shadow import Shadows, from_scores
from synthjax.evals.privacy.summary import (
    Attack,
    Attacks,
    Findings,
    Isolated,
    ModelAttacks,
    findings,
    isolated,
    summarise,
)
from synthjax.evals.sets import Sets
from synthjax.evals.streams import stream
from synthjax.evals.subsample import sample
from synthjax.evals.table import Table, concat

BEST = "ensemble"
"""The attack that isolated records are attacked by: it is seldom far behind the best."""
RECORD_LIMIT = 50_000
"""Rows of a synthetic table whose closest record is looked for at most."""


@dataclass(frozen=True, kw_only=True)
class Membership(Attacks):
    """Attacks from the file alone, and on the model where there is one."""

    control_auc: Share | None = figure(
        "control AUC",
        "The distance attack aimed at real data that holds no training record: 0.5 without a bias of the method.",
        reference=0.5,
        detail=True,
    )
    n_public: Count
    """Records of which the attacker knew before."""
    isolated: Isolated | None = part()
    """None: there is no reference to be isolated from, or too few records."""
    persons: Attacks | None = part("by person", default=None)
    """The same of persons, each by all of its records; None: nobody has several, or it is not known whose they are."""
    model_auc: Share | None = figure(
        "AUC, asking the model",
        "The same by the best attack that asks the model itself; guessing gives 0.5.",
        "low",
        reference=0.5,
        interval="model.auc_interval",
    )
    model: Attack | None = twin()
    model_attacks: ModelAttacks | None = twin()


@dataclass(frozen=True, kw_only=True)
class Privacy:
    """Does synthetic data give its training examples away?"""

    n_synthetic: Count
    exact_matches: Count = figure(
        "exact copies, number", "Synthetic examples that equal a training one.", "low", bounds=(0, None), detail=True
    )
    exact_matches_share: Share = figure(
        "exact copies",
        "Share of synthetic examples that equal a training one; beside it, of unseen real ones.",
        "low",
        reference="exact_matches_reference",
    )
    exact_matches_reference: Share
    near_matches: NearMatches
    closest: list[ClosePair]
    duplicates: Duplicates
    dcr: ClosestRecord
    mia: Membership
    findings: Findings


@dataclass(frozen=True, kw_only=True)
class TablePrivacy(Privacy):
    """With guesses of secret columns, and the study's tests."""

    attributes: dict[str, Guesses] = part("of NAME")
    tests: StudyTests


class Attacker(NamedTuple):
    """What an attacker knows beside the file and the reference, and how much is tried."""

    scores: Mapping[str, np.ndarray] | None = None
    """How surprised the model is (low = known) by rows of `attacked_rows`: "members" (n,), "others" (m,)."""
    shadows: Shadows | None = None
    """What shadow models say of the same rows, members first."""
    public: int = 0
    """He knows of so many members, and of as many others, that they are; see `membership`."""
    seed: int = 0
    """Decides every subsample and relabelling."""
    limit: int = 10_000
    """Members and others that are looked at, and synthetic images, at most (exact copies: all)."""
    persons: Persons | None = None
    """Whose the examples are; None: each is its own."""


def evaluate(
    sets: Sets, attacker: Attacker, *, secrets: Sequence[str] | None = None, save: Path | None = None
) -> dict[str, Any]:
    """The privacy part of a report.

    Args:
        sets: what the generator made; `train`, what it was trained on; `unseen`, real examples that it cannot have
            seen; `reference`, others, which may be an empty set of images: then no attack is calibrated.
        attacker: what he knows.
        secrets: of tables, columns that are guessed from the others; default: see `attributes.default_secrets`.
        save: file for what every attack said of every record, see `records.save`.

    Returns:
        Plain values with the keys of `Privacy`, of tables of `TablePrivacy`, whose distances are in units of a range or
        a category.

    Raises:
        InputError: there are fewer than 2 training or unseen examples, or no synthetic one.
    """
    seed, limit = attacker.seed, attacker.limit
    table = isinstance(sets.train, Table)
    least = {"synthetic": 1, "train": 2, "unseen": 2, "reference": 2 if table else 0}
    for name, at_least in least.items():
        if (n := sets.domain.size(getattr(sets, name))) < at_least:
            raise InputError(f"{name}: {n} {sets.domain.unit}s, at least {at_least} needed")
    vectors = sets.vectors
    exact = Keys(*map(sets.domain.keys, (sets.synthetic, sets.train, sets.unseen)))
    if not table:
        return judge(vectors, exact, attacker, record_limit=limit, save=save)
    parts = sets.synthetic, sets.train, sets.unseen, sets.reference
    if attacker.persons is not None:  # rows of one person are not independent
        rows = attacked_rows(len(sets.train), len(sets.unseen), seed=seed, limit=limit, persons=attacker.persons)
        parts = sets.synthetic, sets.train.take(rows.members), sets.unseen.take(rows.others), sets.reference
    guessed = attributes.evaluate(*parts, secrets=secrets, seed=seed, limit=limit)
    more = {f"attributes.{name}": p for name, p in attributes.p_values(guessed).items()}
    tables = {"synthetic": sets.synthetic, "train": sets.train, "unseen": sets.unseen, "reference": sets.reference}
    found = judge(vectors, exact, attacker, record_limit=RECORD_LIMIT, save=save, more=more, tables=tables)
    tests = distance_tests.evaluate(vectors, seed=seed, limit=limit)
    return {**found, "attributes": guessed, "tests": tests}


def judge(
    vectors: Mapping[str, np.ndarray],
    exact: Keys,
    attacker: Attacker,
    *,
    record_limit: int,
    save: Path | None = None,
    more: Mapping[str, float] | None = None,
    tables: Mapping[str, Table] | None = None,
) -> dict[str, Any]:
    """All that is measured alike on vectors of any kind whose Euclidean distance means something.

    Args:
        vectors: "synthetic" (S, ...), "train" (N, ...), "unseen" (H, ...) and "reference" (R, ...), which may be empty.
        exact: keys of synthetic, train and holdout.
        attacker: what he knows.
        record_limit: synthetic examples whose closest record is looked for at most.
        save: as in `evaluate`.
        more: p-values of other tests of the same file, which `findings` corrects together with these.
        tables: the same sets as tables, for the attacks that look at columns.
    """
    seed, limit = attacker.seed, attacker.limit
    synthetic, train, holdout = (vectors[name] for name in ("synthetic", "train", "unseen"))
    seen = sample(stream(seed, "privacy.seen"), len(synthetic), limit)
    recorded = sample(stream(seed, "privacy.recorded"), len(synthetic), record_limit)
    attacked = attacked_rows(len(train), len(holdout), seed=seed, limit=limit, persons=attacker.persons)
    others = holdout[attacked.others]
    compared = (train, holdout) if attacker.persons is None else (train[attacked.members], others)
    mia, asked, guesses = membership(vectors, attacked, attacker, tables)
    if save is not None:
        records.save(save, asked, guesses)
    to_synthetic = -guesses["distance"]
    doubles = distances.duplicates(to_synthetic[: len(asked.members)], to_synthetic[len(asked.members) :], exact)
    tests = {f"mia.{name}": p for name, p in mia["p"].items()}
    tests |= {f"persons.{name}": p for name, p in mia["persons"]["p"].items()} if mia["persons"] else {}
    tests |= {f"mia.{mia['isolated']['attack']}.isolated": mia["isolated"]["p"]} if mia["isolated"] else {}
    tests |= {f"duplicates.{kind}": found["p"] for kind, found in doubles.items()}
    return {
        **distances.copies(synthetic, train, others, seen, exact),
        "duplicates": doubles,
        "dcr": distances.closest_record(synthetic[recorded], *compared, seed=seed),
        "mia": mia,
        "findings": findings({**tests, **(more or {})}),
    }


def membership(
    vectors: Mapping[str, np.ndarray],
    attacked: AttackedRows,
    attacker: Attacker,
    tables: Mapping[str, Table] | None = None,
) -> tuple[dict[str, Any], AttackedRows, dict[str, np.ndarray]]:
    """Membership attacks from the synthetic file alone, and on the model where there are scores.

    `vectors` and `tables` are those of `judge`; `attacked` says which rows of train and unseen the attacks are tried
    on. `attacker.public` members and others, at most half of each, teach the attack `informed` and are then left out of
    all figures: of them nothing is to be found out.

    Returns the part `mia` of a report; whom it is about; and what each attack said of each of them, those on the model
    under "model.NAME".
    """
    every = None if attacker.persons is None else persons.records(attacked, attacker.persons, attacker.seed)
    guesses, control = _guesses(vectors, every.rows if every else attacked, attacker, tables)
    known = _public(attacked, attacker)
    by_person = None
    if every is not None:
        if len(every.of) > len(every.attacked):
            by_person = persons.together(guesses, every.of)
        guesses = {name: guess[every.attacked] for name, guess in guesses.items()}
        control = None if control is None else control[every.attacked]
    if attacker.public:
        guesses["informed"] = informed(guesses, attacked.is_member, known)
    member = attacked.is_member[~known]
    n = len(attacked.members)
    asked = AttackedRows(attacked.members[~known[:n]], attacked.others[~known[n:]])
    guesses = {name: guess[~known] for name, guess in guesses.items()}
    found = {
        **summarise(guesses, asked, seed=attacker.seed),
        "control_auc": None if control is None else roc.judge(control[~known], member)["auc"],
        "isolated": None if control is None else isolated(BEST, guesses[BEST], -control[~known], member),
        "n_public": int(known.sum()),
        "persons": by_person
        and summarise({name: guess[~known] for name, guess in by_person.items()}, asked, seed=attacker.seed),
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


def _guesses(
    vectors: Mapping[str, np.ndarray], attacked: AttackedRows, attacker: Attacker, tables: Mapping[str, Table] | None
) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """What the attacks on the file say of these rows, and the control; see `attacks.from_file`."""
    rows = None
    if tables is not None:
        real = concat(tables["train"].take(attacked.members), tables["unseen"].take(attacked.others))
        rows = Tables(real, tables["synthetic"], tables["reference"])
    real_rows = np.concatenate([vectors["train"][attacked.members], vectors["unseen"][attacked.others]])
    return from_file(real_rows, vectors["synthetic"], vectors["reference"], seed=attacker.seed, tables=rows)


def _public(attacked: AttackedRows, attacker: Attacker) -> np.ndarray:
    """Of which records (n + m,) the attacker knows whether they are members."""
    rng = stream(attacker.seed, "privacy.public")
    parts = (len(rows) for rows in attacked)
    return np.concatenate([np.isin(np.arange(n), sample(rng, n, min(attacker.public, n // 2))) for n in parts])
