"""The golden profile: one value per attribute and customer, by rule.

Belongs here: survivorship. Does not belong here: who is one customer (`admission.py`), or facts computed
over behaviour (stage features). Contact points come from the customer's own identifiers, so a profile
never shows an address that the guards kept apart.
"""

from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.lookup import attribute_rows
from segmentation.identity.versions import superseded_rows
from segmentation.run import Run
from segmentation.sources.entities import IDENTITY_COLUMNS
from segmentation.warehouse import Connection, table_exists

_ATTRIBUTES = ("first_name", "last_name", "country", "company_name", "residency_region")

#: A type of this priority or better makes a customer known: devices and cookies are worse.
_KNOWN_TYPES = ("source_customer_id", "user_id", "email", "phone")

#: Entities that describe customers, the most trusted first: table, key, moment, attributes, and whether
#: only the current version of a key counts.
_DESCRIBING = (
    ("customer_records", "source_customer_id", "updated_at", _ATTRIBUTES, True),
    ("form_submissions", "submission_id", "submitted_at", _ATTRIBUTES[:4], True),
    ("orders", "order_id", "ordered_at", ("country",), False),
)


def write_profiles(con: Connection, run: Run, rules: IdentifierRules) -> None:
    """Fill ``identity.candidate_profiles``: one row per active customer.

    Per attribute the most trusted entity that has a value wins, then the latest value, then the lowest
    source and key. A verified e-mail wins over others, then the one seen last.
    """
    columns = ", ".join(f"{name} varchar" for name in _ATTRIBUTES)
    con.execute(
        "create or replace temp table described "
        f"(customer_id varchar, trust integer, described_at timestamp, tie varchar, {columns})"
    )
    for trust, (table, key, moment, attributes, is_versioned) in enumerate(reversed(_DESCRIBING)):
        if table_exists(con, "sources", table):
            _describe(con, run, rules, trust, table, key, moment, attributes, is_versioned=is_versioned)
    best = ", ".join(
        f"arg_max({name}, row(trust, described_at, tie)) filter ({name} is not null) as {name}" for name in _ATTRIBUTES
    )
    chosen = ", ".join(f"d.{name}" for name in _ATTRIBUTES)
    known = ", ".join(f"'{name}'" for name in _KNOWN_TYPES)
    con.execute(
        "insert into identity.candidate_profiles by name with members as ("
        "select m.customer_id, m.node_id, n.id_type, n.is_verified, n.last_seen_at "
        "from identity.candidate_identifier_map as m join nodes as n using (node_id)), "
        "contacts as (select customer_id, bool_or(true) as is_known, "
        "arg_max(node_id, row(is_verified, last_seen_at, -node_id)) filter (id_type = 'email') as email_node, "
        "arg_max(node_id, row(last_seen_at, -node_id)) filter (id_type = 'phone') as phone_node "
        f"from members where id_type in ({known}) group by customer_id), "
        "source_ids as (select m.customer_id, min(r.id_value) as best_source_customer_id from members as m "
        "join identity.registry as r using (node_id) where m.id_type = 'source_customer_id' group by m.customer_id), "
        f"descriptions as (select customer_id, {best} from described group by customer_id) "
        f"select k.customer_id, e.id_value as email, p.id_value as phone, {chosen}, "
        "coalesce(c.is_known, false) as is_known, s.best_source_customer_id, "
        "$run_id as run_id, $recorded_at as recorded_at "
        "from identity.candidate_customers as k left join contacts as c using (customer_id) "
        "left join source_ids as s using (customer_id) left join descriptions as d using (customer_id) "
        "left join identity.registry as e on e.node_id = c.email_node "
        "left join identity.registry as p on p.node_id = c.phone_node where k.status = 'active'",
        {"run_id": run.run_id, "recorded_at": run.recorded_at},
    )
    con.execute("drop table described")


def _describe(
    con: Connection,
    run: Run,
    rules: IdentifierRules,
    trust: int,
    table: str,
    key: str,
    moment: str,
    attributes: tuple[str, ...],
    *,
    is_versioned: bool,
) -> None:
    identity = ", ".join(IDENTITY_COLUMNS)
    values = ", ".join(f"nullif(trim({name}), '') as {name}" for name in attributes)
    current = superseded_rows(con, run, table, key, moment) if is_versioned else "true"
    con.execute(
        f"create or replace temp table described_rows as select rowid as row_number, source, {identity}, {values}, "
        f"{moment} as described_at, concat_ws('/', source, {key}) as tie from sources.{table} "
        f"where {moment} <= $as_of and {current}",
        {"as_of": run.as_of},
    )
    attribute_rows(con, rules, "described_rows")
    con.execute(
        f"insert into described by name select a.customer_id, {trust} as trust, r.described_at, r.tie, "
        f"{', '.join(f'r.{name}' for name in attributes)} from described_rows as r "
        "join attributed as a using (row_number)"
    )
    con.execute(f"drop table described_rows; drop table attributed; drop table if exists superseded_{table}")
