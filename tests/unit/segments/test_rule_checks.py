"""What `strata validate` says about rules: what can't be meant, and, where asked, what overlaps."""

import pytest

from segmentation.errors import CatalogProblem
from segmentation.segments.catalog import read_catalog
from segmentation.segments.evaluation import holds
from segmentation.segments.rule_checks import check_rules, world_of

GROUPS = """
groups:
  - {key: tier, name: Tier, description: Service., default: free, costing: true}
"""


def found(company, *, overlaps: bool = False, required: tuple[str, ...] = ()) -> list[CatalogProblem]:
    catalog, _ = read_catalog(company.folder, company.types)
    return check_rules(catalog, company.types, required, overlaps=overlaps)


def said(company, *, overlaps: bool = False, required: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    return [(problem.severity, problem.what) for problem in found(company, overlaps=overlaps, required=required)]


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("orders_90d > 3 and is_known and orders_90d < 3", ": orders_90d > 3 and orders_90d < 3 never hold together"),
        ("orders_90d <> orders_90d", ""),
        ("plan = 'pro' and csat_mean <> csat_mean", ": csat_mean <> csat_mean never holds"),
        ("plan = 'pro' and (plan = 'free' or plan like 'f%')",
         ": plan = 'pro' and (plan = 'free' or plan like 'f%') never hold together"),
        ("false", ""),
        ("orders_90d > 1 and orders_90d < 0 or plan = 'pro' and not plan like 'p%'", ""),
    ],
)  # fmt: skip
def test_a_rule_that_is_never_true_is_an_error(company, rule: str, why: str) -> None:
    company.write("odd", f"--\n{rule}")
    (problem,) = found(company)
    assert (problem.severity, problem.what) == ("error", f"the rule of odd is never true{why}")
    assert (problem.file, problem.line) == ("catalog/segments/odd.yml", 10)
    assert problem.expected
    assert problem.repair


def test_drafts_are_warned_of_and_retired_segments_are_left_alone(company) -> None:
    for lifecycle in ("draft", "retired"):
        company.write(lifecycle, "orders_90d < 0 and orders_90d > 0", lifecycle=lifecycle)
    assert [severity for severity, _ in said(company)] == ["warning"]


def test_a_rule_that_is_always_true_is_a_warning_where_nothing_else_decides(company) -> None:
    company.write_groups(GROUPS)
    company.write("free", "true", group="tier", precedence=2)
    company.write("vip", "mrr_micros > 5", group="tier", precedence=1)
    company.write("reachable", "true", consent="{purposes: [marketing.email]}")
    company.write("europeans", "true", residency="[EU]")
    company.write("known", "is_known or not is_known")
    company.write("odd", "orders_90d > 3 or orders_90d <= 3 or orders_90d is null", residency="[EU]")
    always = "the rule of {} is always true: every customer keeps to it"
    assert said(company) == [("warning", always.format("odd"))]
    assert said(company, required=("is_known",)) == [
        ("warning", always.format("known")),
        ("warning", always.format("odd")),
    ]


def test_who_never_wins_in_a_group_is_told(company) -> None:
    company.write_groups(GROUPS)
    company.write("vip", "mrr_micros >= 100", group="tier", precedence=1)
    company.write("core", "mrr_micros > 0 or orders_90d > 0", group="tier", precedence=2)
    company.write("gold", "mrr_micros >= 500", group="tier", precedence=3)
    company.write("loyal", "mrr_micros >= 50 and orders_90d > 3", group="tier", precedence=4)
    company.write("mixed", "mrr_micros >= 100 or mrr_micros < 100 and mrr_micros >= 99", group="tier", precedence=5)
    company.write("named", "mrr_micros >= 100", group="tier", precedence=6, kind="hybrid",
                  include="\n  - {customer: c_a, reason: asked}")  # fmt: skip
    company.write("free", "true", group="tier", precedence=7)
    problems = found(company)
    ends = {problem.what.split(" never wins")[0]: problem.what.split(": ")[-1] for problem in problems}
    assert ends == {
        "gold": "whom it takes, vip of better precedence takes",
        "loyal": "whom it takes, core of better precedence takes",
        "mixed": "whom it takes, core of better precedence takes",
    }
    assert {problem.severity for problem in problems} == {"warning"}
    assert all(company.folder.parent.joinpath(problem.file).read_text(encoding="utf-8").splitlines()[problem.line - 1]
               .startswith("precedence:") for problem in problems)  # fmt: skip


def test_several_of_better_rank_can_leave_nobody_together(company) -> None:
    company.write_groups(GROUPS)
    company.write("many", "orders_90d > 10", group="tier", precedence=1)
    company.write("other", "country = 'DE'", group="tier", precedence=2)
    company.write("few", "orders_90d <= 10", group="tier", precedence=3)
    company.write("any", "orders_90d > 3", group="tier", precedence=4)
    company.write("free", "true", group="tier", precedence=5)
    assert said(company) == [
        ("warning", "any never wins in group tier: whom it takes, many or few of better precedence takes")
    ]
    # Consent keeps customers out of the one that would take them.
    company.write("few", "orders_90d <= 10", group="tier", precedence=3, consent="{purposes: [marketing.email]}")
    assert said(company) == []


def test_two_segments_of_the_same_customers_are_told(company) -> None:
    company.write("one", "orders_90d >= 3 and plan in ('a', 'b')")
    company.write("two", "not (orders_90d < 3) and (plan = 'a' or plan like 'b')")
    company.write("mail", "orders_90d >= 3 and plan in ('b', 'a')", consent="{purposes: [marketing.email]}")
    assert said(company) == [
        ("warning", "two and one take the same customers; the other is in catalog/segments/one.yml:10"),
    ]
    informed = [what for severity, what in said(company, overlaps=True) if severity == "information"]
    assert len(informed) == 2
    assert all("consent, lists or group tell them apart" in what for what in informed)


def test_overlaps_and_containment_are_said_where_asked_with_a_customer(company) -> None:
    company.write_groups(GROUPS)
    company.write("vip", "mrr_micros >= 100 or plan = 'gold'", group="tier", precedence=1)
    company.write("core", "mrr_micros > 0", group="tier", precedence=2)
    company.write("poor", "mrr_micros < 0", group="tier", precedence=3)
    company.write("free", "true", group="tier", precedence=4)
    company.write("wealthy", "mrr_micros > 1000 and is_known")
    assert said(company) == []
    problems = found(company, overlaps=True)
    assert {problem.severity for problem in problems} == {"information"}
    told = {problem.what for problem in problems}
    overlap = "core and vip can take the same customer, then vip wins by precedence; taken by both, for example: "
    assert sum(what.startswith(overlap) for what in told) == 1
    # Whom poor takes, vip takes by plan, too; core never does.
    assert any(what.startswith("poor and vip can take") for what in told)
    assert not any("poor and core" in what or "core and poor" in what for what in told)
    inner = [what for what in told if "takes nobody whom that of" in what]
    assert sorted(what.split(" takes nobody whom that of ")[1].split(" ")[0] for what in inner) == ["core", "vip"]
    assert all("taken by" in what and "mrr_micros" in what for what in inner)


def test_what_segments_say_about_each_other_counts(company) -> None:
    company.write_groups(GROUPS)
    company.write("vip", "mrr_micros >= 100", group="tier", precedence=1)
    company.write("core", "mrr_micros > 0", group="tier", precedence=2)
    company.write("free", "true", group="tier", precedence=3)
    company.write("both", "in_segment('vip') and in_segment('core')")
    company.write("poor", "in_segment('vip') and mrr_micros < 50")
    company.write("rich", "orders_90d >= 1")
    company.write("asks", "in_segment('rich') and orders_90d = 0")
    company.write("lists", "in_segment('named') and orders_90d = 0")
    company.write("named", "orders_90d = 1", kind="hybrid", include="\n  - {customer: c_a, reason: asked}")
    assert [what.split(":")[0] for _, what in said(company)] == [
        f"the rule of {key} is never true" for key in ("asks", "both", "poor")
    ]


def test_of_segments_in_a_cycle_only_the_cycle_is_told(company) -> None:
    company.write("one", "not in_segment('two')")
    company.write("two", "in_segment('one') and orders_90d > 3")
    company.write("three", "in_segment('two') and orders_90d < 3 and plan = 'a'")
    company.write("four", "orders_90d > 3 and orders_90d < 3")
    assert [what.split(":")[0] for _, what in said(company)] == ["the rule of four is never true"]


def test_what_is_too_hard_is_left_open_and_counted(company) -> None:
    company.write("hard", "orders_90d * mrr_micros * orders_90d = 7919 * 7919 and orders_90d > 3 and mrr_micros > 3 "
                          "and csat_mean * csat_mean * csat_mean = orders_90d + mrr_micros * 3.7")  # fmt: skip
    assert said(company) == []
    ((severity, what),) = said(company, overlaps=True)
    assert severity == "information"
    assert "too hard to decide" in what


def test_a_world_is_what_no_person_decides(company) -> None:
    company.write_groups(GROUPS)
    company.write("vip", "mrr_micros >= 100", group="tier", precedence=1)
    company.write("free", "true", group="tier", precedence=2)
    company.write("plain", "is_known")
    company.write("held", "is_known", consent="{purposes: [marketing.email]}")
    company.write("left_out", "is_known", exclude="\n  - {customer: c_a, reason: asked}")
    company.write("named", "is_known", kind="hybrid", include="\n  - {customer: c_a, reason: asked}")
    company.write("ending", "is_known", expires_on="2027-01-01")
    company.write("planned", "is_known", lifecycle="draft")
    catalog = company.catalog()
    world = world_of(catalog.segments, catalog.groups, {"is_known"})
    assert {key: membership.is_exact for key, membership in world.memberships.items()} == {
        "vip": False, "free": False, "plain": True, "held": False, "left_out": False, "ending": False,
    }  # fmt: skip
    assert world.exclusive == (frozenset({"vip", "free"}),)
    assert holds(world.memberships["plain"].rule, {"is_known": True})


def test_many_segments_are_checked_without_asking_the_solver_of_every_pair(company, monkeypatch) -> None:
    from segmentation.segments import reasoning

    asked = []
    search = reasoning.Reasoner._search
    monkeypatch.setattr(reasoning.Reasoner, "_search", lambda self, *rules: asked.append(1) or search(self, *rules))
    for number in range(50):
        company.write(f"s{number}", f"orders_90d >= {number} and plan = 'p{number % 7}' or csat_mean < {number}")
    assert said(company) == []
    pairs = 50 * 49
    assert len(asked) < pairs / 4
