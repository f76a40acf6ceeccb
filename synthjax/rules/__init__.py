"""Rules between the columns of a table: found, said, checked."""

from synthjax.rules.finding import find
from synthjax.rules.kinds import Evidence, Rule
from synthjax.rules.parsing import parse
from synthjax.rules.planning import Plan, plan

__all__ = ["Evidence", "Plan", "Rule", "find", "parse", "plan"]
