"""The folder of a study: what is computed once stays, so that an interrupted study goes on where it stopped.

generators/NAME/   training runs, each with     results/        figures, one file a unit of work; finished tables
                   its train.log
sets/NAME.npz      synthetic sets               *.png           pictures
study.json         what the study was asked     tables.md       its tables, beside the study's own figures
"""

import contextlib
import dataclasses
import json
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import synthjax
from synthjax import files, sampling
from synthjax.data import Dataset
from synthjax.data.requests import Job
from synthjax.errors import InputError
from synthjax.evals import classifiers
from synthjax.evals.domains.images import confusion
from synthjax.launch import runs, sample, train
from synthjax.launch.config import Experiment
from synthjax.launch.subjects import BLOCK
from synthjax.model import DataSpec, Model, State
from synthjax.train import metrics
from synthjax.train.checkpoint import Checkpoints


class Generator(NamedTuple):
    """A trained generator."""

    name: str
    workdir: Path
    experiment: Experiment
    model: Model
    state: State
    spec: DataSpec

    def minutes(self) -> float:
        """Of training, without compilation: the sum over the lines of its metrics."""
        rows = list(metrics.read(self.workdir, "steps_per_second"))
        steps = np.diff([0, *(row["step"] for row in rows)])
        return float(sum(n / max(row["steps_per_second"], 1e-9) for n, row in zip(steps, rows, strict=True)) / 60)

    def parameters(self) -> int:
        """Numbers in the network that samples are drawn from; a VAE's encoder counts."""
        kept = getattr(self.state, "ema", None)
        kept = getattr(self.state, "params", self.state) if kept is None else kept
        return sum(a.size for a in jax.tree.leaves(kept))

    def seconds_per_1000(self, timed: int = 1000) -> float:
        """Sampling time of 1,000 examples by that of `timed` ones, compilation not counted, the least of two."""
        labels = (np.arange(timed) % max(self.spec.n_classes, 1)).astype(np.int32)
        block = min(BLOCK, timed)
        list(sampling.draw(self.model, self.state, jax.random.key(0), labels[:1], block=block))
        seconds = []
        for _ in range(2):
            begun = time.perf_counter()
            list(sampling.draw(self.model, self.state, jax.random.key(0), labels, block=block))
            seconds.append(time.perf_counter() - begun)
        return 1000 * min(seconds) / timed


class Workspace:
    """The folder, and the work that is done in it."""

    def __init__(self, folder: Path, data_dir: str | None, study: dict[str, Any], say: Callable[[str], None] = print):
        """Opens the folder of a study, or begins it.

        Args:
          folder: of the study.
          data_dir: folder with the data's files.
          study: plain values that decide its figures.
          say: takes a line of progress.

        Raises:
          InputError: the folder belongs to another study, or to this one with other settings.
        """
        self.folder, self.data_dir, self.say = folder, data_dir, say
        record = folder / "study.json"
        text = json.dumps(study, indent=1)
        if record.exists() and json.loads(record.read_text()) != json.loads(text):
            raise InputError(f"{folder} belongs to another study, or to other settings; give another --workdir")
        for part in ("generators", "sets", "results"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        files.write(record, text)

    def data(self, experiment: Experiment) -> Dataset:
        """The data of an experiment."""
        return runs.data(experiment, self.data_dir)

    def result(self, name: str, compute: Callable[[], Any]) -> Any:
        """Plain values: those of an earlier run, or what `compute` returns."""
        path = self.folder / "results" / f"{slug(name)}.json"
        if path.exists():
            return json.loads(path.read_text())
        begun = time.monotonic()
        self.say(f"{name} ...")
        text = json.dumps(compute(), indent=1)
        files.write(path, text)
        self.say(f"{name}: done in {time.monotonic() - begun:.0f} s")
        return json.loads(text)

    def keep_table(self, name: str, text: str) -> None:
        """Keeps a finished table, in Markdown, beside those of earlier runs."""
        files.write(self.folder / "results" / f"table-{slug(name)}.md", text)

    def tables(self, names: Iterable[str]) -> str:
        """All tables of those names that were ever finished here, in that order."""
        paths = [self.folder / "results" / f"table-{slug(name)}.md" for name in names]
        return "\n\n".join(path.read_text() for path in paths if path.exists() and path.stat().st_size)

    def train(self, name: str, experiment: Experiment, data: Dataset | None = None) -> Generator:
        """The generator of that name, trained to the end of its experiment; what training prints goes to its train.log.

        Args:
          name: of the generator.
          experiment: that trains it.
          data: default: that of the experiment.

        Raises:
          Preempted: asked to stop; the same call goes on.
        """
        workdir = self.folder / "generators" / name
        experiment = dataclasses.replace(experiment, data_dir=self.data_dir)
        steps = experiment.model.steps
        data = self.data(experiment) if data is None else data
        runs.begin(workdir, experiment, data)
        if Checkpoints(workdir / "checkpoints").newest() != steps:
            log = workdir / "train.log"
            self.say(f"generator {name}: {steps:,} steps, see {log}")
            with log.open("a") as file, contextlib.redirect_stdout(file):
                train.run(experiment, data, workdir)
        return Generator(name, workdir, experiment, *synthjax.load(workdir))

    def draw(
        self,
        generator: Generator,
        counts: Iterable[int],
        *,
        seed: int = 0,
        name: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """So many examples of each class from a conditional generator: x (N, *shape) as stored, y (N,) i32.

        Drawn once and kept in sets/NAME.npz; the name is the generator's by default. `options` are the sampler's.
        """
        described, dataset = sample.describe_run(generator.workdir, generator.state, 0)
        wanted = tuple(int(count) for count in counts)
        rows = sum(wanted)
        request = sample.make_request(
            generator.model,
            generator.spec,
            wanted,
            described=described,
            dataset=dataset,
            seed=seed,
            block=math.ceil(rows / math.ceil(rows / BLOCK)),
            options=dict(options or {}),
        )
        path = self.folder / "sets" / f"{name or generator.name}.npz"
        sample.fulfil(generator.model, generator.state, Job(request, path))
        with np.load(path) as arrays:
            return arrays["x"], arrays["y"]


def train_and_test(
    examples: tuple[np.ndarray, np.ndarray],
    tests: dict[str, tuple[np.ndarray, np.ndarray]],
    spec: DataSpec,
    *,
    seed: int,
    **training: Any,
) -> dict[str, Any]:
    """Classifiers trained on some examples and tested on others.

    Args:
      examples: x (N, H, W, C) integers, y (N,).
      tests: name -> (x, y).
      spec: of both.
      seed: of everything random in their training.
      **training: of `classifiers.train`: protocol, seeds, pad_to.

    Returns:
      name -> {"accuracy": one a network, "confusion": counts averaged over them}, and "losses": mean over the
      networks, one an epoch.
    """
    nets = classifiers.train(jax.random.key(seed), examples, spec, **training)
    found: dict[str, Any] = {"losses": nets.losses.mean(axis=0).tolist()}
    for name, (x, y) in tests.items():
        predicted = classifiers.predict(nets, x).argmax(-1)
        counts = confusion(y, predicted, spec.n_classes)
        found[name] = {"accuracy": (predicted == y).mean(axis=1).tolist(), "confusion": counts.tolist()}
    return found


def slug(name: str) -> str:
    """A name as part of a file's name."""
    return re.sub(r"[^\w.-]+", "-", name)


def cell(values: Sequence[float]) -> str:
    """ "mean ± standard deviation (n)"; one value has no deviation."""
    if len(values) == 1:
        return f"{values[0]:.3f} (n=1)"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f} (n={len(values)})"


def update(path: Path, study: str, tables: Mapping[str, str], order: Iterable[str]) -> None:
    """Puts tables between the marks of a study in a page of results, at its end if there are none; others stay.

    Args:
      path: of the page, docs/results/studies/STUDY.md.
      study: whose marks.
      tables: what `--table` calls them -> their Markdown, which may be empty.
      order: all such names of the study, in the order in which tables are to stand.

    Raises:
      InputError: there is no such file.
    """
    if not path.is_file():
        raise InputError(f"{path}: not there; --update_results is for a checkout of synthjax")
    start, end = f"<!-- study {study} -->", f"<!-- end of study {study} -->"
    old = path.read_text()
    pattern = re.compile(re.escape(start) + "(.*?)" + re.escape(end), re.DOTALL)
    there = pattern.search(old)
    found = _by_name(there[1]) if there else {}
    found |= {name: text for name, text in tables.items() if text}
    names = sorted(found, key=["", *order].index)  # stray text, under "", comes first
    block = "\n".join([start, "\n\n".join(found[name] for name in names), end])
    new = pattern.sub(lambda _: block, old) if there else f"{old.rstrip()}\n\n{block}\n"
    files.write(path, new)


def _by_name(text: str) -> dict[str, str]:
    """Tables of a study by the names that `--table` has for them: that of "**1, tests. Title**" is 1."""
    found: dict[str, str] = {}
    for part in re.split(r"^(?=\*\*[^*]+\*\*$)", text.strip(), flags=re.MULTILINE):
        head = re.match(r"\*\*([^*,.]+)", part)
        name = head[1] if head else ""
        found[name] = f"{found[name]}\n\n{part.strip()}" if name in found else part.strip()
    return {name: part for name, part in found.items() if part}
