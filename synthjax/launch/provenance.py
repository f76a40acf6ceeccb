"""Where a report comes from: its manifest, of data, files, model, settings, code and software."""

import datetime
import functools
import hashlib
import importlib.metadata
import json
import platform
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import synthjax
from synthjax.data import writers
from synthjax.launch.subjects import Run, Subject
from synthjax.train import metrics

SOFTWARE = ("synthjax", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "scikit-learn", "pandas")


@functools.cache
def code() -> str:
    """sha256 over the package's sources: which code made a report, installed or in a checkout."""
    root = Path(synthjax.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def manifest(subject: Subject, synthetic: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of a report, but for its seconds, which are not known yet; `synthetic`: what it says of the set."""
    real, run = subject.real, subject.run
    versions = {}
    for name in SOFTWARE:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
            versions[name] = "not installed"
    return {
        "dataset": real.name,
        "kind": real.spec.kind,
        "fingerprint": real.fingerprint,
        "synthetic": {"file": str(subject.file), "sha256": writers.sha256(subject.file), **synthetic},
        "real": {name: len(getattr(real, name).x) for name in ("train", "holdout", "test")},
        "model": None if run is None else _about_model(run),
        **settings,
        "settings_sha256": hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest(),
        "code_sha256": code(),
        "versions": {**versions, "python": platform.python_version(), "backend": jax.default_backend()},
        "command": "python -m synthjax.launch.eval " + shlex.join(sys.argv[1:]),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": {},
    }


def _about_model(run: Run) -> dict[str, Any]:
    """Name, hashes and costs of a run's model; a cost that the run's folder does not tell is None."""
    config = run.workdir / "config.json"
    return {
        "workdir": str(run.workdir),
        "name": run.described["name"],
        "state_sha256": run.described["sha256"],
        "config_sha256": writers.sha256(config) if config.is_file() else None,
        "step": run.described.get("step"),
        "seed": json.loads(config.read_text()).get("seed") if config.is_file() else None,
        "guarantee": run.described.get("guarantee"),
        "values": int(sum(leaf.size for leaf in jax.tree.leaves(run.state))),
        "train_seconds": train_seconds(run.workdir),
    }


def train_seconds(workdir: Path) -> float | None:
    """Seconds that a run was trained for, by the lines of its metrics; None where there are none."""
    rows = list(metrics.read(workdir, "steps_per_second"))
    steps = np.diff([0, *(row["step"] for row in rows)])
    spent = sum(n / max(float(np.mean(row["steps_per_second"])), 1e-9) for n, row in zip(steps, rows, strict=True))
    return round(float(spent), 1) if rows else None
