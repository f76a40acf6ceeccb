"""Judges a synthetic data set: is it useful, does it look right, does it give its training examples away?

  python -m synthjax.launch.eval                                     # the newest run in runs/
  python -m synthjax.launch.eval --workdir=runs/ddpm-mnist --seeds=3
  python -m synthjax.launch.eval --real=mnist --data_dir=DIR --synthetic=anything.npz     # any generator's file
  python -m synthjax.launch.eval --real=train.csv --holdout=test.csv --synthetic=anything.csv --target=income
  python -m synthjax.launch.eval --fail_if='privacy.mia.auc>0.55' --fail_if='utility.cnn.tstr_over_trtr<0.98'

A run's own set of images, synthetic.npz in its workdir, is drawn first if it is missing or from another checkpoint: as
large as the training set; a run's own table is synthetic.csv or synthetic.parquet there. A table in a file needs
--holdout, real rows that its generator has not seen: without them neither usefulness nor privacy can be told.

The results are DIR/report.json and DIR/report.html, DIR being --out, or eval/ in the workdir, or for a file alone
NAME-eval/ beside it. Exit code 4 says that a condition of --fail_if holds.
"""

from collections.abc import Sequence
from typing import Any

from absl import flags

from synthjax.errors import SynthjaxError
from synthjax.evals import report, tabular_report
from synthjax.launch import cli, eval_images, eval_tables, judging, runs, subjects, table_subjects

NAMES = ("workdir", "real", "data_dir", "synthetic", "member", "checkpoint")
OF_TABLES = ("holdout", "target", "schema")
OF_IMAGES = ("epochs",)


def define_flags() -> None:
    """Defines the flags of this launcher."""
    flags.DEFINE_string("workdir", None, "Folder of the trained run; default: the newest one in runs/.")
    flags.DEFINE_string("real", None, "Data to judge --synthetic against, where there is no run: a name or a path.")
    flags.DEFINE_string("holdout", None, "With --real=FILE of a table: a file of real rows that nothing was made from.")
    flags.DEFINE_string("target", None, "With --real of a table: the column that classifiers predict.")
    flags.DEFINE_string("schema", None, "With --real of a table: YAML or JSON file that corrects the kinds of columns.")
    flags.DEFINE_string("data_dir", None, "Folder with the real data; default: the run's own, else SYNTHJAX_DATA_DIR.")
    flags.DEFINE_string("synthetic", None, "FILE.npz (x and y), .csv or .parquet to judge; default: the run's own.")
    flags.DEFINE_string("out", None, "Folder for report.json and report.html.")
    flags.DEFINE_integer("seeds", None, "Networks or judges trained of each kind; default: 5.", lower_bound=1)
    flags.DEFINE_integer("epochs", None, "Passes of each network through its images; default: 12.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed of everything random here.", lower_bound=0)
    flags.DEFINE_integer("member", 0, "Member of a run with --seeds.", lower_bound=0)
    flags.DEFINE_enum("checkpoint", "last", list(runs.KEPT), "The last state, or the best of --eval_every.")
    flags.DEFINE_bool("quick", False, "A first look: 2 seeds, fewer epochs, at most 1,000 examples attacked.")
    flags.DEFINE_multi_string("fail_if", [], "Condition on a number in report.json that ends the command with code 4.")


def check_flags(given: flags.FlagValues, *, table: bool) -> None:
    """Raises SynthjaxError for a flag that says nothing of this kind of data."""
    for name in OF_IMAGES if table else OF_TABLES:
        if given[name].value is not None:
            raise SynthjaxError(f"--{name}: is for {'images' if table else 'tables'}; this is the other kind of data")


def main(argv: Sequence[str]) -> None:
    """Runs the launcher."""
    given = flags.FLAGS
    asked: dict[str, Any] = {name: given[name].value for name in NAMES}
    table = table_subjects.is_table(given.real, given.workdir)
    check_flags(given, table=table)
    known = tabular_report.GATEABLE if table else report.GATEABLE
    gates = judging.parse_gates(given.fail_if, has_model=given.real is None, known=known)
    protocol = {"quick": given.quick, "seed": given.seed, "seeds": given.seeds}
    if table:
        asked.update({name: given[name].value for name in OF_TABLES})
        rows = table_subjects.find(**asked)
        found = eval_tables.run(rows, judging.output_folder(rows.file, rows.run, given.out), **protocol)
    else:
        subject = subjects.find(**asked, seed=given.seed)
        out = judging.output_folder(subject.file, subject.run, given.out)
        found = eval_images.run(subject, out, **protocol, epochs=given.epochs)
    report.check_gates(gates, found)


if __name__ == "__main__":
    define_flags()
    cli.run(main, __doc__)
