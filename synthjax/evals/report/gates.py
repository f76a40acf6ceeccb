"""Gates: conditions on numbers of a report under which an evaluation counts as failed (`launch.eval --fail_if`).

Every number of the report has a key: names joined by dots, an entry of a list by its place from 0.

    gate = gates.Gate.parse("privacy.mia.auc>0.55", "image")
    gates.check([gate], report)                      # raises GateError where it holds
"""

import difflib
import operator
import re
from collections.abc import Sequence
from typing import NamedTuple

from synthjax.errors import GateError
from synthjax.evals.report import rows
from synthjax.evals.report.model import REPORTS, Kind, Report

NEEDS_MODEL = "privacy.mia.model"
"""What the keys begin with that only a run's model has."""
_COMPARE = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_GATE = re.compile(r"\s*(\S.*?)\s*(>=|<=|>|<)\s*([-+.\deE]+)\s*")


class Gate(NamedTuple):
    """A condition under which an evaluation counts as failed."""

    key: str
    compare: str
    bound: float

    @classmethod
    def parse(cls, text: str, kind: Kind) -> "Gate":
        """The gate that a text like `privacy.mia.auc>0.55` states, on reports of that kind of data.

        ValueError: it cannot be read, or names no number of the report.
        """
        match = _GATE.fullmatch(text)
        try:
            key, compare, bound = match.groups() if match else ("", "", "")
            gate = cls(key, compare, float(bound))
        except ValueError:
            raise ValueError(f"{text!r} is not KEY>NUMBER, e.g. privacy.mia.auc>0.55 (also <, >=, <=)") from None
        if not rows.leads_to_number(REPORTS[kind], key.split(".")):
            near = difflib.get_close_matches(key, [row.key for row in rows.catalogue(kind)], n=1, cutoff=0.4)
            raise ValueError(f"{key!r} is no number of the report" + (f"; did you mean {near[0]}?" if near else ""))
        return gate

    @property
    def needs_model(self) -> bool:
        """Whether it is about attacks on the model itself."""
        return self.key.startswith(NEEDS_MODEL)

    def failure(self, report: Report) -> str | None:
        """Why the report fails this gate, or None if it passes; what was not measured does not pass."""
        value = rows.number(report, self.key)
        if value is None:
            return f"{self.key} was not measured (gate {self})"
        return f"{self.key} is {value:.6g} (gate {self})" if _COMPARE[self.compare](value, self.bound) else None

    def __str__(self) -> str:
        return f"{self.key}{self.compare}{self.bound:g}"


def check(gates: Sequence[Gate], report: Report) -> None:
    """Raises a GateError, one line with key, value and bound of each condition that holds; else does nothing."""
    failures = [failure for gate in gates if (failure := gate.failure(report)) is not None]
    if failures:
        raise GateError("; ".join(failures))
