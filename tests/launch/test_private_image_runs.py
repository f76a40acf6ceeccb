"""Private training on images: what is published, what is said, and what is refused before anything is paid."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from in_process import run
from PIL import Image

import synthjax
from synthjax.launch import runs
from synthjax.privacy import budget, certificate
from synthjax.privacy.ledger import VARIABLE, Ledger

TINY = ["--config.model.norm=layer", "--config.model.channels=4", "--config.model.rules.n_critic=2"]
WORDS = ["--model=dcgan", "--dataset=scans.npz", "--steps=3", "--batch_size=20", *TINY, "--dp.epsilon=4"]

pytestmark = pytest.mark.usefixtures("coarse_accounting")


def workplace(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Makes it the working directory, with images; the folder of ledgers."""
    patch.setenv(VARIABLE, str(folder / "ledger"))
    patch.chdir(folder)
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (400, 8, 8, 1), np.uint8), rng.integers(0, 2, 400)
    np.savez("scans.npz", x=x, y=y)
    return folder / "ledger"


@pytest.fixture
def ledgers(tmp_path, monkeypatch):
    return workplace(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A working directory with a finished run in out/, and how the run ended."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        workplace(folder, patch)
        yield folder, run("train", *WORDS, "--workdir=out")


def test_a_run_publishes_its_model_with_a_certificate(made):
    tmp_path, end = made
    assert end.code == 0, end.err
    assert "taken as public: the size of the images, 8 x 8 x 1, their 256 grey levels, and the names of" in end.out
    values = json.loads((tmp_path / "out/publish/certificate.json").read_text())
    assert 3 < certificate.verify(values) <= 4
    assert [one["name"] for one in values["releases"]] == ["rows", "classes", "gradients"]
    assert values["releases"][-1]["count"] == 6  # 3 steps of two critic updates
    spent = sum(one["noise"] ** -2 for one in values["releases"][:2])
    assert spent == pytest.approx(0.01 * budget.Budget(4.0, 1e-6).noise ** -2, rel=1e-6)
    assert "names of the classes" in values["public"]
    assert Ledger(tmp_path / "ledger", "scans").spent().fits == 1
    spec = json.loads((tmp_path / "out/publish/model/data.json").read_text())["spec"]
    count = len(runs.splits(tmp_path / "out/internal")["train"])
    assert abs(spec["rows"] - count) < 7 * values["releases"][0]["noise"]
    assert f"about {spec['rows']:,} examples" in end.out and "real" not in end.out
    assert spec["rows"] == count or f"{count} " not in end.out  # the noise may be 0
    images = synthjax.load(tmp_path / "out/publish/model").sample(4, seed=1)
    np.testing.assert_array_equal(images, synthjax.load(tmp_path / "out/internal").sample(4, seed=1))
    assert images.shape == (4, 8, 8, 1) and images.dtype == np.uint8


def test_the_owner_gets_the_splits_of_the_run_back(made, monkeypatch):
    folder, _ = made
    monkeypatch.chdir(folder)
    data, splits = runs.trained_on(folder / "out/internal"), runs.splits(folder / "out/internal")
    stored = np.load("scans.npz")
    for split in ("train", "holdout", "test"):
        np.testing.assert_array_equal(getattr(data, split).x, stored["x"][splits[split]])
        np.testing.assert_array_equal(getattr(data, split).y, stored["y"][splits[split]])


REFUSED = {
    "batch norm": (["--config.model.norm=batch"], "the critic's batch norm couples the examples of a batch"),
    "a model of tables": (["--model=table_vae"], "table"),
    "a model of counts": (["--model=independent"], "table"),
    "no gradients": (["--model=smote"], "models that can are"),
    "a target": (["--target=y"], "--target=y: is for tables; scans.npz holds images"),
    "a unit": (["--dp.unit=y"], "--dp.unit=y: is for tables"),
    "no such images": (["--dataset=other.npz"], "other.npz: no such file"),
    "a size": (["--image_size=0"], "image_size"),
}


def test_images_of_16_bits_are_refused(tmp_path, ledgers):
    """Their grey levels depend on the brightest image of all."""
    for name in "ab":
        (tmp_path / "deep" / name).mkdir(parents=True)
        for i in range(30):
            values = np.random.default_rng(i).integers(0, 4000, (8, 8), np.uint16)
            Image.fromarray(values).save(tmp_path / "deep" / name / f"{i}.png")
    end = run("train", *[w for w in WORDS if "dataset" not in w], "--dataset=deep", "--workdir=out")
    assert end.code == 3 and "deep: images of 16 bits are scaled by the brightest of all" in end.line, end.err
    assert Ledger(ledgers, "deep").spent().fits == 0


def test_a_delta_too_small_for_tables_of_noise_is_refused(ledgers):
    words = ["--model=gaussian_mixture", "--dataset=scans.npz", "--dp.epsilon=20", "--dp.delta=1e-9", "--workdir=out"]
    end = run("train", *words)
    assert end.code == 3 and "--dp.delta=1e-09: too small for --dp.epsilon=20" in end.line, end.err
    assert Ledger(ledgers, "scans").spent().fits == 0


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_private_is_refused_before_anything_is_paid(kind, ledgers):
    words, said = REFUSED[kind]
    given = WORDS if "model" not in kind and kind != "no gradients" else [*WORDS[1:4], WORDS[-1]]
    end = run("train", *[w for w in given if w.split("=")[0] != words[0].split("=")[0]], *words, "--workdir=out")
    assert end.code == 3 and said in end.line, end.err
    assert not ledgers.exists() or Ledger(ledgers, "scans").spent().fits == 0


def test_other_images_never_meet_the_same_noise(ledgers):
    words = ["--model=vae", "--config.model.latents=2", "--config.model.channels=()", "--config.model.hidden=4"]
    words += [*WORDS[1:4], WORDS[-1], "--workdir=out"]
    assert run("train", *words, "--minutes=1e-9").code == 0
    stored = dict(np.load("scans.npz"))
    np.savez("scans.npz", x=stored["x"] ^ 1, y=stored["y"])
    end = run("train", *words)
    assert end.code == 3 and "scans.npz: has changed since the run was started" in end.line


def test_a_mixture_of_gaussians_publishes_what_its_sums_cost(tmp_path, ledgers):
    sizes = [f"--config.model.{name}={n}" for name, n in (("coefficients", 9), ("dimensions", 4), ("components", 2))]
    words = ["--model=gaussian_mixture", "--dataset=scans.npz", *sizes, "--dp.epsilon=4", "--workdir=out"]
    end = run("train", *words)
    assert end.code == 0, end.err
    values = json.loads((tmp_path / "out/publish/certificate.json").read_text())
    jsonschema.validate(values, certificate.schema())
    assert 3.5 < certificate.verify(values) <= 4
    names = [one["name"] for one in values["releases"]]
    assert names[:5] == ["rows", "classes", "mean", "distances", "second moments"] and len(names) == 13
    assert sum(one["share"] for one in values["releases"]) == pytest.approx(1)
    images = synthjax.load("out/publish/model").sample(6, seed=1)
    assert images.shape == (6, 8, 8, 1) and images.std() > 0
