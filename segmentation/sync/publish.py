"""Publishing: the candidate becomes the desired state, and every destination is brought to it.

Belongs here: the order of commits, and going on when one destination fails. Does not belong here: a single
destination's delivery (``deliver.py``) or proof (``reconcile.py``).

Order: the state database first, being right; then the warehouse's copy of it; then the destinations, each
from its own position; then the ledger's copy for analysts. A process killed between any two is repaired by
running again: the copy notices that it is another head's, and destinations go on where they stand.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from segmentation.contracts import ensure_schema, mark_published
from segmentation.errors import CandidateError, StrataError
from segmentation.run import Run, StageReport
from segmentation.sync.catalog import FlagdDestination, SqlDestination
from segmentation.sync.deliver import Delivery, Worker
from segmentation.sync.faults import DeliveryError
from segmentation.sync.ledger import Ledger
from segmentation.sync.left_places import find_left, note_place
from segmentation.sync.mirror import copy_ledger, forget_desired, note_head
from segmentation.sync.reconcile import prove
from segmentation.sync.state import CHUNK_ROWS, CrashPoint, Proposal, State, no_crash
from segmentation.sync.stores.contract import Store
from segmentation.sync.stores.opening import open_store
from segmentation.sync.views import View
from segmentation.warehouse import Connection, transaction

#: Entries of each view's log that are kept for destinations that fall behind.
LOG_ROWS_KEPT = 2_000_000

OpenStore = Callable[[SqlDestination | FlagdDestination], Store]


def publish(
    con: Connection,
    run: Run,
    *,
    destinations: Sequence[SqlDestination | FlagdDestination],
    state_url: str,
    crash_point: CrashPoint = no_crash,
    opener: OpenStore = open_store,
) -> StageReport:
    """Publish this run's candidate and deliver it; running it again delivers only what is missing.

    Args:
        con: The warehouse, open for writing.
        run: The run that built the candidate.
        destinations: The catalog; disabled destinations are left out.
        state_url: SQLAlchemy url of the state database.
        crash_point: For tests.
        opener: How a destination is opened.

    Raises:
        CandidateError: Another run has replaced the candidate.
        StateError: The state has moved on since the candidate was built, or can't be used.
        DeliveryError: Some destinations failed; all others were delivered.
    """
    ensure_schema(con, "sync")
    enabled = [destination for destination in destinations if destination.enabled]
    state = State(state_url)
    try:
        candidate_id, readers = _publish_state(con, state, run, crash_point)
        ledger = Ledger(state, run)
        deliveries: list[Delivery] = []
        failures: dict[str, StrataError] = {}
        for destination in enabled:
            try:
                view_id = _view_of(destination, readers)
                deliveries.append(_serve(con, state, ledger, destination, view_id, run, crash_point, opener))
            except StrataError as error:
                failures[destination.name] = error
                ledger.fail(destination, error.what)
        # One that was not reached holds its former view still: whoever withdraws has to be taken out of that.
        held = {ledger.last_delivery(destination.name).view_id for destination in enabled} - {""}
        views = sorted({proposal.view.view_id for proposal in readers.values()} | held)
        for view_id in views:
            state.trim_log(view_id, LOG_ROWS_KEPT)
        state.forget_views(views)
        with transaction(con):
            forget_desired(con, views)
            copy_ledger(con, state)
    finally:
        state.close()
    if failures:
        raise _together(failures, len(enabled))
    report = _report(candidate_id, deliveries)
    report.facts["places left"] = [one.fact for one in find_left(state_url, destinations)]
    return report


def proposals(con: Connection) -> dict[str, Proposal]:
    """Return what the candidate tables propose, by the names of the destinations that read it."""
    rows = con.execute(
        "select destinations, purposes, limits, has_customers, base_seq, base_ref, commit_ref, head_seq, is_snapshot, "
        "inserts, updates, deletes from sync.candidate"
    ).fetchall()
    found: dict[str, Proposal] = {}
    for row in rows:
        limits = json.loads(row[2])
        segments = limits["segments"]
        view = View(
            tuple(row[1]),
            None if segments is None else tuple(segments),
            tuple(limits["withheld"]),
            row[3],
            tuple(limits.get("regions", ())),
        )
        found |= dict.fromkeys(row[0].split(", "), Proposal(view, *row[4:]))
    return found


def _publish_state(con: Connection, state: State, run: Run, crash_point: CrashPoint) -> tuple[str, dict[str, Proposal]]:
    with transaction(con):
        candidate_id = mark_published(con, "sync", run)
        readers = proposals(con)
        for proposal in sorted(set(readers.values()), key=lambda proposal: proposal.view.view_id):
            changes = StoredChanges(con, "sync.candidate_changes", proposal.view.view_id)
            state.publish(proposal, changes, run, crash_point)
            crash_point("after_publish")
            copy_desired(con, changes.table, proposal)
    crash_point("after_copy")
    return candidate_id, readers


@dataclass(frozen=True, slots=True)
class StoredChanges:
    """A proposal's rows of ``table``, shaped as ``sync.candidate_changes``; see ``state.ProposedChanges``."""

    con: Connection
    table: str
    view_id: str

    def entries(self) -> Iterator[list[tuple[int, str, str | None, int]]]:
        """Yield the entries of the log in their order."""
        return self._read("seq, customer_id, value, priority", "true", "seq")

    def upserts(self) -> Iterator[list[tuple[str, str, str, int]]]:
        """Yield who has a new value."""
        return self._read("view_id, customer_id, value, seq", "value is not null", "customer_id")

    def removals(self) -> Iterator[list[tuple[str, str]]]:
        """Yield who is removed."""
        return self._read("view_id, customer_id", "value is null", "customer_id")

    def _read(self, columns: str, condition: str, order: str) -> Iterator[list[Any]]:
        self.con.execute(
            f"select {columns} from {self.table} where view_id = ? and {condition} order by {order}",
            [self.view_id],
        )
        while rows := self.con.fetchmany(CHUNK_ROWS):
            yield rows


def copy_desired(con: Connection, table: str, proposal: Proposal) -> None:
    """Make the warehouse's copy follow a proposal's changes in ``table``, unless it already is a copy of its head."""
    view_id = proposal.view.view_id
    known = con.execute("select head_ref from sync.desired_heads where view_id = ?", [view_id]).fetchall()
    if known == [(proposal.commit_ref,)]:
        return
    con.execute(
        f"delete from sync.desired using {table} as changes where sync.desired.view_id = $view "
        "and changes.view_id = $view and changes.customer_id = sync.desired.customer_id",
        {"view": view_id},
    )
    con.execute(
        f"insert into sync.desired select view_id, customer_id, value, seq from {table} "
        "where view_id = ? and value is not null",
        [view_id],
    )
    note_head(con, view_id, proposal.head_seq, proposal.commit_ref)


def _serve(
    con: Connection,
    state: State,
    ledger: Ledger,
    destination: SqlDestination | FlagdDestination,
    view_id: str,
    run: Run,
    crash_point: CrashPoint,
    opener: OpenStore,
) -> Delivery:
    store = opener(destination)
    try:
        note_place(state, run, destination, view_id)
        delivery = Worker(state, ledger, destination, view_id, store, run, crash_point).deliver()
        if delivery.mode != "paused":
            prove(con, state, ledger, destination, store, delivery, run, crash_point)
        return delivery
    finally:
        store.close()


def _view_of(destination: SqlDestination | FlagdDestination, readers: dict[str, Proposal]) -> str:
    if destination.name not in readers:
        raise CandidateError(
            f"destination {destination.name} was not enabled when the candidate was built",
            where=destination.where,
            expected="the catalog that the candidate was built from",
            repair="strata run --from sync",
        )
    return readers[destination.name].view.view_id


def _together(failures: dict[str, StrataError], total: int) -> DeliveryError:
    return DeliveryError(
        f"{len(failures)} of {total} destinations were not brought up to date: "
        + "; ".join(f"{name}: {error.what}" for name, error in failures.items()),
        where="; ".join(f"{name}: {error.where}" for name, error in failures.items()),
        expected="; ".join(f"{name}: {error.expected}" for name, error in failures.items()),
        repair="; ".join(f"{name}: {error.repair}" for name, error in failures.items()),
    )


def _report(candidate_id: str, deliveries: list[Delivery]) -> StageReport:
    rows: dict[str, int] = {}
    facts: dict[str, object] = {}
    for delivery in deliveries:
        rows[f"{delivery.destination} written"] = delivery.written
        rows[f"{delivery.destination} deleted"] = delivery.deleted
        facts[delivery.destination] = {
            "mode": delivery.mode,
            "reason": delivery.reason,
            "seq": delivery.position.seq if delivery.position else None,
            "epoch": delivery.epoch,
            "lag_rows": delivery.lag_rows,
            "caught_up_seconds": delivery.caught_up_seconds,
            "refused": delivery.refused,
            **delivery.facts,
        }
    return StageReport(candidate_id=candidate_id, rows=rows, facts=facts)
