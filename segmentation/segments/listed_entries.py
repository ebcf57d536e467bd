"""Lists of a definition as a plan shows them: what kind of entry comes and goes, and nothing of whom it names.

Belongs here: the form of an entry that may leave the catalog. Does not belong here: reading lists (``lists.py``) and
what a changed list may do (``change_classes.py``).

A plan's file and its report are passed around, so they hold no identifier, no customer and none of the reasons that
people wrote; no digest of them either, because whoever has a digest and guesses an address knows whether it is that.
An entry is told by its place in the list: whoever may read the catalog finds it there.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from segmentation.segments.change_classes import Difference

#: Keys of a definition that list customers.
LISTS = ("include", "exclude")


@dataclass(frozen=True, slots=True)
class ShownList:
    """One side of a changed list, without what it names.

    Attributes:
        entries: How many it has.
        moved: Those that the other side lacks, or has until another day: type, place in the list from 1 on, file and
            until, where they have one; with the place on the other side, where the same is there.
    """

    entries: int
    moved: tuple[dict[str, Any], ...]


def show_lists(difference: Difference) -> tuple[ShownList, ShownList]:
    """Return both sides of a changed list, before and after; a list that is not there has no entries.

    Args:
        difference: Of a key among ``LISTS``.
    """
    before, after = difference.before or (), difference.after or ()
    return (
        ShownList(len(before), tuple(_moved(before, after, "after"))),
        ShownList(len(after), tuple(_moved(after, before, "before"))),
    )


def _moved(entries: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]], side: str) -> Iterator[dict[str, Any]]:
    places: dict[str, list[int]] = defaultdict(list)
    for place, other in enumerate(others, start=1):
        places[_named(other)].append(place)
    for place, entry in enumerate(entries, start=1):
        same = places[_named(entry)]
        partner = same.pop(0) if same else None
        if partner is not None and others[partner - 1].get("until") == entry.get("until"):
            continue
        shown = {"type": _type(entry), "entry": place}
        if entry.get("file"):
            shown["file"] = str(entry["file"])
        if entry.get("until"):
            shown["until"] = str(entry["until"])
        yield shown | ({side: partner} if partner is not None else {})


def _type(entry: dict[str, Any]) -> str:
    if entry.get("file"):
        return "file"
    named = entry.get("identifier")
    return str(named["type"]) if named else "customer"


def _named(entry: dict[str, Any]) -> str:
    return json.dumps([entry.get(name) for name in ("customer", "identifier", "file")], sort_keys=True)
