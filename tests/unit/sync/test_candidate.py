"""Who is in a view, what a destination should hold for them, and what the gate is told."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.errors import CandidateError, CatalogError, CatalogProblems

STORE = "essential.service"


def values(company, view_id=STORE):
    rows = company.con.execute(
        "select customer_id, value from sync.candidate_values where view_id = ?", [view_id]
    ).fetchall()
    return {row[0]: json.loads(row[1]) for row in rows}


def changes(company):
    return company.con.execute(
        "select op, customer_id, reason, priority from sync.candidate_changes where view_id = ? order by seq", [STORE]
    ).fetchall()


def test_a_value_is_the_whole_state_of_a_customer(company):
    company.member("c_0", "vip", "risky", version=4)
    company.build()
    assert values(company)["c_0"] == {"segments": {"risky": 4, "vip": 4}, "groups": {"tier": "vip"}}


def test_a_customer_in_no_segment_is_in_the_view(company):
    company.build()
    assert values(company)["c_9"] == {"segments": {}, "groups": {}}


@pytest.mark.parametrize("status", ["merged", "retired", "erased"])
def test_only_active_customers_are_in_the_view(company, status):
    company.customer("c_0", status=status)
    company.build()
    assert "c_0" not in values(company)
    assert company.summary()[STORE]["unknown_customers"] == 1


def test_an_active_customer_whom_no_rule_has_seen_is_not_in_the_view(company):
    company.con.execute("delete from features.customer_features where customer_id in ('c_9', 'c_8')")
    company.build()
    # c_9 is in no segment: nobody knows whether it should be. c_8 is in one.
    assert "c_9" not in values(company)
    assert "c_8" in values(company)


def test_a_merged_id_points_to_the_surviving_customer(company):
    company.merge("c_0", "c_1")
    company.build()
    assert values(company)["c_0"] == {"merged_into": "c_1"}
    assert company.summary()[STORE]["aliases"] == 1


def test_a_merged_id_is_gone_when_its_survivor_is(company):
    company.merge("c_0", "c_1")
    company.customer("c_1", status="erased")
    company.build()
    assert not {"c_0", "c_1"} & set(values(company))


def test_without_consent_for_every_purpose_of_the_view_nobody_is_in_it(company):
    company.change_destination("online_store", purposes=["marketing", "analytics"])
    company.consent("c_1", "marketing", allowed=True)
    for customer in ("c_2", "c_3"):
        company.consent(customer, "marketing", allowed=True)
        company.consent(customer, "analytics", allowed=True)
    company.consent("c_4", "marketing", allowed=True)
    company.consent("c_4", "analytics", allowed=False)
    company.build()
    assert set(values(company, "analytics+marketing")) == {"c_2", "c_3", "#segments"}
    assert company.summary()["analytics+marketing"]["consent_violations"] == 0


def test_consents_that_contradict_each_other_mean_no(company):
    company.change_destination("online_store", purposes=["marketing"])
    company.consent("c_1", "marketing", allowed=True)
    company.con.execute(
        "insert into identity.customer_consents by name select * replace (false as is_allowed) "
        "from identity.customer_consents where customer_id = 'c_1' and purpose = 'marketing'"
    )
    company.build()
    assert set(values(company, "marketing")) == {"#segments"}


def test_a_purpose_that_is_not_based_on_consent_needs_none(company):
    company.con.execute("delete from identity.customer_consents")
    company.build()
    assert set(values(company)) == {"#segments"}
    company.build(unconditional_purposes=("essential.service",))
    assert len(values(company)) == 11


def test_a_withdrawn_consent_removes_the_customer_first(company):
    company.sync()
    company.member("c_0", "standard")
    company.consent("c_5", STORE, allowed=False)
    company.customer("c_6", status="erased")
    company.member("c_6")
    company.build()
    assert changes(company) == [
        ("delete", "c_5", "consent", 0),
        ("delete", "c_6", "gone", 0),
        ("update", "c_0", "data", 1),
    ]
    assert company.summary()[STORE]["consent_removals"] == 1


def test_what_a_segment_needs_consent_for_is_asked_again(company):
    company.segment("risky", purposes=["analytics"])
    company.consent("c_1", "analytics", allowed=True)
    company.build()
    assert "risky" in values(company)["c_1"]["segments"]
    assert "risky" not in values(company)["c_3"]["segments"]
    assert company.summary()[STORE]["consent_violations"] == 0
    company.build(unconditional_purposes=("essential.service", "analytics"))
    assert "risky" in values(company)["c_3"]["segments"]


def test_a_segment_lost_for_want_of_consent_is_removed_first(company):
    company.segment("risky", purposes=["analytics"])
    company.consent("c_1", "analytics", allowed=True)
    company.sync()
    company.consent("c_1", "analytics", allowed=False)
    company.build()
    assert changes(company) == [("update", "c_1", "consent", 0)]


def test_a_destination_gets_the_segments_it_lists_alone(company):
    company.change_destination("online_store", segments=["vip"])
    company.build()
    (view_id,) = [name for name in company.summary() if name.startswith("essential.service#")]
    held = values(company, view_id)
    assert held["c_0"] == {"segments": {"vip": 1}, "groups": {"tier": "vip"}}
    assert held["c_5"] == {"segments": {}, "groups": {}}
    assert set(held["#segments"]["segments"]) == {"vip"}


def test_a_segment_goes_to_the_destinations_it_names_alone(company):
    company.segment("risky", destinations=["feature_flags"])
    company.build()
    (store_view,) = [name for name in company.summary() if name.startswith("essential.service#")]
    assert set(values(company, store_view)["#segments"]["segments"]) == {"vip", "standard"}
    assert "risky" not in values(company, store_view)["c_1"]["segments"]
    assert set(values(company, "essential.service~segments")["#segments"]["segments"]) == {"vip", "standard", "risky"}


def test_a_segment_of_several_groups_is_told_in_each(company):
    company.segment("bundle")
    company.con.execute(
        """update segments.catalog set definition = '{"groups":{"offer":1,"tier":2}}' where segment_key = 'bundle'"""
    )
    company.member("c_1", "bundle", "risky")
    company.build()
    held = values(company)
    assert held["c_1"] == {"segments": {"bundle": 1, "risky": 1}, "groups": {"offer": "bundle", "tier": "bundle"}}
    assert held["#segments"]["segments"]["bundle"] == {"version": 1, "groups": ["offer", "tier"]}
    assert company.summary()[STORE]["group_conflicts"] == 0
    company.member("c_1", "bundle", "vip")
    company.build()
    assert company.summary()[STORE]["group_conflicts"] == 1


def test_a_segment_that_is_not_evaluated_is_not_offered(company):
    company.segment("draft", is_evaluated=False)
    company.build()
    assert set(values(company)["#segments"]["segments"]) == {"vip", "standard", "risky"}
    assert values(company)["#segments"]["segments"]["vip"] == {"version": 3, "group": "tier"}


def test_destinations_that_may_see_the_same_share_a_view(company):
    company.destinations.append(company.destination("online_store").model_copy(update={"name": "second"}))
    company.build()
    assert company.summary()[STORE]["destinations"] == "online_store, second"


def test_a_disabled_destination_has_no_view(company):
    company.change_destination("feature_flags", enabled=False)
    company.build()
    assert set(company.summary()) == {STORE}


def test_the_gate_is_told_of_two_winners_in_one_group(company):
    company.member("c_0", "vip", "standard")
    company.member("c_1", "risky", version=1)
    company.con.execute(
        "insert into segments.membership by name select * replace (2 as segment_version) "
        "from segments.membership where customer_id = 'c_1'"
    )
    company.build()
    assert company.summary()[STORE]["group_conflicts"] == 2


def test_the_gate_is_told_of_segments_that_are_not_in_the_catalog(company):
    company.member("c_0", "vanished")
    company.build()
    assert company.summary()[STORE]["unlisted_segments"] == 1


def test_the_gate_is_told_of_ids_that_would_be_delivered_twice(company):
    company.merge("c_0", "c_1")
    company.con.execute(
        "insert into identity.customer_aliases by name select * replace ('c_2' as customer_id) "
        "from identity.customer_aliases"
    )
    company.build()
    assert company.summary()[STORE]["duplicate_customers"] == 1


def test_the_figures_add_up(company):
    company.build()
    figures = company.summary()[STORE]
    assert (figures["customers"], figures["known_members"], figures["memberships"]) == (10, 9, 13)
    assert (figures["inserts"], figures["updates"], figures["deletes"]) == (11, 0, 0)
    assert (figures["base_seq"], figures["head_seq"], figures["previous_customers"]) == (0, 11, 0)


def test_the_same_facts_propose_nothing(company):
    company.sync()
    _, report = company.build()
    assert report.rows == {"values": 12, "inserts": 0, "updates": 0, "deletes": 0}
    figures = company.summary()[STORE]
    assert figures["base_ref"] == figures["commit_ref"]


def test_a_candidate_is_the_same_whoever_builds_it(company):
    run, _ = company.build()
    first = company.con.execute("select * from sync.candidate order by all").fetchall()
    company.build(run)
    assert company.con.execute("select * from sync.candidate order by all").fetchall() == first


def test_every_destination_that_lists_an_unknown_segment_is_told(company):
    for name in ("online_store", "feature_flags"):
        company.change_destination(name, segments=["vip", "typo"], where=f"catalog/destinations.yml:{len(name)}")
    with pytest.raises(CatalogProblems) as caught:
        company.build()
    assert sorted(problem.line for problem in caught.value.problems) == [12, 13]


def test_a_listed_segment_must_exist(company):
    company.change_destination("online_store", segments=["vip", "typo"], where="catalog/destinations.yml:7")
    with pytest.raises(CatalogError, match="unknown segments: typo") as caught:
        company.build()
    assert caught.value.where == "catalog/destinations.yml:7"


def test_what_another_run_proposed_is_not_published(company):
    run, _ = company.build()
    company.build()
    with pytest.raises(CandidateError, match="another run replaced it"):
        company.publish(run)


def test_more_segments_than_bits_in_a_word(company):
    keys = [f"many_{n:03d}" for n in range(130)]
    for key in keys:
        company.segment(key)
    company.member("c_0", *keys)
    company.member("c_1", keys[-1])
    company.build()
    assert values(company)["c_0"]["segments"] == dict.fromkeys(keys, 1)
    assert values(company)["c_1"]["segments"] == {keys[-1]: 1}


def test_keys_with_quotes_make_valid_json(company):
    key = 'it\'s "odd"\\'
    company.segment(key, group=key)
    company.member("c_0", key)
    company.sync()
    assert values(company)["c_0"] == {"segments": {key: 1}, "groups": {key: key}}
    assert company.lookup("c_0").segments == {key: 1}


FACTS = st.dictionaries(
    st.integers(0, 5),
    st.tuples(
        st.sets(st.sampled_from(["vip", "risky"])), st.booleans(), st.sampled_from(["active", "active", "erased"])
    ),
    max_size=6,
)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(FACTS, min_size=1, max_size=2))
def test_after_any_history_the_store_holds_what_the_facts_say(company, history):
    for facts in history:
        for number, (keys, allowed, status) in facts.items():
            company.customer(f"c_{number}", status=status)
            company.consent(f"c_{number}", STORE, allowed=allowed)
            company.member(f"c_{number}", *(keys if status == "active" else ()))
        company.sync()
    allowed = {
        row[0]
        for row in company.con.execute(
            "select customer_id from identity.customers join identity.customer_consents using (customer_id) "
            "where status = 'active' and purpose = 'essential.service' and is_allowed"
        ).fetchall()
    }
    members = company.con.execute("select customer_id, segment_key from segments.membership").fetchall()
    held = {key: set(json.loads(value)["segments"]) for key, value in company.held("online_store").items()}
    del held["#segments"]
    assert held == {key: {segment for customer, segment in members if customer == key} for key in allowed}
