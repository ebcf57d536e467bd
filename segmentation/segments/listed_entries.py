"""Lists of a definition as a plan shows them: what kind of entry comes and goes, and nothing of whom it names.

Belongs here: the form of an entry that may leave the catalog. Does not belong here: reading lists (``lists.py``) and
what a changed list may do (``change_classes.py``).

A plan's file and its report are passed around, so they hold no identifier, no customer and none of the reasons that
people wrote. A digest of four digits tells the entries of a list apart, and whoever knows an entry finds it again;
it fits one in 65,536 of all addresses there are, so that trying them all tells nobody's.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from segmentation.segments.catalog import digest
from segmentation.segments.change_classes import Difference

#: Keys of a definition that list customers.
LISTS = ("include", "exclude")
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class ShownList:
    """One side of a changed list, without what it names.

    Attributes:
        entries: How many it has.
        moved: Those that the other side lacks: type, digest or file, and until, where they have one.
    """

    entries: int
    moved: tuple[dict[str, str], ...]


def show_lists(difference: Difference) -> tuple[ShownList, ShownList]:
    """Return both sides of a changed list, before and after; a list that is not there has no entries.

    Args:
        difference: Of a key among ``LISTS``.
    """
    before, after = _shown(difference.before), _shown(difference.after)
    return (
        ShownList(before.total(), tuple(dict(one) for one in sorted((before - after).elements()))),
        ShownList(after.total(), tuple(dict(one) for one in sorted((after - before).elements()))),
    )


def _shown(entries: Sequence[dict[str, Any]] | None) -> Counter[tuple[tuple[str, str], ...]]:
    return Counter(tuple(_entry(one).items()) for one in entries or ())


def _entry(entry: dict[str, Any]) -> dict[str, str]:
    if entry.get("file"):
        shown = {"type": "file", "file": str(entry["file"])}
    else:
        named = entry.get("identifier")
        kind = str(named["type"]) if named else "customer"
        shown = {"type": kind, "digest": digest(named or entry.get("customer"))[:_DIGITS]}
    return shown | ({"until": str(entry["until"])} if entry.get("until") else {})
