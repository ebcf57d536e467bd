"""What the gate and people see of a candidate: per file and per entity, how many rows had which fate.

Belongs here: ``sources.candidate``, ``sources.candidate_files``, ``sources.candidate_findings`` and the report.
Does not belong here: deciding anything (the gate does, in `expectations`). Counts are kept per file and entity.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from segmentation.run import Run, StageReport
from segmentation.sources.entities import ENTITIES, IDENTITY_COLUMNS, Entity
from segmentation.sources.feeds import EntityMapping
from segmentation.sources.landing import Finding, Fingerprint, LandedFile
from segmentation.sources.staging import Staged
from segmentation.sources.tables import candidate_of, published_of
from segmentation.warehouse import Connection

#: Most frequent reasons of the quarantine that a report shows.
_REASONS_SHOWN = 10

_FILES = """
create or replace table sources.candidate_files (
    file_id bigint not null, entity varchar not null, source varchar not null, path varchar not null,
    sha256 varchar not null, bytes bigint not null, mapping_hash varchar not null,
    -- staged: publishing loads it; rejected: unreadable as a whole; repeated: same content as another file here.
    status varchar not null, message varchar not null,
    rows_read bigint not null, rows_loaded bigint not null, rows_duplicate bigint not null,
    -- Of the duplicates: rows that one_row_per folded into another row of the file.
    rows_folded bigint not null,
    -- Of the loaded: rows that change an earlier row of their key.
    rows_changed bigint not null, rows_late bigint not null, rows_quarantined bigint not null,
    -- Of the read: rows whose person did not allow what they are for. Those that lost a value alone are loaded.
    rows_withheld bigint not null,
    rows_without_identifier bigint not null, first_event_at timestamp, last_event_at timestamp,
    run_id varchar not null, recorded_at timestamp not null
)
"""

_FINDINGS = """
create or replace table sources.candidate_findings (
    kind varchar not null, path varchar not null, message varchar not null, repair varchar not null,
    run_id varchar not null, recorded_at timestamp not null
)
"""

_MEASURES = (
    "rows_read",
    "rows_loaded",
    "rows_duplicate",
    "rows_folded",
    "rows_changed",
    "rows_late",
    "rows_quarantined",
    "rows_withheld",
    "rows_without_identifier",
)

#: Shaped as ``sources.withheld``; whoever screens the candidate fills it.
_WITHHELD = "create or replace table sources.candidate_withheld as select * from sources.withheld limit 0"


@dataclass(slots=True)
class FileEntry:
    """One file for one entity: its status, and what became of its rows."""

    file: LandedFile
    before: Fingerprint
    file_id: int
    mapping: EntityMapping
    status: str
    message: str = ""
    staged: Staged = field(default_factory=lambda: Staged(0, 0, 0, 0))
    duplicate: int = 0
    changed: int = 0


def write_summary(
    con: Connection, run: Run, entries: dict[tuple[int, str], FileEntry], findings: Iterable[Finding]
) -> None:
    """Write the three summary tables over the candidate; call it after the drafts became the candidate."""
    con.execute(_FILES)
    con.execute(_FINDINGS)
    con.execute(_WITHHELD)
    facts = _candidate_facts(con, {key[1] for key in entries})
    rows = [_row(run, entry, facts.get(key, (0, 0, None, None))) for key, entry in entries.items()]
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        con.executemany(f"insert into sources.candidate_files values ({marks})", rows)
    found = [[item.kind, item.path, item.message, item.repair, run.run_id, run.recorded_at] for item in findings]
    if found:
        con.executemany("insert into sources.candidate_findings values (?, ?, ?, ?, ?, ?)", found)
    summarise_candidate(con)


def summarise_candidate(con: Connection) -> None:
    """Write ``sources.candidate`` over ``sources.candidate_files`` as it is now."""
    con.execute(_candidate_sql())


def measure_again(con: Connection, names: Iterable[str]) -> None:
    """Bring ``sources.candidate_files`` up to date with rows that were taken out of the candidates of ``names``."""
    facts = _candidate_facts(con, set(names))
    for name in names:
        con.execute(
            "update sources.candidate_files set rows_late = 0, rows_without_identifier = 0, first_event_at = null, "
            "last_event_at = null where entity = ?",
            [name],
        )
    rows = [[*measured, file_id, name] for (file_id, name), measured in facts.items()]
    if rows:
        con.executemany(
            "update sources.candidate_files set rows_late = ?, rows_without_identifier = ?, first_event_at = ?, "
            "last_event_at = ? where file_id = ? and entity = ?",
            rows,
        )


def _row(run: Run, entry: FileEntry, facts: tuple[object, ...]) -> list[object]:
    late, anonymous, first, last = facts
    staged = entry.staged
    return [
        entry.file_id,
        entry.mapping.entity,
        entry.file.source,
        entry.file.relative,
        entry.before.sha256,
        entry.before.bytes,
        entry.file.feed.hash_of(entry.mapping, entry.file.source),
        entry.status,
        entry.message,
        staged.read,
        staged.written - entry.duplicate,
        staged.folded + entry.duplicate,
        staged.folded,
        entry.changed,
        late,
        staged.quarantined,
        0,
        anonymous,
        first,
        last,
        run.run_id,
        run.recorded_at,
    ]


def _candidate_facts(con: Connection, names: set[str]) -> dict[tuple[int, str], tuple[object, ...]]:
    """Per file and entity: late rows, rows without any identifier, first and last event time."""
    facts: dict[tuple[int, str], tuple[object, ...]] = {}
    for entity in (ENTITIES[name] for name in sorted(names)):
        anonymous = _count_anonymous(con, entity) if has_identity(entity) else {}
        marks = _find_marks(con, entity)
        late = _count_late(con, entity) if any(first < newest for first, _, newest in marks.values() if newest) else {}
        for file_id, (first, last, _) in marks.items():
            facts[file_id, entity.name] = (late.get(file_id, 0), anonymous.get(file_id, 0), first, last)
    return facts


def _marks_sql(entity: Entity) -> str:
    """SQL for each file's first and last event, and the newest event of its source before it.

    That is the newest one that was published or stands in an earlier file.
    """
    moment = entity.event_time
    return f"""
        select s.file_id, first_at, last_at, greatest(p.newest, max(last_at) over (
            partition by source order by file_id rows between unbounded preceding and 1 preceding
        )) as newest
        from (
            select any_value(source) as source, file_id, min({moment}) as first_at, max({moment}) as last_at
            from {candidate_of(entity)} group by file_id
        ) as s
        left join (select source, max({moment}) as newest from {published_of(entity)} group by source) as p
        using (source)
    """


def _find_marks(con: Connection, entity: Entity) -> dict[int, tuple[datetime, datetime, datetime | None]]:
    return {int(row[0]): (row[1], row[2], row[3]) for row in con.execute(_marks_sql(entity)).fetchall()}


def _count_late(con: Connection, entity: Entity) -> dict[int, int]:
    rows = con.execute(
        f"select file_id, count(*) from {candidate_of(entity)} join ({_marks_sql(entity)}) using (file_id) "
        f"where {entity.event_time} < newest group by file_id"
    ).fetchall()
    return {int(file_id): int(count) for file_id, count in rows}


def _count_anonymous(con: Connection, entity: Entity) -> dict[int, int]:
    # A condition, not a filtered count: the engine then skips what its statistics say names a customer throughout.
    nameless = " and ".join(f"{name} is null" for name in IDENTITY_COLUMNS)
    rows = con.execute(
        f"select file_id, count(*) from {candidate_of(entity)} where {nameless} group by file_id"
    ).fetchall()
    return {int(file_id): int(count) for file_id, count in rows}


def has_identity(entity: Entity) -> bool:
    """Say whether the entity's rows name a customer themselves."""
    return all(name in entity.column_names for name in IDENTITY_COLUMNS)


def _candidate_sql() -> str:
    totals = " union all ".join(
        f"select '{entity.name}' as entity, count(*) as rows_published, "
        f"{str(has_identity(entity)).lower()} as names_customers from {published_of(entity)}"
        for entity in ENTITIES.values()
    )
    sums = ", ".join(f"cast(coalesce(sum({name}), 0) as bigint) as {name}" for name in _MEASURES)
    names = ", ".join(_MEASURES)
    return f"""
    create or replace table sources.candidate as
    with totals as ({totals}),
    measured as (
        select 'file' as grain, file_id, entity, source, path, status, message, {names},
            cast(status = 'staged' as bigint) as files_staged, cast(status = 'rejected' as bigint) as files_rejected,
            first_event_at, last_event_at, run_id, recorded_at
        from sources.candidate_files
        union all by name
        select 'entity' as grain, cast(null as bigint) as file_id, t.entity, cast(null as varchar) as source,
            cast(null as varchar) as path, 'total' as status, '' as message, {sums},
            count(*) filter (f.status = 'staged') as files_staged,
            count(*) filter (f.status = 'rejected') as files_rejected,
            min(f.first_event_at) as first_event_at, max(f.last_event_at) as last_event_at,
            cast(null as varchar) as run_id, cast(null as timestamp) as recorded_at
        from totals as t left join sources.candidate_files as f using (entity)
        group by t.entity
    )
    select m.*,
        coalesce(rows_quarantined / nullif(rows_read, 0), 0) as quarantined_ratio,
        case when t.names_customers then coalesce(rows_without_identifier / nullif(rows_loaded, 0), 0) else 0 end
            as without_identifier_ratio,
        case when grain = 'entity' then t.rows_published end as rows_published,
        case when grain = 'entity' then t.rows_published + rows_loaded end as rows_after
    from measured as m join totals as t using (entity)
    order by grain, m.entity, file_id
    """


def report(
    con: Connection,
    candidate_id: str,
    entries: dict[tuple[int, str], FileEntry],
    findings: list[Finding],
    *,
    files_seen: int,
) -> StageReport:
    """Say what the candidate holds."""
    rows = {
        str(name): int(count)
        for name, count in con.execute(
            "select entity, rows_loaded from sources.candidate where grain = 'entity' and files_staged > 0 "
            "order by entity"
        ).fetchall()
    }
    sums = con.execute(
        "select cast(coalesce(sum(columns('rows_(read|duplicate|late|quarantined)')), 0) as bigint) "
        "from sources.candidate_files"
    ).fetchall()[0]
    names = ("read", "duplicate", "late", "quarantined")
    reasons = con.execute(
        "select reason_code, count(*) as n from sources.candidate_quarantine "
        "group by reason_code order by n desc, reason_code limit ?",
        [_REASONS_SHOWN],
    ).fetchall()
    new = {entry.file_id for entry in entries.values()}
    rejected = {entry.file.relative: entry.message for entry in entries.values() if entry.status == "rejected"}
    return StageReport(
        candidate_id,
        rows | dict(zip(names, map(int, sums), strict=True)),
        {
            "files_seen": files_seen,
            "files_new": len(new),
            "files_rejected": rejected,
            "quarantine_reasons": {str(code): int(count) for code, count in reasons},
            "findings": [f"{item.message}; {item.repair}" for item in findings],
        },
    )
