"""Small pictures of a main figure between two references, the better one right: one per verdict and classifier."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from synthjax.evals.draw import svg
from synthjax.evals.page.values import capital, decimal, dig, points
from synthjax.evals.report.tables import NAMES, headlines
from synthjax.evals.report.words import percent

_AUC = ((1.0, "all recognised"), (0.5, "guessing"))


class Strip(NamedTuple):
    """A figure on its way from one reference to the other."""

    value: float | None
    """None: it was not measured."""
    marks: Sequence[tuple[float, str]]
    """Both references with their names, the worse one first."""
    show: Callable[[float], str]
    """A value as text."""
    caption: str
    term: str
    """Which of the explained terms the figure is."""
    interval: Sequence[float] | None = None

    @property
    def picture(self) -> Markup:
        """SVG."""
        title = self.caption if self.value is None else f"{self.caption} {self.show(self.value)}"
        return svg.strip(self.value, self.marks, title, interval=self.interval, show=self.show)


def of_verdicts(report: Mapping[str, Any], table: bool) -> dict[str, Strip | None]:
    """Of each verdict of the first page, by its id; None where nothing was measured."""
    mia = report["privacy"]["mia"]
    caption = "How well the best attack on the file tells training data from other real data."
    return {
        "publish": Strip(mia["auc"], _AUC, "{:.3f}".format, caption, "auc", mia["auc_interval"]),
        "good": next(of_classifiers(report["utility"], table), None) or _two_sample(report, table),
        "lost": _loss(report) or _coverage(report, table),
        "checkpoint": _guarantee(report) or _model(mia),
    }


def of_rules(rules: Mapping[str, Any]) -> Strip | None:
    """Synthetic rows that break a rule, between all rows and as many as of real ones; None without exact rules."""
    if not rules["broken"] or not rules["broken_real"]:
        return None
    ours, real = rules["broken"], rules["broken_real"]["mean"]
    caption = "Synthetic rows that break at least one exact rule."
    return Strip(ours["mean"], ((1.0, "every row"), (real, "real rows")), percent, caption, "broken", ours["ci"])


def of_classifiers(utility: Mapping[str, Any] | None, table: bool) -> Iterator[Strip]:
    """Scores of classifiers trained on synthetic data, between floor and ceiling."""
    if utility is None:
        return
    if table:
        first, second = headlines(utility["task"])
        parts = ("boosting", first, "gradient boosting"), ("mean", second, "the mean of six judges")
    else:
        parts = ("cnn", "accuracy", "a CNN"), ("svm", "accuracy", "a support vector machine")
    for key, measure, who in parts:
        leaves = [utility[key][side][measure] if table else utility[key][side] for side in ("tstr", "floor", "trtr")]
        if None in leaves:
            continue
        ours, floor, real = leaves
        marks = (floor["mean"], "floor"), (real["mean"], "real data")
        caption = f"{capital(NAMES[measure])} of {who} trained on synthetic data, tested on real data."
        yield Strip(ours["mean"], marks, decimal if measure == "r2" else percent, caption, measure, ours["ci"])


def _two_sample(report: Mapping[str, Any], table: bool) -> Strip | None:
    sides = ("fidelity.synthetic", "fidelity.ceiling") if table else ("fidelity", "fidelity.reference")
    value, real = (dig(report, f"{side}.c2st.score") for side in sides)
    if value is None or not real:
        return None
    caption = "How hard it is to tell synthetic from real data."
    return Strip(value, ((0.0, "always told"), (real, "real data")), decimal, caption, "c2st")


def _loss(report: Mapping[str, Any]) -> Strip | None:
    loss = dig(report, "utility.loss")
    if not loss:
        return None
    marks = (5.0, "points lost:"), (0.0, "nothing lost:")
    caption = capital(f"{loss['measure']} lost against training on real data, in points.")
    return Strip(loss["points"], marks, points, caption, "loss", loss["ci"])


def _coverage(report: Mapping[str, Any], table: bool) -> Strip | None:
    sides = (
        ("fidelity.synthetic.neighbours", "fidelity.ceiling.neighbours")
        if table
        else ("fidelity", "fidelity.reference")
    )
    value, real = (dig(report, f"{side}.coverage") for side in sides)
    if value is None or real is None:
        return None
    return Strip(
        value, ((0.0, "none:"), (real, "real data:")), percent, "Real data with synthetic data nearby.", "coverage"
    )


def _guarantee(report: Mapping[str, Any]) -> Strip | None:
    found = dig(report, "manifest.model.guarantee")
    if not found:
        return None
    caption = f"What training with differential privacy promises; δ = {found['delta']:.1g}."
    return Strip(
        found["epsilon"], ((10.0, "hardly a promise: ε ="), (1.0, "strong: ε =")), "{:.3g}".format, caption, "dp"
    )


def _model(mia: Mapping[str, Any]) -> Strip:
    if mia["model_auc"] is None:
        return Strip(
            None, _AUC, "{:.3f}".format, "No model was attacked: nothing is known of what it gives away.", "auc"
        )
    caption = "How well the best attack on the model tells training data from other real data."
    return Strip(mia["model_auc"], _AUC, "{:.3f}".format, caption, "auc", mia["model"]["auc_interval"])
