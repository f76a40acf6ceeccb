import json

import numpy as np
import pytest
from sklearn.svm import SVC

from synthjax import data
from synthjax.data import Split
from synthjax.errors import InputError
from synthjax.evals import utility
from synthjax.evals.domains import images
from synthjax.evals.domains.images import Images
from synthjax.evals.sets import Sets
from synthjax.model import DataSpec

DIGITS = data.load("digits")
SPEC = DIGITS.spec


def half(which):
    return Split(*(a[which::2] for a in DIGITS.train))


def evaluate(synthetic, train, test, *, epochs=12, spec=SPEC, **how):
    return utility.evaluate(Sets(Images(spec, epochs), synthetic, train, test), **how)


@pytest.fixture(scope="module")
def real_as_synthetic():
    """Half of the real training set in the place of the synthetic one."""
    return evaluate(half(0), half(1), DIGITS.test, seeds=3, seed=1)


def test_real_data_reaches_the_ceiling(real_as_synthetic):
    for judge in ("cnn", "svm"):
        found = real_as_synthetic[judge]
        # Two standard errors of a difference at 97 % of 359 test digits, plus what 647 other training digits change.
        assert abs(found["tstr"]["mean"] - found["trtr"]["mean"]) < 0.03
        assert found["trtr"]["mean"] > 0.94
        assert found["trts"]["mean"] > 0.94


def test_the_floor_is_below(real_as_synthetic):
    for judge in ("cnn", "svm"):
        found = real_as_synthetic[judge]
        assert 0.5 < found["floor"]["mean"] < found["tstr"]["mean"] - 0.03


def test_leaves_are_plain_and_consistent(real_as_synthetic):
    found = json.loads(json.dumps(real_as_synthetic))
    for judge, n in (("cnn", 3), ("svm", 1)):
        ratio = found[judge].pop("tstr_over_trtr")
        assert set(found[judge]) == {"tstr", "trtr", "floor", "trts"}
        assert ratio == pytest.approx(found[judge]["tstr"]["mean"] / found[judge]["trtr"]["mean"])
        for leaf in found[judge].values():
            assert leaf["n"] == len(leaf["values"]) == n
            assert leaf["mean"] == pytest.approx(np.mean(leaf["values"]))
            assert leaf["std"] == pytest.approx(np.std(leaf["values"], ddof=1) if n > 1 else 0)
            assert leaf["ci"][0] <= leaf["mean"] <= leaf["ci"][1]
    confusion = np.array(found["cnn"]["tstr"]["confusion"])
    assert confusion.sum(1) == pytest.approx(np.bincount(DIGITS.test.y), abs=0.02)
    assert np.trace(confusion) / len(DIGITS.test.y) == pytest.approx(found["cnn"]["tstr"]["mean"], abs=1e-4)
    assert found["n"]["ceiling"] == 647 and found["n"]["ceiling_is_all_real"]


def test_a_missing_class_is_named_and_costs_accuracy():
    synthetic = half(0)
    rows = np.resize(np.flatnonzero(synthetic.y != 4), len(synthetic.y))
    synthetic = Split(*(a[rows] for a in synthetic))
    seen = []
    found = evaluate(synthetic, DIGITS.train, DIGITS.test, seeds=2, epochs=6, progress=seen.append)
    assert found["n"]["missing_classes"] == [SPEC.classes[4]] and found["n"]["synthetic_per_class"][4] == 0
    share = 1 - (DIGITS.test.y == 4).mean()
    for judge in ("cnn", "svm"):
        assert found[judge]["tstr"]["mean"] <= share + 1e-9
    assert np.array(found["cnn"]["tstr"]["confusion"])[4, 4] == 0
    assert found["n"]["ceiling"] == 647 and not found["n"]["ceiling_is_all_real"]
    assert (np.diff(seen) >= 0).all() and seen[-1] == 1


def test_unlabelled_data_has_no_utility():
    spec = DataSpec.from_arrays(DIGITS.train.x, levels=17)
    with pytest.raises(InputError, match="the data has no labels"):
        evaluate(DIGITS.train, DIGITS.train, DIGITS.test, spec=spec)


def test_confusion_and_recall_are_the_mean_over_the_seeds():
    y, answers = np.array([0, 2, 2, 2]), np.array([[0, 1, 2, 2], [0, 2, 2, 2]])
    counts = images.confusion(y, answers, 4)
    assert counts.tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0.5, 2.5, 0], [0, 0, 0, 0]]
    found = images.recall(y, answers, 4)
    assert found == [1, None, pytest.approx(2.5 / 3), None]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_mean_images_have_the_moments_of_their_class_and_nothing_else():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(2), 3000)
    common = rng.normal(size=(6000, 1, 1, 1))  # moves all pixels of an image together
    x = np.rint(100 + 40 * y[:, None, None, None] + 10 * common + 5 * rng.normal(size=(6000, 4, 4, 1))).astype(np.uint8)
    train = Split(x, y, y)
    spec = DataSpec.from_arrays(x, y)
    labels = np.resize([1, 0, 1], 6000)
    like = Split(x, labels, labels)
    drawn = Images(spec).floor(rng, train, like).x
    for label in (0, 1):
        ours, real = (a.reshape(len(a), -1).astype(float) for a in (drawn[labels == label], x[y == label]))
        np.testing.assert_allclose(ours.mean(0), real.mean(0), atol=1)
        np.testing.assert_allclose(ours.std(0), real.std(0), rtol=0.1)
        off_diagonal = np.corrcoef(ours, rowvar=False)[~np.eye(16, dtype=bool)]
        assert np.abs(off_diagonal).max() < 0.12
    with pytest.raises(InputError, match=f"class {spec.classes[0]}"):
        Images(spec).floor(rng, Split(x[3000:], y[3000:], y[3000:]), like)


def test_mean_images_stay_in_range():
    x = Images(SPEC).floor(np.random.default_rng(0), DIGITS.train, DIGITS.train).x
    assert x.dtype == np.uint8 and x.max() == 16


def test_svm_is_scikit_learns():
    train, test = (a.x.reshape(len(a.x), -1) / 16 for a in (DIGITS.train, DIGITS.test))
    theirs = SVC(C=5, gamma=0.05).fit(train, DIGITS.train.y)
    answers = images.svm(train, DIGITS.train.y)(test)
    assert (answers == theirs.predict(test)).mean() > 0.995


def test_svm_of_large_images_scales_its_kernel():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = rng.random((60, 1200)) * 0.5 + 0.2 * (np.arange(1200) % 3 == y[:, None])
    theirs = SVC(C=5, gamma="scale").fit(x[:40], y[:40])
    np.testing.assert_array_equal(images.svm(x[:40], y[:40])(x[40:]), theirs.predict(x[40:]))


def test_svm_of_a_single_class_always_answers_it():
    assert images.svm(np.zeros((5, 4)), np.full(5, 3))(np.ones((2, 4))).tolist() == [3, 3]


GOOD = half(0)


@pytest.mark.parametrize(
    ("synthetic", "message"),
    [
        (GOOD._replace(x=GOOD.x[:, :7]), r"synthetic: examples have shape \(7, 8, 1\)"),
        (Split(GOOD.x[:0], GOOD.y[:0], GOOD.y[:0]), "synthetic: holds 0 examples"),
        (GOOD._replace(y=np.where(np.arange(647) == 5, 10, GOOD.y)), "synthetic: row 5 has label 10"),
        (GOOD._replace(y=np.where(np.arange(647) == 6, -1, GOOD.y)), "synthetic: row 6 has label -1"),
        (GOOD._replace(y=GOOD.y[:9]), "synthetic: 647 examples need as many labels"),
        (GOOD._replace(y=None), "synthetic: 647 examples need as many labels"),
    ],
)
def test_bad_input_is_one_line(synthetic, message):
    with pytest.raises(InputError, match=message) as caught:
        evaluate(synthetic, DIGITS.train, DIGITS.test)
    assert "\n" not in str(caught.value)


def test_tables_are_refused():
    spec = DataSpec.from_arrays(np.zeros((4, 3), np.float32), np.arange(4) % 2)
    with pytest.raises(InputError, match="table"):
        evaluate(GOOD, GOOD, GOOD, spec=spec)


def test_nothing_that_is_trained_depends_on_the_test_set(monkeypatch):
    """Whatever the real test data is, the same networks learn the same for as long: nothing is chosen on it."""
    taught = []

    def train(key, examples, spec, **settings):
        del settings["progress"]
        taught.append((*(part.tobytes() for part in examples), settings))
        return None

    monkeypatch.setattr(images.classifiers, "train", train)
    monkeypatch.setattr(images.classifiers, "predict", lambda nets, x: np.zeros((2, len(x), 10)))
    leaf = {"mean": 0.5}
    monkeypatch.setattr(Images, "_svm", lambda *a: {"tstr": leaf, "trtr": leaf})
    for test in (DIGITS.test, half(1)._replace(y=np.roll(half(1).y, 1))):
        evaluate(half(0), half(1), test, seeds=2, epochs=3)
    assert len(taught) == 6 and taught[:3] == taught[3:]
    assert all(settings["protocol"].epochs == 3 for _, _, settings in taught)
