"""What a plan is made of: sections, each a small table about one effect of a change.

Belongs here: the shape of a section, and what a section may ask about. Does not belong here: the sections themselves
(``plan_effects.py``, ``plan_values.py``, and modules of later stages) and which of them a plan has, which is a list in
``orchestration/plan_sections.py``: who has something to say about a change, such as what it does to invoices, writes
a function of this shape and adds it to that list.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from segmentation.run import Run
from segmentation.segments.catalog import Catalog
from segmentation.segments.in_force import Unit
from segmentation.warehouse import Connection

#: How a cell is shown: as it is, as a count, as money in micros, or as a share of one.
ColumnKind = Literal["text", "count", "money", "ratio"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a section's table."""

    name: str
    kind: ColumnKind = "text"


@dataclass(frozen=True, slots=True)
class Section:
    """One table of a plan, with what a reader must know of it.

    Attributes:
        name: Name for programs: ``revenue``.
        title: Heading for people.
        columns: The table's columns.
        rows: Its rows, JSON-ready.
        notes: Sentences below it; without rows, what it means that there are none.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The section as JSON-ready facts."""
        return {
            "name": self.name,
            "title": self.title,
            "columns": [{"name": column.name, "kind": column.kind} for column in self.columns],
            "rows": [list(row) for row in self.rows],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class PlanContext:
    """What a section may look at.

    Attributes:
        con: The scratch database: published tables under their names, the outcome in ``segments.candidate_*``.
        run: The run that was tried.
        live: What is live, as a catalog.
        catalog: What was tried.
        units: What differs between the two.
        feature_units: Feature to what its values count or measure; empty where nobody says.
    """

    con: Connection
    run: Run
    live: Catalog
    catalog: Catalog
    units: tuple[Unit, ...]
    feature_units: Mapping[str, str] = field(default_factory=dict)

    @property
    def changed_segments(self) -> set[str]:
        """Keys of the segments that are defined differently."""
        return {change.key for unit in self.units for change in unit.changes if change.kind == "segment"}


#: Measures one effect of what was tried; a section of the plan each.
PlanSection = Callable[[PlanContext], Sequence[Section]]
