"""From raw values to identifiers, for millions of them: each distinct raw value is normalised once, ever.

Belongs here: finding values not seen before, the fast paths in SQL that agree with `normalise.py`, the
registry of dense ids. Does not belong here: the rules for one value (`normalise.py`), or which
identifiers may link customers (`guards.py`).
"""

from contextlib import suppress

import duckdb
import pyarrow as pa

from segmentation.identity.calling_codes import calling_code, national_format
from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.normalise import EMAIL_LOCAL_MAX_LENGTH, EMAIL_MAX_LENGTH, NORMALISERS, clean_lower_text
from segmentation.sources.entities import IDENTITY_COLUMNS
from segmentation.warehouse import Connection, literal, scalar

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
_PLAIN_NATIONAL_PHONE = "^0[0-9]+([ /-][0-9]+)*$"


def register_values(con: Connection, rules: IdentifierRules) -> dict[str, int]:
    """Give every raw value in temporary table ``raw_values`` its identifier.

    ``raw_values(id_type, id_namespace, region, raw_value)`` holds each combination once. New ones are
    normalised and added to ``identity.normalised_values``; new identifiers get the next dense ids in
    ``identity.registry``, in the order of their type, namespace and value. Runs inside the caller's
    transaction.

    Returns:
        How many raw values and identifiers were new, and how many values Python had to look at.
    """
    _forget_if_rules_changed(con, rules)
    con.execute(
        "create or replace temp table new_values as select * from raw_values anti join identity.normalised_values "
        "using (id_type, id_namespace, region, raw_value)"
    )
    con.execute(
        "create or replace temp table new_normalised (id_type varchar, id_namespace varchar, region varchar, "
        "raw_value varchar, id_value varchar, problem varchar)"
    )
    _normalise_plain_text(con)
    _normalise_plain_emails(con)
    _normalise_plain_phones(con)
    by_python = _normalise_the_rest(con, rules)
    new_identifiers = _extend_registry(con, rules)
    counts = {
        "new_values": _count(con, "new_values"),
        "values_by_python": by_python,
        "new_identifiers": new_identifiers,
    }
    con.execute("drop table new_values; drop table new_normalised")
    return counts


def _count(con: Connection, table: str) -> int:
    return int(str(scalar(con, f"select count(*) from {table}")))


def _forget_if_rules_changed(con: Connection, rules: IdentifierRules) -> None:
    """Normalise everything again where the rules for it changed; identifiers keep their node ids."""
    known = scalar(con, "select normalisation_hash from identity.normalisation")
    if known != rules.normalisation_hash:
        con.execute("delete from identity.normalised_values")
        con.execute("delete from identity.normalisation")
        con.execute("insert into identity.normalisation values (?)", [rules.normalisation_hash])


def _normalise_plain_text(con: Connection) -> None:
    types = ", ".join(literal(name) for name in IDENTITY_COLUMNS if name not in {"email", "phone"})
    con.execute(
        "insert into new_normalised select id_type, id_namespace, region, raw_value, trim(raw_value), null "
        f"from new_values where id_type in ({types}) and regexp_matches(trim(raw_value), '{_PLAIN_TEXT}')"
    )


def _normalise_plain_emails(con: Connection) -> None:
    con.execute(
        "insert into new_normalised "
        "select id_type, id_namespace, region, raw_value, lower(trim(raw_value)) as id_value, null from new_values "
        f"where id_type = 'email' and strlen(trim(raw_value)) <= {EMAIL_MAX_LENGTH} "
        # Matched before it is lowered: the engine lowers some letters beyond ASCII to ASCII ones.
        f"and regexp_matches(trim(raw_value), '{_PLAIN_EMAIL}') "
        # A domain ends where the only "@" is; no label may hold "--".
        "and not contains(split_part(raw_value, '@', 2), '--') "
        # The whole of a domain name has at most 253 characters (RFC 1035).
        "and strlen(trim(split_part(raw_value, '@', 2))) <= 253"
    )


def _normalise_plain_phones(con: Connection) -> None:
    """Write numbers whose digits are their normal form, once the way of dialling them is taken away."""
    con.execute(
        "create or replace temp table plain_phones as "
        "select id_namespace, region, raw_value, regexp_replace(raw_value, '[^0-9]', '', 'g') as digits "
        f"from new_values where id_type = 'phone' and regexp_matches(trim(raw_value), '{_PLAIN_INTERNATIONAL_PHONE}')"
    )
    regions = con.execute(
        "select distinct region from new_values where id_type = 'phone' and region <> '' order by region"
    ).fetchall()
    for (region,) in regions:
        _add_national_phones(con, region)
    starts = con.execute("select distinct left(digits, 3) from plain_phones where strlen(digits) > 6").fetchall()
    codes = {code for (start,) in starts if (code := calling_code(start)) is not None}
    for code in sorted(codes, key=lambda found: found.code):
        national = f"substr(digits, {len(code.code) + 1})"
        lengths = ", ".join(str(length) for length in code.lengths)
        strips = f"or regexp_matches({national}, '^(?:{code.prefix_pattern})')" if code.prefix_pattern else ""
        _unless_pattern_unknown(
            con,
            "insert into new_normalised select 'phone', id_namespace, region, raw_value, '+' || digits, null "
            f"from plain_phones where starts_with(digits, '{code.code}') and strlen({national}) in ({lengths}) "
            f"and not (starts_with({national}, '0') {strips})",
        )
    con.execute("drop table plain_phones")


def _add_national_phones(con: Connection, region: str) -> None:
    """Add to ``plain_phones`` what is dialled in ``region`` as ``00`` and a country, or ``0`` and a number."""
    usual = national_format(region)
    if usual is None:
        return
    _unless_pattern_unknown(
        con,
        "insert into plain_phones select id_namespace, region, raw_value, "
        f"case when starts_with(dialled, '00') then substr(dialled, 3) else '{usual.code}' || substr(dialled, 2) end "
        "from (select id_namespace, region, raw_value, regexp_replace(raw_value, '[^0-9]', '', 'g') as dialled "
        f"from new_values where id_type = 'phone' and region = {literal(region)} "
        f"and regexp_matches(trim(raw_value), '{_PLAIN_NATIONAL_PHONE}')) "
        "where regexp_matches(dialled, '^00?[1-9]') "
        f"and not regexp_full_match(dialled, '{usual.whole_pattern}')",
    )


def _unless_pattern_unknown(con: Connection, query: str) -> None:
    # A pattern that the engine can't read only costs time: these numbers are parsed one by one.
    with suppress(duckdb.InvalidInputException):
        con.execute(query)


def _normalise_the_rest(con: Connection, rules: IdentifierRules) -> int:
    rest: pa.Table = con.sql(
        "select id_type, id_namespace, region, raw_value from new_values anti join new_normalised "
        "using (id_type, id_namespace, region, raw_value)"
    ).to_arrow_table()
    if not rest.num_rows:
        return 0
    types, regions, values = (rest.column(name).to_pylist() for name in ("id_type", "region", "raw_value"))
    placeholders = {name: rules.placeholders(name) for name in IDENTITY_COLUMNS}
    id_values: list[str | None] = []
    problems: list[str | None] = []
    for id_type, region, raw in zip(types, regions, values, strict=True):
        id_value, problem = NORMALISERS[id_type](raw, region)
        if problem is not None and (text := clean_lower_text(raw)) in placeholders[id_type]:
            # A placeholder stays visible as a blocked identifier, whatever form its type has.
            id_value, problem = text, None
        id_values.append(id_value)
        problems.append(problem)
    done = rest.append_column("id_value", pa.array(id_values, pa.string()))
    done = done.append_column("problem", pa.array(problems, pa.string()))
    con.register("normalised_by_python", done)
    con.execute("insert into new_normalised select * from normalised_by_python")
    con.unregister("normalised_by_python")
    return int(rest.num_rows)


def _extend_registry(con: Connection, rules: IdentifierRules) -> int:
    namespaces = " ".join(
        f"when {literal(source)} then {literal(owner)}" for source, owner in sorted(rules.shared_namespaces.items())
    )
    owner = f"case id_namespace {namespaces} else id_namespace end" if namespaces else "id_namespace"
    con.execute(
        "create or replace temp table new_identifiers as with wanted as (select distinct id_type, "
        f"{owner} as id_namespace, id_value from new_normalised where id_value is not null) "
        "select * from wanted anti join identity.registry using (id_type, id_namespace, id_value)"
    )
    con.execute(
        "insert into identity.registry "
        "select (select coalesce(max(node_id), -1) from identity.registry) "
        "+ row_number() over (order by id_type, id_namespace, id_value), id_type, id_namespace, id_value "
        "from new_identifiers"
    )
    con.execute(
        "insert into identity.normalised_values by name "
        f"with owned as (select *, {owner} as owner_namespace from new_normalised) "
        "select o.id_type, o.id_namespace, o.region, o.raw_value, r.node_id, o.problem from owned as o "
        "left join identity.registry as r on r.id_type = o.id_type and r.id_namespace = o.owner_namespace "
        "and r.id_value = o.id_value"
    )
    added = _count(con, "new_identifiers")
    con.execute("drop table new_identifiers")
    return added
