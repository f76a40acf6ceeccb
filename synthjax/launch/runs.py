"""Files of a run's folder: writing them, and reading them back.

config.json      the experiment               metrics.jsonl, loss.png, samples/  metrics and monitoring
data.json        data set, spec, fingerprint  checkpoints/STEP/, best/STEP/      state and record
splits.npz       rows of train and holdout    synthetic.npz, eval/               synthetic set, report
encoder.json     columns of a table           synthetic.csv                      synthetic table
statistics.npz   of columns and pixels over the training rows, see `synthjax.statistics`
copying.json     how many rows that a table's model draws are copies of training rows
"""

import contextlib
import dataclasses
import io
import json
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np
from jax.experimental import multihost_utils

from synthjax import files
from synthjax.data import Dataset, Split, sources, transforms, writers
from synthjax.errors import InputError, SynthjaxError
from synthjax.launch import config as config_lib
from synthjax.launch.config import Experiment
from synthjax.model import DataSpec, Model, State
from synthjax.nets import precision as policies
from synthjax.statistics import Statistics
from synthjax.train import optim

if TYPE_CHECKING:
    from synthjax.data.encoding import Encoder

Kept = Literal["last", "best"]
"""Which state of a run: its newest, or the best by `launch.model_selection`."""
STATISTICS, SPLITS = "statistics.npz", "splits.npz"
KEPT: dict[Kept, str] = {"last": "checkpoints", "best": "best"}
"""The folders of their checkpoints."""
COPYING = "copying.json"
"""What was found of copied rows, see `launch.train`."""
CHECKPOINT = "The last state, or the best on the holdout (default: best if training ended by it, else last)."
"""Of --checkpoint."""
RARE_SEED = 0
"""Seed of the examples kept of a rare class: fixed as all splits are, so that all seeds train on the same data."""


def newest() -> Path | None:
    """The run under `runs/` with the most recent checkpoint."""
    found = [(path.stat().st_mtime, path.parent.parent) for path in Path("runs").glob("*/checkpoints/*")]
    return max(found)[1] if found else None


def read(workdir: str | Path) -> tuple[Experiment, dict[str, Any]]:
    """A run's experiment, and its `data.json`: {"dataset", "fingerprint", "spec"}.

    InputError: the folder holds no run, one of another version, or one whose files are damaged.
    """
    folder = files.path(workdir)
    found = []
    for name in ("config.json", "data.json"):
        values = files.read_json(folder / name)
        if values is None:
            raise InputError(f"{workdir}: no run lies there ({name} is missing)")
        found.append(values)
    config, described = found
    experiment = config_lib.from_dict(config, f"{workdir}/config.json")
    with _whole(folder / "data.json"):
        DataSpec.from_dict(described["spec"])
        if not all(isinstance(described[name], str) for name in ("dataset", "fingerprint")):
            raise TypeError("dataset and fingerprint are text")
    return experiment, described


@contextlib.contextmanager
def _whole(place: Path) -> Iterator[None]:
    """Turns exceptions of a reader of a damaged file into an InputError that names the file."""
    try:
        yield
    except SynthjaxError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        what = f"{type(error).__name__}: {files.reason(error)}"
        raise InputError(f"{place}: is damaged, or of another version ({what}); restore it from a copy") from error


def delivered(workdir: Path, asked: Kept | None = None) -> Kept:
    """Which state of a run its users get: the one asked for, else the best if the run ends by the holdout."""
    if asked is not None:
        return asked
    best = read(workdir)[0].stop == "holdout" and (workdir / KEPT["best"]).is_dir()
    return "best" if best else "last"


def data(experiment: Experiment, data_dir: str | None = None) -> Dataset:
    """The data set of an experiment, with the rare class of the training split under-sampled if there is one.

    Of n examples of `rare_class` round(n / rare_factor) are kept, at least one; a larger factor keeps a subset of those
    that a smaller one keeps. Frequencies and fingerprint are of the remaining data. Holdout and test are not changed.
    With `all_rows`, the training split of a table is then all rows of its file, and the others that were cut from it
    are empty; they are encoded as without.
    `data_dir` is the folder of the data, if not that of the experiment. InputError as `synthjax.data.load`, or no such
    class or factor, or the experiment is private.
    """
    if experiment.private:
        raise InputError("--dp.epsilon: goes with launch.train and launch.synthesize, and with no search")
    rare, factor = experiment.rare_class, experiment.rare_factor
    if not 1 <= factor < math.inf:
        raise InputError(f"rare_factor={factor}: must be a finite number, at least 1")
    if factor > 1 and not rare:
        raise InputError(f"rare_factor={factor}: goes with rare_class, the name of the class to under-sample")
    whole = sources.load(
        experiment.dataset,
        data_dir or experiment.data_dir,
        holdout=experiment.holdout,
        target=experiment.target,
        encoding=experiment.encoding or getattr(experiment.model, "encoding", "quantile"),
        schema=experiment.schema,
        min_count=experiment.min_count,
        test=experiment.test,
        rules=experiment.rules,
        image_size=experiment.image_size,
    )
    if experiment.all_rows:
        return _all_rows(whole, experiment)
    if not rare:
        return whole
    if rare not in whole.spec.classes:
        known = f"no such class; there are {', '.join(whole.spec.classes)}" if whole.spec.classes else "no labels"
        raise InputError(f"rare_class={rare}: {whole.name} has {known}")
    rows = transforms.under_sample(whole.train.y, whole.spec.classes.index(rare), factor, RARE_SEED)
    return _with_train(whole, whole.train.take(rows), experiment.min_count)


def _all_rows(cut: Dataset, experiment: Experiment) -> Dataset:
    """A table with its training split of all rows of the file."""
    if cut.table is None or experiment.rare_class:
        raise InputError("all_rows: is for tables, without rare_class")
    parts = [cut.train, cut.holdout, *[cut.test] * (cut.table.test is None)]
    every = Split(*map(np.concatenate, zip(*parts, strict=True)))
    none = np.zeros(0, np.int64)
    train = every.take(np.argsort(every.index, kind="stable"))
    holdout, test = cut.holdout.take(none), cut.test if cut.table.test is not None else cut.test.take(none)
    return _with_train(cut._replace(holdout=holdout, test=test), train, experiment.min_count)


def _with_train(data: Dataset, train: Split, min_count: int) -> Dataset:
    """The data set with another training split, of which frequencies, statistics and fingerprint are."""
    counts = np.bincount(train.y, minlength=data.spec.n_classes)
    frequencies = tuple((counts / counts.sum()).tolist()) if data.spec.n_classes else ()
    spec = dataclasses.replace(data.spec, frequencies=frequencies)
    spec = spec.measured(train.x, min_count, data.table.persons_of(train.index) if data.table else None)
    fingerprint = sources.fingerprint(spec, train, data.holdout, data.test)
    return data._replace(spec=spec, train=train, fingerprint=fingerprint)


def trained_on(workdir: str | Path, data_dir: str | None = None) -> Dataset:
    """The data set that a run was trained on, in `data_dir` if it has moved; InputError if it is missing or another."""
    experiment, record = read(workdir)
    if experiment.private:
        from synthjax.launch import private

        found = private.reload(files.path(workdir), experiment, data_dir)
    else:
        found = data(experiment, data_dir)
    if record["fingerprint"] != found.fingerprint:
        raise InputError(
            f"{workdir}: was trained on {experiment.dataset} with fingerprint {record['fingerprint'][:12]}, but the "
            f"data has {found.fingerprint[:12]} now; --data_dir says where it is"
        )
    return found


def encoder(workdir: str | Path) -> "Encoder":
    """The encoder of a run's table, rows to vectors and back; InputError if there is none, or it cannot be read."""
    from synthjax.data.encoding import Encoder

    path = files.path(workdir) / "encoder.json"
    values = files.read_json(path)
    if values is None:
        raise InputError(f"{path}: is missing; the folder holds no run on a table")
    with _whole(path):
        return Encoder.from_dict(values)


@contextlib.contextmanager
def locked(place: Path, holder: str) -> Iterator[None]:
    """A context in which this run holds a lock file (`files.locked`), process 0 for all of its processes.

    InputError, in each of them, if another run holds it.
    """
    fault: InputError | None = None
    with contextlib.ExitStack() as stack:
        if jax.process_index() == 0:
            try:
                stack.enter_context(files.locked(place, holder))
            except InputError as error:
                fault = error
        free = fault is None
        if jax.process_count() > 1:
            free = bool(multihost_utils.broadcast_one_to_all(np.int32(free)))
        if not free:
            raise fault or InputError(f"{holder}, or it cannot be written; process 0 says more")
        yield


def begin(
    workdir: Path, experiment: Experiment, data: Dataset, saved: Sequence[Mapping[str, Any]] = ()
) -> dict[str, str]:
    """Writes the records of a run into its folder, after checking that existing ones are of the same run.

    `saved` are the records of the checkpoints that training would continue from. Returns, in process 0, name -> sha256
    of the files that describe the data; each checkpoint stores it as "files". InputError, before anything is changed,
    if the folder is another run's (the message names the difference) or an earlier version's, or cannot be written.
    """
    _check_version(workdir, saved)
    new = _plain(config_lib.to_dict(experiment))
    for old, fingerprint in _kept(workdir, saved):
        different = config_lib.differences(old, new)
        if fingerprint != data.fingerprint and not different:
            different = [f"content of data set {data.name}: {fingerprint[:12]} -> {data.fingerprint[:12]}"]
        if different:
            raise InputError(f"{workdir} belongs to another run ({'; '.join(different)}); give another --workdir")
    described = {"data.json": {"dataset": data.name, "fingerprint": data.fingerprint, "spec": data.spec.to_dict()}}
    if data.encoder is not None:
        if files.read_json(workdir / "config.json") is not None and encoder(workdir) != data.encoder:
            what = f"columns of data set {data.name}: are read in another way than encoder.json says"
            raise InputError(f"{workdir} belongs to another run ({what}); give another --workdir")
        described["encoder.json"] = data.encoder.to_dict()
    if jax.process_index():
        return {}
    statistics = _npz(**data.spec.known()._asdict())
    try:
        test = {"test": data.test.index} if experiment.private else {}  # others follow from the file
        files.write(workdir / SPLITS, _npz(train=data.train.index, holdout=data.holdout.index, **test))
        if not (workdir / STATISTICS).exists() or (workdir / STATISTICS).read_bytes() != statistics:
            files.write(workdir / STATISTICS, statistics)
        for name, values in described.items():
            if writers.read_json(workdir / name) != _plain(values):  # checkpoints store the hash of the existing bytes
                files.write(workdir / name, json.dumps(values, indent=1))
        files.write(workdir / "config.json", json.dumps(new, indent=1))
    except SynthjaxError as error:
        raise type(error)(
            f"--workdir={workdir}: cannot be written ({files.reason(error.__cause__ or error)})"
        ) from error
    return {name: files.sha256(workdir / name) for name in (*described, STATISTICS)}


def splits(workdir: Path) -> dict[str, np.ndarray]:
    """Row numbers of the splits of a private run: "train", "holdout" and "test"."""
    place = workdir / SPLITS
    with files.named_errors(place, "read"), _whole(place), np.load(io.BytesIO(place.read_bytes())) as arrays:
        return dict(arrays)


def _npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def spec(workdir: Path) -> DataSpec:
    """The DataSpec of a run, with the statistics of its training rows; InputError as `read`."""
    _, described = read(workdir)
    place = workdir / STATISTICS
    with files.named_errors(place, "read"):
        if not place.exists():
            raise _earlier(place)
        content = place.read_bytes()
    with _whole(place):
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                statistics = Statistics(**arrays)
        except (OSError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(str(error)) from error
        return DataSpec.from_dict(described["spec"], statistics)


def _earlier(place: Path) -> InputError:
    return InputError(
        f"{place}: is missing: the run was trained by synthjax 0.1 or earlier; train it again, in another --workdir"
    )


def _check_version(workdir: Path, saved: Sequence[Mapping[str, Any]]) -> None:
    """Raises InputError if a folder with a run has no statistics, and none of its checkpoints knew any."""
    place = workdir / STATISTICS
    with files.named_errors(workdir, "read"):
        begun = bool(saved) or (workdir / "config.json").exists()
        missing = begun and not place.exists()
    if missing and not any(STATISTICS in record.get("files", {}) for record in saved):
        raise _earlier(place)


def _kept(workdir: Path, saved: Sequence[Mapping[str, Any]]) -> Iterator[tuple[dict[str, Any], str]]:
    """(experiment as plain values, fingerprint) from each record in a folder that identifies its run."""
    with files.named_errors(workdir, "read"):
        exists = (workdir / "config.json").exists()
    if exists:
        old, described = read(workdir)
        yield _plain(config_lib.to_dict(old)), described["fingerprint"]
    for record in saved:
        with _whole(workdir / KEPT["last"]):
            yield _plain(config_lib.to_dict(config_lib.from_dict(record["experiment"]))), record["fingerprint"]


def _plain(values: Any) -> Any:
    """Values after a round trip through JSON."""
    return json.loads(json.dumps(values))


def build(experiment: Experiment, spec: DataSpec) -> Model:
    """The experiment's model for that data; InputError if it cannot be built for it."""
    grad = optim.mean_grad if experiment.accumulate == 1 else optim.accumulate(optim.mean_grad, experiment.accumulate)
    with precision(experiment):
        return config_lib.family(experiment.name).build(experiment.model, spec, grad)


@contextlib.contextmanager
def precision(chosen: Experiment) -> Iterator[None]:
    """A context in which networks and matrix products have the precision of the run."""
    if chosen.precision == "default":
        yield
        return
    with policies.use(chosen.precision), jax.default_matmul_precision(chosen.precision):
        yield


def abstract_state(experiment: Experiment, model: Model) -> State:
    """Shapes and dtypes of the training state, with a leading axis (seeds,) if there are several members."""
    init = jax.vmap(model.init) if experiment.seeds > 1 else model.init
    keys = jax.random.split(jax.random.key(0), experiment.seeds)
    return jax.eval_shape(init, keys if experiment.seeds > 1 else keys[0])


def meet(name: str) -> None:
    """Waits until all processes of the run have called it."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
