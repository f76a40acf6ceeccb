"""S4: a GAN on more and more rows of a table. Does it mimic them, or over-fit to them?

Despres & Shariff, "Using GANs to Generate Synthetic Data" (Michigan State University): a GAN learns New York taxi trips
of 2016 from a subset of the rows, then again from more and more of them. The study shows the discriminator's metrics
on a logarithmic scale and asks for the balance "between fitting the data so well it mimics the data seen and
underfitting"; it gives no figures, sizes, network or encoding. Here each trial draws an order of the training rows and
takes the first n of it, for growing n. Each n is a table in a file of its own: schema, bounds, encoding and GAN come
from its rows alone (`kinds.json`, what kind each column is of, is the one thing that all share). Measured:

    quality      column shapes, pair trends and the two-sample test (`synthjax.evals.fidelity.tables`) against test rows
    over-fitting membership attacks on the synthetic file and on the model's own score, copies, and the share of
                 synthetic rows nearer to their training rows than to others (`synthjax.evals.privacy`)

beside the same figures of other real rows (ceiling), of columns drawn alone (floor), and of the n rows themselves: what
a generator gets that only repeats what it saw. Nothing is chosen by these figures. The training runs lie in generators/
like any other, but `launch.eval` cannot judge them by --workdir, since their rows are read beside those of unseen.csv;
it takes rows/T-N.csv as --real, rows/unseen.csv as --holdout, sets/MODEL-N-T.csv as --synthetic.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from synthjax import data, files
from synthjax.errors import InputError
from synthjax.evals import privacy
from synthjax.evals.domains.tables import Tables
from synthjax.evals.fidelity import tables as fidelity
from synthjax.evals.sets import Sets
from synthjax.evals.table import Table as TableRows
from synthjax.evals.table import from_frames, independent_columns
from synthjax.launch import sample, shadows, synthesize
from synthjax.launch.config import Experiment, experiment
from synthjax.launch.markdown import Table
from synthjax.launch.subjects import Run
from synthjax.train import metrics

from . import figures
from .workspace import Generator, Workspace, cell

LEVEL = 0.05
"""An attack tells who was trained on where chance does as well in fewer than so many cases."""


@dataclass(frozen=True)
class Config:
    """What the study leaves open, and how much of it is run."""

    dataset: str = "nyc_taxi"
    models: tuple[str, ...] = ("table_gan",)
    """Those that take no labels: the table has no target here."""
    rows: tuple[int, ...] = (100, 300, 1000, 3000, 10_000)
    """Of the training sets, growing."""
    trials: int = 3
    """Orders of the rows, each with a seed of its own."""
    steps: int = 3000
    """Of each model, the same for all sizes; 0: as its preset says."""
    learning_rate: float = 3e-4
    """Of each model; 0: as its preset says."""
    samples: int = 3000
    """Synthetic rows that are judged."""
    attacked: int = 10_000
    """Rows that attacks are tried on at most."""
    categories: tuple[str, ...] = (
        "VendorID",
        "RatecodeID",
        "payment_type",
        "extra",
        "mta_tax",
        "improvement_surcharge",
    )
    """Columns of a few values that are written as numbers."""
    seed: int = 0


class Rows(NamedTuple):
    """The table, and where its parts lie as files."""

    whole: data.Dataset
    folder: Path

    def file(self, name: str) -> Path:
        """Of a training set, "T-N", or of the rows that are held out, "unseen"."""
        return self.folder / f"{name}.csv"

    @property
    def kinds(self) -> Path:
        """The schema file that all parts share."""
        return self.folder / "kinds.json"


@functools.lru_cache(maxsize=1)
def table(workspace: Workspace, config: Config) -> Rows:
    """The table, its parts written as files that are read as one another.

    Raises:
      InputError: the data cannot be read, has no table, or has fewer training rows than are asked for.
    """
    from synthjax.data import readers

    folder = workspace.folder / "rows"
    folder.mkdir(exist_ok=True)
    asked = {"columns": {name: {"kind": "categorical"} for name in config.categories}}
    files.write(folder / "asked.json", json.dumps(asked))
    whole = data.load(config.dataset, workspace.data_dir, schema=str(folder / "asked.json"), min_count=1)
    assert whole.table is not None
    if max(config.rows) > len(whole.train.x):
        raise InputError(f"rows={max(config.rows)}: {config.dataset} has {len(whole.train.x):,} training rows")
    found = Rows(whole, folder)
    schema = whole.table.schema
    kinds = {field.name: {"kind": field.kind} | ({"format": field.format} if field.format else {})
             for field in schema.fields}  # fmt: skip
    files.write(found.kinds, json.dumps({"columns": kinds}, indent=1))
    parts = {"unseen": whole.holdout.index}
    for trial in range(config.trials):
        order = np.random.default_rng([config.seed, trial]).permutation(whole.train.index)
        parts |= {f"{trial}-{n}": np.sort(order[:n]) for n in config.rows}
    for name, index in parts.items():
        if not found.file(name).exists():
            with readers.writing(found.file(name), schema) as write:
                write(whole.table.frame(index))
    return found


def trained(workspace: Workspace, config: Config, model: str, n: int, trial: int) -> tuple[Generator, data.Dataset]:
    """A generator of the first n rows of a trial, and the data that it learnt from, its test split the unseen rows."""
    rows = table(workspace, config)
    chosen = experiment(None, model, str(rows.file(f"{trial}-{n}")))
    of_model = dataclasses.replace(chosen.model, batch_size=min(chosen.model.batch_size, n))
    for name in ("steps", "learning_rate"):
        if getattr(config, name) and hasattr(of_model, name):
            of_model = dataclasses.replace(of_model, **{name: getattr(config, name)})
    chosen = dataclasses.replace(
        chosen, model=of_model, holdout=0.0, schema=str(rows.kinds), seed=config.seed + trial, keep=1
    )
    read = data.load(
        chosen.dataset,
        holdout=0.0,
        encoding=getattr(of_model, "encoding", Experiment.encoding) or "quantile",
        schema=chosen.schema,
        min_count=chosen.min_count,
        test=str(rows.file("unseen")),
    )
    return workspace.train(f"{model}-{n}-{trial}", chosen, read), read


def looks(test: TableRows, judged: TableRows) -> dict[str, Any]:
    """Likeness to test rows, column by column and pair by pair.

    Numbers that meet categories are cut at the edges of the real column: a few trips begin at longitude 0, and without
    them a synthetic column would be cut elsewhere.
    """
    trends = fidelity.trends(test, judged)["score_real_edges"]
    return {"shapes": fidelity.shapes(test, judged)["score"], "trends": trends}


def likeness(test: TableRows, judged: TableRows, config: Config) -> dict[str, Any]:
    """The same, and whether gradient boosting tells the two apart."""
    return looks(test, judged) | {"c2st": fidelity.c2st(test, judged, seed=config.seed)["score"]}


def read(rows: Rows, **more: Any) -> dict[str, TableRows]:
    """Those frames and the test rows as tables that can be compared."""
    assert rows.whole.table is not None
    return from_frames({"test": rows.whole.frame("test"), **more}, rows.whole.table.schema.comparable_kinds())


def references(workspace: Workspace, config: Config) -> dict[str, dict[str, Any]]:
    """Other real rows in the place of synthetic ones, and columns drawn alone."""
    rows = table(workspace, config)

    def compute() -> dict[str, dict[str, Any]]:
        tables = read(rows, train=rows.whole.frame("train"))
        rng = np.random.default_rng([config.seed, config.trials])
        real = tables["train"].sample(rng, config.samples)
        alone = independent_columns(rng, tables["train"], config.samples)
        return {name: likeness(tables["test"], one, config) for name, one in (("real", real), ("alone", alone))}

    return workspace.result("references", compute)


def scores(workspace: Workspace, config: Config, model: str, n: int, trial: int) -> dict[str, Any]:
    """What one generator's table is worth and what it gives away."""
    made, seen = trained(workspace, config, model, n, trial)

    def compute() -> dict[str, Any]:
        from synthjax.data import foreign
        from synthjax.data.schema import DISCRETE

        rows = table(workspace, config)
        assert rows.whole.table is not None
        file = workspace.folder / "sets" / f"{made.name}.csv"
        synthesize.draw(made.workdir, file, config.samples, config.seed + trial)
        own, unseen, test = seen.frame("train"), seen.frame("test"), rows.whole.frame("test")
        schema = rows.whole.table.schema
        known = {field.name: set().union(*(frame[field.name].dropna().unique() for frame in (own, unseen, test)))
                 for field in schema.fields if field.kind in DISCRETE}  # fmt: skip
        tables = read(rows, synthetic=foreign.read(file, schema, known)[0], own=own, unseen=unseen)
        described, _ = sample.describe_run(made.workdir, made.state, 0)
        run = Run(made.workdir, made.model, made.state, made.spec, described)
        asked: dict[str, Any] = {"seed": config.seed, "limit": config.attacked}
        real = {"test": tables["test"], "unseen": tables["unseen"], "reference": tables["test"]}
        sets = Sets(Tables(tables["own"].schema), tables["synthetic"], tables["own"], **real)
        attacked = privacy.attacked_rows(len(seen.train.x), len(seen.test.x), **asked)
        scores = shadows.model_scores(run, seen.train, seen.test, attacked, seed=config.seed)
        private = privacy.evaluate(sets, privacy.Attacker(scores, **asked))
        mia = private["mia"]
        return {
            **likeness(tables["test"], tables["synthetic"], config),
            "own": looks(tables["test"], tables["own"]),
            "file": mia["auc"], "file_p": mia["p_value"]["auc"], "file_chance": mia["chance"]["auc"]["mean"],
            "model": mia["model_auc"], "model_interval": mia["model"] and mia["model"]["auc_interval"],
            "nearer": private["dcr"]["share_nearer_train"], "copies": private["exact_matches"],
        }  # fmt: skip

    return workspace.result(f"scores, {made.name}", compute)


def tells(found: Sequence[dict[str, Any]]) -> tuple[bool, bool]:
    """Whether the file, and whether the model's score, tells in most trials who was trained on."""
    file = [one["file_p"] < LEVEL for one in found]
    model = [bool(one["model_interval"]) and one["model_interval"][0] > 0.5 for one in found]
    return bool(np.mean(file) > 0.5), bool(np.mean(model) > 0.5)


def mean(found: Sequence[dict[str, Any]], name: str) -> float:
    """Of a figure over trials; NaN where the model has none."""
    values = [one[name] for one in found]
    return float("nan") if None in values else float(np.mean(values))


def answer(model: str, by_rows: dict[int, list[dict[str, Any]]], real: dict[str, Any], alone: dict[str, Any]) -> str:
    """The study's question, answered in words from the figures of one model."""
    first, last = min(by_rows), max(by_rows)
    told = {n: tells(by_rows[n]) for n in sorted(by_rows)}

    def change(name: str) -> str:
        return f"{mean(by_rows[first], name):.2f} to {mean(by_rows[last], name):.2f}"

    def listed(sizes: Sequence[int]) -> str:
        return ", ".join(f"{n:,}" for n in sizes)

    over = []
    for place, (name, what) in enumerate((("file", "the synthetic file"), ("model", "the model's own score"))):
        if sizes := [n for n, both in told.items() if both[place]]:
            most = max(mean(by_rows[n], name) for n in sizes)
            over.append(f"{what} tells who was trained on at {listed(sizes)} rows (AUC up to {most:.2f})")
    quiet = [n for n, both in told.items() if not any(both)]
    verdict = f"No attack shows that it over-fits, at any size from {first:,} to {last:,} rows."
    if over:
        verdict = f"It over-fits: {', '.join(over)}."
        verdict += f" At {listed(quiet)} rows no attack beats chance." if quiet else " No size is free of it."
    # Not by trends, which columns drawn alone do well in: each by itself is exact.
    mimics = [n for n in sorted(by_rows) if all(one["c2st"] > alone["c2st"] for one in by_rows[n])]
    if mimics:
        verdict += f" It mimics at {listed(mimics)} rows: they pass for real more than columns drawn alone do."
    else:
        verdict += " It mimics nowhere: its rows pass for real no more than columns drawn alone do."
    return (
        f"Mimic or over-fit? {model}: {verdict} From {first:,} to {last:,} rows the attack on the file goes from AUC "
        f"{change('file')}, that on the model's score from {change('model')} (chance .50); column shapes from "
        f"{change('shapes')} (real {real['shapes']:.2f}), pair trends from {change('trends')} (real "
        f"{real['trends']:.2f}, alone {alone['trends']:.2f}), the two-sample test from {change('c2st')} (real "
        f"{real['c2st']:.2f})."
    )


def discriminator(workspace: Workspace, config: Config, model: str) -> None:
    """The study's Figure 3: losses of both players by step, on a logarithmic scale, for each size of the first trial.

    Losses that can be negative (Wasserstein's) have no logarithm: their size is drawn.
    """
    for name in ("critic_loss", "generator_loss"):
        series = {}
        for n in config.rows:
            kept = list(metrics.read(workspace.folder / "generators" / f"{model}-{n}-0", name))
            if kept:
                steps = np.array([row["step"] for row in kept])
                series[f"{n:,} rows"] = (steps, np.abs([row[name] for row in kept]), None)
        if series:
            title = f"{model}: {name.replace('_', ' ')} for growing training sets"
            path = workspace.folder / f"{name}_{model}.png"
            figures.lines(path, series, x_name="step", y_name=f"|{name}|", title=title, log="y")


def pictures(workspace: Workspace, config: Config, all_found: dict[str, dict[int, list[dict[str, Any]]]]) -> None:
    """Quality and attacks against rows, means over the trials and their deviation."""

    def curve(by_rows: dict[int, list[dict[str, Any]]], name: str) -> figures.Curve:
        values = np.array([[one[name] for one in by_rows[n]] for n in config.rows], float)
        spread = values.std(axis=1, ddof=1) if config.trials > 1 else None
        return np.array(config.rows), values.mean(axis=1), spread

    ends = np.array([min(config.rows), max(config.rows)])
    found = references(workspace, config)
    for model, by_rows in all_found.items():
        quality = {name: curve(by_rows, name) for name in ("shapes", "trends", "c2st")}
        real = {f"trends of {shown}": (ends, np.full(2, found[name]["trends"]))
                for name, shown in (("real", "real rows"), ("alone", "columns drawn alone"))}  # fmt: skip
        attacks = {"attack on the file": curve(by_rows, "file"), "nearer to training rows": curve(by_rows, "nearer")}
        if by_rows[ends[0]][0]["model"] is not None:
            attacks["attack on the model's score"] = curve(by_rows, "model")
        figures.lines(workspace.folder / f"quality_{model}.png", quality, references=real, log="x",
                      x_name="training rows", y_name="score, 1: like real rows",
                      title=f"{model}: likeness to test rows")  # fmt: skip
        chance = {"chance": (ends, np.full(2, 0.5))}
        figures.lines(workspace.folder / f"membership_{model}.png", attacks, references=chance, log="x",
                      x_name="training rows", y_name="AUC, share", title=f"{model}: who was trained on?")  # fmt: skip
        discriminator(workspace, config, model)


def growing(workspace: Workspace, config: Config) -> list[Table]:
    """Quality and leakage against rows, and the answer."""
    table(workspace, config)  # bad input is told before anything slow
    of_real = references(workspace, config)
    all_found: dict[str, dict[int, list[dict[str, Any]]]] = {}
    lines: list[tuple[str, ...]] = []
    for model in config.models:
        all_found[model] = {n: [scores(workspace, config, model, n, trial) for trial in range(config.trials)]
                            for n in config.rows}  # fmt: skip
        for n, found in all_found[model].items():
            cells = [cell([one[name] for one in found]) for name in ("shapes", "trends", "c2st", "file")]
            own = " / ".join(f"{np.mean([one['own'][name] for one in found]):.3f}" for name in ("shapes", "trends"))
            score = cell([one["model"] for one in found]) if found[0]["model"] is not None else ""
            told = " / ".join(("no", "yes")[yes] for yes in tells(found))
            chance, copies = f"{mean(found, 'file_chance'):.3f}", str(sum(one["copies"] for one in found))
            nearer = cell([one["nearer"] for one in found])
            lines.append((model, f"{n:,}", *cells[:3], own, cells[3], chance, score, told, nearer, copies))
    for name, shown in (("real", "other real rows"), ("alone", "columns drawn alone")):
        parts = [f"{of_real[name][measure]:.3f}" for measure in ("shapes", "trends", "c2st")]
        lines.append((shown, "", *parts, *[""] * 7))
    columns = ("model", "rows", "shapes", "trends", "C2ST", "the rows themselves: shapes / trends", "AUC, file",
               "by chance", "AUC, model", "file / model tells", "nearer to train", "copies")  # fmt: skip
    pictures(workspace, config, all_found)
    rows = len(table(workspace, config).whole.test.x)
    notes = [
        f"Against {rows:,} test rows, {config.samples:,} synthetic rows each; mean ± deviation over "
        f"{config.trials} trials of other rows and seeds; copies: over all trials.",
        f"An attack tells where it beats chance (p < {LEVEL:.2f}, or a 95 % interval above .5) in most trials. AUC of "
        "the file: the best of the attacks, which by chance alone reaches what the column beside says.",
        *(answer(model, by_rows, of_real["real"], of_real["alone"]) for model, by_rows in all_found.items()),
    ]
    return [Table("S4", f"{config.dataset}: a GAN on more and more rows", columns, lines, tuple(notes))]


TABLES: dict[str, Callable[[Workspace, Config], list[Table]]] = {"S4": growing}
