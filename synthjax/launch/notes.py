"""What whoever reads a report has to know of the synthetic set as a whole, a sentence each."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from synthjax import data
from synthjax.evals.domains import Rows
from synthjax.launch.config import Privacy
from synthjax.privacy import accounting

NAMED = 5
"""Classes that a note names at most."""


def about(real: data.Dataset, rows: dict[str, Rows], *, foreign: bool) -> tuple[str, ...]:
    """Notes on what is left out and why, missing classes, small sets, and where unseen examples come from.

    `rows`: "synthetic" and "train", as they are compared; `foreign`: whether nothing is known of the generator.
    """
    table, unit = real.table is not None, "example" if real.table is None else "row"
    made, train = (len(rows[name] if table else rows[name].x) for name in ("synthetic", "train"))
    reason = _left_out(real, rows)
    notes = [reason] if reason else _absent(real, rows, unit)
    if made < train and (table or not reason):
        notes.append(
            f"there are {made:,} synthetic {unit}s and {train:,} training {unit}s: ceiling and floor take no more "
            "either"
        )
    if table and not reason and (unlabelled := made - len(rows["synthetic"].with_target())):
        target = rows["train"].schema.target
        notes.append(f"{unlabelled:,} synthetic rows have no {target!r}: usefulness is measured without them")
    # Test examples that were cut from the real data: the maker of a foreign file may not know of it.
    if foreign and not table and not np.array_equal(real.test.index, np.arange(len(real.test.index))):
        notes.append(
            f"{real.name} has no test examples of its own: a fixed fifth of it counts as unseen, which is true only if "
            "the generator was not trained on them; --holdout=FILE beside --real=FILE names others"
        )
    return tuple(notes)


def of_privacy(dp: Privacy) -> str:
    """What a run's differential privacy means beside attacks, or "" without."""
    if dp.epsilon is None:
        return ""
    if dp.test_seed is not None:
        return "the run is a test of differential privacy: its noise follows from a seed and protects nothing"
    most = 100 * accounting.attack(dp.epsilon, dp.delta, 0.01)
    unit = f"all rows with one value of {dp.unit}" if dp.unit else "one row"
    return (
        f"training was differentially private, with epsilon {dp.epsilon:g} and delta {dp.delta:g} for {unit}: with 1 % "
        f"false alarms no attack on what is in publish/, known or not, finds more than {most:.2g} % of the training "
        "rows. This report is made of real rows; it is not covered, and not to be published"
    )


def _left_out(real: data.Dataset, rows: dict[str, Rows]) -> str | None:
    if real.table is not None:
        missing = "no target is named: usefulness is not measured; --target=COLUMN names one"
        return None if rows["train"].schema.target else missing
    if not real.spec.n_classes:
        return "the real data has no labels: usefulness, and likeness in the features of a classifier, are left out"
    if rows["synthetic"].y is None:
        return (
            "the synthetic set has no labels: usefulness, its studies and what is said class by class are left out; "
            "likeness as a whole and privacy need none"
        )
    return None


def _absent(real: data.Dataset, rows: dict[str, Any], unit: str) -> list[str]:
    if real.table is None:
        return absent(real.spec.classes, rows["train"].y, rows["synthetic"].y, unit)
    schema = rows["train"].schema
    if schema.regression:
        return []
    known, made = (rows[name].with_target().target() for name in ("train", "synthetic"))
    return absent(schema.classes, known, made, unit)


def absent(classes: Sequence[str], real: np.ndarray, made: np.ndarray, unit: str) -> list[str]:
    """A note on the classes, of these names, that labels `real` (N,) have and `made` (M,) lack; none if none."""
    lacking = np.setdiff1d(real, made).tolist()
    if not lacking:
        return []
    each = sorted((classes[label], float(np.mean(real == label))) for label in lacking)
    shares = ", ".join(f"{name!r} ({share:.1%} of the real {unit}s)" for name, share in each[:NAMED])
    more = f" and {len(lacking) - NAMED} more" if len(lacking) > NAMED else ""
    return [f"no synthetic {unit} is of class {shares}{more}"]
