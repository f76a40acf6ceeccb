"""Data: a name or a path becomes arrays with fixed splits (`load`), and a `DataSpec` that says what they hold."""

from synthjax.data.sources import Dataset, Split, load

__all__ = ["Dataset", "Split", "load"]
