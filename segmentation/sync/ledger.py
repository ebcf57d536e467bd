"""The ledger of deliveries: who took a destination over, what was acknowledged, refused and proven.

Belongs here: our side of each destination, in the state database. Does not belong here: the log itself
(``state.py``). A worker takes a destination over by raising its epoch; there is no timed lease, because a
lease that outlives a killed worker only delays its repair, while the destination refuses old epochs anyway.
"""

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select, update

from segmentation.run import Run
from segmentation.sync.catalog import DestinationBase
from segmentation.sync.engine import upsert
from segmentation.sync.state import Change, State
from segmentation.sync.stores.contract import Position
from segmentation.sync.tables import DEAD_LETTERS, DESTINATIONS, RECEIPTS, RECONCILIATIONS


@dataclass(frozen=True, slots=True)
class Takeover:
    """A worker's claim on a destination.

    Attributes:
        epoch: The worker's number; larger ones are newer.
        is_forked: The destination has seen a later epoch than our ledger: the ledger was restored from a
            backup, so the destination may hold what our log never said.
    """

    epoch: int
    is_forked: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a destination holds, compared with what it should hold.

    Attributes:
        checked: Rows read back.
        differs: Rows with another value than they should have.
        missing: Rows that are not there.
        extra: Rows that should not be there.
        pending: Rows left out because a change of theirs is still on its way.
        digest: SHA-256 over everything read back.
        expected_digest: The same over everything that should be there.
    """

    checked: int
    differs: int
    missing: int
    extra: int
    pending: int
    digest: str
    expected_digest: str

    @property
    def drift(self) -> int:
        """Rows that are wrong."""
        return self.differs + self.missing + self.extra


@dataclass(frozen=True, slots=True)
class LastDelivery:
    """What the ledger says about a destination's last delivery, and what backs it.

    Attributes:
        view_id: View that it was last given; empty before the first delivery.
        is_delivered: Whether it is said to hold everything there was.
        seq: Entry of the log up to which it has everything, by its receipt.
        ref: The commit's reference, as the receipt has it from the destination; ``None`` without a receipt.
        log_ref: The reference that our log has for that entry; ``None`` where the log does not reach back.
        rows_wrong: Rows found wrong when it was read back for the receipt; ``None`` where it was not read back.
    """

    view_id: str = ""
    is_delivered: bool = False
    seq: int | None = None
    ref: str | None = None
    log_ref: str | None = None
    rows_wrong: int | None = None


class Ledger:
    """Our side of all destinations, kept in the state database."""

    def __init__(self, state: State, run: Run) -> None:
        self._state = state
        self._run = run

    def is_paused(self, destination: str) -> bool:
        """Say whether an operator stopped delivery to the destination."""
        with self._state.reading() as connection:
            wanted = select(DESTINATIONS.c.paused).where(DESTINATIONS.c.destination == destination)
            return bool(connection.execute(wanted).scalar())

    def pause(self, destination: DestinationBase, *, paused: bool) -> None:
        """Stop delivery to a destination from the next run on, or let it go on."""
        with self._state.transaction() as connection:
            self._ensure(connection, destination)
            self._set(connection, destination.name, paused=paused, status="paused" if paused else "waiting")

    def epoch(self, destination: str) -> int:
        """Return the last epoch that was given out for the destination; 0 before the first."""
        with self._state.reading() as connection:
            wanted = select(DESTINATIONS.c.epoch).where(DESTINATIONS.c.destination == destination)
            return connection.execute(wanted).scalar() or 0

    def take_over(self, destination: DestinationBase, view_id: str, held_epoch: int) -> Takeover:
        """Claim a destination with an epoch above every one that we, or it, have seen; durably."""
        with self._state.transaction() as connection:
            self._ensure(connection, destination)
            wanted = select(DESTINATIONS.c.epoch).where(DESTINATIONS.c.destination == destination.name)
            known: int = connection.execute(wanted.with_for_update()).scalar_one()
            epoch = max(known, held_epoch) + 1
            self._set(
                connection,
                destination.name,
                epoch=epoch,
                lease_owner=self._run.run_id,
                view_id=view_id,
                status="delivering",
            )
        return Takeover(epoch, is_forked=held_epoch > known)

    def acknowledge(self, destination: str, epoch: int, seq: int) -> None:
        """Note how far a destination got; a figure for people, never what delivery starts from."""
        with self._state.transaction() as connection:
            connection.execute(
                update(DESTINATIONS)
                .where(DESTINATIONS.c.destination == destination, DESTINATIONS.c.epoch == epoch)
                .values(acked_seq=seq, updated_at=self._run.recorded_at)
            )

    def fail(self, destination: DestinationBase, message: str) -> None:
        """Note why a destination was not brought up to date."""
        with self._state.transaction() as connection:
            self._ensure(connection, destination)
            self._set(connection, destination.name, status="failed", last_error=message)

    def last_delivery(self, destination: str) -> LastDelivery:
        """Return what is known of a destination's last delivery."""
        ours, receipts, found = DESTINATIONS.c, RECEIPTS.c, RECONCILIATIONS.c
        with self._state.reading() as connection:
            row = connection.execute(
                select(ours.view_id, ours.epoch, ours.status).where(ours.destination == destination)
            ).first()
            if row is None:
                return LastDelivery()
            receipt = connection.execute(
                select(receipts.seq, receipts.ref, receipts.digest, receipts.run_id)
                .where(receipts.destination == destination, receipts.epoch == row.epoch)
                .order_by(receipts.recorded_at.desc(), receipts.seq.desc())
                .limit(1)
            ).first()
            if receipt is None:
                return LastDelivery(row.view_id, row.status == "delivered")
            # What was repaired is read once more: the row that counts is the one with the receipt's digest.
            wrong = connection.execute(
                select(found.differs + found.missing + found.extra).where(
                    found.destination == destination,
                    found.run_id == receipt.run_id,
                    found.seq == receipt.seq,
                    found.digest == receipt.digest,
                    found.repaired == 0,
                )
            ).scalar()
        return LastDelivery(
            row.view_id,
            row.status == "delivered",
            receipt.seq,
            receipt.ref,
            self._state.ref_at(self._state.head(row.view_id), receipt.seq),
            wrong,
        )

    def last_reconciled_at(self, destination: str, view_id: str) -> datetime | None:
        """Return when a destination's content was last read back; ``None`` if never."""
        table = RECONCILIATIONS
        wanted = (
            select(table.c.recorded_at)
            .where(table.c.destination == destination, table.c.view_id == view_id)
            .order_by(table.c.recorded_at.desc())
            .limit(1)
        )
        with self._state.reading() as connection:
            return connection.execute(wanted).scalar()

    def dead_letters(self, destination: str) -> list[Change]:
        """Return the rows a destination refused, oldest first."""
        table = DEAD_LETTERS
        wanted = select(table.c.seq, table.c.customer_id, table.c.value).where(table.c.destination == destination)
        with self._state.reading() as connection:
            return [Change(row[0], row[1], row[2], "") for row in connection.execute(wanted.order_by(table.c.seq))]

    def bury(self, destination: str, change: Change, reason: str) -> None:
        """Keep a refused row, to be tried again in every run until a newer value replaces it."""
        table = DEAD_LETTERS
        mine = (table.c.destination == destination) & (table.c.customer_id == change.customer_id)
        with self._state.transaction() as connection:
            known = connection.execute(select(table.c.attempts, table.c.first_failed_at).where(mine)).first()
            row = {
                "destination": destination,
                "customer_id": change.customer_id,
                "seq": change.seq,
                "value": change.value,
                "reason": reason,
                "attempts": known.attempts + 1 if known else 1,
                "first_failed_at": known.first_failed_at if known else self._run.recorded_at,
                "last_failed_at": self._run.recorded_at,
            }
            connection.execute(upsert(connection, table), [row])

    def resurrect(self, destination: str, customer_ids: list[str] | None = None) -> None:
        """Forget refused rows: newer values of theirs were accepted, or (``None``) everything was loaded anew."""
        wanted = delete(DEAD_LETTERS).where(DEAD_LETTERS.c.destination == destination)
        with self._state.transaction() as connection:
            if customer_ids is not None:
                wanted = wanted.where(DEAD_LETTERS.c.customer_id.in_(customer_ids))
            connection.execute(wanted)

    def record_comparison(self, destination: str, position: Position, found: Comparison, repaired: int) -> None:
        """Keep the result of reading a destination back."""
        row = {
            "reconciliation_id": self._id("reconciliation", destination, position, found.digest, repaired),
            "destination": destination,
            "view_id": position.view_id,
            "seq": position.seq,
            **asdict(found),
            "repaired": repaired,
            "run_id": self._run.run_id,
            "recorded_at": self._run.recorded_at,
        }
        with self._state.transaction() as connection:
            connection.execute(upsert(connection, RECONCILIATIONS), [row])

    def issue_receipt(
        self, destination: str, position: Position, *, mode: str, written: int, deleted: int, proof: Comparison | None
    ) -> None:
        """Write the receipt of a finished delivery, and with it that the destination holds everything there is.

        With ``proof`` the receipt says what was read back.
        """
        row = {
            "receipt_id": self._id("receipt", destination, position, proof.digest if proof else "", 0),
            "destination": destination,
            "view_id": position.view_id,
            "epoch": position.epoch,
            "seq": position.seq,
            "ref": position.ref,
            "mode": mode,
            "rows_written": written,
            "rows_deleted": deleted,
            "rows_held": proof.checked if proof else None,
            "digest": proof.digest if proof else None,
            "as_of": position.as_of,
            "run_id": self._run.run_id,
            "recorded_at": self._run.recorded_at,
        }
        with self._state.transaction() as connection:
            connection.execute(upsert(connection, RECEIPTS), [row])
            self._set(
                connection, destination, status="delivered", last_error=None, as_of=position.as_of, lease_owner=None
            )

    def _id(self, kind: str, destination: str, position: Position, digest: str, repaired: int) -> str:
        facts = (kind, destination, position.epoch, position.seq, position.ref, self._run.run_id, digest, repaired)
        return hashlib.sha256("|".join(map(str, facts)).encode()).hexdigest()[:24]

    def _ensure(self, connection: Connection, destination: DestinationBase) -> None:
        wanted = select(DESTINATIONS.c.destination).where(DESTINATIONS.c.destination == destination.name)
        if connection.execute(wanted).first() is None:
            connection.execute(
                insert(DESTINATIONS).values(
                    destination=destination.name,
                    view_id="",
                    kind=getattr(destination, "kind", ""),
                    epoch=0,
                    paused=False,
                    status="waiting",
                )
            )

    def _set(self, connection: Connection, destination: str, **values: object) -> None:
        connection.execute(
            update(DESTINATIONS)
            .where(DESTINATIONS.c.destination == destination)
            .values(**values, updated_at=self._run.recorded_at)
        )
