from datetime import date
from pathlib import Path

import pytest

from segmentation.errors import CatalogProblem, CatalogProblems
from segmentation.segments.catalog import groups_json_schema, json_schema, load_catalog, normal_form, validate_catalog

GROUPS = "groups:\n  - {key: tier, name: Tier, description: Service., costing: true}\n"


def problems(company) -> list[CatalogProblem]:
    return validate_catalog(company.folder, company.types)


def said(company) -> dict[str, str]:
    return {problem.where: problem.what for problem in problems(company)}


def test_an_empty_folder_is_an_empty_catalog(company) -> None:
    catalog = company.catalog()
    assert (catalog.segments, catalog.groups, catalog.levels) == ({}, {}, ())


def test_all_problems_are_told_at_once_with_file_line_and_column(company) -> None:
    company.write("vip", "orders_90 > 1\n  and csat > 2", name="VIP")
    company.write("core", "true", severty="low", review_by="soon")
    company.write("free", None)
    found = said(company)
    assert found["catalog/segments/vip.yml:11:3"] == "unknown feature orders_90; did you mean orders_90d?"
    assert found["catalog/segments/vip.yml:12:9"] == "unknown feature csat; did you mean csat_mean?"
    assert found["catalog/segments/core.yml:10:1"] == "unknown key severty; did you mean severity?"
    assert found["catalog/segments/core.yml:9:1"].startswith("review_by: input should be a valid date")
    assert "kind rule needs a rule" in found["catalog/segments/free.yml:1:1"]
    with pytest.raises(CatalogProblems) as error:
        company.catalog()
    assert len(error.value.problems) == 5
    assert "catalog/segments/vip.yml:12:9" in str(error.value)
    assert error.value.as_dict()["where"].startswith("catalog/segments/")


@pytest.mark.parametrize(
    ("style", "place"),
    [
        ("rule: nope > 1", "10:7"),
        ("rule: 'nope > 1'", "10:8"),
        ("rule: |\n\n    nope > 1", "12:5"),
        ("rule: >\n  nope\n  > 1", "10:1"),
        ("rule: nope\n  > 1", "10:1"),
    ],
)
def test_a_fault_in_a_rule_is_found_in_every_yaml_style(company, style: str, place: str) -> None:
    path = company.write("vip", None)
    path.write_text(path.read_text() + style + "\n")
    assert list(said(company)) == [f"catalog/segments/vip.yml:{place}"]


@pytest.mark.parametrize("lacking", ["owner", "objective", "action", "measure", "review_by"])
def test_who_does_what_and_how_one_sees_it_is_needed_to_be_active(company, lacking: str) -> None:
    company.write("vip", **{lacking: None})
    assert [problem.what for problem in problems(company)] == [f"a segment that is active needs {lacking}"]
    company.write("vip", **{lacking: None, "lifecycle": "draft"})
    assert problems(company) == []


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("key: a\n\tname: b\n", "not YAML", 2),
        ("key: a\nkey: b\n", "duplicate key key, first given in line 1", 2),
        ("key: &x a\nname: *x\n", "anchors and aliases", 1),
        ("key: !!python/object/apply:os.system ['ls']\n", "is not allowed", 1),
        ("key: !!python/name:os.system\n", "is not allowed", 1),
        ("- a\n- b\n", "holds no keys", 1),
        ("", "holds no keys", 1),
        ("key: {[a]: b}\n", "key must be a plain text", 1),
        ("key: Vip\n", "key: string should match pattern", 1),
        ("key: vіp\n", "key: string should match pattern", 1),
        ("key: a\nnаme: b\n", "unknown key nаme; did you mean name?", 2),
        ("key: a\nguards: 5\n", "guards: it must be a block of keys", 2),
        ("key: a\ninclude: everyone\n", "include: it must be a list", 2),
        ("key: a\nrule: [orders_90d, 3]\n", "rule: it must be a text", 2),
        ("key: a\nrule: 3\n", "rule: it must be a text", 2),
        ("key: a\nguards: {min_size: 5, max_size: 2}\n", "guards: min_size 5 is larger", 2),
        ("key: a\nreview_by: 2026-13-45\n", "review_by: input should be a valid date", 2),
        ("key: a\nreview_by: 010\n", "may mean a text or something else", 2),
    ],
)
def test_files_that_make_no_sense(company, text: str, what: str, line: int) -> None:
    (company.folder / "segments" / "a.yml").write_text(text, encoding="utf-8")
    found = [problem for problem in problems(company) if what in problem.what]
    assert [problem.line for problem in found] == [line]


def test_files_that_are_no_text(company) -> None:
    path = company.folder / "segments" / "a.yml"
    path.write_bytes(b"key: a\nname: \xff\n")
    assert [(problem.what, problem.line) for problem in problems(company)] == [("the file is not UTF-8", 2)]
    path.write_text("#" * 1_000_001)
    assert "larger than" in problems(company)[0].what
    path.write_text("key: " + "[" * 900_000)
    assert problems(company)[0].what == "the file is nested too deeply"


def test_two_files_of_one_key(company) -> None:
    company.write("vip")
    (company.folder / "segments" / "z.yml").write_text(company.write("vip").read_text())
    found = problems(company)
    assert "differs from the file's name" in found[1].what
    assert found[0].what == "duplicate key vip, first defined in catalog/segments/vip.yml:1"
    assert found[0].where == "catalog/segments/z.yml:1"


def test_equal_precedence_names_both_files_and_lines(company) -> None:
    company.write_groups(GROUPS)
    company.write("a", group="tier", precedence=1)
    company.write("b", group="tier", precedence=1, lifecycle="draft")
    company.write("c", group="tier", precedence=1, lifecycle="retired")
    (problem,) = problems(company)
    assert problem.where == "catalog/segments/b.yml:11"
    assert problem.what == (
        "b and a have the same precedence 1 in group tier; the other is in catalog/segments/a.yml:11"
    )
    assert problem.repair == "free in tier: 2"


@pytest.mark.parametrize(
    ("groups", "what"),
    [
        (GROUPS.replace("tier", "tear"), "unknown group tier; did you mean tear?"),
        (GROUPS + "  - {key: tier, name: A, description: B}\n", "duplicate group tier, first defined in line 2"),
        (
            GROUPS + "  - {key: b, name: A, description: B, costing: true}\n",
            "groups tier and b both have costing: true",
        ),
        (GROUPS.replace(", costing: true", ""), "no group has costing: true"),
        (GROUPS.replace("costing", "parent: x, costing"), "group tier names the unknown parent x"),
        (GROUPS.replace("costing", "default: x, costing"), "the default x of group tier is not an active segment"),
        (GROUPS.replace("costing", "default: vip, costing"), "but its rule leaves customers out"),
        (GROUPS.replace("costing", "default: vip, costing"), "but it wins over other segments"),
        (GROUPS.replace("tier", "Tier"), "string should match pattern"),
        (GROUPS.replace("costing", "cost"), "unknown key groups[0].cost; did you mean costing?"),
    ],
)
def test_faults_of_groups(company, groups: str, what: str) -> None:
    company.write_groups(groups)
    company.write("vip", "is_known", group="tier", precedence=1)
    company.write("free", "true", group="tier", precedence=2)
    assert any(what in problem.what for problem in problems(company)), problems(company)


def test_group_and_precedence_go_together(company) -> None:
    company.write_groups(GROUPS)
    company.write("vip", group="tier")
    assert any("group and precedence are given together" in problem.what for problem in problems(company))


def test_segments_that_ask_about_each_other_in_a_cycle(company) -> None:
    company.write("a", "in_segment('b')")
    company.write("b", "not in_segment('c')")
    company.write("c", "in_segment('a')")
    company.write("d", "in_segment('a')")
    (problem,) = problems(company)
    assert problem.what == "segments depend on each other in a cycle: a → b → c → a"
    assert problem.where == "catalog/segments/a.yml:10"


def test_a_segment_can_not_wait_for_its_own_group(company) -> None:
    company.write_groups(GROUPS)
    company.write("a", "is_known", group="tier", precedence=1)
    company.write("b", "in_segment('a')", group="tier", precedence=2)
    assert [problem.what for problem in problems(company)] == ["segments depend on each other in a cycle: tier → tier"]


def test_groups_that_are_each_others_parent(company) -> None:
    company.write_groups(
        "groups:\n  - {key: a, name: A, description: A, parent: b, costing: true}\n"
        "  - {key: b, name: B, description: B, parent: a}\n"
    )
    company.write("x", group="a", precedence=1)
    company.write("y", group="b", precedence=1)
    assert ["cycle: a → b → a" in problem.what for problem in problems(company)] == [True]


def test_levels_follow_dependencies_and_wait_for_whole_groups(company) -> None:
    company.write_groups(GROUPS + "  - {key: sub, name: S, description: S, parent: tier}\n")
    company.write("vip", "is_known", group="tier", precedence=1)
    company.write("core", "in_segment('base')", group="tier", precedence=2)
    company.write("base", "true")
    company.write("gold", "true", group="sub", precedence=1)
    company.write("care", "in_segment('vip')")
    company.write("idea", "in_segment('care')", lifecycle="draft")
    assert company.catalog().levels == (("base",), ("core", "vip"), ("care", "gold"))


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ("in_segment('vpi')", "in_segment names the unknown segment vpi; did you mean vip?"),
        (
            "in_segment('vіp')",
            (
                "in_segment names the unknown segment vіp: it has the character U+0456 "
                "cyrillic small letter byelorussian-ukrainian i; did you mean vip?"
            ),
        ),
        ("in_segment('idea')", "in_segment names idea, which is draft: nobody is in it"),
    ],
)
def test_segments_that_mean_nothing(company, rule: str, what: str) -> None:
    company.write("vip")
    company.write("idea", lifecycle="draft")
    company.write("care", rule)
    assert [problem.what for problem in problems(company)] == [what]


def test_purposes_and_destinations_are_known_where_they_are_declared(company) -> None:
    company.write("vip", consent="{purposes: [marketing.emial, essential.service]}", destinations="[online_stor]")
    assert problems(company) == []
    assert company.catalog().segments["vip"].required_purposes == ("essential.service", "marketing.emial")
    (company.folder / "purposes.yml").write_text(
        "purposes:\n  marketing.email: {description: a, basis: consent}\n"
        "  essential.service: {description: a, basis: contract}\n"
    )
    (company.folder / "destinations.yml").write_text("destinations:\n  online_store: {kind: x}\n")
    assert sorted(problem.what for problem in problems(company)) == [
        "unknown destination online_stor; did you mean online_store?",
        "unknown purpose marketing.emial; did you mean marketing.email?",
    ]
    company.write("vip", consent="{purposes: [marketing.email, essential.service]}", destinations="[online_store]")
    company.write("asks", "has_purpose('marketing.emial') or has_purpose('essential.service')")
    assert [problem.what for problem in problems(company)] == [
        "the purpose essential.service needs no consent, so a rule can't ask for it",
        "unknown purpose marketing.emial; did you mean marketing.email?",
    ]
    company.write("asks", "has_purpose('marketing.email')")
    # A contract is no consent: nobody can lack it.
    assert company.catalog().segments["vip"].required_purposes == ("marketing.email",)
    (company.folder / "purposes.yml").write_text("purposes: 3\n")
    assert [problem.file for problem in problems(company)] == ["catalog/purposes.yml"]


def test_reviews_that_are_due_are_warnings(company) -> None:
    company.write("vip", expires_on="2026-12-31")
    company.write("idea", lifecycle="draft", review_by="2020-01-01")
    found = validate_catalog(company.folder, company.types, today=date(2027, 1, 31))
    assert [problem.severity for problem in found] == ["warning", "warning"]
    assert any("review of vip was due" in problem.what for problem in found)
    assert validate_catalog(company.folder, company.types, today=date(2026, 11, 1)) == []


def test_formatting_comments_and_wording_do_not_make_another_definition(company) -> None:
    company.write("vip", "orders_90d >= 3 and not is_known", destinations="[b, a]")
    first = company.catalog().segments["vip"]
    path = company.write("vip", "-- often\n(ORDERS_90D >= 3)\n  AND is_known = false", destinations="[a, b, a]")
    path.write_text("# a comment\n" + path.read_text())
    second = company.catalog().segments["vip"]
    assert (first.definition_hash, first.membership_hash) == (second.definition_hash, second.membership_hash)


def test_keys_of_a_later_release_make_no_new_version_where_they_say_nothing(company) -> None:
    company.write("vip", "is_known")
    assert {"slo", "cost_ceiling"}.isdisjoint(normal_form(company.catalog().segments["vip"].definition, None))
    first = company.catalog().segments["vip"].definition_hash
    company.write("vip", "is_known", cost_ceiling="{per_month: 1200}")
    with_ceiling = company.catalog().segments["vip"].definition_hash
    company.write("vip", "is_known", cost_ceiling="{per_month: 1200.00}")
    assert first != with_ceiling == company.catalog().segments["vip"].definition_hash


@pytest.mark.parametrize(
    ("change", "decides"),
    [
        ({"description": "Other words."}, False),
        ({"destinations": "[x]"}, False),
        ({"slo": "{availability: 0.999, latency_p95_ms: 300}"}, False),
        ({"cost_ceiling": "{per_month: 1200.50, per_member: 0.1}"}, False),
        ({"rule": "orders_90d >= 4"}, True),
        ({"consent": "{purposes: [marketing]}"}, True),
        ({"residency": "[eu]"}, True),
        ({"lifecycle": "retired"}, True),
    ],
)
def test_what_makes_another_definition_and_what_decides_differently(company, change: dict, decides: bool) -> None:
    company.write("vip", "orders_90d >= 3")
    company.write("care", "in_segment('vip')")
    before = company.catalog().segments
    company.write("vip", **{"rule": "orders_90d >= 3", **change})
    if change.get("lifecycle"):
        company.write("care", "true")
    after = company.catalog().segments
    assert before["vip"].definition_hash != after["vip"].definition_hash
    assert (before["vip"].membership_hash != after["vip"].membership_hash) is decides
    # Who asks about a segment is decided differently when that one is.
    assert (before["care"].membership_hash != after["care"].membership_hash) is decides


def test_the_schema_for_editors_knows_every_key(company) -> None:
    schema = json_schema()
    assert {"key", "rule", "owner", "guards", "precedence"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False
    assert "groups" in groups_json_schema()["properties"]


@pytest.mark.parametrize(
    ("keys", "rule", "what"),
    [
        ({"kind": "list"}, None, "a list has entries under include and no rule"),
        ({"kind": "list", "include": "[{customer: c_1, reason: x}]"}, "true", "no rule"),
        ({"kind": "hybrid"}, "true", "a hybrid has a rule and entries under include"),
        ({"include": "[{customer: c_1, reason: x}]"}, "true", "is of kind hybrid"),
        ({"exclude": "[{reason: x}]"}, "true", "exactly one of customer, identifier, file"),
        ({"exclude": "[{customer: c_1}]"}, "true", "needs a reason"),
        ({"exclude": "[{file: lists/x.csv}]"}, "true", "the list file does not exist"),
        ({"kind": "model"}, "true", "kind model, which a trained model decides, are not there yet"),
        ({"slo": "{window_days: 7}"}, "true", "an slo gives availability, latency_p95_ms, or both"),
        ({"slo": "{availability: 1}"}, "true", "slo.availability: input should be less than 1"),
        ({"cost_ceiling": "{}"}, "true", "a cost_ceiling gives per_month, per_member, or both"),
        ({"cost_ceiling": "{per_month: 0}"}, "true", "cost_ceiling.per_month: input should be greater than 0"),
        ({"cost_ceiling": "{per_month: 0.0000001}"}, "true", "no more than 6 decimal places"),
        ({"entity": "account", "kind": "hybrid", "include": "[{customer: c_1, reason: x}]"}, "true", "lists name"),
        ({"entity": "household"}, "true", "input should be 'customer' or 'account'"),
    ],
)
def test_kinds_and_lists_fit(company, keys: dict, rule: str | None, what: str) -> None:
    company.write("vip", rule, **keys)
    assert any(what in problem.what for problem in problems(company)), problems(company)


@pytest.mark.parametrize(
    ("file", "what", "named"),
    [
        ("../x.csv", "'../x.csv' leads out of the catalog", "lists/x.csv"),
        ("lists/../../x.csv", "leads out of the catalog", "lists/x.csv"),
        ("/etc/passwd", "'/etc/passwd' is an absolute path", "lists/passwd.csv"),
        ("/srv/lists/vip.csv", "is an absolute path", "lists/vip.csv"),
        ("'C:\\lists\\vip.csv'", "is an absolute path", "lists/NAME.csv"),
        ("'..\\x.csv'", "leads out of the catalog", "lists/NAME.csv"),
        ("vip.csv", "is not the name of a list file", "lists/vip.csv"),
        ("lists/deep/vip.csv", "is not the name of a list file", "lists/vip.csv"),
        ("lists/vip.xlsx", "is not the name of a list file", "lists/vip.csv"),
        ("'lists/my vips.csv'", "is not the name of a list file", "lists/NAME.csv"),
        ('"lists/x.csv\\n"', "is not the name of a list file", "lists/x.csv"),
    ],
)
@pytest.mark.parametrize("side", ["include", "exclude"])
def test_a_list_file_lies_among_the_lists(company, side: str, file: str, what: str, named: str) -> None:
    company.write("vip", "true", kind="hybrid", **{side: f"[{{customer: c_1, reason: x}}, {{file: {file}}}]"})
    (problem,) = [one for one in problems(company) if "hybrid has a rule" not in one.what]
    assert problem.what.startswith(f"{side}[1].file: ")
    assert what in problem.what
    assert problem.file == "catalog/segments/vip.yml"
    assert "lists/NAME.csv" in problem.expected
    assert problem.repair == f"put the file into catalog/lists and write file: {named}"


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("customer,reason\n", "lists/x.csv:1", "unknown column customer; did you mean customer_id?"),
        ("customer_id\nc_1\n", "lists/x.csv:1", "the column reason is missing"),
        ("reason\nx\n", "lists/x.csv:1", "no column names a customer"),
        ("customer_id,reason\nc_1,x\nc_2\n", "lists/x.csv:3", "another number of fields"),
        ("customer_id,reason\nc_1,x,y\n", "lists/x.csv:2", "another number of fields"),
        ("customer_id,reason\n,x\n", "lists/x.csv:2", "either a customer_id or an id_value"),
        ("id_type,id_value,reason\nemial,a,x\n", "lists/x.csv:2", "unknown id_type 'emial'"),
        ("customer_id,reason\nc_1,\n", "lists/x.csv:2", "gives no reason"),
        ("customer_id,reason,until\nc_1,x,soon\n", "lists/x.csv:2", "is not a date"),
        ('customer_id,reason\n"c_1,x\n', "lists/x.csv:1", "not CSV"),
    ],
)
def test_faults_of_list_files(company, text: str, place: str, what: str) -> None:
    company.write_list("x.csv", text)
    company.write("vip", exclude="[{file: lists/x.csv}]")
    found = problems(company)
    assert [problem.where for problem in found] == [f"catalog/{place}"] * len(found)
    assert any(what in problem.what for problem in found)


def test_a_contract_with_more_than_types_serves_as_well(company) -> None:
    class Features:
        types = company.types

    company.write("vip", "is_known")
    assert list(load_catalog(company.folder, Features()).segments) == ["vip"]
    assert isinstance(company.folder, Path)
