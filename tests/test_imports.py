"""Who may import whom, and what a light import must not bring in."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "synthjax"
STUDIES = ROOT / "studies"
"""Installed as synthjax.studies."""

# What the modules of each part may import of ours; a part may always import itself, but for models, which stand alone.
ALLOWED = {
    "errors": set(),
    "files": {"errors"},
    "statistics": set(),
    "model": {"errors", "statistics"},
    "jit": set(),
    "sampling": {"model", "errors", "jit"},
    "nets": {"nets", "model", "errors", "statistics"},
    "gan_losses": {"model", "errors"},
    "adversarial": {"gan_losses", "model", "errors", "nets.dense_norms", "nets.network", "train.optim"},
    "gibbs": {"gibbs", "nets", "model", "errors", "train.optim"},
    "models": {"model", "errors", "nets", "adversarial", "gan_losses", "gibbs", "train.optim"},
    "rules": {"rules", "errors"},
    "privacy": {"privacy", "model", "errors", "files", "train.optim"},
    "data": {"data", "model", "errors", "files", "rules", "statistics"},
    "train": {"train", "model", "errors", "files", "jit", "data.feed", "sampling"},
    "evals": {"evals", "model", "errors", "files", "jit", "nets", "rules", "train.optim", "privacy.accounting"},
}
# `launch`, the studies and the package's own __init__ put everything together.
UNRESTRICTED = {"launch", "studies", "__init__"}
# The one module of the package that may import studies.
REPRODUCE = "launch/reproduce.py"
# What training and search take from `evals`: scores of the holdout, diversity, pictures of samples and losses.
OF_TRAINING = {"quick_scores", "classifiers", "collapse", "draw", "draw.png", "subsample"}
# Mathematics receives plain values.
FLAGS_AND_CONFIGS = ("absl.flags", "absl.app", "ml_collections")


def imports(path: Path, source: str) -> set[str]:
    """Every module that `source` at `path` imports, at any depth, with `from a import b` as both a and a.b."""
    package = path.relative_to(ROOT).parent.parts
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = [*package[: len(package) - node.level + 1]] if node.level else []
            base = ".".join([*parts, *([node.module] if node.module else [])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def part_of(path: Path) -> str:
    below = path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else ROOT)
    return below.parts[0].removesuffix(".py")


def violations(path: Path, source: str) -> list[str]:
    """The imports of `source` that the rules forbid at `path`."""
    part = part_of(path)
    names = sorted(imports(path, source))
    if part in UNRESTRICTED:
        if part == "studies" or path == PACKAGE / REPRODUCE:
            return []
        return [name for name in names if f"{name}.".startswith(("studies.", "synthjax.studies."))]
    wrong = []
    for name in names:
        ours = name.removeprefix("synthjax.")
        # `from synthjax import model` names the bare package too, and `from synthjax.train import optim` its parent;
        # a parent counts by what is taken from it.
        parents = {"synthjax", *(f"synthjax.{allowed.split('.')[0]}" for allowed in ALLOWED[part])}
        if name.startswith("synthjax"):
            fits = any(ours == allowed or ours.startswith(f"{allowed}.") for allowed in ALLOWED[part])
            if not fits and name not in parents:
                wrong.append(name)
        elif name.startswith(FLAGS_AND_CONFIGS):
            wrong.append(name)
    return wrong


SOURCES = sorted(path for folder in (PACKAGE, STUDIES) for path in folder.rglob("*.py"))


def test_every_module_keeps_the_import_rules():
    assert SOURCES
    wrong = {str(path.relative_to(ROOT)): violations(path, path.read_text()) for path in SOURCES}
    assert {path: names for path, names in wrong.items() if names} == {}


@pytest.mark.parametrize(
    ("path", "line", "named"),
    [
        ("models/vae.py", "from synthjax.models import ddpm", ["synthjax.models", "synthjax.models.ddpm"]),
        ("models/vae.py", "from . import ddpm", ["synthjax.models", "synthjax.models.ddpm"]),
        ("models/vae.py", "from synthjax.train import optim, loop", ["synthjax.train.loop"]),
        ("models/vae.py", "from synthjax import data", ["synthjax.data"]),
        ("models/vae.py", "def f():\n    import synthjax.evals.utility", ["synthjax.evals.utility"]),
        ("nets/unet.py", "from absl import flags", ["absl.flags"]),
        (
            "train/loop.py",
            "from synthjax.models.vae import build",
            ["synthjax.models.vae", "synthjax.models.vae.build"],
        ),
        ("evals/utility.py", "from synthjax.models import vae", ["synthjax.models", "synthjax.models.vae"]),
        ("errors.py", "from synthjax.model import Batch", ["synthjax.model", "synthjax.model.Batch"]),
        ("models/vae.py", "from synthjax.nets import conv\nfrom synthjax.train.optim import ema", []),
        ("launch/train.py", "from synthjax.models import vae\nfrom absl import flags", []),
        ("launch/train.py", "from synthjax.studies import s1", ["synthjax.studies", "synthjax.studies.s1"]),
        ("launch/reproduce.py", "from synthjax.studies import s1", []),
        ("evals/utility.py", "import synthjax.studies.figures", ["synthjax.studies.figures"]),
    ],
)
def test_the_rules_tell_right_from_wrong(path, line, named):
    assert violations(PACKAGE / path, line) == named


def loaded(*modules: str) -> set[str]:
    """All modules there are in a new process that has imported these."""
    code = f"import sys\nimport {', '.join(modules)}\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_models_are_light_to_import():
    """Other research code may import any model without our data sets, plots and tables."""
    files = [path for part in ("models", "nets") for path in sorted((PACKAGE / part).glob("*.py"))]
    modules = [f"synthjax.{path.parent.name}.{path.stem}" for path in files if path.stem != "__init__"]
    modules += ["synthjax", "synthjax.rules"]
    heavy = {"tensorflow", "tensorflow_datasets", "matplotlib", "pandas", "sklearn"}
    assert loaded(*modules) & heavy == set()


def test_training_imports_no_report_and_no_study():
    """Neither when it starts nor later: no module of `launch` that it loads names another one of `evals`."""
    ours = {name for name in loaded("synthjax.launch.train", "synthjax.launch.search") if name.startswith("synthjax.")}
    found = {name.removeprefix("synthjax.evals.") for name in ours if name.startswith("synthjax.evals.")}
    assert "quick_scores" in found and found <= OF_TRAINING
    assert not {name for name in ours if name.startswith("synthjax.studies")}
    for name in ours:
        if name.startswith("synthjax.launch."):
            path = ROOT / f"{name.replace('.', '/')}.py"
            taken = {one.split(".")[2] for one in imports(path, path.read_text()) if one.startswith("synthjax.evals.")}
            assert taken <= OF_TRAINING, name
