"""The catalog's page tells every segment in words, and nothing on it does anything but be read."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from segmentation.errors import NotFoundError
from segmentation.segments.catalog_facts import read_catalog_facts
from segmentation.segments.catalog_page import render, sparkline, write_page
from segmentation.segments.overlaps import measure_overlaps
from segmentation.segments.parser import parse_rule
from segmentation.segments.rule_words import clauses_in_words, in_words

HOSTILE = "</section><script>alert(1)</script><img src=x onerror=alert(2)>\" onload='x"


class Reader(HTMLParser):
    """Collects tags with their attributes, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page(company) -> Reader:
    reader = Reader()
    reader.feed(render(read_catalog_facts(company.con)))
    return reader


@pytest.fixture
def shop(company):
    """Two overlapping segments over some days, a tier and a draft."""
    company.write_groups("groups:\n  - {key: tier, name: T, description: T, costing: true}\n")
    company.write("vip", "mrr_micros >= 2000000 and is_known", review_by="2026-11-02",
                  slo="{availability: 0.999}", cost_ceiling="{per_month: 1200.50}")  # fmt: skip
    company.write("known", "is_known", destinations="[store]", consent="{purposes: [marketing.email]}")
    company.write("core", "true", group="tier", precedence=1)
    company.write("idea", lifecycle="draft")
    company.features(
        *(
            {"customer_id": f"c_{n}", "mrr_micros": n * 1_000_000, "is_known": n % 2 == 0,
             "consented_purposes": ["marketing.email"]}
            for n in range(10)
        ),
    )  # fmt: skip
    for day in range(3):
        run = company.decide(days=day)
    measure_overlaps(company.con, run)
    return company


def test_before_the_first_run_there_is_no_page(company) -> None:
    with pytest.raises(NotFoundError, match="no segments are published yet"):
        read_catalog_facts(company.con)


def test_every_segment_is_told_with_what_people_ask(shop) -> None:
    reader = page(shop)
    ids = [attributes["id"] for tag, attributes in reader.tags if tag == "section" and "id" in attributes]
    assert ids == ["core", "idea", "known", "vip"]
    for said in (
        "3 live of 4, 1 exclusive groups, 10 customers; as of 2026-11-03 00:00 UTC",
        "4 (40.0% of all customers)",
        "mrr is at least 2",
        "is known is true",
        "mrr_micros >= 2000000 and is_known",
        "2026-11-02, due",
        "0.999 of requests answered, over 30 days (recorded, not measured)",
        "may be 1200.5 a month",
        "marketing.email",
        "group tier, rank 1",
        "1, since 2026-11-01",
    ):
        assert said in reader.text, said
    # vip has 4 of the 5 known ones.
    assert re.search(r"known\s*4\s*80%", reader.text.split("as SQL over features")[-1])
    assert sum(tag == "polyline" for tag, _ in reader.tags) == 8


def test_a_page_asks_for_nothing_and_runs_nothing(shop) -> None:
    text = render(read_catalog_facts(shop.con))
    assert "default-src 'none'" in text
    assert re.search(r"https?:|url\(|@import|<script|<img|<link|<iframe", text) is None
    links = [attributes["href"] for tag, attributes in page(shop).tags if tag == "a"]
    assert links
    assert all(link.startswith("#") for link in links)


def test_hostile_texts_are_only_text(shop) -> None:
    shop.write("vip", "country = '</pre><script>x</script>'", name=json.dumps(HOSTILE), description=json.dumps(HOSTILE),
               action=json.dumps(HOSTILE), measure=json.dumps(HOSTILE),
               owner="{team: growth, contact: \"<script>alert(3)</script>\"}")  # fmt: skip
    shop.decide(days=3)
    reader = page(shop)
    assert {tag for tag, _ in reader.tags}.isdisjoint({"script", "img", "iframe"})
    assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in reader.text
    assert "<script>x</script>" in reader.text


def test_the_page_is_put_in_place_at_once(shop, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "catalog.html"
    for _ in range(2):
        write_page(read_catalog_facts(shop.con), path)
    assert path.read_text(encoding="utf-8").endswith("</html>\n")
    assert [one.name for one in path.parent.iterdir()] == ["catalog.html"]


def test_a_line_goes_from_nothing_to_the_largest() -> None:
    assert sparkline([7]) == sparkline([]) == ""
    points = re.search(r'points="([^"]*)"', sparkline([0, 10, 5]))
    assert points
    assert [tuple(map(float, one.split(","))) for one in points[1].split()] == [(2, 29), (75, 3), (148, 16)]
    assert "NaN" not in sparkline([0, 0])


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("orders_90d >= 3", "orders 90d is at least 3"),
        ("not orders_90d >= 1000", "orders 90d is less than 1,000"),
        ("mrr_micros between 1500000 and 2000000", "mrr is at least 1.5 and mrr is at most 2"),
        ("mrr_micros > orders_90d * 2", "mrr is more than (orders 90d * 2)"),
        ("plan in ('pro', 'team')", "plan is one of “pro”, “team”"),
        ("plan not in ('pro', 'team')", "plan is none of “pro”, “team”"),
        ("plan like 'pro%'", "plan begins with “pro”"),
        ("plan not like '%x%'", "plan does not contain “x”"),
        ("csat_mean is null", "csat mean is unknown"),
        ("csat_mean is not null", "csat mean is known"),
        ("not is_known", "is known is false"),
        ("has_purpose('marketing.email')", "has allowed marketing.email"),
        ("not in_segment('vip')", "is not in segment vip"),
        ("days_since(last_order_at) <= 60", "days since last order at is at most 60"),
        ("true", "everyone"),
        (
            "is_known and (plan = 'pro' or orders_90d = 0)",
            "is known is true and (plan is “pro” or orders 90d is 0)",
        ),
    ],
)
def test_rules_in_words(company, rule: str, words: str) -> None:
    assert in_words(parse_rule(rule, company.types)) == words


def test_the_clauses_of_a_rule_stand_apart(company) -> None:
    assert clauses_in_words(parse_rule("is_known", company.types)) == (None, ("is known is true",))
    assert clauses_in_words(parse_rule("is_known or csat_mean is null", company.types)) == (
        "or",
        ("is known is true", "csat mean is unknown"),
    )
