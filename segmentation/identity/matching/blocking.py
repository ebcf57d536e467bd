"""Which pairs of records are compared at all: those that agree in one of several keys.

Belongs here: keys, the choice among them, and the pairs they find. Does not belong here: scoring pairs (`scoring.py`).
A block (records with one key) that is too large says little and costs much, so it is left out; what it would have found
is mostly found by a narrower key.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from segmentation.identity.matching.kinds import Feature, skeleton
from segmentation.warehouse import Connection

#: Records of one block, at most.
BLOCK_LIMIT = 100
#: Pairs that all keys together may find: per record, and in any case.
PAIRS_PER_RECORD, PAIRS_ALWAYS = 4, 3_000_000

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeyCost:
    """How many pairs one key finds."""

    key: Key
    pairs: int


def possible_keys(features: Sequence[Feature], kinds: dict[str, str]) -> list[Key]:
    """Return every key worth trying: attributes alone, each two of them, and parts of names and dates.

    Args:
        features: Of the attributes.
        kinds: Kind of each attribute, by name.
    """
    single = [key for one in features for key in one.keys]
    keys: list[Key] = [(key,) for one in features for key in one.lone_keys]
    keys += [(a, b) for index, a in enumerate(single) for b in single[index + 1 :]]
    keys += _parts(kinds)
    keys += [(key,) for key in single]
    return list(dict.fromkeys(keys))


def _parts(kinds: dict[str, str]) -> list[Key]:
    def first(kind: str) -> str | None:
        return next((name for name, one in kinds.items() if one == kind), None)

    given, family, birth = first("given_name"), first("surname"), first("birth_date")
    keys: list[Key] = []
    if family and birth:
        keys += [(skeleton(family), f"{birth}_year"), (skeleton(family), f"{birth}_day")]
    if given and birth:
        keys += [(f"{given}_root", f"left({birth}, 6)"), (f"{given}_root", f"{birth}_day")]
    if given and family:
        keys += [
            (skeleton(family), f"{given}_root"),
            (skeleton(given), family),
            (f"least({given}, {family})", f"greatest({given}, {family})"),
        ]
    if given and family and birth:
        keys += [
            (f"left({given}, 1)", f"left({family}, 1)", birth),
            (f"left({given}, 3)", f"left({family}, 3)", f"{birth}_year"),
        ]
    return keys


def choose_keys(con: Connection, cleaned: str, keys: Sequence[Key], scale: float = 1.0) -> list[KeyCost]:
    """Return the keys that are worth their cost: the cheapest first, until they find enough pairs.

    Args:
        con: Any connection.
        cleaned: Table of cleaned records, or a sample of it.
        keys: Keys to choose from.
        scale: How many times more records there are in all.
    """
    records = int(con.execute(f"select count(*) from {cleaned}").fetchall()[0][0]) * scale
    budget = max(PAIRS_PER_RECORD * records, PAIRS_ALWAYS)
    costs = [KeyCost(key, _count_pairs(con, cleaned, key, scale)) for key in keys]
    chosen: list[KeyCost] = []
    spent = 0
    for cost in sorted(costs, key=lambda one: one.pairs):
        if cost.pairs > 0 and spent + cost.pairs <= budget:
            chosen.append(cost)
            spent += cost.pairs
    return chosen


def _count_pairs(con: Connection, cleaned: str, key: Key, scale: float) -> int:
    """Return how many pairs a key finds among ``scale`` times the records: blocks grow with it, pairs by its square."""
    limit = max(BLOCK_LIMIT / scale, 2)
    rows = con.execute(
        f"select coalesce(sum(n * (n - 1) // 2), 0)::bigint from (select count(*) as n from ("
        f"{_keyed(cleaned, key)}) group by block having count(*) between 2 and {limit})"
    ).fetchall()
    return int(rows[0][0] * scale**2)


def _keyed(cleaned: str, key: Key, extra: str = "") -> str:
    whole = " and ".join(f"({part}) is not null" for part in key)
    return f"select hash({', '.join(key)}) as block{extra} from {cleaned} where {whole}"


def write_pairs(con: Connection, cleaned: str, keys: Sequence[Key], target: str, *, new: str | None = None) -> None:
    """Write ``target``: every pair that a key finds, once, as ``join_key_l`` < ``join_key_r`` with ``match_key``.

    Args:
        con: Any connection.
        cleaned: Table of cleaned records.
        keys: Keys to find pairs by.
        target: Table to write; ``match_key`` is the position of the first key that finds the pair.
        new: Table with the ``record_id`` of new records; then only pairs with at least one of them are written.
    """
    con.execute(f"create or replace table {target} (join_key_l bigint, join_key_r bigint, match_key varchar)")
    fresh = f"record_id in (select record_id from {new})" if new else "true"
    con.execute("create or replace temp table found_pairs (a bigint, b bigint, position integer)")
    for position, key in enumerate(keys):
        con.execute(
            f"insert into found_pairs with keyed as ({_keyed(cleaned, key, f', record_id, {fresh} as is_new')}), "
            "blocks as (select block from keyed group by block "
            f"having count(*) between 2 and {BLOCK_LIMIT} and bool_or(is_new)), "
            "members as (select * from keyed semi join blocks using (block)) "
            f"select a.record_id, b.record_id, {position} from members as a join members as b "
            "on a.block = b.block and a.record_id < b.record_id where a.is_new or b.is_new"
        )
    con.execute(f"insert into {target} select a, b, min(position)::varchar from found_pairs group by a, b")
    con.execute("drop table found_pairs")
