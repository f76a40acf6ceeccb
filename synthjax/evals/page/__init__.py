"""The pages of reports and comparisons: see `synthjax.evals.page.page`."""

from synthjax.evals.page.page import compare as compare
from synthjax.evals.page.page import render as render
