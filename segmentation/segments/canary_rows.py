"""The rows of canaries: what is live of them, what a candidate proposes, and publishing that.

Belongs here: ``segments.canaries`` and ``segments.candidate_canaries``. Does not belong here: who is in a canary
(``canaries.py``) and judging it (``canary_metrics.py``). What a run decides by itself, its metrics or the catalog's
files, is written with membership; what people decide stands as soon as they say so, and no run takes it back.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from segmentation import audit
from segmentation.audit import canonical_json
from segmentation.run import Run
from segmentation.segments.canaries import trial_hash
from segmentation.segments.catalog import Catalog, normal_form
from segmentation.segments.compiled import CanaryState, CatalogSegment, Trial
from segmentation.segments.provenance import CATALOG_AUTHOR
from segmentation.warehouse import Connection, table_exists

_CANDIDATE = """
create or replace table segments.candidate_canaries (
    canary_seq bigint,
    segment_key varchar not null,
    definition_hash varchar not null,
    base_version integer,
    base_definition json,
    purposes varchar[] not null,
    base_purposes varchar[] not null,
    percent integer not null,
    started_at timestamp not null,
    hold_until timestamp not null,
    state varchar not null,
    reason varchar,
    checks json not null
)
"""

# A canary whose definition is no longer one: the files took what it tries for everybody, or gave it up.
_LEFT = """
select o.canary_seq, o.segment_key, o.definition_hash, n.definition
from segments.canaries as o
left join segments.candidate_catalog as n on o.segment_key = n.segment_key and n.is_evaluated
anti join segments.candidate_canaries as c on o.canary_seq = c.canary_seq
where o.ended_at is null
order by o.canary_seq
"""

_END = """
update segments.canaries
set state = $state, ended_at = $as_of, ended_by = $by, reason = $reason, run_id = $run_id, recorded_at = $recorded_at
where canary_seq = $canary_seq and ended_at is null
"""

# What ended a canary in this run stays to be read.
_CHECKS = """
update segments.canaries as o set checks = c.checks
from segments.candidate_canaries as c
where o.canary_seq = c.canary_seq and cast(c.checks as varchar) <> '[]'
"""

_GO_ON = """
update segments.canaries as o
set
    percent = c.percent, hold_until = c.hold_until, state = c.state, reason = c.reason, checks = c.checks,
    run_id = $run_id, recorded_at = $recorded_at
from segments.candidate_canaries as c
where o.canary_seq = c.canary_seq and o.ended_at is null and c.state in ('running', 'paused')
"""

_START = """
insert into segments.canaries
select
    (select coalesce(max(canary_seq), 0) from segments.canaries) + row_number() over (order by c.segment_key),
    c.segment_key, c.definition_hash, c.base_version, c.base_definition, c.purposes, c.base_purposes, c.percent,
    c.started_at, c.hold_until, c.state, null, null, c.reason, c.checks, $run_id, $recorded_at
from segments.candidate_canaries as c
where c.canary_seq is null
"""


@dataclass(frozen=True, slots=True)
class Canary:
    """One canary as published; the attributes are the columns of ``segments.canaries``."""

    canary_seq: int
    segment_key: str
    definition_hash: str
    base_version: int | None
    base_definition: dict[str, Any] | None
    purposes: Sequence[str]
    base_purposes: Sequence[str]
    percent: int
    started_at: datetime
    hold_until: datetime
    state: CanaryState
    ended_at: datetime | None
    ended_by: str | None
    reason: str | None
    checks: list[dict[str, Any]]

    @property
    def share(self) -> int:
        """Share of customers for whom it holds, in percent."""
        return {"promoted": 100, "aborted": 0}.get(self.state, self.percent)

    @property
    def sentence(self) -> str:
        """What it is, for people."""
        base = f"version {self.base_version}" if self.base_version is not None else "nobody"
        words = f"canary of {self.percent} % beside {base}, {self.state}"
        if self.state == "running":
            return f"{words} until {self.hold_until:%Y-%m-%d}"
        by = f" by {self.ended_by}" if self.ended_by else ""
        return f"{words}{by}: {self.reason}" if self.reason else f"{words}{by}"


_COLUMNS = (
    "canary_seq, segment_key, definition_hash, base_version, base_definition, purposes, base_purposes, percent, "
    "started_at, hold_until, state, ended_at, ended_by, reason, checks"
)


def read_canaries(con: Connection) -> dict[str, Canary]:
    """Return the newest canary of every segment that ever had one."""
    if not table_exists(con, "segments", "canaries"):
        return {}
    found = {}
    for row in con.execute(f"select {_COLUMNS} from segments.canaries order by canary_seq").fetchall():
        base = None if row[4] is None else json.loads(row[4])
        facts: tuple[Any, ...] = (*row[:4], base, *row[5:-1], json.loads(row[-1]))
        found[str(row[1])] = Canary(*facts)
    return found


def live_canaries(con: Connection) -> dict[str, Canary]:
    """Return the canary of every segment whose live definition is one."""
    rows = con.execute("select segment_key from segments.catalog where lifecycle = 'canary'").fetchall()
    live = {row[0] for row in rows}
    return {key: canary for key, canary in read_canaries(con).items() if key in live}


def propose_canaries(con: Connection, run: Run, catalog: Catalog) -> None:
    """Write ``segments.candidate_canaries``: every canary of the catalog, as the run would leave it."""
    con.execute(_CANDIDATE)
    rows = [_row(run, one) for one in catalog.segments.values() if one.definition.canary is not None]
    if rows:
        con.executemany(f"insert into segments.candidate_canaries values ({', '.join('?' * len(rows[0]))})", rows)


def _row(run: Run, segment: CatalogSegment) -> list[object]:
    canary = segment.definition.canary
    percent, hold = (canary.percent, canary.hold) if canary else (0, 0)
    trial = segment.trial or Trial(None, percent)
    base, started_at = trial.base, trial.started_at or run.as_of
    return [
        trial.canary_seq,
        segment.key,
        trial_hash(normal_form(segment.definition, segment.rule)),
        base.version if base else None,
        canonical_json(normal_form(base.definition, base.rule)) if base else None,
        list(segment.required_purposes),
        list(base.required_purposes) if base else [],
        # Once it has ended it holds for everybody or nobody; the row keeps the share that was tried.
        percent if trial.state in {"promoted", "aborted"} else trial.percent,
        started_at,
        started_at + timedelta(days=hold),
        trial.state,
        trial.reason or None,
        json.dumps([asdict(check) for check in trial.checks]),
    ]


def publish_canaries(con: Connection, run: Run) -> None:
    """Make the candidate's canaries the published ones; call it within the transaction that publishes.

    What ends a canary without a person, or pauses it, gets its row in the audit log.
    """
    stamps = {"run_id": run.run_id, "recorded_at": run.recorded_at}
    for seq, key, tried, definition in con.execute(_LEFT).fetchall():
        kept = definition is not None and trial_hash(json.loads(definition)) == tried
        state, reason = ("promoted", "its definition is active") if kept else ("aborted", "its definition left")
        _end(con, run, seq, key, state, reason)
    rows = con.execute(
        "select c.canary_seq, c.segment_key, c.state, c.reason from segments.candidate_canaries as c "
        "inner join segments.canaries as o on c.canary_seq = o.canary_seq "
        "where o.ended_at is null and c.state <> o.state order by 1"
    ).fetchall()
    for seq, key, state, reason in rows:
        if state == "aborted":
            _end(con, run, seq, key, state, reason)
        elif state == "paused":
            _record(con, run, seq, key, "segments.pause", reason)
    con.execute(_CHECKS)
    con.execute(_GO_ON, stamps)
    con.execute(_START, stamps)


def _end(con: Connection, run: Run, seq: int, key: str, state: str, reason: str) -> None:
    con.execute(
        _END,
        {"canary_seq": seq, "state": state, "reason": reason, "by": CATALOG_AUTHOR, "as_of": run.as_of,
         "run_id": run.run_id, "recorded_at": run.recorded_at},
    )  # fmt: skip
    _record(con, run, seq, key, "segments.promote" if state == "promoted" else "segments.abort", reason)


def _record(con: Connection, run: Run, seq: int, key: str, action: str, reason: str) -> None:
    detail: dict[str, object] = {"canary": seq, "reason": reason, "run_id": run.run_id}
    audit.append(con, at=run.recorded_at, actor=CATALOG_AUTHOR, action=action, subject=key, detail=detail)
