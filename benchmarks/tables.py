"""Tables against torch and the `ctgan` package on Adult: encoding, a step of `table_wcgan`, sampling, time to quality.

    encode    seconds to read, measure and encode all rows
    step      `table_wcgan` beside the same game in eager torch, in float32 and in bfloat16 (the launchers' --precision)
    sample    rows a second of `table_wcgan`: as encoded, and as a data frame
    quality   seconds to fit, compilation and drawing as many rows included, and what these are worth: AUC of gradient
              boosting trained on them and tested on real rows that no model saw, and C2ST against the same rows
              (`synthjax.evals.fidelity`); `mixture`, `table_wcgan` and ctgan in turn, another seed each round, and the
              rows that they were fitted to, as a ceiling. `SOON` says how; table_wcgan computes in bfloat16

All times are CPU seconds of the process and its children beside those of the clock: where others use the machine the
clock says little. Both sides compute on one thread for that (PJRT_NPROC=1, OMP_NUM_THREADS=1). The networks are the
same in torch, tested; torch's rows are laid out before it starts.

    PJRT_NPROC=1 python -m benchmarks.tables --data_dir=DIR --parts=encode,step,sample
    PJRT_NPROC=1 OMP_NUM_THREADS=1 python -m benchmarks.tables --data_dir=DIR --parts=quality --quality_rounds=2
"""

import argparse
import contextlib
import dataclasses
import functools
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.train_step import EAGER, OURS, Contender, Ours, Spread, interleave, table, threads
from synthjax import data
from synthjax.data.feed import Feed
from synthjax.evals.domains.tables import useful
from synthjax.evals.fidelity import tables as fidelity
from synthjax.evals.table import from_frames
from synthjax.jit import jit
from synthjax.launch.config import experiment, family
from synthjax.launch.sample import block_size
from synthjax.nets import precision as policies
from synthjax.sampling import draw

MODEL = "table_wcgan"
ROUNDS = 7
SECONDS = 2.0
"""Length of one turn, of the process."""
ROWS = 200_000
"""Drawn to time sampling."""
MISSING = "?"
"""What ctgan, which knows no missing categories, sees in their place."""
PRECISIONS = ("float32", "bfloat16")
SOON: dict[str, dict[str, Any]] = {
    "mixture": {"components": 32, "members": 1, "steps": 15},
    MODEL: {"learning_rate": 5e-4, "steps": 3_000},
}
"""How the Configs of models depart from their presets where quality is to come soon."""


class Seconds(NamedTuple):
    """Of this process on all its threads and of its children, and of the clock."""

    cpu: float
    wall: float

    def text(self) -> str:
        """Both, for a table."""
        return f"{self.cpu:.2f} s of CPU ({self.wall:.2f} s by the clock)"


def cpu_seconds() -> float:
    """Of this process so far, and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def timed(work: Callable[[], Any]) -> tuple[Any, Seconds]:
    """What `work` returns, and how long it took; children count if `work` waits for their end."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    done = work()
    return done, Seconds(cpu_seconds() - cpu, time.perf_counter() - wall)


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


def prepared(name: str, dataset: data.Dataset, seed: int = 0, **fields: Any) -> tuple[Ours, Any, Feed]:
    """A model ready to train on Adult, its Config with `fields` changed, and its feed."""
    config = dataclasses.replace(experiment(None, name, "adult").model, **fields)
    model = family(name).build(config, dataset.spec)
    feed = Feed.of(model, dataset.train.x, dataset.train.y, config.batch_size, seed)
    return Ours(name, config, dataset.spec, feed, seed), config, feed


def step(data_dir: str | None, rounds: int, batch_size: int) -> None:
    """Steps behind the critic's warm-up, timed in turns; ratios are taken round by round."""
    dataset = loaded(MODEL, data_dir)
    ours, config, feed = prepared(MODEL, dataset, batch_size=batch_size)
    start = config.rules.critic_warmup
    contenders = {}
    for precision in PRECISIONS:
        with at(precision):
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


@contextlib.contextmanager
def at(precision: str) -> Iterator[None]:
    """A context in which networks are built and products compiled in this precision, as `launch.runs.precision`."""
    with policies.use(precision), jax.default_matmul_precision(precision):
        yield


def _at(precision: str, run: Callable[[int, int], None]) -> Callable[[int, int], None]:
    def steps(start: int, stop: int) -> None:
        with at(precision):
            run(start, stop)

    return steps


def sample(data_dir: str | None, rounds: int) -> None:
    """As `launch.sample` draws, block by block; compiled before. `ROWS` is a number of whole blocks."""
    dataset = loaded(MODEL, data_dir)
    encoder, size = dataset.encoder, block_size(dataset.spec)
    assert encoder is not None
    inverse = jit(encoder.inverse)

    def decode(x: np.ndarray) -> None:
        for start in range(0, len(x), size):
            encoder.rows(np.asarray(inverse(x[start : start + size])))

    for precision in PRECISIONS:
        with at(precision):
            ours = prepared(MODEL, dataset)[0]
            decode(drawn(ours, dataset, size))
            turns = []
            for _ in range(rounds):
                x, encoded = timed(lambda ours=ours: drawn(ours, dataset, ROWS))
                turns.append((encoded, timed(lambda x=x: decode(x))[1]))
        for name, parts in (("encoded", 1), ("as data frames", 2)):
            cpu, wall = (Spread.of([ROWS / sum(part[i] for part in turn[:parts]) for turn in turns]) for i in range(2))
            told = (
                f"{cpu.median:,.0f} ({cpu.low:,.0f}..{cpu.high:,.0f}) a second of CPU, {wall.median:,.0f} by the clock"
            )
            print(f"sample: {ROWS:,} rows, {precision}, {name}: {told}", flush=True)


def drawn(ours: Ours, dataset: data.Dataset, rows: int) -> np.ndarray:
    """That many rows with labels as frequent as in training, encoded."""
    labels = np.resize(dataset.train.y, rows)
    blocks = draw(ours.model, ours.state, jax.random.key(2), labels, block=block_size(dataset.spec))
    return np.concatenate(list(blocks))


def fit(name: str, dataset: data.Dataset, seed: int, **fields: Any) -> Any:
    """A table drawn from a model of ours trained by its own Config, compilation included: a typed data frame."""
    ours, config, _ = prepared(name, dataset, seed, **fields)
    ours.run(0, config.steps)
    assert dataset.encoder is not None
    return dataset.encoder.decode(drawn(ours, dataset, len(dataset.train.y)))


def fit_ctgan(dataset: data.Dataset, epochs: int, seed: int) -> Any:
    """A table drawn from the `ctgan` package's model of the same rows; its worker processes have ended."""
    import ctgan
    from joblib.externals.loky import get_reusable_executor

    frame = dataset.frame("train")
    discrete = [name for name in frame if frame[name].dtype.kind not in "iuf"]
    for name in discrete:
        frame[name] = frame[name].astype(object).where(frame[name].notna(), MISSING)
    model = ctgan.CTGAN(epochs=epochs, enable_gpu=False)
    model.set_random_state(seed)
    model.fit(frame, discrete)
    made = model.sample(len(frame))
    get_reusable_executor().shutdown(wait=True)
    for name in discrete:
        made[name] = made[name].where(made[name] != MISSING)
    return made.astype({name: frame[name].dtype for name in frame if name not in discrete})


def worth(dataset: data.Dataset, made: Any, split: str, seed: int = 0) -> tuple[float, float]:
    """(AUC of gradient boosting that a table taught, C2ST of it), both on the real rows of a split."""
    assert dataset.table is not None
    schema = dataset.table.schema
    kinds = {field.name: field.kind for field in schema.fields}
    tables = from_frames({"made": made, "real": dataset.frame(split)}, kinds, schema.target)
    auc = useful(tables["made"].with_target(), tables["real"].with_target(), seed)
    return auc, float(fidelity.c2st(tables["real"], tables["made"], seed=seed)["score"])


def quality(data_dir: str | None, rounds: int, epochs: int, split: str) -> None:
    """One line a fit, then how often faster ours are than ctgan with as many epochs as asked for, round by round."""
    jax.config.update("jax_enable_compilation_cache", False)
    of_mixture, rest = loaded("mixture", data_dir), loaded(MODEL, data_dir)
    theirs = f"ctgan, {epochs} epochs"
    fits: dict[str, Callable[[int], Any]] = {
        "mixture": lambda seed: fit("mixture", of_mixture, seed, **SOON["mixture"]),
        MODEL: lambda seed: _low(lambda: fit(MODEL, rest, seed, **SOON[MODEL])),
    }
    print(f"quality: real rows, on {split} rows: {_worth_text(worth(rest, rest.frame('train'), split))}", flush=True)
    try:
        import ctgan  # noqa: F401
    except ModuleNotFoundError as error:
        print(f"quality: {error.name} is not installed: ours alone; for the comparison: pip install ctgan==0.12.1")
    else:
        fits[theirs] = lambda seed: fit_ctgan(rest, epochs, seed)
    spent: dict[str, list[Seconds]] = {name: [] for name in fits}
    for seed in range(rounds):
        for name, work in fits.items():
            made, seconds = timed(functools.partial(work, seed))
            spent[name].append(seconds)
            print(
                f"quality: {name}, seed {seed}: {seconds.text()}; {_worth_text(worth(rest, made, split))}", flush=True
            )
    for name in [name for name in fits if theirs in fits and name != theirs]:
        pairs = list(zip(spent[theirs], spent[name], strict=True))
        cpu, wall = (Spread.of([its[i] / own[i] for its, own in pairs]).text(1) for i in range(2))
        print(f"quality: {name}: {cpu} times as fast as ctgan in CPU time, {wall} by the clock")


def _worth_text(found: tuple[float, float]) -> str:
    return f"AUC {found[0]:.3f}, C2ST {found[1]:.3f}"


def _low(work: Callable[[], Any]) -> Any:
    with at("bfloat16"):
        return work()


def main(argv: Sequence[str]) -> None:
    """Parses the flags and measures what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", help="folder that holds adult/, as the launchers' (default: $SYNTHJAX_DATA_DIR)")
    parser.add_argument("--parts", default="encode,step,sample,quality", help="which, comma-separated")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of each contender")
    parser.add_argument("--batch_size", type=int, default=128, help="of the steps that are timed")
    parser.add_argument("--epochs", type=int, default=100, help="of ctgan")
    parser.add_argument("--quality_rounds", type=int, default=1, help="fits of each model, with seeds 0, 1 ...")
    parser.add_argument(
        "--split", default="holdout", choices=("holdout", "test"), help="rows that quality is judged on"
    )
    asked = parser.parse_args(argv)
    parts: dict[str, Callable[[], None]] = {
        "encode": lambda: encode(asked.data_dir),
        "step": lambda: step(asked.data_dir, asked.rounds, asked.batch_size),
        "sample": lambda: sample(asked.data_dir, asked.rounds),
        "quality": lambda: quality(asked.data_dir, asked.quality_rounds, asked.epochs, asked.split),
    }
    for name in asked.parts.split(","):
        parts[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
