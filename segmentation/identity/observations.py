"""Which identifiers were seen together: one pass over what is new of each entity, then integers only.

Belongs here: reading ``sources.<entity>`` and mapping its raw values to node ids. Does not belong here:
which rows are new (`sightings.py`), what a raw value means (`values.py`), or what follows from seeing two
identifiers together (`edges.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from segmentation.identity.catalog import EntityEvidence, IdentifierRules
from segmentation.identity.sightings import Reading, note_readings, plan_readings
from segmentation.identity.tables import relations
from segmentation.identity.values import known_values, register_values
from segmentation.run import Run
from segmentation.sources.entities import ENTITIES, IDENTITY_COLUMNS, Entity
from segmentation.warehouse import Connection, literal

#: Form of a country that phone numbers can be read in.
_COUNTRY = "^[A-Za-z]{2}$"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One kind of evidence: its short code while an entity is read, and what it stands for."""

    code: int
    entity: str
    name: str
    tier: int
    is_verified: bool


class EvidenceCodes:
    """All kinds of evidence that the rules name, numbered in the order of the file."""

    def __init__(self, rules: IdentifierRules) -> None:
        self._rules = rules

    @cached_property
    def kinds(self) -> tuple[Evidence, ...]:
        """Every kind of evidence, by code."""
        named: list[tuple[str, str, int, bool]] = []
        for entity, evidence in self._rules.entities.items():
            named.append((entity, entity, evidence.tier, False))
            if evidence.verified_by:
                named.append((entity, f"{entity}.verified", evidence.tier, True))
            named.extend((entity, f"{entity}.{value}", tier, False) for value, tier in evidence.evidence_tiers.items())
        return tuple(Evidence(code, *parts) for code, parts in enumerate(named))

    def expression(self, entity: str, evidence: EntityEvidence) -> str:
        """Return the SQL that gives a row of ``entity`` its code."""
        codes = {kind.name: kind.code for kind in self.kinds if kind.entity == entity}
        whens = [
            f"when {evidence.evidence_by} = {literal(value)} then {codes[f'{entity}.{value}']}"
            for value in evidence.evidence_tiers
        ]
        if evidence.verified_by:
            whens.append(f"when {evidence.verified_by} then {codes[f'{entity}.verified']}")
        return f"case {' '.join(whens)} else {codes[entity]} end" if whens else str(codes[entity])


def observe(con: Connection, run: Run, rules: IdentifierRules) -> dict[str, int]:
    """Find out who was seen by ``run.as_of``; register identifiers never seen before.

    Brings ``identity.sightings`` up to date and creates over it the temporary view ``node_observations``
    (combinations of identifiers and ``evidence_code``, with the number of rows and their first and last
    moments; one node id column per type of identifier, null where the rows have none), and the temporary
    tables ``evidence_kinds`` (source, evidence and strength by ``evidence_code``) and ``nodes`` (one row
    per identifier seen). Runs inside the caller's transaction.

    Returns:
        Counts: rows read, rows without any identifier, values too long, and those of `register_values`.
    """
    codes = EvidenceCodes(rules)
    present = relations(con, "sources")
    readings = plan_readings(con, run, rules, [name for name in rules.entities if name in present])
    _read_entities(con, rules, codes, readings)
    filled = filled_columns(con, "observations")
    _collect_raw_values(con, rules, filled)
    counts = register_values(con, rules, filled)
    _write_kinds(con, codes)
    _write_sightings(con, rules, filled)
    note_readings(con, readings, _count_useless(con))
    con.execute("drop view raw_values; drop table observations; drop table evidence_codes")
    _write_nodes(con, rules)
    names = ("row_count", "rows_without_identifier", "oversized_values")
    read = con.execute(
        f"select {', '.join(f'coalesce(sum({name}), 0)::bigint' for name in names)} from identity.readings"
    ).fetchall()[0]
    return dict(zip(("rows_read", *names[1:]), read, strict=True)) | counts


def filled_columns(con: Connection, rows: str) -> list[str]:
    """Return the identity columns that hold anything at all in ``rows`` (a table, or one with a condition)."""
    filled = con.execute(
        f"select {', '.join(f'count({name}) > 0' for name in IDENTITY_COLUMNS)} from {rows}"
    ).fetchall()[0]
    return [name for name, has_values in zip(IDENTITY_COLUMNS, filled, strict=True) if has_values]


def namespace_expression(rules: IdentifierRules, id_type: str, source: str = "source") -> str:
    """Return the SQL for the namespace of a raw value: its source, or nothing for global types."""
    return source if rules.identifiers[id_type].scope == "source" else "''"


def region_expression(rules: IdentifierRules, entity: Entity) -> str:
    """Return the SQL for the country that a row's phone number is read in; empty where the number names it."""
    country = default = literal(rules.default_region)
    if "country" in entity.column_names:
        country = f"case when regexp_matches(country, '{_COUNTRY}') then upper(country) else {default} end"
    return f"case when phone is null or starts_with(ltrim(phone), '+') then '' else {country} end"


def _read_entities(con: Connection, rules: IdentifierRules, codes: EvidenceCodes, readings: list[Reading]) -> None:
    """Write temporary table ``observations``: distinct combinations of raw identifiers in the rows to be read."""
    columns = ", ".join(f"{name} varchar" for name in IDENTITY_COLUMNS)
    con.execute(
        f"create or replace temp table observations (source varchar, code integer, {columns}, "
        "phone_region varchar, first_seen_at timestamp, last_seen_at timestamp, n_obs bigint, n_oversized bigint)"
    )
    for reading in readings:
        if reading.rows is not None:
            evidence = rules.entities[reading.entity]
            con.execute(_entity_query(con, reading.entity, reading.rows, evidence, rules, codes))


def _entity_query(
    con: Connection, name: str, rows: str, evidence: EntityEvidence, rules: IdentifierRules, codes: EvidenceCodes
) -> str:
    entity = ENTITIES[name]
    limit = rules.max_value_bytes
    present = filled_columns(con, f"sources.{name} where {rows}")
    identifiers = [
        # A value longer than any real one is no identifier; it is counted below.
        f"case when strlen({column}) between 1 and {limit} then {column} end as {column}"
        if column in present
        else f"null as {column}"
        for column in IDENTITY_COLUMNS
    ]
    region = region_expression(rules, entity) if "phone" in present else "''"
    oversized = " + ".join(f"coalesce(strlen({column}) > {limit}, false)::bigint" for column in present) or "0"
    first = f"least({entity.event_time}, {evidence.first_seen})" if evidence.first_seen else entity.event_time
    return (
        f"insert into observations select source, {codes.expression(name, evidence)} as code, "
        f"{', '.join(identifiers)}, {region} as phone_region, min({first}), max({entity.event_time}), count(*), "
        f"sum({oversized}) "
        f"from sources.{name} where {rows} group by all"
    )


def _collect_raw_values(con: Connection, rules: IdentifierRules, filled: Sequence[str]) -> None:
    """Write temporary view ``raw_values``: it is read a type at a time, each type once."""
    parts = " union all ".join(
        f"select distinct {literal(name)} as id_type, {namespace_expression(rules, name)} as id_namespace, "
        f"{'phone_region' if name == 'phone' else literal('')} as region, {name} as raw_value "
        f"from observations where {name} is not null"
        for name in filled or IDENTITY_COLUMNS
    )
    con.execute(f"create or replace temp view raw_values as {parts}")


def _count_useless(con: Connection) -> dict[str, tuple[int, int]]:
    """Return by entity: rows read that name nobody, and values in them that are too long."""
    nothing = " and ".join(f"{name} is null" for name in IDENTITY_COLUMNS)
    found = con.execute(
        f"select c.entity, coalesce(sum(o.n_obs) filter ({nothing}), 0)::bigint, sum(o.n_oversized)::bigint "
        "from observations as o join evidence_codes as c using (code) group by c.entity"
    )
    return {entity: (without, oversized) for entity, without, oversized in found.fetchall()}


def _write_kinds(con: Connection, codes: EvidenceCodes) -> None:
    """Number the kinds of evidence not met before, and write ``evidence_codes`` and ``evidence_kinds``."""
    columns = ("code", "entity", "name", "tier", "is_verified")
    table = pa.table({column: [getattr(kind, column) for kind in codes.kinds] for column in columns})
    con.register("kinds_given", table)
    con.execute(
        "create or replace temp table evidence_codes as select code::integer as code, entity, name as evidence, "
        "tier::integer as tier, is_verified from kinds_given"
    )
    con.unregister("kinds_given")
    con.execute(
        "insert into identity.sighting_kinds by name with met as (select distinct c.entity, o.source, c.evidence "
        "from observations as o join evidence_codes as c using (code)) "
        "select (select coalesce(max(kind_code), -1) from identity.sighting_kinds) "
        "+ row_number() over (order by entity, source, evidence) as kind_code, entity, source, evidence "
        "from met anti join identity.sighting_kinds using (entity, source, evidence)"
    )
    con.execute(
        "create or replace temp table evidence_kinds as select k.kind_code as evidence_code, k.source, k.evidence, "
        "c.code, c.tier, c.is_verified from identity.sighting_kinds as k join evidence_codes as c "
        "using (entity, evidence)"
    )


def _write_sightings(con: Connection, rules: IdentifierRules, filled: Sequence[str]) -> None:
    columns, joins = [], []
    for name in filled:
        columns.append(f"v_{name}.node_id as {name}")
        namespace = f"and v_{name}.id_namespace = o.source" if rules.identifiers[name].scope == "source" else ""
        region = f"and v_{name}.region = o.phone_region" if name == "phone" else ""
        joins.append(
            f"left join ({known_values(name)}) as v_{name} on v_{name}.raw_value = o.{name} {namespace} {region}"
        )
    con.execute(
        "insert into identity.sightings by name select "
        f"{', '.join(['k.evidence_code as kind_code', *columns])}, o.first_seen_at, o.last_seen_at, o.n_obs "
        f"from observations as o join evidence_kinds as k using (source, code) {' '.join(joins)}"
    )
    con.execute(
        "create or replace temp view node_observations as select kind_code as evidence_code, "
        f"{', '.join(IDENTITY_COLUMNS)}, first_seen_at, last_seen_at, n_obs from identity.sightings"
    )


def _write_nodes(con: Connection, rules: IdentifierRules) -> None:
    """Write ``nodes``, type by type: no identifier has two.

    ``n_seen_with`` is how often an identifier was seen with one of the type that it was seen with most.
    """
    con.execute(
        "create or replace temp table nodes (node_id bigint, first_seen_at timestamp, last_seen_at timestamp, "
        "is_verified boolean, n_seen_with bigint, id_type varchar, id_namespace varchar)"
    )
    filled = filled_columns(con, "node_observations")
    for name in filled:
        seen_with = ", ".join(f"count({other})" for other in filled if other != name) or "0"
        # Only e-mails can be verified.
        verified, kinds = "false", ""
        if name == "email":
            verified, kinds = "bool_or(k.is_verified)", "join evidence_kinds as k using (evidence_code)"
        seen = (
            f"select {name} as node_id, min(first_seen_at) as first_seen_at, max(last_seen_at) as last_seen_at, "
            f"{verified} as is_verified, greatest({seen_with}) as n_seen_with, "
            f"{literal(name)} as id_type from node_observations {kinds} "
            f"where {name} is not null group by {name}"
        )
        if rules.identifiers[name].scope == "source":
            con.execute(
                f"insert into nodes select s.*, r.id_namespace from ({seen}) as s "
                f"join (from identity.registry where id_type = {literal(name)}) as r using (node_id)"
            )
        else:
            con.execute(f"insert into nodes select *, '' from ({seen})")
