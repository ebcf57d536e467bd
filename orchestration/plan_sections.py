"""Which sections a plan has, in the order to show them.

Belongs here: the list. Does not belong here: any section. Whatever has something to say about a change of segments,
such as what it does to invoices or to promises of service, writes a function of the shape ``PlanSection``
(`segmentation/segments/plan_sections.py`) in its own stage and adds it here.
"""

from assets.sync import read_destinations
from orchestration.settings import Settings
from segmentation.costs.plan_section import cost_section
from segmentation.identity.purposes import load_purposes
from segmentation.segments.plan_effects import (
    conflict_section,
    guard_section,
    indirect_section,
    pin_section,
    size_section,
    transition_sections,
)
from segmentation.segments.plan_sections import PlanSection
from segmentation.segments.plan_values import consent_section, mover_section, revenue_section, traffic_section
from segmentation.sync.plan_section import delivery_section


def plan_sections(settings: Settings) -> list[PlanSection]:
    """Return the sections of a plan for one installation."""
    purposes = load_purposes(settings.catalog)
    return [
        guard_section,
        pin_section,
        size_section,
        transition_sections,
        indirect_section,
        conflict_section,
        revenue_section,
        cost_section,
        traffic_section,
        consent_section,
        delivery_section(read_destinations(settings), purposes.unconditional),
        mover_section,
    ]
