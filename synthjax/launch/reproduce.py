"""Runs the experiment of a published study, and shows each figure beside the study's own.

  python -m synthjax.launch.reproduce                                     lists the studies
  python -m synthjax.launch.reproduce --study=s0 --data_dir=DIR           runs one
  python -m synthjax.launch.reproduce --study=s1 --table=2 --data_dir=DIR makes one of its tables
  python -m synthjax.launch.reproduce --study=all --data_dir=DIR          runs all, one after the other
  python -m synthjax.launch.reproduce --study=s1 --quick                  the same code on scikit-learn's data sets

A study takes hours. It can be interrupted: the same command goes on where it stopped. Tables go to tables.md in the
workdir, pictures beside it. Settings are those of configs/studies/STUDY.py; --config.FIELD=VALUE changes one.
"""

import dataclasses
import importlib
import runpy
import types
from importlib import resources
from pathlib import Path
from typing import Any

from absl import flags

from synthjax import files
from synthjax.errors import InputError
from synthjax.launch import config, train

STUDIES = {
    "s0": "small training sets of real and generated digits (Lee, Rothenberg & Shah)",
    "s1": "four conditional GANs, and a class that is rare (Clinton & Teeter)",
    "s2": "four GANs of tables (Joshi, Kaloskampis & Nolan)",
    "s3": "VAE, GAN and DDPM side by side (Nayal)",
    "s4": "a GAN on more and more rows of a table (Despres & Shariff)",
    "adult": "models of the Adult table: fidelity against leakage",
    "models": "every model of images and of tables side by side",
    "medmnist": "every model of images on small medical sets (MedMNIST)",
}
ALL = "all"
OF_ONE = ("table", "minutes")
"""Flags that only one study can take."""


def define_flags() -> None:
    """Defines the flags of this launcher."""
    flags.DEFINE_enum("study", None, [*STUDIES, ALL], f"Which study, or {ALL}; default: lists them.")
    flags.DEFINE_list("table", [], "Only these tables, by the study's numbers; default: all.")
    flags.DEFINE_bool("quick", False, "The same code on an embedded data set, in minutes: a check, not a result.")
    flags.DEFINE_string("workdir", None, "Folder of the study (default: runs/STUDY, or runs/STUDY-quick).")
    flags.DEFINE_string("data_dir", None, "Folder with the data's files (default: $SYNTHJAX_DATA_DIR).")
    flags.DEFINE_float(
        "minutes",
        None,
        "s3: time for all training; models, medmnist: for that of each (default: as its config says).",
        0.0,
    )
    flags.DEFINE_bool(
        "update_results", False, "Write the tables into ./docs/results/studies/STUDY.md too; not with --quick."
    )


def settings(study: str, quick: bool, given: list[tuple[str, str]]) -> Any:
    """A study's Config, of its quick variant if asked, with fields that are given; InputError if one cannot be set."""
    found = runpy.run_path(str(resources.files("synthjax.configs") / "studies" / f"{study}.py"))
    chosen = found["QUICK" if quick else "CONFIG"]
    return config.overrides(chosen, [(field, value, f"--config.{field}") for field, value in given])


def decisive(study: types.ModuleType, chosen: Any) -> dict[str, Any]:
    """The fields of a study's Config that decide what a piece of it holds: all but those it calls OPEN."""
    return {name: v for name, v in dataclasses.asdict(chosen).items() if name not in getattr(study, "OPEN", ())}


def run(name: str, given: list[tuple[str, str]], folder: Path) -> None:
    """Runs a study, or those of its tables that the flags ask for, in its folder.

    InputError: the study has no such table or field, the data cannot be read, or the folder is another study's.
    """
    from synthjax.studies.workspace import Workspace, update

    asked = flags.FLAGS
    study = importlib.import_module(f"synthjax.studies.{name}")
    chosen = settings(name, asked.quick, given)
    if asked.minutes is not None:
        chosen = config.override(chosen, "minutes", str(asked.minutes), "--minutes")
    if unknown := [table for table in asked.table if table not in study.TABLES]:
        raise InputError(f"--table={unknown[0]}: {name} has {', '.join(study.TABLES)}")
    workspace = Workspace(folder, asked.data_dir, {"study": name, **decisive(study, chosen)})
    made = {}
    for number in (number for number in study.TABLES if number in asked.table or not asked.table):
        text = "\n\n".join(table.markdown() for table in study.TABLES[number](workspace, chosen))
        print(f"\n{text}\n", flush=True)
        workspace.keep_table(number, text)
        made[number] = text
    files.write(folder / "tables.md", f"{workspace.tables(study.TABLES)}\n")
    if asked.update_results:
        update(Path(f"docs/results/studies/{name}.md"), name, made, study.TABLES)
    print(f"wrote {folder}/tables.md and the pictures beside it")


def main(given: list[tuple[str, str]]) -> None:
    """Lists the studies, or runs one or all; see the module's docstring."""
    asked = flags.FLAGS
    if asked.study is None:
        print("\n".join(f"--study={name:8} {what}" for name, what in {**STUDIES, ALL: "all of these"}.items()))
        return
    if asked.quick and asked.update_results:
        raise InputError("--update_results: not with --quick, whose figures are no results")
    if asked.study != ALL:
        return run(asked.study, given, files.path(asked.workdir or f"runs/{asked.study}{'-quick' * asked.quick}"))
    if of_one := [f"--{name}" for name in OF_ONE if asked[name].present] + [f"--config.{name}" for name, _ in given]:
        raise InputError(f"{of_one[0]}: is for one study; name it by --study")
    for name in STUDIES:
        print(f"study {name}: {STUDIES[name]}", flush=True)
        run(name, given, files.path(asked.workdir or "runs") / f"{name}{'-quick' * asked.quick}")


if __name__ == "__main__":
    train.launch(main, define_flags, __doc__)
