"""Promoting and aborting a canary: the decision, written down with its row in the audit log.

Belongs here: what must be so before people end a canary, and the rows that record it. Does not belong here: what a
canary is (``canaries.py``), or what ends it without people (``canary_metrics.py``). Nothing is published here: a
decision acts with the next candidate. Deciding the same again writes nothing.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from segmentation import audit
from segmentation.errors import NotFoundError, StrataError
from segmentation.identity.rule_book import Signature, check_words
from segmentation.segments.canary_rows import Canary, live_canaries
from segmentation.segments.compiled import CanaryState
from segmentation.segments.moments import require_known
from segmentation.segments.publications import latest_publication
from segmentation.warehouse import Connection, scalar

#: What people can do to a canary, and the state that it is in afterwards.
OUTCOMES: dict[str, CanaryState] = {"promote": "promoted", "abort": "aborted"}


@dataclass(frozen=True, slots=True)
class CanaryDecision:
    """What a person decided about a canary.

    Attributes:
        action: ``promote`` or ``abort``.
        segment_key: The segment.
        canary: The canary as it is now.
        is_new: Whether anything was written.
        is_pending: Whether nothing was published since.
    """

    action: str
    segment_key: str
    canary: Canary
    is_new: bool
    is_pending: bool

    @property
    def sentence(self) -> str:
        """What was decided, for people."""
        again = "" if self.is_new else " already"
        if self.action == "promote":
            return f"the canary of {self.segment_key} is{again} promoted: its new version holds for everybody"
        base = self.canary.base_version
        return f"the canary of {self.segment_key} is{again} aborted: " + (
            "nobody is in it" if base is None else f"version {base} holds for everybody"
        )


def decide_canary(
    con: Connection, action: str, segment_key: str, signature: Signature, *, force: bool = False
) -> CanaryDecision:
    """End a canary, in the caller's transaction.

    Args:
        con: The warehouse, open for writing.
        action: One of ``OUTCOMES``.
        segment_key: The segment.
        signature: Who, why, when.
        force: Promote although its days are not over, or its metrics paused it.

    Raises:
        NotFoundError: There is no such segment, or its live definition is no canary.
        StrataError: It ended otherwise already, can't be promoted yet, or who and why is not said.
    """
    if action not in OUTCOMES:
        raise StrataError(f"there is no action {action!r}", expected=", ".join(OUTCOMES))
    check_words(con, signature, ())
    require_known(con, segment_key)
    canary = live_canaries(con).get(segment_key)
    if canary is None:
        raise NotFoundError(
            f"the live version of {segment_key} is no canary",
            where="segments.catalog",
            expected="a segment published with lifecycle: canary",
            repair="strata segments lists canaries, strata plan those that wait for approval",
        )
    state = OUTCOMES[action]
    if canary.ended_at is not None:
        if canary.state != state:
            raise StrataError(
                f"it has ended: {canary.sentence}",
                where=f"segments.canaries, canary {canary.canary_seq} of {segment_key}",
                expected="a canary that is running or paused",
                repair=f"change what catalog/segments/{segment_key}.yml tries: that starts another canary",
            )
        return CanaryDecision(action, segment_key, canary, False, _is_pending(con, canary.ended_at))
    if action == "promote" and not force:
        _require_ripe(con, canary)
    con.execute(
        "update segments.canaries set state = ?, ended_at = ?, ended_by = ?, reason = ? where canary_seq = ?",
        [state, signature.at, signature.author, signature.reason, canary.canary_seq],
    )
    detail = {"canary": canary.canary_seq, "reason": signature.reason, "percent": canary.percent, "was": canary.state}
    audit.append(
        con,
        at=signature.at,
        actor=signature.author,
        action=f"segments.{action}",
        subject=segment_key,
        detail={**detail, "is_forced": force} if action == "promote" else detail,
    )
    ended = replace(canary, state=state, ended_at=signature.at, ended_by=signature.author, reason=signature.reason)
    return CanaryDecision(action, segment_key, ended, True, True)


def _require_ripe(con: Connection, canary: Canary) -> None:
    key = canary.segment_key
    where = f"segments.canaries, canary {canary.canary_seq} of {key}"
    if canary.state == "paused":
        raise StrataError(
            f"the canary is paused: {canary.reason}",
            where=where,
            expected="metrics no worse within it than beside it",
            repair=f"strata abort {key}; or look at them, then strata promote {key} --force",
        )
    last = latest_publication(con)
    if last is None or last.as_of < canary.hold_until:
        described = last.as_of if last else "nothing"
        raise StrataError(
            f"the canary holds until {canary.hold_until}; what is published describes {described}",
            where=where,
            expected="a publication as of that moment or later",
            repair=f"wait, or strata promote {key} --force",
        )


def _is_pending(con: Connection, ended_at: datetime) -> bool:
    published = scalar(con, "select max(recorded_at) from segments.publications")
    return not isinstance(published, datetime) or published < ended_at
