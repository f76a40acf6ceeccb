"""Checkpoints: what is saved comes back bit for bit, and what is damaged is passed over."""

import json
import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from synthjax import files
from synthjax.errors import CheckpointError
from synthjax.train import checkpoint
from synthjax.train.checkpoint import Checkpoints, damage

ADAM = optax.adam(1e-3)


class State(NamedTuple):
    params: dict
    opt: optax.OptState
    key: jax.Array
    count: jax.Array


def make(step: int) -> State:
    params = {"w": jnp.arange(300.0).reshape(20, 15) / 7 + step, "half": jnp.full(3, step + 1 / 3, jnp.bfloat16)}
    return State(params, ADAM.init(params), jax.random.key(step), jnp.int32(step))


def same(a: State, b: State) -> bool:
    def bits(leaf):
        keyed = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return str(leaf.dtype), np.asarray(jax.random.key_data(leaf) if keyed else leaf).tobytes()

    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        bits(x) == bits(y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with steps 10, 20 and 30; tests work on copies."""
    folder = tmp_path_factory.mktemp("saved")
    checkpoints = Checkpoints(folder)
    for step in (10, 20, 30):
        checkpoints.save(step, make(step), {"step": step, "fingerprint": "f"})
    checkpoints.close()
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints")


def test_saved_state_and_record_come_back_bit_for_bit(saved):
    checkpoints = Checkpoints(saved)
    assert checkpoints.newest() == 30
    assert same(checkpoints.restore(20, make(0)), make(20))
    assert checkpoints.record(20) == {"step": 20, "fingerprint": "f"}


def test_leaves_without_values_come_back(tmp_path):
    state = make(1)._replace(params={"none": jnp.zeros((0, 3), jnp.bfloat16), "w": jnp.ones(2)})
    checkpoints = Checkpoints(tmp_path / "empty")
    checkpoints.save(1, state, {"step": 1})
    found = checkpoints.restore(1, state)
    assert same(found, state) and found.params["none"].shape == (0, 3)


def test_a_state_is_restored_onto_other_devices(saved):
    if jax.device_count() < 2:
        pytest.skip("needs two devices")
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    whole = NamedSharding(mesh, PartitionSpec())
    like = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=whole), make(0))
    restored = Checkpoints(saved).restore(30, like)
    assert same(restored, make(30))
    assert restored.params["w"].sharding == whole


def test_only_the_newest_are_kept(folder):
    checkpoints = Checkpoints(folder, keep=2)
    checkpoints.save(40, make(40), {})
    assert sorted(path.name for path in folder.iterdir()) == ["30", "40"]
    assert checkpoints.newest() == 40


def test_the_last_good_one_outlives_an_interrupted_commit(folder, monkeypatch):
    """With keep=1 nothing may be removed before the new checkpoint can be trusted."""

    def die(path):
        raise KeyboardInterrupt  # as SIGKILL, it passes every `except Exception`

    monkeypatch.setattr(checkpoint, "_write_manifest", die)
    with pytest.raises(KeyboardInterrupt):
        Checkpoints(folder, keep=1).save(40, make(40), {})
    lines = []
    assert Checkpoints(folder, say=lines.append).newest() == 30
    assert len(lines) == 1
    assert "checkpoint 40" in lines[0] and "interrupted" in lines[0]


def data_file(folder):
    """The largest file: that of the arrays."""
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def flip(path, position=None):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if position is None else position] ^= 1
    path.write_bytes(content)


def shorten(manifest):
    """Leaves out the first file."""
    listed = json.loads(manifest.read_text())
    listed.pop(min(listed))
    files.write(manifest, json.dumps(listed))


DAMAGES = {
    "manifest gone": lambda step: (step / "sha256.json").unlink(),
    "manifest truncated": lambda step: files.write(step / "sha256.json", b'{"a": "'),
    "manifest empty": lambda step: files.write(step / "sha256.json", b""),
    "manifest of another kind": lambda step: files.write(step / "sha256.json", b"[1]"),
    "manifest of nothing": lambda step: files.write(step / "sha256.json", b"{}"),
    "manifest, one file short": lambda step: shorten(step / "sha256.json"),
    "manifest, one bit": lambda step: flip(step / "sha256.json", 12),
    "marker gone": lambda step: (step / "commit_success.txt").unlink(),
    "marker of the state gone": lambda step: (step / "state" / "commit_success.txt").unlink(),
    "state gone": lambda step: shutil.rmtree(step / "state"),
    "record gone": lambda step: shutil.rmtree(step / "record"),
    "arrays gone": lambda step: data_file(step).unlink(),
    "arrays truncated": lambda step: data_file(step).write_bytes(data_file(step).read_bytes()[:-100]),
    "arrays empty": lambda step: data_file(step).write_bytes(b""),
    "arrays, one bit": lambda step: flip(data_file(step)),
    "all gone": lambda step: [shutil.rmtree(p) if p.is_dir() else p.unlink() for p in step.iterdir()],
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(folder, kind):
    DAMAGES[kind](folder / "30")
    assert damage(folder / "30") is not None
    lines = []
    checkpoints = Checkpoints(folder, say=lines.append)
    assert checkpoints.newest() == 20
    assert checkpoints.newest() == 20
    (line,) = lines  # said once, however often it is asked
    assert "checkpoint 30" in line and str(folder) in line and "\n" not in line
    assert same(checkpoints.restore(20, make(0)), make(20))


def test_every_file_of_a_checkpoint_is_watched(folder):
    files = [path for path in (folder / "30").rglob("*") if path.is_file() and path.stat().st_size]
    assert len(files) > 8
    for path in files:
        content = path.read_bytes()
        flip(path)
        assert damage(folder / "30") is not None, path
        path.write_bytes(content)
    assert damage(folder / "30") is None


def test_a_run_goes_over_a_damaged_checkpoint(folder):
    flip(data_file(folder / "30"))
    checkpoints = Checkpoints(folder, say=lambda line: None)
    assert checkpoints.newest() == 20
    checkpoints.save(25, make(25), {})
    assert sorted(path.name for path in folder.iterdir()) == ["10", "20", "25"]
    checkpoints.save(30, make(31), {})
    checkpoints.close()
    assert checkpoints.newest() == 30
    assert same(checkpoints.restore(30, make(0)), make(31))


def test_only_damaged_checkpoints_are_an_error_that_names_them_and_touches_nothing(folder):
    for step in (10, 20, 30):
        flip(data_file(folder / str(step)))
    before = sorted(str(path) for path in folder.rglob("*"))
    with pytest.raises(CheckpointError, match=r"is damaged \(10, 20, 30\); restore one from a copy, or start over"):
        Checkpoints(folder, say=lambda line: None).newest()
    assert sorted(str(path) for path in folder.rglob("*")) == before


def test_manifests_that_are_all_gone_are_not_taken_for_a_first_start(folder):
    for step in (10, 20, 30):
        (folder / str(step) / "sha256.json").unlink()
    with pytest.raises(CheckpointError, match="every checkpoint is damaged"):
        Checkpoints(folder, say=lambda line: None).newest()


def test_an_interrupted_first_commit_is_a_first_start(folder):
    shutil.rmtree(folder / "10")
    shutil.rmtree(folder / "20")
    (folder / "30" / "sha256.json").unlink()
    lines = []
    assert Checkpoints(folder, say=lines.append).newest() is None
    assert len(lines) == 1


def test_an_empty_or_missing_folder_is_a_first_start(tmp_path):
    assert Checkpoints(tmp_path).newest() is None
    assert Checkpoints(tmp_path / "none").newest() is None
    assert not (tmp_path / "none").exists()


def test_a_state_of_another_shape_is_refused(saved):
    other = make(0)
    other.params["w"] = jnp.zeros((5, 5))
    with pytest.raises(CheckpointError, match=r"checkpoint 30 .* does not fit this model"):
        Checkpoints(saved).restore(30, other)


def test_a_state_of_another_structure_is_refused(saved):
    with pytest.raises(CheckpointError, match="does not fit this model"):
        Checkpoints(saved).restore(30, {"w": jnp.zeros(3)})


@pytest.mark.parametrize("where", ["_write_manifest", "Orbax"])
def test_a_full_disk_names_the_last_good_one_and_leaves_no_broken_one(folder, monkeypatch, where):
    def full(*args, **options):
        raise OSError(28, "No space left on device")

    if where == "Orbax":
        monkeypatch.setattr(ocp.CheckpointManager, "wait_until_finished", full)
    else:
        monkeypatch.setattr(checkpoint, where, full)
    checkpoints = Checkpoints(folder)
    with pytest.raises(CheckpointError, match=r"cannot write checkpoint 40 .*No space left.* last good one is step 30"):
        checkpoints.save(40, make(40), {})
    monkeypatch.undo()
    assert sorted(path.name for path in folder.iterdir()) == ["10", "20", "30"]
    assert Checkpoints(folder).newest() == 30


def test_a_folder_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="cannot write checkpoint 5 .*; there is none before it") as raised:
        Checkpoints(tmp_path / "file" / "checkpoints").save(5, make(5), {})
    assert "\n" not in str(raised.value)


def test_a_manifest_lists_every_other_file(saved):
    listed = set(json.loads((saved / "30" / "sha256.json").read_text()))
    there = {str(path.relative_to(saved / "30")) for path in (saved / "30").rglob("*") if path.is_file()}
    assert listed == there - {"sha256.json"}


# --- files beside a checkpoint, leaves that are not wanted, what cannot be read ----------------------------------


def test_a_state_is_restored_only_beside_the_files_it_was_saved_with(tmp_path):
    files.write(tmp_path / "encoder.json", '{"town": ["Bern"]}')
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(5, make(5), {"files": {"encoder.json": files.sha256(tmp_path / "encoder.json")}})
    assert same(checkpoints.restore(5, make(0)), make(5))
    files.write(tmp_path / "encoder.json", '{"town": ["Bonn"]}')
    with pytest.raises(CheckpointError, match=r"encoder.json: has changed since checkpoint 5 was saved; restore it"):
        checkpoints.restore(5, make(0))
    (tmp_path / "encoder.json").unlink()
    with pytest.raises(CheckpointError, match=r"encoder.json: is missing since checkpoint 5 was saved; restore it"):
        checkpoints.restore(5, make(0))
    assert checkpoints.newest() == 5  # the checkpoint itself is whole


def test_leaves_that_are_not_wanted_are_not_read(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(5, make(5), {})
    read = []
    deserialize = ocp.type_handlers.ArrayHandler.deserialize

    async def counted(self, infos, args=None):
        read.extend(info.name for info in infos)
        return await deserialize(self, infos, args)

    monkeypatch.setattr(ocp.type_handlers.ArrayHandler, "deserialize", counted)
    like = make(0)
    some = like._replace(opt=jax.tree.map(lambda leaf: ocp.PLACEHOLDER, like.opt))
    restored = checkpoints.restore(5, some)
    assert not any("opt" in name for name in read) and any("params.w" in name for name in read)
    assert same(restored._replace(opt=like.opt), make(5)._replace(opt=like.opt))
    assert jax.tree.leaves(restored.opt) == [ocp.PLACEHOLDER] * len(jax.tree.leaves(like.opt))
    checkpoints.restore(5, like)
    assert any("opt" in name for name in read)


@pytest.mark.parametrize("unreadable", ["a file", "the folder"])
def test_checkpoints_that_may_not_be_read_are_no_damaged_ones(folder, monkeypatch, unreadable):
    """Nothing older is taken instead, which would remove the newer ones, and nothing is said of deleting."""
    denied = PermissionError(13, "Permission denied", str(folder))

    def refuse(*_):
        raise denied

    monkeypatch.setattr(*((files, "sha256") if unreadable == "a file" else (type(folder), "iterdir")), refuse)
    with pytest.raises(CheckpointError, match=r"cannot be read \(Permission denied\)") as raised:
        Checkpoints(folder).newest()
    assert str(folder) in str(raised.value) and "delete" not in str(raised.value) and "\n" not in str(raised.value)
