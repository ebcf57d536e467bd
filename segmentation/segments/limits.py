"""Limits on what a publication may do to a segment, wherever they are written: which of two is the stricter.

Belongs here: the shape of limits that come from a definition's guards and from the policy, joined. Does not belong
here: the keys of a definition (``definitions.py``), the policy's file (``policy.py``), or judging (the gate).
"""

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from segmentation.segments.definitions import Guards

#: Churn is judged from this many members on, unless a limit says otherwise.
MIN_BASE = 100


class Limits(BaseModel):
    """Limits of one segment; ``None`` sets no limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_size: int | None = Field(None, ge=0, description="Fewest members.")
    max_size: int | None = Field(None, ge=0, description="Most members.")
    max_churn_ratio: float | None = Field(
        None, ge=0, le=1, description="Largest share of members that may leave in one run."
    )
    max_share: float | None = Field(None, ge=0, le=1, description="Largest share of all customers.")
    max_exits: int | None = Field(None, ge=0, description="Most members that may leave in one run.")
    min_base: int | None = Field(None, ge=0, description="Churn is judged from this many members on; default 100.")

    @classmethod
    def of(cls, guards: Guards) -> "Limits":
        """Return the limits that a definition's guards set."""
        facts = guards.model_dump()
        # Without a limit on churn, it makes no difference from how many members on it would be judged.
        base = None if guards.max_churn_ratio is None else guards.min_base
        return cls.model_validate({**facts, "min_base": base})


def stricter(one: Limits, other: Limits) -> Limits:
    """Return the limits of both, the stricter one where both set the same."""
    judged = [limits for limits in (one, other) if limits.max_churn_ratio is not None]
    bases = [MIN_BASE if limits.min_base is None else limits.min_base for limits in judged]
    return Limits(
        min_size=_pick(max, one.min_size, other.min_size),
        max_size=_pick(min, one.max_size, other.max_size),
        max_churn_ratio=_least(one.max_churn_ratio, other.max_churn_ratio),
        max_share=_least(one.max_share, other.max_share),
        max_exits=_pick(min, one.max_exits, other.max_exits),
        min_base=min(bases, default=None),
    )


def loosened(before: Limits, after: Limits) -> list[str]:
    """Return the limits that give way from one to the other, in words; none where all are kept or get stricter."""
    both = stricter(before, after)
    return [
        f"{name} {_said(getattr(before, name))} → {_said(getattr(after, name))}"
        for name in Limits.model_fields
        if getattr(both, name) != getattr(after, name)
    ]


def _pick(choose: Callable[[int, int], int], one: int | None, other: int | None) -> int | None:
    return (one if other is None else other) if one is None or other is None else choose(one, other)


def _least(one: float | None, other: float | None) -> float | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _said(value: object) -> str:
    return "no limit" if value is None else str(value)
