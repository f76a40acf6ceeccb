"""What evaluations of images and of tables do the same: where results go, what is said, the attack on a model."""

import dataclasses
import datetime
import functools
import hashlib
import importlib.metadata
import io
import json
import math
import platform
import shlex
import sys
import textwrap
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import msgspec
import numpy as np
from tqdm import tqdm

import synthjax
from synthjax import data, files
from synthjax.data import writers
from synthjax.errors import InputError, SynthjaxError
from synthjax.evals import page, privacy, report
from synthjax.evals.report import figures, gates, rows
from synthjax.jit import jit
from synthjax.launch.subjects import Run
from synthjax.model import Batch
from synthjax.train import metrics

SOFTWARE = ("synthjax", "jax", "jaxlib", "flax", "optax", "numpy", "scipy", "scikit-learn", "pandas")
SCORE_BLOCK = 256
LEVELS_SAID = (
    "look: a first look, not to be quoted, with 2 seeds and fewer epochs and examples; full: classifiers of images "
    "learn from all of them, the studies from more examples, with more seeds and variations and 16 shadow models of a "
    "run's model, which takes long. Attacks look at 10,000 examples at most."
)
"""Help of --level."""
PACED = 250, 1_000
"""Examples attacked to find out how long the attacks take."""
SCORES = "attacks.npz"
"""File beside the report with what every attack said of every record."""


def say(text: str) -> None:
    """Prints a line at once, also into a pipe."""
    print(text, flush=True)


def tell(verdict: report.Verdict, seconds: float) -> None:
    """Prints a verdict with its evidence."""
    say(f"\n{verdict.question}  {verdict.answer}  [{seconds:.0f} s]")
    for evidence in verdict.evidence:
        remark(evidence.text)


def remark(sentence: str) -> None:
    """Prints a sentence of evidence."""
    say(textwrap.fill(sentence, width=110, initial_indent="  - ", subsequent_indent="    "))


class Parts:
    """The parts of an evaluation, each kept in a file once it is done, so that an interrupted one goes on from there.

    A kept part is used again only for the same files, settings, model and code.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], names: Sequence[str]):
        """`folder`: of the results; `settings`: all that the parts depend on; `names`: of the parts, in their order."""
        self.seconds: dict[str, float] = {}
        self._folder, self._names = folder / "parts", list(names)
        self._key = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()

    def part(self, name: str, work: Callable[[], Any]) -> Any:
        """What `work` returns (plain values), or returned before; its wall-clock seconds go into `seconds`."""
        place = f"[{self._names.index(name) + 1}/{len(self._names)}] {name}"
        file = self._folder / f"{name}.json"
        kept = _read_json(file)
        if isinstance(kept, dict) and kept.get("key") == self._key:
            say(f"{place}: kept from a run that was interrupted")
            self.seconds[name] = kept["seconds"]
            return kept["found"]
        say(place)
        start = time.monotonic()
        found = work()
        self.seconds[name] = time.monotonic() - start
        self._folder.mkdir(parents=True, exist_ok=True)
        record = {"key": self._key, "seconds": self.seconds[name], "found": found}
        files.write(file, json.dumps(record))
        return found

    def arrays(self, name: str, work: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The arrays that `work` returns, or returned before: of a piece of a part that takes long by itself."""
        file = self._folder / f"{name}.npz"
        try:
            with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as kept:
                if str(kept["key"]) == self._key:
                    say(f"  {name}: kept from a run that was interrupted")
                    return {key: kept[key] for key in kept.files if key != "key"}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            pass  # none there, or another's
        found = work()
        self._folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, key=np.array(self._key), **found)  # type: ignore[arg-type]
        files.write(file, buffer.getvalue())
        return found

    def forget(self) -> None:
        """Removes the files: the report has it all."""
        for file in (*(self._folder / f"{name}.json" for name in self._names), *self._folder.glob("*.npz")):
            file.unlink(missing_ok=True)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()


def identity(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What of a manifest the parts depend on: all but when and how it was asked for, and where the files lie.

    Files and models are known by their hashes, so that a folder that was moved keeps its parts.
    """
    passing = ("created", "seconds", "command")
    known = {name: value for name, value in manifest.items() if name not in passing}
    for name, place in (("synthetic", "file"), ("model", "workdir")):
        if known[name] is not None:
            known[name] = {key: value for key, value in known[name].items() if key != place}
    return known


def finished(
    folder: Path, file: Path, real: data.Dataset, run: Run | None, settings: Mapping[str, Any]
) -> report.Report | None:
    """The report in a folder, if it is on the same files and model, by these settings; else None."""
    try:
        found = report.read(folder / "report.json")
    except InputError:
        return None  # none there, or one of another version
    manifest = found.manifest
    known = {**manifest.protocol, **vars(manifest)}
    same = (
        manifest.fingerprint == real.fingerprint
        and manifest.synthetic.sha256 == writers.sha256(file)
        and (manifest.model and manifest.model.state_sha256) == (run and run.described["sha256"])
        and all(known.get(name, value) == value for name, value in settings.items())
    )
    if same:
        say(f"{folder / 'report.json'}: judged before, by the same settings")
    return found if same else None


def spell(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def shadow_models(run: Run | None, wanted: int) -> int:
    """How many shadow models are trained: those wanted, where there is a model with a score to attack."""
    return wanted if run is not None and run.model.score is not None else 0


def extrapolate(attacks: Callable[..., Any], limit: int) -> float:
    """Seconds that `attacks(limit=limit)` will take, on the line through those at 250 and 1,000, once compiled."""
    attacks(limit=PACED[0])
    seconds = []
    for few in PACED:
        begun = time.monotonic()
        attacks(limit=few)
        seconds.append(time.monotonic() - begun)
    slope = max(seconds[1] - seconds[0], 0) / (PACED[1] - PACED[0])
    return seconds[1] + slope * (limit - PACED[1])


def forecast(seconds: Mapping[str, float], run: Run | None, shadows: int) -> str:
    """How long --level=full will take, in words.

    Args:
        seconds: of its parts.
        run: whose training time the shadow models' time follows from: a step of theirs takes twice its batch.
        shadows: how many there are.
    """
    parts, more = dict(seconds), ""
    if run is not None and shadows:
        spent = _train_seconds(run.workdir)
        if spent is None:
            more = f"; on top come {shadows} shadow models, each about twice the run's training, whose time is unknown"
        else:
            parts[f"{shadows} shadow models"] = 2 * shadows * spent
    each = ", ".join(f"{name} {spell(value)}" for name, value in parts.items())
    return f"--level=full: this will take about {spell(sum(parts.values()))} ({each}){more}"


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError):
        return None


@functools.cache
def code() -> str:
    """sha256 over the package's sources: which code made a report, installed or in a checkout."""
    root = Path(synthjax.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def with_bar(name: str, work: Callable[[Callable[[float], None]], dict[str, Any]]) -> dict[str, Any]:
    """What `work` returns, which tells the share that is done; a bar shows it on a terminal."""
    with tqdm(total=100, desc=name, unit=" %", disable=not sys.stderr.isatty(), leave=False) as bar:
        return work(lambda share: bar.update(round(100 * share) - bar.n) and None)


def output_folder(file: Path, run: Run | None, out: str | None) -> Path:
    """The folder of the results, made now: a place that cannot be written to is told before the slow work."""
    if out is not None:
        folder = files.path(out)
    elif run is not None and file.parent == run.workdir:
        folder = run.workdir / "eval"
    else:
        folder = file.with_name(f"{file.stem}-eval")
    with files.named_errors(folder, "made"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def parse_gates(texts: Sequence[str], *, has_model: bool, kind: report.Kind) -> list[gates.Gate]:
    """The gates of --fail_if.

    Raises:
        SynthjaxError: one cannot be read, names no number of the report, or needs a model where there is none.
    """
    found = []
    for text in texts:
        try:
            found.append(gates.Gate.parse(text, kind))
        except ValueError as error:
            raise SynthjaxError(f"--fail_if: {error}") from None
        if found[-1].needs_model and not has_model:
            raise SynthjaxError(f"--fail_if={text}: with --real there is no model to attack")
    return found


def surprise(run: Run, split: data.Split, rows: np.ndarray, key: jax.Array) -> np.ndarray:
    """The model's score of some rows of a split, (n,) f32, in blocks of one size."""
    assert run.model.score is not None
    score = jit(run.model.score)
    found = []
    for b in range(math.ceil(len(rows) / SCORE_BLOCK)):
        taken = rows[b * SCORE_BLOCK : (b + 1) * SCORE_BLOCK]
        padded = np.resize(taken, SCORE_BLOCK)
        weight = (np.arange(SCORE_BLOCK) < len(taken)).astype(np.float32)
        batch = Batch(
            run.spec.encode(split.x[padded]), *map(jnp.asarray, (split.y[padded], weight, split.index[padded]))
        )
        found.append(np.asarray(score(jax.random.fold_in(key, b), run.state, batch))[: len(taken)])
    return np.concatenate(found)


def model_scores(
    run: Run | None, train: data.Split, unseen: data.Split, *, seed: int, limit: int
) -> dict[str, np.ndarray] | None:
    """The surprise of the rows that are attacked, as `privacy.evaluate` takes it; None without a model to ask."""
    if run is None or run.model.score is None:
        return None
    attacked = privacy.audience(len(train.x), len(unseen.x), seed=seed, limit=limit)
    key_members, key_others = jax.random.split(jax.random.key(seed))
    return {
        "members": surprise(run, train, attacked.members, key_members),
        "others": surprise(run, unseen, attacked.others, key_others),
    }


def describe(
    real: data.Dataset,
    run: Run | None,
    synthetic: Mapping[str, Any],
    file: Path,
    settings: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The manifest of a report.

    Args:
        real: the real data.
        run: whose model is judged with the file.
        synthetic: what is to be said of the synthetic set beside its file.
        file: that is judged.
        settings: of the evaluation.
        seconds: that each part took.
    """
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
        "synthetic": {"file": str(file), "sha256": writers.sha256(file), **synthetic},
        "real": {name: len(getattr(real, name).x) for name in ("train", "holdout", "test")},
        "model": None if run is None else _about_model(run),
        **settings,
        "settings_sha256": hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest(),
        "code_sha256": code(),
        "versions": {**versions, "python": platform.python_version(), "backend": jax.default_backend()},
        "command": "python -m synthjax.launch.eval " + shlex.join(sys.argv[1:]),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
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
        "train_seconds": _train_seconds(run.workdir),
    }


def _train_seconds(workdir: Path) -> float | None:
    """Seconds that a run was trained for, by the lines of its metrics; None where there are none."""
    rows = list(metrics.read(workdir, "steps_per_second"))
    steps = np.diff([0, *(row["step"] for row in rows)])
    spent = sum(n / max(float(np.mean(row["steps_per_second"])), 1e-9) for n, row in zip(steps, rows, strict=True))
    return round(float(spent), 1) if rows else None


def finish(out: Path, found: report.Report, parts: Parts) -> report.Report:
    """Says the verdicts, writes all files of the report, says where they are, and forgets the parts.

    Args:
        out: folder of the results.
        found: the report, whose manifest gets its seconds here.
        parts: that it was made of.

    Returns:
        The report as written.
    """
    seconds = {name: round(value, 1) for name, value in parts.seconds.items()}
    found = dataclasses.replace(found, manifest=dataclasses.replace(found.manifest, seconds=seconds))
    say("")
    for verdict in found.verdicts:
        say(f"{verdict.question}  {verdict.answer}")
    json_file = report.write(out, found)
    html_file = out / "report.html"
    files.write(html_file, page.render(msgspec.to_builtins(found)))
    measured = {Path(found.manifest.synthetic.file).name: rows.measured(found)}
    files.write(out / "report.csv", figures.to_csv(measured))
    files.write(out / "report.tex", figures.to_latex(measured))
    parts.forget()
    say(f"\nwrote {json_file} (tables: report.csv, report.tex)\nwrote {html_file}: open it in a browser")
    return found
