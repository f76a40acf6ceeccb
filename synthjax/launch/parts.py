"""The finished parts of an evaluation, kept in files until its report is written, each under a hash of its identity."""

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synthjax import data, files
from synthjax.data import writers
from synthjax.errors import InputError
from synthjax.evals import report
from synthjax.launch.console import say
from synthjax.launch.subjects import Run


class Parts:
    """The parts of an evaluation, each kept in a file once it is done, so that an interrupted one goes on from there.

    A kept part is used again only for the same files, settings, model and code.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], names: Sequence[str]):
        """`folder`: of the results; `settings`: all that the parts depend on; `names`: of the parts, in their order."""
        self.seconds: dict[str, float] = {}
        self._folder, self._names = folder / "parts", list(names)
        self._key = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()

    def part(self, name: str, work: Callable[[], Any]) -> Any:
        """What `work` returns (plain values), or returned before; its wall-clock seconds go into `seconds`."""
        place = f"[{self._names.index(name) + 1}/{len(self._names)}] {name}"
        file = self._folder / f"{name}.json"
        kept = writers.read_json(file)
        if kept is not None and kept.get("key") == self._key:
            say(f"{place}: kept from a run that was interrupted")
            self.seconds[name] = kept["seconds"]
            return kept["found"]
        say(place)
        start = time.monotonic()
        found = work()
        self.seconds[name] = time.monotonic() - start
        self._folder.mkdir(parents=True, exist_ok=True)
        record = {"key": self._key, "seconds": self.seconds[name], "found": found}
        files.write(file, json.dumps(record))
        return found

    def arrays(self, name: str, work: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The arrays that `work` returns, or returned before: of a piece of a part that takes long by itself."""
        file = self._folder / f"{name}.npz"
        try:
            with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as kept:
                if str(kept["key"]) == self._key:
                    say(f"  {name}: kept from a run that was interrupted")
                    return {key: kept[key] for key in kept.files if key != "key"}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            pass  # none there, or another's
        found = work()
        self._folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, key=np.array(self._key), **found)  # type: ignore[arg-type]
        files.write(file, buffer.getvalue())
        return found

    def forget(self) -> None:
        """Removes the files: the report has it all."""
        for file in (*(self._folder / f"{name}.json" for name in self._names), *self._folder.glob("*.npz")):
            file.unlink(missing_ok=True)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()


def identity(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What of a manifest the parts depend on: all but when and how it was asked for, and where the files lie.

    Files and models are known by their hashes, so that a folder that was moved keeps its parts.
    """
    passing = ("created", "seconds", "command")
    known = {name: value for name, value in manifest.items() if name not in passing}
    for name, place in (("synthetic", "file"), ("model", "workdir")):
        if known[name] is not None:
            known[name] = {key: value for key, value in known[name].items() if key != place}
    return known


def finished(
    folder: Path, file: Path, real: data.Dataset, run: Run | None, settings: Mapping[str, Any]
) -> report.Report | None:
    """The report in a folder, if it is on the same files and model, by these settings; else None."""
    try:
        found = report.read(folder / "report.json")
    except InputError:
        return None  # none there, or one of another version
    manifest = found.manifest
    known = {**manifest.protocol, **vars(manifest)}
    same = (
        manifest.fingerprint == real.fingerprint
        and manifest.synthetic.sha256 == writers.sha256(file)
        and (manifest.model and manifest.model.state_sha256) == (run and run.described["sha256"])
        and all(known.get(name, value) == value for name, value in settings.items())
    )
    if same:
        say(f"{folder / 'report.json'}: judged before, by the same settings")
    return found if same else None
