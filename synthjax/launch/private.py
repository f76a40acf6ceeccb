"""Training with differential privacy: what `train` and `synthesize` do otherwise if there is a `--dp.epsilon`.

    DIR/publish/     what may be published: covered by epsilon, see `synthjax.launch.publish`
    DIR/internal/    the run, as any other, and for its owner alone; also
        key            of the noise, the splits and the batches, until the run is finished
        private.json   the fit in the ledger, and what was released
        misfits.json   how many training rows of each column lie outside what is public or was released of it

The fit is entered in the ledger, and that is on disk, before the key is used. Then all randomness comes from the key:
splits and batches, noise, initial weights. So an interrupted run goes on bit for bit and repeats no noise on other
data. When the run is finished the key is destroyed, and nobody can compute the noise again or go on training.

No step looks at held-out rows: there is no early stopping, no choice between models, no search for rules. Of the rows'
number only the noisy one is used or printed.
"""

import dataclasses
import hashlib
import hmac
import json
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from synthjax import files
from synthjax.data import Dataset, Split, private_images, sources
from synthjax.data.arrays import Source
from synthjax.data.feed import Feed
from synthjax.errors import InputError
from synthjax.launch import config, runs
from synthjax.launch.config import Experiment
from synthjax.launch.private_checks import account, counts, encoder_share, find
from synthjax.model import DataSpec, Model
from synthjax.privacy import accounting, budget, gradients, noise, units
from synthjax.privacy.accounting import Release
from synthjax.privacy.counts import Counts
from synthjax.privacy.ledger import Ledger, default_folder

if TYPE_CHECKING:
    from synthjax.data.private_table import Private

INTERNAL, PUBLISH = "internal", "publish"
"""Folders of a private run."""
KEY, RECORD, MISFITS = "key", "private.json", "misfits.json"
MODEL = "table_marginals"
"""The model of `synthesize --epsilon`, which compares none: that would be charged."""
STEPS, BATCH = 400, 1024
"""Steps, and rows of a batch on average, of models that are trained by gradients, where no person says others."""
SIXTH = 6
"""Rows, in fractions of all, that a batch has at most by default."""
MICROBATCH = 256
"""Rows whose gradients are computed at once."""
FAR = 10.0
"""Standard deviations of the noisy number of rows below which the true one is."""


def fitted(chosen: Experiment, said: Collection[str], spec: DataSpec) -> Experiment:
    """The experiment with the settings for private training, where no person said them.

    They are `PRIVATE` of the model's family. Of a model that is trained by gradients, steps and batches depend on the
    noisy number of rows.
    """
    family = config.family(chosen.name)
    changes = {name: value for name, value in getattr(family, "PRIVATE", {}).items() if f"model.{name}" not in said}
    by_gradients = not counts(family)
    if by_gradients and "model.steps" not in said:
        changes["steps"] = STEPS
    if by_gradients and "model.batch_size" not in said:
        changes["batch_size"] = max(min(BATCH, spec.rows // SIXTH), 1)
    return dataclasses.replace(chosen, model=dataclasses.replace(chosen.model, **changes))


def close_to_others(folder: Path) -> None:
    """Makes a folder that its owner alone may read."""
    with files.named_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)


# --- a run --------------------------------------------------------------------------------------------------------


@dataclass
class Session:
    """A private run: its key, its budget, and what it has released."""

    chosen: Experiment
    folder: Path
    """DIR/internal."""
    key: noise.Key
    budget: budget.Budget
    ledger: Ledger | None
    """None: a test."""
    fit: str
    share: float = 0.0
    """Of the budget, for what is learnt before the model is trained."""
    releases: list[Release] = field(default_factory=list)
    public: list[str] = field(default_factory=list)
    """What is taken as public: columns with entries, or parts of images."""
    notes: list[str] = field(default_factory=list)
    """Lines for the user."""

    @classmethod
    def open(cls, chosen: Experiment, out: Path) -> "Session":
        """Starts a run in DIR, or continues it.

        Raises:
            InputError: the run is finished, or its key is gone; or it would exceed the owner's total.
        """
        folder, dp = out / INTERNAL, chosen.dp
        assert dp.epsilon is not None
        if not files.is_local(out):
            raise InputError(f"{out}: a private run needs a local folder, for its key")
        limit = budget.Budget(dp.epsilon, dp.delta)
        ledger = None if dp.test_seed is not None else Ledger(default_folder(), account(chosen))
        record = files.read_json(folder / RECORD)
        if record is not None and record.get("finished"):
            raise InputError(
                f"{out}: is finished, and its key destroyed: it cannot go on; a new run needs a new folder"
            )
        if record is not None and not (folder / KEY).exists() and ledger is not None:
            raise InputError(
                f"{folder / KEY}: is gone, and the run cannot go on without it; a new run needs a new folder"
            )
        asked = json.loads(json.dumps(config.to_dict(chosen)))
        if record is not None:
            if different := config.differences(record.get("experiment", {}), asked):
                raise InputError(
                    f"{out}: belongs to another run ({'; '.join(different)}); give another folder, which is another fit"
                )
            if ledger is not None:
                ledger.entry(record["fit"])
            key = noise.Key.read(folder / KEY) if ledger else noise.Key.from_seed(dp.test_seed or 0)
            return cls(chosen, folder, key, limit, ledger, record["fit"])
        for name in ("config.json", KEY):
            if (folder / name).exists():
                raise InputError(f"{folder}: holds {name} without {RECORD}; give another folder")
        if (out / PUBLISH).exists():
            raise InputError(f"{out / PUBLISH}: is there already; give another folder")
        close_to_others(folder)
        fit = "test"
        if ledger is not None:
            about = {"model": chosen.name, "dataset": Path(chosen.dataset).name, "unit": dp.unit or "row"}
            fit = ledger.reserve(epsilon=dp.epsilon, delta=dp.delta, total=dp.total, notes=about)
        key = noise.Key.create(folder / KEY) if ledger else noise.Key.from_seed(dp.test_seed or 0)
        made = cls(chosen, folder, key, limit, ledger, fit)
        made.record({"experiment": asked})
        return made

    def record(self, values: dict[str, Any]) -> None:
        """Adds to the record of the run."""
        known = files.read_json(self.folder / RECORD) or {"fit": self.fit, "test": self.ledger is None}
        files.write(self.folder / RECORD, json.dumps({**known, **values}, indent=1))

    # --- the data

    def coins(self, name: str, n: int) -> np.ndarray:
        """(n,) f64, uniform in [0, 1), of a stream of the key."""
        return self.key.fold_in(f"coins: {name}").generator().random(n)

    def spend(self) -> Any:
        """What the histograms of columns may spend."""
        from synthjax.data.private_histograms import Spend

        most, most_rows = budget.THRESHOLDS * self.chosen.dp.delta, self.chosen.dp.rows_per_unit

        def sigma(share: float) -> float:
            return units.discrete_noise(self.budget.part(self.share * share), most_rows)

        def noisy(name: str, exact: np.ndarray, share: float) -> np.ndarray:
            drawn = noise.discrete_gaussian(self.key.fold_in(f"histogram: {name}"), sigma(share), exact.shape)
            of_table = most_rows * noise.distance(sigma(share))
            self.releases.append(Release(name, "discrete gaussian", sigma(share), delta=of_table, rows=most_rows))
            return np.asarray(exact, np.int64) + drawn

        def threshold(name: str, deviation: float, columns: int) -> int:
            self.releases.append(Release(f"{name}: threshold", "threshold", 0.0, delta=most / columns))
            return budget.threshold(deviation, most / columns, most_rows)

        return Spend(noisy, sigma, threshold)

    def data(self, found: "Private | Source") -> Dataset:
        """The data set, with what is learnt of noisy histograms alone: a schema and an encoder, or shares of classes.

        Args:
            found: of `private_checks.check`.

        Raises:
            InputError: the data has changed since the run was started, or see `private_table` and `private_images`.
        """
        chosen, images = self.chosen, isinstance(found, Source)
        self.share = encoder_share(chosen, found)
        made = self._images(found) if isinstance(found, Source) else self._table(found)
        if chosen.dp.delta >= 1 / max(made.spec.rows, 1):
            raise InputError(
                f"--dp.delta={chosen.dp.delta:g}: must be below 1 / {'images' if images else 'rows'}, which is about "
                f"{1 / max(made.spec.rows, 1):.2g}; with more, to publish a whole row would count as private"
            )
        return made

    def _table(self, private: "Private") -> Dataset:
        from synthjax.data import private_table

        chosen = self.chosen
        self.public = sorted(private.public)
        self._check_same(private_table.digest(private.found.train))
        splits = private_table.cut(private, self.coins, chosen.holdout, chosen.dp.rows_per_unit)
        encoding = chosen.encoding or getattr(chosen.model, "encoding", "quantile")
        rows, encoder, made = private_table.learn(private, splits, self.spend(), encoding)
        encoded, table = private_table.encode(private, splits, encoder)
        self.notes = private_table.notes(private, encoder.schema)
        misfits = private_table.misfits(private, splits["train"], encoder.schema)
        files.write(self.folder / MISFITS, json.dumps(misfits, indent=1, ensure_ascii=False))
        spec = dataclasses.replace(encoder.spec().measured(made), rows=rows)
        return dataset(chosen.dataset, spec, encoded, encoder, table)

    def _images(self, source: Source) -> Dataset:
        self.public, self.notes = list(private_images.PUBLIC), private_images.notes(source)
        self._check_same(private_images.digest(source))
        self.record({"conversions": list(source.notes)})  # for the owner: they count images
        splits = private_images.cut(source, self.coins, self.chosen.holdout)
        spec = private_images.learn(source, splits["train"], self.spend().noise)
        return dataset(self.chosen.dataset, spec, private_images.split_rows(source, splits))

    def _check_same(self, digest: bytes) -> None:
        """Raises InputError if the data has changed: the same noise on other data would show the difference."""
        mark = hmac.new(self.key.fold_in("data").secret, digest, hashlib.sha256).hexdigest()
        known = (files.read_json(self.folder / RECORD) or {}).get("data")
        if known not in (None, mark):
            raise InputError(
                f"{self.chosen.dataset}: has changed since the run was started; the same noise on other rows would "
                "show the difference: give another folder, which is another fit"
            )
        self.record({"data": mark})

    # --- the model

    def build(self, spec: DataSpec) -> Model:
        """The model, with noise that spends the rest of the budget; what it releases is recorded first.

        Raises:
            InputError: the model cannot be private.
        """
        chosen, dp = self.chosen, self.chosen.dp
        family, target = config.family(chosen.name), self.budget.part(1 - self.share)
        with runs.precision(chosen):
            if counts(family):
                hook = Counts(target, dp.rows_per_unit)
                model: Model = family.build(chosen.model, spec, count=hook)
                named = [one[0] for one in family.releases(chosen.model, spec)]
                traced = hook.traced(model, spec)
                self.releases += [dataclasses.replace(one, name=n) for one, n in zip(traced, named, strict=True)]
            else:
                rate = self.rate(spec)
                expected = rate * spec.rows
                plain = family.build(chosen.model, spec, gradients.dp_grad(dp.clip, 1.0, expected))
                one = gradients.release(
                    "gradients", plain, chosen.last_step, noise=1.0, rate=rate, rows=dp.rows_per_unit
                )
                multiplier = budget.within(one, target, budget.SLACK * dp.delta)
                self.releases.append(dataclasses.replace(one, noise=multiplier, delta=self.truncation))
                grad = gradients.dp_grad(
                    dp.clip, multiplier, expected, min(MICROBATCH, self.capacity(spec, plain.n_batches))
                )
                model = family.build(chosen.model, spec, grad)
        spent = accounting.epsilon(self.releases, dp.delta)
        if spent > self.budget.epsilon * (1 + 1e-9):
            raise AssertionError(f"the releases spend {spent}, more than {dp.epsilon}")
        self.record({"releases": [dataclasses.asdict(one) for one in self.releases], "spent": spent})
        return model

    def rate(self, spec: DataSpec) -> float:
        """The probability of each row to be in a batch."""
        return min(1.0, self.chosen.model.batch_size / spec.rows)

    @property
    def truncation(self) -> float:
        """Probability with which one of the batches may be too small for its sample."""
        return budget.TRUNCATION * self.chosen.dp.delta / (1 + math.exp(self.budget.epsilon))

    def feed(self, feed: Feed, spec: DataSpec) -> Feed:
        """The feed of Poisson samples, in batches of a size that follows from public and noisy figures."""
        seed = self.key.fold_in("batches").integer()
        if feed.kind == "dataset":
            return dataclasses.replace(feed, seed=seed)
        size = self.capacity(spec, feed.n_batches)
        return dataclasses.replace(feed, batch_size=size, seed=seed, poisson=self.rate(spec))

    def capacity(self, spec: DataSpec, n_batches: int) -> int:
        """The size of a batch that Poisson samples hardly ever exceed, by public and noisy figures alone."""
        sigma = next(one.noise for one in self.releases if one.name == "rows")
        most, steps = spec.rows + int(FAR * sigma), self.chosen.last_step * n_batches
        size = accounting.capacity(most, self.rate(spec), steps, self.truncation)
        unit = math.lcm(jax.device_count(), MICROBATCH if size > MICROBATCH else 1)
        return -(-size // unit) * unit

    def training_key(self) -> jax.Array:
        """The key of training: initial weights, and the noise of gradients and counts."""
        return self.key.fold_in("training").jax_key()

    def finish(self) -> None:
        """Enters in the ledger what was released, and destroys the key."""
        if self.ledger is not None:
            self.ledger.finish(self.fit, self.releases)
            noise.destroy(self.folder / KEY)
        self.record({"finished": True})


# --- the data of a run --------------------------------------------------------------------------------------------


def dataset(name: str, spec: DataSpec, rows: Any, encoder: Any = None, table: Any = None) -> Dataset:
    """A private data set. Its fingerprint is that of the spec and the encoder, not of rows."""
    train, held, test = (Split(*rows[split]) for split in ("train", "holdout", "test"))
    described = json.dumps([spec.to_dict(), encoder.to_dict() if encoder else None], sort_keys=True)
    digest = hashlib.sha256(described.encode()).hexdigest()
    return Dataset(sources.short_name(name), spec, train, held, test, digest, encoder, table)


def reload(workdir: Path, chosen: Experiment, data_dir: str | None = None) -> Dataset:
    """The data of a private run, with the splits, the encoder and the spec that are in its folder."""
    found = find(dataclasses.replace(chosen, data_dir=data_dir or chosen.data_dir, schema=None))
    splits, spec = runs.splits(workdir), runs.spec(workdir)
    if isinstance(found, Source):
        return dataset(chosen.dataset, spec, private_images.split_rows(found, splits))
    from synthjax.data import private_table

    encoder = runs.encoder(workdir)
    rows, table = private_table.encode(found, splits, encoder)
    return dataset(chosen.dataset, spec, rows, encoder, table)
