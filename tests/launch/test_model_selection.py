"""Scores on the holdout while a model trains, on generators whose worth is known, and what is done with them."""

import dataclasses
import json
import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from in_process import launch
from pairs import pairs

import synthjax
from synthjax import data, sampling
from synthjax.data import Split
from synthjax.errors import CheckpointError, InputError
from synthjax.launch import model_selection, runs, sample, train
from synthjax.launch.config import Experiment
from synthjax.model import Model
from synthjax.models import table_gan
from synthjax.train import metrics


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    pairs(1500, decimals=3, label_noise=0.5).to_csv(folder / "pairs.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def table(folder):
    return data.load(str(folder / "pairs.csv"), target="label", holdout=0.2)


CHOSEN = Experiment("toy", None, eval_every=10)


def copies(conditional: bool = False) -> Model:
    """Draws row i of its state for the i-th label; a conditional one, row i of those of the label."""

    def sample(key, state, labels):
        if conditional:
            return state[labels, jax.random.randint(key, (len(labels),), 0, state.shape[1])]
        return jnp.resize(state, (len(labels), state.shape[1]))

    return Model(lambda *_: None, lambda *_: None, sample, conditional=conditional)


def judge(workdir, loaded, model, **fields) -> model_selection.HoldoutScore:
    chosen = dataclasses.replace(CHOSEN, **fields)
    return model_selection.HoldoutScore(chosen, model, loaded, metrics.MetricsWriter(workdir, 100), workdir)


def rows(workdir) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def alone(table) -> np.ndarray:
    """The training rows, each column shuffled by itself."""
    rng = np.random.default_rng(1)
    parts = [table.train.x[:, c.start : c.start + c.size][rng.permutation(len(table.train.x))] for c in
             table.spec.columns]  # fmt: skip
    return np.concatenate(parts, axis=1)


# --- the scores ---------------------------------------------------------------------------------------------------


def test_real_rows_pass_for_held_out_ones_and_shuffled_columns_do_not(table, tmp_path):
    one = judge(tmp_path, table, copies())
    real, shuffled = one(10, jnp.asarray(table.train.x)), one(20, jnp.asarray(alone(table)))
    first, second = rows(tmp_path)
    assert (real, shuffled) == (first["holdout_c2st"], second["holdout_c2st"])
    # Fair draws from one source: an AUC of 0.5, give or take 0.024 for 300 of each in 3 folds.
    assert real > 0.85 and shuffled < 0.5
    assert first["holdout_tstr"] > 0.9 and abs(second["holdout_tstr"] - 0.5) < 0.15


def test_of_several_members_the_mean_decides(table, tmp_path):
    both = jnp.stack([jnp.asarray(table.train.x), jnp.asarray(alone(table))])
    value = judge(tmp_path, table, copies(), seeds=2)(10, both)
    (row,) = rows(tmp_path)
    alike = [
        judge(tmp_path / str(i), table, copies())(10, both[i]) for i in range(2) if not (tmp_path / str(i)).mkdir()
    ]
    assert row["holdout_c2st"] == alike and value == np.mean(alike)


def test_a_step_is_judged_once_and_the_known_score_is_given(table, tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 10, "holdout_c2st": [0.25, 0.75]}\n{"step": 10, "loss": 3.0}\n')
    never = Model(None, None, lambda *_: pytest.fail("drew"), conditional=False)
    assert judge(tmp_path, table, never)(10, None) == 0.5
    assert len(rows(tmp_path)) == 2


def test_without_a_target_and_with_a_quantity(folder, tmp_path):
    for target, names in ((None, {"holdout_c2st"}), ("b", {"holdout_c2st", "holdout_tstr"})):
        loaded = data.load(str(folder / "pairs.csv"), target=target, holdout=0.2)
        place = tmp_path / str(target)
        place.mkdir()
        one = judge(place, loaded, copies())
        one(10, jnp.asarray(loaded.train.x))
        one(20, jnp.asarray(alone(loaded)))
        real, shuffled = rows(place)
        assert set(real) == {"step", *names}
        # R2 of b given a alone is 1 / (1 + 0.3 ** 2) = 0.917.
        assert target is None or (real["holdout_tstr"] > 0.8 and shuffled["holdout_tstr"] < 0.1)


def test_the_test_split_is_never_looked_at(table, tmp_path):
    class Closed:
        def __getattr__(self, name):
            pytest.fail("looked at the test split")

    judge(tmp_path, table._replace(test=Closed()), copies())(10, jnp.asarray(table.train.x))


@pytest.mark.skipif(jax.local_device_count() < 4, reason="needs four devices")
def test_scores_are_drawn_on_all_devices_and_are_those_of_one(table, tmp_path, monkeypatch):
    used, compiled = [], sampling._compiled

    def record(*args, **options):
        run = compiled(*args, **options)
        return lambda *given: used.append(run(*given)) or used[-1]

    monkeypatch.setattr(sampling, "_compiled", record)
    scores, devices = [], jax.local_devices()
    for n in (4, 1):
        monkeypatch.setattr(jax, "local_devices", lambda n=n: devices[:n])
        (tmp_path / str(n)).mkdir()
        scores.append(judge(tmp_path / str(n), table, noisy())(10, jnp.asarray(table.train.x)))
    assert [x.sharding.device_set for x in used] == [set(devices[:4])] * 2 + [set(devices[:1])] * 8
    assert {shard.data.shape[1] for x in used for shard in x.addressable_shards} == {model_selection.ROWS["table"] // 8}
    assert scores[0] == scores[1] and rows(tmp_path / "4") == rows(tmp_path / "1")


def noisy() -> Model:
    """Draws rows of its state, with noise."""

    def sample(key, state, labels):
        row, noise = jax.random.split(key)
        x = state[jax.random.randint(row, (len(labels),), 0, len(state))]
        return x + 0.1 * jax.random.normal(noise, x.shape)

    return Model(lambda *_: None, lambda *_: None, sample, conditional=False)


class Images(NamedTuple):
    """What a judge needs of images."""

    name: str
    spec: object
    train: Split
    holdout: Split


@pytest.fixture(scope="module")
def three() -> Images:
    """The digits 0, 1 and 2, half of them held out."""
    digits = data.load("digits")
    chosen = np.flatnonzero(digits.train.y < 3)
    spec = dataclasses.replace(digits.spec, classes=("zero", "one", "two"), frequencies=(1 / 3,) * 3)
    halves = [Split(*(array[part] for array in digits.train)) for part in (chosen[::2], chosen[1::2])]
    return Images("three", spec, *halves)


def test_a_network_that_saw_good_images_knows_held_out_ones(three, tmp_path):
    x = np.stack([three.train.x[three.train.y == label][:50] for label in range(3)])
    right, wrong = (jnp.asarray(three.spec.encode(holdings)) for holdings in (x, x[[1, 2, 0]]))
    one = judge(tmp_path, three, copies(conditional=True))
    good, bad = one(10, right), one(20, wrong)
    assert [set(row) for row in rows(tmp_path)] == [{"step", "holdout_tstr"}] * 2
    assert good > 0.9 and bad < 0.1  # each class is called by the next one's name


@pytest.mark.parametrize(
    ("change", "conditional", "message"),
    [
        ({"classes": (), "frequencies": ()}, True, "eval_every=10: three has no labels"),
        ({}, False, "eval_every=10: toy draws no labels"),
        ({"shape": (3, 3, 1)}, True, "eval_every=10: images of three are too small for the CNN, which needs 4 x 4"),
    ],
)
def test_images_that_cannot_be_scored_are_told(three, change, conditional, message):
    changed = three._replace(spec=dataclasses.replace(three.spec, **change))
    with pytest.raises(InputError, match=message):
        model_selection.check(CHOSEN, copies(conditional), changed)


def test_a_small_holdout_is_told_before_anything_is_written(folder):
    chosen = experiment(folder, holdout=0.0, eval_every=5)
    with pytest.raises(
        InputError, match="eval_every=5: needs at least 30 held-out examples of pairs; holdout=0 keeps 0"
    ):
        train.run(chosen, runs.data(chosen), folder / "none")
    assert not (folder / "none").exists()


# --- in training --------------------------------------------------------------------------------------------------


def experiment(folder, **fields) -> Experiment:
    model = table_gan.Config(hidden=(8,), batch_size=32, steps=8)
    fields = {"target": "label", "holdout": 0.2, "checkpoint_every": 4, "log_every": 2, **fields}
    return Experiment("table_gan", model, "pairs.csv", str(folder), **fields)


def outcome(workdir, *, scores: bool) -> list[dict]:
    """The rows of metrics that averages over steps, or the scores."""
    names = [row for row in metrics.read(workdir) if ("holdout_c2st" in row) == scores]
    return [{name: value for name, value in row.items() if name != "steps_per_second"} for row in names]


@pytest.fixture(scope="module")
def run(folder):
    """A run that was scored at steps 3, 6 and 8."""
    chosen = experiment(folder, eval_every=3)
    train.run(chosen, runs.data(chosen), folder / "run")
    return folder / "run"


def test_training_is_the_same_with_and_without(folder, run):
    chosen = experiment(folder)
    train.run(chosen, runs.data(chosen), folder / "plain")
    states = [synthjax.load(place).state for place in (folder / "plain", run)]
    assert sample.state_sha256(states[0]) == sample.state_sha256(states[1])
    assert outcome(run, scores=False) == outcome(folder / "plain", scores=False)
    assert [row["step"] for row in outcome(run, scores=True)] == [3, 6, 8]
    assert not (folder / "plain" / "best").exists()
    with pytest.raises(CheckpointError, match="plain: no best checkpoint; train with --eval_every"):
        synthjax.load(folder / "plain", checkpoint="best")


def test_the_best_state_is_the_one_of_its_step(folder, run):
    scores = {row["step"]: row["holdout_c2st"] for row in outcome(run, scores=True)}
    step = max(scores, key=scores.__getitem__)
    (kept,) = (run / "best").iterdir()
    assert kept.name == str(step)
    _, state, _ = synthjax.load(run, checkpoint="best")
    chosen = experiment(folder)
    chosen = dataclasses.replace(
        chosen, model=dataclasses.replace(chosen.model, steps=8), checkpoint_every=step, keep=9
    )
    train.run(chosen, runs.data(chosen), folder / "straight")
    for path in (folder / "straight" / "checkpoints").iterdir():
        if int(path.name) > step:
            shutil.rmtree(path)
    assert sample.state_sha256(state) == sample.state_sha256(synthjax.load(folder / "straight").state)


def test_a_run_that_goes_on_ends_with_the_same_scores_and_the_same_best(folder, run, tmp_path):
    """From step 4, with the best of a later step there already; and with all of it lost but the checkpoint."""
    whole = (outcome(run, scores=True), sample.state_sha256(synthjax.load(run, checkpoint="best").state))
    for lost in ([], ["best"]):
        again = tmp_path / f"again{len(lost)}"
        shutil.copytree(run, again)
        for part in ("checkpoints/8", *lost):
            shutil.rmtree(again / part)
        chosen = experiment(folder, eval_every=3)
        train.run(chosen, runs.data(chosen), again)
        found = outcome(again, scores=True)
        assert found == whole[0]
        first = whole[0][0]["holdout_c2st"] < max(row["holdout_c2st"] for row in found)
        if not lost or first:  # the score of step 3 is known, its state is gone
            assert sample.state_sha256(synthjax.load(again, checkpoint="best").state) == whole[1]


def test_the_commands_take_the_best(folder, run):
    done = launch(folder, "--workdir=run", "--checkpoint=best", "--rows=50", "--out=best.csv", name="sample")
    assert done.code == 0, done.err
    manifest = json.loads((folder / "best.csv.manifest.json").read_text())
    (kept,) = (run / "best").iterdir()
    assert manifest["request"]["model"]["step"] == int(kept.name)
    assert manifest["request"]["model"]["sha256"] == sample.state_sha256(synthjax.load(run, checkpoint="best").state)
