"""Whatever is edited: without approval, nobody leaves a segment because of it."""

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
  - {key: offer, name: Offer, description: What is shown.}
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


def several(rules: st.SearchStrategy[str], ranks: tuple[int, ...], *groups: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return definitions of a segment that others ask for, in one or more of some groups."""
    places = st.dictionaries(st.sampled_from(groups), st.sampled_from(ranks), min_size=1)
    written = places.map(lambda found: "{" + ", ".join(f"{group}: {rank}" for group, rank in found.items()) + "}")
    return st.fixed_dictionaries(
        {"rule": rules, "include": LISTED, "exclude": st.just("[]"), "lifecycle": STEADY, "groups": written}
    )


SHARED = st.fixed_dictionaries(
    {
        "vip": several(PLAIN, (1, 4), "tier", "offer"),
        "core": several(PLAIN, (2, 5), "tier", "offer"),
        "free": several(PLAIN, (3, 6), "tier", "offer"),
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


def _winners(catalog: Catalog, claims: list[str], mine: set[str]) -> set[str]:
    ranks = {key: catalog.segments[key].definition.ranks for key in claims}
    held = {group for key in mine for group in catalog.segments[key].definition.ranks}
    found: set[str] = set()

    def is_decided(key: str) -> bool:
        return all(
            other in done
            for other in let_in
            for group in ranks[key].keys() & ranks[other].keys()
            if ranks[other][group] < ranks[key][group]
        )

    let_in = [
        key for key in claims if all(catalog.groups[one].definition.parent in {None, *held} for one in ranks[key])
    ]
    done: set[str] = set()
    while len(done) < len(let_in):
        key = next(key for key in let_in if key not in done and is_decided(key))
        done.add(key)
        if not any(ranks[key].keys() & ranks[winner].keys() for winner in found):
            found.add(key)
    return found


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


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(before=SHARED, after=SHARED, changed=st.sets(KEYS, min_size=1))
def test_in_groups_that_share_segments_nobody_leaves_either(
    before: dict[str, Any], after: dict[str, Any], changed: set[str]
) -> None:
    edit_without_approval(before, after, changed)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(before=SHARED, after=SHARED, key=KEYS)
def test_a_class_keeps_what_it_says_in_groups_that_share_segments(
    before: dict[str, Any], after: dict[str, Any], key: str
) -> None:
    edit_by_class(before, after, key)
