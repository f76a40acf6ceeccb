"""The report, typed: what `report.json` holds, of images and of tables; the JSON schema follows from these types.

    report = model.parse(ImageReport, {"manifest": ..., "utility": ..., ...})  # plain values to a typed report
    report.utility.cnn.tstr.mean
    msgspec.to_builtins(report)                                                # and back, key by key

Within one `PROTOCOL_VERSION` names and meanings of keys stay; new ones may come. Shares, rates and accuracies are in
[0, 1], distances in stored units (grey values; of tables, ranges or categories), intervals [low, high] at 95 %.
`studies`, `utility` and `robustness` are None without labels or target, `fidelity` of images likewise.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec

from synthjax.evals.figure import Count, Figure, figure, part
from synthjax.evals.privacy.overlap import Overlap
from synthjax.evals.privacy.protocol import Privacy, TablePrivacy
from synthjax.evals.report.images import ImageFidelity, ImageUtility
from synthjax.evals.report.shared import Level, Robustness
from synthjax.evals.report.tables import TableFidelity, TableUtility
from synthjax.evals.rules import Rules
from synthjax.evals.studies import Studies

PROTOCOL_VERSION = 5
"""Figures of different versions do not compare."""
Kind = Literal["image", "table"]


@dataclass(frozen=True)
class Evidence:
    """A sentence, each number beside its reference; `topic`, a short stable word, is what programs go by."""

    topic: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """The answer to one question, in words, with its evidence."""

    id: str
    """publish, good, lost, checkpoint; of one part: useful, alike, consistent, private."""
    question: str
    level: Level
    answer: str
    evidence: list[Evidence]
    confidence: str = ""
    """How sure it is, and why: a word, a colon, a sentence."""


# --- manifest ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SyntheticSet:
    """The set that is judged; `per_class` of images with labels."""

    file: str
    sha256: str
    examples: Count
    per_class: list[Count] | msgspec.UnsetType | None = msgspec.UNSET


@dataclass(frozen=True, kw_only=True)
class Guarantee:
    """Of differential privacy."""

    epsilon: float
    delta: float
    unit: str | None = None
    """Column that names the unit; None: each example is one."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """The run's model whose set is judged; None: its folder does not tell."""

    workdir: str
    name: str
    state_sha256: str
    config_sha256: str | None = None
    step: Count | None = None
    seed: Count | None = None
    guarantee: Guarantee | None = None
    values: Count | None = figure(
        "numbers in the state",
        "Parameters and all else that a checkpoint holds.",
        "low",
        bounds=(0, None),
        default=None,
    )
    train_seconds: float | None = figure(
        "training, s", "Wall-clock seconds of training.", "low", bounds=(0, None), default=None
    )


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What was judged, and how."""

    dataset: str
    kind: Kind
    fingerprint: str
    """sha256 over the real data's spec and splits."""
    synthetic: SyntheticSet
    real: dict[Literal["train", "holdout", "test"], Count]
    """Numbers of examples."""
    model: ModelCard | None = part()
    """None: a file alone."""
    non_members: Literal["holdout", "test"]
    """The split that the generator cannot have seen."""
    overlap: list[Overlap]
    seeds: Count
    seed: Count
    level: Literal["look", "quick", "full"]
    quick: bool
    """At level look: fewer seeds, epochs and examples than the protocol asks for."""
    protocol: dict[str, Any]
    """How much was done."""
    notes: list[str]
    """What whoever reads the report has to know, a sentence each."""
    settings_sha256: str
    code_sha256: str
    """Over the package's sources."""
    versions: dict[str, str]
    command: str
    created: str
    """UTC, ISO 8601."""
    seconds: dict[str, float] = figure(
        "scoring: NAME, s", "Wall-clock seconds of one part of the evaluation.", bounds=(0, None)
    )


@dataclass(frozen=True, kw_only=True)
class ImageManifest(Manifest):
    """Of images."""

    kind: Literal["image"]
    epochs: Count
    """Passes of each network through its images."""


@dataclass(frozen=True, kw_only=True)
class TableManifest(Manifest):
    """Of a table."""

    kind: Literal["table"]
    columns: dict[str, str]
    """Name -> kind."""
    target: str | None
    """The column predicted."""
    missing_columns: list[str]
    """Columns that the synthetic table lacks, of kinds that nothing is learnt from."""
    limits: dict[str, Count]
    """Rows looked at at most."""


# --- the whole -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `report.json` holds; of its two kinds, subclasses say which parts."""

    protocol_version: Annotated[int, msgspec.Meta(ge=PROTOCOL_VERSION, le=PROTOCOL_VERSION)]
    manifest: Manifest
    verdicts: Annotated[list[Verdict], msgspec.Meta(min_length=1)]
    """Of the first page: publish, good, lost, checkpoint."""
    guidance: list[Evidence]
    """What to do next, where attacks found something; see `report.guidance`."""
    parts: dict[str, Verdict]
    """Of utility, fidelity, rules and privacy, where measured."""
    utility: ImageUtility | TableUtility | None
    studies: Studies | None = part(section="utility")
    robustness: Robustness | None
    fidelity: ImageFidelity | TableFidelity | None
    privacy: Privacy
    pictures: dict[str, Any] | None = None
    """What the page shows beside figures."""

    @property
    def unit(self) -> str:
        """What a record is called."""
        return "example"


@dataclass(frozen=True, kw_only=True)
class ImageReport(Report):
    """On images."""

    manifest: ImageManifest = part(section="time")
    utility: ImageUtility | None = part(section="utility")
    fidelity: ImageFidelity | None = part(section="fidelity", reference="fidelity.reference")
    privacy: Privacy = part(section="privacy")


@dataclass(frozen=True, kw_only=True)
class TableReport(Report):
    """On a table."""

    manifest: TableManifest = part(section="time")
    utility: TableUtility | None = part(section="utility")
    fidelity: TableFidelity = part(section="fidelity")
    rules: Rules | None = part(section="rules", default=None)
    privacy: TablePrivacy = part(section="privacy")

    @property
    def unit(self) -> str:  # noqa: D102
        return "row"


REPORTS: dict[Kind, type[ImageReport] | type[TableReport]] = {"image": ImageReport, "table": TableReport}


def parse(type_: Any, values: Any, *, strict: bool = True) -> Any:
    """Plain values, as a measure returns them or JSON holds them, or typed ones among them, as a type of this package.

    `strict`: a key that the type does not know is an error, rather than left out.

    Raises:
        msgspec.ValidationError: a key is missing or unknown, or a value is of another type; says where.
    """
    plain = msgspec.to_builtins(values, enc_hook=lambda number: number.item())  # numpy's numbers
    typed = msgspec.convert(plain, type_)
    if strict:
        _same_keys(plain, msgspec.to_builtins(typed), "$")
    return typed


def _same_keys(given: Any, kept: Any, place: str) -> None:
    """Raises msgspec.ValidationError for a key that would be lost."""
    if isinstance(given, dict):
        for key, value in given.items():
            if key not in kept:
                raise msgspec.ValidationError(f"{place}.{key}: its type has no such field")
            _same_keys(value, kept[key], f"{place}.{key}")
    elif isinstance(given, list | tuple):
        for number, (value, other) in enumerate(zip(given, kept, strict=True)):
            _same_keys(value, other, f"{place}[{number}]")


def schema() -> dict[str, Any]:
    """The JSON schema of `report.json`: from the types, with meanings and bounds of the figures."""
    types = tuple(REPORTS.values())
    references, definitions = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    for cls in _dataclasses(types):
        properties = definitions[cls.__name__]["properties"]
        for field in fields(cls):
            if (row := field.metadata.get("figure")) is not None:
                _describe(properties[field.name], row)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "synthjax report",
        "description": "report.json of synthjax.launch.eval. Within a protocol version keys may be added; none is "
        "taken away and none changes its meaning.",
        "anyOf": list(references),
        "$defs": definitions,
    }


def _describe(properties: dict[str, Any], row: Figure) -> None:
    """Adds the meaning of a figure, and the bounds of it, of a dict's values or of an estimate's mean."""
    bounds = {name: bound for name, bound in zip(("minimum", "maximum"), row.bounds, strict=True) if bound is not None}
    properties["description"] = row.meaning
    if "additionalProperties" in properties:
        properties["additionalProperties"] |= bounds
    elif "$ref" in str(properties):
        properties["properties"] = {"mean": bounds}
    else:
        properties |= bounds


def _dataclasses(types: Iterable[Any]) -> set[type]:
    """All dataclasses that these types are made of."""
    found: set[type] = set()
    for type_ in types:
        if isinstance(type_, type) and is_dataclass(type_):
            found |= {type_, *_dataclasses(get_type_hints(type_).values())}
        else:
            found |= _dataclasses(get_args(type_))
    return found
