"""What is known of customers as of a past moment: consent, accounts, profiles, and who had been seen at all.

Belongs here: facts of a past moment about the customers that are known today, in a copy of the warehouse. Does not
belong here: who is who. That stays as it is published, so that ids mean the same customers: of two records that were
found to be one person's later on, the past knows one customer, too.
"""

from segmentation.identity.accounts import write_accounts
from segmentation.identity.catalog import IdentityCatalog
from segmentation.identity.consents import write_consents
from segmentation.identity.matching.links import mark_matched_customers
from segmentation.identity.profile_rules import DESCRIPTIONS
from segmentation.identity.profiles import write_known
from segmentation.identity.survivorship import choose_descriptions, write_kinds
from segmentation.identity.tables import create_candidate_tables, relations
from segmentation.run import Run
from segmentation.warehouse import Connection, transaction

#: Tables that say something else as of another moment.
RESTATED = ("customers", "customer_accounts", "customer_consents", "profiles")

#: Tables that say who is who.
_KEPT = ("identifier_map", "identifier_lookup")

_TEMPORARY = (
    "nodes",
    "components",
    "component_best",
    "resolution",
    "excluded",
    "match_parts",
    "profile_kinds",
    "stated",
    "tied",
    "described",
    "known",
)

# The steps of identity read these while they solve; here they follow from what is published.
_SOLVED = """
create or replace temp table nodes as
select node_id, first_seen_at, last_seen_at, is_verified, 0::bigint as n_seen_with, id_type, id_namespace
from identity.identifiers where status = 'active' and first_seen_at <= $as_of;
create or replace temp table components as
select m.node_id, k.customer_seq as component
from identity.identifier_map as m
inner join (from identity.present_customers where status = 'active') as k on m.customer_id = k.customer_id;
create or replace temp table component_best as
select c.component, count(*) as n_nodes, min(n.first_seen_at) as first_seen_at
from components as c inner join nodes as n on c.node_id = n.node_id
group by c.component;
create or replace temp table resolution as
select b.component, k.customer_seq, k.customer_id, false as is_new
from component_best as b inner join identity.present_customers as k on b.component = k.customer_seq;
create or replace temp table excluded as
select node_id, status from identity.identifiers where status in ('shared', 'blocked');
create or replace temp view links as select * from identity.edges;
create or replace temp table match_parts (node_id bigint, part bigint)
"""

_CUSTOMERS = """
insert into identity.candidate_customers by name
select p.* replace (b.n_nodes as n_nodes)
from identity.present_customers as p
inner join component_best as b on p.customer_seq = b.component
union all by name
select * from identity.present_customers where status <> 'active'
"""

_PROFILES = """
insert into identity.candidate_profiles by name
select
    r.customer_id, {descriptions}, k.component is not null as is_known, k.best_source_customer_id,
    cast($run_id as varchar) as run_id, cast($recorded_at as timestamp) as recorded_at
from resolution as r
left join known as k on r.component = k.component
left join described as d on r.component = d.component
"""


def keep_present(con: Connection) -> None:
    """Set aside, in a copy of the warehouse, what is published of `RESTATED`; once, before the first past moment."""
    with transaction(con):
        for table in RESTATED:
            con.execute(f"alter table identity.{table} rename to present_{table}")


def restate_facts(con: Connection, run: Run, catalog: IdentityCatalog) -> None:
    """Write the tables of `RESTATED` as of a past moment, of today's customers.

    A customer of whom nothing had been seen by then is not there. Of a customer that was parted from another one since,
    refusals count for both sides, as they do today.

    Args:
        con: A copy of the warehouse, after ``keep_present``; what it proposes of identity is lost.
        run: Its ``as_of`` hides later rows of the sources.
        catalog: Rules and purposes.
    """
    with transaction(con):
        create_candidate_tables(con)
        for table in _KEPT:
            con.execute(f"drop table identity.candidate_{table}")
            con.execute(f"create view identity.candidate_{table} as select * from identity.{table}")
        # One by one, because the engine takes parameters for one statement only.
        for statement in _SOLVED.split(";"):
            con.execute(statement, {"as_of": run.as_of} if "$as_of" in statement else None)
        con.execute(_CUSTOMERS)
        mark_matched_customers(con)
        write_accounts(con, run, catalog.rules)
        write_consents(con, run, catalog)
        _write_profiles(con, run, catalog)
        con.execute("drop view weighed; drop view links")
        for table in _TEMPORARY:
            con.execute(f"drop table if exists {table}")
        kinds = relations(con, "identity")
        for table in RESTATED:
            if table in kinds:
                con.execute(f"drop table identity.{table}")
            con.execute(f"alter table identity.candidate_{table} rename to {table}")


def _write_profiles(con: Connection, run: Run, catalog: IdentityCatalog) -> None:
    """Fill ``identity.candidate_profiles`` but for contacts, which features do not use."""
    choose_descriptions(con, run, catalog.rules, write_kinds(con, catalog.profile))
    write_known(con)
    con.execute(
        _PROFILES.format(descriptions=", ".join(f"d.{name}" for name in DESCRIPTIONS)),
        {"run_id": run.run_id, "recorded_at": run.recorded_at},
    )
