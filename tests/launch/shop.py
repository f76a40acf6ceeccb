"""A small table with a column of every kind, runs on it and what they draw, for the tests beside this file."""

from pathlib import Path

import numpy as np
import pandas as pd

import synthjax
from synthjax.data.requests import Job
from synthjax.launch import rejection, runs, sample
from synthjax.launch.config import Experiment
from synthjax.models import mixture

MIXTURE = mixture.Config(components=3, bins=16, batch_size=64, steps=3)
BLOCK = 64


def shop(n: int = 300, seed: int = 0) -> pd.DataFrame:
    """Rows of which a tenth lack their age, visit, town or membership; `churned` depends on the age."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, n)
    frame = pd.DataFrame(
        {
            "customer_id": [f"C-{i:05d}" for i in rng.permutation(n)],
            "age": pd.array(age, "Int64"),
            "spent": np.round(rng.gamma(2.0, 40.0, n), 2),
            "visited": (pd.Timestamp("2021-01-04") + pd.to_timedelta(rng.integers(0, 900, n), "D")).strftime(
                "%d/%m/%Y"
            ),
            "town": rng.choice(["Ayr", "Bath", "=Deal"], n, p=[0.5, 0.4, 0.1]),
            "member": rng.choice(["true", "false"], n),
            "notes": [" ".join(rng.choice(["asked", "about", "a", "late", "parcel"], 9)) + f" {i}" for i in range(n)],
            "country": "UK",
            "churned": np.where(age + rng.normal(0, 8, n) > 45, "yes", "no"),
        }
    )
    for name in ("age", "visited", "town", "member"):
        frame[name] = frame[name].astype(object).where(rng.random(n) > 0.1, None)
    return frame


def write_shop(path: Path, n: int = 300) -> Path:
    """The table as a CSV file."""
    shop(n).to_csv(path, index=False)
    return path


def experiment(folder: Path, name: str = "mixture", model=MIXTURE, **fields) -> Experiment:
    fields = {"target": "churned", "checkpoint_every": 1, **fields}
    return Experiment(name, model, "shop.csv", str(folder), **fields)


def draw(workdir: Path, out: Path, n: int, *where: str, block: int = BLOCK, **options) -> pd.DataFrame | None:
    """Draws rows into a .csv or .parquet file, and reads it."""
    model, state, spec = synthjax.load(workdir)
    encoder = runs.encoder(workdir)
    counts, wanted = rejection.plan(model, spec, encoder, where, block, n=n, per_class=None)
    described, dataset = sample.describe_run(workdir, state, 0)
    request = sample.make_request(
        model,
        spec,
        counts,
        described=described,
        dataset=dataset,
        form=sample.output_form(str(out), None),
        block=block,
        encoder=encoder,
        where=where,
    )
    sample.fulfil(model, state, Job(request, out, encoder), wanted=wanted, **options)
    return read(out)


def read(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, keep_default_na=False, dtype=str)
