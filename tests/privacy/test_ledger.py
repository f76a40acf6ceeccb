"""The ledger: sums and compositions, its chain, its limit, and two processes at once."""

import json
import subprocess
import sys

import pytest

from synthjax.errors import InputError
from synthjax.privacy import accounting
from synthjax.privacy.accounting import Release
from synthjax.privacy.ledger import Ledger, Spent

GAUSS = [Release("all", "gaussian", 20.0)]


def test_fits_compose_as_gaussian_mechanisms(tmp_path):
    """Squared signal-to-noise ratios add up, and delta as a function of epsilon is known in closed form."""
    ledger = Ledger(tmp_path, "shop")
    assert ledger.spent() == Spent(0, 0, 0) and ledger.total() is None
    first = ledger.reserve(epsilon=0.5, delta=1e-6)
    assert ledger.spent() == Spent(0.5, 1e-6, 1)
    ledger.reserve(epsilon=0.3, delta=1e-6)
    spent = ledger.spent()
    ratios = sum(line["noise"] ** -2 for line in ledger.lines())
    assert spent.delta == 2e-6 and spent.epsilon < 0.8
    assert accounting.gaussian_delta(ratios**-0.5, spent.epsilon) == pytest.approx(0.8 * 2e-6, rel=1e-3)
    ledger.finish(first, GAUSS)
    ledger.finish(first, GAUSS)  # again: nothing
    assert ledger.spent() == spent
    assert [line["event"] for line in ledger.lines()] == ["fit", "fit", "done"]


def test_accounts_are_separate_and_named_by_their_owner(tmp_path):
    Ledger(tmp_path, "a").reserve(epsilon=1.0, delta=1e-6)
    assert Ledger(tmp_path, "b").spent().fits == 0
    with pytest.raises(InputError, match=r"--dp.dataset=\.\.: a name with letters"):
        Ledger(tmp_path, "..")
    assert Ledger(tmp_path, "../x y").path.parent == tmp_path


def test_what_would_exceed_the_total_is_refused(tmp_path):
    ledger = Ledger(tmp_path, "shop")
    ledger.reserve(epsilon=1.0, delta=1e-6, total=1.3)
    before = ledger.path.read_bytes()
    for asked in ({"epsilon": 1.0}, {"epsilon": 0.1, "total": 9.0}):
        with pytest.raises(InputError, match=r"owner's total of (1.3|shop is 1.3)"):
            ledger.reserve(delta=1e-6, **asked)
    assert ledger.path.read_bytes() == before
    ledger.reserve(epsilon=0.5, delta=1e-6, total=1.3)
    with pytest.raises(InputError, match="another 0.8 would make it 1."):
        ledger.reserve(epsilon=0.8, delta=1e-6)


def change(lines):
    values = json.loads(lines[1])
    values["epsilon"] = 0.01
    return [lines[0], json.dumps(values), *lines[2:]]


@pytest.mark.parametrize(
    ("how", "line"),
    [
        (change, 2),
        (lambda lines: [lines[0], *lines[2:]], 2),
        (lambda lines: [lines[1], lines[0], *lines[2:]], 1),
        (lambda lines: [*lines[:2], "{}", *lines[2:]], 3),
        (lambda lines: [*lines[:3], lines[3][:20]], 4),
    ],
    ids=["changed", "removed", "swapped", "inserted", "cut off"],
)
def test_tampering_is_named(how, line, tmp_path):
    ledger = Ledger(tmp_path, "shop")
    for _ in range(4):
        ledger.reserve(epsilon=0.5, delta=1e-6)
    ledger.path.write_text("\n".join(how(ledger.path.read_text().splitlines())) + "\n")
    with pytest.raises(InputError, match=f"line {line} is not what was written"):
        ledger.spent()
    with pytest.raises(InputError, match=f"line {line} is not what was written"):
        ledger.reserve(epsilon=0.5, delta=1e-6)


def test_a_fit_that_the_ledger_does_not_know_is_refused(tmp_path):
    ledger = Ledger(tmp_path, "shop")
    fit = ledger.reserve(epsilon=0.5, delta=1e-6, notes={"model": "independent"})
    assert ledger.entry(fit)["notes"] == {"model": "independent"}
    ledger.path.unlink()
    with pytest.raises(InputError, match="knows no fit"):
        ledger.finish(fit, GAUSS)


RESERVE = """
import sys
from synthjax.errors import InputError
from synthjax.privacy.ledger import Ledger
ledger = Ledger(sys.argv[1], "shop")
print("ready", flush=True)
sys.stdin.readline()
try:
    ledger.reserve(epsilon=1.0, delta=1e-6, total=1.3)
    print("spent")
except InputError as error:
    print(f"refused: {error}")
"""


def test_processes_at_once_cannot_both_spend(tmp_path):
    words = [sys.executable, "-c", RESERVE, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(words, **pipes) for _ in range(3)]
    assert [worker.stdout.readline() for worker in workers] == ["ready\n"] * 3
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    found = [worker.communicate(timeout=120)[0] for worker in workers]
    assert sorted(one[:8] for one in found) == ["refused:", "refused:", "spent\n"], found
    assert Ledger(tmp_path, "shop").spent() == Spent(1.0, 1e-6, 1)
