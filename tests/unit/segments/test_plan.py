"""Plan and apply: what would happen is told without touching anything, and exactly that is what happens."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from segmentation import audit, contracts
from segmentation.costs.plan_section import cost_section
from segmentation.errors import CandidateError, GateClosedError, StrataError
from segmentation.readers import readable_tables
from segmentation.segments import change_classes, plan_effects, plan_values
from segmentation.segments.application import Outcome, carry_out
from segmentation.segments.approvals import Approver
from segmentation.segments.candidate import build_candidate
from segmentation.segments.in_force import definitions_to_evaluate
from segmentation.segments.listed_entries import show_lists
from segmentation.segments.plan import Plan, make_plan
from segmentation.segments.plan_file import PlanError, plan_hash, read_plan, write_plan
from segmentation.segments.plan_report import render_markdown, summarise
from segmentation.segments.plan_sections import PlanContext, Section
from segmentation.segments.publish import publish
from segmentation.segments.reasoning import Answer
from segmentation.segments.scratch import lay_views
from segmentation.sync.catalog import SqlDestination
from segmentation.sync.plan_section import delivery_section
from segmentation.warehouse import Connection, Warehouse

from .conftest import START, TIERS, Company

STORE = SqlDestination(
    name="store", description="x", kind="sqlalchemy", url="sqlite://", purposes=["service"], segments="all",
    owner="team:a", max_staleness_seconds=1,
)  # fmt: skip
SECTIONS = [
    plan_effects.guard_section,
    plan_effects.pin_section,
    plan_effects.size_section,
    plan_effects.transition_sections,
    plan_effects.indirect_section,
    plan_effects.conflict_section,
    plan_values.revenue_section,
    cost_section,
    plan_values.traffic_section,
    plan_values.consent_section,
    delivery_section([STORE], ["service"]),
    plan_values.mover_section,
]
ANA = Approver("ana", "SEG-12", datetime(2026, 11, 2))


@dataclass
class Shop:
    """An installation: a live warehouse with its published copy, and a catalog."""

    warehouse: Warehouse
    company: Company
    runs: int = 0
    sections: list[Any] = field(default_factory=lambda: list(SECTIONS))

    def on(self, work: Callable[[Company], object]) -> None:
        """Work on the live warehouse."""
        with self.warehouse.write() as con:
            work(replace(self.company, con=con))

    def features(self, *rows: dict[str, Any]) -> None:
        """Publish features, and who customers are."""

        def work(company: Company) -> None:
            contracts.ensure_schema(company.con, "identity")
            company.features(*rows)
            company.con.execute("delete from identity.customers")
            for row in rows:
                company.fill("identity.customers", customer_id=row["customer_id"], status="active")
            self.runs += 1
            run = self._run(company)
            for stage in ("identity", "features"):
                contracts.stamp_candidate(company.con, stage, run)
                contracts.mark_published(company.con, stage, run)

        self.on(work)

    def _run(self, company: Company) -> Any:
        company.runs = self.runs
        return company.next_run()

    def run(self, at_step: Callable[[str], None] | None = None) -> str:
        """Run the stage as every day; return the run's id."""
        self.runs += 1
        with self.warehouse.write() as con:
            company = replace(self.company, con=con)
            run = self._run(company)
            contracts.ensure_schema(con, "segments")
            catalog = definitions_to_evaluate(con, company.folder, company.types)
            build_candidate(con, run, catalog)
            publish(con, run, at_step)
            company.check_consistency()
            self.warehouse.publish_copy(con, readable_tables(con))
        return str(run.run_id)

    def plan(self) -> Plan:
        """Plan on the published copy."""
        with self.warehouse.scratch() as con:
            lay_views(con)
            return make_plan(
                con, self.company.folder, self.company.types, recorded_at=START, sections=self.sections,
                feature_units={"mrr_micros": "micros"},
            )  # fmt: skip

    def write_plan(self, path: Path) -> Plan:
        found = self.plan()
        write_plan(path, found)
        return found

    def apply(self, path: Path, **arguments: Any) -> Outcome:
        """Apply a plan's file."""
        return carry_out(
            self.warehouse, read_plan(path), self.company.folder, self.company.types, ANA, plan_again=self.plan,
            run_stage=arguments.pop("run_stage", self.run), **arguments,
        )  # fmt: skip

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask the live warehouse."""
        with self.warehouse.write() as con:
            return con.execute(sql).fetchall()

    def members(self, key: str) -> set[str]:
        return {row[0] for row in self.rows(f"select customer_id from segments.membership where segment_key = '{key}'")}


@pytest.fixture
def shop(tmp_path: Path, con: Connection) -> Shop:
    """Four customers in three tiers, published."""
    folder = tmp_path / "catalog"
    (folder / "segments").mkdir(parents=True)
    (folder / "lists").mkdir()
    company = Company(con, folder)
    company.write_groups(TIERS)
    company.write("vip", "mrr_micros >= 100", group="tier", precedence=1)
    company.write("core", "mrr_micros > 0", group="tier", precedence=2)
    company.write("free", "true", group="tier", precedence=3)
    company.write("reachable", "is_known", consent="{purposes: [marketing.email]}")
    found = Shop(Warehouse(tmp_path / "live.duckdb", tmp_path / "copy.duckdb", lock_wait_seconds=0.2), company)
    found.features(
        {"customer_id": "c_a", "mrr_micros": 500, "is_known": True, "consented_purposes": ["marketing.email"]},
        {"customer_id": "c_b", "mrr_micros": 150, "is_known": True, "country": "DE"},
        {"customer_id": "c_c", "mrr_micros": 5, "is_known": True, "consented_purposes": ["marketing.email"]},
        {"customer_id": "c_d", "mrr_micros": 0},
    )
    found.run()
    return found


def narrow(shop: Shop) -> None:
    """Make the rule of vip narrower: c_b falls to core."""
    shop.company.write("vip", "mrr_micros >= 200", group="tier", precedence=1)


def section(plan: Plan, name: str) -> Section:
    return next(one for one in plan.sections if one.name == name)


def stop_at(name: str) -> Callable[[str], None]:
    def stop(step: str) -> None:
        if step == name:
            raise KeyboardInterrupt(step)

    return stop


def test_nothing_changed_is_no_change(shop: Shop) -> None:
    found = shop.plan()
    assert not found.has_changes
    assert summarise(found) == "Nothing would change."
    assert found.expected.changes == 0


def test_a_plan_tells_who_moves_and_touches_nothing(shop: Shop) -> None:
    before = (shop.warehouse.path.read_bytes(), shop.warehouse.published_path.read_bytes())
    narrow(shop)
    found = shop.plan()
    assert (shop.warehouse.path.read_bytes(), shop.warehouse.published_path.read_bytes()) == before
    assert section(found, "members").rows == (
        ("core", 1, 1, 0, 1, 2, "rule +1"),
        ("vip", 2, 0, 1, 1, 1, "rule −1"),
    )
    assert section(found, "transitions_tier").rows == (("vip", 1, 1), ("core", 0, 1))
    assert section(found, "indirect").rows == (("core", 1, 0, "vip"),)
    assert section(found, "conflicts").rows == (("tier", "vip", "core", 2, 1, -1),)
    assert section(found, "revenue").rows == (("core", 150, 0, 150), ("vip", 0, 150, -150))
    assert [row[:4] for row in section(found, "movers").rows] == [
        ("core", "enter", "c_b", "rule"),
        ("vip", "exit", "c_b", "rule"),
    ]
    assert found.expected.changes == 2
    assert found.versions == {"core": 1, "free": 1, "reachable": 1, "vip": 2}
    assert "1 definition differs from what is live, 1 of them breaking (vip)." in summarise(found)


def test_a_plan_is_the_same_whenever_it_is_made(shop: Shop) -> None:
    narrow(shop)
    assert plan_hash(shop.plan()) == plan_hash(shop.plan())


def test_a_proof_that_a_busy_machine_does_not_find_stops_no_plan(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow(shop)
    shop.write_plan(tmp_path / "plan.json")
    monkeypatch.setattr(change_classes, "implies", lambda *_: Answer("unknown"))
    assert shop.apply(tmp_path / "plan.json").state == "applied"
    assert shop.members("vip") == {"c_a"}


def test_features_that_could_tell_who_somebody_is_are_not_shown(shop: Shop) -> None:
    shop.company.write("german", "country = 'DE' and mrr_micros > 1 and signed_up_on is null")
    (row,) = section(shop.plan(), "movers").rows
    assert row[2] == "c_b"
    assert row[4] == "country (rare), mrr_micros 0.00, signed_up_on null"


def test_features_of_all_who_are_shown_are_read_at_once(shop: Shop) -> None:
    asked: list[str] = []

    class Told:
        def __init__(self, con: Connection) -> None:
            self.con = con

        def execute(self, sql: str, *values: Any) -> Any:
            asked.append(sql)
            return self.con.execute(sql, *values)

    def measure(context: PlanContext) -> Any:
        return plan_values.mover_section(replace(context, con=Told(context.con)))

    shop.sections = [measure]

    def queries(rule: str) -> tuple[int, int]:
        asked.clear()
        shop.company.write("rich", rule)
        return len(section(shop.plan(), "movers").rows), len(asked)

    (few, queries_of_few), (many, queries_of_many) = queries("mrr_micros >= 500"), queries("mrr_micros >= 5")
    assert (few, many) == (1, 3)
    assert queries_of_few == queries_of_many


def test_deliveries_are_counted_by_what_destinations_hold(shop: Shop) -> None:
    narrow(shop)
    # c_a stays in vip, whose version rises; c_b moves. The list of segments is a row of its own.
    assert section(shop.plan(), "destinations").rows == (("store", 0, 3, 0, "by its log"),)
    shop.company.write("vip", "mrr_micros >= 200", group="tier", precedence=1, destinations="[elsewhere]")
    assert section(shop.plan(), "destinations").rows[0][-1] == "loaded anew"


def test_consent_that_is_no_longer_asked_for_is_told(shop: Shop) -> None:
    shop.company.write("reachable", "is_known")
    (row,) = section(shop.plan(), "consent").rows
    assert row == ("reachable", "marketing.email", "nothing", 0, 0, 1)


def test_costs_of_those_who_move_follow_the_newest_month(shop: Shop) -> None:
    def cost(company: Company) -> None:
        company.con.execute(
            "create schema marts; create table marts.fct_segment_unit_costs_monthly as select * from (values "
            "(date '2026-10-01', 'vip', 900, 450), (date '2026-10-01', 'core', 10, 10), "
            "(date '2026-09-01', 'vip', 1, 1)) as t(cost_month, segment_key, exclusive_effective_micros, "
            "cost_per_member_micros)"
        )
        shop.warehouse.publish_copy(company.con, readable_tables(company.con))

    shop.on(cost)
    narrow(shop)
    assert section(shop.plan(), "cost").rows == (("core", 10, 10, 10, 0, 10), ("vip", 900, 450, 0, 450, -450))


def test_a_later_part_adds_a_section_of_its_own(shop: Shop) -> None:
    shop.sections.append(lambda context: [Section("invoices", "Invoices", (), (), (str(context.run.as_of),))])
    assert section(shop.plan(), "invoices").notes == (str(START),)


def test_the_report_reads_as_markdown_and_lets_no_text_be_markup(shop: Shop) -> None:
    shop.company.write("evil", "plan = '<img src=x>|```' and mrr_micros > 1", description="'<b>|bold|</b>'")
    narrow(shop)
    text = render_markdown(shop.plan(), "0" * 64)
    assert "## Members" in text
    assert "| vip | 2 | 0 | 1 | 1 | 1 |" in text
    assert "-rule" not in text
    assert "- rule: mrr_micros >= 100\n  + rule: mrr_micros >= 200" in text
    assert text.count("```") % 2 == 0
    assert "<img" not in "".join(text.split("```")[::2])


def test_whom_a_list_names_and_why_is_in_neither_the_file_nor_the_report(shop: Shop, tmp_path: Path) -> None:
    def entry(address: str, until: str = "2027-01-01") -> str:
        return f"{{identifier: {{type: email, value: {address}}}, reason: she rang about her divorce, until: {until}}}"

    old, kept, new = "old@mail.example", "kept@mail.example", "new@mail.example"
    shop.company.write("asked", "is_known", exclude=f"[{entry(old)}, {entry(kept)}, {entry('moved@mail.example')}]")
    shop.run()
    shop.company.write(
        "asked", "is_known", exclude=f"[{entry(kept)}, {entry('moved@mail.example', '2028-01-01')}, {entry(new)}]"
    )
    shop.company.write("guests", None, kind="list", include="[{customer: c_d, reason: her divorce}]")
    found = shop.write_plan(tmp_path / "plan.json")
    report = render_markdown(found, "0" * 64)
    written = (tmp_path / "plan.json").read_text(encoding="utf-8")
    shown = written.split('"sections"')[0]
    for secret in ("mail.example", "divorce", "c_d"):
        assert secret not in shown
        assert secret not in report.split("## Members")[0]
    (asked,) = [one for unit in found.units for one in unit.changes if one.key == "asked"]
    before, after = show_lists(asked.differences[0])
    assert (before.entries, [(one["type"], one["until"]) for one in before.moved]) == (3, [("email", "2027-01-01")] * 2)
    assert sorted(one["until"] for one in after.moved) == ["2027-01-01", "2028-01-01"]
    # Who is only listed longer is the same entry to whoever reads.
    (moved,) = {one["digest"] for one in before.moved} & {one["digest"] for one in after.moved}
    assert f'"digest": "{moved}", "type": "email", "until": "2028-01-01"' in report
    assert "- exclude, 2 of 3 entries: " in report
    assert "+ include, 1 of 1 entry: " in report


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
    done = shop.apply(tmp_path / "plan.json", run_stage=lambda: pytest.fail("nothing is to be run"))
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
    with pytest.raises(PlanError, match=told):
        shop.apply(tmp_path / "plan.json")
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
    from segmentation.segments.catalog import digest

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
        shop.apply(path, run_stage=lambda: shop.run(stop_at(step)))
    assert shop.members("vip") == {"c_a", "c_b"}
    shop.run()
    assert shop.members("vip") == {"c_a"}


def test_a_gate_that_stays_closed_leaves_the_approval_to_the_next_run(shop: Shop, tmp_path: Path) -> None:
    narrow(shop)
    path = tmp_path / "plan.json"
    shop.write_plan(path)

    def held_back() -> str:
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

    def run_after_another() -> str:
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

    def run_beside_another() -> str:
        run_id = shop.run()
        outcomes.append(shop.apply(path))
        return run_id

    done = shop.apply(path, run_stage=run_beside_another)
    assert (done.state, done.differences) == ("applied", ())
    assert outcomes[0].state == "applied_before"
    assert shop.rows("select count(*) from segments.publications") == [(2,)]


def test_before_the_first_run_there_is_nothing_to_plan_against(tmp_path: Path, con: Connection) -> None:
    warehouse = Warehouse(tmp_path / "live.duckdb", tmp_path / "copy.duckdb")
    with pytest.raises(StrataError, match="nothing has been published"), warehouse.scratch():
        pass
