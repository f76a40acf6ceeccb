"""An experiment: a model's Config, the data, and settings of the run. Each file in `configs/` has one, as CONFIG."""

import dataclasses
import difflib
import importlib
import math
import pkgutil
import runpy
import types
import typing
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec

import synthjax.models
from synthjax.errors import InputError

MODEL, DATASET = "ddpm", "digits"
"""Those of a command that names none."""
ROWS_EACH, LEAST_COMPONENTS = 8, 4
"""Rows for each component of a mixture of a table, and fewest components, where nobody said a number."""


@dataclass(frozen=True)
class Privacy:
    """Differential privacy of a run, see `synthjax.launch.private`."""

    epsilon: float | None = None
    """The budget: neighbours differ in one unit, which is added or removed. None: training is not private."""
    delta: float = 1e-6
    """The budget's probability of failure."""
    unit: str | None = None
    """Column that names the person of a row. None: each row is a unit."""
    rows_per_unit: int = 1
    """Rows of each person that are used at most, drawn at random; the noise grows in proportion."""
    dataset: str | None = None
    """Name of the data set in the ledger; None: that of the file. A changed row must not change it."""
    total: float | None = None
    """The owner's limit on epsilon of all fits to the data set; kept in the ledger at its first use."""
    encoder: float | None = None
    """Share of the budget for the histograms of single columns, of which kinds, bounds and categories are learnt, or
    for the numbers of images of the classes. None: 0.15 for a table, 0.01 for images."""
    clip: float = 1.0
    """Of models that are trained by gradients: maximum norm of the gradient of one row or image."""
    test_seed: int | None = None
    """Marks the run as a test: its noise follows from this seed and protects nothing. Nothing is published."""


@dataclass(frozen=True)
class Experiment:
    """All settings of a run. Each field can be overridden: `--config.FIELD=VALUE`, `--config.model.FIELD=VALUE`."""

    name: str
    """Name of the model for `--model`: one of the PRESETS of a file in synthjax/models."""
    model: Any
    """That family's Config."""
    dataset: str = DATASET
    """See `synthjax.data.load`."""
    data_dir: str | None = None
    """Folder with the data's files; default: the environment variable SYNTHJAX_DATA_DIR."""
    holdout: float = 0.1
    """Share of the training set held out for privacy attacks and model selection; 0: none."""
    target: str | None = None
    """Of a table: the column to predict; default: that of a data set known by name, none of a file."""
    encoding: str = ""
    """Of a table: a preset of `synthjax.data.encoding`; default: its model's own, where that has one, else quantile."""
    test: str | None = None
    """Of a table in a file: another file with the rows of the test split; default: cut off the former."""
    schema: str | None = None
    """Of a table: a YAML or JSON file that corrects what is inferred of its columns, see `synthjax.data.schema`."""
    min_count: int = 5
    """Of a table: fewest rows that must share a category or an extreme value; 1 releases every value."""
    rules: bool = False
    """Of a table: whether rules between its columns are looked for, which synthetic rows then keep."""
    image_size: str = ""
    """Of images: to which they are resized, "64" or "48x64" (height x width); empty: all must have the same size."""
    all_rows: bool = False
    """Of a table: whether held-out rows, and test rows cut from its file, are trained on too; none is left to judge by.

    Columns and rules are what the training rows alone say, see `synthjax.launch.runs.data`."""
    init_from: str | None = None
    """Folder of a finished run of the same model: training starts from its weights, under a fresh schedule."""
    freeze: tuple[str, ...] = ()
    """Parts of the weights that are not trained, by a name in their path: "encoder", or "encoder/Dense_0"."""
    seed: int = 0
    seeds: int = 1
    """Number of members trained together by vmap, with keys split from `seed`, on the same batches."""
    feed: Literal["uniform", "balanced"] = "uniform"
    """Shuffled epochs, or classes drawn equally often."""
    class_weights: tuple[float, ...] = ()
    """Relative frequency of each class in a batch, drawn with replacement; empty: by `feed`."""
    rare_class: str = ""
    """Name of a class that is under-sampled in the training set (the Low-Zero variant: "0"); empty: none.

    See `synthjax.launch.runs.data`."""
    rare_factor: float = 1.0
    """Under-sampling factor, at least 1: of n examples round(n / rare_factor) are kept, at least one."""
    noise_components: int = 0
    """Directed noise: principal components of each class that training images are moved along; 0: none.

    See `synthjax.data.transforms`."""
    noise_scale: float = 20.0
    """Scale c of directed noise: largest shift along a component with all the variance; pixels are in [-1, 1]."""
    precision: Literal["default", "float32", "bfloat16"] = "default"
    """Of training and `launch.sample`: sets `jax_default_matmul_precision`; "default" leaves it as it is.

    With bfloat16, networks compute in bfloat16; parameters, averages, optimisers and losses are in float32. Models
    without networks ignore it, and so do Boltzmann machines, whose Config has `half`. It makes dense networks faster
    on CPUs with AMX, see `synthjax.nets.dense`; products in bfloat16 are what TPUs do by default."""
    accumulate: int = 1
    """Number of slices of a batch whose gradients are accumulated, which saves memory."""
    log_every: int = 50
    """Steps that a line of metrics.jsonl averages over."""
    checkpoint_every: int = 500
    sample_every: int = 1000
    """Steps between the grids in samples/ and measures of diversity; 0: at the end only."""
    eval_every: int = 0
    """Steps between two scores on the holdout, by which the best state is kept (`launch.model_selection`); 0: none."""
    stop: Literal["steps", "holdout"] = "steps"
    """Training ends after model.steps; or when its score on the holdout has levelled off, after model.steps at most.
    With "holdout", `eval_every` doubles each time that the steps have doubled, and the best state is what the run's
    users get."""
    stop_at: int = 0
    """Step at which training ends, if that is before model.steps, by which learning rates fall; 0: at that."""
    keep: int = 3
    """Number of checkpoints that are kept."""
    dp: Privacy = Privacy()
    """Differential privacy; off without an epsilon."""

    @property
    def private(self) -> bool:
        """Whether training is differentially private."""
        return self.dp.epsilon is not None

    @property
    def last_step(self) -> int:
        """Step at which training ends at the latest."""
        return min(self.stop_at or self.model.steps, self.model.steps)


SEEDS = 2**32
"""Seeds are below this: `jax.random.key` uses 32 bits, so that larger ones would repeat them."""
HOUSEKEEPING = ("data_dir", "log_every", "checkpoint_every", "sample_every", "eval_every", "keep")
"""Fields that may change when a run is continued: they do not affect its results."""


def presets() -> dict[str, tuple[str, Any]]:
    """Model name -> (module name of its family, Config), from the files in synthjax/models."""
    found = {}
    for module in pkgutil.iter_modules(synthjax.models.__path__):
        family = importlib.import_module(f"synthjax.models.{module.name}")
        found.update({name: (module.name, config) for name, config in family.PRESETS.items()})
    return found


def family(name: str) -> types.ModuleType:
    """The module in synthjax/models that builds the model of that name; InputError if no family defines it."""
    known = presets()
    if name not in known:
        raise InputError(f"--model={name}: unknown{_nearest(name, list(known))}; known: {', '.join(sorted(known))}")
    return importlib.import_module(f"synthjax.models.{known[name][0]}")


def experiment(path: str | None, name: str | None, dataset: str | None) -> Experiment:
    """The experiment of --config, --model and --dataset, before overrides; InputError if they do not go together.

    `path` is looked up from here, then among the installed configs. Without it `configs/DATASET/MODEL.py` is used where
    there is one, else the model's preset.
    """
    if path is not None:
        config = _read_file(path)
        if name is not None and name != config.name:
            raise InputError(f"--model={name} and --config={path}, which is for {config.name}: give one of them")
        return config if dataset is None else dataclasses.replace(config, dataset=dataset)
    if file := tuned(name, dataset):
        return _read_file(file)
    name = name or MODEL
    return Experiment(name, family(name).PRESETS[name], dataset or DATASET)


def tuned(name: str | None, dataset: str | None) -> str | None:
    """The installed file `configs/DATASET/MODEL.py` of --model and --dataset; None: there is none."""
    name, dataset = name or MODEL, dataset or DATASET
    file = resources.files("synthjax.configs") / dataset / f"{name}.py"
    return str(file) if "/" not in dataset and file.is_file() else None


def _read_file(path: str) -> Experiment:
    places = [Path(path), Path(str(resources.files("synthjax.configs"))) / path.removeprefix("configs/")]
    for place in places:
        if place.is_file():
            found = run_file(place, f"--config={path}").get("CONFIG")
            if not isinstance(found, Experiment):
                raise InputError(f"--config={path}: must set CONFIG = Experiment(...)")
            return found
    raise InputError(f"--config={path}: no such file")


def for_rows(chosen: Experiment, said: Collection[str], rows: int) -> Experiment:
    """The experiment with at most one component for each `ROWS_EACH` of the training rows of a table.

    With more, the priors of a mixture outweigh its rows, and columns become nearly independent.
    """
    components, default = (getattr(model, "components", 0) for model in (chosen.model, presets()[chosen.name][1]))
    most = max(rows // ROWS_EACH, LEAST_COMPONENTS)
    if "model.components" in said or not components or components != default or components <= most:
        return chosen
    return dataclasses.replace(chosen, model=dataclasses.replace(chosen.model, components=most))


def check_seed(seed: int, flag: str) -> int:
    """Returns the seed; InputError if it is below 0, or 2**32 or more."""
    if not 0 <= seed < SEEDS:
        raise InputError(f"{flag}={quoted(seed)}: must be at least 0 and at most {SEEDS - 1}")
    return seed


def quoted(value: object) -> str:
    """A value as text for messages; of more than 80 characters, the middle is left out."""
    text = str(value)
    return text if len(text) <= 80 else f"{text[:40]}...{text[-35:]}"


def run_file(place: Path, named: str) -> dict[str, Any]:
    """The global names that a Python file defines; InputError if it cannot be read or run, or ends the program."""
    try:
        return runpy.run_path(str(place))
    except SyntaxError as error:
        raise InputError(f"{named}: line {error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise InputError(f"{named}: cannot be run: {type(error).__name__}: {quoted(error)}") from error


def override(config: Any, path: str, text: str, flag: str) -> Any:
    """`overrides` of one field."""
    return overrides(config, [(path, text, flag)])


def overrides(config: Any, given: Sequence[tuple[str, str, str]]) -> Any:
    """The same (nested) dataclass with fields set from text, each checked against its type, then all together.

    `given` are (path, text, flag) each: path "seed", or "model.width"; flag, what an error calls it. Later ones win.
    InputError: no such field (the nearest is named), a text of another type, or fields that contradict each other.
    """
    changes: dict[str, Any] = {}
    nested: dict[str, list[tuple[str, str, str]]] = {}
    kinds = typing.get_type_hints(type(config))
    for path, text, flag in given:
        name, _, rest = path.partition(".")
        names = [field.name for field in dataclasses.fields(config)]
        if name not in names:
            owner = type(config).__module__.removeprefix("synthjax.")
            raise InputError(f"{flag}: {owner}.{type(config).__name__} has no field {name!r}{_nearest(name, names)}")
        has_fields = dataclasses.is_dataclass(getattr(config, name))
        if rest and not has_fields:
            raise InputError(f"{flag}: {name} has no fields of its own")
        if not rest and has_fields:
            raise InputError(f"{flag}: {name} is not one value; set {name}.FIELD")
        if rest:
            nested.setdefault(name, []).append((rest, text, flag))
            continue
        changes[name] = parse(text, kinds[name], flag)
        if name == "seed":
            check_seed(changes[name], flag)
    changes |= {name: overrides(getattr(config, name), inner) for name, inner in nested.items()}
    return dataclasses.replace(config, **changes)


def parse(text: str, kind: Any, flag: str) -> Any:
    """Text as int, float, bool, str, Literal, X | None, tuple[X, ...] or tuple[X, X]; InputError if it is none."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if text.lower() == "none":
            return None
        return parse(text, next(a for a in arguments if a is not type(None)), flag)
    if origin is tuple:
        items = text.strip("()[] ").rstrip(",")
        words = [item.strip() for item in items.split(",")] if items else []
        if Ellipsis not in arguments and len(words) != len(arguments):
            raise InputError(f"{flag}={quoted(text)}: must be {len(arguments)} values, with a comma between them")
        return tuple(parse(word, arguments[0], flag) for word in words)
    if origin is Literal:
        options = {str(option): option for option in arguments}
        if text not in options:
            raise InputError(
                f"{flag}={quoted(text)}: must be one of {', '.join(options)}{_nearest(text, list(options))}"
            )
        return options[text]
    if kind is bool:
        if text.lower() in ("true", "false", "1", "0"):
            return text.lower() in ("true", "1")
        raise InputError(f"{flag}={quoted(text)}: must be true or false")
    try:
        value = kind(text)
    except ValueError:
        raise InputError(f"{flag}={quoted(text)}: must be of type {kind.__name__}") from None
    if kind is float and not math.isfinite(value):
        raise InputError(f"{flag}={quoted(text)}: must be a finite number")
    return value


def to_dict(config: Experiment) -> dict[str, Any]:
    """Plain values for JSON; inverse of `from_dict`."""
    return dataclasses.asdict(config)


def from_dict(values: Any, where: str = "config.json") -> Experiment:
    """Inverse of `to_dict`, from values as JSON has them; JSON's lists become tuples again.

    InputError, which names the file `where`: they are no experiment, or of another version, whose model or fields are
    unknown here.
    """
    try:
        known = presets()
        if values["name"] not in known:
            raise TypeError(f"unknown model {values['name']!r}")
        found = msgspec.convert(values, Experiment)
        model = msgspec.convert(values["model"], type(known[values["name"]][1]))
        found = dataclasses.replace(found, model=model)
        _check_known(values, to_dict(found))
        return found
    except (KeyError, TypeError, AttributeError, msgspec.ValidationError) as error:
        raise InputError(f"{where}: is no experiment of this version of synthjax ({quoted(error)})") from error


def _check_known(values: dict[str, Any], fields: dict[str, Any]) -> None:
    """Raises TypeError for a value of no field, which msgspec leaves out."""
    for name, value in values.items():
        if name not in fields:
            raise TypeError(f"unknown field {name!r}")
        if isinstance(value, dict):
            _check_known(value, fields[name])


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Differences between two experiments as dicts, as "field: old -> new"; without fields that may change."""
    found = []
    for name in sorted({*old, *new} - set(HOUSEKEEPING)):
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after, f"{prefix}{name}.")
        elif _plain(before) != _plain(after):
            found.append(f"{prefix}{name}: {before} -> {after}")
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _nearest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, 1)
    return f"; did you mean {close[0]!r}?" if close else ""
