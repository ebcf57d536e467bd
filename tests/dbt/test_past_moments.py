"""Features of a past moment: what happened later, or became known later, changes nothing.

Compared is every feature, row for row, between what was built at a moment and what is built for that moment from data
that has grown since: later events, later versions of what changes, later members of accounts. Identity is the same
on both sides, because who is who may rightly be known better today; so may a row that says of itself that it
happened earlier, and came late: such rows are not among those added.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.dbt.conftest import AS_OF, add_customer, create_tables, insert, land

#: Seconds before (or, below zero, after) the moment: around the edges of every window, and anywhere.
EDGES = [day * 86400 + second for day in (0, 1, 7, 30, 90, 365) for second in (-1, 0, 1)]

PEOPLE = ("ada", "bob")


@dataclass(frozen=True)
class Fact:
    """Something that a source tells.

    Attributes:
        entity: Table of sources, or ``member`` for a membership in an account.
        key: Number of the thing; two facts of one key are versions of it.
        person: Whose it is.
        known: When it happened, or was changed to what it is now.
        began: When the thing itself began, at most when it was changed.
        amount: What it is worth, how many it is, which state it is in.
    """

    entity: str
    key: int
    person: str
    known: datetime
    began: datetime
    amount: int


def _before(seconds: int) -> datetime:
    return AS_OF - timedelta(seconds=seconds)


seconds = st.sampled_from(EDGES) | st.integers(-40 * 86400, 400 * 86400)

facts = st.builds(
    lambda entity, key, person, at, age, amount: Fact(
        entity, key, person, _before(at), _before(at) - timedelta(seconds=age), amount
    ),
    st.sampled_from(
        [
            "orders",
            "order_lines",
            "events",
            "requests",
            "tickets",
            "subscriptions",
            "invoices",
            "form_submissions",
            "accounts",
            "member",
        ]
    ),
    st.integers(1, 3),
    st.sampled_from(PEOPLE),
    seconds,
    st.sampled_from([0, 1, 86400, 40 * 86400]),
    st.integers(-3, 3),
)


def _land(con: duckdb.DuckDBPyConnection, fact: Fact) -> None:
    """Write a fact as its source would."""
    key, known, began, amount = str(fact.key), fact.known, fact.began, fact.amount
    by = {"user_id": fact.person, "account_id": "acme"}
    state = lambda *names: names[amount % len(names)]  # noqa: E731  # a choice that depends on the fact alone
    match fact.entity:
        case "orders":
            land(
                con,
                "orders",
                order_id=key,
                order_status=state("paid", "returned", "cancelled", "failed"),
                ordered_at=began,
                updated_at=known,
                amount_micros=amount,
                card_fingerprint=f"card {amount}",
                chargeback_at=known if amount < 0 else None,
                user_id=fact.person,
            )
        case "order_lines":
            land(
                con,
                "order_lines",
                order_id=key,
                order_line_id=key,
                ordered_at=known,
                quantity=amount,
                unit_price_micros=7,
            )
        case "events":
            land(
                con,
                "events",
                event_id=key,
                event_type="page_view",
                occurred_at=known,
                session_id=key,
                channel=state("ads", "search", "email"),
                device_id=f"device {amount}",
                user_id=fact.person,
            )
        case "requests":
            land(
                con,
                "requests",
                request_id=key,
                occurred_at=known,
                service="search",
                status_code=state(200, 429, 503),
                latency_ms=float(amount),
                is_throttled=amount == 1,
                compute_ms=amount / 3,
                **by,
            )
        case "tickets":
            land(
                con,
                "tickets",
                ticket_id=key,
                ticket_status=state("open", "pending", "solved"),
                opened_at=began,
                updated_at=known,
                closed_at=known if amount > 1 else None,
                csat_score=abs(amount),
                **by,
            )
        case "subscriptions":
            land(
                con,
                "subscriptions",
                subscription_id=key,
                plan=state("free", "pro"),
                subscription_status=state("active", "trialing", "cancelled"),
                seats=abs(amount),
                mrr_micros=abs(amount),
                started_at=began,
                renews_at=began + timedelta(days=30),
                updated_at=known,
                **by,
            )
        case "invoices":
            land(
                con,
                "invoices",
                invoice_id=key,
                invoice_status=state("open", "paid", "void"),
                amount_micros=abs(amount),
                issued_at=began,
                due_at=began + timedelta(days=14),
                paid_at=known if amount == 1 else None,
                updated_at=known,
                **by,
            )
        case "form_submissions":
            land(
                con,
                "form_submissions",
                submission_id=key,
                form_name="demo",
                submitted_at=known,
                company_size=amount or None,
                job_level=state(None, "vp"),
                is_demo_requested=amount > 0,
                user_id=fact.person,
            )
        case "accounts":
            land(con, "accounts", account_id="acme", account_name="Acme", company_size=abs(amount), updated_at=known)
        case "member":
            insert(
                con,
                "identity.customer_accounts",
                customer_id=f"c_{fact.person}",
                account_id=f"acme {key}" if amount < 0 else "acme",
                role="member",
                valid_from=known,
            )


class Builder:
    """The compiled models, built in memory over whatever has been landed."""

    def __init__(self, project: Any, compiled: dict[str, str]) -> None:
        nodes = json.loads((project.artifacts / "manifest.json").read_text())["nodes"]
        models = {key: node for key, node in nodes.items() if "features" in node["tags"] and node["name"] in compiled}
        self.statements: list[str] = []
        built: set[str] = set()

        def visit(key: str) -> None:
            if key in models and key not in built:
                built.add(key)
                for parent in models[key]["depends_on"]["nodes"]:
                    visit(parent)
                node = models[key]
                kind = node["config"]["materialized"]
                self.statements.append(
                    f"create {kind} warehouse.{node['schema']}.{node['alias']} as {compiled[node['name']]}"
                )

        for key in models:
            visit(key)

    def build(self, told: Iterable[Fact]) -> list[tuple[Any, ...]]:
        """Return the rows of the feature table as of ``AS_OF``, from these facts."""
        with duckdb.connect() as con:
            con.execute("set TimeZone = 'UTC'")
            con.execute("attach ':memory:' as warehouse")
            con.execute("use warehouse")
            create_tables(con)
            for person in PEOPLE:
                add_customer(con, f"c_{person}", {"user_id": person, "device_id": f"device of {person}"})
            for fact in told:
                _land(con, fact)
            for schema in ("staging", "intermediate"):
                con.execute(f"create schema {schema}")
            con.execute("create schema if not exists features")
            for statement in self.statements:
                con.execute(statement)
            return con.execute("select * from features.candidate_customer_features order by customer_id").fetchall()


@pytest.fixture(scope="module")
def builder(project: Any, compiled: dict[str, str]) -> Builder:
    return Builder(project, compiled)


def _fact(entity: str, known: int, *, began: int = 0, amount: int = 1, key: int = 1) -> Fact:
    return Fact(entity, key, "ada", _before(known), _before(known + began), amount)


def look_back(builder: Builder, told: list[Fact]) -> None:
    by_then = [fact for fact in told if fact.known <= AS_OF]
    later = [fact for fact in told if fact.known > AS_OF]
    assert builder.build(by_then + later) == builder.build(by_then)


@given(told=st.lists(facts, max_size=12))
@example(told=[_fact("orders", 5, amount=0), _fact("orders", -1, began=6, amount=2)])
@example(told=[_fact("subscriptions", 5), _fact("subscriptions", -1, began=6, amount=2)])
@example(told=[_fact("events", 0), _fact("events", -1, amount=2), _fact("requests", 0), _fact("requests", -1)])
@example(told=[_fact("order_lines", 0, amount=3), _fact("order_lines", -1, amount=-3), _fact("orders", 0)])
@example(told=[_fact("member", -1), _fact("accounts", 9, amount=2), _fact("accounts", -9, amount=3)])
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_past_stays_what_it_was(builder: Builder, told: list[Fact]) -> None:
    look_back(builder, told)


@pytest.mark.slow
@given(told=st.lists(facts, max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_past_stays_what_it_was_many_times_over(builder: Builder, told: list[Fact]) -> None:
    look_back(builder, told)


def test_what_is_known_by_then_counts_up_to_the_moment_itself(builder: Builder) -> None:
    """So the comparison above has something to compare."""
    nothing = builder.build([])
    assert len(nothing) == len(PEOPLE)
    for entity in ("orders", "events", "requests", "tickets", "subscriptions", "invoices", "form_submissions"):
        assert builder.build([_fact(entity, 0, amount=3)]) != nothing, entity
        assert builder.build([_fact(entity, -1, amount=3)]) == nothing, entity
