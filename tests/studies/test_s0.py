"""Study S0: its training sets, its generators, and its tables with a generator that needs no training."""

import dataclasses

import jax
import numpy as np
import pytest
from toy_workspace import ToyWorkspace, train_and_test

from synthjax.launch import config as config_lib
from synthjax.launch import reproduce
from synthjax.model import Model
from synthjax.studies import s0, s0_sets, workspace

SMALL = dataclasses.replace(reproduce.settings("s0", True, []), size=20, large=30)


@pytest.fixture
def toy(tmp_path, monkeypatch) -> ToyWorkspace:
    monkeypatch.setattr(s0_sets, "train_and_test", train_and_test)
    return ToyWorkspace(tmp_path)


@pytest.mark.filterwarnings("ignore:Precision loss")  # of the t-test: two trials may change by the same
def test_the_tables_stand_beside_the_study_s(toy):
    made = {number: s0.TABLES[number](toy, SMALL) for number in ("1", "2", "4", "5", "6")}
    for table in (table for tables in made.values() for table in tables):
        assert table.rows and all(len(row) == len(table.columns) for row in table.rows)
    assert toy.trained[0] == "dcgan" and set(toy.trained) == {"dcgan"}
    accuracy = made["1"][0]
    published = {row[:2]: row[2] for row in accuracy.rows}
    assert published["SVM", s0.RANDOM] == "0.653 ± 0.049 (n=10)" and published["SVM", s0_sets.BLURRED] == ""
    assert [row[:3] for row in made["2"][0].rows][-1] == ("SVM", "dcgan", ".899 (n=1)")
    assert all(row[1] == "0.6177" for row in made["4"][0].rows[:1])
    # Real images drawn at random from each class are worth about as much as other real ones.
    means = {row[1]: float(row[3].split()[0]) for row in accuracy.rows if row[0] == "SVM"}
    assert means["dcgan"] > 0.5 and abs(means["dcgan"] - means[s0.STRATIFIED]) < 0.2
    images = {number: [row[0] for row in made[number][0].rows] for number in "56"}
    assert images == {"5": ["10", "20"], "6": ["0", "10", "20"]}
    for picture in ("figure_6.png", "figures_4_5_CNN-2-epochs.png"):
        assert (toy.folder / picture).stat().st_size > 1000


def test_the_first_of_each_batch():
    """Of a model whose examples depend on their whole batch, labels and key."""

    def sample(key, state, labels):
        return jax.random.normal(key, (len(labels), 2)) + labels.sum() + state

    model = Model(lambda *_: None, lambda *_: None, sample)
    labels = np.arange(13, dtype=np.int32)
    key = jax.random.key(0)
    found = s0_sets.first_of_each(model, np.float32(0.5), key, labels, size=4)
    keys = jax.random.split(key, 20)
    expected = [sample(keys[i], 0.5, np.full(4, label))[0] for i, label in enumerate(labels)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_generators_of_the_same_epochs_see_the_data_equally_often(tmp_path, monkeypatch):
    monkeypatch.setattr(workspace.Workspace, "train", lambda self, name, chosen: chosen.model)
    work = workspace.Workspace(tmp_path, None, {}, lambda line: None)
    rows = 1_294  # training images of digits
    config = s0_sets.Config("digits", epochs=100, same_epochs=True)
    for name, batch, batches in (("dcgan", 64, 1), ("vae", 128, 1), ("cwgan", 64, 5)):
        model = s0_sets.generator(work, config, name)
        assert model.batch_size == batch and model.steps == 100 * rows // (batch * batches), name
    other = dataclasses.replace(config, same_epochs=False)
    assert s0_sets.generator(work, other, "vae").steps == config_lib.experiment(None, "vae", "digits").model.steps


@pytest.mark.parametrize(
    "models, shown, published",
    [(("vae", "dcgan"), "dcgan", "0.7458"), (("dcgan",), "dcgan", "0.7458"), (("vae",), "vae", "")],
)
def test_s0_has_its_published_figures_beside_the_dcgan(monkeypatch, models, shown, published):
    sources = (s0.RANDOM, s0.STRATIFIED, *(f"{name}, {s0.FIRST}" for name in models))
    measured = {source: {"SVM": [0.1 * place] * 2} for place, source in enumerate(sources)}
    monkeypatch.setattr(s0, "accuracies", lambda *_: measured)
    config = s0_sets.Config(models=models, trials=2)
    (table,) = s0.TABLES["4"](None, config)  # type: ignore[arg-type]
    value = f"{measured[f'{shown}, {s0.FIRST}']['SVM'][0]:.4f}"
    assert table.columns[-1] == f"measured, {shown}, {s0.FIRST}"
    assert table.rows[0] == ("1", "0.6177", published, "0.0000", "0.1000", value)
