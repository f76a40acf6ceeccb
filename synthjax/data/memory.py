"""How much memory there is, so that what cannot fit is refused before it starts."""

import contextlib
import os
from pathlib import Path, PurePosixPath

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
"""Where Linux says how much memory a control group may have, and which group this process is in."""


def limit() -> int:
    """Bytes of memory for this process: the machine's, or what its container or any group around it allows."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _limits():
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            found.append(int(path.read_text()))
    return min(found)


def _limits() -> list[Path]:
    """Files that may hold a limit: of control groups of version 2, this process's own and those above, and of 1."""
    limits = [_GROUPS / "memory.max", _GROUPS / "memory" / "memory.limit_in_bytes"]
    with contextlib.suppress(OSError):
        for line in _OWN.read_text().splitlines():
            number, _, group = line.split(":", 2)
            own = PurePosixPath(group.lstrip("/"))
            if number == "0":
                limits += [_GROUPS / one / "memory.max" for one in (own, *own.parents)]
    return limits


def shown(count: float) -> str:
    """A number of bytes for people: "16.0 GB"."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"
