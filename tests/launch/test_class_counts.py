"""How many examples of each class a synthetic set gets, against hand cases."""

import numpy as np
import pytest

from synthjax.errors import InputError
from synthjax.launch import class_counts
from synthjax.model import DataSpec

SPEC = DataSpec("image", (4, 4, 1), 17, ("a", "b", "c"), (0.5, 0.3, 0.2))
TABLE = DataSpec("table", (3,))


def top_up(y, spec=SPEC, conditional=True, **asked):
    labels = np.array(y, np.int32)
    return class_counts.class_counts(spec, conditional, **({"n": None, "per_class": None} | asked), top_up=labels)


def test_counts():
    assert class_counts.class_counts(SPEC, True, n=None, per_class=7) == (7, 7, 7)
    assert class_counts.class_counts(SPEC, True, n=10, per_class=None) == (5, 3, 2)
    assert class_counts.class_counts(SPEC, True, n=7, per_class=None, classes=["a", "c"]) == (5, 0, 2)
    assert class_counts.class_counts(SPEC, True, n=None, per_class=7, classes=["b"]) == (0, 7, 0)
    assert class_counts.class_counts(SPEC, False, n=9, per_class=None) == (9,)
    assert class_counts.class_counts(TABLE, True, n=9, per_class=None) == (9,)


@pytest.mark.parametrize(
    ("asked", "flag"), [({"per_class": 3}, "per_class"), ({"n": 9, "classes": ["b"]}, "classes"),
                        ({"top_up": np.array([0, 2, 2])}, "top_up")],
)  # fmt: skip
def test_a_class_without_training_rows_is_named(asked, flag):
    spec = DataSpec("image", (4, 4, 1), 17, ("a", "b", "c"), (0.4, 0.0, 0.6))
    asked = {"n": None, "per_class": None, **asked}
    with pytest.raises(InputError, match=f"^--{flag}: class b has no training row to learn from; --classes names the"):
        class_counts.class_counts(spec, True, **asked)
    assert class_counts.class_counts(spec, True, n=10, per_class=None) == (4, 0, 6)
    assert class_counts.class_counts(spec, True, n=None, per_class=2, classes=["a", "c"]) == (2, 0, 2)


def test_a_top_up_fills_every_class_to_the_largest():
    for y, lacking in [([0, 2, 2, 1, 2], (2, 2, 0)), ([1, 1], (2, 0, 2)), ([2, 1, 0], (0, 0, 0))]:
        assert top_up(y) == lacking
        assert len(set(np.bincount(y, minlength=3) + lacking)) == 1
    assert class_counts.top_up_line(SPEC, np.array([0, 2, 2, 1, 2]), (2, 2, 0)) == (
        "topping up each class to 3 examples: 2 of a, 2 of b, 0 of c"
    )
    assert class_counts.top_up_line(SPEC, np.array([2, 1, 0]), (0, 0, 0)) == (
        "nothing to top up: each class has 1 example; no file is written"
    )


@pytest.mark.parametrize(
    ("asked", "flag"),
    [({"n": 3}, "n"), ({"per_class": 3}, "per_class"), ({"classes": ["a"]}, "classes"), ({"n": 0}, "n")],
)
def test_a_top_up_goes_without_numbers_of_one_s_own(asked, flag):
    with pytest.raises(InputError, match=f"--top_up says how many of which classes: it goes without --{flag}$"):
        top_up([0, 1, 1], **asked)


def test_a_top_up_needs_classes():
    with pytest.raises(InputError, match="--top_up: the model is unconditional; give --n alone"):
        top_up([0, 1, 1], conditional=False)
    with pytest.raises(InputError, match="--top_up: the training data has no labels; give --n alone"):
        top_up([0, 0, 0], TABLE)


@pytest.mark.parametrize(
    ("conditional", "asked", "message"),
    [
        (True, {}, "either --per_class"),
        (True, {"n": 3, "per_class": 3}, "either --per_class"),
        (True, {"n": 0}, "--n must be at least 1, not 0"),
        (True, {"per_class": -4}, "--per_class must be at least 1, not -4"),
        (True, {"n": 3, "classes": ["a", "z"]}, "--classes: no class 'z'; there are a, b, c"),
        (False, {"per_class": 3}, "--per_class: the model is unconditional; give --n alone"),
        (False, {"n": 3, "classes": ["a"]}, "--classes: the model is unconditional; give --n alone"),
    ],
)
def test_counts_that_cannot_be_met(conditional, asked, message):
    with pytest.raises(InputError, match=message):
        class_counts.class_counts(SPEC, conditional, **({"n": None, "per_class": None} | asked))
