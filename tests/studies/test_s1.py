"""Study S1: its tables with generators that need no training, what it chooses, and what it refuses."""

import dataclasses

import numpy as np
import pytest
from toy_workspace import ToyWorkspace, train_and_test

from synthjax.errors import InputError
from synthjax.launch import reproduce
from synthjax.studies import s1

SMALL = dataclasses.replace(reproduce.settings("s1", True, []), models=("cgan", "cwgan"), per_class=10, networks=2)


@pytest.fixture
def toy(tmp_path, monkeypatch) -> ToyWorkspace:
    monkeypatch.setattr(s1, "train_and_test", train_and_test)
    return ToyWorkspace(tmp_path)


def test_the_tables_stand_beside_the_study_s(toy):
    made = {number: make(toy, SMALL) for number, make in s1.TABLES.items()}
    for table in (table for tables in made.values() for table in tables):
        assert table.rows and all(len(row) == len(table.columns) for row in table.rows)
    assert set(toy.trained) == {"cgan", "cwgan", "cgan-noise", "cwgan-noise", "cgan-low-zero"}
    two, three, four = (made[number][0] for number in "234")
    assert [row[:5] for row in two.rows[:2]] == [
        ("cgan", "dense", "BCE", "without", ".74"),
        ("cwgan", "dense", "Wasserstein", "without", ".79"),
    ]
    assert [row[:2] for row in three.rows] == [("raw", ".97"), ("augmented", ".97"), ("synthetic", ".84")]
    digits = toy.data(s1.of(SMALL, "cgan", noise=False, rare=True))
    assert four.title == f"Low-Zero: {np.sum(digits.train.y == 0)} examples of class 0"
    # Held-out images hold no training image; ten of each class, drawn at random, come again.
    for row in made["anonymity"][0].rows:
        assert row[1:3] == ("100", "0") and float(row[3]) == pytest.approx(2 * float(row[4]), abs=0.011)
    pictures = ("figure_1", "figure_8", "table_2", "confusions_low-zero", "confusions_vanilla", "losses_low-zero")
    assert all((toy.folder / f"{name}.png").stat().st_size > 1000 for name in pictures)


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("models", "cgan,dcgan", "config.models=dcgan: there are cgan, cwgan, cdcgan, cwdcgan"),
        ("models", "()", "config.models: name at least one of cgan,"),
        ("rare_model", "typo-noise", "config.rare_model=typo-noise: there are cgan,"),
    ],
)
def test_s1_refuses_gans_that_it_does_not_have(field, value, message):
    with pytest.raises(InputError) as error:
        reproduce.settings("s1", False, [(field, value)])
    assert str(error.value).startswith(message)
    assert reproduce.settings("s1", False, [("rare_model", "cwgan-noise")]).rare_model == "cwgan-noise"


def test_the_best_gan_is_chosen_on_the_holdout(monkeypatch):
    accuracy = {
        ("cgan", False): (0.9, 0.1),
        ("cgan", True): (0.2, 0.8),
        ("cdcgan", False): (0.5, 0.7),
        ("cdcgan", True): (0.6, 0.6),
    }
    monkeypatch.setattr(s1, "generator", lambda workspace, config, name, noise: (name, noise))
    monkeypatch.setattr(
        s1,
        "synthetic",
        lambda workspace, config, made: {
            split: {"accuracy": [value]} for split, value in zip(("test", "holdout"), accuracy[made], strict=True)
        },
    )
    assert s1.best(None, s1.Config(models=("cgan", "cdcgan"))) == ("cgan", True)  # type: ignore[arg-type]
