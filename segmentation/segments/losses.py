"""Who can lose members because another segment can gain some.

Belongs here: following that over exclusive groups, their parents and ``in_segment``. Does not belong here: whether a
segment can gain members by a change of its definition (``change_classes.py``).
"""

from collections.abc import Iterator

from segmentation.segments.catalog import Catalog
from segmentation.segments.compiled import CatalogSegment
from segmentation.segments.conditions import InSegment, leaves


def find_losses(old: Catalog, new: Catalog, grown: CatalogSegment) -> Iterator[str]:
    """Yield who can lose members because a segment can gain some.

    Rivals that rank below it in an exclusive group can, and segments that ask for its absence; then the same for every
    segment that grows with it: because it asks for its presence, because its group is within its group, or because it
    is below a rival that loses, in another group of that one's.

    Args:
        old: What is live.
        new: What would be.
        grown: The segment, as it would be.
    """
    reached = [grown]
    for segment in reached:
        for other in new.segments.values():
            if other.key == segment.key or not other.definition.is_evaluated:
                continue
            held = old.segments.get(other.key)
            has_members = held is not None and held.definition.is_evaluated
            group = _ranks_below(other, segment)
            if has_members and group:
                yield f"{segment.key} takes members from {other.key}, which ranks below it in group {group}"
                # Whom it loses, those can win that it ranks above elsewhere.
                reached += [
                    third
                    for third in new.segments.values()
                    if _ranks_below(third, other) and not _ranks_below(third, segment) and third not in reached
                ]
            asked = [leaf for leaf in _asked(other) if leaf.key == segment.key]
            if has_members and any(leaf.negated for leaf in asked):
                yield f"{other.key} asks who is not in {segment.key}, so it can lose members"
            grows = any(not leaf.negated for leaf in asked) or _is_within(new, other, segment)
            if grows and other not in reached:
                reached.append(other)


def _asked(segment: CatalogSegment) -> list[InSegment]:
    found = [leaf for condition in segment.conditions for leaf in leaves(condition)]
    return [leaf for leaf in found if isinstance(leaf, InSegment)]


def _ranks_below(segment: CatalogSegment, other: CatalogSegment) -> str | None:
    """Return an exclusive group of both in which ``other`` wins over ``segment``; ``None`` where it wins in none."""
    one, two = segment.definition.ranks, other.definition.ranks
    won = (group for group in sorted(one) if group in two and (one[group], segment.key) > (two[group], other.key))
    return next(won, None)


def _is_within(catalog: Catalog, segment: CatalogSegment, other: CatalogSegment) -> bool:
    """Say whether only members of ``other``'s group can be in ``segment``."""
    groups = [catalog.groups[name] for name in segment.definition.ranks if name in catalog.groups]
    return any(group.definition.parent in other.definition.ranks for group in groups)
