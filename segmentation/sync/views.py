"""Consent views: what a group of destinations may see of all customers.

Belongs here: which destination reads which view. Does not belong here: what a view contains
(``effective.py``). Destinations that may see the same share a view, its log and its sequence numbers; when
what a destination may see changes, it reads another view and is loaded anew.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from segmentation.sync.catalog import DestinationBase
from segmentation.warehouse import Connection


@dataclass(frozen=True, slots=True)
class View:
    """What some destinations may see.

    Attributes:
        purposes: Consent purposes a customer must allow, all of them, to be in the view.
        segments: The only segments in it; ``None`` for all.
        withheld: Segments that name other destinations as theirs, and so are not in it.
        has_customers: Whether customers are in it; if not, only what segments there are.
        regions: Only customers whose residency region is one of these are in it; empty for all.
    """

    purposes: tuple[str, ...]
    segments: tuple[str, ...] | None = None
    withheld: tuple[str, ...] = ()
    has_customers: bool = True
    regions: tuple[str, ...] = ()

    @property
    def view_id(self) -> str:
        """Readable, stable name: the purposes, and a digest of what is not the default."""
        name = "+".join(self.purposes) + ("" if self.has_customers else "~segments")
        if self.segments is None and not self.withheld and not self.regions:
            return name
        return f"{name}#{hashlib.sha256(self.limits.encode()).hexdigest()[:12]}"

    @property
    def limits(self) -> str:
        """The segments that are in the view, those that are withheld, and the regions where there are some, as JSON."""
        regions = {"regions": self.regions} if self.regions else {}
        return json.dumps({"segments": self.segments, "withheld": self.withheld, **regions})


def view_of(view_id: str, purposes: Sequence[str], limits: Mapping[str, Sequence[str] | None]) -> View:
    """Return the view that an id and what is kept of it describe."""
    segments = limits["segments"]
    withheld = tuple(limits["withheld"] or ())
    regions = tuple(limits.get("regions") or ())
    view = View(tuple(purposes), None if segments is None else tuple(segments), withheld, regions=regions)
    return view if view.view_id == view_id else replace(view, has_customers=False)


def resolve_views(con: Connection, destinations: Sequence[DestinationBase]) -> dict[str, View]:
    """Return the view of each destination, by the destination's name.

    A segment of the catalog that names destinations goes to those alone.
    """
    named = con.execute(
        "select segment_key, destinations from segments.catalog where len(destinations) > 0 order by segment_key"
    ).fetchall()
    return {
        destination.name: View(
            purposes=tuple(sorted(set(destination.purposes))),
            segments=None if destination.segments == "all" else tuple(sorted(set(destination.segments))),
            withheld=tuple(key for key, names in named if destination.name not in names),
            has_customers=destination.holds_customers,
            # A file without customers tells of nobody.
            regions=tuple(sorted(set(destination.regions))) if destination.holds_customers else (),
        )
        for destination in destinations
    }
