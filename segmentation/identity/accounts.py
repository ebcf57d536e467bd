"""Which customers belong to which accounts, in what role, since when.

Belongs here: memberships that customer records and subscriptions state. Does not belong here: the
accounts themselves (``sources.accounts``).
"""

from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.lookup import attribution
from segmentation.identity.tables import relations
from segmentation.run import Run
from segmentation.sources.entities import IDENTITY_COLUMNS
from segmentation.warehouse import Connection, has_rows

#: Roles where a source gives none.
MEMBER, SUBSCRIBER = "member", "subscriber"


def write_accounts(con: Connection, run: Run, rules: IdentifierRules) -> None:
    """Fill ``identity.candidate_customer_accounts``.

    A membership begins with the first version of a record that states it and ends with the version that
    states another; ``valid_to`` is null while the current version states it.
    """
    present = relations(con, "sources")
    if "customer_records" in present:
        begun = "coalesce(least(created_at, updated_at), updated_at)"
        _add(con, run, rules, "customer_records", "source_customer_id", "account_role", begun, MEMBER)
    if "subscriptions" in present:
        begun = "coalesce(least(started_at, updated_at), updated_at)"
        _add(con, run, rules, "subscriptions", "subscription_id", "null", begun, SUBSCRIBER)


def _add(
    con: Connection, run: Run, rules: IdentifierRules, table: str, key: str, role: str, begun: str, default_role: str
) -> None:
    if not has_rows(con, f"sources.{table} where account_id is not null"):
        return
    identity = ", ".join(IDENTITY_COLUMNS)
    node, joins = attribution(con, rules, f"sources.{table}")
    con.execute(
        "create or replace temp table stated as with versions as ("
        f"select source, {identity}, nullif(trim(account_id), '') as account_id, "
        f"coalesce(lower(nullif(trim({role}), '')), '{default_role}') as role, {begun} as begun_at, "
        f"lead(updated_at) over (partition by source, {key} order by file_id, line) as ended_at "
        f"from sources.{table} where updated_at <= ? "
        # Most records never had an account; only the versions of those that ever had one are compared.
        f"and (source, {key}) in (select (source, {key}) from sources.{table} where account_id is not null)) "
        "select * from versions where account_id is not null",
        [run.as_of],
    )
    con.execute(
        "insert into identity.candidate_customer_accounts by name with attributed as ("
        f"select r.account_id, r.role, r.begun_at, r.ended_at, {node} as node_id from stated as r {joins}) "
        "select k.customer_id, s.account_id, s.role, min(s.begun_at) as valid_from, "
        "case when bool_or(s.ended_at is null) then null else max(s.ended_at) end as valid_to, "
        "$run_id as run_id, $recorded_at as recorded_at from attributed as s join components as c using (node_id) "
        "join resolution as k using (component) group by k.customer_id, s.account_id, s.role",
        {"run_id": run.run_id, "recorded_at": run.recorded_at},
    )
    con.execute("drop table stated")
