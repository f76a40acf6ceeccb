"""Draws a synthetic data set from a trained run.

  python -m synthjax.launch.sample --workdir=runs/ddpm-digits --per_class=1000 --out=synthetic.npz
  python -m synthjax.launch.sample --workdir=runs/ddpm-digits --n=5000 --out=pngs/ --sample.steps=25
  python -m synthjax.launch.sample --workdir=runs/ddpm-mnist --n=1000000 --out=big --format=parts
  python -m synthjax.launch.sample --workdir=runs/ddpm-mnist --top_up
  python -m synthjax.launch.sample --workdir=runs/table_wcgan-adult --rows=1000000 --out=synthetic.parquet
  python -m synthjax.launch.sample --workdir=runs/table_wcgan-adult --rows=500 --where='income=>50K' --where=sex=Female

--sample.NAME=VALUE sets an option of the model's sampler. The same checkpoint, seed, batch size and options draw the
same bytes. An interrupted job goes on when the same command is given again. A dataset card and Croissant metadata are
written with the set.
"""

import dataclasses
import functools
import hashlib
import importlib.metadata
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import jax
import numpy as np
from absl import app, flags
from tqdm import tqdm

import synthjax
from synthjax import files, sampling
from synthjax.data import writers
from synthjax.data.requests import Job, Request, describe_table
from synthjax.errors import InputError, NonFiniteError
from synthjax.jit import jit
from synthjax.launch import cli, config, distributed, rejection, runs
from synthjax.launch.counts import check_batch, top_up_line
from synthjax.launch.options import parse_options, typed_options
from synthjax.model import DataSpec, Model, State
from synthjax.train.checkpoint import Checkpoints

if TYPE_CHECKING:
    from synthjax.data.encoding import Encoder

Form = Literal["npz", "png", "parts", "csv", "parquet"]
FORMATS = get_args(Form)
_TRIES = 0x5A3B1F  # of the key of rows that are looked for by rejection, as `sampling.request_key` has one


def state_sha256(state: State) -> str:
    """Hex digest over the paths, types, shapes and bytes of a state's arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(sampling.local_copy(state)):
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def describe_run(
    workdir: Path, state: State, member: int, checkpoint: runs.Kept = "last"
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a request says of the model and of the data that it comes from.

    Returns:
      name, config, member, step and sha256 of the model; name and fingerprint of the data set.

    Raises:
      InputError: the workdir's records cannot be read.
    """
    experiment, data = runs.read(workdir)
    # What was passed over on the way to the newest good checkpoint, `synthjax.load` has said already.
    step = Checkpoints(workdir / runs.KEPT[checkpoint], say=lambda line: None).newest()
    config = dataclasses.asdict(experiment.model)
    model = {"name": experiment.name, "config": config, "member": member, "step": step, "sha256": state_sha256(state)}
    return model, {"name": data["dataset"], "fingerprint": data["fingerprint"]}


def make_request(
    model: Model,
    spec: DataSpec,
    counts: tuple[int, ...],
    *,
    described: dict[str, Any],
    dataset: dict[str, Any],
    form: Form = "npz",
    seed: int = 0,
    block: int = 500,
    part_rows: int = 10_000,
    options: Mapping[str, Any] | None = None,
    encoder: "Encoder | None" = None,
    where: Sequence[str] = (),
) -> Request:
    """The request for a set drawn from a trained run, on this machine.

    Args:
      model: to draw from.
      spec: of its training data.
      counts: as `synthjax.launch.counts.class_counts` gives them.
      described: of the model, and
      dataset: of its training data, as `describe_run` gives them.
      form: one of FORMATS.
      seed: of the samples.
      block: examples drawn at once.
      part_rows: examples in a part, rounded up to whole blocks.
      options: of the sampler.
      encoder: of a table; needed for csv and parquet.
      where: conditions on the rows of a table.
    """
    table = None if encoder is None or form not in writers.TABLES else describe_table(encoder)
    used = ("jax", "numpy") if table is None else ("jax", "numpy", "pandas", "pyarrow")
    software = {name: importlib.metadata.version(name) for name in used}
    return Request(
        spec=spec,
        counts=counts,
        labelled=model.conditional and 0 < spec.n_classes == len(counts),
        form=form,
        seed=seed,
        block=block,
        part_blocks=math.ceil(part_rows / block) if form == "parts" else 0,
        options=dict(options or {}),
        model=described,
        dataset=dataset,
        software={**software, "backend": jax.default_backend()},
        table=table,
        where=tuple(where),
    )


class Progress:
    """Tells how far the drawing is: a bar on a terminal, a line now and then elsewhere, both with the time left."""

    def __init__(self, total: int, interval: float = 10.0):
        """Progress towards `total` examples; plain lines at least `interval` seconds apart."""
        self._bar = tqdm(total=total, unit=" examples", unit_scale=True) if sys.stderr.isatty() else None
        self._total = total
        self._interval = interval
        self._done = 0
        self._drawn = 0
        self._start = self._said = time.monotonic()

    def __call__(self, rows: int, drawn: bool) -> None:
        """Counts `rows` more; `drawn` is False for rows that an earlier run had left."""
        self._done += rows
        if self._bar is not None:
            self._bar.update(rows)
            return
        self._drawn += rows if drawn else 0
        now = time.monotonic()
        if now - self._said < self._interval and self._done < self._total:
            return
        self._said = now
        rate = self._drawn / max(now - self._start, 1e-9)
        left = f", {rate:.3g} a second, {tqdm.format_interval((self._total - self._done) / rate)} left" if rate else ""
        print(f"{self._done:,} of {self._total:,} examples{left}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()


def fulfil(
    model: Model,
    state: State,
    request: Request,
    out: Path,
    *,
    overwrite: bool = False,
    stop: Callable[[], bool] = lambda: False,
    encoder: "Encoder | None" = None,
    wanted: rejection.Wanted | None = None,
) -> bool:
    """Draws what a request asks for into its files, in all processes of the run together.

    Args:
      model: to draw from.
      state: its state.
      request: what to draw.
      out: a folder for png and parts, a file otherwise.
      overwrite: replace another set that lies there.
      stop: asked after each block whether to end early.
      encoder: of a table that is written as csv or parquet, or of which something is wanted.
      wanted: what rows of a table have to meet.

    Returns:
      False if it was all there already.

    Raises:
      InputError: something else lies at `out`, a file cannot be written, or too few rows meet what is wanted.
      NonFiniteError: the model drew a NaN or an infinity.
      Preempted: `stop` said so; what is drawn is kept.
    """
    job = Job(request, out, encoder)
    if job.finished():
        return False
    with runs.locked(job.lock, f"another process writes {out}"):
        job.check(overwrite)
        _draw_job(job, _drawer(model, state, request, out, encoder, wanted, stop), overwrite, stop)
    return True


def _draw_job(
    job: Job, draw: Callable[[Sequence[int]], Iterator[np.ndarray]], overwrite: bool, stop: Callable[[], bool]
) -> None:
    """Draws a job's blocks in all processes together, and puts its files together in the first."""
    index, count = jax.process_index(), jax.process_count()
    runs.meet("checked")
    if index == 0:
        job.begin(overwrite)
    runs.meet("begun")
    progress = Progress(job.rows_of(index, count))
    report = progress if index == 0 else lambda rows, drawn: None
    job.run(draw, process=index, process_count=count, report=report, stop=stop)
    progress.close()
    if index == 0:
        job.finish()


def _drawer(
    model: Model,
    state: State,
    request: Request,
    out: Path,
    encoder: "Encoder | None",
    wanted: rejection.Wanted | None,
    stop: Callable[[], bool],
) -> Callable[[Sequence[int]], Iterator[np.ndarray]]:
    """What draws blocks of a request, as `Job.run` takes it; arguments as those of `fulfil`."""
    sampler = sampling.Sampler(model, state, request.block, request.blocks, **request.options)
    inverse = jit(encoder.inverse) if encoder else None

    def blocks(key: jax.Array, labels: Mapping[int, np.ndarray]) -> Iterator[np.ndarray]:
        for b, x in zip(labels, sampler(key, labels), strict=True):
            if not np.isfinite(x).all():
                raise NonFiniteError(f"{out}: the samples of block {b} are not all finite")
            yield x

    def units(x: np.ndarray) -> np.ndarray:
        assert inverse is not None
        padded = np.zeros((request.block, x.shape[1]), np.float32)  # one size of array, one compilation
        padded[: len(x)] = x
        return np.asarray(inverse(padded))[: len(x)]

    def draw(numbers: Sequence[int]) -> Iterator[np.ndarray]:
        for x in blocks(sampling.request_key(request.seed), {b: request.labels(b) for b in numbers}):
            yield units(x) if request.table else np.asarray(request.spec.decode(x))

    def attempt(t: int, numbers: Sequence[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        assert wanted is not None
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(request.seed), _TRIES), t)
        for x in blocks(key, dict.fromkeys(numbers, wanted.labels)):
            tested = units(x)
            yield tested, tested if request.table else x

    def search(numbers: Sequence[int]) -> Iterator[np.ndarray]:
        assert wanted is not None
        for start in range(0, len(numbers), sampler.together):
            group = numbers[start : start + sampler.together]
            yield from wanted.rows(attempt, {b: len(request.labels(b)) for b in group}, stop)

    return draw if wanted is None else search


def output_form(out: str, form: str | None) -> Form:
    """The format that `--out` and `--format` ask for.

    Raises:
      InputError: `out` does not tell and `form` is None, or it can be no such file or folder.
    """
    if not Path(out).name:
        raise InputError(f"--out={out}: has no name of its own; name a new file or folder")
    if out.endswith("/") and (form or Path(out).suffix.lower()[1:]) in ("npz", *writers.TABLES):
        raise InputError(f"--out={out}: ends in /, which is for a folder; leave it out to write one file")
    if form is not None:
        return cast(Form, form)
    if (suffix := Path(out).suffix.lower()) in (".npz", ".csv", ".parquet"):
        return cast(Form, suffix[1:])
    if out.endswith("/"):
        return "png"
    raise InputError(
        f"--out={out}: end it in .npz, .csv or .parquet for one file, in / for PNG files, or give --format"
    )


def default_out(workdir: Path, top_up: bool) -> str:
    """Where a set of a run goes: a table as it is read, anything else as arrays.

    A top-up is a file of its own: `eval` takes synthetic.* for the run's whole set, with examples of every class.
    """
    return str(workdir / f"{'top_up' if top_up else 'synthetic'}.{'csv' if has_encoder(workdir) else 'npz'}")


def has_encoder(workdir: Path) -> bool:
    """Whether a run is of a table that can be written as one."""
    return (workdir / "encoder.json").exists()


def block_size(spec: DataSpec) -> int:
    """Examples drawn at once unless told otherwise: 500 images; of rows as many as 128 MiB hold, at most 10,000."""
    return 500 if spec.kind == "image" else int(np.clip((1 << 25) // spec.dims, 500, 10_000))


def define_flags() -> None:
    """Defines the flags of this launcher."""
    flags.DEFINE_string("workdir", None, "Folder of the trained run; default: the newest one in runs/.")
    flags.DEFINE_string("out", None, "FILE.npz, FILE.csv, FILE.parquet, or FOLDER/ of PNGs; default: in workdir.")
    flags.DEFINE_enum("format", None, FORMATS, "npz, png, parts (a folder of npz files, for large sets), csv, parquet.")
    flags.DEFINE_integer("per_class", None, "Examples of each class.")
    flags.DEFINE_integer("n", None, "Examples in all, in the classes' proportions of the training set.")
    flags.DEFINE_alias("rows", "n")
    flags.DEFINE_multi_string("where", [], "COLUMN=VALUE that all rows of a table have to meet; may be repeated.")
    flags.DEFINE_list("classes", [], "Names of the classes to draw; default: all.")
    flags.DEFINE_bool("top_up", False, "Of each class, what it has less than the largest one in the training set.")
    flags.DEFINE_string("data_dir", None, "For --top_up: folder with the data's files, if not where training found it.")
    flags.DEFINE_integer("seed", 0, "Seed of the samples.", lower_bound=0)
    flags.DEFINE_integer(
        "batch_size",
        None,
        "Examples drawn at once; another size draws other examples (default: 500, of rows at most 10,000).",
        lower_bound=1,
    )
    flags.DEFINE_integer("part_rows", 10_000, "Examples in a part, rounded up to whole batches.", lower_bound=1)
    flags.DEFINE_integer("member", 0, "Member of a run with --seeds.", lower_bound=0)
    flags.DEFINE_enum("checkpoint", "last", list(runs.KEPT), "The last state, or the best of --eval_every.")
    flags.DEFINE_bool("overwrite", False, "Replace a set that lies at --out.")
    distributed.define_flags()


def main(argv: list[str], options: Mapping[str, str | None]) -> None:
    """Runs the launcher; `options` are the `--sample.NAME=VALUE` arguments that were taken out of `argv`."""
    given = flags.FLAGS
    if argv[1:]:
        raise app.UsageError(f"{argv[1]}: not a flag; --help shows them")
    config.check_seed(given.seed, "--seed")
    distributed.initialize()
    came: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    workdir = cli.workdir(given.workdir)
    out = given.out or default_out(workdir, given.top_up)
    form = output_form(out, given.format)
    model, state, spec = synthjax.load(workdir, given.member, given.checkpoint)
    encoder = runs.encoder(workdir) if given.where or spec.kind == "table" else None
    encoder = encoder if given.where or form in writers.TABLES else None
    size = given.batch_size or block_size(spec)
    check_batch(size, spec)
    labels = runs.trained_on(workdir, given.data_dir).train.y if given.top_up else None
    counts, wanted = rejection.plan(
        model,
        spec,
        encoder,
        given.where,
        size,
        n=given.n,
        per_class=given.per_class,
        classes=given.classes,
        top_up=labels,
    )
    if labels is not None and jax.process_index() == 0:
        print(top_up_line(spec, labels, counts), flush=True)
    if not any(counts):
        return
    typed = typed_options(model.sample, options)
    described, dataset = describe_run(workdir, state, given.member, given.checkpoint)
    request = make_request(
        model,
        spec,
        counts,
        described=described,
        dataset=dataset,
        form=form,
        seed=given.seed,
        block=size,
        part_rows=given.part_rows,
        options=typed,
        encoder=encoder,
        where=given.where,
    )
    with runs.precision(runs.read(workdir)[0]):
        drawn = fulfil(
            model,
            state,
            request,
            files.path(out),
            overwrite=given.overwrite,
            stop=lambda: bool(came),
            encoder=encoder,
            wanted=wanted,
        )
    if jax.process_index() == 0:
        print(f"{out}: {request.rows:,} examples" if drawn else f"{out}: finished already, nothing to do")


if __name__ == "__main__":
    sys.argv, _options = parse_options(sys.argv)
    define_flags()
    cli.run(functools.partial(main, options=_options), __doc__)
