"""The commands and programs of README run, the long ones shortened, and the programs of BUILD."""

import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import command as of_launcher
from commands import environment, finish
from in_process import run
from small_look import HOOK

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    command
    for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if not line.startswith("#")
    for command in line.split(" && ")
]

# Arguments that shorten a command that begins with these words; behind its own, where the last one counts.
TRAIN = ["--steps=4", "--batch_size=8"]
NARROW = ["--config.model.width=16", "--config.model.multipliers=1", "--config.model.blocks=1"]
SHORT = {
    "python -m synthjax.launch.train": TRAIN,
    "python -m synthjax.launch.train --model=ddpm": [*TRAIN, *NARROW, "--config.model.sample_steps=4"],
    "python -m synthjax.launch.sample --workdir=runs/ddpm-digits": ["--per_class=2"],
    "python -m synthjax.launch.sample --workdir=runs/customers": ["--rows=300"],
    "python -m synthjax.launch.describe": [],
    "python -m synthjax.launch.synthesize": [
        "--model=mixture",
        "--config.model.components=4",
        "--steps=2",
        "--level=look",
    ],
    "python -m synthjax.launch.eval": ["--level=look"],
    "python -m synthjax.launch.eval --render": [],
    "python -m synthjax.launch.reproduce": ["--quick", "--table=2"],
    "python -m synthjax.launch.search": ["--steps=20", "--trials=2", "--rungs=1"],
    "python launch/local.py": TRAIN,
}
# What the tests themselves are run with, and `.ci/run` runs to the letter.
INSTALL = ["pip install -e .", "pip install -e '.[test]'", "pytest"]


def on_files(command: str) -> bool:
    """Whether a README command needs a data set that is not embedded."""
    return "DIR" in command or "configs/mnist" in command


def shortened(command: str) -> list[str]:
    """The words of a README command, shortened; SHORT must know the command, by the longest of the words that fit."""
    return [*shlex.split(command), *SHORT[max((start for start in SHORT if command.startswith(start)), key=len)]]


def start(workplace: Path, words: list[str]) -> tuple[int, str, str]:
    """Runs a command in `workplace` as a process of its own."""
    if words[:2] == ["python", "-m"]:
        words = of_launcher(words[2].rpartition(".")[2], *words[3:], hook=HOOK if words[2].endswith("eval") else "")
    words = [sys.executable if word == "python" else word for word in words]
    return finish(words, cwd=workplace, env=environment(PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}"))


def check(workplace: Path, command: str) -> None:
    """Runs a README command, shortened, and expects success; a gate may also close, with so little training."""
    words = shortened(command)
    if words[:2] == ["python", "-m"]:
        code, out, err = run(words[2].rpartition(".")[2], *words[3:], folder=workplace)
    else:
        code, out, err = start(workplace, words)
    assert code in ((0, 4) if "--fail_if" in command else (0,)), f"{command}\n{out}\n{err}"


def write_images(path: Path, side: int, seed: int) -> None:
    """200 images of noise, of ten classes."""
    x = np.random.default_rng(seed).integers(256, size=(200, side, side, 1), dtype=np.uint8)
    np.savez(path, x=x, y=np.arange(200, dtype=np.int32) % 10)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, small_look) -> Path:
    """A folder that looks like a checkout, in which README's first command was run; level look does little."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("configs", "launch"):
        (folder / name).symlink_to(ROOT / name)
    ages = np.random.default_rng(0).integers(18, 80, 300)
    rows = [f"{age},{('Ayr', 'Bath')[age % 2]},{('no', 'yes')[age > 45]}\n" for age in ages.tolist()]
    for seed, name in enumerate(("train", "test", "anything")):
        write_images(folder / f"{name}.npz", 8, seed)
    (folder / "customers.csv").write_text("age,town,churned\n" + "".join(rows))
    assert COMMANDS[:3] == [
        "pip install -e .",
        "python -m synthjax.launch.train --model=ddpm",
        "python -m synthjax.launch.eval",
    ]
    for command in COMMANDS[1:3]:
        code, out, err = start(folder, shortened(command))
        assert code == 0, f"{command}\n{out}\n{err}"
    return folder


def test_the_first_command_trains_and_scores(workplace):
    assert (workplace / "runs/ddpm-digits/eval/report.html").stat().st_size > 0
    assert (workplace / "runs/ddpm-digits/eval/report.json").stat().st_size > 0


@pytest.mark.parametrize("command", [c for c in COMMANDS[3:] if c not in INSTALL and not on_files(c)])
def test_commands_run(workplace, command):
    check(workplace, command)


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in COMMANDS[3:] if on_files(c)])
def test_commands_on_files_run(workplace, data_dir, command):
    write_images(workplace / "anything.npz", 28, 3)
    check(workplace, command.replace("DIR", str(data_dir)))


def test_python_programs_run(workplace):
    three_lines, loop, networks = PYTHON
    assert "range(2000)" in loop and "ddpm.Config()" in loop
    narrow = "ddpm.Config(width=16, multipliers=(1,), blocks=(1,), sample_steps=4)"
    loop = loop.replace("range(2000)", "range(3)").replace("ddpm.Config()", narrow)
    loop += networks  # which uses the names of the loop
    claims = {three_lines: "assert images.shape == (10, 8, 8, 1)"}
    claims[loop] = "assert threes.shape == (16, 8, 8, 1) and threes.max() <= 16 and metrics['loss'] > 0\n"
    claims[loop] += "assert [jax.eval_shape(m.init, key_init).opt is not None for m in models] == [True, True]"
    for program, claim in claims.items():
        code, _, err = start(workplace, ["python", "-c", f"{program}\n{claim}"])
        assert code == 0, err


def test_the_programs_of_build_run(workplace, monkeypatch):
    (flops_of_a_step,) = re.findall(r"```python\n(.*?)```", (ROOT / "BUILD.md").read_text(), re.DOTALL)
    assert "runs/ddpm-mnist" in flops_of_a_step
    monkeypatch.chdir(workplace)
    found: dict = {}
    exec(flops_of_a_step.replace("ddpm-mnist", "ddpm-digits"), found)
    assert found["flops"] > 1e6


def test_the_folders_and_files_that_the_pages_link_to_exist():
    for page in ("README.md", "BUILD.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text()):
            assert (ROOT / target).exists(), f"{page}: {target}"
