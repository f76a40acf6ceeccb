"""Local files and files in object stores: paths, atomic writes, hashes, reading and locks.

Paths that start with gs://, s3:// or az:// are in an object store, which is accessed by `etils.epath`; all others are
local. An object appears only when its upload is complete. A local file is renamed to its final name after it has been
written to disk.
"""

import contextlib
import errno
import functools
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from synthjax.errors import InputError, StorageError, SynthjaxError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a full disk or an exceeded quota."""
SCHEMES = ("gs://", "s3://", "az://")
_EXTRAS = {"gs://": "'synthjax[gs]'", "s3://": "'synthjax[s3]'", "az://": "adlfs"}  # what pip installs for a store
_READS = ("exists", "is_dir", "is_file", "iterdir", "glob", "stat", "read_bytes", "read_text")
_WRITES = ("mkdir", "rmdir", "rmtree", "unlink", "rename", "replace", "copy", "write_bytes", "write_text")
_EXPECTED = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)
_UNLOCKABLE = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def path(name: str | os.PathLike[str]) -> Path:
    """Makes a path that may be in an object store.

    Returns:
      A `pathlib.Path`, or an `epath.Path` for an object store, which has the same methods to read, write, list and
      remove. If the store refuses or fails, they raise InputError or StorageError, see `named_errors`; if something is
      missing or already there, the exceptions of `pathlib`.

    Raises:
      InputError: the scheme is unknown.
    """
    text = os.fspath(name)
    if text.startswith(SCHEMES):
        return cast(Path, _stored()(text))
    if "://" in text:
        raise InputError(f"{text}: no such kind of store; a local path, {', '.join(SCHEMES[:-1])} or {SCHEMES[-1]}")
    return Path(text)


@functools.cache
def _stored() -> type:
    """The class of paths in object stores."""
    from etils import epath

    parent = type(epath.Path(SCHEMES[0]))
    return type("StoredPath", (parent,), {name: _named(getattr(parent, name)) for name in (*_READS, *_WRITES, "open")})


def _named(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of a path with errors of its store as in `named_errors`."""

    @functools.wraps(method)
    def call(self: Path, *arguments: Any, **options: Any) -> Any:
        name = method.__name__
        try:
            found = method(self, *arguments, **options)
            return iter(list(found)) if name in ("iterdir", "glob") else found
        except _EXPECTED:
            raise
        except Exception:
            mode = str(options.get("mode", [*arguments, "r"][0]))
            writes = "r" not in mode if name == "open" else name in _WRITES
            with named_errors(self, "written" if writes else "read"):
                raise

    return call


def is_local(file_path: Path) -> bool:
    """Whether a path is local."""
    return isinstance(file_path, Path)


@contextlib.contextmanager
def named_errors(file_path: Path, what: str = "written") -> Iterator[None]:
    """Context in which errors of a file system or an object store become one line that names the path.

    Args:
      file_path: the path.
      what: the operation, for the message "PATH: cannot be WHAT (reason)".

    Raises:
      StorageError: the disk is full.
      InputError: any other OSError; for an object store, any other exception, since its client may raise any type. If
        the client is not installed, the message says how to install it.
    """
    try:
        yield
    except SynthjaxError:
        raise
    except Exception as error:
        if is_local(file_path) and not isinstance(error, OSError):
            raise
        if isinstance(error, ImportError):
            hint = f"pip install {_EXTRAS[str(file_path)[:5]]}"
            raise InputError(f"{file_path}: cannot be {what} ({reason(error)}); {hint}") from error
        full = isinstance(error, OSError) and error.errno in FULL
        raise (StorageError if full else InputError)(f"{file_path}: cannot be {what} ({reason(error)})") from error


def reason(error: BaseException) -> str:
    """The message of an error in one line. A long one is shortened in the middle, since the cause may come last."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
    text = text or type(error).__name__
    return text if len(text) <= 250 else f"{text[:100]} ... {text[-145:]}"


@contextlib.contextmanager
def atomic(file_path: Path) -> Iterator[IO[bytes]]:
    """Opens a binary file for writing that appears at `file_path` only when it is complete, even after a crash.

    After an error, `file_path` is unchanged. Missing folders are created. Files for an object store are written to a
    temporary file first.

    Raises:
      InputError, StorageError: see `named_errors`.
    """
    if not is_local(file_path):
        with tempfile.TemporaryFile() as waiting:
            yield waiting
            waiting.seek(0)
            with named_errors(file_path), file_path.open("wb") as target:
                shutil.copyfileobj(waiting, target, 1 << 20)
        return
    temporary = file_path.with_name(f".{file_path.name}.tmp")
    with named_errors(file_path):
        try:
            file_path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(file_path)
            sync_folder(file_path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write(file_path: Path, content: bytes | str) -> None:
    """Writes a file atomically; text is encoded as UTF-8."""
    with atomic(file_path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def sync_folder(folder: Path) -> None:
    """Writes the entries of a folder to disk, so that a rename in it survives a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_text(file_path: Path) -> str | None:
    """Reads a UTF-8 file; None if it does not exist.

    Raises:
      InputError: it is not a file (but a folder, pipe or device), cannot be read, or is not UTF-8.
    """
    with named_errors(file_path, "read"):
        try:
            if is_local(file_path) and not stat.S_ISREG(file_path.stat().st_mode):
                raise InputError(f"{file_path}: is not a file")
            return file_path.read_bytes().decode()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except UnicodeDecodeError as error:
            raise InputError(f"{file_path}: cannot be read (byte {error.start} is not UTF-8)") from error


def read_json(file_path: Path) -> dict[str, Any] | None:
    """Reads an object from a JSON file; None if the file does not exist.

    Raises:
      InputError: see `read_text`; or the file does not contain a JSON object.
    """
    text = read_text(file_path)
    if text is None:
        return None
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file_path}: cannot be read ({reason(error)})") from error
    if not isinstance(values, dict):
        raise InputError(f"{file_path}: holds no JSON object")
    return values


def sha256(*paths: Path) -> str:
    """Hex sha256 of the concatenated bytes of files."""
    digest = hashlib.sha256()
    for file_path in paths:
        with file_path.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def tree(folder: Path) -> list[Path]:
    """All files in a folder and its subfolders, sorted."""
    found: list[Path] = []
    for entry in folder.iterdir():
        found += tree(entry) if entry.is_dir() else [entry]
    return sorted(found)


def remove(file_path: Path) -> None:
    """Removes a file, or a folder with its contents, if it exists."""
    if not file_path.is_dir():
        file_path.unlink(missing_ok=True)
    elif is_local(file_path):
        shutil.rmtree(file_path)
    else:
        cast(Any, file_path).rmtree()


def download(file_path: Path) -> Path:
    """Copies a file or folder from an object store; a local path is returned unchanged.

    The copy is removed when the process ends. Its path ends with the original path, which so appears in messages.

    Raises:
      InputError: it cannot be read.
    """
    if is_local(file_path):
        return file_path
    copy = Path(_downloads().name, *str(file_path).split("/"))
    with named_errors(file_path, "read"):
        for source in tree(file_path) if file_path.is_dir() else [file_path]:
            target = copy / source.relative_to(file_path)
            target.parent.mkdir(parents=True, exist_ok=True)
            with source.open("rb") as file, target.open("wb") as local:
                shutil.copyfileobj(file, local, 1 << 20)
    return copy


@functools.cache
def _downloads() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="synthjax-")


@contextlib.contextmanager
def locked(file_path: Path, holder: str) -> Iterator[None]:
    """Context that holds a lock file, which is released when the process ends in any way. Object stores have no locks.

    Args:
      file_path: the lock file. It contains the process id and is removed at the end.
      holder: describes the process that holds the lock already, for the message "HOLDER (pid N)".

    Raises:
      InputError: another process holds the lock, or the file cannot be written.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        fcntl = None  # type: ignore[assignment]
    if fcntl is None or not is_local(file_path):
        yield
        return
    with contextlib.ExitStack() as stack:
        with named_errors(file_path):
            file_path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                file = stack.enter_context(open(file_path, "a+"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    file.seek(0)
                    raise InputError(f"{holder} (pid {file.read().strip() or 'unknown'})") from None
                except OSError as error:
                    if error.errno not in _UNLOCKABLE:
                        raise
                    break
                if _is_still_at(file, file_path):  # its previous holder may have removed it meanwhile
                    break
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        stack.callback(file_path.unlink, missing_ok=True)
        yield


def _is_still_at(file: IO[str], file_path: Path) -> bool:
    """Whether `file_path` is the open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), file_path.stat())
    except FileNotFoundError:
        return False
