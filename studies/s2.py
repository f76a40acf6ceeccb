"""S2: four GANs of a table with two classes.

C. Joshi, I. Kaloskampis & L. Nolan, "Generative adversarial networks (GANs) for synthetic dataset generation with
binary classes" (ONS Data Science Campus, 2019): GAN, WGAN, CGAN and WCGAN on the Adult census, its numeric columns
scaled to [0, 1], then all columns with categories as intervals; settings in its Table 2. It has two scores: the mean
accuracy of a set of classifiers, classes balanced, that learn from WCGAN rows and are tested on real ones (TSTR), and
the reverse (TRTS).

It uses the 30,162 complete rows of adult.data, cut into training and test rows by class; no sizes are given, 70 / 30
here. ("75 % earn more than $50,000" in it is the reverse of the data.) Which classifiers is not said; here the six of
`synthjax.evals.domains.tables`, whose figures on real rows are the ceiling. Beyond the study: one WCGAN whose settings
are chosen on a holdout of the training rows, and models of other families as further rows.

Breast cancer and credit-card frauds, on which the study tried its models and reports nothing, are in
`synthjax.studies.s2_others`; pictures in `s2_pictures`.
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from synthjax.errors import InputError
from synthjax.evals import encoders
from synthjax.evals import utility as usefulness
from synthjax.evals.domains import panel
from synthjax.evals.domains import tables as domains
from synthjax.evals.fidelity import tables as fidelity
from synthjax.evals.privacy import distance_tests
from synthjax.evals.sets import Sets
from synthjax.launch.config import experiment, presets
from synthjax.launch.markdown import Table

from . import s2_others, s2_pictures, s2_rows
from .workspace import Generator, Workspace

GANS = ("table_gan", "table_wgan", "table_cgan", "table_wcgan")
CHOSEN = "table_wcgan, chosen"
"""The row of the WCGAN whose settings the holdout chose."""
PARTS = {"numeric": "minmax", "all": "interval"}
"""Columns that are used -> how the study encodes them."""
STUDY = {"numeric": (0.7612, 0.7825), "all": (0.788, None)}
"""The study's TSTR and TRTS of WCGAN, as shares."""


class Setting(NamedTuple):
    """How a GAN is trained."""

    encoding: str
    """A preset of `synthjax.data.encoding`; "": the study's."""
    fields: dict[str, Any]
    """Of its preset, where they differ."""
    feed: Literal["uniform", "balanced"] = "uniform"
    """"balanced": it sees both classes equally often, as the classifiers do."""


_FAST: dict[str, Any] = {"hidden": (128, 128, 128), "learning_rate": 5e-4, "steps": 4_000}
CANDIDATES = {
    "table2": Setting("", {}),
    "fast": Setting("", _FAST),
    "quantile": Setting("quantile", _FAST),
    "mode": Setting("mode", _FAST),
    "balanced": Setting("mode", _FAST, "balanced"),
    "sampled": Setting("mode", {**_FAST, "by_sampling": True}),
    "long": Setting("mode", {**_FAST, "steps": 12_000}),
    "longest": Setting("mode", {**_FAST, "steps": 36_000}),
}
"""Settings of the WCGAN to choose from."""
MEASURES = ("accuracy", "balanced_accuracy")
"""Of classifiers; a setting is chosen by the worse of the two: accuracy alone is high for whoever favours the larger
class."""


@dataclass(frozen=True)
class Config:
    """What the study leaves open, and how much of it is run."""

    dataset: str = "adult"
    models: tuple[str, ...] = (*GANS, "mixture")
    """Rows of the numeric part; the GANs as in Table 2."""
    all_models: tuple[str, ...] = ("table_wcgan", "mixture")
    """Rows of the part with all columns."""
    candidates: tuple[str, ...] = ("mode", "balanced", "sampled", "long")
    """Settings that the holdout chooses from, names in CANDIDATES; empty: no chosen WCGAN."""
    all_candidates: tuple[str, ...] = ("mode", "balanced", "sampled", "long", "longest")
    """The same of the part with all columns."""
    steps: int = 0
    """Of every GAN; 0: Table 2's, or the candidate's."""
    precision: Literal["default", "float32", "bfloat16"] = "default"
    """Of matrix products in training, see `synthjax.launch.config.Experiment`."""
    snapshot: int = 1000
    """Steps between the panels of Figure 6."""
    columns: tuple[str, ...] = ("age", "hours-per-week")
    """The two that Figure 6 shows."""
    share: float = 0.3
    """Of the rows that are test rows."""
    holdout: float = 0.2
    """Of the training rows, what candidates are judged on; every other run trains on all of them."""
    seeds: int = 1
    """Generators a row, each trained from its own seed."""
    judges: int = 3
    """Classifiers of each kind a generator."""
    limit: int = domains.LIMIT
    """Rows that a classifier trains on at most."""
    tested: int = 10_000
    """Rows that it is tested on at most: all there are of Adult's, so that figure and ceiling are of the same rows."""
    small: str = "breast_cancer"
    small_models: tuple[str, ...] = ("independent", "table_wcgan", "mixture", "table_vae", "smote")
    splits: int = 5
    """Splits of it into training and test rows, a generator on each."""
    fraud: str = "creditcard"
    fraud_models: tuple[str, ...] = ("independent", "mixture", "table_vae")
    fraud_seeds: int = 10
    """Generators of a row, each with its own split."""
    seed: int = 0


# --- generators --------------------------------------------------------------------------------------------------


def gan(config: Config, name: str, setting: Setting) -> Any:
    """The Config of a GAN."""
    fields = {**setting.fields, "steps": config.steps} if config.steps else setting.fields
    return dataclasses.replace(presets()[name][1], **fields)


def generator(workspace: Workspace, config: Config, part: str, row: str, seed: int = 0) -> Generator:
    """The trained generator of a row of a part; `seed` counts from 0."""
    if row == CHOSEN:
        return candidate(workspace, config, part, chosen(workspace, config, part), seed=seed)
    if row in GANS:
        encoding, model = PARTS[part], gan(config, row, CANDIDATES["table2"])
    else:
        tuned = experiment(None, row, config.dataset)
        encoding, model = tuned.encoding, tuned.model
    files = s2_rows.cut(workspace, config.dataset, numeric=part == "numeric", share=config.share, seed=config.seed)
    snapshot = config.snapshot if row in GANS and part == "numeric" and not seed else 0
    run = s2_rows.run(files, row, model, encoding=encoding, seed=config.seed + seed, precision=config.precision,
                      snapshot=snapshot)  # fmt: skip
    return workspace.train(f"{row}-{part}-{seed}", run)


def candidate(
    workspace: Workspace, config: Config, part: str, setting: str, *, holdout: float = 0.0, seed: int = 0
) -> Generator:
    """The WCGAN of a setting, trained without that share of the training rows."""
    wanted = CANDIDATES[setting]
    files = s2_rows.cut(workspace, config.dataset, numeric=part == "numeric", share=config.share, seed=config.seed)
    model, encoding = gan(config, "table_wcgan", wanted), wanted.encoding or PARTS[part]
    run = s2_rows.run(files, "table_wcgan", model, encoding=encoding, holdout=holdout, seed=config.seed + seed,
                      feed=wanted.feed, precision=config.precision)  # fmt: skip
    name = f"candidate-{setting}" if holdout else f"chosen-{setting}"
    return workspace.train(f"{name}-{part}-{seed}", run)


def candidates_of(config: Config, part: str) -> tuple[str, ...]:
    """The settings that a part chooses from."""
    return config.candidates if part == "numeric" else config.all_candidates


def chosen(workspace: Workspace, config: Config, part: str) -> str:
    """The candidate that comes nearest to its ceiling on the holdout; a single one needs no run to be chosen."""
    names = candidates_of(config, part)
    if unknown := [name for name in names if name not in CANDIDATES]:
        field = "candidates" if part == "numeric" else "all_candidates"
        raise InputError(f"config.{field}={unknown[0]}: there are {', '.join(CANDIDATES)}")
    if len(names) == 1:
        return names[0]
    found = {name: judged_candidate(workspace, config, part, name) for name in names}
    return min(found, key=lambda name: worst_gap(found[name]))


def judged_candidate(workspace: Workspace, config: Config, part: str, setting: str) -> dict[str, Any]:
    """`utility` of a candidate on the holdout."""

    def compute() -> dict[str, Any]:
        made = candidate(workspace, config, part, setting, holdout=config.holdout)
        return utility(config, s2_rows.tables(workspace, made, split="holdout", seed=config.seed))

    return workspace.result(f"candidate, {setting}, {part}", compute)


def utility(config: Config, tables: dict[str, Any]) -> dict[str, Any]:
    """`evals.utility.evaluate` of what `s2_rows.tables` returns."""
    domain = domains.Tables.of(tables["train"], limit=config.limit, limit_tested=config.tested)
    sets = Sets(domain, tables["synthetic"], tables["train"], tables["real"])
    return usefulness.evaluate(sets, seeds=config.judges, seed=config.seed)


def distances(config: Config, rows: Any, train: Any, test: Any) -> tuple[np.ndarray, np.ndarray]:
    """From rows (`evals.table.Table`) to the nearest training row, and to the nearest test row."""
    vectors = map(encoders.metric(train), (rows, train, test))
    return distance_tests.distances(*vectors, seed=config.seed)


def gap(found: dict[str, Any], measure: str) -> float:
    """How far below the ceiling the six classifiers are, in the measure's unit."""
    return found["mean"]["trtr"][measure]["mean"] - found["mean"]["tstr"][measure]["mean"]


def worst_gap(found: dict[str, Any]) -> float:
    """The larger distance from the ceiling, to either side of it, of both MEASURES."""
    return max(abs(gap(found, measure)) for measure in MEASURES)


# --- tables ------------------------------------------------------------------------------------------------------


def rows_of(config: Config, part: str) -> tuple[str, ...]:
    """The rows of a part."""
    rows = config.models if part == "numeric" else config.all_models
    return (*rows, CHOSEN) if candidates_of(config, part) else rows


def scores(workspace: Workspace, config: Config, part: str, row: str) -> list[dict[str, Any]]:
    """What each generator of a row is worth, on the test rows."""

    def compute(seed: int) -> dict[str, Any]:
        made = generator(workspace, config, part, row, seed)
        tables = s2_rows.tables(workspace, made, seed=config.seed)
        train, synthetic = tables["train"], tables["synthetic"]
        away = distances(config, synthetic, train, tables["real"])
        return {
            **utility(config, tables),
            "tests": distance_tests.compare_distances(*away),
            "correlation": fidelity.correlation_difference(train, synthetic),
            "shapes": fidelity.shapes(train, synthetic)["score"],
            "minutes": made.minutes(),
        }

    return [
        workspace.result(f"scores, {row}, {part}, {seed}", functools.partial(compute, seed))
        for seed in range(config.seeds)
    ]


def accuracies(found: list[dict[str, Any]], kind: str, measure: str = "accuracy", judge: str = "") -> list[float]:
    """Of every classifier of every generator: their mean, or those of one judge."""
    parts = [one["judges"][judge] if judge else one["mean"] for one in found]
    return [value for part in parts for value in part[kind][measure]["values"]]


def percent(values: list[float]) -> str:
    """ "mean ± standard deviation" in percent."""
    spread = f" ± {100 * np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.2f}{spread}"


def utility_tables(workspace: Workspace, config: Config, part: str, number: str) -> list[Table]:
    """The study's Figure 9 or 12: mean accuracy of the six classifiers, and each."""
    rows, each = [], []
    for row in rows_of(config, part):
        found = scores(workspace, config, part, row)
        named = row in ("table_wcgan", CHOSEN)
        tstr, trts = (f"{100 * value:.2f}" if named and value else "" for value in STUDY[part])
        below = 100 * sum(gap(one, "accuracy") for one in found) / len(found)
        rows.append(
            (row, tstr, percent(accuracies(found, "tstr")), percent(accuracies(found, "trtr")), f"{below:.2f}",
             percent(accuracies(found, "floor")), trts, percent(accuracies(found, "trts")),
             percent(accuracies(found, "tstr", MEASURES[1])), percent(accuracies(found, "trtr", MEASURES[1])),
             f"{sum(one['minutes'] for one in found) / len(found):.1f}")
        )  # fmt: skip
        means = [100 * sum(v := accuracies(found, "tstr", judge=judge)) / len(v) for judge in panel.JUDGES]
        each.append((row, *(f"{value:.2f}" for value in means)))
    if not rows:
        return []
    means = [100 * sum(v := accuracies(found, "trtr", judge=judge)) / len(v) for judge in panel.JUDGES]
    each.append(("real rows, as many", *(f"{value:.2f}" for value in means)))
    columns = ("model", "TSTR, study", "TSTR", "ceiling", "below it", "floor", "TRTS, study", "TRTS",
               "balanced TSTR", "its ceiling", "minutes")  # fmt: skip
    notes = [
        f"Accuracy in %, mean of six classifiers with balanced classes, trained on at most {config.limit:,} rows; ± "
        f"over {config.judges} sets of them. Floor: columns drawn alone; balanced: mean of both classes' recalls."
    ]
    if names := candidates_of(config, part):
        how = "on the holdout" if len(names) > 1 else "beforehand"
        notes.append(f"Chosen {how}: {chosen(workspace, config, part)}.")
    return [
        Table(number, f"Accuracy, {part} columns", columns, rows, tuple(notes)),
        Table(f"{number}, each", "TSTR of each classifier, %", ("model", *panel.JUDGES), each),
    ]


def selection(workspace: Workspace, config: Config) -> list[Table]:
    """How the candidates did on the holdout of the training rows."""
    rows = []
    for part in PARTS:
        names = candidates_of(config, part)
        best = chosen(workspace, config, part) if names else ""
        for name in names:
            found = judged_candidate(workspace, config, part, name)
            kinds = [found["mean"][kind][measure]["values"] for measure in MEASURES for kind in ("tstr", "trtr")]
            mark = "yes" if name == best else ""
            rows.append((part, name, *map(percent, kinds), f"{100 * worst_gap(found):.2f}", mark))
    columns = ("columns", "setting", "TSTR", "ceiling", "balanced TSTR", "its ceiling", "furthest off", "chosen")
    note = f"Judged on {config.holdout:.0%} of the training rows, which these runs did not train on."
    return [Table("selection", "Settings of the WCGAN", columns, rows, (note,))] if rows else []


def significance(workspace: Workspace, config: Config) -> list[Table]:
    """The study's tests of distances to the nearest training and test rows; high p: no trace of memory."""
    rows = []
    names = ("mann_whitney", "wilcoxon", "kruskal_wallis")
    for part in PARTS:
        for row in rows_of(config, part):
            for seed, one in enumerate(scores(workspace, config, part, row)):
                rows.append(_test_row(part, f"{row}, seed {seed}" if config.seeds > 1 else row, one["tests"], names))
        if rows_of(config, part):
            rows.append(_test_row(part, "the training rows themselves", copied(workspace, config, part), names))
    columns = ("columns", "model", "n", *(f"p, {name.replace('_', '-')}" for name in names), "Pearson's r",
               "median to train", "median to test")  # fmt: skip
    note = "The study: all p > .05. As many training as test rows; the last row is what a copy would give."
    return [Table("10", "Distances to the nearest training and test rows", columns, rows, (note,))]


def _test_row(part: str, row: str, found: dict[str, Any], names: tuple[str, ...]) -> tuple[str, ...]:
    pearson = "" if found["pearson"] is None else f"{found['pearson']['r']:.2f}"
    medians = (f"{found[f'median_{split}']:.3f}" for split in ("train", "test"))
    return (part, row, f"{found['n']:,}", *(f"{found[name]['p']:.2g}" for name in names), pearson, *medians)


def copied(workspace: Workspace, config: Config, part: str) -> dict[str, Any]:
    """The tests of a generator that gives its training rows away: do they see it?"""

    def compute() -> dict[str, Any]:
        tables = s2_rows.tables(workspace, generator(workspace, config, part, rows_of(config, part)[0]), n=1)
        train = tables["train"]
        return distance_tests.compare_distances(*distances(config, train, train, tables["real"]))

    return workspace.result(f"tests of a copy, {part}", compute)


def correlations(workspace: Workspace, config: Config) -> list[Table]:
    """The study's Figure 8: Pearson's r of numeric columns, those of Adult's sampling weight by themselves."""
    rows = []
    for row in rows_of(config, "numeric"):
        for one in scores(workspace, config, "numeric", row):
            found = one["correlation"]
            rows.append((row, f"{found['mean']:.3f}", f"{found['max']:.3f}", f"{one['shapes']:.3f}",
                         *(weight_correlation(found, kind) for kind in ("real", "synthetic"))))  # fmt: skip
    columns = ("model", "mean difference", "largest", "column shapes", "fnlwgt, real", "fnlwgt, synthetic")
    note = "Of fnlwgt, a sampling weight: the largest |r| with another column, which the study finds absent."
    return [Table("8", "Correlations", columns, rows, (note,))]


def weight_correlation(found: dict[str, Any], kind: str) -> str:
    """The largest |r| of fnlwgt with another column; "" where there is no such column."""
    if "fnlwgt" not in found["columns"]:
        return ""
    place = found["columns"].index("fnlwgt")
    values = [abs(r) for other, r in enumerate(found[kind][place]) if other != place and r is not None]
    return f"{max(values):.3f}" if values else ""


def training_steps(workspace: Workspace, config: Config) -> list[Table]:
    """The study's Figure 6: four GANs as training goes on; a table of what it shows.

    Raises:
        InputError: `config.columns` does not name two numeric columns.
    """
    files = s2_rows.cut(workspace, config.dataset, numeric=True, share=config.share, seed=config.seed)
    names = [name for name in files.columns if name != files.target]
    if len(config.columns) != 2 or not set(config.columns) <= set(names):
        raise InputError(f"config.columns={','.join(config.columns)}: two of {', '.join(names)} are needed")
    gans = {row: generator(workspace, config, "numeric", row) for row in config.models if row in GANS}
    found = {row: s2_pictures.snapshots(workspace, config, made) for row, made in gans.items()}
    if not found:
        return []
    s2_pictures.steps(workspace, config, found, next(iter(gans.values())))
    s2_pictures.losses(workspace, gans)
    numbers = sorted({int(step) for of in found.values() for step in of})
    rows = [(row, *(f"{of[str(step)]['shapes']:.3f}" for step in numbers)) for row, of in found.items()]
    columns = ("model", *(f"step {step:,}" for step in numbers))
    note = "Column shapes: 1 - Kolmogorov-Smirnov distance or total variation, mean over columns; 1 is best."
    return [Table("6", "Column shapes as training goes on", columns, rows, (note,))]


def pictures(workspace: Workspace, config: Config) -> list[Table]:
    """The study's Figures 4, 7, 8, 10 and 11 of the chosen WCGAN, or of the last row without one."""
    for row in rows_of(config, "numeric")[-1:]:
        s2_pictures.quality(workspace, config, generator(workspace, config, "numeric", row), row)
    return []


TABLES: dict[str, Callable[[Workspace, Config], list[Table]]] = {
    "selection": selection,
    "9": lambda workspace, config: utility_tables(workspace, config, "numeric", "9"),
    "12": lambda workspace, config: utility_tables(workspace, config, "all", "12"),
    "10": significance,
    "8": correlations,
    "6": training_steps,
    "figures": pictures,
    "breast_cancer": s2_others.breast_cancer,
    "fraud": s2_others.fraud,
}
