"""Trains one of the systems that `benchmarks.unseen` compares with, in that system's own environment, and draws rows.

    python unseen_peers.py SYSTEM TRAIN.csv OUT.csv DATES ROWS SEED CPU_SECONDS

Runs by itself: neither synthjax nor anything else of this folder is imported. Each system has the settings that it
comes with; training stops after so many CPU seconds. DATES are the columns of dates, separated by tabs.
"""

import sys
import tempfile
import time
import types
from pathlib import Path

import numpy as np
import pandas as pd

LEVELS = 1_000
"""ctgan, which gives each value of a text a column of zeros and ones, is not shown texts with more values."""
EPOCHS = 300
"""ctgan's own number."""


def mostlyai(frame: pd.DataFrame, rows: int, seed: int, seconds: float) -> pd.DataFrame:
    """The engine's five steps; its clock is that of the process, so that what else runs here takes nothing from it."""
    from mostlyai import engine
    from mostlyai.engine._tabular import training

    training.time = types.SimpleNamespace(time=time.process_time)
    engine.set_random_state(seed)
    with tempfile.TemporaryDirectory() as folder:
        engine.split(frame, workspace_dir=folder)
        engine.analyze(workspace_dir=folder)
        engine.encode(workspace_dir=folder)
        engine.train(workspace_dir=folder, max_training_time=seconds / 60, device="cpu")
        engine.generate(workspace_dir=folder, sample_size=rows, device="cpu")
        return pd.read_parquet(Path(folder) / "SyntheticData")


def sdv(frame: pd.DataFrame, rows: int, seed: int, seconds: float) -> pd.DataFrame:
    """The Gaussian copula; it takes seconds."""
    from sdv.metadata import Metadata
    from sdv.single_table import GaussianCopulaSynthesizer

    np.random.seed(seed)  # noqa: NPY002 (what SDV draws from)
    tables = {"table": frame}
    model = GaussianCopulaSynthesizer(Metadata.detect_from_dataframes(tables))
    model.fit(tables)
    return model.sample(rows)["table"]


def ctgan(frame: pd.DataFrame, rows: int, seed: int, seconds: float) -> pd.DataFrame:
    """As many of its 300 epochs as fit: what one costs is measured first. Missing numbers are a column of their own."""
    from ctgan import CTGAN

    dates = frame.select_dtypes("datetime").columns
    texts = frame.select_dtypes("object")
    shown = frame.drop(columns=texts.columns[texts.nunique() > LEVELS])
    shown = shown.assign(**{name: shown[name].astype("int64") / 86_400e9 for name in dates})
    discrete = list(shown.select_dtypes("object"))
    shown[discrete] = shown[discrete].fillna("(missing)")
    gone = [name for name in shown if shown[name].isna().any()]
    for name in gone:
        shown[f"{name} is missing"] = shown[name].isna().map(str)
        shown[name] = shown[name].fillna(shown[name].median())
    texts, discrete = discrete, discrete + [f"{name} is missing" for name in gone]

    def fitted(epochs: int) -> tuple["CTGAN", float]:
        begun = time.process_time()
        model = CTGAN(epochs=epochs, enable_gpu=False)
        model.set_random_state(seed)
        model.fit(shown, discrete)
        return model, time.process_time() - begun

    once, twice = fitted(1)[1], fitted(3)[1]
    epoch = max((twice - once) / 2, 1e-3)
    made = fitted(int(np.clip((seconds - max(once - epoch, 0)) / epoch, 1, EPOCHS)))[0].sample(rows)
    for name in gone:
        made[name] = made[name].where(made[f"{name} is missing"] != "True")
    made[texts] = made[texts].where(made[texts] != "(missing)")
    for name in dates:
        made[name] = pd.to_datetime((made[name] * 86_400e9).round().astype("int64")).dt.round("s")
    return made[[name for name in frame if name in made]]


SYSTEMS = {"mostlyai-engine": mostlyai, "sdv": sdv, "ctgan": ctgan}


def main(system: str, train: str, out: str, dates: str, rows: int, seed: int, seconds: float) -> None:
    """Reads, trains, draws, writes."""
    frame = pd.read_csv(train, parse_dates=[name for name in dates.split("\t") if name])
    texts = frame.columns[[kind not in "iufM" for kind in (frame[name].dtype.kind for name in frame)]]
    for name in texts:
        frame[name] = frame[name].astype(object).where(frame[name].notna(), None)
    SYSTEMS[system](frame, rows, seed, seconds).to_csv(out, index=False)


if __name__ == "__main__":
    asked = sys.argv[1:]
    main(asked[0], asked[1], asked[2], asked[3], int(asked[4]), int(asked[5]), float(asked[6]))
