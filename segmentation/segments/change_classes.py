"""What differs between two catalogs, and how much it may do: ``metadata``, ``non_breaking`` or ``breaking``.

Belongs here: the difference of two definitions, key by key, with its class and its reason, and whom a wider segment
takes members from. Does not belong here: whether a change may go live (``in_force.py``) and how many customers it
moves (``plan.py``).

A change is breaking where somebody may leave a segment, where a limit or a consent that protects people gives way,
or where other money follows; non-breaking where customers can only enter; metadata where nobody moves at all.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from segmentation.segments.canaries import TRIED, held_together, settled
from segmentation.segments.catalog import Catalog, normal_form
from segmentation.segments.compiled import CatalogGroup, CatalogSegment
from segmentation.segments.limits import Limits, loosened
from segmentation.segments.losses import find_losses
from segmentation.segments.provenance import CLASSES, ChangeClass
from segmentation.segments.reasoning import implies

#: Keys of a definition that say what people think of a segment, not who is in it or what happens to its members.
DESCRIPTIVE = (
    "name",
    "description",
    "owner",
    "objective",
    "action",
    "measure",
    "severity",
    "review_by",
    "slo",
    "cost_ceiling",
)

#: Keys that a report shows of a segment that is new or gone.
_SHOWN_WHOLE = (
    "lifecycle",
    "rule",
    "include",
    "exclude",
    "group",
    "precedence",
    "groups",
    "residency",
    "required_purposes",
)

_MOVED: dict[str, str] = {
    "group": "it moves to another exclusive group",
    "precedence": "its rank in the group changes",
    "consent": "members must have consented to other purposes",
    "residency": "residents of other regions may be members",
    "entity": "it is about something else",
    "sensitive": "it may read other special categories of personal data",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One key of a definition that changed.

    Attributes:
        name: The key.
        before: Its value, JSON-ready; ``None`` where it had none.
        after: Its value now.
        change_class: What this key alone may do.
        reason: Why it is of that class, for people.
    """

    name: str
    before: Any
    after: Any
    change_class: ChangeClass
    reason: str


@dataclass(frozen=True, slots=True)
class DefinitionChange:
    """One segment, or one exclusive group, that is defined differently.

    Attributes:
        kind: What ``key`` is the key of.
        key: The segment or group.
        what: Whether it is new, different or gone.
        differences: Key by key; of what is new or gone, the keys that decide.
        reasons: Why it is of its class, the weightiest alone.
        change_class: The weightiest of all.
    """

    kind: Literal["segment", "group"]
    key: str
    what: Literal["added", "changed", "removed"]
    differences: tuple[Difference, ...]
    reasons: tuple[str, ...]
    change_class: ChangeClass


def heaviest(classes: Iterator[ChangeClass] | list[ChangeClass]) -> ChangeClass:
    """Return the weightiest of some classes; ``metadata`` for none."""
    return max(classes, key=CLASSES.index, default="metadata")


def compare_catalogs(before: Catalog, after: Catalog) -> tuple[DefinitionChange, ...]:
    """Return what differs between two catalogs, groups first, each in the order of their keys.

    Args:
        before: What is live.
        after: What would be.
    """
    found = [
        _group_change(before.groups.get(key), after.groups.get(key), key)
        for key in sorted({*before.groups, *after.groups})
    ]
    found += [
        _segment_change(before, after, before.segments.get(key), after.segments.get(key), key)
        for key in sorted({*before.segments, *after.segments})
    ]
    return tuple(change for change in found if change)


def _group_change(before: CatalogGroup | None, after: CatalogGroup | None, key: str) -> DefinitionChange | None:
    # What a group does to customers, its segments do: a group without any moves nobody.
    if before is None or after is None:
        group = before or after
        costing = bool(group and group.definition.costing)
        reason = "costs are split by it" if costing else "a group by itself has no members"
        what: Literal["added", "removed"] = "added" if before is None else "removed"
        return DefinitionChange("group", key, what, (), (reason,), "breaking" if costing else "metadata")
    differences = tuple(_group_differences(before, after))
    return _changed("group", key, differences, ()) if differences else None


def _group_differences(before: CatalogGroup, after: CatalogGroup) -> Iterator[Difference]:
    judged: dict[str, tuple[ChangeClass, str]] = {
        "parent": ("breaking", "only customers in a segment of the parent group can be in it"),
        "default": ("non_breaking", "losing to another segment is a conflict, but not for the default"),
        "costing": ("breaking", "costs are split by another group"),
    }
    was, now = before.definition.model_dump(mode="json"), after.definition.model_dump(mode="json")
    for name in now:
        if was[name] != now[name]:
            change_class, reason = judged.get(name, ("metadata", "it describes"))
            yield Difference(name, was[name], now[name], change_class, reason)


def _segment_change(
    old: Catalog, new: Catalog, before: CatalogSegment | None, after: CatalogSegment | None, key: str
) -> DefinitionChange | None:
    if after is None:
        has_members = before is not None and before.definition.is_evaluated
        reason = "all members leave" if has_members else "it had no members"
        change_class: ChangeClass = "breaking" if has_members else "metadata"
        gone = _whole(before, change_class, is_new=False) if before else ()
        return DefinitionChange("segment", key, "removed", gone, (reason,), change_class)
    if before is None:
        if not after.definition.is_evaluated:
            reason = f"it is {after.definition.lifecycle}: nobody is in it"
            return DefinitionChange(
                "segment", key, "added", _whole(after, "metadata", is_new=True), (reason,), "metadata"
            )
        losses = tuple(find_losses(old, new, after))
        reasons = losses or ("customers can only enter",)
        change_class = "breaking" if losses else "non_breaking"
        return DefinitionChange(
            "segment", key, "added", _whole(after, change_class, is_new=True), reasons, change_class
        )
    differences = tuple(_segment_differences(before, after))
    if not differences:
        return None
    # Whoever loses to a segment that grows loses because of this change, though its own definition stays.
    grows = after.definition.is_evaluated and any(_lets_in(one, before, after) for one in differences)
    return _changed("segment", key, differences, tuple(find_losses(old, new, after)) if grows else ())


def _whole(segment: CatalogSegment, change_class: ChangeClass, *, is_new: bool) -> tuple[Difference, ...]:
    """Return what decides about a segment that is new or gone, as differences from nothing."""
    facts = {name: value for name, value in deciding_form(segment).items() if name in _SHOWN_WHOLE and value}
    return tuple(
        Difference(name, None if is_new else value, value if is_new else None, change_class, "")
        for name, value in facts.items()
    )


def _lets_in(difference: Difference, before: CatalogSegment, after: CatalogSegment) -> bool:
    """Say whether customers who were not in the segment can be in it because of one key."""
    if difference.change_class == "metadata" or difference.name in {"guards", "destinations"}:
        return False
    is_tried = before.definition.canary is not None or after.definition.canary is not None
    if difference.name == "rule" and not is_tried and before.condition and after.condition:
        return not (before.definition.is_evaluated and implies(after.condition, before.condition).is_yes)
    return True


def _changed(
    kind: Literal["segment", "group"], key: str, differences: tuple[Difference, ...], losses: tuple[str, ...]
) -> DefinitionChange:
    change_class = "breaking" if losses else heaviest([one.change_class for one in differences])
    reasons = [f"{one.name}: {one.reason}" for one in differences if one.change_class == change_class]
    return DefinitionChange(kind, key, "changed", differences, (*reasons, *losses), change_class)


def _segment_differences(before: CatalogSegment, after: CatalogSegment) -> Iterator[Difference]:
    is_tried = before.definition.canary is not None or after.definition.canary is not None
    differences = _own_differences(before, after)
    if not is_tried:
        yield from differences
        return
    # What a canary tries takes effect customer by customer; all else at once, for everybody.
    yield from (one for one in differences if one.name not in {*TRIED, "required_purposes"})
    yield from _tried_differences(before, after)


def _tried_differences(before: CatalogSegment, after: CatalogSegment) -> Iterator[Difference]:
    """Yield what changes for any of the customers, drawn or not, each key as where it weighs most."""
    found: dict[str, Difference] = {}
    for was, now in held_together(before, after):
        if was is None and now is None:
            continue
        if was is None or now is None:
            one = Difference(
                "canary",
                None if was is None else was.definition.rule,
                None if now is None else now.definition.rule,
                "non_breaking" if was is None else "breaking",
                "it had no members, now it can have some" if was is None else "those drawn for it leave",
            )
            differences = [one]
        else:
            differences = [
                one for one in _own_differences(settled(was), settled(now)) if one.name in {*TRIED, "required_purposes"}
            ]
        for one in differences:
            held = found.get(one.name)
            if held is None or CLASSES.index(one.change_class) > CLASSES.index(held.change_class):
                found[one.name] = one
    yield from found.values()


def _own_differences(before: CatalogSegment, after: CatalogSegment) -> Iterator[Difference]:
    was = normal_form(before.definition, before.rule)
    now = normal_form(after.definition, after.rule)
    both_idle = not before.definition.is_evaluated and not after.definition.is_evaluated
    if "groups" in was or "groups" in now:
        # In one group before or after, its rank is told as if it were in several, so that both sides can be compared.
        for said, segment in ((was, before), (now, after)):
            said |= {"group": None, "precedence": None, "groups": dict(segment.definition.ranks) or None}
    # A key that is left out of the normal form says nothing, as if it were null.
    for name in sorted({*was, *now}):
        if was.get(name) == now.get(name):
            continue
        if name in DESCRIPTIVE:
            change_class, reason = _judge("metadata", "it describes")
        elif both_idle:
            change_class, reason = _judge("metadata", "nobody is in it, before or after")
        elif name == "groups":
            change_class, reason = _judge("breaking", _moved_groups(was[name] or {}, now[name] or {}))
        else:
            change_class, reason = _judge_key(name, before, after, was.get(name), now.get(name))
        yield Difference(name, was.get(name), now.get(name), change_class, reason)
    if sorted(before.required_purposes) != sorted(after.required_purposes) and was["consent"] == now["consent"]:
        # The lawful basis of a purpose changed: asking for more takes effect at once, asking for less waits.
        asks_less = bool(set(before.required_purposes) - set(after.required_purposes))
        yield Difference(
            "required_purposes",
            sorted(before.required_purposes),
            sorted(after.required_purposes),
            "breaking" if asks_less else "non_breaking",
            "purposes.yml no longer asks for a consent" if asks_less else "purposes.yml asks for a consent",
        )


def _judge(change_class: ChangeClass, reason: str) -> tuple[ChangeClass, str]:
    return change_class, reason


def _judge_key(  # noqa: PLR0911 - one return per key
    name: str, before: CatalogSegment, after: CatalogSegment, was: Any, now: Any
) -> tuple[ChangeClass, str]:
    match name:
        case "lifecycle":
            return _judge_lifecycle(before, after)
        case "rule":
            return _judge_rule(before, after)
        case "canary":
            return _judge("metadata", "what it tries is judged by itself, for whom it holds")
        case "kind":
            return _judge("metadata", "what the rule and the lists say decides")
        case "expires_on":
            sooner = now is not None and (was is None or now < was)
            return _judge(*(("breaking", "it ends sooner") if sooner else ("non_breaking", "it ends later")))
        case "include":
            return _judge_list(was, now, shrinks="members by list can leave", grows="the list only grows")
        case "exclude":
            return _judge_list(now, was, shrinks="more customers are kept out", grows="fewer customers are kept out")
        case "guards":
            limits = loosened(Limits.of(before.definition.guards), Limits.of(after.definition.guards))
            if limits:
                return _judge("breaking", f"a guard gives way: {', '.join(limits)}")
            return _judge("non_breaking", "guards only get stricter")
        case "destinations":
            # An empty list means every destination that takes the segment.
            lost = (set(was) - set(now) if now else set()) if was else set(now)
            if lost:
                return _judge("breaking", "a destination may lose the segment")
            return _judge("non_breaking", "more destinations get it")
        case _:
            return _judge("breaking", _MOVED.get(name, "its effect on members is not known"))


def _moved_groups(was: dict[str, int], now: dict[str, int]) -> str:
    """Say which exclusive groups a segment joins or leaves, and in which its rank changes."""
    told = {
        "it joins group": now.keys() - was.keys(),
        "it leaves group": was.keys() - now.keys(),
        "its rank changes in group": {group for group in was.keys() & now.keys() if was[group] != now[group]},
    }
    return "; ".join(f"{what} {', '.join(sorted(groups))}" for what, groups in told.items() if groups)


def _judge_lifecycle(before: CatalogSegment, after: CatalogSegment) -> tuple[ChangeClass, str]:
    if before.definition.is_evaluated == after.definition.is_evaluated:
        return _judge("metadata", "its members stay")
    if after.definition.is_evaluated:
        return _judge("non_breaking", "it had no members, now it can have some")
    return _judge("breaking", "all members leave")


def _judge_rule(before: CatalogSegment, after: CatalogSegment) -> tuple[ChangeClass, str]:
    if not before.definition.is_evaluated:
        return _judge("non_breaking", "it had no members")
    if before.condition is None and after.condition is not None and before.definition.kind == "list":
        return _judge("non_breaking", "a rule is added to the list")
    if before.condition is None or after.condition is None:
        return _judge("breaking", "who met the old rule may leave")
    answer = implies(before.condition, after.condition)
    if answer.is_yes:
        return _judge("non_breaking", "who met the old rule meets the new one, which is proven")
    if answer.example:
        return _judge("breaking", f"it can put members out, such as one with {answer.example}")
    return _judge("breaking", "who met the old rule may not meet the new one")


def _judge_list(
    smaller: list[dict[str, Any]], larger: list[dict[str, Any]], *, shrinks: str, grows: str
) -> tuple[ChangeClass, str]:
    """Judge entries that must all still be there, each no shorter than it was; why they are there does not count."""
    there = {_entry(one): one["until"] for one in larger}
    for one in smaller:
        until = there.get(_entry(one), "")
        if until == "" or (until is not None and (one["until"] is None or until < one["until"])):
            return _judge("breaking", shrinks)
    if {_entry(one): one["until"] for one in smaller} == there:
        return _judge("metadata", "only its reasons differ")
    return _judge("non_breaking", grows)


def _entry(entry: dict[str, Any]) -> str:
    return repr([entry["customer"], entry["identifier"], entry["file"]])


def deciding_form(segment: CatalogSegment) -> dict[str, Any]:
    """Return what of a segment a person approves: all that is not descriptive, and the consent that it asks for."""
    facts = normal_form(segment.definition, segment.rule)
    decisive = {name: value for name, value in facts.items() if name not in DESCRIPTIVE}
    decisive["required_purposes"] = sorted(segment.required_purposes)
    if segment.trial is not None:
        # The same file lets other customers in once it was promoted, or aborted.
        base = segment.trial.base
        decisive["held_for"] = [segment.trial.percent, base.definition_hash if base else None]
    return decisive
