"""Study S2: its rows, its scores, what is chosen, and the whole of it on breast cancer."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from synthjax.errors import InputError
from synthjax.evals.domains import panel
from synthjax.evals.table import Table, from_frames
from synthjax.launch import reproduce
from synthjax.launch.config import presets
from synthjax.studies import s2, s2_others, s2_rows, workspace

TINY = s2.Config(
    dataset="breast_cancer",
    models=("table_cgan",),
    all_models=("independent",),
    candidates=(),
    all_candidates=(),
    steps=4,
    snapshot=2,
    columns=("mean radius", "mean texture"),
    judges=1,
    limit=60,
    small_models=("independent",),
    splits=1,
    fraud="breast_cancer",
    fraud_models=("independent",),
    fraud_seeds=1,
)


def begin(folder, config=TINY, data_dir=None) -> workspace.Workspace:
    return workspace.Workspace(folder, data_dir, dataclasses.asdict(config), say=lambda line: None)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> workspace.Workspace:
    return begin(tmp_path_factory.mktemp("s2"))


@pytest.fixture(scope="module")
def gan(study) -> workspace.Generator:
    """Trained for four steps, with its state kept after two."""
    return s2.generator(study, TINY, "numeric", "table_cgan")


def write_adult(folder, n: int = 40) -> None:
    """Rows in UCI's form; each fifth one lacks its workclass, each fourth one earns more."""
    rows = []
    for i in range(n):
        work, label = "?" if i % 5 == 0 else ("Private", "State-gov")[i % 2], ">50K" if i % 4 == 1 else "<=50K"
        rows.append(
            f"{20 + i // 2}, {work}, {1000 + i % 11}, HS-grad, {i % 9}, Divorced, Sales, Wife, White, Male, "
            f"{i % 3}, 0, {30 + i % 2}, Cuba, {label}"
        )
    (folder / "adult.data").write_text("\n".join(rows) + "\n")
    (folder / "adult.test").write_text("|1x3 Cross validator\n" + "\n".join(f"{row}." for row in rows[:8]) + "\n")


def test_the_split_is_of_complete_rows_by_class(tmp_path):
    write_adult(tmp_path)
    own = begin(tmp_path / "study", data_dir=str(tmp_path))
    files = s2_rows.cut(own, "adult", numeric=True, share=0.25, seed=0)
    train, test = pd.read_csv(files.train), pd.read_csv(files.test)
    expected = [i for i in range(40) if i % 5]
    both = pd.concat([train, test])
    assert sorted(2 * (both["age"] - 20) + both["hours-per-week"] - 30) == expected and files.rows == (24, 8)
    richer = sum(i % 4 == 1 for i in expected)
    assert (test["income"] == ">50K").sum() == richer // 4 and (train["income"] == ">50K").sum() == richer - richer // 4
    assert list(train)[-1] == files.target == "income" and "workclass" not in train and "capital-gain" in train
    assert "workclass" in pd.read_csv(s2_rows.cut(own, "adult", numeric=False, share=0.25, seed=0).test)
    other = s2_rows.cut(own, "adult", numeric=True, share=0.25, seed=1)
    assert not pd.read_csv(other.test).equals(test)
    written = files.train.stat().st_mtime_ns
    s2_rows.cut(own, "adult", numeric=True, share=0.25, seed=0)
    assert files.train.stat().st_mtime_ns == written
    with pytest.raises(InputError, match="digits holds images"):
        s2_rows.cut(own, "digits", numeric=True, share=0.25, seed=0)


def test_runs_see_all_training_rows_and_the_study_s_own_test(study, gan):
    data, files = study.data(gan.experiment), s2_rows.cut(study, "breast_cancer", numeric=True, share=0.3, seed=0)
    assert (len(data.train.y), len(data.holdout.y), len(data.test.y)) == (files.rows[0], 0, files.rows[1])
    pd.testing.assert_frame_equal(
        data.frame("test"), pd.read_csv(files.test), check_dtype=False, check_index_type=False, check_names=False
    )
    assert gan.experiment.encoding == "minmax" and data.train.x.min() >= 0 and data.train.x.max() <= 1
    preset = presets()["table_cgan"][1]
    assert gan.experiment.model == dataclasses.replace(preset, steps=4)


def test_states_of_earlier_steps(study, gan):
    first, middle, last = (s2_rows.state_at(study, gan, step) for step in (0, 2, 4))
    for one, other in zip(jax.tree.leaves(last), jax.tree.leaves(gan.state), strict=True):
        np.testing.assert_array_equal(one, other)
    weights = [np.asarray(jax.tree.leaves(state.critic)[0]) for state in (first, middle, last)]
    assert np.abs(weights[0] - weights[1]).max() > 0 and np.abs(weights[1] - weights[2]).max() > 0


def test_synthetic_rows_have_the_classes_of_training(study, gan):
    frame = s2_rows.draw(study, gan, 100, seed=3)
    shares = study.data(gan.experiment).frame("train")["diagnosis"].value_counts(normalize=True)
    for name, share in shares.items():
        assert (frame["diagnosis"] == name).sum() == pytest.approx(100 * share, abs=1)
    pd.testing.assert_frame_equal(frame, s2_rows.draw(study, gan, 100, seed=3))
    assert not frame.equals(s2_rows.draw(study, gan, 100, seed=4))


def blobs(rng, n: int, apart: float) -> Table:
    y = np.arange(n) % 4 == 0
    x = rng.normal(size=(n, 3)) + apart * y[:, None]
    frame = pd.DataFrame(x, columns=list("abc")).assign(y=np.where(y, "yes", "no"))
    kinds = dict.fromkeys("abc", "continuous") | {"y": "categorical"}
    return from_frames({"rows": frame}, kinds, "y")["rows"]


def test_four_classifiers_agree_with_scikit_learn():
    rng = np.random.default_rng(0)
    train, test = blobs(rng, 120, 1.0), blobs(rng, 80, 1.0)
    found = s2_others.four(train, test, 7)
    middle, spread = train.numbers.mean(0), train.numbers.std(0)
    x, tested = (train.numbers - middle) / spread, (test.numbers - middle) / spread
    for name, model in (
        ("logistic regression", LogisticRegression(max_iter=1000)),
        ("random forest", RandomForestClassifier(random_state=7)),
    ):
        answers = model.fit(x, train.codes[:, 0]).predict(tested)
        assert found[name] == pytest.approx(f1_score(test.codes[:, 0], answers, average="macro"), abs=0.02)
    assert found["mean"] == pytest.approx(np.mean([found[name] for name in s2_others.FOUR]))
    # All answers "no", which 60 of 80 rows are: F1 of 2 * .75 / 1.75 for them, 0 for the others.
    alone = s2_others.four(train.take(train.codes[:, 0] == 0), test, 0)
    assert alone["mean"] == pytest.approx(0.5 * 2 * 0.75 / 1.75)


def test_precision_recall_of_the_rarer_class():
    rng = np.random.default_rng(1)
    train, test = blobs(rng, 200, 30.0), blobs(rng, 80, 30.0)
    assert s2_others.precision_recall(train, test, 0) == {"pr_auc": 1.0, "roc_auc": 1.0}
    guess = s2_others.precision_recall(train.take(train.codes[:, 0] == 0), test, 0)
    assert guess == {"pr_auc": pytest.approx(0.25), "roc_auc": pytest.approx(0.5)}


def test_the_candidate_is_chosen_by_its_worse_measure(monkeypatch):
    def found(*values):
        pairs = zip(s2.MEASURES, values, strict=True)
        tstr, trtr = {}, {}
        for measure, (synthetic, real) in pairs:
            tstr[measure], trtr[measure] = {"mean": synthetic}, {"mean": real}
        return {"mean": {"tstr": tstr, "trtr": trtr}}

    judged = {
        "table2": found((0.80, 0.78), (0.60, 0.76)),  # above the ceiling in accuracy, for the larger class
        "fast": found((0.75, 0.78), (0.74, 0.76)),
        "mode": found((0.77, 0.78), (0.72, 0.76)),
    }
    monkeypatch.setattr(s2, "judged_candidate", lambda workspace, config, part, name: judged[name])
    assert s2.worst_gap(judged["table2"]) == pytest.approx(0.16)
    config = dataclasses.replace(TINY, candidates=tuple(judged), all_candidates=("table2", "mode"))
    assert s2.chosen(None, config, "numeric") == "fast" and s2.chosen(None, config, "all") == "mode"
    for part, field in (("numeric", "candidates"), ("all", "all_candidates")):
        with pytest.raises(InputError, match=rf"config\.{field}=slow"):
            s2.chosen(None, dataclasses.replace(TINY, **{field: ("slow",)}), part)


def test_an_interval_and_the_weight_s_correlations():
    values = [0.1, 0.4, 0.3]
    half = stats.t.ppf(0.975, 2) * stats.sem(values)
    assert s2_others.leaf(values) == f"{np.mean(values):.3f} ± {half:.3f} (n=3)"
    assert s2_others.leaf([0.25]) == "0.250"
    found = {"columns": ["age", "fnlwgt", "gain"], "real": [[1, -0.2, 0.9], [-0.2, 1, 0.1], [0.9, 0.1, 1]]}
    assert s2.weight_correlation(found, "real") == "0.200"
    assert s2.weight_correlation({"columns": ["age"], "real": [[1]]}, "real") == ""


@pytest.mark.slow
def test_every_table_comes_out(study):
    """All but the pictures of the rows, which take longest."""
    made = {name: [table for table in make(study, TINY)] for name, make in s2.TABLES.items() if name != "figures"}
    for name, of in made.items():
        assert all(len(row) == len(table.columns) for table in of for row in table.rows), name
    assert made["selection"] == []
    nine, each = made["9"]
    assert [row[0] for row in nine.rows] == ["table_cgan"] and nine.rows[0][1] == ""
    assert [row[0] for row in each.rows] == ["table_cgan", "real rows, as many"]
    # After four steps it knows next to nothing; real rows tell the diagnosis.
    assert float(nine.rows[0][2]) < float(nine.rows[0][3]) and float(nine.rows[0][3]) > 85
    assert [row[1] for row in made["10"][0].rows if row[0] == "all"] == ["independent", "the training rows themselves"]
    copies = [row for row in made["10"][0].rows if row[1] == "the training rows themselves"]
    assert all(float(p) < 0.01 for row in copies for p in row[3:6])
    assert made["6"][0].columns == ("model", "step 0", "step 2", "step 4")
    real, independent = (row for row in made["breast_cancer"][0].rows)
    assert float(real[-1][:5]) > 0.9 > float(independent[-1][:5])
    assert made["fraud"][0].rows[0][1] > made["fraud"][0].rows[1][1]
    for picture in ("figure_6.png", "figure_8_losses.png"):
        assert (study.folder / picture).stat().st_size > 1000


def test_published_figures_stand_beside_the_wcgan(monkeypatch):
    values = {measure: {"values": [0.5, 0.75], "mean": 0.625} for measure in s2.MEASURES}
    of_judges = dict.fromkeys(("tstr", "trtr", "floor", "trts"), values)
    one = {"mean": of_judges, "judges": dict.fromkeys(panel.JUDGES, of_judges), "minutes": 2.0}
    monkeypatch.setattr(s2, "scores", lambda *_: [one])
    config = dataclasses.replace(TINY, models=("table_gan", "table_wcgan"))
    nine, each = s2.utility_tables(None, config, "numeric", "9")
    assert nine.rows[1][:5] == ("table_wcgan", "76.12", "62.50 ± 17.68", "62.50 ± 17.68", "0.00")
    assert nine.rows[0][1] == nine.rows[0][6] == "" and nine.rows[1][6] == "78.25" and each.rows[0][1] == "62.50"


def test_two_numeric_columns_are_needed(study):
    for columns in (("mean radius",), ("mean radius", "diagnosis")):
        with pytest.raises(InputError, match=r"config\.columns=.*two of mean radius, mean texture, "):
            s2.training_steps(study, dataclasses.replace(TINY, columns=columns))


@pytest.mark.slow
def test_pictures(study):
    assert s2.pictures(study, TINY) == []
    for name in ("figure_4", "figure_7", "figure_8", "figure_10", "figure_11", "histograms"):
        assert (study.folder / f"{name}.png").stat().st_size > 1000


def test_settings_to_choose_from_are_there():
    for quick in (False, True):
        settings = reproduce.settings("s2", quick, [])
        for part in s2.PARTS:
            assert set(s2.candidates_of(settings, part)) <= set(s2.CANDIDATES)
