"""Says what a data set has already paid for differential privacy.

    python -m synthjax.launch.ledger --table=customers.csv
    python -m synthjax.launch.ledger --dp.dataset=customers

lists the fits in its ledger, which `train` and `synthesize` write with --dp.epsilon, and what they spend together, and
checks that no line was changed. The ledger is in the folder that the environment variable SYNTHJAX_LEDGER_DIR names
(default: ~/.synthjax/ledger). Without a data set, all of them are named.
"""

from absl import flags

from synthjax.data import sources
from synthjax.launch import cli
from synthjax.privacy.ledger import Ledger, default_folder


def define_flags() -> None:
    """Defines the flags of this launcher."""
    flags.DEFINE_string("table", None, "The table, as `train` and `synthesize` had it.")
    flags.DEFINE_string("dp.dataset", None, "Name of the data set in the ledger (default: the file's).")


def report(ledger: Ledger) -> str:
    """The account of a data set, for a terminal.

    Raises:
        InputError: a line of the ledger was changed.
    """
    lines = ledger.lines()
    fits = [line for line in lines if line["event"] == "fit"]
    if not fits:
        return f"{ledger.name}: has paid nothing so far ({ledger.path})"
    done = {line["fit"] for line in lines if line["event"] == "done"}
    rows = [
        f"{line['time']}  epsilon {line['epsilon']:g}, delta {line['delta']:g}, unit {line['notes'].get('unit', '?')}, "
        f"{line['notes'].get('model', '?')}" + ("" if line["fit"] in done else "; not finished, but counts in full")
        for line in fits
    ]
    spent, total = ledger.spent(), ledger.total()
    limit = "no total is set" if total is None else f"of the owner's total of {total:g}"
    together = (
        f"{ledger.name}: {spent.fits} fits spend epsilon {spent.epsilon:.4g} at delta {spent.delta:g} together, {limit}"
    )
    return "\n".join([*rows, together, f"no line of {ledger.path} was changed"])


def main() -> None:
    """Prints the account; see the module's docstring."""
    asked = flags.FLAGS
    folder = default_folder()
    name = asked["dp.dataset"].value or (asked.table and sources.short_name(asked.table))
    if name:
        print(report(Ledger(folder, name)), flush=True)
        return
    known = sorted(path.stem for path in folder.glob("*.jsonl"))
    print("\n".join(report(Ledger(folder, one)) for one in known) or f"no data set has paid so far ({folder})")


if __name__ == "__main__":
    define_flags()
    cli.run(main, __doc__)
