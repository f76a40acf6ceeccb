#!/usr/bin/env python3
"""Runs a launcher as N processes on this machine: for several GPUs in one host, and for trying things out.

  python launch/local.py --processes=2 -- python -m synthjax.launch.train --model=ddpm --workdir=runs/two

Each process gets one GPU where there are any, and no proxy settings, which would catch its calls to 127.0.0.1. Every
line of output is preceded by the number of its process. When one process fails, the others are given --grace seconds
and then killed; the exit code is that of the failure. Preemption (42), death by a signal (127-255) and the loss of
another process (134) start all of them again, up to --restarts times, and training continues from its checkpoint.
SIGTERM and Ctrl-C are passed on as SIGTERM, on which training saves and ends; the second one kills.
"""

import argparse
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import IO

PREEMPTED = 42
PEER_LOST = 134
"""Also that of SIGABRT, by which JAX ends a process whose peer is lost."""


def parse(argv: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2, help="how many (default: 2)")
    parser.add_argument("--port", type=int, help="port of process 0 (default: a free one)")
    parser.add_argument("--restarts", type=int, default=0, help="how often to start again (default: 0)")
    parser.add_argument("--grace", type=float, default=15, help="seconds the others have after a failure (default: 15)")
    parser.add_argument("--dry-run", action="store_true", help="print the commands and run nothing")
    parser.add_argument("command", nargs="+", help="what to run, behind --")
    return parser.parse_args(argv)


def commands(command: list[str], processes: int, port: int) -> list[list[str]]:
    """The command of each process: the given one, its surroundings, and the flags that say who is who."""
    proxies = [part for name in sorted(os.environ) if name.lower().endswith("_proxy") for part in ("-u", name)]
    shared = ["--distributed", f"--coordinator_address=127.0.0.1:{port}", f"--num_processes={processes}"]
    lines = []
    for index in range(processes):
        surroundings = ["env", *proxies, f"JAX_LOCAL_DEVICE_IDS={index}", "PYTHONUNBUFFERED=1"]
        lines.append([*surroundings, *command, *shared, f"--process_id={index}"])
    return lines


def free_port() -> int:
    """A TCP port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(line: list[str]) -> subprocess.Popen[str]:
    """Starts one process, its output joined in one pipe.

    A session of its own keeps Ctrl-C from it: that reaches this program alone, which passes it on.
    """
    return subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True
    )


def relay(index: int, pipe: IO[str]) -> None:
    """Copies the lines of process `index` to standard output until it closes them."""
    for line in pipe:
        sys.stdout.write(f"[{index}] {line.rstrip()}\n")
        sys.stdout.flush()


class Gang:
    """Processes that start together and end together."""

    def __init__(self) -> None:
        self.members: list[subprocess.Popen[str]] = []
        self.stopped = False

    def stop(self, *_) -> None:
        """Passes SIGTERM on to all; kills them when called again. A signal handler."""
        self.send(signal.SIGKILL if self.stopped else signal.SIGTERM)
        self.stopped = True

    def send(self, number: int) -> None:
        """Sends a signal to every process that still runs, and to what it started."""
        for member in self.members:
            if member.poll() is None:
                os.killpg(member.pid, number)

    def run(self, lines: list[list[str]], grace: float) -> int:
        """Runs one process per line; kills the rest `grace` seconds after the first failure.

        Returns: 0, or the exit code of the failure (128 + n for death by signal n).
        """
        self.members = [start(line) for line in lines]
        if self.stopped:  # while they started
            self.send(signal.SIGTERM)
        relays = [threading.Thread(target=relay, args=(i, m.stdout), daemon=True) for i, m in enumerate(self.members)]
        for thread in relays:
            thread.start()
        failures: dict[int, int] = {}
        deadline = float("inf")
        while True:
            states = [member.poll() for member in self.members]
            for index, state in enumerate(states):
                if state and index not in failures:
                    failures[index] = state if state > 0 else 128 - state
                    print(f"launch/local: process {index} ended with {failures[index]}", file=sys.stderr)
                    deadline = min(deadline, time.monotonic() + grace)
            if None not in states or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        self.send(signal.SIGKILL)
        for thread in relays:
            thread.join(timeout=5)
        return min(failures.values(), key=_rank, default=0)


def _rank(code: int) -> int:
    """How much an exit code says of the cause: that of a killed process most, that of the loss of another least."""
    return 2 if code == PEER_LOST else 0 if code >= 127 else 1


def main(argv: list[str]) -> int:
    """Runs the processes until they are done, fail for good or have used their restarts. Returns the exit code."""
    args = parse(argv)
    gang = Gang()
    signal.signal(signal.SIGTERM, gang.stop)
    signal.signal(signal.SIGINT, gang.stop)
    for left in range(args.restarts, -1, -1):
        lines = commands(args.command, args.processes, args.port or free_port())
        if args.dry_run:
            print("\n".join(map(shlex.join, lines)))
            return 0
        code = gang.run(lines, args.grace)
        if gang.stopped or not (code == PREEMPTED or code >= 127):
            break
        print(f"launch/local: exit code {code}, {left} restarts left", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
