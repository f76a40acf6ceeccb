"""Says what a table holds before anything is trained, and writes it down to be corrected.

    python -m synthjax.launch.describe --table=trips.csv
    python -m synthjax.launch.describe --table=trips.csv --target=paid --out=schema.yaml
    python -m synthjax.launch.describe --table=customers.csv --table=orders.csv --out=linked.yaml

prints the kind of each column and what is kept back of it, the rules between columns that training rows and holdout
rows keep, and what the rows alone do not settle, with the line that does. --out writes all of it into a schema file;
correct it and give it to `synthesize` or `train` as --schema. With --schema, a file of yours is checked against the
rows, and --out adds to it what it does not say.

Of several tables it prints the keys that may link them: those that are sure, since all cells are found and the names
agree, and those that may be chance, with cells that are not found. --out writes the sure ones.
"""

import shlex
import sys
from pathlib import Path

from absl import flags

from synthjax import data, files
from synthjax.errors import InputError
from synthjax.launch import cli


def define_flags() -> None:
    """Defines the flags of this launcher."""
    flags.DEFINE_multi_string(
        "table", [], "A .csv or .parquet file, or a name (adult, breast_cancer, ...); several: keys between them."
    )
    flags.DEFINE_string("data_dir", None, "Folder with the data set's files (default: $SYNTHJAX_DATA_DIR).")
    flags.DEFINE_string("target", None, "The column to predict (default: none of a file).")
    flags.DEFINE_string("test", None, "Another file with the test rows (default: a fifth of the table's).")
    flags.DEFINE_string("schema", None, "A YAML or JSON file that corrects what is inferred.")
    flags.DEFINE_integer("min_count", 5, "Fewest rows that must share a value for it to be released.", 1)
    flags.DEFINE_bool("rules", True, "Whether to look for rules between columns, where --schema lists none.")
    flags.DEFINE_string("out", None, "Where the schema file is written (default: nowhere).")


def describe_keys(tables: list[str], data_dir: str | None, out: Path | None) -> None:
    """Prints the keys that may link tables, and writes those that are sure into a file.

    Raises:
        InputError: a table cannot be read.
    """
    from synthjax.launch import linked_files

    for name in ("target", "test", "schema"):
        if flags.FLAGS[name].present:
            raise InputError(f"--{name}: is for one table; leave it out")
    readers = linked_files.open_tables(tables, data_dir)
    cells = {name: linked_files.read_cells(reader) for name, reader in readers.items()}
    for name, table in cells.items():
        print(f"{name}: {len(table):,} rows, {len(table.column_names)} columns", flush=True)
    found = linked_files.candidates(cells)
    for sure, title in ((True, "keys:"), (False, "perhaps keys; write those that hold below `keys:`")):
        if some := [one for one in found if one.sure is sure]:
            print(title, *(f"{one.key}    # {one.why}" for one in some), sep="\n  ", flush=True)
    if not found:
        print("no key was found: no column names the rows of another table", flush=True)
    if out:
        why = {one.key: one.why for one in found}
        files.write(out, linked_files.to_yaml([one.key for one in found if one.sure], why))
        flagged = " ".join(f"--table={shlex.quote(table)}" for table in tables)
        print(
            f"\nwrote {out}; correct it, then: python -m synthjax.launch.synthesize {flagged} "
            f"--schema={shlex.quote(str(out))} --out=DIR",
            flush=True,
        )


def main() -> None:
    """Describes the table; see the module's docstring."""
    asked = flags.FLAGS
    if not asked.table:
        raise InputError("--table: name one, such as --table=customers.csv")
    out = asked.out and files.path(asked.out)
    if out and out.suffix not in (".yaml", ".yml"):
        raise InputError(f"--out={asked.out}: a name that ends in .yaml is needed")
    if out and out.exists():
        raise InputError(f"--out={asked.out}: is there already; give another name")
    if len(asked.table) > 1:
        describe_keys(asked.table, asked.data_dir, out)
        return
    (table,) = asked.table
    how = {name: getattr(asked, name) for name in ("test", "target", "schema", "min_count", "rules")}
    described = data.describe(table, asked.data_dir, **how)
    print(described.report(most=sys.maxsize), flush=True)
    if doubts := described.doubts():
        print("uncertain; lines go below `columns:` in a schema file:", *doubts, sep="\n  ", flush=True)
    if out:
        files.write(out, described.to_yaml(table))
        target = f" --target={shlex.quote(asked.target)}" if asked.target else ""
        print(
            f"\nwrote {out}; correct it, then: python -m synthjax.launch.synthesize "
            f"--table={shlex.quote(table)}{target} --schema={shlex.quote(str(out))} --out=DIR",
            flush=True,
        )


if __name__ == "__main__":
    define_flags()
    cli.run(main, __doc__)
