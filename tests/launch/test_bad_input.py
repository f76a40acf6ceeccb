"""Whatever is wrong with a command line or a run's folder: one line that names it and the right exit code."""

import json
import shutil

import pytest
from in_process import run

from synthjax.errors import InputError

TRAIN = ["--model=independent", "--dataset=shop.csv", "--target=churned", "--steps=1", "--workdir=new"]


@pytest.fixture
def folder(shop_folder, shop_run, tmp_path, monkeypatch):
    """The working directory: shop.csv, and a copy of a run in run/."""
    shutil.copy(shop_folder / "shop.csv", tmp_path)
    shutil.copytree(shop_run, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    return tmp_path


OWN = ["--synthetic=shop.csv"]
SEED = "must be at least 0 and at most 4294967295"
LINES = {
    "train: a seed of 33 bits": ("train", [*TRAIN, "--seed=4294967296"], 3, f"--seed=4294967296: {SEED}"),
    "train: such a field": ("train", [*TRAIN, "--config.seed=4294967296"], 3, f"--config.seed=4294967296: {SEED}"),
    "train: a seed below 0": ("train", [*TRAIN, "--seed=-1"], 3, f"--seed=-1: {SEED}"),
    "train: a real number": ("train", [*TRAIN, "--seed=1e20"], 3, "--seed=1e20: must be of type int"),
    "train: 400 digits": ("train", [*TRAIN, f"--seed={'9' * 400}"], 3, f"--seed={'9' * 40}...{'9' * 35}: {SEED}"),
    "sample: a seed of 33 bits": ("sample", ["--workdir=run", "--rows=5", "--seed=4294967297"], 3, SEED),
    "sample: a huge seed": ("sample", ["--workdir=run", "--rows=5", f"--seed={10**20 - 1}"], 3, SEED),
    "eval: a seed of 33 bits": ("eval", ["--workdir=run", "--seed=4294967296"], 3, SEED),
    "synthesize: a seed of 33 bits": ("synthesize", ["--table=shop.csv", "--out=x", "--seed=4294967296"], 3, SEED),
    "search: a seed of 33 bits": (
        "search",
        ["--model=table_wcgan", "--dataset=shop.csv", "--seed=4294967296", "--config.model.b1=0|0.5"],
        3,
        SEED,
    ),
    "search: weights of a run": (
        "search",
        ["--model=table_wcgan", "--dataset=shop.csv", "--init_from=run", "--config.model.b1=0|0.5"],
        3,
        "--init_from=run: the trials of a search start from random weights",
    ),
    "reproduce: a seed of 33 bits": ("reproduce", ["--study=s1", "--quick", "--config.seed=4294967296"], 3, SEED),
    "train: minutes that are no number": ("train", [*TRAIN, "--minutes=nan"], 3, "--minutes=nan: must be a finite"),
    "train: an empty workdir": ("train", [*TRAIN, "--workdir="], 3, "--workdir=: is empty"),
    "train: an empty data_dir": ("train", [*TRAIN, "--data_dir="], 3, "--data_dir=: is empty"),
    "synthesize: an empty out": ("synthesize", ["--table=shop.csv", "--out="], 3, "is empty"),
    "sample: an empty out": ("sample", ["--workdir=run", "--rows=5", "--out="], 3, "--out=: is empty"),
    "sample: a folder with a file's suffix": (
        "sample",
        ["--workdir=run", "--rows=5", "--out=x.csv/"],
        3,
        "--out=x.csv/: ends in /",
    ),
    "sample: png into /": ("sample", ["--workdir=run", "--rows=5", "--format=parts", "--out=/"], 3, "--out=/: "),
    "sample: into the folder itself": (
        "sample",
        ["--workdir=run", "--rows=5", "--format=parts", "--out=./"],
        3,
        "--out=./: ",
    ),
    "sample: a name too long": ("sample", ["--workdir=run", "--rows=5", f"--out={'a' * 300}.csv"], 3, "too long"),
    "train: a name too long": ("train", [*TRAIN, f"--workdir={'a' * 300}"], 3, "too long"),
    "eval: a name too long": ("eval", ["--workdir=run", *OWN, f"--out={'a' * 300}"], 3, "too long"),
    "sample: a long condition": ("sample", ["--workdir=run", "--rows=5", f"--where={'a' * 100_000}=1"], 3, "--where"),
    "sample: more than the memory": (
        "sample",
        ["--workdir=run", "--rows=5", "--batch_size=1000000000000"],
        3,
        "--batch_size=1000000000000: ",
    ),
    "train: no such config": ("train", ["--config=no.py"], 3, "--config=no.py: no such file"),
}


@pytest.mark.parametrize("kind", LINES)
def test_a_bad_command_line_is_one_line(kind, folder):
    name, words, code, said = LINES[kind]
    before = sorted(folder.iterdir())
    end = run(name, *words)
    assert (end.code, said in end.line) == (code, True), end.err
    assert len(end.line) < 1100
    assert sorted(folder.iterdir()) == before


CONFIGS = {
    "a syntax error": ("CONFIG = (", "line 1: '(' was never closed"),
    "an exception": ("1 / 0", "ZeroDivisionError: division by zero"),
    "a missing module": ("import nowhere", "No module named 'nowhere'"),
    "an exit": ("import sys; sys.exit(0)", "SystemExit: 0"),
    "a null byte": (b"a = 3\0", "null bytes"),
    "another value": ("CONFIG = 3", "must set CONFIG"),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_config_that_cannot_be_run_is_one_line(kind, folder):
    text, said = CONFIGS[kind]
    (folder / "mine.py").write_bytes(text if isinstance(text, bytes) else text.encode())
    end = run("train", "--config=mine.py", "--workdir=new")
    assert end.code == 3 and end.line.startswith("error: --config=mine.py: ") and said in end.line, end.err


RECORDS = {
    "config.json": ["{}", "[]", "null", '"x"', {"model": "x"}, {"model": None}, {"seeds": "x"}, {"name": []}],
    "data.json": ["{}", "[]", "null", {"spec": {}}, {"spec": None}, {"fingerprint": 3}],
}


@pytest.mark.parametrize(("name", "change"), [(name, change) for name in RECORDS for change in RECORDS[name]])
def test_a_broken_record_of_a_run_is_one_line(name, change, folder):
    file = folder / "run" / name
    text = change if isinstance(change, str) else json.dumps(json.loads(file.read_text()) | change)
    file.write_text(text)
    end = run("sample", "--workdir=run", "--rows=5")
    assert end.code == 3 and end.line.startswith(f"error: run/{name}: "), end.err


def test_a_missing_encoder_is_one_line(folder):
    (folder / "run" / "encoder.json").unlink()
    end = run("sample", "--workdir=run", "--rows=5")
    assert end.code == 6 and "encoder.json: is missing since checkpoint" in end.line, end.err


@pytest.mark.parametrize("line", [b'{"step": 3, "loss\xff": 1}', b"[]", b'{"loss": 1}', b"3"])
def test_metrics_that_cannot_be_read_are_named(line, folder):
    """All but an unfinished last line."""
    from synthjax.train import metrics

    good = b'{"step": 1, "loss": 2.0}'
    (folder / "metrics.jsonl").write_bytes(b"\n".join([good, line, good]))
    with pytest.raises(InputError, match=r"metrics.jsonl: (cannot be read|line 2 is no row)"):
        list(metrics.read(folder))
    (folder / "metrics.jsonl").write_bytes(good + b'\n{"step": 3, "lo')
    assert list(metrics.read(folder)) == [{"step": 1, "loss": 2.0}]


REPORTS = ["[" * 100_000, "NaN", "{}", '{"manifest": 1, "privacy": 1, "protocol_version": 1}']


@pytest.mark.parametrize("text", REPORTS, ids=range(len(REPORTS)))
def test_a_broken_report_is_one_line(text, folder):
    for name in ("a.json", "b.json"):
        (folder / name).write_text(text)
    end = run("eval", "--compare", "a.json", "b.json", "--out=both")
    assert end.code == 3 and "a.json" in end.line, end.err


@pytest.mark.parametrize(("value", "code"), [("1e300", 3), ("9e18", 0)])
def test_a_set_with_a_huge_number_is_refused_in_one_line_or_judged(value, code, folder, small_look):
    rows = (folder / "shop.csv").read_text().splitlines()
    head = rows[0].split(",")
    number = next(i for i, word in enumerate(rows[1].split(",")) if word.replace(".", "").isdigit() and "." in word)
    cells = [row.split(",") for row in rows[1:]]
    cells[0][number] = value
    (folder / "made.csv").write_text("\n".join(map(",".join, [head, *cells])) + "\n")
    words = ["--real=shop.csv", "--holdout=shop.csv", "--synthetic=made.csv", "--level=look", "--seeds=1"]
    end = run("eval", *words)
    assert end.code == code, end.err
    assert not code or f"column '{head[number]}' should hold numbers up to 1e+19, row 0 has 1e+300" in end.line


def test_a_closed_output_is_one_line_and_exit_6(folder, monkeypatch):
    from synthjax.launch import cli

    error = BrokenPipeError(32, "Broken pipe")
    monkeypatch.setattr("os.dup2", lambda *_: 1)
    assert cli.report(error) == 6


def test_a_full_disk_is_exit_6_whoever_says_it(capsys):
    from synthjax.errors import InputError
    from synthjax.launch import cli

    try:
        try:
            raise OSError(28, "No space left on device", "x.csv")
        except OSError as error:
            assert cli.report(error) == 6
            raise InputError("x.csv: cannot be written: No space left on device") from error
    except InputError as error:
        assert cli.report(error) == 6
    assert [line[:12] for line in capsys.readouterr().err.splitlines()] == ["error: x.csv"] * 2


def test_a_lack_of_memory_is_one_line(capsys):
    from synthjax.launch import cli

    assert cli.report(MemoryError("Unable to allocate 8.00 TiB")) == 3
    assert capsys.readouterr().err.startswith("error: out of memory (Unable to allocate 8.00 TiB")
