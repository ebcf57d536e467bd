"""What happened because of a segment's membership since a publication: deliveries, invoices, costs.

Belongs here: listing it, so that people can make good what a rollback of membership does not take back. Does not
belong here: the rollback itself (`segmentation/segments/pin_decisions.py`). Sync is the last stage: it sees them all.
"""

from dataclasses import asdict, dataclass

import pyarrow as pa
from sqlalchemy import select

from segmentation.segments.moments import Moment
from segmentation.sync.engine import read_many
from segmentation.sync.state import CHUNK_ROWS, State
from segmentation.sync.tables import CHANGE_LOG
from segmentation.warehouse import Connection, table_exists

#: Customers whom a publication after the moment let into the segment or out of it.
_AFFECTED = """
create or replace temp table side_effects_affected as
select distinct c.customer_id
from segments.membership_changes as c
inner join segments.publications as p on c.run_id = p.run_id
where c.segment_key = $key and p.publication_seq > $seq
"""

_RECEIPTS = """
select
    destination, view_id, count(*), sum(rows_written)::bigint, sum(rows_deleted)::bigint,
    bool_or(mode = 'snapshot'), min(recorded_at), max(recorded_at), max(seq)
from sync.receipts
where recorded_at > $since and mode <> 'none'
group by destination, view_id
order by destination, view_id
"""

# An invoice is of a customer whose account it names; the newest statement of each counts.
_INVOICES = """
with newest as (
    select source, invoice_id, arg_max(account_id, updated_at) as account_id,
        arg_max(amount_micros, updated_at) as amount_micros, arg_max(currency, updated_at) as currency,
        arg_max(invoice_status, updated_at) as invoice_status, min(issued_at) as issued_at
    from sources.invoices where issued_at > $since group by source, invoice_id
)
select n.currency, count(*), sum(n.amount_micros)::bigint, count(distinct n.account_id)
from newest as n
where
    lower(n.invoice_status) not in ('void', 'voided', 'cancelled', 'written_off', 'draft')
    and n.account_id in (
        select a.account_id from identity.customer_accounts as a
        inner join side_effects_affected as f on a.customer_id = f.customer_id
    )
group by n.currency
order by n.currency
"""

_COSTS = """
select coalesce(sum(allocated_effective_micros), 0)::bigint from costs.allocations
where allocation_view = 'exclusive' and segment_key = $key and incurred_date >= cast($since as date)
"""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What one destination was told.

    Attributes:
        destination: The destination.
        view_id: What it may see.
        deliveries: Deliveries that changed something there.
        rows_written: Customers written, whatever segment it was about.
        rows_deleted: Customers removed from it.
        affected_told: Customers let in or out of the segment about whom it was told since; ``None`` where it was
            loaded anew, so that it was told of all of them.
        first_at: First delivery since.
        last_at: Last delivery.
    """

    destination: str
    view_id: str
    deliveries: int
    rows_written: int
    rows_deleted: int
    affected_told: int | None
    first_at: str
    last_at: str


@dataclass(frozen=True, slots=True)
class Invoiced:
    """Invoices to accounts of affected customers, in one currency; money in micros."""

    currency: str | None
    invoices: int
    amount_micros: int
    accounts: int


@dataclass(frozen=True, slots=True)
class SideEffects:
    """What a rollback of membership does not take back.

    Attributes:
        publication_seq: Counted from after this publication on.
        since: When that was made; deliveries after it count.
        since_as_of: The moment it describes; invoices and costs after it count.
        affected: Customers let into the segment or out of it since.
        deliveries: What destinations were told.
        invoices: What accounts of affected customers were invoiced.
        cost_micros: Costs that were allocated to the segment, by the exclusive view.
    """

    publication_seq: int
    since: str
    since_as_of: str
    affected: int
    deliveries: tuple[Delivered, ...]
    invoices: tuple[Invoiced, ...]
    cost_micros: int

    def as_dict(self) -> dict[str, object]:
        """The list as JSON-ready facts."""
        return asdict(self)


def list_side_effects(con: Connection, state_url: str, segment_key: str, moment: Moment) -> SideEffects:
    """List what came of a segment's membership after a publication; nothing of it is undone by anybody here.

    Args:
        con: The warehouse.
        state_url: SQLAlchemy URL of the state of sync.
        segment_key: The segment.
        moment: The publication that people want to go back to.
    """
    con.execute(_AFFECTED, {"key": segment_key, "seq": moment.publication_seq})
    affected = int(con.execute("select count(*) from side_effects_affected").fetchall()[0][0])
    delivered = _deliveries(con, state_url, segment_key, moment) if table_exists(con, "sync", "receipts") else ()
    invoices: tuple[Invoiced, ...] = ()
    if table_exists(con, "sources", "invoices") and table_exists(con, "identity", "customer_accounts"):
        invoices = tuple(Invoiced(*row) for row in con.execute(_INVOICES, {"since": moment.as_of}).fetchall())
    cost = 0
    if table_exists(con, "costs", "allocations"):
        cost = int(con.execute(_COSTS, {"key": segment_key, "since": moment.as_of}).fetchall()[0][0])
    con.execute("drop table side_effects_affected")
    return SideEffects(
        publication_seq=moment.publication_seq,
        since=moment.recorded_at.isoformat(),
        since_as_of=moment.as_of.isoformat(),
        affected=affected,
        deliveries=delivered,
        invoices=invoices,
        cost_micros=cost,
    )


def _deliveries(con: Connection, state_url: str, segment_key: str, moment: Moment) -> tuple[Delivered, ...]:
    receipts = con.execute(_RECEIPTS, {"since": moment.recorded_at}).fetchall()
    if not receipts:
        return ()
    found = []
    state = State(state_url)
    try:
        views = state.views()
        for destination, view_id, count, written, deleted, is_anew, first, last, seq in receipts:
            view = views.get(view_id)
            if view is None or segment_key in view.withheld:
                continue
            if view.segments is not None and segment_key not in view.segments:
                continue
            told = None
            if not is_anew:
                told = _count_told(con, state, view_id, moment, seq)
            found.append(
                Delivered(destination, view_id, count, written, deleted, told, first.isoformat(), last.isoformat())
            )
    finally:
        state.close()
    return tuple(found)


def _count_told(con: Connection, state: State, view_id: str, moment: Moment, up_to: int) -> int:
    """Return how many of the affected customers a view's log names since a publication, up to a position."""
    log = CHANGE_LOG.c
    wanted = (
        select(log.customer_id)
        .where(log.view_id == view_id, log.committed_at > moment.recorded_at, log.seq <= up_to)
        .distinct()
    )
    con.execute("create or replace temp table side_effects_told (customer_id varchar)")
    with state.reading() as connection:
        for part in read_many(connection, wanted, CHUNK_ROWS):
            con.register("side_effects_part", pa.table({"customer_id": [row[0] for row in part]}))
            con.execute("insert into side_effects_told select customer_id from side_effects_part")
            con.unregister("side_effects_part")
    told = con.execute(
        "select count(*) from side_effects_affected where customer_id in (select customer_id from side_effects_told)"
    ).fetchall()[0][0]
    con.execute("drop table side_effects_told")
    return int(told)
