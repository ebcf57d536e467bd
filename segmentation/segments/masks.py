"""Memberships as bits: every segment has a place, and a customer's memberships are one bit each.

Belongs here: places, the SQL that tests and sets their bits, and the published masks. Does not belong here: who
is in a segment (``decisions.py``) and what that changes (``changes.py``). Sets of segments are compared a machine
word at a time, which is several times cheaper than comparing rows of names.

Places are numbered by the names of the segments, so that the bits of a customer stand in the order of the log.
``segments.masks`` with ``segments.places`` is a second form of ``segments.membership``, published with it; where
the two do not agree, the masks are made anew from the membership.
"""

from collections.abc import Mapping, Sequence

from segmentation.warehouse import Connection, table_exists

#: Places per machine word; the sign bit stays free.
WORD_BITS = 63

# No row of the published masks is lost: a customer who has no features any more leaves.
_FROM_MEMBERSHIP = """
create or replace temp table segments_published as
select m.customer_id, {words}
from segments.membership as m inner join segments_published_places as p on m.segment_key = p.segment_key
group by m.customer_id
"""

_FROM_MASKS = """
create or replace temp table segments_published as
select customer_id, {words} from segments.masks where {held}
"""


def word_count(places: int) -> int:
    """Return how many words hold that many places; at least one."""
    return max(-(-places // WORD_BITS), 1)


def bits_of(places: Sequence[int], words: int) -> list[int]:
    """Return the words in which exactly these places are set."""
    found = [0] * words
    for place in places:
        found[place // WORD_BITS] |= 1 << (place % WORD_BITS)
    return found


def words_sql(conditions: Mapping[int, str], words: int) -> list[str]:
    """Return an expression per word that sets the bit of each place whose condition is true."""
    terms: list[list[str]] = [[] for _ in range(words)]
    for place, condition in conditions.items():
        bit = 1 << (place % WORD_BITS)
        terms[place // WORD_BITS].append(f"case when {condition} then {bit}::bigint else 0 end")
    return [" | ".join(of_word) or "0::bigint" for of_word in terms]


def has_bit_sql(names: Sequence[str], place: str) -> str:
    """Return the condition that the words ``names`` contain the place that row ``place`` of a table of places is."""
    word = names[0]
    if len(names) > 1:
        word = f"case {place}.word {' '.join(f'when {number} then {name}' for number, name in enumerate(names))} end"
    return f"({word}) & {place}.bit <> 0"


def any_bit_sql(names: Sequence[str]) -> str:
    """Return the condition that any place of the words ``names`` is set."""
    return "(" + " or ".join(f"{name} <> 0" for name in names) + ")"


def count_bits_sql(names: Sequence[str]) -> str:
    """Return an expression for how many places of the words ``names`` are set."""
    return "(" + " + ".join(f"bit_count({name})::bigint" for name in names) + ")"


def bits_before_sql(names: Sequence[str], place: str) -> str:
    """Return an expression for how many places of the words ``names`` are set before the place of row ``place``."""
    terms = [
        f"case when {place}.word > {number} then bit_count({name})::bigint "
        f"when {place}.word = {number} then bit_count({name} & ({place}.bit - 1))::bigint else 0 end"
        for number, name in enumerate(names)
    ]
    return "(" + " + ".join(terms) + ")"


def find_published(con: Connection, places: Mapping[str, int]) -> None:
    """Write temp table ``segments_published``: the published membership as masks, its words ``member_0`` and on.

    Args:
        con: The warehouse.
        places: Place by segment; every segment with published members has one.
    """
    words = word_count(len(places))
    held = held_places(con)
    if held is None:
        con.execute("create or replace temp table segments_published_places (segment_key varchar, place integer)")
        if places:
            con.executemany(
                "insert into segments_published_places values (?, ?)", [list(one) for one in places.items()]
            )
        expressions = [
            f"bit_or(case when p.place // {WORD_BITS} = {word} then 1::bigint << (p.place % {WORD_BITS}) else 0 end)"
            for word in range(words)
        ]
        con.execute(_FROM_MEMBERSHIP.format(words=_named(expressions)))
        return
    names = [f"member_{word}" for word in range(word_count(len(held)))]
    kept = {key: place for key, place in held.items() if key in places}
    if all(places[key] == place for key, place in kept.items()) and len(names) == words:
        expressions = names
    else:
        moved = {
            places[key]: f"{names[place // WORD_BITS]} & {1 << (place % WORD_BITS)} <> 0" for key, place in kept.items()
        }
        expressions = words_sql(moved, words)
    con.execute(_FROM_MASKS.format(words=_named(expressions), held=any_bit_sql(names)))


def held_places(con: Connection) -> dict[str, int] | None:
    """Return the places of the published masks; ``None`` where the masks are not those of the membership.

    They are not where an older version published last, or where somebody changed the membership by hand.
    """
    if not (table_exists(con, "segments", "masks") and table_exists(con, "segments", "places")):
        return None
    held: dict[str, int] = dict(
        con.execute(
            "select segment_key, place from segments.places where publication_seq = "
            "(select max(publication_seq) from segments.publications) order by place"
        ).fetchall()
    )
    if not held:
        return None
    sizes = ", ".join(
        f"count_if(member_{place // WORD_BITS} & {1 << (place % WORD_BITS)} <> 0)" for place in held.values()
    )
    counted = con.execute(f"select {sizes} from segments.masks").fetchall()[0]
    by_mask = {key: size for key, size in zip(held, counted, strict=True) if size}
    by_row = dict(con.execute("select segment_key, count(*) from segments.membership group by 1").fetchall())
    return held if by_mask == by_row else None


def _named(expressions: Sequence[str]) -> str:
    return ", ".join(f"{expression} as member_{word}" for word, expression in enumerate(expressions))
