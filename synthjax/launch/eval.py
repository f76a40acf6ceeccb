"""Judges a synthetic data set: is it useful, does it look right, does it give its training examples away?

  python -m synthjax.launch.eval                                     # the newest run in runs/
  python -m synthjax.launch.eval --workdir=runs/ddpm-mnist --seeds=3
  python -m synthjax.launch.eval --real=mnist --data_dir=DIR --synthetic=anything.npz     # any generator's file
  python -m synthjax.launch.eval --fail_if='privacy.mia.auc>0.55' --fail_if='utility.cnn.tstr_over_trtr<0.98'

A run's own set, synthetic.npz in its workdir, is drawn first if it is missing or from another checkpoint: as large as
the training set. The results are DIR/report.json and DIR/report.html, DIR being --out, or eval/ in the workdir, or for
a file alone NAME-eval/ beside it. Exit code 4 says that a condition of --fail_if holds.
"""

import datetime
import functools
import importlib.metadata
import math
import shlex
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from tqdm import tqdm

from synthjax import data
from synthjax.data import writers
from synthjax.errors import InputError, Preempted, SynthjaxError
from synthjax.evals import classifiers, fidelity, page, privacy, report, utility
from synthjax.jit import jit
from synthjax.launch import cli, subjects
from synthjax.launch.subjects import Run, Subject
from synthjax.model import Batch

SOFTWARE = ("synthjax", "jax", "jaxlib", "flax", "numpy", "scikit-learn")
PROTOCOL = {"seeds": 5, "epochs": classifiers.EPOCHS, "limit": 10_000}
"""Networks per classifier, passes through the training set, examples attacked and shown to the feature net at most."""
QUICK = {"seeds": 2, "epochs": 4, "limit": 1_000}
"""The same for a first look."""
SCORE_BLOCK = 256


def say(text: str) -> None:
    """Prints a line at once, also into a pipe."""
    print(text, flush=True)


def output_folder(subject: Subject, out: str | None) -> Path:
    """The folder of the results, made now: a place that cannot be written to is told before the slow work."""
    if out is not None:
        folder = Path(out)
    elif subject.run is not None and subject.file.parent == subject.run.workdir:
        folder = subject.run.workdir / "eval"
    else:
        folder = subject.file.with_name(f"{subject.file.stem}-eval")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made: {error.strerror or error}") from error
    return folder


def parse_gates(texts: Sequence[str], *, has_model: bool) -> list[report.Gate]:
    """The gates of --fail_if.

    Raises:
        SynthjaxError: one cannot be read, names no number of the report, or needs a model where there is none.
    """
    gates = []
    for text in texts:
        try:
            gates.append(report.Gate.parse(text))
        except ValueError as error:
            raise SynthjaxError(f"--fail_if: {error}") from None
        if gates[-1].key in report.NEEDS_MODEL and not has_model:
            raise SynthjaxError(f"--fail_if={text}: with --real there is no model to attack")
    return gates


def leave(number: int, frame: Any) -> None:
    """Answers SIGTERM. Every file is written whole or not at all, so work can end anywhere."""
    raise Preempted("asked to end; what was drawn is kept, and the same command judges it")


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


def judge_privacy(subject: Subject, *, seed: int, limit: int) -> dict[str, Any]:
    """The privacy part of the report, the attack on the model included where there is one."""
    real, run = subject.real, subject.run
    unseen, reference = (real.holdout, real.test) if subject.unseen == "holdout" else (real.test, real.holdout)
    scores = None
    if run is not None and run.model.score is not None:
        attacked = privacy.audience(len(real.train.x), len(unseen.x), seed=seed, limit=limit)
        key_members, key_others = jax.random.split(jax.random.key(seed))
        scores = {
            "members": surprise(run, real.train, attacked.members, key_members),
            "others": surprise(run, unseen, attacked.others, key_others),
        }
    return privacy.evaluate(
        subject.synthetic, real.train, unseen, reference, real.spec, scores=scores, seed=seed, limit=limit
    )


def describe(subject: Subject, settings: dict[str, Any], seconds: dict[str, float]) -> dict[str, Any]:
    """The manifest of the report."""
    real, run = subject.real, subject.run
    versions = {}
    for name in SOFTWARE:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
            versions[name] = "not installed"
    y = subject.synthetic.y
    return {
        "dataset": real.name,
        "fingerprint": real.fingerprint,
        "synthetic": {
            "file": str(subject.file),
            "sha256": writers.sha256(subject.file),
            "examples": len(subject.synthetic.x),
            "per_class": None if y is None else np.bincount(y, minlength=real.spec.n_classes).tolist(),
        },
        "real": {name: len(getattr(real, name).x) for name in ("train", "holdout", "test")},
        "non_members": subject.unseen,
        "model": None
        if run is None
        else {"workdir": str(run.workdir), "name": run.described["name"], "state_sha256": run.described["sha256"]},
        **settings,
        "versions": versions,
        "command": "python -m synthjax.launch.eval " + shlex.join(sys.argv[1:]),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
    }


def judge_likeness(subject: Subject, *, epochs: int, seed: int, limit: int) -> dict[str, Any]:
    """The fidelity part of the report, in the features of a CNN trained on at most `limit` real training examples."""
    real = subject.real
    rows = utility.stratified(np.random.default_rng(seed), real.train.y, limit)
    x, y = real.train.x[rows], real.train.y[rows]
    cnn = classifiers.train(jax.random.key(seed), x, y, real.spec, seeds=1, epochs=epochs)
    features = functools.partial(classifiers.features, cnn)
    labelled = cast(utility.Examples, subject.synthetic)
    return fidelity.evaluate(labelled, real.test, real.spec, features, train=real.train, seed=seed)


def judge_usefulness(subject: Subject, *, seeds: int, epochs: int, seed: int) -> dict[str, Any]:
    """The utility part of the report."""
    real = subject.real
    bar = tqdm(total=100, desc="classifiers", unit=" %", disable=not sys.stderr.isatty(), leave=False)

    def progress(share: float) -> None:
        bar.update(round(100 * share) - bar.n)

    labelled = cast(utility.Examples, subject.synthetic)
    found = utility.evaluate(
        labelled, real.train, real.test, real.spec, seeds=seeds, epochs=epochs, seed=seed, progress=progress
    )
    bar.close()
    return found


def judge(subject: Subject, *, seeds: int, epochs: int, seed: int, limit: int, quick: bool = False) -> dict[str, Any]:
    """The whole report; prints each part's verdict as soon as it is there."""
    parts: dict[str, Any] = {"fidelity": None, "utility": None, "privacy": None}
    seconds: dict[str, float] = {}
    settings = {"seeds": seeds, "epochs": epochs, "seed": seed, "quick": quick}

    def timed(name: str, work: Callable[[], dict[str, Any]]) -> None:
        start = time.monotonic()
        parts[name] = work()
        seconds[name] = time.monotonic() - start

    if subject.synthetic.y is None:
        say("the synthetic set has no labels: usefulness and likeness are not measured")
    else:
        timed("fidelity", lambda: judge_likeness(subject, epochs=epochs, seed=seed, limit=limit))
        tell(report.alike(parts["fidelity"]), seconds["fidelity"])
        timed("utility", lambda: judge_usefulness(subject, seeds=seeds, epochs=epochs, seed=seed))
        tell(report.useful(parts["utility"]), seconds["utility"])
    timed("privacy", lambda: judge_privacy(subject, seed=seed, limit=limit))
    tell(report.private(parts["privacy"]), seconds["privacy"])
    return report.assemble(describe(subject, settings, seconds), **parts)


def tell(verdict: report.Verdict, seconds: float) -> None:
    """Prints a verdict with its evidence."""
    say(f"\n{verdict.question}  {verdict.answer}  [{seconds:.0f} s]")
    for sentence in verdict.evidence:
        say(textwrap.fill(sentence, width=110, initial_indent="  - ", subsequent_indent="    "))


def define_flags() -> None:
    """Defines the flags of this launcher."""
    flags.DEFINE_string("workdir", None, "Folder of the trained run; default: the newest one in runs/.")
    flags.DEFINE_string("real", None, "Data set to judge --synthetic against, where there is no run: a name or a path.")
    flags.DEFINE_string("data_dir", None, "Folder with the real data; default: the run's own, else SYNTHJAX_DATA_DIR.")
    flags.DEFINE_string("synthetic", None, "FILE.npz with x and y to judge; default: the run's own set.")
    flags.DEFINE_string("out", None, "Folder for report.json and report.html.")
    flags.DEFINE_integer("seeds", None, "Networks trained per classifier; default: 5.", lower_bound=1)
    flags.DEFINE_integer("epochs", None, "Passes of each network through its training set; default: 12.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Seed of everything random here.", lower_bound=0)
    flags.DEFINE_integer("member", 0, "Member of a run with --seeds.", lower_bound=0)
    flags.DEFINE_bool("quick", False, "A first look: 2 seeds, 4 epochs, at most 1,000 examples attacked.")
    flags.DEFINE_multi_string("fail_if", [], "Condition on a number in report.json that ends the command with code 4.")


def main(argv: Sequence[str]) -> None:
    """Runs the launcher."""
    given = flags.FLAGS
    gates = parse_gates(given.fail_if, has_model=given.real is None)
    signal.signal(signal.SIGTERM, leave)
    subject = subjects.find(
        workdir=given.workdir,
        real=given.real,
        data_dir=given.data_dir,
        synthetic=given.synthetic,
        member=given.member,
        seed=given.seed,
    )
    out = output_folder(subject, given.out)
    protocol = QUICK if given.quick else PROTOCOL
    real, synthetic = subject.real, subject.synthetic
    say(
        f"judging {len(synthetic.x):,} synthetic examples in {subject.file} against {real.name}: {len(real.train.x):,} "
        f"train, {len(real.holdout.x):,} holdout, {len(real.test.x):,} test"
    )
    found = judge(
        subject,
        seeds=given.seeds or protocol["seeds"],
        epochs=given.epochs or protocol["epochs"],
        limit=protocol["limit"],
        seed=given.seed,
        quick=given.quick,
    )
    html = page.render(found, real.spec, synthetic, real.train, real.test)
    json_file, html_file = report.write(out, found, html)
    say(f"\nwrote {json_file}\nwrote {html_file}: open it in a browser")
    report.check_gates(gates, found)


if __name__ == "__main__":
    define_flags()
    cli.run(main, __doc__)
