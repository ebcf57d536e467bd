"""Whatever is edited: without approval, nobody leaves a segment because of it."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmentation.segments.catalog import Catalog, read_catalog
from segmentation.segments.change_classes import compare_catalogs
from segmentation.segments.evaluation import holds
from segmentation.segments.in_force import find_units, mix_catalogs

from .conftest import TYPES

GROUPS = """
groups:
  - {key: tier, name: Tier, description: Service., costing: true}
  - {key: perks, name: Perks, description: More., parent: tier}
"""

#: Every customer there can be, as far as the rules below can tell them apart.
CUSTOMERS = [
    {"customer_id": f"c_{number}", "mrr_micros": mrr, "orders_90d": orders, "is_known": known}
    for number, (mrr, orders, known) in enumerate(product((None, 0, 1, 2), (None, 0, 3), (None, True, False)))
]

PLAIN = st.sampled_from(
    ["true", "is_known", "not is_known", "mrr_micros > 0", "mrr_micros >= 2", "mrr_micros = 0", "orders_90d > 1",
     "orders_90d > 1 or is_known", "mrr_micros > 0 and is_known", "mrr_micros is null", "not mrr_micros > 0"]
)  # fmt: skip
ASKING = st.sampled_from(
    ["in_segment('vip')", "not in_segment('vip')", "in_segment('free') and is_known", "not in_segment('lounge')",
     "in_segment('lounge') or mrr_micros > 1", "in_segment('base')", "not in_segment('base')"]
)  # fmt: skip
LISTED = st.sampled_from(
    ["[]", "[{customer: c_1, reason: x}]", "[{customer: c_1, reason: y}, {customer: c_7, reason: z}]"]
)
KEYS = st.sampled_from(["vip", "core", "free", "lounge", "base", "asks"])
#: What others ask for is seldom anything but active, else the catalog is refused.
STEADY = st.sampled_from([*["active"] * 9, "deprecated", "draft"])
LIFE = st.sampled_from(["active", "active", "active", "deprecated", "draft", "retired"])


def segment(
    rules: st.SearchStrategy[str], group: str | None = None, ranks: tuple[int, ...] = (), *, is_asked_for: bool = False
) -> st.SearchStrategy[dict[str, Any] | None]:
    """Return definitions of a segment, or that there is none; ranks are its own, so that none is taken twice."""
    place = {} if group is None else {"group": st.just(group), "precedence": st.sampled_from(ranks)}
    life = STEADY if is_asked_for else LIFE
    one = st.fixed_dictionaries({"rule": rules, "include": LISTED, "exclude": LISTED, "lifecycle": life, **place})
    return one if is_asked_for else st.none() | one | one | one


CATALOG = st.fixed_dictionaries(
    {
        "vip": segment(PLAIN, "tier", (1, 4), is_asked_for=True),
        "core": segment(PLAIN, "tier", (2, 5)),
        "free": segment(PLAIN, "tier", (3, 6), is_asked_for=True),
        "lounge": segment(PLAIN, "perks", (1, 3), is_asked_for=True),
        "base": segment(PLAIN, is_asked_for=True),
        "asks": segment(ASKING),
        "asks_too": segment(ASKING, "perks", (2, 4)),
    }
)


def load(definitions: dict[str, dict[str, Any] | None]) -> Catalog | None:
    """Return a catalog of these definitions; ``None`` where they don't go together."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "segments").mkdir()
        (folder / "groups.yml").write_text(GROUPS, encoding="utf-8")
        for key, keys in definitions.items():
            if keys is None:
                continue
            facts = {
                "key": key, "name": key, "description": "x", "owner": "{team: a, contact: a}", "objective": "insight",
                "action": "x", "measure": "x", "review_by": "2027-01-01",
                "kind": "rule" if keys["include"] == "[]" else "hybrid", **keys, "rule": f'"{keys["rule"]}"',
            }  # fmt: skip
            text = "".join(f"{name}: {value}\n" for name, value in facts.items())
            (folder / "segments" / f"{key}.yml").write_text(text, encoding="utf-8")
        catalog, problems = read_catalog(folder, TYPES)
    return None if any(problem.severity == "error" for problem in problems) else catalog


def members(catalog: Catalog) -> set[tuple[str, str]]:
    """Decide by the definition of what decides, one customer at a time."""
    found: set[tuple[str, str]] = set()
    for customer in CUSTOMERS:
        name = str(customer["customer_id"])
        mine: set[str] = set()
        for level in catalog.levels:
            claims = [key for key in level if _claims(catalog, key, customer, mine)]
            mine |= set(_winners(catalog, claims, mine))
        found |= {(name, key) for key in mine}
    return found


def _claims(catalog: Catalog, key: str, customer: dict[str, Any], mine: set[str]) -> bool:
    one = catalog.segments[key]
    listed = {
        side: [entry.customer_id for entry in one.listings if entry.side == side] for side in ("include", "exclude")
    }
    if customer["customer_id"] in listed["exclude"]:
        return False
    return customer["customer_id"] in listed["include"] or holds(one.condition, customer, mine)


def _winners(catalog: Catalog, claims: list[str], mine: set[str]) -> Iterator[str]:
    best: dict[str, tuple[int, str]] = {}
    for key in claims:
        definition = catalog.segments[key].definition
        if definition.group is None:
            yield key
            continue
        parent = catalog.groups[definition.group].definition.parent
        if parent and not any(catalog.segments[other].definition.group == parent for other in mine):
            continue
        rank = (definition.precedence, key)
        best[definition.group] = min(best.get(definition.group, rank), rank)
    yield from (key for _, key in best.values())


def edit_without_approval(before: dict[str, Any], after: dict[str, Any], changed: set[str]) -> None:
    edited = {key: after[key] if key in changed else keys for key, keys in before.items()}
    live, catalog = load(before), load(edited)
    if live is None or catalog is None:
        return
    units = find_units(live, catalog)
    mixed, held = mix_catalogs(live, catalog, units, set())
    was, now = members(live), members(mixed)
    assert was <= now
    if not held:
        assert now == members(catalog)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(before=CATALOG, after=CATALOG, changed=st.sets(KEYS, min_size=1))
def test_without_approval_nobody_leaves(before: dict[str, Any], after: dict[str, Any], changed: set[str]) -> None:
    edit_without_approval(before, after, changed)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(before=CATALOG, after=CATALOG, changed=st.sets(KEYS, min_size=1))
def test_without_approval_nobody_leaves_many_times_over(
    before: dict[str, Any], after: dict[str, Any], changed: set[str]
) -> None:
    edit_without_approval(before, after, changed)


def edit_by_class(before: dict[str, Any], after: dict[str, Any], key: str) -> None:
    live, catalog = load(before), load({**before, key: after[key]})
    if live is None or catalog is None:
        return
    classes = {change.change_class for change in compare_catalogs(live, catalog)}
    if "breaking" not in classes:
        assert members(live) <= members(catalog)
    if classes <= {"metadata"}:
        assert members(live) == members(catalog)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(before=CATALOG, after=CATALOG, key=KEYS)
def test_a_class_keeps_what_it_says(before: dict[str, Any], after: dict[str, Any], key: str) -> None:
    edit_by_class(before, after, key)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(before=CATALOG, after=CATALOG, key=KEYS)
def test_a_class_keeps_what_it_says_many_times_over(before: dict[str, Any], after: dict[str, Any], key: str) -> None:
    edit_by_class(before, after, key)
