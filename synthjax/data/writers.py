"""Writers of synthetic data sets. If a process is killed, at most one block is lost and no file is incomplete.

All formats are written block by block, so that only one block is in memory:

- `npz`: one file with `x` (N, *shape) and `y` (N,) i32, compressed, readable by `numpy.load(allow_pickle=False)`;
- `png`: a folder with one subfolder of PNG files per class;
- `parts`: a folder of `part-00007-of-00064.npz` files of equal size, for large sets or for several processes;
- `csv`, `parquet`: one file with the columns of a table (written by `synthjax.data.readers`).

Each set has a manifest with its request, and the number of rows and sha256 of each of its files. The bytes of all files
depend only on their contents (not on time, user or host). A file is renamed to its final name after it has been
written. Until a set is complete, its blocks are in a `BlockStore` next to it.

    >>> folder_name("a/b")
    'a%2Fb'
    >>> part_name(7, 64)
    'part-00007-of-00064.npz'
    >>> manifest({}, [File("part-00000-of-00001.npz", 5, "0f")])["rows"]
    5
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
"""Formats with the original columns of a table."""
# Any fixed time gives reproducible zip files; this is the earliest possible one.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)

Rows = tuple[np.ndarray, np.ndarray | None]
"""Rows of a set: x (n, *shape) as stored, and y (n,) i32, or None if the set has no labels."""


class File(NamedTuple):
    """One entry of a manifest."""

    name: str
    """Path in the set's folder; for PNG files, the path of the subfolder that contains them."""
    rows: int
    sha256: str
    """See `sha256`."""


def to_json(values: Any) -> str:
    """JSON text that depends only on the values: keys are sorted, and it ends with a newline."""
    return json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def sha256(path: Path) -> str:
    """Hex digest of a file, or of the PNG files of a folder, concatenated in the order of their names."""
    return files.sha256(*sorted(path.glob("*.png"))) if path.is_dir() else files.sha256(path)


class BlockStore:
    """The finished blocks of an incomplete set, in a folder. Each file starts with the sha256 of the rest.

    The folder also contains the request that the blocks belong to. Blocks of another request are removed.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: np.dtype | type):
        """A store of arrays (n, *shape) of `dtype`. The folder is not created before `begin`."""
        self.folder = folder
        self._shape = shape
        self._dtype = np.dtype(dtype)

    def request(self) -> dict[str, Any] | None:
        """The request that the blocks belong to; None if there is none or it cannot be read."""
        return read_json(self.folder / "request.json")

    def begin(self, request: dict[str, Any]) -> None:
        """Prepares the store for a request. Blocks of another request are removed."""
        if self.request() == request:
            return
        self.clear()
        files.write(self.folder / "request.json", to_json(request))

    def put(self, b: int, x: np.ndarray) -> None:
        """Writes block `b`. After this returns, the block is not lost if the process is killed."""
        data = np.ascontiguousarray(x, self._dtype).tobytes()
        files.write(self._path(b), hashlib.sha256(data).digest() + data)

    def get(self, b: int) -> np.ndarray | None:
        """Reads block `b`, (n, *shape); None if it is missing or damaged."""
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
        """Whether block `b` is in the store; it may be damaged."""
        return self._path(b).exists()

    def drop(self, b: int) -> None:
        """Removes block `b`, if it exists."""
        self._path(b).unlink(missing_ok=True)

    def clear(self) -> None:
        """Removes the folder and its contents."""
        files.remove(self.folder)

    def _path(self, b: int) -> Path:
        return self.folder / f"block-{b:08d}.bin"


def write_npz(path: Path, blocks: Iterable[Rows], shape: tuple[int, ...], dtype: np.dtype | type) -> File:
    """Writes `x` and, if the set has labels, `y` to an npz file, one block in memory at a time.

    Args:
      path: of the file.
      blocks: consecutive rows, x (n, *shape) and y (n,) or None.
      shape: (N, ...), the shape of the whole `x`.
      dtype: of `x`.

    Returns:
      The entry of the manifest, with the name of the file.

    Raises:
      InputError: the file cannot be written.
      ValueError: the blocks do not have N rows in total.
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
    """Opens a member of an npz file and writes its header; the caller writes the bytes of the array."""
    info = zipfile.ZipInfo(name, _ZIP_TIME)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3  # Unix, on every platform
    header = io.BytesIO()
    description = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, description)
    # zipfile does not know the size in advance, and an array may be larger than 2 GiB.
    with archive.open(info, "w", force_zip64=True) as member:
        member.write(header.getvalue())
        yield member


def write_pngs(folder: Path, blocks: Iterable[Rows], spec: DataSpec) -> list[File]:
    """Writes PNG files `<class name>/<row, 8 digits>.png`; without labels, there are no class folders.

    Grey levels 0 ... levels - 1 are scaled to 0 ... 255. The exact inverse is `round(png * (levels - 1) / 255)`. Class
    names are percent-encoded if they are not valid names of folders.

    Args:
      folder: is created, or emptied first.
      blocks: consecutive rows, x (n, H, W, C) uint8 with 1, 3 or 4 channels and y (n,) or None.
      spec: of the data, with classes and levels.

    Returns:
      One entry per class with rows, in the order of the classes; one entry named "." without labels.

    Raises:
      InputError: see `check_png`; or a file cannot be written.
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
    """Raises InputError if examples of `spec` cannot be written as PNG files."""
    if spec.kind != "image":
        raise InputError("format png: the data is a table; use npz or parts")
    if spec.shape[-1] not in (1, 3, 4):
        raise InputError(f"format png: images have 1, 3 or 4 channels, not {spec.shape[-1]}; use npz or parts")


def check_table(form: str, spec: DataSpec, path: Path) -> None:
    """Raises InputError if examples of `spec` cannot be written as a table to `path`."""
    if spec.kind != "table":
        raise InputError(f"format {form}: the data are images; use npz, png or parts")
    if path.suffix.lower() != f".{form}":
        raise InputError(f"--out={path}: the name of a file of format {form} ends in .{form}")


def folder_name(name: str) -> str:
    """A class name as the name of a folder. The inverse is `urllib.parse.unquote`."""
    quoted = urllib.parse.quote(name, safe=" ()[]{},;=+@!'")
    return "%2E" + quoted[1:] if quoted.startswith(".") else quoted


def part_name(i: int, n: int) -> str:
    """The file name of part `i` of `n`."""
    return f"part-{i:05d}-of-{n:05d}.npz"


def manifest(request: dict[str, Any], files: Iterable[File]) -> dict[str, Any]:
    """The manifest of a finished set: its request, number of rows, and the entries of its files."""
    entries = [file._asdict() for file in files]
    return {"request": request, "rows": sum(entry["rows"] for entry in entries), "files": entries}


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Reads a manifest; None if there is none or it cannot be read."""
    values = read_json(path)
    return values if values is not None and {"request", "rows", "files"} <= values.keys() else None


def damaged(folder: Path, entries: Iterable[dict[str, Any]]) -> list[str]:
    """Names of files of a manifest that are missing from `folder` or whose sha256 differs."""
    return [
        entry["name"]
        for entry in entries
        if not (folder / entry["name"]).exists() or sha256(folder / entry["name"]) != entry["sha256"]
    ]


def read_json(path: Path) -> dict[str, Any] | None:
    """Reads a JSON object from a file; None if there is none or it cannot be read."""
    try:
        return files.read_json(path)
    except InputError:
        return None
