"""`launch.describe`: what it prints, what it writes, and what it refuses."""

import pytest
import yaml
from in_process import run
from shop import shop


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("describe")
    shop().to_csv(path / "shop.csv", index=False)
    return path


def test_it_prints_and_writes_a_schema(folder):
    done = run("describe", "--table=shop.csv", "--target=churned", "--out=schema.yaml", folder=folder)
    assert done.code == 0, done.err
    assert "customer_id" in done.out and "notes: free text is left out" in done.out
    assert "synthesize --table=shop.csv --target=churned --schema=schema.yaml --out=DIR" in done.out
    written = yaml.safe_load((folder / "schema.yaml").read_text())
    assert written["columns"]["visited"] == {"kind": "datetime", "format": "%d/%m/%Y"}
    again = run("describe", "--table=shop.csv", "--target=churned", "--schema=schema.yaml", folder=folder)
    assert (
        again.code == 0 and again.out.splitlines()[:10] == done.out.splitlines()[:10] and "uncertain" not in again.out
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "--table: name one"),
        (["--table=shop.csv", "--out=shop.csv"], "--out=shop.csv: a name that ends in .yaml is needed"),
        (["--table=shop.csv", "--out=there.yaml"], "--out=there.yaml: is there already; give another name"),
        (["--table=digits"], "digits: not a table"),
        (["--table=none.csv"], "none.csv"),
        (["--table=shop.csv", "--target=churn"], "target 'churn' is not a column; did you mean churned?"),
    ],
)
def test_what_cannot_be_described_is_one_line(folder, words, line):
    (folder / "there.yaml").touch()
    done = run("describe", *words, folder=folder)
    assert done.code == 3 and line in done.line
