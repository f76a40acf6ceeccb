"""Audits private training: lower bounds on epsilon from a thousand trainings with and without a canary.

    python -m synthjax.launch.audit --model=table_ar --table=customers.csv --dp.epsilon=1
    python -m synthjax.launch.audit --model=table_vae --table=adult --data_dir=DIR --dp.epsilon=4 --runs=2000
    python -m synthjax.launch.audit --model=table_vae --table=adult --data_dir=DIR --dp.epsilon=4 --one_run

A canary is the record that is easiest to find (see `synthjax.privacy.canary`). Each training sees it in every step, or
never, beside the same rows of the table, with as much noise as the claim needs; the attacker sees every gradient. How
well the trainings with and without the canary can be told apart bounds epsilon from below. A bound above the claim
shows that something is wrong, and the command ends with code 4. A bound below it proves nothing, but a sound gradient
comes near the limit that is printed beside it.

--rate=0.1 puts the canary into each batch with that probability, as Poisson sampling does, for which less noise is
needed. The bound comes from the trade-off curve of the sampled mechanism, and is lower.

--one_run trains once, with a thousand canaries of which each is in or out by a fair coin, and guesses which are in
(Steinke, Nasr & Jagielski 2023). That takes seconds for large models, and its bounds are lower.

Models that are fitted to counts (`table_marginals`) are not trained: their counts are drawn as often, by the same code
as in a private run, and the attacker sees all of them.

Nothing is charged to a ledger and nothing is written: what is printed depends on the noise and the canary, and hardly
on the rows. It is for the owner of the data and not for publication.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from scipy import stats

from synthjax.data.feed import Feed
from synthjax.errors import GateError, InputError
from synthjax.evals.privacy import audit
from synthjax.launch import config, private_checks, runs, train
from synthjax.launch.config import Experiment
from synthjax.model import Batch, Model
from synthjax.privacy import canary, canary_counts
from synthjax.privacy.accounting import Release, calibrate, delta_of
from synthjax.privacy.accounting import epsilon as epsilon_of
from synthjax.privacy.counts import Counts
from synthjax.privacy.gradients import DpGrad, dp_grad

STEPS = 10
"""Steps of a training, where --steps does not say others."""
LEVEL = 0.95
IDEAL = 20_000
"""Scores that are drawn from the law that is due."""
SURE = 0.999
"""Level of a bound above the claim that ends the command with an error, so that a sound gradient hardly ever does."""


def define_flags() -> None:
    """Defines the flags of this launcher: those of `train`, and these."""
    train.define_flags()
    flags.DEFINE_alias("table", "dataset")
    flags.DEFINE_integer("runs", 1000, "Trainings with the canary, and as many without it.", 20)
    flags.DEFINE_integer("rows", 50, "Rows of the table that each training sees beside the canary.", 1)
    flags.DEFINE_float("rate", 1.0, "Probability of the canary to be in a batch.", 1e-4, 1.0)
    flags.DEFINE_bool("one_run", False, "One training, with many canaries.")
    flags.DEFINE_integer("canaries", 1000, "With --one_run: their number.", 20)


class Audited(NamedTuple):
    """What is audited."""

    build: Callable[[Any], Model]
    """With the private gradient, or with counts, see `private_checks.counts`."""
    grad: DpGrad
    batch: Batch
    """Rows beside the canaries."""
    key: jax.Array


def audited(chosen: Experiment, noise: float, steps: int, rows: int) -> Audited:
    """The model and the private gradient of an experiment, and rows of its data.

    Args:
        chosen: the experiment, with a data set of at least `rows` training rows.
        noise: standard deviation of the noise, divided by the clipping norm.
        steps: training steps of a run.
        rows: number of rows beside the canaries.

    Raises:
        InputError: there are fewer rows.
    """
    found = runs.data(dataclasses.replace(chosen, dp=config.Privacy()))
    if len(found.train.y) < rows:
        raise InputError(f"--rows={rows}: the training set has {len(found.train.y)} rows")
    feed = Feed(found.train.x, found.train.y, rows, seed=chosen.seed)
    stored = feed.batch(0)
    batch = Batch(found.spec.encode(stored.x), *map(jnp.asarray, stored[1:]))
    grad = dp_grad(clip=getattr(chosen.model, "clip", 1.0), noise=noise, expected=float(rows))
    model = dataclasses.replace(chosen.model, steps=steps, batch_size=rows)
    family = config.family(chosen.name)
    kind = "count" if private_checks.counts(family) else "grad"
    return Audited(
        lambda hook: family.build(model, found.spec, **{kind: hook}), grad, batch, jax.random.key(chosen.seed)
    )


def noise_fits(without: np.ndarray) -> float:
    """The p-value of tests that scores without the canary have mean 0 and variance 1, both together (Bonferroni)."""
    n = len(without)
    squares = float(np.square(without - without.mean()).sum())
    low, high = stats.chi2.cdf(squares, n - 1), stats.chi2.sf(squares, n - 1)
    of_mean = 2 * stats.norm.sf(abs(without.mean()) * math.sqrt(n))
    return float(min(1.0, 2 * min(of_mean, 2 * low, 2 * high)))


def _of_noise(without: np.ndarray) -> str:
    mean, spread = without.mean(), without.std(ddof=1)
    return (
        f"scores without the canary: mean {mean:.3f}, deviation {spread:.3f}; due are 0 and 1 "
        f"(p = {noise_fits(without):.3f})"
    )


class Finding(NamedTuple):
    """What an audit found."""

    lines: list[str]
    sure: float
    """The bound at level `SURE`."""
    fits: float
    """The p-value of a test that scores without the canary are what they should be."""


def many_runs(found: canary.Scores, delta: float, mu: float) -> Finding:
    """What the scores mean for a claim by which they are N(0, 1) and N(`mu`, 1)."""
    pairs = len(found.without)
    threshold = audit.best_threshold(mu, pairs, delta)
    free = functools.partial(audit.distribution_free, delta=delta, level=LEVEL, threshold=threshold)
    normal = functools.partial(audit.gaussian, delta=delta, level=LEVEL)
    middle = stats.norm.ppf((np.arange(pairs) + 0.5) / pairs)
    due = canary.Scores(middle + mu, middle)
    lines = [
        _bound("assuming normal scores", lambda one: normal(*one), found, due),
        _bound("assuming nothing", lambda one: free(*one), found, due),
        _of_noise(found.without),
    ]
    return Finding(lines, audit.gaussian(*found, delta, SURE), noise_fits(found.without))


def sampled_runs(found: canary.Scores, delta: float, release: Release) -> Finding:
    """What the scores mean for a claim with Poisson sampling."""
    pairs, ideal = len(found.without), canary.ideal(release.noise, release.rate, release.count, IDEAL)
    threshold = audit.threshold_of(*ideal, pairs, delta, LEVEL)
    free = functools.partial(audit.distribution_free, delta=delta, level=LEVEL, threshold=threshold)
    due = canary.Scores(*(np.quantile(one, (np.arange(pairs) + 0.5) / pairs) for one in ideal))

    def of(noise: float) -> list[Release]:
        return [dataclasses.replace(release, noise=noise)]

    def by_curve(one: canary.Scores, level: float = LEVEL) -> float:
        noise = audit.noise_ruled_out(
            one.with_canary, one.without, lambda noise: delta_of(of(noise)), release.noise, threshold, level
        )
        return epsilon_of(of(noise), delta) if math.isfinite(noise) else 0.0

    fits = float(stats.ks_2samp(found.without, ideal.without).pvalue)
    lines = [
        _bound("by the trade-off of the mechanism", by_curve, found, due),
        _bound("assuming nothing", lambda one: free(*one), found, due),
        f"scores without the canary have the law that is due: p = {fits:.3f}",
    ]
    return Finding(lines, by_curve(found, SURE), fits)


def one_run(found: canary.Once, delta: float, mu: float) -> Finding:
    """What one run means for a claim whose canaries have scores N(0, 1) and N(`mu`, 1)."""
    count = len(found.scores)
    guesses = audit.best_guesses(mu, count, delta, LEVEL)
    right, likely = audit.right_guesses(*found, guesses), audit.expected_right(mu, guesses, count)
    given: dict[str, Any] = {"guesses": guesses, "canaries": count, "delta": delta, "level": LEVEL}
    by_curve, plain = (functools.partial(of, **given) for of in (audit.one_run_gaussian, audit.one_run))
    without = found.scores[~found.inside]
    lines = [
        f"{right} of {guesses} guesses are right, on the canaries that are easiest to tell; about {likely} can be",
        _bound("assuming the trade-off of Gaussian noise", by_curve, right, likely, "canaries"),
        _bound("assuming nothing", plain, right, likely, "canaries"),
        _of_noise(without),
    ]
    return Finding(lines, audit.one_run_gaussian(right, guesses, count, delta, SURE), noise_fits(without))


def _bound(name: str, bound: Callable[[Any], float], found: Any, due: Any, what: str = "trainings") -> str:
    """A line with the bound of what was found, and of what is due."""
    return (
        f"epsilon is at least {bound(found):.2f} ({LEVEL:.0%}), {name}; so many {what} can show about {bound(due):.2f}"
    )


def main(given: list[tuple[str, str]]) -> None:
    """Runs the launcher; `given` are the overrides that were split off the command line."""
    asked = flags.FLAGS
    if asked.dataset is None and asked.config is None:
        raise InputError("--table: name one, such as --table=customers.csv")
    chosen = train.experiment(given)
    epsilon, delta = chosen.dp.epsilon, chosen.dp.delta
    if epsilon is None:
        raise InputError("--dp.epsilon: the claim that is audited is missing, such as --dp.epsilon=1")
    if chosen.dp.unit is not None:
        raise InputError(f"--dp.unit={chosen.dp.unit}: not here; the canary is one row, which is a unit by itself")
    counted = private_checks.counts(config.family(chosen.name))
    if counted and (asked.one_run or asked.rate < 1):
        flag = "one_run" if asked.one_run else "rate"
        raise InputError(f"--{flag}: is for models that are trained by gradients; {chosen.name} is fitted to counts")
    if asked.one_run and asked.rate < 1:
        raise InputError("--one_run and --rate: give one of them")
    said = asked.steps is not None or "model.steps" in dict(given)
    steps = 1 if counted else chosen.model.steps if said else STEPS
    (release,) = calibrate([Release("gradients", "gaussian", 1.0, asked.rate, steps)], epsilon, delta)
    noise, mu = release.noise, math.sqrt(steps) / release.noise
    what = audited(chosen, noise, steps, asked.rows)
    begin = "one training" if asked.one_run else f"{asked.runs:,} {'counts' if counted else 'trainings'}"
    canaries = f"{asked.canaries:,} canaries" if asked.one_run else "the canary and as many without"
    print(
        f"{begin} of {chosen.name} with {canaries}, {steps} step{'s' * (steps != 1)} of {asked.rows} rows each ...",
        flush=True,
    )
    if asked.one_run:
        found = one_run(canary.run_once(*what, canaries=asked.canaries, steps=steps), delta, mu)
    elif counted:
        counts = canary_counts.run(what.build, Counts(noise), what.batch, what.key, runs=asked.runs)
        found = many_runs(counts, delta, mu)
    elif asked.rate < 1:
        scores = canary.run(*what, runs=asked.runs, steps=steps, rate=asked.rate)
        found = sampled_runs(scores, delta, release)
    else:
        found = many_runs(canary.run(*what, runs=asked.runs, steps=steps), delta, mu)
    by = "in counts" if counted else f"in each of {steps} gradients"
    print(
        f"claim: epsilon {epsilon:g} at delta {delta:g}, by noise of {noise:.3f} {by}",
        *found.lines,
        sep="\n",
        flush=True,
    )
    if found.sure > epsilon or found.fits < 1 - SURE:
        raise GateError(
            f"the claim of epsilon {epsilon:g} does not hold: the bound at {SURE:.1%} is {found.sure:.2f}, or the "
            "noise is not what it should be"
        )


if __name__ == "__main__":
    train.launch(main, define_flags, __doc__)
