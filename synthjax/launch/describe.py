"""Says what a table holds before anything is trained, and writes it down to be corrected.

    python -m synthjax.launch.describe --table=trips.csv
    python -m synthjax.launch.describe --table=trips.csv --target=paid --out=schema.yaml

prints the kind of each column and what is kept back of it, the rules between columns that training rows and holdout
rows keep, and what the rows alone do not settle, with the line that does. --out writes all of it into a schema file;
correct it and give it to `synthesize` or `train` as --schema. With --schema, a file of yours is checked against the
rows, and --out adds to it what it does not say.
"""

import shlex
import sys

from absl import flags

from synthjax import data, files
from synthjax.data.table_dataset import Options
from synthjax.errors import InputError
from synthjax.launch import cli


def define_flags() -> None:
    """Defines the flags of this launcher."""
    flags.DEFINE_string("table", None, "A .csv or .parquet file, or a name (adult, breast_cancer, ...).")
    flags.DEFINE_string("data_dir", None, "Folder with the data set's files (default: $SYNTHJAX_DATA_DIR).")
    flags.DEFINE_string("target", None, "The column to predict (default: none of a file).")
    flags.DEFINE_string("test", None, "Another file with the test rows (default: a fifth of the table's).")
    flags.DEFINE_string("schema", None, "A YAML or JSON file that corrects what is inferred.")
    flags.DEFINE_integer("min_count", 5, "Fewest rows that must share a value for it to be released.", 1)
    flags.DEFINE_bool("rules", True, "Whether to look for rules between columns, where --schema lists none.")
    flags.DEFINE_string("out", None, "Where the schema file is written (default: nowhere).")


def main() -> None:
    """Describes the table; see the module's docstring."""
    asked = flags.FLAGS
    if asked.table is None:
        raise InputError("--table: name one, such as --table=customers.csv")
    out = asked.out and files.path(asked.out)
    if out and out.suffix not in (".yaml", ".yml"):
        raise InputError(f"--out={asked.out}: a name that ends in .yaml is needed")
    if out and out.exists():
        raise InputError(f"--out={asked.out}: is there already; give another name")
    options = Options(asked.target, schema=asked.schema, min_count=asked.min_count, rules=asked.rules)
    described = data.describe(asked.table, asked.data_dir, test=asked.test, options=options)
    print(described.report(most=sys.maxsize), flush=True)
    if doubts := described.doubts():
        print("uncertain; lines go below `columns:` in a schema file:", *doubts, sep="\n  ", flush=True)
    if out:
        files.write(out, described.to_yaml(asked.table))
        target = f" --target={shlex.quote(asked.target)}" if asked.target else ""
        print(
            f"\nwrote {out}; correct it, then: python -m synthjax.launch.synthesize "
            f"--table={shlex.quote(asked.table)}{target} --schema={shlex.quote(str(out))} --out=DIR",
            flush=True,
        )


if __name__ == "__main__":
    define_flags()
    cli.run(main, __doc__)
