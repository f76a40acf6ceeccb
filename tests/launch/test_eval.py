"""The evaluation launcher: its parts on a small model, and one small evaluation from end to end."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from in_process import run

from synthjax import data
from synthjax.errors import InputError, SynthjaxError
from synthjax.evals import classifiers
from synthjax.evals.domains.images import Images
from synthjax.evals.fidelity import images
from synthjax.evals.sets import Sets
from synthjax.launch import config, eval, evaluate, levels, provenance, runs, shadows, subjects
from synthjax.launch.subjects import Run, Synthetic
from synthjax.model import Batch, Model


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


def surprise(key, state, batch: Batch):
    """How far an image is from a brightness; padding gives NaN, which must not get out."""
    return jnp.mean((batch.x - state) ** 2, axis=(1, 2, 3)) * jnp.where(batch.weight > 0, 1, jnp.nan)


@pytest.fixture
def subject(digits, tmp_path):
    """Noise, said to be drawn from a run's model that knows one brightness."""
    model = Model(init=lambda *a: None, step=lambda *a: None, sample=lambda *a: None, score=surprise)
    run = Run(tmp_path / "run", model, jnp.zeros(()), digits.spec, {"name": "toy", "sha256": "a" * 64})
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 17, (300, 8, 8, 1), dtype=np.uint8), np.arange(300, dtype=np.int32) % 10
    run.workdir.mkdir()
    runs.begin(run.workdir, config.experiment(None, "vae", "digits"), digits)
    return subjects.of_images(digits, Synthetic(x, y), save(run.workdir / "synthetic.npz", x=x, y=y), run)


def test_surprise_is_the_models_score_of_just_these_rows(subject, digits):
    rows = np.arange(3, 1200, 4)  # more than a block, and no whole number of them
    run = subject.run
    found = shadows.surprise(run.model.score, run.state, run.spec, digits.train, rows, jax.random.key(0))
    images = np.asarray(digits.spec.encode(digits.train.x[rows]))
    np.testing.assert_allclose(found, (images**2).mean(axis=(1, 2, 3)), rtol=1e-6)


def attacked(subject, limit):
    return evaluate.attack(evaluate.Evaluation.of(subject, None, levels.IMAGES["look"], 0), limit=limit)


def test_a_runs_own_set_is_held_against_its_holdout_and_its_model_is_attacked(subject):
    found = attacked(subject, 200)
    assert found["mia"]["n_others"] == len(subject.real.holdout.x)
    assert found["mia"]["model_auc"] == pytest.approx(0.5, abs=0.15)
    assert found["exact_matches"] == 0


def test_a_foreign_set_is_held_against_the_test_split(subject):
    found = attacked(subject._replace(run=None), 1000)
    assert found["mia"]["n_others"] == len(subject.real.test.x)
    assert found["mia"]["model_auc"] is None


def test_the_reference_is_what_the_network_has_not_learnt_from(digits, monkeypatch):
    taught = []
    monkeypatch.setattr(
        classifiers,
        "train",
        lambda key, examples, *a, **k: taught.append(examples[0]) or SimpleNamespace(variables=np.zeros(1)),
    )
    monkeypatch.setattr(classifiers, "predict", lambda cnn, x: np.zeros((1, len(x), 10)))
    monkeypatch.setattr(images, "evaluate", lambda *a, train, **k: {"reference": train})
    sets = Sets(Images(digits.spec, 1), digits.test, digits.train, digits.test)
    few = images.in_learnt_features(sets, limit=200)["reference"]
    seen = {image.tobytes() for image in taught[0]}
    assert len(seen) == 200 and not any(image.tobytes() in seen for image in few.x)
    assert len(few.x) == len(few.y) == len(digits.train.x) - 200
    # Too few are left where it learns from all.
    all_of_them = images.in_learnt_features(sets, limit=10_000)["reference"]
    assert len(all_of_them.x) == len(digits.train.x)


def test_a_test_split_that_lies_in_train_is_told_before_any_slow_work(digits, tmp_path, monkeypatch, capsys):
    class Begun(Exception):
        pass

    def begin(*_, **__):
        raise Begun

    monkeypatch.setattr(evaluate.fidelity, "evaluate", begin)
    x, y = digits.train.x, digits.train.y
    for name, test, told in (("within", digits.train, True), ("apart", digits.test, False)):
        path = save(tmp_path / f"{name}.npz", x_train=x, y_train=y, x_test=test.x[:200], y_test=test.y[:200])
        subject = subjects.of_images(data.load(str(path)), Synthetic(x, y), path, None)
        with pytest.raises(Begun):
            evaluate.run(subject, tmp_path, seed=0, level="look")
        assert ("note: test and train overlap: " in capsys.readouterr().out) == told


def test_the_manifest_says_what_was_judged(subject, digits):
    settings = {"seeds": 5, "non_members": subject.unseen}
    found = provenance.manifest(subject, {"examples": 300}, settings)
    assert found["synthetic"]["examples"] == 300 and len(found["synthetic"]["sha256"]) == 64
    assert found["real"] == {name: len(getattr(subject.real, name).x) for name in ("train", "holdout", "test")}
    assert found["model"]["name"] == "toy" and found["non_members"] == "holdout" and found["seeds"] == 5
    assert found["kind"] == "image"
    assert provenance.manifest(subject._replace(run=None), {}, {})["model"] is None


def test_where_the_results_go(subject, tmp_path):
    assert evaluate.output_folder(subject.file, subject.run, None) == tmp_path / "run" / "eval"
    assert evaluate.output_folder(tmp_path / "other.npz", None, None) == tmp_path / "other-eval"
    assert evaluate.output_folder(subject.file, subject.run, str(tmp_path / "a" / "b")).is_dir()


# --- the command -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, message",
    [
        ("privacy.mia.auk>0.5", r"--fail_if: .* did you mean privacy\.mia\.auc"),
        ("privacy.mia.auc", "--fail_if: .* is not KEY>NUMBER"),
        ("privacy.mia.model_auc>0.6", "no model to attack"),
    ],
)
def test_gates_are_read_before_any_work(text, message):
    with pytest.raises(SynthjaxError, match=message):
        eval.parse_gates([text], has_model=False, kind="image")


def test_a_place_that_cannot_be_written_to_is_told_first(subject, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        evaluate.output_folder(subject.file, subject.run, str(tmp_path / "file" / "out"))


def test_a_copy_of_the_training_set_from_end_to_end(digits, tmp_path):
    """The whole command on a file that is useful and leaks everything: verdicts, report, page and gate say so."""
    path = save(tmp_path / "copy.npz", x=digits.train.x[:600], y=digits.train.y[:600])
    done = run("eval", "--real=digits", f"--synthetic={path}", f"--out={tmp_path}/out", "--level=look", "--seeds=1",
                   "--public=20", "--fail_if=privacy.mia.auc>0.55", "--fail_if=utility.svm.tstr.mean<0.5")  # fmt: skip
    assert done.code == 4, done.err
    assert "privacy.mia.auc is" in done.err and "utility.svm" not in done.err
    assert "Traceback" not in done.err
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    assert found["privacy"]["exact_matches"] == 600
    assert found["privacy"]["mia"]["model_auc"] is None
    attacks = np.load(tmp_path / "out" / "attacks.npz")
    assert set(found["privacy"]["mia"]["attacks"]) <= set(attacks.files)
    assert attacks["member"].sum() == found["privacy"]["mia"]["n_members"] < len(attacks["row"])
    assert found["manifest"]["non_members"] == "test" and found["manifest"]["quick"]
    assert found["manifest"]["protocol"]["public"] == 20 and found["privacy"]["mia"]["n_public"] == 40
    assert found["privacy"]["mia"]["attacks"]["informed"]["auc"] > 0.6  # half of the training set is copied
    assert "duplicates.exact" in found["privacy"]["findings"]["flagged"]
    assert "Significant, corrected for all" in done.out.replace("\n    ", " ")
    assert found["utility"]["svm"]["tstr"]["mean"] > 0.9
    assert found["manifest"]["synthetic"]["per_class"] == np.bincount(digits.train.y[:600], minlength=10).tolist()
    assert "Yes: training examples can be recognised" in done.out
    assert str(tmp_path / "out" / "report.html") in done.out
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!doctype html>")


def test_a_bad_file_ends_the_command_with_code_3(tmp_path):
    path = save(tmp_path / "bad.npz", x=np.zeros((20, 9, 9), np.uint8), y=np.arange(20) % 10)
    done = run("eval", "--real=digits", f"--synthetic={path}")
    assert done.code == 3
    assert len(done.err.strip().splitlines()) == 1 and "bad.npz" in done.err


def test_a_misspelt_gate_ends_the_command_with_code_1(tmp_path):
    done = run("eval", "--real=digits", f"--synthetic={tmp_path}/a.npz", "--fail_if=privacy.mia.auk>0.5")
    assert done.code == 1
    assert "did you mean privacy.mia.auc" in done.err and "Traceback" not in done.err
