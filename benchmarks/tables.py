"""Tables against torch and the `ctgan` package on Adult: encoding, a step of `table_wcgan`, sampling, time to quality.

    encode    seconds to read, measure and encode all rows
    step      `table_wcgan` beside the same game in eager torch, in float32 and in bfloat16 (the launchers' --precision)
    sample    rows a second of `table_wcgan`: as encoded, and as a data frame
    quality   seconds to fit, and what the rows drawn are worth: AUC of gradient boosting trained on them and tested on
              real rows, and C2ST (see `synthjax.evals.tabular`); `mixture`, `table_wcgan` and ctgan in turn, in one run

All times are CPU seconds of the process beside those of the clock: where others use the machine the clock says little.
Both sides compute on one thread for that (PJRT_NPROC=1). The networks are the same in torch, tested; torch's rows are
laid out before it starts.

    PJRT_NPROC=1 python -m benchmarks.tables --data_dir=DIR --parts=encode,step,sample
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.train_step import EAGER, OURS, Contender, Ours, Spread, interleave, table, threads
from synthjax import data
from synthjax.data.feed import Feed
from synthjax.evals import frames, judges, tabular
from synthjax.launch.config import experiment, family
from synthjax.launch.sample import block_size
from synthjax.sampling import draw
from synthjax.train.loop import STEPS_PER_CALL

MODEL = "table_wcgan"
ROUNDS = 7
SECONDS = 2.0
"""Length of one turn, of the process."""
ROWS = 200_000
"""Drawn to time sampling."""
MISSING = "?"
"""What ctgan, which knows no missing categories, sees in their place."""
PRECISIONS = ("float32", "bfloat16")


class Seconds(NamedTuple):
    """Of this process on all its threads, and of the clock."""

    cpu: float
    wall: float

    def text(self) -> str:
        """Both, for a table."""
        return f"{self.cpu:.2f} s of CPU ({self.wall:.2f} s by the clock)"


def timed(work: Callable[[], Any]) -> tuple[Any, Seconds]:
    """What `work` returns, and how long it took."""
    cpu, wall = time.process_time(), time.perf_counter()
    done = work()
    return done, Seconds(time.process_time() - cpu, time.perf_counter() - wall)


def loaded(name: str, data_dir: str | None) -> data.Dataset:
    """Adult as a model of that name sees it."""
    config = experiment(None, name, "adult").model
    return data.load("adult", data_dir, encoding=getattr(config, "encoding", "quantile"))


def encode(data_dir: str | None) -> None:
    """Twice, since what the first one imports and compiles comes on top."""
    for place in ("first time", "again"):
        dataset, seconds = timed(lambda: loaded(MODEL, data_dir))
        rows = sum(len(split.x) for split in (dataset.train, dataset.holdout, dataset.test))
        print(f"encode: Adult, {rows:,} rows to {dataset.spec.dims} values, {place}: {seconds.text()}", flush=True)


def prepared(name: str, dataset: data.Dataset, **fields: Any) -> tuple[Ours, Any, Feed]:
    """A model ready to train on Adult, its Config with `fields` changed, and its feed."""
    config = dataclasses.replace(experiment(None, name, "adult").model, **fields)
    minibatches = family(name).build(config, dataset.spec).minibatches
    feed = Feed(dataset.train.x, dataset.train.y, config.batch_size, minibatches=minibatches)
    return Ours(name, config, dataset.spec, feed), config, feed


def step(data_dir: str | None, rounds: int, batch_size: int) -> None:
    """Steps behind the critic's warm-up, timed in turns; ratios are taken round by round."""
    dataset = loaded(MODEL, data_dir)
    ours, config, feed = prepared(MODEL, dataset, batch_size=batch_size)
    start = config.rules.critic_warmup
    contenders = {}
    for precision in PRECISIONS:
        one = prepared(MODEL, dataset, batch_size=batch_size)[0]
        name = OURS if precision == PRECISIONS[0] else precision
        contenders[name] = Contender(_at(precision, one.run), start, time.process_time)
    try:
        import torch

        from benchmarks import torch_tables
    except ModuleNotFoundError as error:
        print(f"  {error.name} is not installed: ours alone; for the comparison: pip install -e '.[bench]'")
    else:
        torch.set_num_threads(threads())
        theirs = torch_tables.Trainer(config, dataset.spec, feed)
        if (count := sum(p.numel() for p in theirs.net.parameters())) != ours.size():
            raise AssertionError(f"the networks differ: {ours.size()} parameters here, {count} in torch")
        contenders[EAGER] = Contender(theirs.run, start, time.process_time)
    for contender in contenders.values():
        contender.warm_up(SECONDS)
    seconds = interleave(contenders, rounds)
    print(f"step: {MODEL}, {ours.size():,} parameters, batch {batch_size}, {threads()} threads, CPU time")
    print("\n".join(table(seconds, batch_size * config.rules.n_critic)))
    for name in (OURS, "bfloat16") if EAGER in seconds else ():
        ratios = [its / own for its, own in zip(seconds[EAGER], seconds[name], strict=True)]
        print(f"  {name}: {Spread.of(ratios).text(1)} times as fast as torch, eager", flush=True)


def _at(precision: str, run: Callable[[int, int], None]) -> Callable[[int, int], None]:
    def steps(start: int, stop: int) -> None:
        with jax.default_matmul_precision(precision):
            run(start, stop)

    return steps


def sample(data_dir: str | None) -> None:
    """As `launch.sample` draws, block by block; compiled before."""
    dataset = loaded(MODEL, data_dir)
    ours = prepared(MODEL, dataset)[0]
    drawn(ours, dataset, block_size(dataset.spec))
    x, encoded = timed(lambda: drawn(ours, dataset, ROWS))
    assert dataset.encoder is not None
    decode = dataset.encoder.decode
    decode(x[:1000])
    _, decoded = timed(lambda: decode(x))
    for name, cpu, wall in (("encoded", *encoded), ("as a data frame", *map(sum, zip(encoded, decoded, strict=True)))):
        print(f"sample: {ROWS:,} rows, {name}: {ROWS / cpu:,.0f} a second of CPU, {ROWS / wall:,.0f} by the clock")


def drawn(ours: Ours, dataset: data.Dataset, rows: int) -> np.ndarray:
    """That many rows with labels as frequent as in training, encoded."""
    labels = np.resize(dataset.train.y, rows)
    blocks = draw(ours.model, ours.state, jax.random.key(2), labels, block=block_size(dataset.spec))
    return np.concatenate(list(blocks))


def fit(name: str, dataset: data.Dataset, **fields: Any) -> Any:
    """A table drawn from a model of ours trained by its own Config, compilation included: a typed data frame."""
    ours, config, _ = prepared(name, dataset, **fields)
    for start in range(0, config.steps, STEPS_PER_CALL):
        ours.run(start, min(start + STEPS_PER_CALL, config.steps))
    assert dataset.encoder is not None
    return dataset.encoder.decode(drawn(ours, dataset, len(dataset.train.y)))


def fit_ctgan(dataset: data.Dataset, epochs: int) -> Any:
    """A table drawn from the `ctgan` package's model of the same rows."""
    import ctgan

    frame = dataset.frame("train")
    discrete = [name for name in frame if frame[name].dtype.kind not in "iuf"]
    for name in discrete:
        frame[name] = frame[name].astype(object).where(frame[name].notna(), MISSING)
    model = ctgan.CTGAN(epochs=epochs, enable_gpu=False)
    model.fit(frame, discrete)
    made = model.sample(len(frame))
    for name in discrete:
        made[name] = made[name].where(made[name] != MISSING)
    return made.astype({name: frame[name].dtype for name in frame if name not in discrete})


def worth(dataset: data.Dataset, made: Any, seed: int = 0) -> tuple[float, float]:
    """(AUC of gradient boosting on real test rows, C2ST against the training rows) of a table."""
    assert dataset.table is not None
    schema = dataset.table.schema
    kinds = {field.name: field.kind for field in schema.fields}
    tables = frames.read(
        {"made": made, "train": dataset.frame("train"), "test": dataset.frame("test")}, kinds, schema.target
    )
    from sklearn.metrics import roc_auc_score

    answer = judges.train_judge(judges.ALL_ROWS, tables["made"], seed)
    auc = roc_auc_score(tables["test"].answers(), answer(tables["test"])[:, 1])
    return float(auc), float(tabular.c2st(tables["train"], tables["made"], seed=seed)["score"])


def quality(data_dir: str | None, epochs: int, steps: int) -> None:
    """One line each; how often faster is against ctgan's CPU time for as many epochs as asked for."""
    dataset, rest = loaded("mixture", data_dir), loaded(MODEL, data_dir)
    fits: dict[str, tuple[data.Dataset, Callable[[], Any]]] = {
        "mixture": (dataset, lambda: fit("mixture", dataset)),
        MODEL: (rest, lambda: _low(lambda: fit(MODEL, rest, steps=steps))),
        f"ctgan, {epochs} epochs": (rest, lambda: fit_ctgan(rest, epochs)),
    }
    for name, (of, work) in fits.items():
        try:
            made, seconds = timed(work)
        except ModuleNotFoundError as error:
            print(f"quality: {error.name} is not installed; for the comparison: pip install ctgan==0.12.1")
            continue
        auc, told_apart = worth(of, made)
        print(f"quality: {name}: {seconds.text()} to fit and draw; AUC {auc:.3f}, C2ST {told_apart:.3f}", flush=True)


def _low(work: Callable[[], Any]) -> Any:
    with jax.default_matmul_precision("bfloat16"):
        return work()


def main(argv: Sequence[str]) -> None:
    """Parses the flags and measures what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="folder that holds adult/, as the launchers' (default: $SYNTHJAX_DATA_DIR)")
    parser.add_argument("--parts", default="encode,step,sample,quality", help="which, comma-separated")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each contender")
    parser.add_argument("--batch_size", type=int, default=128, help="of the steps that are timed")
    parser.add_argument("--epochs", type=int, default=100, help="of ctgan")
    parser.add_argument("--steps", type=int, default=5_100, help="of table_wcgan, in bfloat16, for its quality")
    asked = parser.parse_args(argv)
    parts: dict[str, Callable[[], None]] = {
        "encode": lambda: encode(asked.data_dir),
        "step": lambda: step(asked.data_dir, asked.rounds, asked.batch_size),
        "sample": lambda: sample(asked.data_dir),
        "quality": lambda: quality(asked.data_dir, asked.epochs, asked.steps),
    }
    for name in asked.parts.split(","):
        parts[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
