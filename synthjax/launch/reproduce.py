"""Runs the experiment of a published study, and shows each figure beside the study's own.

  python -m synthjax.launch.reproduce --study=s0 --data_dir=DIR           small training sets (Lee et al.)
  python -m synthjax.launch.reproduce --study=s1 --data_dir=DIR --table=2 four conditional GANs (Clinton & Teeter)
  python -m synthjax.launch.reproduce --study=s2 --data_dir=DIR           four GANs of tables (Joshi et al.)
  python -m synthjax.launch.reproduce --study=s3 --data_dir=DIR           VAE, GAN, DDPM side by side (Nayal)
  python -m synthjax.launch.reproduce --study=s4 --data_dir=DIR           a GAN on growing tables (Despres & Shariff)
  python -m synthjax.launch.reproduce --study=adult --data_dir=DIR        tables: fidelity against leakage
  python -m synthjax.launch.reproduce --study=all --data_dir=DIR          every model side by side
  python -m synthjax.launch.reproduce --study=s1 --quick                  the same code on scikit-learn's data sets

A study takes hours. It can be interrupted: the same command goes on where it stopped. Tables go to tables.md in the
workdir, pictures beside it. Settings are those of configs/studies/STUDY.py; --config.FIELD=VALUE changes one.
"""

import dataclasses
import functools
import importlib
import runpy
import sys
import types
from importlib import resources
from pathlib import Path
from typing import Any

from absl import flags

from synthjax import files
from synthjax.errors import InputError
from synthjax.launch import cli, config, train
from synthjax.studies.workspace import Workspace, update

STUDIES = ("s0", "s1", "s2", "s3", "s4", "adult", "all")


def define_flags() -> None:
    """Defines the flags of this launcher."""
    flags.DEFINE_enum("study", None, STUDIES, "Which study.")
    flags.DEFINE_list("table", [], "Only these tables, by the study's numbers; default: all.")
    flags.DEFINE_bool("quick", False, "The same code on an embedded data set, in minutes: a check, not a result.")
    flags.DEFINE_string("workdir", None, "Folder of the study (default: runs/STUDY, or runs/STUDY-quick).")
    flags.DEFINE_string("data_dir", None, "Folder with the data's files (default: $SYNTHJAX_DATA_DIR).")
    flags.DEFINE_float(
        "minutes", None, "s3: time for all training; all: for that of each model (default: as its config says).", 0.0
    )
    flags.DEFINE_bool(
        "update_results", False, "Write the tables that are made into ./RESULTS.md too; not with --quick."
    )


def settings(study: str, quick: bool, given: list[tuple[str, str]]) -> Any:
    """The Config of a study: that of its file in configs/studies, changed as the command line says.

    Raises:
      InputError: a field cannot be set so.
    """
    found = runpy.run_path(str(resources.files("synthjax.configs") / "studies" / f"{study}.py"))
    chosen = found["QUICK" if quick else "CONFIG"]
    return config.overrides(chosen, [(field, value, f"--config.{field}") for field, value in given])


def decisive(study: types.ModuleType, chosen: Any) -> dict[str, Any]:
    """The fields of a study's Config that decide what a piece of it holds: all but those it calls OPEN."""
    return {name: v for name, v in dataclasses.asdict(chosen).items() if name not in getattr(study, "OPEN", ())}


def main(argv: list[str], given: list[tuple[str, str]]) -> None:
    """Runs a study; see the module's docstring."""
    del argv
    asked = flags.FLAGS
    if asked.study is None:
        raise InputError(f"--study: say which one, of {', '.join(STUDIES)}")
    if asked.quick and asked.update_results:
        raise InputError("--update_results: not with --quick, whose figures are no results")
    study = importlib.import_module(f"synthjax.studies.{asked.study}")
    chosen = settings(asked.study, asked.quick, given)
    if asked.minutes is not None:
        chosen = config.override(chosen, "minutes", str(asked.minutes), "--minutes")
    if unknown := [name for name in asked.table if name not in study.TABLES]:
        raise InputError(f"--table={unknown[0]}: {asked.study} has {', '.join(study.TABLES)}")
    folder = files.path(asked.workdir or f"runs/{asked.study}{'-quick' * asked.quick}")
    workspace = Workspace(folder, asked.data_dir, {"study": asked.study, **decisive(study, chosen)})
    made = {}
    for name, make in study.TABLES.items():
        if asked.table and name not in asked.table:
            continue
        text = "\n\n".join(table.markdown() for table in make(workspace, chosen))
        print(f"\n{text}\n", flush=True)
        workspace.keep_table(name, text)
        made[name] = text
    text = workspace.tables(study.TABLES)
    files.write(folder / "tables.md", f"{text}\n")
    if asked.update_results:
        update(Path("RESULTS.md"), asked.study, made, study.TABLES)
    print(f"wrote {folder}/tables.md and the pictures beside it")


if __name__ == "__main__":
    try:
        sys.argv, _given = train.overrides(sys.argv)
    except InputError as error:
        sys.exit(f"error: {error}")
    define_flags()
    cli.run(functools.partial(main, given=_given), __doc__)
