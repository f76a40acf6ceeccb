"""Commands of benchmarks on toy sizes beside closed forms and brute force, and that the pages name flags there are."""

import argparse
import importlib
import inspect
import json
import re
import shlex
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from in_process import launch, run

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks/ is no part of the installed package

from benchmarks import attacks, conv, leaks, likelihood, neighbours, privacy_cost, private_tables
from synthjax.launch import runs
from synthjax.launch.config import Experiment
from synthjax.model import Model
from synthjax.models import ddpm, table_vae, vae

ROOT = Path(__file__).parents[1]
BENCHMARKS = [path for path in sorted((ROOT / "benchmarks").glob("*.py")) if "ArgumentParser(" in path.read_text()]
PAGES = "\n".join(path.read_text() for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *BENCHMARKS])


def call(main, words, monkeypatch):
    """`main` with the words of a command line."""
    monkeypatch.setattr(sys, "argv", [main.__module__, *words])
    main(*([words] if inspect.signature(main).parameters else []))


@pytest.mark.parametrize("name", [path.stem for path in BENCHMARKS])
def test_flags_that_pages_name_are_there(name, monkeypatch):
    class Parsed(Exception):
        pass

    parse = argparse.ArgumentParser.parse_args

    def parse_alone(self, args=None):
        parse(self, args)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_alone)
    main = importlib.import_module(f"benchmarks.{name}").main
    commands = set(re.findall(rf"python -m benchmarks\.{name}((?: [^\s`)#]\S*?)*)(?=[\s`)]|$)", PAGES, re.MULTILINE))
    assert commands, "no page says how it is called"
    for words in commands:
        with pytest.raises(Parsed):
            call(main, shlex.split(words), monkeypatch)
    with pytest.raises(SystemExit):
        call(main, ["--no_such_flag"], monkeypatch)


def test_neighbours_are_those_of_brute_force(monkeypatch, capsys):
    monkeypatch.setattr(neighbours, "TARGETS", 50)
    monkeypatch.setattr(neighbours, "PIXELS", 9)
    queries, targets = (a.astype(float) for a in neighbours.examples(None, 20))
    assert queries.shape == (20, 9) and targets.shape == (50, 9)
    exact = np.sqrt(((queries[:, None] - targets) ** 2).sum(-1)).min(1)
    found = neighbours.nearest

    def seen(queries, targets):
        distances, indices = found(queries, targets)
        np.testing.assert_allclose(distances[:, 0], exact[: len(queries)])
        return distances, indices

    monkeypatch.setattr(neighbours, "nearest", seen)
    call(neighbours.main, ["--queries=20", "--rounds=2"], monkeypatch)
    first, *each = capsys.readouterr().out.splitlines()
    assert first.startswith("20 x 50 x 9, 2 rounds")
    assert [line.partition(": ")[0] for line in each] == ["ours", "scikit-learn, float32", "scikit-learn, float64"]
    for factor in (0.999, 1.001):
        monkeypatch.setattr(neighbours, "nearest", lambda *two, factor=factor: [factor * a for a in found(*two)])
        with pytest.raises(AssertionError, match="Not equal"):
            call(neighbours.main, ["--queries=20", "--rounds=1"], monkeypatch)


SHAPES = [conv.Shape(2, 5, 2, 3, 3), conv.Shape(2, 4, 3, 2, 4, 2), conv.Shape(2, 3, 3, 2, 4, 2, transpose=True)]


def test_forms_of_the_kernel_gradient_are_the_same():
    """By the definition: dw[i, j] = sum over images and places of x moved by (i, j), times g."""
    x, _ = conv.arrays(SHAPES[0])
    g = jax.random.normal(jax.random.key(1), (2, 5, 5, 3))
    padded = np.pad(np.asarray(x, float), ((0, 0), (1, 1), (1, 1), (0, 0)))
    exact = [[np.einsum("nhwc,nhwf->cf", padded[:, i : i + 5, j : j + 5], g) for j in range(3)] for i in range(3)]
    for name, form in conv.KERNEL_GRADIENTS.items():
        np.testing.assert_allclose(form(x, g, ((1, 1), (1, 1))), exact, rtol=1e-4, atol=1e-4, err_msg=name)


def test_convolutions_that_are_timed_are_the_same(monkeypatch, capsys):
    monkeypatch.setattr(conv, "SHAPES", SHAPES)
    seen, scanned = {}, conv.scanned

    def keep(f):
        def run(*args):
            seen.setdefault(str([a.shape for a in args]), []).append(jax.jit(f)(*args))
            return scanned(f)(*args)

        return run

    monkeypatch.setattr(conv, "scanned", keep)
    conv.main(["--repeats=1", "--skip=torch"])
    monkeypatch.setattr(conv, "scanned", scanned)
    first, second = capsys.readouterr().out.split("\n\n")
    heads, *rows = (line[44:].split() for line in first.splitlines())
    assert heads == ["xla", "synthjax"] and [len(row) for row in rows] == [2, 2, 2]
    heads, *rows = (line[44:].split() for line in second.splitlines())
    assert heads == [*conv.KERNEL_GRADIENTS] and [len(row) for row in rows] == [3]
    assert len(seen) == len(SHAPES) + 1
    for shape, found in seen.items():
        for other in found[1:]:
            for a, b in zip(found[0], other, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4, err_msg=shape)
    assert list(conv.passes(SHAPES[2], ("torch", "xla"))) == ["synthjax"]


def test_the_likelihood_of_a_table_is_the_product_of_frequencies(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    for name, rows in (("train", 300), ("test", 130)):
        frame = pd.DataFrame({"colour": rng.choice(["red", "blue"], rows, p=[0.7, 0.3])})
        frame["town"] = rng.choice(["Ayr", "Bath", "Cork"], rows, p=[0.5, 0.2, 0.3])
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    words = ["--model=independent", "--dataset=train.csv", "--config.test=test.csv", "--workdir=run"]
    end = launch(tmp_path, *words)
    assert end.code == 0, end.err
    monkeypatch.chdir(tmp_path)
    call(likelihood.main, ["--workdir=run", "--split=test"], monkeypatch)
    line = capsys.readouterr().out.splitlines()[-1]
    known, judged = runs.data(runs.read("run")[0]).frame("train"), pd.read_csv("test.csv")
    assert len(known) == 270
    exact = -sum(np.log(judged[name].map(known[name].astype(str).value_counts() / 270)) for name in judged)
    mean, error = re.fullmatch(r"run test: (\S+) \+- (\S+) nats \(exact, bins\), n = 130", line).groups()
    np.testing.assert_allclose([float(mean), float(error)], [exact.mean(), exact.std() / 130**0.5], atol=1e-3)


def digits(monkeypatch, name, config, **fields):
    """A run of a model whose log p is the sum of the pixels; its test images (N, 64) in [-1, 1], and options seen."""
    experiment, seen = Experiment(name, config, dataset="digits"), []

    def log_prob(key, state, batch, **options):
        seen.append(options)
        return batch.x.sum((1, 2, 3))

    model = Model(None, None, None, log_prob=log_prob, log_prob_kind="lower bound", **fields)
    data = runs.data(experiment)
    run = types.SimpleNamespace(model=model, config=experiment, spec=data.spec, state=jnp.zeros(()))
    monkeypatch.setattr(likelihood, "load", lambda workdir: run)
    return np.asarray(data.spec.encode(data.test.x), float).reshape(-1, 64), seen


def test_grey_levels_are_told_in_bits_per_dimension(monkeypatch, capsys):
    x, seen = digits(monkeypatch, "ddpm", ddpm.Config(), log_prob_of="grey levels")
    call(likelihood.main, ["--workdir=run", "--split=test", "--limit=130", "--times=7"], monkeypatch)
    bits = -x[:130].sum(1) / 64 / np.log(2)
    told = f"{bits.mean():.3f} +- {bits.std(ddof=1) / 130**0.5:.3f} bits per dimension (lower bound, grey levels)"
    assert capsys.readouterr().out == f"run test: {told}, n = 130\n"
    assert seen == [{"times": 7}]  # one program for both blocks


def test_binary_pixels_are_drawn_once(monkeypatch, capsys):
    x, seen = digits(monkeypatch, "vae", vae.Config(), log_prob_of="binary pixels")
    call(likelihood.main, ["--workdir=run", "--split=test", "--limit=130", "--samples=3"], monkeypatch)
    white = np.random.default_rng(0).random((130, 8, 8, 1)) < ((x[:130] + 1) / 2).reshape(130, 8, 8, 1)
    nats = 64 - 2 * white.sum((1, 2, 3))
    told = f"{nats.mean():.3f} +- {nats.std(ddof=1) / 130**0.5:.3f} nats (lower bound, binary pixels), n = 130"
    assert capsys.readouterr().out == f"run test: {told}\n"
    assert seen == [{"samples": 3}]


@pytest.mark.parametrize(("dataset", "rows"), [("digits", 160), ("breast_cancer", 120)])
def test_leaks_of_a_copying_and_of_an_honest_generator(dataset, rows, monkeypatch, capsys):
    words = [f"--dataset={dataset}", f"--rows={rows}", "--share=0.25", "--seeds=1"]
    call(leaks.main, words, monkeypatch)
    *lines, last = capsys.readouterr().out.splitlines()
    copying, honest = map(json.loads, lines)
    assert [line["copied"] for line in (copying, honest)] == [rows // 4, 0]
    assert [line["exact"]["members"] for line in (copying, honest)] == [0.25, 0]
    assert copying["flagged"] and copying["named"] > 0.5 and "named" not in honest
    assert copying["auc"] > honest["auc"]
    sizes = f"{rows} members, {rows * 3 // 4} others, {rows * 3 // 4} reference, {rows} synthetic"
    assert last == f"{dataset}: {sizes}; honest generators flagged: {int(bool(honest['flagged']))} of 1 seeds"


def test_attacks_on_targets_that_copy_and_that_know_nobody(tmp_path, monkeypatch, capsys):
    """A generator that hands out its members is found by all that look for copies; independent columns by none."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({name: rng.normal(size=400).round(3) for name in "abc"})
    frame.assign(sold=np.where(frame.a + frame.b > 0, "yes", "no")).to_csv(tmp_path / "toy.csv", index=False)
    monkeypatch.setattr(attacks, "GENERATORS", {"independent": ("independent", {})})
    made = attacks.made

    def copying(members, target, generator, seed):
        return members if generator == "copies" else made(members, target, generator, seed)

    monkeypatch.setattr(attacks, "made", copying)
    words = [f"--dataset={tmp_path}/toy.csv", "--target=sold", "--rows=100", "--seeds=2"]
    words += ["--generators=copies,independent"]
    file = tmp_path / "lines.jsonl"
    call(attacks.main, [*words, f"--file={file}"], monkeypatch)
    *lines, last = capsys.readouterr().out.splitlines()
    targets = [json.loads(line) for line in lines if line.startswith("{")]
    assert [(one["generator"], one["seed"]) for one in targets] == [
        (generator, seed) for seed in (0, 1) for generator in ("copies", "independent")
    ]
    copied, honest = (
        [one["attacks"] for one in targets if one["generator"] == name] for name in ("copies", "independent")
    )
    for one in copied:
        assert (
            one["distance"]["auc"] == one["copy"]["tpr1"] == one["copy"]["isolated"] == 1
            and one["ensemble"]["auc"] > 0.95
        )
    assert all(0.35 < one["ensemble"]["auc"] < 0.65 for one in honest)
    means = {name: np.mean([one[name]["auc"] for one in honest]) for name in honest[0]}
    regrets = [1 - np.mean([one["ensemble"]["auc"] for one in copied])]
    regrets += [max(means[name] for name in means if name != "ensemble") - means["ensemble"]]
    assert last == f"median regret of the ensemble over 2 generators: {np.median(regrets):+.3f}"
    monkeypatch.setattr(attacks, "made", None)  # what is in the file is not done again
    call(attacks.main, [*words, f"--file={file}"], monkeypatch)
    assert capsys.readouterr().out.splitlines() == [*lines, last]


# --- what privacy costs -------------------------------------------------------------------------------------------


def test_steps_with_a_private_gradient_are_timed_beside_plain_ones(monkeypatch, capsys):
    monkeypatch.setattr(privacy_cost, "SECONDS", 0.01)
    small = {"table_vae": ("table_vae", table_vae.Config(latents=2, hidden=(8,)))}
    monkeypatch.setattr(privacy_cost, "presets", lambda: small)
    words = ["--models=table_vae", "--dataset=breast_cancer", "--batch=16", "--rounds=2"]
    call(privacy_cost.main, words, monkeypatch)
    head, line = capsys.readouterr().out.splitlines()
    assert head == "breast_cancer, batches of 16: ms/step plain, private, ratio; median (min..max)"
    name, *spreads = re.fullmatch(r"(\w+) +(.+\)) +(.+\)) +(.+\))", line).groups()
    assert name == "table_vae"
    for spread in spreads:
        median, low, high = map(float, re.findall(r"\d+\.\d+", spread))
        assert 0 < low <= median <= high


# --- private tables ----------------------------------------------------------------------------------------------


def test_distance_of_pairs_by_hand():
    train = pd.DataFrame({"a": ["x", "x", "y", None], "n": [1.0, 1.0, 2.0, 2.0]})
    made = pd.DataFrame({"a": ["x", "y", "y", "z"], "n": [1.0, 1.0, 2.0, None]})
    states = [private_tables.codes(rows, train) for rows in (made, train)]
    assert (states[0][:, 0] == [1, 2, 2, 0]).all() and states[0][3, 1] == 0  # what is not known counts as missing
    # (x, 1) 1/4 for 1/2, (y, 1) 1/4 for 0, (y, 2) 1/4 for 1/4, (-, -) 1/4 for 0, (-, 2) 0 for 1/4.
    assert private_tables.distance(*states) == 0.5
    assert private_tables.distance(states[1], states[1]) == 0


def test_private_tables(tmp_path, monkeypatch, capsys):
    """Independent columns of a toy table teach nothing, and their pairs are further from it than test rows' are."""
    rng = np.random.default_rng(0)
    colour = rng.choice(["red", "blue"], 1500)
    size = np.where(colour == "red", rng.integers(0, 5, 1500), rng.integers(3, 9, 1500))
    sold = np.where(rng.uniform(size=1500) < 0.1 + 0.7 * (size > 3), "yes", "no")
    pd.DataFrame({"colour": colour, "size": size, "sold": sold}).to_csv(tmp_path / "toy.csv", index=False)
    monkeypatch.chdir(tmp_path)

    def call_here(command, **_):
        end = run(command[2].removeprefix("synthjax.launch."), *command[3:])
        return types.SimpleNamespace(returncode=end.code, stdout=end.out, stderr=end.err)

    monkeypatch.setattr(private_tables.subprocess, "run", call_here)
    words = ["--table=toy.csv", "--target=sold", "--models=independent", "--epsilon=20", "--seeds=1"]
    private_tables.main([*words, "--flags=--config.model.bins=9"])
    out = capsys.readouterr().out
    real, between = re.search(r"^real: auc (\d\.\d+), tvd of test rows (\d\.\d+)$", out, re.M).groups()
    auc, tvd = re.search(r"^independent, seed 0: auc (\d\.\d+), tvd (\d\.\d+), \d+ s$", out, re.M).groups()
    assert float(real) > 0.8 and float(auc) < 0.75 and float(between) < float(tvd) < 0.5
