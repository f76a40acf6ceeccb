"""Membership attacks on linked tables by person: a record is a topmost parent with aggregates of all rows below it.

Rows of a child table do not stand for anybody. So the attacks of `synthjax.evals.privacy` are aimed at topmost parents:
members are those of the training set, others those that no model has seen, of which one half is attacked and the other
is what the attacker knows. All attacks together are corrected by Holm.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from synthjax.evals import encoders
from synthjax.evals.linked import Family, aggregated, compared
from synthjax.evals.privacy import Attacker, attacked_rows, protocol
from synthjax.evals.privacy.summary import findings
from synthjax.evals.report.linked import OfPersons
from synthjax.evals.table import from_frames

if TYPE_CHECKING:
    import pandas as pd

SETS = ("train", "unseen", "reference", "synthetic")
"""Members, others, what the attacker knows, and what is judged."""
LEAST = 10
"""Topmost parents of each of these, at least."""


def judge(
    table: str,
    families: Mapping[str, Mapping[str, Family]],
    kinds: Mapping[str, Mapping[str, str]],
    *,
    seed: int = 0,
) -> OfPersons | None:
    """Attacks the rows of a topmost table; None: there are too few, or nothing to compare.

    Args:
        table: its name.
        families: table below it -> set of SETS -> the topmost parents, which are the same for all, and the rows of
            that table with the topmost parent of each.
        kinds: table -> column -> kind, of all these tables; see `Schema.comparable_kinds`.
        seed: of subsamples and relabellings.
    """
    frames, types = records(table, families, kinds)
    if not types or min(len(frame) for frame in frames.values()) < LEAST:
        return None
    tables = from_frames(frames, types)
    encode = encoders.metric(tables["train"])
    vectors = {name: encode(rows) for name, rows in tables.items()}
    attacked = attacked_rows(len(tables["train"]), len(tables["unseen"]), seed=seed)
    found, *_ = protocol.membership(vectors, attacked, Attacker(seed=seed), tables)
    tests = findings(found["p"])
    return OfPersons(
        table=table,
        below=list(families),
        members=found["n_members"],
        others=found["n_others"],
        auc=found["auc"],
        auc_interval=found["auc_interval"],
        by_chance=found["chance"]["auc"]["q95"],
        found=found["tpr_at_fpr_1pct"],
        found_by_chance=found["chance"]["tpr_at_fpr_1pct"]["mean"],
        best=found["best"]["auc"],
        flagged=tests["flagged"],
        p=min(tests["holm"].values()),
    )


def records(
    table: str, families: Mapping[str, Mapping[str, Family]], kinds: Mapping[str, Mapping[str, str]]
) -> tuple[dict[str, "pd.DataFrame"], dict[str, str]]:
    """Topmost parents with aggregates of the rows below them, by set; and the kinds of these columns. See `judge`."""
    frames: dict[str, pd.DataFrame] = {}
    types: dict[str, str] = {}
    for name, of in families.items():
        above = compared(kinds[table], [one.parents for one in of.values()])
        found, known = aggregated(of, above, compared(kinds[name], [one.children for one in of.values()]))
        added = {column: f"{name}: {column}" for column in known if column not in above}
        types |= {added.get(column, column): kind for column, kind in known.items()}
        for side, frame in found.items():
            new = frame.rename(columns=added)
            frames[side] = frames[side].join(new[[*added.values()]]) if side in frames else new
    return frames, types
