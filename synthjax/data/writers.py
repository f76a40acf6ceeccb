"""Writing synthetic data sets so that a kill at any instant loses one block at most and leaves no half-written file.

Formats, all fed block by block, so that memory holds one block and not the set:

- `npz`: one file with `x` (N, *shape) and `y` (N,) i32, deflated, readable by `numpy.load(allow_pickle=False)`;
- `png`: a folder with one folder of PNG files per class;
- `parts`: a folder with `part-00007-of-00064.npz` files of fixed rows, for sets that are large or drawn by many;
- `csv`, `parquet`: one file with the columns of a table (`synthjax.data.readers` writes them).

Each set has a manifest: the request that it answers, and the rows and sha256 of each of its files. The bytes of all
of them depend on their contents alone (no time, no user, no host), and a file gets its name by a rename once it is on
disk. Until a set is complete its blocks wait in a `BlockStore` beside it.
"""

import contextlib
import hashlib
import io
import json
import urllib.parse
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from synthjax import files
from synthjax.errors import InputError
from synthjax.model import DataSpec

SUCCESS = "_SUCCESS"
MANIFEST = "manifest.json"
TABLES = ("csv", "parquet")
"""Formats that hold a table as people see it."""
# The earliest time that a zip file can hold; any fixed one would do.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)

Rows = tuple[np.ndarray, np.ndarray | None]
"""Some rows of a set: x (n, *shape) as stored, y (n,) i32 or None when the set has no labels."""


class File(NamedTuple):
    """One entry of a manifest."""

    name: str
    """Path inside the set's folder; for PNG files, that of the folder in which they lie."""
    rows: int
    sha256: str
    """Hex digest of the file's bytes, or of those of all PNG files in a folder, joined in the order of their names."""


def to_json(values: Any) -> str:
    """JSON text that depends on the values alone: sorted keys, an end of line at the end."""
    return json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def sha256(path: Path) -> str:
    """Hex digest of a file, or of the PNG files of a folder joined in the order of their names."""
    return files.sha256(*sorted(path.glob("*.png"))) if path.is_dir() else files.sha256(path)


class BlockStore:
    """The finished blocks of a set that is being drawn, in a folder, each file behind the sha256 of its bytes.

    The folder names the request that its blocks belong to; blocks of another request are thrown away, never mixed in.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: np.dtype | type):
        """A store of arrays (n, *shape) of `dtype`; nothing is created before `begin`."""
        self.folder = folder
        self._shape = shape
        self._dtype = np.dtype(dtype)

    def request(self) -> dict[str, Any] | None:
        """The request whose blocks lie here, or None when there is none that can be read."""
        return read_json(self.folder / "request.json")

    def begin(self, request: dict[str, Any]) -> None:
        """Makes the store hold `request`, emptied if it held another."""
        if self.request() == request:
            return
        self.clear()
        files.write(self.folder / "request.json", to_json(request))

    def put(self, b: int, x: np.ndarray) -> None:
        """Keeps block `b`; once this returns, it survives a kill."""
        data = np.ascontiguousarray(x, self._dtype).tobytes()
        files.write(self._path(b), hashlib.sha256(data).digest() + data)

    def get(self, b: int) -> np.ndarray | None:
        """Block `b`, (n, *shape), or None if it is missing or damaged."""
        with files.named_errors(self._path(b), "read"):
            try:
                content = self._path(b).read_bytes()
            except FileNotFoundError:
                return None
        digest, data = content[:32], content[32:]
        if hashlib.sha256(data).digest() != digest:
            return None
        return np.frombuffer(data, self._dtype).reshape(-1, *self._shape)

    def has(self, b: int) -> bool:
        """Whether block `b` was put here, damaged since or not."""
        return self._path(b).exists()

    def drop(self, b: int) -> None:
        """Removes block `b`, if it is there."""
        self._path(b).unlink(missing_ok=True)

    def clear(self) -> None:
        """Removes the folder with all that is in it."""
        files.remove(self.folder)

    def _path(self, b: int) -> Path:
        return self.folder / f"block-{b:08d}.bin"


def write_npz(path: Path, blocks: Iterable[Rows], shape: tuple[int, ...], dtype: np.dtype | type) -> File:
    """Writes `x` and, if the set has labels, `y` to an npz file, one block in memory at a time.

    Args:
      path: the file.
      blocks: the rows, in order: x (n, *shape), y (n,) or None.
      shape: (N, ...), the shape of the whole `x`.
      dtype: of `x`.

    Returns:
      The manifest's entry, named after the file.

    Raises:
      InputError: the file cannot be written.
      ValueError: the blocks do not add up to N rows.
    """
    labels: list[np.ndarray] = []
    rows = 0
    with files.atomic(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with _npy_member(archive, "x.npy", shape, np.dtype(dtype)) as member:
            for x, y in blocks:
                member.write(np.ascontiguousarray(x, dtype).tobytes())
                rows += len(x)
                if y is not None:
                    labels.append(np.asarray(y, np.int32))
        if rows != shape[0]:
            raise ValueError(f"{path}: {rows} rows in the blocks, {shape[0]} announced")
        if labels:
            with _npy_member(archive, "y.npy", (rows,), np.dtype(np.int32)) as member:
                member.write(np.concatenate(labels).tobytes())
    return File(path.name, rows, sha256(path))


@contextlib.contextmanager
def _npy_member(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: np.dtype) -> Iterator[IO[bytes]]:
    """A member of an npz file, its header written, open for the bytes of its array."""
    info = zipfile.ZipInfo(name, _ZIP_TIME)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3  # as on Unix, wherever it is written
    header = io.BytesIO()
    description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, description)
    # The size is not known to zipfile beforehand, and an array may pass 2 GiB.
    with archive.open(info, "w", force_zip64=True) as member:
        member.write(header.getvalue())
        yield member


def write_pngs(folder: Path, blocks: Iterable[Rows], spec: DataSpec) -> list[File]:
    """Writes a folder of PNG files by class, `<class name>/<row, 8 digits>.png`; without labels, no class folders.

    Grey values 0 ... levels - 1 are spread over 0 ... 255, where viewers expect them; `round(png * (levels - 1) / 255)`
    is the way back and loses nothing. A class name is percent-encoded where it could not be a folder's name.

    Args:
      folder: is created, or emptied first.
      blocks: the rows, in order: x (n, H, W, C) uint8 with 1, 3 or 4 channels, y (n,) or None.
      spec: names the classes and levels.

    Returns:
      One entry per class that has rows, in the order of the classes; one named "." without labels.

    Raises:
      InputError: `check_png` does, or a file cannot be written.
    """
    from PIL import Image

    check_png(spec)
    names = [*map(folder_name, spec.classes), "."]
    counts = dict.fromkeys(names, 0)
    row = 0
    with files.named_errors(folder):
        files.remove(folder)
        for x, y in blocks:
            pixels = np.rint(x * (255 / (spec.levels - 1))).astype(np.uint8)
            for image, name in zip(pixels, ["."] * len(x) if y is None else [names[label] for label in y], strict=True):
                if not counts[name]:
                    (folder / name).mkdir(parents=True, exist_ok=True)
                counts[name] += 1
                with (folder / name / f"{row:08d}.png").open("wb") as file:
                    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG")
                row += 1
    return [File(name, rows, sha256(folder / name)) for name, rows in counts.items() if rows]


def check_png(spec: DataSpec) -> None:
    """Raises InputError if examples of `spec` cannot be PNG files."""
    if spec.kind != "image":
        raise InputError("format png: the data is a table; use npz or parts")
    if spec.shape[-1] not in (1, 3, 4):
        raise InputError(f"format png: images have 1, 3 or 4 channels, not {spec.shape[-1]}; use npz or parts")


def check_table(form: str, spec: DataSpec, path: Path) -> None:
    """Raises InputError if examples of `spec` cannot be a table in a file of that name."""
    if spec.kind != "table":
        raise InputError(f"format {form}: the data are images; use npz, png or parts")
    if path.suffix.lower() != f".{form}":
        raise InputError(f"--out={path}: the name of a file of format {form} ends in .{form}")


def folder_name(name: str) -> str:
    """A class name as a folder's name; `urllib.parse.unquote` is the way back."""
    quoted = urllib.parse.quote(name, safe=" ()[]{},;=+@!'")
    return "%2E" + quoted[1:] if quoted.startswith(".") else quoted


def part_name(i: int, n: int) -> str:
    """The name of part `i` of `n`."""
    return f"part-{i:05d}-of-{n:05d}.npz"


def manifest(request: dict[str, Any], files: Iterable[File]) -> dict[str, Any]:
    """What a finished set says of itself: its request, its rows, and each file's rows and sha256."""
    entries = [file._asdict() for file in files]
    return {"request": request, "rows": sum(entry["rows"] for entry in entries), "files": entries}


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The manifest in a file, or None if there is none that can be read."""
    values = read_json(path)
    return values if values is not None and {"request", "rows", "files"} <= values.keys() else None


def damaged(folder: Path, entries: Iterable[dict[str, Any]]) -> list[str]:
    """Names of a manifest's files that are missing from `folder` or have other bytes than it says."""
    return [
        entry["name"]
        for entry in entries
        if not (folder / entry["name"]).exists() or sha256(folder / entry["name"]) != entry["sha256"]
    ]


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file, or None if there is none that can be read."""
    try:
        return files.read_json(path)
    except InputError:
        return None
