"""Paths, whole writes, reading and locks, on this machine and in a fake object store."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import stores

import synthjax
from synthjax import data, files
from synthjax.data.requests import Job
from synthjax.errors import InputError, StorageError
from synthjax.launch import runs, sample, train
from synthjax.launch.config import Experiment
from synthjax.models import vae
from synthjax.train import metrics


@pytest.fixture
def store(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # where "./gs:/..." would appear
    yield stores.use(monkeypatch, tmp_path / "orbax")
    assert not (tmp_path / "gs:").exists()


def test_paths_of_stores_keep_their_names(store):
    for name in ("gs://bucket/run", "s3://bucket/run", "az://bucket/run"):
        place = files.path(name)
        assert str(place) == name and str(files.path(place / "a")) == f"{name}/a" and not files.is_local(place)
    assert files.path("runs/x") == Path("runs/x") and files.is_local(files.path("gs"))
    with pytest.raises(
        InputError, match=r"^hdfs://host/run: no such kind of store; a local path, gs://, s3:// or az://$"
    ):
        files.path("hdfs://host/run")


def test_an_object_is_written_whole_or_not_at_all(store):
    place = files.path("gs://bucket/run/config.json")
    files.write(place, '{"a": 1}')
    assert files.read_json(place) == {"a": 1}
    with pytest.raises(ArithmeticError), files.atomic(place) as file:
        file.write(b"half")
        raise ArithmeticError
    assert files.read_json(place) == {"a": 1}
    assert [entry.name for entry in place.parent.iterdir()] == ["config.json"]
    assert files.read_text(place.parent / "none") is None


def test_a_store_that_refuses_is_one_line(store):
    with pytest.raises(InputError, match=r"^gs://forbidden/x: cannot be written \(403: the caller has no .*\)$"):
        files.write(files.path("gs://forbidden/x"), b"")
    chosen = Experiment("vae", vae.Config())
    with pytest.raises(InputError, match=r"^--workdir=gs://forbidden/run: cannot be written \(403: .*\)$"):
        runs.begin(files.path("gs://forbidden/run"), chosen, data.load("digits"))


def test_an_atomic_write_leaves_the_old_content_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    files.write(path, b"old")
    monkeypatch.setattr(files.os, "fsync", lambda number: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(StorageError, match=r"config.json: cannot be written \(full\)"):
        files.write(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["config.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff{}", "byte 0 is not UTF-8"), (b"{", "Expecting"), (b"[]", "no JSON object"), (b"[" * 100_000, "recursion")],
)
def test_a_damaged_json_file_is_named(tmp_path, content, message):
    (tmp_path / "data.json").write_bytes(content)
    with pytest.raises(InputError, match=f"data.json: .*{message}"):
        files.read_json(tmp_path / "data.json")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "data.json")
    with pytest.raises(InputError, match=r"data.json: is not a file"):
        files.read_json(tmp_path / "data.json")


HOLD = """
import sys, time
from pathlib import Path
from synthjax import files
with files.locked(Path(sys.argv[1]), "held"):
    print("locked", flush=True)
    time.sleep(600)
"""


def test_a_lock_names_its_process_and_vanishes_with_it(tmp_path):
    lock = tmp_path / "run" / ".lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "locked\n"
    with (
        pytest.raises(InputError, match=rf"^another trains \(pid {holder.pid}\)$"),
        files.locked(lock, "another trains"),
    ):
        pass
    holder.kill()
    holder.wait()
    with files.locked(lock, "another trains"):
        with pytest.raises(InputError, match=rf"pid {os.getpid()}"), files.locked(lock, "another trains"):
            pass
        assert lock.read_text() == str(os.getpid())
    assert not lock.exists()


def test_metrics_of_a_store_are_there_when_a_checkpoint_is(store):
    writer = metrics.MetricsWriter("gs://bucket/run")
    writer.write(1, {"loss": np.float32(0.5)})
    assert list(metrics.read("gs://bucket/run")) == []  # no upload for each row
    writer.flush()
    assert list(metrics.read("gs://bucket/run")) == [{"step": 1, "loss": 0.5}]
    writer.write(2, {"loss": np.float32(0.25)})
    writer.close()
    assert [row["step"] for row in metrics.read("gs://bucket/run")] == [1, 2]
    metrics.MetricsWriter("gs://bucket/run", 1).close()
    assert [row["step"] for row in metrics.read("gs://bucket/run")] == [1]


SMALL = vae.Config(steps=6, batch_size=16, latents=2, channels=(), hidden=(16,))


def toy(store):
    y = np.arange(120, dtype=np.int32) % 2
    x = np.random.default_rng(0).integers(0, 100, (120, 8, 8, 1)) + 120 * y[:, None, None, None]
    np.savez(Path("toy.npz"), x=x.astype(np.uint8), y=y)
    store.pipe_file("gs://bucket/data/toy.npz", Path("toy.npz").read_bytes())


def test_a_run_lives_in_a_store_and_draws_what_a_local_one_does(store, tmp_path):
    """Trained in two parts, its checkpoints verified, its samples written into the store; data read from it too."""
    toy(store)
    remote = Experiment("vae", SMALL, "gs://bucket/data/toy.npz", log_every=2, checkpoint_every=3, sample_every=0)
    workdir = files.path("gs://bucket/run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.monitor.Monitor, "__call__", lambda *_: None)
        assert train.run(remote, runs.data(remote), workdir) == 6
        files.remove(workdir / "checkpoints" / "6")
        assert train.run(remote, runs.data(remote), workdir) == 6
        local = Experiment("vae", SMALL, str(tmp_path / "toy.npz"), log_every=2, checkpoint_every=3, sample_every=0)
        train.run(local, runs.data(local), tmp_path / "local")
    drawn = []
    for folder in (workdir, tmp_path / "local"):
        model, state, spec = synthjax.load(folder)
        described, dataset = sample.describe_run(folder, state, 0)
        request = sample.make_request(model, spec, (5, 5), described=described, dataset=dataset, block=10)
        assert sample.fulfil(model, state, Job(request, folder / "synthetic.npz"))
        assert not sample.fulfil(model, state, Job(request, folder / "synthetic.npz"))
        drawn.append((folder / "synthetic.npz").read_bytes())
    assert drawn[0] == drawn[1]
    steps = [[row["step"] for row in metrics.read(folder)] for folder in (workdir, tmp_path / "local")]
    assert steps[0] == steps[1] == [2, 4, 6]
    store.pipe_file("gs://bucket/run/data.json", store.cat_file("gs://bucket/run/data.json") + b"\n")
    with pytest.raises(
        synthjax.errors.CheckpointError, match=r"^gs://bucket/run/data.json: has changed since checkpoint 6"
    ):
        synthjax.load(workdir)


@pytest.mark.parametrize("form", ["png", "parts"])
def test_sets_of_many_files_are_written_into_a_store(store, tmp_path, form):
    spec = data.load("digits").spec
    drawn = []
    for out in (files.path("gs://bucket/set"), tmp_path / "set"):
        model = {"name": "m", "config": {}, "member": 0, "step": 1, "sha256": "0"}
        dataset, blocks = {"name": "digits", "fingerprint": "f"}, 2 * (form == "parts")
        request = sample.Request(spec, (3,) * 10, True, model, dataset, {}, form, block=7, part_blocks=blocks)

        def draw(numbers, request=request):
            return (np.full((len(request.labels(b)), 8, 8, 1), b, np.uint8) for b in numbers)

        job = sample.Job(request, out)
        job.begin()
        job.run(draw)
        job.finish()
        assert job.finished()
        drawn.append({p.relative_to(out).as_posix(): p.read_bytes() for p in files.tree(out)})
    assert drawn[0] == drawn[1] and len(drawn[0]) > 5


def test_data_of_a_store_is_found_below_data_dir(store):
    toy(store)
    whole = data.load("gs://bucket/data/toy.npz")
    below = data.load("toy.npz", "gs://bucket/data")
    assert whole.fingerprint == below.fingerprint and whole.name == below.name == "toy"
    with pytest.raises(InputError, match="gs://bucket/data/none.npz: cannot be read"):
        data.load("gs://bucket/data/none.npz")
