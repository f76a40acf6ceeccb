"""Puts several judged sets side by side: the side of `launch.eval --compare`."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from synthjax import files
from synthjax.errors import InputError, SynthjaxError
from synthjax.evals import page, report
from synthjax.evals.report import compare, figures, rows
from synthjax.launch.console import say
from synthjax.launch.subjects import Asked

Judge = Callable[[Asked], report.Report]
"""What is asked to a report: made now, or before."""


def run(names: Sequence[str], asked: Asked, out: Path, judge: Judge) -> dict[str, Any]:
    """Judges what is not judged yet, writes compare.json, .html, .csv and .tex, and returns what compare.json holds.

    Each of `names` is a run's folder, a report.json or its folder, or with --real a synthetic file. SynthjaxError:
    fewer than two, or flags that do not go with several sets; InputError: a name is none of these, or the sets do not
    compare.
    """
    for flag in ("workdir", "synthetic"):
        if getattr(asked, flag) is not None:
            raise SynthjaxError(f"--{flag} does not go with --compare: name it there")
    if len(names) < 2:
        raise SynthjaxError("--compare: name at least two, such as --compare runs/a runs/b")
    repeated = [name for place, name in enumerate(names) if name in names[:place]]
    if repeated:
        raise SynthjaxError(f"--compare: {repeated[0]} is named twice")
    ways = [_way(name, asked) for name in names]  # every name is looked at before anything slow
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out={out}: cannot be made: {error.strerror or error}") from error
    reports: dict[str, report.Report] = {}
    for place, (title, way) in enumerate(zip(titles(names), ways, strict=True), start=1):
        say(f"({place}/{len(names)}) {title}")
        reports[title] = judge(way) if isinstance(way, Asked) else way
    found = compare.assemble(reports)
    measured = {title: rows.measured(one) for title, one in reports.items()}
    texts = {
        "compare.json": json.dumps(found, indent=1, allow_nan=False) + "\n",
        "compare.html": page.compare(found),
        "compare.csv": figures.to_csv(measured),
        "compare.tex": figures.to_latex(measured),
    }
    for name, text in texts.items():
        files.write(out / name, text)
    say(f"\nwrote {out / 'compare.html'}: open it in a browser (figures: compare.json, compare.csv, compare.tex)")
    return found


def titles(names: Sequence[str]) -> list[str]:
    """What the columns are called: the last parts of the paths, as many as tell them apart."""
    parts = [[part for part in Path(name).parts if part not in ("report.json", "/")] or [name] for name in names]
    for count in range(1, max(map(len, parts)) + 1):
        short = ["/".join(part[-count:]) for part in parts]
        if len(set(short)) == len(short):
            return short
    return list(names)


def _way(name: str, asked: Asked) -> report.Report | Asked:
    """A name's report, if it is in a file, or the flags that judge it."""
    path = files.path(name)
    if path.name.endswith(".json"):
        return report.read(path)
    if path.is_dir() and (path / "config.json").is_file():
        if asked.real is not None:
            raise SynthjaxError(f"--compare: {name} is a run, and --real goes with files")
        return asked._replace(workdir=name)
    if path.is_dir() and (path / "report.json").is_file():
        return report.read(path / "report.json")
    if asked.real is None or not path.is_file():
        hint = "" if path.exists() else "no such file or folder"
        raise InputError(f"--compare: {name}: {hint or 'is no run and no report; a synthetic file needs --real'}")
    return asked._replace(synthetic=name)
