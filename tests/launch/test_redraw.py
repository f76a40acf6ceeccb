"""Rules that decoding alone cannot keep: rows that break them are drawn again, in files and from Python."""

import json

import in_process
import numpy as np
import pandas as pd
import pytest

import synthjax

N = 400


@pytest.fixture(scope="module", params=["kind == 'x' => low <= high", "low <= 100 => low + high <= -1"])
def trained(request, tmp_path_factory):
    """A run whose rows keep a rule of the schema file, and whether any row of the model can."""
    folder = tmp_path_factory.mktemp("rules")
    rng = np.random.default_rng(0)
    low = rng.integers(0, 50, N)
    frame = pd.DataFrame({"low": low, "high": low + rng.integers(0, 20, N), "kind": rng.choice(["x", "y"], N)})
    frame.to_csv(folder / "rows.csv", index=False)
    (folder / "schema.yaml").write_text(f"rules: [{json.dumps(request.param)}]\n")
    words = f"--dataset={folder}/rows.csv --schema={folder}/schema.yaml --workdir={folder}/run --holdout=0.1"
    end = in_process.run("train", "--model=independent", *words.split())
    assert end.code == 0, end.err
    return folder / "run", "<= -1" not in request.param, end.out


def broken(frame):
    return int(((frame["kind"] == "x") & (frame["low"] > frame["high"])).sum())


def test_rows_that_break_a_rule_are_drawn_again(trained, tmp_path):
    workdir, possible, said = trained
    assert "rules, which synthetic rows keep" in said
    run = synthjax.load(workdir)
    (left,) = run.encoder.plan.left
    assert left in run.encoder.plan.rules and not run.encoder.plan.steps
    end = in_process.run("sample", f"--workdir={workdir}", "--rows=300", f"--out={tmp_path}/a.csv", "--batch_size=100")
    if not possible:
        assert end.code == 3 and left.text in end.line and "exact: false" in end.line
        assert not (tmp_path / "a.csv").exists()
        with pytest.raises(synthjax.errors.InputError, match="exact: false"):
            run.sample(200)
        return
    rows = pd.read_csv(tmp_path / "a.csv")
    assert len(rows) == 300 and broken(rows) == 0 and set(rows["kind"]) == {"x", "y"}
    found = run.sample(300, seed=3)
    assert broken(found) == 0
    pd.testing.assert_frame_equal(found, run.sample(300, seed=3))
    free = ((found["low"] > found["high"]) & (found["kind"] == "y")).sum()
    assert free > 0  # the model itself does not know the rule
