"""From a request for a synthetic set to its files, by one process or many, through any number of interruptions.

A request fixes all that the bytes of a set depend on. Its rows are cut into blocks, which a callable draws one by one
and which may come in any order from any process; the blocks make up parts, and the parts the set. Every finished block
and part is on disk before the next begins, so an interrupted job goes on where it stopped and ends with the same bytes.

    job = Job(request, Path("synthetic.npz"))
    if not job.finished():
        job.begin()
        job.run(draw)    # draw(numbers) -> the rows of each of these blocks
        job.finish()
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
"""Rows in one set at most: what the int32 row numbers of a data set can count."""

_KEPT = "stopped as asked; what is drawn is kept and the same command goes on"


_CODE = re.compile(r"0\d[\d.]*$|(\\0|9)(9|\\\d|\|)*$")
"""Categories, or a pattern of identifiers, that programs take for numbers, and so lose zeros at the front."""


@dataclass(frozen=True)
class Request:
    """A synthetic set that was asked for."""

    spec: DataSpec
    counts: tuple[int, ...]
    """Examples of each class; a single count when the set has no labels."""
    labelled: bool
    model: dict[str, Any]
    """name, config, member, step and sha256 of the state."""
    dataset: dict[str, Any]
    """name and fingerprint of the training data."""
    software: dict[str, str]
    """Versions and backend, without which the bytes are no promise."""
    form: Literal["npz", "png", "parts", "csv", "parquet"] = "npz"
    seed: int = 0
    block: int = 500
    """Examples drawn at once."""
    part_blocks: int = 0
    """Blocks in a part; 0 unless `form` is parts."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Options of the model's sampler that differ from its defaults."""
    table: dict[str, Any] | None = None
    """Of a table that is written as one: its columns and the encoder's hash, see `describe_table`."""
    where: tuple[str, ...] = ()
    """Conditions COLUMN=VALUE that all rows meet."""

    @property
    def rows(self) -> int:
        """Examples in the whole set."""
        return sum(self.counts)

    @property
    def blocks(self) -> int:
        """Blocks in the whole set."""
        return math.ceil(self.rows / self.block)

    @property
    def parts(self) -> int:
        """Files that hold rows; 1 unless `form` is parts."""
        return math.ceil(self.blocks / self.part_blocks) if self.form == "parts" else 1

    def blocks_of(self, part: int) -> range:
        """The blocks that make up a part."""
        if self.form != "parts":
            return range(self.blocks)
        return range(part * self.part_blocks, min((part + 1) * self.part_blocks, self.blocks))

    def rows_of(self, part: int) -> int:
        """Examples in a part."""
        blocks = self.blocks_of(part)
        return min(blocks.stop * self.block, self.rows) - blocks.start * self.block

    def labels(self, b: int) -> np.ndarray:
        """The labels of block `b`, (n,) i32 with n <= `block`; zeros when the set has none."""
        return spread_labels(self.counts, b * self.block, (b + 1) * self.block)

    def record(self) -> dict[str, Any]:
        """Plain values, as they come back from JSON; what is for tables alone is in theirs alone."""
        values = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        return {name: value for name, value in values.items() if value or name not in ("table", "where")}


def describe_table(encoder: "Encoder") -> dict[str, Any]:
    """What a request says of a table: target, min_count, sha256 of the encoder, and the columns that are written."""
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
    """`n` examples shared out in the given proportions: whole numbers that add up to `n`, each off by less than 1."""
    shares = np.asarray(frequencies, np.float64) / np.sum(frequencies) * n
    counts = np.floor(shares).astype(np.int64)
    short = n - int(counts.sum())
    counts[np.argsort(counts - shares, kind="stable")[:short]] += 1
    return tuple(counts.tolist())


def spread_labels(counts: tuple[int, ...], start: int, stop: int) -> np.ndarray:
    """Rows `start` to `stop` of a label sequence with `counts[c]` times c, evenly mixed, in memory of these rows alone.

    Row i takes the label at place `i * a mod N` of the sorted sequence, where a / N is near the golden ratio and a has
    no factor in common with N. Any stretch of rows then has nearly the proportions of the whole.

    Args:
      counts: examples per class; their sum N is at most MAX_ROWS.
      start: first row.
      stop: row after the last, cut at N.

    Returns:
      (stop - start,) i32.
    """
    total = sum(counts)
    rows = np.arange(start, min(stop, total), dtype=np.int64)
    return np.searchsorted(np.cumsum(counts), rows * _stride(total) % total, side="right").astype(np.int32)


@functools.lru_cache(maxsize=8)
def _stride(n: int) -> int:
    stride = max(round(n * (math.sqrt(5) - 1) / 2), 1)
    while math.gcd(stride, n) != 1:
        stride += 1
    return stride


class Job:
    """A request on its way to its files: `begin` in one process, `run` in each, `finish` in one."""

    def __init__(self, request: Request, out: Path, encoder: "Encoder | None" = None):
        """A job that writes to `out`: a folder for png and parts, a file otherwise. Nothing is touched yet.

        `encoder` is needed for csv and parquet alone, whose blocks are units (see `data.scalers`).

        Raises:
          InputError: the request cannot be met in its format or size.
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
        """Whether the files of this very request are all there, with the bytes that the manifest says."""
        known = self._known()
        if not known or writers.damaged(self.folder, known):
            return False
        return self.request.form != "parts" or (self.out / writers.SUCCESS).exists()

    def check(self, overwrite: bool = False) -> None:
        """Sees whether `out` is free, or holds what an interrupted run of the same request left.

        Raises:
          InputError: it holds something else, and `overwrite` is False or would remove what is no synthetic set.
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
        """Makes room for the set and keeps what an earlier run of the same request finished.

        Raises:
          InputError: as `check` does.
        """
        self.check(overwrite)
        resumes = self._resumes()
        self.store.begin(self.record)
        if self.request.form != "parts":
            return  # what lies at `out` is replaced when the new set is complete, not before
        if not resumes:
            files.remove(self.out)
        (self.out / writers.SUCCESS).unlink(missing_ok=True)
        entries = [entry for part in range(self.request.parts) if (entry := self._entry(part)) is not None]
        entries += self._known()
        lost = set(writers.damaged(self.out, entries))
        for entry in entries:
            if entry["name"] in lost:
                self._note(entry["name"]).unlink(missing_ok=True)
            else:
                files.write(self._note(entry["name"]), writers.to_json(entry))

    def run(
        self,
        draw: Callable[[Sequence[int]], Iterator[np.ndarray]],
        *,
        process: int = 0,
        process_count: int = 1,
        report: Callable[[int, bool], None] = lambda rows, drawn: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Draws this process's share: every `process_count`-th part, or block of a single file, from `process` on.

        Args:
          draw: numbers of blocks -> the rows of each in turn, (n, *shape) as stored, of csv and parquet (n, columns)
            f32 units. What it gives for block b is a function of the request and of b alone.
          process: number of this process.
          process_count: how many there are, each with its own `process`, on one file system.
          report: called with the rows just finished, and whether they were drawn now (True) or found (False).
          stop: asked after each block whether to end early.

        Raises:
          Preempted: `stop` said so; what is drawn is kept.
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
        """Examples in a process's share."""
        size, rows = self.request.block, self.request.rows
        return sum(min(size, rows - b * size) for _, blocks in self._share(process, process_count) for b in blocks)

    def _share(self, process: int, process_count: int) -> Iterator[tuple[int, range]]:
        """Parts and the blocks of each that a process draws."""
        if self.request.form != "parts":
            yield 0, self.request.blocks_of(0)[process::process_count]
            return
        for part in range(process, self.request.parts, process_count):
            yield part, self.request.blocks_of(part)

    def finish(self, poll: float = 1.0) -> None:
        """Puts the set together when every process has run; the manifest, then `_SUCCESS` for parts, come last.

        Args:
          poll: seconds between looks whether the other processes' parts or blocks are there.

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
        request = self.request
        if request.form == "parts":
            entries = [entry for part in range(request.parts) if (entry := self._entry(part)) is not None]
            if lost := writers.damaged(self.out, entries):
                raise InputError(f"{self.out / lost[0]} was lost or damaged; the same command draws it again")
            return [writers.File(**entry) for entry in entries]
        rows = self._rows(request.blocks_of(0))
        if request.form == "npz":
            return [writers.write_npz(self.out, rows, (request.rows, *request.spec.shape), self.dtype)]
        if self.encoder is not None:
            return [_write_table(self.out, rows, self.encoder, request.seed)]
        waiting = self.store.folder / "png"
        written = writers.write_pngs(waiting, rows, request.spec)
        files.remove(self.out)
        with files.named_errors(self.out):
            waiting.rename(self.out)
        return written

    def _write_part(self, part: int) -> None:
        name = writers.part_name(part, self.request.parts)
        blocks = self.request.blocks_of(part)
        shape = (self.request.rows_of(part), *self.request.spec.shape)
        entry = writers.write_npz(self.out / name, self._rows(blocks), shape, self.dtype)
        files.write(self._note(name), writers.to_json(entry._asdict()))
        for b in blocks:
            self.store.drop(b)

    def _rows(self, blocks: range) -> Iterator[writers.Rows]:
        for b in blocks:
            x = self.store.get(b)
            if x is None:
                raise InputError(f"{self.store.folder}: block {b} was lost or damaged; the same command draws it again")
            yield x, self.request.labels(b) if self.request.labelled else None

    def _note(self, name: str) -> Path:
        """The file that says a part is finished, until the manifest does."""
        return self.store.folder / f"{name}.json"

    def _entry(self, part: int) -> dict[str, Any] | None:
        """What the note of a part says, or None while it is not finished."""
        return writers.read_json(self._note(writers.part_name(part, self.request.parts)))

    def _known(self) -> list[dict[str, Any]]:
        """The manifest's entries if it answers this very request, else none."""
        values = writers.read_manifest(self.manifest)
        return values["files"] if values is not None and values["request"] == self.record else []

    def _resumes(self) -> bool:
        """Whether what is there belongs to this request and may be completed: blocks, or parts that need repair."""
        return self.store.request() == self.record or (self.request.form == "parts" and bool(self._known()))

    def _difference(self) -> str:
        """What about the existing output is not as asked, for the message that refuses to replace it."""
        values = writers.read_manifest(self.manifest)
        if values is None:
            return " and was not written by this command"
        names = sorted(name for name in self.record if values["request"].get(name) != self.record[name])
        return f", drawn with another {', '.join(names)}" if names else ", and its bytes have changed since"


def _write_table(path: Path, blocks: Iterator[writers.Rows], encoder: "Encoder", seed: int) -> writers.File:
    """Writes blocks of units as a .csv or .parquet file, one of them in memory at a time."""
    from synthjax.data import readers

    start = 0
    with readers.writing(path, encoder.schema) as write:
        for units, _ in blocks:
            write(encoder.rows(units, seed=seed, start=start))
            start += len(units)
    return writers.File(path.name, start, writers.sha256(path))
