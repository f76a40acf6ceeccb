"""From a table to a synthetic table and a report on what it is good for, in one command.

    python -m synthjax.launch.synthesize --table=customers.csv --target=churned --out=DIR
    python -m synthjax.launch.synthesize --table=adult --data_dir=DIR --model=table_wcgan --minutes=10 --out=DIR

says what it found in each column and which rules hold between them, trains a model on part of the rows, draws as many
as that, shows some of them, and judges them against rows that the model has not seen. By default, --model=auto, models
are tried one after the other and the one whose rows are most like held-out rows is taken (`launch.auto`), in 10 minutes
unless --minutes says otherwise. Synthetic rows keep the rules (--config.rules=false: they need not); `launch.describe`
shows columns and rules before anything is trained. DIR is a run like any other, so `launch.sample` and `launch.eval`
take it as --workdir. The same command goes on where it was interrupted, --minutes giving training that much more. All
flags of `launch.train` are understood, --config.FIELD=VALUE too; those of one model need its name.

--epsilon=1 makes it differentially private: what may be published is in DIR/publish, the rest in DIR/internal.

The report can only judge a model that has not seen all rows. --final=all trains that model anew afterwards, as many
steps on all rows of the file, and draws its rows into DIR/final. They are not judged: the report is that of the model
of fewer rows, and all rows are as exposed as the training rows that it speaks of.
"""

import contextlib
import dataclasses
import shlex
from collections.abc import Collection
from pathlib import Path

from absl import flags

import synthjax
from synthjax import files
from synthjax.data.arrays import shown
from synthjax.data.requests import Job
from synthjax.errors import InputError
from synthjax.evals import report
from synthjax.launch import auto, evaluate, levels, model_selection, private, publish, runs, sample, subjects, train
from synthjax.launch.class_counts import class_counts
from synthjax.launch.config import Experiment
from synthjax.launch.subjects import Asked
from synthjax.launch.trained import Run

FINAL = "final"
"""The folder, in a run's, of the model that is trained on all rows, and of its rows."""
NOT_JUDGED = (
    "judged here are rows of a model of the training rows alone. The rows in final/ are of the same model, trained as "
    "many steps on all rows of the file. They are not judged, since no unseen rows are left; what is said of training "
    "rows may hold for every row"
)
"""Note of the report with --final=all."""
SHOWN = 20
"""Rows of the synthetic table that are shown, of at most 12 columns."""


def define_flags() -> None:
    """Defines the flags of this launcher: those of `train`, two of them under other names too."""
    train.define_flags()
    flags.DEFINE_multi_string("table", [], "A .csv or .parquet file, or a name (adult, ...); several: linked tables.")
    flags.DEFINE_multi_string(
        "key", [], "Of linked tables: 'orders.customer_id -> customers.id' (default: those that are sure)."
    )
    flags.DEFINE_multi_string("keep", [], "Of linked tables: the name of one that is public, and copied as it is.")
    flags.DEFINE_alias("out", "workdir")
    flags.DEFINE_alias("epsilon", "dp.epsilon")
    flags.DEFINE_integer("rows", None, "Rows of the synthetic table (default: as many as are trained on).", 1)
    flags.DEFINE_enum(
        "final", "train", ["train", "all"], "all: the model is trained again, on all rows, and not judged."
    )
    flags.DEFINE_enum("level", "quick", list(levels.LEVELS), f"How it is judged. {levels.HELP}")


def draw(workdir: Path, file: Path, rows: int, seed: int) -> None:
    """Draws a run's synthetic table; one from another checkpoint makes room for it, another file is an InputError."""
    model, state, spec = synthjax.load(workdir)
    encoder = runs.encoder(workdir)
    described, dataset = sample.describe_run(workdir, state, 0)
    request = sample.make_request(
        model,
        spec,
        class_counts(spec, model.conditional, n=rows, per_class=None),
        described=described,
        dataset=dataset,
        form=sample.output_form(str(file), None),
        seed=seed,
        block=sample.block_size(spec),
        encoder=encoder,
    )
    with runs.precision(runs.read(workdir)[0]):
        sample.fulfil(model, state, Job(request, file, encoder), overwrite=subjects.made_by(file) is not None)


def look(file: Path) -> str:
    """The first rows of a table that `draw` wrote, for a terminal."""
    import pandas as pd
    import pyarrow.parquet as pq

    file = files.download(file)
    if file.suffix == ".parquet":
        with pq.ParquetFile(file) as table:
            frame = next(table.iter_batches(SHOWN)).to_pandas()
    else:
        frame = pd.read_csv(file, nrows=SHOWN, dtype=str, keep_default_na=False)
    frame = frame.astype(object).where(frame.notna(), "").map(shown).rename(columns=shown)
    return str(frame.to_string(index=False, max_cols=12, max_colwidth=24))


def make(
    chosen: Experiment,
    workdir: Path,
    minutes: float,
    *,
    said: Collection[str] | None,
    rows: int | None,
    level: str,
    final: bool = False,
) -> tuple[Path, report.Report]:
    """Trains, draws a synthetic table, shows its first rows and judges it, as `launch.eval --workdir` does.

    Args:
        chosen: the experiment; of any candidate where models are compared.
        workdir: the run's folder.
        minutes: of training; 0: no limit.
        said: fields of the experiment that a person set; None: models are compared (`launch.auto`).
        rows: of the synthetic table; None: as many as are trained on.
        level: how it is judged, one of `levels.LEVELS`.
        final: whether the model is trained on all rows afterwards, in the folder `FINAL`.

    Returns:
        The file of the synthetic table, of the final model if there is one; and the report, whose page and figures are
        in WORKDIR/eval.
    """
    print(f"reading {chosen.dataset}{' and looking for rules' * chosen.rules} ...", flush=True)
    if said is None:
        chosen, found = auto.Race(chosen, workdir, minutes).run()
    else:
        found = auto.table_data(chosen)
        assert found.table is not None
        print(found.table.description.report(), flush=True)
        train.run(train.fitted(chosen, said, found), found, workdir, minutes)
        if len(found.holdout.y):
            model_selection.copying(workdir, found)
    file = workdir / ("synthetic.parquet" if Path(chosen.dataset).suffix == ".parquet" else "synthetic.csv")
    draw(workdir, file, rows or len(found.train.y), chosen.seed)
    print(f"\n{file}, its first rows:\n{look(file)}\n", flush=True)
    subject = subjects.find(Asked(workdir=str(workdir)), table=True, seed=chosen.seed)
    if final:
        subject = subject._replace(notes=(*subject.notes, NOT_JUDGED))
    judged = evaluate.run(subject, workdir / "eval", seed=chosen.seed, level=level)
    return (make_final(workdir, file.name, rows, chosen.seed) if final else file), judged


def make_final(workdir: Path, name: str, rows: int | None, seed: int) -> Path:
    """Trains the model of a run again, as many steps on all rows of the table, and draws its rows.

    Args:
        workdir: the run's folder, in which the folder `FINAL` is made.
        name: of the file of the rows.
        rows: how many; None: as many as are trained on.
        seed: of the rows.

    Returns:
        The file.
    """
    run = Run(workdir)
    found = dataclasses.replace(run.config, all_rows=True, stop="steps", stop_at=run.step, eval_every=0)
    every = runs.data(found)
    print(f"\n--- {found.name} again, {run.step:,} steps on all {len(every.train.y):,} rows ---", flush=True)
    train.run(found, every, workdir / FINAL)
    file = workdir / FINAL / name
    draw(workdir / FINAL, file, rows or len(every.train.y), seed)
    print(f"\n{NOT_JUDGED}", flush=True)
    return file


def make_private(
    chosen: Experiment, out: Path, minutes: float, said: Collection[str], rows: int | None, level: str | None
) -> Path | None:
    """Trains privately, publishes in OUT/publish, and judges the rows in OUT/internal without a word.

    Arguments as for `make`; without a level the rows are not judged.

    Returns:
        The published file of rows; that in OUT/internal of a test; None if the minutes were over before the end.
    """
    fitted = publish.fit(chosen, said, out, minutes)
    if fitted is None:
        return None
    name = "synthetic.parquet" if Path(chosen.dataset).suffix == ".parquet" else "synthetic.csv"
    count, folder = rows or fitted.data.spec.rows, fitted.session.folder
    draw(folder, folder / name, count, chosen.seed)
    print(f"\nits first rows:\n{look(folder / name)}", flush=True)
    made = folder / name
    if fitted.session.ledger is None:
        publish.close(fitted, [])
    else:
        target = publish.export(fitted)
        made = target.parent / name
        draw(target, made, count, chosen.seed)
        publish.close(fitted, sorted(file.name for file in target.parent.glob(f"{name}*")))
    if level is None:
        return made
    print(f"\njudging the rows for {folder}/eval, which is not to be published ...", flush=True)
    with (folder / "judged.txt").open("w") as told, contextlib.redirect_stdout(told):
        try:
            evaluate.run(
                subjects.find(Asked(workdir=str(folder)), table=True, seed=chosen.seed),
                folder / "eval",
                seed=chosen.seed,
                level=level,
            )
        except InputError as error:
            print(error)
    return made


def make_linked(given: list[tuple[str, str]]) -> None:
    """Makes linked tables, see `launch.linked`; InputError for flags that they do not have."""
    from synthjax.launch import linked

    asked = flags.FLAGS
    if asked["dp.epsilon"].value is not None or any(name.startswith("dp.") for name, _ in given):
        raise InputError("--epsilon: of one table alone; linked tables are not made with differential privacy yet")
    if asked.model not in (None, auto.NAME, linked.MODEL):
        raise InputError(f"--model={asked.model}: linked tables are made by {linked.MODEL}")
    for name in ("target", "config", "init_from", "freeze", "seeds", "dataset", "holdout"):
        if asked[name].present:
            raise InputError(f"--{name}: is for one table; leave it out")
    if asked.final == "all":
        raise InputError("--final=all: is for one table; leave it out")
    asked["model"].value, described = linked.MODEL, asked.schema
    asked["schema"].value = None
    chosen = train.experiment([("rules", "true"), *given])
    out = files.path(asked.workdir) if asked.workdir else files.path("runs/linked")
    minutes = asked.minutes if asked["minutes"].present else auto.MINUTES
    request = linked.Request(tuple(asked.table), tuple(asked.key), tuple(asked.keep), described, asked.data_dir)
    linked.make(request, linked.Asked(chosen, train.said(given), out, minutes, asked.rows))


def main(given: list[tuple[str, str]]) -> None:
    """Runs the launcher; `given` are the overrides that were split off the command line."""
    asked = flags.FLAGS
    if asked.distributed:
        raise InputError("--distributed: synthesize runs in one process; use launch.train and launch.sample")
    if len(asked.table) > 1 or asked.key or asked.keep:
        make_linked(given)
        return
    if asked.table:
        asked["dataset"].value = asked.table[0]
    if asked.dataset is None and asked.config is None:
        raise InputError("--table: name one, such as --table=customers.csv")
    raced, minutes = asked.model == auto.NAME or (asked.model is None and asked.config is None), asked.minutes
    if raced:
        set_by_flags = [name for name in train.SHORT if asked[name].value is not None]
        auto.check([field for field, _ in given] + [train.field(name) for name in set_by_flags])
        asked["model"].value = auto.CANDIDATES[0]
        minutes = asked.minutes if asked["minutes"].present else auto.MINUTES
    is_private = asked["dp.epsilon"].value is not None or any(name == "dp.epsilon" for name, _ in given)
    if raced and is_private:
        raced, minutes, asked["model"].value = False, asked.minutes, private.MODEL
    if asked.config is None and not is_private:
        given = [("rules", "true"), *given]
    chosen = train.experiment(given)
    workdir = files.path(asked.workdir) if asked.workdir else train.default_workdir(chosen)
    if raced and not asked.workdir:
        workdir = workdir.with_name(workdir.name.replace(chosen.name, auto.NAME, 1))
    said = None if raced else train.said(given)
    if chosen.private:
        if asked.final == "all":
            raise InputError("--final=all: is a second fit; with --dp.epsilon, --holdout=0 trains on more rows at once")
        assert said is not None
        make_private(chosen, workdir, minutes, said, asked.rows, asked.level)
        return
    final = asked.final == "all"
    file, _ = make(chosen, workdir, minutes, said=said, rows=asked.rows, level=asked.level, final=final)
    if (copying := files.read_json(workdir / runs.COPYING)) and copying["warning"]:
        print(f"\n{copying['said']}", flush=True)
    sampled = f"--workdir={shlex.quote(str(file.parent))} --rows=N --out=more{file.suffix}"
    print(
        f"\nthe synthetic table: {file}\nits card: {file}.card.md\n"
        f"more rows: python -m synthjax.launch.sample {sampled}",
        flush=True,
    )


if __name__ == "__main__":
    train.launch(main, define_flags, __doc__)
