"""Runs on the table of `shop.py`, trained once for all tests in this folder."""

from pathlib import Path

import pytest
from shop import experiment, write_shop

from synthjax.launch import runs, train
from synthjax.models import independent


@pytest.fixture(scope="session")
def shop_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    write_shop(folder / "shop.csv")
    return folder


@pytest.fixture(scope="session")
def shop_run(shop_folder) -> Path:
    """A trained run of a conditional model."""
    chosen = experiment(shop_folder)
    assert train.run(chosen, runs.data(chosen), shop_folder / "run") == 3
    return shop_folder / "run"


@pytest.fixture(scope="session")
def shop_unconditional(shop_folder) -> Path:
    """A trained run of a model that takes no labels."""
    chosen = experiment(shop_folder, "independent", independent.Config())
    train.run(chosen, runs.data(chosen), shop_folder / "unconditional")
    return shop_folder / "unconditional"
