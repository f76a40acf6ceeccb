"""Rows that meet conditions: `launch.sample --where`, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
from shop import BLOCK, draw

import synthjax
from synthjax.data import conditions
from synthjax.errors import InputError, Preempted
from synthjax.launch import rejection, runs


@pytest.fixture(scope="module")
def run(shop_run) -> Path:
    return shop_run


@pytest.fixture(scope="module")
def unconditional(shop_unconditional) -> Path:
    return shop_unconditional


@pytest.mark.parametrize(
    ("where", "met"),
    [
        (["churned=no"], lambda f: f.churned == "no"),
        (["churned=yes", "town=Bath"], lambda f: (f.churned == "yes") & (f.town == "Bath")),
        (["town==Deal"], lambda f: f.town == "'=Deal"),
        (["member=TRUE", "country=UK"], lambda f: (f.member == "true") & (f.country == "UK")),
        (["age="], lambda f: f.age == ""),
        (["visited=NA"], lambda f: f.visited == ""),
    ],
)
@pytest.mark.parametrize("conditional", [True, False])
def test_every_row_meets_the_conditions(run, unconditional, tmp_path, where, met, conditional):
    workdir = run if conditional else unconditional
    found = draw(workdir, tmp_path / "a.csv", 70, *where)
    assert len(found) == 70 and met(found).all()
    draw(workdir, tmp_path / "b" / "a.csv", 70, *where)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b" / "a.csv").read_bytes()


def test_a_number_or_a_date_may_be_asked_for(unconditional, tmp_path):
    common = draw(unconditional, tmp_path / "all.csv", 400, block=400)
    age, visited = (common[name][common[name] != ""].mode()[0] for name in ("age", "visited"))
    found = draw(unconditional, tmp_path / "a.csv", 3, f"age={age}", block=400)
    assert list(found.age) == [age] * 3
    found = draw(unconditional, tmp_path / "b.csv", 1, f"visited={visited}", block=400)
    assert list(found.visited) == [visited]


def test_labels_of_rejected_rows_are_as_the_condition_has_them(run, tmp_path):
    """The share of a class among rows of a condition is the model's own, not that of the training set."""
    everything = draw(run, tmp_path / "all.csv", 4000, block=2000)
    share = (everything[everything.town == "Bath"].churned == "yes").mean()
    found = draw(run, tmp_path / "bath.csv", 1000, "town=Bath", block=2000)
    assert abs((found.churned == "yes").mean() - share) < 4 * 0.5 * np.sqrt(1 / 1000 + 1 / 1500)


def test_a_bound_is_met_with_what_was_found(run, tmp_path, monkeypatch):
    monkeypatch.setattr(rejection, "TRIES", 2)
    with pytest.raises(InputError, match=r"--where: \d+ of the 64 rows that block 0 needs were found among 128 drawn; "
                       r"--rows=\d+ is what the same draws give") as error:  # fmt: skip
        draw(run, tmp_path / "a.csv", 70, "town==Deal", "churned=no")
    found = int(str(error.value).split()[1])
    assert 0 < found < 64 and f"--rows={found} " in str(error.value)
    assert not (tmp_path / "a.csv").exists()
    assert len(draw(run, tmp_path / "b.csv", found, "town==Deal", "churned=no")) == found
    with pytest.raises(InputError, match=f"{found} of the {found + 1} rows"):
        draw(run, tmp_path / "c.csv", found + 1, "town==Deal", "churned=no")


def test_sigterm_is_heard_while_rows_are_looked_for(run, tmp_path):
    with pytest.raises(Preempted, match="the same command goes on"):
        draw(run, tmp_path / "a.csv", 70, "town==Deal", stop=lambda: True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("churned=maybe", "--where=churned=maybe: churned has no, yes; no row has 'maybe'"),
        ("churned=", "--where=churned=: churned has no, yes; no row has ''"),
        ("town=Deal", "--where=town=Deal: town has Ayr, Bath, =Deal or nothing; no row has 'Deal'"),
        ("age=30.5", "or nothing; no row has '30.5'"),
        ("age=7", "--where=age=7: age has whole numbers 1"),
        ("age=inf", "no row has 'inf'"),
        ("spent=1.234", "no row has '1.234'"),
        ("visited=2021-05-01", "(as %d/%m/%Y) or nothing; no row has '2021-05-01'"),
        ("country=FR", "--where=country=FR: country has UK; no row has 'FR'"),
        ("customer_id=C-00001", "--where=customer_id=C-00001: customer_id is never copied"),
        ("notes=hello", "--where=notes=hello: notes is free text: left out"),
        ("twon=Ayr", "--where=twon=Ayr: column 'twon' is not a column; did you mean town?"),
        ("town", "--where=town: write COLUMN=VALUE"),
    ],
)
def test_impossible_conditions_say_what_there_is(run, text, message):
    with pytest.raises(InputError) as error:
        conditions.parse(text, runs.encoder(run))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_conditions_go_with_a_number_of_rows_alone(run):
    model, _, spec = synthjax.load(run)
    encoder = runs.encoder(run)
    for asked in (
        {"n": None, "per_class": 3},
        {"n": 3, "per_class": None, "classes": ["no"]},
        {"n": 0, "per_class": None},
    ):
        with pytest.raises(
            InputError, match="--where goes with --rows=N, at least 1, and with no other choice of rows"
        ):
            rejection.plan(model, spec, encoder, ["town=Ayr"], BLOCK, **asked)
    with pytest.raises(InputError, match="--where=town=Bath: no row has two values of 'town'"):
        rejection.plan(model, spec, encoder, ["town=Ayr", "town=Bath"], BLOCK, n=3, per_class=None)


def test_a_model_without_labels_tops_nothing_up(unconditional):
    model, _, spec = synthjax.load(unconditional)
    with pytest.raises(InputError, match="--top_up: the model is unconditional; give --n alone"):
        rejection.plan(model, spec, None, [], BLOCK, n=None, per_class=None, top_up=np.zeros(9, np.int32))
