"""`launch.eval --render`: the page again from report.json alone, or one line that says why not."""

import json
import re

import in_process
import pytest
import toy_reports

from synthjax.evals import page
from synthjax.evals.report import PROTOCOL_VERSION


def write(path, found):
    path.write_text(json.dumps(found))
    return path


@pytest.mark.parametrize("kind", ["image", "table"])
def test_the_page_stands_beside_its_report_or_in_out(tmp_path, kind):
    found = getattr(toy_reports, kind)()
    path = write(tmp_path / "report.json", found)
    end = in_process.run("eval", f"--render={path}")
    assert end.code == 0 and f"wrote {tmp_path / 'report.html'}: open it in a browser" in end.out
    assert (tmp_path / "report.html").read_text() == page.render(found)
    assert {file.name for file in tmp_path.iterdir()} == {"report.json", "report.html"}
    assert in_process.run("eval", f"--render={path}", f"--out={tmp_path}/a/b").code == 0
    assert (tmp_path / "a" / "b" / "report.html").read_text() == page.render(found)


def damaged(change):
    found = toy_reports.image()
    change(found)
    return json.dumps(found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("no JSON", "holds no report"),
        ("[1, 2]", "holds no report"),
        ('{"figures": []}', "holds no report"),
        ("[" * 100_000, "holds no report"),
        (
            damaged(lambda found: found.update(protocol_version=4)),
            f"of protocol version 4, .* version {PROTOCOL_VERSION}",
        ),
        (damaged(lambda found: found["privacy"].pop("dcr")), "dcr"),
        (damaged(lambda found: found["privacy"]["mia"].update(auc="much")), "auc"),
        (damaged(lambda found: found.update(pictures=None)), "holds no pictures"),
        (damaged(lambda found: found["pictures"].pop("closest")), "closest"),
        (damaged(lambda found: found["utility"]["cnn"]["tstr"]["confusion"].append([1.0])), "the report is damaged"),
    ],
)
def test_a_file_that_cannot_be_drawn_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "report.json"
    if text is not None:
        path.write_text(text)
    end = in_process.run("eval", f"--render={path}")
    assert end.code == 3 and end.line.startswith(f"error: {path}: ")
    assert re.search(message, end.line)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("flag", ["--synthetic=x.npz", "--workdir=runs/a", "--seed=1", "--compare=a", "--fail_if=a>1"])
def test_flags_that_say_what_is_measured_do_not_go_with_it(tmp_path, flag):
    path = write(tmp_path / "report.json", toy_reports.image())
    end = in_process.run("eval", f"--render={path}", flag)
    assert end.code == 1 and f"{flag.split('=')[0]} does not go with --render" in end.line


def test_a_place_that_cannot_be_written_to(tmp_path):
    path = write(tmp_path / "report.json", toy_reports.image())
    (tmp_path / "file").write_text("")
    end = in_process.run("eval", f"--render={path}", f"--out={tmp_path}/file/below")
    assert end.code == 3 and "file/below" in end.line
