"""Step times beside another checkout, here the same one."""

import sys
from pathlib import Path

import pytest

from benchmarks import versions


@pytest.mark.slow
def test_two_checkouts_take_turns(monkeypatch, capsys):
    words = [f"--other={Path(versions.ROOT)}", "--models=table_vae", "--rounds=2"]
    monkeypatch.setattr(sys, "argv", ["versions", *words])
    monkeypatch.setattr(versions, "SECONDS", 0.01)
    versions.main()
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0] == "table_vae on breast_cancer"
        and lines[2].split()[0] == "synthjax"
        and lines[3].split()[0] == "other"
    )
    assert float(lines[3].split()[3]) > 0


def test_a_process_that_ends_is_said(tmp_path):
    failed = pytest.raises(RuntimeError, match="its process for no_such_model ended")
    with failed, versions.contender(tmp_path, "no_such_model", "digits", ""):
        pass
