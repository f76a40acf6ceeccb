"""Trains a generative model, of images or of a table.

    python -m synthjax.launch.train --model=ddpm                                     the embedded digits
    python -m synthjax.launch.train --model=ddpm --dataset=mnist --data_dir=DIR --config.model.width=48
    python -m synthjax.launch.train --config=configs/mnist/vae.py --workdir=runs/vae --seeds=4
    python -m synthjax.launch.train --model=table_wcgan --dataset=customers.csv --target=churned
    python -m synthjax.launch.train --model=vae --dataset=more.npz --init_from=runs/vae --freeze=encoder

Without --config, configs/DATASET/MODEL.py is used if it exists. The same command continues an interrupted run. Every
field can be set: --config.FIELD=VALUE, --config.model.FIELD=VALUE, such as --config.class_weights=1,1,2; or
--config.rare_class=0 --config.rare_factor=100, a hundredth of class 0, for launch.sample --top_up.
"""

import dataclasses
import functools
import math
import shlex
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import jax
import numpy as np
from absl import flags
from tqdm import tqdm

from synthjax import files
from synthjax.data import Dataset, memory, transforms
from synthjax.data.feed import Feed
from synthjax.errors import InputError, NonFiniteError
from synthjax.evals.draw import png
from synthjax.launch import cli, config, distributed, initial_weights, model_selection, monitor, runs
from synthjax.launch.config import Experiment
from synthjax.model import Model
from synthjax.train import loop, metrics
from synthjax.train.best import Best
from synthjax.train.checkpoint import Checkpoints

if TYPE_CHECKING:
    from synthjax.launch.private import Session

SHORT = {
    "data_dir": "Folder with the data's files (default: $SYNTHJAX_DATA_DIR).",
    "holdout": "Share of the training set kept for privacy attacks (default: 0.1).",
    "target": "Of a table: the column to predict (default: none of a file).",
    "schema": "Of a table: a YAML or JSON file that corrects what is inferred of its columns.",
    "min_count": "Of a table: fewest rows that must share a value for it to be released (default: 5).",
    "image_size": "Of images: resize them, to 64 or 48x64 (height x width) pixels (default: all have one size).",
    "encoding": "Of a table: minmax, interval, quantile, mode or code (default: the model's).",
    "steps": "Training steps; short for --config.model.steps (default: of a table, by the holdout; else the model's).",
    "batch_size": "Short for --config.model.batch_size (default: the model's, at most all rows).",
    "init_from": "Start from the weights of that finished run (default: from random ones).",
    "freeze": "Parts of the weights that are not trained, such as encoder (default: none).",
    "seed": "Seed of everything random in the run (default: 0).",
    "seeds": "Number of members trained together, by vmap (default: 1).",
    "precision": "float32 or bfloat16, of the computation in networks (default: JAX's setting).",
    "eval_every": "Steps between scores on the holdout, by which the best state is kept (default: none).",
    "dp.epsilon": "Spend so much on differential privacy; more flags in --helpfull (default: not private).",
    "dp.delta": "With --dp.epsilon: the probability with which it may fail (default: 1e-6).",
    "dp.unit": "With --dp.epsilon: the column that names the person of a row (default: each row is a unit).",
    "dp.rows_per_unit": "With --dp.unit: rows of each person that are used at most, drawn at random (default: 1).",
    "dp.dataset": "With --dp.epsilon: name of the data set in the ledger (default: the file's).",
    "dp.total": "With --dp.epsilon: the owner's limit of all fits together, kept in the ledger (default: none).",
    "dp.test_seed": "With --dp.epsilon: a seed that marks the run as a test, which protects and publishes nothing.",
}
"""Flags that are fields of the experiment, and what --help says of each."""
OF_MODEL = ("steps", "batch_size")
"""Those that are fields of the model's Config."""
MOST_STEPS = 1_000_000
"""Of a training that ends by the holdout: so many that the learning rate, which falls to 0 over them, hardly falls."""
BATCH_UNIT = 8
"""Where there are fewer rows than a batch has, batches are cut to a multiple of this: devices divide it."""


def define_flags() -> None:
    """Defines the flags of this launcher."""
    flags.DEFINE_string("model", None, "Which model: a preset of a file in synthjax/models (default: ddpm).")
    flags.DEFINE_string("dataset", None, "A name (digits, mnist, adult, ...), tfds:NAME or a path (default: digits).")
    flags.DEFINE_string("config", None, "An experiment's file, such as configs/mnist/vae.py.")
    flags.DEFINE_string("workdir", None, "Folder of the run (default: runs/MODEL-DATASET).")
    for name, said in SHORT.items():
        flags.DEFINE_string(name, None, said)
    flags.DEFINE_float("minutes", 0.0, "Stop after this many minutes, with a checkpoint; 0: no limit.", 0.0)
    distributed.define_flags()


def overrides(argv: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Takes `--config.FIELD=VALUE` out of a command line: (the rest, [(FIELD, VALUE)]); InputError without a value."""
    rest, found = [], []
    words = iter(argv)
    for word in words:
        name = word.lstrip("-")
        if not (word.startswith("-") and name.startswith("config.")):
            rest.append(word)
            continue
        field, equals, value = name.removeprefix("config.").partition("=")
        if not equals:
            value = next(words, "")
            if not value or value.startswith("--"):
                raise InputError(f"--config.{field}: needs a value, --config.{field}=VALUE")
        found.append((field, value))
    return rest, found


def experiment(given: list[tuple[str, str]]) -> Experiment:
    """The experiment that the flags describe, after all checks that need no data; InputError if one fails."""
    args = flags.FLAGS
    chosen = config.experiment(args.config, args.model, args.dataset)
    changes = [(name, value, f"--config.{name}") for name, value in given]
    for name in SHORT:
        if args[name].value is not None:
            changes.append((field(name), str(args[name].value), f"--{name}"))
    chosen = config.overrides(chosen, changes)
    config.check_seed(chosen.seed, "seed")
    for name, least in [("seeds", 1), ("accumulate", 1), ("log_every", 1), ("checkpoint_every", 1),
                        ("sample_every", 0), ("eval_every", 0), ("stop_at", 0), ("keep", 1),
                        ("noise_components", 0)]:  # fmt: skip
        if getattr(chosen, name) < least:
            raise InputError(f"{name}={getattr(chosen, name)}: must be at least {least}")
    for name in OF_MODEL:
        if getattr(chosen.model, name) < 1:
            raise InputError(f"{name}={getattr(chosen.model, name)}: must be at least 1")
    if chosen.model.batch_size % chosen.accumulate:
        raise InputError(f"accumulate={chosen.accumulate}: must divide batch_size={chosen.model.batch_size}")
    if chosen.freeze and not chosen.init_from:
        raise InputError(f"freeze={','.join(chosen.freeze)}: goes with --init_from, whose weights it keeps")
    if chosen.class_weights and chosen.feed == "balanced":
        raise InputError("class_weights and feed=balanced: give one of them")
    return chosen


def field(flag: str) -> str:
    """The field of an experiment that a flag of `SHORT` sets."""
    return f"model.{flag}" if flag in OF_MODEL else flag


def said(given: list[tuple[str, str]]) -> set[str]:
    """The fields that a person decided: by `--config.FIELD=VALUE` (`given`), --steps or --batch_size, or by a file."""
    args = flags.FLAGS
    set_here = {field(name) for name in SHORT if args[name].value is not None}
    from_file = args.config is not None or config.tuned(args.model, args.dataset) is not None
    decided = [name for name in OF_MODEL if from_file or args[name].value is not None]
    return {name for name, _ in given} | set(map(field, decided)) | set_here


def fitted(chosen: Experiment, said: Collection[str], data: Dataset) -> Experiment:
    """The experiment with what no person said (`said`) as the data decides it.

    Batches have at most all rows, and training on a table ends by the holdout (`Experiment.stop`) where that can be
    scored.
    """
    if not hasattr(chosen.model, "learning_rate"):
        return config.for_rows(chosen, said, len(data.train.y)) if data.spec.kind == "table" else chosen
    free = [name for name in OF_MODEL if f"model.{name}" not in said]
    rows, unit = len(data.train.y), math.lcm(BATCH_UNIT, chosen.accumulate)
    if "batch_size" in free and chosen.model.batch_size > rows:
        chosen = _with_model(chosen, batch_size=rows // unit * unit or rows)
    if data.spec.kind == "table" and "steps" in free and "stop" not in said:
        stopping, kept = dataclasses.replace(chosen, stop="holdout"), len(data.holdout.y)
        if kept >= model_selection.least(stopping, "table"):
            chosen = stopping
        elif jax.process_index() == 0:
            print(f"{kept} held-out rows are too few to stop by: {chosen.model.steps:,} steps, as --steps would say")
    if chosen.stop == "steps":
        return chosen
    every = chosen.eval_every or model_selection.EVERY[model_selection.decides(chosen, data.spec.kind)]
    chosen = dataclasses.replace(chosen, eval_every=every)
    return _with_model(chosen, steps=MOST_STEPS) if "steps" in free else chosen


def _with_model(chosen: Experiment, **fields: int) -> Experiment:
    return dataclasses.replace(chosen, model=dataclasses.replace(chosen.model, **fields))


def default_workdir(chosen: Experiment) -> Path:
    """runs/MODEL-DATASET, with the last component of a path or a TFDS name."""
    return Path("runs") / f"{chosen.name}-{Path(chosen.dataset).stem.replace(':', '-')}"


def trainer(chosen: Experiment, model: Model, data: Dataset, session: "Session | None" = None) -> loop.Trainer:
    """The trainer of an experiment on all devices; InputError if the data cannot be fed to the model."""
    weights = (1.0,) * data.spec.n_classes if chosen.feed == "balanced" else tuple(chosen.class_weights) or None
    size = chosen.model.batch_size
    feed = Feed.of(model, data.train.x, data.train.y, size, chosen.seed, jax.device_count())
    feed = session.feed(feed, data.spec) if session else dataclasses.replace(feed, class_weights=weights)
    feed.check(data.spec.n_classes)
    augment = None
    if chosen.noise_components:
        spec, k = data.spec, chosen.noise_components
        parts = transforms.class_components(data.train.x, data.train.y, spec.n_classes, k, spec.classes)
        augment = transforms.directed_noise(parts, chosen.noise_scale)
    return loop.Trainer(model, feed, data.spec, chosen.seeds, augment)


class Progress:
    """A bar on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, steps: int | None):
        """`steps`: how many there are to be; None: not known."""
        self._bar = tqdm(total=steps, unit="step", disable=not sys.stderr.isatty())
        self._steps, self._next, self._compiled = steps, 0.0, False

    def say(self, line: str) -> None:
        """Prints a line."""
        if jax.process_index() == 0:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()

    def log(self, writer: metrics.MetricsWriter | None, step: int, values: dict[str, np.ndarray]) -> None:
        """Writes and prints the metrics of a step."""
        if writer is None:
            return
        writer.write(step, values)
        losses = {n.replace("_", " "): f"{np.mean(v):.4g}" for n, v in values.items() if n.endswith("loss")}
        rate = float(values["steps_per_second"])
        self._bar.update(step - self._bar.n)
        self._bar.set_postfix(losses)
        now = time.monotonic()
        if self._bar.disable and (now >= self._next or step == self._steps):
            self._next = now + 10
            shown = "  ".join([*(f"{name} {value}" for name, value in losses.items()), f"{rate:.3g} steps/s"])
            if self._steps is None or not self._compiled:  # the first rate counts compilation
                print(f"step {step}" + f"/{self._steps}" * bool(self._steps) + f"  {shown}", flush=True)
            else:
                left = (self._steps - step) / max(rate, 1e-9) / 60
                print(f"step {step}/{self._steps}  {shown}  {left:.1f} min left", flush=True)
        self._compiled = True


def banner(chosen: Experiment, data: Dataset, state_size: int, workdir: Path, whole: bool = False) -> str:
    """Three lines that describe the run; `whole`: each step takes the whole training set."""
    devices, spec = jax.devices(), data.spec
    rows = f"about {spec.rows:,}" if chosen.private else f"{len(data.train.y):,}"
    if data.table is None:
        what = f"{rows} examples of shape {spec.shape}, {spec.n_classes} classes"
    else:
        what = f"{rows} rows of {len(data.table.schema.fields)} columns, {spec.n_classes} classes"
    held = "" if chosen.private else f" ({len(data.holdout.y):,} held out, {len(data.test.y):,} test)"
    steps = f"{chosen.last_step:,} step{'s' * (chosen.last_step != 1)}"
    rare = chosen.rare_class and int((data.train.y == data.spec.classes.index(chosen.rare_class)).sum())
    return (
        f"{chosen.name} on {data.name}: {what}{held}"
        + (f"; {rare:,} of class {chosen.rare_class}, under-sampled" if chosen.rare_class else "")
        + (f"\n{steps}" if chosen.stop == "steps" else "\nsteps until the holdout gains no more,")
        + (" of " + ("all rows" if whole else f"batch {chosen.model.batch_size}"))
        + (f", {chosen.seeds} seeds at once" if chosen.seeds > 1 else "")
        + f", on {len(devices)} {devices[0].platform} device(s); {state_size:,} numbers in the state\n"
        f"workdir {workdir}; compiling (once, some seconds) ..."
    )


def check_memory(chosen: Experiment, data: Dataset, size: int) -> None:
    """Raises InputError if a state of `size` bytes does not fit into the memory of the first device."""
    stats = jax.local_devices()[0].memory_stats() or {}  # None on CPUs
    limit = stats.get("bytes_limit") or memory.limit()
    if size > limit:
        raise InputError(
            f"{chosen.name} on {data.name}: what it learns takes {memory.shown(size)}, and there are "
            f"{memory.shown(limit)}; a smaller model, or data of fewer values a row"
        )


def main(given: list[tuple[str, str]]) -> None:
    """Trains; see the module's docstring."""
    distributed.initialize()
    args = flags.FLAGS
    chosen = experiment(given)
    config.family(chosen.name)
    workdir = files.path(args.workdir) if args.workdir else default_workdir(chosen)
    if chosen.private:
        from synthjax.launch import publish

        if finished := publish.fit(chosen, said(given), workdir, args.minutes):
            publish.close(finished, [])
        return
    data = runs.data(chosen)
    if jax.process_index() == 0:
        for line in [data.table.description.report()] if data.table else data.notes:
            print(line, flush=True)
    run(fitted(chosen, said(given), data), data, workdir, args.minutes)
    model_selection.say_copying(workdir, data)
    if jax.process_index() == 0:
        print(following(workdir, judged=not chosen.all_rows), flush=True)


def run(
    chosen: Experiment, data: Dataset, workdir: Path, minutes: float = 0.0, session: "Session | None" = None
) -> int:
    """Trains in a run's folder, from its newest checkpoint if there is one; returns the steps done.

    `data` is what `runs.data` gives; after so many `minutes` (0: no limit) a checkpoint is written and training ends.
    `session`: of a private run.

    Raises:
      InputError: the folder belongs to another run, or the data cannot be fed to the model.
      NonFiniteError, Preempted, CheckpointError: as `loop.train`.
    """
    model = initial_weights.prepared(
        chosen, session.build(data.spec) if session else runs.build(chosen, data.spec), data
    )
    learner = trainer(chosen, model, data, session)
    if chosen.eval_every:
        model_selection.check(chosen, model, data)
    size = sum(a.size for a in jax.tree.leaves(runs.abstract_state(chosen, model)))
    check_memory(chosen, data, 4 * size)
    with runs.locked(workdir / ".lock", f"another process trains in {workdir}"):
        key = session.training_key() if session else jax.random.key(chosen.seed)
        return _run(chosen, data, workdir, minutes, learner, size, key)


def _run(
    chosen: Experiment, data: Dataset, workdir: Path, minutes: float, learner: loop.Trainer, size: int, key: jax.Array
) -> int:
    """`run` after its checks, with the folder locked; `size`: numbers in the state."""
    model = learner.model
    progress = Progress(chosen.last_step if chosen.stop == "steps" else None)
    checkpoints = Checkpoints(workdir / runs.KEPT["last"], chosen.keep, progress.say)
    kept = [checkpoints, *[Checkpoints(workdir / runs.KEPT["best"], say=progress.say)] * (chosen.eval_every > 0)]
    newest = [one.newest() for one in kept]  # collective: all processes call it
    saved = [one.record(step) for one, step in zip(kept, newest, strict=True) if step is not None]
    described = runs.begin(workdir, chosen, data, saved)
    progress.say(banner(chosen, data, size, workdir, model.feed == "dataset"))
    writer = metrics.MetricsWriter(workdir, newest[0] or 0) if jax.process_index() == 0 else None
    show = monitor.Monitor(workdir, chosen, model, data, writer, progress.say) if data.spec.kind == "image" else None
    log_every = 1 if model.feed == "dataset" else chosen.log_every  # a step takes all rows: few and slow ones
    every = log_every, chosen.checkpoint_every, chosen.sample_every, chosen.eval_every
    record = {"experiment": config.to_dict(chosen), "fingerprint": data.fingerprint, "files": described}
    best = judge = None
    if chosen.eval_every:
        judge = model_selection.HoldoutScore(chosen, model, data, writer, workdir)
        say = progress.say if chosen.stop == "steps" else lambda line: None
        kept_best = Checkpoints(workdir / runs.KEPT["best"], 1, progress.say)
        best = Best(kept_best, judge, record, say, judge.levelled)
    store = writer.flush if writer is not None else lambda: None
    hooks = loop.Hooks(functools.partial(progress.log, writer), show, best, store, progress.say)
    plan = loop.Plan(chosen.last_step, *every, chosen.stop == "holdout", minutes)
    with runs.precision(chosen):
        try:
            step, state = loop.train(learner, plan, key, checkpoints, record, hooks)
        except NonFiniteError as error:
            raise NonFiniteError(f"{error}{remedy(chosen)}") from None
    store()
    if show is not None:
        show(step, state)
    elif writer is not None:
        files.write(workdir / "loss.png", png.loss_curve(list(metrics.read(workdir))))
    if writer is not None:
        writer.close()
    if best is not None:
        best.close()
    why = "" if step == chosen.last_step else f" of {chosen.last_step}: the {minutes:g} minutes are over"
    if judge is not None and best is not None and chosen.stop == "holdout":
        why = f", since the {minutes:g} minutes are over" if not judge.levelled() else ", by the holdout"
        if best.step is not None:
            why += f": its best state is that of step {best.step} ({judge.shown(best.value)}), which is kept"
    pictures = ", samples/" * (show is not None)
    progress.say(f"finished at step {step}{why}; wrote {workdir}/checkpoints, metrics.jsonl, loss.png{pictures}")
    return step


def remedy(chosen: Experiment) -> str:
    """Advice for a diverged training: flags with a third of its learning rates."""
    rates = {name: getattr(chosen.model, name, None) for name in ("pretraining_rate", "learning_rate")}
    lower = " ".join(f"--config.model.{name}={rate / 3:.1g}" for name, rate in rates.items() if rate is not None)
    return f"; lower rates may help, in a new --workdir: {lower}" if lower else ""


def following(workdir: Path, judged: bool) -> str:
    """The line with the next command; `judged`: whether there are rows to judge the run by."""
    flag = f"--workdir={shlex.quote(str(workdir))}"
    command = f"eval {flag}   (or synthjax.launch.sample, same flag)" if judged else f"sample {flag}"
    return f"next: python -m synthjax.launch.{command}"


def launch(main: Callable[..., None], define: Callable[[], None], doc: str) -> NoReturn:
    """Runs a launcher whose command line may hold `--config.FIELD=VALUE`; `main` gets those beside the rest."""
    try:
        sys.argv, given = overrides(sys.argv)
    except InputError as error:
        sys.exit(f"error: {error}")
    define()
    cli.run(functools.partial(main, given=given), doc)


if __name__ == "__main__":
    launch(main, define_flags, __doc__)
