"""Prints the JSON schema of report.json: python -m synthjax.evals.report"""

import json

from synthjax.evals.report import schema

print(json.dumps(schema(), indent=1))
