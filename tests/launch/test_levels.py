"""How much each level does: shadow models where there is a model to attack, and how long all of it will take."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from synthjax.launch import evaluate, forecast, levels, notes, parts, provenance, subjects


def a_run(workdir, score=len):
    return SimpleNamespace(workdir=workdir, model=SimpleNamespace(score=score))


class Judged(Exception):
    """The protocol that would have been judged by."""


def judge_images(monkeypatch, run, **given):
    """The protocol of an evaluation, and what was said before it began."""
    part = SimpleNamespace(x=np.zeros(3), y=np.zeros(3))
    spec = SimpleNamespace(n_classes=1, classes=("a",))
    real = SimpleNamespace(name="real", train=part, holdout=part, test=part, spec=spec, table=None)
    rows = dict.fromkeys(("synthetic", "train", "holdout", "test"), part)
    subject = subjects.Subject(real, rows, "a.npz", run)

    def manifest(work, level):
        raise Judged(work.effort)

    monkeypatch.setattr(evaluate, "manifest", manifest)
    monkeypatch.setattr(forecast, "of_classifiers", lambda *_: 60.0)
    monkeypatch.setattr(evaluate, "attack", lambda *_, **__: None)
    with pytest.raises(Judged) as caught:
        evaluate.run(subject, None, seed=0, **given)
    return caught.value.args[0]


@pytest.mark.parametrize(
    "given, models",
    [
        ({"level": "quick"}, 0),
        ({"level": "full"}, 16),
        ({"level": "full", "shadows": 0}, 0),
        ({"level": "look", "shadows": 4}, 4),
    ],
)
def test_full_has_shadow_models_where_there_is_a_model_to_attack(monkeypatch, tmp_path, given, models):
    assert judge_images(monkeypatch, a_run(tmp_path), **given).shadows == models
    for run in (None, a_run(tmp_path, score=None)):
        assert judge_images(monkeypatch, run, **given).shadows == 0


def test_both_kinds_have_the_same_levels():
    for name, images in levels.IMAGES.items():
        ours, theirs = dataclasses.asdict(images), dataclasses.asdict(levels.TABLES[name])
        assert {key: ours[key] for key in ("seeds", "shadows", "public")} == {
            key: theirs[key] for key in ("seeds", "shadows", "public")
        }


def test_the_time_of_attacks_is_drawn_out_from_two_sizes(monkeypatch):
    """A clock that a compilation moves by 100, and an attack by 2 + limit / 500."""
    clock, asked = [0.0], []
    monkeypatch.setattr(forecast.time, "monotonic", lambda: clock[0])

    def attacks(limit):
        clock[0] += 2 + limit / 500 + (0 if asked else 100)
        asked.append(limit)

    assert forecast.extrapolate(attacks, 10_000) == pytest.approx(2 + 10_000 / 500)
    assert max(asked) <= 1_000


def test_what_full_will_take_holds_attacks_and_shadow_models(monkeypatch, tmp_path, capsys):
    rows = [{"step": 100, "steps_per_second": 10.0}, {"step": 300, "steps_per_second": 5.0}]
    monkeypatch.setattr(provenance.metrics, "read", lambda *_: iter(rows))
    monkeypatch.setattr(forecast, "extrapolate", lambda *_: 240.0)
    judge_images(monkeypatch, a_run(tmp_path), level="full")
    # 16 shadows, each twice the 10 + 40 seconds of the run: 1,600 seconds; with a minute and four, 32 minutes.
    said = "will take about 32 minutes (classifiers 60 seconds, attacks 4 minutes, 16 shadow models 27 minutes)"
    assert said in capsys.readouterr().out
    judge_images(monkeypatch, a_run(tmp_path), level="quick")
    assert "will take" not in capsys.readouterr().out
    rows.clear()
    assert "16 shadow models, each about twice" in forecast.forecast({"attacks": 9}, a_run(tmp_path), 16)
    assert "shadow" not in forecast.forecast({"attacks": 9}, None, 0)


def test_what_is_judged_is_known_wherever_it_lies():
    """A folder that was moved keeps its parts; another file, model or seed has none."""

    def identity(file="a", sha="1", workdir="b", state="2", seed=0, created="now"):
        manifest = {"synthetic": {"file": file, "sha256": sha}, "seed": seed, "created": created}
        return parts.identity({**manifest, "model": {"workdir": workdir, "state_sha256": state}})

    assert identity() == identity(file="moved/a", workdir="moved", created="later")
    assert all(identity() != identity(**{name: "3"}) for name in ("sha", "state", "seed"))
    assert parts.identity({"synthetic": {"file": "a"}, "model": None}) == {"synthetic": {}, "model": None}


def test_a_set_of_images_smaller_than_the_training_set_is_told():
    spec = SimpleNamespace(n_classes=2, classes=("a", "b"))
    train = SimpleNamespace(x=np.zeros(1_200), y=np.arange(1_200) % 2)
    real = SimpleNamespace(spec=spec, table=None)
    few, enough = (SimpleNamespace(x=np.zeros(n), y=np.arange(n) % 2) for n in (1_000, 1_200))

    def about(synthetic):
        return notes.about(real, {"synthetic": synthetic, "train": train}, foreign=False)

    assert list(about(few)) == [
        "there are 1,000 synthetic examples and 1,200 training examples: ceiling and floor take no more either"
    ]
    assert about(enough) == ()
    # Where there are no labels no ceiling is spoken of.
    bare = SimpleNamespace(x=np.zeros(1_000), y=None)
    assert "no labels" in " ".join(about(bare))
    assert "ceiling" not in " ".join(about(bare))
