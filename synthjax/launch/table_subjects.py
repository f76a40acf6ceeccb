"""What an evaluation of a table judges: a synthetic table, the real rows beside it, and the run that it came from.

A file counts as a run's own as in `subjects`. Of a foreign file, the training split is what its generator is taken to
have seen, all of it: a data set known by name is not cut further than into training and test rows, and a table in a
file comes with a second file of rows that the generator has not seen.
"""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from synthjax import data, files
from synthjax.errors import InputError, SynthjaxError
from synthjax.evals.tabular_utility import SMALLEST
from synthjax.launch import cli, runs, subjects
from synthjax.launch.subjects import Run

if TYPE_CHECKING:
    import pandas as pd

OWN = ("synthetic.csv", "synthetic.parquet")
"""Names of a run's own table, in its workdir."""


class TableSubject(NamedTuple):
    """What is judged, against what."""

    real: data.Dataset
    frames: dict[str, "pd.DataFrame"]
    """Typed rows: "synthetic", "train", "test", and "holdout" unless it is empty."""
    file: Path
    run: Run | None
    """The run whose model made the file; None: made by who knows what."""
    notes: tuple[str, ...]
    """What whoever reads the report has to know, a sentence each."""

    @property
    def unseen(self) -> str:
        """The split that the generator cannot have seen; a foreign one may have been trained on our holdout."""
        return "holdout" if self.run is not None and len(self.real.holdout.x) else "test"

    @property
    def kinds(self) -> dict[str, str]:
        """Column -> kind, in the order of the real table."""
        assert self.real.table is not None
        return {field.name: field.kind for field in self.real.table.schema.fields}

    @property
    def target(self) -> str | None:
        """The column that is predicted."""
        assert self.real.table is not None
        return self.real.table.schema.target


def is_table(real: str | None, workdir: str | None) -> bool:
    """Whether the flags of these names ask for a table to be judged."""
    from synthjax.data import readers, table_dataset

    if real is not None:
        return real in table_dataset.NAMES or readers.is_table(real)
    return runs.read(cli.workdir(workdir))[1]["spec"]["kind"] == "table"


def find(
    *,
    workdir: str | None,
    real: str | None,
    data_dir: str | None,
    synthetic: str | None,
    member: int,
    holdout: str | None,
    target: str | None,
    schema: str | None,
    checkpoint: runs.Kept = "last",
) -> TableSubject:
    """What the flags of the same names ask to judge.

    Raises:
        SynthjaxError: flags that do not go together.
        InputError: the real data or the synthetic file cannot be judged; one line that says why.
    """
    if real is not None:
        if workdir is not None or synthetic is None:
            raise SynthjaxError("--real goes with --synthetic=FILE.csv (or .parquet) and without --workdir")
        return _read(_foreign(real, data_dir, holdout, target, schema), files.path(synthetic), None)
    for name, value in (("holdout", holdout), ("target", target), ("schema", schema)):
        if value is not None:
            raise SynthjaxError(f"--{name} goes with --real: a run knows its own")
    run, dataset = subjects.open_run(cli.workdir(workdir), member, data_dir, checkpoint)
    if synthetic is None:
        return _read(dataset, _own(run, checkpoint), run)
    own = subjects.made_by(files.path(synthetic)) == run.described["sha256"]
    return _read(dataset, files.path(synthetic), run if own else None)


def _foreign(
    real: str, data_dir: str | None, holdout: str | None, target: str | None, schema: str | None
) -> data.Dataset:
    """The real data that a foreign file is judged against."""
    from synthjax.data import table_dataset

    named = real in table_dataset.NAMES
    if named and holdout is not None:
        raise SynthjaxError(f"--holdout goes with --real=FILE; {real} has test rows of its own")
    if not named and holdout is None:
        raise SynthjaxError(
            f"--real={real} needs --holdout=FILE, real rows that the generator has not seen: without them neither "
            "usefulness nor privacy can be told"
        )
    # Narrow codes: no model sees these rows. Nothing is held back: nothing is published.
    return data.load(
        real, data_dir, holdout=0.0, target=target, encoding="code", schema=schema, min_count=1, test=holdout
    )


def _own(run: Run, checkpoint: runs.Kept) -> Path:
    """The table in a run's folder that its model has drawn."""
    there = [run.workdir / name for name in OWN if (run.workdir / name).is_file()]
    makers = {file: subjects.made_by(file) for file in there}
    for file, maker in makers.items():
        if maker == run.described["sha256"]:
            return file
    out = run.workdir / OWN[0]
    command = f"python -m synthjax.launch.sample --workdir={run.workdir} --out={out}"
    command += "" if checkpoint == "last" else f" --checkpoint={checkpoint}"
    if not there:
        raise InputError(f"{out}: no such file; draw the run's table first: {command} --rows=N")
    if makers[there[0]] is not None:
        raise InputError(f"{there[0]}: was drawn from another checkpoint; draw it anew: {command} --rows=N --overwrite")
    raise InputError(
        f"{there[0]}: was not drawn by this run's model; judge it with --synthetic={there[0]}, or remove it"
    )


def _read(real: data.Dataset, file: Path, run: Run | None) -> TableSubject:
    """The subject with all its rows, checked."""
    from synthjax.data import foreign
    from synthjax.data.schema import DISCRETE

    assert real.table is not None
    schema, target = real.table.schema, real.table.schema.target
    frames = {split: real.frame(split) for split in ("train", "holdout", "test") if len(getattr(real, split).x)}
    known = {
        field.name: set().union(*(frame[field.name].dropna().unique() for frame in frames.values()))
        for field in schema.fields
        if field.kind in DISCRETE
    }
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    frames["synthetic"], notes = foreign.read(files.download(file), schema, known, real.table.train.tokens)
    for name, frame in frames.items():
        there = len(frame) if target is None else int(frame[target].notna().sum())
        if there < SMALLEST:
            where = file if name == "synthetic" else f"{real.name}, {name}"
            what = "rows" if target is None else f"rows with a {target!r}"
            raise InputError(f"{where}: {there} {what}; at least {SMALLEST} are needed")
    return TableSubject(real, frames, file, run, (*_about(frames, target, len(schema.classes)), *notes))


def _about(frames: dict[str, "pd.DataFrame"], target: str | None, classes: int) -> list[str]:
    """What is to be known of the rows as a whole."""
    made, real = len(frames["synthetic"]), len(frames["train"])
    notes = []
    if made < real:
        notes.append(
            f"there are {made:,} synthetic rows and {real:,} training rows: ceiling and floor take {made:,} rows too"
        )
    if target is None:
        return [*notes, "no target is named: usefulness is not measured; --target=COLUMN names one"]
    unlabelled = int(frames["synthetic"][target].isna().sum())
    if unlabelled:
        notes.append(f"{unlabelled:,} synthetic rows have no {target!r}: usefulness is measured without them")
    if classes:
        counts = {str(name): int(n) for name, n in frames["train"][target].value_counts().items()}
        notes += subjects.absent(counts, set(frames["synthetic"][target].dropna().unique()), "row")
    return notes
