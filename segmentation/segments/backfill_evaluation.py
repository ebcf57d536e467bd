"""Deciding who was in a segment at the end of a past day, in a copy of the warehouse.

Belongs here: making room in the copy, and evaluating on its features of that day. Does not belong here: how features
of a past moment come about (dbt, ``identity/past_facts.py``), and keeping what was found (``backfill_days.py``).

A day is decided by the stage's own code, as if nothing had ever been published. Who does not allow today what a segment
needs is not in it on any past day either: the day is decided twice, by what customers allowed then and by what they
allow then and now, and only who is a member both times is one.
"""

from segmentation.contracts import ensure_schema
from segmentation.errors import CandidateError
from segmentation.run import Run
from segmentation.segments.accounts import ACCOUNT_FEATURES
from segmentation.segments.backfill_scope import Scope
from segmentation.segments.candidate import build_candidate
from segmentation.segments.conditions import PURPOSES, features_of
from segmentation.segments.decisions import FEATURES
from segmentation.warehouse import Connection, count, has_rows, literal, quote, scalar

#: Where the copy has what is found of a day: customer and segment.
MEMBERS = "backfill.members"

# Millions of customers allow one of a few dozen combinations of purposes: a list is kept for each combination alone.
_ALLOWED = (
    """
    create or replace table backfill.purposes as
    select purpose, 1::bigint << (row_number() over (order by purpose) - 1)::integer as bit
    from (select distinct purpose from identity.customer_consents)
    """,
    """
    create or replace table backfill.allowed_sets as
    select c.customer_id, bit_or(p.bit) as purpose_set
    from identity.customer_consents as c inner join backfill.purposes as p on c.purpose = p.purpose
    where c.is_allowed
    group by c.customer_id
    """,
    """
    create or replace table backfill.sets as
    select s.purpose_set, list(p.purpose order by p.purpose) as purposes
    from (select distinct purpose_set from backfill.allowed_sets) as s
    inner join backfill.purposes as p on s.purpose_set & p.bit <> 0
    group by s.purpose_set
    """,
    """
    create or replace view backfill.allowed as
    select a.customer_id, s.purposes
    from backfill.allowed_sets as a inner join backfill.sets as s on a.purpose_set = s.purpose_set
    """,
)

#: Whom what was withdrawn since concerns.
_WITHDRAWN = f"""
{FEATURES} as f left join backfill.allowed as a on f.customer_id = a.customer_id
where not list_has_all(coalesce(a.purposes, []::varchar[]), f.{PURPOSES})
"""

_STILL_ALLOWED = f"""
create view {FEATURES} as
select
    f.* replace (
        list_filter(
            f.{PURPOSES}, lambda p: list_contains(coalesce(a.purposes, []::varchar[]), p)
        ) as {PURPOSES}
    )
from features.features_then as f left join backfill.allowed as a on f.customer_id = a.customer_id
"""


def clear_copy(con: Connection) -> None:
    """Let a copy of the warehouse know of no publication of membership, and of no later moment than any other.

    What customers allow today is kept beside. Definitions are to be read before.
    """
    con.execute("create schema if not exists backfill")
    for statement in _ALLOWED:
        con.execute(statement)
    con.execute("drop schema segments cascade")
    ensure_schema(con, "segments")


def forget_candidates(con: Connection) -> None:
    """Let a copy take any moment next: days need not come in order."""
    con.execute("delete from ops.candidates")


def decide_day(con: Connection, run: Run, scope: Scope) -> str:
    """Write ``backfill.members(customer_id, segment_key)``: who was in the segments of a scope.

    Args:
        con: A copy of the warehouse, cleared, whose features describe the run's moment.
        run: Its ``as_of`` is the end of the day.
        scope: What is asked for, and what decides.

    Returns:
        A digest of the features that rules asked for, the same for the same features.

    Raises:
        CandidateError: The features describe another moment, or lack what a rule asks for.
    """
    keys = ", ".join(literal(subject.segment_key) for subject in scope.subjects)
    decided = f"select customer_id, segment_key from segments.candidate_membership where segment_key in ({keys})"
    build_candidate(con, run, scope.catalog)
    con.execute(f"create or replace table {MEMBERS} as {decided}")
    digest = _digest(con, scope)
    if has_rows(con, _WITHDRAWN):
        con.execute(f"alter table {FEATURES} rename to features_then")
        con.execute(_STILL_ALLOWED)
        forget_candidates(con)
        build_candidate(con, run, scope.catalog)
        con.execute(
            f"create or replace table {MEMBERS} as from {MEMBERS} "
            f"semi join ({decided}) using (customer_id, segment_key)"
        )
        con.execute(f"drop view {FEATURES}")
        con.execute("alter table features.features_then rename to customer_features")
    return digest


def check_features(con: Connection, run: Run) -> None:
    """Refuse features of a past moment that know of a later one, or of other customers than identity.

    Raises:
        CandidateError: With what is wrong.
    """
    found = con.execute(
        "select missing_customers, unexpected_customers, future_rows from features.candidate"
    ).fetchall()
    if found != [(0, 0, 0)]:
        raise CandidateError(
            f"features as of {run.as_of} are not those of its customers: missing, unexpected, later {found}",
            where=FEATURES,
            expected="a row for each customer who had been seen by then, and no later fact",
            repair="keep the log of the run and report this; nothing was written",
        )


def _digest(con: Connection, scope: Scope) -> str:
    """Return a digest of what rules could see, that no order of rows changes."""
    conditions = [one for segment in scope.catalog.segments.values() for one in segment.conditions]
    names = sorted({name for one in conditions for name in features_of(one)} | {PURPOSES, "residency_region"})
    parts = [_rows_digest(con, FEATURES, ["customer_id", *names])]
    of_accounts = [one.account_condition for one in scope.catalog.segments.values() if one.account_condition]
    if of_accounts:
        names = sorted({name for one in of_accounts for name in features_of(one)})
        parts.append(_rows_digest(con, ACCOUNT_FEATURES, ["account_id", *names]))
    return "-".join(parts)


def _rows_digest(con: Connection, table: str, columns: list[str]) -> str:
    chosen = ", ".join(quote(name) for name in dict.fromkeys(columns))
    found = scalar(con, f"select coalesce(bit_xor(hash({chosen})), 0) from {table}")
    return f"{count(con, table)}:{int(str(found)):016x}"
