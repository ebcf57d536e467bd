"""A mistake in the catalog is pointed at: which file, which line, what was expected."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(900)

Ask = Callable[..., Any]


@dataclass(frozen=True)
class Mistake:
    """A mistake in the catalog.

    Attributes:
        file: File that is changed.
        changes: Texts that occur once in it, and what becomes of them.
        said: Part of what is said.
        at: The line that it points at, as it begins.
        named: File that it points at, where another one is as much at fault.
    """

    file: str
    changes: dict[str, str]
    said: str
    at: str
    named: str = ""


CHAMPIONS = "segments/champions.yml"

MISTAKES = {
    "broken YAML": Mistake(
        CHAMPIONS, {"owner: {team: growth,": "owner: {team: [growth,"}, "not YAML", "owner: {team: [growth"
    ),
    "an unknown feature": Mistake(
        CHAMPIONS,
        {"recency_score = 5": "recncy_score = 5"},
        "unknown feature recncy_score; did you mean recency_score?",
        "  recncy_score",
    ),
    "a value of another type": Mistake(
        CHAMPIONS,
        {"recency_score = 5": "recency_score = 'high'"},
        "recency_score is a whole number, 'high' is a text",
        "  recency_score",
    ),
    "an unknown key": Mistake(
        CHAMPIONS, {"objective:": "objectve:"}, "unknown key objectve; did you mean objective?", "objectve:"
    ),
    "equal precedence": Mistake(
        CHAMPIONS,
        {"precedence: 1\n": "precedence: 2\n"},
        "loyal_customers and champions have the same precedence 2 in group rfm",
        "precedence: 2",
        named="segments/loyal_customers.yml",
    ),
    "a cycle of groups": Mistake(
        "groups.yml",
        {"  - key: tier\n": "  - key: tier\n    parent: rfm\n", "  - key: rfm\n": "  - key: rfm\n    parent: tier\n"},
        "segments depend on each other in a cycle: tier → rfm → tier",
        "rule: |",
        named="segments/tier_core.yml",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_validate_points_at_the_mistake(ask: Ask, tmp_path: Path, catalog: Path, mistake: Mistake) -> None:
    text = (catalog / mistake.file).read_text(encoding="utf-8")
    for old, new in mistake.changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    (catalog / mistake.file).write_text(text, encoding="utf-8")

    found = ask(tmp_path, "validate", "--json", STRATA_CATALOG=str(catalog))

    assert found.code == 1
    assert found.err == ""
    errors = [problem for problem in found.json["problems"] if problem["severity"] == "error"]
    assert len(errors) == found.json["errors"] == 1, errors
    (error,) = errors
    assert mistake.said in error["what"]
    assert error["expected"]
    named = catalog / (mistake.named or mistake.file)
    assert named == catalog.parent / error["file"]
    assert named.read_text(encoding="utf-8").splitlines()[error["line"] - 1].startswith(mistake.at)

    shown = ask(tmp_path, "validate", STRATA_CATALOG=str(catalog))
    assert shown.code == 1
    assert f"{error['file']}:{error['line']}" in shown.out
    assert "1 error, 0 warnings" in shown.out


def test_validate_passes_the_shipped_catalog(ask: Ask, tmp_path: Path) -> None:
    found = ask(tmp_path, "validate", "--json")
    assert found.code == 0
    assert found.json["errors"] == 0
