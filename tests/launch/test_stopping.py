"""Training that ends by the holdout: from a command without --steps to the state that its users get."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from in_process import launch
from pairs import pairs

import synthjax
from synthjax.evals.quick_scores import copied
from synthjax.launch import config, model_selection, runs, train, trained
from synthjax.launch.sample import state_sha256
from synthjax.train import metrics

SMALL = ("--config.model.hidden=8", "--config.model.embedding=4", "--config.model.learning_rate=0.02")
AR = ("--model=table_ar", "--dataset=small.csv", "--target=label", *SMALL, "--config.checkpoint_every=15")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopping")
    pairs(90, noise=0.5).to_csv(folder / "small.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def run(folder):
    """A run that ended by the holdout, and what it said."""
    done = launch(folder, *AR, "--workdir=run")
    assert done.code == 0, done.err
    return folder / "run", done.out


def losses(workdir) -> dict[int, float]:
    return {row["step"]: row["holdout_loss"] for row in metrics.read(workdir, "holdout_loss")}


def test_it_ends_by_itself_says_so_and_keeps_the_best(run):
    workdir, out = run
    found, best = losses(workdir), synthjax.load(workdir)
    assert best.step == min(found, key=found.get)
    warmup = best.config.model.warmup
    early = min(loss for step, loss in found.items() if 3 * (step - warmup) <= 2 * (max(found) - warmup))
    assert early < found[best.step] + model_selection.GAIN["holdout_loss"]  # the last third gained no more
    assert 10 * model_selection.EVERY["holdout_loss"] <= max(found) < 1000
    said = next(line for line in out.splitlines() if line.startswith("finished"))
    assert f"step {max(found)}, by the holdout: its best state is that of step {best.step} (holdout_loss" in said
    assert "steps until the holdout gains no more, of batch 64" in out  # 65 rows, the model's batches have 256
    assert state_sha256(best.state) == state_sha256(synthjax.load(workdir, checkpoint="best").state)
    assert synthjax.load(workdir, checkpoint="last").step == max(found)


def test_the_loss_is_that_of_held_out_rows_alone(run):
    workdir, _ = run
    best, data = synthjax.load(workdir), runs.trained_on(workdir, str(workdir.parent))
    exact = -best.log_prob(data.frame("holdout")).mean()
    assert losses(workdir)[best.step] == pytest.approx(exact, rel=1e-5)


def test_an_interrupted_run_ends_at_the_same_step_with_the_same_bits(folder, run):
    """From a checkpoint before the best state, with the best of a later step there already; and from a finished run."""
    workdir, out = run
    again = folder / "again"
    shutil.copytree(workdir, again)
    for path in (again / "checkpoints").iterdir():
        if int(path.name) != min(int(one.name) for one in (again / "checkpoints").iterdir()):
            shutil.rmtree(path)
    for _ in range(2):
        done = launch(folder, *AR, "--workdir=again")
        assert done.code == 0 and "continuing from step" in done.out
        assert losses(again) == losses(workdir)
        for kept in ("best", "last"):
            states = [synthjax.load(place, checkpoint=kept).state for place in (workdir, again)]
            assert state_sha256(states[0]) == state_sha256(states[1])
    finished = next(line for line in out.splitlines() if line.startswith("finished"))
    assert finished.replace("run/", "again/") in done.out


def test_a_number_of_steps_is_that_number(folder):
    done = launch(folder, *AR, "--steps=6", "--workdir=six")
    assert done.code == 0 and "\n6 steps of batch 64" in done.out and "step 6/6" in done.out
    assert synthjax.load(folder / "six").step == 6 and not losses(folder / "six")


def test_a_file_of_an_experiment_says_its_steps(folder):
    (folder / "mine.py").write_text(
        "from synthjax.launch.config import Experiment\nfrom synthjax.models import table_ar\n"
        "model = table_ar.Config(hidden=8, embedding=4, steps=6, batch_size=64)\n"
        'CONFIG = Experiment(name="table_ar", model=model, dataset="small.csv")\n'
    )
    done = launch(folder, "--config=mine.py", "--workdir=mine")
    assert done.code == 0 and "\n6 steps of batch 64" in done.out, done.err
    again = launch(folder, "--config=mine.py", "--config.stop=holdout", "--config.eval_every=2", "--workdir=stops")
    assert again.code == 0 and runs.read(folder / "stops")[0].stop == "holdout"


def test_without_a_holdout_the_steps_are_the_models(folder, capsys):
    chosen = dataclasses.replace(config.experiment(None, "table_ar", "small.csv"), data_dir=str(folder), holdout=0.0)
    found = train.fitted(chosen, (), runs.data(chosen))
    assert (found.stop, found.model.steps, found.model.batch_size) == ("steps", 600, 72)
    assert "0 held-out rows are too few to stop by: 600 steps" in capsys.readouterr().out
    asked = train.fitted(chosen, {"model.batch_size"}, runs.data(chosen))
    assert asked.model.batch_size == 256  # which `Feed.check` refuses


@pytest.mark.parametrize("name", ["table_vae", "table_ddpm", "table_wcgan", "table_ar", "mixture", "smote"])
def test_what_decides_of_each_model(folder, name):
    """The loss where there is one; samples of a GAN; nothing of a model that is fitted."""
    chosen = dataclasses.replace(config.experiment(None, name, "small.csv"), data_dir=str(folder), holdout=0.5)
    found = train.fitted(chosen, (), runs.data(chosen))
    if name == "smote":
        assert found == chosen
        return
    if name == "mixture":
        assert found == dataclasses.replace(chosen, model=dataclasses.replace(chosen.model, components=4))  # of 36 rows
        assert train.fitted(chosen, {"model.components"}, runs.data(chosen)) == chosen
        return
    decides = model_selection.decides(found, "table")
    assert decides == ("holdout_c2st" if name == "table_wcgan" else "holdout_loss")
    assert (found.stop, found.eval_every) == ("holdout", model_selection.EVERY[decides])
    assert found.model.batch_size == 32  # of 36 rows
    few = dataclasses.replace(chosen, holdout=0.1)
    kept = train.fitted(few, (), runs.data(few))
    assert kept.stop == ("steps" if name == "table_wcgan" else "holdout")


# --- copies -------------------------------------------------------------------------------------------------------


def frames(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    return pd.DataFrame({"a": x[:, 0], "b": x[:, 0] + x[:, 1], "c": np.where(x[:, 2] > 0, "u", "v")})


KINDS = {"a": "continuous", "b": "continuous", "c": "categorical"}


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_share_of_copies_is_found(share):
    train_rows, unseen = frames(400, 0), frames(100, 1)
    drawn = frames(3000, 2)
    few = round(share * len(drawn))
    rows = np.random.default_rng(3).integers(0, 400, few)
    drawn.iloc[:few] = train_rows.iloc[rows].to_numpy()
    found = copied(train_rows, unseen, drawn.astype({"a": float, "b": float}), KINDS)
    assert abs(found.share - share) < 3 * found.error + 0.01
    assert found.too_many == (share > 0)


def test_rows_of_few_values_are_no_copies():
    """Every row has equals among training rows, and among unseen ones."""
    rng = np.random.default_rng(0)
    one, two, three = (pd.DataFrame({"a": rng.choice(["u", "v"], n), "b": rng.choice(["x", "y"], n)})
                       for n in (900, 100, 2000))  # fmt: skip
    found = copied(one, two, three, {"a": "categorical", "b": "categorical"})
    assert abs(found.share) < 3 * found.error and not found.too_many


def test_a_model_that_copies_is_said_when_it_is_trained_and_when_it_is_drawn_from(folder, monkeypatch):
    assert launch(folder, *AR, "--steps=2", "--workdir=copies").code == 0
    kept = json.loads((folder / "copies" / runs.COPYING).read_text())
    assert kept["step"] == 2 and not kept["warning"]
    data = runs.trained_on(folder / "copies", str(folder))
    rows = data.frame("train")
    monkeypatch.setattr(trained.Run, "sample", lambda self, n, seed, unique=True: rows.iloc[np.arange(n) % len(rows)])
    model_selection.say_copying(folder / "copies", data)
    monkeypatch.undo()
    done = launch(folder, "--workdir=copies", "--rows=5", "--out=five.csv", name="sample")
    assert done.code == 0 and "WARNING: the model copies training rows; " in done.out
