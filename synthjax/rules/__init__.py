"""Rules between the columns of a table: `find` detects them, `parse` reads them, `plan` makes synthetic rows keep them.

found = find(train)                         # or [parse("total = fare + tip"), ...]
kept = found[0].holds(frame)                # (n,) bool
whole = plan(found, train)
free = whole.encode(train)                  # the columns that a model learns
frame = whole.decode(free)                  # all columns
"""

from synthjax.rules.finding import find, limits
from synthjax.rules.kinds import Evidence, Rule
from synthjax.rules.parsing import parse
from synthjax.rules.planning import Plan, plan

__all__ = ["Evidence", "Plan", "Rule", "find", "limits", "parse", "plan"]
