"""An installed synthjax has every file that the checkout has, and its studies run without one."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from synthjax.launch import reproduce

ROOT = Path(__file__).parents[1]


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A wheel of this checkout, in which nothing is written."""
    pytest.importorskip("setuptools", reason="setuptools is not installed: an environment made without it")
    folder = tmp_path_factory.mktemp("wheel")
    steps = ["egg_info", f"--egg-base={folder}", "build", f"--build-base={folder / 'build'}"]
    steps += ["bdist_wheel", f"--bdist-dir={folder / 'dist'}", f"--dist-dir={folder}"]
    subprocess.run([sys.executable, "setup.py", "--quiet", *steps], cwd=ROOT, check=True, timeout=120)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """The Python of a virtual environment with the wheel, what it needs from this one, and no checkout."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=120)
    (packages,) = folder.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    # Folders that a .pth file names are searched; .pth files in them, such as an editable install's, are not read.
    shared = [path for path in sys.path if path.endswith("-packages")]
    (packages / "shared.pth").write_text("\n".join(shared) + "\n")
    return folder / "bin/python"


def run(python: Path, folder: Path, *words: str, most: int = 300) -> str:
    """Output of a command in that environment, in an empty folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([python, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=most)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_wheel_holds_the_package_its_experiments_and_its_studies(wheel):
    beside = {f"{name}/{path}" for name in ("configs", "studies") for path in files_below(ROOT / name)}
    packed = {name.removeprefix("synthjax/") for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == files_below(ROOT / "synthjax") | beside


def test_studies_are_listed_and_imported_without_the_checkout(python, tmp_path):
    listed = run(python, tmp_path, "-m", "synthjax.launch.reproduce")
    assert [line.split()[0] for line in listed.splitlines()][:-1] == [f"--study={name}" for name in reproduce.STUDIES]
    code = (
        "import sys; from synthjax.launch import reproduce\n"
        "for name in reproduce.STUDIES:\n"
        "    __import__(f'synthjax.studies.{name}')\n"
        "    assert reproduce.settings(name, True, []) != reproduce.settings(name, False, [])\n"
        "print(*{module.__file__ for name, module in sys.modules.items() if name.startswith('synthjax')}, sep='\\n')"
    )
    files = run(python, tmp_path, "-c", code).split()
    assert len(files) > 50 and all(Path(file).is_relative_to(python.parents[1]) for file in files)


@pytest.mark.slow
@pytest.mark.parametrize("study", reproduce.STUDIES)
def test_a_study_runs_whole_without_the_checkout(python, tmp_path, study):
    out = run(python, tmp_path, "-m", "synthjax.launch.reproduce", f"--study={study}", "--quick", most=1800)
    assert out.splitlines()[-1] == f"wrote runs/{study}-quick/tables.md and the pictures beside it"
