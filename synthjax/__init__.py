"""synthjax: generative models as pure JAX functions, and what their synthetic data is worth."""

from pathlib import Path
from typing import Literal

from synthjax.model import Batch, DataSpec, Model, State

__all__ = ["Batch", "DataSpec", "Model", "State", "load"]


def load(
    workdir: str | Path, member: int = 0, checkpoint: Literal["last", "best"] = "last"
) -> tuple[Model, State, DataSpec]:
    """The trained model of a run, from its newest good checkpoint, or the best.

    Args:
      workdir: the run's folder, as given to `synthjax.launch.train`.
      member: which seed of a run with `--seeds`, from 0.
      checkpoint: "best": the state with the highest score on the holdout, of a run with `--eval_every`.

    Returns:
      (model, state, spec): `model.sample(key, state, labels)` draws from it.

    Raises:
      InputError: the folder holds no run, or has no such member.
      CheckpointError: none of its checkpoints is usable, or no best one was kept.
    """
    from synthjax.launch import runs

    return runs.load(workdir, member, checkpoint)
