"""Tables that records are compared by: cleaned values, their frequencies, and keys that find pairs.

Belongs here: from raw attributes to columns. Does not belong here: what is made of an attribute (`kinds.py`), or which
keys are used (`blocking.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from segmentation.identity.matching.kinds import Feature
from segmentation.identity.matching.names import root_forms
from segmentation.warehouse import Connection

#: Values that fewer customers have than this are as good as unique: all of them count with their average frequency, and
#: none of them gets into a model, which outlives whoever is erased.
MIN_COUNT = 5
#: Values of a column whose frequency is kept, the most frequent ones.
MAX_VALUES = 2_000


@dataclass(frozen=True, slots=True)
class Frequencies:
    """How often values of one column occur among records that have one.

    Attributes:
        shares: Share of records by value, for frequent values.
        rare: Share of the records that one other value has, on average.
    """

    shares: Mapping[str, float]
    rare: float


def write_cleaned(con: Connection, relation: str, features: Sequence[Feature], target: str) -> None:
    """Write ``target``: ``record_id`` and the cleaned columns of every record.

    Args:
        con: Any connection; ``target`` is made where it points.
        relation: Table with ``record_id`` (bigint, unique) and one column per attribute, of its name.
        features: What to make of the attributes.
        target: Table to write.
    """
    columns = {name: sql for one in features for name, sql in one.columns.items()}
    selected = ", ".join(f"{sql} as {name}" for name, sql in columns.items())
    rooted = {column: root for one in features for column, root in one.rooted.items()}
    plain = f"select record_id, {selected} from {relation}"
    if not rooted:
        con.execute(f"create or replace table {target} as {plain}")
        return
    forms = root_forms()
    table = pa.table({"form": list(forms), "root": list(forms.values())})
    con.register("short_forms", table)
    roots = ", ".join(f"coalesce(f_{root}.root, c.{column}) as {root}" for column, root in rooted.items())
    joins = " ".join(f"left join short_forms as f_{root} on f_{root}.form = c.{col}" for col, root in rooted.items())
    con.execute(f"create or replace table {target} as with c as ({plain}) select c.*, {roots} from c {joins}")
    con.unregister("short_forms")


def count_frequencies(
    con: Connection, cleaned: str, features: Sequence[Feature], holders: str = ""
) -> dict[str, Frequencies]:
    """Return how often the values of each column occur whose frequency counts.

    Args:
        con: Where the cleaned records are.
        cleaned: Table of `write_cleaned`.
        features: Say which columns.
        holders: Table with the ``holder`` of each ``record_id``: of one holder's records each value counts once towards
            `MIN_COUNT`. Without it, or for a record that it lacks, a record is its own holder.
    """
    joined = f"{cleaned} left join {holders} using (record_id)" if holders else cleaned
    holder = "coalesce(holder, 'record ' || record_id)" if holders else "record_id"
    found = {}
    for column in frequency_columns(features):
        rows = con.execute(
            f"select {column}, count(*) as n from {joined} where {column} is not null group by 1 "
            f"having count(distinct {holder}) >= {MIN_COUNT} order by n desc, 1 limit {MAX_VALUES}"
        ).fetchall()
        total, distinct = con.execute(f"select count({column}), count(distinct {column}) from {cleaned}").fetchall()[0]
        others, other_values = total - sum(n for _, n in rows), distinct - len(rows)
        rare = others / other_values if other_values else 1
        found[column] = Frequencies({value: n / total for value, n in rows}, rare / max(total, 1))
    return found


def frequency_columns(features: Sequence[Feature]) -> tuple[str, ...]:
    """Return the columns whose values' frequencies count."""
    return tuple(dict.fromkeys(column for one in features for column in one.frequencies))


def write_features(con: Connection, cleaned: str, frequencies: Mapping[str, Frequencies], target: str) -> None:
    """Write ``target``: the cleaned columns, and ``tf_<column>`` with the frequency of each value that counts."""
    columns, joins = ["c.*"], []
    for column, known in frequencies.items():
        table = pa.table({"value": list(known.shares), "share": list(known.shares.values())}, schema=_SHARES)
        con.register(f"shares_{column}", table)
        share = f"coalesce(f_{column}.share, {known.rare!r}::double)"
        columns.append(f"case when c.{column} is not null then {share} end as tf_{column}")
        joins.append(f"left join shares_{column} as f_{column} on f_{column}.value = c.{column}")
    con.execute(
        f"create or replace table {target} as select {', '.join(columns)} from {cleaned} as c {' '.join(joins)}"
    )
    for column in frequencies:
        con.unregister(f"shares_{column}")


_SHARES = pa.schema([("value", pa.string()), ("share", pa.float64())])
