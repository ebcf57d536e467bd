"""The golden profile: one value per attribute and customer, by rule.

Belongs here: survivorship. Does not belong here: who is one customer (`admission.py`), or facts computed
over behaviour (stage features). Contact points come from the customer's own identifiers, so a profile
never shows an address that the guards kept apart.
"""

from collections.abc import Sequence

from segmentation.identity.assign import node_of_rank, rank_expression
from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.lookup import attribution
from segmentation.identity.versions import superseded_rows
from segmentation.run import Run
from segmentation.sources.entities import IDENTITY_COLUMNS
from segmentation.warehouse import Connection, table_exists

_ATTRIBUTES = ("first_name", "last_name", "country", "company_name", "residency_region")

#: More rows of one customer at one moment than there can be.
_POSITIONS = 1 << 40

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

    Per attribute the most trusted entity that has a value wins, then the latest value, then the highest
    source and key. A verified e-mail wins over others, then the one seen last.
    """
    described = [entity for entity in _DESCRIBING if table_exists(con, "sources", entity[0])]
    for table, key, moment, attributes, is_versioned in described:
        _describe(con, run, rules, table, key, moment, attributes, is_versioned=is_versioned)
    chosen = ", ".join(_first_filled(name, described) for name in _ATTRIBUTES)
    joins = " ".join(f"left join described_{entity[0]} using (component)" for entity in described)
    known = ", ".join(f"'{name}'" for name in _KNOWN_TYPES)
    con.execute(
        "create or replace temp table contacts as with "
        "members as (select c.component, n.* from components as c join nodes as n using (node_id) "
        f"where n.id_type in ({known})), "
        # The lowest node id wins a tie, but the highest of everything else.
        f"emails as (select component, min({rank_expression('(not is_verified)', '-epoch_us(last_seen_at)')}) as best "
        "from members where id_type = 'email' group by component), "
        f"phones as (select component, min({rank_expression('0', '-epoch_us(last_seen_at)')}) as best "
        "from members where id_type = 'phone' group by component), "
        "source_ids as (select m.component, min(r.id_value) as best_source_customer_id from members as m "
        "join (from identity.registry where id_type = 'source_customer_id') as r using (node_id) group by m.component) "
        f"select m.component, {node_of_rank('e.best')} as email_node, {node_of_rank('p.best')} as phone_node, "
        "s.best_source_customer_id from (select distinct component from members) as m "
        "left join emails as e using (component) left join phones as p using (component) "
        "left join source_ids as s using (component)"
    )
    con.execute(
        "insert into identity.candidate_profiles by name "
        f"select k.customer_id, e.id_value as email, p.id_value as phone, {chosen}, "
        "c.component is not null as is_known, c.best_source_customer_id, "
        "$run_id as run_id, $recorded_at as recorded_at "
        f"from resolution as k left join contacts as c using (component) {joins} "
        "left join (from identity.registry where id_type = 'email') as e on e.node_id = c.email_node "
        "left join (from identity.registry where id_type = 'phone') as p on p.node_id = c.phone_node",
        {"run_id": run.run_id, "recorded_at": run.recorded_at},
    )
    for table in ("contacts", *(f"described_{entity[0]}" for entity in described)):
        con.execute(f"drop table {table}")


def _first_filled(attribute: str, described: Sequence[tuple[str, str, str, tuple[str, ...], bool]]) -> str:
    values = [f"described_{entity[0]}.{attribute}" for entity in described if attribute in entity[3]]
    return f"coalesce({', '.join(values)}) as {attribute}" if values else f"null as {attribute}"


def _describe(
    con: Connection,
    run: Run,
    rules: IdentifierRules,
    table: str,
    key: str,
    moment: str,
    attributes: tuple[str, ...],
    *,
    is_versioned: bool,
) -> None:
    """Write temporary table ``described_<table>``: per component the latest value of each attribute."""
    values = ", ".join(f"nullif(trim({name}), '') as {name}" for name in attributes)
    chosen = ", ".join(f"r.{name}" for name in attributes)
    current = superseded_rows(con, run, table, key, moment) if is_versioned else "true"
    node, joins = attribution(con, rules, f"sources.{table}")
    con.execute(
        f"create or replace temp table described_rows as select c.component, r.moment, r.tie, {chosen} from ("
        f"select source, {', '.join(IDENTITY_COLUMNS)}, {values}, epoch_us({moment}) as moment, "
        f"concat_ws('/', source, {key}) as tie from sources.{table} where {moment} <= $as_of and {current}) as r "
        f"{joins} join components as c on c.node_id = {node} where coalesce({chosen}) is not null",
        {"as_of": run.as_of},
    )
    # Few rows of a customer have one moment: only theirs are put in order.
    con.execute(
        "create or replace temp table tied as select row_number, "
        "row_number() over (partition by component, moment order by tie) as position from ("
        "select rowid as row_number, component, moment, tie from described_rows semi join ("
        "select component, moment from described_rows group by all having count(*) > 1) using (component, moment))"
    )
    latest = ", ".join(
        f"arg_max({name}, moment::hugeint * {_POSITIONS} + coalesce(position, 0)) filter ({name} is not null) as {name}"
        for name in attributes
    )
    con.execute(
        f"create or replace temp table described_{table} as select component, {latest} "
        "from described_rows left join tied on tied.row_number = described_rows.rowid group by component"
    )
    con.execute(f"drop table described_rows; drop table tied; drop table if exists superseded_{table}")
