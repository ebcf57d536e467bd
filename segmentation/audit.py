"""The audit log: who decided what about whom, so that nobody can change it unseen.

Belongs here: appending to ``ops.audit_log``, checking its chain, and its copy outside the warehouse. Does not
belong here: what may be decided (each stage). Every row carries the hash of the row before it: changing or
deleting one breaks the chain at that place. The copy, a file of lines, shows rows cut off at the end, and brings
the log back where a warehouse is lost. No row names a person: subjects are ids of ours.

Chain: ``h_n = sha256(h_{n-1} + canonical JSON of row n)``, both as text; ``h_0`` is 64 zeros; canonical JSON has
sorted keys and no spaces.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from segmentation.errors import StrataError
from segmentation.warehouse import Connection

#: What the first row is chained to.
GENESIS = "0" * 64

#: The copy's name, in the folder of the state.
COPY = "log.jsonl"

_BATCH = 10_000


class AuditError(StrataError):
    """The audit log is not what was written."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row of the log.

    Attributes:
        seq: Its number, from 1 on, without gaps.
        at: When, UTC, to the second.
        actor: Who: a person's name, or ``svc:`` and a program's.
        action: What was done: ``identity.link``.
        subject: To what: an id of ours.
        detail: Further facts; never personal data.
        hash: Hash of this row and, through it, of all before it.
    """

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: Mapping[str, object]
    hash: str = ""

    def canonical(self) -> str:
        """Return the row as canonical JSON, without its hash."""
        facts: dict[str, object] = {
            "action": self.action,
            "actor": self.actor,
            # The log holds whole seconds; a fraction that was added later must not go unseen.
            "at": self.at.isoformat() + "Z",
            "seq": self.seq,
            "subject": self.subject,
        }
        if self.detail:
            facts["detail"] = self.detail
        return canonical_json(facts)

    def chained_to(self, previous: str) -> str:
        """Return the hash that this row has after a row with the hash ``previous``."""
        return hashlib.sha256((previous + self.canonical()).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What checking the log found.

    Attributes:
        rows: How many rows were checked.
        head: Hash of the last good row.
        problem: The first thing that is wrong, in words; ``None`` where the log is whole.
    """

    rows: int
    head: str
    problem: str | None


def canonical_json(facts: Mapping[str, object]) -> str:
    """Write facts as JSON with sorted keys and no spaces."""
    return json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def append(
    con: Connection,
    *,
    at: datetime,
    actor: str,
    action: str,
    subject: str,
    detail: Mapping[str, object] | None = None,
) -> AuditEntry:
    """Add a row to ``ops.audit_log``, in the caller's transaction: decision and row are seen together or not at all.

    Args:
        con: The warehouse, open for writing, with the ``ops`` tables.
        at: The moment, UTC; fractions of a second are dropped.
        actor: Who decided.
        action: What was done.
        subject: An id of ours; never a person's name or identifier.
        detail: Further facts, JSON-ready, without personal data.
    """
    seq, previous = _head(con)
    bare = AuditEntry(seq + 1, at.replace(microsecond=0), actor, action, subject, dict(detail or {}))
    entry = AuditEntry(bare.seq, bare.at, actor, action, subject, bare.detail, bare.chained_to(previous))
    _insert(con, entry)
    return entry


def next_seq(con: Connection) -> int:
    """Return the number that the next row will have."""
    return _head(con)[0] + 1


def verify(con: Connection, folder: Path | None = None) -> AuditReport:
    """Check every row of the log against its chain, and the log against its copy.

    Args:
        con: A connection to ``ops.audit_log``.
        folder: Where the copy is kept; where left out, or not there yet, the chain alone is checked.

    Returns:
        The first problem: a row that was changed, rows that are missing, or a log that ends before its copy.
    """
    copied = _copied_hashes(folder / COPY) if folder else {}
    rows, head, problem = 0, GENESIS, None
    for entry in read_log(con):
        if entry.seq <= rows:
            problem = f"row {entry.seq} is there twice"
        elif entry.seq != rows + 1:
            problem = f"row {rows + 1} is missing: after row {rows} comes row {entry.seq}"
        elif entry.hash != entry.chained_to(head):
            problem = f"row {entry.seq} is not what was written: it, or its hash, was changed"
        elif copied.get(entry.seq, entry.hash) != entry.hash:
            problem = f"row {entry.seq} is not the row that its copy has: the log was written anew from there on"
        if problem:
            break
        rows, head = entry.seq, entry.hash
    last = max(copied, default=0)
    if problem is None and last > rows:
        problem = f"row {rows + 1} is missing: the log ends with row {rows}, its copy with row {last}"
    return AuditReport(rows, head, problem)


def read_log(con: Connection) -> Iterator[AuditEntry]:
    """Yield the rows of the log in their order, a batch at a time."""
    last = None
    while True:
        # Numbers that were changed by hand may be any; the order of rows is all that is asked for.
        rows = con.execute(
            "select seq, acted_at, actor, action, subject, detail, hash from ops.audit_log "
            "where $last is null or seq > $last order by seq, hash limit $size",
            {"last": last, "size": _BATCH},
        ).fetchall()
        for seq, at, actor, action, subject, detail, written in rows:
            yield AuditEntry(seq, at, actor, action, subject, _detail(detail), written)
        if len(rows) < _BATCH:
            return
        last = rows[-1][0]


def keep_copy(con: Connection, folder: Path) -> int:
    """Add to the copy what the log has beyond it; return how many rows that were.

    Raises:
        AuditError: The log does not go on from its copy. Nothing was added.
    """
    path = folder / COPY
    folder.mkdir(parents=True, exist_ok=True)
    copied = _copied_hashes(path)
    last = max(copied, default=0)
    report = verify(con, folder)
    if report.problem:
        raise _broken(report, path)
    added = [entry for entry in read_log(con) if entry.seq > last] if report.rows > last else []
    if added:
        _drop_torn_line(path)
        with path.open("a", encoding="utf-8") as file:
            for entry in added:
                file.write(json.dumps({"hash": entry.hash, "row": json.loads(entry.canonical())}) + "\n")
            file.flush()
            os.fsync(file.fileno())
    return len(added)


def require_whole(con: Connection, folder: Path) -> None:
    """Refuse to go on with a log that is damaged, or that ends before its copy.

    Raises:
        AuditError: With the first problem.
    """
    report = verify(con, folder)
    if report.problem:
        raise _broken(report, folder / COPY)


def restore_log(con: Connection, folder: Path) -> int:
    """Add to the log the rows that only its copy has; return how many.

    Raises:
        AuditError: The log is damaged otherwise, or the copy is. Nothing was added.
    """
    path = folder / COPY
    report = verify(con)
    entries = _copied(path)
    head, seq = GENESIS, 0
    for entry in entries:
        if entry.seq != seq + 1 or entry.hash != entry.chained_to(head):
            report = AuditReport(seq, head, f"the copy's row {seq + 1} is missing or was changed")
            break
        seq, head = entry.seq, entry.hash
    known = {entry.seq: entry.hash for entry in entries}
    if report.problem is None and report.rows and known.get(report.rows, report.head) != report.head:
        report = AuditReport(report.rows, report.head, f"row {report.rows} differs from its copy")
    if report.problem:
        raise _broken(report, path)
    missing = [entry for entry in entries if entry.seq > report.rows]
    for entry in missing:
        _insert(con, entry)
    return len(missing)


def _detail(text: str) -> dict[str, object]:
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError):
        # Nobody but a change by hand wrote this; the row's hash will say so.
        return {"unreadable": text}


def _insert(con: Connection, entry: AuditEntry) -> None:
    con.execute(
        "insert into ops.audit_log (seq, acted_at, actor, action, subject, detail, hash) values (?, ?, ?, ?, ?, ?, ?)",
        [entry.seq, entry.at, entry.actor, entry.action, entry.subject, canonical_json(entry.detail), entry.hash],
    )


def _head(con: Connection) -> tuple[int, str]:
    rows = con.execute("select seq, hash from ops.audit_log order by seq desc limit 1").fetchall()
    return (int(rows[0][0]), str(rows[0][1])) if rows else (0, GENESIS)


def _copied(path: Path) -> list[AuditEntry]:
    """Return the copy's rows; a last line that was cut off while it was written is none."""
    if not path.exists():
        return []
    found = []
    lines = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):
        try:
            told = json.loads(line)
            row = told["row"]
            at = datetime.fromisoformat(row["at"]).replace(tzinfo=None)
            detail = row.get("detail", {})
            found.append(
                AuditEntry(row["seq"], at, row["actor"], row["action"], row["subject"], detail, str(told["hash"]))
            )
        except (ValueError, KeyError, TypeError) as error:
            raise AuditError(
                f"the copy of the audit log can't be read: {error}",
                where=f"{path}:{number}",
                expected="one JSON object a line, with row and hash",
                repair="put a backup of the file in its place, then strata audit verify",
            ) from error
    return found


def _copied_hashes(path: Path) -> dict[int, str]:
    return {entry.seq: entry.hash for entry in _copied(path)}


def _drop_torn_line(path: Path) -> None:
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)


def _broken(report: AuditReport, path: Path) -> AuditError:
    return AuditError(
        f"the audit log is not whole: {report.problem}",
        where=f"ops.audit_log, and its copy {path}",
        expected="every row as it was written, in an unbroken chain",
        repair="put a backup in place of what was changed; rows that only the copy has: strata restore audit",
    )
