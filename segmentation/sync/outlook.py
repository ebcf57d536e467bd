"""The outlook: what the next delivery would do to each destination, and whether its last one is proven.

Belongs here: the table ``sync.candidate_deliveries``, one row per destination, for the gate. Does not belong here:
what a view contains (``effective.py``) and what the gate makes of it (the suite of the stage).

A destination is compared with what it was last given, so that it makes no difference whether customers move or what
it may see was edited. Changes for want of consent are no reason to hold a delivery back, and a new version of a
segment's definition moves nobody: neither counts.
"""

from collections.abc import Mapping, Sequence

from segmentation.run import Run
from segmentation.sync.catalog import DestinationBase
from segmentation.sync.ledger import LastDelivery, Ledger
from segmentation.sync.mirror import refresh_desired
from segmentation.sync.state import State
from segmentation.sync.stores.contract import SEGMENTS_KEY
from segmentation.sync.views import View
from segmentation.warehouse import Connection, literal, scalar

_TABLE = """
create or replace table sync.candidate_deliveries (
    destination varchar, view_id varchar, base_view_id varchar, members_held bigint, members_changed bigint,
    changed_ratio double, max_changed_ratio double, is_delivered boolean, delivered_seq bigint, commit_ref varchar,
    log_ref varchar, rows_wrong bigint, is_proven boolean
)
"""

_HELD = "select count(*) from sync.desired where view_id = {view} and customer_id <> {segments_key}"

_MOVED = """
select count(*) from sync.candidate_changes
where view_id = {view} and customer_id <> {segments_key} and reason <> 'consent'
    and (op <> 'update' or {unversioned_value} <> {unversioned_previous})
"""

# What it may see was edited: the view is another one, and its content is compared with that of the former.
_REPLACED = """
select count(*)
from (
    select customer_id, {unversioned} as value from sync.candidate_values
    where view_id = {view} and customer_id <> {segments_key}
) as proposed
full outer join (
    select customer_id, {unversioned} as value from sync.desired
    where view_id = {base_view} and customer_id <> {segments_key}
) as held on held.customer_id = proposed.customer_id
where held.value is distinct from proposed.value
"""


def write_outlook(
    con: Connection, state: State, run: Run, destinations: Sequence[DestinationBase], readers: Mapping[str, View]
) -> None:
    """Write ``sync.candidate_deliveries`` from the candidate tables, which must be complete.

    Args:
        con: The warehouse, in the transaction that writes the candidate.
        state: The state database.
        run: The run.
        destinations: Those that are enabled.
        readers: The view that each of them reads, by its name.
    """
    con.execute(_TABLE)
    ledger = Ledger(state, run)
    counted: dict[tuple[str, str], tuple[int, int]] = {}
    for destination in destinations:
        view_id = readers[destination.name].view_id
        last = ledger.last_delivery(destination.name)
        base = last.view_id or view_id
        if (view_id, base) not in counted:
            counted[view_id, base] = _count(con, state, view_id, base)
        held, changed = counted[view_id, base]
        con.execute(
            "insert into sync.candidate_deliveries values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                destination.name,
                view_id,
                base,
                held,
                changed,
                changed / max(held, 1),
                destination.max_changed_ratio,
                last.is_delivered,
                last.seq,
                last.ref,
                last.log_ref,
                last.rows_wrong,
                _is_proven(last),
            ],
        )


def _count(con: Connection, state: State, view_id: str, base: str) -> tuple[int, int]:
    """Return how many customers the base view holds, and for how many of them something would change."""
    refresh_desired(con, state, base)
    names = {
        "view": literal(view_id),
        "base_view": literal(base),
        "segments_key": literal(SEGMENTS_KEY),
        "unversioned": _unversioned("value"),
        "unversioned_value": _unversioned("value"),
        "unversioned_previous": _unversioned("previous_value"),
    }
    held = int(str(scalar(con, _HELD.format(**{**names, "view": literal(base)}))))
    query = _MOVED if base == view_id else _REPLACED
    return held, int(str(scalar(con, query.format(**names))))


def _unversioned(column: str) -> str:
    return f"regexp_replace({column}, ':[0-9]+', '', 'g')"


def _is_proven(last: LastDelivery) -> bool:
    """Say whether the ledger's word for a delivery is backed by a receipt that fits the log and what was read back."""
    if not last.is_delivered:
        return True
    in_log = last.log_ref is None or last.log_ref == last.ref
    return bool(last.ref) and in_log and not last.rows_wrong
