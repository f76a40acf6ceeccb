"""Private runs: what is published, what it depends on, what is paid, and what is refused."""

import json
import shutil
import stat

import jax
import jax.numpy as jnp
import jsonschema
import numpy as np
import pandas as pd
import pytest
from in_process import run
from shop import shop

import synthjax
from synthjax.data.private_histograms import Spend
from synthjax.errors import InputError
from synthjax.launch import notes, private, private_checks, publish, runs
from synthjax.launch.config import Experiment, Privacy
from synthjax.model import DataSpec
from synthjax.models import gaussian_mixture, independent, table_ar
from synthjax.privacy import certificate, noise
from synthjax.privacy.ledger import VARIABLE, Ledger

FIT = ["--model=independent", "--dataset=shop.csv", "--target=churned"]

pytestmark = pytest.mark.usefixtures("coarse_accounting")


@pytest.fixture(autouse=True)
def ledgers(tmp_path, monkeypatch):
    """The folder of ledgers, and a working directory with a table."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "ledger"))
    monkeypatch.chdir(tmp_path)
    shop(1500).to_csv(tmp_path / "shop.csv", index=False)
    return tmp_path / "ledger"


def experiment(**dp) -> Experiment:
    fields = {"epsilon": 8.0, **dp}
    return Experiment("independent", independent.Config(), "shop.csv", target="churned", dp=Privacy(**fields))


def names(folder) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_run_publishes_its_model_with_a_certificate(tmp_path, ledgers, monkeypatch):
    traced, drawn = [], noise.discrete_gaussian

    def tracer(key, sigma, shape):
        traced.append((round(sigma, 6), isinstance(key, noise.Key)))
        return drawn(key, sigma, shape)

    monkeypatch.setattr(noise, "discrete_gaussian", tracer)
    end = run("train", *FIT, "--dp.epsilon=8", "--workdir=out")
    assert end.code == 0, end.err
    values = json.loads((tmp_path / "out/publish/certificate.json").read_text())
    jsonschema.validate(values, certificate.schema())
    assert 6 < certificate.verify(values) <= 8
    of_columns = [one for one in values["releases"] if one["mechanism"] == "discrete gaussian"]
    seen = sorted(sigma for sigma, host in traced if host)
    assert seen == sorted(round(one["noise"], 6) for one in of_columns if not one["name"].startswith("counts of"))
    assert {sigma for sigma, host in traced if not host} == {round(of_columns[-1]["noise"], 6)}
    assert of_columns[-1]["count"] == len(runs.encoder("out/internal").codings)
    published = names(tmp_path / "out/publish")
    assert {"certificate.json", "privacy.html", "model/encoder.json", "model/statistics.npz"} <= published
    assert not any("splits" in name or "metrics" in name or "key" in name for name in published)
    assert not (tmp_path / "out/internal/key").exists()
    (account,) = ledgers.glob("*.jsonl")
    events = [line["event"] for line in Ledger(ledgers, account.stem).lines()]
    assert account.stem == "shop" and events == ["fit", "done"]
    frame = synthjax.load("out/publish/model").sample(20)
    assert len(frame) == 20 and set(frame["churned"]) <= {"yes", "no"}
    held = len(np.load("out/internal/splits.npz")["train"])
    about = json.loads((tmp_path / "out/internal/data.json").read_text())["spec"]["rows"]
    if held != about:  # which is noisy
        assert f"{held:,} rows" not in end.out and f"{held}" not in json.dumps(values)
    assert run("train", *FIT, "--dp.epsilon=8", "--workdir=out").line == (
        "error: out: is finished, and its key destroyed: it cannot go on; a new run needs a new folder"
    )
    real = runs.trained_on("out/internal")  # without the key
    assert real.fingerprint == runs.read("out/internal")[1]["fingerprint"]
    assert len(real.train.y) == held


def test_synthesize_publishes_rows_whose_card_cites_epsilon(tmp_path, monkeypatch):
    monkeypatch.setattr("synthjax.launch.evaluate.run", lambda *args, **more: None)
    end = run("synthesize", "--table=shop.csv", "--target=churned", "--model=independent", "--epsilon=8", "--out=out")
    assert end.code == 0, end.err
    folder = tmp_path / "out/publish"
    rows = pd.read_csv(folder / "synthetic.csv")
    data = json.loads((folder / "model/data.json").read_text())
    assert len(rows) == data["spec"]["rows"] and "notes" not in rows
    for name in ("synthetic.csv.card.md", "synthetic.csv.croissant.json"):
        text = (folder / name).read_text()
        assert "epsilon 8, delta 1e-06" in text and "Not differentially private" not in text
    listed = json.loads((folder / "certificate.json").read_text())["files"]
    assert {name.split("/")[0] for name in names(folder)} == {name.rstrip("/") for name in listed}
    assert "its first rows:" in end.out and "the key of the noise is destroyed" in end.out
    real = pd.read_csv("shop.csv")
    assert not set(rows["customer_id"].astype(str)) & set(real["customer_id"])


def test_equal_flags_draw_other_noise(tmp_path):
    for out in ("one", "two"):
        assert run("train", *FIT, "--dp.epsilon=8", f"--workdir={out}").code == 0
    one, two = (json.loads((tmp_path / out / "internal/data.json").read_text()) for out in ("one", "two"))
    assert one["fingerprint"] != two["fingerprint"]
    assert Ledger(tmp_path / "ledger", "shop").spent().fits == 2


def hidden(monkeypatch):
    """Noise that hides everything: counts that depend on names and shapes alone."""

    def noisy(name, counts, share):
        rng = np.random.default_rng([*name.encode(), len(counts)])
        return rng.integers(0, 9, len(counts)) + 400 * (np.arange(len(counts)) % 5 == 1) + 900 * (name == "rows")

    def spend(self):
        return Spend(noisy, lambda share: 3.0, lambda name, sigma, n: 10**9)

    monkeypatch.setattr(private.Session, "spend", spend)
    real = private.Counts.__call__

    def ones(self, key, exact, sensitivity, share=1.0):
        real(self, key, exact, sensitivity, share)  # which notes the release
        return jnp.ones_like(exact)

    monkeypatch.setattr(private.Counts, "__call__", ones)
    monkeypatch.setattr(
        "synthjax.launch.publish.certified", lambda *args: {"statement": "", "attacker": {"in words": ""}}
    )
    monkeypatch.setattr("synthjax.privacy.certificate.page", lambda values: "")


def test_publish_depends_on_the_rows_through_releases_alone(tmp_path, monkeypatch):
    """Two data sets without a row in common, and releases that hide both: the same bytes."""
    hidden(monkeypatch)
    monkeypatch.setattr("synthjax.launch.evaluate.run", lambda *args, **more: None)
    (tmp_path / "s.yaml").write_text(
        "public: true\ncolumns:\n  churned: {categories: ['yes', 'no']}\n  town: {kind: text}\n"
    )
    found = []
    for seed, n in ((0, 300), (1, 700)):
        shop(n, seed).assign(spent=lambda f, s=seed: f["spent"] * (1 + 90 * s)).to_csv("shop.csv", index=False)
        words = ["--table=shop.csv", "--target=churned", "--model=independent", "--schema=s.yaml", "--rows=50"]
        end = run("synthesize", *words, "--epsilon=8", "--out=out")
        assert end.code == 0, end.err
        folder = tmp_path / "out/publish"
        kept = names(folder) - {name for name in names(folder) if "checkpoints/" in name}
        found.append({name: (folder / name).read_bytes() for name in kept})
        shutil.rmtree("out")
    assert found[0].keys() == found[1].keys() and "synthetic.csv" in found[0] and "model/data.json" in found[0]
    for name, content in found[0].items():
        assert content == found[1][name], name


def test_an_interrupted_run_goes_on_with_the_same_noise_and_pays_once(tmp_path):
    first = private.Session.open(experiment(), tmp_path / "out")
    data = first.data(private_checks.find(experiment()))
    first.build(data.spec)
    key = tmp_path / "out/internal/key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    again = private.Session.open(experiment(), tmp_path / "out")
    other = again.data(private_checks.find(experiment()))
    again.build(other.spec)
    assert again.releases == first.releases and other.fingerprint == data.fingerprint
    assert all(np.array_equal(a, b) for a, b in zip(other.train, data.train, strict=True))
    assert again.ledger.spent().fits == 1
    assert publish.fit(experiment(), set(), tmp_path / "out") is not None


def test_other_rows_never_meet_the_same_noise(tmp_path):
    private.Session.open(experiment(), tmp_path / "out").data(private_checks.find(experiment()))
    shop(1500).iloc[1:].to_csv("shop.csv", index=False)
    with pytest.raises(InputError, match=r"shop.csv: has changed since the run was started"):
        private.Session.open(experiment(), tmp_path / "out").data(private_checks.find(experiment()))


@pytest.mark.parametrize("changed", [{"epsilon": 100.0}, {"delta": 1e-5}, {"encoder": 0.5}])
def test_a_run_goes_on_with_what_was_paid_for_alone(tmp_path, changed):
    """Though it ended before it had a config.json."""
    private.Session.open(experiment(), tmp_path / "out")
    (name, value), *_ = changed.items()
    with pytest.raises(InputError, match=rf"out: belongs to another run \(dp.{name}: .* -> {value}\)"):
        private.Session.open(experiment(**changed), tmp_path / "out")


def test_what_is_for_the_owner_can_be_read_by_nobody_else(tmp_path):
    private.Session.open(experiment(), tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out/internal").stat().st_mode) == 0o700


def test_a_run_whose_key_is_gone_cannot_go_on(tmp_path):
    private.Session.open(experiment(), tmp_path / "out").data(private_checks.find(experiment()))
    (tmp_path / "out/internal/key").unlink()
    with pytest.raises(InputError, match=r"internal/key: is gone, and the run cannot go on without it"):
        private.Session.open(experiment(), tmp_path / "out")


def test_the_ledger_is_written_before_the_key_is_there(tmp_path, monkeypatch):
    def crash(path):
        assert Ledger(tmp_path / "ledger", "shop").spent().fits == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(noise.Key, "create", crash)
    with pytest.raises(KeyboardInterrupt):
        private.Session.open(experiment(), tmp_path / "out")
    assert Ledger(tmp_path / "ledger", "shop").spent().epsilon == 8


def test_a_run_beyond_the_ledger_is_refused(tmp_path):
    private.Session.open(experiment(), tmp_path / "out").data(private_checks.find(experiment()))
    (tmp_path / "ledger/shop.jsonl").unlink()
    with pytest.raises(InputError, match="knows no fit"):
        private.Session.open(experiment(), tmp_path / "out")


def test_a_test_publishes_nothing_and_pays_nothing(tmp_path, ledgers):
    for out in ("one", "two"):
        end = run("train", *FIT, "--dp.epsilon=8", "--dp.test_seed=3", f"--workdir={out}")
        assert end.code == 0 and "nothing is published" in end.out
        assert not (tmp_path / out / "publish").exists()
    assert not ledgers.exists()
    one, two = (json.loads((tmp_path / out / "internal/data.json").read_text()) for out in ("one", "two"))
    assert one == two


def test_the_ledger_command_says_what_was_paid(ledgers):
    assert "has paid nothing so far" in run("ledger", "--table=shop.csv").out
    Ledger(ledgers, "shop").reserve(epsilon=1.0, delta=1e-6, total=3.0, notes={"model": "table_ar", "unit": "row"})
    end = run("ledger", "--table=data/shop.csv")
    assert "1 fits spend epsilon 1 at delta 1e-06 together, of the owner's total of 3" in end.out
    assert "not finished, but counts in full" in end.out and run("ledger").out == end.out
    path = ledgers / "shop.jsonl"
    path.write_text(path.read_text().replace('"epsilon": 1.0', '"epsilon": 0.1'))
    assert run("ledger", "--table=shop.csv").line.endswith("nobody knows what the data set has paid")


EPSILON = "--dp.epsilon=1"
REFUSED = {
    "no epsilon": (["--dp.epsilon=0"], "epsilon=0.0: must be a finite number above 0"),
    "a negative epsilon": (["--dp.epsilon=-1"], "epsilon=-1.0: must be"),
    "no number": (["--dp.epsilon=much"], "--dp.epsilon=much: must be of type float"),
    "too small an epsilon": (["--dp.epsilon=1e-9"], "no table is so large"),
    "no delta": ([EPSILON, "--dp.delta=0"], "delta=0.0: must be above 0"),
    "too large a delta": (["--dp.epsilon=8", "--dp.delta=0.01"], "--dp.delta=0.01: must be below 1 / rows"),
    "a seed": ([EPSILON, "--seed=1"], "--seed: with --dp.epsilon all randomness comes from a secret key"),
    "several seeds": ([EPSILON, "--seeds=2"], "seeds=2: not with --dp.epsilon: each member is a fit of its own"),
    "scores on the holdout": ([EPSILON, "--eval_every=5"], "eval_every=5: not with --dp.epsilon"),
    "stopping": ([EPSILON, "--config.stop=holdout"], "stop=holdout: not with --dp.epsilon"),
    "rules": ([EPSILON, "--config.rules=true"], "rules=True: not with --dp.epsilon"),
    "balanced": ([EPSILON, "--config.feed=balanced"], "feed=balanced: not with --dp.epsilon"),
    "rounded sums": ([EPSILON, "--precision=bfloat16"], "--precision=bfloat16: not with --dp.epsilon"),
    "other weights": ([EPSILON, "--init_from=x"], "init_from=x: not with --dp.epsilon"),
    "a unit that is missing": ([EPSILON, "--dp.unit=customer"], "--dp.unit 'customer' is not a column; did you mean"),
    "SMOTE": ([EPSILON, "--model=smote"], "--model=smote: cannot be trained with --dp.epsilon"),
    "counted categories": (
        [EPSILON, "--model=table_wgan", "--config.model.by_sampling=true"],
        "model.by_sampling counts the categories of training rows",
    ),
    "entries that are not public": ([EPSILON, "--schema=s.yaml"], "its entries must be public knowledge"),
    "no such table": ([EPSILON, "--dataset=nowhere.csv"], "nowhere.csv: no such file"),
    "a bad clip": ([EPSILON, "--model=table_vae", "--config.dp.clip=0"], "clip=0.0: must be"),
    "a bad share": ([EPSILON, "--config.dp.encoder=1"], "dp.encoder=1: a share between 0 and 1"),
    "a data set without a name": ([EPSILON, "--dp.dataset=.."], "--dp.dataset=..: a name with letters"),
    "too small an epsilon for the rows": (["--dp.epsilon=0.001"], "under this epsilon"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_private_is_refused_in_one_line(kind, tmp_path, ledgers):
    """And before anything is paid, unless noisy counts must say so."""
    (tmp_path / "s.yaml").write_text("columns:\n  town: {kind: text}\n")
    words, said = REFUSED[kind]
    end = run("train", *FIT, *words, "--workdir=out")
    assert end.code == 3 and said in end.line, end.err
    assert Ledger(ledgers, "shop").spent().fits == (kind in ("too large a delta", "too small an epsilon for the rows"))


def test_a_used_up_budget_is_refused_in_one_line(ledgers):
    Ledger(ledgers, "mine").reserve(epsilon=1.0, delta=1e-6, total=1.3)
    end = run("train", *FIT, EPSILON, "--dp.dataset=mine", "--workdir=out")
    assert end.code == 3 and "epsilon 1 is spent of the owner's total of 1.3" in end.line
    end = run("synthesize", "--table=shop.csv", "--epsilon=0.4", "--dp.total=9", "--dp.dataset=mine", "--out=out")
    assert end.code == 3 and "--dp.total=9: the owner's total of mine is 1.3" in end.line


def test_a_second_training_is_refused():
    end = run("synthesize", "--table=shop.csv", "--epsilon=1", "--final=all", "--out=out")
    assert end.code == 3 and "--final=all: is a second fit" in end.line


def test_the_report_says_what_epsilon_means():
    assert notes.of_privacy(Privacy()) == ""
    said = notes.of_privacy(Privacy(1.0, unit="person"))
    assert "epsilon 1 and delta 1e-06 for all rows with one value of person" in said
    assert f"finds more than {100 * (0.01 * np.e + 1e-6):.2g} %" in said  # the definition
    assert "protects nothing" in notes.of_privacy(Privacy(1.0, test_seed=3))


def test_training_by_gradients_reports_nothing_of_the_rows(tmp_path):
    tiny = ["--config.model.hidden=4", "--config.model.embedding=2", "--config.model.bins=8", "--config.model.fine=1"]
    words = ["--model=table_ar", "--dataset=shop.csv", "--target=churned", "--steps=6", "--batch_size=100", *tiny]
    end = run("train", *words, "--dp.epsilon=2", "--workdir=out")
    assert end.code == 0, end.err
    values = json.loads((tmp_path / "out/publish/certificate.json").read_text())
    rows = json.loads((tmp_path / "out/publish/model/data.json").read_text())["spec"]["rows"]
    last = values["releases"][-1]
    assert (last["name"], last["count"], last["rate"]) == ("gradients", 6, pytest.approx(100 / rows))
    assert certificate.verify(values) <= 2 and last["noise"] > 0.3 and 0 < last["delta"] < 1e-7
    lines = [json.loads(line) for line in (tmp_path / "out/internal/metrics.jsonl").read_text().splitlines()]
    assert lines and all(line["loss"] == 0 for line in lines)
    run_of, published = (synthjax.load(f"out/{name}") for name in ("internal", "publish/model"))
    same = [np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (run_of.state, published.state)), strict=True)]
    assert not all(same)  # moments of the optimiser are left out
    frames = [one.sample(30, seed=1) for one in (run_of, published)]
    pd.testing.assert_frame_equal(*frames)


def test_settings_for_private_training_give_way_to_those_that_a_person_said():
    chosen = Experiment("table_ar", table_ar.Config(fine=8, bins=64), "shop.csv")
    spec = DataSpec("table", (3,), 0, rows=1200)
    model = private.fitted(chosen, {"model.bins", "model.steps"}, spec).model
    assert (model.bins, model.steps, model.fine) == (64, table_ar.Config().steps, 8)
    assert (model.learning_rate, model.dropout, model.batch_size) == (1e-2, 0.0, 200)
    assert private.fitted(chosen, set(), spec).model.bins == table_ar.PRIVATE["bins"]


def test_models_that_count_have_settings_for_private_training_too():
    chosen = Experiment("gaussian_mixture", gaussian_mixture.Config(components=30), "scans")
    spec = DataSpec("image", (8, 8, 1), 256, rows=1200)
    assert private.fitted(chosen, set(), spec).model == gaussian_mixture.Config(components=5)
    assert private.fitted(chosen, {"model.components"}, spec).model == gaussian_mixture.Config(components=30)
