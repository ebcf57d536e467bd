"""The candidate of the feature table: what dbt just built, measured for its gate.

Belongs here: holding the built table to the contract and to identity, and stamping it as this run's. Does not
belong here: computing features (`dbt_project/models`) or deciding whether they pass
(`expectations/suites/features.py`). Look next at `publish.py`.
"""

import hashlib
from collections.abc import Iterable

from segmentation.contracts import ensure_schema, stamp_candidate
from segmentation.errors import CandidateError
from segmentation.features.contract import FeatureContract
from segmentation.run import Run, StageReport
from segmentation.warehouse import Connection, quote, transaction

#: The table that dbt builds.
CANDIDATE_TABLE = "candidate_customer_features"

#: The table of accounts that it builds from that one.
ACCOUNTS_CANDIDATE = "candidate_account_features"

#: Features that state when something happened, so that none may lie after the run's moment.
_PAST_MOMENTS = ("first_seen_at", "first_order_at", "last_order_at", "last_seen_at", "demo_requested_at")

_NUMBERS = ("BIGINT", "DOUBLE")


def fingerprint(columns: Iterable[tuple[str, str]]) -> str:
    """Return a short hash of column names and types, in order: equal for tables of one shape."""
    return hashlib.sha256("\n".join(f"{name} {type_}" for name, type_ in columns).encode()).hexdigest()[:16]


def table_columns(con: Connection, schema: str, table: str) -> dict[str, str]:
    """Return the columns of a table with their types, in order; empty where there is no such table."""
    return dict(
        con.execute(
            "select column_name, data_type from information_schema.columns "
            "where table_schema = ? and table_name = ? order by ordinal_position",
            [schema, table],
        ).fetchall()
    )


def announce_candidate(con: Connection, run: Run) -> str:
    """Stamp the candidate that dbt is about to build for this run; return its id.

    dbt replaces the table itself, outside of any transaction of ours. From here on nothing that was judged before is
    what the table holds: a failed build or data test keeps the stage shut, also for later runs, and another run
    can't publish this one's rows under its own judgement.
    """
    ensure_schema(con, "features")
    with transaction(con):
        con.execute("delete from features.candidate")
        con.execute("delete from features.candidate_columns")
        return stamp_candidate(con, "features", run)


def build_candidate(con: Connection, run: Run, contract: FeatureContract) -> StageReport:
    """Measure the table that dbt built and stamp it as this run's candidate.

    Writes ``features.candidate`` (one row) and ``features.candidate_columns`` (one row a feature); the table itself,
    ``features.candidate_customer_features``, stays as dbt left it.

    Raises:
        CandidateError: dbt has not built the table, or its columns are not the contract's.
    """
    ensure_schema(con, "features")
    columns = table_columns(con, "features", CANDIDATE_TABLE)
    _check_columns(columns, contract, CANDIDATE_TABLE)
    if contract.accounts is not None:
        found = table_columns(con, "features", ACCOUNTS_CANDIDATE)
        _check_columns(found, contract.accounts, ACCOUNTS_CANDIDATE)
    with transaction(con):
        _measure_table(con, run, columns, contract)
        shares = _measure_columns(con, run, contract)
        candidate_id = stamp_candidate(con, "features", run)
    measured = con.execute(
        "select row_count, expected_customers, missing_customers, unexpected_customers, future_rows, "
        "schema_fingerprint from features.candidate"
    ).fetchall()[0]
    return StageReport(
        candidate_id=candidate_id,
        rows={CANDIDATE_TABLE: measured[0]},
        facts={
            "expected_customers": measured[1],
            "missing_customers": measured[2],
            "unexpected_customers": measured[3],
            "future_rows": measured[4],
            "schema_fingerprint": measured[5],
            "features": len(contract),
            "null_ratio": {name: round(share, 4) for name, share in shares.items() if share},
        },
    )


def _check_columns(columns: dict[str, str], contract: FeatureContract, table: str) -> None:
    if not columns:
        raise CandidateError(
            "dbt has not built the feature table",
            where=f"features.{table}",
            expected="a dbt build of selector features before this step",
            repair="strata run --from features",
        )
    if columns == contract.types and list(columns) == list(contract.names):
        return
    missing = [name for name in contract.names if name not in columns]
    extra = [name for name in columns if name not in contract]
    changed = [name for name, type_ in contract.types.items() if columns.get(name, type_) != type_]
    details = "; ".join(
        f"{label}: {', '.join(names)}"
        for label, names in (("missing", missing), ("not in the contract", extra), ("of another type", changed))
        if names
    )
    raise CandidateError(
        f"the feature table does not keep its contract ({details or 'its columns are in another order'})",
        where=f"features.{table}",
        expected=f"the columns of {contract.path}",
        repair="strata run --from features",
    )


def _measure_table(con: Connection, run: Run, columns: dict[str, str], contract: FeatureContract) -> None:
    future = " or ".join(f"{name} > $as_of" for name in _PAST_MOMENTS)
    con.execute("delete from features.candidate")
    con.execute(
        f"""
        insert into features.candidate
        with built as (
            select
                customer_id,
                count(*) as row_count,
                min(as_of) as min_row_as_of,
                max(as_of) as max_row_as_of,
                count_if({future}) as future_rows
            from features.{CANDIDATE_TABLE}
            group by customer_id
        ),
        matched as (
            select
                coalesce(sum(row_count), 0) as row_count,
                count(built.customer_id) as distinct_customers,
                count(customers.customer_id) as expected_customers,
                count_if(built.row_count is null) as missing_customers,
                count_if(customers.customer_id is null) as unexpected_customers,
                min(min_row_as_of) as min_row_as_of,
                max(max_row_as_of) as max_row_as_of,
                coalesce(sum(future_rows), 0) as future_rows
            from (select customer_id from identity.customers where status = 'active') as customers
            full join built on customers.customer_id = built.customer_id
        )
        select
            row_count, distinct_customers, expected_customers, missing_customers, unexpected_customers,
            $as_of, min_row_as_of, max_row_as_of, future_rows,
            $schema_fingerprint, $contract_fingerprint, $run_id, $recorded_at
        from matched
        """,
        {
            "as_of": run.as_of,
            "schema_fingerprint": fingerprint(columns.items()),
            "contract_fingerprint": fingerprint(contract.types.items()),
            "run_id": run.run_id,
            "recorded_at": run.recorded_at,
        },
    )


def _measure_columns(con: Connection, run: Run, contract: FeatureContract) -> dict[str, float]:
    """Write how full every feature is and in how many rows it is no number; return the share of nulls.

    It is one pass over the table.
    """
    measures = [
        f"count({quote(feature.name)}), "
        + (f"count_if({quote(feature.name)} = 0), " if feature.duckdb_type in _NUMBERS else "null, ")
        + (f"count_if(not isfinite({quote(feature.name)}))" if feature.duckdb_type == "DOUBLE" else "0")
        for feature in contract
    ]
    total, *counts = con.execute(f"select count(*), {', '.join(measures)} from features.{CANDIDATE_TABLE}").fetchall()[
        0
    ]
    nulls = {
        feature.name: 1 - filled / total if total else 0.0
        for feature, filled in zip(contract, counts[::3], strict=True)
    }
    zeros = [None if zero is None else zero / total if total else 0.0 for zero in counts[1::3]]
    con.execute("delete from features.candidate_columns")
    con.execute(
        """
        insert into features.candidate_columns by name
        select *, $run_id as run_id, $recorded_at as recorded_at
        from (
            select
                unnest($names) as feature, unnest($positions) as column_position, unnest($types) as data_type,
                unnest($concerns) as concern, unnest($max_ages) as max_age_seconds, unnest($nulls) as null_ratio,
                unnest($zeros) as zero_ratio, unnest($not_finite) as not_finite_rows
        )
        """,
        {
            "names": list(contract.names),
            "positions": list(range(1, len(contract) + 1)),
            "types": list(contract.types.values()),
            "concerns": [feature.source for feature in contract],
            "max_ages": [feature.max_age_hours * 3600 for feature in contract],
            "nulls": list(nulls.values()),
            "zeros": zeros,
            "not_finite": counts[2::3],
            "run_id": run.run_id,
            "recorded_at": run.recorded_at,
        },
    )
    return nulls
