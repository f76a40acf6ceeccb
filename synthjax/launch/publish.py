"""What of a private run may be published, and how it gets there: see `synthjax.launch.private`.

    DIR/publish/model/             the released parameters, for `synthjax.load` and `launch.sample`; no optimiser state
    DIR/publish/synthetic.csv      of `launch.synthesize`: rows drawn from it, with card and Croissant metadata
    DIR/publish/certificate.json   what was released, and what it lets an attacker know (`synthjax.privacy.certificate`)
    DIR/publish/privacy.html       the same for people

All of it is computed from what the certificate lists, from settings and from public knowledge, and from nothing else.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from synthjax import files
from synthjax.data import Dataset
from synthjax.launch import config, private, private_checks, runs, train
from synthjax.launch.config import Experiment
from synthjax.launch.private import PUBLISH, Session
from synthjax.launch.trained import Run
from synthjax.model import Model, State
from synthjax.privacy import certificate
from synthjax.train.checkpoint import Checkpoints

CERTIFICATE, PAGE, MODEL = "certificate.json", "privacy.html", "model"


class Fitted(NamedTuple):
    """A private run whose training is done."""

    session: Session
    data: Dataset
    out: Path
    """DIR."""


def fit(chosen: Experiment, said: Collection[str], out: Path, minutes: float = 0.0) -> Fitted | None:
    """Trains privately in DIR/internal; None if the minutes were over before the end.

    Args:
        chosen: the experiment, with an epsilon.
        said: the fields that a person set.
        out: DIR.
        minutes: of training; 0: no limit.

    Raises:
        InputError: see `private_checks.check`, `Session` and `train.run`.
    """
    found = private_checks.check(chosen, said)
    session = Session.open(chosen, out)
    files.remove(out / PUBLISH)  # of an interrupted run
    data = session.data(found)
    described = [data.table.description.report()] if data.table else []
    print(*described, *session.notes, sep="\n", flush=True)
    session.chosen = chosen = private.fitted(chosen, said, data.spec)
    done = train.run(chosen, data, session.folder, minutes, session)
    if done < chosen.last_step:
        print("not finished: the same command goes on with the same key, and pays nothing again", flush=True)
        return None
    return Fitted(session, data, out)


def close(fitted: Fitted, names: Sequence[str]) -> Path | None:
    """Writes model, certificate and page into DIR/publish, then destroys the key; of a test only the latter.

    Args:
        fitted: the run.
        names: files in DIR/publish beside these.

    Returns:
        DIR/publish; None for a test.
    """
    session, folder = fitted.session, fitted.out / PUBLISH
    if session.ledger is None:
        session.finish()
        print("a test: its noise follows from a seed and protects nothing, so nothing is published", flush=True)
        return None
    if not (folder / MODEL).exists():
        export(fitted)
    values = certified(fitted, [f"{MODEL}/", *names, CERTIFICATE, PAGE])
    files.write(folder / CERTIFICATE, json.dumps(values, indent=1, ensure_ascii=False))
    files.write(folder / PAGE, certificate.page(values))
    session.finish()
    print(
        f"\n{values['statement']}\n{values['attacker']['in words']}\n"
        f"to publish: {folder} (model/, {', '.join([*names, CERTIFICATE, PAGE])})\n"
        f"for you alone: {session.folder}\nthe key of the noise is destroyed",
        flush=True,
    )
    return folder


def certified(fitted: Fitted, names: Sequence[str]) -> dict[str, Any]:
    """The certificate of a run, whose key is about to be destroyed."""
    from synthjax.launch.provenance import code

    session, chosen = fitted.session, fitted.session.chosen
    assert session.ledger is not None and chosen.dp.epsilon is not None
    entry = session.ledger.entry(session.fit)
    return certificate.certificate(
        session.releases,
        epsilon=chosen.dp.epsilon,
        delta=chosen.dp.delta,
        files=names,
        unit=chosen.dp.unit,
        model={"name": chosen.name, "config": json.loads(json.dumps(dataclasses.asdict(chosen.model)))},
        public=session.public,
        ledger={"dataset": session.ledger.name, "fit": session.fit, "line": entry["line"], "hash": entry["hash"]},
        key={"source": "operating system", "destroyed": True},
        code=code(),
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


def export(fitted: Fitted) -> Path:
    """Writes the released parameters into DIR/publish/model, a run's folder without what only training needs."""
    folder = fitted.out / PUBLISH / MODEL
    run = Run(fitted.session.folder)
    chosen = dataclasses.replace(
        run.config, dataset=Path(run.config.dataset).name, data_dir=None, schema=None, test=None, keep=1
    )
    none = np.zeros(0, np.int64)
    bare = fitted.data._replace(
        **{name: getattr(fitted.data, name).take(none) for name in ("train", "holdout", "test")}
    )
    described = runs.begin(folder, chosen, bare)
    files.remove(folder / runs.SPLITS)
    checkpoints = Checkpoints(folder / runs.KEPT["last"], 1)
    record = {"experiment": config.to_dict(chosen), "fingerprint": bare.fingerprint, "files": described}
    checkpoints.save(run.step, released(run.model, run.state), record)
    checkpoints.close()
    return folder


def released(model: Model, state: State) -> State:
    """The state with zeros for all arrays that sampling does not read, such as moments of the optimiser."""
    key, labels = jax.random.key(0), np.zeros(2, np.int32)
    read = _read(lambda one: model.sample(key, one, labels), state)
    tree: Any
    leaves, tree = jax.tree.flatten(state)
    return tree.unflatten([leaf if used else np.zeros_like(leaf) for leaf, used in zip(leaves, read, strict=True)])


def _read(function: Callable[[State], Any], state: State) -> list[bool]:
    """Whether `function(state)` reads each leaf of the state."""
    jaxpr = jax.make_jaxpr(function)(state).jaxpr
    used = {id(variable) for equation in jaxpr.eqns for variable in equation.invars}
    used |= {id(variable) for variable in jaxpr.outvars}
    return [id(variable) in used for variable in jaxpr.invars]
