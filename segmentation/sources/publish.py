"""Publishing the sources: the judged candidate becomes what the next stages read.

Belongs here: one transaction that appends rows, quarantine and ledger. Does not belong here: judging
(`expectations`) or reading files (`candidate.py`). The first rows of an entity are not copied: their table takes
the published name.
"""

import duckdb

from segmentation import contracts
from segmentation.run import Run, StageReport
from segmentation.sources.entities import ENTITIES, Entity
from segmentation.sources.failures import require_space
from segmentation.sources.tables import all_columns, candidate_of, published_of
from segmentation.warehouse import Connection, count, quote, swap_table, transaction

STAGE = "sources"


def publish(con: Connection, run: Run) -> StageReport:
    """Append the candidate's rows, quarantined rows and files to the published tables, all or nothing.

    Publishing a candidate again, or one without new files, adds nothing. Rejected files are not entered into the
    ledger: they are read again by the next run.

    Raises:
        CandidateError: The newest candidate is not this run's.
        StrataError: The disk is full; the published tables stand as they were.
    """
    try:
        with transaction(con):
            newest = contracts.latest_candidate(con, STAGE)
            candidate_id = contracts.mark_published(con, STAGE, run)
            is_new = newest is not None and newest.published_at is None
            appended = _append(con) if is_new else {}
    except duckdb.Error as error:
        require_space(error)
        raise
    rows = {entity.name: count(con, published_of(entity)) for entity in ENTITIES.values()}
    facts: dict[str, object] = {
        "appended": appended,
        "files": count(con, "sources.files"),
        "quarantined": count(con, "sources.quarantine"),
    }
    return StageReport(candidate_id, rows, facts)


def _append(con: Connection) -> dict[str, int]:
    appended = {}
    for entity in ENTITIES.values():
        new = count(con, candidate_of(entity))
        if new:
            _append_rows(con, entity)
            appended[entity.name] = new
    con.execute("insert into sources.quarantine by name select * from sources.candidate_quarantine")
    con.execute("insert into sources.withheld by name select * from sources.candidate_withheld")
    con.execute(
        """
        insert into sources.files by name
        select file_id, entity, source, path, sha256, bytes, rows_read, rows_loaded, rows_duplicate, rows_quarantined,
            rows_late, rows_withheld, mapping_hash, 'loaded' as status, run_id, recorded_at
        from sources.candidate_files where status = 'staged'
        """
    )
    return appended


def _append_rows(con: Connection, entity: Entity) -> None:
    if count(con, published_of(entity)) == 0:
        swap_table(con, STAGE, f"candidate_{entity.name}", entity.name)
        return
    names = ", ".join(map(quote, all_columns(entity)))
    con.execute(f"insert into {published_of(entity)} ({names}) select {names} from {candidate_of(entity)}")
