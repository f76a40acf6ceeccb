"""Beyond the headline of a set of images: learning curves, mixing, rare classes, ranks of classifiers, variations.

What of `synthjax.evals.amounts`, `top_up`, `agreement` and of the robustness of the verdict is particular to images.
The curves, the mixing and the filling up of rare classes use the standard CNN. The ranks use six classifiers of pixels,
which take seconds: logistic regression, linear discriminants, 5 nearest neighbours, an RBF support vector machine, a
random forest and naive Bayes.

A verdict that another classifier, another seed or a change that keeps every label would turn is no verdict, so the
usefulness is measured again with each. The change moves each synthetic image by up to one pixel in each direction (not
at all where that is more than the classifier's own augmentation does), takes up to a tenth of its brightness and adds
noise of 2 % of the range.
"""

import functools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from synthjax.evals import agreement, amounts, classifiers, keras_cnn, report, top_up, utility
from synthjax.evals.threads import one_thread
from synthjax.evals.utility import Examples, stratified
from synthjax.model import DataSpec

RANKED = ("logistic", "discriminant", "neighbours", "svm", "forest", "bayes")
NOISE = 0.02
DIM = 0.1
PASSES = 4
"""Least passes of a CNN in the curves and the mixing."""
TESTED = 5_000
"""Test examples that the six classifiers are tested on at most."""


def evaluate(
    synthetic: Examples,
    train: Examples,
    test: Examples,
    spec: DataSpec,
    *,
    seeds: int,
    steps: int,
    real: int,
    most: int,
    filled: int,
    ranked: int,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Any]:
    """Learning curves, mixing, rare classes and ranks.

    Args:
        synthetic: the set that is judged.
        train: real examples that the generator may have seen.
        test: real examples that nothing has seen.
        spec: what the data is.
        seeds: CNNs per training set, and draws of the ranks' halves.
        steps: of each CNN, whatever the size of its set, so that a small one is not learnt from for a shorter time; a
            set gets at least `PASSES` passes.
        real: real examples that are topped up, at most.
        most: examples at the end of the curve, at most.
        filled: examples of the set whose rare classes are filled up, with those that fill it, at most.
        ranked: examples in each half of the ranks, at most.
        seed: of everything random here.
        progress: called with the share of the trainings that are done.

    Returns:
        `curve` and `mixing` (`synthjax.evals.amounts`), `top_up` (`synthjax.evals.top_up`, and what it `said` in words)
        and `ranking` (`synthjax.evals.agreement`).
    """
    real, most = min(real, len(train.y)), min(most, len(train.y), len(synthetic.y))
    fills = top_up.size(train.y, filled)
    trainings = amounts.trainings(most, real, len(synthetic.y)) + top_up.TRAININGS * bool(fills)
    tick = amounts.counter(progress, trainings + 2 * seeds * len(RANKED))
    rng = np.random.default_rng([seed, 12])
    largest = max(most, round(real * (1 + max(amounts.MIX))))
    answers = functools.partial(_cnn, synthetic, train, test, spec, seeds, seed)

    def score(real: np.ndarray, made: np.ndarray) -> list[float]:
        return (answers(steps, largest, real, made) == test.y).mean(1).tolist()

    filling = functools.partial(answers, enough(fills, steps), max(largest, fills))
    rare = top_up.evaluate(filling, train.y, synthetic.y, test.y, spec.classes, limit=filled, seed=seed, tick=tick)
    draws = [functools.partial(stratified, rng, part.y) for part in (train, synthetic)]
    return {
        "curve": amounts.curve(score, draws[0], draws[1], most, tick),
        "mixing": amounts.mixing(score, draws[0], draws[1], real, len(synthetic.y), tick),
        "top_up": {**rare, "said": top_up.sentence(rare, "a CNN", "example")},
        "ranking": ranking(synthetic, train, test, spec, rows=ranked, seeds=seeds, seed=seed, tick=tick),
        "seeds": seeds,
        "steps": steps,
    }


def passes(n: int, steps: int) -> int:
    """Passes through `n` examples that give so many steps, at least `PASSES`."""
    return max(math.ceil(steps / max(n // classifiers.BATCH, 1)), PASSES)


def enough(n: int, steps: int) -> int:
    """Steps that give a set of `n` examples, and so every smaller one, `PASSES` passes; at least `steps`."""
    return max(steps, PASSES * (n // classifiers.BATCH))


def _cnn(
    synthetic: Examples,
    train: Examples,
    test: Examples,
    spec: DataSpec,
    seeds: int,
    seed: int,
    steps: int,
    pad_to: int,
    real: np.ndarray,
    made: np.ndarray,
) -> np.ndarray:
    """Classes (seeds, M) that CNNs trained on some rows of each set give to the M real test examples."""
    x, y = (np.concatenate([getattr(train, k)[real], getattr(synthetic, k)[made]]) for k in ("x", "y"))
    epochs = passes(len(y), steps)
    nets = classifiers.train(jax.random.key(seed), x, y, spec, seeds=seeds, epochs=epochs, pad_to=pad_to)
    return classifiers.predict(nets, test.x).argmax(-1)


# --- ranks ---------------------------------------------------------------------------------------------------------


def ranking(
    synthetic: Examples,
    train: Examples,
    test: Examples,
    spec: DataSpec,
    *,
    rows: int,
    seeds: int,
    seed: int = 0,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """`agreement.evaluate` over the six classifiers, each half of at most `rows` examples."""
    rows = min(rows, len(synthetic.y) // 2, len(train.y) // 2)
    tested = _flat(test, stratified(np.random.default_rng([seed, 13]), test.y, TESTED), spec)

    def halves(part: Examples, salt: int, number: int) -> agreement.Halves:
        one, other = agreement.halves([seed, salt, number], lambda rng, n: stratified(rng, part.y, n), rows)
        return _flat(part, one, spec), _flat(part, other, spec)

    return agreement.evaluate(
        RANKED,
        _rank,
        functools.partial(halves, synthetic, 14),
        functools.partial(halves, train, 15),
        tested,
        seeds=seeds,
        tick=tick,
    )


def _flat(part: Examples, rows: np.ndarray, spec: DataSpec) -> tuple[np.ndarray, np.ndarray]:
    return part.x[rows].reshape(len(rows), -1) / (spec.levels - 1), part.y[rows]


def _rank(name: str, fit: Any, tests: Sequence[Any], seed: int) -> list[float]:
    from sklearn.exceptions import ConvergenceWarning

    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the regression's 100 iterations are part of the protocol
        warnings.filterwarnings("ignore", "Only one sample")  # of a class that is rare
        answer = _classifier(name, fit[0], fit[1], seed)
        return [float((answer(x) == y).mean()) for x, y in tests]


def _classifier(name: str, x: np.ndarray, y: np.ndarray, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Trains one of RANKED on rows (N, D) in [0, 1]; rows to answers."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier

    if name == "svm":
        return utility.svm(x, y)
    if len(np.unique(y)) == 1:
        return lambda rows: np.full(len(rows), y[0])
    model = {
        "logistic": lambda: LogisticRegression(max_iter=100),
        "discriminant": lambda: LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1),
        "neighbours": lambda: KNeighborsClassifier(min(5, len(y))),
        "forest": lambda: RandomForestClassifier(random_state=seed),
        "bayes": lambda: GaussianNB(var_smoothing=0.01),
    }[name]()
    model.fit(x, y)
    return model.predict


# --- variations ----------------------------------------------------------------------------------------------------


def robustness(
    found: Mapping[str, Any],
    synthetic: Examples,
    train: Examples,
    test: Examples,
    spec: DataSpec,
    *,
    seeds: int,
    epochs: int,
    limit: int,
    network: bool,
    seed: int = 0,
) -> dict[str, Any]:
    """Does the verdict on usefulness survive another classifier, another seed, and a change that keeps the labels?

    Args:
        found: what `utility.evaluate` returned.
        synthetic: the set that is judged.
        train: real examples, for another network's ceiling.
        test: real examples that nothing has seen.
        spec: what the data is.
        seeds: networks of each kind trained anew.
        epochs: their passes.
        limit: examples that they are trained on at most.
        network: whether another network is trained too (`keras_cnn.PROTOCOL`), on synthetic and on real data.
        seed: of everything random here.

    Returns:
        `level`, the verdict's; `checks`, a list of {"name", "level", "ours", "real"}, accuracies.
    """
    cnn, svm = found["cnn"], found["svm"]
    floor = cnn["floor"]["mean"]
    checks = [_check("another classifier, a support vector machine", svm["tstr"]["mean"], svm["trtr"]["mean"], floor)]
    if len(cnn["tstr"]["values"]) > 1:
        checks += [
            _check("the seed that scores lowest", min(cnn["tstr"]["values"]), cnn["trtr"]["mean"], floor),
            _check("the seed that scores highest", max(cnn["tstr"]["values"]), cnn["trtr"]["mean"], floor),
        ]
    rng = np.random.default_rng([seed, 16])
    rows = stratified(rng, synthetic.y, limit)
    x, y = synthetic.x[rows], synthetic.y[rows]
    others = stratified(rng, train.y, len(rows))
    real_x, real_y = train.x[others], train.y[others]
    fit = functools.partial(_accuracy, test, spec, seeds, epochs, seed)
    checks.append(
        _check("synthetic images moved, dimmed and noisy", fit(perturbed(rng, x, spec), y), cnn["trtr"]["mean"], floor)
    )
    if network and min(spec.shape[:2]) >= keras_cnn.PROTOCOL.min_side:
        other = {"protocol": keras_cnn.PROTOCOL}
        checks.append(_check("another network", fit(x, y, **other), fit(real_x, real_y, **other), floor))
    return {"level": report.usefulness(cnn["tstr"]["mean"], cnn["trtr"]["mean"], floor), "checks": checks}


def _check(name: str, ours: float, real: float, floor: float) -> dict[str, Any]:
    return {"name": name, "level": report.usefulness(ours, real, floor), "ours": ours, "real": real}


def _accuracy(
    test: Examples, spec: DataSpec, seeds: int, epochs: int, seed: int, x: np.ndarray, y: np.ndarray, **how: Any
) -> float:
    nets = classifiers.train(jax.random.key(seed), x, y, spec, seeds=seeds, epochs=epochs, **how)
    return float((classifiers.predict(nets, test.x).argmax(-1) == test.y).mean())


def perturbed(rng: np.random.Generator, x: np.ndarray, spec: DataSpec) -> np.ndarray:
    """Images (N, H, W, C) uint8, each changed so that its label stays (see module)."""
    top = spec.levels - 1
    reach = min(1, classifiers.largest_shift(spec))
    grey = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge").astype(np.float32)
    height, width = x.shape[1:3]
    down, right = rng.integers(0, 2 * reach + 1, (2, len(x)))
    moved = np.stack([g[i : i + height, j : j + width] for g, i, j in zip(grey, down, right, strict=True)])
    moved *= 1 - DIM * rng.random((len(x), 1, 1, 1), np.float32)
    moved += NOISE * top * rng.standard_normal(x.shape, np.float32)
    return np.clip(np.rint(moved), 0, top).astype(np.uint8)
