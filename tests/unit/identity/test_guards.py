"""Guards: placeholders, shared identifiers and over-full customers link nobody, and say why."""

from datetime import datetime

from segmentation.identity.candidate import build_candidate
from segmentation.identity.catalog import IdentityCatalog


def _status(world, value):
    return world.rows(f"select status, status_rule from identity.identifiers where id_value = '{value}'")


def test_placeholders_link_nobody_and_stay_visible(world, run):
    placeholders = [
        ("email", "NoReply@shop.com", "noreply@shop.com"),
        ("email", "ann@example.com", "ann@example.com"),
        ("email", "N/A", "n/a"),
        ("user_id", "NULL", "NULL"),
        ("user_id", "0000-0000", "0000-0000"),
        ("phone", "+490000000000", "+490000"),
        ("phone", "+44 7777 777777", "+447777777777"),
        ("phone", "unknown", "unknown"),
        ("anonymous_id", "00000000-0000", "00000000-0000"),
    ]
    for number, (column, value, _) in enumerate(placeholders):
        world.add("orders", source_customer_id=f"k{number}", **{column: value})
        world.add("orders", source_customer_id=f"k{number} too", **{column: value})
        world.add("orders", **{column: value})
    report = world.resolve(run)
    assert report.rows["customers"] == 2 * len(placeholders)
    for column, value, stored in placeholders:
        assert world.customer(value) is None
        assert _status(world, stored)[0][0] == "blocked", (column, value)


def test_a_blocked_identifier_keeps_its_rejected_edges(world, run):
    world.add("orders", source_customer_id="1", email="noreply@shop.com", phone="+447700900123")
    world.resolve(run)
    assert _status(world, "noreply@shop.com")[0][0] == "blocked"
    assert world.rows("select admitted, reject_rule is null from identity.edges order by 1") == [
        (False, False),
        (True, True),
    ]
    assert world.customer("1") == world.customer("+447700900123")


def test_a_kiosk_joins_nobody(world, run):
    for user in range(5):
        world.add("events", event_type="login", user_id=f"u{user}", device_id="kiosk", anonymous_id=f"c{user}")
    world.build(run)
    world.resolve(run)
    assert len({world.customer(f"u{user}") for user in range(5)}) == 5
    assert all(world.customer(f"u{user}") == world.customer(f"c{user}") for user in range(5))
    assert _status(world, "kiosk") == [("shared", "R3 device_id with more than 3 user_id")]
    assert world.customer("kiosk") is None
    assert world.rows("select distinct reject_rule from identity.edges where not admitted") == [
        ("R3 device_id with more than 3 user_id",)
    ]
    figures = "raw_max_component, raw_components_over_limit, max_customer_nodes"
    assert world.rows(f"select {figures} from identity.candidate") == [(11, 0, 2)]


def test_a_family_tablet_goes_to_the_first_and_mixes_nobody(world, run):
    world.add("events", event_type="login", user_id="mum", device_id="tablet")
    world.add("events", event_type="login", user_id="dad", device_id="tablet")
    world.resolve(run)
    assert world.customer("mum") == world.customer("tablet")
    assert world.customer("dad") not in {None, world.customer("mum")}
    assert world.rows("select reject_rule from identity.edges where not admitted") == [("R4 more than 1 user_id",)]


def test_a_guest_who_came_first_does_not_keep_the_tablet(world, run):
    world.add("events", event_type="login", user_id="visitor", device_id="tablet")
    for _ in range(4):
        world.add("events", event_type="login", user_id="owner", device_id="tablet")
    world.resolve(run)
    assert world.customer("owner") == world.customer("tablet")
    assert world.customer("visitor") not in {None, world.customer("owner")}


def test_often_seen_does_not_win_over_stronger(world, run):
    for _ in range(20):
        world.add("events", event_type="login", user_id="visitor", email="ann@shop.com")
    world.add("customer_records", source_customer_id="1", user_id="ann", email="ann@shop.com")
    world.resolve(run)
    assert world.customer("ann") == world.customer("ann@shop.com")


def test_beyond_eight_sightings_more_says_no_more(world, run):
    for visitor, visits in (("early", 8), ("late", 100)):
        for _ in range(visits):
            world.add("events", event_type="login", user_id=visitor, device_id="tablet")
    world.resolve(run)
    assert world.customer("early") == world.customer("tablet")


def test_stronger_evidence_wins_over_earlier(world, run):
    world.add("form_submissions", email="a@shop.com", anonymous_id="cookie")
    world.add("events", event_type="login", user_id="u1", anonymous_id="cookie")
    world.add("customer_records", source_customer_id="9", user_id="u2", email="a@shop.com")
    world.resolve(run)
    assert world.customer("u1") == world.customer("cookie")
    assert world.customer("u2") == world.customer("a@shop.com") == world.customer("9")
    assert world.customer("u1") != world.customer("u2")


def test_the_order_of_rows_changes_nothing(world, run, catalog):
    rows = [
        ("orders", {"source_customer_id": "1", "email": "a@shop.com", "user_id": "u1"}),
        ("events", {"event_type": "login", "user_id": "u2", "email": "a@shop.com"}),
        ("events", {"event_type": "login", "user_id": "u3", "email": "a@shop.com"}),
        ("form_submissions", {"email": "b@shop.com", "anonymous_id": "c"}),
        ("events", {"anonymous_id": "c", "device_id": "d"}),
    ]
    moments = [datetime(2026, 10, day) for day in (5, 4, 3, 2, 1)]
    tables = []
    for order in (range(5), reversed(range(5)), (2, 0, 4, 1, 3)):
        for entity in ("orders", "events", "form_submissions"):
            world.clear(entity)
        for index in order:
            entity, values = rows[index]
            world.add(entity, at=moments[index], **values)
        for state in ("registry", "normalised_values"):
            world.con.execute(f"delete from identity.{state}") if tables else None
        build_candidate(world.con, run, catalog)
        tables.append(
            [
                world.rows("select * from identity.candidate_identifier_map order by node_id"),
                world.rows("select * exclude (run_id) from identity.candidate_edges order by all"),
            ]
        )
    assert tables[0] == tables[1] == tables[2]


def _two_records(world, *, verified):
    for number in ("K1", "K2"):
        world.add("customer_records", source_customer_id=number, email="ann@shop.com", email_is_verified=verified)


def test_two_records_of_one_verified_address_are_one_owner(world, run):
    _two_records(world, verified=True)
    world.resolve(run)
    assert world.customer("K1") == world.customer("K2")


def test_two_records_of_an_unverified_address_stay_apart(world, run):
    _two_records(world, verified=False)
    world.resolve(run)
    assert world.customer("K1") == world.customer("ann@shop.com")
    assert world.customer("K2") not in {None, world.customer("K1")}


def test_the_alias_can_be_switched_off(world, run, catalog):
    _two_records(world, verified=True)
    rules = catalog.rules.model_copy(update={"verified_account_alias": 1})
    build_candidate(world.con, run, IdentityCatalog(rules, catalog.purposes))
    assert world.rows("select n_customers from identity.candidate") == [(2,)]


def test_no_customer_holds_more_identifiers_than_allowed(world, run, catalog):
    for number in range(40):
        world.add("events", device_id=f"d{number // 4}", anonymous_id=f"c{number}")
        world.add("events", device_id=f"d{number // 4}", anonymous_id=f"c{(number + 4) % 40}")
    rules = catalog.rules.model_copy(update={"max_nodes": 12})
    build_candidate(world.con, run, IdentityCatalog(rules, catalog.purposes))
    [(raw, largest, allowed)] = world.rows(
        "select raw_max_component, max_customer_nodes, max_nodes_allowed from identity.candidate"
    )
    assert (raw, allowed) == (50, 12)
    assert largest <= 12
    assert ("R4 more than 12 identifiers",) in world.rows("select distinct reject_rule from identity.candidate_edges")


def test_ids_of_two_sources_are_two_namespaces(world, run, catalog):
    world.add("orders", source="shop", source_customer_id="7")
    world.add("orders", source="crm", source_customer_id="7")
    world.build(run)
    assert world.rows("select n_customers from identity.candidate") == [(2,)]
    rules = catalog.rules.model_copy(update={"shared_namespaces": {"shop": "crm"}})
    build_candidate(world.con, run, IdentityCatalog(rules, catalog.purposes))
    assert world.rows("select n_customers, n_lookup_values from identity.candidate") == [(1, 2)]


def test_hostile_values_break_nothing(world, run):
    world.add("orders", source_customer_id="1", email="x" * 1_000_000 + "@shop.com", phone="+44770" + "0" * 10_000)
    world.add("orders", source_customer_id="2", email="ann\x00@shop.com", user_id="\x00")
    world.add("orders", email="\u202eann@shop.com", user_id="'; drop table identity.edges; --")
    world.add("orders", source_customer_id="4", email="\u0430nn@shop.com")
    report = world.resolve(run)
    assert report.rows["customers"] == 3
    assert world.rows("select oversized_values from identity.candidate") == [(2,)]
    assert world.customer("4") != world.customer("2")
    assert world.customer("'; drop table identity.edges; --") == world.customer("2")
    assert world.rows(
        "select problem from identity.normalised_values where id_type = 'user_id' and node_id is null"
    ) == [("empty",)]


def test_one_spelling_in_two_countries_belongs_to_nobody(world, run):
    world.add("orders", source_customer_id="1", phone="0151 23456789", country="DE")
    world.add("orders", source_customer_id="2", phone="0151 23456789", country="gb")
    world.add("orders", email="ann@shop.com", phone="+49 151 23456789")
    world.resolve(run)
    assert world.customer("0151 23456789") is None
    assert world.customer("1") == world.customer("+49 151 23456789") == world.customer("ann@shop.com")
    assert world.customer("2") not in {None, world.customer("1")}
