"""What a user can say of how a table is read."""

from pathlib import Path
from typing import NamedTuple


class TableOptions(NamedTuple):
    """How a table is measured and encoded. The fields are keyword arguments of `load` and `describe`."""

    target: str | None = None
    """The column to predict; a numeric one makes it a regression, without classes. None: that of a data set
    with a name."""
    encoding: str = "quantile"
    """Name of an encoding, one of `codings.PRESETS`."""
    schema: str | Path | None = None
    """A YAML or JSON file that corrects the inferred schema, see `schema_file.read_overrides`."""
    min_count: int = 5
    """Fewest training rows that must share a value for it to be stored; 1 stores every value."""
    rules: bool = False
    """Whether to search for rules between columns, which synthetic rows then obey (see `synthjax.rules`), if the schema
    file lists none; those that it lists are used in any case."""
    keep: tuple[str, ...] = ()
    """Columns that rules do not replace or correct, such as those that are given when rows are drawn."""
