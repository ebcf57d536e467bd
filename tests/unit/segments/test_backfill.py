"""Past days: who would have been in a segment, beside what is live and without a trace in it."""

from dataclasses import replace
from datetime import date, datetime, timedelta
from tempfile import TemporaryDirectory

import duckdb
import pytest

from segmentation import audit
from segmentation.contracts import ensure_schema
from segmentation.errors import NotFoundError, StrataError
from segmentation.identity.rule_book import Signature
from segmentation.run import Run
from segmentation.segments.backfill_days import (
    COPY,
    STEPS,
    TABLES,
    Asked,
    ask,
    end_of,
    find_missing,
    keep_day,
    list_asked,
    list_days,
)
from segmentation.segments.backfill_evaluation import clear_copy, decide_day, forget_candidates
from segmentation.segments.backfill_results import find_backfill, list_backfills, list_members_on, list_sizes
from segmentation.segments.backfill_scope import choose_scope, find_parts
from segmentation.segments.pin_decisions import decide_pin
from segmentation.warehouse import transaction

TODAY = datetime(2026, 11, 1)
DAY = date(2026, 10, 20)
SIGNED = Signature("jo", "case 12", datetime(2026, 11, 2))

PEOPLE = ("c_a", "c_b", "c_c", "c_d")


@pytest.fixture
def known(tiers):
    """The tiers as published, with customers whom identity knows and what they allow today."""
    for customer in PEOPLE:
        tiers.fill("identity.customers", customer_id=customer, status="active", first_seen_at=datetime(2026, 9, 1, 12))
    for customer in ("c_a", "c_c"):
        tiers.fill("identity.customer_consents", customer_id=customer, purpose="marketing.email", is_allowed=True)
    tiers.decide()
    return tiers


def scope_of(company, *keys, version=None):
    return choose_scope(company.con, company.folder, company.types, keys, version)


def decided(company, scope, *, day=DAY, **changes):
    """Decide a day in a copy of the company's warehouse, where features are other than today; return who is in what."""
    with TemporaryDirectory() as folder:
        path = f"{folder}/copy.duckdb"
        name = company.rows("select current_database()")[0][0]
        company.con.execute(f"attach '{path}' as copied")
        company.con.execute(f"copy from database {name} to copied")
        company.con.execute("detach copied")
        with duckdb.connect(path) as con:
            copy = replace(company, con=con)
            for customer, values in changes.items():
                copy.alter(customer, **values)
            clear_copy(con)
            forget_candidates(con)
            con.execute("update features.customer_features set as_of = ?", [end_of(day)])
            digest = decide_day(con, Run("backfill", end_of(day), TODAY), scope)
            return digest, sorted(copy.rows("select segment_key, customer_id from backfill.members"))


def keep(company, asked, members, *, day=DAY, digest="d", signature=SIGNED, seq=1, at_step=None, run_id="backfill"):
    """Keep members that a copy is said to have found."""
    con = company.con
    con.execute(f"attach if not exists ':memory:' as {COPY}")
    con.execute(f"create schema if not exists {COPY}.backfill")
    con.execute(f"create or replace table {COPY}.backfill.members (customer_id varchar, segment_key varchar)")
    for key, customer in members:
        con.execute(f"insert into {COPY}.backfill.members values (?, ?)", [customer, key])
    run = Run(run_id, end_of(day), TODAY + timedelta(hours=len(run_id)))
    return keep_day(con, asked, run, digest, signature, publication_seq=seq, at_step=at_step)


def content(company, *, without=()):
    """Return every row of the stage's tables, but for those named."""
    tables = company.rows(
        "select table_schema || '.' || table_name from information_schema.tables "
        "where table_schema in ('segments', 'features', 'ops') and table_catalog = current_database() order by 1"
    )
    return {name: company.rows(f"select * from {name} order by all") for (name,) in tables if name not in without}


BACKFILLS = tuple(f"{schema}.{table}" for schema, table in TABLES)


def test_a_day_is_decided_by_the_features_of_the_day(known):
    scope = scope_of(known, "vip")
    _, members = decided(known, scope, c_a={"mrr_micros": 5}, c_b={"mrr_micros": 700})
    assert members == [("vip", "c_b")]
    # Live it is the other one.
    assert known.members("vip") == {"c_a"}


def test_a_digest_is_of_what_rules_ask_for(known):
    scope = scope_of(known, "vip")
    same, _ = decided(known, scope)
    assert decided(known, scope)[0] == same
    assert decided(known, scope, c_d={"csat_mean": 4.5})[0] == same
    assert decided(known, scope, c_d={"mrr_micros": 1})[0] != same


def test_rivals_and_segments_asked_about_have_a_part(known):
    known.write("watched", "in_segment('core') and is_known")
    known.decide(days=1)
    scope = scope_of(known, "watched")
    assert set(scope.catalog.segments) == {"watched", "vip", "core", "free"}
    assert find_parts(scope.catalog, ["vip"]) == {"vip", "core", "free"}
    # Who would be vip is not core, so is not watched; nothing but what was asked for is found.
    _, members = decided(known, scope, c_b={"mrr_micros": 700}, c_c={"mrr_micros": 7})
    assert members == [("watched", "c_c")]
    # What a rival decides by decides here, too.
    known.write("vip", "mrr_micros >= 1000", group="tier", precedence=1)
    known.decide(days=2)
    assert scope_of(known, "watched").subjects[0].decision_hash != scope.subjects[0].decision_hash


def test_consent_is_asked_of_then_and_of_today(known):
    """Granted then and withdrawn since, or granted since: neither is in it."""
    scope = scope_of(known, "reachable")
    then = {"consented_purposes": ["marketing.email"]}
    none = {"consented_purposes": []}
    _, members = decided(known, scope, c_a=none, c_b=then, c_c=then)
    # c_a allowed it later only, c_b allows it no more.
    assert members == [("reachable", "c_c")]


def test_who_withdrew_consent_to_a_rival_does_not_fall_to_the_next_segment(known):
    """They were a rival's member then, so they were in no other segment of its group."""
    known.write("vip", "mrr_micros >= 100", group="tier", precedence=1, consent="{purposes: [marketing.email]}")
    known.decide(days=1)
    scope = scope_of(known, "vip", "core")
    then = {"mrr_micros": 700, "consented_purposes": ["marketing.email"]}
    _, members = decided(known, scope, c_b=then)
    assert members == [("vip", "c_a")]


def test_a_rule_that_asks_for_consent_sees_what_was_withdrawn(known):
    known.write("readers", "list_contains(consented_purposes, 'marketing.email')")
    known.decide(days=1)
    both = {"consented_purposes": ["marketing.email"]}
    _, members = decided(known, scope_of(known, "readers"), c_b=both, c_c=both)
    assert members == [("readers", "c_a"), ("readers", "c_c")]


def test_entries_of_lists_count_until_their_day(known):
    known.write(
        "listed",
        None,
        kind="list",
        include="[{customer: c_b, reason: 'case 1', until: 2026-10-20}, {customer: c_d, reason: 'case 2'}]",
    )
    known.decide(days=1)
    scope = scope_of(known, "listed")
    assert decided(known, scope, day=date(2026, 10, 19))[1] == [("listed", "c_b"), ("listed", "c_d")]
    assert decided(known, scope, day=date(2026, 10, 20))[1] == [("listed", "c_d")]


def test_a_segment_has_members_until_it_expires(known):
    known.write("campaign", "is_known", expires_on="2026-12-01")
    known.decide(days=1)
    scope = scope_of(known, "campaign")
    assert len(decided(known, scope)[1]) == 3
    assert decided(known, scope, day=date(2026, 12, 1))[1] == []


def test_a_recorded_version_decides(known):
    known.write("vip", "mrr_micros >= 5", group="tier", precedence=1)
    known.decide(days=1)
    live, first = scope_of(known, "vip"), scope_of(known, "vip", version=1)
    assert [live.subjects[0].segment_version, first.subjects[0].segment_version] == [2, 1]
    assert decided(known, live)[1] == [("vip", "c_a"), ("vip", "c_b")]
    assert decided(known, first)[1] == [("vip", "c_a")]
    assert scope_of(known, "vip", version=2) == live


def test_a_segment_that_left_the_catalog_has_versions_still(known):
    known.write("gone", "is_known")
    known.decide(days=1)
    known.remove("gone")
    known.decide(days=2)
    with pytest.raises(NotFoundError, match="left the catalog"):
        scope_of(known, "gone")
    assert len(decided(known, scope_of(known, "gone", version=1))[1]) == 3


def test_a_pin_has_no_part(known):
    with transaction(known.con):
        decide_pin(known.con, "kill", "vip", SIGNED)
    known.decide(days=1)
    assert known.members("vip") == set()
    assert decided(known, scope_of(known, "vip"))[1] == [("vip", "c_a")]


def test_a_canary_holds_for_everybody(known):
    known.write(
        "reachable",
        "true",
        lifecycle="canary",
        canary="{percent: 1, hold: 1}",
        consent="{purposes: [marketing.email]}",
    )
    known.decide(days=1)
    _, members = decided(known, scope_of(known, "reachable"))
    assert members == [("reachable", "c_a"), ("reachable", "c_c")]
    # Its first version is on record, too.
    assert scope_of(known, "reachable", version=1).catalog.segments["reachable"].definition.canary is None


@pytest.mark.parametrize(
    ("keys", "version", "kind", "told"),
    [
        (["vipp"], None, NotFoundError, "did you mean vip"),
        (["vip"], 7, NotFoundError, "has no version 7"),
        (["vip", "core"], 1, StrataError, "2 segments"),
        (["draft"], None, StrataError, "draft"),
    ],
)
def test_what_can_not_be_recomputed_is_refused(known, keys, version, kind, told):
    known.write("draft", "is_known", lifecycle="draft")
    known.decide(days=1)
    with pytest.raises(kind, match=told):
        scope_of(known, *keys, version=version)


def test_a_version_that_fits_no_more_is_refused(known):
    known.write("core", "mrr_micros > 0")
    known.write("plus", "mrr_micros > 1", group="tier", precedence=2)
    known.decide(days=1)
    with pytest.raises(StrataError, match="version 1 of core does not fit"):
        scope_of(known, "core", version=1)


@pytest.mark.parametrize(
    ("first", "last", "told"),
    [
        (date(2026, 10, 20), date(2026, 10, 19), "end before they begin"),
        (date(2026, 8, 31), date(2026, 9, 2), "nothing is known of 2026-08-31"),
        (date(2026, 10, 31), date(2026, 11, 1), "2026-11-01 is not over"),
    ],
)
def test_days_that_can_not_be_recomputed_are_refused(known, first, last, told):
    with pytest.raises(StrataError, match=told):
        list_days(known.con, first, last)


def test_days_reach_from_the_first_sighting_to_what_is_published(known):
    days = list_days(known.con, date(2026, 9, 1), date(2026, 10, 31))
    assert (len(days), days[0], days[-1]) == (61, date(2026, 9, 1), date(2026, 10, 31))
    assert end_of(days[-1]) == datetime(2026, 10, 31, 23, 59, 59)


def test_before_the_first_publication_there_is_no_past(company):
    ensure_schema(company.con, "segments")
    with pytest.raises(StrataError, match="nothing has been published yet"):
        list_days(company.con, DAY, DAY)


def test_keeping_days_touches_nothing_else(known):
    asked = Asked(scope_of(known, "vip"), (DAY,))
    before = content(known, without=(*BACKFILLS, "ops.audit_log"))
    ask(known.con, asked, SIGNED, "backfill")
    keep(known, asked, [("vip", "c_a"), ("vip", "c_b")])
    assert content(known, without=(*BACKFILLS, "ops.audit_log")) == before
    found = find_backfill(known.con, "vip")
    assert list_members_on(known.con, found, DAY) == ["c_a", "c_b"]
    assert (found.days_done, found.days_missing, found.author) == (1, 0, "jo")


def test_the_same_again_writes_nothing(known):
    asked = Asked(scope_of(known, "vip"), (DAY,))
    ask(known.con, asked, SIGNED, "backfill")
    assert keep(known, asked, [("vip", "c_a")]).written == ("vip",)
    before = content(known)

    other = replace(SIGNED, author="eve", at=datetime(2026, 12, 1))
    assert ask(known.con, asked, other, "another") == []
    assert keep(known, asked, [("vip", "c_a")], signature=other, run_id="another").written == ()
    assert content(known) == before


def test_a_day_is_renewed_on_newer_data_alone(known):
    asked = Asked(scope_of(known, "vip"), (DAY,), renew=True)
    ask(known.con, asked, SIGNED, "backfill")
    keep(known, asked, [("vip", "c_a")])
    assert find_missing(known.con, asked) == []
    known.decide(days=1)
    assert find_missing(known.con, replace(asked, renew=False)) == []
    assert find_missing(known.con, asked) == [DAY]
    members = known.rows("select * from segments.backfills")
    # The same members on newer data: the ledger says so, and their rows stay.
    assert keep(known, asked, [("vip", "c_a")], seq=2, run_id="renewed").written == ()
    assert known.rows("select * from segments.backfills") == members
    assert find_missing(known.con, asked) == []
    keep(known, asked, [("vip", "c_b")], seq=2, run_id="renewed")
    assert list_members_on(known.con, find_backfill(known.con, "vip"), DAY) == ["c_b"]


def test_another_decision_makes_a_day_missing(known):
    asked = Asked(scope_of(known, "core"), (DAY,))
    ask(known.con, asked, SIGNED, "backfill")
    keep(known, asked, [("core", "c_b")])
    known.write("vip", "mrr_micros >= 5", group="tier", precedence=1)
    known.decide(days=1)
    # The same version of the segment, but a rival that lets others in.
    changed = Asked(scope_of(known, "core"), (DAY,))
    assert changed.scope.subjects[0].segment_version == 1
    assert find_missing(known.con, changed) == [DAY]


def test_a_stopped_backfill_goes_on_with_the_first_missing_day(known):
    days = tuple(DAY + timedelta(days=number) for number in range(3))
    asked = Asked(scope_of(known, "vip"), days)
    assert ask(known.con, asked, SIGNED, "backfill") == list(days)
    keep(known, asked, [("vip", "c_a")], day=days[0])
    assert ask(known.con, asked, SIGNED, "again") == list(days[1:])
    [found] = list_backfills(known.con)
    assert (found.days_done, found.days_missing, found.next_day) == (1, 2, days[1])
    assert list_asked(known.con, days) == [("vip", 1, "jo", "case 12")]
    assert list_asked(known.con, days[:1]) == []
    with pytest.raises(NotFoundError, match="is not computed"):
        list_members_on(known.con, found, days[1])


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("keys", [["vip"], ["vip", "core"]])
def test_a_kill_at_any_step_leaves_the_day_as_it_was(known, step, keys):
    asked = Asked(scope_of(known, *keys), (DAY,))
    ask(known.con, asked, SIGNED, "backfill")
    members = [("vip", "c_a"), ("core", "c_b")]
    before = content(known)

    def stop(name):
        if name == step:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep(known, asked, members, at_step=stop)
    assert content(known) == before
    assert find_missing(known.con, asked) == [DAY]
    assert keep(known, asked, members).written == tuple(keys)
    assert find_missing(known.con, asked) == []


def test_who_is_gone_since_the_copy_is_not_kept(known):
    """Erased, merged away or withdrawn while a day was computed."""
    asked = Asked(scope_of(known, "reachable", "core"), (DAY,))
    ask(known.con, asked, SIGNED, "backfill")
    known.con.execute("update identity.customers set status = 'erased' where customer_id = 'c_c'")
    members = [(key, customer) for key in ("reachable", "core") for customer in PEOPLE]
    kept = keep(known, asked, members)
    # c_b and c_d never allowed it.
    assert kept.members == {"reachable": 1, "core": 3}
    assert known.rows("select customer_id from segments.backfills where segment_key = 'reachable'") == [("c_a",)]


def test_who_withdraws_later_is_in_no_answer(known):
    days = (DAY, DAY + timedelta(days=1))
    asked = Asked(scope_of(known, "reachable"), days)
    ask(known.con, asked, SIGNED, "backfill")
    keep(known, asked, [("reachable", "c_a"), ("reachable", "c_c")], day=days[0])
    keep(known, asked, [("reachable", "c_c")], day=days[1])
    found = find_backfill(known.con, "reachable")
    sizes = [(day.members, day.entered, day.left) for day in list_sizes(known.con, found)]
    assert sizes == [(2, None, None), (1, 0, 1)]

    known.con.execute("update identity.customer_consents set is_allowed = false where customer_id = 'c_c'")
    assert list_members_on(known.con, found, days[0]) == ["c_a"]
    sizes = [(day.members, day.entered, day.left) for day in list_sizes(known.con, found)]
    assert sizes == [(1, None, None), (0, 0, 1)]


def test_a_request_is_signed_and_in_the_audit_log(known):
    asked = Asked(scope_of(known, "vip"), (DAY,))
    with pytest.raises(StrataError, match="reason"):
        ask(known.con, asked, replace(SIGNED, reason=" "), "backfill")
    with pytest.raises(StrataError, match="e-mail address"):
        ask(known.con, asked, replace(SIGNED, reason="for ada@example.com"), "backfill")
    ask(known.con, asked, SIGNED, "backfill")
    *_, entry = audit.read_log(known.con)
    assert (entry.action, entry.subject, entry.actor) == ("segments.backfill", "vip", "jo")
    assert entry.detail == {
        "version": 1, "from": "2026-10-20", "to": "2026-10-20", "days": 1, "reason": "case 12"
    }  # fmt: skip


def test_nothing_recomputed_is_told_so(known):
    assert list_backfills(known.con) == []
    with pytest.raises(NotFoundError, match="nobody recomputed past days of vip version 3"):
        find_backfill(known.con, "vip", 3)
