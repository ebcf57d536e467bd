"""Freezing, killing, rolling back and releasing a segment: the decision, written down with its row in the audit log.

Belongs here: what must be so before a pin stands, and the rows that record it. Does not belong here: what a pin does
(``pins.py``), or what came of it (``pin_effects.py``). Nothing is published here: a pin acts with the next candidate.
Deciding the same again writes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from segmentation import audit
from segmentation.errors import NotFoundError, StrataError
from segmentation.identity.rule_book import Signature, check_words
from segmentation.segments.moments import Moment, find_moment, list_moments, members_after_sql, require_known
from segmentation.segments.pins import WORDS, Pin, find_pin, write_pin
from segmentation.warehouse import Connection, scalar

ACTIONS = ("freeze", "kill", "rollback", "unfreeze")

#: Those that can't wait: they act on what is live, so that neither a mistake in the catalog nor an edit has a part.
URGENT = frozenset({"freeze", "kill", "rollback"})


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided about a segment.

    Attributes:
        action: ``freeze``, ``kill``, ``rollback`` or ``unfreeze``.
        segment_key: The segment.
        pin: What holds the segment now, or what held it until now; ``None`` where nothing did.
        is_new: Whether anything was written.
        is_pending: Whether no publication knows of it yet.
        moment: Of a rollback, what it goes back to.
    """

    action: str
    segment_key: str
    pin: Pin | None
    is_new: bool
    is_pending: bool
    moment: Moment | None = None

    @property
    def sentence(self) -> str:
        """What was decided, for people."""
        if self.action != "unfreeze":
            again = "" if self.is_new else " already"
            return f"{self.segment_key} is{again} {self.pin.sentence}" if self.pin else self.segment_key
        if self.pin is None:
            return f"nothing holds {self.segment_key}: it follows its rule"
        return f"{self.segment_key} is no longer {WORDS[self.pin.kind]}: it follows its rule again"


def decide_pin(con: Connection, action: str, segment_key: str, signature: Signature, *, to: str = "") -> Decision:
    """Hold a segment, or let it go, in the caller's transaction.

    Args:
        con: The warehouse, open for writing.
        action: One of ``ACTIONS``.
        segment_key: The segment.
        signature: Who, why, when.
        to: Of a rollback, what to go back to; see ``moments.find_moment``.

    Raises:
        NotFoundError: There is no such segment, or nothing as ``to`` says.
        StrataError: The segment can't have members, or who and why is not said.
    """
    if action not in ACTIONS:
        raise StrataError(f"there is no action {action!r}", expected=", ".join(ACTIONS))
    check_words(con, signature, ())
    require_known(con, segment_key)
    if action == "unfreeze":
        return _release(con, segment_key, signature)
    _require_live(con, segment_key)
    moment = _moment(con, action, segment_key, to)
    held = find_pin(con, segment_key)
    if (
        held
        and held.kind == action
        and (moment is None or action == "freeze" or held.publication_seq == moment.publication_seq)
    ):
        return Decision(action, segment_key, held, False, _is_pending(con, segment_key, held.pin_id), moment)
    return Decision(action, segment_key, _pin(con, action, segment_key, signature, moment, held), True, True, moment)


def _pin(
    con: Connection, action: str, segment_key: str, signature: Signature, moment: Moment | None, held: Pin | None
) -> Pin:
    """Write a pin in place of the one that held the segment."""
    # A pin bears the number of its row in the audit log, which never starts anew: no name is given twice.
    pin_id = f"pin{audit.next_seq(con)}"
    if moment is not None:
        con.execute(
            f"insert into segments.pin_members select '{pin_id}', customer_id "
            f"from ({members_after_sql(segment_key, moment.publication_seq)})"
        )
    kept = int(str(scalar(con, "select count(*) from segments.pin_members where pin_id = ?", [pin_id])))
    pin = Pin(
        pin_id=pin_id,
        segment_key=segment_key,
        kind=action,
        author=signature.author,
        reason=signature.reason,
        publication_seq=moment.publication_seq if moment else None,
        held_as_of=moment.as_of if moment else None,
        held_version=moment.segment_version if moment else None,
        members=max(kept, moment.members or 0) if moment else 0,
        started_at=signature.at,
    )
    detail: dict[str, object] = {"pin": pin_id, "reason": signature.reason}
    if moment is not None:
        detail |= {"publication": moment.publication_seq, "as_of": f"{moment.as_of}", "members": kept}
    if held is not None:
        detail["replaces"] = held.pin_id
        _end(con, held, signature, f"replaced by {pin_id}")
    _record(con, action, segment_key, signature, detail)
    write_pin(con, pin)
    return pin


def _release(con: Connection, segment_key: str, signature: Signature) -> Decision:
    held = find_pin(con, segment_key)
    if held is None:
        return Decision("unfreeze", segment_key, None, False, _is_pending(con, segment_key, None))
    ended = _end(con, held, signature, signature.reason)
    _record(con, "unfreeze", segment_key, signature, {"pin": held.pin_id, "reason": signature.reason})
    return Decision("unfreeze", segment_key, ended, True, _is_pending(con, segment_key, None))


def _end(con: Connection, pin: Pin, signature: Signature, reason: str) -> Pin:
    ended = replace(pin, ended_at=signature.at, ended_by=signature.author, ended_reason=reason)
    write_pin(con, ended)
    # Whom it held is kept for as long as it holds them: membership itself has its history.
    con.execute("delete from segments.pin_members where pin_id = ?", [pin.pin_id])
    return ended


def _record(con: Connection, action: str, segment_key: str, signature: Signature, detail: Mapping[str, object]) -> None:
    audit.append(
        con, at=signature.at, actor=signature.author, action=f"segments.{action}", subject=segment_key, detail=detail
    )


def _is_pending(con: Connection, segment_key: str, pin_id: str | None) -> bool:
    published = scalar(con, "select pin_id from segments.catalog where segment_key = ?", [segment_key])
    return published != pin_id


def _require_live(con: Connection, segment_key: str) -> None:
    rows = con.execute(
        "select is_evaluated, lifecycle from segments.catalog where segment_key = ?", [segment_key]
    ).fetchall()
    if not rows:
        raise NotFoundError(
            f"segment {segment_key} left the catalog: nobody can be in it",
            where="segments.catalog",
            expected="a segment of the published catalog",
            repair=f"put catalog/segments/{segment_key}.yml back, then strata run --from segments",
        )
    is_evaluated, lifecycle = rows[0]
    if not is_evaluated:
        state = "expired" if lifecycle in {"canary", "active", "deprecated"} else lifecycle
        raise StrataError(
            f"nobody can be in {segment_key}: the segment is {state}",
            where="segments.catalog",
            expected="an active segment",
            repair=f"edit catalog/segments/{segment_key}.yml, then strata run --from segments",
        )


def _moment(con: Connection, action: str, segment_key: str, to: str) -> Moment | None:
    """Return the publication whose members are held; ``None`` for a kill."""
    if action == "kill":
        return None
    if action == "freeze":
        return list_moments(con, segment_key)[0]
    moment = find_moment(con, segment_key, to)
    first = scalar(
        con,
        "select min(p.publication_seq) from segments.versions as v "
        "inner join segments.publications as p on v.first_run_id = p.run_id where v.segment_key = ?",
        [segment_key],
    )
    if isinstance(first, int) and moment.publication_seq < first:
        raise NotFoundError(
            f"{segment_key} did not exist as of {moment.as_of}: it was first published by publication {first}",
            where="segments.versions",
            expected=f"publication {first} or a later one",
            repair=f"strata history {segment_key} lists them; to empty the segment: strata kill {segment_key}",
        )
    return moment
