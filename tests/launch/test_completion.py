"""In-painting by `launch.sample --given`: what is known stays, each image in its place, one line for each mistake."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from in_process import run

from synthjax import data
from synthjax.data import cards
from synthjax.data.requests import Job
from synthjax.errors import InputError
from synthjax.launch import completion, config, runs, sample
from synthjax.launch.config import Experiment
from synthjax.model import DataSpec, Model

SPEC = DataSpec("image", (4, 4, 1), 17, ("a", "b", "c"), (0.5, 0.3, 0.2))
RNG = np.random.default_rng(0)
X = RNG.integers(0, 17, (7, 4, 4, 1)).astype(np.uint8)
KNOWN = RNG.random(X.shape) < 0.5
Y = np.array([2, 0, 0, 1, 2, 1, 0], np.int32)
PART = completion.Incomplete(X, KNOWN, Y)


def draw(key, state, labels, *, steps=10, given=None):
    """Images as bright as their label says, but for what is given."""
    x = jnp.broadcast_to(labels[:, None, None, None] / 4.0 - 1, (len(labels), 4, 4, 1))
    x = x + 0.1 * jax.random.normal(key, x.shape)
    return jnp.clip(x if given is None else jnp.where(given[0], given[1], x), -1, 1)


MODEL = Model(init=None, step=None, sample=draw, n_classes=3)


def request(incomplete=PART, form="npz", block=3, **changes):
    counts = completion.counts(incomplete, MODEL, SPEC)
    described = {"name": "fake", "config": {}, "member": 0, "step": 1, "sha256": "0"}
    how = {"described": described, "dataset": {"name": "fake", "fingerprint": "0"}, "form": form, "block": block}
    return completion.of(sample.make_request(MODEL, SPEC, counts, **how, **changes), incomplete)


def drawn(path, asked):
    sample.fulfil(MODEL, {"shift": np.float32(0)}, Job(asked, path))
    with np.load(path) as arrays:
        return arrays["x"], arrays["y"]


def test_what_is_known_stays_and_each_image_has_its_place(tmp_path):
    x, y = drawn(tmp_path / "a.npz", request())
    np.testing.assert_array_equal(y, Y)
    np.testing.assert_array_equal(x[KNOWN], X[KNOWN])
    grey = [x[Y == label][~KNOWN[Y == label]].mean() for label in range(3)]
    np.testing.assert_allclose(grey, [0.3, 2, 4], atol=0.5)  # 16 levels over [-1, 1]; black is cut off
    again, _ = drawn(tmp_path / "b.npz", request())
    np.testing.assert_array_equal(x, again)
    other, _ = drawn(tmp_path / "c.npz", request(seed=1))
    assert (other != x).any() and (other == x)[KNOWN].all()


def test_a_block_does_not_depend_on_the_others(tmp_path):
    whole, _ = drawn(tmp_path / "a.npz", request())
    first = completion.Incomplete(X[:3], KNOWN[:3], Y[:3])
    few, _ = drawn(tmp_path / "b.npz", request(first))
    np.testing.assert_array_equal(few, whole[:3])


def test_the_request_knows_its_images():
    record = request().record()
    assert record["counts"] == [3, 2, 2] and len(record["completes"]) == 64
    assert "incomplete" not in record and "completes" not in sample.Request(**_plain(request())).record()
    unknown_changed = PART._replace(x=np.where(KNOWN, X, 0))
    assert request(unknown_changed).record() == record
    known_changed = PART._replace(x=np.where(KNOWN, 16 - X, X))
    others = [known_changed, PART._replace(known=~KNOWN), PART._replace(y=Y[[1, 0, 2, 3, 4, 5, 6]])]
    assert len({request(other).record()["completes"] for other in [*others, PART]}) == 4


def _plain(asked):
    return {name: getattr(asked, name) for name in sample.Request.__dataclass_fields__}


def test_the_card_does_not_call_them_invented(tmp_path):
    job = Job(request(), tmp_path / "a.npz")
    sample.fulfil(MODEL, {"shift": np.float32(0)}, job)
    text = job.card.read_text()
    assert cards.COMPLETED in text and cards.INVENTED not in text


@functools.cache
def digits_model(name):
    spec = data.load("digits").spec
    return runs.build(Experiment(name, config.family(name).PRESETS[name]), spec), spec


def fits(name):
    try:
        return digits_model(name)[0]
    except InputError:
        return None


def test_the_models_that_complete_are_named():
    built = {name: model for name in config.presets() if (model := fits(name)) is not None}
    able = {name for name, model in built.items() if "given" in inspect.signature(model.sample).parameters}
    assert able == set(completion.ABLE)


@pytest.mark.parametrize("name", ["ddpm", "meanflow", "rbm"])
def test_grey_values_come_back_exactly(name):
    model, spec = digits_model(name)
    test = data.load("digits").test
    known = np.broadcast_to((np.arange(8) < 4)[:, None, None], (5, 8, 8, 1))
    part = completion.Incomplete(test.x[:5], known, test.y[:5])
    counts = completion.counts(part, model, spec)
    options = {"chains": 5} if name == "rbm" else {"steps": 2}
    options = {key: value for key, value in options.items() if key in inspect.signature(model.sample).parameters}
    asked = sample.make_request(model, spec, counts, described={}, dataset={}, block=3, options=options)
    asked = completion.of(asked, part)
    drawer = completion.Completer(model, model.init(jax.random.key(0)), asked)
    blocks = list(drawer(jax.random.key(1), {b: asked.labels(b) for b in range(2)}))
    assert [len(x) for x in blocks] == [3, 2]
    x = np.asarray(spec.decode(np.concatenate(blocks)))
    np.testing.assert_array_equal(x[known], part.x[known])
    assert (x != part.x)[~known].any()


# --- files ---------------------------------------------------------------------------------------------------------


def save(folder, **changes):
    arrays = {"x": X, "known": KNOWN, "y": Y} | changes
    np.savez(folder / "part.npz", **{name: array for name, array in arrays.items() if array is not None})
    return folder / "part.npz"


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (KNOWN[..., 0], KNOWN),
        (KNOWN.astype(np.uint8), KNOWN),
        (KNOWN[0, ..., 0], np.broadcast_to(KNOWN[0], X.shape)),
    ],
)
def test_masks_of_several_shapes(tmp_path, known, expected):
    found = completion.read(save(tmp_path, known=known), MODEL, SPEC)
    np.testing.assert_array_equal(found.known, expected)
    np.testing.assert_array_equal(found.x, X)
    np.testing.assert_array_equal(found.y, Y)


def test_labels_are_needed_only_by_models_that_draw_by_class(tmp_path):
    plain = Model(init=None, step=None, sample=draw, conditional=False)
    found = completion.read(save(tmp_path, y=None), plain, SPEC)
    assert found.y.tolist() == [0] * 7 and completion.counts(found, plain, SPEC) == (7,)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"known": None}, "known is missing; --given takes an .npz file with x and known"),
        ({"known": KNOWN[:, :2]}, "known has shape (7, 2, 4, 1); (7, 4, 4, 1), (7, 4, 4) or (4, 4) is needed"),
        ({"known": KNOWN * 0.5}, "known holds float64 values; True and False"),
        ({"known": KNOWN * 2}, "known holds int64 values; True and False"),
        ({"known": KNOWN & False}, "known is False everywhere: leave --given out"),
        ({"known": KNOWN | True}, "known is True everywhere: there is nothing to complete"),
        ({"y": None}, "y is missing: this model draws by class; give labels 0 ... 2"),
        ({"y": Y + 1}, "y row 0 holds label 3, the real data has 3 classes"),
        ({"x": X[:, :3]}, "x holds examples of shape (3, 4, 1), the real data's are (4, 4, 1)"),
        ({"x": X + 5}, "the real data has integers 0 ... 16"),
    ],
)
def test_files_that_cannot_be_completed(tmp_path, changes, line):
    path = save(tmp_path, **changes)
    with pytest.raises(InputError) as raised:
        completion.read(path, MODEL, SPEC)
    assert str(raised.value).startswith(str(path)) and line in str(raised.value)


def test_no_file_no_archive_no_model(tmp_path):
    with pytest.raises(InputError, match="gone.npz: no such file"):
        completion.read(tmp_path / "gone.npz", MODEL, SPEC)
    (tmp_path / "text.npz").write_text("x")
    with pytest.raises(InputError, match="text.npz: not an .npz archive"):
        completion.read(tmp_path / "text.npz", MODEL, SPEC)
    empty = MODEL._replace(empty_classes=(1,))
    with pytest.raises(InputError, match="y row 3 holds label 1, a class without training images"):
        completion.read(save(tmp_path), empty, SPEC)
    vae, spec = digits_model("vae")
    with pytest.raises(InputError, match="this run's model completes nothing; ddpm, flow"):
        completion.read(save(tmp_path), vae, spec)


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command_completes_a_file_and_goes_on_where_it_stopped(tmp_path):
    workdir = tmp_path / "run"
    assert run("train", "--model=rbm", "--dataset=digits", "--steps=2", f"--workdir={workdir}").code == 0
    test = data.load("digits").test
    known = np.broadcast_to(np.arange(8) < 4, (8, 8))
    np.savez(tmp_path / "part.npz", x=np.where(known[..., None], test.x[:6], 0), y=test.y[:6], known=known)
    asked = ("sample", f"--workdir={workdir}", f"--given={tmp_path / 'part.npz'}")
    end = run(*asked)
    assert end.code == 0, end.err
    assert end.out.strip().endswith("completed.npz: 6 examples")
    with np.load(workdir / "completed.npz") as arrays:
        assert arrays["y"].tolist() == test.y[:6].tolist()
        np.testing.assert_array_equal(arrays["x"][:, known], test.x[:6][:, known])
    assert "finished already" in run(*asked).out
    np.savez(tmp_path / "part.npz", x=test.x[:6], y=test.y[:6], known=~known)
    assert "drawn with another completes; --overwrite replaces it" in run(*asked).line
    for flag in ("n=3", "per_class=2", "classes=1", "top_up", "where=a=b"):
        end = run(*asked, f"--{flag}")
        name = flag.partition("=")[0]
        assert end.code == 3 and f"each of its images is completed once; leave out --{name}" in end.line
