"""What a run with differential privacy must be like, checked before anything is paid: see `synthjax.launch.private`."""

import inspect
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from synthjax.data import sources
from synthjax.errors import InputError
from synthjax.launch import config
from synthjax.launch.config import Experiment
from synthjax.model import Column, DataSpec
from synthjax.privacy import budget, gradients
from synthjax.privacy.ledger import Ledger, default_folder

if TYPE_CHECKING:
    from synthjax.data.private_table import Private


def check(chosen: Experiment, said: Collection[str]) -> None:
    """Checks an experiment with differential privacy.

    Args:
        chosen: the experiment.
        said: fields that a person set.

    Raises:
        InputError: a setting would look at rows without paying for it, or cannot be private.
    """
    dp = chosen.dp
    if dp.test_seed is None and "seed" in said:
        raise InputError(
            "--seed: with --dp.epsilon all randomness comes from a secret key, since noise that a seed repeats "
            "protects nothing; --dp.test_seed=N marks the run as a test, which publishes nothing"
        )
    if not 0 < dp.encoder < 1:
        raise InputError(f"dp.encoder={dp.encoder:g}: a share between 0 and 1 is needed")
    for name, off, why in (
        ("seeds", 1, "each member is a fit of its own; run the command again, which the ledger counts"),
        ("stop", "steps", "to end by held-out rows is not paid for; give --steps"),
        ("eval_every", 0, "to choose a state by held-out rows is not paid for"),
        ("rules", False, "rules between columns are found by looking at rows; they are not kept"),
        ("all_rows", False, "that is a second fit; --holdout=0 trains on more rows at once"),
        ("feed", "uniform", "rows are drawn as the accounting says, each as often as others"),
        ("class_weights", (), "rows are drawn as the accounting says, each as often as others"),
        ("rare_class", "", "the size of a class is not paid for"),
        ("noise_components", 0, "principal components of a class are not paid for"),
        ("init_from", None, "weights of another run may tell of the same rows"),
        ("accumulate", 1, "slices of a batch are not accounted for"),
        ("min_count", Experiment.min_count, "noise and thresholds hold back what few rows have"),
    ):
        if getattr(chosen, name) != off:
            raise InputError(f"{name}={getattr(chosen, name)}: not with --dp.epsilon: {why}")
    if chosen.precision == "bfloat16":
        raise InputError("--precision=bfloat16: not with --dp.epsilon: sums round by more than the gradient of a row")
    if jax.process_count() > 1:
        raise InputError("--distributed: not with --dp.epsilon, whose key is of one process")
    check_model(chosen)
    public_table(chosen)
    Ledger(default_folder(), account(chosen))
    budget.Budget(dp.epsilon or 0.0, dp.delta).part(dp.encoder)


def check_model(chosen: Experiment) -> None:
    """Raises InputError if the experiment's model cannot be trained privately, or by no noise so far."""
    family = config.family(chosen.name)
    if counts(family):
        return
    if hasattr(chosen.model, "learning_rate"):
        return _check_gradients(chosen)
    raise InputError(
        f"--model={chosen.name}: cannot be trained with --dp.epsilon, since it uses rows other than in gradients and "
        f"counts; models that can are {', '.join(possible())}"
    )


def possible() -> list[str]:
    """Models of tables that can be trained privately."""
    named = config.presets().items()
    return sorted(
        name
        for name, (module, model) in named
        if (module.startswith("table_") or counts(config.family(name)))
        and (counts(config.family(name)) or hasattr(model, "learning_rate"))
    )


def counts(family: Any) -> bool:
    """Whether a family's models are fitted to counts, which its `build` lets through a hook."""
    return "count" in inspect.signature(family.build).parameters


def account(chosen: Experiment) -> str:
    """The name of the data set in the ledger."""
    return chosen.dp.dataset or sources.short_name(chosen.dataset)


def _check_gradients(chosen: Experiment) -> None:
    """Raises InputError if the model of a made table can be trained by plain gradients, and not by private ones."""
    columns = (
        Column("number", "continuous", 0, 1),
        Column("category", "onehot", 1, 2),
        Column("label", "onehot", 3, 2, target=True),
    )
    rows = np.array([[0, 1, 0, 1, 0], [1, 0, 1, 0, 1]], np.float32).repeat(10, axis=0)
    spec = DataSpec("table", (5,), 0, ("a", "b"), (0.5, 0.5), columns).measured(rows)
    build = config.family(chosen.name).build
    try:
        build(chosen.model, spec, gradients.dp_grad(1.0, 1.0, 1.0))
    except InputError as refusal:
        try:
            build(chosen.model, spec)
        except InputError:  # of this table, and not of privacy
            return
        raise refusal from None


def public_table(chosen: Experiment) -> "Private":
    """The experiment's table, with what its schema file says is public.

    Raises:
        InputError: see `synthjax.data.sources.find_table` and `private_table.public_entries`.
    """
    from synthjax.data import private_table
    from synthjax.data.table_dataset import Options

    found = sources.find_table(chosen.dataset, chosen.data_dir, chosen.test, chosen.target)
    return private_table.public_entries(found, Options(schema=chosen.schema), chosen.dp.unit)
