"""Lookup: which segments a customer is in, answered from the online store alone.

Belongs here: reading for callers at request time. Does not belong here: writing the store
(``stores/sqlalchemy_store.py``). The answer has three forms: known, stale (known, but the store was not
confirmed for too long) and unknown, which is not "in no segment".
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, inspect, make_url, select

from segmentation.errors import NotFoundError
from segmentation.run import as_utc
from segmentation.sync.engine import open_reader, shown, sqlite_file
from segmentation.sync.faults import DestinationError, translated
from segmentation.sync.stores.contract import RESERVED
from segmentation.sync.stores.sqlalchemy_store import POSITIONS, members_table

#: A merged id points to the surviving one; paths are compressed, so more hops mean a loop.
_MAX_HOPS = 5


@dataclass(frozen=True, slots=True)
class LookupResult:
    """What the online store says about one customer.

    Attributes:
        status: ``known``, ``stale`` or ``unknown``.
        asked_id: The id that was asked for.
        customer_id: The id it stands for now, after merges; ``None`` if unknown.
        segments: Version by segment, empty if the customer is in none; ``None`` if unknown.
        groups: Effective segment by exclusive group; ``None`` if unknown.
        as_of: Moment that the answer describes.
        age_seconds: Seconds from ``as_of`` to the question.
        delivered_at: When the store was last confirmed to be in step with the source.
        staleness_seconds: Seconds from ``delivered_at`` to the question.
        max_staleness_seconds: More than this is called stale.
        is_stale: Whether it is, for unknown customers too.
        seq: Entry of the log that the store stands at.
    """

    status: str
    asked_id: str
    customer_id: str | None
    segments: dict[str, int] | None
    groups: dict[str, str] | None
    as_of: datetime | None
    age_seconds: int | None
    delivered_at: datetime | None
    staleness_seconds: int | None
    max_staleness_seconds: int | None
    is_stale: bool
    seq: int | None

    def is_member(self, segment_key: str) -> bool | None:
        """Say whether the customer is in a segment; ``None`` if that is unknown, which is not ``False``."""
        return None if self.segments is None else segment_key in self.segments

    def evaluation_context(self) -> dict[str, Any]:
        """Return attributes for feature flags; without ``segments`` the flags of the flag file say unknown."""
        if self.segments is None:
            return {"membership": self.status}
        return {"membership": self.status, "segments": sorted(self.segments), **(self.groups or {})}

    def as_dict(self) -> dict[str, Any]:
        """The answer as JSON-ready facts."""
        return {name: fact.isoformat() if isinstance(fact, datetime) else fact for name, fact in asdict(self).items()}


def lookup(url: str, customer_id: str, now: datetime, *, destination: str = "online_store") -> LookupResult:
    """Answer from the online store at ``url``; ids that were merged away answer for the surviving customer.

    Args:
        url: SQLAlchemy url of the online store.
        customer_id: Current or former customer id.
        now: The moment of the question, UTC.
        destination: Name of the destination in the catalog.

    Raises:
        NotFoundError: Nothing was ever delivered there.
        DestinationError: The store can't be read.
    """
    where = shown(url)
    path = sqlite_file(make_url(url))
    if path is not None and not path.exists():
        raise _empty(destination, where)
    engine = open_reader(url)
    try:
        with (
            translated(
                DestinationError, f"destination {destination} can't be read", where, "an online store written by sync"
            ),
            engine.begin() as connection,
        ):
            if not inspect(connection).has_table(POSITIONS.name):
                raise _empty(destination, where)
            wanted = select(POSITIONS).where(POSITIONS.c.destination == destination)
            row = connection.execute(wanted).mappings().first()
            if row is None or row["generation"] is None:
                raise _empty(destination, where)
            found_id, value = _find(connection, destination, row["generation"], customer_id)
    finally:
        engine.dispose()
    return _answer(customer_id, found_id, value, row, as_utc(now))


def _find(
    connection: Connection, destination: str, generation: int, customer_id: str
) -> tuple[str | None, dict[str, Any] | None]:
    members = members_table(destination, generation)
    wanted = customer_id
    for _ in range(_MAX_HOPS):
        if wanted.startswith(RESERVED):
            break
        text = connection.execute(select(members.c.value).where(members.c.customer_id == wanted)).scalar()
        if text is None:
            break
        value = json.loads(text)
        if "merged_into" not in value:
            return wanted, value
        wanted = value["merged_into"]
    return None, None


def _answer(
    asked_id: str, found_id: str | None, value: dict[str, Any] | None, held: RowMapping, now: datetime
) -> LookupResult:
    staleness = _seconds(held["delivered_at"], now)
    limit = held["max_staleness_seconds"]
    # A store that was never confirmed is stale by definition.
    is_stale = staleness is None or limit is None or staleness > limit
    status = "unknown" if value is None else "stale" if is_stale else "known"
    return LookupResult(
        status=status,
        asked_id=asked_id,
        customer_id=found_id,
        segments=None if value is None else value["segments"],
        groups=None if value is None else value["groups"],
        as_of=held["as_of"],
        age_seconds=_seconds(held["as_of"], now),
        delivered_at=held["delivered_at"],
        staleness_seconds=staleness,
        max_staleness_seconds=limit,
        is_stale=is_stale,
        seq=held["seq"],
    )


def _seconds(since: datetime | None, now: datetime) -> int | None:
    # A reader's clock may be behind the writer's; an answer is never younger than now.
    return None if since is None else max(int((now - since).total_seconds()), 0)


def _empty(destination: str, where: str) -> NotFoundError:
    return NotFoundError(
        f"nothing has been delivered to {destination} yet",
        where=where,
        expected="a finished run",
        repair="strata run",
    )
