"""`--init_from` and `--freeze` as their users give them."""

import json

import jax
import numpy as np
import pytest
from in_process import run

import synthjax

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
    ],
)
def test_what_does_not_fit_is_one_line_before_training(folder, flags, message):
    flags = [flag.format(folder=folder) for flag in flags]
    own = SMALL if not any("ddpm" in flag for flag in flags) else ()
    done = run("train", *own, "--steps=3", f"--dataset={folder}/second.npz", f"--workdir={folder}/third", *flags)
    assert done.code == 3
    assert message.format(folder=folder) in done.line
    assert not (folder / "third").exists()
