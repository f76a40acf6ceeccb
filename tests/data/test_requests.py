"""Jobs: any number of processes and interruptions end with the same bytes."""

import json
import threading

import numpy as np
import pytest

from synthjax.data import requests, writers
from synthjax.errors import InputError, Preempted
from synthjax.model import DataSpec

SPEC = DataSpec("image", (2, 3, 1), 256, ("a", "b", "c"), (0.5, 0.3, 0.2))


def make(form="parts", counts=(20, 0, 15), block=4, part_blocks=2, seed=0, labelled=True):
    return requests.Request(
        spec=SPEC,
        counts=counts,
        labelled=labelled,
        form=form,
        seed=seed,
        block=block,
        part_blocks=part_blocks if form == "parts" else 0,
        options={},
        model={"name": "fake", "config": {"width": 3}, "member": 0, "step": 900, "sha256": "00"},
        dataset={"name": "digits", "fingerprint": "11"},
        software={"jax": "0"},
    )


def rows(request, b):
    """What a model would draw: block b is a function of the request's seed and of b."""
    rng = np.random.default_rng((request.seed, b))
    return rng.integers(0, 256, (len(request.labels(b)), 2, 3, 1), np.uint8)


def drawing(request, drawn=None):
    """What `Job.run` calls; the numbers of the blocks that are drawn go into `drawn`."""

    def draw(numbers):
        for b in numbers:
            if drawn is not None:
                drawn.append(b)
            yield rows(request, b)

    return draw


def complete(request, out, overwrite=False):
    """The blocks that had to be drawn."""
    job = requests.Job(request, out)
    drawn = []
    job.begin(overwrite)
    job.run(drawing(request, drawn))
    job.finish()
    assert job.finished()
    return drawn


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_proportional_counts():
    assert requests.proportional_counts(10, (0.5, 0.3, 0.2)) == (5, 3, 2)
    assert requests.proportional_counts(7, (0.5, 0.3, 0.2)) == (4, 2, 1)  # shares 3.5, 2.1, 1.4
    assert requests.proportional_counts(1, (0.2, 0.5, 0.3)) == (0, 1, 0)
    assert sum(requests.proportional_counts(999_983, (0.1,) * 10)) == 999_983


@pytest.mark.parametrize("counts", [(1,), (5, 0, 7), (1000,) * 10, (3, 997, 211)])
def test_labels_are_spread_evenly(counts):
    total = sum(counts)
    labels = requests.spread_labels(counts, 0, total + 5)
    np.testing.assert_array_equal(np.bincount(labels, minlength=len(counts)), counts)
    np.testing.assert_array_equal(requests.spread_labels(counts, 3, 9), labels[3:9])
    if total >= 1000:
        for start in range(0, total - 100, 97):
            shares = np.bincount(labels[start : start + 100], minlength=len(counts)) / 100
            np.testing.assert_allclose(shares, np.array(counts) / total, atol=0.05)


def test_parts_cover_the_rows_once():
    request = make()
    assert (request.rows, request.blocks, request.parts) == (35, 9, 5)
    assert [b for part in range(5) for b in request.blocks_of(part)] == list(range(9))
    assert [request.rows_of(part) for part in range(5)] == [8, 8, 8, 8, 3]


def test_parts_hold_what_was_drawn(tmp_path):
    request = make()
    complete(request, tmp_path / "set")
    x, y = [], []
    for i in range(5):
        with np.load(tmp_path / "set" / f"part-0000{i}-of-00005.npz") as data:
            x.append(data["x"])
            y.append(data["y"])
    np.testing.assert_array_equal(np.concatenate(x), np.concatenate([rows(request, b) for b in range(9)]))
    np.testing.assert_array_equal(np.bincount(np.concatenate(y)), [20, 0, 15])
    assert (tmp_path / "set" / "_SUCCESS").exists()
    assert not (tmp_path / "set.partial").exists()
    manifest = json.loads((tmp_path / "set" / "manifest.json").read_text())
    assert manifest["rows"] == 35
    assert [entry["rows"] for entry in manifest["files"]] == [8, 8, 8, 8, 3]


def test_three_processes_write_what_one_writes(tmp_path):
    request = make()
    complete(request, tmp_path / "one" / "set")
    jobs = [requests.Job(request, tmp_path / "three" / "set") for _ in range(3)]
    jobs[0].begin()
    for process in (2, 0, 1):
        jobs[process].run(drawing(request), process=process, process_count=3)
    jobs[0].finish()
    assert tree(tmp_path / "one") == tree(tmp_path / "three")


@pytest.mark.parametrize("form", ["npz", "png"])
def test_three_processes_draw_one_file(tmp_path, form):
    """Process 0 waits for the blocks of the others, which share them out, before it puts them together."""
    request = make(form)
    name = "set.npz" if form == "npz" else "set"
    complete(request, tmp_path / "one" / name)
    jobs = [requests.Job(request, tmp_path / "three" / name) for _ in range(3)]
    jobs[0].begin()
    drawn = [[], [], []]
    for i in (0, 2):
        jobs[i].run(drawing(request, drawn[i]), process=i, process_count=3)
    late = threading.Timer(0.3, jobs[1].run, (drawing(request, drawn[1]),), {"process": 1, "process_count": 3})
    late.start()
    jobs[0].finish(poll=0.01)
    late.join()
    assert drawn == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    assert tree(tmp_path / "three") == tree(tmp_path / "one")
    assert [jobs[0].rows_of(i, 3) for i in range(3)] == [12, 12, 11]


@pytest.mark.parametrize("form", ["npz", "png", "parts"])
def test_an_interrupted_job_goes_on_and_ends_the_same(tmp_path, form):
    request = make(form)
    complete(request, tmp_path / "straight" / "set")
    job = requests.Job(request, tmp_path / "cut" / "set")
    job.begin()
    asked = []
    with pytest.raises(Preempted, match="the same command goes on"):
        job.run(drawing(request), stop=lambda: asked.append(0) or len(asked) == 5)
    assert not job.finished()
    assert not (tmp_path / "cut" / "set" / "_SUCCESS").exists()
    assert complete(request, tmp_path / "cut" / "set") == [5, 6, 7, 8]
    assert tree(tmp_path / "cut") == tree(tmp_path / "straight")


@pytest.mark.parametrize("form", ["npz", "png"])
def test_a_kill_before_the_manifest_is_no_finished_set(tmp_path, form, monkeypatch):
    request = make(form)
    complete(request, tmp_path / "straight" / "set")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(requests.cards, "card", killed)
        with pytest.raises(KeyboardInterrupt):
            complete(request, tmp_path / "cut" / "set")
    assert not requests.Job(request, tmp_path / "cut" / "set").finished()
    assert complete(request, tmp_path / "cut" / "set") == []
    assert tree(tmp_path / "cut") == tree(tmp_path / "straight")


def test_a_damaged_part_alone_is_drawn_again(tmp_path):
    request = make()
    complete(request, tmp_path / "set")
    before = tree(tmp_path)
    part = tmp_path / "set" / "part-00001-of-00005.npz"
    data = bytearray(part.read_bytes())
    data[100] ^= 1
    part.write_bytes(data)
    (tmp_path / "set" / "part-00003-of-00005.npz").unlink()
    assert not requests.Job(request, tmp_path / "set").finished()
    assert complete(request, tmp_path / "set") == [2, 3, 6, 7]
    assert tree(tmp_path) == before


def test_blocks_of_another_request_are_not_used(tmp_path):
    job = requests.Job(make("npz", seed=1), tmp_path / "set.npz")
    job.begin()
    job.store.put(0, rows(job.request, 0))
    assert complete(make("npz", seed=2), tmp_path / "set.npz") == list(range(9))


@pytest.mark.parametrize("form", ["npz", "png", "parts"])
def test_another_set_is_replaced_only_when_asked(tmp_path, form):
    complete(make(form), tmp_path / "set")
    before = tree(tmp_path)
    with pytest.raises(InputError, match="exists, drawn with another seed; --overwrite replaces it"):
        requests.Job(make(form, seed=9), tmp_path / "set").begin()
    assert tree(tmp_path) == before
    complete(make(form, seed=9), tmp_path / "set", overwrite=True)
    complete(make(form, seed=9), tmp_path / "fresh" / "set")
    assert tree(tmp_path / "set") == tree(tmp_path / "fresh" / "set") if form != "npz" else True
    after = tree(tmp_path)
    assert (
        after["set" if form == "npz" else "set/manifest.json"]
        != before["set" if form == "npz" else "set/manifest.json"]
    )


@pytest.mark.parametrize("form", ["png", "parts"])
def test_a_folder_of_something_else_is_never_removed(tmp_path, form):
    (tmp_path / "thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"exists and was not written|remove it yourself"):
            requests.Job(make(form), tmp_path).begin(overwrite)
    assert tree(tmp_path) == {"thesis.txt": b"years of work"}


def test_a_changed_npz_is_not_taken_for_the_finished_one(tmp_path):
    complete(make("npz"), tmp_path / "set.npz")
    (tmp_path / "set.npz").write_bytes(b"mine")
    with pytest.raises(InputError, match="its bytes have changed since"):
        requests.Job(make("npz"), tmp_path / "set.npz").begin()


def test_file_or_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a folder"):
        requests.Job(make("npz"), tmp_path).begin()
    with pytest.raises(InputError, match="is a file"):
        requests.Job(make("parts"), tmp_path / "file").begin(overwrite=True)


@pytest.mark.parametrize("counts", [(0, 0, 0), (2**31, 0, 0)])
def test_sizes_that_are_refused(tmp_path, counts):
    with pytest.raises(InputError, match="1 to 2,147,483,647 examples"):
        requests.Job(make(counts=counts), tmp_path / "set")


def test_unlabelled_sets_have_no_labels(tmp_path):
    complete(make("npz", counts=(9,), labelled=False), tmp_path / "set.npz")
    with np.load(tmp_path / "set.npz") as data:
        assert data.files == ["x"]
    assert writers.read_manifest(tmp_path / "set.npz.manifest.json")["rows"] == 9
