"""What a run says of its samples: grids, and the diversity of each class, on generators whose diversity is known."""

import dataclasses
import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synthjax import data, sampling
from synthjax.data import Split
from synthjax.evals import classifiers
from synthjax.evals.draw import png
from synthjax.launch import monitor
from synthjax.launch.config import Experiment
from synthjax.model import Model
from synthjax.models import rbm
from synthjax.train import metrics

CHOSEN = Experiment("toy", None, seed=3)


class Data(NamedTuple):
    """The fields of a data set that a monitor reads."""

    spec: object
    train: Split


class Held(NamedTuple):
    """The same with held-out examples."""

    spec: object
    train: Split
    holdout: Split


@pytest.fixture(scope="module")
def three() -> Data:
    """The digits 0, 1 and 2."""
    digits = data.load("digits")
    rows = digits.train.y < 3
    spec = dataclasses.replace(digits.spec, classes=("zero", "one", "two"), frequencies=(1 / 3,) * 3)
    return Data(spec, Split(*(array[rows] for array in digits.train)))


def generator(conditional: bool = True) -> Model:
    """Draws of class c the holdings of its state, (classes, n, 8, 8, 1), each as often as any other."""

    def sample(key, state, labels):
        return state[labels, jax.random.randint(key, (len(labels),), 0, state.shape[1])]

    return Model(lambda *_: None, lambda *_: None, sample, conditional=conditional)


def holdings(three: Data, *collapsed: int) -> jax.Array:
    """A hundred training images of each class, of the collapsed ones always the same."""
    kept = [three.train.x[three.train.y == label][:100] for label in range(3)]
    kept = [x[:1].repeat(100, axis=0) if label in collapsed else x for label, x in enumerate(kept)]
    return jnp.asarray(three.spec.encode(np.stack(kept)))


class Run:
    """A monitor and its messages."""

    def __init__(self, folder, three, model=None, first=True, **fields):
        self.messages, self.folder = [], folder
        self.writer = metrics.MetricsWriter(folder) if first else None
        chosen = dataclasses.replace(CHOSEN, **fields)
        self.monitor = monitor.Monitor(folder, chosen, model or generator(), three, self.writer, self.messages.append)

    def rows(self):
        return [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def run(three, tmp_path_factory) -> Run:
    """Three grids: of all that there is, of a collapsed class, of three."""
    found = Run(tmp_path_factory.mktemp("run"), three)
    found.monitor(10, holdings(three))
    found.writer.write(20, {"loss": np.float32(1)})
    found.monitor(20, holdings(three, 1))
    found.monitor(30, holdings(three, 0, 1, 2))
    return found


def test_real_images_are_as_varied_as_real_images(run):
    row = run.rows()[0]
    each = [row[f"diversity/{name}"] for name in ("zero", "one", "two")]
    assert len(row) == 3 + len(each) and row["step"] == 10
    assert (row["diversity"], row["diversity_least"]) == pytest.approx((np.mean(each), min(each)), rel=1e-5)
    # Two draws of 60 from one class: 1, give or take what 60 examples of three classes leave open.
    assert row["diversity"] == pytest.approx(1, abs=0.08)
    assert 0.8 < row["diversity_least"] <= row["diversity"]
    assert not any("step 10" in line for line in run.messages)


def test_a_class_of_one_image_is_named(run):
    _, _, row, last = run.rows()
    whole = run.rows()[0]
    assert row["step"] == 20 and row["diversity_least"] == pytest.approx(0, abs=1e-3)
    assert row["diversity/one"] == row["diversity_least"] and row["diversity/zero"] == whole["diversity/zero"] > 0.8
    # One of three classes fell from some x near 1 to 0, the others drew the same images as before.
    assert whole["diversity"] - row["diversity"] == pytest.approx(1 / 3, abs=0.06)
    assert (last["diversity"], last["diversity_least"]) == pytest.approx((0, 0), abs=1e-3)
    assert run.messages[1:] == [
        "step 20: class one has collapsed (diversity 0.00 of real)",
        "step 30: all 3 classes have collapsed (diversity 0.00 to 0.00 of real)",
    ]


def test_the_network_is_trained_once_and_said_so(run, three):
    assert [line for line in run.messages if "CNN" in line] == run.messages[:1]
    assert f"on {len(three.train.y)} real examples" in run.messages[0]


def test_the_network_knows_the_classes_and_real_examples_are_as_many(run, three):
    cnn, _, real_y = run.monitor._reference
    assert (classifiers.predict(cnn, three.train.x)[0].argmax(-1) == three.train.y).mean() > 0.9
    np.testing.assert_array_equal(np.bincount(real_y), [60] * 3)


def test_the_picture_shows_the_first_of_what_is_measured(run, three, monkeypatch):
    pictures = []
    monkeypatch.setattr(png, "grid", lambda x, **_: pictures.append(x) or b"")
    labels = np.repeat(np.arange(3, dtype=np.int32), 10)
    measured = run.monitor._draw(holdings(three), np.tile(labels, 6))
    run.monitor(10, holdings(three))
    assert len(measured) == 180
    np.testing.assert_array_equal(pictures[0].reshape(30, 8, 8, 1), measured[:30])
    # The next thirty are others, and of the same classes.
    assert (measured[30:60] != measured[:30]).any()
    owners = [{x.tobytes() for x in three.train.x[three.train.y == label]} for label in range(3)]
    assert all(x.tobytes() in owners[label] for x, label in zip(measured, np.tile(labels, 6), strict=True))


def test_a_step_is_measured_once(run, three):
    before, said = (run.folder / "metrics.jsonl").read_bytes(), list(run.messages)
    picture = (run.folder / "samples" / "step_0000020.png").read_bytes()
    run.monitor(20, holdings(three, 1))
    assert (run.folder / "metrics.jsonl").read_bytes() == before and run.messages == said
    assert (run.folder / "samples" / "step_0000020.png").read_bytes() == picture


def test_another_process_finds_the_same(run, three, tmp_path):
    again = Run(tmp_path, three)
    again.monitor(20, holdings(three, 1))
    assert again.rows()[0] == pytest.approx(run.rows()[2], rel=1e-5, abs=1e-6)


def test_of_several_members_the_first_is_watched(run, three, tmp_path):
    members = Run(tmp_path, three, seeds=2)
    members.monitor.__dict__["_reference"] = run.monitor._reference
    members.monitor(5, jnp.stack([holdings(three, 2), holdings(three, 0)]))
    assert members.messages == ["step 5, member 0 of 2: class two has collapsed (diversity 0.00 of real)"]


@pytest.mark.parametrize("kind", ["unlabelled", "unconditional", "tiny"])
def test_where_there_is_nothing_to_measure_only_the_grid_is_drawn(kind, three, tmp_path, monkeypatch):
    monkeypatch.setattr(classifiers, "train", lambda *_, **__: pytest.fail("trained a network"))
    spec, state = three.spec, holdings(three)
    if kind == "unlabelled":
        spec = dataclasses.replace(spec, classes=(), frequencies=())
    if kind == "tiny":
        spec, state = dataclasses.replace(spec, shape=(3, 3, 1)), state[:, :, :3, :3]
    one = Run(tmp_path, Data(spec, three.train), generator(conditional=kind != "unconditional"))
    one.monitor(10, state)
    assert one.rows() == [] and one.messages == []
    assert (tmp_path / "samples" / "step_0000010.png").exists()


@pytest.mark.parametrize(("side", "gigabytes", "measured"), [(512, 24, False), (512, 128, True), (96, 24, True)])
def test_diversity_is_left_out_where_its_cnn_needs_more_than_the_memory(
    side, gigabytes, measured, three, tmp_path, monkeypatch
):
    monkeypatch.setattr(monitor.memory, "limit", lambda: gigabytes * 10**9)
    large = Data(dataclasses.replace(three.spec, shape=(side, side, 3)), three.train)
    said: list[str] = []
    writer = metrics.MetricsWriter(tmp_path)
    found = monitor.Monitor(tmp_path, CHOSEN, generator(), large, writer, said.append)
    assert found._measures == measured
    assert len(said) == (not measured) and all("63.8 GB of 24.0 GB" in line for line in said)


def test_all_processes_but_the_first_do_nothing(three, tmp_path):
    other = Run(tmp_path, three, Model(None, None, lambda *_: pytest.fail("drew")), first=False)
    other.monitor(10, None)
    assert list(tmp_path.iterdir()) == [] and other.messages == []


def test_a_class_too_small_to_compare_is_left_out(run, three, tmp_path):
    """Of class 1 there is one real example: its diversity is unknown, not low."""
    cnn, real, real_y = run.monitor._reference
    kept = (real_y != 1) | (np.arange(len(real_y)) == np.flatnonzero(real_y == 1)[0])
    one = Run(tmp_path, three)
    one.monitor.__dict__["_reference"] = cnn, real[kept], real_y[kept]
    one.monitor(10, holdings(three, 1))
    assert one.messages == [] and 0.8 < one.rows()[0]["diversity_least"]
    assert "diversity/zero" in one.rows()[0] and "diversity/one" not in one.rows()[0]


@pytest.mark.parametrize(("n_classes", "grids"), [(2, 6), (10, 6), (20, 5), (100, 1), (300, 1)])
def test_many_classes_are_measured_on_fewer_examples(n_classes, grids, three, tmp_path):
    spec = dataclasses.replace(three.spec, classes=tuple(map(str, range(n_classes))))
    assert Run(tmp_path, Data(spec, three.train)).monitor._grids == grids


def test_collapsed_classes_are_named_with_their_figures():
    assert monitor.sentence({"7": 0.123}, 10) == "class 7 has collapsed (diversity 0.12 of real)"
    assert monitor.sentence({"3": 0.1, "b": 0.456}, 3).startswith("classes 3 (0.10), b (0.46) have collapsed")
    assert monitor.sentence({"3": 0.3, "b": 0.1}, 2) == "all 2 classes have collapsed (diversity 0.10 to 0.30 of real)"


def test_the_free_energy_gap_of_an_rbm_by_hand(three, tmp_path):
    """-F = b v + sum softplus(c + v W), of the held-out digits less that of as many training ones."""
    config = rbm.Config(hidden=3, binarise=False, conditional=False, sample_steps=1, anneal=0)
    held = Split(*(array[::-1][:50] for array in three.train))
    model, data = rbm.build(config, three.spec), Held(three.spec, three.train, held)
    state = model.init(jax.random.key(0))
    w, (b, c) = np.random.default_rng(0).normal(size=(64, 3)), (np.ones(64), np.arange(3.0))
    params = state.ema._replace(weights=(jnp.float32(w),), biases=(jnp.float32(b), jnp.float32(c)))

    def free(part):
        v = np.asarray(part.x[:50], float).reshape(50, 64) / (three.spec.levels - 1)
        return -(v @ b + np.logaddexp(0, c + v @ w).sum(1)).mean()

    chosen, writer = Experiment("rbm", config), metrics.MetricsWriter(tmp_path)
    seen = monitor.Monitor(tmp_path, chosen, model, data, writer, print)
    for _ in range(2):
        seen(7, state._replace(ema=params))
    (row,) = metrics.read(tmp_path, "free_energy_gap")
    assert row["step"] == 7
    np.testing.assert_allclose(row["free_energy_gap"], free(held) - free(three.train), rtol=1e-3)


@pytest.mark.skipif(jax.local_device_count() < 4, reason="needs four devices")
def test_examples_and_free_energies_come_from_all_devices_and_are_those_of_one(three, tmp_path, monkeypatch):
    config = rbm.Config(hidden=3, binarise=False, conditional=False, sample_steps=1, anneal=0)
    held = Held(three.spec, three.train, Split(*(array[::-1][:50] for array in three.train)))
    model = rbm.build(config, three.spec)
    state, devices = model.init(jax.random.key(0)), jax.local_devices()
    params = state.ema._replace(weights=(jax.random.normal(jax.random.key(1), state.ema.weights[0].shape),))
    found, used = [], []

    def recorded(run):
        return lambda *given: used.append(run(*given)) or used[-1]

    compiled = sampling._compiled
    monkeypatch.setattr(sampling, "_compiled", lambda *args, **options: recorded(compiled(*args, **options)))
    for n in (4, 1):
        monkeypatch.setattr(jax, "local_devices", lambda n=n: devices[:n])
        place = tmp_path / str(n)
        place.mkdir()
        writer = metrics.MetricsWriter(place)
        seen = monitor.Monitor(place, Experiment("rbm", config), model, held, writer, print)
        monkeypatch.setitem(seen.__dict__, "_score", recorded(seen._score))
        seen(7, state._replace(ema=params))
        writer.close()
        found.append((place / "metrics.jsonl").read_text() + str((place / "samples/step_0000007.png").read_bytes()))
    # On four devices a call for the grid (30, in blocks of 25) and two for the energies of each split; on one 2 and 8.
    sets = [{len(shard.data) for shard in x.addressable_shards} | {len(x.sharding.device_set)} for x in used]
    assert sets == [{1, 2}] + [{1, 4}] * 4 + [{1}] * 18
    assert found[0] == found[1]
