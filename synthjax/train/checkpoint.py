"""Checkpoints that can be trusted: written by Orbax, verified byte by byte before they are used.

A step's folder holds the state and a JSON record (configuration, data fingerprint). When Orbax has committed it,
process 0 adds `sha256.json`, the hash of every file in it. A folder without that manifest is one whose writing was
interrupted; a folder whose files differ from it is damaged. Both are passed over, with a word, for the one before.
Older checkpoints are removed only after the new one has its manifest, so that there is a good one at every instant.
"""

import hashlib
import json
import logging
import os
import shutil
import tempfile
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
UNFINISHED = f"no {MANIFEST}: its writing was interrupted"
_ALL_DAMAGED = -2


class _Manager(ocp.CheckpointManager):
    """Orbax's, but for its question to JAX about preemption: it would put its steps among the calls of `StopSignal`."""

    def reached_preemption(self, step: int) -> bool:
        return False


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
        self._said: set[str] = set()
        self._keep = keep
        self._manager: ocp.CheckpointManager | None = None

    def newest(self) -> int | None:
        """Step of the newest good checkpoint, None if there is none; every process gets process 0's answer.

        Raises:
          CheckpointError: there are checkpoints, and all of them are damaged.
        """
        step = self._newest_good() if jax.process_index() == 0 else -1
        if jax.process_count() > 1:
            step = int(multihost_utils.broadcast_one_to_all(np.int32(step)))
        if step == _ALL_DAMAGED:
            raise CheckpointError(
                f"{self.directory}: every checkpoint is damaged ({', '.join(map(str, self._steps()))}); "
                "restore one from a copy, or delete the folder to start over"
            )
        return None if step < 0 else step

    def _newest_good(self) -> int:
        """The step, -1 if nothing was saved yet, or _ALL_DAMAGED."""
        steps, begun = self._steps(), 0
        for candidate in reversed(steps):
            fault = damage(self.directory / str(candidate))
            if fault is None:
                return candidate
            begun += fault == UNFINISHED
            line = f"checkpoint {candidate} in {self.directory} is not usable ({fault}); trying the one before"
            if line not in self._said:
                self._said.add(line)
                self._say(line)
        # One that was never finished and nothing before it: the first commit was interrupted, and nothing is lost.
        return -1 if len(steps) == begun <= 1 else _ALL_DAMAGED

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
                raise CheckpointError(
                    f"checkpoint {step} in {self.directory} does not fit this model: {_reason(error)}"
                ) from error
            return restored["state"]

    def save(self, step: int, state: State, record: dict[str, Any]) -> None:
        """Writes a step and waits until it is committed; a folder of that step or a later one is replaced.

        Raises:
          CheckpointError: it cannot be written. What was written of it is removed.
        """
        previous = [old for old in self._steps() if old < step]
        try:
            self._drop_from(step)
            if self._manager is None:
                options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False, cleanup_tmp_directories=True)
                self.directory.mkdir(parents=True, exist_ok=True)
                self._manager = _Manager(self.directory, options=options)
            if jax.process_index() == 0:
                _reserve(self.directory, state)
            items = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record))
            saved = self._manager.save(step, args=items, force=True)
            self._manager.wait_until_finished()
            if not saved:
                raise OSError("Orbax skipped it")
            if jax.process_index() == 0:
                _write_manifest(self.directory / str(step))
                for old in self._steps()[: -self._keep]:
                    _remove(self.directory / str(old))
        except Exception as error:
            if jax.process_index() == 0:
                for folder in self.directory.glob(f"{step}*"):
                    if not folder.name.removeprefix(str(step))[:1].isdigit():
                        shutil.rmtree(folder, ignore_errors=True)
            last = f"the last good one is step {previous[-1]}" if previous else "there is none before it"
            raise CheckpointError(
                f"cannot write checkpoint {step} to {self.directory} ({_reason(error)}); {last}"
            ) from error

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
        """Removes what lies at `step` or after: interrupted, damaged, or ahead of where this run resumed."""
        stale = [old for old in self._steps() if old >= step]
        found = bool(stale)
        if jax.process_count() > 1:  # the others may look when process 0 has already removed them
            found = bool(multihost_utils.broadcast_one_to_all(np.int32(found)))
        if not found:
            return
        if jax.process_index() == 0:
            for old in stale:
                _remove(self.directory / str(old))
        self.close()
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("stale checkpoints removed")


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint's folder, in a few words; None if every file has its recorded hash."""
    try:
        expected = dict(json.loads((folder / MANIFEST).read_text()))
    except FileNotFoundError:
        return UNFINISHED
    except (OSError, ValueError, TypeError):
        return f"{MANIFEST} cannot be read"
    for name, digest in expected.items():
        try:
            if _sha256(folder / name) != digest:
                return f"{name} has changed"
        except FileNotFoundError:
            return f"{name} is missing"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return None


def _remove(folder: Path) -> None:
    """Removes a checkpoint; what an interruption leaves of it counts as unfinished, not as damaged."""
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder)


def _reason(error: Exception) -> str:
    """What went wrong, on one line; of a long message both ends, since the cause comes last in Orbax's."""
    text = " ".join(str(error).split())
    return text if len(text) <= 250 else f"{text[:100]} ... {text[-145:]}"


def _reserve(directory: Path, state: State) -> None:
    """Raises OSError where there is no room for the state: Orbax would find out midway, in several threads at once."""
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    if hasattr(os, "posix_fallocate"):
        with tempfile.TemporaryFile(dir=directory) as file:
            os.posix_fallocate(file.fileno(), 0, max(size, 1))


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
    """Keeps Orbax's log out of a user's terminal: what goes wrong there comes to us as an exception as well."""
    return "orbax" not in record.pathname
