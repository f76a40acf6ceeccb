"""Draws a synthetic data set from a trained run.

  python -m synthjax.launch.sample --workdir=runs/ddpm-digits --per_class=1000 --out=synthetic.npz
  python -m synthjax.launch.sample --workdir=runs/ddpm-digits --n=5000 --out=pngs/ --sample.steps=25
  python -m synthjax.launch.sample --workdir=runs/ddpm-mnist --n=1000000 --out=big --format=parts
  python -m synthjax.launch.sample --workdir=runs/ddpm-mnist --top_up
  python -m synthjax.launch.sample --workdir=runs/ddpm-mnist --given=incomplete.npz --out=completed.npz
  python -m synthjax.launch.sample --workdir=runs/table_wcgan-adult --rows=1000000 --out=synthetic.parquet
  python -m synthjax.launch.sample --workdir=runs/table_wcgan-adult --rows=500 --where='income=>50K' --where=sex=Female

--sample.NAME=VALUE sets an option of the model's sampler. The same checkpoint, seed, batch size and options give the
same bytes. The same command continues an interrupted job. A dataset card and Croissant metadata are written with the
set.
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
from absl import flags
from tqdm import tqdm

import synthjax
from synthjax import files, sampling
from synthjax.data import writers
from synthjax.data.requests import Job, Request, describe_table
from synthjax.errors import InputError, NonFiniteError
from synthjax.jit import jit
from synthjax.launch import cli, completion, config, distributed, rejection, runs
from synthjax.launch.class_counts import check_batch, top_up_line
from synthjax.launch.sampler_flags import parse_options, typed_options
from synthjax.model import DataSpec, Model, State
from synthjax.train.checkpoint import Checkpoints

if TYPE_CHECKING:
    from synthjax.data.encoding import Encoder

Form = Literal["npz", "png", "parts", "csv", "parquet"]
FORMATS = get_args(Form)
_ATTEMPTS = 0x5A3B1F  # folded into the key of rejection sampling, as `sampling.request_key` folds in another


def state_sha256(state: State) -> str:
    """Hexadecimal digest of the paths, dtypes, shapes and bytes of a state's arrays."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(sampling.local_copy(state)):
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def describe_run(
    workdir: Path, state: State, member: int, checkpoint: runs.Kept | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a request says of its model (name, config, member, step, sha256) and its data set (name, fingerprint).

    InputError if the workdir's records cannot be read.
    """
    experiment, data = runs.read(workdir)
    # `synthjax.load` has already reported the checkpoints that were skipped.
    step = Checkpoints(workdir / runs.KEPT[runs.delivered(workdir, checkpoint)], say=lambda line: None).newest()
    config = dataclasses.asdict(experiment.model)
    model = {"name": experiment.name, "config": config, "member": member, "step": step, "sha256": state_sha256(state)}
    if experiment.private and experiment.dp.test_seed is None:
        model["guarantee"] = {name: getattr(experiment.dp, name) for name in ("epsilon", "delta", "unit")}
    return model, {"name": data["dataset"], "fingerprint": data["fingerprint"]}


def make_request(
    model: Model,
    spec: DataSpec,
    counts: tuple[int, ...],
    *,
    described: dict[str, Any],
    dataset: dict[str, Any],
    encoder: "Encoder | None" = None,
    **fields: Any,
) -> Request:
    """The request for a set of `counts` (of `class_counts`) drawn from a trained run, on this machine.

    `described` and `dataset` are what `describe_run` returns; csv and parquet need the `encoder`. `fields` are those of
    the Request that differ from its defaults: form, seed, block, part_blocks, options, where.
    """
    table = None if encoder is None or fields.get("form") not in writers.TABLES else describe_table(encoder)
    used = ("jax", "numpy") if table is None else ("jax", "numpy", "pandas", "pyarrow")
    software = {name: importlib.metadata.version(name) for name in used} | {"backend": jax.default_backend()}
    labelled = model.conditional and 0 < spec.n_classes == len(counts)
    return Request(spec, counts, labelled, described, dataset, software, table=table, **fields)


class Progress:
    """Progress of sampling with the remaining time: a bar on a terminal, plain lines elsewhere."""

    def __init__(self, total: int, interval: float = 10.0):
        """Progress towards `total` examples; plain lines at least `interval` seconds apart."""
        self._bar = tqdm(total=total, unit=" examples", unit_scale=True) if sys.stderr.isatty() else None
        self._total = total
        self._interval = interval
        self._done = 0
        self._drawn = 0
        self._start = self._printed = time.monotonic()

    def __call__(self, rows: int, drawn: bool) -> None:
        """Adds `rows`; `drawn` is False for rows that an earlier run has drawn."""
        self._done += rows
        if self._bar is not None:
            self._bar.update(rows)
            return
        self._drawn += rows if drawn else 0
        now = time.monotonic()
        if now - self._printed < self._interval and self._done < self._total:
            return
        self._printed = now
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
    job: Job,
    *,
    overwrite: bool = False,
    wanted: rejection.Wanted | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Draws a request and writes its files; all processes of the run call it together. False if the set was complete.

    `overwrite` replaces another set in the same place; `wanted` are conditions on the rows of a table; `stop` is called
    after each block, and ends early where True.

    Raises:
      InputError: `job.out` is something else, a file cannot be written, or too few rows meet the conditions.
      NonFiniteError: the model drew a NaN or an infinity.
      Preempted: `stop` returned True; what is drawn is kept.
    """
    if job.finished():
        return False
    with runs.locked(job.lock, f"another process writes {job.out}"):
        job.check(overwrite)
        _draw_job(job, _drawer(model, state, job, wanted, stop), overwrite, stop)
    return True


def _draw_job(
    job: Job, draw: Callable[[Sequence[int]], Iterator[np.ndarray]], overwrite: bool, stop: Callable[[], bool]
) -> None:
    """Draws a job's blocks in all processes; the first one assembles the files."""
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
    model: Model, state: State, job: Job, wanted: rejection.Wanted | None, stop: Callable[[], bool]
) -> Callable[[Sequence[int]], Iterator[np.ndarray]]:
    """The function that draws blocks for `Job.run`; arguments as for `fulfil`."""
    request, encoder = job.request, job.encoder if wanted is None else wanted.encoder
    sampler: sampling.Sampler | completion.Completer
    if isinstance(request, completion.Completion):
        sampler = completion.Completer(model, state, request)
    else:
        sampler = sampling.Sampler(model, state, request.block, request.blocks, **request.options)
    inverse = jit(encoder.inverse) if encoder else None

    def blocks(key: jax.Array, labels: Mapping[int, np.ndarray]) -> Iterator[np.ndarray]:
        for b, x in zip(labels, sampler(key, labels), strict=True):
            if not np.isfinite(x).all():
                raise NonFiniteError(f"{job.out}: the samples of block {b} are not all finite")
            yield x

    def units(x: np.ndarray) -> np.ndarray:
        assert inverse is not None
        padded = np.zeros((request.block, x.shape[1]), np.float32)  # one size of array, one compilation
        padded[: len(x)] = x
        return np.asarray(inverse(padded))[: len(x)]

    def again(t: int) -> jax.Array:
        return jax.random.fold_in(jax.random.fold_in(jax.random.key(request.seed), _ATTEMPTS), t)

    def kept(b: int, x: np.ndarray) -> np.ndarray:
        def anew(t: int, places: np.ndarray) -> np.ndarray:
            (other,) = blocks(again(t), {b: request.labels(b)})
            return units(other)[places]

        assert encoder is not None
        rows = functools.partial(encoder.rows, seed=request.seed, start=b * request.block)  # as the file will have them
        return rejection.keeping_rules(encoder, units(x), rows, anew)

    def draw(numbers: Sequence[int]) -> Iterator[np.ndarray]:
        drawn = blocks(sampling.request_key(request.seed), {b: request.labels(b) for b in numbers})
        for b, x in zip(numbers, drawn, strict=True):
            yield kept(b, x) if request.table else np.asarray(request.spec.decode(x))

    def attempt(t: int, numbers: Sequence[int]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        assert wanted is not None
        for x in blocks(again(t), dict.fromkeys(numbers, wanted.labels)):
            tested = units(x)
            yield tested, tested if request.table else x

    def search(numbers: Sequence[int]) -> Iterator[np.ndarray]:
        assert wanted is not None
        for start in range(0, len(numbers), sampler.together):
            group = numbers[start : start + sampler.together]
            yield from wanted.rows(attempt, {b: len(request.labels(b)) for b in group}, stop)

    return draw if wanted is None else search


def output_form(out: str, form: str | None) -> Form:
    """The format by --out and --format; InputError if neither says, or `out` cannot be such a file or folder."""
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


def default_out(workdir: Path, name: str) -> str:
    """Default path of a run's set of that name: .csv for a table, .npz for images."""
    return str(workdir / f"{name}.{'csv' if (workdir / 'encoder.json').exists() else 'npz'}")


def block_size(spec: DataSpec) -> int:
    """Default number of examples drawn at once: 500 images; as many rows as fit into 128 MiB, at most 10,000."""
    return 500 if spec.kind == "image" else int(np.clip((1 << 25) // spec.dims, 500, 10_000))


def define_flags() -> None:
    """Defines the flags of this launcher."""
    flags.DEFINE_string("workdir", None, "Folder of the trained run; default: the newest one in runs/.")
    flags.DEFINE_string("out", None, "FILE.npz, FILE.csv, FILE.parquet, or FOLDER/ of PNGs; default: in workdir.")
    flags.DEFINE_enum("format", None, FORMATS, "npz, png, parts (a folder of npz files, for large sets), csv, parquet.")
    flags.DEFINE_integer("per_class", None, "Examples of each class.")
    flags.DEFINE_integer("n", None, "Examples in total, in the class proportions of the training set.")
    flags.DEFINE_alias("rows", "n")
    flags.DEFINE_multi_string("where", [], "Condition COLUMN=VALUE on the rows of a table; may be repeated.")
    flags.DEFINE_list("classes", [], "Names of the classes to draw; default: all.")
    flags.DEFINE_bool("top_up", False, "Fill each class up to the size of the largest one in the training set.")
    flags.DEFINE_string(
        "given", None, "FILE.npz with images x and known, True where a pixel of x is known: each image is completed."
    )
    flags.DEFINE_string("data_dir", None, "For --top_up: folder with the data's files, if not where training found it.")
    flags.DEFINE_integer("seed", 0, "Seed of the samples.", lower_bound=0)
    flags.DEFINE_integer(
        "batch_size",
        None,
        "Examples drawn at once; another size gives other samples (default: 500 images, up to 10,000 rows).",
        lower_bound=1,
    )
    flags.DEFINE_integer("part_rows", 10_000, "Examples in a part, rounded up to whole batches.", lower_bound=1)
    flags.DEFINE_integer("member", 0, "Member of a run with --seeds.", lower_bound=0)
    flags.DEFINE_enum("checkpoint", None, list(runs.KEPT), runs.CHECKPOINT)
    flags.DEFINE_bool("overwrite", False, "Replace an existing set at --out.")
    distributed.define_flags()


def _check_alone() -> None:
    """Raises InputError if --given, which says what is drawn, stands beside another flag that does."""
    given = flags.FLAGS
    for name in ("n", "per_class", "classes", "top_up", "where"):
        if given.given and given[name].value:
            raise InputError(f"--given={given.given}: each of its images is completed once; leave out --{name}")


def _plan(
    workdir: Path, model: Model, spec: DataSpec, encoder: "Encoder | None", size: int
) -> tuple[tuple[int, ...], rejection.Wanted | None]:
    """What the flags ask for, as `rejection.plan` returns it; says what a top-up does."""
    given = flags.FLAGS
    labels = runs.trained_on(workdir, given.data_dir).train.y if given.top_up else None
    choice = {"n": given.n, "per_class": given.per_class, "classes": given.classes, "top_up": labels}
    counts, wanted = rejection.plan(model, spec, encoder, given.where, size, **choice)
    if labels is not None and jax.process_index() == 0:
        print(top_up_line(spec, labels, counts), flush=True)
    return counts, wanted


def main(options: Mapping[str, str | None]) -> None:
    """Runs the launcher; `options`: the `--sample.NAME=VALUE` arguments."""
    given = flags.FLAGS
    config.check_seed(given.seed, "--seed")
    _check_alone()
    distributed.initialize()
    signals: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: signals.append(number))
    workdir = cli.workdir(given.workdir)
    # Other names, since `eval` takes synthetic.* for a whole set with examples of every class.
    out = given.out or default_out(workdir, "top_up" if given.top_up else "completed" if given.given else "synthetic")
    form = output_form(out, given.format)
    model, state, spec = synthjax.load(workdir, given.member, given.checkpoint)
    encoder = runs.encoder(workdir) if given.where or spec.kind == "table" else None
    encoder = encoder if given.where or form in writers.TABLES else None
    size = given.batch_size or block_size(spec)
    check_batch(size, spec)
    incomplete, wanted = None, None
    if given.given:
        incomplete = completion.read(files.path(given.given), model, spec)
        counts, size = completion.counts(incomplete, model, spec), min(size, len(incomplete.x))
    else:
        counts, wanted = _plan(workdir, model, spec, encoder, size)
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
        encoder=encoder,
        form=form,
        seed=given.seed,
        block=size,
        part_blocks=math.ceil(given.part_rows / size) if form == "parts" else 0,
        options=typed,
        where=tuple(given.where),
    )
    request = request if incomplete is None else completion.of(request, incomplete)
    job = Job(request, files.path(out), encoder)
    with runs.precision(runs.read(workdir)[0]):
        drawn = fulfil(model, state, job, overwrite=given.overwrite, wanted=wanted, stop=lambda: bool(signals))
    if jax.process_index() == 0:
        print(f"{out}: {request.rows:,} examples" if drawn else f"{out}: finished already, nothing to do")
        if (copying := files.read_json(workdir / runs.COPYING)) and copying["warning"]:
            print(copying["said"])


if __name__ == "__main__":
    sys.argv, _options = parse_options(sys.argv)
    define_flags()
    cli.run(functools.partial(main, options=_options), __doc__)
