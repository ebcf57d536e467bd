"""Overlaps are those of the memberships and claims, whatever the number of segments and words."""

from collections import Counter
from itertools import combinations

import pytest

from segmentation.segments.overlaps import largest_combinations, measure_overlaps


def overlaps(company) -> dict[tuple[str, str], tuple[int, ...]]:
    rows = company.rows("select * exclude (run_id, recorded_at) from segments.overlaps")
    return {(row[0], row[1]): row[2:] for row in rows}


def counted(company) -> dict[tuple[str, str], tuple[int, ...]]:
    """The same, counted by hand from the membership and the candidate."""
    keys = sorted(row[0] for row in company.rows("select segment_key from segments.catalog where is_evaluated"))
    held: dict[str, dict[str, set[str]]] = {"membership": {}, "candidate": {}}
    for table, by_key in held.items():
        for customer, key in company.rows(f"select customer_id, segment_key from segments.{table}"):
            by_key.setdefault(key, set()).add(customer)
    found = {}
    for pair in combinations(keys, 2):
        figures: list[int] = []
        for by_key in held.values():
            one, other = (by_key.get(key, set()) for key in pair)
            figures += [len(one), len(other), len(one & other)]
        found[pair] = tuple(figures)
    return found


@pytest.mark.parametrize("segments", [0, 1, 5, 70])
def test_pairs_are_counted_across_words(company, segments: int) -> None:
    company.write_groups("groups:\n  - {key: tier, name: T, description: T, costing: true}\n")
    for number in range(segments):
        group = {"group": "tier", "precedence": number + 1} if number % 3 == 0 else {}
        company.write(f"s{number:02d}", f"mrr_micros >= {number % 7} and orders_90d <> {number}", **group)
    company.features(
        *({"customer_id": f"c_{n}", "mrr_micros": n % 9, "orders_90d": n % 70} for n in range(300)),
    )
    run = company.decide()
    assert measure_overlaps(company.con, run) == segments * (segments - 1) // 2
    assert overlaps(company) == counted(company)
    # Another time it is the same, and a segment that goes leaves no pair behind.
    if segments:
        company.remove("s00")
        measure_overlaps(company.con, company.decide(days=1))
        assert overlaps(company) == counted(company)


def test_combinations_are_those_of_the_members(company) -> None:
    company.write("a", "mrr_micros > 1")
    company.write("b", "mrr_micros > 3")
    company.write("c", "orders_90d > 0")
    company.features(*({"customer_id": f"c_{n}", "mrr_micros": n % 6, "orders_90d": n % 2} for n in range(100)))
    company.decide()
    held: Counter[tuple[str, ...]] = Counter()
    for n in range(100):
        wanted = {"a": n % 6 > 1, "b": n % 6 > 3, "c": n % 2 > 0}
        held[tuple(key for key, is_in in wanted.items() if is_in)] += 1
    # Who has features and is in nothing is a combination as well.
    found = {one.segment_keys: one.customers for one in largest_combinations(company.con)}
    assert found == dict(held)
    sizes = [one.customers for one in largest_combinations(company.con, limit=2)]
    assert sizes == sorted(held.values(), reverse=True)[:2]


def test_before_the_first_publication_there_are_no_combinations(company) -> None:
    company.features({"customer_id": "c_a"})
    company.decide()
    assert largest_combinations(company.con) == []
