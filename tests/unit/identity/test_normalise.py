"""Normal forms: stable, never somebody else's, and the same in SQL as in Python."""

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from segmentation.contracts import ensure_schema
from segmentation.identity.calling_codes import calling_code
from segmentation.identity.catalog import IdentifierRules
from segmentation.identity.normalise import NORMALISERS, clean_text, normalise_email, normalise_phone, normalise_text
from segmentation.identity.values import known_values, register_values
from segmentation.sources.entities import IDENTITY_COLUMNS

REGIONS = ("", "GB", "DE", "US", "IT", "AR", "FR", "NL", "ES", "GG", "BR", "AU", "MX", "PL", "NO", "CA")


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("Ann@Shop.COM", "ann@shop.com"),
        (" ann@shop.com\u00a0", "ann@shop.com"),
        ("ann＠shop.com", "ann@shop.com"),
        ("a\u200bnn@shop.com", "ann@shop.com"),
        ("ann@shop.com\x00", "ann@shop.com"),
        ("ann@BÜCHER.de", "ann@xn--bcher-kva.de"),
        ("ann@bücher.de", "ann@xn--bcher-kva.de"),
        ("ann@shop.com.", "ann@shop.com"),
        ("o'neil+x@shop.com", "o'neil+x@shop.com"),
    ],
)
def test_spellings_of_one_address(raw, expected):
    assert normalise_email(raw) == (expected, None)


@pytest.mark.parametrize(
    "raw",
    ["", "  ", "\u200b", "none", "@", "a@", "@b.c", "a@b", "a b@c.de", "a@b@c.de", "<a@b.de>", "a@-b.de", "a@b..de",
     "a" * 65 + "@b.de", "a@" + "b" * 64 + ".de", "x" * 1_000_000 + "@b.de"],
)  # fmt: skip
def test_what_is_no_address(raw):
    value, problem = normalise_email(raw)
    assert value is None
    assert problem


def test_letters_that_look_alike_stay_apart():
    latin, cyrillic = normalise_email("paypal@shop.com"), normalise_email("p\u0430yp\u0430l@shop.com")
    assert latin.id_value
    assert cyrillic.id_value
    assert latin != cyrillic
    assert normalise_email("ann@sh\u043ep.com").id_value.startswith("ann@xn--")


@pytest.mark.parametrize(
    ("raw", "region", "expected"),
    [
        ("07700 900123", "GB", "+447700900123"),
        ("+44 (0)7700 900123", "DE", "+447700900123"),
        ("0044 7700 900123", "GB", "+447700900123"),
        ("0151/23456789", "DE", "+4915123456789"),
        ("+39 06 1234 5678", "GB", "+390612345678"),
        ("(213) 200-0001", "US", "+12132000001"),
        ("+1 213-200-0001 ext. 7", "", "+12132000001"),
        ("٠٧٧٠٠ ٩٠٠١٢٣", "GB", "+447700900123"),
    ],
)
def test_spellings_of_one_number(raw, region, expected):
    assert normalise_phone(raw, region) == (expected, None)


@pytest.mark.parametrize("raw", ["", "unknown", "12", "+", "+999123456789", "0" * 300, "call me"])
def test_what_is_no_number(raw):
    assert normalise_phone(raw, "GB").id_value is None


def test_ids_keep_their_case():
    assert normalise_text(" AbC-1 ").id_value == "AbC-1"
    assert normalise_text("\u200b\x00 ").problem == "empty"


@given(st.text(max_size=40))
@example("e\u200d\u0301")
@example("\ufdfa\u00ad")
def test_cleaning_twice_changes_nothing(text):
    assert clean_text(clean_text(text)) == clean_text(text)


_LOCALS = st.text(alphabet="aZ9.+-_'ßİſéа\u200b", min_size=1, max_size=12)
_DOMAINS = st.text(alphabet="abZ9.-üßеＡ", min_size=1, max_size=20)
_EMAILS = st.one_of(
    st.builds("{}@{}.com".format, _LOCALS, _DOMAINS),
    st.builds(" {}@{}.co.uk ".format, _LOCALS, _DOMAINS),
    st.emails(),
    st.text(max_size=20),
)
_PHONES = st.one_of(
    st.from_regex(r"\A\+[1-9][0-9 \-]{5,16}\Z"),
    st.from_regex(r"\A\+(44|49|1|39|54|7|33|61|55|52|800)[ -]?0?[0-9]{5,12}\Z"),
    st.from_regex(r"\A0[0-9 /()\-]{5,14}\Z"),
    st.from_regex(r"\A ?00?[1-9][0-9]{1,4}[ /\-]?[0-9]{4,9}\Z"),
    st.from_regex(r"\A0049[ ]?0?[1-9][0-9]{4,9}\Z"),
    st.from_regex(r"\A[1-9][0-9]{1,3}[ /\-]?[0-9]{4,9}\Z"),
    st.from_regex(r"\A\+(44|49|1|33)[ ]?\(0?[0-9]{1,4}\)[ ]?[0-9]{4,8}\Z"),
    st.text(alphabet="+0123456789 ()-./x", max_size=18),
)
_IDS = st.one_of(st.text(max_size=20), st.text(alphabet=" aZ9-_\t\u00a0", max_size=12))


@given(st.sampled_from(sorted(NORMALISERS)), st.one_of(_EMAILS, _PHONES, _IDS), st.sampled_from(REGIONS))
@settings(max_examples=300)
def test_normalising_twice_changes_nothing(id_type, raw, region):
    value, problem = NORMALISERS[id_type](raw, region)
    assert (value is None) != (problem is None)
    if value is not None:
        assert NORMALISERS[id_type](value, "").id_value == value


_VALUES = st.one_of(
    st.tuples(st.just("email"), st.just(""), _EMAILS),
    st.tuples(st.just("phone"), st.sampled_from(REGIONS[1:]), _PHONES),
    st.tuples(st.just("user_id"), st.just(""), _IDS),
)


@given(st.lists(_VALUES, min_size=1, max_size=60, unique=True))
@example([("email", "", "İ@9.com"), ("email", "", "\u212a@9.com"), ("email", "", "A@x--y.com")])
@settings(max_examples=25, deadline=None)
def test_fast_paths_agree_with_the_rules(values):
    rules = _fast_path_rules()
    with duckdb.connect() as con:
        ensure_schema(con, "identity")
        con.execute(
            "create temp table raw_values (id_type varchar, id_namespace varchar, region varchar, raw_value varchar)"
        )
        con.executemany("insert into raw_values values (?, '', ?, ?)", [list(value) for value in values])
        register_values(con, rules)
        found = {
            (id_type, region, raw): (value, problem)
            for id_type in NORMALISERS
            for region, raw, value, problem in con.execute(
                f"select region, raw_value, id_value, problem from ({known_values(id_type)}) "
                "left join identity.registry using (node_id)"
            ).fetchall()
        }
    assert found == {value: tuple(NORMALISERS[value[0]](value[2], value[1])) for value in values}


def _fast_path_rules():
    return IdentifierRules(
        default_region="GB",
        max_nodes=100,
        max_value_bytes=512,
        identifiers={name: {"priority": 0, "max_per_customer": 9} for name in IDENTITY_COLUMNS},
        entities={},
    )


def test_most_values_need_no_python(con, catalog):
    ensure_schema(con, "identity")
    con.execute(
        "create temp table raw_values (id_type varchar, id_namespace varchar, region varchar, raw_value varchar)"
    )
    con.execute(
        "insert into raw_values select 'email', '', '', ' Ann' || range || '@Shop.com' from range(500) union all "
        "select 'phone', '', '', '+4477009' || lpad(range::varchar, 5, '0') from range(500) union all "
        "select 'anonymous_id', '', '', 'a-' || range from range(500)"
    )
    counts = register_values(con, catalog.rules)
    assert counts == {"new_values": 1500, "values_by_python": 0, "new_identifiers": 1500}
    assert register_values(con, catalog.rules) == {"new_values": 0, "values_by_python": 0, "new_identifiers": 0}
    assert con.execute(
        "select min(node_id), max(node_id), count(distinct node_id) from identity.registry"
    ).fetchall() == [(0, 1499, 1500)]


def test_changed_rules_normalise_again_and_keep_node_ids(con, catalog):
    ensure_schema(con, "identity")
    con.execute(
        "create temp table raw_values (id_type varchar, id_namespace varchar, region varchar, raw_value varchar)"
    )
    con.execute("insert into raw_values select 'source_customer_id', unnest(['billing', 'crm']), '', '7'")
    register_values(con, catalog.rules)
    known = f"select id_namespace, node_id from ({known_values('source_customer_id')}) order by 1"
    before = con.execute(known).fetchall()
    assert len({node for _, node in before}) == 2
    shared = catalog.rules.model_copy(update={"shared_namespaces": {"billing": "crm"}})
    register_values(con, shared)
    after = con.execute(known).fetchall()
    assert after == [("billing", before[1][1]), ("crm", before[1][1])]


def test_a_value_is_known_once_in_whatever_order_its_spellings_come(con, catalog):
    ensure_schema(con, "identity")
    con.execute(
        "create temp table raw_values (id_type varchar, id_namespace varchar, region varchar, raw_value varchar)"
    )
    for spelling in ("Ann@Shop.com", "ann@shop.com", " ann@shop.com", "ann@shop.com"):
        con.execute("delete from raw_values")
        con.execute("insert into raw_values values ('email', '', '', ?)", [spelling])
        register_values(con, catalog.rules)
    known = con.execute(f"select raw_value, node_id from ({known_values('email')}) order by 1").fetchall()
    assert known == [(" ann@shop.com", 0), ("Ann@Shop.com", 0), ("ann@shop.com", 0)]


def test_calling_codes_are_found_by_their_digits():
    assert calling_code("447") is not None
    assert calling_code("447").code == "44"
    assert calling_code("121").code == "1"
    assert calling_code("999") is None
