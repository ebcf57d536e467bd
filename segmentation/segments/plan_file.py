"""A plan's file: what was reviewed, and what is applied.

Belongs here: writing it, reading it back, and refusing one that was changed. Does not belong here: what a plan says
(``plan.py``). The file holds ids of customers, which are ours, and no personal data; it is no place to keep them, so
throw it away once it is applied.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from segmentation.errors import StrataError
from segmentation.segments.catalog import digest
from segmentation.segments.plan import Base, Content, Plan

FORMAT = "strata.plan/1"


class PlanError(StrataError):
    """A plan can't be applied."""


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan as it was written.

    Attributes:
        hash: Digest of all of it.
        as_of: The moment of the features.
        base: What it was made on.
        expected: The changes that applying it would publish.
        facts: All that it says.
    """

    hash: str
    as_of: datetime
    base: Base
    expected: Content
    facts: Mapping[str, Any]


def plan_hash(plan: Plan) -> str:
    """Return the digest of a plan: the same whenever it is made on the same base."""
    return _digest({"format": FORMAT, **plan.as_dict()})


def effect_hash(facts: Mapping[str, Any]) -> str:
    """Return the digest of what a plan does: of all that it says but for how each change is judged.

    A judgement rests on a proof, which a busy machine may not find in time; what is applied does not depend on it.
    """
    units = [
        {name: unit[name] for name in ("unit", "base_hash", "target_hash")} for unit in facts.get("definitions", [])
    ]
    return _digest({**facts, "format": FORMAT, "definitions": units})


def render_plan(plan: Plan) -> str:
    """Return a plan as the text of its file."""
    facts = {"format": FORMAT, **plan.as_dict()}
    return json.dumps({**facts, "hash": _digest(facts)}, ensure_ascii=False, indent=1) + "\n"


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan to its file; one of that name is replaced at once."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(render_plan(plan), encoding="utf-8")
    draft.replace(path)


def read_plan(path: Path) -> PlanFile:
    """Read a plan's file.

    Raises:
        PlanError: It is not there, not a plan, of another version, or not as it was written.
    """
    again = "make it again: strata plan --out FILE"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(
            f"the plan can't be read: {(error.strerror or str(error)).lower()}", where=str(path),
            expected="a file that strata plan --out wrote", repair=again,
        ) from None  # fmt: skip
    except ValueError as error:
        raise PlanError(
            f"the file is no plan: {error}", where=str(path), expected="JSON as strata plan --out writes it",
            repair=again,
        ) from None  # fmt: skip
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        found = facts.get("format") if isinstance(facts, dict) else None
        raise PlanError(
            f"the file is no plan of this version: its format is {found!r}", where=str(path), expected=FORMAT,
            repair=again,
        )  # fmt: skip
    said = facts.pop("hash", None)
    if said != _digest(facts):
        raise PlanError(
            "the plan was changed after it was made: its hash does not fit what it says",
            where=str(path),
            expected="the file as strata plan wrote it",
            repair=again,
        )
    try:
        base, expected = facts["base"], facts["expected"]
        return PlanFile(
            hash=said,
            as_of=datetime.fromisoformat(facts["as_of"]),
            base=Base(**{field.name: base[field.name] for field in fields(Base)}),
            expected=Content(int(expected["changes"]), str(expected["digest"])),
            facts=facts,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise PlanError(f"the plan lacks {error}", where=str(path), expected="a whole plan", repair=again) from None


def _digest(facts: Mapping[str, Any]) -> str:
    # As it will be read: tuples are lists there, and keys are texts.
    return digest(json.loads(json.dumps(facts, ensure_ascii=False)))
