"""Draws a synthetic data set from a trained run.

  python -m synthjax.launch.sample --workdir=runs/ddpm-digits --per_class=1000 --out=synthetic.npz
  python -m synthjax.launch.sample --workdir=runs/ddpm-digits --n=5000 --out=pngs/ --sample.steps=25
  python -m synthjax.launch.sample --workdir=runs/ddpm-mnist --n=1000000 --out=big --format=parts
  python -m synthjax.launch.sample --workdir=runs/ddpm-mnist --top_up

--sample.NAME=VALUE sets an option of the model's sampler. The same checkpoint, seed, batch size and options draw the
same bytes. An interrupted job goes on when the same command is given again. A dataset card and Croissant metadata are
written with the set.
"""

import dataclasses
import functools
import hashlib
import importlib.metadata
import inspect
import math
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args

import jax
import numpy as np
from absl import app, flags
from jax.experimental import multihost_utils
from tqdm import tqdm

import synthjax
from synthjax import sampling
from synthjax.data.requests import Job, Request
from synthjax.errors import InputError, NonFiniteError
from synthjax.launch import cli, distributed, runs
from synthjax.launch.counts import class_counts, top_up_line
from synthjax.model import DataSpec, Model, State
from synthjax.train.checkpoint import Checkpoints

OPTION = "--sample."
Form = Literal["npz", "png", "parts"]
FORMATS = get_args(Form)
# Sampling keys are folded with this first, so that a run and its samples share no key when they share a seed.
_STREAM = 0x5A3B1E


def parse_options(argv: Sequence[str]) -> tuple[list[str], dict[str, str | None]]:
    """Takes the `--sample.NAME=VALUE` arguments out of a command line.

    Returns:
      The other arguments, and NAME -> VALUE, None where an argument has no value.
    """
    options: dict[str, str | None] = {}
    for argument in (a for a in argv if a.startswith(OPTION)):
        name, equals, value = argument.removeprefix(OPTION).partition("=")
        options[name] = value if equals else None
    return [a for a in argv if not a.startswith(OPTION)], options


def typed_options(sample: Callable[..., Any], options: Mapping[str, str | None]) -> dict[str, Any]:
    """Options from the command line as the keyword arguments of a model's `sample`.

    Args:
      sample: whose signature names the options, after (key, state, labels), with their defaults.
      options: NAME -> VALUE as text, or None where it was left out.

    Returns:
      NAME -> value of the default's type, or of a type in the annotation where the default is None. Values that equal
      the default are left out, so that they make no other request.

    Raises:
      InputError: an option that the sampler does not have, or a value that is missing or of another type.
    """
    offered = list(inspect.signature(sample).parameters.values())[3:]
    known = {option.name: (option.default, kinds) for option in offered if (kinds := _kinds(option))}
    typed = {}
    for name, text in options.items():
        if name not in known:
            raise InputError(f"{OPTION}{name}: no such option of this sampler; it has {', '.join(known) or 'none'}")
        if text is None:
            raise InputError(f"{OPTION}{name}: write {OPTION}{name}=VALUE")
        default, kinds = known[name]
        values = [value for kind in kinds if (value := _as_kind(kind, text)) is not None]
        if not values:
            raise InputError(f"{OPTION}{name}={text}: must be {' or '.join(kind.__name__ for kind in kinds)}")
        if values[0] != default:
            typed[name] = values[0]
    return typed


def _kinds(option: inspect.Parameter) -> list[type]:
    """The types that a command line can give an option; none for one that takes arrays."""
    wanted = {type(option.default)} if option.default is not None else {option.annotation, *get_args(option.annotation)}
    return [kind for kind in (int, float, bool, str) if kind in wanted]


def _as_kind(kind: type, text: str) -> Any:
    """`text` read as an int, float, bool or str, or None if it is none."""
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower())
    try:
        return kind(text)
    except ValueError:
        return None


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


def describe_run(workdir: Path, state: State, member: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a request says of the model and of the data that it comes from.

    Returns:
      name, config, member, step and sha256 of the model; name and fingerprint of the data set.

    Raises:
      InputError: the workdir's records cannot be read.
    """
    experiment, data = runs.read(workdir)
    # What was passed over on the way to the newest good checkpoint, `synthjax.load` has said already.
    step = Checkpoints(workdir / "checkpoints", say=lambda line: None).newest()
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
) -> Request:
    """The request for a set drawn from a trained run, on this machine.

    Args:
      model: to draw from.
      spec: of its training data.
      counts: as `synthjax.launch.counts.class_counts` gives them.
      described: of the model, and
      dataset: of its training data, as `describe_run` gives them.
      form: npz, png or parts.
      seed: of the samples.
      block: examples drawn at once.
      part_rows: examples in a part, rounded up to whole blocks.
      options: of the sampler.
    """
    software = {name: importlib.metadata.version(name) for name in ("jax", "numpy")}
    return Request(
        spec=spec,
        counts=counts,
        labelled=model.conditional and spec.n_classes > 0,
        form=form,
        seed=seed,
        block=block,
        part_blocks=math.ceil(part_rows / block) if form == "parts" else 0,
        options=dict(options or {}),
        model=described,
        dataset=dataset,
        software={**software, "backend": jax.default_backend()},
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
) -> bool:
    """Draws what a request asks for into its files, in all processes of the run together.

    Args:
      model: to draw from.
      state: its state.
      request: what to draw.
      out: a file for npz, a folder otherwise.
      overwrite: replace another set that lies there.
      stop: asked after each block whether to end early.

    Returns:
      False if it was all there already.

    Raises:
      InputError: something else lies at `out`, or a file cannot be written.
      NonFiniteError: the model drew a NaN or an infinity.
      Preempted: `stop` said so; what is drawn is kept.
    """
    index, count = jax.process_index(), jax.process_count()
    job = Job(request, out)
    if count > 1 and request.form != "parts":
        raise InputError(f"--format={request.form} is written by one process; several write --format=parts")
    if job.finished():
        return False
    job.check(overwrite)
    _meet("checked")
    if index == 0:
        job.begin(overwrite)
    _meet("begun")
    state = sampling.local_copy(state)
    key = jax.random.fold_in(jax.random.key(request.seed), _STREAM)

    def draw(b: int) -> np.ndarray:
        labels = request.labels(b)
        x = sampling.draw_block(model, state, key, b, labels, block=request.block, **request.options)
        if not np.isfinite(x).all():
            raise NonFiniteError(f"{out}: the samples of block {b} are not all finite")
        return np.asarray(request.spec.decode(x))

    progress = Progress(sum(request.rows_of(part) for part in range(index, request.parts, count)))
    report = progress if index == 0 else lambda rows, drawn: None
    job.run(draw, process=index, process_count=count, report=report, stop=stop)
    progress.close()
    if index == 0:
        job.finish()
    return True


def _meet(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def output_form(out: str, form: str | None) -> Form:
    """The format that `--out` and `--format` ask for.

    Raises:
      InputError: `out` does not tell and `form` is None.
    """
    if form is not None:
        return cast(Form, form)
    if out.endswith(".npz"):
        return "npz"
    if out.endswith("/"):
        return "png"
    raise InputError(f"--out={out}: end it in .npz for one file or in / for PNG files, or give --format")


def define_flags() -> None:
    """Defines the flags of this launcher."""
    flags.DEFINE_string("workdir", None, "Folder of the trained run; default: the newest one in runs/.")
    flags.DEFINE_string("out", None, "FILE.npz, or FOLDER/ of PNGs; default: synthetic.npz or top_up.npz in workdir.")
    flags.DEFINE_enum("format", None, FORMATS, "npz, png or parts (a folder of npz files, for large sets).")
    flags.DEFINE_integer("per_class", None, "Examples of each class.")
    flags.DEFINE_integer("n", None, "Examples in all, in the classes' proportions of the training set.")
    flags.DEFINE_list("classes", [], "Names of the classes to draw; default: all.")
    flags.DEFINE_bool("top_up", False, "Of each class, what it has less than the largest one in the training set.")
    flags.DEFINE_string("data_dir", None, "For --top_up: folder with the data's files, if not where training found it.")
    flags.DEFINE_integer("seed", 0, "Seed of the samples.", lower_bound=0)
    flags.DEFINE_integer("batch_size", 500, "Examples drawn at once; another size draws other examples.", lower_bound=1)
    flags.DEFINE_integer("part_rows", 10_000, "Examples in a part, rounded up to whole batches.", lower_bound=1)
    flags.DEFINE_integer("member", 0, "Member of a run with --seeds.", lower_bound=0)
    flags.DEFINE_bool("overwrite", False, "Replace a set that lies at --out.")
    distributed.define_flags()


def main(argv: list[str], options: Mapping[str, str | None]) -> None:
    """Runs the launcher; `options` are the `--sample.NAME=VALUE` arguments that were taken out of `argv`."""
    given = flags.FLAGS
    if argv[1:]:
        raise app.UsageError(f"{argv[1]}: not a flag; --help shows them")
    distributed.initialize()
    came: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: came.append(number))
    workdir = cli.workdir(given.workdir)
    # A file of its own: `eval` takes synthetic.npz for the run's whole set, with examples of every class.
    out = given.out or str(workdir / ("top_up.npz" if given.top_up else "synthetic.npz"))
    form = output_form(out, given.format)
    model, state, spec = synthjax.load(workdir, given.member)
    labels = runs.trained_on(workdir, given.data_dir).train.y if given.top_up else None
    counts = class_counts(
        spec, model.conditional, n=given.n, per_class=given.per_class, classes=given.classes, top_up=labels
    )
    if labels is not None and jax.process_index() == 0:
        print(top_up_line(spec, labels, counts), flush=True)
    if not any(counts):
        return
    typed = typed_options(model.sample, options)
    described, dataset = describe_run(workdir, state, given.member)
    request = make_request(
        model,
        spec,
        counts,
        described=described,
        dataset=dataset,
        form=form,
        seed=given.seed,
        block=given.batch_size,
        part_rows=given.part_rows,
        options=typed,
    )
    drawn = fulfil(model, state, request, Path(out), overwrite=given.overwrite, stop=lambda: bool(came))
    if jax.process_index() == 0:
        print(f"{out}: {request.rows:,} examples" if drawn else f"{out}: finished already, nothing to do")


if __name__ == "__main__":
    sys.argv, _options = parse_options(sys.argv)
    define_flags()
    cli.run(functools.partial(main, options=_options), __doc__)
