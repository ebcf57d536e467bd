"""The guards on a small world whose truth is known: precise, nobody mixed, and little is lost by it."""

from pathlib import Path

import pytest

from benchmarks.guard_world import measure, render
from benchmarks.sections import MARK, apart_from_the_chain, replace_section

#: Every set of rules resolves ten thousand people; what single guards do is shown by their own tests.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Every set of rules on ten thousand people."""
    found = measure(tmp_path_factory.mktemp("world"), persons=10_000, seed=3, memory="1GB")
    return {**found, "date": "2026-11-01"}


def _scores(figures: dict, rules: str) -> dict[str, float]:
    [line] = [one for one in figures["lines"] if one["rules"].startswith(rules)]
    return {name: one["value"] for name, one in line["metrics"].items()}


def test_the_world_is_as_noisy_as_it_should_be(figures):
    shipped = figures["lines"][0]
    assert 0.04 <= shipped["bad_edges"] / shipped["edges"] <= 0.05


def test_the_shipped_rules_are_precise_and_mix_nobody(figures):
    shipped = _scores(figures, "R1 to R5")
    assert shipped["pairwise_precision"] >= 0.97
    assert shipped["known_profiles_mixing_people"] == 0
    assert shipped["recall_ceiling"] - 0.01 <= shipped["pairwise_recall"] <= shipped["recall_ceiling"]
    assert _scores(figures, "as shipped, people twice as careless")["known_profiles_mixing_people"] == 0


def test_each_guard_is_for_something(figures):
    shipped, no_alias, no_limits, nothing = (
        _scores(figures, rules) for rules in ("R1 to R5", "without R5", "R1 and R3 alone", "no guard")
    )
    assert no_alias["pairwise_recall"] < shipped["pairwise_recall"]
    assert no_limits["pairwise_precision"] < 0.9 * shipped["pairwise_precision"]
    assert no_limits["known_profiles_mixing_people"] > 100
    assert nothing["pairwise_precision"] < 0.1


def test_the_section_says_what_was_met(figures, tmp_path: Path):
    text = render(figures)
    assert text.count("**met**") + text.count("**missed**") == 3
    assert "**met**: no known profile mixes two people; 0." in text
    report = tmp_path / "RESULTS.md"
    report.write_text("# Benchmarks\n\nthe chain's\n", encoding="utf-8")
    replace_section(report, "Guards", "first")
    replace_section(report, "Other", "other")
    replace_section(report, "Guards", text)
    written = report.read_text(encoding="utf-8")
    assert written.startswith("# Benchmarks\n\nthe chain's\n")
    assert "first" not in written
    assert written.count("## Guards\n") == written.count("## Other\n") == written.count(MARK) == 1
    assert apart_from_the_chain(report).count("## ") == 2
