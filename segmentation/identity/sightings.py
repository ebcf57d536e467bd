"""What runs have read of the sources: who was seen with whom, as integers, and how far each entity was read.

Belongs here: finding the rows that no run has read, and keeping what was found in them. Does not belong
here: what a row says (`observations.py`).

An entity is taken up where it was left only if all rows read before are still there, unchanged, and read
by the same rules; otherwise it is read anew. So the result never depends on how many runs it took.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from segmentation.identity.catalog import IdentifierRules
from segmentation.run import Run
from segmentation.sources.entities import ENTITIES, IDENTITY_COLUMNS
from segmentation.warehouse import Connection, count, literal

#: An entity is read anew when taking up has made its sightings this many times as many: then they are
#: put together again.
_MAX_GROWTH = 2


@dataclass(frozen=True, slots=True)
class Reading:
    """What is to be read of one entity now.

    Attributes:
        entity: Its name.
        is_anew: Nothing that was read before counts any more.
        rows: SQL condition on ``sources.<entity>`` for the rows to read; ``None`` where there are none.
        mark: What `identity.readings` has to say of the entity afterwards.
    """

    entity: str
    is_anew: bool
    rows: str | None
    mark: dict[str, Any]


def plan_readings(con: Connection, run: Run, rules: IdentifierRules, entities: Sequence[str]) -> list[Reading]:
    """Say what to read of each of the entities so that ``identity.sightings`` knows all rows by ``run.as_of``.

    Costs one scan of the columns that say who was seen; equal sums of the rows' hashes show that what was
    read before still stands. Sightings that count no more are removed.
    """
    _leave_older_form(con)
    known = _marks(con)
    filled = _filled(con, entities)
    readings = [_plan(con, run, rules, entity, known.get(entity), is_filled=entity in filled) for entity in entities]
    kept = [reading.entity for reading in readings if not reading.is_anew]
    con.execute(
        "delete from identity.sightings where kind_code in "
        "(select kind_code from identity.sighting_kinds where not list_contains($kept, entity))",
        {"kept": kept},
    )
    con.execute("delete from identity.readings where not list_contains($kept, entity)", {"kept": kept})
    return readings


def _leave_older_form(con: Connection) -> None:
    """Bring the tables of an earlier version, which counted useless rows with each sighting, into today's form."""
    for name in ("n_without_identifier", "n_oversized"):
        con.execute(f"alter table identity.sightings drop column if exists {name}")
    # What such a reading found is not known: its entity is read anew.
    con.execute("delete from identity.readings where rows_without_identifier is null")


def _marks(con: Connection) -> dict[str, dict[str, Any]]:
    """Return what `identity.readings` says of each entity that can be taken up."""
    # Node ids mean nothing without the registry that gave them.
    found = con.execute(
        "select * from identity.readings where registry_size <= (select count(*) from identity.registry)"
    )
    names = [column[0] for column in found.description]
    marks = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    sizes = _sizes(con)
    return {mark["entity"]: mark for mark in marks if sizes.get(mark["entity"], 0) <= _MAX_GROWTH * mark["n_sightings"]}


def _sizes(con: Connection) -> dict[str, int]:
    found = con.execute(
        "select k.entity, sum(s.n)::bigint from (select kind_code, count(*) as n from identity.sightings group by all) "
        "as s join identity.sighting_kinds as k using (kind_code) group by all"
    )
    return dict(found.fetchall())


def _filled(con: Connection, entities: Iterable[str]) -> set[str]:
    """Return the entities that have any row."""
    counts = " union all ".join(f"select {literal(name)}, count(*) from sources.{name}" for name in entities)
    return {name for name, rows in con.execute(counts).fetchall() if rows} if counts else set()


def _plan(
    con: Connection, run: Run, rules: IdentifierRules, entity: str, mark: dict[str, Any] | None, *, is_filled: bool
) -> Reading:
    rules_hash = _rules_hash(rules, entity)
    if mark is not None and (mark["rules_hash"] != rules_hash or mark["as_of"] > run.as_of):
        mark = None
    moment = ENTITIES[entity].event_time
    visible = f"{moment} <= {_timestamp(run.as_of)}"
    read = f"({moment} <= {_timestamp(mark['as_of'])} and file_id <= {mark['file_id']})" if mark else "false"
    row_count = content = read_count = read_content = file_id = 0
    if is_filled:
        row_count, content, read_count, read_content, file_id = con.execute(
            "select count(*), coalesce(sum(content), 0), count(*) filter (is_read), "
            "coalesce(sum(content) filter (is_read), 0), coalesce(max(file_id), 0) from "
            f"(select hash({', '.join(_content(rules, entity))}) as content, {read} as is_read, file_id "
            f"from sources.{entity} where {visible})"
        ).fetchall()[0]
    now = {
        "entity": entity,
        "rules_hash": rules_hash,
        "as_of": run.as_of,
        "file_id": file_id,
        "row_count": row_count,
        "content_hash": content,
        "rows_without_identifier": 0,
        "oversized_values": 0,
        "n_sightings": 0,
    }
    if mark is None or (mark["row_count"], mark["content_hash"]) != (read_count, read_content):
        return Reading(entity, is_anew=True, rows=visible if row_count else None, mark=now)
    now |= {name: mark[name] for name in ("rows_without_identifier", "oversized_values", "n_sightings")}
    rest = f"{visible} and not {read}" if row_count > read_count else None
    return Reading(entity, is_anew=False, rows=rest, mark=now)


def _rules_hash(rules: IdentifierRules, entity: str) -> str:
    """Fingerprint of everything that decides what a row of an entity says."""
    evidence = rules.entities[entity]
    parts = [
        rules.normalisation_hash,
        rules.default_region,
        rules.max_value_bytes,
        [evidence.first_seen, evidence.verified_by, evidence.evidence_by, sorted(evidence.evidence_tiers)],
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _content(rules: IdentifierRules, entity: str) -> list[str]:
    """Return the columns of an entity that a sighting is made of."""
    evidence, names = rules.entities[entity], ENTITIES[entity].column_names
    said = [evidence.first_seen, evidence.verified_by, evidence.evidence_by, "country" if "country" in names else None]
    return ["source", *IDENTITY_COLUMNS, ENTITIES[entity].event_time, *(name for name in said if name)]


def _timestamp(moment: datetime) -> str:
    return f"timestamp {literal(f'{moment}')}"


def note_readings(con: Connection, readings: Iterable[Reading], found: dict[str, tuple[int, int]]) -> None:
    """Write down how far each entity has been read, once its sightings are in ``identity.sightings``.

    Args:
        con: The warehouse.
        readings: What was planned, and has been done.
        found: By entity, in the rows read now: those without identifier, and values too long.
    """
    sizes, registry_size = _sizes(con), count(con, "identity.registry")
    con.execute("delete from identity.readings")
    marks = []
    for reading in readings:
        mark = reading.mark | {"registry_size": registry_size}
        without, oversized = found.get(reading.entity, (0, 0))
        mark["rows_without_identifier"] += without
        mark["oversized_values"] += oversized
        if reading.is_anew:
            mark["n_sightings"] = sizes.get(reading.entity, 0)
        marks.append(mark)
    if marks:
        row = f"({', '.join('?' for _ in marks[0])})"
        con.execute(
            f"insert into identity.readings ({', '.join(marks[0])}) values {', '.join(row for _ in marks)}",
            [value for mark in marks for value in mark.values()],
        )
