"""What lies in a run's folder, and the way back from it to a model.

config.json      the experiment               metrics.jsonl, loss.png, samples/  how it went
data.json        data set, spec, fingerprint  checkpoints/STEP/                  state and record
splits.npz       rows of train and holdout    synthetic.npz, eval/               what was drawn, what it is worth
"""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from synthjax.data import Dataset
from synthjax.errors import CheckpointError, InputError
from synthjax.launch import config as config_lib
from synthjax.launch.config import Experiment
from synthjax.model import Batch, DataSpec, Model, State
from synthjax.train import optim
from synthjax.train.checkpoint import Checkpoints, write_atomically


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


def abstract_state(experiment: Experiment, model: Model, spec: DataSpec) -> State:
    """Shapes and dtypes of the state that training carries: with a leading axis (seeds,) if there are several."""
    size = experiment.model.batch_size
    batch = Batch(jnp.zeros((size, *spec.shape)), *(jnp.zeros(size, kind) for kind in ("int32", "float32", "int32")))
    init = jax.vmap(model.init, (0, None)) if experiment.seeds > 1 else model.init
    keys = jax.random.split(jax.random.key(0), experiment.seeds)
    return jax.eval_shape(init, keys if experiment.seeds > 1 else keys[0], batch)


def load(workdir: str | Path, member: int = 0) -> tuple[Model, State, DataSpec]:
    """See `synthjax.load`."""
    experiment, data = read(workdir)
    if not 0 <= member < experiment.seeds:
        raise InputError(f"{workdir}: no member {member} in a run of {experiment.seeds} seeds (they count from 0)")
    checkpoints = Checkpoints(Path(workdir) / "checkpoints")
    step = checkpoints.newest()
    if step is None:
        raise CheckpointError(f"{workdir}: no usable checkpoint; train it with: python -m synthjax.launch.train")
    spec = DataSpec.from_dict(data["spec"])
    model = build(experiment, spec)
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    like = abstract_state(experiment, model, spec)
    like = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=here), like)
    state = checkpoints.restore(step, like)
    return model, jax.tree.map(lambda a: a[member], state) if experiment.seeds > 1 else state, spec
