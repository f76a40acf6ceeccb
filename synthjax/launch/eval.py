"""Judges a synthetic data set: is it useful, does it look right, does it give its training examples away?

  python -m synthjax.launch.eval                                     # the newest run in runs/
  python -m synthjax.launch.eval --workdir=runs/ddpm-mnist --seeds=3
  python -m synthjax.launch.eval --real=mnist --data_dir=DIR --synthetic=anything.npz     # any generator's file
  python -m synthjax.launch.eval --real=train.csv --holdout=test.csv --synthetic=anything.csv --target=income
  python -m synthjax.launch.eval --real=train.npz --holdout=test.npz --synthetic=anything.npz
  python -m synthjax.launch.eval --fail_if='privacy.mia.auc>0.55' --fail_if='utility.cnn.tstr_over_trtr<0.98'
  python -m synthjax.launch.eval --compare runs/ddpm-mnist runs/vae-mnist              # side by side; also files
  python -m synthjax.launch.eval --real=mnist --compare mine.npz theirs.npz --out=both
  python -m synthjax.launch.eval --real=DIR1 --synthetic=DIR2 --key='orders.customer_id -> customers.id'   # folders
  python -m synthjax.launch.eval --render=runs/ddpm-mnist/eval/report.json             # the page again, nothing more

A run's own set of images, synthetic.npz in its workdir, is drawn first if it is missing or from another checkpoint: as
large as the training set; a run's own table is synthetic.csv or synthetic.parquet there. A table in a file needs
--holdout, real rows that its generator has not seen: without them neither usefulness nor privacy can be told. Of images
in a file or folder without a test split of its own, a fifth counts as unseen unless --holdout names another one.

The results are report.json (python -m synthjax.evals.report prints its JSON schema), report.html, and the figures as
tables, report.csv and report.tex, in DIR: --out, or eval/ in the workdir, or for a file alone NAME-eval/ beside it.
What is interrupted goes on from the last finished part. --compare judges what is not judged yet and writes
compare.json, .html, .csv and .tex into --out, or comparison/. Exit code 4 says that a condition of --fail_if holds.
"""

import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import msgspec
from absl import flags

from synthjax import files
from synthjax.errors import InputError, SynthjaxError
from synthjax.evals import page, report
from synthjax.evals.report import gates
from synthjax.launch import cli, compare, config, evaluate, levels, parts, runs, subjects
from synthjax.launch.console import say
from synthjax.launch.subjects import Asked

OF_TABLES = ("target", "schema")
OF_IMAGES = ("epochs",)
HOW = ("seed", "seeds", "epochs", "level", "shadows", "public")


def define_flags() -> None:
    """Defines the flags of this launcher."""
    flags.DEFINE_string("workdir", None, "Folder of the trained run; default: the newest one in runs/.")
    flags.DEFINE_string("real", None, "Data to judge --synthetic against, where there is no run: a name or a path.")
    flags.DEFINE_string("holdout", None, "With --real=FILE: a file of real rows or images that nothing was made from.")
    flags.DEFINE_string("target", None, "With --real of a table: the column that classifiers predict.")
    flags.DEFINE_string("schema", None, "With --real of a table: YAML or JSON file that corrects the kinds of columns.")
    flags.DEFINE_string("image_size", None, "With --real of images: resize them, to 64 or 48x64 pixels.")
    flags.DEFINE_string("data_dir", None, "Folder with the real data; default: the run's own, else SYNTHJAX_DATA_DIR.")
    flags.DEFINE_string(
        "synthetic", None, "FILE.npz (x and y), folder of images, .csv or .parquet to judge; default: the run's own."
    )
    flags.DEFINE_string("out", None, "Folder for report.json and report.html.")
    flags.DEFINE_integer(
        "seeds", None, "Networks or judges trained of each kind; default: 4, or 5 if full.", lower_bound=1
    )
    flags.DEFINE_integer("epochs", None, "Passes of each network through its images; default: 12.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed of everything random here.", lower_bound=0)
    flags.DEFINE_integer("member", 0, "Member of a run with --seeds.", lower_bound=0)
    flags.DEFINE_enum("checkpoint", None, list(runs.KEPT), runs.CHECKPOINT)
    flags.DEFINE_enum("level", "quick", list(levels.LEVELS), levels.HELP)
    flags.DEFINE_integer(
        "shadows", None, "Shadow models for attacks on the run's own model; default: 0, or 16 if full.", lower_bound=0
    )
    flags.DEFINE_integer("public", 0, "Members, and as many others, that an attacker knows beforehand.", lower_bound=0)
    flags.DEFINE_multi_string("compare", [], "Runs, or with --real files, or report.json files, to put side by side.")
    flags.DEFINE_string("render", None, "A report.json whose page is drawn again: report.html beside it, or in --out.")
    flags.DEFINE_multi_string("key", [], "Of folders of linked tables: 'orders.customer_id -> customers.id'.")
    flags.DEFINE_multi_string("keep", [], "Of folders of linked tables: the name of one that is copied as it is.")
    flags.DEFINE_multi_string("fail_if", [], "Condition on a number in report.json that ends the command with code 4.")


def check_flags(given: Mapping[str, Any], *, table: bool) -> None:
    """Raises SynthjaxError for a flag, by name in `given`, that says nothing, or nothing of this kind of data."""
    for name in OF_IMAGES if table else OF_TABLES:
        if given[name] is not None:
            raise SynthjaxError(f"--{name}: is for {'images' if table else 'tables'}; this is the other kind of data")
    if given.get("shadows") == 1:
        raise SynthjaxError("--shadows=1: at least 2, or 0 for none")


def spread(argv: Sequence[str]) -> list[str]:
    """A command line with `--compare A B C` written as absl reads it: one flag per value."""
    words, comparing = [], False
    for word in argv:
        if word.startswith("-"):
            comparing = word in ("--compare", "-compare")
            if not comparing:
                words.append(word)
        else:
            words.append(f"--compare={word}" if comparing else word)
    return words


def parse_gates(texts: Sequence[str], *, has_model: bool, kind: report.Kind) -> list[gates.Gate]:
    """The gates of --fail_if; SynthjaxError if one names no number of the report, or a model where there is none."""
    found = []
    for text in texts:
        try:
            found.append(gates.Gate.parse(text, kind))
        except ValueError as error:
            raise SynthjaxError(f"--fail_if: {error}") from None
        if found[-1].needs_model and not has_model:
            raise SynthjaxError(f"--fail_if={text}: with --real there is no model to attack")
    return found


def judge(
    asked: Asked, protocol: dict[str, Any], out: str | None, *, reuse: dict[str, Any] | None = None
) -> report.Report:
    """Judges one set by the flags in `protocol`; `out` is the folder of the results, None: beside the set.

    A report that is there will do if it is on the same files and has the settings `reuse`; None: none will.
    """
    table = asked.table
    check_flags({**asked._asdict(), **protocol}, table=table)
    subject = subjects.find(asked, table=table, seed=protocol["seed"])
    folder = evaluate.output_folder(subject.file, subject.run, out)
    if reuse is not None and (known := parts.finished(folder, subject.file, subject.real, subject.run, reuse)):
        return known
    given = {name: value for name, value in protocol.items() if not (table and name in OF_IMAGES)}
    return evaluate.run(subject, folder, **given)


def render(file: str, out: str | None) -> Path:
    """Draws the page of a report that was written before; returns its path. InputError if the report is not whole."""
    path = files.path(file)
    found = report.read(path)
    if found.pictures is None:
        raise InputError(f"{path}: holds no pictures, without which there is no page: judge the set again")
    try:
        text = page.render(msgspec.to_builtins(found))
    except (LookupError, TypeError, ValueError, jinja2.TemplateError) as error:
        # A report.json is anybody's file, and what is in `pictures` has no types.
        raise InputError(f"{path}: the report is damaged ({type(error).__name__}: {error})") from error
    folder = files.path(out) if out else path.parent
    with files.named_errors(folder, "made"):
        folder.mkdir(parents=True, exist_ok=True)
    files.write(folder / "report.html", text)
    return folder / "report.html"


def judge_linked() -> None:
    """Judges folders of linked tables, see `launch.linked_eval`; InputError for flags that they do not have."""
    from synthjax.launch import linked_eval

    given = flags.FLAGS
    for name in ("real", "synthetic"):
        if given[name].value is None:
            raise InputError(f"--{name}: of linked tables, a folder with a file for each is needed")
    known = ("real", "synthetic", "holdout", "schema", "out", "seed")
    names = [name for name in (*Asked._fields, *HOW, "compare", "fail_if") if name not in known]
    if others := [name for name in names if given[name].present]:
        raise InputError(f"--{others[0]}: is not for linked tables; leave it out")
    linked_eval.run(
        given.real,
        given.synthetic,
        said=linked_eval.Said(tuple(given.key), tuple(given.keep), given.schema),
        holdout=given.holdout,
        out=given.out,
        seed=given.seed,
    )


def main() -> None:
    """Runs the launcher."""
    given = flags.FLAGS
    if given.render:
        others = [name for name in (*Asked._fields, *HOW, "compare", "fail_if") if given[name].present]
        if others:
            raise SynthjaxError(f"--{others[0]} does not go with --render, which measures nothing")
        say(f"wrote {render(given.render, given.out)}: open it in a browser")
        return
    config.check_seed(given.seed, "--seed")
    if given.key or (given.synthetic and (files.path(given.synthetic) / "linked.yaml").exists()):
        judge_linked()
        return
    flags_of: dict[str, Any] = {name: given[name].value for name in Asked._fields}
    asked = Asked(**flags_of)
    protocol = {name: given[name].value for name in HOW}
    if given.compare:
        if given.fail_if:
            raise SynthjaxError("--fail_if does not go with --compare: it is about one set")
        reuse = {name: value for name, value in protocol.items() if given[name].present}
        work = functools.partial(judge, protocol=protocol, out=None, reuse=reuse)
        compare.run(given.compare, asked, files.path(given.out or "comparison"), work)
        return
    kind: report.Kind = "table" if asked.table else "image"
    conditions = parse_gates(given.fail_if, has_model=given.real is None, kind=kind)
    gates.check(conditions, judge(asked, protocol, given.out))


if __name__ == "__main__":
    define_flags()
    sys.argv = spread(sys.argv)
    cli.run(main, __doc__)
