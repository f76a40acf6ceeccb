"""Names of data sets that are tables. This module does not import any reader of tables."""

from pathlib import Path

TABLES = ("adult", "breast_cancer", "creditcard", "nyc_taxi")
"""Tables with names, see `synthjax.data.known_tables`."""
ENDINGS = (".csv", ".tsv", ".data", ".parquet")
"""Suffixes of files with tables; the suffix of a compression may follow."""


def is_table_file(path: str | Path) -> bool:
    """Whether a file is a table, by its name."""
    return any(suffix.lower() in ENDINGS for suffix in Path(path).suffixes)


def is_table(name: str) -> bool:
    """Whether a data set is a table, by its name as for `synthjax.data.load`."""
    return name in TABLES or is_table_file(name)
