"""What is released of single columns, and what it depends on."""

import math

import numpy as np
import pyarrow as pa
import pytest
from customers import customers
from scipy import stats

from synthjax.data import private_histograms as histograms
from synthjax.data.private_kinds import look_of
from synthjax.data.private_rows import nearest_counts, smoothed, whole
from synthjax.data.readers import frame_reader
from synthjax.privacy import budget, noise


def spend(sigma: float = 1e-3, seed: int | None = None, delta: float = 1e-3, seen: dict | None = None):
    """Noise of one standard deviation for all; without a seed none at all. `seen` gets the exact counts."""

    def noisy(name, counts, share):
        if seen is not None:
            seen[name] = np.array(counts)
        if seed is None:
            return np.array(counts)
        key = noise.Key.from_seed(seed).fold_in(name)
        return counts + noise.discrete_gaussian(key, sigma, np.shape(counts))

    return histograms.Spend(noisy, lambda share: sigma, lambda name, deviation, n: budget.threshold(deviation, delta))


def released(frame, spent, public=None, target=None):
    reader = frame_reader(frame, "table")
    cells = histograms.counted(reader.chunks(), reader.names)
    rows, found = histograms.release(cells, len(frame), spent, public or {}, target=target)
    return rows, {one.name: one for one in found}


def test_without_noise_kinds_bounds_and_counts_are_those_of_the_rows():
    frame = customers(0, n=2000)
    rows, found = released(frame, spend(), target="churned")
    assert rows == 2000
    kinds = {
        "id": "id",
        "age": "number",
        "income": "number",
        "joined": "date",
        "city": "category",
        "member": "category",
    }
    assert {name: found[name].kind for name in kinds} == kinds
    age, city = found["age"], found["city"]
    assert age.step == 1 and age.missing == frame["age"].isna().sum()
    values = frame["age"].dropna().to_numpy()
    inside = np.histogram(values, np.array(age.edges))[0]
    assert inside.tolist() == list(age.counts) and sum(age.counts) == len(values)
    assert dict(zip(city.labels, city.counts, strict=True)) == frame["city"].value_counts().to_dict()
    assert found["joined"].format.startswith("%Y-%m-%d")
    assert found["churned"].missing == 0 and sum(found["churned"].counts) == 2000


def test_few_different_numbers_of_the_target_are_classes():
    frame = customers(1, n=500)
    frame["churned"] = (frame["churned"] == "yes").astype(int)
    assert released(frame, spend(), target="churned")[1]["churned"].labels == ("1", "0")
    assert released(frame, spend())[1]["churned"].kind == "number"


def test_public_entries_need_no_release_of_their_own():
    seen = {}
    public = {
        "age": {"kind": "integer", "min": 0, "max": 120},
        "city": {"categories": ["Ayr", "Bath", "Deal", "Ely"]},
        "member": {"kind": "boolean", "categories": ["True", "False"]},
        "churned": {"categories": ["no", "yes"]},
    }
    frame = customers(0)[[*public]]
    _, found = released(frame, spend(seen=seen), public)
    assert sorted(seen) == ["age: values", "churned: values", "city: values", "member: values", "rows"]
    assert found["age"].edges[0] == 0 and found["age"].edges[-1] == 121
    assert found["city"].labels == ("Ayr", "Bath", "Deal", "Ely") and found["city"].counts[-1] == 0


@pytest.mark.parametrize("row", range(4))
def test_one_row_more_changes_one_count_of_each_histogram_by_one(row):
    """The declared sensitivity, for all that is released."""
    frame = customers(3, n=300)
    public = {"city": {"categories": ["Ayr", "Bath", "Deal"]}, "age": {"kind": "integer", "min": 0, "max": 99}}
    with_it, without = {}, {}
    released(frame, spend(seen=with_it), public, "churned")
    released(frame.drop(index=frame.index[row]), spend(seen=without), public, "churned")
    assert with_it.keys() == without.keys()
    fixed = ["rows", "age: values", "city: values", "joined: look", "income: look", "member: values", "churned: values"]
    for name in fixed:
        change = np.abs(with_it[name] - without[name])
        assert change.sum() == 1 and change.max() == 1, name
    for name in ("joined: coarse", "income: coarse"):  # missing cells are not in them
        assert np.abs(with_it[name] - without[name]).sum() <= 1, name


def test_a_category_of_one_row_is_released_with_a_probability_of_at_most_delta():
    delta, sigma, draws = 0.05, 8.0, 2000
    cells = {"name": histograms.Cells(pa.array(["common", "hers alone"]), np.array([400, 1]))}
    shown = common = 0
    for seed in range(draws):
        spent = spend(sigma, seed, delta)
        _, (found,) = histograms.release(cells, 401, spent, {"name": {"kind": "categorical"}})
        shown += "hers alone" in found.labels
        common += "common" in found.labels
    assert stats.binom.sf(shown - 1, draws, delta) > 0.001, shown
    assert shown > 0 and common == draws  # not because nothing is released at all


def test_what_cells_read_as():
    cells = ["12", "1.5", "1.0", "2e-3", "01", "31.12.2020", "12/31/2020", "05/06/2020", "x", "1.1234567890", "10:30"]
    looks = [histograms_look(at) for at in look_of(pa.array(cells))]
    expected = [0, 1, "whole", "scientific", "other", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "other", 6, "%H:%M"]
    assert looks == expected


def histograms_look(at):
    from synthjax.data.private_kinds import _LOOKS

    return _LOOKS[at]


def test_months_first_are_told_by_days_beyond_twelve():
    frame = customers(0, n=800)[["joined", "age"]]
    for form in ("%m/%d/%Y", "%d/%m/%Y"):
        texts = frame.assign(joined=frame["joined"].dt.strftime(form))
        assert released(texts, spend())[1]["joined"].format == form


def test_fine_cells_follow_the_rows_and_are_no_narrower_than_the_step():
    edges, counts = np.array([0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0]), np.array([900, 0, 0, 0, 4, 40])
    found = histograms.fine_edges(edges, counts, 1.0, least=1.0)
    assert found.tolist() == [0.0, 0.5, 1.0, 2.0, 4.0, 5.0, 6.0, 7.0, *range(8, 17)]
    assert histograms.fine_edges(edges, counts, 1.0, least=20.0).tolist() == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 12.0, 16.0]


def test_counts_are_projected_onto_those_with_a_total():
    """Against a search over shifts: the projection onto the simplex is max(c - t, 0) for one t."""
    counts = np.random.default_rng(0).normal(2, 5, 40)
    found = nearest_counts(counts, 90.0)
    assert math.isclose(found.sum(), 90.0) and found.min() >= 0
    others = [np.maximum(counts - t, 0) for t in np.linspace(-10, 10, 20001)]
    best = min((one for one in others if abs(one.sum() - 90) < 0.05), key=lambda one: ((one - counts) ** 2).sum())
    assert np.abs(found - best).max() < 0.01
    assert whole(np.array([0.5, 0.5, 1.0]), 4).sum() == 4


def test_smoothing_takes_noise_off_and_keeps_peaks():
    rng = np.random.default_rng(0)
    exact = np.where(np.arange(64) < 40, 100.0, 0.0)
    exact[7] = 900
    noisy = exact + rng.normal(0, 20, 64)
    found = smoothed(noisy, 20.0)
    assert ((found - exact) ** 2).mean() < 0.5 * ((noisy - exact) ** 2).mean()
    assert found[7] > 800 and (found[48:] == 0).all()
    assert smoothed(exact, 1e-6).tolist() == exact.tolist()
