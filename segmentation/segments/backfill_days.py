"""The ledger of recomputed days: what was asked for, what is done, and keeping what was found.

Belongs here: ``segments.backfill_days`` and ``segments.backfills``. Does not belong here: how a day is decided
(``backfill_evaluation.py``) and reading results (``backfill_results.py``). Membership, its history and every other
table of the stage are neither read nor written: what was recomputed is beside them.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from segmentation import audit
from segmentation.errors import StrataError
from segmentation.identity.rule_book import Signature, check_words
from segmentation.run import Run
from segmentation.segments.backfill_scope import Scope, Subject
from segmentation.segments.publications import latest_publication
from segmentation.warehouse import Connection, literal, scalar, transaction

#: The copy that a day was decided in, as it is attached for keeping what was found.
COPY = "past"

#: Steps of keeping a day, in order; a kill at any of them leaves the day as it was.
STEPS = ("members", "ledger")

#: What a backfill writes, and readers get anew after it.
TABLES = (("segments", "backfill_days"), ("segments", "backfills"))

#: The first day that anybody can ask for: partitions begin with it.
FIRST_DAY = date(2000, 1, 1)

_ASK = """
insert into segments.backfill_days by name
select
    $key as segment_key, $version as segment_version, d.day, 'asked' as state, d.day + interval 86399 second as as_of,
    $purposes::varchar[] as purposes, $definition_hash as definition_hash, $author as author,
    $reason as reason, $run_id as run_id, $at as recorded_at
from (select unnest($days::date[]) as day) as d
anti join (
    from segments.backfill_days where segment_key = $key and segment_version = $version
) as o on d.day = o.day
"""

_FOUND = """
create or replace temp table backfill_found as
select m.customer_id
from {copy}.backfill.members as m
semi join (from identity.customers where status = 'active') as k on m.customer_id = k.customer_id
where m.segment_key = $key {allowed}
"""

_SAME = """
select 1 from (
    (select customer_id from segments.backfills where {this} except select customer_id from backfill_found)
    union all
    (select customer_id from backfill_found except select customer_id from segments.backfills where {this})
) limit 1
"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks for.

    Attributes:
        scope: The segments, and what decides.
        days: The days, in order.
        renew: Whether days count as missing that are done on older data than is published now.
    """

    scope: Scope
    days: tuple[date, ...]
    renew: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """What keeping a day did: members of each segment, and the segments for which anything was written."""

    day: date
    members: dict[str, int]
    written: tuple[str, ...]


def end_of(day: date) -> datetime:
    """Return the moment that a day's membership describes: its last second, UTC.

    A source that knows days alone puts them at midnight; the next midnight is the next day's.
    """
    return datetime.combine(day, datetime.min.time(), tzinfo=UTC).replace(tzinfo=None) + timedelta(seconds=86399)


def list_days(con: Connection, first: date, last: date) -> tuple[date, ...]:
    """Return the days from the first to the last, both included.

    Raises:
        StrataError: They are in the wrong order, or a day lies before anything is known or after what is published.
    """
    if first > last:
        raise StrataError(
            f"the days end before they begin: from {first} to {last}",
            expected="--from not after --to; both days are included",
            repair=f"strata backfill SEGMENT --from {last} --to {first}",
        )
    published = latest_publication(con)
    begun = scalar(con, "select min(first_seen_at) from identity.customers where status = 'active'")
    if published is None or not isinstance(begun, datetime):
        raise StrataError(
            "nothing has been published yet that a past day could be computed from",
            where="segments.publications",
            expected="a first run",
            repair="strata run",
        )
    earliest = max(begun.date(), FIRST_DAY)
    # A day is whole once what is published describes its last second.
    latest = (published.as_of - timedelta(seconds=86399)).date()
    if first < earliest:
        raise StrataError(
            f"nothing is known of {first}: nobody was seen before {earliest}",
            where="identity.customers",
            expected=f"a day from {earliest} on",
            repair=f"strata backfill SEGMENT --from {earliest} --to {max(last, earliest)}",
        )
    if last > latest:
        raise StrataError(
            f"{last} is not over in the published data, which is as of {published.as_of}",
            where="segments.publications",
            expected=f"a day up to {latest}",
            repair=f"strata backfill SEGMENT --from {min(first, latest)} --to {latest}; later days after the next run",
        )
    return tuple(first + timedelta(days=number) for number in range((last - first).days + 1))


def find_missing(con: Connection, asked: Asked) -> list[date]:
    """Return the days that have to be computed, the first one first.

    A day is done for a segment once it was decided by the version that is asked for, and by the same other definitions
    and list entries. One decided on older data counts as missing only where it is to be renewed.
    """
    last = latest_publication(con)
    least = last.seq if asked.renew and last else 0
    missing: set[date] = set()
    for subject in asked.scope.subjects:
        done = con.execute(
            "select day from segments.backfill_days where segment_key = ? and segment_version = ? and state = 'done' "
            "and decision_hash = ? and publication_seq >= ?",
            [subject.segment_key, subject.segment_version, subject.decision_hash, least],
        ).fetchall()
        missing |= set(asked.days) - {day for (day,) in done}
    return sorted(missing)


def ask(con: Connection, asked: Asked, signature: Signature, run_id: str) -> list[date]:
    """Write down what is asked for, with a row in the audit log for each segment; return the days that are missing.

    Where nothing is missing, nothing is written.

    Raises:
        StrataError: Who and why is not said, or names a person.
    """
    check_words(con, signature, ())
    missing = find_missing(con, asked)
    if not missing:
        return []
    with transaction(con):
        for subject in asked.scope.subjects:
            con.execute(
                _ASK,
                {
                    "key": subject.segment_key,
                    "version": subject.segment_version,
                    "purposes": list(subject.purposes),
                    "definition_hash": subject.definition_hash,
                    "author": signature.author,
                    "reason": signature.reason,
                    "run_id": run_id,
                    "at": signature.at,
                    "days": missing,
                },
            )
            audit.append(
                con,
                at=signature.at,
                actor=signature.author,
                action="segments.backfill",
                subject=subject.segment_key,
                detail={
                    "version": subject.segment_version,
                    "from": f"{missing[0]}",
                    "to": f"{missing[-1]}",
                    "days": len(missing),
                    "reason": signature.reason,
                },
            )
    return missing


def list_asked(con: Connection, days: Collection[date]) -> list[tuple[str, int, str, str]]:
    """Return what is still asked for on any of some days: segment, version, who asked last, and why."""
    rows: list[tuple[str, int, str, str]] = con.execute(
        "select segment_key, segment_version, arg_max(author, recorded_at), arg_max(reason, recorded_at) "
        "from segments.backfill_days where state = 'asked' and day in ? group by all order by all",
        [list(days)],
    ).fetchall()
    return rows


def keep_day(
    con: Connection,
    asked: Asked,
    run: Run,
    features_digest: str,
    signature: Signature,
    *,
    publication_seq: int,
    at_step: Callable[[str], None] | None = None,
) -> Kept:
    """Keep what was found of a day, in one transaction; what is there already stays as it is.

    Who was erased, or merged into somebody else, or has withdrawn consent since the copy was made is left out.

    Args:
        con: The warehouse, open for writing, with the copy attached as ``COPY``.
        asked: What was asked for.
        run: Its ``as_of`` is the end of the day.
        features_digest: What ``decide_day`` returned.
        signature: Who asked, why, and when.
        publication_seq: Newest publication that the copy knows of.
        at_step: Called with the name of each of `STEPS` when it is done, for tests that interrupt it.
    """
    day = run.as_of.date()
    members: dict[str, int] = {}
    written: list[str] = []
    with transaction(con):
        for subject in asked.scope.subjects:
            con.execute(
                _FOUND.format(
                    copy=COPY,
                    allowed=f"and m.customer_id in ({allowing(subject.purposes)})" if subject.purposes else "",
                ),
                {"key": subject.segment_key},
            )
            this = (
                f"segment_key = {literal(subject.segment_key)} and segment_version = {subject.segment_version} "
                f"and day = date {literal(str(day))}"
            )
            members[subject.segment_key] = int(str(scalar(con, "select count(*) from backfill_found")))
            if con.execute(_SAME.format(this=this)).fetchall():
                written.append(subject.segment_key)
                con.execute(f"delete from segments.backfills where {this}")
                con.execute(
                    "insert into segments.backfills "
                    "select ?, ?, ?, customer_id, ?, ? from backfill_found order by customer_id",
                    [subject.segment_key, subject.segment_version, day, run.run_id, run.recorded_at],
                )
            _step("members", at_step)
            _write_ledger(
                con, subject, run, this, members[subject.segment_key], features_digest, signature, publication_seq
            )
            _step("ledger", at_step)
        con.execute("drop table backfill_found")
    return Kept(day, members, tuple(written))


def allowing(purposes: Iterable[str]) -> str:
    """Return a query for the ids of customers who allow all of some purposes today."""
    wanted = sorted(set(purposes))
    names = ", ".join(literal(name) for name in wanted)
    return (
        f"select customer_id from identity.customer_consents where is_allowed and purpose in ({names}) "
        f"group by customer_id having count(distinct purpose) = {len(wanted)}"
    )


def _write_ledger(
    con: Connection,
    subject: Subject,
    run: Run,
    this: str,
    members: int,
    features_digest: str,
    signature: Signature,
    publication_seq: int,
) -> None:
    """Say that a day is done; where it says the same already, it is left alone."""
    facts = {
        "state": "done",
        "purposes": list(subject.purposes),
        "definition_hash": subject.definition_hash,
        "decision_hash": subject.decision_hash,
        "features_digest": features_digest,
        "publication_seq": publication_seq,
        "members": members,
    }
    names = list(facts)
    rows = con.execute(f"select {', '.join(names)} from segments.backfill_days where {this}").fetchall()
    if rows and dict(zip(names, rows[0], strict=True)) == facts:
        return
    con.execute(f"delete from segments.backfill_days where {this}")
    full = facts | {
        "segment_key": subject.segment_key,
        "segment_version": subject.segment_version,
        "day": run.as_of.date(),
        "as_of": run.as_of,
        "author": signature.author,
        "reason": signature.reason,
        "run_id": run.run_id,
        "recorded_at": run.recorded_at,
    }
    con.execute(
        f"insert into segments.backfill_days ({', '.join(full)}) values ({', '.join('?' * len(full))})",
        list(full.values()),
    )


def _step(name: str, at_step: Callable[[str], None] | None) -> None:
    if at_step:
        at_step(name)
