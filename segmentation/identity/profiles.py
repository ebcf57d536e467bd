"""The golden profile: one value per attribute and customer, with who stated it and when, and what contradicts it.

Belongs here: putting together what was chosen. Does not belong here: choosing (`survivorship.py`), who is one
customer (`admission.py`), or facts computed over behaviour (stage features). Contact points come from the customer's
own identifiers, so a profile never shows an address that the guards kept apart.
"""

from collections.abc import Mapping

from segmentation.identity.catalog import IdentityCatalog
from segmentation.identity.profile_rules import CONTACTS, DESCRIPTIONS
from segmentation.identity.survivorship import Scale, choose_contact, choose_descriptions, write_kinds
from segmentation.run import Run
from segmentation.warehouse import Connection

#: A type of this priority or better makes a customer known: devices and cookies are worse.
_KNOWN_TYPES = ("source_customer_id", "user_id", "email", "phone")


def write_profiles(con: Connection, run: Run, catalog: IdentityCatalog) -> None:
    """Fill ``identity.candidate_profiles`` and ``identity.candidate_profile_conflicts``.

    One profile per active customer: each attribute's value as ``profile.yml`` prefers it, null where nobody states
    any. Conflicts are the values of attributes that have several, the one of the profile among them.
    """
    scales = write_kinds(con, catalog.profile)
    for contact in CONTACTS:
        choose_contact(con, scales[contact], contact)
    weights = choose_descriptions(con, run, catalog.rules, scales)
    write_known(con)
    _write_profiles(con, run, scales)
    _write_conflicts(con, run, scales, weights)
    con.execute("drop view weighed")
    for table in ("known", "described", "stated", "tied", "profile_kinds", *(f"chosen_{name}" for name in CONTACTS)):
        con.execute(f"drop table {table}")


def write_known(con: Connection) -> None:
    """Write temporary table ``known(component, best_source_customer_id)``: customers that are more than a device."""
    types = ", ".join(f"'{name}'" for name in _KNOWN_TYPES)
    con.execute(
        "create or replace temp table known as with "
        f"members as (select c.component, n.node_id, n.id_type from components as c join nodes as n using (node_id) "
        f"where n.id_type in ({types})), "
        "source_ids as (select m.component, min(r.id_value) as best_source_customer_id from members as m "
        "join (from identity.registry where id_type = 'source_customer_id') as r using (node_id) group by m.component) "
        "select component, s.best_source_customer_id from (select distinct component from members) "
        "left join source_ids as s using (component)"
    )


def _write_profiles(con: Connection, run: Run, scales: Mapping[str, Scale]) -> None:
    columns, joins = [], []
    for name in CONTACTS:
        stater = _stater(name, f"c_{name}.kind")
        columns += [f"r_{name}.id_value as {name}", stater, f"c_{name}.seen_at as {name}_at"]
        joins.append(
            f"left join chosen_{name} as c_{name} on c_{name}.component = k.component "
            f"left join (from identity.registry where id_type = '{name}') as r_{name} "
            f"on r_{name}.node_id = c_{name}.node_id"
        )
    for name in DESCRIPTIONS:
        weight = f"d.{name}_weight"
        stater = _stater(name, scales[name].part_of(weight, "kind"))
        columns += [f"d.{name}", stater, f"{scales[name].moment_of(weight)} as {name}_at"]
    con.execute(
        f"insert into identity.candidate_profiles by name select k.customer_id, {', '.join(columns)}, "
        "m.component is not null as is_known, m.best_source_customer_id, "
        "$run_id as run_id, $recorded_at as recorded_at from resolution as k "
        # Kinds are numbered from 1: their place in a list says who it is, without a join for each attribute.
        "cross join (select list(source || '/' || entity order by kind) as names from profile_kinds) as s "
        "left join known as m on m.component = k.component "
        f"left join described as d on d.component = k.component {' '.join(joins)}",
        {"run_id": run.run_id, "recorded_at": run.recorded_at},
    )


def _stater(name: str, kind: str) -> str:
    """Return the SQL for who stated an attribute, as ``source/entity``."""
    return f"s.names[{kind}] as {name}_source"


def _write_conflicts(con: Connection, run: Run, scales: Mapping[str, Scale], weights: Mapping[str, str]) -> None:
    """List the values of attributes that have several; few customers have such."""
    differ = ", ".join(f"bool_or({name}_differs)" for name in DESCRIPTIONS)
    [contradicted] = con.execute(f"select {differ} from described").fetchall()
    for name in (name for name, differs in zip(DESCRIPTIONS, contradicted, strict=True) if differs):
        kind, seen_at = scales[name].part_of("g.weight", "kind"), scales[name].moment_of("g.weight")
        con.execute(
            "insert into identity.candidate_profile_conflicts by name with grouped as ("
            f"select component, arg_max({name}, {weights[name]}) as value, max({weights[name]}) as weight, "
            f"count(*) as n_obs from weighed where {name} is not null "
            f"and component in (select component from described where {name}_differs) "
            f"group by component, lower({name})) "
            f"select r.customer_id, '{name}' as attribute, "
            "row_number() over (partition by g.component order by g.weight desc) as value_rank, g.value, "
            f"k.source, k.entity, {seen_at} as seen_at, g.n_obs, $run_id as run_id, $recorded_at as recorded_at "
            "from grouped as g join resolution as r using (component) "
            f"left join profile_kinds as k on k.kind = {kind}",
            {"run_id": run.run_id, "recorded_at": run.recorded_at},
        )
