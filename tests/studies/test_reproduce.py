"""The studies: their folder, their tables, and the command that runs them, on scikit-learn's data sets."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest
from synthjax.studies import s0, s0_sets, s1, s3, workspace

from synthjax import data
from synthjax.errors import InputError
from synthjax.launch import config as config_lib
from synthjax.launch import markdown, reproduce
from synthjax.launch.config import Experiment
from synthjax.model import Model

TINY = {
    "s0": (
        "--config.epochs=1",
        "--config.trials=2",
        "--config.size=20",
        "--config.large=20",
        "--config.cnn_epochs=1",
        "--config.test_size=50",
    ),
    "s1": ("--config.models=cgan", "--config.steps=4", "--config.per_class=4", "--config.nearest=2"),
    "s3": ("--config.models=vae", "--config.samples=60", "--config.timed=20"),
}
"""What makes --quick quicker still: fewer networks to compile."""


def launch(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "XLA_FLAGS": "", "PJRT_NPROC": "1"}
    command = [sys.executable, "-m", "synthjax.launch.reproduce", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def test_a_study_goes_on_where_it_stopped(tmp_path):
    first = launch(tmp_path, "--study=s0", "--quick", "--table=2", *TINY["s0"])
    assert first.returncode == 0, first.stderr
    study = tmp_path / "runs/s0-quick"
    kept = study / "results/SVM-20-dcgan.json"
    kept.write_text(json.dumps([0.25, 0.75]))
    again = launch(tmp_path, "--study=s0", "--quick", "--table=2,4", *TINY["s0"])
    assert again.returncode == 0, again.stderr
    third = launch(tmp_path, "--study=s0", "--quick", "--table=1", *TINY["s0"])
    assert third.returncode == 0, third.stderr
    assert "generator dcgan" in first.stdout and "generator dcgan" not in again.stdout
    text = (study / "tables.md").read_text()
    assert "| SVM | dcgan | .899 (n=1) | 0.500 ± 0.354 (n=2) |" in text
    assert "| SVM | real, at random | 0.653 ± 0.049 (n=10) |" in text
    assert "| 1 | 0.6177 | 0.7458 |" in text
    assert (study / "figure_6.png").stat().st_size > 1000

    other = launch(tmp_path, "--study=s0", "--quick", "--config.seed=1", *TINY["s0"])
    assert other.returncode == 3 and "belongs to another study" in other.stderr


@pytest.mark.parametrize("study", ["s1", "s3"])
def test_a_study_runs(tmp_path, study):
    done = launch(tmp_path, f"--study={study}", "--quick", *TINY[study])
    assert done.returncode == 0, done.stderr
    folder = tmp_path / f"runs/{study}-quick"
    assert list(folder.glob("*.png")) and list((folder / "sets").glob("*.npz"))
    pictures, tables = {
        "s1": (("figure_1.png", "figure_8.png", "confusions_low-zero.png"), 5),
        "s3": (("loss_vae.png",), 2),
    }[study]
    assert all((folder / name).stat().st_size > 1000 for name in pictures)
    assert (folder / "tables.md").read_text().count("| --- |") >= tables - 1


@pytest.mark.slow
@pytest.mark.parametrize("study", reproduce.STUDIES)
def test_quick_runs_the_whole_study(tmp_path, study):
    done = launch(tmp_path, f"--study={study}", "--quick")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ((), "--study: say which one, of s0, s1, s2, s3, s4, adult, all"),
        (("--study=s0", "--table=7"), "--table=7: s0 has 1, 2, 3, 4, 5, 6, colour, boltzmann"),
        (("--study=s1", "--config.rare_facto=2"), "rare_factor"),
        (("--study=s3", "--config.epochs=many"), "--config.epochs=many: must be of type int"),
        (("--study=s1", "--data_dir=nowhere"), "nowhere"),
        (("--study=s1", "--quick", "--update_results"), "--update_results: not with --quick"),
        (("--study=s1", "--minutes=3"), "--minutes: studies.s1.Config has no field 'minutes'"),
        (
            ("--study=s2", "--quick", "--table=selection", "--config.candidates=slow"),
            "config.candidates=slow: there are",
        ),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, complaint):
    done = launch(tmp_path, *arguments)
    assert done.returncode == 3 and complaint in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("study", reproduce.STUDIES)
def test_every_study_has_both_settings(study):
    whole, quick = (reproduce.settings(study, small, [("seed", "3")]) for small in (False, True))
    assert type(whole) is type(quick) and whole.seed == quick.seed == 3
    assert whole != quick


def test_update_replaces_its_own_part_alone(tmp_path):
    page = tmp_path / "RESULTS.md"
    with pytest.raises(InputError, match=r"RESULTS\.md"):
        workspace.update(page, "s1", {"2": "x"}, s1.TABLES)
    page.write_text("# Results\n\nbefore\n")
    workspace.update(page, "s1", {"2": r"**2. One \1**"}, s1.TABLES)
    workspace.update(page, "s0", {"1": "**1. Other**"}, ("1",))
    workspace.update(page, "s1", {"2": "**2. Two**"}, s1.TABLES)
    text = page.read_text()
    assert text.startswith("# Results\n\nbefore\n") and "One" not in text
    assert "<!-- study s1 -->\n**2. Two**\n<!-- end of study s1 -->" in text and "\n**1. Other**\n" in text


def test_update_keeps_tables_that_were_not_made(tmp_path):
    page = tmp_path / "RESULTS.md"
    first, tests, third = "**1. A**\n\n| a |\n\nNote.", "**1, tests. B**\n\n| b |", "**3. C, D. E**\n\n| c |"
    page.write_text(f"<!-- study s0 -->\n{first}\n\n{tests}\n\n{third}\n<!-- end of study s0 -->\n\nafter\n")
    workspace.update(page, "s0", {"2": "**2. New**", "colour": ""}, ("1", "2", "3", "colour"))
    inside = f"{first}\n\n{tests}\n\n**2. New**\n\n{third}"
    assert page.read_text() == f"<!-- study s0 -->\n{inside}\n<!-- end of study s0 -->\n\nafter\n"
    workspace.update(page, "s0", {"1": "**1. Again**"}, ("1", "2", "3", "colour"))
    inside = f"**1. Again**\n\n**2. New**\n\n{third}"
    assert page.read_text() == f"<!-- study s0 -->\n{inside}\n<!-- end of study s0 -->\n\nafter\n"


def test_a_cell_and_a_table():
    assert workspace.cell([0.5]) == "0.500 (n=1)"
    assert workspace.cell([0.25, 0.75]) == "0.500 ± 0.354 (n=2)"
    table = markdown.Table("2", "Title", ("a", "b"), [("1", "2")], ("Note.",))
    assert table.markdown() == "**2. Title**\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\nNote."


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


def test_blurred_images_are_less_sharp():
    from scipy import ndimage

    x = np.random.default_rng(0).random((5, 12, 12, 1))
    soft = ndimage.gaussian_filter(x, (0, 1, 1, 0))
    assert s3.sharpness(soft) < 0.5 * s3.sharpness(x)
    assert s3.sharpness(3 * x) == pytest.approx(s3.sharpness(x))
    # Two grey values side by side, +-1: each horizontal step is 4, vertical ones are 0, the variance is 1.
    stripes = np.tile([1.0, -1.0], (1, 4, 4))[..., None]
    assert s3.sharpness(stripes) == pytest.approx(4)


class Made(NamedTuple):
    """What `s3._steps` looks at."""

    experiment: Experiment
    time: float

    def minutes(self) -> float:
        return self.time


class Steps(NamedTuple):
    """A Config with nothing but steps."""

    steps: int


def test_the_same_time_is_that_of_the_slowest():
    same = {"a": Made(Experiment("a", Steps(100)), 2.0), "b": Made(Experiment("b", Steps(100)), 5.0)}
    assert s3._steps(same) == {"a": 250, "b": 100}


def test_epochs_fit_into_the_minutes(tmp_path, monkeypatch):
    """64 examples a step: digits have 1,294 rows, 20.2 steps an epoch."""
    speeds = {"a": 10.0, "b": 2.0}
    monkeypatch.setattr(s3, "of", lambda workspace, config, name, steps: None)

    class Shop:
        def train(self, name, chosen):
            rows = {"step": 1, "steps_per_second": speeds[name[0]]}, {"step": 1, "diversity": 0.9}
            (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            return workspace.Generator(name, tmp_path, chosen, *[None] * 3)

        def data(self, chosen):
            return data.load("digits")

    def epochs(**changes):
        return s3.epochs_within(Shop(), s3.Config(dataset="digits", models=("a", "b"), **changes))

    seconds = 1294 / 64
    expected = int(600 / (seconds * (0.1 + 0.5))), int(600 / (seconds * 2 * 0.5)), 1
    found = epochs(minutes=10, equal_time=False), epochs(minutes=10), epochs(minutes=0.01)
    assert found == expected


def test_minutes_are_those_of_training(tmp_path):
    rows = [{"step": 50, "steps_per_second": 1.0}, {"step": 50, "diversity": 0.9}, {"step": 80, "steps_per_second": 3}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"step": 80, "d": 1}]))
    assert workspace.Generator("a", tmp_path, *[None] * 4).minutes() == pytest.approx((50 + 30 / 3) / 60)


def test_claims_are_put_to_the_test():
    keys = ("minutes", "seconds", "diversity", "sharpness")
    measured = {
        ("same epochs", "vae"): dict(zip(keys, (1, 2, 0.9, 0.5), strict=True)),
        ("same epochs", "ddpm"): dict(zip(keys, (2, 1, 0.8, 1.0), strict=True)),
    }
    table = s3.claims(s3.Config(models=("vae", "ddpm")), measured)
    assert [row[1] for row in table.rows] == ["yes", "no", "yes", "yes", "no"]


@pytest.mark.parametrize(
    "field, value, message",
    [
        ("models", "cgan,dcgan", "config.models=dcgan: there are cgan, cwgan, cdcgan, cwdcgan"),
        ("models", "()", "config.models: name at least one of cgan,"),
        ("rare_model", "typo-noise", "config.rare_model=typo-noise: there are cgan,"),
    ],
)
def test_s1_refuses_gans_that_it_does_not_have(field, value, message):
    with pytest.raises(InputError) as error:
        reproduce.settings("s1", False, [(field, value)])
    assert str(error.value).startswith(message)
    assert reproduce.settings("s1", False, [("rare_model", "cwgan-noise")]).rare_model == "cwgan-noise"


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


def test_the_best_gan_is_chosen_on_the_holdout(monkeypatch):
    accuracy = {
        ("cgan", False): (0.9, 0.1),
        ("cgan", True): (0.2, 0.8),
        ("cdcgan", False): (0.5, 0.7),
        ("cdcgan", True): (0.6, 0.6),
    }
    monkeypatch.setattr(s1, "generator", lambda workspace, config, name, noise: (name, noise))
    monkeypatch.setattr(
        s1,
        "synthetic",
        lambda workspace, config, made: {
            split: {"accuracy": [value]} for split, value in zip(("test", "holdout"), accuracy[made], strict=True)
        },
    )
    assert s1.best(None, s1.Config(models=("cgan", "cdcgan"))) == ("cgan", True)  # type: ignore[arg-type]
