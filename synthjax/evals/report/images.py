"""The parts of a report on images that tables do not have: usefulness and likeness."""

from dataclasses import dataclass
from typing import Literal

from synthjax.evals.bootstrap import Calibration, Loss
from synthjax.evals.figure import Count, Estimate, Share, figure, part, twin
from synthjax.evals.report.shared import Map, Neighbourhoods
from synthjax.evals.two_sample import TwoSample

_TSTR = "Share of real test images that a classifier trained on synthetic images alone answers rightly."
_TRTR = "The same, trained on as many real images: the ceiling."
_FLOOR = "The same, trained on the mean image of each class with noise: what a generator must beat."
_TRTS = "Share of synthetic images whose label a classifier trained on real images gives."


@dataclass(frozen=True, kw_only=True)
class Accuracy(Estimate):
    """Of classifiers from several seeds; the interval is Student's over the seeds, of one value Wilson's."""

    n: Count
    """Values."""


@dataclass(frozen=True, kw_only=True)
class AccuracyByClass(Accuracy):
    """With the share of each class's examples that is recognised, by its name; None: no example to test on."""

    recall: dict[str, Share | None]


@dataclass(frozen=True, kw_only=True)
class Confusion(AccuracyByClass):
    """With test examples by class (row) and answer (column), mean over seeds."""

    confusion: list[list[float]]


@dataclass(frozen=True, kw_only=True)
class JudgedImages:
    """One kind of classifier, trained on synthetic and on real images."""

    tstr: Accuracy = figure("accuracy", _TSTR, "high", reference="trtr", floor="floor")
    trtr: Accuracy = figure("accuracy of real data", _TRTR, "high", detail=True)
    trts: Accuracy = figure("accuracy on synthetic data", _TRTS, "high", detail=True)
    floor: Accuracy = figure("accuracy of mean images", _FLOOR, "high", detail=True)
    tstr_over_trtr: float = figure(
        "share of the ceiling", "The accuracy over that of its ceiling.", "high", bounds=(0, None)
    )


@dataclass(frozen=True, kw_only=True)
class JudgedByCnn(JudgedImages):
    """By the CNN, which is looked at class by class."""

    tstr: Confusion = figure("accuracy", _TSTR, "high", reference="trtr", floor="floor")
    trtr: AccuracyByClass = figure("accuracy of real data", _TRTR, "high", detail=True)


@dataclass(frozen=True, kw_only=True)
class ImageCounts:
    """Sizes of the sets that usefulness is measured with."""

    synthetic: Count
    synthetic_per_class: list[Count]
    missing_classes: list[str]
    """Names of classes with no synthetic example."""
    trained_on: Count
    ceiling: Count
    test: Count
    ceiling_is_all_real: bool


@dataclass(frozen=True, kw_only=True)
class ImageUtility:
    """Can a classifier learn from synthetic images? See `synthjax.evals.utility`."""

    cnn: JudgedByCnn = part("CNN")
    svm: JudgedImages = part("support vector machine")
    loss: Loss
    calibration: Calibration
    n: ImageCounts
    protocol: dict[str, str | int]


@dataclass(frozen=True, kw_only=True)
class Distances(Neighbourhoods):
    """Of one set of images to the real test images, in the features of a CNN."""

    frechet: float = figure(
        "Fréchet distance",
        "Squared Fréchet distance of Gaussians with the features' moments; not comparable with published FID.",
        "low",
        bounds=(0, None),
    )
    kernel: float = figure(
        "kernel distance",
        "Squared maximum mean discrepancy of the features, without bias: it may fall below 0.",
        "low",
        bounds=(None, None),
    )
    c2st: TwoSample


@dataclass(frozen=True, kw_only=True)
class ClassFidelity:
    """Likeness of the images of one class; None: too few examples."""

    mean_distance: float | None = figure(
        "distance of mean images", "Root mean square difference of the mean images, pixels in [0, 1].", "low"
    )
    covariance_distance: float | None = figure(
        "distance of covariances",
        "Frobenius norm of the difference of the pixels' covariances, over that of the real one.",
        "low",
        bounds=(0, None),
    )
    n_synthetic: Count
    n_real: Count
    diversity: float | None = figure(
        "diversity",
        "Mean distance of two synthetic images of the class over that of two real ones; below 0.5 it has collapsed.",
        "high",
        bounds=(0, None),
        reference=1.0,
    )
    frechet: float | None = figure(
        "Fréchet distance",
        "As for all images, within the class.",
        "low",
        bounds=(0, None),
        reference="reference.frechet",
    )
    kernel: float | None = figure(
        "kernel distance",
        "As for all images, within the class.",
        "low",
        bounds=(None, None),
        reference="reference.kernel",
    )
    reference: dict[Literal["frechet", "kernel"], float] | None
    """Of as many real training images."""
    n_compared: Count


@dataclass(frozen=True, kw_only=True)
class FeatureNetwork:
    """The CNN whose features are compared."""

    accuracy: Share = figure(
        "accuracy of the network",
        "Share of real test images that the network whose features are compared answers rightly.",
        "high",
        detail=True,
    )
    sha256: str
    examples: Count
    epochs: Count


@dataclass(frozen=True, kw_only=True)
class ImageFidelity(Distances):
    """Do synthetic images look like real ones? See `synthjax.evals.fidelity`."""

    reference: Distances | None = twin()
    """The same of real training images in the place of the synthetic ones."""
    map: Map | None
    per_class: dict[str, ClassFidelity] = part("class NAME")
    collapsed: list[str]
    """Classes of which the same few examples are made again and again."""
    k: Count
    n_synthetic: Count
    n_real: Count
    network: FeatureNetwork
