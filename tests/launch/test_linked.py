"""Linked tables from the command line: keys that hold, dependences that were planted, and what is refused."""

import json

import pandas as pd
import pytest
import yaml
from in_process import run
from linked_shop import TINY, write_accounts, write_shop

KEYS = ("--key=orders.customer_id -> customers.id", "--key=orders.country -> countries.code")
TABLES = ("--table=customers.csv", "--table=orders.csv", "--table=countries.csv")
ACCOUNTS = (
    "--table=accounts.csv",
    "--table=transfers.csv",
    "--key=accounts.opened_by -> accounts.id",
    "--key=transfers.from_id -> accounts.id",
    "--key=transfers.to_id -> accounts.id",
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """Real tables, and the synthetic ones in `made`."""
    folder = tmp_path_factory.mktemp("linked")
    write_shop(folder / "real")
    words = [word.replace("--table=", f"--table={folder}/real/") for word in TABLES]
    made = run("synthesize", *words, *KEYS, "--keep=countries", "--steps=150", *TINY, f"--out={folder}/made")
    assert made.code == 0, made.err
    return folder, made.out


@pytest.fixture(scope="module")
def tables(shop):
    return {name: pd.read_csv(shop[0] / "made" / f"{name}.csv") for name in ("customers", "orders", "countries")}


def test_keys_hold_and_are_new(shop, tables):
    customers, orders = tables["customers"], tables["orders"]
    real = pd.read_csv(shop[0] / "real" / "customers.csv")
    assert customers["id"].is_unique and orders["order_id"].is_unique and not customers["id"].isin(real["id"]).any()
    assert orders["customer_id"].dropna().isin(customers["id"]).all()
    assert orders["country"].isin(["DE", "FR", "IT"]).all() and len(tables["countries"]) == 3
    assert list(orders.columns) == ["order_id", "customer_id", "country", "amount", "bought"]
    assert len(customers) == 173 and list(customers.columns) == list(real.columns)


def test_children_depend_on_their_parents(tables):
    customers, orders = tables["customers"], tables["orders"]
    count = orders["customer_id"].value_counts().reindex(customers["id"]).fillna(0).to_numpy()
    young, old = customers["age"] < 42, customers["age"] > 48
    assert (count[young] == 0).mean() > 0.8 and (count[old] > 0).mean() > 0.8 and count.max() <= 3
    joined = orders.merge(customers, left_on="customer_id", right_on="id")
    assert joined["amount"].corr(joined["age"]) > 0.8
    assert (joined["amount"] - 10 * joined["age"]).abs().median() < 60
    assert orders["customer_id"].isna().mean() == pytest.approx(0.1, abs=0.03)


def test_rules_between_child_and_parent_are_kept(tables):
    joined = tables["orders"].merge(tables["customers"], left_on="customer_id", right_on="id")
    assert (joined["bought"] >= joined["joined"]).all()
    ordered = tables["orders"].dropna(subset=["customer_id"])
    assert all(group.is_monotonic_increasing for _, group in ordered.groupby("customer_id")["bought"])


def test_the_report_and_what_is_printed(shop):
    folder, out = shop
    report = json.loads((folder / "made" / "eval" / "report.json").read_text())
    customers, countries = report["keys"]
    assert customers["checked"] == {"valid": 1, "duplicates": 0, "without": customers["checked"]["without"],
                                    "without_real": pytest.approx(0.1, abs=0.01)}  # fmt: skip
    assert customers["broken"]["synthetic"] == 0 and countries["auc"] is None and countries["checked"]["valid"] == 1
    assert customers["children"]["unseen"] > 0 and customers["cardinality"]["synthetic"] < 0.3
    assert "orders: its rows are drawn for each row of customers" in out and "orders, its first rows:" in out
    described = yaml.safe_load((folder / "made" / "linked.yaml").read_text())
    assert described == {"keys": [key.removeprefix("--key=") for key in KEYS], "keep": ["countries"]}


def test_anybodys_folders_are_judged(shop, tmp_path):
    folder, _ = shop
    words = (f"--real={folder}/real", f"--synthetic={folder}/real", *KEYS, "--keep=countries", f"--out={tmp_path}/eval")
    done = run("eval", *words)
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "eval" / "report.json").read_text())
    assert report["keys"][0]["parents"] == {"train": 192, "unseen": 48, "synthetic": 240}
    assert "100.00% of the synthetic keys" in done.out and (tmp_path / "eval" / "report.html").exists()


def test_two_keys_to_one_table_that_names_itself_and_the_same_seed(tmp_path):
    write_accounts(tmp_path)
    words = (*ACCOUNTS, "--steps=3", *TINY, "--config.rules=false", "--rows=60", "--out=one")
    done = run("synthesize", *words, folder=tmp_path)
    assert done.code == 0, done.err
    accounts, transfers = (pd.read_csv(tmp_path / "one" / f"{name}.csv") for name in ("accounts", "transfers"))
    assert accounts["id"].is_unique and accounts["opened_by"].dropna().isin(accounts["id"]).all()
    assert accounts["opened_by"].isna().any() and accounts["opened_by"].notna().any()
    for name in ("from_id", "to_id"):
        assert transfers[name].isin(accounts["id"]).all()
    assert not transfers.duplicated(["from_id", "to_id"]).any()  # as in the real table
    before = [(tmp_path / "one" / f"{name}.csv").read_bytes() for name in ("accounts", "transfers")]
    assert run("synthesize", *words, folder=tmp_path).code == 0  # trained already: the tables are drawn again
    assert before == [(tmp_path / "one" / f"{name}.csv").read_bytes() for name in ("accounts", "transfers")]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((*TABLES, *KEYS, "--epsilon=1"), "--epsilon: of one table alone; linked tables are not made with"),
        ((*TABLES, *KEYS, "--model=mixture"), "--model=mixture: linked tables are made by table_ar"),
        ((*TABLES, *KEYS, "--target=amount"), "--target: is for one table"),
        ((*TABLES, *KEYS, "--keep=country"), "table 'country' is not there; did you mean countries?"),
        ((*TABLES, KEYS[0]), "countries.csv: no key links it to the other tables"),
        ((*TABLES[:2], "--key=orders.amount -> customers.id"), "row 1, column 'amount'"),
        (("--table=customers.csv", "--table=none.csv", KEYS[0]), "none.csv"),
        (("--table=customers.csv", "--table=customers.csv"), "another table is named customers too"),
        (("--table=orders.csv", "--table=lists.csv"), "--key: no key between orders, lists is sure"),
        ((*TABLES, "--schema=odd.yaml"), "'key': of several tables, a schema file holds keys, keep, order, tables"),
    ],
)
def test_what_cannot_be_made_is_one_line(shop, tmp_path, words, line):
    write_shop(tmp_path)
    (tmp_path / "lists.csv").write_text("a,b\n" + "\n".join(f"x{i},{i % 3}" for i in range(20)))
    (tmp_path / "odd.yaml").write_text("key: [a]\n")
    done = run("synthesize", *words, f"--out={tmp_path}/out", folder=tmp_path)
    assert done.code == 3 and line in done.line and not (tmp_path / "out").exists()


def test_describe_prints_keys_and_writes_those_that_are_sure(shop, tmp_path):
    folder, _ = shop
    done = run("describe", *TABLES[:2], f"--out={tmp_path}/linked.yaml", folder=folder / "real")
    assert done.code == 0 and "orders.customer_id -> customers.id    # all cells are found" in done.out
    described = yaml.safe_load((tmp_path / "linked.yaml").read_text())
    assert described["keys"] == ["orders.customer_id -> customers.id"]
