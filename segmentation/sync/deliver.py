"""Delivery: bringing one destination from where it stands to the head of its view's log.

Belongs here: taking over, choosing between the log and a full load, batches, refused rows. Does not belong
here: how a kind of destination writes (``stores/``), or proof of what it holds (``reconcile.py``).

The destination's own position decides where delivery starts. It loads everything anew when that position
can't be trusted to be a point of *this* log: another view, older than the log reaches back, beyond its end, a
commit reference that differs (the log was restored or forked), or an epoch that our ledger never gave out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from segmentation.run import Run
from segmentation.sync.catalog import DestinationBase
from segmentation.sync.faults import DestinationError
from segmentation.sync.ledger import Ledger, Takeover
from segmentation.sync.state import Change, CrashPoint, Head, Row, State, no_crash
from segmentation.sync.stores.contract import (
    Batch,
    Confirmation,
    Position,
    RejectedRowsError,
    Store,
)

#: Refused rows of one destination above which its delivery stops: something is wrong with all of them.
MAX_DEAD_LETTERS = 1_000


@dataclass(slots=True)
class Delivery:
    """What delivery did to one destination.

    Attributes:
        mode: ``log``, ``snapshot``, ``none`` (nothing to do) or ``paused``.
        reason: Why everything was loaded anew, where it was.
        position: Where the destination stands now.
        caught_up_seconds: Age of the oldest change that had been waiting, at the run's start.
    """

    destination: str
    mode: str = "none"
    reason: str = ""
    written: int = 0
    deleted: int = 0
    refused: int = 0
    batches: int = 0
    epoch: int = 0
    position: Position | None = None
    head_seq: int = 0
    head_ref: str = ""
    caught_up_seconds: int = 0
    facts: dict[str, object] = field(default_factory=dict)

    @property
    def lag_rows(self) -> int:
        """Entries of the log that the destination does not have yet."""
        held = self.position.seq if self.position and self.position.seq is not None else 0
        return max(self.head_seq - held, 0)


class Worker:
    """One worker on one destination, from taking it over to its confirmation.

    A worker that only follows (``only_follows=True``) goes on in the log and refuses to load anything anew. It leaves
    the destination as stale as it was: what the log says is no newer than its last publication.
    """

    def __init__(
        self,
        state: State,
        ledger: Ledger,
        destination: DestinationBase,
        view_id: str,
        store: Store,
        run: Run,
        crash_point: CrashPoint = no_crash,
        *,
        only_follows: bool = False,
    ) -> None:
        self._only_follows = only_follows
        self._state = state
        self._ledger = ledger
        self._destination = destination
        self._view_id = view_id
        self._store = store
        self._run = run
        self._crash_point = crash_point

    def deliver(self) -> Delivery:
        """Bring the destination up to date.

        Raises:
            DestinationError: It failed, or a newer worker took it over; run again and it goes on. Or it would have to
                be loaded anew, and this worker only follows.
        """
        name = self._destination.name
        head = self._state.head(self._view_id)
        if self._ledger.is_paused(name):
            return Delivery(name, mode="paused", position=self._store.position(), head_seq=head.seq)
        if self._only_follows:
            # Asked before taking over: that raises our epoch, and a destination that has seen a later one looks known.
            self._refuse_to_load(head)
        claim, held = self._take_over()
        done = Delivery(name, epoch=claim.epoch, head_seq=head.seq, head_ref=head.ref)
        reason = why_load_anew(self._state, head, held, is_forked=claim.is_forked)
        if reason:
            done.mode, done.reason = "snapshot", reason
            self._load(claim, done)
        else:
            self._follow(claim, head, held, done)
            self._retry_refused(claim, done)
        if not self._only_follows:
            # Nothing was published before the first run, so a head without a moment can't be confirmed.
            as_of = head.as_of or self._run.as_of
            self._store.confirm(
                claim.epoch, Confirmation(as_of, self._run.recorded_at, self._destination.max_staleness_seconds)
            )
            self._crash_point("after_confirm")
        done.position = self._read_position(done)
        return done

    def _read_position(self, done: Delivery) -> Position:
        """Return where the destination itself says it stands; the receipt bears that, not what it was told."""
        found = self._store.position()
        expected = (self._view_id, done.head_seq, done.head_ref)
        if found is None or (found.view_id, found.seq, found.ref) != expected:
            raise DestinationError(
                f"destination {done.destination} does not stand where it was brought to: "
                f"entry {found.seq if found else None} instead of {done.head_seq}",
                where=self._store.where,
                expected=f"entry {done.head_seq} of view {self._view_id}, commit {done.head_ref}",
                repair="find what else writes to it, then `strata run --from sync`",
            )
        return found

    def _refuse_to_load(self, head: Head) -> None:
        held = self._store.position()
        known = self._ledger.epoch(self._destination.name)
        reason = (
            why_load_anew(self._state, head, held, is_forked=held.epoch > known) if held else "it holds nothing yet"
        )
        if reason:
            raise DestinationError(
                f"destination {self._destination.name} has to be loaded anew: {reason}",
                where=self._store.where,
                expected=f"a position in the log of view {head.view_id}",
                repair="strata run --from sync: the full delivery loads it anew",
            )

    def _take_over(self) -> tuple[Takeover, Position]:
        before = self._store.position()
        claim = self._ledger.take_over(self._destination, self._view_id, before.epoch if before else 0)
        self._crash_point("after_epoch")
        held = self._store.acquire(claim.epoch)
        self._crash_point("after_acquire")
        return claim, held

    def _load(self, claim: Takeover, done: Delivery) -> None:
        """Replace everything the destination holds with the desired state."""
        source = self._state.snapshot(self._view_id)
        head, first = next(source)
        end = Position(self._view_id, claim.epoch, head.seq, head.ref, head.as_of, self._run.recorded_at)
        done.head_seq, done.head_ref = head.seq, head.ref

        def rows() -> Iterator[list[Row]]:
            yield first
            for _, chunk in source:
                yield chunk

        done.written = self._store.replace(claim.epoch, rows(), end, self._crash_point)
        self._ledger.resurrect(self._destination.name)
        self._ledger.acknowledge(self._destination.name, claim.epoch, head.seq)
        self._crash_point("after_ack")

    def _follow(self, claim: Takeover, head: Head, held: Position, done: Delivery) -> None:
        """Apply the log after the destination's position, batch by batch."""
        seq = held.seq or 0
        oldest = self._state.committed_at(head.view_id, seq) if seq < head.seq else None
        if oldest is not None:
            done.caught_up_seconds = max(int((self._run.recorded_at - oldest).total_seconds()), 0)
        while seq < head.seq:
            entries = self._state.changes(head.view_id, seq, self._destination.batch_size)
            if not entries or entries[0].seq != seq + 1 or entries[-1].seq - seq != len(entries):
                raise DestinationError(
                    f"the log of view {head.view_id} has a hole after entry {seq}",
                    where=self._state.where,
                    expected=f"entries up to {head.seq} without a gap",
                    repair=f"delete the position of {self._destination.name} at {self._store.where}, then "
                    "`strata run --from sync`: it is loaded anew",
                )
            self._apply(claim, entries, done)
            seq = entries[-1].seq
            done.mode = "log"

    def _apply(self, claim: Takeover, entries: list[Change], done: Delivery) -> None:
        batch = self._batch(entries)
        self._crash_point("before_apply")
        accepted = self._offer(claim, batch, {change.customer_id: change for change in entries}, done)
        self._crash_point("after_apply_before_ack")
        self._ledger.acknowledge(self._destination.name, claim.epoch, accepted.seq_to)
        self._crash_point("after_ack")
        done.written += len(accepted.upserts)
        done.deleted += len(accepted.deletes)
        done.batches += 1

    def _batch(self, entries: list[Change]) -> Batch:
        """Cut a batch: the last write per customer *within* this stretch of the log.

        Looking further ahead would save writes, but leave a position whose content never existed: were
        the log then restored to a point in between, a superseded entry would be lost for good.
        """
        last: dict[str, Change] = {change.customer_id: change for change in entries}
        kept = last.values()
        return Batch(
            seq_from=entries[0].seq,
            seq_to=entries[-1].seq,
            ref=entries[-1].commit_ref,
            upserts=[(change.customer_id, change.value) for change in kept if change.value is not None],
            deletes=[change.customer_id for change in kept if change.value is None],
        )

    def _offer(self, claim: Takeover, batch: Batch, by_customer: dict[str, Change], done: Delivery) -> Batch:
        """Apply a batch; rows that the destination refuses are kept aside and the rest goes through."""
        name = self._destination.name
        waiting = {change.customer_id for change in self._ledger.dead_letters(name)}
        try:
            self._store.apply(claim.epoch, batch)
        except RejectedRowsError as refusal:
            stuck = sorted(set(refusal.reasons) & set(batch.deletes))
            if stuck or len(waiting) + len(refusal.reasons) > MAX_DEAD_LETTERS:
                raise DestinationError(
                    f"destination {name} refuses {len(stuck)} removals and {len(refusal.reasons)} rows in all",
                    where=self._store.where,
                    expected=f"no refused removal, at most {MAX_DEAD_LETTERS} refused rows",
                    repair="see the reasons in sync.dead_letters, repair the destination, then "
                    "`strata run --from sync`",
                ) from None
            for customer_id, why in sorted(refusal.reasons.items()):
                self._ledger.bury(name, by_customer[customer_id], why)
            done.refused += len(refusal.reasons)
            batch = replace(batch, upserts=[row for row in batch.upserts if row[0] not in refusal.reasons])
            self._store.apply(claim.epoch, batch)
        arrived = waiting & ({row[0] for row in batch.upserts} | set(batch.deletes))
        if arrived:
            self._ledger.resurrect(name, sorted(arrived))
        return batch

    def _retry_refused(self, claim: Takeover, done: Delivery) -> None:
        """Offer every refused row once more, one by one; those that still fail wait for the next run."""
        for change in self._ledger.dead_letters(self._destination.name):
            if change.value is None:
                continue
            try:
                self._store.repair(claim.epoch, [(change.customer_id, change.value)], [])
            except RejectedRowsError as refusal:
                self._ledger.bury(self._destination.name, change, refusal.reasons[change.customer_id])
            else:
                self._ledger.resurrect(self._destination.name, [change.customer_id])
                done.written += 1


def why_load_anew(state: State, head: Head, held: Position, *, is_forked: bool) -> str:
    """Return why a destination's position is no point of this log; an empty text where it is one.

    ``is_forked`` says that it has seen a later epoch than our ledger gave out.
    """
    reason = ""
    if held.seq is None:
        reason = "it holds nothing yet"
    elif held.view_id != head.view_id:
        reason = "it holds another view"
    elif is_forked:
        reason = "it has seen a later epoch than the ledger, which was restored"
    elif held.seq < head.floor_seq:
        reason = "its position is older than the log reaches back"
    elif held.seq > head.seq:
        reason = "its position is beyond the end of the log, which was restored"
    elif state.ref_at(head, held.seq) != held.ref:
        reason = "its position is in another history than the log"
    return reason
