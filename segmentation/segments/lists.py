"""Inclusion and exclusion lists: entries in a segment's file and in CSV files.

Belongs here: reading them, with the place of each entry. Does not belong here: finding the customer behind an
identifier (``overrides.py``). A CSV file has a column ``reason`` and either ``customer_id`` or ``id_type`` and
``id_value`` (with ``id_namespace``), and optionally ``until``, the first day on which the row no longer counts.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

from segmentation.errors import did_you_mean
from segmentation.segments.definitions import ListedIdentifier, ListEntry
from segmentation.segments.faults import Fault

Side = Literal["include", "exclude"]

_COLUMNS = ("customer_id", "id_type", "id_value", "id_namespace", "reason", "until")
_TYPES = ListedIdentifier.model_fields["type"].annotation.__args__  # type: ignore[union-attr]  # a Literal


@dataclass(frozen=True, slots=True)
class Listing:
    """One customer or identifier on a list, and where it says so."""

    segment_key: str
    side: Side
    customer_id: str | None
    id_type: str | None
    id_namespace: str
    id_value: str | None
    reason: str
    until: date | None
    listed_in: str


def inline_listing(segment_key: str, side: Side, entry: ListEntry, where: str) -> Listing:
    """Return an entry of a segment's own file as a listing."""
    found = entry.identifier
    return Listing(
        segment_key=segment_key,
        side=side,
        customer_id=entry.customer,
        id_type=found.type if found else None,
        id_namespace=found.namespace if found else "",
        id_value=found.value if found else None,
        reason=entry.reason,
        until=entry.until,
        listed_in=where,
    )


def read_list(
    path: Path, shown: str, segment_key: str, side: Side, until: date | None = None
) -> tuple[list[Listing], list[Fault]]:
    """Read a list file.

    Args:
        path: The file.
        shown: How the file is called in messages and in ``listed_in``.
        segment_key: The segment that names it.
        side: Whether its customers are members or are kept out.
        until: Day from which the whole file no longer counts; the earlier of it and a row's own day rules.

    Returns:
        The listings, and every fault with its line.
    """
    listings: list[Listing] = []
    faults: list[Fault] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            faults.extend(_header_faults(reader.fieldnames or ()))
            if faults:
                return [], faults
            for row in reader:
                problem = _row_fault(row, reader.line_num)
                if problem:
                    faults.append(problem)
                    continue
                day = date.fromisoformat(row["until"].strip()) if (row.get("until") or "").strip() else None
                listings.append(
                    Listing(
                        segment_key=segment_key,
                        side=side,
                        customer_id=(row.get("customer_id") or "").strip() or None,
                        id_type=(row.get("id_type") or "").strip() or None,
                        id_namespace=(row.get("id_namespace") or "").strip(),
                        id_value=(row.get("id_value") or "").strip() or None,
                        reason=row["reason"].strip(),
                        until=min(filter(None, (day, until)), default=None),
                        listed_in=f"{shown}:{reader.line_num}",
                    )
                )
    except FileNotFoundError:
        faults.append(Fault("the list file does not exist", repair=f"create it, or take it out of {segment_key}"))
    except (UnicodeDecodeError, csv.Error) as error:
        faults.append(Fault(f"the file is not CSV in UTF-8: {error}"))
    return listings, faults


def _header_faults(header: Sequence[str]) -> list[Fault]:
    faults = [
        Fault(f"unknown column {name}{did_you_mean(name, _COLUMNS)}", line=1, expected=", ".join(_COLUMNS))
        for name in header
        if name not in _COLUMNS
    ]
    if "reason" not in header:
        faults.append(Fault("the column reason is missing", line=1, repair="say for each row why it is listed"))
    if "customer_id" not in header and not {"id_type", "id_value"} <= set(header):
        faults.append(Fault("no column names a customer", line=1, expected="customer_id, or id_type and id_value"))
    return faults


def _row_fault(row: dict[str, str], line: int) -> Fault | None:
    if None in row or any(value is None for value in row.values()):
        return Fault("the row has another number of fields than the header", line=line)
    given = {name: value.strip() for name, value in row.items() if value.strip()}
    if ("customer_id" in given) == ("id_value" in given):
        return Fault("give either a customer_id or an id_value", line=line)
    if "id_value" in given and given.get("id_type") not in _TYPES:
        return Fault(f"unknown id_type {given.get('id_type', '')!r}", line=line, expected=", ".join(_TYPES))
    if "reason" not in given:
        return Fault("the row gives no reason", line=line)
    try:
        if "until" in given:
            date.fromisoformat(given["until"])
    except ValueError:
        return Fault(f"{given['until']!r} is not a date", line=line, expected="the form 2026-01-31")
    return None
