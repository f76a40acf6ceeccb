"""From the text of a table's columns to its schema: statistics per column, spellings, and the kind of each column."""

from synthjax.data.schema_inference.inference import CLASSES, class_order, infer
from synthjax.data.schema_inference.statistics import ID_NAME

__all__ = ["CLASSES", "ID_NAME", "class_order", "infer"]
