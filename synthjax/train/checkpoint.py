"""Checkpoints that can be trusted: written by Orbax, verified byte by byte before they are used.

A step's folder holds the state and a JSON record (configuration, data fingerprint). When Orbax has committed it, process 0
adds `sha256.json`, the hash of every file in it. A folder without that manifest is one whose writing was interrupted; a
folder whose files differ from it is damaged. Both are passed over, with a word, for the one before.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from synthjax.errors import CheckpointError
from synthjax.model import State

MANIFEST = "sha256.json"


class Checkpoints:
    """The checkpoints in one folder, `<directory>/<step>`.

    Args:
      directory: created if missing; shared by all processes.
      keep: how many of the newest are kept.
      say: receives one line about each checkpoint that is passed over.
    """

    def __init__(self, directory: str | Path, keep: int = 3, say: Callable[[str], None] = print):
        logging.getLogger("absl").addFilter(_quiet)
        self.directory = Path(directory).absolute()
        self._say = say
        self._keep = keep
        self._manager: ocp.CheckpointManager | None = None

    def newest(self) -> int | None:
        """Step of the newest good checkpoint, None if there is none; every process gets process 0's answer."""
        step = -1
        if jax.process_index() == 0:
            for candidate in reversed(self._steps()):
                fault = damage(self.directory / str(candidate))
                if fault is None:
                    step = candidate
                    break
                self._say(f"checkpoint {candidate} in {self.directory} is not usable ({fault}); trying the one before")
        if jax.process_count() > 1:
            step = int(multihost_utils.broadcast_one_to_all(np.int32(step)))
        return None if step < 0 else step

    def record(self, step: int) -> dict[str, Any]:
        """The JSON record that was saved with a step."""
        with ocp.CheckpointManager(self.directory, item_names=("record",)) as manager:
            return manager.restore(step, args=ocp.args.Composite(record=ocp.args.JsonRestore()))["record"]

    def restore(self, step: int, like: State) -> State:
        """The state of a step; `like` gives structure, shapes, dtypes and (if it has them) shardings."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        with ocp.CheckpointManager(self.directory, item_names=("state",)) as manager:
            try:
                restored = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))
            except (ValueError, KeyError) as error:
                reason = " ".join(str(error).split())[:200]
                raise CheckpointError(
                    f"checkpoint {step} in {self.directory} does not fit this model: {reason}"
                ) from error
            return restored["state"]

    def save(self, step: int, state: State, record: dict[str, Any]) -> None:
        """Writes a step and waits until it is committed; a folder of that step or a later one is replaced."""
        previous = self._steps()[-1:]
        try:
            self._drop_from(step)
            if self._manager is None:
                options = ocp.CheckpointManagerOptions(
                    max_to_keep=self._keep, enable_async_checkpointing=False, cleanup_tmp_directories=True
                )
                self.directory.mkdir(parents=True, exist_ok=True)
                self._manager = ocp.CheckpointManager(self.directory, options=options)
            items = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record))
            saved = self._manager.save(step, args=items, force=True)
            self._manager.wait_until_finished()
            if not saved:
                raise OSError("Orbax skipped it")
            if jax.process_index() == 0:
                _write_manifest(self.directory / str(step))
        except Exception as error:
            last = f"the last good one is step {previous[0]}" if previous else "there is none before it"
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(f"cannot write checkpoint {step} to {self.directory} ({reason}); {last}") from error

    def close(self) -> None:
        """Ends Orbax's threads."""
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    def _steps(self) -> list[int]:
        if not self.directory.is_dir():
            return []
        return sorted(int(path.name) for path in self.directory.iterdir() if path.name.isdigit())

    def _drop_from(self, step: int) -> None:
        """Removes what an earlier run left at `step` or after: interrupted, damaged, or ahead of where this one resumed."""
        stale = [old for old in self._steps() if old >= step]
        if stale and jax.process_index() == 0:
            for old in stale:
                shutil.rmtree(self.directory / str(old))
        if stale:
            self.close()
        if stale and jax.process_count() > 1:
            multihost_utils.sync_global_devices("stale checkpoints removed")


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint's folder, in a few words; None if every file has its recorded hash."""
    try:
        expected = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        return f"no {MANIFEST}: its writing was interrupted"
    except (OSError, ValueError):
        return f"{MANIFEST} cannot be read"
    for name, digest in expected.items():
        if not (folder / name).is_file():
            return f"{name} is missing"
        if _sha256(folder / name) != digest:
            return f"{name} has changed"
    return None


def _write_manifest(folder: Path) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    text = json.dumps({str(path.relative_to(folder)): _sha256(path) for path in files}, indent=1)
    write_atomically(folder / MANIFEST, text.encode())


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that it is there whole or not at all, also after a crash."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _quiet(record: logging.LogRecord) -> bool:
    """Keeps Orbax's many info lines out of a user's terminal."""
    return record.levelno >= logging.ERROR or "orbax" not in record.pathname
