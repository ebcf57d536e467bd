"""Profiles, accounts, and answers about one customer."""

from datetime import datetime

import pytest

from segmentation.errors import NotFoundError
from segmentation.identity.explain import customer_identifiers, resolve_customer

OCTOBER = [datetime(2026, 10, day) for day in range(1, 32)]


_ATTRIBUTES = (
    "email", "phone", "first_name", "last_name", "country", "company_name", "residency_region", "is_known",
    "best_source_customer_id",
)  # fmt: skip


def _profile(world, value):
    [row] = world.rows(
        f"select {', '.join(_ATTRIBUTES)} from identity.profiles where customer_id = '{world.customer(value)}'"
    )
    return dict(zip(_ATTRIBUTES, row, strict=True))


def test_the_best_known_value_of_each_attribute(world, run):
    record = {"source": "crm", "source_customer_id": "K1", "email": "ann@shop.com"}
    world.add("customer_records", **record, first_name="Ann", country="GB", company_name="Old", at=OCTOBER[1])
    world.add("customer_records", **record, first_name=None, country="DE", company_name=" ", at=OCTOBER[2])
    world.add(
        "form_submissions",
        email="ann@shop.com",
        first_name="Annie",
        last_name="Lee",
        company_name="Form",
        at=OCTOBER[5],
    )
    world.add("orders", email="ann@shop.com", country="FR", at=OCTOBER[6])
    world.resolve(run)
    assert _profile(world, "K1") == {
        "email": "ann@shop.com",
        "phone": None,
        "first_name": "Annie",
        "last_name": "Lee",
        "country": "DE",
        "company_name": "Form",
        "residency_region": None,
        "is_known": True,
        "best_source_customer_id": "K1",
    }


def test_a_verified_address_wins_over_a_later_one(world, run):
    world.add("customer_records", source_customer_id="1", email="checked@shop.com", email_is_verified=True)
    world.add("orders", source_customer_id="1", email="typed@shop.com", phone="+447700900123")
    world.add("orders", source_customer_id="1", phone="07700 900124", country="GB")
    world.resolve(run)
    profile = _profile(world, "1")
    assert (profile["email"], profile["phone"]) == ("checked@shop.com", "+447700900124")


def test_cookies_alone_are_not_known(world, run):
    world.add("events", anonymous_id="c", device_id="d")
    world.resolve(run)
    assert _profile(world, "c")["is_known"] is False


def test_a_profile_never_shows_what_the_guards_kept_apart(world, run):
    world.add("orders", source_customer_id="1", email="noreply@shop.com")
    world.resolve(run)
    assert _profile(world, "1")["email"] is None


def test_memberships_of_accounts_begin_and_end(world, run):
    record = {"source_customer_id": "1", "user_id": "u"}
    world.add(
        "customer_records", **record, account_id="A", account_role=" Owner ", created_at=OCTOBER[0], at=OCTOBER[3]
    )
    world.add("customer_records", **record, account_id="B", created_at=OCTOBER[0], at=OCTOBER[9])
    world.add("customer_records", source_customer_id="2", at=OCTOBER[9])
    world.add("customer_records", source_customer_id="3", account_id="C", at=OCTOBER[9])
    world.add("customer_records", source_customer_id="3", at=OCTOBER[10])
    world.add("subscriptions", account_id="B", user_id="u", at=OCTOBER[8], started_at=OCTOBER[7])
    world.add("subscriptions", account_id="Z", at=OCTOBER[8])
    world.resolve(run)
    one, three = world.customer("1"), world.customer("3")
    assert world.rows(
        "select customer_id, account_id, role, valid_from, valid_to from identity.customer_accounts order by all"
    ) == [
        (one, "A", "owner", OCTOBER[0], OCTOBER[9]),
        (one, "B", "member", OCTOBER[0], None),
        (one, "B", "subscriber", OCTOBER[7], None),
        (three, "C", "member", OCTOBER[9], OCTOBER[10]),
    ]


@pytest.fixture
def ann(world, run, later):
    """A customer with a past."""
    world.add("events", anonymous_id="cookie", device_id="tablet")
    world.add("customer_records", source="crm", source_customer_id="K1", email="Ann@Shop.com", phone="07700 900123")
    world.resolve(run)
    old = world.customer("cookie")
    world.add("orders", email="ann@shop.com", anonymous_id="cookie")
    world.resolve(later(1))
    return {"id": world.customer("K1"), "old": old}


def test_anything_about_a_customer_finds_it(world, ann):
    for text in (
        ann["id"],
        f" {ann['id']} ",
        ann["old"],
        "K1",
        "Ann@Shop.com",
        "ANN@SHOP.COM",
        "+44 7700 900123",
        "cookie",
    ):
        assert resolve_customer(world.con, text) == ann["id"]


def test_nobody_is_known_by_nonsense(world, ann):
    for text in ("", "nobody@shop.com", "c_zzzzzzzzzz", "'; drop table identity.customers"):
        with pytest.raises(NotFoundError, match="no customer is known"):
            resolve_customer(world.con, text)


def test_identifiers_come_with_their_evidence(world, ann):
    found = customer_identifiers(world.con, ann["id"])
    assert [one.id_type for one in found] == ["source_customer_id", "email", "phone", "device_id", "anonymous_id"]
    assert [one.is_anchor for one in found] == [True, False, False, False, False]
    email = found[1]
    assert email.evidence == ("crm: customer_records (tier 1, 1 time)", "shop: orders (tier 2, 1 time)")
    with pytest.raises(NotFoundError):
        customer_identifiers(world.con, ann["old"])
