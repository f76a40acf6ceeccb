"""Which file an evaluation judges, against what, and which files it refuses."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from synthjax import data
from synthjax.errors import InputError, SynthjaxError
from synthjax.launch import evaluate, notes, runs, sample, subjects
from synthjax.launch.config import Experiment
from synthjax.launch.subjects import Asked, Synthetic
from synthjax.model import Model
from synthjax.models import vae


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def save(path, **arrays):
    np.savez(path, **arrays)
    return path


# --- files that cannot be judged ---------------------------------------------------------------------------------


def edited(digits, change):
    x, y = digits.train.x.copy(), digits.train.y.copy()
    arrays = {"x": x, "y": y}
    change(arrays)
    return {name: value for name, value in arrays.items() if value is not None}


BAD = {
    "another shape": (lambda a: a.update(x=a["x"][:, :7]), r"x holds examples of shape \(7, 8, 1\)"),
    "no labels": (lambda a: a.update(y=None), "y is missing"),
    "a label out of range": (lambda a: a["y"].__setitem__(5, 10), "y row 5 holds label 10"),
    "a negative label": (lambda a: a["y"].__setitem__(5, -1), "row 5 holds label -1"),
    "too few labels": (lambda a: a.update(y=a["y"][1:]), "labels for"),
    "a grey value out of range": (lambda a: a["x"].__setitem__((7, 0, 0, 0), 17), "x row 7 holds grey value 17"),
    "NaN": (lambda a: a.update(x=np.where(np.arange(len(a["x"])) == 9, np.nan, 0.5)[:, None, None] * np.ones((8, 8))),
            "row 9 holds NaN"),
    "another archive": (lambda a: a.update(x=None, pictures=a["x"]), "it needs x and y"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_synthetic_file_is_one_clear_line(kind, digits, tmp_path):
    change, message = BAD[kind]
    path = save(tmp_path / "synthetic.npz", **edited(digits, change))
    with pytest.raises(InputError, match=message) as caught:
        subjects.read_synthetic(path, digits.spec)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_or_damaged_file_is_one_clear_line(digits, tmp_path):
    with pytest.raises(InputError, match="no such file"):
        subjects.read_synthetic(tmp_path / "nothing.npz", digits.spec)
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(InputError, match="damaged.npz"):
        subjects.read_synthetic(tmp_path / "damaged.npz", digits.spec)


def subject_of(digits, x, y):
    """A foreign file, of real data whose test examples are its own."""
    test = digits.test._replace(index=np.arange(len(digits.test.y)))
    return subjects.of_images(digits._replace(test=test), Synthetic(x, y), None, None)


def test_a_class_without_examples_is_told_and_judged(digits, tmp_path):
    x, y = (a[digits.train.y != 3] for a in digits.train[:2])
    found = subjects.read_synthetic(save(tmp_path / "synthetic.npz", x=x, y=y), digits.spec)
    assert len(found.x) == len(x)
    (note,) = subject_of(digits, np.resize(x, digits.train.x.shape), np.resize(y, len(digits.train.y))).notes
    assert note == "no synthetic example is of class '3' (10.1% of the real examples)"
    assert notes.absent("abc", np.array([0, 1, 1, 1]), np.array([1]), "row") == [
        "no synthetic row is of class 'a' (25.0% of the real rows)"
    ]


def test_an_unconditional_model_may_come_without_labels(digits, tmp_path):
    path = save(tmp_path / "synthetic.npz", x=digits.train.x)
    assert subjects.read_synthetic(path, digits.spec, labelled=False).y is None


# --- what is judged ----------------------------------------------------------------------------------------------


def ask(seed=0, **given):
    return subjects.find(Asked(**given), table=False, seed=seed)


@pytest.mark.parametrize("given", [{"real": "digits"}, {"real": "digits", "synthetic": "a.npz", "workdir": "runs/a"}])
def test_real_needs_a_file_and_no_run(given):
    with pytest.raises(SynthjaxError, match="--real goes with --synthetic"):
        ask(**given)


def test_a_foreign_generator_may_have_seen_our_holdout(digits, tmp_path):
    path = save(tmp_path / "other.npz", x=digits.train.x, y=digits.train.y)
    subject = ask(real="digits", synthetic=str(path))
    assert subject.run is None and subject.unseen == "test"


def toy():
    """A model whose state is one brightness, which it paints."""

    def paint(key, state, labels):
        noise = 0.1 * jax.random.normal(key, (len(labels), 8, 8, 1))
        return jnp.clip(state["brightness"] + labels[:, None, None, None] / 10 + noise, -1, 1)

    return Model(init=lambda *a: None, step=lambda *a: None, sample=paint)


@pytest.fixture
def run(digits, tmp_path, monkeypatch):
    """A trained run of the toy, as `subjects.find` finds it; `run.state` is what its checkpoint holds."""
    state = {"brightness": jnp.zeros(())}
    made = SimpleNamespace(workdir=tmp_path / "run", state=state, spec=digits.spec)
    made.workdir.mkdir()
    made.record = {"fingerprint": digits.fingerprint, "dataset": "digits"}
    made.experiment = Experiment("vae", vae.Config())
    model = toy()

    def describe(workdir, state, member, checkpoint):
        described = {"name": "toy", "config": {}, "member": member, "step": 1, "sha256": sample.state_sha256(state)}
        return described, made.record

    monkeypatch.setattr(subjects.runs, "read", lambda workdir: (made.experiment, made.record))
    monkeypatch.setattr(subjects.synthjax, "load", lambda *a: (model, made.state, made.spec))
    monkeypatch.setattr(subjects.sample, "describe_run", describe)
    return made


def test_the_runs_own_set_is_drawn_once_per_checkpoint(run, digits):
    subject = ask(workdir=str(run.workdir))
    file = run.workdir / "synthetic.npz"
    assert subject.file == file and subject.run is not None and subject.unseen == "holdout"
    assert len(subject.rows["synthetic"].x) == len(digits.train.x)
    np.testing.assert_array_equal(np.bincount(subject.rows["synthetic"].y), np.bincount(digits.train.y))
    before = file.stat().st_mtime_ns, file.read_bytes()
    ask(workdir=str(run.workdir), seed=1)
    assert (file.stat().st_mtime_ns, file.read_bytes()) == before
    run.state = {"brightness": jnp.full((), 0.5)}
    brighter = ask(workdir=str(run.workdir))
    assert brighter.rows["synthetic"].x.mean() > subject.rows["synthetic"].x.mean() + 1


def test_a_file_that_somebody_put_there_is_not_replaced(run, digits):
    file = save(run.workdir / "synthetic.npz", x=digits.train.x[:50], y=digits.train.y[:50])
    before = file.read_bytes()
    with pytest.raises(InputError, match=r"synthetic\.npz: was not drawn by this run's model"):
        ask(workdir=str(run.workdir))
    assert file.read_bytes() == before
    # Nor is one that took the place of a drawn file.
    file.unlink()
    ask(workdir=str(run.workdir))
    file.write_bytes(before)
    with pytest.raises(InputError, match="was not drawn by this run's model"):
        ask(workdir=str(run.workdir))
    assert file.read_bytes() == before


def test_a_file_of_the_runs_own_model_is_told_from_a_foreign_one(run, digits, tmp_path):
    ask(workdir=str(run.workdir))
    own = ask(workdir=str(run.workdir), synthetic=str(run.workdir / "synthetic.npz"))
    assert own.run is not None
    copy = save(tmp_path / "copy.npz", x=digits.train.x, y=digits.train.y)
    foreign = ask(workdir=str(run.workdir), synthetic=str(copy))
    assert foreign.run is None and foreign.unseen == "test"


def test_data_that_has_changed_is_refused(run):
    run.record = {"fingerprint": "0" * 64, "dataset": "digits"}
    with pytest.raises(InputError, match="was trained on digits with fingerprint 000000000000"):
        ask(workdir=str(run.workdir))


def test_a_run_with_a_rare_class_is_judged_by_what_it_was_trained_on(run, digits):
    run.experiment = dataclasses.replace(run.experiment, rare_class="3", rare_factor=20.0)
    with pytest.raises(InputError, match="was trained on digits with fingerprint"):  # of all rows, by run.record
        ask(workdir=str(run.workdir))
    trained = runs.data(run.experiment)
    run.record, run.spec = {"fingerprint": trained.fingerprint, "dataset": "digits"}, trained.spec
    subject = ask(workdir=str(run.workdir))
    counts = np.bincount(digits.train.y)
    counts[3] = round(counts[3] / 20)
    np.testing.assert_array_equal(np.bincount(subject.real.train.y), counts)
    np.testing.assert_array_equal(np.bincount(subject.rows["synthetic"].y), counts)
    np.testing.assert_array_equal(subject.real.test.y, digits.test.y)


# --- unseen images of one's own ------------------------------------------------------------------------------------


def write_folder(folder, x, y):
    """PNGs by class."""
    for row, (image, label) in enumerate(zip(x, y, strict=True)):
        (folder / f"c{label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(folder / f"c{label}" / f"{row:04d}.png")
    return folder


def asked(**given):
    return ask(**{name: str(value) for name, value in given.items()})


@pytest.mark.parametrize("form", ["npz", "folder"])
def test_a_holdout_of_images_is_what_nothing_was_made_from(form, digits, tmp_path):
    (x, y, _), (unseen, labels, _) = digits.train, digits.test
    made = save(tmp_path / "made.npz", x=x[:50], y=y[:50])
    if form == "npz":
        real, holdout = save(tmp_path / "train.npz", x=x, y=y), save(tmp_path / "test.npz", x=unseen, y=labels)
    else:
        real, holdout = write_folder(tmp_path / "train", x, y), write_folder(tmp_path / "test", unseen, labels)
    subject = asked(real=real, holdout=holdout, synthetic=made)
    found = subject.real
    assert len(found.train.x) == len(x) and len(found.holdout.x) == 0 and subject.unseen == "test"
    assert sorted(row.tobytes() for row in found.test.x) == sorted(row.tobytes() for row in unseen)
    assert np.bincount(found.test.y).tolist() == np.bincount(labels).tolist()
    attacked, _, reference = subjects.unseen_and_reference(subject)
    assert sorted([*attacked.index, *reference.index]) == list(range(len(unseen))) and len(attacked.x) == 180
    assert not any("unseen" in note for note in subject.notes)
    alone = asked(real=real, synthetic=made)
    assert len(alone.real.train.x) + len(alone.real.holdout.x) + len(alone.real.test.x) == len(x)
    assert "a fixed fifth of it counts as unseen" in alone.notes[-1]


def test_a_holdout_that_is_the_real_file_is_told_before_any_slow_work(digits, tmp_path, monkeypatch, capsys):
    class Begun(Exception):
        pass

    def begin(*_, **__):
        raise Begun

    monkeypatch.setattr(evaluate.fidelity, "evaluate", begin)
    real = save(tmp_path / "train.npz", x=digits.train.x, y=digits.train.y)
    for holdout, told in ((real, True), (save(tmp_path / "t.npz", x=digits.test.x, y=digits.test.y), False)):
        with pytest.raises(Begun):
            evaluate.run(asked(real=real, holdout=holdout, synthetic=real), tmp_path, seed=0, level="look")
        assert ("note: test and train overlap: 1294 of 1294" in capsys.readouterr().out.replace(",", "")) == told


@pytest.mark.parametrize(
    "holdout, message",
    [
        ({"x": np.zeros((20, 9, 9), np.uint8), "y": np.arange(20) % 10}, r"images are \(9, 9, 1\), those of .* are"),
        ({"x": np.zeros((20, 8, 8), np.uint8)}, "test.npz: labels are missing; .*train.npz has them"),
        ({"x": np.zeros((9, 8, 8), np.uint8), "y": np.arange(9)}, r"class 9 \(9\) has no examples"),
        ({"x": np.zeros((20, 8, 8), np.uint8), "y": np.arange(20)}, "row 10 holds label 10, out of range"),
        (
            {f"{a}_{b}": np.zeros((20, 8, 8), np.uint8) if a == "x" else np.arange(20) % 10
             for a in "xy" for b in ("train", "test")},
            "test.npz: has a training and a test split",
        ),
    ],
)  # fmt: skip
def test_a_holdout_that_does_not_fit_is_one_clear_line(holdout, message, digits, tmp_path):
    real = save(tmp_path / "train.npz", x=digits.train.x, y=digits.train.y)
    with pytest.raises(InputError, match=message) as caught:
        asked(real=real, synthetic=real, holdout=save(tmp_path / "test.npz", **holdout))
    assert "\n" not in str(caught.value)


def test_a_holdout_goes_with_files_that_have_no_test_split(digits, tmp_path):
    x, y = digits.train.x, digits.train.y
    both = save(tmp_path / "both.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    one = save(tmp_path / "one.npz", x=x, y=y)
    for real in ("digits", both):
        with pytest.raises(InputError, match="goes with images that have no test split of their own"):
            asked(real=real, synthetic=one, holdout=one)
    with pytest.raises(SynthjaxError, match="--holdout goes with --real: a run knows its own"):
        ask(workdir="runs/a", holdout="a.npz")
    (tmp_path / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="rows.csv: is a table"):
        asked(real=one, synthetic=one, holdout=tmp_path / "rows.csv")
    folders = [write_folder(tmp_path / name, x[:200], y[:200] + shift) for name, shift in (("a", 0), ("b", 1))]
    with pytest.raises(InputError, match="class folder c0 is in only one of it and"):
        asked(real=folders[0], synthetic=one, holdout=folders[1])


def test_rare_codes_made_anew_are_compared_as_rare_ones(tmp_path):
    rng = np.random.default_rng(0)
    rare = [f"Q{number:06d}" for number in rng.permutation(10**6)[:600]]
    codes = np.where(rng.random(600) < 0.3, rare, rng.choice(["A000001", "B000002"], 600))
    lines = [f"{code},{number % 7}" for number, code in enumerate(codes)]
    (tmp_path / "a.csv").write_text("\n".join(["code,n", *lines]))
    real = data.load(str(tmp_path / "a.csv"))
    real.encoder.decode(real.train.x, seed=1).to_csv(tmp_path / "s.csv", index=False)
    frames, said = subjects.read_frames(real, tmp_path / "s.csv")
    assert not said and all(set(frame["code"]) == {"A000001", "B000002", "(rare)"} for frame in frames.values())
    assert (frames["synthetic"]["code"].to_numpy() == frames["train"]["code"].to_numpy()).all()
