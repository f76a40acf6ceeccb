"""Inference of a table's schema from text: statistics of its columns, checks of spellings, and kinds."""

from synthjax.data.schema_inference.inference import CLASSES, infer
from synthjax.data.schema_inference.statistics import ID_NAME

__all__ = ["CLASSES", "ID_NAME", "infer"]
