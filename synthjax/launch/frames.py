"""`synthjax.synthesize`: from a data frame to a synthetic one and a report, in Python."""

import html
import math
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import narwhals.stable.v2 as nw
import pyarrow as pa
import pyarrow.parquet as pq

from synthjax import files
from synthjax.errors import InputError
from synthjax.evals import report
from synthjax.launch import auto, config, levels
from synthjax.launch import synthesize as launcher

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


def synthesize(
    frame: Any,
    target: str | None = None,
    *,
    model: str = "auto",
    rows: int | None = None,
    minutes: float = auto.MINUTES,
    level: Literal["look", "quick", "full"] = "quick",
    final: Literal["train", "all"] = "train",
    workdir: str | Path | None = None,
    **fields: Any,
) -> tuple[Any, Report]:
    """A synthetic copy of a data frame, and a report on what it is worth.

    The same as `python -m synthjax.launch.synthesize`, which prints the same: columns and the rules between them, how
    models compare, answers.

        synthetic, report = synthjax.synthesize(frame, target="churned")
        report                          # in a notebook: the page; report.save("report.html") writes it

    Args:
      frame: a pandas or Polars data frame or a PyArrow table, one row per example; an index is left out.
      target: the column to predict, by which the report says how useful the rows are.
      model: a model of tables, such as "mixture"; "auto": models are compared on held-out rows.
      rows: number of synthetic rows; default: as many as are trained on: 72 % of the frame's, or all.
      minutes: of training at most; 0: no limit.
      level: how thorough the report is.
      final: "all": after the report the model is trained again, on all rows, and the synthetic rows are its own. They
        are not judged, since no unseen rows are left.
      workdir: a folder that keeps the run, with the real rows as `table.parquet`, for `synthjax.load`; default: nothing
        is kept.
      fields: of `synthjax.launch.config.Experiment`, such as `seed=1`, `min_count=10` or `schema="schema.yaml"`.

    Returns:
      The synthetic rows as a frame of the same library, with the same columns but for free text; and the report.

    Raises:
      InputError: no such model or field, a frame that cannot be read, or a folder that holds another run.
    """
    real = _read(frame)
    _check(level, final, rows, minutes)
    given = [(name, str(value), name) for name, value in {"rules": True, **fields}.items()]
    if target is not None:
        given.append(("target", target, "target"))
    if raced := model == auto.NAME:
        auto.check(list(fields))
    with ExitStack() as stack:
        kept = files.path(workdir) if workdir is not None else None
        folder = kept or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        with files.atomic(folder / TABLE) as file:
            pq.write_table(_arrow(real), file)
        chosen = config.experiment(None, auto.CANDIDATES[0] if raced else model, str(folder / TABLE))
        said = None if raced else set(fields)
        chosen = config.overrides(chosen, given)
        made, found = launcher.make(chosen, folder, minutes, said=said, rows=rows, level=level, final=final == "all")
        report = Report(found, (folder / "eval" / "report.html").read_text())
        return _like(real, pq.read_table(made)), report


def _check(level: str, final: str, rows: int | None, minutes: float) -> None:
    """Raises InputError if an argument of `synthesize` is none of its values."""
    if level not in levels.LEVELS:
        raise InputError(f"level={level}: unknown; there are {', '.join(levels.LEVELS)}")
    if final not in ("train", "all"):
        raise InputError(f"final={final}: unknown; there are train and all")
    if rows is not None and rows < 1:
        raise InputError(f"rows={rows}: at least 1 is needed")
    if not 0 <= minutes < math.inf:
        raise InputError(f"minutes={minutes}: a finite number is needed, 0 for no limit")


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
