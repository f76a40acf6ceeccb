"""Cards and Croissant metadata: checked by the reference reader, and true to the set."""

import json
import logging

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from synthjax import data
from synthjax.data import cards, requests
from synthjax.data.readers import writing
from synthjax.model import DataSpec

SPEC = DataSpec("image", (8, 8, 1), 17, ("cat", "dog|<b>"), (0.5, 0.5))


def write(out, form, labelled=True):
    request = requests.Request(
        spec=SPEC,
        counts=(5, 3) if labelled else (8,),
        labelled=labelled,
        form=form,
        seed=4,
        block=3,
        part_blocks=1 if form == "parts" else 0,
        options={"steps": 25},
        model={"name": "ddpm", "config": {"width": 32}, "member": 0, "step": 900, "sha256": "ab" * 32},
        dataset={"name": "digits", "fingerprint": "cd" * 32},
        software={"jax": "0.10.2", "backend": "cpu"},
    )
    job = requests.Job(request, out)
    job.begin()
    job.run(lambda numbers: (np.full((len(request.labels(b)), 8, 8, 1), 16, np.uint8) for b in numbers))
    job.finish()
    return job


def validate(path):
    """The data set as mlcroissant reads it, which raises on errors; the recommended fields that only a publisher knows
    are all that it may miss."""
    croissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed (pip install -e '.[bench]')")
    logging.getLogger("absl").setLevel(logging.ERROR)
    dataset = croissant.Dataset(str(path))
    missing = {"citeAs", "datePublished", "license"}
    assert not [w for w in dataset.metadata.issues.warnings if not any(f"/{name}" in w for name in missing)]
    return dataset


@pytest.mark.parametrize("form", ["npz", "png", "parts"])
@pytest.mark.parametrize("labelled", [True, False])
def test_croissant_is_valid(tmp_path, form, labelled):
    job = write(tmp_path / "set", form, labelled)
    metadata = validate(job.croissant).metadata
    assert metadata.name == "set"
    assert "Not differentially private" in metadata.description


def test_croissant_context_is_the_standard_one(tmp_path, caplog):
    croissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed (pip install -e '.[bench]')")
    job = write(tmp_path / "set.npz", "npz")
    logging.getLogger("absl").setLevel(logging.WARNING)
    with caplog.at_level(logging.WARNING):
        croissant.Dataset(str(job.croissant))
    assert "citeAs" in caplog.text  # its warnings are seen here
    assert "not standard" not in caplog.text


def test_croissant_readers_iterate_png_folders(tmp_path):
    job = write(tmp_path / "set", "png")
    records = list(validate(job.croissant).records("examples"))
    labels = sorted(record["examples/label"].decode() for record in records)
    assert labels == ["cat"] * 5 + ["dog%7C%3Cb%3E"] * 3
    assert np.asarray(records[0]["examples/image"].convert("L")).min() == 255


def test_croissant_hashes_are_those_of_the_files(tmp_path):
    import hashlib

    job = write(tmp_path / "set.npz", "npz")
    (entry,) = json.loads(job.croissant.read_text())["distribution"]
    assert entry["sha256"] == hashlib.sha256((tmp_path / "set.npz").read_bytes()).hexdigest()
    job = write(tmp_path / "parts", "parts")
    manifest, _ = json.loads(job.croissant.read_text())["distribution"]
    assert manifest["sha256"] == hashlib.sha256((tmp_path / "parts" / "manifest.json").read_bytes()).hexdigest()


@pytest.mark.parametrize("form", ["npz", "png", "parts"])
def test_the_card_says_where_the_set_is_from_and_what_it_is_not_for(tmp_path, form):
    text = write(tmp_path / "set", form).card.read_text()
    for said in (
        "8 examples",
        "`digits`, fingerprint `" + "cd" * 32,
        "`ddpm`",
        "step 900, sha256 of the state `" + "ab" * 32,
        "steps = 25",
        '"width": 32',
        "| 0 | cat | 5 |",
        "8 x 8 x 1",
        "## What it must not be used for",
        "Not differentially private",
        "synthjax.launch.eval",
    ):
        assert said in text, said
    assert "dog\\|&lt;b>" in text  # a class name breaks no table and is no HTML


def test_the_card_of_an_unlabelled_set_shows_no_labels(tmp_path):
    text = write(tmp_path / "set.npz", "npz", labelled=False).card.read_text()
    assert "no labels" in text
    assert 'data["y"]' not in text


def test_the_readers_of_the_card_run(tmp_path, monkeypatch):
    write(tmp_path / "set.npz", "npz")
    code = (tmp_path / "set.npz.card.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code, names)
    assert names["x"].shape == (8, 8, 8, 1)
    assert np.bincount(names["y"]).tolist() == [5, 3]


def test_the_reading_line_of_a_table_keeps_zeros_at_the_front(tmp_path, monkeypatch):
    n = np.arange(120)
    frame = pd.DataFrame(
        {"zip": np.where(n % 2, "02116", "94103"), "phone": [f"00{i * 7919:06d}" for i in n], "age": n % 50, "b": n % 2}
    )
    frame.to_csv(tmp_path / "real.csv", index=False)
    encoder = data.load(str(tmp_path / "real.csv")).encoder
    table = requests.describe_table(encoder)
    request = {"form": "csv", "table": table}
    with writing(tmp_path / "set.csv", encoder.schema) as put:
        put(encoder.rows(np.zeros((5, len(encoder.codings)), np.float32)))
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec("\n".join(cards._reader_lines("set.csv", request)), names)
    read = names["frame"]
    assert read["zip"].isin(["02116", "94103"]).all() and read["phone"].str.len().eq(8).all()
    assert read["age"].dtype == np.int64 and read["b"].dtype == np.int64


def test_pngs_use_the_whole_range_of_grey(tmp_path):
    write(tmp_path / "set", "png")
    assert np.asarray(Image.open(next((tmp_path / "set" / "cat").iterdir()))).max() == 255
