"""Judges a synthetic set of images: the side of `launch.eval` that knows what an image is."""

import functools
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from synthjax.evals import classifiers, fidelity, page, privacy, report, utility
from synthjax.launch import judging
from synthjax.launch.judging import say, tell, timed
from synthjax.launch.subjects import Subject

PROTOCOL = {"seeds": 5, "epochs": classifiers.EPOCHS, "limit": 10_000}
"""Networks per classifier, passes through the training set, examples attacked and shown to the feature net at most."""
QUICK = {"seeds": 2, "epochs": 4, "limit": 1_000}
"""The same for a first look."""


def judge_privacy(subject: Subject, *, seed: int, limit: int) -> dict[str, Any]:
    """The privacy part of the report, the attack on the model included where there is one."""
    real, run = subject.real, subject.run
    unseen, reference = (real.holdout, real.test) if subject.unseen == "holdout" else (real.test, real.holdout)
    scores = judging.model_scores(run, real.train, unseen, seed=seed, limit=limit)
    return privacy.evaluate(
        subject.synthetic, real.train, unseen, reference, real.spec, scores=scores, seed=seed, limit=limit
    )


def judge_likeness(subject: Subject, *, epochs: int, seed: int, limit: int) -> dict[str, Any]:
    """The fidelity part of the report, in the features of a CNN trained on at most `limit` real training examples."""
    real = subject.real
    rows = utility.stratified(np.random.default_rng(seed), real.train.y, limit)
    x, y = real.train.x[rows], real.train.y[rows]
    cnn = classifiers.train(jax.random.key(seed), x, y, real.spec, seeds=1, epochs=epochs)
    features = functools.partial(classifiers.features, cnn)
    labelled = cast(utility.Examples, subject.synthetic)
    return fidelity.evaluate(labelled, real.test, real.spec, features, train=real.train, seed=seed)


def judge_usefulness(subject: Subject, *, seeds: int, epochs: int, seed: int) -> dict[str, Any]:
    """The utility part of the report."""
    real = subject.real
    labelled = cast(utility.Examples, subject.synthetic)
    return judging.with_bar(
        "classifiers",
        lambda progress: utility.evaluate(
            labelled, real.train, real.test, real.spec, seeds=seeds, epochs=epochs, seed=seed, progress=progress
        ),
    )


def judge(subject: Subject, *, seeds: int, epochs: int, seed: int, limit: int, quick: bool = False) -> dict[str, Any]:
    """The whole report; prints each part's verdict as soon as it is there."""
    real = subject.real
    parts: dict[str, Any] = {"fidelity": None, "utility": None, "privacy": None}
    seconds: dict[str, float] = {}
    if subject.synthetic.y is None:
        say("the synthetic set has no labels: usefulness and likeness are not measured")
    else:
        likeness = functools.partial(judge_likeness, subject, epochs=epochs, seed=seed, limit=limit)
        parts["fidelity"] = timed(seconds, "fidelity", likeness)
        tell(report.alike(parts["fidelity"]), seconds["fidelity"])
        usefulness = functools.partial(judge_usefulness, subject, seeds=seeds, epochs=epochs, seed=seed)
        parts["utility"] = timed(seconds, "utility", usefulness)
        tell(report.useful(parts["utility"]), seconds["utility"])
    parts["privacy"] = timed(seconds, "privacy", lambda: judge_privacy(subject, seed=seed, limit=limit))
    tell(report.private(parts["privacy"]), seconds["privacy"])
    y = subject.synthetic.y
    made = {
        "examples": len(subject.synthetic.x),
        "per_class": None if y is None else np.bincount(y, minlength=real.spec.n_classes).tolist(),
    }
    settings = {"non_members": subject.unseen, "seeds": seeds, "epochs": epochs, "seed": seed, "quick": quick}
    manifest = judging.describe(real, subject.run, made, subject.file, settings, seconds)
    return report.assemble(manifest, **parts)


def run(
    subject: Subject, out: Path, *, quick: bool, seed: int, seeds: int | None = None, epochs: int | None = None
) -> dict[str, Any]:
    """Judges, writes report.json and report.html into `out`, and returns the report."""
    real, synthetic = subject.real, subject.synthetic
    say(
        f"judging {len(synthetic.x):,} synthetic examples in {subject.file} against {real.name}: {len(real.train.x):,} "
        f"train, {len(real.holdout.x):,} holdout, {len(real.test.x):,} test"
    )
    protocol = QUICK if quick else PROTOCOL
    found = judge(
        subject,
        seeds=seeds or protocol["seeds"],
        epochs=epochs or protocol["epochs"],
        limit=protocol["limit"],
        seed=seed,
        quick=quick,
    )
    html = page.render(found, real.spec, synthetic, real.train, real.test)
    judging.finish(out, found, html)
    return found
