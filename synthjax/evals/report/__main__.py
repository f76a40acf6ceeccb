"""Prints the JSON schema of report.json: python -m synthjax.evals.report"""

import json
import os
import sys

from synthjax.errors import CheckpointError
from synthjax.evals.report import schema

try:
    print(json.dumps(schema(), indent=1), flush=True)
except BrokenPipeError:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python complains when it flushes the rest
    print("error: standard output was closed before the end", file=sys.stderr)
    sys.exit(CheckpointError.exit_code)
