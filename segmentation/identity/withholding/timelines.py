"""What each subject of the landed rows allows, and allowed when: from decisions to states over time.

Belongs here: consent of subjects (`subjects.py`), at every moment and now. Does not belong here: what follows for a row
(`rows.py`). The rules are those of `consents.py`: per identifier the latest decision counts, at the same moment the
refusal; a refusal of any identifier wins; refusing a purpose refuses what is below it, granting it grants that.
"""

from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.consents import GRANTED
from segmentation.identity.observations import filled_columns, namespace_expression, region_expression
from segmentation.identity.values import known_values
from segmentation.identity.withholding.subjects import UNREAD
from segmentation.run import Run
from segmentation.sources.entities import ENTITIES, IDENTITY_COLUMNS
from segmentation.warehouse import Connection, literal

_DECISIONS = """
create or replace temp table decisions (
    subject varchar, speaker varchar, may_grant boolean, purpose varchar, is_granted boolean, since timestamp
)
"""

# A later row of the same event replaces the former, whomever it names.
_CURRENT = """
create or replace temp table current_decisions as
select * from (
    select * from sources.consent_events
    union all by name
    select * from sources.candidate_consent_events
)
where (source, consent_event_id) in (select (source, consent_event_id) from touched_decisions)
qualify row_number() over (partition by source, consent_event_id order by file_id desc, line desc) = 1
"""

# One state per speaker, purpose and moment; then what turns at each moment, and how many say what after it.
_SPELLS = """
create or replace temp table consent_spells as
with said as (
    select l.asked, d.subject, d.speaker, d.purpose, d.since, bool_and(d.is_granted) as is_granted
    from decisions as d join asked_lineage as l on l.purpose = d.purpose
    where d.may_grant or not d.is_granted
    group by all
),

turned as (
    select *, lag(is_granted) over (partition by asked, subject, speaker, purpose order by since) as was_granted
    from said
),

summed as (
    select
        asked, subject, since,
        sum(is_granted::integer - coalesce(was_granted, false)::integer) as more_grants,
        sum((not is_granted)::integer - coalesce(not was_granted, false)::integer) as more_refusals
    from turned group by all
),

counted as (
    select asked, subject, since, sum(more_grants) over moments as grants, sum(more_refusals) over moments as refusals
    from summed window moments as (partition by asked, subject order by since)
)

select asked, subject, since, refusals > 0 as is_refused, grants > 0 and refusals = 0 as is_granted from counted
"""

# What identity published says more than decisions do: refusals that a split left behind, or given under an identifier
# of several people. A later grant ends it, but not across a match: that carries no grant to the other side. Nobody
# decided where it bears the moment that the customer was first seen.
_NOW = """
create or replace temp table consent_now as
with events as (
    select
        asked, subject, arg_max(is_refused, since) as is_refused_last,
        coalesce(arg_max(is_refused, since) filter (since <= $as_of), false) as is_refused,
        coalesce(arg_max(is_granted, since) filter (since <= $as_of), false) as is_granted
    from consent_spells group by all
),

grants as (
    select l.asked, d.subject, max(d.since) as granted_at
    from decisions as d join asked_lineage as l on l.purpose = d.purpose
    where d.is_granted and d.may_grant and d.since <= $as_of
    group by all
),

published as (
    select
        c.purpose as asked, c.customer_id as subject, bool_and(c.is_allowed) as is_allowed,
        max(c.decided_at) as decided_at, bool_or(c.decided_at <> k.first_seen_at) as is_decided,
        bool_or(k.match_basis = 'probabilistic') as is_matched
    from identity.customer_consents as c join identity.customers as k using (customer_id)
    where c.purpose in (select asked from asked_lineage) and c.customer_id in (select subject from subjects)
    group by all
),

joined as (
    select
        asked, subject, coalesce(e.is_refused or e.is_refused_last, false) as is_refused, p.is_allowed, p.is_decided,
        coalesce(e.is_granted, false) as is_granted,
        p.is_allowed is null or (g.granted_at > p.decided_at and not p.is_matched) as is_newer
    from events as e
    full join published as p using (asked, subject)
    left join grants as g using (asked, subject)
),

decided as (
    select
        asked, subject, is_allowed, is_granted and coalesce(is_newer, false) as is_granted,
        is_refused or (not is_allowed and is_decided and not (is_granted and coalesce(is_newer, false))) is true
            as is_refused
    from joined
)

select asked, subject, is_refused, not is_refused and (is_granted or coalesce(is_allowed, false)) as is_granted
from decided
"""


def write_timelines(con: Connection, run: Run, rules: IdentifierRules) -> None:
    """Write temporary tables ``consent_spells`` and ``consent_now`` for the subjects and ``asked_lineage``.

    ``consent_spells(asked, subject, since, is_refused, is_granted)`` holds what is so from ``since`` on;
    ``consent_now(asked, subject, is_refused, is_granted)`` what is so as of the run, and a refusal given later counts
    as well. What is in neither was never decided.
    """
    con.execute(_DECISIONS)
    _write_spellings(con)
    names = filled_columns(con, f"(from sources.consent_events union all by name from {UNREAD})")
    _write_decisions(con, rules, names)
    con.execute(_SPELLS)
    con.execute(_NOW, {"as_of": run.as_of})
    con.execute("drop table decisions; drop table consent_spellings")


def _write_spellings(con: Connection) -> None:
    """Write ``consent_spellings``: every raw value under which a subject may have decided, however it is spelled."""
    con.execute(
        "create or replace temp table subject_nodes as select m.node_id, s.subject, true as may_grant "
        "from subjects as s join identity.identifier_map as m on m.customer_id = s.subject union "
        "select split_part(speaker, ' ', 2)::bigint, subject, may_grant from spoken where starts_with(speaker, 'node ')"
    )
    known = " union all ".join(
        f"select {literal(name)} as id_type, v.id_namespace, v.region, v.raw_value, 'node ' || n.node_id as speaker, "
        f"n.subject, n.may_grant from ({known_values(name)}) as v join subject_nodes as n using (node_id)"
        for name in IDENTITY_COLUMNS
    )
    con.execute(f"create or replace temp table consent_spellings as from spoken union {known}")
    con.execute("drop table subject_nodes")


def _write_decisions(con: Connection, rules: IdentifierRules, names: list[str]) -> None:
    relevant = "lower(trim(purpose)) in (select purpose from asked_lineage)"
    everything = (
        f"(select * from sources.consent_events where {relevant} union all by name select * from {UNREAD} "
        f"where {relevant})"
    )
    touched = [
        f"select c.source, c.consent_event_id from {everything} as c {_spoken(rules, name)}" for name in names
    ] or ["select null::varchar as source, null::varchar as consent_event_id where false"]
    con.execute(f"create or replace temp table touched_decisions as {' union '.join(touched)}")
    con.execute(_CURRENT)
    for name in names:
        con.execute(
            "insert into decisions select s.subject, s.speaker, s.may_grant, lower(trim(c.purpose)), "
            f"lower(trim(c.consent_state)) = {literal(GRANTED)}, c.occurred_at "
            f"from current_decisions as c {_spoken(rules, name)} where {relevant}"
        )
    con.execute("drop table touched_decisions; drop table current_decisions")


def _spoken(rules: IdentifierRules, name: str) -> str:
    """Return the join from decisions ``c`` to the spellings of what they name in one column."""
    region = literal("")
    if name == "phone":
        region = f"{region_expression(rules, ENTITIES['consent_events'])}"
    return (
        f"join (from consent_spellings where id_type = {literal(name)}) as s on s.raw_value = c.{name} "
        f"and s.id_namespace = {namespace_expression(rules, name, 'c.source')} and s.region = {region}"
    )
