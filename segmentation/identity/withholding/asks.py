"""What consent the landed files ask for: the catalog's mappings, file by file.

Belongs here: which purposes, for which rows and columns of which file. Does not belong here: the shape of a mapping
(`segmentation/sources/feeds.py`), or what people decided (`timelines.py`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from segmentation.identity.purposes import Purposes
from segmentation.sources.entities import PARTS
from segmentation.sources.feeds import SourceMapping
from segmentation.warehouse import Connection

_COLUMNS = {
    "source": pa.string(),
    "entity": pa.string(),
    "mapping_hash": pa.string(),
    "field": pa.string(),
    "place": pa.int32(),
    "purpose": pa.string(),
    "loads_undecided": pa.bool_(),
}


@dataclass(frozen=True, slots=True)
class Ask:
    """One purpose that must be allowed.

    Attributes:
        source: Source of the mapping.
        entity: The entity that it fills.
        mapping_hash: What the ledger knows the way of reading by.
        field: The column that is asked for; empty for the whole row.
        place: Its place among the purposes asked for the same.
        purpose: The purpose.
        loads_undecided: Whether somebody who has decided nothing may be loaded.
    """

    source: str
    entity: str
    mapping_hash: str
    field: str
    place: int
    purpose: str
    loads_undecided: bool


def find_asks(mappings: Iterable[SourceMapping], purposes: Purposes) -> tuple[Ask, ...]:
    """Return everything that the mappings ask; purposes whose lawful basis is not consent are nobody's to refuse."""
    return tuple(
        Ask(
            mapping.source,
            entity.entity,
            feed.hash_of(entity, mapping.source),
            name,
            place,
            purpose,
            asked.undecided == "load",
        )
        for mapping in mappings
        for feed in mapping.feeds
        for entity in feed.entities
        for name, asked in entity.asked.items()
        for place, purpose in enumerate(asked.purposes)
        if purpose not in purposes.unconditional
    )


def write_asks(con: Connection, asks: Iterable[Ask], purposes: Purposes) -> None:
    """Write temporary tables ``asks``, one row per file of the candidate and purpose, and ``asked_lineage``.

    ``asks(file_id, source, entity, field, place, purpose, loads_undecided)``; ``asked_lineage(asked, purpose)`` holds
    of each asked purpose the purposes that a decision about it may name, which are itself and those above it.
    """
    rows = list(asks)
    columns = {name: pa.array([getattr(ask, name) for ask in rows], kind) for name, kind in _COLUMNS.items()}
    con.register("asks_given", pa.table(columns))
    con.execute(
        "create or replace temp table asks as select f.file_id, a.* exclude (mapping_hash) from asks_given as a "
        "join sources.candidate_files as f on f.source = a.source and f.entity = a.entity "
        "and f.mapping_hash = a.mapping_hash and f.status = 'staged'"
    )
    con.unregister("asks_given")
    # A purpose that the catalog does not know was never granted.
    lineage = [
        (asked, purpose)
        for asked in sorted({ask.purpose for ask in rows})
        for purpose in (purposes.lineage(asked) if asked in purposes.by_name else (asked,))
    ]
    asked, above = (pa.array([pair[place] for pair in lineage], pa.string()) for place in (0, 1))
    con.register("lineage_given", pa.table({"asked": asked, "purpose": above}))
    con.execute("create or replace temp table asked_lineage as select * from lineage_given")
    con.unregister("lineage_given")


def parted_sources(asks: Iterable[Ask]) -> Iterator[tuple[str, str, str]]:
    """Yield the parts of entities whose rows are asked for: entity of the part, source, first purpose asked."""
    asks = tuple(asks)
    for part, (whole, _) in PARTS.items():
        asked = {ask.source: ask.purpose for ask in reversed(asks) if (ask.entity, ask.field) == (whole, "")}
        yield from ((part, source, purpose) for source, purpose in sorted(asked.items()))
