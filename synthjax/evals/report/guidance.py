"""What to do next, where attacks on the file found something: steps that follow from the figures of the run.

    copies      exact copies are to be left out of the file, and where they are named
    columns     secrets that the file gives away are to be left out, or to be made coarser
    steps       training is to end sooner
    privacy     differential privacy, and the largest epsilon of `EPSILONS` that forbids what was found
    judge       the file that is made then is to be judged again

Programs go by the topics. An epsilon forbids what was found if no attack on such a training can find as large a share
of the members at 1 % false alarms as was found here, by the low end of the interval of the attack that found most.
Where not even the smallest of them does, too little was found to choose by, and the smallest is named.

    for step in guidance.of_report(report):
        print(step.text)
"""

from collections.abc import Iterator

from synthjax.evals.report.model import Evidence, Report, TableReport
from synthjax.evals.report.private import copied
from synthjax.evals.report.words import percent
from synthjax.privacy import accounting

EPSILONS = (8.0, 4.0, 2.0, 1.0)
DELTA = 1e-5
FPR = 0.01
NAMED = 5
"""Columns that are named at most."""


def of_report(report: Report) -> list[Evidence]:
    """The steps, in the order in which they are to be taken; none where nothing was found."""
    if report.parts["privacy"].level == "good":
        return []
    steps = [*_copies(report), *_columns(report), *_steps(report), *_privacy(report)]
    text = "Draw a new file and judge it again: none of these steps is sure to be enough."
    return [*steps, Evidence("judge", text)]


def _copies(report: Report) -> Iterator[Evidence]:
    privacy, unit = report.privacy, report.unit
    exact = privacy.duplicates.exact
    if not (copied(privacy) or "duplicates.exact" in privacy.findings.flagged):
        return
    text = (
        f"Leave out the {privacy.exact_matches:,} synthetic {unit}s that equal training {unit}s (report.json names "
        f"{len(exact.records):,} of these as privacy.duplicates.exact.records). What comes near to a training {unit} "
        "without being equal to it stays."
    )
    yield Evidence("copies", text)


def _columns(report: Report) -> Iterator[Evidence]:
    flagged = [name.split(".", 1)[1] for name in report.privacy.findings.flagged if name.startswith("attributes.")]
    # A column may have dots in its name; what follows the last one is the attacker.
    names = list(dict.fromkeys(name.rpartition(".")[0] for name in flagged))
    # Without its target the table would lose its use.
    names = [name for name in names if not (isinstance(report, TableReport) and name == report.manifest.target)]
    if names:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        which = ", ".join(f"“{name}”" for name in names[:NAMED])
        text = (
            f"Leave out {which}{more}, or make the values coarser: they are guessed better of training rows than of "
            "unseen ones."
        )
        yield Evidence("columns", text)


def _steps(report: Report) -> Iterator[Evidence]:
    model = report.manifest.model
    if model is None or not model.step or model.guarantee:
        return
    if model.name == "table_forest":
        text = (
            "Let more rows share a leaf, such as --config.model.leaf=20 or more: a value that is drawn is that of a "
            "training row in the leaf, a number up to its bin. Fewer trees are no way out."
        )
        yield Evidence("steps", text)
        return
    if model.step == 1:
        text = (
            f"Take another model: {model.name} learns from all training {report.unit}s in a single step, and fewer "
            "steps are no way out."
        )
        yield Evidence("steps", text)
        return
    known = report.privacy.mia.model_auc
    seen = f", and the model itself tells them from others with an AUC of {known:.3f}" if known is not None else ""
    text = (
        f"Train for fewer steps, such as {_rounded(model.step / 2):,} instead of {model.step:,}: a model remembers "
        f"more with each pass through its training {report.unit}s{seen}."
    )
    yield Evidence("steps", text)


def _rounded(steps: float) -> int:
    """To two digits, at least 1."""
    return max(int(float(f"{steps:.2g}")), 1)


def _privacy(report: Report) -> Iterator[Evidence]:
    model, unit = report.manifest.model, report.unit
    if model is not None and model.guarantee:
        text = (
            f"Train with a smaller epsilon than {model.guarantee.epsilon:.3g}. If more was found than it allows, the "
            "mechanism or the unit of protection is not what it is taken for."
        )
        yield Evidence("privacy", text)
        return
    epsilon, most, found = epsilon_for(report)
    beside = (
        f"at least {percent(found)} were found here" if most < found else "too little was found here to choose it by"
    )
    text = (
        "If nobody in the training set may be recognised, train with differential privacy, such as "
        f"--dp.epsilon={epsilon:g}: with 1 % false alarms no attack then finds more than {percent(most)} of the "
        f"training {unit}s; {beside}."
    )
    yield Evidence("privacy", text)


def epsilon_for(report: Report) -> tuple[float, float, float]:
    """The epsilon to train with; the share that any attack can find then at 1 % false alarms; the share found here."""
    found = max(one.tpr_at_fpr_1pct_interval[0] for one in report.privacy.mia.attacks.values())
    allowed = {epsilon: accounting.attack(epsilon, DELTA, FPR) for epsilon in EPSILONS}
    epsilon = next((one for one, most in allowed.items() if most < found), EPSILONS[-1])
    return epsilon, allowed[epsilon], found
