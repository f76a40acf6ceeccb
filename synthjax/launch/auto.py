"""Chooses the model of a table: candidates are trained one after the other and compared on the holdout.

Of each candidate as many rows are drawn, and two things are measured:

    told apart    how well gradient boosting tells drawn rows from held-out ones (ROC AUC, .5 where it cannot)
    pairs         how far pairs of columns are from those of held-out rows (total variation distance)
    copied        share of drawn rows that are nearer to training rows than chance explains (`quick_scores.copied`)

Of the candidates that do not copy training rows, the one with the least AUC is taken; of those within a standard error
of it, the one whose pairs are nearest (`quick_scores.likeness`). Likelihoods are not compared: they are not of the same
thing. Test rows are not looked at.

Below `FEWEST` rows the holdout is too small to choose by, and `SMALL` is taken. There is no cross-validation there: an
AUC of so few rows has an error of some hundredths, and each fold would compile and train all candidates anew. One that
needs all rows at once is left out where they do not fit into memory.

    WORKDIR/candidates/NAME/    a run of each candidate; that of the chosen one is copied to WORKDIR
    WORKDIR/auto.json           what was tried and why one was chosen; auto.md, the same as a table
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from synthjax import files
from synthjax.data import Dataset, memory
from synthjax.data.table_names import is_table
from synthjax.errors import InputError, NonFiniteError
from synthjax.evals import quick_scores
from synthjax.evals.domains.tables import SMALLEST
from synthjax.launch import config, model_selection, runs, train
from synthjax.launch.config import Experiment
from synthjax.launch.markdown import Table
from synthjax.launch.trained import Run

NAME = "auto"
"""As --model has it."""
CANDIDATES = ("table_forest", "table_ar", "mixture")
"""In the order in which they are trained."""
MINUTES = 10.0
"""For all candidates together."""
FEWEST = 1_000
"""Training and held-out rows from which candidates are compared."""
SMALL = "mixture"
"""What is taken of fewer rows: `table_ar` is more faithful to some small tables, and copies more of others."""
BYTES_PER_VALUE = 16
"""Memory that a model which needs all rows at once takes for each value of the encoded table, about, beside its state
before and after a step."""
RECORD = "auto.json"
OF_ONE_MODEL = ("stop", "stop_at", "eval_every", "init_from", "freeze", "seeds")
"""Fields of an experiment that candidates cannot share, beside those of the model."""
NOT_SHARED = ("name", "model", "stop_at", "all_rows")
"""Fields that do not tell one call from another: those of a model, and those of a final training alone."""


class Tried(NamedTuple):
    """One candidate."""

    model: str
    compared: bool = False
    """Whether its rows were compared; if not, `note` says why and the next five mean nothing."""
    apart: float = 1.0
    """ROC AUC."""
    error: float = 0.0
    """Standard error of it, of rows that cannot be told apart."""
    pairs: float = 1.0
    """Total variation distance."""
    copied: float = 1.0
    """Share of drawn rows."""
    copies: bool = False
    """Whether it copies, beyond doubt."""
    seconds: float = 0.0
    note: str = ""
    """What it did, or why it was left out."""


def choose(tried: Sequence[Tried]) -> tuple[str, str]:
    """The name of the chosen candidate, and why, as a sentence.

    Raises:
      InputError: none could be compared.
    """
    compared = [one for one in tried if one.compared]
    if not compared:
        reasons = "; ".join(f"{one.model}: {one.note}" for one in tried)
        raise InputError(f"--model={NAME}: no candidate could be trained ({reasons}); name a model")
    original = [one for one in compared if not one.copies]
    if not original:
        found = min(compared, key=lambda one: one.copied)
        return found.model, f"{found.model} is taken, which copies least: all candidates copy training rows"
    best = min(original, key=lambda one: one.apart)
    alike = [one for one in original if one.apart <= max(best.apart, 0.5) + best.error]
    found = min(alike, key=lambda one: one.pairs)
    why = f"{found.model} is taken: its rows are told apart from held-out ones with an AUC of {found.apart:.3f}"
    if len(alike) > 1:
        why += f" (the best: {best.apart:.3f} ± {best.error:.3f}), and its pairs of columns are nearest to theirs"
        return found.model, why
    if len(original) < len(compared):
        return found.model, f"{why}, the best of those that do not copy training rows"
    return found.model, f"{why}, the best"


def table(tried: Sequence[Tried]) -> str:
    """What was tried, as Markdown."""
    columns = ("model", "told apart from held-out rows (AUC, .5 best)", "pairs (0 best)", "copied", "seconds", "")
    rows = [
        (
            one.model,
            f"{one.apart:.3f} ± {one.error:.3f}" if one.compared else "-",
            f"{one.pairs:.3f}" if one.compared else "-",
            f"{one.copied:.0%}" + " (copies)" * one.copies if one.compared else "-",
            f"{one.seconds:.0f}",
            one.note,
        )
        for one in tried
    ]
    return Table("Models", "tried on the holdout", columns, rows).markdown()


def table_data(experiment: Experiment) -> Dataset:
    """The data of an experiment; InputError if it is no table, or one of too few rows for a report."""
    if not is_table(experiment.dataset):
        raise InputError(f"--table={experiment.dataset}: holds images; synthesize is for tables, launch.train for both")
    data = runs.data(experiment)
    sizes = {"training": len(data.train.y), "test": len(data.test.y)}
    if few := [f"{n} {name} rows" for name, n in sizes.items() if n < SMALLEST]:
        raise InputError(
            f"--table={experiment.dataset}: leaves {' and '.join(few)}, too few for a report, which needs {SMALLEST} "
            "of both (a table of 25 rows has them); launch.train and launch.sample make rows without a report"
        )
    return data


class Race:
    """The candidates of one table, with what was found so far in the workdir's `auto.json`."""

    def __init__(self, chosen: Experiment, workdir: Path, minutes: float):
        """`chosen` is the experiment of any candidate, whose fields but for the model all share."""
        self._chosen, self._workdir, self._minutes = chosen, workdir, minutes
        self._data: dict[str, Dataset] = {}
        self._tried: list[Tried] = []
        self._about: dict[str, Any] = {}

    def run(self) -> tuple[Experiment, Dataset]:
        """The experiment that is chosen, and its data; its run is in the workdir, trained as far as time allowed.

        Raises:
          InputError: no table, no held-out rows, no candidate could be trained, or the workdir is another run's.
        """
        _, data = self._of(CANDIDATES[0])
        if not len(data.holdout.y):
            raise InputError(f"--holdout=0: --model={NAME} compares models on the holdout; leave it some rows")
        winner = self._resumed(data)
        assert data.table is not None
        print(data.table.description.report(), flush=True)
        if winner:
            return self._trained(winner)
        if (rows := len(data.train.y) + len(data.holdout.y)) < FEWEST:
            why = f"{SMALL} is taken: {rows:,} rows are too few to compare models on (from {FEWEST:,})"
            self._keep(SMALL, why)
            return self._trained(SMALL)
        end = time.monotonic() + 60 * self._minutes
        for number, name in enumerate(CANDIDATES):
            if name not in [one.model for one in self._tried]:
                left = (end - time.monotonic()) / 60 / (len(CANDIDATES) - number) if self._minutes else 0.0
                self._tried.append(self._try(name, max(left, 0.01) if self._minutes else 0.0))
                self._keep()
        winner, why = choose(self._tried)
        _copy(self._workdir / "candidates" / winner, self._workdir)
        self._keep(winner, why)
        return self._of(winner)

    def _resumed(self, data: Dataset) -> str:
        """Reads what an earlier call has found; returns the name of the chosen candidate, "" if there is none yet."""
        shared = {name: value for name, value in config.to_dict(self._chosen).items() if name not in NOT_SHARED}
        self._about = json.loads(json.dumps({"experiment": shared, "fingerprint": data.fingerprint}))
        kept = files.read_json(self._workdir / RECORD)
        if kept is None and not (self._workdir / "config.json").exists():
            return ""
        if kept is None or kept["about"] != self._about:
            raise InputError(f"{self._workdir} belongs to another run; give another --out")
        self._tried = [Tried(**one) for one in kept["tried"]]
        return str(kept["chosen"])

    def _of(self, name: str) -> tuple[Experiment, Dataset]:
        """A candidate's experiment and data."""
        model = config.family(name).PRESETS[name]
        experiment = dataclasses.replace(self._chosen, name=name, model=model)
        encoding = experiment.encoding or getattr(model, "encoding", "")
        if encoding not in self._data:
            self._data = {encoding: table_data(experiment)}
        data = self._data[encoding]
        return train.fitted(experiment, (), data), data

    def _trained(self, name: str) -> tuple[Experiment, Dataset]:
        """`_of` after training in the workdir, or going on there."""
        experiment, data = self._of(name)
        train.run(experiment, data, self._workdir, self._minutes)
        model_selection.copying(self._workdir, data)
        return experiment, data

    def _try(self, name: str, minutes: float) -> Tried:
        """Trains a candidate and compares it."""
        begun = time.monotonic()
        experiment, data = self._of(name)
        model = runs.build(experiment, data.spec)
        if model.feed == "dataset":
            state = jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0)))
            needed = BYTES_PER_VALUE * data.train.x.size + 2 * sum(leaf.size * leaf.dtype.itemsize for leaf in state)
            if needed > memory.limit():
                note = f"left out: it needs all rows at once, {memory.shown(needed)} of {memory.shown(memory.limit())}"
                return Tried(name, note=note)
        folder = self._workdir / "candidates" / name
        print(f"\n--- candidate {name} ---", flush=True)
        try:
            train.run(experiment, data, folder, minutes)
            rows, copied = model_selection.copying(folder, data)
        except (InputError, NonFiniteError) as error:
            return Tried(name, seconds=time.monotonic() - begun, note=f"failed: {error}")
        table = data.table
        assert table is not None
        holdout = model_selection.some(data, "holdout", model_selection.COPYING_ROWS, experiment.seed)
        alike = quick_scores.likeness(holdout, rows, table.schema.comparable_kinds(), seed=experiment.seed)
        seconds, note = time.monotonic() - begun, f"step {Run(folder).step:,}"
        return Tried(name, True, *alike, copied.share, copied.too_many, seconds, note)

    def _keep(self, winner: str = "", why: str = "") -> None:
        """Writes what was found so far, and says it at the end."""
        tried = [one._asdict() for one in self._tried]
        values = {"chosen": winner, "why": why, "tried": tried, "about": self._about}
        if winner:
            text = f"{table(self._tried)}\n\n{why}" if self._tried else why
            files.write(self._workdir / "auto.md", f"{text}\n")
            print(f"\n{text}\n", flush=True)
        files.write(self._workdir / RECORD, json.dumps(values, indent=1))


def _copy(run: Path, workdir: Path) -> None:
    """Copies the files of a run, config.json last: a folder with it is a run."""
    places = [place for place in files.tree(run) if place.name not in (".lock",)]
    for place in sorted(places, key=lambda place: place.name == "config.json"):
        files.write(workdir / place.relative_to(run), place.read_bytes())


def check(fields: Sequence[str]) -> None:
    """Raises InputError if one of these fields of an experiment, which were given, is of one model."""
    for field in fields:
        if field.startswith("model.") or field in OF_ONE_MODEL:
            flag = field.removeprefix("model.") if field in ("model.steps", "model.batch_size") else f"config.{field}"
            raise InputError(f"--{flag}: is of one model, and --model={NAME} tries several; name one: --model=mixture")
