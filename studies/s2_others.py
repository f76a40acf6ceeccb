"""The two other tables of S2: breast cancer and credit-card frauds, on which the study reports no figures.

Breast cancer is scored as ForestDiffusion does (A. Jolicoeur-Martineau, K. Fatras & T. Kachman, "Generating and
imputing tabular data via diffusion and flow-based gradient-boosted trees", AISTATS 2024, arXiv:2309.09968): F1 of
logistic regression, AdaBoost, random forest and gradient boosted trees that learn from synthetic rows, tested on real
ones, here the mean of both classes' F1. Frauds by the area under the precision-recall curve of gradient boosting, which
depends on how frequent frauds are among the test rows: a prevalence of 3.46 % here, 0.17 % in the whole data.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from synthjax.evals import encoders
from synthjax.evals.domains import panel
from synthjax.evals.domains.tables import measures, summary
from synthjax.evals.table import Table as Rows
from synthjax.evals.threads import single_thread
from synthjax.launch.config import experiment
from synthjax.launch.markdown import Table

from . import s2_rows
from .workspace import Workspace

if TYPE_CHECKING:
    from .s2 import Config

PUBLISHED_F1 = (0.948, 0.961)
"""Breast cancer: ForestDiffusion's best, and real rows."""
FOUR = ("logistic regression", "AdaBoost", "random forest", "boosting")


def four(train: Rows, test: Rows, seed: int) -> dict[str, float]:
    """Macro F1 on `test` of each of FOUR, trained on `train` with the classes as they are, and their "mean"."""
    from sklearn.ensemble import AdaBoostClassifier, HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score

    models = (
        LogisticRegression(max_iter=1000),
        AdaBoostClassifier(random_state=seed),
        RandomForestClassifier(random_state=seed),
        HistGradientBoostingClassifier(random_state=seed),
    )
    encode, y = encoders.dense(train), train.target()
    x, tested = encode(train), encode(test)
    found = {}
    with single_thread():
        for name, model in zip(FOUR, models, strict=True):
            answers = np.full(len(test), y[0]) if len(np.unique(y)) == 1 else model.fit(x, y).predict(tested)
            found[name] = float(f1_score(test.target(), answers, average="macro", zero_division=0))
    return found | {"mean": float(np.mean(list(found.values())))}


def precision_recall(train: Rows, test: Rows, seed: int) -> dict[str, float]:
    """Areas under the curves of gradient boosting on all rows, for the rarer class of `test`."""
    counts = np.bincount(test.target(), minlength=len(test.schema.classes))
    with single_thread():
        answer = panel.train_judge(panel.ALL_ROWS, train, seed)
        found = measures(test, answer(test), int(counts.argmin()))
    return {name: float(found[name] or 0.0) for name in ("pr_auc", "roc_auc")}


def repeated(workspace: Workspace, config: "Config", dataset: str, share: float, times: int, models: tuple[str, ...],
             judge: Callable[[Rows, Rows, int], dict[str, float]]) -> dict[str, list[dict[str, float]]]:  # fmt: skip
    """What judges learn from real rows ("real") and from those of each model, once a split; a generator a split.

    Args:
        workspace: of the study.
        config: its settings.
        dataset: the table.
        share: of the rows that are test rows.
        times: splits, each also the seed of its generators and judges.
        models: the generators, at their presets.
        judge: (training rows, test rows, seed) -> scores.
    """
    found: dict[str, list[dict[str, float]]] = {}
    for split in range(config.seed, config.seed + times):
        for name in models:

            def compute(name: str = name, split: int = split) -> dict[str, dict[str, float]]:
                files = s2_rows.cut(workspace, dataset, numeric=False, share=share, seed=split)
                chosen = experiment(None, name, dataset)
                run = s2_rows.run(files, name, chosen.model, encoding=chosen.encoding, seed=split)
                tables = s2_rows.tables(workspace, workspace.train(f"{name}-{files.name}", run), seed=split)
                train, test, synthetic = (tables[key] for key in ("train", "real", "synthetic"))
                real = workspace.result(f"{judge.__name__}, {files.name}, real", lambda: judge(train, test, split))
                return {"real": real, "synthetic": judge(synthetic, test, split)}

            one = workspace.result(f"{judge.__name__}, {dataset}, {name}, {split}", compute)
            found.setdefault("real", []).append(one["real"])
            found.setdefault(name, []).append(one["synthetic"])
    found["real"] = found["real"][:: len(models)]
    return found


def leaf(values: list[float]) -> str:
    """ "mean ± half the 95 % interval (n)", by Student's t."""
    found: dict[str, Any] = summary([{"value": value} for value in values])["value"]
    if found["ci"] is None:
        return f"{found['mean']:.3f}"
    return f"{found['mean']:.3f} ± {found['ci'][1] - found['mean']:.3f} (n={len(values)})"


def breast_cancer(workspace: Workspace, config: "Config") -> list[Table]:
    """F1 of four classifiers, over several splits."""
    if not (config.small_models and config.splits):
        return []
    found = repeated(workspace, config, config.small, 0.2, config.splits, config.small_models, four)
    names = (*FOUR, "mean")
    rows = [(row, *(leaf([one[name] for one in scores]) for name in names)) for row, scores in found.items()]
    note = (
        f"Macro F1 on real test rows (20 %), mean over splits ± 95 % interval. Published means: "
        f"{PUBLISHED_F1[0]} (ForestDiffusion's best), {PUBLISHED_F1[1]} (real rows)."
    )
    return [Table("breast_cancer", f"F1 on {config.small}", ("trained on", *names), rows, (note,))]


def fraud(workspace: Workspace, config: "Config") -> list[Table]:
    """Area under the precision-recall curve, over several splits."""
    if not (config.fraud_models and config.fraud_seeds):
        return []
    share, models = config.share, config.fraud_models
    found = repeated(workspace, config, config.fraud, share, config.fraud_seeds, models, precision_recall)
    rows = []
    for row, scores in found.items():
        apart = [one["pr_auc"] - real["pr_auc"] for one, real in zip(scores, found["real"], strict=True)]
        rows.append((row, leaf([one["pr_auc"] for one in scores]), leaf([one["roc_auc"] for one in scores]),
                     "" if row == "real" else leaf(apart)))  # fmt: skip
    whole, target = s2_rows.complete(config.fraud, workspace.data_dir, numeric=False)
    prevalence = whole[target].astype(str).value_counts(normalize=True).min()
    note = (
        f"Gradient boosting on all rows; test rows {share:.0%}, another split each time; {len(whole):,} rows, "
        f"prevalence of the rarer class {prevalence:.2%}, which is the PR-AUC of guessing. Mean ± 95 % interval."
    )
    columns = ("trained on", "PR-AUC", "ROC-AUC", "PR-AUC less that of real rows")
    return [Table("fraud", f"PR-AUC on {config.fraud}", columns, rows, (note,))]
