"""What an evaluation judges: a synthetic set, the real data beside it, and the run that it came from, if it is known.

A set counts as a run's own when the manifest beside it names that run's model and the file is still the one that the
manifest describes. Any other file is foreign: nothing is known about which real examples its generator has seen.
"""

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import synthjax
from synthjax import data
from synthjax.data import files, writers
from synthjax.data.requests import Job
from synthjax.errors import InputError, SynthjaxError
from synthjax.files import download
from synthjax.files import path as place
from synthjax.launch import class_counts, cli, runs, sample
from synthjax.model import DataSpec, Model, State

BLOCK = 500
"""Examples drawn at once at most."""
NAMED = 5
"""Classes that a note names at most."""


class Synthetic(NamedTuple):
    """A synthetic set: x (N, *shape) as stored, y (N,) i32 or None without labels."""

    x: np.ndarray
    y: np.ndarray | None


class Run(NamedTuple):
    """A trained run and what `synthjax.load` found in it."""

    workdir: Path
    model: Model
    state: State
    spec: DataSpec
    described: dict[str, Any]
    """name, config, member and sha256 of the model."""


class Subject(NamedTuple):
    """What is judged, against what."""

    real: data.Dataset
    synthetic: Synthetic
    file: Path
    run: Run | None
    """The run whose model made the file; None: made by who knows what, from who knows which examples."""

    @property
    def unseen(self) -> str:
        """The split that the generator cannot have seen.

        A foreign generator may have been trained on our holdout, which is part of everyone's training set.
        """
        return "holdout" if self.run is not None and len(self.real.holdout.x) else "test"


def halves(n: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows 0 ... n - 1 in two fixed random halves, each in order: those attacked, and the attacker's reference."""
    order = np.random.RandomState(4).permutation(n)
    return np.sort(order[: (n + 1) // 2]), np.sort(order[(n + 1) // 2 :])


def read_synthetic(path: Path, spec: DataSpec, *, labelled: bool = True) -> Synthetic:
    """The examples of an `.npz` file, checked against the real data's spec.

    Args:
        path: holds `x` and `y` (or `x_train` and `y_train`).
        spec: of the real data.
        labelled: False: the file may lack `y`.

    Raises:
        InputError: the file is missing or damaged, its images are of another size or have grey values that the real
            data cannot have, labels are missing or out of range. One line that names the row.
    """
    if spec.kind != "image":
        raise InputError(f"{path}: the real data is a table; this version judges images")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    part = files.read_npz(download(path)).train
    if part.x.shape[1:] != tuple(spec.shape):
        raise InputError(
            f"{path}: x holds examples of shape {part.x.shape[1:]}, the real data's are {tuple(spec.shape)}"
        )
    highest = part.x.reshape(len(part.x), -1).max(axis=1)
    if highest.max() >= spec.levels:
        row = int(np.argmax(highest >= spec.levels))
        raise InputError(
            f"{path}: x row {row} holds grey value {highest[row]}, the real data has integers 0 ... {spec.levels - 1}"
        )
    if part.y is None:
        if labelled and spec.n_classes:
            raise InputError(f"{path}: y is missing: a classifier needs labels 0 ... {spec.n_classes - 1}")
        return Synthetic(part.x, None)
    if part.y.max() >= max(spec.n_classes, 1):
        row = int(np.argmax(part.y >= spec.n_classes))
        raise InputError(f"{path}: y row {row} holds label {part.y[row]}, the real data has {spec.n_classes} classes")
    return Synthetic(part.x, part.y)


def absent(real: Mapping[str, int], made: Collection[str], unit: str) -> list[str]:
    """A note on the classes that a synthetic set lacks; none where it has all.

    Args:
        real: class name -> real training examples.
        made: names of the classes that the set has.
        unit: what an example is called.
    """
    names = [name for name in sorted(real) if real[name] and name not in made]
    if not names:
        return []
    whole = sum(real.values())
    shares = ", ".join(f"{name!r} ({real[name] / whole:.1%} of the real {unit}s)" for name in names[:NAMED])
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return [f"no synthetic {unit} is of class {shares}{more}"]


def open_run(
    workdir: Path, member: int, data_dir: str | None, checkpoint: runs.Kept = "last"
) -> tuple[Run, data.Dataset]:
    """A trained run and the data it was trained on.

    Raises:
        InputError: the data is missing, or not what the run was trained on.
        CheckpointError: there is no usable checkpoint.
    """
    real = runs.trained_on(workdir, data_dir)
    model, state, spec = synthjax.load(workdir, member, checkpoint)
    described, _ = sample.describe_run(workdir, state, member, checkpoint)
    return Run(workdir, model, state, spec, described), real


def made_by(file: Path) -> str | None:
    """The sha256 of the model that a synthetic file's manifest names, if the file is still the one it describes."""
    values = writers.read_manifest(file.with_name(f"{file.name}.{writers.MANIFEST}"))
    if values is None or writers.damaged(file.parent, values["files"]):
        return None
    return values["request"].get("model", {}).get("sha256")


def draw_own(run: Run, real: data.Dataset, seed: int) -> Path:
    """The run's own synthetic set, drawn if it is missing or from another checkpoint: as large as the training set."""
    file = run.workdir / "synthetic.npz"
    if file.exists() and made_by(file) == run.described["sha256"]:
        return file
    n = len(real.train.x)
    request = sample.make_request(
        run.model,
        run.spec,
        class_counts.class_counts(run.spec, run.model.conditional, n=n, per_class=None),
        described=run.described,
        dataset={"name": real.name, "fingerprint": real.fingerprint},
        seed=seed,
        block=math.ceil(n / math.ceil(n / BLOCK)),  # the last block is drawn whole: leave little of it unused
    )
    # What was drawn from another checkpoint makes room; a file that somebody put there does not.
    replace = made_by(file) is not None
    try:
        Job(request, file).check(replace)
    except InputError:
        raise InputError(
            f"{file}: was not drawn by this run's model; judge it with --synthetic={file}, or remove it"
        ) from None
    print(f"drawing {request.rows:,} examples into {file}", flush=True)
    sample.fulfil(run.model, run.state, Job(request, file), overwrite=replace)
    return file


def find(
    *,
    workdir: str | None,
    real: str | None,
    data_dir: str | None,
    synthetic: str | None,
    member: int,
    seed: int,
    holdout: str | None = None,
    checkpoint: runs.Kept = "last",
) -> Subject:
    """What the flags of the same names ask to judge."""
    if real is not None:
        if workdir is not None or synthetic is None:
            raise SynthjaxError("--real goes with --synthetic=FILE.npz and without --workdir")
        # With unseen examples at hand, all of the real ones are what the generator is taken to have seen.
        share = 0.1 if holdout is None else 0.0
        dataset = data.load(real, data_dir, holdout=share, test=holdout)
        return Subject(dataset, read_synthetic(place(synthetic), dataset.spec, labelled=False), place(synthetic), None)
    if holdout is not None:
        raise SynthjaxError("--holdout goes with --real: a run knows its own")
    run, dataset = open_run(cli.workdir(workdir), member, data_dir, checkpoint)
    if synthetic is None:
        file = draw_own(run, dataset, seed)
        return Subject(dataset, read_synthetic(file, dataset.spec, labelled=run.model.conditional), file, run)
    file = place(synthetic)
    own = made_by(file) == run.described["sha256"]
    examples = read_synthetic(file, dataset.spec, labelled=own and run.model.conditional)
    return Subject(dataset, examples, file, run if own else None)
