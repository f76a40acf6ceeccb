"""Arrays of unknown origin become uint8 images and int32 labels, or one line that names the row."""

import numpy as np
import pytest

from synthjax.data import arrays
from synthjax.data.arrays import Part, Source, as_images, as_labels, check_size, class_names, fault
from synthjax.errors import InputError


def test_floats_are_rounded_to_the_nearest_of_256_levels():
    x = np.array([0.0, 0.5 / 255 - 1e-9, 0.5 / 255 + 1e-9, 100.4 / 255, 254.6 / 255, 1.0]).reshape(1, 2, 3)
    np.testing.assert_array_equal(as_images(x, "x").ravel(), [0, 0, 1, 100, 255, 255])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint64, np.float16, np.float32, ">f8"])
def test_every_number_type_gives_the_same_image(dtype):
    grey = np.array([0, 51, 102, 255])
    x = (grey / 255 if np.dtype(dtype).kind == "f" else grey).astype(dtype).reshape(1, 2, 2)
    image = as_images(x, "x")
    assert image.shape == (1, 2, 2, 1) and image.dtype == np.uint8
    np.testing.assert_array_equal(image.ravel(), grey)


def test_booleans_are_black_and_white():
    np.testing.assert_array_equal(as_images(np.array([[[False, True]]]), "x").ravel(), [0, 255])


@pytest.mark.parametrize(
    "value, message",
    [
        (np.nan, "x: row 4999 holds NaN"),
        (np.inf, "x: row 4999 holds inf"),
        (-0.25, r"x: row 4999 holds -0.25: floats must be in \[0, 1\]"),
        (1.5, "x: row 4999 holds 1.5: floats must be"),
    ],
)
def test_the_row_of_a_bad_float_is_named(value, message):
    x = np.zeros((5000, 2, 2), np.float32)  # beyond the first block of rows
    x[4999, 1, 0] = value
    with pytest.raises(InputError, match=message):
        as_images(x, "x")


@pytest.mark.parametrize("value", [-1, 256])
def test_the_row_of_a_bad_integer_is_named(value):
    x = np.zeros((3, 2, 2), np.int32)
    x[1, 0, 0] = value
    with pytest.raises(InputError, match=f"row 1 holds {value}: integers must be in 0 ... 255"):
        as_images(x, "x")


@pytest.mark.parametrize(
    "shape, message",
    [
        ((5, 784), "tables are read from .csv and .parquet"),
        ((5,), r"images are \(N, H, W\)"),
        ((0, 8, 8), "there is no image"),
        ((5, 8, 0), "there is no image"),
        ((5, 3, 8, 8), "channels come last"),
        ((5, 8, 8, 4), "1 or 3 channels"),
    ],
)
def test_shapes_that_are_no_images_are_refused(shape, message):
    with pytest.raises(InputError, match=message):
        as_images(np.zeros(shape, np.uint8), "x")


@pytest.mark.parametrize("x", [np.array([[["a"]]]), np.zeros((1, 1, 1), complex)])
def test_types_that_are_no_numbers_are_refused(x):
    with pytest.raises(InputError, match="has type"):
        as_images(x, "x")


@pytest.mark.parametrize("y", [[0, 2, 1], [[0], [2], [1]], [0.0, 2.0, 1.0], np.array([0, 2, 1], np.uint8)])
def test_labels_become_int32(y):
    labels = as_labels(np.asarray(y), 3, "y")
    assert labels.dtype == np.int32 and labels.tolist() == [0, 2, 1]


@pytest.mark.parametrize(
    "y, message",
    [
        ([0, 1, -1], "y: row 2 holds label -1"),
        ([0, 0.5, 1], "y: row 1 holds label 0.5"),
        ([0, 1, np.nan], "y: row 2 holds label nan"),
        ([0, 2**40, 1], "y: row 1 holds label 1099511627776"),
        ([0, 1], "y: has 2 labels for 3 examples"),
        (["a", "b", "c"], "y: has type <U1"),
        (np.eye(3), r"y: has shape \(3, 3\).*argmax"),
        (0, r"y: has shape \(\)"),
    ],
)
def test_bad_labels_are_named(y, message):
    with pytest.raises(InputError, match=message):
        as_labels(np.asarray(y), 3, "y")


def _part(y, where):
    return Part(np.zeros(len(y)), np.array(y, np.int32), where)


def _source(train, test=None, classes=None):
    return Source(_part(train, "y_train"), None if test is None else _part(test, "y_test"), classes)


def test_labels_name_the_classes_unless_names_are_given():
    assert class_names(_source([1, 0, 2])) == ("0", "1", "2")
    assert class_names(_source([1, 0], [0, 1], ("cat", "dog"))) == ("cat", "dog")
    assert class_names(Source(Part(np.zeros(3), None, ""))) == ()


@pytest.mark.parametrize(
    "source, message",
    [
        (_source([0, 1, 3]), "y_train: class 2 has no examples, but row 2 holds label 3"),
        (_source([0, 2**31 - 1]), "y_train: class 1 has no examples, but row 1 holds label 2147483647"),
        (_source([0, 1, 2], None, ("a", "b")), "y_train: row 2 holds label 2, out of range: there are classes 0 ... 1"),
        (_source([0, 0], None, ("a", "b")), r"y_train: class 1 \(b\) has no examples"),
        (_source([0, 1], [0, 1, 2]), "y_test: row 2 holds label 2, out of range"),
        (_source([0, 1], [1, 1]), r"y_test: class 0 \(0\) has no examples"),
    ],
)
def test_gaps_and_strays_among_the_classes_are_named(source, message):
    with pytest.raises(InputError, match=message):
        class_names(source)


def test_sizes_are_refused_before_they_wrap_around():
    assert check_size((10, 28, 28), 1, "x") == 7840
    with pytest.raises(InputError, match="at most"):
        check_size((2**32, 2**32), 1, "x")  # 0 in 64-bit arithmetic
    with pytest.raises(InputError, match="at most"):
        check_size((arrays.MAX_BYTES // 4 + 1,), 4, "x")


def test_a_message_is_one_line_whatever_a_file_is_called():
    text = str(fault("evil\n\x1b[2J.png", "damaged"))
    assert text.isprintable() and text.endswith("damaged")
