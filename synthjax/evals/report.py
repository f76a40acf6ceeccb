"""The report: one JSON file for programs, one self-contained page for people (`synthjax.evals.page`).

Keys of `report.json`, whose JSON schema is `report.schema.json` beside this module. Within one `protocol_version` their
names and meanings stay; new ones may come. Shares, rates and accuracies are in [0, 1]; distances are in stored units
(grey values); intervals are [low, high] at 95 %.

    protocol_version                 this protocol's number: figures of different versions do not compare
    manifest.dataset                 name of the real data set;  .kind  "image"
    manifest.fingerprint             sha256 over its spec and splits
    manifest.synthetic               file, sha256 of the file, examples, per_class (counts)
    manifest.real                    train, holdout, test: numbers of examples
    manifest.non_members             the split that the generator cannot have seen: "holdout", for a foreign file "test"
    manifest.overlap                 of each pair of real splits: rows_of, found_in, shared of n rows, twins among those
                                     of the second, taken: the share taken over (see `privacy.overlap`)
    manifest.model                   workdir, name, state_sha256 of the model; null for a file alone
    manifest.seeds, .epochs, .seed   settings of the classifiers, seed of every subsample
    manifest.level, .protocol        "look", "quick" or "full", and how much was done
    manifest.settings_sha256         of all settings;  .code_sha256  of the package's sources
    manifest.notes                   what was left out and why, a sentence each
    manifest.quick                   true at level "look": fewer seeds, epochs and examples than the protocol asks for
    manifest.versions, .command      software, and the command line
    manifest.created, .seconds       UTC time, and wall-clock seconds per part

    verdicts                         the first page: question, level (good, fair, poor), answer, evidence, confidence

    utility                          null without labels
    utility.loss                     points lost against real data: points, ci (paired bootstrap), ours, real, n, seeds
    utility.calibration              expected calibration error of the CNN, tstr and trtr
    utility.cnn, utility.svm         for each classifier, accuracy on real test data (trts excepted):
      .tstr.mean                       trained on synthetic data; .ci its interval, .values per seed, .n of them, .std
      .trtr.mean                       ceiling: trained on as many real examples
      .floor.mean                      floor: trained on a per-class mean image plus noise
      .trts.mean                       trained on real, tested on synthetic data
      .tstr_over_trtr                  the share of the ceiling that is reached
    utility.cnn.tstr.confusion       real test examples by class (row) and answer (column), mean over seeds
    utility.n, utility.protocol      sizes of the sets, missing_classes; the classifiers in words

    studies                          null without labels; see `synthjax.evals.image_studies`
      .curve, .mixing                  scores by size of the set, and beside few real examples
      .top_up                          real data alone against real data whose rare classes are filled up: said, in
                                       words; reason, why not measured; rarest, filled (real, added, lacking by class),
                                       balanced_accuracy and recall of the rarest (real, filled, repeated, points, ci)
      .ranking                         does the best classifier stay the best? deployed, real, ceiling, regret
    robustness                       null without labels: level, and the checks' levels and figures

    fidelity                         null if the real data has no labels; see `synthjax.evals.fidelity`
      .precision, .recall              share of synthetic examples within the real ones' neighbourhoods, and vice versa
      .density, .coverage              their robust forms
      .frechet, .kernel                squared Fréchet distance and kernel distance in the same feature space
      .network                         whose features they are: accuracy on real test data, sha256, examples
      .c2st                            two-sample test there: score, auc (see `synthjax.evals.two_sample`)
      .map                             t-SNE: places of real and synthetic examples, names of classes
      .reference                       the same seven for real training examples in the place of synthetic ones
      .per_class                       mean_distance, covariance_distance in pixels; in feature space diversity, and
                                       frechet, kernel of n_compared examples, under reference the same of real ones
      .collapsed                       classes of which the same few examples are made again and again

    privacy.n_synthetic              examples in the synthetic set
    privacy.exact_matches            how many synthetic examples equal a training example
    privacy.exact_matches_share      the same as a share;  .exact_matches_reference  of unseen real examples
    privacy.near_matches             share closer to training data than threshold (the `quantile` of the distances of
                                     unseen real examples), reference (of these, the share that is), examined
    privacy.closest                  the closest pairs: rows synthetic and train, distance
    privacy.dcr                      share_nearer_train (reference 0.5), interval, effective_n, n_synthetic, n_real,
                                     median_train, median_holdout, histogram (edges, train, holdout)
    privacy.dcr.nndr                 distance to the nearest over the second nearest: train, holdout (median, q05)
    privacy.duplicates               exact, near: share of members and of others with a synthetic double, gain and its
                                     interval, n_members, n_others, p; near: threshold; exact: records (training rows)
    privacy.mia.auc                  best membership attack from the files; auc_interval is simultaneous over attacks
    privacy.mia.tpr_at_fpr_1pct      its true positive rate at a false positive rate of at most 1 %
    privacy.mia.tpr_at_fpr_0p1pct    and of at most 0.1 %
    privacy.mia.best                 which attack each of the three is from: the largest (see `privacy.summary`)
    privacy.mia.surest               attack, auc, auc_interval: whose interval reaches furthest above 1/2
    privacy.mia.chance, .p_value     each of the three with membership shuffled: mean, q95; share of shuffles as large
    privacy.mia.p                    p-values by ATTACK.FIGURE, not corrected
    privacy.mia.worst_hit            attack, records (training rows, worst hit first), false_alarms of each
    privacy.mia.attacks              every attack: its figures, intervals, bootstrap intervals and roc
    privacy.mia.control_auc          the distance attack aimed at real data that holds no member: 0.5 without a bias
    privacy.mia.model_auc            the best attack that asks the model itself; null without a model;  .model  it
    privacy.mia.model_attacks        the same keys as mia for all attacks on the model, and their findings
    privacy.mia.n_public             records of which the attacker knew before (`--public`)
    privacy.findings                 holm: p-values of all tests of the file, corrected together; flagged: those at or
                                     below level
    privacy.mia.n_members, .n_others examples attacked
"""

import difflib
import json
import operator
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from synthjax import files
from synthjax.errors import GateError, InputError
from synthjax.evals import traces
from synthjax.evals.privacy.distances import exceeds

PROTOCOL_VERSION = 2

GATEABLE = (
    *(f"utility.{c}.{k}" for c in ("cnn", "svm") for k in ("tstr.mean", "trtr.mean", "floor.mean", "trts.mean")),
    *(f"utility.{c}.tstr_over_trtr" for c in ("cnn", "svm")),
    *(f"fidelity.{k}" for k in ("precision", "recall", "density", "coverage", "c2st.score", "c2st.auc")),
    *(f"privacy.{k}" for k in ("exact_matches", "exact_matches_share", "exact_matches_reference")),
    *(f"privacy.near_matches.{k}" for k in ("share", "reference")),
    "privacy.dcr.share_nearer_train",
    *(f"privacy.mia.{k}" for k in ("auc", "tpr_at_fpr_1pct", "tpr_at_fpr_0p1pct", "control_auc", "model_auc")),
)
"""The numbers that a gate may name."""
REPEATED = 0.05
"""Share of unseen examples equal to a training example above which the verdict on privacy says so."""
NAMED = 5
"""Missing classes that a sentence names at most."""
NEEDS_MODEL = ("privacy.mia.model_auc",)

_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_GATE = re.compile(r"\s*([\w.]+)\s*(>=|<=|>|<)\s*([-+.\deE]+)\s*")


def assemble(
    manifest: Mapping[str, Any],
    *,
    utility: Mapping[str, Any] | None,
    fidelity: Mapping[str, Any] | None,
    privacy: Mapping[str, Any],
    studies: Mapping[str, Any] | None = None,
    robustness: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The whole report but its verdicts, as plain values.

    Args:
        manifest: see module.
        utility: of `utility.evaluate`.
        fidelity: of `fidelity.evaluate`.
        privacy: of `privacy.evaluate`.
        studies: of `image_studies.evaluate`.
        robustness: of `image_studies.robustness`.
    """
    if utility is not None:
        ratios = {kind: {**utility[kind], "tstr_over_trtr": _ratio(utility[kind])} for kind in ("cnn", "svm")}
        utility = {**utility, **ratios}
    return {
        "protocol_version": PROTOCOL_VERSION,
        "manifest": dict(manifest),
        "utility": utility,
        "studies": studies,
        "robustness": robustness,
        "fidelity": fidelity,
        "privacy": dict(privacy),
    }


def _ratio(part: Mapping[str, Any]) -> float:
    """The share of the ceiling that is reached; 0 where nothing can be learnt from real data either."""
    ceiling = part["trtr"]["mean"]
    return part["tstr"]["mean"] / ceiling if ceiling else 0.0


def write(folder: Path, report: Mapping[str, Any]) -> Path:
    """Writes report.json into `folder`, whole or not at all; returns its path.

    Raises:
        ValueError: if the report holds a NaN or an infinity, which JSON does not know.
    """
    path = folder / "report.json"
    files.write(path, json.dumps(report, indent=1, allow_nan=False) + "\n")
    return path


def read(path: Path) -> dict[str, Any]:
    """A report that was written before.

    Raises:
        InputError: the file cannot be read, or holds no report, or one of another protocol version.
    """
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path}: is no JSON file; --render takes a report.json that eval wrote") from None
    if not isinstance(found, dict) or not {"manifest", "privacy", "protocol_version"} <= found.keys():
        raise InputError(f"{path}: holds no report; --render takes a report.json that eval wrote")
    if found["protocol_version"] != PROTOCOL_VERSION or "pictures" not in found:
        version = f"{found['protocol_version']!r}, this one is {PROTOCOL_VERSION}"
        raise InputError(f"{path}: its report is of protocol version {version}: judge the set again")
    return found


class Gate(NamedTuple):
    """A condition under which an evaluation counts as failed."""

    key: str
    compare: str
    bound: float

    @classmethod
    def parse(cls, text: str, known: Collection[str] = GATEABLE) -> "Gate":
        """The gate that a text like `privacy.mia.auc>0.55` states; `known`: the keys that it may name.

        Raises:
            ValueError: if it cannot be read, or names no number of the report.
        """
        match = _GATE.fullmatch(text)
        try:
            key, compare, bound = match.groups() if match else ("", "", "")
            gate = cls(key, compare, float(bound))
        except ValueError:
            raise ValueError(f"{text!r} is not KEY>NUMBER, e.g. privacy.mia.auc>0.55 (also <, >=, <=)") from None
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
            raise ValueError(f"{key!r} is no number of the report" + (f"; did you mean {near[0]}?" if near else ""))
        return gate

    def failure(self, report: Mapping[str, Any]) -> str | None:
        """Why the report fails this gate, or None if it passes; what was not measured does not pass."""
        value: Any = report
        for part in self.key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is None:
            return f"{self.key} was not measured (gate {self})"
        return f"{self.key} is {value:.6g} (gate {self})" if _COMPARE[self.compare](value, self.bound) else None

    def __str__(self) -> str:
        return f"{self.key}{self.compare}{self.bound:g}"


def check_gates(gates: Sequence[Gate], report: Mapping[str, Any]) -> None:
    """Does nothing if every condition is false.

    Raises:
        GateError: one line that names each one that holds: key, value and bound.
    """
    failures = [failure for gate in gates if (failure := gate.failure(report)) is not None]
    if failures:
        raise GateError("; ".join(failures))


Level = Literal["good", "fair", "poor"]


class Verdict(NamedTuple):
    """The answer to one question, in words, with its evidence."""

    question: str
    level: Level
    answer: str
    evidence: list[str]
    """Sentences, each number beside its reference."""
    confidence: str = ""
    """How sure it is, and why: a word, a colon, a sentence."""


def percent(share: float) -> str:
    """A share as text: 96.8 %; one digit more where a tenth of a per cent is too coarse."""
    return f"{100 * share:.2f} %" if 0 < share < 0.001 else f"{100 * share:.1f} %"


def verdicts(report: Mapping[str, Any]) -> list[Verdict]:
    """One verdict per question: is it useful, does it look right, does it give its training examples away."""
    found = [useful(report["utility"])] if report["utility"] else []
    found += [alike(report["fidelity"])] if report["fidelity"] else []
    return [*found, private(report["privacy"])]


def missing(utility: Mapping[str, Any] | None) -> list[str]:
    """Names of the classes that the synthetic set lacks, by the utility part; reports made earlier may not tell."""
    found: list[str] = ((utility or {}).get("n") or {}).get("missing_classes") or []
    return found


def lacks(names: Sequence[str], unit: str) -> str:
    """What it means that a synthetic set lacks the classes of these names, a sentence."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    which = f"class{'es' * (len(names) > 1)} {', '.join(f'“{name}”' for name in names[:NAMED])}{more}"
    return f"No synthetic {unit} is of {which}: what learns from this data alone never answers so."


def useful(utility: Mapping[str, Any]) -> Verdict:
    """Can a classifier learn from it? What the utility part says."""
    cnn, svm = utility["cnn"], utility["svm"]
    ratio = _ratio(cnn)
    level = usefulness(cnn["tstr"]["mean"], cnn["trtr"]["mean"], cnn["floor"]["mean"])
    answer = {
        "good": "Yes, nearly as well as on real data.",
        "fair": "Partly: a visible share of the accuracy is lost.",
        "poor": "No: far from what real data gives.",
    }[level]
    if cnn["tstr"]["mean"] <= cnn["floor"]["mean"]:
        answer = "No: a mean image with noise would serve as well."
    n = utility["n"]
    gone = missing(utility)
    if gone and level == "good":
        level, answer = "fair", "All but the classes that are missing."
    part = f", {n['trained_on']:,} of its examples," if n["trained_on"] < n["synthetic"] else ""
    evidence = [
        f"A CNN trained on this data alone{part} scores {percent(cnn['tstr']['mean'])} on real test data, where as "
        f"many real examples give {percent(cnn['trtr']['mean'])}: ratio {ratio:.3f}.",
        f"The floor, a per-class mean image with noise, gives {percent(cnn['floor']['mean'])}.",
        f"A support vector machine scores {percent(svm['tstr']['mean'])} instead of {percent(svm['trtr']['mean'])}: "
        f"ratio {_ratio(svm):.3f}.",
        *([lacks(gone, "example")] if gone else []),
    ]
    return Verdict("Can a classifier learn from it?", level, answer, evidence)


def usefulness(ours: float, real: float, floor: float) -> Level:
    """What an accuracy says beside that of real data and the floor."""
    ratio = ours / real if real else 0.0
    if ours <= floor or ratio < 0.9:
        return "poor"
    return "good" if ratio >= 0.98 else "fair"


def alike(fidelity: Mapping[str, Any]) -> Verdict:
    """Does it look like the real data? What the fidelity part says."""
    precision, coverage = fidelity["precision"], fidelity["coverage"]
    reference = fidelity["reference"] or {}
    beside = {k: f" (real data: {percent(reference[k])})" if k in reference else "" for k in ("precision", "coverage")}
    level: Level
    likely = precision >= 0.95 * reference.get("precision", 0.9)
    varied = coverage >= 0.95 * reference.get("coverage", 0.9)
    if likely and varied:
        level, answer = "good", "Yes, in kind and in variety."
    elif likely or varied:
        level, answer = "fair", "In kind, but not in all its variety." if likely else "In variety, but some are off."
    else:
        level, answer = "poor", "No: some examples are off, and part of the real variety is missing."
    evidence = [
        f"{percent(precision)} of the synthetic examples lie where real ones do{beside['precision']}.",
        f"{percent(coverage)} of the real examples have a synthetic one nearby{beside['coverage']}.",
    ]
    if told := fidelity.get("c2st"):
        evidence += _told_apart(told, reference.get("c2st"))
    if collapsed := fidelity.get("collapsed"):
        level, answer = "poor", "No: some classes have collapsed to a few examples."
        evidence.append(f"Collapsed: {', '.join(collapsed)}; less than half as varied as the real class.")
    if gone := [name for name, of in (fidelity.get("per_class") or {}).items() if not of.get("n_synthetic", 1)]:
        level, answer = "poor", "No: some classes are missing."
        evidence.append(f"No example at all: {', '.join(gone)}.")
    return Verdict("Does it look like the real data?", level, answer, evidence)


def _told_apart(test: Mapping[str, Any], reference: Mapping[str, Any] | None) -> list[str]:
    """The two-sample test in words; nothing where there were too few examples."""
    if test["auc"] is None:
        return []
    beside = f"; real data: {reference['auc']:.3f}" if reference and reference["auc"] is not None else ""
    return [
        "Gradient boosting that has to tell them from real ones, by the features of a CNN, reaches an AUC of "
        f"{test['auc']:.3f} (0.5: it cannot{beside})."
    ]


def copied(privacy: Mapping[str, Any]) -> bool:
    """Whether more synthetic examples equal training examples than by nature, going by how many unseen real ones do."""
    made, unseen = privacy["n_synthetic"], privacy["mia"]["n_others"]
    return exceeds(privacy["exact_matches"], made, round(privacy["exact_matches_reference"] * unseen), unseen)


def _none(others: int) -> str:
    """What 0.1 % are of so few others."""
    return f" (of {others:,} others: none)" if others < 1_000 else ""


def private(privacy: Mapping[str, Any], *, unit: str = "example") -> Verdict:
    """Does it give its training examples away? What the privacy part says; `unit`: what an example is called."""
    mia, near = privacy["mia"], privacy["near_matches"]
    level: Level = "poor" if copied(privacy) else traces.level(privacy)
    answer = {
        "poor": f"Yes: training {unit}s can be recognised from it.",
        "fair": f"There are traces of the training {unit}s in it.",
        "good": "These attacks found nothing. That is no proof that nothing leaks.",
    }[level]
    low, high = mia["auc_interval"]
    evidence = [
        *traces.sentences(privacy, unit),
        "Guessing from the file alone who was in the training set, the best attack reaches an AUC of "
        f"{mia['auc']:.3f} (interval {low:.3f} to {high:.3f}; guessing gives 0.5, and with no leak the best attack "
        f"would stay below {mia['chance']['auc']['q95']:.3f} nineteen times in twenty).",
        f"With 1 % false alarms {percent(mia['tpr_at_fpr_1pct'])} of the members are found (no leak: "
        f"{percent(mia['chance']['tpr_at_fpr_1pct']['mean'])}), with 0.1 % false alarms{_none(mia['n_others'])} "
        f"{percent(mia['tpr_at_fpr_0p1pct'])} (no leak: {percent(mia['chance']['tpr_at_fpr_0p1pct']['mean'])}).",
        f"{privacy['exact_matches']:,} of {privacy['n_synthetic']:,} synthetic {unit}s are exact "
        f"copies of training {unit}s ({percent(privacy['exact_matches_share'])}; unseen real {unit}s: "
        f"{percent(privacy['exact_matches_reference'])}), {percent(near['share'])} come very near to one "
        f"(unseen real {unit}s: {percent(near['reference'])}).",
    ]
    if mia["model_auc"] is not None:
        low, high = mia["model"]["auc_interval"]
        evidence.append(
            f"Whoever gets the model itself reaches an AUC of {mia['model_auc']:.3f} (interval {low:.3f} to "
            f"{high:.3f}): that is the price of publishing the model, not the file."
        )
    if privacy["exact_matches_reference"] > REPEATED:
        evidence.append(
            f"{percent(privacy['exact_matches_reference'])} of the unseen real {unit}s equal a training {unit}: the "
            f"two sets overlap, or such {unit}s repeat by nature. Members and others are then hard to tell apart, and "
            "a leak is hard to see."
        )
    return Verdict(f"Does it give its training {unit}s away?", level, answer, evidence)
