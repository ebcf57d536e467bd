"""Exactly what was planned is what happens, or nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from segmentation import audit
from segmentation.errors import CandidateError, GateClosedError
from segmentation.segments import change_classes, plan_effects
from segmentation.segments.application import Outcome
from segmentation.segments.catalog import digest
from segmentation.segments.plan import Base, read_base
from segmentation.segments.plan_file import PlanError, plan_hash, read_plan
from segmentation.segments.reasoning import Answer

from .conftest import Company
from .shop import Shop, narrow, section, stop_at


@pytest.fixture
def shop(shop: Shop) -> Shop:
    """A shop whose plans say what these tests ask: all else takes its time."""
    shop.sections = [plan_effects.guard_section, plan_effects.pin_section]
    return shop


def test_a_proof_that_a_busy_machine_does_not_find_stops_no_plan(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow(shop)
    shop.write_plan(tmp_path / "plan.json")
    monkeypatch.setattr(change_classes, "implies", lambda *_: Answer("unknown"))
    assert shop.apply(tmp_path / "plan.json").state == "applied"
    assert shop.members("vip") == {"c_a"}


def test_apply_publishes_exactly_the_plan_and_records_who_approved_it(shop: Shop, tmp_path: Path) -> None:
    narrow(shop)
    path = tmp_path / "plan.json"
    found = shop.write_plan(path)
    done = shop.apply(path, audit_folder=tmp_path / "audit")
    assert (done.state, done.changes, done.differences) == ("applied", 2, ())
    assert shop.members("vip") == {"c_a"}
    assert shop.rows("select approver, reason, plan_hash from segments.approvals") == [
        ("ana", "SEG-12", plan_hash(found))
    ]
    with shop.warehouse.write() as con:
        assert [entry.action for entry in audit.read_log(con)] == ["segments.approve", "segments.apply"]
        assert audit.verify(con, tmp_path / "audit").problem is None
    assert not shop.plan().has_changes
    assert shop.apply(path).state == "applied_before"


def test_a_plan_that_changes_nothing_runs_nothing(shop: Shop, tmp_path: Path) -> None:
    shop.write_plan(tmp_path / "plan.json")
    done = shop.apply(tmp_path / "plan.json", run_stage=lambda _: pytest.fail("nothing is to be run"))
    assert (done.state, done.publication) == ("nothing_to_do", 1)
    assert shop.rows("select * from segments.approvals") == []


def test_without_approval_a_run_keeps_what_is_live(shop: Shop, tmp_path: Path) -> None:
    narrow(shop)
    shop.run()
    assert shop.members("vip") == {"c_a", "c_b"}
    shop.write_plan(tmp_path / "plan.json")
    assert shop.apply(tmp_path / "plan.json").differences == ()
    assert shop.members("vip") == {"c_a"}


@pytest.mark.parametrize(
    ("move", "told"),
    [
        (lambda shop: shop.company.write("core", "mrr_micros > 1", group="tier", precedence=2), "catalog was edited"),
        (lambda shop: (shop.company.folder / "policy.yml").write_text("guards: {default: {max_exits: 9}}\n"), "policy"),
        (lambda shop: shop.features({"customer_id": "c_a", "mrr_micros": 500}), "features were published"),
        (lambda shop: shop.run(), "membership was published"),
        (
            lambda shop: shop.on(
                lambda company: company.fill("segments.pins", pin_id="p1", segment_key="core", kind="kill")
            ),
            "a segment was pinned",
        ),
        (
            lambda shop: shop.company.write(
                "core", "mrr_micros > 0", group="tier", precedence=2, exclude="[{customer: c_c, reason: asked}]"
            ),
            "catalog was edited",
        ),
    ],
)  # fmt: skip
def test_apply_refuses_what_has_moved_and_says_which(
    shop: Shop, tmp_path: Path, move: Callable[[Shop], object], told: str
) -> None:
    narrow(shop)
    shop.write_plan(tmp_path / "plan.json")
    move(shop)
    live = shop.rows("select * from segments.membership order by all")
    with pytest.raises(PlanError, match=told) as refused:
        shop.apply(tmp_path / "plan.json")
    if told.startswith("a segment was pinned"):
        # The readers' copy does not know of the pin, so another plan would be no better.
        assert "the readers' copy is behind: strata run --from segments" in refused.value.repair
        assert shop.plan().base.pins == ""
    assert shop.rows("select * from segments.membership order by all") == live
    assert shop.rows("select * from segments.approvals") == []


def test_a_plan_that_was_changed_is_refused_even_with_a_fitting_hash(shop: Shop, tmp_path: Path) -> None:
    narrow(shop)
    path = tmp_path / "plan.json"
    shop.write_plan(path)
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["expected"]["changes"] = 1
    path.write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(PlanError, match="changed after it was made"):
        shop.apply(path)
    facts.pop("hash")
    path.write_text(json.dumps({**facts, "hash": digest(facts)}), encoding="utf-8")
    with pytest.raises(PlanError, match="says otherwise"):
        shop.apply(path)
    assert shop.members("vip") == {"c_a", "c_b"}


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "no plan"), ("{", "no plan"), ("[]", "no plan of this version"), ('{"format": "strata.plan/9"}', "version")],
)  # fmt: skip
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "plan.json"
    with pytest.raises(PlanError, match="can't be read"):
        read_plan(path)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PlanError, match=told):
        read_plan(path)


def test_broken_guards_are_refused_unless_they_are_accepted(shop: Shop, tmp_path: Path) -> None:
    (shop.company.folder / "policy.yml").write_text("guards: {segments: {vip: {max_exits: 0}}}\n", encoding="utf-8")
    narrow(shop)
    found = shop.write_plan(tmp_path / "plan.json")
    assert section(found, "guards").rows == (("vip", "max_exits", "0", "1"),)
    with pytest.raises(PlanError, match="breaks guards of vip"):
        shop.apply(tmp_path / "plan.json")
    assert shop.apply(tmp_path / "plan.json", accepted=["guards_are_kept"]).differences == ()


@pytest.mark.parametrize("step", ["checked", "approved", "published", "verified"])
def test_a_kill_at_any_step_of_apply_is_gone_on_from(shop: Shop, tmp_path: Path, step: str) -> None:
    narrow(shop)
    path = tmp_path / "plan.json"
    shop.write_plan(path)
    with pytest.raises(KeyboardInterrupt):
        shop.apply(path, at_step=stop_at(step))
    is_live = step in {"published", "verified"}
    assert shop.members("vip") == ({"c_a"} if is_live else {"c_a", "c_b"})
    done = shop.apply(path)
    assert (done.state, done.differences) == ("applied_before" if is_live else "applied", ())
    assert shop.members("vip") == {"c_a"}
    assert shop.rows("select count(*) from segments.approvals") == [(1,)]


@pytest.mark.parametrize("step", ["changes", "membership", "masks", "publication"])
def test_a_kill_while_publishing_leaves_what_was_live_and_the_approval(shop: Shop, tmp_path: Path, step: str) -> None:
    narrow(shop)
    path = tmp_path / "plan.json"
    shop.write_plan(path)
    with pytest.raises(KeyboardInterrupt):
        shop.apply(path, run_stage=lambda base: shop.run(base, at_step=stop_at(step)))
    assert shop.members("vip") == {"c_a", "c_b"}
    shop.run()
    assert shop.members("vip") == {"c_a"}


def test_a_gate_that_stays_closed_leaves_the_approval_to_the_next_run(shop: Shop, tmp_path: Path) -> None:
    narrow(shop)
    path = tmp_path / "plan.json"
    shop.write_plan(path)

    def held_back(_: Base) -> str:
        raise GateClosedError("the gate of segments is closed")

    with pytest.raises(GateClosedError):
        shop.apply(path, run_stage=held_back)
    assert shop.members("vip") == {"c_a", "c_b"}
    shop.run()
    assert shop.members("vip") == {"c_a"}


def test_a_pinned_segment_moves_nobody_by_its_rule(shop: Shop, tmp_path: Path) -> None:
    def freeze(company: Company) -> None:
        company.fill("segments.pins", pin_id="p1", segment_key="vip", kind="freeze", author="ana")
        for customer in ("c_a", "c_b"):
            company.fill("segments.pin_members", pin_id="p1", customer_id=customer)

    shop.on(freeze)
    shop.run()
    narrow(shop)
    found = shop.write_plan(tmp_path / "plan.json")
    assert [(row[0], row[2]) for row in section(found, "pins").rows] == [("vip", "yes")]
    assert found.expected.changes == 0
    assert shop.apply(tmp_path / "plan.json").differences == ()
    assert shop.members("vip") == {"c_a", "c_b"}
    assert shop.rows("select segment_version from segments.catalog where segment_key = 'vip'") == [(2,)]


def test_a_run_in_between_is_told_and_not_hidden(shop: Shop, tmp_path: Path) -> None:
    narrow(shop)
    shop.write_plan(tmp_path / "plan.json")

    def run_after_another(_: Base) -> str:
        shop.on(lambda company: company.alter("c_d", mrr_micros=3))
        shop.run()
        return shop.run()

    done = shop.apply(tmp_path / "plan.json", run_stage=run_after_another)
    assert done.differences[0] == "another run published in between"


def test_a_column_that_is_gone_between_plan_and_apply_stops_it(shop: Shop, tmp_path: Path) -> None:
    narrow(shop)
    shop.write_plan(tmp_path / "plan.json")
    shop.on(lambda company: company.con.execute("alter table features.customer_features drop column mrr_micros"))
    with pytest.raises(CandidateError, match="mrr_micros"):
        shop.apply(tmp_path / "plan.json")
    assert shop.members("vip") == {"c_a", "c_b"}


def test_two_applies_at_once_publish_once(shop: Shop, tmp_path: Path) -> None:
    narrow(shop)
    path = tmp_path / "plan.json"
    shop.write_plan(path)
    outcomes: list[Outcome] = []

    def run_beside_another(base: Base) -> str:
        run_id = shop.run(base)
        outcomes.append(shop.apply(path))
        return run_id

    done = shop.apply(path, run_stage=run_beside_another)
    assert (done.state, done.differences) == ("applied", ())
    assert outcomes[0].state == "applied_before"
    assert shop.rows("select count(*) from segments.publications") == [(2,)]


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda shop: shop.company.write("core", "mrr_micros > 50", group="tier", precedence=2), "catalog was edited"),
        (lambda shop: (shop.company.folder / "policy.yml").write_text("quota: {live_segments: 9}\n"), "policy"),
        (lambda shop: shop.features({"customer_id": "c_a", "mrr_micros": 500}), "features were published"),
    ],
)  # fmt: skip
def test_what_moves_between_approval_and_run_is_not_published(
    shop: Shop, tmp_path: Path, edit: Callable[[Shop], object], told: str
) -> None:
    narrow(shop)
    shop.write_plan(tmp_path / "plan.json")
    live = shop.rows("select * from segments.membership order by all")

    def run_after_an_edit(base: Base) -> str:
        edit(shop)
        return shop.run(read_base(base.text))

    with pytest.raises(PlanError, match=told):
        shop.apply(tmp_path / "plan.json", run_stage=run_after_an_edit)
    assert shop.rows("select * from segments.membership order by all") == live
    assert shop.rows("select count(*) from segments.publications") == [(1,)]
    assert shop.rows("select ended_at from segments.approvals where unit_key = 'group:tier'") == [(None,)]
