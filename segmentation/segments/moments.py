"""Publications as moments: which one a person means, and who was in a segment after it.

Belongs here: finding a publication by its number, by a moment or by a version, and the members that it left. Does not
belong here: who was in a segment at a moment as known at another (``history.py``), or restoring them
(``pin_decisions.py``). Members after a publication are what the log of changes adds up to there: its numbers, not
clocks, say what came first, so two publications of one moment are told apart.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from segmentation.errors import NotFoundError, StrataError, did_you_mean
from segmentation.run import as_utc
from segmentation.warehouse import Connection, literal

_VERSION = re.compile(r"v?(\d{1,9})")
_PUBLICATION = re.compile(r"p(\d{1,18})")

#: Adds to a query of the log the publication that each change belongs to.
_LOGGED = """
select c.customer_id, c.change_seq, c.change
from segments.membership_changes as c
inner join segments.publications as p on c.run_id = p.run_id
where c.segment_key = {key} and p.publication_seq <= {seq}
"""


@dataclass(frozen=True, slots=True)
class Moment:
    """One publication, as one segment sees it.

    Attributes:
        publication_seq: Its number.
        as_of: The moment that it describes.
        recorded_at: When it was made.
        segment_version: The segment's version in force; ``None`` where the segment did not exist.
        members: Members that it left, those erased since included; ``None`` where that is not on record.
    """

    publication_seq: int
    as_of: datetime
    recorded_at: datetime
    segment_version: int | None
    members: int | None


def find_moment(con: Connection, segment_key: str, text: str) -> Moment:
    """Return the publication that a person names.

    Args:
        con: The warehouse, or the readers' copy.
        segment_key: A segment that was published at some time.
        text: ``3`` or ``v3``: the newest publication that version 3 decided, without a pin; ``p12``: publication 12; a
            moment, UTC: the last publication that describes it or an earlier one.

    Raises:
        NotFoundError: There is no such version or publication, or the moment lies before the first one.
        StrataError: The text is none of these.
    """
    if found := _VERSION.fullmatch(text.strip()):
        return _of_version(con, segment_key, int(found[1]))
    if found := _PUBLICATION.fullmatch(text.strip()):
        seq = int(found[1])
        moments = _read(con, segment_key, f"p.publication_seq = {seq}")
        if not moments:
            first, last = _span(con)
            raise NotFoundError(
                f"there is no publication {seq}",
                where="segments.publications",
                expected=f"{first} to {last}",
                repair=f"strata history {segment_key} lists them",
            )
        return moments[0]
    return moment_at(con, segment_key, read_time(text))


def read_time(text: str) -> datetime:
    """Read a moment, UTC where it names no zone.

    Raises:
        StrataError: It is no moment.
    """
    try:
        return as_utc(datetime.fromisoformat(text.strip()))
    except ValueError as error:
        raise StrataError(
            f"{text!r} is no version, publication or moment",
            expected="a version (3), a publication (p12) or a moment, UTC (2026-11-01, 2026-11-01T06:00:00)",
            repair="strata history SEGMENT lists versions, publications and moments",
        ) from error


def moment_at(con: Connection, segment_key: str, at: datetime) -> Moment:
    """Return the last publication that describes a moment up to ``at``.

    Raises:
        NotFoundError: The moment lies before the first publication.
    """
    moments = _read(con, segment_key, f"p.as_of <= timestamp {literal(str(at))}")
    if not moments:
        first = con.execute("select min(as_of) from segments.publications").fetchall()[0][0]
        raise NotFoundError(
            f"nothing was published as of {at} or before: membership begins with {first}",
            where="segments.publications",
            expected=f"a moment from {first} on",
            repair=f"strata history {segment_key} lists the moments",
        )
    return moments[0]


def list_moments(con: Connection, segment_key: str) -> list[Moment]:
    """Return every publication as the segment sees it, the newest first."""
    return _read(con, segment_key, "true")


def members_after_sql(segment_key: str, publication_seq: int) -> str:
    """Return a query for the ids of who was in a segment after a publication; erased customers are in it no more."""
    logged = _LOGGED.format(key=literal(segment_key), seq=int(publication_seq))
    return f"select customer_id from ({logged}) group by customer_id having arg_max(change, change_seq) = 'enter'"


def require_known(con: Connection, segment_key: str) -> None:
    """Refuse a segment that was never published.

    Raises:
        NotFoundError: With the segment that was probably meant.
    """
    known = [
        row[0]
        for row in con.execute(
            "select segment_key from segments.catalog union select segment_key from segments.versions order by 1"
        ).fetchall()
    ]
    if segment_key not in known:
        raise NotFoundError(
            f"there is no segment {segment_key}{did_you_mean(segment_key, known)}",
            where="segments.versions",
            expected=", ".join(known) or "a published segment",
            repair="strata segments",
        )


def _of_version(con: Connection, segment_key: str, version: int) -> Moment:
    recorded = _read(con, segment_key, f"s.segment_version = {version} and s.is_evaluated and s.pin_id is null")
    if recorded:
        return recorded[0]
    # Publications of an earlier release of this program did not record each segment's version.
    began = con.execute(
        "select v.segment_version, min(p.publication_seq) from segments.versions as v "
        "inner join segments.publications as p on v.first_run_id = p.run_id where v.segment_key = ? group by 1",
        [segment_key],
    ).fetchall()
    first = dict(began)
    if version in first:
        ends = [seq for other, seq in first.items() if other > version]
        before = f"p.publication_seq < {min(ends)}" if ends else "true"
        old = _read(con, segment_key, f"{before} and p.publication_seq >= {first[version]} and s.segment_key is null")
        if old:
            return old[0]
        raise NotFoundError(
            f"version {version} of {segment_key} never decided by itself: a pin held the segment all the time",
            where="segments.publication_segments",
            expected="a version that decided who is in the segment",
            repair=f"name a publication or a moment: strata history {segment_key}",
        )
    raise NotFoundError(
        f"there is no version {version} of {segment_key} that ever ran",
        where="segments.versions",
        expected=", ".join(str(known) for known in sorted(first)) or "a version that was published",
        repair=f"strata history {segment_key}",
    )


def _span(con: Connection) -> tuple[int, int]:
    row = con.execute("select min(publication_seq), max(publication_seq) from segments.publications").fetchall()[0]
    return int(row[0] or 0), int(row[1] or 0)


def _read(con: Connection, segment_key: str, condition: str) -> list[Moment]:
    rows = con.execute(
        "select p.publication_seq, p.as_of, p.recorded_at, s.segment_version, s.members "
        "from segments.publications as p left join segments.publication_segments as s "
        f"on p.publication_seq = s.publication_seq and s.segment_key = {literal(segment_key)} "
        f"where {condition} order by p.publication_seq desc"
    ).fetchall()
    return [Moment(*row) for row in rows]
