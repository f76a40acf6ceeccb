"""Monitoring of a model of images while it trains: a grid of samples, the loss curve, the diversity of each class.

A generator that makes the same few examples of a class again and again has collapsed, which its losses need not show.
So, where the images are labelled and the model is conditional, `collapse.diversity` is measured beside each grid: the
mean distance of two drawn examples of a class over that of two real training examples, in the features of the standard
CNN. The CNN is trained once in a run, when the first grid is drawn, on at most 2,000 real training examples; the
report of `launch.eval` trains a better one, whose figures differ a little.

    step 2000: class 3 has collapsed (diversity 0.12 of real)

and in metrics.jsonl, as a row of its own: the mean over the classes, the least of them, and that of each by its name,

    {"step": 2000, "diversity": 0.84, "diversity_least": 0.12, "diversity/0": 0.92, ..., "diversity/9": 0.88}

Of several members (`--seeds`) the first alone is looked at, and the lines say so: "step 2000, member 0 of 5: ...".
Over 60 examples of a class of MNIST, two sets of real ones give 1 with a standard deviation of 0.06; the mean over the
ten classes, 0.02.

Of a Boltzmann machine, whose likelihood nobody can follow, the gap is measured between the mean free energy of held-out
and of training examples (Hinton 2010, "A practical guide", section 6): log Z cancels in it, and it grows when a machine
learns its training set by heart.

    {"step": 2000, "free_energy_gap": 0.31}                        nats

Process 0 does all this by itself, on its first device, from a copy of the state and with keys of its own. Training is
bit for bit the same with and without it.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from synthjax import sampling
from synthjax.data import Dataset, memory
from synthjax.evals import classifiers, collapse, plots, utility
from synthjax.gibbs import training
from synthjax.jit import jit
from synthjax.launch.config import Experiment
from synthjax.model import Batch, Model, State
from synthjax.train import metrics

PER_CLASS = 10
"""Examples of each class in a grid."""
GRIDS = 6
"""Diversity is measured on as many examples as that many grids hold, the first of which is the one in the picture."""
EXAMPLES = 1000
"""Examples drawn for diversity at most, unless a single grid holds more."""
ROWS = 2000
"""Real examples that the CNN is trained on at most."""
EPOCHS = 4
"""Its passes through them: some ten seconds for MNIST on two cores, compilation included."""
GAP_ROWS = 1000
"""Examples of either kind that the free energy is measured on at most."""
PIXEL_BYTES = 1_900
"""What a step of training the CNN takes for each pixel of its batch: 63 GB were asked for 512 x 512 x 3, on a CPU."""
MEMORY_SHARE = 0.75
"""Of the memory, what it may take."""
KEY = 2**32 - 2
"""Folded into the run's key for all that is random here: training folds in its steps, and 2**32 - 1 for its start."""


class Watch:
    """Called with (step, state), writes samples/step_*.png, the diversity at that step, and loss.png.

    A step whose diversity is in metrics.jsonl already is not measured again.

    Args:
      workdir: of the run.
      chosen: its experiment.
      model: what is trained.
      data: images, and what the model is trained on.
      writer: of the run's metrics; None in all processes but the first, which then have nothing to do.
      say: takes a line for the user.
    """

    def __init__(
        self,
        workdir: Path,
        chosen: Experiment,
        model: Model,
        data: Dataset,
        writer: metrics.MetricsWriter | None,
        say: Callable[[str], None],
    ):
        self._workdir, self._chosen, self._model, self._data = workdir, chosen, model, data
        self._writer, self._say = writer, say
        key = jax.random.fold_in(jax.random.key(chosen.seed), np.uint32(KEY))
        self._key_draw, self._key_cnn = jax.random.split(key)
        self._labels = np.repeat(np.arange(max(data.spec.n_classes, 1), dtype=np.int32), PER_CLASS)
        self._score = jit(model.score) if model.score else None
        self._grids = min(GRIDS, max(EXAMPLES // len(self._labels), 1))
        large = min(data.spec.shape[:2]) >= classifiers.MIN_SIDE
        self._measures = data.spec.n_classes > 0 and model.conditional and large
        needed, stats = cnn_bytes(data.spec.shape), jax.local_devices()[0].memory_stats() or {}  # None of a CPU
        limit = stats.get("bytes_limit") or memory.there()
        if self._measures and needed > MEMORY_SHARE * limit:
            self._measures = False
            if writer is not None:
                taken = f"about {memory.spelt(needed)} of {memory.spelt(limit)}"
                say(f"diversity is not measured: for images of this size its CNN would take {taken}")

    def __call__(self, step: int, state: State) -> None:
        """Writes the grid, the diversity and the loss curve after `step` steps."""
        if self._writer is None:
            return
        spec, workdir, labels = self._data.spec, self._workdir, self._labels
        known = any(row["step"] == step for row in metrics.read(workdir, "diversity"))
        measures = self._measures and not known
        drawn = np.tile(labels, self._grids) if measures else labels
        x = self._draw(state, drawn)
        (workdir / "samples").mkdir(exist_ok=True)
        picture = x[: len(labels)].reshape(-1, PER_CLASS, *spec.shape)
        plots.grid(picture, workdir / "samples" / f"step_{step:07d}.png", levels=spec.levels)
        if measures:
            self._measure(self._writer, step, x, drawn)
        energetic = isinstance(state, training.State) and len(self._data.holdout.y) > 0
        if energetic and not any(row["step"] == step for row in metrics.read(workdir, "free_energy_gap")):
            self._writer.write(step, {"free_energy_gap": self._gap(state)})
        plots.loss_curve(list(metrics.read(workdir)), workdir / "loss.png")

    def _gap(self, state: State) -> np.ndarray:
        """Mean free energy of held-out examples less that of as many training examples, of the first member: ()."""
        assert self._score is not None
        state = self._own(state)
        rows = min(GAP_ROWS, len(self._data.holdout.y), len(self._data.train.y))
        means = []
        for part in (self._data.holdout, self._data.train):
            x = self._data.spec.encode(part.x[:rows])
            batch = Batch(x, jnp.asarray(part.y[:rows]), jnp.ones(rows), jnp.arange(rows))
            means.append(np.asarray(self._score(self._key_draw, state, batch)).mean())
        return np.array(means[0] - means[1])

    def _own(self, state: State) -> State:
        """The first member's state, on this process's first device."""
        state = sampling.local_copy(state)
        return jax.tree.map(lambda a: a[0], state) if self._chosen.seeds > 1 else state

    def _draw(self, state: State, labels: np.ndarray) -> np.ndarray:
        """Examples of those labels as stored, from the first member."""
        state = self._own(state)
        x = np.concatenate(list(sampling.draw(self._model, state, self._key_draw, labels, block=len(self._labels))))
        return np.asarray(self._data.spec.decode(x))

    def _measure(self, writer: metrics.MetricsWriter, step: int, x: np.ndarray, y: np.ndarray) -> None:
        """Writes the diversity of examples drawn at a step, and says which classes have collapsed."""
        cnn, real, real_y = self._judge
        drawn = classifiers.features(cnn, x)
        found = {
            name: collapse.diversity(drawn[y == label], real[real_y == label])
            for label, name in enumerate(self._data.spec.classes)
        }
        known = {name: value for name, value in found.items() if value is not None}
        if known:
            values = list(known.values())
            row = {"diversity": np.array(np.mean(values)), "diversity_least": np.array(min(values))}
            writer.write(step, row | {f"diversity/{name}": np.array(value) for name, value in known.items()})
        if collapsed := collapse.collapsed(found):
            where = f"step {step}" + f", {self._member}" * (self._chosen.seeds > 1)
            self._say(f"{where}: {sentence({name: found[name] for name in collapsed}, len(found))}")

    @property
    def _member(self) -> str:
        """Whose examples are looked at."""
        return f"member 0 of {self._chosen.seeds}"

    @functools.cached_property
    def _judge(self) -> tuple[classifiers.Classifiers, np.ndarray, np.ndarray]:
        """The CNN, and features (M, F) and labels (M,) of real examples: of each class as many as are drawn, or all."""
        train, spec = self._data.train, self._data.spec
        rng = np.random.default_rng(self._chosen.seed)
        rows = utility.stratified(rng, train.y, ROWS)
        by = f" by {self._member}" * (self._chosen.seeds > 1)
        self._say(f"training a small CNN on {len(rows):,} real examples, to watch how varied each class is drawn{by}")
        cnn = classifiers.train(self._key_cnn, train.x[rows], train.y[rows], spec, seeds=1, epochs=EPOCHS)
        order = rng.permutation(len(train.y))
        most = PER_CLASS * self._grids
        real = np.concatenate([order[train.y[order] == label][:most] for label in range(spec.n_classes)])
        return cnn, classifiers.features(cnn, train.x[real]), train.y[real]


def cnn_bytes(shape: tuple[int, ...]) -> int:
    """About how much memory a step of training the CNN takes, for images of that shape (H, W, C)."""
    return PIXEL_BYTES * classifiers.BATCH * shape[0] * shape[1]


def sentence(collapsed: Mapping[str, float | None], n_classes: int) -> str:
    """That classes have collapsed: name -> diversity, of at least one class of `n_classes`."""
    names = list(collapsed)
    figures = [f"{value:.2f}" for value in collapsed.values()]
    if len(names) == 1:
        return f"class {names[0]} has collapsed (diversity {figures[0]} of real)"
    if len(names) == n_classes:
        return f"all {n_classes} classes have collapsed (diversity {min(figures)} to {max(figures)} of real)"
    listed = ", ".join(f"{name} ({figure})" for name, figure in zip(names, figures, strict=True))
    return f"classes {listed} have collapsed (diversity, of real, in brackets)"
