"""Maps of real and synthetic examples: what is apart stays apart."""

import numpy as np
import pytest

from synthjax.errors import InputError
from synthjax.evals import maps

RNG = np.random.default_rng(0)
CENTRES = 12 * np.eye(6)[:3]


def clusters(n, of=(0, 1, 2)):
    """n points in six dimensions and their clusters, of those named."""
    y = np.resize(of, n)
    return CENTRES[y] + RNG.normal(size=(n, 6)), y


@pytest.fixture(scope="module")
def found():
    """A map on which the synthetic set lacks cluster 2."""
    (real, y), (made, _) = clusters(90), clusters(60, of=(0, 1))
    names = {"a": np.flatnonzero(y == 0), "<b>": np.flatnonzero(y == 1), "c": np.flatnonzero(y == 2), "none": []}
    return maps.plane(real, made, names=names), y


def test_clusters_stay_together_and_a_missing_one_is_seen(found):
    plane, y = found
    real, made = np.array(plane["real"]), np.array(plane["synthetic"])
    assert real.shape == (90, 2) and made.shape == (60, 2)
    both = np.concatenate([real, made])
    assert both.min() == 0 and both.max() == maps.SIDE and both.dtype.kind == "i"
    label = np.concatenate([y, np.resize((0, 1), 60)])
    apart = np.linalg.norm(both[:, None] - both[None], axis=2) + 1e9 * np.eye(len(both))
    assert (label[apart.argmin(1)] == label).mean() > 0.95
    # Nothing synthetic lies near the cluster that it lacks.
    alone = np.linalg.norm(real[y == 2][:, None] - made[None], axis=2).min(1)
    near = np.linalg.norm(real[y == 0][:, None] - made[None], axis=2).min(1)
    assert np.median(alone) > 3 * np.median(near)


def test_names_stand_within_their_class(found):
    plane, y = found
    assert list(plane["names"]) == ["a", "<b>", "c"]  # a class without examples has no place
    real = np.array(plane["real"])
    for label, place in enumerate(plane["names"].values()):
        assert place in real[y == label].tolist()
    many = {str(i): np.array([i]) for i in range(maps.NAMED + 1)}
    assert maps.plane(*(clusters(30)[0] for _ in range(2)), names=many)["names"] == {}


def test_what_has_no_map():
    few, same = clusters(4)[0], np.ones((20, 6))
    assert maps.plane(few, clusters(20)[0]) is None and maps.plane(same, same) is None
    assert maps.plane(same, clusters(20)[0]) is not None
    line = maps.plane(RNG.normal(size=(20, 1)), RNG.normal(size=(20, 1)))
    assert np.isfinite(line["real"]).all()
    with pytest.raises(InputError, match="embed: 4 rows are too few"):
        maps.embed({"a": few})
