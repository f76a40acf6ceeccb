"""Starts `synthjax.launch` as real processes, with a tiny experiment: for tests of faults and of several processes."""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import synthjax
from synthjax.launch.sample import state_sha256
from synthjax.train.checkpoint import Checkpoints

STEPS = 60
EVERY = 10
"""Steps between two checkpoints, and between two lines of metrics."""
TINY = [
    "--model=vae",
    "--config.model.latents=2",
    "--config.model.channels=()",
    "--config.model.hidden=16",
    "--batch_size=16",
    f"--steps={STEPS}",
    f"--config.checkpoint_every={EVERY}",
    f"--config.log_every={EVERY}",
    "--config.sample_every=0",
]
SLOW = """
import time
from synthjax.data.feed import Feed
_batch = Feed.batch
Feed.batch = lambda self, *args: (time.sleep(0.1), _batch(self, *args))[1]
"""
"""A hook that makes a step take at least 0.1 s, so that a signal meets a run that is under way."""


NO_CURVE = """
from synthjax.evals.draw import png
png.loss_curve = lambda rows: b""
"""
"""A hook that leaves out the picture of the losses, which takes as long as all training of a tiny experiment."""


def write_toy(path: Path) -> Path:
    """200 images of 8x8, half of them bright, as .npz."""
    y = np.arange(200, dtype=np.int32) % 2
    x = np.random.default_rng(0).integers(0, 100, (200, 8, 8, 1)) + 120 * y[:, None, None, None]
    np.savez(path, x=x.astype(np.uint8), y=y)
    return path


def environment(**more: str) -> dict[str, str]:
    """One CPU device, one thread (so that runs can be compared bit for bit), no proxies and no cluster manager."""
    foreign = ("SLURM_", "OMPI_", "TPU_", "MEGASCALE_", "JAX_COORDINATOR")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(foreign) and not k.lower().endswith("_proxy")}
    kept["XLA_FLAGS"] = re.sub(r"--xla_force_host_platform_device_count=\d+", "", kept["XLA_FLAGS"]).strip()
    return {**kept, "JAX_PLATFORMS": "cpu", "PJRT_NPROC": "1", "PYTHONUNBUFFERED": "1", **more}


def command(name: str, *flags: str, hook: str = "") -> list[str]:
    """The command line of `synthjax.launch.NAME`; `hook` is code that runs in its process first."""
    if not hook:
        return [sys.executable, "-m", f"synthjax.launch.{name}", *flags]
    run = f"import runpy\nrunpy.run_module('synthjax.launch.{name}', run_name='__main__', alter_sys=True)"
    return [sys.executable, "-c", f"{hook}\n{run}", *flags]


def start(line: list[str], **options) -> subprocess.Popen[str]:
    """Starts it, its outputs in pipes."""
    options.setdefault("env", environment())
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def finish(line: list[str], timeout: float = 400, **options) -> tuple[int, str, str]:
    """Runs it to its end: (exit code, output, errors)."""
    return end(start(line, **options), timeout)


def end(process: subprocess.Popen[str], timeout: float = 400) -> tuple[int, str, str]:
    """Waits for its end: (exit code, output, errors); kills it when the time is over."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"still running after {timeout} s\n{out}\n{err}") from None
    return process.returncode, out, err


def wait_until(ready, processes: list[subprocess.Popen[str]], timeout: float = 400) -> None:
    """Waits until `ready()`; fails if a process ends before, or when the time is over."""
    deadline = time.monotonic() + timeout
    while not ready():
        ended = [process for process in processes if process.poll() is not None]
        assert not ended, f"ended early with {ended[0].returncode}: {ended[0].communicate()}"
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.005)


def steps(workdir: Path) -> list[int]:
    """The steps that have a folder, finished or not."""
    folder = workdir / "checkpoints"
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit()) if folder.exists() else []


def newest(workdir: Path) -> int | None:
    """The newest good step."""
    return Checkpoints(workdir / "checkpoints", say=lambda line: None).newest()


def outcome(workdir: Path) -> dict:
    """What two equal runs have in common, to the last bit: step, state (parameters, optimiser, EMA), figures."""
    _, state, _ = synthjax.load(workdir)
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("steps_per_second", None)  # not in rows of diversity
    return {"step": newest(workdir), "state": state_sha256(state), "rows": rows}


def files(folder: Path) -> dict[str, str]:
    """Name -> sha256 of every file in a folder."""
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}
