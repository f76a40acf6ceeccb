"""The command that runs studies, on scikit-learn's data sets."""

import json

import pytest
from in_process import run

from synthjax.launch import reproduce

TINY = ("--study=s3", "--quick", "--config.models=vae", "--config.samples=60", "--config.timed=20")


def test_without_a_study_they_are_listed():
    end = run("reproduce")
    assert end.code == 0
    listed = [line.split()[0] for line in end.out.splitlines()]
    assert listed == [f"--study={name}" for name in (*reproduce.STUDIES, "all")]


def test_a_study_runs_and_goes_on_where_it_stopped(tmp_path):
    folder = tmp_path / "study"
    first = run("reproduce", *TINY, f"--workdir={folder}")
    assert first.code == 0, first.err
    assert f"generator vae: 20 steps, see {folder}/generators/vae/train.log" in first.out
    assert "step 20/20" in (folder / "generators/vae/train.log").read_text() and "step 20/20" not in first.out
    assert all((folder / name).stat().st_size > 1000 for name in ("grid_vae.png", "loss_vae.png", "sets/vae.npz"))
    kept = folder / "results/scores-vae.json"
    kept.write_text(json.dumps(json.loads(kept.read_text()) | {"tstr": [0.25, 0.75]}))
    again = run("reproduce", *TINY, f"--workdir={folder}")
    assert again.code == 0 and "generator vae" not in again.out
    text = (folder / "tables.md").read_text()
    assert "| same epochs | vae | 20 |" in text and "| 0.500 ± 0.354 (n=2) |" in text and "**S3, claims. " in text
    other = run("reproduce", *TINY, "--config.seed=1", f"--workdir={folder}")
    assert other.code == 3 and "belongs to another study" in other.line


def test_all_runs_each_in_a_folder_of_its_own(tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr("synthjax.studies.workspace.Workspace", lambda folder, *_: ran.append(folder) or Stub())

    class Stub:
        def keep_table(self, name, text):
            pass

        def tables(self, names):
            return "**1. Nothing**"

    for name in reproduce.STUDIES:
        monkeypatch.setattr(f"synthjax.studies.{name}.TABLES", {"1": lambda *_: []})
        (tmp_path / f"{name}-quick").mkdir()
    end = run("reproduce", "--study=all", "--quick", f"--workdir={tmp_path}")
    assert end.code == 0, end.err
    assert ran == [tmp_path / f"{name}-quick" for name in reproduce.STUDIES]
    assert all((folder / "tables.md").read_text() == "**1. Nothing**\n" for folder in ran)


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        (("--study=s0", "--table=7"), "--table=7: s0 has 1, 2, 3, 4, 5, 6, colour, boltzmann"),
        (("--study=s1", "--config.rare_facto=2"), "rare_factor"),
        (("--study=s3", "--config.epochs=many"), "--config.epochs=many: must be of type int"),
        (("--study=s1", "--table=2", "--data_dir=nowhere"), "nowhere"),
        (("--study=s1", "--quick", "--update_results"), "--update_results: not with --quick"),
        (("--study=s1", "--minutes=3"), "--minutes: studies.s1.Config has no field 'minutes'"),
        (("--study=all", "--minutes=3"), "--minutes: is for one study; name it by --study"),
        (("--study=all", "--table=2", "--quick"), "--table: is for one study"),
        (("--study=all", "--config.seed=1"), "--config.seed: is for one study"),
        (
            ("--study=s2", "--quick", "--table=selection", "--config.candidates=slow"),
            "config.candidates=slow: there are",
        ),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    end = run("reproduce", *arguments)
    assert end.code == 3 and complaint in end.line


@pytest.mark.parametrize("study", reproduce.STUDIES)
def test_every_study_has_both_settings(study):
    whole, quick = (reproduce.settings(study, small, [("seed", "3")]) for small in (False, True))
    assert type(whole) is type(quick) and whole.seed == quick.seed == 3
    assert whole != quick
