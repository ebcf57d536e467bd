"""How segments overlap: pair by pair, and which combinations of them customers are in.

Belongs here: counting over the published masks. Does not belong here: ratios, which the mart
``fct_segment_overlaps`` adds, and pictures. Customers who are in the same segments are counted as one row first, so
that the cost follows the number of different combinations and not that of customers times pairs.

Two kinds of overlap are counted: of members, and of claims, which is what rules and lists ask for before precedence
decides within an exclusive group. Members of one group never overlap; their claims show where precedence decides.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from segmentation.run import Run
from segmentation.segments.masks import WORD_BITS, word_count
from segmentation.warehouse import Connection, transaction

#: Combinations that are looked at in one go.
_BATCH = 65_536

_INSERT = """
insert into segments.overlaps
select
    pairs.segment_key, pairs.other_segment_key, pairs.members, pairs.other_members, pairs.shared, pairs.claims,
    pairs.other_claims, pairs.shared_claims, $run_id, $recorded_at
from segments_overlap_pairs as pairs
"""


@dataclass(frozen=True, slots=True)
class Combination:
    """Customers who are in exactly these segments."""

    segment_keys: tuple[str, ...]
    customers: int


def measure_overlaps(con: Connection, run: Run) -> int:
    """Write ``segments.overlaps``, one row per pair of segments in force; return how many.

    Args:
        con: The warehouse, whose masks are those of the published membership.
        run: The run that published.
    """
    places = _places(con)
    keys = list(places)
    members, claims = np.zeros((2, len(keys), len(keys)), dtype=np.float64)
    words = word_count(max(places.values(), default=0) + 1)
    columns = ", ".join(f"{part}_{word}" for part in ("member", "claimed") for word in range(words))
    if keys:
        query = f"select {columns}, count(*)::double as customers from segments.masks group by all"
        for batch in con.sql(query).to_arrow_reader(_BATCH):
            customers = batch.column("customers").to_numpy(zero_copy_only=False)
            members += _shared(_held(batch, "member", places), customers)
            claims += _shared(_held(batch, "claimed", places), customers)
    pairs = [(one, other) for one in range(len(keys)) for other in range(one + 1, len(keys))]
    table = pa.table(
        {
            "segment_key": pa.array([keys[one] for one, _ in pairs], pa.string()),
            "other_segment_key": pa.array([keys[other] for _, other in pairs], pa.string()),
            **_figures(members, pairs, ("members", "other_members", "shared")),
            **_figures(claims, pairs, ("claims", "other_claims", "shared_claims")),
        }
    )
    with transaction(con):
        con.register("segments_overlap_pairs", table)
        con.execute("delete from segments.overlaps")
        con.execute(_INSERT, {"run_id": run.run_id, "recorded_at": run.recorded_at})
        con.unregister("segments_overlap_pairs")
    return len(pairs)


def largest_combinations(con: Connection, limit: int = 20) -> list[Combination]:
    """Return the combinations of segments that most customers are in, the largest first."""
    places = _places(con)
    if not places:
        return []
    columns = ", ".join(f"member_{word}" for word in range(word_count(max(places.values()) + 1)))
    found = con.execute(
        f"select {columns}, count(*) as customers from segments.masks group by {columns} "
        f"order by customers desc, {columns} limit {limit:d}"
    ).fetchall()
    return [
        Combination(
            tuple(key for key, place in places.items() if row[place // WORD_BITS] >> (place % WORD_BITS) & 1), row[-1]
        )
        for row in found
    ]


def _places(con: Connection) -> dict[str, int]:
    """Return the place of every segment in force, in the order of the keys."""
    return dict(
        con.execute(
            "select p.segment_key, p.place from segments.places as p "
            "inner join segments.catalog as c on p.segment_key = c.segment_key where c.is_evaluated order by 1"
        ).fetchall()
    )


def _held(batch: pa.RecordBatch, part: str, places: dict[str, int]) -> npt.NDArray[np.float64]:
    """Return a row per combination and a column per segment: 1 where it is in it."""
    words = {place // WORD_BITS for place in places.values()}
    of_word = {word: batch.column(f"{part}_{word}").to_numpy(zero_copy_only=False) for word in words}
    columns = [(of_word[place // WORD_BITS] >> (place % WORD_BITS)) & 1 for place in places.values()]
    return np.stack(columns, axis=1).astype(np.float64)


def _shared(held: npt.NDArray[np.float64], customers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return customers per pair of segments; exact, as long as they are fewer than 2 to the 53rd."""
    return (held * customers[:, None]).T @ held


def _figures(
    counted: npt.NDArray[np.float64], pairs: list[tuple[int, int]], names: tuple[str, str, str]
) -> dict[str, pa.Array]:
    found = (
        [counted[one, one] for one, _ in pairs],
        [counted[other, other] for _, other in pairs],
        [counted[one, other] for one, other in pairs],
    )
    return {
        name: pa.array([int(value) for value in values], pa.int64()) for name, values in zip(names, found, strict=True)
    }
