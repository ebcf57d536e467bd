"""Segments of accounts: decided on the features of accounts, and inherited by the accounts' customers.

Belongs here: which accounts are in which segment, and which customers inherit that. Does not belong here: what then
decides about each customer (``decisions.py``): consent, residency, exclusion lists and groups hold for them as ever.
A customer of several accounts inherits from each.
"""

from collections.abc import Collection

from segmentation.errors import CandidateError
from segmentation.run import Run
from segmentation.segments.compiled import CatalogSegment
from segmentation.segments.conditions import features_of
from segmentation.segments.rule_sql import to_sql
from segmentation.warehouse import Connection, literal, table_exists

ACCOUNT_FEATURES = "features.account_features"

_MEMBERS = """
create or replace table segments.candidate_account_membership as
select account_id, segment_key
from (select account_id, unnest({claims}::varchar[]) as segment_key from {features})
where segment_key is not null
"""

_NOBODY = "create or replace table segments.candidate_account_membership (account_id varchar, segment_key varchar)"

#: Belonging to an account is a matter of the moment, like everything that membership is decided on.
_INHERITED = """
create or replace table segments.candidate_inherited as
select distinct a.customer_id, m.segment_key
from segments.candidate_account_membership as m
inner join identity.customer_accounts as a on m.account_id = a.account_id
where a.valid_from <= $as_of and (a.valid_to is null or a.valid_to > $as_of)
"""


def decide_accounts(con: Connection, run: Run, live: Collection[CatalogSegment]) -> None:
    """Write ``segments.candidate_account_membership`` and, of the customers, ``segments.candidate_inherited``.

    All rules are evaluated in one scan of the accounts.

    Args:
        con: The warehouse, within the transaction of the candidate.
        run: The run; its ``as_of`` is that of the features.
        live: The segments that can have members; those of customers are left alone.

    Raises:
        CandidateError: The features of accounts are missing, lack a column or describe another moment than the run.
    """
    rules = {one.key: one for one in live if one.account_condition is not None}
    if rules:
        _check_features(con, run, rules.values())
        claims = [
            f"case when {to_sql(one.account_condition)} then {literal(key)} end"
            for key, one in rules.items()
            if one.account_condition is not None
        ]
        con.execute(_MEMBERS.format(claims=f"[{', '.join(claims)}]", features=ACCOUNT_FEATURES))
    else:
        con.execute(_NOBODY)
    con.execute(_INHERITED, {"as_of": run.as_of})


def inherits_sql(key: str) -> str:
    """Return the condition that the customer belongs to an account in a segment."""
    inherited = f"select i.customer_id from segments.candidate_inherited as i where i.segment_key = {literal(key)}"
    return f"customer_id in ({inherited})"


def _check_features(con: Connection, run: Run, segments: Collection[CatalogSegment]) -> None:
    schema, table = ACCOUNT_FEATURES.split(".")
    exists = table_exists(con, schema, table)
    columns = {row[0] for row in con.execute(f"describe {ACCOUNT_FEATURES}").fetchall()} if exists else set()
    for segment in segments:
        needed = set(features_of(segment.account_condition)) if segment.account_condition is not None else set()
        lacking = sorted(needed - columns)
        if lacking or not exists:
            raise CandidateError(
                f"the features of accounts lack {', '.join(lacking)}, which segment {segment.key} needs"
                if exists
                else f"there are no features of accounts, which segment {segment.key} needs",
                where=f"{segment.file}:{segment.line('rule')}",
                expected=f"these columns in {ACCOUNT_FEATURES}",
                repair="strata run --from features",
            )
    found = con.execute(f"select count(*), count(distinct account_id), min(as_of), max(as_of) from {ACCOUNT_FEATURES}")
    rows, accounts, first, newest = found.fetchall()[0]
    if rows != accounts or {first, newest} - {None, run.as_of}:
        raise CandidateError(
            f"the features of accounts hold {rows} rows of {accounts} accounts, as of {newest}; the run is {run.as_of}",
            where=ACCOUNT_FEATURES,
            expected="one row per account, as of the run's moment",
            repair="strata run --from features",
        )
