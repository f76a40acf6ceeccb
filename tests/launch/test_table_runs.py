"""Tables from a CSV file to a CSV file: training, sampling, conditions, and what is refused."""

import dataclasses
import json
import logging
import re
import shutil
import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from commands import finish
from in_process import launch
from in_process import run as run_launcher
from shop import draw, experiment, read

import synthjax
from synthjax.data import writers
from synthjax.data.requests import Job
from synthjax.errors import InputError, Preempted
from synthjax.launch import runs, sample, synthesize, train
from synthjax.models import smote, table_gan

KINDS = ["id", "integer", "continuous", "datetime", "categorical", "boolean", "text", "constant", "boolean"]


@pytest.fixture(scope="module")
def folder(shop_folder) -> Path:
    return shop_folder


@pytest.fixture(scope="module")
def run(shop_run) -> Path:
    return shop_run


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- training -----------------------------------------------------------------------------------------------------


def test_a_run_keeps_the_encoder_of_its_table(folder, run):
    found = runs.data(experiment(folder))
    assert [field.kind for field in found.table.schema.fields] == KINDS
    assert runs.encoder(run) == found.encoder
    assert runs.read(run)[0] == experiment(folder)
    assert (run / "loss.png").read_bytes().startswith(b"\x89PNG") and not (run / "samples").exists()


@pytest.mark.parametrize("change", ["a value", "gone"])
def test_an_encoder_that_is_not_the_checkpoints_draws_nothing(run, tmp_path, change):
    """Rows would have another value, or none, and nobody would know."""
    copy = shutil.copytree(run, tmp_path / "run")
    path = copy / "encoder.json"
    if change == "gone":
        path.unlink()
    else:
        assert '"Bath"' in path.read_text()
        path.write_text(path.read_text().replace('"Bath"', '"Bonn"'))
    done = launch(tmp_path, "--workdir=run", "--rows=5", "--out=drawn.csv", name="sample")
    (line,) = done.err.splitlines()
    state = "is missing" if change == "gone" else "has changed"
    assert done.code == 6 and re.match(rf"error: .*run/encoder.json: {state} since checkpoint \d+ was saved", line)
    assert not list(tmp_path.glob("drawn*"))


def test_rows_are_drawn_as_precisely_as_the_run_was_trained(folder, run, monkeypatch):
    low = folder / "low"
    shutil.copytree(run, low)
    config = json.loads((low / "config.json").read_text()) | {"precision": "bfloat16"}
    (low / "config.json").write_text(json.dumps(config))
    seen = []
    monkeypatch.setattr(sample, "fulfil", lambda *_, **__: seen.append(jax.config.jax_default_matmul_precision))
    for place in (run, low):
        synthesize.draw(place, place / "rows.csv", 40, 0)
    assert seen == [jax.config.jax_default_matmul_precision, "bfloat16"]


def test_what_was_found_is_said_before_training(folder):
    lines = runs.data(experiment(folder)).table.description.report().splitlines()
    assert lines[0] == "216 training rows, 9 columns, target churned; min_count=5"
    assert [line.split()[1] for line in lines[2:11]] == KINDS
    assert "are encoded as" in lines[-1] and "takes about" in lines[-1]


def test_a_run_goes_on_from_a_checkpoint_to_the_same_model(folder, run, capsys):
    again = folder / "again"
    shutil.copytree(run, again)
    shutil.rmtree(again / "checkpoints" / "3")
    chosen = experiment(folder)
    train.run(chosen, runs.data(chosen), again)
    assert "continuing from step 2" in capsys.readouterr().out
    states = [synthjax.load(place).state for place in (run, again)]
    assert sample.state_sha256(states[0]) == sample.state_sha256(states[1])


def test_a_model_that_keeps_all_rows_comes_back(folder):
    chosen = experiment(folder, "smote", smote.Config(batch_size=50))
    found = runs.data(chosen)
    train.run(chosen, found, folder / "smote")
    _, state, _ = synthjax.load(folder / "smote")
    assert len(state.x) >= len(found.train.x) == 216


def test_another_encoder_is_refused(folder, run, tmp_path):
    chosen, found = experiment(folder), runs.data(experiment(folder))
    runs.begin(tmp_path, chosen, found)
    path = tmp_path / "encoder.json"
    values = json.loads(path.read_text())
    values["schema"]["fields"][3]["format"] = "%m/%d/%Y"
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"belongs to another run \(columns of data set shop: are read in another way"):
        runs.begin(tmp_path, chosen, found)
    path.write_text('{"schema": ')
    with pytest.raises(InputError, match=r"encoder.json: cannot be read"):
        runs.begin(tmp_path, chosen, found)
    path.unlink()
    with pytest.raises(InputError, match=r"encoder.json: is missing; the folder holds no run on a table"):
        runs.encoder(tmp_path)


def test_the_fields_of_an_experiment_reach_the_table(folder, tmp_path):
    (tmp_path / "schema.yaml").write_text("columns:\n  age: {kind: categorical}\n")
    fields = {"schema": str(tmp_path / "schema.yaml"), "encoding": "minmax", "min_count": 2, "target": "member"}
    frame = pd.read_csv(folder / "shop.csv").dropna(subset=["member"])
    frame.to_csv(tmp_path / "shop.csv", index=False)
    found = runs.data(experiment(tmp_path, **fields))
    schema = found.table.schema
    assert (schema["age"].kind, schema.min_count, schema.target) == ("categorical", 2, "member")
    assert next(c.encoding for c in found.encoder.codings if c.name == "spent") == "minmax"


def test_a_model_may_ask_for_an_encoding_of_its_own(folder):
    @dataclasses.dataclass(frozen=True)
    class Config:
        encoding: str = "mode"

    def of_spent(**fields):
        found = runs.data(experiment(folder, model=Config(), **fields))
        return next(c.encoding for c in found.encoder.codings if c.name == "spent")

    assert of_spent() == "mode" and of_spent(encoding="minmax") == "minmax"
    assert runs.data(experiment(folder)).encoder.codings[1].encoding == "quantile"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"target": "churnd"}, r"shop.csv: target 'churnd' is not a column; did you mean churned\?"),
        ({"schema": "nowhere.yaml"}, "nowhere.yaml: no such file"),
        ({"encoding": "quantil"}, "encoding=quantil: unknown; there are minmax"),
        ({"min_count": 0}, "min_count=0: at least 1"),
        (
            {"dataset": "digits", "target": None, "encoding": "mode"},
            "encoding=mode: is for tables; digits holds images",
        ),
        ({"dataset": "digits", "target": None, "min_count": 3}, "min_count=3: is for tables; digits holds images"),
        ({"dataset": "digits"}, "target=churned: is for tables; digits holds images"),
    ],
)
def test_what_cannot_be_said_of_a_table_is_refused(folder, fields, message):
    with pytest.raises(InputError, match=message):
        runs.data(dataclasses.replace(experiment(folder), **fields))


@pytest.mark.parametrize("text", ["columns: [", "age: integer", "columns:\n  age: {kind: number}\n"])
def test_a_bad_schema_file_is_named(folder, tmp_path, text):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(InputError, match="bad.yaml: ") as error:
        runs.data(experiment(folder, schema=str(tmp_path / "bad.yaml")))
    assert "\n" not in str(error.value)


def test_a_conditional_model_needs_labels(folder):
    chosen = experiment(folder, "table_wcgan", table_gan.Config(hidden=(8,)), target=None)
    with pytest.raises(InputError, match="the data has no labels; take table_wgan"):
        train.run(chosen, runs.data(chosen), folder / "unlabelled")
    assert not (folder / "unlabelled").exists()


# --- sampling -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(run) -> Path:
    """150 rows as CSV and Parquet, in a folder."""
    out = run.parent / "drawn"
    out.mkdir()
    draw(run, out / "set.csv", 150)
    draw(run, out / "set.parquet", 150)
    return out


def test_a_table_comes_out_as_one_went_in(folder, drawn):
    real, made = read(folder / "shop.csv"), read(drawn / "set.csv")
    assert list(made) == [name for name in real if name != "notes"] and len(made) == 150
    assert made.customer_id.str.fullmatch(r"C-\d{5}").all() and made.customer_id.is_unique
    assert not set(made.customer_id) <= set(real.customer_id)
    assert set(made.town) <= {"Ayr", "Bath", "'=Deal", ""} and set(made.member) <= {"true", "false", ""}
    assert made.visited.str.fullmatch(r"(\d\d/\d\d/\d{4})?").all() and (made.country == "UK").all()
    assert made.age.str.fullmatch(r"\d*").all() and made.spent.str.fullmatch(r"\d+(\.\d{1,2})?").all()
    typed = read(drawn / "set.parquet")
    np.testing.assert_array_equal(typed.spent, made.spent.astype(float))
    np.testing.assert_array_equal(typed.town.isna(), made.town == "")
    assert typed.visited.dtype.kind == "M" and list(typed.churned) == list(made.churned)


def test_a_table_is_written_block_by_block(drawn):
    assert [pq.ParquetFile(drawn / "set.parquet").metadata.row_group(i).num_rows for i in range(3)] == [64, 64, 22]


DRAW = """
import re, sys
from pathlib import Path
from synthjax.launch import synthesize
def peak(name, rows):
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    synthesize.draw(Path(sys.argv[1]), Path(sys.argv[2], name), rows, 0)
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
for form in ("csv", "parquet"):
    few = peak("few." + form, 20_000)
    print("beyond", peak("many." + form, 400_000) - few)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux starts a peak of memory anew")
def test_twenty_times_the_rows_take_no_more_memory(run, tmp_path):
    """400,000 rows, 17 MB as CSV and 190 MB in a data frame of text, beyond what 20,000 take; on one device."""
    code, out, err = finish([sys.executable, "-c", DRAW, str(run), str(tmp_path)])
    assert code == 0, err
    assert (tmp_path / "many.csv").stat().st_size > 16_000_000
    beyond = [int(kilobytes) for kilobytes in re.findall(r"beyond (-?\d+)", out)]
    assert len(beyond) == 2 and max(beyond) < 60_000, beyond


def test_the_same_request_gives_the_same_file_also_when_interrupted(run, drawn, tmp_path):
    asked = []
    for name in ("set.csv", "set.parquet"):
        with pytest.raises(Preempted):
            draw(run, tmp_path / name, 150, stop=lambda: asked.append(0) or len(asked) % 2 == 0)
        assert not (tmp_path / name).exists()
        draw(run, tmp_path / name, 150)
    assert len(asked) == 4
    assert tree(tmp_path) == tree(drawn)


def test_a_kill_while_the_file_is_put_together_costs_no_rows(run, drawn, tmp_path, monkeypatch):
    from synthjax.data import readers

    with monkeypatch.context() as patch:
        patch.setattr(readers, "written", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            draw(run, tmp_path / "set.csv", 150)
    with monkeypatch.context() as patch:
        patch.setattr(sample.sampling.Sampler, "__call__", None)
        draw(run, tmp_path / "set.csv", 150)
    assert (tmp_path / "set.csv").read_bytes() == (drawn / "set.csv").read_bytes()


@pytest.mark.parametrize("form", writers.TABLES)
def test_card_and_croissant_name_the_columns(drawn, form):
    card = (drawn / f"set.{form}.card.md").read_text()
    assert "150 rows drawn" in card and "Target: churned." in card and "| visited | datetime | yes |" in card
    assert "notes" not in card and "shape of one example" not in card and f"pd.read_{form}" in card
    croissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed (pip install -e '.[bench]')")
    logging.getLogger("absl").setLevel(logging.ERROR)
    path = drawn / f"set.{form}.croissant.json"
    fields = json.loads(path.read_text())["recordSet"][0]["field"]
    assert {f["name"]: f["dataType"] for f in fields} == {
        "customer_id": "sc:Text",
        "age": "sc:Integer",
        "spent": "sc:Float",
        "visited": "sc:Date",
        "town": "sc:Text",
        "member": "sc:Text",
        "country": "sc:Text",
        "churned": "sc:Text",
    }
    assert not croissant.Dataset(str(path)).metadata.issues.errors


def test_a_table_is_no_folder_of_pictures_and_pictures_are_no_table(run, tmp_path):
    model, _, spec = synthjax.load(run)
    described, dataset = (
        {"name": "m", "config": {}, "member": 0, "step": 1, "sha256": ""},
        {"name": "d", "fingerprint": ""},
    )
    image = dataclasses.replace(spec, kind="image", shape=(4, 4, 1), levels=17, columns=())

    def job(spec, form, name):
        request = sample.make_request(model, spec, (3, 3), described=described, dataset=dataset, form=form)
        return Job(request, tmp_path / name, runs.encoder(run))

    with pytest.raises(InputError, match="format csv: the data are images; use npz, png or parts"):
        job(image, "csv", "a.csv")
    with pytest.raises(InputError, match=r"--out=.*a.txt: the name of a file of format csv ends in .csv"):
        job(spec, "csv", "a.txt")


# --- the commands -------------------------------------------------------------------------------------------------


def test_the_commands_from_csv_to_csv(folder):
    """With the study's conditional GAN, whose sampler is asked for the label."""
    flags = ["--dataset=shop.csv", "--model=table_wcgan", "--steps=2", "--batch_size=32", "--config.model.hidden=8"]
    flags += ["--workdir=gan", "--target=churned", "--min_count=4", "--encoding=minmax"]
    done = run_launcher("train", *flags, folder=folder, devices=4)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "216 training rows, 9 columns, target churned; min_count=4"
    assert any(line.startswith("table_wcgan on shop: 216 rows of 9 columns, 2 classes (24 held out") for line in lines)
    assert runs.read(folder / "gan")[0].encoding == "minmax"
    done = launch(folder, "--workdir=gan", "--rows=90", "--where=churned=yes", name="sample")
    assert done.code == 0, done.err
    found = read(folder / "gan" / "synthetic.csv")
    assert len(found) == 90 and (found.churned == "yes").all()
    done = launch(folder, "--workdir=gan", "--top_up", name="sample")
    assert done.code == 0, done.err
    lacking = np.bincount(runs.trained_on(folder / "gan", str(folder)).train.y)
    assert len(read(folder / "gan" / "top_up.csv")) == lacking.max() - lacking.min()


def test_one_command_from_a_table_to_a_table(folder, small_look):
    flags = ["--table=shop.csv", "--target=churned", "--out=made", "--rows=80", "--config.checkpoint_every=2"]
    flags += ["--level=look", "--model=mixture"]
    flags += [f"--config.model.{name}" for name in ("components=3", "bins=16", "batch_size=64", "steps=3")]
    done = launch(folder, *flags, name="synthesize")
    assert done.code == 0, done.err
    made = read(folder / "made" / "synthetic.csv")
    assert len(made) == 80 and runs.read(folder / "made")[0].name == "mixture"
    assert runs.read(folder / "made")[0].rules
    lines = done.out.splitlines()
    first = lines.index("made/synthetic.csv, its first rows:")
    assert lines[first + 1].split() == list(made) and lines[first + 20].split()[0] == made.customer_id[18]
    assert any(line.startswith("the synthetic table: made/synthetic.csv") for line in lines[first + 21 :])
    before = (folder / "made" / "synthetic.csv").stat().st_mtime_ns
    again = launch(folder, *flags, name="synthesize")
    assert again.code == 0 and "continuing from step 3" in again.out
    assert (folder / "made" / "synthetic.csv").stat().st_mtime_ns == before


def test_what_is_shown_of_a_table_cannot_command_a_terminal(tmp_path):
    pd.DataFrame({"a\x1b[2J": ["x\ty\x1b[31m", None]}).to_csv(tmp_path / "a.csv", index=False)
    assert "\x1b" not in synthesize.look(tmp_path / "a.csv")
