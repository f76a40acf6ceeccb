"""Data sets: `load` converts a name or a path to arrays with fixed splits and a `DataSpec` that describes them."""

from synthjax.data.sources import Dataset, describe, load
from synthjax.data.splits import Split
from synthjax.data.table_options import TableOptions

__all__ = ["Dataset", "Split", "TableOptions", "describe", "load"]
