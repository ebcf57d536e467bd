"""Freezing, killing, rolling back and releasing a segment from the Dagster UI: what a run is told, and doing it.

Belongs here: the configuration of the step that proposes membership, and the decision that it names. Does not belong
here: what may be decided (`segmentation/segments/pin_decisions.py`), or the jobs that ask for it
(`orchestration/jobs.py`). A run without a decision, as every scheduled one, has none of it.
"""

import dagster as dg
from pydantic import Field

from orchestration.settings import Settings, now
from segmentation import audit
from segmentation.identity.rule_book import Signature
from segmentation.segments.pin_decisions import decide_pin
from segmentation.sync.side_effects import list_side_effects
from segmentation.warehouse import Connection, transaction


class SegmentDecision(dg.Config):
    """What somebody decides about one segment with this run; nothing by default."""

    action: str = Field(default="", description="freeze, kill, rollback or unfreeze; empty for none.")
    segment: str = Field(default="", description="Segment key.")
    to: str = Field(default="", description="Of a rollback: a version (3), a publication (p12) or a moment, UTC.")
    author: str = Field(default="", description="Who decides; kept for good.")
    reason: str = Field(default="", description="Why, such as a ticket; kept for good, so name no person.")


def decide(con: Connection, settings: Settings, asked: SegmentDecision) -> dict[str, dg.MetadataValue]:
    """Write the decision of a run down, with its row in the audit log, before membership is proposed.

    Returns:
        What was decided, and what a rollback does not take back; empty where the run names no decision.
    """
    if not asked.action:
        return {}
    audit.require_whole(con, settings.audit_folder)
    with transaction(con):
        decision = decide_pin(
            con, asked.action, asked.segment, Signature(asked.author, asked.reason, now()), to=asked.to
        )
    audit.keep_copy(con, settings.audit_folder)
    told: dict[str, dg.MetadataValue] = {"decision": dg.MetadataValue.text(decision.sentence)}
    if decision.action == "rollback" and decision.moment is not None:
        effects = list_side_effects(con, settings.sync_state, decision.segment_key, decision.moment)
        told["not_taken_back"] = dg.MetadataValue.json(effects.as_dict())
    return told
