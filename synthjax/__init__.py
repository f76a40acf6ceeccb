"""synthjax: generative models as pure JAX functions, and what their synthetic data is worth."""

from pathlib import Path

from synthjax.model import Batch, DataSpec, Model, State

__all__ = ["Batch", "DataSpec", "Model", "State", "load"]


def load(workdir: str | Path, member: int = 0) -> tuple[Model, State, DataSpec]:
    """The trained model of a run, from its newest good checkpoint.

    Args:
      workdir: the run's folder, as given to `synthjax.launch.train`.
      member: which seed of a run with `--seeds`, from 0.

    Returns:
      (model, state, spec): `model.sample(key, state, labels)` draws from it.

    Raises:
      InputError: the folder holds no run, or has no such member.
      CheckpointError: none of its checkpoints is usable.
    """
    from synthjax.launch import runs

    return runs.load(workdir, member)
