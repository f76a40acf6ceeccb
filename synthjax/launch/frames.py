"""`synthjax.synthesize`: from a data frame to a synthetic one and a report, in Python."""

import dataclasses
import html
import math
import tempfile
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import narwhals.stable.v2 as nw
import pyarrow as pa
import pyarrow.parquet as pq

from synthjax import files
from synthjax.errors import InputError
from synthjax.evals import report
from synthjax.launch import auto, config, levels
from synthjax.launch import synthesize as launcher

if TYPE_CHECKING:
    from synthjax.launch import private_frames

TABLE = "table.parquet"
"""The real rows, in the run's folder."""
HEIGHT = 700
"""Of the page in a notebook, in pixels."""


@dataclass(frozen=True)
class Report:
    """What a synthetic table is worth. A notebook shows its page; `print` its answers."""

    values: report.Report
    """Every figure, typed: `report.values.privacy.mia.auc`."""
    html: str
    """The page: one file that loads nothing."""

    def save(self, path: str | Path) -> None:
        """Writes the page into a file."""
        files.write(files.path(path), self.html)

    def _repr_html_(self) -> str:
        return f'<iframe srcdoc="{html.escape(self.html)}" width="100%" height="{HEIGHT}" title="Report"></iframe>'

    def __str__(self) -> str:
        return "\n".join(f"{verdict.question} {verdict.answer}" for verdict in self.values.verdicts)


class Asked(NamedTuple):
    """What `synthesize` was asked for."""

    model: str
    rows: int | None
    minutes: float
    level: str | None
    """None: rows are not judged."""
    final: str


@overload
def synthesize(
    frame: Any, target: str | None = ..., *, epsilon: float, **fields: Any
) -> tuple[Any, "private_frames.Certificate"]: ...
@overload
def synthesize(frame: Any, target: str | None = ..., *, epsilon: None = ..., **fields: Any) -> tuple[Any, Report]: ...
def synthesize(
    frame: Any,
    target: str | None = None,
    *,
    epsilon: float | None = None,
    model: str = auto.NAME,
    rows: int | None = None,
    minutes: float | None = None,
    workdir: str | Path | None = None,
    **fields: Any,
) -> Any:
    """A synthetic copy of a data frame, and a report on what it is worth; or, with epsilon, a certificate of privacy.

    The same as `python -m synthjax.launch.synthesize`, which prints the same: columns, rules, how models compare.

        synthetic, report = synthjax.synthesize(frame, target="churned")
        report                          # in a notebook: the page; report.save("report.html") writes it

        synthetic, certificate = synthjax.synthesize(frame, target="churned", epsilon=1, dataset="customers")
        print(certificate)              # what is promised; synthetic rows and certificate may be published

    Args:
      frame: a pandas or Polars data frame or a PyArrow table, one row per example; an index is left out.
      target: the column to predict, by which the report says how useful the rows are.
      epsilon: the budget of differential privacy; None: the rows are not private.
      model: a model of tables, such as "mixture"; "auto": models are compared on held-out rows, or, with epsilon,
        `table_marginals`.
      rows: number of synthetic rows; default: as many as are trained on: 72 % of the frame's, or all.
      minutes: of training at most; 0: no limit. Default: 10, or no limit with epsilon.
      workdir: a folder that keeps the run, with the real rows, for `synthjax.load`; default: nothing is kept. With
        epsilon, `publish` in it may be published, and `internal/eval` has a report for the owner of the data alone.
      fields: `level`: how thorough the report is, "look", "quick" or "full". `final="all"`: after the report the model
        is trained again, on all rows, and the synthetic rows are its own; they are not judged, since no unseen rows are
        left. Others are fields of `synthjax.launch.config.Experiment`, such as `seed=1`, `min_count=10` or
        `schema="schema.yaml"`; with epsilon, of `synthjax.launch.config.Privacy` too: `dataset`, which is the name of
        the data in the ledger and must be given, `delta`, `unit`, `total`.

    Returns:
      The synthetic rows as a frame of the same library, with the same columns but for free text; and the report, or
      the certificate. With epsilon, types of columns follow from the released schema.

    Raises:
      InputError: no such model or field, an unreadable frame, a folder of another run, or a used-up budget.

    **Formal guarantees.** With epsilon, rows, certificate and DIR/publish are (epsilon, delta)-differentially private;
    see the threat model. Names and types of columns are public: read files with `dtype=str`, so none depends on rows.
    """
    real = _read(frame)
    limit = minutes if minutes is not None else 0.0 if epsilon is not None else auto.MINUTES
    asked = Asked(model, rows, limit, fields.pop("level", "quick"), fields.pop("final", "train"))
    _check(asked, fields, epsilon, kept=workdir is not None)
    fields |= {} if target is None else {"target": target}
    with ExitStack() as stack:
        folder = files.path(workdir or stack.enter_context(tempfile.TemporaryDirectory()))
        if epsilon is None:
            return _plain(real, folder, asked, fields)
        from synthjax.launch import private_frames

        asked = asked._replace(level=asked.level if workdir else None)
        return private_frames.synthesize(real, folder, asked, fields | {"epsilon": epsilon})


def _plain(real: nw.DataFrame[Any], folder: Path, asked: Asked, fields: dict[str, Any]) -> tuple[Any, Report]:
    """`synthesize` without epsilon."""
    given = [(name, str(value), name) for name, value in {"rules": True, **fields}.items()]
    if raced := asked.model == auto.NAME:
        auto.check([name for name in fields if name != "target"])
    folder.mkdir(parents=True, exist_ok=True)
    with files.atomic(folder / TABLE) as file:
        pq.write_table(_arrow(real), file)
    chosen = config.experiment(None, auto.CANDIDATES[0] if raced else asked.model, str(folder / TABLE))
    chosen = config.overrides(chosen, given)
    assert asked.level is not None
    made, found = launcher.make(
        chosen,
        folder,
        asked.minutes,
        said=None if raced else set(fields) - {"target"},
        rows=asked.rows,
        level=asked.level,
        final=asked.final == "all",
    )
    report = Report(found, (folder / "eval" / "report.html").read_text())
    return _like(real, pq.read_table(made)), report


def _check(asked: Asked, fields: Collection[str], epsilon: float | None, *, kept: bool) -> None:
    """Raises InputError if an argument of `synthesize` is none of its values; `kept`: whether there is a workdir."""
    level, final, rows, minutes = asked.level, asked.final, asked.rows, asked.minutes
    if level not in levels.LEVELS:
        raise InputError(f"level={level}: unknown; there are {', '.join(levels.LEVELS)}")
    if final not in ("train", "all"):
        raise InputError(f"final={final}: unknown; there are train and all")
    if rows is not None and rows < 1:
        raise InputError(f"rows={rows}: at least 1 is needed")
    if not 0 <= minutes < math.inf:
        raise InputError(f"minutes={minutes}: a finite number is needed, 0 for no limit")
    if epsilon is None:
        if odd := [field.name for field in dataclasses.fields(config.Privacy) if field.name in fields]:
            raise InputError(f"{odd[0]}: is understood with epsilon alone")
        return
    if final == "all":
        raise InputError("final=all: is a second fit; with epsilon, holdout=0 trains on more rows at once")
    if minutes and not kept:
        raise InputError(
            f"minutes={minutes:g}: a fit that is cut short has paid: give a workdir, in which it can go on"
        )


def _read(frame: Any) -> nw.DataFrame[Any]:
    try:
        real = nw.from_native(frame, eager_only=True)
    except TypeError as error:
        raise InputError(f"frame: a {type(frame).__name__} is no pandas, Polars or PyArrow data frame") from error
    return nw.maybe_reset_index(real)


def _arrow(real: nw.DataFrame[Any]) -> pa.Table:
    """Rows as a file holds them: categories are written out."""
    table = real.to_arrow()
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            column = table.column(place).cast(field.type.value_type)
            table = table.set_column(place, field.name, column)
    return table.replace_schema_metadata(None)


def _like(real: nw.DataFrame[Any], synthetic: pa.Table) -> Any:
    """Synthetic rows as a frame of the library and, where they can be, of the types of the real one."""
    made = nw.from_arrow(nw.from_native(synthetic, eager_only=True), backend=real.implementation)
    for name in made.columns:
        kind = real.schema[name]
        if made.schema[name] != kind:
            try:
                made = made.with_columns(nw.col(name).cast(kind))
            except Exception:  # each library has its own error; the column stays as the file has it
                continue
    return made.to_native()
