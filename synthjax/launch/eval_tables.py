"""Judges a synthetic table: the side of `launch.eval` that knows what a row is."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthjax import data
from synthjax.evals import frames, tabular, tabular_page, tabular_privacy, tabular_report, tabular_utility
from synthjax.evals.frames import Table
from synthjax.launch import judging, table_subjects
from synthjax.launch.judging import say, tell, timed
from synthjax.launch.table_subjects import TableSubject

SEEDS = tabular_utility.SEEDS
LIMITS = {"c2st": tabular.LIMIT, "judges": tabular_utility.LIMIT, "attacked": tabular_privacy.LIMIT}
"""Rows that the two-sample test, the six judges and the attacks look at, at most."""
QUICK_SEEDS = 2
QUICK = {"c2st": 5_000, "judges": 1_000, "attacked": 1_000}
"""The same for a first look."""


def spelt(kinds: Mapping[str, str]) -> dict[str, str]:
    """Kinds of columns as `frames.read` is told them.

    Truths are spelt alike in all frames, and on the page as in the files: they need no words of their own.
    """
    return {name: "categorical" if kind == "boolean" else kind for name, kind in kinds.items()}


def witnesses(subject: TableSubject, tables: dict[str, Table]) -> tuple[data.Split, Table, Table]:
    """The rows that the generator cannot have seen, encoded and as they are, and others: the attacker's reference."""
    real = subject.real
    if subject.unseen == "holdout":
        return real.holdout, tables["holdout"], tables["test"]
    attacked, known = table_subjects.halves(len(real.test.x))
    others = data.Split(*(array[attacked] for array in real.test))
    return others, tables["test"].take(attacked), tables["test"].take(known)


def judge_privacy(subject: TableSubject, tables: dict[str, Table], *, seed: int, limit: int) -> dict[str, Any]:
    """The privacy part of the report, the attack on the model included where there is one."""
    others, unseen, reference = witnesses(subject, tables)
    scores = judging.model_scores(subject.run, subject.real.train, others, seed=seed, limit=limit)
    return tabular_privacy.evaluate(
        tables["synthetic"], tables["train"], unseen, reference, scores=scores, seed=seed, limit=limit
    )


def judge(
    subject: TableSubject, tables: dict[str, Table], *, seeds: int, limits: dict[str, int], seed: int, quick: bool
) -> dict[str, Any]:
    """The whole report; prints each part's verdict as soon as it is there."""
    three = tables["synthetic"], tables["train"], tables["test"]
    parts: dict[str, Any] = {"utility": None}
    seconds: dict[str, float] = {}
    likeness = functools.partial(tabular.evaluate, *three, seed=seed, limit=limits["c2st"])
    parts["fidelity"] = timed(seconds, "fidelity", likeness)
    tell(tabular_report.alike(parts["fidelity"]), seconds["fidelity"])
    if subject.target is not None:
        scores = functools.partial(tabular_utility.evaluate, *three, seeds=seeds, limit=limits["judges"], seed=seed)
        work = functools.partial(judging.with_bar, "judges", lambda progress: scores(progress=progress))
        found = timed(seconds, "utility", work)
        parts["utility"] = tabular_report.with_shares(found)
        tell(tabular_report.useful(parts["utility"]), seconds["utility"])
    attacks = functools.partial(judge_privacy, subject, tables, seed=seed, limit=limits["attacked"])
    parts["privacy"] = timed(seconds, "privacy", attacks)
    tell(tabular_report.private(parts["privacy"]), seconds["privacy"])
    settings = {
        "columns": subject.kinds,
        "target": subject.target,
        "notes": list(subject.notes),
        "missing_columns": [name for name in subject.kinds if name not in subject.frames["synthetic"]],
        "non_members": subject.unseen,
        **{"seeds": seeds, "limits": limits, "seed": seed, "quick": quick},
    }
    made = {"examples": len(tables["synthetic"])}
    manifest = judging.describe(subject.real, subject.run, made, subject.file, settings, seconds)
    return tabular_report.assemble(manifest, **parts)


def run(subject: TableSubject, out: Path, *, quick: bool, seed: int, seeds: int | None = None) -> dict[str, Any]:
    """Judges, writes report.json and report.html into `out`, and returns the report."""
    real = subject.real
    tables = frames.read(subject.frames, spelt(subject.kinds), subject.target)
    say(
        f"judging {len(tables['synthetic']):,} synthetic rows in {subject.file} against {real.name}: "
        f"{len(real.train.x):,} train, {len(real.holdout.x):,} holdout, {len(real.test.x):,} test"
    )
    for note in subject.notes:
        say(f"note: {note}")
    found = judge(
        subject,
        tables,
        seeds=seeds or (QUICK_SEEDS if quick else SEEDS),
        limits=QUICK if quick else LIMITS,
        seed=seed,
        quick=quick,
    )
    judging.finish(out, found, tabular_page.render(found, {**tables, "reference": witnesses(subject, tables)[2]}))
    return found
