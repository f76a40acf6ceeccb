"""Trips that end before they begin, through the launcher: figure, gate, console, page, and the page again."""

import json

import in_process
import pytest
from toy_trips import planted, trips


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The real trips, others, and somebody's 1,000 trips, of which 570 break a rule."""
    folder = tmp_path_factory.mktemp("trips")
    for name, frame in {"real": trips(0, 400), "unseen": trips(1, 400), "theirs": planted()}.items():
        frame.to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def judged(folder, small_look):
    """How the command ended: a gate holds."""
    files = {"real": "real", "holdout": "unseen", "synthetic": "theirs"}
    asked = [f"--{flag}={folder / name}.csv" for flag, name in files.items()]
    gates = ["--fail_if=rules.broken.mean>0.5", "--fail_if=rules.each.begin < end.synthetic.mean<0.6"]
    return in_process.run("eval", *asked, "--level=look", "--seeds=1", *gates)


def test_the_share_is_the_figure_and_fails_the_gates(judged, folder):
    found = json.loads((folder / "theirs-eval" / "report.json").read_text())["rules"]
    assert found["broken"]["mean"] == 0.57 and found["each"]["begin < end"]["synthetic"]["mean"] == 0.53
    assert judged.code == 4
    assert (
        "rules.broken.mean is 0.57 (gate" in judged.line
        and "rules.each.begin < end.synthetic.mean is 0.53" in judged.line
    )
    assert found["n"] == {"train": 400, "confirm": 200, "real": 200, "synthetic": 1000}
    assert "trip" in found["left_out"]


def test_console_csv_and_page_say_it(judged, folder):
    assert "Does each row make sense?  No: 57.0 % of the rows break a rule that real rows keep." in judged.out
    assert "Row by row: no: 57.0 % of the rows break a rule" in judged.out
    assert "rules,rules.broken.mean,rows that break a rule,0.57," in (folder / "theirs-eval" / "report.csv").read_text()
    page = (folder / "theirs-eval" / "report.html").read_text()
    assert "<code>begin &lt; end</code>" in page and "Synthetic rows that break them" in page
    assert in_process.run("eval", f"--render={folder}/theirs-eval/report.json", f"--out={folder}/again").code == 0
    assert (folder / "again" / "report.html").read_text() == page


def test_rules_of_a_schema_file_are_judged_too(folder, small_look):
    (folder / "mine.yaml").write_text("rules: [seats <= 3]\n")
    files = {"real": "real.csv", "holdout": "unseen.csv", "synthetic": "theirs.csv", "schema": "mine.yaml"}
    asked = [f"--{flag}={folder / name}" for flag, name in files.items()]
    done = in_process.run("eval", *asked, f"--out={folder}/mine", "--level=look", "--seeds=1")
    assert done.code == 0, done.err
    found = json.loads((folder / "mine" / "report.json").read_text())["rules"]["each"]
    assert found["seats <= 3"]["given"] and found["seats <= 3"]["exact"] and not found["begin < end"]["given"]
    assert found["seats <= 3"]["synthetic"]["mean"] == pytest.approx((planted().seats <= 3).mean())
