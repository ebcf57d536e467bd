"""Publishing features: the candidate that passed its gate becomes what segment rules see.

Belongs here: the swap, and how old each published feature is. Does not belong here: the gate itself
(`expectations/`) or measuring the candidate (`candidate.py`). Look next at `segmentation/segments`.
"""

from segmentation.contracts import ensure_schema, latest_candidate, mark_published
from segmentation.errors import CandidateError
from segmentation.features.candidate import ACCOUNTS_CANDIDATE, CANDIDATE_TABLE
from segmentation.run import Run, StageReport
from segmentation.warehouse import Connection, count, scalar, swap_table, transaction

#: The table that segment rules, marts and people read.
PUBLISHED_TABLE = "customer_features"

#: What rules over accounts read; published with it.
ACCOUNTS_TABLE = "account_features"


def publish(con: Connection, run: Run) -> StageReport:
    """Make this run's candidate the published feature table, and write the age of its features.

    The candidate's table takes the published name, so no row is copied; a view under the candidate's name keeps what
    the gate judged readable. Publishing the same candidate again changes nothing.

    Raises:
        CandidateError: The newest candidate is another run's, or its table is missing.
    """
    ensure_schema(con, "features")
    newest = latest_candidate(con, "features")
    with transaction(con):
        if newest is not None and newest.run_id == run.run_id and newest.published_at is not None:
            candidate_id = newest.candidate_id
        else:
            candidate_id = mark_published(con, "features", run)
            for candidate, published in ((CANDIDATE_TABLE, PUBLISHED_TABLE), (ACCOUNTS_CANDIDATE, ACCOUNTS_TABLE)):
                _require_table(con, candidate)
                swap_table(con, "features", candidate, published)
        _write_freshness(con, run)
    stale = con.execute("select feature from features.feature_freshness where not is_fresh order by feature").fetchall()
    return StageReport(
        candidate_id=candidate_id,
        rows={table: count(con, f"features.{table}") for table in (PUBLISHED_TABLE, ACCOUNTS_TABLE)},
        facts={"stale_features": [name for (name,) in stale]},
    )


def _require_table(con: Connection, table: str) -> None:
    found = scalar(
        con,
        "select table_type from information_schema.tables where table_schema = 'features' and table_name = ?",
        [table],
    )
    if found != "BASE TABLE":
        raise CandidateError(
            "there is no candidate feature table to publish",
            where=f"features.{table}",
            expected="the table that dbt built in this run",
            repair="strata run --from features",
        )


def _write_freshness(con: Connection, run: Run) -> None:
    con.execute("delete from features.feature_freshness")
    con.execute(
        """
        insert into features.feature_freshness
        select
            columns.feature,
            facts.max_event_at,
            date_diff('second', facts.max_event_at, $as_of) as age_seconds,
            columns.max_age_seconds,
            date_diff('second', facts.max_event_at, $as_of) <= columns.max_age_seconds as is_fresh,
            $run_id,
            $recorded_at
        from features.candidate_columns as columns
        left join intermediate.int_features__freshness as facts
            on facts.concern = columns.concern
        """,
        {"as_of": run.as_of, "run_id": run.run_id, "recorded_at": run.recorded_at},
    )
