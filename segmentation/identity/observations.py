"""Which identifiers were seen together: one pass over each entity, then integers only.

Belongs here: reading ``sources.<entity>`` and mapping its raw values to node ids. Does not belong here:
what a raw value means (`values.py`), or what follows from seeing two identifiers together (`edges.py`).
"""

from dataclasses import dataclass
from functools import cached_property

from segmentation.identity.catalog import EntityEvidence, IdentifierRules
from segmentation.identity.tables import relations
from segmentation.identity.values import known_values, register_values
from segmentation.run import Run
from segmentation.sources.entities import ENTITIES, IDENTITY_COLUMNS
from segmentation.warehouse import Connection, literal

#: Form of a country that phone numbers can be read in.
_COUNTRY = "^[A-Za-z]{2}$"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One kind of evidence: its short code in temporary tables, and what it stands for."""

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
    """Write what was seen by ``run.as_of`` to temporary tables; register identifiers never seen before.

    Creates ``node_observations`` (one row per distinct combination of identifiers, source and evidence;
    one node id column per type of identifier, null where the row has none), ``nodes`` (one row per
    identifier seen) and ``evidence_kinds``. Runs inside the caller's transaction.

    Returns:
        Counts: rows read, rows without any identifier, values too long, and those of `register_values`.
    """
    codes = EvidenceCodes(rules)
    _write_evidence_kinds(con, codes)
    _read_entities(con, run, rules, codes)
    _collect_raw_values(con, rules)
    counts = register_values(con, rules)
    _write_node_observations(con, rules)
    _write_nodes(con)
    nothing = " and ".join(f"{name} is null" for name in IDENTITY_COLUMNS)
    rows = con.execute(
        "select coalesce(sum(n_obs), 0)::bigint, "
        f"coalesce(sum(n_obs) filter ({nothing}), 0)::bigint, coalesce(sum(n_oversized), 0)::bigint from observations"
    ).fetchall()[0]
    con.execute("drop table observations; drop table raw_values")
    return {"rows_read": rows[0], "rows_without_identifier": rows[1], "oversized_values": rows[2], **counts}


def namespace_expression(rules: IdentifierRules, id_type: str, source: str = "source") -> str:
    """Return the SQL for the namespace of a raw value: its source, or nothing for global types."""
    return source if rules.identifiers[id_type].scope == "source" else "''"


def _write_evidence_kinds(con: Connection, codes: EvidenceCodes) -> None:
    con.execute(
        "create or replace temp table evidence_kinds "
        "(evidence_code integer, evidence varchar, tier integer, is_verified boolean)"
    )
    con.executemany(
        "insert into evidence_kinds values (?, ?, ?, ?)",
        [[kind.code, kind.name, kind.tier, kind.is_verified] for kind in codes.kinds],
    )


def _read_entities(con: Connection, run: Run, rules: IdentifierRules, codes: EvidenceCodes) -> None:
    columns = ", ".join(f"{name} varchar" for name in IDENTITY_COLUMNS)
    con.execute(
        f"create or replace temp table observations (source varchar, evidence_code integer, {columns}, "
        "phone_region varchar, first_seen_at timestamp, last_seen_at timestamp, n_obs bigint, n_oversized bigint)"
    )
    present = relations(con, "sources")
    for name, evidence in rules.entities.items():
        if name in present:
            con.execute(_entity_query(con, name, evidence, rules, codes), [run.as_of])


def _entity_query(
    con: Connection, name: str, evidence: EntityEvidence, rules: IdentifierRules, codes: EvidenceCodes
) -> str:
    entity = ENTITIES[name]
    limit = rules.max_value_bytes
    filled = con.execute(
        f"select {', '.join(f'count({column}) > 0' for column in IDENTITY_COLUMNS)} from sources.{name}"
    ).fetchall()[0]
    present = [column for column, has_values in zip(IDENTITY_COLUMNS, filled, strict=True) if has_values]
    identifiers = [
        # A value longer than any real one is no identifier; it is counted below.
        f"case when strlen({column}) between 1 and {limit} then {column} end as {column}"
        if column in present
        else f"null as {column}"
        for column in IDENTITY_COLUMNS
    ]
    default = literal(rules.default_region)
    region = "''"
    if "phone" in present:
        country = default
        if "country" in entity.column_names:
            country = f"case when regexp_matches(country, '{_COUNTRY}') then upper(country) else {default} end"
        region = f"case when phone is null or starts_with(ltrim(phone), '+') then '' else {country} end"
    oversized = " + ".join(f"coalesce(strlen({column}) > {limit}, false)::bigint" for column in present) or "0"
    first = f"least({entity.event_time}, {evidence.first_seen})" if evidence.first_seen else entity.event_time
    return (
        f"insert into observations select source, {codes.expression(name, evidence)} as evidence_code, "
        f"{', '.join(identifiers)}, {region} as phone_region, min({first}), max({entity.event_time}), count(*), "
        f"sum({oversized}) "
        f"from sources.{name} where {entity.event_time} <= ? group by all"
    )


def _collect_raw_values(con: Connection, rules: IdentifierRules) -> None:
    con.execute(
        "create or replace temp table raw_values "
        "(id_type varchar, id_namespace varchar, region varchar, raw_value varchar)"
    )
    for name in IDENTITY_COLUMNS:
        region = "phone_region" if name == "phone" else "''"
        con.execute(
            f"insert into raw_values select distinct {literal(name)}, {namespace_expression(rules, name)}, {region}, "
            f"{name} from observations where {name} is not null"
        )


def _write_node_observations(con: Connection, rules: IdentifierRules) -> None:
    seen = {row[0] for row in con.execute("select distinct id_type from raw_values").fetchall()}
    columns, joins = [], []
    for name in IDENTITY_COLUMNS:
        if name not in seen:
            columns.append(f"null::bigint as {name}")
            continue
        columns.append(f"v_{name}.node_id as {name}")
        namespace = f"and v_{name}.id_namespace = o.source" if rules.identifiers[name].scope == "source" else ""
        region = f"and v_{name}.region = o.phone_region" if name == "phone" else ""
        joins.append(
            f"left join ({known_values(name)}) as v_{name} on v_{name}.raw_value = o.{name} {namespace} {region}"
        )
    con.execute(
        f"create or replace temp table node_observations as select o.source, o.evidence_code, {', '.join(columns)}, "
        f"o.first_seen_at, o.last_seen_at, o.n_obs from observations as o {' '.join(joins)}"
    )


def _write_nodes(con: Connection) -> None:
    sightings = " union all ".join(
        f"select {name} as node_id, first_seen_at, last_seen_at, "
        f"{'k.is_verified' if name == 'email' else 'false'} as is_verified from node_observations "
        f"{'join evidence_kinds as k using (evidence_code)' if name == 'email' else ''} where {name} is not null"
        for name in IDENTITY_COLUMNS
    )
    con.execute(
        "create or replace temp table nodes as select s.*, r.id_type, r.id_namespace from ("
        "select node_id, min(first_seen_at) as first_seen_at, max(last_seen_at) as last_seen_at, "
        f"bool_or(is_verified) as is_verified from ({sightings}) group by node_id) as s "
        "join identity.registry as r using (node_id)"
    )
