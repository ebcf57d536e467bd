"""What every kind of destination must be able to do, and what it must promise.

Belongs here: the protocol that ``deliver.py`` drives and the values it passes. Does not belong here: any one
kind (its own module beside this one). Next: ``opening.py``, where kinds are told apart.

The promises: the position is stored atomically with the data; a batch at or below the position changes
nothing; a worker whose epoch is not the destination's own is refused; nothing half-loaded is ever visible.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from segmentation.sync.faults import DestinationError, FencedError
from segmentation.sync.state import CrashPoint, Row

#: Keys that start with this are no customers; ``#segments`` carries the segments that the view knows.
RESERVED = "#"
SEGMENTS_KEY = "#segments"


@dataclass(frozen=True, slots=True)
class Position:
    """How far a destination got, as the destination itself remembers it.

    Attributes:
        view_id: View whose log ``seq`` belongs to; empty before the first load.
        epoch: The newest worker that took the destination over.
        seq: Last entry of the log that is contained; ``None`` before the first load.
        ref: Reference of that entry's commit.
        as_of: Moment that the content describes.
        delivered_at: When it was last confirmed to be in step with the source.
    """

    view_id: str
    epoch: int
    seq: int | None
    ref: str
    as_of: datetime | None
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True)
class Batch:
    """A stretch of the log without gaps, the last write per customer only."""

    seq_from: int
    seq_to: int
    ref: str
    upserts: list[Row]
    deletes: list[str]


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a destination is told once it holds everything: how fresh it is."""

    as_of: datetime
    delivered_at: datetime
    max_staleness_seconds: int


def is_applied(store: "Store", position: int | None, batch: Batch) -> bool:
    """Say whether a destination at a position holds a batch already.

    Raises:
        DestinationError: The destination lacks what comes before the batch.
    """
    if position is not None and batch.seq_to <= position:
        return True
    if position is None or batch.seq_from > position + 1:
        raise DestinationError(
            f"destination {store.name} lacks what comes before entry {batch.seq_from}: it stands at {position}",
            where=store.where,
            expected=f"position {batch.seq_from - 1}",
            repair="strata run --from sync",
        )
    return False


def fenced(store: "Store", theirs: int | None, mine: int) -> FencedError:
    """Return the error of a worker whose epoch is not the destination's own."""
    return FencedError(
        f"a newer worker took over destination {store.name} (epoch {theirs}, this one has {mine})",
        where=store.where,
        expected="one worker per destination",
        repair="let the other run finish; run again only if its run failed",
    )


class RejectedRowsError(Exception):
    """A destination refuses some rows of a batch for what is in them; nothing of the batch was applied.

    Attributes:
        reasons: Reason by customer id.
    """

    def __init__(self, reasons: dict[str, str]) -> None:
        self.reasons = reasons
        super().__init__(f"{len(reasons)} rows rejected")


class Store(Protocol):
    """One open destination. Every method raises ``DestinationError`` where the destination fails."""

    #: Its key in the catalog.
    name: str
    #: Where it is, without secrets, for messages.
    where: str

    def position(self) -> Position | None:
        """Return how far it got, or ``None`` if it holds nothing of ours."""

    def acquire(self, epoch: int) -> Position:
        """Take it over durably; return where it stands. Raises ``FencedError`` unless ``epoch`` is newer."""

    def apply(self, epoch: int, batch: Batch) -> None:
        """Apply a batch and move the position to its end, in one atomic step."""

    def replace(self, epoch: int, chunks: Iterable[list[Row]], end: Position, crash_point: CrashPoint) -> int:
        """Load everything beside what is served, then switch to it atomically; return the rows loaded."""

    def confirm(self, epoch: int, confirmation: Confirmation) -> None:
        """Note that it holds everything there is; the heartbeat that readers measure staleness by."""

    def read_back(self) -> Iterator[list[Row]]:
        """Yield everything it serves."""

    def repair(self, epoch: int, upserts: list[Row], deletes: list[str]) -> None:
        """Correct single rows without moving the position."""

    def forget(self, customer_ids: Sequence[str]) -> int:
        """Remove customers from everything the store keeps, also beside what it serves; return the rows removed.

        Delivery has removed them from what is served; a content that was replaced and not dropped yet may still
        name them. Where the store's file keeps deleted bytes, it is written anew.
        """

    def close(self) -> None:
        """Give its resources back."""
