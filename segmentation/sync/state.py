"""The state database: what every destination should hold, and the log that leads there.

Belongs here: reading and publishing a view's desired state and its log, in whole transactions. Does not
belong here: who has received it (``ledger.py``). Algorithm: state-carrying changes (a customer's whole value
or its removal) in one sequence per view; every commit names its predecessor, so a restored or forked log
is recognised by its references.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Protocol, TypeVar

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from segmentation.run import Run
from segmentation.sync.engine import compact, open_engine, open_reader, read_many, shown, upsert, write_many
from segmentation.sync.faults import StateError, translated
from segmentation.sync.tables import CHANGE_LOG, DEAD_LETTERS, DESIRED, METADATA, RUNS, VIEWS
from segmentation.sync.views import View, view_of

#: Rows sent to the state database, or read from it, at once.
CHUNK_ROWS = 10_000

Item = TypeVar("Item")

#: What a run's id is followed by in the commits and receipts of its withdrawals.
WITHDRAWALS = ":withdrawals"

#: ``(customer_id, value)``.
Row = tuple[str, str]

#: Called at the named points of a run; tests stop the process there.
CrashPoint = Callable[[str], None]


def no_crash(point: str) -> None:
    """Let the run go on: what every run outside of tests does."""


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a view's log; sequence number 0 and an empty reference where nothing was published."""

    view_id: str
    seq: int = 0
    ref: str = ""
    floor_seq: int = 0
    floor_ref: str = ""
    as_of: datetime | None = None
    published_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the log: the customer's whole new value, or ``None`` for removal."""

    seq: int
    customer_id: str
    value: str | None
    commit_ref: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a candidate would do to one view.

    Attributes:
        base_seq: Head that the candidate was compared with.
        base_ref: Its reference.
        commit_ref: Reference after publishing; equal to ``base_ref`` when nothing changes.
        is_snapshot: So much changes that destinations load anew; the log then holds no rows for it.
        is_withdrawal: It only takes away, so the view goes on describing the moment that it described.
    """

    view: View
    base_seq: int
    base_ref: str
    commit_ref: str
    head_seq: int
    is_snapshot: bool
    inserts: int
    updates: int
    deletes: int
    is_withdrawal: bool = False

    @property
    def mode(self) -> str:
        """How the change is handed on: ``none``, ``log`` or ``snapshot``."""
        if self.commit_ref == self.base_ref:
            return "none"
        return "snapshot" if self.is_snapshot else "log"


class ProposedChanges(Protocol):
    """The changes of a proposal, read as often as they are asked for, in lists of rows ready to be written."""

    def entries(self) -> Iterator[list[tuple[int, str, str | None, int]]]:
        """Yield ``(seq, customer_id, value, priority)`` in the order of ``seq``."""

    def upserts(self) -> Iterator[list[tuple[str, str, str, int]]]:
        """Yield ``(view_id, customer_id, value, version)`` of everybody with a new value, by customer."""

    def removals(self) -> Iterator[list[tuple[str, str]]]:
        """Yield ``(view_id, customer_id)`` of everybody who is removed."""


def next_ref(base_ref: str, view_id: str, content: str) -> str:
    """Return the reference of a commit: a hash chain, so that equal references mean equal histories."""
    return hashlib.sha256(json.dumps([base_ref, view_id, content]).encode()).hexdigest()[:32]


class State:
    """The open state database.

    Args:
        url: SQLAlchemy url; its tables are created where they are missing.

    Raises:
        StateError: The database can't be opened or written.
    """

    def __init__(self, url: str) -> None:
        self.where = shown(url)
        self.engine = open_engine(url, durable=True)
        self._reader = open_reader(url)
        with self.transaction() as connection:
            METADATA.create_all(connection)

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()
        self._reader.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Run a block as one transaction, with the database's errors made readable."""
        with (
            translated(StateError, "the state of sync can't be used", self.where, "a writable state database"),
            self.engine.begin() as connection,
        ):
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Run a block that only reads, over one snapshot, without holding up a writer."""
        with (
            translated(StateError, "the state of sync can't be read", self.where, "a readable state database"),
            self._reader.begin() as connection,
        ):
            yield connection

    def head(self, view_id: str) -> Head:
        """Return where a view's log ends."""
        with self.reading() as connection:
            return _head(connection, view_id)

    def views(self) -> dict[str, View]:
        """Return every view that was published, by its id."""
        held = VIEWS.c
        with self.reading() as connection:
            rows = connection.execute(select(held.view_id, held.purposes, held.limits)).all()
        return {row.view_id: view_of(row.view_id, json.loads(row.purposes), json.loads(row.limits)) for row in rows}

    def publish(
        self, proposal: Proposal, changes: ProposedChanges, run: Run, crash_point: CrashPoint = no_crash
    ) -> bool:
        """Append a candidate's changes to the log and apply them to the desired state, all or nothing.

        Publishing what is published already changes nothing but ``as_of``. Returns whether rows changed.

        Raises:
            StateError: The view has moved on since the candidate was compared with it.
        """
        view_id = proposal.view.view_id
        with self.transaction() as connection:
            head = _head(connection, view_id)
            is_new = head.ref != proposal.commit_ref
            if is_new and (head.seq, head.ref) != (proposal.base_seq, proposal.base_ref):
                raise StateError(
                    f"view {view_id} was published by another run since this candidate was built",
                    where=f"{self.where}, seq {head.seq} instead of {proposal.base_seq}",
                    expected="the state that the candidate was compared with",
                    repair="strata run --from sync",
                )
            if is_new:
                self._write(connection, proposal, changes, run, crash_point)
            _move_head(connection, proposal, run, head, moved=is_new)
            known = select(RUNS.c.run_id).where(RUNS.c.run_id == run.run_id, RUNS.c.view_id == view_id)
            if is_new or connection.execute(known).first() is None:
                connection.execute(upsert(connection, RUNS), [_run_row(proposal, run)])
        return is_new

    def snapshot(self, view_id: str) -> Iterator[tuple[Head, list[Row]]]:
        """Yield the whole desired state in chunks, sorted by customer, all as of one head."""
        wanted = (
            select(DESIRED.c.customer_id, DESIRED.c.value)
            .where(DESIRED.c.view_id == view_id)
            .order_by(DESIRED.c.customer_id)
        )
        with self.reading() as connection:
            head = _head(connection, view_id)
            found = False
            for chunk in read_many(connection, wanted, CHUNK_ROWS):
                found = True
                yield head, chunk
            if not found:
                yield head, []

    def changes(self, view_id: str, after_seq: int, limit: int) -> list[Change]:
        """Return the next ``limit`` entries of the log after a position, in order."""
        wanted = (
            select(CHANGE_LOG.c.seq, CHANGE_LOG.c.customer_id, CHANGE_LOG.c.value, CHANGE_LOG.c.commit_ref)
            .where(CHANGE_LOG.c.view_id == view_id, CHANGE_LOG.c.seq > after_seq)
            .order_by(CHANGE_LOG.c.seq)
            .limit(limit)
        )
        with self.reading() as connection:
            return [Change(row[0], row[1], row[2], row[3]) for row in connection.execute(wanted)]

    def ref_at(self, head: Head, seq: int) -> str | None:
        """Return the reference of the commit that a sequence number belongs to; ``None`` if it is not known."""
        if seq == head.seq:
            return head.ref
        if seq == head.floor_seq:
            return head.floor_ref
        wanted = select(CHANGE_LOG.c.commit_ref).where(CHANGE_LOG.c.view_id == head.view_id, CHANGE_LOG.c.seq == seq)
        with self.reading() as connection:
            return connection.execute(wanted).scalar()

    def committed_at(self, view_id: str, after_seq: int) -> datetime | None:
        """Return when the oldest entry after a position was committed; ``None`` where there is none."""
        wanted = select(func.min(CHANGE_LOG.c.committed_at)).where(
            CHANGE_LOG.c.view_id == view_id, CHANGE_LOG.c.seq > after_seq
        )
        with self.reading() as connection:
            return connection.execute(wanted).scalar()

    def only_withdraws(self, view_id: str, after_seq: int) -> bool:
        """Say whether every entry of a view's log after a position takes consent back or erases somebody."""
        withdrawn = select(RUNS.c.commit_ref).where(
            RUNS.c.view_id == view_id, RUNS.c.run_id.endswith(WITHDRAWALS, autoescape=True)
        )
        mine = (CHANGE_LOG.c.view_id == view_id) & (CHANGE_LOG.c.seq > after_seq)
        with self.reading() as connection:
            wanted = select(CHANGE_LOG.c.seq).where(mine, CHANGE_LOG.c.commit_ref.not_in(withdrawn)).limit(1)
            return connection.execute(wanted).first() is None

    def trim_log(self, view_id: str, keep_rows: int) -> int:
        """Forget all but the newest entries of a view's log; return how many were forgotten.

        Destinations that were further behind load the whole state instead.
        """
        with self.transaction() as connection:
            head = _head(connection, view_id)
            new_floor = head.seq - keep_rows
            if new_floor <= head.floor_seq:
                return 0
            at_floor = select(CHANGE_LOG.c.commit_ref).where(
                CHANGE_LOG.c.view_id == view_id, CHANGE_LOG.c.seq == new_floor
            )
            ref: str = connection.execute(at_floor).scalar_one()
            gone = connection.execute(
                delete(CHANGE_LOG).where(CHANGE_LOG.c.view_id == view_id, CHANGE_LOG.c.seq <= new_floor)
            ).rowcount
            connection.execute(
                update(VIEWS).where(VIEWS.c.view_id == view_id).values(floor_seq=new_floor, floor_ref=ref)
            )
            return gone

    def forget_views(self, keep: Collection[str]) -> list[str]:
        """Delete everything about views that nothing reads any more; return their names.

        What no destination may see any more must not be kept, least of all for customers who left; what one still
        holds must be, to take customers out of it. A destination that reads a forgotten view again is loaded anew.
        """
        with self.transaction() as connection:
            known = [row[0] for row in connection.execute(select(VIEWS.c.view_id))]
            gone = sorted(set(known) - set(keep))
            for table in (DESIRED, CHANGE_LOG, VIEWS):
                connection.execute(delete(table).where(table.c.view_id.in_(gone)))
        return gone

    def forget_customers(self, customer_ids: Sequence[str]) -> int:
        """Empty what the log said about customers and drop their refused rows; return how many rows that were.

        An emptied entry says that the customer is removed, as the entry after it does: a destination that is
        behind takes the same path to the same end. What the views hold now is not touched.
        """
        with self.transaction() as connection:
            mine = CHANGE_LOG.c.customer_id.in_(customer_ids)
            emptied = connection.execute(
                update(CHANGE_LOG).where(mine, CHANGE_LOG.c.value.is_not(None)).values(value=None)
            ).rowcount
            refused = connection.execute(delete(DEAD_LETTERS).where(DEAD_LETTERS.c.customer_id.in_(customer_ids)))
            forgotten = emptied + refused.rowcount
        with translated(StateError, "the state of sync can't be used", self.where, "a writable state database"):
            compact(self.engine)
        return forgotten

    def holders(self, customer_ids: Sequence[str]) -> list[str]:
        """Return the views whose desired state has one of the customers."""
        wanted = select(DESIRED.c.view_id).where(DESIRED.c.customer_id.in_(customer_ids)).distinct()
        with self.reading() as connection:
            return sorted(row[0] for row in connection.execute(wanted))

    def _write(
        self, connection: Connection, proposal: Proposal, changes: ProposedChanges, run: Run, crash_point: CrashPoint
    ) -> None:
        if not proposal.is_snapshot:
            for entries in changes.entries():
                connection.execute(insert(CHANGE_LOG), [_log_row(entry, proposal, run) for entry in entries])
                crash_point("mid_publish_tx")
        put = upsert(connection, DESIRED)
        for kept in changes.upserts():
            write_many(connection, put, ("view_id", "customer_id", "value", "version"), kept)
            crash_point("mid_publish_tx")
        drop = delete(DESIRED).where(
            DESIRED.c.view_id == bindparam("b_view"), DESIRED.c.customer_id == bindparam("b_customer")
        )
        for gone in changes.removals():
            write_many(connection, drop, ("b_view", "b_customer"), gone)
            crash_point("mid_publish_tx")


def chunks(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield ``items`` in lists of at most ``CHUNK_ROWS``."""
    source = iter(items)
    while chunk := list(islice(source, CHUNK_ROWS)):
        yield chunk


def _head(connection: Connection, view_id: str) -> Head:
    held = VIEWS.c
    wanted = select(
        held.view_id, held.head_seq, held.head_ref, held.floor_seq, held.floor_ref, held.as_of, held.published_at
    ).where(held.view_id == view_id)
    row = connection.execute(wanted).first()
    return Head(row[0], row[1], row[2], row[3], row[4], row[5], row[6]) if row else Head(view_id)


def _move_head(connection: Connection, proposal: Proposal, run: Run, head: Head, *, moved: bool) -> None:
    jumped = moved and proposal.is_snapshot
    connection.execute(
        upsert(connection, VIEWS),
        [
            {
                "view_id": proposal.view.view_id,
                "purposes": json.dumps(proposal.view.purposes),
                "limits": proposal.view.limits,
                "head_seq": proposal.head_seq if moved else head.seq,
                "head_ref": proposal.commit_ref if moved else head.ref,
                "floor_seq": proposal.head_seq if jumped else head.floor_seq,
                "floor_ref": proposal.commit_ref if jumped else head.floor_ref,
                "as_of": head.as_of if proposal.is_withdrawal else run.as_of,
                "published_at": head.published_at if proposal.is_withdrawal else run.recorded_at,
            }
        ],
    )


def _log_row(entry: tuple[int, str, str | None, int], proposal: Proposal, run: Run) -> dict[str, object]:
    return {
        "view_id": proposal.view.view_id,
        "seq": entry[0],
        "customer_id": entry[1],
        "value": entry[2],
        "commit_ref": proposal.commit_ref,
        "event_time": run.as_of,
        "committed_at": run.recorded_at,
        "priority": entry[3],
    }


def _run_row(proposal: Proposal, run: Run) -> dict[str, object]:
    return {
        "run_id": run.run_id,
        "view_id": proposal.view.view_id,
        "mode": proposal.mode,
        "base_seq": proposal.base_seq,
        "base_ref": proposal.base_ref,
        "head_seq": proposal.head_seq,
        "commit_ref": proposal.commit_ref,
        "inserts": proposal.inserts,
        "updates": proposal.updates,
        "deletes": proposal.deletes,
        "as_of": run.as_of,
        "recorded_at": run.recorded_at,
    }
