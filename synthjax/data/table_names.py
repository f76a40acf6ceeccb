"""Which names of data sets are those of tables. Nothing that reads tables is imported."""

from pathlib import Path

TABLES = ("adult", "breast_cancer", "creditcard", "nyc_taxi")
"""Tables known by name, see `synthjax.data.known_tables`."""
ENDINGS = (".csv", ".tsv", ".data", ".parquet")
"""Endings of file names that are tables, perhaps with that of a compression behind."""


def is_table_file(path: str | Path) -> bool:
    """Whether a file's name says that it is a table."""
    return any(suffix.lower() in ENDINGS for suffix in Path(path).suffixes)


def is_table(name: str) -> bool:
    """Whether the name of a data set, as `synthjax.data.load` takes it, is that of a table."""
    return name in TABLES or is_table_file(name)
