"""Files, local or in an object store: paths, whole writes, hashes, reading, locks.

Paths that begin with gs://, s3:// or az:// are those of an object store, reached through `etils.epath`; all others are
local. An object appears whole when it is uploaded. A local file gets its name by a rename once it is on the disk.
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
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from synthjax.errors import InputError, StorageError, SynthjaxError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What writing to a full disk, or past a quota or limit, ends with."""
SCHEMES = ("gs://", "s3://", "az://")
_UNLOCKABLE = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


def path(name: str | os.PathLike[str]) -> Path:
    """The path of that name, to be used instead of `pathlib.Path` for whatever may lie in an object store.

    Of an object store it is an `epath.Path`, which has the methods of `pathlib.Path` that read, write, list and remove.

    Raises:
      InputError: it names a store of another kind.
    """
    text = os.fspath(name)
    if text.startswith(SCHEMES):
        from etils import epath

        return cast(Path, epath.Path(text))
    if "://" in text:
        raise InputError(f"{text}: no such kind of store; a local path, {', '.join(SCHEMES[:-1])} or {SCHEMES[-1]}")
    return Path(text)


def is_local(place: Path) -> bool:
    """Whether a path is one of this machine's file systems."""
    return isinstance(place, Path)


@contextlib.contextmanager
def named_errors(place: Path, what: str = "written") -> Iterator[None]:
    """Within it, what a file system or an object store raises becomes one line that names the path.

    Args:
      place: the path.
      what: is done to it: "PLACE: cannot be WHAT (reason)".

    Raises:
      StorageError: there is no room.
      InputError: anything else. A client of an object store raises errors of all kinds; on local paths those of other
        kinds than OSError pass.
    """
    try:
        yield
    except SynthjaxError:
        raise
    except Exception as error:
        if is_local(place) and not isinstance(error, OSError):
            raise
        full = isinstance(error, OSError) and error.errno in FULL
        raise (StorageError if full else InputError)(f"{place}: cannot be {what} ({reason(error)})") from error


def reason(error: BaseException) -> str:
    """What went wrong, on one line; of a long message both ends, since the cause may come last."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
    text = text or type(error).__name__
    return text if len(text) <= 250 else f"{text[:100]} ... {text[-145:]}"


@contextlib.contextmanager
def atomic(place: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears at `place` whole or not at all, also after a crash; an error leaves what was there.

    Missing folders are created. What goes to an object store is collected in a temporary file before.

    Raises:
      InputError, StorageError: as `named_errors`.
    """
    if not is_local(place):
        with tempfile.TemporaryFile() as waiting:
            yield waiting
            waiting.seek(0)
            with named_errors(place), place.open("wb") as target:
                shutil.copyfileobj(waiting, target, 1 << 20)
        return
    temporary = place.with_name(f".{place.name}.tmp")
    with named_errors(place):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(place)
            _sync_folder(place.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def write(place: Path, content: bytes | str) -> None:
    """Writes a file as `atomic` does; text as UTF-8."""
    with atomic(place) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def _sync_folder(folder: Path) -> None:
    """Puts a folder's entries on the disk, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_text(place: Path) -> str | None:
    """The text of a UTF-8 file, None if nothing lies there.

    Raises:
      InputError: it is no file (a folder, a pipe, a device), cannot be read, or is not UTF-8.
    """
    with named_errors(place, "read"):
        try:
            if is_local(place) and not stat.S_ISREG(place.stat().st_mode):
                raise InputError(f"{place}: is not a file")
            return place.read_bytes().decode()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except UnicodeDecodeError as error:
            raise InputError(f"{place}: cannot be read (byte {error.start} is not UTF-8)") from error


def read_json(place: Path) -> dict[str, Any] | None:
    """The object in a JSON file, None if nothing lies there.

    Raises:
      InputError: as `read_text`, or there is no JSON object in it.
    """
    text = read_text(place)
    if text is None:
        return None
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: cannot be read ({reason(error)})") from error
    if not isinstance(values, dict):
        raise InputError(f"{place}: holds no JSON object")
    return values


def sha256(*places: Path) -> str:
    """Hex digest of the bytes of files, joined in that order."""
    digest = hashlib.sha256()
    for place in places:
        with place.open("rb") as file:
            while piece := file.read(1 << 20):
                digest.update(piece)
    return digest.hexdigest()


def tree(folder: Path) -> list[Path]:
    """All files below a folder, sorted."""
    found: list[Path] = []
    for entry in folder.iterdir():
        found += tree(entry) if entry.is_dir() else [entry]
    return sorted(found)


def remove(place: Path) -> None:
    """Removes a file, or a folder with all that is in it, if it is there."""
    if not place.is_dir():
        place.unlink(missing_ok=True)
    elif is_local(place):
        shutil.rmtree(place)
    else:
        cast(Any, place).rmtree()


def download(place: Path) -> Path:
    """A local copy of a file or folder of an object store, kept until the process ends; a local path as it is.

    The copy's path ends in that of the original, so that messages about it name it.

    Raises:
      InputError: it cannot be read.
    """
    if is_local(place):
        return place
    copy = Path(_downloads().name, *str(place).split("/"))
    with named_errors(place, "read"):
        for source in tree(place) if place.is_dir() else [place]:
            target = copy / source.relative_to(place)
            target.parent.mkdir(parents=True, exist_ok=True)
            with source.open("rb") as file, target.open("wb") as local:
                shutil.copyfileobj(file, local, 1 << 20)
    return copy


@functools.cache
def _downloads() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="synthjax-")


@contextlib.contextmanager
def locked(place: Path, holder: str) -> Iterator[None]:
    """Holds a lock file for as long as the block, or the process, lives; none in an object store.

    Args:
      place: the file, which has the process's number in it. It is removed at the end.
      holder: what is said of whoever holds the lock already: "HOLDER (pid N)".

    Raises:
      InputError: another holds the lock, or the file cannot be written.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        fcntl = None  # type: ignore[assignment]
    if fcntl is None or not is_local(place):
        yield
        return
    with contextlib.ExitStack() as stack:
        with named_errors(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            while True:
                file = stack.enter_context(open(place, "a+"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    file.seek(0)
                    raise InputError(f"{holder} (pid {file.read().strip() or 'unknown'})") from None
                except OSError as error:
                    if error.errno not in _UNLOCKABLE:
                        raise
                    break
                if _is_still_at(file, place):  # its last holder may have removed it just now
                    break
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        stack.callback(place.unlink, missing_ok=True)
        yield


def _is_still_at(file: IO[str], place: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), place.stat())
    except FileNotFoundError:
        return False
