"""What lies in a run's folder, and the way back from it to a model.

config.json      the experiment               metrics.jsonl, loss.png, samples/  how it went
data.json        data set, spec, fingerprint  checkpoints/STEP/, best/STEP/      state and record
splits.npz       rows of train and holdout    synthetic.npz, eval/               what was drawn, what it is worth
encoder.json     of a table: its columns      synthetic.csv                      the same, of a table
"""

import contextlib
import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.data import Dataset, Split, sources, transforms
from synthjax.errors import CheckpointError, InputError
from synthjax.launch import config as config_lib
from synthjax.launch.config import Experiment
from synthjax.model import Batch, DataSpec, Model, State
from synthjax.train import optim
from synthjax.train.checkpoint import Checkpoints, write_atomically

if TYPE_CHECKING:
    from synthjax.data.encoding import Encoder

Kept = Literal["last", "best"]
"""Which state of a run: its newest, or the best by `launch.holdout`."""
KEPT: dict[Kept, str] = {"last": "checkpoints", "best": "best"}
"""The folders of their checkpoints."""
RARE_SEED = 0
"""Draws the examples that a rare class keeps: fixed as all splits are, so that runs of all seeds have the same data."""


def newest() -> Path | None:
    """The run under `runs/` whose newest checkpoint is the youngest."""
    found = [(path.stat().st_mtime, path.parent.parent) for path in Path("runs").glob("*/checkpoints/*")]
    return max(found)[1] if found else None


def read(workdir: str | Path) -> tuple[Experiment, dict[str, Any]]:
    """A run's experiment, and its `data.json`: {"dataset", "fingerprint", "spec"}.

    Raises:
      InputError: the folder holds no run, or one of another version.
    """
    texts = []
    for name in ("config.json", "data.json"):
        path = Path(workdir) / name
        try:
            texts.append(json.loads(path.read_text()))
        except FileNotFoundError:
            raise InputError(f"{workdir}: no run lies there ({name} is missing)") from None
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read ({error})") from None
    return config_lib.from_dict(texts[0]), texts[1]


def data(experiment: Experiment, data_dir: str | None = None) -> Dataset:
    """The data of an experiment: its data set, the rare class of the training split cut down if there is one.

    Of n examples of `rare_class` round(n / rare_factor) are kept, at least one; a larger factor keeps some of those
    that a smaller one keeps. Frequencies and fingerprint are of what is left. Holdout and test stay whole.

    Args:
      experiment: names the data set and the rare class.
      data_dir: where the data is now, if not in the experiment's own.

    Raises:
      InputError: as `synthjax.data.load`; no such class, unlabelled data, a factor below 1 or without a class.
    """
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
    )
    for name in ("encoding", "min_count"):
        if whole.encoder is None and getattr(experiment, name) != getattr(Experiment, name):
            raise InputError(f"{name}={getattr(experiment, name)}: is for tables; {whole.name} holds images")
    if not rare:
        return whole
    if rare not in whole.spec.classes:
        there = f"no such class; there are {', '.join(whole.spec.classes)}" if whole.spec.classes else "no labels"
        raise InputError(f"rare_class={rare}: {whole.name} has {there}")
    rows = transforms.under_sample(whole.train.y, whole.spec.classes.index(rare), factor, RARE_SEED)
    train = Split(*(array[rows] for array in whole.train))
    counts = np.bincount(train.y, minlength=whole.spec.n_classes)
    spec = dataclasses.replace(whole.spec, frequencies=tuple((counts / counts.sum()).tolist()))
    fingerprint = sources.fingerprint(spec, train, whole.holdout, whole.test)
    return whole._replace(spec=spec, train=train, fingerprint=fingerprint)


def trained_on(workdir: str | Path, data_dir: str | None = None) -> Dataset:
    """The data that a run was trained on.

    Args:
      workdir: of the run.
      data_dir: where the data is now, if not where it was.

    Raises:
      InputError: it is not there, or not what the run was trained on.
    """
    experiment, record = read(workdir)
    found = data(experiment, data_dir)
    if record["fingerprint"] != found.fingerprint:
        raise InputError(
            f"{workdir}: was trained on {experiment.dataset} with fingerprint {record['fingerprint'][:12]}, but the "
            f"data has {found.fingerprint[:12]} now; --data_dir says where it is"
        )
    return found


def encoder(workdir: str | Path) -> "Encoder":
    """What turns the rows of a run's table into vectors and back.

    Raises:
      InputError: the run has none (its data are images), or it cannot be read.
    """
    from synthjax.data.encoding import Encoder

    path = Path(workdir) / "encoder.json"
    try:
        return Encoder.from_dict(json.loads(path.read_text()))
    except FileNotFoundError:
        raise InputError(f"{path}: is missing; the folder holds no run on a table") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from None


def begin(workdir: Path, experiment: Experiment, data: Dataset) -> None:
    """Writes the folder's records, or checks that those there are of the same run.

    Raises:
      InputError: the folder belongs to another experiment or to other data (the difference is named), or cannot be
        written.
    """
    new = json.loads(json.dumps(config_lib.to_dict(experiment)))
    if (workdir / "config.json").exists():
        old, old_data = read(workdir)
        different = config_lib.differences(json.loads(json.dumps(config_lib.to_dict(old))), new)
        if old_data["fingerprint"] != data.fingerprint and not different:
            different = [f"content of data set {data.name}: {old_data['fingerprint'][:12]} -> {data.fingerprint[:12]}"]
        if data.encoder is not None and not different and encoder(workdir) != data.encoder:
            different = [f"columns of data set {data.name}: are read in another way than encoder.json says"]
        if different:
            raise InputError(
                f"{workdir} belongs to another run ({'; '.join(different)}); give another --workdir, or delete it"
            )
    if jax.process_index():
        return
    record = {"dataset": data.name, "fingerprint": data.fingerprint, "spec": data.spec.to_dict()}
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        np.savez(workdir / "splits.npz", train=data.train.index, holdout=data.holdout.index)
        write_atomically(workdir / "data.json", json.dumps(record, indent=1).encode())
        if data.encoder is not None:
            write_atomically(workdir / "encoder.json", json.dumps(data.encoder.to_dict()).encode())
        write_atomically(workdir / "config.json", json.dumps(new, indent=1).encode())
    except OSError as error:
        raise InputError(f"--workdir={workdir}: cannot be written ({error.strerror or error})") from error


def build(experiment: Experiment, spec: DataSpec) -> Model:
    """The experiment's model for that data.

    Raises:
      InputError: the model cannot be built for it.
    """
    grad = optim.mean_grad if experiment.accumulate == 1 else optim.accumulate(optim.mean_grad, experiment.accumulate)
    return config_lib.family(experiment.name).build(experiment.model, spec, grad)


def precision(chosen: Experiment) -> contextlib.AbstractContextManager[None]:
    """Within it matrix products are as precise as the run asks for."""
    asked = chosen.precision
    return contextlib.nullcontext() if asked == "default" else jax.default_matmul_precision(asked)


def abstract_state(experiment: Experiment, model: Model, spec: DataSpec, rows: int | None = None) -> State:
    """Shapes and dtypes of the state that training carries: with a leading axis (seeds,) if there are several.

    Args:
      experiment: of the run.
      model: as `build` makes it.
      spec: of the data.
      rows: in a batch, padding included, where that is not `batch_size`: a model of the whole set may keep it.
    """
    size = rows or experiment.model.batch_size
    batch = Batch(jnp.zeros((size, *spec.shape)), *(jnp.zeros(size, kind) for kind in ("int32", "float32", "int32")))
    init = jax.vmap(model.init, (0, None)) if experiment.seeds > 1 else model.init
    keys = jax.random.split(jax.random.key(0), experiment.seeds)
    return jax.eval_shape(init, keys if experiment.seeds > 1 else keys[0], batch)


def load(workdir: str | Path, member: int = 0, checkpoint: Kept = "last") -> tuple[Model, State, DataSpec]:
    """See `synthjax.load`."""
    experiment, data = read(workdir)
    if not 0 <= member < experiment.seeds:
        raise InputError(f"{workdir}: no member {member} in a run of {experiment.seeds} seeds (they count from 0)")
    checkpoints = Checkpoints(Path(workdir) / KEPT[checkpoint])
    step = checkpoints.newest()
    if step is None and checkpoint == "best":
        raise CheckpointError(f"{workdir}: no best checkpoint; train with --eval_every=N, which keeps it")
    if step is None:
        raise CheckpointError(f"{workdir}: no usable checkpoint; train it with: python -m synthjax.launch.train")
    spec = DataSpec.from_dict(data["spec"])
    model = build(experiment, spec)
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    rows = checkpoints.record(step).get("rows") if model.minibatches is None else None
    like = abstract_state(experiment, model, spec, rows)
    like = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=here), like)
    state = checkpoints.restore(step, like)
    return model, jax.tree.map(lambda a: a[member], state) if experiment.seeds > 1 else state, spec
