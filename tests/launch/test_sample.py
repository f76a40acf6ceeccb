"""The sampling launcher: the same bytes for the same request, through kills, and one line for each mistake."""

import signal
import socket
import sys
import time
from pathlib import Path

import commands
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fake_sampler import DATASET, DESCRIBED, MODEL, SPEC, STATE, draw_fake

from synthjax.data.requests import Job
from synthjax.errors import InputError, NonFiniteError
from synthjax.launch import runs, sample
from synthjax.launch.config import Experiment
from synthjax.model import Model
from synthjax.models import vae


def request(form="npz", **changes):
    values = {"form": form, "block": 8, "part_blocks": 2 * (form == "parts")} | changes
    return sample.make_request(MODEL, SPEC, (20, 5, 10), described=DESCRIBED, dataset=DATASET, **values)


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- what is asked for --------------------------------------------------------------------------------------------


def test_options_are_taken_out_of_the_command_line():
    rest, options = sample.parse_options(["prog", "--n=3", "--sample.steps=25", "--seed", "1", "--sample.clip"])
    assert rest == ["prog", "--n=3", "--seed", "1"]
    assert options == {"steps": "25", "clip": None}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [("steps", "25", 25), ("guidance", "3", 3.0), ("eta", "0.5", 0.5), ("sampler", "7", "7"),
     ("clip", "False", False)],
)  # fmt: skip
def test_options_have_the_type_of_their_default(name, text, value):
    (got,) = sample.typed_options(draw_fake, {name: text}).values()
    assert (got, type(got)) == (value, type(value))


def test_an_option_at_its_default_is_no_option():
    assert sample.typed_options(draw_fake, {"steps": "10", "guidance": "1.5", "clip": "true"}) == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": "3"}, "--sample.step: no such option of this sampler; it has steps, guidance, eta, sampler, clip"),
        ({"steps": "2.5"}, "--sample.steps=2.5: must be int"),
        ({"clip": "maybe"}, "--sample.clip=maybe: must be bool"),
        ({"eta": "x"}, "--sample.eta=x: must be float"),
        ({"steps": None}, "--sample.steps: write --sample.steps=VALUE"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(InputError) as error:
        sample.typed_options(draw_fake, options)
    assert str(error.value) == message


def test_the_format_follows_from_the_name():
    assert sample.output_form("a.npz", None) == "npz"
    assert sample.output_form("pngs/", None) == "png"
    assert sample.output_form("pngs/", "parts") == "parts"
    assert [sample.output_form(name, None) for name in ("a.csv", "a.PARQUET")] == ["csv", "parquet"]
    with pytest.raises(InputError, match="--out=a.tsv: end it in .npz, .csv or .parquet"):
        sample.output_form("a.tsv", None)


def test_the_hash_of_a_state_sees_values_and_names_and_types():
    states = [STATE, {"shift": jnp.float32(0.2)}, {"other": jnp.float32(0.1)}, {"shift": jnp.ones(1) * 0.1}]
    states.append({"shift": jax.random.key(0)})
    assert len({sample.state_sha256(state) for state in states}) == len(states)
    assert sample.state_sha256(STATE) == sample.state_sha256({"shift": jnp.float32(0.1)})


# --- what is drawn ------------------------------------------------------------------------------------------------


def test_the_same_request_draws_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        assert sample.fulfil(MODEL, STATE, Job(request(), tmp_path / name / "set.npz"))
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    with np.load(tmp_path / "a" / "set.npz") as data:
        assert data["x"].shape == (35, 4, 4, 1)
        assert (data["x"].dtype, data["x"].max()) == (np.uint8, 16)
        np.testing.assert_array_equal(np.bincount(data["y"]), [20, 5, 10])
        means = [data["x"][data["y"] == label].mean() for label in range(3)]
    assert means == sorted(means)  # the fake's images grow lighter with their label: each row got its own


@pytest.mark.parametrize("changes", [{"seed": 1}, {"options": {"steps": 3}}, {"block": 5}])
def test_seed_options_and_block_are_part_of_the_request(tmp_path, changes):
    sample.fulfil(MODEL, STATE, Job(request(), tmp_path / "a.npz"))
    sample.fulfil(MODEL, STATE, Job(request(**changes), tmp_path / "b.npz"))
    with np.load(tmp_path / "a.npz") as a, np.load(tmp_path / "b.npz") as b:
        assert (a["x"] != b["x"]).any()


def test_a_finished_set_is_not_drawn_again(tmp_path):
    sample.fulfil(MODEL, STATE, Job(request("parts"), tmp_path / "set"))
    before = tree(tmp_path)
    broken = Model(init=None, step=None, sample=None)
    assert not sample.fulfil(broken, STATE, Job(request("parts"), tmp_path / "set"))
    assert tree(tmp_path) == before


def test_samples_that_are_not_finite_stop_the_run(tmp_path):
    with pytest.raises(NonFiniteError, match="block 0"):
        sample.fulfil(MODEL, {"shift": jnp.float32(np.nan)}, Job(request(), tmp_path / "set.npz"))
    assert not (tmp_path / "set.npz").exists()


def test_progress_in_lines(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(sample.time, "monotonic", lambda: now[0])
    progress = sample.Progress(100, interval=10)
    progress(40, False)
    for seconds in (8, 16):
        now[0] = seconds
        progress(20, True)
    now[0] = 17
    progress(20, True)
    assert capsys.readouterr().err.splitlines() == [
        "80 of 100 examples, 2.5 a second, 00:08 left",
        "100 of 100 examples, 3.53 a second, 00:00 left",
    ]


# --- the command, in processes of its own -------------------------------------------------------------------------

SCRIPT = Path(__file__).parent / "fake_sampler.py"


def start(folder, *flags, slow=0.0):
    """The command with the fake model for `synthjax.load`; it says "block" after each."""
    line = [sys.executable, str(SCRIPT), f"--workdir={folder}", "--batch_size=4", *flags]
    return commands.start(line, cwd=folder, env=commands.environment(SLOW=str(slow)))


def finish(process, code=0):
    found, out, err = commands.end(process, timeout=120)
    assert found == code, err
    return out, err


def wait_for_blocks(process, count):
    for _ in range(count):
        assert process.stdout.readline() == "block\n"


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """What runs without interruption write: format -> folder."""
    folders = {}
    for form, flags in FORMS.items():
        folder = tmp_path_factory.mktemp(form)
        finish(start(folder, *flags))
        folders[form] = folder
    return folders


FORMS = {
    "npz": ["--n=35", "--out=set.npz"],
    "parts": ["--n=35", "--out=set", "--format=parts", "--part_rows=10"],
}


def outputs(folder):
    return {name: data for name, data in tree(folder).items() if name.startswith("set")}


def kill_in_mid_sample(folder, *flags):
    """Starts the command and ends it by SIGKILL at a random instant of the fifth of its nine blocks."""
    process = start(folder, *flags, slow=0.2)
    wait_for_blocks(process, 5)
    time.sleep(0.2 * np.random.default_rng().random())
    process.kill()
    finish(process, -signal.SIGKILL)


def test_killed_then_stopped_then_completed_with_the_same_bytes(tmp_path, straight):
    kill_in_mid_sample(tmp_path, *FORMS["npz"])
    assert not (tmp_path / "set.npz").exists()

    process = start(tmp_path, *FORMS["npz"], slow=0.2)
    wait_for_blocks(process, 2)
    process.send_signal(signal.SIGTERM)
    _, err = finish(process, 42)
    assert "the same command goes on" in err.splitlines()[-1]
    assert "Traceback" not in err

    out, _ = finish(start(tmp_path, *FORMS["npz"]))
    assert 2 <= out.count("block") <= 3  # at least four of the nine were there before the kill, and two came after
    assert outputs(tmp_path) == outputs(straight["npz"])


def test_parts_of_a_killed_process_are_completed_by_two(tmp_path, straight):
    kill_in_mid_sample(tmp_path, *FORMS["parts"])
    assert not (tmp_path / "set" / "_SUCCESS").exists()

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = ["--distributed", f"--coordinator_address=127.0.0.1:{port}", "--num_processes=2"]
    processes = [start(tmp_path, *FORMS["parts"], *shared, f"--process_id={index}") for index in range(2)]
    blocks = [finish(process)[0].count("block") for process in processes]
    assert blocks[0] == 3  # its second part; the first one was there
    assert 1 <= blocks[1] <= 2  # the rest of the part in which the kill fell
    assert outputs(tmp_path) == outputs(straight["parts"])


def test_another_set_is_not_replaced(straight):
    folder = straight["npz"]
    before = tree(folder)
    _, err = finish(start(folder, *FORMS["npz"], "--seed=1"), 3)
    assert err.endswith("--out=set.npz exists, drawn with another seed; --overwrite replaces it\n")
    assert "Traceback" not in err
    assert tree(folder) == before


def test_classes_of_one_size_leave_nothing_to_top_up(tmp_path):
    """Which is said, and is no error. A flag too many, or data that is not there any more, is one."""
    x = np.random.default_rng(0).integers(0, 17, (75, 4, 4, 1), np.uint8)
    np.savez(tmp_path / "toy.npz", x=x, y=np.arange(75, dtype=np.int32) % 3)
    experiment = Experiment("vae", vae.Config(), "toy.npz", str(tmp_path), holdout=0.0)
    runs.begin(tmp_path / "run", experiment, runs.data(experiment))
    flags = [f"--workdir={tmp_path / 'run'}", "--top_up"]
    before = tree(tmp_path)
    out, err = finish(start(tmp_path, *flags))
    assert out == "nothing to top up: each class has 20 examples; no file is written\n" and err == ""
    _, err = finish(start(tmp_path, *flags, "--per_class=3"), 3)
    assert err == "error: --top_up says how many of which classes: it goes without --per_class\n"
    (tmp_path / "toy.npz").rename(tmp_path / "gone.npz")
    _, err = finish(start(tmp_path, *flags), 3)
    assert err.startswith("error: toy.npz: no such file or folder") and err.count("\n") == 1
    assert tree(tmp_path).keys() - {"gone.npz"} == before.keys() - {"toy.npz"}
