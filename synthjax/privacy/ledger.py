"""What each data set has paid: a ledger in a folder of the data's owner, written before any noise is drawn.

A data set has one account, by the name that its owner gives it: a changed row must not open a new one. The account is a
file of JSON lines, NAME.jsonl. Each line holds the SHA-256 of the line before it and its own, so that no line can be
changed, removed or inserted unnoticed, but for lines at the end: certificates name the line of their fit
(`Ledger.entry`).

    {"event": "total", "epsilon": 3.0}                             the owner's limit, of the first fit that gives one
    {"event": "fit", "fit": "5f...", "epsilon": 1.0, "delta": 1e-06, ...}     before noise is drawn
    {"event": "done", "fit": "5f...", "releases": [...]}           what it has released, for the record

    >>> import tempfile
    >>> ledger = Ledger(tempfile.mkdtemp(), "customers")
    >>> first = ledger.reserve(epsilon=1.0, delta=1e-6, total=1.5)
    >>> ledger.spent(), ledger.total()
    (Spent(epsilon=1.0, delta=1e-06, fits=1), 1.5)

Formal guarantees. Whatever several fits release of one data set is (epsilon, delta)-differentially private, with the
figures of `spent`, for the finest unit that one of them has. Each fit is within a Gaussian mechanism and an event of
small probability (`synthjax.privacy.budget`); the composition of Gaussian mechanisms is one again, whichever results
later fits depended on. A fit that was interrupted counts as if it had released everything.
"""

import contextlib
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from synthjax import files
from synthjax.errors import InputError
from synthjax.privacy import accounting
from synthjax.privacy.accounting import Release
from synthjax.privacy.budget import FAILURE, Budget

VARIABLE = "SYNTHJAX_LEDGER_DIR"
"""The environment variable with the folder of ledgers."""
WAIT = 30.0
"""Seconds for which another process may hold an account."""
_START = "0" * 64


def default_folder() -> Path:
    """The folder of ledgers: the environment variable's, or `~/.synthjax/ledger`."""
    return Path(os.environ.get(VARIABLE) or Path.home() / ".synthjax" / "ledger")


class Spent(NamedTuple):
    """What has been paid."""

    epsilon: float
    delta: float
    fits: int
    """Number of fits."""


class Ledger:
    """The account of one data set.

    Args:
      folder: of ledgers; made at the first entry.
      name: of the data set.

    Raises:
      InputError: the name has no letter or digit.
    """

    def __init__(self, folder: str | os.PathLike[str], name: str):
        stem = re.sub(r"[^\w.-]+", "-", name).strip("-.")
        if not stem:
            raise InputError(f"--dp.dataset={name}: a name with letters or digits is needed")
        self.name = name
        self.path = Path(folder) / f"{stem}.jsonl"
        if not files.is_local(files.path(os.fspath(folder))):
            raise InputError(f"{folder}: a ledger needs locks, which object stores do not have; give a local folder")

    def lines(self) -> list[dict[str, Any]]:
        """The entries, checked.

        Raises:
          InputError: a line was changed, removed or inserted; it is named.
        """
        found: list[dict[str, Any]] = []
        before = _START
        for number, line in enumerate((files.read_text(self.path) or "").splitlines(), 1):
            try:
                values = json.loads(line)
                good = values["before"] == before and values["hash"] == _hash(values) and values["line"] == number
            except (ValueError, KeyError, TypeError):
                good = False
            if not good:
                raise InputError(
                    f"{self.path}: line {number} is not what was written; restore the file from a copy, for without it "
                    "nobody knows what the data set has paid"
                )
            found.append(values)
            before = values["hash"]
        return found

    def total(self) -> float | None:
        """The owner's limit on epsilon; None: there is none."""
        return next((line["epsilon"] for line in self.lines() if line["event"] == "total"), None)

    def spent(self) -> Spent:
        """What all fits so far have paid together, finished or not."""
        return _spent(self.lines())

    def reserve(
        self, *, epsilon: float, delta: float, total: float | None = None, notes: Mapping[str, Any] | None = None
    ) -> str:
        """Enters a fit, and waits until that is on disk.

        Args:
          epsilon: that it may spend.
          delta: that it may spend.
          total: the owner's limit on epsilon; kept if none is known.
          notes: what else is said of the fit; plain values.

        Returns:
          The name of the fit.

        Raises:
          InputError: it would exceed the owner's total, another total is known, or the file was changed.
        """
        with self._locked():
            lines = self.lines()
            known = next((line["epsilon"] for line in lines if line["event"] == "total"), None)
            if known is not None and total is not None and total != known:
                raise InputError(f"--dp.total={total:g}: the owner's total of {self.name} is {known:g} ({self.path})")
            limit = total if known is None else known
            whole = Budget(epsilon, delta)
            entry = {"epsilon": epsilon, "delta": delta, "noise": whole.noise, "failure": delta * FAILURE}
            fit = secrets.token_hex(8)
            after = _spent([*lines, {"event": "fit", "fit": fit, **entry}]).epsilon
            if limit is not None and after > limit * (1 + 1e-9):
                raise InputError(
                    f"{self.name}: epsilon {_spent(lines).epsilon:.4g} is spent of the owner's total of {limit:g}; "
                    f"another {epsilon:g} would make it {after:.4g} ({self.path})"
                )
            if known is None and total is not None:
                self._append(lines, {"event": "total", "epsilon": total})
            self._append(lines, {"event": "fit", "fit": fit, **entry, "notes": dict(notes or {})})
        return fit

    def finish(self, fit: str, releases: Sequence[Release]) -> None:
        """Enters what a fit has released; once.

        Raises:
          InputError: the fit is not in the ledger.
        """
        with self._locked():
            lines = self.lines()
            self.entry(fit)
            if not any(line["event"] == "done" and line["fit"] == fit for line in lines):
                self._append(lines, {"event": "done", "fit": fit, "releases": [asdict(one) for one in releases]})

    def entry(self, fit: str) -> dict[str, Any]:
        """The line of a fit.

        Raises:
          InputError: there is none.
        """
        for line in self.lines():
            if line["event"] == "fit" and line["fit"] == fit:
                return line
        raise InputError(f"{self.path}: knows no fit {fit}; restore the ledger from a copy")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """A context in which no other process enters anything."""
        end = time.monotonic() + WAIT
        lock = self.path.with_name(f".{self.path.name}.lock")
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    stack.enter_context(files.locked(lock, f"another process writes {self.path}"))
                    break
                except InputError:
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.05)
            yield

    def _append(self, lines: list[dict[str, Any]], values: dict[str, Any]) -> None:
        """Adds a line to the file, and to `lines`."""
        head = {"line": len(lines) + 1, "time": datetime.now(UTC).isoformat(timespec="seconds")}
        line = {**head, **values, "before": lines[-1]["hash"] if lines else _START}
        line["hash"] = _hash(line)
        with files.named_errors(self.path):
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
            files.sync_folder(self.path.parent)
        lines.append(line)


def _hash(values: Mapping[str, Any]) -> str:
    """SHA-256 of a line without its own."""
    plain = {name: value for name, value in values.items() if name != "hash"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def _spent(lines: Sequence[Mapping[str, Any]]) -> Spent:
    """What the fits in these lines have paid: their Gaussian mechanisms composed, or their sum if it is less."""
    fits = [line for line in lines if line["event"] == "fit"]
    delta = sum(line["delta"] for line in fits)
    simple = sum(line["epsilon"] for line in fits)
    if len(fits) < 2:
        return Spent(simple, delta, len(fits))
    releases = [Release(line["fit"], "gaussian", line["noise"]) for line in fits]
    releases += [Release(line["fit"], "threshold", 0.0, delta=line["failure"]) for line in fits]
    return Spent(min(simple, accounting.epsilon(releases, delta)), delta, len(fits))
