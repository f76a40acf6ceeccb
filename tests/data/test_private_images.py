"""Images under differential privacy: what is released of them, and that nothing else is used."""

import numpy as np
import pytest

from synthjax.data import private_images
from synthjax.data.arrays import Part, Source
from synthjax.errors import InputError


def source(n: int = 200, seed: int = 0, classes=("cat", "dog", "owl"), **parts) -> Source:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 256, (n, 4, 5, 1), np.uint8), (np.arange(n) % 3 + rng.integers(0, 2, n)).clip(0, 2)
    return Source(Part(x, y.astype(np.int32), "toy.npz, y"), classes=classes, **parts)


def exact(seen: list):
    """Noise that adds nothing and keeps a record."""

    def noise(name, counts, share):
        seen.append((name, counts.tolist(), share))
        return counts

    return noise


def test_counts_are_released_and_each_image_is_in_one_of_them():
    seen: list = []
    images = source()
    train = np.arange(20, 120)
    spec = private_images.learn(images, train, exact(seen))
    counts = np.bincount(images.train.y[train], minlength=3)
    assert seen == [("rows", [100], 0.5), ("classes", counts.tolist(), 0.5)]
    assert spec.rows == 100 and spec.classes == ("cat", "dog", "owl")
    np.testing.assert_allclose(spec.frequencies, counts / 100)


def test_nothing_but_noisy_counts_and_what_is_public_is_in_the_spec():
    """Other images of the same shape and classes, under noise that hides the counts, give the same spec."""

    def hidden(name, counts, share):
        return np.full(len(counts), 50)

    one, other = (private_images.learn(source(seed=seed), np.arange(100), hidden) for seed in (0, 1))
    assert one.to_dict() == other.to_dict()
    for left, right in zip(one.known(), other.known(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_no_class_has_a_frequency_of_zero_whatever_the_noise():
    noise = {"rows": np.array([100]), "classes": np.array([-5, 90, 0])}
    spec = private_images.learn(source(), np.arange(100), lambda name, counts, share: noise[name])
    np.testing.assert_allclose(spec.frequencies, [1 / 92, 90 / 92, 1 / 92])


def test_images_without_labels_release_their_number_alone():
    seen: list = []
    images = source(classes=None)
    spec = private_images.learn(images._replace(train=images.train._replace(y=None)), np.arange(100), exact(seen))
    assert seen == [("rows", [100], 1.0)] and spec.rows == 100 and spec.classes == spec.frequencies == ()


def test_too_few_images_are_refused():
    with pytest.raises(InputError, match=r"toy.npz, y: about 5 training images: too few to learn from"):
        private_images.learn(source(), np.arange(5), exact([]))


def coins(name: str, n: int) -> np.ndarray:
    return (np.arange(n) + 0.5) / n


def test_each_image_is_in_one_split_by_its_own_coin():
    splits = private_images.cut(source(), coins, 0.25)
    assert splits["test"].tolist() == list(range(40))  # coins below 0.2
    assert splits["holdout"].tolist() == list(range(40, 80))
    assert splits["train"].tolist() == list(range(80, 200))


def test_splits_of_the_files_are_kept():
    test = source(30, seed=2).train
    splits = private_images.cut(source(test=test, held=20), coins, 0.25)
    assert splits["train"].tolist() == list(range(180)) and splits["holdout"].tolist() == list(range(180, 200))
    assert splits["test"].tolist() == list(range(30))
    rows = private_images.split_rows(source(test=test, held=20), splits)
    np.testing.assert_array_equal(rows["test"].x, test.x)
    np.testing.assert_array_equal(rows["holdout"].index, np.arange(180, 200))
    none = private_images.cut(source(test=test, held=20), coins, 0.0)
    assert none["train"].tolist() == list(range(180)) and not len(none["holdout"])


def test_a_changed_image_or_label_changes_the_digest():
    one = source()
    x, y = one.train.x.copy(), one.train.y.copy()
    x[3, 0, 0], y[5] = x[3, 0, 0] ^ 1, (y[5] + 1) % 3
    changed = [one.train._replace(x=x), one.train._replace(y=y)]
    digests = {private_images.digest(one._replace(train=part)) for part in (one.train, *changed)}
    assert len(digests) == 3


def test_what_is_printed_counts_no_images():
    images = source()._replace(notes=("7 images of 16 bits were reduced to 8",))
    (line,) = private_images.notes(images)
    assert (
        line == "taken as public: the size of the images, 4 x 5 x 1, their 256 grey levels, and the names of the "
        "classes, cat, dog, owl"
    )
