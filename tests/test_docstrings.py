"""The worked examples in docstrings give what they say."""

import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "synthjax"
EXAMPLE = re.compile(r"^ +>>> (?!.*# doctest: \+SKIP)", re.MULTILINE)
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted(ROOT.rglob("*.py"))
    if EXAMPLE.search(path.read_text())
]


def test_all_parts_have_modules_with_examples():
    assert {name.split(".")[0] for name in MODULES} >= {"data", "gibbs", "models", "nets", "privacy", "rules", "train"}
    assert {"models.vae", "models.gaussian_mixture", "data.readers"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name):
    found = doctest.testmod(importlib.import_module(f"synthjax.{name}"), optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    assert found.attempted > 0 and found.failed == 0
