"""The candidate: what each destination should hold, and what would change for it.

Belongs here: the comparison of every view's effective state (``effective.py``) with what was published.
Does not belong here: publishing (``publish.py``). Four tables result, for the gate and for publishing:
``sync.candidate`` (one row of figures per view), ``sync.candidate_values``, ``sync.candidate_changes`` and
``sync.candidate_deliveries`` (one row per destination, by ``outlook.py``).
"""

from collections.abc import Collection, Sequence

from segmentation.contracts import ensure_schema, stamp_candidate
from segmentation.run import Run, StageReport
from segmentation.sync.catalog import DestinationBase, check_segments
from segmentation.sync.effective import (
    compute_values,
    consenting,
    contains_entry,
    find_population,
    listed_in,
    residing,
)
from segmentation.sync.mirror import refresh_desired
from segmentation.sync.outlook import write_outlook
from segmentation.sync.state import CrashPoint, State, next_ref, no_crash
from segmentation.sync.stores.contract import SEGMENTS_KEY
from segmentation.sync.views import View, resolve_views
from segmentation.warehouse import Connection, count, literal, scalar, transaction

#: Share of a view that may change before destinations load anew instead of following the log.
SNAPSHOT_RATIO = 0.3
#: Changes below which the log is always followed.
SNAPSHOT_MIN_CHANGES = 50_000

_TABLES = """
create or replace table sync.candidate (
    view_id varchar, destinations varchar, customers bigint, known_members bigint, aliases bigint,
    segments bigint, memberships bigint, previous_customers bigint, inserts bigint, updates bigint,
    deletes bigint, consent_removals bigint, residency_removals bigint, changed_ratio double,
    duplicate_customers bigint, outside_regions bigint, unknown_region bigint, consent_violations bigint,
    residency_violations bigint, unknown_customers bigint, group_conflicts bigint, unlisted_segments bigint,
    base_seq bigint, base_ref varchar, head_seq bigint, commit_ref varchar, is_snapshot boolean,
    purposes varchar[], limits json, has_customers boolean
);
create or replace table sync.candidate_values (
    view_id varchar, customer_id varchar, value varchar, kind varchar
);
create or replace table sync.candidate_changes (
    view_id varchar, seq bigint, op varchar, customer_id varchar, value varchar, previous_value varchar,
    priority integer, reason varchar
);
"""

# Removals come first: those for want of consent are promised within seconds. Whoever still allows everything left the
# regions of the destination, or it is not known any more where they reside.
_DIFFERENCES = """
create or replace temp table sync_differences as
with compared as (
    select
        coalesce(proposed.customer_id, held.customer_id) as customer_id,
        case when held.customer_id is null then 'insert'
            when proposed.customer_id is null then 'delete' else 'update' end as op,
        proposed.value as value,
        held.value as previous_value
    from (select customer_id, value from sync.candidate_values where view_id = {view}) as proposed
    full outer join (select customer_id, value from sync.desired where view_id = {view}) as held
        on held.customer_id = proposed.customer_id
    where held.value is distinct from proposed.value
)

select
    explained.*, case when explained.reason = 'data' then 1 else 0 end as priority
from (
    select
        compared.*,
        case
            when compared.op = 'delete' and population.customer_id is null then 'gone'
            when compared.op = 'delete' and {consenting} and not ({residing}) then 'residency'
            when compared.op = 'delete' then 'consent'
            when compared.op = 'update' and refused.customer_id is not null then 'consent'
            else 'data'
        end as reason
    from compared
    left join sync_population as population on population.customer_id = compared.customer_id
    left join (select distinct customer_id from sync_refused) as refused
        on refused.customer_id = compared.customer_id
) as explained
"""

_CHANGES = """
insert into sync.candidate_changes
select {view}, {seq}, op, customer_id, value, previous_value, priority, reason
from sync_differences
"""

_CONTENT = """
select count(*), coalesce(bit_xor(md5_number(concat_ws(chr(31), customer_id, op, value))), 0)
from sync_differences
"""

_SUMMARY = """
insert into sync.candidate
with held as (
    select count(*) as customers from sync.desired where view_id = {view} and customer_id <> {segments_key}
),

proposed as (
    select
        count(*) filter (where kind = 'customer') as customers,
        count(*) filter (where kind = 'alias') as aliases,
        count(*) - count(distinct customer_id) as duplicate_customers
    from sync.candidate_values where view_id = {view}
),

changes as (
    select
        count(*) filter (where op = 'insert') as inserts, count(*) filter (where op = 'update') as updates,
        count(*) filter (where op = 'delete') as deletes, count(*) filter (where reason = 'consent') as consents,
        count(*) filter (where reason = 'residency') as residents_gone
    from sync.candidate_changes where view_id = {view}
),

sets as (
    select
        coalesce(sum(customers), 0) as members, coalesce(sum(customers * memberships), 0) as memberships,
        coalesce(sum(customers) filter (where has_conflict), 0) as conflicts
    from sync_sets
)

select
    {view}, {destinations}, proposed.customers,
    sets.members, proposed.aliases,
    (
        select count(*) from segments.catalog as catalog
        where coalesce(catalog.is_evaluated, true) and {listed_in_catalog}
    ),
    sets.memberships, held.customers, changes.inserts, changes.updates, changes.deletes,
    changes.consents, changes.residents_gone,
    (changes.inserts + changes.updates + changes.deletes) / greatest(held.customers, proposed.customers, 1),
    proposed.duplicate_customers, {outside}, {unknown_region},
    {violations},
    {residency_violations},
    (
        select count(distinct membership.customer_id) from segments.membership as membership
        where membership.customer_id not in (select customer_id from sync_population)
    ),
    sets.conflicts,
    (select count(distinct segment_key) from sync_entries where not is_listed),
    {base_seq}, {base_ref}, {head_seq}, {commit_ref}, {is_snapshot}, [{purposes}], {limits}, {has_customers}
from held, proposed, changes, sets
"""

# Counted from what will be delivered and the raw consents, not from the joins that selected it.
_VIOLATIONS = """(
    select count(*)
    from (
        select delivered.customer_id, needed.purpose
        from sync.candidate_values as delivered
        cross join (select unnest([{purposes}]::varchar[]) as purpose) as needed
        where delivered.view_id = {view} and delivered.kind = 'customer'
        union all
        select delivered.customer_id, needed.purpose
        from sync_states as delivered
        join sync_entries as entries on {contains}
        join sync_needed as needed on needed.segment_key = entries.segment_key
    ) as asked
    where not exists (
        select 1 from identity.customer_consents as consents
        where consents.customer_id = asked.customer_id and consents.purpose = asked.purpose and consents.is_allowed
    )
)"""

# Who would be delivered but for where they reside: those who reside elsewhere, and those of whom it is not known.
_KEPT_OUT = """(
    select count(*) from sync_population as population
    left join identity.profiles as profiles on profiles.customer_id = population.customer_id
    where {consenting} and profiles.residency_region {is_out}
)"""

# Counted from what will be delivered and the raw profiles.
_RESIDENCY_VIOLATIONS = """(
    select count(*) from sync.candidate_values as delivered
    left join identity.profiles as profiles on profiles.customer_id = delivered.customer_id
    where delivered.view_id = {view} and delivered.kind = 'customer'
        and coalesce(profiles.residency_region not in ({regions}), true)
)"""


def build_candidate(
    con: Connection,
    run: Run,
    *,
    destinations: Sequence[DestinationBase],
    state_url: str,
    unconditional_purposes: Collection[str] = (),
    crash_point: CrashPoint = no_crash,
) -> StageReport:
    """Write what every enabled destination should hold, and what would change, for the gate to judge.

    Args:
        con: The warehouse, open for writing.
        run: The run.
        destinations: The catalog; disabled destinations are left out.
        state_url: SQLAlchemy url of the state database.
        unconditional_purposes: Purposes whose lawful basis is not consent; every other purpose needs it.
        crash_point: For tests.

    Raises:
        CatalogError: A destination lists a segment that does not exist.
        StateError: The state database can't be used.
    """
    enabled = [destination for destination in destinations if destination.enabled]
    ensure_schema(con, "sync")
    keys = [row[0] for row in con.execute("select segment_key from segments.catalog").fetchall()]
    check_segments(enabled, keys)
    state = State(state_url)
    try:
        with transaction(con):
            con.execute(_TABLES)
            readers = resolve_views(con, enabled)
            find_population(con, readers.values(), unconditional_purposes)
            for view in sorted(set(readers.values()), key=lambda view: view.view_id):
                conditional = tuple(name for name in view.purposes if name not in unconditional_purposes)
                _propose(con, state, view, conditional, [name for name, read in readers.items() if read == view])
            write_outlook(con, state, run, enabled, readers)
            candidate_id = stamp_candidate(con, "sync", run)
    finally:
        state.close()
    crash_point("after_diff")
    totals = con.execute(
        "select coalesce(sum(inserts), 0)::bigint, coalesce(sum(updates), 0)::bigint, "
        "coalesce(sum(deletes), 0)::bigint, coalesce(sum(consent_removals), 0)::bigint, "
        "coalesce(sum(residency_removals), 0)::bigint, coalesce(sum(outside_regions), 0)::bigint, "
        "coalesce(sum(unknown_region), 0)::bigint from sync.candidate"
    ).fetchall()[0]
    return StageReport(
        candidate_id=candidate_id,
        rows={
            "values": count(con, "sync.candidate_values"),
            "inserts": totals[0],
            "updates": totals[1],
            "deletes": totals[2],
        },
        facts={
            "views": sorted({view.view_id for view in readers.values()}),
            "destinations": [d.name for d in enabled],
            "consent_removals": totals[3],
            "residency_removals": totals[4],
            "customers_outside_regions": totals[5],
            "customers_of_unknown_region": totals[6],
        },
    )


def _propose(con: Connection, state: State, view: View, conditional: tuple[str, ...], readers: list[str]) -> None:
    """Fill the candidate tables for one view, read by the destinations ``readers``."""
    refresh_desired(con, state, view.view_id)
    head = state.head(view.view_id)
    view_name = literal(view.view_id)
    compute_values(con, view, conditional)
    consents = consenting("compared.customer_id", conditional)
    resides = residing("compared.customer_id", view.regions)
    con.execute(_DIFFERENCES.format(view=view_name, consenting=consents, residing=resides))
    content = con.execute(_CONTENT).fetchall()[0]
    changes: int = content[0]
    held = scalar(con, "select count(*) from sync.desired where view_id = ?", [view.view_id])
    is_snapshot = changes > max(SNAPSHOT_MIN_CHANGES, SNAPSHOT_RATIO * int(str(held)))
    # A snapshot is one entry: the log does not hold its rows, so they need no numbers of their own.
    step = "1" if is_snapshot else "row_number() over (order by priority, customer_id)"
    con.execute(_CHANGES.format(view=view_name, seq=f"{head.seq} + {step}"))
    asked = ", ".join(literal(purpose) for purpose in conditional)
    con.execute(
        _SUMMARY.format(
            view=view_name,
            segments_key=literal(SEGMENTS_KEY),
            destinations=literal(", ".join(readers)),
            listed_in_catalog=listed_in(view, "catalog"),
            violations=_VIOLATIONS.format(purposes=asked, view=view_name, contains=contains_entry(con)),
            **_measure_residency(view, conditional),
            base_seq=head.seq,
            base_ref=literal(head.ref),
            head_seq=head.seq + (1 if is_snapshot else changes),
            commit_ref=literal(next_ref(head.ref, view.view_id, f"{content} {is_snapshot}") if changes else head.ref),
            is_snapshot=is_snapshot,
            purposes=", ".join(literal(purpose) for purpose in view.purposes),
            limits=literal(view.limits),
            has_customers=view.has_customers,
        )
    )


def _measure_residency(view: View, conditional: tuple[str, ...]) -> dict[str, str]:
    """Return the SQL for whom the regions of a view keep out, and who is in it nevertheless; zeros without regions."""
    if not view.regions:
        return {"outside": "0", "unknown_region": "0", "residency_violations": "0"}
    regions = ", ".join(literal(region) for region in view.regions)
    allowed = consenting("population.customer_id", conditional)
    return {
        "outside": _KEPT_OUT.format(consenting=allowed, is_out=f"not in ({regions})"),
        "unknown_region": _KEPT_OUT.format(consenting=allowed, is_out="is null"),
        "residency_violations": _RESIDENCY_VIOLATIONS.format(view=literal(view.view_id), regions=regions),
    }
