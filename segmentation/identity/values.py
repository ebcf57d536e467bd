"""From raw values to identifiers, for millions of them: each distinct raw value is normalised once, ever.

Belongs here: finding values not seen before, the fast paths in SQL that agree with `normalise.py`, the
registry of dense ids. Does not belong here: the rules for one value (`normalise.py`), or which
identifiers may link customers (`guards.py`).
"""

from collections.abc import Iterable

import duckdb
import pyarrow as pa

from segmentation.identity.calling_codes import CallingCode, calling_code, national_format
from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.email_providers import mailbox_expression, normalisers
from segmentation.identity.normalise import (
    EMAIL_LOCAL_MAX_LENGTH,
    EMAIL_MAX_LENGTH,
    NORMALISERS,
    Normaliser,
    clean_lower_text,
)
from segmentation.warehouse import Connection, has_rows, literal, scalar

#: Ids that a system made: printable ASCII is in normal form once the spaces around it are gone.
_PLAIN_TEXT = "^[!-~]([ -~]*[!-~])?$"
#: Addresses in ASCII whose domain IDNA leaves as it is (labels with "--" may be encoded names).
_PLAIN_EMAIL = (
    f"^[A-Za-z0-9.!#$%&''*+/=?^_`{{|}}~-]{{1,{EMAIL_LOCAL_MAX_LENGTH}}}@"
    "([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?[.])+[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$"
)
#: Numbers with at most one space, hyphen or slash, or one group in parentheses, between the digits.
_PHONE_GROUPS = "([ -]?[(][0-9]+[)]|[ /-][0-9]+| ?[0-9]+)*$"
_PLAIN_INTERNATIONAL_PHONE = "^[+][1-9][0-9]*" + _PHONE_GROUPS
_PLAIN_NATIONAL_PHONE = "^[0-9]+([ /-][0-9]+)*$"

_PLAIN_TEXT_FORM = f"case when regexp_matches(trim(raw_value), '{_PLAIN_TEXT}') then trim(raw_value) end"
_PLAIN_FORMS = {
    "email": f"case when strlen(trim(raw_value)) <= {EMAIL_MAX_LENGTH} "
    # Matched before it is lowered: the engine lowers some letters beyond ASCII to ASCII ones.
    f"and regexp_matches(trim(raw_value), '{_PLAIN_EMAIL}') "
    # A domain ends where the only "@" is; no label may hold "--".
    "and not contains(split_part(raw_value, '@', 2), '--') "
    # The whole of a domain name has at most 253 characters (RFC 1035).
    "and strlen(trim(split_part(raw_value, '@', 2))) <= 253 then lower(trim(raw_value)) end"
}

#: Values that Python looks at in one go.
_BATCH = 100_000


def known_values(id_type: str) -> str:
    """Return the SQL for what is known of raw values of a type: namespace, region, raw value, node id, problem.

    A value that is its own normal form is in the registry alone; the others are in
    ``identity.normalised_values``.
    """
    kind = f"id_type = {literal(id_type)}"
    return (
        "select id_namespace, '' as region, id_value as raw_value, node_id, null::varchar as problem "
        f"from identity.registry where {kind} and is_raw "
        "union all select id_namespace, region, raw_value, node_id, problem "
        f"from identity.normalised_values where {kind}"
    )


def register_values(con: Connection, rules: IdentifierRules, id_types: Iterable[str] = NORMALISERS) -> dict[str, int]:
    """Give every raw value in temporary table ``raw_values`` its identifier.

    ``raw_values(id_type, id_namespace, region, raw_value)`` holds each combination once, of ``id_types``
    alone. New ones are normalised and from then on known (`known_values`); new identifiers get the next
    dense ids in ``identity.registry``, in the order of their type, namespace and value. Runs inside the
    caller's transaction.

    Returns:
        How many raw values and identifiers were new, and how many values Python had to look at.
    """
    is_forgotten = _forget_if_rules_changed(con, rules)
    counts = dict.fromkeys(("new_values", "values_by_python", "new_identifiers"), 0)
    _create_parsed(con)
    for id_type in sorted(id_types):
        _normalise(con, rules, id_type)
        [(new_values, by_python)] = con.execute(
            "select count(*), count(*) filter (id_value is null) from new_values"
        ).fetchall()
        if new_values:
            counts["new_values"] += new_values
            counts["values_by_python"] += by_python
            if by_python:
                _normalise_the_rest(con, rules, id_type, by_python)
            counts["new_identifiers"] += _extend_registry(con, rules, id_type)
            if by_python:
                _create_parsed(con)
        con.execute("drop table new_values")
    con.execute("drop table parsed")
    if is_forgotten:
        _note_former_nodes(con)
    return counts


def read_values(con: Connection, rules: IdentifierRules, id_types: Iterable[str]) -> None:
    """Read raw values as `register_values` would, and register nothing.

    Reads ``raw_values`` and writes temporary table ``values_read(id_type, id_namespace, region, raw_value,
    owner_namespace, id_value)``: the normal form of each that no run has met; those that have none are not there.
    """
    con.execute(
        "create or replace temp table values_read (id_type varchar, id_namespace varchar, region varchar, "
        "raw_value varchar, owner_namespace varchar, id_value varchar)"
    )
    for id_type in sorted(id_types):
        _create_parsed(con)
        _normalise(con, rules, id_type)
        rest = int(str(scalar(con, "select count(*) filter (id_value is null) from new_values")))
        if rest:
            _normalise_the_rest(con, rules, id_type, rest)
        con.execute(
            f"insert into values_read select {literal(id_type)}, id_namespace, region, raw_value, owner_namespace, "
            f"id_value from {_NORMALISED} where id_value is not null"
        )
        con.execute("drop table new_values; drop table parsed")


def _forget_if_rules_changed(con: Connection, rules: IdentifierRules) -> bool:
    """Normalise everything again where the rules for it changed; identifiers keep their node ids.

    What was known of raw values is in temporary table ``former_values`` then. Returns whether the rules changed.
    """
    known = scalar(con, "select normalisation_hash from identity.normalisation")
    if known != rules.normalisation_hash:
        former = " union all ".join(
            f"select {literal(name)} as id_type, id_namespace, region, raw_value, node_id from ({known_values(name)}) "
            "where node_id is not null"
            for name in NORMALISERS
        )
        con.execute(f"create or replace temp table former_values as {former}")
        con.execute("delete from identity.normalised_values")
        con.execute("update identity.registry set is_raw = false where is_raw")
        con.execute("delete from identity.normalisation")
        con.execute("insert into identity.normalisation values (?)", [rules.normalisation_hash])
        return True
    return False


def _note_former_nodes(con: Connection) -> None:
    """Keep of raw values that are another identifier now which one they were: nothing else tells of it."""
    for name in NORMALISERS:
        con.execute(
            "insert into identity.former_nodes select distinct k.node_id, f.node_id as former_node_id "
            f"from (from former_values where id_type = {literal(name)}) as f "
            f"join ({known_values(name)}) as k using (id_namespace, region, raw_value) "
            "anti join identity.former_nodes as known "
            "on known.node_id = k.node_id and known.former_node_id = f.node_id where k.node_id <> f.node_id"
        )
    con.execute("drop table former_values")


def _normalise(con: Connection, rules: IdentifierRules, id_type: str) -> None:
    """Write temporary table ``new_values``: what is not known yet, with its normal form where SQL can tell it."""
    namespaces = " ".join(
        f"when {literal(source)} then {literal(owner)}" for source, owner in sorted(rules.shared_namespaces.items())
    )
    owner = f"case id_namespace {namespaces} else id_namespace end" if namespaces else "id_namespace"
    wanted = (
        f"(select id_namespace, region, raw_value, {owner} as owner_namespace from raw_values "
        f"where id_type = {literal(id_type)}) as w "
        f"anti join ({known_values(id_type)}) as k using (id_namespace, region, raw_value)"
    )
    if id_type == "phone":
        _normalise_plain_phones(con, wanted)
        return
    normal = _PLAIN_FORMS.get(id_type, _PLAIN_TEXT_FORM)
    if id_type == "email":
        wanted = f"(select *, {normal} as address from {wanted})"
        normal = mailbox_expression("address", rules.email_providers)
    con.execute(
        "create or replace temp table new_values as select id_namespace, region, raw_value, owner_namespace, "
        f"{normal} as id_value from {wanted}"
    )


def _normalise_plain_phones(con: Connection, wanted: str) -> None:
    """Do so for numbers whose digits are their normal form, once the way of dialling them is taken away."""
    con.execute(
        "create or replace temp table phones as select *, regexp_replace(raw_value, '[^0-9]', '', 'g') as dialled "
        f"from {wanted}"
    )
    regions = con.execute("select distinct region from phones where region <> '' order by region").fetchall()
    national = " ".join(_national_digits(con, region) for (region,) in regions)
    con.execute(
        "create or replace temp table plain_phones as select *, "
        f"case when regexp_matches(trim(raw_value), '{_PLAIN_INTERNATIONAL_PHONE}') then dialled {national} end "
        "as digits from phones"
    )
    starts = con.execute("select distinct left(digits, 3) from plain_phones where strlen(digits) > 6").fetchall()
    codes = {code for (start,) in starts if (code := calling_code(start)) is not None}
    normal = " ".join(_normal_number(con, code) for code in sorted(codes, key=lambda found: found.code))
    con.execute(
        "create or replace temp table new_values as select id_namespace, region, raw_value, owner_namespace, "
        f"{f'case {normal} end' if normal else 'null::varchar'} as id_value from plain_phones"
    )
    con.execute("drop table phones; drop table plain_phones")


def _national_digits(con: Connection, region: str) -> str:
    """Return the branch for what is dialled in ``region``: a number, with or without what precedes it there."""
    form = national_format(region)
    if form is None:
        return ""
    whens = []
    if form.trunk_pattern is not None:
        if not _is_readable(con, form.trunk_pattern):
            return ""
        whens.append(
            f"when starts_with(dialled, '0') and regexp_full_match(dialled, '{form.trunk_pattern}') then null "
            f"when regexp_matches(dialled, '^0[1-9]') then '{form.code}' || substr(dialled, 2)"
        )
    if form.dials_00:
        whens.append("when regexp_matches(dialled, '^00[1-9]') then substr(dialled, 3)")
    if _is_readable(con, form.special_pattern):
        is_special = f"regexp_matches(dialled, '{form.special_pattern}')"
        whens.append(f"when regexp_matches(dialled, '^[1-9]') and not {is_special} then '{form.code}' || dialled")
    if not whens:
        return ""
    return (
        f"when region = {literal(region)} and regexp_matches(trim(raw_value), '{_PLAIN_NATIONAL_PHONE}') "
        f"then case {' '.join(whens)} end"
    )


def _normal_number(con: Connection, code: CallingCode) -> str:
    """Return the branch for the digits of a number with this calling code."""
    national = f"substr(digits, {len(code.code) + 1})"
    strips = ""
    if code.prefix_pattern:
        pattern = f"^(?:{code.prefix_pattern})"
        if not _is_readable(con, pattern):
            return ""
        strips = f"or regexp_matches({national}, '{pattern}')"
    lengths = ", ".join(str(length) for length in code.lengths)
    return (
        f"when starts_with(digits, '{code.code}') and strlen({national}) in ({lengths}) "
        f"and not (starts_with({national}, '0') {strips}) then '+' || digits"
    )


def _is_readable(con: Connection, pattern: str) -> bool:
    """Say whether the engine reads a pattern; one that it can't only costs time: numbers are parsed one by one."""
    try:
        con.execute(f"select regexp_matches('', '{pattern}')").fetchall()
    except duckdb.InvalidInputException:
        return False
    return True


def _create_parsed(con: Connection) -> None:
    """Make temporary table ``parsed`` anew, empty; deleting its rows would keep their memory until the commit."""
    con.execute(
        "create or replace temp table parsed (id_namespace varchar, region varchar, raw_value varchar, "
        "owner_namespace varchar, id_value varchar, problem varchar)"
    )


def _normalise_the_rest(con: Connection, rules: IdentifierRules, id_type: str, size: int) -> None:
    """Fill temporary table ``parsed`` with the normal forms of ``size`` values that Python told, or why it has none."""
    con.execute(
        "create or replace temp table rest as select row_number() over () - 1 as position, id_namespace, region, "
        "raw_value, owner_namespace from new_values where id_value is null"
    )
    normalise = normalisers(rules.email_providers)[id_type]
    for start in range(0, size, _BATCH):
        batch: pa.Table = con.sql(
            "select id_namespace, region, raw_value, owner_namespace from rest "
            f"where position >= {start} and position < {start + _BATCH}"
        ).to_arrow_table()
        con.register("normalised_by_python", _parse(batch, normalise, rules.placeholders(id_type)))
        con.execute("insert into parsed by name select * from normalised_by_python")
        con.unregister("normalised_by_python")
    con.execute("drop table rest")


def _parse(batch: pa.Table, normalise: Normaliser, placeholders: frozenset[str]) -> pa.Table:
    id_values: list[str | None] = []
    problems: list[str | None] = []
    raw_values, regions = (batch.column(name).to_pylist() for name in ("raw_value", "region"))
    for raw, region in zip(raw_values, regions, strict=True):
        id_value, problem = normalise(raw, region)
        if problem is not None and (text := clean_lower_text(raw)) in placeholders:
            # A placeholder stays visible as a blocked identifier, whatever form its type has.
            id_value, problem = text, None
        id_values.append(id_value)
        problems.append(problem)
    done = batch.append_column("id_value", pa.array(id_values, pa.string()))
    return done.append_column("problem", pa.array(problems, pa.string()))


#: What `_normalise` and `_normalise_the_rest` found, and whether a raw value is the identifier as it stands.
_NORMALISED = (
    "(select *, coalesce(raw_value = id_value and id_namespace = owner_namespace and region = '', false) as is_raw "
    "from (select *, null::varchar as problem from new_values where id_value is not null "
    "union all by name select * from parsed))"
)


def _extend_registry(con: Connection, rules: IdentifierRules, id_type: str) -> int:
    kind = literal(id_type)
    # Values that are identifiers as they stand are distinct already; most are, of many types all.
    is_any_other = has_rows(con, f"{_NORMALISED} where not is_raw")
    found = f"(select id_namespace, id_value, true as is_raw from {_NORMALISED})"
    if is_any_other:
        found = "new_identifiers"
        con.execute(
            "create or replace temp table new_identifiers as "
            f"with as_they_stand as materialized (select id_namespace, id_value from {_NORMALISED} where is_raw) "
            "select *, true as is_raw from as_they_stand union all "
            f"select *, false from (select distinct owner_namespace as id_namespace, id_value from {_NORMALISED} "
            "where not is_raw and id_value is not null) anti join as_they_stand using (id_namespace, id_value)"
        )
    if has_rows(con, f"identity.registry where is_raw is not true and id_type = {kind}"):
        con.execute(
            f"update identity.registry set is_raw = true from {found} as n where n.is_raw "
            f"and registry.is_raw is not true and registry.id_type = {kind} "
            "and registry.id_namespace = n.id_namespace and registry.id_value = n.id_value"
        )
    # The namespace of a global type is always the same one.
    order = "id_namespace, id_value" if rules.identifiers[id_type].scope == "source" else "id_value"
    [(registered,)] = con.execute(
        "insert into identity.registry by name select (select coalesce(max(node_id), -1) from identity.registry) "
        f"+ row_number() over (order by {order}) as node_id, {kind} as id_type, id_namespace, id_value, is_raw "
        f"from {found} anti join (from identity.registry where id_type = {kind}) "
        "using (id_namespace, id_value)"
    ).fetchall()
    if is_any_other:
        con.execute(
            f"insert into identity.normalised_values by name select {kind} as id_type, n.id_namespace, n.region, "
            f"n.raw_value, r.node_id, n.problem from (from {_NORMALISED} where not is_raw) as n "
            f"left join (from identity.registry where id_type = {kind}) as r "
            "on r.id_namespace = n.owner_namespace and r.id_value = n.id_value"
        )
        con.execute("drop table new_identifiers")
    return int(registered)
