"""Data: a name or a path becomes arrays with fixed splits (`load`), and a `DataSpec` that says what they hold."""

from synthjax.data.sources import Dataset, describe, load
from synthjax.data.splits import Split

__all__ = ["Dataset", "Split", "describe", "load"]
