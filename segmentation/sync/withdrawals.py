"""Withdrawals: whoever takes consent back, or was erased, leaves destinations at once, whatever gate is closed.

Belongs here: what to take out of what destinations hold, and delivering that ahead of everything else. Does not
belong here: consent itself (the stage ``identity`` decides and its gate judges it), or anything that adds
(``candidate.py``, ``publish.py``).

Only removals leave this module: a row of a view is deleted, or loses the segments that need the refused purpose. They
go through the same log, positions and proof as every other change, so that the next full delivery goes on from them.
A destination stays as stale as it was, because what it goes on saying is as old as before. Nothing is loaded anew here:
the views are those that destinations were last given, and today's catalog may allow them less, or point elsewhere.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import cast

from segmentation.contracts import ensure_schema
from segmentation.errors import StrataError
from segmentation.run import Run
from segmentation.sync.catalog import FlagdDestination, SqlDestination
from segmentation.sync.deliver import Delivery, Worker
from segmentation.sync.effective import consenting, find_consents
from segmentation.sync.faults import DestinationError
from segmentation.sync.ledger import Ledger
from segmentation.sync.mirror import copy_ledger, refresh_desired
from segmentation.sync.publish import OpenStore, StoredChanges, copy_desired
from segmentation.sync.reconcile import prove
from segmentation.sync.state import WITHDRAWALS, CrashPoint, Head, Proposal, State, next_ref, no_crash
from segmentation.sync.stores.contract import SEGMENTS_KEY, Position, Store
from segmentation.sync.stores.opening import open_store
from segmentation.sync.views import View, resolve_views
from segmentation.warehouse import Connection, literal, transaction

#: Temporary table of what is taken out of one view, shaped as ``sync.candidate_changes``.
CHANGES = "sync_withdrawals"

# Held rows by whom they are about: a merged id is about the customer that it was merged into.
_HELD = """
create or replace temp table sync_held_rows as
select desired.customer_id, desired.value, customers.customer_id as person, customers.status
from sync.desired as desired
left join identity.customer_aliases as aliases on aliases.old_customer_id = desired.customer_id
join identity.customers as customers on customers.customer_id = coalesce(aliases.customer_id, desired.customer_id)
where desired.view_id = {view} and desired.customer_id <> {segments_key} and customers.status in ('active', 'erased')
"""

# Texts are taken apart as effective.py alone puts them together: no name in them holds a comma, a quote or a brace.
_CHANGES = """
create or replace temp table sync_withdrawals as
with leaving as (
    select held.customer_id from sync_held_rows as held where held.status = 'erased' or not ({consenting})
),

staying as (
    select
        held.customer_id, held.person,
        split_part(held.value, '}},"groups":{{', 1)[length('{{"segments":{{') + 1:] as segments,
        split_part(held.value, '}},"groups":{{', 2)[:-3] as groups
    from sync_held_rows as held
    where starts_with(held.value, '{{"segments":{{') and held.customer_id not in (select customer_id from leaving)
),

-- What nothing is known of any more has no purpose that anybody could have allowed: it is held by nobody.
unknown as (
    select segment_key
    from (
        select distinct unnest(list_transform(string_split(segments, ','), lambda e: split_part(e, '"', 2)))
            as segment_key
        from (select distinct segments from staying)
    )
    where segment_key <> ''
        and segment_key not in (select segment_key from segments.catalog)
        and segment_key not in (select segment_key from segments.versions)
),

asked as (
    select segment_key, purpose from sync_needed
    union all
    select segment_key, null from unknown
),

losing as (
    select staying.customer_id, staying.segments, staying.groups, list(distinct needed.segment_key) as lost
    from staying
    join asked as needed on contains(staying.segments, '"' || needed.segment_key || '":')
    left join sync_consents as consents
        on consents.customer_id = staying.person and consents.purpose = needed.purpose
    where consents.customer_id is null
    group by staying.customer_id, staying.segments, staying.groups
),

changes as (
    select customer_id, null::varchar as value from leaving
    union all
    select
        customer_id,
        '{{"segments":{{' || array_to_string(
            list_filter(string_split(segments, ','), lambda e: not list_contains(lost, split_part(e, '"', 2))), ','
        ) || '}},"groups":{{' || array_to_string(
            list_filter(string_split(groups, ','), lambda e: not list_contains(lost, split_part(e, '"', 4))), ','
        ) || '}}}}'
    from losing
)

select
    {view} as view_id, {head_seq} + row_number() over (order by value is not null, customer_id) as seq,
    customer_id, value, 0 as priority
from changes
"""

_CONTENT = """
select count(*), count(value), coalesce(bit_xor(md5_number(concat_ws(chr(31), customer_id, value))), 0)
from sync_withdrawals
"""


# Of everybody who is taken out for a refusal, the last one that did it; what was never asked for refuses nothing.
_REFUSED_SINCE = """
select min(refused_at)
from (
    select held.person, max(consents.decided_at) as refused_at
    from sync_withdrawals as changes
    join sync_held_rows as held on held.customer_id = changes.customer_id
    join identity.customer_consents as consents on consents.customer_id = held.person and not consents.is_allowed
    where held.status = 'active'
        and (consents.purpose in ({purposes}) or consents.purpose in (select purpose from sync_needed))
    group by held.person
)
"""


@dataclass(slots=True)
class Withdrawals:
    """What was taken out of destinations ahead of everything else.

    Attributes:
        removed: Rows of views that are deleted.
        reduced: Rows of views that lose segments.
        deliveries: What was delivered, by destination; those that were in step are not among them.
        failures: Destinations that could not be told; the next run tries again.
        refused_since: By destination that was told, the moment of the refusal that waited longest for it.
    """

    removed: int = 0
    reduced: int = 0
    deliveries: list[Delivery] = field(default_factory=list)
    failures: dict[str, StrataError] = field(default_factory=dict)
    refused_since: dict[str, datetime] = field(default_factory=dict)


def deliver_withdrawals(
    con: Connection,
    run: Run,
    *,
    destinations: Sequence[SqlDestination | FlagdDestination],
    state_url: str,
    unconditional_purposes: Collection[str] = (),
    crash_point: CrashPoint = no_crash,
    opener: OpenStore = open_store,
) -> Withdrawals:
    """Take out of every destination whom, as identity has published it, it may no longer hold.

    Running it again delivers only what is missing. A destination that fails holds back no other.

    Args:
        con: The warehouse, open for writing.
        run: The run.
        destinations: The catalog; disabled destinations are left as they are.
        state_url: SQLAlchemy url of the state database.
        unconditional_purposes: Purposes whose lawful basis is not consent.
        crash_point: For tests.
        opener: How a destination is opened.

    Raises:
        StateError: The state database can't be used, or another run publishes at this moment.
    """
    found = Withdrawals()
    for stage in ("segments", "sync"):
        ensure_schema(con, stage)
    state = State(state_url)
    try:
        # Its receipts and commits are told apart from those of the run's full delivery.
        own = replace(run, run_id=f"{run.run_id}{WITHDRAWALS}")
        ledger = Ledger(state, own)
        views = state.views()
        held = {one.name: ledger.last_delivery(one.name).view_id for one in destinations if one.enabled}
        given = {name: views[key] for name, key in held.items() if key in views and views[key].has_customers}
        forgotten = {name for name, key in held.items() if key and key not in views}
        find_consents(con, given.values(), unconditional_purposes)
        since: dict[str, datetime | None] = {}
        for view in sorted(set(given.values()), key=lambda view: view.view_id):
            since[view.view_id] = _withdraw(con, state, view, unconditional_purposes, own, found, crash_point)
        for destination in destinations:
            try:
                if destination.name in given:
                    view = given[destination.name]
                    is_told = _serve(con, state, ledger, destination, view, own, found, crash_point, opener)
                    if is_told and (moment := since[view.view_id]):
                        found.refused_since[destination.name] = moment
                elif destination.name in forgotten and destination.holds_customers:
                    raise _unknown(destination, held[destination.name])
            except StrataError as error:
                found.failures[destination.name] = error
                ledger.fail(destination, error.what)
        if found.deliveries or found.failures:
            with transaction(con):
                copy_ledger(con, state)
    finally:
        state.close()
    return found


def _withdraw(
    con: Connection,
    state: State,
    view: View,
    unconditional_purposes: Collection[str],
    run: Run,
    found: Withdrawals,
    crash_point: CrashPoint,
) -> datetime | None:
    """Publish the removals of one view in the state, and in the warehouse's copy of it.

    Returns:
        The moment of the oldest refusal that it follows from; ``None`` where it follows from none.
    """
    view_id = view.view_id
    refresh_desired(con, state, view_id)
    head = state.head(view_id)
    conditional = tuple(purpose for purpose in view.purposes if purpose not in unconditional_purposes)
    con.execute(_HELD.format(view=literal(view_id), segments_key=literal(SEGMENTS_KEY)))
    con.execute(
        _CHANGES.format(view=literal(view_id), head_seq=head.seq, consenting=consenting("held.person", conditional))
    )
    total, reduced, content = con.execute(_CONTENT).fetchall()[0]
    if not total:
        return None
    purposes = ", ".join(literal(purpose) for purpose in conditional) or "null"
    [(since,)] = con.execute(_REFUSED_SINCE.format(purposes=purposes)).fetchall()
    proposal = Proposal(
        view,
        head.seq,
        head.ref,
        next_ref(head.ref, view_id, f"withdrawal {total} {content}"),
        head.seq + total,
        is_snapshot=False,
        inserts=0,
        updates=reduced,
        deletes=total - reduced,
        is_withdrawal=True,
    )
    with transaction(con):
        state.publish(proposal, StoredChanges(con, CHANGES, view_id), run, crash_point)
        crash_point("after_publish")
        copy_desired(con, CHANGES, proposal)
    crash_point("after_copy")
    found.removed += total - reduced
    found.reduced += reduced
    return cast("datetime | None", since)


def _serve(
    con: Connection,
    state: State,
    ledger: Ledger,
    destination: SqlDestination | FlagdDestination,
    view: View,
    run: Run,
    found: Withdrawals,
    crash_point: CrashPoint,
    opener: OpenStore,
) -> bool:
    """Bring a destination to the head of the view that it holds, unless it stands there or holds nothing.

    Returns:
        Whether it was told anything.
    """
    store = opener(destination)
    try:
        head, held = state.head(view.view_id), store.position()
        if held is None or held.seq is None:
            # Never loaded, or another place than the one that was: nobody is in it.
            return False
        if (held.view_id, held.seq, held.ref) == (head.view_id, head.seq, head.ref):
            return False
        if resolve_views(con, [destination])[destination.name] != view:
            _refuse_to_add(state, store, head, held)
        worker = Worker(state, ledger, destination, view.view_id, store, run, crash_point, only_follows=True)
        delivery = worker.deliver()
        if delivery.mode != "paused":
            prove(con, state, ledger, destination, store, delivery, run, crash_point)
        found.deliveries.append(delivery)
        return delivery.mode != "paused"
    finally:
        store.close()


def _unknown(destination: SqlDestination | FlagdDestination, view_id: str) -> DestinationError:
    return DestinationError(
        f"destination {destination.name} was last given view {view_id}, which is not kept any more: nobody knows whom "
        "it holds",
        where=destination.where,
        expected="a view of the state database for every enabled destination that was delivered",
        repair="strata run --from sync: the full delivery loads it anew",
    )


def _refuse_to_add(state: State, store: Store, head: Head, held: Position) -> None:
    """Refuse a destination that may see something else today, unless all that it lacks of its view are removals."""
    if held.view_id == head.view_id and held.seq is not None and state.only_withdraws(head.view_id, held.seq):
        return
    raise DestinationError(
        f"destination {store.name} may see something else than it was last given, and lacks more of that than removals",
        where=store.where,
        expected=f"entry {head.seq} of view {head.view_id}, or nothing but removals up to it",
        repair="strata run --from sync: the full delivery loads what it may see today",
    )
