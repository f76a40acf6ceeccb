"""Customers of an imaginary shop, and tables in files."""

import numpy as np
import pandas as pd
import pyarrow as pa

from synthjax.data.readers import open_table

N = 400


def people(n=N, seed=0):
    """Rows of an imaginary shop's customers."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 90, n)
    return pd.DataFrame(
        {
            "customer_id": [f"C{i:05d}" for i in rng.permutation(n)],
            "age": age,
            "spent": np.round(np.exp(rng.normal(3, 1, n)), 2),
            "town": np.where(rng.random(n) < 0.1, None, rng.choice(["Ayr", "Bath, Avon", 'the "Wells"'], n)),
            "since": rng.choice(pd.date_range("2010-01-01", "2020-12-31").strftime("%d/%m/%Y"), n),
            "note": [f"called on day {i} about a thing" for i in range(n)],
            "churned": np.where(age + rng.normal(0, 10, n) > 50, "yes", "no"),
        }
    )


def write(folder, content, name="t.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path, **options):
    """All cells of a table, and the row numbers."""
    chunks = list(open_table(path, **options).chunks())
    rows = np.concatenate([chunk.rows for chunk in chunks])
    np.testing.assert_array_equal(rows, np.arange(len(rows)))
    return pa.concat_tables([chunk.cells for chunk in chunks]).to_pydict(), len(chunks)
