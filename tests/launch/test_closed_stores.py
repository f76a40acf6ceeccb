"""An object store that refuses everything, or has no client: one line that names the path, from every launcher."""

import pytest
import stores
from in_process import run

RUN, SET, SHOP = "--workdir=gs://closed/run", "gs://closed/set", "--dataset=shop.csv"
INDEPENDENT = ["--model=independent", "--target=churned", "--steps=1"]
COMMANDS = {
    "train: workdir": ["train", *INDEPENDENT, SHOP, RUN],
    "train: dataset": ["train", *INDEPENDENT, "--dataset=gs://closed/shop.csv"],
    "train: data_dir": ["train", *INDEPENDENT, SHOP, "--data_dir=gs://closed/data"],
    "train: schema": ["train", *INDEPENDENT, SHOP, "--schema=gs://closed/shop.yaml"],
    "train: init_from": ["train", "--model=table_vae", SHOP, "--init_from=gs://closed/run"],
    "search: workdir": ["search", "--model=table_vae", SHOP, RUN, "--config.model.learning_rate=1e-4|1e-3"],
    "sample: workdir": ["sample", RUN],
    "sample: workdir and out": ["sample", RUN, "--out=drawn.csv"],
    "sample: out": ["sample", "--workdir=run", "--rows=5", f"--out={SET}.csv"],
    "sample: parts": ["sample", "--workdir=run", "--rows=5", f"--out={SET}", "--format=parts"],
    "eval: workdir": ["eval", RUN],
    "eval: synthetic": ["eval", "--real=shop.csv", "--holdout=shop.csv", f"--synthetic={SET}.csv"],
    "eval: real": ["eval", f"--real={SET}.csv", "--holdout=shop.csv", "--synthetic=shop.csv"],
    "eval: out": ["eval", "--real=shop.csv", "--holdout=shop.csv", "--synthetic=shop.csv", f"--out={SET}"],
    "eval: of a run": ["eval", "--workdir=run", f"--synthetic={SET}.csv"],
    "eval: of images": ["eval", "--real=digits", f"--synthetic={SET}.npz"],
    "eval: folders": ["eval", f"--real={SET}", "--synthetic=gs://closed/made", "--key=orders.shop -> shops.id"],
    "eval: compare": ["eval", "--compare", "gs://closed/run", "run"],
    "eval: render": ["eval", "--render=gs://closed/report.json"],
    "synthesize: table": ["synthesize", "--table=gs://closed/shop.csv", "--out=made"],
    "synthesize: out": ["synthesize", "--table=shop.csv", f"--out={SET}"],
    "synthesize: out, one model": ["synthesize", "--table=shop.csv", "--model=independent", f"--out={SET}"],
    "describe: table": ["describe", "--table=gs://closed/shop.csv"],
    "describe: out": ["describe", "--table=shop.csv", "--out=gs://closed/shop.yaml"],
}


@pytest.fixture
def folder(shop_folder, shop_run, tmp_path, monkeypatch):
    """The working directory: shop.csv, and a run in run/; gs:// is the fake store."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shop.csv").symlink_to(shop_folder / "shop.csv")
    (tmp_path / "run").symlink_to(shop_run)
    stores.use(monkeypatch, tmp_path / "orbax")
    yield tmp_path
    assert not (tmp_path / "gs:").exists()


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_store_that_refuses_is_named(folder, words):
    done = run(*words)
    assert done.code in (3, 6)
    assert "gs://closed/" in done.line and "(403: the caller has no storage" in done.line


@pytest.mark.parametrize("name", ["train: workdir", "sample: workdir", "sample: out", "eval: synthetic", "eval: out"])
def test_a_store_without_a_client_says_how_to_install_it(folder, monkeypatch, name):
    def refuse(self, path):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(stores.Store, "refuse", refuse)
    done = run(*COMMANDS[name])
    assert "gs://closed/" in done.line
    assert done.line.endswith("(Please install gcsfs to access Google Storage); pip install 'synthjax[gs]'")
