"""Requests to forget, and how far each place is with them.

Belongs here: the record of a request and the states of its sinks. Does not belong here: deleting anything
(`warehouse.py`, `places.py`). A request names the customer by ids of ours alone: it stays when everything else
about the person is gone, so that forgetting can be proved and, after a kill, gone on with.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from segmentation.errors import NotFoundError
from segmentation.warehouse import Connection

State = Literal["received", "suppressed", "running", "finished", "partial", "failed", "not_supported"]

#: From best to worst: what a request is as a whole, is what its worst place is.
STATES: tuple[State, ...] = ("finished", "suppressed", "running", "received", "partial", "not_supported", "failed")

#: One month, within which the GDPR (article 12, paragraph 3) wants an answer.
DEADLINE = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Sink:
    """One place where a customer's data may be.

    Attributes:
        name: ``warehouse``, ``exports``, ``sync``, ``destination:<name>``, ``readers``, ``landing`` …
        state: How far it is.
        detail: Counts, and names of files that are not ours to change; no personal data.
    """

    name: str
    state: State
    detail: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Erasure:
    """One request.

    Attributes:
        erasure_id: Its id, for people and receipts.
        customer_id: Whom it is about.
        former_ids: Ids that had been merged into that one; as gone as it is.
        n_identifiers: How many identifiers were suppressed.
        author: Who asked for it here.
        reason: Why, such as a ticket; no personal data.
        key_id: Key of the suppressions.
        requested_at: When, UTC.
        due_at: When it has to be finished, UTC.
        sinks: The newest state of every place, by name.
    """

    erasure_id: str
    customer_id: str
    former_ids: tuple[str, ...]
    n_identifiers: int
    author: str
    reason: str
    key_id: str
    requested_at: datetime
    due_at: datetime
    sinks: tuple[Sink, ...] = ()

    @property
    def customer_ids(self) -> tuple[str, ...]:
        """Every id of ours that the customer had."""
        return (self.customer_id, *self.former_ids)

    @property
    def state(self) -> State:
        """State of the whole: that of the worst place."""
        return max((sink.state for sink in self.sinks), key=STATES.index, default="received")

    def receipt(self) -> dict[str, object]:
        """Return what may be handed out as proof: JSON-ready, without personal data."""
        return {
            "erasure_id": self.erasure_id,
            "customer_id": self.customer_id,
            "former_ids": list(self.former_ids),
            "state": self.state,
            "requested_at": f"{self.requested_at:%Y-%m-%dT%H:%M:%SZ}",
            "due_at": f"{self.due_at:%Y-%m-%dT%H:%M:%SZ}",
            "identifiers_suppressed": self.n_identifiers,
            "suppression_key": self.key_id,
            "sinks": [{"sink": sink.name, "state": sink.state, **sink.detail} for sink in self.sinks],
        }


def record_request(con: Connection, erasure: Erasure) -> None:
    """Write a new request, in the caller's transaction."""
    con.execute(
        "insert into ops.erasures (erasure_id, customer_id, former_ids, n_identifiers, author, reason, key_id, "
        "requested_at, due_at) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            erasure.erasure_id,
            erasure.customer_id,
            list(erasure.former_ids),
            erasure.n_identifiers,
            erasure.author,
            erasure.reason,
            erasure.key_id,
            erasure.requested_at,
            erasure.due_at,
        ],
    )


def record_sinks(con: Connection, erasure_id: str, sinks: Sequence[Sink], at: datetime) -> None:
    """Write how far places are now; what they were before is replaced."""
    for sink in sinks:
        con.execute("delete from ops.erasure_sinks where erasure_id = ? and sink = ?", [erasure_id, sink.name])
        con.execute(
            "insert into ops.erasure_sinks (erasure_id, sink, state, detail, updated_at) values (?, ?, ?, ?, ?)",
            [erasure_id, sink.name, sink.state, json.dumps(dict(sink.detail), sort_keys=True), at],
        )


def read_requests(con: Connection) -> list[Erasure]:
    """Return all requests with the states of their places, the newest first."""
    places: dict[str, list[Sink]] = {}
    for erasure_id, sink, state, detail in con.execute(
        "select erasure_id, sink, state, detail from ops.erasure_sinks order by erasure_id, sink"
    ).fetchall():
        places.setdefault(erasure_id, []).append(Sink(sink, state, json.loads(detail)))
    rows = con.execute(
        "select erasure_id, customer_id, former_ids, n_identifiers, author, reason, key_id, requested_at, due_at "
        "from ops.erasures order by requested_at desc, erasure_id"
    ).fetchall()
    return [
        Erasure(
            erasure_id=row[0],
            customer_id=row[1],
            former_ids=tuple(row[2]),
            n_identifiers=row[3],
            author=row[4],
            reason=row[5],
            key_id=row[6],
            requested_at=row[7],
            due_at=row[8],
            sinks=tuple(places.get(row[0], ())),
        )
        for row in rows
    ]


def find_request(con: Connection, erasure_id: str) -> Erasure:
    """Return one request.

    Raises:
        NotFoundError: There is none of this id.
    """
    known = read_requests(con)
    for erasure in known:
        if erasure.erasure_id == erasure_id:
            return erasure
    raise NotFoundError(
        f"there is no erasure {erasure_id[:40]!r}",
        where="ops.erasures",
        expected=", ".join(one.erasure_id for one in known[:5]) or "an id that strata erase has given",
        repair="strata erasures",
    )
