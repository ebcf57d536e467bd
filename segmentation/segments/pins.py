"""Pins: membership that people hold a segment to, whatever its rule says.

Belongs here: what a pin is, which are in force, and whom they hold in a candidate. Does not belong here: making and
ending them (``pin_decisions.py``), or what membership they restore (``moments.py``). A pin replaces a segment's rule
and its lists by a set: that of a freeze is who was in it, that of a rollback who was in it at an earlier publication,
that of a kill is empty. Consent, residency and erasure keep customers out of it as they do out of a rule.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from segmentation.segments.catalog import Catalog
from segmentation.segments.catalog_checks import needed_segments
from segmentation.segments.rivalry import connect_groups
from segmentation.warehouse import Connection, table_exists

_COLUMNS = (
    "pin_id, segment_key, kind, author, reason, publication_seq, held_as_of, held_version, members, started_at, "
    "ended_at, ended_by, ended_reason"
)

#: Kinds as people say them.
WORDS = {"freeze": "frozen", "kill": "emptied", "rollback": "rolled back"}

_PINS = """
create or replace table segments.candidate_pins as
select
    coalesce(p.segment_key, c.segment_key) as segment_key,
    p.pin_id,
    p.kind,
    c.pin_id as published_pin_id,
    list_contains($live::varchar[], coalesce(p.segment_key, c.segment_key)) as is_live,
    is_live and p.pin_id is distinct from c.pin_id as is_changed
from (select * from segments.pins where ended_at is null) as p
full join (select * from segments.catalog where pin_id is not null) as c on p.segment_key = c.segment_key
"""

# Two ids of a pin may have become one customer since.
_PINNED = """
create or replace table segments.candidate_pinned as
select distinct p.segment_key, coalesce(a.customer_id, m.customer_id) as customer_id
from segments.candidate_pins as p
inner join segments.pin_members as m on p.pin_id = m.pin_id
left join identity.customer_aliases as a on m.customer_id = a.old_customer_id
"""


# A segment whose rule can't be read any more is held to its published members, as if it were frozen: those whom a list
# keeps out since are out.
_KEPT = """
insert into segments.candidate_pinned
select distinct m.segment_key, coalesce(a.customer_id, m.customer_id) as customer_id
from segments.membership as m
left join identity.customer_aliases as a on m.customer_id = a.old_customer_id
anti join (select * from segments.candidate_overrides where side = 'exclude' and status = 'applied') as o
    on m.segment_key = o.segment_key and coalesce(a.customer_id, m.customer_id) = o.customer_id
where list_contains($kept::varchar[], m.segment_key)
"""


@dataclass(frozen=True, slots=True)
class Pin:
    """What holds one segment.

    Attributes:
        pin_id: Its name, as in the audit log.
        segment_key: The segment.
        kind: ``freeze``, ``kill`` or ``rollback``.
        author: Who decided it.
        reason: Why.
        publication_seq: Publication whose members it holds; ``None`` for a kill.
        held_as_of: The moment that this publication describes.
        held_version: The version in force then.
        members: How many were members then, those erased since included.
        started_at: When it was decided, UTC.
        ended_at: When it was ended; ``None`` while it is in force.
        ended_by: Who ended it.
        ended_reason: Why.
    """

    pin_id: str
    segment_key: str
    kind: str
    author: str
    reason: str
    publication_seq: int | None
    held_as_of: datetime | None
    held_version: int | None
    members: int
    started_at: datetime
    ended_at: datetime | None = None
    ended_by: str | None = None
    ended_reason: str | None = None

    @property
    def sentence(self) -> str:
        """What holds the segment, by whom, since when and why."""
        to = ""
        if self.kind == "rollback":
            to = f" to publication {self.publication_seq}, as of {self.held_as_of:%Y-%m-%d %H:%M}"
        return f"{WORDS[self.kind]}{to} by {self.author} since {self.started_at:%Y-%m-%d %H:%M} because {self.reason}"


@dataclass(frozen=True, slots=True)
class PinsInForce:
    """The pins that a candidate heeds.

    Attributes:
        kinds: Kind of pin by segment, of segments that can have members; ``freeze``, without a pin, where the rule
            can't be read any more.
        pin_ids: Pin by segment.
        changed: Segments whose pin began, ended or was replaced since the last publication.
        disturbed: Segments that may change because of that: ``changed`` and what depends on them or their groups.
        sheltered: Segments whose size depends on a pin, or on its end, though none holds them: those of its group,
            those that ask about it. Guards do not count whom a pin moved there.
        released: Segments that a pin held in the last publication and none holds now.
    """

    kinds: Mapping[str, str]
    pin_ids: Mapping[str, str]
    changed: frozenset[str]
    disturbed: frozenset[str]
    sheltered: frozenset[str]
    released: frozenset[str]


#: What there is without pins.
NONE = PinsInForce({}, {}, frozenset(), frozenset(), frozenset(), frozenset())


def read_pins(con: Connection, *, every: bool = False) -> list[Pin]:
    """Return the pins in force, or every pin there ever was, the newest first."""
    if not table_exists(con, "segments", "pins"):
        return []
    rows = con.execute(
        f"select {_COLUMNS} from segments.pins where ended_at is null or ? "
        "order by started_at desc, try_cast(pin_id[4:] as bigint) desc",
        [every],
    ).fetchall()
    return [Pin(*row) for row in rows]


def find_pin(con: Connection, segment_key: str) -> Pin | None:
    """Return the pin that is in force for a segment."""
    return next((pin for pin in read_pins(con) if pin.segment_key == segment_key), None)


def published_pins(con: Connection) -> dict[str, Pin]:
    """Return the pins that the last publication heeded, by segment, also those that were ended since."""
    held = {row[0] for row in con.execute("select pin_id from segments.catalog where pin_id is not null").fetchall()}
    return {pin.segment_key: pin for pin in read_pins(con, every=True) if pin.pin_id in held} if held else {}


def write_pin(con: Connection, pin: Pin) -> None:
    """Write a pin in place of its earlier form."""
    con.execute("delete from segments.pins where pin_id = ?", [pin.pin_id])
    con.execute(
        f"insert into segments.pins ({_COLUMNS}) values ({', '.join('?' * 13)})",
        [
            pin.pin_id, pin.segment_key, pin.kind, pin.author, pin.reason, pin.publication_seq, pin.held_as_of,
            pin.held_version, pin.members, pin.started_at, pin.ended_at, pin.ended_by, pin.ended_reason,
        ],
    )  # fmt: skip


def resolve_pins(con: Connection, catalog: Catalog, live: Collection[str]) -> PinsInForce:
    """Write ``segments.candidate_pins`` and ``candidate_pinned``: what holds which segment now, and whom.

    A segment whose rule can't be read any more is held to whom it has. Merged customers are those that they were merged
    into. Who was erased is in neither.

    Args:
        con: The warehouse, within the transaction that decides.
        catalog: The catalog.
        live: Segments that can have members; a pin of another one holds nobody, because nobody can be in it.
    """
    con.execute(_PINS, {"live": sorted(live)})
    con.execute(_PINNED)
    rows = con.execute(
        "select segment_key, pin_id, kind, is_changed, is_live from segments.candidate_pins order by segment_key"
    ).fetchall()
    kinds = {key: kind for key, pin_id, kind, _, is_live in rows if pin_id is not None and is_live}
    kept = sorted(key for key in live if catalog.segments[key].is_unreadable and key not in kinds)
    if kept:
        con.execute(_KEPT, {"kept": kept})
    if not rows:
        return replace(NONE, kinds=dict.fromkeys(kept, "freeze"))
    changed = frozenset(key for key, _, _, is_changed, _ in rows if is_changed)
    near, released = changed | kinds.keys(), changed - kinds.keys()
    return PinsInForce(
        kinds={**kinds, **dict.fromkeys(kept, "freeze")},
        pin_ids={key: pin_id for key, pin_id, _, _, _ in rows if key in kinds},
        changed=changed,
        disturbed=frozenset(changed | _dependents(catalog, changed)),
        sheltered=frozenset((_grouped(catalog, near) - released) | _dependents(catalog, near)) - kinds.keys(),
        released=released,
    )


def _grouped(catalog: Catalog, keys: Collection[str]) -> set[str]:
    """Return the segments that are decided with one of ``keys``, in its exclusive groups and over them; all of them."""
    ranks = {key: segment.definition.ranks for key, segment in catalog.segments.items()}
    connected = connect_groups(ranks.values())
    groups = {one for key in keys for group in ranks.get(key, ()) for one in connected[group]}
    return {key for key, found in ranks.items() if groups & found.keys()}


def _dependents(catalog: Catalog, keys: Collection[str]) -> set[str]:
    """Return the segments that ask about one of ``keys``, or about a group that it is in, or about such a one."""
    moved = set(keys)
    for level in catalog.levels:
        found = {
            key for key in level if moved & needed_segments(catalog.segments[key], catalog.segments, catalog.groups)
        }
        # Whom a segment of a group loses, another one of the group may win.
        moved |= found | _grouped(catalog, found)
    return moved - set(keys)
