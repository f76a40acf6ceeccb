"""An installed synthjax has every file that the checkout has."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def test_a_build_holds_the_package_and_the_experiments(tmp_path):
    pytest.importorskip("setuptools", reason="setuptools is not installed: an environment made without it")
    build = ["build", f"--build-base={tmp_path}", f"--build-lib={tmp_path / 'lib'}"]
    subprocess.run([sys.executable, "setup.py", "--quiet", *build], cwd=ROOT, check=True, timeout=120)
    beside = {f"{name}/{path}" for name in ("configs", "studies") for path in files_below(ROOT / name)}
    assert files_below(tmp_path / "lib" / "synthjax") == files_below(ROOT / "synthjax") | beside
