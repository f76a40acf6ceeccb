"""The weights that a training starts from: random ones, or those of an earlier run (`--init_from`, `--freeze`)."""

from itertools import zip_longest

from synthjax.data import Dataset
from synthjax.data.schema import RARE, entry
from synthjax.errors import InputError
from synthjax.launch import config
from synthjax.launch.config import Experiment
from synthjax.launch.trained import Run
from synthjax.model import Column, DataSpec, Model
from synthjax.train import fine_tuning


def prepared(chosen: Experiment, model: Model, data: Dataset) -> Model:
    """The model with the initial weights of `init_from` and the frozen weights of `freeze`.

    InputError: `init_from` is no run of such a model on such data, or `freeze` names no weight or leaves none.
    """
    if chosen.freeze:
        model = fine_tuning.frozen(model, chosen.freeze)
    if not chosen.init_from:
        return model
    what, run = f"init_from={chosen.init_from}", Run(chosen.init_from)
    if config.family(run.config.name) is not config.family(chosen.name):
        raise InputError(f"{what}: is a run of {run.config.name}, not of {chosen.name}")
    if found := difference(run.spec, data.spec, model.conditional) or _categories(run, data):
        raise InputError(f"{what}: {found}")
    return fine_tuning.fine_tuned(model, run.state, what)


def difference(trained: DataSpec, new: DataSpec, conditional: bool = True) -> str:
    """The first difference that keeps a model of the one data from fine-tuning on the other; "" if there is none.

    Compared are the size of images, and their number of classes if the model is `conditional`; of tables names, kinds
    and sizes of the encoded columns, and the classes in their order.
    """
    if trained.kind != new.kind:
        return f"was trained on data of kind {trained.kind}, and this is of kind {new.kind}"
    if new.kind == "image":
        sizes = ["x".join(map(str, spec.shape)) for spec in (trained, new)]
        if sizes[0] != sizes[1]:
            return f"was trained on images of {sizes[0]} (height x width x channels), and these are of {sizes[1]}"
        if conditional and trained.n_classes != new.n_classes:
            return f"was trained on {trained.n_classes} classes, and this data has {new.n_classes}"
        return ""
    for number, (old, other) in enumerate(zip_longest(trained.columns, new.columns), 1):
        if _column(old) != _column(other):
            return f"was trained on another table: its column {number} is {_column(old)}, here it is {_column(other)}"
    for number, (left, right) in enumerate(zip_longest(trained.classes, new.classes), 1):
        if left != right:
            pair = [repr(name) if name is not None else "missing" for name in (left, right)]
            return f"was trained on another table: its class {number} is {pair[0]}, here it is {pair[1]}"
    return ""


def _column(column: Column | None) -> str:
    """What must be the same of a column, in words."""
    if column is None:
        return "missing"
    gaps, target = ", with missing values" * (column.missing is not None), ", the target" * column.target
    return f"{column.name} ({column.kind}, {column.codes or column.size} values{gaps}{target})"


def _categories(run: Run, data: Dataset) -> str:
    """The first category that is in only one of two tables, or the first other order, as `difference` says it."""
    if run.encoder is None or data.encoder is None:
        return ""
    for name in (coding.name for coding in data.encoder.codings):
        old, new = (encoder.learnt[name].categories for encoder in (run.encoder, data.encoder))
        if other := sorted(set(old) ^ set(new)):
            where = "there and not here" if other[0] in old else "here and not there"
            return f"was trained on another table: {other[0]!r} is in column {name} {where}"
        if old != new:
            line = entry(name, categories=[category for category in old if category != RARE])
            return f"was trained on categories of {name} in another order; put {line} into the schema file"
    return ""
