"""Canaries: a new version of a segment that holds for some customers, beside the version before.

Belongs here: who is in a canary, what it stands beside, and how that follows from what is live. Does not belong here:
judging it (``canary_metrics.py``), people's decisions (``canary_decisions.py``) and its rows
(``canary_publication.py``).

Customers are drawn by a digest of the segment's key and their id, so the same ones are drawn at every run and by every
system, other ones for another segment, and a larger share only adds customers.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from segmentation.errors import CatalogProblem, CatalogProblems
from segmentation.segments.catalog import Catalog, assemble, digest, normal_form
from segmentation.segments.compiled import CatalogSegment, Trial
from segmentation.warehouse import literal

#: What a canary may define otherwise than its base; all else takes effect for everybody at once.
TRIED = ("kind", "rule", "include", "exclude", "consent", "residency")

#: What a canary shares with its base: one rank, one group and one last day hold for both.
_SHARED = ("entity", "group", "precedence", "groups", "expires_on")

_DIGITS = 8


def in_canary_sql(key: str, percent: int, customer: str = "customer_id") -> str:
    """Return the SQL condition that a customer is drawn for a segment's canary.

    Args:
        key: The segment.
        percent: Share of customers, 1 to 99.
        customer: SQL of the customer's id.
    """
    return f"left(md5(concat({literal(key + ':')}, {customer})), {_DIGITS}) < '{_threshold(percent):0{_DIGITS}x}'"


def is_in_canary(key: str, percent: int, customer_id: str) -> bool:
    """Say whether a customer is drawn for a segment's canary; see ``in_canary_sql``."""
    drawn = hashlib.md5(f"{key}:{customer_id}".encode(), usedforsecurity=False).hexdigest()[:_DIGITS]
    return int(drawn, 16) < _threshold(percent)


def _threshold(percent: int) -> int:
    return (percent << 4 * _DIGITS) // 100


def trial_hash(facts: Mapping[str, Any]) -> str:
    """Return the digest of what a canary tries, of a definition's normal form; percentage and words are not in it."""
    return digest({name: facts[name] for name in TRIED})


def settled(segment: CatalogSegment) -> CatalogSegment:
    """Return a definition as if it were active, which is how it holds for those for whom it holds."""
    definition = segment.definition.model_copy(update={"lifecycle": "active", "canary": None})
    return replace(segment, definition=definition, trial=None)


def held_together(
    before: CatalogSegment, after: CatalogSegment
) -> Iterator[tuple[CatalogSegment | None, CatalogSegment | None]]:
    """Yield which definition held and which one would, for each share of customers that is drawn alike."""
    for border in sorted({upto for one in (before, after) for upto, _ in one.parts}):
        yield (
            next(part for upto, part in before.parts if upto >= border),
            next(part for upto, part in after.parts if upto >= border),
        )


def with_canaries(live: Catalog | None, catalog: Catalog) -> Catalog:
    """Return a catalog whose canaries stand beside what is live.

    A canary goes on where the live one tries the same; its state goes with it. Otherwise it starts, beside what holds
    for everybody else now.

    Args:
        live: What is live; ``None`` before the first publication.
        catalog: What the files say.

    Raises:
        CatalogProblems: A canary is in another group than its base, ranks otherwise or ends on another day.
    """
    found = {key: one for key, one in catalog.segments.items() if one.definition.canary is not None}
    if not found:
        return catalog
    problems: list[CatalogProblem] = []
    segments = dict(catalog.segments)
    for key, segment in found.items():
        before = live.segments.get(key) if live else None
        trial = _trial(before, segment)
        problems += _disagreements(segment, trial.base)
        segments[key] = replace(segment, trial=trial)
    return with_segments(catalog, segments, problems)


def with_segments(
    catalog: Catalog, segments: dict[str, CatalogSegment], problems: list[CatalogProblem] | None = None
) -> Catalog:
    """Return a catalog with other segments in it, put together anew.

    Raises:
        CatalogProblems: They do not hold together, or there were problems already.
    """
    assembled, crossed = assemble(segments, catalog.groups)
    errors = [*(problems or ()), *(problem for problem in crossed if problem.severity == "error")]
    if errors:
        raise CatalogProblems(errors)
    return replace(catalog, segments=assembled.segments, levels=assembled.levels)


def _trial(before: CatalogSegment | None, segment: CatalogSegment) -> Trial:
    percent = segment.definition.canary.percent if segment.definition.canary else 0
    if before is None or not before.definition.is_evaluated:
        return Trial(None, percent)
    if before.trial is None:
        return Trial(before, percent)
    if _tried(before) != _tried(segment):
        return Trial(settled(before) if before.trial.state == "promoted" else before.trial.base, percent)
    match before.trial.state:
        case "promoted" | "aborted":
            return before.trial
        case "paused":
            # A share that grew while it is paused waits.
            return replace(before.trial, percent=min(percent, before.trial.percent))
        case _:
            return replace(before.trial, percent=percent)


def _tried(segment: CatalogSegment) -> str:
    return trial_hash(normal_form(segment.definition, segment.rule))


def _disagreements(segment: CatalogSegment, base: CatalogSegment | None) -> list[CatalogProblem]:
    found = []
    for name in _SHARED:
        new, old = getattr(segment.definition, name), getattr(base.definition if base else segment.definition, name)
        if new != old:
            found.append(
                CatalogProblem(
                    segment.file,
                    segment.line(name, "canary"),
                    f"the canary of {segment.key} has {name} {new or 'none'}, what is live has {old or 'none'}",
                    expected=f"the same {name}: a canary may change {', '.join(TRIED)}",
                    repair=f"write {name}: {old or 'null'}, or make the change without a canary",
                )
            )
    return found
