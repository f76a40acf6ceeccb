"""Judges a synthetic table: the side of `launch.eval` that knows what a row is."""

import dataclasses
import functools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthjax import data
from synthjax.evals import (
    amounts,
    frames,
    judges,
    table_studies,
    tabular,
    tabular_page,
    tabular_privacy,
    tabular_report,
    tabular_utility,
    top_up,
)
from synthjax.evals.frames import Table
from synthjax.evals.privacy import overlap
from synthjax.launch import judging, shadows, subjects
from synthjax.launch.judging import Parts, remark, say, tell
from synthjax.launch.table_subjects import TableSubject


@dataclass(frozen=True)
class Protocol:
    """How much is done; numbers of rows are upper bounds."""

    seeds: int
    """Judges of each kind per training set."""
    c2st: int
    """Rows that the two-sample test looks at."""
    judges: int
    """Rows that the six judges are trained and tested on."""
    attacked: int
    """Rows that the attacks look at."""
    real: int
    """Real rows that are topped up with synthetic ones."""
    most: int
    """Rows at the end of the learning curve."""
    filled: int
    """Rows of the table whose rare classes are filled up, with those that fill it."""
    ranked: int
    """Rows that the ranked judges are trained on."""
    varied: int
    """Seeds of the studies and variations."""
    shadows: int = 0
    """Models trained like the run's own, where that has a score, to calibrate the attacks on it."""
    public: int = 0
    """Members, and as many others, of whom the attacker knows beforehand that they are."""


LEVELS = {
    "look": Protocol(2, 5_000, 1_000, 1_000, real=200, most=500, filled=1_000, ranked=200, varied=1),
    "quick": Protocol(
        4,
        tabular.LIMIT,
        tabular_utility.LIMIT,
        tabular_privacy.LIMIT,
        real=1_000,
        most=10_000,
        filled=20_000,
        ranked=1_000,
        varied=2,
    ),
    "full": Protocol(
        tabular_utility.SEEDS,
        tabular.LIMIT,
        tabular_utility.LIMIT,
        tabular_privacy.LIMIT,
        real=5_000,
        most=100_000,
        filled=100_000,
        ranked=5_000,
        varied=5,
        shadows=16,
    ),
}
SPLITS = ("train", "holdout", "test")
PARTS = ("fidelity", "utility", "studies", "robustness", "privacy")


def witnesses(subject: TableSubject, tables: dict[str, Table]) -> tuple[data.Split, Table, Table]:
    """The rows that the generator cannot have seen, encoded and as they are, and others: the attacker's reference."""
    real = subject.real
    if subject.unseen == "holdout":
        return real.holdout, tables["holdout"], tables["test"]
    attacked, known = subjects.halves(len(real.test.x))
    others = data.Split(*(array[attacked] for array in real.test))
    return others, tables["test"].take(attacked), tables["test"].take(known)


def judge_privacy(
    subject: TableSubject,
    tables: dict[str, Table],
    *,
    seed: int,
    limit: int,
    models: int = 0,
    keep: shadows.Keep = shadows.again,
    public: int = 0,
    save: Path | None = None,
) -> dict[str, Any]:
    """The privacy part of the report, attacks on the model, with so many shadow models, included where there is one.

    The attacker knows beforehand of `public` members, and of as many others, that they are.
    """
    others, unseen, reference = witnesses(subject, tables)
    run, train = subject.run, subject.real.train
    scores = judging.model_scores(run, train, others, seed=seed, limit=limit)
    shadowed = None
    if run and models:
        shadowed = shadows.attack(run, train, others, models=models, seed=seed, limit=limit, keep=keep)
    asked: dict[str, Any] = {
        "scores": scores,
        "shadows": shadowed,
        "seed": seed,
        "limit": limit,
        "public": public,
        "save": save,
    }
    return tabular_privacy.evaluate(tables["synthetic"], tables["train"], unseen, reference, **asked)


def judge_usefulness(
    parts: Parts, tables: tuple[Table, Table, Table], protocol: Protocol, *, seed: int
) -> dict[str, dict[str, Any]]:
    """The parts of the report on a table with a target that train judges: utility, studies, robustness."""
    scores = functools.partial(tabular_utility.evaluate, *tables, seeds=protocol.seeds, limit=protocol.judges)
    work = functools.partial(judging.with_bar, "judges", lambda progress: scores(seed=seed, progress=progress))
    found = parts.part("utility", lambda: tabular_report.with_shares(work()))
    tell(tabular_report.useful(found), parts.seconds["utility"])
    sizes = {name: getattr(protocol, name) for name in ("real", "most", "filled", "ranked")}
    study = functools.partial(table_studies.evaluate, *tables, positive=found["positive"], seeds=protocol.varied)
    look = functools.partial(judging.with_bar, "studies", lambda progress: study(**sizes, seed=seed, progress=progress))
    vary = functools.partial(table_studies.robustness, found, *tables, seeds=protocol.varied, seed=seed)
    studied = parts.part("studies", look)
    remark(studied["top_up"]["said"])
    return {"utility": found, "studies": studied, "robustness": parts.part("robustness", vary)}


def judge(
    subject: TableSubject,
    tables: dict[str, Table],
    out: Path,
    protocol: Protocol,
    *,
    seed: int,
    level: str,
) -> tuple[dict[str, Any], Parts]:
    """The report without times and verdicts, and its parts; says each part's verdict as soon as it is there."""
    three = tables["synthetic"], tables["train"], tables["test"]
    real_sets = {name: tabular_privacy.keys(tables[name]) if name in tables else [] for name in SPLITS}
    shared = overlap.find(**real_sets)
    notes = [*subject.notes, *overlap.sentences(shared, "row")]
    for note in notes:
        say(f"note: {note}")
    settings = {
        "columns": subject.kinds,
        "target": subject.target,
        "notes": notes,
        "overlap": shared,
        "missing_columns": [name for name in subject.kinds if name not in subject.frames["synthetic"]],
        "non_members": subject.unseen,
        "limits": {name: getattr(protocol, name) for name in ("c2st", "judges", "attacked")},
        **{"seeds": protocol.seeds, "seed": seed, "quick": level == "look", "level": level},
        "protocol": dataclasses.asdict(protocol),
    }
    made = {"examples": len(tables["synthetic"])}
    manifest = judging.describe(subject.real, subject.run, made, subject.file, settings, {})
    parts = Parts(out, judging.identity(manifest), PARTS)
    found: dict[str, Any] = dict.fromkeys(("utility", "studies", "robustness"))
    likeness = functools.partial(tabular.evaluate, *three, seed=seed, limit=protocol.c2st)
    found["fidelity"] = parts.part("fidelity", likeness)
    tell(tabular_report.alike(found["fidelity"]), parts.seconds["fidelity"])
    if subject.target is not None:
        found |= judge_usefulness(parts, three, protocol, seed=seed)
    more: dict[str, Any] = {"models": protocol.shadows, "keep": parts.arrays, "public": protocol.public}
    more["save"] = out / judging.SCORES
    attacks = functools.partial(judge_privacy, subject, tables, seed=seed, limit=protocol.attacked, **more)
    found["privacy"] = parts.part("privacy", attacks)
    tell(tabular_report.private(found["privacy"]), parts.seconds["privacy"])
    return tabular_report.assemble(manifest, **found), parts


def estimate(subject: TableSubject, tables: dict[str, Table], protocol: Protocol) -> float:
    """Seconds that the judges will take, from the time of each on 250 and on 1,000 rows on this machine."""
    if subject.target is None:
        return 0.0
    made = table_studies.answered(tables["synthetic"])
    n, real = len(made), min(protocol.real, len(tables["train"]))
    curve, sets = amounts.sizes(min(protocol.most, n)), 3 * protocol.seeds
    mixed = [real * (1 + factor) for factor in amounts.MIX]
    fills = table_studies.fills(table_studies.answered(tables["train"]), protocol.filled)
    # Trainings, and rows that they take in all, of the boosting on all rows and of each of the six judges.
    boosting = sets + protocol.varied * (2 * len(curve) + len(mixed) + 1 + top_up.TRAININGS * bool(fills))
    rows = sets * n + protocol.varied * (2 * sum(curve) + sum(mixed) + n + top_up.TRAININGS * fills)
    ranks = 2 * protocol.varied
    six = sets * min(protocol.judges, n) + ranks * min(protocol.ranked, n // 2)
    total = 0.0
    for judge in (judges.ALL_ROWS, *judges.JUDGES):
        start, slope = _pace(judge, made)
        total += start * boosting + slope * rows if judge == judges.ALL_ROWS else start * (sets + ranks) + slope * six
    return total


def _pace(judge: str, table: Table) -> tuple[float, float]:
    """Seconds that training a judge takes however few the rows, and seconds per row."""
    seconds = []
    for n in (250, 1_000):
        rows = table.take(np.arange(n) % len(table))
        with judges.alone():  # as the work itself
            begun = time.monotonic()
            judges.train_judge(judge, rows, 0)(rows)
            seconds.append(time.monotonic() - begun)
    slope = max(seconds[1] - seconds[0], 0) / 750
    return max(seconds[0] - 250 * slope, 0), slope


def run(
    subject: TableSubject,
    out: Path,
    *,
    seed: int,
    seeds: int | None = None,
    level: str = "quick",
    shadows: int | None = None,
    public: int = 0,
) -> dict[str, Any]:
    """Judges, writes the files of the report into `out`, and returns the report."""
    real = subject.real
    assert real.table is not None
    tables = frames.read(subject.frames, real.table.schema.comparable_kinds(), subject.target)
    say(
        f"judging {len(tables['synthetic']):,} synthetic rows in {subject.file} against {real.name}: "
        f"{len(real.train.x):,} train, {len(real.holdout.x):,} holdout, {len(real.test.x):,} test"
    )
    protocol = LEVELS[level]
    wanted = judging.shadow_models(subject.run, protocol.shadows if shadows is None else shadows)
    protocol = dataclasses.replace(protocol, seeds=seeds or protocol.seeds, shadows=wanted, public=public)
    if level == "full":
        attacks = functools.partial(judge_privacy, subject, tables, seed=seed)
        times = {
            "judges": estimate(subject, tables, protocol),
            "attacks": judging.extrapolate(attacks, protocol.attacked),
        }
        say(judging.forecast(times, subject.run, protocol.shadows))
    found, parts = judge(subject, tables, out, protocol, seed=seed, level=level)
    shown = {**tables, "reference": witnesses(subject, tables)[2]}
    return judging.finish(out, found, lambda whole: tabular_page.render(whole, shown), parts)
