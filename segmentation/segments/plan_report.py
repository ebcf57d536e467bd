"""A plan in words: the difference of definitions, and a report in Markdown for a pull request.

Belongs here: sentences and tables that any reader can take. Does not belong here: what a plan says (``plan.py``) and
how a terminal shows it (``orchestration/commands/plan.py``).
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from segmentation.segments.change_classes import DefinitionChange, Difference
from segmentation.segments.listed_entries import LISTS, show_lists
from segmentation.segments.plan import Plan
from segmentation.segments.plan_sections import Column, Section

#: Longest value that is shown of a definition.
_LONGEST = 400

_MARKS = {"added": "+", "changed": "~", "removed": "−"}
_CLASS_WORDS = {"metadata": "metadata", "non_breaking": "non-breaking", "breaking": "**breaking**"}


def render_markdown(plan: Plan, plan_hash: str) -> str:
    """Return a plan as Markdown, for a pull request."""
    lines = ["# Segments: what this change would do", "", summarise(plan), ""]
    if plan.policy:
        lines += ["> **The policy gives way:** " + "; ".join(_escape(one) for one in plan.policy), ""]
    lines += _definitions(plan)
    for section in plan.sections:
        lines += _section(section)
    made = f"As of {plan.as_of:%Y-%m-%d %H:%M} UTC, against publication {plan.base.publication}."
    told = f"Plan `{plan_hash[:16]}`; `strata apply` carries out exactly this, or refuses."
    return "\n".join([*lines, "---", "", made, told, ""])


def summarise(plan: Plan) -> str:
    """Return the plan in a sentence or three."""
    if not plan.has_changes:
        return "Nothing would change."
    changes = [change for unit in plan.units for change in unit.changes]
    breaking = [change.key for change in changes if change.change_class == "breaking"]
    entering, leaving, segments = _moves(plan)
    said = []
    if changes:
        verb = "differs" if len(changes) == 1 else "differ"
        how = f"{len(breaking)} of them breaking ({', '.join(breaking)})" if breaking else "none of them breaking"
        said.append(f"{_counted(len(changes), 'definition')} {verb} from what is live, {how}.")
    if plan.expected.changes:
        said.append(
            f"{_counted(entering, 'membership')} would begin and {leaving:,} end, in {_counted(segments, 'segment')}."
        )
    else:
        said.append("Nobody would move.")
    if plan.guards_broken:
        said.append(f"Guards would be broken: {', '.join(plan.guards_broken)}.")
    if plan.is_policy_changed:
        said.append("The policy changes, too.")
    return " ".join(said)


def _moves(plan: Plan) -> tuple[int, int, int]:
    """Return memberships that begin, memberships that end, and segments with either."""
    rows = next((section.rows for section in plan.sections if section.name == "members"), ())
    moving = [row for row in rows if row[2] or row[3]]
    return sum(row[2] for row in moving), sum(row[3] for row in moving), len(moving)


def describe_change(change: DefinitionChange) -> str:
    """Return a changed definition in one line: ``~ segment vip, breaking: its rule …``."""
    return f"{_MARKS[change.what]} {change.kind} {change.key}, {change.change_class.replace('_', '-')}: " + "; ".join(
        change.reasons
    )


def diff_lines(difference: Difference) -> list[str]:
    """Return one key's difference as lines of a diff; of a list, the entries that come and go."""
    if difference.name in LISTS:
        return [
            f"{sign} {difference.name}, {len(side.moved):,} of {_counted(side.entries, 'entry')}: {_value(side.moved)}"
            for sign, side in zip("-+", show_lists(difference), strict=True)
            if side.moved
        ]
    sides = (("-", difference.before), ("+", difference.after))
    # A key that said nothing has no line: what is new reads as what it says.
    return [f"{sign} {difference.name}: {_value(value)}" for sign, value in sides if value not in (None, [], {})]


def _value(value: Any) -> str:
    if isinstance(value, dict):
        value = {key: one for key, one in value.items() if one not in (None, [], {})}
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    # One line, which can't end the block of code that a report puts it in.
    text = " ".join(text.split()).replace("```", "(ticks)")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} … ({len(text):,} characters)"


def _definitions(plan: Plan) -> list[str]:
    if not plan.units:
        return []
    lines = ["## Definitions", ""]
    for unit in plan.units:
        for change in unit.changes:
            reasons = "; ".join(_escape(reason) for reason in change.reasons)
            named = f"**{_MARKS[change.what]} {change.kind} `{change.key}`**"
            lines.append(f"- {named} — {_CLASS_WORDS[change.change_class]}: {reasons}")
            diff = [line for difference in change.differences for line in diff_lines(difference)]
            if diff:
                lines += ["", "  ```diff", *(f"  {line}" for line in diff), "  ```", ""]
    return [*lines, ""]


def _section(section: Section) -> list[str]:
    lines = [f"## {section.title}", ""]
    if section.rows:
        lines.append("| " + " | ".join(_escape(column.name) for column in section.columns) + " |")
        lines.append("|" + "|".join("---" if column.kind == "text" else "--:" for column in section.columns) + "|")
        lines += ["| " + " | ".join(_cells(section.columns, row)) + " |" for row in section.rows]
        lines.append("")
    for note in section.notes:
        lines += [_escape(note), ""]
    return lines


def _cells(columns: Sequence[Column], row: Sequence[Any]) -> Iterator[str]:
    for column, value in zip(columns, row, strict=True):
        yield _escape(format_value(column, value))


def format_value(column: Column, value: Any) -> str:
    """Show a cell as its column says: 1,234 for a count, 12.34 for micros, 5.0 % for a share."""
    if value is None:
        return "–"
    match column.kind:
        case "count":
            return f"{value:,}".replace("-", "−")
        case "money":
            return f"{value / 1_000_000:,.2f}".replace("-", "−")
        case "ratio":
            return f"{value:.1%}"
        case _:
            return str(value)


def _escape(text: str) -> str:
    """Keep text from being taken for Markdown or HTML: a definition's words are not ours."""
    for character in ("\\", "|", "<", ">", "`", "*", "[", "]", "&"):
        text = text.replace(character, f"\\{character}")
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def _counted(number: int, noun: str) -> str:
    plural = f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"
