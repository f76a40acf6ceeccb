"""The memory limit of this process, used to refuse work that would not fit before it starts."""

import contextlib
import os
from pathlib import Path, PurePosixPath

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
"""Files of Linux with the limits of control groups, and the group of this process."""


def limit() -> int:
    """Bytes of memory available to this process: the minimum of the machine's memory and all control group limits."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _limits():
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            found.append(int(path.read_text()))
    return min(found)


def _limits() -> list[Path]:
    """Files with a limit: of this process's control group and its parents (version 2), and of version 1."""
    limits = [_GROUPS / "memory.max", _GROUPS / "memory" / "memory.limit_in_bytes"]
    with contextlib.suppress(OSError):
        for line in _OWN.read_text().splitlines():
            number, _, group = line.split(":", 2)
            own = PurePosixPath(group.lstrip("/"))
            if number == "0":
                limits += [_GROUPS / one / "memory.max" for one in (own, *own.parents)]
    return limits


def shown(count: float) -> str:
    """Formats a number of bytes, such as "16.0 GB"."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"
