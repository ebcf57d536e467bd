"""Questions people ask about refused rows: how many, why, of which file, and what they look like.

Belongs here: reading ``sources.quarantine`` for people. Does not belong here: refusing rows (`staging.py`) or the codes
of reasons (`reasons.py`). Refused rows are personal data, so their values are shown by their shape alone unless
somebody asks for them.
"""

import json
import string
from dataclasses import dataclass

from segmentation.errors import NotFoundError, did_you_mean
from segmentation.sources.entities import ENTITIES
from segmentation.sources.reasons import KINDS, UNKNOWN, has_code_sql
from segmentation.warehouse import Connection, literal

_QUARANTINE = "sources.quarantine"
_CODE = f"coalesce(reason_code, '{UNKNOWN}')"

#: Characters of a masked value that are shown.
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Selection:
    """Which refused rows are asked for; an empty text asks for all.

    Attributes:
        entity: A canonical entity.
        reason: A code of a reason, or its kind: ``wrong_type:ordered_at`` or ``wrong_type``.
        file: Path below the landing root, a file name, or a pattern of paths with ``*``, ``?`` and ``[]``.
        of_candidate: Rows that the newest candidate refused, which a closed gate may hold; else published ones.

    Raises:
        NotFoundError: There is no such entity or kind of reason.
    """

    entity: str = ""
    reason: str = ""
    file: str = ""
    of_candidate: bool = False

    def __post_init__(self) -> None:
        _require_known("entity", self.entity, tuple(ENTITIES))
        _require_known("kind of reason", self.reason.partition(":")[0], KINDS)

    @property
    def table(self) -> str:
        """Where the rows are."""
        return "sources.candidate_quarantine" if self.of_candidate else _QUARANTINE

    @property
    def condition(self) -> str:
        """The selection as SQL over the quarantine."""
        parts = ["true"]
        if self.entity:
            parts.append(f"entity = {literal(self.entity)}")
        if self.reason:
            parts.append(has_code_sql(_CODE, self.reason))
        if self.file:
            file = literal(self.file)
            parts.append(f"(path = {file} or ends_with(path, '/' || {file}) or path glob {file})")
        return " and ".join(parts)


@dataclass(frozen=True, slots=True)
class RefusedCount:
    """Refused rows of one entity of a source, for one reason.

    Attributes:
        reason_code: Codes of the reason, joined by semicolons.
        rows: How many.
        files: In how many files.
        newest_path: The file that was loaded last.
    """

    source: str
    entity: str
    reason_code: str
    rows: int
    files: int
    newest_path: str


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """Refused rows of one file; the same file may have been loaded more than once."""

    source: str
    path: str
    rows: int


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """One refused row.

    Attributes:
        reason: In words, which may show a value; ``None`` where values are masked.
        values: By column of the file; masked, or as the row has them. A line that is no row is ``_row``.
    """

    source: str
    entity: str
    path: str
    line: int
    reason_code: str
    reason: str | None
    values: dict[str, str | None]


def count_refused(con: Connection, selection: Selection) -> list[RefusedCount]:
    """Count refused rows by source, entity and reason, most first."""
    rows = con.execute(
        f"select source, entity, {_CODE} as code, count(*) as n, count(distinct file_id), arg_max(path, file_id) "
        f"from {selection.table} where {selection.condition} group by source, entity, code "
        "order by n desc, source, entity, code"
    ).fetchall()
    return [RefusedCount(*row) for row in rows]


def count_refused_by_file(con: Connection, selection: Selection, limit: int) -> list[RefusedFile]:
    """Count refused rows by file, the ``limit`` files with most rows."""
    rows = con.execute(
        f"select source, path, count(*) as n from {selection.table} where {selection.condition} "
        "group by source, path order by n desc, source, path limit ?",
        [limit],
    ).fetchall()
    return [RefusedFile(*row) for row in rows]


def sample_refused(con: Connection, selection: Selection, limit: int, *, show_values: bool = False) -> list[RefusedRow]:
    """Return some refused rows: of every reason the newest, then of every reason the next, up to ``limit``."""
    rows = con.execute(
        f"""
        with chosen as (
            select rowid as row_number, row_number() over (
                partition by source, entity, {_CODE} order by file_id desc, line, entity
            ) as place
            from {selection.table} where {selection.condition}
            order by place, source, entity, {_CODE} limit ?
        )
        select q.source, q.entity, q.path, q.line, {_CODE}, q.reason, cast(q.raw as varchar)
        from {selection.table} as q join chosen on q.rowid = chosen.row_number
        order by chosen.place, q.source, q.entity, {_CODE}
        """,
        [limit],
    ).fetchall()
    return [
        RefusedRow(source, entity, path, line, code, reason if show_values else None, _values_of(raw, show_values))
        for source, entity, path, line, code, reason, raw in rows
    ]


def mask_value(text: str) -> str:
    """Return the shape of a value: every letter an ``x``, every digit a ``9``, other ASCII signs as they are."""
    shape = "".join(_shape_of(sign) for sign in text[:_SHOWN])
    return f"{shape}…" if len(text) > _SHOWN else shape


def _shape_of(sign: str) -> str:
    if sign.isdigit():
        return "9"
    if sign.isalpha():
        return "x"
    return sign if sign == " " or sign in string.punctuation else "?"


def _values_of(raw: str, show_values: bool) -> dict[str, str | None]:
    found = json.loads(raw)
    values = found if isinstance(found, dict) else {"_row": found}
    texts = {
        name: value if value is None or isinstance(value, str) else json.dumps(value) for name, value in values.items()
    }
    if show_values:
        return texts
    return {name: None if text is None else mask_value(text) for name, text in texts.items()}


def _require_known(what: str, name: str, known: tuple[str, ...]) -> None:
    if name and name not in known:
        raise NotFoundError(
            f"there is no {what} {name!r}{did_you_mean(name, known)}",
            where=_QUARANTINE,
            expected=f"one of {', '.join(known)}",
            repair="strata quarantine",
        )
