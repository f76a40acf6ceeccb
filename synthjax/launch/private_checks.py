"""What a run with differential privacy must be like, checked before anything is paid: see `synthjax.launch.private`."""

import contextlib
import inspect
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from synthjax.data import private_images, sources
from synthjax.data.arrays import Source
from synthjax.data.image_decoding import DEEP
from synthjax.errors import InputError
from synthjax.launch import config
from synthjax.launch.config import Experiment
from synthjax.model import Column, DataSpec
from synthjax.privacy import accounting, budget, gradients, noise, units
from synthjax.privacy.accounting import Release
from synthjax.privacy.counts import Counts
from synthjax.privacy.ledger import Ledger, default_folder

if TYPE_CHECKING:
    from synthjax.data.private_table import Private

ENCODER = {"table": 0.15, "images": 0.01}
"""Default of `Privacy.encoder`."""


def check(chosen: Experiment, said: Collection[str]) -> "Private | Source":
    """Checks an experiment with differential privacy.

    Args:
        chosen: the experiment.
        said: fields that a person set.

    Returns:
        Its data set.

    Raises:
        InputError: a setting would look at rows without paying for it, or cannot be private.
    """
    dp = chosen.dp
    if dp.test_seed is None and "seed" in said:
        raise InputError(
            "--seed: with --dp.epsilon all randomness comes from a secret key, since noise that a seed repeats "
            "protects nothing; --dp.test_seed=N marks the run as a test, which publishes nothing"
        )
    if dp.encoder is not None and not 0 < dp.encoder < 1:
        raise InputError(f"dp.encoder={dp.encoder:g}: a share between 0 and 1 is needed")
    if dp.rows_per_unit < 1 or (dp.rows_per_unit > 1 and dp.unit is None):
        least = "must be at least 1" if dp.rows_per_unit < 1 else "needs --dp.unit, the column of the persons"
        raise InputError(f"--dp.rows_per_unit={dp.rows_per_unit}: {least}")
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
        ("freeze", Experiment.freeze, "goes with --init_from, which is refused"),
        ("accumulate", 1, "slices of a batch are not accounted for"),
        ("min_count", Experiment.min_count, "noise and thresholds hold back what few rows have"),
    ):
        if getattr(chosen, name) != off:
            raise InputError(f"{name}={getattr(chosen, name)}: not with --dp.epsilon: {why}")
    if chosen.precision == "bfloat16":
        raise InputError("--precision=bfloat16: not with --dp.epsilon: sums round by more than the gradient of a row")
    if jax.process_count() > 1:
        raise InputError("--distributed: not with --dp.epsilon, whose key is of one process")
    found = find(chosen)
    Ledger(default_folder(), account(chosen))
    share, limit = encoder_share(chosen, found), budget.Budget(dp.epsilon or 0.0, dp.delta)
    noise.check(units.discrete_noise(limit.part(share), dp.rows_per_unit))
    before = Release("before the model", "gaussian", limit.part(share))
    releases = [before, *check_model(chosen, found, limit.part(1 - share))]
    if accounting.epsilon(releases, dp.delta) > limit.epsilon:
        raise InputError(
            f"--dp.delta={dp.delta:g}: too small for --dp.epsilon={limit.epsilon:g} and so many integers, whose "
            "noise is drawn from a table of 64 binary digits; give a larger delta or a smaller epsilon"
        )
    return found


def find(chosen: Experiment) -> "Private | Source":
    """The experiment's data set: a table with what its schema file says is public, or images.

    Raises:
        InputError: it cannot be read, its entries are not public, or flags of tables are given for images.
    """
    if sources.is_table(*sources.local(chosen.dataset, chosen.data_dir)):
        from synthjax.data import private_table
        from synthjax.data.table_options import TableOptions

        table = sources.find_table(chosen.dataset, chosen.data_dir, chosen.test, chosen.target)
        return private_table.public_entries(table, TableOptions(schema=chosen.schema), chosen.dp.unit)
    for flag, value in (("target", chosen.target), ("schema", chosen.schema), ("dp.unit", chosen.dp.unit)):
        if value is not None:
            raise InputError(f"--{flag}={value}: is for tables; {chosen.dataset} holds images")
    images = sources.find_images(chosen.dataset, chosen.data_dir, chosen.test, chosen.image_size)
    if any(note.startswith(DEEP) for note in images.notes):
        raise InputError(
            f"{chosen.dataset}: images of 16 bits are scaled by the brightest of all, which one image decides; save "
            "them with 8 bits, scaled by a public maximum"
        )
    return images


def encoder_share(chosen: Experiment, found: "Private | Source") -> float:
    """The share of the budget for what is learnt before the model is trained."""
    if chosen.dp.encoder is not None:
        return chosen.dp.encoder
    return ENCODER["images" if isinstance(found, Source) else "table"]


def check_model(chosen: Experiment, found: "Private | Source", target: float) -> list[Release]:
    """What a model that counts will release of images, with noise of that multiplier; [] for others.

    A model of tables is built for a made one: the columns of `found` are not known yet.

    Raises:
        InputError: the experiment's model cannot be trained privately.
    """
    family, images = config.family(chosen.name), isinstance(found, Source)
    spec = private_images.bare(found) if isinstance(found, Source) else _made_table()
    if not _private(family, chosen.model):
        raise InputError(
            f"--model={chosen.name}: cannot be trained with --dp.epsilon, since it uses rows other than in gradients "
            f"and counts; models that can are {', '.join(possible(spec))}"
        )
    try:
        return _build(family, chosen.model, spec, target, chosen.dp)
    except InputError as refusal:
        try:
            family.build(chosen.model, spec)
        except InputError:
            if images:
                raise
            return []  # of the made table, and not of privacy
        raise refusal from None


def _private(family: Any, model: Any) -> bool:
    return counts(family) or hasattr(model, "learning_rate")


def _build(family: Any, model: Any, spec: DataSpec, target: float, dp: config.Privacy) -> list[Release]:
    """The releases of counts; InputError if the model of that data cannot be private with noise of that multiplier."""
    if counts(family):
        hook = Counts(target, dp.rows_per_unit)
        made = family.build(model, spec, count=hook)
        return hook.traced(made, spec) if spec.kind == "image" else []  # columns of a table are not known yet
    family.build(model, spec, gradients.dp_grad(dp.clip, 1.0, 1.0))
    return []


def possible(spec: DataSpec) -> list[str]:
    """Models of such data that can be trained privately with their usual settings."""
    found = []
    for name, (_, model) in config.presets().items():
        family = config.family(name)
        with contextlib.suppress(InputError):
            if _private(family, model):
                _build(family, model, spec, 1.0, config.Privacy())
                found.append(name)
    return sorted(found)


def counts(family: Any) -> bool:
    """Whether a family's models are fitted to counts, which its `build` lets through a hook."""
    return "count" in inspect.signature(family.build).parameters


def account(chosen: Experiment) -> str:
    """The name of the data set in the ledger."""
    return chosen.dp.dataset or sources.short_name(chosen.dataset)


def _made_table() -> DataSpec:
    """The spec of a made table with columns of each kind."""
    columns = (
        Column("number", "continuous", 0, 1),
        Column("category", "onehot", 1, 2),
        Column("label", "onehot", 3, 2, target=True),
    )
    rows = np.array([[0, 1, 0, 1, 0], [1, 0, 1, 0, 1]], np.float32).repeat(10, axis=0)
    return DataSpec("table", (5,), 0, ("a", "b"), (0.5, 0.5), columns).measured(rows)
