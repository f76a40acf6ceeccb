"""What an evaluation prints."""

import sys
import textwrap
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from synthjax.evals import report


def say(text: str) -> None:
    """Prints a line at once, also into a pipe."""
    print(text, flush=True)


def remark(sentence: str) -> None:
    """Prints a sentence of evidence."""
    say(textwrap.fill(sentence, width=110, initial_indent="  - ", subsequent_indent="    "))


def say_verdict(verdict: report.Verdict, seconds: float) -> None:
    """Prints a verdict with its evidence."""
    say(f"\n{verdict.question}  {verdict.answer}  [{seconds:.0f} s]")
    for one in verdict.evidence:
        remark(one.text)


def with_bar(name: str, work: Callable[[Callable[[float], None]], dict[str, Any]]) -> dict[str, Any]:
    """What `work` returns, which says the share that is done; a bar shows it on a terminal."""
    with tqdm(total=100, desc=name, unit=" %", disable=not sys.stderr.isatty(), leave=False) as bar:
        return work(lambda share: bar.update(round(100 * share) - bar.n) and None)
