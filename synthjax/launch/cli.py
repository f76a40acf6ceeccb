"""What every launcher does the same: start absl, prepare JAX, end with one clear line and an exit code."""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import jax
from absl import app, flags, logging

from synthjax.errors import CheckpointError, InputError, Preempted, SynthjaxError
from synthjax.launch import distributed, runs

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What writing to a full disk, or past a quota or limit, ends with."""
CACHE_VARIABLE = "JAX_COMPILATION_CACHE_DIR"


def run(main: Callable[[list[str]], None], doc: str) -> NoReturn:
    """Runs `main(argv)` under absl and ends the process; `doc` is what --help shows above the flags.

    Exit codes: 0 done, 1 usage or an unexpected error, and those of `synthjax.errors`.
    """
    sys.modules["__main__"].__doc__ = doc
    app.run(lambda argv: _guarded(main, argv), flags_parser=_parse)
    raise AssertionError("absl's run ends the process")


def workdir(given: str | None) -> Path:
    """The run folder that a launcher works on: the one given, else the newest under `runs/`.

    Raises:
      InputError: there is none.
    """
    if given is not None:
        return Path(given)
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
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    if len(rest) > 1:
        print(f"error: {rest[1]!r} is not a flag; flags begin with --", file=sys.stderr)
        sys.exit(1)
    return rest


def _help() -> str:
    """The launcher's docstring and the flags that synthjax defines, without absl's own."""
    lines = [(sys.modules["__main__"].__doc__ or "").strip(), "", "Flags:"]
    for module, defined in sorted(flags.FLAGS.flags_by_module_dict().items()):
        if not module.startswith(("synthjax", "__main__", sys.argv[0])):  # absl's and Orbax's own
            continue
        for flag in defined:
            default = "" if flag.default in (None, False, "", []) else f" (default: {flag.default})"
            lines.append(f"  --{flag.name}: {flag.help}{default}")
    return "\n".join(lines)


def _guarded(main: Callable[[list[str]], None], argv: list[str]) -> NoReturn:
    code = 1
    try:
        logging.set_verbosity(logging.WARNING)
        signal.signal(signal.SIGTERM, _end)
        prepare_jax()
        main(argv)
    except SynthjaxError as error:
        print(f"{'stopped' if isinstance(error, Preempted) else 'error'}: {error}", file=sys.stderr)
        code = error.exit_code
    except OSError as error:
        if error.errno not in FULL:
            traceback.print_exc()
        else:
            print(f"error: {error.filename or 'a file'}: cannot be written ({error.strerror})", file=sys.stderr)
            code = CheckpointError.exit_code
    except KeyboardInterrupt:
        print("stopped: interrupted", file=sys.stderr)
        code = 130
    except Exception:
        traceback.print_exc()
    else:
        code = 0
    distributed.leave(code)


def _end(*_: object) -> None:
    """Answers SIGTERM where a launcher has no answer of its own yet, or no more: nothing is lost then.

    An exception could be swallowed by whatever library is running just now.
    """
    os.write(2, b"stopped: asked to end; the same command continues\n")
    os._exit(Preempted.exit_code)


def told(main: Callable[[], None]) -> None:
    """Runs `main()` of a script that reads its own arguments; what is wrong with them is one line, not a traceback."""
    try:
        prepare_jax()
        main()
    except SynthjaxError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


def prepare_jax() -> None:
    """Points JAX's persistent compilation cache to a folder of this user's alone, unless the environment names one.

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
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
