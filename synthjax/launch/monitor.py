"""Monitoring of image models during training: a grid of samples, the loss curve, the diversity of each class.

Mode collapse, a generator that draws the same few examples of a class, need not show in the losses. For conditional
models of labelled images, `collapse.diversity` is therefore measured with each grid: the mean distance between two
drawn examples of a class, divided by that between two real training examples, in the feature space of the standard CNN.
The CNN is trained once in a run, when the first grid is drawn, on at most 2,000 real training examples; `launch.eval`
trains a better one, so that its figures differ slightly.

    step 2000: class 3 has collapsed (diversity 0.12 of real)

metrics.jsonl gets a row with the mean over the classes, their minimum, and the value of each class by its name:

    {"step": 2000, "diversity": 0.84, "diversity_least": 0.12, "diversity/0": 0.92, ..., "diversity/9": 0.88}

In a run with several members (`--seeds`) only the first is monitored; messages say so: "step 2000, member 0 of 5: ...".
With 60 examples of a class of MNIST, two sets of real images have diversity 1 with a standard deviation of 0.06; for
the mean over the ten classes it is 0.02.

For Boltzmann machines, whose likelihood is intractable, the gap between the mean free energy of held-out and of
training examples is measured (Hinton 2010, "A practical guide", section 6). log Z cancels in it, and it grows when the
machine overfits.

    {"step": 2000, "free_energy_gap": 0.31}                        nats

Process 0 does this on all its local devices, from a copy of the state and with separate random keys. Training is bit
for bit the same with and without it, and the figures are the same for any number of devices.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from synthjax import files, sampling
from synthjax.data import Dataset, Split, memory
from synthjax.evals import classifiers, collapse
from synthjax.evals.draw import png
from synthjax.evals.subsample import stratified
from synthjax.gibbs import training
from synthjax.jit import over_devices, replicate
from synthjax.launch.config import Experiment
from synthjax.model import Batch, Model, State
from synthjax.train import metrics

PER_CLASS = 10
"""Examples of each class in a grid."""
GRIDS = 6
"""Diversity is measured on the examples of this many grids; the first of them is the picture."""
EXAMPLES = 1000
"""Most examples drawn to measure diversity, unless a single grid has more."""
BLOCKS = 8
"""Number of blocks that examples are drawn and scored in: up to this many devices share the work."""
LEAST_BLOCK = 25
"""Smallest block: smaller ones would take as long."""
ROWS = 2000
"""Most real examples that the CNN is trained on."""
EPOCHS = 4
"""Its training epochs: about ten seconds for MNIST on two cores, compilation included."""
GAP_ROWS = 1000
"""Most held-out, and most training, examples that the free energy is measured on."""
PIXEL_BYTES = 1_900
"""Memory of a training step of the CNN per pixel of its batch; measured on a CPU: 63 GB for 512 x 512 x 3."""
MEMORY_SHARE = 0.75
"""Share of the memory that it may take."""
KEY = 2**32 - 2
"""Folded into the run's key to derive the keys of this module. Training folds in its steps, and 2**32 - 1 for init."""


class Monitor:
    """Callable (step, state) that writes samples/step_*.png, the diversity at that step, and loss.png.

    If metrics.jsonl has the diversity of a step already, it is not measured again. `writer`, of the run's metrics, is
    None in all processes but the first, where a call does nothing; `say` prints a line for the user.
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
        self._grids = min(GRIDS, max(EXAMPLES // len(self._labels), 1))
        large = min(data.spec.shape[:2]) >= classifiers.MIN_SIDE
        self._measures = data.spec.n_classes > 0 and model.conditional and large
        self._measures &= not chosen.private  # what it says is of real images
        needed = PIXEL_BYTES * classifiers.BATCH * data.spec.shape[0] * data.spec.shape[1]
        stats = jax.local_devices()[0].memory_stats() or {}  # None on CPUs
        limit = stats.get("bytes_limit") or memory.limit()
        if self._measures and needed > MEMORY_SHARE * limit:
            self._measures = False
            if writer is not None:
                taken = f"about {memory.shown(needed)} of {memory.shown(limit)}"
                say(f"diversity is not measured: for images of this size its CNN would take {taken}")
        most = len(self._labels) * (self._grids if self._measures else 1)
        self._block = min(max(-(-most // BLOCKS), LEAST_BLOCK), most)

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
        files.write(workdir / "samples" / f"step_{step:07d}.png", png.grid(picture, levels=spec.levels))
        if measures:
            self._measure(self._writer, step, x, drawn)
        energetic = isinstance(state, training.State) and len(self._data.holdout.y) > 0
        if energetic and not any(row["step"] == step for row in metrics.read(workdir, "free_energy_gap")):
            self._writer.write(step, {"free_energy_gap": self._gap(state)})
        files.write(workdir / "loss.png", png.loss_curve(list(metrics.read(workdir))))

    def _gap(self, state: State) -> np.ndarray:
        """Mean free energy of held-out examples minus that of as many training examples, for the first member: ()."""
        rows = min(GAP_ROWS, len(self._data.holdout.y), len(self._data.train.y))
        state = replicate((self._key_draw, self._own(state)), self._devices)
        held_out, trained_on = (self._energies(state, part, rows) for part in (self._data.holdout, self._data.train))
        return np.array(held_out.mean() - trained_on.mean())

    def _energies(self, shared: tuple[jax.Array, State], part: Split, rows: int) -> np.ndarray:
        """Free energies of the first examples of a split: (rows,) f32; `shared`: key and state on the devices."""
        size, n = -(-rows // BLOCKS), len(self._devices)
        index = np.resize(np.arange(rows, dtype=np.int32), BLOCKS * size).reshape(BLOCKS, size)
        found = []
        for start in range(0, BLOCKS, n):
            own = index[np.arange(start, start + n) % BLOCKS]
            found.append(np.asarray(self._score(shared, (part.x[own], part.y[own], own))))
        return np.concatenate(found).reshape(-1)[:rows]

    @functools.cached_property
    def _devices(self) -> list[jax.Device]:
        return jax.local_devices()[:BLOCKS]

    @functools.cached_property
    def _score(self) -> Callable[[Any, Any], jax.Array]:
        """The model's score of one block on each device: ((key, state), (x as stored, y, index)) -> (devices, size)."""

        def score(shared: tuple[jax.Array, State], block: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
            assert self._model.score is not None
            x, y, index = block
            return self._model.score(*shared, Batch(self._data.spec.encode(x), y, jnp.ones(len(x)), index))

        return over_devices(score, self._devices)

    def _own(self, state: State) -> State:
        """The first member's state, on this process's first device."""
        state = sampling.local_copy(state)
        return jax.tree.map(lambda a: a[0], state) if self._chosen.seeds > 1 else state

    def _draw(self, state: State, labels: np.ndarray) -> np.ndarray:
        """Examples with those labels, as stored, drawn from the first member."""
        state = self._own(state)
        x = np.concatenate(list(sampling.draw(self._model, state, self._key_draw, labels, block=self._block)))
        return np.asarray(self._data.spec.decode(x))

    def _measure(self, writer: metrics.MetricsWriter, step: int, x: np.ndarray, y: np.ndarray) -> None:
        """Writes the diversity of examples x with labels y, and reports classes that have collapsed."""
        cnn, real, real_y = self._reference
        drawn = classifiers.features(cnn, x)
        diversity = {
            name: collapse.diversity(drawn[y == label], real[real_y == label])
            for label, name in enumerate(self._data.spec.classes)
        }
        known = {name: value for name, value in diversity.items() if value is not None}
        if known:
            values = list(known.values())
            row = {"diversity": np.array(np.mean(values)), "diversity_least": np.array(min(values))}
            writer.write(step, row | {f"diversity/{name}": np.array(value) for name, value in known.items()})
        if collapsed := collapse.collapsed(diversity):
            where = f"step {step}" + f", {self._member}" * (self._chosen.seeds > 1)
            self._say(f"{where}: {sentence({name: diversity[name] for name in collapsed}, len(diversity))}")

    @property
    def _member(self) -> str:
        """The member that is monitored, for messages."""
        return f"member 0 of {self._chosen.seeds}"

    @functools.cached_property
    def _reference(self) -> tuple[classifiers.Classifiers, np.ndarray, np.ndarray]:
        """The CNN, and features (M, F) and labels (M,) of real examples: as many of each class as are drawn, or all."""
        train, spec = self._data.train, self._data.spec
        rng = np.random.default_rng(self._chosen.seed)
        rows = stratified(rng, train.y, ROWS)
        by = f" by {self._member}" * (self._chosen.seeds > 1)
        self._say(f"training a small CNN on {len(rows):,} real examples, to measure the diversity of each class{by}")
        examples, protocol = (train.x[rows], train.y[rows]), classifiers.STANDARD.with_epochs(EPOCHS)
        cnn = classifiers.train(self._key_cnn, examples, spec, protocol=protocol, seeds=1)
        order = rng.permutation(len(train.y))
        most = PER_CLASS * self._grids
        real = np.concatenate([order[train.y[order] == label][:most] for label in range(spec.n_classes)])
        return cnn, classifiers.features(cnn, train.x[real]), train.y[real]


def sentence(collapsed: Mapping[str, float | None], n_classes: int) -> str:
    """The message that classes have collapsed; `collapsed`: name -> diversity of at least one of `n_classes`."""
    names = list(collapsed)
    figures = [f"{value:.2f}" for value in collapsed.values()]
    if len(names) == 1:
        return f"class {names[0]} has collapsed (diversity {figures[0]} of real)"
    if len(names) == n_classes:
        return f"all {n_classes} classes have collapsed (diversity {min(figures)} to {max(figures)} of real)"
    listed = ", ".join(f"{name} ({figure})" for name, figure in zip(names, figures, strict=True))
    return f"classes {listed} have collapsed (diversity, of real, in brackets)"
