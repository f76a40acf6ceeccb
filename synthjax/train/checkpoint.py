"""Checkpoints, written by Orbax and verified by checksums before they are used.

The folder of a step contains the state and a JSON record (configuration, data fingerprint). After Orbax has committed
it, process 0 adds a manifest, `sha256.json`, with the hash of every file in it. If a folder has no manifest, its
writing was interrupted. If its files differ from the manifest, it is damaged. Both kinds are skipped, with a message,
and the previous checkpoint is used. Older checkpoints are removed only after the new one has its manifest, so there is
a good checkpoint at any time.

The folder may be in an object store. A record's "files" names files beside the folder with their hashes, such as the
run's description of its data. A state is restored only if these files have not changed.

    >>> state = {"w": jnp.ones(3)}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoints = Checkpoints(folder)
    ...     checkpoints.save(7, state, {"note": "the first"})
    ...     checkpoints.newest(), checkpoints.record(7), checkpoints.restore(7, state)["w"].tolist()
    (7, {'note': 'the first'}, [1.0, 1.0, 1.0])
"""

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from synthjax import files
from synthjax.errors import CheckpointError, InputError
from synthjax.model import State

PLACEHOLDER = ocp.PLACEHOLDER
"""Placeholder of a leaf that `Checkpoints.restore` does not read."""
MANIFEST = "sha256.json"
UNFINISHED = f"no {MANIFEST}: its writing was interrupted"
_ALL_DAMAGED = -2
_UNREADABLE = -3


class _Manager(ocp.CheckpointManager):
    """Orbax's manager without its own preemption check, which would interfere with that of `StopSignal`."""

    def reached_preemption(self, step: int) -> bool:
        return False


class Checkpoints:
    """The checkpoints of a run, in the folders `<directory>/<step>`.

    Args:
      directory: local or in an object store; created if missing; shared by all processes.
      keep: number of newest checkpoints to keep.
      say: prints a line about each checkpoint that is skipped.
    """

    def __init__(self, directory: str | Path, keep: int = 3, say: Callable[[str], None] = print):
        logging.getLogger("absl").addFilter(_quiet)
        folder = files.path(directory)
        self.directory = folder.absolute() if files.is_local(folder) else folder
        self._say = say
        self._said: set[str] = set()
        self._keep = keep
        self._manager: ocp.CheckpointManager | None = None

    def newest(self) -> int | None:
        """Step of the newest good checkpoint, None if there is none; all processes get the result of process 0.

        Raises:
          CheckpointError: all checkpoints are damaged, or one cannot be read.
        """
        step, fault = self._newest_good() if jax.process_index() == 0 else (-1, "")
        if jax.process_count() > 1:
            step = int(multihost_utils.broadcast_one_to_all(np.int32(step)))
        if step == _UNREADABLE:
            raise CheckpointError(fault or f"{self.directory}: process 0 cannot read the checkpoints")
        if step == _ALL_DAMAGED:
            raise CheckpointError(
                f"{self.directory}: every checkpoint is damaged ({', '.join(map(str, self._steps()))}); "
                "restore one from a copy, or start over in another --workdir"
            )
        return None if step < 0 else step

    def _newest_good(self) -> tuple[int, str]:
        """The step, -1 if nothing was saved yet, _ALL_DAMAGED, or _UNREADABLE with the reason."""
        unfinished = 0
        try:
            steps = self._steps()
            for candidate in reversed(steps):
                fault = damage(self.directory / str(candidate))
                if fault is None:
                    return candidate, ""
                unfinished += fault == UNFINISHED
                line = f"checkpoint {candidate} in {self.directory} is not usable ({fault}); trying the one before"
                if line not in self._said:
                    self._said.add(line)
                    self._say(line)
        except InputError as error:
            if isinstance(error.__cause__, ImportError):
                return _UNREADABLE, str(error)
            return _UNREADABLE, f"{error}; checkpoints are left as they are: make them readable and try again"
        # A single unfinished checkpoint means that the first commit was interrupted. Nothing is lost then.
        return (-1 if len(steps) == unfinished <= 1 else _ALL_DAMAGED), ""

    def record(self, step: int) -> dict[str, Any]:
        """The JSON record that was saved with a step."""
        return self._read(step, "record", ocp.args.JsonRestore())

    def restore(self, step: int, like: State) -> State:
        """Reads the state of a step.

        Args:
          step: of a good checkpoint.
          like: a state of the same structure, shapes, dtypes and shardings; `jax.ShapeDtypeStruct` leaves will do.
            Leaves that are `ocp.PLACEHOLDER` are not read and are returned unchanged.

        Raises:
          CheckpointError: the state does not fit, or the files that the record names have changed since.
        """
        self.check_files(step)
        read = jax.tree.map(lambda a: a if a is PLACEHOLDER or a.size else PLACEHOLDER, like)
        abstract = jax.tree.map(lambda a: a if a is PLACEHOLDER else ocp.utils.to_shape_dtype_struct(a), read)
        arguments = ocp.checkpoint_utils.construct_restore_args(abstract)
        found = self._read(step, "state", ocp.args.PyTreeRestore(item=abstract, restore_args=arguments))
        return jax.tree.map(lambda a, value: value if a is PLACEHOLDER or a.size else _empty(a), like, found)

    def _read(self, step: int, item: str, arguments: ocp.args.CheckpointArgs) -> Any:
        with ocp.CheckpointManager(os.fspath(self.directory), item_names=(item,)) as manager:
            try:
                return manager.restore(step, args=ocp.args.Composite(**{item: arguments}))[item]
            except (ValueError, KeyError) as error:
                raise CheckpointError(
                    f"checkpoint {step} in {self.directory} does not fit this model: {files.reason(error)}"
                ) from error

    def check_files(self, step: int) -> None:
        """Raises CheckpointError if a file in the record of a step has changed since it was saved."""
        for name, digest in self.record(step).get("files", {}).items():
            path = self.directory.parent / name
            with files.named_errors(path, "read"):
                changed = "is missing" if not path.exists() else "has changed" if files.sha256(path) != digest else ""
            if changed:
                raise CheckpointError(f"{path}: {changed} since checkpoint {step} was saved; restore it from a copy")

    def save(self, step: int, state: State, record: dict[str, Any]) -> None:
        """Writes a checkpoint and waits until it is committed. Folders of this and later steps are removed first.

        Raises:
          CheckpointError: it cannot be written. Files that were already written are removed.
        """
        previous = [old for old in self._steps() if old < step]
        try:
            self._drop_from(step)
            if self._manager is None:
                options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False, cleanup_tmp_directories=True)
                self.directory.mkdir(parents=True, exist_ok=True)
                self._manager = _Manager(os.fspath(self.directory), options=options)
            if jax.process_index() == 0:
                _reserve(self.directory, state)
            stored = jax.tree.map(lambda a: a if a.size else np.zeros(1, np.int8), state)  # Orbax refuses empty arrays
            items = ocp.args.Composite(state=ocp.args.StandardSave(stored), record=ocp.args.JsonSave(record))
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
                _remove_written(self.directory, step)
            last = f"the last good one is step {previous[-1]}" if previous else "there is none before it"
            raise CheckpointError(
                f"cannot write checkpoint {step} to {self.directory} ({files.reason(error)}); {last}"
            ) from error

    def close(self) -> None:
        """Stops Orbax's threads."""
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    def _steps(self) -> list[int]:
        with files.named_errors(self.directory, "read"):
            if not self.directory.is_dir():
                return []
            return sorted(int(path.name) for path in self.directory.iterdir() if path.name.isdigit())

    def _drop_from(self, step: int) -> None:
        """Removes the checkpoints from `step` on: interrupted, damaged, or later than where this run resumed."""
        stale = [old for old in self._steps() if old >= step]
        found = bool(stale)
        if jax.process_count() > 1:  # another process may list them after process 0 has removed them
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
    """Describes the damage of a checkpoint in a few words; None if its files match its manifest.

    Raises:
      InputError: a file cannot be read without permission, or an object store fails.
    """
    with files.named_errors(folder, "read"):
        try:
            return _damage(folder)
        except OSError as error:
            if isinstance(error, PermissionError) or not files.is_local(folder):
                raise
            return f"{Path(error.filename or folder).name} cannot be read ({error.strerror})"


def _damage(folder: Path) -> str | None:
    if not (folder / MANIFEST).exists():
        return UNFINISHED
    try:
        expected = dict(json.loads((folder / MANIFEST).read_bytes()))
    except (ValueError, TypeError):
        return f"{MANIFEST} cannot be read"
    present = _files(folder)
    for name, digest in expected.items():
        if name not in present:
            return f"{name} is missing"
        if files.sha256(present[name]) != digest:
            return f"{name} has changed"
    unlisted = sorted(present.keys() - expected.keys())
    return f"{unlisted[0]} is not in {MANIFEST}" if unlisted else None


def _files(folder: Path) -> dict[str, Path]:
    """Relative path -> file, for all files of a checkpoint but its manifest."""
    found = {path.relative_to(folder).as_posix(): path for path in files.tree(folder)}
    found.pop(MANIFEST, None)
    return found


def _remove(folder: Path) -> None:
    """Removes a checkpoint, manifest first, so that after an interruption it is unfinished and not damaged."""
    (folder / MANIFEST).unlink(missing_ok=True)
    files.remove(folder)


def _remove_written(directory: Path, step: int) -> None:
    """Removes what was written of a checkpoint that failed, as far as that can be removed."""
    with contextlib.suppress(Exception):
        for folder in directory.glob(f"{step}*"):
            if not folder.name.removeprefix(str(step))[:1].isdigit():
                with contextlib.suppress(Exception):
                    files.remove(folder)


def _reserve(directory: Path, state: State) -> None:
    """Raises OSError if there is no space for the state; Orbax would fail midway, in several threads."""
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    if files.is_local(directory) and hasattr(os, "posix_fallocate"):
        with tempfile.TemporaryFile(dir=directory) as file:
            os.posix_fallocate(file.fileno(), 0, max(size, 1))


def _write_manifest(folder: Path) -> None:
    hashes = {name: files.sha256(path) for name, path in _files(folder).items()}
    files.write(folder / MANIFEST, json.dumps(hashes, indent=1))


def _empty(like: Any) -> jax.Array:
    """An array without values, of a shape, a dtype and a sharding."""
    return jax.device_put(jnp.zeros(like.shape, like.dtype), getattr(like, "sharding", None))


def _quiet(record: logging.LogRecord) -> bool:
    """Hides Orbax's log from the terminal: its errors are also raised as exceptions."""
    return "orbax" not in record.pathname
