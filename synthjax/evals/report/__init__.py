"""The report: what measures found, typed; verdicts, gates, tables and comparison are functions of it.

    report.assemble(manifest, found)                           -> `ImageReport` or `TableReport`, verdicts and all
    report.write(folder, found), report.read(path)             report.json
    report.catalogue()                                         every figure: key, name, meaning, what it is held against
    report.schema()                                            the JSON schema (also `python -m synthjax.evals.report`)

`model` says what a report holds, `synthjax.evals.figure` how a figure is declared, `verdicts` what it amounts to,
`guidance` what to do next, `gates` when a pipeline fails, `figures` its tables in CSV and LaTeX, `compare` several
reports side by side. The types of parts are beside their measures (`privacy.protocol.Privacy`, `studies.Studies`,
`bootstrap.Loss`, ...), those of usefulness and likeness in `images` and `tables`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from synthjax import files
from synthjax.errors import InputError
from synthjax.evals.report import guidance, useful, verdicts
from synthjax.evals.report.model import PROTOCOL_VERSION as PROTOCOL_VERSION
from synthjax.evals.report.model import REPORTS, ImageReport, Kind, Report, TableReport, parse
from synthjax.evals.report.model import Evidence as Evidence
from synthjax.evals.report.model import Verdict as Verdict
from synthjax.evals.report.model import schema as schema
from synthjax.evals.report.rows import catalogue as catalogue


def part(kind: Kind, name: str, found: Any) -> Any:
    """What a measure found, as the part `name` of a report on that kind; msgspec.ValidationError if it is none."""
    return parse(get_type_hints(REPORTS[kind])[name], found)


_PARTS = ("utility", "studies", "fidelity", "privacy")


def assemble(manifest: Mapping[str, Any], found: Mapping[str, Any]) -> ImageReport | TableReport:
    """The whole report with its verdicts, from the parts, typed or plain values as their measures return them.

    `manifest.kind` says which report it is. `found` holds the parts by name: `privacy` always; `utility`, `studies` and
    `robustness`, and of images `fidelity`, if there are labels or a target; `rules` of tables. The levels of the
    `checks` of robustness are found here. `pictures` is what the page shows beside figures.

    Raises:
        msgspec.ValidationError: a key is missing or unknown, or a value of another type; says where.
        TypeError: `found` has another part.
    """
    if unknown := found.keys() - {*_PARTS, "rules", "robustness", "pictures"}:
        raise TypeError(f"no such part of a report: {', '.join(sorted(unknown))}")
    kind: Kind = manifest["kind"]
    names = (*_PARTS, *["rules"] * (kind == "table"))
    parts = {name: part(kind, name, found.get(name)) for name in names}
    robustness, pictures = found.get("robustness"), found.get("pictures")
    report = REPORTS[kind](
        protocol_version=PROTOCOL_VERSION,
        manifest=part(kind, "manifest", manifest),
        verdicts=[],
        guidance=[],
        parts=verdicts.of_parts(parts),
        robustness=None if robustness is None else useful.robustness(robustness["checks"], parts["utility"]),
        pictures=None if pictures is None else dict(pictures),
        **parts,
    )
    return replace(report, verdicts=verdicts.of_report(report), guidance=guidance.of_report(report))


def write(folder: Path, report: Report) -> Path:
    """Writes report.json into `folder`, whole or not at all; its path. ValueError: it holds a NaN or an infinity."""
    path = folder / "report.json"
    files.write(path, json.dumps(msgspec.to_builtins(report), indent=1, allow_nan=False) + "\n")
    return path


def read(path: Path) -> ImageReport | TableReport:
    """The report in a file; keys that this version does not know are left out.

    InputError: the file cannot be read, holds no report, or one of another protocol version.
    """
    with files.named_errors(path, "read"):
        content = path.read_bytes()
    try:
        found = json.loads(content, parse_float=_finite, parse_constant=_finite)
        version, type_ = found["protocol_version"], REPORTS[found["manifest"]["kind"]]
        if version == PROTOCOL_VERSION:
            return parse(type_, found, strict=False)
    except (LookupError, TypeError):
        raise InputError(
            f"{path}: holds no report: protocol_version or manifest.kind is missing or another's"
        ) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: holds no report: {error}") from None
    raise InputError(
        f"{path}: its report is of protocol version {version}, this synthjax reads version {PROTOCOL_VERSION}; judge "
        "the set again (manifest.command in the file says how)"
    )


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is no finite number")
    return number
