"""Several sets side by side, what of an interrupted evaluation is kept, and the schema of the reports that are made."""

import copy
import dataclasses
import json
import shutil
import subprocess

import jsonschema
import msgspec
import numpy as np
import pytest
from homes import alone, homes

from synthjax import data
from synthjax.errors import InputError, SynthjaxError
from synthjax.evals import report
from synthjax.evals.domains import panel
from synthjax.evals.domains.images import Images, Labelled
from synthjax.evals.domains.tables import Tables
from synthjax.evals.sets import Sets
from synthjax.evals.table import from_frames
from synthjax.launch import compare, eval, evaluate, forecast, parts, provenance, subjects
from synthjax.launch.levels import ImageEffort, TableEffort
from synthjax.launch.subjects import Asked

VALIDATOR = jsonschema.Draft202012Validator(report.schema())
PROTOCOL = {"seed": 0, "seeds": 1, "epochs": 1, "level": "look"}


def errors(values):
    return [f"{list(error.path)}: {error.message[:80]}" for error in VALIDATOR.iter_errors(values)]


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def folder(digits, tmp_path_factory):
    """Two files of digits: a copy of training examples, and other ones with noise, none of them a three."""
    folder = tmp_path_factory.mktemp("sets")
    rng = np.random.default_rng(0)
    x, y = digits.train.x, digits.train.y
    noisy = np.clip(x[300:600] + rng.integers(-3, 4, (300, 8, 8, 1)), 0, 16).astype(np.uint8)
    np.savez(folder / "copy.npz", x=x[:300], y=y[:300])
    others = y[300:600] != 3
    np.savez(folder / "noisy.npz", x=noisy[others], y=y[300:600][others])
    np.savez(folder / "unlabelled.npz", x=noisy)
    return folder


def ask(folder, name):
    return Asked(real="digits", synthetic=str(folder / name))


@pytest.fixture(scope="module")
def compared(folder, small_look):
    asked = Asked(real="digits")

    def judge(way):
        return eval.judge(way, PROTOCOL, None, reuse={"level": "look"})

    found = compare.run([str(folder / n) for n in ("copy.npz", "noisy.npz")], asked, folder / "out", judge)
    return found, judge


def test_two_files_side_by_side(compared, folder):
    found, _ = compared
    assert list(found["sets"]) == ["copy.npz", "noisy.npz"]
    assert json.loads((folder / "out" / "compare.json").read_text()) == found
    for name in ("compare.html", "compare.csv", "compare.tex"):
        assert (folder / "out" / name).stat().st_size > 500
    copies = next(row for row in found["figures"] if row["key"] == "privacy.exact_matches_share")
    assert copies["values"] == {"copy.npz": 1.0, "noisy.npz": 0.0} and copies["best"] == ["noisy.npz"]
    publish = [about["verdicts"][0]["level"] for about in found["sets"].values()]
    assert publish[0] == "poor"
    assert not (folder / "copy-eval" / "parts").exists()  # the report has it all


def test_reports_fit_their_published_schema(compared, folder):
    made = json.loads((folder / "noisy-eval" / "report.json").read_text())
    assert errors(made) == []
    for key, value in (("verdicts", []), ("privacy", None), ("protocol_version", 1), ("fidelity", {})):
        assert errors({**made, key: value}), key
    wrong = copy.deepcopy(made)
    wrong["utility"]["cnn"]["tstr"]["mean"] = 1.5
    assert errors(wrong)
    assert {"report.csv", "report.tex", "report.html"} <= {path.name for path in (folder / "noisy-eval").iterdir()}
    assert len(made["manifest"]["code_sha256"]) == 64 and "optax" in made["manifest"]["versions"]
    assert [check["name"] for check in made["robustness"]["checks"]][-1] == "synthetic images moved, dimmed and noisy"
    assert made["fidelity"]["network"]["examples"] == 200 and made["utility"]["loss"]["n"] == 359


def test_a_class_without_synthetic_examples_is_said_wherever_it_matters(compared, folder):
    made = json.loads((folder / "noisy-eval" / "report.json").read_text())
    assert made["utility"]["n"]["missing_classes"] == ["3"] and made["utility"]["cnn"]["tstr"]["recall"]["3"] == 0
    assert made["manifest"]["notes"][0].startswith("no synthetic example is of class '3' (10.")
    good, lost = made["verdicts"][1:3]
    sentence = "No synthetic example is of class “3”: a classifier trained on this data alone never answers so."
    assert sentence in [one["text"] for one in good["evidence"]] and "no: some classes are missing." in good["answer"]
    assert (
        lost["level"] != "good"
        and lost["answer"].startswith("A class is missing. ")
        and lost["evidence"][0]["text"] == sentence
    )
    page = (folder / "noisy-eval" / "report.html").read_text()
    assert page.count(sentence) == 3 and "<strong>" + sentence in page  # two verdicts, and where usefulness is
    whole = json.loads((folder / "copy-eval" / "report.json").read_text())
    assert whole["utility"]["n"]["missing_classes"] == [] and "missing" not in whole["verdicts"][2]["answer"]


def test_what_was_judged_is_judged_once(compared, folder, monkeypatch):
    _, judge = compared
    monkeypatch.setattr(evaluate, "run", lambda *a, **k: pytest.fail("judged again"))
    asked = Asked(real="digits")
    names = [str(folder / "noisy-eval"), str(folder / "copy.npz"), str(folder / "noisy-eval" / "report.json")]
    found = compare.run(names[:2], asked, folder / "again", judge)
    assert list(found["sets"]) == ["noisy-eval", "copy.npz"]
    subject = subjects.find(ask(folder, "copy.npz"), table=False, seed=0)
    where = (folder / "copy-eval", subject.file, subject.real, None)
    assert parts.finished(*where, {"seeds": 1}) is not None
    assert parts.finished(*where, {"seeds": 3}) is None
    assert parts.finished(*where, {"public": 0}) is not None
    assert parts.finished(*where, {"public": 5}) is None  # said in the manifest's protocol alone
    assert parts.finished(folder / "noisy-eval", *where[1:], {}) is None  # another file's


def test_finished_parts_are_kept_and_reused(digits, compared, folder, tmp_path, monkeypatch, capsys):
    path = tmp_path / "copy.npz"
    shutil.copy(folder / "copy.npz", path)
    subject = subjects.of_images(digits, subjects.read_synthetic(path, digits.spec), path, None)
    given = {name: PROTOCOL[name] for name in ("seed", "seeds", "epochs", "level")}

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(evaluate.privacy, "evaluate", interrupted)
        evaluate.run(subject, tmp_path, **given)
    kept = {file.name for file in (tmp_path / "parts").iterdir()}
    assert kept == {f"{part.name}.json" for part in evaluate.PARTS[:4]} and not (tmp_path / "report.json").exists()
    capsys.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(evaluate.utility, "evaluate", lambda *a, **k: pytest.fail("measured again"))
        found = evaluate.run(subject, tmp_path, **given)
    assert capsys.readouterr().out.count("kept from a run that was interrupted") == 4
    reference = json.loads((folder / "copy-eval" / "report.json").read_text())
    for part in ("utility", "fidelity", "studies", "robustness", "privacy"):
        assert json.loads(json.dumps(msgspec.to_builtins(getattr(found, part)))) == reference[part], part


def test_parts_of_other_settings_and_damaged_ones_are_made_anew(tmp_path):
    calls = []

    def work():
        calls.append(1)
        return {"a": len(calls)}

    assert parts.Parts(tmp_path, {"seed": 0}, ["one"]).part("one", work) == {"a": 1}
    assert parts.Parts(tmp_path, {"seed": 0}, ["one"]).part("one", work) == {"a": 1}
    assert parts.Parts(tmp_path, {"seed": 1}, ["one"]).part("one", work) == {"a": 2}
    (tmp_path / "parts" / "one.json").write_text("{")
    kept = parts.Parts(tmp_path, {"seed": 1}, ["one"])
    assert kept.part("one", work) == {"a": 3} and kept.seconds["one"] >= 0
    assert kept.arrays("piece", lambda: {"a": np.arange(3)})["a"].tolist() == [0, 1, 2]
    again = parts.Parts(tmp_path, {"seed": 1}, ["one"])
    assert again.arrays("piece", lambda: pytest.fail("made again"))["a"].tolist() == [0, 1, 2]
    other = parts.Parts(tmp_path, {"seed": 2}, ["one"])
    assert other.arrays("piece", lambda: {"a": np.zeros(1)})["a"].tolist() == [0]
    (tmp_path / "parts" / "piece.npz").write_bytes(b"PK")
    assert other.arrays("piece", lambda: {"a": np.ones(1)})["a"].tolist() == [1]
    kept.forget()
    assert list(tmp_path.iterdir()) == []


def test_a_set_without_labels_is_judged_by_what_needs_none(folder, small_look):
    found = eval.judge(ask(folder, "unlabelled.npz"), PROTOCOL, None)
    assert found.utility is None and found.fidelity.per_class == {} and found.fidelity.precision > 0.5
    assert errors(json.loads((folder / "unlabelled-eval" / "report.json").read_text())) == []
    page = (folder / "unlabelled-eval" / "report.html").read_text()
    assert "usefulness, its studies and what is said class by class are left out" in page


def test_what_a_model_cost(tmp_path):
    rows = [{"step": 100, "steps_per_second": 50}, {"step": 150, "diversity": 1}, {"step": 200, "steps_per_second": 25}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = subjects.Run(tmp_path, None, {"w": np.zeros((3, 4)), "b": np.zeros(4)}, None, {"name": "toy", "sha256": "a"})
    found = provenance._about_model(run)
    assert found["train_seconds"] == 100 / 50 + 100 / 25 and found["values"] == 16 and found["guarantee"] is None


# --- tables --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(tmp_path_factory, small_look):
    folder = tmp_path_factory.mktemp("tables")
    train = homes(0)
    frames = {"train": train, "test": homes(1, 200), "alone": alone(train), "honest": homes(2, 250)}
    for name, frame in frames.items():
        frame.to_csv(folder / f"{name}.csv", index=False)
    files = {"real": folder / "train.csv", "holdout": folder / "test.csv"}
    asked = Asked(target="sold", **{name: str(file) for name, file in files.items()})

    def judge(way):
        return eval.judge(way, {**PROTOCOL, "epochs": None}, None, reuse={})

    found = compare.run([str(folder / n) for n in ("alone.csv", "honest.csv")], asked, folder / "out", judge)
    return folder, found


def test_tables_are_compared_and_fit_the_schema(table):
    folder, found = table
    made = json.loads((folder / "honest-eval" / "report.json").read_text())
    assert errors(made) == [] and errors({**made, "fidelity": None})
    kept = next(row for row in found["figures"] if row["key"] == "utility.boosting.kept")
    assert kept["best"] == ["honest.csv"] and kept["values"]["alone.csv"] < 0.5
    lost = made["utility"]["loss"]
    assert lost["measure"] == "ROC AUC" and lost["n"] == 200
    auc = {side: made["utility"]["boosting"][side]["roc_auc"]["mean"] for side in ("tstr", "trtr")}
    assert (lost["ours"], lost["real"]) == pytest.approx((auc["tstr"], auc["trtr"]))
    mixed = made["studies"]["mixing"]
    assert mixed[0]["n_synthetic"] == 0 and mixed[-1]["n_synthetic"] <= 250
    assert "noise on the numeric features" in [check["name"] for check in made["robustness"]["checks"]]


def test_full_says_beforehand_how_long_it_takes(monkeypatch):
    """Judges that take 1 s, and 1 ms per row, on 2,000 rows, in trainings that can be counted by hand."""
    clock = [0.0]

    def train(judge, rows, seed):
        clock[0] += 1 + len(rows) / 1_000
        return lambda rows: None

    monkeypatch.setattr(panel, "train_judge", train)
    monkeypatch.setattr(forecast.time, "monotonic", lambda: clock[0])
    kinds = {"size": "continuous", "sold": "categorical"}
    table = from_frames({"a": homes(0, 2_000)[["size", "sold"]]}, kinds, "sold")["a"]
    effort = TableEffort(seeds=1, c2st=0, judges=500, attacked=0, real=100, most=300, filled=0, ranked=200, varied=1)
    sets = Sets(Tables.of(table), table, table, table)
    found = forecast.of_classifiers(sets, effort)
    boosting = 3 * (1 + 2) + 2 * (1 + 0.1) + 2 * (1 + 0.3) + (1 + 2) + sum(1 + 0.1 * (1 + f) for f in (0, 0.5, 1, 2, 4))
    assert found == pytest.approx(boosting + 6 * (3 * (1 + 0.5) + 2 * (1 + 0.2)))
    rare = table.take(np.flatnonzero((table.target() == 0) | (np.arange(2_000) < 100)))
    skewed = dataclasses.replace(sets, train=rare)
    efforts = [dataclasses.replace(effort, filled=filled) for filled in (0, 500)]
    times = [forecast.of_classifiers(skewed, how) for how in efforts]
    assert times[1] - times[0] == pytest.approx(3 * (1 + 0.5))  # three trainings on the filled table at most
    assert (forecast.spell(12), forecast.spell(600), forecast.spell(7_200)) == ("12 seconds", "10 minutes", "2.0 hours")


def test_full_says_so_of_images_too(digits, monkeypatch):
    """Networks that take 1 ms per example and pass, in trainings that can be counted by hand."""
    clock = [0.0]

    def train(key, examples, spec, protocol, seeds):
        clock[0] += len(examples[0]) * seeds * protocol.epochs / 1_000

    monkeypatch.setattr(forecast.classifiers, "train", train)
    monkeypatch.setattr(forecast.time, "monotonic", lambda: clock[0])
    effort = ImageEffort(
        seeds=2, epochs=3, limit=0, trained=100, real=100, steps=5, most=300, filled=900, ranked=0, varied=1,
        network=True,
    )  # fmt: skip
    sets = Sets(Images(digits.spec, 3, 100, 5), digits.train, digits.train, digits.test)
    judged = (3 * 2 + 1 + 2 * 2) * 100 * 3  # three sets by two networks, one changed set, another network on two sets
    curve = 2 * (128 * 5 + 300 * 4)  # a batch is never smaller; five steps, or four passes
    mixed = 128 * 5 + 150 * 5 + 200 * 5 + 300 * 4 + 500 * 4
    assert forecast.of_classifiers(sets, effort) == pytest.approx((judged + curve + mixed) / 1_000)
    y = np.where(digits.train.y < 3, digits.train.y, 0)  # the smallest of three classes is rare
    skewed = dataclasses.replace(sets, train=Labelled(digits.train.x, y))
    filled = 3 * 128 * max(5, 4 * (900 // 128)) / 1_000
    assert forecast.of_classifiers(skewed, effort) == pytest.approx((judged + curve + mixed) / 1_000 + filled)


# --- the command ---------------------------------------------------------------------------------------------------


def test_the_command_line_takes_several_names():
    line = ["eval", "--compare", "a", "b", "--level=look", "--real=digits"]
    assert eval.spread(line) == ["eval", "--compare=a", "--compare=b", "--level=look", "--real=digits"]
    assert eval.spread(["eval", "--level=look", "--compare", "a", "b"])[1:] == [
        "--level=look",
        "--compare=a",
        "--compare=b",
    ]
    assert eval.spread(["eval", "--workdir=runs/a"]) == ["eval", "--workdir=runs/a"]
    assert eval.spread(["eval", "--data_dir", "here", "--compare=a"]) == ["eval", "--data_dir", "here", "--compare=a"]


def test_flags_of_the_other_kind_of_data_are_refused(folder):
    with pytest.raises(SynthjaxError, match="--target: is for tables"):
        eval.judge(ask(folder, "copy.npz")._replace(target="y"), PROTOCOL, None)


def test_columns_are_called_by_what_tells_them_apart():
    assert compare.titles(["runs/a", "runs/b"]) == ["a", "b"]
    assert compare.titles(["x/eval/report.json", "y/eval/report.json"]) == ["x/eval", "y/eval"]


@pytest.mark.parametrize(
    "names, given, message",
    [
        (["a.npz"], {}, "name at least two"),
        (["a.npz", "a.npz"], {}, "named twice"),
        (["a.npz", "b.npz"], {"workdir": "runs/a"}, "--workdir does not go with --compare"),
        (["gone.npz", "b.npz"], {"real": "digits"}, "gone.npz: no such file"),
        (["here", "b.npz"], {}, "here: is no run and no report"),
    ],
)
def test_names_that_cannot_be_compared(names, given, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(SynthjaxError, match=message):
        compare.run(names, Asked(**given), tmp_path / "out", lambda way: pytest.fail("too late"))


@pytest.mark.parametrize(
    "text, message",
    [("{}", "holds no report"), ('{"protocol_version": 2, "manifest": {"kind": "image"}}', "protocol version 2, ")],
)
def test_a_file_that_is_no_report_is_told_before_anything_is_judged(text, message, folder, tmp_path):
    (tmp_path / "a.json").write_text(text)
    names, asked = [str(folder / "copy.npz"), str(tmp_path / "a.json")], Asked(real="digits")
    with pytest.raises(InputError, match=rf"a\.json: .*{message}"):
        compare.run(names, asked, tmp_path / "out", lambda way: pytest.fail("too late"))
    assert not (tmp_path / "out").exists()


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_pages_in_chromium(compared, table, folder, tmp_path):
    """No error in the console, nothing makes a phone scroll sideways, and a page is one file of less than 5 MB."""
    pages = [folder / "out" / "compare.html", folder / "noisy-eval" / "report.html", table[0] / "out" / "compare.html"]
    pages.append(table[0] / "honest-eval" / "report.html")
    probe = "<script>document.body.dataset.wide = document.documentElement.scrollWidth > innerWidth</script></body>"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=400,2400"]
    for number, page in enumerate(pages):
        text = page.read_text()
        assert len(text) < 5_000_000 and "http" not in text.replace("http://www.w3.org", "")
        (tmp_path / f"{number}.html").write_text(text.replace("</body>", probe))
        command = [CHROMIUM, *flags, "--dump-dom", f"--user-data-dir={tmp_path}/profile", f"{tmp_path}/{number}.html"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line], page
        assert 'data-wide="false"' in done.stdout, page
