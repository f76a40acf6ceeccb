"""How long an evaluation will take, before it begins."""

import functools
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from synthjax.evals import classifiers, learning_curves, studies, threads, top_up
from synthjax.evals.domains import images, panel
from synthjax.evals.domains.images import Images
from synthjax.evals.sets import Sets
from synthjax.launch.levels import Effort, ImageEffort, TableEffort
from synthjax.launch.provenance import train_seconds
from synthjax.launch.subjects import Run

PACED = 250, 1_000
"""Examples that work is timed on, to find out how long it takes on more."""


def spell(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def extrapolate(attacks: Callable[..., Any], limit: int) -> float:
    """Seconds that `attacks(limit=limit)` will take once it is compiled."""
    attacks(limit=PACED[0])
    start, slope = _pace(lambda few: attacks(limit=few))
    return start + slope * limit


def _pace(work: Callable[[int], Any]) -> tuple[float, float]:
    """Seconds that `work(n)` takes however small n is, and seconds per one: the line through those of `PACED`."""
    seconds = []
    for n in PACED:
        begun = time.monotonic()
        work(n)
        seconds.append(time.monotonic() - begun)
    slope = max(seconds[1] - seconds[0], 0) / (PACED[1] - PACED[0])
    return max(seconds[0] - PACED[0] * slope, 0), slope


def forecast(seconds: Mapping[str, float], run: Run | None, shadows: int) -> str:
    """How long --level=full will take, in words, from the seconds of its parts.

    With so many `shadows` come as many trainings of `run`, each step of which takes twice its batch.
    """
    parts, more = dict(seconds), ""
    if run is not None and shadows:
        spent = train_seconds(run.workdir)
        if spent is None:
            more = f"; on top come {shadows} shadow models, each about twice the run's training, whose time is unknown"
        else:
            parts[f"{shadows} shadow models"] = 2 * shadows * spent
    each = ", ".join(f"{name} {spell(value)}" for name, value in parts.items())
    return f"--level=full: this will take about {spell(sum(parts.values()))} ({each}){more}"


def of_classifiers(sets: Sets, effort: Effort) -> float:
    """Seconds that the classifiers will take on this machine; compiling comes on top."""
    if isinstance(effort, ImageEffort):
        return _of_images(sets.labelled, effort)
    assert isinstance(effort, TableEffort)
    return _of_tables(sets.labelled, effort)


def _of_images(sets: Sets, effort: ImageEffort) -> float:
    """From the time of one pass through 1,024 examples."""
    domain = sets.domain
    assert isinstance(domain, Images)
    made, n = domain.size(sets.synthetic), domain.size(sets.train)
    trained = min(effort.trained or made, made)
    sizes = [size for size in learning_curves.sizes(min(effort.most, n, made)) for _ in range(2)]
    sizes += [round(min(effort.real, n) * (1 + factor)) for factor in learning_curves.MIX]
    studied = sum(max(size, classifiers.BATCH) * images.passes(size, effort.steps) for size in sizes)
    if fills := studies.filled(sets, effort.filled):
        studied += top_up.TRAININGS * classifiers.BATCH * domain.study(0, fills)["steps"]
    # The set, its ceiling and its floor; another network, on both sets, takes twice as long.
    fixed = 3 * effort.seeds + (1 + 4 * effort.network) * effort.varied
    examples = fixed * trained * effort.epochs + studied * effort.varied
    rows = domain.take(sets.train, np.arange(1024) % n)
    protocol = classifiers.STANDARD.with_epochs(1)
    fit = functools.partial(classifiers.train, jax.random.key(0), (rows.x, rows.y), domain.spec, protocol=protocol)
    fit(seeds=1)  # compiles
    start = time.monotonic()
    fit(seeds=2)
    return examples * (time.monotonic() - start) / 2048


def _of_tables(sets: Sets, effort: TableEffort) -> float:
    """From the time of each classifier on 250 and on 1,000 rows."""
    made, n, real = sets.synthetic, len(sets.synthetic), min(effort.real, len(sets.train))
    curve, trained = learning_curves.sizes(min(effort.most, n)), 3 * effort.seeds
    mixed = [real * (1 + factor) for factor in learning_curves.MIX]
    fills = studies.filled(sets, effort.filled)
    # Trainings, and rows that they take in all, of the boosting on all rows and of each of the six.
    boosting = trained + effort.varied * (2 * len(curve) + len(mixed) + 1 + top_up.TRAININGS * bool(fills))
    rows = trained * n + effort.varied * (2 * sum(curve) + sum(mixed) + n + top_up.TRAININGS * fills)
    ranks = 2 * effort.varied
    six = trained * min(effort.judges, n) + ranks * min(effort.ranked, n // 2)

    def fit(judge: str, n: int) -> None:
        few = made.take(np.arange(n) % len(made))
        panel.train_judge(judge, few, 0)(few)

    with threads.fixed_protocol():  # as the work itself
        start, slope = _pace(functools.partial(fit, panel.ALL_ROWS))
        total = start * boosting + slope * rows
        for judge in panel.JUDGES:
            start, slope = _pace(functools.partial(fit, judge))
            total += start * (trained + ranks) + slope * six
    return total
