"""Requests for synthetic data sets, and the jobs that write their files, by one or more processes.

A request contains everything that the bytes of a set depend on. Its rows are divided into blocks, which may be drawn in
any order by any process. Blocks form parts, and parts form the set. Each finished block and part is written to disk
before the next one starts. So an interrupted job can be continued, and its result has the same bytes.

    job = Job(request, Path("synthetic.npz"))
    if not job.finished():
        job.begin()
        job.run(draw)    # draw(numbers) -> the rows of each of these blocks
        job.finish()

    >>> proportional_counts(10, [1, 1, 1])
    (4, 3, 3)
    >>> spread_labels((20, 20), 0, 6).tolist()
    [0, 1, 0, 0, 1, 0]
"""

import dataclasses
import functools
import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from synthjax import files
from synthjax.data import cards, writers
from synthjax.errors import InputError, Preempted
from synthjax.model import DataSpec

if TYPE_CHECKING:
    from synthjax.data.encoding import Encoder

MAX_ROWS = 2**31 - 1
"""Maximum number of rows in a set: row numbers are int32."""

_KEPT = "stopped as asked; what is drawn is kept and the same command goes on"

_CODE = re.compile(r"0\d[\d.]*$|(\\0|9)(9|\\\d|\|)*$")
"""Matches categories, and patterns of identifiers, that programs would read as numbers, without leading zeros."""


@dataclass(frozen=True)
class Request:
    """A request for a synthetic data set."""

    spec: DataSpec
    counts: tuple[int, ...]
    """Number of examples of each class; a single number if the set has no labels."""
    labelled: bool
    model: dict[str, Any]
    """Name, config, member, step and sha256 of the state."""
    dataset: dict[str, Any]
    """Name and fingerprint of the training data."""
    software: dict[str, str]
    """Versions and backend, on which the bytes depend."""
    form: Literal["npz", "png", "parts", "csv", "parquet"] = "npz"
    seed: int = 0
    block: int = 500
    """Number of examples in a block, which are drawn at once."""
    part_blocks: int = 0
    """Number of blocks in a part; 0 unless `form` is parts."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Sampling options that differ from the model's defaults."""
    table: dict[str, Any] | None = None
    """For csv and parquet: see `describe_table`."""
    where: tuple[str, ...] = ()
    """Conditions COLUMN=VALUE that all rows meet."""

    @property
    def rows(self) -> int:
        """Number of examples in the set."""
        return sum(self.counts)

    @property
    def blocks(self) -> int:
        """Number of blocks in the set."""
        return math.ceil(self.rows / self.block)

    @property
    def parts(self) -> int:
        """Number of files with rows; 1 unless `form` is parts."""
        return math.ceil(self.blocks / self.part_blocks) if self.form == "parts" else 1

    def blocks_of(self, part: int) -> range:
        """The numbers of the blocks of a part."""
        if self.form != "parts":
            return range(self.blocks)
        return range(part * self.part_blocks, min((part + 1) * self.part_blocks, self.blocks))

    def rows_of(self, part: int) -> int:
        """Number of examples in a part."""
        blocks = self.blocks_of(part)
        return min(blocks.stop * self.block, self.rows) - blocks.start * self.block

    def labels(self, b: int) -> np.ndarray:
        """Labels of block `b`, (n,) i32 with n <= `block`; zeros if the set has no labels."""
        return spread_labels(self.counts, b * self.block, (b + 1) * self.block)

    def record(self) -> dict[str, Any]:
        """The fields as plain values that JSON does not change, without an empty `table` or `where`."""
        values = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        return {name: value for name, value in values.items() if value or name not in ("table", "where")}


def describe_table(encoder: "Encoder") -> dict[str, Any]:
    """Makes the field `table` of a request: target, min_count, sha256 of the encoder, and the columns of the file."""
    schema = encoder.schema
    kept = [field for field in schema.fields if field.kept]
    columns = [
        {
            "name": field.name,
            "kind": field.kind,
            "format": field.format,
            "text": bool(field.pattern) and "int" not in field.storage,
            "codes": field.storage == "string" and any(map(_CODE.match, (*field.categories, field.pattern))),
            "gaps": field.missing > 0,
        }
        for field in kept
    ]
    digest = hashlib.sha256(json.dumps(encoder.to_dict(), sort_keys=True).encode()).hexdigest()
    return {"target": schema.target, "min_count": schema.min_count, "encoder": digest, "columns": columns}


def proportional_counts(n: int, frequencies: Sequence[float]) -> tuple[int, ...]:
    """Divides `n` examples in proportion to `frequencies`, (classes,) numbers at least 0 and not all 0.

    Returns (classes,) integers that sum to n. Each differs from the exact share by less than 1.
    """
    shares = np.asarray(frequencies, np.float64) / np.sum(frequencies) * n
    counts = np.floor(shares).astype(np.int64)
    remaining = n - int(counts.sum())
    counts[np.argsort(counts - shares, kind="stable")[:remaining]] += 1
    return tuple(counts.tolist())


def spread_labels(counts: tuple[int, ...], start: int, stop: int) -> np.ndarray:
    """Rows `start` to `stop` of an evenly mixed label sequence; the rest of the sequence is not computed.

    Row i has the label at index `i * a mod N` of the sorted sequence; a / N is near the golden ratio and a coprime to
    N. So any interval of rows has nearly the proportions of the whole sequence.

    Args:
      counts: number of examples of each class; their sum N is at most MAX_ROWS.
      start: first row.
      stop: row after the last one; values above N mean N.

    Returns:
      (stop - start,) i32.
    """
    total = sum(counts)
    rows = np.arange(start, min(stop, total), dtype=np.int64)
    return np.searchsorted(np.cumsum(counts), rows * _stride(total) % total, side="right").astype(np.int32)


@functools.lru_cache(maxsize=8)
def _stride(n: int) -> int:
    """The smallest number that is coprime to n and at least n / golden ratio, rounded."""
    stride = max(round(n * (math.sqrt(5) - 1) / 2), 1)
    while math.gcd(stride, n) != 1:
        stride += 1
    return stride


class Job:
    """Writes the files of a request: call `begin` in one process, `run` in each process, `finish` in one."""

    def __init__(self, request: Request, out: Path, encoder: "Encoder | None" = None):
        """Makes a job that writes `request` to `out`, a folder for png and parts, otherwise a file.

        `encoder` is needed for csv and parquet, whose blocks are units (see `data.scalers`). No file is changed yet.

        Raises:
          InputError: the set is empty or too large, or cannot be written in this format.
        """
        if not 0 < request.rows <= MAX_ROWS:
            raise InputError(f"a set has 1 to {MAX_ROWS:,} examples, not {request.rows:,}")
        if request.form == "png":
            writers.check_png(request.spec)
        if request.form in writers.TABLES:
            writers.check_table(request.form, request.spec, out)
        self.request = request
        self.out = out
        self.encoder = encoder if request.form in writers.TABLES else None
        self.record = request.record()
        self.dtype = np.dtype(np.uint8 if request.spec.kind == "image" else np.float32)
        shape = request.spec.shape if self.encoder is None else (len(self.encoder.codings),)
        self.store = writers.BlockStore(out.with_name(out.name + ".partial"), shape, self.dtype)
        self.lock = out.with_name(f".{out.name}.lock")
        self.single = single = request.form in ("npz", *writers.TABLES)
        self.folder = out.parent if single else out
        self.manifest = self.folder / (f"{out.name}.{writers.MANIFEST}" if single else writers.MANIFEST)
        self.card = self.folder / (f"{out.name}.card.md" if single else "README.md")
        self.croissant = self.folder / (f"{out.name}.croissant.json" if single else "croissant.json")

    def finished(self) -> bool:
        """Whether all files of this request exist, with the sha256 of the manifest."""
        entries = self._manifest_entries()
        if not entries or writers.damaged(self.folder, entries):
            return False
        return self.request.form != "parts" or (self.out / writers.SUCCESS).exists()

    def check(self, overwrite: bool = False) -> None:
        """Checks that `out` does not exist, or is from an interrupted job of the same request.

        Raises:
          InputError: it is something else, and `overwrite` is False or would remove what is not a synthetic set.
        """
        single = self.single
        if not self.out.exists() or (not single and self.out.is_dir() and not any(self.out.iterdir())):
            return
        if single == self.out.is_dir():
            raise InputError(f"--out={self.out} is a {'folder' if single else 'file'}; the format {self.request.form} "
                             f"needs a {'file' if single else 'folder'}")  # fmt: skip
        if self._resumes():
            return
        if not overwrite:
            raise InputError(f"--out={self.out} exists{self._difference()}; --overwrite replaces it")
        if not single and writers.read_manifest(self.manifest) is None and self.store.request() is None:
            raise InputError(f"--out={self.out} is a folder that was not written by this command; remove it yourself")

    def begin(self, overwrite: bool = False) -> None:
        """Prepares the output, and keeps finished blocks and parts of an interrupted job of the same request.

        Raises:
          InputError: see `check`.
        """
        self.check(overwrite)
        resumes = self._resumes()
        self.store.begin(self.record)
        if self.request.form != "parts":
            return  # an existing file at `out` is replaced only when the new set is complete
        if not resumes:
            files.remove(self.out)
        (self.out / writers.SUCCESS).unlink(missing_ok=True)
        entries = [entry for part in range(self.request.parts) if (entry := self._entry(part)) is not None]
        entries += self._manifest_entries()
        damaged = set(writers.damaged(self.out, entries))
        for entry in entries:
            if entry["name"] in damaged:
                self._entry_path(entry["name"]).unlink(missing_ok=True)
            else:
                files.write(self._entry_path(entry["name"]), writers.to_json(entry))

    def run(
        self,
        draw: Callable[[Sequence[int]], Iterator[np.ndarray]],
        *,
        process: int = 0,
        process_count: int = 1,
        report: Callable[[int, bool], None] = lambda rows, drawn: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Draws the blocks of this process: every `process_count`-th part (or block, of a single file).

        Args:
          draw: block numbers -> the rows of each block in turn, (n, *shape) as stored; for csv and parquet (n, columns)
            f32 units. The rows of block b must depend only on the request and on b.
          process: number of this process, from 0.
          process_count: number of processes, which share a file system.
          report: called with the number of rows just finished, and whether they were drawn now or already existed.
          stop: called after each block; whether to stop early.

        Raises:
          Preempted: `stop` returned True; finished blocks are kept.
          InputError: a file cannot be written.
        """
        for part, blocks in self._share(process, process_count):
            if self._entry(part) is not None:
                report(self.request.rows_of(part), False)
                continue
            missing = [b for b in blocks if self.store.get(b) is None]
            drawn = draw(missing)
            for b in blocks:
                if new := b in missing:
                    self.store.put(b, next(drawn))
                report(len(self.request.labels(b)), new)
                if stop():
                    raise Preempted(f"{self.out}: {_KEPT}")
            if self.request.form == "parts":
                self._write_part(part)

    def rows_of(self, process: int, process_count: int) -> int:
        """Number of examples that a process draws."""
        size, rows = self.request.block, self.request.rows
        return sum(min(size, rows - b * size) for _, blocks in self._share(process, process_count) for b in blocks)

    def _share(self, process: int, process_count: int) -> Iterator[tuple[int, range]]:
        """The blocks that a process draws, by part: (part, block numbers)."""
        if self.request.form != "parts":
            yield 0, self.request.blocks_of(0)[process::process_count]
            return
        for part in range(process, self.request.parts, process_count):
            yield part, self.request.blocks_of(part)

    def finish(self, poll: float = 1.0) -> None:
        """Waits for all processes and completes the set. The manifest, and `_SUCCESS` for parts, are written last.

        Args:
          poll: seconds between checks for the parts or blocks of other processes.

        Raises:
          InputError: a part or block is damaged, or a file cannot be written.
        """
        if self.request.form == "parts":
            while any(self._entry(part) is None for part in range(self.request.parts)):
                time.sleep(poll)
        else:
            while not all(self.store.has(b) for b in self.request.blocks_of(0)):
                time.sleep(poll)
        values = writers.manifest(self.record, self._assemble())
        files.write(self.card, cards.card(self.out.name, values))
        files.write(self.croissant, writers.to_json(cards.croissant(self.out.name, values)))
        files.write(self.manifest, writers.to_json(values))
        if self.request.form == "parts":
            files.write(self.out / writers.SUCCESS, "")
        self.store.clear()

    def _assemble(self) -> list[writers.File]:
        """Writes the final files from the blocks; parts already exist and are only verified."""
        request = self.request
        if request.form == "parts":
            entries = [entry for part in range(request.parts) if (entry := self._entry(part)) is not None]
            if damaged := writers.damaged(self.out, entries):
                raise InputError(f"{self.out / damaged[0]} was lost or damaged; the same command draws it again")
            return [writers.File(**entry) for entry in entries]
        rows = self._rows(request.blocks_of(0))
        if request.form == "npz":
            return [writers.write_npz(self.out, rows, (request.rows, *request.spec.shape), self.dtype)]
        if self.encoder is not None:
            return [_write_table(self.out, rows, self.encoder, request.seed)]
        temporary = self.store.folder / "png"
        written = writers.write_pngs(temporary, rows, request.spec)
        files.remove(self.out)
        with files.named_errors(self.out):
            temporary.rename(self.out)
        return written

    def _write_part(self, part: int) -> None:
        """Writes a part from its blocks, which are then removed."""
        name = writers.part_name(part, self.request.parts)
        blocks = self.request.blocks_of(part)
        shape = (self.request.rows_of(part), *self.request.spec.shape)
        entry = writers.write_npz(self.out / name, self._rows(blocks), shape, self.dtype)
        files.write(self._entry_path(name), writers.to_json(entry._asdict()))
        for b in blocks:
            self.store.drop(b)

    def _rows(self, blocks: range) -> Iterator[writers.Rows]:
        """Reads blocks, with labels if the set has labels; InputError if a block is damaged."""
        for b in blocks:
            x = self.store.get(b)
            if x is None:
                raise InputError(f"{self.store.folder}: block {b} was lost or damaged; the same command draws it again")
            yield x, self.request.labels(b) if self.request.labelled else None

    def _entry_path(self, name: str) -> Path:
        """The file with the manifest entry of a finished part, until there is a manifest."""
        return self.store.folder / f"{name}.json"

    def _entry(self, part: int) -> dict[str, Any] | None:
        """The manifest entry of a part; None if the part is not finished."""
        return writers.read_json(self._entry_path(writers.part_name(part, self.request.parts)))

    def _manifest_entries(self) -> list[dict[str, Any]]:
        """The entries of the manifest, if it is of this request; otherwise []."""
        values = writers.read_manifest(self.manifest)
        return values["files"] if values is not None and values["request"] == self.record else []

    def _resumes(self) -> bool:
        """Whether there are blocks of this request, or parts of which damaged ones can be drawn again."""
        return self.store.request() == self.record or (self.request.form == "parts" and bool(self._manifest_entries()))

    def _difference(self) -> str:
        """How the existing output differs from the request, for the error of `check`."""
        values = writers.read_manifest(self.manifest)
        if values is None:
            return " and was not written by this command"
        names = sorted(name for name in self.record if values["request"].get(name) != self.record[name])
        return f", drawn with another {', '.join(names)}" if names else ", and its bytes have changed since"


def _write_table(path: Path, blocks: Iterator[writers.Rows], encoder: "Encoder", seed: int) -> writers.File:
    """Writes blocks of units to a .csv or .parquet file, one block in memory at a time."""
    from synthjax.data import readers

    start = 0
    with readers.writing(path, encoder.schema) as write:
        for units, _ in blocks:
            write(encoder.rows(units, seed=seed, start=start))
            start += len(units)
    return writers.File(path.name, start, writers.sha256(path))
