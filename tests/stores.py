"""A fake object store for tests: fsspec's memory file system behind `etils.epath`, for paths that begin with gs://.

Orbax writes arrays past epath, so its managers are given a local folder in place of one in the store, whose files are
then copied into the store: a checkpoint lies there as it would in a bucket.
"""

import shutil
from pathlib import Path

import orbax.checkpoint as ocp
from etils.epath import backend, gpath
from fsspec.implementations.memory import MemoryFileSystem


class Store(MemoryFileSystem):
    """A bucket, `gs://bucket`, one that refuses objects, `gs://forbidden`, and one that refuses all, `gs://closed`.

    Objects appear when they are closed.
    """

    protocol = "gs"
    store: dict = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012

    @classmethod
    def _strip_protocol(cls, path):
        return MemoryFileSystem._strip_protocol(str(path).removeprefix("gs://"))

    def refuse(self, path):
        """Raises what the clients of stores raise, of any type."""
        if self._strip_protocol(path).startswith("/closed"):
            raise RuntimeError(f"403: the caller has no storage.objects.get access to {path}")

    def info(self, path, **options):
        self.refuse(path)
        return super().info(path, **options)

    def ls(self, path, *arguments, **options):
        self.refuse(path)
        return super().ls(path, *arguments, **options)

    def exists(self, path, **options):
        self.refuse(path)
        return super().exists(path, **options)

    def isdir(self, path):
        self.refuse(path)
        return super().isdir(path)

    def makedirs(self, path, *arguments, **options):
        self.refuse(path)
        return super().makedirs(path, *arguments, **options)

    def glob(self, path, **options):
        self.refuse(path)
        return super().glob(path, **options)

    def open(self, path, mode="rb", **options):
        self.refuse(path)
        if "a" in mode:
            raise ValueError("objects cannot be appended to")
        if self._strip_protocol(path).startswith("/forbidden"):
            raise RuntimeError(f"403: the caller has no storage.objects.create access to {path}")
        if "b" not in mode:
            raise AssertionError("bytes are what our code writes and reads")
        return super().open(path, mode, **options)


class Backend(backend._FileSystemSpecBackend):
    def __init__(self):
        self.memory = Store(skip_instance_cache=True)

    def fs(self, path):
        return self.memory

    def glob(self, path):
        return ["gs:/" + name for name in self.memory.glob(path)]


def use(monkeypatch, scratch: Path) -> Store:
    """An empty store, in place of gs:// for as long as `monkeypatch` lives; `scratch` is for Orbax."""
    Store.store.clear()
    Store.pseudo_dirs[:] = ["", "/bucket"]
    ours = Backend()
    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, "gs", ours)
    monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)

    class Manager(ocp.CheckpointManager):
        def __init__(self, directory, *args, **options):
            self.remote, folder = str(directory), directory
            if self.remote.startswith("gs://"):
                folder = scratch / self.remote.removeprefix("gs://")
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                if ours.memory.exists(self.remote):
                    ours.memory.get(self.remote, str(folder.parent), recursive=True)
            self.local = folder
            super().__init__(folder, *args, **options)

        def reached_preemption(self, step):
            return False

        def wait_until_finished(self):
            super().wait_until_finished()
            if self.remote.startswith("gs://"):
                for path in Path(self.local).rglob("*"):
                    if path.is_file():
                        name = f"{self.remote}/{path.relative_to(self.local)}"
                        ours.memory.pipe_file(name, path.read_bytes())

    monkeypatch.setattr(ocp, "CheckpointManager", Manager)
    monkeypatch.setattr("synthjax.train.checkpoint._Manager", Manager)
    return ours.memory
