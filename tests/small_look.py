"""Level look with hardly any work: for tests of what is around an evaluation, not of what it finds."""

import dataclasses

import pytest

from synthjax.evals import maps
from synthjax.launch import levels

STUDIES = {"real": 60, "most": 150, "filled": 200, "ranked": 60}
IMAGES = {"seeds": 1, "epochs": 1, "limit": 200, "trained": 200, "steps": 5, **STUDIES}
TABLES = {"seeds": 1, "c2st": 100, "judges": 100, "attacked": 100, **STUDIES}
SHOWN = 40
HOOK = "import small_look, pytest; small_look.shrink(pytest.MonkeyPatch())"
"""The same in a process that has this folder on its path."""


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Until the patches are undone."""
    for level, less in ((levels.IMAGES, IMAGES), (levels.TABLES, TABLES)):
        patch.setitem(level, "look", dataclasses.replace(level["look"], **less))
    patch.setattr(maps, "SHOWN", SHOWN)
