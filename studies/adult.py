"""Adult: what every table model is worth against what it gives away, over its capacity.

Fidelity is cheap for a model that remembers rows, so neither figure means much alone. Each setting is trained on one
half of adult.data, and judged against the other half, which has as many rows: leakage is what tells the two apart. One
setting is then chosen by these halves, never by the UCI test rows, and trained anew from other seeds, twice: on the
half, for leakage, and on all of adult.data, for fidelity. That is what published figures are of; those of TabPC,
TabDiff, TabSyn and CTGAN, on the same split, stand beside ours.

    share   of synthetic rows nearer to the training half than to the other; .50: no nearer
    file    AUC of the best of the membership attacks that see the synthetic table (`evals.privacy`)
    model   the same of an attack that sees the likelihood itself
    NLL     of the unseen half, nats a row, where the model has one over the same states
    AUC     of gradient boosting that learnt from synthetic rows, on the UCI test rows
    C2ST    against rows that training did not see; "of train" against those that it did, as published
"""

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from synthjax import sampling
from synthjax.data import Dataset
from synthjax.errors import InputError
from synthjax.evals import encoders, privacy
from synthjax.evals.domains import panel
from synthjax.evals.domains.tables import measures, summary
from synthjax.evals.fidelity import tables as likeness
from synthjax.evals.privacy import distances, protocol
from synthjax.evals.table import Table as Rows
from synthjax.evals.table import from_frames
from synthjax.evals.threads import single_thread
from synthjax.launch import config as configs
from synthjax.launch import shadows
from synthjax.launch.config import Experiment
from synthjax.launch.markdown import Table
from synthjax.launch.subjects import Run

from . import figures
from .workspace import Generator, Workspace

PUBLISHED: dict[str, tuple[float, float, float | None]] = {
    "TabPC": (0.916, 0.855, 0.543),
    "TabDiff": (0.913, 0.841, 0.549),
    "TabSyn": (0.910, 0.794, 0.507),
    "CTGAN": (0.862, 0.000, None),
}
"""AUC and C2ST of training on all rows, and the share of training on half of them, where it is known."""
COUNTED = ("independent", "mixture", "mixture_product", "table_ar")
"""Models whose score is the exact -log p of a row of states (`nets.bins`), so that they can be compared."""
GOALS: dict[str, tuple[str, str, bool]] = {
    "auc": ("AUC", ">= .912", True),
    "c2st_train": ("C2ST of train", ">= .80", True),
    "c2st": ("C2ST", "", True),
    "shapes": ("column shapes", ">= .99", True),
    "trends": ("pair trends", ">= .98", True),
    "trends_real_edges": ("pair trends, real edges", "", True),
    "share": ("share", "<= .51", False),
    "file": ("membership, file", "within .01 of .5", False),
    "model": ("membership, model", "", False),
    "minutes": ("minutes of training", "<= 15", True),
}
"""Figure -> its name, what is to be reached, and whether training on all rows decides it."""
BLOCK = 2_000
"""Rows drawn at once."""
FAR = 0.25
"""How far below the goal a curve may stay and be drawn."""
OPEN = ("settings", "most", "seeds")
"""Fields that say which pieces there are, not what one holds: a folder goes on under other ones."""


@dataclass(frozen=True)
class Config:
    """What is compared, and how closely it is looked at."""

    dataset: str = "adult"
    settings: tuple[str, ...] = (
        "independent",
        "mixture components=16 members=4 steps=20",
        "mixture components=32 members=4 steps=20",
        "mixture components=64 members=4 steps=20",
        "mixture components=64 members=4 steps=30",
        "mixture components=64 members=8 steps=20",
        "mixture components=64 members=8 steps=25",
        "mixture components=64 members=8 steps=30",
        "mixture components=64 members=16 steps=25",
        "mixture components=128 members=8 steps=20",
        "mixture_product components=100",
        "mixture_product components=500",
        "table_ar steps=800 hidden=16",
        "table_ar steps=500 hidden=32",
        "table_ar steps=600 hidden=32",
        "table_ar steps=800 hidden=32",
        "table_ar steps=3000 hidden=32",
        "table_ar steps=1500 hidden=32 dropout=0.3",
        "table_ar steps=3000 hidden=128",
        "table_vae latents=8",
        "table_vae latents=32",
        "table_ddpm width=128",
        "table_ddpm width=256",
        "table_wcgan learning_rate=5e-4 steps=3000",
        "smote",
    )
    """Points of the frontier: a name that `--model` knows, then fields of its Config or of the Experiment (precision,
    encoding); the first is its capacity."""
    most: float = 0.51
    """Largest share of a setting that may be chosen; of those, the one with the best C2ST on the unseen half is."""
    seeds: int = 5
    """Runs of the chosen setting, none of them that which it was chosen by."""
    attacked: int = 5_000
    """Rows of each half that membership attacks are tried on, at most."""
    limit: int = likeness.LIMIT
    """Rows of each table that the two-sample test looks at, at most."""
    seed: int = 0


def of(config: Config, setting: str, *, whole: bool, seed: int) -> Experiment:
    """The experiment of a setting, on half of the training rows or on all of them.

    Raises:
      InputError: no such model or field.
    """
    name, *fields = setting.split()
    chosen = configs.experiment(None, name, config.dataset)
    pairs = [field.partition("=")[::2] for field in fields]
    owned = [(path if hasattr(chosen, path) else f"model.{path}", value) for path, value in pairs]
    chosen = configs.overrides(chosen, [(path, value, f"settings: {setting}") for path, value in owned])
    return dataclasses.replace(chosen, seed=seed, holdout=0.0 if whole else 0.5)


def read(data: Dataset, made: Any) -> dict[str, Rows]:
    """Real and synthetic rows ("train", "test", "synthetic", and "holdout" where there is one) as scores see them."""
    assert data.table is not None
    schema = data.table.schema
    real = {split: data.frame(split) for split in ("train", "holdout", "test") if len(getattr(data, split).y)}
    return from_frames({**real, "synthetic": made}, schema.comparable_kinds(), schema.target)


def fidelity(tables: dict[str, Rows], *, seed: int, limit: int) -> dict[str, Any]:
    """AUC, C2ST, shapes and trends of the synthetic rows."""
    train, test, made = tables["train"], tables["test"], tables["synthetic"]
    positive = int(np.argmin(np.bincount(train.target())))
    with single_thread("openmp"):
        answer = panel.train_judge(panel.ALL_ROWS, made, seed)
        auc = measures(test, answer(test), positive)["roc_auc"]
    trends = likeness.trends(train, made)
    return {
        "auc": auc,
        "c2st": likeness.c2st(tables.get("holdout", test), made, seed=seed, limit=limit)["score"],
        "c2st_train": likeness.c2st(train, made, seed=seed, limit=limit)["score"],
        "shapes": likeness.shapes(train, made)["score"],
        "trends": trends["score"],
        "trends_real_edges": trends["score_real_edges"],
    }


def leakage(tables: dict[str, Rows], made: Generator, data: Dataset, *, seed: int, attacked: int) -> dict[str, Any]:
    """What tells the training half from the other: shares, membership; and the likelihood of the other."""
    encode = encoders.metric(tables["train"])
    named = {"synthetic": "synthetic", "train": "train", "unseen": "holdout", "reference": "test"}
    vectors = {name: encode(tables[part]) for name, part in named.items()}
    known, unseen = vectors["train"], vectors["unseen"]
    closest = distances.closest_record(vectors["synthetic"], known, unseen, seed=seed)
    rows = privacy.attacked_rows(len(known), len(unseen), seed=seed, limit=attacked)
    run = Run(made.workdir, made.model, made.state, made.spec, {})
    scores = shadows.model_scores(run, data.train, data.holdout, rows, seed=seed)
    nll = float(scores["others"].mean()) if scores and made.experiment.name in COUNTED else None
    attacker = privacy.Attacker(scores=scores, seed=seed, limit=attacked)
    sets = {name: tables[part] for name, part in named.items()}
    found, *_ = protocol.membership(vectors, rows, attacker, sets)
    return {
        "share": closest["share_nearer_train"],
        "interval": closest["interval"],
        "file": found["auc"],
        "by_chance": found["chance"]["auc"]["mean"],
        "model": found["model_auc"],
        "nll": nll,
    }


def scores(workspace: Workspace, config: Config, setting: str, *, whole: bool, seed: int) -> dict[str, Any]:
    """Trains a setting, draws as many rows as it was trained on, and judges them: what `fidelity`, and of half of the
    rows `leakage`, return, and `minutes` of training."""
    name = f"{setting.replace(' ', '-')}-{'whole' if whole else 'half'}-{seed}"
    made = workspace.train(name, of(config, setting, whole=whole, seed=seed))
    data = workspace.data(made.experiment)
    if data.encoder is None:
        raise InputError(f"--config.dataset={config.dataset}: holds images; this study is about tables")
    blocks = sampling.draw(made.model, made.state, jax.random.key(seed), data.train.y, block=BLOCK)
    tables = read(data, data.encoder.decode(np.concatenate(list(blocks)), seed=seed))
    found = {"minutes": made.minutes(), **fidelity(tables, seed=seed, limit=config.limit)}
    return found if whole else found | leakage(tables, made, data, seed=seed, attacked=config.attacked)


def measured(workspace: Workspace, config: Config, setting: str, *, whole: bool = False, seed: int) -> dict[str, Any]:
    """`scores`, kept in the folder."""
    work = functools.partial(scores, workspace, config, setting, whole=whole, seed=seed)
    return workspace.result(f"{setting}, {'whole' if whole else 'half'}, seed {seed}", work)


def choose(config: Config, found: dict[str, dict[str, Any]]) -> str:
    """The setting with the best C2ST against the unseen half, of those whose share is at most `config.most`.

    Raises:
      InputError: there is none.
    """
    allowed = {setting: one["c2st"] for setting, one in found.items() if one["share"] <= config.most}
    if not allowed:
        raise InputError(f"--config.most={config.most}: no setting has so low a share")
    return max(allowed, key=allowed.__getitem__)


def frontier(workspace: Workspace, config: Config) -> list[Table]:
    """Every setting, trained on half, and the pictures."""
    found = {setting: measured(workspace, config, setting, seed=config.seed) for setting in config.settings}
    draw(workspace, config, found)
    names = ("nll", "auc", "c2st", "c2st_train", "shapes", "trends_real_edges", "share", "file", "model")
    rows = [
        (setting, *(_short(one[name]) for name in names), f"{one['minutes']:.1f}") for setting, one in found.items()
    ]
    for name, (auc, c2st, share) in PUBLISHED.items():
        known = {"auc": auc, "c2st_train": c2st, "share": share}
        rows.append((f"{name}, published", *(_short(known.get(column)) for column in names), ""))
    heads = ("NLL", "AUC", "C2ST", "C2ST of train", "shapes", "trends", "share", "file", "model")
    notes = (
        f"One run each (seed {config.seed}) on half of the training rows; trends at the real column's edges.",
        "Published fidelity is of training on all rows: see the table of seeds for ours.",
        f"Chosen by C2ST on the unseen half, at a share of at most {config.most}: {choose(config, found)}.",
    )
    return [Table("frontier", "Fidelity against leakage", ("setting", *heads, "minutes"), rows, notes)]


def draw(workspace: Workspace, config: Config, found: dict[str, dict[str, Any]]) -> None:
    """frontier_c2st.png and frontier_auc.png: fidelity against share, a curve a model over its capacity."""
    for figure, place, name, goal in (("c2st_train", 1, "C2ST", 0.80), ("auc", 0, "TSTR ROC-AUC", 0.912)):
        curves: dict[str, tuple[list[float], list[float], None]] = {}
        for setting, one in found.items():
            words = setting.split()
            x, y, _ = curves.setdefault(" ".join(words[:1] + words[2:]), ([], [], None))
            x.append(one["share"])
            y.append(one[figure])
        for system, values in PUBLISHED.items():
            if values[2] is not None:
                curves[f"{system}, published"] = ([values[2]], [float(values[place] or 0)], None)
        shown = {curve: values for curve, values in curves.items() if max(values[1]) > goal - FAR}
        shares, heights = (np.concatenate([values[axis] for values in shown.values()]) for axis in (0, 1))
        corner = np.array([min(0.5, shares.min()), 0.51, 0.51]), np.array([goal, goal, heights.max()])
        figures.lines(
            workspace.folder / f"frontier_{figure.split('_')[0]}.png",
            shown,  # type: ignore[arg-type]
            x_name="share of synthetic rows nearer to train than to as many unseen ones (ideal .50)",
            y_name=f"{name} (from {goal - FAR:.2f} on)",
            title=f"{config.dataset}: fidelity against leakage, each model over its capacity",
            references={"to reach: above and left": corner},
        )


def seeds(workspace: Workspace, config: Config) -> list[Table]:
    """The chosen setting from other seeds: leakage from halves, fidelity from all rows."""
    found = {setting: measured(workspace, config, setting, seed=config.seed) for setting in config.settings}
    setting = choose(config, found)
    several = range(config.seed + 1, config.seed + 1 + config.seeds)
    runs = {
        whole: [measured(workspace, config, setting, whole=whole, seed=seed) for seed in several]
        for whole in (False, True)
    }
    half = summary([{name: one[name] for name in (*GOALS, "nll")} for one in runs[False]])
    whole = summary([{name: one.get(name) for name in GOALS} for one in runs[True]])
    rows = [
        (title, goal, _leaf(half[name]), _leaf(whole[name]), "all rows" if by_whole else "half")
        for name, (title, goal, by_whole) in GOALS.items()
    ]
    rows.append(("NLL of unseen rows", "", _leaf(half["nll"]), "", ""))
    columns = ("figure", "to reach", "trained on half", "trained on all rows", "published protocol")
    notes = (
        f"{setting}; seeds: {config.seeds}; mean ± standard deviation [95 % interval of the mean, Student's t].",
        "C2ST of train, shapes and trends: against the training rows; C2ST: against the unseen half, or the test rows.",
    )
    return [Table("seeds", "The chosen setting", columns, rows, notes)]


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}" if value > 2 else f"{value:.3f}"


def _leaf(leaf: dict[str, Any] | None) -> str:
    """ "mean ± std [low, high]" of a leaf of `summary`; the value alone where there is but one."""
    if leaf is None:
        return ""
    if leaf["ci"] is None:
        return f"{leaf['mean']:.3f}"
    return f"{leaf['mean']:.3f} ± {leaf['std']:.3f} [{leaf['ci'][0]:.3f}, {leaf['ci'][1]:.3f}]"


TABLES: dict[str, Callable[[Workspace, Config], list[Table]]] = {"frontier": frontier, "seeds": seeds}
