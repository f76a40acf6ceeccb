"""What a tutorial starts with: a folder of its own, and a `%%bash` that shows output whole, as a terminal would."""

import os
import shutil
import subprocess
from pathlib import Path

from IPython.core.magic import register_cell_magic


def start(folder: str, *others: str) -> None:
    """Changes into an empty folder below DOCS_RUNS, and removes others there, which earlier runs have left."""
    runs = Path(os.environ["DOCS_RUNS"])
    for name in (folder, *others):
        shutil.rmtree(runs / name, ignore_errors=True)
    (runs / folder).mkdir(parents=True)
    os.chdir(runs / folder)


@register_cell_magic
def bash(line: str, cell: str) -> None:
    """Runs the cell in bash and prints all that it says; IPython's own cuts lines where pieces of output end."""
    del line
    done = subprocess.run(["bash", "-ec", cell], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout, end="")
    done.check_returncode()
