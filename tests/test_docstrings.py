"""The worked examples in docstrings of modules that others build on give what they say."""

import doctest
import importlib

import pytest

NETS = (
    "bilinear bins chow_liu columns conv dense dense_norms diffusion embeddings gaussian logits multiscale network "
    "options precision slices unet"
)
MODULES = (
    "data.arrays",
    "data.codings",
    "data.column_units",
    "data.endings",
    "data.feed",
    "data.key_candidates",
    "data.keys",
    "data.linked",
    "data.linked_frames",
    "data.number_forms",
    "data.requests",
    "data.scalers",
    "data.sources",
    "data.splits",
    "data.text_values",
    "data.transforms",
    "data.writers",
    *(f"gibbs.{name}" for name in ("chains", "finetune", "images", "machine", "partition", "training")),
    "evals.linked",
    "gan_losses",
    "jit",
    "launch.linked_drawing",
    "model",
    *(f"models.{name}" for name in ("ddpm", "independent", "smote", "table_ar", "table_gan", "table_marginals")),
    *(f"nets.{name}" for name in NETS.split()),
    "data.private_rows",
    "privacy.accounting",
    "privacy.budget",
    "privacy.certificate",
    "privacy.ledger",
    "privacy.gradients",
    "privacy.noise",
    *(f"rules.{name}" for name in ("chance", "columns", "expressions", "finding", "kinds", "parsing", "planning")),
    "rules.predicates",
    "rules.search.selection",
    "rules.search.thresholds",
    "sampling",
    "statistics",
    "train.fine_tuning",
    "train.optim",
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name):
    found = doctest.testmod(importlib.import_module(f"synthjax.{name}"), optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    assert found.attempted > 1 and found.failed == 0
