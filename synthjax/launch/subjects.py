"""What an evaluation judges: a synthetic set, the real data beside it, and the run that it came from, if it is known.

A set counts as a run's own when the manifest beside it names that run's model and the file is still the one that the
manifest describes. Any other file is foreign: nothing is known about which real examples its generator has seen. The
training split of a foreign table is what its generator is taken to have seen, all of it: a data set known by name is
not cut further than into training and test rows, and a table in a file comes with a second file of unseen rows.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import synthjax
from synthjax import data, files
from synthjax.data import image_sources, table_names, writers
from synthjax.data.requests import Job
from synthjax.errors import InputError, SynthjaxError
from synthjax.evals.domains import Rows
from synthjax.evals.domains.tables import SMALLEST
from synthjax.evals.privacy import Persons
from synthjax.evals.streams import stream
from synthjax.evals.table import from_frames
from synthjax.launch import class_counts, cli, notes, runs, sample
from synthjax.launch.synthetic_images import Synthetic, read_synthetic
from synthjax.model import DataSpec, Model, State

if TYPE_CHECKING:
    import pandas as pd

OWN = ("synthetic.csv", "synthetic.parquet")
"""Names of a run's own table, in its workdir."""
BLOCK = 500
"""Examples drawn at once at most."""


class Asked(NamedTuple):
    """The flags that say what is judged."""

    workdir: str | None = None
    real: str | None = None
    data_dir: str | None = None
    synthetic: str | None = None
    holdout: str | None = None
    target: str | None = None
    schema: str | None = None
    image_size: str | None = None
    member: int = 0
    checkpoint: runs.Kept | None = None

    @property
    def table(self) -> bool:
        """Whether they ask for a table to be judged."""
        if self.real is not None:
            return image_sources.is_table(self.real, self.data_dir)
        return runs.read(cli.workdir(self.workdir))[1]["spec"]["kind"] == "table"


class Run(NamedTuple):
    """A trained run and what `synthjax.load` found in it."""

    workdir: Path
    model: Model
    state: State
    spec: DataSpec
    described: dict[str, Any]
    """name, config, member and sha256 of the model."""


class Subject(NamedTuple):
    """What is judged, against what."""

    real: data.Dataset
    rows: dict[str, Rows]
    """What is compared: "synthetic", "train", "test", and "holdout", which of tables may be missing."""
    file: Path
    run: Run | None
    """The run whose model made the file; None: made by who knows what, from who knows which examples."""
    notes: tuple[str, ...] = ()
    """What whoever reads the report has to know, a sentence each."""
    missing_columns: tuple[str, ...] = ()
    """Columns that a synthetic table lacks, of kinds that nothing is learnt from."""

    @property
    def table(self) -> bool:
        """Whether it is a table."""
        return self.real.table is not None

    @property
    def unseen(self) -> str:
        """The split that the generator cannot have seen.

        A foreign generator may have been trained on our holdout, which is part of everyone's training set.
        """
        return "holdout" if self.run is not None and len(self.real.holdout.x) else "test"

    @property
    def kinds(self) -> dict[str, str]:
        """Column -> kind, in the order of the real table."""
        assert self.real.table is not None
        return {field.name: field.kind for field in self.real.table.schema.fields}

    @property
    def target(self) -> str | None:
        """The column of a table that is predicted."""
        return None if self.real.table is None else self.real.table.schema.target


def unseen_and_reference(subject: Subject) -> tuple[data.Split, Rows, Rows]:
    """The examples that the generator cannot have seen, as its model reads them and as they are compared, and others.

    The others are the attacker's reference. Where there is no split left for them, the test examples are halved.
    """
    real, rows = subject.real, subject.rows
    if subject.unseen == "holdout":
        return real.holdout, rows["holdout"], rows["test"]
    whose = real.table.persons_of(real.test.index, test=True) if real.table else None
    test = rows["test"] if subject.table else real.test
    if len(real.holdout.x):
        attacked, reference = np.arange(len(real.test.x)), rows["holdout"]
    else:
        attacked, other = halves(len(real.test.x), whose)
        reference = test.take(other)
    if whose is not None:
        attacked = attacked[~known_persons(real)[attacked]]
    if len(attacked) == len(real.test.x):
        return real.test, test, reference
    return real.test.take(attacked), test.take(attacked), reference


def known_persons(real: data.Dataset) -> np.ndarray:
    """Which test rows are of persons with training rows, (n,) bool: those cannot stand for unseen ones."""
    table = real.table
    assert table is not None
    train, test = table.persons_of(real.train.index), table.persons_of(real.test.index, test=True)
    return np.zeros(len(real.test.x), bool) if train is None or test is None else np.isin(test, train)


def persons(subject: Subject, unseen: data.Split) -> Persons | None:
    """Whose the training rows and the unseen ones are; None if it is not known, or nobody has several."""
    table, train = subject.real.table, subject.real.train
    if table is None:
        return None
    whose = table.persons_of(train.index), table.persons_of(unseen.index, test=subject.unseen == "test")
    if whose[0] is None or whose[1] is None or len(np.unique(whose[0])) == len(whose[0]):
        return None
    return Persons(whose[0], whose[1])


def halves(n: int, persons: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The rows 0 ... n - 1 in two fixed random halves, each in order: those attacked, and the attacker's reference.

    With `persons` (n,), whose rows they are, halves of those.
    """
    rng = stream(0, "subjects.halves")
    if persons is not None:
        names = np.unique(persons)
        chosen = np.isin(persons, rng.permutation(names)[: (len(names) + 1) // 2])
        return np.flatnonzero(chosen), np.flatnonzero(~chosen)
    order = rng.permutation(n)
    return np.sort(order[: (n + 1) // 2]), np.sort(order[(n + 1) // 2 :])


def open_run(
    workdir: Path, member: int, data_dir: str | None, checkpoint: runs.Kept | None = None
) -> tuple[Run, data.Dataset]:
    """A trained run and the data it was trained on; InputError or CheckpointError where either is not there."""
    if runs.read(workdir)[0].all_rows:
        raise InputError(f"{workdir}: was trained on all rows of its table; none are left to judge it by")
    real = runs.trained_on(workdir, data_dir)
    model, state, spec = synthjax.load(workdir, member, checkpoint)
    described, _ = sample.describe_run(workdir, state, member, checkpoint)
    return Run(workdir, model, state, spec, described), real


def made_by(file: Path) -> str | None:
    """The sha256 of the model that a synthetic file's manifest names, if the file is still the one it describes."""
    values = writers.read_manifest(file.with_name(f"{file.name}.{writers.MANIFEST}"))
    if values is None or writers.damaged(file.parent, values["files"]):
        return None
    return values["request"].get("model", {}).get("sha256")


def draw_own(run: Run, real: data.Dataset, seed: int) -> Path:
    """The run's own synthetic set, drawn if it is missing or from another checkpoint: as large as the training set."""
    file = run.workdir / "synthetic.npz"
    if file.exists() and made_by(file) == run.described["sha256"]:
        return file
    n = len(real.train.x)
    request = sample.make_request(
        run.model,
        run.spec,
        class_counts.class_counts(run.spec, run.model.conditional, n=n, per_class=None),
        described=run.described,
        dataset={"name": real.name, "fingerprint": real.fingerprint},
        seed=seed,
        block=math.ceil(n / math.ceil(n / BLOCK)),  # the last block is drawn whole: leave little of it unused
    )
    # What was drawn from another checkpoint makes room; a file that somebody put there does not.
    replace = made_by(file) is not None
    try:
        Job(request, file).check(replace)
    except InputError:
        raise InputError(
            f"{file}: was not drawn by this run's model; judge it with --synthetic={file}, or remove it"
        ) from None
    print(f"drawing {request.rows:,} examples into {file}", flush=True)
    sample.fulfil(run.model, run.state, Job(request, file), overwrite=replace)
    return file


def find(asked: Asked, *, table: bool, seed: int) -> Subject:
    """What the flags ask to judge, a table or images; `seed`: of the set of images that a run draws, where it has none.

    SynthjaxError: flags that do not go together; InputError: the real data or the synthetic file cannot be judged.
    """
    if asked.real is not None:
        if asked.workdir is not None or asked.synthetic is None:
            kind = "FILE.csv (or .parquet)" if table else "FILE.npz"
            raise SynthjaxError(f"--real goes with --synthetic={kind} and without --workdir")
        real, file = _foreign(asked, table), files.path(asked.synthetic)
        return _read_table(real, file, None) if table else _read_images(real, file, None)
    for name in ("holdout", "target", "schema"):
        if getattr(asked, name) is not None:
            raise SynthjaxError(f"--{name} goes with --real: a run knows its own")
    run, real = open_run(cli.workdir(asked.workdir), asked.member, asked.data_dir, asked.checkpoint)
    if asked.synthetic is None:
        file = own_table(run, asked.checkpoint) if table else draw_own(run, real, seed)
        own = True
    else:
        file = files.path(asked.synthetic)
        own = made_by(file) == run.described["sha256"]
    return (_read_table if table else _read_images)(real, file, run if own else None)


def _foreign(asked: Asked, table: bool) -> data.Dataset:
    """The real data that a foreign file is judged against."""
    real, holdout = asked.real, asked.holdout
    assert real is not None
    if not table:
        # With unseen examples at hand, all of the real ones are what the generator is taken to have seen.
        share = 0.1 if holdout is None else 0.0
        return data.load(real, asked.data_dir, holdout=share, test=holdout, image_size=asked.image_size or "")
    named = real in table_names.TABLES
    if named and holdout is not None:
        raise SynthjaxError(f"--holdout goes with --real=FILE; {real} has test rows of its own")
    if not named and holdout is None:
        raise SynthjaxError(
            f"--real={real} needs --holdout=FILE, real rows that the generator has not seen: without them neither "
            "usefulness nor privacy can be told"
        )
    # Narrow codes: no model sees these rows. Nothing is held back: nothing is published.
    how: dict[str, Any] = {"holdout": 0.0, "encoding": "code", "min_count": 1, "test": holdout}
    return data.load(real, asked.data_dir, target=asked.target, schema=asked.schema, **how)


def own_table(run: Run, checkpoint: runs.Kept | None) -> Path:
    """The table in a run's folder that its model has drawn."""
    there = [run.workdir / name for name in OWN if (run.workdir / name).is_file()]
    makers = {file: made_by(file) for file in there}
    for file, maker in makers.items():
        if maker == run.described["sha256"]:
            return file
    out = run.workdir / OWN[0]
    command = f"python -m synthjax.launch.sample --workdir={run.workdir} --out={out}"
    command += "" if checkpoint is None else f" --checkpoint={checkpoint}"
    if not there:
        raise InputError(f"{out}: no such file; draw the run's table first: {command} --rows=N")
    if makers[there[0]] is not None:
        raise InputError(f"{there[0]}: was drawn from another checkpoint; draw it anew: {command} --rows=N --overwrite")
    raise InputError(
        f"{there[0]}: was not drawn by this run's model; judge it with --synthetic={there[0]}, or remove it"
    )


def _read_images(real: data.Dataset, file: Path, run: Run | None) -> Subject:
    labelled = run is not None and run.model.conditional
    return of_images(real, read_synthetic(file, real.spec, labelled=labelled), file, run)


def of_images(real: data.Dataset, synthetic: Synthetic, file: Path, run: Run | None) -> Subject:
    """The subject of a set of images."""
    rows = {"synthetic": synthetic, "train": real.train, "holdout": real.holdout, "test": real.test}
    told = notes.about(real, rows, foreign=run is None)
    return Subject(real, rows, file, run, (*_promise(run), *told))


def _promise(run: Run | None) -> list[str]:
    """What the run's differential privacy means, if it has any."""
    promise = notes.of_privacy(runs.read(run.workdir)[0].dp) if run is not None else ""
    return [promise] if promise else []


def _read_table(real: data.Dataset, file: Path, run: Run | None) -> Subject:
    assert real.table is not None
    few = len(real.holdout.x)
    if 0 < few < SMALLEST:
        real = real._replace(holdout=real.holdout.take(np.zeros(few, bool)))
    frames, told = read_frames(real, file)
    if 0 < few < SMALLEST:
        told = [*told, f"The holdout has {few} rows, too few to compare with: half of the test rows stand in for it."]
    assert real.table is not None
    schema = real.table.schema
    kinds = schema.comparable_kinds()
    lacking = tuple(name for name in kinds if name not in frames["synthetic"])
    rows = from_frames(frames, kinds, schema.target)
    if run is not None and (copying := files.read_json(run.workdir / runs.COPYING)) and copying["warning"]:
        told = [*told, copying["said"]]
    if known := int(known_persons(real).sum()):
        told = [*told, f"{known:,} test rows are of persons who have training rows too; no attack is tried on them."]
    told = [*_promise(run), *told]
    return Subject(real, rows, file, run, (*notes.about(real, rows, foreign=run is None), *told), lacking)


def read_frames(real: data.Dataset, file: Path) -> tuple[dict[str, "pd.DataFrame"], Sequence[str]]:
    """Typed rows of a synthetic table and of every split of the real one that has any; and notes on the former.

    InputError: the file cannot be read, is not of these columns, or there are too few rows.
    """
    from synthjax.data import foreign
    from synthjax.data.schema import DISCRETE, RARE

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
    frames["synthetic"], told = foreign.read(files.download(file), schema, known, real.table.train.tokens)
    for field in schema.fields:
        if field.kind in DISCRETE and field.pattern:  # new codes are none of the real ones, but of the same kind
            for frame in frames.values():
                if field.name in frame:
                    codes = frame[field.name]
                    frame[field.name] = codes.where(codes.isna() | codes.isin(field.categories), RARE)
    for name, frame in frames.items():
        there = len(frame) if target is None else int(frame[target].notna().sum())
        if there < SMALLEST:
            where = file if name == "synthetic" else f"{real.name}, {name}"
            what = "rows" if target is None else f"rows with a {target!r}"
            raise InputError(f"{where}: {there} {what}; at least {SMALLEST} are needed")
    return frames, told
