"""How rows of other tables are chosen for rows that are drawn."""

import numpy as np
import pyarrow as pa

from synthjax.launch.linked_drawing import assign, unknown_replaced, without_repeats


def test_rows_are_named_as_often_as_they_are_to_be():
    group = np.array(["a", "a", "b", "b"])
    counts = np.array([3, 1, 0, 4])
    wanted = np.array(["a"] * 4 + ["b"] * 4)
    found = assign(wanted, group, counts, np.random.default_rng(0))
    np.testing.assert_array_equal(np.bincount(found, minlength=4), counts)
    np.testing.assert_array_equal(group[found], wanted)


def test_a_group_that_has_too_few_is_filled_up_from_others_and_at_last_from_any():
    found = assign(np.array(["a"] * 5 + [""]), np.array(["a", "b"]), np.array([1, 2]), np.random.default_rng(0))
    assert found[-1] == -1 and (found[:-1] >= 0).all()
    assert np.bincount(found[:-1], minlength=2).min() >= 1
    assert assign(np.array(["z"]), np.array(["a"]), np.array([0]), np.random.default_rng(0)).tolist() == [0]


def test_no_parent_names_the_same_row_twice_where_that_can_be():
    main, chosen = np.repeat(np.arange(20), 3), np.repeat(np.arange(20), 3)
    found = without_repeats(main, chosen, np.full(60, "a"), np.random.default_rng(0))
    np.testing.assert_array_equal(np.bincount(found), np.bincount(chosen))
    assert len(np.unique(np.stack([main, found]), axis=1).T) == 60


def test_cells_that_are_no_keys_become_rare_real_ones():
    known, real = pa.array(["a", "b", "c"]), pa.array(["a", "a", "c"])
    found = unknown_replaced(pa.array(["a", "(rare)", ""]), known, real, np.random.default_rng(0))
    assert found.to_pylist() == ["a", "c", ""]
