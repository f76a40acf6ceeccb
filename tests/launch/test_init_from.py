"""`--init_from` and `--freeze` as their users give them."""

import dataclasses
import json
import re

import jax
import numpy as np
import pandas as pd
import pytest
from in_process import run

import synthjax
from synthjax.errors import InputError
from synthjax.launch import initial_weights, runs
from synthjax.model import DataSpec

SMALL = ("--model=vae", "--batch_size=16", "--config.model.channels=()", "--config.model.hidden=16",
         "--config.model.latents=2", "--config.model.warmup=0", "--config.sample_every=0")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two sets of images of one shape, and a run on the first."""
    folder = tmp_path_factory.mktemp("tuning")
    for seed, name in enumerate(("first", "second")):
        x = np.random.default_rng(seed).integers(256, size=(200, 8, 8, 1), dtype=np.uint8)
        np.savez(folder / f"{name}.npz", x=x, y=np.arange(200, dtype=np.int32) % 10)
    done = run("train", *SMALL, "--steps=20", f"--dataset={folder}/first.npz", f"--workdir={folder}/first")
    assert done.code == 0, done.err
    return folder


def difference(a, b) -> float:
    return max(
        float(np.abs(np.asarray(x) - np.asarray(y)).max()) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    )


def test_a_run_starts_from_the_weights_of_another_and_leaves_frozen_parts(folder):
    flags = (f"--dataset={folder}/second.npz", f"--workdir={folder}/second", f"--init_from={folder}/first")
    done = run("train", *SMALL, "--steps=3", *flags, "--freeze=encoder")
    assert done.code == 0, done.err
    before, after = (synthjax.load(folder / name).state.params for name in ("first", "second"))
    assert difference(before["encoder"], after["encoder"]) == 0
    rates = [
        json.loads(line).get("learning_rate", 0) for line in (folder / "second/metrics.jsonl").read_text().splitlines()
    ]
    # Adam's steps are at most about the rate long; a fresh network would be far away.
    assert 0 < difference(before["decoder"], after["decoder"]) < 10 * 3 * max(rates)


FROM = "--init_from={folder}/first"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--init_from=nowhere"], "nowhere: no run lies there"),
        ([FROM, "--config.model.hidden=8"], "init_from={folder}/first: its params/decoder/"),
        ([FROM, "--config.model.hidden=8,8"], "init_from={folder}/first: is a run of another model"),
        ([FROM, "--freeze=encoders"], "freeze=encoders: no weight has this name in its path; there"),
        ([FROM, "--model=ddpm", "--config.model.width=16"], "is a run of vae, not of ddpm"),
        (["--freeze=encoder"], "error: freeze=encoder: goes with --init_from, whose weights it keeps"),
        ([FROM, "--freeze=params"], "error: freeze=params: leaves no weight to train; freeze fewer of them"),
        (
            [FROM, "--image_size=9x10"],
            "first: was trained on images of 8x8x1 (height x width x channels), and these are of 9x10x1",
        ),
    ],
)
def test_what_does_not_fit_is_one_line_before_training(folder, flags, message):
    flags = [flag.format(folder=folder) for flag in flags]
    own = SMALL if not any("ddpm" in flag for flag in flags) else ()
    done = run("train", *own, "--steps=3", f"--dataset={folder}/second.npz", f"--workdir={folder}/third", *flags)
    assert done.code == 3
    assert message.format(folder=folder) in done.line
    assert not (folder / "third").exists()


TABLE = ("--model=table_vae", "--target=churned", "--steps=2", "--batch_size=16", "--config.model.hidden=8",
         "--config.model.latents=2")  # fmt: skip


def shop(n: int = 120) -> pd.DataFrame:
    """A table whose categories have a fixed order."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "age": rng.permutation(n),
            "town": rng.permutation(["Ayr"] * (n // 2) + ["Bath"] * (n // 3) + ["Deal"] * (n - n // 2 - n // 3)),
            "churned": rng.permutation(["no"] * (n - n // 3) + ["yes"] * (n // 3)),
        }
    )


@pytest.fixture(scope="module")
def shops(tmp_path_factory):
    """A table, and a run on it."""
    folder = tmp_path_factory.mktemp("shops")
    shop().to_csv(folder / "shop.csv", index=False)
    done = run("train", *TABLE, f"--dataset={folder}/shop.csv", f"--workdir={folder}/run")
    assert done.code == 0, done.err
    return folder


def tuned(shops, frame, workdir):
    """Fine-tuning of the run on another table."""
    frame.to_csv(workdir / "other.csv", index=False)
    flags = (f"--dataset={workdir}/other.csv", f"--workdir={workdir}/tuned", f"--init_from={shops}/run")
    return run("train", *TABLE, *flags)


def begun(shops, table, schema=None):
    """How far the initial weights of fine-tuning on another table are from those of the run."""
    trained = synthjax.load(shops / "run")
    chosen = dataclasses.replace(trained.config, dataset=str(table), init_from=str(shops / "run"), schema=schema)
    more = runs.data(chosen)
    model = initial_weights.prepared(chosen, runs.build(chosen, more.spec), more)
    return difference(model.init(jax.random.key(1)).params, trained.state.params)


def test_more_rows_of_the_same_table_are_taken(shops, tmp_path):
    shop(180).to_csv(tmp_path / "more.csv", index=False)
    assert begun(shops, tmp_path / "more.csv") == 0


def test_categories_of_another_order_are_put_into_that_of_the_run(shops, tmp_path):
    shop().replace({"town": {"Ayr": "Deal", "Deal": "Ayr"}}).to_csv(tmp_path / "turned.csv", index=False)
    line = 'town: {categories: ["Ayr", "Bath", "Deal"]}'
    with pytest.raises(InputError, match=re.escape(f"categories of town in another order; put `{line}` into")):
        begun(shops, tmp_path / "turned.csv")
    (tmp_path / "schema.yaml").write_text(f"columns:\n  {line}\n")
    assert begun(shops, tmp_path / "turned.csv", str(tmp_path / "schema.yaml")) == 0


def renamed(**names):
    return lambda frame: frame.rename(columns=names)


OTHERS = {
    "a name": (renamed(town="city"), "its column 2 is town (onehot, 3 values), here it is city (onehot, 3 values)"),
    "an order": (lambda f: f[["town", "age", "churned"]], r"its column 1 is age (continuous, 1 values), here it is t"),
    "a kind": (lambda f: f.assign(age=[*"ab" * 60]), "its column 1 is age (continuous, 1 values), here it is age (one"),
    "a size": (lambda f: f.assign(town=[*"ab" * 60]), "town (onehot, 3 values), here it is town (onehot, 2 values)"),
    "a gap": (lambda f: f.replace({"town": {"Deal": None}}), "here it is town (onehot, 3 values, with missing values)"),
    "no column": (lambda f: f[["age", "churned"]], "its column 2 is town (onehot, 3 values), here it is churned"),
    "one more": (lambda f: f.assign(paid=[*"ab" * 60]), "its column 4 is missing, here it is paid (onehot, 2 values)"),
    "a category": (lambda f: f.replace("Deal", "Dean"), "'Deal' is in column town there and not here"),
    "a class": (lambda f: f.replace("yes", "yea"), "its class 2 is 'yes', here it is 'yea'"),
}


@pytest.mark.parametrize(("change", "message"), OTHERS.values(), ids=OTHERS.keys())
def test_a_run_on_another_table_is_refused_with_the_first_difference(shops, tmp_path, change, message):
    done = tuned(shops, change(shop()), tmp_path)
    assert done.code == 3
    assert done.line.startswith(f"error: init_from={shops}/run: was trained on another table: ")
    assert message in done.line
    assert not (tmp_path / "tuned").exists()


@pytest.mark.parametrize(
    ("conditional", "found"), [(True, "was trained on 3 classes, and this data has 2"), (False, "")]
)
def test_classes_of_images_may_have_other_names_but_not_another_number(conditional, found):
    x = np.zeros((6, 4, 4, 1), np.uint8)
    three, two = (DataSpec.from_arrays(x, np.arange(6) % count) for count in (3, 2))
    assert initial_weights.difference(three, two, conditional) == found
    named = dataclasses.replace(three, classes=("cat", "dog", "owl"))
    assert initial_weights.difference(three, named, conditional) == ""
    assert initial_weights.difference(three, DataSpec.from_arrays(np.zeros((6, 2), np.float32))).endswith("kind table")
