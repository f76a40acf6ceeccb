"""Searches for a model's hyper-parameters, by random trials and successive halving.

    python -m synthjax.launch.search --model=table_wcgan --dataset=adult --data_dir=DIR --trials=18 --rungs=3 \\
        --config.model.learning_rate=1e-5..1e-3:log --config.model.b1='0|0.5' --config.model.hidden='128,128|256,256'

A field of the model given as LOW..HIGH, LOW..HIGH:log or A|B|C is searched (`synthjax.launch.search_space`); all other
flags are those of `launch.train`. Trials are first trained for a part of --steps. The best 1 / --halving of them go on
to the next of the --rungs; the last rung is the whole --steps (Jamieson & Talwalkar 2016, arXiv:1502.07943). --rungs=1
trains all trials to the end. Learning rate schedules are always those of the whole length, so that a trial equals the
run of `launch.train` with its fields. Trials that differ only in real-valued fields are trained together by vmap, at
most --together of them, where the model allows it; the first lines of output list these fields.

--score: tstr, gradient boosting trained on synthetic rows, its ROC AUC (regression: R2) on real ones; c2st, two-sample
test by gradient boosting, 1 if it cannot distinguish synthetic from real rows; accuracy, of the standard CNN trained on
synthetic images. All use the holdout split, never the test split. The best score of many trials is biased upwards, and
all trials use one seed: train the best few with --seeds before trusting a small difference.

The workdir keeps trials.jsonl, a line for each trial and rung, and table.md. The same command continues an interrupted
search. The last line of output is the command that trains the best trial.
"""

import functools
import json
import math
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags

from synthjax import files, sampling
from synthjax.data import Dataset
from synthjax.errors import InputError, NonFiniteError
from synthjax.evals import quick_scores
from synthjax.launch import config, runs, sample, search_space, train
from synthjax.launch.class_counts import class_counts
from synthjax.launch.config import Experiment
from synthjax.launch.markdown import Table
from synthjax.launch.search_space import Searched
from synthjax.model import State
from synthjax.train import loop
from synthjax.train.checkpoint import Checkpoints

SCORES = ("tstr", "c2st", "accuracy")
ROWS = 5_000
"""Most synthetic examples that a trial is scored on by default."""

Judge = Callable[[np.ndarray, np.ndarray], float]
"""x (N, *shape) in the model's space, labels (N,) -> score; higher is better."""


class Plan(NamedTuple):
    """Settings of a search."""

    trials: int
    rungs: int
    halving: int
    together: int
    score: str
    rows: int
    epochs: int


def define_flags() -> None:
    """Defines the flags of this launcher: those of `train`, and its own."""
    train.define_flags()
    flags.DEFINE_integer("trials", 18, "Number of trials in the first rung.", 1)
    flags.DEFINE_integer("rungs", 3, "Number of rungs, after each of which trials are compared; 1: random search.", 1)
    flags.DEFINE_integer("halving", 3, "Factor between rungs: so many times fewer trials, each as much longer.", 2)
    flags.DEFINE_integer("together", 6, "Most trials trained together, by vmap.", 1)
    flags.DEFINE_enum("score", None, SCORES, "Score: tstr (tables with a target), c2st (tables) or accuracy.")
    flags.DEFINE_integer("rows", None, f"Synthetic examples that judge a trial (default: train's, up to {ROWS}).", 10)
    flags.DEFINE_integer("epochs", 3, "accuracy: passes of the CNN.", 1)


# --- scores --------------------------------------------------------------------------------------------------------


def judge(data: Dataset, plan: Plan, seed: int) -> Judge:
    """The function that scores synthetic examples on the holdout; InputError if it is empty, or for other data."""
    if not len(data.holdout.x):
        raise InputError("--holdout=0: trials are judged on the holdout split; leave it some rows")
    if (plan.score == "accuracy") == (data.spec.kind == "table"):
        raise InputError(f"--score={plan.score}: is not for a {data.spec.kind}")
    if plan.score == "accuracy":
        if not data.spec.n_classes:
            raise InputError("--score=accuracy: the data has no labels")
        return functools.partial(_accuracy, data, plan, seed)
    assert data.table is not None
    if plan.score == "tstr" and data.table.schema.target is None:
        raise InputError("--score=tstr: needs a target; --target=COLUMN names one, or take --score=c2st")
    return functools.partial(_table_score, data, data.frame("holdout"), plan.score, seed)


def _accuracy(data: Dataset, plan: Plan, seed: int, x: np.ndarray, y: np.ndarray) -> float:
    synthetic = np.asarray(data.spec.decode(x)), y
    return quick_scores.of_images(jax.random.key(seed), synthetic, data.holdout[:2], data.spec, epochs=plan.epochs)


def _table_score(data: Dataset, holdout: Any, score: str, seed: int, x: np.ndarray, y: np.ndarray) -> float:
    assert data.encoder is not None and data.table is not None
    schema = data.table.schema
    synthetic, kinds = data.encoder.decode(x), schema.comparable_kinds()
    return quick_scores.of_rows(holdout, synthetic, kinds, schema.target, names=[score], seed=seed)[score]


# --- the search ----------------------------------------------------------------------------------------------------


class Search:
    """A search, with its state in a folder."""

    def __init__(self, folder: Path, chosen: Experiment, space: Sequence[Searched], data: Dataset, plan: Plan):
        """Opens or creates the folder; InputError if it is another search's, or a trial's model cannot be built."""
        self.folder, self.chosen, self.data, self.plan = folder, chosen, data, plan
        self.trials = search_space.draw(space, plan.trials, chosen.seed)
        self.judge = judge(data, plan, chosen.seed)
        for number, values in enumerate(self.trials):
            try:
                runs.build(search_space.of(chosen, values), data.spec)
            except InputError as error:
                raise InputError(f"trial {number} ({_words(values)}): {error}") from error
        self.at_once = [one.field for one in space if search_space.traceable(chosen, one.field, data.spec)]
        wanted = {"experiment": config.to_dict(chosen), "space": [one._asdict() for one in space], **plan._asdict(),
                 "fingerprint": data.fingerprint}  # fmt: skip
        text, record = json.dumps(wanted, indent=1), folder / "search.json"
        if record.exists() and record.read_bytes() != text.encode():
            raise InputError(f"{folder} belongs to another search; give another --workdir, or delete it")
        folder.mkdir(parents=True, exist_ok=True)
        files.write(record, text)
        self.lines = _read_lines(folder / "trials.jsonl")
        self.states: dict[int, State] = {}

    def rungs(self) -> list[tuple[int, int]]:
        """(steps, number of trials) of each rung."""
        steps, rungs = self.chosen.model.steps, []
        for rung in range(self.plan.rungs):
            cut = self.plan.halving ** (self.plan.rungs - 1 - rung)
            count = math.ceil(len(self.trials) / self.plan.halving**rung)
            rungs.append((max(steps // cut, 1), count))
        return rungs

    def run(self) -> list[dict[str, Any]]:
        """Runs all rungs. Returns the trials of the last one, best first."""
        alive, before = list(range(len(self.trials))), 0
        for steps, count in self.rungs():
            alive = self.best(alive, before)[:count] if before else alive
            for group in self.groups(alive):
                self.advance(group, before, steps)
            before = steps
        if not alive or all(self.score(trial, before) is None for trial in alive):
            raise NonFiniteError("every trial diverged; narrow the ranges")
        return [self.line(trial, before) for trial in self.best(alive, before)]

    def best(self, alive: Sequence[int], steps: int) -> list[int]:
        """The trials that did not diverge, by their score after `steps` steps, best first."""
        scores = {trial: self.score(trial, steps) for trial in alive}
        finite = {trial: score for trial, score in scores.items() if score is not None}
        return sorted(finite, key=lambda trial: (-finite[trial], trial))

    def line(self, trial: int, steps: int) -> dict[str, Any]:
        """The record of a trial after `steps` steps; {} if there is none."""
        return next((one for one in self.lines if (one["trial"], one["steps"]) == (trial, steps)), {})

    def score(self, trial: int, steps: int) -> float | None:
        """The score of a trial after `steps` steps; None: it diverged."""
        score: float | None = self.line(trial, steps)["score"]
        return score

    def groups(self, alive: Sequence[int]) -> list[list[int]]:
        """Groups of at most `together` trials that can be trained by one vmap."""
        alike: dict[tuple[str, ...], list[int]] = {}
        for trial in sorted(alive):
            fixed = tuple(v for field, v in self.trials[trial].items() if field not in self.at_once)
            alike.setdefault(fixed, []).append(trial)
        size = self.plan.together
        return [group[i : i + size] for group in alike.values() for i in range(0, len(group), size)]

    def advance(self, group: list[int], before: int, steps: int) -> None:
        """Trains a group from one rung to the next and scores it; if a trial diverges, each is trained separately."""
        if all(self.line(trial, steps) for trial in group) and steps == self.chosen.model.steps:
            return
        if any(self.line(trial, steps).get("score", 0) is None for trial in group):
            # An earlier run recorded which trials diverge: the others are trained separately, or read.
            return self.apart(group, before, steps)
        begun = time.monotonic()
        try:
            model, state = self.train(group, before, steps)
        except NonFiniteError as error:
            if len(group) > 1:
                return self.apart(group, before, steps)
            self.note(group[0], steps, None, time.monotonic() - begun, str(error))
            return
        for place, trial in enumerate(group):
            self.states[trial] = jax.tree.map(lambda a, place=place: np.asarray(a)[place], state)
        if not all(self.line(trial, steps) for trial in group):
            trained = (time.monotonic() - begun) / len(group)
            self.measure(group, steps, model, state, trained)

    def apart(self, group: list[int], before: int, steps: int) -> None:
        """`advance` for each trial of a group separately, without those known to diverge."""
        for trial in group:
            if self.line(trial, steps).get("score", 0) is not None:
                self.advance([trial], before, steps)

    def train(self, group: list[int], before: int, steps: int) -> tuple[Any, State]:
        """The group's model and state after `steps` steps, from its checkpoint if there is one."""
        chosen = search_space.of(self.chosen, self.trials[group[0]])
        values = {field: np.array([search_space.value_of(search_space.of(self.chosen, self.trials[trial]), field)
                                   for trial in group]) for field in self.at_once}  # fmt: skip
        model = search_space.together(chosen, values, len(group), self.data.spec)
        trainer = train.trainer(chosen, model, self.data)
        folder = self.folder / "groups" / f"{steps}" / "-".join(map(str, group))
        checkpoints = Checkpoints(folder, 1, say=lambda line: None)
        record = {"trials": group}
        if before and checkpoints.newest() is None:
            stacked = jax.tree.map(lambda *parts: np.stack(parts), *(self.states[trial] for trial in group))
            checkpoints.save(before, jax.device_put(stacked, trainer.replicated), record)
        plan = loop.Plan(steps, self.chosen.log_every, self.chosen.checkpoint_every)
        key = jax.random.key(chosen.seed)
        hooks = loop.Hooks(log=lambda *_: None, say=lambda line: None)
        _, state = loop.train(trainer, plan, key, checkpoints, record, hooks)
        return model, state

    def measure(self, group: list[int], steps: int, model: Any, state: State, seconds: float) -> None:
        """Scores each trial of a group on examples drawn from it."""
        spec, seed = self.data.spec, self.chosen.seed
        counts = class_counts(spec, model.conditional, n=self.plan.rows, per_class=None)
        labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        block = min(sample.block_size(spec), self.plan.rows)
        x = np.concatenate(list(sampling.draw(model, state, jax.random.key(seed), labels, block=block)))
        for place, trial in enumerate(group):
            if self.line(trial, steps):
                continue
            begun, mine = time.monotonic(), x[:, place]
            score = self.judge(mine, labels) if np.isfinite(mine).all() else None
            self.note(trial, steps, score, seconds + time.monotonic() - begun)

    def note(self, trial: int, steps: int, score: float | None, seconds: float, why: str = "") -> None:
        """Records the score of a trial and prints it."""
        line = {"trial": trial, "steps": steps, "score": score, "seconds": round(seconds, 1), **self.trials[trial]}
        self.lines.append(line | ({"diverged": why} if score is None else {}))
        text = "".join(json.dumps(one) + "\n" for one in self.lines)
        files.write(self.folder / "trials.jsonl", text)
        shown = "diverged" if score is None else f"{self.plan.score} {score:.4f}"
        print(f"trial {trial} after {steps:,} steps: {shown}  ({_words(self.trials[trial])})", flush=True)

    def table(self) -> Table:
        """All trials, those trained longest first."""
        last = {trial: max(one["steps"] for one in self.lines if one["trial"] == trial)
                for trial in {one["trial"] for one in self.lines}}  # fmt: skip
        rows = []
        for steps in sorted(set(last.values()), reverse=True):
            here = [trial for trial in last if last[trial] == steps]
            ranked = self.best(here, steps)
            for trial in [*ranked, *sorted(set(here) - set(ranked))]:
                score = self.score(trial, steps)
                seconds = sum(one["seconds"] for one in self.lines if one["trial"] == trial)
                shown = "diverged" if score is None else f"{score:.4f}"
                rows.append((str(trial), f"{steps:,}", shown, *self.trials[trial].values(), f"{seconds:.0f}"))
        columns = ("trial", "steps", f"{self.plan.score}, holdout", *self.trials[0], "seconds")
        return Table("Search", f"{self.chosen.name} on {self.data.name}, seed {self.chosen.seed}", columns, rows)


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert all({"trial", "steps", "score", "seconds"} <= line.keys() for line in lines)
    except (ValueError, AttributeError, AssertionError) as error:
        raise InputError(f"{path}: cannot be read ({error or 'its keys are others'}); give another --workdir") from None
    return lines


def _words(values: dict[str, str]) -> str:
    return ", ".join(f"{field.removeprefix('model.')}={text}" for field, text in values.items())


# --- the command line ----------------------------------------------------------------------------------------------


def split(chosen: Experiment, given: Sequence[tuple[str, str]]) -> tuple[list[tuple[str, str]], list[Searched]]:
    """Splits `--config.FIELD=VALUE` flags: those that fix a value, and what is searched; InputError if nothing is."""
    fixed, space = [], []
    for field, text in given:
        found = search_space.parse(chosen, field, text)
        if found is None:
            fixed.append((field, text))
        else:
            space.append(found)
    if not space:
        raise InputError("nothing to search: give a field a range, such as --config.model.learning_rate=1e-5..1e-3:log")
    names = [one.field for one in space] + [field for field, _ in fixed]
    for one in space:
        if names.count(one.field) > 1:
            raise InputError(f"--config.{one.field}: is given twice")
    return fixed, space


def command(fixed: Sequence[tuple[str, str]], best: dict[str, str]) -> str:
    """The command line that trains the best trial."""
    args = flags.FLAGS
    own = {"workdir", "minutes", "trials", "rungs", "halving", "together", "score", "rows", "epochs"}
    names = [flag.name for module, defined in args.flags_by_module_dict().items() if module.startswith("synthjax")
             for flag in defined if flag.present and flag.name not in own]  # fmt: skip
    words = [f"--{name}={args[name].value}" for name in dict.fromkeys(names)]
    words += [f"--config.{field}={text}" for field, text in [*fixed, *best.items()]]
    return shlex.join(["python", "-m", "synthjax.launch.train", *words])


def main(given: list[tuple[str, str]]) -> None:
    """Searches; see the module's docstring."""
    args = flags.FLAGS
    if args.distributed:
        raise InputError("--distributed: a search runs in one process")
    if args.minutes:
        raise InputError("--minutes: a search is as long as --trials, --steps and --rungs make it")
    fixed, space = split(config.experiment(args.config, args.model, args.dataset), given)
    chosen = train.experiment(fixed)
    if chosen.init_from:
        raise InputError(f"--init_from={chosen.init_from}: the trials of a search start from random weights")
    if chosen.seeds > 1:
        raise InputError(f"--seeds={chosen.seeds}: a search trains one member a trial; train the best with --seeds")
    data = runs.data(chosen)
    target = data.table is not None and data.table.schema.target is not None
    score = args.score or ("accuracy" if data.table is None else "tstr" if target else "c2st")
    rows = args.rows or min(len(data.train.y), ROWS)
    plan = Plan(args.trials, args.rungs, args.halving, args.together, score, rows, args.epochs)
    folder = files.path(args.workdir or f"runs/search-{train.default_workdir(chosen).name}")
    search = Search(folder, chosen, space, data, plan)
    turns = [one.field for one in space if one.field not in search.at_once]
    print(
        f"{len(search.trials)} trials of {chosen.name} on {data.name}, judged by {score} on {len(data.holdout.y):,} "
        f"holdout examples; rungs: " + ", ".join(f"{count} to step {steps:,}" for steps, count in search.rungs())
        + f"\nat once, by vmap: {', '.join(search.at_once) or 'none'}; in turn: {', '.join(turns) or 'none'}",
        flush=True,
    )  # fmt: skip
    first = search.run()[0]
    text = search.table().markdown()
    files.write(folder / "table.md", f"{text}\n")
    best = search.trials[first["trial"]]
    print(f"\n{text}\n\nwrote {folder}/table.md, trials.jsonl\nthe best, trial {first['trial']}:\n"
          f"{command(fixed, best)}")  # fmt: skip


if __name__ == "__main__":
    train.launch(main, define_flags, __doc__)
