"""`strata history` and `strata explain … --at`: who was in a segment at a moment, as known at another.

Belongs here: asking and showing. Does not belong here: the queries (`segmentation/segments/history.py`).
"""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from orchestration.commands.console import Json, format_cell, hint_table, out, print_json, table
from orchestration.settings import Settings
from segmentation.errors import NotFoundError, StrataError
from segmentation.segments.history import Churn, count_members_at, find_stays, list_members_at, measure_churn
from segmentation.segments.moments import list_moments, moment_at, read_time, require_known
from segmentation.segments.pins import read_pins
from segmentation.segments.publications import latest_publication
from segmentation.warehouse import Connection

At = Annotated[str | None, typer.Option("--at", help="A moment, UTC: 2026-11-01 or 2026-11-01T06:00:00.")]
KnownAt = Annotated[
    str | None, typer.Option("--known-at", help="As it was known at this moment, UTC; default: as it is known now.")
]

_MOMENTS = """
select
    p.publication_seq, p.as_of, p.recorded_at, s.segment_version, s.members, s.entered, s.exited, s.pin_id
from segments.publications as p
left join segments.publication_segments as s
    on p.publication_seq = s.publication_seq and s.segment_key = ?
order by p.publication_seq desc
limit ?
"""


def history(
    segment: Annotated[str, typer.Argument(help="Segment key; also of a segment that is gone.")],
    at: At = None,
    known_at: KnownAt = None,
    ids: Annotated[bool, typer.Option("--ids", help="Show customer ids, not counts alone.")] = False,
    days: Annotated[int, typer.Option(min=1, help="Days over which churn is told.")] = 30,
    flap_days: Annotated[int, typer.Option(min=1, help="Days within which who comes back has flapped.")] = 7,
    limit: Annotated[int, typer.Option(min=1, help="How many publications to list.")] = 20,
    as_json: Json = False,
) -> None:
    """Say who was in a segment at a moment; without --at, list its publications, its churn and what held it.

    Exit code 5: there is no such segment, or history begins later.
    """
    if at is None and known_at is not None:
        raise StrataError("--known-at needs --at", expected="strata history SEGMENT --at T --known-at T2")
    settings = Settings.load()
    with settings.warehouse.read() as con:
        require_known(con, segment)
        if at is None:
            _show_publications(con, segment, days, flap_days, limit, as_json=as_json)
        else:
            _show_members(con, segment, at, known_at, ids=ids, as_json=as_json)


def _show_members(con: Connection, segment: str, at: str, known_at: str | None, *, ids: bool, as_json: bool) -> None:
    moment, known = read_time(at), read_time(known_at) if known_at else None
    publication = moment_at(con, segment, moment)
    counts = count_members_at(con, segment, moment, known)
    members = list_members_at(con, segment, moment, known) if ids else []
    if as_json:
        facts: dict[str, object] = {
            "segment_key": segment,
            "at": moment,
            "known_at": known,
            "publication": publication.publication_seq,
            "members": sum(counts.values()),
            "by_version": counts,
        }
        print_json(facts | ({"customers": members} if ids else {}))
        return
    knowing = f", as known at {known:%Y-%m-%d %H:%M:%S}" if known else ""
    out.print(Text(f"{segment} at {moment:%Y-%m-%d %H:%M}{knowing}: {sum(counts.values()):,} members", style="bold"))
    if counts:
        out.print(table(["let in by version", "members"], list(counts.items())))
    for customer in members:
        out.print(customer, markup=False)
    if not ids and counts:
        out.print(hint_table([(f"strata history {segment} --at {at} --ids", "their ids")]))


def _show_publications(con: Connection, segment: str, days: int, flap_days: int, limit: int, *, as_json: bool) -> None:
    last = latest_publication(con)
    if last is None:
        raise NotFoundError("no membership has been published yet", where="segments.publications", repair="strata run")
    cursor = con.execute(_MOMENTS, [segment, limit])
    names = [column[0] for column in cursor.description or ()]
    moments = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    churn = next(
        (one for one in measure_churn(con, last.as_of, days=days, flap_days=flap_days) if one.segment_key == segment),
        None,
    )
    pins = [pin for pin in read_pins(con, every=True) if pin.segment_key == segment]
    if as_json:
        print_json(
            {
                "segment_key": segment,
                "publications": moments,
                "publications_in_all": len(list_moments(con, segment)),
                "churn": asdict(churn) if churn else None,
                "days": days,
                "flap_days": flap_days,
                "pins": pins,
            }
        )
        return
    header = ["publication", "as of", "made at", "version", "members", "entered", "left", "held by"]
    rows = [(f"p{row['publication_seq']}", *list(row.values())[1:]) for row in moments]
    out.print(table(header, rows, title=segment))
    if churn:
        out.print(_churn_sentence(churn, days, flap_days))
    for pin in pins:
        ended = f"; ended {pin.ended_at:%Y-%m-%d %H:%M} by {pin.ended_by}: {pin.ended_reason}" if pin.ended_at else ""
        out.print(Text(f"{pin.pin_id}: {pin.sentence}{ended}"))
    hints = [
        (f"strata history {segment} --at MOMENT", "who was in it; with --known-at, as it was known then"),
        (f"strata rollback {segment} --to p{moments[-1]['publication_seq']} --dry-run …", "what going back would do"),
    ]
    out.print(hint_table(hints))


def _churn_sentence(churn: Churn, days: int, flap_days: int) -> str:
    def share(ratio: float | None) -> str:
        return "–" if ratio is None else f"{ratio:.1%}"

    return (
        f"in {days} days: {churn.entries:,} entries, {churn.exits:,} exits, churn {share(churn.churn_ratio)} of "
        f"{churn.members_at_start:,}; back within {flap_days} days: {share(churn.flap_ratio)} of who left"
    )


def explain_at(
    con: Connection, customer_id: str, segment: str | None, at: str | None, known_at: str | None, *, as_json: bool
) -> None:
    """Show what a customer was in at a moment, why, and as known when.

    Raises:
        StrataError: ``known_at`` without ``at``, or no moment.
        NotFoundError: There is no such segment, or history begins later.
    """
    if at is None:
        raise StrataError("--known-at needs --at", expected="strata explain CUSTOMER SEGMENT --at T --known-at T2")
    if segment is not None:
        require_known(con, segment)
    moment, known = read_time(at), read_time(known_at) if known_at else None
    stays = find_stays(con, customer_id, moment, known, segment)
    if as_json:
        print_json(
            {
                "customer_id": customer_id,
                "segment_key": segment,
                "at": moment,
                "known_at": known,
                "is_member": bool(stays),
                "stays": [stay.as_dict() for stay in stays],
            }
        )
        return
    knowing = f", as known at {known:%Y-%m-%d %H:%M:%S}" if known else ""
    out.print(Text(customer_id, style="bold"), f"at {moment:%Y-%m-%d %H:%M}{knowing}")
    if not stays:
        out.print(f"was not in {segment or 'any segment'}", markup=False)
        return
    rows = [
        (
            stay.segment_key,
            stay.segment_version,
            stay.valid_from,
            stay.cause,
            stay.valid_to,
            format_cell(stay.exit_cause),
            stay.rule or "",
        )
        for stay in stays
    ]
    out.print(table(["was in", "version", "from", "because of", "to", "because of", "rule of that version"], rows))
