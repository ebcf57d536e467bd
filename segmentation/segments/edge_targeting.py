"""A whole segment as flagd targeting: all that decides it, or the reason why an edge can't decide it.

Belongs here: putting rule, consent, residency and precedence together. Does not belong here: the JSONLogic of a rule
(``json_logic.py``). What is delivered to edges is the membership itself (``segmentation.sync``); this is for edges
that know a customer's attributes before the platform does.
"""

from collections.abc import Mapping
from typing import Any

from segmentation.errors import CatalogProblem, NotFoundError, did_you_mean
from segmentation.segments.compiled import CatalogGroup, CatalogSegment
from segmentation.segments.conditions import PURPOSES, Condition, Constant, Every, Feature, Listed, OneOf, features_of
from segmentation.segments.json_logic import SEGMENTS, InexpressibleError, to_json_logic
from segmentation.segments.kinds import Kind

_RESIDENCY = Feature("residency_region", Kind.STRING)
#: How attributes of each kind are written; other kinds as they are.
_WRITTEN = {Kind.DATE: "days since 1970-01-01", Kind.TIMESTAMP: "microseconds since 1970-01-01, UTC"}

#: Rivals of several groups are written out wherever they decide: no edge gets more rules than this for one segment.
_MOST_CLAIMS = 200


def edge_targeting(
    key: str, segments: Mapping[str, CatalogSegment], groups: Mapping[str, CatalogGroup], kinds: Mapping[str, Kind]
) -> dict[str, Any]:
    """Return ``targeting``, JSONLogic that is true for members, and ``attributes``, how it wants to be told of them.

    Args:
        key: The segment.
        segments: The catalog's.
        groups: The catalog's.
        kinds: Feature to its kind.

    Raises:
        NotFoundError: There is no such segment.
        InexpressibleError: Something decides the segment that an edge can't decide, or not exactly.
    """
    if key not in segments:
        raise NotFoundError(f"there is no segment {key}{did_you_mean(key, segments)}", where="catalog/segments")
    segment = segments[key]
    claims: list[Condition] = []
    logic = _member_logic(segment, segments, groups, claims)
    names = list(dict.fromkeys(name for one in claims for name in features_of(one)))
    attributes = {name: _WRITTEN.get(kinds[name], str(kinds[name])) for name in names}
    if _asks_for_segments(logic):
        attributes[SEGMENTS] = "list of texts: the keys of the segments that the customer is in"
    return {"segment": key, "targeting": logic, "attributes": attributes}


def _member_logic(
    segment: CatalogSegment,
    segments: Mapping[str, CatalogSegment],
    groups: Mapping[str, CatalogGroup],
    claims: list[Condition],
) -> Any:
    """Return JSONLogic that is true for members; ``claims`` gets every condition in it.

    A rival that is in one group alone is no member for any other reason than that one before it is, so asking for its
    claim is asking enough; one of several groups may be kept out in another of them, so it is asked for whole.
    """
    for name in segment.definition.ranks:
        if (group := groups.get(name)) is not None and group.definition.parent:
            raise _refusal(
                segment,
                f"its group is for customers in a segment of {group.definition.parent} alone",
                "group" if segment.definition.group else "groups",
            )
    if len(claims) >= _MOST_CLAIMS:
        raise _refusal(
            segment, f"who wins in groups that hang together would take more than {_MOST_CLAIMS} rules", "groups"
        )
    claims.append(_claim(segment))
    logic = to_json_logic(claims[-1])
    better = _better(segment, segments)
    if not better:
        return logic
    beaten_by = []
    for other in better:
        if len(other.definition.ranks) > 1:
            beaten_by.append(_member_logic(other, segments, groups, claims))
        else:
            claims.append(_claim(other))
            beaten_by.append(to_json_logic(claims[-1]))
    # Who is not taken by another is more than who is taken by its opposite: nulls are neither.
    return {"and": [logic, *({"!": [one]} for one in beaten_by)]}


def _better(segment: CatalogSegment, segments: Mapping[str, CatalogSegment]) -> list[CatalogSegment]:
    ranks = segment.definition.ranks
    return [
        other
        for other in segments.values()
        if other.definition.is_evaluated
        and any(rank < ranks[group] for group, rank in other.definition.ranks.items() if group in ranks)
    ]


def _claim(segment: CatalogSegment) -> Condition:
    """Return the condition that decides a segment but for its group."""
    definition = segment.definition
    if not definition.is_evaluated:
        raise _refusal(segment, f"it is {definition.lifecycle}: nobody is in it", "lifecycle")
    if definition.canary is not None:
        raise _refusal(segment, "two versions of it hold, each for some customers", "canary")
    for side in ("include", "exclude"):
        if getattr(definition, side):
            raise _refusal(segment, f"{side} names customers, whom edges don't know by name", side)
    if definition.expires_on:
        raise _refusal(segment, f"it ends on {definition.expires_on}, and an edge has no calendar", "expires_on")
    if segment.account_condition is not None:
        raise _refusal(segment, "it is decided by account, and an edge knows customers alone", "entity")
    if segment.condition is None:
        raise _refusal(segment, "it has no rule that can be read", "rule")
    consents = [Listed(Feature(PURPOSES, Kind.STRINGS), purpose) for purpose in segment.required_purposes]
    regions = tuple(Constant(region, Kind.STRING) for region in definition.residency)
    residency = [OneOf(_RESIDENCY, regions)] if regions else []
    parts = [segment.condition, *consents, *residency]
    return parts[0] if len(parts) == 1 else Every(tuple(parts))


def _refusal(segment: CatalogSegment, why: str, key: str) -> InexpressibleError:
    place = CatalogProblem(segment.file, segment.line(key), why)
    return InexpressibleError(
        f"an edge can't decide {segment.key}: {why}",
        where=place.where,
        expected="a segment that its rule, consent, residency and precedence decide",
        repair="deliver its membership: destinations.yml",
    )


def _asks_for_segments(logic: Any) -> bool:
    if isinstance(logic, dict):
        return logic.get("var") == SEGMENTS or any(_asks_for_segments(one) for one in logic.values())
    return isinstance(logic, list) and any(_asks_for_segments(one) for one in logic)
