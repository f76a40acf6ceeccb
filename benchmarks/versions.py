"""Training steps of this checkout beside those of another one of this repository, model by model.

    git worktree add ../older COMMIT
    python -m benchmarks.versions --other=../older --models=vae,table_ar --dataset=mnist --data_dir=DIR

Each checkout trains in a process of its own. They take turns, so that both meet the same disturbances; ratios are taken
round by round. Without --dataset images are scikit-learn's digits, tables its breast cancer data.
"""

import argparse
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.train_step import OURS, Contender, interleave
from benchmarks.train_step import table as lines
from synthjax.launch import cli
from synthjax.launch.config import presets

ROOT = Path(__file__).parents[1]
SECONDS = 0.5
"""Length of a turn, about."""
WORKER = """
import dataclasses, inspect, sys
import jax
from synthjax.launch import config, runs, train
name, dataset, data_dir = sys.argv[1:]
chosen = dataclasses.replace(config.experiment(None, name, dataset), data_dir=data_dir or None)
data = runs.data(chosen)
one = train.trainer(chosen, runs.build(chosen, data.spec), data)
state, key = one.init(jax.random.key(0)), jax.random.key(1)
most = getattr(one, "steps_per_call", 50)
extra = () if len(inspect.signature(one.run).parameters) == 4 else (most,)
print("ready", flush=True)
for line in sys.stdin:
    start, stop = map(int, line.split())
    for first in range(start, stop, most):
        state, metrics = one.run(key, first, min(first + most, stop), state, *extra)
    jax.block_until_ready(metrics)
    print("done", flush=True)
"""


def dataset_of(name: str) -> str:
    """An embedded data set of the kind that a model makes."""
    family = presets()[name][0]
    return "breast_cancer" if family.startswith("table_") or family in ("independent", "mixture", "smote") else "digits"


@contextlib.contextmanager
def contender(checkout: Path, name: str, dataset: str, data_dir: str) -> Iterator[Contender]:
    """A process that trains a model with the code of a checkout, for as long as the block lasts."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-c", WORKER, name, dataset, data_dir]
    process = subprocess.Popen(
        command, cwd=checkout, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    ask, answer = process.stdin, process.stdout

    def wait(word: str) -> None:
        line = answer.readline().strip()
        if line != word:
            raise RuntimeError(f"{checkout}: its process for {name} ended")

    def run(start: int, stop: int) -> None:
        ask.write(f"{start} {stop}\n")
        ask.flush()
        wait("done")

    wait("ready")
    yield Contender(run)
    process.kill()


def main() -> None:
    """Prints a table a model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--other", type=Path, required=True, help="another checkout of this repository")
    parser.add_argument("--models", default=",".join(sorted(presets())), help="presets, with commas between them")
    parser.add_argument("--dataset", default="", help="default: digits, or breast_cancer for models of tables")
    parser.add_argument("--data_dir", default="", help="folder with the data's files")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    for name in given.models.split(","):
        dataset = given.dataset or dataset_of(name)
        with contextlib.ExitStack() as stack:
            both = {
                title: stack.enter_context(contender(checkout.resolve(), name, dataset, given.data_dir))
                for title, checkout in ((OURS, ROOT), ("other", given.other))
            }
            for one in both.values():
                one.warm_up(SECONDS)
            print(f"{name} on {dataset}", flush=True)
            print("\n".join(lines(interleave(both, given.rounds), 1)), flush=True)


if __name__ == "__main__":
    cli.run_script(main)
