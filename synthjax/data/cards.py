"""Documentation of a synthetic data set: a data card (Markdown) and Croissant metadata (JSON-LD).

Both are functions of the set's manifest (`data.writers.manifest`). Source: Croissant 1.0,
https://docs.mlcommons.org/croissant/docs/croissant-spec.html, and its RAI vocabulary 1.0 for use, limits and privacy.
"""

import hashlib
import json
import re
from typing import Any

from synthjax.data.writers import MANIFEST, TABLES, to_json

INTENDED = (
    "Teaching, testing of software, and research on synthetic data; training of models where `synthjax.launch.eval` "
    "shows that they then do as well on real data as the task needs."
)
FORBIDDEN = (
    "Decisions about people; conclusions about the world that were not checked on real data; a claim that the data is "
    "anonymous; medical, legal or safety-critical use of a model that was tested on this data alone."
)
PRIVACY = (
    "Not differentially private. A generative model can memorise: examples may repeat or reveal training data. Run "
    "`python -m synthjax.launch.eval` and read its privacy part before sharing the set if the training data is private."
)
PRIVATE = (
    "Differentially private: epsilon {epsilon:g}, delta {delta:g}, for adding or removing {unit}. Whoever sees the "
    "set, and knows all else, learns no more about anyone than that allows. `certificate.json`, which comes with the "
    "model, says what is covered. Facts about groups are not hidden."
)
BIAS = (
    "The set repeats the faults and imbalances of its training data and adds the model's own: rare kinds of examples "
    "may be missing."
)
INVENTED = "No example is a real observation."
COMPLETED = "Each example repeats the known part of an image that was given, which nothing said here protects."


def card(name: str, values: dict[str, Any]) -> str:
    """The data card of a set.

    Args:
      name: title of the set.
      values: the manifest, whose request is the record of a `data.requests.Request`.

    Returns:
      Markdown.
    """
    request = values["request"]
    lines = [
        f"# {name}",
        "",
        f"A synthetic data set: {values['rows']:,} {_unit(request)} drawn from a generative model that was trained on "
        f"`{request['dataset']['name']}`. {_real(request)}",
        "",
        *_origin_lines(request),
        *_class_lines(request),
        *_column_lines(request),
        "## How to read it",
        "",
        "```python",
        *_reader_lines(name, request),
        "```",
        "",
        _values_line(request),
        "",
        "## Intended use",
        "",
        INTENDED,
        "",
        "## What it must not be used for",
        "",
        FORBIDDEN,
        "",
        "## Privacy",
        "",
        _privacy(request),
        "",
        "## Known limits",
        "",
        BIAS,
        "",
        "## Files",
        "",
        "| file | examples | sha256 |",
        "|---|---|---|",
        *[f"| {entry['name']} | {entry['rows']} | `{entry['sha256']}` |" for entry in values["files"][:_LISTED]],
    ]
    if len(values["files"]) > _LISTED:
        lines += ["", f"and {len(values['files']) - _LISTED} more, in `{MANIFEST}`."]
    return "\n".join(lines) + "\n"


_LISTED = 20  # maximum number of files that a card lists


def _origin_lines(request: dict[str, Any]) -> list[str]:
    """How the set was made."""
    model, dataset = request["model"], request["dataset"]
    options = ", ".join(f"{key} = {value}" for key, value in request["options"].items())
    rows = {
        "training data": f"`{dataset['name']}`, fingerprint `{dataset['fingerprint']}`",
        "model": f"`{model['name']}`",
        "checkpoint": f"step {model['step']}, sha256 of the state `{model['sha256']}`",
        "member of the ensemble": model["member"],
        "sampling options": options or "the model's defaults",
        "seed, block size": f"{request['seed']}, {request['block']}",
        "conditions that all rows meet": " and ".join(f"`{_cell(text)}`" for text in request.get("where", [])),
        "shape of one example": "" if "table" in request else " x ".join(map(str, request["spec"]["shape"])),
        "software": ", ".join(f"{key} {value}" for key, value in request["software"].items()),
    }
    return [
        "## How it was made",
        "",
        "| | |",
        "|---|---|",
        *[f"| {key} | {value} |" for key, value in rows.items() if value != ""],
        "",
        "The same checkpoint, seed, block size, options and software draw the same bytes again on the same machine. "
        "The model's configuration:",
        "",
        "```json",
        to_json(model["config"]).rstrip(),
        "```",
        "",
    ]


def _reader_lines(name: str, request: dict[str, Any]) -> list[str]:
    """Python code that reads the set."""
    path = json.dumps(name)
    if request["form"] in TABLES:
        codes = [column["name"] for column in request["table"]["columns"] if column.get("codes")]
        codes = codes if request["form"] == "csv" else []  # whose zeros at the front would be lost
        named = ", ".join(f"{json.dumps(name, ensure_ascii=False)}: str" for name in codes)
        types = f", dtype={{{named}}}" if codes else ""
        return ["import pandas as pd", "", f"frame = pd.read_{request['form']}({path}{types})"]
    arrays = 'x, y = data["x"], data["y"]' if request["labelled"] else 'x = data["x"]'
    if request["form"] == "npz":
        return ["import numpy as np", "", f"with np.load({path}) as data:", f"    {arrays}"]
    if request["form"] == "png":
        return ["from synthjax import data", "", f"dataset = data.load({path})"]
    loop = [f'for path in sorted(Path({path}).glob("part-*.npz")):', "    with np.load(path) as data:"]
    return ["from pathlib import Path", "", "import numpy as np", "", *loop, f"        {arrays}"]


def _class_lines(request: dict[str, Any]) -> list[str]:
    classes, counts = request["spec"]["classes"], request["counts"]
    if "table" in request and not request["labelled"]:
        return []
    if not request["labelled"]:
        return ["The examples have no labels.", ""]
    rows = [
        f"| {label} | {_cell(name)} | {count} |"
        for label, (name, count) in enumerate(zip(classes, counts, strict=True))
    ]
    return ["## Classes", "", "| label | class | examples |", "|---|---|---|", *rows, ""]


def _column_lines(request: dict[str, Any]) -> list[str]:
    """The columns of a table."""
    if "table" not in request:
        return []
    table = request["table"]
    rows = [
        f"| {_cell(column['name'])} | {column['kind']} | {'yes' if column['gaps'] else 'no'} |"
        for column in table["columns"]
    ]
    target = f"Target: {_cell(table['target'])}." if table["target"] else "No column was named as the target."
    return ["## Columns", "", target, "", "| column | type | missing values |", "|---|---|---|", *rows, ""]


def _real(request: dict[str, Any]) -> str:
    """What of the set is real."""
    return COMPLETED if "completes" in request else INVENTED


def _privacy(request: dict[str, Any]) -> str:
    """What is promised of the training data's privacy."""
    promised = request["model"].get("guarantee")
    if not promised:
        return PRIVACY
    unit = f"all rows with one value of {promised['unit']}" if promised["unit"] else "one row"
    return PRIVATE.format(**{**promised, "unit": unit})


def _unit(request: dict[str, Any]) -> str:
    return "rows" if "table" in request else "examples"


def _values_line(request: dict[str, Any]) -> str:
    """What the values mean."""
    white = request["spec"]["levels"] - 1
    if request["form"] == "png":
        return f"The grey values 0 ... {white} of the training data are spread evenly over 0 ... 255."
    if "table" in request:
        line = (
            "Values are spelt, and columns ordered, as in the training data; free text is left out, identifiers are new"
        )
        quote = (
            "; text that a spreadsheet would run as a formula has a `'` in front" if request["form"] == "csv" else ""
        )
        least = request["table"]["min_count"]
        rare = f" No category held by fewer than {least} training rows, no value beyond the {least}th most extreme one."
        return f"{line}{quote}.{rare if least > 1 else ''}"
    labels = "; `y` is (N,) int32" if request["labelled"] else ""
    if request["spec"]["kind"] == "table":
        return f"`x` is (N, D) float32, encoded as the model saw it{labels}."
    return f"`x` is (N, H, W, C) uint8 with grey values 0 ... {white}{labels}."


def _cell(text: str) -> str:
    """Text escaped for a cell of a Markdown table."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("`", "\\`").replace("<", "&lt;").split())


def croissant(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Croissant metadata of a set.

    For a PNG folder it has a record set of images and labels, and for a table a record set of its columns. Croissant
    1.0 cannot describe arrays in npz files, so for these sets it lists the files only.

    Args:
      name: of the set.
      values: the manifest.

    Returns:
      The JSON-LD document as a dict.
    """
    request = values["request"]
    made = (
        f"{values['rows']} examples drawn by synthjax from the model {request['model']['name']} trained on "
        f"{request['dataset']['name']}, with seed {request['seed']} in blocks of {request['block']}."
    )
    document = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": name,
        "description": f"A synthetic data set: {made} {_real(request)} {_privacy(request)}",
        "keywords": ["synthetic data", request["model"]["name"], request["dataset"]["name"]],
        "version": "1.0.0",
        "isLiveDataset": False,
        "rai:dataCollection": f"Generated: {made}",
        "rai:dataUseCases": INTENDED,
        "rai:dataLimitations": f"{BIAS} Not for: {FORBIDDEN}",
        "rai:dataBiases": BIAS,
        "rai:personalSensitiveInformation": _privacy(request),
        "distribution": _distribution(values, request["form"]),
    }
    if request["form"] == "png":
        document["recordSet"] = [_image_records(request["labelled"])]
    if "table" in request:
        document["recordSet"] = [_row_records(request["table"]["columns"], values["files"][0]["name"], request["form"])]
    return document


def _distribution(values: dict[str, Any], form: str) -> list[dict[str, Any]]:
    if form == "npz":
        (entry,) = values["files"]
        return [_file_object(entry["name"], "application/zip", entry["sha256"])]
    if form in TABLES:
        (entry,) = values["files"]
        kind = "text/csv" if form == "csv" else "application/x-parquet"
        return [_file_object(entry["name"], kind, entry["sha256"])]
    listing = _file_object(MANIFEST, "application/json", hashlib.sha256(to_json(values).encode()).hexdigest())
    kind, pattern, encoding = {
        "png": ("images", "*/*.png" if values["request"]["labelled"] else "*.png", "image/png"),
        "parts": ("parts", "part-*.npz", "application/zip"),
    }[form]
    files = {"@type": "cr:FileSet", "@id": kind, "name": kind, "encodingFormat": encoding, "includes": pattern}
    return [listing, files]


def _file_object(name: str, encoding: str, sha256: str) -> dict[str, Any]:
    values = {"@id": name, "name": name, "contentUrl": name, "encodingFormat": encoding, "sha256": sha256}
    return {"@type": "cr:FileObject", **values}


def _image_records(labelled: bool) -> dict[str, Any]:
    def field(name: str, kind: str, source: dict[str, Any]) -> dict[str, Any]:
        values = {"@id": f"examples/{name}", "name": name, "dataType": kind}
        return {"@type": "cr:Field", **values, "source": {"fileSet": {"@id": "images"}, **source}}

    fields = [field("image", "sc:ImageObject", {"extract": {"fileProperty": "content"}})]
    if labelled:
        folder = {"extract": {"fileProperty": "fullpath"}, "transform": {"regex": "([^/]+)/[^/]+$"}}
        fields.append(field("label", "sc:Text", folder))
    return {"@type": "cr:RecordSet", "@id": "examples", "name": "examples", "field": fields}


def _row_records(columns: list[dict[str, Any]], file: str, form: str) -> dict[str, Any]:
    """The columns of a table, with their types."""
    from synthjax.data.text_values import guard_name

    def field(column: dict[str, Any]) -> dict[str, Any]:
        name = guard_name(column["name"]) if form == "csv" else column["name"]
        source = {"fileObject": {"@id": file}, "extract": {"column": name}}
        values = {"@id": f"rows/{column['name']}", "name": column["name"], "dataType": _data_type(column)}
        return {"@type": "cr:Field", **values, "source": source}

    return {"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "field": [field(column) for column in columns]}


def _data_type(column: dict[str, Any]) -> str:
    """The schema.org data type of a column."""
    kind = column["kind"]
    if kind == "datetime":
        return "sc:DateTime" if re.search("%-?[HI]", column["format"]) else "sc:Date"
    if kind in ("integer", "id"):
        return "sc:Text" if column["text"] else "sc:Integer"
    return "sc:Float" if kind == "continuous" else "sc:Text"


_TERMS = """
    citeAs column equivalentProperty extract field fileObject fileProperty fileSet format includes isLiveDataset
    jsonPath key md5 parentField path recordSet references regex repeated replace samplingRate separator source subField
    transform
"""
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS.split()},
}
"""The standard JSON-LD context of Croissant 1.0."""
