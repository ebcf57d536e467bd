"""Consent at loading: what a person does not allow is not kept, and whoever is unknown has allowed nothing."""

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.errors import NotFoundError
from segmentation.identity.candidate import build_candidate as build_identity
from segmentation.identity.catalog import IdentityCatalog
from segmentation.identity.publish import publish as publish_identity
from segmentation.identity.withholding.screening import Withholding, screen_consent
from segmentation.run import Run
from segmentation.sources.candidate import build_candidate
from segmentation.sources.mapping import load_mappings
from segmentation.sources.publish import publish
from segmentation.sources.withheld import REASONS, count_withheld
from segmentation.warehouse import Connection

START = datetime(2026, 10, 1)
EVENTS = """\
source: app
owner: team:product
feeds:
  - folder: events
    entities:
      - entity: events
        {ask}
        columns:
          event_id: id
          event_type: kind
          occurred_at: at
          user_id: user
          email: mail
          anonymous_id: cookie
          page: {page}
  - folder: records
    entities:
      - entity: customer_records
        {ask}
        columns: {{source_customer_id: id, updated_at: at, user_id: user, email: mail}}
  - folder: decisions
    entities:
      - entity: consent_events
        columns:
          consent_event_id: id
          user_id: user
          email: mail
          anonymous_id: cookie
          phone: phone
          purpose: purpose
          consent_state: state
          occurred_at: at
"""
ASKS = "consent: {purposes: [analytics], without: drop}"


@dataclass
class Desk:
    """Where rows land, and what is done with them."""

    con: Connection
    catalog: IdentityCatalog
    folder: Path
    run: Run
    ask: str = ASKS
    page: str = "page"
    number: int = 0
    files: int = 0
    pending: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def say(self, state: str, *, at: int = 0, purpose: str = "analytics", **who: str) -> None:
        """Let somebody decide, at a minute."""
        self._add("decisions", at, purpose=purpose, state=state, **who)

    def event(self, at: int = 10, **values: str) -> str:
        return self._add("events", at, kind="page_view", **values)

    def record(self, at: int = 10, **values: str) -> str:
        return self._add("records", at, **values)

    def _add(self, folder: str, at: int, **values: str) -> str:
        self.number += 1
        row = {"id": f"{folder[0]}{self.number}", "at": f"{START + timedelta(minutes=at):%Y-%m-%d %H:%M:%S}"}
        self.pending.setdefault(folder, []).append(row | values)
        return row["id"]

    def land(self) -> None:
        for kind, rows in self.pending.items():
            self.files += 1
            path = self.folder / "landing" / kind / f"{self.files:03}.ndjson"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        self.pending.clear()

    def load(self, *, publishes: bool = True) -> Withholding:
        """Load what waits, as the stage does."""
        self.land()
        sources = self.folder / "sources"
        sources.mkdir(exist_ok=True)
        (sources / "app.yml").write_text(EVENTS.format(ask=self.ask or "one_row_per: []", page=self.page))
        mappings = load_mappings(sources, known_purposes=self.catalog.purposes.by_name)
        self.run = replace(self.run, run_id=f"{self.run.run_id}+")
        build_candidate(self.con, self.run, landing=self.folder / "landing", mappings=mappings)
        done = screen_consent(self.con, self.run, mappings, self.catalog.rules, self.catalog.purposes)
        assert self.con.execute(
            "select count(*) from sources.candidate_files where status = 'staged' "
            "and rows_read <> rows_loaded + rows_duplicate + rows_quarantined + rows_withheld"
        ).fetchall() == [(0,)]
        if publishes:
            publish(self.con, self.run)
        return done

    def resolve(self) -> None:
        build_identity(self.con, self.run, self.catalog)
        publish_identity(self.con, self.run)

    def kept(self, entity: str = "events", key: str = "event_id") -> set[str]:
        return {row for (row,) in self.con.execute(f"select {key} from sources.{entity}").fetchall()}

    def withheld(self) -> list[tuple[Any, ...]]:
        return self.con.execute(
            "select entity, field, purpose, reason, sum(n_rows)::bigint from sources.withheld group by all order by all"
        ).fetchall()


@pytest.fixture
def desk(con, catalog, tmp_path, run):
    return Desk(con, catalog, tmp_path, replace(run, as_of=START + timedelta(days=3)))


def test_only_what_was_allowed_when_it_happened_and_still_is_gets_in(desk):
    desk.say("granted", at=5, user="ann")
    desk.say("granted", at=1, user="bob")
    desk.say("withdrawn", at=20, user="bob")
    desk.say("denied", at=1, user="cem")
    desk.say("granted", at=8, user="cem")
    too_early, allowed = desk.event(4, user="ann"), desk.event(5, user="ann")
    withdrawn = desk.event(10, user="bob")
    refused_then, agreed = desk.event(3, user="cem"), desk.event(9, user="cem")
    unknown, nameless = desk.event(user="dee"), desk.event()
    assert desk.load() == Withholding(5, 0)
    assert desk.kept() == {allowed, agreed}
    assert not {too_early, withdrawn, refused_then, unknown, nameless} & desk.kept()
    assert desk.withheld() == [
        ("events", "", "analytics", "refused", 1),
        ("events", "", "analytics", "refused_then", 1),
        ("events", "", "analytics", "undecided", 2),
        ("events", "", "analytics", "undecided_then", 1),
    ]
    [(read, loaded, withheld)] = desk.con.execute(
        "select rows_read, rows_loaded, rows_withheld from sources.files where entity = 'events'"
    ).fetchall()
    assert (read, loaded, withheld) == (7, 2, 5)


def test_a_customers_decision_counts_under_whichever_identifier_it_was_given(desk):
    desk.ask = ""
    desk.record(1, user="ann", mail="ann@mail.test")
    desk.record(1, user="bob", mail="bob@mail.test")
    desk.say("granted", at=2, mail="Ann@mail.test ")
    desk.say("granted", at=2, user="bob")
    desk.load()
    desk.resolve()
    desk.ask = ASKS
    # What arrived after identity looked counts as well.
    desk.say("denied", at=15, mail=" BOB@mail.test")
    allowed = desk.event(5, user="ann", cookie="new")
    desk.event(5, user="bob")
    before = desk.event(1, user="ann")
    assert desk.load().rows_dropped == 2
    assert allowed in desk.kept()
    assert before not in desk.kept()


def test_a_refusal_of_anybody_in_the_row_wins_and_a_strangers_grant_is_none(desk):
    desk.ask = ""
    desk.record(1, user="ann", mail="ann@mail.test")
    desk.record(1, user="bob", mail="bob@mail.test")
    desk.record(1, user="cem", mail="cem@mail.test")
    desk.say("granted", at=2, user="ann")
    desk.say("denied", at=2, user="bob")
    desk.load()
    desk.resolve()
    desk.ask = ASKS
    both = desk.event(5, user="ann", mail="bob@mail.test")
    lent = desk.event(5, user="cem", mail="ann@mail.test")
    own = desk.event(5, user="ann", mail="new@mail.test")
    new = desk.event(5, user="nobody yet", mail="ann@mail.test")
    desk.load()
    assert not {both, lent} & desk.kept()
    # Who is not known has no better word than the customer that the row leads to.
    assert {own, new} <= desk.kept()


def test_what_is_above_and_below_a_purpose_counts_as_the_hierarchy_says(desk):
    desk.ask = "consent: {purposes: [marketing.email]}"
    desk.say("granted", at=1, user="above", purpose="marketing")
    desk.say("granted", at=1, user="partly", purpose="marketing")
    desk.say("denied", at=2, user="partly", purpose="marketing.email")
    desk.say("granted", at=1, user="below", purpose="marketing.email")
    desk.say("denied", at=1, user="below", purpose="marketing")
    desk.say("granted", at=1, user="beside", purpose="marketing.ads")
    events = {user: desk.event(user=user) for user in ("above", "partly", "below", "beside")}
    desk.load()
    assert desk.kept() == {events["above"]}


def test_at_the_same_moment_the_refusal_counts_and_a_corrected_decision_is_the_newest(desk):
    desk.say("granted", at=1, user="ann")
    desk.say("denied", at=1, user="ann")
    desk.say("granted", at=1, user="bob")
    wrong = dict(desk.pending["decisions"][-1])
    desk.land()
    desk.pending["decisions"] = [wrong | {"state": "denied", "user": "cem"}]
    desk.say("granted", at=1, user="dee")
    allowed = [desk.event(user=user) for user in ("ann", "bob", "cem", "dee")][-1]
    desk.load()
    assert desk.kept() == {allowed}


def test_who_agrees_again_is_loaded_from_then_on_and_what_was_dropped_stays_away(desk):
    desk.say("denied", at=1, user="ann")
    gone = desk.event(5, user="ann")
    desk.load()
    desk.resolve()
    desk.say("granted", at=20, user="ann")
    late, back = desk.event(6, user="ann"), desk.event(21, user="ann")
    desk.load()
    assert desk.kept() == {back}
    # Read again in another way: what happened before stays what it was.
    desk.page = "{column: page, consent: {purposes: [marketing]}}"
    desk.load()
    assert desk.kept() == {back}
    assert not {gone, late} & desk.kept()


def test_undecided_people_are_loaded_where_the_mapping_says_so_and_refusals_still_count(desk):
    desk.ask = "consent: {purposes: [analytics], undecided: load}"
    desk.say("denied", at=1, user="bob")
    desk.say("denied", at=20, user="cem")
    kept = {desk.event(user="ann"), desk.event()}
    desk.event(user="bob")
    desk.event(user="cem")
    desk.load()
    assert desk.kept() == kept
    assert desk.withheld() == [("events", "", "analytics", "refused", 2)]


def test_purposes_that_need_no_consent_are_never_asked(desk):
    desk.ask = "consent: {purposes: [essential.service]}"
    event = desk.event(user="ann")
    assert desk.load() == Withholding(0, 0)
    assert desk.kept() == {event}


def test_a_field_is_stripped_and_its_row_loaded(desk):
    desk.ask = ""
    desk.page = "{column: page, consent: {purposes: [marketing, analytics], without: strip}}"
    desk.say("granted", at=1, user="ann")
    desk.say("granted", at=1, user="ann", purpose="marketing")
    desk.say("granted", at=1, user="bob", purpose="marketing")
    ann, bob, cem = (desk.event(user=user, page=f"/{user}") for user in ("ann", "bob", "cem"))
    empty = desk.event(user="cem")
    assert desk.load() == Withholding(0, 2)
    pages = dict(desk.con.execute("select event_id, page from sources.events").fetchall())
    assert pages == {ann: "/ann", bob: None, cem: None, empty: None}
    assert desk.withheld() == [
        ("events", "page", "analytics", "undecided", 1),
        ("events", "page", "marketing", "undecided", 1),
    ]
    again = screen_consent(desk.con, desk.run, (), desk.catalog.rules, desk.catalog.purposes)
    assert again == Withholding(0, 0)


def test_records_say_how_things_stand_so_only_what_is_allowed_now_counts(desk):
    desk.say("granted", at=20, user="ann")
    desk.say("denied", at=20, user="bob")
    ann = desk.record(1, user="ann")
    desk.record(1, user="bob")
    desk.load()
    assert desk.kept("customer_records", "source_customer_id") == {ann}


def test_a_grant_that_is_not_yet_given_allows_nothing_and_a_later_refusal_counts(desk):
    future = 4 * 24 * 60
    desk.say("granted", at=future, user="ann")
    desk.say("granted", at=1, user="bob")
    desk.say("denied", at=future, user="bob")
    desk.event(user="ann")
    desk.event(user="bob")
    desk.load()
    assert desk.kept() == set()
    assert [reason for *_, reason, _ in desk.withheld()] == ["refused", "undecided"]


def test_a_shared_or_blocked_identifier_grants_nothing_and_refuses(desk):
    desk.ask = ""
    for user in range(5):
        desk.record(1, user=f"u{user}", mail="family@mail.test")
    desk.load()
    desk.resolve()
    assert desk.con.execute(
        "select distinct status from identity.identifiers where id_value = 'family@mail.test'"
    ).fetchall() == [("shared",)]
    desk.ask = ASKS
    desk.say("granted", at=1, mail="family@mail.test")
    desk.say("granted", at=1, user="guest")
    desk.say("granted", at=1, user="u1")
    family, guest, own = desk.event(mail="family@mail.test"), desk.event(user="guest"), desk.event(user="u1")
    desk.load()
    assert own in desk.kept()
    assert not {family, guest} & desk.kept()
    desk.say("denied", at=30, mail="family@mail.test")
    mixed = desk.event(user="u1", mail="family@mail.test")
    desk.load()
    assert mixed not in desk.kept()


def test_nothing_of_a_dropped_or_refused_row_lies_anywhere(desk):
    desk.event(user="secret-one", page="/secret-page")
    desk.land()
    desk.pending["events"] = [{"id": "x", "at": "no moment", "user": "secret-two", "kind": "page_view"}]
    desk.land()
    (desk.folder / "landing" / "events" / "broken.ndjson").write_text('{"id": "secret-three"\n')
    desk.load()
    tables = desk.con.execute(
        "select schema_name || '.' || table_name from duckdb_tables() where not temporary order by 1"
    ).fetchall()
    assert "sources.quarantine" in {name for (name,) in tables}
    for (name,) in tables:
        assert "secret" not in str(desk.con.execute(f"from {name}").fetchall()), name
    codes = desk.con.execute("select reason_code, reason, raw from sources.quarantine order by 1").fetchall()
    assert codes == [("not_an_object", "not_an_object", "{}"), ("wrong_type:occurred_at",) * 2 + ("{}",)]


def test_loading_twice_is_loading_once(desk):
    desk.say("granted", at=1, user="ann")
    kept = {desk.event(user="ann")}
    desk.event(user="bob")
    first = desk.load(publishes=False)
    assert desk.load() == first == Withholding(1, 0)
    counted = desk.withheld()
    publish(desk.con, desk.run)
    assert desk.load() == Withholding(0, 0)
    assert (desk.kept(), desk.withheld()) == (kept, counted)


ORDERS = """\
source: shop
owner: team:shop
feeds:
  - folder: orders
    entities:
      - entity: orders
        consent: {purposes: [analytics]}
        columns: {order_id: id, order_status: {constant: paid}, ordered_at: at, user_id: user}
  - folder: lines
    entities:
      - entity: order_lines
        columns:
          order_id: order
          order_line_id: id
          ordered_at: at
          quantity: {constant: 1}
          unit_price_micros: {constant: 1}
"""


def test_lines_go_with_their_order_in_whatever_file_they_come(desk):
    (desk.folder / "sources").mkdir()
    (desk.folder / "sources" / "shop.yml").write_text(ORDERS)
    desk.say("granted", at=1, user="ann")
    mine, theirs = desk._add("orders", 5, user="ann"), desk._add("orders", 5, user="bob")
    first = desk._add("lines", 5, order=mine)
    desk._add("lines", 5, order=theirs)
    assert desk.load() == Withholding(2, 0)
    # Nobody can say whose order it is, once that was dropped.
    second = desk._add("lines", 6, order=mine)
    desk._add("lines", 6, order=theirs)
    assert desk.load() == Withholding(1, 0)
    assert desk.kept("order_lines", "order_line_id") == {first, second}
    # Whoever withdraws has no more lines of an order that was loaded before.
    desk.say("withdrawn", at=50, user="ann")
    desk.pending["orders"] = [{"id": mine, "at": f"{START + timedelta(minutes=60):%Y-%m-%d %H:%M:%S}", "user": "ann"}]
    desk._add("lines", 60, order=mine)
    assert desk.load() == Withholding(2, 0)
    assert desk.withheld() == [
        ("order_lines", "", "analytics", "part", 3),
        ("orders", "", "analytics", "refused", 1),
        ("orders", "", "analytics", "undecided", 1),
    ]


_DECISIONS = st.lists(
    st.tuples(
        st.integers(0, 8),
        st.sampled_from(["u0", "u1"]),
        st.sampled_from(["marketing", "marketing.email"]),
        st.sampled_from(["granted", "denied", "withdrawn", "odd"]),
    ),
    max_size=8,
)


def _state(decisions, user, moment):
    """What the rules say of one person at a moment, read decision by decision."""
    latest: dict[str, tuple[int, bool]] = {}
    for minute, who, purpose, word in decisions:
        if who == user and minute <= moment:
            known = latest.get(purpose, (-1, True))
            granted = word == "granted"
            if minute >= known[0]:
                latest[purpose] = (minute, granted and (minute > known[0] or known[1]))
    said = [granted for _, granted in latest.values()]
    return "refused" if False in said else "granted" if said else "undecided"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_DECISIONS, st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["u0", "u1", "u2"])), min_size=1, max_size=6))
def test_every_event_is_judged_as_reading_decision_by_decision_says(catalog, run, decisions, events):
    with TemporaryDirectory() as folder, duckdb.connect() as con:
        con.execute("set preserve_insertion_order = false")
        desk = Desk(con, catalog, Path(folder), replace(run, as_of=START + timedelta(days=3)))
        desk.ask = "consent: {purposes: [marketing.email]}"
        for minute, user, purpose, state in decisions:
            desk.say(state, at=minute, user=user, purpose=purpose)
        expected, reasons = set(), Counter()
        for minute, user in events:
            event = desk.event(minute, user=user)
            now, then = _state(decisions, user, 99), _state(decisions, user, minute)
            if now == then == "granted":
                expected.add(event)
            else:
                reasons[now if now != "granted" else f"{then}_then"] += 1
                if now == "undecided" and then == "refused":
                    raise AssertionError("a refusal never wears off")
        desk.load()
        assert desk.kept() == expected
        assert {reason: n for *_, reason, n in desk.withheld()} == reasons


def test_the_command_and_the_pages_count_it(desk):
    desk.event(user="ann")
    desk.load(publishes=False)
    [one] = count_withheld(desk.con, of_candidate=True)
    assert (one.source, one.entity, one.field, one.purpose, one.reason, one.rows) == (
        "app", "events", "", "analytics", "undecided", 1
    )  # fmt: skip
    assert count_withheld(desk.con) == []
    publish(desk.con, desk.run)
    assert count_withheld(desk.con, entity="events") == [one]
    assert count_withheld(desk.con, entity="orders") == []
    assert one.reason in REASONS
    with pytest.raises(NotFoundError, match="did you mean events"):
        count_withheld(desk.con, entity="event")
