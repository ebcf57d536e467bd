"""Survivorship: of all that sources state about a customer, the one value per attribute that stands, and why.

Belongs here: what is stated, and comparing two statements by `profile_rules.py`. Does not belong here: the profile
that comes of it (`profiles.py`).

Two statements are compared as integers: their preferences one after the other in one number, then the moment, then
what makes the choice the same in every run. The largest of integers is the cheapest aggregate there is, and says at
once who stated the value and when.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.lookup import attribution
from segmentation.identity.profile_rules import (
    ATTRIBUTES,
    DESCRIBING,
    DESCRIPTIONS,
    MAX_PRIORITIES,
    DescribingEntity,
    ProfileRules,
)
from segmentation.identity.tables import relations
from segmentation.identity.versions import superseded_rows
from segmentation.run import Run
from segmentation.sources.entities import IDENTITY_COLUMNS
from segmentation.warehouse import Connection, has_rows, literal

#: Widths in bits of what a weight is made of: 127 together, which a hugeint holds. There are fewer kinds (sources times
#: entities) and fewer identifiers than that.
_BITS = {"source_priority": 5, "verified": 1, "frequency": 8, "recency": 60, "tie": 36, "kind": 17}
#: Moments from the year -16000 to 20000; others count as the nearest of them.
_MOMENT_OFFSET = 1 << (_BITS["recency"] - 1)


@dataclass(frozen=True, slots=True)
class Scale:
    """How statements of one attribute are weighed.

    Attributes:
        parts: What a weight is made of, the weightiest first.
        weight_column: Column of ``profile_kinds`` that says how much who states it is trusted.
    """

    parts: tuple[str, ...]
    weight_column: str

    def weight(self, values: Mapping[str, str]) -> str:
        """Return the SQL for the weight of a statement, from SQL for its parts: the larger, the better.

        ``recency`` is in microseconds since 1970, ``tie`` below 2**36; ``frequency`` may be any number of rows.
        """
        moment = f"least(greatest({values['recency']}, {1 - _MOMENT_OFFSET}), {_MOMENT_OFFSET - 1}) + {_MOMENT_OFFSET}"
        shown = {**values, "recency": moment}
        if "frequency" in values:
            # More than that says no more.
            shown["frequency"] = f"least({values['frequency']}, {(1 << _BITS['frequency']) - 1})"
        sql = f"({shown[self.parts[0]]})::hugeint"
        for part in self.parts[1:]:
            sql = f"({sql} * {1 << _BITS[part]} + ({shown[part]}))"
        return sql

    def part_of(self, weight: str, part: str) -> str:
        """Return the SQL for one part of a weight."""
        after = sum(_BITS[later] for later in self.parts[self.parts.index(part) + 1 :])
        value = f"(({weight}) >> {after} & {(1 << _BITS[part]) - 1})::bigint"
        return f"({value} - {_MOMENT_OFFSET})" if part == "recency" else value

    def moment_of(self, weight: str) -> str:
        """Return the SQL for the moment in a weight, as a timestamp."""
        return f"make_timestamp({self.part_of(weight, 'recency')})"


def write_kinds(con: Connection, rules: ProfileRules) -> dict[str, Scale]:
    """Write temporary table ``profile_kinds(kind, entity, source, …)``: who states anything, and how trusted.

    Returns:
        The scale of each attribute.
    """
    chosen = {name: rules.rule_of(name) for name in ATTRIBUTES}
    columns: dict[tuple[str, ...], str] = {}
    for _, priorities in chosen.values():
        columns.setdefault(priorities, f"weight_{len(columns)}")
    weights = ", ".join(f"{_trust(priorities)} as {column}" for priorities, column in columns.items())
    met = " union ".join(
        [
            "select entity, source from identity.sighting_kinds",
            *(f"select distinct {literal(entity.name)}, source from sources.{entity.name}" for entity in _stating(con)),
        ]
    )
    # What preferences leave equal goes to the more trusted entity, then to the highest source.
    ranks = " ".join(f"when {literal(entity.name)} then {rank}" for rank, entity in enumerate(DESCRIBING))
    con.execute(
        "create or replace temp table profile_kinds as select "
        f"row_number() over (order by case entity {ranks} else {len(DESCRIBING)} end desc, entity, source)::integer "
        f"as kind, entity, source, {weights} from ({met}) where entity is not null and source is not null"
    )
    return {
        name: Scale((*order, *(("recency",) if "recency" not in order else ()), "tie", "kind"), columns[priorities])
        for name, (order, priorities) in chosen.items()
    }


def _stating(con: Connection) -> list[DescribingEntity]:
    """Return the describing entities that have any row."""
    present = relations(con, "sources")
    return [one for one in DESCRIBING if one.name in present and has_rows(con, f"sources.{one.name}")]


def _trust(priorities: tuple[str, ...]) -> str:
    whens = []
    for index, entry in enumerate(priorities):
        source, _, entity = entry.rpartition("/")
        of_source = f" and source = {literal(source)}" if source else ""
        whens.append(f"when entity = {literal(entity)}{of_source} then {MAX_PRIORITIES - index}")
    return f"case {' '.join(whens)} else 0 end" if whens else "0"


def choose_contact(con: Connection, scale: Scale, contact: str) -> None:
    """Write temporary table ``chosen_<contact>(component, node_id, kind, seen_at)``: one identifier per component."""
    verified, frequency = "false", "1"
    joins = ""
    if "verified" in scale.parts:
        verified, joins = "n.is_verified", "join nodes as n on n.node_id = o.node_id "
    if "frequency" in scale.parts:
        frequency = "f.n_obs"
        joins += (
            f"join (select {contact} as node_id, sum(n_obs)::bigint as n_obs from node_observations "
            f"where {contact} is not null group by all) as f on f.node_id = o.node_id "
        )
    highest = (1 << _BITS["tie"]) - 1
    weight = scale.weight(
        {
            "source_priority": f"k.{scale.weight_column}",
            "verified": f"({verified})::integer",
            "frequency": frequency,
            "recency": "epoch_us(o.last_seen_at)",
            # The lowest node id wins a tie.
            "tie": f"{highest} - o.node_id",
            "kind": "k.kind",
        }
    )
    con.execute(
        f"create or replace temp table chosen_{contact} as select component, "
        f"{highest} - {scale.part_of('best', 'tie')} as node_id, {scale.part_of('best', 'kind')} as kind, "
        f"{scale.moment_of('best')} as seen_at from ("
        f"select c.component, max({weight}) as best from ("
        f"select {contact} as node_id, evidence_code, max(last_seen_at) as last_seen_at from node_observations "
        f"where {contact} is not null group by all) as o "
        "join components as c on c.node_id = o.node_id "
        "join identity.sighting_kinds as s on s.kind_code = o.evidence_code "
        f"join profile_kinds as k on k.entity = s.entity and k.source = s.source {joins}"
        "group by c.component)"
    )


def choose_descriptions(
    con: Connection, run: Run, rules: IdentifierRules, scales: Mapping[str, Scale]
) -> dict[str, str]:
    """Write temporary table ``described`` and view ``weighed``: what stands, and all that sources state.

    ``described(component)`` has for each of `DESCRIPTIONS` its value, ``…_weight``, and whether values contradict each
    other (``…_differs``): case and surrounding space make no contradiction.

    Returns:
        The column of ``weighed`` that weighs each attribute.
    """
    columns = ", ".join(f"{name} varchar" for name in DESCRIPTIONS)
    con.execute(
        f"create or replace temp table stated (component bigint, kind integer, moment bigint, tie varchar, {columns})"
    )
    for entity in _stating(con):
        _collect(con, run, rules, entity)
    # Few rows of a customer have one moment: only theirs are put in order.
    con.execute(
        "create or replace temp table tied as select row_number, "
        "row_number() over (partition by component, moment order by kind, tie) as position from ("
        "select rowid as row_number, component, moment, kind, tie from stated semi join ("
        "select component, moment from stated group by all having count(*) > 1) using (component, moment))"
    )
    weights = _weigh(con, scales)
    aggregates = ", ".join(
        f"arg_max({name}, {weights[name]}) filter ({name} is not null) as {name}, "
        f"max({weights[name]}) filter ({name} is not null) as {name}_weight, "
        f"coalesce(min(hash(lower({name}))) filter ({name} is not null) <> "
        f"max(hash(lower({name}))) filter ({name} is not null), false) as {name}_differs"
        for name in DESCRIPTIONS
    )
    con.execute(
        f"create or replace temp table described as select component, {aggregates} from weighed group by component"
    )
    return weights


def _weigh(con: Connection, scales: Mapping[str, Scale]) -> dict[str, str]:
    """Create temporary view ``weighed``: ``stated`` with weights; return the column with each attribute's.

    Attributes that are weighed alike share a column.
    """
    counted = "".join(
        f", count(*) over (partition by component, lower({name})) as {name}_rows"
        for name in DESCRIPTIONS
        if "frequency" in scales[name].parts
    )
    columns: dict[str, str] = {}
    weights = {}
    for name in DESCRIPTIONS:
        values = {
            "source_priority": f"k.{scales[name].weight_column}",
            "recency": "s.moment",
            "tie": "coalesce(t.position, 0)",
            "kind": "s.kind",
        }
        if "frequency" in scales[name].parts:
            values["frequency"] = f"s.{name}_rows"
        weights[name] = columns.setdefault(scales[name].weight(values), f"weight_of_{name}")
    con.execute(
        "create or replace temp view weighed as select s.*, "
        f"{', '.join(f'{sql} as {column}' for sql, column in columns.items())} "
        f"from (select *, rowid as row_number{counted} from stated) as s "
        "join profile_kinds as k using (kind) left join tied as t using (row_number)"
    )
    return weights


def _collect(con: Connection, run: Run, rules: IdentifierRules, entity: DescribingEntity) -> None:
    """Add to ``stated`` what current rows of an entity say, one row each, under the customer they belong to."""
    values = ", ".join(f"nullif(trim({name}), '') as {name}" for name in entity.attributes)
    names = ", ".join(entity.attributes)
    table = f"sources.{entity.name}"
    current = superseded_rows(con, run, entity.name, entity.key, entity.moment) if entity.is_versioned else "true"
    node, joins = attribution(con, rules, table)
    chosen = ", ".join(f"r.{name}" for name in entity.attributes)
    con.execute(
        f"insert into stated by name select c.component, k.kind, r.moment, r.tie, {chosen} from ("
        f"select source, {', '.join(IDENTITY_COLUMNS)}, {values}, epoch_us({entity.moment}) as moment, "
        f"{entity.key} as tie from {table} where {entity.moment} <= $as_of and {current}) as r "
        f"join (from profile_kinds where entity = $entity) as k using (source) "
        f"{joins} join components as c on c.node_id = {node} where coalesce({names}) is not null",
        {"as_of": run.as_of, "entity": entity.name},
    )
    con.execute(f"drop table if exists superseded_{entity.name}")
