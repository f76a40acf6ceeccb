"""Judges a synthetic set of images: the side of `launch.eval` that knows what an image is."""

import dataclasses
import functools
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from synthjax import data
from synthjax.evals import amounts, classifiers, fidelity, image_studies, page, privacy, report, top_up, utility
from synthjax.evals.privacy import overlap
from synthjax.evals.privacy.distances import keys
from synthjax.evals.subsample import stratified
from synthjax.launch import judging, shadows, subjects
from synthjax.launch.judging import Parts, remark, say, tell
from synthjax.launch.subjects import Subject


@dataclass(frozen=True)
class Protocol:
    """How much is done."""

    seeds: int
    """Networks per classifier."""
    epochs: int
    """Passes through the training set."""
    limit: int
    """Examples attacked, and shown to the feature net, at most."""
    trained: int | None
    """Examples that a network is trained on at most; None: all."""
    real: int
    """Real examples that are topped up with synthetic ones."""
    steps: int
    """Steps of each network of the learning curve and the mixing."""
    most: int
    """Examples at the end of the learning curve, at most."""
    filled: int
    """Examples of the set whose rare classes are filled up, with those that fill it, at most."""
    ranked: int
    """Examples that the ranked classifiers are trained on, at most."""
    varied: int
    """Seeds of the studies and variations."""
    network: bool
    """Whether another network is tried."""
    shadows: int = 0
    """Models trained like the run's own, where that has a score, to calibrate the attacks on it."""
    public: int = 0
    """Members, and as many others, of whom the attacker knows beforehand that they are."""


LEVELS = {
    "look": Protocol(
        2, 4, 1_000, None, real=200, steps=50, most=300, filled=1_000, ranked=200, varied=1, network=False
    ),
    "quick": Protocol(
        4,
        classifiers.EPOCHS,
        10_000,
        6_000,
        real=500,
        steps=150,
        most=1_000,
        filled=6_000,
        ranked=1_000,
        varied=2,
        network=False,
    ),
    "full": Protocol(
        5,
        classifiers.EPOCHS,
        10_000,
        None,
        real=5_000,
        steps=1_000,
        most=60_000,
        filled=60_000,
        ranked=5_000,
        varied=5,
        network=True,
        shadows=16,
    ),
}
PARTS = ("fidelity", "utility", "studies", "robustness", "privacy")


def witnesses(subject: Subject) -> tuple[data.Split, data.Split]:
    """The examples that the generator cannot have seen, and others: the attacker's reference."""
    real = subject.real
    if subject.unseen == "holdout":
        return real.holdout, real.test
    if len(real.holdout.x):
        return real.test, real.holdout
    one, other = (data.Split(*(array[rows] for array in real.test)) for rows in subjects.halves(len(real.test.x)))
    return one, other


def judge_privacy(
    subject: Subject,
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
    real, run = subject.real, subject.run
    unseen, reference = witnesses(subject)
    scores = judging.model_scores(run, real.train, unseen, seed=seed, limit=limit)
    shadowed = None
    if run and models:
        shadowed = shadows.attack(run, real.train, unseen, models=models, seed=seed, limit=limit, keep=keep)
    asked: dict[str, Any] = {
        "scores": scores,
        "shadows": shadowed,
        "seed": seed,
        "limit": limit,
        "public": public,
        "save": save,
    }
    return privacy.evaluate(subject.synthetic, real.train, unseen, reference, real.spec, **asked)


def judge_likeness(subject: Subject, *, epochs: int, seed: int, limit: int) -> dict[str, Any]:
    """The fidelity part of the report, in the features of a CNN trained on at most `limit` real training examples.

    `network` tells the CNN: its accuracy on the real test set, the sha256 of its parameters, its training examples.
    """
    real = subject.real
    rows = stratified(np.random.default_rng(seed), real.train.y, limit)
    x, y = real.train.x[rows], real.train.y[rows]
    cnn = classifiers.train(jax.random.key(seed), x, y, real.spec, seeds=1, epochs=epochs)
    features = functools.partial(classifiers.features, cnn)
    made = cast(utility.Examples, subject.synthetic)
    others = np.setdiff1d(np.arange(len(real.train.y)), rows)
    # What the network learnt from lies further apart in its features than anything else.
    beside = data.Split(*(part[others] for part in real.train)) if len(others) >= len(real.test.y) else real.train
    found = fidelity.evaluate(made, real.test, real.spec, features, train=beside, seed=seed)
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(cnn.variables):
        digest.update(np.asarray(leaf).tobytes())
    right = classifiers.predict(cnn, real.test.x)[0].argmax(-1) == real.test.y
    network = {"accuracy": float(right.mean()), "sha256": digest.hexdigest(), "examples": len(y), "epochs": epochs}
    return {**found, "network": network}


def judge_usefulness(subject: Subject, protocol: Protocol, *, seed: int) -> dict[str, Any]:
    """The utility part of the report."""
    real = subject.real
    labelled = cast(utility.Examples, subject.synthetic)
    work = functools.partial(utility.evaluate, labelled, real.train, real.test, real.spec)
    settings: dict[str, Any] = {"seeds": protocol.seeds, "epochs": protocol.epochs, "seed": seed}
    return judging.with_bar("classifiers", lambda progress: work(**settings, limit=protocol.trained, progress=progress))


def judge_amounts(subject: Subject, protocol: Protocol, *, seed: int) -> dict[str, Any]:
    """Learning curves, mixing with real data, filling up of rare classes and ranks of classifiers."""
    real = subject.real
    labelled = cast(utility.Examples, subject.synthetic)
    work = functools.partial(image_studies.evaluate, labelled, real.train, real.test, real.spec)
    sizes = {name: getattr(protocol, name) for name in ("real", "steps", "most", "filled", "ranked")}
    return judging.with_bar(
        "studies", lambda progress: work(seeds=protocol.varied, seed=seed, **sizes, progress=progress)
    )


def judge_robustness(subject: Subject, found: dict[str, Any], protocol: Protocol, *, seed: int) -> dict[str, Any]:
    """Whether the verdict on usefulness survives variations; `found`: the utility part."""
    real = subject.real
    labelled = cast(utility.Examples, subject.synthetic)
    return image_studies.robustness(
        found,
        labelled,
        real.train,
        real.test,
        real.spec,
        seeds=protocol.varied,
        epochs=protocol.epochs,
        limit=found["n"]["trained_on"],
        network=protocol.network,
        seed=seed,
    )


def left_out(subject: Subject) -> list[str]:
    """What is not measured, and why."""
    if subject.synthetic.y is not None and subject.real.spec.n_classes:
        return []
    if subject.real.spec.n_classes:
        return [
            "the synthetic set has no labels: usefulness, its studies and what is said class by class are left out; "
            "likeness as a whole and privacy need none"
        ]
    return ["the real data has no labels: usefulness, and likeness in the features of a classifier, are left out"]


def about(subject: Subject) -> list[str]:
    """What whoever reads the report has to know of the set as a whole, beginning with what is left out."""
    missing, made, real = left_out(subject), len(subject.synthetic.x), subject.real.train
    names, y = subject.real.spec.classes, subject.synthetic.y
    if missing or y is None:
        return [*missing, *cut(subject)]
    counts = np.bincount(real.y, minlength=len(names)).tolist()
    notes = subjects.absent(dict(zip(names, counts, strict=True)), [names[label] for label in np.unique(y)], "example")
    if made < len(real.x):
        notes += [
            f"there are {made:,} synthetic examples and {len(real.x):,} training examples: ceiling and floor take no "
            "more either"
        ]
    return [*notes, *cut(subject)]


def cut(subject: Subject) -> list[str]:
    """A note where the test examples were cut from the real data, which the maker of a foreign file may not know."""
    rows = subject.real.test.index
    if subject.run is not None or np.array_equal(rows, np.arange(len(rows))):
        return []
    return [
        f"{subject.real.name} has no test examples of its own: a fixed fifth of it counts as unseen, which is true "
        "only if the generator was not trained on them; --holdout=FILE beside --real=FILE names others"
    ]


def judge(subject: Subject, out: Path, protocol: Protocol, *, seed: int, level: str) -> tuple[dict, Parts]:
    """The report without times and verdicts, and its parts; says each part's verdict as soon as it is there."""
    real, y = subject.real, subject.synthetic.y
    made = {
        "examples": len(subject.synthetic.x),
        "per_class": None if y is None else np.bincount(y, minlength=real.spec.n_classes).tolist(),
    }
    missing = left_out(subject)
    shared = overlap.find(**{name: keys(getattr(real, name).x) for name in ("train", "holdout", "test")})
    notes = [*about(subject), *overlap.sentences(shared, "example")]
    settings = {
        "non_members": subject.unseen,
        **{"seeds": protocol.seeds, "epochs": protocol.epochs, "seed": seed, "quick": level == "look", "level": level},
        "protocol": dataclasses.asdict(protocol),
        "notes": notes,
        "overlap": shared,
    }
    manifest = judging.describe(real, subject.run, made, subject.file, settings, {})
    parts = Parts(out, judging.identity(manifest), PARTS)
    found: dict[str, Any] = dict.fromkeys(("fidelity", "utility", "studies", "robustness"))
    for sentence in notes:
        say(f"note: {sentence}")
    if real.spec.n_classes:
        likeness = functools.partial(judge_likeness, subject, epochs=protocol.epochs, seed=seed, limit=protocol.limit)
        found["fidelity"] = parts.part("fidelity", likeness)
        tell(report.alike(found["fidelity"]), parts.seconds["fidelity"])
    if not missing:
        found["utility"] = parts.part("utility", lambda: judge_usefulness(subject, protocol, seed=seed))
        tell(report.useful(found["utility"]), parts.seconds["utility"])
        found["studies"] = parts.part("studies", lambda: judge_amounts(subject, protocol, seed=seed))
        remark(found["studies"]["top_up"]["said"])
        varied = functools.partial(judge_robustness, subject, found["utility"], protocol, seed=seed)
        found["robustness"] = parts.part("robustness", varied)
    more: dict[str, Any] = {"models": protocol.shadows, "keep": parts.arrays, "public": protocol.public}
    more["save"] = out / judging.SCORES
    attacks = functools.partial(judge_privacy, subject, seed=seed, limit=protocol.limit, **more)
    found["privacy"] = parts.part("privacy", attacks)
    tell(report.private(found["privacy"]), parts.seconds["privacy"])
    return report.assemble(manifest, **found), parts


def estimate(subject: Subject, protocol: Protocol) -> float:
    """Seconds that the networks will take, from the time of one pass through 1,024 examples on this machine.

    Compiling comes on top.
    """
    real, spec = subject.real, subject.real.spec
    if left_out(subject):
        return 0.0
    made, n = len(subject.synthetic.x), len(real.train.y)
    trained = min(protocol.trained or made, made)
    sizes = [size for size in amounts.sizes(min(protocol.most, n, made)) for _ in range(2)]
    sizes += [round(min(protocol.real, n) * (1 + factor)) for factor in amounts.MIX]
    studied = sum(max(size, classifiers.BATCH) * image_studies.passes(size, protocol.steps) for size in sizes)
    if fills := top_up.size(real.train.y, protocol.filled):
        studied += top_up.TRAININGS * classifiers.BATCH * image_studies.enough(fills, protocol.steps)
    # The set, its ceiling and its floor; another network, on both sets, takes twice as long.
    fixed = 3 * protocol.seeds + (1 + 4 * protocol.network) * protocol.varied
    examples = fixed * trained * protocol.epochs + studied * protocol.varied
    rows = np.arange(1024) % len(real.train.y)
    fit = functools.partial(classifiers.train, jax.random.key(0), real.train.x[rows], real.train.y[rows], spec)
    fit(seeds=1, epochs=1)  # compiles
    start = time.monotonic()
    fit(seeds=2, epochs=1)
    return examples * (time.monotonic() - start) / 2048


def run(
    subject: Subject,
    out: Path,
    *,
    seed: int,
    seeds: int | None = None,
    epochs: int | None = None,
    level: str = "quick",
    shadows: int | None = None,
    public: int = 0,
) -> dict[str, Any]:
    """Judges, writes the files of the report into `out`, and returns the report."""
    real, synthetic = subject.real, subject.synthetic
    say(
        f"judging {len(synthetic.x):,} synthetic examples in {subject.file} against {real.name}: {len(real.train.x):,} "
        f"train, {len(real.holdout.x):,} holdout, {len(real.test.x):,} test"
    )
    protocol = LEVELS[level]
    protocol = dataclasses.replace(
        protocol,
        seeds=seeds or protocol.seeds,
        epochs=epochs or protocol.epochs,
        shadows=judging.shadow_models(subject.run, protocol.shadows if shadows is None else shadows),
        public=public,
    )
    if level == "full":
        attacks = functools.partial(judge_privacy, subject, seed=seed)
        times = {"classifiers": estimate(subject, protocol), "attacks": judging.extrapolate(attacks, protocol.limit)}
        say(judging.forecast(times, subject.run, protocol.shadows))
    found, parts = judge(subject, out, protocol, seed=seed, level=level)
    return judging.finish(
        out, found, lambda whole: page.render(whole, real.spec, synthetic, real.train, real.test), parts
    )
