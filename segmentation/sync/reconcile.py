"""Reconciliation: proof of what a destination holds, read back from it, and the repair of what is wrong.

Belongs here: comparing a destination's content with the desired state, and receipts. Does not belong here:
delivering changes (``deliver.py``). Rows whose change is still on its way are left out of the comparison.
"""

import pyarrow as pa

from segmentation.run import Run
from segmentation.sync.catalog import DestinationBase
from segmentation.sync.deliver import Delivery
from segmentation.sync.faults import DestinationError
from segmentation.sync.ledger import Comparison, Ledger
from segmentation.sync.state import CHUNK_ROWS, CrashPoint, Row, State, no_crash
from segmentation.sync.stores.contract import Position, Store
from segmentation.warehouse import Connection, literal, scalar

# SHA-256 over 256 buckets of sorted rows, so that no string grows with the whole table.
_DIGEST = """
select coalesce(sha256(string_agg(digest, '' order by bucket)), sha256(''))
from (
    select
        substr(md5(customer_id), 1, 2) as bucket,
        sha256(string_agg(customer_id || chr(31) || value, chr(30) order by customer_id)) as digest
    from {rows}
    group by bucket
)
"""

_DRIFT = """
create or replace temp table sync_drift as
select
    coalesce(held.customer_id, expected.customer_id) as customer_id,
    expected.value as value,
    case when held.customer_id is null then 'missing' when expected.customer_id is null then 'extra'
        else 'differs' end as drift
from sync_held as held
full outer join sync_expected as expected on expected.customer_id = held.customer_id
where held.value is distinct from expected.value
    and coalesce(held.customer_id, expected.customer_id) not in (select customer_id from sync_pending)
"""


def compare(
    con: Connection, state: State, ledger: Ledger, destination: DestinationBase, store: Store, position: Position
) -> Comparison:
    """Read a destination back and compare it, row by row, with what it should hold at its position.

    The rows found wrong stay in the temporary table ``sync_drift``. ``sync.desired`` must be the copy of the
    state's head, as it is after a run.
    """
    con.execute("create or replace temp table sync_held (customer_id varchar, value varchar)")
    for chunk in store.read_back():
        _append(con, "sync_held", chunk)
    con.execute(
        "create or replace temp table sync_expected as select customer_id, value from sync.desired "
        f"where view_id = {literal(position.view_id)}"
    )
    pending = _note_pending(con, state, ledger, destination, position)
    con.execute(_DRIFT)
    digest = str(scalar(con, _DIGEST.format(rows="sync_held")))
    counts = dict(con.execute("select drift, count(*) from sync_drift group by drift").fetchall())
    is_equal = not counts and not pending
    return Comparison(
        checked=int(str(scalar(con, "select count(*) from sync_held"))),
        differs=counts.get("differs", 0),
        missing=counts.get("missing", 0),
        extra=counts.get("extra", 0),
        pending=pending,
        digest=digest,
        # Without a difference there is nothing to compute: the rows are the same.
        expected_digest=digest if is_equal else str(scalar(con, _DIGEST.format(rows="sync_expected"))),
    )


def prove(
    con: Connection,
    state: State,
    ledger: Ledger,
    destination: DestinationBase,
    store: Store,
    delivery: Delivery,
    run: Run,
    crash_point: CrashPoint = no_crash,
) -> None:
    """Write the receipt of a delivery, with what the destination holds where a proof is due.

    Until it has its receipt, no delivery counts as one. Rows that something else changed at the destination are put
    right and the destination is read once more.

    Raises:
        DestinationError: It does not hold what it should, even after the repair.
    """
    position = delivery.position
    if position is None or position.seq is None:
        return
    proof: Comparison | None = None
    if _is_due(ledger, destination, position, run):
        proof = compare(con, state, ledger, destination, store, position)
        drift = proof.drift
        ledger.record_comparison(destination.name, position, proof, repaired=drift)
        if drift:
            _repair(con, store, delivery.epoch)
            proof = compare(con, state, ledger, destination, store, position)
            ledger.record_comparison(destination.name, position, proof, repaired=0)
            if proof.drift:
                raise DestinationError(
                    f"destination {destination.name} does not keep what it is given: {proof.drift} rows are wrong",
                    where=store.where,
                    expected="the rows of sync.desired; see sync.reconciliations",
                    repair="find what else writes to it, then `strata run --from sync`",
                )
        delivery.facts |= {"held": proof.checked, "digest": proof.digest, "drift_repaired": drift}
    crash_point("before_receipt")
    ledger.issue_receipt(
        destination.name,
        position,
        mode=delivery.mode,
        written=delivery.written,
        deleted=delivery.deleted,
        proof=proof,
    )


def _is_due(ledger: Ledger, destination: DestinationBase, position: Position, run: Run) -> bool:
    last = ledger.last_reconciled_at(destination.name, position.view_id)
    return last is None or (run.recorded_at - last).total_seconds() >= destination.reconcile_every_seconds


def _note_pending(
    con: Connection, state: State, ledger: Ledger, destination: DestinationBase, position: Position
) -> int:
    """Write ``sync_pending``: customers whose newest value the destination need not have yet."""
    con.execute("create or replace temp table sync_pending (customer_id varchar)")
    waiting = [change.customer_id for change in ledger.dead_letters(destination.name)]
    seq = position.seq or 0
    while entries := state.changes(position.view_id, seq, CHUNK_ROWS):
        waiting += [entry.customer_id for entry in entries]
        seq = entries[-1].seq
    for start in range(0, len(waiting), CHUNK_ROWS):
        _append(con, "sync_pending", [(customer_id, "") for customer_id in waiting[start : start + CHUNK_ROWS]])
    return len(set(waiting))


def _repair(con: Connection, store: Store, epoch: int) -> None:
    wrong = con.execute("select customer_id, value from sync_drift order by customer_id").fetchall()
    for start in range(0, len(wrong), CHUNK_ROWS):
        part = wrong[start : start + CHUNK_ROWS]
        upserts: list[Row] = [(row[0], row[1]) for row in part if row[1] is not None]
        store.repair(epoch, upserts, [row[0] for row in part if row[1] is None])


def _append(con: Connection, table: str, rows: list[Row]) -> None:
    if not rows:
        return
    customers, values = zip(*rows, strict=True)
    columns = {"customer_id": customers} if table == "sync_pending" else {"customer_id": customers, "value": values}
    con.register("sync_rows", pa.table(columns))
    try:
        con.execute(f"insert into {table} ({', '.join(columns)}) select {', '.join(columns)} from sync_rows")
    finally:
        con.unregister("sync_rows")
