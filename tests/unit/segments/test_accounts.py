"""Segments of accounts: decided on accounts, inherited by their customers, each of whom keeps their own rights."""

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from segmentation.errors import CandidateError
from segmentation.segments.catalog import validate_catalog
from segmentation.segments.explain import explain

from .conftest import START, TIERS, TYPES, Company

ACCOUNT_TYPES = {"account_id": "varchar", "as_of": "timestamp", "seats": "bigint", "created_at": "timestamp"}


class Contracts(dict[str, str]):
    """The features of customers, with those of accounts."""

    accounts = SimpleNamespace(types=ACCOUNT_TYPES)


def accounts(company: Company, days: int = 0, **seats: int | None) -> None:
    """Replace the features of accounts."""
    columns = ", ".join(f"{name} {kind}" for name, kind in ACCOUNT_TYPES.items())
    company.con.execute(f"create or replace table features.account_features ({columns})")
    for account_id, number in seats.items():
        company.con.execute(
            "insert into features.account_features values (?, ?, ?, ?)",
            [account_id, START + timedelta(days=days), number, START - timedelta(days=40)],
        )


def belongs(company: Company, customer_id: str, account_id: str, until: datetime | None = None, **values: Any) -> None:
    company.fill(
        "identity.customer_accounts",
        **{"customer_id": customer_id, "account_id": account_id, "role": "member", "valid_from": START,
           "valid_to": until, **values},
    )  # fmt: skip


@pytest.fixture
def company(company: Company) -> Company:
    """Two accounts with three customers, one of them in both, and a customer without an account."""
    company.types = Contracts(TYPES)
    company.write("large", "seats >= 50", entity="account")
    company.features(*({"customer_id": f"c_{letter}", "mrr_micros": 1} for letter in "abcd"))
    accounts(company, a_1=80, a_2=5)
    for customer_id, account_id in (("c_a", "a_1"), ("c_b", "a_2"), ("c_c", "a_1"), ("c_c", "a_2")):
        belongs(company, customer_id, account_id)
    return company


def inherited(company: Company) -> set[tuple[str, str]]:
    return set(company.rows("select customer_id, via from segments.membership where segment_key = 'large'"))


def of_accounts(company: Company) -> list[tuple[Any, ...]]:
    return company.rows("select account_id, segment_key, segment_version, entered_at from segments.account_membership")


def test_customers_inherit_from_any_of_their_accounts(company) -> None:
    company.decide()
    assert inherited(company) == {("c_a", "account"), ("c_c", "account")}
    assert of_accounts(company) == [("a_1", "large", 1, START)]
    company.check_consistency()
    assert company.rows("select distinct via from segments.candidate_membership") == [("account",)]


def test_accounts_move_and_so_do_customers_between_them(company) -> None:
    company.decide()
    accounts(company, days=1, a_1=10, a_2=60)
    company.decide(days=1)
    assert inherited(company) == {("c_b", "account"), ("c_c", "account")}
    assert of_accounts(company) == [("a_2", "large", 1, START + timedelta(days=1))]
    assert company.changes()[2:] == [("c_a", "large", "exit", "data"), ("c_b", "large", "enter", "data")]
    # Whoever leaves an account leaves its segments, and not before.
    company.con.execute("update identity.customer_accounts set valid_to = ? where customer_id = 'c_b'",
                        [START + timedelta(days=3)])  # fmt: skip
    for days, expected in ((2, {"c_b", "c_c"}), (3, {"c_c"})):
        accounts(company, days=days, a_1=10, a_2=60)
        company.decide(days=days)
        assert company.members("large") == expected
    company.check_consistency()


def test_a_belonging_that_is_yet_to_come_is_none(company) -> None:
    belongs(company, "c_d", "a_1", valid_from=START + timedelta(days=1))
    company.decide()
    assert company.members("large") == {"c_a", "c_c"}


def test_a_new_version_keeps_who_stays(company) -> None:
    company.decide()
    company.write("large", "seats >= 40", entity="account")
    accounts(company, days=1, a_1=80, a_2=45)
    company.decide(days=1)
    assert sorted(of_accounts(company)) == [
        ("a_1", "large", 2, START),
        ("a_2", "large", 2, START + timedelta(days=1)),
    ]
    assert company.changes()[2:] == [("c_b", "large", "enter", "rule")]
    company.remove("large")
    company.decide(days=2)
    assert (of_accounts(company), company.members("large")) == ([], set())


def test_every_customer_keeps_their_own_consent_residency_and_exclusion(company) -> None:
    company.write("large", "seats >= 1", entity="account", consent="{purposes: [marketing.email]}",
                  residency="[EU]", exclude="[{customer: c_c, reason: asked}]")  # fmt: skip
    for customer_id in ("c_a", "c_b", "c_c"):
        company.alter(customer_id, consented_purposes=["marketing.email"], residency_region="EU")
    company.decide()
    assert company.members("large") == {"c_a", "c_b"}
    company.alter("c_a", consented_purposes=[])
    company.alter("c_b", residency_region="US")
    accounts(company, days=1, a_1=80, a_2=5)
    company.decide(days=1)
    assert company.members("large") == set()
    # The account itself is in it all the same.
    assert sorted(row[0] for row in of_accounts(company)) == ["a_1", "a_2"]


def test_within_a_group_it_ranks_like_any_other(company) -> None:
    company.write_groups(TIERS)
    company.write("large", "seats >= 50", entity="account", group="tier", precedence=1)
    company.write("core", "mrr_micros > 0", group="tier", precedence=2)
    company.write("free", "true", group="tier", precedence=3)
    company.write("care", "in_segment('large')")
    company.decide()
    assert company.members("large") == company.members("care") == {"c_a", "c_c"}
    assert company.members("core") == {"c_b", "c_d"}
    assert set(company.rows("select customer_id, winner_key, loser_key from segments.conflicts")) == {
        ("c_a", "large", "core"),
        ("c_c", "large", "core"),
    }
    company.check_consistency()


def test_features_of_accounts_have_to_be_those_of_the_run(company) -> None:
    accounts(company, days=-1, a_1=80)
    with pytest.raises(CandidateError, match="features of accounts hold 1 rows of 1 accounts, as of 2026-10-31"):
        company.build()
    accounts(company, a_1=80)
    company.con.execute("insert into features.account_features select * from features.account_features")
    with pytest.raises(CandidateError, match="hold 2 rows of 1 accounts"):
        company.build()
    company.con.execute("alter table features.account_features drop column seats")
    with pytest.raises(CandidateError, match="features of accounts lack seats, which segment large needs"):
        company.build()
    company.con.execute("drop table features.account_features")
    with pytest.raises(CandidateError, match="there are no features of accounts, which segment large needs"):
        company.build()
    # Who has no segment of accounts needs none.
    company.remove("large")
    company.write("other")
    company.decide()
    assert len(company.members("other")) == 4


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ("mrr_micros > 1", "unknown feature mrr_micros"),
        ("has_purpose('marketing.email')", "consented_purposes"),
        ("in_segment('other')", "a rule over accounts can't ask for in_segment"),
    ],
)
def test_a_rule_over_accounts_reads_accounts_alone(company, rule: str, what: str) -> None:
    company.write("other")
    company.write("large", rule, entity="account")
    problems = validate_catalog(company.folder, company.types)
    assert any(what in problem.what for problem in problems), problems
    assert all(problem.file == "catalog/segments/large.yml" for problem in problems)
    company.write("large", "seats > 1")
    assert ["unknown feature seats" in one.what for one in validate_catalog(company.folder, company.types)] == [True]


def test_a_segment_of_accounts_is_no_default(company) -> None:
    company.write_groups(TIERS)
    company.write("free", "seats >= 0", entity="account", group="tier", precedence=1)
    problems = validate_catalog(company.folder, company.types)
    assert any("its rule leaves customers out" in problem.what for problem in problems)


def test_it_is_explained_by_the_account(company) -> None:
    company.decide()
    said = {}
    for customer_id in ("c_a", "c_b", "c_c", "c_d"):
        (found,) = explain(company.con, customer_id, "large").segments
        said[customer_id] = (found.reason, found.sentence)
    assert said == {
        "c_a": ("account", "is a member, inherited from account a_1, for which the rule holds"),
        "c_b": ("rule_false", "is not a member because this does not hold for account a_2: seats >= 50 (seats is 5)"),
        "c_c": ("account", "is a member, inherited from account a_1, for which the rule holds"),
        "c_d": ("no_account", "is not a member because the customer belongs to no account"),
    }
    (found,) = explain(company.con, "c_a", "large").segments
    assert found.clauses
    assert found.clauses.values == {"seats": 80}
