"""Filling up rare classes: which examples are added, what it is worth, and when there is nothing to fill."""

import msgspec
import numpy as np
import pytest
import reports
from sklearn.metrics import balanced_accuracy_score, recall_score
from sklearn.naive_bayes import GaussianNB

from synthjax.evals import top_up
from synthjax.evals.report.model import parse
from synthjax.evals.report.rows import measured as figures_of
from synthjax.evals.top_up import Labels, TopUp

CLASSES = ("ant", "bee", "cat")
REAL = np.repeat([0, 1, 2], [200, 150, 4])
TEST = np.repeat([0, 1, 2], [300, 200, 60])


def points(y, seed, places=(0.0, 4.0, 2.0)):
    """A number per label, around the place of its class."""
    return np.random.default_rng(seed).normal(np.array(places)[y], 1.0)[:, None]


class Bayes:
    """`Answers` of naive Bayes, whose priors are the shares of the classes; it keeps the rows that it was given."""

    def __init__(self, made_y, places, true_places):
        self.real, self.made = (points(REAL, 1, true_places), REAL), (points(made_y, 3, places), made_y)
        self.test, self.given = points(TEST, 2, true_places), []

    def __call__(self, real, made):
        self.given.append((real, made))
        x, y = (np.concatenate([a[real], b[made]]) for a, b in zip(self.real, self.made, strict=True))
        keep = [slice(None), np.arange(len(y)) % 7 > 0]  # two seeds: all, and most
        return np.stack([GaussianNB().fit(x[rows], y[rows]).predict(self.test) for rows in keep])


def judged(made_y, cats=2.0, made_cats=2.0, **more):
    answers = Bayes(made_y, (0.0, 4.0, made_cats), (0.0, 4.0, cats))
    return top_up.evaluate(answers, Labels(REAL, made_y, TEST, CLASSES), **{"limit": 10_000, **more}), answers


def test_each_class_gets_what_it_lacks_and_scores_are_those_of_scikit_learn():
    made = np.repeat([2, 1, 0], [400, 30, 300])
    found, answers = judged(made)
    (alone, none), (real, added), (again, nothing) = answers.given
    assert list(alone) == list(real) == list(range(len(REAL))) and len(none) == len(nothing) == 0
    assert len(answers.given) == top_up.TRAININGS and np.bincount(REAL[again]).tolist() == [200, 180, 200]
    assert set(again) == set(alone)
    assert np.bincount(made[added], minlength=3).tolist() == [0, 30, 196] and len(set(added)) == len(added)
    assert found["filled"] == {
        "bee": {"real": 150, "added": 30, "lacking": 50},
        "cat": {"real": 4, "added": 196, "lacking": 196},
    }
    assert (found["rarest"], found["n_real"], found["n_synthetic"], found["n_test"]) == ("cat", 354, 226, 60)
    for side, rows in zip(("real", "filled", "repeated"), answers.given[:3], strict=True):
        each = answers(*rows)
        expected = [balanced_accuracy_score(TEST, answer) for answer in each]
        assert found["balanced_accuracy"][side]["values"] == pytest.approx(expected)
        assert found["recall"][side]["values"] == pytest.approx(
            [recall_score(TEST == 2, answer == 2) for answer in each]
        )
    gained = found["balanced_accuracy"]
    assert gained["points"] == pytest.approx(100 * (gained["filled"]["mean"] - gained["real"]["mean"]))
    assert "Of “bee” there are too few synthetic rows" in top_up.sentence(found, "naive Bayes", "row")


@pytest.mark.parametrize(
    "word, made, cats, made_cats",
    [
        ("helps", 400, 2.0, 2.0),
        ("harms", 400, 9.0, 4.0),  # cats that are bees, where four real ones were enough
        ("makes no difference that could be told from chance", 1, 9.0, 9.0),
    ],
)
def test_what_helps_and_what_harms_is_told(word, made, cats, made_cats):
    found, _ = judged(np.full(made, 2), cats, made_cats)
    said = top_up.sentence(found, "naive Bayes", "row")
    assert f"synthetic ones {word}: the balanced accuracy of naive Bayes goes from" in said
    assert "Filling up the rare class (“cat”) of 354 real rows" in said
    repeated = 100 * found["balanced_accuracy"]["repeated"]["mean"]
    assert f"Real rows repeated in their place give {repeated:.1f} and " in said
    low, high = found["balanced_accuracy"]["ci"]
    assert {"helps": low > 0, "harms": high < 0}.get(word, low <= 0 <= high)


def test_a_large_set_is_cut_class_by_class_and_keeps_the_rarest():
    found, answers = judged(np.full(400, 2), limit=60)
    counts = np.bincount(REAL[answers.given[0][0]])
    assert counts.tolist() == [20, 15, 1]  # a tenth, and at least one
    assert found["filled"]["cat"] == {"real": 1, "added": 19, "lacking": 19}
    least, _ = judged(np.full(400, 2), limit=3)
    assert "with at most 3 examples in all, no class has fewer" in least["reason"]
    assert top_up.size(REAL, 60) == 60 and top_up.size(REAL, 10_000) == 600


@pytest.mark.parametrize(
    "real, made, test, reason",
    [
        ([50, 60, 40], [10, 10, 10], [5, 5, 5], "are balanced: the smallest, “cat”, has 40 examples, the largest 60"),
        ([50, 50, 50], [10, 10, 10], [5, 5, 5], "equally many"),
        ([50, 0, 50], [10, 10, 10], [5, 5, 5], "equally many|balanced"),
        ([50, 50, 5], [10, 10, 0], [5, 5, 5], "the synthetic set has no example of a rare class"),
        ([50, 50, 5], [10, 10, 9], [5, 5, 0], "no real test example is of the rarest class, “cat”"),
    ],
)
def test_where_nothing_is_to_be_filled_nothing_is_trained(real, made, test, reason):
    def answers(*rows):
        raise AssertionError("trained")

    sets = (np.repeat([0, 1, 2], counts) for counts in (real, made, test))
    found = top_up.evaluate(answers, Labels(*sets, CLASSES), limit=1_000)
    said = top_up.sentence(found, "a CNN", "example")
    assert said.startswith("Filling up rare classes was not tried: ") and found["balanced_accuracy"] is None
    assert any(part in said for part in reason.split("|"))


# --- what becomes of it ------------------------------------------------------------------------------------------


def measured(found):
    """Figures of a report with that top-up."""
    made = figures_of(reports.make("image", {"studies.top_up": found}))
    return [row for row in made if row.key.startswith("studies.top_up.")]


def test_it_fits_the_report_and_stands_among_the_figures():
    nasty = ("ant", "<b>ee", "cat")
    answers = Bayes(made := np.repeat([1, 2], [20, 400]), (0.0, 4.0, 2.0), (0.0, 4.0, 2.0))
    found = top_up.evaluate(answers, Labels(REAL, made, TEST, nasty), limit=10_000)
    found |= {"said": top_up.sentence(found, "a CNN", "example")}
    skipped = top_up.skipped("the target is a number")
    skipped |= {"said": top_up.sentence(skipped, "a CNN", "example")}
    with pytest.raises(msgspec.ValidationError, match="recall"):
        parse(TopUp, {**found, "recall": 1})
    first, second = measured(found)
    assert first.value == found["balanced_accuracy"]["points"]
    assert second.name == "points gained by filling up rare classes, recall of the rarest" and second.floor == 0
    assert measured(skipped) == []
