"""What a pin does in a candidate: who comes back, who leaves, who can't come back, and what moves with it.

Belongs here: reading that off the candidate's tables, before or after they are published. Does not belong here: the
decision (``pin_decisions.py``), and what happened since outside of the warehouse (``sync/side_effects.py``).
"""

from dataclasses import asdict, dataclass
from datetime import datetime

from segmentation.contracts import ensure_schema
from segmentation.identity.rule_book import Signature
from segmentation.run import Run
from segmentation.segments.candidate import write_candidate
from segmentation.segments.catalog import Catalog
from segmentation.segments.pin_decisions import URGENT, Decision, decide_pin
from segmentation.segments.rivalry import ranks_sql
from segmentation.warehouse import Connection, literal, scalar

#: Why a customer whom a pin names is not a member, in words.
OBSTACLES = {
    "erased": "erased since",
    "unknown": "no customer with features any more",
    "consent": "a required purpose is not allowed now",
    "new_consent": "allows all purposes required then, but not one required since: take that edit back (strata plan)",
    "residency": "lives in a region that the segment leaves out",
    "new_residency": "lives in a region that was let in then, and is left out since: take that edit back (strata plan)",
    "group": "held by the pin of another segment of the group",
    "parent": "in no segment of the parent group",
}

_KEPT_OUT = """
with missing as (
    select customer_id from segments.candidate_pinned where segment_key = {key}
    except
    select customer_id from segments.candidate_membership where segment_key = {key}
)
select
    m.customer_id,
    case
        when i.status = 'erased' then 'erased'
        when f.customer_id is null then 'unknown'
        when not list_has_all(coalesce(f.consented_purposes, []), list_intersect(c.purposes, a.purposes_then))
            then 'consent'
        when not list_has_all(coalesce(f.consented_purposes, []), c.purposes) then 'new_consent'
        when len(a.regions) > 0 and list_contains(a.regions, f.residency_region) is not true then
            case when len(a.regions_then) = 0 or list_contains(a.regions_then, f.residency_region)
                then 'new_residency' else 'residency' end
        when m.customer_id in (
            select e.customer_id
            from segments.candidate_effective as e
            inner join {ranks} as g on g.segment_key = {key} and e.group_key = g.group_key
            -- Beside a segment that another pin keeps empty there can be members that have not beaten it.
            inner join segments.candidate_places as p on e.segment_key = p.segment_key and p.pin_id is not null
        ) then 'group'
        else 'parent'
    end as obstacle
from missing as m
inner join segments.candidate_catalog as c on c.segment_key = {key}
cross join (
    select
        coalesce(from_json(n.definition -> '$.residency', '["varchar"]'), []) as regions,
        coalesce(from_json(v.definition -> '$.residency', '["varchar"]'), []) as regions_then,
        coalesce(from_json(coalesce(v.definition, n.definition) -> '$.consent.purposes', '["varchar"]'), [])
            as purposes_then
    from segments.candidate_catalog as n
    left join segments.pins as p on n.segment_key = p.segment_key and p.ended_at is null
    left join segments.versions as v on p.segment_key = v.segment_key and p.held_version = v.segment_version
    where n.segment_key = {key}
) as a
left join features.customer_features as f on m.customer_id = f.customer_id
left join identity.customers as i on m.customer_id = i.customer_id
"""


@dataclass(frozen=True, slots=True)
class Moved:
    """Customers who enter or leave one segment."""

    segment_key: str
    entering: int
    leaving: int


@dataclass(frozen=True, slots=True)
class PinEffect:
    """What a candidate makes of a decision about one segment.

    Attributes:
        segment_key: The segment.
        as_of: The moment that the candidate describes.
        members_before: Members as published before.
        members_after: Members as proposed.
        entering: Who comes back, or comes in.
        leaving: Who leaves.
        merged: Ids of the pin that have become one customer with another of it.
        kept_out: How many the pin names that do not come back, by the reason, a key of ``OBSTACLES``.
        moved: The other segments that change because of a pin, or of its end.
        guards_passed_over: Segments whose guards do not hold and do not hold the pin back.
        guards_broken: Segments whose guards close the gate.
    """

    segment_key: str
    as_of: datetime
    members_before: int
    members_after: int
    entering: int
    leaving: int
    merged: int
    kept_out: dict[str, int]
    moved: tuple[Moved, ...]
    guards_passed_over: tuple[str, ...]
    guards_broken: tuple[str, ...]

    def as_dict(self) -> dict[str, object]:
        """The effect as JSON-ready facts."""
        return {**asdict(self), "as_of": self.as_of.isoformat()}


@dataclass(frozen=True, slots=True)
class Movers:
    """Who it is about, by their ids; for people who ask, and kept nowhere: an erasure would have to find it."""

    entering: tuple[str, ...]
    leaving: tuple[str, ...]
    kept_out: dict[str, str]


def preview(
    con: Connection, run: Run, catalog: Catalog, action: str, segment_key: str, signature: Signature, to: str = ""
) -> tuple[Decision, PinEffect, Movers]:
    """Decide and evaluate in a transaction that is taken back: what would change, and nothing does.

    Raises:
        StrataError: What ``decide_pin`` refuses, or what can't be evaluated.
    """
    for stage in ("identity", "segments"):
        ensure_schema(con, stage)
    con.execute("begin transaction")
    try:
        decision = decide_pin(con, action, segment_key, signature, to=to)
        write_candidate(con, run, catalog, pins_alone=action in URGENT)
        return decision, measure_effect(con, decision), read_movers(con, segment_key)
    finally:
        con.execute("rollback")


def measure_effect(con: Connection, decision: Decision) -> PinEffect:
    """Read off the newest candidate what it makes of a decision."""
    key = decision.segment_key
    sizes = con.execute(
        "select members_before, members_after, entering, leaving from segments.candidate_sizes where segment_key = ?",
        [key],
    ).fetchall()
    before, after, entering, leaving = sizes[0] if sizes else (0, 0, 0, 0)
    kept_out = dict(con.execute(f"select obstacle, count(*) from ({_kept_out(key)}) group by 1 order by 1").fetchall())
    merged = 0
    if decision.pin is not None and decision.action != "unfreeze":
        rows = con.execute(
            "select (select count(*) from segments.pin_members where pin_id = $pin), "
            "(select count(*) from segments.candidate_pinned where segment_key = $key)",
            {"pin": decision.pin.pin_id, "key": key},
        ).fetchall()
        merged = int(rows[0][0]) - int(rows[0][1])
        # Whoever was erased is in no table any more: what is missing of the number that was published is theirs.
        if erased := decision.pin.members - int(rows[0][0]):
            kept_out["erased"] = kept_out.get("erased", 0) + erased
    moved = con.execute(
        "select segment_key, count(*) filter (change = 'enter'), count(*) filter (change = 'exit') "
        "from segments.candidate_changes where cause = 'rollback' and segment_key <> ? group by 1 order by 1",
        [key],
    ).fetchall()
    guards = con.execute(
        "select segment_key, are_guards_waived from segments.candidate_sizes where not are_guards_kept order by 1"
    ).fetchall()
    return PinEffect(
        segment_key=key,
        as_of=_as_of(con),
        members_before=before,
        members_after=after,
        entering=entering,
        leaving=leaving,
        merged=merged,
        kept_out=kept_out,
        moved=tuple(Moved(*row) for row in moved),
        guards_passed_over=tuple(name for name, is_waived in guards if is_waived),
        guards_broken=tuple(name for name, is_waived in guards if not is_waived),
    )


def read_movers(con: Connection, segment_key: str) -> Movers:
    """Return who enters and leaves a segment by the newest candidate, and whom its pin can't bring back."""
    changes = con.execute(
        "select customer_id, change from segments.candidate_changes where segment_key = ? order by 1", [segment_key]
    ).fetchall()
    kept_out = con.execute(f"select customer_id, obstacle from ({_kept_out(segment_key)}) order by 1").fetchall()
    return Movers(
        tuple(customer for customer, change in changes if change == "enter"),
        tuple(customer for customer, change in changes if change == "exit"),
        dict(kept_out),
    )


def _kept_out(segment_key: str) -> str:
    return _KEPT_OUT.format(key=literal(segment_key), ranks=ranks_sql("segments.candidate_catalog"))


def _as_of(con: Connection) -> datetime:
    found = scalar(con, "select as_of from segments.candidate_summary")
    if not isinstance(found, datetime):
        raise TypeError(f"segments.candidate_summary has no moment: {found!r}")
    return found
