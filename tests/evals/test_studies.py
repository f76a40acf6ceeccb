"""Studies of images and tables on sets whose worth is known, and the changes that keep labels."""

from dataclasses import replace

import numpy as np
import pytest
from customers import KINDS, customers

from synthjax import data
from synthjax.data import Split
from synthjax.evals import robustness, studies, utility
from synthjax.evals.domains import images, tables
from synthjax.evals.domains.images import Images
from synthjax.evals.domains.tables import Tables, kept
from synthjax.evals.fidelity import feature_space
from synthjax.evals.fidelity import images as image_fidelity
from synthjax.evals.rank_agreement import evaluate as ranking
from synthjax.evals.sets import Sets
from synthjax.evals.studies import Sizes
from synthjax.evals.table import from_frames
from synthjax.model import DataSpec

DIGITS = data.load("digits")
RNG = np.random.default_rng(0)
LARGE = DataSpec("image", (28, 28, 1))


def part(start, stop):
    return Split(*(a[start:stop] for a in DIGITS.train))


def read(**tables):
    return from_frames(tables, KINDS, target="churned")


def of_tables(made):
    return Sets(Tables.of(made["train"]), made["synthetic"], made["train"], made["test"])


def test_images_are_changed_within_bounds():
    x = np.zeros((50, 28, 28, 1), np.uint8)
    x[:, 14, 14] = 255
    changed = Images(LARGE).perturb(np.random.default_rng(0), Split(x, x, x)).x
    assert changed.shape == x.shape and changed.dtype == np.uint8
    places = changed.reshape(50, -1).argmax(1)
    moved = {(int(place) // 28 - 14, int(place) % 28 - 14) for place in places}
    assert len(moved) > 5 and max(abs(step) for pair in moved for step in pair) == 1
    assert changed.reshape(50, -1).max(1).min() >= 255 * (1 - images.DIM) - 5 * 255 * images.NOISE
    eight = Images(DIGITS.spec).perturb(np.random.default_rng(0), part(0, 99)).x  # too small to be moved
    apart = np.abs(eight.astype(float) - DIGITS.train.x[:99])
    assert 0 < apart.mean() < 1 and apart.max() <= 0.1 * 16 + 5 * 0.02 * 16


def test_classifiers_of_pixels_are_ranked():
    found = ranking(Sets(Images(DIGITS.spec), part(0, 400), part(400, 800), DIGITS.test), 200, seeds=2)
    assert set(found["classifiers"]) == set(Images.ranked)
    for name, of in found["classifiers"].items():
        assert of["deployed"] > 0.7 and of["real"] > 0.7, name
    assert found["classifiers"]["svm"]["deployed"] > found["classifiers"]["bayes"]["deployed"]
    assert -1 <= found["deployed"]["spearman"]["mean"] <= 1 and found["regret"]["mean"] >= 0


@pytest.mark.slow
def test_wrong_labels_turn_the_verdict_and_are_worth_nothing():
    good, junk = part(0, 300), part(0, 300)._replace(y=np.roll(DIGITS.train.y[:300], 7))
    scores = {}
    for name, synthetic in (("good", good), ("junk", junk)):
        sets = Sets(Images(DIGITS.spec, steps=60), synthetic, part(600, 900), DIGITS.test)
        made = studies.evaluate(sets, Sizes(real=60, most=300, filled=0, ranked=60), seeds=1)
        scores[name] = {point["factor"]: point["score"]["mean"] for point in made["mixing"]}
        curve = made["curve"][-1]
        assert (curve["synthetic"]["mean"] > 0.75) == (name == "good") and curve["real"]["mean"] > 0.75
    assert scores["good"][4] > scores["good"][0] and scores["good"][4] > scores["junk"][4] + 0.2
    assert list(scores["good"]) == [0, 0.5, 1, 2, 4]


def test_robustness_finds_the_variation_that_turns_the_verdict():
    leaf = {"mean": 0.96, "values": [0.80, 0.97]}
    svm = {"tstr": {"mean": 0.6}, "trtr": {"mean": 0.97}}
    cnn = {"tstr": leaf, "trtr": {"mean": 0.96, "values": []}, "floor": {"mean": 0.5}}
    sets = Sets(Images(DIGITS.spec, epochs=1), part(0, 200), part(200, 400), DIGITS.test)
    made = robustness.evaluate(sets, {"cnn": cnn, "svm": svm, "n": {"trained_on": 128}}, seeds=1)
    assert [check["ours"] for check in made["checks"][:3]] == [0.6, 0.8, 0.97]  # poor, poor and good beside 0.97, 0.96
    assert made["checks"][3]["ours"] < 0.9  # one epoch teaches little


def test_tables_keep_target_categories_and_gaps():
    table = read(a=customers(0))["a"]
    changed = Tables.of(table).perturb(np.random.default_rng(0), table)
    np.testing.assert_array_equal(changed.codes, table.codes)
    np.testing.assert_array_equal(np.isnan(changed.numbers), np.isnan(table.numbers))
    spread = np.nanstd(changed.numbers - table.numbers, axis=0) / np.nanstd(table.numbers, axis=0)
    np.testing.assert_allclose(spread, tables.NOISE, rtol=0.2)


def test_studies_of_a_good_table():
    sets = of_tables(read(synthetic=customers(2), train=customers(0), test=customers(1)))
    made = studies.evaluate(sets, Sizes(real=80, most=300, filled=0, ranked=150), seeds=1)
    assert made["measure"] == "roc_auc" and [point["n"] for point in made["curve"]] == [100, 300]
    assert made["curve"][-1]["synthetic"]["mean"] > 0.75 and made["curve"][-1]["real"]["mean"] > 0.75
    assert made["mixing"][-1]["score"]["mean"] > made["mixing"][0]["score"]["mean"]
    assert all(of["deployed"] > 0.7 for of in made["ranking"]["classifiers"].values())


def test_a_rare_class_of_a_table_is_filled_up():
    frame = customers(0, 800)
    rare = frame.churned.value_counts().idxmin()
    few = frame[(frame.churned != rare) | (frame.groupby("churned").cumcount() < 8)]
    sets = of_tables(read(synthetic=customers(2, 1_500), train=few, test=customers(1)))
    made = studies.evaluate(sets, Sizes(real=80, most=100, filled=10_000, ranked=20), seeds=2)["top_up"]
    assert made["rarest"] == rare and made["filled"][rare]["real"] == 8
    assert made["n_synthetic"] == made["filled"][rare]["lacking"] == (few.churned != rare).sum() - 8
    assert made["recall"]["ci"][0] > 0 and made["balanced_accuracy"]["ci"][0] > 0
    assert " helps: the balanced accuracy of gradient boosting goes from " in made["said"]
    assert studies.filled(sets, 700) == 700 and studies.filled(replace(sets, train=sets.test), 700) == 0


def test_a_number_as_target_has_no_rare_class():
    kinds = {"age": "integer", "income": "continuous"}
    frame = from_frames({"a": customers(0)[["age", "income"]].dropna()}, kinds, target="income")["a"]
    sets = Sets(Tables.of(frame), frame, frame, frame)
    found = studies.evaluate(sets, Sizes(real=20, most=30, filled=100, ranked=20), seeds=1)
    assert found["top_up"]["reason"] == "the target is a number" and studies.filled(sets, 100) == 0
    assert found["measure"] == "r2"


def test_a_rare_class_of_images_is_filled_up():
    y = DIGITS.train.y[:600]
    rows = np.flatnonzero((y != 7) | (np.cumsum(y == 7) <= 2))  # two sevens
    train = Split(*(a[rows] for a in DIGITS.train))
    sets = Sets(Images(DIGITS.spec, steps=60), part(600, 1100), train, DIGITS.test)
    made = studies.evaluate(sets, Sizes(real=60, most=60, filled=2_000, ranked=60), seeds=1)["top_up"]
    assert made["rarest"] == "7" and made["filled"]["7"]["real"] == 2
    lacking = np.bincount(y[rows]).max() - 2
    assert made["filled"]["7"] == {"real": 2, "added": 48, "lacking": lacking}  # all that there are
    assert made["recall"]["points"] > 20 and made["recall"]["ci"][0] > 0


def test_a_share_is_what_lies_between_floor_and_ceiling():
    assert kept(0.7, 0.9, 0.5) == pytest.approx(0.5)
    assert kept(0.7, 0.51, 0.5) is None and kept(None, 0.9, 0.5) is None


# --- what likeness got -----------------------------------------------------------------------------------------------


def test_the_kernel_distance_is_its_definition():
    a, b = RNG.normal(size=(7, 3)), RNG.normal(1, 1, size=(5, 3))

    def k(x, y):
        return (x @ y / 3 + 1) ** 3

    same = [np.mean([k(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]) for x in (a, b)]
    expected = sum(same) - 2 * np.mean([k(x, y) for x in a for y in b])
    assert feature_space.kernel_distance(a, b) == pytest.approx(expected, rel=1e-10)


def test_the_kernel_distance_is_unbiased():
    """Two samples of one distribution: zero on average, on both sides of it."""
    found = [feature_space.kernel_distance(*RNG.normal(size=(2, 50, 4))) for _ in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / 200**0.5 and min(found) < 0 < max(found)


def test_likeness_as_a_whole_needs_no_labels():
    def features(x):
        return x.reshape(len(x), -1).astype(np.float32)

    labelled = image_fidelity.evaluate(part(0, 300), DIGITS.test, DIGITS.spec, features)
    bare = image_fidelity.evaluate(part(0, 300)._replace(y=None), DIGITS.test, DIGITS.spec, features)
    assert bare["per_class"] == {} and bare["collapsed"] == [] and len(labelled["per_class"]) == 10
    for name in ("precision", "recall", "density", "coverage", "frechet", "kernel"):
        assert bare[name] == labelled[name], name


def test_at_most_so_many_examples_are_trained_on():
    found = utility.evaluate(Sets(Images(DIGITS.spec, 1, 200), part(0, 500), DIGITS.train, DIGITS.test), seeds=1)
    assert found["n"]["trained_on"] == found["n"]["ceiling"] == 200 and found["n"]["synthetic"] == 500
    right = {key: found["cnn"][key]["mean"] for key in ("tstr", "trtr")}
    assert found["loss"]["points"] == pytest.approx(100 * (right["trtr"] - right["tstr"]))
    recalls = found["cnn"]["tstr"]["recall"]
    shares = np.bincount(DIGITS.test.y) / len(DIGITS.test.y)
    assert sum(s * r for s, r in zip(shares, recalls.values(), strict=True)) == pytest.approx(right["tstr"], abs=1e-4)
    assert 0 <= found["calibration"]["tstr"] <= 1
