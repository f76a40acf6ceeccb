import json

import numpy as np
import pytest
from scipy import linalg
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from synthjax.data import Split
from synthjax.errors import InputError
from synthjax.evals import maps
from synthjax.evals.fidelity import feature_space
from synthjax.evals.fidelity import images as images_fidelity
from synthjax.model import DataSpec


def brute(real, fake, k):
    """The four figures by their definitions, one ball at a time."""

    def radii(points):
        return NearestNeighbors(n_neighbors=k + 1).fit(points).kneighbors(points)[0][:, k]

    real_radii, fake_radii, distance = radii(real), radii(fake), cdist(real, fake)
    R, S = distance.shape
    held = [sum(distance[i, j] <= real_radii[i] for i in range(R)) for j in range(S)]
    return {
        "precision": sum(h > 0 for h in held) / S,
        "recall": sum(any(distance[i, j] <= fake_radii[j] for j in range(S)) for i in range(R)) / R,
        "density": sum(held) / (k * S),
        "coverage": sum(any(distance[i, j] <= real_radii[i] for j in range(S)) for i in range(R)) / R,
    }


@pytest.mark.parametrize(("n", "m", "k", "shift"), [(60, 60, 5, 0.0), (50, 31, 3, 0.7), (33, 70, 1, 1.0)])
def test_neighbourhoods_against_brute_force(n, m, k, shift, monkeypatch):
    monkeypatch.setattr(feature_space, "_BLOCK", 16)
    rng = np.random.default_rng(n)
    real, fake = rng.normal(size=(n, 4)), rng.normal(size=(m, 4)) * 0.8 + shift
    found = feature_space.neighbourhoods(real, fake, k)
    assert found == pytest.approx(brute(real, fake, k))
    assert 0 < found["coverage"] < 1, "a case that decides nothing"


@pytest.mark.parametrize(("n", "m", "k"), [(300, 300, 5), (200, 120, 3)])
def test_neighbourhoods_against_prdc(n, m, k):
    prdc = pytest.importorskip("prdc", reason="prdc is not installed (pip install -e '.[bench]')")
    rng = np.random.default_rng(n)
    real, fake = rng.normal(size=(n, 4)), rng.normal(size=(m, 4)) * 0.8 + 0.7
    theirs = prdc.compute_prdc(real, fake, nearest_k=k)
    found = feature_space.neighbourhoods(real, fake, k)
    assert found == pytest.approx({name: float(value) for name, value in theirs.items()}, abs=1e-6)
    assert 0 < found["coverage"] < 1 and 0 < found["precision"] < 1, "a case that decides nothing"


def test_neighbourhoods_by_hand():
    real = np.array([[0.0], [1.0], [3.0]])  # radii for k = 1: 1, 1, 2
    fake = np.array([[-1.0], [0.5], [9.0], [11.0]])  # radii for k = 1: 1.5, 1.5, 2, 2
    found = feature_space.neighbourhoods(real, fake, 1)
    # Balls [-1, 1], [0, 2], [1, 5] hold: -1 once, 0.5 twice, 9 and 11 never; the third holds nothing.
    assert found["precision"] == 2 / 4 and found["density"] == 3 / 4
    assert found["coverage"] == 2 / 3
    # Balls [-2.5, 0.5], [-1, 2], [7, 11], [9, 13]: 0 and 1 are in one, 3 in none.
    assert found["recall"] == 2 / 3


def test_neighbourhoods_of_duplicates():
    real = np.repeat(np.eye(3), 4, axis=0)  # every ball for k = 2 has radius 0
    assert feature_space.neighbourhoods(real, real, 2) == {"precision": 1, "recall": 1, "density": 2, "coverage": 1}
    assert feature_space.neighbourhoods(real, real[:4], 2)["recall"] == pytest.approx(1 / 3)


def test_neighbourhoods_tell_copies_of_few_from_many():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(300, 8))
    few = real[rng.integers(0, 10, 300)] + 0.01 * rng.normal(size=(300, 8))
    many = rng.normal(size=(300, 8))
    narrow, wide = (feature_space.neighbourhoods(real, fake, 5) for fake in (few, many))
    assert narrow["precision"] == 1 and narrow["coverage"] < 0.5 < 0.8 < wide["coverage"]
    assert wide["density"] == pytest.approx(1, abs=0.15)


def test_frechet_against_matrix_square_root():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))
    b = rng.normal(size=(150, 6)) @ rng.normal(size=(6, 6)) + 1
    A, B = np.cov(a.T), np.cov(b.T)
    theirs = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(A + B - 2 * linalg.sqrtm(A @ B).real)
    assert feature_space.frechet(a, b) == pytest.approx(theirs, rel=1e-6)
    assert feature_space.frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_of_lines_by_hand():
    # Means 0 and 3, standard deviations 1 and 2 (ddof 1): 3^2 + (2 - 1)^2.
    a, b = np.array([-1.0, 0, 1]), np.array([1.0, 3, 5])
    assert feature_space.frechet(a[:, None], b[:, None]) == pytest.approx(10)


def test_frechet_with_fewer_points_than_dimensions():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 20)), rng.normal(size=(7, 20))
    A, B = np.cov(a.T), np.cov(b.T)
    cross = np.sqrt(np.maximum(np.linalg.eigvals(A @ B).real, 0)).sum()
    theirs = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(A) + np.trace(B) - 2 * cross
    assert feature_space.frechet(a, b) == pytest.approx(theirs, rel=1e-5)


SPEC = DataSpec("image", (4, 4, 1), levels=17, classes=("a", "b", "c"))


def images(seed, n, classes=3):
    rng = np.random.default_rng(seed)
    y = (np.arange(n) % classes).astype(np.int32)
    x = np.clip(np.rint(rng.normal(5 + 2 * y[:, None, None, None], 2, (n, 4, 4, 1))), 0, 16).astype(np.uint8)
    return Split(x, y, np.arange(n, dtype=np.int32))


def flat(x):
    return x.reshape(len(x), -1).astype(np.float32)


def test_moments_against_numpy():
    fake, real = images(0, 40, 1).x, images(1, 50, 1).x
    found = images_fidelity.moments(fake, real, SPEC)
    s, r = flat(fake) / 16, flat(real) / 16
    mean = np.sqrt(sum((s[:, i].mean() - r[:, i].mean()) ** 2 for i in range(16)) / 16)
    assert found["mean_distance"] == pytest.approx(mean)

    def covariance(a):
        d = a - a.mean(0)
        return d.T @ d / (len(a) - 1)

    difference = np.sqrt(((covariance(s) - covariance(r)) ** 2).sum() / (covariance(r) ** 2).sum())
    assert found["covariance_distance"] == pytest.approx(difference, rel=1e-4)


@pytest.mark.parametrize(
    ("fake", "real", "missing"),
    [
        (0, 5, {"mean_distance", "covariance_distance"}),
        (1, 5, {"covariance_distance"}),
        (5, 0, {"mean_distance", "covariance_distance"}),
    ],
)
def test_moments_of_too_few(fake, real, missing):
    found = images_fidelity.moments(images(0, fake).x, images(1, real).x, SPEC)
    assert {name for name, value in found.items() if value is None} == missing
    assert (found["n_synthetic"], found["n_real"]) == (fake, real)


def test_evaluate():
    synthetic, test, train = images(0, 90, 2), images(1, 60), images(2, 70)
    found = images_fidelity.evaluate(synthetic, test, SPEC, flat, train=train)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    # Equal numbers on both sides: the synthetic set is cut to the test set's 60.
    assert (found["n_real"], found["n_synthetic"], found["k"]) == (60, 60, 5)
    assert found["per_class"]["c"]["n_synthetic"] == 0 and found["per_class"]["c"]["mean_distance"] is None
    assert found["per_class"]["a"]["n_synthetic"] == 45
    # Class c is missing: what is there looks real, but less of the real data is covered than by other real data.
    assert found["coverage"] < found["reference"]["coverage"] - 0.05
    assert found["frechet"] > 2 * found["reference"]["frechet"]
    assert found["c2st"]["score"] < found["reference"]["c2st"]["score"] and found["c2st"]["n"] == 60
    assert list(found["map"]["names"]) == ["a", "b", "c"] and len(found["map"]["synthetic"]) == maps.SHOWN


def test_distances_class_by_class_stand_beside_those_of_as_many_real_examples(monkeypatch):
    monkeypatch.setattr(images_fidelity, "PAIRED", 40)
    synthetic, test, train = images(0, 90), images(1, 150), images(2, 240)
    x = synthetic.x.copy()
    x[synthetic.y == 1] = x[synthetic.y == 1] // 2  # class b alone is wrong
    y = np.where(synthetic.y == 2, 0, synthetic.y)  # class c is missing
    found = images_fidelity.evaluate(Split(x, y, synthetic.index), test, SPEC, flat, train=train)["per_class"]
    assert {name: of["n_compared"] for name, of in found.items()} == {"a": 40, "b": 30, "c": 40}
    assert found["b"]["frechet"] > 3 * found["b"]["reference"]["frechet"] > 0
    assert found["b"]["kernel"] > 3 * abs(found["b"]["reference"]["kernel"])
    assert found["c"]["frechet"] is None and found["c"]["reference"]["frechet"] > 0
    # Against the definition, of a class with fewer examples than are compared at most.
    fake = flat(x[y == 1]).astype(np.float64)
    real = flat(test.x[test.y == 1]).astype(np.float64)
    assert len(fake) == 30 and len(real) == 50
    monkeypatch.setattr(images_fidelity, "PAIRED", 500)
    whole = images_fidelity.evaluate(Split(x, y, synthetic.index), test, SPEC, flat)["per_class"]["b"]
    A, B = np.cov(fake.T), np.cov(real.T)
    trace = np.trace(A + B - 2 * linalg.sqrtm(A @ B).real)
    assert whole["frechet"] == pytest.approx(((fake.mean(0) - real.mean(0)) ** 2).sum() + trace, rel=1e-4)
    cube = [(a @ b.T / 16 + 1) ** 3 for a, b in ((fake, fake), (real, real), (fake, real))]
    alone = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in cube[:2]]
    assert whole["kernel"] == pytest.approx(sum(alone) - 2 * cube[2].mean(), rel=1e-6)
    assert whole["reference"] is None and whole["n_compared"] == 30


def test_a_collapsed_class_is_named():
    synthetic = images(0, 90)
    x = synthetic.x.copy()
    x[synthetic.y == 1] = x[synthetic.y == 1][:1]
    found = images_fidelity.evaluate(synthetic._replace(x=x), images(1, 60), SPEC, flat)
    assert found["collapsed"] == ["b"] and found["per_class"]["b"]["diversity"] < 1e-3
    assert 0.8 < found["per_class"]["a"]["diversity"] < 1.2


def test_evaluate_limits_and_small_sets():
    found = images_fidelity.evaluate(images(0, 90), images(1, 60), SPEC, flat, limit=20)
    assert (found["n_real"], found["n_synthetic"], found["reference"]) == (20, 20, None)
    assert images_fidelity.evaluate(images(0, 3), images(1, 60), SPEC, flat)["k"] == 2


def test_unlabelled_data_has_no_classes():
    spec = DataSpec("image", (4, 4, 1), levels=17)
    assert images_fidelity.evaluate(images(0, 20), images(1, 20), spec, flat)["per_class"] == {}


@pytest.mark.parametrize(
    ("synthetic", "message"),
    [
        (images(0, 1), "synthetic: holds 1 examples, at least 2"),
        (images(0, 9)._replace(x=np.zeros((9, 4, 5, 1), np.uint8)), r"synthetic: examples have shape \(4, 5, 1\)"),
        (images(0, 9)._replace(y=np.full(9, 3)), "synthetic: row 0 has label 3"),
    ],
)
def test_bad_input_is_one_line(synthetic, message):
    with pytest.raises(InputError, match=message):
        images_fidelity.evaluate(synthetic, images(1, 20), SPEC, flat)
