"""Utility: how well does a classifier do on real data that has seen nothing but synthetic data?

    tstr    train on synthetic, test on real: the figure
    trtr    train on real, test on real: its ceiling, with as many real examples as there are synthetic ones
    floor   train on a per-class mean image with noise, test on real: what a generator must beat
    trts    train on real, test on synthetic: do the synthetic examples carry the labels that they claim?

TSTR and TRTS come from Esteban, Hyland and Rätsch, Real-valued (medical) time series generation with recurrent
conditional GANs (2017). The judges are the standard CNN of `synthjax.evals.classifiers`, from several seeds, and an RBF
support vector machine, which needs no seed. Nothing about either is chosen on the data that it judges: the real test
set is used once, for the figure.

    from synthjax.evals import utility
    found = utility.evaluate(synthetic, data.train, data.test, data.spec)
    print(found["cnn"]["tstr"]["mean"], found["cnn"]["trtr"]["mean"])
"""

import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax
import numpy as np

from synthjax.errors import InputError
from synthjax.evals import classifiers, estimate, paired
from synthjax.evals.subsample import stratified
from synthjax.model import DataSpec

SVM_ROWS = 10_000
"""Examples that the support vector machine is trained and tested on at most: its time grows with their square."""
SVM_C = 5.0
"""C and gamma are those of Lee, Rothenberg & Shah, "An Analysis of Synthetic Dataset Creation Using Deep Generative
Models", section 3.2, which does not state the range of its pixels."""
SVM_GAMMA = 0.05
"""Width of the kernel, for pixels in [0, 1]; images of more than `SVM_DIMS` values take scikit-learn's "scale"."""
SVM_DIMS = 28 * 28
CHOICES = (
    "no classifier, setting or number of epochs is chosen on real test data: those of the figures are fixed "
    "beforehand, whatever is judged; where the best of several is chosen, synthetic validation data chooses"
)
"""What decides about classifiers, for those who read the figures; holds of images and of tables."""
_CNN_SHARE = 0.95  # of the work, for the progress shown
_BLOCK = 2048  # rows that the support vector machine answers at once


class Examples(Protocol):
    """What a split of `synthjax.data` and a synthetic set have in common."""

    @property
    def x(self) -> np.ndarray:
        """(N, H, W, C) integers in 0 ... levels - 1."""

    @property
    def y(self) -> np.ndarray:
        """(N,) integers in 0 ... n_classes - 1."""


def evaluate(
    synthetic: Examples,
    train: Examples,
    test: Examples,
    spec: DataSpec,
    *,
    seeds: int = 5,
    epochs: int = classifiers.EPOCHS,
    seed: int = 0,
    limit: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> dict[str, Any]:
    """Scores a synthetic data set, with ceiling and floor.

    Args:
        synthetic: the set that is judged.
        train: real examples that the generator may have seen; the ceiling and the floor come from them.
        test: real examples that nothing has seen.
        spec: what the data is.
        seeds: CNNs per training set.
        epochs: passes of each CNN through its training set.
        seed: of everything random here.
        limit: examples that each CNN is trained on at most; None: all.
        progress: called with the share of the work that is done, in (0, 1].

    Returns:
        Plain values. `cnn` and `svm` hold `tstr`, `trtr`, `floor`, `trts`, each with `mean`, `std` (ddof 1; 0 for one
        value), `values` (accuracy per seed), `n` of values and `ci` (`estimate.accuracy`); `cnn.tstr.confusion`
        counts test examples by class (row) and answer (column), averaged over the seeds; `tstr` and `trtr` of the CNN
        have `recall` by class name (None for a class without test examples). `calibration` is the CNN's expected
        calibration error, mean over the seeds, under `tstr` and `trtr`. `loss` is what a CNN loses against real data
        (`synthjax.evals.paired`), with `who` and `measure` in words. `n` holds the sizes of the sets and
        `missing_classes`, the names of classes with no synthetic example; `protocol` says what was done. For unlabelled
        data `cnn` and `svm` are None and `reason` says why.

    Raises:
        InputError: a set is empty, of another shape, or has labels out of range.
    """
    for name, part in (("synthetic", synthetic), ("train", train), ("test", test)):
        check(name, part, spec)
    if spec.n_classes == 0:
        none = dict.fromkeys(("cnn", "svm", "loss", "calibration"))
        return {**none, "n": {}, "protocol": {}, "reason": "the data has no labels"}
    rng = np.random.default_rng(seed)
    cut = stratified(rng, synthetic.y, len(synthetic.y) if limit is None else limit)
    x, y = synthetic.x[cut], synthetic.y[cut]
    ceiling = stratified(rng, train.y, min(len(y), len(train.y)))
    sets = {
        "tstr": (x, y),
        "trtr": (train.x[ceiling], train.y[ceiling]),
        "floor": (mean_images(rng, train, y, spec), y),
    }
    real, fake = (test.x, test.y), (synthetic.x, synthetic.y)
    progress = progress or (lambda share: None)
    cnn = _judge_cnn(sets, real, fake, spec, seeds=seeds, epochs=epochs, seed=seed, progress=progress)
    svm = _judge_svm(rng, sets, real, fake, spec)
    progress(1.0)
    sizes = {**_sizes(synthetic.y, spec), "trained_on": len(y), "ceiling": len(ceiling), "test": len(test.y)}
    sizes["ceiling_is_all_real"] = len(ceiling) == len(train.y)
    return {**cnn, "svm": svm, "n": sizes, "protocol": _protocol(spec, seeds=seeds, epochs=epochs, seed=seed)}


def _sizes(y: np.ndarray, spec: DataSpec) -> dict[str, Any]:
    counts = np.bincount(y, minlength=spec.n_classes)
    return {
        "synthetic": len(y),
        "synthetic_per_class": counts.tolist(),
        "missing_classes": [name for name, count in zip(spec.classes, counts, strict=True) if count == 0],
    }


def check(name: str, part: Examples, spec: DataSpec, at_least: int = 1) -> None:
    """Answers, in one line that begins with `name`, examples that cannot be scored.

    Raises:
        InputError: not images, of another shape, fewer than `at_least` of them, or labels missing or out of range.
    """
    if spec.kind != "image":
        raise InputError(f"{name}: images are scored here, not a {spec.kind}")
    if part.x.shape[1:] != spec.shape:
        raise InputError(f"{name}: examples have shape {part.x.shape[1:]}, the data's have {spec.shape}")
    if len(part.x) < at_least:
        raise InputError(f"{name}: holds {len(part.x)} examples, at least {at_least} needed")
    if spec.n_classes == 0:
        return
    if part.y is None or len(part.y) != len(part.x):
        raise InputError(f"{name}: {len(part.x)} examples need as many labels")
    wrong = np.flatnonzero((part.y < 0) | (part.y >= spec.n_classes))
    if len(wrong):
        raise InputError(f"{name}: row {wrong[0]} has label {part.y[wrong[0]]}, labels are 0 ... {spec.n_classes - 1}")


def confusion(y: np.ndarray, answers: np.ndarray, n_classes: int) -> np.ndarray:
    """Counts (n_classes, n_classes) of examples by class (row) and answer (column): mean over answers (seeds, N)."""
    from sklearn.metrics import confusion_matrix

    return np.mean([confusion_matrix(y, answer, labels=np.arange(n_classes)) for answer in answers], axis=0)


def recall(y: np.ndarray, answers: np.ndarray, n_classes: int) -> list[float | None]:
    """Share of each class's examples that are recognised, the mean over answers (seeds, N); None: no example."""
    from sklearn.metrics import recall_score

    how: dict[str, Any] = {"labels": np.arange(n_classes), "average": None, "zero_division": np.nan}
    shares = np.mean([recall_score(y, answer, **how) for answer in answers], axis=0)
    return [None if np.isnan(share) else float(share) for share in shares]


def mean_images(rng: np.random.Generator, train: Examples, y: np.ndarray, spec: DataSpec) -> np.ndarray:
    """The floor's images (N, H, W, C) uint8 for labels `y`: independent Gaussian pixels with the moments of the class.

    Raises:
        InputError: a label that no example of `train` has.
    """
    x = np.empty((len(y), *spec.shape), np.uint8)
    for label in np.unique(y):
        images = train.x[train.y == label]
        if not len(images):
            raise InputError(f"train: no example of class {spec.classes[label]}, which the synthetic set has")
        rows = np.flatnonzero(y == label)
        noise = rng.standard_normal((len(rows), *spec.shape), np.float32)
        drawn = images.mean(0, dtype=np.float64) + images.std(0, dtype=np.float64) * noise
        x[rows] = np.clip(np.rint(drawn), 0, spec.levels - 1)
    return x


def _judge_cnn(sets, real, fake, spec, *, seeds, epochs, seed, progress) -> dict[str, Any]:
    """The leaves of the CNN, its calibration, and what it loses; `sets`, `real` and `fake` hold images and labels."""
    found: dict[str, Any] = {}
    right: dict[str, np.ndarray] = {}
    calibration: dict[str, float] = {}
    rows = max(len(y) for _, y in sets.values())

    def report(done: int, share: float) -> None:
        progress(_CNN_SHARE * (done + share) / len(sets))

    for i, (name, (x, y)) in enumerate(sets.items()):
        nets = classifiers.train(
            jax.random.fold_in(jax.random.key(seed), i),
            x,
            y,
            spec,
            seeds=seeds,
            epochs=epochs,
            pad_to=rows,
            progress=functools.partial(report, i),
        )
        tests = {name: real, "trts": fake} if name == "trtr" else {name: real}
        for key, (images, labels) in tests.items():
            logits = classifiers.predict(nets, images)
            answers = logits.argmax(-1)
            right[key] = answers == labels
            found[key] = estimate.accuracy(right[key].mean(1).tolist(), len(labels))
            if key in ("tstr", "trtr"):
                found[key]["recall"] = dict(zip(spec.classes, recall(labels, answers, spec.n_classes), strict=True))
                calibration[key] = float(np.mean([paired.calibration_error(softmax(one), labels) for one in logits]))
            if key == "tstr":
                found[key]["confusion"] = confusion(labels, answers, spec.n_classes).round(3).tolist()
    ours, theirs = ([paired.share(of) for of in right[name]] for name in ("tstr", "trtr"))
    lost = paired.loss(ours, theirs, len(real[1]), seed=seed)
    return {"cnn": found, "loss": {**lost, "who": "A CNN", "measure": "accuracy"}, "calibration": calibration}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (N, K) f64 of logits (N, K)."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def _judge_svm(rng, sets, real, fake, spec) -> dict[str, Any]:
    """The leaves of the support vector machine, every set cut to `SVM_ROWS`."""

    def prepared(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = stratified(rng, y, SVM_ROWS)
        return x[rows].reshape(len(rows), -1) / (spec.levels - 1), y[rows]

    real, fake = prepared(*real), prepared(*fake)
    found = {}
    for name, (x, y) in sets.items():
        answer = svm(*prepared(x, y))
        for key, (images, labels) in ({name: real, "trts": fake} if name == "trtr" else {name: real}).items():
            found[key] = estimate.accuracy([float((answer(images) == labels).mean())], len(labels))
    return found


def svm(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Trains the RBF support vector machine on rows `x` (N, D) in [0, 1], labels `y` (N,).

    Returns:
        Rows (M, D) to answers (M,). One class alone is always the answer.
    """
    from sklearn.svm import SVC

    if len(np.unique(y)) == 1:
        return lambda rows: np.full(len(rows), y[0])
    gamma = SVM_GAMMA if x.shape[1] <= SVM_DIMS else 1 / (x.shape[1] * x.var())

    def kernel(rows: np.ndarray) -> np.ndarray:
        # exp(-gamma |a - b|^2) by a matrix product: libsvm's own takes ten times as long.
        k = rows @ x.T
        k *= 2
        k -= (rows**2).sum(1)[:, None]
        k -= (x**2).sum(1)
        k *= gamma
        return np.exp(k, out=k)

    machine = SVC(C=SVM_C, kernel="precomputed").fit(kernel(x), y)

    def answer(rows: np.ndarray) -> np.ndarray:
        return np.concatenate([machine.predict(kernel(rows[i : i + _BLOCK])) for i in range(0, len(rows), _BLOCK)])

    return answer


def _protocol(spec: DataSpec, *, seeds: int, epochs: int, seed: int) -> dict[str, Any]:
    """What was done, for those who read the figures."""
    gamma = SVM_GAMMA if spec.dims <= SVM_DIMS else "1 / (values x variance)"
    return {
        "seeds": seeds,
        "epochs": epochs,
        "seed": seed,
        "cnn": f"conv 32, conv 64 (3x3, max-pool, batch norm), dropout {classifiers.DROPOUT}, "
        f"dense {classifiers.FEATURES}; Adam, one cycle to {classifiers.PEAK_RATE}, batches of {classifiers.BATCH}, "
        f"{epochs} epochs, shifts up to {classifiers.largest_shift(spec)} px",
        "svm": f"RBF, C={SVM_C:g}, gamma={gamma}, pixels in [0, 1], at most {SVM_ROWS} examples, stratified",
        "ceiling": "as many real training examples as synthetic ones, stratified; all of them where there are fewer",
        "floor": "per-class mean image with independent Gaussian noise of the class's own spread in each pixel",
        "choices": CHOICES,
        "interval": "95 %: Student's t over the seeds of the CNN; Wilson's over the test examples of the SVM",
    }
