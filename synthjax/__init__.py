"""synthjax: generative models as pure JAX functions, and what their synthetic data is worth."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from synthjax.model import Batch, DataSpec, Model, State
from synthjax.statistics import Statistics

if TYPE_CHECKING:
    from synthjax.launch.frames import synthesize
    from synthjax.launch.trained import Run

__version__ = "0.2.0"
__all__ = ["Batch", "DataSpec", "Model", "State", "Statistics", "__version__", "load", "synthesize"]


def load(workdir: str | Path, member: int = 0, checkpoint: Literal["last", "best"] | None = None) -> "Run":
    """The trained model of a run, from its newest good checkpoint, or the best.

    Args:
      workdir: the run's folder, as given to `synthjax.launch.train`.
      member: which seed of a run with `--seeds`, from 0.
      checkpoint: "best": the state with the highest score on the holdout, of a run with `--eval_every`; default: the
        best if training ended by the holdout, else the last.

    Returns:
      A run with `model`, `state`, `spec`, `config` and `encoder`, which iterating over it gives the first three of.
      `run.sample(100)` draws images or a data frame, `run.log_prob(x)` is the likelihood of some.

    Raises:
      InputError: the folder holds no run, or has no such member.
      CheckpointError: none of its checkpoints is usable, or no best one was kept.
    """
    from synthjax.launch.trained import Run

    return Run(workdir, member, checkpoint)


def __getattr__(name: str) -> Any:
    if name == "synthesize":  # brings the launchers with it
        from synthjax.launch.frames import synthesize

        return synthesize
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
