"""Linked tables with a planted dependence, for the tests beside this file."""

from pathlib import Path

import numpy as np
import pandas as pd

TINY = ("--batch_size=64", "--config.model.bins=24", "--config.model.embedding=6", "--config.model.hidden=12",
        "--config.model.learning_rate=0.01", "--config.model.warmup=10")  # fmt: skip
"""Flags of a model that compiles fast."""


def write_shop(folder: Path, n: int = 240) -> None:
    """customers.csv, and orders.csv with 0 ... 3 orders of each.

    An order's amount is ten times the customer's age, to within 10; it is bought after the customer joined. A tenth of
    the orders name no customer. Its country is a key to countries.csv.
    """
    rng = np.random.default_rng(0)
    age = rng.integers(20, 70, n)
    joined = np.datetime64("2021-01-01") + rng.integers(0, 300, n)
    customers = pd.DataFrame({"id": np.arange(1, n + 1), "age": age, "joined": joined.astype(str)})
    count = np.where(age < 45, 0, rng.integers(1, 4, n))
    of = np.repeat(np.arange(n), count)
    of = np.append(of, np.full(len(of) // 9, -1))
    bought = joined[of] + rng.integers(0, 200, len(of))
    orders = pd.DataFrame(
        {
            "order_id": [f"A-{i:05d}" for i in rng.permutation(len(of))],
            "customer_id": pd.array(np.where(of < 0, -1, of + 1), "Int64"),
            "country": rng.choice(["DE", "FR", "IT"], len(of), p=[0.5, 0.3, 0.2]),
            "amount": np.round(10 * age[of] + rng.uniform(-10, 10, len(of)), 1),
            "bought": bought.astype(str),
        }
    )
    orders["customer_id"] = orders["customer_id"].where(of >= 0)
    folder.mkdir(parents=True, exist_ok=True)
    customers.to_csv(folder / "customers.csv", index=False)
    orders.sample(frac=1, random_state=0).to_csv(folder / "orders.csv", index=False)
    pd.DataFrame({"code": ["DE", "FR", "IT"], "continent": "Europe"}).to_csv(folder / "countries.csv", index=False)


def write_accounts(folder: Path, n: int = 120) -> None:
    """accounts.csv, whose rows may name another one, and transfers.csv from one account to another."""
    rng = np.random.default_rng(0)
    of = np.where(np.arange(n) < n // 2, 0, rng.integers(1, n // 2 + 1, n))
    accounts = pd.DataFrame(
        {"id": np.arange(1, n + 1), "opened_by": pd.array(of, "Int64"), "level": rng.integers(1, 4, n)}
    )
    accounts["opened_by"] = accounts["opened_by"].where(of > 0)
    sender = rng.integers(1, n + 1, 3 * n)
    receiver = (sender + rng.integers(1, n, 3 * n) - 1) % n + 1
    transfers = pd.DataFrame({"from_id": sender, "to_id": receiver, "amount": rng.integers(1, 9, 3 * n)})
    folder.mkdir(parents=True, exist_ok=True)
    accounts.to_csv(folder / "accounts.csv", index=False)
    transfers.drop_duplicates(["from_id", "to_id"]).to_csv(folder / "transfers.csv", index=False)
