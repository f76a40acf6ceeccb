"""The evaluation of tables: a copy, columns drawn alone and honest rows are told apart, and bad files are one line."""

import json
import time

import in_process
import jax.numpy as jnp
import pandas as pd
import pytest
from commands import command, end, start
from homes import NASTY, alone, homes

from synthjax import data
from synthjax.errors import GateError, InputError, SynthjaxError
from synthjax.evals import privacy
from synthjax.evals.report import alike as likeness
from synthjax.evals.report import gates, rows
from synthjax.launch import config, eval, evaluate, runs, shadows, subjects
from synthjax.launch.subjects import Asked, Run
from synthjax.model import Model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """train.csv, test.csv, and synthetic tables of three kinds."""
    folder = tmp_path_factory.mktemp("homes")
    train = homes(0)
    tables = {"train": train, "test": homes(1, 200), "copy": train, "alone": alone(train), "honest": homes(2, 250)}
    for name, frame in tables.items():
        frame.to_csv(folder / f"{name}.csv", index=False)
    return folder


def ask(**given):
    return subjects.find(Asked(**given), table=True, seed=0)


def frames_of(subject):
    return subjects.read_frames(subject.real, subject.file)[0]


def subject_of(folder, synthetic, **given):
    files = {"real": folder / "train.csv", "holdout": folder / "test.csv", "synthetic": synthetic}
    return ask(**{**{name: str(file) for name, file in files.items()}, "target": "sold", **given})


@pytest.fixture(scope="module")
def judged(folder):
    """name -> the report on that table; its files are in NAME-eval/."""
    found = {}
    for name in ("copy", "alone", "honest"):
        subject = subject_of(folder, folder / f"{name}.csv")
        out = evaluate.output_folder(subject.file, subject.run, None)
        found[name] = evaluate.run(subject, out, level="look", seed=0, seeds=1)
    return found


# --- what the report says ----------------------------------------------------------------------------------------


def test_a_copy_is_useful_and_leaks(judged):
    useful, alike, _, private = judged["copy"].parts.values()
    assert (useful.level, alike.level, private.level) == ("good", "good", "poor")
    assert any("300 of 300 synthetic rows are exact copies" in one.text for one in private.evidence)
    assert judged["copy"].privacy.mia.auc == pytest.approx(1)
    assert any("copies of its rows" in one.text for one in alike.evidence)


def test_columns_drawn_alone_are_neither_alike_nor_useful(judged):
    useful, alike, _, private = judged["alone"].parts.values()
    assert (useful.level, alike.level) == ("poor", "poor") and private.level != "poor"
    fidelity = judged["alone"].fidelity
    assert fidelity.synthetic.shapes.score > fidelity.ceiling.shapes.score > 0.9
    assert likeness.gained(fidelity) < 0.2
    assert abs(judged["alone"].utility.boosting.kept) < 0.4


def test_other_real_rows_are_good_in_every_way(judged):
    useful, alike, _, private = judged["honest"].parts.values()
    assert alike.level == "good" and useful.level != "poor" and private.level != "poor"
    assert "250 synthetic rows and 300 training rows" in judged["honest"].manifest.notes[0]


def test_every_figure_is_measured_and_in_the_file(judged, folder):
    found = json.loads((folder / "honest-eval" / "report.json").read_text())
    assert found["protocol_version"] == 5 and found["verdicts"][0]["id"] == "publish"
    measured = {row.key for row in rows.measured(judged["honest"])}
    for row in rows.catalogue("table"):
        of_numbers, of_models = "r2" in row.key or "rmse" in row.key, ".model" in row.key
        # Homes keep no rule, and nobody owns two of them.
        apart = of_numbers or of_models or "top_up" in row.key or ".persons." in row.key or row.section == "rules"
        assert row.detail or apart or "NAME" in row.key or row.key in measured


def test_the_manifest_says_what_was_judged(judged, folder):
    manifest = judged["copy"].manifest
    assert manifest.kind == "table" and manifest.target == "sold" and manifest.non_members == "test"
    assert manifest.real == {"train": 300, "holdout": 0, "test": 200}
    assert manifest.columns["listed"] == "datetime" and manifest.columns["home"] == "id"
    assert len(manifest.synthetic.sha256) == 64 and manifest.model is None and manifest.quick
    assert judged["copy"].privacy.mia.n_others == 100  # half of the test rows; the other half is reference


def test_gates_hold_or_pass(judged):
    texts = ["privacy.mia.auc>0.9", "utility.boosting.kept<0.5", "fidelity.synthetic.c2st.score<0.5"]
    with pytest.raises(GateError, match=r"privacy\.mia\.auc is 1 ") as caught:
        gates.check(eval.parse_gates(texts, has_model=False, kind="table"), judged["copy"])
    assert "kept" not in str(caught.value) and "c2st" not in str(caught.value)
    with pytest.raises(SynthjaxError, match=r"did you mean fidelity\."):
        eval.parse_gates(["fidelity.synthetic.c2st.skore<0.5"], has_model=False, kind="table")


def test_without_a_target_there_is_no_usefulness(folder):
    subject = subject_of(folder, folder / "honest.csv", target=None)
    found = evaluate.run(subject, folder / "none", level="look", seed=0, seeds=1)
    assert found.utility is None and "usefulness is not measured" in " ".join(subject.notes)
    page = (folder / "none" / "report.html").read_text()
    assert "Not measured: no column was named" in page and "Can a classifier" not in page


class Begun(Exception):
    """Slow work was begun."""


def test_a_holdout_that_is_the_real_table_is_told_before_any_slow_work(folder, monkeypatch, capsys, tmp_path):
    def begin(*_, **__):
        raise Begun

    monkeypatch.setattr(evaluate.fidelity, "evaluate", begin)
    for holdout, told in (("train", True), ("test", False)):
        subject = subject_of(folder, folder / "copy.csv", holdout=str(folder / f"{holdout}.csv"))
        with pytest.raises(Begun):
            evaluate.run(subject, tmp_path, level="look", seed=0, seeds=1)
        said = "note: test and train overlap: 300 of 300 test rows equal a training row, where 0 of 300 training rows"
        assert (said in capsys.readouterr().out) == told


# --- the page ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["copy", "alone", "honest"])
def test_the_page_is_one_small_file_in_which_names_are_text(judged, folder, name):
    text = (folder / f"{name}-eval" / "report.html").read_text()
    assert NASTY not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<img" not in text and len(text) < 1_000_000
    assert "real training rows" in text and "training examples" not in text


# --- files that cannot be judged ---------------------------------------------------------------------------------


def changed(column, row, value):
    def change(frame):
        frame[column] = frame[column].astype(object)
        frame.loc[row, column] = value
        return frame

    return change


BAD = {
    "a column is missing": (lambda f: f.drop(columns="town"), r"lacks the column 'town' of the real table"),
    "columns are missing": (lambda f: f.drop(columns=["town", "size"]), r"lacks the columns 'size', 'town'"),
    "a column too many": (lambda f: f.assign(pool="no"), r"has the column 'pool', which the real table has not"),
    "a word for a number": (changed("size", 6, "large"), r"row 7, column 'size': 'large' is not a finite number"),
    "an infinity": (changed("size", 6, "inf"), r"row 7, column 'size': 'inf' is not a finite number"),
    "another form of dates": (changed("listed", 3, "2020-05-06"), r"row 4, column 'listed': '2020-05-06' is not a"),
    "an unknown label": (changed("sold", 8, "never"), r"row 9, column 'sold': 'never' is none of the classes"),
    "codes for categories": (lambda f: f.assign(town="17"), r"row 1, column 'town': '17' is like all values"),
    "too few rows": (lambda f: f[:4], r"4 rows with a 'sold'; at least 5 are needed"),
    "no rows": (lambda f: f[:0], r"has a header and no rows"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_synthetic_file_is_one_clear_line(kind, folder, tmp_path):
    change, message = BAD[kind]
    path = tmp_path / "synthetic.csv"
    change(homes(3, 40)).to_csv(path, index=False)
    with pytest.raises(InputError, match=message) as caught:
        subject_of(folder, path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("gone.csv", None, "gone.csv: no such file"),
        ("images.npz", b"PK", "images.npz: not a table"),
        ("ragged.csv", b"a,b\n1,2\n1,2,3\n", "lacks the columns 'size'"),
        ("empty.csv", b"", "an empty file"),
        ("damaged.parquet", b"PAR1", "not a Parquet file"),
    ],
)
def test_a_missing_or_damaged_file_is_one_clear_line(name, content, message, folder, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        subject_of(folder, tmp_path / name)


def test_what_can_be_read_otherwise_is_and_strangers_are_told(folder, tmp_path):
    frame = homes(3, 60).drop(columns="home")
    frame = frame.assign(garden=frame.garden.map({"yes": "True", "no": "False"}), floor=frame.floor + ".0")
    frame["town"] = frame["town"].where(frame.index > 5, "Cork")
    frame.loc[10:12, "sold"] = None
    frame[frame.columns[::-1]].to_csv(tmp_path / "other.csv", index=False)
    (tmp_path / "schema.yaml").write_text("columns:\n  floor: {kind: categorical}\n")
    subject = subject_of(folder, tmp_path / "other.csv", schema=str(tmp_path / "schema.yaml"))
    made = frames_of(subject)["synthetic"]
    assert set(made["garden"]) == {"yes", "no"} and set(made["floor"]) == {"0", "1", "2"}
    assert list(made.columns) == ["size", "rooms", "listed", "town", "garden", "floor", "sold"]
    notes = "\n".join(subject.notes)
    assert "'town': 6 synthetic rows (10.0%) hold categories that no real row has: 'Cork' 6" in notes
    assert "3 synthetic rows have no 'sold'" in notes and "60 synthetic rows and 300 training rows" in notes


def test_a_class_without_rows_is_told(folder, tmp_path):
    frame = homes(3, 60)
    frame[frame.sold == "slowly"].to_csv(tmp_path / "half.csv", index=False)
    subject = subject_of(folder, tmp_path / "half.csv")
    assert "no synthetic row is of class 'at once'" in " ".join(subject.notes)
    found = evaluate.run(subject, tmp_path, level="look", seed=0, seeds=1)
    assert found.utility.n.missing_classes == ["at once"]
    sentence = "No synthetic row is of class “at once”: a classifier trained on this data alone never answers so."
    good, lost = found.verdicts[1:3]
    assert sentence in [one.text for one in good.evidence] and lost.evidence[0].text == sentence
    assert lost.level != "good"
    assert f"<p><strong>{sentence}" in (tmp_path / "report.html").read_text()


def test_parquet_is_read_as_csv_is(folder, tmp_path):
    frame = homes(2, 250)
    frame["floor"] = frame["floor"].astype(int)
    frame.to_parquet(tmp_path / "honest.parquet")
    found, expected = (subject_of(folder, path) for path in (tmp_path / "honest.parquet", folder / "honest.csv"))
    pd.testing.assert_frame_equal(frames_of(found)["synthetic"], frames_of(expected)["synthetic"])


# --- what is judged, against what --------------------------------------------------------------------------------


def test_files_are_taken_whole(folder):
    subject = subject_of(folder, folder / "copy.csv")
    assert subject.unseen == "test" and set(subject.rows) == {"train", "test", "synthetic"}
    pd.testing.assert_frame_equal(frames_of(subject)["train"], frames_of(subject)["synthetic"], check_index_type=False)
    assert len(frames_of(subject)["test"]) == 200
    attacked, known = subjects.halves(7)
    assert sorted([*attacked, *known]) == list(range(7)) and len(attacked) == 4


@pytest.mark.parametrize(
    "given, message",
    [
        ({"real": "a.csv"}, "--real goes with --synthetic"),
        ({"real": "a.csv", "synthetic": "b.csv", "workdir": "runs/a"}, "--real goes with --synthetic"),
        ({"real": "a.csv", "synthetic": "b.csv"}, "needs --holdout=FILE"),
        ({"real": "breast_cancer", "synthetic": "b.csv", "holdout": "c.csv"}, "has test rows of its own"),
        ({"workdir": "runs/a", "target": "sold"}, "--target goes with --real"),
    ],
)
def test_flags_that_do_not_go_together(given, message):
    with pytest.raises(SynthjaxError, match=message):
        ask(**given)


def test_the_holdout_file_has_the_columns_of_the_real_one(folder, tmp_path):
    homes(1, 50).drop(columns="town").to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(InputError, match="column 'town' is in only one of the train and the test file"):
        subject_of(folder, folder / "copy.csv", holdout=str(tmp_path / "other.csv"))


@pytest.fixture
def run(folder, tmp_path, monkeypatch):
    """A run on train.csv whose model knows its training rows by heart."""
    real = data.load(str(folder / "train.csv"), target="sold")

    def score(key, state, batch):
        known = (batch.index[:, None] == state).any(1).astype(jnp.float32)
        return 1 - known + jnp.where(batch.weight > 0, 0, jnp.nan)  # padding must not get out

    model = Model(init=lambda *a: None, step=lambda *a: None, sample=lambda *a: None, score=score)
    state = jnp.asarray(real.train.index)
    made = Run(tmp_path / "run", model, state, real.spec, {"name": "toy", "sha256": "a" * 64})
    made.workdir.mkdir()
    runs.begin(made.workdir, config.experiment(None, "independent", str(folder / "train.csv")), real)
    monkeypatch.setattr(subjects, "open_run", lambda *a: (made, real))
    monkeypatch.setattr(subjects, "made_by", lambda file: makers.get(file))
    makers = {}
    return made, real, makers


def test_a_runs_own_table_is_held_against_its_holdout_and_its_model_is_attacked(run):
    made, real, makers = run
    file = made.workdir / "synthetic.csv"
    homes(4, 100).to_csv(file, index=False)
    makers[file] = "a" * 64
    subject = ask(workdir=str(made.workdir))
    assert subject.unseen == "holdout" and subject.run is made
    others, unseen, reference = subjects.unseen_and_reference(subject)
    assert others is real.holdout and unseen is subject.rows["holdout"] and reference is subject.rows["test"]
    attacked = privacy.attacked_rows(len(real.train.x), len(others.x), limit=100)
    scores = shadows.model_scores(made, real.train, others, attacked, seed=0)
    assert (scores["members"] == 0).all() and (scores["others"] == 1).all() and len(scores["others"]) == len(others.x)


def test_a_run_without_its_table_names_the_command_that_makes_it(run):
    made, _, makers = run
    with pytest.raises(
        InputError, match=r"no such file; .* synthjax\.launch\.sample --workdir=.*synthetic\.csv --rows"
    ):
        ask(workdir=str(made.workdir))
    file = made.workdir / "synthetic.parquet"
    homes(4, 100).to_parquet(file)
    with pytest.raises(InputError, match=r"synthetic\.parquet: was not drawn by this run's model"):
        ask(workdir=str(made.workdir))
    makers[file] = "b" * 64
    with pytest.raises(InputError, match=r"was drawn from another checkpoint; .* --overwrite"):
        ask(workdir=str(made.workdir))
    foreign = ask(workdir=str(made.workdir), synthetic=str(file))
    assert foreign.run is None and foreign.unseen == "test"


# --- the command -------------------------------------------------------------------------------------------------


FILES = ("--real=train.csv", "--holdout=test.csv", "--synthetic=copy.csv")


def test_a_gate_from_end_to_end(folder, tmp_path):
    done = in_process.run("eval", *FILES, f"--out={tmp_path}/out", "--level=look", "--seeds=1",
               "--fail_if=privacy.exact_matches>0", folder=folder)  # fmt: skip
    assert done.code == 4, done.err
    assert done.line == "error: privacy.exact_matches is 300 (gate privacy.exact_matches>0)"
    assert "Yes: training rows can be recognised" in done.out and "note: no target is named" in done.out
    assert json.loads((tmp_path / "out" / "report.json").read_text())["manifest"]["kind"] == "table"


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["--epochs=3"], 1, "--epochs: is for images"),
        (["--fail_if=privacy.mia.auk>0.5"], 1, "did you mean privacy.mia.auc"),
        (["--target=prize"], 3, "target 'prize' is not a column"),
    ],
)
def test_misuse_and_bad_input_are_one_line(arguments, code, message, folder):
    done = in_process.run("eval", *FILES, *arguments, folder=folder)
    assert done.code == code and message in done.line


def test_sigterm_ends_with_its_own_code(folder, tmp_path):
    process = start(command("eval", *FILES, f"--out={tmp_path}/out", "--target=sold"), cwd=folder)
    assert "judging 300 synthetic rows" in process.stdout.readline()
    time.sleep(0.2)
    process.terminate()
    code, _, errors = end(process)
    assert code == 42 and errors.startswith("stopped: asked to end")
    assert not (tmp_path / "out" / "report.json").exists()


@pytest.mark.parametrize("name", ["breast_cancer", "digits"])
def test_a_test_file_goes_with_a_table_in_a_file(name):
    with pytest.raises(InputError, match="test"):
        data.load(name, test="test.csv")
