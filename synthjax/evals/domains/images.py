"""Images: the standard CNN, a support vector machine, six classifiers of pixels, and changes that keep every label.

The CNN of `synthjax.evals.classifiers`, from several seeds, is the headline classifier; the RBF support vector machine
needs no seed. The six whose ranks are compared work on pixels and take seconds: logistic regression, linear
discriminants, 5 nearest neighbours, the support vector machine, a random forest and naive Bayes.

`perturb` moves each image by up to one pixel in each direction (not at all where that is more than the CNN's own
augmentation does), takes up to a tenth of its brightness and adds noise of 2 % of the range.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import numpy as np

from synthjax.errors import InputError
from synthjax.evals import bootstrap, classifiers, estimate, keras_cnn
from synthjax.evals.domains import CHOICES, Progress, Trained, tested
from synthjax.evals.domains.panel import KernelMachine
from synthjax.evals.privacy.distances import keys
from synthjax.evals.streams import stream
from synthjax.evals.subsample import stratified
from synthjax.evals.threads import fixed_protocol
from synthjax.model import DataSpec

SVM_ROWS = 10_000
"""Examples that the support vector machine is trained and tested on at most: its time grows with their square."""
SVM_C = 5.0
"""C and gamma are those of Lee, Rothenberg & Shah, "An Analysis of Synthetic Dataset Creation Using Deep Generative
Models", section 3.2, which does not state the range of its pixels."""
SVM_GAMMA = 0.05
"""Width of the kernel, for pixels in [0, 1]; images of more than `SVM_DIMS` values take scikit-learn's "scale"."""
SVM_DIMS = 28 * 28
PASSES = 4
"""Least passes of a CNN in the studies, whose length is given in steps."""
NOISE = 0.02
DIM = 0.1
_CNN_SHARE = 0.95  # of the work, for the progress shown


class Examples(Protocol):
    """What a split of `synthjax.data` and a synthetic set have in common."""

    @property
    def x(self) -> np.ndarray:
        """(N, H, W, C) integers in 0 ... levels - 1."""

    @property
    def y(self) -> np.ndarray:
        """(N,) integers in 0 ... n_classes - 1."""


class Labelled(NamedTuple):
    """Images and their labels, as `Examples` says."""

    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Images:
    """The `Domain` of images of one spec."""

    spec: DataSpec
    epochs: int = classifiers.EPOCHS
    """Passes of each CNN through its training set, where nothing else is said."""
    limit: int | None = None
    """Examples that each CNN is trained on at most; None: all."""
    steps: int = 150
    """Steps of each CNN of the studies, whatever the size of its set, so that a small one is not learnt from for a
    shorter time; at least `PASSES` passes."""
    unit: ClassVar[str] = "example"
    classifier: ClassVar[str] = "a CNN"
    ranked: ClassVar[tuple[str, ...]] = ("logistic", "discriminant", "neighbours", "svm", "forest", "bayes")
    ranked_on: ClassVar[int | None] = 5_000
    changed: ClassVar[str] = "synthetic images moved, dimmed and noisy"

    @property
    def classes(self) -> Sequence[str]:
        return self.spec.classes

    @property
    def unlearnable(self) -> str | None:
        return None if self.spec.n_classes else "the data has no labels"

    @property
    def lost(self) -> dict[str, str]:
        return {"who": "A CNN", "measure": "accuracy"}

    @property
    def studied(self) -> dict[str, Any]:
        return {"steps": self.steps}

    # --- rows ------------------------------------------------------------------------------------------------------

    def size(self, rows: Examples) -> int:
        return len(rows.x)

    def take(self, rows: Examples, index: np.ndarray) -> Labelled:
        return Labelled(rows.x[index], rows.y[index])

    def concat(self, one: Examples, other: Examples) -> Labelled:
        return Labelled(np.concatenate([one.x, other.x]), np.concatenate([one.y, other.y]))

    def labels(self, rows: Examples) -> np.ndarray:
        return rows.y

    def labelled(self, name: str, rows: Examples) -> Examples:
        check(name, rows, self.spec)
        return rows

    def draw(self, rng: np.random.Generator, rows: Examples, n: int) -> np.ndarray:
        return stratified(rng, rows.y, n)

    def floor(self, rng: np.random.Generator, train: Examples, like: Examples) -> Labelled:
        """Independent Gaussian pixels with the moments of each class: a per-class mean image with noise.

        Raises:
            InputError: a label that no example of `train` has.
        """
        x = np.empty((len(like.y), *self.spec.shape), np.uint8)
        for label in np.unique(like.y):
            images = train.x[train.y == label]
            if not len(images):
                raise InputError(f"train: no example of class {self.spec.classes[label]}, which the synthetic set has")
            rows = np.flatnonzero(like.y == label)
            noise = rng.standard_normal((len(rows), *self.spec.shape), np.float32)
            drawn = images.mean(0, dtype=np.float64) + images.std(0, dtype=np.float64) * noise
            x[rows] = np.clip(np.rint(drawn), 0, self.spec.levels - 1)
        return Labelled(x, like.y)

    def perturb(self, rng: np.random.Generator, rows: Examples) -> Labelled:
        top, x = self.spec.levels - 1, rows.x
        reach = min(1, classifiers.largest_shift(self.spec))
        grey = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge").astype(np.float32)
        height, width = x.shape[1:3]
        down, right = rng.integers(0, 2 * reach + 1, (2, len(x)))
        moved = np.stack([g[i : i + height, j : j + width] for g, i, j in zip(grey, down, right, strict=True)])
        moved *= 1 - DIM * rng.random((len(x), 1, 1, 1), np.float32)
        moved += NOISE * top * rng.standard_normal(x.shape, np.float32)
        return Labelled(np.clip(np.rint(moved), 0, top).astype(np.uint8), rows.y)

    def vectors(self, train: Examples) -> Callable[[Examples], np.ndarray]:
        return lambda rows: rows.x

    def keys(self, rows: Examples) -> list[bytes]:
        return keys(rows.x)

    # --- classifiers -----------------------------------------------------------------------------------------------

    def train(
        self, synthetic: Examples, train: Examples, test: Examples, seeds: int, seed: int, progress: Progress
    ) -> Trained:
        """`cnn` and `svm`, each with `tstr`, `trtr`, `floor` and `trts` (`estimate.accuracy`).

        `cnn.tstr.confusion` counts test examples by class (row) and answer (column), the mean over the seeds; `tstr`
        and `trtr` of the CNN have `recall` by class name (None for a class without test examples).
        """
        rng = stream(seed, "utility.images")
        made = self.take(synthetic, stratified(rng, synthetic.y, self.limit or len(synthetic.y)))
        ceiling = self.take(train, stratified(rng, train.y, len(made.y)))
        sets = {"tstr": made, "trtr": ceiling, "floor": self.floor(rng, train, made)}
        tests = {key: tested(key, test, synthetic) for key in sets}
        cnn, answers = self._cnn(sets, tests, seeds, seed, progress)
        svm = self._svm(rng, sets, tests)
        progress(1.0)
        sizes = {
            "synthetic": len(synthetic.y),
            "synthetic_per_class": np.bincount(synthetic.y, minlength=self.spec.n_classes).tolist(),
            **{"trained_on": len(made.y), "ceiling": len(ceiling.y), "test": len(test.y)},
            "ceiling_is_all_real": len(ceiling.y) == len(train.y),
        }
        parts = {name: {**of, "tstr_over_trtr": _ratio(of)} for name, of in (("cnn", cnn), ("svm", svm))}
        return Trained(parts, answers, sizes)

    def _cnn(
        self, sets: Mapping[str, Examples], tests: Mapping[str, Any], seeds: int, seed: int, progress: Progress
    ) -> tuple[dict[str, Any], dict[str, list[np.ndarray]]]:
        found: dict[str, Any] = {}
        answers = {}
        rows = max(len(part.y) for part in sets.values())

        def report_share(done: int, share: float) -> None:
            progress(_CNN_SHARE * (done + share) / len(sets))

        for i, (name, fit) in enumerate(sets.items()):
            key = jax.random.fold_in(jax.random.key(seed), i)
            nets = classifiers.train(
                key,
                (fit.x, fit.y),
                self.spec,
                protocol=classifiers.STANDARD.with_epochs(self.epochs),
                seeds=seeds,
                pad_to=rows,
                progress=functools.partial(report_share, i),
            )
            for tested_name, part in tests[name].items():
                logits = classifiers.predict(nets, part.x)
                classes = logits.argmax(-1)
                found[tested_name] = estimate.accuracy((classes == part.y).mean(1).tolist(), len(part.y))
                if tested_name in ("tstr", "trtr"):
                    answers[tested_name] = list(logits)
                    shares = recall(part.y, classes, self.spec.n_classes)
                    found[tested_name]["recall"] = dict(zip(self.spec.classes, shares, strict=True))
                if tested_name == "tstr":
                    found[tested_name]["confusion"] = confusion(part.y, classes, self.spec.n_classes).round(3).tolist()
        return found, answers

    def _svm(self, rng: np.random.Generator, sets: Mapping[str, Examples], tests: Mapping[str, Any]) -> dict[str, Any]:
        """Of every set at most `SVM_ROWS`."""

        def prepared(part: Examples) -> tuple[np.ndarray, np.ndarray]:
            rows = stratified(rng, part.y, SVM_ROWS)
            return self._flat(part.x[rows]), part.y[rows]

        cut = {name: prepared(part) for name, part in tests["trtr"].items()}
        found = {}
        for name, part in sets.items():
            answer = svm(*prepared(part))
            for key in tests[name]:
                x, y = cut[key if key == "trts" else "trtr"]
                found[key] = estimate.accuracy([float((answer(x) == y).mean())], len(y))
        return found

    def study(self, largest: int, filled: int = 0) -> dict[str, Any]:
        """Enough steps for every set up to the filled one to be passed through `PASSES` times; one compilation."""
        return {"steps": max(self.steps, PASSES * (filled // classifiers.BATCH)), "pad_to": max(largest, filled)}

    def answers(
        self, fit: Examples, test: Examples, *, seeds: int, seed: int, steps: int | None = None, **how: Any
    ) -> list[np.ndarray]:
        """Logits; `steps` per network, None: `epochs` passes; `how`: of `classifiers.train`."""
        epochs = self.epochs if steps is None else passes(len(fit.y), steps)
        key = jax.random.key(seed)
        nets = classifiers.train(
            key, (fit.x, fit.y), self.spec, protocol=classifiers.STANDARD.with_epochs(epochs), seeds=seeds, **how
        )
        return list(classifiers.predict(nets, test.x))

    def score(self, test: Examples, answer: np.ndarray) -> float:
        return float((answer.argmax(-1) == test.y).mean())

    def rank(self, name: str, fit: Examples, tests: Sequence[Examples], seed: int) -> list[float]:
        with fixed_protocol():
            answer = pixel_classifier(name, self._flat(fit.x), fit.y, seed)
            return [float((answer(self._flat(part.x)) == part.y).mean()) for part in tests]

    def _flat(self, x: np.ndarray) -> np.ndarray:
        """(N, D) f64 in [0, 1]."""
        return x.reshape(len(x), -1) / (self.spec.levels - 1)

    def chances(self, answer: np.ndarray) -> np.ndarray:
        shifted = np.exp(answer.astype(np.float64) - answer.max(1, keepdims=True))
        return shifted / shifted.sum(1, keepdims=True)

    def weighted_score(self, test: Examples, answer: np.ndarray) -> bootstrap.Score:
        return bootstrap.share(answer.argmax(-1) == test.y)

    def networks(self) -> list[tuple[str, dict[str, Any]]]:
        if min(self.spec.shape[:2]) < keras_cnn.PROTOCOL.min_side:
            return []
        return [("another network", {"protocol": keras_cnn.PROTOCOL})]

    # --- what the figures say --------------------------------------------------------------------------------------

    def described(self, seeds: int, seed: int) -> dict[str, Any]:
        gamma = SVM_GAMMA if self.spec.dims <= SVM_DIMS else "1 / (values x variance)"
        return {
            "seeds": seeds,
            "epochs": self.epochs,
            "seed": seed,
            "cnn": f"conv 32, conv 64 (3x3, max-pool, batch norm), dropout {classifiers.DROPOUT}, "
            f"dense {classifiers.FEATURES}; Adam, one cycle to {classifiers.PEAK_RATE}, batches of "
            f"{classifiers.BATCH}, {self.epochs} epochs, shifts up to {classifiers.largest_shift(self.spec)} px",
            "svm": f"RBF, C={SVM_C:g}, gamma={gamma}, pixels in [0, 1], at most {SVM_ROWS} examples, stratified",
            "ceiling": "as many real training examples as synthetic ones, stratified; all of them where there are "
            "fewer",
            "floor": "per-class mean image with independent Gaussian noise of the class's own spread in each pixel",
            "choices": CHOICES,
            "interval": "95 %: Student's t over the seeds of the CNN; Wilson's over the test examples of the SVM",
        }

    def headline(self, utility: Mapping[str, Any]) -> Mapping[str, Any]:
        return utility["cnn"]

    def others(self, utility: Mapping[str, Any]) -> Sequence[tuple[str, Mapping[str, Any]]]:
        svm = {**utility["svm"], "floor": utility["cnn"]["floor"]}
        return [("another classifier, a support vector machine", svm)]

    def judgement(self, ours: float | None, real: float | None, floor: float | None) -> dict[str, Any]:
        assert ours is not None and real is not None and floor is not None  # accuracies always exist
        return {"ours": ours, "real": real}


def _ratio(part: Mapping[str, Any]) -> float:
    """The share of the ceiling that is reached; 0 where nothing can be learnt from real data either."""
    ceiling = part["trtr"]["mean"]
    return part["tstr"]["mean"] / ceiling if ceiling else 0.0


def check(name: str, part: Examples, spec: DataSpec, at_least: int = 1) -> None:
    """InputError, in one line that begins with `name`, for examples that cannot be scored.

    They are not images, of another shape, fewer than `at_least`, or their labels are missing or out of range.
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


def passes(n: int, steps: int) -> int:
    """Passes through `n` examples that give so many steps, at least `PASSES`."""
    return max(math.ceil(steps / max(n // classifiers.BATCH, 1)), PASSES)


def svm(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The RBF support vector machine as `pixel_classifier`; it needs no seed."""
    return pixel_classifier("svm", x, y, 0)


def pixel_classifier(name: str, x: np.ndarray, y: np.ndarray, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Trains one of `Images.ranked` on rows (N, D) in [0, 1], labels (N,); rows (M, D) to answers (M,).

    One class alone is always the answer.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import SVC

    if len(np.unique(y)) == 1:
        return lambda rows: np.full(len(rows), y[0])
    model = {
        "logistic": lambda: LogisticRegression(max_iter=100),
        "discriminant": lambda: LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1),
        "neighbours": lambda: KNeighborsClassifier(min(5, len(y))),
        "svm": lambda: KernelMachine(SVC(C=SVM_C, kernel="precomputed"), SVM_GAMMA if x.shape[1] <= SVM_DIMS else None),
        "forest": lambda: RandomForestClassifier(random_state=seed),
        "bayes": lambda: GaussianNB(var_smoothing=0.01),
    }[name]()
    model.fit(x, y)
    return model.predict
