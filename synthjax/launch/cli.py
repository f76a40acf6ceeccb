"""What every launcher does the same: start absl, prepare JAX, end with one clear line and an exit code."""

import math
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import jax
from absl import app, flags, logging

from synthjax import files
from synthjax.errors import CheckpointError, GateError, InputError, Interrupted, PeerLost, Preempted, SynthjaxError
from synthjax.launch import distributed, runs

LONGEST = 1000
"""Characters of an error's line at most: it may quote what a user gave, however long that is."""
CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
LEAST_VARIABLE = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def run(main: Callable[[], None], doc: str) -> NoReturn:
    """Runs `main()` under absl and ends the process; `doc` is what --help shows above the flags.

    Exit codes: 0 done, 1 usage or an unexpected error, and those of `synthjax.errors`.
    """
    sys.modules["__main__"].__doc__ = doc
    _prepare_streams()
    app.run(lambda argv: _guarded(main), flags_parser=_parse)
    raise AssertionError("absl's run ends the process")


def _prepare_streams() -> None:
    """Makes printing safe: to a stream that was closed, or whose encoding lacks a character of a path."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def workdir(given: str | None) -> Path:
    """The run folder that a launcher works on: the one given, else the newest under `runs/`; InputError without any."""
    if given is not None:
        return files.path(given)
    newest = runs.newest()
    if newest is None:
        raise InputError("--workdir: there is no run under runs/ yet; start one with: python -m synthjax.launch.train")
    return newest


def _parse(argv: list[str]) -> list[str]:
    if any(word in ("--help", "-h", "-help", "--helpshort") for word in argv[1:]):
        print(_help())
        sys.exit(0)
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        sys.exit(1)
    if len(rest) > 1:
        print(f"error: {one_line(repr(rest[1]))} is not a flag; flags begin with --", file=sys.stderr)
        sys.exit(1)
    return rest


def _check_flags() -> None:
    """Raises InputError for flags without a value, such as `--out=$UNSET`, and for a number that is not finite."""
    for name in flags.FLAGS:
        value = flags.FLAGS[name].value
        if value == "" and flags.FLAGS[name].present:
            raise InputError(f"--{name}=: is empty; give a value, or leave the flag out")
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"--{name}={value}: must be a finite number")


def _help() -> str:
    """The launcher's docstring and the flags that synthjax defines, without absl's own and details of privacy."""
    lines = [(sys.modules["__main__"].__doc__ or "").strip(), "", "Flags:"]
    for module, defined in sorted(flags.FLAGS.flags_by_module_dict().items()):
        if not module.startswith(("synthjax", "__main__", sys.argv[0])):  # absl's and Orbax's own
            continue
        for flag in defined:
            if flag.name.startswith("dp.") and flag.name != "dp.epsilon" and "dp.epsilon" in flags.FLAGS:
                continue
            default = "" if flag.default in (None, False, "", []) else f" (default: {flag.default})"
            lines.append(f"  --{flag.name}: {flag.help}{default}")
    return "\n".join(lines)


def _guarded(main: Callable[[], None]) -> NoReturn:
    code = 0
    try:
        logging.set_verbosity(logging.WARNING)
        signal.signal(signal.SIGTERM, _end)
        _check_flags()
        prepare_jax()
        main()
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        code = report(error)
    distributed.leave(code)


def report(error: BaseException) -> int:
    """Prints what ended a command, one line unless nobody expected it, and returns the exit code."""
    full = any(isinstance(cause, OSError) and cause.errno in files.FULL for cause in distributed.causes(error))
    word, code = "error", getattr(error, "exit_code", 1)
    if isinstance(error, KeyboardInterrupt):
        word, text, code = "stopped", "interrupted", Interrupted.exit_code
    elif distributed.lost_peer(error):
        word, code = "stopped", PeerLost.exit_code
        text = f"another process of this run was lost ({files.reason(error)}); started again, all continue"
    elif isinstance(error, SynthjaxError):
        word = "stopped" if isinstance(error, Preempted | PeerLost) else word
        text = str(error)
        code = CheckpointError.exit_code if full else code
    elif isinstance(error, BrokenPipeError) and error.filename is None:
        text, code = "standard output was closed before the end", CheckpointError.exit_code
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains when it flushes the rest
    elif isinstance(error, OSError) and (full or error.filename is not None):
        what = f"cannot be written ({error.strerror})" if full else error.strerror
        text = f"{error.filename or 'standard output or a file'}: {what}"
        code = CheckpointError.exit_code if full else InputError.exit_code
    elif isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        text = f"out of memory ({files.reason(error)}); a smaller --batch_size or model takes less"
        code = InputError.exit_code
    else:
        traceback.print_exception(error)
        return 1
    print(f"{word}: {text if isinstance(error, GateError) else one_line(text)}", file=sys.stderr)
    return code


def one_line(text: str) -> str:
    """A message without line breaks, its middle left out beyond `LONGEST` characters."""
    text = " ".join(text.splitlines())
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} ... {text[-half:]}"


def _end(*_: object) -> None:
    """Answers SIGTERM where a launcher has no answer of its own yet, or no more: nothing is lost then.

    An exception could be swallowed by whatever library is running just now.
    """
    os.write(2, b"stopped: asked to end; the same command continues\n")
    os._exit(Preempted.exit_code)


def run_script(main: Callable[[], None]) -> None:
    """Runs `main()` of a script that reads its own arguments; what is wrong with them is one line, not a traceback."""
    try:
        prepare_jax()
        main()
    except SynthjaxError as error:
        sys.exit(report(error))


def prepare_jax() -> None:
    """Points JAX's persistent compilation cache to a folder of this user's alone, for what takes a second to compile.

    What the environment says of either is kept.
    A compiled program is code: whoever may write the folder may run what they like, hence mode 0700.
    """
    if os.environ.get(CACHE_VARIABLE) is None:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        cache = Path(home) / "synthjax" / "jax"
        try:
            cache.mkdir(parents=True, exist_ok=True, mode=0o700)
            cache.chmod(0o700)
        except OSError:
            return  # a read-only home: every start compiles
        jax.config.update("jax_compilation_cache_dir", str(cache))
    if os.environ.get(LEAST_VARIABLE) is None:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
