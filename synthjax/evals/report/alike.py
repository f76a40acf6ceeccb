"""The verdict on likeness: do synthetic images look like real ones, is a synthetic table like the real one?"""

from collections.abc import Iterable

from synthjax.evals.report.images import ImageFidelity
from synthjax.evals.report.model import Evidence, Verdict
from synthjax.evals.report.shared import Level
from synthjax.evals.report.tables import EachColumn, Pair, TableFidelity
from synthjax.evals.report.words import percent
from synthjax.evals.two_sample import TwoSample

FEWEST = 50
"""Rows of each table below which no difference does not mean that there is none."""
TOLD = 0.01
"""What the AUC of the two-sample test has to fall by for a column to be named."""
SHOWN = 3
"""Columns that are named at most."""


def alike(fidelity: ImageFidelity | TableFidelity) -> Verdict:
    """What the fidelity part says."""
    if isinstance(fidelity, TableFidelity):
        level, answer = _level_of_table(fidelity)
        evidence, question = _evidence_of_table(fidelity), "Is it like the real table?"
    else:
        level, answer = _level_of_images(fidelity)
        evidence, question = _evidence_of_images(fidelity), "Does it look like the real data?"
    return Verdict("alike", question, level, answer, evidence)


# --- images --------------------------------------------------------------------------------------------------------


def _level_of_images(fidelity: ImageFidelity) -> tuple[Level, str]:
    if _empty_classes(fidelity):
        return "poor", "No: some classes are missing."
    if fidelity.collapsed:
        return "poor", "No: some classes have collapsed to a few examples."
    likely, varied = (_near(fidelity, name) for name in ("precision", "coverage"))
    if likely and varied:
        return "good", "Yes, in kind and in variety."
    if likely:
        return "fair", "In kind, but part of the real variety is missing."
    if varied:
        return "fair", "In variety, but some examples are off."
    return "poor", "No: some examples are off, and part of the real variety is missing."


def _near(fidelity: ImageFidelity, name: str) -> bool:
    """Whether a figure is at most a twentieth below that of real images, or of 0.9 without any."""
    real = getattr(fidelity.reference, name) if fidelity.reference else 0.9
    return bool(getattr(fidelity, name) >= 0.95 * real)


def _empty_classes(fidelity: ImageFidelity) -> list[str]:
    return [name for name, of in fidelity.per_class.items() if not of.n_synthetic]


def _evidence_of_images(fidelity: ImageFidelity) -> list[Evidence]:
    said = {
        "precision": "of the synthetic examples lie where real ones do",
        "coverage": "of the real examples have a synthetic one nearby",
    }
    real, evidence = fidelity.reference, []
    for name, what in said.items():
        beside = f"; real data: {percent(getattr(real, name))}" if real else ""
        evidence.append(Evidence(name, f"{percent(getattr(fidelity, name))} {what} ({name}{beside})."))
    if fidelity.c2st.auc is not None:
        evidence.append(
            _two_sample(fidelity.c2st, {"real data": real.c2st if real else None}, ", by a CNN's features,")
        )
    if fidelity.collapsed:
        text = f"Less than half as varied as the real class: {', '.join(fidelity.collapsed)}."
        evidence.append(Evidence("collapsed", text))
    if empty := _empty_classes(fidelity):
        evidence.append(Evidence("missing_classes", f"Classes without any example: {', '.join(empty)}."))
    return evidence


def _two_sample(test: TwoSample, others: dict[str, TwoSample | None], how: str = "") -> Evidence:
    """The two-sample test in words, beside what it gives of others."""
    beside = "".join(f"; {name}: {of.auc:.3f}" for name, of in others.items() if of and of.auc is not None)
    text = (
        f"Gradient boosting that learns to tell synthetic from real {'rows' if not how else 'examples'}{how} reaches "
        f"an AUC of {test.auc:.3f} (0.5: it cannot tell them apart{beside})."
    )
    by = [(name, fall) for name, fall in (test.told_by or {}).items() if fall >= TOLD][:SHOWN]
    if by:
        text += f" It tells them by {', '.join(f'{name} ({fall:.3f} of the AUC)' for name, fall in by)}."
    if not how and test.auc is not None and test.auc < 0.4:
        text += " Far below 0.5, it meets copies of its rows among the real ones."
    return Evidence("c2st", text)


# --- tables --------------------------------------------------------------------------------------------------------


def _level_of_table(fidelity: TableFidelity) -> tuple[Level, str]:
    made, ceiling = fidelity.synthetic, fidelity.ceiling
    gain = gained(fidelity)
    hidden = made.c2st.score / ceiling.c2st.score if made.c2st.score is not None and ceiling.c2st.score else None
    # Small tables differ by chance, and so do real test rows.
    one, other = made.shapes.score, ceiling.shapes.score
    shapes = one / other if one is not None and other else None
    if (shapes is not None and shapes < 0.85) or (hidden is not None and hidden < 0.25):
        return "poor", "No: its rows are easily told from real ones."
    if gain is not None and gain < 0.5:
        return "poor", "No: its columns hardly depend on one another as the real ones do."
    if (hidden is None or hidden >= 0.8) and (gain is None or gain >= 0.8) and (shapes is None or shapes >= 0.97):
        if min(fidelity.n["synthetic"], fidelity.n["ceiling"]) < FEWEST:
            return "fair", "This cannot be told: too few rows were compared. Nothing was found that differs."
        return "good", "Yes: column by column, pair by pair and as a whole."
    return "fair", "Partly: what differs is listed below."


def gained(fidelity: TableFidelity) -> float | None:
    """How much of the likeness of pairs is reached that independent columns do not have; 1: that of real rows.

    None where independent columns are as good as real rows, to a tenth of the real rows' distance from 1.
    """
    sides = fidelity.synthetic, fidelity.floor, fidelity.ceiling
    ours, floor, ceiling = (side.trends.score_real_edges for side in sides)
    if ours is None or floor is None or ceiling is None:
        return None
    return (ours - floor) / (ceiling - floor) if ceiling - floor > 0.1 * (1 - ceiling) else None


def _evidence_of_table(fidelity: TableFidelity) -> list[Evidence]:
    made, ceiling, floor = sides = fidelity.synthetic, fidelity.ceiling, fidelity.floor
    pairs = ((" and ".join(pair.columns), trend(pair)) for pair in made.trends.pairs)
    evidence = [
        Evidence(
            "columns",
            f"Single columns are {_triple([side.shapes.score for side in sides])}{_least(made.shapes.columns.items())}",
        ),
        Evidence(
            "pairs", f"Pairs of columns are {_triple([side.trends.score_real_edges for side in sides])}{_least(pairs)}"
        ),
    ]
    if made.c2st.score is not None:
        evidence.append(_two_sample(made.c2st, {"real test rows": ceiling.c2st, "independent columns": floor.c2st}))
    if fidelity.each_column:
        evidence.append(_each_column(fidelity.each_column))
    return evidence


def _each_column(found: EachColumn) -> Evidence:
    text = (
        f"Each column can be predicted from the others with a skill of {found.score:.2f} after learning from synthetic "
        f"rows, of {found.real:.2f} after real ones (0: no better than the column alone)."
    )
    name, worst = max(found.columns.items(), key=lambda item: item[1].real - item[1].synthetic)
    if worst.real - worst.synthetic >= TOLD:
        text += f" Most is lost of {name}: {worst.synthetic:.2f} instead of {worst.real:.2f}."
    return Evidence("each_column", text)


def trend(pair: Pair) -> float | None:
    """Likeness of a pair of columns, a number that meets a category cut where the real column is.

    At edges of each table's own, as SDMetrics has it, one outlier moves all bins: Adult's education_num gets 0.48 by
    artefact.
    """
    real = pair.score_real_edges
    return pair.score if not isinstance(real, float | None) else real


def _triple(scores: list[float | None]) -> str:
    present = [percent(score) for score in scores if score is not None]
    if len(present) < len(scores):
        return "not compared: there is none."
    ours, real, floor = present
    return f"{ours} alike on average (real test rows: {real}; independent columns: {floor})."


def _least(scores: Iterable[tuple[str, float | None]]) -> str:
    """The worst of (name, score), as a sentence."""
    present = [(score, name) for name, score in scores if score is not None]
    if not present:
        return ""
    score, name = min(present)
    return f" Least alike: {name}, {percent(score)}."
