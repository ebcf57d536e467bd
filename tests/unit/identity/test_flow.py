"""The stage as a whole: who is one customer, and who is not."""

from datetime import datetime


def test_rows_that_share_identifiers_are_one_customer(world, run):
    world.add("customer_records", source_customer_id="7", email="Ann@Shop.COM", phone="07700 900123")
    world.add("events", event_type="login", user_id="u7", anonymous_id="cookie-1")
    world.add("form_submissions", email=" ann@shop.com ", anonymous_id="cookie-1")
    world.add("events", anonymous_id="cookie-2")
    report = world.resolve(run)
    ann = world.customer("7")
    assert ann == "c_0000000000"
    assert {world.customer(v) for v in ("Ann@Shop.COM", " ann@shop.com ", "07700 900123", "u7", "cookie-1")} == {ann}
    assert world.customer("cookie-2") not in {ann, None}
    assert report.rows["customers"] == 2
    assert world.events(run)[0] == ("create", ann, None)


def test_customers_known_from_orders_alone(world, run):
    for number in ("12346", "12347", "12347"):
        world.add("orders", source="online_retail", source_customer_id=number, country="United Kingdom")
    world.add("orders", source="online_retail", source_customer_id=None)
    report = world.build(run)
    world.resolve(run)
    assert report.facts["rows_without_identifier"] == 1
    assert report.facts["rows_attributable"] == 3
    assert world.rows("select best_source_customer_id, country, is_known from identity.profiles order by 1") == [
        ("12346", "United Kingdom", True),
        ("12347", "United Kingdom", True),
    ]


def test_later_rows_are_not_seen(world, run):
    world.add("orders", source_customer_id="1", at=datetime(2026, 10, 31))
    world.add("orders", source_customer_id="2", at=datetime(2026, 11, 2))
    world.resolve(run)
    assert world.customer("1") is not None
    assert world.customer("2") is None
