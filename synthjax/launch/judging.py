"""What evaluations of images and of tables do the same: where results go, what is said, the attack on a model."""

import datetime
import importlib.metadata
import math
import shlex
import sys
import textwrap
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from synthjax import data
from synthjax.data import writers
from synthjax.errors import InputError, SynthjaxError
from synthjax.evals import privacy, report
from synthjax.jit import jit
from synthjax.launch.subjects import Run
from synthjax.model import Batch

SOFTWARE = ("synthjax", "jax", "jaxlib", "flax", "numpy", "scikit-learn")
SCORE_BLOCK = 256


def say(text: str) -> None:
    """Prints a line at once, also into a pipe."""
    print(text, flush=True)


def tell(verdict: report.Verdict, seconds: float) -> None:
    """Prints a verdict with its evidence."""
    say(f"\n{verdict.question}  {verdict.answer}  [{seconds:.0f} s]")
    for sentence in verdict.evidence:
        say(textwrap.fill(sentence, width=110, initial_indent="  - ", subsequent_indent="    "))


def timed(seconds: dict[str, float], name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `work` returns; its wall-clock time goes into `seconds` under `name`."""
    start = time.monotonic()
    found = work()
    seconds[name] = time.monotonic() - start
    return found


def with_bar(name: str, work: Callable[[Callable[[float], None]], dict[str, Any]]) -> dict[str, Any]:
    """What `work` returns, which tells the share that is done; a bar shows it on a terminal."""
    with tqdm(total=100, desc=name, unit=" %", disable=not sys.stderr.isatty(), leave=False) as bar:
        return work(lambda share: bar.update(round(100 * share) - bar.n) and None)


def output_folder(file: Path, run: Run | None, out: str | None) -> Path:
    """The folder of the results, made now: a place that cannot be written to is told before the slow work."""
    if out is not None:
        folder = Path(out)
    elif run is not None and file.parent == run.workdir:
        folder = run.workdir / "eval"
    else:
        folder = file.with_name(f"{file.stem}-eval")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {error.strerror or error}") from error
    return folder


def parse_gates(
    texts: Sequence[str], *, has_model: bool, known: Collection[str] = report.GATEABLE
) -> list[report.Gate]:
    """The gates of --fail_if.

    Raises:
        SynthjaxError: one cannot be read, names no number of the report, or needs a model where there is none.
    """
    gates = []
    for text in texts:
        try:
            gates.append(report.Gate.parse(text, known))
        except ValueError as error:
            raise SynthjaxError(f"--fail_if: {error}") from None
        if gates[-1].key in report.NEEDS_MODEL and not has_model:
            raise SynthjaxError(f"--fail_if={text}: with --real there is no model to attack")
    return gates


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
        "model": None
        if run is None
        else {"workdir": str(run.workdir), "name": run.described["name"], "state_sha256": run.described["sha256"]},
        **settings,
        "versions": versions,
        "command": "python -m synthjax.launch.eval " + shlex.join(sys.argv[1:]),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
    }


def finish(out: Path, found: Mapping[str, Any], html: str) -> None:
    """Writes the report's two files and says where they are."""
    json_file, html_file = report.write(out, found, html)
    say(f"\nwrote {json_file}\nwrote {html_file}: open it in a browser")
