"""Runs `synthjax.launch` commands within the process of a test: their exit code, output and errors."""

import contextlib
import io
import runpy
import signal
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import pytest
from absl import flags


class End(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The only line on standard error that is not a library's warning."""
        assert "Traceback" not in self.err, self.err
        (line,) = [line for line in self.err.splitlines() if line.startswith(("error:", "stopped:"))]
        return line


def run(name: str, *words: str, folder: Path | None = None, devices: int = 1, curve: bool = False) -> End:
    """`python -m synthjax.launch.NAME WORDS`, in `folder` and on so many devices; handlers and flags are put back.

    `curve`: whether loss.png is drawn, which takes as long as a tiny training; if not, it is empty.
    """
    before = set(flags.FLAGS)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", [name, *words])
        patch.setattr("synthjax.launch.cli.prepare_jax", lambda: None)
        if not curve:
            patch.setattr("synthjax.evals.draw.png.loss_curve", lambda rows: b"")
        if folder is not None:
            patch.chdir(folder)
        some = jax.devices()[:devices]
        for function in ("devices", "local_devices"):
            patch.setattr(jax, function, lambda: some)
        patch.setattr(jax, "device_count", lambda: devices)
        warnings.filterwarnings("ignore", ".*found in sys.modules", RuntimeWarning)  # put back by pytest
        try:
            runpy.run_module(f"synthjax.launch.{name}", run_name="__main__", alter_sys=True)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
            err.write("" if isinstance(error.code, int | None) else f"{error.code}\n")
        finally:
            for flag in set(flags.FLAGS) - before:
                delattr(flags.FLAGS, flag)
            flags.FLAGS.unparse_flags()
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return End(code, out.getvalue(), err.getvalue())


def launch(folder: Path, *words: str, name: str = "train", curve: bool = False) -> End:
    """Runs a launcher in `folder`, on one device."""
    return run(name, *words, folder=folder, curve=curve)
